"""YAML as settings are written: plain values, no key twice, and no alias by which a few lines stand for billions."""

import re
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

from job.core.wording import on_one_line

MAX_VALUES: Final = 100_000
"""Values that a text may stand for, those behind an alias counted each time."""


class _Loader(yaml.SafeLoader):
    """Safe loader that says where a value stands that is none, such as the 30th of February."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as the base has it
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from None


# PyYAML is of YAML 1.1, where a number with an exponent needs a dot and a sign: 1e-4 is a text there, a number in 1.2.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """Return the value that `text` holds; None where it is empty.

    Raises:
        ValueError: it is no YAML, names a type of Python, a key twice or a value that does not exist, is nested too
            deeply, or its aliases stand for more than `MAX_VALUES` values. The message is one line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MAX_VALUES:
            raise ValueError(f"its aliases (*) stand for more than {MAX_VALUES:,} values, or for themselves")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(on_one_line(error).replace('in "<unicode string>",', "at")) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Count the values that a node stands for, and refuse a key that is given twice."""
    if id(node) in counts:
        return counts[id(node)]
    counts[id(node)] = MAX_VALUES + 1  # what a node finds that is inside itself
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        children = [part for pair in node.value for part in pair]
    counts[id(node)] = 1 + sum(_count(child, counts) for child in children)
    return counts[id(node)]
