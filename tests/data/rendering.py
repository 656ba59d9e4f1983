"""What the tests of glyphs and of font files share."""

import numpy as np

from quickstudy.data import typefaces

FEW = {ord(c) for c in "AaBbOoНоNZzFƒ7אבגდეԱԲ"}
"""Some characters: look-alikes, turned look-alikes (N and Z) and all three parts among them."""


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def canonical(table, part):
    """The first face of each class of a part, as floats [classes, SIDE, SIDE]."""
    first = table.offsets[:-1][table.parts == part]
    return table.images[first, 0].astype(float)


def font(name):
    """One of the fonts beside DejaVu's that matplotlib brings along."""
    return typefaces.dejavu("Sans").with_name(name)
