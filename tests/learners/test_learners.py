import pytest
import torch

from quickstudy.core import SGD, Examples, Task, evaluate, examples
from quickstudy.core.tasks import pad, tree_map
from quickstudy.data import Sinusoids
from quickstudy.errors import TaskError
from quickstudy.learners import MAML, NearestMean, ProtoNet
from quickstudy.nets import MLP, Conv4


def blob_task(way=4, shot=3):
    x = torch.randn(way * shot, 5)
    half = examples(x, torch.arange(way * shot) % way, way)
    return Task(half, half)


@pytest.mark.parametrize("learner", [NearestMean(), ProtoNet(MLP(5, [8], 8))])
def test_extending_equals_adapting_to_all_at_once(learner):
    support = blob_task().support
    first, second = (tree_map(lambda t, s=s: t[s], support) for s in (slice(0, 5), slice(5, 12)))
    grown = learner.extend(learner.adapt(first), second)
    whole = learner.adapt(support)
    for key in whole:
        torch.testing.assert_close(grown[key], whole[key])


def test_prototypes_are_class_means_and_logits_squared_distances():
    learner = ProtoNet(torch.nn.Identity(), temperature=2.0)
    support = examples(torch.tensor([[0.0, 0], [2, 0], [0, 4]]), torch.tensor([0, 0, 1]), way=2)
    logits = learner.predict(learner.adapt(support), torch.tensor([[1.0, 1.0]]))
    # means (1, 0) and (0, 4): squared distances 1 and 10, over the temperature
    torch.testing.assert_close(logits, torch.tensor([[-0.5, -5.0]]))


