"""Our own rules about template.yaml, which no linter knows.

    python rules.py template.yaml translated.json

Each rule takes the resources of the translated template, one of them its outputs, too, and yields what contradicts it.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from findings import Finding, report

Resources = dict[str, dict]

# What README.md promises, in seconds. Catena hangs up on webhook-ingest after 3.
TIMEOUTS = {"webhook-ingest": 3, "event-processor": 30, "partner-api": 29, "redirect": 10, "link-opener": 29, "reconciler": 90, "publisher": 30}

# Routes that are open to the internet on purpose, and what proves who calls instead. Every other route asks for IAM.
OPEN_ROUTES = {
    "POST /webhooks/catena": "the signature of the body",
    "GET /connect/{link}": "the link in the path",
    "HEAD /connect/{link}": "the link in the path",
    "POST /connect/{link}/open": "the link in the path",
    "GET /connect/{link}/open": "nothing: it leads to the link's page",
    "GET /return/{token}/success": "the return token's MAC",
    "GET /return/{token}/failure": "the return token's MAC",
    "GET /return/{token}": "the return token's MAC",
    "HEAD /return/{token}": "the return token's MAC",
    "GET /return/{token}/status": "the return token's MAC",
    "GET /assets/{file}": "nothing, which a logo doesn't need",
}

# The only open route whose caller takes a refusal for an answer.
WEBHOOK_ROUTE = "POST /webhooks/catena"

# Throttles that a route has of its own, because each request may call Catena.
OWN_THROTTLES = {"POST /connect/{link}/open"}
THROTTLES = ("ThrottlingBurstLimit", "ThrottlingRateLimit")

# Who may read the secrets that open something at Catena or prove what Catena says. Functions that anybody may call have no place here,
# but for link-opener, which calls Catena when a button is pressed.
SECRET_READERS = {
    "CatenaSecret": {"partner-api", "link-opener", "reconciler"},
    "KeyringSecret": {"webhook-ingest"},
    "ReturnKeySecret": {"partner-api", "redirect", "link-opener"},
}

# Functions that only read the table, and the attributes that each may read. `secret` opens a fleet's tokens at Catena.
READERS = {"redirect": {"pk", "sk", "schema", "version", "facts", "decisions", "look", "fleet_ref", "invitation"}}

# Functions that compute no rights, so they need no policy. One that needs it and isn't given it would compute by the defaults.
WITHOUT_POLICY = {"webhook-ingest"}

# What a stream of a table may hand to a function (a filter's pattern), and to which. Other items hold what opens invitations.
STREAM_FILTERS = {"publisher": {"dynamodb": {"Keys": {"sk": {"S": ["RECORD", "OPERATION"]}}}}}
# A stream forgets its records after so long (AWS).
STREAM_SECONDS = 24 * 60 * 60

# What an access log may hold. Paths and query strings carry tokens or what strangers write.
ACCESS_LOG_VARIABLES = {
    "error.message",
    "identity.sourceIp",
    "integration.error",
    "integration.latency",
    "integration.requestId",
    "integration.status",
    "requestId",
    "requestTimeEpoch",
    "responseLatency",
    "routeKey",
    "status",
}

# Properties that give a resource its physical name.
NAMES = {"AlarmName", "FunctionName", "LogGroupName", "Name", "QueueName", "RoleName", "TableName"}


def visibility_outlasts_the_consumer(resources: Resources) -> Iterator[Finding]:
    for mapping, properties in of_type(resources, "AWS::Lambda::EventSourceMapping"):
        queue = target(properties.get("EventSourceArn"))
        function = target(properties.get("FunctionName"))
        if resources.get(queue, {}).get("Type") != "AWS::SQS::Queue":
            continue
        if function not in resources:
            yield Finding(mapping, "FunctionName", "must refer to a function of this template")
            continue
        visibility = resources[queue]["Properties"].get("VisibilityTimeout", 30)
        timeout = resources[function]["Properties"].get("Timeout", 3)
        if not (isinstance(visibility, int) and isinstance(timeout, int)):
            yield Finding(queue, "VisibilityTimeout", f"and the time-out of {function} must be plain numbers, to be compared here")
        elif visibility < 6 * timeout:
            yield Finding(
                queue,
                "VisibilityTimeout",
                f"{visibility} s is less than 6 times the time-out of {function} ({timeout} s): set {6 * timeout} s or more, "
                "or messages are processed twice at the same time",
            )
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield Finding(
                mapping,
                "FunctionResponseTypes",
                "must be [ReportBatchItemFailures], or one failed message repeats its whole batch, or is lost",
            )


def streams_are_read_to_the_end(resources: Resources) -> Iterator[Finding]:
    for mapping, properties in of_type(resources, "AWS::Lambda::EventSourceMapping"):
        source = properties.get("EventSourceArn")
        if resources.get(target(source), {}).get("Type") == "AWS::SQS::Queue":
            continue
        if not is_stream(source):
            yield Finding(mapping, "EventSourceArn", "must be !GetAtt of a queue's Arn or a table's StreamArn, or nobody checks here what it hands over")
            continue
        package = binary(resources.get(target(properties.get("FunctionName")), {}))
        filters = properties.get("FilterCriteria", {}).get("Filters", [])
        try:
            patterns = [json.loads(filter["Pattern"]) for filter in filters]
        except (KeyError, TypeError, ValueError):
            patterns = []
        if package not in STREAM_FILTERS or patterns != [STREAM_FILTERS[package]]:
            yield Finding(
                mapping,
                "FilterCriteria",
                f"must hand {package} records and operations alone, as {Path(__file__).name} spells it out: other items hold what opens invitations",
            )
        if properties.get("StartingPosition") != "TRIM_HORIZON":
            yield Finding(mapping, "StartingPosition", "must be TRIM_HORIZON, or changes from before the mapping are never told")
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield Finding(mapping, "FunctionResponseTypes", "must be [ReportBatchItemFailures], or what the function gives back is lost")
        if properties.get("MaximumRetryAttempts") != -1:
            yield Finding(mapping, "MaximumRetryAttempts", "must be -1: a failure of some minutes would use up any number")
        age = properties.get("MaximumRecordAgeInSeconds", -1)
        if not (isinstance(age, int) and STREAM_SECONDS / 2 <= age < STREAM_SECONDS):
            yield Finding(
                mapping,
                "MaximumRecordAgeInSeconds",
                f"{age} must be a little less than {STREAM_SECONDS}, when the stream forgets: later nothing is put aside, much sooner too much is",
            )
        dead_letters = target(properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        if resources.get(dead_letters, {}).get("Type") != "AWS::SQS::Queue":
            yield Finding(mapping, "DestinationConfig", "must name a queue of this template, or changes that can't be told vanish with the stream")


def streams_have_readers_and_tell_all(resources: Resources) -> Iterator[Finding]:
    streams = [mapping for _, mapping in of_type(resources, "AWS::Lambda::EventSourceMapping") if is_stream(mapping.get("EventSourceArn"))]
    readers = {target(mapping.get("FunctionName")) for mapping in streams}
    for name, _ in of_type(resources, "AWS::Lambda::Function"):
        package = binary(resources[name])
        if package in STREAM_FILTERS and name not in readers:
            yield Finding(name, "", f"{package} is handed no change: map it to the table's stream, EventSourceArn !GetAtt Table.StreamArn")
    for name, properties in of_type(resources, "AWS::DynamoDB::Table"):
        if properties.get("StreamSpecification", {}).get("StreamViewType") != "NEW_AND_OLD_IMAGES":
            yield Finding(name, "StreamSpecification", "StreamViewType must be NEW_AND_OLD_IMAGES: what happened is the difference between the two")


def timeouts_are_as_documented(resources: Resources) -> Iterator[Finding]:
    for name, properties in of_type(resources, "AWS::Lambda::Function"):
        package = binary(resources[name])
        timeout = properties.get("Timeout", 3)
        if package not in TIMEOUTS:
            yield Finding(name, "Timeout", f"{package} has no documented time-out: add it to README.md and to {Path(__file__).name}")
        elif timeout != TIMEOUTS[package]:
            yield Finding(name, "Timeout", f"{timeout} s, but README.md and {Path(__file__).name} say {TIMEOUTS[package]} s")


def every_function_is_deployed(resources: Resources) -> Iterator[Finding]:
    folders = {folder.name for folder in (ROOT / "functions").iterdir() if (folder / "Cargo.toml").exists()}
    binaries = {binary(resources[name]): name for name, _ in of_type(resources, "AWS::Lambda::Function")}
    for package in sorted(folders - binaries.keys()):
        yield Finding("", "", f"functions/{package} is missing: add a function with `Binary: {package}`")
    for package in sorted(binaries.keys() - folders):
        yield Finding(binaries[package], "Metadata", f"functions/{package} doesn't exist: `Binary` must name a package in functions/")


def queues_keep_and_encrypt(resources: Resources) -> Iterator[Finding]:
    for name, properties in of_type(resources, "AWS::SQS::Queue"):
        retention = properties.get("MessageRetentionPeriod", 4 * DAY)
        if retention < 14 * DAY:
            yield Finding(name, "MessageRetentionPeriod", f"{retention} s is less than 14 days (1209600): events would end with an outage")
        if properties.get("SqsManagedSseEnabled") is not True:
            yield Finding(name, "SqsManagedSseEnabled", "must be true: events hold personal data")
        redrive = properties.get("RedrivePolicy")
        dead_letters = target(redrive["deadLetterTargetArn"]) if redrive else None
        consumed = any(target(m.get("EventSourceArn")) == name for _, m in of_type(resources, "AWS::Lambda::EventSourceMapping"))
        if consumed and dead_letters not in resources:
            yield Finding(name, "RedrivePolicy", "must name a dead-letter queue of this template, or failing messages vanish after 14 days")


def data_outlives_the_stack(resources: Resources) -> Iterator[Finding]:
    for kind in ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"):
        for name, _ in of_type(resources, kind):
            for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                if resources[name].get(policy) != "Retain":
                    yield Finding(name, policy, f"{policy} must be Retain: deleting the stack must not delete what it keeps")


def nothing_refuses_deliveries(resources: Resources) -> Iterator[Finding]:
    because = "Catena takes 429 and 403 as delivered, so each one is an event lost: remove it"
    apis = {target(route.get("ApiId")) for _, route in of_type(resources, ROUTE) if route.get("RouteKey") == WEBHOOK_ROUTE}
    if not apis:
        yield Finding("", "", f"no route is called {WEBHOOK_ROUTE}: Catena delivers nowhere")
    stages = {name for name, stage in of_type(resources, STAGE) if target(stage.get("ApiId")) in apis}
    for name, properties in of_type(resources, STAGE):
        if name in stages:
            for key in sorted({key for setting in route_settings(properties) for key in setting if key.startswith("Throttling")}):
                yield Finding(name, key, f"throttles webhooks. {because}")
    for name, properties in of_type(resources, "AWS::WAFv2::WebACLAssociation"):
        if (apis | stages) & references(properties.get("ResourceArn")):
            yield Finding(name, "", f"puts a web application firewall before webhooks. {because}")
    for name, properties in of_type(resources, "AWS::Lambda::Function"):
        if binary(resources[name]) == "webhook-ingest" and "ReservedConcurrentExecutions" in properties:
            yield Finding(name, "ReservedConcurrentExecutions", f"limits webhooks. {because}")


def strangers_are_throttled(resources: Resources) -> Iterator[Finding]:
    public = [route for _, route in of_type(resources, ROUTE) if route.get("RouteKey") in OPEN_ROUTES.keys() - {WEBHOOK_ROUTE}]
    apis = {target(route.get("ApiId")) for route in public}
    for name, properties in of_type(resources, STAGE):
        if target(properties.get("ApiId")) not in apis:
            continue
        default = properties.get("DefaultRouteSettings", {})
        for key in THROTTLES:
            if not default.get(key):
                yield Finding(name, "DefaultRouteSettings", f"lacks {key}: strangers could use up what the account's other functions need")
        for route in sorted(OWN_THROTTLES):
            settings = properties.get("RouteSettings", {}).get(route, {})
            for key in THROTTLES:
                if not settings.get(key):
                    yield Finding(name, "RouteSettings", f"lacks {key} of {route}: strangers could use up what Catena lets us ask")
        # API Gateway refuses settings of a route that doesn't exist yet.
        keys = {route.get("RouteKey"): id for id, route in of_type(resources, ROUTE)}
        first = as_list(resources[name].get("DependsOn", []))
        for route in sorted(properties.get("RouteSettings", {})):
            if route not in keys:
                yield Finding(name, "RouteSettings", f"{route} is no route of this template")
            elif keys[route] not in first:
                yield Finding(name, "DependsOn", f"lacks {keys[route]}: the settings of {route} are refused until it exists")


def routes_are_authorised(resources: Resources) -> Iterator[Finding]:
    for name, properties in of_type(resources, ROUTE):
        key = properties.get("RouteKey")
        authorization = properties.get("AuthorizationType")
        if key in OPEN_ROUTES:
            if authorization != "NONE":
                yield Finding(name, "AuthorizationType", f"{key} is proved by {OPEN_ROUTES[key]}: write NONE")
        elif authorization != "AWS_IAM":
            yield Finding(name, "AuthorizationType", f"{key} is open to everybody: write AWS_IAM, or list it in {Path(__file__).name}")
    for kind in ("AWS::ApiGatewayV2::Api", "AWS::ApiGateway::RestApi"):
        for name, properties in of_type(resources, kind):
            if {"Body", "Target"} & properties.keys() or kind == "AWS::ApiGateway::RestApi":
                yield Finding(name, "", "its routes can't be seen here: spell them out as AWS::ApiGatewayV2::Route")
    for name, properties in of_type(resources, "AWS::Lambda::Url"):
        yield Finding(name, "", "leads past the API's authorisation: remove it")


def access_logs_hold_no_urls(resources: Resources) -> Iterator[Finding]:
    for name, properties in of_type(resources, STAGE):
        settings = properties.get("AccessLogSettings")
        if not settings:
            yield Finding(name, "AccessLogSettings", "missing: without an access log nobody sees what was refused")
            continue
        used = set(re.findall(r"\$context\.([A-Za-z0-9_.]*[A-Za-z0-9_])", settings["Format"]))
        for variable in sorted(used - ACCESS_LOG_VARIABLES):
            yield Finding(
                name,
                "AccessLogSettings.Format",
                f"$context.{variable} isn't among the variables known to hold neither path nor query string: use $context.routeKey, "
                f"or add it to {Path(__file__).name} if it is safe",
            )


def settings_hold_no_secrets(resources: Resources) -> Iterator[Finding]:
    for name, properties in of_type(resources, "AWS::Lambda::Function"):
        for variable, value in properties.get("Environment", {}).get("Variables", {}).items():
            place = f"Environment.Variables.{variable}"
            advice = "settings are shown in the console: pass the secret's id and read it in the function"
            if "{{resolve:secretsmanager" in json.dumps(value) or "{{resolve:ssm-secure" in json.dumps(value):
                yield Finding(name, place, f"resolves a secret into a setting; {advice}")
            elif re.search(r"(^|_)(KEY|SECRET|TOKEN|PASSWORD|CREDENTIALS?)$", variable):
                yield Finding(name, place, f"looks like a secret; {advice}")
            elif isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9+/=_-]{32,}", value):
                yield Finding(name, place, f"looks like a key written out; {advice}")


def rights_are_spelled_out(resources: Resources) -> Iterator[Finding]:
    users: dict[str, str] = {}
    for name, properties in of_type(resources, "AWS::Lambda::Function"):
        role = target(properties.get("Role"))
        if role in users:
            yield Finding(name, "Role", f"{role} belongs to {users[role]} already: each function has a role of its own")
        users[role] = name
    for name, properties in of_type(resources, "AWS::IAM::Role"):
        if properties.get("ManagedPolicyArns"):
            yield Finding(name, "ManagedPolicyArns", "AWS's policies allow more than is needed: spell the actions out")
        for policy in properties.get("Policies", []):
            for statement in as_list(policy["PolicyDocument"]["Statement"]):
                for action in as_list(statement.get("Action", [])):
                    if "*" in action:
                        yield Finding(name, "Action", f"{action} is a wildcard: spell the actions out")
                for resource in as_list(statement.get("Resource", [])):
                    if resource == "*":
                        yield Finding(name, "Resource", f"{statement.get('Sid', 'a statement')} covers every resource: name the one that is needed")
    for name, properties in of_type(resources, "AWS::Lambda::Permission"):
        if properties.get("Principal") == "*" or "SourceArn" not in properties:
            yield Finding(name, "Principal", "lets others call the function: name the service, and in SourceArn what of it may call")


def secrets_are_for_those_who_need_them(resources: Resources) -> Iterator[Finding]:
    for name, package, statement in statements(resources):
        actions = as_list(statement.get("Action", []))
        if any(action.startswith("secretsmanager:") for action in actions):
            for secret in sorted(references(statement.get("Resource"))):
                readers = SECRET_READERS.get(secret, set())
                if package not in readers:
                    yield Finding(name, "Resource", f"lets {package} read {secret}, which is for {', '.join(sorted(readers)) or 'nobody'}")


def pages_change_nothing(resources: Resources) -> Iterator[Finding]:
    for name, package, statement in statements(resources):
        if package not in READERS:
            continue
        actions = [action for action in as_list(statement.get("Action", [])) if action.startswith("dynamodb:")]
        for action in sorted(set(actions) - {"dynamodb:BatchGetItem"}):
            yield Finding(name, "Action", f"{action}: {package} may read items by their keys, and nothing else")
        condition = statement.get("Condition", {})
        allowed = condition.get("ForAllValues:StringEquals", {}).get("dynamodb:Attributes", [])
        select = condition.get("StringEquals", {}).get("dynamodb:Select")
        # Without the second, a request that names no attributes meets the first and is given all of them.
        if actions and (set(as_list(allowed)) != READERS[package] or select != "SPECIFIC_ATTRIBUTES"):
            yield Finding(name, "Condition", f"must let {package} read these attributes alone: {', '.join(sorted(READERS[package]))}")


def two_stacks_fit_in_an_account(resources: Resources) -> Iterator[Finding]:
    for name, resource in resources.items():
        for key in sorted(NAMES & resource.get("Properties", {}).keys()):
            if not differs_by_stack(resource["Properties"][key], resources):
                yield Finding(name, key, "is the same in every stack: leave it out, or begin it with ${AWS::StackName}")


def rights_are_computed_by_one_policy(resources: Resources, outputs: dict[str, dict]) -> Iterator[Finding]:
    policy = outputs.get("Policy", {}).get("Value")
    if policy is None:
        yield Finding("", "", "output Policy is missing: `kingpin` computes by it what the functions compute")
        return
    for name, properties in of_type(resources, "AWS::Lambda::Function"):
        own = properties.get("Environment", {}).get("Variables", {}).get("POLICY")
        needless = own is None and binary(resources[name]) in WITHOUT_POLICY
        if own != policy and not needless:
            yield Finding(name, "Environment.Variables.POLICY", "isn't the output Policy: all must compute rights by the same, and `kingpin` with them")


# Rules about the resources alone.
RULES = [
    visibility_outlasts_the_consumer,
    streams_are_read_to_the_end,
    streams_have_readers_and_tell_all,
    timeouts_are_as_documented,
    every_function_is_deployed,
    queues_keep_and_encrypt,
    data_outlives_the_stack,
    nothing_refuses_deliveries,
    strangers_are_throttled,
    routes_are_authorised,
    access_logs_hold_no_urls,
    settings_hold_no_secrets,
    rights_are_spelled_out,
    secrets_are_for_those_who_need_them,
    pages_change_nothing,
    two_stacks_fit_in_an_account,
]


def findings(translated: Path) -> list[Finding]:
    template = json.loads(translated.read_text())
    resources = template["Resources"]
    found = [finding for rule in RULES for finding in rule(resources)]
    return [*found, *rights_are_computed_by_one_policy(resources, template.get("Outputs", {}))]


def of_type(resources: Resources, kind: str) -> list[tuple[str, dict]]:
    return [(name, resource.get("Properties", {})) for name, resource in resources.items() if resource["Type"] == kind]


def statements(resources: Resources) -> Iterator[tuple[str, str, dict]]:
    """The statements of each function's role: the role, the function's package, the statement."""
    packages = {target(f.get("Role")): binary(resources[name]) for name, f in of_type(resources, "AWS::Lambda::Function")}
    for name, properties in of_type(resources, "AWS::IAM::Role"):
        for policy in properties.get("Policies", []):
            for statement in as_list(policy["PolicyDocument"]["Statement"]):
                yield name, packages.get(name, ""), statement


def route_settings(stage: dict) -> list[dict]:
    return [stage.get("DefaultRouteSettings", {}), *stage.get("RouteSettings", {}).values()]


def references(value) -> set[str]:
    """All logical ids in a value: of `!Ref`, `!GetAtt` and `!Sub`."""
    match value:
        case {"Ref": name}:
            return {name}
        case {"Fn::GetAtt": [name, *_]}:
            return {name}
        case {"Fn::Sub": str(text)}:
            return set(re.findall(r"\$\{([A-Za-z0-9]+)[.}]", text))
        case dict():
            return set().union(*map(references, value.values()))
        case list():
            return set().union(*map(references, value))
    return set()


def target(reference) -> str:
    """The logical id that `!Ref X` or `!GetAtt X.Y` refers to."""
    match reference:
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, *_]}:
            return name
    return ""


def differs_by_stack(name, resources: Resources) -> bool:
    """Whether a name is another in each stack: it holds the stack's, or is that of a resource of this template, which is checked itself."""
    match name:
        case {"Ref": referred}:
            return referred == "AWS::StackName" or referred in resources
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), *_]}:
            return "${AWS::StackName}" in text
    return False


def is_stream(source) -> bool:
    """Whether a mapping's source is a table's stream."""
    match source:
        case {"Fn::GetAtt": [_, "StreamArn"]}:
            return True
    return False


def binary(function: dict) -> str:
    """The package that a function is built from."""
    return function.get("Metadata", {}).get("BuildProperties", {}).get("Binary", "")


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


ROUTE = "AWS::ApiGatewayV2::Route"
STAGE = "AWS::ApiGatewayV2::Stage"
DAY = 24 * 60 * 60
ROOT = Path(__file__).resolve().parents[3]

if __name__ == "__main__":
    source, translated = map(Path, sys.argv[1:])
    sys.exit(report(findings(translated), source))
