import numpy as np
import pytest

from robo4d.geometry import se3
from robo4d.plan import Plan, Verdict
from robo4d.planning.link_tree import LinkTree
from robo4d.planning.preview import Preview
from robo4d.planning.robot import two_arms
from robo4d.planning.urdf import Mesh, urdf

MESH = Mesh(uri="file:///mesh.stl", rgba=(1.0, 1.0, 1.0, 1.0))
LINKS = ("link0", "link7", "hand", "leftfinger", "rightfinger")
ARMS = two_arms("fer")
TREE = LinkTree.from_urdf(urdf(ARMS, {link: [MESH] for link in LINKS}))
NAMES = {arm.name: [f"{arm.name}_joint{i}" for i in range(1, 8)] for arm in ARMS}


@pytest.fixture
def plan(planner, straight, state) -> Plan:
    plan = planner.plan({"left": straight(closes_at=4)}, observed=state, current=state, now_ns=0)
    assert plan.verdict.accepted
    return plan


def test_the_hand_goes_where_the_plan_takes_it(plan):
    preview = Preview(plan, TREE, NAMES)
    links = [visual.link for visual in preview.visuals]
    assert set(links) == {f"left_{link}" for link in LINKS[1:]}  # neither the base nor the arm that holds
    T_hand_tcp = ARMS[0].robot.T_hand_tcp
    for sample in (0, len(plan.times_s) // 2, -1):
        T_world_hand = preview.poses(float(plan.times_s[sample]))[links.index("left_hand")]
        np.testing.assert_allclose(T_world_hand @ T_hand_tcp, plan.arms["left"].Ts_world_tcp[sample], atol=1e-3)


def test_the_fingers_close_when_the_plan_has_them_close(plan):
    preview = Preview(plan, TREE, NAMES)
    fingers = [i for i, visual in enumerate(preview.visuals) if "finger" in visual.link]
    (event,) = plan.events

    def opening(time_s):
        first, second = preview.poses(time_s)[fingers]
        return float(se3.distance(first, second)[0])

    assert opening(event.time_s - 0.1) == pytest.approx(0.08)
    assert opening(event.time_s) == pytest.approx(0)


def test_a_plan_without_motion_shows_nothing():
    preview = Preview(Plan.refused(0, Verdict.example(), {}), TREE, NAMES)
    assert preview.visuals == ()
    assert preview.poses(0.0).shape == (0, 4, 4)


def test_a_description_of_another_robot_shows_nothing(plan):
    alone = LinkTree.from_urdf(urdf(ARMS[1:], {"hand": [MESH]}))
    assert Preview(plan, alone, NAMES).visuals == ()
