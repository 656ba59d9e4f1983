"""Tensors to the bytes of a safetensors file and back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from quickstudy.errors import ArtefactError

DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8}
    | {torch.uint64, torch.uint32, torch.uint16, torch.uint8}
)
"""What can be stored."""

HEADER_LIMIT = 100_000_000
"""Bytes; safetensors refuses to read a longer header."""


def to_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file; the same tensors and metadata always give the same bytes.

    Views, transposed tensors, tensors that share memory and tensors on other devices are stored
    as contiguous copies.

    Args:
        tensors: dense, of any shapes and the types in `DTYPES`. Not changed.
        metadata: one key at most, because safetensors writes several in a random order.

    Raises:
        ArtefactError: a tensor that cannot be stored, or names and metadata that are too long.

    Examples:
        >>> raw = to_bytes({"w": torch.eye(2).T}, {"format": "pt"})
        >>> from_bytes(raw, "w.safetensors")
        {'w': tensor([[1., 0.], [0., 1.]])}
    """
    if len(metadata) > 1:
        raise ValueError(f"wanted one key of metadata at most, got {sorted(metadata)}")
    copies = {name: _copy(tensor, name) for name, tensor in tensors.items()}
    raw = safetensors.torch.save(copies, metadata)
    header = int.from_bytes(raw[:8], "little")
    if header > HEADER_LIMIT:
        raise ArtefactError(
            f"names and numbers outside of tensors take {header} bytes; safetensors allows "
            f"{HEADER_LIMIT}: put long lists of numbers into tensors"
        )
    return raw


def from_bytes(raw: bytes, path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file, on the CPU, in memory of their own.

    Args:
        raw: all bytes of the file.
        path: of the file, for the message.

    Raises:
        ArtefactError: the bytes are no safetensors file.

    Examples:
        >>> from_bytes(b"hello", "w.safetensors")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: w.safetensors is no safetensors file: ...
    """
    try:
        return safetensors.torch.load(raw)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ArtefactError(f"{path} is no safetensors file: {error}") from error


@contextmanager
def usable(device: torch.device | str) -> Iterator[None]:
    """Turn torch's refusal of a device into one clear line.

    Raises:
        ArtefactError: the device is unknown here.

    Examples:
        >>> with usable("abacus"):
        ...     torch.zeros(1).to("abacus")
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: cannot use the device abacus: ...
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtefactError(f"cannot use the device {device}: {reason}") from error


def _copy(tensor: Tensor, name: str) -> Tensor:
    if is_lazy(tensor):
        raise ArtefactError(
            f"tensor {name!r} of a lazy module has no values yet; run it once first"
        )
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise ArtefactError(
            f"tensor {name!r} is {tensor.dtype}, {tensor.layout}, on {tensor.device}; wanted a "
            "dense one of floats, ints or bools that holds values"
        )
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
