import numpy as np

from quickstudy.data import cache
from quickstudy.data.sources import list_sources


def test_sources_are_found_where_they_lie(tmp_path):
    assert [(s.path, s.size) for s in list_sources(tmp_path)] == [(None, 0), (None, 0)]
    cache.write_arrays(tmp_path / "omniglot_28.npz", {"a": np.zeros(3)})
    glyphs, omniglot = list_sources(tmp_path)
    assert (glyphs.name, glyphs.path) == ("glyphs", None)
    assert (omniglot.name, omniglot.path) == ("omniglot", tmp_path / "omniglot_28.npz")
    assert omniglot.size == (tmp_path / "omniglot_28.npz").stat().st_size > 0


def test_every_source_says_what_it_is():
    for listing in list_sources():
        assert all((listing.name, listing.what, listing.origin, listing.licence, listing.file))
