"""However a call ends, by whatever door it came: one fact, nothing reserved, no connection left hanging.

`ENDINGS` is a table of endings, `ledger` a mesh whose books can be read; the hosts' tests play every
ending through every door of theirs. Each is played against a real server over HTTP.
"""

from tests.ledger import calls, streams
from tests.ledger.books import audited, ledger
from tests.ledger.table import ENDINGS, Doors

__all__ = ["ENDINGS", "Doors", "audited", "calls", "ledger", "streams"]
