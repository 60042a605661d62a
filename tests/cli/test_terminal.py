"""What is printed is what was meant: brackets, escapes, and streams that cannot show everything."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console, Group
from rich.table import Table

from benchmark.cli import app, doctor, printing
from benchmark.config import grid
from benchmark.errors import UsageError
from benchmark.perf import scale
from benchmark.report.build import build
from benchmark.report.figures import write
from benchmark.sweep import results
from benchmark.terminal import Terminal, say
from tests.report import fakes

ROOT = Path(__file__).resolve().parents[2]
SWEEP = {"name": "x", "datasets": ["digits"], "methods": ["fine_tuning"], "seeds": 1, "runtime": {"device": "cpu"}}


def smilebench(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-m", "benchmark", *arguments], cwd=cwd, env=whole, capture_output=True, check=False)


@pytest.mark.parametrize("text", ["[v2]", "[/v2]", "[red]x", "no such files: [/data/a, /data/b]", ":smile:", "x" * 500])
def test_text_is_printed_as_it_is(text: str) -> None:
    for console in (Console(file=io.StringIO(), width=80), Terminal(file=io.StringIO(), width=80)):
        say(console, text)
        assert console.file.getvalue() == text + "\n"


@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\x07", "a\rb", "\x9b31m", "\u202eabc"])
def test_what_would_steer_a_terminal_is_shown_instead(text: str) -> None:
    console = Terminal(file=io.StringIO(), width=80)
    say(console, text)
    console.print(Table(text))
    shown = console.file.getvalue()
    assert not set(shown) & set("\x1b\x07\r\x9b\u202e")
    assert "\\" in shown


def test_tables_show_brackets_in_their_cells_and_headings() -> None:
    console = Terminal(file=io.StringIO(), width=80)
    table = Table("[a]", title="[/t]")
    table.add_row("photo [final].jpg")
    console.print(table)
    assert all(text in console.file.getvalue() for text in ("[a]", "[/t]", "photo [final].jpg"))


@pytest.mark.parametrize("name", ["[v2]", "[/v2]"])
def test_a_folder_with_brackets_is_planned_by_its_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name.replace("/", "_")
    folder.mkdir()
    (folder / "x.yaml").write_text(yaml.safe_dump(SWEEP))
    done = smilebench("plan", str(folder / "x.yaml"), "--out", name.strip("/"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert folder.name in done.stdout.decode()


class Stream(io.TextIOWrapper):
    """A terminal or log file of one encoding, as ``accept_any_text`` leaves it."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="nearest")

    @property
    def shown(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    ("encoding", "width"), [("latin-1", 132), ("ascii", 132), ("cp437", 100), ("koi8-r", 40), ("ascii", 40), ("utf-8", 20)]
)
def test_the_tables_of_a_sweep_are_shown_on_any_terminal(
    encoding: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative difference with its interval, whatever the letters and the width; no number is lost."""
    monkeypatch.setattr(write, "PER_GROUP", ())
    methods = ("fine_tuning", "smile")
    expected = fakes.grid(methods, seeds=2)
    fakes.write_sweep(tmp_path, expected)
    for item in expected[2:]:
        path = tmp_path / "runs" / item.run_id / "record.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": 0.125}))
    found = build(tmp_path, fakes.info(methods), expected)
    (difference,) = [cell.text for cell in found.tables[0].rows[1] if cell.text.startswith("−")]
    stream = Stream(encoding)
    results.show(found, Terminal(file=stream, width=width))
    shown = " ".join(stream.shown.split())
    text = difference if encoding == "utf-8" else difference.replace("−", "-")
    text = text if encoding in ("utf-8", "latin-1", "cp437") else text.replace("±", "+-")
    for word in ("fine_tuning", "smile", "12.5", *text.split(), str(found.html)):
        assert word in shown
    assert len({len(line) for line in stream.shown.splitlines() if line[:1] in ("|", "+", "┃", "│")}) <= 1, "columns are aligned"


@pytest.mark.parametrize(("encoding", "minus", "interval"), [("latin-1", "-", "±"), ("ascii", "-", "+-"), ("utf-8", "−", "±")])
def test_a_report_is_made_and_shown_whatever_the_encoding(
    encoding: str, minus: str, interval: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: standard output is strict, as Python opens it."""
    monkeypatch.setattr(write, "PER_GROUP", ())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**SWEEP, "methods": ["fine_tuning", "l2_sp"], "seeds": 2}))
    for run in grid.load("x.yaml").runs:
        folder = tmp_path / "results" / "x" / "runs" / run.run_id
        folder.mkdir(parents=True)
        accuracy = 0.5 + 0.01 * run.seed - 0.25 * (run.method == "l2_sp") * (1 + run.seed)
        (folder / "record.json").write_text(json.dumps({**scale.record(run, 1), "test_accuracy": accuracy}))
    strict = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", strict)
    monkeypatch.setattr(sys, "argv", ["smilebench", "report", "x.yaml"])
    with contextlib.suppress(SystemExit):
        app.main()
    strict.flush()
    shown = " ".join(strict.buffer.getvalue().decode(encoding).split())
    assert f" {minus}37.5 {interval} 158.8 " in shown, "the difference of 25 and of 50 points"
    assert "report: results/x/report.html" in shown
    assert (tmp_path / "results" / "x" / "report.html").is_file()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_table_too_wide_for_the_terminal_is_written_line_by_line(width: int) -> None:
    console = Terminal(file=io.StringIO(), width=width)
    table = Table("method", "accuracy", *(f"column {n} of many" for n in range(8)), title="a title", caption="a caption")
    table.add_row("fine_tuning", "8.8 [/x]", *["letters"] * 8)
    console.print(Group("first", table))
    lines = console.file.getvalue().splitlines()
    assert [line.strip() for line in lines[:6]] == ["first", "a title", "a caption", "", "method: fine_tuning", "accuracy: 8.8 [/x]"]
    wide = Terminal(file=io.StringIO(), width=200)
    wide.print(table)
    assert any("fine_tuning" in line and "8.8 [/x]" in line for line in wide.file.getvalue().splitlines())


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_stream_that_cannot_show_a_character_gets_another(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**SWEEP, "methods": ["fine_tuning", {"name": "日本−1", "use": "l2_sp"}]}))
    done = smilebench("plan", "x.yaml", "--out", "日−本", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"?-?" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "x.yaml"),
        ("figures", "x.yaml", "--out", "nowhere"),
        ("logs", "**"),
        ("logs", "../../../x"),
        ("plan", "x" * 300 + ".yaml"),
        ("plan", "x.yaml", "training.lr=[", "--out", "y"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(SWEEP))
    done = smilebench(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert done.stderr.decode().startswith("error: ")
    assert not (tmp_path / "nowhere").exists()


def test_logs_takes_the_beginning_of_a_run_id_and_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "x" / "runs" / "digits-1-a-s0").mkdir(parents=True)
    printing.show_logs("digits-1", tmp_path, Terminal(file=io.StringIO()))
    for wrong in ("*", "", "../runs/digits"):
        with pytest.raises(UsageError, match="no run"):
            printing.show_logs(wrong, tmp_path, Terminal(file=io.StringIO()))


