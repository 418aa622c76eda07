"""Runs MiniStack for infra/local: `python -c <this> <folder for the functions' output>`."""

import json
import os
import socketserver
import sys

logs = sys.argv.pop(1)

# Without it every invocation waits 40 ms for a delayed acknowledgement.
socketserver.StreamRequestHandler.disable_nagle_algorithm = True

from ministack.app import main  # noqa: E402
from ministack.core.lambda_runtime import ProvidedWorker  # noqa: E402
from ministack.services import lambda_svc  # noqa: E402

# MiniStack hands its environment to the functions; this is its own setting, not theirs.
os.environ.pop("LOG_LEVEL", None)


class Tee:
    """A function's output, copied to a file: MiniStack's logs lose lines when a function is
    chatty or killed, and we count and search in them."""

    def __init__(self, stream, name):
        self.stream = stream
        self.file = open(os.path.join(logs, name + ".log"), "ab", buffering=0)

    def readline(self):
        line = self.stream.readline()
        self.file.write(line)
        return line

    def close(self):
        self.file.close()
        self.stream.close()


pump_output = ProvidedWorker._pump_output
ProvidedWorker._pump_output = lambda self, stream, queue: pump_output(
    self, Tee(stream, self.func_name), queue
)

execute = lambda_svc._execute_function


def execute_and_heed(func, event, *more, **named):
    """MiniStack takes a batch of a stream as done, whatever the function gives back of it. Here all of it comes again,
    where on AWS it does from the first failure on."""
    result = execute(func, event, *more, **named)
    records = event.get("Records") if isinstance(event, dict) else None
    if records and records[0].get("eventSource") == "aws:dynamodb" and not result.get("error"):
        body = result.get("body")
        answer = json.loads(body) if isinstance(body, (str, bytes)) else body
        if isinstance(answer, dict) and answer.get("batchItemFailures"):
            return {**result, "error": True, "body": {"errorType": "BatchItemFailures"}}
    return result


lambda_svc._execute_function = execute_and_heed

main()
