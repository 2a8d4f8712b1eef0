"""The convolutional decoder: what it learns, shows, keeps and refuses."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from napari_dinov3.errors import FileFormatError, InputError, MissingDependencyError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import collect
from napari_dinov3.segment import decoder
from napari_dinov3.segment.decoder import EpochProgress
from napari_dinov3.segment.probe import Probe

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def rings(seed=0, planes=2, grid=(40, 44)):
    """Stripes that differ from the rest only in what lies beside them: no single patch tells; returns map and truth."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(grid)
    inside = (cols // 11) % 2 == 0
    texture = np.where(inside, (rows + cols) % 2, (rows // 2 + cols // 2) % 2)  # fine and coarse chess boards
    array = texture[None, ..., None] * np.ones((planes, 1, 1, 4)) + rng.normal(size=(planes, *grid, 4)) * 0.2
    truth = np.kron(np.where(inside, 1, 2), np.ones((2, 2), int))[None].repeat(planes, axis=0)
    return FeatureMap.from_array(array, stride=2), truth


def strokes(truth):
    scribbles = np.zeros(truth.shape, int)
    scribbles[0, 6:80:12, :] = truth[0, 6:80:12, :]
    return scribbles


def test_a_missing_torch_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoder.importlib.util, "find_spec", lambda name: None)
    features, truth = rings()
    with pytest.raises(MissingDependencyError, match=r"decoder head needs torch.*'kernel' and 'linear'.*pip install"):
        Probe(head="decoder").fit(features, strokes(truth))


@needs_torch
@pytest.mark.parametrize("loss", ["cross-entropy", "dice"])
def test_it_sees_what_no_single_patch_shows(loss):
    features, truth = rings()
    events: list[EpochProgress] = []
    probe = Probe(head="decoder", loss=loss, epochs=15, device="cpu")
    collect(probe.fit_steps(features, strokes(truth)), lambda e: events.append(e) if isinstance(e, EpochProgress) else None)
    single = Probe(head="linear").fit(features, strokes(truth))

    def right(one):
        return (one.predict(features)[1] == truth[1]).mean()

    assert right(probe) > 0.85 > 0.65 > right(single)
    assert [e.epoch for e in events] == list(range(1, len(events) + 1)) and events[-1].loss < events[0].loss
    assert all(0 <= e.miou <= 1 and e.done <= e.total for e in events)
    assert probe.report["held_out"] > 0 and 1 <= probe.report["best_epoch"] <= len(probe.report["epochs"])
    np.testing.assert_allclose(probe.predict_proba(features).sum(axis=1), 1, atol=1e-5)


@needs_torch
def test_it_learns_three_classes_and_from_dense_masks_and_patches():
    features, truth = rings(planes=1)
    truth = truth.copy()
    truth[:, :20] = 3
    features.array[:, :10] += 3
    dense = Probe(head="decoder", epochs=25, device="cpu").fit(features, truth)
    assert dense.classes_ == (1, 2, 3) and (dense.predict(features) == truth).mean() > 0.8
    patches = Probe(head="decoder", epochs=4, device="cpu").fit_patches(features, truth[:, ::2, ::2])
    assert patches.predict_patches(features).shape == (1, 40, 44)


@needs_torch
def test_it_can_be_stopped_between_epochs():
    features, truth = rings()
    probe = Probe(head="decoder", epochs=50, device="cpu")
    job = probe.fit_steps(features, strokes(truth))
    while not isinstance(next(job), EpochProgress):
        pass
    job.close()
    with pytest.raises(InputError, match="learned nothing yet"):
        probe.predict(features)


@needs_torch
def test_a_saved_decoder_answers_as_before_and_a_broken_one_is_refused(tmp_path):
    features, truth = rings(planes=1)
    probe = Probe(head="decoder", epochs=3, device="cpu").fit(features, strokes(truth))
    path = probe.save(tmp_path / "decoder.npz")
    np.testing.assert_array_equal(Probe.load(path).predict_proba(features), probe.predict_proba(features))
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    assert all(array.dtype.kind in "fiuU" for array in arrays.values())
    for name, value in (("head.reduce.weight", np.zeros((3, 4, 1, 1), np.float32)), ("head.magic", np.zeros(3, np.float32))):
        np.savez(tmp_path / "broken.npz", **{**arrays, name: value})
        with pytest.raises(FileFormatError, match="not a usable probe file"):
            Probe.load(tmp_path / "broken.npz")


@needs_torch
def test_the_same_seed_gives_the_same_network_and_leaves_the_users_random_numbers():
    import torch

    features, truth = rings(planes=1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (Probe(head="decoder", epochs=2, device="cpu").fit(features, strokes(truth)) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_allclose(first.predict_proba(features), second.predict_proba(features), atol=1e-4)


@needs_torch
def test_features_that_are_not_finite_near_the_labels_are_refused():
    features, truth = rings(planes=1)
    features.array[0, 20, 20, 1] = np.nan
    scribbles = np.zeros(truth.shape, int)
    scribbles[0, 6, :] = truth[0, 6, :]
    with pytest.raises(InputError, match="near the labels"):
        Probe(head="decoder", epochs=2, device="cpu").fit(features, scribbles)
