"""Layer: one TOML file under validation: every mistake gets file, line, key and remedy; for office and tools too."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from edge_agent.config_schema import REQUIRED, Key
from edge_agent.errors import ConfigError

MAX_FILE = 4 * 1024 * 1024
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_ASSIGN = re.compile(r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)\s*=""")


class _Lines:
    """Where tables and keys stand in a TOML text: (table, index, key) -> line; the key "" is the header."""

    def __init__(self, content: str) -> None:
        self._at: dict[tuple[str, int, str], int] = {}
        counts: dict[str, int] = {}
        table, index = "", 0
        for number, line in enumerate(content.splitlines(), 1):
            header = _HEADER.match(line)
            if header:
                table = header[2].strip("\"'")
                index = counts.get(table, 0)
                if header[1] == "[[":
                    counts[table] = index + 1
                self._at.setdefault((table, index, ""), number)
                continue
            assign = _ASSIGN.match(line)
            if assign:
                key = assign[1].strip("\"'")
                self._at.setdefault((table, index, key), number)
                if not table and "." in key:
                    first, _, rest = key.partition(".")
                    self._at.setdefault((first, 0, rest), number)
                    self._at.setdefault((first, 0, ""), number)

    def of(self, table: str, index: int, key: str) -> int | None:
        """Line of the key, else of its table, else None."""
        found = self._at.get((table, index, key)) or self._at.get((table, index, ""))
        return found or self._at.get(("", 0, table)) or (None if table else self._at.get((key, 0, "")))


class TomlFile:
    """One TOML file under validation; `data` is what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.name
        try:
            if path.stat().st_size > MAX_FILE:
                raise ConfigError(str(path), None, "", f"larger than {MAX_FILE} bytes")
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(str(path), None, "", f"can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(self.source, None, "", "is not UTF-8 text") from error
        try:
            self.data: dict[str, object] = tomllib.loads(content)
        except tomllib.TOMLDecodeError as error:
            where = re.search(r"at line (\d+)", str(error))
            raise ConfigError(
                self.source, int(where[1]) if where else None, "", f"not TOML: {error}"
            ) from error
        self.lines = _Lines(content)

    def error(self, table: str, index: int, key: str, problem: str) -> ConfigError:
        """The error to raise for one key of one table."""
        name = f"[{table}] {key}".strip() if table else key
        return ConfigError(self.source, self.lines.of(table, index, key), name, problem)

    def refuse_unknown(self, table: str, index: int, found: Mapping[str, object], known: list[str]) -> None:
        """Raises ConfigError for a key that is not known, with the nearest one that is."""
        for name in found:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, 0.5)
                hint = f'did you mean "{near[0]}"?' if near else "known here: " + ", ".join(known)
                line = self.lines.of(table, index, name)
                shown = f"[{table}] {name}" if table else f"[{name}]"
                raise ConfigError(self.source, line, shown, f"is not known; {hint}")

    def table(self, name: str, index: int, found: object, keys: tuple[Key, ...]) -> dict[str, object]:
        """One table, checked, with its defaults. Raises ConfigError."""
        if not isinstance(found, dict):
            raise self.error(name, index, "", f"must be a table: a line [{name}] and its keys below it")
        self.refuse_unknown(name, index, found, [key.name for key in keys])
        values: dict[str, object] = {}
        for key in keys:
            if key.name not in found:
                if key.default is REQUIRED:
                    raise self.error(name, index, "", f'"{key.name}" is missing: {key.doc}')
                values[key.name] = key.default
                continue
            value = found[key.name]
            right = key.check(value)
            if right:
                raise self.error(
                    name, index, key.name, f"{_shown(key.name, value)} is wrong; right is {right}"
                )
            values[key.name] = value
        return values


def _shown(key: str, value: object) -> str:
    """The value for an error text: short, printable, and never a secret."""
    if "key" in key or "token" in key:
        return "the value"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
