"""Keys to the service: made, shown once, checked and revoked.

A key reads `qs_<id>_<secret>`. Its id is public and finds it; of its secret the store holds the
SHA-256 digest alone. That is enough for 256 random bits, which nobody can guess however fast hashes
are; slow ones are for what people think up.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError

from quickstudy.errors import RunError
from quickstudy.hub.store.sessions import Sessions
from quickstudy.hub.store.tables import KeyRow

READ, ADAPT, ADMIN = "read", "adapt", "admin"
SCOPES = (READ, ADAPT, ADMIN)
"""What a key may open:

- read: which models there are, what is known of them, runs, and what models answer by themselves;
- adapt: adapting, extending and asking adapted states, and removing those that this key made;
- admin: everything; the keys and everybody's states too.

admin implies the others; adapt does not imply read.
"""
ACTIVE, REVOKED, EXPIRED = "active", "revoked", "expired"
USED_SECONDS = 60
"""Between two notes of when a key was used."""
LONGEST = 64
"""Letters of a name."""
_TOKEN = re.compile(r"qs_([0-9a-f]{10})_([A-Za-z0-9_-]{43})")
_NOBODYS = hashlib.sha256(b"").hexdigest()
"""What secrets are compared with where there is no such key."""


@dataclass(frozen=True)
class Key:
    """What is known of a key, which does not open anything.

    Attributes:
        id: public, ten hexadecimal digits.
        name: who or what holds it.
        scopes: some of `SCOPES`, in their order.
        created: when.
        last_used: when, to the minute; None where never.
        revoked: when; None where it is not.
        expires: when it opens nothing any more; None where it always will.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None = None
    revoked: datetime | None = None
    expires: datetime | None = None

    def allows(self, scope: str) -> bool:
        """Whether it opens that.

        Examples:
            >>> key = Key("0123456789", "laptop", ("adapt",), datetime.now(UTC))
            >>> key.allows("adapt"), key.allows("read")
            (True, False)
        """
        return scope in self.scopes or (ADMIN in self.scopes and scope in SCOPES)

    def state(self, now: datetime) -> str:
        """Whether it is "active", "revoked" or "expired".

        Examples:
            >>> Key("0123456789", "laptop", ("read",), datetime.now(UTC)).state(datetime.now(UTC))
            'active'
        """
        if self.revoked is not None:
            return REVOKED
        return EXPIRED if self.expires is not None and self.expires <= now else ACTIVE

    def told(self, now: datetime) -> dict[str, Any]:
        """As JSON.

        Examples:
            >>> key = Key("0123456789", "laptop", ("read",), datetime(2030, 1, 1, tzinfo=UTC))
            >>> key.told(datetime(2030, 1, 2, tzinfo=UTC))
            {'id': '0123456789', 'name': 'laptop', 'scopes': ['read'], 'state': 'active',
             'created': '2030-01-01T00:00:00+00:00', 'last_used': None, 'revoked': None,
             'expires': None}
        """
        moments = {name: getattr(self, name) for name in _MOMENTS}
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "state": self.state(now),
            **{n: when and when.isoformat(timespec="seconds") for n, when in moments.items()},
        }


