"""From gripper tracks to plans that an arm can execute: smoothing, path, timing, kinematics, checks.

`planner.Planner` runs it all and needs the extra `motion`; smoothing, path and checks work without it.
"""
