"""What a worker process is started with, and what is heard of it."""

import io
import json
import os
import queue
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark.sweep.worker_process import WorkerProcess, _environment, _event


def test_workers_share_one_cache_of_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert _environment("0", 1)["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert _environment("0", 1)["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


@pytest.mark.parametrize("line", [b'{"event": "done", "run_', b"hello\n", b"[]\n", b'{"no": "event"}\n', b"\xff\xfe\n", b"[" * 100_000])
def test_a_line_that_is_no_event_is_left_out(line: bytes) -> None:
    assert _event(line) is None
    assert _event(b'{"event": "ready"}\n') == {"event": "ready"}


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"\xff\xfe\n", b'{"event": 3}\n', b"\x00" * 70_000 + b"\n"])
def test_what_follows_a_line_that_is_no_event_is_heard_to_the_last_word(line: bytes) -> None:
    reader, writer = os.pipe()
    worker = WorkerProcess.__new__(WorkerProcess)
    worker._stdout = io.FileIO(reader)
    heard: queue.Queue[object] = queue.Queue()
    worker.listen(lambda _, event: heard.put(event))
    with open(writer, "wb") as file:
        file.write(b'{"event": "ready"}\n' + line + b'{"event": "done"}\n' + line[:-1])
    assert [heard.get(timeout=10) for _ in range(3)] == [{"event": "ready"}, {"event": "done"}, None]


def test_a_long_line_is_sent_whole_though_the_pipe_takes_it_in_parts() -> None:
    taken: list[bytes] = []

    def write(part: bytes) -> int:
        taken.append(part[:1000])
        return len(taken[-1])

    worker = WorkerProcess.__new__(WorkerProcess)
    worker._stdin = SimpleNamespace(write=write)
    worker.send({"runs": ["x" * 60] * 2000})
    assert len(taken) > 100
    assert json.loads(b"".join(taken)) == {"runs": ["x" * 60] * 2000}


def test_a_worker_that_has_just_ended_can_still_be_told_to_end_and_is_heard(tmp_path: Path) -> None:
    worker = WorkerProcess(0, "cpu", 1, tmp_path / "log")
    assert worker._process.stdin is not None
    worker._process.stdin.close()  # before its order: it ends by itself
    os.waitid(os.P_PID, worker._process.pid, os.WEXITED | os.WNOWAIT)
    worker.stop()
    worker.cut_off()
    assert worker.cause_of_death() is None
    worker.reap()
