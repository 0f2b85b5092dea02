"""Runs commands of Debian's cinder client, one a line of standard input, in one process: importing it costs a second each time.

In: {"environment": {...}, "words": [...]}; out: {"code": 0, "said": "..."}, where `said` is all that the command prints.
"""

import contextlib
import io
import json
import os
import sys

from cinderclient import shell


def run(words):
    try:
        shell.OpenStackCinderShell().main(words)
        return 0
    except SystemExit as end:
        return end.code or 0
    except Exception as failure:
        print("ERROR: %s" % failure)
        return 1


for line in sys.stdin:
    asked = json.loads(line)
    os.environ.clear()
    os.environ.update(asked["environment"])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(asked["words"])
    print(json.dumps({"code": code, "said": said.getvalue()}), flush=True)
