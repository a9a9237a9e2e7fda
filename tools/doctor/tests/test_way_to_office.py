"""The way to the office, step by step: a name, a connection, TLS, the pin, an answer, its clock."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent import config as configuration
from edge_agent import enrolment
from edge_agent.pinning import pin_of
from edge_agent.tests.harness import Site
from tools.doctor import gather_site, judge, texts
from tools.doctor.finding import Finding
from tools.doctor.tests.answering import Answers, answering, to


def certificate() -> tuple[x509.Certificate, bytes]:
    """A certificate for 127.0.0.1 that nobody else signed, and PEM of it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "office")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(
        Encoding.PEM
    )
    return made, pem


def test_the_way_to_the_office_step_by_step(tmp_path: Path) -> None:
    def seen() -> list[Finding]:
        return judge.office(gather_site.office(configuration.load(site.config_path)))

    def key(url: str, **more: str) -> str:
        site.write(office=to(url, **more))
        return seen()[0].key

    site = Site(tmp_path)
    assert seen()[0].key == "office_none"
    site.write(office="[office]\nprobe_s = 3\n")  # as in the example, before it is enrolled
    assert seen()[0].key == "office_none"
    assert key("http://no-such-name.invalid") == "office_name"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert key(f"http://127.0.0.1:{probe.getsockname()[1]}") == "office_connect"
    with answering() as port:
        assert key(f"http://127.0.0.1:{port}") == "office_plain"
        Answers.ahead_s = 7_200
        assert texts.sentence(seen()[1], "en") == "the office's clock is 7,200 s away"
        Answers.status = 503
        assert "HTTP 503" in texts.sentence(seen()[0], "en")
        assert key(f"https://127.0.0.1:{port}") == "office_tls"  # it speaks no TLS
    made, pem = certificate()
    (tmp_path / "office.pem").write_bytes(pem)
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "office.pem")
    with answering(tls) as port:
        url = f"https://localhost:{port}"
        assert key(url) == "office_tls"
        assert key(url, ca_file="ca.pem") == "office"
        # Enrolled: the pin counts, and nothing else.
        (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
        site.write()
        for pin, expected in ((pin_of(made), "office"), (bytes(32), "office_pin")):
            enrolment.save(tmp_path / "data", enrolment.Enrolled(url, "s1", "e1", (pin,), 1))
            assert seen()[0].key == expected
