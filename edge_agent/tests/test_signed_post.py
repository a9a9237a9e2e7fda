"""Signed requests against offices that answer oddly, over a real socket."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from edge_agent import enrolment
from edge_agent.config import Office
from edge_agent.enrolment import Enrolled
from edge_agent.errors import OfficeDeniedError, OfficeUnreachableError
from edge_agent.sync import signing
from edge_agent.sync.signed_post import SignedPost


@asynccontextmanager
async def enrolled(folder: Path, field: str) -> AsyncIterator[SignedPost]:
    """An edge whose office refuses every request with 401 because of `field`, and always has a new nonce."""
    app = web.Application()

    async def nonce(_: web.Request) -> web.Response:
        return web.json_response({}, headers={signing.NONCE_HEADER: secrets.token_hex(16)})

    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        told = {"error": {"field": field, "message": "no"}}
        return web.json_response(told, status=401, headers={signing.NONCE_HEADER: secrets.token_hex(16)})

    app.router.add_get(signing.NONCE_PATH, nonce)
    app.router.add_post("/{rest:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    enrolment.save(folder, Enrolled(url, "s1", "e1", (), 5))
    post = SignedPost(Office(url, "", None, 5.0, 5.0, 10, 50, 1.0, 100, 1_000, 2, 60.0, "e1", folder), "s1")
    await post.start()
    try:
        yield post
    finally:
        await post.stop()
        await runner.cleanup()


async def test_an_office_that_forgets_its_nonces_is_no_office_that_refuses_this_edge(tmp_path: Path) -> None:
    """It was started anew in between, or there are two behind one address: nobody has to enrol again."""
    async with enrolled(tmp_path, "nonce") as post:
        with pytest.raises(OfficeUnreachableError, match="nonce") as caught:
            await post.send(b"body")
    assert not isinstance(caught.value, OfficeDeniedError)


async def test_an_office_that_does_not_know_the_key(tmp_path: Path) -> None:
    async with enrolled(tmp_path, "authorization") as post:
        with pytest.raises(OfficeDeniedError, match="enrol again"):
            await post.send(b"body")


async def test_an_answer_under_way_does_not_undo_a_new_enrolment(tmp_path: Path) -> None:
    """`gatepost edge enrol` has put another office.toml there; what the former office announces is not for that one."""
    former, following, other = (bytes([number]) * 32 for number in (1, 2, 3))
    async with enrolled(tmp_path, "nonce") as post:
        enrolment.save(tmp_path, Enrolled("https://former.example", "s1", "e1", (former,), 5))
        post._reload()
        post._pins.seen, post._announced = former, following.hex()
        anew = Enrolled("https://new.example", "s1", "e1", (other,), 6)
        enrolment.save(tmp_path, anew)
        post._settle_pins()
        assert enrolment.load(tmp_path, "s1", "e1") == anew
        assert post._pins.accepted == (other,)
        post._pins.seen = other
        post._settle_pins()
        assert enrolment.load(tmp_path, "s1", "e1") == anew._replace(pins=(other, following))
