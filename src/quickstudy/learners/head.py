"""The last layer that gradient learners adapt."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import SGD, Examples, UpdateRule
from quickstudy.core.functional import prototypes
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError


class Head(nn.Module):
    """Where the last, affine layer starts: learned rows of its own, or the same row for all ways.

    The same row for all is way-free (Ye & Chao 2022, How to train your MAML, section 5): one model
    serves any number of ways, and the order of the classes does not matter. Cross-entropy does not
    see what all logits share, so with it that row stays zero instead of being learned (Kao et al.
    2022, MAML is a noisy contrastive learner in classification, section 2).

    Args:
        features: d, the width of what comes in.
        outputs: how many rows: classes in a fixed order, or real targets. None for one shared row.
        targets: "classes" or "values".
        objective: what the learner minimises.

    Raises:
        TaskError: an argument is out of range, or real targets without `outputs`.

    Examples:
        >>> Head(8).start(way=5)["head.weight"].shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        features: int,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
    ) -> None:
        check_outputs(outputs, targets)
        super().__init__()
        self.outputs = outputs
        self.targets = targets
        self.weight: Tensor
        self.bias: Tensor
        if outputs is None and not sees_shift(objective):
            self.register_buffer("weight", torch.zeros(1, features), persistent=False)
            self.register_buffer("bias", torch.zeros(1), persistent=False)
        else:
            layer = nn.Linear(features, outputs or 1)
            self.weight, self.bias = layer.weight, layer.bias

    def rows(self) -> dict[str, Tensor]:
        """Weight [outputs, d] and bias [outputs] by name; one row where all ways share it."""
        return {"head.weight": self.weight, "head.bias": self.bias}

    def start(self, way: int) -> dict[str, Tensor]:
        """The parameters for a task: "head.weight" [way, d] and "head.bias" [way].

        Raises:
            TaskError: a head with rows of its own, for another number of targets.
        """
        if self.outputs is None:
            return {name: row.expand(way, *row.shape[1:]) for name, row in self.rows().items()}
        check_way(way, self.outputs, self.targets)
        return self.rows()


def check_outputs(outputs: int | None, targets: str) -> None:
    """Refuse a head that cannot be: no rows, or real targets without rows of their own."""
    if targets not in ("classes", "values"):
        raise TaskError(f"targets must be classes or values, got {targets!r}")
    if outputs is None and targets == "values":
        raise TaskError("real targets need a head of their own: say how many outputs, got None")
    if outputs is not None and outputs < 1:
        raise TaskError(f"a head has one output or more, got {outputs}")


def check_way(way: int, outputs: int | None, targets: str) -> None:
    """Refuse a task of another number of targets than a head has rows of its own."""
    if outputs is not None and way != outputs:
        free = "; a way-free head (outputs=None) takes any number of classes"
        hint = free if targets == "classes" else ""
        raise TaskError(f"this head has {outputs} outputs, got a task with {way}{hint}")


def prototype_rows(z: Float[Tensor, "n d"], support: Examples) -> dict[str, Tensor]:
    """The affine head whose logits rank the ways as squared distances to their prototypes do.

    Triantafillou et al. 2020, Meta-Dataset, section 3: -|z - c|^2 = 2 c z - |c|^2 - |z|^2, of which
    the last is the same for all ways. Zeros for a way without support.

    Args:
        z: embeddings of the support, [n, d].
        support: y [n, way] and mask [n]; x is not looked at.

    Returns:
        "head.weight" [way, d] and "head.bias" [way].

    Examples:
        >>> support = Examples(torch.ones(2, 1), torch.eye(2), torch.ones(2))
        >>> prototype_rows(torch.tensor([[1.0], [3.0]]), support)["head.bias"]
        tensor([-1., -9.])
    """
    c = prototypes(z, support.y, support.mask)
    return {"head.weight": 2 * c, "head.bias": -(c * c).sum(-1)}


def sees_shift(objective: str | Objective | None) -> bool:
    """Whether an objective of classes changes where all logits of a query do, by the same number.

    What adds such a number has no gradient where it does not, and would be moved by rounding.

    Examples:
        >>> sees_shift(None), sees_shift("cross_entropy"), sees_shift("squared_error")
        (False, False, True)
    """
    return objective not in (None, "cross_entropy")


def rule_or(rule: UpdateRule | None, rate: float) -> UpdateRule:
    """The rule that a learner was given, or gradient descent at a rate.

    Raises:
        TaskError: it is no rule; a number, say.

    Examples:
        >>> rule_or(None, 0.1).rate
        0.1
    """
    if rule is None:
        return SGD(rate)
    if not isinstance(rule, UpdateRule):
        raise TaskError(f"rule must be an update rule, SGD(0.1) for one, got {rule!r:.60}")
    return rule


def usual_rate(targets: Literal["classes", "values"]) -> float:
    """The inner rate where nobody names one; smaller for values, whose errors may be large.

    Examples:
        >>> usual_rate("classes"), usual_rate("values")
        (0.1, 0.01)
    """
    return 0.1 if targets == "classes" else 0.01
