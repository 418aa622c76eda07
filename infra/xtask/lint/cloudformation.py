"""Lints the translated template with cfn-lint: properties, types, references, values. Errors and warnings fail.

    python cloudformation.py template.yaml translated.json
"""

import sys
from pathlib import Path

from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from findings import Finding, report

# Rules that don't apply, each with its reason. None yet.
IGNORED: dict[str, str] = {}


def findings(translated: Path) -> list[Finding]:
    config = ManualArgs(regions=["us-east-1"], ignore_checks=list(IGNORED))
    return [finding(match) for match in lint_file(translated, config=config)]


def finding(match) -> Finding:
    path = [str(part) for part in match.path or []]
    section, name, *inner = [*path, "", ""]
    if section == "Resources":
        inner = inner[1:]  # "Properties"
    message = match.message if len(match.message) <= 200 else f"{match.message[:200]}…"
    return Finding(name, ".".join(filter(None, inner)), f"{message} (cfn-lint {match.rule.id})")


if __name__ == "__main__":
    source, translated = map(Path, sys.argv[1:])
    sys.exit(report(findings(translated), source))
