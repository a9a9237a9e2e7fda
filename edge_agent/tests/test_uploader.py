"""From the outbox to an office over real HTTP: outages, lost receipts, refusals, lanes."""

from __future__ import annotations

import datetime
import ipaddress
import random
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.daemon import Agent
from edge_agent.errors import OfficeUnreachableError
from edge_agent.sync import wire as sync_wire
from edge_agent.sync.backoff import Backoff
from edge_agent.tests.backlog import complete
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from gatelink import events


def minted(site: Site, count: int) -> Device:
    device = site.devices[0]
    for _ in range(count):
        device.mint()
    return device


async def test_everything_arrives_and_the_receipts_show(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=5))
    device = minted(site, 300)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire, batch=7)
        await until(lambda: complete(office, device))
        assert agent.uploader is not None
        await until(lambda: agent.uploader.receipts.get(7) == (300, []))  # type: ignore[union-attr]  # asserted above
        assert agent.uploader.lanes["normal"].delivered >= 300
    assert office.doubled == 0
    assert (OWN, 1, 1) in office.events
    described = next(body["devices"][7] for body in office.bodies if 7 in body["devices"])
    assert described[:3] == [1, "T7", "sim 1"]
    wire.close()


async def test_office_down_then_back_with_the_edge_restarted_meanwhile(
    tmp_path: Path, office: Office
) -> None:
    site = Site(tmp_path, office=office.config())
    await office.stop()
    device = minted(site, 100)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        await until(lambda: bool(agent.uploader and agent.uploader.lanes["normal"].failures >= 2))
    async with site.agent() as agent:
        await until(lambda: bool(agent.uploader and agent.uploader.lanes["normal"].failures >= 2))
        await office.start()
        await until(lambda: complete(office, device))
    assert office.doubled == 0
    wire.close()


async def delivered(agent: Agent) -> None:
    uploader = agent.uploader
    assert uploader is not None
    await until(lambda: not any(lane.error for lane in uploader.lanes.values()))
    await until(lambda: uploader.lanes["normal"].delivered == agent.ingest.events, 15)


async def test_lost_receipts_double_nothing(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=3))
    office.lose_receipts = 5
    device = minted(site, 200)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire, batch=4)
        await until(lambda: complete(office, device))
        await delivered(agent)
    assert office.doubled > 0  # sent again, and known to the office by (device, boot, seq)
    assert len(office.of(7)) == 200
    wire.close()


async def test_half_open_link_times_out(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(timeout_s=0.2))
    office.keep_silent = True
    device = minted(site, 10)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        await until(
            lambda: bool(agent.uploader and "no answer within" in agent.uploader.lanes["normal"].error)
        )
        office.keep_silent = False
        await until(lambda: complete(office, device))
        await delivered(agent)
    wire.close()


async def test_a_receipt_for_a_part_advances_only_so_far(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config())
    office.through_first = 2
    device = minted(site, 50)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire, batch=5)
        await until(lambda: complete(office, device))
        await delivered(agent)
    assert office.doubled == 0
    wire.close()


def str_of(value: object) -> str:
    return str(value)[-60:]


@pytest.mark.parametrize(
    "receipt",
    [
        {"v": 1, "lane": "normal", "through": 10**9, "devices": {}},
        {"v": 1, "lane": "normal", "through": 0, "devices": {}},
        {"v": 2, "lane": "normal", "through": 1, "devices": {}},
        {"v": 1, "lane": "normal", "through": True, "devices": {}},
        {"v": 1, "lane": "normal", "through": 1, "devices": {"7": {}}},
        {"v": 1, "lane": "normal", "through": 1, "devices": {"7": {"complete_to": 1 << 63, "missing": []}}},
        {"v": 1, "lane": "normal", "through": 1, "devices": {"7": {"complete_to": 3, "missing": [[1, 1 << 63]]}}},
        {"v": 1, "lane": "normal", "through": 1, "devices": {str(1 << 32): {"complete_to": 3, "missing": []}}},
        {"v": 1, "lane": "normal", "through": 1, "devices": {"-7": {"complete_to": 3, "missing": []}}},
        b'{"v":1,"lane":"normal","through":1,"devices":{"7":{"complete_to":1e999,"missing":[]}}}',
        b'{"v":1,"lane":"normal","through":1,"devices":{"7":{"complete_to":3,"missing":[[1,-Infinity]]}}}',
        b"[" * 100_000,
        [],
        "fine",
    ],
    ids=str_of,
)
async def test_a_receipt_that_makes_no_sense_delivers_nothing(
    tmp_path: Path, office: Office, receipt: object
) -> None:
    office.wrong_receipt = receipt
    site = Site(tmp_path, office=office.config())
    async with site.agent() as agent:
        uploader = agent.uploader
        assert uploader is not None
        await until(lambda: uploader.lanes["normal"].failures >= 2)
        assert uploader.lanes["normal"].cursor == 0
        assert "receipt" in uploader.lanes["normal"].error
        office.wrong_receipt = None
        await delivered(agent)


