import io
import json
import os
import time

import pytest
from rich.console import Console

from benchmark.storage.run_folder import STALE_SECONDS, claim, write_json, write_record
from benchmark.sweep.progress import LiveView, View, duration, open_view, size
from benchmark.sweep.status import collect, render, watch
from benchmark.terminal import Terminal, say
from tests.sweep.sweeping import make, run


def a_sweep(folder):
    """One run in every state, two of them stale or gone."""
    runs = make(folder, {name: {} for name in ("queued", "running", "stopped", "gone", "failed", "done")})
    own = claim(run(folder, "running").path, "s")
    info = json.loads((own.run.claims / "1").read_text())
    (own.run.claims / "1").write_text(json.dumps({**info, "time": 1000.0}))
    own.beat({"step": 25, "total": 100, "phase": "train", "images_per_second": 40.0, "updated": 1010.0})
    claim(run(folder, "stopped").path, "s").end("interrupted")
    claim(run(folder, "gone").path, "s")
    gone = run(folder, "gone").claims / "1"
    gone.write_text(json.dumps({**json.loads(gone.read_text()), "machine": "elsewhere", "host": "node7"}))
    os.utime(gone, (time.time() - 2 * STALE_SECONDS,) * 2)
    (run(folder, "gone").path / "checkpoint").mkdir()
    write_json(run(folder, "gone").path / "checkpoint" / "step.json", {"step": 30})
    claim(run(folder, "failed").path, "s").fail({"reason": "loss is not finite\nmore", "kind": "nan", "traceback": "", "step": 5})
    write_record(run(folder, "done").path, {})
    return [*runs, "never made"]


def test_status_counts_every_state_and_explains_what_is_neither_queued_nor_done(tmp_path):
    status = collect(tmp_path, a_sweep(tmp_path))
    assert status.counts == {"new": 2, "running": 1, "interrupted": 2, "failed": 1, "done": 1}
    assert [row.run_id for row in status.rows] == ["running", "gone", "stopped", "failed"]
    running, gone, stopped, failed = status.rows
    assert (running.step, running.total, running.phase, running.images_per_second) == (25, 100, "train", 40.0)
    assert running.seconds_left == 30.0  # 25 steps took 10 s
    assert running.beat_age < 5
    assert (gone.host, gone.step, gone.reason) == ("node7", 30, "its process is gone")
    assert stopped.reason == "interrupted"
    assert failed.reason == "loss is not finite\nmore"
    assert not status.finished


def test_status_is_shown_in_words(tmp_path):
    shown = io.StringIO()
    Console(file=shown, width=300).print(render(collect(tmp_path, a_sweep(tmp_path))))
    text = shown.getvalue()
    assert "2 queued, 1 running, 2 interrupted, 1 failed, 1 done" in text
    assert "25/100" in text
    assert "30 s" in text
    assert "loss is not finite" in text
    assert "more" not in text
    assert str(run(tmp_path, "failed").log_path) in text


def test_status_of_a_sweep_never_started(tmp_path):
    assert collect(tmp_path / "none", ["a", "b"]).counts["new"] == 2


def test_watching_ends_with_the_sweep(tmp_path):
    runs = make(tmp_path, {"a": {}})
    write_record(run(tmp_path, "a").path, {})
    assert watch(tmp_path, runs, Console(file=io.StringIO())).finished


def seen(view: View) -> str:
    return view.console.file.getvalue()


def test_plain_lines_tell_each_result_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    view = View(Console(file=io.StringIO(), width=200))
    view.begin(["a", "b", "c", "d"], already=3)
    assert view.seconds_left() is None
    view.started("a", 0)
    view.progress("a", {"step": 50, "total": 100, "phase": "train", "images_per_second": 8.0})
    now[0] = 10.0
    assert view.seconds_left() == 70.0  # half of one run in 10 s
    view.finished("a", "done", None)
    view.started("b", 40)
    view.finished("b", "failed", "loss is not finite\nmore")
    now[0] = 31.0
    view.tick()
    assert seen(view).splitlines() == [
        "3 runs done before, 4 to do",
        "1/4 a: done",
        "b: resumes at step 40",
        "2/4 b: FAILED: loss is not finite",
        "2/4 finished, 0 running, 1 failed, waiting for workers to start, or for runs that another sweep command holds, about 31 s left",
    ]


