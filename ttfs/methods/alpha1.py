"""TTFS networks of α1 neurons, whose slope at threshold depends on their weights (Stanojevic et al.
2023).
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ttfs.errors import UserError
from ttfs.methods._job import Job, Row
from ttfs.methods.b1 import B1


class Alpha1(B1):
    """Mapped exactly from a ReLU network, trained in the spike-time domain, or both; each neuron
    spikes once.
    """

    title = "TTFS network of α1 neurons"
    deployable = False  # it needs a spike of every neuron, which no chip here guarantees

    class Options(B1.Options):
        """Those of B1 neurons, and how currents are drawn."""

        initialization: Literal["mapped", "drawn"] = Field(
            "mapped",
            description="Of the currents J from scratch: mapped from ReLU weights, or drawn as "
            "ReLU weights are",
        )

    def check(self, options: Mapping[str, Any], where: str) -> None:
        """Refuse a method without source and training, and one that both maps and draws."""
        super().check(options, where)
        if options["initialization"] == "drawn" and options["source"] is not None:
            raise UserError(
                f"{where}: key 'initialization' is 'drawn', but source {options['source']!r} "
                "gives the weights; leave one out"
            )

    def evaluate(self, job: Job) -> list[Row]:
        """Return the rows of a TTFS network, and the share of neurons without a positive slope."""
        from ttfs.snn import stalled_neurons

        stalled = stalled_neurons(self.load(job))
        return [*super().evaluate(job), {"metric": "stalled_neurons", "value": stalled}]

    def _start(self, job: Job):
        if job.options["initialization"] == "mapped":
            return super()._start(job)
        from ttfs.methods._spiking import first_items
        from ttfs.snn import calibrate_, convert_to_b1, to_alpha1_

        headroom = job.options["train"]["window_growth"] - 1.0
        items = first_items(job)
        snn = convert_to_b1(job.draw(), items, headroom, job.data.input_range)
        to_alpha1_(snn, drawn=True)
        calibrate_(snn, [items], headroom)
        return snn

    @staticmethod
    def _convert(ann, items, input_range, headroom: float = 0.5):
        from ttfs.snn import convert_to_alpha1

        return convert_to_alpha1(ann, items, headroom, input_range)
