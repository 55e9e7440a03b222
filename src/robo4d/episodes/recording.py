"""An episode for the rerun viewer (rerun.io): cameras, points, tool paths and images on one time line."""

from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from robo4d.episodes.format import DEPTH_UNIT, Episode
from robo4d.geometry import se3

_POINTS_PER_VIEW = 6000
"""Points shown of each view and frame: enough to see shapes, and small to store."""
_ARM_COLOURS = {"left": (31, 119, 180), "right": (214, 39, 40)}

_GREY = (200, 200, 200)


def write_recording(episode: Episode, views: tuple[int, ...], path: Path) -> None:
    """Write some views of an episode to an .rrd file."""
    stream = rr.RecordingStream("robo4d", recording_id=path.stem)
    stream.save(path)
    stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for view in views:
        camera = episode.cameras[view]
        k, T = camera.intrinsics, camera.T_world_camera
        entity = f"world/view_{view}"
        stream.log(entity, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]), static=True)
        stream.log(
            f"{entity}/image",
            rr.Pinhole(
                image_from_camera=k.matrix,
                resolution=[k.width, k.height],
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=0.15,
            ),
            static=True,
        )
    for index, arm in enumerate(episode.info.arms):
        path_world = episode.motion.T_world_tcp[:, index, :3, 3]
        stream.log(
            f"world/{arm}_path",
            rr.LineStrips3D([path_world], colors=[_ARM_COLOURS.get(arm, (200, 200, 200))]),
            static=True,
        )
    for time in range(len(episode)):
        stream.set_time("time", duration=np.timedelta64(int(episode.motion.stamps_ns[time]), "ns"))
        for index, arm in enumerate(episode.info.arms):
            T = episode.motion.T_world_tcp[time, index]
            entity = f"world/{arm}_tcp"
            stream.log(entity, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]), rr.TransformAxes3D(0.08))
            stream.log(f"{arm}/gripper_width", rr.Scalars(float(episode.motion.gripper_width[time, index])))
        for view in views:
            _log_view(stream, episode, view, time)
    images = [rrb.Spatial2DView(origin=f"world/view_{view}/image", name=f"view {view}") for view in views]
    stream.send_blueprint(
        rrb.Horizontal(rrb.Spatial3DView(origin="world"), rrb.Vertical(*images), column_shares=[3, 2])
    )
    stream.flush()


def _log_view(stream: "rr.RecordingStream", episode: Episode, view: int, time: int) -> None:
    frame = episode.frame(view, time)
    entity = f"world/view_{view}"
    stream.log(f"{entity}/image/colour", rr.Image(frame.rgb).compress(jpeg_quality=85))
    stored = np.rint(frame.depth / DEPTH_UNIT).astype(np.uint16)
    stream.log(f"{entity}/image/depth", rr.DepthImage(stored, meter=1 / DEPTH_UNIT))
    points = frame.pointmap()
    step = max(1, round(np.sqrt(points.valid.size / _POINTS_PER_VIEW)))
    kept = np.s_[::step, ::step]
    valid = points.valid[kept]
    cloud = se3.apply(episode.cameras[view].T_world_camera, points.points[kept][valid])
    stream.log(f"world/points_{view}", rr.Points3D(cloud, colors=frame.rgb[kept][valid], radii=0.003))
