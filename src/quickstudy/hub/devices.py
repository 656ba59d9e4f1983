"""Where numbers are crunched: the device by name, and the number of threads."""

import contextlib
import ctypes
import sys

import torch

from quickstudy.core.distributed import ranks
from quickstudy.errors import RunError
from quickstudy.hub.processes import local_rank, local_world


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name, tried out.

    Args:
        name: "cpu", "cuda" (or "cuda:1"), "mps"; "auto" for the fastest of those that is there.
            Each of many processes on a machine takes a "cuda" device of its own.

    Raises:
        RunError: an unknown name, a device that this machine or this PyTorch lacks, or fewer
            "cuda" devices on this machine than processes of the job.

    Examples:
        >>> choose_device("cpu")
        device(type='cpu')
        >>> choose_device("abacus")
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: --device must be auto, cpu, cuda or mps, got 'abacus'
    """
    present = devices()
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if kind in present)
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise RunError(f"--device must be auto, cpu, cuda or mps, got {name!r}")
    if kind not in present:
        raise RunError(f"--device {name}: {_why_not(kind)}; here there is {', '.join(present)}")
    if index and int(index) >= present[kind]:
        raise RunError(f"--device {name}: here {kind} has {present[kind]} device, counted from 0")
    if kind == "cuda" and ranks()[1] > 1:
        return _of_its_own(name, present[kind])
    return torch.device(name)


def _of_its_own(name: str, present: int) -> torch.device:
    """The GPU of this process, of several on the machine; NCCL serves no two on one GPU.

    Raises:
        RunError: there are more processes than GPUs, or all are to use the same one.
    """
    here = max(local_world(), local_rank() + 1)
    kind, _, index = name.partition(":")
    if index and here > 1:
        raise RunError(f"--device {name}: {here} processes cannot share it; wanted {kind}")
    if here > present:
        raise RunError(
            f"--device {kind}: {here} processes on a machine with {present}: start no more than "
            "that many on each machine, or give --device cpu"
        )
    return torch.device(name) if index else torch.device(kind, local_rank())


def devices() -> dict[str, int]:
    """How many devices of each kind this machine and this PyTorch have."""
    found = {"cpu": 1}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        found["mps"] = 1
    return found


def _why_not(kind: str) -> str:
    built = torch.backends.cuda.is_built() if kind == "cuda" else torch.backends.mps.is_built()
    if built:
        return "no such device is ready on this machine"
    return f"the installed PyTorch {torch.__version__} was built without it"


def set_threads(count: int | None) -> None:
    """Use so many CPU threads (None: as many as PyTorch likes), and quick arithmetic near zero."""
    if count is not None:
        torch.set_num_threads(count)
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, as every training step needs the same again.

    glibc otherwise hands large blocks back to the system and faults them in anew, which costs a
    quarter of a step on small nets. Elsewhere than on glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    m_trim_threshold, m_mmap_threshold, limit = -1, -3, 2**30  # names and numbers of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(m_mmap_threshold, limit)
        mallopt(m_trim_threshold, limit)
