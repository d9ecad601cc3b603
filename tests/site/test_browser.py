"""The site as a browser shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
WAIT = 10


def complaints(browser: Chrome) -> list[str]:
    """What the console has said since the last time."""
    return [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"]


def test_pages_fit_a_phone_and_the_console_is_silent(
    browser: Chrome, address: str, site: Path
) -> None:
    pages = sorted(site.rglob("index.html"))
    assert len(pages) > 30
    wide, said = {}, {}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        for page in pages:
            place = str(page.relative_to(site)).removesuffix("index.html")
            browser.get(address + place)
            # Not innerWidth: a phone makes its window wider where the page is.
            width = browser.execute_script("return document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[place] = width
            if found := complaints(browser):
                said[place] = found
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (wide, said) == ({}, {})


@pytest.mark.parametrize(
    ("words", "place"),
    [("qatzip", "qatzip/"), ("TlsCredentials", "api/transfers/"), ("libvirt", "libvirt/")],
)
def test_search_finds_a_page(browser: Chrome, address: str, words: str, place: str) -> None:
    browser.get(address)
    browser.find_element(By.CSS_SELECTOR, ".md-search__input").send_keys(words)
    leads = f"a.md-search-result__link[href^='{address}{place}?']"
    # The list is drawn anew with each letter.
    waiting = WebDriverWait(browser, WAIT, ignored_exceptions=[StaleElementReferenceException])
    browser.get(
        waiting.until(lambda each: each.find_element(By.CSS_SELECTOR, leads).get_attribute("href"))
    )
    assert words in browser.find_element(By.CSS_SELECTOR, "article").text
    assert complaints(browser) == []


def test_dark_and_light(browser: Chrome, address: str) -> None:
    browser.get(address)
    scheme = "return document.body.dataset.mdColorScheme"
    before = browser.execute_script(scheme)
    browser.find_element(By.CSS_SELECTOR, ".md-header__option label:not([hidden])").click()
    WebDriverWait(browser, WAIT).until(lambda each: each.execute_script(scheme) != before)
    assert {before, browser.execute_script(scheme)} == {"default", "slate"}
