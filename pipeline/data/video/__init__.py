"""Exact frames out of video files, and the truth about broken ones."""
