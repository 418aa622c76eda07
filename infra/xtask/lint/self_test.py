"""Proves that the template's checks find mistakes: puts each into a copy of template.yaml and expects the step to name it.

    python self_test.py template.yaml folder-for-copies
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cloudformation
import rules
from translate import translate

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Mistake:
    what: str
    step: str  # translate, cfn-lint, rules or checkov
    found: str  # in template.yaml
    replaced: str
    named: str  # must be part of what the step says


FIREWALL = """  WebhookFirewall:
    Type: AWS::WAFv2::WebACLAssociation
    Properties:
      ResourceArn: !Sub arn:${AWS::Partition}:apigateway:${AWS::Region}::/apis/${WebhookApi}/stages/${WebhookStage}
      WebACLArn: arn:aws:wafv2:us-east-1:111111111111:regional/webacl/some/thing

  WebhookStage:
"""

# As redirect's role has them: the statement before tells them apart from those of other roles.
READS_RETURN_KEYS = """                Resource: !GetAtt EventsQueue.Arn
              - Sid: ReadReturnKeys
                Effect: Allow
                Action: secretsmanager:GetSecretValue
                Resource: !Ref ReturnKeySecret
"""
READS_PAGES = """              - Sid: ReadWhatPagesShow
                Effect: Allow
                Action: dynamodb:BatchGetItem
"""

STREAM_FILTER = """      FilterCriteria:
        Filters:
          - Pattern: '{"dynamodb":{"Keys":{"sk":{"S":["RECORD","OPERATION"]}}}}'
"""
STREAM_ANSWER = "      FunctionResponseTypes: [ReportBatchItemFailures]\n      BisectBatch"

POLICY = """POLICY: !Sub '{"confirmation":"${RequestConfirmation}","""
POLICY_SHOWN = """compute rights by
    Value: !Sub '{"confirmation":"${RequestConfirmation}","""

STREAM_MAPPING = """    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt Table.StreamArn
"""

