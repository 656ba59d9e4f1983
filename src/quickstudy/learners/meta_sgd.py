"""Meta-SGD."""

from typing import Literal

from torch import nn

from quickstudy.core import LearnedRates
from quickstudy.core.learner import Objective
from quickstudy.learners.head import usual_rate
from quickstudy.learners.maml import MAML


class MetaSGD(MAML):
    """A start and a rate for each of its numbers, from which a step or two fit a new task.

    Paper: Li et al. 2017, Meta-SGD: learning to learn quickly for few-shot learning, algorithm 1.
    Differs: as `MAML`, of which this is the one with `rule=LearnedRates(rate, per="element")`;
    all rates start alike, not at random; two steps, as with the way-free head the first one moves
    the head alone. With `outputs`, steps=1 is the paper.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rate: where the rates start, > 0; 0.1 where None, 0.01 for values.
        steps: inner steps, which share the rates.
        first_order: treat the inner gradients as constants.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.
        compiled: have torch compile the inner steps, see `MAML`.

    Raises:
        TaskError: as for `MAML`.

    Examples:
        >>> from quickstudy.nets import MLP
        >>> list(MetaSGD(MLP(4, [], 8)).rule.rates())
        ['net.layers.0.weight', 'net.layers.0.bias', 'head.weight', 'head.bias']
    """

    paper = "Li et al. 2017, Meta-SGD: learning to learn quickly for few-shot learning"
    meta_learned = "where the net starts and a rate for each number; with `outputs`, also the head"

    def __init__(
        self,
        net: nn.Module,
        rate: float | None = None,
        steps: int = 2,
        first_order: bool = False,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
        transductive: bool = False,
        compiled: bool = False,
    ) -> None:
        start = usual_rate(targets) if rate is None else rate
        rule = LearnedRates(start, per="element")
        super().__init__(
            net, rule, steps, first_order, outputs, targets, objective, transductive, compiled
        )
        self.rate = rate
