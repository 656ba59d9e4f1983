"""Fashion-MNIST's test set: photographs of clothing, to judge a model on another kind of images."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.data.cache import cache_folders, find, read_arrays
from quickstudy.data.download import Remote
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError

FASHION_FILE = "fashion_mnist_10k.npz"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
COUNT, SIDE = 10_000, 28

# Sizes and digests: tensorflow_datasets/url_checksums/fashion_mnist.txt of
# github.com/tensorflow/datasets, for the same files at another address of their publisher.
FASHION_REMOTES = (
    Remote(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
        "t10k-images-idx3-ubyte.gz",
        4_422_102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    Remote(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
        "t10k-labels-idx1-ubyte.gz",
        5_148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)


def fashion(cache: Path | str | None = None) -> Pool:
    """The test set of Fashion-MNIST (Xiao et al. 2017): 10 kinds of clothing, 1,000 photos of each.

    Args:
        cache: the folder that holds `fashion_mnist_10k.npz`; see `cache_folders`.

    Returns:
        uint8 [10000, 1, 28, 28], clothing bright on 0.

    Raises:
        DataError: the file is not there, or is not what it should be.
    """
    path = find(FASHION_FILE, cache)
    if path is None:
        raise DataError(
            f"Fashion-MNIST is not in the data cache ({', '.join(map(str, cache_folders(cache)))})"
            ": `quickstudy data prepare fashion` fetches it"
        )
    arrays = read_arrays(path)
    missing = {"images", "labels", "class_name"} - set(arrays)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}")
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"images in {path} must be uint8 [10000, 28, 28], "
            f"got {images.dtype} {list(images.shape)}"
        )
    return Pool.from_labels(
        torch.from_numpy(images[:, None]),
        torch.from_numpy(labels),
        [str(name) for name in arrays["class_name"]],
    )


def convert_fashion(files: Mapping[str, Path]) -> dict[str, NDArray[np.generic]]:
    """The published files as the arrays of `fashion_mnist_10k.npz`.

    Args:
        files: name to path of both files.

    Returns:
        images uint8 [10000, 28, 28]; labels uint8 [10000]; class_name [10].

    Raises:
        DataError: a file is not what it should be.
    """
    images, labels = (files[remote.name] for remote in FASHION_REMOTES)
    return {
        "images": read_idx(images, (COUNT, SIDE, SIDE)),
        "labels": read_idx(labels, (COUNT,)),
        "class_name": np.array(CLASSES),
    }


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A gzipped file in MNIST's format: two zero bytes, type, dimensions, sizes, then the bytes.

    Args:
        path: the file.
        shape: the sizes that it must have.

    Raises:
        DataError: it is no whole gzip file, or holds other than bytes of that shape.
    """
    head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    size = len(head) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)  # and no more, however much there is
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file: {error}") from error
    if len(content) != size or not content.startswith(head):
        raise DataError(
            f"{path} must hold bytes {list(shape)} in MNIST's format, {size} with its head; got "
            f"{min(len(content), size)}{' and more' * (len(content) > size)}, "
            f"beginning with {content[: len(head)].hex()}"
        )
    return np.frombuffer(content, np.uint8, offset=len(head)).reshape(shape)
