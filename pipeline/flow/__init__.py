"""Optical flow of videos: computed, quantised and stored."""
