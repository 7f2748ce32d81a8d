"""TTFS networks of B1 neurons, which have a constant slope at threshold (Stanojevic et al.
2024).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ttfs.errors import UserError
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind
from ttfs.methods._options import Check, SpikingTrain, TrainedOptions


class B1(Kind):
    """Mapped exactly from a ReLU network, trained in the spike-time domain, or both."""

    title = "TTFS network of B1 neurons"
    deployable = True

    class Options(TrainedOptions):
        """Where the network comes from, its windows, a training, and when it counts as exact."""

        source: str | None = Field(
            None,
            description="The method whose network it starts from: a ReLU network is mapped; null "
            "starts from the mapping of the ReLU network that the seed draws",
        )
        headroom: float = Field(
            0.5, ge=0, le=1e6,
            description="A window is (1 + headroom) times the largest activation over the "
                "calibration items",
        )  # fmt: skip
        calibration_items: int | None = Field(
            None, ge=1,
            description="How many training items the windows of a mapped network are measured "
                "on; null takes all",
        )  # fmt: skip
        train: SpikingTrain | None = Field(
            None, description="Training in the spike-time domain; null leaves the mapping as it is"
        )
        check: Check = Field(
            Check.model_validate({}), description="When it counts as its ReLU network"
        )

    def starts_from(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return `relu`, which is mapped, and, where there is a training, this kind, which is
        fine-tuned.
        """
        return ("relu", self.name) if options.get("train") else ("relu",)

    def check(self, options: Mapping[str, Any], where: str) -> None:
        """Refuse a method without source and training, and devices that would train nothing."""
        if options["source"] is None and options["train"] is None:
            raise UserError(
                f"{where}: give source, train, or both: a network is mapped, trained, or both"
            )
        if options["train"] is None and options["devices"] > 1:
            raise UserError(
                f"{where}: key 'devices' is {options['devices']}, but this method trains nothing; "
                "remove it, or give it a block train"
            )

    def try_out(self, network: Any, items: Any) -> None:
        """Refuse a network that cannot be mapped."""
        self._convert(network, items, (0.0, 1.0))

    def make(self, job: Job) -> None:
        """Map or draw the network, and train it if the options say so."""
        from ttfs.methods._spiking import train

        snn = self._start(job)
        if job.options["train"]:
            train(snn, job)
        job.save(snn.cpu().state_dict())
        job.say(f"{len(snn.layers)} hidden layers, latency {snn.latency:.2f} tau_c")

    def load(self, job: Job):
        """Return the network: the graph of the ReLU network, weights and windows as saved."""
        from ttfs.methods._spiking import any_item

        return job.restore(self._convert(job.build(), any_item(job), job.data.input_range)).eval()

    def evaluate(self, job: Job) -> list[Row]:
        """Return the rows, after a comparison with the reference network and the simulator."""
        from ttfs.methods._measuring import measure_spiking
        from ttfs.snn import reference_network

        snn, source = self.load(job), job.source
        mapped = source is not None and not job.options["train"]
        reference = source.kind.load(source) if source and mapped else reference_network(snn)
        return measure_spiking(snn, reference, job)

    def deploy(self, job: Job) -> list[Row]:
        """Return the rows of the network on a chip."""
        from ttfs.methods._deploying import deploy_spiking

        return deploy_spiking(self.load(job), job)

    def on_hardware(self, job: Job):
        """Return the network on its chip, fine-tuned there if that is how it was measured."""
        from ttfs.methods._deploying import deployed

        return deployed(self.load(job), job)

    def _start(self, job: Job):
        """The network before any training."""
        from ttfs.methods._spiking import calibration, first_items

        options, source = job.options, job.source
        if source is None:
            headroom = options["train"]["window_growth"] - 1.0
            return self._convert(job.draw(), first_items(job), job.data.input_range, headroom)
        network = source.kind.load(source).to(job.device)
        if source.kind.name != "relu":
            return network.train()
        items = calibration(job, options["calibration_items"])
        return self._convert(network, items, job.data.input_range, options["headroom"])

    @staticmethod
    def _convert(ann, items, input_range, headroom: float = 0.5):
        from ttfs.snn import convert_to_b1

        return convert_to_b1(ann, items, headroom, input_range)
