"""Power transform, and optimal transport of queries to classes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples
from quickstudy.core.functional import ABSENT, class_sums, forbid_absent, prototypes
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.transductive import TransductiveLearner, mean_of, normalised

SMALL = 1e-6
"""Added to the size of a feature before its power is taken, as in the authors' code."""


class PTMAP(TransductiveLearner):
    """Queries are shared out among the classes in equal numbers, and classes move to their queries.

    Paper: Hu et al. 2021, Leveraging the feature distribution in transfer-based few-shot learning,
    eq. 1 to 6 and algorithm 1, with the centring of support and queries of the authors' code.
    Differs: features may be negative, and then keep their sign in the power transform; the numbers
    of steps are fixed; the embedding is meta-trained by nearest prototypes; masked and unlabelled
    rows are ignored. The query set is taken to be balanced, with as many queries of each class that
    has support; where it is not, accuracy suffers: `balance` below 1 relaxes the transport, as an
    unbalanced one (Chizat et al. 2018), but not the centring. A query alone is shared out equally.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: twice the paper's lambda, > 0.
        power: of the features, in (0, 1] (the paper's beta, 0.5 there).
        rate: how far a class moves in a step, in (0, 1] (the paper's alpha).
        steps: how often classes move, >= 0.
        sinkhorn: iterations of each transport, >= 1.
        balance: 1 for equal numbers of queries, 0 for none that are expected, or in between.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = PTMAP(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(30, 4)).shape
        torch.Size([30, 5])
    """

    paper = (
        "Hu et al. 2021, Leveraging the feature distribution in transfer-based few-shot learning"
    )
    adapt_cost = "one forward pass of the support; `steps` transports once queries are there"
    also = ("pt-map",)
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        scale: float = 20.0,
        power: float = 0.75,
        rate: float = 0.2,
        steps: int = 20,
        sinkhorn: int = 10,
        balance: float = 1.0,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, scale, objective)
        for name, value in (("power", power), ("rate", rate)):
            if not 0 < value <= 1:
                raise TaskError(f"{name} must lie in (0, 1], got {value}")
        if not 0 <= balance <= 1:
            raise TaskError(f"balance must lie in [0, 1], got {balance}")
        if steps < 0 or sinkhorn < 1:
            raise TaskError(
                f"PTMAP takes no fewer than zero steps, of one iteration or more, got {steps} "
                f"and {sinkhorn}"
            )
        self.power = power
        self.rate = rate
        self.steps = steps
        self.sinkhorn = sinkhorn
        self.balance = balance

    def infer(
        self, support: Examples, z: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """The logarithm of each query's shares in the classes, by the last transport."""
        labels, labelled, counts = support.y, support.y.sum(1), support.y.sum(0)
        known, z = self.transform(support.x, labelled), self.transform(z, mask)
        means = prototypes(known, labels, support.mask)
        sums = class_sums(known, labels, support.mask)[0]
        for _ in range(self.steps):
            shares = torch.softmax(self.transport(self.near(z, means, counts), counts, mask), -1)
            shares = shares * mask[:, None]
            weights = (counts + shares.sum(0)).clamp(min=1e-12)
            estimates = (sums + shares.T @ z) / weights[:, None]
            means = means + self.rate * (estimates - means)
        return forbid_absent(self.transport(self.near(z, means, counts), counts, mask), counts)

    def transform(self, z: Float[Tensor, "n d"], real: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The power transform, unit length, and the mean of the real rows taken off (eq. 1)."""
        z = normalised(z * (z.abs() + SMALL) ** (self.power - 1))
        return normalised(z - mean_of(z, real))

    def transport(
        self,
        logits: Float[Tensor, "m way"],
        counts: Float[Tensor, " way"],
        mask: Float[Tensor, " m"],
    ) -> Float[Tensor, "m way"]:
        """Logarithms of the shares, by Sinkhorn's iterations (eq. 4); rows first, then classes."""
        there, real = counts > 0, mask[:, None] > 0
        each = (mask.sum() / there.sum().clamp(min=1)).clamp(min=1e-12).log()
        by_class = torch.zeros_like(counts)
        for _ in range(self.sinkhorn):
            rows = torch.log_softmax(logits + by_class, -1)  # each query is shared out once
            lacking = each - torch.where(real, rows, ABSENT).logsumexp(0) + by_class
            by_class = torch.where(there, self.balance * lacking, torch.zeros_like(counts))
        return logits + by_class
