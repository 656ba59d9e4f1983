"""What a configuration trains on: tasks, or labelled examples of all classes at once."""

from torch import nn

from quickstudy.core import Learner, Task, TaskSource
from quickstudy.data.episodes import Episodes
from quickstudy.data.labelled import Labelled
from quickstudy.errors import RunError
from quickstudy.hub.catalogue import build_learner, learner_named
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.source import Source


def learner_for(config: TrainConfig, source: Source, net: nn.Module | None = None) -> Learner:
    """The learner that a configuration describes, for this data; with random weights.

    Args:
        config: says which, and their options.
        source: the data, which says how many classes there are to tell apart.
        net: the backbone, where it is there already.

    Raises:
        QuickstudyError: as for `build_learner`, or data that has no such classes.
    """
    cls = learner_named(config.learner)
    classes = None
    if cls.trains_on == "labelled" and source.outputs is None:
        classes = labelled(config, source, cls).classes
    return build_learner(config, source.input_shape, source.outputs, net, classes)


def training_source(
    config: TrainConfig, source: Source, learner: type[Learner]
) -> TaskSource[Task]:
    """What `fit` draws from: tasks; or for a learner that takes no tasks, labelled examples.

    Raises:
        QuickstudyError: tasks that cannot be drawn, or data that has no such classes.
    """
    if learner.trains_on == "labelled":
        return labelled(config, source, learner)
    return _tasks(config, source)


def labelled(config: TrainConfig, source: Source, learner: type[Learner]) -> Labelled:
    """Labelled examples of all meta-train classes, as many a batch as a task would have.

    The classes are those that tasks of the configured sizes would be drawn from, turned and bent
    alike.

    Raises:
        RunError: the tasks are not drawn from classes that stay the same.
    """
    tasks = _tasks(config, source)
    if not isinstance(tasks, Episodes):
        raise RunError(
            f"{learner.__name__} is trained to tell all meta-train classes apart, and those of "
            f"{source.name} are others in every task; wanted images, a table of classes or a pool"
        )
    return Labelled.of(tasks)


def _tasks(config: TrainConfig, source: Source) -> TaskSource[Task]:
    return source.with_unlabelled(config.unlabelled).training_tasks(
        config.ways,
        config.shots,
        config.queries,
        rotations=config.rotations,
        warp=config.warp,
    )
