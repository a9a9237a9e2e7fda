"""An office that speaks the contract's batches and receipts, over real HTTP, with one switch per fault."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import cbor2
from aiohttp import web

from edge_agent import runs
from edge_agent.integrity.leaves import Head, Leaves, fits
from edge_agent.integrity.tree import EMPTY_ROOT, Frontier, consistent
from edge_agent.sync import columns
from edge_agent.timing import UNKNOWN_MS

TOKEN = "a-token-for-tests"


class Office:
    """Keeps every event by (device, boot, seq). Faults: see the attributes."""

    def __init__(self) -> None:
        self.events: dict[tuple[int, int, int], bytes] = {}
        self.times: dict[tuple[int, int, int], tuple[int, int]] = {}
        self.restated: list[tuple[int, ...]] = []
        self.doubled = 0
        self.bodies: list[dict[str, Any]] = []
        self.lanes: list[str] = []
        self.status = 0  # answer this instead of taking the batch
        self.error: Any = None
        self.keep_silent = False  # take the batch, never answer
        self.lose_receipts = 0  # take so many batches, then drop the connection
        self.through_first = 0  # receipt only the first so many rows
        self.wrong_receipt: Any = None  # answer this: bytes as they are, all else as JSON
        self.arrived = 0
        self.at_once = 0
        self.most_at_once = 0
        self.delay_s = 0.0
        self.rows: dict[int, list[Any]] = {}  # by position
        self.heads: list[dict[str, Any]] = []  # each checked: signature, root, consistency with the one before
        self.head_status = 0  # answer this instead of taking a head
        self.wrong_head = b""  # answer this to a head
        self.old = False  # knows neither compression nor columns
        self.coded = 0  # uploads that came compressed
        self.refuses: set[int] = set()  # positions of rows that it refuses
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/api/v1/sites/{site}/batches", self._take)
        app.router.add_post("/api/v1/sites/{site}/heads", self._head)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def config(self, **more: object) -> str:
        lines = {
            "url": f"http://127.0.0.1:{self.port}",
            "token": TOKEN,
            "backoff_min_ms": 10,
            "backoff_max_ms": 50,
        }
        lines.update(more)
        return "[office]\n" + "".join(
            f'{key} = "{value}"\n' if isinstance(value, str) else f"{key} = {value}\n"
            for key, value in lines.items()
        )

    async def _take(self, request: web.Request) -> web.Response:
        self.arrived += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.headers["Content-Type"] == "application/cbor"
        coded = "Content-Encoding" in request.headers  # aiohttp has unpacked it
        self.coded += coded
        if coded and self.old:
            return _refused(415, "content-encoding", "must be left out")
        body = cbor2.loads(await request.read())
        if self.status and isinstance(self.error, bytes):
            return web.Response(body=self.error, status=self.status)
        if self.status:
            return web.json_response(self.error or {}, status=self.status)
        assert (body["site"], request.match_info["site"]) == ("s1", "s1")
        if body["v"] == 2:
            if self.old:
                return _refused(422, "columns", "unknown key")
            body["rows"] = columns.unpack(body.pop("columns"))
        for index, row in enumerate(body["rows"]):
            if row[0] in self.refuses:
                return _refused(422, f"rows[{index}].items", f"{row[0]} is refused")
        rows = body["rows"][: self.through_first or None]
        for row in rows:
            assert self.rows.setdefault(row[0], row) == row
            self._keep(row)
        self.bodies.append(body)
        self.lanes.append(body["lane"])
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.keep_silent:
            await asyncio.sleep(3_600)
        if self.lose_receipts:
            self.lose_receipts -= 1
            assert request.transport is not None
            request.transport.close()
        if isinstance(self.wrong_receipt, bytes):
            return web.Response(body=self.wrong_receipt)
        if self.wrong_receipt is not None:
            return web.json_response(self.wrong_receipt)
        devices = {str(row[1]): self._complete(row[1]) for row in rows}
        return web.json_response({"v": 1, "lane": body["lane"], "through": rows[-1][0], "devices": devices})

    async def _head(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        body = cbor2.loads(await request.read())
        if self.wrong_head:
            return web.Response(body=self.wrong_head)
        if self.head_status:
            return web.json_response({}, status=self.head_status)
        head = Head(*(body[name] for name in Head._fields))
        assert fits(head, body["key"], body["signature"])
        last = self.heads[-1] if self.heads else {"size": 0, "root": EMPTY_ROOT, "number": 0}
        answer = {"v": 1, "state": "taken", "number": head.number, "size": head.size, "findings": []}
        if (head.number, head.root) == (last["number"], last["root"]):
            return web.json_response(answer | {"state": "known"})
        if body["before"] != last["size"]:
            return web.json_response(answer | {"state": "prove", "number": last["number"], "size": last["size"]})
        assert head.number > last["number"]
        assert consistent(last["size"], head.size, last["root"], head.root, body["proof"])
        leaves = Leaves(head.site, head.edge)
        tree = Frontier()
        for pos in range(head.first_pos, head.first_pos + head.size):
            tree.append(leaves.hash(self.rows[pos]) if pos in self.rows else leaves.gap(pos))
        assert (tree.root(), tree.to_bytes()) == (head.root, body["frontier"])
        self.heads.append(body)
        return web.json_response(answer)

    def _keep(self, row: list[Any]) -> None:
        _, device, boot, first, last, uptime_cs, low, high, received, skipped, _, items, mac8 = row
        assert low <= high
        assert high <= received + 60 or high == UNKNOWN_MS or mac8 is None
        if not items:
            assert last == first - 1
            if mac8 is None:  # what is known by now of the times of so many events
                self.restated.append((device, boot, first, skipped, uptime_cs, low, high))
            else:
                assert len(mac8) == 8
            return
        found = runs.split(items)
        assert len(found) == last - first + 1
        for index, (_, payload) in enumerate(found):
            key = (device, boot, first + index)
            self.doubled += key in self.events
            self.events[key] = payload
            self.times[key] = (low, high)

    def _complete(self, device: int) -> dict[str, Any]:
        seqs = sorted(seq for d, _, seq in self.events if d == device)
        missing, expected = [], 1
        for seq in seqs:
            if seq > expected:
                missing.append([expected, seq - 1])
            expected = seq + 1
        complete = missing[0][0] - 1 if missing else expected - 1
        return {"complete_to": complete, "missing": missing}

    def of(self, device: int) -> dict[int, bytes]:
        return {seq: payload for (d, _, seq), payload in self.events.items() if d == device}


def _refused(status: int, field: str, message: str) -> web.Response:
    return web.json_response({"error": {"field": field, "message": message}}, status=status)
