"""/metrics, /healthz and /readyz over HTTP, for Prometheus and for whoever restarts processes.

Rule: read-only, no input but the path, no log of who asked. There is no TLS and no login here: listen on loopback (the
default) or on a network of the house's own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socket import AF_INET6
from socketserver import ThreadingMixIn
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from domain.errors import SettingsWrong
from services.watching.pulse import Pulse, Readiness

#: Whoever opens a connection and says nothing is let go after this long.
REQUEST_SECONDS = 10
METHODS = ("GET", "HEAD")

_Start: TypeAlias = Callable[..., Any]
_Application: TypeAlias = Callable[[dict[str, Any], _Start], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A thread that is still answering must not keep the process from ending.
    block_on_close = False


class _ServerOverIpv6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: a probe every few seconds would be all that the process log says."""


@contextmanager
def listening(
    address: tuple[str, int], registry: CollectorRegistry, pulse: Pulse, readiness: Readiness
) -> Iterator[int]:
    """Answer on this address, in threads, while the block runs. Gives the port, which is chosen freely for 0.

    Raises:
        SettingsWrong: nobody can listen there.
    """
    host, port = address
    try:
        server = make_server(
            host,
            port,
            application(registry, pulse, readiness),
            server_class=_ServerOverIpv6 if ":" in host else _Server,
            handler_class=_Handler,
        )
    except OSError as error:
        raise SettingsWrong(f"SEALDESK_LISTEN: cannot listen on {host}:{port} ({error.strerror}).") from None
    thread = threading.Thread(target=server.serve_forever, name="listening", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def application(registry: CollectorRegistry, pulse: Pulse, readiness: Readiness) -> _Application:
    """Make the WSGI application of a process."""
    metrics: _Application = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in METHODS:
            return _say(start, HTTPStatus.METHOD_NOT_ALLOWED, {"allowed": METHODS})
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start)
            case "/healthz":
                alive = pulse.is_alive()
                status = HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE
                return _say(start, status, {"alive": alive, "seconds_since_turn": round(pulse.age(), 3)})
            case "/readyz":
                needs = readiness.now()
                ready = all(needs.values())
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                return _say(start, status, {"ready": ready, "needs": needs})
            case _:
                return _say(start, HTTPStatus.NOT_FOUND, {"paths": ("/metrics", "/healthz", "/readyz")})

    return _without_body_for_head(answer)


def _say(start: _Start, status: HTTPStatus, value: Any) -> list[bytes]:
    body = json.dumps(value).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", ", ".join(METHODS)))
    start(f"{status.value} {status.phrase}", headers)
    return [body]


def _without_body_for_head(inner: _Application) -> _Application:
    """Answer HEAD with the headers of GET alone (RFC 9110, section 9.3.2)."""

    def answer(environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return inner(environ, start)
        said: list[Any] = []
        body = b"".join(inner({**environ, "REQUEST_METHOD": "GET"}, lambda *given: said.extend(given)))
        status, headers = said[0], [pair for pair in said[1] if pair[0].lower() != "content-length"]
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return []

    return answer
