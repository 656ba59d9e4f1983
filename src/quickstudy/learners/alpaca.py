"""Bayesian linear regression as the last layer."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, State, Task, gaussian_nll
from quickstudy.core.functional import cholesky, zero_masked
from quickstudy.core.learner import Objective
from quickstudy.core.tasks import zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner, features_of


class ALPaCA(EmbeddingLearner):
    """The last layer is what a learned prior becomes when it has seen the support.

    Linear regression of which the prior is learned, so that a few examples make an honest
    posterior: `predictive` says how sure each prediction is.

    Paper: Harrison et al. 2018, Meta-learning priors for efficient online Bayesian regression,
    algorithm 1 (ALPaCA). Differs: the noise is learned, the paper knows it; examples do not come
    one by one, each with the posterior of those before it, but as support and query; masked rows
    are ignored; at evaluation batch norms use population statistics, so prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        outputs: how many real targets an example has.
        noise: where the learned standard deviation of the observations starts, > 0.
        objective: of the queries' means, a name or a callable; where None, the negative log density
            of the queries in the posterior predictive, as in the paper.

    Raises:
        TaskError: an argument is out of range, the net does not say its features, or holds torch's
            own batch norm.

    Examples:
        >>> from quickstudy.nets import MLP
        >>> learner = ALPaCA(MLP(1, [8], 8))
        >>> support = Examples(torch.rand(10, 1), torch.rand(10, 1), torch.ones(10))
        >>> means, variances = learner.predictive(learner.adapt(support), torch.rand(3, 1))
        >>> means.shape, bool((variances > 0).all())
        (torch.Size([3, 1]), True)
    """

    tasks = ("values",)
    family = "closed form"
    paper = "Harrison et al. 2018, Meta-learning priors for efficient online Bayesian regression"
    meta_learned = "the embedding, the prior of the last layer, and the noise"
    adapt_cost = "one forward pass of the support, and one sum of outer products"
    also = ("Bayesian linear regression",)
    targets: Literal["classes", "values"] = "values"

    def __init__(
        self,
        net: nn.Module,
        outputs: int = 1,
        noise: float = 0.3,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, objective)
        features = features_of(net, "ALPaCA")
        if outputs < 1:
            raise TaskError(f"ALPaCA has one output or more, got {outputs}")
        if not 0 < noise < math.inf:
            raise TaskError(f"the noise must be a positive number, got {noise}")
        self.outputs = outputs
        self.noise = noise
        self.prior_mean = nn.Parameter(torch.zeros(features, outputs))
        # The lower factor of the prior precision; the diagonal holds logarithms.
        self.prior_factor = nn.Parameter(torch.zeros(features, features))
        self.log_noise = nn.Parameter(torch.full((outputs,), math.log(noise)))

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The posterior, by what adds up.

        Returns:
            "precision" [d, d] of the weights, in units of the noise, and "moment" [d, outputs], the
            precision times their mean.

        Raises:
            TaskError: another number of targets.
        """
        factor = self.prior_factor.tril(-1) + self.prior_factor.diagonal().exp().diag()
        precision = factor @ factor.T
        prior = {"precision": precision, "moment": precision @ self.prior_mean}
        return self._after(prior, z, support)

    def extend(self, state: State, support: Examples) -> State:
        """The state after more examples; equals adapting to all at once."""
        return self._after(state, self.embed(zero_padding(support).x), support)

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m outputs"]:
        """Posterior means."""
        return self._predictive(state, z)[0]

    def predictive(
        self, state: State, x: Inputs
    ) -> tuple[Float[Tensor, "m outputs"], Float[Tensor, "m outputs"]]:
        """Posterior means, and variances of what would be observed, noise included."""
        return self._predictive(state, self.embed(x))

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """The negative log density of the queries; or the objective, where one is named."""
        if self.objective is not None:
            return super().loss_of(z, task)
        n = len(task.support.mask)
        state = self.summarise(z[:n], task.support)
        return gaussian_nll(*self._predictive(state, z[n:]), task.query.y, task.query.mask)

    def _after(self, state: State, z: Float[Tensor, "n d"], support: Examples) -> State:
        if support.y.shape[1] != self.outputs:
            raise TaskError(
                f"this ALPaCA has {self.outputs} outputs, got a task with {support.y.shape[1]}"
            )
        z, y = zero_masked(z, support.mask), zero_masked(support.y, support.mask)
        return {"precision": state["precision"] + z.T @ z, "moment": state["moment"] + z.T @ y}

    def _predictive(self, state: State, z: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
        factor = cholesky(state["precision"], "the Bayesian regression", "the prior's precision")
        means = z @ torch.cholesky_solve(state["moment"], factor)
        white = torch.linalg.solve_triangular(factor, z.T, upper=False)
        unsure = 1 + white.square().sum(0)
        return means, unsure[:, None] * (2 * self.log_noise).exp()
