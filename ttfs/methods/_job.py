"""A stage of one cell: its configuration, its data, its source, and the place of its results."""

import io
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfs.config import Cell, Grid, Stage, Study
from ttfs.errors import UserError
from ttfs.files import atomic_write, checksum

if TYPE_CHECKING:
    from torch import nn

    from ttfs.data import DataSet
    from ttfs.methods._kind import Kind

Row = dict[str, Any]


@dataclass
class Task:
    """One stage on one cell, be it a network, a network on hardware or a study."""

    stage: Stage
    grid: Grid
    cell: Cell | Study
    started: float = field(default_factory=time.monotonic)
    files: list[str] = field(default_factory=list)
    """Names of the files that the stage has written."""
    rank: int = 0
    """The number of this process where several do the stage together; the first one alone speaks
    and writes.
    """

    @property
    def folder(self) -> Path:
        """Where the results of the cell go."""
        return self.cell.folder

    @cached_property
    def digest(self) -> str:
        """The digest of configuration and code of this stage and of the stages it builds on."""
        from ttfs.results.state import Expected

        return Expected(self.grid).digest(self.stage, self.cell)

    @property
    def ranks(self) -> int:
        """The processes that do the stage together."""
        return 1

    @property
    def threads(self) -> int:
        """The threads that the method, or the study, sets."""
        study = self.grid.studies.get(self.cell.name.removeprefix("studies/"))
        return int(study["threads"]) if study else 1

    @property
    def config(self) -> dict[str, Any]:
        """The slice of the configuration that this stage's numbers depend on."""
        assert isinstance(self.cell, Study)
        return self.grid.study_slice(self.cell)

    def forget_trainings(self) -> None:
        """Remove what trainings have saved on the way: the stage has its result."""
        for pattern in ("training-*.ckpt", ".training-*.tmp"):
            for path in self.folder.glob(pattern):
                with suppress(OSError):  # it only takes space
                    path.unlink()

    def say(self, text: str) -> None:
        """Report progress, for the terminal and the log."""
        if self.rank:
            return
        print(f"[{self.cell}] {text}", file=sys.stderr, flush=True)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the cell, whole or not at all."""
        if not self.rank:
            atomic_write(self.folder / name, content)
        self.files.append(name)


@dataclass
class Job(Task):
    """A stage on a network, or on a network on hardware."""

    cell: Cell
    place: Path | None = None
    """The folder of the cell, where that is not its place in the store of the working directory."""
    start: str | None = None
    """Checksum of the weights that the stage starts from: of the source, or of the network."""

    @property
    def kind(self) -> "Kind":
        """The kind of the cell's method."""
        return self.grid.kind(self.cell.method)

    @cached_property
    def config(self) -> dict[str, Any]:  # type: ignore[override]
        """The slice of the configuration that this stage's numbers depend on."""
        slices = {
            "make": self.grid.make_slice,
            "evaluate": self.grid.evaluate_slice,
            "deploy": self.grid.deploy_slice,
        }
        return slices[self.stage](self.cell)

    @property
    def threads(self) -> int:
        """The threads that the method sets."""
        return int(self.options.get("threads", 1))

    @property
    def ranks(self) -> int:
        """The processes that do the stage together, a device each."""
        return int(self.options.get("devices", 1)) if self.stage == "make" else 1

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """The method's options, with the budget of the data set filled in."""
        return self.grid.evaluate_slice(self.cell)["method"]

    @property
    def folder(self) -> Path:
        """Where the results of the cell go."""
        return self.place or self.cell.folder

    @property
    def network_folder(self) -> Path:
        """Where the results of the cell's network are."""
        return self.folder.parents[1] if self.cell.hardware else self.folder

    @property
    def axes(self) -> tuple[str | int, ...]:
        """Names of the random streams: data set, model and seed, by their files, not the method."""
        dataset = self.grid.datasets[self.cell.dataset].config["id"]
        model = self.grid.models.get(self.cell.model)
        return dataset, model.config["id"] if model else self.cell.model, self.cell.seed

    @cached_property
    def data(self) -> "DataSet":
        """The data set of the cell."""
        from ttfs.data import load

        config = self.grid.datasets[self.cell.dataset].config
        augment = self._train.get("augment")
        return load(config | {"augment": augment}, f"configs/datasets/{config['id']}.yaml")

    @property
    def _train(self) -> Mapping[str, Any]:
        return self.config.get("train") or self.options.get("train") or {}

    @cached_property
    def train(self) -> dict[str, Any]:
        """The settings of this stage's training, or of the one that its network has had, with the
        precision that the device takes.
        """
        from ttfs.methods._precision import has_bfloat16, precision_on

        precision = precision_on(self.device, self._train["precision"])
        if precision == "bfloat16" and not has_bfloat16(self.device):
            self.say(
                "warning: key 'precision' is bfloat16, for which this machine has no units: "
                "training is many times slower than in float32, which 'auto' takes here"
            )
        return dict(self._train) | {"precision": precision}

    @cached_property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        import torch

        wanted, found = self.options.get("device", "cpu"), torch.cuda.device_count() > 0
        if self.ranks == 1:  # it starts CUDA, and the ranks are forks, which cannot go on with it
            found = found and torch.cuda.is_available()
        if wanted == "cuda" and not found:
            raise UserError(
                f"method {self.cell.method}: key 'device' is 'cuda', but there is no GPU; use "
                "'auto' or 'cpu'"
            )
        return "cuda" if found and wanted != "cpu" else "cpu"

    @cached_property
    def source(self) -> "Job | None":
        """The cell whose network this one starts from, with the same data; None from scratch."""
        cell = self.grid.source(self.cell)
        if cell is None:
            return None
        job = Job("evaluate", self.grid, cell)
        job.data = self.data
        return job

    def checkpoint(self, network: str = "") -> Path:
        """Return where a training of this stage is saved as its epochs end; of one of several
        networks, if it trains several. `forget_trainings` removes it.

        Its name is that of all that the training depends on, so that none goes on from another's.
        """
        on = f"{self.device} {self.train['precision']}"
        depends = f"{self.digest} {self.data.digest} {self.start} {on}"
        own = checksum(depends.encode())[:12]
        return self.folder / f"training-{network}{network and '-'}{own}.ckpt"

    def build(self) -> "nn.Module":
        """Return the cell's ReLU network with the weights that the seed draws, and with all else
        that it draws when it is built, such as an order of its inputs.
        """
        import torch

        from ttfs.models import build
        from ttfs.seeds import seed

        config = self.grid.models[self.cell.model].config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed(*self.axes, "init"))
            return build(config, self.data.shape, self.data.classes)

    def draw(self) -> "nn.Module":
        """Return the cell's ReLU network with the weights that its seed draws for all methods.

        A network with a method `prepare(images)` sets weights from training images, as many as
        its `prepared_by` says.
        """
        from ttfs.models import prepare

        network = self.build()
        prepare(network, lambda count: self.data.train.one_batch(count)[0])
        return network

    def save(self, state: Any) -> None:
        """Write weights.pt: a `state_dict`, or tensors, numbers, text, lists and dictionaries."""
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write("weights.pt", buffer.getvalue())

    def saved(self, folder: Path | None = None) -> Any:
        """Return what `save` wrote, for the network itself or in another folder.

        Raises UserError where the file is missing or damaged.
        """
        import torch

        path = (folder or self.network_folder) / "weights.pt"
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; run the workflow, which makes it") from None
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: not readable ({reason}); run the workflow again, which makes it anew"
            ) from None

    def restore(self, network: "nn.Module") -> "nn.Module":
        """Give a network the saved state; raise UserError where that is of another network."""
        try:
            network.load_state_dict(self.saved())
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            reason = " ".join(str(error).split())[:200]
            path = self.network_folder / "weights.pt"
            raise UserError(
                f"{path}: not of this network ({reason}); run the workflow again, which makes it "
                "anew"
            ) from None
        return network

    def curve(self) -> Sequence[Mapping[str, float]]:
        """Return the rows of the cell's curve.csv, one an epoch; empty where nothing was
        trained.
        """
        from ttfs.results.record import read_curve

        return read_curve(self.network_folder)
