"""Reptile."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Task, UpdateRule, descend
from quickstudy.core.learner import Objective
from quickstudy.core.tasks import tree_map
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import together
from quickstudy.learners.maml import MAML


class Reptile(MAML):
    """A start near the weights that fit each task: it moves towards what the inner loop reaches.

    Paper: Nichol et al. 2018, On first-order meta-learning algorithms, algorithm 2 and section 6.
    Differs: as `MAML`, head and batch norms; minibatches take turns instead of being drawn.

    In training nothing is set apart: the inner loop sees all of a task, support and query. The
    gradient of `loss` is start - adapted, so an outer `SGD(lr=e)` is the paper's step and any other
    optimizer a variant of it. Its value is the objective on the task after adapting. Buffers do
    not move, nor would parameters of the rule.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given, at 0.01 for values.
        steps: inner steps of `adapt`, each on the whole support; the paper takes more here than in
            training.
        batches: inner steps in training, each on a minibatch of its own: every class gives every
            `batches`-th of its examples, or where it has fewer, one each time.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of the inner loop, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.

    Raises:
        TaskError: as for `MAML`; or a rule with parameters to train, of which there is no gradient.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = Reptile(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = "Nichol et al. 2018, On first-order meta-learning algorithms"
    meta_learned = "where the net starts; with `outputs`, also the head"

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 5,
        batches: int = 5,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
        transductive: bool = False,
    ) -> None:
        if batches < 1:
            raise TaskError(f"Reptile trains on one minibatch or more, got {batches}")
        super().__init__(net, rule, steps, True, outputs, targets, objective, transductive)
        if any(p.requires_grad for p in self.rule.parameters()):
            raise TaskError(
                f"Reptile has no gradient for what a {type(self.rule).__name__} learns; wanted a "
                "rule without parameters, SGD say, or MAML"
            )
        self.batches = batches

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """In training, the objective on the task after adapting to it; see the class's text.

        In evaluation, as every learner, the objective on the query after adapting to the support.
        """
        if not self.training:
            return super().loss(task)
        both = together(task)
        labels = both.y * both.mask[:, None]
        counts = labels.sum(0)
        batches = list(self._minibatches(both))

        def inner(params: dict[str, Tensor], step: int) -> Tensor:
            return self._objective(params, batches[step], counts)

        start = self._start(both)
        constant = {name: p.detach() for name, p in start.items()}
        with torch.no_grad():
            adapted = descend(self.rule, inner, constant, self.batches)
            value = self._objective(adapted, both, counts)
        # Linear in the start, with the gradient that is wanted.
        pull = value.new_zeros(())
        for name, p in start.items():
            gradient = self._share(name, counts) * (constant[name] - adapted[name])
            pull = pull + (gradient * p).sum()
        return value + (pull - pull.detach())

    def _share(self, name: str, counts: Float[Tensor, " way"]) -> Tensor | float:
        """The weight of a parameter's rows: a row that all ways share takes the mean over them."""
        if self.outputs is not None or not name.startswith("head."):
            return 1.0
        real = (counts > 0).to(counts.dtype)
        share = real / real.sum().clamp(min=1)
        return share[:, None] if name == "head.weight" else share

    def _minibatches(self, both: Examples) -> Iterator[Examples]:
        """The rows of each step, gathered: all steps together look at each example about once."""
        of_class = self.targets == "classes"
        groups = both.y * both.mask[:, None] if of_class else both.mask[:, None]
        rank = ((groups.cumsum(0) - groups) * groups).sum(1)
        # A class with fewer examples than there are steps starts anew, so that none is without.
        turns = (groups @ groups.sum(0)).clamp(min=1, max=self.batches)
        rows, kinds = groups.shape
        for step in range(self.batches):
            chosen = groups.sum(1) * (rank % turns == step % turns)
            if torch._C._functorch.is_batchedtensor(chosen):  # as many for every task: the most
                count = (rows + kinds * (self.batches - 1)) // self.batches
            else:
                count = max(1, int(chosen.sum()))
            first = chosen.argsort(descending=True, stable=True)[:count]
            yield Examples(
                tree_map(lambda t, first=first: t[first], both.x), both.y[first], chosen[first]
            )
