"""What the discover panel does in napari, without Qt."""
