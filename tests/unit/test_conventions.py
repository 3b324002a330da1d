"""The conventions of the project that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "library").glob("*.py"))
GENERIC = [
    path
    for folder in ("roles", "library", "module_utils", "plugins")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".yml", ".j2"}
]
PLAN_WORDS = re.compile(r"\b(posts|playlists?|playlist_tracks|tracks|audio_\w+)\b")

#: Files that grew past the limit of their room: each with the reason.
LARGE: dict[str, str] = {
    "plugins/callback/runbook.py": "a plugin cannot import from its neighbours: text, screen and callback are one file",
}


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments, docstrings or module documentation."""
    source = path.read_text()
    text_lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        is_documentation = (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id
            in {
                "DOCUMENTATION",
                "EXAMPLES",
                "RETURN",
            }
        )
        if is_text or is_documentation:
            text_lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len({token.start[0] for token in tokens if token.type not in skipped} - text_lines)


@pytest.mark.parametrize(
    ("pattern", "limit", "measure"),
    [
        ("library/*.py", 120, code_lines),
        ("module_utils/runbook/**/*.py", 250, code_lines),
        ("plugins/**/*.py", 200, code_lines),
        ("roles/*/tasks/*.yml", 60, lambda path: len(path.read_text().splitlines())),
        ("playbooks/**/*.yml", 60, lambda path: len(path.read_text().splitlines())),
    ],
)
def test_files_stay_small(pattern: str, limit: int, measure) -> None:  # type: ignore[no-untyped-def]
    files = sorted(ROOT.glob(pattern))
    assert files, f"nothing matches {pattern}"
    too_large = {
        str(path.relative_to(ROOT)): measure(path)
        for path in files
        if measure(path) > limit and str(path.relative_to(ROOT)) not in LARGE
    }
    assert not too_large, f"over {limit} lines: {too_large}"


def test_generic_folders_name_no_table_of_the_plan() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in GENERIC
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PLAN_WORDS.search(line.replace("tracks_posts_separation", ""))
    ]
    assert not found, "\n".join(found)


def test_only_module_py_knows_the_module_class() -> None:
    users = [path.name for path in (ROOT / "module_utils/runbook").rglob("*.py") if "AnsibleModule" in path.read_text()]
    assert users == ["module.py"]


def test_every_session_is_opened_in_one_place() -> None:
    """And a transaction says what it is: a database may have another default."""
    python = [path for folder in ("library", "module_utils", "plugins") for path in (ROOT / folder).rglob("*.py")]
    texts = {path: path.read_text() for path in python}
    openers = sorted(path.name for path, text in texts.items() if "psycopg2.connect(" in text)
    assert openers == ["connection.py", "connection_faults.py"]
    begins = re.compile(r"""execute\(\s*f?["'](BEGIN|START TRANSACTION)(?! ISOLATION LEVEL)""")
    assert [str(path) for path, text in texts.items() if begins.search(text)] == []
    environments = {path.name for path, text in texts.items() if re.search(r"\{\s*\*\*os\.environ", text)}
    assert environments == {"libpq_environment.py"}, "what a client tool reaches is decided in one place"


def test_no_inventory_writes_for_all_groups() -> None:
    inventories = ROOT / "inventories"
    assert not list(inventories.rglob("group_vars/all*")), "two inventories in one command would merge it"
    for path in inventories.rglob("group_vars/*.yml"):
        assert path.stem == path.parent.parent.name, f"{path} is not named after its environment"


def test_two_inventories_in_one_command_keep_their_own_connection() -> None:
    command = [
        str(Path(sys.executable).parent / "ansible-inventory"),
        "-i", "inventories/staging", "-i", "inventories/production", "--list",
    ]  # fmt: skip
    environment = {
        "PATH": "/usr/bin:/bin",
        "STAGING_DATABASE_HOST": "staging.test",
        "PRODUCTION_DATABASE_HOST": "live.test",
    }
    output = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    hosts = json.loads(output)["_meta"]["hostvars"]
    assert hosts["staging_database"]["runbook_environment"] == "staging"
    assert hosts["production_database"]["runbook_environment"] == "production"
    assert "STAGING" in str(hosts["staging_database"]["database_connection"])
    assert "PRODUCTION" in str(hosts["production_database"]["database_connection"])


