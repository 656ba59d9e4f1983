"""Inner steps whose graphs are made on the way back, one at a time.

On the way there only parameters are kept: of every step, or where there are many, of every
n-th, from which the others are made again (Chen et al. 2016, Training deep nets with sublinear
memory cost). The gradient is exact.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from quickstudy.core.rule import Params, RuleState, UpdateRule
from quickstudy.core.slopes import Loss, Slopes, gradient_of
from quickstudy.core.tasks import leaves, tree_map
from quickstudy.errors import TaskError

T = TypeVar("T")
ALL_KEPT = 8
"""Steps up to which the parameters of every one are kept."""


class Place(NamedTuple):
    """Where the loop stands.

    Attributes:
        params: the parameters.
        state: the rule's.
    """

    params: Params
    state: RuleState


Kept = tuple[Place, Params | None]
"""A place, and the gradient there if it is kept too."""


class Steps(NamedTuple):
    """What a run of inner steps is made of.

    Attributes:
        rule: how to move.
        loss: of the parameters.
        start: where to start.
        which: their numbers, as the loss is told them.
        slopes: a quicker way to the loss's derivatives; None where there is none.
        learned: the rule's parameters that ask for gradients.
    """

    rule: UpdateRule
    loss: Loss
    start: Place
    which: range
    slopes: Slopes | None
    learned: Sequence[Tensor]

    @property
    def read(self) -> list[Tensor]:
        """What a backward pass reads again."""
        return [*leaves(self.start), *self.learned]

    @property
    def apart(self) -> int:
        """Of every how many steps the place is kept."""
        count = len(self.which)
        return 1 if count <= ALL_KEPT else math.ceil(count**0.5)

    def after(self, place: Place, step: int) -> tuple[Place, Params]:
        """Where a step leads, without a graph; and the gradient that it took."""
        slope = self.slopes.gradient if self.slopes else gradient_of(self.loss, constant=True)
        found = slope(place.params, step)
        return Place(*self.rule.update(place.params, found, place.state)), found


def replayed(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    state: RuleState,
    which: range,
    slopes: Slopes | None = None,
) -> Place:
    """Parameters and the rule's state after these steps, as `descend` takes them.

    Raises:
        TaskError: (in the backward pass) the loss reads another tensor that needs a gradient.
    """
    learned = [p for p in rule.parameters() if p.requires_grad]
    steps = Steps(rule, loss, Place(params, state), which, slopes, learned)
    ends = _Replayed.apply(steps, *leaves(steps.start), *learned)  # type: ignore[no-untyped-call]
    return _like(steps.start, ends)


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Steps, *tensors: Tensor) -> tuple[Tensor, ...]:
        place, kept = tree_map(Tensor.detach, steps.start), []
        states, drawn = [_generators(tensors)], True
        for at, step in enumerate(steps.which):
            here = place
            place, slope = steps.after(place, step)
            if drawn:  # by dropout, say
                states.append(_generators(tensors))
                drawn = not all(map(torch.equal, states[0], states[1]))
            if at % steps.apart == 0:
                kept.append((here, slope if steps.slopes and steps.apart == 1 else None))
        ctx.steps, ctx.kept, ctx.states = steps, kept, states if drawn else None
        ctx.versions = [t._version for t in steps.read]
        return tuple(leaves(place))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *for_ends: Tensor) -> tuple[Tensor | None, ...]:
        steps: Steps = ctx.steps
        grads = list(for_ends)
        if ctx.versions != [t._version for t in steps.read]:
            raise TaskError(
                "parameters were changed in place between an inner loop and its backward pass"
            )
        if ctx.states is None:
            return None, *_way_back(steps, ctx.kept, None, grads)
        with torch.random.fork_rng(devices=_gpus(steps.read)):
            return None, *_way_back(steps, ctx.kept, ctx.states, grads)


def _way_back(
    steps: Steps, kept: list[Kept], states: list[list[Tensor]] | None, grads: list[Tensor]
) -> list[Tensor]:
    """Gradients for the start and for what the rule has learned; numbers are drawn as before."""
    totals = [torch.zeros_like(p) for p in steps.learned]
    for first in reversed(range(0, len(steps.which), steps.apart)):
        places: list[Kept] = [kept[first // steps.apart]]
        for at in range(first, min(first + steps.apart, len(steps.which)) - 1):
            if states:
                _draw_again(states[at], steps.read)
            places.append((steps.after(places[-1][0], steps.which[at])[0], None))
        while places:
            at = first + len(places) - 1
            if states:
                _draw_again(states[at], steps.read)
            *grads, for_learned = _back(steps, *places.pop(), steps.which[at], grads)
            for total, more in zip(totals, for_learned, strict=True):
                total += more
    return [*grads, *totals]


def _gpus(tensors: Sequence[Tensor]) -> list[int]:
    return sorted({t.get_device() for t in tensors if t.is_cuda})


def _generators(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Where torch's generators stand, the CPU's and those of the devices in use."""
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, _gpus(tensors))]