def test_after_the_last_step_a_line_tells_what_is_measured_and_no_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    view = View(Console(file=io.StringIO(), width=200))
    view.begin(["a", "b"], already=0)
    for run_id in ("a", "b"):
        view.started(run_id, 0)
        view.progress(run_id, {"step": 100, "total": 100, "phase": "evaluate test 640/5647", "images_per_second": 0.0})
        now[0] += 10
        if run_id == "a":
            view.finished("a", "done", None)
    assert view.seconds_left() is None
    assert view.summary() == "1/2 finished, 1 running, evaluate test 640/5647"
    view.progress("b", {"step": 50, "total": 100, "phase": "train", "images_per_second": 8.0})
    assert view.summary() == "1/2 finished, 1 running, about 7 s left"


def test_a_terminal_gets_a_live_table():
    view = open_view(Console(file=io.StringIO(), force_terminal=True, width=120))
    assert isinstance(view, LiveView)
    assert type(open_view(Console(file=io.StringIO()))) is View
    view.begin(["a"], already=0)
    view.started("a", 0)
    view.progress("a", {"step": 5, "total": 10, "phase": "train", "images_per_second": 8.0})
    view.tick()
    view.end()
    assert "5/10" in seen(view)


def test_sizes_are_readable():
    assert [size(count) for count in (0, 14e3, 3.21e6, 999.6e6, 120e9)] == ["0.0 kB", "14 kB", "3.2 MB", "1.0 GB", "120 GB"]


def test_durations_are_readable():
    assert [duration(seconds) for seconds in (8, 300, 11520)] == ["8 s", "5 min", "3.2 h"]


@pytest.mark.parametrize("claim_text", ["", "[]", '{"time": "x", "start_step": null, "host": 3}'])
@pytest.mark.parametrize("progress", ['{"step": 5, "total": 10, "updated": 7.0}', "[]", '{"step": "x", "total": [], "phase": 3}'])
def test_a_torn_claim_of_a_running_run_is_shown(tmp_path, claim_text, progress):
    make(tmp_path, {"a": {}})
    claim(run(tmp_path, "a").path, "s")
    (run(tmp_path, "a").claims / "1").write_text(claim_text)
    run(tmp_path, "a").progress_path.write_text(progress)
    found = collect(tmp_path, ["a"])
    assert found.counts["running"] == 1
    Console(file=io.StringIO()).print(render(found))


def test_a_heartbeat_in_the_future_is_shown_as_one(tmp_path):
    make(tmp_path, {"a": {}})
    claim(run(tmp_path, "a").path, "s")
    os.utime(run(tmp_path, "a").claims / "1", (time.time() + 60,) * 2)
    shown = io.StringIO()
    Console(file=shown, width=300).print(render(collect(tmp_path, ["a"])))
    assert "s ahead of the clock" in shown.getvalue()


@pytest.mark.parametrize(
    ("reason", "seen"),
    [
        ("no such files: [/data/a, /data/b]", "no such files: [/data/a, /data/b]"),
        ("photo [final].jpg", "photo [final].jpg"),
        ("[bold]x[/bold] :smile:", "[bold]x[/bold] :smile:"),
        ("a\x1b[2Jb\x1b]0;title\x07", "a\\x1b[2Jb\\x1b]0;title\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
    ],
)
def test_a_reason_is_shown_as_it_is_by_status_and_plan(tmp_path, reason, seen):
    make(tmp_path, {"a": {}})
    claim(run(tmp_path, "a").path, "s").fail({"reason": reason, "kind": "error", "traceback": "", "step": 5})
    shown = io.StringIO()
    console = Terminal(file=shown, width=300)
    console.print(render(collect(tmp_path, ["a"])))
    say(console, f"failed: a: {run(tmp_path, 'a').failure()['reason']}", "red")
    assert shown.getvalue().count(seen) == 2
    assert not set(shown.getvalue()) & set("\x1b\x07\u202e")
