"""Everything that knows napari but not Qt."""
