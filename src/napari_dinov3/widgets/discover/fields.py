"""The controls of the Discover panel, as plain descriptions."""

from __future__ import annotations

from napari_dinov3.discover.tokencut import ONE_CLICK
from napari_dinov3.widgets.form import Choice, Flag, Number

SIDES = (
    ("seed", "strongest"),
    ("border", "inside"),
    ("bright", "brighter"),
    ("dark", "darker"),
    ("click", "clicked place"),
)
SPLITS = (("mean", "mean"), ("median", "median"), ("gap", "largest gap"), ("otsu", "Otsu"))
PIECES = (("seed", "strongest"), ("largest", "largest"), ("all", "all"))
STACKS = (("planes", "one by one"), ("matched", "matched"), ("joint", "together"), ("window", "neighbours"))
METHODS = (("pieces", "pieces of the mask"), ("maskcut", "repeated cuts"), ("clusters", "clusters"))

TAU_LABEL = "Tau (cosine)"
TAU_TIP = "Patches more alike than this are linked; the bars show how alike they are. It needs a new cut."
AUTO_FIELDS = (Flag("auto_tau", "Choose tau for each plane", "Take the threshold with the clearest cut, out of a sweep.", True),)
STACK_FIELDS = (
    Choice(
        "stack",
        "Planes",
        "One by one; matched to the plane before; all in one graph; or in one graph that links neighbouring planes only.",
        "planes",
        STACKS,
    ),
    Number("window", "Neighbours (planes)", "Only planes at most this far apart are linked.", 2, 1, 99, 1, 0),
)
MASK_FIELDS = (
    Choice("bipartition", "Split at", "Where the eigenvector is split into two sides; the paper takes the mean.", "otsu", SPLITS),
    Choice(
        "side",
        "Foreground",
        "The object's side: with the strongest patch (the paper), off the border, or as it says.",
        "border",
        SIDES,
    ),
    Choice(
        "component", "Pieces", "Which connected pieces are kept: the paper keeps the one with the strongest patch.", "all", PIECES
    ),
    Number("opening", "Opening (patches)", "Radius of an opening, which drops specks and thin bridges.", 0, 0, 50, 1, 0),
    Number("closing", "Closing (patches)", "Radius of a closing, which bridges narrow gaps.", 0, 0, 50, 1, 0),
    Number("min_area", "Smallest (patches)", "Pieces of fewer patches are dropped.", 0, 0, 100_000, 1, 0),
    Number(
        "refine",
        "Follow edges (px)",
        "How far outlines may move to the edges of the image; 0 leaves them on patches.",
        ONE_CLICK.refine,
        0,
        512,
        4,
        0,
    ),
    Flag("fill_holes", "Fill holes", "Background enclosed by the mask joins it.", False),
    Flag("invert", "Invert", "Take the other side.", False),
)
OBJECT_FIELDS = (
    Choice("objects", "Objects by", "What is one object: a piece, what a further cut finds, or a cluster.", "pieces", METHODS),
    Number("rounds", "Objects (most)", "How many times the rest is cut again.", 3, 1, 50, 1, 0),
    Number("clusters", "Clusters (0: auto)", "How many; 0 takes the number before the widest eigengap.", 0, 0, 50, 1, 0),
)
BOXES_TIP = "Add a shapes layer with a box around each piece."
VECTOR_TIP = "Add the maps that were split, one value a patch, as image layers."
SCRIBBLES_TIP = "Add a labels layer with sure background (1) and foreground (2), and hand it to the Segment panel."
OBJECTS_TIP = "Add a labels layer in which each object has a number of its own through all planes."
