"""What does not fit is refused in one clear line, whatever the learner."""

import math

import pytest
import torch
from tests.contract import zoo

from quickstudy.core import SGD, Batching, Examples, Task, check_targets, evaluate, examples, fit
from quickstudy.core.tasks import pad, stack
from quickstudy.data import Labelled, Pool, Sinusoids
from quickstudy.errors import RunError, TaskError
from quickstudy.learners import (
    ANIL,
    BDCSPN,
    BOIL,
    CAVIA,
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
    PriorFitted,
    ProtoMAML,
    ProtoNet,
    RelationNet,
    Reptile,
    SetTransformer,
    SimpleShot,
    SoftKMeans,
)
from quickstudy.nets import MLP

CLASSIFIERS = [
    ProtoNet,
    MatchingNet,
    RelationNet,
    R2D2,
    MAML,
    MetaSGD,
    ANIL,
    Reptile,
    SetTransformer,
    FEAT,
    MetaBaseline,
    LRD2,
    DKT,
    SoftKMeans,
    BDCSPN,
    TIM,
    PTMAP,
    LaplacianShot,
    PriorFitted,
    BOIL,
    ProtoMAML,
    MAMLPlusPlus,
    IMAML,
    CAVIA,
    SimpleShot,
    BaselinePlusPlus,
    FineTuning,
]
PRETRAINED = [SimpleShot, BaselinePlusPlus, FineTuning]
WITH_OUTPUTS = [MAML, MetaSGD, ANIL, Reptile, BOIL, MAMLPlusPlus, IMAML, CAVIA]


def half(rows, way=2, width=5):
    return examples(torch.randn(rows, width), torch.arange(rows) % way, way)


@pytest.mark.parametrize("learner", CLASSIFIERS)
def test_real_targets_are_refused_by_learners_of_classes(learner):
    made = learner(MLP(1, [8], 8))
    message = rf"{learner.__name__} learns classes, y must be one-hot \[n, way\], got real targets"
    with pytest.raises(TaskError, match=message):
        next(fit(made, Sinusoids(), steps=1))
    with pytest.raises(TaskError, match=message):
        evaluate(made, Sinusoids(), tasks=1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([[1.0, 1.0]]), "must be one-hot"),
        (torch.tensor([[0.5, 0.5]]), "must be one-hot"),
        (torch.tensor([[float("nan"), 0.0]]), "must be one-hot"),
        (torch.tensor([[1.0, 0.0, 0.0]]), r"of one width, got \[2, 2\] and \[1, 3\]"),
        (torch.tensor([1.0]), r"targets \[n, way\] or \[n, d\]"),
    ],
)
def test_targets_that_are_no_classes_are_refused(y, message):
    query = Examples(torch.randn(1, 5), y, torch.ones(1))
    with pytest.raises(TaskError, match=message):
        check_targets(ProtoNet(MLP(5)), Task(half(2), query))


def test_targets_that_fit_pass():
    task = Task(half(4), half(3))
    unlabelled = task._replace(support=task.support._replace(y=0 * task.support.y))
    padded = Task(pad(task.support, 6, 3), pad(task.query, 6, 3))
    padded.support.y[4:] = torch.nan
    for one in (task, unlabelled, padded, stack([task, task])):
        check_targets(ProtoNet(MLP(5)), one)
    values = Task(*(part._replace(y=torch.randn(len(part.y), 3)) for part in task))
    check_targets(R2D2(MLP(5), targets="values"), values)
    check_targets(torch.nn.Linear(2, 2), values)  # `fit` trains more than learners
    check_targets(ProtoNet(MLP(5)), torch.ones(3))


def test_values_that_are_no_numbers_are_refused():
    part = Examples(torch.randn(2, 5), torch.tensor([[1.0], [float("inf")]]), torch.ones(2))
    with pytest.raises(
        TaskError, match=r"R2D2 learns values, y must be finite, got NaN or infinity in"
    ):
        check_targets(R2D2(MLP(5), targets="values"), Task(part, part))


