"""Plain English: patterns that a native engineer would not write, in messages, titles and names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

#: Not in any text.
PATTERNS = {
    "present tense with since": r"\b(?:is|are|holds|waits|runs|stands|exists|sits)\b[^.;:(]{0,50}\bsince\b",
    "who without an antecedent": r"(?:^|[;:,.(] |\b(?:for|from|of|to|by|and|as|with) )[Ww]ho\b(?![^.]*\?)",
    "tell": r"\b(?:told|tells?|telling)\b",
    "is looked, looks whether": r"\b(?:is|are|was) looked\b|\blooks? (?:whether|who|which)\b|\bis asked whether\b",
    "is no X; there are": r"\bis no [\w ]+[:;] (?:there (?:is|are)|give)\b|\bthat there is\b|\bno way to\b.*; there is",
    "metaphor": r"\b(?:crew|steward|helm|patience|steers?|stand-in|sign of life|walk(?:s|ed|ing)?)\b",
    "translated idiom": r"\b(?:mend|sees? to it|put \S+ right|is away|(?:bring|brought|brings) back|take[sn]? away)\b",
    "so many": r"\b(?:about|after) so many\b|\bso many times\b",
}

#: Not in the name of a task or the title of a step: they begin with a verb. Titles of checks state a fact.
NO_VERB = r"^(?:the|an?|its?|their|each|every|all|any|no|what|which|who|how|where|whether|for|of|from|in|with)\b"

SQL = re.compile(r"\b(?:SELECT|INSERT|UPDATE|DELETE|ALTER|CREATE|WITH|WHERE|FROM|VALUES|JOIN|ORDER BY)\b")
WORDS = re.compile(r"[A-Za-z]{2,}")

Text = tuple[str, int, str]


def files(*patterns: str) -> Iterator[tuple[str, Path]]:
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and not path.is_symlink():
            yield name, path


def rendered(node: ast.AST) -> str | None:
    """Return a string, or an f-string with ``{}`` for its values."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each string that is not a docstring, a module's documentation or SQL, and has at least three words."""
    for node in ast.iter_child_nodes(tree):
        documentation = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {
            "DOCUMENTATION",
            "EXAMPLES",
            "RETURN",
        }
        if documentation or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        text = rendered(node)
        if text is None:
            yield from strings(node)
        elif len(WORDS.findall(text)) >= 3 and not SQL.search(text):
            yield getattr(node, "lineno", 0), text


def messages() -> Iterator[Text]:
    for name, path in files("module_utils/**/*.py", "library/*.py", "plugins/**/*.py"):
        yield from ((name, line, text) for line, text in strings(ast.parse(path.read_text(encoding="utf-8"))))


def lines_of(name: str, path: Path, pattern: str) -> Iterator[Text]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(pattern, line):
            yield name, number, found[1].strip("\"'")


def check_titles() -> Iterator[Text]:
    for name, path in files("sql/**/*.yml"):
        yield from lines_of(name, path, r"[\s-]*title: (.+)")


def step_titles() -> Iterator[Text]:
    for name, path in files("sql/**/*.sql"):
        yield from lines_of(name, path, r"-- step: (.+)")


def task_names() -> Iterator[Text]:
    for name, path in files("*.yml", "roles/**/*.yml", "playbooks/**/*.yml", "molecule/**/*.yml"):
        if "/meta/" not in name and isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), list):
            yield from (
                (file, line, text.split(" | ")[-1]) for file, line, text in lines_of(name, path, r"[\s-]*name: (.+)")
            )


def faults(text: str, *, name: bool = False) -> list[str]:
    found = [kind for kind, pattern in PATTERNS.items() if re.search(pattern, text)]
    if name and re.search(NO_VERB, text, re.IGNORECASE):
        found.append("no verb")
    return found


def marked(texts: Iterator[Text], *, name: bool = False) -> list[str]:
    return [
        f"{file}:{line}: {', '.join(found)}: {text}" for file, line, text in texts if (found := faults(text, name=name))
    ]


def test_messages_and_titles_of_checks_are_plain() -> None:
    assert marked(messages()) + marked(check_titles()) == []


def test_names_of_tasks_and_titles_of_steps_begin_with_a_verb() -> None:
    assert marked(step_titles(), name=True) + marked(task_names(), name=True) == []


@pytest.mark.parametrize(
    ("translated", "plain"),
    [
        ("run X is open since 11:36 UTC", "run X has been open since 11:36 UTC"),
        ("the session that holds the lease since {} s", "the session that has held the lease for {} s"),
        ("Who only looks is told so; who acts is refused", "An assessment reports this; a method refuses"),
        ("A pooler is told before anything is set", "Detect a pooler before changing any setting"),
        ("is looked whether a post points at one", "a statement checks whether a post references one"),
        ("method=undo is no way to roll back; there is: reverse", "unknown method undo; choose reverse"),
        ("{} is no health signal; there are {}", "unknown health signal {}; choose one of {}"),
        ("a stand-in keeps what the key promises", "triggers enforce the key"),
        ("From now on it is away", "Note when the application stopped"),
    ],
)
def test_a_translated_sentence_is_found_and_its_plain_form_is_not(translated: str, plain: str) -> None:
    assert faults(translated)
    assert not faults(plain)


def test_a_name_without_a_verb_is_found() -> None:
    assert faults("The rows", name=True) == ["no verb"]
    assert faults("Repoint entries of reposts", name=True) == []


def test_strings_are_found_in_calls_and_f_strings_but_not_in_docstrings_or_sql() -> None:
    source = '''
DOCUMENTATION = "one two three"
def work():
    """One two three."""
    cursor.execute("SELECT one FROM two")
    raise RunbookError(f"table {name} does not exist.", next_command="the same command again")
'''
    assert [text for _, text in strings(ast.parse(source))] == [
        "table {} does not exist.",
        "the same command again",
    ]
