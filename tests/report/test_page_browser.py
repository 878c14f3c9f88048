"""In Chromium a page draws all its charts, says nothing on the console and is accessible."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from horizon_bo.core.candidates import pool_of_space
from horizon_bo.core.inference import believe
from horizon_bo.report.page import report_page
from horizon_bo.report.series import state_of, study_figures
from horizon_bo.store.asks import Ask
from horizon_bo.store.opening import study_store
from horizon_bo.store.schema import CLAIMS
from horizon_bo.store.suggesting import Offer, suggested
from horizon_bo.study.branches import suggestion
from horizon_bo.study.changes import import_runs
from tests.beliefs import CELLS, WORLD, fresh, informed
from tests.serving import renewed, served
from tests.studies import logged, small_study, small_tuner

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH, expected one to open the page in"
)
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_of(tmp_path_factory) -> dict[str, Path]:
    """Pages of an informed study and of an empty one, on disk."""
    folder = tmp_path_factory.mktemp("pages")
    written = {}
    for name, made in (("informed", informed), ("empty", fresh)):
        written[name] = folder / f"{name}.html"
        written[name].write_text(report_page(study_figures(*made()), name, "now"))
    return written


def opened(browser, address: str, **how):
    """The page with all charts drawn, and what it said on the console meanwhile."""
    tab = browser.new_context(**how).new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("requestfailed", lambda request: said.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("html[data-drawn]")
    return tab, said


@pytest.mark.parametrize("name", ["informed", "empty"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_opens_without_a_word_and_passes_axe(browser, page_of, name, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    tab, said = opened(browser, page_of[name].as_uri(), color_scheme=scheme, viewport=size)
    assert said == []
    violations = Axe().run(tab).response["violations"]
    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in violations] == []
    # nothing sticks out sideways
    assert tab.evaluate("document.documentElement.scrollWidth") == size["width"]
    tab.context.close()


def test_every_chart_is_drawn_in_the_colours_of_its_theme(browser, page_of):
    tab, _ = opened(browser, page_of["informed"].as_uri(), color_scheme="light", viewport=DESK)
    assert tab.locator(".chart .cartesianlayer .subplot").count() == 7
    stroke = "document.querySelector('[data-chart=regret] .scatterlayer .js-line').style.stroke"
    assert tab.evaluate(stroke) == "rgb(0, 114, 178)"
    tab.evaluate("delete document.documentElement.dataset.drawn")
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_selector("html[data-drawn]")
    assert tab.evaluate(stroke) == "rgb(86, 180, 233)"
    tab.context.close()


def test_paper_gets_the_light_colours_whatever_the_screen_has(browser, page_of, tmp_path):
    tab, _ = opened(browser, page_of["informed"].as_uri(), color_scheme="dark", viewport=DESK)
    ground = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('[data-chart=regret] .scatterlayer .js-line').style.stroke"
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(ground) == "rgb(255, 255, 255)"
    assert tab.evaluate(line) == "rgb(0, 114, 178)"
    tab.emulate_media(media="print")
    assert tab.locator("#copy").is_hidden()
    tab.emulate_media(media="screen")
    tab.evaluate("delete document.documentElement.dataset.drawn")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.wait_for_selector("html[data-drawn]")
    assert tab.evaluate(ground) == "rgb(16, 20, 24)"
    assert tab.evaluate(line) == "rgb(86, 180, 233)"
    assert tab.pdf(path=tmp_path / "page.pdf")[:5] == b"%PDF-"
    tab.context.close()


def test_the_config_is_copied_by_its_button(browser, page_of):
    tab, _ = opened(browser, page_of["informed"].as_uri(), viewport=DESK)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator("#copy").click()
    tab.get_by_text("Copied", exact=True).wait_for()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied == tab.locator("#config").text_content()
    tab.context.close()


def test_a_live_page_shows_a_new_run_without_being_reloaded(browser, tmp_path):
    path = tmp_path / "runs.db"
    tuner = small_tuner(study=path, prior_center=1.5e-3)
    with served(renewed(path)) as address:
        tab, said = opened(browser, address, viewport=DESK)
        tab.evaluate("window.kept = true")
        assert tab.locator("main").get_attribute("data-revision") == "0"
        tuner.observe(logged(), loss=3.1)
        tab.wait_for_selector("main[data-revision='1']", timeout=60_000)
        tab.wait_for_selector("[data-chart=regret] .subplot", state="attached")
        assert tab.evaluate("window.kept")
        shown = tab.locator(".headline data").get_attribute("value")
        tab.context.close()
    assert float(shown) == tuner.recommend().learning_rate
    assert said == []


def test_a_live_page_shows_who_makes_which_run_and_that_a_worker_fell_silent(browser, tmp_path):
    path = tmp_path / "runs.db"
    small_tuner(study=path, prior_center=1.5e-3)
    with served(renewed(path)) as address:
        tab, said = opened(browser, address, viewport=DESK)
        assert tab.locator("#workers").text_content().strip() == ""
        store = study_store(path)
        ask = Ask(claims=True, asker=f"node-7/1/4242/99/{'0' * 8}")
        work_out = lambda study, wanted: Offer(  # noqa: E731
            [suggestion([pool_of_space(study)[0]], study)], exhausted=False
        )
        suggested(store, store.read(), ask, work_out)
        row = tab.locator("#workers tbody tr")
        row.wait_for(timeout=60_000)
        cells = row.locator("td").all_text_contents()
        assert cells[:3] == ["running", "node-7:4242", "1"]
        assert cells[4].endswith(" s ago")
        lapse = update(CLAIMS).values(expires=0.0)
        store.database.write(lambda connection: connection.execute(lapse))
        tab.locator("#workers td", has_text="lapsed").wait_for(timeout=60_000)
        assert "The next worker that is free takes" in tab.locator("#workers").text_content()
        tab.context.close()
    assert said == []


def test_a_live_page_draws_under_its_policy_and_keeps_no_token_in_its_address(browser, tmp_path):
    path = tmp_path / "runs.db"
    small_tuner(study=path, prior_center=1.5e-3)
    with served(renewed(path), "0123456789abcdef") as address:
        tab, said = opened(browser, f"{address}?token=0123456789abcdef", viewport=DESK)
        assert tab.url == address
        assert said == []
        # the policy lets no other script run
        tab.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.foreign = true'}))"
        )
        assert tab.evaluate("window.foreign === undefined")
        assert said
        assert all("Content Security Policy" in line for line in said)
        tab.context.close()


@pytest.mark.alone
@pytest.mark.slow
def test_the_page_of_200_runs_costs_less_than_two_seconds_with_all_charts_drawn(browser, tmp_path):
    runs = WORLD.sweep(CELLS, np.linspace(-2, 3, 67))[:200]
    study = import_runs(small_study(prior_center=1.5e-3), runs, count_cost=True)
    belief = believe(study)
    # one belief stands for all of the history, whose drawing is what counts here
    figures = study_figures(study, belief, state=lambda _: state_of(belief))
    path = tmp_path / "report.html"
    path.write_text(report_page(figures, "runs.db", "now"))
    tab = browser.new_context(viewport=DESK).new_page()
    session = tab.context.new_cdp_session(tab)
    # time of the page's thread, which other work on the machine does not stretch
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-drawn]")
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    tab.context.close()
    assert metrics["TaskDuration"] < 2
