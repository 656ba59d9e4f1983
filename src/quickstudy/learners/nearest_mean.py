"""The control: nearest class mean on the raw input, nothing learned."""

from jaxtyping import Float
from torch import Tensor

from quickstudy.core import Examples, Inputs, Learner, State
from quickstudy.core.functional import class_sums, forbid_absent, squared_distances


class NearestMean(Learner):
    """Nearest class mean of the raw inputs: the no-learning control beside every result.

    Paper: Mensink et al. 2013, Distance-based image classification, section 4.
    Differs: no learned metric, the inputs are flattened as they are.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> learner = NearestMean()
        >>> support = examples(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), way=2)
        >>> learner.predict(learner.adapt(support), torch.tensor([[0.9]])).argmax().item()
        1
    """

    def adapt(self, support: Examples) -> State:
        """Sums [way, d] and counts [way] of the flattened inputs."""
        sums, counts = class_sums(support.x.flatten(1), support.y, support.mask)
        return {"sums": sums, "counts": counts}

    def predict(self, state: State, x: Inputs) -> Float[Tensor, "m way"]:
        """Negative squared distances to the class means."""
        means = state["sums"] / state["counts"].clamp(min=1)[:, None]
        return forbid_absent(-squared_distances(x.flatten(1), means), state["counts"])

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples of the same ways; equals adapting to all at once."""
        more = self.adapt(support)
        return {key: state[key] + more[key] for key in state}
