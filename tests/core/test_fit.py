import math

import pytest
import torch
from torch import nn

from quickstudy.artefacts import load_checkpoint, save_checkpoint
from quickstudy.core import Evaluation, Examples, Task, evaluate, examples, fit
from quickstudy.data import Blobs, Sinusoids
from quickstudy.errors import RunError, TaskError
from quickstudy.learners import MAML, ProtoNet
from quickstudy.nets import MLP, Conv4


class Dropped(MLP):
    """A net that draws from torch's global generator, as dropout does."""

    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.2, self.training)


def learner(net=MLP):
    torch.manual_seed(0)
    return ProtoNet(net(2, [8], 8, norm="batch"))


def started(**options):
    return fit(
        learner(Dropped),
        Blobs(way=3, shot=1),
        steps=12,
        tasks_per_step=2,
        average=0.9,
        evaluate_every=4,
        validate=lambda module: evaluate(module, Blobs(way=3, shot=1), tasks=20),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12),
        **options,
    )


@pytest.mark.parametrize("stopped_after", [1, 4, 7, 11])
def test_a_resumed_run_ends_in_the_same_bytes(stopped_after, tmp_path):
    whole = started(seed=3)
    progress = list(whole)
    first = started(seed=3)
    for _ in range(stopped_after):
        next(first)
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    torch.manual_seed(99)  # another process would not stand where this one did
    second = started(seed=5)
    second.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))
    rest = list(second)
    assert rest == progress[stopped_after:]
    for name, tensor in whole.learner.state_dict().items():
        assert torch.equal(tensor, second.learner.state_dict()[name]), name


def test_looking_at_validation_does_not_change_training():
    quiet = fit(learner(), Blobs(way=3, shot=1), steps=6)
    watched = fit(
        learner(),
        Blobs(way=3, shot=1),
        steps=6,
        evaluate_every=1,
        validate=lambda m: evaluate(m, Blobs(way=3, shot=1), tasks=5),
    )
    assert [p.loss for p in quiet] == [p.loss for p in watched]


def test_the_best_weights_are_kept():
    scores = iter([0.5, 0.9, 0.7])
    seen = []

    def validate(module):
        seen.append(module.net.layers[0].weight.detach().clone())
        return Evaluation(next(scores), 0.1, 10)

    run = fit(learner(), Blobs(), steps=3, evaluate_every=1, validate=validate)
    assert [p.best for p in run] == [True, True, False]
    assert torch.equal(run.learner.net.layers[0].weight, seen[1])
    assert not run.learner.training


def test_patience_ends_a_run_and_keeps_the_best_weights(tmp_path):
    def run(scores):
        left = iter(scores)
        return fit(
            learner(), Blobs(), steps=9, evaluate_every=1, patience=2,
            validate=lambda module: Evaluation(next(left), 0.1, 10),
        )  # fmt: skip

    whole = run([0.5, 0.6, 0.6, 0.5])
    seen = [(p.step, p.best) for p in whole]
    assert seen == [(1, True), (2, True), (3, False), (4, False)]
    assert whole.ended
    assert not whole.learner.training
    # Resumed between two looks without a better one, it ends at the same step.
    first = run([0.5, 0.6, 0.6])
    for _ in range(3):
        next(first)
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    second = run([0.5])
    second.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))
    assert [p.step for p in second] == [4]
    assert torch.equal(whole.learner.net.layers[0].weight, second.learner.net.layers[0].weight)


def test_the_gap_is_how_much_better_meta_train_tasks_are_answered():
    def gap(metric):
        (progress,) = fit(
            learner(), Blobs(), steps=1,
            validate=lambda module: Evaluation(0.5, 0.1, 10, metric),
            contrast=lambda module: Evaluation(0.75, 0.1, 10, metric),
        )  # fmt: skip
        return progress.gap

    assert gap("accuracy") == 0.25
    assert gap("squared_error") == -0.25
    (quiet,) = fit(learner(), Blobs(), steps=1)
    assert quiet.gap is None


def test_whoever_asks_for_a_stop_is_heard_once_a_step():
    asked = iter([False, True])
    run = fit(learner(), Blobs(), steps=9, stop=lambda: next(asked))
    assert [next(run).stop, next(run).stop] == [False, True]


def test_tasks_that_do_not_fit_are_refused_at_the_first_step():
    with pytest.raises(TaskError, match="ProtoNet learns classes, y must be one-hot"):
        next(fit(ProtoNet(MLP(1, [4], 4)), Sinusoids(), steps=1))


