"""Logistic regression as the last layer."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import forbid_absent, logistic
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.learners.head import sees_shift


class LRD2(EmbeddingLearner):
    """The last layer is the logistic regression of each class against all others.

    Paper: Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers, section
    3.3 (LR-D2, one against all). Differs: a learned factor makes logits of the regressions' scores,
    which say too little where there is one example a class; with few examples the steps are those
    of Rasmussen & Williams 2006, algorithm 3.1, which divides by nothing that may vanish; masked
    and unlabelled rows are ignored; at evaluation batch norms use population statistics, so
    prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        penalty: where the learned penalty starts, > 0: half of it times the squared weights is
            added to the sum of the log losses.
        steps: of Newton's method, >= 1; what it takes to come near the optimum grows with the
            embeddings and falls with the penalty.
        scale: where the learned factor of the logits starts, > 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = LRD2(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    family = "closed form"
    paper = "Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers"
    meta_learned = "the embedding, the penalty and the scale of the logits"
    adapt_cost = "one forward pass of the support, and `steps` systems of min(n, d) a class"
    also = ("LR-D2", "logistic regression")
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        penalty: float = 1.0,
        steps: int = 5,
        scale: float = 1.0,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if not penalty > 0:
            raise TaskError(f"the penalty of a logistic regression must be positive, got {penalty}")
        if steps < 1:
            raise TaskError(f"LRD2 takes one step or more, got {steps}")
        if not scale > 0:
            raise TaskError(f"the scale of the logits must be positive, got {scale}")
        self.penalty = penalty
        self.steps = steps
        self.scale = scale
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.slope = nn.Parameter(torch.tensor(float(scale)))
        self.shift = nn.Parameter(torch.zeros(())) if sees_shift(objective) else None

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The regressions: "weights" [d, way]; and "counts" [way].

        Raises:
            TaskError: examples repeat each other and the penalty has become too small.
        """
        labels = support.y * support.mask[:, None]
        weights = logistic(z, labels, labels.sum(1), self.log_penalty.exp(), self.steps)
        return {"weights": weights, "counts": labels.sum(0)}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """The regressions' scores, scaled."""
        logits = self.slope * (z @ state["weights"])
        logits = logits if self.shift is None else logits + self.shift
        return forbid_absent(logits, state["counts"])
