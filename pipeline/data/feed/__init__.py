"""From prepared videos to the batches of a run, as pure functions of the plan."""
