"""The control: nearest class mean on the raw input, nothing learned."""

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core import Examples, Inputs, Learner, State
from quickstudy.core.functional import class_sums, forbid_absent, squared_distances
from quickstudy.core.tasks import leaves


class NearestMean(Learner):
    """Nearest class mean of the raw inputs: the no-learning control beside every result.

    Paper: Mensink et al. 2013, Distance-based image classification, section 4.
    Differs: no learned metric, the inputs are flattened as they are.

    Examples:
        >>> from quickstudy.core import examples
        >>> learner = NearestMean()
        >>> support = examples(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), way=2)
        >>> learner.predict(learner.adapt(support), torch.tensor([[0.9]])).argmax().item()
        1
    """

    family = "control"
    paper = "Mensink et al. 2013, Distance-based image classification"
    meta_learned = "nothing"
    adapt_cost = "one sum over the support"

    def adapt(self, support: Examples) -> State:
        """Sums [way, d] and counts [way] of the flattened inputs."""
        sums, counts = class_sums(_flat(support.x), support.y, support.mask)
        return {"sums": sums, "counts": counts}

    def predict(self, state: State, x: Inputs) -> Float[Tensor, "m way"]:
        """Negative squared distances to the class means."""
        means = state["sums"] / state["counts"].clamp(min=1)[:, None]
        return forbid_absent(-squared_distances(_flat(x), means), state["counts"])

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples of the same ways; equals adapting to all at once."""
        more = self.adapt(support)
        return {key: state[key] + more[key] for key in state}


def _flat(x: Inputs) -> Float[Tensor, "n d"]:
    """All numbers of an input in a row, those of several tensors side by side."""
    return torch.cat([leaf.flatten(1) for leaf in leaves(x)], dim=1)
