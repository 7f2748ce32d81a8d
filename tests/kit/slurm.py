"""A Slurm of two nodes on this machine: the real controller, node daemons and `munge`."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/etc/slurm/slurm.conf")
"""Where jobs look for the configuration: no variable of the environment reaches them."""
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("node1", "node2")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=16818 CPUs=2 RealMemory=16000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=16819 CPUs=2 RealMemory=16000
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=my-partition Nodes=ALL State=UP
"""
"""The memory is that of two jobs of profiles/slurm, whatever this machine has; the second partition
is that of docs/cluster.md.
"""


def missing() -> str | None:
    """Return why no Slurm can be started here, None if one can."""
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)}: Debian's packages slurm-wlm and munge"
    if SYSTEM.exists():
        return f"{SYSTEM} is there: a Slurm is set up on this machine, which is left alone"
    return None


@dataclass(frozen=True)
class Slurm:
    """A running Slurm, with its files in a folder."""

    folder: Path

    def jobs(self) -> list[dict[str, str]]:
        """Return the ended jobs as {field: value}, in the order in which they ended."""
        path = self.folder / "jobs.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def drain(self, node: str) -> None:
        """Let a node begin no further job."""
        command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        """Let a drained node begin jobs again."""
        command("scontrol", "update", f"NodeName={node}", "State=RESUME")


@contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Start a Slurm, and end it with the block."""
    (folder / "state").mkdir(parents=True)
    configuration = folder / "slurm.conf"
    host = socket.gethostname()
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host), encoding="utf-8")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    SYSTEM.symlink_to(configuration)
    daemons: list[subprocess.Popen] = []
    try:
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        socket_file = f"--socket={folder}/munge.socket"
        daemons.append(_daemon(folder, "munged", "--foreground", "--force", socket_file, *files))
        _wait_for(folder / "munge.socket")
        daemons.append(_daemon(folder, "slurmctld", "-D"))
        daemons += [_daemon(folder, "slurmd", "-D", "-N", node) for node in NODES]
        _wait_for_nodes()
        yield Slurm(folder)
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)
        SYSTEM.unlink()


def command(*words: str) -> str:
    """Return the output of one of Slurm's commands."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def _daemon(folder: Path, *words: str) -> subprocess.Popen:
    with (folder / f"{words[0]}.out").open("ab") as out:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _wait_for(path: Path) -> None:
    for _ in range(100):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def _wait_for_nodes() -> None:
    for _ in range(100):
        done = subprocess.run(
            ["sinfo", "--noheader", "--states=idle", "--format=%D"], capture_output=True, text=True
        )
        if done.stdout.split() == [str(len(NODES))]:
            return
        time.sleep(0.2)
    raise AssertionError("the nodes did not become idle")
