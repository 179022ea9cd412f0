"""From a registry to the page of it, of one of its runs, or of one of its models."""

from datetime import UTC, datetime

from job.core.errors import RegistryError
from job.core.keys import Key
from job.report.contents import read_contents
from job.report.page import Report, report
from job.storage.files import Storage


def report_of(registry: Storage, *, run_id: str | None = None, key: Key | None = None) -> Report:
    """Return the report of a registry.

    Args:
        registry: which.
        run_id: only the models of this run.
        key: only this model.

    Raises:
        DataError: the registry holds no model, or no such run.
        RegistryError: it cannot be read, or holds no such model.
    """
    now = datetime.now(UTC)
    contents = read_contents(registry, run_id=run_id, key=key)
    if key is None:
        return report(contents, made_at=now)
    if not contents.described:
        raise RegistryError(f"the metadata of {key} in {registry.url} is damaged; delete the version or train it again")
    return report(contents, contents.described[0], made_at=now)
