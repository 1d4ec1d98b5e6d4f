"""Runs an installed fail2ban's own client, one JSON request per line, without starting Python anew for each.

  driver.py DIST_PACKAGES

Request: {"program": "client" or "server", "folder": where it seems to be, "argv": [..], "stdin": TEXT}
Answer: {"code": N, "out": TEXT, "err": TEXT}; the first line is {"version": V}.
"""
import json, os, sys, tempfile

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True

from fail2ban import version
from fail2ban.client import fail2banclient, fail2banserver
import fail2ban.client.jailreader, fail2ban.client.configurator, readline

RUN = {"client": fail2banclient.exec_command_line, "server": fail2banserver.exec_command_line}


def run(request):
    files = [tempfile.TemporaryFile("w+") for _ in range(3)]
    files[0].write(request.get("stdin", ""))
    files[0].seek(0)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number, file in enumerate(files):
                os.dup2(file.fileno(), number)
            sys.argv = [os.path.join(request["folder"], "fail2ban-" + request["program"])] + request["argv"]
            RUN[request["program"]](sys.argv)
            code = 0
        except SystemExit as e:
            code = e.code
        except BaseException as e:
            os.write(2, repr(e).encode())
        finally:
            try:
                sys.stdout.flush()
            finally:
                os._exit(code or 0)
    _, status = os.waitpid(pid, 0)
    texts = []
    for file in files[1:]:
        file.seek(0)
        texts.append(file.read())
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


sys.stdout.write(json.dumps({"version": version.version}) + "\n")
sys.stdout.flush()
for line in sys.stdin:
    sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
    sys.stdout.flush()
