"""Update rules: how parameters move along a gradient, in an inner loop or an optimizer's unroll.

A rule is a pair of pure functions over dicts of tensors, as in optax: `init` makes its state and
`update` returns new parameters and a new state. `core.descent` drives any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

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

    def attach(self, params: Mapping[str, Tensor]) -> None:
        """Learn what there will be to move; called once, by the learner that holds the rule.

        A rule with a parameter for each of them makes these here. Nothing by default.

        Args:
            params: name to tensor. What `update` gets has the same names and shapes that these
                broadcast to: a head shared by all ways is one row here.
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


class LearnedRates(UpdateRule):
    """Gradient descent whose rates are meta-learned, p - rate[p] * g (Li et al. 2017, eq. 3).

    A rate may become negative, as in the paper. Differs: all start alike, not at random.

    Args:
        rate: where all of them start, > 0.
        per: "element", one for each number (Meta-SGD); or "tensor", one for each weight and each
            bias of each layer.

    Raises:
        TaskError: an argument is out of range.

    Examples:
        >>> rule = LearnedRates(0.5, per="tensor")
        >>> rule.attach({"w": torch.ones(2)})
        >>> rule.update({"w": torch.ones(2)}, {"w": torch.ones(2)}, ())[0]["w"].tolist()
        [0.5, 0.5]
        >>> rule.rates()
        {'w': 0.5}
    """

    def __init__(self, rate: float = 0.1, per: Literal["element", "tensor"] = "element") -> None:
        super().__init__()
        if not rate > 0:
            raise TaskError(f"an inner rate must be positive, got {rate}")
        if per not in ("element", "tensor"):
            raise TaskError(f"rates are learned per element or tensor, got {per!r}")
        self.rate = rate
        self.per = per
        self.learned = nn.ParameterDict()

    def attach(self, params: Mapping[str, Tensor]) -> None:
        """Make the rates.

        Raises:
            TaskError: there are some already, for parameters of other names or shapes.
        """
        wanted = self._like(params)
        if not self.learned:
            for key, like in wanted.items():
                self.learned[key] = nn.Parameter(torch.full_like(like.detach(), self.rate))
        elif [(k, p.shape) for k, p in wanted.items()] != [
            (k, r.shape) for k, r in self.learned.items()
        ]:
            raise TaskError(
                "these rates belong to another learner, whose parameters have other names or "
                "shapes; wanted a rule of its own for each: LearnedRates(...)"
            )

    def _like(self, params: Mapping[str, Tensor]) -> Params:
        """A tensor as the rates of each parameter are to be, by their keys."""
        return {key_of(n): p if self.per == "element" else p.sum() for n, p in params.items()}

    def update(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step of descent.

        Raises:
            TaskError: the rule was not attached to these parameters.
        """
        return {n: p - self._rate(n) * grads[n] for n, p in params.items()}, state

    def _rate(self, name: str) -> Tensor:
        if key_of(name) not in self.learned:
            raise TaskError(f"there is no rate for {name}: attach the rule to it first")
        rate: Tensor = self.learned[key_of(name)]
        return rate

    def rates(self) -> dict[str, float]:
        """The mean rate of each parameter, by its name; for plots."""
        return {name: mean for name, (mean, _, _) in self.spread().items()}

    def spread(self) -> dict[str, tuple[float, float, float]]:
        """The mean rate of each parameter, and between which two lie nine of ten of its rates."""
        return {key.replace("/", "."): _told(rates) for key, rates in self.learned.items()}


class StepRates(LearnedRates):
    """Learned rates of which every inner step has its own (Antoniou et al. 2019, section 4, LSLR).

    Steps beyond the last one that there are rates for take those of the last.

    Args:
        rate: where all of them start, > 0.
        steps: how many inner steps have rates of their own, >= 1.
        per: "tensor", one for each weight and each bias of each layer, as in the paper; or
            "element", one for each number.

    Raises:
        TaskError: an argument is out of range.

    Examples:
        >>> rule = StepRates(0.5, steps=2)
        >>> rule.attach({"w": torch.ones(2)})
        >>> rule.rates()
        {'w, step 1': 0.5, 'w, step 2': 0.5}
    """

    def __init__(
        self, rate: float = 0.1, steps: int = 5, per: Literal["element", "tensor"] = "tensor"
    ) -> None:
        super().__init__(rate, per)
        if steps < 1:
            raise TaskError(f"rates are learned for one inner step or more, got {steps}")
        self.steps = steps

    def _like(self, params: Mapping[str, Tensor]) -> Params:
        return {k: p.expand(self.steps, *p.shape) for k, p in super()._like(params).items()}

    def init(self, params: Params) -> RuleState:
        """How many steps were taken: none."""
        return {"taken": next(iter(params.values())).new_zeros(())} if params else {}

    def update(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step of descent, at the rates of its turn.

        Raises:
            TaskError: the rule was not attached to these parameters.
        """
        taken = state["taken"]
        turns = torch.arange(self.steps, device=taken.device)
        # A product with 0 and 1, not an index: the count is a tensor, and may be one of many tasks.
        now = (turns == taken.clamp(max=self.steps - 1)).to(taken.dtype)
        moved = {
            n: p - torch.tensordot(now, self._rate(n), dims=1) * grads[n] for n, p in params.items()
        }
        return moved, {"taken": taken + 1}

    def spread(self) -> dict[str, tuple[float, float, float]]:
        """As of `LearnedRates`, for every step."""
        return {
            f"{key.replace('/', '.')}, step {step}": _told(rates)
            for key, of_steps in self.learned.items()
            for step, rates in enumerate(of_steps, start=1)
        }


def _told(rates: Tensor) -> tuple[float, float, float]:
    """The mean, and the two between which lie nine of ten."""
    ends = torch.tensor([0.05, 0.95], dtype=torch.float64)
    numbers = rates.detach().cpu().double().flatten().sort().values
    low, high = numbers[(ends * (len(numbers) - 1)).round().long()].tolist()
    return float(numbers.mean()), low, high


def key_of(name: str) -> str:
    """A name that a module allows for a parameter: no dots."""
    return name.replace(".", "/")
