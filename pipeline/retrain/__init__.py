"""Retraining that may be left alone at night: plans, gates, promotion, lineage."""
