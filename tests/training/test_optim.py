"""Optimizers and schedules against updates written out by hand, in float64."""

import io
from fractions import Fraction
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.config.run_config import Training
from benchmark.training.optim import build_optimizer, lr_factor, set_lr
from methods.l2_sp import L2SP
from methods.testing import advance, trained
from tests.runs import config

STEPS, DECAY = 12, 0.03
CLAIMS = {"backbone": None, "head": 0.2, "extra": 0.0}


def by_hand(name: str, w: Tensor, grads: list[Tensor], rates: list[float], coupled: float, decoupled: float) -> Tensor:
    """``w`` after one update per gradient, momentum .9."""
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, (g, lr) in enumerate(zip(grads, rates, strict=True), 1):
        g = g + coupled * w
        if name == "sgd":
            m = 0.9 * m + g
            w = w - lr * (g + 0.9 * m)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - lr * decoupled * w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w


def test_the_exponential_schedule_ends_where_it_is_told_to() -> None:
    assert [lr_factor("exp", i, 4) for i in (0, 2, 4)] == pytest.approx([1, 0.1, 0.01])
    assert [lr_factor("exp", i, 4, None, 0.0316) for i in (0, 2, 4)] == pytest.approx([1, 0.0316**0.5, 0.0316])
    for schedule in ("step", "cosine"):
        with pytest.raises(ValueError, match="only 'exp' has"):
            Training(schedule=schedule, exp_end=0.1)


