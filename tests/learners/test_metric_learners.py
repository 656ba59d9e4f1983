import math

import pytest
import torch
from torch import nn

from quickstudy.core import Examples, Task, examples
from quickstudy.core.functional import ABSENT
from quickstudy.errors import TaskError
from quickstudy.learners import MatchingNet, RelationNet
from quickstudy.nets import MLP, Conv4


def plane(*degrees):
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], -1)


def test_attention_is_a_softmax_of_cosines_over_labelled_rows_alone():
    learner = MatchingNet(nn.Identity(), temperature=2.0)
    # Classes 0, 1, 0 and an unlabelled row that stands right at the query.
    support = examples(plane(0.0, 60.0, 90.0, 30.0), torch.tensor([0, 1, 0, -1]), way=3)
    logits = learner.predict(learner.adapt(support), 7 * plane(30.0))
    weights = [math.exp(2 * math.cos(a * math.pi / 180)) for a in (30, 30, 60)]
    wanted = [weights[0] + weights[2], weights[1]]
    probabilities = torch.tensor(wanted) / sum(wanted)
    torch.testing.assert_close(logits[0, :2].exp(), probabilities)
    assert logits[0, 2] == ABSENT


def test_the_papers_attention_has_no_temperature_and_can_hardly_choose():
    learner = MatchingNet(nn.Identity(), temperature=1.0)
    support = examples(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), way=2)
    best = learner.predict(learner.adapt(support), torch.tensor([[1.0]])).exp()[0, 0]
    assert best.item() == pytest.approx(1 / (1 + math.exp(-2)))


def full_context(steps=2, width=3):
    torch.manual_seed(0)
    net = nn.Identity()
    net.features = width
    return MatchingNet(net, full_context=True, processing_steps=steps)


def test_lstms_without_weights_leave_matching_as_it_is():
    learner = full_context()
    with torch.no_grad():
        for parameter in learner.context.parameters():
            parameter.zero_()
    support, x = examples(torch.randn(5, 3), torch.arange(5) % 2, way=2), torch.randn(4, 3)
    plain = MatchingNet(nn.Identity())
    torch.testing.assert_close(
        learner.predict(learner.adapt(support), x), plain.predict(plain.adapt(support), x)
    )


def test_the_support_is_read_as_by_torchs_bidirectional_lstm():
    context = full_context().context
    lstm = nn.LSTM(3, 3, bidirectional=True)
    with torch.no_grad():
        for cell, suffix in ((context.forwards, "l0"), (context.backwards, "l0_reverse")):
            getattr(lstm, f"weight_ih_{suffix}").copy_(cell.incoming.weight)
            getattr(lstm, f"bias_ih_{suffix}").copy_(cell.incoming.bias)
            getattr(lstm, f"weight_hh_{suffix}").copy_(cell.hidden.weight)
            getattr(lstm, f"bias_hh_{suffix}").zero_()
    z = torch.randn(6, 3)
    read = lstm(z)[0]
    torch.testing.assert_close(context.of_support(z, torch.ones(6)), z + read[:, :3] + read[:, 3:])
    # Rows that are not real are passed over, wherever they stand.
    real = torch.tensor([1.0, 0, 1, 1, 0, 1])
    rows = real.nonzero().flatten()
    read = lstm(z[rows])[0]
    wanted = z[rows] + read[:, :3] + read[:, 3:]
    torch.testing.assert_close(context.of_support(z, real)[rows], wanted)


def test_a_query_attends_as_in_the_papers_recurrence():
    context = full_context(steps=3).context
    cell = nn.LSTMCell(9, 3)  # what comes in, the hidden state and what was read, side by side
    with torch.no_grad():
        cell.weight_ih.copy_(
            torch.cat([context.attending.incoming.weight, context.attending.hidden.weight], 1)
        )
        cell.bias_ih.copy_(context.attending.incoming.bias)
        cell.weight_hh.zero_()
        cell.bias_hh.zero_()
    z, support = torch.randn(2, 3), torch.randn(4, 3)
    hidden = memory = torch.zeros(2, 3)
    for _ in range(3):
        read = torch.softmax(hidden @ support.T, -1) @ support
        out, memory = cell(torch.cat([z, hidden, read], 1), (torch.zeros(2, 3), memory))
        hidden = out + z
    torch.testing.assert_close(context.of_query(z, support, torch.ones(4)), hidden)


def test_full_context_sees_the_order_of_the_support():
    learner = full_context()
    support, x = examples(torch.randn(5, 3), torch.arange(5) % 2, way=2), torch.randn(4, 3)
    turned = Examples(support.x.flip(0), support.y.flip(0), support.mask)
    first, second = (learner.predict(learner.adapt(s), x) for s in (support, turned))
    assert not torch.allclose(first, second)


