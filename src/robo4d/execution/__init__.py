"""Execution of plans and teleoperation: what every arm is commanded at every tick, and when it must not move.

`executor.Executor` is the whole of it, without ROS: a state machine that is stepped at 100 Hz. Needs the extra
`motion`. Its stop is not a safety function: the robot's own emergency stop is.
"""
