"""Reasons, logs and tracebacks of runs hold whatever was written there: every command that shows them shows them as text."""

import os
from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, claim
from benchmark.sweep import carry_out, plan
from tests.commands import command

SWEEP = {
    "name": "x",
    "datasets": ["digits"],
    "methods": ["fine_tuning"],
    "seeds": 1,
    "training": {"steps": 2, "batch_size": 8, "image_size": 32},
    "runtime": {"device": "cpu"},
}
TEXTS = {
    "no such files: [/data/a, /data/b]": "no such files: [/data/a, /data/b]",
    "photo [final].jpg": "photo [final].jpg",
    "[/] [bold]x[/bold] :smile:": "[/] [bold]x[/bold] :smile:",
    "a\x1b[2Jb": "a\\x1b[2Jb",
    "a\x1b]0;title\x07\x9b31m\u202eb": "a\\x1b]0;title\\x07\\x9b31m\\u202eb",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of a sweep in the working folder, whose one run has not begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(yamlio.dump(SWEEP))
    found = grid.load("x.yaml")
    carry_out.create_folders(plan.make(found, tmp_path / "results" / "x"))
    return tmp_path / "results" / "x" / "runs" / found.runs[0].run_id


@pytest.mark.parametrize(("text", "seen"), TEXTS.items())
def test_a_reason_and_a_log_are_shown_as_they_are(text: str, seen: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = claim(folder, "s")
    assert own is not None
    own.fail({"reason": text, "kind": "error", "traceback": f"Traceback: {text}", "step": 5})
    RunFolder(folder).log_path.write_bytes(f"log: {text}\n".encode() + "é".encode()[:1])
    for arguments, times in (
        (("status", "x.yaml"), 1),
        (("plan", "x.yaml"), 1),
        (("report", "x.yaml"), 1),
        (("explain", "x.yaml", folder.name), 1),
        (("logs", folder.name), 3),
    ):
        code, shown = command(capsys, *arguments)
        assert (code, shown.count(seen) >= times) == (0, True), (arguments, shown)
        assert not set(shown) & set("\x1b\x07\x9b\u202e"), arguments
    page = (folder.parents[1] / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in page


@pytest.mark.parametrize("number", [5, 116, 36, 6, 40])  # EIO, ESTALE, ENAMETOOLONG, ENXIO, ELOOP
@pytest.mark.parametrize("verb", ["status", "plan", "sweep"])
def test_an_error_of_the_disk_is_said_in_a_line(
    verb: str, number: int, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    for name in ("state", "record", "failure", "create"):
        monkeypatch.setattr(RunFolder, name, broken)
    code, shown = command(capsys, verb, "x.yaml")
    assert (code, shown) == (2, f"error: {os.strerror(number)}: {folder}")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# caf\xe9\nname: y\n", b"- 1\n"])
def test_a_sweep_file_among_the_projects_own_is_listed_or_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "SWEEPS", tmp_path)
    (tmp_path / "ours.yaml").write_bytes(content)
    code, shown = command(capsys, "list", "sweeps")
    assert (code, shown.startswith("error: "), "ours.yaml" in shown) == (2, True, True)
