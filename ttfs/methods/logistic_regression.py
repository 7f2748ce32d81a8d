"""Logistic regression, the linear reference: no network, no spikes."""

from pydantic import Field

from ttfs.methods import _options
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind


class LogisticRegression(Kind):
    """Multinomial logistic regression with an L2 penalty, fitted to its optimum by scikit-learn."""

    title = "Logistic regression"
    uses_model = False

    class Options(_options.Options):
        """The penalty."""

        inverse_penalty: float = Field(
            1.0,
            gt=0,
            le=1e9,
            description="C of scikit-learn: losses count so much more than |W|²/2",
        )
        iterations: int = Field(2000, ge=1, le=1_000_000, description="Of L-BFGS, at most")

    def make(self, job: Job) -> None:
        """Fit on the training split."""
        from sklearn.linear_model import LogisticRegression as Estimator

        from ttfs.methods._fitted import Linear, fit

        options = job.options
        estimator = Estimator(C=options["inverse_penalty"], max_iter=options["iterations"])
        job.save(dict(Linear.of(fit(estimator, job)).state_dict()))

    def load(self, job: Job):
        """Return a module: items [N, ...] to logits [N, classes]."""
        from ttfs.methods._fitted import Linear

        return Linear(job.saved())

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion and the number of parameters."""
        from ttfs.methods._fitted import measure_fitted

        return measure_fitted(self.load(job), job)
