"""Several feature maps as one: where each lies, what is read, and how probes use the parts."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.backbones.registry import backbone_facts, is_network, load_backbone, readiness
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.combine import combine, parts_of
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.on_demand import complete_steps, extract_on_demand, planes_here
from napari_dinov3.features.upsample import upsample
from napari_dinov3.progress import collect

BOTH = "random-projection-cnx-tiny+filter-bank"


def fine_and_coarse(planes=2, seed=0):
    rng = np.random.default_rng(seed)
    fine = FeatureMap.from_array(rng.normal(size=(planes, 32, 48, 3)), stride=2, backbone="fine")
    coarse = FeatureMap.from_array(rng.normal(size=(planes, 4, 6, 5)), stride=16, backbone="coarse")
    return fine, coarse


def painted(shape):
    scribbles = np.zeros(shape, int)
    scribbles[0, 10, 5:30], scribbles[0, 40, 60:90] = 1, 2
    return scribbles


def test_a_coarse_map_is_interpolated_on_the_finest_grid():
    fine, coarse = fine_and_coarse()
    joint = combine([coarse, fine])
    assert joint.array.shape == (2, 32, 48, 8) and joint.stride == 2 and joint.backbone == "coarse+fine"
    np.testing.assert_array_equal(joint.plane(1)[..., 5:], fine.plane(1))
    every = upsample(coarse.plane(1), image_shape=fine.image_shape, stride=16, first_centre=7.5)
    centres = (every[0::2, 0::2] + every[1::2, 0::2] + every[0::2, 1::2] + every[1::2, 1::2]) / 4  # at half pixels
    np.testing.assert_allclose(joint.plane(1)[..., :5], centres, atol=1e-5)


def test_the_joint_array_reads_like_any_other():
    joint = combine(fine_and_coarse())
    whole = np.asarray(joint.array)
    assert whole.shape == joint.array.shape and len(joint.array) == 2
    np.testing.assert_array_equal(joint.array[-1], whole[1])
    np.testing.assert_array_equal(joint.array[0, 3:5, ::2], whole[0, 3:5, ::2])
    np.testing.assert_array_equal(joint.array[:1], whole[:1])
    np.testing.assert_array_equal(joint.array.rows(0, 7, 13), whole[0, 7:13])


def test_names_joined_by_plus_are_extracted_together():
    image = np.random.default_rng(0).random((2, 64, 96))
    joint = nd.extract(image, backbone=BOTH)
    assert joint.backbone == BOTH and joint.dim == 384 + 32 and joint.stride == 2
    filters = nd.extract(image, backbone="filter-bank")
    np.testing.assert_array_equal(joint.plane(0)[..., 384:], filters.plane(0))
    coarser = nd.extract(image, backbone=BOTH, stride=4)
    assert [part.stride for part in parts_of(coarser)] == [16, 4]


def test_network_features_get_length_one_and_filter_responses_stay():
    joint = nd.extract(np.random.default_rng(0).random((64, 64)), backbone=BOTH)
    network, filters = parts_of(joint)
    np.testing.assert_allclose(np.linalg.norm(network.plane(0), axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(
        filters.plane(0), nd.extract(np.random.default_rng(0).random((64, 64)), backbone="filter-bank").plane(0)
    )


def test_each_part_is_kept_in_a_folder_of_its_own(tmp_path):
    image = np.random.default_rng(0).random((2, 64, 64))
    kept = nd.extract(image, backbone=BOTH, folder=tmp_path / "map")
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == sorted(BOTH.split("+"))
    np.testing.assert_allclose(kept.plane(1), nd.extract(image, backbone=BOTH).plane(1), atol=2e-3)  # float16 on disk


def test_parts_on_demand_are_computed_where_they_are_read():
    image = np.random.default_rng(0).random((3, 64, 64))
    joint = extract_on_demand(image, backbone=BOTH, tile_size=64, batch_size=1)
    assert planes_here(joint) == frozenset()
    joint.plane(1)
    assert planes_here(joint) == {1}
    np.testing.assert_array_equal(collect(complete_steps(joint)).plane(2), nd.extract(image, backbone=BOTH).plane(2))


def test_facts_of_a_joint_name_are_those_of_its_parts():
    facts = backbone_facts("dinov3-vits16plus+filter-bank")
    assert (facts.width, facts.stride, facts.kind) == (384 + 32, 2, "joint")
    assert is_network("dinov3-vits16plus+filter-bank") and not is_network(BOTH)
    assert readiness(BOTH).ready
    assert not readiness("dinov3-vits16plus+filter-bank").ready


@pytest.mark.parametrize("name", ["filter-bank+", "filter-bank+filter-bank", "auto+filter-bank", "filter-bank+magic"])
def test_a_wrong_joint_name_is_refused(name):
    with pytest.raises(InputError, match="Backbone"):
        nd.extract(np.zeros((32, 32)), backbone=name)


def test_a_stride_that_no_part_offers_is_refused():
    with pytest.raises(InputError, match=r"stride=5.*filter-bank: one of 1, 2, 4, 8"):
        nd.extract(np.zeros((32, 32)), backbone=BOTH, stride=5)


def test_a_joint_backbone_is_not_built_as_one():
    with pytest.raises(InputError, match="is several"):
        load_backbone(BOTH)


def test_maps_of_different_images_are_refused():
    fine, _ = fine_and_coarse()
    with pytest.raises(FeatureMismatchError, match="2 planes of 64 x 96 and of 3 planes"):
        combine([fine, fine_and_coarse(planes=3)[1]])
    with pytest.raises(InputError, match="1 feature map"):
        combine([fine])


@pytest.mark.parametrize("head", ["linear", "kernel", "forest", "prototypes"])
def test_a_probe_on_a_joint_map_answers_as_on_its_array(head):
    fine, coarse = fine_and_coarse()
    joint = combine([coarse, fine])
    scribbles = painted((2, 64, 96))
    probe = nd.Probe(head=head).fit(joint, scribbles)
    plain = FeatureMap.from_array(np.asarray(joint.array), stride=2)
    object.__setattr__(plain, "backbone", joint.backbone)
    object.__setattr__(plain, "revision", joint.revision)
    chances = probe.predict_proba(plain)
    # a linear head scores each part on its own grid: the same but for the kinks of the coarse one, which noise makes steep
    np.testing.assert_allclose(probe.predict_proba(joint), chances, atol=0.15 if head == "linear" else 1e-5)
    assert (probe.predict(joint) == probe.predict(plain)).mean() > 0.99


def test_a_wide_part_does_not_drown_a_narrow_one():
    rng = np.random.default_rng(3)
    truth = np.repeat([1, 2], 24)[None, None] * np.ones((1, 32, 48), int)
    fine = FeatureMap.from_array(
        (truth[..., None] == 2) * 1.0 + rng.normal(size=(1, 32, 48, 1)) * 0.2, stride=2, backbone="edges"
    )
    noise = FeatureMap.from_array(rng.normal(size=(1, 32, 48, 200)), stride=2, backbone="noise")
    labels = np.kron(truth, np.ones((1, 2, 2), int))
    scribbles = np.zeros_like(labels)
    scribbles[0, 30, ::3] = labels[0, 30, ::3]
    found = nd.Probe(head="kernel").fit(combine([noise, fine]), scribbles).predict(combine([noise, fine]))
    assert (found == labels).mean() > 0.9


def test_probes_do_not_travel_between_different_joints():
    fine, coarse = fine_and_coarse()
    probe = nd.Probe(head="linear").fit(combine([fine, coarse]), painted((2, 64, 96)))
    with pytest.raises(FeatureMismatchError, match=r"backbone 'fine' and 'fine\+coarse'"):
        probe.predict(fine)
    with pytest.raises(FeatureMismatchError, match=r"coarse\+fine"):
        probe.predict(combine([coarse, fine]))
