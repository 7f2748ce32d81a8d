"""Leaky integrate-and-fire networks trained through time (Ledinauskas et al. 2020, our reading)."""

from typing import Any

from pydantic import Field

from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind
from ttfs.methods._options import Train, TrainedOptions


class LIF(Kind):
    """The graph of a ReLU network with leaky neurons, trained through time."""

    title = "Leaky integrate-and-fire network, trained through time"

    class Options(TrainedOptions):
        """The neurons, how long they run, and a training."""

        steps: int = Field(
            10, ge=1, le=1024,
            description="Time steps; what is measured at each power of two on the way has rows too",
        )  # fmt: skip
        beta: float = Field(
            0.9, ge=0, le=1, description="Share of the potential that stays from step to step"
        )
        alpha: float = Field(
            2.0, gt=0, le=1e6,
            description="Of the surrogate 1 / (1 + alpha |V - 1|)^2; the larger, the narrower",
        )  # fmt: skip
        train: Train

    def try_out(self, network: Any, items: Any) -> None:
        """Refuse a network that cannot be mapped."""
        from ttfs.snn import convert

        convert(network, items)

    def make(self, job: Job) -> None:
        """Train the network, from the weights that the seed draws for the ReLU network."""
        from ttfs.methods._learning import learn

        network = self._leaky(job.draw(), job)
        learn(network, job)
        job.save(network.cpu().state_dict())

    def load(self, job: Job):
        """Return the trained network, in `eval()`."""
        return job.restore(self._leaky(job.build(), job)).eval()

    def evaluate(self, job: Job) -> list[Row]:
        """Return what is measured after each power of two of the steps it was trained for."""
        from ttfs.methods._answers import trained
        from ttfs.methods._over_time import measure_over_steps, powers_of_two
        from ttfs.methods._spiking import any_item
        from ttfs.metrics import dense_energy, fan_out, multiply_accumulates
        from ttfs.snn import convert

        network = self.load(job)
        snn = convert(job.build(), any_item(job), input_range=job.data.input_range)
        snn.load_state_dict(network.state_dict(), strict=False)  # its synapses are counted
        facts: dict[str, Any] = {
            "ann_energy": dense_energy(multiply_accumulates(snn)),
            "parameters": sum(p.numel() for p in network.parameters()),
            **trained(job),
        }
        passes = [powers_of_two(job.options["steps"])]
        return measure_over_steps(network, passes, None, fan_out(snn), facts, job)

    @staticmethod
    def _leaky(network, job: Job):
        from ttfs.methods._spiking import any_item
        from ttfs.timed import to_leaky

        options = job.options
        neurons = options["steps"], options["beta"], options["alpha"]
        return to_leaky(network, any_item(job), *neurons, job.data.input_range)
