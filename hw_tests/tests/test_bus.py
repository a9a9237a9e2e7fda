"""A barrier on a polled bus, end to end: the real edge polls the real device code on the virtual board, over a PTY."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from gatelink import events
from hw_tests.tests.estate import DEVICE, TOKEN, Estate, Releases

pytestmark = pytest.mark.vm

CAR = bytes.fromhex("12cb21")


async def test_a_barrier_speaks_when_it_is_polled(tmp_path: Path) -> None:
    # a bus has its times in real ones
    estate = Estate(
        tmp_path,
        Releases(tmp_path / "releases", "barrier"),
        {"bus": True, "watchdog_s": 30, "access": [{"credential": CAR.hex()}]},
        speed=1.0,
        port=f'kind = "rs485"\npath = "{{path}}"\ndevices = [{DEVICE}]',
    )
    board = estate.board
    try:
        await board.start()
        # nobody polls yet: it says nothing, whatever happens
        await board.present(CAR)
        await asyncio.sleep(1.5)
        drive = (await board.state())["leds"]["uplink_de"]
        assert (drive["level"], drive["changes"]) == (0, [])
        await estate.start_edge()
        await estate.until(lambda device: device["online"] and device["acked_seq"] >= 3)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            order = {"action": "close", "within_ms": 2_000}
            async with http.post(f"{estate.url}/devices/{DEVICE}/commands", json=order) as answer:
                result = await answer.json()
            assert result["code"] in (0, 1), result
        await asyncio.sleep(2)  # some turns with nothing to say
        port = (await estate.status())["ports"][0]
        (polled,) = port["bus"]
        print(f"turns {polled['turns']}, unanswered {polled['unanswered']}, rejects {port['rejects']}")
        assert polled["answers"]
        assert polled["turns"] >= 20
        assert polled["unanswered"] <= polled["turns"] // 4
        changes = (await board.state())["leds"]["uplink_de"]["changes"]
        assert [level for _, level in changes][-20:] in ([1, 0] * 10, [0, 1] * 10)
        await board.cut_power()
        await estate.until(lambda device: not device["online"], 12)
        await board.power_on()
        await estate.until(lambda device: device["online"] and device["boot"] == 2)
        kinds = [events.decode(slot.payload)[0] for slot in estate.slots()]
        found = await estate.until(lambda device: device["acked_seq"] >= len(kinds))
        assert events.ACCESS in kinds
        assert found["rejects"] == {}
    finally:
        await estate.stop()
