"""Attention over sets of examples, for learners that read a support set in context."""

import math
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.functional import ABSENT
from quickstudy.errors import TaskError


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, section 3.2).

    Differs: masked rows of what is attended to get no attention; keys have no bias, which would
    shift all scores alike.

    Args:
        width: of the attention, a multiple of `heads`.
        heads: that attend side by side, >= 1.
        asks: width of what asks and of what is looked up; `width` where None.

    Raises:
        TaskError: a number below one, or a width that the heads cannot divide.

    Examples:
        >>> of = torch.randn(5, 8)
        >>> Attention(8, heads=2).attend(torch.randn(3, 8), of, of, torch.ones(5)).shape
        torch.Size([3, 8])
    """

    def __init__(self, width: int, heads: int, asks: int | None = None) -> None:
        if width < 1 or heads < 1:
            raise TaskError(f"attention has positive width and heads, got {width} and {heads}")
        if width % heads:
            raise TaskError(f"the width must be a multiple of the heads, got {width} and {heads}")
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(asks or width, width)
        self.key = nn.Linear(asks or width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    @torch.no_grad()
    def match(self) -> Self:
        """Start by passing on what is alike: keys as the queries, values as they come.

        From a start at random, training takes long to find that out.
        """
        self.key.weight.copy_(self.query.weight)
        for layer in (self.value, self.out):
            nn.init.eye_(layer.weight)
        return self

    def attend(
        self,
        ask: Float[Tensor, "*sets m asks"],
        keys: Float[Tensor, "*sets n asks"],
        values: Float[Tensor, "*sets n width"],
        real: Float[Tensor, " n"],
    ) -> Float[Tensor, "*sets m width"]:
        """What each row of `ask` makes of the real rows of `values`, looked up by their `keys`."""
        asked, looked_up = self._split(self.query(ask)), self._split(self.key(keys))
        scores = asked @ looked_up.transpose(-1, -2) / math.sqrt(asked.shape[-1])
        attention = torch.softmax(torch.where(real > 0, scores, ABSENT), dim=-1)
        read = attention @ self._split(self.value(values))
        out: Tensor = self.out(read.transpose(-2, -3).flatten(-2))
        return out

    def _split(self, x: Float[Tensor, "*sets n width"]) -> Float[Tensor, "*sets heads n e"]:
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        return heads


class AttentionBlock(Attention):
    """Attention and a small perceptron, each beside what came in (Lee et al. 2019, eq. 6 and 7).

    Differs: norms come before the attention and the perceptron.

    Examples:
        >>> of = torch.randn(5, 8)
        >>> AttentionBlock(8, heads=2)(torch.randn(3, 8), of, torch.ones(5)).shape
        torch.Size([3, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.before, self.of_set = nn.LayerNorm(width), nn.LayerNorm(width)
        self.rest = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self,
        x: Float[Tensor, "*sets m width"],
        of: Float[Tensor, "*sets n width"],
        real: Float[Tensor, " n"],
    ) -> Float[Tensor, "*sets m width"]:
        """Rows x after each has attended to the real rows of a set."""
        seen = self.of_set(of)
        x = x + self.attend(self.before(x), seen, seen, real)
        out: Tensor = x + self.rest(x)
        return out
