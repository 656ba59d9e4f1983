"""Update rules: how parameters move along a gradient, in an inner loop or an optimizer's unroll.

A rule is a pair of pure functions over dicts of tensors, as in optax: `init` makes its state and
`update` returns new parameters and a new state. `descend` drives any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.errors import TaskError

Params = dict[str, Tensor]
RuleState = Any


class UpdateRule(nn.Module, ABC):
    """How parameters move: `init` makes a state, `update` returns new parameters and a new state.

    A module, so that a rule may hold meta-learned parameters of its own (learned rates, a learned
    optimizer) which the outer loop trains with all others.
    """

    def init(self, params: Params) -> RuleState:
        """The state before the first step: nested dicts and tuples of tensors; none by default."""
        return ()

    @abstractmethod
    def update(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step. Changes neither argument.

        Args:
            params: name to tensor.
            grads: the same names, the same shapes.
            state: what `init` or the last `update` returned.

        Returns:
            New parameters and the new state.
        """


class SGD(UpdateRule):
    """Gradient descent, p - rate * g (Finn et al. 2017, eq. 1), with optional heavy-ball momentum.

    Args:
        rate: the step size, > 0.
        momentum: in [0, 1).

    Raises:
        TaskError: an argument is out of range.

    Examples:
        >>> rule = SGD(0.5)
        >>> rule.update({"w": torch.ones(1)}, {"w": torch.ones(1)}, rule.init({}))[0]
        {'w': tensor([0.5000])}
    """

    def __init__(self, rate: float = 0.1, momentum: float = 0.0) -> None:
        super().__init__()
        if not rate > 0:
            raise TaskError(f"an inner rate must be positive, got {rate}")
        if not 0 <= momentum < 1:
            raise TaskError(f"momentum must lie in [0, 1), got {momentum}")
        self.rate = rate
        self.momentum = momentum

    def init(self, params: Params) -> RuleState:
        """Zero velocities where there is momentum, else nothing."""
        return {k: torch.zeros_like(p) for k, p in params.items()} if self.momentum else ()

    def update(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step of descent."""
        if self.momentum:
            state = {k: self.momentum * state[k] + g for k, g in grads.items()}
            grads = state
        return {k: p - self.rate * grads[k] for k, p in params.items()}, state


def descend(
    rule: UpdateRule,
    loss: Callable[[Params], Tensor],
    params: Params,
    steps: int,
    first_order: bool = False,
) -> Params:
    """Follow a rule down a loss: MAML's inner loop, and the unroll of a learned optimizer.

    Differentiable in `params` and in the rule's own parameters, to second order unless
    `first_order` asks for gradients that are treated as constants (Finn et al. 2017, 5.2).
    Works under `torch.func.vmap`, and under `torch.no_grad` for deployment.

    Args:
        rule: how to move.
        loss: parameters to a scalar.
        params: where to start; not changed.
        steps: how many updates.
        first_order: detach the inner gradients.

    Returns:
        The parameters after the last step.

    Examples:
        >>> after = descend(SGD(0.25), lambda p: (p["w"] ** 2).sum(), {"w": torch.ones(2)}, steps=2)
        >>> after["w"]
        tensor([0.2500, 0.2500])
    """
    state = rule.init(params)
    gradient = torch.func.grad(loss)
    for _ in range(steps):
        # Under no_grad the inner gradient is computed all the same, but leaves no graph behind.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
            grads = gradient(params)
        params, state = rule.update(params, grads, state)
    return params
