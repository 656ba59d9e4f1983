"""Prototypes that the queries rectify."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples
from quickstudy.core.functional import ABSENT, cosine_similarities, forbid_absent, prototypes
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.transductive import TransductiveLearner, mean_of, normalised


class BDCSPN(TransductiveLearner):
    """Queries move to where the support is, and take part in their likely class's prototype.

    Paper: Liu et al. 2020, Prototype rectification for few-shot learning, eq. 4 to 8 (bias
    diminishing, BD; the queries' shift is the cross-class bias, the rectified prototypes diminish
    the intra-class one). Differs: embeddings are brought to unit length first; the embedding is
    meta-trained by nearest prototypes and not as a cosine classifier of all classes; masked and
    unlabelled rows are ignored. As the shift moves the queries' mean to the support's, a query
    alone is moved to the middle of all classes: ask many, of all classes.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: of the cosines, in the weights (the paper's epsilon) and in the logits; > 0.
        most: so many queries of a class, those that it is surest of, take part in its prototype
            (the paper's Z, 8); None for all of them.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = BDCSPN(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(30, 4)).shape
        torch.Size([30, 5])
    """

    paper = "Liu et al. 2020, Prototype rectification for few-shot learning"
    adapt_cost = "one forward pass of the support"
    also = ("bd-cspn", "prototype rectification")

    def __init__(
        self,
        net: nn.Module,
        scale: float = 10.0,
        most: int | None = 8,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, scale, objective)
        if most is not None and most < 1:
            raise TaskError(f"one query of a class or more takes part, got most={most}")
        self.most = most

    def infer(
        self, support: Examples, z: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """Cosines of the shifted queries to the rectified prototypes, scaled."""
        means, z = rectified(support, z, mask, self.scale, self.most)
        return forbid_absent(self.scale * cosine_similarities(z, means), support.y.sum(0))


def rectified(
    support: Examples,
    z: Float[Tensor, "m d"],
    mask: Float[Tensor, " m"],
    scale: float,
    most: int | None = None,
) -> tuple[Float[Tensor, "way d"], Float[Tensor, "m d"]]:
    """Rectified prototypes (Liu et al. 2020, eq. 5 to 7), and the shifted queries (eq. 8).

    Args:
        support: x are embeddings [n, d]; y and mask, zero in padded rows.
        z: the queries' embeddings.
        mask: [m], 1 for a real query.
        scale: the paper's epsilon.
        most: how many queries of a class take part; None for all.

    Examples:
        >>> support = Examples(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> means, z = rectified(support, 2 * torch.eye(2), torch.ones(2), scale=10.0)
        >>> torch.allclose(means, torch.eye(2)), torch.allclose(z, torch.eye(2))
        (True, True)
    """
    labels, unit, z = support.y, normalised(support.x), normalised(z)
    counts = labels.sum(0)
    z = z + mean_of(unit, labels.sum(1)) - mean_of(z, mask)
    means = prototypes(unit, labels, support.mask)
    logits = forbid_absent(scale * cosine_similarities(z, means), counts)
    way = torch.arange(labels.shape[1], device=z.device)
    likely = (logits.argmax(-1, keepdim=True) == way) & (mask[:, None] > 0)
    if most is not None and len(z):
        sure = torch.where(likely, torch.log_softmax(logits, -1), ABSENT)
        least = sure.topk(min(most, len(z)), dim=0).values[-1]
        likely = likely & (sure >= least)
    both = torch.cat([unit, z])
    taken = torch.cat([labels > 0, likely])
    cosines = scale * cosine_similarities(both, means)
    weights = torch.softmax(torch.where(taken, cosines, ABSENT), dim=0) * taken
    return weights.T @ both, z