async def test_a_refusal_is_shown_and_nothing_is_dropped(tmp_path: Path, office: Office) -> None:
    office.status = 422
    office.error = {"error": {"field": "edge", "message": "must be a name\nat least"}}
    site = Site(tmp_path, office=office.config())
    async with site.agent() as agent:
        uploader = agent.uploader
        assert uploader is not None
        await until(lambda: uploader.lanes["normal"].error != "")
        assert uploader.lanes["normal"].error == "HTTP 422 edge: must be a name?at least"
        office.status = 0
        await delivered(agent)


async def test_a_refusal_that_makes_no_sense_is_one_all_the_same(tmp_path: Path, office: Office) -> None:
    office.status, office.error = 422, b"[" * 100_000
    site = Site(tmp_path, office=office.config())
    async with site.agent() as agent:
        uploader = agent.uploader
        assert uploader is not None
        await until(lambda: uploader.lanes["normal"].failures >= 2)
        assert uploader.lanes["normal"].error == "HTTP 422: no explanation given"
        office.status = 0
        await delivered(agent)


async def test_alarms_overtake_the_backlog(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=2, in_flight=1))
    await office.stop()
    device = minted(site, 200)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire, batch=2)
        alarm = device.mint(events.SOS, None)
        await sync(device, wire)
        office.delay_s = 0.01
        await office.start()
        await until(lambda: (7, 1, alarm) in office.events)
        assert len(office.of(7)) < 100
        office.delay_s = 0
        await until(lambda: complete(office, device))
        assert agent.uploader is not None
        assert agent.uploader.lanes["alarm"].delivered >= 1
    assert office.doubled == 0
    wire.close()


async def test_several_uploads_at_once_behind_a_slow_link(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=2, in_flight=4))
    await office.stop()
    device = minted(site, 200)
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire, batch=2)
        office.delay_s = 0.02
        await office.start()
        await until(lambda: complete(office, device))
        await delivered(agent)
    assert office.most_at_once >= 3
    assert office.doubled == 0
    wire.close()


def test_backoff_grows_with_full_jitter_and_starts_small_again() -> None:
    backoff = Backoff(0.5, 60, random.Random(1))
    delays = [[Backoff(0.5, 60, random.Random(seed)) for seed in range(200)]]
    for step in range(12):
        ceiling = min(0.5 * 2**step, 60)
        drawn = [each.delay() for each in delays[0]]
        assert all(0 < delay <= ceiling for delay in drawn)
        assert max(drawn) > ceiling * 0.9
        assert min(drawn) < ceiling * 0.2
    for _ in range(5_000):
        assert backoff.delay() <= 60
    backoff.reset()
    assert backoff.delay() <= 0.5


def test_receipts_are_checked() -> None:
    good = b'{"v":1,"lane":"normal","through":5,"devices":{"7":{"complete_to":3,"missing":[[4,5]]}}}'
    assert sync_wire.receipt(good, "normal", 1, 9).devices == {7: (3, [[4, 5]])}
    for lane, first, last in (("alarm", 1, 9), ("normal", 6, 9), ("normal", 1, 4)):
        with pytest.raises(OfficeUnreachableError):
            sync_wire.receipt(good, lane, first, last)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pem, secret


async def test_https_trusts_only_the_named_certificates(tmp_path: Path) -> None:
    pem, secret = certificate(tmp_path, "office")
    other, _ = certificate(tmp_path, "other")
    office = Office()
    office.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    office.tls.load_cert_chain(pem, secret)
    await office.start()
    address = f"https://127.0.0.1:{office.port}"
    site = Site(tmp_path, office=office.config(url=address, ca_file=str(other)))
    async with site.agent() as agent:
        uploader = agent.uploader
        assert uploader is not None
        await until(lambda: "certificate" in uploader.lanes["normal"].error.lower())
    assert office.arrived == 0
    site.write(office=office.config(url=address, ca_file=str(pem)))
    async with site.agent() as agent:
        await until(lambda: (OWN, 1, 1) in office.events)
        await until(lambda: (OWN, 2, 3) in office.events)
    await office.stop()
