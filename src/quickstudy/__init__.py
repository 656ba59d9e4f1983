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
    from quickstudy.apps import recommend
    from quickstudy.core import (
        SGD,
        Batching,
        Evaluation,
        Examples,
        Fit,
        LearnedRates,
        Learner,
        Progress,
        StepRates,
        Task,
        TaskSource,
        UpdateRule,
        descend,
        evaluate,
        examples,
        fit,
        stack,
    )
    from quickstudy.data import (
        Blobs,
        Episodes,
        Groups,
        Labelled,
        Pool,
        Sinusoids,
        TaskList,
        as_task,
        check_leakage,
        from_arrays,
        from_dataset,
        glyphs,
        image_folder,
        omniglot,
        table,
    )
    from quickstudy.errors import (
        ArtefactError,
        DataError,
        PeerLost,
        QuickstudyError,
        RunError,
        TaskError,
    )
    from quickstudy.hub.catalogue import load, save
    from quickstudy.hub.client import Client, ServiceError
    from quickstudy.hub.estimator import FewShotClassifier
    from quickstudy.hub.history import History
    from quickstudy.hub.platform import Platform
    from quickstudy.hub.predictor import Predictor, deploy
    from quickstudy.hub.regressor import FewShotRegressor
    from quickstudy.learners import (
        ANIL,
        ANP,
        BDCSPN,
        BOIL,
        CAVIA,
        CNP,
        DKT,
        FEAT,
        IMAML,
        LRD2,
        MAML,
        PTMAP,
        R2D2,
        TIM,
        ALPaCA,
        BaselinePlusPlus,
        FineTuning,
        LaplacianShot,
        MAMLPlusPlus,
        MatchingNet,
        MetaBaseline,
        MetaSGD,
        NearestMean,
        PriorFitted,
        ProtoMAML,
        ProtoNet,
        RelationNet,
        Reptile,
        SetTransformer,
        SimpleShot,
        SoftKMeans,
        SupportMean,
    )
    from quickstudy.nets import MLP, BatchNorm, Conv4, ResNet12

_ROOMS = {
    "core": (
        "SGD Batching Evaluation Examples Fit LearnedRates Learner Progress StepRates Task "
        "TaskSource UpdateRule descend evaluate examples fit stack"
    ),
    "data": (
        "Blobs Episodes Groups Labelled Pool Sinusoids TaskList as_task check_leakage "
        "from_arrays from_dataset glyphs image_folder omniglot table"
    ),
    "errors": "ArtefactError DataError PeerLost QuickstudyError RunError TaskError",
    "hub.catalogue": "load save",
    "hub.client": "Client ServiceError",
    "hub.estimator": "FewShotClassifier",
    "hub.history": "History",
    "hub.platform": "Platform",
    "hub.predictor": "Predictor deploy",
    "hub.regressor": "FewShotRegressor",
    "learners": (
        "ANIL ANP BDCSPN BOIL CAVIA CNP DKT FEAT IMAML LRD2 MAML PTMAP R2D2 TIM ALPaCA "
        "BaselinePlusPlus FineTuning LaplacianShot MAMLPlusPlus MatchingNet MetaBaseline MetaSGD "
        "NearestMean PriorFitted ProtoMAML ProtoNet RelationNet Reptile SetTransformer SimpleShot "
        "SoftKMeans SupportMean"
    ),
    "nets": "MLP BatchNorm Conv4 ResNet12",
}
_MODULES = {"recommend": "apps.recommend"}
"""Rooms of their own name."""
_WHERE = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "ANIL",
    "ANP",
    "BDCSPN",
    "BOIL",
    "CAVIA",
    "CNP",
    "DKT",
    "FEAT",
    "IMAML",
    "LRD2",
    "MAML",
    "MLP",
    "PTMAP",
    "R2D2",
    "SGD",
    "TIM",
    "ALPaCA",
    "ArtefactError",
    "BaselinePlusPlus",
    "BatchNorm",
    "Batching",
    "Blobs",
    "Client",
    "Conv4",
    "DataError",
    "Episodes",
    "Evaluation",
    "Examples",
    "FewShotClassifier",
    "FewShotRegressor",
    "FineTuning",
    "Fit",
    "Groups",
    "History",
    "Labelled",
    "LaplacianShot",
    "LearnedRates",
    "Learner",
    "MAMLPlusPlus",
    "MatchingNet",
    "MetaBaseline",
    "MetaSGD",
    "NearestMean",
    "PeerLost",
    "Platform",
    "Pool",
    "Predictor",
    "PriorFitted",
    "Progress",
    "ProtoMAML",
    "ProtoNet",
    "QuickstudyError",
    "RelationNet",
    "Reptile",
    "ResNet12",
    "RunError",
    "ServiceError",
    "SetTransformer",
    "SimpleShot",
    "Sinusoids",
    "SoftKMeans",
    "StepRates",
    "SupportMean",
    "Task",
    "TaskError",
    "TaskList",
    "TaskSource",
    "UpdateRule",
    "__version__",
    "as_task",
    "check_leakage",
    "deploy",
    "descend",
    "evaluate",
    "examples",
    "fit",
    "from_arrays",
    "from_dataset",
    "glyphs",
    "image_folder",
    "load",
    "omniglot",
    "recommend",
    "save",
    "stack",
    "table",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"quickstudy.{_MODULES[name]}")
    if name not in _WHERE:
        raise AttributeError(f"module 'quickstudy' has no attribute {name!r}")
    value = getattr(import_module(f"quickstudy.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
