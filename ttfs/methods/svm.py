"""Support vector machines: linear, or with a Gaussian kernel. No network, no spikes."""

from typing import Literal

from pydantic import Field

from ttfs.methods import _options
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind


class SupportVectorMachine(Kind):
    """Linear: a class against the rest, squared hinge loss. Gaussian kernel: pairs of classes."""

    title = "Support vector machine"
    uses_model = False

    class Options(_options.Options):
        """Kernel and penalty."""

        kernel: Literal["linear", "rbf"] = Field(
            "linear",
            description="rbf: exp(-gamma |x - x'|²), gamma = 1 / (features x variance)",
        )
        inverse_penalty: float = Field(
            1.0,
            gt=0,
            le=1e9,
            description="C of scikit-learn: losses count so much more than |w|²/2",
        )
        iterations: int = Field(
            10_000, ge=1, le=1_000_000, description="Of the linear fit, at most"
        )

    def make(self, job: Job) -> None:
        """Fit on the training split."""
        from sklearn.svm import SVC, LinearSVC

        from ttfs.methods._fitted import Kernel, Linear, fit, random_state

        options, state = job.options, random_state(job)
        penalty = options["inverse_penalty"]
        if options["kernel"] == "rbf":
            job.save(dict(Kernel.of(fit(SVC(C=penalty), job)).state_dict()))
        else:
            machine = LinearSVC(C=penalty, max_iter=options["iterations"], random_state=state)
            job.save(dict(Linear.of(fit(machine, job)).state_dict()))

    def load(self, job: Job):
        """Return a module: items [N, ...] to logits [N, classes], votes for a Gaussian kernel."""
        from ttfs.methods._fitted import Kernel, Linear

        return (Kernel if job.options["kernel"] == "rbf" else Linear)(job.saved())

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion and the number of parameters."""
        from ttfs.methods._fitted import measure_fitted

        return measure_fitted(self.load(job), job)
