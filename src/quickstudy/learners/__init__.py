"""Methods, one paper one file. `__all__` is the catalogue: what it names works everywhere."""

from quickstudy.learners.alpaca import ALPaCA
from quickstudy.learners.anil import ANIL
from quickstudy.learners.dkt import DKT
from quickstudy.learners.feat import FEAT
from quickstudy.learners.lrd2 import LRD2
from quickstudy.learners.maml import MAML
from quickstudy.learners.matching_net import MatchingNet
from quickstudy.learners.meta_baseline import MetaBaseline
from quickstudy.learners.meta_sgd import MetaSGD
from quickstudy.learners.nearest_mean import NearestMean
from quickstudy.learners.protonet import ProtoNet
from quickstudy.learners.r2d2 import R2D2
from quickstudy.learners.relation_net import RelationNet
from quickstudy.learners.reptile import Reptile
from quickstudy.learners.set_transformer import SetTransformer
from quickstudy.learners.support_mean import SupportMean

__all__ = [
    "ANIL",
    "DKT",
    "FEAT",
    "LRD2",
    "MAML",
    "R2D2",
    "ALPaCA",
    "MatchingNet",
    "MetaBaseline",
    "MetaSGD",
    "NearestMean",
    "ProtoNet",
    "RelationNet",
    "Reptile",
    "SetTransformer",
    "SupportMean",
]
