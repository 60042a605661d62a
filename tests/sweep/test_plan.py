"""What a sweep would do, from made-up records: states, what changed, cost."""

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.cli import printing
from benchmark.config import grid, weights
from benchmark.errors import UsageError
from benchmark.perf import scale
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, claim
from benchmark.sweep import carry_out, cost, plan, status
from benchmark.sweep.probe import Precisions, Probed, Short, measured, precisions
from datasets.arena import prepare
from datasets.base import open_dataset
from tests.commands import command

SEEDS = 5


def sweep(**changes: Any) -> grid.Sweep:
    raw = {
        "name": "small",
        "datasets": ["digits"],
        "methods": ["fine_tuning", "smile"],
        "seeds": SEEDS,
        "training": {"steps": 60, "batch_size": 32, "image_size": 48},
        "runtime": {"device": "cpu"},
        **changes,
    }
    return grid.expand(grid.SweepFile.model_validate(raw), [], "test")


def finish(out: Path, found: grid.Sweep, which: slice = slice(None), **changes: Any) -> None:
    """Create every run's folder, and a record of ``which`` with its fields changed."""
    carry_out.create_folders(plan.make(found, out))
    for run in found.runs[which]:
        RunFolder(out / "runs" / run.run_id).record_path.write_text(json.dumps({**scale.record(run, 1), **changes}))


def shown(found: plan.Plan) -> str:
    text = io.StringIO()
    printing.show_plan(found, Console(file=text, width=1000))
    return text.getvalue()


def test_a_sweep_of_which_nothing_is_done(tmp_path: Path) -> None:
    made = plan.make(sweep(), tmp_path)
    assert made.counts == {"new": 10}
    assert (made.seconds, made.leftover) == (None, 0)
    assert "cost unknown until a first run is measured" in shown(made)
    assert list(tmp_path.iterdir()) == []


def test_what_auto_came_to_is_said_once(tmp_path: Path) -> None:
    text = shown(plan.make(sweep(), tmp_path))
    for line in ("device: cpu", "precision: fp32 (auto: a CPU)", "compile: off (auto: a CPU)", "float32: IEEE"):
        assert text.count(f"{line}\n") == 1


def test_entries_that_come_to_the_same_are_named(tmp_path: Path) -> None:
    own = {"name": "mine", "use": "smile", "feature_weight": 0.01}
    text = shown(plan.make(sweep(methods=["fine_tuning", "smile", own]), tmp_path))
    assert "methods: smile and mine come to the same: same components, options and settings, under 2 names" in text
    own = {**own, "feature_weight": 0.5}
    assert "come to the same" not in shown(plan.make(sweep(methods=["fine_tuning", "smile", own]), tmp_path))
    undone = [{"match": {"label": "mine", "fraction": 0.5}, "set": {"smile.feature_weight": 0.01}}]
    made = plan.make(sweep(methods=["fine_tuning", "smile", own], fractions=[0.5, 1.0], overrides=undone), tmp_path)
    assert "smile and mine come to the same in 1 of 2 cells" in shown(made)


def test_options_that_cannot_act_in_the_steps_given_are_named(tmp_path: Path) -> None:
    rare = {"name": "rare", "use": "smile", "ema_every": 60}
    short = {"name": "short", "use": "mixup", "off_last": 0.008}
    text = shown(plan.make(sweep(methods=["fine_tuning", rare, short], training={"steps": 60}), tmp_path))
    assert "methods: ema_every: 60 of rare never acts in 60 steps" in text
    assert "methods: off_last: 0.008 of short is not one step of 60" in text
    text = shown(plan.make(sweep(methods=["fine_tuning", rare, short], training={"steps": 63}), tmp_path))
    assert "never acts" not in text
    assert "not one step" not in text


def test_settings_that_changed_are_named_with_the_number_of_runs(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 8))
    other = sweep(training={"steps": 90, "batch_size": 32, "image_size": 48})
    made = plan.make(other, tmp_path)
    assert made.counts == {"stale": 8, "new": 2}
    assert made.reasons("stale") == [("training.steps 60 -> 90", 8)]
    assert made.leftover == 10
    assert "stale: 8 done with training.steps 60 -> 90" in shown(made)
    carry_out.create_folders(made)
    assert plan.make(sweep(), tmp_path).counts == {"done": 8, "new": 2}  # what was done is where it was


