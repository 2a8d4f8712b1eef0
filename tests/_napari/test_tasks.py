"""The tasks on layers, without a window: similarity, scribbles, TokenCut, alignment."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

import napari_dinov3 as nd
from napari_dinov3._napari.align import stack as alignment
from napari_dinov3._napari.discover import cut as discovery
from napari_dinov3._napari.discover import extras as discovery_extras
from napari_dinov3._napari.features.similarity import SimilarityView
from napari_dinov3._napari.jobs import FeatureRequest, features_steps, pca_steps, region_steps, request_features
from napari_dinov3._napari.layers import read_layer
from napari_dinov3._napari.segment import live
from napari_dinov3._napari.segment import soft_layers as segmentation
from napari_dinov3._napari.segment.live import Round, round_steps
from napari_dinov3._napari.segment.prediction import Canvas, Prediction
from napari_dinov3._napari.session import session_of
from napari_dinov3.discover.cut import SolvedPlanes
from napari_dinov3.errors import InputError
from napari_dinov3.progress import collect
from napari_dinov3.recipe import AlignConfig, ExtractConfig, ProbeConfig, TokenCutConfig
from napari_dinov3.segment.probe import Probe

CONFIG = ExtractConfig(backbone="filter-bank", stride=4)


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    images = np.random.default_rng(0).normal(100, 3, (3, 64, 64))
    images[:, 20:44, 24:48] += 60
    viewer.add_image(images.astype(np.uint8), name="stack", scale=(2, 0.5, 0.5))
    return viewer


def request(viewer: ViewerModel) -> FeatureRequest:
    return request_features(session_of(viewer), viewer, viewer.layers["stack"], CONFIG)


def test_a_click_shows_the_visible_plane_and_the_job_fills_the_others(viewer: ViewerModel) -> None:
    viewer.dims.set_point(0, 4)
    wanted = request(viewer)
    features = collect(features_steps(session_of(viewer), wanted))
    view = SimilarityView(viewer)
    at = view.pick(wanted, features, viewer.layers["stack"].data_to_world((1, 30, 36)))
    assert (at.plane, round(at.row), round(at.col)) == (1, 30, 36)
    layer = view.owned.layer
    expected = features.similarity(plane=1, row=30, col=36)
    np.testing.assert_allclose(layer.data[2], expected[2], atol=1e-5)
    assert not layer.data[1].any()
    collect(view.rest_steps(wanted.visible))
    np.testing.assert_allclose(layer.data, expected, atol=1e-5)
    assert expected[0, 8, 9] > 0.8 > expected[0, 1, 1]


def test_the_next_click_updates_the_same_layer(viewer: ViewerModel) -> None:
    wanted = request(viewer)
    features = collect(features_steps(session_of(viewer), wanted))
    view = SimilarityView(viewer)
    view.pick(wanted, features, (0, 15, 18))
    view.pick(wanted, features, (0, 2, 2))
    assert len(viewer.layers) == 2
    with pytest.raises(InputError):
        view.pick(wanted, features, (0, -50, 0))


def test_colours_and_regions_use_the_cached_map(viewer: ViewerModel) -> None:
    wanted, session = request(viewer), session_of(viewer)
    features, colours = collect(pca_steps(session, wanted))
    region = np.zeros((3, 64, 64), np.uint8)
    region[0, 26:30, 30:40] = 1
    labels = viewer.add_labels(region)
    again, heat = collect(region_steps(session, wanted, read_layer(labels).planes))
    assert again is features
    assert colours.shape == (*features.array.shape[:3], 3)
    assert heat[1, 8, 9] > heat[1, 1, 1]


def scribbled(viewer: ViewerModel) -> Any:
    scribbles = np.zeros((3, 64, 64), np.uint8)
    scribbles[0, 4:8, 4:60] = 1
    scribbles[0, 28:32, 28:44] = 2
    return read_layer(viewer.add_labels(scribbles, name="scribbles")).planes


def round_of(viewer: ViewerModel, scribbles: Any, head: Any = "linear", **options: Any) -> Round:
    return Round(request(viewer), Prediction(Probe(head=head)), ProbeConfig(head=head), scribbles=scribbles, **options)


def run(viewer: ViewerModel, work: Round) -> Prediction:
    return collect(round_steps(session_of(viewer), work, {}))


def test_labels_are_those_of_the_public_api(viewer: ViewerModel) -> None:
    scribbles = scribbled(viewer)
    truth = read_layer(viewer.add_labels((viewer.layers["stack"].data > 130).astype(np.uint8))).planes
    done = run(viewer, round_of(viewer, scribbles, truth=truth))
    features = nd.extract(viewer.layers["stack"].data, backbone="filter-bank", stride=4)
    np.testing.assert_array_equal(done.labels, nd.Probe(head="linear").fit(features, scribbles.data).predict(features))
    assert done.complete
    assert "class 2 = reference 1" in done.report


def test_large_label_stacks_stay_lazy(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LABELS_SHARE", 0)
    done = run(viewer, round_of(viewer, scribbled(viewer)))
    assert isinstance(done.labels, da.Array)
    assert not done.complete
    assert set(np.unique(done.labels[2].compute())) == {1, 2}


def test_soft_layers_are_lazy_lie_on_the_image_and_are_replaced(viewer: ViewerModel) -> None:
    wanted, session = request(viewer), session_of(viewer)
    scribbles = scribbled(viewer)

    def show(head: Any) -> list[Any]:
        done = run(viewer, round_of(viewer, scribbles, head))
        return segmentation.show_soft_layers(
            viewer, partial(session.owned, "Panel"), wanted, done, probability=True, uncertainty=True, metadata={}
        )

    layers = show("linear")
    assert [layer.name for layer in layers] == ["stack probability 1", "stack probability 2", "stack uncertainty"]
    assert all(isinstance(layer.data[0], da.Array) and not layer.visible for layer in layers)
    np.testing.assert_allclose(np.asarray(layers[0].data[0]) + np.asarray(layers[1].data[0]), 1, atol=1e-5)
    np.testing.assert_array_equal(layers[2].scale, (2, 0.5, 0.5))
    count, before = len(viewer.layers), np.asarray(layers[2].data[0])
    assert [layer.unique_id for layer in show("prototypes")] == [layer.unique_id for layer in layers]
    assert len(viewer.layers) == count
    assert not np.array_equal(np.asarray(layers[2].data[0]), before)


def test_paint_in_labels_that_are_being_filled_stays_and_is_no_part_of_the_prediction(viewer: ViewerModel) -> None:
    work = round_of(viewer, scribbled(viewer))
    prediction, job = work.prediction, round_steps(session_of(viewer), work, {})
    while not prediction.done:
        next(job)
    canvas = Canvas(prediction)
    np.testing.assert_array_equal(canvas.array[0], prediction.labels[0])
    canvas.array[0, :5] = canvas.array[2, :5] = 9  # a plane that is done, and one that is not
    collect(job)
    canvas.catch_up()
    assert set(np.unique(prediction.labels)) == {1, 2}
    assert (canvas.array[[0, 2], :5] == 9).all()
    np.testing.assert_array_equal(canvas.array[:, 5:], prediction.labels[:, 5:])


def test_the_report_counts_every_pixel_once() -> None:
    labels = np.array([[[1, 1, 2, 2]]])
    layer = ViewerModel().add_labels(np.array([[[0, 0, 0, 5]]]))
    report = collect(segmentation.report_steps(labels, read_layer(layer).planes))
    assert report == (
        "Accuracy 0.750, mean IoU 0.583\nclass 1 = reference 0: F1 0.800, IoU 0.667\nclass 2 = reference 5: F1 0.667, IoU 0.500"
    )


def test_zero_is_no_class_of_a_reference_that_has_more_values_than_there_are_classes() -> None:
    labels = np.array([[[1, 1, 2, 2]]])
    layer = ViewerModel().add_labels(np.array([[[0, 1, 0, 2]]]))
    report = collect(segmentation.report_steps(labels, read_layer(layer).planes))
    assert report.startswith("Accuracy 1.000, mean IoU 1.000\n")


def test_masks_follow_their_options_without_a_new_cut(viewer: ViewerModel) -> None:
    wanted = request(viewer)
    features, cut, masks, _ = collect(
        discovery.discover_steps(session_of(viewer), wanted, TokenCutConfig(tau=0.5), SolvedPlanes())
    )
    np.testing.assert_array_equal(masks, nd.tokencut(features, tau=0.5).masks)
    other, inverted = collect(
        discovery.remask_steps(cut, wanted.source.planes, TokenCutConfig(tau=0.5, invert=True, component="all"), 2.0)
    )
    assert other.cut is cut.cut
    assert inverted.mean() > 0.1
    assert not np.array_equal(inverted, masks)


@pytest.mark.parametrize("tau", [0.5, "auto"])
def test_the_copied_cut_is_the_one_that_was_made(viewer: ViewerModel, tau: Any) -> None:
    wanted = request(viewer)
    config = TokenCutConfig(tau=tau, component="largest", refine=8)
    features, _, masks, _ = collect(discovery.discover_steps(session_of(viewer), wanted, config, SolvedPlanes()))
    names = {"nd": nd, "features": features, "image": viewer.layers["stack"].data}
    exec(discovery.cut_line(config, "zyx"), names)
    np.testing.assert_array_equal(names["cut"].masks, masks)


def test_boxes_are_rectangles_around_the_pieces_in_the_layers_coordinates(viewer: ViewerModel) -> None:
    wanted = request(viewer)
    _, cut, masks, _ = collect(discovery.discover_steps(session_of(viewer), wanted, TokenCutConfig(tau=0.5), SolvedPlanes()))
    boxes = discovery_extras.box_shapes(cut, wanted.source.placement)
    rows, cols = np.nonzero(masks[1])
    corners = next(box for box in boxes if box[0, 0] == 1)
    assert (corners[:, 1].min(), corners[:, 1].max()) == (rows.min() - 0.5, rows.max() + 0.5)
    assert (corners[:, 2].min(), corners[:, 2].max()) == (cols.min() - 0.5, cols.max() + 0.5)


def test_large_mask_stacks_stay_lazy(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cut, masks, _ = collect(
        discovery.discover_steps(session_of(viewer), request(viewer), TokenCutConfig(tau=0.5), SolvedPlanes())
    )
    monkeypatch.setattr(discovery, "MASKS_SHARE", 0)
    lazy = collect(discovery.masks_steps(cut, 2.0))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), masks)


@pytest.mark.parametrize("lazy", [False, True])
def test_known_shifts_are_undone_and_listed(lazy: bool) -> None:
    shifts = [[0, 0], [3, -2], [-4, 1]]
    sample = nd.synthetic.em(planes=3, size=128, shifts=shifts, rng=0)
    data = da.from_array(sample.images, chunks=(1, 128, 128)) if lazy else sample.images
    planes = read_layer(ViewerModel().add_image(data, contrast_limits=(0, 255))).planes
    path, aligned = collect(alignment.align_steps(planes, AlignConfig(model="translation", backbone=None, drift="first")))
    assert isinstance(aligned, da.Array) == lazy
    rows = alignment.section_table(path)
    # the content was shifted by (3, -2), so it moves back by (-3, 2); half a pixel, as the bodies change from plane to plane
    np.testing.assert_allclose([(row.row_shift, row.col_shift) for row in rows], -np.array(shifts), atol=0.5)
    assert all(row.matched for row in rows)
    difference = np.asarray(aligned)[1, 20:-20, 20:-20].astype(float) - np.asarray(aligned)[0, 20:-20, 20:-20]
    assert np.abs(difference).mean() < np.abs(sample.images[1].astype(float) - sample.images[0]).mean()


def test_a_single_image_cannot_be_aligned() -> None:
    planes = read_layer(ViewerModel().add_image(np.zeros((32, 32)))).planes
    with pytest.raises(InputError, match="one plane"):
        collect(alignment.align_steps(planes, AlignConfig()))
