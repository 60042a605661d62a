"""An archive holds the finished runs of one sweep, without what is of the machine, and is the same for the same files."""

import tarfile
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.errors import UsageError
from benchmark.exchange.pack import run as pack
from benchmark.storage.run_folder import RunFolder
from tests.exchange.halves import Halves

CONSOLE = Console(quiet=True)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``results/made_up`` with two finished runs and one that is not, below the working folder."""
    monkeypatch.chdir(tmp_path)
    halves = Halves(tmp_path)
    folder = halves.write("results/made_up", halves.seed(0))
    RunFolder(folder / "runs" / "begun").create("{}")
    return folder


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_an_archive_is_sorted_reproducible_and_without_what_is_of_the_machine(results: Path, tmp_path: Path) -> None:
    run = sorted((results / "runs").iterdir())[1]
    (results / "sweep.yaml").write_text("name: made_up")
    pack(["made_up.yaml"], Path("first.tar.gz"), Path("results"), CONSOLE)
    for name in ("claims/1", "checkpoint/state.pt", "progress.json", "weights.safetensors"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("x")
    (run / "record.json").touch()
    pack([str(results)], tmp_path / "second.tar.gz", Path("results"), CONSOLE)
    assert Path("first.tar.gz").read_bytes() == Path("second.tar.gz").read_bytes()
    found = names(Path("first.tar.gz"))
    assert found == sorted(found)
    kept = ("config.yaml", "curves.jsonl", "linearity.csv", "predictions.parquet", "record.json")
    runs = [path.name for path in sorted((results / "runs").iterdir()) if path.name != "begun"]
    assert found == [*(f"made_up/runs/{run}/{name}" for run in runs for name in kept), "made_up/sweep.yaml"]
    with tarfile.open("first.tar.gz") as tar:
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in tar} == {(0, 0, "", 0o644)}


def test_one_run_is_packed_by_its_folder_its_id_or_the_beginning_of_it(results: Path) -> None:
    run = sorted((results / "runs").iterdir())[1]
    for number, text in enumerate((str(run), run.name, run.name[:-2])):
        pack([text], Path(f"{number}.tar.gz"), Path("results"), CONSOLE)
    assert len({Path(f"{number}.tar.gz").read_bytes() for number in range(3)}) == 1
    pack([run.name], None, Path("results"), CONSOLE)
    assert names(Path(f"{run.name}.tar.gz"))[0] == f"made_up/runs/{run.name}/config.yaml"


@pytest.mark.parametrize(
    ("named", "to", "words"),
    [
        (["nothing"], None, "'nothing' is no sweep, no results folder, and no run under results"),
        (["digits"], None, "'digits' is the beginning of 2 runs: give more of it, or the folder"),
        (["begun"], None, "not finished (new); only finished runs are packed"),
        (["quick"], None, "no run under results/quick yet"),
        (["results/made_up", "results/other"], None, "results/made_up, results/other: an archive holds runs of one sweep"),
        (["results/made_up"], "a.zip", "--to a.zip: name a .tar.gz file"),
        (["results/made_up"], "there.tar.gz", "there.tar.gz: exists"),
        (["results/empty"], None, "results/empty: no finished run to pack"),
    ],
)
def test_bad_input_is_refused(results: Path, named: list[str], to: str | None, words: str) -> None:
    Halves(results.parents[1]).write("results/other", [])
    (results.parent / "empty" / "runs").mkdir(parents=True)
    Path("there.tar.gz").write_text("mine")
    with pytest.raises(UsageError) as refusal:
        pack(named, to and Path(to), Path("results"), CONSOLE)
    assert words in str(refusal.value)
    assert Path("there.tar.gz").read_text() == "mine"
    assert len(list(Path().glob("*.tar.gz"))) == 1


def test_a_run_in_two_results_folders_is_asked_for_by_its_folder(results: Path) -> None:
    halves = Halves(results.parents[1])
    item = halves.seed(0)[0]
    other = halves.write("results/other", [item])
    with pytest.raises(UsageError) as refusal:
        pack([item.run_id], None, Path("results"), CONSOLE)
    places = ", ".join(f"results/{name}/runs/{item.run_id}" for name in ("made_up", "other"))
    assert str(refusal.value) == f"'{item.run_id}' is in 2 results folders: name its folder: {places}"
    pack([str(other / "runs" / item.run_id)], None, Path("results"), CONSOLE)
