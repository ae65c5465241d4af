"""Schemathesis walks the OpenAPI document: whatever is sent, the answer is one the document names.

In process, over ASGI. Every request runs on an event loop of its own, so connections are not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mesh_plugins.server.app import application, build
from mesh_plugins.server.control import Control
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository
from tests.conftest import SIGNER
from tests.engines import Engines

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]


@dataclass
class Served:
    """What is walked: the document as the API gives it, and tokens by role."""

    document: BaseSchema
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def served(mesh_engines: Engines) -> Iterator[Served]:
    database = Database(mesh_engines.database_url, pooler=True)
    repo = Repository(database, actor="schemathesis")

    async def mint() -> dict[str, str]:
        await repo.create_team(name="walked")
        return {
            role: (await repo.create_token(role=role, team=team))[1].text
            for role, team in (("admin", None), ("team-admin", "walked"))
        }

    app = build(Control(database, None, master=SIGNER.master))
    yield Served(schemathesis.openapi.from_asgi("/openapi.json", app), asyncio.run(mint()))
    asyncio.run(database.close())


def operations() -> list[tuple[str, str]]:
    """Every operation but the ones of health, which need no token and have tests of their own."""
    paths = application(Control(None, None)).openapi()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        if path.startswith("/v1")
        for method in methods
    ]


def walk(served: Served, method: str, path: str, examples: int) -> None:
    for mode in MODES:
        strategy = served.document[path][method].as_strategy(generation_mode=mode)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def answers(case: schemathesis.Case) -> None:
            for token in served.tokens.values():
                headers = {"Authorization": f"Bearer {token}"}
                case.call_and_validate(headers=headers, checks=CHECKS)

        answers()


@pytest.mark.parametrize(("method", "path"), operations())
def test_an_operation_answers_only_what_the_document_names(served, method, path):
    walk(served, method, path, examples=2)


@pytest.mark.full
@pytest.mark.parametrize(("method", "path"), operations())
def test_an_operation_answers_only_what_the_document_names_to_many_requests(served, method, path):
    walk(served, method, path, examples=60)
