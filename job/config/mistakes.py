"""Mistakes in settings: one clause each, with the dotted key as the user wrote it."""

from collections.abc import Sequence
from typing import Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from job.core.wording import did_you_mean
from job.learning.spec import Scalar

EXPECTED: Final = {
    "string_type": "expected text: quote it",
    "string_pattern_mismatch": "expected a name, or leave it out",
    "tuple_type": "expected a list such as [A, B]",
    "dict_type": "expected a mapping of keys to values",
    "model_type": "expected a section of settings",
    "model_attributes_type": "expected a section of settings",
}
"""What to write in a settings file, where the validator's own message names types of Python."""

MAX_CLAUSE: Final = 500
MAX_VALUE: Final = 80


def mistakes(error: ValidationError, section: type[BaseModel]) -> list[str]:
    """Return a clause for each problem that `section` has with its values."""
    clauses = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            clauses.append(f"unknown key {key}{did_you_mean(path[-1], _fields_at(section, path[:-1]))}")
        else:
            message = EXPECTED.get(problem["type"], problem["msg"].removeprefix("Value error, "))
            value = repr(problem["input"]) if isinstance(problem["input"], Scalar) else ""
            got = f", got {shortened(value, MAX_VALUE)}" if value not in message else ""
            clauses.append(f"{key or 'config'}: {shortened(message, MAX_CLAUSE)}{got}")
    return list(dict.fromkeys(clauses))  # a value that may be of several types fails once for each


def shortened(text: str, most: int) -> str:
    """Leave the middle out of a text of more than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _fields_at(section: type[BaseModel], path: Sequence[str]) -> tuple[str, ...]:
    """Names of the keys that the section at `path` knows."""
    parts = iter(path)
    for part in parts:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
        if get_origin(annotation) is dict:
            next(parts)  # a name of the user's own
    return tuple(section.model_fields)
