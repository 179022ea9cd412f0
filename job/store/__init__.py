"""Versions of models on any fsspec URL: written whole, committed last, checked before they are loaded."""

from job.store.artefacts import FORMATS
from job.store.catalogue import (
    CATALOGUE,
    Summary,
    key_of,
    keys,
    read_catalogue,
    rebuild,
    short_fingerprint,
    summarise,
    versions,
    write_catalogue,
)
from job.store.files import ExistingFileError, MissingFileError, Store
from job.store.versions import (
    LATEST,
    commit,
    find_version,
    list_versions,
    load,
    new_run_id,
    read_metadata,
    version_name,
)

__all__ = [
    "CATALOGUE",
    "FORMATS",
    "LATEST",
    "ExistingFileError",
    "MissingFileError",
    "Store",
    "Summary",
    "commit",
    "find_version",
    "key_of",
    "keys",
    "list_versions",
    "load",
    "new_run_id",
    "read_catalogue",
    "read_metadata",
    "rebuild",
    "short_fingerprint",
    "summarise",
    "version_name",
    "versions",
    "write_catalogue",
]
