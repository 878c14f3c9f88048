"""Guard: how does a training command end once nobody waits for it any more?

A program of its own between whatever started it and the command, on whichever machine, so it
imports nothing of the package, and little else.

    python -I -S guard.py FOLDER ATTEMPT SECONDS
    python -I -S guard.py

The second reads jobs from its standard input, a socket, and forks a guard for each: a line of JSON
with these three, variables and a working directory comes along with a socket, by which the guard
says its process and its exit code, and a file that it holds open as long as it lives.

A guard runs the command that the folder's `run.json` holds, for so many seconds at most (`inf`),
with `stdout.log` and `stderr.log` for its output. How the command ended goes to
`exit.ATTEMPT.json`, by rename, unless somebody else had it ended:

- Standard input is a pipe or a socket that its starter closes, also by dying: the command is asked
  to end, and killed after a grace.
- The guard itself gets SIGTERM, from a scheduler: the command gets it too, and the scheduler will
  say why.
- The attempt was fenced: `run.json` tells of a later one, or a scheduler started this one again
  elsewhere and `holder.json` names that copy. The command is ended and its outcome is nobody's.

Whatever the command has left behind is killed, also what has detached itself. The exit code is
the command's, or 128 + the signal that killed it.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time

#: How often the command is looked at, in seconds: in the beginning, and at last.
_POLLS_S = (0.002, 0.02)
#: How often the attempt is checked for a fence, in seconds.
_FENCE_S = 2.0
#: How long a network disk may show what was there before, in seconds.
_SEEN_S = 60.0
#: How long a command may take to save its state after SIGTERM, in seconds.
_GRACE_S = 5.0
#: How long a scheduler's SIGTERM may come after the one that it sent to the command, in seconds.
_NEWS_S = 0.2
#: How much of a job is read at once, in bytes.
_CHUNK_BYTES = 65_536
#: Exit code of a shell for a command that cannot be started.
_CANNOT_START = 127
#: Numbers of the Linux calls by which a process asks to be killed along with its parent, and to
#: become the parent of what its descendants leave behind.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def guarded(
    folder: str, attempt: int, most_s: float, environment: dict | None, cwd: str | None
) -> int:
    """Run an attempt's command until it ends, or has to; its exit code."""
    run, ended = _announced(folder, attempt), os.path.join(folder, f"exit.{attempt}.json")
    if run["attempt"] != attempt or os.path.exists(ended):
        return 0
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    _ask_linux(_PR_SET_CHILD_SUBREAPER, 1)
    who = {"host": os.uname().nodename, "pid": os.getpid(), "began_s": time.time()}
    holder = {"attempt": attempt, **who}
    # a machine that loses its power loses the holder as well
    _write(os.path.join(folder, "holder.json"), holder, durably=False)
    began_s = time.monotonic()
    logs = [os.path.join(folder, name) for name in ("stdout.log", "stderr.log")]
    with open(logs[0], "ab") as out, open(logs[1], "ab") as err:
        try:
            child = subprocess.Popen(
                run["argv"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
                env=environment,
                cwd=cwd,
                preexec_fn=_die_with_the_guard,
            )
        except OSError as error:
            err.write(f"cannot start {run['argv'][0]}: {error.strerror}\n".encode())
            _write(ended, {"code": _CANNOT_START, "elapsed_s": 0.0, "timed_out": False})
            return _CANNOT_START
    why = _watched(child, folder, holder, began_s + most_s, told)
    _send(child, signal.SIGKILL)  # also what the command left behind in its group
    code = child.wait()
    _kill_orphans()
    code = code if code >= 0 else 128 - code
    if why in ("itself", "time") and not _fenced(folder, holder):
        elapsed_s = time.monotonic() - began_s
        _write(ended, {"code": code, "elapsed_s": elapsed_s, "timed_out": why == "time"})
    return code


def _handed() -> dict:
    """A job, in a process of its own for each; this one ends with whoever hands them out."""
    import socket

    source = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks here how guards ended
    while True:
        text, files, *_ = socket.recv_fds(source, _CHUNK_BYTES, 2)
        while not text.endswith(b"\n"):
            more = source.recv(_CHUNK_BYTES)
            if not more:
                sys.exit(0)
            text += more
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    source.detach()
    os.dup2(files[0], 0)
    os.close(files[0])
    os.write(0, f"{os.getpid()}\n".encode())
    job = json.loads(text)
    with open(os.path.join(job["folder"], "engine.log"), "ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    return {**job, "most_s": float(job["most_s"])}


def _watched(child: subprocess.Popen, folder: str, holder: dict, until_s: float, told: list) -> str:
    """Wait for the command, or until it has to end; why it ended."""
    mode = os.fstat(0).st_mode  # a scheduler gives neither
    piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    began_s = checked_s = time.monotonic()
    why, passed_on = "itself", False
    while child.poll() is None:
        now_s = time.monotonic()
        if piped and select.select([0], [], [], 0)[0] and not os.read(0, 1):
            why = "starter"
        elif now_s > until_s:
            why = "time"
        elif now_s - checked_s > _FENCE_S:
            checked_s, why = now_s, "fence" if _fenced(folder, holder) else why
        elif told and not passed_on:  # whoever sent it also decides how long it may take
            _send(child, signal.SIGTERM)
            passed_on = True
        if why != "itself":
            _send(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_S)
            return why
        pause_s = min(max((now_s - began_s) / 20, _POLLS_S[0]), _POLLS_S[1])
        select.select([0] if piped else [], [], [], pause_s)
    if child.returncode != 0 and not piped:
        time.sleep(_NEWS_S)
    return "scheduler" if told else "itself"


def _fenced(folder: str, holder: dict) -> bool:
    """Whether another attempt, or another copy of this one, has taken over."""
    try:
        later = _read(os.path.join(folder, "run.json"))["attempt"] > holder["attempt"]
        return later or _read(os.path.join(folder, "holder.json")) != holder
    except (OSError, ValueError):  # a network disk that is away for a moment
        return False


def _announced(folder: str, attempt: int) -> dict:
    """What is to be run, as soon as this machine sees it."""
    path, until_s = os.path.join(folder, "run.json"), time.monotonic() + _SEEN_S
    while True:
        with contextlib.suppress(OSError, ValueError):
            run = _read(path)
            if run["attempt"] >= attempt:
                return run
        if time.monotonic() > until_s:
            sys.exit(f"{path} tells of no attempt {attempt}, expected a disk that all nodes share")
        time.sleep(_FENCE_S)


def _read(path: str) -> dict:
    with open(path) as file:
        return json.load(file)


def _write(path: str, record: dict, durably: bool = True) -> None:
    draft = f"{os.path.splitext(path)[0]}.{os.uname().nodename}.{os.getpid()}"
    with open(draft, "w") as file:
        json.dump(record, file)
        if durably:
            file.flush()
            os.fsync(file.fileno())
    os.replace(draft, path)


def _send(child: subprocess.Popen, number: signal.Signals) -> None:
    # macOS refuses where only zombies are left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _kill_orphans() -> None:
    """End what has detached itself: this process became its parent when its own one ended."""
    while sys.platform == "linux" and (orphans := _children()):
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """Processes whose parent this one is."""
    told = f"/proc/self/task/{os.getpid()}/children"
    with contextlib.suppress(OSError), open(told) as file:  # not every system has it
        return [int(pid) for pid in file.read().split()]
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            # the name of the program comes in brackets and may hold any character
            parent = file.read().rsplit(")", 1)[1].split()[1]
            found += [int(name)] if int(parent) == os.getpid() else []
    return found


def _die_with_the_guard() -> None:
    """For the case that the guard itself is killed."""
    _ask_linux(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ask_linux(what: int, value: int) -> None:
    """Ask the kernel for something that other systems do not have."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(guarded(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), None, None))
    job, code = _handed(), 1
    try:
        code = guarded(**job)
    finally:
        with contextlib.suppress(OSError):  # nobody may be left to hear it
            os.write(0, str(code).encode())
    os._exit(code)  # somebody waits, and there is nothing to tidy up
