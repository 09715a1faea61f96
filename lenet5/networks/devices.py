"""Devices and the precision of products."""

import functools
import os

import torch

from lenet5.runtime.cli import DEVICES
from lenet5.runtime.errors import UserError, without_warnings

if hasattr(os, "register_at_fork"):
    # A forked process lacks the threads of its parent, for which OpenMP would wait for ever.
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))

# What `--precision` names, beside "auto".
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pick_device(name: str = "auto") -> torch.device:
    """The device for a name: auto takes CUDA, else MPS, else the CPU.

    Raises UserError for a device that this machine lacks.
    """
    if name == "cpu":
        return torch.device("cpu")
    with without_warnings():  # of torch, about drivers that nobody asked for
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, found in there.items() if found), "cpu"))
    if name not in there:
        raise UserError(f"no device is called {name!r}; there are: {', '.join(DEVICES)}")
    if not there[name]:
        raise UserError(f"this machine has no {name} device; --device auto takes what is there")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """What `epoch.backpropagate` rounds to: auto takes bfloat16 on x86 CPUs that multiply it.

    Raises UserError for a device that has no bfloat16.
    """
    if name == "auto":
        # Older versions of PyTorch do not tell.
        abilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
        is_able = abilities.get("avx512_bf16") or abilities.get("amx_bf16")
        name = "bfloat16" if device.type == "cpu" and is_able else "float32"
    has_it = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    if name == "bfloat16" and not has_it:
        raise UserError(f"--precision bfloat16 is not available on {device.type} here: leave it out")
    return PRECISIONS[name]
