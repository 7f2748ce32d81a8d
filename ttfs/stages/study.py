"""study: a table of how the networks of one initial draw learn, and its summary as rows of a
record.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ttfs.config import Grid, Study, kind_of
from ttfs.data import DataSet, load
from ttfs.files import atomic_write

TABLE = "table.csv"

Row = dict[str, Any]


def load_data(grid: Grid, cell: Study) -> DataSet:
    """Load the data set of a study."""
    content = grid.studies[cell.study]
    config = content[kind_of(content)]["dataset"]
    return load(config | {"augment": None}, f"configs/datasets/{config['id']}.yaml")


def study(
    grid: Grid, cell: Study, data: DataSet, say: Callable[[str], None]
) -> tuple[list[Row], list[str]]:
    """Write table.csv of a study; return the rows of its record, and the files' names.

    A study runs on the CPU, since it compares last digits.
    """
    content = grid.studies[cell.study]
    kind = kind_of(content)
    config = content[kind]
    module = import_module(f"ttfs.studies.{kind}")
    table = getattr(module, kind)(config, data, say)
    text = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    atomic_write(cell.folder / TABLE, text)
    return list(module.summary(table)), [TABLE]