def test_maml_with_one_step_is_the_hand_written_one():
    torch.manual_seed(0)
    net = MLP(3, [], 2)
    learner = MAML(net, SGD(0.5), steps=1, outputs=1, targets="values").double()
    x, y = torch.randn(4, 3).double(), torch.randn(4, 1).double()
    support = Examples(x, y, torch.ones(4).double())
    weights = [p.detach().clone().requires_grad_() for p in learner.parameters()]

    def forward(w, x):
        names = [n for n, _ in learner.named_parameters()]
        named = dict(zip(names, w, strict=True))
        z = x @ named["net.layers.0.weight"].T + named["net.layers.0.bias"]
        return z @ named["head.weight"].T + named["head.bias"]

    grads = torch.autograd.grad(((forward(weights, x) - y) ** 2).mean(), weights, create_graph=True)
    adapted = [w - 0.5 * g for w, g in zip(weights, grads, strict=True)]
    wanted = torch.autograd.grad(((forward(adapted, x) - y) ** 2).mean(), weights)
    learner.loss(Task(support, support)).backward()
    for parameter, grad in zip(learner.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_a_way_free_head_takes_any_way_and_does_not_care_for_the_order_of_classes():
    torch.manual_seed(0)
    learner = MAML(MLP(5, [8], 8), SGD(0.1), steps=3)
    for way in (2, 7):
        task = blob_task(way)
        swapped = Examples(task.support.x, task.support.y.flip(1), task.support.mask)
        logits = learner.predict(learner.adapt(task.support), task.query.x)
        assert logits.shape == (way * 3, way)
        mirrored = learner.predict(learner.adapt(swapped), task.query.x)
        torch.testing.assert_close(mirrored.flip(1), logits, rtol=1e-4, atol=1e-5)


def test_a_fixed_head_refuses_another_way():
    learner = MAML(MLP(5, [8], 8), outputs=5)
    with pytest.raises(TaskError, match="this head has 5 outputs, got a task with 4"):
        learner.adapt(blob_task(way=4).support)


def test_transductive_queries_see_each_other_and_say_so():
    torch.manual_seed(0)
    learner = MAML(MLP(5, [8], 8, norm="batch"), transductive=True)
    state = learner.adapt(blob_task().support)
    x = torch.randn(6, 5)
    assert learner.transductive
    assert not torch.allclose(learner.predict(state, x)[:2], learner.predict(state, x[:2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProtoNet(MLP(5), distance="manhattan"), "euclidean or cosine, got 'manhattan'"),
        (lambda: ProtoNet(MLP(5), turns=0), "at least one turn, got 0"),
        (lambda: ProtoNet(MLP(5), shift=-1), "0 pixels or more, got -1"),
        (lambda: ProtoNet(MLP(5), temperature=0), "temperature must be positive, got 0"),
        (lambda: ProtoNet(MLP(5), objective="hinge"), "objective must be one of"),
        (lambda: MAML(MLP(5), steps=0), "no inner steps need a head of their own"),
        (lambda: MAML(MLP(5), targets="both"), "classes or values, got 'both'"),
        (lambda: MAML(MLP(5), steps=-1), "no fewer than zero inner steps, got -1"),
        (lambda: MAML(torch.nn.Linear(5, 5)), "an int attribute `features` .*, got None"),
        (lambda: MAML(MLP(5), targets="values"), "real targets need a head of their own"),
    ],
)
def test_impossible_learners_are_refused(make, message):
    with pytest.raises(TaskError, match=message):
        make()


def test_the_support_takes_turns_as_in_swapped_tasks():
    torch.manual_seed(0)
    net = MLP(5, [8], 8)
    x, labels = torch.randn(9, 5), torch.arange(9) % 3
    task = Task(examples(x[:3], labels[:3], 3), examples(x[3:], labels[3:], 3))
    swapped = []
    for first in (0, 3, 6):
        chosen = torch.zeros(9, dtype=torch.bool)
        chosen[first : first + 3] = True
        parts = (examples(x[rows], labels[rows], 3) for rows in (chosen, ~chosen))
        swapped.append(ProtoNet(net).train().loss(Task(*parts)))
    turned = ProtoNet(net, turns=3).train().loss(task)
    torch.testing.assert_close(turned, torch.stack(swapped).mean())


def test_shifted_images_are_embedded_as_their_mean():
    torch.manual_seed(0)
    net = Conv4(1, width=4, size=16).eval()
    x = torch.rand(4, 1, 16, 16)
    moved = [x]
    for dim in (2, 3):
        for by in (1, -1):
            view = x.roll(by, dim)  # what comes in at the edge is empty
            view.select(dim, 0 if by > 0 else -1).zero_()
            moved.append(view)
    mean = torch.stack([net(view) for view in moved]).mean(0)
    state = ProtoNet(net, shift=1).adapt(examples(x, torch.arange(4), way=4))
    torch.testing.assert_close(state["sums"], mean)
    with pytest.raises(TaskError, match=r"takes images \[n, channels, h, w\], got \[12, 5\]"):
        ProtoNet(MLP(5, [8], 8), shift=1).adapt(blob_task().support)


def test_any_objective_fits_real_targets():
    torch.manual_seed(0)
    huber = lambda means, y, mask: (  # noqa: E731
        torch.nn.functional.huber_loss(means, y, reduction="none").mean(-1) * mask
    ).sum()
    learner = MAML(MLP(1, [8], 8), outputs=1, targets="values", objective=huber)
    judged = evaluate(learner, Sinusoids(), tasks=5)
    assert judged.metric == "squared_error"
    assert judged.mean > 0


def test_padding_is_in_no_transductive_statistic():
    torch.manual_seed(0)
    learner = MAML(MLP(5, [8], 8, norm="batch"), transductive=True)
    task = blob_task()
    padded = Task(task.support, pad(task.query, 20, 4))
    padded.query.x[12:] = torch.nan
    torch.testing.assert_close(learner.loss(padded), learner.loss(task))


def test_a_state_without_inner_steps_is_not_the_learners_own_parameters():
    learner = MAML(MLP(5, [8], 8), steps=0, outputs=4)
    state = learner.adapt(blob_task().support)
    before = state["params"]["head.weight"].clone()
    with torch.no_grad():
        learner.head.weight.add_(1)
    assert torch.equal(state["params"]["head.weight"], before)
