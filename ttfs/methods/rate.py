"""Rate-coded networks, converted from ReLU networks (Meng et al. 2022, our reading)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ttfs.errors import UserError
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind
from ttfs.methods._options import TorchOptions


class Rate(Kind):
    """The graph of the TTFS network with integrate-and-fire neurons, which run for T steps."""

    title = "Rate-coded network of integrate-and-fire neurons, converted"

    class Options(TorchOptions):
        """Where the network comes from, its thresholds, and how long it runs."""

        source: str = Field(description="The method whose ReLU network is converted")
        threshold: Literal["max", "quantile", "mmse", "tuned"] = Field(
            "max",
            description="Of each layer: its largest activation, a quantile of them, the least "
            "squared error of whole spikes, or the least measured error at each number of steps",
        )
        quantile: float = Field(
            0.999, gt=0, le=1,
            description="Of the positive activations; of threshold quantile alone",
        )  # fmt: skip
        bias_correction: Literal["none", "light"] = Field(
            "none",
            description="light adds the mean error of each channel to its current, layer by layer",
        )
        steps: int = Field(
            128, ge=1, le=65536,
            description="Time steps; what is measured at each power of two on the way has rows too",
        )  # fmt: skip
        calibration_items: int = Field(
            1000, ge=1,
            description="How many training items thresholds are measured on; mmse, tuned and light "
            "take 2048 / T of them, or 32",
        )  # fmt: skip

    def starts_from(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the ReLU network, which is converted."""
        return ("relu",)

    def check(self, options: Mapping[str, Any], where: str) -> None:
        """Refuse a quantile that nothing reads."""
        if options["quantile"] != 0.999 and options["threshold"] != "quantile":
            raise UserError(
                f"{where}: key 'quantile' is of threshold 'quantile', but threshold is "
                f"{options['threshold']!r}; remove it"
            )

    def try_out(self, network: Any, items: Any) -> None:
        """Refuse a network that cannot be mapped."""
        from ttfs.snn import convert

        convert(network, items)

    def make(self, job: Job) -> None:
        """Convert the network, and set its thresholds."""
        from ttfs.methods._spiking import calibration

        assert job.source is not None
        network = job.source.kind.load(job.source).to(job.device)
        items = calibration(job, job.options["calibration_items"])
        rate = self._convert(network, items, job)
        job.save(rate.cpu().state_dict())
        job.say(f"{len(rate.layers)} hidden layers, thresholds for steps {list(rate.settings)}")

    def load(self, job: Job):
        """Return the network; its graph is the ReLU network's, its numbers are the file's."""
        from ttfs.methods._spiking import any_item
        from ttfs.snn import convert
        from ttfs.timed import RateNetwork

        snn = convert(job.build(), any_item(job), input_range=job.data.input_range)
        return job.restore(RateNetwork(snn, self._settings(job))).eval()

    def evaluate(self, job: Job) -> list[Row]:
        """Return what is measured after each power of two of steps, beside the ReLU network."""
        from ttfs.methods._over_time import measure_over_steps, powers_of_two
        from ttfs.methods._spiking import any_item
        from ttfs.metrics import dense_energy, fan_out, multiply_accumulates
        from ttfs.snn import convert

        assert job.source is not None
        rate, ann = self.load(job), job.source.kind.load(job.source)
        snn = convert(ann, any_item(job), input_range=job.data.input_range)
        steps = powers_of_two(job.options["steps"])
        passes = [[t] for t in steps] if len(rate.settings) > 1 else [steps]
        facts = {
            "ann_energy": dense_energy(multiply_accumulates(snn)),
            "parameters": sum(p.numel() for p in rate.parameters()),
        }
        rows = measure_over_steps(rate, passes, ann.to(job.device), fan_out(snn), facts, job)
        accuracies = [row for row in rows if row["metric"] == "accuracy" and "step" in row]
        job.say(", ".join(f"{row['step']} steps {row['value']:.2f} %" for row in accuracies))
        return rows

    def _convert(self, network, items, job: Job):
        from ttfs.timed import convert_to_rate

        options = job.options
        return convert_to_rate(
            network,
            items,
            options["threshold"],
            self._settings(job),
            options["quantile"],
            options["bias_correction"],
            job.data.input_range,
        )

    @staticmethod
    def _settings(job: Job) -> tuple[int, ...]:
        """The numbers of steps that thresholds are set for."""
        from ttfs.methods._over_time import powers_of_two
        from ttfs.timed import settings_of

        options = job.options
        steps = powers_of_two(options["steps"])
        return settings_of(steps, options["threshold"], options["bias_correction"])
