"""Stands in for a library: writes down what it is sent, and answers, prints, dies or hangs as its folder says."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, os.environ["WIRE_FOLDER"])
import wire

FOLDER = Path(os.environ["STAND_IN_FOLDER"])


def handle(values, arrays):
    print("Welcome")  # as the libraries do, where the replies go
    with (FOLDER / "requests.jsonl").open("a") as log:
        specs = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
        log.write(json.dumps({**values, "arrays": specs}) + "\n")
    np.savez(FOLDER / f"{values['op']}.npz", **arrays)
    mishap = FOLDER / "mishap"
    if values["op"] != "create" and mishap.exists():
        kind = mishap.read_text()
        mishap.unlink()
        if kind == "die":
            os._exit(3)
        if kind == "hang":
            time.sleep(1000)
        raise RuntimeError("out of memory")
    if values["op"] == "create":
        return {}, {}
    return {}, {"T_camera_mesh": np.load(FOLDER / "answer.npy")}


if __name__ == "__main__":
    wire.serve(handle)
