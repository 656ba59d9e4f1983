"""Tasks, the learner interface, update rules, and the loops that train and judge."""

from quickstudy.core.batching import Batching, accumulate_gradients, map_tasks
from quickstudy.core.calibration import calibration_table, expected_calibration_error
from quickstudy.core.descent import descend
from quickstudy.core.evaluate import Evaluation, Judged, evaluate, evaluations, gather, summarise
from quickstudy.core.fit import Fit, Progress, fit
from quickstudy.core.learner import (
    Learner,
    Predictive,
    State,
    cross_entropy,
    gaussian_nll,
    squared_error,
)
from quickstudy.core.rule import SGD, LearnedRates, StepRates, UpdateRule
from quickstudy.core.tasks import (
    Examples,
    Inputs,
    Task,
    TaskSource,
    check_targets,
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
    "Judged",
    "LearnedRates",
    "Learner",
    "Predictive",
    "Progress",
    "State",
    "StepRates",
    "Task",
    "TaskSource",
    "UpdateRule",
    "accumulate_gradients",
    "calibration_table",
    "check_targets",
    "cross_entropy",
    "descend",
    "evaluate",
    "evaluations",
    "examples",
    "expected_calibration_error",
    "fit",
    "gather",
    "gaussian_nll",
    "map_tasks",
    "move",
    "one_hot",
    "squared_error",
    "stack",
    "summarise",
    "unstack",
]
