"""The two-stream network with cross attention: two streams, each shown where the other looks, and its baselines."""
