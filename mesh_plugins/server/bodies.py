"""Bodies of requests, made from the same specs the repository checks: strict, nothing unknown."""

from __future__ import annotations

from copy import copy
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, create_model, field_validator, model_validator

from mesh_store.model import fields
from mesh_store.model.entities import (
    AliasSpec,
    KeyEntity,
    KeySpec,
    LimitSpec,
    MemberSpec,
    PriceSpec,
    ProviderSpec,
    Spec,
    TeamSpec,
    UserSpec,
)
from mesh_store.model.errors import Rejected
from mesh_store.model.tokens import Role, TokenEntity

#: A duration from now ("90d"), a moment with time zone (ISO 8601), or null for never.
Lifetime = Annotated[
    str | None, Field(max_length=100, description='"90d", a moment with time zone, or null for never.')
]

_Limits = Annotated[
    tuple[fields.LimitText, ...], Field(strict=False, max_length=50, description="Limits of this key alone.")
]


def _without(spec: type[Spec], name: str, *left_out: str, optional: bool = False, **more: Any) -> Any:
    """Make a spec without some fields, and ``more``; with ``optional`` what is absent stays as it is."""
    kept: dict[str, Any] = more
    for field, original in spec.model_fields.items():
        if field in left_out:
            continue
        info = copy(original)
        if optional:
            info.default, info.default_factory, info.validate_default = None, None, False
        kept[field] = (info.annotation, info)
    return create_model(name, __base__=Spec, __module__=__name__, **kept)


def said(body: BaseModel) -> dict[str, Any]:
    """Return what a body said, and nothing it left out."""
    return {name: getattr(body, name) for name in body.model_fields_set}


def lifetime(text: str | None) -> str | datetime | None:
    """Return a moment if ``text`` is one; a duration is left to the repository."""
    if text is None or "T" not in text:
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected("expires: write a duration such as '90d', or a moment", field="expires") from None
    if moment.tzinfo is None:
        raise Rejected("expires: give the time zone, too", field="expires")
    return moment


TeamChange = _without(TeamSpec, "TeamChange", optional=True)
UserChange = _without(UserSpec, "UserChange", optional=True)
NewMember = _without(MemberSpec, "NewMember", "team")
MemberChange = _without(MemberSpec, "MemberChange", "team", "user")
ProviderChange = _without(ProviderSpec, "ProviderChange", optional=True)
Price = _without(PriceSpec, "Price", "provider", "model")
PriceChange = _without(PriceSpec, "PriceChange", "provider", "model", optional=True)
AliasChange = _without(AliasSpec, "AliasChange", "team", optional=True)
LimitChange = _without(
    LimitSpec, "LimitChange", "team", "user", "key", "alias", "provider", "target", optional=True
)
NewKey = _without(KeySpec, "NewKey", "expires_at", expires=(Lifetime, "90d"), limits=(_Limits, ()))
KeyChange = _without(
    KeySpec, "KeyChange", "team", "user", "expires_at", optional=True, expires=(Lifetime, None)
)


class Rotation(Spec):
    """How a key's secret is replaced."""

    overlap: Annotated[str, Field(max_length=100, description="How long the old secret still works.")] = "24h"
    expires: Lifetime = "90d"


class SecretValue(Spec):
    """A provider's secret: one value, or values by label; what is not named stays what it is.

    It is write-only, and no message repeats any of it.
    """

    value: SecretStr | None = None
    values: Annotated[
        dict[str, SecretStr] | None, Field(description="By label, such as `aws_secret_access_key`.")
    ] = None

    @field_validator("values", mode="before")
    @classmethod
    def _text_by_label(cls, given: object) -> object:
        # Said without the place at fault: whoever mixes up label and value would read the value there.
        if isinstance(given, dict) and not all(isinstance(each, str) for each in given.values()):
            raise ValueError("give text by label")
        return given

    @model_validator(mode="after")
    def _either(self) -> SecretValue:
        if (self.value is None) == (self.values is None):
            raise ValueError("value: give either value or values")
        return self

    def plain(self) -> str | dict[str, str]:
        """Return what is to be sealed."""
        if self.value is not None:
            return self.value.get_secret_value()
        return {label: text.get_secret_value() for label, text in (self.values or {}).items()}


class NewToken(Spec):
    """A token to be minted."""

    role: Role
    team: fields.TeamName | None = None
    description: fields.Description = ""
    expires: Lifetime = "90d"


class MintedKeyEntity(KeyEntity):
    """A key with its text, which is shown now and never again."""

    key: str


class MintedTokenEntity(TokenEntity):
    """A token with its text, which is shown now and never again."""

    token: str
