"""Attentive neural processes."""

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import State
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.attention import Attention, AttentionBlock
from quickstudy.learners.neural_process import NeuralProcess


class ANP(NeuralProcess):
    """Each query attends to the examples that are near it, and gets a mean and a variance.

    Paper: Kim et al. 2019, Attentive neural processes, section 3: self-attention over the examples,
    and multihead cross-attention from the queries' inputs to theirs. Differs: there is no latent
    path, as adapting draws no random numbers: what remains is their deterministic path, a `CNP`
    whose mean is attention, trained by the likelihood alone, and with all that differs there; keys
    and queries are embeddings by one net; self-attention is in blocks with norms; keys start as the
    queries, values as they come; masked rows get no attention.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        width: of what is read and of the hidden layers, a multiple of `heads`.
        heads: that attend side by side, >= 1.
        layers: blocks of self-attention over the support; 0 for none.
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
        >>> learner = ANP(MLP(1, [8], 8), width=16)
        >>> support = Examples(torch.rand(10, 1), torch.rand(10, 1), torch.ones(10))
        >>> mean, variance = learner.predictive(learner.adapt(support), torch.rand(3, 1))
        >>> mean.shape, variance.shape
        (torch.Size([3, 1]), torch.Size([3, 1]))
    """

    paper = "Kim et al. 2019, Attentive neural processes"
    meta_learned = "the embedding, and attention that reads the examples near a query"
    adapt_cost = "one forward pass of the support, and attention over it"
    also = ("attentive neural process",)

    def __init__(
        self,
        net: nn.Module,
        width: int = 128,
        heads: int = 8,
        layers: int = 1,
        outputs: int = 1,
        least_deviation: float = 0.1,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, width, outputs, least_deviation, objective)
        if layers < 0:
            raise TaskError(f"there are no fewer than zero layers of attention, got {layers}")
        self.heads = heads
        self.layers = layers
        self.blocks = nn.ModuleList(AttentionBlock(width, heads).match() for _ in range(layers))
        self.look = Attention(width, heads, self.features).match()

    def reading(
        self, z: Float[Tensor, "n d"], rows: Float[Tensor, "n width"], mask: Float[Tensor, " n"]
    ) -> dict[str, Tensor]:
        """The examples' "places" [n, d], what they say in "rows" [n, width], and "real" [n]."""
        for block in self.blocks:
            rows = block(rows, rows, mask)
        return {"places": z, "rows": rows, "real": mask}

    def read(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m width"]:
        """What the examples near each query say."""
        return self.look.attend(z, state["places"], state["rows"], state["real"])
