"""The door of the laboratory's server: who may come in, how much may be brought, what every answer says."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 12_000_000
"""Bytes of a request: a picture of 8 MB in base64."""
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
COOKIE = "gannet-lab"


Asked = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does work in a thread, unless too much is asked for at once: how every route reaches the engine."""


class Refused(Exception):
    """A request that is answered with `status` and a sentence."""

    def __init__(self, status: int, text: str):
        self.status = status
        super().__init__(text)


class Door:
    """Around the application: who may come in, how much may be brought, and what every answer says."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None):
        self.app, self.hosts, self.token = app, frozenset(h.lower() for h in hosts), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            cookie = self._check(scope)
        except Refused as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
                return
            await refusal(error)(scope, receive, self._saying(send))
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if scope["type"] == "http" and taken > MOST_BODY:
                raise Refused(413, f"more than {MOST_BODY:,} bytes; a request has at most that many.")
            return message

        await self.app(scope, limited, self._saying(send, cookie))

    def _check(self, scope: Scope) -> str | None:
        """Raise `Refused` for a stranger. Returns the cookie to be set for one who brought the token in the address."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            raise Refused(421, f"this server is not {host[:100]!r}. It is {', '.join(sorted(self.hosts))}.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, "pages of other origins are not answered.")
        if int(headers.get("content-length", "0") if headers.get("content-length", "0").isdigit() else 0) > MOST_BODY:
            raise Refused(413, f"more than {MOST_BODY:,} bytes; a request has at most that many.")
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(415, f"content-type {kind[:50]!r}: commands are application/json.")
        return None if self.token is None else self._token(scope, headers)

    def _token(self, scope: Scope, headers: Headers) -> str | None:
        assert self.token is not None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        cookies = [c.strip().partition("=") for c in headers.get("cookie", "").split(";")]
        kept = next((value for name, _, value in cookies if name == COOKIE), "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not any(hmac.compare_digest(said.encode(), self.token.encode()) for said in (given, kept, bearer)):
            raise Refused(401, "a token is needed: open the address that was printed when the server was started.")
        return f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/" if given else None

    def _saying(self, send: Send, cookie: str | None = None) -> Send:
        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.encode(): value.encode() for name, value in HEADERS.items()}
                if cookie:
                    own[b"set-cookie"] = cookie.encode()
                kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in own]
                message = {**message, "headers": [*kept, *own.items()]}
            await send(message)

        return said


def refusal(error: Refused) -> Response:
    return as_json({"error": str(error)}, error.status)


def as_json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), status, media_type="application/json")


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body, an empty one without a body. Raises `Refused` for anything else."""
    raw = await request.body()
    try:
        value = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object.")
    return value
