"""Matching networks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, State
from quickstudy.core.functional import ABSENT, cosine_similarities, forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of


class MatchingNet(EmbeddingLearner):
    """A query takes the labels of the support examples that it attends to.

    Paper: Vinyals et al. 2016, Matching networks for one shot learning, eq. 1 and section 2.1.1;
    `full_context` is their appendix A. Differs: cosines are multiplied by a temperature, which the
    paper does not have; masked and unlabelled rows get no attention; at evaluation batch norms use
    population statistics, so prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        temperature: multiplies the cosines, > 0; the paper's is 1, with which the attention can
            hardly choose: e^1 to e^-1 at most.
        learn_temperature: train it with the net.
        full_context: embed the support by a bidirectional LSTM over all of it, in the order in
            which it comes, and each query by an LSTM that attends to it. Takes a net that says d in
            its attribute `features`.
        processing_steps: how often a query attends, >= 1; with full context.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, the net holds torch's own batch norm, or it does not
            say its features where that is asked for.

    Examples:
        >>> from quickstudy.core import examples
        >>> learner = MatchingNet(nn.Identity(), temperature=math.log(3) / 2)
        >>> support = examples(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), way=2)
        >>> learner.predict(learner.adapt(support), torch.tensor([[5.0]])).exp()
        tensor([[0.7500, 0.2500]])
    """

    family = "metric"
    paper = "Vinyals et al. 2016, Matching networks for one shot learning"
    meta_learned = "the embedding; with full context, also the LSTMs that read the support"
    adapt_cost = "one forward pass of the support; with full context, an LSTM over it too"
    also = ("matching", "matching networks")

    def __init__(
        self,
        net: nn.Module,
        temperature: float = 10.0,
        learn_temperature: bool = False,
        full_context: bool = False,
        processing_steps: int = 5,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        if not temperature > 0:
            raise TaskError(f"temperature must be positive, got {temperature}")
        if processing_steps < 1:
            raise TaskError(f"a query attends one time or more, got {processing_steps}")
        self.temperature = temperature
        self.learn_temperature = learn_temperature
        self.full_context = full_context
        self.processing_steps = processing_steps
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)
        if full_context:
            self.context = _FullContext(features_of(net, "MatchingNet"), processing_steps)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The support's embeddings [n, d], and labels [n, way], zero where there is none."""
        labels = support.y * support.mask[:, None]
        if self.full_context:
            z = self.context.of_support(z, labels.sum(1))
        return {"z": z, "labels": labels}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Logarithms of the class probabilities: the attention to the examples of each class."""
        support, labels = state["z"], state["labels"]
        if self.full_context:
            z = self.context.of_query(z, support, labels.sum(1))
        scores = self.log_temperature.exp() * cosine_similarities(z, support)
        of_class = torch.where(labels.T > 0, scores[:, None], ABSENT).logsumexp(-1)
        return forbid_absent(torch.log_softmax(of_class, dim=-1), labels.sum(0))


class _Cell(nn.Module):
    """One LSTM cell (Hochreiter & Schmidhuber 1997), from primitives that vmap knows.

    What comes in goes through the affine `incoming` beforehand, all rows at once.
    """

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.incoming = nn.Linear(inputs, 4 * width)
        self.hidden = nn.Linear(hidden, 4 * width, bias=False)

    def forward(self, incoming: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        write, keep, new, show = (incoming + self.hidden(hidden)).chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell


class _FullContext(nn.Module):
    """Fully conditional embeddings (Vinyals et al. 2016, appendices A.1 and A.2)."""

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        self.forwards = _Cell(features, features, features)
        self.backwards = _Cell(features, features, features)
        self.attending = _Cell(features, 2 * features, features)
        self.steps = steps

    def of_support(self, z: Float[Tensor, "n d"], real: Float[Tensor, " n"]) -> Tensor:
        """Each embedding plus what both LSTMs have read when they come to it (A.2)."""
        order = list(range(len(z)))
        return (
            z + _read(self.forwards, z, real, order) + _read(self.backwards, z, real, order[::-1])
        )

    def of_query(
        self, z: Float[Tensor, "m d"], support: Float[Tensor, "n d"], real: Float[Tensor, " n"]
    ) -> Float[Tensor, "m d"]:
        """Each embedding plus what an LSTM makes of what it attends to, again and again (A.1)."""
        incoming = self.attending.incoming(z)
        hidden, cell = torch.zeros_like(z), torch.zeros_like(z)
        for _ in range(self.steps):
            scores = torch.where(real > 0, hidden @ support.T, ABSENT)
            seen = torch.softmax(scores, dim=-1) @ support
            hidden, cell = self.attending(incoming, torch.cat([hidden, seen], dim=-1), cell)
            hidden = hidden + z
        return hidden


def _read(cell: _Cell, z: Tensor, real: Tensor, order: list[int]) -> Tensor:
    """The hidden state at each row [n, d]; rows that are not real leave it as it was."""
    incoming = cell.incoming(z)
    hidden, memory = torch.zeros_like(z[0]), torch.zeros_like(z[0])
    seen: dict[int, Tensor] = {}
    for row in order:
        new = cell(incoming[row], hidden, memory)
        hidden = torch.where(real[row] > 0, new[0], hidden)
        memory = torch.where(real[row] > 0, new[1], memory)
        seen[row] = hidden
    return torch.stack([seen[row] for row in range(len(z))])
