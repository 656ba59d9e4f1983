"""Transductive inference, each method beside the paper's algorithm in plain loops of numpy."""

import math

import numpy as np
import pytest
import torch
from tests.contract import zoo
from torch import nn

from quickstudy.core import Examples, Task, evaluate, examples, fit
from quickstudy.core.tasks import tree_map, unstack
from quickstudy.data import Episodes, Pool, omniglot
from quickstudy.errors import TaskError
from quickstudy.learners import BDCSPN, PTMAP, TIM, LaplacianShot, ProtoNet
from quickstudy.nets import Conv4

LEARNERS = [BDCSPN, TIM, PTMAP, LaplacianShot]
WAY = 3
# Classes of unequal size, and a row without a label.
LABELS = [0, 1, 2, 0, 1, 0, -1]


def embeddings(seed, queries=11, width=4):
    """Support [7, 4] and queries about three centres, as numpy."""
    random = np.random.default_rng(seed)
    centres = 1.5 * random.standard_normal((WAY, width))
    support = np.stack([centres[k] for k in LABELS]) + random.standard_normal((7, width))
    asked = centres[np.arange(queries) % WAY] + random.standard_normal((queries, width))
    return support, asked


def logits_of(learner, support, asked, way=WAY):
    part = examples(torch.tensor(support), torch.tensor(LABELS), way)
    part = part._replace(y=part.y.double(), mask=part.mask.double())
    return learner.predict(learner.adapt(part), torch.tensor(asked))


def members(support):
    """The rows of each class."""
    return [[x for x, k in zip(support, LABELS, strict=True) if k == c] for c in range(WAY)]


def unit(x):
    return x / np.sqrt((x**2).sum())


def cosine(a, b):
    return unit(a) @ unit(b)


def softmax(row):
    powers = np.exp(np.array(row) - max(row))
    return powers / powers.sum()


def shifted_queries(support, asked):
    labelled = [x for rows in members(support) for x in rows]
    shift = sum(labelled) / len(labelled) - sum(asked) / len(asked)
    return [x + shift for x in asked]


def bd_cspn(support, asked, scale, most):
    """Rectified prototypes and shifted queries: Liu et al. 2020, eq. 4 to 8."""
    support, asked = [unit(x) for x in support], [unit(x) for x in asked]
    asked = shifted_queries(support, asked)
    first = [sum(rows) / len(rows) for rows in members(support)]
    sure = [softmax([scale * cosine(x, p) for p in first]) for x in asked]
    prototypes = []
    for c in range(WAY):
        own = sorted((i for i in range(len(asked)) if sure[i].argmax() == c),
                     key=lambda i: -sure[i][c])  # fmt: skip
        rows = members(support)[c] + [asked[i] for i in own[:most]]
        weights = softmax([scale * cosine(x, first[c]) for x in rows])
        prototypes.append(sum(w * x for w, x in zip(weights, rows, strict=True)))
    return prototypes, asked


@pytest.mark.parametrize("most", [None, 1, 2, 8])
@pytest.mark.parametrize("seed", range(3))
def test_bd_cspn_is_that_of_the_paper(seed, most):
    support, asked = embeddings(seed)
    prototypes, moved = bd_cspn(support, asked, 10.0, most)
    wanted = [[10 * cosine(x, p) for p in prototypes] for x in moved]
    logits = logits_of(BDCSPN(nn.Identity(), most=most), support, asked)
    np.testing.assert_allclose(logits, wanted, rtol=1e-9)


def tim_objective(weights, support, asked, tau, lam, mu, alpha):
    """Eq. 3: cross-entropy of the support less the mutual information of the queries."""

    def p(x):
        return softmax([-tau / 2 * ((w - x) ** 2).sum() for w in weights])

    known = [(x, k) for x, k in zip(support, LABELS, strict=True) if k >= 0]
    entropy = -sum(math.log(p(x)[k]) for x, k in known) / len(known)
    each = [p(x) for x in asked]
    mean = sum(each) / len(each)
    conditional = -sum((row * np.log(row)).sum() for row in each) / len(each)
    return lam * entropy + mu * (mean * np.log(mean)).sum() + alpha * conditional


