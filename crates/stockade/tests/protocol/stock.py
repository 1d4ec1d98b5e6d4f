"""The first process of a machine with a whole Debian root: all jails of its stock tree, and every question about them.

Reads JSON from standard input: {"steps": [{"client": WORDS} | {"raw": WORDS}, ..], "few": [JAILS]}. The client is the
root's own, unmodified; which server it starts is up to who made the machine. A word J in a step stands for each of the
few jails in turn, A for their first action. Writes one JSON object per question: its words and what came back.
"""

import json
import os
import subprocess
import sys
import time

from drive import call, raw
from fail2ban.client.jailsreader import JailsReader

TREE = "/etc/fail2ban"
SOCKET = "/var/run/fail2ban/fail2ban.sock"

# Everything that can be asked of a jail, as it is.
OPTIONS = """logpath logencoding logtimezone journalmatch ignoreself ignoreip ignorecommand ignorecache prefregex
failregex ignoreregex usedns findtime datepattern maxmatches maxretry maxlines bantime banned banip actions
bantime.increment bantime.rndtime bantime.maxtime bantime.factor bantime.formula bantime.multipliers
bantime.overalljails""".split()
# The same, as the client shows it.
SHOWN = "logpath logencoding journalmatch ignoreip failregex ignoreregex datepattern actions bantime prefregex".split()


def jails():
    """All jails of the tree, and the log files that they want; those jails that can't start are left out."""
    reader = JailsReader(basedir=TREE, force_enable=True)
    reader.read()
    reader.getOptions(None, ignoreWrong=True)
    good = {}
    for jail in reader.jails:
        paths = (jail.options or {}).get("logpath") or ""
        good[jail.getName()] = [line.split()[0] for line in paths.split("\n") if line.strip()]
    return good


def prepare():
    """Switches all jails on, with every log there and empty, and names of machines that nobody has to look up."""
    wanted = jails()
    for path in sorted(p for paths in wanted.values() for p in paths):
        path = path.replace("[0-9]", "1").replace("*", "x").replace("?", "x")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "a").close()
    os.makedirs("/var/log/journal", exist_ok=True)
    with open(TREE + "/jail.local", "w") as local:
        for name in wanted:
            local.write("[%s]\nenabled = true\n" % name)
    with open(TREE + "/fail2ban.local", "w") as local:
        local.write("[Definition]\nlogtarget = /var/log/fail2ban.log\nallowipv6 = yes\n")
    os.makedirs("/var/run/fail2ban", exist_ok=True)


def tell(words, result):
    print(json.dumps({"words": words, "result": result}), flush=True)


def ask(words):
    answer = raw(SOCKET, words)
    tell(["raw"] + words, answer)
    return (answer.get("answer") or [None, None, None])[-1]


def client(words):
    tell(["client"] + words, call(list(words)))


def other_client(words):
    """Our client at the same server, if there is one to compare with."""
    done = subprocess.run(["/run/stage/bin/fail2ban-client"] + words, capture_output=True, text=True)
    tell(["ours"] + words, {"out": done.stdout, "err": done.stderr, "code": done.returncode})


def settle():
    """Waits until no count has changed for longer than the original's threads sleep."""
    end, since, last = time.monotonic() + 60, time.monotonic(), None
    while time.monotonic() - since < 1.7 and time.monotonic() < end:
        names = raw(SOCKET, ["status"])["answer"][2][2][2][1].split(", ")
        counts = [raw(SOCKET, ["status", name, "short"]).get("answer") for name in names if name]
        if counts != last:
            since, last = time.monotonic(), counts
        time.sleep(0.2)


def texts(answer):
    """The strings of a list with the names of types."""
    return [item[1] for item in answer[1:]] if isinstance(answer, list) else []


def everything(names):
    for option in "loglevel logtarget syslogsocket thread dbfile dbmaxmatches dbpurgeage".split():
        ask(["get", option])
    for flavor in ("basic", "short", "stats"):
        ask(["status", "--all", flavor])
    for name in names:
        for flavor in ("basic", "short", "stats"):
            ask(["status", name, flavor])
        for option in OPTIONS:
            ask(["get", name, option])
        for action in texts(ask(["get", name, "actions"])):
            ask(["get", name, "actionmethods", action])
            for thing in texts(ask(["get", name, "actionproperties", action])):
                if thing not in ("ESCAPE_CRE", "ESCAPE_VN_CRE", "banEpoch"):
                    ask(["get", name, "action", action, thing])


def main():
    task = json.loads(sys.stdin.read())
    prepare()
    client(["start"])
    few = task["few"]
    names = ask(["status"])[2][2][1].split(", ")
    tell(["jails"], names)
    everything(names)
    for name in few:
        for option in SHOWN:
            for side in (client, other_client):
                side(["get", name, option])
        for words in (["status", name], ["status", name, "short"]):
            for side in (client, other_client):
                side(words)
    for words in (["status"], ["banned"], ["status", "--all"], ["get", "dbfile"]):
        for side in (client, other_client):
            side(words)
    for step in task["steps"]:
        kind, words = next(iter(step.items()))
        if kind == "settle":
            settle()
            continue
        for name in few if "J" in words else [None]:
            action = texts(raw(SOCKET, ["get", name, "actions"]).get("answer", [0, 0, 0])[-1]) if "A" in words else []
            these = [name if w == "J" else (action or ["?"])[0] if w == "A" else w for w in words]
            (ask if kind == "raw" else client)(these)
    client(["stop"])
    end = time.monotonic() + 20
    while os.path.exists(SOCKET) and time.monotonic() < end:
        time.sleep(0.05)
    tell(["left"], [os.path.exists(SOCKET), os.path.exists("/var/run/fail2ban/fail2ban.pid")])


main()