def _draw_again(states: list[Tensor], tensors: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for device, state in zip(_gpus(tensors), states[1:], strict=True):
        torch.cuda.set_rng_state(state, device)


def _back(
    steps: Steps, place: Place, slope: Params | None, step: int, grads: Any
) -> tuple[Any, ...]:
    """Gradients for where a step began, and last those for what the rule has learned."""
    place = tree_map(lambda t: t.detach().requires_grad_(t.is_floating_point()), place)
    slope, product = _derivatives(steps, place.params, slope, step)
    found = {name: g.detach().requires_grad_() for name, g in slope.items()}
    with torch.enable_grad():
        ends = leaves(steps.rule.update(place.params, found, place.state))
    known = [*leaves(place), *steps.learned]
    check_closed(ends, [*known, *found.values()])
    wanted = _along(ends, [*known, *found.values()], grads)
    vector = dict(zip(found, wanted[len(known) :], strict=True))
    more = product(vector)  # for the parameters, which come first in a place, and the learned
    count, at = len(place.params), len(leaves(place))
    here = [h + m for h, m in zip(wanted[:count], more[:count], strict=True)]
    learned = [w + m for w, m in zip(wanted[at : len(known)], more[count:], strict=True)]
    return *here, *wanted[count:at], learned


def _derivatives(
    steps: Steps, params: Params, slope: Params | None, step: int
) -> tuple[Params, Callable[[Params], list[Tensor]]]:
    """The gradient of the loss at parameters, and what a vector times its derivative is.

    The latter for the parameters, the Hessian's product, and for what the rule has learned.
    """
    if steps.slopes:
        numbers = {name: p.detach() for name, p in params.items()}
        slopes, slope = steps.slopes, slope or steps.slopes.gradient(numbers, step)

        def product(vector: Params) -> list[Tensor]:
            found = slopes.product(numbers, step, vector)
            if found is None:
                return _with_graph(steps, params, step)[1](vector)
            return [*found.values(), *map(torch.zeros_like, steps.learned)]

        return slope, product
    return _with_graph(steps, params, step)


def _with_graph(
    steps: Steps, params: Params, step: int
) -> tuple[Params, Callable[[Params], list[Tensor]]]:
    """As `_derivatives`, by autograd."""
    with torch.enable_grad():
        slope = gradient_of(steps.loss, constant=False)(params, step)
    asked = [*params.values(), *steps.learned]
    check_closed(list(slope.values()), asked)
    return slope, lambda vector: _along(list(slope.values()), asked, list(vector.values()))


def _along(ends: list[Tensor], asked: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
    """Gradients of the ends' products with vectors; zeros where nothing depends on anything."""
    pairs = [(end, v) for end, v in zip(ends, vectors, strict=True) if end.requires_grad]
    if not pairs:
        return [torch.zeros_like(t) for t in asked]
    moving, along = map(list, zip(*pairs, strict=True))
    able = [t for t in asked if t.requires_grad]  # not the whole numbers in a rule's state
    found = iter(torch.autograd.grad(moving, able, along, materialize_grads=True))
    return [next(found) if t.requires_grad else torch.zeros_like(t) for t in asked]


def _like(tree: T, tensors: Any) -> T:
    """The same structure, holding other tensors."""
    each = iter(tensors)
    return tree_map(lambda _: next(each), tree)


def check_closed(ends: list[Tensor], known: list[Tensor]) -> None:
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
