"""The transport for event loops: HTTP/1.1 over asyncio itself, as little of it as providers need.

Why our own: a pyreqwest request whose task was cancelled before the status arrived lives on, with its
connection, until the provider answers (0.15.1; its client's ``close`` does not end it either). Here
a cancelled task closes its connection at once, and there is no thread between a caller and its bytes.

* `framing`     what the bytes of an answer mean, pure
* `connection`  one connection: an exchange at a time
* `pool`        idle connections of one event loop
* `transport`   the two verbs
"""
