import pytest
import torch
from torch.nn.functional import cross_entropy

from quickstudy.artefacts import load_checkpoint, save_checkpoint
from quickstudy.core import SGD, Batching, Examples, StepRates, Task, examples, fit
from quickstudy.data import Blobs
from quickstudy.errors import TaskError
from quickstudy.learners import MAML, MAMLPlusPlus
from quickstudy.nets import MLP


def a_task(seed=0, way=3, shot=2, queries=4, width=5):
    generator = torch.Generator().manual_seed(seed)

    def half(each):
        x = torch.randn(way * each, width, generator=generator, dtype=torch.float64)
        part = examples(x, torch.arange(way * each) % way, way)
        return Examples(part.x, part.y.double(), part.mask.double())

    return Task(half(shot), half(queries))


def made(norm="none", **options):
    """One whose parameters all stand somewhere of their own."""
    torch.manual_seed(0)
    learner = MAMLPlusPlus(MLP(5, [8], 4, norm), rate=0.3, outputs=3, **options).double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return learner


def hand_written(learner, task, shares):
    """The weighted loss after each inner step, from the paper, with autograd alone."""
    named = dict(learner.named_parameters())
    norms = [name for name in named if name.startswith("net.layers.1.")]
    params = {n: p for n, p in named.items() if n.startswith(("net.", "head.")) and n not in norms}

    def embed(params, step, x, moments=None):
        z = x @ params["net.layers.0.weight"].T + params["net.layers.0.bias"]
        if norms:
            own = [named[n] for n in norms]
            if step:
                own = [named[f"norms.layers/1/{kind}"][step - 1] for kind in ("weight", "bias")]
            mean, variance = moments or (z.mean(0), z.var(0, correction=0))
            moments = mean, variance
            z = (z - mean) / (variance + 1e-5).sqrt() * own[0] + own[1]
        z = z.relu() @ params["net.layers.3.weight"].T + params["net.layers.3.bias"]
        return z @ params["head.weight"].T + params["head.bias"], moments

    total = 0.0
    for step, share in enumerate(shares):
        value = cross_entropy(embed(params, step, task.support.x)[0], task.support.y)
        grads = torch.autograd.grad(value, list(params.values()), create_graph=True)
        rates = [named[f"rule.learned.{name.replace('.', '/')}"][step] for name in params]
        params = {
            n: p - rate * g for (n, p), rate, g in zip(params.items(), rates, grads, strict=True)
        }
        moments = embed(params, step, task.support.x)[1]
        logits = embed(params, step, task.query.x, moments)[0]
        total = total + share * cross_entropy(logits, task.query.y)
    return total


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.5])
def test_it_is_the_hand_written_one(norm, fraction):
    learner, task = made(norm, steps=3, anneal=0.1), a_task()
    learner.advance(fraction)
    shares = {0.0: [1 / 3] * 3, 0.05: [1 / 6, 1 / 6, 2 / 3], 0.5: [0, 0, 1]}[fraction]
    assert learner.shares() == pytest.approx(shares)
    wanted = hand_written(learner, task, shares)
    of = [p for p in learner.parameters() if p.numel()]
    grads = torch.autograd.grad(wanted, of)
    loss = learner.loss(task)
    loss.backward()
    torch.testing.assert_close(loss, wanted)
    for parameter, grad in zip(of, grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_outside_of_training_and_at_its_end_the_last_step_alone_counts():
    learner, task = made(steps=2), a_task()
    maml = MAML(learner.net, learner.rule, steps=2, outputs=3)
    maml.head = learner.head
    wanted = maml.loss(task)
    assert learner.loss(task) != wanted
    assert torch.equal(learner.eval().loss(task), wanted)
    learner.train().advance(0.1)
    assert torch.equal(learner.loss(task), wanted)
    never = made(steps=2, anneal=0.0)
    assert torch.equal(never.loss(task), wanted)


def test_the_order_of_derivatives_rises_during_training():
    def gradient(fraction, **options):
        learner = made(steps=3, anneal=0.0, **options)
        learner.advance(fraction)
        learner.loss(a_task()).backward()
        return learner.net.layers[0].weight.grad

    first, second = gradient(0.0, first_order=True), gradient(0.0)
    assert (first - second).abs().max() > 1e-4
    assert torch.equal(gradient(0.0, first_order_until=0.4), first)
    assert torch.equal(gradient(0.39, first_order_until=0.4), first)
    assert torch.equal(gradient(0.4, first_order_until=0.4), second)


def test_norms_of_steps_do_not_adapt_and_the_last_ones_stay():
    learner, task = made("batch", steps=3), a_task()
    params = learner.adapt(task.support)["params"]
    for kind in ("weight", "bias"):
        own = learner.norms[f"layers/1/{kind}"]
        assert own.shape == (2, 8)
        assert torch.equal(params[f"net.layers.1.{kind}"], own[1])
    learner.steps = 9  # as `evaluate --inner-steps 9` asks: the last norms and rates hold on
    params = learner.adapt(task.support)["params"]
    assert torch.equal(params["net.layers.1.weight"], learner.norms["layers/1/weight"][1])
    assert not any("layers.1" in name for name in learner.rule.rates())
    adapting = made("batch", steps=3, step_norms=False)
    assert any("layers.1" in name for name in adapting.rule.rates())
    assert not list(adapting.norms.parameters())
    before = adapting.net.layers[1].weight
    assert (adapting.adapt(task.support)["params"]["net.layers.1.weight"] != before).any()


def test_a_state_shares_no_memory_with_the_learner():
    for steps in (1, 2):
        learner = made("batch", steps=steps).requires_grad_(False)
        params = learner.adapt(a_task().support)["params"]
        places = {p.untyped_storage().data_ptr() for p in learner.parameters() if p.numel()}
        assert places.isdisjoint(p.untyped_storage().data_ptr() for p in params.values())


def started(**options):
    torch.manual_seed(0)
    net = MLP(2, [8], 8, norm="batch")
    learner = MAMLPlusPlus(net, steps=3, anneal=0.5, first_order_until=0.3, **options)
    return fit(learner, Blobs(way=3, shot=2), steps=20, batching=Batching("loop"))


@pytest.mark.parametrize("stopped_after", [3, 8, 15])
def test_a_resumed_run_ends_in_the_same_bytes(stopped_after, tmp_path):
    whole, first, second = started(), started(), started()
    progress = list(whole)
    for _ in range(stopped_after):
        next(first)
    save_checkpoint(tmp_path / "checkpoint", first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))
    assert list(second) == progress[stopped_after:]
    for name, tensor in whole.learner.state_dict().items():
        assert torch.equal(tensor, second.learner.state_dict()[name]), name


