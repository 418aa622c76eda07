"""Runs MiniStack for infra/local: `python -c <this> <folder for the functions' output>`."""

import os
import socketserver
import sys

logs = sys.argv.pop(1)

# Without it every invocation waits 40 ms for a delayed acknowledgement.
socketserver.StreamRequestHandler.disable_nagle_algorithm = True

from ministack.app import main  # noqa: E402
from ministack.core.lambda_runtime import ProvidedWorker  # noqa: E402

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

main()
