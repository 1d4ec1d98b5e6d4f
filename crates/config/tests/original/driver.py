"""Runs an installed fail2ban's own reader and engine, one JSON request per line.

  driver.py ROOT

Requests, each with one JSON line as its answer:
  {"op": "load", "dir": D}           the stream as fail2ban-client -d would have it
  {"op": "match", "dir": D, "filter": F, "lines": [..]}   what the engine makes of log lines
  {"op": "seconds", "text": T}       a length of time
  {"op": "show", "command": [..]}    a command as -d and as --dp print it
  {"op": "own_trees", "stock": D, "to": D}   copies of the trees that its own tests read
  {"op": "ends", "dir": D}           how "fail2ban-client -t" and a start end, and what they say
"""
import json, logging, os, re, signal, sys, tempfile, time, calendar
from pprint import pformat

import installed

os.environ["TZ"] = "UTC"
time.tzset()

from fail2ban import version
from fail2ban.client.configurator import Configurator
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime
from fail2ban.helpers import extractOptions

said = []


class TooLong(BaseException):
    pass


def ring(*_):
    raise TooLong()


signal.signal(signal.SIGALRM, ring)


class Keep(logging.Handler):
    def emit(self, record):
        if len(said) < 50:
            said.append("%s %s" % (record.levelname, record.getMessage()))


log = logging.getLogger("fail2ban")
log.handlers[:] = [Keep()]
log.propagate = False
log.setLevel(logging.WARNING)


def load(request):
    del said[:]
    answer = {"stream": None, "good": False, "error": None}
    signal.alarm(120)
    try:
        c = Configurator()
        c.setBaseDir(request["dir"])
        c.readEarly()
        conf = c.getEarlyOptions()
        c.Reload()
        c.readAll()
        answer["good"] = bool(c.getOptions(None, conf, ignoreWrong=not request.get("test")))
        c.convertToProtocol(allow_no_files=request.get("no_files", True))
        answer["stream"] = c.getConfigStream()
    except (Exception, TooLong) as e:
        answer["error"] = "%s: %s" % (type(e).__name__, e)
        answer["good"] = False
    finally:
        signal.alarm(0)
    answer["said"] = list(said)
    return answer


def match(request):
    now = calendar.timegm((2026, 11, 22, 12, 0, 0))
    MyTime.setAlternateNow(now)
    MyTime.setTime(now)
    name, options = extractOptions(request["filter"])
    reader = FilterReader(name, "jail", dict(options or {}), basedir=request["dir"])
    reader.read()
    reader.applyAutoOptions("auto")
    reader.getOptions({})
    flt = Filter(None)
    flt.checkFindTime = False
    flt.active = True
    flt.setUseDns(request.get("usedns", "no"))
    for command in reader.convert():
        values = command[3] if command[0] == "multi-set" else command[3:]
        for value in values:
            if command[2] == "prefregex":
                flt.prefRegex = value
            elif command[2] == "addfailregex":
                flt.addFailRegex(value)
            elif command[2] == "addignoreregex":
                flt.addIgnoreRegex(value)
            elif command[2] == "maxlines":
                flt.setMaxLines(value)
            elif command[2] == "datepattern":
                flt.setDatePattern(value)
    out = []
    for line in request["lines"]:
        hits = [m for m in flt.processLine(line) if m[1] is not None and not m[3].get("nofail")]
        out.append([[str(m[1]), str(m[3].get("user")), m[2]] for m in hits])
    return {"failures": out}


def seconds(request):
    try:
        value = MyTime.str2seconds(request["text"])
        return {"value": str(value), "number": isinstance(value, (int, float))}
    except BaseException as e:
        return {"error": "%s" % e}


def show(request):
    return {"plain": str(request["command"]), "pretty": pformat(request["command"], width=1000, indent=2)}


def apart(work):
    """Runs something in a process of its own: its exit code and all that it says."""
    there, here = tempfile.mkstemp()
    os.unlink(here)
    child = os.fork()
    if child == 0:
        code = 250
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(there, 1)
            os.dup2(there, 2)
            log.handlers[:] = []
            code = work()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except BaseException as e:
            print("%s: %s" % (type(e).__name__, e))
        finally:
            # Its own way out closes these.
            for stream in (sys.stdout, sys.stderr):
                if not stream.closed:
                    stream.flush()
            os._exit(code or 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(there, 0, 0)
    with os.fdopen(there, "r", errors="replace") as f:
        lines = [prefix.sub("", line.rstrip()) for line in f.read(100000).split("\n")]
    return {"code": code, "said": [line for line in lines if line and "Using default one" not in line]}


# Time, logger and process id of a log line; none of them is worth comparing.
prefix = re.compile(r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} )?fail2ban[.\w]*\s*\[\d+\]: ")


def test(folder):
    """What "fail2ban-client -t" does, by its own main function."""
    from fail2ban.client.fail2banclient import exec_command_line

    return exec_command_line(["fail2ban-client", "-c", folder, "-t"])


def start(folder):
    """What a start does up to the point where jails run: reads the tree, and has a server take the stream."""
    read = load({"dir": folder, "no_files": False})
    if not read["good"]:
        for line in read["said"] + [read["error"]] * bool(read["error"]):
            print(line)
        return 255
    from fail2ban.server.server import Server

    places = ("logtarget", "syslogsocket", "thread")
    stream = [c for c in read["stream"] if c[0] != "start" and not (c[0] == "set" and c[1] in places)]
    stream = [["set", "dbfile", ":memory:"] if c[:2] == ["set", "dbfile"] else c for c in stream]
    log.handlers[:] = [Keep()]
    del said[:]
    code, answer = Server(daemon=False)._Server__transm.proceed(["server-stream", stream])
    if code == 0:
        return 0
    print("ERROR NOK: %r" % (answer.args,))
    return 255


def own_trees(request):
    """Runs the original's own tests of its reader, and keeps a copy of each tree that they have it read."""
    import shutil, unittest

    os.environ["FAIL2BAN_CONFIG_DIR"] = request["stock"]

    def work():
        import fail2ban.tests.utils as utils
        from fail2ban.client.jailsreader import JailsReader

        options = utils.DefaultTestOptions()
        options.log_level, options.no_network = "CRITICAL", True
        utils.initProcess(options)
        utils.initTests(options)
        from fail2ban.tests import clientreadertestcase

        copied, read = [], JailsReader.read

        def keeping(self):
            folder = self.getBaseDir()
            if os.path.isdir(folder) and len(copied) < 100:
                copied.append("%s/%03d" % (request["to"], len(copied)))
                shutil.copytree(folder, copied[-1])
            return read(self)

        JailsReader.read = keeping
        tests = unittest.defaultTestLoader.loadTestsFromModule(clientreadertestcase)
        unittest.TextTestRunner(verbosity=0).run(tests)
        return 0

    return apart(work)


def ends(request):
    return {"test": apart(lambda: test(request["dir"])), "start": apart(lambda: start(request["dir"]))}


sys.stdout.write(json.dumps({"version": version.version, "python": "%d.%d" % sys.version_info[:2]}) + "\n")
sys.stdout.flush()
for line in sys.stdin:
    request = json.loads(line)
    answer = {"load": load, "match": match, "seconds": seconds, "show": show, "ends": ends, "own_trees": own_trees}[request["op"]](request)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
