"""Methods, one paper one file. `__all__` is the catalogue: what it names works everywhere."""

from quickstudy.learners.alpaca import ALPaCA
from quickstudy.learners.anil import ANIL
from quickstudy.learners.anp import ANP
from quickstudy.learners.baseline_plus_plus import BaselinePlusPlus
from quickstudy.learners.bd_cspn import BDCSPN
from quickstudy.learners.boil import BOIL
from quickstudy.learners.cavia import CAVIA
from quickstudy.learners.cnp import CNP
from quickstudy.learners.dkt import DKT
from quickstudy.learners.feat import FEAT
from quickstudy.learners.fine_tuning import FineTuning
from quickstudy.learners.imaml import IMAML
from quickstudy.learners.laplacian_shot import LaplacianShot
from quickstudy.learners.lrd2 import LRD2
from quickstudy.learners.maml import MAML
from quickstudy.learners.maml_plus_plus import MAMLPlusPlus
from quickstudy.learners.matching_net import MatchingNet
from quickstudy.learners.meta_baseline import MetaBaseline
from quickstudy.learners.meta_sgd import MetaSGD
from quickstudy.learners.nearest_mean import NearestMean
from quickstudy.learners.prior_fitted import PriorFitted
from quickstudy.learners.proto_maml import ProtoMAML
from quickstudy.learners.protonet import ProtoNet
from quickstudy.learners.pt_map import PTMAP
from quickstudy.learners.r2d2 import R2D2
from quickstudy.learners.relation_net import RelationNet
from quickstudy.learners.reptile import Reptile
from quickstudy.learners.set_transformer import SetTransformer
from quickstudy.learners.simple_shot import SimpleShot
from quickstudy.learners.soft_k_means import SoftKMeans
from quickstudy.learners.support_mean import SupportMean
from quickstudy.learners.tim import TIM

__all__ = [
    "ANIL",
    "ANP",
    "BDCSPN",
    "BOIL",
    "CAVIA",
    "CNP",
    "DKT",
    "FEAT",
    "IMAML",
    "LRD2",
    "MAML",
    "PTMAP",
    "R2D2",
    "TIM",
    "ALPaCA",
    "BaselinePlusPlus",
    "FineTuning",
    "LaplacianShot",
    "MAMLPlusPlus",
    "MatchingNet",
    "MetaBaseline",
    "MetaSGD",
    "NearestMean",
    "PriorFitted",
    "ProtoMAML",
    "ProtoNet",
    "RelationNet",
    "Reptile",
    "SetTransformer",
    "SimpleShot",
    "SoftKMeans",
    "SupportMean",
]
