"""ReLU networks: TTFS networks are mapped from them and compared with them."""

from ttfs.methods._job import Job, Row
from ttfs.methods._kind import Kind
from ttfs.methods._options import Train, TrainedOptions


class ReLU(Kind):
    """A network of the grid's models, trained from the weights that its seed draws."""

    title = "ReLU network, trained"

    class Options(TrainedOptions):
        """A training."""

        train: Train

    def make(self, job: Job) -> None:
        """Train the network that the seed draws."""
        from ttfs.methods._learning import learn

        network = job.draw()
        learn(network, job)
        job.save(network.cpu().state_dict())

    def load(self, job: Job):
        """Return the trained network, in `eval()`."""
        return job.restore(job.build()).eval()

    def evaluate(self, job: Job) -> list[Row]:
        """Return accuracy, confusion, the kept epoch and the number of parameters."""
        from ttfs.methods._answers import measure_relu

        return measure_relu(self.load(job), job)
