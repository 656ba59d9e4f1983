"""Laplacian-regularised few-shot inference."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples
from quickstudy.core.functional import ABSENT, prototypes, squared_distances
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.bd_cspn import rectified
from quickstudy.learners.transductive import TransductiveLearner, normalised


class LaplacianShot(TransductiveLearner):
    """Queries go to near prototypes, and to the classes that their neighbours go to.

    Paper: Ziko et al. 2020, Laplacian regularized few-shot learning, eq. 1 and 7 and algorithm 1
    (bound updates). Differs: embeddings are brought to unit length, not centred about the
    meta-train classes' mean before; the number of updates is fixed; prototypes are rectified by the
    weights of Liu et al. 2020 (`BDCSPN`), all queries taking part; the embedding is meta-trained by
    nearest prototypes; masked and unlabelled rows are ignored. Rectified prototypes shift the
    queries, which have to be of all classes then; `rectify=False` takes even a query alone.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: half of it multiplies squared distances; 2 in the paper; > 0.
        pull: of the neighbours, >= 0 (the paper's lambda).
        neighbours: of each query among the others, >= 1; the paper's three count the query itself.
        rectify: move the prototypes first.
        steps: bound updates, >= 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = LaplacianShot(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(30, 4)).shape
        torch.Size([30, 5])
    """

    paper = "Ziko et al. 2020, Laplacian regularized few-shot learning"
    adapt_cost = "one forward pass of the support; `steps` updates once queries are there"
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        scale: float = 10.0,
        pull: float = 0.5,
        neighbours: int = 2,
        rectify: bool = True,
        steps: int = 20,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, scale, objective)
        if not pull >= 0:
            raise TaskError(f"the pull of the neighbours must be 0 or more, got {pull}")
        if neighbours < 1:
            raise TaskError(f"a query has one neighbour or more, got {neighbours}")
        if steps < 0:
            raise TaskError(f"LaplacianShot takes no fewer than zero steps, got {steps}")
        self.pull = pull
        self.neighbours = neighbours
        self.rectify = rectify
        self.steps = steps

    def infer(
        self, support: Examples, z: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """Logits by distance, plus those of the neighbours' classes (eq. 7, before its softmax)."""
        if self.rectify:
            means, z = rectified(support, z, mask, self.scale)
        else:
            z = normalised(z)
            means = prototypes(normalised(support.x), support.y, support.mask)
        alone = self.near(z, means, support.y.sum(0))
        edges = self.pull * affinity(z, mask, self.neighbours)
        logits = alone
        for _ in range(self.steps):
            logits = alone + edges @ torch.softmax(logits, -1)
        return logits


def affinity(
    z: Float[Tensor, "m d"], mask: Float[Tensor, " m"], neighbours: int
) -> Float[Tensor, "m m"]:
    """1 where the column is among the nearest neighbours of the row, which is none of its own.

    Examples:
        >>> affinity(torch.tensor([[0.0], [1.0], [3.0]]), torch.ones(3), neighbours=1)
        tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 1., 0.]])
    """
    apart = squared_distances(z, z)
    others = (mask > 0) & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    nearness = torch.where(others, -apart, ABSENT)
    found = nearness.topk(min(neighbours, len(z)), dim=-1).indices
    place = torch.arange(len(z), device=z.device)
    edges = (found[..., None] == place).any(1)
    return (edges & others).to(z.dtype)
