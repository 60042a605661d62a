"""From trials to a frozen selection to the final sweep; made-up records, so that every number is known."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.config import grid, kept_auto, selection
from benchmark.config.kept_auto import KeptAuto
from benchmark.config.tune_options import Range
from benchmark.errors import UsageError
from benchmark.report.build import build
from benchmark.report.collect import collect
from benchmark.sweep import carry_out as local_sweep
from benchmark.sweep import plan
from benchmark.sweep.results import asked_for
from benchmark.tuning import freeze as selecting
from benchmark.tuning import search, trials
from benchmark.tuning.trials import FOLDER, cells
from tests.commands import command
from tests.tuning.made_up import TUNE, carry_out, opened, score, sweep_file, write_failure, write_final, write_record

QUIET = Console(quiet=True)


def chosen(out: Path) -> dict[tuple[str, float, str], dict]:
    content = json.loads((out / "selection.json").read_text())
    return {(cell["dataset"], cell["fraction"], cell["method"]): cell for cell in content["cells"]}


@pytest.fixture
def done(tmp_path: Path) -> tuple[grid.Origin, Path]:
    found, out = opened(tmp_path), tmp_path / "out"
    carry_out(found, out)
    return found, out


def test_trials_are_ordinary_runs_with_equal_budgets_that_never_open_test(tmp_path: Path) -> None:
    found = cells(opened(tmp_path))
    assert [(c.method, c.fraction) for c in found] == [
        (m, f) for f in (0.15, 0.3) for m in ("fine_tuning", "l2_sp", "mixup", "l2_sp+mixup")
    ]
    assert {len(cell.trials) for cell in found} == {6}
    runs = [config for cell in found for trial in cell.trials for config in trial.runs]
    assert len({config.run_id for config in runs}) == len(runs) == 8 * 6 * 2
    assert {(c.evaluation.test, c.data.val_fraction, c.linearity.pairs, c.sweep) for c in runs} == {(False, 0.25, 0, "tuned")}
    assert {config.seed for config in runs} == {100, 101}
    for cell in found:
        for trial in cell.trials:
            assert {config.training.lr for config in trial.runs} == {trial.settings["training.lr"]}


def test_settings_of_a_component_stay_with_the_label_they_were_found_for(tmp_path: Path) -> None:
    found = {(cell.method, cell.fraction): cell for cell in cells(opened(tmp_path))}
    assert "l2_sp.alpha" in found["l2_sp", 0.15].trials[0].settings
    composed = found["l2_sp+mixup", 0.15].trials[0]
    assert composed.settings.keys() == {"training.lr"}
    assert composed.runs[0].components[0].options["alpha"] == 0.01


def test_the_winner_has_the_highest_mean_over_seeds(done: tuple[grid.Origin, Path]) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    for cell in cells(found):
        means = [sum(map(score, trial.runs)) / 2 for trial in cell.trials]
        winner = chosen(out)[cell.dataset, cell.fraction, cell.method]
        assert winner["trial"] == means.index(max(means))
        assert winner["settings"] == cell.trials[winner["trial"]].settings
        assert winner["val_accuracy"] == pytest.approx(max(means))
        assert len(winner["records"]) == 12
        for used in winner["records"]:
            path = out / "tune" / "runs" / used["run_id"] / "record.json"
            assert used["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert used["config_hash"] == json.loads(path.read_text())["config_hash"]


def test_of_equal_trials_the_earlier_wins_and_the_tie_is_named(tmp_path: Path) -> None:
    found, out = opened(tmp_path), tmp_path / "out"
    carry_out(found, out, lambda config: 0.75)
    selecting.select(found, out, QUIET)
    assert {(cell["trial"], tuple(cell["tied"])) for cell in chosen(out).values()} == {(0, (1, 2, 3, 4, 5))}


def test_a_failed_trial_stays_in_the_budget_and_cannot_win(done: tuple[grid.Origin, Path]) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    before = chosen(out)["digits", 0.15, "mixup"]
    cell = next(c for c in cells(found) if (c.method, c.fraction) == ("mixup", 0.15))
    write_failure(cell.trials[before["trial"]].runs[1], out, "loss is not finite at step 3")
    selecting.select(found, out, QUIET)
    after = chosen(out)["digits", 0.15, "mixup"]
    assert after["trial"] != before["trial"]
    assert after["failed"] == {str(before["trial"]): "seed 101: loss is not finite at step 3"}
    (curve,) = [t for t in trials.curves(found, out, QUIET) if (t.method, t.fraction) == ("mixup", 0.15)]
    assert curve.scores[before["trial"]] == 0.0
    for trial in cell.trials:
        write_failure(trial.runs[0], out, "out of memory")
    with pytest.raises(UsageError, match=r"mixup on digits at 0\.15: every trial failed"):
        selecting.select(found, out, QUIET)


@pytest.mark.parametrize("kind", ["out_of_memory", "disk_full", "killed"])
def test_a_trial_that_its_machine_failed_is_no_spent_budget(
    kind: str, done: tuple[grid.Origin, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out = done
    cell = next(c for c in cells(found) if (c.method, c.fraction) == ("mixup", 0.15))
    write_failure(cell.trials[0].runs[0], out, "CUDA out of memory\nmore", kind)
    code, shown = command(capsys, "select", sweep_file(tmp_path), "--out", out)
    assert code == 2
    assert "mixup on digits at 0.15: 1 tuning runs are not finished" in shown
    assert "failed by its machine, not by its settings: CUDA out of memory)" in shown
    assert len(trials.curves(found, out, QUIET)) == 7


def test_the_caption_counts_failed_trials_by_method(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    for cell in cells(found):
        for trial in cell.trials[: {("mixup", 0.15): 5, ("l2_sp", 0.3): 1}.get((cell.method, cell.fraction), 0)]:
            write_failure(trial.runs[0], out, "loss is not finite at step 3")
    selecting.select(found, out, QUIET)
    said = "Of the 6 trials, some failed and could not be chosen: 5 of mixup on digits at 0.15, 1 of l2_sp on digits at 0.3."
    assert said in final(tmp_path, out).selection
    assert "could not be chosen" not in final(tmp_path, out, tune=None, methods=["fine_tuning"]).selection


def test_a_torn_tuning_record_costs_its_curve_and_not_the_report(
    done: tuple[grid.Origin, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    winner = chosen(out)["digits", 0.3, "mixup"]
    cell = next(c for c in cells(found) if (c.method, c.fraction) == ("mixup", 0.3))
    loser = next(trial for trial in cell.trials if trial.number != winner["trial"])
    record = out / "tune" / "runs" / loser.runs[0].run_id / "record.json"
    record.write_text(record.read_text()[:40])
    sweep = final(tmp_path, out)
    write_final(sweep.runs[0], out)
    code, shown = command(capsys, "report", sweep_file(tmp_path, selection=str(out / "selection.json")), "--out", out)
    assert code == 0
    assert f"no budget curve of mixup on digits at 0.3: {record}: not a whole record" in shown
    rows = (out / "tables" / "tuning_budget.csv").read_text()
    assert "digits,0.15,mixup" in rows
    assert "digits,0.3,mixup" not in rows
    console = Console(record=True, width=400, file=(out / "printed").open("w"))
    search.show(found, out, console)
    assert "not a whole record" in console.export_text()


def test_an_unfinished_budget_is_refused_and_says_of_whom(done: tuple[grid.Origin, Path]) -> None:
    found, out = done
    cell = cells(found)[1]
    (out / "tune" / "runs" / cell.trials[2].runs[0].run_id / "record.json").unlink()
    with pytest.raises(UsageError, match=r"its whole budget.*\n.*l2_sp on digits at 0\.15: 1 tuning runs are not finished"):
        selecting.select(found, out, QUIET)
    assert not (out / "selection.json").exists()
    assert len(trials.curves(found, out, QUIET)) == 7
    console = Console(record=True, width=200, file=(out / "printed").open("w"))
    search.show(found, out, console)
    assert "1 tuning runs are not finished" in console.export_text()
    assert (out / "tune" / "tables" / "tuning_budget.csv").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_accuracy": 0.9}, "it was scored on test"),
        ({"config_hash": "x"}, "not the record of this tuning run"),
        ({"val_accuracy": None}, "not the record of this tuning run"),
        ({"val_accuracy": float("nan")}, "not the record of this tuning run"),
        ({"val_accuracy": 10**400}, "not the record of this tuning run"),
        ({"data_hash": "other"}, "different data or weights"),
    ],
)
def test_records_that_may_not_be_selected_on_are_refused(changes: dict, words: str, done: tuple[grid.Origin, Path]) -> None:
    found, out = done
    write_record(cells(found)[0].trials[0].runs[0], out, 0.9, **changes)
    with pytest.raises(UsageError, match=words):
        selecting.select(found, out, QUIET)


def test_a_selection_reads_records_alone(done: tuple[grid.Origin, Path]) -> None:
    """Snapshots, predictions and curves beside a record change nothing in what is selected."""
    found, out = done
    selecting.select(found, out, QUIET)
    before = (out / "selection.json").read_text()
    for folder in (out / "tune" / "runs").iterdir():
        for name in ("snapshots.csv", "predictions.parquet", "curves.jsonl"):
            (folder / name).write_text("step,test_accuracy,test_mean_class_accuracy\n1,1.0,1.0\n")
    selecting.select(found, out, QUIET)
    assert (out / "selection.json").read_text() == before


def test_auto_means_for_trials_what_it_meant_when_they_were_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep tuned in bf16 is frozen, and its curves are drawn, where auto would be fp32; the final runs are this machine's own."""
    file, out = sweep_file(tmp_path), tmp_path / "out"
    (out / "tune").mkdir(parents=True)
    kept_auto.keep_whole(out / "tune", KeptAuto(None, {"cpu": {"precision": "bf16", "compile": "off", "fold_bn": "off"}}))
    found = grid.read(file, out=out)
    carry_out(found, out)
    assert command(capsys, "select", file, "--out", out)[0] == 0
    assert {cell["conditions"]["precision"] for cell in chosen(out).values()} == {"bf16"}
    assert len(trials.curves(found, out, QUIET)) == 8
    final_sweep = grid.load(file, [f"selection={out / 'selection.json'}"], out)
    assert {config.precision for config in final_sweep.runs} == {"fp32"}
    assert "Tuned with precision bf16, run with fp32." in final_sweep.selection
    kept_auto.keep_whole(out, KeptAuto(None, {"cpu": {"precision": "fp32", "compile": "off", "fold_bn": "off"}}))
    assert {run.precision for cell in cells(grid.read(file, out=out)) for trial in cell.trials for run in trial.runs} == {"bf16"}


