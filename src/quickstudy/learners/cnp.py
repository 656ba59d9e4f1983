"""Conditional neural processes."""

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import State
from quickstudy.core.functional import zero_masked
from quickstudy.core.learner import Objective
from quickstudy.learners.neural_process import NeuralProcess


class CNP(NeuralProcess):
    """The mean of what each example says, from which each query gets a mean and a variance.

    Paper: Garnelo et al. 2018, Conditional neural processes, eq. 2-4, trained as in section 2.2.
    Differs: inputs are embedded by a net, and taken relative to the support's mean and spread, so
    that more examples take adapting anew; standard deviations are those of the paper's code, a
    softplus above a least one, without its factor of 0.9; first layers start by listening to
    targets and to what was read; the query stands for itself and does not hold the support again;
    masked rows are ignored; classes, which the paper reads by a mean for each, are left to others.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        width: of the mean and of the hidden layers, >= 1.
        outputs: how many real targets an example has.
        least_deviation: the least standard deviation, > 0: of noise that is known to be there.
        objective: of the means, a name or a callable; where None, the negative log likelihood of
            the targets under means and variances.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> import torch
        >>> from quickstudy.core import Examples
        >>> from quickstudy.nets import MLP
        >>> learner = CNP(MLP(1, [8], 8), width=16)
        >>> support = Examples(torch.rand(10, 1), torch.rand(10, 1), torch.ones(10))
        >>> mean, variance = learner.predictive(learner.adapt(support), torch.rand(3, 1))
        >>> mean.shape, variance.shape
        (torch.Size([3, 1]), torch.Size([3, 1]))
    """

    paper = "Garnelo et al. 2018, Conditional neural processes"
    meta_learned = "the embedding, and how examples are written and their mean is read"
    adapt_cost = "one forward pass of the support"
    also = ("conditional neural process",)

    def __init__(
        self,
        net: nn.Module,
        width: int = 128,
        outputs: int = 1,
        least_deviation: float = 0.1,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, width, outputs, least_deviation, objective)

    def reading(
        self, z: Float[Tensor, "n d"], rows: Float[Tensor, "n width"], mask: Float[Tensor, " n"]
    ) -> dict[str, Tensor]:
        """The mean "said" [width] of what the examples say."""
        return {"said": zero_masked(rows, mask).sum(0) / mask.sum().clamp(min=1)}

    def read(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m width"]:
        """The mean, the same for every query."""
        said: Tensor = state["said"]
        return said.expand(len(z), -1)