@pytest.mark.parametrize(("name", "head_lr_factor"), [("sgd", 10.0), ("adamw", 3.0)])
def test_every_group_moves_as_by_hand(name: str, head_lr_factor: float) -> None:
    torch.manual_seed(0)
    layers = {group: nn.Linear(3, 2, bias=False, dtype=torch.float64) for group in CLAIMS}
    start = {group: layer.weight.detach().clone() for group, layer in layers.items()}
    training = Training(optimizer=name, lr=0.01, head_lr_factor=head_lr_factor, weight_decay=DECAY)
    body, head = (list(layers[group].parameters()) for group in ("backbone", "head"))
    optimizer = build_optimizer(training, body, head, [(layers["extra"], 0.1)], CLAIMS.get)
    grads = {group: [torch.randn(2, 3, dtype=torch.float64) for _ in range(STEPS)] for group in CLAIMS}
    factors = [lr_factor("step", i, STEPS, 0.25) for i in range(STEPS)]
    for i, factor in enumerate(factors):
        set_lr(optimizer, factor)
        for group, layer in layers.items():
            layer.weight.grad = grads[group][i].clone()
        optimizer.step()
    assert factors == [1.0] * 3 + [0.1] * 9
    for group, base in {"backbone": 0.01, "head": 0.01 * head_lr_factor, "extra": 0.001}.items():
        plain = CLAIMS[group] is None
        coupled = DECAY if plain and name == "sgd" else CLAIMS[group] or 0.0
        decoupled = DECAY if plain and name == "adamw" else 0.0
        expected = by_hand(name, start[group], grads[group], [base * f for f in factors], coupled, decoupled)
        torch.testing.assert_close(layers[group].weight.detach(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_l2_sps_two_terms_balance_where_its_loss_is_least(name: str) -> None:
    """At alpha w0 / (alpha + wd_backbone), whatever the optimizer: both terms go through the gradient."""
    alpha, decay = 0.3, 0.1
    start = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    w = nn.Parameter(start.clone())
    method = L2SP(alpha=alpha, wd_backbone=decay)
    optimizer = build_optimizer(Training(optimizer=name, lr=0.05), [w], [], [], method.weight_decay)
    for i in range(400):
        set_lr(optimizer, lr_factor("cosine", i, 400))
        w.grad = alpha * (w.detach() - start)
        optimizer.step()
    torch.testing.assert_close(w.detach(), alpha * start / (alpha + decay), rtol=1e-3, atol=0)


def test_a_run_decouples_its_own_decay_only(images: Path, backbone: str) -> None:
    def decays(method: str) -> dict[str, tuple[float, bool]]:
        groups = trained(config(images, backbone, method, training={"optimizer": "adamw", "lr": 1e-4}), 0).optimizer.param_groups
        return {group["name"]: (group["weight_decay"], group["decoupled_weight_decay"]) for group in groups}

    assert decays("fine_tuning") == {"backbone": (1e-4, True), "head": (1e-4, True)}
    assert decays("l2_sp") == {"backbone": (0.0, False), "head": (0.01, False)}
    assert decays("smile") == {"backbone": (1e-4, True), "head": (1e-4, True), "extra": (1e-4, True)}


@pytest.mark.parametrize("method", ["l2_sp_smile", "rifle", "smile"])
def test_a_run_with_adamw_goes_on_bit_for_bit(method: str, images: Path, backbone: str) -> None:
    run = config(images, backbone, method, training={"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05})
    whole = trained(run, 2)
    saved = io.BytesIO()
    torch.save(whole.state_dict(), saved)
    saved.seek(0)
    resumed = trained(run, 0)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    for fit in (whole, resumed):
        advance(fit, 3)
    ours, theirs = whole.net.state_dict(), resumed.net.state_dict()
    assert not [key for key in ours if not torch.equal(ours[key], theirs[key])]


def test_the_rate_drops_at_the_milestone_exactly() -> None:
    for milestone in ("0.07", "0.29", "0.55", "0.6", "0.7", "0.999"):
        for total in (1, 7, 10, 50, 100, 9050, 10000):
            kept = [i for i in range(total) if lr_factor("step", i, total, float(milestone)) == 1.0] if total <= 100 else None
            drop = -(-Fraction(milestone) * total // 1)
            assert kept is None or kept == list(range(int(drop)))
            assert lr_factor("step", int(drop) - 1, total, float(milestone)) == 1.0
            assert lr_factor("step", int(drop), total, float(milestone)) == 0.1
    assert all(lr_factor("step", i, n) == (1.0 if 3 * i < 2 * n else 0.1) for n in range(1, 60) for i in range(n))
    assert [lr_factor("step", i, 10000, 0.6) for i in (5999, 6000)] == [1.0, 0.1]


def test_smooth_schedules_start_at_one_and_end_where_they_say() -> None:
    assert lr_factor("cosine", 0, 50) == lr_factor("exp", 0, 50) == 1.0
    assert lr_factor("cosine", 50, 50) == pytest.approx(0.0)
    assert lr_factor("exp", 50, 50) == pytest.approx(0.01)
    ratios = [lr_factor("exp", i + 1, 50) / lr_factor("exp", i, 50) for i in range(50)]
    assert ratios == pytest.approx([0.01**0.02] * 50)


@pytest.mark.parametrize("method", ["rifle", "smile"])
def test_the_fused_kernel_of_a_gpu_trains_as_the_others_do(method: str, images: Path, backbone: str) -> None:
    """Also past a redraw that leaves one group without momentum."""
    nets = []
    for fused in (False, True):
        fit = trained(config(images, backbone, method), 0)
        for group in fit.optimizer.param_groups:
            group.update(fused=fused, foreach=not fused)
        advance(fit, 6)
        nets.append(fit.net.state_dict())
    torch.testing.assert_close(nets[1], nets[0], rtol=1e-4, atol=1e-5)


def test_a_transformer_trains_under_protocol_vit(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", num_classes=7).state_dict(), file)
    fit = trained(config(images, f"test_vit@{file}", "lora", protocol="vit"), 0)
    before = [p.detach().clone() for p in fit.net.head_parameters()]
    advance(fit, 2)
    keys = ("base_lr", "weight_decay", "decoupled_weight_decay", "betas")
    assert {tuple(group[key] for key in keys) for group in fit.optimizer.param_groups} == {(1e-3, 1e-4, True, (0.9, 0.999))}
    assert not any(map(torch.equal, before, fit.net.head_parameters()))
