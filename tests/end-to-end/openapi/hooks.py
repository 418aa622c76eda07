"""Signs schemathesis' calls as a partner's platform does, with botocore, and counts the answers by operation.

Reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; writes the counts to the file ANSWERS.
"""

import atexit
import collections
import json
import os

import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SIGNER = SigV4Auth(
    Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]),
    "execute-api",
    os.environ["AWS_REGION"],
)
# What the HTTP client adds on its way isn't signed.
UNSIGNED = {"connection", "accept-encoding", "user-agent", "content-length"}

answers: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)


class Sign(requests.auth.AuthBase):
    def __call__(self, request):
        headers = {name: value for name, value in request.headers.items() if name.lower() not in UNSIGNED}
        signed = AWSRequest(method=request.method, url=request.url, data=request.body or b"", headers=headers)
        SIGNER.add_auth(signed)
        request.headers.update({name: signed.headers[name] for name in ("Authorization", "X-Amz-Date")})
        return request


schemathesis.auth.set_from_requests(Sign())


@schemathesis.hook
def after_call(context, case, response):
    answers[case.operation.label][str(response.status_code)] += 1


@atexit.register
def write():
    with open(os.environ["ANSWERS"], "w") as file:
        json.dump(answers, file, indent=1, sort_keys=True)
