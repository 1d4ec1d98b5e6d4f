"""What the scripts that drive an installed fail2ban share. The first word of their command line is its root."""
import logging
import os
import sys

root = os.path.abspath(sys.argv[1])
packages = os.path.join(root, "usr/lib/python3/dist-packages")
tree = os.path.join(root, "etc/fail2ban")
sys.path.insert(0, packages)
sys.dont_write_bytecode = True


def quiet():
    logging.getLogger("fail2ban").setLevel(logging.CRITICAL)


def expanded(name, options, base=tree):
    """A filter's options as its own reader expands them."""
    from fail2ban.client.filterreader import FilterReader

    reader = FilterReader(name, "jail", dict(options), basedir=base)
    reader.read()
    reader.getOptions({})
    out = {"prefregex": None, "failregex": [], "ignoreregex": [], "datepattern": None, "maxlines": 1}
    for command in reader.convert():
        values = command[3] if command[0] == "multi-set" else [command[3]]
        for value in values:
            if command[2] == "addfailregex":
                out["failregex"].append(value)
            elif command[2] == "addignoreregex":
                out["ignoreregex"].append(value)
            elif command[2] == "maxlines":
                out["maxlines"] = int(value)
            elif command[2] in out:
                out[command[2]] = value
    return out
