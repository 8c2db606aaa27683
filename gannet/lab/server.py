"""The laboratory served: a socket of one's own, uvicorn, and the page at once, while torch is imported behind it."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from gannet.core.errors import ResourceError, UsageError
from gannet.lab.app import create_app
from gannet.lab.shelf import Shelf

PORT = 7860
LEAST_TOKEN = 16


def serve(
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    folder: Path | None = None,
    names: tuple[str, ...] = (),
    started: Callable[[str], None] = print,
    opened: Path | None = None,
) -> None:
    """Serve until interrupted; `started` is called with the address to open: the page on which points are learned, or
    the one for the run, or the folder of runs, that is `opened`. Sessions' runs go into `folder`, or are gone when the
    server ends. `port` 0 takes a free one. Another `host` than this machine's own needs a `token`; `names` are
    further names under which browsers reach it. Raises `UsageError` and `ResourceError`."""
    with contextlib.ExitStack() as stack:
        check_host(host, token)
        shelf = Shelf(opened)
        listener = stack.enter_context(contextlib.closing(listen(host, port)))
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gannet-lab-")))
        hosts = addresses(host, listener.getsockname()[1], names)
        server = make_server(create_app(folder, hosts, token, shelf=shelf))
        started(f"http://{hosts[0]}{first_page(shelf, token)}")
        server.run(sockets=[listener])


def first_page(shelf: Shelf, token: str | None) -> str:
    """The path and query of the page to open first."""
    asked = {"run": shelf.alone} if shelf.alone else {}
    page = "/" if shelf.path is None else "/explore" if asked else "/runs"
    query = urlencode({**asked, **({"token": token} if token else {})})
    return f"{page}?{query}" if query else page


def make_server(app: Any) -> uvicorn.Server:
    """Uvicorn around `app`, with small limits: messages of a browser are a word, requests are few."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=1024,
            limit_concurrency=64,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=5,
        )
    )


def is_own(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, token: str | None) -> None:
    """Refuse to serve others without a token, or with one that can be guessed."""
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isalnum()):
        raise UsageError(
            f"--token: {len(token)} characters; use {LEAST_TOKEN} or more letters and digits, such as "
            f"{secrets.token_hex(12)}."
        )
    if token is None and not is_own(host):
        raise UsageError(
            f"--host {host} is reached by other machines, which could train here. Add --token {secrets.token_hex(12)}, "
            "or leave --host out."
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `UsageError` for a host that is none, `ResourceError` for a port that is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(f"--host {host} --port {port}: there is no such address ({error}).") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ResourceError(f"port {port} of {host} cannot be served ({error}). Choose another: --port 0.") from None
    return listener


def addresses(host: str, port: int, names: tuple[str, ...] = ()) -> list[str]:
    """What the Host header of a request may be, the one to open first."""
    if is_own(host):
        found = [host, "127.0.0.1", "localhost"]
    elif host in ("0.0.0.0", "::"):
        found = [socket.gethostname(), *_own_addresses(), "127.0.0.1", "localhost"]
    else:
        found = [host]
    return [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in dict.fromkeys([*found, *names])]


def _own_addresses() -> list[str]:
    with contextlib.suppress(OSError):
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)})
    return []
