"""Names to classes, over the rooms that have a catalogue: learners, nets, rules.

A method is found by its entry in its room's `__all__`, and what it can be told is read from its
constructor: there is nothing to register.
"""

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from quickstudy import core, learners, nets
from quickstudy.artefacts.model import Model, save_model
from quickstudy.artefacts.model import load_model as load_stored
from quickstudy.core import SGD, Learner, UpdateRule
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.recipes import plain_name
from quickstudy.hub.runs import check_ended

T = TypeVar("T")


def _in_room(room: ModuleType, kind: type[T]) -> dict[str, type[T]]:
    """The classes of a kind that a room shows, abstract ones left out."""
    shown = {name: getattr(room, name) for name in room.__all__}
    return {
        name: cls
        for name, cls in shown.items()
        if isinstance(cls, type) and issubclass(cls, kind) and not inspect.isabstract(cls)
    }


LEARNERS: dict[str, type[Learner]] = _in_room(learners, Learner)  # type: ignore[type-abstract]
TRAINABLE = {name: cls for name, cls in LEARNERS.items() if cls.family != "control"}
"""Those that learn from tasks; the others are what they are compared with."""
NETS: dict[str, type[nn.Module]] = _in_room(nets, nn.Module)
RULES: dict[str, type[UpdateRule]] = _in_room(core, UpdateRule)  # type: ignore[type-abstract]
CATALOGUE: dict[str, type[nn.Module]] = {**LEARNERS, **NETS, **RULES}
"""Everything that a stored model may name."""


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class's constructor.

    Examples:
        >>> list(parameters(SGD))
        ['rate', 'momentum']
    """
    return dict(inspect.signature(cls).parameters)


def backbones() -> dict[str, type[nn.Module]]:
    """The nets that take inputs as they come: their constructors ask for the inputs' size."""
    return {n: c for n, c in NETS.items() if {"channels", "inputs"} & parameters(c).keys()}


def look_up(name: str, classes: Mapping[str, type[T]]) -> type[T] | None:
    """The class of that name; capitals, hyphens and underscores do not matter. None where none is.

    Examples:
        >>> look_up("proto-net", LEARNERS).__name__, look_up("prototypical", LEARNERS).__name__
        ('ProtoNet', 'ProtoNet')
    """
    return classes.get(_names(classes).get(plain_name(name), ""))


def find(
    name: str, classes: Mapping[str, type[T]], what: str, shown: Iterable[str] | None = None
) -> type[T]:
    """As `look_up`, of a name that has to be there.

    Args:
        name: as the user wrote it.
        classes: those there are.
        what: "--learner", for the message.
        shown: the names that the message lists; all where None.

    Raises:
        RunError: no such class; names those there are, and one that looks alike.

    Examples:
        >>> find("protonett", LEARNERS, "--learner")
        Traceback (most recent call last):
        ...
        quickstudy.errors.RunError: --learner must be one of ... did you mean ProtoNet?
    """
    found = look_up(name, classes)
    if found is not None:
        return found
    names = _names(classes)
    alike = difflib.get_close_matches(plain_name(name), names, n=1)
    hint = f"; did you mean {names[alike[0]]}?" if alike else ""
    known = ", ".join(sorted(shown or classes))
    raise RunError(f"{what} must be one of {known}, got {name!r}{hint}")


def _names(classes: Mapping[str, type]) -> dict[str, str]:
    """Every plain name that a class goes by, to its own."""
    others = {
        plain_name(also): name for name, cls in classes.items() for also in getattr(cls, "also", ())
    }
    return {plain_name(name): name for name in classes} | others


def learner_named(name: str) -> type[Learner]:
    """The learner of that name, however it is written.

    Raises:
        RunError: no such learner.
    """
    return find(name, LEARNERS, "--learner", shown=TRAINABLE)


