"""Command line, report and serve: show a study as a page, once or for as long as it runs."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from horizon_bo.cli.terminal import (
    AsJson,
    Folder,
    StudyArgument,
    errors_as_exit_codes,
    example,
    remark,
    show,
)

if TYPE_CHECKING:
    from horizon_bo.report.figures import StudyFigures
    from horizon_bo.report.workers import UnderWay
    from horizon_bo.runs.cost import GpuHours

Out = Annotated[
    str, typer.Option("--out", "-o", metavar="FILE.html", help="Where to write the page.")
]
Example = Annotated[
    bool, typer.Option("--example", help="Show the study of the sweep that ships instead.")
]
OptionalStudy = Annotated[
    str | None, typer.Argument(metavar="STUDY", help="Path or SQLAlchemy URL of the study.")
]
Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Address to listen at; others need a token.")
]
Port = Annotated[int, typer.Option(metavar="P", help="Port to listen at; 0 takes a free one.")]
RootPath = Annotated[
    str,
    typer.Option(metavar="PATH", help="What a proxy puts before the page's paths, as /tuning."),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        envvar="HORIZON_BO_TOKEN",
        help="What readers must show, as ?token=T or as a bearer token; needed beyond loopback.",
    ),
]

#: Addresses that only this machine reaches.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Shorter tokens can be guessed.
_LEAST_TOKEN = 16


def register(app: typer.Typer) -> None:
    """Add the commands `report` and `serve` to a command line."""
    app.command(epilog=example("horizon-bo report runs.db -o report.html"))(report)
    app.command(epilog=example("horizon-bo serve runs.db --port 8765"))(serve)


def report(
    study: OptionalStudy = None,
    out: Out = "report.html",
    of_example: Example = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Write one page about a study that opens anywhere, without a network.

    It shows what `recommend` says (losses in nats per token, compute in FLOP and target runs),
    what it rests on, and what published laws say. A study of 200 runs takes about half a minute.
    """
    with errors_as_exit_codes():
        from horizon_bo.report.page import report_page

        figures, name, now, cost = _figures(study, of_example, folder)
        page = report_page(figures, name, written_now(), under_way=now, cost=cost)
        _write(Path(out), page)
    size = len(page.encode())
    best = figures.recommendation.learning_rate
    said = f"{out}: {size / 1e6:.1f} MB, learning rate {best:.3e}; open it in a browser"
    show({"report": out, "bytes": size, "learning_rate": best}, said, as_json=as_json)


def serve(
    study: StudyArgument,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    token: Token = None,
    root_path: RootPath = "",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show the page of `report` in a browser, kept up to date while runs come in, until Ctrl-C.

    The study is only read. Needs the extra `serve`. Losses in nats per token, compute in FLOP.
    """
    with errors_as_exit_codes():
        from horizon_bo.runs.folder import known_folder
        from horizon_bo.store.opening import study_store

        _refuse_open_door(host, token)
        _refuse_path(root_path)
        store = study_store(study)
        store.sequence()  # before the wait for what follows, to say that there is no study
        live = _live()
        listener = live.listening(host, port)
        page = live.LivePage(store, root=known_folder(study, folder))
        with believing() as told:
            page.renew(told)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    record = {"address": address, "study": store.name, "needs_token": token is not None}
    said = f"{address}{'?token=…' if token else ''} shows {store.name}; Ctrl-C ends it"
    show(record, said, as_json=as_json)
    if host not in LOOPBACK:
        remark(["the page and the token travel unencrypted; put a proxy with TLS before it"])
    with suppress(KeyboardInterrupt):
        live.serve_page(page, listener, token, root_path)


def _live() -> ModuleType:
    """The server, or an error that names the extra it comes with."""
    try:
        return import_module("horizon_bo.report.live")
    except ImportError as error:
        from horizon_bo.errors import MissingExtraError

        raise MissingExtraError("serve", str(error.name), "serve") from error


def _refuse_open_door(host: str, token: str | None) -> None:
    """Beyond this machine only who shows a token may read, and it must not be guessed."""
    from horizon_bo.errors import InvalidSpaceError

    todo = "give --token or HORIZON_BO_TOKEN, such as the output of `openssl rand -hex 16`"
    if token is None and host not in LOOPBACK:
        raise InvalidSpaceError(
            f"host is {host} without a token, expected one of {', '.join(LOOPBACK)} or a token; "
            f"{todo}"
        )
    if token is not None and len(token) < _LEAST_TOKEN:
        raise InvalidSpaceError(
            f"token has {len(token)} characters, expected {_LEAST_TOKEN} or more; {todo}"
        )


def _refuse_path(root_path: str) -> None:
    """A path begins with a slash and ends without, and has nothing that addresses encode."""
    from horizon_bo.errors import InvalidSpaceError

    if root_path and not re.fullmatch(r"(/[\w.~-]+)+", root_path, re.ASCII):
        raise InvalidSpaceError(
            f"root path is {root_path!r}, expected a path such as /tuning; "
            "give the one that the proxy puts before the page"
        )


def _figures(
    study: str | None, of_example: bool, folder: str | None
) -> "tuple[StudyFigures, str, UnderWay, GpuHours | None]":
    """The figures of the study asked for, its name, what is under way, and what it costs."""
    from horizon_bo.errors import StudyNotFoundError
    from horizon_bo.report.series import study_figures
    from horizon_bo.report.workers import UnderWay, under_way
    from horizon_bo.runs.cost import gpu_hours, reached
    from horizon_bo.runs.folder import known_folder
    from horizon_bo.store.opening import study_store

    if (study is None) != of_example:
        arrived = "no study" if study is None else "a study and --example"
        raise StudyNotFoundError(f"{arrived} arrived, expected STUDY or --example; give one")
    if study is None:
        from horizon_bo.examples.study import example_study

        values, name, known, now = example_study(), "example", (), UnderWay()
    else:
        store = study_store(study)
        values, name = store.read().study, store.name
        root = known_folder(study, folder)
        known = reached(values, root)
        now = under_way(store, values, root, known)
    with believing() as told:
        figures = study_figures(values, told=told)
    cost = gpu_hours(values, known, figures.recommendation.expected_overhead)
    return figures, name, now, cost


def written_now() -> str:
    """The present time, as a reader of a page should see it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def believing() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal, while beliefs are worked out."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("what the runs say", total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


def _write(path: Path, page: str) -> None:
    """Write the page whole or not at all."""
    from horizon_bo.errors import StorageError

    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with unfinished.open("x", encoding="utf-8") as file:  # never through somebody's link
            file.write(page)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written ({error.strerror}), expected a writable .html; name another"
        ) from error
