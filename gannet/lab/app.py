"""The laboratory's routes, and what is refused at its door. Nothing here needs torch until a session is opened."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from gannet.core.errors import GannetError
from gannet.lab import dashboard_routes, explorer_routes
from gannet.lab.door import Door, Refused, as_json, body_of, refusal
from gannet.lab.shelf import Shelf

if TYPE_CHECKING:
    from gannet.lab.session import Session

STATIC = Path(__file__).parent / "static"
MOST_COMMANDS = 100
"""Commands that begin within one second, over all sessions."""
MOST_READERS = 16
KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
}  # fmt: skip


class Room:
    """The sessions there are. What they are made of is imported by `prepare`, behind the page's back."""

    def __init__(self, folder: Path, most: int = 8, idle: float = 600.0, grace: float = 20.0):
        self.folder, self.most, self.idle, self.grace = folder, most, idle, grace
        self.sessions: dict[str, Session] = {}
        self.lock = threading.Lock()
        self.ready = threading.Event()
        self.problem = ""
        self.catalog: dict[str, Any] = {}

    def prepare(self) -> None:
        """Import the engine and try every part once."""
        try:
            from gannet.lab.forms import catalog

            self.catalog = catalog()
        except Exception as error:
            self.problem = f"the engine could not be loaded: {type(error).__name__}: {error}"
            raise
        finally:
            self.ready.set()

    def check_ready(self) -> None:
        if not self.ready.is_set():
            raise Refused(503, "the engine is still being loaded; ask /api/ready.")
        if self.problem:
            raise Refused(503, self.problem)

    def open(self, state: Any = None) -> tuple[str, Session]:
        """A new session, from a state if one is given. Raises `Refused` when there are too many."""
        from gannet.engine.run import Run
        from gannet.lab.session import Session
        from gannet.lab.share import State

        begun = None if state is None else State.from_json(state)
        with self.lock:
            if len(self.sessions) >= self.most:
                self._make_room()
            name = secrets.token_hex(16)
            session = Session(Run.create(self.folder, "lab"), begun)
            self.sessions[name] = session
        return name, session

    def _make_room(self) -> None:
        """End the session that nobody has watched or asked for longest, if it has been a while."""
        now = time.monotonic()
        left = [(s.used, n) for n, s in self.sessions.items() if not s.watched and now - s.used > self.grace]
        if not left:
            raise Refused(429, f"{self.most} sessions are open, which is the most. Close one, or wait for one to end.")
        self.sessions.pop(min(left)[1]).close()

    def get(self, name: str) -> Session:
        session = self.sessions.get(name)
        if session is None:
            raise Refused(404, "there is no such session; it may have ended. Open another one.")
        return session

    def close(self, name: str) -> None:
        session = self.get(name)
        self.sessions.pop(name, None)
        session.close()

    def sweep(self) -> None:
        """End the sessions that have been idle for too long."""
        now = time.monotonic()
        for name, session in list(self.sessions.items()):
            if not session.watched and now - session.used > self.idle:
                self.sessions.pop(name, None)
                session.close()

    def close_all(self) -> None:
        for name in list(self.sessions):
            with contextlib.suppress(Refused):
                self.close(name)


