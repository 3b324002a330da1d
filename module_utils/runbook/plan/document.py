"""plan.yml as data with the line of every key: each error names file, line and key."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from typing import Any, TypeVar

import jsonschema
import yaml

from ..errors import RunbookError

#: libyaml reads a plan ten times faster; not every PyYAML package has it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = tuple[str | int, ...]
MapKey = TypeVar("MapKey")


class PlanDocument:
    """A parsed plan file and the errors found in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.errors: list[tuple[int, str]] = []
        self._lines: dict[Place, int] = {(): 1}
        self.data: Any = self._parse()

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line (from 1) of a key or list item, or of the nearest one that contains it."""
        known = tuple(place)
        while known not in self._lines:
            known = known[:-1]
        return self._lines[known]

    def add_error(self, place: Sequence[str | int], text: str) -> None:
        """Add an error about the key at ``place``."""
        line = self.line(place)
        self.errors.append((line, f"{self.path}:{line}: {key_text(place)}: {text}"))

    def require(self, place: Sequence[str | int], value: str | None, known: Container[str], what: str) -> None:
        """Add an error where a value is given that is not among the known ones."""
        if value is not None and value not in known:
            self.add_error(place, f"{value} is not {what}")

    def refuse(self) -> None:
        """Raise all errors as one, in the order of the file; do nothing without one.

        :raises RunbookError: with the errors as the fact ``plan_errors``.
        """
        if not self.errors:
            return
        texts = [text for _, text in sorted(self.errors)]
        count = "1 error" if len(texts) == 1 else f"{len(texts)} errors"
        raise RunbookError(
            f"the plan has {count}:\n" + "\n".join(texts) + "\n",
            object_name=self.path,
            next_command=f"edit {self.path}",
            facts={"plan_errors": texts},
        )

    def validate(self, schema: dict[str, Any]) -> None:
        """Validate the data against a JSON schema; report a misspelt key at its own line."""
        for error in jsonschema.Draft202012Validator(schema).iter_errors(self.data):
            place = tuple(error.absolute_path)
            if error.validator == "additionalProperties":
                for key in sorted(set(map(str, error.instance)) - set(error.schema["properties"])):
                    known = ", ".join(sorted(error.schema["properties"]))
                    self.add_error((*place, key), f"unknown key; known here: {known}")
            else:
                self.add_error(place, _readable(error))

    def _parse(self) -> Any:
        if not os.path.isfile(self.path):
            raise RunbookError(
                f"the plan {self.path} does not exist.",
                object_name=self.path,
                next_command="set migration_plan_directory to a directory with a plan.yml",
            )
        with open(self.path, encoding="utf-8") as file:
            loader = LOADER(file)
            try:
                node = loader.get_single_node()
                if node is None:
                    self.add_error((), "the file is empty")
                    return None
                self._remember(node, ())
                return loader.construct_document(node)
            except yaml.MarkedYAMLError as error:
                mark = error.problem_mark or error.context_mark
                self._lines[()] = mark.line + 1 if mark else 1
                self.add_error((), f"not YAML: {error.problem or error.context}")
                return None
            finally:
                loader.dispose()

    def _remember(self, node: yaml.Node, place: Place) -> None:
        """Note the line of every key and list item, and report duplicate keys: YAML keeps only the last value."""
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._remember(item, (*place, number))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inside = (*place, str(key.value))
                first = self._lines.get(inside)
                self._lines[inside] = key.start_mark.line + 1
                if first is not None:
                    self.add_error(inside, f"duplicate key, first in line {first}")
                self._remember(value, inside)


def key_text(place: Sequence[str | int]) -> str:
    """Write a place as ``migrations[1].checks[0].query``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".") or "plan"


def fill_defaults(schema: dict[str, Any], data: Any) -> Any:
    """Return the data with every optional key of the schema present."""
    if isinstance(data, list):
        return [fill_defaults(schema.get("items", {}), item) for item in data]
    if not isinstance(data, dict):
        return data
    properties = schema.get("properties", {})
    wanted = {key: part["default"] for key, part in properties.items() if "default" in part}
    return {key: fill_defaults(properties.get(key, {}), value) for key, value in {**wanted, **data}.items()}


def files_in(schema: dict[str, Any], data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield place and value of every path that the schema marks as a file of the plan."""
    if isinstance(data, str) and schema.get("format") == "plan-file":
        yield place, data
    elif isinstance(data, list):
        for number, item in enumerate(data):
            yield from files_in(schema.get("items", {}), item, (*place, number))
    elif isinstance(data, dict):
        properties = schema.get("properties", {})
        for key, value in data.items():
            yield from files_in(properties.get(key, {}), value, (*place, key))


def _readable(error: jsonschema.ValidationError) -> str:
    """Return what the schema expects; jsonschema only reports what it found."""
    rule: Any = error.validator_value
    instance: Any = error.instance
    found = repr(instance)
    shown = found if len(found) <= 80 else f"{found[:77]}..."
    match error.validator:
        case "required":
            return "missing: " + ", ".join(key for key in rule if key not in instance)
        case "type" if isinstance(instance, int) and rule == "string":
            return f'{shown} is a number; write it in quotes: "{instance}"'
        case "type":
            return f"{shown} is not of type {rule}"
        case "pattern":
            return f"{shown} does not match {rule}"
        case "enum":
            return f"{shown} is not one of {', '.join(map(str, rule))}"
        case "oneOf":
            return "give exactly one of " + " or ".join(key for part in rule for key in part["required"])
        case "minProperties" | "minItems":
            return f"needs at least {rule} {'entry' if rule == 1 else 'entries'}"
    return error.message if len(error.message) <= 200 else f"{shown} violates {error.validator}"
