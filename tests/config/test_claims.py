"""Claims of a sweep file: what they stand for, what is refused, and what is kept of them once runs exist."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.config import grid, kept_claims
from benchmark.errors import UsageError
from benchmark.report.collect import StatedClaim
from benchmark.sweep import results

CLAIM = {"name": "closer", "metric": "accuracy", "left": "l2_sp", "right": "fine_tuning", "direction": "higher"}


def written(folder: Path, claims: Any, **changes: Any) -> str:
    content = {"name": "x", "datasets": ["digits"], "methods": ["fine_tuning", "l2_sp"], "seeds": 3, "runtime": {"device": "cpu"}}
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(content | {"claims": claims} | changes))
    return str(path)


def stated(folder: Path, claims: Any) -> tuple[StatedClaim, ...]:
    return grid.load(written(folder, claims)).claims


def test_lists_of_a_claim_are_a_cross_product(tmp_path: Path) -> None:
    row = CLAIM | {"metric": ["accuracy", "label_l1"], "split": ["train", "test"], "margin": 0.5}
    found = stated(tmp_path, [row])
    assert [(c.metric, c.split) for c in found] == [(m, s) for m in ("accuracy", "label_l1") for s in ("train", "test")]
    assert [c.name for c in found][1] == "closer (accuracy, test)"
    assert all(c.margin == 0.5 and c.applicable for c in found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "acuracy"}, ["claims.0.metric", "did you mean 'accuracy'", "label_kl"]),
        ({"split": "val"}, ["claims.0.split", "train", "test"]),
        ({"metric": "ece", "split": "train"}, ["claims.0.split", "ece is not measured on train"]),
        ({"left": "l2sp"}, ["claims.0.left", "did you mean 'l2_sp'", "fine_tuning"]),
        ({"right": ["fine_tuning", "mixup"]}, ["claims.0.right", "unknown method of this sweep 'mixup'"]),
        ({"right": []}, ["claims.0.right", "empty"]),
        ({"right": ["fine_tuning", "fine_tuning"]}, ["claims.0.right", "twice"]),
        ({"direction": "up"}, ["claims.0.direction", "'higher' or 'lower'"]),
        ({"margin": "some"}, ["claims.0.margin", "'some'"]),
        ({"margins": 1}, ["claims.0.margins", "did you mean 'margin'"]),
        ({"name": ""}, ["claims.0.name"]),
        ({"right": "l2_sp"}, ["claims.0", "left and right are both 'l2_sp'"]),
    ],
)
def test_a_claim_is_refused_in_words(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        stated(tmp_path, [CLAIM | changes])
    for word in ["x.yaml", *words]:
        assert word in str(error.value)


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"claims\.1\.name: 'closer' is given twice"):
        stated(tmp_path, [CLAIM, CLAIM | {"margin": 1.0}])


def test_claims_are_included_from_a_file_beside_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    rows = [CLAIM, CLAIM | {"name": "other", "right": "smile", "optional": True}]
    (tmp_path / "more" / "mine.yaml").write_text(yaml.safe_dump({"claims": rows}))
    found = stated(tmp_path, "more/mine.yaml")
    assert [(c.name, c.applicable) for c in found] == [("closer", True), ("other", False)]
    sweep = grid.load(written(tmp_path, "more/mine.yaml"))
    assert sweep.origin is not None
    (tmp_path / "whole.yaml").write_text(sweep.origin.text)
    assert grid.load(str(tmp_path / "whole.yaml")).claims == found, "the kept copy of the sweep file stands alone"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere.yaml", None, ["claims", "nowhere.yaml", "claims_smile"]),
        ("claims_smil", None, ["did you mean 'claims_smile'"]),
        ("mine.yaml", {"claims": []}, ["mine.yaml", "a list of claims"]),
        ("mine.yaml", {"claims": [CLAIM], "name": "y"}, ["mine.yaml", "unknown key 'name'"]),
        ("mine.yaml", {"claims": [CLAIM | {"metric": "acc"}]}, ["mine.yaml", "claims.0.metric"]),
        ("mine.yaml", {"claims": ["smile wins"]}, ["mine.yaml", "claims.0", "smile wins"]),
    ],
)
def test_a_file_of_claims_is_refused_in_words(name: str, content: Any, words: list[str], tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as error:
        stated(tmp_path, name)
    for word in words:
        assert word in str(error.value)


def test_claims_are_no_part_of_a_run_and_a_single_run_takes_none(tmp_path: Path) -> None:
    names = [[run.run_id for run in grid.load(written(tmp_path, claims)).runs] for claims in ([], [CLAIM])]
    assert names[0] == names[1]
    with pytest.raises(UsageError, match="claims: one run compares nothing"):
        grid.single(["method=l2_sp", "dataset=digits", "claims=claims_smile"])


def test_other_methods_of_the_command_line_leave_a_claim_inapplicable(tmp_path: Path) -> None:
    (claim,) = grid.load(written(tmp_path, [CLAIM]), ["methods=[fine_tuning]"]).claims
    assert not claim.applicable


def test_columns_are_refused_in_words(tmp_path: Path) -> None:
    assert grid.load(written(tmp_path, [], columns=["nll", "loss_ratios"])).columns == ("nll", "loss_ratios")
    with pytest.raises(UsageError, match="unknown column 'eec'; did you mean 'ece'"):
        grid.load(written(tmp_path, [], columns=["eec"]))
    with pytest.raises(UsageError, match="'nll' is given twice"):
        grid.load(written(tmp_path, [], columns=["nll", "nll"]))


def test_smiles_claims_are_those_of_the_sweeps_that_include_them() -> None:
    cifar10, paper = (grid.load(name) for name in ("cifar10", "paper"))
    assert [c.name for c in cifar10.claims] == [c.name for c in paper.claims]
    assert {c.left for c in cifar10.claims} == {"smile"}
    assert sum(c.applicable for c in cifar10.claims) == sum(c.applicable for c in paper.claims) == 28
    for sweep in (cifar10, paper):
        assert all({c.left, c.right} <= set(sweep.methods) for c in sweep.claims if c.applicable)
    with pytest.raises(UsageError, match="unknown sweep 'claims_smile'"):
        grid.load("claims_smile")


def begin(folder: Path) -> None:
    """A run of the results folder is started."""
    (folder / "runs" / "some-run" / "claims").mkdir(parents=True)


def keep(tmp_path: Path, claims: Any) -> kept_claims.KeptClaims:
    return kept_claims.keep(tmp_path / "out", stated(tmp_path, claims))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def at(time: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(kept_claims, "_now", lambda: time)
    return time


def test_a_claim_stated_before_any_run_keeps_its_time(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = at("2001-02-03T04:05:06+00:00", monkeypatch)
    first = keep(tmp_path, [CLAIM])
    content = json.loads((out / "claims.json").read_text())
    assert content["claims"][0]["first_seen"] == first.claims[0].first_seen == then
    assert content["digest"] == first.digest
    begin(out)
    at("2001-03-01T00:00:00+00:00", monkeypatch)
    again = keep(tmp_path, [CLAIM])
    assert (again.claims[0].first_seen, again.claims[0].late) == (then, "")
    assert not again.about_late()


@pytest.mark.parametrize(
    "change", [{"first_seen": "2001-02-03T04:05:06+00:00"}, {"late": "", "before": []}, {"seeds": [0]}, {"cells": {}}, {"withdrawn": ""}]
)
def test_what_is_kept_and_changed_by_hand_counts_as_lost(change: dict[str, Any], tmp_path: Path, out: Path) -> None:
    keep(tmp_path, [CLAIM, CLAIM | {"name": "other"}])
    begin(out)
    keep(tmp_path, [CLAIM | {"margin": 1.0}])
    content = json.loads((out / "claims.json").read_text())
    for row in content["claims"]:
        row |= change
    (out / "claims.json").write_text(json.dumps(content))
    assert [(c.late, c.withdrawn) for c in keep(tmp_path, [CLAIM | {"margin": 1.0}]).claims] == [("added", "")]


def test_that_runs_began_cannot_be_undone_by_hand(tmp_path: Path, out: Path) -> None:
    keep(tmp_path, [CLAIM])
    begin(out)
    keep(tmp_path, [CLAIM])
    content = json.loads((out / "claims.json").read_text())
    assert content["begun"] is True
    (out / "claims.json").write_text(json.dumps(content | {"begun": False}))
    (out / "runs").rename(out / "elsewhere")
    assert [c.late for c in keep(tmp_path, [CLAIM | {"margin": 1.0}]).claims] == ["added"]


def test_runs_that_were_moved_away_have_been_seen_all_the_same(tmp_path: Path, out: Path) -> None:
    keep(tmp_path, [CLAIM])
    begin(out)
    keep(tmp_path, [CLAIM])
    (out / "runs").rename(out / "elsewhere")
    keep(tmp_path, [CLAIM | {"margin": 1.0}])
    (out / "elsewhere").rename(out / "runs")
    assert [c.late for c in keep(tmp_path, [CLAIM | {"margin": 1.0}]).claims] == ["edited"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overrides": [{"match": {"method": "l2_sp"}, "set": {"l2_sp.alpha": 0.5}}]}, ("settings of its methods were changed",)),
        ({"training": {"steps": 7}}, ("settings of its methods were changed",)),
        ({"seeds": 4}, ("seeds were added",)),
        ({"seeds": [0, 1, 7]}, ("seeds were changed",)),
        ({"seeds": 2}, ("seeds were changed",)),
        ({"fractions": [1.0, 0.5]}, ("data sets or fractions were added",)),
        ({"datasets": [{"name": "mine", "use": "digits"}]}, ("data sets or fractions were changed",)),
        ({"runtime": {"device": "cpu", "threads": 2}}, ()),
        ({"methods": ["fine_tuning", "l2_sp", "mixup"]}, ()),
        ({"overrides": [{"match": {"method": "mixup"}, "set": {"mixup.alpha": 0.5}, "optional": True}]}, ()),
    ],
)
def test_a_claim_is_bound_to_what_it_is_measured_on(changes: dict[str, Any], words: tuple[str, ...], tmp_path: Path, out: Path) -> None:
    keep(tmp_path, [CLAIM])
    begin(out)
    for _ in range(2):
        (claim,) = kept_claims.keep(out, grid.load(written(tmp_path, [CLAIM], **changes)).claims).claims
        assert (claim.changed, claim.late) == (words, "")
    back = keep(tmp_path, [CLAIM])
    assert not back.claims[0].changed, "what was stated is what is measured"
    assert not back.about_late()


def test_seeds_and_settings_may_be_changed_freely_before_any_run(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at("2001-01-01T00:00:00+00:00", monkeypatch)
    keep(tmp_path, [CLAIM])
    later = at("2001-01-02T00:00:00+00:00", monkeypatch)
    other = grid.load(written(tmp_path, [CLAIM], seeds=4)).claims
    assert [(c.changed, c.late, c.first_seen) for c in kept_claims.keep(out, other).claims] == [((), "", later)]
    begin(out)
    assert kept_claims.keep(out, other).about_late() == ""
    assert keep(tmp_path, [CLAIM]).about_late() == "claims: 1 with other seeds or settings after runs existed, of 1; the report marks them"


@pytest.mark.parametrize("how", ["command line", "optional"])
def test_a_claim_whose_method_is_dropped_after_runs_exist_is_withdrawn(how: str, tmp_path: Path, out: Path) -> None:
    row = CLAIM | {"optional": True}
    never = CLAIM | {"name": "never", "left": "rifle", "optional": True}
    assert [c.withdrawn for c in keep(tmp_path, [row, never]).claims] == ["", ""]
    begin(out)
    dropped = {"methods": ["fine_tuning", "mixup"]} if how == "optional" else {}
    assignments = ["methods=[fine_tuning]"] if how == "command line" else []
    found = [kept_claims.keep(out, grid.load(written(tmp_path, [row, never], **dropped), assignments).claims) for _ in range(2)]
    assert found[0] == found[1], "the time does not move"
    first, second = found[0].claims
    assert (bool(first.withdrawn), first.applicable, bool(second.withdrawn)) == (True, False, False)
    assert "1 withdrawn after runs existed" in found[0].about_late()
    back = keep(tmp_path, [row, never]).claims[0]
    assert (back.withdrawn, back.late, back.changed) == ("", "", ()), "the claim that was stated is there again"
    assert [c.name for c in keep(tmp_path, [row]).claims] == ["closer"], "what never applied is not withdrawn"


def test_a_claim_that_gets_its_method_after_runs_exist_is_marked(tmp_path: Path, out: Path) -> None:
    row = CLAIM | {"right": "mixup", "optional": True}
    keep(tmp_path, [row])
    begin(out)
    more = grid.load(written(tmp_path, [row], methods=["fine_tuning", "l2_sp", "mixup"])).claims
    assert [c.changed for c in kept_claims.keep(out, more).claims] == [("one of its methods was added",)]


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "accuracy_v2"},
        {"split": "val"},
        {"metric": "ece", "split": "train"},
        {"direction": "up"},
        {"margin": float("nan")},
        {"margin": float("inf")},
        {"margin": None},
        {"first_seen": "yesterday"},
        {"late": "perhaps"},
        {"seeds": ["a"]},
        {"cells": []},
        {"before": [3]},
        {"applicable": "yes"},
    ],
)
def test_a_row_that_no_version_wrote_is_as_if_it_were_lost(change: dict[str, Any], tmp_path: Path, out: Path) -> None:
    good, other = keep(tmp_path, [CLAIM, CLAIM | {"name": "foreign"}]).claims
    begin(out)
    content = json.loads((out / "claims.json").read_text()) | {"begun": True}
    content["claims"][1] |= change
    content["digest"] = kept_claims.KeptClaims((good, replace(other, **change)), begun=True).digest
    (out / "claims.json").write_text(json.dumps(content))
    for found in (kept_claims.joined([out]), keep(tmp_path, [CLAIM])):
        assert [(c.name, c.late) for c in found.claims] == [("closer", "")]


def test_a_claim_may_be_edited_freely_before_any_run(tmp_path: Path, out: Path) -> None:
    before = keep(tmp_path, [CLAIM, CLAIM | {"name": "other", "direction": "lower"}])
    after = keep(tmp_path, [CLAIM | {"margin": 1.0}])
    assert [(c.name, c.late, c.before, c.withdrawn) for c in after.claims] == [("closer", "", (), "")]
    assert before.digest != after.digest


def test_what_changes_after_runs_exist_is_kept_with_the_old_text(tmp_path: Path, out: Path) -> None:
    other = CLAIM | {"name": "other", "metric": "label_l1", "direction": "lower"}
    keep(tmp_path, [CLAIM, other])
    begin(out)
    found = keep(tmp_path, [CLAIM | {"margin": 1.0}, CLAIM | {"name": "new", "split": "train"}])
    edited, added, withdrawn = found.claims
    assert (edited.late, added.late, bool(withdrawn.withdrawn)) == ("edited", "added", True)
    assert edited.before[0].startswith("l2_sp higher than fine_tuning in accuracy on test (stated on ")
    assert edited.words == "l2_sp higher than fine_tuning in accuracy on test by more than 1"
    assert (withdrawn.name, withdrawn.metric) == ("other", "label_l1")
    assert found.about_late() == "claims: 1 added, 1 edited, 1 withdrawn after runs existed, of 3; the report marks them"
    back = keep(tmp_path, [CLAIM, other]).claims
    assert [(c.name, c.late, len(c.before)) for c in back[:2]] == [("closer", "edited", 2), ("other", "edited", 1)]
    assert [(c.name, bool(c.withdrawn)) for c in back[2:]] == [("new", True)]


def test_looking_changes_nothing(tmp_path: Path, out: Path) -> None:
    begin(out)
    assert kept_claims.together(out, stated(tmp_path, [CLAIM])).claims[0].late == "added"
    assert not (out / "claims.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"claims": 3}', '{"claims": [3, {"name": "closer"}]}'])
def test_a_damaged_file_makes_no_claim_older_than_the_runs(content: str, tmp_path: Path, out: Path) -> None:
    (out / "claims.json").write_text(content)
    begin(out)
    assert [c.late for c in keep(tmp_path, [CLAIM]).claims] == ["added"]


@pytest.mark.parametrize("name", ["caltech101", "cifar10"])
def test_the_published_claims_are_whole_and_older_than_the_runs(name: str) -> None:
    folder = grid.SWEEPS.parent / "results" / "reference" / name
    found = kept_claims.joined([folder])
    assert len(found.claims) == 40
    assert {c.late for c in found.claims} == {""}
    begun = min(json.loads(path.read_text())["started_at"] for path in folder.glob("runs/*/record.json"))
    assert max(c.first_seen for c in found.claims) < begun


def test_a_sweep_without_claims_keeps_nothing(tmp_path: Path, out: Path) -> None:
    sweep = grid.load(written(tmp_path, []))
    assert kept_claims.keep(out, sweep.claims).claims == ()
    assert not (out / "claims.json").exists()
    assert results.asked_for(sweep)[0].claims == ()


def test_folders_that_become_one_sweep_join_their_claims_at_their_latest(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two", "three", "target")]
    for place in places:
        place.mkdir()
    other = CLAIM | {"name": "other"}
    for place, claims in ((places[0], [CLAIM, other]), (places[1], [CLAIM, other | {"margin": 1.0}])):
        kept_claims.keep(place, stated(tmp_path, claims))
        begin(place)
    found = kept_claims.joined([places[3], *places[:2]])
    assert [(c.name, c.late, len(c.before)) for c in found.claims] == [("closer", "", 0), ("other", "edited", 1)]
    begin(places[2])
    assert [c.late for c in kept_claims.joined([places[3], *places[:3]]).claims] == ["added", "edited"], "the third knows no claims"
    kept_claims.keep_whole(places[3], found)
    begin(places[3])
    assert kept_claims.keep(places[3], stated(tmp_path, [CLAIM])).claims[0].late == ""


def test_a_sweep_whose_seeds_were_divided_between_folders_is_measured_as_was_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    for hour, (place, seeds) in enumerate(zip(places, ("[0]", "[1, 2]"), strict=True)):
        place.mkdir()
        last = at(f"2001-01-01T0{hour}:00:00+00:00", monkeypatch)
        kept_claims.keep(place, grid.load(written(tmp_path, [CLAIM]), [f"seeds={seeds}"]).claims)
        begin(place)
    found = kept_claims.joined(places)
    assert [(c.seeds, c.late, c.first_seen) for c in found.claims] == [((0, 1, 2), "", last)]
    kept_claims.keep_whole(places[0], found)
    assert keep_in(places[0], tmp_path).changed == ()
    assert kept_claims.joined([places[1], places[1]]).claims == kept_claims.joined([places[1]]).claims


def keep_in(place: Path, tmp_path: Path) -> StatedClaim:
    return kept_claims.keep(place, stated(tmp_path, [CLAIM])).claims[0]
