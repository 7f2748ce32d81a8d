"""Kill runs at random moments, edit the configuration in between, and compare the tables with those
of whole runs.

    python benchmarks/kills.py --kills 20

Each round starts a run of a tiny grid, kills it (the whole process group, Snakemake alone, or one
stage alone) at a random moment, changes the number of epochs, and runs again. The tables must
equal, byte for byte, those of a run from scratch with the same configuration, and the exit status
must say whether all cells have a record.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.sandbox import Sandbox

EPOCHS = (1, 2)


def main() -> int:
    """Return the exit status: 0 if each round ended in the tables of a whole run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="rounds (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (%(default)s)")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        wanted = {epochs: _whole(Path(folder, f"whole{epochs}"), epochs) for epochs in EPOCHS}
        sandbox = _sandbox(Path(folder, "killed"), EPOCHS[0])
        wrong = 0
        for number in range(options.kills):
            epochs, now = chance.sample(EPOCHS, 2)
            _set_epochs(sandbox, epochs)
            if chance.random() < 0.5:
                shutil.rmtree(sandbox.folder / "results", ignore_errors=True)
            how, after = chance.choice(("group", "snakemake", "stage")), chance.uniform(0.5, 14.0)
            _kill(sandbox, how, after)
            _set_epochs(sandbox, now)
            status, _ = sandbox.run()
            same = status == 0 and sandbox.tables() == wanted[now]
            wrong += not same
            print(
                f"{number + 1:3}  {how:9} after {after:4.1f} s, epochs {epochs} then {now}: ",
                end="",
            )
            print("equal" if same else f"DIFFERENT (exit status {status})", flush=True)
    print(f"{options.kills - wrong} of {options.kills} rounds ended in the tables of a whole run")
    return 1 if wrong else 0


def _sandbox(folder: Path, epochs: int) -> Sandbox:
    sandbox = Sandbox(folder).build()
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


def _kill(sandbox: Sandbox, how: str, after: float) -> None:
    with sandbox.started() as run:
        time.sleep(after)
        if run.poll() is not None:
            return
        if how == "group":
            os.killpg(run.pid, signal.SIGKILL)
        elif how == "snakemake":
            os.kill(run.pid, signal.SIGKILL)
        else:
            subprocess.run(
                ["pkill", "-9", "-f", f"ttfs (make|evaluate|deploy) .*{sandbox.folder.name}"],
                check=False,
            )
            victims = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True)
            for process in victims.stdout.split()[-1:]:
                os.kill(int(process), signal.SIGKILL)
        time.sleep(1.0)  # what is left of the run sees that it is gone


if __name__ == "__main__":
    sys.exit(main())
