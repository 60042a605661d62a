"""What cannot work is refused before any run, in a line that names the place; what should work does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import devices
from benchmark.config import grid, kept_auto, run_config, slurm_options
from benchmark.config.slurm_options import Slurm
from benchmark.devices import Gpu
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.sweep import plan
from datasets.base import DataError, cache_root


def written(folder: Path, **changes: Any) -> str:
    content = {
        "name": "x",
        "datasets": ["digits"],
        "methods": ["fine_tuning", "l2_sp"],
        "seeds": 1,
        "runtime": {"device": "cpu"},
        **changes,
    }
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True))
    return str(path)


@pytest.mark.parametrize(
    "assignment",
    ["training.lr=.inf", "training.lr=1e400", "training.weight_decay=.inf", "l2_sp.alpha=.nan", "l2_sp.alpha=-.inf", "fractions=[.nan]"],
)
def test_numbers_are_finite(assignment: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finite") as error:
        grid.load(written(tmp_path), [assignment])
    assert assignment in str(error.value)


def test_numbers_that_a_program_gives_are_finite_too() -> None:
    with pytest.raises(UsageError, match="finite"):
        run_config.validate(run_config.Training, {"lr": float("inf")}, "here")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["fine_tuning", {"name": "a", "use": "l2_sp", "alpha": float("nan")}]}, "'.nan' is no finite number"),
        ({"methods": ["fine_tuning", {"name": "b", "use": "mixup", "alpha": float("inf")}]}, "'.inf' is no finite number"),
        ({"methods": ["fine_tuning", {"name": "c", "use": "smile", "feature_weight": float("nan")}]}, "'.nan' is no finite number"),
        ({"training": {"weight_decay": -float("inf")}}, "'-.inf' is no finite number"),
        ({"name": ".."}, "name"),
        ({"name": "."}, "name"),
        ({"name": "x\n"}, "name"),
        ({"methods": ["fine_tuning", {"name": "", "use": "l2_sp"}]}, "a name is empty"),
        ({"methods": ["fine_tuning", {"name": "two\nlines\n", "use": "l2_sp"}]}, "one line"),
        ({"methods": ["fine_tuning", {"name": "\x1b[31m", "use": "l2_sp"}]}, "one line"),
        ({"methods": ["fine_tuning", {"name": "l" * 300, "use": "l2_sp"}]}, "longer than"),
        ({"methods": ["fine_tuning", {"name": "a b", "use": "l2_sp"}, {"name": "a_b", "use": "l2_sp"}]}, "share folders"),
        ({"datasets": [{"name": "a b", "use": "digits"}, {"name": "a_b", "use": "digits"}]}, "share folders"),
        ({"datasets": [{"name": "d" * 300, "use": "digits"}]}, "longer than"),
        ({"seeds": 10**9}, "seeds"),
        ({"seeds": 100_000, "fractions": [n / 100 for n in range(1, 99)]}, "runs are more than"),
        ({"training": {"momentum": 0.0}}, "nesterov: false"),
        ({"training": {"image_size": 128}, "data": {"resize": 64}}, "data.resize"),
        ({"data": {"test_images": 1}}, "test_images"),
        ({"data": {"use": "folder:/x"}}, "datasets"),
        ({"overrides": [{"set": {"data.use": "folder:/x"}}]}, "datasets"),
        ({"overrides": [{"match": {"seed": [[1]]}, "set": {"training.lr": 1.0}}]}, "hits no run"),
        ({"int": 3}, "unknown key 'int'"),
        ({"training": {"str": 3}}, "unknown key 'str'"),
        ({"backbone": "resnet18@~nobody_here/x.pt"}, "whole path"),
    ],
)
def test_a_sweep_file_is_refused_in_words(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        grid.load(written(tmp_path, **changes))
    assert words in str(error.value)
    assert "x.yaml" in str(error.value)
    assert len(str(error.value)) < 700


def test_a_data_set_given_on_the_command_line_is_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="datasets"):
        grid.load(written(tmp_path), ["data.use=folder:/x"])


@pytest.mark.parametrize(("text", "seeds"), [("[07, 08, 09]", [7, 8, 9]), ("[010, 011]", [10, 11]), ("[+07, 00]", [7, 0])])
def test_leading_zeros_of_a_file_are_decimal(text: str, seeds: list[int], tmp_path: Path) -> None:
    path = Path(written(tmp_path, methods=["fine_tuning"]))
    path.write_text(path.read_text().replace("seeds: 1\n", f"seeds: {text}\n"))
    assert [run.seed for run in grid.load(str(path)).runs] == seeds


def test_leading_zeros_are_decimal(tmp_path: Path) -> None:
    assert [run.seed for run in grid.load(written(tmp_path), ["seeds=[07,08,010]", "methods=[fine_tuning]"]).runs] == [7, 8, 10]
    assert len(grid.load(written(tmp_path), ["seeds=08", "methods=[fine_tuning]"]).runs) == 8


def test_merge_keys_are_read(tmp_path: Path) -> None:
    path = Path(written(tmp_path, methods=["fine_tuning"]))
    extra = "methods: [fine_tuning, &base {name: a, use: l2_sp, alpha: 0.5}, {<<: *base, name: b, beta: 0.25}]\n"
    path.write_text(path.read_text().replace("methods:\n- fine_tuning\n", extra))
    options = {run.method: run.components[0].options for run in grid.load(str(path)).runs}
    assert (options["b"]["alpha"], options["b"]["beta"]) == (0.5, 0.25)


@pytest.mark.parametrize("content", [b"# caf\xe9\nname: x\n", b"name: x\n\xff\xfe"])
def test_a_file_that_is_no_utf8_is_refused_with_the_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.yaml: not UTF-8 \(line [12]\)"):
        grid.load(str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(encoding: str, tmp_path: Path) -> None:
    path = Path(written(tmp_path, methods=["fine_tuning", {"name": "café", "use": "l2_sp"}]))
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert [run.method for run in grid.load(str(path)).runs] == ["fine_tuning", "café"]


MULTIPLIED = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{x}: &{x} [{', '.join(['*' + y] * 10)}]\n" for y, x in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000 + "a", "? " * 100_000, MULTIPLIED, "!!int abc", "&a [*a]", "9" * 5000]
)
def test_shapes_that_would_end_the_process_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="here: not valid YAML"):
        yamlio.parse(text, "here")


@pytest.mark.parametrize("content", ["[]", '"x"', "{", '{"a": NaN}', "[" * 5000])
def test_json_of_another_shape_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"x\.json: not (a )?JSON"):
        yamlio.read_json_mapping(path)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"partition": "a\nrm -rf x"}, "partition"),
        ({"account": "a b"}, "account"),
        ({"qos": "x\ty"}, "qos"),
        ({"gpus": "a100\n:2"}, "gpus"),
        ({"sbatch": {"comment": "a\nrm x"}}, "line break"),
        ({"sbatch": {"comment\nx": "a"}}, "no long option"),
        ({"sbatch": {"o": "/x"}}, "no long option"),
        ({"sbatch": {"outp": "/x"}}, "short for sbatch's output"),
        ({"mem": "16x"}, "16G"),
        ({"mem": 0}, "16G"),
    ],
)
def test_what_would_become_shell_is_refused(block: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        grid.load(written(tmp_path, slurm=block))
    assert words in str(error.value)


@pytest.mark.parametrize(("given", "meant"), [("16g", "16G"), (16000, "16000"), ("4096M", "4096M"), ("2Tb", "2T"), ("16 ", "16")])
def test_memory_is_written_as_slurm_takes_it(given: Any, meant: str) -> None:
    assert Slurm.model_validate({"mem": given}).mem == meant


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> Any:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)


def test_no_home_is_no_file_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    assert slurm_options.user_file() is None
    assert slurm_options.resolve(Slurm()) == Slurm()
    assert plan.make(grid.load(written(tmp_path)), tmp_path / "out").runs


def test_no_home_and_no_cache_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    monkeypatch.delenv("SMILEBENCH_CACHE")
    with pytest.raises(DataError, match="set SMILEBENCH_CACHE"):
        cache_root()


def test_a_tilde_in_the_cache_is_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SMILEBENCH_CACHE", "~/x")
    assert cache_root() == tmp_path / "x"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fractions": [0.005], "data": {"val_fraction": 0.2}}, "no class has two training images"),
        ({"fractions": [0.005, 0.5], "data": {"val_fraction": 0.5}}, "at fraction 0.005"),
    ],
)
def test_a_subset_from_which_nothing_can_be_held_out_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        plan.make(grid.load(written(tmp_path, **changes)), tmp_path / "out")
    assert plan.make(grid.load(written(tmp_path, fractions=[0.005])), tmp_path / "out").runs


def test_what_auto_meant_is_kept_with_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = written(tmp_path, runtime={}), tmp_path / "out"
    out.mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    on_gpu = grid.load(file, out=out)
    on_gpu.origin.keep_auto(on_gpu.runs, on_gpu.origin.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    here = grid.load(file, out=out)
    assert [run.run_id for run in here.runs] == [run.run_id for run in on_gpu.runs]
    assert {run.precision for run in here.runs} == {"bf16"}
    assert "runtime.device auto means cuda here" in here.origin.about_auto()
    assert grid.load(file, out=tmp_path / "other").runs[0].precision == "fp32"
    assert grid.load(file, ["runtime.device=cpu"], out=out).runs[0].precision == "fp32"
    (out / kept_auto.FILE).write_text('["torn"]')
    assert grid.load(file, out=out).runs[0].precision == "fp32"


@pytest.mark.parametrize("runtime", [{}, {"device": "cuda"}])
@pytest.mark.parametrize(
    ("card", "lacks", "expected"),
    [
        (Gpu("T4", (7, 5), 2**34), "", ("fp32", "on", "on")),
        (Gpu("A100", (8, 0), 2**36), "a C compiler", ("bf16", "off", "on")),
        (Gpu("A100", (8, 0), 2**36), "", ("bf16", "on", "on")),
    ],
)
def test_a_machine_without_a_gpu_reads_the_runs_of_any_card(
    runtime: dict[str, Any], card: Gpu, lacks: str, expected: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"steps": 5000, "batch_size": 8, "image_size": 32}
    file, out = written(tmp_path, runtime=runtime, training=long), tmp_path / "out"
    out.mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(devices, "gpu", lambda cache: card)
    monkeypatch.setattr(devices, "compile_problem", lambda device: lacks)
    on_gpu = grid.load(file, out=out)
    assert {(run.precision, run.compile, run.fold_bn) for run in on_gpu.runs} == {expected}
    on_gpu.origin.keep_auto(on_gpu.runs, on_gpu.origin.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(devices, "gpu", lambda cache: None)
    monkeypatch.setattr(devices, "compile_problem", lambda device: "")
    here = grid.load(file, out=out)
    assert [run.run_id for run in here.runs] == [run.run_id for run in on_gpu.runs]
    said = [line for line in here.settings[0].why if "as when this sweep began; this machine would take" in line]
    assert len(said) == sum(kept != guess for kept, guess in zip(expected, ("bf16", "on", "on"), strict=True))
    assert grid.load(file, ["training.steps=50"], out=out).runs[0].compile == "off", "short runs are never compiled"
    assert grid.load(file, ["runtime.device=cpu"], out=out).runs[0].precision == "fp32"
    before = (out / kept_auto.FILE).read_text()
    here.origin.keep_auto(here.runs, here.origin.folder)
    assert (out / kept_auto.FILE).read_text() == before


def test_runs_on_a_device_that_was_named_do_not_say_what_auto_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = written(tmp_path, runtime={}), tmp_path / "out"
    out.mkdir()
    named = grid.load(file, ["runtime.device=cpu"], out=out)
    named.origin.keep_auto(named.runs, named.origin.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(devices, "gpu", lambda cache: Gpu("A100", (8, 0), 2**36))
    assert grid.load(file, out=out).runs[0].runtime.device == "cuda"


@pytest.mark.parametrize(
    "text", ['{"device": "tpu"}', '{"device": "cuda", "numerics": 3}', '{"numerics": {"cuda": {"precision": "fp8"}}}', "{"]
)
def test_what_is_kept_and_makes_no_sense_is_as_if_it_were_not_kept(text: str, tmp_path: Path) -> None:
    (tmp_path / kept_auto.FILE).write_text(text)
    found = kept_auto.read(tmp_path)
    assert found.device in (None, "cuda")
    assert found.numerics == {}
