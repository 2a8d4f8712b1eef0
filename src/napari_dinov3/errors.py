"""What went wrong, what was expected, and what to do next.

Every error a user can meet has three parts: the value that was wrong, what was expected, and the next step.
They travel as attributes so that a widget, a terminal and a script can each show them in their own way.
"""

from __future__ import annotations


class InputError(ValueError):
    """Report an input that a task cannot work with, in three parts.

    Parameters
    ----------
    problem : str
        The value that was wrong, with the value in it.
    expected : str
        What would have been accepted.
    action : str
        What the user can do next.
    """

    def __init__(self, problem: str, expected: str, action: str) -> None:
        self.problem = problem
        self.expected = expected
        self.action = action
        super().__init__(" ".join(_sentence(part) for part in (problem, expected, action)))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return (type(self), (self.problem, self.expected, self.action))


class FeatureMismatchError(InputError):
    """Two feature maps, or a probe and a feature map, that do not fit together."""


class FileFormatError(InputError):
    """A file that cannot be read, or is not what its name says."""


class MissingDependencyError(InputError, ImportError):
    """An optional package that a chosen feature needs is not installed."""


class IllPosedWarning(UserWarning):
    """The result is arbitrary: the data do not decide the question that was asked."""


class FallbackWarning(UserWarning):
    """A simpler method was used because the data do not allow the one that was asked for."""


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
