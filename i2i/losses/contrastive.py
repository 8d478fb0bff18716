"""The patch-wise contrastive loss of CUT (Park, Efros, Zhang, Zhu 2020, arXiv:2007.15651, equations 2 and 3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def patch_nce(query: Tensor, key: Tensor, temperature: float = 0.07) -> Tensor:
    """InfoNCE between patches of an output and of its input; negatives are the other patches of the same image.

    query, key: (N, P, F), with norm 1 along F; patch p is at the same place in both. The key gets no gradient. Returns
    the cross-entropy over P classes, mean over all patches.
    """
    with torch.autocast(query.device.type, enabled=False):  # autocast would compute the product in its lower precision
        similarity = query.float() @ key.detach().float().mT / temperature  # (N, P, P)
    place = torch.arange(similarity.shape[1], device=query.device).expand(len(query), -1)
    return cross_entropy(similarity.flatten(0, 1), place.flatten())
