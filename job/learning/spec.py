"""Everything that determines a model, given its bars."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf, PlainSerializer

from job.learning.forests.engines import Engine
from transforms.labels import Label, parse_label

Scalar = bool | int | float | str | None
LabelSetting = Annotated[InstanceOf[Label], BeforeValidator(parse_label), PlainSerializer(Label.definition)]


class ModelSpec(BaseModel):
    """Everything that determines a model, given its bars; what the settings of its kind and of all kinds come to."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    algorithm: str
    n_estimators: int
    max_depth: int | None
    params: dict[str, Scalar]
    engine: Engine
    label: LabelSetting
    features: tuple[str, ...]
    test_size: float
    cv_folds: int
    embargo: int
    random_state: int
    calibrate: Literal["shrink", "none"]
    refit: bool
