"""quickstudy meta-learns from many related tasks, then adapts to a new one from a few examples.

    import quickstudy as qs

    learner = qs.load("runs/a")                     # or qs.ProtoNet(qs.Conv4())
    state = learner.adapt(support)                  # what it learned, a value
    logits = learner.predict(state, query_images)

Names are looked up when they are first used, so that importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quickstudy._version import __version__

if TYPE_CHECKING:
    from quickstudy.core import (
        SGD,
        Batching,
        Evaluation,
        Examples,
        Fit,
        Learner,
        Progress,
        Task,
        TaskSource,
        UpdateRule,
        descend,
        evaluate,
        examples,
        fit,
        stack,
    )
    from quickstudy.data import Blobs, Episodes, Pool, Sinusoids, glyphs, image_folder, omniglot
    from quickstudy.errors import ArtefactError, DataError, QuickstudyError, RunError, TaskError
    from quickstudy.hub.catalogue import load, save
    from quickstudy.hub.estimator import FewShotClassifier
    from quickstudy.learners import MAML, NearestMean, ProtoNet
    from quickstudy.nets import MLP, BatchNorm, Conv4

_ROOMS = {
    "core": (
        "SGD Batching Evaluation Examples Fit Learner Progress Task TaskSource UpdateRule descend "
        "evaluate examples fit stack"
    ),
    "data": "Blobs Episodes Pool Sinusoids glyphs image_folder omniglot",
    "errors": "ArtefactError DataError QuickstudyError RunError TaskError",
    "hub.catalogue": "load save",
    "hub.estimator": "FewShotClassifier",
    "learners": "MAML NearestMean ProtoNet",
    "nets": "MLP BatchNorm Conv4",
}
_WHERE = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "MAML",
    "MLP",
    "SGD",
    "ArtefactError",
    "BatchNorm",
    "Batching",
    "Blobs",
    "Conv4",
    "DataError",
    "Episodes",
    "Evaluation",
    "Examples",
    "FewShotClassifier",
    "Fit",
    "Learner",
    "NearestMean",
    "Pool",
    "Progress",
    "ProtoNet",
    "QuickstudyError",
    "RunError",
    "Sinusoids",
    "Task",
    "TaskError",
    "TaskSource",
    "UpdateRule",
    "__version__",
    "descend",
    "evaluate",
    "examples",
    "fit",
    "glyphs",
    "image_folder",
    "load",
    "omniglot",
    "save",
    "stack",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'quickstudy' has no attribute {name!r}")
    value = getattr(import_module(f"quickstudy.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