def tim(support, asked, tau, lam, mu, alpha, steps):
    """Class weights by the alternating direction method: Boudiaf et al. 2020, eq. 5 and 6."""
    support, asked = [unit(x) for x in support], [unit(x) for x in asked]
    known = [(x, k) for x, k in zip(support, LABELS, strict=True) if k >= 0]
    weights = [sum(rows) / len(rows) for rows in members(support)]

    def p(x):
        return softmax([-tau / 2 * ((w - x) ** 2).sum() for w in weights])

    for _ in range(steps):
        powers = [p(x) ** (1 + alpha) for x in asked]
        q = [row / sum(powers) ** (mu / (1 + mu)) for row in powers]
        q = [row / row.sum() for row in q]
        moved = []
        for k in range(WAY):
            top, below = np.zeros(support[0].shape), 0.0
            for x, label in known:
                y = float(label == k)
                top = top + lam / (1 + alpha) * (y * x + p(x)[k] * (weights[k] - x))
                below += lam / (1 + alpha) * y
            for x, row in zip(asked, q, strict=True):
                ratio = len(known) / len(asked)
                top = top + ratio * (row[k] * x + p(x)[k] * (weights[k] - x))
                below += ratio * row[k]
            moved.append(top / below)
        weights = moved
    return weights, support, asked


@pytest.mark.parametrize("settings", [(15, 0.1, 1, 0.1), (5, 1.0, 0, 0.5), (10, 0.5, 2.0, 0)])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_tim_is_that_of_the_paper(steps, settings):
    support, asked = embeddings(steps)
    weights, _, unit_asked = tim(support, asked, *settings, steps)
    tau = settings[0]
    wanted = [[-tau / 2 * ((w - x) ** 2).sum() for w in weights] for x in unit_asked]
    logits = logits_of(TIM(nn.Identity(), *settings, steps=steps), support, asked)
    np.testing.assert_allclose(logits, wanted, rtol=1e-8, atol=1e-9)


