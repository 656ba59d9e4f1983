"""Prototypes that adapt to each other."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from quickstudy.core import State, Task
from quickstudy.core.functional import ABSENT, class_sums
from quickstudy.core.functional import prototypes as means_of
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import features_of
from quickstudy.learners.protonet import ProtoNet


class FEAT(ProtoNet):
    """Prototypes attend to each other before queries go to the nearest, so that they fit the task.

    Paper: Ye et al. 2020, Few-shot learning via embedding adaptation with set-to-set functions: the
    transformer among these functions, with its contrastive regulariser. Differs: the net is trained
    from where it is, the paper's has learned to classify all of meta-train first; the contrast is
    at the temperature of the queries; there is no dropout; masked and unlabelled rows, and ways
    without support, get no attention; what is stored are sums, and the attention runs when queries
    come, so that a state can be extended; at evaluation batch norms use population statistics, so
    prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        distance: "euclidean" (squared) or "cosine".
        temperature: divides the squared distances, or multiplies the cosines; > 0.
        learn_temperature: train it with the net.
        contrast: how much it counts in training that each example, when those of its class attend
            to each other, is nearest to the centre of its own class; >= 0, 0 for not at all.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, the net does not say its features, or holds torch's
            own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = FEAT(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    family = "metric"
    paper = "Ye et al. 2020, Few-shot learning via embedding adaptation with set-to-set functions"
    meta_learned = "the embedding, and the attention among prototypes"
    adapt_cost = "one forward pass of the support"
    also = ()

    def __init__(
        self,
        net: nn.Module,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        temperature: float = 16.0,
        learn_temperature: bool = False,
        contrast: float = 0.1,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, distance, temperature, learn_temperature, objective=objective)
        if not 0 <= contrast < math.inf:
            raise TaskError(f"contrast must be a number >= 0, got {contrast}")
        self.contrast = contrast
        self.attention = _Attention(features_of(net, "FEAT"))

    def prototypes(self, state: State) -> Float[Tensor, "way d"]:
        """The means of each class after they have seen those of the others."""
        adapted: Tensor = self.attention(super().prototypes(state), state["counts"][None] > 0)
        return adapted

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The objective on the query, and the contrast among all examples."""
        loss = super().loss_of(z, task)
        if not self.contrast:
            return loss
        labels = torch.cat([half.y * half.mask[:, None] for half in task])
        real = labels.sum(1)
        adapted = self.attention(z, labels @ labels.T > 0)
        centres = means_of(adapted, labels, real)
        counts = class_sums(z, labels, real)[1]
        logits = self.likeness(adapted, centres, counts)
        return loss + self.contrast * self.measure(logits, labels, real)


class _Attention(nn.Module):
    """One head over a set, beside what came in, then normed."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = nn.Linear(features, features, bias=False)
        self.key = nn.Linear(features, features, bias=False)
        self.value = nn.Linear(features, features, bias=False)
        self.out, self.norm = nn.Linear(features, features), nn.LayerNorm(features)

    def forward(
        self, x: Float[Tensor, "n d"], sees: Bool[Tensor, "n_or_1 n"]
    ) -> Float[Tensor, "n d"]:
        scores = self.query(x) @ self.key(x).T / math.sqrt(x.shape[1])
        attention = torch.softmax(torch.where(sees, scores, ABSENT), dim=-1)
        adapted: Tensor = self.norm(x + self.out(attention @ self.value(x)))
        return adapted
