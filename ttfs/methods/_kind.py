"""The members that every kind of classifier has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ttfs.errors import UserError
from ttfs.methods._options import Options

if TYPE_CHECKING:
    from ttfs.methods._job import Job, Row


class Kind(ABC):
    """One kind of classifier: a subclass in `methods/<kind>.py`.

    The module is read whenever kinds are listed, so it imports torch and other heavy packages
    inside functions only.
    """

    title: ClassVar[str] = ""
    """Its name in the docs."""
    Options: ClassVar[type[Options]] = Options
    """Its keys. A key `source` makes it start from another method's network; a block `train` has
    the keys of `Train`, and null there takes the value of the data set; a block `check` belongs to
    the evaluation alone.
    """
    uses_model: ClassVar[bool] = True
    """Whether it needs a model of the grid; a support vector machine does not."""
    deployable: ClassVar[bool] = False
    """Whether its networks may go onto hardware; `deploy` says how."""

    def __init__(self, name: str):
        self.name = name

    def starts_from(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the kinds whose networks a method of these options can start from."""
        return ()

    # Kinds may leave out the next two.
    def check(self, options: Mapping[str, Any], where: str) -> None:  # noqa: B027
        """Raise UserError, which begins with `where`, for options that do not go together."""

    def try_out(self, network: Any, items: Any) -> None:  # noqa: B027
        """Raise UserError if the method cannot work with a network of the grid, of random weights.

        `items` [2, ...] are two random inputs on [0, 1]. Called before anything is trained.
        """

    @abstractmethod
    def make(self, job: "Job") -> None:
        """Build or convert, train if the options say so, and write weights.pt and curve.csv."""

    @abstractmethod
    def load(self, job: "Job") -> Any:
        """Return what `make` made, ready to answer."""

    @abstractmethod
    def evaluate(self, job: "Job") -> list["Row"]:
        """Return the rows of the record, measured on the whole test split; raise UserError where a
        check fails.
        """

    def deploy(self, job: "Job") -> list["Row"]:
        """Return the rows of the record of its network on the job's hardware."""
        raise self._no_hardware()

    def on_hardware(self, job: "Job") -> Any:
        """Return its network as `deploy` measured it on the job's hardware."""
        raise self._no_hardware()

    def _no_hardware(self) -> UserError:
        return UserError(f"kind {self.name}: its networks go onto no hardware")
