"""The status address beyond this machine: https, what it needs, and the command line over it."""

from __future__ import annotations

import asyncio
import datetime
import re
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent import config as configuration
from edge_agent.errors import ConfigError
from edge_agent.tests.harness import Site
from edge_agent.tests.watching import TOKEN, with_viewer
from tools import cli


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pem").chmod(0o600)


async def test_the_command_line_over_https(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate(tmp_path)
    site = Site(tmp_path)
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')

    async def status(scheme: str, *more: str) -> tuple[int, str]:
        url = f"{scheme}://localhost:{agent.status.port}/status"
        code = await asyncio.to_thread(
            cli.main, ["status", "--url", url, "--token-file", str(tmp_path / "viewer"), *more]
        )
        out, err = capsys.readouterr()
        return code, out + err

    async with site.agent() as agent:
        code, said = await status("https")
        assert (code, "--ca-file" in said, "is the edge agent running" in said) == (2, True, False)
        code, said = await status("http")
        assert (code, "right may be https://" in said) == (2, True)
        code, said = await status("https", "--ca-file", str(tmp_path / "key.pem"))
        assert (code, "right is a certificate in PEM" in said) == (2, True)
        code, said = await status("https", "--ca-file", str(tmp_path / "cert.pem"), "--lang", "zh")
        assert (code, "等待上传到办公室" in said) == (0, True)


async def test_https(tmp_path: Path) -> None:
    site = Site(tmp_path)
    certificate(tmp_path)
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with site.agent() as agent:
        url = f"https://localhost:{agent.status.port}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as http,
            http.post(f"{url}/login", data={"token": TOKEN}, allow_redirects=False) as answer,
        ):
            assert answer.status == 303
            assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('listen = "0.0.0.0:8787"', "[status] listen: others can reach this address: set viewer_token_file"),
        ('listen = "127.0.0.1:0"\ntls_cert = "c.pem"', "[status] tls_cert: tls_cert and tls_key belong together"),
        ('listen = "127.0.0.1:0"\nviewer_token_file = "nowhere"', "nowhere can't be read"),
    ],
)
def test_mistakes(tmp_path: Path, lines: str, told: str) -> None:
    site = Site(tmp_path)
    text = site.config_path.read_text()
    site.config_path.write_text(text.replace('listen = "127.0.0.1:0"', lines, 1))
    with pytest.raises(ConfigError, match=re.escape(told)):
        configuration.load(site.config_path)


async def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    certificate(tmp_path)
    (tmp_path / "cert.pem").write_text("no certificate")
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    with pytest.raises(Exception, match="an address or certificate can't be used"):
        async with site.agent():
            pass
