"""Downloads are resumed, checked, and taken from the next mirror when one fails; against a server on this machine."""

import contextlib
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
    """``/whole``: with ranges. ``/plain``: without. ``/wrong``: other bytes. ``/broken``: breaks off half-way.

    Their answers do not say which bytes they hold. Those of ``/odd/...`` say what the rest of the path says, else 404.
    """

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.path.startswith("/odd/"):
            self.odd(asked)
            return
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

    def odd(self, asked: str | None) -> None:
        """``/odd/STATUS/FROM/HEADER=VALUE,...``: the content from byte FROM (``asked``: as asked) under these headers."""
        _, _, status, start, *headers = self.path.split("/", 4)
        first = int(asked.removeprefix("bytes=").rstrip("-")) if start == "asked" and asked else int(start) if start.isdigit() else 0
        self.send_response(int(status) if asked else 200)
        for header in "/".join(headers).split(","):
            name, _, value = header.partition("=")
            if name and (asked or name != "Content-Range"):
                self.send_header(name, value.replace("+", " "))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # of a client that has seen enough
            self.wfile.write(CONTENT[first:])

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


SIZE, HALF = len(CONTENT), len(CONTENT) // 2


@pytest.mark.parametrize(
    "answer",
    [
        f"206/asked/Content-Range=bytes+{HALF}-{SIZE - 1}/{SIZE}",
        f"206/asked/Content-Range=bytes+{HALF}-{SIZE - 1}/*,Content-Length={HALF}",
        f"206/0/Content-Range=bytes+0-{SIZE - 1}/{SIZE}",
        f"206/0/Content-Length={SIZE}",
        f"200/0/Content-Length={SIZE}",
    ],
    ids=["the rest", "the rest of unknown length", "all again", "all again without a word", "all as new"],
)
def test_without_a_checksum_a_continued_file_is_whole(server, tmp_path: Path, answer: str) -> None:
    (tmp_path / "data.tar.part").write_bytes(CONTENT[:HALF])
    assert fetch(source(server, f"/odd/{answer}", md5=""), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"206/0/Content-Range=bytes+{HALF}-{SIZE - 1}/{SIZE}", f"sent {SIZE + HALF} bytes of a file of {SIZE}"),
        (f"206/asked/Content-Range=bytes+7-{SIZE - 1}/{SIZE}", "sent 'bytes 7-"),
        (f"206/asked/Content-Range=bytes+{HALF}-{SIZE - 1}/{SIZE},Content-Length=7", "of length 7"),
        ("206/asked/Content-Range=half", "sent 'half'"),
        ("200/0/Content-Length=abc", "states a length of 'abc'"),
        ("200/0/Content-Length=-5", "states a length of '-5'"),
        ("200/7/", "does not say how long the file is"),
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused(server, tmp_path: Path, answer: str, reason: str) -> None:
    (tmp_path / "data.tar.part").write_bytes(CONTENT[:HALF])
    with pytest.raises(DataError, match=reason):
        fetch(source(server, f"/odd/{answer}", md5=""), tmp_path)
    assert not (tmp_path / "data.tar").exists()


def test_a_checksum_tells_where_the_server_states_no_length(server, tmp_path: Path) -> None:
    assert fetch(source(server, "/odd/200/0/"), tmp_path).read_bytes() == CONTENT
    with pytest.raises(DataError, match="md5"):
        fetch(Source("other.tar", (source(server, "/odd/200/7/").urls), MD5), tmp_path)
