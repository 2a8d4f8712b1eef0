"""What the segment panel does in napari, without Qt."""
