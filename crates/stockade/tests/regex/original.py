"""Runs an installed fail2ban-regex many times, its modules loaded once: a child for each call.

original.py ROOT NAME   one JSON list of words per line in; out per line {"code", "out", "err"}.
"""
import json
import os
import sys
import tempfile

import installed

name = sys.argv[2]
from fail2ban.client import fail2banregex  # noqa: E402

for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv[:] = [name] + json.loads(line)
            # Leaves by sys.exit or a traceback, as the program would.
            fail2banregex.exec_command_line()
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    print(json.dumps({"code": code, "out": texts[0], "err": texts[1]}), flush=True)
