"""Who is served, and who is not."""

from __future__ import annotations

import socket

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from ritornello.errors import ConfigError, MusicError
from ritornello.studio.server import MOST_BYTES, create_app, link, listen
from tests.studio.fakes import in_a_thread

LOCAL = "http://127.0.0.1:8000"
router = APIRouter()


@router.get("/hello/{name}")
def hello(name: str) -> str:
    if name == "noise":
        raise MusicError("it is not music.")
    return name


@router.post("/body")
async def body(data: dict) -> int:
    return len(data)


def client(base: str = LOCAL, **settings) -> TestClient:
    return TestClient(create_app(routers=[router], **settings), base_url=base, follow_redirects=False)


def test_this_machine_is_served_with_headers_that_keep_other_pages_out():
    answer = client().get("/")
    assert answer.status_code == 200
    assert "Ritornello" in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:7000"])
def test_every_loopback_name_is_welcome(base: str):
    assert client(base).get("/hello/you").json() == "you"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::1].evil"])
def test_a_foreign_name_is_refused(host: str):
    answer = client().get("/hello/you", headers={"host": host})
    assert answer.status_code == 403
    assert "own machine" in answer.json()["error"]


def test_another_sites_page_is_refused():
    own, other = client(), client()
    assert own.get("/hello/you", headers={"origin": LOCAL}).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert other.get("/hello/you", headers={"origin": origin}).status_code == 403


def test_with_a_token_nobody_enters_without_it():
    visitor = client("http://192.0.2.7:8000", token="s3cret")
    assert visitor.get("/").status_code == 401
    assert visitor.get("/?token=guess").status_code == 401
    assert visitor.get("/", cookies={"ritornello_token": "guess"}).status_code == 401
    page = visitor.get("/", headers={"accept": "text/html,*/*"})  # as browsers ask for pages: told to a person
    assert page.status_code == 401
    assert page.headers["content-type"].startswith("text/html")
    assert "open the whole link" in page.text


def test_the_token_moves_from_the_link_into_a_cookie():
    visitor = client("http://192.0.2.7:8000", token="s3cret")
    answer = visitor.get("/hello/you?token=s3cret&x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/hello/you?x=1")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"]
    assert visitor.get("/hello/you").json() == "you"


def test_a_link_with_a_token_leads_nowhere_else():
    visitor = client("http://192.0.2.7:8000", token="s3cret")
    assert visitor.get("http://192.0.2.7:8000//evil.example?token=s3cret").headers["location"] == "/evil.example"


def test_open_paths_need_no_token_and_others_do():
    visitor = client("http://192.0.2.7:8000", token="s3cret", open_paths=["/hello/"])
    assert visitor.get("/hello/you").json() == "you"
    assert visitor.get("/").status_code == 401


def test_a_body_over_the_limit_is_refused():
    answer = client().post("/body", content=b"x" * (MOST_BYTES + 1))
    assert answer.status_code == 413


def test_a_stream_over_the_limit_is_refused_before_its_end():
    app, read, told = create_app(routers=[router]), [], []

    async def receive():
        read.append(2**16)
        return {"type": "http.request", "body": bytes(2**16), "more_body": True}

    async def send(message):
        told.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/body", "headers": headers, "query_string": b""}
    in_a_thread(app({**scope, "http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send))
    assert told[0]["status"] == 413
    assert sum(read) <= MOST_BYTES + 2**16


def test_errors_are_one_sentence():
    told = client().get("/hello/noise")
    assert (told.status_code, told.json()) == (422, {"error": "it is not music."})
    assert client().get("/nowhere").json() == {"error": "Not Found"}
    assert "valid dictionary" in client().post("/body", json=[1]).json()["error"]


@pytest.mark.parametrize(
    "path", ["/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/..\\server.py", "//etc/passwd", "/C:/windows"]
)
def test_no_path_leads_out_of_the_folder(path: str):
    assert client().get(path).status_code in (404, 405)


def test_who_opens_the_link_is_not_refused_though_nobody_answers_yet():
    with listen("127.0.0.1", 0) as ear, socket.create_connection(ear.getsockname(), timeout=5):
        assert link("127.0.0.1", ear, None) == f"http://127.0.0.1:{ear.getsockname()[1]}/"
        assert link("::1", ear, "secret").startswith("http://[::1]:")
        for everywhere in ("0.0.0.0", "::"):  # which no browser could open
            assert everywhere not in link(everywhere, ear, "secret").removeprefix("http://")


def test_a_port_that_is_taken_is_one_sentence():
    with listen("127.0.0.1", 0) as ear, pytest.raises(ConfigError, match="cannot be served: Address already in use"):
        listen("127.0.0.1", ear.getsockname()[1])
