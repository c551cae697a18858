"""Access control lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._models import CannedAcl

Permission = Literal["FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"]

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission for one grantee. Give exactly one of ``id``, ``uri`` (a group) and ``email``."""

    permission: Permission
    id: str | None = None
    uri: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        check_one_of("permission", self.permission, get_args(Permission))
        if sum(name is not None for name in (self.id, self.uri, self.email)) != 1:
            msg = f"a grant must name its grantee by one of id, uri and email, and only one: {self!r}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Acl:
    """An access control list: the owner and the grants. ``canned`` names the canned ACL that they equal."""

    owner: str
    grants: tuple[Grant, ...]

    @property
    def canned(self) -> CannedAcl | None:
        """Return the name of the canned ACL with these grants; None if there is none."""
        owners = Grant("FULL_CONTROL", id=self.owner)
        if owners not in self.grants:
            return None
        return _CANNED.get(frozenset(self.grants) - {owners})


_CANNED: dict[frozenset[Grant], CannedAcl] = {
    frozenset(): "private",
    frozenset({Grant("READ", uri=ALL_USERS)}): "public-read",
    frozenset({Grant("READ", uri=ALL_USERS), Grant("WRITE", uri=ALL_USERS)}): "public-read-write",
    frozenset({Grant("READ", uri=AUTHENTICATED_USERS)}): "authenticated-read",
}
