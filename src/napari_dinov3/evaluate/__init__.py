"""Measures, the reference experiments and their report."""
