"""Every change an operator makes: checked, in one transaction with its audit entry and its revision."""

from mesh_store.postgres.repository.aliases import Aliases
from mesh_store.postgres.repository.history import History
from mesh_store.postgres.repository.key_import import KeyImport
from mesh_store.postgres.repository.keys import Expires, Keys
from mesh_store.postgres.repository.limits import Limits
from mesh_store.postgres.repository.part import AfterCommit
from mesh_store.postgres.repository.people import Members, Teams, Users
from mesh_store.postgres.repository.providers import Prices, Providers
from mesh_store.postgres.repository.secrets import Secrets
from mesh_store.postgres.repository.team_scope import TeamScope
from mesh_store.postgres.repository.tokens import Tokens

__all__ = ["AfterCommit", "Expires", "Repository"]


class Repository(
    Teams,
    Users,
    Members,
    Keys,
    KeyImport,
    Providers,
    Prices,
    Secrets,
    Aliases,
    Limits,
    Tokens,
    TeamScope,
    History,
):
    """The control entities of one database, as one actor changes them.

    ::

        repo = Repository(database, actor="ada@example.com")
        await repo.create_team(name="research")
        key, minted = await repo.create_key(team="research")
        async with repo.batch() as batch:      # one transaction, one revision
            await batch.create_alias(name="fast", targets=[{"provider": "openai", "model": "gpt-5-mini"}])
            await batch.create_limit(team="research", limit="600 requests/min")
    """
