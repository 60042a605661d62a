"""A step runs the backbone as often as its method declares, and two terms that ask the source for the same images share one forward."""

from pathlib import Path

import pytest

import methods
from benchmark.config.entries import parse_entry
from benchmark.config.method_options import composition_cost, method_info
from benchmark.training.net import Net
from methods.testing import advance, trained
from tests.contract.entries import trial


def forwards(name: str, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Backbone forwards of one training step after set-up, in batches of the run's size."""
    fit = trained(trial(name, images, backbone).run, 1)
    count = 0.0
    original = Net.forward

    def counted(self: Net, *args, **kwargs):
        nonlocal count
        count += len(args[0]) / fit.stream.batch_size
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Net, "forward", counted)
    advance(fit, 1)
    return count


@pytest.mark.parametrize("name", [*methods.METHODS, *methods.VARIANTS])
def test_a_step_takes_the_forwards_that_are_declared(name: str, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = method_info(methods.VARIANTS.get(name, (name,))[0]).declarations["forwards"]
    assert forwards(name, images, backbone, monkeypatch) == declared


@pytest.mark.parametrize(("name", "expected"), [("delta+lwf", 2), ("delta+lwf+mixup", 2), ("delta+smile", 3), ("lwf+bi_tuning", 3)])
def test_terms_share_a_source_forward(name: str, expected: int, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forwards(name, images, backbone, monkeypatch) == expected


@pytest.mark.parametrize(
    ("name", "expected", "backwards"),
    [
        ("sam+regmixup", 4, 4),  # twice the rows, twice
        ("sam+lwf", 4, 2),  # the term's forward is in both passes
        ("sam+smile", 4, 2),
        ("sam+snapmix", 3, 2),  # the mixer's forward is not
        ("sam+linear_probe", 2, 0),
        ("regmixup+linear_probe", 2, 0),
        ("delta+snapmix", 3, 1),
    ],
)
def test_the_cost_of_a_composition_is_what_its_step_takes(
    name: str, expected: int, backwards: int, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forwards(name, images, backbone, monkeypatch) == expected
    infos = [method_info(component.use) for component in parse_entry(name, "test").components]
    assert composition_cost(infos) == pytest.approx((expected + 2 * backwards) / 3)
