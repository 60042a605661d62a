"""Compositions that are undefined are refused with the reason before any compute, and every other pair trains."""

import itertools
from pathlib import Path
from typing import Any

import pytest

import methods
from benchmark.errors import UsageError
from benchmark.sweep.cost import work
from benchmark.training.run import preflight
from methods.testing import advance, tiny_run, trained
from tests.contract.entries import trial

AT_PLANNING = [
    ("mixup+cutmix", "mixup and cutmix both mix inputs; a run has at most one mixer"),
    ("smile+mixup", "smile and mixup both mix inputs"),
    ("smile_cutmix+manifold_mixup", "smile and manifold_mixup both mix inputs"),
    ("bi_tuning+mixup", "bi_tuning needs unmixed labels, and mixup mixes them"),
    ("bi_tuning+smile", "bi_tuning needs unmixed labels, and smile mixes them"),
    ("delta+manifold_mixup", "delta compares the network with its source, and manifold_mixup mixes inside"),
    ("lwf+manifold_mixup", "lwf compares the network with its source, and manifold_mixup mixes inside"),
    ("ema+swa", "ema and swa both choose the weights that are evaluated"),
    ("wise_ft", "wise_ft needs a start whose head already classifies, and a randomly drawn one does not; compose it with lp_ft"),
    ("wise_ft+mixup", "compose it with lp_ft"),
    ("lwf+regmixup", "lwf compares networks image by image, and the batches of regmixup have more rows than images"),
    ("l2_sp+lora", "l2_sp sets each parameter against the source's, and lora adds parameters that the source has not"),
    ("vpt+smile", "smile sets each parameter against the source's, and vpt adds parameters"),
    ("fmix+snapmix", "fmix and snapmix both mix inputs"),
    ("mixup+mixup", "'mixup' is given twice"),
    ("l2_sp+mixupp", "unknown method 'mixupp'; did you mean 'mixup'"),
]
AT_PREFLIGHT = [
    ("l2_sp+delta", {}, "l2_sp and delta both set the weight decay of the backbone"),
    ("reg_sl_self_label+mixup", {}, "'reg_sl_self_label' needs unmixed labels with these options"),
    ("mixup", {"off_last": 1.5}, "off_last must lie in"),
    ("sam", {"rho": -1.0}, "rho must be >= 0"),
    ("rifle", {"n_periods": 0}, "n_periods must be >= 1"),
    ("reg_sl", {"lambda_head": None}, "lambda_head must be set in the sweep"),
]


@pytest.mark.parametrize(("name", "reason"), AT_PLANNING)
def test_refused_when_the_sweep_is_planned(name: str, reason: str, images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match=reason):
        tiny_run(images, backbone, name)


@pytest.mark.parametrize(("name", "options", "reason"), AT_PREFLIGHT)
def test_refused_when_workers_start(name: str, options: dict[str, Any], reason: str, images: Path, backbone: str) -> None:
    run = trial(name, images, backbone, **{f"{name}.{key}": value for key, value in options.items()}).run
    with pytest.raises(UsageError, match=reason):
        preflight([run])


def test_cost_counts_the_passes_of_every_component(images: Path, backbone: str) -> None:
    cost = {name: work(trial(name, images, backbone).run) for name in ("fine_tuning", "mixup", "delta", "delta+mixup", "linear_probe")}
    assert cost["linear_probe"] < cost["mixup"] == cost["fine_tuning"] < cost["delta"] == cost["delta+mixup"]


def refusal(name: str, images: Path, backbone: str) -> str | None:
    try:
        preflight([trial(name, images, backbone).run])
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(itertools.combinations(methods.METHODS, 2)), ids="+".join)
def test_every_pair_trains_or_is_refused_before_any_step(pair: tuple[str, str], images: Path, backbone: str) -> None:
    name = "+".join(pair)
    reason = refusal(name, images, backbone)
    if reason is None:
        advance(trained(trial(name, images, backbone).run, 0), 2)
    else:
        assert set(pair) & set(reason.replace("'", " ").split())