def test_an_option_of_a_method_that_changed_is_named_by_its_component(tmp_path: Path) -> None:
    finish(tmp_path, sweep())
    changed = [{"match": {"method": "smile"}, "set": {"smile.feature_weight": 0.5}}]
    made = plan.make(sweep(overrides=changed), tmp_path)
    assert made.counts == {"done": SEEDS, "stale": SEEDS}
    assert made.reasons("stale") == [("smile.feature_weight 0.01 -> 0.5", SEEDS)]


def test_labels_are_no_change_and_the_code_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path, sweep())
    assert plan.make(sweep(name="renamed", runtime={"device": "cpu", "threads": 2}), tmp_path).counts == {"done": 10}
    monkeypatch.setattr("benchmark.config.run_config.LOOP_VERSION", 0)
    assert plan.make(sweep(), tmp_path).reasons("stale") == [("another version of the training code", 10)]


def test_other_weights_make_a_run_stale_and_it_is_set_aside(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 4), weights_hash="other")
    made = plan.make(sweep(), tmp_path)
    assert made.counts == {"stale": 4, "new": 6}
    assert made.reasons("stale") == [("other weights than are prepared now", 4)]
    carry_out.create_folders(made)
    assert plan.make(sweep(), tmp_path).counts == {"new": 10}
    assert len(list((tmp_path / "stale").iterdir())) == 4


def test_records_of_other_pixels_are_stale_and_those_without_a_hash_of_them_are_not(images: Path, tmp_path: Path) -> None:
    found = sweep(datasets=[{"name": "tiny", "use": f"folder:{images}"}])
    data = found.runs[0].data
    arena = prepare(open_dataset(data.source), data.decode)
    finish(tmp_path, found, data_hash=arena.data_hash)
    assert plan.make(found, tmp_path).counts == {"done": 10}
    finish(tmp_path, found, slice(0, 6), data_hash=arena.data_hash, pixels_hash=arena.pixels_hash)
    finish(tmp_path, found, slice(0, 4), data_hash=arena.data_hash, pixels_hash="other")
    made = plan.make(found, tmp_path)
    assert made.counts == {"done": 6, "stale": 4}
    assert made.reasons("stale") == [("other pixels (of the same files, by another version of the decoder) than are prepared now", 4)]
    finish(tmp_path, found, slice(0, 4), data_hash="other", pixels_hash="other", weights_hash="other")
    assert plan.make(found, tmp_path).reasons("stale") == [("other data and weights than are prepared now", 4)]


def test_a_folder_that_another_command_has_made_since_is_left_alone(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 2), weights_hash="other")
    mine, others = plan.make(sweep(), tmp_path), plan.make(sweep(), tmp_path)
    carry_out.create_folders(others)
    (tmp_path / "runs" / sweep().runs[0].run_id / "claims").mkdir()
    carry_out.create_folders(mine)
    assert (tmp_path / "runs" / sweep().runs[0].run_id / "claims").exists()
    assert len(list((tmp_path / "stale").iterdir())) == 2
    longer = plan.make(sweep(training={"steps": 90, "batch_size": 32, "image_size": 48}), tmp_path)
    carry_out.create_folders(longer)
    assert len(list((tmp_path / "stale").iterdir())) == 2


def test_a_record_that_another_command_has_made_since_is_not_set_aside(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 1), weights_hash="other")
    mine, others = plan.make(sweep(), tmp_path), plan.make(sweep(), tmp_path)
    carry_out.create_folders(others)
    finish(tmp_path, sweep(), slice(0, 1))
    carry_out.create_folders(mine)
    assert plan.make(sweep(), tmp_path).counts == {"done": 1, "new": 9}
    assert len(list((tmp_path / "stale").iterdir())) == 1


def test_failures_are_counted_by_their_reason(tmp_path: Path) -> None:
    found = sweep()
    carry_out.create_folders(plan.make(found, tmp_path))
    for n, run in enumerate(found.runs[:4]):
        own = claim(tmp_path / "runs" / run.run_id, "s")
        reason = "no room" if n == 3 else f"loss is not finite at step {n}"
        own.fail({"reason": f"{reason}\nmore", "kind": "nan", "traceback": "", "step": n})
    made = plan.make(found, tmp_path)
    assert made.counts == {"failed": 4, "new": 6}
    assert made.reasons("failed") == [("loss is not finite at step 0", 3), ("no room", 1)]
    assert "failed: 3: loss is not finite at step 0" in shown(made)


