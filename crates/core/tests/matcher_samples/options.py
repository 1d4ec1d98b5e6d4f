"""Prints the options of an installed fail2ban's filters, as its own reader expands them.

options.py ROOT   where ROOT holds etc/fail2ban and usr/lib/python3/dist-packages.
Reads one JSON object per line, {"name": filter, "options": {..}}, and answers
each with one: {"prefregex":, "failregex": [..], "ignoreregex": [..], "datepattern":, "maxlines":}.
"""
import json
import logging
import os
import shutil
import sys
import tempfile

root = os.path.abspath(sys.argv[1])
package = os.path.join(root, "usr/lib/python3/dist-packages")
sys.path.insert(0, package)
sys.dont_write_bytecode = True
from fail2ban.client.filterreader import FilterReader  # noqa: E402

logging.getLogger("fail2ban").setLevel(logging.CRITICAL)
stock = os.path.join(root, "etc/fail2ban")
with tempfile.TemporaryDirectory() as stage:
    # The tests' own filters include stock ones by a path that only fits a checkout,
    # four folders up in one version, seven in another.
    checkout = os.path.join(stage, "usr/lib/python3")
    own = os.path.join(checkout, "fail2ban/tests/config")
    shutil.copytree(os.path.join(package, "fail2ban/tests/config"), own)
    os.symlink(stock, os.path.join(stage, "config"))
    os.symlink(stock, os.path.join(checkout, "config"))
    for line in sys.stdin:
        case = json.loads(line)
        name = case["name"]
        base = own if name.startswith("zzz-") else stock
        reader = FilterReader(name, "jail", dict(case["options"]), basedir=base)
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
        print(json.dumps(out), flush=True)
