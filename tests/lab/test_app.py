"""The server: its door, its limits, its routes, and frames over a real WebSocket."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from gannet.core.errors import ResourceError, UsageError
from gannet.lab import app, door, server
from gannet.lab.app import Room, _show, create_app
from gannet.lab.frames import MOST, unpack

HOST = "127.0.0.1:7860"
SMALL = {
    "version": 1,
    "seed": 0,
    "experiment": {
        "generator.width": 6,
        "discriminator.width": 6,
        "batch": 16,
        "data": "points(name=ring, n=500)",
    },
    "changes": [],
    "step": 0,
}


def client(tmp_path: Path, **more) -> TestClient:
    room = more.pop("room", None) or Room(tmp_path)
    more.setdefault("prepare", room.ready.set)
    return TestClient(create_app(tmp_path, [HOST], room=room, **more), base_url=f"http://{HOST}")


@pytest.fixture
def page(tmp_path):
    with client(tmp_path) as found:
        yield found


def opened(page: TestClient) -> str:
    answer = page.post("/api/sessions", json={"state": SMALL})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def do(page: TestClient, name: str, command: str, **values):
    return page.post(f"/api/sessions/{name}/do", json={"command": command, **values})


# -------------------------------------------------------------------------------------------------------- the door


def test_every_answer_carries_the_policy_and_no_leave_for_others(page):
    for answer in (page.get("/api/ready"), page.get("/nothing"), page.post("/api/sessions", content="x")):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1", "127.0.0.1:80", ""])
def test_another_host_header_is_refused(page, host):
    answer = page.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert HOST in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_is_refused(page, origin):
    answer = page.post("/api/sessions", json={}, headers={"origin": origin})
    assert answer.status_code == 403
    assert page.get("/api/ready", headers={"origin": f"http://{HOST}"}).status_code == 200


def test_asking_before_a_request_of_another_origin_gets_no_leave(page):
    asked = {"origin": f"http://{HOST}", "access-control-request-method": "POST"}
    answer = page.options("/api/sessions", headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_page_is_no_command(page, kind):
    answer = page.post("/api/sessions", content="{}", headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_token_is_asked_for_and_remembered(tmp_path):
    with client(tmp_path, token="a" * 20) as page:
        assert page.get("/api/ready").status_code == 401
        assert page.get("/api/ready?token=wrong").status_code == 401
        assert page.get("/api/ready", headers={"authorization": "Bearer " + "a" * 20}).status_code == 200
        assert page.get("/api/ready").status_code == 401
        first = page.get("/api/ready?token=" + "a" * 20)
        assert first.status_code == 200
        assert "HttpOnly" in first.headers["set-cookie"]
        assert "SameSite=Strict" in first.headers["set-cookie"]
        assert page.get("/api/ready").status_code == 200


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", None), ("192.168.0.7", None), ("127.0.0.1", "short")])
def test_others_are_served_only_with_a_good_token(host, token):
    with pytest.raises(UsageError, match="--token"):
        server.check_host(host, token)


def test_this_machine_needs_no_token():
    for host in ("127.0.0.1", "localhost", "::1"):
        server.check_host(host, None)
    server.check_host("0.0.0.0", "a1" * 10)


def test_a_taken_port_and_a_wrong_host_are_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="--port 0"):
            server.listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UsageError, match="no such address"):
        server.listen("no such host", 0)


def test_a_large_body_is_refused_also_when_its_length_is_not_said(page, monkeypatch):
    monkeypatch.setattr(door, "MOST_BODY", 1000)
    body = json.dumps({"state": "x" * 1000})
    headers = {"content-type": "application/json"}
    assert page.post("/api/sessions", content=body, headers=headers).status_code == 413

    def pieces():
        for _ in range(20):
            yield b"x" * 100

    assert page.post("/api/sessions", content=pieces(), headers=headers).status_code == 413


@pytest.mark.parametrize("body", ["{", "[1]", "3", "[" * 100_000])
def test_what_is_no_object_is_refused(page, body):
    answer = page.post("/api/sessions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "address",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/nothing.js"],
)
def test_no_address_reaches_a_file_beside_the_page(page, address):
    assert page.get(address).status_code == 404


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", "folder(path='/etc')"),
        ("data", "/etc"),
        ("data", "./x.npy"),
        ("data", "array(path=x.npy)"),
        ("data.path", "x"),
        ("start_from", "runs/1"),
        ("device", "cuda"),
        ("log", "tensorboard"),
        ("generator", "stylegan2"),
        ("generator.width", 10**6),
        ("batch", 10**6),
        ("objective", "__import__('os')"),
        ("regularizers", "[r1(weight=open)]"),
        ("preset", "x.yaml"),
    ],
)
def test_no_value_names_a_file_runs_code_or_costs_too_much(page, path, value):
    name = opened(page)
    answer = do(page, name, "set", path=path, value=value)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    stated = {**SMALL, "experiment": {path: value}}
    assert page.post("/api/sessions", json={"state": stated}).status_code == 400


# ------------------------------------------------------------------------------------------------------- the routes


def test_a_session_from_its_opening_to_its_end(page):
    name = opened(page)
    assert len(name) == 32
    answer = do(page, name, "step", n=3).json()
    while answer["status"]["busy"]:  # it answers within a twentieth of a second, at whatever step that is
        answer = do(page, name, "speed", steps_per_second=0).json()
    assert answer["status"]["step"] == 3
    assert page.get(f"/api/sessions/{name}/state").json() == answer["state"]
    assert do(page, name, "set", path="objective", value="hinge").json()["restarted"] is False
    command = page.get(f"/api/sessions/{name}/export?as=command")
    assert "gannet train lab" in command.text
    assert command.headers["content-type"].startswith("text/plain")
    assert page.get(f"/api/sessions/{name}/export?as=/etc/passwd").status_code == 400
    assert page.delete(f"/api/sessions/{name}").status_code == 200
    for answer in (page.get(f"/api/sessions/{name}/state"), do(page, name, "play"), page.delete("/api/sessions/x")):
        assert answer.status_code == 404


def test_a_wrong_command_is_answered_in_words(page):
    name = opened(page)
    for body in ({"command": "dance"}, {}, {"command": "set"}, {"command": ["x"]}, {"command": "step", "self": 1}):
        answer = page.post(f"/api/sessions/{name}/do", json=body)
        assert answer.status_code == 400, body
        assert answer.json()["error"]


def test_only_so_many_sessions_and_commands(tmp_path, monkeypatch):
    with client(tmp_path, room=Room(tmp_path, most=2)) as page:
        opened(page), opened(page)
        answer = page.post("/api/sessions", json={})
        assert answer.status_code == 429
        assert "2 sessions are open" in answer.json()["error"]
    monkeypatch.setattr(app, "MOST_COMMANDS", 5)
    with client(tmp_path) as page:
        assert 429 in [page.get("/api/sessions/x/state").status_code for _ in range(8)]


def test_a_session_that_nobody_asks_for_makes_room_for_another(tmp_path):
    room = Room(tmp_path, most=2, grace=0.0)
    with client(tmp_path, room=room) as page:
        first, second, third = (opened(page) for _ in range(3))
        assert set(room.sessions) == {second, third}
        assert page.get(f"/api/sessions/{first}/state").status_code == 404


def test_thirty_sessions_opened_and_abandoned_leave_no_thread_behind(tmp_path):
    room = Room(tmp_path, most=30, idle=8)
    with client(tmp_path, room=room) as page:
        for number in range(30):
            name = opened(page)
            if number % 3 == 0:
                do(page, name, "play")
        room.idle = 0.3  # not from the first: a busy machine may take longer from the opening of one to its play
        end = time.monotonic() + 60
        while room.sessions and time.monotonic() < end:
            time.sleep(0.1)
        assert not room.sessions
        assert [t.name for t in threading.enumerate() if t.name == "gannet-lab-session"] == []


def test_leaving_the_server_ends_its_sessions(tmp_path):
    with client(tmp_path) as page:
        do(page, opened(page), "play")
    assert [t.name for t in threading.enumerate() if t.name == "gannet-lab-session"] == []


# ------------------------------------------------------------------------------------------------ the page comes first


def test_the_page_is_served_while_the_engine_is_being_imported(tmp_path):
    room, go = Room(tmp_path), threading.Event()

    def slow():
        go.wait(20)
        room.ready.set()

    static = tmp_path / "static"
    static.mkdir()
    (static / "index.html").write_text("<!doctype html><title>x</title>")
    with client(tmp_path, room=room, prepare=slow, static=static) as page:
        assert page.get("/").text.startswith("<!doctype html>")
        assert page.get("/").headers["content-type"].startswith("text/html")
        assert page.get("/api/ready").json() == {"ready": False, "error": None}
        assert page.post("/api/sessions", json={}).status_code == 503
        go.set()
        room.ready.wait(20)
        assert page.get("/api/ready").json()["ready"] is True


def test_the_server_needs_no_torch_to_start():
    code = "import sys; import gannet.lab.server; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_an_engine_that_cannot_be_imported_is_said(tmp_path, monkeypatch):
    room = Room(tmp_path)
    room.problem = "the engine could not be loaded: ImportError: no torch"
    with client(tmp_path, room=room) as page:
        assert page.get("/api/ready").json() == {"ready": False, "error": room.problem}
        assert page.post("/api/sessions", json={}).json()["error"] == room.problem


# ---------------------------------------------------------------------------------------------------- a real server


@pytest.fixture
def served(tmp_path):
    """A real server on a free port: its address, and the room with its sessions."""
    listener = server.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    room = Room(tmp_path)
    running = server.make_server(create_app(tmp_path, server.addresses("127.0.0.1", port), room=room))
    thread = threading.Thread(target=lambda: running.run(sockets=[listener]))
    thread.start()
    assert room.ready.wait(60)
    yield f"127.0.0.1:{port}", room
    running.should_exit = True
    thread.join(20)
    listener.close()
    assert not thread.is_alive()


def ask(address: str, path: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_frames_come_over_a_real_socket(served):
    address, room = served
    assert ask(address, "/api/catalog")["objectives"]
    name = ask(address, "/api/sessions", {"state": SMALL})["id"]
    with connect(f"ws://{address}/api/sessions/{name}/frames", origin=f"http://{address}") as stream:
        stream.send("ready")
        header, arrays = unpack(stream.recv(timeout=20))
        assert header["step"] == 0
        assert arrays["real"].shape == (450, 2)
        assert arrays["heat"].shape == (50, 50)
        ask(address, f"/api/sessions/{name}/do", {"command": "play"})
        steps, began = [], time.monotonic()
        while time.monotonic() - began < 1.0:
            stream.send("ready")
            data = stream.recv(timeout=20)
            assert len(data) <= MOST
            steps.append(unpack(data)[0]["step"])
        assert len(steps) <= 21, "at most 20 a second"
        assert steps == sorted(steps)
        assert steps[-1] > 0
        before = ask(address, f"/api/sessions/{name}/status")["step"]
        time.sleep(0.3)  # nobody is ready: training goes on
        assert ask(address, f"/api/sessions/{name}/status")["step"] > before
    deadline = time.monotonic() + 10
    while room.sessions[name].watched and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not room.sessions[name].watched, "a reader that left is forgotten"


def test_a_socket_hears_one_word_and_ends_with_its_session(served):
    address, _ = served
    name = ask(address, "/api/sessions", {"state": SMALL})["id"]
    where = f"ws://{address}/api/sessions/{name}/frames"
    with connect(where) as stream:
        stream.send("rm -rf")
        with pytest.raises(ConnectionClosed):
            stream.recv(timeout=20)
    with connect(where) as stream:
        stream.send("ready")
        stream.recv(timeout=20)
        stream.send("ready")
        request = urllib.request.Request(f"http://{address}/api/sessions/{name}", method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()
        with pytest.raises(ConnectionClosed):
            stream.recv(timeout=20)


def test_a_page_that_is_left_while_its_frame_is_painted_is_no_error():
    class Left:
        heard = 0

        async def receive(self):
            self.heard += 1
            await asyncio.sleep(0 if self.heard == 1 else 60)
            return {"type": "websocket.receive", "text": "ready"}

        async def send_bytes(self, data):
            raise WebSocketDisconnect(1006)

    class Painted:
        def ask(self, reader):
            found = Future()
            found.set_result(b"a frame")
            return found

    # In a thread of its own, for a browser driven by another test leaves a running loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, asyncio.wait_for(_show(Left(), Painted()), 10)).result()


@pytest.mark.parametrize(
    ("path", "origin"), [("/api/sessions/none/frames", None), ("/api/sessions/NAME/frames", "http://evil.example")]
)
def test_a_socket_of_a_stranger_is_refused(served, path, origin):
    address, _ = served
    name = ask(address, "/api/sessions", {"state": SMALL})["id"]
    with pytest.raises(InvalidStatus), connect(f"ws://{address}{path.replace('NAME', name)}", origin=origin):
        pass
