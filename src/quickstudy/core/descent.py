"""The inner loop: follow an update rule down a loss, and differentiate through it.

The derivative of K steps needs no more than the parameters at some of them: going back, each step
is done once more, with a graph, and takes one Hessian-vector product (`replay`). Memory is then
flat in K, and the gradient is the same. Keeping the graphs of all steps, as is usual, grows with K
and saves the doing once more: `kept` says for how many steps, the last ones, whose graphs are
wanted first.
"""

from collections.abc import Iterator

import torch

from quickstudy.core.replay import replayed
from quickstudy.core.rule import Params, RuleState, UpdateRule
from quickstudy.core.slopes import Loss, Slopes, gradient_of, transformed
from quickstudy.errors import TaskError


def descend(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    steps: int,
    first_order: bool = False,
    kept: int | None = None,
    slopes: Slopes | None = None,
    first: Params | None = None,
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
        kept: how many steps, the last ones, keep their graphs, >= 0; all where None. The others
            cost one more gradient each and no memory but their parameters, and `loss` must read
            nothing else there that needs a gradient. Inside of torch's transforms all are kept.
        slopes: a quicker way to the loss's derivatives in the steps that keep no graph, compiled
            ones say.
        first: the gradient at `params`, from which they are differentiated as well, for whoever
            has it at less cost than the loss's; asked of the loss where None.

    Returns:
        The parameters after the last step.

    Raises:
        TaskError: fewer than no step is to be kept; or (in the backward pass) not all are, and
            the loss reads a tensor that needs a gradient, neither in `params` nor of the rule.

    Examples:
        >>> from quickstudy.core import SGD
        >>> def loss(params, step):
        ...     return (params["w"] ** 2).sum()
        >>> descend(SGD(0.25), loss, {"w": torch.ones(2)}, steps=2)["w"]
        tensor([0.2500, 0.2500])
    """
    if kept is not None and kept < 0:
        raise TaskError(f"no fewer than zero steps keep their graphs, got {kept}")
    state = rule.init(params)
    second_order = torch.is_grad_enabled() and not first_order
    begin = 0
    if first is not None and steps:
        params, state = rule.update(params, first, state)
        begin = 1
    done = begin if kept is None else max(begin, steps - kept)
    if not second_order or transformed():
        done = begin
    if done > begin:
        params, state = replayed(rule, loss, params, state, range(begin, done), slopes)
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
    gradient = gradient_of(loss, constant=not second_order)
    for step in steps:
        # Under no_grad the inner gradient is computed all the same, but leaves no graph behind.
        with torch.set_grad_enabled(second_order):
            grads = gradient(params, step)
        params, state = rule.update(params, grads, state)
        yield params
