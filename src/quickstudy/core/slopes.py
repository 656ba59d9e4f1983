"""The derivatives of an inner loop's loss, as the steps of `descend` take them."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from quickstudy.core.rule import Params

Loss = Callable[[Params, int], Tensor]
"""Parameters and the step, 0..steps-1, to a scalar."""


class Slopes(Protocol):
    """Derivatives of one loss at given parameters, as numbers without a graph."""

    def gradient(self, params: Params, step: int) -> Params:
        """The first derivative."""
        ...

    def product(self, params: Params, step: int, vector: Params) -> Params | None:
        """The second derivative times a vector; None where it is not known how."""
        ...


def transformed() -> bool:
    """Inside of torch's transforms and in inference mode plain autograd cannot be used."""
    return torch._C._are_functorch_transforms_active() or torch.is_inference_mode_enabled()


def gradient_of(loss: Loss, constant: bool) -> Callable[[Params, int], Params]:
    """The gradient of a loss, for whoever differentiates it again or, if `constant`, does not.

    Plain autograd may run kernels that are right outside of transforms only, and takes two thirds
    of the time.

    Examples:
        >>> slope = gradient_of(lambda params, step: (params["w"] ** 2).sum(), constant=True)
        >>> slope({"w": torch.ones(2)}, 0)
        {'w': tensor([2., 2.])}
    """

    def gradient(params: Params, step: int) -> Params:
        needed = any(p.requires_grad for p in params.values())
        if transformed() or not (constant or needed):
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
