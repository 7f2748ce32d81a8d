"""A house to run the workflow in: a copy of the repository with a tiny grid."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "profiles", "configs", "ttfs")
GRID = "datasets: [digits]\nmodels: [fc2]\nmethods: [ann, b1-converted]\nseeds: [0]\nhardware: [time-4bit]\n"


@dataclass(frozen=True)
class House:
    """A folder that holds a copy of the repository. The grid configs/tiny.yaml is one network, trained for 2 epochs."""

    folder: Path

    def build(self) -> "House":
        """Copy the repository's files."""
        for part in PARTS:
            source, goal = ROOT / part, self.folder / part
            goal.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copy2(source, goal)
            else:
                shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
        self.write("configs/tiny.yaml", GRID)
        self.edit("configs/datasets/digits.yaml", "epochs: 40", "epochs: 2")
        return self

    def command(self, *arguments: str, target: str = "all", grid: str | None = "configs/tiny.yaml") -> list[str]:
        """What a user types, e.g. `snakemake all --config grid=configs/tiny.yaml`, as this interpreter runs it."""
        config = [] if grid is None else ["--config", f"grid={grid}"]
        return [sys.executable, "-m", "snakemake", target, *config, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment without anybody's data and store, and with the copy's own package."""
        mine = {name: value for name, value in os.environ.items() if name not in ("TTFS_DATA", "MLFLOW_TRACKING_URI")}
        return mine | {"PYTHONPATH": str(self.folder)}

    def run(self, *arguments: str, **what: str | None) -> tuple[int, str]:
        """Run a command; return the exit status and what it printed."""
        done = subprocess.run(
            self.command(*arguments, **what), cwd=self.folder, env=self.environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def jobs(self, **what: str | None) -> dict[str, int]:
        """Jobs {rule: count} that a run would have now, but for `all`."""
        status, said = self.run("--dry-run", "--quiet", "rules", **what)
        assert status == 0, said
        if "Nothing to be done" in said:
            return {}
        found = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
        del found["all"], found["total"]
        return {rule: int(count) for rule, count in found.items()}

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        (self.folder / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Change the one place of a file that holds the old text."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{path}: {old!r}"
        self.write(path, text.replace(old, new))

    def tables(self, grid: str = "tiny") -> dict[str, bytes]:
        """The bytes of each table."""
        return {path.name: path.read_bytes() for path in (self.folder / "results" / grid / "tables").iterdir()}
