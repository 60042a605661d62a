"""What a worker process is started with."""

from pathlib import Path

import pytest

from benchmark.sweep.worker_process import _environment


def test_workers_share_one_cache_of_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert _environment("0", 1)["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert _environment("0", 1)["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
