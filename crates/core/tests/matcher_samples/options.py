"""Prints the options of an installed fail2ban's filters, as its own reader expands them.

options.py ROOT   where ROOT holds etc/fail2ban and usr/lib/python3/dist-packages.
Reads one JSON object per line, {"name": filter, "options": {..}}, and answers
each with one: {"prefregex":, "failregex": [..], "ignoreregex": [..], "datepattern":, "maxlines":}.
"""
import json
import os
import shutil
import sys
import tempfile

import installed

installed.quiet()
with tempfile.TemporaryDirectory() as stage:
    # The tests' own filters include stock ones by a path that only fits a checkout,
    # four folders up in one version, seven in another.
    checkout = os.path.join(stage, "usr/lib/python3")
    own = os.path.join(checkout, "fail2ban/tests/config")
    shutil.copytree(os.path.join(installed.packages, "fail2ban/tests/config"), own)
    os.symlink(installed.tree, os.path.join(stage, "config"))
    os.symlink(installed.tree, os.path.join(checkout, "config"))
    for line in sys.stdin:
        case = json.loads(line)
        name = case["name"]
        base = own if name.startswith("zzz-") else installed.tree
        print(json.dumps(installed.expanded(name, case["options"], base)), flush=True)
