"""Backbones: modules from inputs [n, *input] to features [n, d]. `__all__` is the catalogue."""

from quickstudy.nets.conv4 import Conv4
from quickstudy.nets.mlp import MLP
from quickstudy.nets.norm import BatchNorm
from quickstudy.nets.resnet12 import ResNet12

__all__ = ["MLP", "BatchNorm", "Conv4", "ResNet12"]
