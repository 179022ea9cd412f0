"""How charts look, and the way from a chart to an SVG that fits a page, light or dark, and runs nothing."""

import re
import xml.etree.ElementTree as ET
from html import escape
from typing import TYPE_CHECKING, Any, Final

from job.core.errors import ConfigError

if TYPE_CHECKING:
    import altair as alt

WIDE: Final = 860
NARROW: Final = 330
"""Widths in CSS pixels that every chart is drawn for: a page shows the one that fits."""
EXTRA: Final = "report"

INK: Final = "#1b1f24"
MUTED: Final = "#5b6570"
LINES: Final = "#d5dbe1"
BLUE: Final = "#0072b2"
VERMILLION: Final = "#d55e00"
GREEN: Final = "#009e73"
PURPLE: Final = "#a55f8a"
GREY: Final = "#8a949e"
DARK: Final = {
    INK: "#e6edf3", MUTED: "#a2adb8", LINES: "#363d46", BLUE: "#5cb8f2", VERMILLION: "#ff9350", GREEN: "#35c9a0",
    PURPLE: "#dd9cc2", GREY: "#858f99",
}  # fmt: skip
"""Colours that colour-blind eyes tell apart (Okabe and Ito 2008, some darker), and what each is on a dark page."""

CONFIG: Final[dict[str, Any]] = {
    "aria": False,  # the figure has one name, and its numbers as a table
    "background": None,
    "padding": {"left": 20, "right": 20, "top": 5, "bottom": 5},  # readers' fonts may be wider
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axisBand": {"labelOverlap": False, "grid": False},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "gridColor": LINES, "domainColor": LINES, "tickColor": LINES,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 220,
        "labelOverlap": True, "labelSeparation": 8,
    },
    "header": {"labelColor": INK, "labelFontSize": 13, "labelFontWeight": 600, "title": None, "labelLimit": 300},
    "legend": {
        "labelColor": INK, "titleColor": MUTED, "labelFontSize": 12, "titleFontSize": 12, "orient": "top",
        "titleFontWeight": "normal", "labelLimit": 260, "symbolOpacity": 1, "columnPadding": 28,
    },
    "text": {"color": INK, "fontSize": 12},
    "line": {"strokeWidth": 2},
}  # fmt: skip

ELEMENTS: Final = frozenset({"svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath"})
ATTRIBUTES: Final = frozenset(
    {
        "width", "height", "viewBox", "transform", "d", "x", "y", "x2", "y2", "dx", "dy", "fill", "stroke", "opacity",
        "fill-opacity", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-miterlimit", "text-anchor",
        "font-family", "font-size", "font-weight", "id", "clip-path",
    }
)  # fmt: skip
"""What of an SVG is kept: shapes, texts and their looks, nothing that runs, links or loads."""
DECIMALS: Final = re.compile(r"(\.\d\d)\d+")


def check_extra() -> None:
    """Check that charts can be drawn.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        import altair as alt  # noqa: F401, PLC0415 - optional libraries
        import vl_convert  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(
            f"a report needs {error.name}, which is not installed: pip install -c constraints.txt '.[{EXTRA}]'"
        ) from None


def to_html(drawn: "alt.TopLevelMixin | str", *, name: str, label: str) -> str:
    """Return a chart as an inline `<svg>` with the accessible name `label`, and what is HTML already as it is.

    `name` keeps ids of a chart apart from others'.
    """
    if isinstance(drawn, str):
        return drawn
    import vl_convert  # noqa: PLC0415 - an optional library

    svg = vl_convert.vegalite_to_svg({**drawn.to_dict(validate=False), "config": CONFIG}, allowed_base_urls=[])
    root = ET.fromstring(svg)  # noqa: S314 - made here, of text without entities
    _clean(root, name)
    width, height = root.attrib.pop("width"), root.attrib.pop("height")
    root.attrib |= {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    inner = "".join(ET.tostring(child, encoding="unicode", short_empty_elements=True) for child in root)
    named = "".join(f' {attribute}="{escape(value)}"' for attribute, value in root.attrib.items())
    return f'<svg role="img" aria-label="{escape(label)}"{named}>{inner}</svg>'


def _clean(element: ET.Element, name: str) -> None:
    """Keep of an SVG what a page needs of it: fewer elements, attributes and digits, and ids of its own."""
    element.tag = element.tag.rpartition("}")[2]
    for child in [*element]:
        tag = child.tag.rpartition("}")[2]
        unseen = child.attrib.get("class") in {"background", "foreground"} and not (
            {"fill", "stroke"} & {*child.attrib} and child.attrib.get("display") != "none"
        )
        if tag not in ELEMENTS or unseen:
            element.remove(child)
            continue
        _clean(child, name)
        if child.tag == "g" and not len(child) and not child.text:
            element.remove(child)
    kept = {key: value for key, value in element.attrib.items() if key in ATTRIBUTES}
    for key, value in kept.items():
        if key == "id":
            kept[key] = f"{name}-{value}"
        elif key == "clip-path":
            kept[key] = value.replace("#", f"#{name}-")
        else:
            kept[key] = DECIMALS.sub(r"\1", value)
    if kept.get("opacity") == "1":
        del kept["opacity"]
    kept.pop("font-family", None)  # the page's own
    element.attrib.clear()
    element.attrib.update(kept)
