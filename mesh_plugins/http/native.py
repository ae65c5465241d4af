"""Loading pyreqwest's native library on a thread that stays.

Its allocator (mimalloc, in 0.15.1) takes the thread that loads the library for the process's main one.
Once that thread has ended, the next thread that calls pyreqwest dies of a segmentation fault, and the
process with it: a first call from a `ThreadPoolExecutor` was enough.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading

from mesh_store.model.forking import forkable_lock

_MODULE = "pyreqwest.client"
#: It imports these when it first has to raise one of them; a signal in that moment would abort the process.
_EXCEPTIONS = "pyreqwest.exceptions"
_lock = forkable_lock()


def load() -> None:
    """Import pyreqwest; from any other thread than the main one, on a thread of its own that never ends."""
    if _MODULE in sys.modules or threading.current_thread() is threading.main_thread():
        importlib.import_module(_MODULE)
        importlib.import_module(_EXCEPTIONS)
        return
    with _lock:
        if _MODULE not in sys.modules:
            done = threading.Event()
            threading.Thread(target=_hold, args=(done,), name="mesh-pyreqwest", daemon=True).start()
            done.wait()
    importlib.import_module(_MODULE)  # raises here what it raised there
    importlib.import_module(_EXCEPTIONS)


def _hold(done: threading.Event) -> None:
    with contextlib.suppress(ImportError):  # whoever waits meets it, too
        importlib.import_module(_MODULE)
    done.set()
    threading.Event().wait()
