"""Layer: asks a running edge agent over HTTP: its status, and what its control token allows (rotate, revoke)."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tools.errors import ToolError

TIMEOUT_S = 30.0
MAX_ANSWER = 4 * 1024 * 1024


class Agent(NamedTuple):
    """Where an agent answers: its status address, a token if it asks for one, with https the certificate to trust."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


def ask(agent: Agent, device: int, does: str) -> str:
    """does: "rotate" or "revoke" -> what came of it, in a line. Raises ToolError."""
    return _line(device, does, send(agent, f"/devices/{device}/{does}", b"{}"))


def send(
    agent: Agent,
    path: str,
    body: bytes | None,
    kind: str = "application/json",
    method: str = "POST",
) -> dict[str, object]:
    """One request -> the agent's answer. Raises ToolError."""
    url, token_file = agent.url.removesuffix("/").removesuffix("/status"), agent.token_file
    if not url.startswith(("http://", "https://")):
        raise ToolError(f"--url {url}: right is an address such as http://127.0.0.1:8787")
    headers = {"Content-Type": kind}
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"{token_file}: can't be read: {error}") from error
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{url}{path}", data=body, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=_trust(agent)) as answer:  # noqa: S310 - checked above
            found: dict[str, object] = dict(json.loads(answer.read(MAX_ANSWER)))
    except urllib.error.HTTPError as error:
        raise ToolError(f"{url}: {_said(error)}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise ToolError(
                f"{url}: its certificate is not known here ({reason.verify_message}): --ca-file FILE with what [status]"
                " tls_cert of its edge.toml names"
            ) from error
        if isinstance(reason, ssl.SSLError):
            raise ToolError(f"{url}: no https is spoken there ({reason}); right may be http://") from error
        if isinstance(reason, ConnectionResetError) and url.startswith("http:"):
            raise ToolError(f"{url}: hangs up on http; right may be https://") from error
        raise ToolError(f"{url}: no answer ({reason}); is the edge agent running?") from error
    except (ValueError, TypeError) as error:
        raise ToolError(f"{url}: answers, but not as an edge agent does") from error
    return found


def _trust(agent: Agent) -> ssl.SSLContext | None:
    if agent.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=agent.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ToolError(f"--ca-file {agent.ca_file}: right is a certificate in PEM: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        body = json.loads(error.read(MAX_ANSWER))
        field, message = str(body["error"]["field"]), str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
    return f"{field}: {message}" if field else message


def _line(device: int, does: str, found: dict[str, object]) -> str:
    if does == "revoke":
        return f"device {device}: revoked; it is refused until it is provisioned anew"
    epoch, problem = found.get("epoch"), found.get("problem")
    if found.get("state") == "done":
        return f"device {device}: new link key, epoch {epoch}"
    if problem:
        return f"device {device}: did not take the key of epoch {epoch} ({problem}); the old one goes on"
    return f"device {device}: the key of epoch {epoch} waits for the device; the old one goes on until then"
