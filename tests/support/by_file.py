"""Shows a run of all tests: a line for each file as it ends, what runs while nothing else is said, and the time left.

A plugin of pytest, for those who wait: ``-p tests.support.by_file``, as ``make test`` has it. Failures are told at
once and in full at the end. What each file took the last time is kept in ``build/seconds.json``; where that is not
there, as in a fresh clone, ``tests/seconds.json`` has it, from a machine with two cores. The longest files are begun
first, so that no core is idle in the end.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
USUAL = CHECKOUT / "tests" / "seconds.json"
LAST = CHECKOUT / "build" / "seconds.json"

_QUIET_SECONDS = 30.0
_SECONDS_OF_A_TEST = 0.3
"""What a test of a file takes that nothing is known of."""

_FIRST_SECONDS = 60.0
"""So long the usual pace counts as much as what is seen."""


def usual_seconds() -> dict[str, float]:
    """Return what each file took the last time, by its name."""
    found: dict[str, float] = {}
    for path in (USUAL, LAST):
        if path.exists():
            found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def minutes(seconds: float) -> str:
    """Return a time as people say it: 42 s, 12 min."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; in each, the order stays."""
    usual = usual_seconds()
    items.sort(key=lambda item: -usual.get(_file_of(item.nodeid), 0.0))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Show the run; with several processes, in that alone which hears of all."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(ByFile(config), "tests-by-file")


class ByFile:
    """What is known of the run, and its lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._processes = int(getattr(config.option, "numprocesses", None) or 1)
        self._usual: dict[str, float] = {}
        self._waiting: dict[str, set[str]] = {}
        self._tests: Counter[str] = Counter()
        self._results: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._took: Counter[str] = Counter()
        self._running: dict[str, float] = {}
        self._began = self._said = time.monotonic()
        self._one = threading.Lock()
        self._over = threading.Event()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn what there is to do, and begin to tell of it."""
        if session.items:
            self._begin(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The same, from each of several processes, which all have found the same."""
        if not self._waiting:
            self._begin(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self) -> Generator[None, tuple[str, str, object], tuple[str, str, str]]:
        """Leave out the letter that pytest prints for each test."""
        category, _letter, _word = yield
        return category, "", ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note what runs."""
        with self._one:
            self._running[nodeid] = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; tell of a failure at once."""
        with self._one:
            name = _file_of(report.nodeid)
            self._took[name] += report.duration
            if report.failed:
                self._results[name]["failed"] += 1
                self._say(f"FAILED {report.nodeid} ({report.when}): {_reason(report)}", red=True)
            elif report.skipped or report.when == "call":
                self._results[name][report.outcome] += 1

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell of a file whose last test this was."""
        with self._one:
            name = _file_of(nodeid)
            self._running.pop(nodeid, None)
            waiting = self._waiting.get(name, set())
            waiting.discard(nodeid)
            if not waiting:
                results = ", ".join(f"{count} {result}" for result, count in self._results[name].items())
                self._say(f"{name}: {results} in {minutes(self._took[name])}")

    def pytest_sessionfinish(self) -> None:
        """Keep what was measured, if all of these files of ours were run to their end."""
        self._over.set()
        if self._config.rootpath == CHECKOUT and self._waiting and not any(self._waiting.values()):
            known = json.loads(LAST.read_text(encoding="utf-8")) if LAST.exists() else {}
            kept = known | {name: round(took, 1) for name, took in self._took.items()}
            LAST.parent.mkdir(exist_ok=True)
            LAST.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _begin(self, ids: Iterable[str]) -> None:
        usual = usual_seconds()
        for nodeid in ids:
            self._waiting.setdefault(_file_of(nodeid), set()).add(nodeid)
        self._tests.update({name: len(tests) for name, tests in self._waiting.items()})
        self._usual = {
            name: usual.get(name, count * _SECONDS_OF_A_TEST) for name, count in self._tests.items()
        }
        self._began = time.monotonic()
        threading.Thread(target=self._break_silence, daemon=True).start()

    def _break_silence(self) -> None:
        while not self._over.wait(1.0):
            with self._one:
                now = time.monotonic()
                if now - self._said > _QUIET_SECONDS:
                    names = [f"{name} ({minutes(now - since)})" for name, since in self._running.items()]
                    self._say(f"... {', '.join(names) or 'starting'}")

    def _seconds_left(self) -> float:
        """Return how long it will take, by how much of what it usually takes was done in the time so far."""
        done = sum(
            usual * (1 - len(self._waiting[name]) / self._tests[name]) for name, usual in self._usual.items()
        )
        gone = time.monotonic() - self._began
        pace = (done + self._processes * _FIRST_SECONDS) / (gone + _FIRST_SECONDS)
        return (sum(self._usual.values()) - done) / pace

    def _say(self, text: str, *, red: bool = False) -> None:
        """Print a line, with how far the run is; the caller holds the lock."""
        self._said = time.monotonic()
        left, total = sum(map(len, self._waiting.values())), self._tests.total()
        share = (total - left) / total if total else 0.0
        head = f"[{share:4.0%}, {minutes(self._said - self._began)}, {minutes(self._seconds_left())} left]"
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"{head} {text}", red=red)
            reporter.flush()  # Into a file or a pipe too, line by line.


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _reason(report: pytest.TestReport) -> str:
    """Return the place and the first line of what went wrong."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = f"{crash.path}:{crash.lineno}: {crash.message}" if crash else report.longreprtext
    return (text.splitlines() or [""])[0][:300]
