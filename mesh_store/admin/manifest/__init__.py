"""``mesh.yaml``: governance kept in git, planned, applied in one transaction, and exported again.

Data flows down::

    text ──reading──► Document ──document──► Manifest ──wanted──► Things ┐
                                                                         ├─planning──► Plan
    Postgres ──present──► Things ────────────────────────────────────────┘              │
        ▲                    └──exporting──► text                                       │
        └──applying─────────────────────────────────────────────────────────────────────┘
              └──foreseeing──► what callers hold then
"""

from mesh_store.admin.manifest.applying import apply, plan
from mesh_store.admin.manifest.document import Manifest, parse, schema
from mesh_store.admin.manifest.exporting import export
from mesh_store.admin.manifest.faults import Fault, ManifestError
from mesh_store.admin.manifest.foreseeing import Foreseen
from mesh_store.admin.manifest.plan import Change, Plan
from mesh_store.admin.manifest.present import read_settled

__all__ = [
    "Change",
    "Fault",
    "Foreseen",
    "Manifest",
    "ManifestError",
    "Plan",
    "apply",
    "export",
    "parse",
    "plan",
    "read_settled",
    "schema",
]
