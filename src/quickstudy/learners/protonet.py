"""Prototypical networks."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, State, Task
from quickstudy.core.functional import (
    class_sums,
    cosine_similarities,
    forbid_absent,
    squared_distances,
)
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner


class ProtoNet(EmbeddingLearner):
    """Each class is the mean embedding of its support; queries go to the nearest.

    Paper: Snell et al. 2017, Prototypical networks for few-shot learning, eq. 1 and 2. Differs:
    masked rows are ignored; distances are divided by a temperature, which the paper leaves at 1;
    at evaluation batch norms use population statistics, so prediction is inductive; `turns` and
    `shift`.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        distance: "euclidean" (squared) or "cosine".
        temperature: divides the squared distances, or multiplies the cosines; > 0.
        learn_temperature: train it with the net.
        turns: in training, so many groups of `shot` examples of each class take their turn as its
            support, all others being queries: more gradient from the same embeddings. 1 is the
            paper; 1 shot and 4 queries allow 5.
        shift: embed each image as the mean over itself and itself moved by so many pixels up, down,
            left and right, when adapting and predicting; 0 for the image alone.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = ProtoNet(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> state = learner.adapt(support)
        >>> learner.predict(state, torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    family = "metric"
    paper = "Snell et al. 2017, Prototypical networks for few-shot learning"
    meta_learned = "the embedding"
    adapt_cost = "one forward pass of the support; with `shift` five"
    also: ClassVar[tuple[str, ...]] = ("prototypical", "prototypical networks")

    def __init__(
        self,
        net: nn.Module,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        temperature: float = 1.0,
        learn_temperature: bool = False,
        turns: int = 1,
        shift: int = 0,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if distance not in ("euclidean", "cosine"):
            raise TaskError(f"distance must be euclidean or cosine, got {distance!r}")
        if not temperature > 0:
            raise TaskError(f"temperature must be positive, got {temperature}")
        if turns < 1:
            raise TaskError(f"the support takes at least one turn, got {turns}")
        if shift < 0:
            raise TaskError(f"images are shifted by 0 pixels or more, got {shift}")
        self.distance = distance
        self.temperature = temperature
        self.learn_temperature = learn_temperature
        self.turns = turns
        self.shift = shift
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Sums [way, d] and counts [way] of the support's embeddings."""
        sums, counts = class_sums(z, support.y, support.mask)
        return {"sums": sums, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Negative squared distances, or cosines, to the prototypes, at the temperature."""
        return self.likeness(z, self.prototypes(state), state["counts"])

    def prototypes(self, state: State) -> Float[Tensor, "way d"]:
        """What stands for each class: the mean of its support."""
        means: Tensor = state["sums"] / state["counts"].clamp(min=1)[:, None]
        return means

    def likeness(
        self,
        z: Float[Tensor, "m d"],
        classes: Float[Tensor, "way d"],
        counts: Float[Tensor, " way"],
    ) -> Float[Tensor, "m way"]:
        """Logits of embeddings, from what stands for each class and how many examples it has."""
        temperature = self.log_temperature.exp()
        if self.distance == "euclidean":
            logits = -squared_distances(z, classes) / temperature
        else:
            logits = cosine_similarities(z, classes) * temperature
        return forbid_absent(logits, counts)

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples of the same ways; equals adapting to all at once."""
        more = self.adapt(support)
        return {key: state[key] + more[key] for key in state}

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The mean objective over the turns; in each, other rows are the support."""
        labels = torch.cat([half.y * half.mask[:, None] for half in task])
        shots = (task.support.y * task.support.mask[:, None]).sum(0)
        total, asked = z.new_zeros(()), z.new_zeros(())
        for turn in range(self.turns if self.training else 1):
            support, query = _roles(labels, shots, turn)
            logits = self.compare(self.summarise(z, support), z)
            loss = self.measure(logits, query.y, query.mask)
            total = total + loss * query.mask.sum()
            asked = asked + query.mask.sum()
        return total / asked.clamp(min=1)

    def embed(self, x: Inputs) -> Float[Tensor, "n d"]:
        """The embeddings, or with `shift` their means over the image and itself moved.

        Raises:
            TaskError: `shift`, and inputs that are no images.
        """
        if not self.shift:
            return self.net(x)  # type: ignore[no-any-return]
        if not (isinstance(x, Tensor) and x.ndim == 4):
            came = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise TaskError(f"this learner takes images [n, channels, h, w], got {came}")
        height, width, s = x.shape[2], x.shape[3], self.shift
        wide = torch.nn.functional.pad(x, (s, s, s, s))
        corners = ((s, s), (0, s), (2 * s, s), (s, 0), (s, 2 * s))
        views = [self.net(wide[:, :, i : i + height, j : j + width]) for i, j in corners]
        return torch.stack(views).mean(0)


def _roles(
    labels: Float[Tensor, "n way"], shots: Float[Tensor, " way"], turn: int
) -> tuple[Examples, Examples]:
    """The same rows as support and query: at turn t, a class's t-th `shots` examples support it."""
    # How many of its class stand before each row; unlabelled rows and padding are in no class.
    rank = ((labels.cumsum(0) - labels) * labels).sum(1)
    shot = labels @ shots
    # A class too small for a whole support in this turn has no queries in it either.
    whole = labels @ (labels.sum(0) >= (turn + 1) * shots).to(labels.dtype)
    chosen = whole * (rank >= turn * shot) * (rank < (turn + 1) * shot)
    # Only y and mask are looked at from here on.
    return Examples(labels, labels, chosen), Examples(labels, labels, whole - chosen)
