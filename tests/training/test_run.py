"""Whole runs: the record, bit-identity, resuming at every kind of moment, and what goes wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.training import preflight as looked_at
from benchmark.training.images import load_images
from benchmark.training.loop import Diverged
from benchmark.training.run import Interrupted, preflight, train
from benchmark.training.seeding import Streams
from methods import delta
from methods.l2_sp import L2SP
from methods.testing import trained
from tests.runs import Notebook, config

VARYING = {"wall_seconds", "images_per_second", "peak_memory_bytes", "started_at", "finished_at", "resumes"}
FIELDS = [
    "run_id",
    "sweep",
    "dataset",
    "fraction",
    "method",
    "components",
    "seed",
    "backbone",
    "weights_hash",
    "data_hash",
    "pixels_hash",
    "subset_hash",
    "protocol",
    "num_classes",
    "num_train",
    "steps",
    "batch_size",
    "lr",
    "precision",
    "float32",
    "compile",
    "fold_bn",
    "cudnn_benchmark",
    "resident_pixels",
    "threads",
    "workers_per_gpu",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "test_mean_class_accuracy",
    "test_nll",
    "test_ece",
    "val_accuracy",
    "linearity",
    "wall_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "device",
    "hostname",
    "resumes",
    "versions",
    "git_commit",
    "config_hash",
    "started_at",
    "finished_at",
]


def record(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


def steady(folder: Path) -> dict:
    """A record without what no two runs share."""
    return {k: v for k, v in record(folder).items() if k not in VARYING}


def done(run: RunConfig, folder: Path) -> dict:
    train(run, Notebook(folder))
    return steady(folder)


def test_a_run_writes_every_file_of_its_folder(images: Path, backbone: str, tmp_path: Path) -> None:
    train(config(images, backbone, "smile", runtime={"keep_weights": "last"}), Notebook(tmp_path))
    assert list(record(tmp_path)) == list(FIELDS)
    assert record(tmp_path)["linearity"]["test"].keys() == {"feature", "feature_rel", "label_l1", "label_kl"}
    linearity = pd.read_csv(tmp_path / "linearity.csv")
    assert list(linearity.columns) == ["split", "lam", "feature_gap", "feature_gap_rel", "label_l1", "label_kl", "n_pairs"]
    assert linearity["lam"].tolist() == [0, 0.5, 1] * 2
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    assert (predictions["top1"] == predictions["label"]).mean() == record(tmp_path)["test_accuracy"]
    assert len(predictions) == 18
    assert record(tmp_path)["test_nll"] == pytest.approx(-np.log(predictions["true_probability"]).mean(), rel=1e-6)
    assert (predictions["label_name"] == "class" + predictions["label"].astype(str)).all()
    assert predictions["true_probability"][right := predictions["top1"] == predictions["label"]].equals(predictions["probability"][right])
    curves = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curves] == [2, 4, 6]
    assert [row["lr/backbone"] for row in curves] == pytest.approx([0.01, 0.01, 0.001])
    assert [row["lr/head"] for row in curves] == [row["lr/backbone"] for row in curves]
    terms = ("cross_entropy", "smile_feature", "smile_source")
    assert curves[-1]["loss/total"] == pytest.approx(sum(curves[-1][f"loss/{term}"] for term in terms), rel=1e-5)
    assert load_file(tmp_path / "weights.safetensors").keys()


@pytest.mark.parametrize(("method", "factor"), [("smile", 10.0), ("lr_decay", 4.0)])
def test_rates_are_logged_under_their_groups_name(images: Path, backbone: str, method: str, factor: float, tmp_path: Path) -> None:
    """Neither the rate of SMILE's source classifier, the last group, nor that of another layer is taken for the head's."""
    train(config(images, backbone, method, training={"head_lr_factor": factor}), Notebook(tmp_path))
    curves = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert [row["lr/head"] for row in curves] == pytest.approx([0.01 * factor, 0.01 * factor, 0.001 * factor])
    assert all(row["lr/backbone"] < row["lr/head"] for row in curves)


def test_runs_are_bit_identical_whatever_ran_before(images: Path, backbone: str, tmp_path: Path) -> None:
    first = done(config(images, backbone, "smile"), tmp_path / "a")
    for n, method in enumerate(("rifle", "l2_sp+mixup", "linear_probe")):
        done(config(images, backbone, method), tmp_path / f"other{n}")
    torch.manual_seed(123)
    assert done(config(images, backbone, "smile"), tmp_path / "b") == first


@pytest.mark.parametrize("method", ["smile", "rifle"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_stopped_and_resumed_gives_the_undisturbed_record(
    method: str, stop: int, images: Path, backbone: str, tmp_path: Path
) -> None:
    run = config(images, backbone, method)
    expected = done(run, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(run, Notebook(tmp_path / "cut", stop_after=stop))
    again = Notebook(tmp_path / "cut", claim=2)
    train(run, again)
    assert f"resumed at step {stop} of 6 (claim 2)" in again.lines
    assert record(tmp_path / "cut")["resumes"] == 1
    assert steady(tmp_path / "cut") == expected
    assert (tmp_path / "cut" / "curves.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("phase", ["evaluate train", "evaluate test", "linearity train", "linearity test"])
def test_a_run_killed_after_training_does_not_train_again(phase: str, images: Path, backbone: str, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(at: str) -> None:
        if at == phase:
            raise Killed

    run = config(images, backbone, "smile")
    expected = done(run, tmp_path / "whole")
    session = Notebook(tmp_path / "cut")
    session.on_progress = kill
    with pytest.raises(Killed):
        train(run, session)
    again = Notebook(tmp_path / "cut", claim=2)
    train(run, again)
    assert "train" not in again.phases
    assert steady(tmp_path / "cut") == expected


def test_a_diverging_run_names_the_term_and_the_step(images: Path, backbone: str, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"not finite at step \d+: .*cross_entropy"):
        train(config(images, backbone, training={"lr": 1e30}), Notebook(tmp_path))
    assert not (tmp_path / "record.json").exists()


def test_training_is_never_handed_the_test_split(images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.arena import ArenaSplit

    reads: list[tuple[str, str]] = []
    session = Notebook(tmp_path)
    original = ArenaSplit.image

    def watched(self: ArenaSplit, i: int):
        reads.append((self.name, session.phases[-1] if session.phases else "set up"))
        return original(self, i)

    monkeypatch.setattr(ArenaSplit, "image", watched)
    train(config(images, backbone, "smile"), session)
    phases = {phase.rpartition(" ")[0] if "/" in phase else phase for name, phase in reads if name == "test"}
    assert phases == {"evaluate test", "linearity test"}
    assert "train" in {phase for name, phase in reads if name == "train"}


def test_val_is_carved_from_the_subset(images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone, fractions=[0.5], data={"val_fraction": 0.34})
    done(run, tmp_path)
    assert record(tmp_path)["num_train"] == 12
    assert 0 <= record(tmp_path)["val_accuracy"] <= 1


def test_weights_of_another_architecture_are_refused(images: Path, backbone: str) -> None:
    file = backbone.partition("@")[2]
    with pytest.raises(UsageError, match=r"\.safetensors does not fit test_vit"):
        preflight([config(images, f"test_vit@{file}")])


def test_a_source_head_is_required_where_a_method_reads_it(images: Path, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    file = tmp_path / "headless.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), file)
    preflight([config(images, f"test_resnet@{file}", "fine_tuning")])
    with pytest.raises(UsageError, match="'smile' needs the source classifier"):
        preflight([config(images, f"test_resnet@{file}", "smile")])


def test_the_image_size_is_tried_once_for_networks_alike(images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, tuple[str, ...]]] = []
    monkeypatch.setattr(looked_at, "check_forward", lambda net, run: tried.append((run.training.image_size, net.taps)))
    smaller = config(images, backbone, "fine_tuning", training={"image_size": 24})
    preflight([*(config(images, backbone, method) for method in ("fine_tuning", "l2_sp", "mixup", "delta")), smaller])
    assert [size for size, _ in tried] == [32, 24]
    assert tried[0][1]  # delta reads the network's stages
    assert not tried[1][1]


def test_images_smaller_than_the_crop_are_refused_before_training(images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match=r"data\.resize: 24 is less than training\.image_size \(32\)"):
        config(images, backbone, data={"resize": 24})


def test_a_published_list_replaces_the_sampling_rule(images: Path, backbone: str, tmp_path: Path) -> None:
    chosen = [f"train/class{label}/{n}.png {label}" for label in range(3) for n in (1, 5)]
    (tmp_path / "list.txt").write_text("\n".join(chosen))
    run = config(images, backbone, data={"train_list": str(tmp_path / "list.txt")}, seeds=[3])
    done(run, tmp_path / "run")
    assert record(tmp_path / "run")["num_train"] == 6
    (tmp_path / "moved.txt").write_text("\n".join(chosen))
    assert config(images, backbone, data={"train_list": str(tmp_path / "moved.txt")}, seeds=[3]).config_hash == run.config_hash
    (tmp_path / "moved2.txt").write_text("\n".join(chosen[:-1]))
    assert config(images, backbone, data={"train_list": str(tmp_path / "moved2.txt")}, seeds=[3]).config_hash != run.config_hash
    (tmp_path / "wrong.txt").write_text("train/class0/99.png 0")
    with pytest.raises(ValueError, match=r"wrong\.txt: no training image is named 'train/class0/99\.png'"):
        preflight([config(images, backbone, data={"train_list": str(tmp_path / "wrong.txt")})])
    with pytest.raises(UsageError, match=r"gone\.txt: cannot be read"):
        _ = config(images, backbone, data={"train_list": str(tmp_path / "gone.txt")}).run_id


def test_linearity_pairs_training_images_of_the_subset_alone(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.arena import ArenaSplit

    read: set[int] = set()
    session, original = Notebook(tmp_path), ArenaSplit.image

    def watched(self: ArenaSplit, i: int):
        if session.phases and session.phases[-1].startswith("linearity train"):
            read.add(int(i))
        return original(self, i)

    run = config(images, backbone, fractions=[0.5], linearity={"pairs": 200})
    subset = set(load_images(run, Streams(run.dataset, run.fraction, run.seed)).train_index.tolist())
    monkeypatch.setattr(ArenaSplit, "image", watched)
    train(run, session)
    assert read == subset
    assert len(subset) == 18


def test_a_term_on_the_gradient_side_that_is_not_finite_ends_the_run(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no part of the total."""
    monkeypatch.setattr(L2SP, "monitor", lambda self, step: {"l2_sp": torch.tensor(float("nan"))})
    with pytest.raises(Diverged, match="not finite at step 2: l2_sp"):
        train(config(images, backbone, "l2_sp"), Notebook(tmp_path))


