"""Methods, one paper one file. `__all__` is the catalogue: what it names works everywhere."""

from quickstudy.learners.maml import MAML
from quickstudy.learners.nearest_mean import NearestMean
from quickstudy.learners.protonet import ProtoNet

__all__ = ["MAML", "NearestMean", "ProtoNet"]
