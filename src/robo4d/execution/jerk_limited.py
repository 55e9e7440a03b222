"""From one velocity to another with bounded acceleration and jerk."""

import numpy as np
import ruckig
from jaxtyping import Float
from numpy import ndarray as Array


def toward(
    velocity: Float[Array, " k"],
    acceleration: Float[Array, " k"],
    target: Float[Array, " k"],
    *,
    max_acceleration: Float[Array, " k"],
    max_jerk: Float[Array, " k"],
    period_s: float,
) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, " k"]]:
    """The first period of the fastest change to the target velocity, each axis by itself.

    Planned anew each period, so that the target may change at any time. An acceleration above its bound is first
    reduced, at the bound of the jerk.

    Returns:
        Displacement within the period, velocity and acceleration at its end.

    Raises:
        ValueError: a value is not finite, or a bound not positive.
    """
    problem = ruckig.InputParameter(len(velocity))
    problem.control_interface = ruckig.ControlInterface.Velocity
    problem.synchronization = ruckig.Synchronization.No
    problem.current_position = [0.0] * len(velocity)
    problem.current_velocity, problem.current_acceleration = velocity.tolist(), acceleration.tolist()
    problem.target_velocity = target.tolist()
    problem.max_acceleration, problem.max_jerk = max_acceleration.tolist(), max_jerk.tolist()
    trajectory = ruckig.Trajectory(len(velocity))
    try:
        result = ruckig.Ruckig(len(velocity)).calculate(problem, trajectory)
    except RuntimeError as error:
        raise ValueError(f"no jerk-limited way from {velocity} to {target}: {error}") from None
    if result not in (ruckig.Result.Working, ruckig.Result.Finished):
        raise ValueError(f"no jerk-limited way from {velocity} to {target}: {result}")
    displacement, velocity_after, acceleration_after = trajectory.at_time(period_s)
    return np.array(displacement), np.array(velocity_after), np.array(acceleration_after)
