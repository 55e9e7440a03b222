"""The simulated cell: two Franka Panda arms at a table, in MuJoCo. Nothing outside this package imports MuJoCo."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read once, when mujoco is imported: rendering needs no screen
