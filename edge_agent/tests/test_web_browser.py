"""The status page in a real Chromium: signing in, both languages, wide and narrow, events as they happen."""

from __future__ import annotations

import asyncio
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

from edge_agent.tests.browser import NARROW, WIDE, chromium, complaints, resize, skip_by_word
from edge_agent.tests.device import PtyWire
from edge_agent.tests.harness import Site
from edge_agent.tests.test_web import EVIL
from edge_agent.tests.watching import TOKEN, greet, tell, with_viewer
from gatelink import events

skip_by_word("the edge agent's page")
DEADLINE_S = 30


def sign_in(browser: webdriver.Chrome, url: str) -> None:
    browser.get(url)
    for token in ("wrong", TOKEN):
        old = browser.find_element(By.TAG_NAME, "html")
        browser.find_element(By.NAME, "token").send_keys(token)
        browser.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, DEADLINE_S).until(staleness_of(old))
    browser.get_log("browser")  # the 401 of the wrong one


def look(browser: webdriver.Chrome, url: str, width: int) -> str:
    resize(browser, width)
    browser.get(url)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, f"{wide} wide in a window of {width}"
    assert browser.find_elements(By.CSS_SELECTOR, "img, iframe") == []
    assert complaints(browser) == []
    return browser.find_element(By.TAG_NAME, "body").text


def rows(browser: webdriver.Chrome) -> list[str]:
    return [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#live tr")]


def wait_row(browser: webdriver.Chrome, word: str) -> None:
    WebDriverWait(browser, DEADLINE_S).until(lambda _: word in (rows(browser) or [""])[0])


def wait_text(browser: webdriver.Chrome, place: str, word: str) -> None:
    WebDriverWait(browser, DEADLINE_S).until(lambda _: word in browser.find_element(By.ID, place).text)


async def test_the_page_lives(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with_viewer(site)
    device, wire = site.devices[0], PtyWire(site.link)
    (tmp_path / "profile").mkdir()
    with chromium(tmp_path / "profile") as browser:
        async with site.agent() as agent:
            url = f"http://127.0.0.1:{agent.status.port}/"
            await asyncio.to_thread(sign_in, browser, url)
            for width in (WIDE, NARROW):
                text = await asyncio.to_thread(look, browser, f"{url}?lang=zh", width)
                assert "一切正常" in text
                assert "从未联系" in text
            assert "Ports" in await asyncio.to_thread(look, browser, f"{url}?lang=en", WIDE)
            await asyncio.to_thread(wait_text, browser, "stream", "live")
            await greet(device, wire, agent)
            await tell(device, wire, agent, events.SOS, None)
            await asyncio.to_thread(wait_row, browser, "SOS")
            await tell(device, wire, agent, events.FAULT, 1, EVIL)
            await asyncio.to_thread(wait_row, browser, EVIL)  # as text
            assert browser.find_elements(By.CSS_SELECTOR, "img") == []
            assert browser.find_element(By.CSS_SELECTOR, "#live tr").get_attribute("class") == "alarm"
            wire.send(device.status(battery_mv=3_300))
            await asyncio.to_thread(wait_text, browser, "state", "Battery low: T7")
            assert complaints(browser) == []
            agent.rejects.add("not_authentic", "A")
            await asyncio.to_thread(wait_text, browser, "state", "not authentic 1")
            resize(browser, NARROW)
            broad = browser.execute_script(
                "const right = document.querySelector('#events h1').getBoundingClientRect().right;"
                "return [...document.querySelectorAll('main *')].filter("
                "one => one.getBoundingClientRect().right > right + 1).map(one => one.outerHTML.slice(0, 80))"
            )
            assert broad == []
        await asyncio.to_thread(wait_text, browser, "stream", "connection lost")
    wire.close()


async def test_a_session_that_ended_leads_to_signing_in(tmp_path: Path) -> None:
    """An agent that was started anew knows no session: the stream is refused, and the page must not stand still."""
    site = Site(tmp_path)
    with_viewer(site)
    (tmp_path / "profile").mkdir()
    with chromium(tmp_path / "profile") as browser:
        async with site.agent() as agent:
            await asyncio.to_thread(sign_in, browser, f"http://127.0.0.1:{agent.status.port}/?lang=en")
            await asyncio.to_thread(wait_text, browser, "stream", "live")
            agent.status._guard._sessions.clear()
            await agent.status._stream.stop()

            def asked() -> None:
                WebDriverWait(browser, DEADLINE_S).until(lambda _: browser.current_url.endswith("/login"))

            await asyncio.to_thread(asked)
