"""Relation networks."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import ABSENT, class_sums, forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of
from quickstudy.learners.head import sees_shift


class RelationNet(EmbeddingLearner):
    """A net compares each query with each class: the metric is learned too.

    Paper: Sung et al. 2018, Learning to compare: relation network for few-shot learning, section
    3. Differs: cross-entropy of the relation scores, where the paper has squared errors of their
    sigmoids (objective="squared_error"); a class is the mean of its support's features, not the
    sum, so that shots do not change its size; group norms in the relation module, so that queries
    do not see each other; features that are vectors are compared by affine layers; the module
    starts from differences, where class and query have weights that are each other's negative;
    wider layers, the paper's are width=64 and hidden=8.

    Args:
        net: inputs [n, *input] to features [n, d]; says d in its attribute `features`. One that
            says `maps`, (channels, h, w) with d their product and h * w > 1, as `Conv4(halvings=2)`
            does, gets the paper's convolutional relation module.
        width: of the relation module's first layers, or their channels; >= 1.
        hidden: width of its last hidden layer, >= 1.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import Conv4
        >>> learner = RelationNet(Conv4(width=8, halvings=2))
        >>> support = examples(torch.rand(5, 1, 28, 28), torch.arange(5), way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 1, 28, 28)).shape
        torch.Size([3, 5])
    """

    family = "metric"
    paper = "Sung et al. 2018, Learning to compare: relation network for few-shot learning"
    meta_learned = "the embedding and the relation module that compares"
    adapt_cost = "one forward pass of the support"
    also = ("relation", "relation networks")

    def __init__(
        self,
        net: nn.Module,
        width: int = 128,
        hidden: int = 64,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if min(width, hidden) < 1:
            raise TaskError(f"a relation module has positive widths, got {width} and {hidden}")
        features = features_of(net, "RelationNet")
        maps = getattr(net, "maps", (features, 1, 1))
        if len(maps) != 3 or math.prod(maps) != features:
            raise TaskError(
                f"the net's maps must be (channels, h, w) of {features} features, got {maps}"
            )
        self.width = width
        self.hidden = hidden
        bias = sees_shift(objective)
        vectors = maps[1] * maps[2] == 1
        self.relation = (
            _OfVectors(features, width, hidden, bias)
            if vectors
            else _OfMaps(maps, width, hidden, bias)
        )

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Sums [way, d] and counts [way] of the support's features."""
        sums, counts = class_sums(z, support.y, support.mask)
        return {"sums": sums, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Relation scores of each query with each class, before any sigmoid."""
        means = state["sums"] / state["counts"].clamp(min=1)[:, None]
        return forbid_absent(self.relation(means, z), state["counts"])

    def measure(self, prediction: Tensor, y: Tensor, mask: Tensor) -> Float[Tensor, ""]:
        """The objective, called; squared errors are those of the scores' sigmoids (eq. 2)."""
        if self.objective == "squared_error":
            there = ~(prediction <= ABSENT / 2)
            prediction = torch.where(there, prediction.sigmoid(), prediction)
        return super().measure(prediction, y, mask)


class _OfVectors(nn.Module):
    """Scores [m, way] of two vectors side by side, by affine layers."""

    def __init__(self, features: int, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        # The first layer of the pair is the sum of a layer of each: it runs n + m times, not n * m.
        self.of_class = nn.Linear(features, width)
        self.of_query = nn.Linear(features, width, bias=False)
        _start_opposite(self.of_query.weight, self.of_class.weight)
        self.rest = nn.Sequential(
            nn.ReLU(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1, bias=bias)
        )

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        pairs = self.of_class(classes)[None] + self.of_query(queries)[:, None]
        return self.rest(pairs).squeeze(-1)  # type: ignore[no-any-return]


class _OfMaps(nn.Module):
    """Scores [m, way] of two stacks of feature maps, by two convolutional blocks and two layers."""

    def __init__(self, maps: Sequence[int], width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.maps = tuple(maps)
        channels, *sides = maps
        self.of_class = nn.Conv2d(channels, width, 3, padding=1)
        self.of_query = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        _start_opposite(self.of_query.weight, self.of_class.weight)
        layers: list[nn.Module] = []
        for block in range(2):
            if block:
                layers.append(nn.Conv2d(width, width, 3, padding=1))
            layers.append(nn.GroupNorm(1, width))
            if min(sides) > 1:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            layers.append(nn.ReLU())
        flat = width * math.prod(sides)
        self.rest = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1, bias=bias),
        )

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        ours = self.of_class(classes.unflatten(1, self.maps))
        theirs = self.of_query(queries.unflatten(1, self.maps))
        pairs = (ours[None] + theirs[:, None]).flatten(0, 1)
        scores: Tensor = self.rest(pairs)
        return scores.view(len(queries), len(classes))


def _start_opposite(ours: Tensor, theirs: Tensor) -> None:
    """Start where the pair is compared by its difference, which is far easier to improve on."""
    with torch.no_grad():
        ours.copy_(-theirs)
