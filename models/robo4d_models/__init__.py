"""The learned parts of Robo4D, on torch."""