def test_a_kept_learner_has_the_statistics_of_its_weights():
    run = fit(learner(), Blobs(way=3), steps=2, calibration_tasks=8)
    for _ in run:
        pass
    affine, norm = run.learner.net.layers[:2]
    batch = Blobs(way=3).sample(8, torch.Generator().manual_seed(2**31 - 1))
    z = affine(torch.cat([batch.support.x, batch.query.x], 1)).detach()
    torch.testing.assert_close(norm.mean, z.mean(1).mean(0))
    torch.testing.assert_close(norm.variance, z.var(1, correction=0).mean(0))


class Exploding(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def loss(self, x):
        return self.w * x.sum()


class Numbers:
    """A source of plain tensors: fit does not ask for tasks."""

    def __init__(self, bad_at):
        self.drawn, self.bad_at = 0, bad_at

    def sample(self, count, generator):
        self.drawn += 1
        return torch.full((count, 1), math.nan if self.drawn == self.bad_at else 1.0)


def test_a_loss_that_is_not_finite_stops_with_one_clear_line():
    run = fit(Exploding(), Numbers(bad_at=2), steps=4)
    next(run)
    with pytest.raises(RunError, match="step 2: the loss is nan"):
        next(run)


def test_such_steps_can_be_skipped():
    run = fit(Exploding(), Numbers(bad_at=2), steps=4, nonfinite="skip")
    losses = [p.loss for p in run]
    assert math.isnan(losses[1])
    assert math.isfinite(run.learner.w.item())
    assert losses[2] < losses[0]


def test_clipping_bounds_the_step_and_reports_the_norm_before():
    run = fit(
        Exploding(), Numbers(0), steps=1, clip=0.25, optimizer=lambda p: torch.optim.SGD(p, 1.0)
    )
    assert next(run).gradient_norm == pytest.approx(1.0)
    assert run.learner.w.item() == pytest.approx(0.75)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"tasks_per_step": 0},
        {"average": 1.0},
        {"clip": 0.0},
        {"nonfinite": "hide"},
        {"patience": 0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(TaskError, match=next(iter(options))):
        fit(learner(), Blobs(), **{"steps": 1, **options})


def test_a_checkpoint_of_another_learner_is_refused():
    state = fit(learner(), Blobs(), steps=1).state_dict()
    other = fit(MAML(MLP(2, [4], 4)), Blobs(), steps=1)
    with pytest.raises(RunError, match="does not fit"):
        other.load_state_dict(state)


@pytest.mark.parametrize("fused", [False, True])
def test_resume_pairs_moments_with_weights_of_any_memory_layout(fused, tmp_path):
    def run():
        torch.manual_seed(0)
        images = ProtoNet(Conv4(1, width=4, size=16))
        return fit(
            images,
            Pictures(),
            steps=6,
            average=0.5,
            optimizer=lambda p: torch.optim.AdamW(p, 1e-2, fused=fused),
        )

    whole, first = run(), run()
    list(whole)
    for _ in range(3):
        next(first)
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    second = run()
    second.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))
    list(second)
    for name, tensor in whole.learner.state_dict().items():
        assert torch.equal(tensor, second.learner.state_dict()[name]), name


class Pictures:
    def sample(self, count, generator):
        x = torch.rand(count, 6, 1, 16, 16, generator=generator)
        y = torch.eye(3).repeat(2, 1).expand(count, -1, -1)
        half = Examples(x, y, torch.ones(count, 6))
        return Task(half, half)


def test_a_query_whose_class_has_no_support_weighs_nothing():
    x = torch.randn(3, 2)
    support = examples(x[:2], torch.tensor([0, 1]), way=3)
    known, unknown = (examples(x, torch.tensor(labels), way=3) for labels in ([0, 1, 1], [0, 1, 2]))
    module = learner().eval()
    assert module.loss(Task(support, unknown)) < 100
    part = Examples(known.x[:2], known.y[:2], known.mask[:2])
    torch.testing.assert_close(
        module.loss(Task(support, unknown)), module.loss(Task(support, part))
    )


@pytest.mark.parametrize("stopped_after", [0, 2])
def test_a_learner_that_asks_is_told_how_far_training_is(stopped_after):
    class Told(Exploding):
        def __init__(self):
            super().__init__()
            self.heard = []

        def advance(self, fraction):
            self.heard.append(fraction)

    first = fit(Told(), Numbers(0), steps=4)
    for _ in range(stopped_after):
        next(first)
    second = fit(Told(), Numbers(0), steps=4)
    second.load_state_dict(first.state_dict())
    list(second)
    assert first.learner.heard + second.learner.heard == [0, 0.25, 0.5, 0.75]
