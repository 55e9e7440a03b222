import imageio.v2 as imageio
import numpy as np
from PIL import Image

from robo4d.evaluation.chart import step_chart
from robo4d.evaluation.pictures import write_pictures
from robo4d.video import PointmapVideo


def test_a_clip_becomes_a_strip_and_a_video_of_colour_depth_and_masks(tmp_path):
    video = PointmapVideo.example()
    true, found = ({"left": np.zeros(video.valid.shape, bool)} for _ in range(2))
    found["left"][:, :, :3] = True
    write_pictures(
        video,
        video,
        tmp_path / "made" / "clip",
        found=found,
        true_grippers=true,
        title="grey",
        subtitle="nothing moves",
    )
    strip = np.asarray(Image.open(tmp_path / "made" / "clip.png")).astype(int)
    assert strip.shape[0] > 6 * 150  # colour, depth and masks, true and predicted
    marked = (strip[..., 2] - strip[..., 0] > 60).sum(axis=1)  # blue, as the left hand is
    assert marked[-220:-80].max() > 10 * 190  # predicted masks, in all moments of both views
    assert marked[-370:-240].max() == 0  # true ones
    frames = imageio.mimread(tmp_path / "made" / "clip.mp4")
    assert len(frames) == len(video.times_s)


def test_a_chart_has_a_line_for_each_reading_and_skips_what_is_not_known():
    lines = {"tcp": [5.0, float("nan"), 20.0], "plan_head": [50.0, 40.0, 30.0], "nothing": [float("nan")] * 3}
    chart = step_chart(lines, [0.5, 1.0, 1.5], title="errors", unit="mm").astype(int)
    blue, orange = (np.abs(chart - colour).max(axis=-1) < 40 for colour in ([31, 119, 180], [255, 127, 14]))
    green = np.abs(chart - [44, 160, 44]).max(axis=-1) < 40
    assert min(blue[100:].sum(), orange[100:].sum()) > 100
    assert not green.any()
    assert np.nonzero(orange[100:])[0].mean() < np.nonzero(blue[100:])[0].mean()  # greater errors are higher up
