"""From official metadata files to listings; no video is touched."""
