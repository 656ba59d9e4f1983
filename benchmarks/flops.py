"""Floating-point operations that a step of meta-training cannot do without.

Counted are convolutions and matrix products, a multiplication and an addition being two operations,
and taps on a convolution's padding counting like others. Norms, relus and pooling are a few
hundredths of the operations, though not of the time. With F the operations of a layer's forward
pass on one example:

- Backward: one product for the weights' gradient and one for the inputs', F each. The first layer
  reads data, which need no gradient.
- Second order, through an inner step: both of these products are differentiated in their two
  factors, and so is the forward one, six products of F. In the first layer two remain, that of the
  forward pass and that of the weights' gradient, each in the one factor that needs it.

It is the same however the derivative is come by: tangents sent forward through a forward and a
backward pass also take two products for each of the three.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Layer(NamedTuple):
    """One layer: operations of its forward pass on one example, and whether it reads data."""

    forward: int
    reads_data: bool = False


def convolution(incoming: int, outgoing: int, side: int, kernel: int = 3) -> int:
    """Of images with `incoming` channels to [outgoing, side, side], on one image."""
    return 2 * kernel**2 * incoming * outgoing * side**2


def affine(inputs: int, outputs: int) -> int:
    """Of [inputs] to [outputs]."""
    return 2 * inputs * outputs


def conv4(width: int = 64, size: int = 28, down: str = "pool", outputs: int = 0) -> list[Layer]:
    """The four blocks on images of one channel, and a head of so many rows, if any."""
    layers, side = [], size
    for block in range(4):
        after = side // 2 if down == "pool" else (side + 1) // 2
        at = side if down == "pool" else after
        layers.append(Layer(convolution(width if block else 1, width, at), reads_data=not block))
        side = after
    head = [Layer(affine(width * side**2, outputs))] if outputs else []
    return layers + head


def mlp(widths: Sequence[int]) -> list[Layer]:
    """Affine layers between these widths, the inputs' first."""
    steps = enumerate(pairwise(widths))
    return [Layer(affine(a, b), reads_data=not place) for place, (a, b) in steps]


def gradient(layers: list[Layer]) -> int:
    """Forward and backward of one example."""
    return sum(layer.forward * (2 if layer.reads_data else 3) for layer in layers)


def curvature(layers: list[Layer]) -> int:
    """The way back through an inner step's gradient, of one example: a Hessian-vector product."""
    return sum(layer.forward * (2 if layer.reads_data else 6) for layer in layers)


def protonet(layers: list[Layer], width: int, ways: int, shots: int, queries: int) -> int:
    """A training step on one task, with embeddings of `width` numbers.

    Prototypes are one product, with a gradient for the embeddings alone; distances are another.
    """
    support, asked = ways * shots, ways * queries
    heads = 2 * affine(width, ways) * support + 3 * affine(width, ways) * asked
    return (support + asked) * gradient(layers) + heads


def maml(
    layers: list[Layer], steps: int, ways: int, shots: int, queries: int, first_order: bool = False
) -> int:
    """A training step on one task, graphs of the inner steps kept."""
    inner = gradient(layers) + (0 if first_order else curvature(layers))
    return steps * ways * shots * inner + ways * queries * gradient(layers)