MISTAKES = [
    Mistake("wrong property of a function", "translate", "      Timeout: 30\n", "      TimeOut: 30\n", "TimeOut"),
    Mistake("wrong !GetAtt in a function", "cfn-lint", "!GetAtt EventProcessorRole.Arn", "!GetAtt EventProcessorRole.ARN", "'ARN' is not one of"),
    Mistake("wrong !GetAtt elsewhere", "cfn-lint", "!GetAtt WebhookIngestFunction.Arn", "!GetAtt WebhookIngestFunctio.Arn", "'WebhookIngestFunctio'"),
    Mistake("wrong !Ref in a setting", "cfn-lint", "TABLE_NAME: !Ref Table", "TABLE_NAME: !Ref Tabel", "'Tabel' is not one of"),
    Mistake("unknown runtime", "cfn-lint", "Runtime: provided.al2023", "Runtime: provided.al2032", "provided.al2032"),
    Mistake("visibility below the time-out", "cfn-lint", "VisibilityTimeout: 180", "VisibilityTimeout: 29", "timeout (29) is less than"),
    Mistake("visibility below 6 times the time-out", "rules", "VisibilityTimeout: 180", "VisibilityTimeout: 179", "EventsQueue.VisibilityTimeout: 179 s is less than 6 times"),
    Mistake("no partial failures", "rules", "      FunctionResponseTypes: [ReportBatchItemFailures]\n", "", "EventProcessorMapping.FunctionResponseTypes"),
    Mistake("stream without a filter", "rules", STREAM_FILTER, "", "PublisherMapping.FilterCriteria: must hand publisher records and operations alone"),
    Mistake("filter that lets invitations through", "rules", '{"S":["RECORD","OPERATION"]}', '{"S":["RECORD","OPERATION","INVITATION"]}', "PublisherMapping.FilterCriteria: must hand publisher records and operations alone"),
    Mistake("one filter too many", "rules", STREAM_FILTER, STREAM_FILTER + """          - Pattern: '{"eventName":["INSERT"]}'\n""", "PublisherMapping.FilterCriteria: must hand publisher records and operations alone"),
    Mistake("stream without partial failures", "rules", STREAM_ANSWER, "      BisectBatch", "PublisherMapping.FunctionResponseTypes"),
    Mistake("stream read from now on", "rules", "StartingPosition: TRIM_HORIZON", "StartingPosition: LATEST", "PublisherMapping.StartingPosition"),
    Mistake("stream whose retries end", "rules", "MaximumRetryAttempts: -1", "MaximumRetryAttempts: 10", "PublisherMapping.MaximumRetryAttempts"),
    Mistake("stream that forgets first", "rules", "MaximumRecordAgeInSeconds: 82800", "MaximumRecordAgeInSeconds: 86400", "PublisherMapping.MaximumRecordAgeInSeconds: 86400"),
    Mistake("stream without dead letters", "rules", "        OnFailure:\n", "        OnSuccess:\n", "PublisherMapping.DestinationConfig"),
    Mistake("publisher mapped to a queue", "rules", STREAM_MAPPING, STREAM_MAPPING.replace("Table.StreamArn", "PublisherDeadLetterQueue.Arn"), "PublisherFunction: publisher is handed no change"),
    Mistake("publisher without a mapping", "rules", STREAM_MAPPING, "    Type: AWS::CloudFormation::WaitConditionHandle\n    Properties:\n", "PublisherFunction: publisher is handed no change"),
    Mistake("stream in other words", "rules", STREAM_MAPPING, STREAM_MAPPING.replace("!GetAtt Table.StreamArn", "!Sub ${Table.StreamArn}"), "PublisherMapping.EventSourceArn: must be !GetAtt"),
    Mistake("stream of new images alone", "rules", "NEW_AND_OLD_IMAGES", "NEW_IMAGE", "Table.StreamSpecification: StreamViewType must be"),
    Mistake("undocumented time-out", "rules", "      Timeout: 3\n", "      Timeout: 4\n", "WebhookIngestFunction.Timeout: 4 s, but README.md"),
    Mistake("misspelt binary", "rules", "Binary: event-processor", "Binary: event-procesor", "functions/event-procesor doesn't exist"),
    Mistake("short retention", "rules", "MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: 345600", "345600 s is less than 14 days"),
    Mistake("unencrypted queue", "rules", "      SqsManagedSseEnabled: true\n", "", "SqsManagedSseEnabled: must be true"),
    Mistake("table deleted with the stack", "rules", "DeletionPolicy: Retain", "DeletionPolicy: Delete", "Table.DeletionPolicy: DeletionPolicy must be Retain"),
    Mistake("throttled stage", "rules", "AutoDeploy: true", "AutoDeploy: true\n      DefaultRouteSettings: {ThrottlingRateLimit: 50}", "WebhookStage.ThrottlingRateLimit: throttles webhooks"),
    Mistake("throttled webhook route", "rules", "AutoDeploy: true", "AutoDeploy: true\n      RouteSettings: {POST /webhooks/catena: {ThrottlingBurstLimit: 50}}", "WebhookStage.ThrottlingBurstLimit: throttles webhooks"),
    Mistake("firewall before webhooks", "rules", "  WebhookStage:\n", FIREWALL, "WebhookFirewall: puts a web application firewall before webhooks"),
    Mistake("limited webhooks", "rules", "      MemorySize: 512\n", "      MemorySize: 512\n      ReservedConcurrentExecutions: 5\n", "WebhookIngestFunction.ReservedConcurrentExecutions: limits webhooks"),
    Mistake("webhook's route renamed", "rules", "RouteKey: POST /webhooks/catena", "RouteKey: POST /webhooks/catenas", "no route is called POST /webhooks/catena"),
    Mistake("public API without throttle", "rules", "      DefaultRouteSettings:\n", "      X:\n", "PublicStage.DefaultRouteSettings: lacks ThrottlingBurstLimit"),
    Mistake("public API with half a throttle", "rules", "        ThrottlingRateLimit: !Ref PublicRateLimit\n", "", "PublicStage.DefaultRouteSettings: lacks ThrottlingRateLimit"),
    Mistake("pressed button without throttle", "rules", "          ThrottlingRateLimit: !Ref OpenRateLimit\n", "", "lacks ThrottlingRateLimit of POST /connect/{link}/open"),
    Mistake("throttle of an unknown route", "rules", "        POST /connect/{link}/open:\n", "        POST /connect/{link}/opens:\n", "POST /connect/{link}/opens is no route of this template"),
    Mistake("throttle before its route", "rules", "    DependsOn: [OpenLinkRoute]\n", "", "PublicStage.DependsOn: lacks OpenLinkRoute"),
    Mistake("pages that read Catena's credentials", "rules", READS_RETURN_KEYS, READS_RETURN_KEYS.replace("ReturnKeySecret", "CatenaSecret"), "RedirectRole.Resource: lets redirect read CatenaSecret"),
    Mistake("pages that write the table", "rules", READS_PAGES, READS_PAGES.replace("BatchGetItem", "PutItem"), "RedirectRole.Action: dynamodb:PutItem"),
    Mistake("pages that read an invitation's secret", "rules", "fleet_ref, invitation]", "fleet_ref, invitation, secret]", "RedirectRole.Condition: must let redirect read these attributes alone"),
    Mistake("pages that read whole items", "rules", "                    dynamodb:Select: SPECIFIC_ATTRIBUTES\n", "                    dynamodb:Select: ALL_ATTRIBUTES\n", "RedirectRole.Condition: must let redirect read"),
    Mistake("route open to everybody", "rules", "      AuthorizationType: AWS_IAM\n", "      AuthorizationType: NONE\n", "PutInvitationRoute.AuthorizationType: PUT /fleets/{fleet_ref}/invitation is open"),
    Mistake("route without authorisation", "rules", "      AuthorizationType: AWS_IAM\n", "", "PutInvitationRoute.AuthorizationType: PUT /fleets/{fleet_ref}/invitation is open"),
    Mistake("path in the access log", "rules", "$context.routeKey", "$context.path", "$context.path isn't among"),
    Mistake("secret in a setting", "rules", "KEYRING_SECRET_ID: !Ref KeyringSecret", 'SIGNING_KEY: "{{resolve:secretsmanager:keyring}}"', "SIGNING_KEY: resolves a secret"),
    Mistake("function with a policy of its own", "rules", POLICY, POLICY.replace("${RequestConfirmation}", "off"), "EventProcessorFunction.Environment.Variables.POLICY: isn't the output"),
    Mistake("function without a policy", "rules", POLICY, POLICY.replace("POLICY", "POLICIES"), "EventProcessorFunction.Environment.Variables.POLICY: isn't the output"),
    Mistake("operators with a policy of their own", "rules", POLICY_SHOWN, POLICY_SHOWN.replace("${RequestConfirmation}", "off"), "PublisherFunction.Environment.Variables.POLICY: isn't the output"),
    Mistake("no policy for operators", "rules", "  Policy:\n    Description: What", "  Rules:\n    Description: What", "output Policy is missing"),
    Mistake("wildcard right", "rules", "Action: sqs:SendMessage", "Action: sqs:*", "sqs:* is a wildcard"),
    Mistake("right on everything", "rules", "Resource: !GetAtt Table.Arn", 'Resource: "*"', "covers every resource"),
    Mistake("name shared by all stacks", "rules", "QueueName: !Sub ${AWS::StackName}-events", "QueueName: kingpin-events", "EventsQueue.QueueName: is the same in every stack"),
    Mistake("name that a parameter gives", "rules", "QueueName: !Sub ${AWS::StackName}-events", "QueueName: !Ref PartnerName", "EventsQueue.QueueName: is the same in every stack"),
    Mistake("name shared by an account's stacks", "rules", "QueueName: !Sub ${AWS::StackName}-events", "QueueName: !Sub ${AWS::AccountId}-events", "EventsQueue.QueueName: is the same in every stack"),
    Mistake("function open to everybody", "rules", "Principal: apigateway.amazonaws.com", 'Principal: "*"', "WebhookPermission.Principal"),
    Mistake("no point-in-time recovery", "checkov", "PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false", "CKV_AWS_28"),
]


