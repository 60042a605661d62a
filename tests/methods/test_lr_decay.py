"""Layer-wise rates are timm's, and reach the optimizer."""

import pytest
import timm
from timm.optim import param_groups_layer_decay

from benchmark.config.run_config import Training
from benchmark.training.net import Net
from benchmark.training.optim import build_optimizer, set_lr
from methods.lr_decay import LrDecay


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext"])
def test_rates_are_those_of_timm(architecture: str) -> None:
    net = Net(timm.create_model(architecture, num_classes=3))
    component = LrDecay(decay=0.5)
    expected = {}
    for group in param_groups_layer_decay(net.body, layer_decay=0.5):
        expected |= dict.fromkeys(group["params"], group["lr_scale"])
    found = {**dict.fromkeys(net.parameters(), 1.0), **component.lr_factors(net)}
    assert found == expected


def test_groups_keep_their_factor_through_the_schedule_and_the_smallest_is_bounded() -> None:
    net = Net(timm.create_model("test_resnet", num_classes=3))
    component = LrDecay(decay=0.1, min_scale=0.05, decay_vectors=False)
    config = Training(lr=0.2, head_lr_factor=3.0)
    parts = net.body_parameters(), net.head_parameters(), []
    optimizer = build_optimizer(config, *parts, lambda group: None, component.lr_factors(net), set(component.no_decay(net)))
    set_lr(optimizer, 0.5)
    rate = {p: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(rate) == len(list(net.parameters()))
    deepest, last = net.body.conv1[0].weight, net.body.layer4[0].conv1.weight
    assert rate[deepest] == pytest.approx((0.2 * 0.5 * 0.05, 1e-4))
    assert rate[last] == pytest.approx((0.2 * 0.5 * 0.1, 1e-4))
    assert rate[net.head.weight] == pytest.approx((0.2 * 0.5 * 3, 1e-4))
    assert all(decay == (0.0 if p.ndim < 2 else 1e-4) for p, (_, decay) in rate.items())
