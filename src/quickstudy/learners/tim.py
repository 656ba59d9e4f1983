"""Transductive information maximisation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples
from quickstudy.core.functional import ABSENT, prototypes
from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.transductive import TransductiveLearner, normalised


class TIM(TransductiveLearner):
    """Class weights that the support agrees with and that tell the queries much of their classes.

    Minimised are the support's cross-entropy, and the queries' mutual information with their
    classes, negative: that of all together are to be of every class, each of one class for sure.

    Paper: Boudiaf et al. 2020, Transductive information maximization for few-shot learning, eq. 2
    and 3, by the alternating direction method of proposition 1 (TIM-ADM). Differs: the number of
    steps is fixed; `marginal` may differ from 1, as in the authors' code; the embedding is
    meta-trained by nearest prototypes and not as a classifier of all classes; masked and unlabelled
    rows are ignored. Queries are expected to be of all classes in like numbers; `marginal=0`
    expects nothing.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: the paper's temperature tau, > 0.
        support: weight of the support's cross-entropy, > 0 (the paper's lambda).
        marginal: weight of the entropy of the classes of all queries together, >= 0.
        conditional: weight of the entropy of each query's class, >= 0 (the paper's alpha).
        steps: alternations, >= 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = TIM(MLP(4, [8], 8))
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(30, 4)).shape
        torch.Size([30, 5])
    """

    paper = "Boudiaf et al. 2020, Transductive information maximization for few-shot learning"
    adapt_cost = "one forward pass of the support; `steps` closed-form steps once queries are there"
    also = ("tim-adm",)
    steps_argument = "steps"

    def __init__(
        self,
        net: nn.Module,
        scale: float = 15.0,
        support: float = 0.1,
        marginal: float = 1.0,
        conditional: float = 0.1,
        steps: int = 50,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, scale, objective)
        if not (support > 0 and marginal >= 0 and conditional >= 0):
            raise TaskError(
                "TIM weighs the support positively and entropies by 0 or more, got "
                f"support={support}, marginal={marginal} and conditional={conditional}"
            )
        if steps < 0:
            raise TaskError(f"TIM takes no fewer than zero steps, got {steps}")
        self.support = support
        self.marginal = marginal
        self.conditional = conditional
        self.steps = steps

    def infer(
        self, support: Examples, z: Float[Tensor, "m d"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """Logits by the class weights after the last step, from prototypes on."""
        labels, unit, z = support.y, normalised(support.x), normalised(z)
        counts, labelled = labels.sum(0), labels.sum(1)
        of_support = self.support / (1 + self.conditional)
        of_queries = labelled.sum() / mask.sum().clamp(min=1)
        weights = prototypes(unit, labels, support.mask)
        for _ in range(self.steps):
            logits = self.near(z, weights, counts)
            q = self.assigned(logits, mask)
            told = torch.softmax(self.near(unit, weights, counts), -1) * labelled[:, None]
            said = torch.softmax(logits, -1) * mask[:, None]
            # Eq. 6: where the rows are that a class has, less where it already says they are.
            pulls = of_support * ((labels - told).T @ unit + told.sum(0)[:, None] * weights)
            pulls = pulls + of_queries * ((q - said).T @ z + said.sum(0)[:, None] * weights)
            rows = of_support * counts + of_queries * q.sum(0)
            there = (counts > 0)[:, None]
            rows = torch.where(counts > 0, rows, torch.ones_like(rows))
            weights = torch.where(there, pulls / rows[:, None], torch.zeros_like(weights))
        return self.near(z, weights, counts)

    def assigned(
        self, logits: Float[Tensor, "m way"], mask: Float[Tensor, " m"]
    ) -> Float[Tensor, "m way"]:
        """The auxiliary assignments q of eq. 5; zero in padded rows."""
        powers = (1 + self.conditional) * torch.log_softmax(logits, -1)
        real = torch.where(mask[:, None] > 0, powers, ABSENT)
        share = self.marginal / (1 + self.marginal)
        return torch.softmax(powers - share * real.logsumexp(0), -1) * mask[:, None]