def test_channel_importance_is_measured_on_shuffled_augmented_images(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    seen, original = [], delta.fast_importance

    def watched(net, head, tap, x, y):
        seen.append((x, y))
        return original(net, head, tap, x, y)

    monkeypatch.setattr(delta, "fast_importance", watched)
    fit = trained(config(images, backbone, {"name": "tested", "use": "delta", "n_batches": 2, "batch_size": 9}), 0)
    labels = torch.cat([y for _, y in seen[:2]])
    assert (labels.diff() < 0).any(), "in the order of the files, labels would ascend"
    plain = torch.cat([batch.x for batch in fit.ctx.train_pass(12)])
    crops = torch.cat([x for x, _ in seen[:2]])
    central = sum(any(torch.equal(crop, image) for image in plain) for crop in crops)
    assert central <= 4, "one of 72 random windows is the central one, unflipped"


def test_a_damaged_checkpoint_or_snapshot_costs_steps_and_not_the_run(images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone, evaluation={"snapshots": 3})
    expected = done(run, tmp_path / "whole")
    for name in ("1.pt", "snapshots/2.safetensors"):
        folder = tmp_path / name.replace("/", "-")
        with pytest.raises(Interrupted):
            train(run, Notebook(folder, stop_after=3))
        file = folder / "checkpoint" / name
        file.write_bytes(file.read_bytes()[:-40])
        again = Notebook(folder, claim=2)
        train(run, again)
        assert f"not used: {file} is damaged: its checksum differs" in again.lines
        assert "started (claim 2)" in again.lines
        assert steady(folder) == expected
