"""Imports go down the floors of the house, never up; and what starts slowly is imported where work begins."""

import ast
from pathlib import Path

import pytest

FLOORS = (
    "core",
    "formats",
    "kernels",
    "containers",
    "models",
    "recipes",
    "store",
    "checkpoints",
    "transforms",
    "methods",
    "runtimes",
    "pipeline",
    "evaluation",
    "planner",
    "report",
    "jobs",
    "cli",
)
SLOW_TO_IMPORT = {
    "torch",
    "transformers",
    "xllamacpp",
    "matplotlib",
    "accelerate",
    "gguf",
    "huggingface_hub",
    "tokenizers",
}
PACKAGE = Path(__file__).parent.parent / "pennyweight"
FILES = sorted(PACKAGE.rglob("*.py"))


def _floor(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def _imported(tree: ast.AST) -> list[str]:
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_the_floors(path: Path) -> None:
    if _floor(path) == "__init__.py":
        return  # the Python face, above every floor
    assert _floor(path) in FLOORS, f"{path} stands on no floor of the design"
    own = FLOORS.index(_floor(path))
    for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] == "pennyweight" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS.index(parts[1]) <= own, f"{path} imports {name}, a floor above its own"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_starts_slowly_is_imported_where_work_begins(path: Path) -> None:
    banned = SLOW_TO_IMPORT if _floor(path) == "kernels" else SLOW_TO_IMPORT | {"numba"}
    top_level = ast.Module(
        body=[n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    )
    for name in _imported(ast.Module(body=top_level.body, type_ignores=[])):
        assert name.split(".")[0] not in banned, f"{path} imports {name} at the top of the file"
