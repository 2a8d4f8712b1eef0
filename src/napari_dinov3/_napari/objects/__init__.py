"""What the objects panel does in napari, without Qt."""