@pytest.mark.parametrize("batching", ["loop", "vmap"])
@pytest.mark.parametrize("learner", WITH_OUTPUTS)
def test_a_head_of_its_own_takes_no_other_number_of_targets(learner, batching):
    task = Task(half(6, way=3), half(6, way=3))
    classes = learner(MLP(5, [8], 8), outputs=5)
    with pytest.raises(TaskError, match=r"has 5 outputs, got a task with 3; a way-free head"):
        classes.adapt(task.support)
    values = learner(MLP(5, [8], 8), outputs=5, targets="values")

    class Constant:
        def sample(self, count, generator):
            return stack([task] * count)

    with pytest.raises(TaskError, match=r"this head has 5 outputs, got a task with 3$"):
        next(fit(values, Constant(), steps=1, batching=Batching(batching)))


@pytest.mark.parametrize("learner", WITH_OUTPUTS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "values"}, "real targets need a head of their own: say how many outputs"),
        ({"outputs": 0}, "a head has one output or more, got 0"),
        ({"targets": "both"}, "classes or values, got 'both'"),
        ({"steps": -1}, "inner step.*, got -1"),
        ({"objective": "hinge"}, "objective must be one of"),
    ],
)
def test_impossible_gradient_learners_are_refused(learner, arguments, message):
    with pytest.raises(TaskError, match=message):
        learner(MLP(5), **arguments)


def test_other_impossible_counts_are_refused():
    with pytest.raises(TaskError, match="one minibatch or more, got 0"):
        Reptile(MLP(5), batches=0)
    with pytest.raises(TaskError, match="one inner step or more, got 0"):
        ANIL(MLP(5), steps=0)
    with pytest.raises(TaskError, match="one inner step or more, got 0"):
        ProtoMAML(MLP(5), steps=0)


@pytest.mark.parametrize(
    "learner",
    [*WITH_OUTPUTS, *PRETRAINED, RelationNet, SetTransformer, FEAT, ALPaCA, PriorFitted, ProtoMAML],
)
def test_a_net_has_to_say_its_features(learner):
    with pytest.raises(TaskError, match=f"^{learner.__name__} needs a net that says its output"):
        learner(torch.nn.Linear(5, 5))


@pytest.mark.parametrize("learner", [*CLASSIFIERS, ALPaCA])
def test_torchs_own_batch_norm_is_refused(learner):
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    net.features = 4
    with pytest.raises(TaskError, match=r"the net's 1 is torch\.nn\.BatchNorm1d"):
        learner(net)


@pytest.mark.parametrize("learner", [MAML, MetaSGD, Reptile, BOIL, ProtoMAML, MAMLPlusPlus, IMAML])
def test_one_example_has_no_statistics(learner):
    made = learner(
        MLP(5, [8], 8, norm="batch"), 0.1 if learner in (MetaSGD, MAMLPlusPlus) else SGD(0.1)
    )
    for support in (half(1, way=1), pad(half(1, way=1), 4, 1)):
        with pytest.raises(TaskError, match=r"two values a channel or more, got one example"):
            made.adapt(support)
    made.adapt(half(2, way=1))
    learner(MLP(5, [8], 8, norm="group")).adapt(half(1, way=1))


@pytest.mark.parametrize("name", zoo.LEARNERS)
def test_targets_of_padding_may_be_anything(name):
    """In the loops too: an evaluation and a training step are those of zeros in their place."""
    clean = zoo.batch("mlp")
    broken = Task(
        *(p._replace(y=torch.where(p.mask[..., None] > 0, p.y, torch.nan)) for p in clean)
    )
    assert broken.support.y.isnan().any()
    seen = []
    for batch in (clean, broken):
        learner = zoo.build(name, "mlp")
        source = Same(batch)
        seen.append(evaluate(learner, source, tasks=3).values)
        if zoo.LEARNERS[name].trains:
            list(fit(learner, source, steps=1, tasks_per_step=3, calibration_tasks=3))
            seen[-1] = torch.cat([seen[-1], *(p.detach().flatten() for p in learner.parameters())])
    assert torch.equal(*seen)
    assert seen[0].isfinite().all()


