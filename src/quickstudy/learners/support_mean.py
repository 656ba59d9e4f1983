"""The control for real targets: the mean of the support's targets, nothing learned."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core import Examples, Inputs, Learner, State
from quickstudy.core.tasks import leaves


class SupportMean(Learner):
    """The mean of the support's targets for every query: the no-learning control of real targets.

    Paper: Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes,
    appendix: the mean is the constant of least squared error. Differs: masked rows are ignored;
    without support it answers 0.

    Examples:
        >>> learner = SupportMean()
        >>> support = Examples(torch.rand(2, 3), torch.tensor([[1.0], [2.0]]), torch.ones(2))
        >>> learner.predict(learner.adapt(support), torch.rand(4, 3)).flatten()
        tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """

    tasks = ("values",)
    family = "control"
    paper = "Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes"
    meta_learned = "nothing"
    adapt_cost = "one sum over the support"
    targets: Literal["classes", "values"] = "values"

    def adapt(self, support: Examples) -> State:
        """Sums [d] and count [] of the targets."""
        real = support.mask[:, None] > 0
        rows = torch.where(real, support.y, torch.zeros_like(support.y))
        return {"sums": rows.sum(0), "count": support.mask.sum()}

    def predict(self, state: State, x: Inputs) -> Float[Tensor, "m d"]:
        """The mean, whatever is asked."""
        mean: Tensor = state["sums"] / state["count"].clamp(min=1)
        return mean.expand(len(leaves(x)[0]), -1)

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples; equals adapting to all at once."""
        more = self.adapt(support)
        return {key: state[key] + more[key] for key in state}
