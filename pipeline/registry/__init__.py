"""Trained networks by name: where a training's checkpoints are, and models registered from them."""
