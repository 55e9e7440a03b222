"""Time and memory of a run on this machine, and the machine's name."""

import ctypes
import gc
import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def machine_name(device: torch.device) -> str:
    """Of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return f"{match[1] if match else platform.processor()}, {torch.get_num_threads()} threads"


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Of one run, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


class PeakMemory:
    """The most memory that is held from its making on, less what was held then.

    That of the GPU's allocator, or else of the process: exact on Linux, where its high-water mark can be taken back;
    elsewhere only what goes beyond all before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc: gives freed memory back
                trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._most()

    def megabytes(self) -> float:
        """So far [MB]."""
        return (self._most() - self._before) / 1e6

    def _most(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if sys.platform == "linux":
            match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
            return 1024 * int(match[1]) if match else 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # [bytes] on macOS
