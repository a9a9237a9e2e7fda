"""A reader of the part of CDDL (RFC 8610) that the .cddl files are written in: a value either fits a rule or does not.

The packages there are do not do: zcbor (0.9.1) asks for an older cbor2, and pycddl (0.6.4) takes arrays that do
not fit and refuses some that do. pycddl still checks the syntax of the whole file (test_cddl.py). Syntax that is
unknown here is an error, never a pass.
"""

import re
from collections.abc import Iterator
from typing import Any

import cbor2

_TOKENS = re.compile(
    r"""\s*(?:;[^\n]*\n\s*)*(?:
    (?P<hex>h'[0-9A-Fa-f]*') | (?P<op>\.size|\.cbor|\.regexp|\.\.|=>|[\[\]{}(),:/=?*]) |
    (?P<text>"[^"\n]*") |
    (?P<number>-?[0-9]+) | (?P<name>[a-z][a-z0-9-]*)
    )""",
    re.VERBOSE,
)
_PRELUDE: dict[str, Any] = {
    "any": lambda value: True,
    "nil": lambda value: value is None,
    "bool": lambda value: type(value) is bool,
    "int": lambda value: type(value) is int,
    "uint": lambda value: type(value) is int and value >= 0,
    "bstr": lambda value: type(value) is bytes,
    "tstr": lambda value: type(value) is str,
}
Entry = tuple[int, int, Any]  # at least, at most, type or group
Pair = tuple[int, int, Any, Any]  # at least, at most, key, type


