"""What goes wrong on the supervisor's side of the pipe.

The supervisor lives long and small, so it does not import the models and their dependencies; it
reports a sentence, and the process that asked for the engines raises it as a ``ConfigError``.
"""

from __future__ import annotations


class EngineFailed(Exception):
    """An engine could not be made or started; the message says what to do about it."""