def create_app(
    folder: Path,
    hosts: Iterable[str],
    token: str | None = None,
    room: Room | None = None,
    prepare: Callable[[], None] | None = None,
    static: Path = STATIC,
    shelf: Shelf | None = None,
) -> Any:
    """The laboratory as an ASGI application: sessions' runs go into `folder`, requests must come for one of `hosts`
    ("127.0.0.1:7860") and, with `token`, bring it. `prepare` is what is imported in the background; `shelf` has the
    runs that can be explored and compared."""
    room = room if room is not None else Room(folder)
    shelf = shelf if shelf is not None else Shelf()
    # What may be fetched is listed once, so that no address ever becomes a file's name.
    files = {
        f"/static/{path.relative_to(static).as_posix()}": path for path in static.rglob("*") if path.suffix in KINDS
    }
    recent: deque[float] = deque(maxlen=MOST_COMMANDS)
    readers: set[int] = set()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=prepare or room.prepare, name="gannet-lab-import", daemon=True).start()
        sweeping = asyncio.create_task(_sweep(room))
        yield
        sweeping.cancel()
        await run_in_threadpool(room.close_all)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return refusal(error)

    @app.exception_handler(GannetError)
    async def wrong(_: Request, error: GannetError) -> Response:
        return as_json({"error": str(error)}, 400)

    @app.exception_handler(404)
    async def missing(*_: Any) -> Response:
        return as_json({"error": "there is nothing at this address."}, 404)

    async def asked(work: Callable[[], Any]) -> Any:
        """What `work` gives, done in a thread. Raises `Refused` when too many come at once."""
        now = time.monotonic()
        if len(recent) == MOST_COMMANDS and now - recent[0] < 1.0:
            raise Refused(429, f"more than {MOST_COMMANDS} commands within a second. Slow down.")
        recent.append(now)
        room.check_ready()
        return await run_in_threadpool(work)

    for wing in (explorer_routes, dashboard_routes):
        app.include_router(wing.routes(shelf, asked))

    @app.get("/")
    async def page() -> Response:
        return _file(files.get("/static/index.html"))

    @app.get("/explore")
    async def explorer() -> Response:
        return _file(files.get("/static/explore.html"))

    @app.get("/runs")
    async def runs() -> Response:
        return _file(files.get("/static/runs.html"))

    @app.get("/static/{name:path}")
    async def asset(request: Request) -> Response:
        return _file(files.get(request.url.path))

    @app.get("/api/ready")
    async def ready() -> Response:
        return as_json({"ready": room.ready.is_set() and not room.problem, "error": room.problem or None})

    @app.get("/api/catalog")
    async def catalog() -> Response:
        return as_json(await asked(lambda: room.catalog))

    @app.get("/api/lessons")
    async def lessons() -> Response:
        return as_json(await asked(_lessons))

    @app.post("/api/sessions")
    async def opening(request: Request) -> Response:
        body = await body_of(request)

        def work() -> dict[str, Any]:
            name, session = room.open(body.get("state"))
            return {"id": name, "status": session.status(), "state": session.state()}

        return as_json(await asked(work))

    @app.delete("/api/sessions/{name}")
    async def closing(name: str) -> Response:
        await asked(lambda: room.close(name))
        return as_json({"closed": name})

    @app.get("/api/sessions/{name}/state")
    async def state(name: str) -> Response:
        return as_json(await asked(lambda: room.get(name).state()))

    @app.get("/api/sessions/{name}/status")
    async def status(name: str) -> Response:
        return as_json(await asked(lambda: room.get(name).status()))

    @app.post("/api/sessions/{name}/do")
    async def do(name: str, request: Request) -> Response:
        body = await body_of(request)
        command = body.pop("command", "")
        return as_json(await asked(lambda: room.get(name).do(str(command), **body)))

    @app.get("/api/sessions/{name}/export")
    async def export(name: str, request: Request) -> Response:
        kind = request.query_params.get("as", "")
        text = await asked(lambda: room.get(name).export(kind))
        return Response(text, media_type="text/plain; charset=utf-8")

    @app.websocket("/api/sessions/{name}/frames")
    async def frames(socket: WebSocket, name: str) -> None:
        session = room.sessions.get(name)
        if session is None or len(readers) >= MOST_READERS:
            await socket.close(1008, "no such session" if session is None else "too many readers")
            return
        await socket.accept()
        readers.add(id(socket))
        try:
            await _show(socket, session)
        finally:
            readers.discard(id(socket))

    return Door(app, hosts, token)


async def _show(socket: WebSocket, session: Session) -> None:
    """Send the newest frame for every "ready" that comes, until the browser or the session leaves."""
    from gannet.lab.frames import Reader

    reader = Reader()
    heard: asyncio.Task[Any] = asyncio.create_task(socket.receive())
    frame: asyncio.Future[bytes] | None = None
    try:
        while True:
            await asyncio.wait({heard, frame} if frame else {heard}, return_when=asyncio.FIRST_COMPLETED)
            if frame is not None and frame.done():
                if frame.cancelled():
                    await socket.close(1001, "the session has ended")
                    return
                try:
                    await socket.send_bytes(frame.result())
                except WebSocketDisconnect:  # the page was left while its frame was painted
                    return
                frame = None
            if heard.done():
                message = heard.result()
                if message["type"] != "websocket.receive":
                    return
                if message.get("text") != "ready":
                    await socket.close(1008, 'only "ready" is understood here')
                    return
                if frame is None:
                    frame = asyncio.wrap_future(session.ask(reader))
                heard = asyncio.create_task(socket.receive())
    finally:
        heard.cancel()
        if frame is not None:
            frame.cancel()


def _lessons() -> list[dict[str, Any]]:
    from gannet.lab.lessons import pages

    return pages()


async def _sweep(room: Room) -> None:
    while True:
        await asyncio.sleep(min(30.0, max(0.05, room.idle / 4)))
        await run_in_threadpool(room.sweep)


def _file(path: Path | None) -> Response:
    if path is None:
        raise Refused(404, "there is nothing at this address.")
    return Response(path.read_bytes(), media_type=KINDS[path.suffix])
