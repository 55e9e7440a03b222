"""RGB-D images and labels of the simulated cell, from any pinhole camera.

The camera is not part of the MuJoCo model: its frustum is set in the scene directly, so that one compiled model
serves all cameras and image sizes. One pass of OpenGL gives colour and depth; labels take a second.
"""

import weakref
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import mujoco
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray as Array
from OpenGL.error import Error as OpenGLError

from robo4d.geometry import Camera
from robo4d.sim.labels import Label

_NEAR, _FAR = 0.02, 30.0
"""Clipping planes [m]: nothing of the cell is nearer to a camera or farther away."""
_MAX_GEOMS = 2000
"""Capacity of the scene; the largest task has about 200 geoms."""
_INITIAL_BUFFER = (640, 480)
"""Width and height [px] of the first frame buffer; it grows with the first larger camera."""


class Renderer:
    """Draws one MuJoCo model, as it stood at the last `update`.

    It owns an OpenGL context, which belongs to the thread that made it. Make one for each model and keep it: it
    serves every episode, camera and size. Multisampling must be off in the model (`offsamples="0"`), because a depth
    averaged over an edge lies on no surface.

    Args:
        model: The compiled model.
        objects: Bodies that get `Label.OBJECT`, with their children.
        shadows: Draw cast shadows. On a CPU they take five to ten times as long as all the rest, so they are for
            pictures to show; what is learnt from and what is learnt for must look the same.

    Raises:
        ValueError: the model asks for multisampling, or has no body of a name in `objects`.
    """

    def __init__(self, model: mujoco.MjModel, *, objects: Sequence[str] = (), shadows: bool = False) -> None:
        if model.vis.quality.offsamples:
            raise ValueError('depth needs a model without multisampling: set <quality offsamples="0"/>')
        self._model = model
        self._labels = _label_geoms(model, objects)
        self._gl = mujoco.GLContext(*_INITIAL_BUFFER)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # Reversed depth keeps float precision over the whole range, where the usual one is spent near the camera.
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_resizeOffscreen(*_INITIAL_BUFFER, self._context)
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._scene.flags[int(mujoco.mjtRndFlag.mjRND_SHADOW)] = shadows
        self._options, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._data: mujoco.MjData | None = None
        # Not while the interpreter ends: OpenGL's library may have been shut down already, and all is freed anyway.
        self._release = weakref.finalize(self, _release, self._gl, self._context)
        self._release.atexit = False

    def update(self, data: mujoco.MjData) -> None:
        """Take over the present poses of all bodies; `data` must be forward-computed and stay alive."""
        self._data = data
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            self._perturbation,
            mujoco.MjvCamera(),
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        # MuJoCo draws `segid + 1` in the id pass; our own number there saves the lookup afterwards.
        for geom in self._scene.geoms[: self._scene.ngeom]:
            geom.segid = self._labels[geom.objid] if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM else Label.BACKGROUND

    def rgbd(self, camera: Camera) -> tuple[UInt8[Array, "h w 3"], Float32[Array, "h w"]]:
        """Colour, and depth along the optical axis [m] of the pixel centres (0 where nothing is seen)."""
        height, width = camera.intrinsics.height, camera.intrinsics.width
        rgb, inverse = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
        self._draw(camera, rgb, inverse)
        with np.errstate(divide="ignore"):
            depth = 1 / (inverse * (1 / _NEAR - 1 / _FAR) + 1 / _FAR)
        depth[inverse == 0] = 0
        return np.flipud(rgb), np.flipud(depth.astype(np.float32, copy=False))

    def labels(self, camera: Camera) -> UInt8[Array, "h w"]:
        """The `Label` of each pixel."""
        height, width = camera.intrinsics.height, camera.intrinsics.width
        ids = np.empty((height, width, 3), np.uint8)
        id_pass = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        self._scene.flags[id_pass] = 1
        try:
            self._draw(camera, ids, None)
        finally:
            self._scene.flags[id_pass] = 0
        return np.flipud(np.maximum(ids[..., 0], 1) - np.uint8(1))

    def close(self) -> None:
        """Free the OpenGL context; nothing can be drawn any more."""
        self._release()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self, camera: Camera, rgb: UInt8[Array, "h w 3"], depth: Float32[Array, "h w"] | None) -> None:
        if self._data is None or not self._release.alive:
            raise ValueError("nothing to draw: call update(data) first, and do not draw after close()")
        k = camera.intrinsics
        self._gl.make_current()
        if k.width > self._context.offWidth or k.height > self._context.offHeight:
            size = max(k.width, self._context.offWidth), max(k.height, self._context.offHeight)
            mujoco.mjr_resizeOffscreen(*size, self._context)
        for eye in self._scene.camera:  # left and right of a stereo pair, of which the mean is drawn
            eye.pos = camera.T_world_camera[:3, 3]
            eye.forward = camera.T_world_camera[:3, 2]
            eye.up = -camera.T_world_camera[:3, 1]
            eye.frustum_near, eye.frustum_far = _NEAR, _FAR
            # The edges of the image on the near plane, seen from the optical axis; y upwards.
            eye.frustum_center = _NEAR * (k.width / 2 - k.cx) / k.fx
            eye.frustum_width = _NEAR * k.width / 2 / k.fx
            eye.frustum_bottom = _NEAR * (k.cy - k.height) / k.fy
            eye.frustum_top = _NEAR * k.cy / k.fy
        mujoco.mjv_makeLights(self._model, self._data, self._scene)  # the headlight moves with the camera
        viewport = mujoco.MjrRect(0, 0, k.width, k.height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(rgb, depth, viewport, self._context)


def _release(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    # Names of OpenGL's objects count per context: freed while another renderer's is current, its own would go.
    with suppress(OpenGLError):  # the garbage collector may come from any thread, while the owner still holds it
        gl.make_current()
        context.free()
        gl.free()


def _label_geoms(model: mujoco.MjModel, objects: Sequence[str]) -> list[int]:
    """The label of each geom, from the name of its body or of the nearest parent that has a label."""
    by_body = {f"{arm}_{part}": Label[f"{arm}_{part}".upper()] for arm in ("left", "right") for part in _GRIPPER_PARTS}
    by_body |= {f"{arm}_link0": Label[f"{arm}_arm".upper()] for arm in ("left", "right")}
    for name in objects:
        if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) < 0:
            raise ValueError(f"no body `{name}`; the model has {[model.body(i).name for i in range(model.nbody)]}")
        by_body[name] = Label.OBJECT
    labels = [Label.BACKGROUND] * model.nbody
    for body in range(1, model.nbody):  # parents come before their children
        labels[body] = by_body.get(model.body(body).name, labels[model.body_parentid[body]])
    return [int(labels[body]) for body in model.geom_bodyid]


_GRIPPER_PARTS = ("hand", "left_finger", "right_finger")
