"""Every objective against values worked out by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from i2i.losses.adversarial import Objective, discriminator_loss, fooling_loss, generator_loss, sign_of_real
from i2i.losses.consistency import cycle_consistency, identity

# Probabilities 0.8 for real and 0.4 for fake, as logits; the other objectives see the scores 1.5 and -0.25.
REAL_LOGIT, FAKE_LOGIT = math.log(0.8 / 0.2), math.log(0.4 / 0.6)
BY_HAND: dict[str, tuple[float, float, float, float]] = {
    "non_saturating": (REAL_LOGIT, FAKE_LOGIT, -math.log(0.8) - math.log(0.6), -math.log(0.4)),
    "minimax": (REAL_LOGIT, FAKE_LOGIT, -math.log(0.8) - math.log(0.6), math.log(0.6)),
    "lsgan": (1.5, -0.25, 0.25 + 0.0625, 1.5625),
    "hinge": (1.5, -0.25, 0.0 + 0.75, 0.25),
    "wasserstein": (1.5, -0.25, -0.25 - 1.5, 0.25),
    "relativistic": (1.5, -0.25, math.log(1 + math.exp(-1.75)), math.log(1 + math.exp(1.75))),
}


def test_every_objective_has_a_value_by_hand() -> None:
    assert set(BY_HAND) == set(get_args(Objective))


@pytest.mark.parametrize("objective", get_args(Objective))
@pytest.mark.parametrize("shape", [(3,), (2, 1, 5, 4)])
def test_objectives_equal_their_formulas(objective: Objective, shape: tuple[int, ...]) -> None:
    real, fake, for_discriminator, for_generator = BY_HAND[objective]
    scores = torch.full(shape, real), torch.full(shape, fake)
    torch.testing.assert_close(discriminator_loss(*scores, objective), torch.tensor(for_discriminator))
    torch.testing.assert_close(generator_loss(scores[1], objective, scores[0]), torch.tensor(for_generator))


@pytest.mark.parametrize("objective", get_args(Objective))
def test_objectives_are_finite_for_extreme_half_precision_scores(objective: Objective) -> None:
    scores = torch.tensor([-200.0, 200.0], dtype=torch.bfloat16, requires_grad=True)
    (discriminator_loss(scores, -scores, objective) + generator_loss(scores, objective, -scores)).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_a_relativistic_generator_is_compared_with_real_images_pair_by_pair() -> None:
    fake, real = torch.tensor([0.0, 5.0]), torch.tensor([1.0, 3.0])
    shown: list[tuple[torch.Tensor, bool]] = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        shown.append((x, torch.is_grad_enabled()))
        return 2 * x

    loss = fooling_loss(critic, fake, real, "relativistic")
    assert loss.item() == pytest.approx((math.log(1 + math.exp(2)) + math.log(1 + math.exp(-4))) / 2)
    assert [(x is real, graded) for x, graded in shown] == [(True, False), (False, True)]
    shown.clear()
    fooling_loss(critic, fake, real, "lsgan")
    assert len(shown) == 1
    with pytest.raises(ValueError, match="compares"):
        generator_loss(fake, "relativistic")


def test_the_sign_of_real_images() -> None:
    real, fake = torch.tensor([0.4, 0.7, 2.0, -1.0]), torch.tensor([0.5, 0.5, 0.5, -2.0])
    signs = {objective: sign_of_real(real, fake, objective) for objective in get_args(Objective)}
    assert {name: None if sign is None else sign.item() for name, sign in signs.items()} == {
        **dict.fromkeys(("non_saturating", "minimax", "hinge", "relativistic"), 0.5),
        "lsgan": 0.0,
        "wasserstein": None,
    }


def test_the_loss_of_a_patch_map_is_its_mean() -> None:
    scores = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    assert generator_loss(scores, "wasserstein").item() == -1.5
    assert generator_loss(scores, "lsgan").item() == (1 + 0 + 1 + 4) / 4


def test_consistency_is_the_mean_absolute_difference() -> None:
    one, other = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -1.0]])
    assert cycle_consistency(one, other).item() == 1.25
    assert identity(one, other).item() == 1.25
