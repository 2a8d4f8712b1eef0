"""What the align panel does in napari, without Qt."""
