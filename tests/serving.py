"""Live pages served for a while, in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from horizon_bo.report.live import LivePage, application, listening
from horizon_bo.store.opening import study_store


@contextmanager
def served(page: LivePage, token: str | None = None, root_path: str = "") -> Iterator[str]:
    """The address of a page that a server in a thread serves meanwhile."""
    listener = listening("127.0.0.1", 0)
    settings = uvicorn.Config(application(page, token, root_path), log_level="warning")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def renewed(path: Path) -> LivePage:
    """The live page of a study, worked out once."""
    page = LivePage(study_store(path))
    page.renew()
    return page
