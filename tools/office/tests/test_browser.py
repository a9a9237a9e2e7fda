"""The page in a real Chromium, in both languages, wide and narrow. Without one it fails, and says how to get one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import Select, WebDriverWait

from edge_agent.tests.browser import NARROW, WIDE, chromium, complaints, resize, skip_by_word
from gatelink import cbor, events
from tools.office import commands
from tools.office.tests.edge import Edge, ticket
from tools.office.tests.makers import T0, Device, body
from tools.office.tests.process import Server, configure, running

EVIL = "<img src=x onerror=x>"

skip_by_word("the office's page")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that holds a good device, one with a gap, one that was tampered with, and hostile texts."""
    devices = [Device(number) for number in (101, 102, 103)]
    for device in devices:
        device.work(60)
        device.mint(events.encode(events.VISIT, bytes.fromhex("04a1b2c3d4e5f6")))
        device.mint(events.encode(events.FAULT, 1, EVIL))
        device.mint(events.encode(events.SOS, None))
    rows = [
        *devices[0].rows(1, 63),
        *devices[1].rows(1, 48, 12),
        *devices[1].rows(57, 63),
        devices[2].row(1, 20),
        devices[2].row(21, 40, items=devices[1].row(21, 40)[11]),
        *devices[2].rows(41, 63),
    ]
    notes = {
        101: [1, "t", "1.0.0", 3_700, T0],
        102: [2, "b", "1.0.0", None, T0],
        103: [1, EVIL, "<b>", 3_400, T0],
        104: [None, EVIL, None, None, None],
    }
    with running(configure(tmp_path_factory.mktemp("office"), devices)) as found:
        assert found.send(body(rows, devices=notes))[0] == 200
        found.checked(103, 63)
        odd = Device(9)
        odd.mint(cbor.dumps([200, EVIL]))
        assert (
            found.send(body(odd.rows(1, 1), site="east", devices={9: [1, EVIL, "x", 1, 1]}), "east")[0] == 200
        )
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


def look(browser: webdriver.Chrome, server: Server, path: str, width: int = WIDE) -> str:
    """Open a page; its visible text. Nothing may be wider than the window, nothing may complain."""
    resize(browser, width)
    browser.get(f"http://127.0.0.1:{server.port}{path}")
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, f"{path} is {wide} wide in a window of {width}"
    assert complaints(browser) == []
    assert browser.find_elements(By.CSS_SELECTOR, "img, script, b, iframe") == []
    return browser.find_element(By.TAG_NAME, "body").text


def follow(browser: webdriver.Chrome, by: str, value: str) -> None:
    """Click what leads to another page and wait until the old one is gone: click() itself may return before that."""
    old = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(by, value).click()
    WebDriverWait(browser, 30).until(staleness_of(old))


def device_text(browser: webdriver.Chrome, site: str, number: int) -> str:
    return browser.find_element(By.CSS_SELECTOR, f'[id="{site}/{number}"]').text


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_chinese(browser: webdriver.Chrome, server: Server, width: int) -> None:
    text = look(browser, server, "/?lang=zh", width)
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "zh-CN"
    assert "湖畔花园" in text
    assert "2 台设备需要查看" in text
    good = device_text(browser, "lakeside", 101)
    assert "101号设备" in good
    assert "1..63 完整" in good
    assert "校验至 63" in good
    assert "3.70 V" in good
    assert "缺 49..56" in device_text(browser, "lakeside", 102)
    bad = device_text(browser, "lakeside", 103)
    assert "校验至 20" in bad
    assert "校验不符 21..40" in bad
    assert "尚无记录" in device_text(browser, "lakeside", 104)
    for words in ("紧急求助", "到达巡更点", "1号楼大堂", "道闸", "UTC+08:00", EVIL):
        assert words in text, words
    assert not re.search(r"\{|\}|None", text)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_english(browser: webdriver.Chrome, server: Server, width: int) -> None:
    text = look(browser, server, "/?lang=en", width)
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert "2 devices need a look" in text
    good = device_text(browser, "lakeside", 101)
    assert "Device 101" in good
    assert "1..63 complete" in good
    assert "verified to 63" in good
    assert "missing 49..56" in device_text(browser, "lakeside", 102)
    assert "does not fit: 21..40" in device_text(browser, "lakeside", 103)
    for words in ("SOS", "Checkpoint visited", "Lobby 1"):
        assert words in text, words
    shown = browser.find_element(By.TAG_NAME, "main").text
    names = ("湖畔花园", "东区<b>")  # the second site has no English name: it keeps its own
    assert not re.search(r"[\u4e00-\u9fff]", shown.replace(names[0], "").replace(names[1], ""))


