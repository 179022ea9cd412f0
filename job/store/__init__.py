"""Versions of models on any fsspec URL: written whole, committed last, checked before they are loaded."""

from job.store.artefacts import FORMATS
from job.store.catalogue import (
    CATALOGUE,
    SUMMARY_SCORES,
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
from job.store.listings import forget_listing, read_listings, write_listing
from job.store.predictions import Footer, read_footers, write_predictions
from job.store.versions import (
    LATEST,
    DamagedMetadataError,
    Listed,
    commit,
    find_version,
    list_versions,
    listed_versions,
    load,
    new_run_id,
    read_metadata,
    resolve_version,
    version_name,
)

__all__ = [
    "CATALOGUE",
    "FORMATS",
    "LATEST",
    "SUMMARY_SCORES",
    "DamagedMetadataError",
    "ExistingFileError",
    "Footer",
    "Listed",
    "MissingFileError",
    "Store",
    "Summary",
    "commit",
    "find_version",
    "forget_listing",
    "key_of",
    "keys",
    "list_versions",
    "listed_versions",
    "load",
    "new_run_id",
    "read_catalogue",
    "read_footers",
    "read_listings",
    "read_metadata",
    "rebuild",
    "resolve_version",
    "short_fingerprint",
    "summarise",
    "version_name",
    "versions",
    "write_catalogue",
    "write_listing",
    "write_predictions",
]
