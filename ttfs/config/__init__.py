"""Configuration: files read and checked, axes made points, grids laid out into cells; no torch."""

from ttfs.config.grid import (
    NO_MODEL,
    RESULTS,
    STORE,
    Cell,
    Grid,
    Stage,
    Study,
    column,
    kind_of,
)
from ttfs.config.plan import load_grid
from ttfs.config.read import (
    SHIPPED,
    find,
    known,
    read_named,
    read_yaml,
    schema_of,
    suggest,
)
from ttfs.config.variants import POINT, Variant, flat, leaves, text_of, value_at, variants

__all__ = [
    "NO_MODEL",
    "POINT",
    "RESULTS",
    "SHIPPED",
    "STORE",
    "Cell",
    "Grid",
    "Stage",
    "Study",
    "Variant",
    "column",
    "find",
    "flat",
    "kind_of",
    "known",
    "leaves",
    "load_grid",
    "read_named",
    "read_yaml",
    "schema_of",
    "suggest",
    "text_of",
    "value_at",
    "variants",
]
