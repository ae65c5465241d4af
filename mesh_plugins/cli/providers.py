"""``mesh provider`` and ``mesh price``: vendor accounts, and what their models cost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh_plugins.cli.operating import done, every, listing, operate
from mesh_plugins.cli.options import Archived, AsJson
from mesh_plugins.cli.targets import parse_parameters

provider = typer.Typer(no_args_is_help=True, help="Vendor accounts.")
price = typer.Typer(no_args_is_help=True, help="Prices of your own, over the built-in ones.")

ProviderName = Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's name.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The vendor's name of the model.")]
Kind = Annotated[str, typer.Option("--kind", help="The wire format it speaks: openai, anthropic, litellm.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Where it lives, if not at the vendor's.")]
Secret = Annotated[str | None, typer.Option("--secret", help="A reference: env:NAME or file:PATH.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(provider, name="provider")
    app.add_typer(price, name="price")


@provider.command("create")
def create_provider(
    name: ProviderName,
    kind: Kind = "openai",
    base_url: BaseUrl = None,
    secret: Secret = None,
    header: Annotated[list[str] | None, typer.Option("--header", metavar="NAME=VALUE")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a provider; secrets are referred to, never stored here."""
    fields: dict[str, Any] = {"name": name, "kind": kind, "base_url": base_url, "secret": secret}
    headers = {key: str(value) for key, value in parse_parameters(header or (), "header").items()}
    made = operate(lambda repo: repo.create_provider(headers=headers, **fields))
    done(f"provider {made.name} is there", made, as_json=as_json)


@provider.command("set")
def set_provider(
    name: ProviderName,
    base_url: BaseUrl = None,
    secret: Secret = None,
    as_json: AsJson = False,
) -> None:
    """Change where a provider lives, or where its secret is found; callers follow within a second."""
    fields = {"base_url": base_url, "secret": secret}
    changes: dict[str, Any] = {field: value for field, value in fields.items() if value is not None}
    made = operate(lambda repo: repo.update_provider(name, **changes))
    done(f"provider {made.name} is at revision {made.revision}", made, as_json=as_json)


@provider.command("list")
def list_providers(archived: Archived = False, as_json: AsJson = False) -> None:
    """List the providers."""
    rows = every(lambda repo, **page: repo.list_providers(**page), archived=archived)
    listing(rows, ["name", "kind", "base_url", "secret"], as_json=as_json, word="providers")


@provider.command("archive")
def archive_provider(name: ProviderName, as_json: AsJson = False) -> None:
    """Take a provider out of use; refused while aliases have targets there."""
    gone = operate(lambda repo: repo.archive_provider(name))
    done(f"provider {gone.name} is archived", gone, as_json=as_json)


@price.command("set")
def set_price(
    name: ProviderName,
    model: Model,
    input_usd: Annotated[str, typer.Option("--input", help="USD per million input tokens.")],
    output_usd: Annotated[str, typer.Option("--output", help="USD per million output tokens.")],
    cache_read: Annotated[str | None, typer.Option("--cache-read", help="Likewise, read from cache.")] = None,
    cache_write: Annotated[str | None, typer.Option("--cache-write", help="Likewise, written.")] = None,
    request: Annotated[str, typer.Option("--request", help="USD per call.")] = "0",
    as_json: AsJson = False,
) -> None:
    """Set the price of a provider's model."""
    rates: dict[str, Any] = {"input": input_usd, "output": output_usd, "request": request}
    rates |= {
        k: v for k, v in {"cache_read": cache_read, "cache_write": cache_write}.items() if v is not None
    }
    made = operate(lambda repo: repo.set_price(provider=name, model=model, **rates))
    done(
        f"{made.provider}/{made.model}: ${made.input} in and ${made.output} out, per million",
        made,
        as_json=as_json,
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
