"""Runs an installed fail2ban's own filter over lines, for comparison.

original.py ROOT   where ROOT holds usr/lib/python3/dist-packages (and etc/fail2ban for "filter").
One JSON object per line in, one out:
  {"filter": name, "options": {}}              -> the expanded options
  {"new": {options}, "zone": TZ, "now": epoch} -> {}: a fresh filter
  {"now":, "op": bool, "all": bool, "findtime": bool, "lines": [..]} -> per line the hits, or an error
Two things are as in the newest version, whatever the installed one: the date
template of basic ISO form, and unset groups of a failregex, which do not hide
those of the prefregex.
"""
import json
import os
import signal
import sys
import time

import installed

os.environ["TZ"] = "UTC0"
time.tzset()
from fail2ban.server import datedetector, strptime, utils  # noqa: E402
from fail2ban.server.filter import Filter  # noqa: E402
from fail2ban.server.mytime import MyTime  # noqa: E402

installed.quiet()


class Clock:
    """Stands in for the time module where caches and detectors ask it."""

    now = 0

    @staticmethod
    def time():
        return Clock.now

    @staticmethod
    def sleep(_):
        pass


utils.time = Clock
datedetector.time = Clock
defaults = datedetector.DateDetectorCache.DEFAULT_TEMPLATES
newest = r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?"
defaults[:] = [newest if t.startswith("%ExY%Exm%Exd(?:") else t for t in defaults]


def set_now(now):
    Clock.now = now
    MyTime.setAlternateNow(now)
    MyTime.setTime(now)


def plain(v):
    if v is None or isinstance(v, (str, int, float)):
        return v
    if isinstance(v, (set, frozenset)):
        return sorted(v)
    return str(v)


def fresh(case):
    os.environ["TZ"] = case["zone"]
    time.tzset()
    set_now(case["now"])
    # Counts kept for the whole process, here for one filter.
    datedetector.DD_patternCache.clear()
    for template in datedetector.DateDetector._defCache.templates:
        template.hits = 0
    spec = case["new"]
    flt = Filter(None)
    flt.active = True
    flt.setUseDns(spec["usedns"])
    if spec.get("logtimezone") is not None:
        flt.setLogTimeZone(spec["logtimezone"])
    flt.setFindTime(spec["findtime"])
    flt.setMaxLines(spec["maxlines"])
    if spec.get("prefregex"):
        flt.prefRegex = spec["prefregex"]
    for text in spec["failregex"]:
        flt.addFailRegex(text)
    for text in spec["ignoreregex"]:
        flt.addIgnoreRegex(text)
    if spec["journal"]:
        flt.setDatePattern(None)
    elif spec.get("datepattern"):
        flt.setDatePattern(spec["datepattern"])
    if flt.prefRegex:
        for regex in flt._Filter__failRegex:
            regex.getGroups = lambda old=regex.getGroups: {k: v for k, v in old().items() if v is not None}
    return flt


def hit(row, now, findtime):
    index, fid, when, data = row
    if findtime and when is not None and when > now:
        when = now
    matches = [m if isinstance(m, str) else "".join(m) for m in data.get("matches", ())]
    skip = ("matches", "nofail-matches", "mlfpending", "ip")
    groups = {k: plain(v) for k, v in data.items() if k not in skip and v is not None}
    ip = data.get("ip")
    return [index, None if fid is None else str(fid), when, None if ip is None else str(ip), groups, matches]


def dates(flt):
    return [[t.template.name, t.hits] for t in flt.dateDetector.templates] if flt.dateDetector else []


def hang(*_):
    raise TimeoutError("more than 5 s for one line")


def main():
    flt = None
    for line in sys.stdin:
        case = json.loads(line)
        if "filter" in case:
            answer = installed.expanded(case["filter"], case["options"])
        elif "new" in case:
            flt = fresh(case)
            answer = {}
        else:
            answer = {"lines": look(flt, case), "dates": dates(flt)}
        print(json.dumps(answer), flush=True)


def look(flt, case):
    set_now(case["now"])
    flt.inOperation = case["op"]
    flt.checkAllRegex = case["all"]
    flt.checkFindTime = case["findtime"]
    flt.ignorePending = not case["all"]
    answer = []
    for text in case["lines"]:
        signal.alarm(5)
        try:
            stamp = case.get("stamp")
            if stamp is None:
                rows = flt.processLine(text)
            else:
                rows = flt.processLine(("", case["shown"], text), stamp)
            answer.append({"hits": [hit(r, case["now"], case["findtime"]) for r in rows]})
        except Exception as e:
            answer.append({"error": "%s: %s" % (type(e).__name__, e)})
    signal.alarm(0)
    return answer


signal.signal(signal.SIGALRM, hang)
if __name__ == "__main__":
    main()
