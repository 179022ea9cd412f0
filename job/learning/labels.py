"""Labels as written in settings and metadata: from `transforms.labels.LABELS`, or a user's module by import path."""

import ast
import copyreg
import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, cast

from job.core.entries import EntryError, import_entry, is_import_path
from job.core.wording import did_you_mean
from transforms.labels import LABELS, Label

EXPECTED_TYPES: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}
WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}
"""Words that are no text."""


def parse_label(value: Label | str | Mapping[str, Any]) -> Label:
    """Read a label from `direction(10)`, `mypackage.labels:MyLabel(k=2)` or a mapping with `kind` and parameters.

    Raises:
        ValueError: it is none of them, or names an unknown label or parameter, or a parameter has the wrong type or
            range.
        EntryError: an import path leads to no label.
    """
    if isinstance(value, Label):
        return value
    kind, positional, named = _take_apart(value)
    if is_import_path(kind):
        label = label_at(kind)
    elif kind in LABELS:
        label = LABELS[kind]
    else:
        raise ValueError(f"unknown label {kind!r}{did_you_mean(kind, LABELS)} (known: {', '.join(LABELS)})")
    defaults = {field.name: field.default for field in fields(label) if field.init}  # type: ignore[arg-type]
    if len(positional) > len(defaults):
        raise ValueError(
            f"label {kind}: at most {len(defaults)} parameters ({', '.join(defaults)}), got {len(positional)}"
        )
    given = dict(zip(defaults, positional, strict=False))
    if twice := sorted(given.keys() & named.keys()):
        raise ValueError(f"label {kind}: parameter {twice[0]} is given twice")
    given |= named
    if absent := [name for name, default in defaults.items() if default is MISSING and name not in given]:
        raise ValueError(f"label {kind}: parameter {absent[0]} is not given")
    made = label(**{name: _parameter(kind, name, parameter, defaults) for name, parameter in given.items()})
    made.check()
    return made


def label_at(path: str) -> type[Label]:
    """Return the class of labels at an import path.

    Instances are pickled as their definitions, so that a process without the module says what is missing, and where.

    Raises:
        EntryError: nothing is there, or no class of labels, or one that cannot be imported by its own `kind`.
    """
    found = import_entry(path)
    if not (isinstance(found, type) and issubclass(found, Label)) or inspect.isabstract(found):
        raise EntryError(
            f"{path}: expected a class that derives from transforms.labels.Label and has `resolve`, got {found!r:.80}"
        )
    if LABELS.get(found.kind) is found:
        return found
    if not hasattr(found, "horizon") or not is_dataclass(cast("object", found)):
        raise EntryError(f"{path}: a label is a frozen dataclass with the field `horizon`, in bars")
    if not is_import_path(found.kind) or import_entry(found.kind) is not found:
        raise EntryError(f"{path}: define the class at the top of its module, and leave `kind` unset")
    copyreg.pickle(found, lambda label: (parse_label, (label.definition(),)))
    return found


def _take_apart(value: object) -> tuple[str, list[Any], dict[str, Any]]:
    """Return kind, positional and named parameters of a mapping or of text like `kind(1, name=2)`, which is not run."""
    if isinstance(value, Mapping):
        named = {str(key): parameter for key, parameter in value.items()}
        kinds = [named.pop(key) for key in ("kind", "name", "type") if key in named]
        if len(kinds) != 1:
            known = ", ".join(LABELS)
            raise ValueError(f"label {dict(value)}: give its kind, one of {known}, once (or an import path)")
        return str(kinds[0]), [], named
    problem = ValueError(f"label {value!r}: expected something like direction(10) or triple_barrier(k=1.5, horizon=15)")
    kind, parenthesis, rest = str(value).strip().partition("(")
    kind = kind.strip()
    if not kind.isidentifier() and not is_import_path(kind):
        raise problem
    try:
        # Python's grammar has no name like `package.module:Name`: any other name stands for it while it reads the rest.
        call = ast.parse(f"label({rest}" if parenthesis else "label()", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise problem
        if any(word.arg is None for word in call.keywords):
            raise problem
        named = {str(word.arg): _literal(word.value) for word in call.keywords}
        return kind, [_literal(argument) for argument in call.args], named
    except (SyntaxError, ValueError):
        raise problem from None


def _literal(node: ast.expr) -> Any:
    """Return a parameter's value; words may stand without quotes, as in `entry=next_open`."""
    return WORDS.get(node.id, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _parameter(kind: str, name: str, value: object, defaults: Mapping[str, object]) -> Any:
    """Check the name of a parameter and that its value has the type of the default; whole numbers pass for decimals."""
    if name not in defaults:
        raise ValueError(
            f"label {kind}: unknown parameter {name!r}{did_you_mean(name, defaults)} (known: {', '.join(defaults)})"
        )
    expected = type(defaults[name])
    if expected is float and type(value) is int:
        return float(value)
    if expected not in EXPECTED_TYPES:  # no default to go by, or None
        if value is not None and type(value) not in EXPECTED_TYPES:
            raise ValueError(f"label {kind}: {name} must be a number, a word, true, false or null, got {value!r}")
    elif type(value) is not expected:
        raise ValueError(f"label {kind}: {name} must be {EXPECTED_TYPES[expected]}, got {value!r}")
    return value
