"""Tags of registered versions that several parts read."""

DIGEST_TAG = "star.weights_sha256"
"""SHA-256 over the weights."""

CHECKPOINT_TAG = "star.checkpoint"
"""Folder of the checkpoint that the version was made from, a path or URI."""

BASE_TAG = "star.base"
"""Checkpoint that the fine-tunings of the version's lineage start from."""

BATCHES_TAG = "star.batches"
"""Ids of the sealed batches that it was trained on, with commas between them."""
