"""The similarity of features that EnCo asks for (Cai et al. 2024, arXiv:2211.10867), after BYOL (Grill et al. 2020)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def dissimilarity(predicted: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos, the squared distance of both at norm 1, mean over all patches; both (..., F).

    The target gets no gradient.
    """
    return (2 - 2 * cosine_similarity(predicted.float(), target.detach().float(), dim=-1)).mean()
