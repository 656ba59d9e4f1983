"""The closed forms that learners share: prototypes, distances, ridge regression.

Each is written for one task, respects the mask, and runs under `torch.func.vmap`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from quickstudy.errors import TaskError

ABSENT = -1e9
"""The logit of a way that has no support: never chosen, never NaN, finite in the loss."""

LEAST_SQUARE = 1e-3
"""Added to the mean square that `centre_and_spread` takes the root of."""


def zero_masked(rows: Float[Tensor, "n *d"], mask: Float[Tensor, " n"]) -> Float[Tensor, "n *d"]:
    """The same rows with zeros where the mask is 0.

    A product with the mask would not do: a masked row may hold anything, and 0 * NaN is NaN.

    Examples:
        >>> zero_masked(torch.tensor([[1.0], [torch.nan]]), torch.tensor([1, 0]))
        tensor([[1.],
                [0.]])
    """
    real = mask.view(-1, *(1,) * (rows.ndim - 1)) > 0
    return torch.where(real, rows, torch.zeros_like(rows))


def class_sums(
    z: Float[Tensor, "n d"], y: Float[Tensor, "n way"], mask: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "way d"], Float[Tensor, " way"]]:
    """The sum of the embeddings of each class and the number of its examples.

    Args:
        z: embeddings, [n, d].
        y: one-hot labels, [n, way]; unlabelled rows are all zero.
        mask: [n], 1 for a real row.

    Returns:
        Sums [way, d] and counts [way].

    Examples:
        >>> z = torch.tensor([[1., 0.], [3., 0.], [9., 9.]])
        >>> class_sums(z, torch.tensor([[1., 0.], [1., 0.], [0., 1.]]), torch.tensor([1., 1., 0.]))
        (tensor([[4., 0.],
                [0., 0.]]), tensor([2., 0.]))
    """
    weight = zero_masked(y, mask).to(z.dtype)
    return weight.T @ zero_masked(z, mask), weight.sum(0)


def prototypes(
    z: Float[Tensor, "n d"], y: Float[Tensor, "n way"], mask: Float[Tensor, " n"]
) -> Float[Tensor, "way d"]:
    """The mean embedding of each class (Snell et al. 2017, eq. 1); zero for a class without one.

    Examples:
        >>> z = torch.tensor([[1., 0.], [3., 0.], [0., 5.]])
        >>> prototypes(z, torch.tensor([[1., 0.], [1., 0.], [0., 1.]]), torch.ones(3))
        tensor([[2., 0.],
                [0., 5.]])
    """
    sums, counts = class_sums(z, y, mask)
    return sums / counts.clamp(min=1)[:, None]


def centre_and_spread(
    z: Float[Tensor, "n d"], mask: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """The mean of the real rows, and one number for how far from it they lie in each dimension.

    The root of their mean square, and of a little more: one row alone has no spread.

    Examples:
        >>> z = torch.tensor([[1.0, 2.0], [5.0, 2.0], [9.0, 9.0]])
        >>> centre_and_spread(z, torch.tensor([1.0, 1.0, 0.0]))
        (tensor([3., 2.]), tensor(1.4146))
    """
    each = (mask / mask.sum().clamp(min=1))[:, None]
    centre = (z * each).sum(0)
    square = ((z - centre).square() * each).sum() / z.shape[1]
    return centre, (square + LEAST_SQUARE).sqrt()


def squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Squared Euclidean distances between the rows of two matrices.

    Written as |a|^2 - 2ab + |b|^2, one matrix product instead of an [n, m, d] difference; about
    the mean of b, as squares of large numbers would cancel in float32. Never negative.

    Examples:
        >>> squared_distances(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.], [1., 0.]]))
        tensor([[25.,  1.]])
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :]
    return (squares - 2 * a @ b.T).clamp(min=0)


def cosine_similarities(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Cosines of the angles between the rows of two matrices; 0 for a row of zeros.

    Examples:
        >>> cosine_similarities(torch.tensor([[2., 0.]]), torch.tensor([[3., 0.], [0., 1.]]))
        tensor([[1., 0.]])
    """
    return torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).T


def ridge(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n k"],
    mask: Float[Tensor, " n"],
    penalty: Float[Tensor, ""] | float,
) -> Float[Tensor, "d k"]:
    """Ridge regression weights, argmin |zw - y|^2 + penalty |w|^2 over the real rows.

    Solves whichever system is smaller: [d, d], or [n, n] by the Woodbury identity
    (Bertinetto et al. 2019, eq. 4 and 6).

    Args:
        z: features, [n, d].
        y: targets, [n, k].
        mask: [n], 1 for a real row.
        penalty: > 0; the larger, the smaller the weights.

    Returns:
        Weights [d, k]; all NaN where the features are not finite, or their squares are not.

    Raises:
        TaskError: a penalty that is not positive, or too small for the features: in floating point
            the system has no single solution.

    Examples:
        >>> z = torch.eye(2)
        >>> ridge(z, torch.tensor([[2.], [4.]]), torch.ones(2), penalty=1.0)
        tensor([[1.],
                [2.]])
    """
    if not isinstance(penalty, Tensor) and not penalty > 0:
        raise TaskError(f"a ridge penalty must be positive, got {penalty}")
    n, d = z.shape
    z, y = zero_masked(z, mask), zero_masked(y, mask)
    if n < d:
        return z.T @ _solve(z @ z.T, penalty, y)
    return _solve(z.T @ z, penalty, z.T @ y)


