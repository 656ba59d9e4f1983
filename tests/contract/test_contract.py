"""The nine contracts that every learner passes, on every net and in every batching mode."""

import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

import quickstudy.learners
import quickstudy.nets
from quickstudy.artefacts import load_model, load_state, read_state_header, save_model, save_state
from quickstudy.core import Examples, Task, accumulate_gradients, evaluate, fit, unstack
from quickstudy.core.tasks import leaves, pad, tree_map
from quickstudy.hub.catalogue import CATALOGUE
from quickstudy.nets import MLP

from . import zoo

PAIRS = [(learner, net) for learner in zoo.LEARNERS for net in zoo.NETS]
FAMILIES = (
    "gradient", "metric", "closed form", "in context", "transductive", "pretraining", "control",
)  # fmt: skip
every_pair = pytest.mark.parametrize(("learner", "net"), PAIRS)


def gradients(module):
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def loss_gradients(module, task):
    module.zero_grad(set_to_none=True)
    loss = module.loss(task)
    if loss.requires_grad:
        loss.backward()
    return gradients(module)


def assert_close(ours, theirs, tolerance=1e-9):
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_every_catalogued_learner_and_net_is_in_the_zoo():
    made = [row.make(MLP(6, [8], 8)) for row in zoo.LEARNERS.values()]
    assert {type(m).__name__ for m in made} == set(quickstudy.learners.__all__)
    nets = {type(make()).__name__ for make, _ in zoo.NETS.values()}
    assert nets == set(quickstudy.nets.__all__) - {"BatchNorm"}


@pytest.mark.parametrize("mode", zoo.BATCHINGS)
@every_pair
def test_1_batched_equals_one_at_a_time(learner, net, mode):
    module, batch = zoo.build(learner, net), zoo.batch(net)
    alone = torch.stack([module.loss(task) for task in unstack(batch)])
    if not zoo.LEARNERS[learner].trains:
        batched = torch.func.vmap(module.loss)(batch)
        assert_close(batched, alone.detach())
        return
    alone.mean().backward()
    wanted = gradients(module)
    module.zero_grad(set_to_none=True)
    losses = accumulate_gradients(module, batch, zoo.BATCHINGS[mode])
    assert_close(losses, alone.detach())
    assert gradients(module).keys() == wanted.keys()
    assert_close(gradients(module), wanted)


@pytest.mark.parametrize("learner", zoo.LEARNERS)
@pytest.mark.parametrize("net", ["mlp", "mlp-plain"])  # no kink at the output
def test_1_gradients_equal_finite_differences(learner, net):
    row = zoo.LEARNERS[learner]
    module, task = zoo.build(learner, net), zoo.task(net)
    if not (row.trains and row.exact) or getattr(module, "first_order", False):
        pytest.skip("has no exact gradient to compare with")
    module.loss(task).backward()
    generator = torch.Generator().manual_seed(1)
    direction = {
        n: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for n, p in module.named_parameters()
    }
    slope = sum((direction[n] * g).sum() for n, g in gradients(module).items())

    def moved(by):
        weights = {n: p + by * direction[n] for n, p in module.named_parameters()}
        return functional_call(_LossOf(module), {f"of.{n}": w for n, w in weights.items()}, (task,))

    step = 1e-6
    with torch.no_grad():
        measured = (moved(step) - moved(-step)) / (2 * step)
    torch.testing.assert_close(slope.detach(), measured, rtol=1e-4, atol=1e-7)


