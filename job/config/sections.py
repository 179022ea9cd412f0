"""What every section of settings has in common: it is frozen, refuses unknown keys, and says what each setting affects.

The mark on a field is all that a new setting needs: fingerprints, and the sampling kept in a version's metadata, follow
from it. `tests/test_settings.py` fails where a field has none, or where the mark is not true.
"""

from enum import Enum, auto
from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

T = TypeVar("T")


class Affects(Enum):
    """What changes with a setting, and with it which fingerprints."""

    MODEL = auto()
    """The numbers of a model: it is trained again."""
    SAMPLING = auto()
    """How bars become samples: the model is trained again, and whoever predicts with it must make samples as it did."""
    READING = auto()
    """Which bars are read from files: the files are read again, and models only where other bars are found."""
    NOTHING = auto()
    """No number of any model: which models are wanted, where things are, how the job runs."""


AffectsModel = Annotated[T, Affects.MODEL]
AffectsSampling = Annotated[T, Affects.SAMPLING]
AffectsReading = Annotated[T, Affects.READING]
AffectsNothing = Annotated[T, Affects.NOTHING]


class Section(BaseModel):
    """A section of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {annotation, *get_args(annotation)} & {int, float}:
            raise ValueError("expected a number")
        return value


def fields_that_affect(section: type[Section], *what: Affects) -> frozenset[str]:
    """Return the names of a section's fields that are marked with one of `what`."""
    return frozenset(
        name for name, field in section.model_fields.items() if any(mark in what for mark in field.metadata)
    )
