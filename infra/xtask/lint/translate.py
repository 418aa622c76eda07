"""Translates template.yaml from SAM into plain CloudFormation, as AWS does when it is deployed.

    python translate.py template.yaml translated.json

cfn-lint and checkov look at the result: neither of them sees mistakes inside of serverless resources.
"""

import json
import os
import sys
from pathlib import Path

# The translator asks boto3 for the partition. No call to AWS is made.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
from yaml import YAMLError


def translate(source: Path, target: Path) -> list[str]:
    """Writes the translation to `target`; what is wrong with the template, if it can't be translated."""
    try:
        template = yaml_parse(source.read_text())
        pretend_uploaded(template)
        # No managed policies, no parameter values: defaults are used.
        translated = Translator({}, Parser()).translate(template, {})
    except InvalidDocumentException as error:
        return [f"{source.name}: {cause.message}" for cause in error.causes]
    except YAMLError as error:
        return [f"{source.name} isn't YAML: {error}"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(translated, indent=2))
    return []


def pretend_uploaded(template: dict) -> None:
    """Puts an S3 address in the place of local code, as `sam deploy` does after uploading it."""
    functions = [
        resource.setdefault("Properties", {})
        for resource in template.get("Resources", {}).values()
        if resource.get("Type") == "AWS::Serverless::Function"
    ]
    defaults = template.get("Globals", {}).get("Function", {})
    for properties in [defaults, *functions]:
        if "CodeUri" in properties:
            properties["CodeUri"] = "s3://uploaded-code/bootstrap.zip"


if __name__ == "__main__":
    problems = translate(*map(Path, sys.argv[1:]))
    print(*problems, sep="\n")
    sys.exit(1 if problems else 0)
