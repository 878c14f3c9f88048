"""Owners: which process holds something, and is it still there?

An owner's name says on which machine which process it is. Of a process of this machine it is known
at once that it has ended; of any other only its silence tells.
"""

import os
import socket
from functools import cache
from pathlib import Path
from uuid import uuid4

#: Number of the field of /proc/PID/stat that says when a process began, counted behind its name.
_BEGAN = 19


def new_owner() -> str:
    """A name that no other has, of this process."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_state_and_beginning(pid)[1]}/{uuid4().hex[:8]}"


def gone(owner: str) -> bool:
    """Whether an owner is a process of this machine that has ended; `False` where unknown."""
    machine, pid, began, _ = owner.rsplit("/", 3)
    if machine != _machine():
        return False
    if not Path("/proc/self").exists():
        return not _answers(int(pid))
    state, began_now = _state_and_beginning(int(pid))
    return state in ("", "Z", "X") or began_now != began


def shown_owner(owner: str) -> str:
    """An owner as people know it: the machine and the number of its process."""
    machine, pid, _, _ = owner.rsplit("/", 3)
    return f"{machine.split('/')[0]}:{pid}"


@cache
def _machine() -> str:
    """This machine, and which processes it shows: containers may bear one name."""
    try:
        processes = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        processes = 0
    return f"{socket.gethostname().replace('/', '-')}/{processes}"


def _state_and_beginning(pid: int) -> tuple[str, str]:
    """Letter of a process's state and when it began; empty where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[_BEGAN]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
