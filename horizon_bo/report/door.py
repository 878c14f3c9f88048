"""Door: who may read a live page?

A token in the address is exchanged for a cookie at once, so that it stays in no history and no log;
programs may send it as a bearer. Whoever shows wrong tokens is not listened to for a while.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

#: So many wrong tokens from one address, in so many seconds, are those of somebody who guesses.
_MOST_WRONG, _WINDOW_S = 10, 60.0
#: So many addresses are remembered; a flood of them makes the oldest forgotten.
_MOST_CLIENTS = 4096
#: The cookie's name; its value is drawn anew by every server.
_COOKIE = "horizon_bo"
#: An answer is told to nobody and kept nowhere.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass
class Door:
    """Lets in who shows the token, or the cookie that stands for it.

    Args:
        token: What readers show; `None` lets everybody in who reaches the server.
        path: Where a proxy has put the page; the cookie is for there only.
        now: A clock, in seconds.
        session: The cookie's value.
        wrong: When each address has shown wrong tokens of late.
    """

    token: str | None
    path: str = ""
    now: Callable[[], float] = time.monotonic
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    wrong: dict[str, list[float]] = field(default_factory=dict)

    def refusal(self, request: Request) -> Response | None:
        """What to answer instead of the page: a refusal, or where it is without the token."""
        if self.token is None or _same(request.cookies.get(_COOKIE, ""), self.session):
            return None
        in_address = request.query_params.get("token", "")
        given = in_address or request.headers.get("authorization", "").removeprefix("Bearer ")
        client = request.client.host if request.client else ""
        if self._guesses(client):
            said = "429: too many wrong tokens; wait a minute and send the right one\n"
            wait = {"Retry-After": f"{_WINDOW_S:.0f}"}
            return PlainTextResponse(said, 429, {**wait, **HEADERS})
        if not _same(given, self.token):
            if given:
                self._note(client)
            said = "401: add ?token=… to the address, or send it as a bearer token\n"
            return PlainTextResponse(said, 401, {"WWW-Authenticate": "Bearer", **HEADERS})
        return self._exchanged(request) if in_address else None

    def _exchanged(self, request: Request) -> Response:
        """The same address without the token, and the cookie."""
        here = request.url.path.rsplit("/", 1)[1] or "./"
        answer = RedirectResponse(here, 303, HEADERS)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            _COOKIE,
            self.session,
            path=f"{self.path}/",
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return answer

    def _guesses(self, client: str) -> bool:
        """Whether an address has shown too many wrong tokens of late."""
        late = [at for at in self.wrong.get(client, []) if at > self.now() - _WINDOW_S]
        if client in self.wrong:
            self.wrong[client] = late
        return len(late) >= _MOST_WRONG

    def _note(self, client: str) -> None:
        self.wrong.setdefault(client, []).append(self.now())
        if len(self.wrong) > _MOST_CLIENTS:
            self.wrong.pop(next(iter(self.wrong)))


def _same(given: str, expected: str) -> bool:
    """Whether two secrets are the same, compared in constant time."""
    return secrets.compare_digest(given.encode(), expected.encode())
