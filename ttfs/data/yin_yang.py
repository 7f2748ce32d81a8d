"""Yin-Yang: points of a disk in three classes (Kriener et al. 2022, arXiv:2102.08211)."""

from random import Random

import numpy as np

from ttfs.seeds import seed

RADIUS, DOT_RADIUS = 0.5, 0.1
YIN, YANG, DOT = range(3)
SIZES = {"train": 5000, "validation": 1000, "test": 1000}


def yin_yang(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (x, y, 1 − x, 1 − y) of a part, float32 [N, 4], and classes, int64 [N].

    For each point a class is drawn, then points of the unit square until one is of that class, so
    the classes are balanced. The mirrored coordinates let networks without
    biases learn it. `ttfs.seeds.seed` names the stream of each part; the numbers come from Python's
    Mersenne Twister, and only sums, products and comparisons follow: the same on every machine.
    """
    random = Random(seed("yin-yang", part))
    drawn = [_draw(random) for _ in range(SIZES[part])]
    points = np.array([(x, y, 1 - x, 1 - y) for x, y, _ in drawn], dtype=np.float32)
    return points, np.array([label for *_, label in drawn])


def class_of(x: float, y: float) -> int | None:
    """Return the class of a point of the unit square; None outside the disk.

    The disk around (1/2, 1/2) is halved by a horizontal S, which turns below the left dot and above
    the right one. Yin lies above the S, yang below, and the two dots are the third class.
    """
    across, up = x - RADIUS, y - RADIUS
    if across * across + up * up > RADIUS * RADIUS:
        return None
    beside = abs(across) - RADIUS / 2
    from_dot = beside * beside + up * up  # squared distance from the nearer dot
    if from_dot < DOT_RADIUS * DOT_RADIUS:
        return DOT
    if from_dot <= RADIUS * RADIUS / 4:  # around a dot, up to half the radius, there is one class
        return YIN if across < 0 else YANG
    return YIN if up > 0 else YANG


def _draw(random: Random) -> tuple[float, float, int]:
    wanted = int(3 * random.random())
    while True:
        x, y = random.random(), random.random()
        if class_of(x, y) == wanted:
            return x, y, wanted