def test_cost_is_a_fixed_part_and_a_part_per_step_of_the_same_method(tmp_path: Path) -> None:
    """Fine-tuning: 0.1 s a step and 4 s besides; SMILE: 0.4 s a step and 5 s."""
    found, out = sweep(), tmp_path / "small"
    finish(out, found, slice(0, 2), images_per_second=320.0, wall_seconds=10.0, peak_memory_bytes=3 * 10**8)
    finish(out, found, slice(SEEDS, SEEDS + 2), images_per_second=80.0, wall_seconds=29.0, peak_memory_bytes=10**9)
    made = plan.make(found, out)
    assert made.seconds == pytest.approx(3 * 10 + 3 * 29)
    assert made.estimate.memory() == 10**9
    per_run = cost.folder_size(out / "runs" / found.runs[0].run_id)
    assert made.estimate.disk == per_run > 0
    text = shown(made)
    assert "about 2 min of one worker (0.033 CPU-hours)" in text
    assert "by 4 finished runs of this sweep" in text
    longer = plan.make(sweep(training={"steps": 120, "batch_size": 32, "image_size": 48}), out)
    assert longer.seconds == pytest.approx(5 * (120 * 0.1 + 4) + 5 * (120 * 0.4 + 5))


def test_a_method_that_was_not_measured_is_scaled_and_named(tmp_path: Path) -> None:
    found = sweep()
    finish(tmp_path, found, slice(0, 1), images_per_second=320.0, wall_seconds=6.0)
    made = plan.make(found, tmp_path)
    tuned, smile = made.runs[0], made.runs[-1]
    assert smile.seconds == pytest.approx(tuned.seconds * cost.step_work(smile.config) / cost.step_work(tuned.config))
    assert smile.seconds > tuned.seconds
    assert "scaled for smile" in shown(made)


def test_before_a_run_of_its_own_a_sweep_is_estimated_by_others_with_the_same_backbone(backbone: str, tmp_path: Path) -> None:
    finish(tmp_path / "first", sweep(name="first"), images_per_second=320.0, wall_seconds=10.0)
    finish(tmp_path / "elsewhere", sweep(name="elsewhere", backbone=backbone), wall_seconds=1000.0)
    made = plan.make(sweep(datasets=["cifar10"]), tmp_path / "second")
    assert made.seconds == pytest.approx(100)
    assert made.estimate.basis == "10 runs of first with the same backbone and kind of device"
    larger = sweep(training={"steps": 60, "batch_size": 32, "image_size": 96})
    assert plan.make(larger, tmp_path / "second").seconds is None  # memory and time do not scale that far


def test_gpu_hours_count_a_shared_gpu_once(tmp_path: Path) -> None:
    found = sweep(runtime={"device": "cuda", "workers_per_gpu": 2}, compile="off")
    finish(tmp_path, found, slice(0, 1), images_per_second=320.0, wall_seconds=7206.0)
    text = shown(plan.make(found, tmp_path))
    assert "(9 GPU-hours)" in text  # nine runs of two hours, two at a time


def test_assets_are_listed_present_and_missing(tmp_path: Path) -> None:
    made = plan.make(sweep(datasets=["digits", "cifar100"]), tmp_path)
    assert any(line.startswith("digits (") for line in made.present)
    assert "efficientnet_lite0" in made.present
    assert any("cifar100" in line for line in made.missing)


def test_a_damaged_record_is_redone(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 1))
    (tmp_path / "runs" / sweep().runs[0].run_id / "record.json").write_text("")
    made = plan.make(sweep(), tmp_path)
    assert made.reasons("stale") == [("record.json is damaged", 1)]


def test_a_config_lost_in_a_crash_is_written_again(tmp_path: Path) -> None:
    finish(tmp_path, sweep(), slice(0, 1))
    for run in sweep().runs[:2]:
        (tmp_path / "runs" / run.run_id / "config.yaml").write_text("")
    carry_out.create_folders(plan.make(sweep(), tmp_path))
    assert (tmp_path / "runs" / sweep().runs[1].run_id / "config.yaml").stat().st_size


