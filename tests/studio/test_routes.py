"""What the studio's server answers, to pages and to those who mean harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from ritornello.music.sheet import Sheet
from ritornello.studio.jobs import MOST_EACH
from ritornello.studio.routes import PAPERS, studio
from ritornello.studio.server import MOST_BYTES, create_app
from tests.songs import make_song
from tests.studio import fakes

SHEET = Sheet.of(make_song(1, 2)).model_dump_json()
FORGED = [
    "../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\windows\\win.ini",
    "file:///etc/passwd",
    "\0",
]


def as_wishes(bars: int) -> str:
    return json.dumps({"model": "fake", "wishes": {"bars": bars}})


def follow(client: TestClient, job: str, **headers: str) -> WebSocketTestSession:
    return client.websocket_connect(f"ws://127.0.0.1:8000/api/jobs/{job}", headers=headers)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(routers=[studio(["a model"], fakes.obedient)])
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=True) as client:
        yield client


def error_of(answer) -> str:
    return answer.json()["error"]


def test_it_tells_its_models_and_instruments(client: TestClient):
    told = client.get("/api/models").json()
    assert told["models"] == [{"name": "a model"}]
    assert (len(told["programs"]), told["programs"][0]) == (128, "acoustic grand piano")


@pytest.mark.parametrize("task", [task for task in PAPERS if task not in ("open_midi", "recipe")])
def test_every_paper_is_made(client: TestClient, task: str):
    answer = client.post(f"/api/songs/{task}", content=SHEET)
    assert answer.status_code == 200
    assert len(answer.content) > 100


def test_a_midi_file_goes_through(client: TestClient):
    opened = client.post("/api/songs/open_midi", content=make_song(1, 2).dumps_midi()).json()
    midi = client.post("/api/songs/midi", json=opened["sheet"]).content
    assert client.post("/api/songs/open_midi", content=midi).json()["sheet"] == opened["sheet"]


def test_sound_is_made(client: TestClient):
    answer = client.post("/api/sound", json={"stems": [{"notes": [[0, 0.2, 60, 90]]}]})
    assert np.abs(np.frombuffer(answer.content[8:], "<i2")).max() > 300


def test_only_tasks_for_pages_are_open(client: TestClient):
    for task in ("job", "sound", "TASKS", "__class__", "die", *FORGED):
        assert client.post(f"/api/songs/{quote(task, safe='')}", content=SHEET).status_code in (404, 405)


def test_bad_songs_are_one_sentence(client: TestClient):
    for content in (b"", b"{", b"\xff" * 1000, b"[]", b'{"parts": 5}', b"[" * 100_000):
        for task in PAPERS:
            answer = client.post(f"/api/songs/{task}", content=content)
            assert answer.status_code == 422, (task, content[:20])
            assert "Traceback" not in error_of(answer)


def test_too_much_is_refused(client: TestClient):
    assert client.post("/api/songs/midi", content=b"x" * (MOST_BYTES + 1)).status_code == 413


def test_a_job_is_told_draft_by_draft(client: TestClient):
    job = client.post("/api/jobs", content=as_wishes(3))
    assert job.status_code == 202
    told = []
    with follow(client, job.json()["job"]) as socket:
        while not told or "end" not in told[-1]:
            told.append(socket.receive_json())
    assert [message["draft"]["bars"] for message in told if "draft" in message] == [1, 2, 3]
    assert told[-1] == {"end": "done"}


def test_a_job_stops_when_its_page_says_so(client: TestClient):
    job = client.post("/api/jobs", content=as_wishes(100_000)).json()["job"]
    with follow(client, job) as socket:
        while "draft" not in socket.receive_json():
            pass
        socket.send_text("stop")
        while "end" not in (message := socket.receive_json()):
            pass
    assert message == {"end": "stopped"}


def denied(client: TestClient, name: str, **headers: str) -> int:
    """The status with which a WebSocket is refused."""
    with pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)) as refused, follow(client, name, **headers):
        pass
    return getattr(refused.value, "status_code", 404)  # a path that is no job's is closed before it is opened


def test_a_job_is_its_pages_alone(client: TestClient):
    job = client.post("/api/jobs", content=as_wishes(1)).json()["job"]
    assert denied(client, job, origin="https://evil.example") == 403
    assert denied(client, job, host="evil.example") == 403
    with follow(client, job):
        assert denied(client, job) == 404
    for name in ("guess", *FORGED):
        assert denied(client, quote(name, safe="")) == 404


def test_a_full_queue_says_so_and_when_to_come_back(client: TestClient):
    first = client.post("/api/jobs", content=as_wishes(100_000)).json()["job"]
    with follow(client, first) as socket:
        while "draft" not in socket.receive_json():
            pass
        answers = [client.post("/api/jobs", content=as_wishes(1)) for _ in range(MOST_EACH + 1)]
        assert [answer.status_code for answer in answers] == [202] * MOST_EACH + [429]
        assert answers[-1].headers["retry-after"] == "5"
        assert "waiting to be written" in error_of(answers[-1])
        socket.send_text("stop")
