"""The part that knows napari but no Qt: layers, sessions, settings, sample data.

Everything here works on a :class:`napari.components.ViewerModel` as well, so that it can be tested and scripted without a
window. The numbers come from the public functions of :mod:`napari_dinov3` alone.
"""
