"""A session as one self-contained page: what was imagined, what was done, and how far each was trusted."""

from robo4d.report.page import write_page
from robo4d.report.record import LookRecord, SessionRecord

__all__ = ["LookRecord", "SessionRecord", "write_page"]
