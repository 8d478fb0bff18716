"""Builds a method that is ready for inference from the content of a weight file."""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.build import build_method, without_memory
from i2i.config.schema import ModelConfig
from i2i.errors import WeightsError
from i2i.methods.base import Method
from i2i.networks.at_inference import prepare_for_inference


def build_trained(config: ModelConfig, weights: dict[str, Tensor], device: torch.device) -> Method:
    """The method of ``config`` with ``weights``, its layers set as in ``config.inference``.

    Modules that inference does not use get no memory.

    Raises:
        WeightsError: weights that do not fit the configuration.
    """
    with without_memory():  # no memory and no random draws for modules that inference does not use
        method = build_method(config)
    kept = set(method.inference_state())
    if kept != set(weights):
        missing, extra = sorted(kept - set(weights)), sorted(set(weights) - kept)
        raise WeightsError(
            f"the weights do not fit their configuration ({len(missing)} missing, {len(extra)} unknown; "
            f"first: {(missing + extra)[0][:80]})"
        )
    try:
        method.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"the weights do not fit their configuration: {reason}") from None
    prepare_for_inference(method, **config.inference.model_dump())
    for module in method.kept_for_inference():
        module.to(device)
    return method
