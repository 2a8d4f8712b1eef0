"""Bring sections into one frame by their patch features."""
