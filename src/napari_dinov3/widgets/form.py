"""A small form built from plain descriptions of its fields.

The description is pure (frozen dataclasses, tested without Qt); :class:`Form` is the Qt adapter with ``value()``,
``setValue()`` and ``valueChanged``. Every field has a label with its unit, a one-sentence tooltip and a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QSizePolicy, QSpinBox, QWidget
from superqt import QLabeledDoubleSlider

COMBO_MIN_CHARACTERS = 5
COMBO_MAX_CHARACTERS = 18
POPUP_MARGIN = 24


@dataclass(frozen=True, slots=True)
class Field:
    """What every field has.

    Parameters
    ----------
    name : str
        Key in the form's value.
    label : str
        Shown, with the unit in brackets where there is one.
    tooltip : str
        One sentence.
    default : object
        First value.
    """

    name: str
    label: str
    tooltip: str
    default: Any


@dataclass(frozen=True, slots=True)
class Choice(Field):
    """One of several values; `options` are (value, text)."""

    options: tuple[tuple[Any, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Number(Field):
    """A number in a spin box; whole numbers where `decimals` is 0."""

    minimum: float = 0.0
    maximum: float = 1.0
    step: float = 0.1
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class Slider(Number):
    """A number on a slider, for values that are tried out by eye."""


@dataclass(frozen=True, slots=True)
class Flag(Field):
    """On or off."""


class Form(QWidget):
    """Edit named values.

    Parameters
    ----------
    fields : sequence of Field
        In the order shown.
    parent : QWidget, optional
        Owner.
    """

    valueChanged = Signal()

    def __init__(self, fields: Sequence[Field], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._fields = {field.name: field for field in fields}
        self._editors: dict[str, QWidget] = {}
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        for field in fields:
            self._add(field)

    def value(self) -> dict[str, Any]:
        """Read every field by name."""
        return {name: _read(editor) for name, editor in self._editors.items()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all fields; `valueChanged` comes once, if anything changed."""
        before = self.value()
        for name, item in value.items():
            if name in self._editors:
                with QSignalBlocker(self._editors[name]):
                    _write(self._editors[name], item)
        if self.value() != before:
            self.valueChanged.emit()

    def set_options(self, name: str, options: Iterable[tuple[Any, str]]) -> None:
        """Replace the options of a choice; the value stays where it is still on offer."""
        editor = self._editors[name]
        assert isinstance(editor, QComboBox)
        before = editor.currentData()
        with QSignalBlocker(editor):
            _fill(editor, options)
            _write(editor, before)
        if editor.currentData() != before:
            self.valueChanged.emit()

    def set_shown(self, name: str, shown: bool) -> None:
        """Show or hide a field with its label; a hidden field keeps its value."""
        self._layout.setRowVisible(self._editors[name], shown)

    def insert_below(self, name: str, widget: QWidget) -> None:
        """Put a widget of the panel's own under a field."""
        row, _ = self._layout.getWidgetPosition(self._editors[name])
        self._layout.insertRow(row + 1, widget)

    def editor(self, name: str) -> QWidget:
        """Give the Qt widget of a field."""
        return self._editors[name]

    def _add(self, field: Field) -> None:
        editor = _make_editor(field)
        editor.setToolTip(field.tooltip)
        editor.setAccessibleName(field.label)
        editor.setAccessibleDescription(field.tooltip)
        _change_signal(editor).connect(self._on_changed)
        self._editors[field.name] = editor
        if isinstance(editor, QCheckBox):
            self._layout.addRow(editor)
            return
        label = QLabel(field.label)
        label.setToolTip(field.tooltip)
        label.setBuddy(editor)
        self._layout.addRow(label, editor)

    def _on_changed(self, *_: Any) -> None:
        self.valueChanged.emit()


def combo_box() -> QComboBox:
    """Make a combo box that shrinks with a narrow panel instead of widening it."""
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(COMBO_MIN_CHARACTERS)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def widen_popup(box: QComboBox) -> None:
    """Let the opened list be as wide as its longest entry, however narrow the box is."""
    view = box.view()
    view.setMinimumWidth(view.sizeHintForColumn(0) + 2 * view.frameWidth() + POPUP_MARGIN)


def wrapped_label(text: str = "", *, name: str = "") -> QLabel:
    """Make a label that wraps, so that a long text never widens the panel."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setObjectName(name)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    return label


def _make_editor(field: Field) -> QWidget:
    if isinstance(field, Choice):
        box = combo_box()
        _fill(box, field.options)
        _write(box, field.default)
        return box
    if isinstance(field, Slider):
        slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        slider.setDecimals(field.decimals)
        slider.setRange(field.minimum, field.maximum)
        slider.setSingleStep(field.step)
        slider.setValue(field.default)
        return slider
    if isinstance(field, Number):
        spin = QDoubleSpinBox() if field.decimals else QSpinBox()
        if isinstance(spin, QDoubleSpinBox):
            spin.setDecimals(field.decimals)
        kind = float if field.decimals else int
        spin.setRange(kind(field.minimum), kind(field.maximum))
        spin.setSingleStep(kind(field.step))
        spin.setValue(kind(field.default))
        spin.setKeyboardTracking(False)
        return spin
    box = QCheckBox(field.label)
    box.setChecked(bool(field.default))
    return box


def _fill(box: QComboBox, options: Iterable[tuple[Any, str]]) -> None:
    box.clear()
    options = list(options)
    for value, text in options:
        box.addItem(text, value)
    metrics = box.fontMetrics()  # wide enough for its longest text: a form puts it under its label where there is no room beside
    longest = max((metrics.horizontalAdvance(text) for _, text in options), default=0)
    letters = -(-longest // max(1, metrics.horizontalAdvance("X"))) + 1
    box.setMinimumContentsLength(min(max(letters, COMBO_MIN_CHARACTERS), COMBO_MAX_CHARACTERS))
    widen_popup(box)


def _read(editor: QWidget) -> Any:
    if isinstance(editor, QComboBox):
        return editor.currentData()
    return editor.isChecked() if isinstance(editor, QCheckBox) else editor.value()


def _write(editor: QWidget, value: Any) -> None:
    if isinstance(editor, QComboBox):
        at = next((i for i in range(editor.count()) if editor.itemData(i) == value), None)
        if at is not None:
            editor.setCurrentIndex(at)
    elif isinstance(editor, QCheckBox):
        editor.setChecked(bool(value))
    else:
        editor.setValue(value)


def _change_signal(editor: QWidget) -> Any:
    if isinstance(editor, QComboBox):
        return editor.currentIndexChanged
    return editor.toggled if isinstance(editor, QCheckBox) else editor.valueChanged