@pytest.mark.slow
def test_a_probe_measures_a_few_steps_of_each_method(images: Path, backbone: str, tmp_path: Path) -> None:
    data = [{"name": "tiny", "use": f"folder:{images}"}]
    training = {"steps": 5000, "batch_size": 8, "image_size": 32}
    found = sweep(datasets=data, backbone=backbone, training=training, linearity={"pairs": 4, "lambdas": 3})
    log = Console(file=io.StringIO())
    for _ in range(3):  # what else this machine does may fall into a few steps of one of them
        made = measured(plan.make(found, tmp_path / "out"), log).plan
        tuned, smile = made.runs[0].seconds, made.runs[-1].seconds
        if tuned < smile < 5000 * 0.5:
            break
    assert 5000 * 0.0005 < tuned < smile < 5000 * 0.5
    assert made.estimate.basis == "a probe of 10 steps of 2 methods"
    assert made.counts == {"new": 10}
    assert not (tmp_path / "out").exists()
    assert made.estimate.memory() > 10**8
    finish(tmp_path / "out", found, slice(0, 1))
    assert "a probe of 10 steps of 1 methods and 1 finished runs" in measured(plan.make(found, tmp_path / "out"), log).plan.estimate.basis
    with pytest.raises(UsageError, match="cifar100"):
        measured(plan.make(sweep(datasets=["cifar100"]), tmp_path), log)


@pytest.mark.parametrize("content", ["[]", "3", '{"run_id": "x', "\0" * 40])
def test_a_damaged_record_is_stale_everywhere_and_set_aside(tmp_path: Path, content: str) -> None:
    found = sweep()
    finish(tmp_path, found)
    path = RunFolder(tmp_path / "runs" / found.runs[0].run_id).record_path
    path.write_text(content)
    made = plan.make(found, tmp_path)
    assert made.counts == {"done": 9, "stale": 1}
    assert made.reasons("stale") == [("record.json is damaged", 1)]
    states = status.collect(tmp_path, [run.run_id for run in found.runs])
    assert (states.counts["done"], states.counts["failed"]) == (9, 1)
    assert "record.json is damaged" in states.rows[0].reason
    carry_out.create_folders(made)
    assert plan.make(found, tmp_path).counts == {"done": 9, "new": 1}


def test_a_folder_named_record_is_set_aside_too(tmp_path: Path) -> None:
    found = sweep()
    finish(tmp_path, found)
    path = RunFolder(tmp_path / "runs" / found.runs[0].run_id).record_path
    path.unlink()
    path.mkdir()
    carry_out.create_folders(plan.make(found, tmp_path))
    assert plan.make(found, tmp_path).counts == {"done": 9, "new": 1}


@pytest.mark.parametrize("content", ['"x"', '{"reason": null}', '{"reason": ""}', '{"reason": " \\n "}', "[]"])
def test_a_damaged_failure_is_shown_as_one(tmp_path: Path, content: str) -> None:
    found = sweep()
    finish(tmp_path, found, slice(0, 0))
    RunFolder(tmp_path / "runs" / found.runs[0].run_id).failure_path.write_text(content)
    assert plan.make(found, tmp_path).reasons("failed") == [("failure.json is damaged", 1)]
    assert status.collect(tmp_path, [found.runs[0].run_id]).rows[0].reason == "failure.json is damaged"


def test_what_is_no_run_folder_is_not_counted(tmp_path: Path) -> None:
    found = sweep()
    finish(tmp_path, found)
    for name in (".DS_Store", ".tmp-0a1b", "Thumbs.db"):
        (tmp_path / "runs" / name).touch()
    (tmp_path / "runs" / ".AppleDouble").mkdir()
    assert plan.make(found, tmp_path).leftover == 0


def test_what_writers_that_died_left_behind_is_removed_by_the_next_command(images: Path, tmp_path: Path) -> None:
    found = sweep(datasets=[{"name": "tiny", "use": f"folder:{images}"}])
    data = found.runs[0].data
    finish(tmp_path, found, data_hash=prepare(open_dataset(data.source), data.decode).data_hash)
    first = f"runs/{found.runs[0].run_id}"
    folders = ("", "runs", "tables", "figures", "stale", first, f"{first}/claims")
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in (".tmp-old", ".probe-old", ".tmp-new", ".DS_Store"):
            (tmp_path / folder / name).write_text("half")
        for name in (".tmp-old", ".probe-old", ".DS_Store"):
            os.utime(tmp_path / folder / name, (0, 0))
    assert carry_out.complete(found, tmp_path, 1, Console(file=io.StringIO())) == 0
    for folder in folders:
        assert sorted(path.name for path in (tmp_path / folder).glob(".*")) == [".DS_Store", ".tmp-new"]
    assert plan.make(found, tmp_path).counts == {"done": 10}


