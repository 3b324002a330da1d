"""Which variables there are, and which keys a mapping has: read by check_variables.py, and no plugin itself."""

from __future__ import annotations

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
