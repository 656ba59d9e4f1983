import copy

import pytest
import torch
from torch import nn

from quickstudy.core import SGD, Batching, Examples, LearnedRates, Task, examples, fit, stack
from quickstudy.core.batching import accumulate_gradients
from quickstudy.core.tasks import tree_map
from quickstudy.data import Blobs
from quickstudy.errors import TaskError
from quickstudy.learners import ANIL, MAML, MetaSGD, Reptile
from quickstudy.nets import MLP


def random_task(way=3, shot=2, queries=4, width=5):
    def half(each):
        return examples(torch.randn(way * each, width), torch.arange(way * each) % way, way)

    return Task(half(shot), half(queries))


class Plain(nn.Identity):
    """A net that hands its inputs on, and so has nothing to adapt."""

    features = 5


def gradients(learner):
    return {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}


def same_start(*learners):
    for learner in learners[1:]:
        learner.load_state_dict(learners[0].state_dict())


@pytest.mark.parametrize("first_order", [False, True])
def test_anil_is_maml_where_the_body_cannot_move(first_order):
    torch.manual_seed(0)
    options = {"rule": SGD(0.3), "steps": 3, "first_order": first_order, "outputs": 3}
    anil, maml = ANIL(Plain(), **options), MAML(Plain(), **options)
    same_start(anil, maml)
    task = random_task()
    ours, theirs = anil.loss(task), maml.loss(task)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    for name, grad in gradients(maml).items():
        torch.testing.assert_close(gradients(anil)[name], grad)


