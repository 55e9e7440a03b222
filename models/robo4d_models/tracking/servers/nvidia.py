"""Serves NVIDIA's FoundationPose inference library (github.com/nvidia-isaac/foundation-pose-inference-library).

Runs in its container: driver 580 or newer, TensorRT, `pip install -e python/`. The weights `refiner_net.onnx` and
`score_net.onnx` and the library are found through its own variables FP_REFINE_MODEL_PATH, FP_SCORE_MODEL_PATH,
FP_ENGINE_CACHE_DIR and FP_LIBRARY.

It takes no pose to start from, and finds the object in a mask; the poses that requests carry are not used. Its score
while tracking is a constant, so none is passed on.
"""

import numpy as np
import wire
from foundation_pose_nvidia import Estimator, EstimatorOptions, RgbdFrame, RuntimeConfig

_estimators = {}


def handle(values, arrays):
    """Answer one request."""
    if values["op"] == "create":
        options = EstimatorOptions.from_env(values["cad"], mesh_unit_scale=1.0)
        size = {"max_image_width": values["width"], "max_image_height": values["height"]}
        _estimators[values["tracker"]] = Estimator(options, RuntimeConfig(**size))
        return {}, {}
    estimator = _estimators[values["tracker"]]
    images = (arrays["rgb"], arrays["depth"], arrays["K"])
    if values["op"] == "register":
        result = estimator.register(RgbdFrame(*images, arrays["mask"]))
    else:
        result = estimator.track(RgbdFrame(*images))
    return {}, {"T_camera_mesh": np.asarray(result.pose, np.float64).reshape(4, 4)}


if __name__ == "__main__":
    wire.serve(handle)
