"""Sweep files: what they stand for, what is refused and in which words, and what a run's identity depends on."""

import hashlib
import json
from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.config.run_config import RunConfig, load_run
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from tests.runs import config

SWEEPS = [path.stem for path in grid.built_in()]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_of_the_project_loads(name: str) -> None:
    sweep = grid.load(name)
    assert sweep.name == name
    assert len({run.run_id for run in sweep.runs}) == len(sweep.runs)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["training.stepz=3"], ["quick.yaml", ": training.stepz: ", "did you mean 'steps'", "valid: batch_size"]),
        (["methods=[fine_tuning,smil]"], ["methods.1", "unknown method 'smil'", "did you mean 'smile'"]),
        (["datasets=[digit]"], ["datasets.0", "unknown data set 'digit'", "did you mean 'digits'"]),
        (["seedz=3"], ["seedz", "did you mean 'seeds'"]),
        (["smile.alfa=1"], ["smile.alfa", "did you mean 'alpha'", "valid: alpha"]),
        (["training.lr=fast"], [": training.lr: ", "'fast'", "number"]),
        (["training.steps=2.5"], [": training.steps: ", "2.5", "integer"]),
        (["smile.alpha=big"], ["smile.alpha", "'big'", "float"]),
        (["smile.teacher=best"], ["smile.teacher", "'best'", "'ema'", "'fixed'", "'student'"]),
        (["methods=[fine_tuning,l2_sp+mixup+cutmix]"], ["l2_sp+mixup+cutmix", "mixup and cutmix both mix inputs"]),
        (["methods=[fine_tuning,delta+manifold_mixup]"], ["delta compares the network", "manifold_mixup mixes inside"]),
        (["methods=[fine_tuning,fine_tuning]"], ["methods", "'fine_tuning' is given twice"]),
        (["methods=[{name: smile, use: smile}]", "baseline=smile"], ["'smile' is that of a built-in method"]),
        (["methods=[{name: x, use: smile+rifle, alpha: 1}]", "baseline=x"], ["write component.option"]),
        (["baseline=smle"], ["baseline", "did you mean 'smile'"]),
        (["fractions=[1.5]"], ["fractions.0", "less than or equal to 1"]),
        (["seeds=0"], ["seeds: 0: Input should be greater than or equal to 1"]),
        (["seeds=[2,-1]"], ["seeds.1: -1: Input should be greater than or equal to 0"]),
        (["seeds=[1,2,1]"], ["seeds: '1' is given twice"]),
        (["fractions=[0.5,0.5]"], ["fractions: '0.5' is given twice"]),
        (["datasets=['folder:/x']"], ["needs a name", "name: my_images"]),
        (["backbone=resnet18@/nowhere.pt"], ["no weight file /nowhere.pt"]),
        (["mixing.alpha=1"], [": mixing.alpha: unknown section or component 'mixing'", "valid: ", "tune"]),
        (["trainig.lr=1"], ["did you mean 'training'"]),
        (["cutmix.prob=1", "methods=[fine_tuning,smile]"], [": cutmix.prob: unknown section or component 'cutmix'", "smile"]),
        (["overrides=[{match: {method: cutmixx}, set: {cutmix.prob: 1}}]"], ["match {'method': 'cutmixx'} hits no run"]),
        (["training.schedule=expo", "training.exp_end=0.1"], [": training.schedule: 'expo'", "'exp'"]),
        (["training.schedule=stepp", "training.milestone=0.5"], [": training.schedule: 'stepp'", "'step'"]),
        (["overrides=[{match: {method: smile}, set: {data.test_images: 50}}]"], ["set.data.test_images", "smile", "None for fine_tuning"]),
        (["overrides=[{match: {method: smile}, set: {linearity.pairs: 9}}]"], ["set.linearity.pairs", "of a data set and fraction"]),
        (["overrides=[{match: {method: smile}, set: {runtime.threads: 2}}]"], ["set.runtime.threads", "all runs of a sweep share it"]),
        (["overrides=[{match: {methud: smile}, set: {training.lr: 1}}]"], ["match.methud", "did you mean 'method'"]),
        (["overrides=[{match: {method: smile}, set: {trainin.lr: 1}}]"], ["set.trainin.lr", "did you mean 'training'"]),
        (["training.steps"], ["write key=value"]),
        (["precision=fp8"], ["precision", "'fp8'", "'auto'", "'fp32'", "'bf16'"]),
        (["compile=maybe"], ["compile", "'maybe'", "'auto'", "'off'", "'on'"]),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_choices(assignments: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        grid.load("quick", assignments)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_sweep_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        grid.load("quik")


def test_numbers_and_words_of_yaml_are_what_people_mean() -> None:
    assert yamlio.parse("[1e-3, .5, 1.0, 3, no, on, 10:30, true, ~, 007]", "x") == [1e-3, 0.5, 1.0, 3, "no", "on", "10:30", True, None, 7]
    with pytest.raises(UsageError, match="'a' is given twice"):
        yamlio.parse("{a: 1, a: 2}", "x")
    with pytest.raises(UsageError, match=r"(?s)here: not valid YAML.*line 1"):
        yamlio.parse("[1, 2", "here")


def test_a_grid_is_the_cross_product_in_order() -> None:
    sweep = grid.load("quick", ["methods=[fine_tuning,smile]", "seeds=[3,5]", "fractions=[0.15,0.3]"])
    assert [(r.fraction, r.method, r.seed) for r in sweep.runs] == [
        (f, m, s) for f in (0.15, 0.3) for m in ("fine_tuning", "smile") for s in (3, 5)
    ]


def test_an_override_hits_every_composition_that_contains_the_component() -> None:
    raw = ["methods=[fine_tuning,l2_sp,l2_sp+mixup]", "seeds=1", "overrides=[]", "l2_sp.alpha=0.5", "training.lr=1e-3"]
    runs = {run.method: run for run in grid.load("quick", raw).runs}
    assert runs["l2_sp"].components[0].options["alpha"] == runs["l2_sp+mixup"].components[0].options["alpha"] == 0.5
    assert {run.training.lr for run in runs.values()} == {0.001}


def test_identity_leaves_out_labels_paths_workers_and_device(images: Path, backbone: str, tmp_path: Path) -> None:
    base = config(images, backbone)
    (tmp_path / "elsewhere").symlink_to(images)
    moved = config(tmp_path / "elsewhere", backbone, name="other", runtime={"threads": 2, "checkpoint_seconds": 1.0})
    renamed = config(images, backbone, {"name": "plain", "use": "fine_tuning"})
    assert base.config_hash == moved.config_hash == renamed.config_hash
    assert base.run_id != renamed.run_id
    for changes in ({"seeds": [1]}, {"training": {"lr": 0.02}}, {"precision": "bf16"}, {"linearity": {"pairs": 5}}, {"fractions": [0.5]}):
        assert config(images, backbone, **changes).config_hash != base.config_hash


def test_a_variant_is_its_method_with_options(images: Path, backbone: str) -> None:
    spelled = config(images, backbone, {"name": "mine", "use": "cutmix", "alpha": 0.2})
    assert config(images, backbone, "cutmix_smile").config_hash == spelled.config_hash


def test_copies_of_a_config_have_the_ids_of_their_own(images: Path, backbone: str) -> None:
    run = config(images, backbone, "smile")
    assert run.canonical
    for update in ({"seed": 3}, {"training": run.training.model_copy(update={"lr": 0.5})}, {"seed": 1, "fraction": 0.5}):
        copied = run.model_copy(update=update)
        assert copied.run_id == RunConfig.model_validate(copied.model_dump()).run_id != run.run_id
    text = json.dumps(run.identity(), sort_keys=True, separators=(",", ":"))
    assert run.config_hash == hashlib.sha256(text.encode()).hexdigest()


def test_an_option_added_later_orphans_no_run(images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmark.config.run_config

    with_key = config(images, backbone).config_hash
    monkeypatch.setitem(benchmark.config.run_config.LEGACY, "training.flip", True)
    without = config(images, backbone)
    assert without.config_hash != with_key
    assert "flip" not in without.identity()["training"]
    assert "flip" in config(images, backbone, training={"flip": False}).identity()["training"]


def test_a_config_survives_its_file(images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone, "delta+mixup")
    file = tmp_path / "config.yaml"
    file.write_text(yamlio.dump(run.model_dump(mode="json")))
    assert load_run(file).run_id == run.run_id
    assert load_run(file, "cuda").runtime == run.runtime.model_copy(update={"device": "cuda"})
    assert load_run(file, "cuda").run_id == run.run_id
    file.write_text(file.read_text().replace("fraction: 1.0", "fraktion: 1.0"))
    with pytest.raises(UsageError, match=r"config\.yaml.*fraktion.*did you mean 'fraction'"):
        load_run(file)


@pytest.mark.parametrize(
    ("method", "given"),
    [("manifold_mixup", {"layers": [0, 2]}), ("manifold_mixup", {}), ("delta", {}), ("mixup", {"alpha": 1}), ("reg_sl", {})],
)
def test_a_worker_gives_a_method_the_options_that_the_sweep_file_was_read_to(
    method: str, given: dict[str, object], images: Path, backbone: str, tmp_path: Path
) -> None:
    """Typed once: a tuple that a run's file shows as a list is no list for the method."""
    run = config(images, backbone, {"name": "mine", "use": method, **given})
    file = tmp_path / "config.yaml"
    file.write_text(yamlio.dump(run.model_dump(mode="json")))
    (read,), (asked,) = load_run(file).components, run.components
    assert read.options == asked.options
    assert {key: type(value) for key, value in read.options.items()} == {key: type(value) for key, value in asked.options.items()}


def test_run_ids_of_quick_are_what_they_were() -> None:
    golden = (Path(__file__).parent / "quick_run_ids.txt").read_text().split()
    assert [run.run_id for run in grid.load("quick", ["runtime.device=cpu"]).runs] == golden
