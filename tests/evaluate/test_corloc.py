"""Boxes, masks and sweeps scored on cases worked out by hand."""

import numpy as np
import pytest

from napari_dinov3.errors import FileFormatError, InputError, MissingDependencyError
from napari_dinov3.evaluate.corloc import (
    Truth,
    box_iou,
    mask_iou,
    read_voc_boxes,
    score_discovery,
)
from napari_dinov3.evaluate.tau_sweep import TauSweep, tau_sweep_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import collect

VOC = """<annotation><filename>000012.jpg</filename><object><name>car</name><difficult>0</difficult>
<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>60</ymax></bndbox></object>
<object><name>bus</name><difficult>1</difficult>
<bndbox><ymin>1</ymin><xmin>1</xmin><ymax>5</ymax><xmax>4.0</xmax></bndbox></object></annotation>"""


def boxes(*rows):
    return np.array(rows, np.int32).reshape(-1, 4)


def test_box_overlap_of_known_pairs():
    a = boxes([0, 0, 10, 10], [20, 20, 30, 40])
    b = boxes([0, 0, 10, 10], [0, 5, 10, 15], [50, 50, 60, 60])
    np.testing.assert_allclose(box_iou(a, b), [[1, 1 / 3, 0], [0, 0, 0]])
    assert box_iou(boxes(), b).shape == (0, 3)


def test_box_overlap_counts_pixels_like_masks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (np.concatenate([(start := rng.integers(0, 10, 2)), start + rng.integers(1, 10, 2)]) for _ in range(2))
        drawn = []
        for row0, col0, row1, col1 in (a, b):
            mask = np.zeros((20, 20), bool)
            mask[row0:row1, col0:col1] = True
            drawn.append(mask)
        assert box_iou(a, b)[0, 0] == pytest.approx(mask_iou(*drawn))


def test_truth_from_labels_keeps_objects_apart_and_from_a_mask_takes_pieces():
    labels = np.zeros((6, 8), np.uint32)
    labels[1:3, 1:3] = 560_581_563
    labels[1:3, 3:5] = 7
    np.testing.assert_array_equal(np.sort(Truth.from_labels(labels).boxes, axis=0), [[1, 1, 3, 3], [1, 3, 3, 5]])
    np.testing.assert_array_equal(Truth.from_labels(labels > 0).boxes, [[1, 1, 3, 5]])
    full = Truth.from_labels(np.full((3, 4), 9))
    np.testing.assert_array_equal(full.boxes, [[0, 0, 3, 4]])
    with pytest.raises(InputError, match="one plane"):
        Truth.from_labels(np.zeros((2, 3, 4)))


def test_corloc_counts_planes_whose_first_box_hits_any_object():
    truths = [Truth(boxes([0, 0, 10, 10], [20, 20, 40, 40])), Truth(boxes([0, 0, 10, 10])), Truth(boxes())]
    found = [boxes([20, 20, 40, 39], [0, 0, 10, 10]), boxes([5, 5, 15, 15]), boxes([0, 0, 3, 3])]
    score = score_discovery(found, truths)
    assert score.planes == 2
    assert score.corloc == 0.5
    assert score.mean_box_iou == pytest.approx((19 / 20 + 25 / 175) / 2)
    assert score.precision == pytest.approx(2 / 3)
    assert score.recall == pytest.approx(2 / 3)
    assert np.isnan(score.mean_mask_iou)


def test_one_known_box_is_matched_once():
    score = score_discovery([boxes([0, 0, 10, 10], [0, 0, 10, 9])], [Truth(boxes([0, 0, 10, 10]))])
    assert (score.precision, score.recall) == (0.5, 1.0)


def test_a_plane_without_a_find_scores_zero():
    score = score_discovery([boxes()], [Truth(boxes([0, 0, 4, 4]))])
    assert (score.corloc, score.precision, score.recall) == (0, 0, 0)


def test_masks_are_scored_where_known():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    truth = Truth.from_labels(mask)
    score = score_discovery([truth.boxes], [truth], masks=[np.ones((4, 4), bool)])
    assert score.mean_mask_iou == 0.5


