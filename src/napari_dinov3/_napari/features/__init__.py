"""What the features panel does in napari, without Qt."""
