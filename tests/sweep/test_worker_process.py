"""What a worker process is started with."""

from pathlib import Path

import pytest

from benchmark.sweep.worker_process import _environment, _event


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
