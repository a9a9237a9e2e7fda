"""Every line of the log is one JSON object, whatever is in it and whoever wrote it; a noisy one fills no card."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import logs
from edge_agent.logs import BURST, BURST_ALL, PAUSE_S, JsonLines, Limiter, Lines, Log

ROOT = Path(__file__).parents[2]


class Sink:
    """A logger of its own with its lines."""

    def __init__(self, *, priorities: bool = False, limited: bool = False) -> None:
        self.now_s = 1_000.0
        self.text = io.StringIO()
        limiter = Limiter(self.now_s) if limited else None
        self.handler = Lines(
            self.text, JsonLines(lambda: 5), priorities=priorities, limiter=limiter, now_s=lambda: self.now_s
        )
        self.logger = logging.Logger("part")  # noqa: LOG001 - of its own, for each test
        self.logger.addHandler(self.handler)
        self.log = Log("part")
        self.log._logger = self.logger

    def lines(self) -> list[dict[str, Any]]:
        # As a reader of a file sees them: by any end of line that there is.
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=999)
    | st.complex_numbers()
)  # fmt: skip
keys = st.text() | st.integers() | st.tuples(st.integers())
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@given(event=st.text(st.characters()), data=st.dictionaries(st.text(st.characters()), anything, max_size=4))
def test_whatever_is_said_is_one_json_line(event: str, data: dict[str, Any]) -> None:
    sink = Sink()
    sink.logger.warning(event.replace("%", "%%"), extra={"data": data})
    text = sink.text.getvalue()
    assert text.encode()  # no lone surrogates
    (line,) = sink.lines()
    assert (line["time_ms"], line["level"], line["part"]) == (5, "warning", "part")
    assert len(text) < logs.MAX_LINE * 7


@pytest.mark.parametrize(
    "hostile",
    [
        "a\nb",
        "\x1b[31mred",
        "\x9b31m",
        "\u2028",
        "\u202egnp.exe",
        "\ud800",
        "\x00",
        '"}\n{"level": "error"',
        "中文",
    ],
)
def test_hostile_text_stays_inside_its_value(hostile: str) -> None:
    sink = Sink()
    sink.log.warning("refused", why=hostile)
    (line,) = sink.lines()
    assert line["why"] == hostile
    assert not any(char in sink.text.getvalue()[:-1] for char in "\n\x1b\x9b\u2028\u202e\x00\ud800")


def test_our_own_fields_cannot_be_said_otherwise() -> None:
    sink = Sink()
    sink.logger.error("real", extra={"data": {"event": "forged", "level": "info", "time_ms": 1}})
    assert sink.lines() == [{"time_ms": 5, "level": "error", "part": "part", "event": "real"}]


def test_long_things_are_cut() -> None:
    sink = Sink()
    sink.log.info(
        "x" * 9_999, text="y" * 9_999, numbers=list(range(9_999)), raw=bytes(9_999), deep=[[[[[[1]]]]]]
    )
    sink.log.info("much", **{f"k{n}": "中" * 500 for n in range(60)})
    first, second = sink.lines()
    assert (len(first["event"]), len(first["text"]), len(first["numbers"])) == (500, 500, 64)
    assert second["cut"] > logs.MAX_LINE
    assert "k1" not in second


def test_a_record_that_can_not_be_said_is_told() -> None:
    class Sour:
        def __str__(self) -> str:
            raise RuntimeError("no")

    sink = Sink()
    sink.logger.info("%d apples", "many")
    sink.log.info("fruit", kind=Sour())
    told = sink.lines()
    assert [line["event"] for line in told] == ["a line could not be written"] * 2
    assert told[0]["line"] == "%d apples"
    assert told[1]["problem"] == "no"


@pytest.mark.parametrize(
    ("level", "prefix"), [(10, "<7>"), (20, "<6>"), (30, "<4>"), (40, "<3>"), (50, "<2>")]
)
def test_priorities_for_journald(level: int, prefix: str) -> None:
    sink = Sink(priorities=True)
    sink.logger.log(level, "x")
    assert sink.text.getvalue().startswith(prefix + "{")


def test_whether_it_is_journald(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        found = os.fstat(file.fileno())
        name = f"{found.st_dev}:{found.st_ino}"
        assert logs._is_journal(file, {"JOURNAL_STREAM": name})
        assert not logs._is_journal(file, {"JOURNAL_STREAM": name + "0"})
        assert not logs._is_journal(file, {})
    assert not logs._is_journal(io.StringIO(), {"JOURNAL_STREAM": name})


def test_a_noisy_line_is_left_out_counted_and_told() -> None:
    sink = Sink(limited=True)
    for _ in range(10_000):
        sink.log.warning("office not reached", error="refused")
    assert len(sink.lines()) == BURST
    sink.log.warning("office not reached", error="x", lane="alarm")  # another lane is another line
    sink.log.warning("device online", device=7)
    assert len(sink.lines()) == BURST + 2
    sink.now_s += 61
    sink.log.warning("office not reached")
    *_, told, again = sink.lines()
    assert (told["event"], told["count"]) == ("lines that came too often were left out", 10_000 - BURST)
    assert again["event"] == "office not reached"
    # A day of the noisiest line.
    before = len(sink.text.getvalue())
    for _ in range(86_400):
        sink.now_s += 1
        sink.log.warning("office not reached")
    grown = len(sink.text.getvalue()) - before
    assert grown < 86_400 / PAUSE_S * 110 + 86_400 / 60 * 130
    sink.log.warning("office not reached")
    sink.handler.close()
    assert sink.lines()[-1]["event"] == "lines that came too often were left out"


def test_ever_new_lines_are_limited_too_but_no_error_is_lost_to_them() -> None:
    sink = Sink(limited=True)
    for number in range(5_000):
        event = f"new {number}"
        sink.log.info(event)
    assert len(sink.lines()) == BURST_ALL
    sink.log.error("broken")
    assert sink.lines()[-1]["event"] == "broken"
    limiter = sink.handler._limiter
    assert limiter is not None
    assert len(limiter._kinds) <= logs.MAX_KINDS


HOSTILE = """
import asyncio, logging, sys, threading, warnings
from edge_agent import logs
logs.configure("info", lambda: 7)
async def main():
    async def fails(): raise RuntimeError("in a task\\n中")
    asyncio.create_task(fails())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    asyncio.get_running_loop().call_exception_handler({"message": "by hand"})
    await asyncio.sleep(0)
    import gc; gc.collect()
asyncio.run(main())
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received. %r", b"\\xff")
logging.getLogger("aiohttp.server").exception("Error handling request", exc_info=ValueError("x\\ny"))
warnings.warn("old\\nfashioned", DeprecationWarning)
thread = threading.Thread(target=lambda: [][1]); thread.start(); thread.join()
class Bad:
    def __del__(self): raise KeyError("del")
Bad()
print("x", file=sys.stdout)
raise SystemError("at the end \\ud800")
"""


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_what_nobody_caught_and_what_others_say_is_json(tmp_path: Path, locale: str) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protocol'}",
        "LC_ALL": locale,
        "PYTHONWARNINGS": "always",
    }
    environment |= {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "hostile.py")],
        capture_output=True,
        env=environment,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.decode().splitlines()]
    said = json.dumps(lines, ensure_ascii=False)
    for words in (
        "in a task", "ZeroDivisionError", "by hand", "Invalid HTTP request", "Error handling request", "fashioned",
        "list index out of range", "KeyError", "at the end",
    ):  # fmt: skip
        assert words in said, words
    assert [line["level"] for line in lines].count("critical") == 2