class Same:
    """A source of one batch only."""

    def __init__(self, batch):
        self.batch = batch

    def sample(self, count, generator):
        return self.batch


@pytest.mark.parametrize("batching", ["loop", "vmap"])
def test_features_that_are_no_numbers_are_left_to_the_loop(batching):
    learner = R2D2(MLP(5, [8], 8))
    batch = stack([Task(half(4), half(4))] * 2)
    before = [p.detach().clone() for p in learner.parameters()]
    with torch.no_grad():
        batch.support.x[0, 0, 0] = 1e30  # finite; its square, in the regression, is not
    options = {"steps": 1, "tasks_per_step": 2, "batching": Batching(batching)}
    with pytest.raises(RunError, match="step 1: the loss is nan"):
        next(fit(learner, Same(batch), **options))
    (progress,) = fit(learner, Same(batch), nonfinite="skip", **options)
    assert not math.isfinite(progress.loss)
    assert all(map(torch.equal, before, learner.parameters()))


@pytest.mark.parametrize("name", zoo.LEARNERS)
def test_inputs_without_variance_give_finite_answers_and_gradients(name):
    learner = zoo.build(name, "mlp")
    task = zoo.task("mlp")
    for part in task:
        part.x.fill_(0.5)
    assert learner.answer(task).isfinite().all()
    if zoo.LEARNERS[name].trains:
        learner.loss(task).backward()
        assert all(p.grad.isfinite().all() for p in learner.parameters() if p.grad is not None)


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_no_queries_get_no_answers(cls):
    learner = cls(MLP(5, [8], 8)).eval()
    assert learner.predict(learner.adapt(half(6)), torch.zeros(0, 5)).shape == (0, 2)


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_nothing_learned_from_nothing_is_no_crash(cls):
    """Of no class there is a support example, so that none can be preferred."""
    learner = cls(MLP(5, [8], 8)).eval()
    nothing = Examples(torch.zeros(0, 5), torch.zeros(0, 2), torch.zeros(0))
    logits = learner.predict(learner.adapt(nothing), torch.randn(3, 5))
    assert logits.shape == (3, 2)
    assert not logits.isnan().any()


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_double_inputs_make_a_double_task(cls):
    learner = cls(MLP(5, [8], 8)).double().eval()
    support = examples(torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 2, 2)
    assert support.y.dtype == support.mask.dtype == torch.float64
    answers = learner.predict(learner.adapt(support), torch.randn(3, 5, dtype=torch.float64))
    assert answers.dtype == torch.float64
    assert answers.isfinite().all()


@pytest.mark.parametrize("cls", [ProtoNet, MAML, R2D2, PTMAP])
def test_learners_of_tasks_refuse_batches_without_support(cls):
    pool = Pool.from_labels(torch.randn(60, 5), torch.arange(60) // 6)
    with pytest.raises(TaskError, match=rf"{cls.__name__} learns from tasks, got examples without"):
        next(fit(cls(MLP(5, [8], 8)), Labelled(pool, examples=32), steps=1))


@pytest.mark.parametrize("cls", [MAML, IMAML, CAVIA, ANIL])
def test_a_rate_is_no_rule(cls):
    with pytest.raises(
        TaskError, match=r"rule must be an update rule, SGD\(0.1\) for one, got 0.1"
    ):
        cls(MLP(4, [8], 8), rule=0.1)


@pytest.mark.parametrize("cls", [ProtoNet, R2D2, PTMAP])
def test_nothing_is_no_net(cls):
    with pytest.raises(TaskError, match="must be a torch module, got NoneType"):
        cls(None)
