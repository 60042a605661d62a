"""What ``show`` shows is what step 0 of ``train`` is given."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UsageError
from benchmark.report.figures.batch import batch_png
from benchmark.training.first_batch import FirstBatch, first_batch
from benchmark.training.pipeline import Pipeline
from benchmark.training.run import train
from methods.base import Batch, Mixed
from tests.runs import Notebook, config

MIXERS = ("mixup", "manifold_mixup", "resizemix", "fmix", "snapmix", "regmixup", "smile", "l2_sp+mixup")
ALWAYS_CUTMIX = {"name": "always_cutmix", "use": "cutmix", "prob": 1.0}
SHORT = {"training": {"steps": 1}, "linearity": {"pairs": 0}}


def step_0(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Batch, Mixed]:
    """What ``train`` passes to and gets from the mixer at step 0."""
    seen: list[tuple[Batch, Mixed]] = []
    mix = Pipeline.mix

    @functools.wraps(mix)
    def watched(self: Pipeline, batch: Batch, num_classes: int, ctx: Any, i: int) -> Mixed:
        mixed = mix(self, batch, num_classes, ctx, i)
        if i == 0:
            seen.append((batch, mixed))
        return mixed

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "mix", watched)
        train(run, Notebook(folder))
    (found,) = seen
    return found


@pytest.mark.parametrize("method", [*MIXERS, ALWAYS_CUTMIX, "fine_tuning", "bi_tuning"], ids=str)
def test_it_is_what_step_0_of_training_sees(
    method: Any, images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(images, backbone, method, **SHORT)
    found = first_batch(run)
    batch, mixed = step_0(run, tmp_path, monkeypatch)
    assert found.index.tolist() == batch.index.tolist()
    assert found.label.tolist() == batch.y.tolist()
    assert np.array_equal(found.target, mixed.target.numpy())
    assert found.lam == mixed.lam
    assert (None if found.partner is None else found.partner.tolist()) == (None if mixed.perm is None else mixed.perm.tolist())
    assert found.inside == (mixed.edit.tap if mixed.edit else "")
    for shown, x in ((found.images, batch.x), (found.rows, mixed.x), *zip(found.views, batch.extra_views, strict=True)):
        scale = np.polyfit(batch.x[:, 0].flatten(), found.images[..., 0].flatten(), 1)
        assert np.abs(np.polyval(scale, x[:, 0].numpy()) - shown[..., 0]).max() <= 0.55
    assert (found.partner is None) == (method in ("fine_tuning", "bi_tuning"))
    assert len(found.views) == (method == "bi_tuning")
    assert found.blocks == (2 if method == "regmixup" else 1)


def own_part(found: FirstBatch) -> np.ndarray:
    assert found.own is not None
    return found.own


def test_own_parts_are_the_weights_of_the_mixers(images: Path, backbone: str) -> None:
    shown = functools.partial(config, images, backbone, **SHORT)
    mixup = first_batch(shown("mixup"))
    alone = mixup.partner == np.arange(len(mixup.label))
    assert own_part(mixup)[~alone] == pytest.approx(mixup.lam, abs=1e-5)
    for method in (ALWAYS_CUTMIX, "fmix", "resizemix"):
        found = first_batch(shown(method))
        own = own_part(found)
        alone = found.partner == np.arange(len(found.label))
        assert set(np.unique(own)) <= {0.0, 1.0}
        assert own[~alone].mean(axis=(1, 2)) == pytest.approx(found.lam, abs=1e-6)
        kept = (own == 1) & ~alone[:, None, None]
        assert np.array_equal(found.rows[kept], found.images[kept])
    found = first_batch(shown("regmixup"))
    assert (own_part(found)[: len(found.images)] == 1).all()
    assert own_part(found)[len(found.images) :].min() == pytest.approx(found.lam, abs=1e-5)
    found = first_batch(shown({"name": "inside", "use": "manifold_mixup", "layers": [1]}))
    assert found.inside
    assert f"mixed at the output of {found.inside}" in found.words()
    assert np.array_equal(found.rows, found.images)
    assert found.own_weight(0) == found.lam


def test_a_picture_has_the_rows_that_there_are(images: Path, backbone: str) -> None:
    shown = functools.partial(config, images, backbone, **SHORT)
    titles = {
        "fine_tuning": ["image"],
        "mixup": ["image", "partner", "seen"],
        "regmixup": ["image", "partner", "seen, row 1", "seen, row 2"],
        "fmix": ["image", "partner", "seen", "own part"],
        "bi_tuning": ["image", "view 2"],
    }
    for method, expected in titles.items():
        found = first_batch(shown(method))
        strips = found.strips(3)
        assert [strip.title for strip in strips] == expected
        assert {len(strip.pixels) for strip in strips} == {3}
    words = first_batch(shown("mixup")).strips(3)[2].words
    assert all(" + " in each or each.startswith("1.00 ") for each in words)
    sizes = [len(batch_png(strips, "title", small=small)) for small in (False, True)]
    assert sizes[1] < sizes[0]


def test_what_a_run_cannot_do_is_refused_in_words(images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match="is not prepared"):
        first_batch(config(images, "resnet50.tv_in1k", "mixup", **SHORT))
