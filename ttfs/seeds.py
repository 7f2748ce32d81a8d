"""Seeds from named axes: one place that turns names into random streams."""

import hashlib


def seed(*axes: str | int) -> int:
    """Return the seed of the random stream that the axes name, the same on every machine.

    seed = the first 63 bits of SHA-256 of the axes joined by '/'. Streams of different names are
    independent, so drawing more numbers in one (augmentation, say) moves no other (the order of the
    batches, say).

    >>> seed("mnist", "fc2", 0, "init") == seed("mnist", "fc2", "0", "init")
    True
    >>> seed("mnist", "fc2", 0, "init") == seed("mnist", "fc2", 0, "order")
    False
    """
    text = "/".join(str(axis) for axis in axes)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
