"""The first process of a machine with a whole Debian root: all jails of its stock tree, and every question about them.

Reads JSON from standard input: {"steps": [{"client": WORDS} | {"raw": WORDS}, ..], "few": [JAILS]}. The client is the
root's own, unmodified; which server it starts is up to who made the machine. A word J in a step stands for each of the
few jails in turn, A for their first action. Writes one JSON object per question: its words and what came back.
"""

import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

from drive import call, raw, typed
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


def ask_all(requests):
    """Many questions at once on one connection, as monitoring does; the answers come in their order."""
    end, data, answers = b"<F2B_END_COMMAND>", b"", []
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(120)
        stream.connect(SOCKET)
        stream.sendall(b"".join(pickle.dumps(words) + end for words in requests))
        while len(answers) < len(requests):
            part = stream.recv(65536)
            if not part:
                break
            *whole, data = (data + part).split(end)
            answers.extend({"answer": typed(pickle.loads(one))} for one in whole)
    for words, answer in zip(requests, answers):
        tell(["raw"] + words, answer)
    return [answer["answer"][-1] for answer in answers]


def client(words):
    tell(["client"] + words, call(list(words)))


def other_client(words):
    """Our client at the same server, if there is one to compare with."""
    done = subprocess.run(["/run/stage/bin/fail2ban-client"] + words, capture_output=True, text=True)
    tell(["ours"] + words, {"out": done.stdout, "err": done.stderr, "code": done.returncode})


def settle(names):
    """Waits until no count of these jails has changed for longer than the original's threads sleep."""
    end, since, last = time.monotonic() + 60, time.monotonic(), None
    while time.monotonic() - since < 1.7 and time.monotonic() < end:
        counts = [raw(SOCKET, ["status", name, "short"]).get("answer") for name in names]
        if counts != last:
            since, last = time.monotonic(), counts
        time.sleep(0.2)


def texts(answer):
    """The strings of a list with the names of types."""
    return [item[1] for item in answer[1:]] if isinstance(answer, list) else []


class Listener(threading.Thread):
    """A logger's socket, read at all times: a server that logs must not wait for us while we wait for it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.stream.bind(path)
        self.entries = queue.Queue()
        self.start()

    def run(self):
        while True:
            data, parts, _, _ = socket.recv_fds(self.stream, 65536, 1)
            if not data and parts:
                with os.fdopen(parts[0], "rb") as file:
                    file.seek(0)
                    data = file.read()
            self.entries.put(data)

    def heard(self, shown):
        """The datagram about a ban or its end, among all that come; none after a while."""
        end = time.monotonic() + 10
        while True:
            try:
                data = self.entries.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return None
            if shown.encode() in data:
                return data.decode().rstrip("\0\n")


def lines(path, shown):
    """How often a file says something; waits a moment for the first time."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [line for line in open(path) if shown in line] if os.path.exists(path) else []
        if found:
            return len(found)
        time.sleep(0.05)
    return 0


def targets(name):
    """Every place where the log can go, by the lines that come out there."""
    ids = iter("198.51.100.%d" % n for n in range(100, 200))

    def ban():
        id = next(ids)
        ask(["set", name, "banip", id])
        return "Ban " + id

    syslog, journal = Listener("/dev/log"), Listener("/run/systemd/journal/socket")
    client(["set", "syslogsocket", "auto"])
    for target in ("SYSLOG", "SYSLOG[facility=auth]", "SYSLOG[facility=local3, padding=on, datetime=on]"):
        # Of two targets of one kind the original only sees the first.
        ask(["set", "logtarget", "/var/log/fail2ban.log"])
        ask(["set", "logtarget", target])
        tell(["syslog", target], syslog.heard(ban()))
        client(["flushlogs"])
    ask(["set", "logtarget", "SYSTEMD-JOURNAL"])
    entry = journal.heard(ban()) or ""
    fields = dict(line.split("=", 1) for line in entry.split("\n") if "=" in line)
    tell(["journal"], {key: fields.get(key) for key in ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "LOGGER")})
    client(["flushlogs"])
    client(["get", "logtarget"])
    # Files: rotated, then told by the client; rotated, then told by a signal.
    here = "/var/log/second.log"
    client(["set", "logtarget", here])
    first = ban()
    tell(["file"], lines(here, first))
    os.rename(here, here + ".1")
    client(["flushlogs"])
    second = ban()
    tell(["rotated"], [lines(here, second), lines(here + ".1", first), sum(second in line for line in open(here + ".1"))])
    os.rename(here, here + ".2")
    with open("/var/run/fail2ban/fail2ban.pid") as pid:
        os.kill(int(pid.read()), signal.SIGUSR1)
    end = time.monotonic() + 10
    while not os.path.exists(here) and time.monotonic() < end:
        time.sleep(0.05)
    third = ban()
    tell(["signalled"], [lines(here, third), lines(here + ".2", second), oct(os.stat(here).st_mode & 0o777)])
    client(["set", "logtarget", "/nowhere/at/all.log"])
    client(["set", "logtarget", "/var/log/fail2ban.log"])


def everything(names):
    flavors = ("basic", "short", "stats")
    options = "loglevel logtarget syslogsocket thread dbfile dbmaxmatches dbpurgeage".split()
    ask_all([["get", option] for option in options] + [["status", "--all", flavor] for flavor in flavors])
    for name in names:
        ask_all([["status", name, flavor] for flavor in flavors] + [["get", name, option] for option in OPTIONS])
        for action in texts(ask(["get", name, "actions"])):
            _, things = ask_all([["get", name, kind, action] for kind in ("actionmethods", "actionproperties")])
            shown = [thing for thing in texts(things) if thing not in ("ESCAPE_CRE", "ESCAPE_VN_CRE", "banEpoch")]
            ask_all([["get", name, "action", action, thing] for thing in shown])


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
            settle(few)
            continue
        for name in few if "J" in words else [None]:
            action = texts(raw(SOCKET, ["get", name, "actions"]).get("answer", [0, 0, 0])[-1]) if "A" in words else []
            these = [name if w == "J" else (action or ["?"])[0] if w == "A" else w for w in words]
            (ask if kind == "raw" else client)(these)
    client(["reload"])
    client(["status"])
    targets(few[0])
    client(["stop"])
    end = time.monotonic() + 20
    while (os.path.exists(SOCKET) or os.path.exists("/var/run/fail2ban/fail2ban.pid")) and time.monotonic() < end:
        time.sleep(0.05)
    tell(["left"], [os.path.exists(SOCKET), os.path.exists("/var/run/fail2ban/fail2ban.pid")])


main()
