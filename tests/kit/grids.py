"""A grid to lay out, and its cells."""

from ttfs.config import Cell

GRID = """\
datasets: [digits]
models: [fc2]
methods: [ann, b1-converted, b1-finetuned, b1-scratch, alpha1-converted]
seeds: [0, 1]
hardware: [{over: {time_bits: [4, 3], tuning: [none, {epochs: 2}]}}]
deployed: [b1-converted, b1-finetuned]
studies: [trajectory-digits]
"""


def cell(
    method: str, seed: int = 1, hardware: str = "", dataset: str = "digits", model: str = "fc2"
) -> Cell:
    """Return a cell of the grid."""
    return Cell(dataset, model, method, seed, hardware)
