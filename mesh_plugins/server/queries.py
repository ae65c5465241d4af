"""Parameters of requests: names in paths, pages, narrowed listings, and the revision a writer saw."""

from __future__ import annotations

import re
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header, Path, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from mesh_plugins.server.bounds import restored
from mesh_store.model.entities import Page, Stored
from mesh_store.model.errors import Rejected

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Stored)

#: A name or an id in a path; a slash inside it is written ``%2F``.
Name = Annotated[str, BeforeValidator(restored), Path(max_length=400)]
#: ``If-Match: "3"``: the revision the writer saw, as the ``ETag`` said.
IfMatch = Annotated[str | None, Header(description="The ETag of what you read; 412 when it changed since.")]

_TAG = re.compile(r'"(\d{1,16})"', re.ASCII)


class Asked(BaseModel):
    """Query parameters; one that does not exist is refused, so that a typo never widens an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a NUL character is not allowed")  # Postgres cannot even be asked about it
        return value


class Paged(Asked):
    after: str | None = Field(default=None, max_length=1000, description="The last page's `next`.")
    limit: int = Field(default=100, ge=1, le=1000, description="Items on a page.")


class Listed(Paged):
    archived: bool = Field(default=False, description="What is out of use, too.")


class OfTeam(Asked):
    team: str | None = Field(default=None, description="The team whose own it is.")


class Expected(Asked):
    expected_revision: int | None = Field(
        default=None, ge=0, le=2**53 - 1, description="The revision you read; 409 when it changed since."
    )


class ExpectedOfTeam(Expected, OfTeam):
    pass


class PageOf(BaseModel, Generic[_T]):
    """Part of a listing; `next` is the `after` of the following page, null on the last one."""

    items: tuple[_T, ...]
    next: str | None


Pages = Annotated[Paged, Query()]
Lists = Annotated[Listed, Query()]
Expects = Annotated[Expected, Query()]


def page(found: Page[_T]) -> PageOf[_T]:
    """Return a page as it is answered."""
    return PageOf(items=found.items, next=found.next)


def tagged(response: Response, entity: _E) -> _E:
    """Answer an entity with its revision as ``ETag``."""
    response.headers["ETag"] = f'"{entity.revision}"'
    return entity


def revision(query: Expected, if_match: str | None) -> int | None:
    """Return the revision the writer saw, said either way.

    Raises:
        Rejected: the header is no revision, or says another one than the query.
    """
    if if_match is None or if_match.strip() == "*":
        return query.expected_revision
    match = _TAG.fullmatch(if_match.strip())
    if match is None:
        raise Rejected('If-Match: give the ETag as it was answered, such as "3"', field="If-Match")
    seen = int(match[1])
    if query.expected_revision not in (None, seen):
        raise Rejected("If-Match and expected_revision differ; give one of them", field="If-Match")
    return seen