@pytest.mark.parametrize("make", [MAML, MetaSGD])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("batching", ["loop", "vmap"])
def test_a_first_step_by_the_head_alone_is_exact(make, first_order, steps, batching):
    torch.manual_seed(0)
    options = {"steps": steps, "first_order": first_order}
    quick = make(MLP(5, [8], 8), **options).double()
    whole = copy.deepcopy(quick)
    whole._equal_rows = False  # takes the first step as any other
    full, fewer = random_task(), random_task()
    fewer.support.mask[:2] = 0
    absent = random_task()
    absent.support.mask[absent.support.y[:, 1] > 0] = 0
    absent.query.mask[absent.query.y[:, 1] > 0] = 0
    tasks = tree_map(torch.Tensor.double, stack([full, fewer, absent]))
    losses = [accumulate_gradients(each, tasks, Batching(batching)) for each in (quick, whole)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    assert gradients(quick).keys() == gradients(whole).keys()
    for name, grad in gradients(whole).items():
        torch.testing.assert_close(gradients(quick)[name], grad, rtol=1e-10, atol=1e-12)


def test_one_step_of_a_way_free_head_takes_no_backward_pass_of_the_body():
    class Watched(torch.autograd.Function):
        backwards = 0

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            Watched.backwards += 1
            return grad

    class Body(MLP):
        def forward(self, x):
            return Watched.apply(super().forward(x))

    task = random_task()
    for steps, passes in ((1, 0), (3, 2)):
        Watched.backwards = 0
        MAML(Body(5, [8], 8), steps=steps).adapt(task.support)
        assert Watched.backwards == passes


def test_anil_adapts_the_head_alone_and_trains_the_body_through_it():
    torch.manual_seed(0)
    learner = ANIL(MLP(5, [8], 8))
    task = random_task()
    assert list(learner.adapt(task.support)["params"]) == ["head.weight", "head.bias"]
    learner.loss(task).backward()
    assert all(grad.abs().sum() > 0 for name, grad in gradients(learner).items() if "net" in name)


def test_anil_runs_the_body_once_whatever_the_steps():
    class Counted(Plain):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x

    learner = ANIL(Counted(), steps=9)
    task = random_task()
    learner.train().loss(task)
    assert learner.net.calls == 1
    learner.adapt(task.support)
    assert learner.net.calls == 2


def test_meta_sgd_is_maml_with_learned_rates():
    torch.manual_seed(0)
    meta_sgd = MetaSGD(MLP(5, [8], 8), rate=0.3, steps=2)
    maml = MAML(MLP(5, [8], 8), rule=LearnedRates(0.3), steps=2)
    same_start(meta_sgd, maml)
    task = random_task()
    losses = [learner.loss(task) for learner in (meta_sgd, maml)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    assert gradients(meta_sgd).keys() == gradients(maml).keys()
    assert any("rule.learned" in name for name in gradients(meta_sgd))
    for name, grad in gradients(maml).items():
        assert torch.equal(gradients(meta_sgd)[name], grad)


def test_meta_sgd_with_one_step_is_the_hand_written_one():
    torch.manual_seed(0)
    learner = MetaSGD(MLP(3, [], 2), rate=0.2, steps=1, outputs=1, targets="values").double()
    with torch.no_grad():
        for rates in learner.rule.learned.values():
            rates.add_(0.1 * torch.randn_like(rates))
    x, y = torch.randn(4, 3).double(), torch.randn(4, 1).double()
    half = Examples(x, y, torch.ones(4).double())
    named = dict(learner.named_parameters())
    weights = [p for name, p in named.items() if "rule" not in name]
    rates = [p for name, p in named.items() if "rule" in name]

    def loss(w):
        return (((x @ w[0].T + w[1]) @ w[2].T + w[3] - y) ** 2).mean()

    grads = torch.autograd.grad(loss(weights), weights, create_graph=True)
    after = loss([w - r * g for w, r, g in zip(weights, rates, grads, strict=True)])
    wanted = torch.autograd.grad(after, weights + rates)
    learner.loss(Task(half, half)).backward()
    for parameter, grad in zip(weights + rates, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MetaSGD(MLP(2, [8], 8)),
        lambda: MAML(MLP(2, [8], 8), rule=LearnedRates(0.1, per="tensor"), steps=2),
        lambda: ANIL(MLP(2, [8], 8), rule=LearnedRates(0.1, per="tensor")),
    ],
)
def test_every_rate_is_learned(make):
    torch.manual_seed(0)
    learner = make()
    before = learner.rule.rates()
    for _ in fit(learner, Blobs(way=3, shot=2), steps=5):
        pass
    after = learner.rule.rates()
    assert before.keys() == after.keys()
    assert all(abs(after[name] - before[name]) > 1e-4 for name in before)


def hand_written_reptile(net, head, tasks, rate, batches):
    """The mean over tasks of what plain gradient descent on minibatches moves."""
    whole = nn.Sequential(net, head)
    moves = [torch.zeros_like(p) for p in whole.parameters()]
    for task in tasks:
        fitted = copy.deepcopy(whole)
        optimizer = torch.optim.SGD(fitted.parameters(), rate)
        x = torch.cat([task.support.x, task.query.x])
        labels = torch.cat([task.support.y, task.query.y]).argmax(1)
        for batch in range(batches):
            rows = []
            for label in labels.unique():
                rows += (labels == label).nonzero().flatten()[batch::batches].tolist()
            optimizer.zero_grad()
            nn.functional.cross_entropy(fitted(x[rows]), labels[rows]).backward()
            optimizer.step()
        for move, new, old in zip(moves, fitted.parameters(), whole.parameters(), strict=True):
            move += (new.detach() - old.detach()) / len(tasks)
    return moves


@pytest.mark.parametrize("mode", ["loop", "vmap"])
def test_an_outer_sgd_takes_exactly_the_papers_step(mode):
    torch.manual_seed(0)
    learner = Reptile(MLP(5, [8], 8), SGD(0.3), batches=3, outputs=3).double()
    tasks = [random_task() for _ in range(4)]
    tasks = [Task(*(Examples(*(t.double() for t in half)) for half in task)) for task in tasks]
    before = [p.detach().clone() for p in learner.parameters()]
    head = nn.Linear(8, 3)
    head.weight, head.bias = learner.head.weight, learner.head.bias
    moves = hand_written_reptile(learner.net, head, tasks, rate=0.3, batches=3)

    class Constant:
        def sample(self, count, generator):
            return stack(tasks)

    steps = fit(
        learner,
        Constant(),
        steps=1,
        tasks_per_step=4,
        clip=None,
        batching=Batching(mode),
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.5),
    )
    list(steps)
    for old, move, new in zip(before, moves, learner.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old + 0.5 * move)


