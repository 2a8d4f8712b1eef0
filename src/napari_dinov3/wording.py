"""Numbers in sentences: "1 plane", "2 planes"."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write how many there are of something.

    Parameters
    ----------
    count : int
        How many; thousands are set apart by commas.
    noun : str
        Of one of them; of several words the last one is counted, such as ``"labelled plane"``.
    plural : str
        Of several; by the rules of English where it is not given (``"class"``, ``"classes"``; ``"body"``, ``"bodies"``).

    Examples
    --------
    >>> counted(1, "plane"), counted(0, "class"), counted(1200, "axis", "axes")
    ('1 plane', '0 classes', '1,200 axes')
    """
    return f"{count:,} {noun if count == 1 else plural or _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
