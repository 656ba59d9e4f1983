"""Reading the support set in context."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import centre_and_spread, forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.attention import AttentionBlock
from quickstudy.learners.embedding import EmbeddingLearner, features_of


class SetTransformer(EmbeddingLearner):
    """Attention reads the support as a set, and each query attends to what was read.

    Nothing is fitted in adapting: what to make of a support set is learned by the weights.

    Paper: Lee et al. 2019, Set Transformer, eq. 6-8 (attention blocks MAB and SAB over sets).
    Differs: support and query are read in context, as in prior-fitted networks (Müller et al. 2022,
    Transformers can do Bayesian inference, section 4): a query attends to the support and never to
    another query; each class reads the set for itself, its examples marked as its own and all
    others as not, with the same weights, so that any number of ways will do; embeddings are taken
    relative to the support's mean and spread; a logit is the product of what a query makes of a
    class's reading with the mean of what the class reads in its own; norms come before the
    attention; masked and unlabelled rows get no attention; there are no inducing points, as support
    sets are small.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        width: of the attention, a multiple of `heads`.
        heads: that attend side by side, >= 1.
        layers: attention blocks over the support, >= 1.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, the net does not say its features, or holds torch's
            own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = SetTransformer(MLP(4, [8], 8), width=16)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    family = "in context"
    paper = "Lee et al. 2019, Set Transformer"
    meta_learned = "the embedding, and the attention that reads the support"
    adapt_cost = "one forward pass of the support, and attention over it, once a class"
    also = ("in-context",)

    def __init__(
        self,
        net: nn.Module,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if min(width, heads, layers) < 1:
            raise TaskError(
                f"a set transformer has positive width, heads and layers, got {width}, {heads} and "
                f"{layers}"
            )
        self.width = width
        self.heads = heads
        self.layers = layers
        self.enter = nn.Linear(features_of(net, "SetTransformer"), width)
        self.marks = nn.Parameter(torch.randn(2, width))
        self.blocks = nn.ModuleList(AttentionBlock(width, heads) for _ in range(layers))
        self.ask = AttentionBlock(width, heads)
        self.leave, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """What each class reads.

        Returns:
            "mean" [d] and "spread" of the embeddings; "read" [way, n, width]; "real" [n], 1 for a
            labelled row; "own" [way, width], the mean of what a class reads in its examples; and
            "counts" [way].
        """
        labels = support.y * support.mask[:, None]
        real, counts = labels.sum(1), labels.sum(0)
        mean, spread = centre_and_spread(z, real)
        own = labels.T[:, :, None]
        read = self.enter((z - mean) / spread) + own * self.marks[0] + (1 - own) * self.marks[1]
        for block in self.blocks:
            read = block(read, read, real)
        in_own = self.norm((own * read).sum(1) / counts.clamp(min=1)[:, None])
        return {
            "mean": mean,
            "spread": spread,
            "read": read,
            "real": real,
            "own": in_own,
            "counts": counts,
        }

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Logits [m, way]: what a query makes of a class's reading, times what is its own."""
        relative = self.enter((z - state["mean"]) / state["spread"])
        queries = relative.expand(len(state["counts"]), -1, -1)
        asked = self.leave(self.ask(queries, state["read"], state["real"]))
        logits = (asked @ state["own"][:, :, None]).squeeze(-1).T / math.sqrt(self.width)
        return forbid_absent(logits, state["counts"])
