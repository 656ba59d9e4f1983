"""Context adaptation."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State, UpdateRule, descend
from quickstudy.core.functional import forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of
from quickstudy.learners.head import check_outputs, check_way, rule_or, sees_shift


class CAVIA(EmbeddingLearner):
    """A task is a few numbers, its context: they alone adapt, from zero, and all else is shared.

    Paper: Zintgraf et al. 2019, Fast context adaptation via meta-learning, section 3. As there, the
    context scales and shifts features (FiLM, Perez et al. 2018), through a learned layer, before
    what comes after in the net: here a hidden layer and the last one. Differs: that happens to the
    output of the net, which may be any, where the paper does it at a convolution in the middle, or
    joins the context to the inputs; so the net runs once, batch norms see support and query in
    training and use population statistics at evaluation, and prediction is inductive. And every
    way, or real target, has a context of its own, which scores a query by its one row of the last
    layer; in the paper all share one context, which is the same for a single real target. Without
    `outputs` the ways share that row too: any number of them, whose order does not matter.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the context moves; where not given SGD at 1, as in the paper, at 0.1 for values.
        steps: inner steps, >= 1.
        context: how many numbers, for each way or target, >= 1.
        hidden: the width of the hidden layer, >= 1.
        first_order: treat the inner gradients as constants.
        outputs: a last layer with so many rows of its own: classes in a fixed order, or real
            targets. None for one row that all ways share.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.

    Raises:
        TaskError: an argument is out of range, real targets without `outputs`, a net that does
            not say its features, or one that holds torch's own batch norm.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = CAVIA(MLP(4, [8], 8), context=3)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> state = learner.adapt(support)
        >>> state["context"].shape, learner.predict(state, torch.rand(3, 4)).shape
        (torch.Size([5, 3]), torch.Size([3, 5]))
    """

    tasks = ("classes", "values")
    family = "gradient"
    paper = "Zintgraf et al. 2019, Fast context adaptation via meta-learning"
    meta_learned = "the net, and how a context changes what it says"
    adapt_cost = "one forward pass of the support, then `steps` of the context alone"
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 5,
        context: int = 32,
        hidden: int = 64,
        first_order: bool = False,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        features = features_of(net, "CAVIA")
        check_outputs(outputs, targets)
        if steps < 1:
            raise TaskError(f"CAVIA takes one inner step or more, got {steps}")
        if min(context, hidden) < 1:
            raise TaskError(
                f"the context and the hidden layer have one number or more, got {context} and "
                f"{hidden}"
            )
        self.rule = rule_or(rule, 1.0 if targets == "classes" else 0.1)
        self.steps = steps
        self.context = context
        self.hidden = hidden
        self.first_order = first_order
        self.outputs = outputs
        self.targets = targets
        self.film = nn.Linear(context, 2 * features, bias=False)
        # At the usual, smaller ones a step of the context is hardly felt: learning starts late.
        nn.init.normal_(self.film.weight)
        self.layer = nn.Linear(features, hidden)
        # A number that all ways' logits share is not seen by cross-entropy.
        shared = outputs is None and not sees_shift(objective)
        self.last = nn.Linear(hidden, outputs or 1, bias=not shared)
        self.rule.attach({"context": torch.zeros(1, context)})

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Follow the rule down the support's objective.

        Returns:
            "context", [way, context] or [outputs, context], and "counts", the support examples of
            each way.

        Raises:
            TaskError: targets of another number than `outputs`.
        """
        way = support.y.shape[1]
        check_way(way, self.outputs, self.targets)
        counts = (support.y * support.mask[:, None]).sum(0)

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            answers = self.compare({"context": params["context"], "counts": counts}, z)
            return self.measure(answers, support.y, support.mask)

        start = {"context": z.new_zeros(way, self.context)}
        return descend(self.rule, loss, start, self.steps, self.first_order) | {"counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Logits [m, way] or means [m, outputs] under the context."""
        scale, shift = self.film(state["context"]).chunk(2, dim=-1)
        conditioned = z[:, None] * (1 + scale) + shift  # [m, contexts, d]
        answers = (self.layer(conditioned).relu() * self.last.weight).sum(-1)
        if self.last.bias is not None:
            answers = answers + self.last.bias
        return forbid_absent(answers, state["counts"]) if self.targets == "classes" else answers
