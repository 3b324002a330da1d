"""The layers of module_utils/runbook: imports go down, and there are no cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "ansible.module_utils.runbook"
ROOT = Path(__file__).resolve().parents[2] / "module_utils" / "runbook"

#: From the lowest layer to the highest. A file may import from its own folder and from lower layers, never from another
#: folder of its own layer. The first layer is one folder: the files beside the folders that everything uses.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "masking", "plain", "private_files", "progress_feed", "visible"),
    ("database",),
    ("application_hook", "embedded", "locking", "module", "plan"),
    ("journal",),
    ("control", "evidence", "report"),
    ("backup", "progress", "run", "verification"),
    ("environment",),
    ("migration",),
    ("repair", "restore"),
    ("rollback",),
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}

Files = dict[str, str]  # dotted name within the package → source
Graph = Mapping[str, set[str]]


def files() -> Files:
    paths = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text(
            encoding="utf-8"
        )
        for path in paths
    }


def unit_of(name: str) -> str:
    """Return the folder that a file is in, with the folders inside it; or the file itself, beside the folders."""
    return name.partition(".")[0]


def folder_of(name: str) -> str:
    """Return what must not be part of a cycle: the lowest layer is one of them."""
    return "lowest" if unit_of(name) in LAYERS[0] else unit_of(name)


def imported_by(name: str, source: str, known: Files) -> Iterator[str]:
    """Yield each file of the package that a file imports, wherever in it: in a function, or for the type checker."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix(f"{PACKAGE}.") for a in node.names if a.name.startswith(f"{PACKAGE}."))
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level:
            base = name.split(".")[: -node.level]
            target = ".".join([*base, module] if module else base)
        elif module == PACKAGE or module.startswith(f"{PACKAGE}."):
            target = module.removeprefix(PACKAGE).removeprefix(".")
        else:
            continue
        for alias in node.names:
            inner = f"{target}.{alias.name}".removeprefix(".")
            yield inner if inner in known else target


def graph_of(known: Files) -> Graph:
    return {name: set(imported_by(name, source, known)) for name, source in known.items()}


def upward(graph: Graph) -> list[str]:
    """Return the imports that go up, or to another folder of the same layer."""
    return sorted(
        f"{name} -> {target}"
        for name, targets in graph.items()
        for target in targets
        if folder_of(name) != folder_of(target) and LEVEL[unit_of(target)] >= LEVEL[unit_of(name)]
    )


def cycle(graph: Graph) -> list[str]:
    """Return one cycle of imports, its first member again at its end; empty when there is none."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(graph.get(name, ())):
                if found := follow(target, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := follow(name, []))), [])


def folders(graph: Graph) -> Graph:
    between: dict[str, set[str]] = {}
    for name, targets in graph.items():
        own = folder_of(name)
        between.setdefault(own, set()).update(folder_of(target) for target in targets if folder_of(target) != own)
    return between


def test_every_file_belongs_to_a_layer() -> None:
    units = {unit_of(name) for name in files()}
    assert units == set(LEVEL), "what is new belongs into a folder, and a new folder into LAYERS"


def test_imports_only_go_down() -> None:
    assert upward(graph_of(files())) == []


def test_there_are_no_cycles_of_files_or_folders() -> None:
    graph = graph_of(files())
    assert cycle(graph) == []
    assert cycle(folders(graph)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..journal.runs import record",
        "from ..journal import runs",
        "from ..backup import tools",
        "from ansible.module_utils.runbook.journal.runs import record",
        "import ansible.module_utils.runbook.journal.runs",
        "def work():\n    from ..journal.runs import record",
        "if TYPE_CHECKING:\n    from ..journal.runs import Run",
    ],
)
def test_an_import_that_goes_up_is_found_wherever_it_stands(source: str) -> None:
    known = files()
    known["plan.loader"] += f"\n{source}\n"
    assert [found for found in upward(graph_of(known)) if found.startswith("plan.loader -> ")]


def test_another_folder_of_the_same_layer_is_not_below() -> None:
    known = files()
    known["plan.loader"] += "\nfrom ..locking.limits import Limits\n"
    assert upward(graph_of(known)) == ["plan.loader -> locking.limits"]


def test_cycles_are_found_between_files_and_between_folders() -> None:
    known = {"plan.a": "from .b import x", "plan.b": "from . import a"}
    assert cycle(graph_of(known)) == ["plan.a", "plan.b", "plan.a"]
    known = {
        "plan.a": "from ..journal.b import x",
        "journal.b": "",
        "journal.c": "from ..plan.d import x",
        "plan.d": "",
    }
    assert cycle(graph_of(known)) == []
    assert cycle(folders(graph_of(known))) == ["journal", "plan", "journal"]