def build_learner(
    config: TrainConfig,
    input_shape: Sequence[int],
    outputs: int | None = None,
    net: nn.Module | None = None,
    classes: int | None = None,
) -> Learner:
    """The learner, with its backbone, that a configuration describes; with random weights.

    Args:
        config: says which, and their options.
        input_shape: of one input: [channels, size, size] of images, else any.
        outputs: how many real targets an example has; None for classes.
        net: the backbone, where it is there already.
        classes: of meta-train, for a learner that is trained to tell them apart and is not told
            how many there are.

    Raises:
        RunError: an unknown name, or an option that the learner or its backbone does not take.
        TaskError: an option out of range.

    Examples:
        >>> config = TrainConfig(learner="maml", inner_steps=2, width=8)
        >>> build_learner(config, (1, 28, 28)).steps
        2
    """
    cls = learner_named(config.learner)
    options = checked_options(cls, config.learner_options, "--learner-option")
    flags = {"inner_steps": "steps", "first_order": None}
    options |= _flags(cls, flags, config) | _rule_options(cls, config)
    if "net" in parameters(cls):
        options["net"] = net if net is not None else _build_backbone(config, input_shape)
    else:
        told = ("backbone", "down", "norm", "width", "backbone_options")
        for name in told:
            if getattr(config, name):
                raise RunError(f"{cls.__name__} has no backbone, so it takes no {_flag(name)}")
    kind: Literal["classes", "values"] = "classes" if outputs is None else "values"
    if kind not in cls.tasks:
        able = [n for n, c in TRAINABLE.items() if kind in c.tasks]
        what = "real numbers" if kind == "values" else kind
        raise RunError(
            f"{cls.__name__} learns {cls.tasks[0]}, and the targets of {config.data} are {what}; "
            f"learners for those: {', '.join(able)}"
        )
    if outputs is not None:
        wanted = {"outputs": outputs, "targets": "values"}
        options = {k: v for k, v in wanted.items() if k in parameters(cls)} | options
    if classes is not None and "classes" in parameters(cls):
        options = {"classes": classes} | options
    built: Learner = cls(**options)
    if not any(p.requires_grad for p in built.parameters()):
        raise RunError(f"{cls.__name__} has nothing to train; it is the control of `evaluate`")
    return built


def _rule_options(cls: type, config: TrainConfig) -> dict[str, Any]:
    """How the inner loop moves, where something was said of it."""
    if "rule" in parameters(cls) and (config.rule or config.rule_options):
        rule = find(config.rule or SGD.__name__, RULES, "--rule")
        options = checked_options(rule, config.rule_options, "--rule-option")
        return {"rule": rule(**options | _flags(rule, {"inner_rate": "rate"}, config))}
    for name in ("rule", "rule_options"):
        if getattr(config, name):
            raise RunError(f"{cls.__name__} takes no {_flag(name)}; it takes {_takes(cls)}")
    if config.inner_rate is None or "rule" not in parameters(cls):
        return _flags(cls, {"inner_rate": "rate"}, config)
    return {"rule": SGD(_flags(SGD, {"inner_rate": "rate"}, config)["rate"])}


def _build_backbone(config: TrainConfig, input_shape: Sequence[int]) -> nn.Module:
    images = len(input_shape) == 3 and input_shape[1] == input_shape[2]
    name = config.backbone or ("Conv4" if images else "MLP")
    cls: type[nn.Module] = find(name, backbones(), "--backbone")
    takes = parameters(cls)
    if "channels" in takes and not images:
        raise RunError(
            f"{cls.__name__} takes images [channels, size, size], and an input of {config.data} is "
            f"{list(input_shape)}; use --backbone MLP"
        )
    sizes = {"inputs": math.prod(input_shape)}
    if images:
        sizes |= {"channels": input_shape[0], "size": input_shape[1]}
    options: dict[str, Any] = {k: v for k, v in sizes.items() if k in takes}
    options |= checked_options(cls, config.backbone_options, "--backbone-option")
    net: nn.Module = cls(
        **options | _flags(cls, {"down": None, "norm": None, "width": None}, config)
    )
    return net


