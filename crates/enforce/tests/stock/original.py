"""Runs one action of an installed fail2ban, step by step as told on standard input."""
import json, logging, sys

from fail2ban.server.action import CommandAction


class Actions:
    banEpoch = 0

    def _getActionInfo(self, _ticket):
        return {"ip": "", "bantime": 600, "time": 0}


class Jail:
    name = "j"
    actions = Actions()


logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
action = CommandAction(Jail, "a")
for name, value in json.loads(sys.stdin.readline()):
    setattr(action, name, value)
print("@ready", flush=True)
for line in sys.stdin:
    verb, *words = line.split()
    info = {}
    if words:
        family = "inet6" if ":" in words[0] else "inet4"
        info = {"ip": words[0], "family": family, "bantime": int(words[1])}
    try:
        if verb in ("ban", "unban"):
            getattr(action, verb)(info)
        elif verb == "bans":
            for n in range(int(words[1])):
                address = words[0].rsplit(".", 2)[0] + ".%d.%d" % (n >> 8, n & 255)
                action.ban({"ip": address, "family": "inet4", "bantime": 600})
        else:
            getattr(action, verb)()
        print("@ok", flush=True)
    except Exception as error:
        print("@failed " + str(error).replace("\n", " "), flush=True)
