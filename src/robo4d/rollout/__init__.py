"""Closed-loop success over unseen starts and cameras. Read `episode.py` first."""
