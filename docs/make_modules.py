#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``docs/modules.md`` from the modules' and filters' own documentation: ``docs/make_modules.py [--check]``.

``--check`` writes nothing and exits with 1 if the file is not what would be written.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "modules.md"
COLLECTION = "relocate.mtd"
TYPES = ("module", "filter")

HEAD = """# Modules and filters of relocate.mtd

Every option and every result. Made by `docs/make_modules.py` from the modules themselves; `ansible-doc NAME` prints
the same.
"""


def _ansible_doc(kind: str, *arguments: str) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("ansible-doc")), "-t", kind, "--json", *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def documents(kind: str) -> dict[str, Any]:
    """Return ``ansible-doc``'s answer for every plugin of a type in the collection, by name."""
    names = sorted(_ansible_doc(kind, "--list", COLLECTION))
    return _ansible_doc(kind, *names) if names else {}


def plain(text: str) -> str:
    """Return text with Ansible's semantic markup as Markdown."""
    text = re.sub(r"\bP\((?:[\w.]+\.)?(\w+)#\w+\)", r"`\1`", text)
    text = re.sub(r"\bM\((?:[\w.]+\.)?(\w+)\)", r"`\1`", text)
    text = re.sub(r"\b(?:O|V|RV|C|E)\((?:ignore:)?((?:\\.|[^)\\])*)\)", r"`\1`", text)
    return text.replace("|", r"\|")


def sentences(value: Any) -> str:
    """Return a description (a text or a list of texts) as one paragraph."""
    return plain(" ".join(value) if isinstance(value, list) else str(value or ""))


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if option.get("default") is None:
        return ""
    return f"`{json.dumps(option['default'])}`"


def option_rows(options: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the rows of the table of options, suboptions beneath their own."""
    rows = []
    for name in sorted(options, key=lambda each: (not options[each].get("required", False), each)):
        option = options[name]
        kind = option.get("type", "str") + (f" of {option['elements']}" if option.get("elements") else "")
        choices = ", ".join(f"`{choice}`" for choice in option.get("choices") or [])
        what = sentences(option.get("description")) + (f" One of {choices}." if choices else "")
        rows.append(f"| `{prefix}{name}` | {kind} | {_default(option)} | {what} |")
        rows += option_rows(option.get("suboptions") or {}, f"{prefix}{name}.")
    return rows


def result_rows(results: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the rows of the table of results, parts beneath their own."""
    rows = []
    for name, result in results.items():
        kind = result.get("type", "str") + (f" of {result['elements']}" if result.get("elements") else "")
        rows.append(f"| `{prefix}{name}` | {kind} | {sentences(result.get('description'))} |")
        rows += result_rows(result.get("contains") or {}, f"{prefix}{name}.")
    return rows


def section(name: str, document: dict[str, Any]) -> list[str]:
    """Return the lines about one plugin."""
    doc, results = document["doc"], document.get("return") or {}
    lines = [f"### {name}", "", f"{sentences(doc['short_description'])}.", ""]
    lines += [f"{sentences(each)}" for each in [doc["description"]]] + [""]
    options = doc.get("options") or {}
    if options:
        lines += ["| option | type | default | meaning |", "|---|---|---|---|", *option_rows(options), ""]
    if results:
        lines += ["| result | type | meaning |", "|---|---|---|", *result_rows(results), ""]
    notes = [f"- {sentences(note)}" for note in doc.get("notes") or []]
    details = (doc.get("attributes") or {}).items()
    notes += [
        f"- {key}: {value['support']}. {sentences(value['details'])}" for key, value in details if value.get("details")
    ]
    examples = (document.get("examples") or "").strip()
    return [*lines, *([*notes, ""] if notes else []), *(["```yaml", examples, "```", ""] if examples else [])]


def page() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for kind in TYPES:
        lines += [f"## {kind.capitalize()}s", ""]
        for name, document in sorted(documents(kind).items()):
            lines += section(name, document)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Entry point."""
    made = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != made:
        print("docs/modules.md is not up to date: run docs/make_modules.py", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