def _flags(cls: type, flags: Mapping[str, str | None], config: TrainConfig) -> dict[str, Any]:
    """The options that were given, by the names the constructor has for them."""
    options = {}
    for name, called in flags.items():
        value = getattr(config, name)
        if value is None:
            continue
        argument = called or name
        if argument not in parameters(cls):
            raise RunError(f"{cls.__name__} takes no {_flag(name)}; it takes {_takes(cls)}")
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if numeric and value <= 0:
            raise RunError(f"{_flag(name)} must be positive, got {value}")
        options[argument] = value
    return options


def checked_options(cls: type, given: Mapping[str, Any], flag: str) -> dict[str, Any]:
    """Options by constructor argument, of the types that the constructor asks for.

    Raises:
        RunError: an argument that it does not take, or of another type; `flag` names it.
    """
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    options = {}
    for name, value in given.items():
        if name not in parameters(cls) or name in ("net", "rule"):
            raise RunError(f"{cls.__name__} takes no {flag} {name}; it takes {_takes(cls)}")
        adapter = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True))
        try:
            options[name] = adapter.validate_python(value)
        except ValidationError as error:
            wanted = error.errors()[0]["msg"]
            raise RunError(f"{flag} {name}={value}: {wanted[:1].lower()}{wanted[1:]}") from None
    return options


def _takes(cls: type) -> str:
    return ", ".join(name for name in parameters(cls) if name != "net") or "no options"


def _flag(name: str) -> str:
    return "--" + name.removesuffix("s" if name.endswith("options") else "").replace("_", "-")


def save(
    path: Path | str,
    learner: Learner,
    *,
    input_shape: Sequence[int] | None = None,
    preprocessing: Mapping[str, object] | None = None,
    training: Mapping[str, object] | None = None,
    metrics: Mapping[str, object] | None = None,
) -> None:
    """Store a learner in a folder, from which `load` takes it; see `artefacts.model.save_model`.

    Args:
        path: the folder; a model that is there is replaced.
        learner: any learner; one net in it may be your own module.
        input_shape: of one input, without the leading n.
        preprocessing: how a user's input becomes the model's.
        training: what it was trained on, and how.
        metrics: what it scored.

    Raises:
        ArtefactError: it cannot be stored, or not there.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> save(folder, learners.ProtoNet(nets.Conv4(width=8)))
        >>> type(load(folder)).__name__
        'ProtoNet'
    """
    save_model(
        path, learner, catalogue=CATALOGUE, input_shape=input_shape,
        preprocessing=preprocessing, training=training, metrics=metrics,
    )  # fmt: skip


def load(
    path: Path | str, net: nn.Module | None = None, device: torch.device | str = "cpu"
) -> Learner:
    """The learner in a run's folder, or in any folder that `save` wrote; ready to adapt.

    It is in evaluation mode and its parameters ask for no gradients, so that what it adapts to is
    numbers and no graph; `requires_grad_()` and `train()` make it ready for more meta-training.

    Args:
        path: the folder.
        net: your own module, where the learner was stored with one; it takes the stored weights.
        device: where the learner goes.

    Raises:
        ArtefactError: there is no model, or it is damaged, newer than this library, or does not
            fit `net`.
        RunError: a run that has not ended and so has no model yet.
    """
    return load_model(path, net=net, device=device)[0].requires_grad_(False)


def load_model(
    path: Path | str, net: nn.Module | None = None, device: torch.device | str = "cpu"
) -> tuple[Learner, Model]:
    """As `load`, with the model it came in, whose manifest says what is known about it.

    Raises:
        ArtefactError: as for `load`.
        RunError: a run that has not ended and so has no model yet, or no folder at all.
    """
    check_ended(path)
    model = load_stored(path, catalogue=CATALOGUE, net=net, device=device)
    if not isinstance(model.learner, Learner):
        raise ArtefactError(f"{path} holds a {type(model.learner).__name__}; wanted a learner")
    return model.learner, model
