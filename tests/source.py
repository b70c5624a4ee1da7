"""The project's own source, as the tests of its architecture and documents read it."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """A source file, parsed."""

    path: str  # below the checkout, mailer/web/app.py
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Its length."""
        return len(self.text.splitlines())

    @property
    def functions(self) -> Iterator[Function]:
        """Every function in it, at any depth."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @property
    def imports(self) -> set[str]:
        """The full names of what it imports."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return names


@functools.cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Parse every module below the folders, but not the migrations: those are written once and never again."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(_module(path) for path in paths if "versions" not in path.parts)


def product() -> tuple[Module, ...]:
    """Parse what is installed."""
    return modules("mailer", "workers")


def _module(path: Path) -> Module:
    text = path.read_text("utf-8")
    return Module(path=path.relative_to(ROOT).as_posix(), text=text, tree=ast.parse(text))
