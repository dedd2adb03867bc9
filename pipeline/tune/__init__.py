"""Sweeps: which values of a recipe's fields serve best, and what they cost."""
