"""``discover`` and ``sweep`` from files to files."""

import csv

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3 import cli

FAST = ["--backbone", "filter-bank", "--stride", "2"]
VOC = """<annotation><object><name>cell</name><difficult>0</difficult>
<bndbox><xmin>25</xmin><ymin>17</ymin><xmax>48</xmax><ymax>40</ymax></bndbox></object></annotation>"""


@pytest.fixture
def folder(tmp_path):
    """Two images of one bright square each, with labels and VOC annotations of the same names."""
    for name in ("images", "labels", "voc"):
        (tmp_path / name).mkdir()
    for seed, name in enumerate(("a", "b")):
        image = np.random.default_rng(seed).normal(80, 5, (64, 80))
        labels = np.zeros(image.shape, np.uint8)
        labels[16:40, 24:48] = 1
        nd.write(tmp_path / "images" / f"{name}.tif", (image + 100 * labels).astype(np.uint8))
        nd.write(tmp_path / "labels" / f"{name}.tif", labels, kind="labels")
        (tmp_path / "voc" / f"{name}.xml").write_text(VOC)
    return tmp_path


@pytest.fixture
def stack(tmp_path):
    """Three planes with two squares of different colours."""
    image = np.random.default_rng(0).normal(60, 3, (3, 64, 80, 3))
    image[:, 8:28, 10:30, 0] += 150
    image[:, 36:58, 44:70, 2] += 150
    return nd.write(tmp_path / "stack.ome.tif", image.astype(np.uint8), axes="zyxs")


def run(*words) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize("objects", ["pieces", "maskcut", "clusters"])
def test_objects_are_written_as_labels_with_boxes(objects, stack, tmp_path, capsys):
    out, boxes, recipe = tmp_path / "objects.tif", tmp_path / "boxes.csv", tmp_path / "recipe.json"
    how = {
        "pieces": ["--stack", "joint"],
        "maskcut": ["--rounds", "2", "--bipartition", "otsu"],
        "clusters": ["--clusters", "3"],
    }
    assert run("discover", stack, out, *FAST, "--objects", objects, *how[objects], "--boxes", boxes, "--recipe", recipe) == 0
    assert "Wrote" in capsys.readouterr().out
    labels = np.asarray(nd.read(out).data)
    first, second = labels[:, 18, 20], labels[:, 46, 56]
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    if objects != "pieces":  # the mask of one cut need not hold both
        assert first[0] != second[0]
        assert boxes.read_text().startswith("plane,label,row0")
    again = tmp_path / "again"
    again.mkdir()
    assert run("run", recipe, "--overwrite") == 0
    np.testing.assert_array_equal(np.asarray(nd.read(out).data), labels)


def test_a_window_is_handed_on(stack, tmp_path):
    assert run("discover", stack, tmp_path / "masks.tif", *FAST, "--stack", "joint", "--window", "1") == 0
    assert run("discover", stack, tmp_path / "none.tif", *FAST, "--window", "1") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["--objects", "clusters", "--clusters", "many"],
        ["--objects", "clusters", "--clusters", "1"],
        ["--objects", "clusters", "--side", "seed"],
        ["--objects", "maskcut", "--refine", "8"],
        ["--objects", "maskcut", "--rounds", "0"],
    ],
)
def test_options_that_do_not_go_together_are_refused(wrong, stack, tmp_path, capsys):
    assert run("discover", stack, tmp_path / "objects.tif", *FAST, *wrong) == 2
    assert not (tmp_path / "objects.tif").exists()
    assert capsys.readouterr().err.strip()


@pytest.mark.parametrize("truth", ["labels", "voc"])
def test_a_sweep_scores_folders(truth, folder, capsys):
    table = folder / "sweep.csv"
    words = ["--taus", "0.2,0.6", "--rules", "one-click", "--table", table]
    assert run("sweep", folder / "images", folder / truth, *FAST, *words) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["tau"] for row in rows] == ["0.2", "0.6"]
    assert max(float(row["corloc"]) for row in rows) == 1.0
    assert (rows[0]["mean_mask_iou"] == "nan") == (truth == "voc")
    assert "Best tau" in capsys.readouterr().out


def test_a_sweep_of_one_stack_is_drawn(stack, tmp_path):
    pytest.importorskip("matplotlib")
    labels = np.zeros((3, 64, 80), np.uint8)
    labels[:, 8:28, 10:30] = 1
    truth = nd.write(tmp_path / "labels.tif", labels, kind="labels")
    plot, table = tmp_path / "sweep.png", tmp_path / "sweep.md"
    assert run("sweep", stack, truth, *FAST, "--taus", "0.3", "--plot", plot, "--table", table) == 0
    assert plot.stat().st_size > 1000
    assert table.read_text().startswith("| tau | planes |")
    assert run("sweep", stack, truth, *FAST, "--taus", "0.3", "--plot", plot) == 2  # it exists


def test_what_does_not_belong_together_is_said(folder, stack, tmp_path, capsys):
    assert run("sweep", stack, folder / "labels" / "a.tif", *FAST) == 2
    assert "planes" in capsys.readouterr().err
    assert run("sweep", folder / "images", tmp_path / "nowhere", *FAST) == 2
    (folder / "voc" / "a.xml").rename(folder / "voc" / "c.xml")
    (folder / "voc" / "b.xml").rename(folder / "voc" / "d.xml")
    assert run("sweep", folder / "images", folder / "voc", *FAST) == 2
    assert run("sweep", stack, stack, *FAST, "--taus", "a,b") == 2
    assert run("sweep", stack, stack, *FAST, "--table", tmp_path / "t.xlsx") == 2


def test_one_piece_in_one_plane_is_called_so(folder, tmp_path, capsys):
    assert run("discover", folder / "images" / "a.tif", tmp_path / "mask.tif", *FAST, "--component", "largest") == 0
    assert "1 piece in 1 plane;" in capsys.readouterr().out
