"""What neural processes share: a mean and a variance for each query, and their likelihood."""

import math
from abc import abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, State, Task, gaussian_nll
from quickstudy.core.functional import centre_and_spread
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of
from quickstudy.nets import MLP

LOUD, LOUDER = 3.0, 5.0
"""How strongly the first layers listen to an example's targets, and to what was read, beside
embeddings, at first: at 1 training halts at answers that are the same wherever is asked."""


class NeuralProcess(EmbeddingLearner):
    """Reads the support into numbers, from which each query gets a normal distribution.

    A subclass writes `reading`, the examples as a state, and `read`: what a query sees of it.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        width: of what is read and of the hidden layers, >= 1.
        outputs: how many real targets an example has.
        least_deviation: the least standard deviation, > 0: of noise that is known to be there.
        objective: of the means, a name or a callable; where None, the negative log likelihood of
            the targets under means and variances.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.
    """

    tasks = ("values",)
    family = "in context"
    targets: Literal["classes", "values"] = "values"

    def __init__(
        self,
        net: nn.Module,
        width: int,
        outputs: int,
        least_deviation: float,
        objective: str | Objective | None,
    ) -> None:
        super().__init__(net, objective)
        name = type(self).__name__
        if min(width, outputs) < 1:
            raise TaskError(f"{name} has positive width and outputs, got {width} and {outputs}")
        if not least_deviation > 0:
            raise TaskError(f"the least deviation must be positive, got {least_deviation}")
        self.width = width
        self.outputs = outputs
        self.least_deviation = least_deviation
        self.features = features_of(net, name)
        self.write = MLP(self.features + outputs, [width], width)
        self.decode = MLP(self.features + width, [width, width], 2 * outputs)
        _listen(self.write, self.features, outputs, LOUD)
        _listen(self.decode, self.features, width, LOUDER)

    @abstractmethod
    def reading(
        self, z: Float[Tensor, "n d"], rows: Float[Tensor, "n width"], mask: Float[Tensor, " n"]
    ) -> dict[str, Tensor]:
        """The state, from where the examples lie and what each says.

        Args:
            z: embeddings [n, d], relative to the support's mean and spread.
            rows: what each example says, its embedding and its targets in one.
            mask: [n], 1 for a real row.
        """

    @abstractmethod
    def read(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m width"]:
        """What queries see of the state, from their embeddings z [m, d], relative as the others."""

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """What `reading` says, and the "mean" [d] and "spread" of the support's embeddings.

        Raises:
            TaskError: another number of targets than `outputs`.
        """
        y, mask = support.y, support.mask
        if y.shape[1] != self.outputs:
            name, came = type(self).__name__, y.shape[1]
            raise TaskError(f"this {name} has {self.outputs} outputs, got a task with {came}")
        mean, spread = centre_and_spread(z, mask)
        z = (z - mean) / spread
        rows = self.write(torch.cat([z, y], dim=1))
        return self.reading(z, rows, mask) | {"mean": mean, "spread": spread}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m outputs"]:
        """The means."""
        return self.distribution(state, z)[0]

    def predictive(self, state: State, x: Inputs) -> tuple[Tensor, Tensor]:
        """Mean and variance, [m, outputs] each, of what the targets of queries will be."""
        return self.distribution(state, self.embed(x))

    def distribution(self, state: State, z: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
        """As `predictive`, from embeddings z [m, d]."""
        z = (z - state["mean"]) / state["spread"]
        decoded = self.decode(torch.cat([z, self.read(state, z)], dim=1))
        mean, deviation = decoded.split(self.outputs, dim=1)
        return mean, (self.least_deviation + nn.functional.softplus(deviation)).square()

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The negative log likelihood of the query, or the objective of the means."""
        if self.objective is not None:
            return super().loss_of(z, task)
        n = len(task.support.mask)
        answers = self.distribution(self.summarise(z[:n], task.support), z[n:])
        return gaussian_nll(*answers, task.query.y, task.query.mask)


@torch.no_grad()
def _listen(net: MLP, embedding: int, other: int, louder: float) -> None:
    """Let a net start so that it listens to its last `other` inputs, beside the embedding."""
    first = net.layers[0].weight
    for part, gain in ((first[:, :embedding], 1.0), (first[:, embedding:], louder)):  # type: ignore[index]
        bound = gain / math.sqrt(part.shape[1])
        part.uniform_(-bound, bound)
