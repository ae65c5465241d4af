"""LiteLLM, imported while the engines start: it takes seconds, and the story should not wait for it."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import warnings
from importlib.util import find_spec
from typing import Any


class Toolkit:
    """litellm on its way.

    Attributes:
        installed: whether there is anything to import.
    """

    def __init__(self) -> None:
        self.installed = find_spec("litellm") is not None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._import, name="import-litellm", daemon=True)
        if self.installed:
            # Read at import: without it litellm fetches a price list from the network.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            warnings.filterwarnings("ignore", category=UserWarning, module="pydantic")
            self._thread.start()

    def wait(self) -> Any:
        """Return litellm once it is imported, governed by nobody yet.

        Raises:
            ImportError: it is installed, but cannot be imported.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        litellm: Any = importlib.import_module("litellm")
        litellm.suppress_debug_info = True
        return litellm

    def _import(self) -> None:
        try:
            importlib.import_module("litellm")
            logging.getLogger("LiteLLM").setLevel(logging.ERROR)
        except Exception as error:
            self._error = error
