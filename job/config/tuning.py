"""The section `tune`: how many settings of each kind of model are tried, on how many series."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from job.config.sections import AffectsNothing, Section
from job.config.values import Algorithm
from job.learning.spaces import Space, describe_space, parse_space


def _spaces(value: object) -> object:
    return {name: parse_space(own) for name, own in value.items()} if isinstance(value, Mapping) else value


def _describe(spaces: Mapping[str, Space]) -> dict[str, Any]:
    return {name: describe_space(own) for name, own in spaces.items()}


class TuneSettings(Section):
    """What `tune` tries. It changes no model: `train --tuned` does, and then the parameters chosen are the model's own.

    `trials` counts the default settings, too. After each `batch` of trials the next ones are drawn by what is known.
    """

    trials: AffectsNothing[int] = Field(default=20, ge=2, le=10_000)
    batch: AffectsNothing[int] = Field(default=10, ge=1, le=1_000)
    series: AffectsNothing[int] = Field(default=16, ge=1, le=100_000)
    space: AffectsNothing[Annotated[dict[Algorithm, Any], BeforeValidator(_spaces), PlainSerializer(_describe)]] = (
        Field(default_factory=dict)
    )
