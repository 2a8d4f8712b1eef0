"""Held-out planes, compared backbones and transfer: no plane is tested that was trained on, and failures are named."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.folds import block_folds, grouped_folds, spatial_folds
from napari_dinov3.segment.probe import Probe


@pytest.fixture(scope="module")
def sample() -> nd.synthetic.Sample:
    return nd.synthetic.em(planes=6, size=64, rng=0)


@pytest.fixture(scope="module")
def features(sample: nd.synthetic.Sample) -> nd.FeatureMap:
    return nd.extract(sample.images, backbone="filter-bank", stride=4)


def test_blocks_are_neighbours_and_cover_everything_once() -> None:
    blocks = block_folds(7, 3)
    assert [block.tolist() for block in blocks] == [[0, 1, 2], [3, 4], [5, 6]]
    assert len(block_folds(2, 5)) == 2


def test_groups_are_never_split() -> None:
    labels, groups = list("aabbaabbaabb"), [f"s{n // 2}" for n in range(12)]
    folds = grouped_folds(labels, groups, 3)
    assert sorted(np.concatenate(folds)) == list(range(12))
    for held in folds:
        kept = set(range(12)) - set(held.tolist())
        assert not {groups[at] for at in held} & {groups[at] for at in kept}


def test_planes_that_are_tested_are_not_trained_on(
    features: nd.FeatureMap, sample: nd.synthetic.Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[int]] = []
    fit = Probe.fit_steps

    def spy(self: Probe, maps: list[nd.FeatureMap], labels: list[dict[int, np.ndarray]]) -> object:
        trained.append(set(labels[0]))
        return fit(self, maps, labels)

    monkeypatch.setattr(Probe, "fit_steps", spy)
    found = nd.evaluate.cross_validate(features, sample.masks, folds=3)
    held = [{plane for _, plane in fold.held_out} for fold in found.folds]
    assert held == [{0, 1}, {2, 3}, {4, 5}]
    assert trained == [set(range(6)) - one for one in held]
    assert found.report.support.sum() == sample.masks.size
    assert found.mean("f1") > 0.9 and found.spread("f1") < 0.1
    assert [row["fold"] for row in found.as_rows()] == ["1", "2", "3", "mean", "sd"]


def test_several_maps_are_held_out_plane_by_plane(features: nd.FeatureMap, sample: nd.synthetic.Sample) -> None:
    marks = [{0: sample.masks[0], 1: sample.masks[1]}, {3: sample.masks[3]}]
    found = nd.evaluate.cross_validate([features, features], marks, folds=9)
    assert [fold.held_out for fold in found.folds] == [((0, 0),), ((0, 1),), ((1, 3),)]


def test_parts_of_one_plane_have_a_gap_around_them_and_cover_it() -> None:
    rows, cols = np.divmod(np.random.default_rng(0).choice(64 * 96, 500, replace=False), 96)
    turns = spatial_folds(rows, cols, 5, gap=8)
    assert np.sum([held for held, _ in turns], axis=0).tolist() == [1] * 500
    assert all(90 <= held.sum() <= 110 for held, _ in turns)
    for held, kept in turns:
        far = np.maximum(abs(rows[held][:, None] - rows[kept]), abs(cols[held][:, None] - cols[kept]))
        assert kept.sum() > 200 and far.min() >= 8


@pytest.mark.parametrize("as_mask", [True, False])
def test_one_labelled_plane_is_held_out_in_parts(features: nd.FeatureMap, sample: nd.synthetic.Sample, as_mask: bool) -> None:
    labels = sample.masks[2] if as_mask else sample.masks[2] + np.uint8(1)
    found = nd.evaluate.cross_validate(features, {2: labels}, folds=2)
    assert found.within_plane and found.report.support.sum() == 64 * 64
    assert found.report.classes == ((0, 1) if as_mask else (1, 2)) and found.mean("f1") > 0.75  # half an object is learned from
    assert "what another plane would give may be less" in found.to_markdown()
    single = nd.evaluate.compare_backbones(sample.images[2], sample.masks[2], heads=["linear"], folds=2)
    assert single.folds == 2 and "One labelled plane in 2 rectangles" in single.summary()


def test_a_class_that_one_fold_alone_has_is_named(features: nd.FeatureMap) -> None:
    marks = np.zeros((6, 64, 64), np.uint8)
    for plane in range(3):
        marks[plane, :8], marks[plane, 30:40] = 1, 2
    marks[2, 50:] = 3
    found = nd.evaluate.cross_validate(features, marks, folds=3)
    assert [fold.unseen for fold in found.folds] == [(), (), (3,)]
    assert "Class 3 is labelled in fold 3 alone" in found.summary()


def test_scribbles_train_and_dense_labels_test(features: nd.FeatureMap, sample: nd.synthetic.Sample) -> None:
    marks = np.zeros(sample.masks.shape, np.uint8)
    for plane in (0, 5):
        marks[plane, ::8] = sample.masks[plane, ::8] + 1
    found = nd.evaluate.cross_validate(features, marks, reference=sample.masks.astype(np.uint8) + 1, folds=2)
    assert found.report.support.sum() == 2 * 64 * 64 and found.mean() > 0.8


def test_the_probe_that_is_given_is_not_changed(features: nd.FeatureMap, sample: nd.synthetic.Sample) -> None:
    probe = Probe(head="linear")
    nd.evaluate.cross_validate(features, sample.masks, probe=probe, folds=2)
    with pytest.raises(InputError, match="learned nothing"):
        _ = probe.fitted


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({0: np.ones((64, 64), int)}, "One class only: 1"),
        ({0: np.pad(np.full((6, 6), 2), (0, 58), constant_values=1)}, "a single class is left to learn from"),
        ({}, "0 planes with labels"),
        ({0: np.ones((64, 64), int), 3: np.ones((64, 64), int)}, "One class only: 1"),
        (np.ones((2, 64, 64), int), "Scribbles have shape"),
    ],
)
def test_labels_that_cannot_be_divided_are_refused(features: nd.FeatureMap, labels: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        nd.evaluate.cross_validate(features, labels)


def test_backbones_are_ranked_and_what_is_missing_is_named(sample: nd.synthetic.Sample) -> None:
    names = ["random-projection-cnx-tiny", "filter-bank", "dinov3-vits16"]
    found = nd.evaluate.compare_backbones(sample.images, sample.masks, backbones=names, heads=["linear"], folds=3, max_planes=3)
    assert found.planes == (0, 2, 5) and found.best.backbone == "filter-bank"
    assert [score.backbone for score in found.scores] == ["filter-bank", "random-projection-cnx-tiny", "dinov3-vits16"]
    assert "missing" in found.scores[-1].problem or "weights" in found.scores[-1].problem
    assert found.best.values["f1"].shape == (3,) and found.best.extract_seconds > 0 and found.best.probe_seconds > 0
    lines = found.to_csv().splitlines()
    assert lines[0].startswith("backbone,head,stride,accuracy,f1,iou,accuracy_sd,f1_sd,iou_sd") and len(lines) == 4
    assert "±" in found.to_markdown()


def test_a_comparison_reads_labelled_planes_only(sample: nd.synthetic.Sample) -> None:
    import dask.array

    def plane(block_id: tuple[int, ...]) -> np.ndarray:
        assert block_id[0] in (1, 4)
        return sample.images[block_id[0]][None]

    lazy = dask.array.map_blocks(
        plane, chunks=((1,) * 6, (64,), (64,)), dtype=sample.images.dtype, meta=np.empty((0, 0, 0), "u1")
    )
    labels = {1: sample.masks[1], 4: sample.masks[4]}
    found = nd.evaluate.compare_backbones(lazy, labels, heads=["linear"], strides=[8], folds=2, axes="zyx")
    assert found.planes == (1, 4) and found.best.stride == 8


def test_no_usable_backbone_is_an_error(sample: nd.synthetic.Sample) -> None:
    with pytest.raises(InputError, match="No backbone could be used"):
        nd.evaluate.compare_backbones(sample.images, sample.masks, backbones=["dinov3-vits16"])
    with pytest.raises(InputError, match="not known"):
        nd.evaluate.compare_backbones(sample.images, sample.masks, backbones=["nonsense"])


def test_transfer_has_a_held_out_diagonal_and_names_a_bad_set(sample: nd.synthetic.Sample) -> None:
    bright = {"em": (sample.images, sample.masks), "dark": (255 - sample.images, sample.masks)}
    found = nd.evaluate.transfer(bright, backbone="filter-bank", stride=4, probe=Probe(head="linear"), folds=2)
    f1 = found.matrix("f1")
    assert f1.shape == (2, 2) and np.diag(f1).min() > 0.9 > f1[0, 1]
    assert found.matrix("f1", label=1)[0, 0] == pytest.approx(found.reports[0][0].f1[1])
    assert [(row["trained_on"], row["tested_on"]) for row in found.as_rows()][1] == ("em", "dark")
    assert found.to_markdown().splitlines()[0] == "| trained on | em | dark |"
    with pytest.raises(InputError, match="Data set 'half'"):
        nd.evaluate.transfer({**bright, "half": (sample.images, {})})
    with pytest.raises(InputError, match="1 data set"):
        nd.evaluate.transfer({"em": bright["em"]})


def test_grey_and_colour_sets_meet_in_grey(sample: nd.synthetic.Sample) -> None:
    colours = np.repeat(sample.images[..., None], 3, axis=-1)
    sets = {"grey": (sample.images, sample.masks), "colour": (colours, sample.masks)}
    f1 = nd.evaluate.transfer(sets, backbone="filter-bank", stride=8, folds=2).matrix("f1")
    assert np.allclose(f1[0], f1[1], atol=0.02)