def test_numbers_of_what_is_set_aside_are_never_used_twice(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / "runs" / "r").mkdir(parents=True)
        (tmp_path / "runs" / "r" / str(n)).touch()
        carry_out.set_aside(tmp_path, tmp_path / "runs" / "r")
        if n == 1:
            shutil.rmtree(tmp_path / "stale" / "r.0")
    assert {path.name: [each.name for each in path.iterdir()] for path in (tmp_path / "stale").iterdir()} == {"r.0": ["2"], "r.1": ["1"]}


def test_a_neighbour_of_which_nothing_can_be_read_changes_nothing(tmp_path: Path) -> None:
    finish(tmp_path / "whole", sweep(name="whole"))
    finish(tmp_path / "old", sweep(name="old"))
    texts = {0: b"\xff\xfe", 1: b"", 2: b"[]", 3: b"components: [{name: m, use: 'gone:M'}]\n"}
    for n, run in enumerate(sorted((tmp_path / "old" / "runs").iterdir())):
        config = run / "config.yaml"
        if n in texts:
            config.write_bytes(texts[n])
        elif n == 4:
            config.unlink()
            config.mkdir()
        elif n == 5:
            config.write_text(config.read_text().replace("use: fine_tuning", "use: 'prints:M'").replace("use: smile", "use: 'prints:M'"))
        else:
            (run / "record.json").write_text('{"batch_size": "x", "images_per_second": [], "steps": null}')
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "runs").touch()
    made = plan.make(sweep(), tmp_path / "new")
    assert made.counts == {"new": 10}
    assert "by 10 runs of whole" in shown(made)


def test_a_neighbour_that_is_removed_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path / "old", sweep(name="old"))
    listdir = os.listdir

    def vanishing(folder: Any) -> list[str]:
        names = listdir(folder)
        if Path(folder) == tmp_path / "old" / "runs":
            shutil.rmtree(tmp_path / "old")
        return names

    monkeypatch.setattr("benchmark.sweep.cost.os.listdir", vanishing)
    assert plan.make(sweep(), tmp_path / "new").seconds is None


@pytest.mark.parametrize("what", ["record.json", "config.yaml", ""])
def test_runs_of_a_neighbour_that_are_removed_meanwhile_are_left_out(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path / "old", sweep(name="old"))
    listdir = os.listdir

    def vanishing(folder: Any) -> list[str]:
        names = listdir(folder)
        if Path(folder) == tmp_path / "old" / "runs":
            gone = tmp_path / "old" / "runs" / names[0] / what
            gone.unlink() if what else shutil.rmtree(gone)
        return names

    monkeypatch.setattr("benchmark.sweep.cost.os.listdir", vanishing)
    assert plan.make(sweep(), tmp_path / "new").estimate.basis.startswith("9 runs of old ")


