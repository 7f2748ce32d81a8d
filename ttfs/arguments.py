"""What numbers an argument of a public function may be."""

import operator
from numbers import Real


def is_number(value: object) -> bool:
    """Whether a value is a number, of Python or numpy, or a tensor without dimensions."""
    array = getattr(value, "ndim", None) == 0 and not isinstance(value, str)
    return isinstance(value, Real) or array


def as_whole(value: object) -> int | None:
    """Return a whole number of any kind as an int, None for all else; a truth value is none.

    >>> as_whole(4), as_whole(4.0), as_whole(True)
    (4, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
