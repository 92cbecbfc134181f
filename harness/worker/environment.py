"""What this interpreter and its machine are, and the settings of a case put in force and read back.

In: a `Setting`. Out: facts as JSON values. Nothing here computes or starts CUDA, so the worker itself may
call `describe`.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from harness.worker.affinity import processors

if TYPE_CHECKING:
    from harness.core.case import Setting
    from harness.worker.devices import Device


TELLING_VARIABLES = (
    *("OMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "TORCH_", "LD_PRELOAD"),
    # a container's other NVIDIA_ say what it was made for
    *("CUDA_", "NVIDIA_TF32_OVERRIDE", "PYTORCH_", "CUDNN_", "CUBLAS_", "TRITON_"),
)
_CACHE_UNITS = {"K": 2**10, "M": 2**20}


class NotSupported(Exception):
    """This interpreter, torch or device cannot execute the case as asked."""


def describe() -> dict[str, Any]:
    """The facts that tell one environment from another."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "torch": torch.__version__,
        "torch_git": torch.version.git_version,
        "onednn": _onednn_version(),
        "cuda": torch.version.cuda,
        "cudnn": _cudnn_version(),
        "driver": _driver_version(),
        "system": platform.system(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads_available": available_threads(),
        "memory_bytes": _memory_bytes(),
        "last_level_cache_bytes": last_level_cache_bytes(),
        "transparent_hugepages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(TELLING_VARIABLES)
        },
    }


def _memory_bytes() -> int | None:
    """Of the machine, or what the control group may use of it (memory.max, cgroup v2)."""
    if not hasattr(os, "sysconf"):
        return None
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _first_line("/sys/fs/cgroup/memory.max") or "max"
    return physical if limit == "max" else min(physical, int(limit))


def _cudnn_version() -> int | None:
    """Asked below `torch.backends`, which would start CUDA to look at the devices; no child that is forked
    afterwards could start it again."""
    cudnn = getattr(torch._C, "_cudnn", None)
    return None if cudnn is None else cudnn.getVersionInt()


def _driver_version() -> str | None:
    """Of NVIDIA's kernel module, from its first line in /proc: to ask CUDA would start it."""
    found = re.search(r"\b\d+\.\d+(\.\d+)*\b", _first_line("/proc/driver/nvidia/version") or "")
    return found[0] if found else None


def available_threads() -> int:
    """Processors that this process may use: its affinity, and the quota of its control group (cpu.max, cgroup
    v2)."""
    affinity = len(processors()) or os.cpu_count() or 1
    quota, _, period = (_first_line("/sys/fs/cgroup/cpu.max") or "max 1").partition(" ")
    return affinity if quota == "max" else max(1, min(affinity, int(quota) // int(period)))


def apply(setting: Setting, device: Device) -> dict[str, Any]:
    """Put a setting in force in this process, read it back, and return what it resolved to. Raises
    NotSupported where it did not hold.

    The global fp32 switch does not reach convolutions, so each back end's own is set.
    """
    threads = use_threads(setting.threads)
    set_precision(setting.device, setting.fp32_precision)
    if setting.autotune and device.kind not in ("cpu", "cuda"):
        raise NotSupported(f"autotune is not known on {device.kind}")
    torch.backends.cudnn.benchmark = setting.autotune
    return {"threads_used": threads} | device.select()


def use_threads(asked: str) -> int:
    """Let torch use so many threads, or `all` that there are; how many these are. Raises NotSupported."""
    threads = available_threads() if asked == "all" else int(asked)
    if threads > available_threads():
        raise NotSupported(f"{threads} threads are asked for, {available_threads()} processors are available")
    torch.set_num_threads(threads)
    if torch.get_num_threads() != threads:
        raise NotSupported(f"threads {threads} was not accepted, torch uses {torch.get_num_threads()}")
    return threads


@lru_cache
def cpu_name() -> str:
    """The processor's brand, without the spaces that some carry. Read once: 0.3 ms, and every child inherits
    the answer."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def last_level_cache_bytes() -> int | None:
    """Size of the last-level caches that this process can use, each counted once; null where not reported by
    the kernel."""
    caches: dict[str, int] = {}
    for processor in processors() or {0}:
        folder = f"/sys/devices/system/cpu/cpu{processor}/cache/index"
        levels = {index: _first_line(f"{folder}{index}/size") for index in range(5)}
        sizes = {
            int(size[:-1]) * _CACHE_UNITS[size[-1]]: index
            for index, size in levels.items()
            if size and size[-1] in _CACHE_UNITS
        }
        if sizes:
            largest = max(sizes)
            caches[_first_line(f"{folder}{sizes[largest]}/shared_cpu_list") or str(processor)] = largest
    return sum(caches.values()) or None


def set_precision(device: str, wanted: str) -> None:
    """Each back end's own switch, set and read back; before torch 2.9 there is only the old one, of CUDA, and
    ieee is all that a CPU has.

    The old switches of CUDA come first: what reads them, as torch.compile does, is refused by torch where old
    and new disagree. Raises NotSupported.
    """
    backends: Any = torch.backends  # its modules make their attributes at run time
    new = hasattr(backends.mkldnn, "conv") and hasattr(backends.mkldnn.conv, "fp32_precision")
    if not new and wanted != "ieee":
        raise NotSupported(f"fp32_precision {wanted} needs torch 2.9 or later, this is {torch.__version__}")
    if device not in ("cpu", "cuda"):
        _require_ieee(device, wanted)
        return
    if device == "cuda":
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = wanted == "tf32"
    if not new:
        return
    cpu = device == "cpu"
    owners = (
        (backends.mkldnn.conv, backends.mkldnn.matmul)
        if cpu
        else (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    )
    for owner in owners:
        try:
            owner.fp32_precision = wanted
            held = owner.fp32_precision
        except RuntimeError as error:
            raise NotSupported(
                f"fp32_precision {wanted} is not known to this torch or device: {error}"
            ) from error
        if held != wanted:
            raise NotSupported(f"fp32_precision {wanted} was not accepted, torch kept {held}")


def _require_ieee(device: str, wanted: str) -> None:
    """Switch off what an accelerator multiplies float32 in by default: Ascend's NPUs convolve in HF32. Raises
    NotSupported for any other precision, which nobody tells how to set."""
    if wanted != "ieee":
        raise NotSupported(f"fp32_precision {wanted} cannot be set on {device}")
    module: Any = torch.get_device_module(device)
    owners: list[Any] = [getattr(module, name, None) for name in ("conv", "matmul")]
    for owner in owners:
        if hasattr(owner, "allow_hf32"):
            owner.allow_hf32 = False
            if owner.allow_hf32:
                raise NotSupported(f"float32 cannot be had on {device}: torch kept HF32")


def _onednn_version() -> str | None:
    for line in torch.__config__.show().splitlines():
        if "MKL-DNN" in line or "oneDNN" in line:
            return line.partition("v")[2].split()[0]
    return None


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _first_line(path: str) -> str | None:
    lines = _lines(path)
    return lines[0] if lines else None
