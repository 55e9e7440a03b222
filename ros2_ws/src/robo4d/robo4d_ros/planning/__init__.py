"""Parts of the planner node."""
