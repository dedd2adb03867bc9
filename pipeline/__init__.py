"""Everything between the networks and the jobs."""
