import dataclasses

import numpy as np
import pytest

from robo4d.tracking import GripperModel, Mesh, Part


def test_the_fingers_open_by_the_same_distance_to_either_side():
    parts = GripperModel.example().parts(0.06)
    left, right = parts[Part.LEFT_FINGER].vertices, parts[Part.RIGHT_FINGER].vertices
    assert left[:, 1].min() - right[:, 1].max() == pytest.approx(0.06)
    assert left[:, 1].min() == pytest.approx(-right[:, 1].max())


def test_cad_in_millimetres_is_refused():
    model = GripperModel.example()
    hand = Mesh(vertices=1000 * model.hand.vertices, faces=model.hand.faces)
    with pytest.raises(ValueError, match=r"metres; scale millimetres by 0\.001"):
        dataclasses.replace(model, hand=hand)


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(vertices=np.zeros((3, 3)), faces=np.zeros((0, 3), int)),
        Mesh(vertices=np.full((3, 3), np.nan), faces=np.array([[0, 1, 2]])),
        Mesh(vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 3]])),
    ],
)
def test_broken_meshes_are_refused(mesh):
    with pytest.raises(ValueError, match="wrist: a mesh needs faces"):
        dataclasses.replace(GripperModel.example(), wrist=mesh)


def test_an_opening_axis_must_be_a_unit_vector():
    with pytest.raises(ValueError, match="unit vector"):
        dataclasses.replace(GripperModel.example(), opening_axis=np.array([0.0, 2.0, 0.0]))
