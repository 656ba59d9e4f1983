"""Every learner, every net and every batching mode that the contracts run over.

A new learner adds one row to LEARNERS, a new backbone one to NETS.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from quickstudy.core import (
    SGD,
    Batching,
    Examples,
    LearnedRates,
    Learner,
    Task,
    examples,
    stack,
)
from quickstudy.learners import (
    ANIL,
    ANP,
    BDCSPN,
    BOIL,
    CAVIA,
    CNP,
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
    NearestMean,
    PriorFitted,
    ProtoMAML,
    ProtoNet,
    RelationNet,
    Reptile,
    SetTransformer,
    SimpleShot,
    SoftKMeans,
    SupportMean,
)
from quickstudy.nets import MLP, Conv4, ResNet12

WAY = 3


class Row(NamedTuple):
    """How a learner is made from a net; `trains` is False for controls that have no parameters.

    Learners that are trained on labelled examples take the number of classes as well.
    `rate` is the outer one with which it learns the toy task, in so many `steps`; `noise` is how
    loud it is there. `exact` is False where the gradient of the loss is, by the paper, another than
    that of its value.
    """

    make: Callable[..., Learner]
    trains: bool = True
    order_matters: bool = False
    rate: float = 1e-2
    steps: int = 200
    noise: float = 3.0
    exact: bool = True


LEARNERS = {
    "protonet": Row(lambda net: ProtoNet(net)),
    "protonet-cosine": Row(
        lambda net: ProtoNet(net, "cosine", temperature=5.0, learn_temperature=True)
    ),
    "protonet-turns": Row(lambda net: ProtoNet(net, turns=3)),
    "maml": Row(lambda net: MAML(net, SGD(0.4), steps=2)),
    "maml-momentum": Row(lambda net: MAML(net, SGD(0.2, momentum=0.5), steps=2)),
    "maml-first-order": Row(lambda net: MAML(net, SGD(0.4), steps=2, first_order=True)),
    "maml-fixed-head": Row(lambda net: MAML(net, SGD(0.4), steps=2, outputs=WAY)),
    "maml-transductive": Row(lambda net: MAML(net, SGD(0.4), steps=2, transductive=True)),
    "maml-values": Row(lambda net: MAML(net, SGD(1.0), steps=2, outputs=WAY, targets="values")),
    "maml-learned-rates": Row(lambda net: MAML(net, LearnedRates(0.4, per="tensor"), steps=2)),
    "meta-sgd": Row(lambda net: MetaSGD(net, rate=0.4)),
    "meta-sgd-first-order": Row(lambda net: MetaSGD(net, rate=0.4, first_order=True)),
    "meta-sgd-values": Row(
        lambda net: MetaSGD(net, rate=0.4, steps=1, outputs=WAY, targets="values")
    ),
    "reptile": Row(lambda net: Reptile(net, SGD(0.4), steps=4, batches=3)),
    "reptile-values": Row(
        lambda net: Reptile(net, SGD(0.4), steps=4, batches=5, outputs=WAY, targets="values")
    ),
    "anil": Row(lambda net: ANIL(net, SGD(0.4), steps=3)),
    "anil-learned-rates": Row(lambda net: ANIL(net, LearnedRates(0.4), steps=2, first_order=True)),
    "anil-values": Row(lambda net: ANIL(net, SGD(0.4), steps=3, outputs=WAY, targets="values")),
    "r2d2": Row(lambda net: R2D2(net)),
    "maml-squared": Row(lambda net: MAML(net, SGD(1.0), steps=2, objective="squared_error")),
    "reptile-squared": Row(
        lambda net: Reptile(net, SGD(0.2), steps=4, batches=3, objective="squared_error")
    ),
    "anil-squared": Row(lambda net: ANIL(net, SGD(1.0), steps=3, objective="squared_error")),
    "r2d2-squared": Row(lambda net: R2D2(net, objective="squared_error")),
    "r2d2-values": Row(lambda net: R2D2(net, targets="values")),
    "matching-net": Row(lambda net: MatchingNet(net)),
    "matching-net-learned": Row(lambda net: MatchingNet(net, 5.0, learn_temperature=True)),
    "matching-net-full-context": Row(
        lambda net: MatchingNet(net, full_context=True, processing_steps=2), order_matters=True
    ),
    "relation-net": Row(lambda net: RelationNet(net, width=32), rate=5e-3, steps=400),
    "relation-net-squared": Row(
        lambda net: RelationNet(net, 32, objective="squared_error"), rate=5e-3
    ),
    "set-transformer": Row(lambda net: SetTransformer(net, 16, heads=2, layers=1), rate=5e-3),
    "feat": Row(lambda net: FEAT(net)),
    "feat-cosine": Row(
        lambda net: FEAT(net, "cosine", temperature=5.0, learn_temperature=True, contrast=0.0)
    ),
    "meta-baseline": Row(lambda net: MetaBaseline(net)),
    "lrd2": Row(lambda net: LRD2(net)),
    "lrd2-squared": Row(
        lambda net: LRD2(net, penalty=0.1, steps=3, scale=0.5, objective="squared_error")
    ),
    "alpaca": Row(lambda net: ALPaCA(net, outputs=WAY)),
    "alpaca-squared": Row(lambda net: ALPaCA(net, outputs=WAY, objective="squared_error")),
    "dkt": Row(lambda net: DKT(net)),
    "dkt-linear": Row(lambda net: DKT(net, "linear")),
    "dkt-cosine": Row(lambda net: DKT(net, "cosine")),
    "dkt-values": Row(lambda net: DKT(net, targets="values")),
    "soft-k-means": Row(lambda net: SoftKMeans(net)),
    "soft-k-means-distractors": Row(
        lambda net: SoftKMeans(net, 2.0, True, steps=2, distractors=True)
    ),
    "bd-cspn": Row(lambda net: BDCSPN(net)),
    "bd-cspn-all": Row(lambda net: BDCSPN(net, most=None)),
    "tim": Row(lambda net: TIM(net, steps=10)),
    "tim-no-marginal": Row(lambda net: TIM(net, marginal=0.0, steps=10)),
    "pt-map": Row(lambda net: PTMAP(net, steps=5, sinkhorn=10)),
    "pt-map-unbalanced": Row(lambda net: PTMAP(net, steps=5, sinkhorn=10, balance=0.5)),
    "laplacian-shot": Row(lambda net: LaplacianShot(net, steps=5)),
    "laplacian-shot-plain": Row(lambda net: LaplacianShot(net, rectify=False, steps=5)),
    "prior-fitted": Row(
        lambda net: PriorFitted(net, 32, heads=2, layers=2, ways=5), rate=3e-3, steps=500
    ),
    "prior-fitted-values": Row(
        lambda net: PriorFitted(net, 32, heads=2, layers=2, outputs=WAY, targets="values"),
        rate=5e-3,
        steps=700,
    ),
    "cnp": Row(lambda net: CNP(net, 64, outputs=WAY), rate=3e-3, steps=400, noise=0.3),
    "cnp-squared": Row(
        lambda net: CNP(net, 64, outputs=WAY, objective="squared_error"),
        rate=3e-3,
        steps=400,
        noise=0.3,
    ),
    "anp": Row(lambda net: ANP(net, 32, heads=2, outputs=WAY), rate=3e-3, steps=1000),
    "anp-no-layers": Row(
        lambda net: ANP(net, 64, heads=2, layers=0, outputs=WAY), rate=3e-3, steps=600
    ),
    "proto-maml": Row(lambda net: ProtoMAML(net, SGD(0.1), steps=2)),
    "proto-maml-first-order": Row(lambda net: ProtoMAML(net, SGD(0.1), steps=2, first_order=True)),
    "proto-maml-learned-rates": Row(lambda net: ProtoMAML(net, LearnedRates(0.1), steps=2)),
    "proto-maml-squared": Row(
        lambda net: ProtoMAML(net, SGD(0.1), steps=2, objective="squared_error")
    ),
    "boil": Row(lambda net: BOIL(net, SGD(0.1), steps=2)),
    "boil-fixed-head": Row(lambda net: BOIL(net, SGD(1.0), steps=3, outputs=WAY), rate=2e-2),
    "boil-values": Row(
        lambda net: BOIL(net, SGD(1.0), steps=2, outputs=WAY, targets="values"), rate=2e-2
    ),
    "maml++": Row(lambda net: MAMLPlusPlus(net, rate=0.4, steps=3)),
    "maml++-adapted-norms": Row(
        lambda net: MAMLPlusPlus(net, rate=0.4, steps=2, step_norms=False, transductive=True)
    ),
    "maml++-derivative-order": Row(
        lambda net: MAMLPlusPlus(net, rate=0.4, steps=2, first_order_until=0.5), exact=False
    ),
    "maml++-values": Row(
        lambda net: MAMLPlusPlus(net, rate=0.4, steps=3, outputs=WAY, targets="values")
    ),
    "imaml": Row(lambda net: IMAML(net, SGD(0.4), steps=6, penalty=0.5), exact=False),
    "imaml-squared": Row(
        lambda net: IMAML(net, SGD(0.2), steps=10, penalty=0.5, objective="squared_error"),
        exact=False,
    ),
    "imaml-transductive": Row(
        lambda net: IMAML(net, SGD(0.4, momentum=0.5), steps=4, penalty=0.5, transductive=True),
        exact=False,
    ),
    "imaml-values": Row(
        lambda net: IMAML(net, SGD(0.2), steps=16, penalty=0.1, outputs=WAY, targets="values"),
        exact=False,
    ),
    "cavia": Row(lambda net: CAVIA(net, steps=3)),
    "cavia-first-order": Row(lambda net: CAVIA(net, steps=3, first_order=True)),
    "cavia-fixed-head": Row(lambda net: CAVIA(net, steps=3, outputs=WAY), rate=5e-3),
    "cavia-squared": Row(lambda net: CAVIA(net, steps=3, objective="squared_error")),
    "cavia-learned-rates": Row(
        lambda net: CAVIA(net, LearnedRates(1.0), steps=3, context=8), steps=400
    ),
    "cavia-values": Row(lambda net: CAVIA(net, SGD(1.0), outputs=WAY, targets="values")),
    "simple-shot": Row(lambda net, classes=WAY: SimpleShot(net, classes)),
    "simple-shot-squared": Row(
        lambda net, classes=WAY: SimpleShot(net, classes, objective="squared_error")
    ),
    "baseline++": Row(lambda net, classes=WAY: BaselinePlusPlus(net, classes, steps=5)),
    "baseline++-squared": Row(
        lambda net, classes=WAY: BaselinePlusPlus(
            net, classes, scale=1.0, steps=5, objective="squared_error"
        )
    ),
    "fine-tuning": Row(lambda net, classes=WAY: FineTuning(net, classes, steps=5)),
    "fine-tuning-body": Row(lambda net, classes=WAY: FineTuning(net, classes, True, steps=3)),
    "fine-tuning-squared": Row(
        lambda net, classes=WAY: FineTuning(net, classes, steps=5, objective="squared_error")
    ),
    "nearest-mean": Row(lambda net: NearestMean(), trains=False),
    "support-mean": Row(lambda net: SupportMean(), trains=False),
}

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: MLP(6, [8, 8, 8], 8, norm="batch"), (6,)),
    "mlp-plain": (lambda: MLP(6, [8, 8], 8), (6,)),
    "conv4-pool": (lambda: Conv4(1, width=4, size=16), (1, 16, 16)),
    "conv4-stride": (lambda: Conv4(1, width=4, size=16, down="stride"), (1, 16, 16)),
    "conv4-norm-last": (
        lambda: Conv4(1, width=(2, 4, 4, 4), size=16, halvings=3, norm_last=True),
        (1, 16, 16),
    ),
    "conv4-group": (lambda: Conv4(1, width=8, size=16, norm="group"), (1, 16, 16)),
    "resnet12": (lambda: ResNet12(1, width=(2, 4, 4, 4), size=16), (1, 16, 16)),
}

BATCHINGS = {"loop": Batching("loop"), "vmap": Batching("vmap"), "chunks": Batching("vmap", 2)}


def build(learner: str, net: str) -> Learner:
    """A learner on a net, float64, the same weights at every call."""
    torch.manual_seed(0)
    made = LEARNERS[learner].make(NETS[net][0]()).double()
    # Zero heads and unit norms hide mistakes: no parameter may stand at a special value.
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def task(net: str, seed: int = 0, support: int = 6, query: int = 9, way: int = WAY) -> Task:
    """One random task whose inputs fit the net, float64."""
    shape = NETS[net][1]
    generator = torch.Generator().manual_seed(seed)

    def half(rows: int) -> Examples:
        x = torch.randn(rows, *shape, dtype=torch.float64, generator=generator)
        made = examples(x, torch.arange(rows) % way, way)
        return Examples(made.x, made.y.double(), made.mask.double())

    return Task(half(support), half(query))


def batch(net: str, tasks: int = 3) -> Task:
    """A batch of tasks of different lengths, so that padding is among them."""
    return stack([task(net, seed, support=6 + seed, query=9 - seed) for seed in range(tasks)])
