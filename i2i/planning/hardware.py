"""GPUs by their data sheets: the most that each can compute and move in a second, and what it holds.

Dense figures: half of what sheets quote with sparsity. What a launch takes is in no data sheet: ``LAUNCH`` is
an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

from i2i.config.schema import Precision

LAUNCH = 2.5e-6
"""Seconds that the host takes at the least to launch a kernel; torch's own work for an operator comes on top."""


@dataclass(frozen=True)
class GPU:
    """A GPU as its data sheet has it.

    Attributes:
        name: what it is called.
        memory: GB, of 10^9 bytes.
        bandwidth: bytes a second, of its memory.
        flops: for each precision floating-point operations a second, of convolutions and matrix products.
        source: the data sheet, and its year.
    """

    name: str
    memory: int
    bandwidth: float
    flops: dict[Precision, float]
    source: str


GPUS = (
    GPU(
        "T4",
        16,
        320e9,
        {"fp32": 8.1e12, "fp16": 65e12},
        "NVIDIA T4 data sheet, 2019, and Turing whitepaper, 2018, for the bandwidth; it has no bf16",
    ),
    GPU(
        "RTX 3090",
        24,
        936e9,
        {"fp32": 35.6e12, "bf16": 71e12, "fp16": 71e12},
        "NVIDIA Ampere GA102 whitepaper, appendix A, 2021; products in TF32, bf16 and fp16 with sums in fp32",
    ),
    GPU(
        "RTX 4090",
        24,
        1008e9,
        {"fp32": 82.6e12, "bf16": 165.2e12, "fp16": 165.2e12},
        "NVIDIA Ada GPU Architecture whitepaper, appendix A, 2022; products in TF32, bf16 and fp16 with sums in fp32",
    ),
    GPU(
        "A10G",
        24,
        600e9,
        {"fp32": 35e12, "bf16": 70e12, "fp16": 70e12},
        "NVIDIA A10G data sheet, 2022; fp32 by TF32",
    ),
    GPU(
        "L4",
        24,
        300e9,
        {"fp32": 60e12, "bf16": 121e12, "fp16": 121e12},
        "NVIDIA L4 data sheet, 2023; fp32 by TF32",
    ),
    GPU(
        "L40S",
        48,
        864e9,
        {"fp32": 183e12, "bf16": 362e12, "fp16": 362e12},
        "NVIDIA L40S data sheet, 2023; fp32 by TF32",
    ),
    GPU(
        "A100 80GB",
        80,
        2039e9,
        {"fp32": 156e12, "bf16": 312e12, "fp16": 312e12},
        "NVIDIA A100 data sheet, SXM, 2021; fp32 by TF32",
    ),
    GPU(
        "H100 SXM",
        80,
        3350e9,
        {"fp32": 494.7e12, "bf16": 989.4e12, "fp16": 989.4e12},
        "NVIDIA H100 data sheet, SXM5, 2023, and H100 whitepaper for the digits; fp32 by TF32",
    ),
    GPU(
        "H200 SXM",
        141,
        4800e9,
        {"fp32": 494.7e12, "bf16": 989.4e12, "fp16": 989.4e12},
        "NVIDIA H200 data sheet, SXM, 2024: the arithmetic of an H100; fp32 by TF32",
    ),
    GPU(
        "B200",
        180,
        7700e9,
        {"fp32": 1100e12, "bf16": 2250e12, "fp16": 2250e12},
        "NVIDIA Blackwell data sheet, HGX B200, 2025; fp32 by TF32",
    ),
)
"""In fp32 torch lets cuDNN compute convolutions in TF32 where there is such, and so do these figures."""