def test_edges_are_named() -> None:
    rate = Range(low=0.001, high=0.1, log=True)
    assert "lower edge" in selecting.edge("training.lr", rate, 0.0011, [0.0005, 0.0011, 0.05])
    assert "upper edge" in selecting.edge("training.lr", rate, 0.02, [0.002, 0.02])
    assert selecting.edge("training.lr", rate, 0.01, [0.002, 0.01, 0.02]) == ""
    assert "upper edge of what was tried (0.1, 0.2, 0.5)" in selecting.edge("mixup.alpha", [0.1, 0.2, 0.5], 0.5, [])
    assert selecting.edge("mixup.alpha", [0.1, 0.2, 0.5], 0.2, []) == ""
    assert selecting.edge("kind", ["a", "b", "c"], "a", []) == ""
    assert selecting.edge("kind", [1, 2], 1, []) == ""


def final(tmp_path: Path, out: Path, **changes) -> grid.Sweep:
    return grid.load(sweep_file(tmp_path, selection=str(out / "selection.json"), **changes))


def test_the_final_sweep_takes_the_winners_as_ordinary_options(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    sweep, winners = final(tmp_path, out), chosen(out)
    for config in sweep.runs:
        settings = winners[config.dataset, config.fraction, config.method]["settings"]
        assert config.training.lr == settings["training.lr"]
        assert (config.data.val_fraction, config.evaluation.test, config.seed in (0, 1)) == (0.0, True, True)
        for component in config.components:
            wanted = settings.get(f"{component.name}.alpha", {"l2_sp": 0.01, "mixup": 0.2}.get(component.name))
            assert component.options.get("alpha") == wanted
    by_hand = grid.load(
        sweep_file(tmp_path, tune=None, methods=["fine_tuning"], fractions=[0.3], training={
            "steps": 6, "batch_size": 8, "image_size": 32, "lr": winners["digits", 0.3, "fine_tuning"]["settings"]["training.lr"]})
    )  # fmt: skip
    assert {c.run_id for c in by_hand.runs} <= {c.run_id for c in sweep.runs}
    assert sweep.selection.startswith("Settings were selected per data set, fraction and method: of 6 trials each (random search)")
    assert "Frozen on " in sweep.selection
    assert "Tuned with" not in sweep.selection


def test_differences_between_tuning_and_the_final_sweep_are_said(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    training = {"steps": 12, "batch_size": 8, "image_size": 32}
    words = final(tmp_path, out, seeds=[100, 7], training=training, data={"val_fraction": 0.1}).selection
    assert "Tuned with training.steps 6, run with 12." in words
    assert "Seeds 100 are used both for tuning and here" in words
    assert "hold out a validation part" in words
    assert search.warnings(opened(tmp_path, seeds=[101, 3])) != []
    assert search.warnings(found) == []


def test_differences_of_some_methods_name_them_and_every_value(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    overrides = [
        {"match": {"label": "mixup"}, "set": {"training.steps": 60}},
        {"match": {"label": "l2_sp", "fraction": 0.3}, "set": {"training.steps": 3}},
        {"match": {"label": "l2_sp", "fraction": 0.15}, "set": {"training.momentum": 0.5}},
    ]
    words = final(tmp_path, out, overrides=overrides).selection
    assert "mixup: tuned with training.steps 6, run with 60." in words
    assert "l2_sp on digits at 0.3: tuned with training.steps 6, run with 3." in words
    assert "l2_sp on digits at 0.15: tuned with training.momentum 0.9, run with 0.5." in words
    assert words.count("uned with") == 3


def test_a_selection_after_final_runs_is_refused_or_marked_for_good(
    done: tuple[grid.Origin, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = done[1]
    select = ("select", sweep_file(tmp_path), "--out", out)
    assert command(capsys, *select)[0] == 0
    first = (out / "selection.json").read_text()
    write_final(grid.load(sweep_file(tmp_path, tune=None, methods=["fine_tuning"], training={"lr": 0.5, "steps": 6})).runs[0], out)
    sweep_file(tmp_path)
    assert command(capsys, *select)[0] == 0  # a run by other settings says nothing of these
    runs = [write_final(run, out) for run in final(tmp_path, out).runs[:2]]
    sweep_file(tmp_path)
    code, shown = command(capsys, *select)
    assert code == 2
    assert f"2 final runs with selected settings have been scored on test (among them {runs[0].name})" in shown
    assert "--again makes it, and the caption of the tables will say so" in shown
    (out / "selection.json").rename(out / "aside.json")
    assert command(capsys, *select)[0] == 2
    (out / "aside.json").rename(out / "selection.json")
    assert (out / "selection.json").read_text() == first
    assert command(capsys, *select, "--again")[0] == 0
    (mark,) = json.loads((out / "selection.json").read_text())["again"]
    assert (mark["runs"], mark["replaced"]) == (2, json.loads(first)["digest"])
    said = f"Selected again on {mark['date']}, after 2 final runs with settings that tuning tried had been scored on test."
    assert said in final(tmp_path, out).selection
    (out / "runs").rename(out / "elsewhere")
    sweep_file(tmp_path)
    assert command(capsys, *select)[0] == 0
    assert said in final(tmp_path, out).selection


def test_a_selection_of_an_earlier_version_is_accepted(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    content = json.loads((out / "selection.json").read_text())
    assert content.pop("again") == []
    assert content.pop("tune")["spaces"].keys() == TUNE["spaces"].keys()
    (out / "selection.json").write_text(json.dumps({**content, "digest": selection.digest(content)}))
    assert final(tmp_path, out).selection == f"{content['rule']} Frozen on {content['date']} in {out / 'selection.json'}."


def test_what_the_selection_does_not_cover_is_refused(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    with pytest.raises(UsageError, match=r"chose nothing for rifle on digits at 0\.15, rifle on digits at 0\.3"):
        final(tmp_path, out, tune={**TUNE, "spaces": {}}, methods=["fine_tuning", "rifle"])
    with pytest.raises(UsageError, match=r"chose nothing for fine_tuning on digits at 0\.5"):
        final(tmp_path, out, fractions=[0.15, 0.5])
    with pytest.raises(UsageError, match=r"'mine' was tuned as|chose nothing for mine"):
        final(tmp_path, out, methods=["fine_tuning", {"name": "mine", "use": "smile"}], tune=None)
    with pytest.raises(UsageError, match=r"training\.lr: this sweep's selection sets it"):
        grid.load(sweep_file(tmp_path, selection=str(out / "selection.json")), ["training.lr=0.5"])


def test_what_select_had_to_say_and_the_files_own_note_stand_below_the_table(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    sweep = final(tmp_path, out, note="a busy machine", fractions=[0.3], methods=["fine_tuning", "mixup"], tune=None)
    warned = [w for w in sweep.winners.found.cells if w.fraction == 0.3 and w.method in sweep.methods and w.warnings]
    (notes,) = asked_for(sweep)[0].notes.values()
    assert warned
    assert notes == ("a busy machine", *(f"{w.method}, tuned: {line}" for w in warned for line in w.warnings))


def test_an_override_of_what_was_selected_or_is_tuned_is_refused(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    rate = [{"match": {"method": "mixup"}, "set": {"training.lr": 0.5}}]
    with pytest.raises(UsageError, match=r"set\.training\.lr: of mixup on digits: this sweep's selection sets it"):
        final(tmp_path, out, overrides=rate)
    with pytest.raises(UsageError, match=r"set\.training\.lr: of mixup on digits: tuning sets it"):
        trials.cells(opened(tmp_path, overrides=rate))
    with pytest.raises(UsageError, match=r"set\.data\.val_fraction: of mixup on digits: tuning sets it"):
        trials.cells(opened(tmp_path, overrides=[{"match": {"method": "mixup"}, "set": {"data.val_fraction": 0.1}}]))
    other = final(tmp_path, out, overrides=[{"match": {"method": "mixup"}, "set": {"training.momentum": 0.5}}])
    assert {run.training.momentum for run in other.runs if "mixup" in run.method} == {0.5}


@pytest.mark.parametrize("assignment", ["training.lr=0.5", "data.val_fraction=0.1", "l2_sp.alpha=1.0"])
def test_what_tuning_sets_is_not_set_on_the_command_line(assignment: str, tmp_path: Path) -> None:
    found = grid.read(sweep_file(tmp_path), [assignment])
    with pytest.raises(UsageError, match=re.escape(assignment.partition("=")[0]) + ": tuning sets it"):
        selecting.select(found, tmp_path / "out", QUIET)
    with pytest.raises(UsageError, match=re.escape(assignment.partition("=")[0]) + ": tuning sets it"):
        search.run(found, tmp_path / "out", 1, QUIET)


def test_keys_of_the_tune_block_are_set_on_the_command_line(tmp_path: Path) -> None:
    found = grid.read(sweep_file(tmp_path), ["tune.trials=2", "tune.seeds=[7]"])
    assert {(len(cell.trials), run.seed) for cell in trials.cells(found) for trial in cell.trials for run in trial.runs} == {(2, 7)}


def test_a_label_that_means_another_method_now_is_refused(tmp_path: Path) -> None:
    found, out = opened(tmp_path, {**TUNE, "spaces": {}}, methods=["fine_tuning", {"name": "mine", "use": "l2_sp"}]), tmp_path / "out"
    carry_out(found, out)
    selecting.select(found, out, QUIET)
    with pytest.raises(UsageError, match="'mine' was tuned as l2_sp, and is not that here"):
        final(tmp_path, out, tune=None, methods=["fine_tuning", {"name": "mine", "use": "mixup"}])


def test_a_changed_selection_or_record_is_refused(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    text = (out / "selection.json").read_text()
    content = json.loads(text)
    content["cells"][0]["settings"]["training.lr"] = 0.09
    (out / "selection.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="was changed after it was frozen"):
        final(tmp_path, out)
    (out / "selection.json").write_text("{")
    with pytest.raises(UsageError, match=r"selection\.json: not JSON"):
        final(tmp_path, out)
    (out / "selection.json").write_text(text)
    used = json.loads(text)["cells"][2]
    config = next(c for c in cells(found) if (c.method, c.fraction) == ("mixup", 0.15)).trials[used["trial"]].runs[0]
    write_record(config, out, 0.5)
    with pytest.raises(UsageError, match=r"record\.json is not the record that was used"):
        final(tmp_path, out)
    (out / "tune").rename(out / "moved")
    assert final(tmp_path, out).selection  # committed alone, without the records


def test_a_selection_made_with_other_data_or_weights_is_refused(done: tuple[grid.Origin, Path], tmp_path: Path) -> None:
    found, out = done
    selecting.select(found, out, QUIET)
    sweep = final(tmp_path, out)
    config = sweep.runs[0]
    here = sweep.winners.made_with_others
    assert here([(config, "made up", "made up"), (config, None, None)]) == []
    lines = here([(config, "made up", "others"), (config, "others", "made up"), (config, "others", "made up")])
    assert [line.split(" than ")[0] for line in lines] == [
        "selection: settings for digits were tuned with other weights",
        "selection: settings for digits were tuned with other images",
    ]
    assert "tuned with other weights" in plan.make(sweep, out).missing[0]


def test_a_sweep_that_is_not_ready_loads_and_says_what_to_do(tmp_path: Path) -> None:
    later = final(tmp_path, tmp_path / "nowhere")
    assert "does not exist: run 'smilebench tune' and 'smilebench select'" in plan.make(later, tmp_path / "out").missing[0]
    only = grid.load(sweep_file(tmp_path))
    assert "this sweep is for 'smilebench tune'" in plan.make(only, tmp_path / "out").missing[0]
    with pytest.raises(UsageError, match="smilebench tune"):
        local_sweep.run(only, tmp_path / "out", 1, QUIET)
    untested = grid.load(sweep_file(tmp_path, tune=None, data={"val_fraction": 0.2}, linearity={"pairs": 0}, evaluation={"test": False}))
    with pytest.raises(UsageError, match=r"evaluation\.test: false is for 'smilebench tune'"):
        local_sweep.run(untested, tmp_path / "out", 1, QUIET)
    with pytest.raises(UsageError, match="tune: this key is missing"):
        cells(grid.read(sweep_file(tmp_path, tune=None)))


def test_a_tuning_record_is_no_result_of_an_ordinary_report(done: tuple[grid.Origin, Path]) -> None:
    from benchmark.report.collect import Expected, SweepInfo

    found, out = done
    config = cells(found)[0].trials[0].runs[0]
    expected = [Expected(config.run_id, config.dataset, config.fraction, config.method, config.seed)]
    (absent,) = collect(out / FOLDER, expected).absent
    assert (absent.state, absent.reason) == ("unreadable", "record.json: it is of a tuning run, which is never scored on test")
    info = SweepInfo("x", "fine_tuning", ("fine_tuning",), "smile", "", "", tuning=trials.curves(found, out, QUIET))
    report = build(out / FOLDER, info, expected)
    assert "tuning run" in report.tables[0].notes[0]
    assert (out / FOLDER / "figures" / "budget-digits-0.3.png").is_file()
    assert not build(out / FOLDER, info, expected).redrawn
