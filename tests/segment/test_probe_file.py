"""Probe files hold plain arrays, replace whole, and refuse what is not a probe."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.segment.linear_probe import LinearProbe
from napari_dinov3.segment.probe import Probe


def fitted(head="kernel"):
    array = np.random.default_rng(0).normal(size=(1, 6, 8, 5))
    array[:, :, 4:] += 4
    features = FeatureMap.from_array(array, stride=2)
    scribbles = np.zeros((1, 12, 16), int)
    scribbles[0, 5, :7], scribbles[0, 5, 9:] = 1, 2
    return Probe(head=head).fit(features, scribbles), features


def rewritten(path: Path, **changes) -> Path:
    """Write a probe file with some arrays or header entries exchanged; None drops one."""
    head = changes.get("head", "kernel")
    probe, _ = fitted(head if isinstance(head, str) else "kernel")
    with np.load(probe.save(path)) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    for name, value in changes.items():
        target = header if name in header else arrays
        name = name.replace("__", ".")
        if value is None:
            target.pop(name)
        else:
            target[name] = value
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **arrays)
    return path


def test_nothing_in_a_file_needs_unpickling(tmp_path: Path):
    for head in ("linear", "kernel", "forest", "boosting", "prototypes"):
        with np.load(fitted(head)[0].save(tmp_path / f"{head}.npz"), allow_pickle=False) as archive:
            assert all(archive[name].dtype.kind in "fiuU" for name in archive.files)


def test_an_unchanged_file_loads(tmp_path: Path):
    assert Probe.load(rewritten(tmp_path / "probe.npz")).classes_ == (1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "something else"},
        {"version": 99},
        {"head": "forest", "head__codes": np.array([0.5])},
        {"classes": [2, 1]},
        {"classes": [1, 2, 3]},
        {"classes": "many"},
        {"classes": [1, 2**70]},
        {"classes": [1, 2.5]},
        {"fallback": True},
        {"signature": {"backbone": "array"}},
        {"settings": {"C": 1.0, "colour": "red"}},
        {"settings": {"C": -1.0, "class_weight": None}},
        {"settings": ["C", 1.0]},
        {"settings": {"thresholds": {"1": 7.0}}},
        {"settings": {"refine": "wide"}},
        {"settings": {"device": "abacus"}},
        {"settings": {"rng": "today"}},
        {"settings": {"rng": -1}},
        {"settings": {"landmarks": 2.5}},
        {"settings": {"refine": float("nan")}},
        {"settings": {"head": "linear"}},
        {"signature": {"backbone": ["filter-bank"], "revision": "1", "stride": 2, "dim": 5}},
        {"signature": {"backbone": "array", "revision": "1", "stride": -2, "dim": 5}},
        {"head": ["kernel"]},
        {"report": 3},
        {"class_names": 3},
        {"class_names": ["cell"]},
        {"class_names": {"9": "of no class"}},
        {"class_names": {"1": 5}},
        {"class_names": {"one": "cell"}},
        {"decision": np.zeros(5, np.float32)},
        {"decision": np.full(1, np.inf, np.float32)},
        {"mean": np.zeros(4, np.float32)},
        {"mean": np.full(5, np.nan, np.float32)},
        {"scale": np.zeros(5, np.float32)},
        {"scale": None},
        {"offset": np.zeros((2, 2), np.float32)},
        {"head__landmarks": np.zeros((3, 7), np.float32)},
        {"head__weights": np.zeros((3, 2), np.float32)},
        {"head__gamma": np.array("wide")},
    ],
    ids=str,
)
def test_wrong_content_is_refused(changes, tmp_path: Path):
    with pytest.raises(FileFormatError):
        Probe.load(rewritten(tmp_path / "probe.npz", **changes))


def test_thresholds_and_what_follows_the_scores_are_kept(tmp_path: Path):
    _, features = fitted()
    scribbles = np.zeros((1, 12, 16), int)
    scribbles[0, 5, :7], scribbles[0, 5, 9:] = 1, 2
    options = {"C": 3.0, "thresholds": {2: 0.9}, "class_weight": {1: 2.0}, "median": 3, "smooth_z": 1.0}
    probe = Probe(**options).fit(features, scribbles)
    loaded = Probe.load(probe.save(tmp_path / "probe.npz"))
    assert loaded.settings == probe.settings and dict(loaded.report) == dict(probe.report)
    np.testing.assert_array_equal(loaded.predict(features), probe.predict(features))


def test_names_of_classes_travel_with_the_probe(tmp_path: Path):
    probe, _ = fitted()
    assert Probe.load(probe.save(tmp_path / "unnamed.npz")).class_names == {}
    probe.class_names = {probe.classes_[0]: "Zellkörper", 99: "of no class"}
    assert Probe.load(probe.save(tmp_path / "named.npz")).class_names == {probe.classes_[0]: "Zellkörper"}


def test_files_of_other_kinds_are_refused(tmp_path: Path):
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"classes": [1, 2]}))
    np.savez(tmp_path / "arrays.npz", a=np.arange(3))
    np.savez(tmp_path / "objects.npz", header=np.array([{"format": "napari-dinov3 probe"}], dtype=object))
    np.save(tmp_path / "single.npz", np.arange(3))
    for path in [*tmp_path.glob("*.npz"), tmp_path / "single.npz.npy"]:
        with pytest.raises(FileFormatError, match="not a usable probe file"):
            Probe.load(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileFormatError, match=r"There is no file .*nowhere\.npz"):
        Probe.load(tmp_path / "nowhere.npz")


def test_a_file_that_is_there_is_replaced_only_on_request(tmp_path: Path):
    probe, _ = fitted()
    path = probe.save(tmp_path / "probe.npz")
    with pytest.raises(InputError, match="overwrite=True"):
        probe.save(path)
    assert probe.save(path, overwrite=True) == path


def test_a_linear_probe_is_not_loaded_from_another_head(tmp_path: Path):
    probe, _ = fitted()
    path = probe.save(tmp_path / "probe.npz")
    assert probe.head == "kernel"
    with pytest.raises(InputError, match=r"the head 'kernel'.*a LinearProbe"):
        LinearProbe.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    probe, features = fitted()
    path = probe.save(tmp_path / "probe.npz")
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        probe.save(path, overwrite=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["probe.npz"]
    np.testing.assert_array_equal(Probe.load(path).predict(features), probe.predict(features))
