"""Forms: every field has its value, its label and its sentence; one change is one signal."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtWidgets import QLabel

from napari_dinov3.widgets.form import Choice, Flag, Form, Number, Slider

FIELDS = (
    Choice("head", "Head", "What learns.", "linear", (("kernel", "kernel"), ("linear", "linear"))),
    Number("size", "Size (px)", "Rows and columns.", 512, 16, 8192, 64, 0),
    Number("drift", "Drift (px)", "How far.", 0.5, 0, 10, 0.5, 1),
    Slider("tau", "Tau", "Cosine.", 0.2, 0.0, 0.95, 0.05, 2),
    Flag("invert", "Invert", "The other side.", True),
)
VALUE = {"head": "linear", "size": 512, "drift": 0.5, "tau": 0.2, "invert": True}


@pytest.fixture
def form(qtbot: Any) -> Form:
    form = Form(FIELDS)
    qtbot.addWidget(form)
    return form


def test_a_new_form_has_the_defaults(form: Form) -> None:
    assert form.value() == VALUE


def test_what_is_set_is_read_back_with_one_signal(form: Form) -> None:
    heard: list[int] = []
    form.valueChanged.connect(lambda: heard.append(1))
    new = {"head": "kernel", "size": 64, "drift": 2.5, "tau": 0.9, "invert": False}
    form.setValue(new)
    form.setValue(new)
    assert form.value() == new
    assert heard == [1]


def test_unknown_names_and_options_change_nothing(form: Form) -> None:
    form.setValue({"nonsense": 3, "head": "nonsense"})
    assert form.value() == VALUE


def test_options_can_be_replaced_and_keep_the_choice_where_it_is_still_there(form: Form) -> None:
    form.set_options("head", [("forest", "forest"), ("linear", "linear")])
    assert form.value()["head"] == "linear"
    form.set_options("head", [("forest", "forest")])
    assert form.value()["head"] == "forest"


def test_every_editor_is_named_and_explained_for_those_who_cannot_see_it(form: Form) -> None:
    for field in FIELDS:
        editor = form.editor(field.name)
        assert editor.toolTip() == editor.accessibleDescription() == field.tooltip
        assert editor.accessibleName() == field.label
    buddies = {label.buddy() for label in form.findChildren(QLabel) if label.buddy() is not None}
    assert {form.editor(name) for name in ("head", "size", "drift", "tau")} <= buddies


def test_a_hidden_field_keeps_its_value(form: Form) -> None:
    form.set_shown("tau", False)
    assert form.editor("tau").isHidden()
    assert form.value()["tau"] == 0.2
