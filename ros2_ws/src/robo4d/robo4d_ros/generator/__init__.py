"""Parts of the generator node."""
