"""The one meta-training loop.

`fit` is generic: whatever has `loss(T)` can be trained on a source of T, be it a few-shot learner
on tasks or a learned optimizer on problems. It shows nothing; it yields what happened, and the
caller that owns the screen shows it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quickstudy.core.batching import AUTO, Batching, accumulate_gradients, device_of
from quickstudy.core.distributed import add_up, share
from quickstudy.core.evaluate import Evaluation
from quickstudy.core.tasks import TaskSource, check_targets, move
from quickstudy.errors import JobError, RunError, TaskError

CALIBRATION_SEED = 2**31 - 1
"""Population statistics are computed on tasks of their own, so that looking changes no training."""


class Progress(NamedTuple):
    """What one outer step did.

    Attributes:
        step: 1..steps.
        steps: how many in all.
        loss: mean over the step's tasks; NaN or infinite where the step was skipped.
        gradient_norm: before clipping.
        validation: the evaluation after this step, where one was due.
        best: whether that evaluation is the best so far.
        training: the evaluation on meta-train tasks beside it, where there is a `contrast`.
        stop: whether this process, or another of the same job, was asked to stop.
    """

    step: int
    steps: int
    loss: float
    gradient_norm: float
    validation: Evaluation | None = None
    best: bool = False
    training: Evaluation | None = None
    stop: bool = False

    @property
    def gap(self) -> float | None:
        """How much better meta-train tasks are answered than meta-validation tasks.

        In accuracy (0..1) or squared error; a gap that grows is meta-overfitting.
        """
        if self.validation is None or self.training is None:
            return None
        return self.training.score - self.validation.score


class Fit(Iterator[Progress]):
    """Meta-train: sample tasks, take the mean loss, step, and say what happened.

    Nothing runs until the result is iterated. When it ends, the learner holds the best weights
    that `validate` saw, or the last ones where there is no `validate`. Whoever leaves early calls
    `use_kept_weights` before using the learner.

    Args:
        learner: a module with `loss(T)`; where it has them, `advance(share of the steps done)` is
            called before each step, and `calibrate(batch of T)` before weights are kept.
        source: hands out batches of T.
        steps: outer steps, >= 1.
        tasks_per_step: T a step, >= 1.
        optimizer: parameters to an outer optimizer; Adam at 1e-3 where not given.
        schedule: optimizer to a schedule of its rate, stepped once an outer step.
        clip: largest norm of the outer gradient; None for no limit.
        validate: learner to an evaluation, on meta-validation tasks.
        evaluate_every: steps between evaluations; 0 for one at the end.
        contrast: learner to an evaluation on meta-train tasks, taken beside each of `validate`: the
            two differ by the gap between what was trained on and what was not.
        patience: stop after so many evaluations in a row without a better one; None for never.
        average: decay of an exponential mean of the weights, in [0, 1); 0 for none. The mean is
            what is evaluated and kept.
        calibration_tasks: meta-train tasks from which population statistics are computed.
        nonfinite: "stop" with an error at a loss or gradient that is not finite, or "skip" it.
        batching: how a step's tasks run.
        seed: of the generator that draws the tasks.
        stop: whether this process was asked to stop; asked once a step, and told to every process
            of the job, so that all can leave after the same step.

    Raises:
        TaskError: an argument is out of range; or (while iterating) tasks that do not fit.
        RunError: (while iterating) a loss that is not finite, or another process that is gone.

    Examples:
        >>> from quickstudy.data import Blobs
        >>> from quickstudy.learners import ProtoNet
        >>> from quickstudy.nets import MLP
        >>> _ = torch.manual_seed(0)
        >>> learner = ProtoNet(MLP(2, [16], 8))
        >>> losses = [p.loss for p in fit(learner, Blobs(way=3, shot=1), steps=30)]
        >>> sum(losses[-10:]) < sum(losses[:10])
        True
    """

    def __init__(
        self,
        learner: nn.Module,
        source: TaskSource[Any],
        *,
        steps: int,
        tasks_per_step: int = 4,
        optimizer: Callable[[Any], Optimizer] | None = None,
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        clip: float | None = 10.0,
        validate: Callable[[nn.Module], Evaluation] | None = None,
        evaluate_every: int = 0,
        contrast: Callable[[nn.Module], Evaluation] | None = None,
        patience: int | None = None,
        average: float = 0.0,
        calibration_tasks: int = 16,
        nonfinite: Literal["stop", "skip"] = "stop",
        batching: Batching = AUTO,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        counts = {"steps": steps, "tasks_per_step": tasks_per_step, "patience": patience}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise TaskError(f"{name} must be at least 1, got {value}")
        if not 0 <= average < 1:
            raise TaskError(
                f"average, the decay of the weights' mean, must lie in [0, 1), got {average}"
            )
        if clip is not None and not clip > 0:
            raise TaskError(
                f"clip, the largest gradient norm, must be positive or None, got {clip}"
            )
        if nonfinite not in ("stop", "skip"):
            raise TaskError(f"nonfinite must be stop or skip, got {nonfinite!r}")
        self.learner = learner
        self.source = source
        self.steps = steps
        self.tasks_per_step = tasks_per_step
        self.clip = clip
        self.validate = validate
        self.evaluate_every = evaluate_every
        self.contrast = contrast
        self.patience = patience
        self.stop = stop
        self.average = average
        self.calibration_tasks = calibration_tasks
        self.nonfinite = nonfinite
        self.batching = batching
        self.step = 0
        self.checked = False
        self.stale_looks = 0
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.generator = torch.Generator().manual_seed(seed)
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.optimizer = (optimizer or torch.optim.Adam)(self.parameters)
        self.schedule = schedule(self.optimizer) if schedule else None
        self.averaged = [p.detach().clone() for p in self.parameters] if average else []

    @property
    def ended(self) -> bool:
        """Whether no step is left: all are done, or patience is at its end."""
        bored = self.patience is not None and self.stale_looks >= self.patience
        return self.step >= self.steps or bored

    def __next__(self) -> Progress:
        over = self.ended  # looked at again below, when a step has been done
        if over:
            raise StopIteration
        self.learner.train()
        advance = getattr(self.learner, "advance", None)
        if callable(advance):  # of the step alone, so that a run that goes on does the same
            advance(self.step / self.steps)
        batch = self._sample(self.tasks_per_step, self.generator)
        if not self.checked:
            check_targets(self.learner, batch)
            self.checked = True
        self.optimizer.zero_grad(set_to_none=True)
        losses = accumulate_gradients(
            self.learner, share(batch), self.batching, count=self.tasks_per_step
        )
        told = torch.stack([losses.sum(), losses.new_tensor(float(self.stop()))])
        total, stop = add_up(self.parameters, told).tolist()
        loss = total / self.tasks_per_step
        norm = float(
            nn.utils.clip_grad_norm_(self.parameters, math.inf if self.clip is None else self.clip)
        )
        self.step += 1
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            self._move_average()
        elif self.nonfinite == "stop":
            raise JobError(  # the numbers are sums over all processes
                f"step {self.step}: the loss is {loss} and its gradient's norm {norm}; "
                "wanted finite numbers (lower the rate, clip harder, or skip such steps)"
            )
        if self.schedule:
            self.schedule.step()
        validation, best, training = self._look()
        if self.ended:
            self._finish()
        return Progress(
            self.step, self.steps, loss, norm, validation, best, training, stop=stop > 0
        )

    def _sample(self, count: int, generator: torch.Generator) -> Any:
        return move(self.source.sample(count, generator), device_of(self.learner))

    def _move_average(self) -> None:
        if self.average:
            # The decay rises to its value, so that the first, random weights are soon forgotten.
            decay = min(self.average, self.step / (self.step + 9))
            for mean, parameter in zip(self.averaged, self.parameters, strict=True):
                mean.lerp_(parameter.detach(), 1 - decay)

    def _look(self) -> tuple[Evaluation | None, bool, Evaluation | None]:
        """Evaluate the weights as they would be kept, where it is due, and keep the best."""
        due = self.evaluate_every and self.step % self.evaluate_every == 0
        if self.validate is None or not (due or self.step == self.steps):
            return None, False, None
        raw = copy.deepcopy(self.learner.state_dict())
        self.use_kept_weights()
        validation = self.validate(self.learner)
        training = self.contrast(self.learner) if self.contrast else None
        best = validation.score > self.best_score
        self.stale_looks = 0 if best else self.stale_looks + 1
        if best:
            self.best_score = validation.score
            self.best_weights = copy.deepcopy(self.learner.state_dict())
        self.learner.load_state_dict(raw)
        return validation, best, training

    def use_kept_weights(self) -> None:
        """Put the weights' mean into the learner, with population statistics to match.

        For whoever leaves a run early; one that ends does it by itself.
        """
        with torch.no_grad():
            for parameter, mean in zip(self.parameters, self.averaged, strict=False):
                parameter.copy_(mean)
            calibrate = getattr(self.learner, "calibrate", None)
            if callable(calibrate):
                generator = torch.Generator().manual_seed(CALIBRATION_SEED)
                self.learner.eval()
                calibrate(self._sample(self.calibration_tasks, generator))

    def _finish(self) -> None:
        """Leave the learner with the best weights seen, or the last where nobody looked."""
        if self.best_weights is None:
            self.use_kept_weights()
        else:
            self.learner.load_state_dict(self.best_weights)
        self.learner.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs: weights, optimizer, schedule, generators, best."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "step": self.step,
            "learner": copy.deepcopy(self.learner.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "schedule": _schedule_state(self.schedule),
            "averaged": [mean.clone() for mean in self.averaged],
            "stale_looks": self.stale_looks,
            "best_score": self.best_score,
            "best_weights": copy.deepcopy(self.best_weights),
            "generator": self.generator.get_state(),
            "torch_generator": torch.get_rng_state(),
            "cuda_generators": cuda,
        }

    def _lay_like_parameters(self) -> None:
        """Give the optimizer's moments their parameters' memory layout, which storage loses.

        Fused optimizers walk through memory and would pair the wrong numbers.
        """
        for parameter, held in self.optimizer.state.items():
            for name, moment in held.items():
                if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                    held[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            RunError: the state belongs to another learner, optimizer or schedule.
        """
        try:
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.schedule:
                self.schedule.load_state_dict(state["schedule"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise RunError(f"the checkpoint does not fit this learner: {error}") from error
        self._lay_like_parameters()
        self.step = state["step"]
        self.averaged = [
            torch.empty_like(p).copy_(mean)
            for p, mean in zip(self.parameters, state["averaged"], strict=False)
        ]
        self.stale_looks = state["stale_looks"]
        self.best_score = state["best_score"]
        self.best_weights = state["best_weights"]
        self.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch_generator"].cpu())
        for index, held in enumerate(state["cuda_generators"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(held.cpu(), index)


def _schedule_state(schedule: LRScheduler | None) -> dict[str, Any]:
    """A scheduler's numbers; its callables are rebuilt by whoever resumes."""
    if schedule is None:
        return {}
    plain = (int, float, str, bool, list, tuple, type(None))
    return {k: v for k, v in schedule.state_dict().items() if isinstance(v, plain)}


fit = Fit
"""The verb: `for progress in fit(learner, source, steps=1000): ...`"""
