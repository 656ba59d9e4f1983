"""A classifier by cosines, whose last layer is trained anew for each task."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import SGD, Examples, State, descend
from quickstudy.core.functional import cosine_similarities, forbid_absent, prototypes
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.pretrained import Pretrained


class BaselinePlusPlus(Pretrained):
    """Logits are cosines between features and a row for each class, in training and in a task.

    The net and the rows of the meta-train classes are trained together; in a task the features stay
    and new rows are trained on the support.

    Paper: Chen et al. 2019, A closer look at few-shot classification, section 3.2 (Baseline++).
    Differs: the scale of the cosines is learned in training, and stays in a task; new rows start at
    the class means of the support and not at random, and take plain gradient steps on all of it, so
    that adapting draws nothing; masked and unlabelled rows are ignored.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        classes: of meta-train; None on a net that is trained already, whose cosines then have the
            scale that is given.
        scale: where the learned factor of the cosines starts, > 0.
        rate: of the steps of new rows, which start as long as the scale is, so that it suits any;
            > 0.
        steps: of new rows, >= 0.
        objective: of training and of the support, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = BaselinePlusPlus(MLP(4, [8], 8), classes=64)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = "Chen et al. 2019, A closer look at few-shot classification"
    meta_learned = "the embedding and the scale, by telling all meta-train classes apart"
    adapt_cost = "one forward pass of the support, then `steps` of a new head alone"
    also = ("baseline++",)
    steps_argument = "steps"
    rate_argument = "rate"
    head_bias: ClassVar[bool] = False
    log_scale: Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: int | None = None,
        scale: float = 10.0,
        rate: float = 2.0,
        steps: int = 50,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, classes, objective)
        if not (scale > 0 and rate > 0):
            raise TaskError(
                f"the scale of the cosines and the rate must be positive, got {scale} and {rate}"
            )
        if steps < 0:
            raise TaskError(f"BaselinePlusPlus takes no fewer than zero steps, got {steps}")
        self.scale = scale
        self.rate = rate
        self.steps = steps
        log_scale = torch.tensor(math.log(scale))
        if classes is None:
            self.register_buffer("log_scale", log_scale)
        else:
            self.log_scale = nn.Parameter(log_scale)

    def classify(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Scaled cosines between embeddings and the rows of the meta-train classes."""
        return self.log_scale.exp() * cosine_similarities(z, self.head.weight)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Train a row for each way on the support.

        Returns:
            "rows" [way, d], and "counts", the support examples of each way.
        """
        counts = (support.y * support.mask[:, None]).sum(0)
        unit = torch.nn.functional.normalize(z, dim=-1)
        means = prototypes(unit, support.y, support.mask)
        # A gradient by a row's direction is one over the row's length; at this length it does not
        # grow with the scale.
        start = self.log_scale.exp() * torch.nn.functional.normalize(means, dim=-1)

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            logits = self.compare(params | {"counts": counts}, unit)
            return self.measure(logits, support.y, support.mask)

        rows = descend(SGD(self.rate), loss, {"rows": start}, self.steps, first_order=True)
        return {**rows, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Scaled cosines between embeddings and the rows."""
        cosines = cosine_similarities(z, state["rows"])
        return forbid_absent(self.log_scale.exp() * cosines, state["counts"])
