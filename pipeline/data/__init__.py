"""From official metadata and encoded videos to training batches."""