def test_every_playbook_says_what_it_does_and_refuses_an_empty_target() -> None:
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text()
        for heading in ("Purpose:", "Usage:", "Changes:", "Undo:"):
            assert heading in text, f"{path.name} lacks {heading}"
        first = yaml.safe_load(text)[0]
        assert (
            path.name == "target.yml"
            or first.get("import_playbook", first.get("ansible.builtin.import_playbook")) == "target.yml"
        ), path.name


def test_no_result_is_hidden() -> None:
    hiding = re.compile(r"ignore_errors|failed_when:\s*false|\|\|\s*true")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("roles", "playbooks", "molecule")
        for path in (ROOT / folder).rglob("*.yml")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if hiding.search(line)
    ]
    assert not found, found


def test_every_module_documents_its_options() -> None:
    """ansible-doc and argument_spec() have the same options, types, defaults and choices."""
    names = [path.stem for path in MODULES]
    assert names
    command = [str(Path(sys.executable).parent / "ansible-doc"), "-t", "module", "-j", *names]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    documents = json.loads(output)
    differences: list[str] = []
    for path in MODULES:
        document = documents[path.stem]
        assert document["return"], f"{path.stem} has no RETURN"
        assert document["examples"], f"{path.stem} has no EXAMPLES"
        differences += compare_options(path.stem, load_argument_spec(path), document["doc"]["options"])
    assert not differences, "\n".join(differences)


def tasks_in(node: object) -> Iterator[dict]:  # type: ignore[type-arg]
    """Every mapping of a file of tasks or plays, blocks included."""
    for inner in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        yield from tasks_in(inner)
    if isinstance(node, dict):
        yield node


def test_tasks_and_examples_give_only_options_that_a_module_has() -> None:
    specs = {path.stem: load_argument_spec(path) for path in MODULES}
    texts = {
        path: path.read_text() for room in ("roles", "playbooks", "molecule") for path in (ROOT / room).rglob("*.yml")
    }
    for path in MODULES:
        found = re.search(r'^EXAMPLES = r"""(.*?)"""', path.read_text(), re.M | re.S)
        assert found is not None
        texts[path] = found[1]
    given = [
        (path, name, option)
        for path, text in texts.items()
        for task in tasks_in(yaml.safe_load(text))
        for name in specs.keys() & task.keys()
        for option in task[name] or {}
    ]
    assert len(given) > 300
    wrong = [f"{path.relative_to(ROOT)}: {name}.{option}" for path, name, option in given if option not in specs[name]]
    assert not wrong, "\n".join(wrong)


def load_argument_spec(path: Path) -> dict:  # type: ignore[type-arg]
    namespace: dict = {"__name__": path.stem}  # type: ignore[type-arg]
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    return namespace["argument_spec"]()


def compare_options(where: str, spec: dict, documented: dict) -> list[str]:  # type: ignore[type-arg]
    differences = [f"{where}.{name}: only in the documentation" for name in documented.keys() - spec.keys()]
    differences += [f"{where}.{name}: not documented" for name in spec.keys() - documented.keys()]
    for name in spec.keys() & documented.keys():
        real, told = spec[name], documented[name]
        for key, absent in (
            ("type", "str"),
            ("required", False),
            ("default", None),
            ("choices", None),
            ("elements", None),
        ):
            if real.get(key, absent) != told.get(key, absent):
                differences.append(
                    f"{where}.{name}: {key} is {real.get(key, absent)!r}, documented {told.get(key, absent)!r}"
                )
        if real.get("options"):
            differences += compare_options(f"{where}.{name}", real["options"], told.get("suboptions") or {})
    return differences
