"""What there is to train on."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from nnstudy.doctor.check import Check, ok, problem, warning
from nnstudy.doctor.filesystems import size

_CPU = "CPU"
_CUDA = "CUDA"
_CGROUP = Path("/sys/fs/cgroup/cpu.max")
_LITTLE_MEMORY = 1e9


def check_devices() -> Iterator[Check]:
    """Yields the cores, the memory and the CUDA devices that this process may use."""
    yield _check_cores()
    memory = psutil.virtual_memory()
    told = f"{size(memory.available)} of {size(memory.total)} memory are available"
    if memory.available < _LITTLE_MEMORY:
        yield warning("memory", told, "end other programs, or run fewer workers")
    else:
        yield ok("memory", told)
    yield from _check_cuda()


def _check_cores() -> Check:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    quota = _quota()
    told = f"{usable} of {total} cores may be used"
    if quota is not None and quota < usable:
        return warning(
            _CPU,
            f"{told}, but this container is given the time of {quota:.3g}",
            f"launch with --workers {max(1, int(quota))}",
        )
    return ok(_CPU, told)


def _quota() -> float | None:
    """Returns how many cores' time a container has (cgroup version 2), None for no limit."""
    try:
        most, period = _CGROUP.read_text().split()
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) / int(period)


def _check_cuda() -> Iterator[Check]:
    has_driver = bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()
    if torch.version.cuda is None:
        if has_driver:
            yield warning(
                _CUDA,
                f"this PyTorch ({torch.__version__}) is built without CUDA, but the machine has"
                " an NVIDIA driver",
                "install a CUDA build of torch and torchvision, both from one index",
            )
        else:
            yield ok(_CUDA, "this PyTorch is built without CUDA; trainings run on the CPU")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of what is said here
        reason = _why_no_cuda()
    if reason is None:
        for index in range(torch.cuda.device_count()):
            yield _check_device(index)
    elif not has_driver:
        yield ok(_CUDA, "no NVIDIA driver here; trainings run on the CPU")
    elif os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield ok(_CUDA, "CUDA_VISIBLE_DEVICES hides all devices; trainings run on the CPU")
    else:
        yield problem(
            _CUDA,
            f"PyTorch (built for CUDA {torch.version.cuda}) cannot use the device: {reason}",
            "install a newer driver, or a PyTorch built for the driver's CUDA; until then"
            " --device cpu",
        )


def _why_no_cuda() -> str | None:
    """Returns why PyTorch has no CUDA device, in its own words, or None if it has one."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # PyTorch has no type here
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    return None if torch.cuda.device_count() else "it finds no device"


def _check_device(index: int) -> Check:
    name = f"cuda:{index}"
    try:
        described = torch.cuda.get_device_properties(index)
        told = f"{name} is {described.name}"
        free, total = torch.cuda.mem_get_info(index)
        # A device that PyTorch has no kernels for shows so only when one is asked for.
        torch.ones(2, device=name).sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        return problem(
            _CUDA,
            f"{name} does not compute: {reason}",
            "end what fills its memory, or install a PyTorch that is built for it",
        )
    told += f", {size(free)} of {size(total)} memory are free"
    if free < _LITTLE_MEMORY:
        return warning(_CUDA, told, "end what fills its memory (nvidia-smi names it)")
    return ok(_CUDA, told)
