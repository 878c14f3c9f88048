"""Live page: how does a page follow a study that a loop is writing?

The server only reads. It asks the study for its revision now and then, works out a new page in a
thread of its own when there is a new one, and serves the last page meanwhile, so that neither a
reader nor the loop ever waits for the other.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from horizon_bo.errors import HorizonBOError, StorageError
from horizon_bo.report.door import HEADERS, Door
from horizon_bo.report.page import Live, report_page, security_policy, workers_part
from horizon_bo.report.series import State, state_after, study_figures
from horizon_bo.report.workers import under_way
from horizon_bo.runs.cost import Measured, gpu_hours, reached
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.study.trials import Study, Trial

#: How often the study is asked for its revision, in seconds.
POLL_S = 2.0

#: Names that a browser on this machine may call a loopback address by; any other is a page of
#: somebody else's that has had its name point here.
_LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]

#: What a policy may say in a header and not in a page.
_IN_HEADERS_ONLY = "; frame-ancestors 'none'"

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Rendered:
    """The page at one revision: whole, and without the chart library for who has it already."""

    revision: int
    page: str
    update: str


@dataclass
class LivePage:
    """The last page of a study, renewed by whoever calls `renew`.

    Args:
        store: Where the study is kept.
        last: The page to serve; `None` before the first `renew`.
        trouble: Why the study could not be read the last time, else `None`.
        workers: The part that says who makes which run, by the last `look`.
        speeds: What the runs that ended reached, by the last `renew`.
        known: The study as it was last looked at.
        states: What was believed along the history, by the number of first trials, with these.
        root: Where its runs keep their folders, if that is known.
    """

    store: StudyStore
    last: Rendered | None = None
    trouble: str | None = None
    workers: str = ""
    speeds: tuple[Measured, ...] = ()
    known: StoredStudy | None = None
    states: dict[int, tuple[tuple[Trial, ...], State]] = field(default_factory=dict)
    root: Path | None = None

    def renew(self, told: Told = lambda done, of: None) -> None:
        """Work the page out again if the study has changed; called by one thread at a time."""
        if self.last is not None and self.store.sequence() == self.last.revision:
            return
        stored = self.store.read()
        figures = study_figures(stored.study, told=told, state=self._remembered)
        written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self.speeds = reached(stored.study, self.root)
        cost = gpu_hours(stored.study, self.speeds, figures.recommendation.expected_overhead)
        now = under_way(self.store, stored.study, self.root, self.speeds)
        self.workers = workers_part(now)
        shown: dict[str, Any] = {"under_way": now, "cost": cost, "live": Live(stored.sequence)}
        whole, update = (
            report_page(figures, self.store.name, written, library=library, **shown)
            for library in (True, False)
        )
        self.last = Rendered(stored.sequence, whole, update)

    def look(self) -> None:
        """See who makes which run; that changes without the study, and takes no thinking."""
        self.known = self.store.read(self.known)
        self.workers = workers_part(under_way(self.store, self.known.study, self.root, self.speeds))

    def _remembered(self, study: Study) -> State:
        """What was believed then; the target and the space of a study never change."""
        known = self.states.get(len(study.trials))
        if known is None or known[0] != study.trials:
            known = (study.trials, state_after(study))
            self.states[len(study.trials)] = known
        return known[1]


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise StorageError(
            f"{host} port {port} cannot be listened at ({error}), expected a free port of this "
            "machine; name another with --port, or 0 for any"
        ) from error


def serve_page(page: LivePage, listener: socket.socket, token: str | None, root_path: str) -> None:
    """Serve a live page, renewed once already, until the process is told to end.

    Args:
        page: The page.
        listener: The socket to listen at.
        token: As in `application`.
        root_path: As in `application`.
    """
    served = application(page, token, root_path)
    settings = uvicorn.Config(served, log_level="warning", access_log=False)
    uvicorn.Server(settings).run(sockets=[listener])


def application(page: LivePage, token: str | None, root_path: str = "") -> Starlette:
    """The web application that serves a live page, renewed once already.

    Args:
        page: The page.
        token: What a reader must show, as `?token=` or as a bearer; `None` serves readers on
            this machine only.
        root_path: What stands before the page's paths at a proxy, whether it takes that off or not.
    """
    door = Door(token, root_path)
    headers = {**HEADERS, "Content-Security-Policy": security_policy(live=True) + _IN_HEADERS_ONLY}

    def route(path: str, answer: Callable[[Request, Rendered], Response]) -> Route:
        async def answered(request: Request) -> Response:
            assert page.last is not None, "a page is renewed before it is served"
            return door.refusal(request) or answer(request, page.last)

        return Route(path, answered, methods=["GET"])

    @asynccontextmanager
    async def following(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_follow(page, part)) for part in (page.renew, page.look)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    guard = [Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK_NAMES)]
    routes = [
        route("/", lambda _, last: HTMLResponse(last.page, headers=headers)),
        route("/main", lambda _, last: HTMLResponse(last.update, headers=headers)),
        route("/workers", lambda *_: HTMLResponse(page.workers, headers=headers)),
        route("/revision", lambda request, last: _revision(request, last, page.trouble)),
    ]
    return Starlette(
        routes=[*routes, *([Mount(root_path, routes=routes)] if root_path else [])],
        middleware=[*(guard if token is None else []), Middleware(GZipMiddleware)],
        lifespan=following,
    )


def _revision(request: Request, last: Rendered, trouble: str | None) -> Response:
    """The revision of the page, or word that it is the one the reader knows."""
    tag = f'"{last.revision}{"!" if trouble else ""}"'
    headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return JSONResponse({"revision": last.revision, "trouble": trouble}, headers=headers)


async def _follow(page: LivePage, part: Callable[[], None]) -> None:
    """Renew a part for ever; a study that cannot be read for a while leaves the last page."""
    while True:
        await asyncio.sleep(POLL_S)
        try:
            await asyncio.to_thread(part)
            page.trouble = None
        except HorizonBOError as error:
            page.trouble = " ".join(str(error).split())
