"""Vendor accounts, and an operator's own prices."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import Page, PriceEntity, PriceSpec, ProviderEntity, ProviderSpec, checked
from mesh_store.model.errors import Conflict, NotFound
from mesh_store.model.ids import new_id
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.effects import archive_limits
from mesh_store.postgres.repository.part import (
    Part,
    changed_spec,
    check_revision,
    now,
    page_of,
    refuse_changes,
)
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.repository.stored_secrets import address, follow
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import AliasRow, PriceRow, ProviderRow, TargetRow

Providing = named.Kind[ProviderRow, ProviderSpec, ProviderEntity]
PROVIDER: Providing = named.Kind("provider", ProviderRow, ProviderSpec, ProviderEntity)
_RATES = ("input", "output", "cache_read", "cache_write", "reasoning", "request")


class Providers(Part):
    """Vendor accounts, by name and, for a team's own, by team; fields are those of `ProviderSpec`."""

    async def create_provider(self, **fields: object) -> ProviderEntity:
        """Create a provider; its secret is a reference such as ``env:OPENAI_API_KEY``.

        ``team=`` makes it that team's own: its calls use it in place of the global one of the name.

        Raises:
            Conflict: the name is taken.
            Rejected: a field breaks a rule.
        """
        team = checked(ProviderSpec, "provider", fields).team
        async with self._work() as work:
            return named.create(work, await _kind(work.session, team), fields)

    async def get_provider(self, name: str, *, team: str | None = None) -> ProviderEntity:
        """Return a live provider, or raise `NotFound`; ``team`` asks for that team's own."""
        async with self._reading() as session:
            kind = await _kind(session, team)
            return named.entity_of(kind, await named.row_named(session, kind, name))

    async def list_providers(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100, archived: bool = False
    ) -> Page[ProviderEntity]:
        """Return a page of providers by name; ``team`` narrows it to that team's own."""
        query = select(ProviderRow, TeamRow).outerjoin(TeamRow, TeamRow.id == ProviderRow.team_id)
        if not archived:
            query = query.where(ProviderRow.archived_at.is_(None))
        async with self._reading() as session:
            if team is not None:
                owner = await named.referenced(session, TEAM, team)
                query = query.where(ProviderRow.team_id == owner.id)
            rows, following = await page_of(session, query, (ProviderRow.name, ProviderRow.id), after, limit)
        kinds = (PROVIDER if row[1] is None else _owned(row[1]) for row in rows)
        entities = (named.entity_of(kind, row[0]) for kind, row in zip(kinds, rows, strict=True))
        return Page(tuple(entities), following)

    async def update_provider(
        self,
        name: str,
        /,
        *,
        for_team: str | None = None,
        expected_revision: int | None = None,
        **changes: object,
    ) -> ProviderEntity:
        """Change a provider's fields; ``name=`` renames it. A stored secret follows it to its address.

        Args:
            name: which provider.
            for_team: the team whose own provider it is.
            expected_revision: refuse when it is not at this revision any more.
            changes: fields of `ProviderSpec`.
        """
        refuse_changes("provider", changes, "team")
        async with self._work() as work:
            kind = await _kind(work.session, for_team)
            row = await named.row_named(work.session, kind, name, lock=True)
            was_at = address(row)
            provider = await named.update(work, kind, name, expected_revision, changes)
            await follow(work, row, was_at, self.master)
            return provider

    async def archive_provider(
        self, name: str, *, team: str | None = None, expected_revision: int | None = None
    ) -> ProviderEntity:
        """Take a provider out of use; its limits and prices go with it.

        Raises:
            Conflict: aliases still have targets there.
        """
        async with self._work() as work:
            kind = await _kind(work.session, team)
            row = await named.row_named(work.session, kind, name, lock=True)
            await _check_unused(work, row)
            provider = await named.archive(work, kind, row, expected_revision)
            live = select(PriceRow).where(PriceRow.provider_id == row.id, PriceRow.archived_at.is_(None))
            for price in (await work.session.execute(live)).scalars():
                price.archived_at = now()
            await archive_limits(work, LimitRow.provider_id == row.id)
            return provider


async def provider_row(
    session: AsyncSession, name: str, team: str | None, *, lock: bool = False
) -> ProviderRow:
    """Return the live provider of exactly this owner; ``team`` None means the global one."""
    return await named.row_named(session, await _kind(session, team), name, lock=lock)


async def meant_provider(session: AsyncSession, name: str, team_id: str | None) -> ProviderRow:
    """Return the provider that an alias or a limit means: the global one, else the team's own of the name.

    A global one stands for every team's own account of its name, so it goes first.

    Raises:
        NotFound: there is none; says so when only a team has one.
    """
    try:
        return await named.referenced(session, PROVIDER, name)
    except NotFound:
        owners = select(TeamRow).join(ProviderRow, ProviderRow.team_id == TeamRow.id)
        owners = owners.where(ProviderRow.name == name, ProviderRow.archived_at.is_(None))
        teams = (await session.execute(owners.order_by(TeamRow.name))).scalars().all()
        own = next((team for team in teams if team.id == team_id), None)
        if own is not None:
            return await named.referenced(session, _owned(own), name)
        if teams:
            raise NotFound(
                f"provider {name!r} is an account of team {teams[0].name!r} alone: only its own aliases and "
                "limits may name it; make a global provider of that name for everybody's",
                field="provider",
            ) from None
        raise


