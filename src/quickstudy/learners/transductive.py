"""Learners that answer all queries of a task at once, each in the light of the others."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State, Task
from quickstudy.core.functional import forbid_absent, prototypes, squared_distances
from quickstudy.core.learner import Objective
from quickstudy.core.tasks import zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner


class TransductiveLearner(EmbeddingLearner):
    """Keeps the support's embeddings, and infers the classes of all queries together.

    A subclass writes `infer`. The papers take an embedding that was trained before, for something
    else; here it is meta-trained by nearest prototypes, the inductive, differentiable start of all
    of these methods, so that inference need not be differentiated. Any stored embedding will do as
    well: `quickstudy evaluate runs/a --learner NAME`.

    What is inferred is about a whole query set. Of one query alone it says little.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: of the logits: half of it multiplies squared distances of unit embeddings, so that
            between unit vectors it is the factor of cosines; > 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> class Nearest(TransductiveLearner):
        ...     def infer(self, support, z, mask):
        ...         counts, means = support.y.sum(0), prototypes(*support)
        ...         return self.near(z, means, counts)
        >>> support = examples(torch.eye(2), torch.arange(2), way=2)
        >>> learner = Nearest(nn.Identity(), scale=2.0)
        >>> learner.predict(learner.adapt(support), torch.tensor([[0.5, 0.0]]))
        tensor([[-0.2500, -1.2500]])
    """

    transductive = True
    family = "transductive"
    meta_learned = "the embedding"

    def __init__(
        self, net: nn.Module, scale: float = 10.0, objective: str | Objective | None = None
    ) -> None:
        super().__init__(net, objective)
        if not scale > 0:
            raise TaskError(f"the scale of the logits must be positive, got {scale}")
        self.scale = scale

    @abstractmethod
    def infer(
        self, support: Examples, z: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """Logits of all queries.

        Args:
            support: x are embeddings [n, d]; y [n, way] and mask [n]; zero in padded rows.
            z: the queries' embeddings; finite in padded rows too, which count for nothing.
            mask: [m], 1 for a real query.
        """

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The support's embeddings "z" [n, d], labels "y" [n, way] and "mask" [n]."""
        kept = zero_padding(Examples(z, support.y, support.mask))
        # Of their own: the state does not hold on to the task.
        return {"z": kept.x, "y": kept.y, "mask": kept.mask.clone()}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Logits [m, way] of queries that are all real and asked together."""
        return self._infer(state, z, torch.ones_like(z[:, 0]))

    def answer(self, task: Task) -> Tensor:
        """Predictions for the query set, on which padding has no influence."""
        query = zero_padding(task.query)
        return self._infer(self.adapt(task.support), self.embed(query.x), query.mask)

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The objective on the query where each goes to the nearest prototype, inductively."""
        n, unit = len(task.support.mask), normalised(z)
        labels = task.support.y * task.support.mask[:, None]
        means = prototypes(unit[:n], labels, task.support.mask)
        logits = self.near(unit[n:], means, labels.sum(0))
        return self.measure(logits, task.query.y, task.query.mask)

    def near(
        self,
        z: Float[Tensor, "m d"],
        means: Float[Tensor, "way d"],
        counts: Float[Tensor, " way"],
    ) -> Float[Tensor, "m way"]:
        """Logits [m, way] by squared distance; ways without support are never chosen."""
        return forbid_absent(-self.scale / 2 * squared_distances(z, means), counts)

    def _infer(self, state: State, z: Tensor, mask: Tensor) -> Tensor:
        return self.infer(Examples(state["z"], state["y"], state["mask"]), z, mask.to(z.dtype))


def normalised(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The rows at unit length; zeros where a row is zero.

    Examples:
        >>> normalised(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    return torch.nn.functional.normalize(z, dim=-1)


def mean_of(z: Float[Tensor, "n d"], weights: Float[Tensor, " n"]) -> Float[Tensor, " d"]:
    """The weighted mean of the rows; zero where all weights are.

    Examples:
        >>> mean_of(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([1.0, 1.0, 0.0]))
        tensor([2.])
    """
    return weights @ z / weights.sum().clamp(min=1e-12)
