"""Whole images from folders and tables to classes: what is read, left out, kept apart, written and applied again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.cli import main
from napari_dinov3.errors import InputError
from napari_dinov3.io.labelled_images import read_image_set
from napari_dinov3.progress import collect
from napari_dinov3.recipe.image_run import classify_images, classify_planes, plane_groups, predict_images
from napari_dinov3.recipe.image_vectors import VectorConfig, embed_images_steps


def texture(kind: str, seed: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Stripes or blobs with noise."""
    rows, cols = np.indices(shape)
    wave = np.sin(cols / 1.5) if kind == "stripes" else np.sin(rows / 6) * np.sin(cols / 6)
    return (120 + 60 * wave + np.random.default_rng(seed).normal(0, 10, shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind in ("stripes", "blobs"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for seed in range(6):
            nd.write(tmp_path / "set" / kind / f"{seed}.png", texture(kind, seed, (40 + 8 * seed, 64)))
    return tmp_path / "set"


def test_folders_are_classes_and_sizes_may_differ(root: Path) -> None:
    found = classify_images(root, folds=3)
    assert found.result.top(1) == 1 and found.result.classes == ("blobs", "stripes")
    assert len(found.vectors.vectors) == 12 and not found.vectors.failed
    assert "stripes/0.png" in found.result.names  # both classes have a 0.png
    assert found.vectors.made_by["pooling"] == "mean+std" and found.vectors.made_by["stride"] == 8


def test_subfolders_are_groups_across_classes(root: Path) -> None:
    for kind in ("stripes", "blobs"):
        for seed in range(6):
            subject = root / kind / f"subject{seed // 2}"
            subject.mkdir(exist_ok=True)
            (root / kind / f"{seed}.png").rename(subject / f"{seed}.png")
    assert {image.group for image in read_image_set(root)} == {"subject0", "subject1", "subject2"}
    found = classify_images(root)
    for subject in range(3):
        held = [f for f, group in zip(found.result.fold, found.vectors.groups, strict=True) if group == f"subject{subject}"]
        assert len(set(held)) == 1


def test_a_bad_file_is_named_and_left_out(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "blobs" / "broken.png").write_bytes(b"nothing")
    np.save(root / "blobs" / "hole.npy", np.full((20, 20), np.nan))
    assert main(["classify", str(root), "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert "broken.png" in shown.err and "hole.npy holds no finite pixel" in shown.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.npz", "report.md", "classes.csv", "confusion.csv", "confusion.png", "predictions.csv"}
    assert "Top-1 1.0000" in shown.out and "broken.png" in (tmp_path / "out" / "report.md").read_text()


def test_tables_of_files_and_planes(tmp_path: Path, root: Path) -> None:
    stack = np.stack([texture(("stripes", "blobs")[n % 2], n) for n in range(8)])
    nd.write(tmp_path / "stack.tif", stack)
    lines = [f"stack.tif;{n};{('stripes', 'blobs')[n % 2]};{n}" for n in range(8)]
    (tmp_path / "table.csv").write_text("\ufeff" + "\n".join(["File;plane;Label;group", *lines]), encoding="utf-8")
    found = classify_images(tmp_path / "table.csv", folds=4)
    assert found.result.top(1) == 1 and found.result.names[3] == "stack.tif [3]"


def test_every_plane_of_a_file_counts_and_planes_stay_together(tmp_path: Path) -> None:
    for kind in ("stripes", "blobs"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for seed in range(2):
            nd.write(tmp_path / "set" / kind / f"{seed}.tif", np.stack([texture(kind, 3 * seed + n) for n in range(3)]))
    found = classify_images(tmp_path / "set")
    assert len(found.result.truth) == 12 and len(np.unique(found.result.fold)) == 2
    for start in range(0, 12, 3):
        assert len(set(found.result.fold[start : start + 3])) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,plane\na.png,0\n", "label is missing"),
        ("name,class\na.png,0\n", "file and label is missing"),
        ("file,label\na.png,x\nb.png,\n", "line 3"),
        ("file,label,plane\na.png,x,one\n", "plane 'one'"),
        ("file,label\na.png,x\nb.png,x\n", "one class only: x"),
        ("file,label\n", "one class only: none"),
        ("file,label\nmissing.png,x\ngone.png,y\n", "None of 2 images could be read"),
        ("", "label is missing"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        classify_images(tmp_path / "table.csv")


def test_a_class_with_a_single_image_is_named(root: Path) -> None:
    for path in list((root / "blobs").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="A single image \\(or group\\) of blobs"):
        classify_images(root)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folders"):
        read_image_set(tmp_path)
    (tmp_path / "one").mkdir()
    nd.write(tmp_path / "one" / "a.png", texture("blobs", 0))
    with pytest.raises(InputError, match="one class only: one"):
        read_image_set(tmp_path)
    with pytest.raises(InputError, match="nothing at"):
        read_image_set(tmp_path / "gone")


def test_a_saved_model_classifies_new_images_the_same_way(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = classify_images(root, folds=2, size=32)
    found.save(tmp_path / "out")
    again = predict_images(tmp_path / "out" / "model.npz", root)
    assert again.labels == found.model.predict(found.vectors.vectors) and again.classes == ("blobs", "stripes")
    (tmp_path / "new").mkdir()
    nd.write(tmp_path / "new" / "x.png", texture("stripes", 99, (90, 70)))
    (tmp_path / "new" / "bad.tif").write_bytes(b"x")
    words = ["--model", str(tmp_path / "out" / "model.npz"), "--out", str(tmp_path / "p.csv")]
    assert main(["classify", str(tmp_path / "new"), *words]) == 1
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert rows["x.png"]["class"] == "stripes" and float(rows["x.png"]["p_stripes"]) > 0.5
    assert rows["bad.tif"]["class"] == "" and rows["bad.tif"]["error"]
    assert "bad.tif" in capsys.readouterr().err


def test_colour_counts_where_every_image_has_it(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name, tint in (("red", (1.0, 0.3, 0.3)), ("blue", (0.3, 0.3, 1.0))):
        (tmp_path / "set" / name).mkdir()
        for seed in range(3):
            picture = (texture("blobs", seed)[..., None] * np.array(tint)).astype(np.uint8)
            nd.write(tmp_path / "set" / name / f"{name}{seed}.png", picture)
    images = read_image_set(tmp_path / "set")
    assert collect(embed_images_steps(images)).made_by["colour"] == "rgb"
    nd.write(tmp_path / "set" / "red" / "grey.png", texture("blobs", 7))
    mixed = collect(embed_images_steps(read_image_set(tmp_path / "set")))
    assert mixed.made_by["colour"] == "grey" and mixed.vectors.shape == (7, 64) and mixed.thumbnails.shape == (7, 96, 96)


def test_planes_of_one_stack_get_classes(tmp_path: Path) -> None:
    stack = np.stack([texture("stripes" if n < 6 else "blobs", n) for n in range(12)])
    run, found = classify_planes(stack, {0: "stripes", 1: "stripes", 4: "stripes", 7: "blobs", 8: "blobs", 11: "blobs"}, folds=2)
    assert found.labels == ["stripes"] * 6 + ["blobs"] * 6 and run.result.top(1) == 1
    assert len(found.names) == 12
    with pytest.raises(InputError, match="Plane 40"):
        classify_planes(stack, {0: "a", 40: "b"})


def test_neighbouring_planes_are_held_out_together() -> None:
    groups = plane_groups(dict.fromkeys(range(6), "a") | dict.fromkeys(range(6, 9), "b"), 2)
    assert [groups[n] for n in range(9)] == ["a 0"] * 3 + ["a 1"] * 3 + ["b 0"] * 2 + ["b 1"]


def test_large_images_are_shrunk_and_mistakes_are_pictured(root: Path, tmp_path: Path) -> None:
    nd.write(root / "blobs" / "wrong.png", texture("stripes", 50, (48, 200)))
    found = classify_images(root, size=64)
    pictures, titles = found.mistakes()
    assert "wrong.png\nblobs → stripes" in titles and pictures.shape[1:] == (96, 96)
    assert (tmp_path / "out" / "mistakes.png") in found.save(tmp_path / "out")
    with pytest.raises(InputError, match="size=3"):
        VectorConfig(size=3)


def test_slices_of_one_stack_are_classified_by_blocks_of_neighbours(tmp_path: Path) -> None:
    stack = np.stack([texture("stripes" if plane < 6 else "blobs", plane) for plane in range(12)])
    nd.write(tmp_path / "stack.tif", stack, axes="zyx")
    rows = "".join(f"stack.tif;{plane};{'left' if plane < 6 else 'right'}\n" for plane in range(12))
    (tmp_path / "slices.csv").write_text("file;plane;label\n" + rows)
    found = classify_images(tmp_path / "slices.csv", folds=3)
    assert found.result.top(1) == 1 and found.within_file == ("left", "right")
    assert [found.result.fold[at] == found.result.fold[at + 1] for at in (0, 2, 4, 6, 8, 10)] == [True] * 6
    assert "Images of another specimen may do worse" in found.to_markdown()
    named = "".join(row + ";mouse\n" for row in rows.splitlines())
    (tmp_path / "slices.csv").write_text("file;plane;label;group\n" + named)
    with pytest.raises(InputError, match=r"A single image \(or group\) of left, right"):
        classify_images(tmp_path / "slices.csv")


def test_thousands_of_images_are_not_open_at_once(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    for kind in ("stripes", "blobs"):
        (tmp_path / kind).mkdir()
        for seed in range(60):
            nd.write(tmp_path / kind / f"{seed}.tif", texture(kind, seed, (16, 16)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 40, hard))
    try:
        found = classify_images(tmp_path, folds=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found.vectors.images) == 120 and not found.vectors.failed
