"""Prototypes that unlabelled examples refine."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import class_sums, forbid_absent, squared_distances
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner


class SoftKMeans(EmbeddingLearner):
    """Each class is the mean of its support, and of what unlabelled examples seem to belong to it.

    Semi-supervised: unlabelled examples are rows of the support whose label is all zero. Queries
    take no part, so prediction is inductive. Without unlabelled examples it is `ProtoNet`.

    Paper: Ren et al. 2018, Meta-learning for semi-supervised few-shot classification, section
    3.1.1, trained through the refinement; `distractors` is their section 3.1.2. Differs: masked
    rows are ignored; distances are divided by a temperature, which the paper leaves at 1; at
    evaluation batch norms use population statistics. Their masked soft k-means is not here.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        temperature: divides the squared distances, > 0.
        learn_temperature: train it with the net.
        steps: refinements, >= 0; 1 in the paper.
        distractors: unlabelled examples may be of none of the classes: those go to a cluster about
            the origin, whose radius is learned.
        radius: where that starts, relative to the classes', > 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> learner = SoftKMeans(nn.Identity())
        >>> x = torch.tensor([[0.0], [10.0], [2.0]])
        >>> learner.adapt(examples(x, torch.tensor([0, 1, -1]), way=2))["means"]
        tensor([[ 1.],
                [10.]])
    """

    family = "metric"
    paper = "Ren et al. 2018, Meta-learning for semi-supervised few-shot classification"
    meta_learned = "the embedding, for semi-supervised tasks; with `distractors`, also their radius"
    adapt_cost = "one forward pass of the support, and `steps` of soft k-means"
    also = ("soft k-means", "semi-supervised prototypes")
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        temperature: float = 1.0,
        learn_temperature: bool = False,
        steps: int = 1,
        distractors: bool = False,
        radius: float = 1.0,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if not temperature > 0:
            raise TaskError(f"temperature must be positive, got {temperature}")
        if not radius > 0:
            raise TaskError(f"the radius of the distractors must be positive, got {radius}")
        if steps < 0:
            raise TaskError(f"SoftKMeans takes no fewer than zero steps, got {steps}")
        self.temperature = temperature
        self.learn_temperature = learn_temperature
        self.steps = steps
        self.distractors = distractors
        self.radius = radius
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)
        if distractors:
            self.log_radius = nn.Parameter(torch.tensor(math.log(radius)))

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The refined "means" [way, d], and "counts" [way] of labelled examples."""
        sums, counts = class_sums(z, support.y, support.mask)
        unlabelled = support.mask * (1 - support.y.sum(1))
        means = sums / counts.clamp(min=1)[:, None]
        for _ in range(self.steps):
            shares = self.shares(z, means, counts) * unlabelled[:, None]
            means = (sums + shares.T @ z) / (counts + shares.sum(0)).clamp(min=1)[:, None]
        return {"means": means, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Negative squared distances to the means, at the temperature."""
        logits = -squared_distances(z, state["means"]) / self.log_temperature.exp()
        return forbid_absent(logits, state["counts"])

    def shares(
        self,
        z: Float[Tensor, "n d"],
        means: Float[Tensor, "way d"],
        counts: Float[Tensor, " way"],
    ) -> Float[Tensor, "n way"]:
        """How much of each example the classes get; the rest is the distractors'."""
        logits = self.compare({"means": means, "counts": counts}, z)
        if not self.distractors:
            return torch.softmax(logits, -1)
        size = (z * z).sum(-1) / self.log_temperature.exp()
        none = -size * torch.exp(-2 * self.log_radius) - self.log_radius
        return torch.softmax(torch.cat([logits, none[:, None]], 1), -1)[:, :-1]