def test_objects_are_matched_by_their_masks():
    known = np.zeros((10, 12), int)
    known[1:5, 1:5], known[6:9, 6:10] = 40, 7
    found = np.zeros((10, 12), bool)
    found[1:5, 1:4] = True  # IoU 12 / 16
    found[9, 0] = True
    truth = Truth.from_labels(known)
    score = score_discovery([truth.boxes], [truth], masks=[found])
    assert (score.mask_precision, score.mask_recall) == (0.5, 0.5)
    touching = np.where(known > 0, 5, 0)
    touching[1:9, 5] = 5  # one label for both objects is one object
    assert score_discovery([truth.boxes], [truth], masks=[touching]).mask_recall == 0
    assert score_discovery([truth.boxes], [truth], masks=[known]).mask_recall == 1
    empty = score_discovery([truth.boxes], [truth], masks=[np.zeros_like(found)])
    assert (empty.mask_precision, empty.mask_recall) == (0, 0)


def test_a_sweep_is_drawn(sweep, tmp_path):
    pytest.importorskip("matplotlib")
    import imageio.v3 as iio

    sweep.save_plot(tmp_path / "sweep.png")
    assert iio.imread(tmp_path / "sweep.png").std() > 5


def test_a_missing_plotting_package_is_said(sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="matplotlib is not installed"):
        sweep.save_plot(tmp_path / "sweep.png")


def test_no_known_object_at_all_is_refused():
    with pytest.raises(InputError, match="No plane has a known object"):
        score_discovery([boxes([0, 0, 3, 3])], [Truth(boxes())])
    with pytest.raises(InputError, match="1 planes of boxes for 2 references"):
        score_discovery([boxes()], [Truth(boxes())] * 2)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(InputError, match="the same shape"):
        mask_iou(np.zeros((2, 2)), np.zeros((2, 3)))


def test_voc_files_become_half_open_boxes_counted_from_zero(tmp_path):
    (tmp_path / "000012.xml").write_text(VOC)
    found = read_voc_boxes(tmp_path)
    assert list(found) == ["000012"]
    np.testing.assert_array_equal(found["000012"], [[20, 10, 60, 30], [0, 0, 5, 4]])
    np.testing.assert_array_equal(read_voc_boxes(tmp_path / "000012.xml", difficult="drop")["000012"], [[20, 10, 60, 30]])


def test_files_that_are_no_annotation_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="holds no annotation"):
        read_voc_boxes(tmp_path)
    (tmp_path / "bad.xml").write_text("<annotation><object>")
    with pytest.raises(FileFormatError, match=r"bad\.xml is not a Pascal VOC annotation"):
        read_voc_boxes(tmp_path)
    (tmp_path / "bad.xml").write_text(VOC.replace("xmax", "width"))
    with pytest.raises(FileFormatError, match="xmax"):
        read_voc_boxes(tmp_path)


@pytest.fixture
def sweep() -> TauSweep:
    features = np.zeros((2, 8, 8, 2), np.float32)
    features[..., 0] = 1
    features[:, 2:5, 3:6] = (0.8, 0.6)  # cosine 0.8 with the background
    labels = np.zeros((128, 128), int)
    labels[32:80, 48:96] = 1
    maps = [FeatureMap.from_array(features[:1]), FeatureMap.from_array(features[1:])]
    return collect(tau_sweep_steps(maps, [Truth.from_labels(labels)] * 2, taus=(0.5, 0.9)))


def test_a_sweep_finds_the_tau_that_cuts(sweep):
    assert [score.corloc for score in sweep.scores] == [0.0, 1.0]
    assert sweep.scores[1].mean_mask_iou == 1.0
    assert sweep.best == 0.9


def test_a_sweep_writes_tables(sweep):
    lines = sweep.markdown().splitlines()
    assert lines[0].startswith("| tau | planes | corloc |")
    assert lines[3].startswith("| 0.9 | 2 | 1.0000 |")
    rows = sweep.csv().splitlines()
    assert rows[0] == "tau,planes,corloc,mean_box_iou,mean_mask_iou,precision,recall,mask_precision,mask_recall"
    assert rows[2] == "0.9,2,1.0,1.0,1.0,1.0,1.0,1.0,1.0"


def test_a_sweep_reports_its_progress():
    features = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    labels = np.zeros((96, 96), int)
    labels[:40, :40] = 1
    events = []
    collect(tau_sweep_steps([FeatureMap.from_array(features)], [Truth.from_labels(labels)] * 2), events.append)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert events[-1].fraction == 1
