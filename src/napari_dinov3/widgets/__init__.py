"""The dock widgets: one task, one file."""
