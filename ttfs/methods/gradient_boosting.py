"""Gradient-boosted trees, a strong reference for tables. No network, no spikes."""

from pydantic import Field

from ttfs.methods import _options
from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind


class GradientBoosting(Kind):
    """Regression trees on the gradients of the cross-entropy, by scikit-learn, on histograms."""

    title = "Gradient-boosted trees"
    uses_model = False

    class Options(_options.Options):
        """Number, size and weight of the trees."""

        rounds: int = Field(100, ge=1, le=100_000, description="Each adds a tree a class")
        learning_rate: float = Field(0.1, gt=0, le=1, description="Weight of a tree")
        leaves: int = Field(31, ge=2, le=10_000, description="Of a tree, at most")

    def make(self, job: Job) -> None:
        """Fit on the training split, without early stopping."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        from ttfs.methods._fitted import Trees, fit, random_state

        options = job.options
        estimator = HistGradientBoostingClassifier(
            max_iter=options["rounds"], learning_rate=options["learning_rate"],
            max_leaf_nodes=options["leaves"], early_stopping=False, random_state=random_state(job),
        )  # fmt: skip
        job.save(dict(Trees.of(fit(estimator, job)).state_dict()))

    def load(self, job: Job):
        """Return a module: items [N, ...] to logits [N, classes]."""
        from ttfs.methods._fitted import Trees

        return Trees(job.saved())

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion and the number of parameters."""
        from ttfs.methods._fitted import measure_fitted

        return measure_fitted(self.load(job), job)
