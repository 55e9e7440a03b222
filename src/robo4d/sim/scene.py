"""What all tasks share: room, table, light, the two arms; and how furniture, objects and materials are added to it."""

import math

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.planning.robot import two_arms
from robo4d.sim.panda import panda_spec
from robo4d.sim.state import ARMS

MOUNTED_ARMS = two_arms("fer")
T_WORLD_BASE = {arm.name: arm.T_world_base for arm in MOUNTED_ARMS}
"""Where the arms stand: on the table, whose top is the world's z = 0."""
T_WORLD_HOME = {
    side: se3.translation(0.40, y, 0.42) @ np.diag([1.0, -1.0, -1.0, 1.0])
    for side, y in (("left", 0.32), ("right", -0.32))
}
"""Where the grippers wait: above the near corners of the work area, looking down."""
_TABLE = {"size": [0.62, 0.85, 0.02], "pos": [0.42, 0, -0.02]}
"""Half extents and centre of the table top [m]."""
_FLOOR_Z = -0.75


def room() -> mujoco.MjSpec:
    """Floor, table, lights and both arms, with names that begin with `left_` and `right_`."""
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10  # without it a held box creeps by 1.7 mm in 5 s instead of 0.2 mm
    _light(spec)
    world = spec.worldbody
    material(spec, "wood", texture=wood(np.random.default_rng(3)), specular=0.15)
    material(spec, "floor", rgb=(0.50, 0.51, 0.53), specular=0.0)
    material(spec, "steel", rgb=(0.42, 0.43, 0.45), specular=0.5)
    world.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[8, 8, 0.1], pos=[0, 0, _FLOOR_Z], material="floor"
    )
    world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, **_TABLE, material="wood", friction=[0.8, 0.005, 1e-4])
    for x in (-1, 1):
        for y in (-1, 1):
            half = np.array([0.03, 0.03, -_FLOOR_Z / 2 - 0.02])
            foot = [_TABLE["pos"][0] + x * (_TABLE["size"][0] - 0.06), y * (_TABLE["size"][1] - 0.06), -half[2] - 0.04]
            box(world, foot, half, "steel")
    for side in ARMS:
        T = T_WORLD_BASE[side]
        frame = world.add_frame(pos=T[:3, 3], quat=se3.to_quat_wxyz(T))
        spec.attach(panda_spec(), prefix=f"{side}_", frame=frame)
    return spec


def _light(spec: mujoco.MjSpec) -> None:
    """Soft light from the ceiling, a weaker one from the side, and a plain bright background."""
    look = spec.visual
    look.quality.shadowsize = 4096
    look.map.shadowclip = 1.3  # half the side of the lit square [m]
    look.quality.offsamples = 0  # multisampled depth lies on no surface
    look.map.znear, look.map.zfar = 0.01, 20.0
    look.headlight.ambient, look.headlight.diffuse, look.headlight.specular = [0.32] * 3, [0.15] * 3, [0.05] * 3
    spec.stat.extent, spec.stat.center = 1.0, [0.5, 0, 0.2]
    spec.worldbody.add_light(
        name="ceiling",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.1, 0.6, 2.5],  # centred above the table, where the shadow map is finest
        dir=[0.14, -0.24, -1],
        diffuse=[0.45, 0.44, 0.42],
        specular=[0.25] * 3,
        castshadow=True,
    )
    spec.worldbody.add_light(
        name="side",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[2, -1.5, 1.5],
        dir=[-1, 0.7, -0.6],
        diffuse=[0.20, 0.21, 0.23],
        specular=[0.0] * 3,
        castshadow=False,
    )
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.89, 0.93],
        rgb2=[0.62, 0.66, 0.72],
        width=256,
        height=256,
    )


def furniture(spec: mujoco.MjSpec, name: str, T_world_body: Float[Array, "4 4"]) -> mujoco.MjsBody:
    """A body that stands still, but is placed anew at each reset without recompiling."""
    return spec.worldbody.add_body(name=name, mocap=True, pos=T_world_body[:3, 3], quat=se3.to_quat_wxyz(T_world_body))


def free_object(spec: mujoco.MjSpec, name: str, T_world_body: Float[Array, "4 4"]) -> mujoco.MjsBody:
    """A body that can be picked up."""
    body = spec.worldbody.add_body(name=name, pos=T_world_body[:3, 3], quat=se3.to_quat_wxyz(T_world_body))
    body.add_freejoint(name=name)
    return body


