"""Drives the original's own, unmodified client in one process, and its raw protocol.

Reads JSON from standard input: {"conf": DIR, "socket": PATH, "steps": [...]}, where a
step is {"client": [WORDS]}, {"raw": COMMAND}, {"until": [COMMAND, ANSWER]}, or {"grown": [FILE]}. Writes one JSON object per step:
what the client printed and its exit code, or the answer with the types of all its parts.
"""

import io
import json
import os
import pickle
import socket
import sys
import tempfile
import time

from fail2ban.client import fail2banclient, fail2banregex  # noqa: F401 (loaded once for all)


def typed(value):
    """A value with the names of its types, so that 1, True and '1' differ."""
    if isinstance(value, BaseException):
        return {"exception": type(value).__module__ + "." + type(value).__name__, "args": typed(list(value.args))}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__] + [typed(v) for v in value]
    if isinstance(value, dict):
        return ["dict"] + [[typed(k), typed(v)] for k, v in value.items()]
    return [type(value).__name__, repr(value) if isinstance(value, float) else value]


def raw(path, command):
    """The answer of the server, decoded by Python itself."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(30)
        stream.connect(path)
        stream.sendall(pickle.dumps(command, pickle.HIGHEST_PROTOCOL) + b"<F2B_END_COMMAND>")
        data = b""
        while not data.endswith(b"<F2B_END_COMMAND>"):
            part = stream.recv(65536)
            if not part:
                return {"closed": len(data)}
            data += part
        stream.sendall(b"<F2B_CLOSE_COMMAND><F2B_END_COMMAND>")
    return {"answer": typed(pickle.loads(data))}


def until(path, command, wanted):
    """Asks again until the answer is the one that is waited for."""
    end = time.monotonic() + 10
    while True:
        answer = raw(path, command)
        if answer.get("answer") == typed((0, wanted)) or time.monotonic() > end:
            return answer
        time.sleep(0.02)


def grown(path, seen):
    """The lines that a file got since the last look; waits a moment for the first ones."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        text = open(path).read() if os.path.exists(path) else ""
        if len(text) > seen.get(path, 0) and text.endswith("\n"):
            break
        time.sleep(0.02)
    new, seen[path] = text[seen.get(path, 0):], len(text)
    return {"grown": new.splitlines()}


def client(conf, words):
    """One call of the client, in a child of its own."""
    return call(["-c", conf] + words)


def call(words):
    """The same with all words said."""
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding="utf-8", line_buffering=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), encoding="utf-8", line_buffering=True)
        code = 70
        try:
            argv = ["fail2ban-client"] + words
            sys.argv = argv
            fail2banclient.exec_command_line(argv)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        finally:
            for stream in (sys.stdout, sys.stderr):
                if not stream.closed:
                    stream.flush()
            os._exit(code & 255)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in (out, err):
        file.seek(0)
        texts.append(file.read().decode("utf-8", "replace"))
    return {"out": texts[0], "err": texts[1], "code": code}


def main():
    task, seen = json.load(sys.stdin), {}
    for step in task["steps"]:
        if "until" in step:
            result = until(task["socket"], *step["until"])
        elif "grown" in step:
            result = grown(step["grown"][0], seen)
        elif "raw" in step:
            result = raw(task["socket"], step["raw"])
        else:
            result = client(task["conf"], step["client"])
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
