"""What was adapted, kept in the store: a restart loses none, and several services share it."""

from collections.abc import Collection

from quickstudy.artefacts.tensors import from_bytes, to_bytes
from quickstudy.errors import ArtefactError, StoreError
from quickstudy.hub.service.served import Known
from quickstudy.hub.service.states import LISTED, Kept, told
from quickstudy.hub.store.adapted import AdaptedStore
from quickstudy.hub.store.tables import AdaptedRow
from quickstudy.hub.wire import Adapted


class StoreShelf:
    """A `Shelf` in a database.

    Args:
        url: as `store_url` takes it.

    Raises:
        RunError: it cannot be used; so do all its methods.
    """

    def __init__(self, url: str | None = None) -> None:
        self._store = AdaptedStore(url)

    def close(self) -> None:
        """Let go of the connections."""
        self._store.close()

    def put(self, kept: Kept, most: int, before: float | None = None) -> bool:
        """Keep it; of its owner's no more than `most`. See `Shelf`."""
        row = _row(kept)
        if before is not None:
            return self._store.replace(row, before)
        self._store.put(row, most)
        return True

    def get(self, id: str) -> Kept | None:
        """What has that id; None where there is nothing."""
        row = self._store.get(id) if _could_be(id) else None
        return None if row is None else _kept(row)

    def made(self, id: str) -> float | None:
        """When what has that id was made; None where there is nothing."""
        return self._store.made(id) if _could_be(id) else None

    def drop(self, id: str) -> None:
        """Keep it no longer."""
        self._store.drop(id)

    def of(self, owner: str | None, now: float, digests: Collection[str]) -> list[Adapted]:
        """An owner's, or everybody's, of these models. See `Shelf`."""
        rows = self._store.of(owner, now, digests, LISTED)
        whole = [row if row.counts is not None else self._store.get(row.id) for row in rows]
        return [_told(row) for row in whole if row is not None]

    def purge(self, now: float) -> None:
        """Keep what has expired no longer."""
        self._store.purge(now)


def _could_be(id: str) -> bool:
    """Whether an id could be in the store; a database may stumble over other text."""
    return 0 < len(id) <= 32 and id.isascii() and id.isprintable()


def _row(kept: Kept) -> AdaptedRow:
    known = kept.known
    return AdaptedRow(
        id=kept.id,
        owner=kept.owner,
        model=kept.model,
        digest=kept.digest,
        labels=None if known.labels is None else list(known.labels),
        counts=known.counts,
        examples=to_bytes({"x": known.x, "y": known.y}, {}),
        made=kept.created,
        expires=kept.expires,
    )


def _told(row: AdaptedRow) -> Adapted:
    counts = _kept(row).known.counts if row.counts is None else row.counts
    return told(row.id, row.model, row.labels, counts, row.made, row.expires)


def _kept(row: AdaptedRow) -> Kept:
    try:
        tensors = from_bytes(row.examples, f"the store's {row.id}")
    except ArtefactError as error:  # whoever asks is not to blame
        raise StoreError(str(error)) from None
    labels = None if row.labels is None else tuple(row.labels)
    known = Known(tensors["x"], tensors["y"], labels)
    return Kept(row.id, row.owner, row.model, row.digest, known, row.made, row.expires)
