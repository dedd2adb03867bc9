"""Exact scores of trained networks, and what their attention does to them."""