def test_a_printed_command_does_what_it_says(tmp_path: Path) -> None:
    origin = grid.read("quick", ["seeds=1", "methods=[fine_tuning]", "overrides=[]"], tmp_path / "a folder")
    line = origin.command("cancel")
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == [
        "smilebench",
        "cancel",
        "quick",
        "seeds=1",
        "methods=[fine_tuning]",
        "overrides=[]",
        "--out",
        str(tmp_path / "a folder"),
    ]
    plain = grid.read("quick").command("status", "--watch")
    assert plain == "smilebench status quick --watch"


def test_doctor_tells_what_is_wrong_and_never_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_ASK_TORCH", "import sys; sys.exit('driver too old')")
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "not-a-package"))
    monkeypatch.setattr(doctor, "clock", lambda folder: 0.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SMILEBENCH_CACHE", "~nobody_here/x")
    console = Terminal(file=io.StringIO(), width=200)
    assert doctor.doctor(console) in (0, 2)  # 2 where Slurm's programs are here in part
    shown = console.file.getvalue()
    for word in ("numbers 0", "driver too old", "not installed: not-a-package", "the clock", "set SMILEBENCH_CACHE", "Slurm", "to look at"):
        assert word in shown
    assert shown.count("\n") < 25
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    doctor.doctor(console)
    assert "auto: precision: fp32 (auto: a CPU)" in console.file.getvalue()
