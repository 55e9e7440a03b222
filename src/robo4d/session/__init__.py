"""A session: from looking to looking again. `machine.py` decides, and knows neither clocks nor ROS."""

from robo4d.session.config import SessionConfig
from robo4d.session.machine import Session
from robo4d.session.values import (
    Command,
    Execute,
    Generate,
    Proposal,
    Refused,
    Request,
    State,
    Surroundings,
    Transition,
)

__all__ = [
    "Command",
    "Execute",
    "Generate",
    "Proposal",
    "Refused",
    "Request",
    "Session",
    "SessionConfig",
    "State",
    "Surroundings",
    "Transition",
]
