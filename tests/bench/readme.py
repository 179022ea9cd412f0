"""The figures in tests/README.md: an indented block between two marker lines, the machine first, then each case."""

import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Final

START: Final = "<!-- bench:start -->"
END: Final = "<!-- bench:end -->"


def check(readme: str, machine: str, chosen: Collection[str]) -> None:
    """Check that the figures of the chosen cases can stand beside those of the others.

    Raises:
        ValueError: the marker lines are not there, or the figures of the others are of another machine.
    """
    named, known = sections(readme)
    if (kept := [name for name in known if name not in chosen]) and named != machine:
        raise ValueError(f"the README's figures of {', '.join(kept)} are of another machine ({named}): run all cases")


def with_sections(readme: str, machine: str, measured: Mapping[str, str], *, order: Iterable[str]) -> str:
    """Return the README with the sections of `measured` in place of theirs; other cases of this machine keep theirs."""
    before, _, after = _cut(readme)
    named, known = sections(readme)
    current = {**(known if named == machine else {}), **measured}
    block = "\n\n".join([machine, *(current[name] for name in order if name in current)])
    return f"{before}{START}\n\n{textwrap.indent(block, '    ')}\n\n{END}{after}"


def sections(readme: str) -> tuple[str, dict[str, str]]:
    """Return the machine that the README names, empty if none, and the section of each case."""
    machine, *cases = textwrap.dedent(_cut(readme)[1].strip("\n")).strip().split("\n\n")
    return machine, {case.partition(":")[0]: case for case in cases}


def _cut(readme: str) -> tuple[str, str, str]:
    """Return what stands before the markers, between them and after."""
    before, start, rest = readme.partition(START)
    between, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the README lacks the lines {START} and {END}")
    return before, between, after
