"""Parts of the session node."""
