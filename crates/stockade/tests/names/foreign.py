"""Runs an installed fail2ban's own tests of its client and server against other programs.

  foreign.py DIST_PACKAGES FOLDER CLIENT TEST ..

FOLDER holds the other `fail2ban-client` and `fail2ban-server`. With CLIENT `theirs` the tests' own client runs, and
where it starts a server, it starts that one; with `ours` every command line is run by the other programs. Tests whose
server has to be a thread of the test itself can't be run so. Answer: one line per test, `NAME ok` or `NAME WHY`.
"""
import os, signal, subprocess, sys, tempfile, time, unittest

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
folder, whose, names = sys.argv[2], sys.argv[3], sys.argv[4:]

from fail2ban.tests import utils
from fail2ban.client import fail2banserver

words, sys.argv = sys.argv, sys.argv[:1]
opts, _ = utils.getOptParser().parse_args([])
opts.log_level, opts.verbosity, opts.fast, opts.memory_db, opts.no_network = "debug", 0, False, True, True
utils.initProcess(opts)
unittest.F2B = utils.F2B(opts)
unittest.F2B.SkipIfFast = lambda: None
utils.initTests(opts)

from fail2ban.tests import fail2banclienttestcase as cases

# A program that Python starts, and that becomes the other one.
shims = tempfile.mkdtemp(dir=os.path.dirname(os.path.abspath(__file__)))
for name in ("fail2ban-client", "fail2ban-server"):
    with open(os.path.join(shims, name), "w") as file:
        path = os.path.join(folder, name)
        file.write("import os, sys\nos.execv(%r, [%r] + [a for a in sys.argv[1:] if a != '--async' or %r])\n" % (
            path, path, name.endswith("server")))
cases.BIN = shims
fail2banserver.Fail2banServer.getServerPath = staticmethod(lambda: os.path.join(shims, "fail2ban-server"))


def suspending_kill(pid, what, kill=os.kill):
    """A stop that has taken effect when this returns: the tests ping a server that they believe to stand still, and
    on a busy machine some of its threads run on for a while after the signal was sent."""
    kill(pid, what)
    end = time.monotonic() + 20
    while what == signal.SIGSTOP and time.monotonic() < end:
        states = []
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, task)) as file:
                states.append(file.read().rsplit(")", 1)[1].split()[0])
        if all(state == "T" for state in states):
            return
        time.sleep(0.005)


os.kill = suspending_kill
# Seconds until a server has to be there: for machines that do something else as well.
cases.MAX_WAITTIME = 60


def other(argv):
    typed = "".join(line + "\n" for line in cases.INTERACT)
    del cases.INTERACT[:]
    words = [os.path.join(folder, argv[0])] + list(argv[1:])
    done = subprocess.run(words, input=typed, capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        cases.logSys.info("%s", line)
    cases.logSys.debug("Exit with code %s", done.returncode)
    cases.Fail2banCmdLine._exit(done.returncode)


if whose == "ours":
    cases.Fail2banClientTest.exec_command_line = (other, "fail2ban-client")
    cases.Fail2banServerTest.exec_command_line = (other, "fail2ban-server")

quiet = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for name in names:
    group = cases.Fail2banServerTest if hasattr(cases.Fail2banServerTest, name) and not hasattr(
        cases.Fail2banClientTest, name) else cases.Fail2banClientTest
    result = unittest.TestResult()
    group(name).run(result)
    trouble = result.errors + result.failures
    said = "ok" if not trouble else [line for line in trouble[0][1].splitlines() if "Error" in line or "xception" in line][-1]
    if result.skipped:
        said = "skipped: %s" % result.skipped[0][1]
    os.write(quiet, ("%s %s\n" % (name, said[:300])).encode())
