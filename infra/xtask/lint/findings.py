"""What the linters find, shown with its line in template.yaml instead of one in the translated file."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    resource: str  # the logical id, or the name of a parameter or an output; empty for the whole template
    property: str  # dotted path inside of the resource, may be empty
    message: str

    def line(self, source: Path) -> str:
        place = ".".join(filter(None, [self.resource, self.property]))
        return f"{source.name}:{self.line_number(source)}: {place or 'template'}: {self.message}"

    def line_number(self, source: Path) -> int:
        """The first line of the resource that has the property's name, else that of the resource."""
        lines = source.read_text().splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith(f"  {self.resource}:")), 0)
        for key in reversed(re.findall(r"[A-Za-z][A-Za-z0-9_]*", self.property)):
            for i in range(start + 1, len(lines)):
                if re.match(r"( {0,2})\S", lines[i]) and not lines[i].lstrip().startswith("#"):
                    break  # the next resource
                if re.match(rf"\s+(- )?{key}:", lines[i]):
                    return i + 1
        return start + 1


def report(findings: list[Finding], source: Path) -> int:
    """Prints the findings; the exit code to end with."""
    for finding in findings:
        print(finding.line(source))
    return 1 if findings else 0
