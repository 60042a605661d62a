"""Compiled code is taken again only by a network with the same taps; past the limit a run fails instead of running uncompiled."""

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.utils import counters

from benchmark.training import frozen
from benchmark.training.frozen import compiled, make_room
from tests.methods.real import random_net


@pytest.fixture(autouse=True)
def eager_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    inductor = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **options: inductor(net, backend="eager", **options))
    before = torch._dynamo.config.recompile_limit
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()
    torch._dynamo.config.recompile_limit = before


def test_networks_with_other_taps_are_compiled_for_themselves() -> None:
    x = torch.randn(2, 3, 32, 32)
    for taps in ((), ("layer1",), ("layer2", "layer3"), ("layer1",), ()):
        net = random_net().eval()
        net.tap(taps)
        out = compiled(net)(x)
        assert out.maps.keys() == {*taps, "final"}
        torch.testing.assert_close(out.maps["final"], net(x).maps["final"])
    assert counters["stats"]["unique_graphs"] == 3


def test_a_network_past_the_limit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "RECOMPILE_LIMIT", 2)
    torch._dynamo.config.recompile_limit = 2
    net = random_net().eval()
    for size in (1, 2):
        compiled(net)(torch.randn(size, 3, 32, 32))
    with pytest.raises(FailOnRecompileLimitHit, match="recompile_limit"):
        compiled(net)(torch.randn(3, 3, 32, 32))


@pytest.mark.slow
def test_a_long_lived_process_makes_room_before_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "RECOMPILE_LIMIT", 4)
    torch._dynamo.config.recompile_limit = 4
    net = random_net().eval()
    for size in range(1, 10):
        make_room()
        compiled(net)(torch.randn(size, 3, 32, 32))
