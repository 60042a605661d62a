"""A network that a component copies computes what the student does at equal weights, whatever other components changed in the student."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import methods
from benchmark.errors import UsageError
from methods.base import MethodError
from methods.testing import advance, trained
from tests.contract.entries import trial
from tests.runs import config

CHANGERS = ("stoch_norm", "linear_probe")
PAIRS = [pair for changer in CHANGERS for pair in ((changer, "bi_tuning"), ("bi_tuning", changer))]


def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Features in the modes that the net is in, statistics left as they were."""
    return copy.deepcopy(net)(x).features


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_the_key_network_is_the_student_at_equal_weights(pair: tuple[str, str], images: Path, backbone: str) -> None:
    fit = trained(config(images, backbone, "+".join(pair)), 2)
    key = next(c for _, c in fit.pipeline._named if type(c).__name__ == "BiTuning")._key["net"]
    fit.pipeline.before_forward(2, fit.ctx)
    key.load_state_dict(fit.net.state_dict(), strict=False)  # a copy need not count batches
    x = fit.stream.batch(2).x
    assert torch.equal(forward(key, x), forward(fit.net, x))


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(itertools.combinations(methods.METHODS, 2)), ids="+".join)
def test_no_pair_keeps_a_copy_that_runs_otherwise(pair: tuple[str, str], images: Path, backbone: str) -> None:
    """All copies of the student that any component of any pair holds; a pair that is refused holds none."""
    options = {f"{name}.{key}": value for name in pair for key, value in trial(name, images, backbone).options.items()}
    try:
        fit = trained(config(images, backbone, {"name": "tested", "use": "+".join(pair), **options}), 0)
    except (UsageError, MethodError):
        return
    try:
        advance(fit, 2)
    except MethodError:
        return
    fit.pipeline.before_forward(2, fit.ctx)
    x = fit.stream.batch(2).x
    for _, component in fit.pipeline._named:
        held = [value for value in vars(component).values() if isinstance(value, nn.ModuleDict)]
        for key in (modules["net"] for modules in held if "net" in modules):
            key.load_state_dict(fit.net.state_dict(), strict=False)  # a copy need not count batches
            assert torch.equal(forward(key, x), forward(fit.net, x))


def test_a_copy_of_a_stochastic_layer_follows_its_draws() -> None:
    from methods.stoch_norm import StochNorm2d

    layer = StochNorm2d(nn.BatchNorm2d(8))
    copied = copy.deepcopy(nn.Sequential(layer, nn.ReLU()))[0]
    layer.from_batch.zero_()
    assert not copied.from_batch.any()
    assert copied.weight is not layer.weight
    x = torch.randn(4, 8, 2, 2)
    assert torch.equal(copied(x), layer(x))
