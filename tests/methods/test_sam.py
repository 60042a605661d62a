"""SAM's second gradient is that of the moved weights; everything else is of the first pass."""

from pathlib import Path

import pytest
import torch

from methods.sam import ascent
from methods.testing import Trial, advance, trained


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_ascent_is_as_long_as_the_equation_says(adaptive: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    gradients = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((3, 4), (5,))]
    scales = [torch.rand(g.shape, generator=rng, dtype=torch.float64) for g in gradients] if adaptive else None
    total = 0.0
    for n, g in enumerate(gradients):
        for k, value in enumerate(g.flatten().tolist()):
            t = scales[n].flatten()[k].item() if scales else 1.0
            total += (t * value) ** 2
    for n, (found, g) in enumerate(zip(ascent(gradients, scales, 0.3), gradients, strict=True)):
        square = scales[n] ** 2 if scales else 1.0
        torch.testing.assert_close(found, 0.3 * square * g / total**0.5, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["sam", "asam"])
def test_the_step_is_taken_from_the_old_weights_with_the_moved_gradient(name: str, images: Path, backbone: str) -> None:
    """One step of plain SGD, followed by hand: rate .1, no momentum, no decay."""
    rho, eta = 0.5, 0.01
    trial = Trial(name, {"rho": rho}, images, backbone)
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    run = trained(trial.run.model_copy(update={"training": trial.run.training.model_copy(update=plain)}), 0)
    still = trained(trial.run, 0)
    still.net.train()
    names, params = zip(*still.net.named_parameters(), strict=True)
    batch = still.stream.batch(0)
    target = torch.nn.functional.one_hot(batch[1], 3).float()

    def gradient() -> list[torch.Tensor]:
        loss = -(target * still.net(batch[0]).logits.log_softmax(1)).sum(1).mean()
        return list(torch.autograd.grad(loss, params))

    g = gradient()
    statistics = [b.clone() for b in still.net.buffers()]
    scale = [
        (p.detach().abs() + eta if name == "asam" and n.endswith("weight") else torch.ones_like(p))
        for n, p in zip(names, params, strict=True)
    ]
    norm = sum((t * v).double().square().sum() for t, v in zip(scale, g, strict=True)).sqrt().float()
    with torch.no_grad():
        for p, t, v in zip(params, scale, g, strict=True):
            p.add_(rho * t * t * v / norm)
    moved = gradient()
    advance(run, 1)
    start = trained(trial.run, 0).net.parameters()
    lr = run.optimizer.param_groups[0]["lr"]
    for found, p0, v in zip(run.net.parameters(), start, moved, strict=True):
        torch.testing.assert_close(found, p0 - lr * v, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(v, first) for v, first in zip(moved, g, strict=True))
    assert all(torch.allclose(a, b) for a, b in zip(run.net.buffers(), statistics, strict=True))


def test_both_passes_see_one_noise(images: Path, backbone: str) -> None:
    run = trained(Trial("sam", {"rho": 1e-12}, images, backbone).run, 0)
    drawn: list[torch.Tensor] = []
    run.net.head.register_forward_pre_hook(lambda *_: drawn.append(torch.rand(4)))
    advance(run, 2)
    first, again, later, last = drawn
    assert first.equal(again)
    assert later.equal(last)
    assert not first.equal(later)


def test_one_method_moves_the_weights() -> None:
    from benchmark.config.method_options import check_composition, method_info
    from benchmark.errors import UsageError

    for key, pair in (("second pass", ("sam", "sam")), ("evaluated", ("ema", "swa"))):
        with pytest.raises(UsageError, match=key):
            check_composition("+".join(pair), [method_info(name) for name in pair], 0.0, "here")
