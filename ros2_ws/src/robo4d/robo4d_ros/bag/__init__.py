"""Recording what is said on topics, as MCAP files that are complete at any moment."""
