"""Ray engine: how do runs train on a Ray cluster?

Each is an actor of its own that starts the guard and outlives the loop. When the guard ends, so
does the actor, which frees its place; when the actor or its node dies, the guard's pipe closes.
"""

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from horizon_bo.errors import EngineError, MissingExtraError
from horizon_bo.runs.engines.protocol import Job, State
from horizon_bo.runs.outcomes import Exit

#: How often the actors are asked, in seconds.
ASK_S = 1.0
#: How long an exit file may take to be seen here once its actor has ended, in seconds.
GRACE_S = 60.0
#: How long guards may take to end what they watch, in seconds.
_CANCEL_S = 15.0
#: How long an actor may take to answer, in seconds.
_ANSWER_S = 3.0
#: How long a cluster may take to take a call, in seconds.
_KNOCK_S = 10.0
#: Where the actors' names live, whatever program looks for them.
_NAMESPACE = "horizon-bo"

_BYTES = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: What Ray says of an actor that died, and what it means; anything else, and its guard may have
#: ended well.
_DEATHS: tuple[tuple[str, Exit], ...] = (
    ("node has died", Exit(code=1, cause="node failed")),
    ("ray.kill", Exit(code=1, cause="cancelled")),
    ("running low on memory", Exit(code=1, cause="out of memory")),
)


@contextmanager
def ray_engine(needs: Sequence[Mapping[str, Any]]) -> Iterator["Ray"]:
    """The cluster that `RAY_ADDRESS` or this machine's Ray names, connected to meanwhile.

    Args:
        needs: Resources of all runs that there may be, checked before any is submitted.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--on ray", "ray", "ray") from error
    own = not ray.is_initialized()
    if own:
        try:
            _knock(os.environ.get("RAY_ADDRESS", ""))
            ray.init("auto", namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"no Ray cluster answers at {os.environ.get('RAY_ADDRESS') or 'this machine'} "
                f"({' '.join(str(error).split())[:200]}), expected one that runs; start it, or set "
                "RAY_ADDRESS and its token"
            ) from error
    try:
        engine = Ray(ray)
        for need in needs:
            engine.refuse_what_no_node_has(_options(need))
        yield engine
    finally:
        if own:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise where nobody listens at an address: Ray itself waits for minutes, then exits."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), _KNOCK_S).close()


class Ray:
    """Actors of a Ray cluster, each of which trains one run.

    Args:
        ray: The package, connected.
    """

    name = "ray"
    look_s = (0.1, 1.0)

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._trainer = _trainer(ray)
        self._actors: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}  # answers under way
        self._states: dict[str, State] = {}
        self._missed_s: dict[str, float] = {}  # when an actor was first seen to be gone
        self._asked_s = float("-inf")

    def refuse_what_no_node_has(self, options: Mapping[str, Any]) -> None:
        """Raise where a run would wait for ever: Ray itself says nothing."""
        wanted = {
            "CPU": options["num_cpus"],
            "GPU": options["num_gpus"],
            "memory": options["memory"] or 0,
            **options["resources"],
        }
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fits = lambda node: all(node.get(k, 0) >= amount for k, amount in wanted.items())  # noqa: E731
        if not any(map(fits, nodes)):
            most = {k: max((node.get(k, 0) for node in nodes), default=0) for k in wanted}
            short = [f"{k} {wanted[k]:g} (most: {most[k]:g})" for k in wanted if wanted[k]]
            raise EngineError(
                f"no node of the Ray cluster has {', '.join(short)} at once, expected one for each "
                "scale; correct the resources or add a node, the study is intact"
            )

    def submit(self, job: Job) -> None:
        """Create an actor that trains, as soon as a node has room."""
        options = _options(job.resources)
        self.refuse_what_no_node_has(options)
        environment = {**os.environ, **job.environment}
        self._actors[job.name] = self._trainer.options(
            name=job.name, namespace=_NAMESPACE, lifetime="detached", max_restarts=0, **options
        ).remote(job.argv, environment, os.getcwd(), str(job.folder.resolve() / "engine.log"))

    def states(self) -> Mapping[str, State]:
        """Where the actors are or how they ended, at most `ASK_S` old."""
        now_s = time.monotonic()
        if self._actors and now_s - self._asked_s >= ASK_S:
            self._asked_s = now_s
            for name, actor in self._actors.items():
                if name not in self._asked and name not in self._missed_s:
                    self._asked[name] = actor.host.remote()
            refs = list(self._asked.values())
            ready = set(self._ray.wait(refs, num_returns=len(refs), timeout=0.0)[0]) if refs else ()
            answered = [name for name, ref in self._asked.items() if ref in ready]
            for name in self._actors:
                ref = self._asked.pop(name) if name in answered else None
                self._states[name] = self._state(name, ref, now_s)
        return self._states

    def cancel(self, names: Sequence[str]) -> None:
        """End actors, and first what the guards of those that run watch."""
        hosts = {name: self._actors[name].host.remote() for name in names}
        refs = list(hosts.values())
        # one that waits for a node gives no answer, and has nothing to end
        ready = self._ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_S)[0] if refs else []
        ends = [self._actors[name].end.remote() for name, ref in hosts.items() if ref in ready]
        if ends:
            self._ray.wait(ends, num_returns=len(ends), timeout=_CANCEL_S)
        for name in names:
            self._ray.kill(self._actors[name])

    def adopt(self, names: Sequence[str]) -> set[str]:
        """Those of these actors that wait or run."""
        for name in names:
            try:
                self._actors[name] = self._ray.get_actor(name, namespace=_NAMESPACE)
            except ValueError:  # Ray's way to say that there is none
                continue
            self._asked[name] = self._actors[name].host.remote()
        refs = list(self._asked.values())
        if refs:  # those that run say so at once
            self._ray.wait(refs, num_returns=len(refs), timeout=_ANSWER_S)
        return set(names) & set(self._actors)

    def _state(self, name: str, ref: Any | None, now_s: float) -> State:
        """What an actor's answer, or its absence, means for a run without an exit file."""
        errors = self._ray.exceptions
        if name in self._missed_s:
            before = self._states[name]
            late = isinstance(before, str) and now_s - self._missed_s[name] >= GRACE_S
            return Exit(code=1, cause="lost", detail=str(before)) if late else before
        if ref is None:
            return self._states.get(name, "waits for a node")
        try:
            return f"on {self._ray.get(ref)}"
        except errors.ActorUnavailableError:
            return "on a node that does not answer"
        except errors.RayActorError as error:
            # first which actor it was, in many words, then why it died
            said = " ".join(str(error).split())
            said = said[max(0, said.find("The actor is dead because")) :]
            self._missed_s[name] = now_s
            for words, ended in _DEATHS:
                if words in said:
                    return Exit(code=1, cause=ended.cause, detail=said[:200])
            return f"has ended and left no exit file: {said[:200]}"