def test_the_language_is_remembered(browser: webdriver.Chrome, server: Server) -> None:
    look(browser, server, "/?lang=zh")
    assert "最新事件" in look(browser, server, "/")
    follow(browser, By.CSS_SELECTOR, ".language")
    assert "Latest events" in browser.find_element(By.TAG_NAME, "main").text
    assert "Latest events" in look(browser, server, "/")
    browser.delete_all_cookies()


def test_filters_and_pages(browser: webdriver.Chrome, server: Server) -> None:
    look(browser, server, "/?lang=en")
    Select(browser.find_element(By.NAME, "device")).select_by_visible_text("Device 101")
    follow(browser, By.CSS_SELECTOR, ".filter button")
    numbers = _numbers(browser)
    assert numbers == list(range(63, 13, -1))
    follow(browser, By.PARTIAL_LINK_TEXT, "Older")
    assert _numbers(browser) == list(range(13, 0, -1))
    assert "Older events" in browser.find_element(By.ID, "events").text
    assert browser.find_elements(By.PARTIAL_LINK_TEXT, "Older →") == []
    follow(browser, By.PARTIAL_LINK_TEXT, "Latest")
    assert _numbers(browser) == numbers
    Select(browser.find_element(By.NAME, "kind")).select_by_visible_text("Alarms only")
    follow(browser, By.CSS_SELECTOR, ".filter button")
    kinds = {cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".events .kind")}
    assert kinds == {"SOS", "Fault"}
    assert 0 < len(_numbers(browser)) < 63
    follow(browser, By.LINK_TEXT, "Clear")
    assert len(_numbers(browser)) == 50
    browser.delete_all_cookies()


def test_events_that_the_chain_denies_are_marked(browser: webdriver.Chrome, server: Server) -> None:
    look(browser, server, "/?device=lakeside/103&lang=en")
    rows = browser.find_elements(By.CSS_SELECTOR, ".events tbody tr")
    marked = {
        int(row.find_element(By.CSS_SELECTOR, ".seq").text) for row in rows if "does not fit" in row.text
    }
    assert marked == set(range(21, 41))
    browser.delete_all_cookies()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_other_pages(browser: webdriver.Chrome, server: Server, width: int) -> None:
    assert "/api/v1/sites/{site}/batches" in look(browser, server, "/docs?lang=en", width)
    assert "Sign in" in look(browser, server, "/login", width)
    browser.get(f"http://127.0.0.1:{server.port}/nothing")
    assert "There is no such page." in browser.find_element(By.TAG_NAME, "main").text
    browser.get_log("browser")  # the 404 itself
    browser.delete_all_cookies()


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_page_of_edges(
    browser: webdriver.Chrome, guessed: Server, width: int, language: str
) -> None:
    """Nothing lies over something else; on a phone, where the head of a table is hidden, each value has its name."""
    text = look(browser, guessed, f"/edges?lang={language}", width)
    for word in {"zh": ("已登记", "撤销", "登记码"), "en": ("enrolled", "revoked", "one-time code")}[language]:
        assert word in text
    for row in browser.find_elements(By.CSS_SELECTOR, ".events tbody tr"):
        boxes = [cell.rect for cell in row.find_elements(By.TAG_NAME, "td") if cell.is_displayed()]
        for one, other in combinations(boxes, 2):
            assert not _overlap(one, other), row.text
    named = browser.execute_script(
        "return [...document.querySelectorAll('.events td')].every("
        "cell => !cell.textContent || !['none', 'normal', '\"\"'].includes(getComputedStyle(cell, '::before').content))"
    )
    assert named == (width == NARROW)
    for link in browser.find_elements(By.CSS_SELECTOR, ".top a"):
        assert link.rect["height"] < 40, f"{link.text} is broken into lines"
    browser.delete_all_cookies()


@pytest.fixture(scope="module")
def guessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one edge enrolled, one revoked, and somebody who guesses codes."""
    config = configure(tmp_path_factory.mktemp("guessed"))
    with running(config) as found:
        for name in ("pi-1", "a-long-name-of-an-edge.north_2"):
            assert Edge(found.port, edge=name).enrol(ticket(config, found.port, edge=name))[0] == 200
        commands.revoke(config, "lakeside", "a-long-name-of-an-edge.north_2")
        told = ticket(config, found.port)._replace(code="0" * 20)
        for _ in range(6):
            Edge(found.port, source="127.0.0.5").enrol(told)
        yield found


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    apart = (
        one["x"] + one["width"] <= other["x"] + 1 or other["x"] + other["width"] <= one["x"] + 1
        or one["y"] + one["height"] <= other["y"] + 1 or other["y"] + other["height"] <= one["y"] + 1
    )  # fmt: skip
    return not apart


def _numbers(browser: webdriver.Chrome) -> list[int]:
    return [int(cell.text) for cell in browser.find_elements(By.CSS_SELECTOR, ".events td.seq")]
