"""Where tasks come from: pools of labelled examples, ways to draw tasks from them, and sources."""

from quickstudy.data.arrays import from_arrays
from quickstudy.data.cache import cache_folder, cache_folders
from quickstudy.data.checkout import Checkout
from quickstudy.data.columns import Columns
from quickstudy.data.datasets import from_dataset
from quickstudy.data.dictionaries import TaskList, as_task
from quickstudy.data.diversity import class_spread, function_spread, task_choice, task_spread
from quickstudy.data.download import Remote, fetch
from quickstudy.data.episodes import Draw, Episodes, Transform, quarter_turns, scale
from quickstudy.data.fashion import fashion
from quickstudy.data.glyphs import GlyphTable, glyph_table, glyphs
from quickstudy.data.grocery import grocery
from quickstudy.data.groups import Groups
from quickstudy.data.image_warps import ImageWarp, Reframe
from quickstudy.data.images import (
    folder_preprocessing,
    folder_splits,
    image_folder,
    read_images,
)
from quickstudy.data.labelled import Labelled
from quickstudy.data.leakage import Shared, check_leakage, shared_images
from quickstudy.data.omniglot import omniglot
from quickstudy.data.pools import Pool, Splits, join, split_classes
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.data.sources import Listing, list_sources, obtain
from quickstudy.data.synthetic import Blobs, Sinusoids
from quickstudy.data.tables import Table, table
from quickstudy.data.unbalanced import UnbalancedQueries
from quickstudy.data.warps import Pen, draw

__all__ = [
    "Blobs",
    "Checkout",
    "Columns",
    "Draw",
    "Episodes",
    "GlyphTable",
    "Groups",
    "ImageWarp",
    "Labelled",
    "Listing",
    "Pen",
    "Pool",
    "Preprocessing",
    "Reframe",
    "Remote",
    "Shared",
    "Sinusoids",
    "Splits",
    "Table",
    "TaskList",
    "Transform",
    "UnbalancedQueries",
    "as_task",
    "cache_folder",
    "cache_folders",
    "check_leakage",
    "class_spread",
    "draw",
    "fashion",
    "fetch",
    "folder_preprocessing",
    "folder_splits",
    "from_arrays",
    "from_dataset",
    "function_spread",
    "glyph_table",
    "glyphs",
    "grocery",
    "image_folder",
    "join",
    "list_sources",
    "obtain",
    "omniglot",
    "quarter_turns",
    "read_images",
    "scale",
    "shared_images",
    "split_classes",
    "table",
    "task_choice",
    "task_spread",
]
