"""A proxy between a client and a server of HTTP on loopback that loses requests, or the answers to them."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Pass on what comes, and lose what it was told to lose. It counts what it passed on and what it lost."""

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server).netloc
        self._lock = threading.Lock()
        self._requests: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self.requests = self.lost = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                proxy._handle(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listening.daemon_threads = True
        self._thread = threading.Thread(target=self._listening.serve_forever)

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self._listening.server_port}"

    def lose_requests_of(self, method: str, *, times: int) -> None:
        """Drop the connection before the server hears of it."""
        self._requests[method] = times

    def lose_answers_to(self, method: str, *, times: int) -> None:
        """Drop the connection after the server has carried out what was asked."""
        self._answers[method] = times

    def _loses(self, of: dict[str, int], method: str) -> bool:
        with self._lock:
            if of.get(method, 0) <= 0:
                return False
            of[method] -= 1
            self.lost += 1
            return True

    def _handle(self, asked: BaseHTTPRequestHandler) -> None:
        if asked.headers.get("Expect") == "100-continue":
            asked.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        if self._loses(self._requests, asked.command):
            return
        self.requests += 1
        headers = {name: value for name, value in asked.headers.items() if name != "Expect"}
        connection = http.client.HTTPConnection(self._server)
        try:
            connection.request(asked.command, asked.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if self._loses(self._answers, asked.command):
            return
        asked.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(content)))
        asked.send_header("Connection", "close")
        asked.end_headers()
        asked.wfile.write(content)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown()
        self._listening.server_close()
        self._thread.join()
