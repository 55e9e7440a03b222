"""The simulated cell: physics, arms and grippers behind one control tick."""

import zlib

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim import scene, tasks
from robo4d.sim.arm import POSTURES, TcpTracker
from robo4d.sim.panda import GRIP_STIFFNESS, GRIPPER_BODIES
from robo4d.sim.snapshot import Snapshot
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, GRIP_FORCE, MAX_WIDTH, ArmCommand, ArmState, CellState
from robo4d.sim.tasks.task import SPREADS

_GRIPPER_SPEED = 0.1
"""Speed of the opening [m/s], as Franka's hand moves by default."""
_SETTLING_S = 3.0
"""Physics before the episode begins: a spatula needs that long to come to rest in its crock."""
LOOKS = ("mat_rgba", "light_dir", "light_diffuse")
"""Fields of the model that `wide` varies."""
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Cell:
    """Two arms at a table, and one task.

    Args:
        task_name: One of `robo4d.sim.tasks.TASKS`.
    """

    def __init__(self, task_name: str) -> None:
        self.task = tasks.load(task_name)
        spec = scene.room()
        self.task.build(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._plain_looks = self._looks()
        self._trackers = {side: TcpTracker(scene.T_WORLD_BASE[side], POSTURES[side]) for side in ARMS}
        self._widths = dict.fromkeys(ARMS, MAX_WIDTH)
        self._grip_forces = dict.fromkeys(ARMS, GRIP_FORCE)
        self._index = {side: _ArmIndex(self.model, side) for side in ARMS}
        self._painted = ~np.array([self.model.mat(i).name.startswith(ARMS) for i in range(self.model.nmat)])
        self._substeps = round(CONTROL_PERIOD_S / self.model.opt.timestep)
        self.reset(seed=0)

    def reset(self, *, seed: int, distribution: str = "standard") -> CellState:
        """Begin an episode: the same for the same seed and distribution.

        Raises:
            ValueError: no such distribution.
        """
        if distribution not in SPREADS:
            raise ValueError(f"no distribution `{distribution}`; there are {', '.join(SPREADS)}")
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.task.name} {distribution}".encode())])
        spread = SPREADS[distribution]
        mujoco.mj_resetData(self.model, self.data)
        for name, T_world_body in self.task.sample_start(rng, spread).T_world_body.items():
            self.place(name, T_world_body)
        for side in ARMS:
            self._begin_at_home(side, rng, spread.home)
        self._set_looks(_varied(self._plain_looks, self._painted, rng, spread.looks))
        mujoco.mj_step(self.model, self.data, round(_SETTLING_S / self.model.opt.timestep))
        self.data.time = 0.0
        mujoco.mj_forward(self.model, self.data)
        return self.state()

    def place(self, body: str, T_world_body: Float[Array, "4 4"]) -> None:
        """Put an object or a piece of furniture somewhere, at rest."""
        pose = np.concatenate([T_world_body[:3, 3], se3.to_quat_wxyz(T_world_body)])
        mocap = self.model.body(body).mocapid[0]
        if mocap >= 0:
            self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = pose[:3], pose[3:]
        else:
            self.data.joint(body).qpos, self.data.joint(body).qvel = pose, 0.0

    def step(self, commands: dict[str, ArmCommand]) -> CellState:
        """One control tick of 20 ms. An arm without a command holds its last target.

        Raises:
            ValueError: a command for an arm that does not exist.
        """
        if unknown := set(commands) - set(ARMS):
            raise ValueError(f"no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
        for side, command in commands.items():
            self._trackers[side].T_world_target = command.T_world_tcp.copy()
            self._widths[side], self._grip_forces[side] = command.gripper_width, command.grip_force
        for side in ARMS:
            index = self._index[side]
            self.data.ctrl[index.servos] = self._trackers[side].advance()
            self.data.ctrl[index.gripper] = self._gripper_control(side)
        mujoco.mj_step(self.model, self.data, self._substeps)
        mujoco.mj_forward(self.model, self.data)
        return self.state()

    def state(self) -> CellState:
        """The cell as it is now."""
        return CellState(
            time_s=self.data.time,
            arms={side: self._arm_state(side) for side in ARMS},
            T_world_body={name: _pose(self.data.body(name)) for name in (*self.task.objects, *self.task.furniture)},
        )

    def success(self) -> bool:
        """Whether the task's goal is reached."""
        return self.task.success(self.state())

    def snapshot(self) -> Snapshot:
        """A copy of everything: a cell that is restored to it goes on bit-identically."""
        physics = np.zeros(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        return Snapshot(
            physics=physics,
            trackers={side: tracker.state for side, tracker in self._trackers.items()},
            widths=dict(self._widths),
            grip_forces=dict(self._grip_forces),
            looks=self._looks(),
        )

    def restore(self, snapshot: Snapshot) -> CellState:
        """Go back to a snapshot of a cell with the same task."""
        mujoco.mj_setState(self.model, self.data, snapshot.physics, _STATE)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, snapshot.physics, _STATE)  # forward has changed the warm start
        for side, tracker in self._trackers.items():
            tracker.state = snapshot.trackers[side]
        self._widths, self._grip_forces = dict(snapshot.widths), dict(snapshot.grip_forces)
        self._set_looks(snapshot.looks)
        return self.state()

    def _begin_at_home(self, side: str, rng: np.random.Generator, spread: float) -> None:
        """Put an arm, gripper open, near its home, where it touches nothing."""
        index = self._index[side]
        while True:
            offset = se3.translation(*rng.uniform(-spread, spread, 3))
            joints = self._trackers[side].joints_at(offset @ scene.T_WORLD_HOME[side])
            self.data.qpos[index.joints], self.data.ctrl[index.servos] = joints, joints
            self.data.qpos[index.fingers], self.data.ctrl[index.gripper] = MAX_WIDTH / 2, MAX_WIDTH / 2
            mujoco.mj_forward(self.model, self.data)
            if not index.is_arm[self.data.contact.geom].any():
                break
        self._widths[side], self._grip_forces[side] = MAX_WIDTH, GRIP_FORCE

    def _looks(self) -> dict[str, Float[Array, "_ _"]]:
        return {name: getattr(self.model, name).astype(float) for name in LOOKS}

    def _set_looks(self, looks: dict[str, Float[Array, "_ _"]]) -> None:
        for name, values in looks.items():
            getattr(self.model, name)[:] = values

    def _gripper_control(self, side: str) -> float:
        """The finger travel [m] to command now: at limited speed, and no farther ahead than the grip force allows."""
        index = self._index[side]
        goal, travel = self._widths[side] / 2, float(self.data.qpos[index.fingers].mean())
        control = float(self.data.ctrl[index.gripper])
        step, lead = _GRIPPER_SPEED / 2 * CONTROL_PERIOD_S, self._grip_forces[side] / GRIP_STIFFNESS
        if goal > travel:
            return min(goal, max(control, travel) + step)
        return max(goal, travel - lead, min(control, travel + step) - step)

    def _arm_state(self, side: str) -> ArmState:
        index, data = self._index[side], self.data
        site = data.site(index.tcp)
        T_world_tcp = se3.pose(site.xmat.reshape(3, 3).copy(), site.xpos.copy())
        return ArmState(
            joints=data.qpos[index.joints].copy(),
            joint_velocities=data.qvel[index.velocities].copy(),
            T_world_tcp=T_world_tcp,
            T_world_target=self._trackers[side].T_world_target.copy(),
            gripper_width=float(data.qpos[index.fingers].sum()),
            external_wrench=self._external_wrench(index, T_world_tcp[:3, 3]),
        )

    def _external_wrench(self, index: "_ArmIndex", tcp: Float[Array, "3"]) -> Float[Array, "6"]:
        """The sum of all contact forces between the gripper and what does not belong to it."""
        wrench, local = np.zeros(6), np.zeros(6)
        contact = self.data.contact
        on_gripper = index.is_gripper[contact.geom]
        for i in np.flatnonzero(on_gripper[:, 0] != on_gripper[:, 1]):
            mujoco.mj_contactForce(self.model, self.data, int(i), local)
            frame = contact.frame[i].reshape(3, 3)
            sign = 1.0 if on_gripper[i, 1] else -1.0  # MuJoCo's force acts on the second geom
            force, torque = sign * frame.T @ local[:3], sign * frame.T @ local[3:]
            wrench += np.concatenate([force, torque + np.cross(contact.pos[i] - tcp, force)])
        return wrench


class _ArmIndex:
    """Where one arm's values lie in MuJoCo's arrays."""

    def __init__(self, model: mujoco.MjModel, side: str) -> None:
        joints = [model.joint(f"{side}_joint{i}") for i in range(1, 8)]
        self.joints = np.array([joint.qposadr[0] for joint in joints])
        self.velocities = np.array([joint.dofadr[0] for joint in joints])
        self.fingers = np.array([model.joint(f"{side}_finger_joint{i}").qposadr[0] for i in (1, 2)])
        self.servos = np.array([model.actuator(f"{side}_actuator{i}").id for i in range(1, 8)])
        self.gripper = model.actuator(f"{side}_actuator8").id
        self.tcp = model.site(f"{side}_tcp").id
        bodies = [model.body(f"{side}_{name}").id for name in GRIPPER_BODIES]
        arm = [i for i in range(model.nbody) if model.body(i).name.startswith(f"{side}_")]
        self.is_arm = np.isin(model.geom_bodyid, arm)
        self.is_gripper = np.isin(model.geom_bodyid, bodies)


def _varied(
    looks: dict[str, Float[Array, "_ _"]], painted: Bool[Array, " m"], rng: np.random.Generator, amount: float
) -> dict[str, Float[Array, "_ _"]]:
    """Other colours of all that is painted, which the arms are not, and other light: changed by a relative amount."""
    rgba, direction, diffuse = (looks[name].copy() for name in LOOKS)
    tint = rng.uniform(1 - amount, 1 + amount, (len(rgba), 3))
    rgba[painted, :3] = np.clip(rgba[painted, :3] * tint[painted], 0, 1)
    direction += amount * rng.uniform(-1, 1, direction.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    diffuse *= rng.uniform(1 - amount, 1 + amount, (len(diffuse), 1))
    return dict(zip(LOOKS, (rgba, direction, diffuse), strict=True))


def _pose(body: "mujoco._structs._MjDataBodyViews") -> Float[Array, "4 4"]:
    return se3.pose(body.xmat.reshape(3, 3).copy(), body.xpos.copy())
