"""Who may do what."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, Protocol

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from quickstudy.hub.service.problems import Refused

Scope = Literal["read", "adapt", "admin"]
ALL: frozenset[str] = frozenset({"read", "adapt", "admin"})
LOCAL = "local"
"""The owner of what is adapted where no keys are asked for."""
REMEMBERED = 5.0
"""Seconds that a key counts as good without another look, so as long a revoked one may be used."""
MOST_REMEMBERED = 1024
LONGEST = 200
"""Characters of a key."""


class Key(Protocol):
    """A key that was found good."""

    @property
    def id(self) -> str:
        """Names it, in public."""

    @property
    def scopes(self) -> Any:
        """What it allows."""


class Keys(Protocol):
    """Tells good keys from others; may be slow."""

    def check(self, token: str) -> Key | None:
        """The key; None where it is none, or no longer."""


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        owner: of what it adapts.
        scopes: what it may do.
    """

    owner: str
    scopes: frozenset[str]

    @property
    def sees(self) -> str | None:
        """Whose adapted models it may use; None for everybody's."""
        return None if "admin" in self.scopes else self.owner


class Access:
    """Finds out who asks, and whether they may.

    Args:
        keys: tells good ones; None where everybody on this machine may do all.
    """

    def __init__(self, keys: Keys | None) -> None:
        self.keys = keys
        self._good: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def caller(self, request: Request, scope: Scope) -> Caller:
        """Who asks, if they may.

        Raises:
            Refused: 401 without a good key, 403 with one that does not allow it, or for another
                site's page.
        """
        if self.keys is None:
            _from_here(request)
            return Caller(LOCAL, ALL)
        token = _token(request)
        caller = await self._known(self.keys, token) if token else None
        if caller is None:
            said = "this key is not known, or no longer" if token else "wanted an API key"
            raise Refused(
                401,
                f"{said}: Authorization: Bearer qs_...",
                {"WWW-Authenticate": "Bearer"},
            )
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise Refused(403, f"this key does not allow {scope!r}")
        return caller

    async def _known(self, keys: Keys, token: str) -> Caller | None:
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        until, caller = self._good.get(digest, (0.0, None))
        if caller is not None and time.monotonic() < until:
            return caller
        key = await run_in_threadpool(keys.check, token)
        if key is None:
            self._good.pop(digest, None)
            return None
        caller = Caller(key.id, frozenset(key.scopes))
        self._good[digest] = (time.monotonic() + REMEMBERED, caller)
        while len(self._good) > MOST_REMEMBERED:
            self._good.popitem(last=False)
        return caller


def allow(scope: Scope) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """A dependency of a route: who asks, if they may."""

    async def decide(request: Request) -> Caller:
        access: Access = request.app.state.access
        return await access.caller(request, scope)

    decide.scope = scope  # type: ignore[attr-defined]  # for `decision`
    return decide


def decision(route: BaseRoute) -> Scope | None:
    """What a route asks for; None where it asks for nothing."""
    dependant = getattr(route, "dependant", None)
    found = [getattr(d.call, "scope", None) for d in getattr(dependant, "dependencies", ())]
    return next((scope for scope in found if scope), None)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by name or number; other names could lead here too.

    Examples:
        >>> is_loopback("Localhost"), is_loopback("::1"), is_loopback("example.org")
        (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _token(request: Request) -> str | None:
    given = request.headers.get("authorization", "")
    kind, _, token = given.partition(" ")
    if kind.lower() != "bearer":
        token = request.headers.get("x-api-key", "")
    token = token.strip()
    return token if 0 < len(token) <= LONGEST else None


def _from_here(request: Request) -> None:
    """Refuse what a page of another site has this machine's browser ask.

    Without keys whoever reaches the service may use it, so that a name that is made to lead here,
    or a form that posts here, would open it to strangers.
    """
    host = request.headers.get("host", "")
    if not is_loopback(_name(host)):
        raise Refused(403, f"without keys only this machine is served, got the host {host[:80]!r}")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refused(403, f"without keys no other site is served, got {origin[:80]!r}")


def _name(host: str) -> str:
    """A host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
