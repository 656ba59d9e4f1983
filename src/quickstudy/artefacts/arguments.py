"""A module as the name of its class and the arguments of its constructor, and back.

The convention is scikit-learn's: a constructor stores each argument under its own name, so what
a module was made with can be read from its attributes.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import JsonValue
from torch import nn

from quickstudy.artefacts.plain import scalar, text_key
from quickstudy.errors import ArtefactError

Catalogue: TypeAlias = Mapping[str, type[Any]]
"""What a name in a stored model stands for: learners, nets, rules."""

_SPECS = ({"name", "arguments"}, {"own"})


def arguments(thing: object, catalogue: Catalogue) -> dict[str, JsonValue]:
    """The constructor arguments of a module, as JSON values.

    Args:
        thing: a module, or any object that follows the convention.
        catalogue: the classes that may be among the arguments.

    Returns:
        Argument to value. Tuples become lists; see `describe` for modules.

    Raises:
        ArtefactError: an argument is not kept under its own name, or is neither a JSON value nor
            a module; says which.

    Examples:
        >>> class Scale(nn.Module):
        ...     def __init__(self, factor, shape=(1, 2)):
        ...         super().__init__()
        ...         self.factor, self.shape = factor, shape
        >>> arguments(Scale(0.5), {})
        {'factor': 0.5, 'shape': [1, 2]}
    """
    cls = type(thing)
    found: dict[str, JsonValue] = {}
    for name, parameter in _parameters(cls).items():
        where = f"{cls.__name__}.{name}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ArtefactError(f"{where} takes any arguments; only named ones can be stored")
        if not hasattr(thing, name):
            raise ArtefactError(
                f"{cls.__name__} cannot be stored: it does not keep its argument {name!r} under "
                f"its own name; wanted self.{name} = {name} in its constructor"
            )
        found[name] = _encode(getattr(thing, name), catalogue, where)
    return found


def describe(thing: object, catalogue: Catalogue) -> dict[str, JsonValue]:
    """What `build` needs to make an object like this one.

    Args:
        thing: a module or rule of a class in the catalogue, or a user's own module.
        catalogue: name to class.

    Returns:
        {"name": its name in the catalogue, "arguments": {...}}, and so on inside the arguments;
        {"own": "package.module:Class"} for a module that is not in the catalogue.

    Raises:
        ArtefactError: see `arguments`; or more than one module is not in the catalogue.

    Examples:
        >>> describe(nn.ReLU(), {"ReLU": nn.ReLU})
        {'name': 'ReLU', 'arguments': {'inplace': False}}
        >>> describe(nn.ReLU(), {})
        {'own': 'torch.nn.modules.activation:ReLU'}
    """
    spec = _encode(thing, catalogue, type(thing).__name__)
    if not isinstance(spec, dict) or spec.keys() not in _SPECS:
        raise ArtefactError(f"cannot store a {type(thing).__name__}; wanted a module")
    owns = list(own_modules(spec))
    if len(owns) > 1:
        raise ArtefactError(
            f"{type(thing).__name__} holds {len(owns)} modules that are not in the catalogue "
            f"({', '.join(owns)}); one can be handed in when it is loaded: add the others"
        )
    return spec


def own_modules(spec: JsonValue) -> Iterator[str]:
    """The import paths of the modules in a description that are a user's own.

    Examples:
        >>> list(own_modules({"name": "MAML", "arguments": {"net": {"own": "shop.nets:Small"}}}))
        ['shop.nets:Small']
    """
    match spec:
        case {"own": str(path), **others} if not others:
            yield path
        case dict():
            for value in spec.values():
                yield from own_modules(value)
        case list():
            for value in spec:
                yield from own_modules(value)


def build(spec: JsonValue, catalogue: Catalogue, *, net: nn.Module | None = None) -> Any:
    """Make what a description describes. Nothing is imported: names are looked up, no more.

    Args:
        spec: what `describe` returned.
        catalogue: name to class. An argument that the class has and the description lacks keeps
            its default.
        net: the user's own module, where the description has one; used as it is, not copied.

    Returns:
        A new object; or `net`, where that is all there is.

    Raises:
        ArtefactError: an unknown name or argument, a constructor that refuses, or a `net` that is
            missing or not asked for.

    Examples:
        >>> build({"name": "ReLU", "arguments": {"inplace": True}}, {"ReLU": nn.ReLU})
        ReLU(inplace=True)
        >>> build({"own": "shop.nets:Small"}, {})
        Traceback (most recent call last):
            ...
        quickstudy.errors.ArtefactError: the model holds its owner's shop.nets:Small; hand one in...
    """
    owns = list(own_modules(spec))
    if owns and net is None:
        name = owns[0].rpartition(":")[2].rpartition(".")[2]
        raise ArtefactError(
            f"the model holds its owner's {owns[0]}; hand one in, made as it was: net={name}(...)"
        )
    if net is not None and not owns:
        raise ArtefactError(
            f"the model brings its own net and takes no other; got net={type(net).__name__}(...)"
        )
    return _decode(spec, catalogue, net)


def _encode(value: object, catalogue: Catalogue, where: str) -> JsonValue:
    for name, cls in catalogue.items():
        if type(value) is cls:
            return {"name": name, "arguments": arguments(value, catalogue)}
    if isinstance(value, nn.Module):
        return {"own": f"{type(value).__module__}:{type(value).__qualname__}"}
    if isinstance(value, list | tuple):
        return [_encode(item, catalogue, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if value.keys() in _SPECS:
            raise ArtefactError(f"{where} has the keys {sorted(value)}, which stand for a module")
        return {
            text_key(key, where): _encode(item, catalogue, f"{where}.{key}")
            for key, item in value.items()
        }
    if callable(value):
        called = getattr(value, "__qualname__", type(value).__name__)
        raise ArtefactError(
            f"{where} is the function or class {called!r}; only JSON values and modules can be "
            "stored: give it by name, where it has one"
        )
    return scalar(value, where)


def _decode(spec: JsonValue, catalogue: Catalogue, net: nn.Module | None) -> Any:
    match spec:
        case {"own": str(), **others} if not others:
            return net
        case {"name": str(name), "arguments": dict(given), **others} if not others:
            return _make(name, given, catalogue, net)
        case dict():
            return {key: _decode(value, catalogue, net) for key, value in spec.items()}
        case list():
            return [_decode(value, catalogue, net) for value in spec]
    return spec


def _make(
    name: str, given: dict[str, JsonValue], catalogue: Catalogue, net: nn.Module | None
) -> Any:
    if name not in catalogue:
        raise ArtefactError(f"{name!r} is unknown; wanted one of {', '.join(sorted(catalogue))}")
    cls = catalogue[name]
    decoded = {key: _decode(value, catalogue, net) for key, value in given.items()}
    known = _parameters(cls)
    unknown = sorted(decoded.keys() - known.keys())
    if unknown:
        raise ArtefactError(
            f"{name} has no argument {', '.join(map(repr, unknown))}; wanted some of "
            f"{', '.join(known) or 'none'}"
        )
    try:
        return cls(**decoded)
    except Exception as error:  # a constructor may refuse a stored argument in any way it likes
        raise ArtefactError(f"{name} cannot be made with {given}: {error}") from error


def _parameters(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    if cls.__init__ is nn.Module.__init__:  # which takes anything, for the sake of mixins
        return {}
    return inspect.signature(cls).parameters
