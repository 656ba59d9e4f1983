"""The platform: a net, tasks and a method in, a model that adapts out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import JsonValue
from torch import nn

from quickstudy.artefacts.model import load_model as load_stored
from quickstudy.core import Learner
from quickstudy.errors import RunError, TaskError
from quickstudy.hub import screen
from quickstudy.hub.arguments import arguments_named, checked, told_options, told_sizes
from quickstudy.hub.catalogue import CATALOGUE, load_model
from quickstudy.hub.devices import choose_device
from quickstudy.hub.drawing import learner_for
from quickstudy.hub.evaluating import Setting, judge
from quickstudy.hub.given import (
    IN_MEMORY,
    Given,
    NotGiven,
    images_of,
    judged_on,
    open_given,
)
from quickstudy.hub.history import History
from quickstudy.hub.image_source import Images
from quickstudy.hub.job import Job, drawn_sizes, job_of, row_of
from quickstudy.hub.kept import parse_kept
from quickstudy.hub.predictor import Deployable, Predictor, deploy
from quickstudy.hub.processes import first, join
from quickstudy.hub.recording import Recorder
from quickstudy.hub.runs import create_run, open_run
from quickstudy.hub.source import SPLITS, Source, Split, Wanted
from quickstudy.hub.subjects import never_seen, open_for, refuse_seen
from quickstudy.hub.tables import Rows, reading_of
from quickstudy.hub.training import Event, Stepped, finish, resume_job, train_job


class Platform:
    """Meta-train any learner on any tasks, watch it, judge it, store it, and deploy it.

    What `quickstudy train`, `evaluate` and `adapt` do from the shell, as one object.

    Args:
        net: the backbone: a module (inputs [n, ...] to features [n, d], d in its attribute
            `features`), or a name in `quickstudy.nets`; None for the one that suits the data.
        tasks: what to learn from: a name that `--data` knows or a folder; a pool or splits of
            classes; a map-style data set; anything with `sample(count, generator)`; a dictionary of
            `support_x`, `support_y`, `query_x`, `query_y`, or a list of these.
        learner: a name in `quickstudy learners`, "maml" or "prototypical" say, or a `Learner`,
            which brings its own net.
        validation: meta-validation tasks; see `tasks`. Where neither they nor `test` are given,
            classes are split at random, and a task source hands out fresh tasks.
        test: meta-test tasks; those of meta-validation where not given.
        ways: classes of a task, or a range (low, high), where tasks are drawn from classes; 5 where
            None.
        shots: support examples of a class, or of a table's group, or a range; 1 where None.
        queries: query examples of a class or group; 5 where None.
        options: arguments of the learner's constructor: plain values, and a `rule` as an object or
            by name. Whatever else goes into a `Learner` of your own making.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of the first weights and of the tasks.

    Attributes:
        learner: the learner, as trained so far.
        source: the data.
        history: a row for each outer step so far.

    Raises:
        QuickstudyError: data, learner or an option that cannot be used.

    Examples:
        >>> from quickstudy.data import Blobs
        >>> from quickstudy.nets import MLP
        >>> platform = Platform(MLP(2, [16], 8), Blobs(way=3, shot=1, queries=5), "prototypical")
        >>> platform.meta_train(steps=20, evaluate_every=10, progress=False)["step"][-1]
        20
        >>> predictor = platform.deploy(([[0.0, 0.0], [1.0, 1.0]], ["low", "high"]))
        >>> predictor.predict([[0.1, 0.1]])
        ['low']
    """

    @arguments_named()
    def __init__(
        self,
        net: nn.Module | str | None = None,
        tasks: Given = "glyphs",
        learner: str | Learner = "ProtoNet",
        *,
        validation: Given | None = None,
        test: Given | None = None,
        ways: int | tuple[int, int] | None = None,
        shots: int | tuple[int, int] | None = None,
        queries: int | None = None,
        options: Mapping[str, Any] | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self._set(open_given(tasks, validation, test))
        if isinstance(learner, type):
            raise TaskError(
                f"a learner is a name or an object, got the class {learner.__name__}: "
                f"{learner.__name__}(net)"
            )
        own = isinstance(learner, Learner)
        self.config = checked(
            {
                "data": self.source.name,
                "learner": type(learner).__name__ if own else learner,
                "backbone": net if isinstance(net, str) else None,
                "device": device,
                "seed": seed,
            }
            | told_options(options or {})
            | told_sizes(self.source, ways, shots, queries)
        )
        if isinstance(learner, Learner):
            if net is not None or options:
                raise TaskError("a learner brings its net and its options; got others beside it")
            self.learner = learner
        else:
            with torch.random.fork_rng(devices=[]):  # the user's own generator stays where it is
                torch.manual_seed(seed)
                module = net if isinstance(net, nn.Module) else None
                self.learner = learner_for(self.config, self.source, module)
        self.learner.to(choose_device(device))

    def __getstate__(self) -> dict[str, Any]:
        """Without the loop that ran last, which cannot be pickled; see `save` for a folder."""
        return self.__dict__ | {"_job": None}

    def _set(self, source: Source, records: Sequence[dict[str, Any]] = ()) -> None:
        self.source = source
        self.history = History(records)
        self._job: Job | None = None

    @arguments_named()
    def meta_train(
        self,
        steps: int = 2000,
        tasks_per_step: int = 1,
        evaluate_every: int | None = None,
        *,
        rate: float = 1e-3,
        schedule: Literal["constant", "cosine", "one-cycle"] = "one-cycle",
        patience: int | None = None,
        weight_decay: float = 0.0,
        average: float = 0.0,
        clip: float | None = 10.0,
        nonfinite: Literal["stop", "skip"] = "stop",
        validation_tasks: int = 200,
        out: Path | str | None = None,
        overwrite: bool = False,
        progress: bool = True,
    ) -> History:
        """Meta-train, with a look at meta-validation now and then; called again, it goes on.

        The best weights that meta-validation saw are kept. Called again, it draws other tasks and
        begins with a fresh optimizer and schedule.

        In a script that `torchrun` starts on many processes, tasks are divided among them.

        Args:
            steps: outer steps.
            tasks_per_step: tasks of each.
            evaluate_every: steps between looks; a tenth of all where None.
            rate: of Adam, the outer optimizer.
            schedule: how the rate goes.
            patience: stop after so many looks without a better one; None for never.
            weight_decay: decoupled.
            average: decay of a running mean of the weights; 0 for none.
            clip: largest gradient norm; None for no limit.
            nonfinite: what a loss that is not finite does.
            validation_tasks: tasks of a look.
            out: a run's folder, with checkpoints, metrics, pictures and the model, as
                `quickstudy train` makes it; nothing is written where None.
            overwrite: replace a run that is there.
            progress: show a progress bar.

        Returns:
            The history so far.

        Raises:
            QuickstudyError: tasks that do not fit the learner, an option out of range, a loss that
                is not finite, or a folder that cannot be written.
        """
        self.config = checked(
            self.config.model_dump()
            | {
                "steps": steps,
                "tasks_per_step": tasks_per_step,
                "evaluate_every": evaluate_every,
                "rate": rate,
                "schedule": schedule,
                "patience": patience,
                "weight_decay": weight_decay,
                "average": average,
                "clip": clip,
                "nonfinite": nonfinite,
                "validation_tasks": validation_tasks,
            }
        )
        join()
        job = job_of(self.config, self.source, self.learner)
        if self._job is not None:  # other tasks than before; the best so far stays the best
            earlier = self._job.fit
            job.fit.generator.set_state(earlier.generator.get_state())
            job.fit.best_score = earlier.best_score
            job.fit.best_weights = earlier.best_weights
        if out is None:
            job.try_out()
            return self._go(job, _steps_of(job), progress)
        return self._go(job, train_job(job, out, overwrite=overwrite), progress)

    @arguments_named()
    def resume(self, out: Path | str, progress: bool = True) -> History:
        """Go on with a run that `meta_train` began in a folder and that was stopped or killed.

        Raises:
            QuickstudyError: there is no run, or it is of another learner.
        """
        join()
        run = open_run(out)
        if run.finished:
            held = load_stored(out, catalogue=CATALOGUE, net=self._own_net())
            self.learner.load_state_dict(held.learner.state_dict())
            self.history = History(run.metrics())
            return self.history
        kept = parse_kept(run.kept, out)
        if kept and isinstance(self.source, Images | Rows):
            kept.check(self.source.pools)
        config = run.config.model_copy(update={"device": self.config.device})
        job = job_of(config, self.source, self.learner)
        self.config = config
        try:
            self._go(job, resume_job(out, lambda run: job), progress)
        finally:  # with what was done before it was stopped
            self.history = History(run.metrics(), self.history.control)
        return self.history

    def _own_net(self) -> nn.Module | None:
        """The learner's net, where it is the user's and so comes from nowhere else."""
        net = getattr(self.learner, "net", None)
        return net if isinstance(net, nn.Module) and type(net).__name__ not in CATALOGUE else None

    @arguments_named(tasks="count")
    def evaluate(
        self,
        tasks: Given | None = None,
        *,
        count: int = 1000,
        split: Split | None = None,
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        dirichlet: float | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Adapt to the support of many tasks and judge the queries, beside the control.

        Args:
            tasks: on what; meta-test tasks of the platform's own data where None.
            count: how many tasks.
            split: which part of data that is split; meta-test where None, all classes or groups of
                a folder or table of which the platform saw none.
            ways: classes of a task, where tasks are drawn from classes; as in meta-validation where
                None, or as many as there are.
            shots: support examples of a class, likewise.
            queries: query examples of a class, likewise.
            dirichlet: concentration, in (0, 1e6], where classes are to have unlike numbers of
                queries: `queries` on average and three times as many at most, so that there have to
                be as many; None for as many of each. See `UnbalancedQueries`.
            seed: which tasks.

        Returns:
            What `quickstudy evaluate --json` prints: accuracy and interval95 in 0..1 (or
            squared_error), ece, tasks, control, ...

        Raises:
            QuickstudyError: tasks that cannot be drawn or do not fit, or images that it was trained
                on, unless the split is "train".
        """
        setting = Setting(ways, shots, queries, count, seed, dirichlet=dirichlet)
        setting.check()
        if split not in (None, *SPLITS):
            raise RunError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        source = self.source
        if tasks is not None:
            wanted = Wanted(preprocessing=source.preprocessing, kept=source.kept())
            source = judged_on(tasks, split or "test", wanted)
            split = split or never_seen(source, "the platform")
            if split != "train":
                seen, judged = images_of(self.source, "train"), images_of(source, split)
                refuse_seen(seen, judged, source.name, "the platform")
        split = split or "test"
        setting.check_for(source, split)
        setting = setting._replace(unlabelled=self.config.unlabelled)
        source = source.with_unlabelled(self.config.unlabelled)
        setting = setting.filled(self.config.validation_sizes, [(source, split)])
        drawn = setting.tasks_of(source, split)
        result = judge(self.learner, drawn, setting, data=source)
        return result | drawn_sizes(drawn, self.learner.targets == "classes")

    @arguments_named()
    def deploy(self, task: Deployable) -> Predictor:
        """Adapt to a new task and return what answers for it; see `predictor.deploy`.

        Raises:
            TaskError: what is given is no support set, or none that the learner takes.
        """
        return deploy(self.learner, task, self.source.preprocessing)

    @arguments_named()
    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Store the model and its history as a run's folder, which every command understands.

        Raises:
            QuickstudyError: something is there, or it cannot be written.
        """
        if not first():  # of many processes one writes
            return
        job = self._job or job_of(self.config, self.source, self.learner)
        job.check_storable()
        kept = self.source.kept()
        keep = kept.model_dump(mode="json") if kept else None
        run = create_run(Path(path), self.config, overwrite, keep)
        with run.lock(), closing(Recorder(run.folder)) as recorder:
            for record in self.history.records:
                recorder.append(record)
            recorder.settle()
            seconds = self.history.records[-1]["seconds"] if self.history.records else 0.0
            finish(run, job, seconds)

    @classmethod
    @arguments_named()
    def load(
        cls,
        path: Path | str,
        tasks: Given | None = None,
        *,
        validation: Given | None = None,
        test: Given | None = None,
        net: nn.Module | None = None,
        device: str = "auto",
    ) -> Self:
        """The platform of a run's folder, from `save` or `quickstudy train`.

        Args:
            path: the folder.
            tasks: its tasks, where they were handed in from Python, to train on or be judged by;
                else they are opened again.
            validation: as for the class.
            test: as for the class.
            net: your own net, where the learner was stored with one.
            device: where.

        Raises:
            QuickstudyError: there is no model, or its tasks are not there.
        """
        if tasks is None and (validation is not None or test is not None):
            raise TaskError("validation and test tasks go with tasks; got them alone")
        run = open_run(path)
        where = choose_device(device)
        learner, model = load_model(path, net=net, device=where)
        if tasks is None and run.config.data == IN_MEMORY:
            how = model.manifest.preprocessing
            source: Source = NotGiven(model.manifest.input_shape or (), reading_of(how, path))
        elif tasks is None:
            source = open_for(model.manifest, path, run.config.data, where)
        else:
            how = model.manifest.preprocessing
            wanted = Wanted(
                preprocessing=reading_of(how, path) if how else None,
                kept=parse_kept(model.manifest.training.get("kept"), path),
                device=where,
            )
            source = open_given(tasks, validation, test, wanted)
        platform = cls(None, source, learner, device=device)
        platform.config = run.config.model_copy(update={"device": device})
        control = model.manifest.metrics.get("control")
        mean = control.get("mean") if isinstance(control, dict) else None
        platform.history = History(run.metrics(), mean if isinstance(mean, float) else None)
        return platform

    def _go(self, job: Job, events: Iterator[Event], progress: bool) -> History:
        """Iterate a job to its end, or until somebody presses Ctrl-C, and keep what happened."""
        before = self.history.records
        done, spent = (before[-1]["step"], before[-1]["seconds"]) if before else (0, 0.0)
        begun = job.fit.step
        self._job = job
        records: list[dict[str, JsonValue]] = []
        console = screen.err()
        console.quiet = console.quiet or not progress
        try:
            with closing(events), screen.Steps(console, job.config.steps, begun) as shown:  # type: ignore[type-var]
                for event in events:
                    if isinstance(event, Stepped):
                        shown.show(event.progress)
                        row = row_of(event.progress, event.seconds + spent)
                        records.append(row | {"step": event.progress.step + done})
        except KeyboardInterrupt:
            job.fit.use_kept_weights()
            raise
        finally:
            self.learner.eval()
            self.history = History(before + records)
        control = job.control()
        self.history.control = control[1].mean if control else None
        return self.history


def _steps_of(job: Job) -> Iterator[Stepped]:
    """The steps of a job that writes nothing."""
    start = time.monotonic()
    for progress in job.fit:
        yield Stepped(progress, time.monotonic() - start)