class _Trainer:
    """The actor. It is sent as it stands, so that nodes need not find this package.

    Args:
        argv: The guard's call.
        environment: Of the loop.
        folder: To work in.
        log: Where the guard's own words go.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: str, log: str
    ) -> None:
        import ray

        # Ray says by these which devices are the actor's
        own = {k: v for k, v in os.environ.items() if k.endswith("_VISIBLE_DEVICES")}
        with open(log, "ab") as out:
            self.guard = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=folder,
                env={**environment, **own},
                start_new_session=True,
            )
        self.where = f"{socket.gethostname()}, {ray.util.get_node_ip_address()}"
        this = ray.get_runtime_context().current_actor

        def leave() -> None:
            self.guard.wait()
            this.leave.remote()  # nobody else may be left to free this place

        threading.Thread(target=leave, daemon=True).start()

    def host(self) -> str:
        """Where it is."""
        return self.where

    def end(self) -> None:
        """End the command and all that it started."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        self.guard.wait()

    def leave(self) -> None:
        """Give the place back."""
        import ray

        ray.actor.exit_actor()  # type: ignore[attr-defined]


def _trainer(ray: Any) -> Any:
    """The actor's class, to be sent with all it needs."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return ray.remote(_Trainer)


def _options(needs: Mapping[str, Any]) -> dict[str, Any]:
    """Resources in Ray's words; a name that it has no word for is one of the cluster's own."""
    given = {name: value for name, value in needs.items() if name != "time"}  # the guard's
    if int(given.pop("nodes", 1)) != 1 or "partition" in given:
        raise EngineError(
            "nodes and partition are among the resources, expected runs of one node each on Ray; "
            "leave them out, or name a custom resource"
        )
    memory = given.pop("memory", None)
    return {
        "num_cpus": _number("cpus", given.pop("cpus", 1)),
        "num_gpus": _number("gpus", given.pop("gpus", 0)),
        "memory": None if memory is None else _bytes(str(memory)),
        "resources": {name: _number(name, value) for name, value in given.items()},
    }


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise EngineError(
            f"{name} is {value!r} among the resources, expected a number on Ray; correct it"
        ) from error


def _bytes(memory: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", memory)
    if match is None:
        raise EngineError(f"memory is {memory!r}, expected a size such as 16G; correct it")
    return int(match[1]) * _BYTES[match[2]]
