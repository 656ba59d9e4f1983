"""A plain multilayer perceptron."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.errors import TaskError
from quickstudy.nets.norm import make_norm


class MLP(nn.Module):
    """Affine layers with a norm and a relu between them; inputs are flattened.

    Args:
        inputs: numbers in one input, whatever its shape.
        hidden: widths of the hidden layers.
        outputs: width of the output.
        norm: "batch", "group" or "none", after each hidden layer.

    Attributes:
        features: the same as `outputs`.

    Raises:
        TaskError: a width below one.

    Examples:
        >>> import torch
        >>> MLP(784, [64], 16)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (64, 64),
        outputs: int = 64,
        norm: Literal["batch", "group", "none"] = "none",
    ) -> None:
        super().__init__()
        if min((inputs, outputs, *hidden)) < 1:
            raise TaskError(f"widths must be positive, got {inputs}, {list(hidden)}, {outputs}")
        self.inputs = inputs
        self.hidden = list(hidden)
        self.outputs = outputs
        self.norm = norm
        layers: list[nn.Module] = []
        incoming = inputs
        for width in self.hidden:
            layers += [nn.Linear(incoming, width), make_norm(norm, width), nn.ReLU()]
            incoming = width
        self.layers = nn.Sequential(*layers, nn.Linear(incoming, outputs))
        self.features = outputs

    def forward(self, x: Float[Tensor, "n *input"]) -> Float[Tensor, "n outputs"]:
        """Map inputs [n, ...] to [n, outputs].

        Raises:
            TaskError: inputs of another size.
        """
        flat = x.flatten(1)
        if flat.shape[1] != self.inputs:
            raise TaskError(f"this net takes {self.inputs} numbers an input, got {flat.shape[1]}")
        return self.layers(flat)  # type: ignore[no-any-return]
