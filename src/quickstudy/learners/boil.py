"""Body only update in the inner loop."""

from typing import Literal

from torch import Tensor, nn

from quickstudy.core import Examples, UpdateRule
from quickstudy.core.learner import Objective
from quickstudy.learners.embedding import features_of
from quickstudy.learners.head import Head
from quickstudy.learners.maml import MAML


class BOIL(MAML):
    """A few inner steps of the body alone: the embeddings move to a head that stays where it is.

    Paper: Oh et al. 2021, BOIL: towards representation change for few-shot learning, section 3.
    Differs: batch norms, as in `MAML`; and unless `outputs` asks for the paper's head, of rows that
    the outer loop alone trains, the head is what the start makes of the support: for each class
    twice its prototype, and minus the prototype's square as bias (one shared row, as `MAML` has it,
    would tell no class from another while it stays). So one model serves any number of ways and
    the order of the classes does not matter; but where the paper's body has to move before anything
    is told apart, this one starts from the nearest prototype.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given, at 0.01 for values.
        steps: inner steps, >= 1; with `outputs` also 0.
        first_order: treat the inner gradients as constants.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for rows made of the support.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.

    Raises:
        TaskError: as for `MAML`.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = BOIL(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = "Oh et al. 2021, BOIL: towards representation change for few-shot learning"
    meta_learned = "where the net starts; with `outputs`, also the head, which does not adapt"
    adapt_cost = (
        "`steps` forward and backward passes of the support; with no `outputs` one more, and "
        "with batch norms one forward pass more"
    )
    _equal_rows = False

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 5,
        first_order: bool = False,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
        transductive: bool = False,
    ) -> None:
        super().__init__(net, rule, steps, first_order, outputs, targets, objective, transductive)
        if outputs is None:
            # Only the prototypes are looked at, so no row is there to be trained.
            self.head = Head(features_of(net, type(self).__name__))

    def _start(self, support: Examples) -> dict[str, Tensor]:
        own = self.outputs is not None
        return super()._start(support) if own else self._prototype_start(support)

    def _moves(self, name: str) -> bool:
        return not name.startswith("head.")
