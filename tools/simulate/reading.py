"""Layer: TOML file -> checked values; complaints name file, line, key, remedy and the nearest name."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.simulate.errors import PlanError

MAX_FILE = 1024 * 1024
_HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.\-]+)\s*\]")
_ASSIGN = re.compile(r"^\s*([A-Za-z0-9_\-]+)\s*=")
_UID = re.compile(r"(?:[0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{20})")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f'did you mean "{close[0]}"?' if close else "known: " + ", ".join(names)


class TomlFile:
    """One TOML file with the lines its tables and keys stand in."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            if path.stat().st_size > MAX_FILE:
                raise PlanError(self.name, None, "", f"is larger than {MAX_FILE:,} bytes")
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(str(path), None, "", f"can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PlanError(self.name, None, "", "is not UTF-8 text") from error
        try:
            self.data = tomllib.loads(content)
        except tomllib.TOMLDecodeError as error:
            where = re.search(r"at line (\d+)", str(error))
            line = int(where[1]) if where else None
            raise PlanError(self.name, line, "", f"is not TOML: {error}") from error
        self._lines = _find_lines(content)

    def line(self, table: str, index: int, key: str = "") -> int | None:
        """Line of a key, else of its table."""
        return self._lines.get((table, index, key)) or self._lines.get((table, index, ""))

    def refuse_unknown_tables(self, known: Iterable[str]) -> None:
        """Every table must be one of `known`."""
        names = list(known)
        for name in self.data:
            if name not in names:
                line = self.line(name, 0) or self._lines.get(("", 0, name))
                raise PlanError(self.name, line, f"[{name}]", f"is not known; {nearest(name, names)}")

    def one(self, name: str, keys: Iterable[str]) -> Table:
        """The table [name], which must be there."""
        found = self.data.get(name)
        if not isinstance(found, dict):
            problem = f"is missing; right is a line [{name}]"
            raise PlanError(self.name, self.line(name, 0), f"[{name}]", problem)
        return Table(self, name, 0, found, keys)

    def many(self, name: str, keys: Iterable[str]) -> list[Table]:
        """All tables [[name]], in the file's order; none is an empty list."""
        found = self.data.get(name, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise PlanError(self.name, self.line(name, 0), f"[{name}]", f"must be written [[{name}]]")
        names = list(keys)
        return [Table(self, name, index, entry, names) for index, entry in enumerate(found)]


class Table:
    """One table of a file; each getter checks one key."""

    def __init__(
        self, file: TomlFile, name: str, index: int, values: Mapping[str, object], keys: Iterable[str]
    ) -> None:
        self._file = file
        self._name = name
        self._index = index
        self._values = values
        known = list(keys)
        for key in values:
            if key not in known:
                raise self.wrong(key, f"is not known; {nearest(key, known)}")

    def wrong(self, key: str, problem: str) -> PlanError:
        """The error to raise for `key`."""
        line = self._file.line(self._name, self._index, key)
        return PlanError(self._file.name, line, f"[{self._name}] {key}", problem)

    def refused(self, key: str, right: str) -> PlanError:
        """The error for a value that is not `right`."""
        if key not in self._values:
            return self.wrong(key, f"is missing; right is {right}")
        shown = repr(self._values[key])
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return self.wrong(key, f"{shown} is wrong; right is {right}")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def text(self, key: str) -> str:
        """A printable text of 1..80 characters."""
        value = self._values.get(key)
        if not isinstance(value, str) or not 1 <= len(value) <= 80 or not value.isprintable():
            raise self.refused(key, "a text of 1 to 80 characters in quotes")
        return value

    def choice(self, key: str, known: Iterable[str]) -> str:
        """One of the given words or ids."""
        names = list(known)
        value = self._values.get(key)
        if not isinstance(value, str) or value not in names:
            raise self.refused(key, "one of " + ", ".join(names) + _meant(value, names))
        return value

    def choices(self, key: str, known: Iterable[str]) -> tuple[str, ...]:
        """A list of known ids, at least two."""
        names = list(known)
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, str) for item in value):
            raise self.refused(key, "a list of at least two ids in quotes")
        for item in value:
            if item not in names:
                raise self.wrong(key, f'"{item}" is not known; {nearest(item, names)}')
        return tuple(value)

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number low..high."""
        value = self._values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.refused(key, f"a whole number from {low:,} to {high:,}, without quotes")
        return value

    def wholes(self, key: str, count: int, low: int, high: int) -> tuple[int, ...]:
        """A list of exactly `count` whole numbers low..high."""
        value = self._values.get(key)
        right = f"a list of {count} whole numbers from {low:,} to {high:,}"
        if not isinstance(value, list) or len(value) != count:
            raise self.refused(key, right)
        for item in value:
            if not isinstance(item, int) or isinstance(item, bool) or not low <= item <= high:
                raise self.refused(key, right)
        return tuple(value)

    def share(self, key: str) -> float:
        """A part of a whole, 0..1."""
        value = self._values.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise self.refused(key, "a number from 0 to 1, without quotes")
        return float(value)

    def uid(self, key: str) -> bytes:
        """The UID of a card: 4, 7 or 10 bytes."""
        value = self._values.get(key)
        if not isinstance(value, str) or not _UID.fullmatch(value):
            raise self.refused(key, "8, 14 or 20 digits 0-9 A-F in quotes, as printed on the card")
        return bytes.fromhex(value)

    def minute(self, key: str) -> int:
        """Minutes since midnight of a time of day "HH:MM"."""
        value = self._values.get(key)
        match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise self.refused(key, 'a time of day such as "22:00"')
        return int(match[1]) * 60 + int(match[2])


def _meant(value: object, names: list[str]) -> str:
    close = difflib.get_close_matches(value, names, 1, 0.5) if isinstance(value, str) else []
    return f' (did you mean "{close[0]}"?)' if close else ""


def _find_lines(content: str) -> dict[tuple[str, int, str], int]:
    """(table, index, key) -> line; the key "" is the table's header."""
    lines: dict[tuple[str, int, str], int] = {}
    counts: dict[str, int] = {}
    table, index = "", 0
    for number, text in enumerate(content.splitlines(), 1):
        header = _HEADER.match(text)
        if header:
            table = header[1]
            index = counts.get(table, 0)
            counts[table] = index + 1
            lines[(table, index, "")] = number
            continue
        assign = _ASSIGN.match(text)
        if assign:
            lines.setdefault((table, index, assign[1]), number)
    return lines
