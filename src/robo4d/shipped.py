"""What comes with the sources."""

from pathlib import Path

TINY = Path(__file__).parents[2] / "models/checkpoints/tiny"
"""Weights of the tiny preset, and their model card."""
