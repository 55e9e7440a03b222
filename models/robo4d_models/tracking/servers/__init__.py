"""Programs that run in the environment of one pose tracker, which need not have Robo4D; numpy is all they share.

Each adapts one library to the requests of `robo4d_models.tracking.foundationpose`: `create`, `register`, `track`.
"""
