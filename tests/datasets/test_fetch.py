"""Downloads are resumed, checked, and taken from the next mirror when one fails; against a server on this machine."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datasets.base import DataError, Source
from datasets.fetch import fetch

CONTENT = np.random.default_rng(0).bytes(3 << 20)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """``/whole``: with ranges. ``/plain``: without. ``/wrong``: other bytes. ``/broken``: breaks off half-way. Else 404."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.path not in ("/whole", "/plain", "/wrong", "/broken"):
            self.send_error(404)
            return
        body = CONTENT[::-1] if self.path == "/wrong" else CONTENT
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path != "/plain" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2] if self.path == "/broken" else body[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def source(server: ThreadingHTTPServer, *paths: str, md5: str = MD5) -> Source:
    return Source("data.tar", tuple(f"http://127.0.0.1:{server.server_port}{path}" for path in paths), md5)


def test_a_file_is_fetched_once(server, tmp_path: Path) -> None:
    counts = []
    for _ in range(2):
        file = fetch(source(server, "/whole"), tmp_path, lambda name, done, total: counts.append((name, done, total)))
        assert file.read_bytes() == CONTENT
    assert server.requests == [("/whole", None)]
    assert counts[-1] == ("data.tar", len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("mirror", ["/whole", "/plain"])
def test_a_broken_download_goes_on_at_the_mirror(server, tmp_path: Path, mirror: str) -> None:
    assert fetch(source(server, "/broken", mirror), tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/broken", None), (mirror, f"bytes={len(CONTENT) // 2}-")]


def test_a_broken_download_goes_on_at_the_next_command(server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"broke off after \d+ of \d+ bytes; run the command again"):
        fetch(source(server, "/broken"), tmp_path)
    assert not (tmp_path / "data.tar").exists()
    assert fetch(source(server, "/whole"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/whole", f"bytes={len(CONTENT) // 2}-")


def test_a_download_killed_before_its_renaming_is_finished(server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.part").write_bytes(CONTENT)
    assert fetch(source(server, "/whole"), tmp_path).read_bytes() == CONTENT


def test_wrong_bytes_are_thrown_away(server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/gone: HTTP Error 404.*/wrong: its md5 is not"):
        fetch(source(server, "/gone", "/wrong"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(source(server, "/wrong", "/whole"), tmp_path).read_bytes() == CONTENT


def test_what_was_held_of_another_file_is_not_kept(server, tmp_path: Path) -> None:
    (tmp_path / "data.tar.part").write_bytes(b"the beginning of an older release")
    assert fetch(source(server, "/whole", "/plain"), tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(server, tmp_path: Path) -> None:
    (tmp_path / "data.tar").write_bytes(CONTENT[:-1])
    assert fetch(source(server, "/whole"), tmp_path).read_bytes() == CONTENT


def test_what_nobody_offers_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.tar: nobody offers it"):
        fetch(Source("data.tar"), tmp_path)


def test_two_at_once_fetch_one_file(server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch, args=(source(server, "/whole"), tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "data.tar").read_bytes() == CONTENT
    assert server.requests == [("/whole", None)]


def test_a_download_that_does_not_fit_on_the_disk_is_refused(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DataError, match=f"has 10 bytes free, but {len(CONTENT)} are to come"):
        fetch(source(server, "/whole"), tmp_path)
