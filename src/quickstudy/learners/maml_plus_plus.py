"""MAML with what makes it train stably."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, StepRates, Task
from quickstudy.core.descent import path
from quickstudy.core.learner import Objective
from quickstudy.core.rule import key_of
from quickstudy.core.tasks import zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.head import usual_rate
from quickstudy.learners.maml import MAML
from quickstudy.nets import BatchNorm


class MAMLPlusPlus(MAML):
    """MAML whose inner steps have rates and norms of their own, and are all judged at first.

    Paper: Antoniou et al. 2019, How to train your MAML, section 4. From it: in training the query
    is looked at after every inner step (MSL), all alike at first, more and more at the last step,
    and after the share `anneal` of training at that alone; a learned rate for each weight and bias
    and step (LSLR, `StepRates`); derivative-order annealing (DA), `first_order_until`; weights and
    biases of batch norms for each step (BNWB), `step_norms`. Its cosine annealing of the outer rate
    (CA) is `--schedule cosine`, or a `schedule` of `fit`. Differs: head and batch norms as in
    `MAML`, so statistics are those of the support, of each step's own weights, and none are
    gathered over training (BNRS); the other steps' weights fall in a line to zero; with the
    way-free head the first step moves the head alone.

    How far training is, `fit` tells it before each step; whoever trains otherwise calls
    `advance`, or every step stays the first one. In evaluation the last step alone counts.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rate: where the rates start, > 0; 0.1 where None, 0.01 for values.
        steps: inner steps, >= 1.
        first_order: treat the inner gradients as constants throughout.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.
        anneal: the share of training after which the last step alone counts, in [0, 1]; 0 for no
            multi-step loss.
        first_order_until: the share of training with inner gradients as constants, in [0, 1]; much
            cheaper, as the paper's first third or half.
        step_norms: weights and biases of batch norms are learned for each step and do not adapt;
            without, they adapt like all others.

    Raises:
        TaskError: an argument is out of range, or as for `MAML`.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = MAMLPlusPlus(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
        >>> learner.advance(0.05)
        >>> learner.shares()
        [0.1, 0.1, 0.1, 0.1, 0.6]
    """

    paper = "Antoniou et al. 2019, How to train your MAML"
    meta_learned = (
        "where the net starts, a rate and norms for each inner step; with `outputs`, also the head"
    )
    also = ("maml++",)

    def __init__(
        self,
        net: nn.Module,
        rate: float | None = None,
        steps: int = 5,
        first_order: bool = False,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
        transductive: bool = False,
        anneal: float = 0.1,
        first_order_until: float = 0.0,
        step_norms: bool = True,
    ) -> None:
        for name, share in {"anneal": anneal, "first_order_until": first_order_until}.items():
            if not 0 <= share <= 1:
                raise TaskError(f"{name} is a share of training, in [0, 1], got {share}")
        self._of_norms = _norm_parameters(net) if step_norms else frozenset()
        rule = StepRates(usual_rate(targets) if rate is None else rate, steps, per="tensor")
        super().__init__(net, rule, steps, first_order, outputs, targets, objective, transductive)
        self.rate = rate
        self.anneal = anneal
        self.first_order_until = first_order_until
        self.step_norms = step_norms
        self.fraction = 0.0
        # Of the steps after the first, whose norms are the net's own.
        named = dict(net.named_parameters())
        self.norms = nn.ParameterDict(
            {
                key_of(name): nn.Parameter(named[name].detach().repeat(steps - 1, 1))
                for name in sorted(self._of_norms)
                if steps > 1
            }
        )

    def advance(self, fraction: float) -> None:
        """Be told which share of the outer steps is done; nothing else changes with it."""
        self.fraction = fraction

    def shares(self) -> list[float]:
        """The weights of the query's loss after each inner step; they add up to one."""
        left = max(0.0, 1 - self.fraction / self.anneal) if self.anneal else 0.0
        each = left / self.steps
        return [each] * (self.steps - 1) + [1 - each * (self.steps - 1)]

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """In training the weighted objective on the query after each step; else after the last."""
        shares = self.shares() if self.training else [1.0]
        if shares[-1] == 1:
            return super().loss(task)
        support, query = map(zero_padding, task)
        inner = self._inner(support)
        ways = path(self.rule, inner.loss, inner.start, self.steps, self._constant())
        total = query.mask.new_zeros(())
        for step, (share, params) in enumerate(zip(shares, ways, strict=True)):
            prediction = self._predict(inner.state(params, step), query)
            value = self.measure(prediction, query.y, query.mask)
            total = total + share * value
        return total

    def _moves(self, name: str) -> bool:
        return name.removeprefix("net.") not in self._of_norms

    def _constant(self) -> bool:
        early = self.training and self.fraction < self.first_order_until
        return self.first_order or early

    def _reads_more(self, support: Examples) -> bool:
        return True  # the norms of each step

    def _at(self, params: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """With the norms of that step; of the last that there are, beyond it."""
        if step < 1:
            return params
        own = {f"net.{k.replace('/', '.')}": p for k, p in self.norms.items()}
        return params | {n: p[min(step, len(p)) - 1].clone() for n, p in own.items()}


def _norm_parameters(net: nn.Module) -> frozenset[str]:
    """The names of the weights and biases of a net's batch norms."""
    return frozenset(
        f"{name}.{kind}".removeprefix(".")
        for name, module in net.named_modules()
        if isinstance(module, BatchNorm)
        for kind in ("weight", "bias")
    )
