"""``python -m mesh_plugins.cli`` is ``mesh``."""

from mesh_plugins.cli import main

main()
