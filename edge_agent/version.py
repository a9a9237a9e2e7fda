"""Layer: the version of this program as it was installed: what the package was built as, or pyproject.toml's."""

from importlib import metadata

try:
    VERSION = metadata.version("gatepost")
except metadata.PackageNotFoundError:
    VERSION = "unknown"  # run from a tree that nobody installed: no reason not to collect events
