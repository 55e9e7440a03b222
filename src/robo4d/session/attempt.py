"""An attempt at a plan: a video that is asked for, and what comes of it, in whatever order the news arrive."""

from robo4d.session.values import Proposal


class Attempt:
    """From the request for a video to the plan that follows from it."""

    def __init__(self) -> None:
        self.generating = True
        """Whether the generator has not answered yet."""
        self.observation_ns: int | None = None
        """Stamp of the observation that the video starts from [ns]; None where there is no video."""
        self.message = ""
        """What prevented the video."""
        self._newest: Proposal | None = None

    @property
    def plan(self) -> Proposal | None:
        """The plan, as soon as it and the video are there."""
        newest = self._newest
        return newest if newest and newest.stamp_ns == self.observation_ns else None

    def generated(self, observation_ns: int | None, message: str) -> None:
        """The generator's answer; see `Session.generated`."""
        self.generating, self.observation_ns, self.message = False, observation_ns, message

    def planned(self, proposal: Proposal) -> None:
        """A plan was published; once its own is there, no other takes its place."""
        if self.plan is None:
            self._newest = proposal
