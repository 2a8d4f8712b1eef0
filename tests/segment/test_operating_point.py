"""How common a class is in the image moves the decision, halfway."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.segment.operating_point import prior_offset
from napari_dinov3.segment.probe import Probe

EVEN = np.array([0.5, 0.5])


def test_a_rare_class_is_made_less_likely_by_half_its_log_odds():
    sure = np.float32([[30.0]] * 10 + [[-30.0]] * 90)
    assert prior_offset(sure, EVEN)[0] == pytest.approx(0.5 * np.log(0.1 / 0.9), abs=1e-3)


def test_two_classes_as_columns_or_as_one_give_the_same():
    scores = np.random.default_rng(0).normal(-2, 2, size=(500, 1)).astype(np.float32)
    columns = np.concatenate([np.zeros_like(scores), scores], axis=1)
    single, both = prior_offset(scores, EVEN), prior_offset(columns, EVEN)
    assert both[1] - both[0] == pytest.approx(single[0], abs=1e-4)


def test_nothing_moves_where_the_samples_are_as_common_as_the_image():
    scores = np.float32([[20.0]] * 25 + [[-20.0]] * 75)
    assert prior_offset(scores, np.array([0.75, 0.25]))[0] == pytest.approx(0, abs=1e-3)
    assert prior_offset(scores[:0], EVEN).tolist() == [0]


def test_a_class_that_seems_to_be_nowhere_stays_possible():
    assert np.isfinite(prior_offset(np.full((50, 3), [0, 5, -500], np.float32), np.full(3, 1 / 3))).all()


@pytest.mark.parametrize("head", ["linear", "kernel", "forest"])
def test_a_rare_class_painted_as_much_as_the_rest_is_not_found_everywhere(head):
    rng = np.random.default_rng(5)
    truth = np.zeros((60, 60), bool)
    truth[20:26, 20:26] = True  # 1 % of the plane
    features = FeatureMap.from_array(np.where(truth, 2.0, 0.0)[..., None] + rng.normal(size=(60, 60, 1)), stride=1)
    scribbles = np.zeros((1, 60, 60), int)
    scribbles[0][truth] = 2
    scribbles[0].flat[rng.choice(np.flatnonzero(~truth), 36, replace=False)] = 1

    def f1(prior):
        found = Probe(head=head, prior=prior).fit(features, scribbles).predict(features)[0] == 2
        return 2 * (found & truth).sum() / (found.sum() + truth.sum())

    assert f1("estimated") > 1.3 * f1("scribbles")
