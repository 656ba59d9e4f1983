"""Learners of the catalogue as readers of histories: each user is a task of two classes.

The support set is a history: what was liked, against what was not and a few items that were never
touched. The query set is what the user liked later, against others. Both kinds of others are drawn
from what is popular at the moment, so that a learner's margin is how much likelier an item is than
its popularity says (noise-contrastive estimation, Gutmann & Hyvärinen 2010); the logarithm of the
chance to be drawn is added back when the catalogue is ranked.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quickstudy import learners
from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.embedding import ItemFeatures, Tower, liking_factors, reduced
from quickstudy.apps.recommend.log import Log
from quickstudy.apps.recommend.reader import INNER_FOLDS, SHOTS
from quickstudy.apps.recommend.statistics import History, Statistics
from quickstudy.apps.recommend.tasks import Timelines, folds, of_users
from quickstudy.core import Examples, Learner, Task, fit, one_hot, stack
from quickstudy.core.functional import ABSENT
from quickstudy.errors import DataError

Floats = NDArray[np.float32]

LIKED, OTHER = 0, 1
OTHERS = 16
"""Untouched items that a support set holds beside the history."""
RELEVANT = 64
"""Items of a query set that were liked later, at most."""
AGAINST = 192
"""Others of a query set."""
UNTOUCHED = 0.1
"""Of the items of training tasks look as if nobody had touched them, so that it is learned what
content alone says (Volkovs et al. 2017, DropoutNet, section 4.1)."""
UNIFORM = 0.2
"""How much of the others is drawn evenly, instead of by recent popularity."""
RECENT_RATE = 1
"""Which rate of fading others are drawn by: as `liked lately`."""
WIDTH, HIDDEN = 32, 64
"""Of the tower."""
STEPS, TASKS_PER_STEP = 300, 16
RATE, DECAY, CLIP = 2e-3, 3.0, 5.0


class Learned(NamedTuple):
    """A meta-trained learner of the catalogue that ranks items for a history.

    Attributes:
        learner: adapts to a history and scores items.
        features: of the catalogue, by the training users' statistics.
        seed: of the untouched items that support sets hold.
    """

    learner: Learner
    features: ItemFeatures
    seed: int

    @torch.no_grad()
    def rank(self, histories: Sequence[History]) -> Floats:
        """Scores of the whole catalogue [histories, items]; the higher the sooner."""
        known = self.features.known
        scores = np.zeros((len(histories), known.items), np.float32)
        for row, history in enumerate(histories):
            chance = chances(known, history.time)
            generator = np.random.default_rng(self.seed)  # the same for every history
            support = support_of(self.features, history, chance, generator)
            logits = self.learner.predict(
                self.learner.adapt(support), self.features.at(history.time)
            )
            scores[row] = margins(logits).numpy() + np.log(chance)
        return scores


def learner_named(name: str) -> type[Learner]:
    """The learner of the catalogue of that name; capitals, hyphens and underscores do not matter.

    Raises:
        DataError: there is none, or it learns nothing, no classes, or not from tasks.

    Examples:
        >>> learner_named("proto-net").__name__
        'ProtoNet'
    """
    every = {each: getattr(learners, each) for each in learners.__all__}
    fit_for_it = {
        each: cls
        for each, cls in every.items()
        if cls.family != "control" and cls.trains_on == "tasks" and "classes" in cls.tasks
    }
    plain = {_plain(each): cls for each, cls in fit_for_it.items()}
    if _plain(name) not in plain:
        raise DataError(f"a learner must be one of {', '.join(sorted(fit_for_it))}, got {name!r}")
    found: type[Learner] = plain[_plain(name)]
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def meta_train_learned(
    name: str,
    log: Log,
    content: Content,
    *,
    seed: int = 0,
    shots: Sequence[int] = SHOTS,
    steps: int = STEPS,
    looked: Callable[[int, int], None] | None = None,
) -> Learned:
    """Meta-train a learner of the catalogue with the users of a log as tasks.

    As in `reader.meta_train`, a training user's features are counted from users of other folds.

    Args:
        name: of the learner, as `quickstudy learners` lists it.
        log: interactions of the training users, in the catalogue of `content`.
        content: features of the items; `nothing` where none are known.
        seed: of folds, ties, weights and everything that is drawn.
        shots: support sizes.
        steps: outer steps.
        looked: called with the number of outer steps done, and of all.

    Raises:
        DataError: no such learner, too few users, or none whose later interactions can be asked
            for.
    """
    cls = learner_named(name)
    content_columns = reduced(content)
    features = ItemFeatures.of(Statistics.of(log, factors=False), content_columns, log)
    source = Users.of(log, content_columns, seed, shots)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = _built(cls, features)
        progress = fit(
            learner,
            source,
            steps=steps,
            tasks_per_step=TASKS_PER_STEP,
            optimizer=_optimizer,
            schedule=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, RATE, total_steps=steps + 1
            ),
            clip=CLIP,
            nonfinite="skip",
            seed=seed,
        )
        for done in progress:
            if looked is not None:
                looked(done.step, done.steps)
    return Learned(learner.eval().requires_grad_(False), features, seed)


def _optimizer(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Matrices decay; scales, penalties and biases do not."""
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], RATE)


def _built(cls: type[Learner], features: ItemFeatures) -> Learner:
    """The learner on a tower; as classes stand in a fixed order, a head may have its own rows."""
    tower = Tower(features.width, WIDTH, HIDDEN).start(*features.standard(features.known.now))
    wanted: dict[str, Any] = {"net": tower, "outputs": 2, "objective": comes_first}
    takes = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in wanted.items() if key in takes})


