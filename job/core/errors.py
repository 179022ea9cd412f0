"""Every error that a user can meet: one line that says what is wrong, where, and what to do about it."""

from typing import ClassVar


class JobError(Exception):
    """Base of all errors with a message meant for the user; `exit_status` is what the command line returns."""

    exit_status: ClassVar[int] = 1


class ConfigError(JobError):
    """A setting, argument or path that cannot be used."""

    exit_status = 2


class DataError(JobError):
    """Bars that are absent, unreadable or unusable."""

    exit_status = 3


class RegistryError(JobError):
    """A model registry that cannot be written or read, or an artifact that must not be loaded."""

    exit_status = 2


class ClusterError(JobError):
    """A Ray cluster that dies under a run."""


class TrainingError(JobError):
    """Samples from which no model can be trained or scored."""


class AuditError(TrainingError):
    """A feature whose values depend on what a model must not see, or which cannot be computed."""


class LostRowsError(JobError):
    """A worker died and its rows are missing, without which what is left of a Dataset means nothing."""
