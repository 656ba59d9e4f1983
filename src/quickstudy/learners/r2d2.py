"""Ridge regression as the last layer."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import forbid_absent, ridge
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.learners.head import sees_shift


class R2D2(EmbeddingLearner):
    """The last layer is the ridge regression of the support's targets on its embeddings.

    Paper: Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers, section
    3.2. Differs: masked and unlabelled rows are ignored; logits are shifted only where the
    objective sees that, which cross-entropy does not; real targets get an intercept, which is not
    penalised; at evaluation batch norms use population statistics, so prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        penalty: where the learned penalty of the ridge regression starts, > 0.
        scale: where the learned factor of the logits starts, > 0; for classes.
        targets: "classes" or "values", of any number.
        objective: of the queries, a name or a callable; by `targets` where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = R2D2(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    tasks = ("classes", "values")
    family = "closed form"
    paper = "Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers"
    meta_learned = "the embedding, the penalty, and for classes the scale of the logits"
    adapt_cost = "one forward pass of the support, and one system of min(n, d) linear equations"

    def __init__(
        self,
        net: nn.Module,
        penalty: float = 10.0,
        scale: float = 10.0,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if not penalty > 0:
            raise TaskError(f"a ridge penalty must be positive, got {penalty}")
        if not scale > 0:
            raise TaskError(f"the scale of the logits must be positive, got {scale}")
        if targets not in ("classes", "values"):
            raise TaskError(f"targets must be classes or values, got {targets!r}")
        self.penalty = penalty
        self.scale = scale
        self.targets = targets
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        if targets == "classes":
            self.slope = nn.Parameter(torch.tensor(float(scale)))
            self.shift = nn.Parameter(torch.zeros(())) if sees_shift(objective) else None

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The regression.

        Returns:
            "weights" [d, k], and "counts" [way] of classes or the "intercept" [k] of values.

        Raises:
            TaskError: examples repeat each other and the penalty has become too small.
        """
        y, mask = support.y, support.mask
        penalty = self.log_penalty.exp()
        if self.targets == "classes":
            labels = y * mask[:, None]
            weights = ridge(z, y, labels.sum(1), penalty)
            return {"weights": weights, "counts": labels.sum(0)}
        each = (mask / mask.sum().clamp(min=1))[:, None]
        centre, mean = (z * each).sum(0), (y * each).sum(0)
        weights = ridge(z - centre, y - mean, mask, penalty)
        return {"weights": weights, "intercept": mean - centre @ weights}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Logits [m, way], scaled and shifted, or means [m, k]."""
        means: Tensor = z @ state["weights"]
        if self.targets == "classes":
            logits = self.slope * means + (0.0 if self.shift is None else self.shift)
            return forbid_absent(logits, state["counts"])
        intercept: Tensor = state["intercept"]
        return means + intercept