class _LossOf(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.of = module

    def forward(self, task):
        return self.of.loss(task)


@pytest.mark.parametrize("processes", [2, 4])
def test_2_many_processes_equal_one(processes, tmp_path):
    script = Path(__file__).with_name("many_processes.py")
    meeting = (tmp_path / "meeting").as_uri()
    started = [
        subprocess.Popen(
            [sys.executable, script, meeting, str(rank), str(processes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, "\n".join(outputs)
    assert all("largest difference" in output for output in outputs)


@every_pair
def test_3_adapt_is_pure(learner, net):
    module, task = zoo.build(learner, net), zoo.task(net)
    for mode in (module.train(), module.eval()):
        before = {n: t.clone() for n, t in mode.state_dict().items()}
        random = torch.get_rng_state()
        first, second = mode.adapt(task.support), mode.adapt(task.support)
        assert all(map(torch.equal, leaves(first), leaves(second)))
        assert all(torch.equal(t, before[n]) for n, t in mode.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
        assert not any(p.grad is not None for p in mode.parameters())


@every_pair
def test_3_adapting_without_gradients_gives_the_same(learner, net):
    module, task = zoo.build(learner, net).eval(), zoo.task(net)
    with torch.no_grad():
        state = module.adapt(task.support)
    assert_close(state, tree_map(torch.Tensor.detach, module.adapt(task.support)), 1e-12)
    assert not any(leaf.requires_grad for leaf in leaves(state))


@every_pair
def test_4_the_order_of_the_support_does_not_matter(learner, net):
    if zoo.LEARNERS[learner].order_matters:
        pytest.skip("the paper says that it does")
    module, task = zoo.build(learner, net).eval(), zoo.task(net)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = tree_map(lambda t: t[order], task.support)
    wanted = module.predict(module.adapt(task.support), task.query.x)
    assert_close(module.predict(module.adapt(shuffled), task.query.x), wanted)


@every_pair
def test_5_a_state_survives_storage_and_names_its_artefact(learner, net, tmp_path):
    module, task = zoo.build(learner, net).eval(), zoo.task(net)
    manifest = save_model(tmp_path / "model", module, catalogue=CATALOGUE)
    loaded = load_model(tmp_path / "model", catalogue=CATALOGUE)
    state = tree_map(torch.Tensor.detach, module.adapt(task.support))
    path = tmp_path / "mine.state"
    save_state(
        path, state, artefact=tmp_path / "model", digest=manifest.digest, labels=["a", "b", "c"]
    )
    stored = load_state(path, model=loaded)
    assert read_state_header(path).labels == ["a", "b", "c"]
    assert read_state_header(path).artefact.digest == loaded.manifest.digest
    assert all(map(torch.equal, leaves(stored.state), leaves(state)))
    answer = loaded.learner.predict(stored.state, task.query.x)
    # Stored tensors are contiguous, adapted ones may not be: the last bits of a product differ.
    assert_close(answer, module.predict(state, task.query.x), 1e-12)


@every_pair
def test_6_padding_changes_nothing(learner, net):
    module, task = zoo.build(learner, net), zoo.task(net)
    fixed = getattr(module, "outputs", None) or module.targets == "values"
    width = zoo.WAY if fixed else zoo.WAY + 2
    padded = Task(pad(task.support, 11, width), pad(task.query, 14, width))
    # What stands in the padding must not matter either.
    padded.support.x[6:] = torch.nan
    padded.query.x[9:] = torch.nan
    padded.support.y[6:] = torch.nan
    padded.query.y[9:] = torch.nan
    trained = padded
    if module.trains_on == "labelled":  # on rows of all classes, so that there is no way to pad
        trained = Task(*(part._replace(y=part.y[:, : zoo.WAY]) for part in padded))
    for mode in (module.train(), module.eval()):
        assert_close(mode.loss(trained), mode.loss(task))
        assert_close(loss_gradients(mode, trained), loss_gradients(mode, task))
        answer = mode.answer(padded)[:9]
        assert_close(answer[:, : zoo.WAY], mode.answer(task))
        assert answer.isfinite().all()
        assert (answer[:, zoo.WAY :] < -1e6).all()


@pytest.mark.parametrize("learner", zoo.LEARNERS)
def test_7_it_learns(learner):
    """Six directions that eighteen loud numbers drown: near chance before, nearly solved after."""
    torch.manual_seed(0)
    row, net = zoo.LEARNERS[learner], MLP(20, [32], 16, norm="batch")
    module, source = row.make(net), Directions(row.noise)
    if module.trains_on == "labelled":
        module, source = row.make(net, DIRECTIONS), OfAllClasses(source)

    def accuracy(noise):
        return evaluate(module, Directions(noise), tasks=100, seed=1, metric="accuracy").mean

    assert accuracy(row.noise) < 0.6
    if module.targets == "values" and not row.trains:
        pytest.skip("a control that answers alike whatever is asked")
    if row.trains:
        steps = fit(
            module,
            source,
            steps=row.steps,
            optimizer=lambda parameters: torch.optim.Adam(parameters, row.rate),
        )
        assert all(math.isfinite(progress.loss) for progress in steps)
    assert accuracy(row.noise if row.trains else 0.1) > 0.9


DIRECTIONS = 6


class Directions:
    """Three-way tasks of six directions in a plane, in the first two of twenty numbers."""

    def __init__(self, noise):
        self.noise = noise

    def inputs(self, classes, each, generator):
        angles = classes.repeat_interleave(each, 1) * (2 * math.pi / DIRECTIONS)
        plane = torch.stack([angles.cos(), angles.sin()], -1)
        plane = plane + 0.1 * torch.randn(plane.shape, generator=generator)
        loud = self.noise * torch.randn(*angles.shape, 18, generator=generator)
        return torch.cat([plane, loud], -1)

    def sample(self, count, generator):
        def half(classes, each):
            x = self.inputs(classes, each, generator)
            y = torch.eye(zoo.WAY).repeat_interleave(each, 0).expand(count, -1, -1)
            return Examples(x, y, torch.ones(x.shape[:2]))

        classes = torch.rand(count, DIRECTIONS, generator=generator).argsort(1)[:, : zoo.WAY]
        return Task(half(classes, 3), half(classes, 5))


class OfAllClasses:
    """Batches of as many examples of all the directions, each by its own label."""

    def __init__(self, directions):
        self.directions = directions

    def sample(self, count, generator):
        classes = torch.arange(DIRECTIONS).expand(count, -1)
        x = self.directions.inputs(classes, 4, generator)
        y = torch.eye(DIRECTIONS).repeat_interleave(4, 0).expand(count, -1, -1)
        part = Examples(x, y, torch.ones(x.shape[:2]))
        return Task(Examples(*(t[:, :0] for t in part)), part)


@pytest.mark.parametrize("name", quickstudy.learners.__all__)
def test_8_its_docstring_names_its_paper_and_what_differs(name):
    cls = getattr(quickstudy.learners, name)
    text = " ".join(cls.__doc__.split())
    assert re.search(r" et al\. \d{4}, |^\w+( & \w+)? \d{4}, ", cls.paper)
    assert f" Paper: {cls.paper}" in text
    assert " Differs: " in text


@pytest.mark.parametrize("name", quickstudy.learners.__all__)
def test_8_it_says_what_it_is(name):
    cls = getattr(quickstudy.learners, name)
    rows = [(row, row.make(MLP(6, [8], 8))) for row in zoo.LEARNERS.values()]
    rows = [(row, made) for row, made in rows if type(made) is cls]
    assert cls.family in FAMILIES
    assert all((cls.family == "control") != row.trains for row, _ in rows)
    assert (cls.meta_learned == "nothing") == (cls.family == "control")
    assert (cls.trains_on == "labelled") == (cls.family == "pretraining")
    assert {made.targets for _, made in rows} == set(cls.tasks)  # each kind stands in the zoo
    assert cls.adapt_cost
    if cls.steps_argument is not None:
        assert cls.steps_argument in inspect.signature(cls).parameters
        assert f"`{cls.steps_argument}`" in cls.adapt_cost


@every_pair
def test_9_a_query_alone_is_answered_as_among_others(learner, net):
    module, task = zoo.build(learner, net).eval(), zoo.task(net)
    if module.transductive:
        pytest.skip("declared transductive")
    state = module.adapt(task.support)
    together = module.predict(state, task.query.x)
    alone = torch.cat([module.predict(state, x[None]) for x in task.query.x])
    assert_close(alone, together)
