"""How the embedded tracker searches."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SearchRound:
    """One pass over hypotheses, from coarse to fine."""

    hypotheses: int
    spread: float
    """Standard deviation of the scatter, as a share of the step."""
    tolerance: float
    """Difference of depth that agrees, relative to the last round's: what is half a step off must still score."""
    kept: int
    """How many of the hypotheses go on."""

    def __post_init__(self) -> None:
        """Refuse a round that finds nothing."""
        if not 1 <= self.kept <= self.hypotheses or self.spread <= 0 or self.tolerance < 1:
            raise ValueError(f"1 <= kept <= hypotheses, spread > 0 and tolerance >= 1 must hold, got {self}")


@dataclass(frozen=True, kw_only=True)
class GeometricTrackerConfig:
    """How the embedded tracker searches."""

    tolerance_m: float = 0.015
    """Difference of depth up to which a pixel agrees with the rendering [m]."""
    trusted: float = 0.6
    """Confidence from which a pose counts as borne out."""
    step_m: float = 0.05
    """Standard deviation of the motion between two moments along each axis [m]."""
    step_deg: float = 20.0
    """Standard deviation of the rotation between two moments about each axis [deg]."""
    rounds: tuple[SearchRound, ...] = (
        SearchRound(hypotheses=180, spread=1.0, tolerance=8 / 3, kept=8),
        SearchRound(hypotheses=90, spread=0.2, tolerance=4 / 3, kept=6),
    )
    masked_round: SearchRound = SearchRound(hypotheses=128, spread=0.5, tolerance=2.0, kept=4)
    """The search about the mask's middle, where there is a mask; the rounds above are for when it finds nothing."""
    seed: int = 0
    """Selects the hypotheses."""

    def __post_init__(self) -> None:
        """Refuse a search that finds nothing."""
        if min(self.tolerance_m, self.step_m, self.step_deg) <= 0 or not 0 < self.trusted < 1 or not self.rounds:
            raise ValueError(f"tolerance, steps and rounds must be positive, trusted between 0 and 1, got {self}")
