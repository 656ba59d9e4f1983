import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

from quickstudy.core import SGD, Examples, LearnedRates, Task, evaluate, examples, fit
from quickstudy.data import Sinusoids
from quickstudy.errors import TaskError
from quickstudy.learners import CAVIA
from quickstudy.nets import MLP


def a_task(kind="classes", way=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def half(rows):
        x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
        y = torch.randn(rows, way, generator=generator, dtype=torch.float64)
        if kind == "classes":
            y = examples(x, torch.arange(rows) % way, way).y.double()
        return Examples(x, y, torch.ones(rows, dtype=torch.float64))

    return Task(half(2 * way), half(4 * way))


def made(**options):
    torch.manual_seed(0)
    return CAVIA(MLP(5, [8], 4), context=3, hidden=6, **options).double()


def answers(learner, context, x):
    """By a loop over the contexts, each of which scales and shifts what the net says."""
    columns = []
    for k, numbers in enumerate(context):
        film = learner.film.weight @ numbers
        z = learner.net(x) * (1 + film[:4]) + film[4:]
        hidden = (z @ learner.layer.weight.T + learner.layer.bias).relu()
        row = min(k, len(learner.last.weight) - 1)
        column = hidden @ learner.last.weight[row]
        columns.append(column if learner.last.bias is None else column + learner.last.bias[row])
    return torch.stack(columns, 1)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(("kind", "outputs"), [("classes", None), ("classes", 3), ("values", 3)])
def test_it_is_the_hand_written_one(kind, outputs, first_order):
    learner = made(rule=SGD(0.7), steps=3, outputs=outputs, targets=kind, first_order=first_order)
    task = a_task(kind)
    objective = cross_entropy if kind == "classes" else mse_loss
    context = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        value = objective(answers(learner, context, task.support.x), task.support.y)
        (grad,) = torch.autograd.grad(value, context, create_graph=True)
        context = context - 0.7 * (grad.detach() if first_order else grad)
    value = objective(answers(learner, context, task.query.x), task.query.y)
    wanted = torch.autograd.grad(value, list(learner.parameters()))
    torch.testing.assert_close(learner.adapt(task.support)["context"], context)
    loss = learner.loss(task)
    loss.backward()
    torch.testing.assert_close(loss, value)
    for parameter, grad in zip(learner.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_the_order_of_the_classes_does_not_matter_nor_their_number():
    learner = made(rule=SGD(2.0))
    for way in (2, 5):
        support, query = a_task(way=way)
        state = learner.adapt(support)
        assert state["context"].shape == (way, 3)
        turned = learner.adapt(support._replace(y=support.y.roll(1, 1)))
        logits, again = (learner.predict(s, query.x) for s in (state, turned))
        torch.testing.assert_close(again, logits.roll(1, 1))


def test_what_a_task_leaves_is_its_context():
    learner, task = made(), a_task()
    state = learner.adapt(task.support)
    assert sorted(state) == ["context", "counts"]
    assert state["context"].numel() == 9
    # And a context of zeros changes nothing that the net says.
    zeros = {"context": torch.zeros(3, 3).double(), "counts": torch.ones(3)}
    hidden = learner.layer(learner.net(task.query.x)).relu()
    wanted = hidden @ learner.last.weight.T
    torch.testing.assert_close(learner.predict(zeros, task.query.x), wanted.expand(-1, 3))


def test_rates_of_the_context_are_learned():
    learner = made(rule=LearnedRates(0.5))
    learner.double().loss(a_task()).backward()
    assert list(learner.rule.rates()) == ["context"]
    assert (learner.rule.learned["context"].grad != 0).all()


def test_it_learns_sinusoids():
    torch.manual_seed(0)
    learner = CAVIA(MLP(1, [40, 40], 40), outputs=1, targets="values")
    tasks = Sinusoids(shot=10, queries=10)

    def error():
        return evaluate(learner, tasks, tasks=100, seed=1).mean

    before = error()
    for _ in fit(learner, tasks, steps=400):
        pass
    assert error() < 0.1 * before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "one number or more, got 0 and 64"),
        ({"hidden": 0}, "one number or more, got 32 and 0"),
        ({"steps": 0}, "one inner step or more, got 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        CAVIA(MLP(5), **options)
