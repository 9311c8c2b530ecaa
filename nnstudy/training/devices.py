"""Devices, numerical precision and determinism."""

from __future__ import annotations

import os
from typing import Literal

import torch

from nnstudy.errors import UserError

Precision = Literal["float32", "mixed"]


def resolve_device(name: str = "auto") -> torch.device:
    """Returns the device of a name; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        UserError: If the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r}: PyTorch sees no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name!r}: only {torch.cuda.device_count()} CUDA device(s) here")
    return device


def mixed_precision(device: torch.device) -> tuple[torch.dtype, bool]:
    """Returns the reduced type for a device and whether its gradients need scaling.

    bfloat16 has float32's range and needs no scaling; float16 does (PyTorch,
    "Automatic Mixed Precision package").

    Raises:
        UserError: If the device is not CUDA.
    """
    if device.type != "cuda":
        raise UserError(
            f"mixed precision needs a CUDA device, this training runs on {device};"
            " leave --precision at float32"
        )
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16, False
    return torch.float16, True


def use_deterministic_algorithms() -> None:
    """Makes PyTorch choose deterministic algorithms where it has them, and warn where not."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
