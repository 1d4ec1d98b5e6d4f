"""What the measuring scripts share: where results go, and what machine and versions they are from."""
import json, os, pathlib, platform, re, subprocess, time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent


def cpu():
    return next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")


def name():
    """A name for the machine that says what it is, not whose: `2-core-epyc`."""
    words = [w for w in re.findall(r"[a-z]+", cpu().lower()) if w not in ("amd", "intel", "r", "core", "tm", "cpu", "processor", "genuine")]
    return f"{os.cpu_count()}-core-{words[0] if words else 'unknown'}"


def out(given=None):
    """The folder of this run, made: the one that is given, else bench/runs/DATE-MACHINE."""
    given = given or os.environ.get("STOCKADE_BENCH_OUT")
    folder = pathlib.Path(given) if given else HERE / "runs" / f"{time.strftime('%Y-%m-%d', time.gmtime())}-{name()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def said(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip()


def about():
    """What the figures depend on. `load` is the machine's before the run: above 1 somebody else was working, too."""
    return {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "cpu": cpu(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2),
            "kernel": platform.release().split("-")[0], "python": platform.python_version(), "rustc": said("rustc", "--version"),
            "stockade": said("git", "-C", str(TOP), "describe", "--always", "--dirty")}


def save(folder, part, content):
    """Writes one part's results."""
    (folder / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"results: {os.path.relpath(folder / f'{part}.json', TOP)}", flush=True)


class Bars:
    """Figures that have to reach something."""

    def __init__(self):
        self.figures, self.missed = {}, []

    def note(self, what, value, unit, digits=3):
        """A figure without a bar."""
        self.figures[what] = {"value": round(value, digits), "unit": unit}
        print(f"{what:64} {value:12,.{digits}f} {unit}", flush=True)

    def bar(self, what, value, unit, limit, less=True, digits=3):
        """A figure with a bar; `less` says on which side of it is good."""
        good = value <= limit if less else value >= limit
        self.figures[what] = {"value": round(value, digits), "unit": unit, "bar": limit, "less": less, "reached": good}
        print(f"{what:64} {value:12,.{digits}f} {unit:18} bar {'<=' if less else '>='} {limit:,}{'' if good else '   MISSED'}", flush=True)
        if not good:
            self.missed.append(what)