def material(
    spec: mujoco.MjSpec,
    name: str,
    *,
    rgb: tuple[float, float, float] = (1, 1, 1),
    texture: UInt8[Array, "h w 3"] | None = None,
    specular: float = 0.3,
) -> None:
    """A named material: plain, or an image on it (on each face of a box once, not tiled)."""
    made = spec.add_material(name=name, rgba=[*rgb, 1], specular=specular, shininess=0.4)
    if texture is not None:
        image = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
        image.height, image.width, image.nchannel = texture.shape
        image.data = texture.tobytes()
        textures = list(made.textures)
        textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        made.textures = textures


def box(
    body: mujoco.MjsBody,
    center: Float[Array, "3"] | list[float],
    half_size: Float[Array, "3"] | list[float],
    material: str,
    *,
    yaw: float = 0.0,
    mass: float | None = None,
    friction: float = 0.6,
) -> mujoco.MjsGeom:
    """A box [m] fixed to a body, turned about its z axis [rad]."""
    geom = body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=center,
        size=half_size,
        quat=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)],
        material=material,
        friction=[friction, 0.005, 1e-4],
        condim=4,
    )
    if mass is not None:
        geom.mass = mass
    return geom


def wood(rng: np.random.Generator) -> UInt8[Array, "h w 3"]:
    """A table top of oak planks."""
    height, width, planks = 512, 512, 6
    v, u = np.mgrid[:height, :width] / 512
    plank = (v * planks).astype(int)
    shade = rng.uniform(0.92, 1.06, planks)[plank]
    offset = rng.uniform(0, 20, planks)[plank]
    warp = 0.02 * np.sin(2 * np.pi * (u * 1.5 + offset)) + 0.01 * np.sin(2 * np.pi * (u * 4 + 2 * offset))
    grain = sum(np.sin(2 * np.pi * f * (v + warp) + offset * f) / n for n, f in ((2, 17), (3, 41), (4, 90)))
    seam = np.where(np.abs(v * planks - np.round(v * planks)) < 0.012, 0.82, 1.0)
    tone = shade * seam * (1 + 0.045 * grain + 0.012 * rng.standard_normal((height, width)))
    return np.clip(tone[..., None] * np.array([196, 158, 116]), 0, 255).astype(np.uint8)


def lathe(
    spec: mujoco.MjSpec,
    body: mujoco.MjsBody,
    name: str,
    profile: Float[Array, "n 2"],
    material: str,
    *,
    sides: int = 40,
) -> None:
    """The look of a body of revolution about the z axis: it touches nothing and weighs nothing.

    Args:
        spec: The model.
        body: What it belongs to.
        name: Of the mesh.
        profile: Radius and height [m] along its outline, with the outside to the right when walking along it.
        material: Its name.
        sides: Around the axis.
    """
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    radius, height = profile[:, :1], profile[:, 1:]
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles), height + 0 * angles], axis=-1)
    i = np.arange(len(profile) - 1)[:, None] * sides
    j, k = np.arange(sides), np.roll(np.arange(sides), -1)
    faces = np.concatenate(
        [np.stack([i + j, i + k, i + sides + j], -1), np.stack([i + k, i + sides + k, i + sides + j], -1)]
    )
    spec.add_mesh(name=name, uservert=ring.ravel(), userface=faces.ravel(), smoothnormal=True)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material, contype=0, conaffinity=0, mass=0)


def ring_of_walls(
    body: mujoco.MjsBody,
    *,
    radius: float,
    bottom: float,
    height: float,
    flare: float = 0.0,
    thickness: float = 0.006,
    sides: int = 14,
) -> None:
    """The invisible wall of a round vessel, made of boxes.

    Args:
        body: What it belongs to.
        radius: Inside, at the bottom [m].
        bottom: Height of its lower edge [m].
        height: Length of the wall along its slope [m].
        flare: Angle from the vertical, outwards [rad].
        thickness: [m].
        sides: Number of boxes.
    """
    out, up = np.array([np.cos(flare), 0, -np.sin(flare)]), np.array([np.sin(flare), 0, np.cos(flare)])
    center = np.array([radius, 0, bottom]) + thickness / 2 * out + height / 2 * up
    half_width = (radius + height * np.sin(flare) + thickness) * np.tan(np.pi / sides)
    for angle in np.linspace(0, 2 * np.pi, sides, endpoint=False):
        T_body_side = se3.exp(np.array([0, 0, 0, 0, 0, angle]))
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=se3.apply(T_body_side, center),
            quat=se3.to_quat_wxyz(T_body_side @ se3.exp(np.array([0, 0, 0, 0, flare, 0]))),
            size=[thickness / 2, half_width, height / 2],
            friction=[0.5, 0.005, 1e-4],
            condim=4,
            group=3,
        )
