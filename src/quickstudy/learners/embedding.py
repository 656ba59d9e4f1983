"""Learners whose inner procedure works on the embeddings of a net, which stays as it is."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, Learner, State, Task
from quickstudy.core.learner import Objective, objective_named
from quickstudy.core.tasks import tree_map, unstack, zero_padding
from quickstudy.errors import TaskError
from quickstudy.nets.norm import calibrate, has_batch_statistics, in_training


class EmbeddingLearner(Learner):
    """Embeds the support, sums it up in a state, and compares the embedded queries with that.

    A subclass writes `summarise` and `compare`, both on embeddings [n, d]. In training, support and
    query share one forward pass, so that batch norms see the task's own images; at evaluation they
    use population statistics, so that prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        objective: of the queries, a name or a callable; by `targets` where None.

    Raises:
        TaskError: an unknown objective, or a net that holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core.functional import prototypes
        >>> class Dots(EmbeddingLearner):
        ...     def summarise(self, z, support):
        ...         return prototypes(z, support.y, support.mask)
        ...     def compare(self, state, z):
        ...         return z @ state.T
        >>> support = Examples(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> Dots(nn.Identity()).answer(Task(support, support))
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, net: nn.Module, objective: str | Objective | None = None) -> None:
        super().__init__()
        objective_named(objective or "cross_entropy")
        self.net = net
        self.objective = objective
        self._norms = has_batch_statistics(net)

    @abstractmethod
    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The state, from the support's embeddings; x of `support` is not looked at.

        Args:
            z: embeddings [n, d]; finite in padded rows too, which count for nothing.
            support: y [n, way] or [n, k], zero in padded rows, and mask [n].
        """

    @abstractmethod
    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Logits [m, way] or means [m, k] of queries, from their embeddings z [m, d]."""

    def embed(self, x: Inputs) -> Float[Tensor, "n d"]:
        """The embeddings of inputs [n, *input], in evaluation."""
        return self.net(x)  # type: ignore[no-any-return]

    def adapt(self, support: Examples) -> State:
        """What `summarise` makes of the support's embeddings."""
        support = zero_padding(support)
        return self.summarise(self.embed(support.x), support)

    def predict(self, state: State, x: Inputs) -> Tensor:
        """What `compare` makes of the queries' embeddings: logits [m, way] or means [m, k]."""
        return self.compare(state, self.embed(x))

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """The objective on the query; in training, batch norms see the task's own images.

        As in the code of Snell et al. 2017, support and query share one forward pass then.
        """
        both, n = together(task), len(task.support.mask)
        halves = (tree_map(lambda t: t[:n], both), tree_map(lambda t: t[n:], both))
        z = in_training(self.net, both.x, both.mask) if self.training else self.embed(both.x)
        return self.loss_of(z, Task(*halves))

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The objective on the query, from the embeddings of support and query, in this order.

        Inputs in `task` are not looked at, and targets of padding are zero.
        """
        n = len(task.support.mask)
        prediction = self.compare(self.summarise(z[:n], task.support), z[n:])
        return self.measure(prediction, task.query.y, task.query.mask)

    def calibrate(self, batch: Task) -> None:
        """Set the net's population statistics from a batch of tasks [tasks, n, ...]."""
        if self._norms:
            calibrate(self.net, map(together, unstack(batch)))


def together(task: Task) -> Examples:
    """Support and query as one, inputs and targets of padding zeroed.

    Examples:
        >>> one = Examples(torch.ones(1, 2), torch.ones(1, 1), torch.ones(1))
        >>> together(Task(one, one)).x.shape
        torch.Size([2, 2])
    """
    return zero_padding(tree_map(lambda s, q: torch.cat([s, q]), *task))


def features_of(net: nn.Module, learner: str) -> int:
    """The width of a net's output, as it says itself.

    Args:
        net: any module.
        learner: who asks, for the message.

    Raises:
        TaskError: it does not say so.

    Examples:
        >>> from quickstudy.nets import MLP
        >>> features_of(MLP(4, outputs=8), "MAML")
        8
    """
    features = getattr(net, "features", None)
    if not isinstance(features, int):
        raise TaskError(
            f"{learner} needs a net that says its output width in an int attribute `features` "
            f"(net.features = 64, say), got {features!r}"
        )
    return features
