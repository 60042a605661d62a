"""LoRA, SSF, VPT and AdaptFormer on a tiny transformer: equations, starts, and what trains."""

from pathlib import Path

import pytest
import torch
from torch import nn

from methods.adaptformer import AdaptedMlp
from methods.lora import LoraQkv
from methods.ssf import Scaled
from methods.testing import Trial, advance, trained
from methods.vpt import Prompted
from tests.contract.entries import ADAPTERS, transformer


@pytest.fixture
def vit(backbone: str) -> str:
    return transformer(Path(backbone.partition("@")[2]).parent)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module) -> nn.Module:
    for n, p in enumerate(module.parameters()):
        p.data = noise(*p.shape, seed=n)
    return module


def test_lora_adds_its_product_to_queries_and_values_alone_merged_or_not() -> None:
    layer = fill(LoraQkv(nn.Linear(6, 12).double(), rank=2, alpha=3.0, dropout=0.0))
    x = noise(2, 5, 6)
    expected = x @ layer.base.weight.T + layer.base.bias
    for b in range(2):
        for n in range(5):
            for k in range(4):
                for rows, a, up in ((0, layer.query_a, layer.query_b), (8, layer.value_a, layer.value_b)):
                    change = sum(up[k, r] * sum(a[r, d] * x[b, n, d] for d in range(6)) for r in range(2))
                    expected[b, n, rows + k] += 1.5 * change
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), expected, rtol=1e-10, atol=1e-10)


def test_adaptformer_adds_a_scaled_bottleneck_beside_the_mlp() -> None:
    base = nn.Module()
    base.fc1, base.fc2 = nn.Linear(4, 8).double(), nn.Linear(8, 4).double()
    base.forward = lambda x: 3 * x
    layer = fill(AdaptedMlp(base, bottleneck=3, scale=0.1, dropout=0.5)).eval()
    x = noise(2, 5, 4)
    hidden = (torch.einsum("bnd,kd->bnk", x, layer.down) + layer.down_bias).clamp_min(0)
    torch.testing.assert_close(layer(x), 3 * x + 0.1 * (torch.einsum("bnk,dk->bnd", hidden, layer.up) + layer.up_bias))
    assert not torch.equal(layer.train()(x), layer(x))


def test_ssf_scales_and_shifts_each_channel() -> None:
    layer = fill(Scaled(nn.Identity(), 4))
    x = noise(2, 5, 4)
    torch.testing.assert_close(layer(x)[1, 2, 3], layer.scale[3] * x[1, 2, 3] + layer.shift[3])


def test_vpt_shows_its_tokens_behind_the_prefix_and_drops_what_becomes_of_them() -> None:
    seen: list[torch.Tensor] = []

    class Block(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x + x.mean(1, keepdim=True)

    layer = fill(Prompted(Block(), tokens=3, dim=4, prefix=1))
    x = noise(2, 5, 4)
    out = layer(x)
    together = torch.stack([torch.cat([x[b, :1], layer.prompt, x[b, 1:]]) for b in range(2)])
    assert torch.equal(seen[0], together)
    torch.testing.assert_close(out, x + together.mean(1, keepdim=True))


@pytest.mark.parametrize("name", ADAPTERS)
def test_only_the_adapters_and_the_classifier_learn_all_of_them_by_step_two(name: str, images: Path, vit: str) -> None:
    run = trained(Trial(name, {}, images, vit).run, 0)
    before = {key: t.clone() for key, t in run.net.state_dict().items()}
    advance(run, 2)
    own = {key for key, p in run.net.named_parameters() if p.grad is not None}
    moved = {key for key, t in run.net.state_dict().items() if not torch.equal(t, before[key])}
    assert moved <= own
    assert len(own) < len(before) / 2 or name == "ssf"
    assert all(run.net.get_parameter(key).grad.abs().max() > 0 for key in own)


@pytest.mark.parametrize("name", ["lora", "adaptformer"])
def test_the_start_equals_the_source(name: str, images: Path, vit: str) -> None:
    run = trained(Trial(name, {}, images, vit).run, 0)
    x = run.stream.batch(0)[0]
    source = run.ctx.source(x)
    torch.testing.assert_close(run.net.eval()(x).features, source.features, rtol=0, atol=1e-6)


def test_lora_merged_equals_unmerged_in_the_network(images: Path, vit: str) -> None:
    run = trained(Trial("lora", {}, images, vit).run, 3)
    x = run.stream.batch(0)[0]
    torch.testing.assert_close(run.net.eval()(x).logits, run.net.train()(x).logits, rtol=0, atol=1e-5)
