"""What is known of one user, and what is said of items to them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.apps.recommend.statistics import History

State = dict[str, Tensor]
"""What is known of one user: places of items, values, and the moment."""


class Recommended(NamedTuple):
    """One item of a ranking."""

    item: str
    score: float


class Reason(NamedTuple):
    """What one kind of evidence does to an item's score.

    Attributes:
        evidence: what it is.
        effect: how much higher the score is than with what is usual in the catalogue.
    """

    evidence: str
    effect: float


def to_state(items: NDArray[np.int64], values: NDArray[np.float32], time: float) -> State:
    """A user's state; of an item that came twice the last word counts."""
    latest = {int(item): float(value) for item, value in zip(items, values, strict=True)}
    return {
        "items": torch.tensor(list(latest), dtype=torch.int64),
        "values": torch.tensor(list(latest.values()), dtype=torch.float32),
        "time": torch.tensor(time, dtype=torch.float64),
    }


def to_history(state: State) -> History:
    """What a state says that happened."""
    return History(state["items"].numpy(), state["values"].numpy(), float(state["time"]))
