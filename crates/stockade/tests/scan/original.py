"""What an installed fail2ban's own classes find in logs, for comparison with `scan`.

original.py ROOT   one JSON object per line in; out one JSON list per line, rows as `scan --json` has them.
Keys: name and options of a stock filter, or jail, or spec (options as they stand); zone, now, logs, all, groups,
journal, partial, usedns, ban [maxretry, findtime, bantime]; ignoreregex, datepattern and prefregex beside those
of the filter.
A filter that can't be built gives {"refused": ..} alone. A line that the original gives up, or needs more than 5 s for, ends the list with {"error": .., "line": ..}.
"""
import json
import os
import signal
import sys
import time

import installed

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../core/tests/matcher_original"))
import original  # noqa: E402
from fail2ban.client.filterreader import FilterReader  # noqa: E402
from fail2ban.client.jailreader import JailReader  # noqa: E402
from fail2ban.helpers import extractOptions  # noqa: E402
from fail2ban.server import strptime  # noqa: E402
from fail2ban.server.filter import FileContainer  # noqa: E402
from fail2ban.server.mytime import MyTime  # noqa: E402
from fail2ban.server.ticket import FailTicket  # noqa: E402

HIDDEN = {"matches", "ip", "user", "users", "fid", "ip4", "ip6", "dns", "nofail-matches", "mlfid"}


def options_of(case):
    backend = "systemd" if case["journal"] else "auto"
    if case.get("spec"):
        return dict(case["spec"])
    if case.get("jail"):
        reader = JailReader(case["jail"], force_enable=True, basedir=installed.tree)
        reader.read()
        if not reader.getOptions(addOpts={"backend": backend}):
            raise ValueError("jail %s: %s" % (case["jail"], reader.options))
        stream = reader.convert(allow_no_files=True)
    else:
        name, given = extractOptions(case["filter"])
        reader = FilterReader(name, "jail", dict(given or {}), basedir=installed.tree)
        reader.read()
        reader.applyAutoOptions(backend)
        reader.getOptions({})
        stream = reader.convert()
    spec = {"failregex": [], "ignoreregex": [], "prefregex": None, "datepattern": None, "maxlines": 1, "logtimezone": None}
    for command in stream:
        if command[0] not in ("set", "multi-set"):
            continue
        values = command[3] if command[0] == "multi-set" else command[3:4]
        for value in values:
            if command[2] in ("addfailregex", "addignoreregex"):
                spec[command[2][3:]].append(value)
            elif command[2] in spec:
                spec[command[2]] = int(value) if command[2] == "maxlines" else value
    return spec


def row(number, found, case):
    index, fid, when, data = found
    out = {"line": number, "id": str(fid), "time": None if when is None else round(when, 6), "regex": index}
    ip = data.get("ip")
    if ip is not None and str(ip) != str(fid):
        out["ip"] = str(ip)
    if data.get("user") is not None:
        out["user"] = original.plain(data["user"])
    if data.get("users"):
        out["users"] = original.plain(data["users"])
    out["n"] = len(data.get("matches") or ())
    if case["groups"]:
        groups = {k: original.plain(v) for k, v in data.items() if k not in HIDDEN and v is not None}
        if groups:
            out["g"] = groups
    return out


class Bans:
    """The failure counter alone, its clock at each failure's own time."""

    def __init__(self, flt, limits):
        self.manager, self.limits, self.until = flt.failManager, limits, {}
        self.manager.setMaxRetry(limits[0])
        self.manager.setMaxTime(limits[1])

    def count(self, number, found):
        fid, when = found[1], found[2]
        MyTime.setTime(when)
        # Canonical: what is findtime old is gone before each touch.
        self.manager.cleanup(when)
        if self.manager.addFailure(FailTicket(fid, when, data=dict(found[3]))) < self.limits[0]:
            return []
        ticket = self.manager.toBan(fid)
        out = {"ban": str(fid), "line": number, "time": round(ticket.getTime(), 6), "fails": ticket.getAttempt()}
        if self.until.get(str(fid), 0) > ticket.getTime():
            out["already"] = True
        else:
            self.until[str(fid)] = ticket.getTime() + self.limits[2]
        return [out]


def scan(case):
    spec = options_of(case)
    spec["ignoreregex"] = spec["ignoreregex"] + case.get("ignoreregex", [])
    for key in ("datepattern", "prefregex"):
        spec[key] = case.get(key) or spec.get(key)
    spec.update(usedns=case["usedns"], findtime=600, journal=False)
    flt = original.fresh({"new": spec, "zone": case["zone"], "now": case["now"]})
    strptime._updateTimeRE()
    flt.checkFindTime = False
    flt.checkAllRegex = case["all"]
    bans = Bans(flt, case["ban"]) if case.get("ban") else None
    out, ids, number, matched = [], set(), 0, 0
    for path in case["logs"]:
        log = FileContainer(path, case.get("encoding") or "UTF-8", doOpen=True)
        log.waitForLineEnd = not case["partial"]
        for line in log:
            number += 1
            signal.alarm(5)
            try:
                if case["journal"]:
                    shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(case["now"]))
                    rows = flt.processLine(("", shown, line), case["now"])
                else:
                    rows = flt.processLine(line)
            except Exception as e:
                out.append({"error": "%s: %s" % (type(e).__name__, e), "line": number})
                return out
            finally:
                signal.alarm(0)
            for found in rows:
                if found[1] is None or found[3].get("nofail"):
                    continue
                matched += 1
                ids.add(str(found[1]))
                out.append(row(number, found, case))
                if bans and found[2] is not None:
                    out += bans.count(number, found)
    out.append({"sum": {"lines": number, "matched": matched, "ids": len(ids)}})
    return out


for line in sys.stdin:
    case = json.loads(line)
    if "list" in case:
        names = sorted(f[:-5] for f in os.listdir(os.path.join(installed.tree, "filter.d")) if f.endswith(".conf"))
        answer = [n for n in names if not n.endswith("common")]
    else:
        try:
            answer = scan(case)
        except Exception as e:
            answer = [{"refused": "%s: %s" % (type(e).__name__, e)}]
    print(json.dumps(answer), flush=True)