def test_vectors_are_compared_by_the_relation_module_side_by_side():
    torch.manual_seed(0)
    learner = RelationNet(MLP(5, [], 4), width=8, hidden=6)
    with torch.no_grad():
        learner.relation.of_query.weight.normal_()  # away from its start, the negative
    support = examples(torch.randn(6, 5), torch.arange(6) % 3, way=4)
    x = torch.randn(2, 5)
    logits = learner.predict(learner.adapt(support), x)
    first = torch.cat([learner.relation.of_class.weight, learner.relation.of_query.weight], 1)
    z, query = learner.net(support.x), learner.net(x)
    for i in range(2):
        for k in range(3):
            pair = torch.cat([z[k::3].mean(0), query[i]])
            hidden = first @ pair + learner.relation.of_class.bias
            torch.testing.assert_close(logits[i, k], learner.relation.rest(hidden)[0])
    assert (logits[:, 3] == ABSENT).all()


def test_maps_are_compared_by_one_convolution_of_both():
    torch.manual_seed(0)
    learner = RelationNet(Conv4(1, width=4, size=16, halvings=2), width=6)
    with torch.no_grad():
        learner.relation.of_query.weight.normal_()
    support = examples(torch.rand(2, 1, 16, 16), torch.arange(2), way=2)
    x = torch.rand(3, 1, 16, 16)
    logits = learner.predict(learner.adapt(support), x)
    module = learner.relation
    z, query = learner.net(support.x).view(2, 4, 4, 4), learner.net(x).view(3, 4, 4, 4)
    both = torch.cat([z[1], query[2]])[None]
    first = torch.cat([module.of_class.weight, module.of_query.weight], 1)
    mixed = nn.functional.conv2d(both, first, module.of_class.bias, padding=1)
    torch.testing.assert_close(logits[2, 1], module.rest(mixed)[0, 0])


def test_a_relation_starts_at_the_difference_of_the_pair():
    torch.manual_seed(0)
    learner = RelationNet(MLP(5, [], 4))
    x = torch.randn(3, 5)
    scores = learner.predict(learner.adapt(examples(x, torch.arange(3), way=3)), x)
    torch.testing.assert_close(scores.diagonal(), scores[0, 0].expand(3), rtol=1e-4, atol=1e-5)


def test_the_papers_squared_errors_are_of_sigmoids_of_ways_with_support():
    learner = RelationNet(MLP(5, [], 4), objective="squared_error")
    scores = torch.tensor([[0.0, 2.0, ABSENT], [1.0, -1.0, ABSENT], [9.0, 9.0, ABSENT]])
    y = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])  # the last is unlabelled
    s = scores.sigmoid()
    wanted = ((s[0, 0] - 1) ** 2 + s[0, 1] ** 2 + s[1, 0] ** 2 + (s[1, 1] - 1) ** 2) / 4
    torch.testing.assert_close(learner.measure(scores, y, torch.ones(3)), wanted)
    scores[0, 0] = torch.nan
    assert learner.measure(scores, y, torch.ones(3)).isnan()


def test_queries_are_compared_alone_in_training_too():
    torch.manual_seed(0)
    net = Conv4(1, width=4, size=16, halvings=2, norm="none")
    learner = RelationNet(net, width=6).train()
    half = examples(torch.rand(4, 1, 16, 16), torch.arange(4) % 2, way=2)
    alone = [
        learner.loss(Task(half, Examples(*(t[i : i + 1] for t in half)))).detach() for i in range(4)
    ]
    torch.testing.assert_close(torch.stack(alone).mean(), learner.loss(Task(half, half)).detach())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatchingNet(MLP(5), temperature=0), "temperature must be positive, got 0"),
        (lambda: MatchingNet(MLP(5), processing_steps=0), "attends one time or more, got 0"),
        (
            lambda: MatchingNet(nn.Linear(5, 5), full_context=True),
            "MatchingNet needs a net .* in an int attribute `features` .*, got None",
        ),
        (lambda: RelationNet(MLP(5), width=0), "positive widths, got 0 and 64"),
        (lambda: RelationNet(nn.Linear(5, 5)), "RelationNet needs a net that says its output"),
    ],
)
def test_impossible_learners_are_refused(make, message):
    with pytest.raises(TaskError, match=message):
        make()


def test_maps_that_do_not_make_the_features_are_refused():
    net = MLP(5, [], 4)
    net.maps = (4, 2, 2)
    with pytest.raises(TaskError, match=r"maps must be \(channels, h, w\) of 4 features"):
        RelationNet(net)