def test_every_rate_and_norm_of_every_step_is_learned():
    run = started(outputs=3)  # zeros of a way-free head hold the net still at the first step
    before = {name: p.detach().clone() for name, p in run.learner.named_parameters()}
    for _ in run:
        pass
    rates = run.learner.rule.rates()
    assert len(rates) == 3 * 6
    # A batch norm takes the bias before it away again, whatever it is.
    seen = [rate for name, rate in rates.items() if "layers.0.bias" not in name]
    assert all(abs(rate - 0.1) > 1e-4 for rate in seen)
    for name, p in run.learner.norms.named_parameters():
        assert ((p - before[f"norms.{name}"]).abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anneal": 1.5}, "anneal is a share of training, in .0, 1., got 1.5"),
        ({"first_order_until": -0.1}, "first_order_until is a share of training"),
        ({"steps": 0}, "one inner step or more, got 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        MAMLPlusPlus(MLP(5), **options)


def test_steps_with_the_same_rate_are_plain_descent():
    task = a_task()
    torch.manual_seed(0)
    plain = MAML(MLP(5, [8], 4), SGD(0.3), steps=4).double()
    stepped = MAML(plain.net, StepRates(0.3, steps=2), steps=4).double()
    torch.testing.assert_close(stepped.answer(task), plain.answer(task))
