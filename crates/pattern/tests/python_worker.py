"""Answers searches with CPython's own re module, for the differential tests.

Requests on standard input, answers on standard output, both binary, little endian.
  b"S" u8 flags (1 multiline, 2 ignorecase) u32 len pattern, u32 count, then per text:
       u32 len text, u32 pos, u32 endpos (both in characters)
  ->   u8 0, u32 groups, then per text u8 outcome (0 none, 1 match, 2 timed out, 3 a bug of Python's) and for a
       match per group two i32 (byte offsets, -1 if unset);
    or u8 1, i32 position (-1 none), u32 len message: the pattern is refused
    or u8 2: the pattern took too long to compile, or hit Python's own limits
  b"W" u32 seed, u32 count, u32 len pattern: texts that the pattern is likely to match
  ->   u32 count, then per text u32 len text
  b"F" u32 len directory: the patterns of a fail2ban configuration tree
  ->   u32 count, then per pattern u32 len pattern
"""

import configparser
import glob
import os
import random
import re
import signal
import struct
import sys
import warnings

try:
    from re import _compiler, _constants as K, _parser
except ImportError:
    import sre_compile as _compiler, sre_constants as K, sre_parse as _parser

warnings.simplefilter("ignore")
inp, out = sys.stdin.buffer, sys.stdout.buffer
LIMIT = float(os.environ.get("STOCKADE_PYTHON_LIMIT", "0.05"))


class Timeout(Exception):
    pass


def on_alarm(*_):
    raise Timeout()


signal.signal(signal.SIGALRM, on_alarm)


def read(n):
    data = inp.read(n)
    if len(data) < n:
        sys.exit(0)
    return data


def u32():
    return struct.unpack("<I", read(4))[0]


def text():
    return read(u32()).decode()


def limited(call):
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def refuse(message, position):
    data = message.encode("utf-8", "backslashreplace")
    out.write(struct.pack("<BiI", 1, -1 if position is None else position, len(data)) + data)


def search():
    flags = read(1)[0]
    pattern = text()
    jobs = [(text(), u32(), u32()) for _ in range(u32())]
    bits = (re.M if flags & 1 else 0) | (re.I if flags & 2 else 0)
    try:
        compiled = limited(lambda: _compiler.compile(pattern, bits))
    except re.error as error:
        return refuse(error.msg, error.pos)
    except (OverflowError, ValueError) as error:
        return refuse(str(error), None)
    except (Timeout, RecursionError, MemoryError):
        out.write(b"\x02")
        return
    answer = [struct.pack("<BI", 0, compiled.groups)]
    for subject, pos, endpos in jobs:
        try:
            found = limited(lambda: find(compiled, subject, pos, endpos))
        except (Timeout, RecursionError, MemoryError):
            answer.append(b"\x02")
            continue
        except SystemError:
            # "The span of capturing group is wrong, please report a bug".
            answer.append(b"\x03")
            continue
        if found is None:
            answer.append(b"\x00")
            continue
        ascii_only = subject.isascii()
        spans = []
        for group in range(compiled.groups + 1):
            for at in found.span(group):
                spans.append(at if at < 0 or ascii_only else len(subject[:at].encode()))
        answer.append(struct.pack("<B%di" % len(spans), 1, *spans))
    out.write(b"".join(answer))


def find(compiled, subject, pos, endpos):
    """compiled.search, around a bug of CPython's.

    Its search looks for a first character with the flags of the whole pattern, also where
    that character stands in a group with the ASCII flag of its own: (?a:\W) on "é" is missed.
    """
    if not re.search(r"\(\?[imsxu]*a[imsxu]*[-:]", compiled.pattern):
        return compiled.search(subject, pos, endpos)
    for start in range(pos, min(endpos, len(subject)) + 1):
        found = compiled.match(subject, start, endpos)
        if found is not None:
            return found
    return None


ALPHABET = "ab1 :.-/[]()<>\"'=,@\n_xY0é٣"


class Walk:
    """Makes a text by walking a pattern's tree."""

    def __init__(self, rng, loops):
        self.rng, self.loops, self.groups = rng, loops, {}

    def char(self, accept):
        for _ in range(12):
            c = self.rng.choice(ALPHABET)
            if accept(c):
                return c
        return "z"

    def member(self, items):
        negate = items[0][0] is K.NEGATE
        source = "".join(self.one(item) for item in items if item[0] is not K.NEGATE)
        if not negate:
            return self.rng.choice(source)
        check = re.compile("[^%s]" % re.escape(source)) if source else None
        return self.char(lambda c: check is None or check.match(c))

    def one(self, item):
        op, av = item
        if op is K.LITERAL:
            return chr(av)
        if op is K.RANGE:
            return chr(self.rng.randint(av[0], min(av[1], av[0] + 30)))
        kinds = {K.CATEGORY_DIGIT: "0179", K.CATEGORY_WORD: "aZ0_", K.CATEGORY_SPACE: " \t"}
        return kinds.get(av, "x:é")

    def walk(self, items):
        made = []
        for op, av in items:
            if op is K.LITERAL:
                made.append(chr(av))
            elif op is K.NOT_LITERAL:
                made.append(self.char(lambda c: ord(c) != av))
            elif op is K.IN:
                made.append(self.member(av))
            elif op is K.ANY:
                made.append(self.char(lambda c: c != "\n"))
            elif op is K.BRANCH:
                made.append(self.walk(self.rng.choice(av[1])))
            elif op is K.SUBPATTERN:
                made.append(self.walk(av[3]))
                self.groups[av[0]] = made[-1]
            elif op in (K.MAX_REPEAT, K.MIN_REPEAT, getattr(K, "POSSESSIVE_REPEAT", None)):
                most = min(av[1], av[0] + self.rng.choice((0, 1, 1, 2, 4, self.loops)))
                made.append("".join(self.walk(av[2]) for _ in range(self.rng.randint(av[0], most))))
            elif op is K.GROUPREF:
                made.append(self.groups.get(av, ""))
            elif op is K.GROUPREF_EXISTS:
                branch = av[1] if av[0] in self.groups else av[2]
                made.append(self.walk(branch) if branch else "")
            elif op is getattr(K, "ATOMIC_GROUP", None):
                made.append(self.walk(av))
        return "".join(made)


