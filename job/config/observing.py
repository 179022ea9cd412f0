"""The section `metrics`: where figures of runs go."""

from pydantic import field_validator

from job.config.sections import AffectsNothing, Section


class MetricsSettings(Section):
    """Where to keep the figures of this process: a local file for the textfile collector of a node_exporter."""

    textfile: AffectsNothing[str | None] = None

    @field_validator("textfile")
    @classmethod
    def _is_collected(cls, value: str | None) -> str | None:
        if value is not None and ("://" in value or not value.endswith(".prom")):
            raise ValueError("expected a local file that ends in .prom, since a node_exporter reads no other")
        return value