async def _kind(session: AsyncSession, team: str | None) -> Providing:
    return PROVIDER if team is None else _owned(await named.referenced(session, TEAM, team))


def _owned(team: TeamRow) -> Providing:
    return replace(PROVIDER, owner=named.Owner(team.id, team.name))


class Prices(Part):
    """Prices that overrule the built-in list; fields are those of `PriceSpec`."""

    async def set_price(self, *, expected_revision: int | None = None, **fields: object) -> PriceEntity:
        """Set the price of a provider's model, in USD per million tokens."""
        spec = checked(PriceSpec, "price", fields)
        async with self._work() as work:
            provider = await named.referenced(work.session, PROVIDER, spec.provider)
            query = _of(provider.id, spec.model).with_for_update(of=PriceRow)
            present = (await work.session.execute(query)).one_or_none()
            rates = {name: getattr(spec, name) for name in _RATES}
            if present is None:
                row = PriceRow(id=new_id(), provider_id=provider.id, model=spec.model, **rates)
                work.session.add(row)
                return await _recorded(work, "price.create", row, spec.provider, None)
            row, before = present[0], _price(present)
            await check_revision(work.session, row, row.id, expected_revision)
            if spec == changed_spec("price", PriceSpec, before, {}):
                return before
            for name, rate in rates.items():
                setattr(row, name, rate)
            return await _recorded(work, "price.update", row, spec.provider, before)

    async def update_price(
        self, provider: str, model: str, /, *, expected_revision: int | None = None, **changes: object
    ) -> PriceEntity:
        """Change some of a model's prices."""
        refuse_changes("price", changes, "provider", "model")
        present = await self.get_price(provider, model)
        fields = changed_spec("price", PriceSpec, present, changes).model_dump()
        return await self.set_price(expected_revision=expected_revision, **fields)

    async def get_price(self, provider: str, model: str) -> PriceEntity:
        """Return an operator's price, or raise `NotFound`; the built-in list is not asked."""
        async with self._reading() as session:
            row = await named.row_named(session, PROVIDER, provider)
            present = (await session.execute(_of(row.id, model))).one_or_none()
        if present is None:
            raise _no_price(provider, model)
        return _price(present)

    async def list_prices(
        self, *, after: str | None = None, limit: int = 100, archived: bool = False
    ) -> Page[PriceEntity]:
        """Return a page of operators' prices by provider and model."""
        query = _PRICES if archived else _PRICES.where(PriceRow.archived_at.is_(None))
        async with self._reading() as session:
            order = (ProviderRow.name, PriceRow.model, PriceRow.id)
            rows, following = await page_of(session, query, order, after, limit)
            return Page(tuple(_price(row) for row in rows), following)

    async def archive_price(
        self, provider: str, model: str, *, expected_revision: int | None = None
    ) -> PriceEntity:
        """Go back to the built-in price of a model."""
        async with self._work() as work:
            provider_row = await named.row_named(work.session, PROVIDER, provider)
            query = _of(provider_row.id, model).with_for_update(of=PriceRow)
            present = (await work.session.execute(query)).one_or_none()
            if present is None:
                raise _no_price(provider, model)
            row, before = present[0], _price(present)
            await check_revision(work.session, row, row.id, expected_revision)
            row.archived_at = now()
            return await _recorded(work, "price.archive", row, provider, before)


_PRICES: Select[PriceRow, str] = select(PriceRow, ProviderRow.name.label("provider")).join(
    ProviderRow, ProviderRow.id == PriceRow.provider_id
)


def _of(provider_id: str, model: str) -> Select[PriceRow, str]:
    return _PRICES.where(
        PriceRow.provider_id == provider_id, PriceRow.model == model, PriceRow.archived_at.is_(None)
    )


def _no_price(provider: str, model: str) -> NotFound:
    return NotFound(f"provider {provider!r} has no price of your own for {model!r}", field="model")


def _price(row: Row[*tuple[Any, ...]]) -> PriceEntity:
    return _price_entity(row[0], row.provider)


def _price_entity(price: PriceRow, provider: str) -> PriceEntity:
    values: dict[str, object] = {name: getattr(price, name) for name in _RATES}
    stored = ("id", "model", "revision", "created_at", "updated_at", "archived_at")
    return PriceEntity.model_validate(
        {"provider": provider}
        | {name: getattr(price, name) for name in stored}
        | {name: _plain(rate) for name, rate in values.items()}
    )


def _plain(rate: object) -> object:
    """Drop the zeros that NUMERIC(18, 6) pads with, without falling into 1E+1."""
    return Decimal(f"{rate.normalize():f}") if isinstance(rate, Decimal) else rate


async def _recorded(
    work: Work, action: str, row: PriceRow, provider: str, before: PriceEntity | None
) -> PriceEntity:
    await work.flush()
    after = _price_entity(row, provider)
    work.record(action, entity_id=row.id, name=f"{provider}/{row.model}", before=before, after=after)
    return after


async def _check_unused(work: Work, row: ProviderRow) -> None:
    query = (
        select(AliasRow.name)
        .join(TargetRow, TargetRow.alias_id == AliasRow.id)
        .where(TargetRow.provider_id == row.id, TargetRow.archived_at.is_(None))
        .where(AliasRow.archived_at.is_(None))
        .distinct()
        .order_by(AliasRow.name)
        .limit(10)
    )
    if names := list((await work.session.execute(query)).scalars()):
        raise Conflict(
            f"provider {row.name!r} is used by {', '.join(names)}: take it out of these aliases first"
        )