@pytest.mark.parametrize("how", ["one bit", "cut"])
def test_a_damaged_backbone_is_no_other_backbone(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is finished stays where it is, and nothing is redone on the damaged file."""
    import timm
    from safetensors.torch import save_file

    from benchmark.storage.atomic import file_sha256
    from benchmark.training.backbones import prepare as prepare_backbone

    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "own.safetensors")
    file = prepare_backbone("test_resnet.r160_in1k", tmp_path / "own.safetensors").file
    content = {
        "name": "small",
        "datasets": ["digits"],
        "methods": ["fine_tuning", "smile"],
        "seeds": SEEDS,
        "backbone": "test_resnet.r160_in1k",
    }
    (tmp_path / "x.yaml").write_text(yamlio.dump({**content, "training": {"image_size": 48}, "runtime": {"device": "cpu"}}))
    found = grid.load(str(tmp_path / "x.yaml"))
    file_sha256.cache_clear()
    finish(tmp_path / "out", found, weights_hash=weights.parse("test_resnet.r160_in1k").sha256)
    assert plan.make(found, tmp_path / "out").counts == {"done": 10}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes(whole if how == "one bit" else whole[:-100])
    for verb in ("plan", "sweep"):
        file_sha256.cache_clear()
        code, shown = command(capsys, verb, tmp_path / "x.yaml", "--out", tmp_path / "out")
        assert (code, f"{file} is damaged or was replaced" in shown) == (2, True), shown
    file_sha256.cache_clear()
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}.items()


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen", "loses", "words"),
    [
        (0.5, 0.25, False, False, "takes 0.5 s in fp32 and 0.25 s in bf16 on this CPU: bf16 is 2 times faster (precision=bf16)"),
        (0.5, 0.25, True, False, "bf16 is 2 times faster"),
        (0.5, 1.5, False, False, "bf16 is 3 times slower"),
        (0.5, 1.5, True, True, "bf16 is 3 times slower, and it was chosen: precision=fp32 is better here"),
        (0.5, 0.51, True, False, "there is no difference"),
    ],
)
def test_bf16_on_a_cpu_is_praised_or_warned_of(fp32: float, bf16: float, chosen: bool, loses: bool, words: str) -> None:
    found = Precisions("fine_tuning", fp32, bf16, chosen)
    assert found.loses == loses
    assert found.words().startswith("precision: a step of fine_tuning takes 0.5 s")
    assert found.words().endswith(words)


def short(method: str, terms: dict[str, float]) -> Short:
    return Short(cost.Sample((method,), "digits", 1.0, 1.0, 0.0, None, Path()), method, terms)


@pytest.mark.parametrize(("ratio", "warned"), [(300.0, True), (10.5, True), (9.5, False), (0.25, False)])
def test_a_probe_says_how_large_each_loss_term_is_and_warns_of_one_that_rules(
    ratio: float, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [short("fine_tuning", {}), short("delta", {"delta": ratio, "head_decay": 0.5})]
    monkeypatch.setattr("benchmark.sweep.probe.measured", lambda made, console: Probed(made, runs))
    monkeypatch.setattr("benchmark.sweep.probe.precisions", lambda made, console: None)
    text = io.StringIO()
    printing.plan(sweep(methods=["fine_tuning", "delta"]), tmp_path / "out", True, Console(file=text, width=1000))
    assert text.getvalue().count("loss terms of") == 1
    assert f"loss terms of delta, over the cross-entropy (means over 10 steps): delta {ratio:.2g}, head_decay 0.5" in text.getvalue()
    warning = f"delta: the loss term delta is {ratio:.0f} times the cross-entropy (means over 10 steps): it rules the training"
    assert (warning in text.getvalue()) == warned
    assert text.getvalue().count("it rules the training") == warned


@pytest.mark.slow
def test_a_probe_measures_loss_terms_over_its_steps(images: Path, backbone: str, tmp_path: Path) -> None:
    heavy = {"name": "heavy", "use": "smile", "source_weight": 1000.0}
    data = [{"name": "tiny", "use": f"folder:{images}"}]
    training = {"steps": 5000, "batch_size": 8, "image_size": 32, "lr": 1e-6}
    found = sweep(methods=["fine_tuning", heavy], datasets=data, backbone=backbone, training=training, linearity={"pairs": 0})
    probed = measured(plan.make(found, tmp_path / "out"), Console(file=io.StringIO()))
    (line,) = probed.terms
    assert line.startswith("loss terms of heavy, over the cross-entropy (means over 10 steps): smile_feature ")
    (warning,) = probed.warnings
    times = re.fullmatch(r"heavy: the loss term smile_source is (\d+) times the cross-entropy .*", warning)
    assert times is not None
    assert 300 < int(times[1]) < 5000, "two cross-entropies of few classes are of one size"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_probe_on_a_cpu_times_both_precisions_of_the_baseline(precision: str, images: Path, backbone: str, tmp_path: Path) -> None:
    data = [{"name": "tiny", "use": f"folder:{images}"}]
    training = {"steps": 5000, "batch_size": 8, "image_size": 32}
    found = sweep(methods=["fine_tuning"], datasets=data, backbone=backbone, training=training, linearity={"pairs": 0}, precision=precision)
    text = io.StringIO()
    printing.plan(found, tmp_path / "out", True, Console(file=text, width=1000))
    said = re.search(r"precision: a step of fine_tuning takes (\S+) s in fp32 and (\S+) s in bf16 on this CPU: ", text.getvalue())
    assert said is not None
    assert 0 < float(said[1]) < 5
    assert 0 < float(said[2]) < 50
    assert "by a probe of 10 steps of 1 methods" in text.getvalue()
    assert not (tmp_path / "out").exists()
    gpu = sweep(runtime={"device": "cuda"}, precision="fp32", compile="off", fold_bn="off")
    assert precisions(plan.make(gpu, tmp_path / "gpu"), Console(file=text)) is None
