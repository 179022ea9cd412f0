"""A report in a real browser: nothing fails, every picture is drawn, the heat map sorts and leads to its models."""

import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job.storage.files import Storage
from tests.fleets import synthetic_fleet

pytest.importorskip("altair", reason="altair is absent, which reports need: pip install '.[report]'")

from job.report.pictures import PICTURES
from job.report.write import report_of
from tests.test_report_page import HOSTILE, SCRIPT

pytestmark = pytest.mark.browser
WIDTHS = (360, 900, 1600)
NEEDED = "make browser"
VIOLATIONS = (
    "window.found = []; document.addEventListener('securitypolicyviolation', (e) => found.push(e.violatedDirective));"
)
"""Script that notes what a page's policy refuses; it runs before the page."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; tests are skipped by name where it, its driver or Selenium is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason=f"Selenium is absent: {NEEDED}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(f"Chromium or its driver is absent, which the tests of pages need: {NEEDED}")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as found:
        found.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": VIOLATIONS})
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 80 models."""
    return written(synthetic_fleet(tmp_path_factory.mktemp("browser") / "models", 80))


def written(registry: Storage) -> Path:
    path = Path(registry.url).parent / "report.html"
    path.write_text(report_of(registry).html, encoding="utf-8")
    return path


def opened(browser: Any, page: Path, width: int = 900, scheme: str = "light") -> list[str]:
    """Open a page of so many pixels' width, and return what the browser complained about."""
    browser.get_log("browser")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    return [*(one["message"] for one in browser.get_log("browser")), *browser.execute_script("return window.found")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_picture_is_drawn_at_every_width(browser: Any, page: Path, width: int, scheme: str) -> None:
    assert opened(browser, page, width, scheme) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    seen = browser.execute_script(
        """return [...document.querySelectorAll("figure")].map((figure) => {
             const shown = [...figure.querySelectorAll("svg, table")].filter((one) => one.checkVisibility());
             const box = shown.length ? shown[0].getBoundingClientRect() : { width: 0, height: 0 };
             const marks = shown.length ? shown[0].querySelectorAll("path[d], rect, line, td").length : 0;
             const named = shown.length && (shown[0].ariaLabel || shown[0].closest("[aria-label]"));
             return [figure.id, shown.length, box.width, box.height, marks, Boolean(named)];
           })"""
    )
    assert [one[0] for one in seen] == [one.name for one in PICTURES]
    for name, charts, wide, high, marks, named in seen:
        assert charts == 1, f"{name}: the one that fits the width"
        assert wide > 100, name
        assert high > 40, name
        assert marks > 3, name
        assert named, name
        assert name == "fleet" or wide <= width, name


def test_text_can_be_read_on_what_is_behind_it(browser: Any, page: Path) -> None:
    """Cells of the heat map have a contrast of at least 4.5 (WCAG 2.2, 1.4.3), on light and on dark pages."""
    for scheme in ("light", "dark"):
        opened(browser, page, scheme=scheme)
        colors = browser.execute_script(
            """return [...document.querySelectorAll("#heat td a")].map((one) => [
                 getComputedStyle(one).color, getComputedStyle(one.parentElement).backgroundColor])"""
        )
        assert len(colors) == 80
        for ink, behind in {tuple(one) for one in colors}:
            assert contrast(ink, behind) >= 4.5, (scheme, ink, behind)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours of a browser, `rgb(1, 2, 3)`, by WCAG 2.2."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    channels = (int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(","))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_heat_map_sorts(browser: Any, page: Path) -> None:
    assert opened(browser, page) == []
    read = """return [...document.querySelectorAll("#heat tbody tr")].map((row) =>
                [row.cells[0].textContent, parseFloat(row.cells[2].textContent.replace("\\u2212", "-"))])"""
    buttons = browser.find_elements("css selector", "#heat th button")
    assert len(buttons) == 6
    for down in (True, False):
        buttons[2].click()
        skills = [one[1] for one in browser.execute_script(read)]
        assert skills == sorted(skills, reverse=down)
        assert buttons[2].find_element("xpath", "..").get_attribute("aria-sort") == (
            "descending" if down else "ascending"
        )
    for up in (True, False):
        buttons[0].click()
        names = [one[0] for one in browser.execute_script(read)]
        assert names == sorted(names, reverse=not up)
    assert len({*names}) == 16
    sorted_by = browser.find_elements("css selector", "#heat [aria-sort]")
    assert [one.text for one in sorted_by] == [buttons[0].text]


def test_cells_lead_to_their_models(browser: Any, page: Path) -> None:
    assert opened(browser, page) == []
    cell = browser.find_element("css selector", "#heat tbody tr:nth-child(3) td:nth-child(4) a")
    series = browser.find_element("css selector", "#heat tbody tr:nth-child(3) th").text
    browser.execute_script("arguments[0].click()", cell)
    target = browser.find_element("css selector", ":target")
    assert target.text.startswith(f"{series}/analyst_5m ")
    assert cell.text in target.text
    top = browser.execute_script("return arguments[0].getBoundingClientRect().top", target)
    assert 0 <= top < 900, "it is on the screen"


def test_without_scripts_everything_is_there(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        assert len(browser.find_elements("css selector", "#heat tbody tr")) == 16
        assert not browser.find_elements("css selector", "#heat button")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_prints(browser: Any, page: Path) -> None:
    assert opened(browser, page, scheme="dark") == []
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF-")
    assert 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") <= 40


def test_hostile_registries_run_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    registry = synthetic_fleet(
        tmp_path / "models", 10, spoil=HOSTILE["names with scripts"], symbols=lambda number: f"{SCRIPT}{number}"
    )
    path = written(registry)
    assert opened(browser, path) == []
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return document.images.length") == 0
    assert SCRIPT[:30] in browser.find_element("css selector", "#heat tbody").text


def test_an_inline_script_would_be_refused(browser: Any, page: Path, tmp_path: Path) -> None:
    """The policy works, were anything to slip through."""
    spoiled = tmp_path / "spoiled.html"
    addition = "<script>window.ran = 1</script><img src='http://127.0.0.1:9/x' onerror='window.ran = 2'></main>"
    spoiled.write_text(page.read_text(encoding="utf-8").replace("</main>", addition), encoding="utf-8")
    assert len(opened(browser, spoiled)) >= 2
    assert browser.execute_script("return window.ran") is None


@pytest.mark.slow
def test_five_thousand_models_open_and_sort_at_once(browser: Any, tmp_path: Path) -> None:
    path = written(synthetic_fleet(tmp_path / "models", 5_000))
    begun = time.perf_counter()
    assert opened(browser, path) == []
    browser.find_elements("css selector", "#heat th button")[2].click()
    assert len(browser.find_elements("css selector", "#heat tbody tr")) == 1_000
    assert time.perf_counter() - begun < 30
