"""Backbones behind one Protocol, and the registry of their names."""
