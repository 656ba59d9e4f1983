"""Almost no inner loop."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State, UpdateRule, descend
from quickstudy.core.functional import forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of
from quickstudy.learners.head import Head, rule_or, usual_rate


class ANIL(EmbeddingLearner):
    """A few inner steps of the last layer alone, on embeddings that are computed once.

    Paper: Raghu et al. 2020, Rapid learning or feature reuse?, section 5 (almost no inner loop).
    Differs: the head is way-free unless `outputs` asks for the paper's, see `MAML`; as the body
    does not adapt, batch norms see support and query in training and use population statistics at
    evaluation, so prediction is inductive.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`.
        rule: how the inner loop moves; SGD at 0.1 where not given, at 0.01 for values.
        steps: inner steps, >= 1.
        first_order: treat the inner gradients as constants.
        outputs: a head with so many rows of its own: classes in a fixed order, or real targets.
            None for the way-free head.
        targets: "classes" or "values".
        objective: of support and query, a name or a callable; by `targets` where None.

    Raises:
        TaskError: an argument is out of range, real targets without `outputs`, a net that does
            not say its features, or one that holds torch's own batch norm.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = ANIL(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    tasks = ("classes", "values")
    family = "gradient"
    paper = "Raghu et al. 2020, Rapid learning or feature reuse?"
    meta_learned = "the embedding; with `outputs`, also where the head starts"
    adapt_cost = "one forward pass of the support, then `steps` of the head alone"
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        rule: UpdateRule | None = None,
        steps: int = 5,
        first_order: bool = False,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if steps < 1:
            raise TaskError(f"ANIL takes one inner step or more, got {steps}")
        self.rule = rule_or(rule, usual_rate(targets))
        self.steps = steps
        self.first_order = first_order
        self.outputs = outputs
        self.targets = targets
        self.head = Head(features_of(net, "ANIL"), outputs, targets, objective)
        self.rule.attach(self.head.rows())

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Follow the rule down the support's objective.

        Returns:
            "params", the adapted head by name, and "counts", the support examples of each way.

        Raises:
            TaskError: targets of another number than `outputs`.
        """
        counts = (support.y * support.mask[:, None]).sum(0)

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            logits = self.compare({"params": params, "counts": counts}, z)
            return self.measure(logits, support.y, support.mask)

        start = self.head.start(support.y.shape[1])
        params = descend(self.rule, loss, start, self.steps, self.first_order)
        return {"params": params, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Logits [m, way] or means [m, outputs] by the adapted head."""
        logits = z @ state["params"]["head.weight"].T + state["params"]["head.bias"]
        return forbid_absent(logits, state["counts"]) if self.targets == "classes" else logits