def margins(logits: Tensor) -> Tensor:
    """How much liked is ahead of not liked [m], of logits [m, 2]; a class without support is 0."""
    there = torch.where(logits <= ABSENT / 2, torch.zeros_like(logits), logits)
    return there[..., LIKED] - there[..., OTHER]


def comes_first(logits: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The mean over liked items of how unlikely each is to come before all others.

    Args:
        logits: [m, 2].
        y: one-hot [m, 2], liked or not.
        mask: [m].

    Examples:
        >>> y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(float(comes_first(torch.zeros(3, 2), y, torch.ones(3)).exp()), 4)
        3.0
    """
    ahead = margins(logits)
    liked, others = y[:, LIKED] * mask > 0, y[:, OTHER] * mask > 0
    against = torch.logsumexp(torch.where(others, ahead, ABSENT), -1)
    lost = torch.where(liked, F.softplus(against - ahead), 0.0)
    return lost.sum() / liked.sum().clamp(min=1)


def chances(known: Statistics, time: float) -> NDArray[np.float64]:
    """How likely each item is to be drawn at a moment [items]: by recent popularity, and evenly."""
    popular = np.exp(known.recently_liked(np.array([time]))[0, RECENT_RATE].astype(np.float64))
    mixed: NDArray[np.float64] = (1 - UNIFORM) * popular / popular.sum() + UNIFORM / known.items
    return mixed


def support_of(
    features: ItemFeatures,
    history: History,
    chance: NDArray[np.float64],
    generator: np.random.Generator,
    untouched: float = 0.0,
) -> Examples:
    """A history as a support set: what was liked, against the rest and some items beside.

    Args:
        features: of the items.
        history: one user's.
        chance: of each item to be one of those beside [items].
        generator: draws them.
        untouched: the share of items that look as if nobody had touched them.
    """
    others = _drawn(chance, OTHERS, history.items, generator)
    liked = history.values >= features.known.liked_from
    classes = np.where(np.concatenate([liked, np.zeros(len(others), bool)]), LIKED, OTHER)
    places = np.concatenate([history.items, others])
    hidden = generator.random(len(places)) < untouched
    return _examples(features, history.time, places, classes, hidden)


def _examples(
    features: ItemFeatures,
    time: float,
    items: NDArray[np.int64],
    classes: NDArray[np.int64],
    hidden: NDArray[np.bool_],
) -> Examples:
    y = one_hot(torch.from_numpy(classes), 2)
    return Examples(features.at(time, items, hidden), y, torch.ones(len(items)))


def _drawn(
    chance: NDArray[np.float64],
    count: int,
    without: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Items by chance, with repetition, none of `without`; fewer where nothing is left."""
    left = chance.copy()
    left[without] = 0
    total = np.cumsum(left)
    if not total[-1] > 0:
        return np.empty(0, np.int64)
    places = np.searchsorted(total, generator.random(count) * total[-1], side="right")
    drawn: NDArray[np.int64] = np.minimum(places, np.flatnonzero(left)[-1])
    return drawn


class _Asked(NamedTuple):
    """A training user that a task can be made of, with features that others were counted for."""

    features: ItemFeatures
    user: int
    sizes: tuple[int, ...]


class Users:
    """Training users as tasks: a source for `fit`.

    Args:
        timelines: of all of them.
        asked: who, each with support sizes that leave something liked to ask.
    """

    def __init__(self, timelines: Timelines, asked: Sequence[_Asked]) -> None:
        self.timelines = timelines
        self.asked = asked

    @classmethod
    def of(cls, log: Log, content: Floats, seed: int, shots: Sequence[int]) -> "Users":
        """The users of a log, each with statistics of the other folds of users.

        Raises:
            DataError: too few users, or none whose later interactions can be asked for.
        """
        timelines = Timelines(log, seed)
        frame = liking_factors(log)
        asked = []
        for others, users in folds(log, INNER_FOLDS, seed):
            rest = of_users(log, others)
            known = Statistics.of(rest, factors=False)
            features = ItemFeatures.of(known, content, rest, frame)
            for user in users.tolist():
                sizes = tuple(
                    size
                    for size in shots
                    if len(timelines.task(user, size).relevant(log.liked_from))
                )
                if sizes:
                    asked.append(_Asked(features, user, sizes))
        if not asked:
            raise DataError(
                f"no user likes anything after the first {min(shots)} interactions, so there is "
                "nothing to learn a ranking from"
            )
        return cls(timelines, asked)

    def sample(self, count: int, generator: torch.Generator) -> Task:
        """So many tasks of users drawn evenly, stacked."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        random = np.random.default_rng(seed)
        return stack([self._task(random) for _ in range(count)])

    def _task(self, random: np.random.Generator) -> Task:
        features, user, sizes = self.asked[int(random.integers(len(self.asked)))]
        task = self.timelines.task(user, int(random.choice(sizes)))
        history, relevant = task.history, task.relevant(features.known.liked_from)
        chance = chances(features.known, history.time)
        support = support_of(features, history, chance, random, UNTOUCHED)
        wanted = random.permutation(relevant)[:RELEVANT]
        others = _drawn(chance, AGAINST, np.concatenate([history.items, relevant]), random)
        classes = np.repeat([LIKED, OTHER], [len(wanted), len(others)])
        places = np.concatenate([wanted, others])
        hidden = random.random(len(places)) < UNTOUCHED
        query = _examples(features, history.time, places, classes, hidden)
        return Task(support, query)
