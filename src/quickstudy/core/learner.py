"""The one interface: a learner adapts to a support set and predicts with what it got."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.arguments import checked
from quickstudy.core.functional import ABSENT
from quickstudy.core.tasks import Examples, Inputs, Task, zero_padding
from quickstudy.errors import TaskError

State = Any
"""Nested dicts and tuples of tensors, nothing else: it can be batched, stored, sent and served."""

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Prediction [m, k], target [m, k] and mask [m] to a scalar."""


def cross_entropy(
    logits: Float[Tensor, "m way"], y: Float[Tensor, "m way"], mask: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the real, labelled rows whose class has support.

    A query of a way without support cannot be answered, and nothing can be learned from it.

    Examples:
        >>> cross_entropy(torch.zeros(2, 4), torch.eye(4)[:2], torch.tensor([1., 0.]))
        tensor(1.3863)
    """
    # Not `> ABSENT / 2`: logits that are no numbers have to show in the loss.
    answerable = (mask > 0) & (y.sum(-1) > 0) & ~((y * logits).sum(-1) <= ABSENT / 2)
    picked = -(y * torch.log_softmax(logits, dim=-1)).sum(-1)
    rows = torch.where(answerable, mask * picked, torch.zeros_like(picked))
    return rows.sum() / (mask * answerable).sum().clamp(min=1)


def squared_error(
    means: Float[Tensor, "m d"], y: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Mean squared error over the real rows and all targets.

    Examples:
        >>> squared_error(torch.zeros(2, 1), torch.tensor([[2.], [9.]]), torch.tensor([1., 0.]))
        tensor(4.)
    """
    error = ((means - y) ** 2).mean(-1)
    rows = torch.where(mask > 0, mask * error, torch.zeros_like(error))
    return rows.sum() / mask.sum().clamp(min=1)


def gaussian_nll(
    means: Float[Tensor, "m d"],
    variances: Float[Tensor, "m d"],
    y: Float[Tensor, "m d"],
    mask: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    """Mean negative log density of the real rows' targets, each by a normal distribution.

    Examples:
        >>> gaussian_nll(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1), torch.ones(1))
        tensor(1.4189)
    """
    surprise = ((y - means) ** 2 / variances + (2 * math.pi * variances).log()) / 2
    rows = torch.where(mask > 0, mask * surprise.mean(-1), 0.0)
    return rows.sum() / mask.sum().clamp(min=1)


OBJECTIVES: dict[str, Objective] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def objective_named(objective: str | Objective) -> Objective:
    """The objective of that name, or the callable itself.

    Raises:
        TaskError: the name is unknown.

    Examples:
        >>> objective_named("squared_error") is squared_error
        True
    """
    if callable(objective):
        return objective
    if objective not in OBJECTIVES:
        raise TaskError(
            f"objective must be one of {', '.join(OBJECTIVES)} or a callable, got {objective!r}"
        )
    return OBJECTIVES[objective]


class Learner(nn.Module, ABC):
    """Adapts to the support set of a task and predicts its queries.

    Two methods to write, both for one task: `adapt` and `predict`. `adapt` changes nothing on the
    learner and draws no random numbers; what it learned is the value it returns. Whatever runs
    many tasks (`fit`, `evaluate`) batches them.

    A subclass stores each constructor argument under its own name, as scikit-learn's estimators
    do, so that it can be stored and loaded without further code. Arguments that are annotated as
    bool, int, float or str are refused where they are none, and numbers that are not finite.

    Attributes:
        transductive: True where queries may influence each other's predictions; results of such a
            learner are labelled so.
        tasks: the kinds of target it fits, "classes" or "values".
        trains_on: what its `loss` is of: "tasks"; or "labelled", batches of examples of all
            meta-train classes at once, as `data.Labelled` hands them out.
        family: what kind of method: "gradient", "metric", "closed form", "in context",
            "transductive", "pretraining" or "control".
        paper: where it comes from: authors, year, title.
        meta_learned: what the outer loop learns, in a few words.
        adapt_cost: what one `adapt` costs, in a few words.
        also: other names that people have for the method.
        targets: what this one predicts, "classes" or "values"; also what it is judged by.
        objective: what `loss` measures on the query, a name or a callable; by `targets` where None:
            cross-entropy or squared error.
        steps_argument: the constructor argument that says how many inner steps adapting takes, so
            that an evaluation can ask what another number gives; None where adapting takes none.
        rate_argument: likewise how far each of them goes, where no rule says it.
    """

    transductive: bool = False
    tasks: ClassVar[tuple[Literal["classes", "values"], ...]] = ("classes",)
    trains_on: ClassVar[Literal["tasks", "labelled"]] = "tasks"
    family: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    meta_learned: ClassVar[str] = ""
    adapt_cost: ClassVar[str] = ""
    also: ClassVar[tuple[str, ...]] = ()
    targets: Literal["classes", "values"] = "classes"
    objective: str | Objective | None = None
    steps_argument: ClassVar[str | None] = None
    rate_argument: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    @abstractmethod
    def adapt(self, support: Examples) -> State:
        """Learn from the support set of one task.

        Args:
            support: x [n, *input], y [n, way] or [n, d], mask [n].

        Returns:
            Nested dicts and tuples of tensors, differentiable in the learner's parameters.
        """

    @abstractmethod
    def predict(self, state: State, x: Inputs) -> Tensor:
        """Logits [m, way] or means [m, d] for queries x [m, *input], given what was learned."""

    def answer(self, task: Task) -> Tensor:
        """Predictions for the query set of a task after adapting to its support set."""
        return self.predict(self.adapt(task.support), zero_padding(task.query).x)

    def loss(self, task: Task) -> Float[Tensor, ""]:
        """The objective on the query set after adapting to the support set."""
        query = zero_padding(task.query)
        return self.measure(self.answer(task._replace(query=query)), query.y, query.mask)

    def measure(self, prediction: Tensor, y: Tensor, mask: Tensor) -> Float[Tensor, ""]:
        """The objective, called; squared errors of classes are those of the ways that are there."""
        classes = self.targets == "classes"
        name = self.objective or ("cross_entropy" if classes else "squared_error")
        if not (classes and name == "squared_error"):
            return objective_named(name)(prediction, y, mask)
        # Not `> ABSENT / 2`: predictions that are no numbers have to show in the loss.
        there = ~(prediction <= ABSENT / 2)
        share = there.to(y.dtype).mean(-1).amax().clamp(min=1 / y.shape[1])
        return squared_error(torch.where(there, prediction, y), y, mask * y.sum(-1)) / share

    def calibrate(self, batch: Task) -> None:
        """Recompute population statistics (of batch norms, say) from a batch of tasks.

        `fit` calls it before the weights are evaluated or kept; nothing else changes buffers.
        The default has none to recompute.

        Args:
            batch: meta-train tasks, stacked.
        """

    def advance(self, fraction: float) -> None:
        """Be told how far meta-training is, for what changes in its course.

        `fit` calls it before every step. The default minds nothing.

        Args:
            fraction: the share of the outer steps that are done, 0 <= fraction < 1.
        """

    def probabilities(self, state: State, x: Inputs) -> Float[Tensor, "m way"]:
        """Class probabilities of the queries, softmax of `predict`."""
        return torch.softmax(self.predict(state, x), dim=-1)


@runtime_checkable
class Predictive(Protocol):
    """A learner that also says how sure it is of the values that it predicts; see `ALPaCA`."""

    def predictive(self, state: State, x: Inputs) -> tuple[Tensor, Tensor]:
        """Means [m, d], as `predict` gives them, and variances [m, d] of what would be observed."""
        ...
