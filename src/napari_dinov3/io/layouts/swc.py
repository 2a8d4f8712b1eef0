"""SWC tracings of neurons: nodes as points with their radius, and the lines between them, over their stack where it is there.

A row is ``id type x y z radius parent``. A tracing beside a stack of the same name counts the stack's voxels; one that stands
alone counts micrometres, as the format says.

References
----------
Cannon et al. 1998, Journal of Neuroscience Methods, doi:10.1016/S0165-0270(98)00091-0.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.text import read_text
from napari_dinov3.io.vectors import VectorFile

_TYPES = {0: "undefined", 1: "soma", 2: "axon", 3: "dendrite", 4: "apical dendrite"}
_STACKS = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".nii", ".nii.gz", ".nrrd", ".h5", ".ome.zarr", ".zarr")


def read_nodes(path: Path) -> npt.NDArray[np.float64]:
    """Read the table of a tracing.

    Returns
    -------
    nodes : (n, 7) float64
        id, type, x, y, z, radius, parent; a parent is a known id or -1.

    Raises
    ------
    FileFormatError
        If a row is no node, or a parent is missing.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            values = [float(word) for word in words[:7]]
        except ValueError:
            values = []
        if len(values) != 7 or not np.isfinite(values).all():
            raise FileFormatError(
                f"Line {number} of {path.name} is {line[:60]!r}", "id, type, x, y, z, radius and parent", "Correct this line"
            )
        rows.append(values)
    nodes = np.array(rows, dtype=np.float64).reshape(-1, 7)
    ids = set(nodes[:, 0])
    if not len(nodes) or len(ids) < len(nodes) or not set(nodes[:, 6]) <= ids | {-1.0}:
        raise FileFormatError(
            f"{path.name} has {len(nodes)} nodes", "nodes of their own ids, with known parents", "Repair the tracing"
        )
    return nodes


def _read(path: Path) -> tuple[ImageFile | VectorFile, ...]:
    from napari_dinov3.io.reading import read

    nodes = read_nodes(path)
    beside = next((p for ending in _STACKS if (p := path.with_name(path.stem + ending)).exists()), None)
    stack = None if beside is None else read(beside)
    if stack is None or "zyx" not in stack.space:
        return _tracing(path, nodes, (1.0,) * 3, ("micrometer",) * 3, None)
    at = [stack.space.index(a) for a in "zyx"]
    keep = [*at, len(stack.space)]
    place = None if stack.placement is None else stack.placement[np.ix_(keep, keep)]
    return stack, *_tracing(path, nodes, tuple(stack.spacing[i] for i in at), tuple(stack.units[i] for i in at), place)


def _tracing(
    path: Path,
    nodes: npt.NDArray[np.float64],
    spacing: tuple[float, ...],
    units: tuple[str, ...],
    placement: npt.NDArray[np.float64] | None,
) -> tuple[VectorFile, ...]:
    points = nodes[:, [4, 3, 2]]
    row_of = {number: row for row, number in enumerate(nodes[:, 0])}
    children = np.flatnonzero(nodes[:, 6] != -1)
    parents = np.array([row_of[number] for number in nodes[children, 6]], dtype=int)
    kinds = [_TYPES.get(int(kind), f"type {int(kind)}") for kind in nodes[:, 1]]
    facts = MappingProxyType({"format": "SWC", "nodes": len(nodes)})
    shared = {"axes": "zyx", "spacing": spacing, "units": units, "path": path, "placement": placement, "facts": facts}
    lines = np.stack([points[parents], points[children]], axis=1).reshape(-1, 2, 3)
    known = {"id": nodes[:, 0].astype(int), "type": kinds, "radius": nodes[:, 5]}
    return (
        VectorFile("lines", lines, name=path.stem, columns={"type": [kinds[child] for child in children]}, **shared),  # type: ignore[arg-type]
        VectorFile("points", points, name=f"{path.stem} nodes", columns=known, **shared),  # type: ignore[arg-type]
    )


LAYOUT = Layout("SWC", lambda path: path.suffix.lower() == ".swc" and path.is_file(), _read)
