"""What may be said about a thing: strict, so no unknown field, no conversion and no NaN gets through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mesh_store.model import fields
from mesh_store.model.errors import Rejected
from mesh_store.model.patterns import check_model
from mesh_store.model.shares import WHOLE, parse_share, share_text
from mesh_store.model.snapshot import Operation, ProviderKind

#: No conversion, no unknown field, and no error that repeats what may have been a secret.
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
_Model = TypeVar("_Model", bound=BaseModel)

#: A list of names in which none stands twice; YAML's lists and Python's tuples are both taken.
_Unique = AfterValidator(fields.unique_items)
#: A set, really: the same names in another order are the same.
_Sorted = AfterValidator(lambda names: tuple(sorted(names)))


class Spec(BaseModel):
    """What may be said about a thing."""

    model_config = STRICT


class TeamSpec(Spec):
    """A team, which pays.

    Attributes:
        content: ``samples`` keeps what its calls ask and are answered, redacted; ``off`` keeps nothing.
        content_share: of how many of its calls, above 0 and up to 1.
        content_days: for how long.
    """

    name: fields.TeamName
    description: fields.Description = ""
    metadata: fields.JsonObject = {}
    content: Literal["off", "samples"] = "off"
    content_share: Annotated[float, Field(strict=False, gt=0, le=1)] = 1.0
    content_days: Annotated[int, Field(ge=1, le=3650)] = 7


class UserSpec(Spec):
    """A person or a service."""

    name: fields.UserName
    description: fields.Description = ""
    metadata: fields.JsonObject = {}


class MemberSpec(Spec):
    """A user in a team; ``admin`` may manage the team's keys."""

    team: fields.TeamName
    user: fields.UserName
    role: Literal["member", "admin"] = "member"


class KeySpec(Spec):
    """A caller's key.

    Attributes:
        aliases: names it may use, ``openai/*`` for all under it; None means all its team may use.
        expires_at: when it ends; None means never.
    """

    team: fields.TeamName
    user: fields.UserName | None = None
    description: fields.Description = ""
    aliases: (
        Annotated[
            tuple[fields.CallableName, ...], Field(strict=False, min_length=1, max_length=1000), _Unique
        ]
        | None
    ) = None
    expires_at: fields.Instant | None = None
    metadata: fields.JsonObject = {}


class ProviderSpec(Spec):
    """A vendor account.

    Attributes:
        team: the team whose own account it is; its calls use it in place of the global one of the name.
        secret: a reference, or a map of references; ``sealed:…`` refers to what `set_secret` stored.
    """

    name: fields.ProviderName
    team: fields.TeamName | None = None
    kind: ProviderKind
    base_url: fields.BaseUrl | None = None
    secret: fields.Secret = None
    headers: fields.Headers = {}
    query: fields.Query = {}
    options: fields.Options = {}


class TargetSpec(Spec):
    """A provider's model; weight 0 keeps it in the alias without sending it anything.

    Attributes:
        model: the vendor's name; in a pattern's target ``*`` or ``prefix*`` passes on what was asked for.
        canary: the share of all calls that goes here first, ``5%``; the others never do.
    """

    provider: fields.ProviderName
    model: fields.Model
    tier: Annotated[int, Field(ge=1, le=100)] = 1
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    params: fields.Parameters = {}
    max_output_tokens: fields.Tokens | None = None
    context_window: fields.Tokens | None = None
    canary: fields.Share | None = None


class AliasSpec(Spec):
    """A model name callers use.

    Attributes:
        name: a name, or a pattern (``openai/*``) that catches all names under it without an alias.
        team: the team whose own alias it is; it hides a global one of the same name from that team.
        grants: teams that may use it; None means every team.
        timeout: seconds for the whole call, retries and fallbacks included.
    """

    name: fields.AliasName
    team: fields.TeamName | None = None
    operations: Annotated[tuple[Operation, ...], Field(strict=False, min_length=1), _Unique] = (
        "chat",
        "responses",
        "text_completion",
    )
    grants: (
        Annotated[tuple[fields.TeamName, ...], Field(strict=False, max_length=10_000), _Unique, _Sorted]
        | None
    ) = None
    targets: Annotated[tuple[TargetSpec, ...], Field(strict=False, max_length=100)] = ()
    defaults: fields.Parameters = {}
    forced: fields.Parameters = {}
    max_output_tokens: fields.Tokens | None = None
    timeout: Annotated[float, Field(ge=0.001, le=86_400)] = 600.0
    deprecated: fields.Notice | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AliasSpec:
        if self.team is not None and self.grants is not None:
            raise ValueError("grants: a team's own alias is for that team alone; leave grants out")
        seen = set()
        for target in self.targets:
            place = (target.provider, target.model, target.tier)
            if place in seen:
                raise ValueError(f"targets: {target.provider}/{target.model} is in tier {target.tier} twice")
            seen.add(place)
            check_model(target.model, self.name)
        _check_canaries(self.targets)
        return self


