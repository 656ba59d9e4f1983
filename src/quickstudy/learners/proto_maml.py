"""MAML whose head starts at the prototypes of the support."""

from torch import Tensor, nn

from quickstudy.core import Examples, UpdateRule
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import features_of
from quickstudy.learners.head import Head
from quickstudy.learners.maml import MAML


class ProtoMAML(MAML):
    """A prototypical network that then takes a few inner steps of the net and of its head.

    Paper: Triantafillou et al. 2020, Meta-Dataset: a dataset of datasets for learning to learn from
    few examples, section 3 (Proto-MAML). As there, the weights of a class start at twice its
    prototype, its bias at minus the prototype's square, and the outer gradient goes through both;
    their fo-Proto-MAML is `first_order`, in which it still does. Differs: batch norms, as in
    `MAML`; the inner rate is not searched for.

    Any number of ways, whose order does not matter. Evaluated with no inner steps it is the
    prototypical network.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given.
        steps: inner steps, >= 1.
        first_order: treat the inner gradients as constants.
        objective: of support and query, a name or a callable; cross-entropy where None.
        transductive: at prediction, batch norms use the queries' own statistics.

    Raises:
        TaskError: as for `MAML`.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = ProtoMAML(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    tasks = ("classes",)
    paper = (
        "Triantafillou et al. 2020, Meta-Dataset: a dataset of datasets for learning to learn from "
        "few examples"
    )
    meta_learned = "where the net starts, and so where the support's prototypes put the head"
    adapt_cost = (
        "a forward pass of the support, with batch norms another, and `steps` forward and "
        "backward passes"
    )
    _equal_rows = False
    also = ("proto-maml",)

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 5,
        first_order: bool = False,
        objective: str | Objective | None = None,
        transductive: bool = False,
    ) -> None:
        if steps < 1:
            raise TaskError(f"ProtoMAML takes one inner step or more, got {steps}")
        super().__init__(
            net, rule, steps, first_order, objective=objective, transductive=transductive
        )
        # Its row only says which shape those of a task have, so nothing in it is to be trained.
        self.head = Head(features_of(net, type(self).__name__))

    def _start(self, support: Examples) -> dict[str, Tensor]:
        return self._prototype_start(support)
