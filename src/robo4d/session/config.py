"""What can be chosen about a session."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """How a session goes on by itself, and how long it waits."""

    auto_approve: bool = False
    """Execute accepted plans without asking anybody, and give up what would need somebody: for simulation only."""
    overlap: bool = False
    """Make the next plan while a plan is executed, from its predicted end; each second plan starts from new images."""
    max_looks: int = 20
    """Plans that are executed before the session ends."""
    still_looks: int = 2
    """Plans without motion, one after the other, that end the session: nothing is left to do."""
    max_attempts: int = 3
    """Videos that are made, with a seed each, before an observation without an accepted plan ends in HOLD."""
    seed: int = 0
    """Of the first video; each further one takes the next."""
    speed_scale: float = 1.0
    """Share of its own speed at which a plan is executed, 0.1 to 1."""
    rest_s: float = 0.6
    """The arms must have stood still this long before an observation counts [s]: longer than images are old."""
    handover_limit_s: float = 15.0
    """For the arms to come to rest [s]."""
    observe_limit_s: float = 15.0
    """For the generator to begin [s]."""
    generate_limit_s: float = 180.0
    """For a video [s]; the paper's model takes 30 s on its GPU."""
    plan_limit_s: float = 60.0
    """For tracking and planning [s]."""
    review_limit_s: float = 90.0
    """For the operator's decision [s]; the executor takes no plan whose observation is older than 120 s."""
    execution_slack_s: float = 30.0
    """Beyond the duration of a plan at its speed, for grippers and stops [s]."""
    pause_limit_s: float = 300.0
    """For a paused plan to be resumed [s]."""

    def __post_init__(self) -> None:
        """Refuse what would never begin or never end."""
        counts = (self.max_looks, self.still_looks, self.max_attempts)
        waits = [value for name, value in vars(self).items() if name.endswith("_s")]
        if min(counts) < 1 or min(waits) <= 0 or not 0.1 <= self.speed_scale <= 1 or self.seed < 0:
            raise ValueError(f"counts and times must be positive, speed_scale 0.1 to 1, seed not negative, got {self}")