def _check_canaries(targets: tuple[TargetSpec, ...]) -> None:
    canaries = [target for target in targets if target.canary is not None]
    for each in canaries:
        if (each.tier, each.weight) != (1, 1):
            called = f"{each.provider}/{each.model}"
            raise ValueError(f"targets: {called} is a canary: its share says all; leave tier and weight out")
    share = sum(parse_share(each.canary or "") for each in canaries)
    if share > WHOLE:
        raise ValueError(f"targets: the canaries' shares make {share_text(share)}, more than all calls")
    if canaries and len(canaries) == len(targets):
        raise ValueError("targets: a canary needs an ordinary target beside it, for the other calls")


class PriceSpec(Spec):
    """An operator's own price of a model, in USD per million tokens; ``request`` is USD per call."""

    provider: fields.ProviderName
    model: fields.Model
    input: fields.UsdPerMillion
    output: fields.UsdPerMillion
    cache_read: fields.UsdPerMillion | None = None
    cache_write: fields.UsdPerMillion | None = None
    reasoning: fields.UsdPerMillion | None = None
    request: fields.UsdPerMillion = Field(default=0, validate_default=True)


class LimitSpec(Spec):
    """A limit on everything its subjects have in common; no subject means every call.

    Attributes:
        limit: as text, see `mesh_store.model.limit_text`.
        alias: with ``team``, the alias that team means by the name.
        target: ``provider/model`` among the targets of ``alias``.
        end_user: the caller's own user, or ``*`` for each by itself; see `mesh_store.model.labels`.
        tag: a tag of the caller: ``batch``, ``job=nightly``, or ``job=*`` for each value by itself.
        distinct: how many end users, or values of the tag, are kept apart in a day (10,000); the calls of
            further ones are refused.
        enforce: False counts and reports, but never refuses.
    """

    limit: fields.LimitText
    team: fields.TeamName | None = None
    user: fields.UserName | None = None
    key: fields.KeyId | None = None
    alias: fields.AliasName | None = None
    provider: fields.ProviderName | None = None
    target: Annotated[str, Field(max_length=400)] | None = None
    end_user: fields.EndUser | None = None
    tag: fields.Tag | None = None
    distinct: fields.Distinct | None = None
    enforce: bool = True
    on_exhausted: Literal["allow", "cut"] = "allow"

    @model_validator(mode="after")
    def _target_of_an_alias(self) -> LimitSpec:
        if self.target is not None and self.alias is None:
            raise ValueError("target: say the alias it belongs to, too")
        if self.distinct is not None and self.end_user != "*" and not (self.tag or "").endswith("=*"):
            raise ValueError(
                "distinct: it is for limits on each end user ('*') or each value of a tag ('job=*')"
            )
        return self


def checked(model: type[_Model], kind: str, values: Mapping[str, object]) -> _Model:
    """Check an operator's input.

    Raises:
        Rejected: names every field at fault and never repeats what was written into a secret.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_url=False, include_input=False)]
        said = "; ".join(_sentence(field, message) for field, message in faults[:5])
        where = "" if said.startswith(f"{kind} ") else f"{kind}: "
        raise Rejected(where + said, field=faults[0][0] or said.split(":")[0]) from None


def _sentence(field: str, message: str) -> str:
    # Texts that quote their own field ("limit '5 apples/min': …") need no second name before them.
    return message if not field or message.startswith(f"{field} ") else f"{field}: {message}"


def _fault(error: Any) -> tuple[str, str]:
    # pydantic names the branch of a union too ("tuple[…]"), which is no part of the field's name.
    path = ".".join(str(part) for part in error["loc"] if "[" not in str(part))
    if error["type"] == "extra_forbidden":
        return path, "there is no such field"
    return path, error["msg"].removeprefix("Value error, ")
