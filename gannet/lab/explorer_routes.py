"""The routes of the explorer: a trained generator, looked at from all sides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from gannet.lab.door import Asked, as_json, body_of
from gannet.lab.shelf import Shelf

if TYPE_CHECKING:
    from gannet.lab.explorer import Explored, Explorer


def routes(shelf: Shelf, asked: Asked) -> APIRouter:
    """Everything below `/api/explore/`."""
    router = APIRouter(prefix="/api/explore")
    lock = threading.Lock()
    made: list[Explorer] = []

    def explorer() -> Explorer:
        """The one explorer, made when it is first asked: it needs torch, and the page must be there before that."""
        with lock:
            if not made:
                from gannet.lab.explorer import Explorer

                made.append(Explorer(shelf))
            return made[0]

    async def ask(request: Request, question: Callable[[Explored], Any]) -> Any:
        name = request.query_params.get("run", "")
        return await asked(lambda: explorer().ask(name, question))

    @router.get("/facts")
    async def facts(request: Request) -> Response:
        return as_json(await ask(request, lambda explored: explored.facts()))

    @router.get("/saved")
    async def saved(request: Request) -> Response:
        index = request.query_params.get("index", "")
        return Response(await ask(request, lambda explored: explored.grid(index)), media_type="image/png")

    @router.post("/images")
    async def images(request: Request) -> Response:
        body = await body_of(request)
        return Response(await ask(request, lambda explored: explored.images(body)), media_type="image/png")

    @router.post("/directions")
    async def directions(request: Request) -> Response:
        body = await body_of(request)
        return as_json(await ask(request, lambda explored: explored.directions(body)))

    @router.post("/nearest")
    async def nearest(request: Request) -> Response:
        body = await body_of(request)
        return as_json(await ask(request, lambda explored: explored.nearest(body)))

    @router.post("/activations")
    async def activations(request: Request) -> Response:
        body = await body_of(request)
        return as_json(await ask(request, lambda explored: explored.activations(body)))

    @router.post("/export")
    async def exported(request: Request) -> Response:
        body = await body_of(request)

        def work(explored: Explored) -> Any:
            from gannet.lab.explorer_export import export

            return export(explored, body)

        file = await ask(request, work)
        headers = {"content-disposition": f'attachment; filename="{file.name}"'}
        return Response(file.content, media_type=file.kind, headers=headers)

    return router
