"""Settings laid over settings: sections over sections, and `dotted.key=value` from a command line."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from job.config.yaml_text import read_yaml
from job.core.errors import ConfigError


def merge(settings: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return `settings` with the dotted `key` set to `value`."""
    return overlay(settings, _nest(key.split("."), value))


def parse_override(override: str) -> dict[str, Any]:
    """Turn `dotted.key=value` into a nested dict; the value is read as YAML."""
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {override!r}: expected dotted.key=value")
    _refuse_secrets(key, path)
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value ({error}); quote it") from None
    _refuse_secrets(key, [*path, *_keys(value)])
    return _nest(path, value)


def _refuse_secrets(key: str, names: Sequence[str]) -> None:
    if "options" in names or any(word in name for name in names for word in ("secret", "token", "password")):
        raise ConfigError(f"--set {key}: secrets do not belong on a command line; use the environment or a config file")


def _keys(value: object) -> Iterator[str]:
    """Yield the keys of a mapping, and those of mappings in it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _keys(inner)


def _nest(path: Sequence[str], value: object) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[return-value]  # path is never empty


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `top` laid over it, section by section."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