class Cddl:
    """Rules by name; `fits(name, value)` says whether a decoded value is one of that rule."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self.rules: dict[str, Any] = {}
        while self._at < len(self._tokens):
            name = self._take("name")
            self._take("op", "=")
            if name in self.rules or name in _PRELUDE:
                raise ValueError(f"rule {name} twice")
            self.rules[name] = self._type()
        for name in self._names_used(list(self.rules.values())):
            if name not in self.rules and name not in _PRELUDE:
                raise ValueError(f"no rule {name}")

    def _names_used(self, node: Any) -> Iterator[str]:
        if isinstance(node, tuple) and node and node[0] == "ref":
            yield node[1]
        elif isinstance(node, tuple) and node and node[0] == "cbor":
            yield node[2]
        elif isinstance(node, (tuple, list)):
            for part in node:
                yield from self._names_used(part)

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else ("end", "")

    def _take(self, kind: str, text: str | None = None) -> str:
        found = self._peek()
        if found[0] != kind or (text is not None and found[1] != text):
            raise ValueError(f"expected {text or kind}, found {found} at token {self._at}")
        self._at += 1
        return found[1]

    def _skip(self, text: str) -> bool:
        if self._peek() == ("op", text):
            self._at += 1
            return True
        return False

    def _type(self) -> Any:
        choices = [self._type1()]
        while self._skip("/"):
            choices.append(self._type1())
        return choices[0] if len(choices) == 1 else ("choice", choices)

    def _type1(self) -> Any:
        kind, text = self._peek()
        if self._skip("["):
            return ("array", self._entries("]"))
        if self._skip("("):
            return ("group", self._entries(")"))
        if self._skip("{"):
            return ("map", self._pairs())
        self._at += 1
        if kind == "hex":
            return ("literal", bytes.fromhex(text[2:-1]))
        if kind == "text":
            return ("literal", text[1:-1])
        if kind == "number":
            low = int(text)
            return ("range", low, int(self._take("number"))) if self._skip("..") else ("literal", low)
        if kind != "name":
            raise ValueError(f"unknown syntax {text!r} at token {self._at}")
        if self._skip(".cbor"):
            return ("cbor", text, self._take("name"))
        if self._skip(".regexp"):
            return ("regexp", text, re.compile(self._take("text")[1:-1]))
        if self._skip(".size"):
            parenthesis = self._skip("(")
            low = int(self._take("number"))
            high = int(self._take("number")) if self._skip("..") else low
            if parenthesis:
                self._take("op", ")")
            return ("sized", text, low, high)
        return ("ref", text)

    def _entries(self, end: str) -> list[Entry]:
        entries: list[Entry] = []
        while not self._skip(end):
            least, most = 1, 1
            if self._skip("?"):
                least = 0
            elif self._skip("*"):
                least, most = 0, 1 << 32
            elif self._peek()[0] == "number" and self._peek(1) == ("op", "*"):
                least, _, most = int(self._take("number")), self._take("op", "*"), int(self._take("number"))
            if self._peek()[0] == "name" and self._peek(1) == ("op", ":"):
                self._at += 2
            entries.append((least, most, self._type()))
            self._skip(",")
        return entries

    def _pairs(self) -> list[Pair]:
        pairs: list[Pair] = []
        while not self._skip("}"):
            least, most = 1, 1
            if self._peek()[0] == "number" and self._peek(1) == ("op", "*"):
                least, _, most = int(self._take("number")), self._take("op", "*"), int(self._take("number"))
            key = self._type1()
            self._take("op", "=>")
            pairs.append((least, most, key, self._type()))
            self._skip(",")
        return pairs

    def fits(self, rule: str, value: Any) -> bool:
        """Raises KeyError for a rule that is not there."""
        return self._fits(self.rules[rule], value)

    def _fits(self, node: Any, value: Any) -> bool:
        match node:
            case ("ref", name):
                return (
                    bool(_PRELUDE[name](value)) if name in _PRELUDE else self._fits(self.rules[name], value)
                )
            case ("choice", choices):
                return any(self._fits(choice, value) for choice in choices)
            case ("literal", literal):
                return type(value) is type(literal) and value == literal
            case ("range", low, high):
                return type(value) is int and low <= value <= high
            case ("cbor", name, rule):
                return bool(_PRELUDE[name](value)) and self._fits_encoded(rule, value)
            case ("regexp", name, pattern):
                return bool(_PRELUDE[name](value)) and pattern.fullmatch(value) is not None
            case ("sized", "uint", size, _):
                return type(value) is int and 0 <= value < 1 << 8 * size
            case ("sized", name, low, high):
                length = (
                    len(value.encode())
                    if isinstance(value, str)
                    else len(value)
                    if isinstance(value, bytes)
                    else -1
                )
                return bool(_PRELUDE[name](value)) and low <= length <= high
            case ("array", entries):
                return isinstance(value, list) and len(value) in self._ends(entries, value, 0)
            case ("map", pairs):
                return isinstance(value, dict) and self._fits_map(pairs, value)
        raise ValueError(f"cannot judge {node}")

    def _fits_encoded(self, rule: str, encoded: bytes) -> bool:
        try:
            return self.fits(rule, cbor2.loads(encoded))
        except cbor2.CBORDecodeError:
            return False

    def _fits_map(self, pairs: list[Pair], value: dict[Any, Any]) -> bool:
        """Every key belongs to the first pair that it fits; each pair has as many as it asks for."""
        left = list(value)
        for least, most, key, part in pairs:
            mine = [each for each in left if self._fits(key, each)]
            if not least <= len(mine) <= most or not all(self._fits(part, value[each]) for each in mine):
                return False
            left = [each for each in left if each not in mine]
        return not left

    def _ends(self, entries: list[Entry], values: list[Any], start: int) -> set[int]:
        """Every place where these entries can end when they begin at `start`."""
        places = {start}
        for least, most, node in entries:
            reached = set(places) if least == 0 else set()
            rounds = 0
            while places and rounds < most:
                rounds += 1
                places = {end for at in places for end in self._once(node, values, at)}
                if rounds >= least:
                    if places <= reached:
                        break
                    reached |= places
            places = reached
        return places

    def _once(self, node: Any, values: list[Any], at: int) -> set[int]:
        if node[0] == "ref" and node[1] in self.rules and self.rules[node[1]][0] == "group":
            node = self.rules[node[1]]
        if node[0] == "group":
            return self._ends(node[1], values, at)
        return {at + 1} if at < len(values) and self._fits(node, values[at]) else set()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip() + "\n"
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None or found.lastgroup is None:
            rest = re.sub(r";[^\n]*\n", "", text[at:]).strip()
            if rest:
                raise ValueError(f"unknown syntax: {rest[:40]!r}")
            return
        yield found.lastgroup, found.group(found.lastgroup)
        at = found.end()
