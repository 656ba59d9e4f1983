"""A transformer that was fitted to a prior."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import centre_and_spread, forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.attention import AttentionBlock
from quickstudy.learners.embedding import EmbeddingLearner, features_of


class PriorFitted(EmbeddingLearner):
    """A transformer reads examples with their targets, and each query attends to what was read.

    Nothing is fitted in adapting. Meta-trained on tasks from a prior, its answers approach the
    posterior predictive of that prior (the paper's insight 1 and corollary 1.1).

    Paper: Müller et al. 2022, Transformers can do Bayesian inference, section 4: an example is one
    token, its input plus its target; queries are tokens without one; there are no positions, so the
    order of the support does not matter. Classes are as in TabPFN (Hollmann et al. 2023, section
    3): a learned row for each class of a table of fixed length, of whose outputs a task uses the
    first. Differs: inputs are embedded by a net, and taken relative to the support's mean and
    spread; a query attends to the support alone, not to itself beside it; of values the mean is
    predicted, under squared errors, and no distribution over bins; norms come before the attention;
    masked and unlabelled rows get no attention. Keys start as the queries, values as they come, and
    outputs as the rows by which targets are written, so that at first answers are those of what is
    alike; from a start at random it takes thousands of tasks until anything is learned. The tasks
    of meta-training stand for the prior, be they made up or real.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        width: of a token, a multiple of `heads`.
        heads: that attend side by side, >= 1.
        layers: attention blocks, >= 1.
        ways: the most classes of a task, all of which training has to bring up; for classes.
        outputs: how many real targets an example has; None for classes.
        targets: "classes" or "values".
        objective: of the queries, a name or a callable; by `targets` where None.

    Raises:
        TaskError: an argument is out of range, real targets without `outputs`, a net that does not
            say its features, or one that holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = PriorFitted(MLP(4, [8], 8), width=16)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    tasks = ("classes", "values")
    family = "in context"
    paper = "Müller et al. 2022, Transformers can do Bayesian inference"
    meta_learned = "the embedding, and a transformer that reads examples and their targets"
    adapt_cost = "one forward pass of the support, and attention over it"
    also = ("pfn", "prior-fitted")

    def __init__(
        self,
        net: nn.Module,
        width: int = 64,
        heads: int = 4,
        layers: int = 3,
        ways: int = 20,
        outputs: int | None = None,
        targets: Literal["classes", "values"] = "classes",
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if min(width, heads, layers) < 1:
            raise TaskError(
                f"a prior-fitted transformer has positive width, heads and layers, got {width}, "
                f"{heads} and {layers}"
            )
        if ways < 2:
            raise TaskError(f"there are two ways or more, got {ways}")
        if targets not in ("classes", "values"):
            raise TaskError(f"targets must be classes or values, got {targets!r}")
        if targets == "values" and (outputs is None or outputs < 1):
            raise TaskError(f"real targets need their number, outputs >= 1, got {outputs}")
        self.width = width
        self.heads = heads
        self.layers = layers
        self.ways = ways
        self.outputs = outputs
        self.targets = targets
        self._labels = ways if targets == "classes" or outputs is None else outputs
        self.enter = nn.Linear(features_of(net, "PriorFitted"), width)
        self.labels = nn.Linear(self._labels, width, bias=False)
        self.blocks = nn.ModuleList(AttentionBlock(width, heads).match() for _ in range(layers))
        out = nn.Linear(width, self._labels)
        self.leave = nn.Sequential(nn.LayerNorm(width), out)
        with torch.no_grad():
            rows = nn.init.normal_(self.labels.weight)
            out.weight.copy_(rows.T / math.sqrt(width))

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The support's tokens.

        Returns:
            "mean" [d] and "spread" of the embeddings; "tokens", [n, width] as each block reads
            them; "real" [n], 1 for a row that is read; and "counts" [way], for classes.

        Raises:
            TaskError: more classes than `ways`, or another number of targets than `outputs`.
        """
        y = support.y * support.mask[:, None]
        real = y.sum(1) if self.targets == "classes" else support.mask
        mean, spread = centre_and_spread(z, real)
        token = self.enter((z - mean) / spread) + self.labels(self._widened(y))
        tokens = []
        for block in self.blocks:
            tokens.append(token)
            if len(tokens) < self.layers:  # nobody reads what the last block would make of it
                token = block(token, token, real)
        state = {"mean": mean, "spread": spread, "tokens": tuple(tokens), "real": real}
        return state | ({"counts": y.sum(0)} if self.targets == "classes" else {})

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Logits [m, way] or means [m, outputs]."""
        query = self.enter((z - state["mean"]) / state["spread"])
        for block, tokens in zip(self.blocks, state["tokens"], strict=True):
            query = block(query, tokens, state["real"])
        answers: Tensor = self.leave(query)
        if "counts" not in state:
            return answers
        counts = state["counts"]
        return forbid_absent(answers[:, : len(counts)], counts)

    def _widened(self, y: Float[Tensor, "n k"]) -> Float[Tensor, "n labels"]:
        """Targets with columns of zeros for the ways that the task does not have."""
        came, most = y.shape[1], self._labels
        if self.targets == "values" and came != most:
            raise TaskError(f"this PriorFitted has {most} outputs, got a task with {came}")
        if came > most:
            raise TaskError(
                f"this PriorFitted tells {most} classes apart, got a task with {came}; wanted a "
                f"learner made with ways={came} or more"
            )
        return nn.functional.pad(y, (0, most - came))
