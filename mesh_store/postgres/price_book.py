"""Setting prices through time: for a span, for large calls, for another service; and reading them back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator
from sqlalchemy import insert, select

from mesh_store.model import fields
from mesh_store.model.entities import Spec, checked
from mesh_store.model.errors import NotFound, Rejected
from mesh_store.model.snapshot import Provider
from mesh_store.postgres.database import Database
from mesh_store.postgres.price_versions import PER_MILLION, STANDARD, price_versions
from mesh_store.postgres.rates import Prices
from mesh_store.postgres.repository import Repository
from mesh_store.postgres.routing_tables import ProviderRow

#: What `Repository.set_price` knows of a price.
_PLAIN = ("input", "output", "cache_read", "cache_write", "reasoning", "request")
_Service = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_Rate = fields.UsdPerMillion


class PriceVersionSpec(Spec):
    """What a model costs in a span of time, in USD per million tokens; ``request`` is USD per call.

    Attributes:
        service: the service that was used, as the provider's replies call it; ``batch``, ``flex``, ….
        above: only calls that send more input tokens than this pay it, for all of their tokens.
        valid_from: its first moment; may lie in the past.
        valid_to: its end, or None to hold until a newer one is recorded.
    """

    provider: fields.ProviderName
    model: fields.Model
    service: _Service = STANDARD
    above: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    valid_from: fields.Instant
    valid_to: fields.Instant | None = None
    input: _Rate
    output: _Rate
    cache_read: _Rate | None = None
    cache_write: _Rate | None = None
    cache_write_1h: _Rate | None = None
    reasoning: _Rate | None = None
    audio_input: _Rate | None = None
    audio_output: _Rate | None = None
    request: _Rate = Field(default=0, validate_default=True)

    @model_validator(mode="after")
    def _forward(self) -> PriceVersionSpec:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to: must lie after valid_from")
        return self


async def record_price(repo: Repository, **given: object) -> PriceVersionSpec:
    """Record what a model costs, in one transaction; callers follow as soon as it is published.

    A price for now and from now on becomes the model's present price, too.

    Args:
        repo: the operator's repository.
        given: fields of `PriceVersionSpec`; ``valid_from`` is now unless said.

    Raises:
        Rejected: a field breaks a rule, or a tier or service has no standard price to stand beside.
    """
    now = datetime.now(UTC)
    spec = checked(PriceVersionSpec, "price", {"valid_from": now} | given)
    async with repo.batch() as batch:
        standard = spec.service == STANDARD and spec.above == 0
        if standard and spec.valid_from <= now and spec.valid_to is None:
            plain = {name: getattr(spec, name) for name in _PLAIN}
            await batch.set_price(provider=spec.provider, model=spec.model, **plain)
        async with batch._work() as work:
            await work.flush()
            provider_id = await _provider_id(work.session, spec.provider)
            if not standard:
                await _check_base(work.session, provider_id, spec)
            values = spec.model_dump(exclude={"provider"}) | {"provider_id": provider_id, "actor": work.actor}
            added = insert(price_versions).values(**values).returning(price_versions.c.id)
            number = (await work.session.execute(added)).scalar_one()
            work.record(
                "price.record", entity_id=str(number), name=f"{spec.provider}/{spec.model}", after=spec
            )
    return spec


async def price_history(database: Database, provider: str, model: str) -> list[dict[str, Any]]:
    """Return an operator's own prices of a model in the order of recording; the last that is valid counts."""
    c = price_versions.c
    query = (
        select(price_versions)
        .join(ProviderRow, ProviderRow.id == c.provider_id)
        .where(ProviderRow.name == provider, ProviderRow.team_id.is_(None), c.model == model)
        .order_by(c.id)
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return [{name: _plain(value) for name, value in row.items() if name != "provider_id"} for row in rows]


async def prices_of(database: Database) -> Prices:
    """Return what every model costs at any time, whichever account of a provider was called.

    A team's own account is priced as the provider whose place it takes, as a caller's rate card does.
    """
    named = select(
        ProviderRow.id,
        ProviderRow.name,
        ProviderRow.kind,
        ProviderRow.base_url,
        ProviderRow.options,
        ProviderRow.team_id,
    )
    versions = select(price_versions).order_by(price_versions.c.id)
    async with database.connect() as connection:
        found = (await connection.execute(named)).mappings().all()
        rows = (await connection.execute(versions)).mappings().all()
    shared = {row["name"]: row["id"] for row in found if row["team_id"] is None}
    stands_for = {row["id"]: shared[row["name"]] for row in found if row["team_id"] and row["name"] in shared}
    providers = [
        Provider(
            id=row["id"],
            name=row["name"],
            kind=row["kind"],
            base_url=row["base_url"],
            options=row["options"],
        )
        for row in found
    ]
    return Prices(providers, rows, stands_for)


async def _provider_id(session: Any, name: str) -> str:
    query = select(ProviderRow.id).where(
        ProviderRow.name == name, ProviderRow.team_id.is_(None), ProviderRow.archived_at.is_(None)
    )
    found: str | None = (await session.execute(query)).scalar()
    if found is None:
        raise NotFound(f"there is no provider {name!r}", field="provider")
    return found


async def _check_base(session: Any, provider_id: str, spec: PriceVersionSpec) -> None:
    c = price_versions.c
    query = select(c.id).where(
        c.provider_id == provider_id,
        c.model == spec.model,
        c.service == (spec.service if spec.above else STANDARD),
        c.above == 0,
        c.input.is_not(None),
    )
    if (await session.execute(query.limit(1))).scalar() is None:
        raise Rejected(
            f"{spec.provider}/{spec.model} has no price of your own to which this could be added: "
            f"set the {'price of smaller calls' if spec.above else 'standard price'} first",
            field="above" if spec.above else "service",
        )


def _plain(value: object) -> object:
    """Drop the zeros that NUMERIC(18, 6) pads with, without falling into 1E+1."""
    return Decimal(f"{value.normalize():f}") if isinstance(value, Decimal) else value


__all__ = ["PER_MILLION", "PriceVersionSpec", "price_history", "prices_of", "record_price"]
