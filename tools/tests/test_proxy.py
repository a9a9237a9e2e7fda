"""The line to the office: passes, breaks, refuses, counts, and comes back."""

import asyncio

import pytest

from edge_agent.tests.proxy import Proxy
from tools.simulate.proxy import LineProxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return await asyncio.wait_for(reader.readexactly(len(text)), 5)
    finally:
        writer.close()


async def test_cut_and_mended() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = LineProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    assert await ask(proxy.port, b"one") == b"one"

    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"two")
    assert await reader.readexactly(3) == b"two"
    proxy.cut()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()
    assert proxy.broken > 0

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(proxy.port, b"three")
    assert proxy.refused == 1

    proxy.mend()
    assert await ask(proxy.port, b"four") == b"four"
    await proxy.stop()
    server.close()


async def test_half_open_and_mended() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = LineProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    proxy.freeze()
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    assert proxy.swallowed == 3
    proxy.mend()
    writer.write(b"three")  # who lost bytes stays silent, as behind a router that forgot it
    assert await ask(proxy.port, b"four") == b"four"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    writer.close()
    await proxy.stop()
    server.close()


async def test_answers_lost() -> None:
    arrived = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            arrived.append(data)
            writer.write(b"ok")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    proxy = LineProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.deafen()
    writer.write(b"one")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    assert arrived == [b"one"]
    proxy.mend()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert await ask(proxy.port, b"on") == b"ok"
    writer.close()
    await proxy.stop()
    server.close()


async def test_what_comes_while_something_else_is_on_its_way_arrives_too() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1], delay_s=0.01)
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for number in range(200):
        writer.write(number.to_bytes(2, "big"))
        await asyncio.sleep(0)  # in pieces, faster than the delay lets them through
        if number % 20 == 19:
            await asyncio.wait_for(reader.readexactly(40), 5)
    assert proxy.bytes_up == 400
    writer.close()
    await proxy.stop()
    server.close()