def _solve(gram: Tensor, penalty: Tensor | float, right: Tensor) -> Tensor:
    """(gram + penalty I)^-1 right, of one system or many."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = cholesky(gram + penalty * eye, "the ridge regression", "the penalty")
    return torch.cholesky_solve(right, factor)


def cholesky(
    system: Float[Tensor, "*many n n"], what: str, term: str
) -> Float[Tensor, "*many n n"]:
    """The lower Cholesky factor, which finds out a system that has no solution.

    NaN for a system that is not finite: what is wrong came before it, in features that have blown
    up, and whoever sees the loss decides (`Fit` stops, or skips the step).

    Args:
        system: symmetric and positive, but for rounding.
        what: is being solved, for the message.
        term: what on the diagonal has become too small, for the message.

    Raises:
        TaskError: a system that is singular in floating point.

    Examples:
        >>> cholesky(torch.tensor([[4.0, 0.0], [0.0, 9.0]]), "the regression", "the penalty")
        tensor([[2., 0.],
                [0., 3.]])
    """
    eye = torch.eye(system.shape[-1], dtype=system.dtype, device=system.device)
    finite = system.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    try:
        factor = torch.linalg.cholesky(torch.where(finite, system, eye))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise TaskError(
            f"{what} is singular: examples repeat each other and {term} is too small to tell "
            "them apart; wanted a larger one"
        ) from None
    return torch.where(finite, factor, torch.nan)


def logistic(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n way"],
    mask: Float[Tensor, " n"],
    penalty: Float[Tensor, ""] | float,
    steps: int,
) -> Float[Tensor, "d way"]:
    """Logistic regression of each class against all others, by Newton's method from zero weights.

    Each column minimises the sum of its log losses and penalty / 2 times its square (Bertinetto et
    al. 2019, section 3.3). Solves whichever systems are smaller: [d, d], or [n, n] in the form of
    Rasmussen & Williams 2006, algorithm 3.1, in float64 where the device has it. Neither divides
    by a weight p (1 - p), which vanishes where the regression is sure.

    Args:
        z: features, [n, d].
        y: one-hot labels, [n, way].
        mask: [n], 1 for a real row.
        penalty: > 0; the larger, the smaller the weights.
        steps: of Newton's method.

    Returns:
        Weights [d, way]; NaN where the features are not finite, or their squares are not.

    Raises:
        TaskError: a penalty that has become too small for the features, with n >= d.

    Examples:
        >>> z, y = torch.tensor([[1.0], [-1.0]]), torch.eye(2)
        >>> logistic(z, y, torch.ones(2), penalty=1.0, steps=8)  # w = 2 sigmoid(-w)
        tensor([[ 0.6748, -0.6748]])
    """
    n, d = z.shape
    z, y = zero_masked(z, mask), zero_masked(y, mask)
    real = (mask > 0).to(z.dtype)[:, None]
    # What is left of `right` below may be far smaller than what is taken from it.
    exact = z if z.device.type == "mps" else z.double()  # which knows no float64
    gram = exact @ exact.T / penalty
    weights = z.new_zeros(d, y.shape[1])
    for _ in range(steps):
        scores = z @ weights
        # The root of p (1 - p), not by a square root, whose slope at 0 is infinite.
        slopes = real * (0.5 * (logsigmoid(scores) + logsigmoid(-scores))).exp()
        right = slopes.square() * scores + y - real * scores.sigmoid()
        root = slopes.T[:, :, None]
        if n < d:
            root, right = root.to(gram), right.to(gram)
            system = torch.eye(n, dtype=gram.dtype, device=z.device) + root * gram * root.mT
            factor = cholesky(system, "the logistic regression", "the penalty")
            inner = torch.cholesky_solve(root * (gram @ right).T[:, :, None], factor)
            weights = (exact.T @ (right - (root * inner)[:, :, 0].T) / penalty).to(z)
        else:
            seen = root * z
            weights = _solve(seen.mT @ seen, penalty, (z.T @ right).T[:, :, None])[:, :, 0].T
    return weights


def conjugate_gradients(
    multiply: Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]],
    b: Float[Tensor, " n"],
    steps: int,
) -> Float[Tensor, " n"]:
    """The solution of A x = b for a symmetric, positive definite A, from its products alone.

    Hestenes & Stiefel 1952, from zeros, always so many steps; exact after n of them but for
    rounding. Goes no further along a direction in which A is not positive.

    Args:
        multiply: v to A v.
        b: the right side, [n].
        steps: how many, >= 0; each is one product.

    Examples:
        >>> a = torch.tensor([[2., 1.], [1., 3.]])
        >>> conjugate_gradients(lambda v: a @ v, torch.tensor([3., 4.]), steps=2)
        tensor([1.0000, 1.0000])
    """
    x, residual, direction = torch.zeros_like(b), b, b
    square = residual @ residual
    for _ in range(steps):
        product = multiply(direction)
        curvature = direction @ product
        positive = curvature > 0
        length = torch.where(positive, square / torch.where(positive, curvature, 1.0), 0.0)
        x = x + length * direction
        residual = residual - length * product
        before, square = square, residual @ residual
        # Where no step was taken, nothing is added to the direction, and none will be.
        share = torch.where(positive, square / before.clamp(min=torch.finfo(b.dtype).tiny), 0.0)
        direction = torch.where(positive, residual, direction) + share * direction
    return x


def forbid_absent(
    logits: Float[Tensor, "m way"], counts: Float[Tensor, " way"]
) -> Float[Tensor, "m way"]:
    """Logits in which a way without support is never chosen.

    Examples:
        >>> forbid_absent(torch.zeros(1, 2), torch.tensor([3., 0.]))
        tensor([[ 0.0000e+00, -1.0000e+09]])
    """
    return torch.where(counts > 0, logits, torch.full_like(logits, ABSENT))
