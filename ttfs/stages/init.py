"""init: a grid and a data set's file to start from."""

from pathlib import Path

from ttfs.config import SHIPPED
from ttfs.config.plan import RESERVED
from ttfs.config.read import ID, grid_paths, known
from ttfs.errors import UserError
from ttfs.files import atomic_write

GRID = """\
title: A grid of my own
datasets: [digits]                 # files of configs/datasets; {name} is yours to change
models: [fc2]
methods:
  - ann
  - b1-converted
  - {{method: b1-scratch, over: {{activity_l1: [0.0, 2.0e-3]}}}}   # a network for each value
seeds: [0]
hardware:
  - {{over: {{weight_bits: [4, 2], tuning: [none, {{}}]}}}}   # as mapped, and fine-tuned
deployed: [b1-converted]
"""


def init(name: str) -> int:
    """Write configs/<name>.yaml and configs/datasets/<name>.yaml; raise UserError where one of them
    is there.
    """
    if not ID.fullmatch(name):
        raise UserError(f"init {name}: the name is an id and may hold only a-z, 0-9 and '-'")
    if name in RESERVED:
        raise UserError(f"init {name}: results/{name} is a folder of its own; choose another name")
    digits = (SHIPPED / "configs" / "datasets" / "digits.yaml").read_text(encoding="utf-8")
    files = {
        Path("configs", f"{name}.yaml"): GRID.format(name=name),
        Path("configs", "datasets", f"{name}.yaml"): digits,
    }
    for path in files:
        if path.exists():
            raise UserError(f"{path}: there is one already; choose another name")
    if name in known("dataset") or any(name == path.stem for path in grid_paths()):
        raise UserError(f"init {name}: there is a grid or data set of that name; choose another")
    for path, content in files.items():
        atomic_write(path, content)
        print(path)
    print(f"next: ttfs run configs/{name}.yaml")
    return 0
