"""Inputs as a learner takes them, some at a time."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core import Examples, Learner, State
from quickstudy.core.tasks import leaves
from quickstudy.data.episodes import scale
from quickstudy.errors import DataError
from quickstudy.learners.embedding import EmbeddingLearner

TOGETHER = 256
"""Inputs that are predicted at a time: bounds the memory."""


def in_parts(
    learner: Learner, function: Callable[[Any, Tensor], Tensor], state: Any, x: Tensor
) -> Float[Tensor, "m outputs"]:
    """A learner's function of state and inputs [m, ...], of some inputs at a time, on the CPU.

    Of a transductive learner all at once, as its answers depend on what is asked together.

    Examples:
        >>> from quickstudy.learners import SupportMean
        >>> learner, state = SupportMean(), {"sums": torch.ones(1), "count": torch.tensor(2.0)}
        >>> in_parts(learner, learner.predict, state, torch.zeros(2, 3))
        tensor([[0.5000],
                [0.5000]])
    """
    parts = [x] if learner.transductive else x.split(TOGETHER)
    with torch.no_grad():
        return torch.cat([function(state, as_input(learner, part)).cpu() for part in parts])


def as_input(learner: Learner, x: Tensor) -> Tensor:
    """Inputs [n, ...], bytes scaled to [0, 1], where the learner lies and in its precision."""
    own = chain(learner.parameters(), learner.buffers())
    like = next((tensor for tensor in own if tensor.is_floating_point()), torch.empty(0))
    return scale(x, torch.Generator()).to(like)


def learned(learner: Learner, support: Examples, what: str, z: Tensor | None = None) -> State:
    """What a learner adapts to, for whoever keeps it.

    Args:
        learner: in evaluation mode.
        support: one task's examples, where the learner lies and in its precision.
        what: the examples come from, for the message.
        z: their embeddings, where they are there already; of learners that go by them alone.

    Raises:
        DataError: the state is not finite, so that nothing could be predicted from it.

    Examples:
        >>> from quickstudy.learners import SupportMean
        >>> learned(SupportMean(), Examples(torch.ones(2, 3), torch.ones(2, 1), torch.ones(2)), "x")
        {'sums': tensor([2.]), 'count': tensor(2.)}
    """
    with torch.no_grad():
        if z is not None and isinstance(learner, EmbeddingLearner):
            state: State = learner.summarise(z, support)
        else:
            state = learner.adapt(support)
    if not all(bool(part.isfinite().all()) for part in leaves(state)):
        raise DataError(
            f"{what} leads the model to numbers that are not finite: inputs or targets are far "
            "from those that it was trained on"
        )
    return state
