"""Options of methods: one place for each key, its range, default and description.

The JSON schema that files are checked against, the one for editors and the tables of keys in the
docs are made from these classes.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ttfs.config.read import part_of


class Options(BaseModel):
    """Options of a method, or one block of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TorchOptions(Options):
    """Options that all kinds made with torch have."""

    threads: int = Field(
        1, ge=1, le=1024,
        description="Threads of one job. Part of the result, because sums are taken in another "
            "order",
    )  # fmt: skip
    device: Literal["cpu", "cuda", "auto"] = Field(
        "cpu",
        description="Where networks are trained and measured; auto takes the GPU where there is "
        "one",
    )


class TrainedOptions(TorchOptions):
    """Options of kinds whose networks learn by a block `train`."""

    devices: int = Field(
        1, ge=1, le=1024,
        description="GPUs, or processes on the CPU, that train a network together, each on its "
            "part of every batch; threads are those of each",
    )  # fmt: skip


class Train(Options):
    """Training with cross-entropy."""

    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        description="SGD with classical momentum; adamw takes weights down by themselves, not by "
        "their gradients"
    )
    learning_rate: float = Field(
        gt=0, le=1e6, description="The largest; the schedule says when it is that"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD")
    nesterov: bool = Field(False, description="Whether the momentum of SGD is Nesterov's")
    bias_rate: float = Field(
        1.0, gt=0, le=1e6, description="Learning rate of biases, as a multiple of that of weights"
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1e6,
        description="L2 penalty on weights; biases and the scales of batch norm are spared",
    )  # fmt: skip
    schedule: Literal["cosine", "constant", "exponential", "one-cycle", "triangular"] = Field(
        "cosine",
        description="Learning rate over the steps; cosine falls to zero, exponential by decay "
        "each epoch, one-cycle rises from 1/25 and falls to zero by cosines, triangular from a "
        "fifth in straight lines; the others rise from zero where there is a warmup",
    )
    warmup: float | None = Field(
        None, ge=0, lt=1,
        description="Share of the steps in which the rate rises; null takes 0.3 of one-cycle, 0.2 "
        "of triangular, 0 of the others",
    )  # fmt: skip
    label_smoothing: float = Field(
        0.0, ge=0, lt=1,
        description="Share of a label's weight that is spread evenly over all classes",
    )  # fmt: skip
    averaging: Literal["none", "ema", "lookahead"] = Field(
        "none",
        description="Average of the weights that is validated and kept; with lookahead the "
        "training also goes on from it, every fifth step",
    )
    averaging_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Share of the average that stays at a step; at the end of "
        "a training, for lookahead",
    )
    decay: float = Field(0.9, gt=0, le=1, description="Of the exponential schedule")
    epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="null takes the data set's, the same for all methods"
    )
    batch_size: int | None = Field(
        None, ge=1, le=1_000_000, description="null takes the data set's"
    )
    augment: Any = Field(
        None,
        description="Keys that take the place of the data set's; none switches augmentation off",
        json_schema_extra={"file": "augment"},
    )
    activity_l1: float = Field(
        0.0, ge=0, le=1e6,
        description="Strength of the L1 penalty on activations, per item, summed over hidden "
            "neurons; of a ReLU network, its modules nn.ReLU",
    )  # fmt: skip
    activity_l0: float = Field(
        0.0, ge=0, le=1e6,
        description="Strength of the penalty on a smooth count of active hidden neurons, per item",
    )  # fmt: skip
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="Of the passes in training; bfloat16 keeps float32 weights, and auto takes it "
        "on GPUs and x86 processors that have units for it, float32 elsewhere. Tests are in "
        "float32 always",
    )
    select: Literal["best", "last"] = Field(
        "best",
        description="The epoch whose weights are kept; best by validation accuracy, then by its "
        "loss",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after this many epochs without a better validation accuracy, or the same "
        "at a lower loss; null never",
    )


class SpikingTrain(Train):
    """Training in the spike-time domain."""

    window_growth: float = Field(
        10.0, ge=1, le=1e6,
        description="In training a window is at least this many times the largest potential met so "
            "far",
    )  # fmt: skip


class Check(Options):
    """Tolerances within which a TTFS network counts as exact; for the evaluation alone."""

    logit_difference: float = Field(
        1.0e-4, gt=0,
        description="Largest difference of a logit to the reference network, as a share of the "
            "largest logit",
    )  # fmt: skip
    agreement: float = Field(
        99.9, ge=0, le=100,
        description="Smallest share of test items with the same argmax, in percent. Rounding may "
            "swap equal logits",
    )  # fmt: skip
    simulated_items: int = Field(
        8, ge=0, le=100_000, description="Test items that run through the event-driven simulator"
    )
    spike_time_error: float = Field(
        1.0e-9, gt=0,
        description="Largest difference of a spike time between simulator and closed form in "
            "float64, in tau_c",
    )  # fmt: skip


def schema(kind: str, title: str, options: type[Options]) -> dict[str, Any]:
    """Return the JSON schema of the files of a kind: its options, and keys that all methods
    have.
    """
    own = options.model_json_schema()
    blocks = own.pop("$defs", {})
    properties = {
        "title": {"type": "string", "description": "Its name in tables"},
        "note": {"type": "string", "description": "Where its values come from"},
        "citation": {"type": "string", "description": "Where the method was published"},
        "kind": {"const": kind, "description": title},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": ["title", "kind", *own.get("required", [])],
        "properties": properties
        | {key: _plain(rule, blocks) for key, rule in own.get("properties", {}).items()},
    }


def _plain(rule: Mapping[str, Any], blocks: Mapping[str, Any]) -> dict[str, Any]:
    """A rule without pydantic's detours: blocks in their places, `null` beside the other type."""
    rule = {key: value for key, value in rule.items() if key != "title"}
    if len(rule.get("allOf", ())) == 1:
        rule |= rule.pop("allOf")[0]
    if "file" in rule:  # a schema that data sets have too
        return part_of(rule.pop("file")) | rule
    if "$ref" in rule:
        name = rule.pop("$ref").rpartition("/")[2]
        return _block(blocks[name], blocks) | rule
    choices = rule.pop("anyOf", None)
    if choices is None:
        return rule
    types = [_plain(choice, blocks) for choice in choices if choice.get("type") != "null"]
    if len(types) > 1:
        return {"anyOf": choices} | rule
    return _nullable(*types) | rule


def _nullable(rule: dict[str, Any]) -> dict[str, Any]:
    if "enum" in rule:
        return {key: value for key, value in rule.items() if key != "type"} | {
            "enum": [*rule["enum"], None]
        }
    return rule | {"type": [rule["type"], "null"]}


def _block(rule: Mapping[str, Any], blocks: Mapping[str, Any]) -> dict[str, Any]:
    properties = {key: _plain(inner, blocks) for key, inner in rule.get("properties", {}).items()}
    block = {"type": "object", "additionalProperties": False, "properties": properties}
    return block | ({"required": rule["required"]} if "required" in rule else {})
