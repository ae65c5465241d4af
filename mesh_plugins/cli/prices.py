"""``mesh price``: what models cost, now and through time, and re-pricing what was counted already."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.moments import Until, moment
from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson, Team
from mesh_plugins.cli.printing import print_json, show
from mesh_plugins.cli.providers import ProviderName

if TYPE_CHECKING:
    from mesh_store.model.usage import Rates

price = typer.Typer(no_args_is_help=True, help="Prices of your own, over the built-in ones.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The vendor's name of the model.")]
Usd = Annotated[str | None, typer.Option(help="USD per million tokens.")]

#: What a table shows of prices; all in USD per million tokens.
_RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(price, name="price")


@price.command("set")
def set_price(
    name: ProviderName,
    model: Model,
    input_usd: Annotated[str, typer.Option("--input", help="USD per million input tokens.")],
    output_usd: Annotated[str, typer.Option("--output", help="USD per million output tokens.")],
    cache_read: Annotated[str | None, typer.Option("--cache-read", help="Likewise, read from cache.")] = None,
    cache_write: Annotated[str | None, typer.Option("--cache-write", help="Likewise, written.")] = None,
    cache_write_1h: Annotated[str | None, typer.Option("--cache-write-1h", help="Kept for an hour.")] = None,
    reasoning: Usd = None,
    audio_input: Usd = None,
    audio_output: Usd = None,
    request: Annotated[str, typer.Option("--request", help="USD per call.")] = "0",
    service: Annotated[str | None, typer.Option(help="Only for batch, flex, priority, ….")] = None,
    above: Annotated[int, typer.Option(help="Only for calls that send more input tokens than this.")] = 0,
    since: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="When it begins: a date, or 24h (ago).")
    ] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Set what a model costs: from now on, or for a span of time, past or to come."""
    rates = {
        "cache_read": cache_read,
        "cache_write": cache_write,
        "cache_write_1h": cache_write_1h,
        "reasoning": reasoning,
        "audio_input": audio_input,
        "audio_output": audio_output,
        "service": service,
        "valid_from": moment(since, "from"),
        "valid_to": moment(until, "until"),
    }
    given: dict[str, Any] = {"input": input_usd, "output": output_usd, "request": request, "above": above}
    given |= {field: value for field, value in rates.items() if value is not None}

    async def record(repo: Any) -> Any:
        from mesh_store.postgres.price_book import record_price

        return await record_price(repo, provider=name, model=model, **given)

    made = operate(record)
    said = f"{made.provider}/{made.model}: ${made.input} in and ${made.output} out, per million"
    done(
        said if since is None else f"{said}, from {made.valid_from:%Y-%m-%d %H:%M} UTC", made, as_json=as_json
    )


@price.command("list")
def list_prices(archived: Archived = False, as_json: AsJson = False) -> None:
    """List the prices of your own."""
    rows = every(lambda repo, **page: repo.list_prices(**page), archived=archived)
    columns = ["provider", "model", "input", "output", "cache_read", "cache_write", "request"]
    listing(rows, columns, as_json=as_json, word="prices of your own")


@price.command("archive")
def archive_price(name: ProviderName, model: Model, as_json: AsJson = False) -> None:
    """Go back to the built-in price of a model."""
    gone = operate(lambda repo: repo.archive_price(name, model))
    done(f"{gone.provider}/{gone.model} has its built-in price again", gone, as_json=as_json)


@price.command("show")
def show_price(
    name: ProviderName,
    model: Model,
    at: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A date, or 24h (ago); now unless said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model costs at a moment, your own prices and the built-in ones together."""

    async def read(repo: Any) -> Any:
        from mesh_store.postgres.price_book import prices_of

        provider = await repo.get_provider(name)
        when = moment(at, "at") or datetime.now(UTC)
        return (await prices_of(repo.database)).of(provider.id, model).at(round(when.timestamp() * 1_000_000))

    rates = operate(read)
    rows = [] if rates is None else _sheets(rates)
    show(rows, ["for", *_RATES], as_json=as_json, empty=f"{name}/{model} has no price")


@price.command("history")
def history(name: ProviderName, model: Model, as_json: AsJson = False) -> None:
    """List your own prices of a model as they were recorded; the last that is valid at a moment counts."""

    async def read(repo: Any) -> Any:
        from mesh_store.postgres.price_book import price_history

        await repo.get_provider(name)
        return await price_history(repo.database, name, model)

    columns = ["valid_from", "valid_to", "service", "above", *_RATES[:4], "recorded_at"]
    listing(operate(read), columns, as_json=as_json, word="prices of your own")


@price.command("reprice")
def reprice(
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help="Calls since: a date, or 24h (ago).")],
    until: Until = None,
    team: Team = None,
    provider: Annotated[str | None, typer.Option(help="Only calls of this provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls of this model.")] = None,
    reason: Annotated[str, typer.Option(help="Kept with each adjustment.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add what calls should have cost at the prices of their time; facts and budgets stay as they are."""

    async def work(repo: Any) -> Any:
        from mesh_store.postgres.usage_adjust import reprice as adjust

        begins = moment(since)
        assert begins is not None, "typer asks for it"
        only: dict[str, Any] = {"provider": provider, "model": model, "dry_run": dry_run, "reason": reason}
        team_id = None if team is None else (await repo.get_team(team)).id
        return await adjust(
            repo.database, begins, moment(until, "until"), actor=repo.actor, team=team_id, **only
        )

    found = operate(work)
    report = asdict(found) | {"difference_usd": found.difference_usd, "dry_run": dry_run}
    if as_json:
        print_json(report)
        return
    would = "would be adjusted" if dry_run else "adjusted"
    typer.echo(
        f"{found.looked_at} calls looked at, {found.adjusted} {would}"
        f" ({found.newly_priced} had no price), {found.difference_usd:+} USD"
    )
    if found.unpriced:
        typer.echo(
            f"{found.unpriced} have no price at their time: `mesh price set … --from` gives one", err=True
        )


def _sheets(rates: Rates, what: str = "calls") -> list[dict[str, Any]]:
    """Return one row per price that may apply, in USD per million tokens."""
    row: dict[str, Any] = {"for": what}
    row |= {name: _per_million(getattr(rates, name)) for name in _RATES}
    row["request"] = Decimal(rates.request) / 10**12
    rows = [row]
    if rates.terms is not None:
        terms = rates.terms
        for part in terms.daily:
            hours = "-".join(f"{s // 3600:02}:{s // 60 % 60:02}" for s in (part.from_s, part.until_s))
            rows += _sheets(part.rates, f"{what}, {hours} UTC")
        for tier in terms.tiers:
            rows += _sheets(tier.rates, f"{what} above {tier.above:,} tokens")
        for service, other in sorted(terms.services.items()):
            rows += _sheets(other, f"{service} {what}")
    return rows


def _per_million(pico: int | None) -> Decimal | None:
    return None if pico is None else Decimal(f"{(Decimal(pico) / 10**6).normalize():f}")
