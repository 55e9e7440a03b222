"""Records all topics into one MCAP file, which is readable at any moment."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.node import Node

from robo4d_ros import parameters
from robo4d_ros.bag.mcap_file import McapFile
from robo4d_ros.bag.recorder import Recorder
from robo4d_ros.process import run


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """The recorder."""

    path: str = "session.mcap"
    """The file; it must not be there yet."""
    checkpoint_s: float = field(default=0.5, metadata={"range": (0.05, 60.0)})
    """How often what was heard is made safe against a crash [s]."""
    leave_out: tuple[str, ...] = (
        "/_action/status",
        "/_action/feedback",
        "/parameter_events",
        "predicted/points",
        "predicted/points_all",
    )
    """Ends of the names of topics that are not recorded; the clouds are in the video already."""


class RecorderNode(Node):
    """Records from its start to its end."""

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", **options)
        config = parameters.declare(self, RecorderConfig())
        try:
            self._file = McapFile(Path(config.path))
        except OSError as error:
            raise ValueError(f"cannot record to {config.path}: {error.strerror}") from error
        self._recorder = Recorder(self, self._file, checkpoint_s=config.checkpoint_s, leave_out=config.leave_out)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def main() -> None:
    """Run the node."""
    run(RecorderNode)


if __name__ == "__main__":
    main()
