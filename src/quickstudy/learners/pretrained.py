"""Learners whose embedding comes of ordinary training, and never of tasks."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Task
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of


class Pretrained(EmbeddingLearner):
    """Trains a net to tell all meta-train classes apart; tasks come only afterwards.

    The controls of meta-learning: whatever learns from tasks has to do better than these. A
    subclass writes what `EmbeddingLearner` asks for, which has no part in training.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        classes: of meta-train, which the training head has a row for each of. None for no such
            head, on a net that is trained already.
        objective: of training and of a task, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import Examples
        >>> from quickstudy.core.functional import prototypes
        >>> from quickstudy.nets import MLP
        >>> class Dots(Pretrained):
        ...     def summarise(self, z, support):
        ...         return prototypes(z, support.y, support.mask)
        ...     def compare(self, state, z):
        ...         return z @ state.T
        >>> learner = Dots(MLP(2, [8], 4), classes=3)
        >>> part = Examples(torch.rand(6, 2), torch.eye(3).repeat(2, 1), torch.ones(6))
        >>> learner.loss(Task(part, part)).shape
        torch.Size([])
    """

    trains_on: ClassVar[Literal["tasks", "labelled"]] = "labelled"
    family = "pretraining"
    meta_learned = "the embedding, by telling all meta-train classes apart"
    head: nn.Linear
    head_bias: ClassVar[bool] = True

    def __init__(
        self,
        net: nn.Module,
        classes: int | None = None,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        name = type(self).__name__
        features = features_of(net, name)
        if classes is not None and classes < 2:
            raise TaskError(f"{name} is trained on 2 classes or more, got {classes}")
        self.classes = classes
        self.features = features
        if classes is not None:
            self.head = nn.Linear(features, classes, bias=self.head_bias)

    def classify(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Logits of all meta-train classes, from embeddings."""
        logits: Tensor = self.head(z)
        return logits

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """The objective on all labelled rows of support and query, over the meta-train classes.

        Raises:
            TaskError: labels of another number of classes than there is a head for.
        """
        came = task.query.y.shape[-1]
        if self.classes != came:
            raise TaskError(
                f"{type(self).__name__} has a head for {self.classes or 'no'} meta-train classes, "
                f"got labels [n, {came}]; wanted classes={came}, or where these are labels of "
                "tasks, those of all classes: quickstudy.Labelled"
            )
        return super().loss(task)

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """As `loss`, from the embeddings of support and query, in this order."""
        y, mask = (torch.cat([getattr(half, part) for half in task]) for part in ("y", "mask"))
        return self.measure(self.classify(z), y, mask)