def test_the_value_of_reptiles_loss_is_the_objective_after_adapting():
    torch.manual_seed(0)
    learner = Reptile(MLP(5, [8], 8), SGD(0.3), steps=1, batches=1)
    support, query = random_task()
    whole = Examples(*(torch.cat([s, q]) for s, q in zip(support, query, strict=True)))
    logits = learner.predict(learner.adapt(whole), whole.x)
    wanted = learner.measure(logits, whole.y, whole.mask)
    torch.testing.assert_close(learner.loss(Task(support, query)), wanted)
    # In evaluation it is every learner's loss.
    logits = learner.predict(learner.adapt(support), query.x)
    wanted = learner.measure(logits, query.y, query.mask)
    torch.testing.assert_close(learner.eval().loss(Task(support, query)), wanted)


def test_rows_that_start_alike_move_the_net_as_rows_of_their_own_do_and_stay_alike():
    torch.manual_seed(0)
    net = MLP(5, [8], 8)
    shared = Reptile(net, SGD(0.3, momentum=0.5), batches=2).double()
    own = Reptile(net, SGD(0.3, momentum=0.5), batches=2, outputs=3).double()
    with torch.no_grad():
        own.head.weight.zero_()
        own.head.bias.zero_()
    task = random_task()
    task = Task(*(Examples(*(t.double() for t in half)) for half in task))
    # A way that nobody is in is not among them.
    wide = Task(*(half._replace(y=nn.functional.pad(half.y, (0, 2))) for half in task))
    shared.loss(wide).backward()
    of_net = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    own.loss(task).backward()
    for name in ("weight", "bias"):
        moved = getattr(own.head, name).grad.mean(0)
        torch.testing.assert_close(moved, torch.zeros_like(moved))
    for ours, p in zip(of_net, net.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad)


def test_reptile_moves_no_buffers():
    torch.manual_seed(0)
    learner = Reptile(MLP(5, [8], 8, norm="batch"))
    with torch.no_grad():
        for buffer in learner.buffers():
            buffer.uniform_(1, 2)
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    task = random_task()

    class Constant:
        def sample(self, count, generator):
            return stack([task])

    list(fit(learner, Constant(), steps=2, tasks_per_step=1))
    assert before
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_reptiles_minibatches_look_at_every_row_and_leave_no_class_out(kind):
    learner = Reptile(MLP(1, [], 4), batches=3, outputs=2, targets=kind)
    labels = torch.tensor([0, 0, 1, -1, 0, 0, 0, 0, 0, 1])
    mask = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 0, 0, 1])
    x = torch.arange(10.0)[:, None]
    both = Examples(x, examples(x, labels, way=2).y, mask)
    batches = list(learner._minibatches(both))
    assert len(batches) == 3
    seen = [batch.x[batch.mask > 0].flatten().tolist() for batch in batches]
    if kind == "classes":  # five of class 0, and two of class 1, which start anew
        assert [sorted(rows) for rows in seen] == [[0, 2, 5], [1, 6, 9], [2, 4]]
        assert [len(batch.x) for batch in batches] == [3, 3, 2]
    else:  # every row is in one batch
        assert sorted(row for rows in seen for row in rows) == [0, 1, 2, 3, 4, 5, 6, 9]


def test_reptile_refuses_a_rule_that_it_cannot_train():
    with pytest.raises(TaskError, match="no gradient for what a LearnedRates learns"):
        Reptile(MLP(5), rule=LearnedRates())


def test_an_empty_support_adapts_to_nothing():
    learner = MAML(MLP(4, [8], 8), steps=2, outputs=3)
    part = examples(torch.rand(6, 4), torch.arange(6) % 3, way=3)
    empty = Examples(*(t[:0] for t in part))
    assert learner.loss(Task(empty, part)).isfinite()