def walks():
    rng = random.Random(u32())
    count = u32()
    pattern = text()
    try:
        tree = _parser.parse(pattern)
    except Exception:
        out.write(struct.pack("<I", 0))
        return
    answer = []
    for number in range(count):
        made = Walk(rng, 40 if number % 4 == 3 else 3).walk(tree)[:3000]
        if rng.random() < 0.8:
            made += "\n"
        for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
            at = rng.randint(0, len(made))
            made = made[:at] + rng.choice(ALPHABET) + made[at + rng.randint(0, 1):]
        data = made.encode("utf-8", "replace")
        answer.append(struct.pack("<I", len(data)) + data)
    out.write(struct.pack("<I", len(answer)) + b"".join(answer))


TAGS = {
    "IP4": r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})",
    "IP6": r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))",
    "DNS": r"(?P<dns>[\w\-.^_]*\w)",
    "CIDR": r"(?P<cidr>\d+)",
}
TAGS["ADDR"] = r"\[?(?:%s|%s)\]?" % (TAGS["IP4"], TAGS["IP6"])
TAGS["HOST"] = r"(?:%s|%s)" % (TAGS["ADDR"], TAGS["DNS"])
TAGS["SUBNET"] = r"\[?(?:%s|%s)(?:/%s)?\]?" % (TAGS["IP4"], TAGS["IP6"], TAGS["CIDR"])


def expand(pattern):
    opened = set()

    def tag(found):
        word = found.group(0)[1:-1].strip("/")
        close, single = found.group(0).startswith("</"), found.group(0).endswith("/>")
        name = word[2:] if word.startswith("F-") else word
        if name in TAGS and not close:
            return TAGS[name]
        if word == "SKIPLINES":
            opened.add("")
            return r"\n(?P<skiplines%d>(?:(?:.*\n)*?))" % (len(opened) - 1)
        if word.startswith("F-") and re.fullmatch("[A-Z0-9_-]+", name):
            group = {"ID": "fid", "PORT": "fport"}.get(name, name.lower().replace("-", "_"))
            if single:
                return {"ID": r"(?P<fid>\S+)", "PORT": r"(?P<fport>\w+)"}.get(name, found.group(0))
            if close:
                return ")" if name in opened else found.group(0)
            opened.add(name)
            return "(?P<%s>" % group
        return found.group(0)

    return re.sub(r"</?[\w-]+/?>", tag, pattern)


def load(path, seen):
    values = {}
    if path in seen or not os.path.exists(path):
        return values
    seen.add(path)
    ini = configparser.RawConfigParser(strict=False, interpolation=None, allow_no_value=True)
    ini.optionxform = str
    ini.read(path, encoding="utf-8")

    def include(which):
        if ini.has_option("INCLUDES", which):
            for name in (ini.get("INCLUDES", which) or "").split():
                values.update(load(os.path.join(os.path.dirname(path), name), seen))

    include("before")
    for section in ["DEFAULT", "Init", "Definition"]:
        if section == "DEFAULT":
            values.update(ini.defaults())
        elif ini.has_section(section):
            values.update(dict(ini.items(section)))
    include("after")
    return values


def resolve(value, values):
    for _ in range(20):
        before = value
        value = re.sub(r"%\((?:known/|default/)?([\w/ -]+)\)s", lambda m: values.get(m.group(1)) or "", value)
        value = re.sub(r"<([a-z][\w/-]*)>", lambda m: values.get(m.group(1)) or m.group(0), value)
        if value == before:
            break
    return value


def stock():
    found = {}
    for path in sorted(glob.glob(os.path.join(text(), "filter.d", "*.conf"))):
        values = load(path, set())
        modes = {values.get("mode") or "normal", "normal", "aggressive", "ddos", "extra", "auth"}
        for mode in sorted(modes):
            for option in ("prefregex", "failregex", "ignoreregex"):
                body = resolve(values.get(option) or "", dict(values, mode=mode))
                for line in body.split("\n") if option != "prefregex" else [body]:
                    if line.strip():
                        found[expand(line.strip())] = None
    out.write(struct.pack("<I", len(found)))
    for pattern in found:
        data = pattern.encode("utf-8", "replace")
        out.write(struct.pack("<I", len(data)) + data)


while True:
    {b"S": search, b"W": walks, b"F": stock}[read(1)]()
    out.flush()
