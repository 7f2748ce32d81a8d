"""Kill runs at random moments, edit the configuration in between, and compare the tables with those
of whole runs.

    python benchmarks/kills.py --kills 40

Each round starts a run of a tiny grid and kills, at a random moment, the whole process group,
Snakemake alone, or one other process (a stage, its keeper, the server, a view). It changes the
number of epochs, and runs again. The tables must equal, byte for byte, those of a run from scratch
with the same configuration. Each exit status must tell the truth: 0 only where nothing is due.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.processes import processes_in
from kit.sandbox import GRID, Sandbox

EPOCHS = (1, 2)
PATIENCE = 900.0
"""Seconds that a run may take."""
STUDY = """\
title: Short
trajectory:
  dataset: digits
  models: [fc2]
  optimizers: {adam: 1.0e-3}
  dtypes: [float64]
  batch_size: 128
"""


def main() -> int:
    """Return the exit status: 0 if each round ended in the tables of a whole run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=40, help="rounds (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (%(default)s)")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        wanted, seconds = {}, PATIENCE
        for epochs in EPOCHS:
            started = time.monotonic()
            wanted[epochs] = _whole(Path(folder, f"whole{epochs}"), epochs)
            seconds = min(seconds, time.monotonic() - started)
        sandbox = _sandbox(Path(folder, "killed"), EPOCHS[0])
        outcomes: Counter[str] = Counter()
        for number in range(options.kills):
            epochs, now = chance.sample(EPOCHS, 2)
            _set_epochs(sandbox, epochs)
            if chance.random() < 0.5:
                shutil.rmtree(sandbox.folder / "results", ignore_errors=True)
            how, share = chance.choice(("group", "snakemake", "process")), chance.random()
            first = _kill(sandbox, how, share * seconds, chance)
            told = first.pop("truth")
            _set_epochs(sandbox, now)
            started = time.monotonic()
            status, said = sandbox.run()
            seconds = min(seconds, time.monotonic() - started)
            same = status == 0 and sandbox.tables() == wanted[now] and not sandbox.due()
            outcome = "equal" if same and told else "DIFFERENT" if told else "UNTRUE"
            outcomes[outcome] += 1
            facts = ", ".join(f"{key} {value}" for key, value in first.items())
            print(
                f"{number + 1:3}  {how:9} at {share:4.0%}, epochs {epochs} then {now}: {outcome} "
                f"({facts}; then exit status {status})",
                flush=True,
            )
            if not same:
                print(said[-2000:], flush=True)
    print(f"{outcomes['equal']} of {options.kills} rounds ended in the tables of a whole run")
    return 0 if outcomes["equal"] == options.kills else 1


def _sandbox(folder: Path, epochs: int) -> Sandbox:
    sandbox = Sandbox(folder).build()
    sandbox.write("configs/tiny.yaml", GRID + "studies: [short]\n")
    sandbox.write("configs/studies/short.yaml", STUDY)
    _set_epochs(sandbox, epochs)
    return sandbox


def _whole(folder: Path, epochs: int) -> dict[str, bytes]:
    sandbox = _sandbox(folder, epochs)
    status, said = sandbox.run()
    assert status == 0, said
    return sandbox.tables()


def _set_epochs(sandbox: Sandbox, epochs: int) -> None:
    path = sandbox.folder / "configs" / "datasets" / "digits.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line if not line.startswith("epochs:") else f"epochs: {epochs}" for line in lines]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _kill(sandbox: Sandbox, how: str, after: float, chance: random.Random) -> dict[str, object]:
    """Start a run and kill; return the victim, and whether the exit status told the truth."""
    with sandbox.started() as run:
        time.sleep(after)
        victim = "nothing: the run had ended"
        if run.poll() is None and how == "group":
            victim = "the group"
            os.killpg(run.pid, signal.SIGKILL)
        elif run.poll() is None and how == "snakemake":
            victim = "snakemake"
            run.kill()
        elif run.poll() is None:
            others = [process for process in processes_in(sandbox.folder) if process != run.pid]
            if others:
                process = chance.choice(others)
                victim = _words(process)
                os.kill(process, signal.SIGKILL)
        status = run.wait(PATIENCE)
        end = time.monotonic() + 60  # the server first ends its imports
        while processes_in(sandbox.folder) and time.monotonic() < end:
            time.sleep(0.1)  # what is left of the run sees that it is gone
    left = processes_in(sandbox.folder)
    truth = not left and (status != 0 or not sandbox.due())
    return {"killed": victim, "exit status": status, "left": len(left), "truth": truth}


def _words(process: int) -> str:
    words = subprocess.run(
        ["ps", "-o", "args=", "-p", str(process)], capture_output=True, text=True
    ).stdout.split()
    return " ".join(Path(word).name for word in words)[:60]


if __name__ == "__main__":
    sys.exit(main())
