"""Where tasks come from: pools of labelled examples, ways to draw tasks from them, and sources."""

from quickstudy.data.arrays import from_arrays
from quickstudy.data.cache import cache_folder, cache_folders
from quickstudy.data.episodes import Draw, Episodes, Transform, quarter_turns, scale
from quickstudy.data.glyphs import GlyphTable, glyph_table, glyphs
from quickstudy.data.image_warps import ImageWarp
from quickstudy.data.images import (
    folder_preprocessing,
    folder_splits,
    image_folder,
    omniglot,
    read_images,
)
from quickstudy.data.pools import Pool, Splits, join, split_classes
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.data.sources import Listing, list_sources
from quickstudy.data.synthetic import Blobs, Sinusoids
from quickstudy.data.warps import Pen, draw

__all__ = [
    "Blobs",
    "Draw",
    "Episodes",
    "GlyphTable",
    "ImageWarp",
    "Listing",
    "Pen",
    "Pool",
    "Preprocessing",
    "Sinusoids",
    "Splits",
    "Transform",
    "cache_folder",
    "cache_folders",
    "draw",
    "folder_preprocessing",
    "folder_splits",
    "from_arrays",
    "glyph_table",
    "glyphs",
    "image_folder",
    "join",
    "list_sources",
    "omniglot",
    "quarter_turns",
    "read_images",
    "scale",
    "split_classes",
]
