"""Penalties and information bounds against values worked out by hand, on critics whose slope is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from i2i.losses.information import categorical_information, gaussian_information
from i2i.losses.penalties import clip_weights, dragan_penalty, gradient_penalty, orthogonal_penalty, r1_penalty

REAL, FAKE = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
SLOPE = torch.arange(18.0).reshape(2, 3, 3) / 10
NORM = SLOPE.norm().item()


def linear(x: Tensor) -> Tensor:
    return (x * SLOPE).sum((1, 2, 3)) + 5


def patches(x: Tensor) -> Tensor:
    """A map of 3x3 scores, each with slope (3, 4) in its own pixel: their mean has the norm 5 / 3."""
    return 3 * x[:, :1] + 4 * x[:, 1:]


def test_penalties_of_a_linear_critic() -> None:
    torch.testing.assert_close(gradient_penalty(linear, REAL, FAKE).item(), (NORM - 1) ** 2)
    torch.testing.assert_close(gradient_penalty(linear, REAL, FAKE, target=0.0).item(), NORM**2)
    torch.testing.assert_close(dragan_penalty(linear, REAL).item(), (NORM - 1) ** 2)
    torch.testing.assert_close(r1_penalty(linear, REAL).item(), NORM**2)


def test_a_patch_critic_is_penalised_for_the_mean_that_is_optimised() -> None:
    torch.testing.assert_close(gradient_penalty(patches, REAL, FAKE).item(), (5 / 3 - 1) ** 2)
    torch.testing.assert_close(r1_penalty(patches, REAL).item(), 25 / 9)


def test_every_sample_has_its_own_norm() -> None:
    # Slopes 2 |x|: the mean over samples of the squared deviation is not that of one joint norm.
    x = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    expected = ((2 - 1) ** 2 + (4 - 1) ** 2) / 2
    torch.testing.assert_close(gradient_penalty(lambda p: p.square().sum((1, 2, 3)), x, x).item(), expected)


def test_interpolated_points_lie_between_real_and_fake() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return linear(x)

    gradient_penalty(critic, torch.ones(500, 2, 3, 3), torch.zeros(500, 2, 3, 3))
    shares = seen[0].flatten(1)
    assert torch.equal(shares, shares[:, :1].expand(-1, 18))
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert 0.4 < shares[:, 0].mean() < 0.6


def test_the_penalty_can_be_minimised() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(18, 1)
    optimizer = torch.optim.SGD(layer.parameters(), 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        gradient_penalty(lambda x: layer(x.flatten(1))[:, 0], REAL, FAKE).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(layer.weight.norm().item(), 1.0, atol=1e-3, rtol=0)


def test_penalties_compute_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(18, 1)

    def critic(x: Tensor) -> Tensor:
        scores: Tensor = layer(x.flatten(1))[:, 0]
        assert scores.dtype == torch.float32
        return scores

    with torch.autocast("cpu", torch.bfloat16):
        value = gradient_penalty(critic, REAL, FAKE)
    torch.testing.assert_close(value.item(), (layer.weight.norm().item() - 1) ** 2)


def test_orthogonal_penalty_counts_the_products_of_different_rows() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(orthogonal_penalty([layer]).item(), 2 * 11.0**2)
    layer.weight.data = 7 * torch.eye(2)
    assert orthogonal_penalty([layer]).item() == 0


def test_orthogonal_filters_of_a_transposed_convolution_cost_nothing() -> None:
    layer = nn.ConvTranspose2d(4, 2, 2, bias=False)  # its weight has the input channels first
    with torch.no_grad():
        layer.weight.copy_(nn.init.orthogonal_(torch.empty(2, 16)).reshape(2, 4, 2, 2).transpose(0, 1))
    assert orthogonal_penalty([layer]).item() == pytest.approx(0, abs=1e-10)


def test_clipping_holds_every_parameter() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    clip_weights([network], 0.01)
    assert all(parameter.abs().max() <= 0.01 for parameter in network.parameters())
    assert network.get_parameter("1.weight")[0].item() == pytest.approx(0.01)


def test_information_by_hand() -> None:
    torch.testing.assert_close(
        categorical_information(torch.zeros(3, 10), torch.tensor([0, 5, 9])).item(), math.log(10)
    )
    mean, code = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]])
    # Each code: (c - mean)^2 / (2 var) + log(var) / 2 + log(2 pi) / 2, with var = e.
    expected = 4 / (2 * math.e) + 0.5 + 0.5 + math.log(2 * math.pi)
    torch.testing.assert_close(gaussian_information(mean, torch.ones(1, 2), code).item(), expected)
