"""What device code leaves behind before it is compiled, and that nothing else changes."""

import ast
from pathlib import Path

import pytest

from tools.setup import bytecode
from tools.setup.for_device import borrowed, prepare

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted({file for role in bytecode.ROLES for file in bytecode.role_files(ROOT, role)})


def test_private_numbers_become_constants_and_typing_goes() -> None:
    source = """try:
    from typing import Any
except ImportError:
    pass
_A = 5  # why
_B = _A << 8 | 0x0F
_C = "text"
D = 7
_E = 1
_E = 2
_BIG = 1 << 40


def f(x: "Any") -> int:
    return _A + _B
"""
    prepared = prepare(source)
    assert prepared.split("\n")[:11] == [
        "", "", "", "", "_A = const(5)", "_B = const(1295)", '_C = "text"', "D = 7", "_E = 1", "_E = 2",
        "_BIG = 1 << 40",
    ]  # fmt: skip
    assert prepared.split("\n")[11:] == source.split("\n")[11:]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_device_code_is_the_same_after_it(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    prepared = prepare(source)
    assert prepared.count("\n") == source.count("\n")

    # const(x) is x: but for that and the import of typing, the same tree
    class Plain(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.expr:
            self.generic_visit(node)
            return node.args[0] if isinstance(node.func, ast.Name) and node.func.id == "const" else node

    names: dict[str, object] = {}
    values: dict[str, object] = {}
    for text, into in ((source, names), (prepared, values)):
        tree = ast.parse(text)
        rest = []
        for node in Plain().visit(tree).body:
            if (
                isinstance(node, ast.Try)
                and isinstance(node.body[0], ast.ImportFrom)
                and node.body[0].module == "typing"
            ):
                continue
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                into[node.targets[0].id] = None
                if node.targets[0].id.startswith("_"):
                    continue
            rest.append(ast.dump(node))
        into["rest"] = rest
    assert names == values


def test_nobody_borrows_what_is_folded_away() -> None:
    for file in FILES:
        assert borrowed(file.read_text(encoding="utf-8")) <= {"_"}, file


def test_no_name_of_typing_is_needed_at_run_time() -> None:
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        annotations: set[ast.AST] = set()
        for node in ast.walk(tree):
            for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                if part is not None:
                    annotations |= set(ast.walk(part))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in ("Any", "Callable", "Iterator", "Optional"):
                assert node in annotations, f"{file}:{node.lineno}"
