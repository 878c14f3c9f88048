"""A real Slurm of three nodes on this machine, without systemd: started, hurt and stopped."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import free_port

NODES = 3
STARTED: "list[subprocess.Popen[bytes]]" = []
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
#: Control groups let Slurm see what runs out of memory, and end what has detached itself. This
#: version of Slurm needs those of the first kind.
CGROUPS = Path("/sys/fs/cgroup")

CONFIG = """
ClusterName=horizon
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
# a job that is requeued waits for its old credential to expire, two minutes by default
AuthInfo=socket={folder}/munge/socket,cred_expire=5
# listen on loopback only
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/{process_tracking}
TaskPlugin=task/{task}
# several slurmd on one host; hardware is what this file says
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldTimeout=10
SlurmdTimeout=5
InactiveLimit=0
KillWait=2
MinJobAge=300
ReturnToService=2
BatchStartTimeout=10
MessageTimeout=10
CompleteWait=0
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=60 DefaultTime=60 PriorityTier=1 DefMemPerCPU=512
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 DefMemPerCPU=512 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why Slurm cannot be started here, if so."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)} not found, expected Slurm and munge; see .ci/run"
    return None if os.getuid() == 0 else "not root, expected root to start a Slurm"


def has_cgroups() -> bool:
    """Whether Slurm can use control groups here."""
    return all(os.access(CGROUPS / name, os.W_OK) for name in ("memory", "freezer"))


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Path]:
    """A running cluster, by its configuration file; all that it started is gone afterwards."""
    config = _configured(folder)
    with _environment(config):
        try:
            _munge(folder)
            _start("slurmctld", "-D", "-c", "-f", str(config))
            for node in range(1, NODES + 1):
                start_node(config, node)
            _until(lambda: _said("sinfo", "-hN", "-plow", "-tidle", "-o%N").count("n") == NODES)
            yield config
        finally:
            _stopped()


def start_node(config: Path, node: int) -> None:
    """Start one node, for the first time or again."""
    _start("slurmd", "-D", "-N", f"n{node}", "-f", str(config))


def kill_node(config: Path, node: int) -> None:
    """End a node as a power cut would, but for its jobs' processes, which go on."""
    os.kill(_pid(config.parent / f"slurmd.n{node}.pid"), signal.SIGKILL)


def start_now(job: str) -> None:
    """Let a requeued job start at once, as soon as it waits."""
    _until(lambda: _said("squeue", "-h", "-j", job, "-o%T").strip() == "PENDING")
    _run("scontrol", "update", f"JobId={job}", "StartTime=now")


def _configured(folder: Path) -> Path:
    for name in ("state", "munge"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge").chmod(0o755)
    host = socket.gethostname().split(".")[0]
    nodes = [
        f"NodeName=n{k} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=2 "
        "RealMemory=4000 State=UNKNOWN"
        for k in range(1, NODES + 1)
    ]
    tracking, task = ("cgroup", "cgroup") if has_cgroups() else ("linuxproc", "none")
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=host,
            port=free_port(),
            folder=folder,
            nodes="\n".join(nodes),
            process_tracking=tracking,
            task=task,
        )
    )
    (folder / "cgroup.conf").write_text(
        f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={CGROUPS}\nConstrainRAMSpace=yes\n"
        "ConstrainCores=no\n"
    )
    return config


def _munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    names = {"key": key, "socket": folder / "munge/socket", "pid": folder / "munge/munged.pid"}
    given = [f"--{name}-file={path}" for name, path in names.items() if name != "socket"]
    more = [f"--{name}-file={folder / 'munge' / name}" for name in ("log", "seed")]
    _start(
        "munged",
        "--foreground",
        "--force",
        f"--socket={names['socket']}",
        "--num-threads=2",
        *given,
        *more,
    )


def _stopped() -> None:
    """End jobs, then daemons, the last started first."""
    for command in (("scancel", "--user=root"), ("scontrol", "shutdown")):
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=15)
        if command[0] == "scancel":
            with contextlib.suppress(AssertionError):
                _until(lambda: not _said("squeue", "-h"), 8.0)
    while STARTED:
        daemon = STARTED.pop()
        daemon.terminate()
        try:
            daemon.wait(5.0)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    for name in ("memory", "freezer"):  # empty groups stay behind, deepest first
        for root in (CGROUPS / name).glob("slurm_n[0-9]"):
            for group in sorted(root.rglob("*"), reverse=True):
                if group.is_dir():
                    with contextlib.suppress(OSError):
                        group.rmdir()
            with contextlib.suppress(OSError):
                root.rmdir()


@contextmanager
def _environment(config: Path) -> Iterator[None]:
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(config)
    try:
        yield
    finally:
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _pid(path: Path) -> int:
    return int(path.read_text())


def _start(*argv: str) -> None:
    """Start a daemon that ends with these tests, also where they are killed."""
    said = subprocess.DEVNULL
    daemon = subprocess.Popen(argv, stdout=said, stderr=said, preexec_fn=_end_with_the_tests)
    STARTED.append(daemon)


def _end_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{argv}: {done.stderr}"


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout


def _until(found, most_s: float = 30.0) -> None:
    until_s = time.monotonic() + most_s
    while not found():
        assert time.monotonic() < until_s, "expected it sooner"
        time.sleep(0.05)
