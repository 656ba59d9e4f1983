"""Tasks, the learner interface, update rules, and the loops that train and judge."""

from quickstudy.core.batching import Batching, accumulate_gradients, map_tasks
from quickstudy.core.evaluate import Evaluation, evaluate, evaluations, summarise
from quickstudy.core.fit import Fit, Progress, fit
from quickstudy.core.learner import Learner, State, cross_entropy, squared_error
from quickstudy.core.rule import SGD, UpdateRule, descend
from quickstudy.core.tasks import (
    Examples,
    Inputs,
    Task,
    TaskSource,
    examples,
    move,
    one_hot,
    stack,
    unstack,
)

__all__ = [
    "SGD",
    "Batching",
    "Evaluation",
    "Examples",
    "Fit",
    "Inputs",
    "Learner",
    "Progress",
    "State",
    "Task",
    "TaskSource",
    "UpdateRule",
    "accumulate_gradients",
    "cross_entropy",
    "descend",
    "evaluate",
    "evaluations",
    "examples",
    "fit",
    "map_tasks",
    "move",
    "one_hot",
    "squared_error",
    "stack",
    "summarise",
    "unstack",
]
