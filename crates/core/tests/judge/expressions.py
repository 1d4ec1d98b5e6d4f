#!/usr/bin/python3
"""Random formulas and lengths of time with Python's value, for expressions.rs.

    expressions.py --f2b DIR [--seed N] [--count M] > FILE

DIR holds an installed "fail2ban" package; its time parser is run, not copied.
"""
import argparse, math, random, sys

parser = argparse.ArgumentParser()
parser.add_argument("--f2b", required=True)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--count", type=int, default=10000)
args = parser.parse_args()
sys.path.insert(0, args.f2b)
from fail2ban.server.mytime import MyTime

rnd = random.Random(args.seed)
BIG = 2 ** 126


class Ban:
    Time, Count = 600, 3


def formula(depth):
    if depth == 0 or rnd.random() < 0.15:
        return rnd.choice(["0", "1", "2", "3", "7", "10", "0.5", "1.5", "2.", ".25", "1e2", "1_000", "ban.Time", "ban.Count", "banFactor"])
    sub = lambda: formula(depth - 1)
    kind = rnd.random()
    if kind < 0.5:
        return sub() + rnd.choice([" + ", "-", "*", " / ", "//", " % ", " << ", ">>", "**", "*", "+"]) + sub()
    if kind < 0.6:
        return "(" + sub() + ")"
    if kind < 0.7:
        return rnd.choice(["-", "+", "- "]) + sub()
    if kind < 0.8:
        return sub() + " if " + sub() + rnd.choice(["<", "<=", ">", ">=", "==", "!=", " if "]) + sub() + " else " + sub()
    if kind < 0.9:
        return rnd.choice(["min", "max"]) + "(" + sub() + ", " + sub() + ")"
    return rnd.choice(["int", "float", "math.exp", "math.log", "math.sqrt"]) + "(" + sub() + ")"


def time():
    units = ["s", "m", "h", "d", "w", "mo", "y", "sec", "min", "hours", "DAY", "Weeks", "mon", "year", "mm", "ss", "x", "hs", ""]
    parts = [rnd.choice(["1", "2", "10", "1.5", "0", "12", "1_0", "01"]) + rnd.choice(["", " ", "", "  "]) + rnd.choice(units)
             for _ in range(rnd.randint(1, 4))]
    text = parts[0]
    for part in parts[1:]:
        text += rnd.choice(["", " ", " ", "  ", "+", "-", " * ", "/", " + "]) + part
    return rnd.choice(["", "", "", "-", "(", " "]) + text + rnd.choice(["", "", "", ")", " "])


def shown(value):
    """As ours sees it: bounded numbers, nothing but reals."""
    if isinstance(value, int) and abs(value) < BIG or isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    return "error"


for n in range(args.count):
    kind = "time" if n % 3 == 0 else "formula"
    text = time() if kind == "time" else formula(rnd.randint(1, 4))
    # Towers of powers take Python for ever.
    if text.count("**") > 1 or text.count("<<") > 1 or "**" in text and "<<" in text:
        continue
    try:
        value = MyTime.str2seconds(text) if kind == "time" else eval(text, {
            "__builtins__": {}, "math": math, "min": min, "max": max, "int": int, "float": float,
            "ban": Ban, "banFactor": 1.5})
        value = shown(value)
    except Exception:
        value = "error"
    print("%s\t%s\t%s" % (kind, text, value))
