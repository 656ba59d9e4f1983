"""Whether a learner is right as often as it says: the expected calibration error.

A task's answers become a table of sums, and tables of tasks (or of processes) add up, so that the
error is that of all queries together: a single task has too few to tell.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 15
"""Of equal width over the confidence, as in the paper."""

COUNT, CONFIDENCE, RIGHT = range(3)
"""The columns of a table."""


def calibration_table(
    logits: Float[Tensor, "m way"],
    y: Float[Tensor, "m way"],
    mask: Float[Tensor, " m"],
    bins: int = BINS,
) -> Float[Tensor, "bins 3"]:
    """The answers of one task by confidence, the largest class probability, as sums that add up.

    Bin b holds confidences in (b / bins, (b + 1) / bins]. The rows that count are those of
    `accuracy`: real and labelled. A way without support has a probability of zero, so a query of it
    counts as wrong. Runs under `torch.func.vmap`.

    Args:
        logits: [m, way].
        y: one-hot, [m, way]; unlabelled rows are all zero.
        mask: [m], 1 for a real row.
        bins: how many.

    Returns:
        [bins, 3]: answers, the sum of their confidences, and how many are right; NaN confidences
        where logits are no numbers.

    Examples:
        >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]]).log()
        >>> calibration_table(logits, torch.eye(2)[[0, 1, 1]], torch.ones(3), bins=4)
        tensor([[0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000],
                [1.0000, 0.6000, 1.0000],
                [2.0000, 1.6000, 1.0000]])
    """
    labelled = mask * y.sum(-1)
    confidence, answer = torch.softmax(logits, dim=-1).max(-1)
    # Padding may hold anything, NaN included: 0 * NaN would spread.
    confidence = torch.where(labelled > 0, confidence, torch.zeros_like(confidence))
    right = (answer == y.argmax(-1)).to(confidence.dtype)
    place = (confidence * bins).ceil().clamp(1, bins)[:, None]
    edges = torch.arange(1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    member = (place == edges).to(confidence.dtype) * labelled[:, None]
    # A confidence that is no number is in no bin; it has to show all the same.
    member = torch.where(place.isnan(), torch.nan, member)
    sums = torch.stack([torch.ones_like(confidence), confidence, right], dim=-1)
    return member.T @ sums


def expected_calibration_error(table: Float[Tensor, "bins 3"]) -> float:
    """Mean difference between confidence and accuracy over the bins (Guo et al. 2017, eq. 3).

    Each bin counts by its answers. 0 is right as often as it says, 1 always sure and always wrong.

    Args:
        table: from `calibration_table`, or a sum of such tables.

    Returns:
        In 0..1; NaN of no answers, or where confidences are no numbers.

    Examples:
        >>> expected_calibration_error(torch.tensor([[1, 0.5, 1.0], [3, 2.5, 1.0]]))
        0.5
    """
    table = table.double()
    apart = (table[:, RIGHT] - table[:, CONFIDENCE]).abs().sum()
    return float(apart / table[:, COUNT].sum())
