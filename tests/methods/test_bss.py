"""BSS against a singular value decomposition in NumPy, with the closed form of its gradient."""

import numpy as np
import pytest
import torch

from methods.bss import smallest_eigenvalue, smallest_squared_singular_values
from tests.methods.real import sample, step


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_value_and_gradient(shape, k):
    f = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    u, s, vt = np.linalg.svd(f.detach().numpy(), full_matrices=False)
    loss = smallest_squared_singular_values(f, k)
    loss.backward()
    assert loss.item() == pytest.approx(sum(s[-i] ** 2 for i in range(1, k + 1)), rel=1e-10)
    gradient = sum(2 * s[-i] * np.outer(u[:, -i], vt[-i]) for i in range(1, k + 1))
    np.testing.assert_allclose(f.grad.numpy(), gradient, rtol=1e-7, atol=1e-10)


def test_small_values_beside_large_ones_survive_float32():
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 8, generator=generator, dtype=torch.float64))[0] for n in (8, 200))
    f = ((u * torch.tensor([1e3, 10, 5, 4, 3, 2, 1, 0.1], dtype=torch.float64)) @ v.T).float()
    assert smallest_squared_singular_values(f, 1).item() == pytest.approx(0.01, rel=1e-2)


def test_half_precision_features_are_widened_and_autocast_is_left():
    f = torch.randn(4, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = smallest_squared_singular_values(f, 1)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(float(np.linalg.svd(f.float().numpy())[1][-1]) ** 2, rel=1e-4)


def test_more_values_than_there_are_means_all():
    f = torch.randn(3, 5, dtype=torch.float64)
    assert smallest_squared_singular_values(f, 9).item() == pytest.approx(f.square().sum().item())


def test_penalty_is_eta_times_the_sum_undivided_by_the_batch(ready):
    component, ctx, _ = ready("bss", eta=0.5)
    at = step(ctx, sample(ctx))
    singular = np.linalg.svd(at.out.features.detach().numpy())[1]
    assert component.penalties(at)["bss"].item() == pytest.approx(0.5 * singular[-1] ** 2, rel=1e-3)


@pytest.mark.parametrize("smallest", [[1.0, 1.0 + 1e-6, 2.0], [1e-9, 1e-8, 1.0], [0.0, 0.0, 3.0], [0.5, 0.5, 0.5]])
def test_repeated_squaring_finds_the_smallest_eigenvalue_and_its_gradient(smallest):
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(48, 48, generator=generator, dtype=torch.float64))[0]
    values = torch.cat([torch.tensor(smallest, dtype=torch.float64), torch.linspace(5, 50, 45, dtype=torch.float64)])
    gram = ((q * values) @ q.T).requires_grad_()
    found = smallest_eigenvalue(gram)
    found.backward()
    assert found.item() == pytest.approx(smallest[0], rel=1e-10, abs=1e-11)
    members = q[:, values <= smallest[0] + 1e-12]  # where there are several, any mixture of their projectors is a subgradient
    assert gram.grad.trace().item() == pytest.approx(1, abs=1e-12)
    assert (members.T @ gram.grad @ members).trace().item() == pytest.approx(1, abs=1e-6)


def test_repeated_squaring_of_nothing_is_nothing():
    gram = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    smallest_eigenvalue(gram).backward()
    assert gram.grad.isfinite().all()
