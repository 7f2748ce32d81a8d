"""Unsupervised spike-timing-dependent plasticity; labels are assigned afterwards."""

from math import prod

from pydantic import Field

from ttfs.errors import UserError
from ttfs.methods import _options
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind


class STDP(Kind):
    """One layer of leaky neurons; inputs x, their range as [0, 1], spike at 1 − x; 0 is silent."""

    title = "Winner-take-all with STDP, unsupervised"
    uses_model = False

    class Options(_options.Options):
        """Size, and what learning does; times in units of the input window."""

        neurons: int = Field(256, ge=2, le=100_000, description="Of the layer")
        passes: int = Field(1, ge=1, le=1000, description="Through the training split")
        membrane: float = Field(1.0, ge=0.02, description="Time constant of the potential")
        before: float = Field(1.0, gt=0, description="Of the trace that an input spike leaves")
        after: float = Field(0.3, gt=0, description="Of the trace that the neuron's spike leaves")
        rate: float = Field(0.1, gt=0, le=1, description="Of learning")
        depression: float = Field(1.0, ge=0, description="Of later inputs, against earlier ones")
        offset: float = Field(0.2, ge=0, le=1, description="What each weight loses at a spike")
        rise: float = Field(0.02, ge=0, lt=1, description="Of the winner's threshold, as a share")

    def make(self, job: Job) -> None:
        """Show the training records one by one, with a label or not; then assign labels to the
        neurons by those that have one.
        """
        import numpy as np
        import torch

        from ttfs.seeds import seed
        from ttfs.timed.stdp import Winners, assign

        rng = np.random.default_rng(seed(*job.axes, "stdp"))
        split = job.data.unlabeled or job.data.train
        patterns, _ = _patterns(split, job)
        some, _ = _patterns(split.some(100), job)
        if not np.isfinite(some).any():  # no threshold comes from silence
            some = patterns[np.isfinite(patterns).any(1)][:100]
        if not len(some):
            raise UserError("no training item has a spike to learn from; all values are the lowest")
        count = job.options["neurons"]
        layer = Winners.drawn(some, count, _constants(job), rng)
        for number in range(job.options["passes"]):
            for place in rng.permutation(len(patterns)):
                layer.learn(patterns[place])
            job.say(f"pass {number + 1}/{job.options['passes']}")
        patterns, labels = _patterns(job.data.train, job)
        says = assign(layer.winners(patterns), labels, count, job.data.classes)
        arrays = {"weights": layer.weights, "thresholds": layer.thresholds, "says": says}
        job.save({name: torch.from_numpy(array) for name, array in arrays.items()})

    def load(self, job: Job):
        """Return a function of items [N, ...]: winners [N], -1 for none, and logits."""
        from ttfs.timed.stdp import Winners

        saved = job.saved()
        weights, thresholds = (saved[name].numpy() for name in ("weights", "thresholds"))
        layer = Winners(weights, thresholds, _constants(job))

        def answer(items):
            import torch

            winners = torch.from_numpy(layer.winners(_times(items, job)))
            return winners, saved["says"][winners]

        return answer

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion and spikes; the layer spikes once a record at most."""
        import torch

        from ttfs.methods._answers import answers
        from ttfs.metrics import Seen, Subject, measure

        respond, neurons = self.load(job), job.options["neurons"]

        def answer(items) -> Seen:
            winners, logits = respond(items)
            fired = {
                "input": torch.from_numpy(_times(items, job)).isfinite(),
                "layer": winners[:, None] == torch.arange(neurons),
            }
            return Seen(logits, logits, fired=fired)

        fan_out = {"input": job.saved()["weights"].count_nonzero(1).double()}
        facts = {"parameters": prod(job.data.shape) * neurons + neurons}
        subject = Subject(job.data.classes, ("layer",), fan_out, facts=facts)
        return list(measure(subject, answers(answer, job)))


def _constants(job: Job):
    from dataclasses import fields

    from ttfs.timed.stdp import Constants

    return Constants(**{field.name: job.options[field.name] for field in fields(Constants)})


def _times(items, job: Job):
    """Spike times [N, inputs] of items [N, ...]: 1 − x, inf for the lowest value."""
    import numpy as np

    from ttfs.snn.encode import Encode

    values = Encode(*job.data.input_range)(items.flatten(1)).cpu().numpy()
    return np.where(values > 0, 1 - values, np.inf).astype(np.float32)


def _patterns(split, job: Job):
    import torch

    items, labels = zip(*split.batches(1000), strict=True)
    return _times(torch.cat(items), job), torch.cat(labels).numpy()
