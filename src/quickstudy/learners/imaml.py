"""MAML by implicit gradients."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Task, UpdateRule, descend
from quickstudy.core.functional import conjugate_gradients
from quickstudy.core.learner import Objective
from quickstudy.core.tasks import zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.head import rule_or
from quickstudy.learners.maml import MAML, Inner


class IMAML(MAML):
    """A start to which each task's weights are tied: its gradient asks not which way they came.

    Paper: Rajeswaran et al. 2019, Meta-learning with implicit gradients, algorithms 1 and 2. As
    there, the inner loop minimises the support's objective plus penalty / 2 * |adapted - start|^2
    (eq. 3), and the outer gradient is (I + H / penalty)^-1 g (eq. 6), where H is the support's
    Hessian and g the query's gradient, both at what was reached, by conjugate gradients. So the
    memory of an outer step does not grow with `steps`. Differs: head and batch norms as in `MAML`;
    the query's gradient goes through the batch norms' statistics of the support as well; the
    penalty is not learned.

    The gradient is exact where the inner problem is solved and the linear system too; with few
    steps it is near, which the value of `loss` does not tell. `adapt` alone is differentiable to
    first order. In a net that is not convex, the penalty has to outweigh negative curvature.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given, at 0.003 for values: less than
            `MAML` bears, as no gradient through the steps holds the start where they are stable.
        steps: inner steps, >= 1; as many as come near the minimum.
        penalty: the pull towards the start, > 0; the paper's lambda, there 2 for Omniglot.
        solver_steps: of the conjugate gradients, >= 1, each one Hessian-vector product.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.

    Raises:
        TaskError: an argument is out of range, or as for `MAML`; or a rule with parameters to
            train, of which there is no gradient.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = IMAML(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = "Rajeswaran et al. 2019, Meta-learning with implicit gradients"
    meta_learned = "where the net starts; with `outputs`, also the head"
    also = ("implicit maml",)

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 16,
        penalty: float = 2.0,
        solver_steps: int = 5,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
        transductive: bool = False,
    ) -> None:
        if steps < 1:
            raise TaskError(f"IMAML takes one inner step or more, got {steps}")
        if not penalty > 0:
            raise TaskError(f"penalty, the pull towards the start, must be positive, got {penalty}")
        if solver_steps < 1:
            raise TaskError(f"the solver takes one step or more, got {solver_steps}")
        rule = rule_or(rule, 0.1 if targets == "classes" else 0.003)
        super().__init__(net, rule, steps, False, outputs, targets, objective, transductive)
        if any(p.requires_grad for p in self.rule.parameters()):
            raise TaskError(
                f"IMAML has no gradient for what a {type(self.rule).__name__} learns; wanted a "
                "rule without parameters, SGD say, or MAML"
            )
        self.penalty = penalty
        self.solver_steps = solver_steps

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """The objective on the query after adapting; in training, with the implicit gradient."""
        if not self.training:
            return super().loss(task)
        support, query = map(zero_padding, task)
        inner = self._inner(support)

        def outer(params: dict[str, Tensor]) -> Tensor:
            prediction = self._predict(inner.state(params, self.steps - 1), query)
            return self.measure(prediction, query.y, query.mask)

        with torch.no_grad():
            constant = {name: p.detach() for name, p in inner.start.items()}
            adapted = descend(self.rule, inner.loss, constant, self.steps, first_order=True)
            slope, value = torch.func.grad_and_value(outer)(adapted)
            gradient = self._implicit(inner, adapted, slope)
        # Linear in the start, with the gradient that is wanted.
        pull = query.mask.new_zeros(())
        for name, p in inner.start.items():
            pull = pull + (gradient[name] * p).sum()
        loss: Tensor = value + (pull - pull.detach())
        return loss

    def _implicit(
        self, inner: Inner, adapted: dict[str, Tensor], slope: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """(I + H / penalty)^-1 slope; the inner loss's Hessian is H + penalty I."""
        names, shapes = list(adapted), [p.shape for p in adapted.values()]
        # A Hessian is symmetric: what comes back through the gradient is its product as well.
        through = torch.func.vjp(lambda p: torch.func.grad(inner.loss)(p, 0), adapted)[1]

        def apart(flat: Tensor) -> dict[str, Tensor]:
            parts = flat.split([shape.numel() for shape in shapes])
            return {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}

        def together(params: dict[str, Tensor]) -> Tensor:
            return torch.cat([params[name].flatten() for name in names])

        def multiply(flat: Tensor) -> Tensor:
            return together(through(apart(flat))[0]) / self.penalty

        return apart(conjugate_gradients(multiply, together(slope), self.solver_steps))

    def _inner(self, support: Examples) -> Inner:
        inner = super()._inner(support)
        start = {name: p.detach() for name, p in inner.start.items()}

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            away = sum(((p - start[name]) ** 2).sum() for name, p in params.items())
            return inner.loss(params, step) + self.penalty / 2 * away

        return inner._replace(loss=loss)

    def _constant(self) -> bool:
        return True
