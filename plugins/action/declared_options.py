"""Read the declared variables, and the keys of each mapping, for check_variables.py. Not a plugin itself."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DOCUMENTED = re.compile(r'^DOCUMENTATION = r"""(.*?)"""', re.M | re.S)
#: Names of a host that Ansible lets an extra variable replace.
OF_HOST = ("inventory_hostname", "inventory_hostname_short", "group_names", "inventory_dir", "inventory_file")
Options = dict[str, dict[str, Any]]


def known() -> dict[str, Any]:
    """Return variables.yml, with the options of every role among its ``options``."""
    found: dict[str, Any] = yaml.load((HERE / "variables.yml").read_text(), Loader)  # noqa: S506 - a safe loader
    found["options"].update(found["database"])
    found["roles"] = []
    for path in sorted(REPOSITORY.glob("roles/*/meta/argument_specs.yml")):
        for entry in yaml.load(path.read_text(), Loader)["argument_specs"].values():  # noqa: S506
            found["options"].update(entry.get("options") or {})
        found["roles"].append(f"{path.parent.parent.name}_")
    found["prefixes"] += found["roles"]
    return found


def documented(module: str) -> Options:
    """Return the options of a module, as its DOCUMENTATION and its fragments declare them."""
    text = DOCUMENTED.search((REPOSITORY / "library" / f"{module}.py").read_text())
    document = yaml.load(text[1], Loader) if text else {}  # noqa: S506
    options: Options = dict(document.get("options") or {})
    for fragment in document.get("extends_documentation_fragment") or []:
        name, _, part = fragment.partition(".")
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "plugins/doc_fragments" / f"{name}.py")
        if spec and spec.loader:
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            shared = getattr(loaded.ModuleDocFragment, part.upper() or "DOCUMENTATION")
            options = {**yaml.load(shared, Loader)["options"], **options}  # noqa: S506
    return options


def keys_of(name: str, rules: Mapping[str, Any]) -> Options:
    """Return the keys that a mapping of variables.yml may have, by the modules that declare them."""
    found: Options = {}
    for place, wanted in rules.get("mappings", {}).get(name, {}).items():
        module, _, option = place.partition(".")
        options = documented(module)
        options = options[option]["suboptions"] if option else options
        found.update(options if wanted == "all" else {key: options[key] for key in wanted})
    return found


def is_internal(name: str, rules: Mapping[str, Any]) -> bool:
    """Return whether only playbooks and roles may set a variable."""
    if name in rules["set_by_playbooks"] or name in rules["internal"] or name in OF_HOST:
        return True
    declared = name in rules["options"] or name in rules["inventory_only"]
    return not declared and name.startswith(tuple(rules["prefixes"]))


def _folded(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def meant_by(name: str, rules: Mapping[str, Any], likeness: float) -> str:
    """Return the option that a misspelt name probably means; empty if it resembles none."""
    for mapping in rules["mappings"]:
        for key in keys_of(mapping, rules) if name not in rules["options"] else ():
            if name in (f"{mapping}_{key}", f"{mapping.rpartition('_')[0]}_{key}"):
                return f"""there is no such option; it is a key: {mapping}: {{{key}: …}}"""
    options = rules["options"].keys() - set(rules["set_by_playbooks"])
    near = [] if name in rules["set_by_playbooks"] else difflib.get_close_matches(name, options, 1, likeness)
    # Method, STOP_AFTER and stopAfter differ by more than a letter, but are unambiguous.
    near = [option for option in options if _folded(option) == _folded(name)] or near
    return f"there is no such option; did you mean {near[0]}?" if near else ""
