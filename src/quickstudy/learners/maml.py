"""Model-agnostic meta-learning."""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, Learner, State, Task, UpdateRule, descend
from quickstudy.core.functional import forbid_absent
from quickstudy.core.learner import Objective, objective_named
from quickstudy.core.replay import ALL_KEPT
from quickstudy.core.slopes import gradient_of, transformed
from quickstudy.core.tasks import leaves, zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.compiled import slopes_of
from quickstudy.learners.embedding import features_of
from quickstudy.learners.head import Head, prototype_rows, rule_or, sees_shift, usual_rate
from quickstudy.nets.norm import (
    has_batch_statistics,
    in_training,
    with_batch_statistics,
    with_statistics,
)


class Inner(NamedTuple):
    """What an inner loop works on.

    Attributes:
        start: the parameters that move, where they start.
        loss: these and the step, 0..steps-1, to the support's objective.
        state: these after a step, and that step, to what `predict` needs.
        counts: the support examples of each way.
    """

    start: dict[str, Tensor]
    loss: Callable[[dict[str, Tensor], int], Tensor]
    state: Callable[[dict[str, Tensor], int], State]
    counts: Float[Tensor, " way"]


class MAML(Learner):
    """A start from which a few inner steps fit a new task.

    Paper: Finn et al. 2017, Model-agnostic meta-learning, algorithms 1 and 2; `first_order` is
    their section 5.2. Differs: the head is way-free unless `outputs` asks for the paper's: every
    class starts from the same row (Ye & Chao 2022, How to train your MAML, section 5), zeros
    with cross-entropy, so one model serves any number of ways and the order of the classes does
    not matter; as all rows are equal at first, the first inner step moves the head alone, and costs
    a forward pass. Batch norms use the support's statistics, which travel in the state, so
    prediction is inductive; the paper's own results let queries share theirs, here `transductive`.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given, at 0.01 for values.
        steps: inner steps; with 0, which takes `outputs`, it is ordinary training on the queries of
            all tasks.
        first_order: treat the inner gradients as constants.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.
        transductive: at prediction, batch norms use the queries' own statistics.
        compiled: have torch compile the inner steps, which takes half a minute for each shape of
            support and saves a quarter of their time; without a C++ compiler a warning says so.

    Raises:
        TaskError: an argument is out of range, real targets without `outputs`, a net that does
            not say its features, or one that holds torch's own batch norm.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = MAML(MLP(4, [8], 8), steps=2)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    tasks: ClassVar[tuple[Literal["classes", "values"], ...]] = ("classes", "values")
    family = "gradient"
    paper = "Finn et al. 2017, Model-agnostic meta-learning"
    meta_learned = "where the net starts; with `outputs`, also the head"
    adapt_cost = (
        "`steps` forward and backward passes, a way-free head's first forward only; with batch "
        "norms one forward pass more"
    )
    steps_argument = "steps"
    _equal_rows: ClassVar[bool] = True
    """Whether all rows of a way-free head are equal at the start."""

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
        compiled: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        features = features_of(net, name)
        if steps < 0:
            raise TaskError(f"{name} takes no fewer than zero inner steps, got {steps}")
        if outputs is None and not steps:
            raise TaskError(
                "no inner steps need a head of their own: say how many outputs, got None"
            )
        objective_named(objective or "cross_entropy")
        self.net = net
        self.rule = rule_or(rule, usual_rate(targets))
        self.steps = steps
        self.first_order = first_order
        self.outputs = outputs
        self.targets = targets
        self.objective = objective
        self.transductive = transductive
        self.compiled = compiled
        self._norms = has_batch_statistics(net)
        self.head = Head(features, outputs, targets, objective)
        named = self._named(self.head.rows())
        self.rule.attach({name: p for name, p in named.items() if self._moves(name)})

    def adapt(self, support: Examples) -> State:
        """Follow the rule down the support's objective.

        Returns:
            "params", the adapted parameters of net and head by name; "statistics", of the batch
            norms on the support, where there are such; "counts", the support examples of each way.

        Raises:
            TaskError: targets of another number than `outputs`.
        """
        return self._adapt(support, queries=0)

    def _adapt(self, support: Examples, queries: int) -> State:
        """As `adapt`, for so many queries: beside theirs, the graphs of some steps count little."""
        support = zero_padding(support)
        inner = self._inner(support)
        first_order = self._constant()
        first = self._first_slope(inner, support, constant=first_order)
        second = torch.is_grad_enabled() and not first_order and not transformed()
        kept, slopes = None, None
        if second and not self._reads_more(support):
            kept = graphs_kept(self.steps, len(support.mask), queries)
            if self.compiled and self.steps > (first is not None):
                slopes = slopes_of(self, lambda part: self._inner(part).loss, inner.start, support)
                kept = 0 if slopes else kept
        params = descend(
            self.rule, inner.loss, inner.start, self.steps, first_order, kept, slopes, first
        )
        return inner.state(params, self.steps - 1)

    def predict(self, state: State, x: Inputs) -> Tensor:
        """Logits [m, way] or means [m, outputs] with the adapted parameters."""
        z = leaves(x)[0]
        every = torch.ones(len(z), dtype=state["counts"].dtype, device=z.device)
        return self._predict(state, Examples(x, every, every))

    def answer(self, task: Task) -> Tensor:
        """Predictions for the query set; padding is in no transductive statistic either."""
        state = self._adapt(task.support, queries=len(task.query.mask))
        return self._predict(state, zero_padding(task.query))

    def _predict(self, state: State, query: Examples) -> Tensor:
        params = state["params"]
        net = _within("net.", params)
        if "statistics" in state:
            z = with_statistics(self.net, query.x, state["statistics"], params=net)
        else:
            z = in_training(self.net, query.x, mask=query.mask, params=net)
        return self._logits(params, z, state["counts"])

    def _reads_more(self, support: Examples) -> bool:
        """Whether the inner loss may read tensors that need gradients, beside what moves."""
        told = self.objective is not None and not isinstance(self.objective, str)
        still = any(not self._moves(name) for name in self._named(self.head.rows()))
        return told or still or any(t.requires_grad for t in leaves(support))

    def _inner(self, support: Examples) -> Inner:
        """The inner problem of a support set whose padding is zeros."""
        counts = (support.y * support.mask[:, None]).sum(0)
        start = self._start(support)
        still = {name: p for name, p in start.items() if not self._moves(name)}

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            return self._objective(self._at(still | params, step), support, counts)

        def state(params: dict[str, Tensor], step: int) -> State:
            end = self._at(still | params, step)
            # The state is a value of its own, not the learner's parameters.
            end = {name: p.clone() if p is start[name] else p for name, p in end.items()}
            return self._state(end, support, counts)

        moving = {n: p for n, p in start.items() if self._moves(n)}
        return Inner(moving, loss, state, counts)

    def _start(self, support: Examples) -> dict[str, Tensor]:
        """All parameters before the first inner step."""
        return self._named(self.head.start(support.y.shape[1]))

    def _first_slope(
        self, inner: Inner, support: Examples, constant: bool
    ) -> dict[str, Tensor] | None:
        """The gradient at the start where it is the head's alone, so that a forward pass will do.

        What reaches an embedding from the loss is sum_k (p_k - y_k) row_k: with equal rows nothing,
        wherever the body stands, so the second derivative says no more. None with other heads.
        """
        equal = self._equal_rows and self.outputs is None and not sees_shift(self.objective)
        if not (equal and self.steps):
            return None
        rows = {name: p for name, p in inner.start.items() if name.startswith("head.")}

        def loss(rows: dict[str, Tensor], step: int) -> Tensor:
            return self.measure(self._logits(rows, z, inner.counts), support.y, support.mask)

        second_order = torch.is_grad_enabled() and not constant
        with torch.set_grad_enabled(second_order):
            net = _within("net.", inner.start)
            z = in_training(self.net, support.x, mask=support.mask, params=net)
            slope = gradient_of(loss, constant=not second_order)(rows, 0)
        return {name: slope.get(name, torch.zeros_like(p)) for name, p in inner.start.items()}

    def _prototype_start(self, support: Examples) -> dict[str, Tensor]:
        """The net's parameters and the head that its prototypes of the support make."""
        net = self._named({})
        z = in_training(self.net, support.x, mask=support.mask, params=_within("net.", net))
        return net | prototype_rows(z, support)

    def _moves(self, name: str) -> bool:
        """Whether the inner loop moves the parameter of that name."""
        return True

    def _at(self, params: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """The parameters as an inner step looks at them; at the last one, also the queries."""
        return params

    def _constant(self) -> bool:
        """Whether inner gradients are treated as constants."""
        return self.first_order

    def _state(
        self, params: dict[str, Tensor], support: Examples, counts: Float[Tensor, " way"]
    ) -> State:
        state: State = {"params": params, "counts": counts}
        if self._norms and not self.transductive:
            net = _within("net.", params)
            state["statistics"] = with_batch_statistics(
                self.net, support.x, mask=support.mask, params=net
            )[1]
        return state

    def _named(self, head: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"net.{name}": p for name, p in self.net.named_parameters()} | head

    def _objective(
        self, params: dict[str, Tensor], part: Examples, counts: Float[Tensor, " way"]
    ) -> Tensor:
        """On these examples, whose own statistics batch norms use."""
        z = in_training(self.net, part.x, mask=part.mask, params=_within("net.", params))
        return self.measure(self._logits(params, z, counts), part.y, part.mask)

    def _logits(
        self, params: dict[str, Tensor], z: Float[Tensor, "m d"], counts: Float[Tensor, " way"]
    ) -> Tensor:
        logits = z @ params["head.weight"].T + params["head.bias"]
        return forbid_absent(logits, counts) if self.targets == "classes" else logits


def graphs_kept(steps: int, support: int, queries: int) -> int:
    """How many inner steps may keep their graphs for a sixth more memory than one of them takes.

    A step's graph is as large as a pass over the support, and the one over the queries is there
    anyway. Of many steps the places that are kept take the room of a graph.

    Examples:
        >>> graphs_kept(5, support=5, queries=75), graphs_kept(50, support=5, queries=75)
        (3, 2)
    """
    room = (support + queries) // (7 * max(1, support))
    return 1 + room - (steps > ALL_KEPT and room > 0)


def _within(prefix: str, params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): p for k, p in params.items() if k.startswith(prefix)}
