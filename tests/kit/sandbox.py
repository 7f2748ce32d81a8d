"""A folder with a copy of the repository and a tiny grid, to run the workflow in."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.processes import path_of_programs

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "Makefile", "pyproject.toml", "workflow", "profiles", "configs", "ttfs")
GRID = """\
datasets: [digits]
models: [fc2]
methods: [ann, b1-converted]
seeds: [0]
hardware: [{over: {weight_bits: 4}}]
"""
CHIP = "weight_bits=4"


@dataclass(frozen=True)
class Sandbox:
    """A folder that holds a copy of the repository. The grid configs/tiny.yaml is one network,
    trained for 2 epochs.
    """

    folder: Path

    def build(self) -> "Sandbox":
        """Copy the repository's files, and write the tiny grid."""
        self.copied()
        self.write("configs/tiny.yaml", GRID)
        self.edit("configs/datasets/digits.yaml", "epochs: 40", "epochs: 2")
        return self

    def copied(self) -> "Sandbox":
        """Copy the repository's files."""
        for part in PARTS:
            source, goal = ROOT / part, self.folder / part
            goal.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copy2(source, goal)
            else:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, goal, ignore=ignored, symlinks=True)
        return self

    def command(
        self, *arguments: str, target: str = "all", grid: str | None = "configs/tiny.yaml"
    ) -> list[str]:
        """Return the words of a user, e.g. `snakemake all --config grid=configs/tiny.yaml`."""
        config = [] if grid is None else ["--config", f"grid={grid}"]
        return [sys.executable, "-m", "snakemake", target, *config, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment without anybody's data and store, and with the copy's own package."""
        removed = ("TTFS_DATA", "MLFLOW_TRACKING_URI")
        mine = {name: value for name, value in os.environ.items() if name not in removed}
        return mine | {"PYTHONPATH": str(self.folder)}

    def run(self, *arguments: str, **words: str | None) -> tuple[int, str]:
        """Run a grid; return the exit status and the output."""
        return self.call(self.command(*arguments, **words)[1:])

    def ttfs(self, *arguments: str) -> tuple[int, str]:
        """Run a verb of the command line; return the exit status and the output."""
        return self.call(["-m", "ttfs", *arguments])

    def python(self, program: str) -> str:
        """Run a program in the folder, with the copy's package; return its output."""
        status, said = self.call(["-c", program])
        assert status == 0, said
        return said

    def due(self, grid: str = "configs/tiny.yaml") -> set[str]:
        """Return "stage cell" of all that a run would make now."""
        status, said = self.ttfs("why", grid)
        assert status == 0, said
        return {
            " ".join(line.split(":")[0].split()) for line in said.splitlines() if ": " in line
        } - {Path(grid).stem}

    def jobs(self, **words: str | None) -> dict[str, int]:
        """Return the jobs {rule: count} that a run would have now, but for `all`."""
        status, said = self.run("--dry-run", "--quiet", "rules", **words)
        assert status == 0, said
        found = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
        if not found:
            return {}
        del found["all"], found["total"]
        return {rule: int(count) for rule, count in found.items()}

    @contextmanager
    def started(self, *arguments: str, **words: str | None) -> Iterator[subprocess.Popen]:
        """Start a run, in a process group of which it is the first; it is ended with the block."""
        run = subprocess.Popen(
            self.command(*arguments, **words), cwd=self.folder, env=self.environment,
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield run
        finally:
            if run.poll() is None:
                os.killpg(run.pid, 9)
            run.wait()

    def cell(self, name: str) -> Path:
        """Return the folder of a cell; of digits and fc2, if a method and seed alone are named."""
        full = name if name.count("/") > 1 else f"digits/fc2/{name}"
        return self.folder / "results" / "cells" / full

    def write(self, path: str, text: str) -> None:
        """Write a file, making its folder."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        """Change the one place of a file that holds the old text."""
        text = (self.folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {old!r}"
        self.write(path, text.replace(old, new))

    def tables(self, grid: str = "tiny") -> dict[str, bytes]:
        """Return the bytes of each table."""
        folder = self.folder / "results" / grid / "tables"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def call(
        self, arguments: list[str], environment: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Run Python in the folder; return the exit status and the output."""
        return self._run([sys.executable, *arguments], environment or self.environment)

    def shell(self, commands: str) -> str:
        """Run commands in the folder, where those of this environment come first; return their
        output. A command that fails is a failed test.
        """
        words = ["bash", "-euo", "pipefail", "-c", commands]
        status, said = self._run(words, self.environment | {"PATH": path_of_programs()})
        assert status == 0, said
        return said

    def _run(self, words: list[str], environment: dict[str, str]) -> tuple[int, str]:
        done = subprocess.run(
            words, cwd=self.folder, env=environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout
