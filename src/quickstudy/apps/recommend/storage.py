"""A recommender as one tree of tensors, and back."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from quickstudy.apps.recommend.category import Opener
from quickstudy.apps.recommend.coding import Coding
from quickstudy.apps.recommend.content import Content
from quickstudy.apps.recommend.elsewhere import Elsewhere
from quickstudy.apps.recommend.factors import Factors
from quickstudy.apps.recommend.heads import Head
from quickstudy.apps.recommend.opening_ratings import OpeningRatings
from quickstudy.apps.recommend.people import Traits
from quickstudy.apps.recommend.reader import Reader
from quickstudy.apps.recommend.statistics import Statistics

ARRAYS = ("counts", "likes", "deviation", "born", "moments", "recent", "eased", "ease")
WEIGHTS = ("tag_weights", "word_weights", "ranges", "logarithmic")
SPANS = ("length", "span")
NUMBERS = ("items", "liked_from", "mean", "span", "now")


def to_tree(reader: Reader, opener: Opener | None = None) -> dict[str, Any]:
    """All that they hold but for names, as nested dicts of tensors and numbers."""
    known = reader.known
    return {
        **{name: _tensor(getattr(known, name)) for name in ARRAYS},
        **{name: getattr(known, name) for name in NUMBERS},
        "scale": known.scale,
        "neighbours": _of_sparse(known.neighbours),
        "factors": None if known.factors is None else _of_factors(known.factors),
        "coding": _of_coding(reader.content.coding),
        "kinds": _of_sparse(reader.content.kinds),
        "tokens": _of_sparse(reader.content.tokens),
        "numbers": torch.from_numpy(reader.content.numbers),
        "levels": torch.from_numpy(reader.content.levels),
        "ranking": dict(reader.ranking.state_dict()),
        "rating": None if reader.rating is None else dict(reader.rating.state_dict()),
        "elsewhere": None if opener is None else _of_elsewhere(opener.elsewhere),
        "rated": None if opener is None or opener.rated is None else _of_rated(opener.rated),
        "opening": None if opener is None else dict(opener.head.state_dict()),
        **_of_users(reader),
    }


def _of_users(reader: Reader) -> dict[str, Any]:
    """What is known of users' features; no entry at all where there were none."""
    if reader.traits is None or reader.known.tastes is None:
        return {}
    traits = {"coding": _of_coding(reader.traits.coding), "kept": _tensor(reader.traits.kept)}
    return {"tastes": _tensor(reader.known.tastes), "traits": traits}


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def from_tree(tree: dict[str, Any], names: list[str]) -> Reader:
    """The reader that `to_tree` was given."""
    factors = tree["factors"]
    known = Statistics(
        **{name: tree[name].numpy() for name in ARRAYS},
        **{name: tree[name] for name in NUMBERS},
        scale=tree["scale"],
        neighbours=_to_sparse(tree["neighbours"]),
        factors=None if factors is None else _to_factors(factors),
        tastes=tree["tastes"].numpy() if "tastes" in tree else None,
    )
    content = Content(
        names,
        _to_sparse(tree["kinds"]),
        _to_sparse(tree["tokens"]),
        tree["numbers"].numpy(),
        tree["levels"].numpy(),
        _to_coding(tree["coding"]),
    )
    rating = None if tree["rating"] is None else _to_head(tree["rating"])
    told = tree.get("traits")
    traits = None if told is None else Traits(_to_coding(told["coding"]), told["kept"].numpy())
    return Reader(known, content, _to_head(tree["ranking"]), rating, traits)


def opener_of(tree: dict[str, Any], users: list[str], reader: Reader) -> Opener | None:
    """The opener that `to_tree` was given, beside its reader."""
    if tree["elsewhere"] is None:
        return None
    rated = None
    if tree["rated"] is not None and reader.known.factors is not None:
        held = tree["rated"]
        arrays = held["bias"].numpy(), held["vectors"].numpy()
        rated = OpeningRatings(held["mean"], reader.known.factors, *arrays)
    return Opener(_to_elsewhere(tree["elsewhere"]), _to_head(tree["opening"]), users, rated)


def _of_rated(rated: OpeningRatings) -> dict[str, Any]:
    arrays = {name: torch.from_numpy(getattr(rated, name)) for name in ("bias", "vectors")}
    return {"mean": rated.mean, **arrays}


def _of_elsewhere(elsewhere: Elsewhere) -> dict[str, Any]:
    fields = elsewhere._asdict()
    likes, numbers = _of_sparse(fields.pop("likes")), {n: fields.pop(n) for n in SPANS}
    arrays = {n: _tensor(array) for n, array in fields.items()}
    return {"likes": likes, **numbers, **arrays}


def _to_elsewhere(tree: dict[str, Any]) -> Elsewhere:
    fields: dict[str, Any] = {name: tree[name] for name in SPANS}
    fields |= {name: value.numpy() for name, value in tree.items() if isinstance(value, Tensor)}
    return Elsewhere(likes=_to_sparse(tree["likes"]), **fields)


def _of_coding(coding: Coding) -> dict[str, Any]:
    return {
        "columns": [list(column) for column in coding.columns],
        "tags": list(coding.tags),
        "spans": [list(span) for span in coding.spans],
        **{name: torch.from_numpy(getattr(coding, name)) for name in WEIGHTS},
    }


def _to_coding(tree: dict[str, Any]) -> Coding:
    columns = tuple((name, kind) for name, kind in tree["columns"])
    weights = {name: tree[name].numpy() for name in WEIGHTS}
    spans = tuple((name, count) for name, count in tree["spans"])
    return Coding(columns, tuple(tree["tags"]), spans, **weights)


def _of_factors(factors: Factors) -> dict[str, Any]:
    return {"level": torch.from_numpy(factors.level), "items": torch.from_numpy(factors.items)}


def _to_factors(tree: dict[str, Any]) -> Factors:
    return Factors(tree["level"].numpy(), tree["items"].numpy())


def _of_sparse(matrix: sparse.csr_matrix) -> dict[str, Any]:
    return {
        "data": torch.from_numpy(matrix.data),
        "columns": torch.from_numpy(matrix.indices.astype(np.int64)),
        "starts": torch.from_numpy(matrix.indptr.astype(np.int64)),
        "width": matrix.shape[1],
    }


def _to_sparse(tree: dict[str, Any]) -> sparse.csr_matrix:
    parts = tuple(tree[name].numpy() for name in ("data", "columns", "starts"))
    return sparse.csr_matrix(parts, (len(parts[2]) - 1, tree["width"]))


def _to_head(weights: dict[str, Tensor]) -> Head:
    head = Head(weights["centre"].shape[0], weights["bend.0.weight"].shape[0])
    head.load_state_dict(weights)
    return head.eval()
