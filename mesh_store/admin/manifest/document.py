"""What ``mesh.yaml`` may say, as strict values; every fault has its line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

from mesh_store.admin.manifest.faults import Fault, ManifestError
from mesh_store.admin.manifest.reading import Document, read
from mesh_store.model import fields
from mesh_store.model.specs import AliasSpec, LimitSpec, PriceSpec, ProviderSpec, Spec, TeamSpec, UserSpec


class Membership(Spec):
    """A member of the team it stands under; a name alone is a plain member."""

    user: fields.UserName
    role: Literal["member", "admin"] = "member"


def _named(field: str) -> Any:
    def take(value: object) -> object:
        return {field: value} if isinstance(value, str) else value

    return take


def _nothing(value: object) -> object:
    return () if value is None else value  # a section whose lines are all commented out


def _version(value: int) -> int:
    if value != 1:
        raise ValueError("this Mesh reads version 1")
    return value


#: Tuples, because a manifest never changes; YAML's lists are taken.
_List = Field(strict=False)
_Member = Annotated[Membership, BeforeValidator(_named("user"), json_schema_input_type=str | Membership)]
_Limit = Annotated[LimitSpec, BeforeValidator(_named("limit"), json_schema_input_type=str | LimitSpec)]
_Maybe = BeforeValidator(_nothing)


class TeamItem(TeamSpec):
    """A team, its members, and limits of this team (alone, or together with a user, an alias, …)."""

    members: Annotated[tuple[_Member, ...], _List, _Maybe] = ()
    limits: Annotated[tuple[_Limit, ...], _List, _Maybe] = ()


class Manifest(Spec):
    """What a mesh is made of, as it is kept in git. Keys and secrets are never in it.

    Attributes:
        version: of this format.
        team: when given, the file speaks of this team alone, and nothing else is pruned by it.
    """

    version: Annotated[int, AfterValidator(_version), WithJsonSchema({"const": 1})]
    team: fields.TeamName | None = None
    users: Annotated[tuple[UserSpec, ...], _List, _Maybe] = ()
    teams: Annotated[tuple[TeamItem, ...], _List, _Maybe] = ()
    providers: Annotated[tuple[ProviderSpec, ...], _List, _Maybe] = ()
    aliases: Annotated[tuple[AliasSpec, ...], _List, _Maybe] = ()
    limits: Annotated[tuple[_Limit, ...], _List, _Maybe] = ()
    prices: Annotated[tuple[PriceSpec, ...], _List, _Maybe] = ()


def schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest, for editors."""
    made = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"title": "mesh.yaml"}


def parse(text: str, file: str) -> tuple[Manifest, Document]:
    """Read a manifest.

    Args:
        text: YAML.
        file: what it is called in messages.

    Raises:
        ManifestError: names file, line, column and field of everything that is wrong.
    """
    document = read(text, file)
    if not isinstance(document.value, dict):
        raise ManifestError([document.fault((), "a manifest is a mapping that begins with 'version: 1'")])
    try:
        return Manifest.model_validate(document.value), document
    except ValidationError as error:
        faults = [_fault(document, fault) for fault in error.errors(include_url=False, include_input=False)]
        raise ManifestError(faults) from None


def _fault(document: Document, fault: Any) -> Fault:
    # pydantic names the branch of a union, too ("tuple[…]"), which is no part of the field's name.
    path = tuple(part for part in fault["loc"] if "[" not in str(part))
    if fault["type"] == "extra_forbidden":
        return document.fault(path, "there is no such field", at_key=True)
    message = fault["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    return document.fault(path, message)
