"""The derivatives of an inner loop's loss, compiled.

Autograd's own walk through a small net costs as much as the arithmetic in it. Here the first
derivative and the Hessian's product with a vector are traced, once for each shape of support, and
given to torch's compiler. Where that fails (no C++ compiler, a net that looks at numbers to decide
what to do) the loop goes on without.
"""

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from quickstudy.core import Examples
from quickstudy.core.replay import check_closed
from quickstudy.core.rule import Params
from quickstudy.core.slopes import Loss, Slopes, gradient_of
from quickstudy.core.tasks import leaves, tree_map
from quickstudy.nets.norm import checked_before
from quickstudy.nets.norm_pool import PooledBatchNorm, readable

Function = Callable[[list[Tensor]], Sequence[Tensor]]


class Compiled(NamedTuple):
    """Functions of parameters and support, in a row; the product also of a vector.

    Attributes:
        gradient: the first derivative.
        product: the second derivative times the vector.
        seconds: what tracing and compiling took.
    """

    gradient: Function
    product: Function
    seconds: float


_kept: WeakKeyDictionary[nn.Module, dict[Any, Compiled | None]] = WeakKeyDictionary()
"""By learner and shapes; None where it cannot be. Not on the learner, which is copied, stored."""


_one_at_a_time = threading.Lock()
"""torch's tracing serves one thread."""


class CompiledSlopes(Slopes):
    """The derivatives of one support set's loss; see `slopes_of`."""

    def __init__(
        self, functions: Compiled, loss: Loss, support: Examples, norms: Sequence[str]
    ) -> None:
        self.functions = functions
        self.loss = loss
        self.support = leaves(support)
        self.norms = norms

    def gradient(self, params: Params, step: int) -> Params:
        """The first derivative."""
        if not self._as_traced(params):
            return gradient_of(self.loss, constant=True)(params, step)
        with torch.no_grad():
            found = self.functions.gradient([*params.values(), *self.support])
        return dict(zip(params, found, strict=True))

    def product(self, params: Params, step: int, vector: Params) -> Params | None:
        """The second derivative times a vector; None where a norm's scale was driven too low."""
        if not self._as_traced(params):
            return None
        with torch.no_grad():
            found = self.functions.product([*params.values(), *self.support, *vector.values()])
        return dict(zip(params, found, strict=True))

    def _as_traced(self, params: Params) -> bool:
        return all(
            bool(readable(params[f"{name}.weight"], params[f"{name}.bias"]).all())
            for name in self.norms
        )


def slopes_of(
    learner: nn.Module, inner: Callable[[Examples], Loss], params: Params, support: Examples
) -> Slopes | None:
    """Compiled derivatives of a support set's loss; None where they cannot be had.

    The first support set of a shape takes half a minute, see `seconds_compiling`. Numbers that the
    net holds beside its parameters and buffers stay what they are when it is traced.

    Args:
        learner: whose modules the loss runs; parameters go by the names that they have there.
        inner: a support set to its loss, which must be the same function of it at every step.
        params: where the loop starts.
        support: without padding, or there is nothing to be had.

    Raises:
        TaskError: the loss reads a tensor that needs a gradient and is not among the parameters.
    """
    if not bool(support.mask.all()):
        return None
    of_shape = _kept.setdefault(learner, {})
    given = [p.detach() for p in params.values()] + leaves(support)
    key = (*_said(learner), *((t.shape, t.stride(), t.dtype, t.device) for t in given))
    with _one_at_a_time:
        if key not in of_shape:
            of_shape[key] = _compile(learner, inner, params, support)
    functions = of_shape[key]
    if functions is None:
        return None
    norms = [name for name, m in learner.named_modules() if isinstance(m, PooledBatchNorm)]
    return CompiledSlopes(functions, inner(support), support, norms)


def _said(learner: nn.Module) -> tuple[Any, ...]:
    """What a trace holds fast of a learner, beside shapes: another answer, another trace."""
    modes = tuple(module.training for module in learner.modules())
    buffers = tuple(id(buffer) for buffer in learner.buffers())
    return getattr(learner, "objective", None), modes, buffers


def seconds_compiling(learner: nn.Module) -> float:
    """What tracing and compiling took for a learner so far.

    Examples:
        >>> seconds_compiling(nn.Linear(1, 1))
        0
    """
    return sum(found.seconds for found in _kept.get(learner, {}).values() if found)


def _compile(
    learner: nn.Module, inner: Callable[[Examples], Loss], params: Params, support: Examples
) -> Compiled | None:
    names, count = list(params), len(leaves(support))

    @torch.enable_grad()
    def gradient(given: list[Tensor], again: bool = False) -> tuple[list[Tensor], Any]:
        asked = [p.detach().requires_grad_() for p in given[: len(names)]]
        rest = iter(given[len(names) :])
        task = tree_map(lambda _: next(rest), support)
        value = inner(task)(dict(zip(names, asked, strict=True)), 0)
        return asked, torch.autograd.grad(value, asked, create_graph=again, materialize_grads=True)

    def product(given: list[Tensor]) -> Any:
        asked, found = gradient(given, again=True)
        vector = given[len(names) + count :]
        return torch.autograd.grad(found, asked, vector, materialize_grads=True)

    start = [*(p.detach() for p in params.values()), *leaves(support)]
    along = [torch.ones_like(p) for p in start[: len(names)]]
    before = torch.get_rng_state()
    asked, slope = gradient(start, again=True)
    check_closed(list(slope), asked)
    if not torch.equal(before, torch.get_rng_state()):
        _warn(learner, "it draws random numbers")
        return None
    began = time.perf_counter()
    try:
        first = _built(lambda given: gradient(given)[1], start)
        second = _built(product, [*start, *along])
    except Exception as error:  # whatever a compiler may lack, training goes on without it
        said = [line for line in str(error).splitlines() if line.strip()]
        _warn(learner, " ".join(said[:2]) or type(error).__name__)
        return None
    return Compiled(first, second, time.perf_counter() - began)


def _warn(learner: nn.Module, why: str) -> None:
    warnings.warn(
        f"{type(learner).__name__} goes on without compiled inner steps: {why}",
        RuntimeWarning,
        stacklevel=3,
    )


def _built(function: Function, given: list[Tensor]) -> Function:
    """A function traced on these numbers, compiled, and run once."""
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

    with checked_before(), torch.enable_grad():
        graph = make_fx(function)(given)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of itself
        compiled: Function = torch.compile(graph, dynamic=False)
        compiled(given)
    return compiled
