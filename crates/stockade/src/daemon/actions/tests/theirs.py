"""The original's own actions, doing what a list of jobs says.

Usage: theirs.py specs CONFIG < names and options as JSON lines
       theirs.py run JOBS

Writes one JSON line per answer.
"""

import json
import os
import sys
import threading

sys.path.insert(0, os.environ.get("F2B_PACKAGES", ""))

from fail2ban.client.actionreader import ActionReader  # noqa: E402
from fail2ban.helpers import getLogger  # noqa: E402
from fail2ban.server.ipdns import DNSUtils, IPAddr  # noqa: E402
from fail2ban.server.jail import Jail  # noqa: E402
from fail2ban.server.mytime import MyTime  # noqa: E402
from fail2ban.server.ticket import BanTicket  # noqa: E402

import logging  # noqa: E402


class Keep(logging.Handler):
    """Keeps what is said at ERROR and above, without the numbers of commands."""

    def __init__(self):
        super().__init__(logging.NOTSET)
        self.lines = []

    def emit(self, record):
        self.lines.append((record.levelname, record.name, record.getMessage()))


def specs(config):
    for line in sys.stdin:
        name, options = json.loads(line)
        reader = ActionReader(name, "jail", options, basedir=config)
        if not reader.read():
            print(json.dumps({"name": name, "error": "can't be read"}))
            continue
        reader.getOptions({})
        properties, python = [], None
        for command in reader.convert():
            if "addaction" in command:
                python = command[4:6] or None
            elif command[0] == "multi-set":
                properties.extend(command[-1])
            else:
                properties.append(command[-2:])
        print(json.dumps({"name": name, "properties": properties, "python": python}))


def record():
    with open("/record", "r+", encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
        file.seek(0)
        file.truncate()
    return text


class Run:
    """One job: a jail with some actions."""

    def __init__(self, job, keep):
        self.keep = keep
        self.job = job
        self.now = job["now"]
        self.banned = []
        self.open()

    def open(self):
        job = self.job
        self.jail = Jail(job["jail"], backend="polling", db=None)
        self.jail.actions.setBanTime(job["bantime"])
        self.actions = self.jail.actions
        self.tickets = {}
        for action in job["actions"]:
            self.actions.add(action["name"])
            for name, value in action["properties"]:
                setattr(self.actions[action["name"]], name, value)

    def do(self, step):
        self.now += 10
        MyTime.setTime(self.now)
        self.keep.lines.clear()
        getattr(self, "do_" + step["op"])(step)
        said = [line for line in self.keep.lines if line[0] in ("ERROR", "CRITICAL", "NOTICE")]
        return {"record": record(), "said": said}

    def do_fail(self, step):
        with open("/fail", "w", encoding="utf-8") as file:
            file.write(step["pattern"])

    def do_sh(self, step):
        os.spawnv(os.P_WAIT, "/bin/dash", ["dash", "-c", step["text"]])

    def do_start(self, step):
        for name, action in self.actions._actions.items():
            try:
                action.start()
            except Exception as e:
                getLogger("fail2ban.actions").error(
                    "Failed to start jail '%s' action '%s': %s", self.jail.name, name, e)

    def ticket(self, step):
        ticket = BanTicket(step["id"], step["time"], step["matches"], dict(step["data"]))
        ticket.setAttempt(step["failures"])
        if step.get("restored"):
            ticket.restored = True
            ticket.setBanCount(step["count"])
        return ticket

    def do_ban(self, step):
        self.actions._Actions__checkBan([self.ticket(step)])
        if step["id"] not in self.banned:
            self.banned.append(step["id"])

    do_again = do_ban

    def do_prolong(self, step):
        self.actions._Actions__checkBan([self.ticket(step)])
        # getTicketByID would take it out of the list.
        bans = self.actions.banManager._BanManager__banList
        self.actions._prolongBan(bans[IPAddr(step["id"])])

    def do_restart(self, step):
        self.do_stop(step)
        self.open()
        self.do_start(step)
        for banned in self.banned:
            ticket = BanTicket(banned, int(self.now), [])
            ticket.restored = True
            self.actions._Actions__checkBan([ticket])

    def do_unban(self, step):
        if step["id"] in self.banned:
            self.banned.remove(step["id"])
        self.actions.removeBannedIP(step["id"], db=False, ifexists=True)

    def do_flush(self, step):
        self.actions.removeBannedIP(None, db=False)

    def do_stop(self, step):
        self.actions._Actions__flushBan(stop=True)
        self.actions.stopActions()

    def do_reload(self, step):
        self.actions.reload(begin=True)
        for action in step["actions"]:
            self.actions.add(action["name"], reload=True)
            for name, value in action["properties"]:
                setattr(self.actions[action["name"]], name, value)
        self.actions.reload(begin=False)


def main():
    if sys.argv[1] == "specs":
        return specs(sys.argv[2])
    # What each version makes of a box without a network differs.
    DNSUtils.setIPv6IsAllowed(True)
    keep = Keep()
    log = getLogger("fail2ban")
    log.setLevel(logging.DEBUG)
    log.handlers = [keep]
    log.propagate = False
    with open(sys.argv[2], encoding="utf-8") as jobs:
        for job in map(json.loads, jobs):
            record()
            os.system("rm -rf /scratch; mkdir /scratch; echo > /fail")
            record()
            run = Run(job, keep)
            steps = [run.do(step) for step in job["steps"]]
            print(json.dumps({"job": job["name"], "steps": steps}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    threading.current_thread().name = "theirs"
    main()
