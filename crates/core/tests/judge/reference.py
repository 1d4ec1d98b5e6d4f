#!/usr/bin/python3
"""Writes random scenarios with what the original makes of them.

    reference.py --f2b DIR [--seed N] [--count M] > FILE.txt

DIR holds an installed "fail2ban" package (1.0.2 or newer); nothing of it is
copied. The scenarios are in the language of ../scenarios/README.md; run them with

    STOCKADE_SCENARIOS=FOLDER cargo test -p stockade-core --test judge

The original's threads do not run: failures, bans, its observer and its unban
check are called one after the other, its cleanup before each failure (the
canonical order of ours), under its own test clock.
"""
import argparse, logging, os, random, sys

BEGIN = 1767225600                # 2026-01-01 00:00:00 UTC, 0s of a scenario


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--f2b", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    return parser.parse_args()


class Direct:
    """Does at once what the original's observer thread would do soon."""

    def __init__(self, observer):
        self.observer = observer

    def add(self, event, *args):
        getattr(self.observer, event)(*args)

    def add_timer(self, *_):
        pass


class Run:
    def __init__(self, rnd, title):
        self.rnd, self.out, self.now = rnd, ["== " + title], 0
        self.db = Fail2BanDb(":memory:")
        self.db.purgeage = 10 * 365 * 86400
        self.jails, self.opts, self.made, self.order = {}, {}, {}, 0
        self.restarts = rnd.random() < 0.5
        self.ids = ["192.0.2.%d" % n for n in range(1, 5)] + ["2001:db8::1", "bob"]
        for name in ["web"] if rnd.random() < 0.7 else ["web", "mail"]:
            self.add_jail(name)

    def say(self, text, timed=False):
        self.out.append(("%7ss  " % self.now if timed else " " * 10) + text)

    def add_jail(self, name):
        rnd = self.rnd
        opts = {"maxretry": rnd.choice([1, 2, 3, 3, 5, 8]), "findtime": rnd.choice([60, 600, 3600]),
                "bantime": rnd.choice([-1, 30, 60, 600, 600, 3600])}
        if rnd.random() < 0.6:
            opts["increment"] = "yes"
            for key, values in (("factor", ["1", "2", "0.5", "1.5"]), ("multipliers", ["1 2 4 8", "1 5 30 60", "2", "1 1 1"]),
                                ("maxtime", ["5000", "300", "100"]),
                                ("formula", ["ban.Time * (ban.Count + 1)", "ban.Time + 60 * ban.Count * banFactor",
                                             "ban.Time * 2 ** ban.Count if ban.Count < 3 else 10 * ban.Time",
                                             "max(ban.Time, 100) * 3 // 2", "ban.Time << ban.Count"])):
                if rnd.random() < 0.3:
                    opts[key] = rnd.choice(values)
            if "formula" in opts and "<<" in opts["formula"]:
                opts.pop("factor", None)
            if rnd.random() < 0.4:
                opts["overalljails"] = "yes"
        self.opts[name] = opts
        self.out.append("jail %s maxmatches=0 guard=off ignoreself=no %s" % (
            name, " ".join('%s="%s"' % item if " " in str(item[1]) else "%s=%s" % item for item in opts.items())))
        self.make(name)

    def make(self, name):
        opts = self.opts[name]
        jail = Jail(name, backend="polling", db=self.db)
        jail.isAlive = lambda: True
        self.db.addJail(jail)
        jail.filter.ignoreSelf = False
        jail.filter.setMaxRetry(opts["maxretry"])
        jail.filter.setFindTime(opts["findtime"])
        jail.filter.failManager.maxMatches = 0
        jail.actions.setBanTime(opts["bantime"])
        for key in ("increment", "factor", "formula", "multipliers", "maxtime", "overalljails"):
            if key in opts:
                value = opts[key]
                jail.setBanTimeExtra(key, {"yes": "true"}.get(value, value))
        self.jails[name] = jail

    def bans(self, jail):
        manager = jail.actions.banManager
        return {str(t.getID()): (t, t.getEndOfBanTime(manager.getBanTime()), t.getTime()) for t in manager}

    def seconds(self, value):
        return ("%.6f" % value).rstrip("0").rstrip(".")

    def until(self, end):
        return "never" if end == BanTicket.MAX_TIME else self.seconds(end - BEGIN) + "s"

    def check(self, name, tickets=None):
        """Lets the jail ban what waits and says what came of it."""
        jail = self.jails[name]
        before = self.bans(jail)
        count = jail.actions._Actions__checkBan(tickets)
        after = self.bans(jail)
        for id, (ticket, end, start) in after.items():
            if id not in before:
                self.say("> ban %s jail=%s %s" % (id, name, self.facts(ticket, end, start)))
            elif end != before[id][1]:
                self.say("> prolong %s jail=%s until=%s" % (id, name, self.until(end)))
                # The original forgets this at a restart; we do not.
                with self.db._lock:
                    self.db._db.execute("UPDATE bips SET bantime = ? WHERE ip = ? AND jail = ?",
                                        (ticket.getBanTime(), id, name))
        return count

    def facts(self, ticket, end, start):
        return "from=%ss until=%s count=%d failures=%d" % (
            self.seconds(start - BEGIN), self.until(end), ticket.getBanCount(), ticket.getAttempt())

    def pass_time(self, step):
        self.now += step
        MyTime.setTime(BEGIN + self.now)
        gone = []
        for name, jail in self.jails.items():
            before = self.bans(jail)
            rank = {id: n for n, id in enumerate(before)}
            # It only looks again at the end it knows, too late if a ban was shortened.
            jail.actions.banManager._nextUnbanTime = 0
            jail.actions._Actions__checkUnBan(1 << 30)
            after = self.bans(jail)
            gone += [(before[id][1], self.made.get((name, id), 0), id, name) for id in rank if id not in after]
        for n, (end, _, id, name) in enumerate(sorted(gone)):
            self.say("> some unban %s jail=%s" % (id, name), timed=n == 0)

    def note(self, name):
        for id in self.bans(self.jails[name]):
            if (name, id) not in self.made:
                self.order += 1
                self.made[(name, id)] = self.order
        for key in [key for key in self.made if key[0] == name and key[1] not in self.bans(self.jails[name])]:
            del self.made[key]

    def fail(self, name, id, date):
        jail = self.jails[name]
        manager = jail.filter.failManager
        manager.cleanup(MyTime.time())
        jail.filter._nextSvc = MyTime.time() + 1e9
        self.say("fail %s in=%s%s" % (id, name, "" if date == self.now else " dated=%ds" % date), timed=True)
        ticket = FailTicket(IPAddr(id), BEGIN + date, data={"failures": 0, "matches": ["x"]})
        attempts = manager.addFailure(ticket)
        if attempts >= manager.getMaxRetry():
            jail.filter.performBan(ticket.getID())
        Observers.Main.add("failureFound", jail, ticket)
        self.check(name)
        self.count(name, id)

    def count(self, name, id):
        found = [t for t in self.jails[name].filter.failManager._FailManager__failList.values() if str(t.getID()) == id]
        retry = found[0].getRetry() if found else None
        self.say("> count %s %s in=%s" % (id, "none" if retry is None else self.seconds(retry), name))

    def step(self):
        rnd = self.rnd
        self.pass_time(rnd.choice([0, 0, 1, 5, 20, 59, 100, 299, 300, 301, 600, 601, 1000, 5000]))
        name = rnd.choice(list(self.jails))
        jail = self.jails[name]
        for each in self.jails:
            self.note(each)
        id = rnd.choice(self.ids)
        kind = rnd.random()
        if kind < 0.75:
            date = self.now if rnd.random() < 0.8 else self.now - rnd.choice([1, 10, 100, 700])
            last = max([row[1] for row in self.db.getBan(IPAddr(id), overalljails=True)] or [0]) - BEGIN
            if self.restarts and date <= last:
                # A ban from a line not newer than the last ban is not stored by the original.
                return
            self.fail(name, id, date)
        elif kind < 0.83:
            if rnd.random() < 0.5:
                self.say("ban %s in=%s" % (id, name), timed=True)
                count = self.check(name, [BanTicket(IPAddr(id), MyTime.time())])
            else:
                other = rnd.choice([20, 700, -1])
                self.say("ban %s in=%s for=%d" % (id, name, other), timed=True)
                ticket = BanTicket(IPAddr(id), MyTime.time())
                ticket.setBanTime(other)
                count = self.check(name, [ticket])
            self.say("> reply banned %d%s" % (count, "" if count else " already " + id))
        elif kind < 0.93:
            self.say("unban %s in=%s" % (id, name), timed=True)
            banned = id in self.bans(jail)
            known = list(self.db.getBan(IPAddr(id), jail))
            jail.actions.removeBannedIP(id, ifexists=True)
            if banned:
                self.say("> lift %s jail=%s" % (id, name))
            elif known:
                self.say("> forget %s jail=%s" % (id, name))
            self.say("> reply unbanned " + ("1" if banned else "0 absent " + id))
        elif self.restarts:
            self.say("restart without-snapshot", timed=True)
            for name in self.jails:
                self.make(name)
            for name, jail in self.jails.items():
                jail.restoreCurrentBans()
                while jail.hasFailTickets:
                    jail.actions._Actions__checkBan()
                # In the original in the order of its database, with us in that of the bans.
                for id, (ticket, end, start) in self.bans(jail).items():
                    self.say("> some restore %s jail=%s %s" % (id, name, self.facts(ticket, end, start)))
        for each in self.jails:
            self.note(each)


def main():
    args = options()
    for n in range(args.count):
        seed = args.seed * 1000003 + n
        MyTime.setTime(BEGIN)
        run = Run(random.Random(seed), "the original, seed %d" % seed)
        for _ in range(60):
            run.step()
        run.pass_time(0)
        print("\n".join(run.out))
        print()


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    sys.path.insert(0, options().f2b)
    logging.getLogger("fail2ban").setLevel(logging.CRITICAL + 1)
    from fail2ban.server.actions import Actions
    from fail2ban.server.database import Fail2BanDb
    from fail2ban.server.ipdns import IPAddr
    from fail2ban.server.jail import Jail
    from fail2ban.server.mytime import MyTime
    from fail2ban.server.observer import ObserverThread, Observers
    from fail2ban.server.ticket import BanTicket, FailTicket
    Observers.Main = Direct(ObserverThread())
    ObserverThread.add_timer = lambda *_: None
    main()
