"""A stored learner told otherwise, or its net read by another method."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from quickstudy.core import Learner, Task
from quickstudy.core.batching import device_of
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import LEARNERS, checked_options, find, parameters
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nets import BatchNorm


def reading(learner: Learner, name: str, options: Mapping[str, Any] | None = None) -> Learner:
    """A learner on the net of another, weights and population statistics included.

    Methods that learn nothing beyond an embedding are used like this: `PTMAP` on the net of a
    `ProtoNet`, say. What the other learner itself adds to its net, a temperature or images that are
    shifted, does not come along.

    Args:
        learner: whose net it is; the two share it afterwards.
        name: of the method, in `quickstudy learners`.
        options: arguments of its constructor.

    Returns:
        The learner, in evaluation mode, where the net lies.

    Raises:
        RunError: no such method, one that reads no embedding or meta-learns more than one, a
            learner without a net, or one whose batch norms have no population statistics.
        TaskError: an option out of range.

    Examples:
        >>> from quickstudy.learners import ProtoNet
        >>> made = reading(ProtoNet(nn.Flatten()), "pt-map", {"power": 1.0})
        >>> type(made).__name__, made.power
        ('PTMAP', 1.0)
    """
    readers = [other for other, cls in LEARNERS.items() if "net" in parameters(cls)]
    cls = find(name, LEARNERS, "--learner", readers)
    own, net = type(learner).__name__, getattr(learner, "net", None)
    if not isinstance(net, nn.Module):
        raise RunError(f"{own} has no net that {cls.__name__} could read")
    if "net" not in parameters(cls):
        raise RunError(f"{cls.__name__} reads no net, so it takes no embedding of {own}")
    checked = checked_options(cls, options or {}, "--learner-option")
    made: Learner = cls(**{"net": net, **checked})
    there = {id(parameter) for parameter in net.parameters()}
    more = [n for n, p in made.named_parameters() if id(p) not in there]
    if more:
        raise RunError(
            f"{cls.__name__} meta-learns more than an embedding ({', '.join(more[:3])}), which "
            f"this {own} has not learned; meta-train it: quickstudy train --learner {cls.__name__}"
        )
    if made.targets != learner.targets:
        raise RunError(
            f"{own} learned an embedding for {learner.targets}, and {cls.__name__} is for "
            f"{made.targets}"
        )
    if isinstance(made, EmbeddingLearner) and _never_calibrated(net):
        raise RunError(
            f"{own} sets no population statistics of batch norms, which {cls.__name__} needs; "
            "wanted a run of a learner that does (ProtoNet, say), or a net with another norm"
        )
    return made.to(device_of(net)).eval()


def retold(learner: Learner, options: Mapping[str, Any]) -> Learner:
    """A trained learner with other constructor arguments; its weights stay what they are.

    Args:
        learner: the trained one, which is left alone.
        options: the arguments that change.

    Returns:
        The learner, in evaluation mode, where the other lies.

    Raises:
        RunError: an argument that it does not take, or one that is of its weights: where they
            start, or how many there are.
        TaskError: an option out of range.

    Examples:
        >>> from quickstudy.learners import ProtoNet
        >>> retold(ProtoNet(nn.Flatten()), {"shift": 1}).shift
        1
    """
    cls = type(learner)
    own = {name: getattr(learner, name) for name in parameters(cls)}
    checked = checked_options(cls, options, "--learner-option")
    plain, made = (_built(cls, own | more) for more in ({}, checked))
    begun, asked = plain.state_dict(), made.state_dict()
    same = begun.keys() == asked.keys() and all(torch.equal(v, asked[k]) for k, v in begun.items())
    if not same:
        raise RunError(
            f"--learner-option {', '.join(checked)}: what a {cls.__name__} is trained with, or "
            "starts from; this one is trained already"
        )
    dtypes = {p.dtype for p in learner.parameters()}
    made.to(device_of(learner), dtypes.pop() if len(dtypes) == 1 else None)
    made.load_state_dict(learner.state_dict())
    return made.eval()


def _built(cls: type[Learner], arguments: Mapping[str, Any]) -> Learner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = cls(**{name: deepcopy(value) for name, value in arguments.items()})
    return made.cpu()


def calibrates(learner: Learner) -> bool:
    """Whether a learner keeps figures of the meta-train tasks beyond its net's batch norms.

    Examples:
        >>> from quickstudy.learners import ProtoNet
        >>> calibrates(ProtoNet(nn.Flatten()))
        False
    """
    return type(learner).calibrate not in (Learner.calibrate, EmbeddingLearner.calibrate)


def calibrate_beside(learner: Any, batch: Task) -> None:
    """Calibrate what a learner keeps beyond its net, whose statistics stay as they are.

    Args:
        learner: with a net of another.
        batch: meta-train tasks, stacked.
    """
    before = {name: buffer.clone() for name, buffer in learner.net.named_buffers()}
    with torch.no_grad():
        learner.calibrate(batch)
        for name, buffer in learner.net.named_buffers():
            buffer.copy_(before[name])


def _never_calibrated(net: nn.Module) -> bool:
    norms = [module for module in net.modules() if isinstance(module, BatchNorm)]
    return any(not bool(m.mean.any()) and bool((m.variance == 1).all()) for m in norms)
