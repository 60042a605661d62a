"""Runs of several folders become one sweep: whole, once, and never in place of others; what does not fit is named."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.config import kept_auto
from benchmark.errors import UsageError
from benchmark.exchange import merge as merging
from benchmark.exchange import pack as packing
from benchmark.exchange.merge import Merged
from benchmark.report.collect import collect
from benchmark.storage.run_folder import RunFolder, claim
from benchmark.sweep.results import asked_for
from datasets.base import DataError
from tests.exchange.halves import Halves, files

CONSOLE = Console(quiet=True)


@pytest.fixture
def halves(tmp_path: Path) -> Halves:
    return Halves(tmp_path)


def merge(halves: Halves, *named: Path) -> Merged:
    return merging.merge(named, str(halves.file), [], halves.target, CONSOLE)


def state(folder: Path) -> dict[str, bytes]:
    return files(folder) if folder.exists() else {}


def test_the_runs_of_two_folders_become_those_of_the_whole_sweep_and_again_changes_nothing(halves: Halves) -> None:
    first, second, whole = halves.write("a", halves.seed(0)), halves.write("b", halves.seed(1)), halves.write("whole", halves.expected())
    before = files(first) | files(second)
    found = merge(halves, first, second)
    assert (found.copied, found.equal, found.problems) == (4, 0, ())
    assert files(halves.target / "runs") == files(whole / "runs")
    assert files(first) | files(second) == before
    inodes = {path: path.stat().st_ino for path in halves.target.rglob("*")}
    again = merge(halves, second, first)
    assert (again.copied, again.equal, again.problems) == (0, 4, ())
    assert {path: path.stat().st_ino for path in halves.target.rglob("*")} == inodes


def test_what_is_of_a_machine_stays_there(halves: Halves) -> None:
    source = halves.write("a", halves.seed(0))
    run = next((source / "runs").iterdir())
    for name in ("claims/1", "checkpoint/state.pt", "progress.json", ".tmp-0123", "tensorboard/events"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("{}")
    (source / "slurm" / "submissions").mkdir(parents=True)
    (source / "slurm" / "submissions" / "x.json").write_text('{"job": "77"}')
    merge(halves, source)
    taken = {path.name for path in (halves.target / "runs" / run.name).iterdir()}
    assert taken == {"config.yaml", "curves.jsonl", "linearity.csv", "predictions.parquet", "record.json", "tensorboard"}
    assert [path.name for path in halves.target.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("file", "field", "ours", "theirs"),
    [
        ("record.json", "test_accuracy", "0.25", "0.5"),
        ("record.json", "linearity.test.feature", "0.125", "0.5"),
        ("record.json", "precision", "fp32", "bf16"),
        ("curves.jsonl", "curves.jsonl, row 2, lr", "0.01", "0.5"),
        ("linearity.csv", "linearity.csv, row 2, text", "train,0.0,0.0,0.0,0.0,0.0,64", "train,0.0,0.0,0.0,0.0,0.0,65"),
        ("predictions.parquet", "predictions.parquet, row 2, top1", "4", "5"),
    ],
)
def test_a_conflict_is_named_and_nothing_is_overwritten(halves: Halves, file: str, field: str, ours: str, theirs: str) -> None:
    chosen = halves.seed(0)
    linearity = {split: dict.fromkeys(("feature", "feature_rel", "label_l1", "label_kl"), 0.125) for split in ("train", "test")}
    same = {"test_accuracy": 0.25, "linearity": linearity}
    first, second = halves.write("a", chosen, **same), halves.write("b", [*chosen, *halves.seed(1)], **same)
    run = second / "runs" / chosen[0].run_id
    if file == "predictions.parquet":
        pq.write_table(pa.table({"index": [0, 1], "top1": [3, int(theirs)]}), run / file)
    elif file == "linearity.csv":
        (run / file).write_text((run / file).read_text().replace(ours, theirs, 1))
    elif file == "curves.jsonl":
        rows = [json.loads(line) for line in (run / file).read_text().splitlines()]
        rows[1]["lr"] = float(theirs)
        rows[2]["images_per_second"] = 7.0
        (run / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        *groups, name = field.split(".")

        def plant(record: dict) -> None:
            for group in groups:
                record = record[group]
            record[name] = theirs if name == "precision" else float(theirs)

        halves.edit(run, plant)
    assert merge(halves, first).problems == ()
    before = state(halves.target)
    found = merge(halves, second)
    assert found.problems == (f"left out: {run.name}: {field} is {ours} in {halves.target}, and {theirs} in {second}",)
    assert (found.copied, found.equal, found.left) == (2, 1, 1), "the others are merged all the same"
    assert before.items() <= state(halves.target).items()


def test_two_folders_that_contradict_each_other_are_named(halves: Halves) -> None:
    first, second = halves.write("a", halves.seed(0), test_accuracy=0.25), halves.write("b", halves.seed(0), test_accuracy=0.5)
    found = merge(halves, first, second)
    assert (found.copied, found.left) == (2, 2)
    assert all(f"test_accuracy is 0.25 in {first}, and 0.5 in {second}" in line for line in found.problems)


def test_times_machines_and_speed_are_no_conflict(halves: Halves) -> None:
    first, second = halves.write("a", halves.seed(0)), halves.write("b", halves.seed(0))
    for run in (second / "runs").iterdir():
        other = {"wall_seconds": 1.0, "images_per_second": 2.0, "peak_memory_bytes": 3, "hostname": "other", "resumes": 4}
        halves.edit(run, lambda record: record.update({**other, "started_at": "2001", "finished_at": "2002"}))  # noqa: B023
    assert merge(halves, first, second).problems == ()


def test_no_number_is_the_same_as_no_number_and_an_empty_mapping_is_not_none(halves: Halves) -> None:
    first, second = halves.write("a", halves.seed(0), train_loss=float("nan")), halves.write("b", halves.seed(0), train_loss=float("nan"))
    assert merge(halves, first, second).problems == ()
    run = second / "runs" / halves.seed(0)[0].run_id
    halves.edit(run, lambda record: record.update(also_test={}))
    (line,) = merge(halves, second).problems
    assert line == f"left out: {run.name}: also_test is absent in {halves.target}, and {{}} in {second}"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("config_hash", "000", "record.json: config_hash is 000, not "),
        ("seed", 77, "record.json: seed is 77, not 0"),
        ("method", "other", "record.json: method is other, not fine_tuning"),
        ("dataset", None, "record.json: dataset is None, not digits"),
        ("fraction", 0.5, "record.json: fraction is 0.5, not 0.15"),
    ],
)
def test_a_record_that_says_it_is_another_run_is_left_out(halves: Halves, field: str, value: object, words: str) -> None:
    source, item = halves.write("a", halves.seed(0)), halves.seed(0)[0]
    halves.edit(source / "runs" / item.run_id, lambda record: record.update({field: value}))
    found = merge(halves, source)
    (line,) = found.problems
    assert f"left out: {item.run_id}: damaged in {source}: {words}" in line
    assert found.copied == 1


def test_the_settings_of_another_run_are_no_settings(halves: Halves) -> None:
    source, (item, other) = halves.write("a", halves.seed(0)), halves.seed(0)
    (source / "runs" / item.run_id / "config.yaml").write_bytes((source / "runs" / other.run_id / "config.yaml").read_bytes())
    (line,) = merge(halves, source).problems
    assert line.endswith("config.yaml: method is smile, not fine_tuning")
    (source / "runs" / item.run_id / "config.yaml").unlink()
    (line,) = merge(halves, source).problems
    assert line.endswith("config.yaml cannot be read (No such file or directory)")


@pytest.mark.parametrize(("file", "words"), [("curves.jsonl", "it ends at step 58 of 60"), ("linearity.csv", "it has no rows")])
def test_a_table_that_was_cut_at_the_end_of_a_line_is_damaged(halves: Halves, file: str, words: str) -> None:
    source, item = halves.write("a", halves.seed(0)), halves.seed(0)[0]
    path = source / "runs" / item.run_id / file
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1] if file == "curves.jsonl" else lines[:1]))
    (line,) = merge(halves, source).problems
    assert line == f"left out: {item.run_id}: damaged in {source}: {file} is cut off ({words})"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.yaml", "a: [", "config.yaml cannot be read (not valid YAML"),
        ("config.yaml", "", "config.yaml cannot be read (a mapping of keys is needed, and this is empty)"),
        ("record.json", "{", "record.json: not JSON"),
        ("curves.jsonl", "{", "curves.jsonl is damaged (line 1 is not JSON)"),
        ("linearity.csv", "split,lam", "linearity.csv is damaged"),
        ("predictions.parquet", "PAR1", "predictions.parquet is damaged"),
    ],
)
def test_a_damaged_run_is_named_and_left_out(halves: Halves, file: str, content: str, words: str) -> None:
    source = halves.write("a", halves.expected())
    run = source / "runs" / halves.expected()[0].run_id
    (run / file).write_text(content)
    found = merge(halves, source)
    (line,) = found.problems
    assert (found.copied, found.left) == (3, 1)
    if file == "record.json":
        assert line.startswith(f"left out: {run.name}: damaged in {source}: record.json: ")
    else:
        assert f"left out: {run.name}: damaged in {source}: {words}" in line
    assert not (halves.target / "runs" / run.name).exists()


def test_a_damaged_run_of_the_sweep_itself_stays_for_its_owner_to_look_at(halves: Halves) -> None:
    source = halves.write("a", halves.seed(0))
    merge(halves, source)
    run = halves.target / "runs" / halves.seed(0)[0].run_id
    (run / "record.json").write_text("{")
    found = merge(halves, source)
    (line,) = found.problems
    assert "it is left as it is; move its folder away to merge another" in line
    assert (run / "record.json").read_text() == "{"


@pytest.mark.parametrize("place", ["source", "target"])
def test_a_folder_that_is_worked_on_is_refused(halves: Halves, place: str) -> None:
    source, target = halves.write("a", halves.seed(0)), halves.write("target", halves.seed(1)[:1])
    busy = source if place == "source" else target
    RunFolder(busy / "runs" / "busy").create("{}")
    assert claim(busy / "runs" / "busy", "session", job="77")
    before = files(target)
    with pytest.raises(UsageError, match=rf"{busy}: a run is being carried out now \(busy, by process {os.getpid()} on .*, job 77\)"):
        merge(halves, source)
    assert files(target) == before


def test_an_unfinished_run_of_the_sweep_gives_way_and_is_kept(halves: Halves) -> None:
    source, failed = halves.write("a", halves.seed(0)), halves.seed(0)[0].run_id
    RunFolder(halves.target / "runs" / failed).create("{}")
    (halves.target / "runs" / failed / "failure.json").write_text('{"reason": "no memory"}')
    assert merge(halves, source).copied == 2
    assert RunFolder(halves.target / "runs" / failed).state() == "done"
    assert (halves.target / "stale" / f"{failed}.0" / "failure.json").exists()


def test_unfinished_runs_of_a_source_are_counted(halves: Halves) -> None:
    source = halves.write("a", halves.seed(0))
    RunFolder(source / "runs" / "begun").create("{}")
    found = merge(halves, source)
    assert (found.copied, found.problems, found.unfinished) == (2, (), f"; 1 of {source} are not finished")


def test_runs_of_another_sweep_are_named(halves: Halves) -> None:
    other = halves.write("a", halves.seed(0))
    kept_auto.keep_whole(other, kept_auto.KeptAuto("cuda"))
    for run in (other / "runs").iterdir():
        halves.edit(run, lambda record: record.update(sweep="elsewhere"))
    found = merge(halves, other)
    (line,) = found.problems
    assert line.startswith("left out: 2 runs (digits-")
    assert line.endswith(f"of the sweep 'elsewhere' in {other}, not of 'made_up'")
    assert not halves.target.exists()
    own = halves.write("b", halves.seed(0))
    kept_auto.keep_whole(own, kept_auto.KeptAuto("cpu"))
    assert merge(halves, other, own).copied == 2
    assert kept_auto.read(halves.target).device == "cpu"


def test_runs_of_other_settings_are_named(halves: Halves) -> None:
    found = merge(halves, halves.write("a", [*halves.expected("training.steps=30"), *halves.expected("seeds=[7]")]))
    reasons = {line.partition(" of other settings than the sweep's: ")[2] for line in found.problems}
    assert reasons == {"training.steps 30 -> 60", "no such data set, fraction, method and seed is in it"}
    assert found.copied == 0


@pytest.mark.parametrize("name", ["data_hash", "pixels_hash", "weights_hash"])
def test_runs_of_other_images_or_weights_are_named_with_both_values(halves: Halves, name: str) -> None:
    first = halves.write("a", halves.seed(0), **{name: "abc"})
    second = halves.write("b", halves.seed(1), **{name: "xyz"})
    found = merge(halves, first, second)
    (line,) = found.problems
    assert found.copied == 2
    assert line.endswith(f"{name} of digits is xyz in {second}, and abc in {first}")


def shifted(**hashes: str) -> dict:
    """The field of a record for a second test set."""
    measures = dict.fromkeys(("accuracy", "mean_class_accuracy", "nll", "ece"), 0.5)
    return {"also_test": {"shifted": {**measures, "data_hash": "same", "pixels_hash": "same", **hashes}}}


@pytest.mark.parametrize("name", ["data_hash", "pixels_hash"])
def test_runs_with_another_second_test_set_are_named_and_those_that_are_there_stay(halves: Halves, name: str) -> None:
    halves.write("target", halves.seed(0), **shifted(**{name: "AAA"}))
    found = merge(halves, halves.write("b", halves.seed(1), **shifted(**{name: "BBB"})))
    (line,) = found.problems
    assert line.endswith(f"{name} of 'shifted' of digits is BBB in {halves.root / 'b'}, and AAA in {halves.target}")
    info, expected = asked_for(found.sweep)
    assert (found.copied, found.left, info.methods) == (0, 2, ("fine_tuning", "smile"))
    assert [run.expected for run in collect(halves.target, expected).runs] == halves.seed(0)


def test_runs_that_an_override_gives_other_images_are_merged(halves: Halves) -> None:
    override = "overrides: [{match: {method: smile}, set: {training.image_size: 32}}]\n"
    halves.file.write_text(halves.file.read_text() + override)
    for seed in (0, 1):
        for item in halves.seed(seed):
            halves.write(str(seed), [item], data_hash=f"of {item.method}")
    found = merge(halves, halves.root / "0", halves.root / "1")
    assert (found.copied, found.problems) == (4, ())
    assert len(collect(halves.target, asked_for(found.sweep)[1]).runs) == 4


def test_claims_of_a_folder_of_another_sweep_stay_there(halves: Halves) -> None:
    claim = {"name": "smile wins", "metric": "accuracy", "split": "test", "left": "smile", "right": "fine_tuning", "direction": "higher"}
    claim |= {"margin": 0.0, "first_seen": "2001-01-01T00:00:00+00:00", "late": "", "before": [], "withdrawn": ""}
    own, other = halves.write("a", halves.seed(0)), halves.write("b", halves.seed(0), sweep="elsewhere")
    (other / "claims.json").write_text(json.dumps({"digest": "", "claims": [claim]}))
    assert merge(halves, own, other).copied == 2
    assert not (halves.target / "claims.json").exists()


def test_random_weights_may_differ_from_seed_to_seed(halves: Halves) -> None:
    folders = [halves.write(str(seed), halves.seed(seed), weights_hash=f"random:{seed}") for seed in (0, 1)]
    assert merge(halves, *folders).problems == ()


def test_what_auto_stands_for_travels_with_the_runs(halves: Halves) -> None:
    made = halves.expected("precision=bf16")
    first, second = (halves.write(str(seed), [item for item in made if item.seed == seed]) for seed in (0, 1))
    on_cpu = {"cpu": {"precision": "bf16", "compile": "off"}}
    kept_auto.keep_whole(first, kept_auto.KeptAuto(None, on_cpu))
    kept_auto.keep_whole(second, kept_auto.KeptAuto("cpu", {}))
    found = merge(halves, first, second)
    assert (found.copied, found.problems) == (4, ())
    assert {run.precision for run in found.sweep.runs} == {"bf16"}
    assert kept_auto.read(halves.target) == kept_auto.KeptAuto("cpu", on_cpu)


def test_folders_that_mean_different_things_by_auto_are_refused(halves: Halves) -> None:
    first, second = halves.write("a", halves.seed(0)), halves.write("b", halves.seed(1))
    kept_auto.keep_whole(first, kept_auto.KeptAuto("cpu"))
    kept_auto.keep_whole(second, kept_auto.KeptAuto("cuda"))
    with pytest.raises(UsageError, match=rf"{second}/auto.json: runtime.device: auto stands for cuda, and for cpu in {first}"):
        merge(halves, first, second)
    assert not halves.target.exists()


def test_an_archive_is_merged_like_its_folder(halves: Halves) -> None:
    first, second = halves.write("a", halves.seed(0)), halves.write("b", halves.seed(1))
    kept_auto.keep_whole(second, kept_auto.KeptAuto("cpu"))
    packing.run([str(second)], halves.root / "b.tar.gz", Path("results"), CONSOLE)
    assert merge(halves, first, halves.root / "b.tar.gz").copied == 4
    assert files(halves.target / "runs") == files(halves.write("whole", halves.expected()) / "runs")
    assert kept_auto.read(halves.target).device == "cpu"
    assert {path.name for path in halves.target.iterdir()} == {"auto.json", "runs"}


def bad(halves: Halves, kind: str) -> Path:
    path = halves.root / "bad"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    elif kind != "missing":
        names = {"outside": ["../evil"], "two sweeps": ["a/runs/x", "b/runs/x"]}[kind]
        with tarfile.open(path, "w:gz") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 1
                tar.addfile(member, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such folder or archive"),
        ("empty folder", "not the results of one sweep"),
        ("text", "is damaged or no archive"),
        ("outside", "points outside the archive"),
        ("two sweeps", "not the results of one sweep"),
    ],
)
def test_what_is_no_results_folder_is_refused_before_anything_is_written(halves: Halves, kind: str, words: str) -> None:
    good = halves.write("a", halves.seed(0))
    path = bad(halves, kind)
    before = files(halves.root)
    with pytest.raises((UsageError, DataError), match=words) as refusal:
        merge(halves, good, path)
    assert str(path) in str(refusal.value)
    assert files(halves.root) == before
    assert not halves.target.exists()


def test_a_sweep_is_not_merged_into_itself(halves: Halves) -> None:
    halves.write("target", halves.seed(0))
    with pytest.raises(UsageError, match="this is the folder that the runs are to be merged into"):
        merge(halves, halves.target)


def test_a_merge_that_was_killed_is_carried_on(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    source = halves.write("a", halves.expected())
    real, calls = merging.travelling, []

    def dying(folder: Path) -> list[Path]:
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(folder)

    with monkeypatch.context() as patched:
        patched.setattr(merging, "travelling", dying)
        patched.setattr(merging.shutil, "rmtree", lambda *_, **__: None)  # as if killed: nothing is tidied up
        with pytest.raises(KeyboardInterrupt):
            merge(halves, source)
    (litter,) = halves.target.glob(".tmp-merge-*")
    owner = json.loads((litter / "owner.json").read_text())
    (litter / "owner.json").write_text(json.dumps({**owner, "pid": 2**22 + 1}))  # a process that is gone
    assert all(RunFolder(path).state() == "done" for path in (halves.target / "runs").iterdir())
    found = merge(halves, source)
    assert (found.copied, found.equal, found.problems) == (2, 2, ())
    assert files(halves.target) == {f"runs/{name}": content for name, content in files(source / "runs").items()}


def test_settings_of_the_command_line_are_told_from_folders(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    source = halves.write("a", halves.expected("training.steps=30"))
    drawn = []
    monkeypatch.setattr(merging.results, "report", lambda sweep, out, tuning: drawn.append(sweep.runs[0].training.steps))
    monkeypatch.setattr(merging.results, "show", lambda report, console: None)
    arguments = ["merge", str(source), "training.steps=30", "--into", str(halves.file), "--out", str(halves.target)]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, drawn) == (0, [30]), done.output
    halves.edit(source / "runs" / halves.expected("training.steps=30")[0].run_id, lambda record: record.update(lr=3))
    assert CliRunner().invoke(app, arguments).exit_code == 1
