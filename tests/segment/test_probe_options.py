"""Options of a probe: what is refused, how thresholds, penalty and starting point act, and how recipes write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import collect
from napari_dinov3.recipe import ProbeConfig, Recipe, Step
from napari_dinov3.segment.linear_probe import LinearProbe
from napari_dinov3.segment.operating_point import decision_offset
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.regions import held_out, label_regions
from napari_dinov3.segment.strength import choose_strength_steps


def noisy_map(seed=0, planes=2, grid=(40, 40), dim=12):
    """Blobs of class 2 on class 1, the features of both overlapping; returns the map and the truth."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(grid)
    truth = np.stack([((rows // 10 + cols // 10 + z) % 2) + 1 for z in range(planes)])
    array = rng.normal(size=(planes, *grid, dim)) + 0.6 * (truth[..., None] == 2)
    return FeatureMap.from_array(array, stride=1), truth


def strokes(truth, seed=0, count=12):
    """Short horizontal strokes of either class in the first plane."""
    rng = np.random.default_rng(seed)
    scribbles = np.zeros(truth.shape, np.uint8)
    for value in (1, 2):
        for at in rng.choice(np.flatnonzero(truth[0] == value), count, replace=False):
            row, col = np.unravel_index(at, truth.shape[1:])
            stroke = slice(col, col + 4)
            scribbles[0, row, stroke] = np.where(truth[0, row, stroke] == value, value, scribbles[0, row, stroke])
    return scribbles


@pytest.mark.parametrize(
    "options",
    [
        {"head": "magic"},
        {"C": "best"},
        {"C": "cv", "head": "forest"},
        {"C": 0.0},
        {"class_weight": {1: -1.0}},
        {"class_weight": "even"},
        {"class_weight": ((1, 2.0), (1, 3.0))},
        {"thresholds": {1: 0.0}},
        {"thresholds": {1: 1.0}},
        {"thresholds": 0.3},
        {"prior": "guess"},
        {"smooth_z": -1.0},
        {"refine": float("nan")},
        {"median": 4},
        {"median": 1},
        {"loss": "hinge"},
        {"epochs": 0},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(options):
    name = next(iter(options))
    with pytest.raises(InputError, match=name):
        Probe(**options)


def test_thresholds_move_labels_and_leave_probabilities():
    features, truth = noisy_map()
    scribbles = strokes(truth)
    plain = Probe(head="linear").fit(features, scribbles)
    eager = Probe(head="linear", thresholds={2: 0.2, 9: 0.5}).fit(features, scribbles)
    chances = plain.predict_proba(features)
    np.testing.assert_array_equal(eager.predict_proba(features), chances)
    np.testing.assert_array_equal(eager.predict(features) == 2, chances[:, 1] > 0.2)
    assert (eager.predict(features) == 2).sum() > (plain.predict(features) == 2).sum()


def test_of_several_classes_a_low_threshold_finds_more_of_its_own():
    offset = decision_offset((1, 4, 7), {4: 0.2})
    np.testing.assert_allclose(offset, [0, np.log(4), 0], atol=1e-6)
    scores = np.log(np.float32([0.5, 0.2, 0.3])) + offset
    assert scores.argmax() == 1


def test_weights_of_classes_move_the_scores():
    features, truth = noisy_map()
    scribbles = strokes(truth)
    found = [
        (Probe(head="linear", prior="scribbles", class_weight={2: weight}).fit(features, scribbles).predict(features) == 2).sum()
        for weight in (0.2, 1.0, 5.0)
    ]
    assert found[0] < found[1] < found[2]


def noisy_samples(dim, seed=0):
    """Two overlapping classes in many features of which one tells them apart, in 20 regions of 8 samples each."""
    rng = np.random.default_rng(seed)
    codes = np.repeat([0, 1], 80)
    features = rng.normal(size=(160, dim)).astype(np.float32)
    features[:, 0] += 2 * codes
    return features, codes, np.repeat(np.arange(20), 8)


@pytest.mark.parametrize(("default", "expected"), [(100.0, 0.1), (0.001, 0.1)])
def test_held_out_regions_decide_against_a_penalty_that_fits_noise_or_nothing(default, expected):
    features, codes, regions = noisy_samples(dim=60)
    fold = held_out(codes, regions, np.random.default_rng(0))
    choice = collect(choose_strength_steps(features, codes, np.ones(len(codes)), fold, default=default))
    assert choice.strength == expected
    assert choice.losses[100.0] > choice.losses[0.1] < choice.losses[0.001]


def test_no_region_is_on_both_sides_and_no_fold_lacks_a_class():
    _, codes, regions = noisy_samples(dim=1)
    fold = held_out(codes, regions, np.random.default_rng(0))
    assert all(len(np.unique(fold[regions == region])) == 1 for region in np.unique(regions))
    assert all(set(codes[fold == number]) == {0, 1} for number in range(5))
    assert held_out(codes, np.where(codes == 1, 7, regions), np.random.default_rng(0)) is None


def test_strokes_are_regions_and_dense_paint_is_cut():
    def regions_of(mask, stride=2.0):
        where = np.argwhere(mask)
        where = np.column_stack([np.zeros((len(where), 2), int), where])
        return label_regions(where, np.zeros(len(where), int), stride=stride)

    mask = np.zeros((100, 100), bool)
    mask[10, 10:20], mask[12, 10:20], mask[60, 60:70] = True, True, True  # two strokes that almost touch, and one apart
    found = regions_of(mask)
    assert len(set(found)) == 2 and len(set(found[:20])) == 1
    assert len(set(regions_of(np.ones((100, 100), bool)))) == 16


def test_the_chosen_penalty_is_reported():
    features, truth = noisy_map()
    probe = Probe(head="kernel", C="cv").fit(features, strokes(truth))
    assert probe.report["C"] in [float(key) for key in probe.report["C_losses"]] and len(probe.report["C_losses"]) == 6


def test_one_stroke_of_a_class_cannot_be_held_out():
    features, truth = noisy_map()
    scribbles = np.zeros(truth.shape, int)
    scribbles[0, 2, 2:8], scribbles[0, 2, 12:18] = 1, 2
    with pytest.warns(FallbackWarning, match=r"one place only. C=1 is used"):
        probe = LinearProbe(C="cv").fit(features, scribbles)
    assert probe.report["C"] == 1.0


@pytest.mark.parametrize("head", ["linear", "kernel"])
def test_a_warm_start_gives_the_same_answer(head):
    features, truth = noisy_map(dim=30)
    first = Probe(head=head).fit(features, strokes(truth, count=10))
    more = np.maximum(strokes(truth, count=10), strokes(truth, seed=5, count=3))
    cold, warm = Probe(head=head).fit(features, more), Probe(head=head).fit(features, more, warm_start=first)
    np.testing.assert_allclose(warm.predict_proba(features), cold.predict_proba(features), atol=0.05)  # scikit-learn's tolerance
    assert (warm.predict(features) == cold.predict(features)).mean() > 0.99


@pytest.mark.parametrize("head", ["linear", "kernel"])
def test_a_warm_start_needs_fewer_steps(head, monkeypatch: pytest.MonkeyPatch):
    from sklearn.linear_model import LogisticRegression

    steps: list[int] = []
    fit = LogisticRegression.fit

    def counted(self, *args, **kwargs):
        fitted = fit(self, *args, **kwargs)
        steps.append(int(self.n_iter_[0]))
        return fitted

    monkeypatch.setattr(LogisticRegression, "fit", counted)
    features, truth = noisy_map(dim=30)
    first = Probe(head=head).fit(features, strokes(truth, count=30))
    more = np.maximum(strokes(truth, count=30), strokes(truth, seed=5, count=1))
    Probe(head=head).fit(features, more)
    Probe(head=head).fit(features, more, warm_start=first)
    assert steps[2] < 0.7 * steps[1]


def test_a_warm_start_that_does_not_fit_is_left_aside():
    features, truth = noisy_map()
    scribbles = strokes(truth)
    other = Probe(head="kernel").fit(features, scribbles)
    renamed = Probe(head="linear").fit(features, np.where(scribbles == 2, 3, scribbles))
    expected = Probe(head="linear").fit(features, scribbles).predict_proba(features)
    for start in (other, renamed, Probe(head="linear")):
        np.testing.assert_array_equal(
            Probe(head="linear").fit(features, scribbles, warm_start=start).predict_proba(features), expected
        )


def test_a_recipe_keeps_weights_and_thresholds():
    config = ProbeConfig(head="linear", C="cv", class_weight={1: 2.0, 2: 1.0}, thresholds={2: 0.3}, smooth_z=1.0)
    again = Recipe.from_json(Recipe((Step(config),)).to_json()).steps[0].config
    assert again == config
    assert config.arguments["class_weight"] == {1: 2.0, 2: 1.0} and config.arguments["thresholds"] == {2: 0.3}
    mapped = ProbeConfig.from_options(json.loads('{"class_weight": {"1": 2.0, "2": 1.0}}'))
    assert mapped.class_weight == ((1, 2.0), (2, 1.0))
    Probe(**config.arguments)


def test_a_recipe_is_written_as_the_python_that_does_it():
    config = ProbeConfig(head="linear", thresholds={2: 0.3}, refine=8.0, channel=1)
    assert config.inputs == ("features", "scribbles", "image")
    assert config.to_python() == (
        "labels = nd.Probe(head='linear', thresholds={2: 0.3}, refine=8.0).fit(features, scribbles)"
        ".predict(features, image=nd.as_planes(image, channel=1))"
    )


def test_wrong_options_of_a_recipe_are_named():
    for options in ({"thresholds": {"two": 0.3}}, {"C": "best"}, {"class_weight": [[1]]}):
        with pytest.raises(InputError, match=next(iter(options))):
            ProbeConfig.from_options(options)


def test_numbers_of_numpy_are_numbers(tmp_path: Path):
    features, truth = noisy_map()
    options = {
        "C": np.float32(3),
        "smooth_z": np.float32(0.5),
        "landmarks": np.int64(20),
        "median": np.uint8(3),
        "rng": np.int32(4),
    }
    probe = Probe(**options).fit(features, strokes(truth))
    assert probe.report == {"C": 3.0}  # and not cross-validated
    loaded = Probe.load(probe.save(tmp_path / "probe.npz"))
    assert loaded.settings == probe.settings and loaded.settings["rng"] == 4
    np.testing.assert_array_equal(loaded.predict(features), probe.predict(features))