def main() -> int:
    source, folder = map(Path, sys.argv[1:])
    template = source.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    missed = 0
    for number, mistake in enumerate(MISTAKES, 1):
        if mistake.found not in template:
            print(f"{mistake.what}: {mistake.found.strip()!r} isn't in {source.name} any more: adapt {Path(__file__).name}")
            missed += 1
            continue
        copy = folder / f"{number}.yaml"
        copy.write_text(template.replace(mistake.found, mistake.replaced, 1))
        said = run(mistake.step, copy, copy.with_suffix(".json"))
        if mistake.named not in said:
            print(f"{mistake.what}: {mistake.step} doesn't say {mistake.named!r}, but {said.strip() or 'nothing'!r}")
            missed += 1
    print(f"{len(MISTAKES) - missed} of {len(MISTAKES)} mistakes found")
    return 1 if missed else 0


def run(step: str, source: Path, translated: Path) -> str:
    """What a step says about a template; nothing if it is content."""
    problems = translate(source, translated)
    if step == "translate" or problems:
        return "\n".join(problems)
    match step:
        case "cfn-lint":
            findings = cloudformation.findings(translated)
        case "rules":
            findings = rules.findings(translated)
        case _:
            checkov = [sys.executable, Path(sys.executable).with_name("checkov")]
            arguments = ["--config-file", HERE.parents[1] / "checkov.yaml", "--file", translated]
            result = subprocess.run([*checkov, *arguments], capture_output=True, text=True, check=False)
            return result.stdout if result.returncode != 0 else ""
    return "\n".join(finding.line(source) for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
