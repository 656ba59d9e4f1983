"""Nearest class mean on centred and normalised features of an ordinary classifier."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State, Task
from quickstudy.core.functional import class_sums, forbid_absent, squared_distances, zero_masked
from quickstudy.core.learner import Objective
from quickstudy.core.tasks import unstack
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import together
from quickstudy.learners.pretrained import Pretrained


class SimpleShot(Pretrained):
    """Queries go to the nearest class mean of features, of which only the direction counts.

    Features are those of a net that was trained to tell all meta-train classes apart, less their
    mean over meta-train.

    Paper: Wang et al. 2019, SimpleShot: revisiting nearest-neighbor classification for few-shot
    learning, section 3 (CL2N). Differs: the mean is that of the images which `fit` calibrates with,
    not of all; `scale`, of which the nearest does not depend; masked and unlabelled rows are
    ignored.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        classes: of meta-train; None on a net that is trained already.
        scale: of the logits: half of it multiplies squared distances; > 0.
        objective: of training, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = SimpleShot(MLP(4, [8], 8), classes=64)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = (
        "Wang et al. 2019, SimpleShot: revisiting nearest-neighbor classification for few-shot "
        "learning"
    )
    adapt_cost = "one forward pass of the support"
    mean: Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: int | None = None,
        scale: float = 10.0,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, classes, objective)
        if not scale > 0:
            raise TaskError(f"the scale of the logits must be positive, got {scale}")
        self.scale = scale
        self.register_buffer("mean", torch.zeros(self.features))

    def directions(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where embeddings lie as seen from the mean, at unit length."""
        return torch.nn.functional.normalize(z - self.mean, dim=-1)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """Sums [way, d] and counts [way] of the support's directions."""
        sums, counts = class_sums(self.directions(z), support.y, support.mask)
        return {"sums": sums, "counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Negative squared distances to the class means, at the scale."""
        means = state["sums"] / state["counts"].clamp(min=1)[:, None]
        distances = squared_distances(self.directions(z), means)
        return forbid_absent(-self.scale / 2 * distances, state["counts"])

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples of the same ways; equals adapting to all at once."""
        more = self.adapt(support)
        return {key: state[key] + more[key] for key in state}

    def calibrate(self, batch: Task) -> None:
        """Set the net's population statistics, then the mean of the embeddings that they give."""
        super().calibrate(batch)
        with torch.no_grad():
            sums, count = torch.zeros_like(self.mean), self.mean.new_zeros(())
            for part in map(together, unstack(batch)):
                sums += zero_masked(self.embed(part.x), part.mask).sum(0)
                count += part.mask.sum()
            self.mean.copy_(sums / count.clamp(min=1))
