"""A Gaussian process on embeddings as the last layer."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from quickstudy.core import Examples, Inputs, State, Task
from quickstudy.core.functional import cholesky, forbid_absent, squared_distances
from quickstudy.errors import TaskError
from quickstudy.learners.embedding import EmbeddingLearner

FLOOR = 1e-4
"""The least noise, as a share of the scale: with less, equal examples would be singular."""


class DKT(EmbeddingLearner):
    """A Gaussian process whose kernel looks at embeddings; the kernel is what all tasks share.

    Paper: Patacchiola et al. 2020, Bayesian meta-learning for the few-shot setting via deep
    kernels, algorithm 1 (deep kernel transfer). Differs: the log marginal likelihood is taken per
    number, so that long tasks do not count for more; distances and products of embeddings are
    divided by d, so that one start suits all widths; the noise is a share of the scale, and never
    quite nothing; the mean is one learned number, the same for all targets; class probabilities are
    those of one-hot labels under the predictive distributions, the paper compares sigmoids of their
    means, which puts the same class first; ways without support and masked and unlabelled rows
    count for nothing; at evaluation batch norms use population statistics, so prediction is
    inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        kernel: "rbf", "linear" or "cosine", of embeddings.
        length: where the learned length of the rbf kernel starts, > 0; in square roots of d.
        scale: where the learned variance of the function starts, > 0.
        noise: where the learned variance of the observations starts, as a share of `scale`, > 0.
        targets: "classes", each of them against all others as values of 1 and -1, or "values", of
            any number.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> from quickstudy.nets import MLP
        >>> learner = DKT(MLP(1, [8], 8), targets="values")
        >>> support = Examples(torch.rand(10, 1), torch.rand(10, 1), torch.ones(10))
        >>> means, variances = learner.predictive(learner.adapt(support), torch.rand(3, 1))
        >>> means.shape, bool((variances > 0).all())
        (torch.Size([3, 1]), True)
    """

    tasks = ("classes", "values")
    family = "closed form"
    paper = (
        "Patacchiola et al. 2020, Bayesian meta-learning for the few-shot setting via deep kernels"
    )
    meta_learned = "the embedding, and the kernel's length, scale and noise"
    adapt_cost = "one forward pass of the support, and one Cholesky factor of n x n numbers"
    also = ("deep kernel transfer", "Gaussian process")

    def __init__(
        self,
        net: nn.Module,
        kernel: Literal["rbf", "linear", "cosine"] = "rbf",
        length: float = 1.0,
        scale: float = 1.0,
        noise: float = 0.1,
        targets: Literal["classes", "values"] = "classes",
    ) -> None:
        super().__init__(net)
        if kernel not in ("rbf", "linear", "cosine"):
            raise TaskError(f"kernel must be rbf, linear or cosine, got {kernel!r}")
        for name, number in (("length", length), ("scale", scale), ("noise", noise)):
            if not 0 < number < math.inf:
                raise TaskError(f"the kernel's {name} must be a positive number, got {number}")
        if targets not in ("classes", "values"):
            raise TaskError(f"targets must be classes or values, got {targets!r}")
        self.kernel = kernel
        self.length = length
        self.scale = scale
        self.noise = noise
        self.targets = targets
        if kernel == "rbf":
            self.log_length = nn.Parameter(torch.tensor(math.log(length)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        self.mean = nn.Parameter(torch.zeros(()))

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """The process after the support.

        Returns:
            "places" [n, d], the embeddings as the kernel takes them; "real" [n], 1 for a row that
            counts; "factor" [n, n] of their covariances, in units of the scale; "weights" [n, k] of
            the rows in a prediction; and for classes "counts" [way].
        """
        values, real, counts = self._values(support.y, support.mask, support)
        places = self._places(z)
        factor = self._factor(places, real)
        weights = torch.cholesky_solve(values, factor)
        state = {"places": places, "real": real, "factor": factor, "weights": weights}
        return state if self.targets == "values" else state | {"counts": counts}

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Tensor:
        """Means [m, k]; or logits [m, way], the log odds of 1 against -1 in each class's process.

        The log density of 1 less that of -1 is 2 mean / variance, so a softmax of them gives the
        probabilities of the one-hot labels.
        """
        means, variances = self._predictive(state, z)
        if self.targets == "values":
            return means
        return forbid_absent(2 * means / variances, state["counts"])

    def predictive(
        self, state: State, x: Inputs
    ) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m k"]]:
        """Means, and variances of what would be observed, noise included.

        Of classes, those of the values 1 and -1 that stand for them.
        """
        return self._predictive(state, self.embed(x))

    def loss_of(self, z: Float[Tensor, "n_and_m d"], task: Task) -> Float[Tensor, ""]:
        """Negative log marginal likelihood of support and query together, per number."""
        y, mask = (torch.cat([getattr(half, name) for half in task]) for name in ("y", "mask"))
        values, real, counts = self._values(y, mask, task.support)
        factor = self._factor(self._places(z), real)
        white = torch.linalg.solve_triangular(factor, values, upper=False)
        number, scale = real.sum(), self.log_scale.exp()
        volume = 2 * factor.diagonal().log().sum() + number * (2 * math.pi * scale).log()
        each = (white.square().sum(0) / scale + volume) / 2
        there = (counts > 0).to(each.dtype)
        loss: Tensor = (each * there).sum() / (number * there.sum()).clamp(min=1)
        return loss

    def _values(
        self, y: Float[Tensor, "n k"], mask: Float[Tensor, " n"], support: Examples
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Targets [n, k] less the mean, which rows count [n], and examples of each target [k].

        Of classes, only those that have support count.
        """
        if self.targets == "values":
            real, counts = mask, support.mask.sum().expand(y.shape[1])
        else:
            counts = (support.y * support.mask[:, None]).sum(0)
            labels = y * (counts > 0)
            real, y = mask * labels.sum(1), 2 * labels - 1
        return real[:, None] * (y - self.mean), real, counts

    def _places(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if self.kernel == "cosine":
            return normalize(z, dim=-1)
        length: Tensor | float = self.log_length.exp() if self.kernel == "rbf" else 1.0
        return z / (math.sqrt(z.shape[1]) * length)

    def _covariances(
        self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]
    ) -> Float[Tensor, "n m"]:
        """Of the function between places, in units of the scale."""
        return (-squared_distances(a, b) / 2).exp() if self.kernel == "rbf" else a @ b.T

    def _noise(self) -> Float[Tensor, ""]:
        return FLOOR + self.log_noise.exp()

    def _factor(
        self, places: Float[Tensor, "n d"], real: Float[Tensor, " n"]
    ) -> Float[Tensor, "n n"]:
        """The lower factor of the observations' covariances; that of 1 where nothing is real."""
        covariances = self._covariances(places, places) * real * real[:, None]
        own = torch.where(real > 0, self._noise(), torch.ones_like(real))
        return cholesky(covariances + own.diag(), "the Gaussian process", "the noise")

    def _predictive(self, state: State, z: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
        places, weights = self._places(z), state["weights"]
        near = self._covariances(places, state["places"]) * state["real"]
        means = self.mean + near @ weights
        white = torch.linalg.solve_triangular(state["factor"], near.T, upper=False)
        own = places.square().sum(1) if self.kernel != "rbf" else near.new_ones(len(near))
        unsure = (own - white.square().sum(0)).clamp(min=0) + self._noise()
        return means, (self.log_scale.exp() * unsure)[:, None].expand_as(means)
