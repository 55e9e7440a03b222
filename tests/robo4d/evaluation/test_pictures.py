import imageio.v2 as imageio
import numpy as np
from PIL import Image

from robo4d.evaluation.pictures import write_pictures
from robo4d.video import PointmapVideo


def test_a_clip_becomes_a_strip_and_a_video(tmp_path):
    video = PointmapVideo.example()
    write_pictures(video, video, tmp_path / "made" / "clip", title="grey", subtitle="nothing moves")
    strip = np.asarray(Image.open(tmp_path / "made" / "clip.png"))
    assert strip.shape[0] > 8 * 150  # two views, colour and depth, true and predicted
    frames = imageio.mimread(tmp_path / "made" / "clip.mp4")
    assert len(frames) == len(video.times_s)
