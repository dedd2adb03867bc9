"""Entry points: each file is a job that a person or a cluster starts."""