def test_tims_steps_lower_its_objective():
    settings = (15, 0.1, 1.0, 0.1)
    support, asked = embeddings(0, queries=30)
    losses = [tim_objective(*tim(support, asked, *settings, n), *settings) for n in (0, 5, 20, 50)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1


def powered(rows, known, beta):
    """Power transform, unit length, centring about the known rows: Hu et al. 2021, eq. 1."""
    # As (|x| + small)^beta, which keeps a sign, to first order in the small number.
    rows = [unit(x * (abs(x) + 1e-6) ** (beta - 1)) for x in rows]
    centre = sum(rows[i] for i in known) / len(known)
    return [unit(x - centre) for x in rows]


def sinkhorn(costs, lam, iterations):
    """The balanced transport: rows and columns in turn, and rows once more."""
    plan = np.exp(-lam * np.array(costs))
    each = len(plan) / WAY
    for _ in range(iterations):
        plan = plan / plan.sum(1, keepdims=True)
        plan = plan * each / plan.sum(0, keepdims=True)
    return plan / plan.sum(1, keepdims=True)


def pt_map(support, asked, lam, beta, alpha, steps, iterations):
    """The last transport plan: Hu et al. 2021, algorithm 1."""
    labelled = [i for i, k in enumerate(LABELS) if k >= 0]
    support = powered(support, labelled, beta)
    asked = powered(asked, range(len(asked)), beta)
    means = [sum(rows) / len(rows) for rows in members(support)]

    def transport():
        return sinkhorn([[((x - c) ** 2).sum() for c in means] for x in asked], lam, iterations)

    for _ in range(steps):
        plan = transport()
        for k in range(WAY):
            own = members(support)[k]
            top = sum(own) + sum(plan[i, k] * x for i, x in enumerate(asked))
            estimate = top / (len(own) + plan[:, k].sum())
            means[k] = means[k] + alpha * (estimate - means[k])
    return transport()


@pytest.mark.parametrize("iterations", [1, 4, 50])
@pytest.mark.parametrize("steps", [0, 1, 6])
@pytest.mark.parametrize("settings", [(10, 0.5, 0.2), (3, 1.0, 0.5)])
def test_pt_map_is_that_of_the_paper(settings, steps, iterations):
    support, asked = embeddings(steps)
    lam, *others = settings
    wanted = pt_map(support, asked, *settings, steps, iterations)
    learner = PTMAP(nn.Identity(), 2 * lam, *others, steps, iterations)
    shares = logits_of(learner, support, asked).softmax(-1)
    np.testing.assert_allclose(shares, wanted, rtol=1e-8, atol=1e-12)


def test_classes_get_equal_shares_once_the_transport_converges():
    shares = logits_of(PTMAP(nn.Identity(), 6.0, sinkhorn=500), *embeddings(0)).softmax(-1)
    np.testing.assert_allclose(shares.sum(0), [11 / 3] * 3, rtol=1e-6)


def test_a_power_of_features_that_are_positive_is_the_papers():
    x = torch.rand(5, 4, dtype=torch.float64)
    learner = PTMAP(nn.Identity(), power=0.5)
    wanted = [unit(np.sqrt(row + 1e-6)) for row in x.numpy()]
    wanted = [unit(row - sum(wanted) / 5) for row in wanted]
    np.testing.assert_allclose(
        learner.transform(x, torch.ones(5, dtype=torch.float64)), wanted, atol=1e-4
    )


def test_without_balance_nothing_is_transported():
    support, asked = embeddings(0)
    learner = PTMAP(nn.Identity(), power=1.0, steps=0, balance=0.0)
    support, asked = (np.abs(part) for part in (support, asked))
    logits = logits_of(learner, support, asked)
    labelled = [i for i, k in enumerate(LABELS) if k >= 0]
    known, moved = powered(support, labelled, 1.0), powered(asked, range(len(asked)), 1.0)
    means = [sum(rows) / len(rows) for rows in members(known)]
    wanted = [[-10 * ((x - c) ** 2).sum() for c in means] for x in moved]
    np.testing.assert_allclose(logits, wanted, rtol=1e-9)


def test_balance_suffers_where_classes_are_not_and_can_be_relaxed():
    torch.manual_seed(0)
    centres = 5 * torch.eye(3, 20)
    labels = torch.tensor([0] * 20 + [1] * 5 + [2] * 5)
    asked = centres[labels] + torch.randn(30, 20)
    support = examples(centres, torch.arange(3), 3)
    right = []
    for balance in (1.0, 0.0):
        learner = PTMAP(nn.Identity(), power=1.0, balance=balance)
        logits = learner.predict(learner.adapt(support), asked)
        right.append((logits.argmax(-1) == labels).float().mean().item())
    assert right[0] < 0.7
    assert right[1] > 0.9


def laplacian(support, asked, scale, pull, neighbours, rectify, steps):
    """The last update before its softmax: Ziko et al. 2020, eq. 7."""
    if rectify:
        prototypes, asked = bd_cspn(support, asked, scale, None)
    else:
        asked = [unit(x) for x in asked]
        rows = members([unit(x) for x in support])
        prototypes = [sum(own) / len(own) for own in rows]
    unary = [[scale / 2 * ((x - p) ** 2).sum() for p in prototypes] for x in asked]
    near = []
    for i, x in enumerate(asked):
        apart = sorted((((x - o) ** 2).sum(), j) for j, o in enumerate(asked) if j != i)
        near.append([j for _, j in apart[:neighbours]])
    logits = [-np.array(row) for row in unary]
    for _ in range(steps):
        y = [softmax(row) for row in logits]
        logits = [
            -np.array(unary[i]) + pull * sum(y[j] for j in near[i]) for i in range(len(asked))
        ]
    return logits


@pytest.mark.parametrize(
    "settings",
    [(10, 0.5, 2, True, 20), (2, 1.0, 3, False, 4), (10, 1.0, 1, True, 0), (5, 0, 50, False, 3)],
)
def test_laplacian_shot_is_that_of_the_paper(settings):
    support, asked = embeddings(1)
    logits = logits_of(LaplacianShot(nn.Identity(), *settings), support, asked)
    np.testing.assert_allclose(logits, laplacian(support, asked, *settings), rtol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_way_without_support_changes_nothing_and_is_never_chosen(learner):
    support, asked = embeddings(2)
    wanted = logits_of(learner(nn.Identity()), support, asked)
    logits = logits_of(learner(nn.Identity()), support, asked, way=WAY + 2)
    np.testing.assert_allclose(logits[:, :WAY], wanted, rtol=1e-9)
    assert (logits[:, WAY:] < -1e6).all()
    assert logits.isfinite().all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_queries_influence_each_other_and_the_learner_says_so(learner):
    support, asked = embeddings(3)
    made = learner(nn.Identity())
    together, without = logits_of(made, support, asked), logits_of(made, support, asked[:-1])
    assert made.transductive
    assert not torch.allclose(together[:-1], without)
    assert logits_of(made, support, asked[:1]).isfinite().all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_order_of_the_queries_does_not_matter(learner):
    support, asked = embeddings(4)
    made, order = learner(nn.Identity()), np.random.default_rng(0).permutation(len(asked))
    moved = logits_of(made, support, asked[order])
    np.testing.assert_allclose(moved, logits_of(made, support, asked)[order], rtol=1e-9)


@pytest.mark.parametrize("name", ["bd-cspn", "tim", "pt-map", "laplacian-shot"])
@pytest.mark.parametrize("net", ["mlp", "conv4-pool"])
def test_answers_of_padded_tasks_together_are_those_of_each(name, net):
    made, batch = zoo.build(name, net).eval(), zoo.batch(net)
    together = torch.func.vmap(made.answer)(batch)
    for task, answer in zip(unstack(batch), together, strict=True):
        support, query = (
            tree_map(lambda t, half=half: t[half.mask > 0], half) for half in (*task,)
        )
        alone = made.predict(made.adapt(support), query.x)
        torch.testing.assert_close(answer[: len(query.mask)], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_state_is_the_embedded_support(learner):
    support = Examples(torch.rand(3, 4), torch.eye(3), torch.tensor([1.0, 1.0, 0.0]))
    state = learner(nn.Identity()).adapt(support)
    assert list(state) == ["z", "y", "mask"]
    assert torch.equal(state["z"], torch.cat([support.x[:2], torch.zeros(1, 4)]))
    assert torch.equal(state["y"][2], torch.zeros(3))


@pytest.mark.parametrize("learner", LEARNERS)
def test_training_is_by_nearest_prototypes_of_unit_length(learner):
    support, asked = embeddings(5)
    made = learner(nn.Identity()).train()
    part = examples(torch.tensor(support), torch.tensor(LABELS), WAY)
    query = examples(torch.tensor(asked), torch.arange(len(asked)) % WAY, WAY)
    means = [sum(rows) / len(rows) for rows in members([unit(x) for x in support])]
    losses = []
    for i, x in enumerate(asked):
        row = [-made.scale / 2 * ((unit(x) - p) ** 2).sum() for p in means]
        losses.append(-math.log(softmax(row)[i % WAY]))
    assert made.loss(Task(part, query)).item() == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: BDCSPN(net, scale=0.0), "scale of the logits must be positive, got 0.0"),
        (lambda net: BDCSPN(net, most=0), "one query of a class or more takes part, got most=0"),
        (lambda net: TIM(net, support=0.0), "got support=0.0, marginal=1.0 and conditional=0.1"),
        (lambda net: TIM(net, marginal=-1.0), "entropies by 0 or more"),
        (lambda net: TIM(net, steps=-1), "no fewer than zero steps, got -1"),
        (lambda net: PTMAP(net, power=0.0), r"power must lie in \(0, 1\], got 0.0"),
        (lambda net: PTMAP(net, rate=1.5), r"rate must lie in \(0, 1\], got 1.5"),
        (lambda net: PTMAP(net, balance=2.0), r"balance must lie in \[0, 1\], got 2.0"),
        (lambda net: PTMAP(net, sinkhorn=0), "one iteration or more, got 20 and 0"),
        (lambda net: LaplacianShot(net, pull=-1.0), "must be 0 or more, got -1.0"),
        (lambda net: LaplacianShot(net, neighbours=0), "one neighbour or more, got 0"),
        (lambda net: LaplacianShot(net, steps=-1), "no fewer than zero steps, got -1"),
    ],
)
def test_impossible_learners_are_refused(make, message):
    with pytest.raises(TaskError, match=message):
        make(nn.Identity())


@pytest.fixture(scope="module")
def characters(need):
    """Meta-validation characters of Omniglot, embedded by a net that was trained for a moment."""
    need.data("omniglot_28.npz")
    splits = omniglot()
    torch.manual_seed(0)
    learner = ProtoNet(Conv4(1, width=16, size=28, halvings=3, norm_last=True))
    for _ in fit(learner, Episodes(splits.train, way=10, shot=1, queries=3), steps=60):
        pass
    pool = splits.validation
    with torch.no_grad():
        z = torch.cat([learner.eval().net(part / 255) for part in pool.images.float().split(500)])
    return Pool.from_labels(z, pool.labels)


@pytest.mark.parametrize("learner", LEARNERS)
def test_real_characters_are_answered_better_together(learner, characters):
    source = Episodes(characters, way=5, shot=1, queries=15)
    alone = ProtoNet(nn.Identity(), "cosine", temperature=10.0)
    scores = [evaluate(m, source, tasks=100, seed=1) for m in (alone, learner(nn.Identity()))]
    gain = scores[1].values - scores[0].values  # the same tasks
    assert gain.mean() > 0.01
    assert gain.mean() / (gain.std() / len(gain) ** 0.5) > 4
