"""Layer: what device code leaves behind on its way to mpy-cross, so that it is smaller and does the same.

- `_NAME = 5` becomes `_NAME = const(5)`: the compiler puts the number where it is used and keeps neither the name nor
  the entry in the module. The sources stay plain Python, which knows no const().
- the import of `typing`, which no device has; annotations are not evaluated there.

Lines stay where they are: tracebacks tell the same.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

_NAME = re.compile(r"_[A-Z][A-Z0-9_]*")
_SMALL = 1 << 30
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
}


def _number(node: ast.expr, known: dict[str, int]) -> int | None:
    """What an expression of whole numbers and known constants is; None for anything else."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand, known)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _number(node.left, known), _number(node.right, known)
        if left is not None and right is not None:
            return _OPERATORS[type(node.op)](left, right)
    return None


def _is_typing(node: ast.stmt) -> bool:
    """The block that imports typing where there is one."""
    if not isinstance(node, ast.Try) or node.orelse or node.finalbody:
        return False
    return all(isinstance(line, ast.ImportFrom) and line.module == "typing" for line in node.body)


def prepare(source: str) -> str:
    """Source of a device module -> source for mpy-cross."""
    tree = ast.parse(source)
    stored = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    known: dict[str, int] = {}
    lines = source.split("\n")
    for node in tree.body:
        if _is_typing(node):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
            continue
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or node.end_lineno != node.lineno:
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Name) or not _NAME.fullmatch(target.id) or stored.count(target.id) != 1:
            continue
        value = _number(node.value, known)
        if value is None or abs(value) >= _SMALL:
            continue
        known[target.id] = value
        lines[node.lineno - 1] = f"{target.id} = const({value})"
    return "\n".join(lines)


def borrowed(source: str) -> set[str]:
    """Private constants that a module takes from another one: those can't be folded away there."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if _NAME.fullmatch(alias.name)}
        elif isinstance(node, ast.Attribute) and _NAME.fullmatch(node.attr):
            found.add(node.attr)
    return found
