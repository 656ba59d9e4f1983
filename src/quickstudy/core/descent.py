"""The inner loop: follow an update rule down a loss, and differentiate through it.

The derivative of K steps needs no more than the K parameter vectors: going back, each step is done
once more, with a graph, and takes one Hessian-vector product. Memory is then flat in K, and the
gradient is the same. Keeping the graphs of all steps, as is usual, grows with K and saves the doing
once more: `kept` says for how many steps, the last ones, whose graphs are wanted first.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from quickstudy.core.rule import Params, RuleState, UpdateRule
from quickstudy.core.tasks import leaves, tree_map
from quickstudy.errors import TaskError

T = TypeVar("T")
Loss = Callable[[Params, int], Tensor]


def descend(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    steps: int,
    first_order: bool = False,
    kept: int | None = None,
) -> Params:
    """Follow a rule down a loss: MAML's inner loop, and the unroll of a learned optimizer.

    Differentiable in `params` and in the rule's own parameters, to second order unless
    `first_order` asks for gradients that are treated as constants (Finn et al. 2017, 5.2).
    Works under `torch.func.vmap`, and under `torch.no_grad` for deployment.

    Args:
        rule: how to move.
        loss: parameters and the step, 0..steps-1, to a scalar; a step may have its own examples.
        params: where to start; not changed.
        steps: how many updates.
        first_order: detach the inner gradients.
        kept: how many steps, the last ones, keep their graphs, >= 1; all where None. The others
            cost one more gradient each and no memory but their parameters, and `loss` must read
            nothing else there that needs a gradient. Inside of torch's transforms all are kept.

    Returns:
        The parameters after the last step.

    Raises:
        TaskError: fewer than one step is to be kept; or (in the backward pass) not all are, and
            the loss reads a tensor that needs a gradient and is neither in `params` nor of the rule.

    Examples:
        >>> from quickstudy.core import SGD
        >>> def loss(params, step):
        ...     return (params["w"] ** 2).sum()
        >>> descend(SGD(0.25), loss, {"w": torch.ones(2)}, steps=2)["w"]
        tensor([0.2500, 0.2500])
    """
    if kept is not None and kept < 1:
        raise TaskError(f"at least one step keeps its graph, got {kept}")
    state = rule.init(params)
    second_order = torch.is_grad_enabled() and not first_order
    done = 0 if kept is None else max(0, steps - kept)
    if not second_order or _transformed():
        done = 0
    if done:
        params, state = _Replayed.run(rule, loss, params, state, done)
    for after in _follow(rule, loss, params, state, range(done, steps), second_order):
        params = after
    return params


def path(
    rule: UpdateRule, loss: Loss, params: Params, steps: int, first_order: bool = False
) -> Iterator[Params]:
    """As `descend`, the parameters after every step, for losses that look at all of them.

    Examples:
        >>> from quickstudy.core import SGD
        >>> def loss(params, step):
        ...     return (params["w"] ** 2).sum()
        >>> [p["w"].item() for p in path(SGD(0.25), loss, {"w": torch.ones(())}, steps=2)]
        [0.5, 0.25]
    """
    second_order = torch.is_grad_enabled() and not first_order
    return _follow(rule, loss, params, rule.init(params), range(steps), second_order)


def _follow(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    state: RuleState,
    steps: range,
    second_order: bool,
) -> Iterator[Params]:
    gradient = _gradient(loss, constant=not second_order)
    for step in steps:
        # Under no_grad the inner gradient is computed all the same, but leaves no graph behind.
        with torch.set_grad_enabled(second_order):
            grads = gradient(params, step)
        params, state = rule.update(params, grads, state)
        yield params


def _transformed() -> bool:
    """Inside of torch's transforms and in inference mode plain autograd cannot be used."""
    return torch._C._are_functorch_transforms_active() or torch.is_inference_mode_enabled()


def _gradient(loss: Loss, constant: bool) -> Callable[[Params, int], Params]:
    """The gradient of a loss, for whoever differentiates it again or, if `constant`, does not.

    Plain autograd may run kernels that are right outside of transforms only, and takes two thirds
    of the time.
    """

    def gradient(params: Params, step: int) -> Params:
        needed = any(p.requires_grad for p in params.values())
        if _transformed() or not (constant or needed):
            found: Params = torch.func.grad(loss)(params, step)
            return found
        if constant:
            params = {name: p.detach() for name, p in params.items()}
        # Views, as the loss may also read what was made of the very same parameters before, a
        # head of prototypes say: that is no way by which they act on it here.
        asked = {
            k: p.view_as(p) if p.requires_grad else p.detach().requires_grad_()
            for k, p in params.items()
        }
        with torch.enable_grad():
            value = loss(asked, step)
        grads = torch.autograd.grad(
            value, list(asked.values()), create_graph=not constant, materialize_grads=True
        )
        return dict(zip(asked, grads, strict=True))

    return gradient


class _Replayed(torch.autograd.Function):
    """Several steps whose graphs are made on the way back, one at a time."""

    @staticmethod
    def run(
        rule: UpdateRule, loss: Loss, params: Params, state: RuleState, steps: int
    ) -> tuple[Params, RuleState]:
        """Parameters and the rule's state after so many steps."""
        start = (params, state)
        learned = [p for p in rule.parameters() if p.requires_grad]
        told = (rule, loss, start, steps, learned)
        ends = _Replayed.apply(told, *leaves(start), *learned)  # type: ignore[no-untyped-call]
        return _like(start, ends)

    @staticmethod
    def forward(ctx: Any, told: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        rule, loss, start, steps, _ = told
        gradient = _gradient(loss, constant=True)
        params, state = tree_map(Tensor.detach, start)
        places = []
        for step in range(steps):
            places.append((params, state))
            params, state = rule.update(params, gradient(params, step), state)
        ctx.told, ctx.places = told, places
        return tuple(leaves((params, state)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rule, loss, _, steps, learned = ctx.told
        for_learned = [torch.zeros_like(p) for p in learned]
        for step in reversed(range(steps)):
            with torch.enable_grad():
                place = tree_map(lambda t: t.detach().requires_grad_(), ctx.places.pop())
                params, state = place
                after = rule.update(params, _gradient(loss, constant=False)(params, step), state)
            ours = [*leaves(place), *learned]
            ends = leaves(after)
            _check_closed(ends, ours)
            wanted = torch.autograd.grad(ends, ours, grads, materialize_grads=True)
            grads = wanted[: len(ours) - len(learned)]
            for total, more in zip(for_learned, wanted[len(grads) :], strict=True):
                total += more
        return None, *grads, *for_learned


def _like(tree: T, tensors: Any) -> T:
    """The same structure, holding other tensors."""
    each = iter(tensors)
    return tree_map(lambda _: next(each), tree)


def _check_closed(ends: list[Tensor], known: list[Tensor]) -> None:
    """A gradient that would be lost without a word is refused."""
    allowed = set(map(id, known))
    seen: set[Any] = set()
    ahead = [end.grad_fn for end in ends]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in allowed:
            raise TaskError(
                f"the inner loss reads a tensor {list(leaf.shape)} that needs a gradient and is "
                "not among the parameters; wanted kept=None"
            )
        ahead += [before for before, _ in node.next_functions]
