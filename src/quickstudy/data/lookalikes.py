"""Pictures that look alike: which characters would be one class under two names."""

import numpy as np
from numpy.typing import NDArray

ALIKE = 0.90
"""Cosine between two blurred pictures, means removed, from which they are the same character."""


def distinct(features: NDArray[np.float32], least: float = ALIKE) -> NDArray[np.bool_]:
    """Rows that look like no earlier row that is kept.

    Args:
        features: [n, d] unit vectors.
        least: the cosine from which two rows are the same.

    Examples:
        >>> distinct(np.eye(3, dtype=np.float32)[[0, 1, 1, 2]])
        array([ True,  True, False,  True])
    """
    kept = np.ones(len(features), bool)
    for start in range(0, len(features), 1024):
        near = features[start : start + 1024] @ features.T >= least
        for row, others in enumerate(near, start):
            if kept[row]:
                kept[row + 1 :] &= ~others[row + 1 :]
    return kept


def alike(
    features: NDArray[np.float32], others: NDArray[np.float32], least: float = ALIKE
) -> NDArray[np.bool_]:
    """Rows that look like any row of `others`; unit vectors [n, d] and [m, d] to [n].

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> alike(rows, rows[1:2])
        array([False,  True, False])
    """
    found = [
        (features[start : start + 1024] @ others.T).max(axis=1, initial=-1.0) >= least
        for start in range(0, len(features), 1024)
    ]
    return np.concatenate([np.zeros(0, bool), *found])


def halved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[n, h, w] to [n, h / 2, w / 2], the mean of four pixels."""
    n, height, width = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def turned(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, side, side] to [4 n, side, side]: all as they are, all turned by a quarter, and so on."""
    return np.concatenate([np.rot90(images, quarters, axes=(1, 2)) for quarters in range(4)])


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures [n, side, side] to unit vectors [n, (side / 2)^2], whose products say how alike."""
    half = images.shape[1] // 2
    place = np.arange(half)
    blur = np.exp(-0.5 * (place[:, None] - place).astype(np.float32) ** 2)
    flat = (blur @ halved(images) @ blur).reshape(len(images), half**2)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: NDArray[np.float32] = flat / np.maximum(norm, 1e-6)
    return unit
