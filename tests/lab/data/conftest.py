"""A cache of its own for each test, a local server of files, and the real data where it is."""

import os
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tenfold.lab.data import _catalogue

REAL = os.environ.get("TENFOLD_DATA", "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no TENFOLD_DATA, and no network until a test asks for the server."""
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TENFOLD_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TENFOLD_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder that TENFOLD_DATA names."""
    path = tmp_path / "mine"
    path.mkdir()
    monkeypatch.setenv("TENFOLD_DATA", str(path))
    return path


@pytest.fixture
def real(monkeypatch):
    """`real(name)` points TENFOLD_DATA at the real files, or skips where they are absent."""

    def point(name):
        monkeypatch.setenv("TENFOLD_DATA", REAL)
        if not REAL or not os.path.isdir(os.path.join(REAL, name)):
            pytest.skip(f"TENFOLD_DATA={REAL!r} holds no {name}/")

    return point


@dataclass
class Server:
    address: str
    files: dict = field(default_factory=dict)
    """Path -> bytes."""
    announce: int = 0
    """Bytes that it promises beyond those that it sends."""
    asked: list = field(default_factory=list)
    """Paths, in the order of the requests."""


@pytest.fixture(scope="module")
def _running():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            body = server.files.get(self.path)
            if body is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + server.announce))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        server = Server(f"http://127.0.0.1:{httpd.server_port}/")
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield server
        httpd.shutdown()
        thread.join()


@pytest.fixture
def server(_running, monkeypatch):
    """A local server with no files yet; the network is allowed."""
    monkeypatch.delenv("TENFOLD_OFFLINE")
    _running.files, _running.announce, _running.asked = {}, 0, []
    return _running


@pytest.fixture
def tweak(monkeypatch):
    """`tweak(name, homes=..., files=...)` replaces fields of a row of the catalogue."""

    def change(name, **fields):
        changed = replace(_catalogue.entry(name), **fields)
        monkeypatch.setitem(_catalogue.CATALOGUE, name, changed)
        return changed

    return change
