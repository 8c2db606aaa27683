"""The routes of the dashboard: what runs there are, and what they have written of themselves."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from gannet.lab.dashboard import Dashboard
from gannet.lab.door import Asked, Refused
from gannet.lab.shelf import Shelf


def routes(shelf: Shelf, asked: Asked) -> APIRouter:
    """`/api/shelf`, and everything below `/api/runs`."""
    router = APIRouter()
    board = Dashboard(shelf)

    @router.get("/api/shelf")
    async def shelved() -> Response:
        return _told(await asked(board.shelved))

    @router.get("/api/runs")
    async def listing() -> Response:
        return _told(await asked(board.listing))

    @router.get("/api/runs/one")
    async def one(request: Request) -> Response:
        name = _name(request)
        return _told(await asked(lambda: board.one(name)))

    @router.get("/api/runs/log")
    async def log(request: Request) -> Response:
        name, after, mark = _name(request), _count(request, "after") or 0, _count(request, "mark")
        return _told(await asked(lambda: board.log(name, after, mark)))

    @router.get("/api/runs/samples")
    async def samples(request: Request) -> Response:
        name, index = _name(request), _count(request, "index") or 0
        return Response(await asked(lambda: board.picture(name, index)), media_type="image/png")

    @router.get("/api/runs/compare")
    async def compare(request: Request) -> Response:
        names = request.query_params.getlist("run")
        return _told(await asked(lambda: board.compare(names)))

    return router


def _told(value: Any) -> Response:
    """JSON in ASCII: what runs hold may be no text that can be sent as UTF-8."""
    return Response(json.dumps(value, allow_nan=False), media_type="application/json")


def _name(request: Request) -> str:
    return request.query_params.get("run", "")


def _count(request: Request, key: str) -> int | None:
    """A number from the address. Raises `Refused` for what is none."""
    text = request.query_params.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Refused(400, f"{key}={text[:30]!r} is no number. Give a whole one, such as {key}=0.")
    return int(text)
