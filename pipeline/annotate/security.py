"""What every request passes before anything else: its size, where it comes from, and the headers of every answer.

A request that changes something is accepted only from the service's own page. Browsers say where a request comes from
and pages cannot forge it: Sec-Fetch-Site, or Origin in older ones. Clients that are no browsers send neither, and carry
no cookie that another site could borrow.
"""

import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.annotate.errors import RefusedError
from pipeline.annotate.schema_items import Problem
from pipeline.core.errors import UserError, problem

Measured = Callable[[str, str, int, float], None]
BODY_BYTES = 1 << 20
SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def check_address(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Refuse to send cookies in the clear over a network.

    Raises:
        UserError: an address that others reach, without TLS.
    """
    try:
        found = {ipaddress.ip_address(str(info[4][0])) for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        fix = "give --host an address of this machine"
        raise UserError(
            problem(f"There is no such address ({error})", got=host, allowed="127.0.0.1", fix=fix)
        ) from error
    if not (tls or behind_proxy or all(address.is_loopback for address in found)):
        fix = "give --tls-cert and --tls-key, or --behind-proxy when a proxy in front speaks TLS"
        what = "Other machines would reach this address, and read people's sessions on the way"
        raise UserError(problem(what, got=host, allowed="a loopback address without TLS", fix=fix))


def refusal(said: Problem, status: int, retry_after_s: int = 0) -> JSONResponse:
    """Return a problem as a response."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    return JSONResponse(said.model_dump(), status, headers)


def from_own_page(headers: Headers) -> bool:
    """Say whether a request was not made by another site's page."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host", "")
    except ValueError:
        return False


class Guard:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp, *, hsts: bool, measured: Measured) -> None:
        """Guard `app`.

        Args:
            app: the service.
            hsts: tell browsers to come back by TLS only.
            measured: is told the method, route, status and seconds of every request that found a route.
        """
        self._app, self._hsts, self._measured = app, hsts, measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, hand it on, and put the headers on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, begin = Headers(scope=scope), time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "")
                if route:
                    self._measured(scope["method"], route, message["status"], time.perf_counter() - begin)
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if self._hsts:
                    answer.setdefault("Strict-Transport-Security", "max-age=31536000")
                if scope["path"].startswith("/api/"):
                    answer.setdefault("Cache-Control", "no-store")
                    answer.add_vary_header("Cookie")
            await send(message)

        refused = self._refusal_of(scope["method"], headers)
        if refused is not None:
            await refusal(refused.problem, refused.status)(scope, receive, sending)
            return
        await self._app(scope, _Limited(receive), sending)

    def _refusal_of(self, method: str, headers: Headers) -> RefusedError | None:
        if method not in SAFE and not from_own_page(headers):
            return RefusedError("cross_site", "only the service's own page may send this")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            return RefusedError("too_large", f"a body has at most {BODY_BYTES} bytes")
        return None


class _Limited:
    """Receives a body that does not say how long it is, and ends it when it is too long."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._got = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._got += len(message.get("body", b""))
        if self._got > BODY_BYTES:
            raise RefusedError("too_large", f"a body has at most {BODY_BYTES} bytes")
        return message


class Attempts:
    """Counts failures by address and says when there were too many; forgets the addresses not heard of for longest."""

    def __init__(self, limit: int = 10, window_s: float = 60.0, remembered: int = 10_000) -> None:
        """Allow `limit` failures in `window_s` seconds."""
        self._limit, self._window_s, self._remembered = limit, window_s, remembered
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str, now: float) -> None:
        """Raise RefusedError slow_down after too many failures."""
        recent = [at for at in self._failures.get(address, []) if at > now - self._window_s]
        if len(recent) >= self._limit:
            wait_s = int(recent[0] + self._window_s - now) + 1
            raise RefusedError("slow_down", "too many failed attempts; wait a minute", retry_after_s=wait_s)

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        recent = [at for at in self._failures.pop(address, []) if at > now - self._window_s]
        self._failures[address] = [*recent, now]
        if len(self._failures) > self._remembered:
            self._failures.popitem(last=False)