_MOMENTS = ("created", "last_used", "revoked", "expires")


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class KeyRing:
    """The keys in a store.

    Args:
        url: as `store_url` takes it.
        clock: says what time it is.

    Raises:
        RunError: the store cannot be used.

    Examples:
        >>> ring = KeyRing(":memory:")
        >>> key, secret = ring.create("laptop", ["read", "adapt"])
        >>> ring.check(secret).name
        'laptop'
        >>> ring.revoke("laptop").state(utc_now())
        'revoked'
        >>> print(ring.check(secret))
        None
        >>> ring.close()
    """

    def __init__(self, url: str | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self._sessions = Sessions(url)
        self._clock = clock

    def close(self) -> None:
        """Let go of the connections."""
        self._sessions.close()

    def create(
        self, name: str, scopes: Sequence[str], expires: datetime | None = None
    ) -> tuple[Key, str]:
        """Make a key.

        Args:
            name: who or what holds it: 1 to 64 printable characters, which no other key has that
                is not revoked.
            scopes: what it opens, some of `SCOPES`.
            expires: when it opens nothing any more; a moment with a time zone.

        Returns:
            What is known of it, and the key as its holder sends it, which cannot be had again.

        Raises:
            RunError: a name, scope or moment that cannot be, or the store cannot be used.
        """
        now = self._clock()
        if not _is_name(name):
            raise RunError(
                f"a key's name must be 1 to {LONGEST} printable characters, got {name!r}"
            )
        if expires is not None and (expires.tzinfo is None or expires <= now):
            raise RunError(f"a key must expire at a later moment, with time zone, got {expires}")
        id, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
        row = KeyRow(
            id=id,
            name=name,
            hash=_hash(secret),
            scopes=_in_order(scopes),
            created=now,
            expires=expires,
        )
        with self._sessions.writing() as session:
            session.add(row)
            try:
                session.flush()
            except IntegrityError:
                raise RunError(
                    f"there is a key named {name!r} already; revoke it, or choose another name"
                ) from None
        return _key(row), f"qs_{id}_{secret}"

    def all(self) -> list[Key]:
        """Every key, revoked ones too, the newest first.

        Raises:
            RunError: the store cannot be used.
        """
        with self._sessions.reading() as session:
            rows = session.scalars(select(KeyRow).order_by(KeyRow.created.desc(), KeyRow.id))
            return [_key(row) for row in rows]

    def revoke(self, id_or_name: str) -> Key:
        """Let a key open nothing from now on; one that was revoked before stays as it was.

        Args:
            id_or_name: an id goes before a name; of several keys that had a name, the one that is
                not revoked, else the newest.

        Raises:
            RunError: there is no such key, or the store cannot be used.
        """
        missing = RunError(f"there is no key with the id or name {id_or_name!r}")
        if not _is_name(id_or_name):  # a database might stumble over it
            raise missing
        wanted = select(KeyRow).where(or_(KeyRow.id == id_or_name, KeyRow.name == id_or_name))
        with self._sessions.writing() as session:
            found = session.scalars(wanted.with_for_update()).all()
            if not found:
                raise missing
            row = max(found, key=lambda r: (r.id == id_or_name, r.revoked is None, r.created))
            row.revoked = row.revoked or self._clock()
        return _key(row)

    def check(self, token: str) -> Key | None:
        """The key that somebody sent, if it opens anything: it is whole, not revoked, not expired.

        No text makes this fail. How long it takes does not tell how much of a secret was right.

        Raises:
            RunError: the store cannot be used.
        """
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        id, secret = parts.groups()
        with self._sessions.reading() as session:
            row = session.get(KeyRow, id)
        same = hmac.compare_digest(_hash(secret), row.hash if row is not None else _NOBODYS)
        if row is None or not same:
            return None
        now, key = self._clock(), _key(row)
        if key.state(now) != ACTIVE:
            return None
        with suppress(RunError):  # a store that is too busy to note it does not lock anybody out
            self._note_use(key, now)
        return key

    def _note_use(self, key: Key, now: datetime) -> None:
        before = now - timedelta(seconds=USED_SECONDS)
        if key.last_used is not None and key.last_used > before:
            return
        due = or_(KeyRow.last_used.is_(None), KeyRow.last_used <= before)
        with self._sessions.noting() as session:
            session.execute(update(KeyRow).where(KeyRow.id == key.id, due).values(last_used=now))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable() and text == text.strip()


def _in_order(scopes: Sequence[str]) -> list[str]:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        came = ", ".join(map(repr, unknown)) or "none"
        raise RunError(f"a key's scopes must be some of {', '.join(SCOPES)}, got {came}")
    return [scope for scope in SCOPES if scope in scopes]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: KeyRow) -> Key:
    moments = {name: getattr(row, name) for name in _MOMENTS}
    return Key(row.id, row.name, tuple(row.scopes), **moments)
