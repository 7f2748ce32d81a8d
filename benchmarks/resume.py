"""Kill trainings at random moments, let them go on, and compare the bytes with whole ones.

    python benchmarks/resume.py --kills 20

A network is trained once without a kill. Then the same training is begun, killed (SIGKILL) or
asked to end (SIGTERM) at a random moment, and begun again, until it has ended; then anew, until so
many processes were killed. The weights and the curve must equal those of the whole training, byte
for byte, and no process may be left. A server forks the trainings, as in a run.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.sandbox import Sandbox

from ttfs.stages.server import SERVER

GRID = "configs/tiny.yaml"
CELL = "digits/fc2/b1-scratch/seed0"
FILES = ("weights.pt", "curve.csv")


def main() -> int:
    """Return the exit status: 0 if each training ended in the bytes of the whole one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="processes to kill (%(default)s)")
    parser.add_argument("--epochs", type=int, default=150, help="of a training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (%(default)s)")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder, "sandbox")).build()
        sandbox.edit(GRID, "[ann, b1-converted]", "[b1-scratch]")
        sandbox.edit("configs/datasets/digits.yaml", "epochs: 2", f"epochs: {options.epochs}")
        with served(sandbox, Path(folder, "socket")) as environment:
            train(sandbox, environment)  # the server imports
            whole, taken = again(sandbox, environment)
            print(f"a whole training takes {taken:.1f} s", flush=True)
            return rounds(sandbox, environment, whole, taken, options.kills, chance)


def rounds(
    sandbox: Sandbox,
    environment: dict[str, str],
    whole: dict[str, bytes],
    taken: float,
    kills: int,
    chance: random.Random,
) -> int:
    """Kill so many processes, and return 1 if a training ended in other bytes."""
    killed = trainings = wrong = 0
    while killed < kills:
        shutil.rmtree(sandbox.cell(CELL))
        moments: list[str] = []
        while True:
            number = chance.choice((signal.SIGKILL, signal.SIGTERM))
            after = chance.uniform(0.0, taken) if killed < kills else None
            if train(sandbox, environment, after, number):
                break
            killed += 1
            saved = bool(list(sandbox.cell(CELL).glob("training-*.ckpt")))
            moments.append(f"{number.name} after {after:.1f} s{', saved' if saved else ''}")
        trainings += 1
        same = found(sandbox) == whole and not list(sandbox.cell(CELL).glob("*.ckpt"))
        wrong += not same
        print(f"{'equal' if same else 'DIFFERENT'}: {'; '.join(moments) or 'no kill'}", flush=True)
    print(f"{killed} kills, {trainings} trainings, {wrong} of them ended in other bytes")
    return 1 if wrong else 0


def again(sandbox: Sandbox, environment: dict[str, str]) -> tuple[dict[str, bytes], float]:
    """Train anew, and return the files and the seconds."""
    shutil.rmtree(sandbox.cell(CELL))
    start = time.monotonic()
    assert train(sandbox, environment)
    return found(sandbox), time.monotonic() - start


def train(
    sandbox: Sandbox,
    environment: dict[str, str],
    after: float | None = None,
    number: signal.Signals = signal.SIGKILL,
) -> bool:
    """Train, or go on; end it after so many seconds. Return whether it came to its end."""
    run = subprocess.Popen(
        [sys.executable, "-m", "ttfs", "make", GRID, CELL],
        cwd=sandbox.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return run.wait(after) == 0
    except subprocess.TimeoutExpired:
        os.kill(run.pid, number)
        run.wait()
        return (sandbox.cell(CELL) / "made.json").exists()


def found(sandbox: Sandbox) -> dict[str, bytes]:
    """Return the bytes of the files of a network."""
    return {name: (sandbox.cell(CELL) / name).read_bytes() for name in FILES}


@contextmanager
def served(sandbox: Sandbox, socket: Path) -> Iterator[dict[str, str]]:
    """Start the server of a run, and give the environment of its stages."""
    words = [sys.executable, "-m", "ttfs", "serve", str(socket), str(os.getpid()), "1", GRID]
    with (sandbox.folder / "server.log").open("wb") as log:
        server = subprocess.Popen(words, cwd=sandbox.folder, env=sandbox.environment, stderr=log)
    while not socket.exists():
        time.sleep(0.05)
    try:
        yield sandbox.environment | {SERVER: str(socket), "OMP_NUM_THREADS": "1"}
    finally:
        time.sleep(2.0)  # the server sees which of its children have ended
        left = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        server.kill()
        server.wait()
        assert not left, f"processes are left: {left}"


if __name__ == "__main__":
    sys.exit(main())
