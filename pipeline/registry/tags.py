"""Tags of registered versions that several parts read."""

DIGEST_TAG = "star.weights_sha256"
"""SHA-256 over the weights."""

CHECKPOINT_TAG = "star.checkpoint"
"""Folder of the checkpoint that the version was made from, a path or URI."""
