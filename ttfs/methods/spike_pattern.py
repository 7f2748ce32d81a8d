"""Supervised spike patterns: a target pattern for each class, trained through time."""

from math import prod

from pydantic import Field

from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind
from ttfs.methods._options import Train, TrainedOptions


class SpikePattern(Kind):
    """Leaky neurons learn to answer with the pattern of the class; the nearest target decides."""

    title = "Spike patterns, trained by van Rossum distance"
    uses_model = False

    class Options(TrainedOptions):
        """Sizes, neurons, targets and a training."""

        hidden: int = Field(256, ge=1, le=100_000, description="Hidden neurons")
        outputs: int = Field(50, ge=1, le=100_000, description="Neurons of a pattern")
        steps: int = Field(16, ge=4, le=1024, description="Inputs spike in the first half")
        tau: float = Field(4.0, gt=0, description="Of the van Rossum kernel, in steps")
        beta: float = Field(
            0.9, ge=0, le=1, description="Share of the potential that stays from step to step"
        )
        alpha: float = Field(2.0, gt=0, description="Of the surrogate 1 / (1 + alpha |V - 1|)^2")
        train: Train

    def make(self, job: Job) -> None:
        """Train the network that the seed draws."""
        from ttfs.methods._learning import learn

        network = _network(job)
        learn(network, job)
        job.save(network.cpu().state_dict())

    def load(self, job: Job):
        """Return the trained network, in `eval()`."""
        return job.restore(_network(job)).eval()

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion and spikes."""
        from ttfs.methods._answers import answers, trained
        from ttfs.metrics import Seen, Subject, measure

        network = self.load(job).to(job.device)

        def answer(items) -> Seen:
            hidden, output = network.spikes(items)
            logits = network.nearness(output)
            inputs = network.encode(items.flatten(1)) > 0
            fired = {"input": inputs, "hidden": hidden.sum(0), "output": output.sum(0)}
            return Seen(logits, logits, fired={name: s.cpu() for name, s in fired.items()})

        fan_out = {
            "input": network.hidden.weight.count_nonzero(0).cpu(),
            "hidden": network.output.weight.count_nonzero(0).cpu(),
        }
        facts = trained(job) | {"parameters": sum(p.numel() for p in network.parameters())}
        subject = Subject(job.data.classes, ("hidden",), fan_out, facts=facts)
        return list(measure(subject, answers(answer, job)))


def _network(job: Job):
    """Return the network with weights and targets that the seed draws."""
    import torch

    from ttfs.seeds import seed
    from ttfs.timed.van_rossum import SpikePatterns, target_patterns

    options = job.options
    torch.manual_seed(seed(*job.axes, "init"))
    targets = target_patterns(
        job.data.classes, options["outputs"], options["steps"], options["tau"],
        torch.Generator().manual_seed(seed(*job.axes, "targets")),
    )  # fmt: skip
    sizes = prod(job.data.shape), options["hidden"]
    neuron = options["tau"], options["beta"], options["alpha"]
    return SpikePatterns(*sizes, targets, *neuron, job.data.input_range)
