import robo4d.sim  # noqa: F401  chooses how MuJoCo draws, before a test module imports MuJoCo itself
