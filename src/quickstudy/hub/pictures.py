"""The pictures in a run's folder."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from quickstudy.core import LearnedRates, Learner, move, unstack
from quickstudy.core.batching import device_of
from quickstudy.data.episodes import Episodes
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError
from quickstudy.hub.runs import CURVE, PICTURE, RATES, Run
from quickstudy.hub.source import Source
from quickstudy.plots.curve import learning_curve
from quickstudy.plots.rates import rates_picture
from quickstudy.plots.task import task_picture

WAYS, SHOTS, QUERIES = 5, 1, 8
SEED = 0


def draw_curve(run: Run, rows: Sequence[Mapping[str, Any]], control: float | None) -> None:
    """The learning curve of a run, from its metrics."""
    learning_curve(rows, run / CURVE, title=f"Meta-training {run.folder.name}", control=control)


def draw_rates(run: Run, learner: Learner) -> None:
    """The inner rates that were learned, layer by layer; nothing where none are."""
    rule = getattr(learner, "rule", None)
    if isinstance(rule, LearnedRates):
        rates_picture(run / RATES, rule.spread(), start=rule.rate)


def draw_task(run: Run, learner: Learner, source: Source) -> None:
    """One meta-test task of images with the learner's answers; nothing for other data."""
    episodes = _drawable(source)
    if episodes is None:
        return
    # The same numbers twice: once for which classes they are, once for the task itself.
    classes = episodes.draw(1, torch.Generator().manual_seed(SEED)).classes[0].tolist()
    batch = move(episodes.sample(1, torch.Generator().manual_seed(SEED)), device_of(learner))
    task = unstack(batch)[0]
    with torch.no_grad():
        answers = learner.predict(learner.adapt(task.support), task.query.x).argmax(-1)
    names = [_short(episodes.pool.names[i]) for i in classes]
    said = [[names[i] for i in rows.tolist()] for rows in (
        task.support.y.argmax(-1), task.query.y.argmax(-1), answers)]  # fmt: skip
    task_picture(
        task.support.x.cpu(),
        said[0],
        task.query.x.cpu(),
        said[1],
        said[2],
        run / PICTURE,
        title=f"A task of classes never trained on: {len(names)}-way {SHOTS}-shot, {source.name}",
        dark_ink=isinstance(source.preprocessing, Preprocessing)
        and source.preprocessing.polarity == "ink",
    )


def _drawable(source: Source) -> Episodes | None:
    """The largest task up to a picture's size that meta-test has images for."""
    if not isinstance(source.preprocessing, Preprocessing):
        return None
    source = source.with_unlabelled(0)
    for ways in range(WAYS, 1, -1):
        for queries in (QUERIES, 4, 2, 1):
            try:
                tasks = source.tasks("test", ways, SHOTS, queries)
            except DataError:
                continue
            return tasks if isinstance(tasks, Episodes) else None
    return None


def _short(name: str) -> str:
    """A class's name without its writing system and kind: "GEORGIAN LETTER AN" to "AN"."""
    words = name.split()
    kinds = [i for i, word in enumerate(words) if word in ("LETTER", "SYLLABICS", "DIGIT")]
    return " ".join(words[kinds[-1] + 1 :]) if kinds and kinds[-1] + 1 < len(words) else name
