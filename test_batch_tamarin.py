"""What batch_tamarin.py promises, as tests: sections have the titles of the program's.

Run: `pytest` (all of it), `python test_batch_tamarin.py soak` (what takes long: random kills, walks
and mutations), `python test_batch_tamarin.py bench` (its speed, beside other programs).

Provers are small shell scripts. Where ../shared (real theories and real prover runs) is there, it
is used as well.

No test depends on how fast the machine is. Tests wait for what happens (a line in a journal, a
file, an exit), for minutes if need be; a prover that is meant to pass has minutes, too, and one
that is meant to run into its limit waits for something that never comes.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import atexit
import base64
import contextlib
import csv
import dataclasses
import errno
import fcntl
import functools
import gc
import gzip
import hashlib
import inspect
import io
import itertools
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import pty
import py_compile
import random
import re
import resource
import select
import selectors
import shlex
import shutil
import signal
import socket
import socketserver
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
import typing
import warnings
import zipfile
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import batch_tamarin as bt

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "batch_tamarin.py"
SHARED = HERE.parent / "shared"
TRANSCRIPTS = SHARED / "transcripts"
CORPUS = SHARED / "corpus"
needs_transcripts = pytest.mark.skipif(
    not TRANSCRIPTS.is_dir(), reason="needs ../shared/transcripts"
)
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/corpus")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


# === Help for the tests ===========================================================================

FORK = multiprocessing.get_context("fork")

# Limits in seconds, generous: no test passes or fails by them, they only end what hangs.
WAIT_S = 180  # for one event
RUN_S = 300  # for one run of the program
TEST_S = 1800  # for one test

# Provers of the tests. After this beginning $LEMMA is the lemma asked for, the last of $LEMMAS, and
# $OUT, $JSON and $DOT are the files to write. `summary LINE` prints a line as the summary of a real
# prover does, without a process of its own; `summary` alone takes lines from its stdin.
PRELUDE = r"""#!/bin/sh
case "$*" in *--version*) echo "tamarin-prover 1.11.0, (C) nobody"; exit 0;; esac
for word in "$@"; do
    case "$word" in
        --prove=*) LEMMA="${word#--prove=}"; LEMMAS="$LEMMAS $LEMMA";;
        --output=*) OUT="${word#--output=}";;
        --output-json=*) JSON="${word#--output-json=}";;
        --output-dot=*) DOT="${word#--output-dot=}";;
    esac
done
RULE===============================================================================
summary() {
    printf '%s\nsummary of summaries:\n\nanalyzed: x.spthy\n\n' $RULE
    printf '  processing time: 0.12s\n  \n'
    if [ "$1" ]; then echo "$1"; else cat; fi
    printf '\n%s\n' $RULE
}
"""
VERIFY = """
echo "theory proof" > "$OUT"
summary "  $LEMMA (all-traces): verified (7 steps)"
"""

RULE_A = "rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n"
THEORY = f"""theory T begin
{RULE_A}
lemma one [reuse]: "All k #i. A(k) @ i ==> T"
lemma two: exists-trace "Ex k #i. A(k) @ i"
lemma three: "All k #i. A(k) @ i ==> F"
end
"""


def many_lemmas(count):
    """A theory with the lemmas l0, l1, ..."""
    lemmas = [f'lemma l{number}: "All k #i. A(k) @ i ==> T"\n' for number in range(count)]
    return f"theory T begin\n{RULE_A}{''.join(lemmas)}end\n"


class Lab:
    """A directory with a theory, provers and a recipe, and the program to run on them."""

    forks_here = False  # whether runs see what a test changed in the program of this process

    def __init__(self, path):
        self.path = path
        self.results = path / "results"
        self.journal = self.results / "batch.jsonl"
        self.provers = {}
        self.write("t.spthy", THEORY)

    def write(self, name, text, mode=0o644):
        """Write a file (and its folders); its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def read(self, name):
        """What a file holds, as text."""
        return (self.path / name).read_text(encoding="utf-8")

    def prover(self, body, alias="fake"):
        """Make a prover of the recipe: a shell script that begins with PRELUDE."""
        self.write(f"{alias}.sh", PRELUDE + body, 0o755)
        self.provers[alias] = {"path": f"./{alias}.sh"}

    def recipe(self, config=None, name="recipe.json", tasks=None, **entry):
        """Write a recipe of one entry "task", which proves t.spthy with the first prover.

        `lemmas`: as in a recipe, or their names.
        """
        lemmas = entry.get("lemmas")
        if isinstance(lemmas, str):
            entry["lemmas"] = [{"name": lemma} for lemma in lemmas.split()]
        task = {
            "theory_file": "t.spthy",
            "tamarin_versions": list(self.provers)[:1],
            "output_file_prefix": "t",
            "resources": {"max_cores": 1, "max_memory": 1, "timeout": 300},
        }
        task.update(entry)
        recipe = {
            "config": {"output_directory": "results", **(config or {})},
            "tamarin_versions": self.provers,
            "tasks": tasks or {"task": task},
        }
        self.write(name, json.dumps(recipe, indent=2))

    def command(self, line, *words):
        """The words that start the program as users do, but that it need not be compiled again."""
        return [sys.executable, compiled_script(), *line.split(), *words]

    def run(self, line="", *words, code=None, cwd=None):
        """Run one command line in a process of its own; the finished process.

        It begins as one types it; words behind that are taken as they are, with their spaces.
        Its whole output is in the message when the exit code isn't the wanted one.
        """
        way = fork_program if self.forks_here else ask_server
        done = run_program([*line.split(), *words], cwd or self.path, way)
        check_end(done, code)
        return done

    def run_script(self, line, *words, code=None, **options):
        """Run the program as users do; options as of `subprocess.run`."""
        options = {"cwd": self.path, "timeout": RUN_S, **options}
        command = self.command(line, *words)
        done = subprocess.run(command, capture_output=True, text=True, **options)
        check_end(done, code)
        return done

    def start(self, line, *words, **options):
        """Start the program as users do; the running process."""
        return subprocess.Popen(
            self.command(line, *words),
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def events(self, kind=None, results="results"):
        """What the journal holds, so far: all events, or those of one kind."""
        journal = self.path / results / "batch.jsonl"
        if not journal.exists():
            return []
        lines = journal.read_bytes().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [event for event in events if kind in (None, event["event"])]

    def wait_for_events(self, kind, count, results="results"):
        """Wait until the journal holds so many events of a kind."""
        wait_for(lambda: len(self.events(kind, results)) >= count, f"{count} x {kind}")

    def finishes(self, results="results"):
        """The last `finish` event of each task, by its id."""
        return {event["id"]: event for event in self.events("finish", results)}

    def only_finish(self):
        """The `finish` event of a batch of one task."""
        (event,) = self.events("finish")
        return event


@functools.cache
def compiled_script():
    """The script as Python's bytecode, in a file that goes when the tests end: its path."""
    folder = tempfile.mkdtemp()
    own_pid = os.getpid()

    def remove():
        # From Python 3.13 on forked processes come here as well.
        if os.getpid() == own_pid:
            shutil.rmtree(folder)

    atexit.register(remove)
    return py_compile.compile(str(SCRIPT), os.path.join(folder, "script.pyc"), doraise=True)


def caches_of_their_time():
    """Where the program remembers more than what follows from arguments alone."""
    timeless = [
        bt._digest_of_many,
        bt._event_pattern,
        bt._in_words,
        bt._json_fields,
        bt._model_words,
        bt._read_fields,
        bt._statement,
        bt.share,
    ]
    caches = [value for value in vars(bt).values() if hasattr(value, "cache_clear")]
    return [cache for cache in caches if cache not in timeless]


# To look for them in each child would touch, and so copy, all that the program has.
CACHES = caches_of_their_time()


def run_program(args, cwd, run):
    """Run `main(args)` in a process of its own, from a directory; the finished process.

    As the script does it, but Python isn't started and the file not compiled once more for each of
    some thousand runs.

    Args:
        run: `ask_server`, or `fork_program` for one that sees what a test changed in the program
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = run(args, str(cwd), out.fileno(), err.fileno())
        if code is None:
            raise AssertionError(f"{args} did not end within {RUN_S} s")
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode(errors="surrogateescape"))
        return subprocess.CompletedProcess(args, code, *told)


def fork_program(args, cwd, out, err):
    """Run `main(args)` in a child of this process; its exit code, None where it did not end."""
    child = FORK.Process(target=be_the_program, args=(args, cwd, out, err))
    child.start()
    child.join(RUN_S)
    if child.exitcode is None:
        child.kill()
    return child.exitcode


def be_the_program(args, cwd, out, err):
    """What the child of `fork_program` does, until its end."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    # They stay open as long as this process lives.
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", closefd=False, encoding="utf-8", errors="backslashreplace"
    )
    sys.stderr.reconfigure(line_buffering=True)
    # The collector would touch, and so copy, all that was made before.
    gc.freeze()
    sys.argv = [bt.__file__, *args]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(cwd)
    # What earlier tests made the program remember in this process.
    for cache in CACHES:
        cache.cache_clear()
    sys.exit(bt.main(list(args)))


def warm_up(lab):
    """Prove the lab's recipe, and look at the results here: what that takes is then known."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    fork_program(["run", "recipe.json", "--no-cache"], lab, nowhere, nowhere)
    os.chdir(lab)
    with open(os.devnull, "w") as out, redirect_stdout(out), redirect_stderr(out):
        for line in ("run recipe.json --no-cache", "report results -f md", "audit results"):
            bt.main(line.split())
    os.chdir("/")
    for cache in CACHES:
        cache.cache_clear()
    gc.freeze()


def serve(server):
    """Run the program for each that asks, until nobody is left who could ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        asked, descriptors, _, _ = socket.recv_fds(server, 1, 3)
        if not asked:
            return
        FORK.Process(target=serve_one, args=descriptors).start()
        for descriptor in descriptors:
            os.close(descriptor)


def serve_one(asking, out, err):
    """Run the program for one that asks, and tell its exit code."""
    for descriptor in (asking, out, err):
        os.set_inheritable(descriptor, False)
    with socket.socket(fileno=asking) as answers:
        args, cwd, environment = json.loads(answers.makefile().readline())
        os.environ.clear()
        os.environ.update(environment)
        code = fork_program(args, cwd, out, err)
        answers.sendall(json.dumps(code).encode() + b"\n")


SERVED = (caches_of_their_time, fork_program, be_the_program, warm_up, serve, serve_one)
SERVER = f"""
import gc, json, multiprocessing, os, signal, socket, sys
sys.path[0] = {str(HERE)!r}
from contextlib import redirect_stderr, redirect_stdout
import batch_tamarin as bt
FORK = multiprocessing.get_context("fork")
RUN_S = {RUN_S}
"""


@functools.cache
def program_server():
    """The socket to ask a process for runs that has nothing but the program.

    It is a fifth of this one in size, and so are its children.
    """
    parts = [SERVER]
    for function in SERVED:
        parts.append(inspect.getsource(function))
    parts.append("CACHES = caches_of_their_time()")
    parts.append("warm_up(sys.argv[1])")
    parts.append("serve(socket.socket(fileno=0))")
    command = [sys.executable, "-c", "\n".join(parts)]
    ours, theirs = socket.socketpair()
    with theirs, tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.prover(VERIFY)
        lab.recipe()
        server = subprocess.Popen([*command, folder], stdin=theirs)
        # When it has answered, it no longer needs the folder.
        run_program(["--version"], folder, functools.partial(ask, ours))
    assert server.poll() is None
    return ours


def ask_server(args, cwd, out, err):
    """Run `main(args)` in a child of the server; its exit code, None where it did not end."""
    return ask(program_server(), args, cwd, out, err)


def ask(server, args, cwd, out, err):
    """Run `main(args)` in a child of this server; its exit code, None where it did not end."""
    request = json.dumps([args, cwd, dict(os.environ)])
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(server, [b"?"], [theirs.fileno(), out, err])
        ours.sendall(request.encode() + b"\n")
        return json.loads(ours.makefile().readline())


def check_end(done, code):
    """Assert that there was no traceback and, where one is wanted, that the exit code is right."""
    told = f"exit {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    assert "Traceback" not in done.stderr, told
    if code is not None:
        assert done.returncode == code, told


def interrupted_batch(lab, lemmas=6, body=None):
    """A batch that SIGTERM stopped when two tasks had finished and the third and fourth hung.

    They do not hang any more when it goes on.
    """
    hang = 'case $LEMMA in l0|l1) ;; *) [ -e go ] || exec sleep 600;; esac; echo "$LEMMA" >> runs; '
    lab.write("t.spthy", many_lemmas(lemmas))
    lab.prover(body or hang + VERIFY)
    lab.recipe(config={"global_max_cores": 2})
    process = lab.start("run recipe.json")
    lab.wait_for_events("finish", 2)
    lab.wait_for_events("start", 4)
    process.send_signal(signal.SIGTERM)
    end_of(process)
    assert process.returncode == 143
    (lab.path / "go").touch()


def edit_theory(lab, old, new):
    """Replace a text that is in `t.spthy`, wherever it stands there."""
    text = lab.read("t.spthy")
    assert old in text
    lab.write("t.spthy", text.replace(old, new))


def wait_for(condition, what=""):
    """Poll until the condition holds; its value."""
    end = time.monotonic() + WAIT_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited for {WAIT_S} s in vain: {what or condition}"
        time.sleep(0.01)


def end_of(process):
    """Wait for a process; (stdout, stderr), as `communicate` has them."""
    try:
        return process.communicate(timeout=RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def lock_is_free(path):
    """Whether neither a run nor its watchdog holds this file."""
    if not path.exists():
        return True
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def a_plan(**changes):
    """The plan of a task, with some fields of one's own."""
    plan = bt.Plan(
        id="i",
        entry="n",
        theory="t.spthy",
        lemma="one",
        trait="all-traces",
        sides=(),
        prover="p",
        options=(),
        flags=(),
        limits=bt.Limits(1, 1024, 60),
        cwd="/",
        prove=True,
        optional=False,
        assumes=(),
        expect=None,
        key="k",
    )
    return dataclasses.replace(plan, **changes)


def final_table_of(batch, directory, tasks):
    """The final table of some tasks of a batch."""
    return bt.final_table(batch, directory, bt.final_rows(batch, directory, tasks))


def a_task(status=bt.Status.PENDING, result=None, **changes):
    """A task, with some fields of its plan of one's own."""
    if result is None:
        return bt.Task(a_plan(**changes), status)
    return bt.Task.with_result(a_plan(**changes), result)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture(autouse=True)
def program_as_changed_here(request):
    """Runs see what a test that asks for `monkeypatch` changes in the program of this process."""
    Lab.forks_here = "monkeypatch" in request.fixturenames


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory):
    """Every test has a cache of its own."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def same_directory():
    """Every test begins in the same directory, wherever another one went."""
    os.chdir(HERE)


@pytest.fixture(autouse=True, scope="session")
def usual_signals():
    """Signals mean what they usually do, also where a shell started us to ignore some (`&`)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def this_python():
    """Scripts that ask for `python3` get this one, which may be another or dear to find."""
    folder = os.path.dirname(sys.executable)
    if os.path.exists(f"{folder}/python3"):
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def an_end():
    """Every test ends, also one that waits for what it has no limit for."""

    def give_up(*_):
        raise AssertionError(f"this test did not end within {TEST_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# === Several tests at a time ======================================================================

# What pytest itself calls in this file: `pytest_runtestloop`.
pytest_plugins = [__name__]

WORTH_SHARING = 50  # so many tests are worth workers
WORKERS = 2 * bt.available_cores()  # many tests wait for a process


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Run the tests of a session in forked workers; pytest reports as ever.

    `--pdb`, `-s`, `--collect-only`, few tests and `-n` of pytest-xdist are left to pytest.
    """
    options = session.config.option
    left_to_pytest = (
        session.testsfailed
        or options.collectonly
        or options.usepdb
        or options.capture == "no"
        or session.config.pluginmanager.has_plugin("dsession")
        or hasattr(session.config, "workerinput")
    )
    if left_to_pytest or len(session.items) < WORTH_SHARING:
        return None
    with tempfile.TemporaryDirectory() as folder:
        share_tests(session, folder)
    return True


def share_tests(session, folder):
    """Let workers run all tests of a session, and hand pytest what they report.

    Args:
        folder: for their temporary directories

    Raises:
        session.Failed: enough tests failed (`-x`), or workers ended before their tests had
    """
    tests = spread(session.items)
    taken = FORK.Value("i", 0)  # how many of them
    workers = {}
    # Once for all of them; this process removes it, and the server ends with them.
    compiled_script()
    program_server()
    for _ in range(WORKERS):
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=work, args=(session.config, tests, taken, sender, folder))
        process.start()
        sender.close()
        workers[receiver] = process
    waiting = {item.nodeid for item in session.items}
    try:
        for name, arguments in messages(list(workers)):
            pass_on(session.config, name, arguments)
            if name == "pytest_runtest_logfinish":
                waiting.remove(arguments["nodeid"])
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
    finally:
        for process in workers.values():
            process.terminate()
            process.join()
    if waiting:
        session.shouldfail = f"workers died and left {', '.join(sorted(waiting))}"
        raise session.Failed(session.shouldfail)


def messages(receivers):
    """All that workers send, until the last of them has closed its pipe."""
    while receivers:
        for receiver in multiprocessing.connection.wait(receivers):
            try:
                yield receiver.recv()
            except EOFError:
                receivers.remove(receiver)


def pass_on(config, name, arguments):
    """Call a hook of pytest as a worker did."""
    if name == "pytest_runtest_logreport":
        report = config.hook.pytest_report_from_serializable(config=config, **arguments)
        arguments = {"report": report}
    getattr(config.hook, name)(**arguments)


class Sender:
    """Pytest's plugin of a worker: it sends what others tell the user, or count."""

    def __init__(self, config, pipe):
        self.config = config
        self.pipe = pipe

    def pytest_runtest_logstart(self, nodeid, location):
        where = {"nodeid": nodeid, "location": location}
        self.pipe.send(("pytest_runtest_logstart", where))

    def pytest_runtest_logreport(self, report):
        hook = self.config.hook
        data = hook.pytest_report_to_serializable(config=self.config, report=report)
        self.pipe.send(("pytest_runtest_logreport", {"data": data}))

    def pytest_runtest_logfinish(self, nodeid, location):
        where = {"nodeid": nodeid, "location": location}
        self.pipe.send(("pytest_runtest_logfinish", where))


def work(config, tests, taken, pipe, folder):
    """A worker: runs tests that nobody has taken, one after the other, and sends their reports."""
    plugins = config.pluginmanager
    plugins.register(Sender(config, pipe))
    # Else all workers would capture into one file, and pytest would tell all of it twice.
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    capture.start_global_capturing()
    os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
    item = take(tests, taken)
    while item:
        following = take(tests, taken)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        item = following


def takes_long(test):
    """Mark a test that takes seconds: all but those of the cluster begin after these."""
    test.takes_long = True
    return test


def spread(items):
    """Tests in their order, but what takes long comes first: else all wait for it in the end.

    Those of the cluster come far apart: they wait for each other.
    """
    places = {}
    of_cluster = [item for item in items if "cluster" in item.fixturenames]
    for number, item in enumerate(of_cluster):
        places[item] = number / len(of_cluster)
    others = [item for item in items if item not in places]
    others.sort(key=lambda item: not hasattr(item.function, "takes_long"))
    for number, item in enumerate(others):
        places[item] = number / len(others)
    return sorted(items, key=places.__getitem__)


def take(tests, taken):
    """The next test that no worker has taken; None where there is none."""
    with taken.get_lock():
        number = taken.value
        taken.value += 1
    return tests[number] if number < len(tests) else None


# === Model ========================================================================================

ROOM = bt.Limits(4, 8192, 0)  # what the batches that are only planned may use


def plan_recipe(lab, name="recipe.json", here=".", room=ROOM, warn=pytest.fail):
    """The batch that a recipe plans when the program runs `here` in the lab; nothing is started."""
    os.chdir(lab.path / here)
    recipe = bt.Recipe(name)
    provers = bt.recipe_provers(recipe)
    return bt.plan_batch(recipe, provers, room, bt.PlanOptions(), warn)


def plans_of(lab, **options):
    """The plans of the lab's recipe, in their order. Options as of `plan_recipe`."""
    batch = plan_recipe(lab, **options)
    return [task.plan for task in batch.tasks.values()]


def test_a_plan_in_memory_is_the_plan_on_disk(lab):
    lab.prover(VERIFY)
    lab.recipe(expect="verified", tamarin_options=["--bound=5"], preprocess_flags=["X"])
    planned = plan_recipe(lab)
    path = f"{lab.path}/j.jsonl"
    journal = bt.Journal(path)
    journal.begin(planned)
    journal.close()
    loaded, _ = bt.load_batch(path, pytest.fail)
    assert loaded == planned
    plan = loaded.tasks["t--one--fake"].plan
    assert plan.options == ("--bound=5",)
    assert plan.flags == ("X",)
    assert plan.expect == "verified"


def begins(task_id, attempt=1):
    """The event that a task began."""
    return bt.Started((task_id,), task_id, attempt)


def ends(task_id, outcome, seconds=1):
    """The event that the first attempt of a task ended: with an answer, or why there is none."""
    usage = bt.Usage(seconds)
    if outcome in bt.ANSWERS:
        result = bt.Result(bt.Status.COMPLETED, bt.Verdict(outcome), usage=usage)
    else:
        result = bt.Result(bt.Status(outcome), usage=usage)
    return bt.Finished(task_id, task_id, 1, result)


@pytest.fixture
def small_batch():
    """A batch of one task, "i", that is only planned."""
    batch = bt.Batch()
    batch.apply(a_plan())
    return batch


def test_an_attempt_begins_once(small_batch):
    small_batch.apply(begins("i"))
    with pytest.raises(ValueError, match="begun before"):
        small_batch.apply(begins("i"))


@pytest.mark.parametrize("status", ["pending", "running"])
def test_no_task_finishes_as_one_that_goes_on(small_batch, status):
    small_batch.apply(begins("i"))
    with pytest.raises(ValueError, match=f"can't finish as {status}"):
        small_batch.apply(ends("i", status))


@pytest.mark.parametrize("event", [begins("j"), ends("j", "failed")])
def test_nothing_happens_to_a_task_that_was_never_planned(small_batch, event):
    with pytest.raises(KeyError):
        small_batch.apply(event)


def test_a_refused_event_leaves_no_trace(small_batch):
    small_batch.apply(a_plan(id="j"))
    small_batch.apply(begins("j"))
    with pytest.raises(ValueError, match="begun before"):
        small_batch.apply(bt.Started(("i", "j"), "i", 1))
    assert small_batch.tasks["i"] == bt.Task(a_plan())


def settled(task_id, by):
    """The event that a task was settled by the answer of another one."""
    result = bt.Result(bt.Status.SUPERSEDED, settled_by=by)
    return bt.Finished(task_id, task_id, 2, result)


@pytest.fixture
def won_race():
    """A batch in which "fast" has verified what "slow" ran into its time limit with."""
    batch = bt.Batch()
    for task_id in ("fast", "slow"):
        batch.apply(a_plan(id=task_id, key=task_id, race="r"))
    batch.apply(ends("slow", "timeout"))
    batch.apply(ends("fast", "verified"))
    batch.apply(settled("slow", by="fast"))
    return batch


def test_a_task_is_settled_by_the_answer_of_another_one(won_race):
    slow = won_race.tasks["slow"]
    assert slow.status == "superseded"
    assert slow.is_settled
    assert not slow.is_answered
    assert not won_race.needs_run(slow)


@pytest.mark.parametrize(
    "change",
    [
        a_plan(id="fast", key="edited", race="r"),
        begins("fast", attempt=2),
        bt.Header(vanished=("fast",)),
        bt.Header(again=("fast",)),
    ],
    ids=["edited", "again", "vanished", "to run again"],
)
def test_what_was_settled_has_its_own_result_back_when_that_answer_goes(won_race, change):
    won_race.apply(change)
    assert won_race.tasks["slow"].status == "timeout"


def test_what_was_settled_is_open_where_it_races_no_more(won_race):
    won_race.apply(a_plan(id="slow", key="slow"))
    assert won_race.tasks["slow"].status == "timeout"
    won_race.apply(a_plan(id="slow", key="slow", race="r"))
    won_race.apply(ends("slow", "failed"))
    won_race.apply(settled("slow", by="fast"))
    won_race.apply(a_plan(id="slow", key="edited", race="r"))
    assert won_race.tasks["slow"].status == "pending"


def test_a_result_of_its_own_outlives_the_answer_that_had_settled_it(won_race):
    won_race.apply(begins("slow", attempt=3))
    won_race.apply(ends("slow", "falsified"))
    won_race.apply(bt.Header(vanished=("fast",)))
    assert won_race.tasks["slow"].verdict == "falsified"


@pytest.mark.parametrize("by", ["slow", "other"])
def test_nothing_is_settled_by_what_has_no_answer(won_race, by):
    won_race.apply(a_plan(id="other"))
    with pytest.raises(ValueError, match="no answer that could settle 'slow'"):
        won_race.apply(settled("slow", by))


def test_what_is_in_another_race_settles_nothing(won_race):
    won_race.apply(a_plan(id="other", race="another"))
    won_race.apply(ends("other", "verified"))
    with pytest.raises(ValueError, match="no answer that could settle 'slow'"):
        won_race.apply(settled("slow", "other"))


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "not_needed"])
@pytest.mark.parametrize("by", ["fast", "slow", "unknown"])
def test_only_what_needs_no_answer_is_settled_by_another(won_race, status, by):
    result = bt.Result(bt.Status(status), settled_by=by)
    with pytest.raises(ValueError, match="'slow' can't be"):
        won_race.apply(bt.Finished("slow", "slow", 3, result))


def test_what_another_one_has_settled_has_no_verdict_of_its_own(won_race):
    result = bt.Result(bt.Status.SUPERSEDED, bt.Verdict.VERIFIED, settled_by="fast")
    with pytest.raises(ValueError, match="'slow' can't be"):
        won_race.apply(bt.Finished("slow", "slow", 3, result))


def implied(task_id, by, verdict="verified"):
    """The event that the verdict of a task follows from that of another one."""
    result = bt.Result(bt.Status.IMPLIED, settled_by=by, implied=bt.Verdict(verdict))
    return bt.Finished(task_id, task_id, 1, result)


def against(powers, **changes):
    """A plan against an attacker of the lattice "l", named by what it can do: `ab`."""
    bits = sum(1 << "abcdefg".index(power) for power in powers)
    name = powers or "none"
    return a_plan(**{"id": name, "key": name, "attacker": bt.Attacker("l", bits), **changes})


@pytest.fixture
def ordered_batch():
    """A batch in which "ab" is verified, from which "a" follows; "c" and "none" are open."""
    batch = bt.Batch()
    for powers in ("", "a", "ab", "c"):
        batch.apply(against(powers))
    batch.apply(ends("ab", "verified"))
    batch.apply(implied("a", by="ab"))
    return batch


def test_a_verdict_that_follows_is_no_verdict_of_a_prover(ordered_batch):
    weaker = ordered_batch.tasks["a"]
    assert weaker.outcome == "implied verified"
    assert weaker.verdict is None
    assert not weaker.is_answered
    assert weaker.conclusion == "verified"
    assert not weaker.wants_verdict
    assert not ordered_batch.needs_run(weaker)


@pytest.mark.parametrize(
    "attacker, verdict, others, wanted",
    [
        ("ab", "verified", "none a b ab", "verified"),
        ("ab", "verified", "c abc", None),
        ("a", "falsified", "a ab ac", "falsified"),
        ("a", "falsified", "none b c", None),
        ("ab", "incomplete", "none abc", None),
    ],
)
def test_what_follows_from_an_answer(attacker, verdict, others, wanted):
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict(verdict))
    source = bt.Task.with_result(against(attacker), result)
    for powers in others.split():
        plan = against(powers.replace("none", ""))
        assert bt.implied_verdict(source, plan) == wanted


def test_nothing_follows_in_another_order():
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
    source = bt.Task.with_result(against("ab"), result)
    for attacker in (None, bt.Attacker("other", 0)):
        assert bt.implied_verdict(source, against("", attacker=attacker)) is None


@pytest.mark.parametrize(
    "event",
    [
        implied("c", by="ab"),
        implied("none", by="ab", verdict="falsified"),
        implied("none", by="a"),
        implied("ab", by="ab"),
    ],
    ids=["not weaker", "another verdict", "no answer", "itself"],
)
def test_a_journal_that_says_what_does_not_follow_is_refused(ordered_batch, event):
    with pytest.raises(ValueError, match="does not follow|no answer"):
        ordered_batch.apply(event)


def test_only_what_is_implied_can_have_an_implied_verdict(ordered_batch):
    event = ends("c", "failed")
    result = dataclasses.replace(event.result, implied=bt.Verdict.VERIFIED)
    with pytest.raises(ValueError, match="by what is implied"):
        ordered_batch.apply(dataclasses.replace(event, result=result))


@pytest.mark.parametrize("event", [ends("c", "timeout"), implied("none", by="ab")])
def test_only_what_was_completed_can_have_a_verdict(ordered_batch, event):
    result = dataclasses.replace(event.result, verdict=bt.Verdict.VERIFIED)
    with pytest.raises(ValueError, match="can't be .* and verified"):
        ordered_batch.apply(dataclasses.replace(event, result=result))


@pytest.mark.parametrize(
    "change",
    [
        against("ab", key="edited"),
        against("ab", attacker=bt.Attacker("l", 2)),
        against("ab", attacker=None),
        begins("ab", attempt=2),
        bt.Header(vanished=("ab",)),
        bt.Header(again=("ab",)),
        against("a", attacker=bt.Attacker("other", 1)),
        bt.Header(again=("a",)),
    ],
    ids=["edited", "moved", "unordered", "again", "vanished", "to run", "other order", "asked for"],
)
def test_what_is_implied_is_open_again_when_its_source_or_its_order_goes(ordered_batch, change):
    ordered_batch.apply(change)
    assert ordered_batch.tasks["a"].status == "pending"


def test_answers_that_contradict_the_order_are_found():
    verdicts = {"": "verified", "a": "falsified", "ab": "verified", "b": "falsified", "c": "failed"}
    batch = bt.Batch()
    for powers, outcome in verdicts.items():
        plan = against(powers)
        batch.apply(plan)
        batch.apply(ends(plan.id, outcome))
    found = bt.answers_against_order(batch.tasks.values())
    assert {task_id: other.id for task_id, other in found.items()} == {
        "ab": "a",
        "a": "ab",
        "b": "ab",
    }


def test_a_new_attempt_has_no_result_yet(small_batch):
    small_batch.apply(begins("i"))
    small_batch.apply(ends("i", "verified"))
    assert small_batch.tasks["i"].verdict == "verified"
    small_batch.apply(begins("i", attempt=2))
    assert small_batch.tasks["i"].status == "running"
    assert small_batch.tasks["i"].result is None


def test_a_changed_plan_counts_the_attempts_on_and_drops_the_result(small_batch):
    small_batch.apply(begins("i"))
    small_batch.apply(ends("i", "verified"))
    small_batch.apply(a_plan(key="new"))
    assert small_batch.tasks["i"].status == "pending"
    assert small_batch.tasks["i"].result is None
    assert small_batch.tasks["i"].attempts == 1


def test_a_task_that_ran_when_it_was_withdrawn_comes_back_to_be_run(small_batch):
    small_batch.apply(begins("i"))
    small_batch.apply(bt.Header(vanished=("i",)))
    small_batch.apply(bt.Header())
    small_batch.apply(a_plan())
    assert small_batch.tasks["i"].status == "pending"


def test_many_tasks_run_again_in_no_time():
    ids = [str(number) for number in range(20_000)]
    batch = bt.Batch()
    for task_id in ids:
        batch.apply(a_plan(id=task_id))
    started = time.process_time()
    batch.apply(bt.Header(again=tuple(ids)))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("event", [begins("i"), bt.Header()])
def test_a_batch_that_goes_on_has_not_ended(small_batch, event):
    small_batch.apply(bt.Ended())
    assert small_batch.ended
    small_batch.apply(event)
    assert small_batch.ended is None


@pytest.mark.parametrize("task_id", ["", ".", "..", "a/b", "/a", "a\0b", "\ud800"])
def test_an_id_that_cannot_name_a_file_is_refused(task_id):
    with pytest.raises(ValueError, match="can't name files|surrogates not allowed"):
        bt.Batch().apply(a_plan(id=task_id))


def decode_limits(**data):
    """Limits from JSON with these members."""
    return bt.decode(bt.Limits, data)


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), True, "1"])
def test_a_number_is_a_finite_number(number):
    with pytest.raises(TypeError, match="'timeout_s'"):
        decode_limits(cores=1, memory_mb=1, timeout_s=number)


@pytest.mark.parametrize("number", [1.0, True, "1", None, 2**63, -(10**400)])
def test_a_whole_number_is_one_of_64_bits(number):
    with pytest.raises(TypeError, match="'cores'"):
        decode_limits(cores=number, memory_mb=1, timeout_s=1)


def test_what_is_missing_is_no_default_where_there_is_none():
    with pytest.raises(KeyError, match="timeout_s"):
        decode_limits(cores=1, memory_mb=1)


def test_a_new_result_was_checked_by_nobody(small_batch):
    small_batch.apply(ends("i", "verified"))
    for confirms in (True, False, True):
        small_batch.apply(bt.Rechecked("i", "x", confirms))
    task = small_batch.tasks["i"]
    assert task.confirmed_by == ("x",)
    assert task.rejected_by == ("x",)
    small_batch.apply(ends("i", "verified"))
    assert task.confirmed_by == ()
    assert task.rejected_by == ()


def test_members_that_a_newer_version_writes_are_left_out():
    limits = decode_limits(cores=1, memory_mb=2, timeout_s=3, new=4)
    assert limits == bt.Limits(1, 2, 3)


def test_events_that_a_newer_version_writes_are_left_out():
    assert bt.decode_event({"event": "new"}) is None


def a_story():
    """Events of the tasks "0" to "7", and of an "8" that comes later."""
    yield begins("0")
    yield begins("1")
    yield ends("0", "verified", 10)
    yield begins("2")
    yield ends("1", "interrupted", 11)
    yield ends("2", "timeout", 12)
    yield a_plan(id="2", entry="a", limits=bt.Limits(1, 1, 124), raised_from=bt.Limits(1, 1, 62))
    yield begins("2", attempt=2)
    yield begins("1", attempt=2)
    # From the cache: it never started.
    yield ends("3", "falsified", 13)
    yield ends("4", "timeout", 14)
    yield settled("4", by="3")
    yield settled("5", by="3")
    yield bt.Header(vanished=("7",))
    yield a_plan(id="0", key="new")
    yield a_plan(id="8")
    yield begins("0", attempt=2)
    yield ends("8", "failed", 18)


@pytest.fixture
def told_story():
    """After each event of the story: the batch, and a tally that was told of all events."""
    batch = bt.Batch(bt.Header())
    # Two recipe entries, three timeouts.
    for number, entry in enumerate("abababab"):
        limits = bt.Limits(1, 1, 60 + number % 3)
        race = "r" if number in (3, 4, 5) else ""
        plan = a_plan(id=str(number), entry=entry, limits=limits, race=race)
        batch.apply(plan)
    tally = bt.Tally(batch, batch.tasks.values())

    def steps():
        for event in a_story():
            batch.apply(event)
            tally.note(event)
            yield batch, tally

    return steps()


def test_the_tally_counts_the_outcomes_of_the_tasks(told_story):
    for batch, tally in told_story:
        tasks = batch.tasks.values()
        assert tally.counts() == bt.count_outcomes(tasks)


def test_the_tally_is_told_of_a_raised_limit_when_that_has_happened():
    batch = bt.Batch(bt.Header())
    batch.apply(a_plan())
    tally = bt.Tally(batch, batch.tasks.values())
    events = [
        begins("i"),
        ends("i", "timeout"),
        a_plan(limits=bt.Limits(1, 1024, 120), raised_from=a_plan().limits),
    ]
    for event in events:
        batch.apply(event)
    for event in events:
        tally.note(event)
    assert tally.counts() == {"pending": 1}
    assert tally.done == 0
    assert tally.forecast({}, 1) == (240, True)


def test_the_tally_does_not_count_anew_for_answers_of_other_stages(monkeypatch):
    stages = (
        bt.Stage(a_plan().limits, (), "k"),
        bt.Stage(bt.Limits(1, 1024, 7), ("--heuristic=C",), "c"),
    )
    batch = bt.Batch(bt.Header())
    first = a_plan(stages=stages)
    batch.apply(first)
    batch.apply(a_plan(id="j", stages=stages))
    tally = bt.Tally(batch, batch.tasks.values())
    # With thousands of such answers that would take minutes.
    monkeypatch.setattr(bt.Tally, "_count_anew", lambda tally: pytest.fail("it counts anew"))
    for event in (first.at_stage(1), begins("i")):
        batch.apply(event)
        tally.note(event)
    assert tally.forecast({}, 2) == (60 + (60 + 7) / 2, True)
    # As the cache answers: both have happened when they are told.
    events = [a_plan(id="j", stages=stages).at_stage(1), ends("j", "verified")]
    for event in events:
        batch.apply(event)
    for event in events:
        tally.note(event)
    assert tally.counts() == {"verified": 1, "running": 1}
    assert tally.done == 1


def test_the_tally_sees_that_another_stage_has_its_result_back():
    stages = (bt.Stage(a_plan().limits, (), "k"), bt.Stage(a_plan().limits, ("-x",), "c"))
    first = a_plan(stages=stages)
    batch = bt.Batch(bt.Header())
    for event in (first.at_stage(1), begins("i"), ends("i", "verified"), first):
        batch.apply(event)
    tally = bt.Tally(batch, batch.tasks.values())
    assert tally.counts() == {"pending": 1}
    back = first.at_stage(1)
    batch.apply(back)
    tally.note(back)
    assert tally.counts() == {"verified": 1}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_tally_counts_as_verified_nothing_that_rests_on_a_falsified_lemma(order):
    batch = bt.Batch(bt.Header())
    batch.apply(a_plan(id="0", lemma="types"))
    batch.apply(a_plan(id="1", lemma="secrecy", assumes=("types",)))
    tally = bt.Tally(batch, batch.tasks.values())
    events = [ends("0", "falsified"), ends("1", "verified")]
    for number in order:
        batch.apply(events[number])
        tally.note(events[number])
    assert tally.counts() == {"falsified": 1, "resting on a falsified lemma": 1}


def test_the_tally_counts_all_tasks_and_those_that_are_done(told_story):
    for batch, tally in told_story:
        assert tally.total == len(batch.tasks)
        assert tally.done == batch.count(*bt.FINAL)


def test_the_tally_forecasts_as_one_that_counts_anew(told_story):
    for batch, tally in told_story:
        tasks = batch.tasks.values()
        fresh = bt.Tally(batch, tasks)
        running = {}
        for task in tasks:
            if task.status == "running":
                running[task.id] = 5.0
        assert tally.forecast(running, 2) == fresh.forecast(running, 2)


# === Theory =======================================================================================


def cases(text):
    """The cases of a table, each (text, wanted).

    A case begins with a line `--- NAME: WANTED`; its text is all that stands below that line, up
    to the next case.
    """
    table = []
    for case in text.split("\n--- ")[1:]:
        heading, _, body = case.partition("\n")
        name, _, wanted = heading.partition(":")
        table.append(pytest.param(body, wanted.strip(), id=name))
    return table


def rows(text):
    """The rows of a table: one a line, ":" between its words."""
    table = []
    for line in text.strip().splitlines():
        words = [word.strip() for word in line.split(":")]
        table.append(pytest.param(*words, id=line.strip()))
    return table


@pytest.fixture
def load(tmp_path):
    """Write a theory with this body (and other files), and load it."""

    def loader(body, files=None, **options):
        for name, text in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return load_whole(tmp_path, f"theory T\nbegin\n{body}\nend\n", **options)

    return loader


def load_whole(folder, text, **options):
    """Write a theory, from its first word on, and load it."""
    path = folder / "t.spthy"
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, encoding="utf-8")
    return bt.load_theory(str(path), **options)


def lemma_names(theory):
    """The names of its lemmas, in their order, as words of a text."""
    return " ".join(lemma.name for lemma in theory.lemmas)


def check_is_read(load, text):
    """Assert that the lemma behind this text is found."""
    theory = load(text + '\nlemma a: "T"')
    assert lemma_names(theory) == "a"


def shown_lemmas(theory):
    """Its lemmas, in their order, each in a line `SIDE NAME TRAIT`."""
    lines = []
    for lemma in theory.lemmas:
        line = f"{lemma.side} {lemma.name} {lemma.trait}"
        lines.append(line.strip())
    return "\n".join(lines)


def shown_places(theory):
    """Where its lemmas stand, in their order, each as `FILE:LINE`."""
    places = []
    for lemma in theory.lemmas:
        file = os.path.basename(lemma.file)
        places.append(f"{file}:{lemma.line}")
    return " ".join(places)


def assumed(theory, name, side=""):
    """What a lemma of the theory takes for granted, as words of a text."""
    for lemma in theory.lemmas:
        if lemma.name == name and lemma.side == side:
            return " ".join(lemma.assumes)
    raise AssertionError(f"no lemma {name} {side}")


# By the sources of tamarin-prover 1.11 (lib/theory/src/Theory/Text/Parser*), and compared with what
# it lists. Each theory has the lemmas that its heading names.
FOUND = r"""
--- nested comments: a
/* /* lemma x: "T" */ lemma y: "T" */lemma a: "T"
--- a comment inside of a formula hides its quote: a b
lemma a: "All x #i. // not the end: "
 A(x)@i ==> F"
lemma b: "T"
--- constants hold no comments: a
rule Q: [In('http://x')]-->[Out('a/*b')]
lemma a: "T"
--- Tamarin sees a comment behind the quote of a constant of two lines: a
rule Q: [In('//x
 y')]-->[]
lemma a: "T"
--- a double quote in a constant of a formula: a b
lemma a: "All #i. A('x"y')@i ==> F"
lemma b: "T"
--- a formal comment with an escaped star: a
text{* lemma x: "T" \* *}
lemma a: "T"
--- no blank that isn't needed: a
lemma(modulo E)a[reuse,]:all-traces"T"
--- comments between the words of a lemma: a
lemma /* c */ a // d
 : exists-trace // e
"T"
--- a text for an export: a
export p: "lemma x: \"a\" \\ // y"
lemma a: "T"
--- a tactic with an apostrophe: a
tactic: t
presort: C
prio: {smallest}
 regex "don't // x" | isFactName "lemma"
lemma a: "T"
--- attributes of a rule: a
rule Q [color=#ffffff, process="in('x);// y", role="lemma a: "]: []-->[]
lemma a: "T"
--- a process and a let beside lemmas: a b
process: new end; !P | in(x); event A(x)
lemma a: "T"
let Q = 0
lemma b: "T"
--- lemmas for an export: a
process: 0
equivLemma: 0 0
diffEquivLemma: out(diff('1','2'))
lemma a: "T"
--- a variable named like a directive: a b
lemma a: "All #ifdef. A('1')@#ifdef ==> F"
lemma b: "T"
--- names with any letters and digits: é 1a_b
lemma é: "T"
lemma 1a_b: "T"
"""


@pytest.mark.parametrize("text, names", cases(FOUND))
def test_lemmas_are_found_where_tamarin_finds_them(load, text, names):
    assert lemma_names(load(text)) == names


# By the same sources, as are those below. Each line ends where an item may begin.
BEFORE_AN_ITEM = r"""
rule R: [Fr(~x)]-->[Out(~x)]
rule end: []-->[]
rule (modulo E) end[color=#ffffff]: []-->[]
restriction r: "T"
restriction lemma: "T"
functions: f/1 [private]
functions: f/1, g/2
functions: f/1,
builtins: hashing
equations: f(x) = g(y)
equations: f(x) = <x, y>
equations: f(x) = 'a'
equations: f(x) = x_
predicates: P(x) <=> ⊤
predicates: P(x) <=> not ⊥
heuristic: C
heuristic: {t}
text{* x *}
export e: "x"
tactic: t prio: regex "x"
process: 0
process: event A('1')
process: out(x)
let P = new x; 0
diffEquivLemma: P
// c
/* c */
"""


@pytest.mark.parametrize("before", BEFORE_AN_ITEM.strip().splitlines())
def test_where_an_item_ends_another_may_begin(load, before):
    check_is_read(load, before)


# No item begins at a word that stands where a name can.
NAMES_LIKE_ITEMS = r"""
functions: end/0, lemma/1, test/2, restriction/3
functions: f/0, lemma(bitstring): bitstring, end(bitstring): bitstring
equations: f(x) = end, test(x) = lemma
macros: m(x) = end, end(x) = x
predicates: P(x) <=> Ex end. end = x
predicates: P(x) <=> All lemma x. lemma = x
predicates: P(x) <=> x = end | not end = x
predicates: P(x) <=> Ex end x. x = end
predicates: P(x) <=> not end << x
rule R: let end = '1' lemma = end end.1 = lemma in [In(end)]-->[]
process: new end; insert end, lemma; delete end; lock end; unlock end; 0
process: lookup end as end in end
process: lookup x as test in 0
process: if end = x then end else end
process: if end << x then insert end , x
process: let end = x in end
process: let end :pub = x in 0
process: in(end); event A(end)
let end = 0
tactic: end prio: {smallest} regex "lemma x: "
"""


@pytest.mark.parametrize("text", NAMES_LIKE_ITEMS.strip().splitlines())
def test_a_name_is_no_item(load, text):
    check_is_read(load, text)


STORED_PROOFS = """
by solve( A( x ) @ #i )
simplify case end by sorry qed
simplify case end by sorry next case test by sorry qed
"""


@pytest.mark.parametrize("proof", STORED_PROOFS.strip().splitlines())
def test_a_lemma_may_follow_a_stored_proof(load, proof):
    theory = load(f'lemma z: "T" {proof}\nlemma a: "T"')
    assert lemma_names(theory) == "z a"


ENDINGS = ["end", "end junk", "end\n=====", "end // c", "end /* c */", "end \" ' #endif /*"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_counts_behind_the_end(tmp_path, ending):
    text = f'theory T begin\nlemma a: "T"\n{ending}\nlemma x: "T"\n'
    assert lemma_names(load_whole(tmp_path, text)) == "a"


def test_attributes_are_kept_as_written_but_for_white_space(load):
    theory = load(
        "lemma a [ sources , hide_lemma = b,\n"
        ' heuristic=o "x y" , output=[spthy, msr] ]:\n'
        ' exists-trace "T"'
    )
    (lemma,) = theory.lemmas
    wanted = 'sources; hide_lemma=b; heuristic=o "x y"; output=[spthy,msr]'
    assert "; ".join(lemma.attributes) == wanted


def test_a_lemma_knows_its_file_and_its_line(load):
    theory = load('lemma a:\n "T"\n\nlemma b: "T" lemma c: "T"')
    assert shown_places(theory) == "t.spthy:3 t.spthy:6 t.spthy:6"


def test_a_lemma_is_about_all_traces_unless_it_says_otherwise(load):
    theory = load('lemma a: "T" lemma b: all-traces "T" lemma c: exists-trace "T"')
    assert shown_lemmas(theory) == "a all-traces\nb all-traces\nc exists-trace"


def test_a_stored_proof_belongs_to_the_lemma_before_it(load):
    theory = load("""
        lemma a: "T"
        lemma b: "T"
        simplify
        solve( A( '(' ) @ #i )
          case end
          by sorry
        qed
        lemma c: "T"
    """)
    first, second, third = theory.lemmas
    assert first.proof is None
    assert second.proof
    assert third.proof is None


def test_sorry_alone_is_no_stored_proof(load):
    theory = load('lemma a: "T"\n/* guarded */ by /* */ sorry')
    assert theory.lemmas[0].proof is None


# By the sources of tamarin-prover 1.11 (lib/theory/src/Theory/Text/Parser*). After each name: the
# line of the error (the text begins in line 3), and what the message must say.
REFUSED = r"""
--- an open comment: 4 comment is never closed
lemma a: "T"
/* /* */
--- an open formula: 3 double quote is never closed
lemma a: "All x
--- an open formal comment: 3 never closed
text{* a
--- a star in a formal comment: 3 star
text{* a * b *}
--- an open constant: 3 single quotes
rule Q: [In('x)]-->[]
--- a second lemma of this name: 4 second lemma 'a'
lemma a: "T"
lemma a: "T"
--- an unknown attribute: 3 reused
lemma a [reused]: "T"
--- no colon: 3 expected
lemma a "T"
--- a second heuristic: 4 second 'heuristic:'
heuristic: s
heuristic: C
--- a disabled ifdef without an end: 3 no #endif
#ifdef X
lemma a: "T"
--- an enabled ifdef without an end: 4 no #endif
#define X
#ifdef X
lemma a: "T"
--- an endif too many, however they are counted: 6 nested
#ifdef X
#ifdef Y
#endif
#endif
#endif
--- an included file that is not there: 3 nope.spthy
#include "nope.spthy"
--- an included file without a name: 3 expected '#include
#include " "
--- a directive inside of an item: 4 between items
rule Q: [In('1')
#ifdef X
]-->[]
#endif
--- diff without --diff: 3 --diff
rule Q: [In(x)]-->[Out(diff(x, '1'))]
--- a diffLemma without --diff: 3 --diff
diffLemma a:
--- rules with sides without --diff: 3 --diff
rule Q: []-->[] left rule Q: []-->[] right rule Q: []-->[]
--- a restriction with a side without --diff: 3 --diff
restriction r [left]: "T"
--- a case test that is not there: 3 no case test 't'
lemma a: t accounts for "T"
"""


def refusal(load, text, **options):
    """The error for a theory with this body, which must be refused."""
    with pytest.raises(bt.InputError) as caught:
        load(text, **options)
    return caught.value


@pytest.mark.parametrize("text, wanted", cases(REFUSED))
def test_what_tamarin_refuses_is_refused_with_its_place(load, text, wanted):
    line, _, message = wanted.partition(" ")
    error = refusal(load, text)
    assert message in str(error)
    assert error.line == int(line)
    assert error.file.endswith("t.spthy")


def test_a_nul_is_refused_with_its_place(load):
    error = refusal(load, 'lemma a: "T"\n\0')
    assert "NUL" in str(error)
    assert error.line == 4


NO_THEORIES = {
    "nothing": b"",
    "blanks": b"  \n",
    "a lemma alone": b"lemma a: x",
    "one word": b"theory",
    "two words": b"theory T",
    "no end": b"theory T begin",
    "a cut lemma": b"theory T begin lemma end",
    "a byte order mark": b"\xef\xbb\xbftheory T begin end",
    "latin-1": b"theory T begin // \xe9\nend",
    "zeros": b"\0" * 100,
    "brackets": b"(" * 99_999,
}


@pytest.mark.parametrize("data", NO_THEORIES.values(), ids=NO_THEORIES)
def test_what_is_no_theory_is_refused(tmp_path, data):
    with pytest.raises(bt.InputError):
        load_whole(tmp_path, data)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path):
    with pytest.raises(bt.InputError, match="not UTF-8") as caught:
        load_whole(tmp_path, b"theory T begin\n// \xe9\nend")
    assert caught.value.line == 2


@pytest.mark.parametrize("name", ["none.spthy", "", "fifo", "a\0b"])
def test_what_is_no_file_cannot_be_read(tmp_path, name):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(bt.InputError, match="can't read"):
        bt.load_theory(f"{tmp_path}/{name}")


# The lemmas: `a` where the condition holds, else `b`; the flags that are given; the condition.
CONDITIONS = """
a: X: X
b: X: not X
a: : notX
b: X: X & Y
a: Y: X | Y
a: X Z: not X & not Y | Z
a: Z: not X & (Y | Z)
a: Y: ¬X ∧ Y
b: Y: not (X | Y)
a: Y: (X /* c */ | Y)
"""


@pytest.mark.parametrize("wanted, flags, condition", rows(CONDITIONS))
def test_conditions_of_flags(load, wanted, flags, condition):
    text = f'#ifdef {condition}\nlemma a: "T"\n#else\nlemma b: "T"\n#endif\n'
    theory = load(text, flags=flags.split())
    assert lemma_names(theory) == wanted


# By Theory/Text/Parser/Token.hs and what tamarin-prover 1.11 lists. Nothing is defined outside.
BRANCHES = """
--- disabled text ends at an endif in a comment: a
#ifdef X
skipped // #endif
lemma a: "T"
--- a disabled else ends at an endif behind open quotes: a b
#define X
#ifdef X
lemma a: "T"
#else " ' /*
#endif
lemma b: "T"
--- enabled branches nest: a b
#define X
#define Y
#ifdef X
#ifdef Y
lemma a: "T"
#endif
lemma b: "T"
#endif
"""


@pytest.mark.parametrize("text, names", cases(BRANCHES))
def test_disabled_text_ends_at_the_first_directive_wherever_it_stands(load, text, names):
    assert lemma_names(load(text)) == names


# Facts of tamarin-rs 1.13. tamarin-prover 1.11 refuses all of this: its own words are the reason.
NESTED = """
--- an ifdef in a disabled branch has its own endif: b
#ifdef X
#ifdef Y
lemma a: "T"
#endif
lemma a2: "T"
#endif
lemma b: "T"
--- so has one behind which the other branch comes: b c
#ifdef X
#ifdef Y
#else
lemma a: "T"
#endif
#else
lemma b: "T"
#endif
lemma c: "T"
--- a comment there counts for nothing: b
#ifdef X
#ifdef Y
/* #endif /* */ #ifdef */ // #endif
#endif
lemma a: "T"
#endif
lemma b: "T"
"""


@pytest.mark.parametrize("text, names", cases(NESTED))
def test_ifdefs_in_a_disabled_branch_are_counted_where_nothing_else_can_be_read(load, text, names):
    assert lemma_names(load(text)) == names
    included = load('#include "part.spthy"', files={"part.spthy": text})
    assert lemma_names(included) == names


def test_names_of_included_files_may_have_any_characters(load):
    files = {"my-part_1.spthy": 'lemma a: "T"\n', "o ther/ü+.spthy": 'lemma b: "T"\n'}
    theory = load('#include "my-part_1.spthy"\n#include " o ther/ü+.spthy "', files=files)
    assert lemma_names(theory) == "a b"


def test_solved_may_be_a_whole_proof(load):
    (lemma,) = load('lemma a: exists-trace "T"\nSOLVED // trace found\n').lemmas
    assert lemma.claim == "verified"


def test_what_only_another_prover_reads_is_this_provers_to_refuse(lab):
    refuse = "echo '\"part-1.spthy\" (line 1, column 1): unexpected -' >&2; exit 1\n"
    lab.prover(refuse)
    lab.prover(VERIFY, alias="rs")
    lab.write("part-1.spthy", 'lemma a: "T"\n')
    lab.write("t.spthy", 'theory T begin\n#include "part-1.spthy"\nend\n')
    lab.recipe(tamarin_versions=["fake", "rs"])
    lab.run("run recipe.json", code=3)
    ends = lab.finishes()
    assert "unexpected -" in ends["t--a--fake"]["reason"]
    assert ends["t--a--rs"]["verdict"] == "verified"


@pytest.fixture
def with_includes(load):
    """A theory that includes a file, which includes another one that defines a flag."""
    one = '#include "two.spthy"\nlemma a: "T"\nend\nlemma unread: "T"\n'
    files = {"sub/one.spthy": one, "sub/two.spthy": '#define X\nlemma b: "T"\n'}
    return load('#include "sub/one.spthy"\n#ifdef X\nlemma c: "T"\n#endif\n', files)


def test_includes_are_relative_to_the_including_file(with_includes):
    names = [os.path.basename(path) for path in with_includes.files]
    assert names == ["t.spthy", "one.spthy", "two.spthy"]


def test_included_files_share_flags(with_includes):
    assert lemma_names(with_includes) == "b a c"


def test_included_lemmas_have_their_own_file_and_line(with_includes):
    assert shown_places(with_includes) == "two.spthy:2 one.spthy:2 t.spthy:5"


def test_a_whole_theory_that_is_included_is_silently_no_item(load):
    files = {"whole.spthy": 'theory S begin\nlemma x: "T"\nend'}
    theory = load('#include "whole.spthy"\nlemma a: "T"', files)
    assert lemma_names(theory) == "a"


def test_an_included_file_silently_ends_at_a_stray_directive(load):
    files = {"stray.spthy": 'lemma a: "T"\n#endif\nlemma x: "T"'}
    theory = load('#include "stray.spthy"\nlemma b: "T"', files)
    assert lemma_names(theory) == "a b"


def test_an_include_cycle_is_an_error(load):
    error = refusal(load, '#include "a.spthy"', files={"a.spthy": '\n#include "t.spthy"'})
    assert "includes itself" in str(error)
    assert error.line == 2
    assert error.file.endswith("a.spthy")


# By ClosedTheory.hs and Prover.hs of tamarin-prover 1.11.
ASSUMING = """
lemma early: "T"
lemma r1 [reuse]: "T"
lemma r2 [reuse]: exists-trace "T"
lemma s1 [sources]: "T"
lemma both [typing, reuse]: "T"
lemma s2 [sources]: "T"
lemma r3 [reuse]: "T"
lemma hides [hide_lemma=r1, hide_lemma=both]: "T"
lemma hides_all [hide_lemma=ALL]: "T"
lemma sources_exists [sources]: exists-trace "T"
lemma late: "T"
"""


@pytest.mark.parametrize("name, wanted", rows("early: s1 both s2 \n r1: s1 both s2"))
def test_all_sources_lemmas_are_assumed(load, name, wanted):
    assert assumed(load(ASSUMING), name) == wanted


def test_earlier_reuse_lemmas_are_assumed(load):
    assert assumed(load(ASSUMING), "late") == "r1 s1 both s2 r3"


@pytest.mark.parametrize("name, wanted", rows("s1: \n s2: both \n sources_exists: both"))
def test_a_sources_lemma_assumes_only_earlier_ones_to_be_reused(load, name, wanted):
    assert assumed(load(ASSUMING), name) == wanted


@pytest.mark.parametrize("name, wanted", rows("hides: s1 both s2 r3 \n hides_all: s1 both s2"))
def test_reuse_lemmas_can_be_hidden_and_sources_lemmas_cannot(load, name, wanted):
    assert assumed(load(ASSUMING), name) == wanted


# By Prover.hs, ClosedTheory.hs and the parser of tamarin-prover 1.11.
@pytest.fixture
def diff_theory(load):
    """A theory for --diff with lemmas of all kinds."""
    body = """
        lemma r [reuse, left]: "T"
        lemma s [sources, right]: "T"
        lemma a [hide_lemma=r]: "T"
        diffLemma d [reuse]:

        lemma dr [diff_reuse]: "T"
        lemma ex [diff_reuse]: exists-trace "T"
    """
    return load(body, diff=True)


DIFF_LEMMAS = """
LHS r all-traces
RHS s all-traces
RHS a all-traces
LHS a all-traces
RHS dr all-traces
LHS dr all-traces
RHS ex exists-trace
LHS ex exists-trace
d diff
Observational_equivalence diff
"""


def test_diff_mode_lists_both_sides_then_the_equivalences(diff_theory):
    assert shown_lemmas(diff_theory) == DIFF_LEMMAS.strip()


def test_diff_mode_assumes_by_side_and_ignores_hide_lemma(diff_theory):
    assert assumed(diff_theory, "a", "LHS") == "r s"
    assert assumed(diff_theory, "a", "RHS") == "s"


def test_an_equivalence_assumes_sources_and_diff_reuse_lemmas(diff_theory):
    assert assumed(diff_theory, "d") == "s dr"
    assert assumed(diff_theory, "Observational_equivalence") == "s dr"


def test_the_equivalence_that_is_always_asked_is_listed_once(load):
    theory = load("diffLemma Observational_equivalence:", diff=True)
    assert lemma_names(theory) == "Observational_equivalence"


@pytest.mark.parametrize(
    "text",
    [
        "process: 0",
        "predicates: P(x) <=> x = x",
        'export p: "x"',
        "let P = 0",
        'lemma a: t accounts for "T"',
    ],
)
def test_diff_mode_refuses_what_has_no_sides(load, text):
    assert "--diff" in str(refusal(load, text, diff=True))


@pytest.fixture
def accountability(load):
    """A theory with an accountability lemma, `acc`, before another one, `z`."""
    return load("""
        test t: "T"
        test u: "T"
        lemma acc [reuse]: t, u accounts for "T"
        lemma z [reuse]: "T"
    """)


# By Accountability/Generation.hs of tamarin-prover 1.11.
ACCOUNTABILITY_LEMMAS = """
z all-traces
acc_t_suff exists-trace
acc_u_suff exists-trace
acc_verif_empty all-traces
acc_t_verif_nonempty all-traces
acc_u_verif_nonempty all-traces
acc_t_min all-traces
acc_u_min all-traces
acc_t_uniq all-traces
acc_u_uniq all-traces
acc_t_inj all-traces
acc_u_inj all-traces
acc_t_single exists-trace
acc_u_single exists-trace
"""


def test_an_accountability_lemma_becomes_its_parts_behind_all_others(accountability):
    assert shown_lemmas(accountability) == ACCOUNTABILITY_LEMMAS.strip()


def test_a_part_knows_its_accountability_lemma(accountability):
    other, *parts = accountability.lemmas
    assert other.parent == ""
    assert {part.parent for part in parts} == {"acc"}


def test_parts_of_an_accountability_lemma_assume_what_stands_before_them(accountability):
    assert assumed(accountability, "acc_verif_empty") == "z"
    wanted = "z acc_verif_empty acc_t_verif_nonempty"
    assert assumed(accountability, "acc_u_verif_nonempty") == wanted


def test_auto_sources_adds_a_lemma_that_all_others_assume(load):
    theory = load('lemma a: "T"', auto_sources=True)
    assert lemma_names(theory) == "a AUTO_typing"
    assert theory.lemmas[1].optional
    assert assumed(theory, "a") == "AUTO_typing"


def test_a_lemma_of_the_name_that_auto_sources_adds_is_kept(load):
    theory = load('lemma AUTO_typing: "T"', auto_sources=True)
    assert lemma_names(theory) == "AUTO_typing"
    assert not theory.lemmas[0].optional


def test_a_configuration_block_counts_as_options(tmp_path):
    configured = 'theory T configuration: "--auto-sources --stop-on-trace=NONE" begin end'
    theory = load_whole(tmp_path, configured)
    assert theory.configuration == ("--auto-sources", "--stop-on-trace=NONE")
    assert theory.auto_sources
    assert lemma_names(theory) == "AUTO_typing"


AUTO_SOURCES_LEMMAS = """
LHS a all-traces
LHS AUTO_typing_LHS all-traces
RHS a all-traces
RHS AUTO_typing_RHS all-traces
Observational_equivalence diff
"""


def test_auto_sources_in_diff_mode_sorts_by_side(load):
    theory = load('lemma a: "T"', auto_sources=True, diff=True)
    assert shown_lemmas(theory) == AUTO_SOURCES_LEMMAS.strip()


@pytest.fixture
def with_oracles(load):
    """A theory with named oracles, here and in an included file, and the default one."""
    included = 'lemma i [heuristic=o "y"]: "T" lemma j [heuristic=O]: "T"'
    files = {"sub/i.spthy": included, "t.oracle": ""}
    body = """
        heuristic: o "tools/x" s
        #include "sub/i.spthy"
        lemma a [heuristic=O]: "T"
        lemma b [heuristic=sO]: "T"
    """
    return load(body.replace("        ", ""), files)


# Where the prover runs, its options, and the oracles that it calls. By Main/TheoryLoader.hs.
ORACLES = """
--- as the theory says: tools/x sub/y sub/oracle t.oracle
.
--- elsewhere the default is another one: tools/x sub/y sub/oracle oracle
sub --oraclename=z
--- a heuristic that is given replaces those of the theory: sub/z
sub --heuristic=so --oraclename=z
--- of options that are given twice the last counts: sub/z
sub --heuristic=s --heuristic=o --oraclename=y --oraclename=z
--- a heuristic that is given takes the default: t.oracle
. --heuristic=o
--- the name of a tactic is no heuristic:
. --heuristic={o}s
"""


@pytest.mark.parametrize("text, wanted", cases(ORACLES))
def test_oracles_are_those_that_the_prover_calls(with_oracles, tmp_path, text, wanted):
    folder, *options = text.split()
    oracles = bt.used_oracles(with_oracles, options, str(tmp_path / folder))
    relative = [os.path.relpath(path, tmp_path) for path in oracles]
    assert " ".join(relative) == wanted


# Two that say the same.
PLAIN = """
rule R: [ Fr(~x) ]--[ A( ~x, 'a  b' ) ]->[]
lemma a: "All x #i. A(x)@i ==> F"
by sorry
builtins: hashing
lemma b: "All x #i. A(x)@i ==> F"
text{* x *}
"""
DRESSED = """
// c
rule  R:  [  Fr(~x)  ]--[  A(  ~x,  'a  b'  )  ]->[]
/* d
*/lemma
 a:
 "All
 x
 #i.
 A(x)@i
 ==>
 F"
by/**/ sorry
#ifdef X
lemma x: "All x #i. A(x)@i ==> F"
#endif
builtins: hashing /* */
lemma b: "All x #i. A(x)@i ==> F"
text{* x *}
"""
LEMMA_A = PLAIN[PLAIN.index("lemma a") : PLAIN.index("builtins")]
LEMMA_B = PLAIN[PLAIN.index("lemma b") : PLAIN.index("text")]


def test_comments_and_white_space_do_not_count(load):
    plain = load(PLAIN)
    dressed = load(DRESSED)
    assert plain.digest == dressed.digest
    assert bt.lemma_parts(plain) == bt.lemma_parts(dressed)


def test_lemmas_of_the_same_text_differ_by_their_places(load):
    parts = bt.lemma_parts(load(PLAIN))
    assert parts["a"] != parts["b"]


def test_what_a_lemma_depends_on_leaves_other_lemmas_out(load):
    both = load(PLAIN)
    only_a = load(PLAIN.replace(LEMMA_B, ""))
    assert bt.lemma_parts(only_a)["a"] == bt.lemma_parts(both)["a"]
    assert only_a.split_digests().rest == both.split_digests().rest
    assert only_a.digest != both.digest


def test_the_place_of_a_lemma_in_the_rest_counts(load):
    without_b = PLAIN.replace(LEMMA_B, "")
    earlier = load(without_b.replace(LEMMA_A, LEMMA_B + LEMMA_A))
    plain = load(PLAIN)
    assert bt.lemma_parts(earlier)["b"] != bt.lemma_parts(plain)["b"]
    assert earlier.split_digests().rest == plain.split_digests().rest


def test_a_blank_in_a_constant_counts(load):
    changed = load(PLAIN.replace("a  b", "a b"))
    assert changed.split_digests().rest != load(PLAIN).split_digests().rest


def test_the_token_text_has_a_segment_for_each_item(load):
    segments = load("rule R: [ Fr(~x) ]--[ A( ~x, 'a  b' ) ]->[]\n").segments
    assert segments == (
        ("", "theory T begin", ""),
        ("", "rule R: [Fr(~x)]--[A(~x,'a  b')]->[]", "rule"),
        ("", "end", "end"),
    )


def test_a_stored_proof_is_a_segment_of_its_own(load):
    segments = load('lemma a: "T" simplify by sorry\nlemma b: "T"').segments
    _, statement, proof, other, _ = segments
    assert statement == ("a", 'lemma a: "T"', "lemma")
    assert proof == ("a", "simplify by sorry", "proof")
    assert other == ("b", 'lemma b: "T"', "lemma")


DECLARATIONS = """
builtins: hashing, xor
function: f/1
functions: mac(bitstring, bitstring): bitstring [private], g/2[private, destructor]
equations: f(<x, y>) = <y, x>, /* here */ g(x, 'a, b') = x
macros: m(x, y) = <x, <y, x>>, c() = 'c'
options: translation-progress
predicate: P(x, y) <=> Ex #i. A(x)@i & not(x = y), Q(x) <=> T
"""


def test_declarations_are_lists_of_the_items_of_a_theory(load):
    items = load(DECLARATIONS).items
    assert items.builtins == ("hashing", "xor")
    assert items.functions == (
        ("f", "/1", ()),
        ("mac", "(bitstring,bitstring): bitstring", ("private",)),
        ("g", "/2", ("private", "destructor")),
    )
    assert items.equations == ("f(<x,y>) = <y,x>", "g(x,'a, b') = x")
    assert items.macros == ("m(x,y) = <x, <y,x>>", "c() = 'c'")
    assert items.options == ("translation-progress",)
    assert items.predicates == ("P(x,y) <=> Ex #i. A(x)@i & not(x = y)", "Q(x) <=> T")


INCLUDED_RULES = """
rule (modulo E) R [color=#ff0000, process="in(<x,[y)"]:
  let x = <a, 'in [ '>
      y = h(x) in
  [ In(x), !F(<x, y>)[+] ]--[ A(x, y), _restrict(P(x, 'a)')) ]->[ Out(h(x, y)) ]
rule NoActions: [ Fr(~n) ] --> [ Out(~n) ]
end
rule Behind: []--[Behind()]->[]
"""
WITH_INCLUDED_RULES = """
#ifdef NEVER
rule Never: []--[Never()]->[]
#endif
#include "rules.spthy"
tactic: t
"""


def test_rules_are_read_with_those_of_included_files_and_none_that_are_disabled(load):
    items = load(WITH_INCLUDED_RULES, {"rules.spthy": INCLUDED_RULES}).items
    rule, without_actions = items.rules
    assert rule == bt.RuleText(
        name="R",
        attributes=("color=#ff0000", 'process="in(<x,[y)"'),
        let_block="x = <a,'in [ '> y = h(x)",
        premises=("In(x)", "!F(<x,y>)[+]"),
        actions=("A(x,y)", "_restrict(P(x,'a)'))"),
        conclusions=("Out(h(x,y))",),
    )
    wanted = bt.RuleText("NoActions", (), "", ("Fr(~n)",), (), ("Out(~n)",))
    assert without_actions == wanted
    assert items.of_kind("tactic", "process") == ("tactic: t",)


STATEMENTS = """
axiom one [left]: "not 'say \"' = 'x'" // a comment
lemma two [reuse, output=[spthy], heuristic=o "a]b"]: exists-trace "Ex #i. A('a//')@i" by sorry
diffLemma Observational_equivalence:
"""


def test_statements_are_read_without_proofs(load):
    items = load(STATEMENTS, diff=True).items
    kinds = ("lemma", "diffLemma", "restriction", "test")
    assert tuple(items.statements_of(*kinds)) == (
        bt.Statement("restriction", "one", ("left",), "", "not 'say \"' = 'x'"),
        bt.Statement(
            "lemma",
            "two",
            ("reuse", "output=[spthy]", 'heuristic=o "a]b"'),
            "exists-trace",
            "Ex #i. A('a//')@i",
        ),
        bt.Statement("diffLemma", "Observational_equivalence", (), "", ""),
    )


def test_statements_without_a_word_are_not_taken_apart(load, monkeypatch):
    items = load(STATEMENTS, diff=True).items
    taken_apart = []
    monkeypatch.setattr(bt, "_statement", taken_apart.append)
    list(items.statements_of("lemma", "restriction", words=("absent", "Ex #i")))
    assert [item.kind for item in taken_apart] == ["lemma"]


# A rule with the actions Commit/2, Seen/1 and !Kept/1, and formulas of lemmas about others.
COMMITS = "rule R: [ Fr(~n) ]--[ Commit(~n, 'a'), Seen(<~n, 'b'>), !Kept(~n) ]->[]"
UNKNOWN_ACTIONS = """
--- all are known: nothing
"All x y #i #j. Commit(x, y)@i & Seen(x)@j ==> (Ex #k. !Kept(x)@k) & not (x = h(y))"
--- the intruder's: nothing
"All x #i. K(x)@i ==> Ex #j. !KU(x)@j & (Ex #k. KU(x)@k) & (Ex #l. KD(x)@l)"
--- in a constant: nothing
"All #i. Seen('Comit(x)@i')@i ==> F"
--- a slip of the pen: Comit/2 (did you mean Commit/2?), anyway
"All x y #i. Comit(x, y)@i ==> F"
--- capitals: COMMIT/2 (did you mean Commit/2?)
exists-trace "Ex x y #i. COMMIT(x, y) @ #i"
--- another arity: Seen/2 (did you mean Seen/1?), anyway
"All x y #i #j. (Commit(x, y)@j & (Seen(x, <y, y>)@i & not (x = y))) ==> x = y"
--- persistence: Kept/1 (did you mean !Kept/1?)
"All x #i. Seen(x)@i ==> Ex #j. Kept(x)@j"
--- nothing like it: Reveal/1
"All x #i. Seen(x)@i ==> (Ex #j. Reveal(x)@j)"
--- a premise that may hold: Reveal/1
"All x #i. Seen(x)@i | Reveal(x)@i ==> F"
--- a premise that holds without it: Reveal/1
"All x #i. Seen(x)@i & not (Ex #j. Reveal(x)@j) ==> F"
--- a quantifier that reaches behind the arrow: Reveal/1
"All #i. Seen('a')@i & (Ex #j. Reveal('a')@j ==> Seen('a')@j)"
--- what can't happen does not: Reveal/1, anyway
"not (Ex x #i #j. Seen(x)@i & Reveal(x)@j)"
--- what can't happen, and something else: Reveal/1
"not (Ex x #i. Reveal(x)@i) & (Ex x #i. Seen(x)@i)"
--- as a prover prints it: Reveal/1, anyway
all-traces "∀ x #i #j. ((Seen( x ) @ #i) ∧ (Reveal( x ) @ #j)) ⇒ (∃ #k. Seen( x ) @ #k)"
--- an equivalence: Reveal/1
"All x #i. Reveal(x)@i ==> F <=> Seen(x)@i"
--- two of them: A/0, B/0
exists-trace "Ex #i. A()@i & B()@i"
--- by a predicate: Comit/2 (did you mean Commit/2?)
"All x #i. Seen(x)@i ==> Q(x)"
--- a predicate that nobody uses: nothing
exists-trace "Ex x #i. Seen(x)@i"
"""


def told_of_unknown(theory):
    """What its lemma `a` says of unknown actions: `Comit/2 (did you mean Commit/2?), anyway`."""
    unknown = theory.unknown_actions.get("a")
    if not unknown:
        return "nothing"
    told = ", ".join(unknown.told)
    return f"{told}, anyway" if unknown.holds_anyway else told


@pytest.mark.parametrize("lemma, wanted", cases(UNKNOWN_ACTIONS))
def test_an_action_in_a_lemma_that_no_rule_has_is_told_with_near_misses(load, lemma, wanted):
    predicates = "predicates: P(x) <=> Ex #i. Comit(x, 'a')@i, Q(x) <=> P(x) & x = x"
    theory = load(f"{COMMITS}\n{predicates}\nlemma a: {lemma}")
    assert told_of_unknown(theory) == wanted


# A lemma about the actions A/1 and B/1, whatever it asks of them.
ABOUT_A_AND_B = 'lemma a: exists-trace "Ex x #i. A(x)@i & B(x)@i"'
MADE_ACTIONS = """
--- events of a process: nothing
let P = event A(<'1', '2'>); 0
process: P | (new x; event B(x); out(x))
--- a rule in a process: nothing
process: [ Fr(~x) ]--[ A(~x), B(h(~x)) ]->[ Out(~x) ]
--- a function in a process: B/1
process: event A('1'); out(B('2'))
--- an event in a comment: B/1
process: event A('1') // event B('1')
--- two rules: nothing
rule One: [ Fr(~x) ] --[ A(~x) ]-> []
rule Two: [ Fr(~x) ] --[ _restrict(~x = 'B(x)'), B(~x) ]-> []
--- no action but a fact: A/1, B/1
rule One: [ A('1') ] --> [ B('1') ]
--- in a rule that is disabled: A/1, B/1
#ifdef NEVER
rule One: [ ] --[ A('1'), B('1') ]-> [ ]
#endif
--- a rule that can't be read: nothing
rule One: [ ] --[ A('1') ]-> [ ]
rule Two{x}: [ ] --[ B('1') ]-> [ ]
--- in an included file: nothing
#include "rules.spthy"
--- a restriction: A/1, B/1
restriction r: "Ex x #i. A(x)@i & B(x)@i"
"""


@pytest.mark.parametrize("items, wanted", cases(MADE_ACTIONS))
def test_what_rules_and_processes_make_is_known(load, items, wanted):
    files = {"rules.spthy": "rule One: [ ] --[ A('1'), B('1') ]-> [ ]\nend\n"}
    assert told_of_unknown(load(f"{items}\n{ABOUT_A_AND_B}", files)) == wanted


ABOUT_TRANSLATION = (
    "lemma a: exists-trace "
    '"Ex x y #i. Insert(x, y)@i & IsIn(x, y)@i & Lock_1(x, y, x)@i & ProgressTo_1(x)@i"'
)


def test_actions_of_the_translation_are_known_where_there_is_a_process(load):
    assert told_of_unknown(load(f"process: 0\n{ABOUT_TRANSLATION}")) == "nothing"
    told = "Insert/2, IsIn/2, Lock_1/3, ProgressTo_1/1"
    assert told_of_unknown(load(ABOUT_TRANSLATION)) == told


def test_either_side_of_a_diff_theory_makes_actions(load):
    sides = "rule R: []--[]->[] left rule R: []--[ A('1') ]->[] right rule R: []--[ B('1') ]->[]"
    assert told_of_unknown(load(f"{sides}\n{ABOUT_A_AND_B}", diff=True)) == "nothing"
    proof_steps = 'lemma a: "All #i. DiffProtoR()@i ==> F"'
    assert told_of_unknown(load(f"{sides}\n{proof_steps}", diff=True)) == "nothing"


def test_the_parts_of_an_accountability_lemma_have_its_actions_and_those_of_its_tests(load):
    items = 'test t: "Ex #i. Blamed(x)@i"\nlemma acc: t accounts for "not (Ex #i. Unfair()@i)"'
    unknown = load(items).unknown_actions
    assert set(unknown) >= {"acc_t_suff", "acc_verif_empty"}
    assert set(unknown["acc_t_suff"].told) == {"Blamed/1", "Unfair/0"}


# Where more than its own text and what it assumes can matter to a lemma.
NOT_SPLIT = """
--- a process: a top-level process
process: 0
--- accountability: accountability
test t: "T"
lemma acc: t accounts for "T"
--- lemmas for an export: export lemmas
equivLemma: 0 0
--- nothing of this:
lemma a: "T"
"""


@pytest.mark.parametrize("text, reason", cases(NOT_SPLIT))
def test_a_theory_says_why_its_lemmas_depend_on_all_of_it(load, text, reason):
    assert load(text).cannot_split == reason


@pytest.mark.parametrize(
    "option, reason", [("diff", "diff mode"), ("auto_sources", "--auto-sources")]
)
def test_options_can_make_lemmas_depend_on_the_whole_theory(load, option, reason):
    assert load('lemma a: "T"', **{option: True}).cannot_split == reason


def test_deeply_nested_comments_are_read(load):
    check_is_read(load, "/*" * 100_000 + "*/" * 100_000)


def test_megabytes_of_blanks_are_read(load):
    check_is_read(load, " " * 5_000_000)


def test_a_line_of_megabytes_is_read(load):
    check_is_read(load, "//" + "x" * 5_000_000)


def test_deeply_nested_branches_are_read(load):
    begins_and_ends = "#ifdef X\n" * 10_000 + "#endif\n" * 10_000
    check_is_read(load, "#define X\n" + begins_and_ends)


def test_a_deeply_nested_condition_is_read(load):
    condition = "(" * 20_000 + "X" + ")" * 20_000
    check_is_read(load, f"#ifdef {condition}\n#endif")


def test_many_constants_are_read(load):
    check_is_read(load, "'a' " * 20_000)


def test_many_lemmas_are_read(tmp_path):
    theory = load_whole(tmp_path, many_lemmas(5_000))
    assert len(theory.lemmas) == 5_000
    assert theory.lemmas[-1].name == "l4999"


def test_too_large_files_are_refused(load, monkeypatch):
    monkeypatch.setattr(bt, "MAX_THEORY_BYTES", 2**20)
    error = refusal(load, "x" * 2**20)
    assert "too large" in str(error)


def test_includes_that_double_are_refused(load, monkeypatch):
    monkeypatch.setattr(bt, "_MAX_INCLUDES", 200)  # 10,000 take their time
    files = {"i40.spthy": ""}
    for level in range(40):
        include = f'#include "i{level + 1}.spthy"\n'
        files[f"i{level}.spthy"] = include + include
    error = refusal(load, '#include "i0.spthy"', files=files)
    assert "more than 200 includes" in str(error)


def listed_line(lemma):
    """The beginning of the line that the prover's summary has for a lemma."""
    if lemma.trait == "diff":
        return f"DiffLemma:  {lemma.name} "
    if lemma.side:
        return f"{lemma.side} :  {lemma.name} ({lemma.trait})"
    return f"{lemma.name} ({lemma.trait})"


def listed_lines(name, diff):
    """What the prover's summary would list of a theory of the corpus; None if it is refused."""
    path = CORPUS / "theories" / name
    try:
        theory = bt.load_theory(str(path), diff=diff)
    except bt.InputError:
        return None
    return [listed_line(lemma) for lemma in theory.lemmas if not lemma.optional]


@needs_corpus
def test_the_shared_corpus_lists_what_tamarin_lists():
    corpus = json.loads((CORPUS / "lemmas.json").read_text())
    for name, known in corpus.items():
        wanted = None
        if known["loads"]:
            wanted = [line.rpartition(": ")[0] for line in known["summary"]]
        assert listed_lines(name, known["diff"]) == wanted, name


# Some provers read `restrictionfoo: "..."` as an item, glued to what stands before it or not.
@pytest.mark.parametrize(
    "text",
    [
        'lemma a: "T"\nrestrictionfoo: "F"\n',
        'lemma a: "T" by sorryrestriction r: "F"\n',
        'lemma a [heuristic={x(}]: "T"\nrestriction r: "F"\nlemma z [heuristic={x)}]: "T"\n',
    ],
)
def test_a_lemma_in_which_more_may_hide_makes_the_whole_file_the_key(load, text):
    theory = load(f'{RULE_A}{text}lemma b: "T"')
    assert not theory.splits_for_sure


@pytest.mark.parametrize(
    "text",
    [
        'lemma a: "T"',
        'lemma a [reuse, heuristic={t}]: all-traces "All x #i. A(x) @ i ==> T" by contradiction',
        'lemma (modulo E) a [hide_lemma=b, heuristic=o "my.py"]: exists-trace "T"\n',
    ],
)
def test_plain_lemmas_split_for_sure(load, text):
    theory = load(f'{RULE_A}{text}\nlemma b: "T"')
    assert theory.splits_for_sure


def digest_with_end(folder, text):
    """The digest of a theory that ends in this text."""
    return load_whole(folder, "theory T begin\n" + text).digest


def test_a_comment_behind_the_end_does_not_count(tmp_path):
    commented = digest_with_end(tmp_path, "end\n/* Output\nverified */ // x\n")
    assert commented == digest_with_end(tmp_path, "end\n")


@pytest.mark.parametrize(
    "text",
    [
        'end (start(x)) = x\nrestriction r: "F"\nend\n',
        "\u2028end\n",  # Tamarin refuses a blank of this kind
    ],
)
def test_what_may_be_no_end_counts(tmp_path, text):
    assert digest_with_end(tmp_path, text) != digest_with_end(tmp_path, "end\n")


@pytest.fixture
def two_views(lab):
    """The plans of a theory for two provers, of which one defines a flag: by their ids."""
    hidden = '#ifdef X\nlemma hidden [reuse]: "F"\n#endif\n'
    edit_theory(lab, "lemma three", hidden + "lemma three")
    lab.prover(VERIFY)
    lab.provers["withx"] = {"path": "./fake.sh", "options": ["-D=X"]}
    lab.recipe(tamarin_versions=["fake", "withx"])
    return {plan.id: plan for plan in plans_of(lab)}


def test_each_prover_sees_the_lemmas_that_its_options_show(two_views):
    assert list(two_views) == [
        "t--one--fake",
        "t--one--withx",
        "t--two--fake",
        "t--two--withx",
        "t--three--fake",
        "t--hidden--withx",
        "t--three--withx",
    ]


def test_each_prover_assumes_the_lemmas_that_its_options_show(two_views):
    assert two_views["t--three--fake"].assumes == ("one",)
    assert two_views["t--three--withx"].assumes == ("one", "hidden")


@pytest.mark.parametrize("option", ["-DX", "-D=X", "--def=X"])
def test_a_flag_is_seen_however_it_is_written(option):
    assert bt.reading_options([option], ()).flags == ("X",)


def test_options_that_are_cut_short_are_seen():
    assert bt.reading_options(["--dif"], ()) == ((), True, False)
    assert bt.reading_options(["--auto"], ()) == ((), False, True)


def test_options_that_change_no_reading_are_none():
    assert bt.reading_options(["--derivcheck-timeout=0"], ()) == ((), False, False)


@pytest.mark.parametrize("word", ["--dif", "--diff"])
def test_an_option_may_be_cut_short(word):
    assert bt.DIFF.is_given([word])


@pytest.mark.parametrize("word", ["--d", "-d=5", "--derivcheck-timeout=5"])
def test_a_word_that_may_mean_another_option_is_not_taken_for_diff(word):
    assert not bt.DIFF.is_given([word])


def test_values_of_an_option_are_in_the_order_of_its_words():
    words = ["-DA", "--diff", "--defines=B", "-D=C", "--def"]
    assert bt.DEFINES.values(words) == ["A", "B", "C", ""]


def test_the_value_of_an_option_is_none_of_another():
    assert bt.HEURISTIC.values(["--heuristic=o", "--oraclename=x"]) == ["o"]
    assert bt.OUTPUT.values(["-ox", "-O=y"]) == ["x"]


@pytest.mark.parametrize("option", ["--bound=5", "-b5", "--diff", "-DX"])
def test_options_that_a_recipe_can_give(option):
    assert bt.option_problem(option) == ""


# An option, and what is told of it.
REFUSED_OPTIONS = """
--oj=x     : --output-json can't be given here
-ox        : --output can't be given here
-m=msr     : --output-module can't be given here
--pro=x    : --prove can't be given here
--diff=yes : --diff takes no value
--auto=1   : --auto-sources takes no value
"""


@pytest.mark.parametrize("option, problem", rows(REFUSED_OPTIONS))
def test_options_that_no_recipe_can_give(option, problem):
    assert bt.option_problem(option).startswith(problem)


# What a stored proof claims: of a lemma for all traces, and of one that some trace exists. An open
# case leaves both open, a trace answers in spite of it (ProofStatus in Theory/Proof.hs).
CLAIMS = """
--- a contradiction: verified falsified
by contradiction
--- a trace: falsified verified
simplify SOLVED
--- an open case: incomplete incomplete
simplify by sorry
--- sorry alone: None None
by sorry
--- no proof: None None

--- words in comments: verified falsified
simplify // SOLVED
by contradiction /* sorry */
--- a trace beside an open case: falsified verified
induction case sorry1 SOLVED next case b by sorry qed
--- a case that cannot be finished: incomplete incomplete
simplify by UNFINISHABLE
--- nothing that can be finished: incomplete incomplete
by UNFINISHABLE
"""


@pytest.mark.parametrize("proof, wanted", cases(CLAIMS))
def test_what_stored_proofs_claim(load, proof, wanted):
    claims = []
    for trait in ("all-traces", "exists-trace"):
        theory = load(f'lemma a: {trait} "T"\n{proof}\nrule R: [ ] --[ SOLVED() ]-> [ ]')
        claims.append(str(theory.lemmas[0].claim))
    assert claims == wanted.split()


# === Machine ======================================================================================


@pytest.fixture
def room_in(tmp_path, monkeypatch):
    """A function that tells (cores, GB) that a process may use in a cgroup with these limits.

    The machine around it has 64 cores and 256 GB. Limits are told as lines `FILE: TEXT`.
    """
    pages = {"SC_PHYS_PAGES": 2**26, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    affinity = set(range(64))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: affinity, raising=False)

    def room(cgroup, limits="", **environment):
        root = str(tmp_path)
        write_line(f"{root}/proc/self/cgroup", cgroup)
        for line in limits.strip().splitlines():
            name, _, text = line.partition(": ")
            write_line(f"{root}/sys/fs/cgroup/{name}", text)
        memory_mb = bt.available_memory_mb(root, environment)
        return bt.available_cores(root, environment), memory_mb / 1024

    return room


def write_line(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(text + "\n")


def test_max_without_limits_is_the_machine(room_in):
    cores, memory_gb = room_in("0::/")
    assert cores == 64
    assert memory_gb == 256


# cgroups(7), version 2: the whole path of a cgroup is one below a mount.
TWO_LEVELS = """
a/cpu.max: 250000 100000
a/b/cpu.max: max 100000
a/memory.max: 8589934592
a/b/memory.high: 3221225472
"""


def test_max_is_the_least_of_all_cgroups_around_us(room_in):
    cores, memory_gb = room_in("0::/a/b", TWO_LEVELS)
    assert cores == 2
    assert memory_gb == 3


# cgroups(7), version 1: a mount for each controller.
HALF_A_CORE = """
cpu/cpu.cfs_quota_us: 50000
cpu/cpu.cfs_period_us: 100000
memory/memory.limit_in_bytes: 2147483648
"""
NO_LIMITS = """
cpu/cpu.cfs_quota_us: -1
cpu/cpu.cfs_period_us: 100000
memory/memory.limit_in_bytes: 9223372036854771712
"""


def test_max_in_a_container_that_reads_its_cgroup_as_it_is_outside(room_in):
    cores, memory_gb = room_in("5:cpu,cpuacct:/docker/x\n4:memory:/docker/x", HALF_A_CORE)
    assert cores == 1
    assert memory_gb == 2


def test_max_in_cgroups_that_set_no_limit(room_in):
    cores, memory_gb = room_in("5:cpu:/\n4:memory:/", NO_LIMITS)
    assert cores == 64
    assert memory_gb == 256


def test_max_in_a_cgroup_of_version_2_beside_those_of_version_1(room_in):
    _, memory_gb = room_in("4:memory:/\n0::/a", "unified/a/memory.max: 1073741824")
    assert memory_gb == 1


def test_max_is_what_slurm_allocated_by_core(room_in):
    cores, memory_gb = room_in("0::/", SLURM_CPUS_ON_NODE="6", SLURM_MEM_PER_CPU="1024")
    assert cores == 6
    assert memory_gb == 6


def test_max_is_what_slurm_allocated_by_node(room_in):
    _, memory_gb = room_in("0::/", SLURM_MEM_PER_NODE="5120")
    assert memory_gb == 5


def test_zero_from_slurm_is_no_limit(room_in):
    _, memory_gb = room_in("0::/", SLURM_MEM_PER_NODE="0")
    assert memory_gb == 256


def test_without_affinity_all_cores_count(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert bt.available_cores(str(tmp_path), {}) == 12


def test_max_of_this_machine():
    built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 <= bt.available_cores() <= os.cpu_count()
    assert 64 < bt.available_memory_mb() <= built_in >> 20


def make_program(path, text="#!/bin/sh\n"):
    """Write a file that can be executed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_program_on_path_comes_before_one_that_is_here(tmp_path, monkeypatch):
    on_path = make_program(tmp_path / "bin/tool")
    make_program(tmp_path / "tool")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert bt.find_program("tool") == on_path


def test_a_program_on_no_path_may_be_here(tmp_path, monkeypatch):
    here = make_program(tmp_path / "tool")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert bt.find_program("tool") == here


def test_a_program_with_a_slash_is_here_or_in_the_given_directory(tmp_path, monkeypatch):
    there = make_program(tmp_path / "beside/bin/tool")
    monkeypatch.chdir(tmp_path)
    assert bt.find_program("bin/tool") == ""
    assert bt.find_program("bin/tool", "beside") == there


def test_what_cannot_be_executed_is_no_program(tmp_path):
    path = tmp_path / "tool"
    path.touch()
    assert bt.find_program(str(path)) == ""
    assert bt.find_program(str(tmp_path)) == ""


def test_the_end_of_a_long_file_is_read_from_its_last_marker(tmp_path):
    path = tmp_path / "out"
    long = "x" * 100_000
    path.write_text(f"MARK\nold\n{long}\nMARK\nnew\n{long}")
    marker, new, cut = bt.last_part(str(path), "MARK")
    assert marker == "MARK"
    assert new == "new"
    assert cut == "x" * bt.LINE_CAP


def test_a_missing_file_has_no_last_part(tmp_path):
    assert bt.last_part(str(tmp_path / "out"), "MARK") == []


# === Supervisor ===================================================================================

# What jobs have in their environment: not the marker of a batch that runs these tests.
ENV = dict(os.environ)
ENV.pop(bt.MARKER, None)


class Bench:
    """Makes jobs in a folder of their own, runs them, and knows which processes they left.

    SLEEP in their scripts is a command that never ends of itself, a "sleeper". Its argument is a
    number that no other process has: it shows whose a process is also if that one has an empty
    environment and a session of its own.
    """

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.token = f"77{os.getpid()}{time.monotonic_ns() % 10**9}"
        self.batch_id = f"batch-{self.token}"
        self.left_at_return = []  # sleepers, when the last jobs had ended

    def job(self, *command, timeout=RUN_S, memory=4096, cwd=""):
        """A job of this command: job1, job2 ..."""
        self.count += 1
        name = f"job{self.count}"
        return bt.Job(
            name,
            1,
            command,
            cwd or str(self.folder),
            ENV,
            bt.Limits(1, memory, timeout),
            str(self.folder / f"{name}.out"),
            str(self.folder / f"{name}.err"),
        )

    def sh(self, script, **limits):
        """A job that is a shell script."""
        command = script.replace("SLEEP", f"sleep {self.token}")
        return self.job("/bin/sh", "-c", command, **limits)

    def py(self, script, **limits):
        """A job that is a Python script. `exec_sleeper()` makes its process a sleeper."""
        script = PYTHON_HELP.replace("TOKEN", self.token) + script
        return self.job(sys.executable, "-S", "-E", "-c", script, **limits)

    def run(self, *jobs, during=None):
        """Run jobs side by side; `during(supervisor)` is a coroutine that runs beside them."""
        with bt.Supervisor(self.batch_id) as supervisor:
            outcomes = asyncio.run(self.run_all(supervisor, jobs, during))
            assert not supervisor.live
        assert self.left() == []
        return outcomes

    def run_one(self, job, during=None):
        """Run one job; its outcome."""
        (outcome,) = self.run(job, during=during)
        return outcome

    async def run_all(self, supervisor, jobs, during):
        """The outcomes of jobs that run side by side."""
        running = [asyncio.ensure_future(supervisor.run(job, ignore_start)) for job in jobs]
        if during:
            await asyncio.sleep(0)  # every job is started now
            await asyncio.wait_for(during(supervisor), RUN_S)
        outcomes = await asyncio.wait_for(asyncio.gather(*running), RUN_S)
        self.left_at_return = self.left()
        return outcomes

    def left(self):
        """The pids of sleepers that live."""
        table = subprocess.check_output(["ps", "-A", "-o", "pid=,stat=,args="], text=True)
        found = []
        for line in table.splitlines():
            pid, state, command = line.split(None, 2)
            # Not the shell whose script has the command in it.
            if command == f"sleep {self.token}" and not state.startswith("Z"):
                found.append(int(pid))
        return found

    def end_what_is_left(self):
        """Kill sleepers, for the next test."""
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)

    def out(self, job):
        """What a job has printed so far."""
        if not os.path.exists(job.stdout):
            return ""
        return Path(job.stdout).read_text(errors="replace")

    def write_program(self, name, text, mode=0o755):
        """A program's path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)


# What scripts of `Bench.py` begin with.
PYTHON_HELP = """
import os, time
def exec_sleeper(env=os.environ):
    os.execve("/bin/sleep", ["sleep", "TOKEN"], env)
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.02)
"""


def ignore_start(pid, started):
    """For jobs whose start is nobody's business."""


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.end_what_is_left()


@pytest.fixture
def hurry(monkeypatch):
    """Jobs are looked at all the time and have little grace: otherwise a test only waits longer."""
    monkeypatch.setattr(bt, "LONGEST_LOOK_S", 0.02)
    monkeypatch.setattr(bt, "GRACE_S", 0.1)


@pytest.fixture
def endless_grace(monkeypatch):
    """What does not end when it is asked to stays until something else ends it."""
    monkeypatch.setattr(bt, "LONGEST_LOOK_S", 0.02)
    monkeypatch.setattr(bt, "GRACE_S", 2.0 * RUN_S)


async def until_async(condition):
    """`wait_for`, while the event loop goes on."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"waited for {WAIT_S} s in vain: {condition}"
        await asyncio.sleep(0.01)


async def until_looked_at(live):
    """Wait until a job was looked at once more, or is gone."""
    now = time.monotonic()
    await until_async(lambda: live.usage.sampled > now or live.leader.ended)


def limited_once(ready):
    """For `during`: the only job runs into its time limit, but not before `ready(live)` holds."""

    async def wait_and_limit(supervisor):
        (live,) = supervisor.live.values()
        await until_async(lambda: ready(live))
        change_limits(live, bt.replace(live.job.limits, timeout_s=0.01))

    return wait_and_limit


def change_limits(live, limits):
    """Let a job that runs have other limits from now on."""
    live.job = live.job._replace(limits=limits)


# --- How a job ended ---


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_ends_of_itself_is_completed_with_its_exit_code(bench, code):
    outcome = bench.run_one(bench.sh(f"exit {code}"))
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.exit == bt.ExitStatus(code=code)
    assert outcome.reason == ""


def test_a_job_that_dies_of_a_signal_has_failed_and_no_exit_code(bench):
    outcome = bench.run_one(bench.sh("kill -SEGV $$"))
    assert outcome.status is bt.Status.FAILED
    assert outcome.exit == bt.ExitStatus(signal="SIGSEGV")
    assert "SIGSEGV" in outcome.reason


def test_a_job_over_its_time_is_a_timeout_that_tells_the_limit(bench):
    outcome = bench.run_one(bench.sh("SLEEP", timeout=0.2))
    assert outcome.status is bt.Status.TIMEOUT
    assert outcome.exit == bt.ExitStatus(signal="SIGTERM")
    assert "0.2 s" in outcome.reason
    assert outcome.usage.wall_s >= 0.2


def test_a_signal_that_somebody_sends_to_one_job_is_a_failure(bench):
    async def shoot(supervisor):
        (live,) = supervisor.live.values()
        os.kill(live.leader.pid, signal.SIGKILL)

    outcome = bench.run_one(bench.sh("exec SLEEP"), during=shoot)
    assert outcome.status is bt.Status.FAILED
    assert outcome.exit.signal == "SIGKILL"


def test_a_signal_that_the_whole_batch_gets_is_an_interruption(bench):
    """Systemd and Slurm signal everything at once: the driver's turn may come after its job's."""

    async def shoot(supervisor):
        (live,) = supervisor.live.values()
        os.kill(live.leader.pid, signal.SIGTERM)
        await until_async(lambda: live.leader.ended)
        supervisor.interrupt("the system goes down")

    outcome = bench.run_one(bench.sh("exec SLEEP"), during=shoot)
    assert outcome.status is bt.Status.INTERRUPTED
    assert outcome.exit.signal == "SIGTERM"
    assert outcome.reason == "the system goes down"


@needs_linux
def test_the_kernels_out_of_memory_killer_is_named(bench, monkeypatch):
    vmstat = bench.folder / "vmstat"
    vmstat.write_text("pgfault 1\noom_kill 4\n")
    monkeypatch.setattr(bt.oom_kill_count, "__defaults__", (str(vmstat),))

    async def strike(supervisor):
        (live,) = supervisor.live.values()
        await until_async(lambda: live.usage.peak_mb)  # it was looked at
        vmstat.write_text("pgfault 1\noom_kill 5\n")
        os.kill(live.leader.pid, signal.SIGKILL)

    outcome = bench.run_one(bench.sh("exec SLEEP"), during=strike)
    assert outcome.status is bt.Status.MEMORY_LIMIT
    assert "out-of-memory killer" in outcome.reason


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_without_a_descriptor_to_ask_there_was_no_out_of_memory_kill(monkeypatch, code):
    def refuse():
        raise OSError(code, os.strerror(code))

    kills = bt.OomKills()
    kills.counts.append(3)
    monkeypatch.setattr(bt, "oom_kill_count", refuse)
    assert not kills.grew()


def test_an_exit_status_that_somebody_else_took_is_a_failure(bench):
    def take(pid, started):
        os.waitpid(pid, 0)

    with bt.Supervisor(bench.batch_id) as supervisor:
        outcome = asyncio.run(supervisor.run(bench.sh("exit 0"), take))
    assert outcome.status is bt.Status.FAILED
    assert outcome.exit is None
    assert "exit status was lost" in outcome.reason


def run_unseen(bench, job, seconds_ago=0.0):
    """Run a job to its end while the event loop is busy elsewhere.

    It is made to look as if job and end were so many seconds ago.
    """
    with bt.Supervisor(bench.batch_id) as supervisor:

        def wait_and_age(pid, started):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            (live,) = supervisor.live.values()
            live.put_clocks_forward(-seconds_ago)
            then = time.time() - seconds_ago
            os.utime(job.stdout, (then, then))

        return asyncio.run(supervisor.run(job, wait_and_age))


needs_waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs os.waitid")


@needs_waitid
def test_what_ended_unseen_and_wrote_in_time_is_completed(bench):
    outcome = run_unseen(bench, bench.sh("echo summary", timeout=3600), seconds_ago=7200)
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.exit == bt.ExitStatus(0)
    assert outcome.usage.wall_s < 3600


@needs_waitid
def test_what_ended_unseen_and_wrote_nothing_may_have_run_into_its_limit(bench):
    outcome = run_unseen(bench, bench.sh("exit 0", timeout=3600), seconds_ago=7200)
    assert outcome.status is bt.Status.TIMEOUT
    assert outcome.exit == bt.ExitStatus(0)


def hoarder_above_us(bench, mb=100, **limits):
    """A job that is short and needs `mb` MB more than this process ever had; (job, MB of it).

    The peak that the kernel tells of a child begins with that of its parent.
    """
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bt.MAXRSS_MB
    size_mb = int(own_mb) + mb
    return bench.py(f"x = b'1' * ({size_mb} << 20)", **limits), size_mb


@needs_linux
def test_what_ended_unseen_is_held_to_its_memory_by_its_own_peak(bench):
    job, _ = hoarder_above_us(bench, memory=50)
    outcome = run_unseen(bench, job, seconds_ago=10)
    assert outcome.status is bt.Status.MEMORY_LIMIT
    assert outcome.exit == bt.ExitStatus(0)


# --- Starting a job ---


def test_both_outputs_go_to_their_logs(bench):
    job = bench.sh("echo out; echo err >&2")
    bench.run(job)
    assert Path(job.stdout).read_text() == "out\n"
    assert Path(job.stderr).read_text() == "err\n"


def test_logs_are_appended_to(bench):
    job = bench.sh("echo again")
    bench.run(job)
    bench.run(job)
    assert bench.out(job) == "again\nagain\n"


def said_by(bench, script, **options):
    """What a shell script prints as a job."""
    job = bench.sh(script, **options)
    bench.run(job)
    return bench.out(job)


@needs_linux
def test_a_child_inherits_no_descriptor_but_its_logs(bench):
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        said = said_by(bench, "ls -l /proc/self/fd")
    finally:
        os.close(leak)
    assert re.search(r"\b0 -> /dev/null", said)
    assert re.search(r"\b1 -> .*job1.out", said)
    assert re.search(r"\b2 -> .*job1.err", said)
    descriptors = re.findall(r"^l.* -> ", said, re.MULTILINE)
    assert len(descriptors) == 4, said  # the fourth is ls's own


@needs_linux
def test_a_child_has_no_signal_blocked_or_ignored(bench):
    before = {}
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGRTMAX):
        before[number] = signal.signal(number, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        said = said_by(bench, "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    blocked, ignored = re.findall(r"Sig\w+:\s*(\w+)", said)
    # The higher bits are those of glibc's own signals.
    assert int(blocked, 16) & 0x7FFFFFFF == 0
    assert int(ignored, 16) & 0x7FFFFFFF == 0


def test_a_child_has_the_marker_of_its_attempt(bench):
    assert said_by(bench, "echo $BATCH_TAMARIN_JOB") == f"{bench.batch_id}/job1/1\n"


@needs_linux
def test_a_child_leads_a_session_of_its_own(bench):
    session, pid = said_by(bench, "ps -o sid= -p $$; echo $$").split()
    assert session == pid


def test_a_job_has_a_directory_of_its_own(bench, monkeypatch):
    def refuse(path):
        raise AssertionError("the process's own directory, that of all its threads, changes")

    folder = bench.folder / "-a '$(b)\n"
    folder.mkdir()
    monkeypatch.setattr(os, "chdir", refuse)
    job = bench.job("/bin/pwd", "-P", cwd=str(folder))
    assert bench.run_one(job).exit == bt.ExitStatus(0)
    assert bench.out(job) == f"{folder.resolve()}\n"


def test_a_program_that_is_missed_by_the_shell_that_changes_the_directory(bench):
    # Where PATH has a folder that is closed to us, it could be in there: that is another code.
    job = bench.job("no-such-prover")._replace(env={"PATH": "/usr/bin:/bin"})
    assert bench.run_one(job).exit == bt.ExitStatus(127)
    assert "no-such-prover" in Path(job.stderr).read_text()


def assert_not_started(outcome, reason):
    assert outcome.status is bt.Status.FAILED
    assert outcome.exit is None
    assert outcome.reason.startswith("could not start ")
    assert reason in outcome.reason


@pytest.mark.parametrize(
    "command, reason",
    [
        (["no-such-prover"], "no such program"),
        (["/bin/echo", "a\0b"], "null"),
        (["/bin/echo", *["x" * 100_000] * 50], "too long"),
    ],
    ids=["missing", "NUL", "too long"],
)
def test_a_command_that_cannot_be_started_fails_with_a_reason(bench, command, reason):
    # In the directory where we are no shell comes between.
    job = bench.job(*command, cwd=os.getcwd())
    assert_not_started(bench.run_one(job), reason)


@pytest.mark.parametrize(
    "text, mode, reason",
    [
        ("#!/no/such\n", 0o755, "its interpreter (#! line) or loader is missing"),
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("\0\1binary", 0o755, "not a program for this machine"),
    ],
    ids=["no interpreter", "no permission", "no program"],
)
def test_a_file_that_cannot_be_executed_fails_with_a_reason(bench, text, mode, reason):
    prover = bench.write_program("prover", text, mode)
    assert_not_started(bench.run_one(bench.job(prover, cwd=os.getcwd())), reason)


def test_a_folder_is_no_program(bench):
    job = bench.job(str(bench.folder), cwd=os.getcwd())
    assert_not_started(bench.run_one(job), "it is a folder")


def test_without_its_working_directory_a_job_fails(bench):
    job = bench.sh("true", cwd="/no/such/folder")
    assert_not_started(bench.run_one(job), "the working directory /no/such/folder does not exist")


def test_without_a_folder_for_its_log_a_job_fails(bench):
    job = bench.sh("true", cwd=os.getcwd())
    job = job._replace(stdout=str(bench.folder / "no" / "out"))
    assert_not_started(bench.run_one(job), f"its log {job.stdout} can't be written")


@pytest.mark.parametrize(
    "code, reason",
    [
        (errno.EAGAIN, "no more processes allowed"),
        (errno.EMFILE, "too many open files"),
    ],
)
def test_what_the_system_refuses_is_told_in_words(bench, monkeypatch, code, reason):
    def refuse(*arguments, **options):
        raise OSError(code, "no")

    monkeypatch.setattr(os, "posix_spawn", refuse)
    assert_not_started(bench.run_one(bench.sh("true")), reason)


def test_a_command_is_looked_for_on_the_path_of_the_child(bench):
    bench.write_program("only-there", "#!/bin/sh\nexit 7\n")
    job = bench.job("only-there", cwd=os.getcwd())
    environment = {**ENV, "PATH": str(bench.folder)}
    outcome = bench.run_one(job._replace(env=environment))
    assert outcome.exit == bt.ExitStatus(7)
    assert_not_started(bench.run_one(job), "there is no such program")


@pytest.fixture
def no_setsid(monkeypatch):
    """A Python that was built where posix_spawn made no sessions."""

    def refuse(*arguments, **options):
        raise NotImplementedError("posix_spawn: setsid unavailable on this platform")

    monkeypatch.setattr(os, "posix_spawn", refuse)


def test_without_sessions_of_posix_spawn_jobs_run_as_well(bench, no_setsid):
    script = "echo out; echo err >&2; cat; ps -o sid= -p $$; echo $$; SLEEP & exit 3"
    job = bench.sh(script)
    outcome = bench.run_one(job)
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.exit == bt.ExitStatus(3)
    printed, session, pid = bench.out(job).split()
    assert printed == "out"
    assert session == pid, "it leads a session of its own"
    assert Path(job.stderr).read_text() == "err\n"
    assert bench.left_at_return == []


def test_without_sessions_of_posix_spawn_limits_hold(bench, no_setsid):
    late = bench.sh("SLEEP", timeout=0.2)
    missing = bench.job("no-such-prover", cwd=os.getcwd())
    timed_out, failed = bench.run(late, missing)
    assert timed_out.status is bt.Status.TIMEOUT
    assert_not_started(failed, "there is no such program")


def test_a_job_that_cannot_be_started_harms_no_other(bench):
    missing = bench.job("no-such-prover", cwd=os.getcwd())
    failed, completed = bench.run(missing, bench.sh("true"))
    assert failed.status is bt.Status.FAILED
    assert completed.status is bt.Status.COMPLETED


def test_a_prover_deleted_while_running_ends_well_and_is_missed_later(bench):
    prover = bench.write_program("prover", "#!/bin/sh\nrm $0\nexit 4\n")
    assert bench.run_one(bench.job(prover)).exit.code == 4
    assert_not_started(bench.run_one(bench.job(prover)), "no such program")


# --- Ending a job's processes ---

# The scripts, and how many sleepers there are when the tree is complete.
TREES = {
    "child": ("SLEEP & SLEEP & wait", 2),
    "session": ("setsid SLEEP & setsid sh -c 'SLEEP & SLEEP & wait' & wait", 3),
    "deaf": ("trap '' TERM; SLEEP & setsid SLEEP & wait; SLEEP", 2),
    "deaf leader gone": ("(trap '' TERM; SLEEP; SLEEP) & wait", 1),
    "orphans": ("(setsid sh -c 'SLEEP &' &); SLEEP", 2),
}


@pytest.mark.parametrize("name", TREES)
def test_run_returns_from_a_timeout_when_the_whole_tree_is_gone(bench, hurry, name):
    script, sleepers = TREES[name]
    complete = limited_once(lambda live: len(bench.left()) == sleepers)
    outcome = bench.run_one(bench.sh(script), during=complete)
    assert outcome.status is bt.Status.TIMEOUT
    assert outcome.unkillable == ()
    assert bench.left_at_return == []


def state_of(pid):
    """A process's state as ps has it: "T" for a stopped one."""
    return bt.process_info(pid).state


def test_a_timeout_ends_a_tree_that_is_stopped(bench, hurry):
    def all_stopped(live):
        states = [state_of(pid) for pid in (live.leader.pid, *bench.left())]
        return states == ["T", "T"]

    child_is_a_sleeper = "until ps -o args= -p $! | grep -q ^sleep; do :; done"
    stop = "kill -STOP $!; kill -STOP $$"
    job = bench.sh(f"SLEEP & {child_is_a_sleeper}; {stop}")
    assert bench.run_one(job, during=limited_once(all_stopped)).status is bt.Status.TIMEOUT
    assert bench.left_at_return == []


# A daemon as books have them, and its parent, which goes when there is a file `go`.
DAEMON = """
import sys
if os.fork():
    wait_for("go")
    sys.exit()
os.setsid()
if os.fork(): os._exit(0)
for number in range(3): os.close(number)
exec_sleeper({env})
"""


@needs_linux
@pytest.mark.parametrize("env", ["os.environ", "{}"], ids=["our environment", "an empty one"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
def test_a_daemon_left_behind_is_ended(bench, env, seen):
    """Also one that is in a session of its own, beside another job."""

    async def go(supervisor):
        if seen:
            await until_async(bench.left)
        (bench.folder / "go").touch()

    daemon = bench.py(DAEMON.format(env=env))
    other = bench.sh("until [ -e go ]; do sleep 0.02; done")
    outcomes = bench.run(daemon, other, during=go)
    assert [outcome.status for outcome in outcomes] == [bt.Status.COMPLETED] * 2


def test_closing_its_outputs_ends_nothing(bench, hurry):
    async def look(supervisor):
        (live,) = supervisor.live.values()
        await until_async((bench.folder / "closed").exists)
        await until_looked_at(live)
        assert live.has_leader
        (bench.folder / "go").touch()

    job = bench.sh(
        "exec >&- 2>&- <&-; : > closed; until [ -e go ]; do sleep 0.02; done 2> new; exit 7"
    )
    outcome = bench.run_one(job, during=look)
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.exit.code == 7


FORK_64_SLEEPERS = """
for _ in range(6): os.fork()
exec_sleeper()
"""
FORK_SLEEPERS_WITHOUT_END = """
while True:
    if not os.fork(): exec_sleeper()
    time.sleep(0.01)
"""
# Its leader ends at once, and no process of it lives for long.
GO_FROM_PID_TO_PID = """
while True:
    if os.fork(): os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""


@needs_linux
@pytest.mark.parametrize(
    "script, sleepers",
    [(FORK_64_SLEEPERS, 64), (FORK_SLEEPERS_WITHOUT_END, 10)],
    ids=["at once", "without end"],
)
def test_a_storm_of_forks_is_outrun(bench, hurry, script, sleepers):
    storm = limited_once(lambda live: len(bench.left()) >= sleepers)
    outcome = bench.run_one(bench.py(script), during=storm)
    assert outcome.status is bt.Status.TIMEOUT
    assert outcome.unkillable == ()


@needs_linux
def test_what_goes_from_pid_to_pid_is_outrun(bench, monkeypatch):
    monkeypatch.setattr(bt, "UNKILLABLE_S", RUN_S)
    outcome = bench.run_one(bench.py(GO_FROM_PID_TO_PID))
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.unkillable == ()


def test_an_interrupt_lets_a_job_end_by_itself(bench, endless_grace):
    async def stop(supervisor):
        (live,) = supervisor.live.values()
        # A child that is not yet the sleeper may lose the signal.
        await until_async(lambda: bench.left() and "ready" in bench.out(live.job))
        supervisor.interrupt("stopped by SIGINT")

    polite = bench.sh("trap 'exit 5' TERM; SLEEP & echo ready; while :; do wait; done")
    outcome = bench.run_one(polite, during=stop)
    assert outcome.status is bt.Status.INTERRUPTED
    assert outcome.exit.code == 5
    assert outcome.reason == "stopped by SIGINT"


def test_an_interrupt_at_once_cuts_the_grace_short(bench, endless_grace):
    async def stop(supervisor):
        (live,) = supervisor.live.values()
        await until_async(lambda: "ready" in bench.out(live.job))
        supervisor.interrupt("stopped by SIGINT")
        supervisor.interrupt("stopped by SIGINT", at_once=True)

    outcome = bench.run_one(bench.sh("trap '' TERM; echo ready; SLEEP"), during=stop)
    assert outcome.status is bt.Status.INTERRUPTED
    assert outcome.exit.signal == "SIGKILL"


def test_stop_ends_one_job_and_no_other(bench):
    async def stop(supervisor):
        supervisor.stop("job1", "another variant was faster")
        await until_async(lambda: list(supervisor.live) == ["job2"])
        supervisor.interrupt("enough")

    jobs = [bench.sh("exec SLEEP"), bench.sh("exec SLEEP")]
    one, two = bench.run(*jobs, during=stop)
    assert one.status is bt.Status.INTERRUPTED
    assert one.reason == "another variant was faster"
    assert two.reason == "enough"


def test_after_an_interrupt_nothing_is_started(bench):
    def refuse(pid, started):
        raise AssertionError("it was started")

    with bt.Supervisor(bench.batch_id) as supervisor:
        supervisor.interrupt("enough")
        outcome = asyncio.run(supervisor.run(bench.sh("SLEEP"), refuse))
    assert outcome.status is bt.Status.INTERRUPTED
    assert outcome.exit is None
    assert outcome.reason == "enough"


def test_what_cannot_be_killed_is_given_up_and_told(bench, hurry, monkeypatch):
    def send_in_vain(pid, number):
        """SIGKILL, to what waits in the kernel."""

    async def main(supervisor):
        running = asyncio.ensure_future(supervisor.run(bench.sh("SLEEP & exit 0"), ignore_start))
        await until_async(bench.left)
        return await running, bench.left()

    monkeypatch.setattr(bt, "UNKILLABLE_S", 0.1)
    with bt.Supervisor(bench.batch_id) as supervisor, monkeypatch.context() as patch:
        patch.setattr(bt, "send_signal", send_in_vain)
        outcome, left = asyncio.run(main(supervisor))
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.unkillable == tuple(left)
    assert f"processes {left[0]} can't be killed" in outcome.reason


def test_an_exception_at_the_start_leaves_nothing_behind(bench):
    def refuse(pid, started):
        raise RuntimeError("journal full")

    with pytest.raises(RuntimeError), bt.Supervisor(bench.batch_id) as supervisor:
        asyncio.run(supervisor.run(bench.sh("setsid SLEEP & SLEEP"), refuse))
    assert bench.left() == []


def test_a_job_that_is_cancelled_leaves_nothing_behind(bench):
    async def cancel(supervisor):
        job = bench.sh("setsid SLEEP & SLEEP")
        running = asyncio.ensure_future(supervisor.run(job, ignore_start))
        await until_async(lambda: len(bench.left()) == 2)
        running.cancel()

    with bt.Supervisor(bench.batch_id) as supervisor:
        asyncio.run(cancel(supervisor))
        assert not supervisor.live
    assert bench.left() == []


def test_without_a_free_descriptor_a_job_waits_to_be_looked_after(bench, monkeypatch):
    """Nobody can see then whether its tree is gone."""
    looks = []

    def tree_of(finder, live, age_s=0.0, real=bt.ProcessFinder.tree_of):
        looks.append(live)
        return real(finder, live, age_s)

    async def starve(supervisor):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        await until_async(bench.left)
        (live,) = supervisor.live.values()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            os.mkdir(bench.folder / "go")
            await until_async(lambda: live.leader.ended)
            looks.clear()
            await until_async(lambda: len(looks) >= 3)
            assert supervisor.live
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    monkeypatch.setattr(bt.ProcessFinder, "tree_of", tree_of)
    job = bench.sh("SLEEP & until [ -e go ]; do sleep 0.02; done; exit 6")
    outcome = bench.run_one(job, during=starve)
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.exit.code == 6


# --- Holding a job ---


@needs_linux
def test_suspend_holds_the_whole_tree_until_resume(bench):
    async def hold(supervisor):
        (live,) = supervisor.live.values()
        await until_async(lambda: len(bench.left()) == 2)
        tree = [live.leader.pid, *bench.left()]
        supervisor.suspend()
        assert live.timer.cancelled(), "held, it is held to no limit"
        await until_async(lambda: {state_of(pid) for pid in tree} == {"T"})
        supervisor.resume()
        await until_async(lambda: "T" not in {state_of(pid) for pid in tree})
        supervisor.interrupt("enough")

    bench.run(bench.sh("setsid SLEEP & SLEEP"), during=hold)


def test_suspended_time_does_not_count(bench, monkeypatch):
    """Two hours pass at once, and the limit is one."""

    async def nap(supervisor):
        supervisor.suspend()
        clock = time.monotonic
        monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
        monkeypatch.setattr(bt.time, "monotonic", lambda: clock() + 7200)
        supervisor.resume()
        (bench.folder / "awake").touch()

    job = bench.sh("until [ -e awake ]; do sleep 0.02; done", timeout=3600)
    outcome = bench.run_one(job, during=nap)
    assert outcome.status is bt.Status.COMPLETED
    assert outcome.usage.wall_s < 3600


# --- What a job used ---


def test_cpu_is_that_of_the_whole_tree(bench):
    """By what the leader tells of itself and its child before it ends."""
    burn = "import os\nwhile sum(os.times()[:2]) < 0.2: pass"
    job = bench.py(f"""
import subprocess, sys
subprocess.run([sys.executable, "-S", "-E", "-c", {burn!r}])
print(sum(os.times()[:4]), flush=True)
""")
    cpu_s = bench.run_one(job).usage.cpu_s
    told_s = float(bench.out(job))
    assert told_s > 0.15
    # The clock of `os.times` is coarse; the child must not count twice.
    assert told_s - 0.05 < cpu_s < told_s + 1


@needs_linux
def test_cpu_of_orphans_counts(bench):
    """The leader waits for the end of its grandchild, which is an orphan."""
    job = bench.py("""
reading, writing = os.pipe()
if not os.fork():
    if not os.fork():
        while sum(os.times()[:2]) < 0.2: pass
    os._exit(0)
os.close(writing)
os.read(reading, 1)
""")
    assert bench.run_one(job).usage.cpu_s > 0.15


# Three children; each does something, then the leader waits for a file `go`.
THREE_CHILDREN = """
for _ in range(3):
    if not os.fork():
        {}
        os._exit(0)
wait_for("go")
"""


@needs_linux
def test_memory_is_that_of_the_whole_tree_together(bench, hurry):
    async def look(supervisor):
        """Let the three have their memory for half of the job's life and more."""
        (live,) = supervisor.live.values()
        begun = time.monotonic()
        await until_async(lambda: bench.out(live.job).count("\n") == 3)
        grown = time.monotonic()
        await until_async(lambda: live.usage.sampled - grown > 1.5 * (grown - begun))
        (bench.folder / "go").touch()

    hoard = "x = b'1' * (60 << 20); print(flush=True); wait_for('go')"
    usage = bench.run_one(bench.py(THREE_CHILDREN.format(hoard)), during=look).usage
    assert 170 < usage.peak_mb < 300
    assert 40 < usage.avg_mb <= usage.peak_mb


@needs_linux
@needs_waitid
def test_a_job_that_nobody_looked_at_shows_its_peak(bench):
    job, size_mb = hoarder_above_us(bench)
    outcome = run_unseen(bench, job)
    assert size_mb <= outcome.usage.peak_mb < size_mb + 60


@needs_linux
def test_a_tiny_job_shows_its_own_peak_and_not_the_drivers(bench):
    async def look(supervisor):
        (live,) = supervisor.live.values()
        await until_async(bench.left)
        await until_looked_at(live)
        supervisor.interrupt("enough")

    outcome = bench.run_one(bench.sh("exec SLEEP"), during=look)
    assert 0.1 < outcome.usage.peak_mb < 20


@needs_linux
def test_a_child_about_to_exec_does_not_count_twice(bench, hurry, monkeypatch):
    monkeypatch.setattr(bt, "COPY_S", RUN_S)

    async def look(supervisor):
        (live,) = supervisor.live.values()
        await until_async(lambda: live.usage.copies)
        (bench.folder / "fifo").write_bytes(b"x")

    os.mkfifo(bench.folder / "fifo")  # to wait without taking memory
    job = bench.py(
        """
fifo = os.open("fifo", os.O_RDWR)
x = b"1" * (150 << 20)
if not os.fork():
    os.read(fifo, 1)
    os.execv("/bin/true", ["true"])
os.wait()
""",
        memory=250,
    )
    outcome = bench.run_one(job, during=look)
    assert outcome.status is bt.Status.COMPLETED
    assert 150 < outcome.usage.peak_mb < 250


# --- Holding a job to its memory ---

# It takes 32 MB more, in private pages that are there at once, for every byte in the fifo.
HOG = """
import mmap
taken = []
fifo = os.open("fifo", os.O_RDWR)
populated = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x8000
while os.read(fifo, 1):
    taken.append(mmap.mmap(-1, 32 << 20, flags=populated))
    print(flush=True)
"""


@needs_linux
def test_a_hog_is_ended_at_the_first_look_that_sees_it_over_its_limit(bench, hurry):
    async def feed(supervisor):
        (live,) = supervisor.live.values()
        fifo = os.open(bench.folder / "fifo", os.O_RDWR)
        steps = 0
        while not live.cause:
            steps += 1
            assert steps < 20, "640 MB are there"
            os.write(fifo, b"x")
            await until_async(
                lambda steps=steps: bench.out(live.job).count("\n") == steps or live.cause
            )
            await until_looked_at(live)
        os.close(fifo)

    os.mkfifo(bench.folder / "fifo")
    outcome = bench.run_one(bench.py(HOG, memory=250), during=feed)
    assert outcome.status is bt.Status.MEMORY_LIMIT
    assert outcome.exit.signal == "SIGKILL"
    assert "its limit is 250 MB" in outcome.reason
    assert 250 < outcome.usage.peak_mb < 250 + 40


@needs_linux
@pytest.mark.parametrize("free_mb", [1, 1024, 16 * 1024])
def test_the_next_look_comes_before_the_fastest_hog_is_far_over_its_limit(bench, free_mb):
    async def look(supervisor):
        (live,) = supervisor.live.values()
        live.usage.rss_mb = 100
        change_limits(live, bt.Limits(1, 100 + free_mb, RUN_S))
        pause_s = bt.seconds_to_limit(live, age_s=0)
        supervisor.interrupt("enough")
        assert pause_s >= bt.CLOSEST_LOOK_S
        taken_mb = pause_s * bt.FASTEST_HOG
        closest_mb = bt.CLOSEST_LOOK_S * bt.FASTEST_HOG
        assert taken_mb <= max(free_mb, closest_mb)

    bench.run(bench.sh("exec SLEEP"), during=look)


def test_the_memory_limit_is_the_whole_trees(bench, hurry):
    grow = "os.setsid(); x = b'1' * (100 << 20); wait_for('ever')"
    outcome = bench.run_one(bench.py(THREE_CHILDREN.format(grow), memory=250))
    assert outcome.status is bt.Status.MEMORY_LIMIT


def test_the_memory_limit_holds_in_the_grace_of_a_timeout(bench, endless_grace):
    """Its child grows when it is asked to end: only its memory ends that one."""
    job = bench.py(
        """
import signal
if not os.fork():
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("ready", flush=True)
    signal.pause()
    x = b"1" * (400 << 20)
while True: signal.pause()
""",
        memory=250,
    )
    ready = limited_once(lambda live: "ready" in bench.out(live.job))
    outcome = bench.run_one(job, during=ready)
    assert outcome.status is bt.Status.TIMEOUT
    assert outcome.exit.signal == "SIGTERM"


@needs_linux
def test_old_jobs_are_looked_at_once_a_second_and_all_at_the_same_moments(bench):
    """On whole seconds of the event loop's clock."""

    async def watch(supervisor):
        for live in supervisor.live.values():
            live.put_clocks_forward(-60)  # it looks as if it had run for a minute
        now = time.monotonic()
        for live in supervisor.live.values():
            await until_async(lambda live=live: live.usage.sampled > now)
        for live in supervisor.live.values():
            assert live.timer.when() % 1 == 0
        supervisor.interrupt("enough")

    jobs = [bench.sh("exec SLEEP", memory=16384) for _ in range(8)]
    bench.run(*jobs, during=watch)


@needs_linux
def test_children_of_a_process_that_is_hidden_from_us(monkeypatch):
    def hidden(path):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(bt, "_kernel_lists_children", lambda: True)
    monkeypatch.setattr(os, "listdir", hidden)
    assert bt.children_of(1) == []


# --- Logs that are too long ---


@pytest.fixture
def small_logs(monkeypatch):
    """Logs are cut above 1 MB, to a head and a tail of a quarter each."""
    monkeypatch.setattr(bt, "LOG_CAP", 1 << 20)
    monkeypatch.setattr(bt, "LOG_HEAD", 1 << 18)
    monkeypatch.setattr(bt, "LOG_TAIL", 1 << 18)


def run_flood(bench, lines):
    """Run a job that prints so many lines, each with its number and nine bytes long; the job."""
    first = 10**7
    job = bench.sh(f"seq {first} {first + lines - 1}")
    assert bench.run_one(job).exit.code == 0
    return job


def assert_head_and_tail(log, lines):
    """Check that a log of `run_flood` holds the first and the last lines, and what is left out."""
    data = Path(log).read_bytes()
    assert len(data) <= bt.LOG_CAP
    head, note, rest = data.partition(b"[batch_tamarin left out ")
    assert note
    left_out, end_of_note, tail = rest.partition(b" bytes here]\n")
    assert end_of_note
    assert len(head) > bt.LOG_HEAD - 20
    assert len(tail) > bt.LOG_TAIL - 20
    whole = int(left_out) + len(head) + len(tail)
    assert whole == lines * 9
    first = 10**7
    assert_numbered(head, first)
    assert_numbered(tail, first + lines - len(tail) // 9)


def assert_numbered(text, number):
    """Check that whole lines of nine bytes are numbered from here on: every 997th, and the last."""
    assert len(text) % 9 == 0
    count = len(text) // 9
    for line in (*range(0, count, 997), count - 1):
        assert text[line * 9 : line * 9 + 9] == b"%d\n" % (number + line)


@needs_linux  # GNU seq
def test_a_flood_keeps_head_and_tail(bench):
    lines = 8_000_000  # 72 MB
    job = run_flood(bench, lines)
    assert_head_and_tail(job.stdout, lines)


@needs_linux  # GNU seq
def test_a_flood_that_is_cut_many_times_keeps_head_and_tail(bench, small_logs, hurry):
    lines = 1_500_000  # 13 MB
    job = run_flood(bench, lines)
    assert_head_and_tail(job.stdout, lines)


def test_a_log_without_lines_gets_no_new_ones(tmp_path, monkeypatch):
    """Half a line must never stand alone: it could read like a verdict."""
    monkeypatch.setattr(bt, "LOG_CAP", 4000)
    monkeypatch.setattr(bt, "LOG_HEAD", 1000)
    monkeypatch.setattr(bt, "LOG_TAIL", 1000)
    head = b"x" * 1000
    path = tmp_path / "log"
    path.write_bytes(b"x" * 9000)
    log = bt.CappedLog(str(path))
    log.cap()
    note = b"[batch_tamarin left out 7000 bytes here] "
    assert path.read_bytes() == head + note + b"x" * 1000
    with path.open("ab") as file:
        file.write(b"y" * 4000)
    log.cap()
    note = b"[batch_tamarin left out 11000 bytes here] "
    assert path.read_bytes() == head + note + b"y" * 1000


def test_a_log_that_somebody_removes_hides_no_other(bench, small_logs, hurry):
    async def flood(supervisor):
        (live,) = supervisor.live.values()
        os.remove(live.job.stdout)
        with open(live.job.stderr, "ab") as file:
            file.truncate(bt.LOG_CAP + 1)
        await until_async(lambda: os.path.getsize(live.job.stderr) < bt.LOG_CAP)
        supervisor.interrupt("enough")

    bench.run(bench.sh("exec SLEEP"), during=flood)


# --- After a driver that was killed ---


class Driver:
    """A process that runs scripts as jobs, under a lock; in a session of its own.

    It is forked from this one. `starts` are the events of its jobs' starts.
    """

    def __init__(self, bench, *scripts):
        self.bench = bench
        self.lock = bench.folder / "lock"
        self.jobs = [bench.sh(script) for script in scripts]
        self.told = bench.folder / "told"
        self.process = multiprocessing.get_context("fork").Process(target=self.drive)
        self.process.start()
        wait_for(lambda: len(self.read_told()) == len(scripts))
        self.watchdog = self.read_told()[0][2]
        host, boot = bt.host_id()
        self.starts = [
            bt.Started((), "j", 1, pid, started, host, boot) for pid, started, _ in self.read_told()
        ]

    def drive(self):
        """What the process does."""
        os.setsid()
        handle = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with bt.Supervisor(self.bench.batch_id, handle) as supervisor:

            def tell(pid, started):
                with self.told.open("a") as file:
                    file.write(f"{pid} {started} {supervisor._watchdog.pid}\n")

            asyncio.run(self.run_jobs(supervisor, tell))

    async def run_jobs(self, supervisor, tell):
        await asyncio.gather(*[supervisor.run(job, tell) for job in self.jobs])

    def read_told(self):
        """(pid, its start, pid of the watchdog) of each job that was started so far."""
        if not self.told.exists():
            return []
        lines = self.told.read_text().splitlines(keepends=True)
        return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]

    def kill(self):
        """Kill it, with its process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join(RUN_S)

    def kill_with_watchdog(self):
        """Kill both: nobody is left to end the jobs."""
        os.kill(self.watchdog, signal.SIGKILL)
        self.kill()


def has_ended(pid):
    """Whether a process is gone, or dead and not reaped."""
    return bt.process_start(pid) == 0 or state_of(pid) == "Z"


@needs_linux
def test_the_watchdog_ends_the_provers_of_a_killed_driver_and_frees_its_lock(bench):
    driver = Driver(
        bench, "trap '' TERM HUP; SLEEP", "setsid SLEEP & (setsid SLEEP &) ; env -i SLEEP"
    )
    wait_for(lambda: len(bench.left()) == 4)
    driver.kill()
    wait_for(lambda: lock_is_free(driver.lock))
    assert bench.left() == []
    wait_for(lambda: has_ended(driver.watchdog))


@needs_linux
def test_a_signal_that_ends_drivers_does_not_end_the_watchdog(bench):
    driver = Driver(bench, "SLEEP")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(driver.watchdog, number)
    assert not lock_is_free(driver.lock)
    driver.kill()
    wait_for(lambda: lock_is_free(driver.lock))
    assert bench.left() == []


@needs_linux
def test_a_driver_that_ends_well_frees_its_lock(bench):
    driver = Driver(bench, "true")
    driver.process.join(RUN_S)
    assert driver.process.exitcode == 0
    assert lock_is_free(driver.lock)


@needs_linux
@pytest.mark.parametrize(
    "script, sleepers",
    [
        ("exec SLEEP", 1),
        ("setsid SLEEP & exec env -i sh -c 'SLEEP; SLEEP'", 2),
    ],
    ids=["marked", "unmarked session"],
)
def test_a_later_run_ends_survivors(bench, script, sleepers):
    driver = Driver(bench, script)
    wait_for(lambda: len(bench.left()) == sleepers)
    driver.kill_with_watchdog()
    ended = bt.end_survivors(bench.batch_id, driver.starts)
    assert driver.starts[0].pid in ended
    assert bench.left() == []
    assert bt.end_survivors(bench.batch_id, driver.starts) == []


@needs_linux
def test_a_later_run_ends_no_survivors_of_another_host(bench):
    driver = Driver(bench, "exec env -i SLEEP")
    wait_for(bench.left)
    driver.kill_with_watchdog()
    elsewhere = bt.replace(driver.starts[0], host="another")
    assert bt.end_survivors(bench.batch_id, [elsewhere]) == []
    assert bench.left() == [elsewhere.pid]


@needs_linux
def test_a_later_run_ends_no_stranger_with_the_pid_of_a_prover(bench):
    """Nor one with the marker of a batch whose id begins like that of this one."""
    env = {**ENV, bt.MARKER: f"{bench.batch_id}1/job/1"}
    stranger = subprocess.Popen(["sleep", bench.token], env=env)
    host, boot = bt.host_id()
    earlier = bt.process_start(stranger.pid) - 1
    reused = bt.Started((), "j", 1, stranger.pid, earlier, host, boot)
    try:
        assert bt.end_survivors(bench.batch_id, [reused]) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@needs_linux
def test_a_later_run_takes_neither_itself_nor_its_ancestors_for_survivors():
    """By a run inside a job of the batch, say."""
    ourselves = {bt.ProcessId(pid, bt.process_start(pid)) for pid in (os.getpid(), os.getppid())}
    assert not ourselves & bt._survivors("no-such-batch", ourselves)


# === Prover =======================================================================================

# --- Starting a prover ---


@pytest.mark.parametrize(
    "says, told",
    [
        ("echo ls 9.1", "'fake' is not known to be a Tamarin: its answer is 'ls 9.1'"),
        ("echo no such option >&2; exit 2", "'fake' is not known to be a Tamarin: no such option"),
        ("kill -9 $$", "SIGKILL"),
    ],
)
def test_what_is_no_prover_is_refused_before_any_task(lab, says, told):
    lab.write("fake.sh", f"#!/bin/sh\n{says}\n", 0o755)
    lab.provers["fake"] = {"path": "./fake.sh"}
    lab.recipe()
    for command in ("run", "check"):
        done = lab.run(command, "recipe.json", code=2)
        assert done.stderr.count("error: ") == 1
        assert "prover 'fake' is not known to be a Tamarin: " in done.stderr
        assert told in done.stderr
        assert "fake.sh --version`" in done.stderr
    assert not lab.results.exists()


def test_a_prover_whose_version_is_none_that_we_know_may_prove(lab):
    body = PRELUDE.replace("tamarin-prover 1.11.0", "Tamarin, our own") + VERIFY
    lab.write("fake.sh", body, 0o755)
    lab.provers["fake"] = {"path": "./fake.sh"}
    lab.recipe()
    done = lab.run("run recipe.json", code=0)
    assert "warning: prover 'fake' did not tell its version" in done.stderr


def test_version_is_asked_once_per_executable(lab):
    lab.prover(VERIFY)
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("case", 'echo "$@" >> calls\ncase', 1))
    lab.provers["same"] = {"path": "./fake.sh"}
    lab.recipe(tamarin_versions=["fake", "same"], lemmas="one")
    lab.run("run recipe.json", code=0)
    calls = lab.read("calls").splitlines()
    assert calls.count("--version") == 1
    assert sorted(lab.finishes()) == ["t--one--fake", "t--one--same"]


def test_tamarin_prover_gets_its_cores_by_the_rts(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    (start,) = lab.events("start")
    assert start["command"][1:4] == ["+RTS", "-N1", "-RTS"]


def test_tamarin_rs_gets_its_own_cores_option(lab):
    """It refuses `+RTS` with exit code 2 (tamarin-rs 1.13)."""
    lab.prover(VERIFY)
    script = lab.path / "fake.sh"
    told = script.read_text().replace("tamarin-prover 1.11.0, (C) nobody", "tamarin-rs 1.13.0")
    script.write_text(told)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    (start,) = lab.events("start")
    assert start["command"][1] == "--processors=1"
    assert "+RTS" not in start["command"]


def a_prover(version="1.11.0", flavour=bt.Flavour.TAMARIN_PROVER, **fields):
    """A prover that has told its version."""
    prover = bt.Prover("p", ("tamarin-prover",), **fields)
    prover.flavour = flavour
    prover.version = version
    return prover


def test_a_prover_that_nobody_knows_goes_by_its_own_name(lab):
    """It says that it speaks Tamarin's command line, and is believed, whatever its version."""
    script = PRELUDE.replace("tamarin-prover 1.11.0, (C) nobody", "other v0.5, a Tamarin")
    lab.write("other.sh", script + VERIFY, 0o755)
    lab.provers["it"] = {"path": "./other.sh"}
    lab.recipe(lemmas="one")
    done = lab.run("run recipe.json", code=0)
    assert "version" not in done.stderr
    (header,) = lab.events("batch")
    prover = header["provers"]["it"]
    assert prover["flavour"] == "other"
    assert prover["version"] == "0.5"
    (start,) = lab.events("start")
    assert "+RTS" in start["command"]
    assert any(word.startswith("--output-json=") for word in start["command"])
    done = lab.run("report results", code=0)
    assert "other 0.5" in done.stdout


OUTPUTS = bt.result_files("/results", "i")


@pytest.mark.parametrize(
    "version, writes",
    [
        ("1.4.1", False),
        ("1.8.0", False),
        ("1.10.0", True),
        ("1.11.0", True),
        ("", True),
        ("x", True),
    ],
)
def test_traces_are_asked_for_from_version_1_10_on(version, writes):
    """Older ones refuse the options; who did not tell its version is taken for a new one."""
    command = bt.prover_command(a_prover(version), a_plan(), OUTPUTS)
    assert (f"--output-json={OUTPUTS.trace_json}" in command) == writes
    assert (f"--output-dot={OUTPUTS.trace_dot}" in command) == writes


def test_options_of_the_task_come_behind_those_of_the_prover():
    """Of two that contradict each other the last counts."""
    plan = a_plan(options=("--bound=7",), flags=("X",))
    command = bt.prover_command(a_prover(options=("--bound=5",)), plan, OUTPUTS)
    assert command[4:8] == ("t.spthy", "--prove=one", "--bound=5", "--bound=7")
    assert command[8] == "-D=X"
    assert command[-1] == f"--output={OUTPUTS.proof}"


def test_a_check_asks_for_no_proof():
    command = bt.prover_command(a_prover(), a_plan(prove=False), OUTPUTS)
    assert not any(word.startswith("--prove") for word in command)


KILLED = "kill -9 $$"
TOO_LONG = "sleep 600"


@pytest.mark.parametrize("end", [KILLED, TOO_LONG])
def test_a_prover_that_does_not_come_to_its_version_stops_all_before_it_begins(
    lab, monkeypatch, end
):
    """What it said so far would count as another prover: all its results would be proven anew."""
    monkeypatch.setattr(bt, "VERSION_LIMITS", bt.Limits(1, 4096, 0.2))
    lab.prover("")
    lab.write("fake.sh", f"#!/bin/sh\necho tamarin-prover 1.11.0\n{end}\n", 0o755)
    lab.recipe()
    done = lab.run("run recipe.json", code=2)
    assert "prover 'fake' is not known to be a Tamarin: " in done.stderr
    assert "fake.sh --version`" in done.stderr
    assert not lab.results.exists()


def test_a_command_is_looked_for_where_the_prover_will_look(lab):
    lab.prover(VERIFY, alias="elsewhere/my-tamarin")
    path = f"{lab.path}/elsewhere:{os.environ['PATH']}"
    os.rename(lab.path / "elsewhere/my-tamarin.sh", lab.path / "elsewhere/my-tamarin")
    lab.provers = {"p": {"path": "my-tamarin", "env": {"PATH": path}}}
    lab.recipe()
    lab.run("run recipe.json", code=0)


@pytest.fixture
def no_locale(monkeypatch):
    """There is no locale in the environment."""
    for name in list(os.environ):
        if name.startswith(("LC_", "LANG")):
            monkeypatch.delenv(name)


def test_a_child_gets_a_utf8_locale(lab, no_locale):
    lab.prover('echo "${LC_ALL:-$LC_CTYPE}" > locale; ' + VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    assert "UTF-8" in lab.read("locale")


@pytest.mark.parametrize("name, value", [("LC_ALL", "C"), ("LANG", "POSIX"), ("LC_CTYPE", "de_DE")])
def test_a_locale_that_is_not_utf8_is_replaced(monkeypatch, no_locale, name, value):
    monkeypatch.setenv(name, value)
    assert bt.prover_environment(a_prover())["LC_ALL"].endswith(".UTF-8")


@pytest.fixture
def locales(tmp_path, monkeypatch):
    """Sets the locales that `locale -a` tells of; None: there is no such program."""

    def set_locales(names):
        program = tmp_path / "locale"
        if names is not None:
            program.write_text(f"#!/bin/sh\nprintf '%s\\n' {names}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        bt.utf8_locales.cache_clear()

    yield set_locales
    bt.utf8_locales.cache_clear()


@pytest.mark.parametrize(
    "there, asked, given",
    [
        ("C C.utf8 POSIX en_US.utf8", "C", "C.UTF-8"),
        ("C POSIX de_DE de_DE.utf8 en_US.utf8", "", "en_US.UTF-8"),
        ("C POSIX aa_DJ.utf8 zu_ZA.utf8", "C", "aa_DJ.utf8"),
        ("C C.utf8", "en_GB.UTF-8", "C.UTF-8"),
        ("C POSIX", "C", "C.UTF-8"),
        (None, "C", "C.UTF-8"),
    ],
)
def test_a_child_gets_a_locale_that_is_there(monkeypatch, no_locale, locales, there, asked, given):
    locales(there)
    monkeypatch.setenv("LANG", asked)
    assert bt.prover_environment(a_prover())["LC_ALL"] == given


@pytest.mark.parametrize("there", ["C C.utf8 de_DE.utf8", "C", None])
@pytest.mark.parametrize("name", ["LC_ALL", "LC_CTYPE", "LANG"])
def test_a_locale_of_utf8_stays(monkeypatch, no_locale, locales, name, there):
    locales(there)
    monkeypatch.setenv(name, "de_DE.utf8")
    env = bt.prover_environment(a_prover())
    assert env[name] == "de_DE.utf8"
    assert env.get("LC_ALL", "de_DE.utf8") == "de_DE.utf8"


# --- Traces ---

# As tamarin-prover 1.11 names graphs: the theory, options, then the lemma and the proof's cases.
LABEL = "trace_T_SL2-AS0-CL0-A1-C1-NB_"
DOT_ONE = f'digraph "{LABEL}one-Case" {{\na\n}}\n'
DOT_ONE_MORE = f'digraph "{LABEL}one_more-Case" {{\nb\n}}\n'
JSON_ONE = {"jgLabel": f"{LABEL}one-Case"}
JSON_TWO = {"jgLabel": f"{LABEL}two"}
ATTACK = """
cp own.dot "$DOT"
cp own.json "$JSON"
summary << END
  one (all-traces): falsified - found trace (2 steps)
  one_more (all-traces): verified (1 steps)
END
"""


def test_traces_of_other_lemmas_are_taken_out(lab):
    lab.write("own.dot", DOT_ONE + DOT_ONE_MORE)
    lab.write("own.json", json.dumps({"graphs": [JSON_ONE, JSON_TWO]}))
    lab.prover(ATTACK)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    traces = lab.path / "results" / "traces"
    assert (traces / "t--one--fake.dot").read_text() == DOT_ONE
    graphs = json.loads((traces / "t--one--fake.json").read_text())
    assert graphs == {"graphs": [JSON_ONE]}


def test_no_trace_files_without_an_attack(lab):
    lab.prover(': > "$DOT"; echo \'{"graphs": []}\' > "$JSON"; ' + VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    assert list((lab.path / "results" / "traces").iterdir()) == []


NO_TRACES = [
    "[]",
    "{",
    '{"graphs": [1]}',
    '{"graphs": [{}]}',
    '{"graphs": [{"jgLabel": "one"}',
    '{"more": {"graphs": []}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NO_TRACES, ids=range(len(NO_TRACES)))
def test_json_that_holds_no_graphs_is_left_as_it_is(lab, text):
    lab.write("own.json", text)
    lab.prover('cp own.json "$JSON"; ' + VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    trace = lab.results / "traces" / "t--one--fake.json"
    assert trace.read_text() == text


@pytest.mark.parametrize("indent", [None, 1])
def test_a_graph_is_found_whatever_stands_in_it(indent):
    label = {"jgLabel": 'o"n\\e'}
    odd = {"x": '"]}{[', "deeper": {"jgLabel": "two", "graphs": [[{}]]}, **label, "y": [{"z": []}]}
    more = {"graphs": [{"jgLabel": "no"}]}
    traces = {"before": more, "graphs": [odd, {"jgLabel": "two"}], "behind": more}
    text = json.dumps(traces, indent=indent)
    first, second = bt.json_graphs(text.encode())
    of_first = text[first.start : first.end]
    assert json.loads(of_first) == odd
    assert first.label == 'o"n\\e'
    assert second.label == "two"


def test_own_graphs_are_left_as_the_prover_wrote_them():
    numbered = {**JSON_ONE, "n": 1}
    traces = {"v": 1, "graphs": [JSON_TWO, numbered, JSON_TWO, JSON_ONE], "w": [2]}
    data = json.dumps(traces, indent=4).encode()
    graphs = bt.json_graphs(data)
    own = bt.own_graphs(graphs, "one", ["two"])
    text = "".join(bt._only_graphs(data, graphs, own, ",\n"))
    assert json.loads(text) == {**traces, "graphs": [numbered, JSON_ONE]}
    assert text.startswith(data[: graphs[0].start].decode())


# --- What a prover must have printed ---

# What a prover does, and the status and the reason that come of it.
LIES = {
    "silence": ("exit 0", "failed", "no summary"),
    "another lemma": (
        'summary "  two (all-traces): verified (3 steps)"',
        "failed",
        "no line for lemma 'one'",
    ),
    "longer name": (
        'summary "  one_more (all-traces): verified (3 steps)"',
        "failed",
        "no line for lemma 'one'",
    ),
    "verdict outside a summary": (
        'echo "  one (all-traces): verified (3 steps)"',
        "failed",
        "no summary",
    ),
    "summary cut off": (
        "printf '%s\\nsummary of summaries:\\n\\n  one (all-traces): verified (3 steps)\\n' $RULE",
        "failed",
        "no summary",
    ),
    "exit 3 at once": ("echo boom >&2; exit 3", "failed", "exit code 3: boom"),
    "verdict, then exit 1": (VERIFY + "exit 1", "failed", "exit code 1"),
    "unknown word": (
        'summary "  one (all-traces): probably fine (3 steps)"',
        "failed",
        "unknown verdict",
    ),
    "segfault": ("kill -SEGV $$", "failed", "SIGSEGV"),
    # GHC's exit code when `+RTS -M` is exceeded, as in transcripts/heap-limit.
    "heap exhausted": (
        'echo "tamarin-prover: Heap exhausted;" >&2; exit 251',
        "memory_limit",
        "heap limit",
    ),
    # As in transcripts/parse-error.
    "parse error": (
        'printf \'"t.spthy" (line 68, column 1):\\nunexpected "#"\\n\' >&2; exit 1',
        "failed",
        't.spthy:68:1: unexpected "#"',
    ),
    # As in transcripts/missing-maude.
    "missing maude": (
        'echo "tamarin-prover: Maude is not installed. Ensure it is." >&2; exit 1',
        "failed",
        "Maude is not installed",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_never_a_verdict_that_was_not_printed(lab, name):
    body, status, reason = LIES[name]
    lab.prover(body)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=3)
    event = lab.only_finish()
    assert event["verdict"] is None
    assert event["status"] == status
    assert reason in event["reason"]
    file = lab.results / "failed" / "t--one--fake.json"
    failed = json.loads(file.read_text())
    assert failed["error_description"] == event["reason"]
    assert not (lab.path / "results" / "proofs" / "t--one--fake.spthy").exists()


RULE = "=" * 78


def summary_of(*lines):
    """What tamarin-prover prints at the end of its stdout, with these lines about lemmas."""
    rows = [RULE, "summary of summaries:", "", "analyzed: t", "", *lines, "", RULE, ""]
    return "\n".join(rows)


def read_summary(folder, *lines):
    """What is read of an output that ends with a summary of these lines."""
    (folder / "out").write_text("junk\n" + summary_of(*lines))
    return bt.read_output(str(folder / "out"), str(folder / "none"))


EXIT_0 = bt.Outcome(bt.Status.COMPLETED, exit=bt.ExitStatus(0))


# lib/theory/src/Theory/Proof.hs (1.11.0) has these texts; "|" stands before the verdict and steps
# that a line means.
LINES_OF_ONE_LEMMA = """
  one (all-traces): verified (7 steps)                                       | verified 7
  one (exists-trace): verified (7 steps)                                     | verified 7
  one (all-traces): falsified - found trace (2 steps)                        | falsified 2
  one (exists-trace): falsified - no trace found (3 steps)                   | falsified 3
  one (all-traces): analysis incomplete (1 steps)                            | incomplete 1
  one (all-traces): analysis undetermined (2 steps)                          | incomplete 2
  one (all-traces): analysis cannot be finished (reducible operators in subterms) (9 steps)\
 | incomplete 9
  one (all-traces): analysis has been invalidated (9 steps)                  | incomplete 9
"""


@pytest.mark.parametrize("row", LINES_OF_ONE_LEMMA.splitlines()[1:])
def test_a_line_of_the_summary_is_read(tmp_path, row):
    line, _, wanted = row.partition("|")
    verdict, steps = wanted.split()
    trait = re.search(r"\((.*?)\)", line)[1]
    output = read_summary(tmp_path, line.rstrip())
    result = bt.judge(a_plan(trait=trait), EXIT_0, output, "")
    assert result.verdict == verdict
    assert result.steps == int(steps)
    assert result.trait == trait
    assert len(result.lemmas) == 1


@pytest.mark.parametrize("verdict, steps", [("falsified - found trace", 4), ("verified", 383)])
def test_the_line_of_an_equivalence_is_read(tmp_path, verdict, steps):
    output = read_summary(tmp_path, f"  DiffLemma:  one : {verdict} ({steps} steps)")
    result = bt.judge(a_plan(trait="diff"), EXIT_0, output, "")
    assert result.verdict == verdict.split()[0]
    assert result.steps == steps
    assert len(result.lemmas) == 1


BOTH_SIDES = a_plan(sides=("LHS", "RHS"))
RIGHT_VERIFIED = "  RHS :  one (all-traces): verified (4 steps)"
LEFT_VERIFIED = "  LHS :  one (all-traces): verified (5 steps)"
LEFT_FALSIFIED = "  LHS :  one (all-traces): falsified - found trace (5 steps)"


@pytest.mark.parametrize(
    "left, verdict", [(LEFT_VERIFIED, "verified"), (LEFT_FALSIFIED, "falsified")]
)
def test_of_two_sides_the_worse_decides(tmp_path, left, verdict):
    result = bt.judge(BOTH_SIDES, EXIT_0, read_summary(tmp_path, RIGHT_VERIFIED, left), "")
    assert result.verdict == verdict
    assert result.steps == 9
    assert len(result.lemmas) == 2


def test_one_side_alone_is_no_verdict(tmp_path):
    output = read_summary(tmp_path, LEFT_VERIFIED)
    result = bt.judge(BOTH_SIDES, EXIT_0, output, "")
    assert result.status == "failed"
    assert result.verdict is None
    assert result.steps is None
    assert "no line for lemma 'one' on side RHS" in result.reason
    assert len(result.lemmas) == 1


def test_no_verdict_for_a_prover_of_which_nobody_knows_how_it_ended(tmp_path):
    output = read_summary(tmp_path, "  one (all-traces): verified (7 steps)")
    result = bt.judge(a_plan(), bt.Outcome(bt.Status.COMPLETED), output, "")
    assert result.status == "failed"
    assert result.verdict is None
    assert result.reason == "its exit status is not known"


def test_only_the_last_summary_counts(tmp_path):
    """Version 1.4 prints it twice; what a theory's own text prints before can't forge one."""
    first = summary_of("  one (all-traces): verified (7 steps)")
    last = summary_of("  one (all-traces): falsified - found trace (2 steps)")
    (tmp_path / "out").write_text(first + last)
    (line,) = bt.read_output(str(tmp_path / "out"), "").lines
    assert line.verdict == "falsified"


def test_a_summary_of_two_theories_is_none(tmp_path):
    """A verdict may be the other one's."""
    output = read_summary(tmp_path, "  one (all-traces): verified (7 steps)", "analyzed: u", "")
    assert not output.summary


def test_a_generated_lemma_that_the_prover_did_not_add_is_not_needed(tmp_path):
    output = read_summary(tmp_path, "  one (all-traces): verified (7 steps)")
    plan = a_plan(lemma="AUTO_typing", optional=True)
    result = bt.judge(plan, EXIT_0, output, "")
    assert result.status == "not_needed"
    assert result.verdict is None


# --- Warnings ---

# As tamarin-prover 1.11 writes it behind a theory.
REPORT = """/*
WARNING: the following wellformedness checks failed!

Unbound variables
=================

  x

Derivation Checks
=================

  Derivation checks timed out.
*/
"""


def warnings_of(output, proof, plan=None):
    """What a run is warned of by what its prover said, and the report in its proof file."""
    return list(bt.prover_warnings(plan or a_plan(), output, str(proof)))


def test_checks_that_failed_are_named_and_those_that_only_took_long_told_apart(tmp_path):
    (tmp_path / "proof").write_text(REPORT)
    timed_out, failed = warnings_of(bt.ProverOutput(failed_checks=2), tmp_path / "proof")
    assert timed_out == "derivation checks timed out (raise --derivcheck-timeout)"
    assert failed == "1 wellformedness check failed: Unbound variables"


def test_checks_without_a_report_are_counted(tmp_path):
    warnings = warnings_of(bt.ProverOutput(failed_checks=2), tmp_path / "none")
    assert warnings == ["2 wellformedness checks failed"]


def test_an_unsupported_maude_is_warned_of(tmp_path):
    warnings = warnings_of(bt.ProverOutput(old_maude="3.2"), tmp_path / "none")
    assert warnings == ["Maude 3.2 is not supported by this prover"]


def test_the_complaint_about_a_name_that_we_asked_for_is_none_of_the_theorys(tmp_path):
    """Of a lemma that the prover itself generates it says that the theory has none of that name."""
    plan = a_plan(lemma="Observational_equivalence")
    output = bt.ProverOutput(failed_checks=1)
    assert warnings_of(output, tmp_path / "none", plan) == []


# --- Real runs ---

# What each run in ../shared/transcripts must be read as: lemma, status, verdict, steps.
REAL_RUNS = """
accountability              acc_verif_empty             completed     falsified   15
accountability-parent-name  acc                         failed        -           -
all-lemmas                  session_key_setup_possible  completed     verified    5
all-lemmas-rs               nonce_secrecy               completed     falsified   16
auto-sources                AUTO_typing                 completed     verified    145
bad-option                  types                       failed        -           -
bound-incomplete            nonce_secrecy               completed     incomplete  6
check-broken-proof          nonce_secrecy               completed     incomplete  54
check-stored-proof          nonce_secrecy               completed     verified    54
diff-falsified              Observational_equivalence   completed     falsified   4
diff-one-lemma              Observational_equivalence   completed     verified    383
diff-two-sides              types                       completed     verified    50
diff-rs                     types                       failed        -           -
diff-without-flag           types                       failed        -           -
false-reuse-all             executable                  completed     falsified   3
heap-limit                  types                       memory_limit  -           -
killed-term                 types                       failed        -           -
killed-kill                 types                       failed        -           -
missing-maude               types                       failed        -           -
missing-theory              types                       failed        -           -
no-locale                   types                       failed        -           -
no-such-lemma               no_such_lemma               failed        -           -
old-style-cores-rs          types                       failed        -           -
parse-error                 types                       failed        -           -
verified                    nonce_secrecy               completed     verified    54
verified-exists-trace       session_key_setup_possible  completed     verified    5
verified-rs                 nonce_secrecy               completed     verified    54
wellformedness              types                       failed        -           -
wellformedness-quit         types                       failed        -           -
"""
# Those whose prover warned of something.
WARNED = ("accountability", "accountability-parent-name", "no-such-lemma")


def judge_real_run(name, lemma):
    """The result of a run in ../shared/transcripts, as one of that lemma."""
    folder = TRANSCRIPTS / name
    code = json.loads((folder / "run.json").read_text())["exit_code"]
    ended = bt.ExitStatus(code=code)
    if code < 0:
        ended = bt.ExitStatus(signal=signal.Signals(-code).name)
    stdout, stderr = str(folder / "stdout"), str(folder / "stderr")
    output = bt.read_output(stdout, stderr)
    lines = [line for line in output.lines if line.name == lemma]
    sides = tuple(line.side for line in lines if line.side)
    plan = a_plan(lemma=lemma, sides=sides)
    if lemma == "Observational_equivalence":
        plan = bt.replace(plan, trait="diff")
    outcome = bt.Outcome(bt.Status.COMPLETED, exit=ended)
    return bt.judge(plan, outcome, output, str(folder / "out.spthy"))


@needs_transcripts
@pytest.mark.parametrize("row", REAL_RUNS.strip().splitlines(), ids=lambda row: row.split()[0])
def test_real_runs_are_read_right(row):
    name, lemma, status, verdict, steps = row.split()
    result = judge_real_run(name, lemma)
    assert result.status == status
    assert (result.verdict or "-") == verdict
    assert str(result.steps or "-") == steps
    assert bool(result.reason) == (verdict not in ("verified", "falsified")), result
    assert bool(result.warnings) == (name in WARNED), result


# --- Phases ---


@pytest.mark.parametrize(
    "log, phase",
    [
        ("maude tool: 'maude'\n", ""),
        ("[Theory T] Theory loaded\n", "loaded"),
        ("[Theory T] Derivation checks started\n", "derivation checks"),
        (
            "[Theory T] Theory closed\n[Saturating Sources] Step 2 (Max 5)\n",
            "saturating sources 2/5",
        ),
        ("[Saturating Sources] Step 1 (Max 5)\n[Saturating Sources] Done\nx\n", "proving"),
        ("[Theory T] a\x1b[2Jb started\n", "a\N{REPLACEMENT CHARACTER}[2jb"),
    ],
    ids=["none", "loaded", "checks", "sources", "proving", "control characters"],
)
def test_the_phase_is_what_a_prover_said_last(tmp_path, log, phase):
    (tmp_path / "log").write_text("x" * 5000 + "\n" + log)
    assert bt.phase(str(tmp_path / "log")) == phase


def test_a_prover_without_a_log_is_in_no_phase(tmp_path):
    assert bt.phase(str(tmp_path / "none")) == ""


SAID_CLOSED = "[Theory T] Theory closed\n"
SAID_DONE = SAID_CLOSED + "[Saturating Sources] Step 1 (Max 5)\n[Saturating Sources] Done\n"


@pytest.mark.parametrize(
    "log, load_s",
    [
        ("", None),
        ("[Theory T] Theory loaded\n", None),
        (SAID_CLOSED, 7),
        (SAID_CLOSED + "[Saturating Sources] Step 2 (Max 5)\n", None),
        (SAID_DONE, 7),
        (SAID_DONE + "error: no more\n", None),
    ],
    ids=["silence", "loaded", "closed", "saturating", "saturated", "something else later"],
)
def test_a_load_ends_when_a_prover_tells_of_it_last(tmp_path, log, load_s):
    path = tmp_path / "log"
    path.write_text(log)
    os.utime(path, (107, 107))
    assert bt.load_seconds(str(path), began=100, wall_s=9) == load_s


def test_a_load_takes_no_longer_than_the_whole_process(tmp_path):
    """The clock of files may be another one than ours."""
    path = tmp_path / "log"
    path.write_text(SAID_DONE)
    os.utime(path, (107, 107))
    assert bt.load_seconds(str(path), began=100, wall_s=2) == 2
    assert bt.load_seconds(str(path), began=110, wall_s=2) == 0


# --- Time in proportion to the length of texts ---

# What lines are made of that could make a reader go back and forth.
REPEATED = """
a|=|1|"|/*|'|{|(|# |1.|_SL1-AS0|lemma |expected |WARNING: |Generated from: |" (line 1\
|theory a begin |returned unsupported version '|  a (all-traces): verified (1 steps
"""


def read_as_prover_output(folder, text):
    """Let everything that reads what provers write read this text."""
    log = folder / "log"
    heading = "=\nsummary of summaries:\n\nanalyzed: "
    log.write_text(f"[Theory T] {text}\n{heading}{text}\n\n  {text}\n{text}\n=====\n")
    errors = folder / "errors"
    errors.write_text(text)
    report = folder / "report"
    report.write_text(f"theory T begin end\n{bt.REPORT_HEADING}\n{text}\n==========\n")
    bt.read_output(str(log), str(errors), "one")
    bt.wellformedness_titles(str(report))
    bt.has_loaded(str(errors))
    bt.phase(str(errors))
    bt.dot_graphs(f'digraph {text}\ndigraph "{text}" {{}}'.encode())
    bt.json_graphs(f'{{"graphs": [{{"jgLabel": {json.dumps(text)}}}]}}'.encode())
    bt.printable(text)
    bt.coloured(text, type("Tty", (), {"isatty": lambda self: True})())
    bt.read_evidence([str(log)], lambda message: None)


# Where in a theory a text may stand.
PLACES = [
    "{}",
    "theory T begin\n{}",
    'theory T begin lemma a: "{}"\nend',
    "theory T begin end {}",
    "theory T begin heuristic: {}\nend",
    "theory T begin #include {}\nend",
    'theory T configuration: "{}" begin end',
]


def read_as_theories(folder, text):
    """Let everything that reads theories read this text."""
    path = folder / "t.spthy"
    for place in PLACES:
        path.write_text(place.format(text))
        try:
            bt.read_evidence([str(path)], lambda message: None)
            theory = bt.load_theory(str(path))
        except bt.InputError:
            continue
        assert theory.digest
        assert theory.splits_for_sure in (True, False)
        bt.used_oracles(theory, [f"--heuristic={text}"], "/")


def reading_s(folder, read, piece, size):
    """The CPU seconds that it takes to read so many characters."""
    text = piece * (size // len(piece))
    begun = time.process_time()
    read(folder, text)
    return time.process_time() - begun


@pytest.mark.parametrize("read", [read_as_prover_output, read_as_theories])
@pytest.mark.parametrize("piece", [" ", "\t \n", *REPEATED.strip("\n").split("|")])
def test_reading_takes_time_in_proportion(tmp_path, read, piece):
    """Eight times the text, eight times the time; what is quadratic needs 64 times as much.

    What only looked so (another program took the caches) does not look so again.
    """
    reading_s(tmp_path, read, piece, 1 << 10)  # patterns are compiled
    for _ in range(5):
        short_s = reading_s(tmp_path, read, piece, 1 << 13)
        long_s = reading_s(tmp_path, read, piece, 1 << 16)
        if long_s < 24 * short_s:
            return
    pytest.fail(f"{short_s:.4f} s and {long_s:.4f} s")


# --- Known problems of provers --------------------------------------------------------------------

# Below each heading a theory, behind the colon the problems whose conditions it meets: "!" behind
# one that weighs little, behind "@" the only lemma that it touches. For each problem there are
# theories that meet its condition, and some that nearly do.
TOUCHED_THEORIES = r"""
--- xor of a variable: xor
builtins: xor
rule R: [ In(<'a', x XOR ~k>), !K(~k) ]-->[ ]
--- xor of a variable by way of let: xor
builtins: xor
rule R: let t = h(x ⊕ ~k) in [ In(t) ]-->[ ]
--- xor of terms that have sorts: xor!
builtins: xor
rule R: let x = h(~k) in [ In(x XOR ~k XOR h(y)), In(zero XOR $A XOR z:pub) ]-->[ Out(a XOR b) ]
--- xor in a comment:
// builtins: xor
rule R: [ In(x) ]--[ A('x XOR y') ]->[ ]
--- xor in a branch that is disabled:
#ifdef X
builtins: xor
#endif
--- an equivalence under a negation: iff-negated@a
lemma a: "not (All x #i. A(x)@i & (Ex #j. B(x)@j <=> C(x)@j))"
lemma b: "T"
--- an equivalence left of an implication: iff-negated
restriction r: "All x #i. (A(x)@i <=> B(x)@i) ==> C(x)@i ==> D(x)@i"
--- an equivalence in an equivalence: iff-negated@a
lemma a: "∀ x #i. A(x)@i ⇒ ((B(x)@i ⇔ (Ex #j. C(x)@j)) ⇔ (Ex #j. D(x)@j))"
--- an equivalence in a predicate: iff-negated
predicates: P(x) <=> x = 'a', Q(x, y) <=> not(P(x) <=> P(y))
--- a predicate with an equivalence that is negated: iff-negated@a
predicates: P(x, y) <=> (x = 'a' <=> y = 'a')
lemma a: "All x y #i. A(x, y)@i ==> not(P(x, y))"
--- an equivalence in a restriction of a rule: iff-negated
rule R: [ In(<x, y>) ]--[ _restrict(not(x = 'a' <=> y = 'a')) ]->[ ]
--- an equivalence under two negations:
lemma a: "All x #i. A(x)@i ==> not(not(B(x)@i <=> C(x)@i))"
--- an equivalence right of implications:
predicates: P(x, y) <=> (x = 'a' <=> y = 'a')
lemma a: "All x y #i. A(x, y)@i ==> D(x, y)@i ==> P(x, y) & (B(x)@i <=> C(x)@i)"
--- an equivalence in a comment and in a constant:
lemma a: "not(Ex #i. A('x <=> y')@i) // not(A <=> B)
"
--- last in a restriction, and induction: last-in-restriction@b
restriction r: "All x #i. A(x)@i ==> not(last(#i))"
lemma a: "T"
lemma b [use_induction]: "T"
--- last in a restriction, beside a sources lemma: last-in-restriction
restriction r: "All x #i. A(x)@i ==> not(last(#i))"
lemma a [sources]: "T"
--- last in a restriction, and no induction:
restriction r: "All x #i. A(x)@i ==> not(last(#i))"
lemma a [reuse]: "T"
--- a function called last, and last in a lemma:
functions: last/1
restriction r: "All x #i. A(last(x))@i ==> F"
lemma a [use_induction]: "T"
--- last in a lemma:
lemma a [use_induction]: "All x #i. A(x)@i ==> not(last(#i))"
--- a restriction to nothing: restriction-not-enforced
restriction r: "(F)"
--- a disjunction of restrictions: restriction-not-enforced!
restriction r: "(All #i. A()@i ==> F) | (All #i. B()@i ==> F)"
--- a restriction that is a disjunction under a quantifier:
restriction r: "All #i. A()@i ==> F | (All #j. B()@j ==> F)"
lemma a: "F"
--- a disjunction with an existential:
restriction r: "(All #i. A()@i ==> F) | (Ex #i. B()@i)"
--- an equation that makes a private term: private-result
functions: f/1, sk/1 [private]
equations: f(x) = <x, sk(x)>
--- an equation that gives back a private term:
functions: f/1, sk/1 [private]
equations: f(<x, sk(x)>) = sk(x)
--- an equation that makes a public term:
functions: f/1, sk/1, other/1 [private]
equations: f(x) = sk(x) // sk is not [private]
--- a product in an action: dh-product
builtins: diffie-hellman
rule R: [ Fr(~a), Fr(~b) ]--[ A('g'^~a*~b) ]->[ ]
--- a product in an exponent:
builtins: diffie-hellman
rule R: let e = ~a*~b in [ Fr(~a), Fr(~b) ]--[ A('g'^(~a*~b)), B('g'^e, 'a*b') ]->[ Out(~a*~b) ]
--- a scalar, which is an exponent:
builtins: bilinear-pairing
rule R: [ Fr(~a), Fr(~b) ]--[ A(pmult(~a*~b, 'P')) ]->[ ]
--- a product without Diffie-Hellman:
functions: h/1
rule R: [ Fr(~a), Fr(~b) ]--[ A(~a*~b) ]->[ ]
--- a macro in a fact that goes on: macro-in-state!
macros: m(x) = <x, x>
rule R: [ S(~i, x), In(x) ]-->[ S(~i, m(x)) ]
--- a macro in a fact that persists or ends:
macros: m(x) = <x, x>
rule R: [ !S(~i, m(x)), T(m(x)) ]-->[ !S(~i, x), Out(m(x)) ]
--- a function in a fact that goes on:
macros: m(x) = <x, x>
functions: mm/1
rule R: [ S(~i, x), In(x) ]-->[ S(~i, <mm(x), 'm(x)'>) ]
--- two sorts beside a subterm: nat-subterm!@a subterm-order@a subterm-witness!@a
builtins: natural-numbers
lemma a: "All %x y #i. A(%x, y)@i ==> y << %x"
--- one sort beside a subterm: subterm-order@a subterm-witness!@a
builtins: natural-numbers
lemma a: "All %x y:nat z #i. A(%x, y, z)@i ==> y:nat << %x & z << h(%x)"
--- a subterm in a restriction: subterm-order subterm-witness!
restriction r: "All x y #i. A(x, y)@i ==> x ⊏ y"
--- pairs of pairs:
lemma a: "All x y #i. A(<<x, y>, y>)@i & not <<x, y>, y> = <x, y> ==> <<x, y>, <<x, y>, y>> = x"
--- a pair and its subterm: subterm-order@a subterm-witness!@a
lemma a: "All x y #i. A(<<x, y>, y>)@i ==> <<x, y>, y> << <x, y>"
--- a subterm in a comment and in a rule:
lemma a: "All x y #i. A(x, 'x << y')@i // x << y
 ==> F"
rule R: [ In(<<x, y>, z>) ]--[ A(<<x, y>, z>) ]->[ ]
--- a fact that loops with a tuple and a variable: injective-tuple!
rule R: [ Fr(~i) ]-->[ S(~i, <'a', 'b'>) ]
rule Q: [ S(~i, x) ]-->[ S(~i, x) ]
--- a fact that loops with a pair by way of let: injective-tuple!
rule R: let t = <<'a', 'b'>, 'c'> in [ Fr(~i) ]-->[ S(~i, t) ]
rule Q: [ S(~i, x) ]-->[ S(~i, x) ]
--- a fact that loops, with other terms:
rule R: [ Fr(~i) ]-->[ S(~i, <'a', 'b'> + 'c') ]
rule Q: [ S(~i, x), In(y) ]-->[ S(~i, h(<x, y>)) ]
--- a fact that loops with a tuple and a constant:
functions: nil/0
rule R: [ Fr(~i) ]-->[ S(~i, <'a', 'b'>) ]
rule Q: [ S(~i, nil) ]-->[ S(~i, nil) ]
--- a fact with a tuple that does not loop:
rule R: [ Fr(~i) ]-->[ S(~i, <'a', 'b'>), !T(<'a', 'b'>) ]
rule Q: [ S(~i, x), !T(y) ]-->[ !T(y) ]
--- an output of a union: multiset-output
builtins: multiset
rule R: [ In(x) ]-->[ Out(<'a', x + 'b'>) ]
--- an output of a union of what has sorts:
builtins: multiset
rule R: let y = h(x) in [ In(x), Fr(~k) ]--[ A(x + 'b') ]->[ Out(~k + y + h(x)), S(x + 'b') ]
--- a union without multisets:
rule R: [ In(x) ]-->[ Out(<'x + y', x>) ]
--- a macro in a lemma: macro-in-formula@a
macros: m(x) = <x, x>
lemma a: "All x #i. A(m(x))@i ==> F"
lemma b: "All x #i. A(x)@i ==> F"
--- a macro in a restriction: macro-in-formula
macros: m() = 'm'
restriction r: "All #i. A(m())@i ==> F"
--- a macro in a rule, and its name in formulas:
macros: m(x) = <x, x>
rule R: [ In(x) ]--[ A(m(x)) ]->[ ]
lemma a: "All m #i. A(<m, 'm(x)'>)@i ==> F // m(x)
"
--- a restriction of an action that is misspelt: unknown-action!
rule R: [ In(<x, y>) ]--[ Equal(x, y) ]->[ ]
restriction r: "All x y #i. Equals(x, y)@i ==> x = y"
--- a restriction of an action with another number of arguments: unknown-action!
process: in(<x, y>); event Equal(x, y)
restriction r: "All x #i. Equal(x)@i ==> F"
--- a restriction that nobody uses, and one of the intruder's facts:
rule R: [ In(<x, y>) ]--[ Equal(x, y), Key(x) ]->[ ]
restriction r: "All x y #i. Neq(x, y)@i ==> not(x = y)"
restriction s: "All x #i #j. KU(x)@i & Key(x)@j ==> F"
--- a restriction by way of a predicate, and an action in a comment:
predicates: P(x) <=> x = 'a'
rule R: [ In(x) ]--[ Equal(x) ]->[ ]
restriction r: "All x #i. Equal(x)@i ==> P(x)" // Equals(x)@i
--- states that are optimised: sapic-state-optimisation
options: translation-state-optimisation
process: 0
--- states that could be:
// options: translation-state-optimisation
options: translation-progress
process: event A('translation-state-optimisation')
--- a process that binds x twice: sapic-x!
builtins: dest-pairing
let P = in('c', x); out(x)
process: in(<x, 'a'>); let y = fst(x) in P
--- a process that compares x:
builtins: dest-pairing
process: in(x, m); new xx; let <=x, 'x'> = fst(m) in out(x)
--- a process without a destructor in a let:
builtins: dest-pairing
process: in(x); in(x); out(fst(x))
--- a signature that is verified by let: sapic-destructor-result
builtins: dest-signing
process: in(<m, s>); let t = verify(s, m, pk(k)) in out(m)
--- a destructor with a constant result: sapic-destructor-result
functions: ok/0, check/2 [destructor]
equations: check(x, x) = ok
process: in(<m, s>); let t = <check(m, s), m> in out(t)
--- a signature that is verified by if:
builtins: dest-signing
process: in(<m, s>); if verify(s, m, pk(k)) = true then let y = sign(m, k) in out(y)
--- a destructor with a variable as its result:
functions: check/2 [destructor], other/2
equations: check(x, x) = x, other(x, x) = 'a'
process: in(<m, s>); let t = check(m, other(m, s)) in out(t)
--- a destructor with two equations: sapic-destructor-equations
functions: d/1 [destructor], e/1, f/1
equations: d(e(x)) = x, d(f(x)) = x
process: in(m); let t = d(m) in out(t)
--- a destructor with two equations, not in a let:
functions: d/1 [destructor], e/1, f/1
equations: d(e(x)) = x, d(f(x)) = x
process: in(m); let t = e(m) in out(d(t))
--- a function with two equations:
functions: d/1, e/1, f/1
equations: d(e(x)) = x, d(f(x)) = x
process: in(m); let t = d(m) in out(t)
--- a let that compares, with an else: sapic-let-else!
process: in(c, m); let <a, =c> = m in (if a = c then out(a)) else out('no')
--- a let that compares, without one:
process: in(c, m); let <a, =c> = m in if a = c then out(a) else out('no')
--- a let with an else that compares nothing:
process: in(c, m); let <a, b> = m in (if a = b then let <=c, d> = a in 0) else out('no')
--- progress, and a let with a pattern: sapic-progress-let!
options: translation-progress
process: in(m); let <a, b> = m in out(a)
--- progress, and a let with an else or a variable:
options: translation-progress
process: in(m); let a:nat = m in let <b, c> = m in out(a) else 0
--- a let with a pattern, and no progress:
options: translation-compress-events
process: in(m); let <a, b> = m in out(a)
--- an equivalence in an accountability lemma: accountability-iff@a_A_suff
test A: "Ex #i. A()@i"
lemma a: A accounts for "All #i. A()@i <=> B()@i"
--- an equivalence elsewhere:
test A: "Ex #i. A()@i <=> B()@i"
lemma a: A accounts for "All #i. A('<=>')@i ==> F"
lemma b: "All #i. A()@i <=> B()@i"
--- a proof with SOLVED that was given: stored-solved@a
lemma a: exists-trace "T" simplify SOLVED
lemma b: "T" by contradiction
--- a proof with SOLVED in a comment:
lemma a: exists-trace "T" by sorry // SOLVED
lemma b: "T" simplify by contradiction /* SOLVED */
--- a rule without derivation checks: derivation-checks!
rule R [no_derivcheck]: [ In(x) ]-->[ ]
--- a rule that speaks of derivation checks:
rule R [color=#ffffff]: [ In('no_derivcheck') ]-->[ ] // no_derivcheck
"""
TOUCHED_DIFF_THEORIES = r"""
--- a restriction of one side: diff-false-attack! diff-restriction-sides
restriction r [left]: "All #i. A()@i ==> F"
--- a restriction that a prover printed for both sides: diff-false-attack!
restriction r [right]: "All #i. A()@i ==> F"
restriction r [left]: "All #i. A()@i ==> F"
--- a restriction that relates two events: diff-false-attack! diff-restriction-sides!
restriction r: "All #i #j. A()@i & B()@j ==> F"
--- a restriction of one event, and a lemma of one side: diff-false-attack!
restriction r: "All x y #i. Eq(x, y)@i ==> x = y"
lemma left [left]: "T"
--- a restriction in a comment:
// restriction r [left]: "All #i. A()@i ==> F"
lemma restriction: "T"
--- a restriction in a rule: diff-restrict-ignored
rule R: [ In(x) ]--[ _restrict(x = 'a') ]->[ ]
--- a fact of such a name:
rule R: [ In(x) ]--[ restrict(x), A('_restrict(x)') ]->[ ] // _restrict(x)
--- sources of one side: diff-sided-sources
lemma a [sources, left]: "T"
--- sources that a prover printed for both sides:
lemma a [right, sources]: "T"
lemma a [left, sources]: "T"
lemma b [left, reuse]: "T"
--- sources of both sides:
lemma a [sources]: "T"
--- a macro in a formula: diff-macros@a macro-in-formula@a
macros: m(x) = <x, x>
lemma a: "All x #i. A(m(x))@i ==> F"
--- a macro in no formula:
macros: m(x) = <x, x>
rule R: [ In(x) ]--[ A(m(x)) ]->[ Out(diff(m(x), x)) ]
--- a union of three: diff-multiset multiset-output
builtins: multiset
rule R: [ In(<a + b, c>) ]-->[ Out(h(~a + b + 'c')) ]
--- unions of two: diff-multiset!
builtins: multiset
rule R: [ In(<a + b, b + c>) ]--[ A((a + b), 'a + b + c') ]->[ ]
--- no multisets:
builtins: hashing
rule R: [ In('a + b + c') ]-->[ ]
--- a private function: diff-private
functions: f/1 [private]
--- a public function called private:
functions: private/1, f/1 // [private]
"""
# These need no text.
OF_ANY_THEORY = ("diff-old", "old-prover", "tamarin-rs")


def conditions_of(theory, options=(), **known):
    """The known problems whose conditions a theory meets, as the tables above tell them."""
    run = bt.Circumstances(theory, options, **known)
    told = set()
    for advisory, met in bt.conditions_met(run):
        mark = "!" if met.weight is bt.Weight.NOTE else ""
        lemma = f"@{met.lemma}" if met.lemma else ""
        if advisory.id not in OF_ANY_THEORY:
            told.add(f"{advisory.id}{mark}{lemma}")
    return told


@pytest.mark.parametrize("text, wanted", cases(TOUCHED_THEORIES))
def test_a_known_problem_touches_what_meets_its_condition_and_nothing_near(load, text, wanted):
    told = conditions_of(load(text))
    # Of the parts of an accountability lemma the first stands for all.
    others = {each for each in told if re.match("accountability-iff@(?!a_A_suff)", each)}
    assert told - others == set(wanted.split())
    assert len(others) in (0, 6)


@pytest.mark.parametrize("text, wanted", cases(TOUCHED_DIFF_THEORIES))
def test_a_known_problem_of_diff_mode_touches_what_meets_its_condition(load, text, wanted):
    assert conditions_of(load(text, diff=True)) == set(wanted.split())


def touched_theories():
    """Those of the tables that some known problem touches, and whether they are of diff mode."""
    for diff, table in enumerate((TOUCHED_THEORIES, TOUCHED_DIFF_THEORIES)):
        for case in cases(table):
            text, wanted = case.values
            if wanted:
                yield pytest.param(text, bool(diff), id=case.id)


@pytest.mark.parametrize("text, diff", list(touched_theories()))
def test_what_does_not_count_meets_no_condition(load, text, diff):
    for begin, end in (("/*", "*/"), ("#ifdef NEVER", "#endif"), ("end", "")):
        assert conditions_of(load(f"{begin}\n{text}\n{end}", diff=diff)) == set()


def test_every_known_problem_has_a_theory_that_meets_it():
    told = f"{TOUCHED_THEORIES}{TOUCHED_DIFF_THEORIES}"
    headings = " ".join(re.findall(r"^--- [^:]*: (.*)$", told, re.MULTILINE))
    ids = {re.split("[!@]", word)[0] for word in headings.split()}
    assert ids | {*OF_ANY_THEORY, "partial-evaluation"} == set(bt.ADVISORIES)


WITH_EQUATIONS = "builtins: signing"
WITHOUT_EQUATIONS = "builtins: hashing, multiset"


@pytest.mark.parametrize(
    "text, options, is_met",
    [
        (WITH_EQUATIONS, ["--partial-evaluation=Verbose"], True),
        ("functions: f/1\nequations: f(x) = x", ["--partial-evaluation"], True),
        (WITH_EQUATIONS, ["--prove"], False),
        (WITH_EQUATIONS, None, False),
        (WITHOUT_EQUATIONS, ["--partial-evaluation"], False),
    ],
)
def test_partial_evaluation_matters_where_there_are_equations(load, text, options, is_met):
    told = conditions_of(load(text), options)
    assert told == ({"partial-evaluation"} if is_met else set())


@pytest.mark.parametrize(
    "options, timed_out, is_met",
    [
        ((), True, True),
        (["--derivcheck-timeout=0"], False, True),
        (["-d=0"], False, True),
        (["--derivcheck-timeout=0", "-d50"], False, False),
        (["--diff"], False, False),
        (None, False, False),
    ],
)
def test_derivation_checks_can_be_cut_short_or_switched_off(load, options, timed_out, is_met):
    told = conditions_of(load(""), options, checks_timed_out=timed_out)
    assert told == ({"derivation-checks!"} if is_met else set())


def test_a_proof_that_a_prover_printed_was_not_given_to_it(load):
    theory = load('lemma a: exists-trace "T" simplify SOLVED')
    assert conditions_of(theory, is_printed=True) == set()


def test_without_a_text_nothing_is_said_of_it():
    assert conditions_of(None) == set()


# Who has a problem since 1.4.0 that no release mends, one from 1.8.0 to before 1.12.0, and one to
# before 1.10.0.
AFFECTED = """
tamarin-prover 1.3     maybe  no     no
tamarin-prover 1.4     yes    no     no
tamarin-prover 1.4.1   yes    no     no
tamarin-prover 1.6.1   yes    no     no
tamarin-prover 1.7.1   maybe  maybe  maybe
tamarin-prover 1.8.0   yes    yes    yes
tamarin-prover 1.9.0   maybe  maybe  maybe
tamarin-prover 1.10    yes    yes    no
tamarin-prover 1.11.0  maybe  maybe  no
tamarin-prover 1.12.0  yes    no     no
tamarin-prover 1.13.0  maybe  no     no
tamarin-prover 1.14.0  maybe  no     no
tamarin-prover 1.2.2   no     no     no
tamarin-rs     1.13.0  maybe  maybe  no
tamarin-rs     7.8     maybe  maybe  no
other-prover   1.10.0  no     no     no
"""
EXPOSURES = {
    "yes": bt.Exposure.AFFECTED,
    "maybe": bt.Exposure.MAYBE,
    "no": bt.Exposure.NOT_AFFECTED,
}


@pytest.mark.parametrize("line", AFFECTED.strip().splitlines())
def test_who_has_a_known_problem(line):
    flavour, version, *wanted = line.split()
    told = []
    for name in ("xor", "subterm-order", "injective-tuple"):
        told.append(bt.affected(bt.ADVISORIES[name], flavour, version))
    assert told == [EXPOSURES[word] for word in wanted]


def test_tamarin_rs_has_no_diff_mode_and_a_problem_of_its_own():
    own = bt.ADVISORIES["tamarin-rs"]
    assert bt.affected(own, "tamarin-rs", "1.13.0") is bt.Exposure.AFFECTED
    assert bt.affected(own, "tamarin-prover", "1.13.0") is bt.Exposure.NOT_AFFECTED
    of_diff = bt.ADVISORIES["diff-multiset"]
    assert bt.affected(of_diff, "tamarin-rs", "1.13.0") is bt.Exposure.NOT_AFFECTED


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_the_table_says_what_was_read_of_the_problems():
    """Ids, references and versions, by the list that the table was made from."""
    listed = json.loads((SHARED / "advisories.json").read_text())["advisories"]
    told = {each["id"]: (each["refs"], each["since"], each["fixed_in"] or "") for each in listed}
    table = {}
    for name, advisory in bt.ADVISORIES.items():
        table[name] = (list(advisory.references), advisory.since, advisory.fixed_in)
    assert table == told


# === Recipe =======================================================================================


def complaints(lab, name="recipe.json", here="."):
    """All that is wrong with a recipe, as users read it; nothing is run."""
    with pytest.raises(bt.InputError) as caught:
        plan_recipe(lab, name, here)
    return str(caught.value)


def change_recipe(lab, changes):
    """Change members of the lab's recipe: one a line, such as `config.scheduler = "sjf"`."""
    path = lab.path / "recipe.json"
    recipe = json.loads(path.read_text())
    for line in changes.splitlines():
        place, _, value = line.partition(" = ")
        *outer, last = place.split(".")
        part = recipe
        for key in outer:
            part = part[int(key) if isinstance(part, list) else key]
        part[last] = json.loads(value)
    path.write_text(json.dumps(recipe, indent=2))


@pytest.fixture
def one_lemma(lab):
    """A lab with a good recipe that proves lemma `one`."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    return lab


def test_a_mere_name_of_a_lemma_is_refused_with_what_to_write(one_lemma):
    change_recipe(one_lemma, 'tasks.task.lemmas = ["one", "\\"x", 7]')
    told = complaints(one_lemma)
    assert 'tasks.task.lemmas.0: must be an object: write {"name": "one"} instead of "one"' in told
    assert 'write {"name": "\\"x"} instead of' in told
    assert "lemmas.2: must be an object, not 7" in told


def test_a_recipe_beside_us_is_found_and_its_results_are_here(one_lemma):
    elsewhere = one_lemma.path / "elsewhere"
    elsewhere.mkdir()
    one_lemma.run("run ../recipe.json", cwd=elsewhere, code=0)
    assert (elsewhere / "results" / "batch.jsonl").is_file()
    assert not one_lemma.results.exists()


def test_a_task_runs_in_its_cwd(lab):
    lab.prover("pwd > here; " + VERIFY)
    lab.write("sub/u.spthy", THEORY)
    lab.recipe(cwd="sub", theory_file="sub/u.spthy", lemmas="one")
    lab.run("run recipe.json", code=0)
    folder = lab.path / "sub"
    assert (folder / "here").read_text() == f"{folder}\n"
    (start,) = lab.events("start")
    assert "u.spthy" in start["command"]


TASK_AND_LEMMA = """
tasks.task.tamarin_options = ["--bound=9"]
tasks.task.resources = {"max_cores": 2, "max_memory": 3, "timeout": 500}
tasks.task.expect = "verified"
tasks.task.lemmas.1.tamarin_options = []
tasks.task.lemmas.1.resources = {"timeout": 70}
tasks.task.lemmas.1.expect = "falsified"
"""


@pytest.fixture
def two_and_three(lab):
    """The plans of two lemmas, of which the second says all anew that its task says."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="two three")
    change_recipe(lab, TASK_AND_LEMMA.strip())
    return plans_of(lab)


def test_a_lemma_inherits_what_its_task_says(two_and_three):
    two, _ = two_and_three
    assert two.options == ("--bound=9",)
    assert two.limits == bt.Limits(2, 3072, 500)
    assert two.expect == "verified"


def test_a_lemma_overrides_what_its_task_says(two_and_three):
    _, three = two_and_three
    assert three.options == ()
    assert three.limits == bt.Limits(2, 3072, 70)
    assert three.expect == "falsified"


def planned_lemmas(lab, *names):
    """What the lab's recipe plans where `lemmas` holds these names and patterns, as words."""
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": name} for name in names])
    return " ".join(plan.lemma for plan in plans_of(lab))


def test_lemmas_that_a_pattern_takes_away_are_not_planned(lab):
    assert planned_lemmas(lab, "!two", "t*") == "three"
    assert planned_lemmas(lab, "!t*") == "one"


def lemmas_with_options(lab, warn=pytest.fail):
    """What the lab's recipe plans, in its order, each as `LEMMA OPTIONS`."""
    lines = []
    for plan in plans_of(lab, warn=warn):
        words = [plan.lemma, *plan.options]
        lines.append(" ".join(words))
    return lines


def test_an_exact_name_beats_a_pattern_before_it(lab):
    lab.prover(VERIFY)
    pattern = {"name": "t*", "tamarin_options": ["--bound=5"]}
    lab.recipe(lemmas=[pattern, {"name": "three", "tamarin_options": ["--bound=7"]}])
    assert lemmas_with_options(lab) == ["two --bound=5", "three --bound=7"]


def test_of_patterns_the_first_counts(lab):
    lab.prover(VERIFY)
    first = {"name": "*o", "tamarin_options": ["--bound=5"]}
    lab.recipe(lemmas=[first, {"name": "t*"}])
    assert lemmas_with_options(lab) == ["two --bound=5", "three"]


# Items of `lemmas`, and what is said of them.
OVERLAPS = """
--- a pattern behind another one: lemmas.1 ('*o'); apply to two: resources.timeout; 't*' comes
[{"name": "t*"}, {"name": "*o", "resources": {"timeout": 9}}]
--- a name behind a pattern that says more: lemmas.0 ('t*'); to two: tamarin_options; 'two' comes
[{"name": "t*", "tamarin_options": ["-x"], "expect": "verified"},
 {"name": "two", "expect": "falsified"}]
--- both say something else: lemmas.1 ('t*'); apply to three: resources.timeout; '*e' comes
[{"name": "*e", "resources": {"timeout": 8}}, {"name": "t*", "resources": {"timeout": 9}}]
"""


@pytest.mark.parametrize("text, wanted", cases(OVERLAPS))
def test_what_a_pattern_sets_in_vain_is_said(lab, text, wanted):
    lab.prover(VERIFY)
    lab.recipe(lemmas=json.loads(text))
    said = []
    plan_recipe(lab, warn=said.append)
    (warning,) = said
    for words in wanted.split("; "):
        assert words in warning


WITHOUT_OVERLAP = """
--- all others, with a limit of their own
[{"name": "t*", "resources": {"timeout": 8}}, {"name": "*", "resources": {"timeout": 9}}]
--- a name whose limit replaces that of all
[{"name": "*", "resources": {"timeout": 9}}, {"name": "two", "resources": {"timeout": 8}}]
--- the same limit for both
[{"name": "t*", "resources": {"timeout": 9}}, {"name": "*o", "resources": {"timeout": 9}}]
--- lemmas that are taken away
[{"name": "t*"}, {"name": "*o", "resources": {"timeout": 9}}, {"name": "!two"}]
"""


@pytest.mark.parametrize("text, _", cases(WITHOUT_OVERLAP))
def test_nothing_is_said_of_settings_that_nobody_misses(lab, text, _):
    lab.prover(VERIFY)
    lab.recipe(lemmas=json.loads(text))
    plan_recipe(lab, warn=pytest.fail)


def recipe_of_prefixes(lab):
    """A recipe whose lemmas are named as batch-tamarin takes them, in a layout of its own."""
    lab.prover(CHECKED)
    lab.recipe(lemmas=[{"name": "t"}, {"name": "on", "expect": "verified"}])
    text = lab.read("recipe.json").replace('"name": "t"', '"name" : "t" ')
    lab.write("recipe.json", text)
    return text


def test_names_that_are_prefixes_are_told_with_the_pattern_that_is_meant(lab):
    recipe_of_prefixes(lab)
    told = complaints(lab)
    assert (
        "lemmas.0.name: no lemma of t.spthy has the name 't'; 't*' would select two, three" in told
    )
    assert "'on*' would select one" in told
    assert told.endswith(
        "check recipe.json --fix -o NEW.json writes a recipe with '*' behind 2 names"
    )


def test_check_writes_the_recipe_that_was_meant_and_checks_it(lab):
    text = recipe_of_prefixes(lab)
    done = lab.run("check recipe.json --fix -o new.json", code=0)
    mended = text.replace('"name" : "t" ', '"name" : "t*" ').replace('"on"', '"on*"')
    assert lab.read("new.json") == mended
    assert "wrote new.json, with '*' behind 2 names" in done.stderr
    assert "run new.json" in done.stderr
    assert lab.read("recipe.json") == text


def test_fix_tells_of_names_that_begin_other_names_too(lab):
    edit_theory(lab, "lemma two", "lemma one_more")
    lab.prover(CHECKED)
    lab.recipe(lemmas="one thr")
    done = lab.run("check recipe.json --fix -o new.json", code=0)
    assert "lemmas.0.name means that lemma alone; batch-tamarin adds one_more" in done.stderr
    task = written_recipe(lab, "new.json")["tasks"]["task"]
    names = [item["name"] for item in task["lemmas"]]
    assert names == ["one", "thr*"]


def test_check_writes_no_recipe_where_none_is_to_be_mended(lab):
    lab.prover(CHECKED)
    lab.recipe()
    done = lab.run("check recipe.json --fix -o new.json", code=0)
    assert "nothing to fix" in done.stderr
    assert not (lab.path / "new.json").exists()


@pytest.mark.parametrize("options, wanted", [("", "--fix needs -o"), ("-o t.spthy", "--force")])
def test_fix_writes_over_no_file(lab, options, wanted):
    recipe_of_prefixes(lab)
    done = lab.run(f"check recipe.json --fix {options}", code=2)
    assert wanted in done.stderr
    assert lab.read("t.spthy") == THEORY


# What batch-tamarin writes into recipes, or takes there: numbers as texts, 1.0 for 1, null.
THEIRS = """
config.global_max_cores = "MAX"
config.global_max_memory = " 50 %"
config.default_timeout = "60"
tamarin_versions.fake.version = "v1.11.0"
tamarin_versions.fake.test_success = true
tasks.task.resources = {"max_cores": 1.0, "max_memory": "1"}
tasks.task.tamarin_options = ["--bound=9"]
tasks.task.preprocess_flags = null
tasks.task.lemmas.0.tamarin_options = null
tasks.task.lemmas.0.preprocess_flags = []
tasks.task.lemmas.0.resources = {"timeout": "70", "max_cores": null}
"""


@pytest.fixture
def their_plans(lab):
    """The plans of a recipe as batch-tamarin takes it."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one t*")
    change_recipe(lab, THEIRS.strip())
    return plans_of(lab)


def test_numbers_of_batch_tamarin_are_numbers(their_plans):
    one, two, _ = their_plans
    assert one.limits == bt.Limits(1, 1024, 70)
    assert two.limits == bt.Limits(1, 1024, 60)


def test_null_is_as_if_it_were_not_there(their_plans):
    one, _, _ = their_plans
    assert one.options == ("--bound=9",)
    assert one.flags == ()


def test_an_absolute_pattern_means_the_same_everywhere(lab):
    lab.prover(VERIFY)
    pattern = str(lab.path / "*.spthy")
    lab.recipe(theory_file=pattern, output_file_prefix="{theory}", name="deep/recipe.json")
    batch = plan_recipe(lab, "deep/recipe.json")
    assert list(batch.tasks) == ["t--one--fake", "t--two--fake", "t--three--fake"]


def test_a_pattern_means_all_theories_that_match_in_the_order_of_their_paths(lab):
    lab.prover(VERIFY)
    lab.write("many/b.spthy", THEORY)
    lab.write("many/a.spthy", THEORY)
    lab.recipe(theory_file="many/*.spthy", output_file_prefix="g-{theory}")
    change_recipe(lab, 'tasks.task.lemmas = [{"name": "one"}]')
    assert [plan.id for plan in plans_of(lab)] == ["g-a--one--fake", "g-b--one--fake"]


@pytest.mark.parametrize(
    "theory_file, wanted",
    [
        (["many/*.spthy", "!*_results.spthy"], "a b"),
        (["t.spthy", "many/**/*.spthy", "!many/a*"], "t b c"),
        (["many/b.spthy", "many/*.spthy", "!nothing*", "!a*"], "b"),
    ],
)
def test_a_list_of_theories_can_take_some_away(lab, theory_file, wanted):
    lab.prover(VERIFY)
    for name in ("b", "a", "a_results", "deep/c"):
        lab.write(f"many/{name}.spthy", THEORY)
    lab.recipe(theory_file=theory_file, output_file_prefix="{theory}", lemmas="one")
    assert [plan.id for plan in plans_of(lab)] == [f"{name}--one--fake" for name in wanted.split()]


def test_a_pattern_is_looked_for_beside_the_recipe_where_nothing_matches_here(lab):
    lab.prover(VERIFY)
    lab.write("deep/u.spthy", THEORY)
    lab.recipe(theory_file="u*.spthy", output_file_prefix="{theory}", name="deep/recipe.json")
    batch = plan_recipe(lab, "deep/recipe.json")
    assert batch.tasks["u--one--fake"].plan.theory == "deep/u.spthy"


@pytest.fixture
def with_accountability(lab):
    """A lab whose theory has an accountability lemma, `acc`, of six parts, and another lemma."""
    test = 'test t: "Ex k #i. A(k) @ i"\n'
    acc = 'lemma acc: t accounts for "All k #i. A(k) @ i ==> F"\n'
    lab.write("t.spthy", f'theory T begin\n{RULE_A}{test}{acc}lemma other: "T"\nend\n')
    lab.prover(VERIFY)
    return lab


def test_what_is_expected_of_an_accountability_lemma_is_expected_of_its_parts(
    with_accountability,
):
    lab = with_accountability
    lab.recipe(expect={"acc": "verified", "acc_t_suff": "falsified"})
    expected = {plan.lemma: plan.expect for plan in plans_of(lab)}
    assert expected.pop("other") is None
    assert expected.pop("acc_t_suff") == "falsified"
    assert len(expected) == 6
    assert set(expected.values()) == {"verified"}


def test_an_accountability_lemma_means_its_parts(with_accountability):
    lab = with_accountability
    lab.recipe(lemmas="acc")
    names = {plan.lemma for plan in plans_of(lab)}
    assert len(names) == 7
    assert "other" not in names


def test_an_exact_expectation_beats_patterns_and_of_these_the_first_counts(lab):
    lab.prover(VERIFY)
    lab.recipe(expect={"t*": "verified", "*o": "falsified", "three": "falsified"})
    expected = {plan.lemma: plan.expect for plan in plans_of(lab)}
    assert expected == {"one": None, "two": "verified", "three": "falsified"}


def test_the_same_complaint_is_made_once(lab):
    lab.prover(VERIFY)
    lab.write("t.spthy", "theory T begin")
    lab.recipe(tamarin_versions=["fake", "fake"])
    assert complaints(lab).count("the theory has no 'end'") == 1


def test_a_bad_recipe_is_refused_before_anything_is_written(one_lemma):
    change_recipe(one_lemma, 'tasks.task.lemmas = [{"name": "ones"}]')
    done = one_lemma.run("run recipe.json", code=2)
    assert "error: recipe.json:" in done.stderr
    assert "'ones'" in done.stderr
    assert not one_lemma.results.exists()


# Changes of a good recipe, and what the message must say.
BAD_RECIPES = r"""
--- an unknown key: max_core; did you mean 'max_cores'; recipe.json:
tasks.task.resources.max_core = 1
--- a wrong type: config.default_timeout; positive number
config.default_timeout = "soon"
--- a percentage of no amount: config.default_timeout; positive number
config.default_timeout = "50%"
--- a limit of zero: global_max_cores; positive whole number
config.global_max_cores = 0
--- half a core: global_max_cores; positive whole number
config.global_max_cores = 1.5
--- true as a limit: global_max_cores
config.global_max_cores = true
--- more than everything: global_max_memory; "50%"
config.global_max_memory = "101%"
--- an unknown scheduler: config.scheduler; fifo, sjf, ljf
config.scheduler = "best"
--- an unknown alias: 'fak'; did you mean 'fake'
tasks.task.tamarin_versions = ["fak"]
--- an alias in no list: tamarin_versions: must be a list with; write ["fake"]
tasks.task.tamarin_versions = "fake"
--- an option in no list: tamarin_options: must be a list of texts; write ["--diff"]
tasks.task.tamarin_options = "--diff"
--- a lemma that is no object: must be an object; write {"name": "one"}
tasks.task.lemmas = ["one"]
--- a lemma in no list: must be a list; write [{"name": "one"}]
tasks.task.lemmas = "one"
--- no alias: tamarin_versions; at least one
tasks.task.tamarin_versions = []
--- an alias that cannot name files: tamarin_versions.a/b; file names
tamarin_versions = {"a/b": {"path": "./fake.sh"}}
tasks.task.tamarin_versions = ["a/b"]
--- a prover with a path and a command: tamarin_versions.fake; either 'path'
tamarin_versions.fake.command = ["./fake.sh"]
--- a variable with an equals sign: tamarin_versions.fake.env; without "="
tamarin_versions.fake.env = {"A=B": "c"}
--- a missing key: 'theory_file' is missing
tasks.task.theory_file = null
--- no such theory: no theory file 'u.spthy'
tasks.task.theory_file = "u.spthy"
--- a pattern whose theories would share results: tasks.task.theory_file; needs {theory}
tasks.task.theory_file = "*.spthy"
--- several theories that would share results: tasks.task.theory_file; needs {theory}
tasks.task.theory_file = ["t.spthy", "u.spthy"]
--- no theory in a list: tasks.task.theory_file; names no theory
tasks.task.theory_file = ["t.spthy", "!t*"]
--- a list of nothing: tasks.task.theory_file; empty
tasks.task.theory_file = []
--- no text in a list: tasks.task.theory_file.0; text
tasks.task.theory_file = [1]
--- no such directory: tasks.task.cwd; no directory
tasks.task.cwd = "nowhere"
--- no such prover: there is no command 'nowhere' on PATH
tamarin_versions.fake.path = "nowhere"
--- no such lemma: 'ones'; did you mean 'one'; lemmas.0.name
tasks.task.lemmas = [{"name": "ones"}]
--- a pattern that takes nothing away: '!x*' takes no lemma away
tasks.task.lemmas = [{"name": "!x*"}]
--- a pattern that takes all away: '!*' leaves no lemma
tasks.task.lemmas = [{"name": "!*"}]
--- a lemma without a name: tasks.task.lemmas.0; 'name' is missing
tasks.task.lemmas = [{}]
--- a path as a prefix: output_file_prefix; file names
tasks.task.output_file_prefix = "../up"
--- half a character: output_file_prefix; file names
tasks.task.output_file_prefix = "\ud800"
--- a flag with its option: preprocess_flags.0; without -D
tasks.task.preprocess_flags = ["-DX"]
--- no option: must be written out
tasks.task.tamarin_options = ["--"]
--- an option of one letter: must be written out
tasks.task.tamarin_options = ["--a"]
--- an option of one letter with a value: must be written out
tasks.task.tamarin_options = ["--l=two"]
--- several options in one: must be written out
tasks.task.tamarin_options = ["-vD=X"]
--- two options in one text: one option per text
tasks.task.tamarin_options = ["+RTS -M8g -RTS"]
--- an option that the plan decides: --prove; 'lemmas'
tasks.task.tamarin_options = ["--prove=one"]
--- an option that the plan decides, cut short: --output can't be given; results directory
tasks.task.tamarin_options = ["--outp=x"]
--- a word that is no option: '5'; joined by '='
tasks.task.tamarin_options = ["--bound", "5"]
--- cores by the runtime: -N; max_cores
tasks.task.tamarin_options = ["+RTS", "-N4", "-RTS"]
--- options of the runtime without an end: '+RTS' needs a '-RTS'
tasks.task.tamarin_options = ["+RTS", "-M8g"]
--- a prover in docker: docker; apptainer
tamarin_versions.fake = {"command": ["docker", "run", "tamarin"]}
--- two at once: default_timeout; config.nope
config.default_timeout = -1
config.nope = 1
--- an unknown word of the batch: config.hosts; unknown key; allowed: global_max_cores
config.hosts = ["a"]
--- an unknown granularity of the batch: config.granularity; must be one of lemma, theory
config.granularity = "file"
--- an unknown granularity of a task: tasks.task.granularity; must be one of lemma, theory
tasks.task.granularity = 1
--- an unknown word of a task: tasks.task.variant; did you mean 'variants'; allowed: theory_file
tasks.task.variant = {}
--- an expectation of no lemma: expect.onee; did you mean 'one'
tasks.task.expect = {"onee": "verified"}
--- an expectation of what is no verdict: tasks.task.expect; verified, falsified, incomplete
tasks.task.expect = "proven"
--- a time with its unit: default_timeout; not "1h": write 3600 (seconds)
config.default_timeout = "1h"
--- a part of an hour: timeout; not "1.5 h": write 5400 (seconds)
tasks.task.resources.timeout = "1.5 h"
--- memory with its unit: max_memory; not "16GB": write 16 (GB)
tasks.task.resources.max_memory = "16GB"
--- memory in smaller units: global_max_memory; not "512 MB": write 0.5 (GB)
config.global_max_memory = "512 MB"
--- a limit beside resources: lemmas.0.timeout: unknown key: it belongs under 'resources'
tasks.task.lemmas = [{"name": "one", "timeout": 5}]
--- a limit of the batch beside config: default_timeout: unknown key: it belongs under 'config'
default_timeout = 5
--- a misspelt theory: no theory file 'tt.spthy' (did you mean 't.spthy'?)
tasks.task.theory_file = "tt.spthy"
--- a misspelt prover: there is no such file './fak.sh' (did you mean 'fake.sh'?)
tamarin_versions.fake.path = "./fak.sh"
--- a prover that is a directory: '.' is a directory
tamarin_versions.fake.path = "."
--- a theory file on the command line: would be read as a theory file
tamarin_versions.fake.options = ["other.spthy"]
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_RECIPES))
def test_a_bad_recipe_is_refused_with_a_reason(one_lemma, changes, wanted):
    change_recipe(one_lemma, changes)
    told = complaints(one_lemma)
    for words in wanted.split("; "):
        assert words in told


def test_tamarin_rs_has_no_diff(one_lemma):
    os.chdir(one_lemma.path)
    change_recipe(one_lemma, 'tasks.task.tamarin_options = ["--diff"]')
    recipe = bt.Recipe("recipe.json")
    provers = bt.recipe_provers(recipe)
    provers["fake"].flavour = bt.Flavour.TAMARIN_RS
    with pytest.raises(bt.InputError, match=r"tamarin-rs \('fake'\) has no --diff"):
        bt.plan_batch(recipe, provers, ROOM, bt.PlanOptions(), pytest.fail)


def test_an_alias_that_is_too_long_for_file_names_is_refused(one_lemma):
    alias = 101 * "x"
    one_lemma.provers[alias] = {"path": "./fake.sh"}
    one_lemma.recipe(tamarin_versions=[alias])
    assert "at most 100 bytes" in complaints(one_lemma)


def test_a_key_with_a_line_break_is_told_on_one_line(one_lemma):
    one_lemma.recipe(config={"one\ntwo": 1})
    assert "one two: unknown key" in complaints(one_lemma)


def test_what_is_wrong_in_a_resumed_recipe_names_no_line_of_the_file_of_today(one_lemma):
    one_lemma.run("run recipe.json", code=0)
    edit_theory(one_lemma, "lemma one", "lemma other")
    done = one_lemma.run("resume results", code=2)
    assert "recipe.json: tasks.task.lemmas.0.name: no lemma" in done.stderr


# Texts that are no recipes, and what the message must say.
BROKEN_RECIPES = """
--- an object that is cut: recipe.json:1:12; no valid JSON
{"tasks": {
--- a comment: recipe.json:1:2; no comments
{// the whole batch
"config": {}}
--- a comment behind a value: recipe.json:1:15; no comments
{"config": {} # the whole batch
}
--- a comma before the end of an object: no comma before '}'
{"config": {"default_timeout": 5, } }
--- a comma before the end of a list: no comma before ']'
{"tasks": ["a",
]}
--- single quotes: double quotes
{'config': {}}
--- NaN: NaN
{"config": {"default_timeout": NaN}}
--- a key that stands twice: recipe.json:2:2; twice
{"config": {},
 "config": {}}
--- a list: a recipe is a JSON object
[]
--- nothing: no valid JSON

--- several problems: output_directory; default_timeout; tamarin_versions; tasks
{"config": {"output_directory": 1, "default_timeout": 0}, "tamarin_versions": {}, "tasks": []}
"""


@pytest.mark.parametrize("text, wanted", cases(BROKEN_RECIPES))
def test_what_is_no_recipe_is_refused_with_its_place(lab, text, wanted):
    lab.write("recipe.json", text)
    told = complaints(lab)
    for words in wanted.split("; "):
        assert words in told


@pytest.mark.parametrize("command", ["run", "check"])
def test_who_runs_a_theory_is_told_of_init(lab, command):
    done = lab.run(command, "t.spthy", code=2)
    assert "t.spthy: this is a theory: batch_tamarin.py init t.spthy writes a recipe" in done.stderr


def test_a_prover_that_may_not_be_run_is_said_to_be_that(one_lemma):
    (one_lemma.path / "fake.sh").chmod(0o644)
    assert "'./fake.sh' has no permission to be run: chmod +x fake.sh" in complaints(one_lemma)


def test_a_lemma_may_be_expected_to_stay_open(one_lemma):
    """It still has no answer: the exit code says so."""
    one_lemma.prover('summary "  $LEMMA (all-traces): analysis incomplete (1 steps)"')
    change_recipe(one_lemma, 'tasks.task.expect = "incomplete"')
    done = one_lemma.run("run recipe.json", code=3)
    assert "not as expected" not in done.stdout


def test_deeply_nested_json_is_refused(lab):
    lab.write("recipe.json", "[" * 100_000)
    assert "can't be read" in complaints(lab)


def test_a_missing_recipe_is_refused(lab):
    assert "can't be read" in complaints(lab, "nothing.json")


def test_a_recipe_that_is_not_utf_8_is_refused_with_its_place(lab):
    (lab.path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    assert "latin.json:1:8" in complaints(lab, "latin.json")


def test_a_theory_without_lemmas_is_refused(lab):
    lab.prover(VERIFY)
    lab.write("t.spthy", "theory T begin end")
    lab.recipe()
    assert "has no lemmas" in complaints(lab)


def schema_keys(*place):
    """The keys that an object of the published schema may have."""
    path = HERE / "recipes" / "recipe.schema.json"
    schema = json.loads(path.read_text())
    for key in place:
        schema = schema[key]
    return set(schema["properties"])


def test_schema_and_checks_name_the_same_keys():
    assert schema_keys() == set(bt._RECIPE)
    assert schema_keys("properties", "config") == set(bt._CONFIG)
    assert schema_keys("$defs", "task") == set(bt._TASK)
    assert schema_keys("$defs", "lemma") == set(bt.LEMMA_KINDS)
    assert schema_keys("$defs", "resources") == set(bt.RESOURCE_KINDS)
    assert schema_keys("$defs", "variant") == set(bt._VARIANT)
    assert schema_keys("$defs", "rule") == set(bt._EXPECT_RULE)
    assert schema_keys("$defs", "task", "properties", "prepare") == set(bt._PREPARE)
    assert schema_keys("$defs", "task", "properties", "implies") == set(bt._IMPLIES)


# Each member and each element, and the text that begins there.
POSITIONS = """
a: "a": [1, {"b": "x,]"}], "c": {}}
a.0: 1, {"b": "x,]"}], "c": {}}
a.1: {"b": "x,]"}], "c": {}}
a.1.b: "b": "x,]"}], "c": {}}
c: "c": {}}
"""


def test_json_positions():
    text = '{"a": [1, {"b": "x,]"}], "c": {}}'
    lines = []
    for path, offset in bt.json_positions(text):
        place = ".".join(map(str, path))
        lines.append(f"{place}: {text[offset:]}")
    assert "\n".join(lines) == POSITIONS.strip()


# In the form of tamarin-prover 1.11, were there two theories on its command line.
TWO_SUMMARIES = """
==============================================================================
summary of summaries:

analyzed: t

  one (all-traces): verified (7 steps)

analyzed: u

  two (all-traces): verified (7 steps)

==============================================================================
"""


def test_an_output_about_two_theories_has_no_summary(tmp_path):
    path = tmp_path / "out"
    path.write_text(TWO_SUMMARIES)
    assert not bt.read_output(str(path), "").summary
    path.write_text(TWO_SUMMARIES.replace("analyzed: u", ""))
    assert bt.read_output(str(path), "").summary


INCLUDING = THEORY.replace("begin", 'begin\n#include "i.inc"\nheuristic: o "oracle"')


@pytest.fixture
def two_theories(lab):
    """A lab with two folders, of the same theory, include and oracle; a recipe stands in one."""
    lab.prover(VERIFY)
    lab.provers["fake"] = {"path": f"{lab.path}/fake.sh"}
    lab.recipe(lemmas="one", name="beside/recipe.json")
    for folder in ("here", "beside"):
        lab.write(f"{folder}/t.spthy", INCLUDING)
        lab.write(f"{folder}/i.inc", "rule A2: [ ] --> [ ]")
        lab.write(f"{folder}/oracle", "#!/bin/sh A", 0o755)
    return lab


def test_a_relative_name_may_mean_two_files_that_are_the_same(two_theories):
    batch = plan_recipe(two_theories, "../beside/recipe.json", here="here")
    assert list(batch.tasks) == ["t--one--fake"]


@pytest.mark.parametrize("name", ["t.spthy", "i.inc", "oracle"])
def test_a_relative_name_that_means_two_theories_is_refused(two_theories, name):
    path = two_theories.path / "here" / name
    path.write_text(path.read_text().replace("A", "B"))
    told = complaints(two_theories, "../beside/recipe.json", here="here")
    assert "recipe.json:" in told
    assert "theory_file" in told
    assert f"{two_theories.path}/here/t.spthy" in told
    assert f"{two_theories.path}/beside/t.spthy" in told


@pytest.mark.parametrize("entry", [{"path": "./fake.sh"}, {"command": ["sh", "./fake.sh"]}])
def test_a_relative_name_that_means_two_provers_is_refused(lab, entry):
    lab.prover(VERIFY)
    lab.write("deep/fake.sh", "#!/bin/sh\n", 0o755)
    lab.provers["fake"] = entry
    lab.recipe(name="deep/recipe.json")
    told = complaints(lab, "deep/recipe.json")
    assert "'./fake.sh' can mean two files that differ" in told


@pytest.fixture
def two_wrappers(lab):
    """A lab whose task runs in a folder with a file that has the name of the prover's script."""
    lab.prover(VERIFY)
    lab.write("there/t.spthy", THEORY)
    falsify = 'summary "  $LEMMA (all-traces): falsified - found trace (7 steps)"'
    lab.write("there/fake.sh", PRELUDE + falsify, 0o755)
    return lab


def test_a_relative_path_of_a_prover_means_the_file_that_is_here(two_wrappers):
    lab = two_wrappers
    lab.provers["fake"] = {"command": ["sh", "./fake.sh"]}
    lab.recipe(cwd="there", lemmas="one")
    lab.run("run recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"
    (start,) = lab.events("start")
    assert f"{lab.path}/fake.sh" in start["command"]


def test_a_bare_word_of_a_prover_that_means_two_files_is_refused(two_wrappers):
    two_wrappers.provers["fake"] = {"command": ["sh", "fake.sh"]}
    two_wrappers.recipe(cwd="there", lemmas="one")
    assert "'fake.sh' is not the same file here and in" in complaints(two_wrappers)


# === Plan =========================================================================================


def test_a_filter_selects_tasks_by_their_ids(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json -t t--t* -q", code=0)
    assert set(lab.finishes()) == {"t--two--fake", "t--three--fake"}


def test_a_mistyped_filter_runs_nothing(lab):
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json -t t--onn", code=2)
    assert "did you mean 't--one--fake'" in done.stderr
    assert not lab.results.exists()


@pytest.fixture
def three_tasks():
    """A batch of three tasks."""
    batch = bt.Batch()
    for lemma in ("one", "two", "three"):
        plan = a_plan(id=f"t--{lemma}--fake", lemma=lemma)
        batch.apply(plan)
    return batch


@pytest.mark.parametrize(
    "patterns, wanted", rows("t--t: two three \n *--three--* t--one: one three")
)
def test_a_filter_is_the_beginning_of_an_id_or_a_pattern(three_tasks, patterns, wanted):
    chosen = bt.select_ids(three_tasks, patterns.split())
    assert chosen == [f"t--{lemma}--fake" for lemma in wanted.split()]


def test_without_a_filter_all_tasks_are_chosen(three_tasks):
    assert bt.select_ids(three_tasks, []) == list(three_tasks.tasks)


def test_each_filter_must_match_a_task(three_tasks):
    with pytest.raises(bt.InputError, match="matches no task"):
        bt.select_ids(three_tasks, ["t--two", "*--TWO--*"])


def test_a_filter_that_is_a_lemma_gets_a_hint(three_tasks):
    with pytest.raises(bt.InputError, match="for that lemma: -t '[*]--two--[*]'"):
        bt.select_ids(three_tasks, ["two"])


def test_a_plan_is_in_the_order_of_the_theory(lab):
    assert planned_lemmas(lab, "three", "*o*") == "one two three"


ABOVE_THE_BATCH = """
config.global_max_cores = 1
config.global_max_memory = 2
tasks.task.resources = {"max_cores": 64, "max_memory": 500}
"""


@pytest.fixture
def capped(lab):
    """What a recipe with limits above those of its batch plans, and the warnings."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one two three")
    change_recipe(lab, ABOVE_THE_BATCH.strip())
    warnings = []
    return plans_of(lab, warn=warnings.append), warnings


def test_limits_above_those_of_the_batch_are_capped(capped):
    plans, _ = capped
    assert len(plans) == 3
    for plan in plans:
        assert plan.limits == bt.Limits(1, 2048, 3600)


def test_of_a_limit_that_many_lemmas_inherit_is_warned_once(capped):
    _, (cores, memory) = capped
    assert "max_cores: 64 is above the global limit: capped at 1" in cores
    assert "max_memory: 500 is above the global limit: capped at 2" in memory


def test_a_lemma_has_the_priority_of_its_entry_or_its_own(lab):
    lab.prover(VERIFY)
    lab.recipe(priority=3, lemmas=[{"name": "*"}, {"name": "two", "priority": -1}])
    priorities = {plan.lemma: plan.priority for plan in plans_of(lab)}
    assert priorities == {"one": 3, "two": -1, "three": 3}


@pytest.mark.parametrize("priority", [1.5, True, "2", 10**9])
def test_a_priority_is_a_whole_number(lab, priority):
    lab.prover(VERIFY)
    lab.recipe(priority=priority)
    with pytest.raises(bt.InputError, match="tasks.task.priority: must be a whole number"):
        plans_of(lab)


def test_what_has_the_highest_priority_starts_first_and_proves_nothing_again(lab):
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe(config={"global_max_cores": 1}, lemmas="*")
    change_recipe(lab, 'tasks.task.lemmas = [{"name": "*"}, {"name": "three", "priority": 1}]')
    lab.run("run recipe.json", code=0)
    assert lab.events("start")[0]["ids"] == ["t--three--fake"]
    lab.recipe()
    lab.run("run recipe.json", code=0)
    assert len(lab.events("start")) == 3


def test_limits_of_the_batch_above_what_is_there_are_capped_with_a_warning(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_cores": 64})
    warnings = []
    batch = plan_recipe(lab, warn=warnings.append)
    assert batch.header.limits.cores == ROOM.cores
    (warning,) = warnings
    assert "64 cores asked for, but this process may use 4 cores" in warning


@pytest.fixture
def silent(lab):
    """A lab whose recipe says nothing of resources."""
    lab.prover(VERIFY)
    lab.recipe(resources={}, lemmas="one")
    return lab


def test_what_a_recipe_does_not_say_has_defaults(silent):
    (plan,) = plans_of(silent, room=bt.Limits(64, 1 << 20, 0))
    assert plan.limits == bt.Limits(4, 16 << 10, 3600)


def test_defaults_are_silently_no_more_than_what_is_there(silent):
    (plan,) = plans_of(silent, room=bt.Limits(2, 1024, 0))
    assert plan.limits == bt.Limits(2, 1024, 3600)


def test_a_percentage_is_a_share_of_what_is_there(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_memory": "12.5%"})
    batch = plan_recipe(lab)
    assert batch.header.limits.memory_mb == 1024


SAID_BY_RECIPE = """
config.global_max_cores = 2
config.global_max_memory = 0.001
config.default_timeout = 66
tasks.task.resources = {"max_cores": 2}
"""


def test_the_command_line_comes_before_the_recipe(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    change_recipe(lab, SAID_BY_RECIPE.strip())
    options = "--cores 1 --memory 50% --timeout 77 -o there"
    done = lab.run(f"run recipe.json {options}", code=0)
    assert "max_cores: 2 is above the global limit: capped at 1" in done.stderr
    (batch,) = lab.events("batch", "there")
    assert batch["limits"]["cores"] == 1
    assert batch["limits"]["memory_mb"] > 64
    (task,) = lab.events("task", "there")
    assert task["limits"]["timeout_s"] == 77
    assert not lab.results.exists()


def ids_of(*texts):
    """The ids that tasks get, one after the other, as words of a text."""
    ids = bt.TaskIds()
    return " ".join(ids.new(text) for text in texts)


def test_ids_that_would_be_the_same_file_where_case_is_ignored_get_numbers():
    assert ids_of("x y", "X_y", "x y") == "x_y X_y_2 x_y_3"
    assert ids_of("Stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE").endswith(" STRASSE_2")


def test_many_tasks_that_would_have_one_id_get_numbers_in_no_time():
    started = time.process_time()
    ids = ids_of(*["x"] * 10_000)
    assert time.process_time() - started < 2
    assert ids.endswith(" x_9999 x_10000")


def test_a_number_does_not_take_the_id_of_another_task():
    assert ids_of("x", "x_2", "x") == "x x_2 x_3"


@pytest.mark.parametrize("text, wanted", rows("a/b: a_b \n a~1: a_1 \n -a: _a \n .a: _a"))
def test_ids_are_safe_file_names(text, wanted):
    assert ids_of(text) == wanted


def test_long_ids_are_cut_and_differ_by_a_digest():
    long = "\N{LATIN SMALL LETTER E WITH ACUTE}" * 150
    first, second = ids_of(long + "1", long + "2").split()
    assert first != second
    assert not second.endswith("_2")
    assert len(first.encode()) <= 200
    assert len(second.encode()) <= 200


def test_an_id_does_not_depend_on_what_else_runs(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    recipe = json.loads(lab.read("recipe.json"))
    task = recipe["tasks"]["task"]
    tasks = {}
    for name, prefix in zip("abc", ("x y", "X_y", "x y")):
        tasks[name] = {**task, "output_file_prefix": prefix}
    lab.recipe(tasks=tasks)
    lab.run("run recipe.json -t x_y--one--fake_3", code=0)
    assert list(lab.finishes()) == ["x_y--one--fake_3"]
    ids = [event["id"] for event in lab.events("task")]
    assert ids == ["x_y--one--fake", "X_y--one--fake_2", "x_y--one--fake_3"]


def keys_of(lab):
    """The keys of the results that the lab's recipe plans."""
    return {plan.key for plan in plans_of(lab)}


def test_each_lemma_has_a_key(lab):
    lab.prover(VERIFY)
    lab.recipe()
    assert len(keys_of(lab)) == 3


def test_a_comment_in_a_theory_changes_no_key(one_lemma):
    before = keys_of(one_lemma)
    one_lemma.write("t.spthy", "// a comment\n" + THEORY)
    assert keys_of(one_lemma) == before


def test_a_rule_changes_the_keys_of_all_lemmas(lab):
    lab.prover(VERIFY)
    lab.recipe()
    before = keys_of(lab)
    edit_theory(lab, "Fr(~k)", "Fr(~k), In(~k)")
    assert before.isdisjoint(keys_of(lab))


@pytest.mark.parametrize(
    "change",
    [
        'tasks.task.tamarin_options = ["--bound=5"]',
        'tasks.task.preprocess_flags = ["X"]',
        "tasks.task.prove = false",
        'tamarin_versions.fake.env = {"A": "b"}',
    ],
)
def test_a_key_changes_with_what_can_change_the_verdict(one_lemma, change):
    before = keys_of(one_lemma)
    change_recipe(one_lemma, change)
    assert keys_of(one_lemma) != before


@pytest.mark.parametrize(
    "change",
    [
        "tasks.task.resources.timeout = 1",
        "tasks.task.resources.max_memory = 2",
        'tasks.task.expect = "verified"',
        'tasks.task.output_file_prefix = "u"',
    ],
)
def test_a_key_stays_with_what_only_decides_whether_there_is_a_verdict(one_lemma, change):
    before = keys_of(one_lemma)
    change_recipe(one_lemma, change)
    assert keys_of(one_lemma) == before


def test_with_quit_on_warning_the_whole_theory_matters_to_each_lemma(one_lemma):
    (plan,) = plans_of(one_lemma)
    assert plan.lemma_key
    change_recipe(one_lemma, 'tasks.task.tamarin_options = ["--quit-on-warning"]')
    (strict,) = plans_of(one_lemma)
    assert strict.lemma_key == ""


def test_a_theory_is_never_taken_for_an_option(lab):
    lab.prover(VERIFY)
    lab.write("-x.spthy", THEORY)
    lab.recipe(theory_file="-x.spthy", lemmas="one")
    lab.run("run recipe.json", code=0)
    assert "./-x.spthy" in lab.events("start")[0]["command"]
    lab.run("run recipe.json", code=0)
    assert len(lab.events("start")) == 1


# --- Variants -------------------------------------------------------------------------------------

# Two lemmas without flags; with REVEAL another formula of `secret`, with EXTRA one lemma more.
FLAGGED = f"""theory T begin
{RULE_A}
lemma runs: exists-trace "Ex k #i. A(k) @ i"
#ifdef REVEAL
lemma secret: "All k #i. A(k) @ i ==> F"
#else
lemma secret: "All k #i. A(k) @ i ==> T"
#endif
#ifdef EXTRA
lemma more: "All k #i. A(k) @ i ==> T"
#endif
end
"""


@pytest.fixture
def swept(lab):
    """A lab whose theory reads differently by its flags."""
    lab.prover(VERIFY)
    lab.write("t.spthy", FLAGGED)
    return lab


def planned(lab, **entry):
    """The plans of an entry, by id."""
    lab.recipe(**entry)
    return {plan.id: plan for plan in plans_of(lab)}


def test_every_lemma_is_planned_once_for_each_variant(swept):
    plans = planned(swept, variants={"plain": {}, "strong": {"preprocess_flags": ["REVEAL"]}})
    assert [(plan.id, plan.variant, plan.flags) for plan in plans.values()] == [
        ("t--runs--fake--plain", "plain", ()),
        ("t--secret--fake--plain", "plain", ()),
        ("t--runs--fake--strong", "strong", ("REVEAL",)),
        ("t--secret--fake--strong", "strong", ("REVEAL",)),
    ]


OVERRIDDEN = """
tasks.task.tamarin_options = ["--bound=9"]
tasks.task.preprocess_flags = ["A"]
tasks.task.expect = "verified"
tasks.task.resources = {"max_cores": 2, "max_memory": 3, "timeout": 500}
tasks.task.lemmas = [{"name": "runs", "expect": "falsified"}]
tasks.task.lemmas.0.resources = {"timeout": 70, "max_cores": 1}
tasks.task.variants.v = {"tamarin_options": ["--stop-on-trace=DFS"], "preprocess_flags": ["B", "A"]}
tasks.task.variants.v.resources = {"timeout": 5}
tasks.task.variants.v.expect = "incomplete"
"""


def test_a_variant_adds_options_and_flags_and_has_the_last_word_on_all_else(swept):
    swept.recipe(variants={"v": {}})
    change_recipe(swept, OVERRIDDEN.strip())
    (plan,) = plans_of(swept)
    assert plan.options == ("--bound=9", "--stop-on-trace=DFS")
    assert plan.flags == ("A", "B")
    assert plan.limits == bt.Limits(1, 3072, 5)
    assert plan.expect == "incomplete"


def test_a_variant_may_have_other_provers_and_lemmas(swept):
    swept.prover(VERIFY, "second")
    changes = {"tamarin_versions": ["second"], "lemmas": [{"name": "secret"}]}
    plans = planned(swept, variants={"a": {}, "b": changes})
    assert list(plans) == ["t--runs--fake--a", "t--secret--fake--a", "t--secret--second--b"]


def test_a_lemma_that_only_some_variants_have_is_planned_there(swept):
    lemmas = [{"name": "more"}, {"name": "runs"}]
    variants = {"without": {}, "with": {"preprocess_flags": ["EXTRA"]}}
    plans = planned(swept, lemmas=lemmas, variants=variants)
    assert list(plans) == ["t--runs--fake--without", "t--runs--fake--with", "t--more--fake--with"]


def test_a_matrix_is_the_product_of_its_dimensions(swept):
    heuristics = {"smart": {}, "consecutive": {"tamarin_options": ["--heuristic=C"]}}
    matrix = {"heuristic": heuristics, "attacker": {"subsets": ["REVEAL", "EXTRA"]}}
    plans = planned(swept, matrix=matrix, lemmas=[{"name": "runs"}])
    assert [plan.variant for plan in plans.values()] == [
        *("smart-none", "smart-REVEAL", "smart-EXTRA", "smart-REVEAL+EXTRA"),
        *("consecutive-none", "consecutive-REVEAL", "consecutive-EXTRA"),
        "consecutive-REVEAL+EXTRA",
    ]
    last = plans["t--runs--fake--consecutive-REVEAL+EXTRA"]
    assert last.dimensions == ("heuristic=consecutive", "attacker=REVEAL+EXTRA")
    assert last.flags == ("REVEAL", "EXTRA")
    assert last.options == ("--heuristic=C",)


def test_excluded_combinations_are_not_planned(swept):
    matrix = {"a": {"1": {}, "2": {}}, "b": {"subsets": ["REVEAL", "EXTRA"]}}
    exclude = [{"a": "1", "b": ["none", "*+*"]}, {"b": "EXTRA"}]
    plans = planned(swept, matrix=matrix, exclude=exclude, lemmas=[{"name": "runs"}])
    assert [plan.variant for plan in plans.values()] == [
        "1-REVEAL",
        "2-none",
        "2-REVEAL",
        "2-REVEAL+EXTRA",
    ]


# What is excluded, and which of that an earlier one has left out.
EXCLUSIONS = [
    ([{"a": "1"}, {"a": "1"}], [1]),
    ([{"a": "1"}, {"b": "y", "a": ["1"]}], [1]),
    ([{"a": "1"}, {"a": "*", "b": "y"}], []),
    ([{"a": "1", "b": "*"}, {"b": "x"}, {"a": "1"}], [2]),
    ([{"b": ["x", "y"], "a": "2"}, {"a": "2"}], [1]),
    ([{"b": "x"}, {"b": "y", "a": "1"}], []),
]


@pytest.mark.parametrize("exclude, idle", EXCLUSIONS)
def test_it_is_said_of_an_exclude_that_an_earlier_one_leaves_out_all_of_it(swept, exclude, idle):
    matrix = {"a": {"1": {}, "2": {}, "3": {}}, "b": {"x": {}, "y": {}}}
    swept.recipe(matrix=matrix, exclude=exclude)
    said = []
    plan_recipe(swept, warn=said.append)
    end = "an earlier one leaves out all of that"
    assert said == [f"tasks.task.exclude.{number}: {end}" for number in idle]


def test_placeholders_stand_for_what_a_variant_has(swept):
    for name in ("x", "y"):
        swept.write(f"models/{name}.spthy", FLAGGED)
    plans = planned(
        swept,
        matrix={"model": {"x": {}, "y": {}}, "run": {"1": {}}},
        theory_file="models/{model}.spthy",
        output_file_prefix="{theory}_{run}",
        lemmas=[{"name": "runs"}],
    )
    told = [(plan.id, plan.theory) for plan in plans.values()]
    assert told == [
        ("x_1--runs--fake--x-1", "models/x.spthy"),
        ("y_1--runs--fake--y-1", "models/y.spthy"),
    ]


def test_without_variants_braces_are_a_part_of_a_file_s_name(swept):
    swept.write("t{a}.spthy", FLAGGED)
    plans = planned(swept, theory_file="t{a}.spthy", lemmas=[{"name": "runs"}])
    assert list(plans) == ["t--runs--fake"]


def test_a_result_does_not_depend_on_the_name_of_its_variant(swept):
    plans = planned(swept, variants={"a": {}}, preprocess_flags=["REVEAL"])
    others = planned(swept, variants={"b": {"preprocess_flags": ["REVEAL"]}})
    assert plans["t--secret--fake--a"].key == others["t--secret--fake--b"].key


def test_long_names_of_variants_make_ids_of_200_bytes_that_differ(swept):
    values = {100 * "ä" + end: {} for end in "xy"}
    plans = planned(swept, matrix={"a": values, "b": values}, lemmas=[{"name": "runs"}])
    assert len(plans) == 4
    assert max(len(task_id.encode()) for task_id in plans) <= 200


def test_each_text_that_variants_read_is_parsed_once(swept, monkeypatch):
    texts = []
    read = bt.read_theory

    def read_and_note(*args):
        reading = read(*args)
        texts.append("".join(segment.text for segment in reading.tokens.segments))
        return reading

    monkeypatch.setattr(bt, "read_theory", read_and_note)
    # Of the 64 sets of flags 4 make a difference; far from each other the same ones come again.
    subsets = ["REVEAL", "EXTRA", "A", "B", "C", "D"]
    options = {"1": {}, "2": {"tamarin_options": ["--heuristic=C"]}}
    matrix = {"option": options, "flags": {"subsets": subsets}}
    plans = planned(swept, matrix=matrix)
    assert len(plans) == 2 * (64 * 2 + 32)
    assert len(texts) == len(set(texts)) == 4


BAD_VARIANTS = """
--- no variants: tasks.task.variants: must be an object with at least one variant
tasks.task.variants = {}
--- an unknown word of a variant: variants.a.flags: unknown key; preprocess_flags
tasks.task.variants = {"a": {"flags": ["X"]}}
--- an unknown word of a value: matrix.d.a.prove: unknown key
tasks.task.matrix = {"d": {"a": {"prove": false}}}
--- a prover of a variant that is not there: variants.a.tamarin_versions.0: no prover 'fak'; 'fake'
tasks.task.variants = {"a": {"tamarin_versions": ["fak"]}}
--- a prover of a variant's lemma: matrix.d.a.lemmas.0.tamarin_versions.0: no prover 'x'
tasks.task.matrix = {"d": {"a": {"lemmas": [{"name": "one", "tamarin_versions": ["x"]}]}}}
--- a matrix beside variants: tasks.task.matrix: stands beside 'variants'
tasks.task.matrix = {"d": {"a": {}}}
tasks.task.variants = {"a": {}}
--- a name of a variant that can't name files: variants.a/b: becomes part of file names
tasks.task.variants = {"a/b": {}}
--- names that differ in case only: 'a' and 'A' would have the same name
tasks.task.variants = {"a": {}, "A": {}}
--- names that collide: 'a' x 'b-c' and 'a-b' x 'c' would have the same name
tasks.task.matrix = {"d": {"a": {}, "a-b": {}}, "e": {"b-c": {}, "c": {}}}
--- a reserved dimension: matrix.lemma: a dimension is named
tasks.task.matrix = {"lemma": {"a": {}}}
--- a dimension with a blank: matrix.a b: a dimension is named
tasks.task.matrix = {"a b": {"a": {}}}
--- a dimension without values: matrix.d: must be an object from values
tasks.task.matrix = {"d": {}}
--- flags that stand twice: matrix.d.subsets: must be a list of 1 to 16 different flags
tasks.task.matrix = {"d": {"subsets": ["A", "A"]}}
--- an exclude without a matrix: tasks.task.exclude: takes combinations out of a 'matrix'
tasks.task.exclude = [{"d": "a"}]
--- an exclude of an unknown dimension: exclude.0.e: no such dimension; allowed: d
tasks.task.matrix = {"d": {"a": {}}}
tasks.task.exclude = [{"e": "a"}]
--- an exclude of an unknown value: exclude.0.d: 'attackr' is no value of 'd' (did you mean
tasks.task.matrix = {"d": {"attacker": {}, "b": {}}}
tasks.task.exclude = [{"d": "attackr"}]
--- an exclude of no value: exclude.0.d: 'x*' is no value of 'd'
tasks.task.matrix = {"d": {"a": {}, "b": {}}}
tasks.task.exclude = [{"d": "x*"}]
--- an exclude that takes all away: tasks.task.exclude: leaves no variant
tasks.task.matrix = {"d": {"a": {}}}
tasks.task.exclude = [{"d": "*"}]
--- an unknown placeholder: unknown placeholder '{mode}'; allowed: {d}, {variant}, {theory}
tasks.task.matrix = {"d": {"a": {}}}
tasks.task.output_file_prefix = "t_{mode}"
--- a placeholder without variants: unknown placeholder '{d}'; allowed: {theory}
tasks.task.output_file_prefix = "t_{d}"
--- a lemma that no variant has: lemmas.0.name: no lemma of; 'none'
tasks.task.variants = {"a": {}, "b": {"preprocess_flags": ["X"]}}
tasks.task.lemmas = [{"name": "none"}]
--- a variant that plans nothing: variants.b: variant 'b' plans no lemma
tasks.task.variants = {"a": {}, "b": {"lemmas": [{"name": "!one"}, {"name": "one"}]}}
--- a million combinations: tasks.task.matrix: 4,294,967,296 combinations
tasks.task.matrix = {"d": {}, "e": {}}
tasks.task.matrix.d.subsets = ["A","B","C","D","E","F","G","H","I","J","K","L","M","N","O","P"]
tasks.task.matrix.e.subsets = ["A","B","C","D","E","F","G","H","I","J","K","L","M","N","O","P"]
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_VARIANTS))
def test_bad_variants_are_refused_with_a_reason(one_lemma, changes, wanted):
    change_recipe(one_lemma, changes.strip())
    told = complaints(one_lemma)
    for words in wanted.split("; "):
        assert words in told


# A list of two theories, of which the second has the lemma `other` in place of `two`.
TWO_THEORIES = """
--- patterns that one theory lacks: two, other, one, one
tasks.task.lemmas = [{"name": "t*"}, {"name": "o*"}, {"name": "!three"}]
--- a name that one theory lacks: one, two, one
tasks.task.lemmas = [{"name": "one"}, {"name": "two"}]
--- an exclusion that one theory lacks: one, three, one, three
tasks.task.lemmas = [{"name": "*"}, {"name": "!two"}, {"name": "!oth*"}]
--- an exclusion that leaves nothing of one theory: two
tasks.task.lemmas = [{"name": "one"}, {"name": "two"}, {"name": "!one"}]
--- what is expected of a lemma that one theory lacks: one, one
tasks.task.lemmas = [{"name": "one"}]
tasks.task.expect = {"one": "verified"}
"""


@pytest.fixture
def theory_list(lab):
    """A recipe of one entry for two theories."""
    lab.prover(VERIFY)
    lab.write("u.spthy", THEORY.replace("lemma two", "lemma other"))
    lab.recipe(theory_file=["t.spthy", "u.spthy"], output_file_prefix="{theory}")
    return lab


@pytest.mark.parametrize("changes, wanted", cases(TWO_THEORIES))
def test_of_several_theories_one_must_have_what_a_word_means(theory_list, changes, wanted):
    change_recipe(theory_list, changes.strip())
    planned = plan_recipe(theory_list, warn=lambda message: None)
    lemmas = [task.plan.lemma for task in planned.tasks.values()]
    assert sorted(lemmas) == sorted(wanted.split(", "))


def test_what_is_expected_of_a_lemma_that_one_of_several_theories_has(theory_list):
    change_recipe(theory_list, 'tasks.task.expect = {"two": "falsified"}')
    planned = plan_recipe(theory_list)
    plans = [task.plan for task in planned.tasks.values()]
    assert [plan.lemma for plan in plans if plan.expect] == ["two"]


# What no theory has.
IN_NO_THEORY = """
--- a name: no lemma of 2 theories (t.spthy, u.spthy) matches 'otter' (did you mean 'other'?)
tasks.task.lemmas = [{"name": "otter"}, {"name": "*"}]
--- what is expected: matches no planned lemma of 2 theories (t.spthy, u.spthy) (did you mean
tasks.task.expect = {"otter": "falsified"}
--- an exclusion: lemmas.0.name: '!otter' takes no lemma away
tasks.task.lemmas = [{"name": "!otter"}]
--- an exclusion that takes all away: lemmas.0.name: '!*' leaves no lemma
tasks.task.lemmas = [{"name": "!*"}]
"""


@pytest.mark.parametrize("changes, wanted", cases(IN_NO_THEORY))
def test_what_fits_in_none_of_several_theories_is_one_error(theory_list, changes, wanted):
    change_recipe(theory_list, changes.strip())
    told = complaints(theory_list)
    assert wanted in told
    assert len(told.splitlines()) == 1


def test_a_theory_of_which_nothing_is_selected_is_told(theory_list):
    change_recipe(theory_list, 'tasks.task.lemmas = [{"name": "two"}]')
    done = theory_list.run("run recipe.json", code=0)
    assert "tasks.task: none of its names and patterns selects a lemma of u.spthy" in done.stderr


def test_more_than_100_000_tasks_need_a_yes(one_lemma, monkeypatch):
    monkeypatch.setattr(bt, "MOST_TASKS", 3)
    change_recipe(one_lemma, 'tasks.task.variants = {"a": {}, "b": {}, "c": {}, "d": {}}')
    done = one_lemma.run("run recipe.json", code=2)
    assert "tasks.task: the recipe plans more than 3 tasks: if that is meant, --yes" in done.stderr
    one_lemma.run("run recipe.json --yes -t t--one--fake--a", code=0)
    one_lemma.run("resume results", code=0)
    assert len(one_lemma.finishes()) == 4


def test_a_variant_whose_theory_cannot_be_read_fails_alone(swept):
    swept.write("u.spthy", "theory U begin\nlemma")
    files = {"t": {}, "u": {}}
    swept.recipe(
        matrix={"file": files},
        theory_file="{file}.spthy",
        lemmas="more runs",
    )
    swept.run("run recipe.json", code=3)
    finishes = swept.finishes()
    assert finishes["t--runs--fake--t"]["status"] == "completed"
    # Whether it has the lemma that the other one has not, nobody knows.
    assert finishes["t--more--fake--u"]["status"] == "failed"


def test_the_limit_to_raise_is_that_of_the_variant(one_lemma):
    change_recipe(one_lemma, 'tasks.task.matrix = {"d": {"a": {}}, "e": {"x": {}, "y": {}}}')
    change_recipe(one_lemma, 'tasks.task.matrix.e.x = {"resources": {"timeout": 5}}')
    batch = plan_recipe(one_lemma)
    keys = []
    for task in batch.tasks.values():
        task.status = bt.Status.TIMEOUT
        keys.append(bt.limit_key(batch.header, task))
    assert keys == ["tasks.task.matrix.e.x.resources.timeout", "tasks.task.resources.timeout"]


# --- What is expected of variants -----------------------------------------------------------------

# What is expected of `runs` and `secret` in the variants x-p, x-q and y-p: the first letters.
RULES = """
--- a verdict for all: vv vv vv
"verified"
--- a rule for all: ff ff ff
[{"verdict": "falsified"}]
--- a lemma's name is narrower than a pattern, and that than all: vi vi vi
[{"verdict": "falsified"},
 {"lemma": "s*", "verdict": "verified"},
 {"lemma": "runs", "verdict": "verified"},
 {"lemma": "secret", "verdict": "incomplete"}]
--- some variants are narrower than all: vv vf vf
[{"verdict": "verified"},
 {"lemma": "secret", "when": {"d": "y"}, "verdict": "falsified"},
 {"lemma": "secret", "when": {"e": "q"}, "verdict": "falsified"}]
--- two dimensions are narrower than one: vv ff vv
[{"verdict": "verified"},
 {"when": {"d": "x"}, "verdict": "verified"},
 {"when": {"d": "x", "e": "q"}, "verdict": "falsified"}]
--- fewer values are narrower: ff ff vv
[{"when": {"d": ["x", "y"]}, "verdict": "verified"},
 {"when": {"d": "x"}, "verdict": "falsified"}]
--- a whole variant: -- vv --
[{"when": {"variant": "x-q"}, "verdict": "verified"}]
--- two that say the same: v- v- v-
[{"lemma": "r*", "verdict": "verified"},
 {"lemma": "*s", "verdict": "verified"}]
"""


@pytest.fixture
def three_variants(swept):
    matrix = {"d": {"x": {}, "y": {}}, "e": {"p": {}, "q": {}}}
    swept.recipe(matrix=matrix, exclude=[{"d": "y", "e": "q"}])
    return swept


def expect_of_variants(lab, text):
    """Let the lab's recipe expect this."""
    one_line = " ".join(text.split())
    change_recipe(lab, f"tasks.task.expect = {one_line}")


@pytest.mark.parametrize("text, wanted", cases(RULES))
def test_the_most_specific_expectation_counts(three_variants, text, wanted):
    expect_of_variants(three_variants, text)
    verdicts = {}
    for plan in plans_of(three_variants):
        verdict = plan.expect or "-"
        verdicts[plan.variant] = verdicts.get(plan.variant, "") + verdict[0]
    assert " ".join(verdicts.values()) == wanted


BAD_RULES = """
--- an empty list: tasks.task.expect: must be a list that is not empty
[]
--- a rule without a verdict: expect.0: 'verdict' is missing
[{"lemma": "runs"}]
--- an unknown word: expect.0.whn: unknown key; 'when'
[{"whn": {}, "verdict": "verified"}]
--- no such dimension: expect.0.when.f: no such dimension; allowed: d, e, variant
[{"when": {"f": "x"}, "verdict": "verified"}]
--- no such value: expect.0.when.d: 'z' is no value of 'd'
[{"when": {"d": "z"}, "verdict": "verified"}]
--- a combination that is excluded: expect.0.when: is so in no variant
[{"when": {"d": "y", "e": "q"}, "verdict": "verified"}]
--- no such lemma: expect.0: matches no planned lemma
[{"lemma": "secrets", "verdict": "verified"}]
--- two of one width: expect.0: verified; expect.1 says falsified of 'runs'
[{"lemma": "runs", "verdict": "verified"}, {"lemma": "runs", "verdict": "falsified"}]
--- two dimensions: expect.0: verified; expect.1 says falsified of 'runs'
[{"when": {"d": "x"}, "verdict": "verified"}, {"when": {"e": "p"}, "verdict": "falsified"}]
"""


@pytest.mark.parametrize("text, wanted", cases(BAD_RULES))
def test_bad_expectations_of_variants_are_refused_with_a_reason(three_variants, text, wanted):
    expect_of_variants(three_variants, text)
    told = complaints(three_variants)
    for words in wanted.split("; "):
        assert words in told


def test_values_of_two_dimensions_may_not_expect_different_things(three_variants):
    change_recipe(three_variants, 'tasks.task.matrix.d.x = {"expect": "verified"}')
    change_recipe(three_variants, 'tasks.task.matrix.e.q = {"expect": {"secret": "falsified"}}')
    told = complaints(three_variants)
    assert "matrix.d.x.expect: verified, but tasks.task.matrix.e.q.expect.secret says" in told
    assert "of 'runs'" not in told


def test_without_variants_no_condition_can_be_met(swept):
    swept.recipe(expect=[{"when": {"d": "x"}, "verdict": "verified"}])
    assert "no such dimension; allowed: none, as this entry has no variants" in complaints(swept)


# --- Races ----------------------------------------------------------------------------------------


@pytest.fixture
def racing(one_lemma):
    """A recipe in which the variants `a` and `b` race for lemma `one`."""
    change_recipe(one_lemma, 'tasks.task.variants = {"a": {}, "b": {}}\ntasks.task.race = true')
    return one_lemma


BAD_RACES = """
--- stored proofs: tasks.task.race: lets searches compete, and 'prove': false asks for none
tasks.task.prove = false
--- no word for yes: tasks.task.race: must be true or false
tasks.task.race = "yes"
--- flags: must read the same theory; 'a' and 'b' differ in their flags (none; X)
tasks.task.variants.b = {"preprocess_flags": ["X"]}
--- flags among options: 'a' and 'b' differ in their flags (X; Y Z)
tasks.task.variants.a = {"preprocess_flags": ["X"]}
tasks.task.variants.b = {"tamarin_options": ["-D=Z", "--defines=Y"]}
--- flags of a prover: 'a' and 'b' differ in their flags (none; X)
tamarin_versions.other = {"path": "./fake.sh", "options": ["-D=X"]}
tasks.task.variants.b = {"tamarin_versions": ["other"]}
--- a mode: 'a' and 'b' differ in --diff (none; given)
tasks.task.variants.b = {"tamarin_options": ["--diff"]}
--- sources: 'a' and 'b' differ in --auto-sources (none; given)
tasks.task.variants.b = {"tamarin_options": ["--auto-sources"]}
--- theories: tasks.task.theory_file: variants that race must read the same theory: no {variant}
tasks.task.theory_file = "{variant}.spthy"
--- expectations: answer one question; of 'one' nothing is expected in 'a', verified in 'b'
tasks.task.variants.b = {"expect": "verified"}
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_RACES))
def test_a_race_without_one_question_is_refused_with_a_reason(racing, changes, wanted):
    for name in ("a.spthy", "b.spthy"):
        racing.write(name, THEORY)
    change_recipe(racing, changes.strip())
    told = complaints(racing)
    for words in wanted.split("; "):
        assert words in told


def test_a_race_needs_variants(one_lemma):
    change_recipe(one_lemma, "tasks.task.race = true")
    assert "tasks.task.race: lets variants compete: give 'variants'" in complaints(one_lemma)


def races_of(lab):
    """By the variants, or for the same ones the provers, that compete: of which tasks."""
    races = {}
    for plan in plans_of(lab):
        if plan.race:
            races.setdefault(plan.race, []).append(f"{plan.prover}-{plan.variant}")
    return sorted(races.values())


def test_each_lemma_and_prover_has_a_race_of_its_own(racing):
    racing.prover(VERIFY, "other")
    both = json.dumps(racing.provers)
    change_recipe(racing, f'tamarin_versions = {both}\ntasks.task.lemmas = [{{"name": "t*"}}]')
    change_recipe(racing, 'tasks.task.tamarin_versions = ["fake", "other"]')
    of_a_lemma = [["fake-a", "fake-b"], ["other-a", "other-b"]]
    assert races_of(racing) == sorted(of_a_lemma * 2)


def test_provers_that_the_variants_choose_compete(racing):
    racing.prover(VERIFY, "other")
    change_recipe(racing, f"tamarin_versions = {json.dumps(racing.provers)}")
    change_recipe(racing, 'tasks.task.variants.b = {"tamarin_versions": ["other"]}')
    assert races_of(racing) == [["fake-a", "other-b"]]


def test_a_lemma_of_one_variant_races_with_nothing(racing):
    change_recipe(racing, 'tasks.task.variants.b = {"lemmas": [{"name": "two"}]}')
    assert races_of(racing) == []


# The cores of a machine, and the time limits of three variants: first and then.
TURNS = """
2 : 75  : 300
3 : 300 :
"""


@pytest.mark.parametrize("cores, first, then", rows(TURNS))
def test_variants_take_turns_where_there_is_no_room_for_all(racing, cores, first, then):
    change_recipe(racing, 'tasks.task.variants = {"a": {}, "b": {}, "c": {}}')
    batch = plan_recipe(racing, room=bt.Limits(int(cores), 8192, 0))
    for task in batch.tasks.values():
        assert task.plan.limits.timeout_s == int(first)
        stages = task.plan.stages[1:]
        assert [stage.limits.timeout_s for stage in stages] == ints(then)
        assert task.plan.unlike_first == ""
        for plan in task.plan.all_stages:
            assert plan.unlike_first == ""


def ints(text):
    """The whole numbers in a text."""
    return list(map(int, text.split()))


def test_check_tells_the_turns_of_a_race(racing):
    done = racing.run("check recipe.json -d --cores 1", code=0)
    assert "2 tasks of 1 core, 1 GB, 300 s" in done.stdout
    assert "t--one--fake--a: 1 core, 1 GB, 75 s, races" in done.stdout
    assert (
        "t--one--fake--a: 1 core, 1 GB, 300 s where the limits before were met, races"
        in done.stdout
    )


# --- Attackers in order ---------------------------------------------------------------------------


@pytest.fixture
def ordered(one_lemma):
    """A recipe in which lemma `one` is proven against six attackers in order."""
    for flag in ("", "weak", "strong"):
        one_lemma.write(f"{flag}.spthy", THEORY)
    network = {"weak": {}, "mid": {}, "strong": {"preprocess_flags": ["S"]}}
    matrix = {"network": network, "leaks": {"subsets": ["A"]}}
    implies = {"order": {"network": ["weak", "mid", "strong"], "leaks": "subset"}}
    change_recipe(one_lemma, f"tasks.task.matrix = {json.dumps(matrix)}")
    change_recipe(one_lemma, f"tasks.task.implies = {json.dumps(implies)}")
    return one_lemma


BAD_ORDERS = """
--- no object: tasks.task.implies: must be an object
tasks.task.implies = ["network"]
--- no order: tasks.task.implies: 'order' is missing
tasks.task.implies = {"first": [{"network": "weak"}]}
--- an unknown key: implies.oder: unknown key (did you mean 'order'?)
tasks.task.implies.oder = {}
--- an order of nothing: implies.order: must be an object with at least one dimension
tasks.task.implies.order = {}
--- no list: order.network: must be a list of all values of the dimension; not "subsets"
tasks.task.implies.order.network = "subsets"
--- one value: order.network: must be a list of all values
tasks.task.implies.order.network = ["weak"]
--- no such dimension: order.netwrk: no such dimension (did you mean 'network'?); network, leaks
tasks.task.implies.order = {"netwrk": ["weak", "mid", "strong"]}
--- a value that there is not: order.network.1: 'middle' is no value of 'network'; mid missing
tasks.task.implies.order.network = ["weak", "middle", "strong"]
--- a value that is missing: order.network: must have all values of 'network': strong missing
tasks.task.implies.order.network = ["weak", "mid"]
--- a value that stands twice: order.network.2: "mid" stands here twice
tasks.task.implies.order.network = ["weak", "mid", "mid", "strong"]
--- no sets: order.network: "subset" is for a dimension that is made by 'subsets'
tasks.task.implies.order.network = "subset"
--- a race: tasks.task.implies: stands beside 'race'
tasks.task.race = true
--- stored proofs: tasks.task.implies: saves searches, and 'prove': false asks for none
tasks.task.prove = false
--- a first of an unknown dimension: implies.first.0.leak: no such dimension (did you mean 'leaks'?)
tasks.task.implies.first = [{"leak": "A"}]
--- a first of an unknown value: implies.first.1.leaks: 'B' is no value of 'leaks'
tasks.task.implies.first = [{"leaks": "A"}, {"leaks": "B"}]
--- a first that is excluded: implies.first.0: is so in no variant
tasks.task.exclude = [{"network": "weak", "leaks": "A"}]
tasks.task.implies.first = [{"network": "weak", "leaks": "A"}]
--- theories of which none is another's: theory_file: has a theory for each {network}; by no pattern
tasks.task.theory_file = "{network}*.spthy"
tasks.task.output_file_prefix = "{theory}"
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_ORDERS))
def test_a_bad_order_is_refused_with_a_reason(ordered, changes, wanted):
    change_recipe(ordered, changes.strip())
    told = complaints(ordered)
    assert "recipe.json:" in told
    for words in wanted.split("; "):
        assert words in told


@pytest.mark.parametrize("more", [{}, {"variants": {"a": {}, "b": {}}}])
def test_an_order_needs_a_matrix(one_lemma, more):
    implies = {"order": {"network": "subset"}}
    one_lemma.recipe(implies=implies, **more)
    told = complaints(one_lemma)
    assert "tasks.task.implies: puts the attackers of a 'matrix' in order: there is none" in told


def orders_of(lab, **options):
    """By lattice the variants in it, each after all that are weaker: ids without what is common."""
    lattices = {}
    for plan in plans_of(lab, **options):
        if plan.attacker:
            name = f"{plan.lemma} {plan.prover} {plan.variant}"
            lattices.setdefault(bt.group_of(plan), []).append((plan.attacker.powers, name))
    return sorted([name for _, name in sorted(names)] for names in lattices.values())


def weaker_than(lab, variant):
    """The variants that are no stronger than this one."""
    attackers = {plan.variant: plan.attacker for plan in plans_of(lab)}
    own = attackers[variant]
    return [name for name, attacker in attackers.items() if attacker.is_within(own)]


def test_the_order_is_the_product_of_the_orders_of_dimensions(ordered):
    assert weaker_than(ordered, "mid-A") == ["weak-none", "weak-A", "mid-none", "mid-A"]
    assert weaker_than(ordered, "strong-none") == ["weak-none", "mid-none", "strong-none"]


def test_of_sets_of_flags_each_is_weaker_than_those_that_contain_it(ordered):
    change_recipe(ordered, 'tasks.task.matrix.leaks = {"subsets": ["A", "B", "C"]}')
    assert weaker_than(ordered, "weak-A+C") == ["weak-none", "weak-A", "weak-C", "weak-A+C"]


def test_what_is_not_named_in_the_order_must_be_equal(ordered):
    change_recipe(ordered, 'tasks.task.implies.order = {"leaks": "subset"}')
    assert orders_of(ordered) == [
        ["one fake mid-none", "one fake mid-A"],
        ["one fake strong-none", "one fake strong-A"],
        ["one fake weak-none", "one fake weak-A"],
    ]


def test_each_lemma_and_prover_has_an_order_of_its_own(ordered):
    ordered.prover(VERIFY, "other")
    change_recipe(ordered, f"tamarin_versions = {json.dumps(ordered.provers)}")
    change_recipe(ordered, 'tasks.task.tamarin_versions = ["fake", "other"]')
    change_recipe(ordered, 'tasks.task.lemmas = [{"name": "*"}]')
    lattices = orders_of(ordered)
    # Lemma `two` is of a trace that exists: nothing follows.
    names = [{name.rpartition(" ")[0] for name in lattice} for lattice in lattices]
    assert names == [{"one fake"}, {"one other"}, {"three fake"}, {"three other"}]
    assert [len(lattice) for lattice in lattices] == [6, 6, 6, 6]


def test_each_of_several_theories_has_an_order_of_its_own(ordered):
    change_recipe(ordered, 'tasks.task.theory_file = ["weak.spthy", "strong.spthy"]')
    change_recipe(ordered, 'tasks.task.output_file_prefix = "{theory}"')
    assert [len(lattice) for lattice in orders_of(ordered)] == [6, 6]


def test_attackers_in_order_may_have_a_theory_each(ordered):
    ordered.write("mid.spthy", THEORY)
    change_recipe(ordered, 'tasks.task.theory_file = "{network}.spthy"')
    assert [len(lattice) for lattice in orders_of(ordered)] == [6]


def test_one_lemma_with_other_flags_of_its_own_is_another_one(ordered):
    items = [{"name": "one"}, {"name": "one", "preprocess_flags": ["X"]}]
    change_recipe(ordered, f"tasks.task.lemmas = {json.dumps(items)}")
    assert [len(lattice) for lattice in orders_of(ordered)] == [6, 6]


LEMMA_ONE = 'lemma one: "All k #i. A(k) @ i ==> T"'
# What makes another formula of lemma `one`: without flag S and with it.
FORMULAS = {
    "formula": (LEMMA_ONE, LEMMA_ONE.replace("T", "F")),
    "predicate": (f"predicates: P(x) <=> T\n{LEMMA_ONE}", f"predicates: P(x) <=> F\n{LEMMA_ONE}"),
    "macro": (f"macros: m(x) = x\n{LEMMA_ONE}", f"macros: m(x) = <x, x>\n{LEMMA_ONE}"),
}


def by_flag(without, with_flag):
    """A theory that reads one of these, by flag S."""
    choice = f"#ifdef S\n{with_flag}\n#else\n{without}\n#endif"
    return f"theory T begin {RULE_A}\n{choice}\nend"


@pytest.mark.parametrize("what", FORMULAS)
def test_nothing_follows_where_the_formula_is_another_one(ordered, what):
    ordered.write("t.spthy", by_flag(*FORMULAS[what]))
    warnings = []
    lattices = orders_of(ordered, warn=warnings.append)
    assert sorted(map(len, lattices)) == [2, 4]
    (warning,) = warnings
    assert "tasks.task.implies: the formula of one" in warning


def test_white_space_and_comments_make_no_other_formula(ordered):
    ordered.write("t.spthy", by_flag(LEMMA_ONE, LEMMA_ONE.replace("==>", "/* so */\n  ==>")))
    assert [len(lattice) for lattice in orders_of(ordered)] == [6]


@pytest.mark.parametrize("what", ["diff", "accounts"])
def test_nothing_follows_for_lemmas_that_are_not_of_all_traces_of_one_system(ordered, what):
    if what == "diff":
        change_recipe(ordered, 'tasks.task.tamarin_options = ["--diff"]')
    else:
        test = 'test t: "Ex k #i. A(k) @ i"\nlemma one: t accounts for "All k #i. A(k) @ i ==> F"'
        ordered.write("t.spthy", f"theory T begin {RULE_A}\n{test}\nend")
    assert orders_of(ordered) == []


def test_check_tells_what_may_follow(ordered):
    done = ordered.run("check recipe.json -d", code=0)
    assert "t--one--fake--mid-A: 1 core, 1 GB, 300 s, unless it follows from another" in done.stdout


# --- A theory that is made ------------------------------------------------------------------------

# Makes a theory of a lemma's name, and writes it to the second word's file; notes that it did.
GENERATOR = """#!/bin/sh
echo "$1" >> runs
theory="theory T begin lemma $1: \\"T\\"
$(cat template)
end"
if [ "$2" ]; then echo "$theory" > "$2"; else echo "$theory"; fi
"""


@pytest.fixture
def generated(lab):
    """A lab in which theories are made."""
    lab.prover(VERIFY)
    lab.write("make.sh", GENERATOR, 0o755)
    lab.write("template", "// 1")
    (lab.path / "t.spthy").unlink()
    lab.recipe(
        theory_file="made/{lemma_}.spthy",
        matrix={"lemma_": {"a": {}, "b": {}}, "other": {"1": {}, "2": {}}},
        prepare={"command": ["./make.sh", "{lemma_}", "{theory_file}"], "inputs": ["templ*"]},
    )
    return lab


def makes(lab):
    """For which theories the generator was called, in any order."""
    runs = lab.path / "runs"
    return sorted(runs.read_text().split()) if runs.exists() else []


def test_theories_are_made_once_before_they_are_read_and_kept(generated):
    generated.run("run recipe.json", code=0)
    assert makes(generated) == ["a", "b"]
    ids = ["t--a--fake--a-1", "t--a--fake--a-2", "t--b--fake--b-1", "t--b--fake--b-2"]
    assert sorted(generated.finishes()) == ids
    assert sorted(os.listdir(generated.path / "made")) == ["a.spthy", "b.spthy"]
    kept = [path.read_text() for path in (generated.results / "inputs").iterdir()]
    assert any("lemma a" in text for text in kept)


def test_a_command_without_theory_file_prints_the_theory(generated):
    change_recipe(generated, 'tasks.task.prepare.command = ["./make.sh", "{lemma_}"]')
    generated.run("run recipe.json", code=0)
    assert generated.read("made/a.spthy").startswith("theory T begin lemma a")


def test_reports_see_that_what_a_theory_is_made_from_has_changed(generated):
    generated.run("run recipe.json", code=0)
    assert "changed" not in generated.run("status results").stderr
    generated.write("template", "// 2")
    done = generated.run("status results")
    assert "template changed since 2 theory files came from there: `run` makes them" in done.stderr
    assert "on an older text" in done.stdout
    assert "template changed" in generated.run("report results -f md").stderr
    audit = generated.run("audit results").stdout
    assert "what it is made from has changed: template; `run` makes it again" in audit
    assert makes(generated) == ["a", "b"], "the command is not run for that"
    generated.run("run recipe.json", code=0)
    assert "changed" not in generated.run("status results").stderr
    (generated.path / "template").unlink()
    assert "changed" not in generated.run("status results").stderr


def test_what_was_made_is_no_input_of_what_is_made(generated):
    generated.write("made/template", "// 1")
    change_recipe(generated, 'tasks.task.prepare.inputs = ["made/*"]')
    generated.run("run recipe.json", code=0)
    generated.run("run recipe.json", code=0)
    assert makes(generated) == ["a", "b"]
    assert "changed" not in generated.run("status results").stderr


def test_only_results_of_theories_that_would_be_made_anew_are_old(generated):
    generated.write("only-a", "")
    generated.write("only-b", "")
    change_recipe(generated, 'tasks.task.prepare.inputs = ["template", "only-{lemma_}"]')
    generated.run("run recipe.json", code=0)
    generated.write("only-a", "2")
    report = json.loads(generated.run("report results -f json").stdout)
    old = [task["id"] for task in report["tasks"] if task["on_older_text"]]
    assert old == ["t--a--fake--a-1", "t--a--fake--a-2"]


# How many theories were made then in both runs, and how many proofs were started.
CHANGES_OF_INPUTS = """
--- nothing: 2 4
true
--- a comment of an input: 4 4
echo '// 2' > template
--- an input: 4 8
echo 'rule R: [ ] --> [ ]' > template
--- the command's program: 4 4
echo >> make.sh
--- what was made is gone: 3 4
rm made/a.spthy
"""


@pytest.mark.parametrize("change, wanted", cases(CHANGES_OF_INPUTS))
def test_theories_are_made_again_when_what_makes_them_changes(generated, change, wanted):
    generated.run("run recipe.json", code=0)
    subprocess.run(["sh", "-c", change], cwd=generated.path, check=True)
    generated.run("run recipe.json", code=0)
    started = len(generated.events("start"))
    assert f"{len(makes(generated))} {started}" == wanted


FAILURES = """
--- it fails: prepare failed (exit code 3): no such word; all that it said: /
echo "no such word" >&2; exit 3
--- it writes nothing: prepare did not write {theory_file}
true
--- it writes elsewhere: prepare did not write {theory_file}
echo x > elsewhere.spthy
"""


@pytest.mark.parametrize("body, wanted", cases(FAILURES))
def test_a_command_that_makes_no_theory_fails_its_own_tasks_only(generated, body, wanted):
    generated.write("bad.sh", f"[ $1 = a ] && exec ./make.sh $1 $2\n{body}")
    command = '["sh", "bad.sh", "{lemma_}", "{theory_file}"]'
    change_recipe(generated, f"tasks.task.prepare.command = {command}")
    generated.run("run recipe.json", code=3)
    finishes = generated.finishes()
    assert finishes["t--a--fake--a-1"]["verdict"] == "verified"
    assert wanted in finishes["t--unknown-lemmas--fake--b-1"]["reason"]
    assert not (generated.path / "made" / "b.spthy").exists()


def test_a_command_that_makes_a_theory_has_the_limits_of_its_task(generated):
    change_recipe(generated, 'tasks.task.prepare.command = ["sleep", "600"]')
    change_recipe(generated, 'tasks.task.theory_file = "made.spthy"')
    change_recipe(generated, "tasks.task.resources.timeout = 0.1")
    done = generated.run("run recipe.json", code=2)
    assert "prepare failed (ran into its time limit of 0.1 s)" in done.stderr


def test_what_others_wrote_is_not_written_over(generated):
    generated.write("made/a.spthy", "by hand")
    generated.run("run recipe.json", code=3)
    reason = generated.finishes()["t--unknown-lemmas--fake--a-1"]["reason"]
    assert reason.endswith("made/a.spthy, which it did not write: move that away")
    assert generated.read("made/a.spthy") == "by hand"


def test_check_makes_theories_as_well(generated):
    done = generated.run("check recipe.json")
    assert "made 2 of 2 theory files" in done.stderr


@needs_linux
def test_a_stop_while_a_theory_is_made_leaves_nothing_behind(generated):
    command = '["sh", "-c", "touch up; exec sleep 600", "{theory_file}"]'
    change_recipe(generated, f"tasks.task.prepare.command = {command}")
    change_recipe(generated, 'tasks.task.theory_file = "made/x.spthy"')
    process = generated.start("run recipe.json")
    wait_for((generated.path / "up").exists)
    process.send_signal(signal.SIGTERM)
    _, err = end_of(process)
    assert process.returncode == 143
    assert err == ""
    assert os.listdir(generated.path / "made") == []
    assert not generated.results.exists()


BAD_PREPARES = """
--- no command: prepare: 'command' is missing
tasks.task.prepare = {"inputs": ["x"]}
--- no such program: prepare.command.0: there is no such file './mak.sh' (did you mean
tasks.task.prepare.command = ["./mak.sh"]
--- an unknown placeholder: prepare.command.1: unknown placeholder '{lemma}'; {theory_file}
tasks.task.prepare.command = ["./make.sh", "{lemma}"]
--- an input that is not there: prepare.inputs.0: no file matches 'gone*'
tasks.task.prepare.inputs = ["gone*"]
--- a pattern of theories: tasks.task.theory_file: the theory that a command makes has a name
tasks.task.theory_file = "made/*.spthy"
--- a list of theories: tasks.task.theory_file: a command makes one theory, and no list
tasks.task.theory_file = ["made/x.spthy"]
--- two commands for one theory: tasks.task.theory_file: two different commands make 'made/x.spthy'
tasks.task.theory_file = "made/x.spthy"
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_PREPARES))
def test_bad_commands_that_make_theories_are_refused(generated, changes, wanted):
    change_recipe(generated, changes.strip())
    done = generated.run("run recipe.json", code=2)
    for words in wanted.split("; "):
        assert words in done.stderr
    assert not makes(generated)


# --- A theory that can't be read ---


BROKEN = 'theory B begin\n#include "gone.spthy"\nlemma x: "T"\nend'


def entry(theory, prefix, *lemmas, **more):
    """An entry of a recipe's `tasks`."""
    return {
        "theory_file": theory,
        "tamarin_versions": ["fake"],
        "output_file_prefix": prefix,
        "lemmas": [{"name": name} for name in lemmas],
        **more,
    }


@pytest.fixture
def one_broken(lab):
    """A recipe with the entries `good`, `named` and `patterns`; the last two can't be read."""
    lab.prover(NOTE_RUNS + VERIFY)
    lab.write("b.spthy", BROKEN)
    tasks = {
        "good": entry("t.spthy", "t", "one", "two"),
        "named": entry("b.spthy", "n", "x", preprocess_flags=["A"]),
        "patterns": entry("b.spthy", "p"),
    }
    lab.recipe(tasks=tasks)
    return lab


GOOD = {"t--one--fake", "t--two--fake"}
UNREAD = {"n--x--fake", "p--unknown-lemmas--fake"}


def test_a_broken_theory_fails_only_its_own_tasks(one_broken):
    done = one_broken.run("run recipe.json", code=3)
    ends = one_broken.finishes()
    verified = {name for name, end in ends.items() if end["verdict"] == "verified"}
    assert verified == GOOD
    failed = {name: end["reason"] for name, end in ends.items() if end["status"] == "failed"}
    assert set(failed) == UNREAD
    assert all("b.spthy:2: can't read 'gone.spthy'" in reason for reason in failed.values())
    # No prover was started for them, and no log is named that isn't there.
    assert {event["job"] for event in one_broken.events("start")} == GOOD
    assert "less" not in done.stdout
    assert (one_broken.results / "failed" / "n--x--fake.json").exists()


# What can be wrong with a theory, and what is said of it.
BROKEN_THEORIES = """
--- what we refuse: the theory has no 'end'
theory B begin
--- an empty file: starts with 'theory NAME'
"""


@pytest.mark.parametrize("text, wanted", cases(BROKEN_THEORIES))
def test_what_is_refused_is_the_reason_of_its_tasks(one_broken, text, wanted):
    one_broken.write("b.spthy", text)
    reasons = {plan.id: plan.unreadable for plan in plans_of(one_broken)}
    assert {name for name, reason in reasons.items() if wanted in reason} == UNREAD


def test_a_theory_that_is_not_there_fails_only_its_own_tasks(one_broken):
    (one_broken.path / "b.spthy").unlink()
    reasons = {plan.id: plan.unreadable for plan in plans_of(one_broken)}
    assert "recipe.json" in reasons["n--x--fake"]
    assert "there is no theory file 'b.spthy'" in reasons["n--x--fake"]
    assert not reasons["t--one--fake"]


def test_a_theory_that_is_not_utf_8_fails_only_its_own_tasks(one_broken):
    (one_broken.path / "b.spthy").write_bytes(b"theory \xe9 begin end")
    done = one_broken.run("run recipe.json", code=3)
    assert "not UTF-8" in done.stdout
    assert set(one_broken.finishes()) == GOOD | UNREAD


def test_of_the_theories_of_a_pattern_only_the_broken_one_fails(lab):
    lab.prover(VERIFY)
    lab.write("b.spthy", BROKEN)
    lab.recipe(theory_file="?.spthy", output_file_prefix="{theory}", expect={"one": "verified"})
    lab.run("run recipe.json", code=3)
    ids = {"b--unknown-lemmas--fake", "t--one--fake", "t--two--fake", "t--three--fake"}
    assert set(lab.finishes()) == ids


def test_a_theory_that_one_prover_cannot_read_is_proven_by_the_other(lab):
    lab.prover(VERIFY)
    lab.prover(VERIFY, alias="diff")
    lab.provers["diff"]["options"] = ["--diff"]
    lab.write("t.spthy", 'theory T begin\nlemma a: "diff(x, y) = x"\nend')
    lab.recipe(tamarin_versions=["fake", "diff"], lemmas="a")
    unreadable = {plan.id: bool(plan.unreadable) for plan in plans_of(lab)}
    assert unreadable == {"t--a--fake": True, "t--a--diff": False}


def test_what_is_named_is_not_proven_as_a_pattern_says_while_it_cannot_be_read(lab):
    lab.prover(VERIFY)
    edit_theory(lab, "begin", 'begin\n#ifdef A\n#include "gone.spthy"\n#endif')
    lab.recipe(lemmas=[{"name": "*"}, {"name": "one", "preprocess_flags": ["A"]}])
    flags = {plan.id: plan.flags for plan in plans_of(lab)}
    assert flags == {"t--two--fake": (), "t--three--fake": (), "t--one--fake": ("A",)}


def test_one_task_stands_for_all_patterns_of_an_entry(one_broken):
    lemmas = [{"name": "a*"}, {"name": "b"}, {"name": "c*"}, {"name": "!d*"}]
    change_recipe(one_broken, f"tasks.patterns.lemmas = {json.dumps(lemmas)}")
    unread = [plan for plan in plans_of(one_broken) if plan.entry == "patterns"]
    assert [plan.id for plan in unread] == ["p--b--fake", "p--unknown-lemmas--fake"]
    assert [plan.lemma for plan in unread] == ["b", "a*"]


def test_a_mended_theory_is_proven_as_usual(one_broken):
    one_broken.run("run recipe.json", code=3)
    one_broken.write("b.spthy", BROKEN.replace("#include", "//"))
    one_broken.write("runs", "")
    done = one_broken.run("run recipe.json", code=0)
    assert one_broken.read("runs") == "x\n" * 2
    assert "p--unknown-lemmas--fake" not in done.stdout + done.stderr
    wanted = GOOD | {"n--x--fake", "p--x--fake"}
    assert {path.stem for path in (one_broken.results / "success").iterdir()} == wanted
    assert not list((one_broken.results / "failed").iterdir())


def test_while_a_theory_is_broken_its_results_are_kept_and_not_shown(one_broken):
    one_broken.write("b.spthy", BROKEN.replace("#include", "//"))
    one_broken.run("run recipe.json --no-cache", code=0)
    one_broken.write("b.spthy", BROKEN)
    one_broken.run("run recipe.json --no-cache", code=3)
    assert {path.stem for path in (one_broken.results / "success").iterdir()} == GOOD
    assert {path.stem for path in (one_broken.results / "failed").iterdir()} == UNREAD
    one_broken.write("b.spthy", BROKEN.replace("#include", "//"))
    one_broken.write("runs", "")
    one_broken.run("run recipe.json --no-cache", code=0)
    assert one_broken.read("runs") == ""
    assert {path.stem for path in (one_broken.results / "proofs").iterdir()} >= {"n--x--fake"}


def test_a_theory_that_stays_broken_fails_again(one_broken):
    one_broken.run("run recipe.json", code=3)
    one_broken.write("runs", "")
    done = one_broken.run("run recipe.json", code=3)
    assert "2 verified, 2 failed" in done.stdout
    assert one_broken.read("runs") == ""


def test_a_broken_theory_does_not_stop_other_tasks_that_are_chosen(one_broken):
    one_broken.run("run recipe.json -t t--one", code=0)
    assert set(one_broken.finishes()) == {"t--one--fake"}
    one_broken.run("run recipe.json -t n--", code=3)
    assert set(one_broken.finishes()) == {"t--one--fake", "n--x--fake"}


def test_a_filter_for_what_cannot_be_read_says_why_it_matches_nothing(one_broken):
    done = one_broken.run("run recipe.json -t p--x--", code=2)
    assert "'p--unknown-lemmas--fake' stands for lemmas" in done.stderr
    assert "can't read 'gone.spthy'" in done.stderr


def test_where_no_theory_can_be_read_nothing_runs_and_all_are_named(one_broken):
    one_broken.write("t.spthy", "theory T begin")
    done = one_broken.run("run recipe.json", code=2)
    assert "n--x--fake (b.spthy -D=A): b.spthy:2: can't read 'gone.spthy'" in done.stderr
    assert "t--one--fake, t--two--fake (t.spthy): t.spthy:1" in done.stderr
    assert not one_broken.results.exists()


def test_a_mistake_in_the_recipe_still_stops_everything(one_broken):
    change_recipe(one_broken, 'tasks.good.lemmas = [{"name": "onee"}]')
    done = one_broken.run("run recipe.json", code=2)
    assert "did you mean 'one'" in done.stderr
    assert not one_broken.results.exists()


def test_what_cannot_be_read_may_be_expected_and_excluded(one_broken):
    change_recipe(one_broken, 'tasks.patterns.lemmas = [{"name": "!y"}]')
    change_recipe(one_broken, 'tasks.patterns.expect = {"z": "verified"}')
    change_recipe(one_broken, 'tasks.named.expect = "falsified"')
    expected = {plan.id: plan.expect for plan in plans_of(one_broken)}
    assert expected["n--x--fake"] == "falsified"
    assert expected["p--unknown-lemmas--fake"] is None


def test_check_shows_all_that_cannot_be_read(one_broken):
    done = one_broken.run("check recipe.json --debug", code=2)
    blocks = done.stdout.split("\n\n")
    (named,) = [block for block in blocks if block.startswith("named: b.spthy -D=A with fake")]
    (patterns,) = [block for block in blocks if block.startswith("patterns: b.spthy with fake")]
    for block, task_id in ((named, "n--x--fake"), (patterns, "p--unknown-lemmas--fake")):
        assert "error: b.spthy:2: can't read 'gone.spthy'" in block
        assert f"can't run: {task_id}\n" in block
        assert "--prove" not in block


def test_a_report_tells_why_a_theory_was_not_proven(one_broken):
    one_broken.run("run recipe.json", code=3)
    told = one_broken.run("report results -f csv", code=0).stdout
    rows = list(csv.DictReader(told.splitlines()))
    assert sum("can't read 'gone.spthy'" in row["reason"] for row in rows) == 2
    one_broken.run("audit results", code=3)


def test_a_theory_that_cannot_be_read_is_tried_once(lab, monkeypatch):
    reads = []
    load = bt.load_theory
    monkeypatch.setattr(bt, "load_theory", lambda *args: reads.append(args) or load(*args))
    lab.prover(VERIFY)
    lab.write("t.spthy", BROKEN)
    lab.recipe(lemmas=[{"name": f"l{number}"} for number in range(20)])
    assert complaints(lab).count("gone.spthy") == 1
    assert len(reads) == 1


# === Journal ======================================================================================


def journal_of(lab):
    """Run the lab's recipe to its end with a prover that verifies all; the journal."""
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    return lab.journal


def a_driver(**changes):
    """The header of a batch that this process drives, but for the changes."""
    host, boot_id = bt.host_id()
    driver = bt.Header(recipe_file="/r.json", host=host, boot_id=boot_id)
    ourselves = {"pid": os.getpid(), "started": bt.process_start(os.getpid())}
    return dataclasses.replace(driver, **{**ourselves, **changes})


@pytest.fixture
def written(lab):
    """The journal of a batch that verified l0, l1 and l2, in lab.results; nothing ran for it."""
    lab.results.mkdir()
    journal = bt.Journal(str(lab.journal))
    tasks = {name: a_task(id=name, lemma=name, prover="fake") for name in ("l0", "l1", "l2")}
    journal.begin(bt.Batch(a_driver(), tasks))
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, at=bt.timestamp())
    for name in tasks:
        journal.record(bt.Started((name,), name, 1))
        journal.record(bt.Finished(name, name, 1, result))
    journal.record(bt.Ended(at=bt.timestamp()))
    journal.close()
    return lab.journal


@pytest.fixture
def disk(lab, monkeypatch):
    """What comes to disk, in its order, and what the journal says: read when a run has ended."""
    log = lab.path / "disk"
    flush = bt.flush_descriptor
    write = bt.Journal._write

    def note_flush(fd, path):
        flush(fd, path)
        with log.open("a") as file:
            print(os.path.relpath(path, lab.path), file=file)

    def note_write(journal, data):
        write(journal, data)
        with log.open("a") as file:
            for line in data.splitlines():
                print(json.loads(line)["event"], file=file)

    monkeypatch.setattr(bt, "flush_descriptor", note_flush)
    monkeypatch.setattr(bt.Journal, "_write", note_write)
    return log


def test_the_plan_and_the_journal_s_name_are_on_disk_before_a_start(lab, disk):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    lines = disk.read_text().split()
    flushes = ["results/batch.jsonl", "results", "."]
    assert lines[: lines.index("start")] == ["batch", "task", *flushes]


def test_evidence_is_on_disk_before_the_journal_tells_of_it(lab, disk):
    lab.write("own.dot", DOT_ONE)
    lab.write("own.json", json.dumps({"graphs": [JSON_ONE]}))
    lab.prover('echo "theory proof" > "$OUT"; ' + ATTACK)
    lab.recipe(lemmas="one")
    evidence = ["proofs/t--one--fake.spthy", "traces/t--one--fake.json", "traces/t--one--fake.dot"]
    for directory in ("results", "from-cache"):
        disk.write_text("")
        lab.run("run recipe.json -o", directory, code=0)
        lines = disk.read_text().split()
        before = lines[: lines.index("finish")]
        assert {f"{directory}/{path}" for path in evidence} <= set(before)
    assert lab.finishes("from-cache")["t--one--fake"]["cached"]


def test_what_cannot_be_brought_to_disk_is_shown_to_nobody(written, monkeypatch):
    def refuse(fd):
        raise OSError(errno.EIO, "Input/output error")

    journal = bt.Journal(str(written))
    journal.load(pytest.fail)
    told = []
    journal.observers.append(told.append)
    journal.record(bt.Ended(at=bt.timestamp()))
    with monkeypatch.context() as broken:
        for name in ("fdatasync", "fsync"):
            broken.setattr(os, name, refuse, raising=False)
        with pytest.raises(bt.StorageError, match="batch.jsonl: can't be brought to disk"):
            journal.flush()
    # A second try would go well, though the lines may be lost.
    journal.close()
    assert told == []


def batch_of(journal):
    """What a journal tells, all of it without a warning."""
    batch, _ = bt.load_batch(str(journal), pytest.fail)
    return batch


def dated_directories(lab):
    return list(lab.path.glob("results_*"))


def change_lines(journal, change):
    """Let a function change the list of a journal's lines."""
    lines = journal.read_bytes().splitlines(keepends=True)
    change(lines)
    journal.write_bytes(b"".join(lines))


def runs_of(lab):
    """The lemmas that provers noted down in `runs`, sorted."""
    return sorted(lab.read("runs").split())


NOTE_RUNS = 'echo "$LEMMA" >> runs\n'


def half_done(lab, *unfinished):
    """A batch of the lemmas one, two and three whose driver died when some had not finished."""
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe()
    lab.run("run recipe.json --no-cache", code=0)
    ids = {f"t--{lemma}--fake" for lemma in unfinished}
    change_lines(lab.journal, lambda lines: take_ends(lines, ids))
    lab.write("runs", "")


def take_ends(lines, ids):
    """Take away that the batch ended, and that these tasks finished."""
    for line in list(lines):
        event = json.loads(line)
        is_finish = event["event"] == "finish"
        if event["event"] == "end" or (is_finish and event["id"] in ids):
            lines.remove(line)


TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


# --- What stands in it ----------------------------------------------------------------------------


def test_the_plan_stands_before_what_happens(lab):
    journal_of(lab)
    kinds = [event["event"] for event in lab.events()]
    assert kinds[:4] == ["batch", "task", "task", "task"]
    assert kinds[-1] == "end"


def test_every_event_tells_when_it_was(lab):
    journal_of(lab)
    for event in lab.events():
        assert TIMESTAMP.fullmatch(event["at"])


def test_a_task_event_tells_the_whole_plan(lab):
    journal_of(lab)
    one, two, _ = lab.events("task")
    assert one["limits"] == {"cores": 1, "memory_mb": 1024, "timeout_s": 300}
    assert one["theory"] == "t.spthy"
    assert one["prover"] == "fake"
    assert one["assumes"] == []
    assert re.fullmatch("[0-9a-f]{32}", one["key"])
    assert two["assumes"] == ["one"], "a reuse lemma before it is taken for granted"


def test_a_start_event_tells_which_process_it_was(lab):
    journal_of(lab)
    start = lab.events("start")[0]
    assert start["ids"] == ["t--one--fake"]
    assert start["job"] == "t--one--fake"
    assert start["attempt"] == 1
    assert start["pid"] > 0
    assert start["started"] > 0
    host, boot_id = bt.host_id()
    assert start["host"] == host
    assert start["boot_id"] == boot_id


def test_a_start_event_tells_the_command(lab):
    journal_of(lab)
    command = lab.events("start")[0]["command"]
    assert command[1:4] == ["+RTS", "-N1", "-RTS"]
    assert "--prove=one" in command
    for option in ("--output", "--output-json", "--output-dot"):
        (word,) = [word for word in command if word.startswith(f"{option}=")]
        assert word.startswith(f"{option}=/")


# --- A batch that goes on -------------------------------------------------------------------------


def test_a_stopped_batch_tells_what_it_has(lab):
    interrupted_batch(lab)
    statuses = [event["status"] for event in lab.events("finish")]
    assert statuses.count("completed") == 2
    assert "interrupted" in statuses
    assert (lab.results / "execution_report.json").is_file()


def test_a_stopped_batch_goes_on(lab):
    interrupted_batch(lab)
    done = lab.run("run recipe.json", code=0)
    assert "going on: 2 of 6 results hold" in done.stderr
    assert " ".join(runs_of(lab)) == "l0 l1 l2 l3 l4 l5", "each to its end exactly once"
    verdicts = [event["verdict"] for event in lab.finishes().values()]
    assert verdicts == ["verified"] * 6


def test_resume_needs_only_the_directory(lab):
    half_done(lab, "two")
    (lab.path / "recipe.json").unlink()
    done = lab.run("resume", str(lab.results), cwd="/", code=0)
    assert "going on: 2 of 3 results hold" in done.stderr
    assert runs_of(lab) == ["two"]


def test_resume_goes_on_with_the_directory_that_was_named(lab):
    """Not with a newer one of the same recipe beside it."""
    half_done(lab, "two")
    lab.run("run recipe.json --fresh --no-cache", code=0)
    lab.write("runs", "")
    done = lab.run("resume results --no-cache", code=0)
    assert "going on: 2 of 3 results hold" in done.stderr
    assert runs_of(lab) == ["two"]


def test_a_cache_named_to_resume_lies_where_the_user_is(lab):
    half_done(lab, "two")
    elsewhere = lab.path / "elsewhere"
    elsewhere.mkdir()
    lab.run("resume ../results --cache-dir kept", cwd=elsewhere, code=0)
    assert (elsewhere / "kept").is_dir()
    assert not (lab.path / "kept").exists()


def rename_lemma_three(lab):
    text = lab.read("t.spthy")
    lab.write("t.spthy", text.replace("lemma three:", "lemma new:"))


def test_what_changed_since_runs_again(lab):
    half_done(lab, "two")
    rename_lemma_three(lab)
    done = lab.run("run recipe.json --no-cache", code=0)
    assert "no longer planned, their results are kept: t--three--fake" in done.stderr
    assert runs_of(lab) == ["new", "one", "two"]


def test_the_report_is_of_what_is_planned_now(lab):
    half_done(lab, "two")
    rename_lemma_three(lab)
    lab.run("run recipe.json", code=0)
    report = json.loads(lab.read("results/execution_report.json"))
    shown = sorted(report["tasks"]["task"]["subtasks"])
    assert shown == ["t--new--fake", "t--one--fake", "t--two--fake"]


def test_a_comment_changes_nothing(lab):
    half_done(lab, "two")
    text = lab.read("t.spthy")
    lab.write("t.spthy", "/* a comment */ " + text)
    lab.run("run recipe.json --no-cache", code=0)
    assert runs_of(lab) == ["two"]


def test_outputs_of_an_earlier_attempt_are_kept(lab):
    half_done(lab, "two")
    log = lab.results / "logs" / "t--two--fake.err"
    log.write_text("earlier")
    lab.run("run recipe.json", code=0)
    assert lab.read("results/earlier/t--two--fake~1.err") == "earlier"
    assert log.read_text() == ""
    starts = [event for event in lab.events("start") if event["job"] == "t--two--fake"]
    assert [start["attempt"] for start in starts] == [1, 2]


def test_outputs_of_what_was_interrupted_are_kept(lab):
    interrupted_batch(lab, lemmas=4)
    interrupted = lab.events("finish")[-1]["id"]
    lab.run("run recipe.json", code=0)
    assert (lab.results / "earlier" / f"{interrupted}~1.err").is_file()


def test_result_files_are_what_the_journal_says_after_going_on(lab):
    half_done(lab, "two", "three")
    success = lab.results / "success"
    (success / "t--one--fake.json").unlink()
    (success / "t--three--fake.json").write_text("{}")
    lab.run("resume results -t t--two", code=0)
    assert sorted(os.listdir(success)) == ["t--one--fake.json", "t--two--fake.json"]


def test_a_result_file_of_an_attempt_that_counts_no_more_is_made_again(lab):
    """A driver was killed when it had written the second result to the journal only."""
    lab.prover("[ -e well ] || exit 3\n" + VERIFY)
    lab.recipe(lemmas="one")
    success = lab.results / "success" / "t--one--fake.json"
    lab.run("run recipe.json", code=3)
    lab.write("well", "")
    lab.run("run recipe.json", code=0)
    right = success.read_text()
    success.write_text("of an earlier attempt")
    change_lines(lab.journal, lambda lines: lines.pop())
    lab.run("run recipe.json", code=0)
    assert success.read_text() == right


def test_larger_limits_run_again_what_failed_by_limits(lab):
    hang = "[ $LEMMA = three ] && [ ! -e quick ] && exec sleep 600\n"
    lab.prover(hang + NOTE_RUNS + VERIFY)
    little_time = {"name": "three", "resources": {"timeout": 0.1}}
    lab.recipe(lemmas=[{"name": "*"}, little_time])
    lab.run("run recipe.json", code=3)
    assert lab.finishes()["t--three--fake"]["status"] == "timeout"
    lab.write("quick", "")
    lab.recipe()
    done = lab.run("run recipe.json", code=0)
    assert "going on: 2 of 3 results hold" in done.stderr
    assert runs_of(lab) == ["one", "three", "two"]


PARSE_ERROR = bt.Result(bt.Status.FAILED, refused=True)  # a parse error
TIMED_OUT = bt.Result(bt.Status.TIMEOUT)
# Cores, MB and seconds.
SMALLER_LIMITS = ["2 1024 60", "1 1024 60", "2 1023 60", "2 1024 59"]
LARGER_LIMITS = ["3 1024 60", "2 1025 60", "2 1024 61", "1 512 61"]


def under_limits(plan, words):
    """A plan with other limits."""
    limits = bt.Limits(*map(int, words.split()))
    return dataclasses.replace(plan, limits=limits)


def timed_out():
    """The record of a task that ran into its time limit, on this host."""
    plan = under_limits(a_plan(), "2 1024 60")
    return bt.Record(TIMED_OUT, plan, host="here")


@pytest.mark.parametrize("limits", SMALLER_LIMITS)
def test_a_timeout_holds_under_smaller_limits(limits):
    old = timed_out()
    assert old.holds(under_limits(old.plan, limits), "here")


@pytest.mark.parametrize("limits", LARGER_LIMITS)
def test_a_timeout_holds_under_no_larger_limit(limits):
    old = timed_out()
    assert not old.holds(under_limits(old.plan, limits), "here")


# How a task ended, and what that is to: the same plan, one with larger limits, the same on another
# host, one of another key.
STANDINGS = """
completed    : holds : holds : holds : kept
not_needed   : holds : holds : holds : kept
superseded   : holds : holds : holds : lost
implied      : holds : holds : holds : lost
refused      : holds : holds : holds : kept
timeout      : holds : kept  : kept  : kept
memory_limit : holds : kept  : kept  : kept
failed       : shown : shown : shown : lost
interrupted  : shown : shown : shown : lost
"""


@pytest.mark.parametrize("ended, same, larger, elsewhere, other", rows(STANDINGS))
def test_what_a_result_is_to_a_plan(ended, same, larger, elsewhere, other):
    result = PARSE_ERROR if ended == "refused" else bt.Result(bt.Status(ended))
    if ended in ("superseded", "implied"):
        result = dataclasses.replace(result, settled_by="faster")
    record = bt.Record(result, a_plan(), host="here")
    more = under_limits(a_plan(), "1 1024 61")
    plans = (a_plan(), more, a_plan(key="other"))
    found = [record.standing(plan, "here") for plan in plans]
    found.insert(2, record.standing(a_plan(), "there"))
    assert [standing.value for standing in found] == [same, larger, elsewhere, other]


def test_resuming_a_finished_batch_runs_nothing(lab):
    journal = journal_of(lab)
    before = journal.read_bytes()
    done = lab.run("resume results", code=0)
    assert "nothing to do: 3 results" in done.stderr
    assert "3 verified" in done.stdout
    assert journal.read_bytes() == before
    assert not dated_directories(lab)


# --- One recipe, one results directory ------------------------------------------------------------


def times_below(directory):
    """When each file and folder was last changed."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def proven(lab, *args, code=0):
    """Run the lab's recipe without a cache; the lemmas that were proven for it."""
    lab.write("runs", "")
    lab.run("run recipe.json --no-cache", *args, code=code)
    return " ".join(runs_of(lab))


@pytest.fixture
def proven_lab(lab):
    """A lab whose batch of the lemmas one, two and three has proven_lab, all of them verified."""
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe()
    assert proven(lab) == "one three two"
    return lab


def told_by_status(lab, results="results"):
    """What `status` says of each task, by its lemma: the words of its row."""
    rows = {}
    for line in lab.run("status", results, code=0).stdout.splitlines():
        row = re.fullmatch(r"(\w+) +t--(\w+)--fake +(.*)", line)
        if row:
            rows[row[2]] = " ".join([row[1], *row[3].split()])
    return rows


def names_in(folder):
    return sorted(os.listdir(folder))


def test_a_finished_batch_has_nothing_to_do(proven_lab):
    before = times_below(proven_lab.results)
    done = proven_lab.run("run recipe.json", code=0)
    assert "nothing to do: 3 results in results still hold" in done.stderr
    assert "3 tasks: 3 verified" in done.stdout
    assert times_below(proven_lab.results) == before
    assert not dated_directories(proven_lab)


@pytest.fixture
def only_read(monkeypatch):
    """Journals can be read and not be written, also by root."""
    open_no_link = bt.open_no_link

    def open_to_read(path, flags, *args):
        if os.fspath(path).endswith("batch.jsonl") and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open_no_link(path, flags, *args)

    def begin():
        monkeypatch.setattr(bt, "open_no_link", open_to_read)
        monkeypatch.setattr(bt.os, "access", lambda path, mode: mode != os.W_OK)

    return begin


@pytest.mark.parametrize("command", ["run recipe.json", "resume results"])
def test_results_that_can_only_be_read_are_shown_where_nothing_is_left(
    proven_lab, only_read, command
):
    before = times_below(proven_lab.results)
    only_read()
    done = proven_lab.run(*command.split(), code=0)
    assert "nothing to do: 3 results in" in done.stderr
    assert "3 tasks: 3 verified" in done.stdout
    assert times_below(proven_lab.results) == before


def test_results_that_can_only_be_read_are_an_error_where_something_is_left(proven_lab, only_read):
    only_read()
    done = proven_lab.run("run recipe.json --again", code=2)
    assert "can't be written: Permission denied" in done.stderr


def test_proofs_of_results_that_can_only_be_read_are_not_checked_anew(lab, only_read):
    lab.prover(VERIFY)
    lab.recipe(config={"recheck_with": "fake"})
    lab.run("run recipe.json")
    before = times_below(lab.results)
    only_read()
    done = lab.run("run recipe.json", code=0)
    assert "nothing to do" in done.stderr
    assert "the proofs are not checked anew: results can only be read" in done.stderr
    assert times_below(lab.results) == before


def test_nothing_to_do_has_the_exit_code_of_the_batch(lab):
    lab.prover("summary '  one (all-traces): analysis incomplete (1 steps)'")
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=3)
    done = lab.run("run recipe.json", code=3)
    assert "nothing to do" in done.stderr


def test_a_new_expectation_is_judged_without_a_proof(proven_lab):
    proven_lab.recipe(expect={"two": "falsified"})
    assert proven(proven_lab, code=1) == ""
    proven_lab.recipe()
    assert proven(proven_lab, code=0) == ""


def test_an_edited_lemma_costs_one_proof_and_one_load(lab):
    note = 'echo "${LEMMA:-load}" >> runs\n'
    lab.prover(note + '[ -n "$LEMMA" ] || LEMMA=one\n' + VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    lab.write("runs", "")
    edit_theory(lab, 'exists-trace "Ex k #i.', 'exists-trace "Ex k j #i.')
    lab.run("run recipe.json", code=0)
    assert runs_of(lab) == ["load", "two"]


def test_an_edit_that_is_undone_brings_the_old_results_back(proven_lab):
    edit_theory(proven_lab, "rule A:", "rule B:")
    assert proven(proven_lab, "-t", "t--two") == "two"
    edit_theory(proven_lab, "rule B:", "rule A:")
    assert proven(proven_lab) == ""
    assert told_by_status(proven_lab)["three"].startswith("verified 7")


def test_what_has_not_run_since_an_edit_is_shown_as_it_is(proven_lab):
    edit_theory(proven_lab, "rule A:", "rule B:")
    proven(proven_lab, "-t", "t--two")
    rows = told_by_status(proven_lab)
    assert rows["one"] == "pending was verified (an older text)"
    assert rows["two"].startswith("verified 7")
    done = proven_lab.run("status results")
    assert "ended, 2 tasks not run" in done.stdout


def test_no_page_shows_an_older_text_as_today_s_while_the_first_proof_runs(proven_lab):
    # The prover takes copies of what others would see at that time.
    look = "cp results/summary.html seen.html; ls results/success results/proofs > seen\n"
    proven_lab.prover(look + NOTE_RUNS + VERIFY)
    proven(proven_lab, "-t", "t--one")
    page = proven_lab.read("seen.html")
    assert page.count("was verified (an older prover)") >= 3
    assert "fake" not in proven_lab.read("seen")


def test_an_entry_that_comes_back_has_its_results(proven_lab):
    proven_lab.recipe(lemmas="one")
    done = proven_lab.run("run recipe.json", code=0)
    kept = "no longer planned, their results are kept: t--two--fake, t--three--fake"
    assert kept in done.stderr
    assert names_in(proven_lab.results / "proofs") == ["t--one--fake.spthy"]
    assert names_in(proven_lab.results / "success") == ["t--one--fake.json"]
    proven_lab.recipe()
    assert proven(proven_lab) == ""
    assert len(names_in(proven_lab.results / "proofs")) == 3
    assert len(names_in(proven_lab.results / "success")) == 3


def test_the_other_tasks_keep_the_results_of_an_older_prover(proven_lab):
    script = proven_lab.read("fake.sh")
    proven_lab.write("fake.sh", script + "# new\n", 0o755)
    assert proven(proven_lab, "-t", "t--one") == "one"
    rows = told_by_status(proven_lab)
    assert rows["one"].startswith("verified 7")
    assert rows["two"] == "pending was verified (an older prover)"
    assert proven(proven_lab) == "three two"


def test_other_options_are_told_from_an_older_text(proven_lab):
    proven_lab.recipe(tamarin_options=["--bound=5"])
    proven(proven_lab, "-t", "t--one")
    assert told_by_status(proven_lab)["two"] == "pending was verified (other options)"


def limited(lab, timeout):
    """Let the lab's prover hang in lemma two, under a time limit of some seconds."""
    lab.prover(NOTE_RUNS + "[ $LEMMA = two ] && exec sleep 600\n" + VERIFY)
    lab.recipe(lemmas="two", resources={"timeout": timeout})


def test_a_limit_that_was_met_stands_under_smaller_ones_as_what_it_was(lab):
    limited(lab, 0.5)
    assert proven(lab, code=3) == "two"
    limited(lab, 0.2)
    assert proven(lab, code=3) == ""
    done = lab.run("report results -f csv")
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert row["status"] == "timeout"
    assert row["timeout_s"] == "0.5"


def test_a_limit_that_was_met_is_tried_again_under_larger_ones(lab):
    limited(lab, 0.2)
    assert proven(lab, code=3) == "two"
    limited(lab, 0.3)
    assert proven(lab, code=3) == "two"


def test_what_crashed_runs_again_by_itself(lab):
    lab.prover(NOTE_RUNS + "[ -e well ] || kill -SEGV $$\n" + VERIFY)
    lab.recipe(lemmas="one")
    assert proven(lab, code=3) == "one"
    lab.write("well", "")
    assert proven(lab, code=0) == "one"


def test_a_crash_is_shown_until_another_attempt_is_wanted(lab):
    lab.prover(NOTE_RUNS + "[ $LEMMA != two ] || kill -SEGV $$\n" + VERIFY)
    lab.recipe()
    proven(lab, code=3)
    proven(lab, "-t", "t--one")
    assert told_by_status(lab)["two"].startswith("failed")


def test_a_text_that_was_refused_does_not_run_again(lab):
    refuse = "echo '\"t.spthy\" (line 1, column 1):' >&2; echo unexpected >&2; exit 1\n"
    lab.prover(NOTE_RUNS + refuse)
    lab.recipe(lemmas="one")
    assert proven(lab, code=3) == "one"
    assert proven(lab, code=3) == ""


def test_again_proves_what_holds(proven_lab):
    assert proven(proven_lab, "--again", "-t", "t--two") == "two"
    assert proven(proven_lab) == ""
    assert proven(proven_lab, "--again") == "one three two"


def test_again_proves_what_comes_back_into_the_recipe(proven_lab):
    one, two = {"name": "one"}, {"name": "two"}
    proven_lab.recipe(lemmas=[one, two])
    proven(proven_lab)
    proven_lab.recipe(lemmas=[one])
    proven(proven_lab)
    proven_lab.recipe(lemmas=[one, two])
    assert proven(proven_lab, "--again") == "one two"


def test_again_asks_no_cache(lab):
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe(lemmas="one")
    for _ in range(2):
        lab.run("run recipe.json --again", code=0)
    assert runs_of(lab) == ["one", "one"]


def test_tasks_stand_in_the_order_of_the_plan_whenever_they_came(lab):
    """In the journal alone, too, which has those that came back behind the others."""
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    edited = THEORY.replace("lemma one", "lemma first", 1)
    for text in (edited, THEORY):
        lab.write("t.spthy", text)
        lab.run("run recipe.json -t *--two--*")
    lab.run("run recipe.json", code=0)
    batch = bt.load_results(str(lab.results), pytest.fail)
    lemmas = [task.plan.lemma for task in batch.tasks.values()]
    assert lemmas == ["one", "two", "three"]


def test_a_result_comes_back_when_proving_it_again_was_broken_off(proven_lab):
    proven_lab.prover(f"{NOTE_RUNS}[ -e well ] || {{ kill -KILL $PPID; sleep 600; }}\n{VERIFY}")
    proven_lab.write("well", "")
    assert proven(proven_lab) == "one three two"
    (proven_lab.path / "well").unlink()
    process = proven_lab.start("run recipe.json --again -t t--two")
    end_of(process)
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: lock_is_free(proven_lab.journal))
    assert proven(proven_lab) == ""
    assert proven_lab.read("results/proofs/t--two--fake.spthy") == "theory proof\n"


def test_evidence_goes_and_comes_with_its_result(proven_lab):
    proof = proven_lab.results / "proofs" / "t--one--fake.spthy"
    proof.write_text("of the first text")
    edit_theory(proven_lab, "rule A:", "rule B:")
    proven(proven_lab)
    assert proof.read_text() == "theory proof\n"
    earlier = proven_lab.results / "earlier"
    assert (earlier / "t--one--fake~1.spthy").read_text() == "of the first text"
    edit_theory(proven_lab, "rule B:", "rule A:")
    assert proven(proven_lab) == ""
    assert proof.read_text() == "of the first text"
    assert (earlier / "t--one--fake~2.spthy").read_text() == "theory proof\n"


@pytest.mark.parametrize("letters", ["ABCABA", "ABABAB"])
def test_evidence_comes_back_however_often_its_result_does(lab, letters):
    text = "rule $(sed -n 's/^rule \\(.\\).*/\\1/p' t.spthy)"
    lab.prover(f'echo "{text}" > "$OUT"\nsummary "  one (all-traces): verified (7 steps)"\n')
    lab.recipe(lemmas="one")
    for letter in letters:
        lab.write("t.spthy", THEORY.replace("rule A:", f"rule {letter}:"))
        lab.run("run recipe.json --no-cache", code=0)
        proof = lab.results / "proofs" / "t--one--fake.spthy"
        assert proof.read_text() == f"rule {letter}\n"
    assert len(lab.events("start")) == len(set(letters))


@needs_linux
def test_evidence_comes_back_however_often_something_else_was_killed(proven_lab):
    hang = "grep -q 'rule A:' t.spthy || exec sleep 600\n"
    proven_lab.prover(hang + VERIFY)
    proven_lab.recipe(lemmas="one")
    proven(proven_lab)
    proof = proven_lab.results / "proofs" / "t--one--fake.spthy"
    proof.write_text("of the first text")
    for _ in range(2):
        edit_theory(proven_lab, "rule A:", "rule B:")
        starts = len(proven_lab.events("start"))
        process = proven_lab.start("run recipe.json")
        wait_for(lambda starts=starts: len(proven_lab.events("start")) > starts)
        process.kill()
        end_of(process)
        wait_for(lambda: lock_is_free(proven_lab.journal))
        edit_theory(proven_lab, "rule B:", "rule A:")
        assert proven(proven_lab) == ""
        assert proof.read_text() == "of the first text"


def test_nothing_in_earlier_is_written_over(proven_lab):
    proven_lab.write("results/earlier/t--one--fake~1.spthy", "of an older program")
    proof = proven_lab.results / "proofs" / "t--one--fake.spthy"
    for text in ("first", "second"):
        proof.write_text(text)
        proven(proven_lab, "--again", "-t", "t--one")
    kept = {path.read_text() for path in (proven_lab.results / "earlier").glob("t--one*.spthy")}
    assert kept == {"of an older program", "first", "second"}


def test_what_comes_back_from_the_cache_is_not_copied_twice(lab):
    lab.prover('[ -n "$LEMMA" ] || LEMMA=one\n' + VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    edit_theory(lab, 'exists-trace "Ex k #i.', 'exists-trace "Ex k j #i.')
    lab.run("run recipe.json", code=0)
    kept = {name.split("~")[0] for name in names_in(lab.results / "earlier")}
    assert kept == {"t--two--fake"}


def test_all_inputs_are_kept_as_they_were_planned(lab):
    lab.write("part.inc", 'lemma four: "All k #i. A(k) @ i ==> T"\n')
    edit_theory(lab, "end\n", '#include "part.inc"\nheuristic: o "oracle"\nend\n')
    lab.write("oracle", "#!/bin/sh\n", 0o755)
    lab.prover(VERIFY)
    lab.recipe(lemmas="four")
    lab.run("run recipe.json", code=0)
    inputs = lab.results / "inputs"
    for name in ("t.spthy", "part.inc", "oracle"):
        data = (lab.path / name).read_bytes()
        assert (inputs / bt.sha256(data)).read_bytes() == data
    assert len(names_in(inputs)) == 3


def test_an_edit_after_the_end_is_told_by_status_report_and_audit(proven_lab):
    edit_theory(proven_lab, "rule A:", "rule B:")
    done = proven_lab.run("status results", code=0)
    assert "3 results on an older text than lies there now" in done.stderr
    assert told_by_status(proven_lab)["one"].endswith("on an older text")
    page = proven_lab.run("report results -f md", code=0).stdout
    assert page.count("| verified, on an older text |") == 3
    report = proven_lab.run("report results -f json").stdout
    for row in json.loads(report)["tasks"]:
        assert row["on_older_text"] is True
    assert proven_lab.run("audit results", code=1).stdout.count("the theory has changed since") == 1


def test_a_comment_or_a_new_date_makes_nothing_older(proven_lab):
    edit_theory(proven_lab, "rule A:", "/* comment */ rule A:")
    os.utime(proven_lab.path / "t.spthy")
    done = proven_lab.run("status results", code=0)
    assert done.stderr == ""
    assert told_by_status(proven_lab)["one"].endswith("MB")


@pytest.mark.parametrize("oracle", ["oracle", "-oracle"])
def test_another_oracle_makes_results_older(lab, oracle):
    lab.write(oracle, "#!/bin/sh\n", 0o755)
    edit_theory(lab, "end\n", f'heuristic: o "{oracle}"\nend\n')
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    lab.write(oracle, "#!/bin/sh\nexit 0\n", 0o755)
    assert told_by_status(lab)["one"].endswith("on an older text")


def test_a_vanished_theory_is_said_once(proven_lab):
    (proven_lab.path / "t.spthy").unlink()
    done = proven_lab.run("report results", code=0)
    assert done.stderr.count("not there any more") == 1
    assert "t.spthy" in done.stderr


def test_a_fresh_batch_is_the_one_to_go_on_with(proven_lab):
    proven_lab.run("run recipe.json --fresh", code=0)
    (newer,) = dated_directories(proven_lab)
    done = proven_lab.run("run recipe.json", code=0)
    assert f"nothing to do: 3 results in {newer.name}" in done.stderr
    for command in ("status", "report"):
        done = proven_lab.run(command, "results", code=0)
        assert f"newer results of this recipe are in {newer.name}" in done.stderr
        told = proven_lab.run(command, newer.name, code=0)
        assert "newer results" not in told.stderr


def test_of_one_second_the_tenth_directory_is_the_newest(tmp_path):
    for ending in ("", "_2", "_10"):
        directory = tmp_path / f"results_2026-01-02_03-04-05{ending}"
        directory.mkdir()
        (directory / "batch.jsonl").touch()
    (tmp_path / "results_2026-01-02_03-04-05_10.old").mkdir()
    siblings = bt.dated_siblings(str(tmp_path / "results"))
    names = map(os.path.basename, siblings)
    assert [name[27:] for name in names] == ["", "_2", "_10"]


def test_a_directory_that_another_recipe_took_at_the_same_moment_is_left_alone(
    proven_lab, monkeypatch
):
    proven_lab.recipe(name="other.json", lemmas="one")
    before = proven_lab.journal.read_bytes()
    names_in_results = [[]]  # it was empty when this run looked
    listdir = os.listdir

    def late(path="."):
        return names_in_results.pop() if path == "results" and names_in_results else listdir(path)

    monkeypatch.setattr(os, "listdir", late)
    proven_lab.run("run other.json", code=0)
    assert proven_lab.journal.read_bytes() == before
    assert len(dated_directories(proven_lab)) == 1


def test_another_recipe_begins_beside(proven_lab):
    proven_lab.recipe(name="other.json", lemmas="one")
    done = proven_lab.run("run other.json", code=0)
    assert "another recipe's batch is there already" in done.stderr
    assert len(dated_directories(proven_lab)) == 1


def test_a_renamed_recipe_goes_on_from_the_same_place(proven_lab):
    (proven_lab.path / "recipe.json").rename(proven_lab.path / "renamed.json")
    done = proven_lab.run("run renamed.json", code=0)
    assert "nothing to do" in done.stderr


# --- Where it stands ------------------------------------------------------------------------------


def test_a_foreign_directory_is_left_alone(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.write("mine/notes.txt", "mine")
    done = lab.run("run recipe.json -o mine", code=0)
    assert "mine_" in done.stderr
    assert os.listdir(lab.path / "mine") == ["notes.txt"]


def test_a_foreign_journal_is_left_alone(lab):
    lab.prover(VERIFY)
    lab.recipe()
    foreign = '{"custom_id": 1}\n{"custom_id": 2}'
    lab.write("results/batch.jsonl", foreign)
    lab.run("run recipe.json", code=0)
    assert lab.journal.read_text() == foreign
    assert len(dated_directories(lab)) == 1


def test_fresh_begins_anew_beside_an_unfinished_batch(lab):
    half_done(lab, "two")
    before = lab.journal.read_bytes()
    lab.run("run recipe.json --fresh", code=0)
    assert lab.journal.read_bytes() == before
    assert len(dated_directories(lab)) == 1


def unfinished_in_a_dated_directory(lab):
    """Interrupt a batch, one of three tasks done, that had to begin beside a foreign file."""
    lab.prover("[ $LEMMA = one ] || [ -e go ] || exec sleep 600; " + VERIFY)
    lab.recipe()
    lab.write("results/mine.txt", "")
    process = lab.start("run recipe.json")
    wait_for(lambda: list(lab.path.glob("results_*/success/*")))
    process.terminate()
    end_of(process)
    lab.write("go", "")


def test_an_unfinished_batch_in_a_dated_directory_goes_on(lab):
    unfinished_in_a_dated_directory(lab)
    done = lab.run("run recipe.json", code=0)
    assert "going on: 1 of 3 results hold" in done.stderr
    assert len(dated_directories(lab)) == 1


def test_who_names_a_directory_without_results_is_told_the_newest_beside_it(
    lab, monkeypatch, capsys
):
    lab.write("results/mine.txt", "")
    lab.write("results_2001-02-03_04-05-06/batch.jsonl", "")
    lab.write("results_2001-02-03_04-05-07/batch.jsonl", "")
    monkeypatch.chdir(lab.path)
    assert bt.main(["status", "results"]) == 2
    assert "the newest beside it: results_2001-02-03_04-05-07" in capsys.readouterr().err


def test_a_second_run_at_once_is_refused(lab):
    lab.prover("sleep 600; " + VERIFY)
    lab.recipe()
    first = lab.start("run recipe.json")
    wait_for(lambda: lab.events("start"))
    done = lab.run("run recipe.json", code=2)
    assert f"process {first.pid} on" in done.stderr
    first.send_signal(signal.SIGINT)
    end_of(first)
    assert first.returncode == 130


def test_a_mistyped_alias_of_a_checking_prover_gets_a_suggestion(lab):
    journal_of(lab)
    done = lab.run("recheck results --prover fkae", code=2)
    assert "none of the recipe's provers (fake) (did you mean 'fake'?)" in done.stderr


def test_ids_that_would_leave_the_results_are_refused(lab):
    journal = journal_of(lab)
    text = journal.read_text()
    journal.write_text(text.replace('"id":"t--one--fake"', '"id":"../../evil"'))
    done = lab.run("recheck results --prover fake", code=2)
    assert "can't name files" in done.stderr
    assert not list(lab.path.parent.glob("evil*"))


def test_a_results_directory_may_be_a_link_with_an_odd_name(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    (lab.path / "real").mkdir()
    (lab.path / "li nk \N{SNOWMAN}").symlink_to("real")
    lab.run("run recipe.json -o", "li nk \N{SNOWMAN}", code=0)
    assert (lab.path / "real" / "batch.jsonl").is_file()


@pytest.mark.parametrize("name", [".", "./", "../here"])
def test_beside_the_working_directory_lies_its_dated_sibling(lab, name):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one", theory_file="../t.spthy")
    lab.write("here/note", "not ours")
    for _ in range(2):
        lab.run("run ../recipe.json -o", name, cwd=lab.path / "here", code=0)
    assert names_in(lab.path / "here") == ["note"]
    (sibling,) = lab.path.glob("here_*")
    assert (sibling / "batch.jsonl").is_file()


def test_without_a_home_no_directory_is_made_for_it(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"output_directory": "~nobody-at-all/results"})
    done = lab.run("run recipe.json", code=2)
    assert "~nobody-at-all/results: no home directory is known" in done.stderr
    assert not list(lab.path.glob("~*"))


def test_without_a_home_a_run_has_no_cache(lab, run_here, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    told = run_here("cache info", code=2)
    assert "no home directory" in told.err
    lab.prover(VERIFY)
    lab.recipe()
    monkeypatch.chdir(lab.path)
    done = lab.run("run recipe.json", code=0)
    assert "no cache: ~/.cache" in done.stderr
    assert not list(lab.path.glob("~*"))


def test_a_journal_that_is_a_link_is_not_written_to(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json -o other", code=0)
    before = (lab.path / "other/batch.jsonl").read_bytes()
    lab.results.mkdir()
    lab.journal.symlink_to("../other/batch.jsonl")
    done = lab.run("run recipe.json --again", code=2)
    assert "batch.jsonl: the results directory can't be written" in done.stderr
    assert (lab.path / "other/batch.jsonl").read_bytes() == before


@pytest.mark.parametrize("command", ["status", "report", "audit"])
def test_results_that_cannot_be_reached_are_not_called_missing(lab, run_here, command):
    (lab.path / "results").symlink_to("results")
    told = run_here(command, "results", code=2)
    assert "results: can't be read" in told.err


def test_a_file_is_no_results_directory(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.write("file", "")
    done = lab.run("run recipe.json -o file", code=2)
    assert "file: is a file: -o takes the results directory" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_one_error(lab):
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "closed").mkdir(mode=0o555)
    done = lab.run("run recipe.json -o closed/results", code=2)
    assert "can't be written" in done.stderr
    assert "`run RECIPE -o DIR` takes another one" in done.stderr


# --- Damage ---------------------------------------------------------------------------------------


def torn_tail(lines):
    lines[-1] = lines[-1][:40]


def torn_result(lines):
    lines.pop()
    lines[-1] = lines[-1][:40]


def unwritten_block(lines):
    lines[1] = b"\0" * 4096 + lines[1]


def line_twice(lines):
    lines.append(lines[-1])


def event_of_a_later_version(lines):
    lines.insert(2, b'{"event": "from_the_future", "id": 1}\n')


def fields_of_a_later_version(lines):
    for number, line in enumerate(lines):
        lines[number] = line.replace(b'"event"', b'"added":[1],"event"', 1)


READABLE = [torn_tail, unwritten_block, line_twice]
LATER_VERSIONS = [event_of_a_later_version, fields_of_a_later_version]


@pytest.mark.parametrize("damage", [*READABLE, *LATER_VERSIONS])
def test_what_may_happen_to_a_journal_is_read_in_silence(written, damage):
    change_lines(written, damage)
    batch = batch_of(written)
    assert list(batch.tasks) == ["l0", "l1", "l2"]
    assert batch.count(bt.Status.COMPLETED) == 3


def test_a_torn_result_is_none(written):
    change_lines(written, torn_result)
    batch = batch_of(written)
    assert batch.count(bt.Status.COMPLETED) == 2


BAD_LINES = [
    b"rubbish",
    b"[1]",
    b'{"no": 1}',
    b'{"event":"finish","id":"nobody","status":"completed"}',
    b'{"event":"finish","id":"l0","status":"fine"}',
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_line_that_cannot_be_used_is_skipped_and_told(written, line):
    change_lines(written, lambda lines: lines.insert(4, line + b"\n"))
    warnings = []
    batch, _ = bt.load_batch(str(written), warnings.append)
    (warning,) = warnings
    assert warning.startswith(f"{written}:5: ")
    assert batch.count(bt.Status.COMPLETED) == 3


WRONG_FIELDS = [
    '{"peak_mb": "x"}',
    '{"wall_s": []}',
    '{"stderr_tail": []}',
    '{"warnings": 1}',
    '{"steps": "2"}',
    '{"at": {}}',
    pytest.param('{"wall_s": 1' + "0" * 400 + "}", id="too large for a float"),
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS)
def test_a_field_of_a_wrong_kind_makes_its_line_useless(lab, written, wrong):
    event = lab.events("finish")[0]
    event.update(json.loads(wrong))
    with written.open("a") as file:
        file.write(json.dumps(event) + "\n")
    warnings = []
    bt.load_batch(str(written), warnings.append)
    (warning,) = warnings
    assert "is skipped" in warning


READERS = """
status pipes
report pipes
resume pipes
recheck pipes --prover sh
run recipe.json -o pipes
run pipes/pipe
audit t.spthy --expect pipes/pipe
lemmas pipes/pipe
"""


@pytest.mark.parametrize("command", READERS.strip().splitlines())
def test_nobody_waits_for_a_pipe_that_nobody_writes_to(lab, monkeypatch, capsys, command):
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "pipes").mkdir()
    for name in ("batch.jsonl", "pipe"):
        os.mkfifo(lab.path / "pipes" / name)
    monkeypatch.chdir(lab.path)
    assert bt.main(command.split()) == 2
    assert "not a regular file" in capsys.readouterr().err


def test_what_a_shell_makes_of_a_command_is_read(lab):
    lab.prover(VERIFY)
    lab.recipe()
    run = " ".join(lab.command("run"))
    done = subprocess.run(
        ["bash", "-c", f"{run} <(cat recipe.json) -o results"],
        cwd=lab.path,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("command", ["status results", "report results -f md"])
def test_who_reads_a_damaged_journal_is_told(lab, written, monkeypatch, capsys, command):
    with written.open("a") as file:
        file.write("rubbish\n")
    monkeypatch.chdir(lab.path)
    assert bt.main(command.split()) == 0
    assert "is skipped" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["NaN", "-Infinity"])
def test_a_line_with_what_is_no_json_number_is_skipped(written, word):
    with written.open("a") as file:
        file.write(f'{{"event": "batch", "recipe_file": "r.json", "recipe": {{"x": {word}}}}}\n')
    told = []
    batch, _ = bt.load_batch(str(written), told.append)
    assert batch.header.recipe == {}
    assert f"{word} is no JSON number" in told[0]


def another_prover(text):
    return text.replace('"prover":"fake"', '"prover":"another"', 1)


def an_id_with_a_nul(text):
    return text.replace('"id":"l0"', '"id":"l0\\u0000"', 1)


def an_unknown_signal(text):
    return text.replace('"signal":0', '"signal":999')


NONSENSE = [another_prover, an_id_with_a_nul, an_unknown_signal]


@pytest.fixture(params=NONSENSE)
def nonsense(request, lab, written, monkeypatch):
    """A journal of which some line makes no sense, in `results` of the current directory."""
    text = written.read_text()
    changed = request.param(text)
    assert changed != text
    written.write_text(changed)
    monkeypatch.chdir(lab.path)


def test_a_journal_that_makes_no_sense_is_shown_as_far_as_it_does(nonsense, capsys):
    assert bt.main(["status", "results"]) == 0
    done = capsys.readouterr()
    assert re.search("[23] verified|stopped by SIG999", done.out)


@pytest.mark.parametrize("form", bt.REPORTS)
def test_reports_of_a_journal_that_makes_no_sense(nonsense, capsys, form):
    assert bt.main(["report", "results", "-f", form]) == 0
    assert capsys.readouterr().out


def test_pages_of_a_journal_that_makes_no_sense(nonsense):
    assert bt.main(["report", "results", "--rebuild"]) == 0
    assert Path("results/summary.html").is_file()


def test_an_audit_of_a_journal_that_makes_no_sense_has_an_end(nonsense):
    assert bt.main(["audit", "results"]) in (0, 1, 3)


def test_a_journal_with_a_torn_line_is_gone_on_with(lab):
    half_done(lab, "two")
    with lab.journal.open("a") as file:
        file.write('{"event":"finish","id":"t--tw')
    done = lab.run("run recipe.json", code=0)
    assert "going on: 2 of 3 results hold" in done.stderr
    assert '"t--tw{' not in lab.journal.read_text()
    assert len(lab.finishes()) == 3


def test_an_empty_journal_is_begun(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.write("results/batch.jsonl", "")
    lab.run("run recipe.json", code=0)
    assert len(lab.finishes()) == 3


# --- A full disk ----------------------------------------------------------------------------------


def test_what_does_not_go_in_whole_is_taken_out_again(written, monkeypatch):
    journal = bt.Journal(str(written))
    before = written.read_bytes()
    write = os.write
    monkeypatch.setattr(bt.os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(bt.StorageError, match="make room"):
        journal.record(bt.Ended(at=bt.timestamp()))
    monkeypatch.undo()
    os.close(journal.fd)
    assert written.read_bytes() == before


def stopped_by_a_full_disk(lab):
    """A batch of ten tasks, the disk full when about half of them had finished; its last words.

    A limit on the size of files stands for the full disk.
    """
    lab.write("t.spthy", many_lemmas(10))
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json -o resultz --cache-dir another", code=0)
    journal = (lab.path / "resultz" / "batch.jsonl").read_bytes()
    # Up to the middle one of the lines that tell how a task ended.
    half = journal.split(b'"event":"finish"')[:6]
    size = len(b'"event":"finish"'.join(half))

    def limit_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return lab.run_script("run recipe.json", code=2, preexec_fn=limit_files).stderr


def test_a_disk_that_is_full_in_the_middle_is_one_error(lab):
    told = stopped_by_a_full_disk(lab)
    assert told.count("error:") == 1
    assert "batch.jsonl: the journal can't be written" in told
    assert lab.journal.read_bytes().endswith(b"\n")


def test_a_batch_goes_on_when_there_is_room_again(lab):
    stopped_by_a_full_disk(lab)
    # A short line, of an interrupted one, may still have gone in.
    finished = len(final_results(lab.journal))
    assert 0 < finished < 10
    done = lab.run("run recipe.json", code=0)
    assert f"going on: {finished} of 10 results hold" in done.stderr
    assert len(lab.finishes()) == 10


@needs_linux
def test_output_that_cannot_be_written_is_one_clear_error(lab):
    with open("/dev/full", "wb") as full:
        done = run_into(lab, full, "lemmas", "t.spthy")
    problem = "No space left on device: make room, then give the same command again"
    assert done.stderr == f"error: standard output: {problem}\n"
    assert done.returncode == 2


@needs_linux
def test_a_table_that_cannot_be_written_changes_no_exit_code(lab):
    lab.prover(VERIFY)
    lab.recipe(expect="falsified")
    with open("/dev/full", "wb") as full:
        done = run_into(lab, full, "run", "recipe.json")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("warning: standard output: No space left on device: ")
    assert "`batch_tamarin.py status results` shows the results" in last
    assert done.returncode == 1
    assert lab.events()[-1]["event"] == "end"


def run_into(lab, stdout, *args):
    """Run the program as users do, its stdout somewhere; the finished process."""
    environment = dict(os.environ)
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        lab.command(*args),
        cwd=lab.path,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=RUN_S,
    )


@needs_linux
@pytest.mark.parametrize("what", ["_write", "_sync"])
def test_a_journal_that_cannot_be_written_stops_what_runs(lab, monkeypatch, what):
    """Nobody waits for hours for a proof whose result has no place any more."""
    kept = getattr(bt.Journal, what)

    def write(journal, *data):
        if (lab.path / "ended").exists():
            raise bt.StorageError("no room", journal.path)
        kept(journal, *data)

    monkeypatch.setattr(bt.Journal, what, write)
    lab.prover("[ $LEMMA = one ] && exec sleep 600; touch ended; " + VERIFY)
    lab.recipe(config={"global_max_cores": 2})
    done = lab.run("run recipe.json", code=2)
    assert "batch.jsonl: no room" in done.stderr
    assert not living_provers(lab.path)


def test_a_proof_that_finds_no_room_for_its_trace_runs_again(lab, monkeypatch):
    """It has not failed: the disk has."""

    def keep_own(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    lab.prover(WRITE_DOT + VERIFY)
    lab.recipe(lemmas="one")
    with monkeypatch.context() as full:
        full.setattr(bt, "_keep_own", keep_own)
        done = lab.run("run recipe.json", code=2)
    assert re.search(r"error: \S*/t--one--fake.dot: .*No space left.*: make room", done.stderr)
    assert not lab.events("finish")
    lab.run("run recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"


def test_what_fails_on_a_full_disk_has_not_failed(lab, monkeypatch):
    """A prover that can't write its proof ends like one that refuses the theory."""
    lab.prover("[ -e room ] || exit 1; " + VERIFY)
    lab.recipe()
    with monkeypatch.context() as full:
        full.setattr(bt, "is_full", lambda folder: True)
        done = lab.run("run recipe.json", code=2)
    assert "No space left on device: make room, then give the same command again" in done.stderr
    assert "failed" not in {event["status"] for event in lab.events("finish")}
    lab.write("room", "")
    lab.run("run recipe.json", code=0)
    assert len(lab.finishes()) == 3


def test_a_file_system_is_full_that_has_no_room_for_us(monkeypatch):
    """Also where root would have some."""
    for free, blocks, is_full in [(0, 9, True), (15, 99, True), (16, 99, False), (0, 0, False)]:
        space = os.statvfs_result((4096, 4096, blocks, free + 5, free, 0, 0, 0, 0, 255))
        monkeypatch.setattr(bt.os, "statvfs", lambda _, space=space: space)
        assert bt.is_full("folder") is is_full


def test_a_stored_result_that_finds_no_room_is_not_proven_again(lab, monkeypatch):
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)

    def copy_file(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", target)

    lab.write("runs", "")
    monkeypatch.setattr(bt, "copy_file", copy_file)
    monkeypatch.setattr(bt, "keep_inputs", lambda *_: None)
    done = lab.run("run recipe.json -o other", code=2)
    assert "No space left on device: make room" in done.stderr
    assert lab.read("runs") == ""


def test_a_full_disk_names_the_file_that_found_no_room(tmp_path, monkeypatch):
    """Python's own error of a write does not."""
    path = tmp_path / "page.html"

    def pieces():
        yield "some"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as raised:
        bt.write_file(str(path), pieces())
    assert raised.value.filename == str(path)
    assert not list(tmp_path.iterdir())


# --- What follows from the journal never matters --------------------------------------------------


def assert_all_is_told(lab, done, warnings):
    """Assert that a batch of three proofs ended as it should, and warned so many times."""
    assert len(lab.finishes()) == 3
    assert lab.events()[-1]["event"] == "end"
    assert "3 tasks: 3 verified" in done.stdout
    assert done.stderr.count("warning: ") == warnings, done.stderr


def test_result_files_whose_folder_vanishes_are_made_again(lab):
    lab.prover("rm -rf results/success; " + VERIFY)
    # One alone: no other prover takes the folder away while the file is being written.
    lab.recipe(lemmas="one")
    done = lab.run("run recipe.json", code=0)
    assert "warning: " not in done.stderr
    assert (lab.results / "success" / "t--one--fake.json").exists()


def test_result_files_that_cannot_be_made_end_no_batch(lab):
    # By the first one, before there is a result; the others leave it.
    in_the_way = "[ -f results/success ] || { rmdir results/success; echo > results/success; }; "
    lab.prover(in_the_way + VERIFY)
    lab.recipe(config={"global_max_cores": 1})
    done = lab.run("run recipe.json", code=0)
    assert_all_is_told(lab, done, warnings=1)
    assert "results/success can't be made: File exists" in done.stderr
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)


def test_reports_that_cannot_be_made_are_one_warning(lab):
    # The report is written while they run, too: perhaps just now.
    report = "results/execution_report.json"
    in_the_way = f"until [ -d {report} ]; do rm -f {report}; mkdir {report}; done\n"
    lab.prover("mkdir -p results/summary.html\n" + in_the_way + VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json", code=0)
    assert_all_is_told(lab, done, warnings=1)
    assert "report.json can't be made: Is a directory. The results are safe" in done.stderr
    assert "batch_tamarin.py report results --rebuild" in done.stderr
    rebuilt = lab.run("report results --rebuild", code=2)
    assert "execution_report.json" in rebuilt.stderr


def test_a_disk_that_is_full_for_derived_files_is_one_warning(lab, monkeypatch):
    def write_file(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(bt, "write_file", write_file)
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json --no-cache", code=0)
    assert_all_is_told(lab, done, warnings=1)


def test_a_page_that_fails_by_our_own_mistake_hides_no_result(lab, monkeypatch):
    def page_report(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr(bt, "page_report", page_report)
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json", code=0)
    assert_all_is_told(lab, done, warnings=1)
    assert "summary.html can't be made: KeyError: 'oops'" in done.stderr


def test_a_recipe_may_have_a_long_name(lab):
    name = "r" * 240 + ".json"
    lab.prover(VERIFY)
    lab.recipe(name=name)
    assert_all_is_told(lab, lab.run("run", name, code=0), warnings=0)


WRITE_DOT = """echo 'digraph "N0_SL0-AS0-CL0-A0-C0-NF_'$LEMMA'" { a }' > "$DOT"; """


def run_with_dot(lab, dot, monkeypatch):
    """A run whose traces are drawn by a `dot` that does this with the file "$3"."""
    lab.write("bin/dot", f"#!/bin/sh\n{dot}\n", 0o755)
    monkeypatch.setenv("PATH", f"{lab.path}/bin:{os.environ['PATH']}")
    lab.recipe()
    return lab.run("run recipe.json", code=0)


def test_a_dot_that_draws_nothing_ends_no_batch(lab, monkeypatch):
    lab.prover(WRITE_DOT + VERIFY)
    done = run_with_dot(lab, "exit 0", monkeypatch)
    assert_all_is_told(lab, done, warnings=1)
    assert "dot could not draw 3 traces" in done.stderr


def test_a_drawing_may_be_older_than_its_trace(lab, monkeypatch):
    """The clock may have been put back."""
    lab.prover(WRITE_DOT + VERIFY)
    draw = 'echo "<svg/>" > "$3.svg"; touch -t 200001010000 "$3.svg"'
    assert_all_is_told(lab, run_with_dot(lab, draw, monkeypatch), warnings=0)
    assert (lab.results / "traces" / "t--one--fake.svg").exists()


def test_what_a_killed_dot_left_is_no_drawing(lab, monkeypatch):
    lab.prover(WRITE_DOT + 'echo "<svg>old</svg>" > "$DOT.svg"; ' + VERIFY)
    done = run_with_dot(lab, "exit 0", monkeypatch)
    assert "dot could not draw 3 traces" in done.stderr
    assert not list((lab.results / "traces").glob("*.svg"))


def test_traces_that_vanish_end_no_batch(lab, monkeypatch):
    lab.prover("rm -rf results/traces; " + VERIFY)
    assert_all_is_told(lab, run_with_dot(lab, "exit 0", monkeypatch), warnings=0)


# --- One writer -----------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def journal_by(tmp_path, header):
    """A journal that this driver left, its last line torn."""
    path = tmp_path / "batch.jsonl"
    journal = bt.Journal(str(path))
    journal.begin(bt.Batch(header))
    os.write(journal.fd, b'{"torn')
    os.close(journal.fd)
    return path


BOOT = bt.host_id()[1].partition(" ")[0]
# A process that lives, and is not this one.
STRANGER = {"pid": os.getppid(), "started": bt.process_start(os.getppid())}
OURSELVES = {}
DEAD = {
    "a pid that another process has got": {"started": 1},
    "an earlier boot": {"boot_id": "an earlier boot pid:[1]"},
}
UNKNOWN = {
    "another container of this host": {"boot_id": f"{BOOT} pid:[1]"},
    "another host": {"host": "elsewhere", "started": 1},
    "an older version": {"boot_id": "", "started": 0},
}


def assert_refused(path, told):
    """Assert that nobody gets this journal, that all are told why, and that nothing is changed."""
    written = path.read_bytes()
    with pytest.raises(bt.StorageError, match=told):
        bt.Journal(str(path))
    with pytest.raises(bt.StorageError, match=told):
        bt.open_results(str(path.parent), bt.Batch(a_driver()), bt.Place.NEWEST, pytest.fail)
    assert path.read_bytes() == written, "no line is cut before it is known that nobody is at work"


def journal_state(path):
    """What `status` says of a journal: running, died or unknown."""
    batch = batch_of(path)
    return bt.batch_state(batch, str(path))[0]


def test_without_locks_a_living_driver_keeps_others_away(tmp_path, no_locks):
    header = a_driver(**STRANGER)
    path = journal_by(tmp_path, header)
    assert bt.driver_lives(header) is True
    assert journal_state(path) == "running"
    assert_refused(path, "another run is at work here")


def test_without_locks_a_process_may_open_its_own_journal_again(tmp_path, no_locks):
    header = a_driver(**OURSELVES)
    path = journal_by(tmp_path, header)
    assert bt.driver_lives(header) is True
    assert journal_state(path) == "running"
    bt.Journal(str(path)).close()


@pytest.mark.parametrize("why", DEAD)
def test_without_locks_a_dead_driver_keeps_nobody_away(tmp_path, no_locks, why):
    header = a_driver(**DEAD[why])
    path = journal_by(tmp_path, header)
    written = path.read_bytes()
    assert bt.driver_lives(header) is False
    assert journal_state(path) == "died"
    bt.Journal(str(path)).close()
    assert path.read_bytes() == written


@pytest.mark.parametrize("where", UNKNOWN)
def test_without_locks_a_driver_that_cannot_be_seen_keeps_others_away(tmp_path, no_locks, where):
    header = a_driver(**UNKNOWN[where])
    path = journal_by(tmp_path, header)
    assert bt.driver_lives(header) is None
    assert journal_state(path) == "unknown"
    assert_refused(path, "--take-over")


@pytest.mark.parametrize("where", UNKNOWN)
def test_the_user_may_take_over_where_nobody_can_tell(tmp_path, no_locks, where):
    path = journal_by(tmp_path, a_driver(**UNKNOWN[where]))
    batch = bt.Batch(a_driver())
    told = []
    place = bt.Place.NEWEST
    journal = bt.open_results(str(tmp_path), batch, place, told.append, take_over=True)
    changes = bt.changes_of(journal.batch, batch, (), again=False)
    bt.bring_up_to_plan(journal, changes, told.append)
    journal.close()
    skipped = []
    header = bt.load_batch(str(path), skipped.append)[0].header
    assert len(skipped) == 1, "the torn line: without locks nothing is cut"
    own_pid = os.getpid()
    assert header.pid == own_pid
    assert header.started == bt.process_start(own_pid)


def another_run():
    """The header of a run that lives: our parent's."""
    parent = os.getppid()
    return a_driver(pid=parent, started=bt.process_start(parent), at="another time")


def test_of_two_runs_that_begin_at_one_moment_the_first_goes_on(tmp_path, no_locks):
    path = str(tmp_path / "batch.jsonl")
    first, second = bt.Journal(path), bt.Journal(path)
    first.begin(bt.Batch(another_run()))
    with pytest.raises(bt.StorageError, match="began at the same moment"):
        second.begin(bt.Batch(a_driver()))
    with pytest.raises(bt.StorageError, match=f"at work here .process {os.getppid()} "):
        bt.Journal(path)


def test_of_two_runs_that_go_on_at_one_moment_the_first_does(tmp_path, no_locks):
    path = journal_by(tmp_path, a_driver(pid=2**30))
    with open(path, "a") as file:
        file.write('{"torn')
    first, second = bt.Journal(path), bt.Journal(path)
    for journal in (first, second):
        journal.load(pytest.fail)
    first.go_on(another_run())
    with pytest.raises(bt.StorageError, match="began at the same moment"):
        second.go_on(a_driver())
    told = []
    batch, _ = bt.load_batch(path, told.append)
    assert batch.header.pid == os.getpid()
    assert len(told) == 1, "only the torn line is lost"
    with pytest.raises(bt.StorageError, match=f"at work here .process {os.getppid()} "):
        bt.Journal(path)


def test_without_locks_a_full_disk_cuts_no_line_of_what_is_on_disk(tmp_path, no_locks, monkeypatch):
    """What others wrote stands between our lines, and a torn line before them."""
    path = journal_by(tmp_path, a_driver(pid=2**30))
    journal = bt.Journal(str(path))
    journal.load(pytest.fail)
    journal.go_on(a_driver())
    with open(path, "ab") as file:
        file.write(bt.json_line(another_run()))
    journal.record(bt.Ended(at=bt.timestamp()))
    written = path.read_bytes()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        with pytest.raises(bt.StorageError, match="can't be written"):
            journal.record(bt.Ended(at=bt.timestamp()))
    assert path.read_bytes() == written


def test_without_locks_a_batch_that_has_ended_is_driven_by_nobody(tmp_path, no_locks):
    path = str(tmp_path / "batch.jsonl")
    journal = bt.Journal(path)
    journal.begin(bt.Batch(a_driver(host="elsewhere")))
    journal.record(bt.Ended(at=bt.timestamp()))
    journal.close()
    bt.Journal(path).close()


@pytest.mark.parametrize("take_over", [False, True])
def test_a_lock_keeps_others_away(tmp_path, take_over):
    path = str(tmp_path / "batch.jsonl")
    first = bt.Journal(path)
    first.begin(bt.Batch(a_driver()))
    with pytest.raises(bt.StorageError, match="another run is at work here"):
        bt.Journal(path, take_over)
    assert bt.is_locked(path) is True
    assert journal_state(path) == "running"
    first.close()


@needs_linux
def test_a_batch_that_runs_in_another_container_is_not_taken_for_a_process_of_ours(tmp_path):
    """Its host name and the machine are the same; its pid means another process here, or none."""
    path = journal_by(tmp_path, a_driver(**UNKNOWN["another container of this host"]))
    batch = batch_of(path)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = bt.batch_state(batch, str(path))
    assert state == ("running", "runs in another container of this host")
    assert bt.batch_state(batch, str(path)).word == "died", "it has let go of its lock"


@needs_linux
def test_without_locks_a_batch_in_another_container_is_said_to_be_there(tmp_path, no_locks):
    path = journal_by(tmp_path, a_driver(**UNKNOWN["another container of this host"]))
    state = bt.batch_state(batch_of(path), str(path))
    assert state.word == "unknown"
    assert state.sentence.startswith("began in another container of this host: from here nobody")


def test_without_its_lock_a_batch_has_died(tmp_path):
    path = str(tmp_path / "batch.jsonl")
    first = bt.Journal(path)
    first.begin(bt.Batch(a_driver()))
    first.close()
    assert bt.is_locked(path) is False
    assert journal_state(path) == "died"
    bt.Journal(path).close()


def test_a_batch_from_another_host_is_taken_over(lab, no_locks):
    half_done(lab, "two")
    change_lines(lab.journal, come_from_another_host)
    told = lab.run("run recipe.json", code=2)
    assert "add --take-over" in told.stderr
    status = lab.run("status results --json").stdout
    assert json.loads(status)["state"] == "unknown"
    done = lab.run("resume results --take-over", code=0)
    assert "going on: 2 of 3 results hold" in done.stderr
    assert len(lab.finishes()) == 3
    assert list(lab.results.glob("batch*")) == [lab.journal]


def come_from_another_host(lines):
    """Let the driver have been on another host."""
    header = json.loads(lines[0])
    header["host"] = "elsewhere"
    lines[0] = json.dumps(header).encode() + b"\n"


# === Cache ========================================================================================

# Notes what it is asked for, "load" for a text that is only loaded. It refuses texts with the word
# SYNTAX, warns of those with the word WRONG, and has as many steps as the lemma's name says.
MODEL = r"""
echo "${LEMMA:-load}" >> runs
if grep -q SYNTAX t.spthy; then
    printf '"t.spthy" (line 1, column 1):\nunexpected "S"\n' >&2
    exit 1
fi
echo "[Theory T] Theory closed" >&2
echo "theory proof of $LEMMA" > "$OUT"
if grep -q WRONG t.spthy; then
    warning="\n  WARNING: 1 wellformedness check failed!\n"
fi
printf "$warning${LEMMA:+  $LEMMA (all-traces): verified (1${LEMMA#l} steps)}\n" | summary
"""
MODEL_THEORY = """theory T begin
heuristic: o
rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]
#include "inc.spthy"
lemma l0: "T"
lemma l1 [reuse]: "T"
lemma l2: "T"
lemma l3: "T"
end
"""
ALL_PROVEN = "l0 l1 l2 l3"
VERIFIED = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, steps=7)


class CacheLab(Lab):
    """A lab with four lemmas, of which l1 is a `reuse` lemma, and the model prover.

    Each run has a results directory of its own: what it doesn't prove comes from the cache.
    """

    def __init__(self, path):
        super().__init__(path)
        self.write("t.spthy", MODEL_THEORY)
        self.write("inc.spthy", "rule Inc: [] --> []\n")
        self.write("oracle", "#!/bin/sh\n", 0o755)
        self.prover(MODEL)
        self.recipe()
        self.last = None  # the last run, and its results directory
        self.directory = ""
        self.number = 0
        self.cache = bt.Cache(str(path / "cache in memory"))

    def edit(self, old, new, file="t.spthy"):
        """Replace a piece of a file that is there once."""
        text = self.read(file)
        assert text.count(old) == 1
        (self.path / file).write_text(text.replace(old, new))

    def edit_lemma(self, name, formula="F"):
        """Give a lemma another formula."""
        self.edit(f'{name}: "T"', f'{name}: "{formula}"')

    def proven(self, *args, code=0):
        """Run the recipe into a new directory; the lemmas that the prover was asked for."""
        self.write("runs", "")
        self.number += 1
        self.directory = f"run{self.number}"
        self.last = self.run("run recipe.json -o", self.directory, *args, code=code)
        return self.asked()

    def asked(self):
        """What the prover was asked for since it was last forgotten, as sorted words."""
        words = self.read("runs").split()
        return " ".join(sorted(words))

    def finished(self):
        """The `finish` events of the last run, by lemma."""
        events = {}
        for task_id, event in self.finishes(self.directory).items():
            events[task_id.split("--")[1]] = event
        return events

    def all_finished(self, **values):
        """Whether something finished in the last run, and all of it with these values."""
        events = list(self.finished().values())
        return events != [] and all({**event, **values} == event for event in events)

    def planned(self):
        """Plan the recipe in this process: each plan, and what its result depends on."""
        bt.file_state.cache_clear()
        os.chdir(self.path)
        recipe = bt.Recipe("recipe.json")
        provers = bt.recipe_provers(recipe)
        room = bt.Limits(4, 8192, 0)
        batch = bt.plan_batch(recipe, provers, room, bt.PlanOptions(), pytest.fail)
        plans = [task.plan for task in batch.tasks.values()]
        return [(plan, batch.dependencies[plan.view]) for plan in plans]

    def outputs(self, plan):
        """Where the files of a task would be, if there were any."""
        return bt.result_files(str(self.path / "none"), plan.id)

    def keep(self, plan, inputs, result=VERIFIED):
        """Store a result in the cache of this process."""
        self.cache.store(plan, result, self.outputs(plan), inputs)

    def keep_all(self):
        """Store a result of every task in the cache of this process."""
        for plan, inputs in self.planned():
            self.keep(plan, inputs)

    def new(self):
        """What is new of the lemmas that have no result in the cache of this process.

        In one line: "l1: lemma; l2: assumed lemmas", "all: options", or "".
        """
        told = []
        reasons = set()
        planned = self.planned()
        for plan, inputs in planned:
            if not self.cache.find(plan, inputs):
                reason = self.cache.what_is_new(plan, inputs)
                reason = reason.replace("new: ", "")
                reasons.add(reason)
                told.append(f"{plan.lemma}: {reason}")
        is_all = len(told) == len(planned)
        if is_all and len(reasons) == 1:
            return f"all: {reasons.pop()}"
        return "; ".join(told)


@pytest.fixture
def model(tmp_path):
    return CacheLab(tmp_path)


def cache_entries(pattern):
    """The entries of the user's cache whose names match: directories."""
    home = Path(os.environ["XDG_CACHE_HOME"])
    return list(home.glob(f"batch-tamarin/*/{pattern}"))


@contextlib.contextmanager
def program_running(lab, *args):
    """The program in a process of its own, beside the test; afterwards it has ended, with 0."""
    with tempfile.TemporaryFile() as told:
        arguments = (args, lab.path, told.fileno(), told.fileno())
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=be_the_program, args=arguments, daemon=True)
        process.start()
        try:
            yield process
            process.join(RUN_S)
            told.seek(0)
            assert process.exitcode == 0, told.read()
        finally:
            process.kill()
            process.join()


# --- What changes a result ------------------------------------------------------------------------

# What is edited: in which file, from what, to what; and what is then new of which lemmas.
EDITS = """
a comment      | t.spthy    | rule A     | /* a comment */   rule A |
a plain lemma  | t.spthy    | l2: "T"    | l2: "F" | l2: lemma
a new lemma    | t.spthy    | lemma l3:  | lemma l4: | l4: no result of it is stored
a reuse lemma  | t.spthy    | [reuse]: "T" | [reuse]: "F" \
    | l1: lemma; l2: assumed lemmas; l3: assumed lemmas
no reuse lemma | t.spthy    | l1 [reuse] | l1 \
    | l1: lemma; l2: assumed lemmas; l3: assumed lemmas
a rule         | t.spthy    | Out(~k)    | Out('a') | all: theory outside of lemmas
a last rule    | t.spthy    | end        | rule B: []-->[] end | all: theory outside of lemmas
a rule amid    | t.spthy    | lemma l2:  | rule B: []-->[] lemma l2: \
    | l0: theory outside of lemmas; l1: theory outside of lemmas; \
    l2: theory outside of lemmas, assumed lemmas; l3: theory outside of lemmas, assumed lemmas
an include     | inc.spthy  | Inc: []    | Inc: [ In(x) ] | all: theory outside of lemmas
an oracle      | oracle     | #!/bin/sh  | #!/bin/sh -e | all: oracle oracle
a prover       | fake.sh    | 1.11.0     | 1.11.1 | all: prover
"""


def edits(table):
    """The rows of a table like EDITS, as parameters."""
    rows = []
    for line in table.strip().splitlines():
        title, *cells = (" ".join(cell.split()) for cell in line.split("|"))
        rows.append(pytest.param(*cells, id=title))
    return rows


@pytest.mark.parametrize("file, old, new, told", edits(EDITS))
def test_an_edit_outdates_what_depends_on_it(model, file, old, new, told):
    model.keep_all()
    assert model.new() == ""
    model.edit(old, new, file)
    assert model.new() == told


OPTIONS = {"tamarin_options": ["--bound=3"]}
FLAGS = {"preprocess_flags": ["F"]}


@pytest.mark.parametrize(
    "changes, told",
    [
        (OPTIONS, "all: options"),
        (FLAGS, "all: preprocessor flags"),
        ({**OPTIONS, **FLAGS}, "all: options, preprocessor flags"),
    ],
)
def test_options_and_flags_change_results(model, changes, told):
    model.keep_all()
    model.recipe(**changes)
    assert model.new() == told


def test_cores_memory_and_time_change_no_verdict(model):
    model.keep_all()
    model.recipe(resources={"max_cores": 2, "max_memory": 3, "timeout": 77})
    assert model.new() == ""


@pytest.mark.parametrize("name", ["GHCRTS", "TAMARIN_NO_MAUDE_VARIANTS", "MAUDE_LIB"])
def test_some_variables_can_change_a_result(model, monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    model.keep_all()
    monkeypatch.setenv(name, "-M2g")
    assert model.new() == "all: environment"


def test_other_variables_change_no_result(model, monkeypatch):
    model.keep_all()
    monkeypatch.setenv("EDITOR", "vi")
    assert model.new() == ""


def test_all_variables_that_the_recipe_sets_can_change_a_result(model):
    model.keep_all()
    model.provers["fake"]["env"] = {"EDITOR": "vi"}
    model.recipe()
    assert model.new() == "all: environment"


def test_another_maude_can_change_a_result(model):
    model.write("maude.sh", "#!/bin/sh\n", 0o755)
    model.provers["fake"]["options"] = ["--with-maude=./maude.sh"]
    model.recipe()
    model.keep_all()
    model.write("maude.sh", "#!/bin/sh\n# other bytes\n", 0o755)
    assert model.new() == "all: Maude"


def test_who_may_execute_an_oracle_can_change_a_result(model):
    model.keep_all()
    (model.path / "oracle").chmod(0o644)
    assert model.new() == "all: oracle oracle"


def test_a_prover_behind_another_command_counts(model, monkeypatch):
    program = model.write("bin/hidden-prover", PRELUDE + MODEL, 0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    model.provers["fake"] = {"command": ["nice", "hidden-prover"]}
    model.recipe()
    assert model.proven() == ALL_PROVEN
    assert model.proven() == ""
    model.edit("summary() {", "# of the same version\nsummary() {", "bin/hidden-prover")
    assert model.proven() == ALL_PROVEN


@pytest.mark.parametrize(
    "text, reason",
    [
        ("process: 0\n", "a top-level process"),
        ('restrictionfoo: "F"\n', "unusual lemmas"),
    ],
)
def test_where_a_theory_does_not_split_any_edit_counts(model, text, reason):
    model.edit("lemma l2:", f"{text}lemma l2:")
    model.keep_all()
    assert model.new() == ""
    model.edit_lemma("l3")
    assert model.new() == f"all: theory ({reason}: all of it counts)"


@pytest.mark.parametrize(
    "option, reason",
    [
        ("--quit-on-warning", "--quit-on-warning"),
        ("--quit", "--quit-on-warning"),
        ("--auto-sources", "--auto-sources"),
    ],
)
def test_under_some_options_any_edit_counts(model, option, reason):
    model.recipe(tamarin_options=[option])
    model.keep_all()
    assert model.new() == ""
    model.edit_lemma("l3")
    assert model.new() == f"all: theory ({reason}: all of it counts)"


def test_what_was_stored_in_parts_never_stood_together(model):
    model.keep_all()
    model.edit("Out(~k)", "Out('a')")
    model.recipe(tamarin_options=["--bound=3"])
    model.keep_all()
    model.recipe()
    assert model.new() == "all: nothing is new, but never stood together like this"


PIECES = """
rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]
rule B: [ Fr(~k) ] --[ A(~k) ]-> [ ]
lemma s1 [sources]: "F" by sorry
lemma s2 [sources]: "T"
lemma r [reuse]: "F"
lemma x: "T" by sorry
lemma y: "T"
"""


def test_what_a_lemma_depends_on_fixes_the_text_without_other_lemmas(lab):
    """However pieces are put together: the parts of a lemma are the same exactly where the text is
    that matters to it."""
    rng = random.Random(7)
    pieces = PIECES.strip().splitlines()
    texts_by_parts = {}
    parts_by_text = {}
    for _ in range(150):
        chosen = rng.sample(pieces, rng.randrange(3, 8))
        text = "\n".join(chosen)
        lab.write("t.spthy", f"theory T begin\n{text}\nend\n")
        theory = bt.load_theory(str(lab.path / "t.spthy"))
        for lemma in theory.lemmas:
            parts = bt.lemma_parts(theory)[lemma.name]
            text = text_that_matters(theory, lemma)
            assert texts_by_parts.setdefault((lemma.name, parts), text) == text
            assert parts_by_text.setdefault((lemma.name, text), parts) == parts
    assert len(parts_by_text) < 600, "the test means nothing if nothing came twice"


def text_that_matters(theory, lemma):
    """The segments of a theory without those of lemmas that a lemma doesn't assume."""
    matters = {"", lemma.name, *lemma.assumes}
    return tuple(segment.text for segment in theory.segments if segment.lemma in matters)


# A model of what Tamarin's answer depends on, simpler than the program's and independent of it.
COMMENT = re.compile(r"//[^\n]*")
IFDEF = re.compile(r"#ifdef (\w+)(.*?)#endif", re.DOTALL)
INCLUDE = re.compile(r'#include "(.*?)"')


def items_of(path, flags):
    """The items of a theory as the model reads them."""
    text = COMMENT.sub(" ", path.read_text())
    text = IFDEF.sub(lambda found: found[2] * (found[1] in flags), text)
    text = INCLUDE.sub(lambda found: (path.parent / found[1]).read_text(), text)
    items = re.split(r"\n(?=[a-z]+[ :\n])", text)
    return [" ".join(item.split()) for item in items]


def lemma_of(item):
    """The name of a lemma; "" of another item."""
    found = re.match(r"lemma (\w+)", item)
    return found[1] if found else ""


def is_assumed(item, own, stands_before):
    """Whether the lemma `own` takes an item, another lemma, for granted.

    Tamarin's manual, "Lemma Annotations".
    """
    if "[sources" in own:
        return False
    if "[sources" in item:
        return True
    is_hidden = f"hide_lemma={lemma_of(item)}" in own
    return "[reuse" in item and stands_before and not is_hidden


def items_that_count(items, lemma, options):
    """What of a theory can matter to the model's answer for a lemma."""
    has_process = any(item.startswith("process:") for item in items)
    if has_process or "--quit-on-warning" in options:
        return items
    names = list(map(lemma_of, items))
    place = names.index(lemma)
    counting = []
    for number, item in enumerate(items):
        is_other_lemma = names[number] not in ("", lemma)
        if not is_other_lemma or is_assumed(item, items[place], number < place):
            counting.append(item)
    return counting


def model_answer(lab, plan):
    """What the model says of a task: its steps are a digest of all that its answer rests on."""
    items = items_of(lab.path / "t.spthy", plan.flags)
    if any("SYNTAX" in item for item in items):
        return bt.Result(bt.Status.FAILED, reason="unexpected S", refused=True)
    oracle = lab.path / "oracle"
    if not os.access(oracle, os.X_OK):
        return bt.Result(bt.Status.FAILED, reason="oracle: permission denied")
    bounds = [option for option in plan.options if option.startswith("--bound")]
    counting = items_that_count(items, plan.lemma, plan.options)
    rests_on = repr([counting, plan.flags, bounds, oracle.read_text()])
    digest = bt.sha256(rests_on.encode())
    return dataclasses.replace(VERIFIED, steps=int(digest[:12], 16))


class RandomEdits:
    """Edits a lab's files at random; every method with a name in KINDS is a kind of edit."""

    KINDS = [
        *("lemma", "reuse", "sources", "hide", "syntax", "shuffle", "one_more"),
        *("rule", "function", "process", "comment", "include", "oracle", "options", "flags"),
    ]

    def __init__(self, lab, seed):
        self.lab = lab
        self.rng = random.Random(seed)
        self.sequence = ["l0", "l1", "l2", "l3"]
        self.lemmas = {name: f'lemma {name}: "T"\n' for name in self.sequence}
        # Pieces of the theory.
        self.texts = dict.fromkeys(["process", "function", "comment", "more"], "")
        self.texts["rule"] = "rule R: [] --> []\n"
        self.function_place = 0
        self.task = {}

    def edit(self, kind):
        """One edit of this kind; the files are written."""
        getattr(self, kind)()
        self.lab.write("t.spthy", self.theory())
        self.lab.recipe(**self.task)

    def theory(self):
        """The theory as it is now."""
        pieces = [self.texts["rule"], 'heuristic: o\n#include "inc.spthy"\n']
        pieces += [self.lemmas[name] for name in self.sequence]
        pieces.append("#ifdef X\nrule X: [] --> []\n#endif\n")
        pieces.append(self.texts["process"])
        pieces.insert(self.function_place, self.texts["function"])
        pieces.insert(0, self.texts["comment"])
        pieces.append(self.texts["more"])
        return f"theory T begin\n{''.join(pieces)}end\n"

    def digit(self):
        return self.rng.choice("012")

    def lemma(self, attributes="", word=""):
        name = self.rng.choice(self.sequence)
        formula = f"F{self.digit()}{word}"
        self.lemmas[name] = f'lemma {name}{attributes}: "{formula}"\n'

    def reuse(self):
        self.lemma(" [reuse]")

    def sources(self):
        self.lemma(" [sources]")

    def hide(self):
        self.lemma(" [hide_lemma=l0]")

    def syntax(self):
        self.lemma(word=" SYNTAX")

    def shuffle(self):
        self.rng.shuffle(self.sequence)

    def rule(self):
        self.texts["rule"] = f"rule R: [] --> [ A('{self.digit()}') ]\n"

    def function(self):
        self.function_place = self.rng.randrange(8)
        self.texts["function"] = f"functions: f/{self.digit()}\n"

    def process(self):
        self.texts["process"] = self.rng.choice(["", "process: 0\n"])

    def one_more(self):
        self.texts["more"] = f'lemma more: "G{self.digit()}"\n'

    def comment(self):
        self.texts["comment"] = f"// {self.digit()}\n"

    def include(self):
        self.lab.write("inc.spthy", f"rule Inc: [] --> [ B('{self.digit()}') ]\n")

    def oracle(self):
        mode = self.rng.choice([0o755, 0o755, 0o644])
        self.lab.write("oracle", f"#!/bin/sh\nexit {self.digit()}\n", mode)

    def options(self):
        option = self.rng.choice(["-v", "--bound=5", "--quit-on-warning"])
        self.task["tamarin_options"] = [option]

    def flags(self):
        flag = self.rng.choice("XYZ")
        self.task["preprocess_flags"] = [flag]


@pytest.mark.parametrize("seed", range(2))
def test_a_hit_never_hides_a_change(model, seed):
    """After each of many random edits: what the cache says is what the model says now."""
    edits = RandomEdits(model, seed)
    kinds = RandomEdits.KINDS * 3
    edits.rng.shuffle(kinds)
    hits = 0
    for kind in kinds:
        edits.edit(kind)
        for plan, inputs in model.planned():
            answer = model_answer(model, plan)
            refused = answer.reason == "unexpected S"
            hit = model.cache.find(plan, inputs)
            if hit and (hit.counts or not refused):
                assert told(hit.result) == told(answer), kind
                hits += 1
            else:
                model.keep(plan, inputs, answer)
    assert hits > 20, "the test means nothing if little was stored"


def told(result):
    """What a result tells of a lemma."""
    return result.status, result.verdict, result.steps, result.reason


# --- Runs with a cache ----------------------------------------------------------------------------


def test_what_is_proven_is_not_proven_again(model):
    assert model.proven() == ALL_PROVEN
    assert model.proven() == ""
    assert model.proven("--cores", "1") == ""


def test_a_run_without_the_cache_proves_all(model):
    model.proven()
    assert model.proven("--no-cache") == ALL_PROVEN


def test_a_restored_result_is_the_first_one_marked_as_cached(model):
    model.proven()
    first = model.finished()
    model.proven()
    for task_id, restored in model.finished().items():
        original = first[task_id]
        for name in ("status", "verdict", "steps", "wall_s", "cpu_s", "peak_mb", "lemmas", "exit"):
            assert restored[name] == original[name]
        assert not original["cached"]
        assert restored["cached"]
        assert restored["ran"] == original["at"]
        assert not restored["old_text"]


def test_the_files_of_a_restored_result_are_those_of_the_first(model):
    model.proven()
    model.proven()
    for name in ("proofs/t--l3--fake.spthy", "logs/t--l3--fake.out", "logs/t--l3--fake.err"):
        restored = (model.path / "run2" / name).read_bytes()
        assert restored
        assert restored == (model.path / "run1" / name).read_bytes()


def test_one_edited_lemma_is_one_proof_and_one_load(model):
    model.proven()
    model.edit_lemma("l2")
    assert model.proven() == "l2 load"


def test_a_result_in_an_older_text_of_other_lemmas_says_so(model):
    model.proven()
    model.edit_lemma("l2")
    model.proven()
    old_texts = {}
    for lemma, event in model.finished().items():
        old_texts[lemma] = event["old_text"]
    assert old_texts == {"l0": True, "l1": True, "l2": False, "l3": True}


def test_a_run_tells_why_it_proves_what_it_proves(model):
    model.proven()
    model.edit_lemma("l2")
    model.proven("-d")
    assert "not in the cache: t--l2--fake: new: lemma\n" in model.last.stderr
    assert model.last.stderr.count("not in the cache") == 1


def test_restored_results_are_marked_in_tables_and_pages(model):
    model.proven()
    model.edit_lemma("l3")
    model.proven()
    day = model.finished()["l0"]["ran"][:10]
    assert f"cached {day}" in model.last.stdout
    assert f"(cached {day}, " in model.last.stderr
    page = (model.path / model.directory / "summary.html").read_text()
    assert day in page
    assert "older texts of other lemmas" in page


def test_restored_results_are_marked_in_reports(model, monkeypatch, capsys):
    model.recipe(lemmas="l0")
    model.proven()
    model.edit_lemma("l3")
    model.proven()
    monkeypatch.chdir(model.path)
    assert bt.main(["report", model.directory, "-f", "csv"]) == 0
    rows = csv.DictReader(capsys.readouterr().out.splitlines())
    ran = model.finished()["l0"]["ran"]
    told = [(row["cached"], row["ran"], row["old_text"]) for row in rows]
    assert told == [("True", ran, "True")]


def test_an_input_that_is_only_touched_has_not_changed(lab):
    lab.prover("touch t.spthy fake.sh; " + VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"


@pytest.mark.parametrize("name", ["t.spthy", "inc.spthy", "oracle"])
def test_an_input_that_is_gone_after_a_proof_has_changed(model, name):
    """What the prover read before it went, nobody can tell."""
    model.edit('echo "theory proof', f'rm -f {name}; echo "theory proof', "fake.sh")
    model.recipe(config={"global_max_cores": 1}, lemmas="l[01]")
    model.proven(code=3)
    reason = f"{name} is gone since the batch was planned"
    assert model.all_finished(status="interrupted", reason=reason)
    assert cache_entries("*") == []


def test_four_runs_at_once_share_a_cache(model):
    """Two of them have room for next to nothing: every result is right, whoever removes what."""
    sizes = {"r0": "1", "r1": "0.00001", "r2": "1", "r3": "0.00001"}
    with contextlib.ExitStack() as running:
        for name, size in sizes.items():
            args = ["run", "recipe.json", "-o", name, "--cache-size", size]
            running.enter_context(program_running(model, *args))
    for name in sizes:
        model.directory = name
        steps = {lemma: event["steps"] for lemma, event in model.finished().items()}
        assert steps == {"l0": 10, "l1": 11, "l2": 12, "l3": 13}


# --- What is kept ---------------------------------------------------------------------------------

FAILED = bt.Result(bt.Status.FAILED)
INTERRUPTED = bt.Result(bt.Status.INTERRUPTED)
SUPERSEDED = bt.Result(bt.Status.SUPERSEDED)
OUT_OF_MEMORY = bt.Result(bt.Status.MEMORY_LIMIT)
# With the memory that a task of the lab may take, and with less.
AT_LIMIT = dataclasses.replace(OUT_OF_MEMORY, usage=bt.Usage(peak_mb=1024))
BY_KERNEL = dataclasses.replace(OUT_OF_MEMORY, usage=bt.Usage(peak_mb=1023))
# What GHC's runtime ends with under `+RTS -M`: its user's guide, "heapoverflow".
HEAP_FULL = dataclasses.replace(OUT_OF_MEMORY, exit=bt.ExitStatus(251))


@pytest.mark.parametrize("result", [VERIFIED, TIMED_OUT, AT_LIMIT, HEAP_FULL])
def test_what_would_be_the_same_again_is_kept(model, result):
    plan, inputs = model.planned()[0]
    model.keep(plan, inputs, result)
    hit = model.cache.find(plan, inputs)
    assert told(hit.result) == told(result)


@pytest.mark.parametrize("result", [BY_KERNEL, FAILED, INTERRUPTED, SUPERSEDED])
def test_what_might_be_another_one_next_time_is_not_kept(model, result):
    plan, inputs = model.planned()[0]
    model.keep(plan, inputs, result)
    assert model.cache.find(plan, inputs) is None
    assert list(model.cache.entries()) == []


def test_that_a_lemma_is_not_needed_is_kept(model):
    plan, inputs = model.planned()[0]
    plan = dataclasses.replace(plan, optional=True)
    model.keep(plan, inputs, bt.Result(bt.Status.NOT_NEEDED))
    assert model.cache.find(plan, inputs)


def test_failures_without_a_word_of_the_prover_run_again(lab):
    """A signal, a missing program, silence."""
    fates = "one) kill -9 $$;; two) exec /nowhere;; three) exit 0;;"
    lab.prover(f'echo "$LEMMA" >> runs; case $LEMMA in {fates} esac')
    lab.recipe()
    for directory in ("first", "second"):
        lab.write("runs", "")
        lab.run("run recipe.json -o", directory, code=3)
        runs = lab.read("runs")
        assert sorted(runs.split()) == ["one", "three", "two"]


def test_what_was_interrupted_runs_again(lab):
    lab.prover('echo "$LEMMA" >> runs; kill -TERM $PPID; exec sleep 600')
    lab.recipe(lemmas="one")
    for directory in ("first", "second"):
        lab.run("run recipe.json -o", directory, code=143)
    assert lab.read("runs") == "one\none\n"


def test_a_parse_error_is_kept(model):
    model.edit_lemma("l3", "SYNTAX")
    assert model.proven(code=3) == ALL_PROVEN
    assert model.proven(code=3) == ""
    assert model.all_finished(status="failed", cached=True)
    for event in model.finished().values():
        assert "t.spthy:1:1: unexpected" in event["reason"]


def test_errors_can_be_cleared_alone(model, capsys):
    first, second = model.planned()[:2]
    model.keep(*first)
    model.keep(*second, PARSE_ERROR)
    directory = model.cache.directory
    assert bt.main(["cache", "clear", "--errors-only", "--cache-dir", directory]) == 0
    done = capsys.readouterr()
    assert done.out == f"entries removed from {directory}: 1\n"
    assert model.cache.find(*first)
    assert not model.cache.find(*second)


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", SMALLER_LIMITS)
def test_a_limit_that_was_met_holds_for_smaller_ones(model, limits):
    plan, inputs = model.planned()[0]
    met = under_limits(plan, "2 1024 60")
    model.keep(met, inputs, TIMED_OUT)
    assert model.cache.find(under_limits(plan, limits), inputs)


@pytest.mark.parametrize("limits", LARGER_LIMITS)
def test_a_limit_that_was_met_holds_for_no_larger_one(model, limits):
    plan, inputs = model.planned()[0]
    met = under_limits(plan, "2 1024 60")
    model.keep(met, inputs, TIMED_OUT)
    assert not model.cache.find(under_limits(plan, limits), inputs)


def test_a_limit_that_was_met_holds_for_this_very_text(model):
    for plan, inputs in model.planned():
        model.keep(plan, inputs, TIMED_OUT)
    assert model.new() == ""
    model.edit_lemma("l3")
    for plan, inputs in model.planned():
        assert not model.cache.find(plan, inputs)


def test_a_larger_limit_met_replaces_a_smaller_one(model):
    plan, inputs = model.planned()[0]
    larger = under_limits(plan, "1 1024 600")
    model.keep(plan, inputs, TIMED_OUT)
    model.keep(larger, inputs, TIMED_OUT)
    assert model.cache.find(larger, inputs)


def test_limits_that_say_nothing_of_each_other_are_kept_both(model):
    plan, inputs = model.planned()[0]
    longer = under_limits(plan, "1 1024 600")
    wider = under_limits(plan, "4 1024 60")
    for met in (longer, wider):
        model.keep(met, inputs, TIMED_OUT)
    assert model.cache.find(longer, inputs)
    assert model.cache.find(wider, inputs)
    assert not model.cache.find(under_limits(plan, "4 1024 600"), inputs)


def test_a_limit_of_an_older_version_answers_nothing_and_goes_with_the_others(model):
    """Its name did not tell under which limits it was met."""
    plan, inputs = model.planned()[0]
    model.keep(plan, inputs, TIMED_OUT)
    (entry,) = model.cache.entries()
    os.rename(entry.path, entry.path.rpartition("-")[0])
    assert not model.cache.find(plan, inputs)
    (entry,) = model.cache.entries()
    bt.remove_entry(entry.path)
    assert list(model.cache.entries()) == []


def test_a_limit_is_met_on_one_host(model, monkeypatch):
    plan, inputs = model.planned()[0]
    model.keep(plan, inputs, TIMED_OUT)
    elsewhere = os.uname_result(("Linux", "elsewhere", "", "", ""))
    monkeypatch.setattr(bt.os, "uname", lambda: elsewhere)
    cache = bt.Cache(model.cache.directory)
    assert cache.find(plan, inputs) is None
    reason = cache.what_is_new(plan, inputs)
    assert reason == "what is stored of it met smaller limits, or those of another host"


def test_a_verdict_says_more_than_a_limit(model):
    plan, inputs = model.planned()[0]
    model.keep(plan, inputs)
    model.keep(plan, inputs, TIMED_OUT)
    hit = model.cache.find(plan, inputs)
    assert told(hit.result) == told(VERIFIED)


def test_only_what_timed_out_runs_again_with_more_time(model):
    model.prover("[ $LEMMA = l1 ] && [ ! -e quick ] && sleep 600" + MODEL)
    little_time = {"name": "l1", "resources": {"timeout": 0.1}}
    model.recipe(lemmas=[little_time, {"name": "*"}])
    model.proven(code=3)
    assert model.finished()["l1"]["status"] == "timeout"
    assert model.proven(code=3) == ""
    assert model.finished()["l1"]["status"] == "timeout"
    model.recipe()
    model.write("quick", "")
    assert model.proven("-d") == "l1"
    assert "t--l1--fake: what is stored of it met smaller limits" in model.last.stderr


# --- Loads of a text that no proof was made of ----------------------------------------------------


def test_hits_wait_until_the_prover_has_loaded_the_text(model):
    """What is not in the cache runs beside the load, and longer."""
    hold = '[ ! -e hold ] || until [ -e "go-${LEMMA:-load}" ]; do sleep 0.02; done\n'
    model.edit('echo "[Theory', f'{hold}echo "[Theory', "fake.sh")
    model.proven()
    model.edit_lemma("l2")
    model.write("hold", "")
    model.directory = "held"
    with program_running(model, "run", "recipe.json", "-o", "held"):
        model.wait_for_events("start", 2, "held")
        started = sorted(event["ids"] for event in model.events("start", "held"))
        assert started == [[], ["t--l2--fake"]], "the load serves no task"
        assert model.finished() == {}, "nothing counts yet"
        model.write("go-load", "")
        wait_for(lambda: len(model.finished()) == 3)
        assert model.all_finished(cached=True)
        model.write("go-l2", "")
    assert not model.finished()["l2"]["cached"]


def test_a_text_is_loaded_once(model):
    model.proven()
    model.edit('lemma l3: "T"\n', "")
    assert model.proven() == "load"
    assert model.proven() == ""


def test_a_load_leaves_no_trace_among_the_results(model):
    model.proven()
    model.edit('lemma l3: "T"\n', "")
    model.proven()
    assert not list((model.path / model.directory).rglob("*~load*"))
    (start,) = model.events("start", model.directory)
    assert start["ids"] == []
    assert start["attempt"] == 1
    assert model.all_finished(old_text=True)


def test_a_load_that_an_older_version_stored_is_none(model):
    model.recipe(lemmas="l0")
    model.proven()
    model.edit_lemma("l3")
    model.proven()
    (entry,) = cache_entries("*.loaded")
    (entry / "entry.json").write_text('{"files": {}}')
    assert model.proven() == "load"


def test_hits_take_the_warnings_of_the_load(model):
    """Those of the new text, not those of the old one that the lemma was proven in."""
    model.recipe(lemmas="l0")
    model.proven()
    assert model.finished()["l0"]["warnings"] == []
    model.edit_lemma("l3", "WRONG")
    for asked in ("load", ""):
        assert model.proven() == asked
        event = model.finished()["l0"]
        assert event["cached"]
        assert event["warnings"] == ["1 wellformedness check failed"]


def test_hits_are_withdrawn_when_the_prover_refuses_the_text(model):
    model.proven()
    model.recipe(lemmas="l[01]")
    model.edit_lemma("l3", "SYNTAX")
    assert model.proven(code=3) == "l0 l1 load"
    assert model.all_finished(status="failed", cached=False)
    model.edit("SYNTAX", "T")
    assert model.proven() == ""
    assert model.all_finished(status="completed", cached=True)


def a_load(path, stderr="", stdout=""):
    """The run of a prover that loaded a theory and said this."""
    for folder in ("logs", "proofs"):
        (path / folder).mkdir(exist_ok=True)
    outputs = bt.result_files(str(path), "i")
    Path(outputs.stderr).write_text(stderr)
    Path(outputs.stdout).write_text(stdout)
    plan = a_plan(lemma="", prove=False)
    job = bt.Job("i", 1, ("p",), "/", {}, plan.limits, outputs.stdout, outputs.stderr)
    inputs = bt.Dependencies("T", {}, {})
    return bt.ProverRun(plan, inputs, job, outputs)


EXITED = bt.Outcome(bt.Status.COMPLETED, bt.ExitStatus(0))
AT_ITS_LIMITS = [bt.Outcome(bt.Status.TIMEOUT), bt.Outcome(bt.Status.MEMORY_LIMIT)]
STOPPED = bt.Outcome(bt.Status.INTERRUPTED)
# What tamarin-prover says on stderr from 1.8 on, and all that older ones say, on stdout.
LOADED = "[Theory T] Theory loaded\n"
CLOSED = "[Theory T] Theory closed\n"
SUMMARY = """=====
summary of summaries:

analyzed: t

  WARNING: 1 wellformedness check failed!

=====
"""


@pytest.mark.parametrize("outcome", [EXITED, *AT_ITS_LIMITS])
def test_a_text_is_loaded_when_the_prover_has_closed_it(tmp_path, outcome):
    assert bt.read_load(a_load(tmp_path, CLOSED), outcome)


def test_a_text_is_loaded_when_the_prover_has_a_summary(tmp_path):
    load = bt.read_load(a_load(tmp_path, "", SUMMARY), EXITED)
    assert load.warnings == ("1 wellformedness check failed",)


@pytest.mark.parametrize("outcome", [EXITED, *AT_ITS_LIMITS])
def test_a_text_is_not_loaded_before_it_is_closed(tmp_path, outcome):
    assert bt.read_load(a_load(tmp_path, LOADED), outcome) is None


# By a user; by itself, when it had loaded; by a signal of a stranger.
NO_GOOD_ENDS = [
    STOPPED,
    bt.Outcome(bt.Status.COMPLETED, bt.ExitStatus(1)),
    bt.Outcome(bt.Status.FAILED, bt.ExitStatus(signal="SIGSEGV")),
]


@pytest.mark.parametrize("outcome", NO_GOOD_ENDS)
def test_a_load_that_did_not_end_well_is_no_load(tmp_path, outcome):
    assert bt.read_load(a_load(tmp_path, CLOSED, SUMMARY), outcome) is None


def test_a_load_that_fills_its_heap_after_it_has_loaded_counts(tmp_path):
    full = bt.Outcome(bt.Status.COMPLETED, bt.ExitStatus(bt.GHC_HEAP_EXHAUSTED))
    assert bt.read_load(a_load(tmp_path, CLOSED), full)


def test_a_load_that_cannot_be_read_is_no_load(tmp_path):
    run = a_load(tmp_path, CLOSED, SUMMARY)
    Path(run.outputs.proof).mkdir()
    assert bt.read_load(run, EXITED) is None


def test_a_load_that_meets_its_limit_after_it_has_loaded_counts(model):
    hog = "hog=$(head -c 80000000 /dev/zero | tr '\\0' x); sleep 600"
    closed = 'echo "[Theory T] Theory closed" >&2'
    model.edit(closed, f'{closed}\n[ "$LEMMA" ] || {{ {hog}; }}', "fake.sh")
    model.recipe(resources={"max_memory": 0.05}, lemmas="l0")
    model.proven()
    model.edit_lemma("l3")
    for asked in ("load", ""):
        assert model.proven() == asked
        assert model.all_finished(status="completed", cached=True)
        # The hits are of this text, whose summary nobody has seen.
        assert model.all_finished(warnings=[bt.UNKNOWN_CHECKS])


def test_a_log_that_a_killed_driver_left_is_no_load(model):
    """A load appends to its log: what stands there from another text must not count."""
    model.recipe(lemmas="l0")
    model.proven()
    model.edit_lemma("l3", "SYNTAX")
    for ending in ("out", "err"):
        model.write(f"run1/logs/t--l0--fake~load.{ending}", CLOSED)
    journal = model.path / "run1" / "batch.jsonl"
    first_line, _, _ = journal.read_text().partition("\n")
    journal.write_text(first_line + "\n")
    model.run("run recipe.json -o run1", code=3)
    assert model.all_finished(status="failed", cached=False)


# --- The cache's files ----------------------------------------------------------------------------


class StoredResult:
    """A result with a proof, and a cache to store it in."""

    def __init__(self, path):
        self.outputs = bt.result_files(str(path), "i")
        self.proof = Path(self.outputs.proof)
        self.proof.parent.mkdir()
        self.proof.write_text("proof")
        self.plan = a_plan(key="a" * 32, lemma_key="b" * 32)
        self.inputs = bt.Dependencies("T", {}, {})
        self.cache = bt.Cache(str(path / "cache"))

    def store(self, **changes):
        """Store it (that of another plan with these changes)."""
        plan = dataclasses.replace(self.plan, **changes)
        self.cache.store(plan, VERIFIED, self.outputs, self.inputs)

    def find(self, **changes):
        """The hit on it."""
        plan = dataclasses.replace(self.plan, **changes)
        return self.cache.find(plan, self.inputs)

    def is_restored(self):
        """Whether it comes back, its proof with it."""
        self.proof.unlink()
        hit = self.find()
        if hit is None:
            return False
        restored = self.cache.restore(hit, self.outputs)
        assert restored == self.proof.exists(), "no file is left of what isn't restored"
        return restored and self.proof.read_text() == "proof"

    def command(self, *words):
        """Run `cache ...` in this process, on this cache."""
        directory = self.cache.directory
        assert bt.main(["cache", *words, "--cache-dir", directory]) == 0

    def entry(self):
        """The directory of the only entry."""
        (entry,) = self.cache.entries()
        return Path(entry.path)


@pytest.fixture
def stored(tmp_path):
    result = StoredResult(tmp_path)
    result.store()
    return result


def cut_proof(entry):
    (entry / "proof").write_text("")


def other_proof(entry):
    (entry / "proof").write_text("prooF")


def lost_proof(entry):
    (entry / "proof").unlink()


def no_json(entry):
    (entry / "entry.json").write_text("{")


def a_list(entry):
    (entry / "entry.json").write_text("[1]")


def a_foreign_path(entry):
    text = (entry / "entry.json").read_text()
    (entry / "entry.json").write_text(text.replace('"proof"', '"../x"'))


def anothers_key(entry):
    text = (entry / "entry.json").read_text()
    (entry / "entry.json").write_text(text.replace("aaaa", "cccc"))


def lost_verdict(entry):
    text = (entry / "entry.json").read_text()
    assert '"verdict": "verified"' in text
    (entry / "entry.json").write_text(text.replace('"verdict": "verified"', '"verdict": null'))


def nothing_in_it(entry):
    shutil.rmtree(entry)
    entry.mkdir()


DAMAGES = [
    cut_proof,
    other_proof,
    lost_proof,
    no_json,
    a_list,
    a_foreign_path,
    anothers_key,
    lost_verdict,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_a_miss_and_removed(stored, damage):
    damage(stored.entry())
    assert not stored.is_restored()
    assert list(stored.cache.entries()) == []


def test_a_damaged_entry_costs_no_file_of_an_earlier_result(stored, tmp_path):
    """The file that is the same may be the last copy of what was proven."""
    Path(stored.outputs.stdout).parent.mkdir()
    Path(stored.outputs.stdout).write_text("summary")
    stored.store(key="c" * 32)
    hit = stored.find(key="c" * 32)
    assert set(hit.files) == {"stdout", "proof"}
    (Path(hit.path) / "proof").unlink()
    earlier = bt.result_files(str(tmp_path), "i~1")
    os.rename(stored.outputs.stdout, earlier.stdout)
    stored.proof.unlink()
    assert not stored.cache.restore(hit, stored.outputs, earlier)
    assert Path(earlier.stdout).read_text() == "summary"
    assert not Path(stored.outputs.stdout).exists()


@pytest.mark.parametrize("damage", [*DAMAGES, nothing_in_it])
def test_what_was_damaged_is_stored_anew(stored, damage):
    damage(stored.entry())
    assert not stored.is_restored()
    stored.proof.write_text("proof")
    stored.store()
    assert stored.is_restored()


def test_what_was_damaged_is_proven_again(model):
    model.recipe(lemmas="l2")
    model.proven()
    (entry,) = cache_entries("*.?*")
    (entry / "stdout").write_bytes(b"\0garbage")
    assert model.proven() == "l2"
    assert model.finished()["l2"]["steps"] == 12
    assert model.proven() == ""


def cache_in_xdg_cache_home(file, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", file)


def cache_in_home(file, monkeypatch):
    monkeypatch.setenv("HOME", file)
    monkeypatch.setenv("XDG_CACHE_HOME", "")


@pytest.mark.parametrize("place_cache", [cache_in_xdg_cache_home, cache_in_home])
def test_a_cache_that_cannot_be_written_is_one_warning(model, monkeypatch, place_cache):
    file = model.write("file", "")
    place_cache(str(file), monkeypatch)
    assert model.proven() == ALL_PROVEN
    assert model.last.stderr.count("can't be kept in the cache") == 1


def test_two_threads_store_one_result(tmp_path, monkeypatch):
    """Two tasks of one key end at once, as under two aliases of one prover: neither takes the
    other's files away."""
    stored = StoredResult(tmp_path)
    copy = bt.copy_file

    def while_another_stores(source, target):
        monkeypatch.setattr(bt, "copy_file", copy)
        stored.store()
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", while_another_stores)
    stored.store()
    assert stored.cache.problem == ""
    assert stored.is_restored()
    assert stored.entry().is_dir(), "nothing unfinished is left"


def test_what_another_run_removes_meanwhile_ends_no_storing(tmp_path, monkeypatch):
    """A run that keeps the cache to its size removes what this one is just making."""
    stored = StoredResult(tmp_path)
    copy = bt.copy_file

    def remove_first(source, target):
        monkeypatch.setattr(bt, "copy_file", copy)
        bt.remove_entry(os.path.dirname(target))
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", remove_first)
    stored.store()
    assert stored.cache.problem == ""
    assert not stored.find()
    stored.store()
    assert stored.is_restored()


def test_the_name_of_the_cache_directory_means_nothing(tmp_path):
    stored = StoredResult(tmp_path)
    stored.cache = bt.Cache(str(tmp_path / "no.limit-here"))
    stored.store()
    assert stored.is_restored()


def test_a_run_uses_the_cache_that_it_is_given(model):
    assert model.proven("--cache-dir", "mine") == ALL_PROVEN
    assert model.proven("--cache-dir", "mine") == ""
    assert (model.path / "mine").is_dir()
    assert cache_entries("*") == []


FIRST = "0" * 32
SECOND = "1" * 32
THIRD = "2" * 32
FOURTH = "3" * 32


def test_the_least_recently_used_go_first(tmp_path):
    stored = StoredResult(tmp_path)
    stored.proof.write_text("x" * 300_000)
    keys = [FIRST, SECOND, THIRD, FOURTH]
    for age, key in enumerate(reversed(keys)):
        stored.store(key=key, lemma_key="")
        os.utime(stored.find(key=key).path, (1000 - age, 1000 - age))
    stored.proof.unlink()
    first = stored.find(key=FIRST)
    assert stored.cache.restore(first, stored.outputs), "it is used now"
    stored.cache.size_mb = 1
    stored.cache.prune()
    left = [key for key in keys if stored.find(key=key)]
    assert left == [FIRST, THIRD, FOURTH]


def test_what_is_larger_than_the_cache_takes_nothing_else_away(tmp_path):
    stored = StoredResult(tmp_path)
    stored.store(key=FIRST, lemma_key="")
    stored.proof.write_text("x" * 2_000_000)
    stored.store(key=SECOND, lemma_key="")
    stored.cache.size_mb = 1
    stored.cache.prune()
    assert stored.find(key=FIRST)
    assert not stored.find(key=SECOND)


def test_the_cache_keeps_its_size_while_it_grows(tmp_path):
    stored = StoredResult(tmp_path)
    stored.cache.size_mb = 4
    stored.proof.write_text("x" * 1_000_000)
    for number in range(12):
        stored.store(key=f"{number:032x}", lemma_key="")
        assert sum(entry.size_mb for entry in stored.cache.entries()) <= 4
    assert stored.find(key=f"{11:032x}")


def test_housekeeping_is_for_growth_that_counts(tmp_path, monkeypatch):
    """To look at all entries after each would cost more than the proofs."""
    stored = StoredResult(tmp_path)
    monkeypatch.setattr(bt.Cache, "entries", lambda cache: pytest.fail("it looked at all"))
    for number in range(20):
        stored.store(key=f"{number:032x}", lemma_key="")


def test_what_a_killed_run_left_half_stored_goes_as_well(stored):
    entry = stored.entry()
    unfinished = entry.with_name(f"{entry.name}-77")
    unfinished.mkdir()
    stored.store(key=FIRST)
    stored.cache.size_mb = 0
    stored.cache.prune()
    assert not unfinished.exists()


def test_a_run_keeps_the_cache_to_its_size(model):
    model.edit('echo "theory proof of $LEMMA"', "head -c 300000 /dev/zero", "fake.sh")
    model.proven("--cache-size", "0.001")
    sizes = [file.stat().st_size for file in cache_entries("*/*")]
    assert 0 < sum(sizes) <= 0.001 * 2**30
    assert len(cache_entries("*.?*")) == 3


def test_what_a_link_in_the_cache_leads_to_is_left_alone(stored):
    (folder,) = Path(stored.cache.directory).iterdir()
    elsewhere = folder.rename(Path(stored.cache.directory).parent / "elsewhere")
    folder.symlink_to(elsewhere)
    stored.command("clear")
    assert len(list(elsewhere.iterdir())) == 1


def test_the_cache_tells_its_size_and_what_it_holds(stored, capsys):
    stored.command("info")
    size, *table = capsys.readouterr().out.splitlines()
    assert size == f"{stored.cache.directory}: 0.0 MB of at most 2 GB"
    assert table[-1].split() == ["verified", "1"]


def test_the_cache_can_be_cleared(stored, capsys):
    stored.command("clear")
    assert capsys.readouterr().out.endswith(": 1\n")
    assert os.listdir(stored.cache.directory) == []


FOREIGN_FILES = [
    "precious/file",
    "00000000000000000000000000000000/note",
    "00000000000000000000000000000000/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.txt/note",
]


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_foreign_files_in_a_cache_directory_are_left_alone(stored, name):
    file = Path(stored.cache.directory, name)
    file.parent.mkdir(parents=True)
    file.write_text("x")
    stored.cache.size_mb = 0
    stored.cache.prune()
    stored.command("clear")
    assert file.read_text() == "x"
    stored_entries = list(stored.cache.entries())
    assert stored_entries == []


# === Scheduler and executors ======================================================================

# --- The scheduler, on made-up jobs in simulated time ---


class MadeUp(typing.NamedTuple):
    """A job that only takes room and time."""

    name: str
    cores: int
    seconds: float
    memory_mb: int = 1
    timeout_s: float = 100
    priority: int = 0


class LeapingSelector(selectors.DefaultSelector):
    """What an event loop waits with; time leaps instead of passing."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "everything waits for something else"
        self.now += max(0, timeout)
        return super().select(0)


class Simulation:
    """Runs a Scheduler on made-up jobs; knows when each began."""

    def __init__(self, monkeypatch, cores=4, memory_mb=4096):
        self.room = bt.Room(cores, memory_mb)
        self.scheduler = bt.Scheduler(self.room)
        self.began = {}
        self.stuck = set()  # jobs that leave processes which can't be killed
        self.failing = set()
        self.added = {}  # by the name of a job: what is added when it ends
        self.selector = LeapingSelector()
        monkeypatch.setattr(bt.time, "monotonic", self.now)

    def now(self):
        return self.selector.now

    def run(self, *jobs):
        """Run jobs to the end; (name, start) of each, in the order of the starts."""
        loop = asyncio.SelectorEventLoop(self.selector)
        loop.time = self.now
        try:
            loop.run_until_complete(self.scheduler.run(map(self.waiting, jobs)))
        finally:
            loop.close()
        return list(self.began.items())

    def waiting(self, job):
        limits = bt.Limits(job.cores, job.memory_mb, job.timeout_s)
        return bt.Waiting(limits, lambda: self.work(job), job.priority)

    async def work(self, job):
        self.began[job.name] = self.now()
        await asyncio.sleep(job.seconds)
        if job.name in self.failing:
            raise OSError("disk full")
        self.scheduler.add(map(self.waiting, self.added.get(job.name, ())))
        return job.name not in self.stuck


@pytest.fixture
def simulation(monkeypatch):
    return Simulation(monkeypatch)


def test_a_job_that_fits_overtakes_one_that_does_not(simulation):
    order = simulation.run(
        MadeUp("a", cores=3, seconds=10),
        MadeUp("wide", cores=4, seconds=1),
        MadeUp("b", cores=1, seconds=1),
        MadeUp("c", cores=1, seconds=1),
    )
    assert order == [("a", 0), ("b", 0), ("c", 1), ("wide", 10)]


def test_nothing_waits_for_ever(simulation):
    """Small jobs could overtake it without end; after its own timeout (5 s) it comes first."""
    small = []
    for number in range(100):
        seconds = 1 + number % 2
        small.append(MadeUp(f"s{number}", cores=2, seconds=seconds, timeout_s=5))
    wide = MadeUp("wide", cores=4, seconds=1, timeout_s=5)
    simulation.run(*small[:2], wide, *small[2:])
    assert 5 <= simulation.began["wide"] <= 8


def test_what_is_added_later_waits_behind_those_of_its_priority_only(simulation):
    urgent = MadeUp("urgent", cores=4, seconds=1, priority=5)
    other = MadeUp("other", cores=2, seconds=1)
    simulation.added = {"a": [other, urgent]}
    order = simulation.run(
        MadeUp("a", cores=4, seconds=1, priority=9),
        MadeUp("b", cores=4, seconds=1, priority=5),
        MadeUp("c", cores=4, seconds=1),
    )
    assert [name for name, _ in order] == ["a", "b", "urgent", "c", "other"]


def test_cores_and_memory_are_taken_together(monkeypatch):
    simulation = Simulation(monkeypatch, memory_mb=100)
    order = simulation.run(
        MadeUp("a", cores=1, memory_mb=60, seconds=5),
        MadeUp("b", cores=1, memory_mb=60, seconds=5),
        MadeUp("c", cores=1, memory_mb=40, seconds=5),
    )
    assert order == [("a", 0), ("c", 0), ("b", 5)]


def test_in_the_end_all_of_the_room_is_free_again(simulation):
    simulation.run(MadeUp("a", cores=1, seconds=1), MadeUp("b", cores=4, seconds=1))
    assert simulation.room.cores == 4
    assert simulation.room.memory_mb == 4096


def test_room_of_what_cannot_be_killed_is_not_given_away(monkeypatch):
    simulation = Simulation(monkeypatch, cores=1)
    simulation.stuck = {"a"}
    order = simulation.run(MadeUp("a", cores=1, seconds=1), MadeUp("b", cores=1, seconds=1))
    assert order == [("a", 0)]


def test_when_a_job_raises_nothing_new_starts_and_run_raises_it_in_the_end(simulation):
    simulation.failing = {"bad"}
    with pytest.raises(OSError, match="disk full"):
        simulation.run(
            MadeUp("running", cores=3, seconds=10),
            MadeUp("bad", cores=1, seconds=1),
            MadeUp("late", cores=1, seconds=1),
        )
    assert list(simulation.began) == ["running", "bad"]
    assert simulation.now() == 10


def test_what_is_added_to_a_stopped_scheduler_does_not_start(simulation):
    simulation.scheduler.stop()
    assert simulation.run(MadeUp("a", cores=1, seconds=1)) == []


@pytest.mark.parametrize(
    "scheduler, wanted",
    [
        ("fifo", ["mid", "big", "small", "mid2"]),
        ("sjf", ["small", "mid", "mid2", "big"]),
        ("ljf", ["big", "mid", "mid2", "small"]),
    ],
)
def test_tasks_are_ordered_by_the_cores_and_memory_they_ask_for(scheduler, wanted):
    tasks = [
        task_of_size("mid", cores=2, memory_gb=2),
        task_of_size("big", cores=4, memory_gb=16),
        task_of_size("small", cores=1, memory_gb=1),
        task_of_size("mid2", cores=1, memory_gb=3),
    ]
    assert ids_in_order(tasks, scheduler) == wanted


def task_of_size(task_id, cores, memory_gb=1, **plan):
    """A task that asks for so much."""
    limits = bt.Limits(cores, memory_gb * 1024, 9)
    return a_task(id=task_id, limits=limits, **plan)


def ids_in_order(tasks, scheduler, past=()):
    """The ids of tasks in the order of a scheduler; `past`: what earlier results used."""
    ordered = bt.in_order(tasks, scheduler, dict(past))
    return [task.id for task in ordered]


def test_by_history_what_took_longest_comes_first_and_what_is_not_known_before_that():
    tasks = [a_task(id=name) for name in ("short", "new", "long", "new too")]
    past = {"short": bt.Usage(1), "long": bt.Usage(9)}
    assert ids_in_order(tasks, "history", past) == ["new", "new too", "long", "short"]


def test_by_history_a_batch_takes_hardly_longer_than_it_must(monkeypatch):
    simulation = Simulation(monkeypatch, cores=2)
    chance = random.Random(25)
    past = {}
    for number in range(40):
        seconds = chance.lognormvariate(3, 1.2)
        past[f"t{number}"] = bt.Usage(round(seconds, 1))
    tasks = [a_task(id=name) for name in past]
    seconds = [usage.wall_s for usage in past.values()]
    jobs = []
    for task in bt.in_order(tasks, "history", past):
        took_s = past[task.id].wall_s
        jobs.append(MadeUp(task.id, cores=1, seconds=took_s, timeout_s=1e6))
    simulation.run(*jobs)
    # No schedule can be shorter than this.
    least = max(sum(seconds) / 2, max(seconds))
    assert simulation.now() <= 1.05 * least


def journalled(*results):
    """A task that had these results, the last one of the plan that it has now."""
    task = a_task(result=bt.Result(**results[-1]))
    earlier = [bt.Record(bt.Result(**result), a_plan(key="old")) for result in results[:-1]]
    task.earlier = tuple(earlier)
    return task


DONE_IN_3 = {"status": bt.Status.COMPLETED, "usage": bt.Usage(3)}
DONE_IN_9 = {**DONE_IN_3, "usage": bt.Usage(9)}
# What is known of a task with these results, in seconds.
PAST = {
    "the last": ([DONE_IN_9, DONE_IN_3], 3),
    "not what was shared": ([DONE_IN_3, {**DONE_IN_9, "shared_by": 2}], 3),
    "not what was stopped": ([DONE_IN_3, {**DONE_IN_9, "status": bt.Status.INTERRUPTED}], 3),
    "not a crash": ([{**DONE_IN_3, "status": bt.Status.FAILED}], None),
    "a limit": ([{**DONE_IN_3, "status": bt.Status.TIMEOUT}], 3),
}


@pytest.mark.parametrize("results, seconds", PAST.values(), ids=PAST)
def test_past_times_are_of_what_was_measured_alone_to_its_end(results, seconds):
    task = journalled(*results)
    past = bt.past_usages([task], bt.Batch(), None)
    known = [usage.wall_s for usage in past.values()]
    assert known == [seconds] * (seconds is not None)


def test_past_times_are_also_those_of_the_cache_of_an_older_text(model):
    ended = dataclasses.replace(VERIFIED, usage=bt.Usage(7))
    for plan, inputs in model.planned():
        model.keep(plan, inputs, ended)
    model.edit_lemma("l0")
    for plan, inputs in model.planned():
        batch = bt.Batch(dependencies={plan.view: inputs})
        past = bt.past_usages([bt.Task(plan)], batch, model.cache)
        assert past == {plan.id: bt.Usage(7)}


def test_a_run_by_history_starts_with_what_took_longest(lab):
    lab.write("t.spthy", many_lemmas(3))
    lab.prover('echo "$LEMMA" >> runs; ' + VERIFY)
    lab.recipe(config={"global_max_cores": 1, "scheduler": "history"})
    lab.run("run recipe.json", code=0)
    journal = lab.journal.read_text().splitlines(keepends=True)
    times = {"l0": 3, "l1": 1, "l2": 2}
    for number, line in enumerate(journal):
        event = json.loads(line)
        if event["event"] == "finish":
            event["wall_s"] = times[event["id"].split("--")[1]]
            journal[number] = json.dumps(event) + "\n"
    lab.journal.write_text("".join(journal))
    lab.write("runs", "")
    lab.run("run recipe.json --again", code=0)
    assert lab.read("runs").split() == ["l0", "l2", "l1"]


@pytest.mark.parametrize(
    "scheduler, wanted", [("fifo", "urgent a b late"), ("sjf", "urgent b a late")]
)
def test_a_higher_priority_comes_first_whatever_the_order(scheduler, wanted):
    tasks = [
        a_task(id="late", priority=-1),
        task_of_size("a", cores=4),
        a_task(id="b"),
        task_of_size("urgent", cores=8, priority=2),
    ]
    assert ids_in_order(tasks, scheduler) == wanted.split()


# --- Limits that are doubled ---


def raised(status, words, recipes="1 1024 60", times=2, exit_status=None):
    """The limits of another attempt, after one under other limits; the room is 4 GB."""
    met = under_limits(a_plan(), words)
    plan = under_limits(a_plan(), recipes)
    if words != recipes:
        plan = dataclasses.replace(met, raised_from=plan.limits)
    result = bt.Result(bt.Status(status), exit=exit_status)
    room = bt.Limits(8, 4096, 9)
    again = bt.raised_plan(plan, bt.Record(result, met), room, times)
    if again is None:
        return ""
    assert again.raised_from == under_limits(a_plan(), recipes).limits
    return f"{again.limits.cores} {again.limits.memory_mb} {again.limits.timeout_s:g}"


@pytest.mark.parametrize(
    "status, met, wanted",
    [
        ("timeout", "1 1024 60", "1 1024 120"),
        ("timeout", "1 1024 120", "1 1024 240"),
        ("timeout", "1 1024 240", ""),
        ("memory_limit", "1 1024 60", "1 2048 60"),
        ("memory_limit", "1 1024 240", "1 2048 240"),
        ("memory_limit", "1 4096 60", ""),
        ("failed", "1 1024 60", ""),
        ("completed", "1 1024 60", ""),
        ("interrupted", "1 1024 60", ""),
    ],
)
def test_the_limit_that_was_met_is_doubled_twice_over_the_recipes(status, met, wanted):
    assert raised(status, met) == wanted


def test_memory_is_raised_to_that_of_all_jobs_at_most():
    assert raised("memory_limit", "1 3072 60", "1 3072 60") == "1 4096 60"
    assert raised("memory_limit", "1 4096 60", "1 4096 60", times=9) == ""


def test_without_retries_no_limit_is_raised():
    assert raised("timeout", "1 1024 60", times=0) == ""


def test_a_heap_that_an_option_bounds_is_not_tried_again():
    assert raised("memory_limit", "1 1024 60", exit_status=bt.ExitStatus(251)) == ""


def limits_planned(lab, task_id="t--two--fake"):
    """The timeouts and memory (MB) that the journal's plans of a task have had, in order."""
    planned = []
    for plan in lab.events("task"):
        if plan["id"] == task_id:
            limits = plan["limits"]
            planned.append((limits["timeout_s"], limits["memory_mb"]))
    return planned


def attempts_finished(lab):
    """The numbers of the attempts that have ended, in order."""
    return [event["attempt"] for event in lab.events("finish")]


# It hangs in lemma two, in its first attempt only.
HANGS_ONCE = "[ $LEMMA = two ] && [ ! -e hung ] && { touch hung; exec sleep 600; }\n"


def test_what_meets_its_limit_runs_again_with_that_limit_doubled(lab):
    lab.prover(NOTE_RUNS + HANGS_ONCE + VERIFY)
    lab.recipe(expect="verified", resources={"timeout": 0.5})
    # Twice would do; on a slow machine any attempt may be late.
    done = lab.run("run recipe.json --retry 8 -t t--two", code=0)
    timeouts = [timeout_s for timeout_s, _ in limits_planned(lab)]
    assert timeouts == [0.5 * 2**number for number in range(len(timeouts))]
    *late, last = lab.events("finish")
    assert late[0]["status"] == "timeout"
    assert last["verdict"] == "verified"
    assert last["attempt"] == len(timeouts)
    assert "limit of 0.5 s; limit raised to 1 s, runs again" in done.stderr
    assert "[1/1] verified" in done.stderr
    assert f"limit raised to {timeouts[-1]:g} s" in done.stdout
    assert (lab.results / "earlier/t--two--fake~1.out").exists()
    assert not (lab.results / "failed/t--two--fake.json").exists()


def test_pages_tell_raised_limits_and_the_attempts_under_smaller_ones(lab):
    limited(lab, 0.1)
    lab.run("run recipe.json --retry 1", code=3)
    page = lab.run("report results -f md", code=0).stdout
    assert page.count("limit raised to 0.2 s") == 2, "in the table, and in full"
    assert re.search(r"earlier attempts.*timeout \(.*, 0.1 s\)", page)


def test_what_meets_a_limit_runs_again_with_what_the_recipe_has_for_that(lab):
    limited(lab, 0.1)
    change_recipe(lab, "tasks.task.resources.max_memory = 1")
    stages = '[{"resources": {"timeout": 0.2}}, {"resources": {"timeout": 0.3, "max_memory": 2}}]'
    change_recipe(lab, f"tasks.task.on_limit = {stages}")
    done = lab.run("run recipe.json", code=3)
    assert limits_planned(lab) == [(0.1, 1024), (0.2, 1024), (0.3, 2048)]
    assert "limit of 0.1 s; limit raised to 0.2 s, runs again" in done.stderr
    assert "raise tasks.task.on_limit (recipe.json)" in done.stdout
    done = lab.run("run recipe.json", code=3)
    assert "nothing to do" in done.stderr
    lab.run("run recipe.json --retry 1", code=3)
    assert limits_planned(lab)[-1] == (0.6, 2048)


def test_a_batch_that_was_stopped_between_two_attempts_goes_on_with_the_next(lab):
    limited(lab, 0.1)
    change_recipe(lab, "tasks.task.resources.max_memory = 1")
    lab.run("run recipe.json", code=3)
    change_recipe(lab, 'tasks.task.on_limit = [{"resources": {"timeout": 0.2}}]')
    lab.run("run recipe.json", code=3)
    assert limits_planned(lab)[-1] == (0.2, 1024)
    assert len(lab.events("start")) == 2


BAD_STAGES = """
--- an empty list: tasks.task.on_limit: must be a list that is not empty
tasks.task.on_limit = []
--- nothing: on_limit.0: says nothing: give 'resources' or 'tamarin_options'
tasks.task.on_limit = [{}]
--- a flag: on_limit.1.tamarin_options: -D changes what is proven: make it a variant
tasks.task.on_limit = [{"tamarin_options": ["--heuristic=C"]}, {"tamarin_options": ["-D=X"]}]
--- diff: on_limit.0.tamarin_options: --diff changes what is proven
tasks.task.on_limit = [{"tamarin_options": ["--diff"]}]
--- other sources: on_limit.0.tamarin_options: --auto-sources changes what is proven
tasks.task.on_limit = [{"tamarin_options": ["--auto-sources"]}]
--- other rules: on_limit.0.tamarin_options: --partial-evaluation changes what is proven
tasks.task.on_limit = [{"tamarin_options": ["--partial-evaluation"]}]
--- what this program decides: on_limit.0.tamarin_options.0: --prove can't be given here
tasks.task.on_limit = [{"tamarin_options": ["--prove=x"]}]
--- what was tried: on_limit.1: allows no more than what was met before
tasks.task.on_limit = [{"tamarin_options": ["--heuristic=C"]}, {"tamarin_options": []}]
--- another prover: on_limit.0.tamarin_versions: unknown key
tasks.task.on_limit = [{"tamarin_versions": ["fake"]}]
"""


@pytest.mark.parametrize("changes, wanted", cases(BAD_STAGES))
def test_bad_attempts_for_limits_are_refused(one_lemma, changes, wanted):
    change_recipe(one_lemma, changes.strip())
    assert wanted in complaints(one_lemma)


def test_a_further_attempt_must_be_allowed_more(one_lemma):
    stages = '[{"resources": {"timeout": 500}}, {"resources": {"timeout": 400}}]'
    change_recipe(one_lemma, f"tasks.task.on_limit = {stages}")
    assert "tasks.task.on_limit.1: allows no more than what was met" in complaints(one_lemma)


def test_options_that_are_given_again_change_nothing(one_lemma):
    change_recipe(one_lemma, 'tasks.task.tamarin_options = ["--auto-sources", "-DX"]')
    stage = '{"tamarin_options": ["-D=X", "--auto-sources", "--heuristic=C"]}'
    change_recipe(one_lemma, f"tasks.task.on_limit = [{stage}]")
    (task,) = plan_recipe(one_lemma).tasks.values()
    assert task.plan.stages[1].options[-1] == "--heuristic=C"


def test_memory_is_doubled_until_nothing_is_left(lab):
    hog = f"exec {sys.executable} -S -c \"import time; x = b'1' * (400 << 20); time.sleep(600)\""
    lab.prover(hog)
    resources = {"max_cores": 1, "max_memory": 0.05}
    lab.recipe(config={"global_max_memory": 0.15}, resources=resources, lemmas="two")
    lab.run("run recipe.json --retry 5", code=3)
    assert [memory_mb for _, memory_mb in limits_planned(lab)] == [51, 102, 153]
    done = lab.run("retry results", code=3)
    assert "nothing to do" in done.stderr
    assert "no limit that was met can be doubled" in done.stderr
    assert "batch_tamarin.py retry" not in done.stdout


def test_each_retry_doubles_once(lab):
    limited(lab, 0.1)
    done = lab.run("run recipe.json", code=3)
    assert "or batch_tamarin.py retry results: the same with doubled limits" in done.stdout
    lab.run("retry results", code=3)
    lab.run("retry results", code=3)
    assert [timeout_s for timeout_s, _ in limits_planned(lab)] == [0.1, 0.2, 0.4]
    assert attempts_finished(lab) == [1, 2, 3]


def test_raised_limits_hold_for_later_runs_of_the_same_recipe(lab):
    limited(lab, 0.1)
    proven(lab, "--retry", "1", code=3)
    lab.write("runs", "")
    done = lab.run("run recipe.json", code=3)
    assert runs_of(lab) == []
    assert "limit raised to 0.2 s" in done.stdout
    limited(lab, 0.3)
    assert proven(lab, code=3) == "two"
    timeouts = [timeout_s for timeout_s, _ in limits_planned(lab)]
    assert timeouts == [0.1, 0.2, 0.3], "the recipe's word is the last"


def test_a_limit_that_an_earlier_run_has_met_is_raised(lab):
    limited(lab, 0.1)
    assert proven(lab, code=3) == "two"
    assert proven(lab, "--retry", "1", code=3) == "two"
    assert proven_nothing(lab, "--retry", "1")
    assert proven(lab, "--retry", "2", code=3) == "two"


def proven_nothing(lab, *args):
    """Whether a run of the lab's recipe finds nothing to do."""
    return "nothing to do" in lab.run("run recipe.json", *args).stderr


def test_only_the_chosen_tasks_run_with_raised_limits(lab):
    lab.prover(NOTE_RUNS + "exec sleep 600\n")
    lab.recipe(resources={"timeout": 0.1})
    assert proven(lab, code=3) == "one three two"
    lab.write("runs", "")
    lab.run("retry results -t t--two", code=3)
    assert runs_of(lab) == ["two"]


def test_a_killed_run_goes_on_with_the_limits_that_it_had_raised(lab):
    limited(lab, 0.1)
    lab.run("run recipe.json --retry 2", code=3)

    def die_in_the_second_attempt(lines):
        starts = [number for number, line in enumerate(lines) if b'"event":"start"' in line]
        del lines[starts[1] + 1 :]

    change_lines(lab.journal, die_in_the_second_attempt)
    assert len(lab.events("finish")) == 1
    lab.run("resume results", code=3)
    assert [timeout_s for timeout_s, _ in limits_planned(lab)] == [0.1, 0.2, 0.4]
    assert attempts_finished(lab) == [1, 3, 4]


def test_a_killed_run_raises_what_it_had_no_time_to_raise(lab):
    limited(lab, 0.1)
    lab.run("run recipe.json --retry 1", code=3)

    def die_after_the_first_attempt(lines):
        ends = [number for number, line in enumerate(lines) if b'"event":"finish"' in line]
        del lines[ends[0] + 1 :]

    change_lines(lab.journal, die_after_the_first_attempt)
    lab.run("resume results", code=3)
    assert [timeout_s for timeout_s, _ in limits_planned(lab)] == [0.1, 0.2]


def test_a_limit_that_another_batch_has_met_is_raised(lab):
    limited(lab, 0.1)
    lab.run("run recipe.json -o before", code=3)
    lab.write("runs", "")
    lab.run("run recipe.json --retry 1", code=3)
    stored, new = lab.events("finish")
    assert stored["cached"] is True
    assert new["cached"] is False
    assert runs_of(lab) == ["two"]
    assert [timeout_s for timeout_s, _ in limits_planned(lab)] == [0.1, 0.2]


# --- Stages with options of their own ---

# Notes each lemma with the heuristic; lemma two has an end with heuristic C only.
CHOOSY_OF_HEURISTICS = """
for word in "$@"; do case "$word" in --heuristic=*) H="${word#*=}";; esac; done
for each in $LEMMAS; do
    echo "$each$H" >> runs
    [ $each = two ] && [ "$H" != C ] && exec sleep 600
done
echo "theory proof $H" > "$OUT"
for each in $LEMMAS; do echo "  $each (all-traces): verified (7 steps)"; done | summary
"""


def staged(lab, *heuristics, **entry):
    """Let lemma two be tried with these heuristics, one after the other, where a limit is met."""
    lab.prover(CHOOSY_OF_HEURISTICS)
    # None but the last meets its limit on any machine.
    stages = [{"tamarin_options": [f"--heuristic={each}"]} for each in heuristics]
    if stages:
        stages[-1]["resources"] = {"timeout": 300}
        entry["on_limit"] = stages
    resources = {"max_cores": 1, "max_memory": 1, "timeout": 0.3}
    lab.recipe(**{"lemmas": [{"name": "two"}], "resources": resources, **entry})


def test_what_meets_its_limit_is_tried_with_the_next_options(lab):
    staged(lab, "S", "C")
    done = lab.run("run recipe.json --no-cache", code=0)
    assert runs_of(lab) == ["two", "twoC", "twoS"]
    assert "limit of 0.3 s; options --heuristic=S, runs again" in done.stderr
    assert "limit raised to 300 s, options --heuristic=C" in done.stdout
    (row,) = csv.DictReader(lab.run("report results -f csv").stdout.splitlines())
    assert row["options"] == "'--heuristic=C"
    assert row["stage"] == "2"
    assert row["verdict"] == "verified"
    page = lab.run("report results -f md").stdout
    assert "earlier attempts | timeout (1 core, 1 GB, 0.3 s, without options); timeout" in page
    assert "nothing to do" in lab.run("run recipe.json --no-cache", code=0).stderr
    assert lab.read("results/proofs/t--two--fake.spthy") == "theory proof C\n"


def test_later_stages_make_no_rows_of_their_own_where_provers_are_compared(lab):
    staged(lab, "C", lemmas="one two")
    lab.run("run recipe.json", code=0)
    page = lab.run("report results -f md").stdout
    assert "| result | lemma | steps |" in page


def test_the_audit_takes_lemmas_of_all_stages_for_one_model(lab):
    staged(lab, "C", lemmas="one two")
    edit_theory(lab, 'two: exists-trace "Ex', 'two: "Ex')
    lab.run("run recipe.json", code=0)
    (one, two) = json.loads(lab.run("report results -f json").stdout)["tasks"]
    assert "stage" not in one
    assert two["stage"] == 1
    assert two["assumes"] == ["one"]
    assert two["assuming"] == []


def test_an_earlier_stage_is_no_failure(lab):
    staged(lab, "C", expect="verified")
    lab.run("run recipe.json --fail-fast", code=0)
    assert runs_of(lab) == ["two", "twoC"]


def test_a_stage_that_is_added_is_tried_after_what_met_its_limit(lab):
    staged(lab)
    assert proven(lab, code=3) == "two"
    staged(lab, "C")
    assert proven(lab) == "twoC"


def test_options_of_a_stage_that_are_edited_are_tried_alone(lab):
    staged(lab, "S")
    change_recipe(lab, "tasks.task.on_limit.0.resources.timeout = 0.3")
    assert proven(lab, code=3) == "two twoS"
    staged(lab, "C")
    assert proven(lab) == "twoC"
    staged(lab, "S")
    change_recipe(lab, "tasks.task.on_limit.0.resources.timeout = 0.3")
    assert proven(lab, code=3) == "", "what it came to is known"
    assert "timeout" in told_by_status(lab)["two"]


def test_a_stage_that_has_met_its_limit_is_not_tried_again_when_an_earlier_limit_grows(lab):
    staged(lab, "S", "Q")
    change_recipe(lab, "tasks.task.on_limit.1.resources.timeout = 0.3")
    assert proven(lab, code=3) == "two twoQ twoS"
    change_recipe(lab, "tasks.task.resources.timeout = 0.4")
    # What does not say its own limit has that of the stage before.
    change_recipe(lab, 'tasks.task.on_limit.0.resources = {"timeout": 0.3}')
    assert proven(lab, code=3) == "two"
    assert "options --heuristic=Q" in told_by_status(lab)["two"]
    assert proven_nothing(lab)


@pytest.mark.parametrize(
    "status, stages, wanted",
    [
        ("timeout", "1 1024 120", 1),
        ("timeout", "1 2048 60", 0),
        ("timeout", "4 1024 60", 1),
        ("memory_limit", "1 1024 120", 0),
        ("memory_limit", "1 2048 60", 1),
        ("memory_limit", "1 1024 120, 1 2048 60", 2),
        ("timeout", "1 1024 60 C, 1 1024 120", 1),
        ("memory_limit", "1 1024 10 C", 1),
        ("completed", "1 1024 60 C", 0),
        ("failed", "1 1024 60 C", 0),
    ],
)
def test_the_next_stage_allows_more_of_what_was_met_or_has_other_options(status, stages, wanted):
    limits = bt.Limits(1, 1024, 60)
    planned = [bt.Stage(limits, (), "k")]
    for words in stages.split(", "):
        cores, memory_mb, timeout_s, *options = words.split(" ")
        allowed = bt.Limits(int(cores), int(memory_mb), int(timeout_s))
        planned.append(bt.Stage(allowed, tuple(options), f"k{''.join(options)}"))
    plan = a_plan(limits=limits, stages=tuple(planned))
    records = [bt.Record(bt.Result(bt.Status(status)), plan, 1, "here")]
    assert bt.plan_to_try(plan, records, "here").stage == wanted
    assert bt.plan_to_try(plan, records, "elsewhere").stage == 0


def test_an_answer_of_a_later_stage_stays_when_an_earlier_limit_grows(lab):
    staged(lab, "S", "C")
    proven(lab)
    change_recipe(lab, "tasks.task.resources.timeout = 0.4")
    assert proven(lab) == ""
    assert told_by_status(lab)["two"].startswith("verified")


def test_what_is_incomplete_in_a_later_stage_keeps_no_earlier_one_from_larger_limits(lab):
    staged(lab, "C")
    script = lab.read("fake.sh")
    lab.write("fake.sh", script.replace("verified (7", "analysis incomplete (7"), 0o755)
    assert proven(lab, code=3) == "two twoC"
    assert proven_nothing(lab, "--no-cache")
    change_recipe(lab, "tasks.task.resources.timeout = 0.4")
    assert proven(lab, code=3) == "two", "and the other stage is as it was"
    assert told_by_status(lab)["two"].startswith("incomplete")


def test_an_answer_of_a_stage_is_none_where_that_is_not_planned(lab):
    staged(lab, "C")
    proven(lab)
    staged(lab)
    assert proven(lab, code=3) == "", "the limit that was met in the first stage is known"
    assert told_by_status(lab)["two"].startswith("timeout")
    change_recipe(lab, 'tasks.task.tamarin_options = ["--heuristic=C"]')
    assert proven(lab) == "", "as its own options are those of the stage"


def test_the_cache_has_each_stage_under_its_own_key(lab):
    staged(lab, "S", "C")
    lab.run("run recipe.json -o before", code=0)
    lab.write("runs", "")
    lab.run("run recipe.json", code=0)
    assert runs_of(lab) == []
    assert lab.only_finish()["cached"]
    (plan,) = lab.events("task")[-1:]
    assert plan["stage"] == 2
    assert plan["options"] == ["--heuristic=C"]
    staged(lab)
    lab.run("run recipe.json -o alone", code=3)
    assert runs_of(lab) == [], "the limit is known, too"
    assert lab.only_finish()["verdict"] == "verified"


def test_the_cache_answers_for_a_later_stage_where_no_limit_was_met(lab):
    staged(lab, "C")
    lab.run("run recipe.json -o before", code=0)
    for path in cache_entries("*.limit-*"):  # they are those of another host
        shutil.rmtree(path)
    lab.write("runs", "")
    lab.run("run recipe.json", code=0)
    assert runs_of(lab) == []
    assert lab.events("task")[-1]["stage"] == 1


def test_a_stored_answer_of_the_next_stage_is_taken_when_a_limit_is_met(lab):
    staged(lab, tamarin_options=["--heuristic=C"], resources={"max_cores": 1, "max_memory": 1})
    # Of the lemma as it is, in an older text: it waits for a load of the new one.
    lab.run("run recipe.json -o before", code=0)
    edit_theory(lab, "lemma three", "lemma drei")
    lab.write("runs", "")
    staged(lab, "C")
    lab.run("run recipe.json", code=0)
    assert runs_of(lab) == ["two"]
    assert [event["cached"] for event in lab.events("finish")] == [False, True]


def test_a_run_that_was_killed_in_a_later_stage_goes_on_with_that(lab):
    staged(lab, "S", "C")
    lab.run("run recipe.json --no-cache", code=0)

    def die_in_the_last_stage(lines):
        starts = [number for number, line in enumerate(lines) if b'"event":"start"' in line]
        del lines[starts[-1] + 1 :]

    change_lines(lab.journal, die_in_the_last_stage)
    lab.write("runs", "")
    assert "was timeout (an earlier stage)" in lab.run("status results").stdout
    lab.run("resume results --no-cache", code=0)
    assert runs_of(lab) == ["twoC"]


def test_limits_are_doubled_after_the_last_stage_only(lab):
    staged(lab, "S")
    change_recipe(lab, "tasks.task.on_limit.0.resources.timeout = 0.2")
    assert proven(lab, "--retry", "1", code=3) == "two twoS twoS"
    assert [timeout_s for timeout_s, _ in limits_planned(lab)] == [0.3, 0.2, 0.4]
    lab.write("runs", "")
    lab.run("retry results --no-cache", code=3)
    assert runs_of(lab) == ["twoS"]
    staged(lab, "S", "C")
    change_recipe(lab, 'tasks.task.on_limit.0.resources = {"timeout": 0.2}')
    assert proven(lab) == "twoC"


def test_what_is_proven_anew_begins_with_the_first_stage(lab):
    staged(lab, "C")
    proven(lab)
    assert proven(lab, "--again") == "two twoC"


def test_only_what_is_left_of_a_shared_process_has_other_stages(lab):
    shared = {"granularity": "theory", "config": {"global_max_cores": 1}}
    staged(lab, "C", lemmas="one two", **shared)
    assert proven(lab) == "one one two two twoC"
    assert {event["verdict"] for event in lab.finishes().values()} == {"verified"}


def test_variants_and_lemmas_have_their_own_options_in_all_stages(lab):
    staged(
        lab,
        "C",
        lemmas=[{"name": "two", "tamarin_options": ["--bound=7"]}],
        variants={"a": {"tamarin_options": ["--saturation=3"]}},
    )
    proven(lab)
    assert lab.events("task")[-1]["options"] == ["--bound=7", "--saturation=3", "--heuristic=C"]


def test_check_loads_a_theory_with_the_options_of_every_stage(lab):
    refuse = 'case "$*" in *--heuristic=Q*) echo "unknown ranking" >&2; exit 1;; esac\n'
    lab.prover(refuse + VERIFY)
    lab.recipe(on_limit=[{"tamarin_options": ["--heuristic=Q"]}])
    done = lab.run("check recipe.json -d", code=2)
    assert "t.spthy --heuristic=Q with fake, 3 tasks" in done.stdout
    assert "error: it does not load" in done.stdout
    assert "where the limits before were met" in done.stdout


def test_init_takes_the_options_of_the_stage_that_answered(lab):
    staged(lab, "C")
    lab.run("run recipe.json", code=0)
    lab.run("init --from results --yes -o new.json", code=0)
    entry = written_recipe(lab, "new.json")["tasks"]["task"]
    assert entry["tamarin_options"] == ["--heuristic=C"]
    assert "on_limit" not in entry


def test_a_recheck_goes_by_the_options_of_the_stage_that_answered(lab):
    finder = CHOOSY_OF_HEURISTICS.replace(
        'echo "theory proof $H" > "$OUT"', FINDER.split("\nsumm")[0]
    )
    staged(lab, "C", tamarin_versions=["fake"])
    lab.prover(finder)
    lab.prover(CHECKER, alias="trusted")
    recipe = json.loads(lab.read("recipe.json"))
    recipe["tamarin_versions"] = lab.provers
    lab.write("recipe.json", json.dumps(recipe))
    edit_theory(lab, "two: exists-trace", "two:")
    lab.run("run recipe.json", code=0)
    lab.run("recheck results --prover trusted")
    (check,) = lab.events("task", "results/recheck-trusted")
    assert check["options"] == ["--heuristic=C"]
    assert "stages" not in check


def test_a_stage_that_a_journal_does_not_have_is_said_and_skipped(lab):
    staged(lab, "C")
    lab.run("run recipe.json", code=0)
    damaged = lab.journal.read_text().replace('"stage":1', '"stage":7')
    lab.journal.write_text(damaged)
    lab.run("report results -f md", code=0)
    lab.run("run recipe.json --no-cache", code=0)


# --- Ending at the first failure ---

# Lemma l1 is falsified; what comes later hangs.
FAILS_IN_L1 = """
echo "$LEMMA" >> runs
case $LEMMA in
    l0) [ -e patient ] && exec sleep 600;;
    l1) echo "  l1 (all-traces): falsified - found trace (3 steps)" | summary; exit;;
esac
"""


def failing(lab, cores=1, **entry):
    """A recipe of four lemmas; the second one is not as expected."""
    lab.prover(FAILS_IN_L1 + VERIFY)
    lab.write("t.spthy", many_lemmas(4))
    resources = {"max_cores": 1, "max_memory": 1, "timeout": 300}
    lab.recipe(**{"config": {"global_max_cores": cores}, "resources": resources, **entry})


def test_after_the_first_failure_nothing_starts_and_the_rest_stays_open(lab):
    failing(lab, expect="verified")
    done = lab.run("run recipe.json --fail-fast --no-cache", code=1)
    assert runs_of(lab) == ["l0", "l1"]
    assert "stopping, as t--l1--fake came to falsified: 0 jobs to end" in done.stderr
    assert "2 pending" in done.stdout
    assert "go on: batch_tamarin.py resume results" in done.stdout
    assert "ended, 2 tasks not run" in lab.run("status results").stdout
    lab.run("resume results --no-cache", code=1)
    assert runs_of(lab) == ["l0", "l1", "l2", "l3"]


def test_what_runs_at_the_first_failure_is_ended_and_runs_again_later(lab):
    failing(lab, cores=2, expect="verified")
    (lab.path / "patient").touch()
    done = lab.run("run recipe.json --fail-fast --no-cache", code=1)
    assert "1 job to end" in done.stderr
    assert lab.finishes()["t--l0--fake"]["status"] == "interrupted"
    assert "stopped after the failure of t--l1--fake" in done.stdout
    (lab.path / "patient").unlink()
    lab.run("resume results --no-cache", code=1)
    assert runs_of(lab) == ["l0", "l0", "l1", "l2", "l3"]


def test_what_is_expected_is_no_failure(lab):
    failing(lab, expect={"l1": "falsified"})
    lab.run("run recipe.json --fail-fast", code=0)
    assert runs_of(lab) == ["l0", "l1", "l2", "l3"]


@pytest.mark.parametrize(
    "body, timeout, status",
    [("exit 3", 300, "failed"), ("exec sleep 600", 0.2, "timeout"), ("summary", 300, "failed")],
)
def test_no_answer_is_a_failure(lab, body, timeout, status):
    lab.prover(f"{NOTE_RUNS}{body}\n")
    lab.recipe(
        config={"global_max_cores": 1},
        resources={"max_cores": 1, "max_memory": 1, "timeout": timeout},
    )
    lab.run("run recipe.json --fail-fast --no-cache", code=3)
    assert runs_of(lab) == ["one"]
    assert lab.only_finish()["status"] == status


def test_a_theory_that_cannot_be_read_is_a_failure(lab):
    lab.prover(NOTE_RUNS + VERIFY)
    lab.recipe()
    recipe = json.loads(lab.read("recipe.json"))
    recipe["tasks"]["other"] = {**recipe["tasks"]["task"], "theory_file": "gone.spthy"}
    lab.write("recipe.json", json.dumps(recipe))
    lab.write("runs", "")
    lab.run("run recipe.json --fail-fast", code=3)
    assert runs_of(lab) == []


def test_a_failure_from_the_cache_is_one(lab):
    failing(lab, expect="verified")
    lab.run("run recipe.json -o before", code=1)
    lab.write("runs", "")
    lab.run("run recipe.json --fail-fast", code=1)
    assert runs_of(lab) == []
    assert sorted(lab.finishes()) == ["t--l0--fake", "t--l1--fake"]


def test_a_failure_in_a_shared_process_ends_the_run(lab):
    lab.prover(FAILS_IN_L1 + VERIFY.replace("$LEMMA (", "l1 ("))
    lab.write("t.spthy", many_lemmas(3))
    lab.recipe(config={"global_max_cores": 1}, granularity="theory", expect="falsified")
    lab.run("run recipe.json --fail-fast --no-cache", code=1)
    assert len(lab.events("start")) == 1


def batch_in_room(*plans, memory_mb=8192):
    """A batch that is only planned, as `run` makes it."""
    room = bt.Limits(8, memory_mb, 60)
    batch = bt.Batch(bt.Header(limits=room, host="here"))
    for plan in plans:
        batch.apply(plan)
    return batch


@pytest.mark.parametrize(
    "changes, memory_mb, wanted",
    [
        ({}, 8192, 2048),
        ({"key": "of another text"}, 8192, 1024),
        ({"limits": bt.Limits(1, 1500, 60)}, 8192, 1500),
        ({}, 1024, 1024),
    ],
)
def test_raised_limits_stay_while_text_and_recipe_do_and_there_is_room(changes, memory_mb, wanted):
    plan = a_plan(limits=bt.Limits(1, 2048, 60), raised_from=bt.Limits(1, 1024, 60))
    planned = batch_in_room(a_plan(**changes), memory_mb=memory_mb)
    bt.raise_limits(batch_in_room(plan), planned, ["i"], 0)
    assert planned.tasks["i"].plan.limits.memory_mb == wanted


def test_nothing_is_raised_for_what_a_later_stage_of_another_one_has_settled():
    limits = bt.Limits(1, 1024, 60)
    stages = (bt.Stage(limits, (), "fast"), bt.Stage(limits, ("-C",), "fast, later"))
    slow = a_plan(id="slow", key="slow", race="r", limits=limits)
    fast = a_plan(id="fast", key="fast", race="r", limits=limits, stages=stages)
    old = batch_in_room(slow, fast)
    for event in (ends("slow", "timeout"), ends("fast", "timeout"), fast.at_stage(1)):
        old.apply(event)
    old.apply(ends("fast", "verified"))
    old.apply(settled("slow", by="fast"))
    planned = batch_in_room(slow, fast)
    bt.raise_limits(old, planned, ["slow", "fast"], 1)
    assert planned.tasks["fast"].plan.stage == 1
    assert planned.tasks["slow"].plan == slow


# --- Limits of whole runs ---


def test_a_task_that_runs_into_its_timeout_leaves_no_prover(lab, monkeypatch):
    monkeypatch.setattr(bt, "GRACE_S", 0.1)
    lab.prover("trap '' TERM; setsid sleep 677 & sleep 678")
    lab.recipe(lemmas=[{"name": "one", "resources": {"timeout": 1}}])
    lab.run("run recipe.json", code=3)
    event = lab.only_finish()
    assert event["status"] == "timeout"
    assert "limit of 1 s" in event["reason"]
    assert not living_provers(lab.path)


def test_a_task_over_its_memory_limit_harms_no_other(lab):
    hog = f"exec {sys.executable} -S -c \"import time; x = b'1' * (400 << 20); time.sleep(600)\""
    lab.prover(f'[ "$LEMMA" = one ] && {hog}\n{VERIFY}')
    lab.recipe(
        config={"global_max_memory": 1},
        resources={"max_cores": 1, "max_memory": 0.2, "timeout": 300},
        lemmas="one two",
    )
    lab.run("run recipe.json", code=3)
    one = lab.finishes()["t--one--fake"]
    assert one["status"] == "memory_limit"
    assert one["exit"] == {"signal": "SIGKILL"}
    assert lab.finishes()["t--two--fake"]["verdict"] == "verified"


def test_limits_hold_while_results_are_copied(lab, monkeypatch):
    """A proof is copied into the cache until the other lemma has run into its limit."""

    def slow_copy(source, target, copy=bt.copy_file):
        if not source.endswith("t--one--fake.spthy"):
            return copy(source, target)
        wait_for(lambda: any(event["status"] == "timeout" for event in lab.events("finish")))
        (lab.path / "copied").touch()
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", slow_copy)
    lab.prover("[ $LEMMA = one ] || exec sleep 600; " + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}, {"name": "two", "resources": {"timeout": 1}}])
    lab.run("run recipe.json --cores 2 --memory 2 -q", code=3)
    assert lab.finishes()["t--one--fake"]["status"] == "completed"
    assert lab.finishes()["t--two--fake"]["status"] == "timeout"
    assert (lab.path / "copied").exists()


# --- Provers that misbehave ---


def test_a_prover_that_disappears_fails_the_tasks_that_come_later(lab):
    lab.prover("rm -f fake.sh; " + VERIFY)
    lab.recipe(config={"global_max_cores": 1}, lemmas="one two")
    lab.run("run recipe.json", code=3)
    first, second = lab.events("finish")
    assert first["status"] == "completed"
    assert second["status"] == "failed"
    assert "no such program" in second["reason"]


def test_a_verdict_is_read_behind_a_flood_of_output(lab, monkeypatch):
    monkeypatch.setattr(bt, "LOG_CAP", 8 << 20)
    monkeypatch.setattr(bt, "LOG_HEAD", 2 << 20)
    monkeypatch.setattr(bt, "LOG_TAIL", 2 << 20)
    flood = "head -c 12000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/urandom >&2"
    lab.prover(f"{flood}; {VERIFY}")
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"
    log = lab.results / "logs" / "t--one--fake.out"
    assert log.stat().st_size <= 8 << 20


def test_with_few_descriptors_nothing_is_wrong(lab):
    """Tasks fail with a reason, or the batch stops with one error."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    few = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (14, 14))
    done = lab.run_script("run recipe.json", preexec_fn=few)
    assert done.returncode in (0, 2, 3), done.stderr
    if done.returncode == 2:
        assert "error:" in done.stderr
    for event in lab.events("finish"):
        assert event["verdict"] == "verified" or event["reason"]


def test_a_theory_that_changes_while_the_batch_runs_gets_no_verdict(lab):
    lab.prover('echo "// more" >> t.spthy; ' + VERIFY)
    lab.recipe(config={"global_max_cores": 1})
    lab.run("run recipe.json", code=3)
    for event in lab.finishes().values():
        assert event["status"] == "interrupted"
        assert event["verdict"] is None
        assert "t.spthy changed since" in event["reason"]
    assert len(lab.finishes()) == 3
    assert len(lab.events("start")) == 1, "what is not what was planned is not even started"


# --- Shared processes ---

# Proves all lemmas that it is asked for, and notes in "runs" which they were.
TOGETHER = """
echo "$LEMMAS" >> runs
echo "theory proof" > "$OUT"
verdicts() { for lemma in $LEMMAS; do echo "  $lemma (all-traces): verified (7 steps)"; done; }
verdicts | summary
"""


def recipe_to_share(lab, body=TOGETHER, count=5, cores=1, **entry):
    """A recipe of so many lemmas of one theory, which may share processes."""
    lab.write("t.spthy", many_lemmas(count))
    lab.prover(body)
    resources = {"max_cores": 1, "max_memory": 0.2, "timeout": 300}
    config = {"global_max_cores": cores, "global_max_memory": 1, "granularity": "theory"}
    lab.recipe(**{"config": config, "resources": resources, **entry})


def what_ran(lab):
    """What each run of the prover was asked for, sorted."""
    runs = lab.read("runs").split("\n")
    return sorted(runs)[1:]


def outcomes(lab, results="results"):
    """Status and verdict of each task, by its id."""
    found = {}
    for task_id, event in lab.finishes(results).items():
        found[task_id] = (event["status"], event["verdict"])
    return found


def test_the_lemmas_of_a_theory_share_a_process(lab):
    recipe_to_share(lab)
    done = lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0 l1 l2 l3 l4"]
    (start,) = lab.events("start")
    assert start["ids"] == [f"t--l{number}--fake" for number in range(5)]
    for task_id, event in lab.finishes().items():
        assert event["verdict"] == "verified"
        assert event["steps"] == 7
        assert event["shared_by"] == 5
        assert (lab.results / "proofs" / f"{task_id}.spthy").exists()
        log = lab.results / "logs" / f"{task_id}.out"
        assert "l3 (all-traces)" in log.read_text()
    assert not list(lab.results.glob("*/*~shared*")), "what all of them have is nobody's"
    assert done.stdout.count("shared by 5") == 5


def test_without_a_word_each_lemma_has_a_process(lab):
    recipe_to_share(lab, count=2, config={"global_max_cores": 1})
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0", " l1"]
    assert "shared_by" not in lab.finishes()["t--l0--fake"]


# What config, the entry and the command line say, and what counts.
GRANULARITIES = """
theory : lemma  :        : lemma
lemma  : theory :        : theory
lemma  : theory : lemma  : lemma
theory : lemma  : theory : theory
"""


@pytest.mark.parametrize("config, entry, option, wanted", rows(GRANULARITIES))
def test_the_granularity_is_that_of_the_command_line_then_the_entry_then_the_config(
    lab, config, entry, option, wanted
):
    config = {"granularity": config, "global_max_cores": 1}
    recipe_to_share(lab, count=2, config=config, granularity=entry)
    options = ["--granularity", option] if option else []
    lab.run("run recipe.json", *options, code=0)
    runs = {"theory": [" l0 l1"], "lemma": [" l0", " l1"]}
    assert what_ran(lab) == runs[wanted]


@pytest.mark.parametrize("version, shares", [("1.6.1", False), ("1.8.0", True), ("1.10", True)])
def test_provers_that_do_not_tell_of_loading_are_not_shared(lab, version, shares):
    recipe_to_share(lab, count=2)
    path = lab.path / "fake.sh"
    path.write_text(path.read_text().replace("1.11.0", version))
    done = lab.run("run recipe.json", code=0)
    runs = [" l0 l1"] if shares else [" l0", " l1"]
    assert what_ran(lab) == runs
    assert ("'fake' (tamarin-prover 1.6.1) is not known to say" in done.stderr) != shares


def test_there_are_as_many_shared_processes_as_there_is_room_for(lab):
    recipe_to_share(lab, cores=2)
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0 l2 l4", " l1 l3"]


def test_lemmas_with_other_limits_share_another_process(lab):
    large = {"name": "l[12]", "resources": {"timeout": 400}}
    recipe_to_share(lab, count=4, lemmas=[{"name": "l[03]"}, large])
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0 l3", " l1 l2"]


def test_only_the_chosen_lemmas_share_a_process(lab):
    recipe_to_share(lab)
    lab.run("run recipe.json -t t--l1 -t t--l3", code=0)
    assert what_ran(lab) == [" l1 l3"]


def test_checks_of_stored_proofs_share_a_process(lab):
    body = TOGETHER.replace("in $LEMMAS", "in l0 l1 l2")
    recipe_to_share(lab, body, count=3, prove=False)
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [""]
    assert outcomes(lab) == {
        f"t--l{number}--fake": ("completed", "verified") for number in range(3)
    }


def test_expectations_are_of_each_lemma_of_a_shared_process(lab):
    recipe_to_share(lab, expect={"l1": "falsified"})
    done = lab.run("run recipe.json", code=1)
    assert "1 not as expected" in done.stdout


# What a prover does that is asked for l2, and whether those that it was asked for as well have to
# be proven once more.
BAD_ENDS = {
    "crashes": ("exit 3", True),
    "is killed": ("kill -9 $$", True),
    "is silent": ("exit 0", True),
    "refuses the theory": ("echo '\"t.spthy\" (line 3, column 1):' >&2; exit 1", True),
    "prints half a summary": ("verdicts | summary | sed '$d'; exit 0", True),
    "leaves it out": ("verdicts | summary | grep -v ' l2 '; exit 0", False),
    "has a new word": ("verdicts | summary | sed '/ l2 /s/: verified/: puzzled/'; exit 0", False),
    "exhausts its memory": (
        f"exec {sys.executable} -S -c \"import time; x = b'1' * (400 << 20); time.sleep(600)\"",
        True,
    ),
}


@pytest.mark.parametrize("bad, for_all", BAD_ENDS.values(), ids=BAD_ENDS)
def test_what_one_lemma_does_to_a_shared_process_changes_no_result(lab, bad, for_all):
    verdicts, rest = TOGETHER.rsplit("verdicts |", 1)
    body = f'{verdicts}case "$LEMMAS " in *" l2 "*) {bad};; esac\nverdicts |{rest}'
    recipe_to_share(lab, body)
    lab.run("run recipe.json --no-cache --granularity lemma -o apart", code=3)
    lab.write("runs", "")
    done = lab.run("run recipe.json -o together", code=3)
    assert outcomes(lab, "together") == outcomes(lab, "apart")
    runs = what_ran(lab)
    alone = [run for run in runs if len(run.split()) == 1]
    assert len(alone) == (5 if for_all else 1)
    assert len(runs) == len(alone) + 1
    # Of the process that all shared: that they run alone, and nothing else.
    ends = lab.events("finish", "together")
    shared = [event for event in ends if "~shared" in event["job"]]
    assert len(shared) == 5
    for event in shared:
        if event["status"] != "completed":
            assert event["status"] == "interrupted"
            assert event["verdict"] is None
            assert event["runs_alone"]
            assert event["reason"].startswith("runs alone: in a process shared by 5, ")
    assert done.stderr.count("runs alone: ") == 1, "it is said once"
    earlier = lab.path / "together" / "earlier"
    endings = [path.suffix for path in earlier.glob("*~shared~*")]
    assert sorted(endings) == [".err", ".out"]


SAYS_IT_HAS_LOADED = 'echo "[Theory T] Theory closed" >&2; echo "[Saturating Sources] Done" >&2\n'


def test_a_shared_process_that_meets_its_budget_tells_nothing_of_its_lemmas(lab, monkeypatch):
    """It is no limit that they met: all are proven alone, and none is kept as a timeout."""
    monkeypatch.setattr(bt, "BUDGET_LOADS", 0)
    monkeypatch.setattr(bt, "BUDGET_S", 0.0)
    monkeypatch.setattr(bt, "PAUSE_S", 0.01)
    hang = '[ "$LEMMAS" = " $LEMMA" ] || exec sleep 600\n'
    recipe_to_share(lab, SAYS_IT_HAS_LOADED + hang + TOGETHER, count=3)
    done = lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0", " l1", " l2"]
    assert "in a process shared by 3, it met its budget of 0 s" in done.stderr
    kept = [bt.Cache().read(str(entry)) for entry in cache_entries("*")]
    assert [entry.result.status for entry in kept] == ["completed"] * 3


def test_a_shared_process_is_held_to_its_budget_whatever_an_oracle_says(lab, monkeypatch):
    monkeypatch.setattr(bt, "BUDGET_LOADS", 0)
    monkeypatch.setattr(bt, "BUDGET_S", 0.0)
    monkeypatch.setattr(bt, "PAUSE_S", 0.01)
    chat = "head -c 3000 /dev/zero | tr '\\0' x >&2; echo >&2; sleep 0.005"
    talk = f'[ "$LEMMAS" = " $LEMMA" ] || while :; do {chat}; done\n'
    resources = {"max_cores": 1, "max_memory": 0.2, "timeout": 30}
    body = SAYS_IT_HAS_LOADED + talk + TOGETHER
    recipe_to_share(lab, body, count=2, resources=resources)
    done = lab.run("run recipe.json", code=0)
    assert "in a process shared by 2, it met its budget of 0 s" in done.stderr


def test_a_prover_that_never_tells_that_it_has_loaded_is_held_to_the_limit_of_one_lemma(lab):
    hang = '[ "$LEMMAS" = " $LEMMA" ] || exec sleep 600\n'
    resources = {"max_cores": 1, "max_memory": 0.2, "timeout": 1}
    recipe_to_share(lab, hang + TOGETHER, count=2, resources=resources)
    done = lab.run("run recipe.json")
    assert "in a process shared by 2, ran into its time limit of 1 s" in done.stderr
    assert len(lab.events("start")) == 3


@pytest.mark.parametrize("load_s, budget_s", [(0, 60), (10, 80), (500, 300)])
def test_the_budget_is_twice_the_load_and_a_minute_and_never_more_than_a_limit(load_s, budget_s):
    assert bt.budget_of(load_s, bt.Limits(1, 1, 300)) == budget_s


def test_lemmas_that_run_alone_keep_their_priority(lab):
    crash = 'case $LEMMAS in " l0 l1") exit 3;; esac\n'
    urgent = {"name": "l[01]", "priority": 1}
    recipe_to_share(lab, crash + TOGETHER, count=4, lemmas=[urgent, {"name": "l[23]"}])
    lab.run("run recipe.json", code=0)
    assert lab.read("runs") == " l0\n l1\n l2 l3\n"


def test_lemmas_run_alone_also_when_the_batch_goes_on(lab):
    """Their shared process crashed; then they hung, and the batch was stopped."""
    alone = '[ "$LEMMAS" = " $LEMMA" ] || exit 3\n[ -e go ] || exec sleep 600\n'
    recipe_to_share(lab, alone + TOGETHER, count=3)
    process = lab.start("run recipe.json")
    lab.wait_for_events("start", 2)
    process.terminate()
    end_of(process)
    assert process.returncode == 143
    (lab.path / "go").touch()
    lab.run("resume results", code=0)
    assert what_ran(lab) == [" l0", " l1", " l2"]
    assert len(lab.events("start")) == 5


def test_lemmas_of_a_new_text_share_again(lab):
    recipe_to_share(lab, "[ -e go ] || exit 3\n" + TOGETHER, count=3)
    lab.run("run recipe.json", code=3)
    (lab.path / "go").touch()
    theory = many_lemmas(3)
    lab.write("t.spthy", theory.replace("A(~k)", "A(~k), B(~k)"))
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" l0 l1 l2"]


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lemmas_whose_process_was_stopped_share_one_again(lab, number):
    recipe_to_share(lab, "[ -e go ] || { echo up; exec sleep 600; }\n" + TOGETHER)
    process = lab.start("run recipe.json")
    log = lab.results / "logs" / "t--l0--fake~shared.out"
    wait_for(lambda: lab.events("start") and log.exists() and log.read_text())
    process.send_signal(number)
    end_of(process)
    wait_for(lambda: lock_is_free(lab.journal))
    for event in lab.finishes().values():
        assert event["reason"] == "stopped by SIGTERM"
    (lab.path / "go").touch()
    lab.run("resume results", code=0)
    assert what_ran(lab) == [" l0 l1 l2 l3 l4"]
    assert set(outcomes(lab).values()) == {("completed", "verified")}
    kept = [path.parent.name for path in lab.results.glob("*/*~shared*")]
    assert set(kept) == {"earlier"}, "what was left behind is not taken for a result's"


def test_each_result_of_a_shared_process_is_kept_under_its_own_keys(model):
    model.prover(TOGETHER)
    config = {"granularity": "theory", "global_max_cores": 1}
    resources = {"max_cores": 1, "max_memory": 1, "timeout": 300}
    model.recipe(config=config, resources=resources)
    assert model.proven() == "l0 l1 l2 l3"
    assert model.proven("--granularity", "lemma") == ""
    assert model.all_finished(cached=True, shared_by=4)
    assert model.last.stdout.count("shared by 4") == 4
    model.edit_lemma("l0")
    assert model.proven() == "l0", "what shares no process with others any more runs by itself"


# What the lemmas took before, for how many places, and the parts that share processes.
SHARED_PARTS = """
a b c d e              : 2 : a c e|b d
a b                    : 4 : a|b
a=40 b=10 c=10 d=10    : 2 : a|b c d
a=40 b=10 c=20 d       : 2 : a b|d c
a=50 b=40 c=20         : 1 : a|b c
"""


@pytest.mark.parametrize("lemmas, places, wanted", rows(SHARED_PARTS))
def test_parts_have_about_equal_times_and_keep_to_their_budget(lemmas, places, wanted):
    tasks = []
    past = {}
    for word in lemmas.split():
        name, _, seconds = word.partition("=")
        limits = bt.Limits(1, 1, 300)
        tasks.append(a_task(id=name, limits=limits))
        if seconds:
            past[name] = bt.Usage(float(seconds))
    parts = bt.parts_to_share(tasks, int(places), past)
    told = []
    for part in parts:
        told.append(" ".join(task.id for task in part))
    assert "|".join(told) == wanted


def may_share(past=None, **plan):
    """Whether a task of this plan may share a process; `past`: what it took before."""
    plan = {"limits": bt.Limits(1, 1, 300), **plan}
    return bt.could_share(bt.Task(a_plan(**plan)), past)


def test_lemmas_that_tamarin_makes_share_no_process():
    assert may_share()
    assert not may_share(optional=True)
    assert not may_share(lemma="Observational_equivalence", trait="diff")


@pytest.mark.parametrize(
    "wall_s, load_s, shares", [(59, None, True), (61, None, False), (61, 10, True), (299, 9, False)]
)
def test_a_lemma_that_took_longer_than_the_budget_shares_no_process(wall_s, load_s, shares):
    assert may_share(bt.Usage(wall_s, load_s=load_s)) == shares


def test_what_ends_while_others_are_looked_at_is_not_proven_twice():
    tasks = []
    for name in "abc":
        theory = "t" if name != "b" else "u"
        plan = a_plan(id=name, theory=theory, granularity=bt.Granularity.THEORY)
        tasks.append(bt.Task(plan))
    groups = bt.groups_to_share(tasks, {})
    assert [task.id for task in next(groups)] == ["a", "c"]
    tasks[2].alone_for = tasks[2].plan.key
    assert [[task.id for task in group] for group in groups] == [["b"]]


def replaying(name):
    """A prover that does what a real one did in this run of ../shared/transcripts."""
    run = TRANSCRIPTS / name
    return f"""
echo "$LEMMAS" >> runs
cp "{run}/out.spthy" "$OUT"; cp "{run}/out.dot" "$DOT"
cat "{run}/stderr" >&2; cat "{run}/stdout"
"""


@needs_transcripts
def test_what_a_shared_process_took_for_granted_and_falsified_is_told(lab):
    recipe_to_share(lab, replaying("false-reuse-all"))
    theory = TRANSCRIPTS / "false-reuse-all" / "theory.spthy"
    shutil.copy(theory, lab.path / "t.spthy")
    done = lab.run("run recipe.json", code=1)
    assert what_ran(lab) == [" nothing_leaks key_secret key_secret_alone executable"]
    found = {}
    for task_id, event in lab.finishes().items():
        lemma = task_id.split("--")[1]
        found[lemma] = event["verdict"]
    assert found == {
        "nothing_leaks": "falsified",
        "key_secret": "verified",
        "key_secret_alone": "falsified",
        "executable": "falsified",
    }
    assert done.stdout.count("resting on a falsified lemma: nothing_leaks") == 2


@needs_transcripts
def test_each_lemma_of_a_shared_process_has_its_own_traces(lab):
    recipe_to_share(lab, replaying("two-lemmas-one-process"))
    lemma = '{}: "All k #i. A(k) @ i ==> T"\n'
    types = lemma.format("types [sources]")
    secrecy = lemma.format("nonce_secrecy")
    lemmas = f"lemma {types}lemma {secrecy}"
    lab.write("t.spthy", f"theory NSPK3 begin\n{RULE_A}{lemmas}end\n")
    lab.run("run recipe.json", code=0)
    assert what_ran(lab) == [" types nonce_secrecy"]
    types = lab.finishes()["t--types--fake"]
    secrecy = lab.finishes()["t--nonce_secrecy--fake"]
    assert types["verdict"] == "verified"
    assert types["steps"] == 32
    assert secrecy["verdict"] == "falsified"
    assert secrecy["steps"] == 16
    traces = {path.name for path in (lab.results / "traces").iterdir()}
    assert "t--nonce_secrecy--fake.dot" in traces
    assert not any(name.startswith("t--types") for name in traces)


def test_proofs_of_a_shared_process_are_rechecked_one_by_one(lab):
    lines = FINDER.partition("| ")[0]
    both = lines.replace('echo "lemma $LEMMA', 'for LEMMA in $LEMMAS; do echo "lemma $LEMMA')
    finder = both.replace('$PROOF"', '$PROOF"; done')
    summary = 'for LEMMA in $LEMMAS; do echo "  $LEMMA (all-traces): verified (7 steps)"; done'
    finder = finder.partition("\nsummary")[0] + f"\n{summary} | summary\n"
    recipe_to_recheck(lab, finder, granularity="theory", global_max_cores=1)
    lab.run("run recipe.json", code=0)
    assert lab.finishes()["t--one--fake"]["shared_by"] == 2
    recheck(lab, code=0)
    assert len(lab.finishes("results/recheck-trusted")) == 2


# --- Races at work --------------------------------------------------------------------------------

# The letter of the heuristic that it was called with.
HEURISTIC = """
for word in "$@"; do case "$word" in --heuristic=*) H="${word#--heuristic=}";; esac; done
echo "$LEMMA $H" >> runs
"""
STUCK = "exec sleep 600"
FOUND_TRACE = 'summary "  $LEMMA (all-traces): falsified - found trace (3 steps)"\n'
UNSURE_OF_IT = (
    'echo "theory proof" > "$OUT"\nsummary "  $LEMMA (all-traces): analysis incomplete (1 steps)"\n'
)


def recipe_of_race(lab, ways, lemmas="one", cores=2, **entry):
    """A recipe whose variants race, each with a heuristic; by its letter what comes of it."""
    branches = ""
    variants = {}
    for letter, way in ways.items():
        branches += f"{letter})\n{way}\n;;\n"
        variants[letter] = {"tamarin_options": [f"--heuristic={letter}"]}
    lab.prover(f"{HEURISTIC}case $H in\n{branches}esac\n")
    entry.setdefault("config", {"global_max_cores": cores, "global_max_memory": 1})
    entry.setdefault("resources", {"max_cores": 1, "max_memory": 0.2, "timeout": 300})
    entry.setdefault("variants", variants)
    entry.setdefault("race", True)
    lab.recipe(lemmas=lemmas, **entry)


def ends_of_race(lab):
    """How the variants of lemma `one` ended, as a batch that is made of the journal has it."""
    batch, _ = bt.load_batch(str(lab.journal), pytest.fail)
    told = {}
    for task in batch.tasks.values():
        told[task.plan.variant] = task.outcome
        if task.result and task.result.settled_by:
            winner = task.result.settled_by[-1]
            told[task.plan.variant] += f" by {winner}"
    return told


def starts_of(lab):
    """The variants that began, in their order."""
    variants = []
    for event in lab.events("start"):
        (task_id,) = event["ids"]
        variants.append(task_id[-1])
    return variants


def test_the_first_answer_ends_the_others(lab):
    others_run = "until grep -q 'one C' runs; do sleep 0.05; done\n"
    recipe_of_race(lab, {"C": STUCK, "S": others_run + VERIFY}, expect="verified")
    done = lab.run("run recipe.json", code=0)
    assert ends_of_race(lab) == {"C": "superseded by S", "S": "verified"}
    ended = lab.finishes()["t--one--fake--C"]
    assert ended["reason"].startswith("t--one--fake--S was first: verified after")
    assert ended["wall_s"] > 0
    assert "2 tasks: 1 verified, 1 superseded" in done.stdout
    assert not (lab.results / "proofs" / "t--one--fake--C.spthy").exists()


def test_what_has_not_begun_never_does_when_its_race_is_won(lab):
    recipe_of_race(lab, {"S": VERIFY, "C": STUCK, "I": STUCK}, cores=1)
    done = lab.run("run recipe.json", code=0)
    assert starts_of(lab) == ["S"]
    assert ends_of_race(lab) == {"S": "verified", "C": "superseded by S", "I": "superseded by S"}
    assert "t--one--fake--C (not run): t--one--fake--S was first: verified" in done.stderr


# What wins nothing, and what is said of it afterwards.
NO_ANSWERS = {
    "incomplete": UNSURE_OF_IT,
    "failed": "exit 3",
    "timeout": STUCK,
}


@pytest.mark.parametrize("outcome", NO_ANSWERS)
def test_only_an_answer_wins(lab, outcome):
    recipe_of_race(lab, {"C": NO_ANSWERS[outcome], "S": VERIFY}, cores=1)
    if outcome == "timeout":
        change_recipe(lab, 'tasks.task.variants.C.resources = {"timeout": 0.4}')
    lab.run("run recipe.json", code=0)
    assert starts_of(lab) == ["C", "S"]
    assert ends_of_race(lab) == {"C": "superseded by S", "S": "verified"}
    assert f"; before: {outcome} after" in lab.finishes()["t--one--fake--C"]["reason"]
    assert not (lab.results / "failed" / "t--one--fake--C.json").exists()


def test_what_waits_in_a_queue_elsewhere_never_begins_when_its_race_is_won(lab, monkeypatch):
    """As on a cluster, where a job may begin long after it was handed over."""
    begin = bt.Supervisor.run
    stopped = {}

    async def wait_in_queue(executor, job, on_start):
        until = time.monotonic() + 2
        while job.id.endswith("C") and time.monotonic() < until:
            if job.id in stopped:
                return bt.Outcome(*stopped[job.id])
            await asyncio.sleep(0.01)
        return await begin(executor, job, on_start)

    def stop(executor, job_id, reason, at_once=False, status=bt.Status.INTERRUPTED):
        stopped[job_id] = (status, None, bt.Usage(), reason)

    monkeypatch.setattr(bt.Supervisor, "run", wait_in_queue)
    monkeypatch.setattr(bt.Supervisor, "stop", stop)
    recipe_of_race(lab, {"C": VERIFY, "S": VERIFY})
    lab.run("run", "recipe.json", "--no-cache", code=0)
    assert ends_of_race(lab) == {"C": "superseded by S", "S": "verified"}
    assert starts_of(lab) == ["S"]


def test_without_a_winner_each_has_its_own_result(lab):
    recipe_of_race(lab, {"C": UNSURE_OF_IT, "S": "exit 3"})
    lab.run("run recipe.json", code=3)
    assert ends_of_race(lab) == {"C": "incomplete", "S": "failed"}


@pytest.mark.parametrize(
    "ways, chosen, runs, code",
    [
        ({"C": UNSURE_OF_IT, "S": VERIFY}, [], "one C, one S, two C, two S", 0),
        ({"C": UNSURE_OF_IT, "S": "exit 3"}, [], "one C, one S", 1),
        ({"C": UNSURE_OF_IT, "S": VERIFY}, ["-t", "*--C"], "one C", 1),
        ({"C": FOUND_TRACE, "S": VERIFY}, [], "one C", 1),
    ],
)
def test_in_a_race_only_the_last_one_without_an_answer_is_a_failure(lab, ways, chosen, runs, code):
    recipe_of_race(lab, ways, lemmas="one two", cores=1, expect="verified")
    lab.run("run", "recipe.json", "--fail-fast", "--no-cache", *chosen, code=code)
    assert (lab.path / "runs").read_text().splitlines() == runs.split(", ")


def test_after_its_turn_a_variant_has_its_whole_limit(lab, monkeypatch):
    monkeypatch.setattr(bt, "FIRST_TURN", 0.001)
    second_time = f"[ -e tried ] || {{ touch tried; {STUCK}; }}\n"
    recipe_of_race(lab, {"C": second_time + VERIFY, "S": UNSURE_OF_IT}, cores=1)
    done = lab.run("run recipe.json", code=0)
    assert starts_of(lab) == ["C", "S", "C"]
    assert ends_of_race(lab) == {"C": "verified", "S": "superseded by C"}
    assert "time limit of 0.3 s; its turn is over, runs again" in done.stderr
    assert "raised" not in done.stdout


def test_in_a_race_that_goes_on_who_had_its_turn_comes_last():
    batch = bt.Batch()
    for task_id, race in ("had its turn", "r"), ("alone", ""), ("had none", "r"):
        batch.apply(a_plan(id=task_id, race=race))
    first = batch.tasks["had its turn"].plan
    batch.apply(dataclasses.replace(first, raised_from=first.limits))
    lined_up = bt.LiveRaces(batch).line_up(batch.tasks.values())
    assert [task.id for task in lined_up] == ["had none", "had its turn", "alone"]


def test_the_answer_of_a_race_is_held_to_what_is_expected(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK}, cores=1, expect="falsified")
    done = lab.run("run recipe.json", code=1)
    assert "1 not as expected" in done.stdout
    (suite,) = ElementTree.fromstring(lab.run("report results -f junit").stdout)
    notes = [note.tag for case in suite for note in case]
    assert notes == ["failure", "skipped"]


def test_a_race_that_was_won_leaves_nothing_to_do(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK}, cores=1)
    lab.run("run recipe.json", code=0)
    done = lab.run("run recipe.json", code=0)
    assert "nothing to do: 2 results" in done.stderr


def test_when_the_options_of_the_winner_change_the_others_are_open_again(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": VERIFY}, cores=1)
    lab.run("run recipe.json", code=0)
    lab.prover(HEURISTIC + f"[ $H = S ] || {STUCK}\n" + VERIFY)
    change_recipe(lab, 'tasks.task.variants.C = {"tamarin_options": ["--heuristic=I"]}')
    lab.run("run recipe.json -t t--one--fake--S --no-cache", code=0)
    assert ends_of_race(lab) == {"C": "superseded by S", "S": "verified"}
    assert starts_of(lab) == ["C", "S"]


def test_what_is_asked_for_again_is_proven_whoever_was_first(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": VERIFY}, cores=1)
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json --again -t t--one--fake--S", code=0)
    assert ends_of_race(lab) == {"C": "verified", "S": "verified"}


def test_what_won_before_starts_first(lab):
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json", code=0)
    edit_theory(lab, "rule A", "rule B")
    before = len(lab.events("start"))
    lab.run("run recipe.json", code=0)
    assert starts_of(lab)[before] == "S"


def test_what_won_in_other_results_starts_first(lab):
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json", code=0)
    edit_theory(lab, "rule A", "rule B")
    lab.run("run recipe.json -o more", code=0)
    assert lab.events("start", "more")[0]["ids"] == ["t--one--fake--S"]


def test_the_others_join_when_what_won_before_has_had_its_time(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK}, cores=1)
    lab.run("run recipe.json", code=0)
    edit_theory(lab, "rule A", "rule B")
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json --no-cache", code=0)
    assert ends_of_race(lab) == {"C": "superseded by S", "S": "verified"}
    assert starts_of(lab) == ["C", "C", "S"]


def test_a_winner_that_is_cached_ends_the_race_before_it_starts(lab):
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json -o more", code=0)
    assert lab.events("start", "more") == []
    finishes = lab.finishes("more")
    assert finishes["t--one--fake--S"]["cached"]
    assert finishes["t--one--fake--C"]["settled_by"] == "t--one--fake--S"
    assert not finishes["t--one--fake--C"]["cached"]


def test_a_cached_winner_whose_text_must_be_loaded_ends_the_race_before_it_starts(lab):
    """Another lemma changed: the hit counts when the prover has loaded the text."""
    lab.write("t.spthy", many_lemmas(2))
    load = 'echo "[Theory T] Theory closed" >&2; [ "$LEMMA" ] || { summary x; exit; }\n'
    ways = {"C": f"{load}{STUCK}", "S": load + VERIFY}
    recipe_of_race(lab, ways, lemmas="l0")
    lab.run("run recipe.json", code=0)
    edit_theory(lab, "lemma l1: ", "lemma l1: all-traces ")
    edit_theory(lab, 'l1: all-traces "All k #i. A(k) @ i ==> T"', 'l1: "All k #i. A(k) @ i ==> F"')
    lab.run("run recipe.json -o more", code=0)
    assert [event["ids"] for event in lab.events("start", "more") if event["ids"]] == []
    assert lab.finishes("more")["t--l0--fake--C"]["status"] == "superseded"


def test_a_race_is_never_shared(lab):
    ways = {"C": VERIFY, "S": STUCK}
    recipe_of_race(lab, ways, lemmas="one three", cores=1, granularity="theory")
    lab.run("run recipe.json", code=0)
    assert lab.read("runs") == "one C\nthree C\n"


def test_a_race_that_is_killed_in_the_middle_goes_on_as_a_race(lab):
    finish_one = "[ $LEMMA = one ] || [ -e go ] || exec sleep 600\n"
    recipe_of_race(lab, {"C": finish_one + VERIFY, "S": STUCK}, lemmas="one three", cores=1)
    running = lab.start("run recipe.json")
    lab.wait_for_events("start", 2)
    lab.wait_for_events("finish", 2)
    running.kill()
    end_of(running)
    lab.write("go", "")
    wait_for(lambda: lock_is_free(lab.journal))
    lab.run("resume results", code=0)
    ends = {task_id: event["status"] for task_id, event in lab.finishes().items()}
    assert ends == {
        "t--one--fake--C": "completed",
        "t--one--fake--S": "superseded",
        "t--three--fake--C": "completed",
        "t--three--fake--S": "superseded",
    }


def test_a_driver_that_died_when_a_race_was_won_leaves_no_proof_to_do(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK}, cores=1)
    lab.run("run recipe.json", code=0)
    lines = lab.journal.read_text().splitlines(keepends=True)
    (won,) = [number for number, line in enumerate(lines) if '"verified"' in line]
    lab.journal.write_text("".join(lines[: won + 1]))
    lab.run("resume results", code=0)
    assert ends_of_race(lab) == {"C": "verified", "S": "superseded by C"}
    assert starts_of(lab) == ["C"]


def test_a_recipe_of_a_race_has_the_options_that_won(lab):
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json", code=0)
    lab.run("init --from results --yes -o new.json", code=0)
    (entry,) = json.loads(lab.read("new.json"))["tasks"].values()
    assert entry["tamarin_options"] == ["--heuristic=S"]
    assert len(entry["lemmas"]) == 1


def test_another_winner_than_before_is_no_news(lab):
    recipe_of_race(lab, {"C": STUCK, "S": VERIFY})
    lab.run("run recipe.json", code=0)
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK})
    lab.run("run recipe.json -o more --no-cache", code=0)
    done = lab.run("audit more --against results", code=0)
    assert "0 findings" in done.stdout
    lab.write("pinned.csv", lab.run("audit results -f csv", code=0).stdout)
    assert "0 findings" in lab.run("audit more --expect pinned.csv", code=0).stdout


def test_the_page_answers_for_the_lemmas_of_a_race(lab):
    recipe_of_race(lab, {"C": VERIFY, "S": STUCK}, cores=1, expect="verified")
    lab.run("run recipe.json", code=0)
    page = lab.read("results/summary.html")
    assert "1 of 1 lemma as expected; 1 was superseded by another variant." in page


# --- Stored proofs ---

# It checks the proofs of all lemmas: of `rejected` it can't follow a step, `open` has a sorry.
FOLLOWER = """
echo "$*" >> runs
[ -z "$LEMMA" ] || exit 9
printf 'lemma fine:\nby contradiction\nlemma rejected:\nby solve(x) /* invalid proof step %s */\n' \
    encountered > "$OUT"
printf 'lemma open:\nby sorry\nlemma none:\nby sorry\nend\n' >> "$OUT"
summary <<X
  fine (all-traces): verified (2 steps)
  rejected (all-traces): analysis incomplete (3 steps)
  open (all-traces): analysis incomplete (2 steps)
  none (all-traces): analysis incomplete (1 steps)
X
"""
FALSE = '"All k #i. A(k) @ i ==> F"'
STORED = f"""theory T begin
{RULE_A}
lemma fine: {FALSE} by contradiction
lemma rejected: {FALSE} simplify solve(x) by contradiction
lemma open: {FALSE} simplify by sorry
lemma none: {FALSE}
end
"""


@pytest.fixture
def checked(lab):
    """A recipe that lets a prover check the proofs that stand in a theory."""
    lab.write("t.spthy", STORED)
    lab.prover(FOLLOWER)
    lab.recipe(prove=False, config={"global_max_cores": 2})
    return lab


def test_one_load_checks_all_stored_proofs_and_tells_why_one_is_not_confirmed(checked):
    checked.run("run recipe.json", code=3)
    assert len(checked.read("runs").splitlines()) == 1
    reasons = {}
    for task_id, event in checked.finishes().items():
        assert event["status"] == "completed"
        assert event["shared_by"] == 4
        reasons[task_id.split("--")[1]] = (event["verdict"], event["reason"])
    assert reasons == {
        "fine": ("verified", ""),
        "rejected": ("incomplete", bt.CANT_REPLAY),
        "open": ("incomplete", bt.OPEN_CASES),
        "none": ("incomplete", bt.NO_STORED_PROOF),
    }


def test_each_variant_has_a_load_of_its_own(checked):
    change_recipe(checked, 'tasks.task.variants = {"a": {}, "b": {"preprocess_flags": ["X"]}}')
    checked.run("run recipe.json", code=3)
    assert len(checked.read("runs").splitlines()) == 2
    assert len(checked.finishes()) == 8


def test_the_load_has_the_largest_limits_of_the_lemmas(checked):
    large = {"max_memory": 1, "timeout": 400}
    change_recipe(checked, 'tasks.task.lemmas = [{"name": "fine"}, {"name": "open"}]')
    change_recipe(checked, f"tasks.task.lemmas.1.resources = {json.dumps(large)}")
    change_recipe(checked, 'tasks.task.lemmas.0.resources = {"max_cores": 2}')
    checked.run("run recipe.json", code=3)
    (command,) = checked.read("runs").splitlines()
    assert "+RTS -N2 -RTS" in command


def test_a_load_that_fails_is_what_each_of_its_checks_came_to(checked):
    checked.prover("echo 'tamarin-prover: no' >&2; exit 1")
    checked.run("run recipe.json", code=3)
    assert len(checked.events("start")) == 1
    for task_id, event in checked.finishes().items():
        assert event["status"] == "failed"
        assert "tamarin-prover: no" in event["reason"]
        assert "no" in checked.read(f"results/logs/{task_id}.err")


def test_a_check_that_met_its_limit_is_loaded_again_with_a_larger_one(checked):
    checked.prover(f"[ -e tried ] || {{ touch tried; {STUCK}; }}\n" + FOLLOWER)
    change_recipe(checked, "tasks.task.resources.timeout = 0.3")
    change_recipe(checked, 'tasks.task.on_limit = [{"resources": {"timeout": 300}}]')
    checked.run("run recipe.json", code=3)
    assert len(checked.events("start")) == 2
    assert checked.finishes()["t--fine--fake"]["verdict"] == "verified"


def test_stored_proofs_that_were_checked_are_in_the_cache(checked):
    checked.run("run recipe.json", code=3)
    checked.run("run recipe.json -o more", code=3)
    assert checked.events("start", "more") == []
    edit_theory(checked, "simplify by sorry", "by contradiction")
    checked.run("run recipe.json -o edited", code=3)
    assert len(checked.events("start", "edited")) == 1


# --- Attackers in order, at work ------------------------------------------------------------------


class Attacks(typing.NamedTuple):
    """A truth: a lemma is falsified for those who have all powers of one of these sets of bits."""

    sets: tuple[int, ...]

    def verdict(self, powers):
        is_attacked = any(attack & powers == attack for attack in self.sets)
        return bt.Verdict.FALSIFIED if is_attacked else bt.Verdict.VERIFIED


def some_attacks(rng, bits=7):
    """Up to ten attacks, each with up to five of the powers."""
    sets = []
    for _ in range(rng.randint(0, 10)):
        powers = rng.sample(range(bits), rng.randint(1, min(bits, 5)))
        sets.append(sum(1 << power for power in powers))
    return Attacks(tuple(sets))


def many_attacks(rng, bits=7):
    """Whoever has more than half of the powers attacks, some who have just half: the worst case."""
    middle = [powers for powers in range(1 << bits) if bin(powers).count("1") == bits // 2]
    chosen = rng.sample(middle, len(middle) // 2)
    more = [powers for powers in range(1 << bits) if bin(powers).count("1") == bits // 2 + 1]
    return Attacks((*chosen, *more))


def fewest_proofs(truth, all_powers):
    """How many results nothing else implies: the strongest verified, the weakest falsified."""
    verdicts = {powers: truth.verdict(powers) for powers in all_powers}
    needed = 0
    for powers, verdict in verdicts.items():
        others = [other for other in all_powers if verdicts[other] is verdict and other != powers]
        if verdict is bt.Verdict.VERIFIED:
            needed += not any(powers & other == powers for other in others)
        else:
            needed += not any(other & powers == other for other in others)
    return needed


class Play:
    """A batch of one lemma against attackers in order, worked on as by a Runner."""

    def __init__(self, all_powers, verdict_of, slots=1, rng=None, expect=None, batch=None):
        self.batch = batch or bt.Batch()
        self.verdict_of = verdict_of
        self.slots = slots
        self.rng = rng or random.Random(1)
        self.proven = []  # in their order
        self.contradictions = []
        for powers in all_powers:
            attacker = bt.Attacker("l", powers)
            expected = expect(powers) if expect else None
            name = f"{powers}"
            more = {"flags": (name,), "attacker": attacker, "expect": expected}
            self.batch.apply(a_plan(id=name, key=name, **more))
        self.work()

    def prove_implied(self, ids):
        """Prove these tasks, whatever they follow from."""
        self.batch.apply(bt.Header(again=tuple(ids)))
        self.work(proves_implied=True)

    def work(self, proves_implied=False):
        self.settling = bt.Settling(self.batch)
        self.settling.proves_implied = proves_implied
        lattices = bt.LiveLattices(self.settling)
        tasks = list(filter(self.batch.needs_run, self.batch.tasks.values()))
        queues = [lattices.add(task) for task in tasks]
        self.running = []
        while True:
            while queues and len(self.running) < self.slots:
                task = lattices.next(queues[0])
                if task is None:
                    break
                self.batch.apply(begins(task.id, attempt=task.attempts + 1))
                self.running.append(task)
            if not self.running:
                return
            self.end(self.rng.choice(self.running))

    def end(self, task):
        """Let a task that runs come to its answer, and settle what follows."""
        self.running.remove(task)
        powers = task.plan.attacker.powers
        ended = ends(task.id, self.verdict_of(powers))
        self.batch.apply(dataclasses.replace(ended, attempt=task.attempts))
        if task.is_answered:
            self.proven.append(powers)
        other = self.settling.contradiction(task)
        if other:
            self.contradictions.append((task, other))
        for each in list(self.settling.settled_after(task)):
            if each.task not in self.running:
                attempt = each.task.attempts + 1
                self.batch.apply(bt.Finished(each.task.id, each.task.id, attempt, each.result))
            elif self.rng.random() < 0.5:
                self.end(each.task)  # it was there before it could be ended
            else:
                self.running.remove(each.task)
                result = each.result_of(bt.Result(each.status))
                self.batch.apply(bt.Finished(each.task.id, "job", each.task.attempts, result))

    def conclusions(self):
        """By what attackers can do the conclusions of the batch."""
        tasks = self.batch.tasks.values()
        return {task.plan.attacker.powers: task.conclusion for task in tasks}


@pytest.mark.parametrize("truths", [some_attacks, many_attacks])
@pytest.mark.parametrize("slots", [1, 4])
def test_of_128_attackers_at_most_40_percent_are_proven_on_average(truths, slots):
    rng = random.Random(31)
    cube = range(128)
    proven = []
    for _ in range(6):
        truth = truths(rng)
        play = Play(cube, truth.verdict, slots, rng)
        assert play.conclusions() == {powers: truth.verdict(powers) for powers in cube}
        assert len(play.proven) >= fewest_proofs(truth, cube)
        proven.append(len(play.proven))
    assert sum(proven) / len(proven) <= 0.4 * 128


def test_where_all_is_as_expected_no_proof_is_spent_in_vain():
    rng = random.Random(7)
    for _ in range(5):
        truth = some_attacks(rng, bits=5)
        play = Play(range(32), truth.verdict, expect=truth.verdict)
        assert len(play.proven) == fewest_proofs(truth, range(32))


def test_a_wrong_expectation_is_followed_once():
    play = Play(range(128), lambda powers: "falsified", expect=lambda powers: "verified")
    assert play.proven[:1] == [127]
    assert len(play.proven) < 26
    assert set(play.conclusions().values()) == {"falsified"}


def test_what_was_found_before_an_edit_is_tried_first():
    truth = Attacks((0b0011, 0b1100))
    before = Play(range(16), truth.verdict)
    for task in list(before.batch.tasks.values()):
        edited = dataclasses.replace(task.plan, key=f"{task.plan.key} edited")
        before.batch.apply(edited)
    after = Play((), truth.verdict, batch=before.batch)
    assert len(before.proven) > len(after.proven) == fewest_proofs(truth, range(16))


def test_the_strongest_attacker_comes_first_and_may_settle_all():
    assert Play(range(16), lambda powers: "verified").proven == [15]


def test_a_chain_is_halved():
    chain = [(1 << rank) - 1 for rank in range(65)]
    play = Play(chain, lambda powers: "verified" if powers < 1 << 40 else "falsified")
    assert play.proven[:2] == [chain[64], chain[31]]
    assert len(play.proven) <= 8


def test_what_runs_leaves_the_others_free_to_run():
    batch = bt.Batch()
    for powers in range(8):
        batch.apply(a_plan(id=f"{powers}", key=f"{powers}", attacker=bt.Attacker("l", powers)))
    lattices = bt.LiveLattices(bt.Settling(batch))
    queues = {lattices.add(task) for task in batch.tasks.values()}
    (queue,) = queues
    chosen = [lattices.next(queue).id for _ in range(8)]
    assert sorted(chosen) == [f"{powers}" for powers in range(8)]
    assert lattices.next(queue) is None


def test_the_first_of_the_recipe_come_first():
    batch = bt.Batch()
    for powers, first in ((0, 2), (1, 0), (2, 1), (3, 0)):
        attacker = bt.Attacker("l", powers, first)
        batch.apply(a_plan(id=f"{powers}", key=f"{powers}", attacker=attacker))
    lattices = bt.LiveLattices(bt.Settling(batch))
    queues = [lattices.add(task) for task in batch.tasks.values()]
    assert [lattices.next(queues[0]).id for _ in range(3)] == ["2", "0", "3"]


def test_of_thousands_of_attackers_some_stand_for_all(monkeypatch):
    monkeypatch.setattr(bt, "MOST_COMPARED", 10)
    truth = some_attacks(random.Random(3))
    play = Play(range(128), truth.verdict)
    assert play.conclusions() == {powers: truth.verdict(powers) for powers in range(128)}


# What follows must be true, and what can't be must be said: for orders, truths and luck at random.


def random_attackers(rng):
    """Some attackers in an order: sets of powers, or a chain beside them, less some of them."""
    bits = rng.randint(1, 5)
    chain = [((1 << rank) - 1) << bits for rank in range(rng.randint(1, 4))]
    attackers = [powers | rank for powers in range(1 << bits) for rank in chain]
    return rng.sample(attackers, rng.randint(1, len(attackers)))


def with_failures(verdict_of, rng):
    """The same verdicts, but some proofs meet a limit."""
    met = set()

    def verdict(powers):
        if rng.random() < 0.2:
            met.add(powers)
            return "timeout"
        return verdict_of(powers)

    return verdict, met


def test_for_monotone_truths_no_false_verdict_is_ever_implied():
    for seed in range(300):
        rng = random.Random(seed)
        attackers = random_attackers(rng)
        truth = some_attacks(rng, bits=8)
        verdict_of, met = with_failures(truth.verdict, rng)
        expect = rng.choice([None, truth.verdict, lambda powers: "verified"])
        play = Play(attackers, verdict_of, rng.randint(1, 5), rng, expect)
        for powers, conclusion in play.conclusions().items():
            allowed = {truth.verdict(powers)} | ({None} if powers in met else set())
            assert conclusion in allowed, seed
        assert not play.contradictions, seed


def contradictory_pairs(batch):
    """The pairs of proven tasks, the weaker one falsified and the stronger one verified."""
    pairs = set()
    for weaker in batch.tasks.values():
        for stronger in batch.tasks.values():
            is_weaker = weaker.plan.attacker.is_within(stronger.plan.attacker)
            if is_weaker and (weaker.verdict, stronger.verdict) == ("falsified", "verified"):
                pairs.add((weaker.id, stronger.id))
    return pairs


def test_every_contradiction_that_was_seen_is_reported():
    seen = 0
    for seed in range(300):
        rng = random.Random(seed)
        attackers = random_attackers(rng)
        truth = {powers: rng.choice(["verified", "falsified"]) for powers in attackers}
        play = Play(attackers, truth.get, rng.randint(1, 5), rng)
        implied_ids = [each.id for each in play.batch.tasks.values() if each.status == "implied"]
        play.prove_implied(rng.sample(implied_ids, rng.randint(0, len(implied_ids))))
        pairs = contradictory_pairs(play.batch)
        assert bool(play.contradictions) == bool(pairs), seed
        seen += bool(pairs)
        tasks = list(play.batch.tasks.values())
        rows_by_id = {row.task.id: row for row in bt.rows_of(tasks, bt.Closure(tasks))}
        told = list(bt.audit({"r": play.batch}, rows_by_id.values()))
        orders = [each.message for each in told if each.kind == "order"]
        for weaker, stronger in pairs:
            assert any(f" {weaker} is falsified" in message for message in orders), seed
            assert rows_by_id[weaker].standing == rows_by_id[stronger].standing == "contradicted"
        assert bt.exit_code(bt.rows_of(tasks, bt.Closure(tasks))) == (1 if pairs else 0), seed
        if pairs:
            doubtful = [row for row in rows_by_id.values() if row.result.implied]
            assert {row.standing for row in doubtful} <= {"contradicted"}, seed
    assert seen > 100


# The flags that a prover was called with are an attacker's powers; whom they suffice falsifies.
BY_FLAGS = """
FLAGS=""; for word in "$@"; do case "$word" in -D=*) FLAGS="$FLAGS ${word#-D=}";; esac; done
echo "$LEMMA$FLAGS" >> runs
has() {
    for flag in "$@"; do case "$FLAGS " in *" $flag "*) ;; *) return 1;; esac; done
}
attacked() { echo p > "$OUT"; summary "  $LEMMA (all-traces): falsified - found trace (7 steps)"; }
proven() { echo p > "$OUT"; summary "  $LEMMA (all-traces): verified (7 steps)"; }
"""
# A and B together suffice, and so does C.
A_B_OR_C = "if has A B || has C; then attacked; else proven; fi\n"


def sweep_of_attackers(lab, body=A_B_OR_C, flags="A B C", cores=1, lemmas="one", **entry):
    """A recipe of attackers who have each set of flags."""
    lab.prover(BY_FLAGS + body)
    lab.recipe(
        lemmas=[{"name": name} for name in lemmas.split()],
        config={"global_max_cores": cores, "global_max_memory": 2},
        resources={"max_cores": 1, "max_memory": 0.2, "timeout": 300},
        matrix={"can": {"subsets": flags.split()}},
        implies={"order": {"can": "subset"}},
        **entry,
    )


def outcomes_of(lab, results="results"):
    """By variant how its task ended, as a batch that is made of the journal has it."""
    batch, _ = bt.load_batch(str(lab.path / results / "batch.jsonl"), pytest.fail)
    return {task.plan.variant: task.outcome for task in batch.tasks.values()}


def calls_of(lab):
    """With which flags the prover was called, in this order."""
    lines = lab.read("runs").splitlines()
    return [line.partition(" ")[2] for line in lines]


A_B_C_FOUND = {
    "none": "implied verified",
    "A": "verified",
    "B": "verified",
    "C": "falsified",
    "A+B": "falsified",
    "A+C": "implied falsified",
    "B+C": "implied falsified",
    "A+B+C": "falsified",
}


def test_what_follows_is_not_proven(lab):
    sweep_of_attackers(lab)
    done = lab.run("run recipe.json", code=0)
    assert outcomes_of(lab) == A_B_C_FOUND
    assert len(calls_of(lab)) == 5
    assert calls_of(lab)[0] == "A B C"
    assert "2 verified, 3 falsified, 1 implied verified, 2 implied falsified" in done.stdout
    assert "follows from t--one--fake--C, falsified against a weaker attacker" in done.stderr
    ended = lab.finishes()["t--one--fake--none"]
    assert (ended["status"], ended["implied"], ended["verdict"]) == ("implied", "verified", None)
    assert ended["settled_by"] in ("t--one--fake--A", "t--one--fake--B")
    again = lab.run("run recipe.json", code=0)
    assert "nothing to do: 8 results" in again.stderr


def test_what_runs_is_ended_when_it_follows(lab):
    strongest_runs = "until grep -q 'one A B C' runs; do sleep 0.05; done\n"
    body = f"has A B C && exec sleep 600\n{strongest_runs}attacked\n"
    sweep_of_attackers(lab, body, cores=2)
    lab.run("run recipe.json", code=0)
    assert outcomes_of(lab)["A+B+C"] == "implied falsified"
    assert lab.finishes()["t--one--fake--A+B+C"]["wall_s"] > 0
    assert not (lab.results / "proofs" / "t--one--fake--A+B+C.spthy").exists()


def test_prove_implied_proves_it_all_the_same(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json --prove-implied -t t--one--fake--none", code=0)
    assert outcomes_of(lab) == {**A_B_C_FOUND, "none": "verified"}
    lab.run("resume results --prove-implied", code=0)
    verdicts = set(outcomes_of(lab).values())
    assert verdicts == {"verified", "falsified"}
    assert len(calls_of(lab)) == 8
    done = lab.run("run recipe.json --prove-implied", code=0)
    assert "nothing to do" in done.stderr


def test_a_proof_that_contradicts_what_was_implied_is_said_loudly(lab):
    wrong = "if has A B || has C || ! has A && ! has B; then attacked; else proven; fi\n"
    sweep_of_attackers(lab, wrong)
    lab.run("run recipe.json", code=0)
    done = lab.run("run recipe.json --prove-implied", code=1)
    told = "the order in 'implies' is wrong: t--one--fake--"
    assert f"warning: {told}" in done.stderr
    assert "contradicted" in done.stdout
    audit = lab.run("audit results", code=1).stdout
    first_finding = next(line for line in audit.splitlines() if "order" in line)
    assert told in first_finding
    page = lab.read("results/summary.html")
    assert "contradicted by another result" in page or "contradicted by other results" in page


@pytest.mark.parametrize(
    "weaker, weak, strong, is_wrong",
    [
        ("a", "falsified", "verified", True),
        ("a", "verified", "falsified", False),
        ("ab", "falsified", "verified", False),  # a disagreement, of which the order knows nothing
    ],
)
def test_two_provers_can_contradict_an_order(weaker, weak, strong, is_wrong):
    batch = bt.Batch()
    batch.apply(against(weaker, id="weak", prover="other"))
    for powers in ("", "ab"):
        batch.apply(against(powers))
    batch.apply(ends("weak", weak))
    batch.apply(ends("ab", strong))
    batch.apply(ends("none", "timeout"))
    settling = bt.Settling(batch)
    # What one prover has said settles nothing of another one's.
    assert bt.implied_verdict(batch.tasks["weak"], batch.tasks["ab"].plan) is None
    assert settling.is_open(batch.tasks["none"]) == (is_wrong or strong == "falsified")
    findings = [each for each in bt.audit({"results": batch}, []) if each.kind == "order"]
    assert len(findings) == is_wrong
    for each in findings:
        assert each.message.startswith("the order in 'implies', or a prover, is wrong: weak is")


def test_nothing_follows_from_any_of_the_provers_that_contradict_an_order():
    batch = bt.Batch()
    for prover in "pq":
        for powers in ("a", "ab", "ac"):
            batch.apply(against(powers, id=prover + powers, prover=prover))
    for task_id, verdict in (("pa", "falsified"), ("pab", "verified"), ("qa", "falsified")):
        batch.apply(ends(task_id, verdict))
    batch.apply(implied("qac", by="qa", verdict="falsified"))
    closure = bt.Closure(batch.tasks.values())
    assert closure.against(batch.tasks["qac"])
    settling = bt.Settling(batch)
    assert settling.is_open(batch.tasks["qab"])
    assert settling.is_open(batch.tasks["pac"])


def test_an_answer_that_contradicts_that_of_another_prover_is_seen_at_once():
    batch = bt.Batch()
    for prover in "pq":
        for powers in ("", "a", "ab"):
            batch.apply(against(powers, id=prover + powers, prover=prover))
    settling = bt.Settling(batch)
    batch.apply(ends("pab", "verified"))
    assert settling.contradiction(batch.tasks["pab"]) is None
    assert not settling.is_open(batch.tasks["p"])
    batch.apply(ends("qa", "falsified"))
    assert settling.contradiction(batch.tasks["qa"]).id == "pab"
    assert settling.is_open(batch.tasks["p"])
    assert settling.is_open(batch.tasks["qab"])


def test_what_is_implied_here_and_proven_to_be_false_there_is_found(lab):
    wrong = "if has A; then proven; else attacked; fi\n"
    sweep_of_attackers(lab, wrong, flags="A")
    lab.run("run", "recipe.json", "-o", "implied", "-t", "*--A", code=0)
    lab.run("run", "recipe.json", "-o", "proven", "-t", "*--none", "--no-cache", code=0)
    told = lab.run("audit", "implied", "proven", code=1).stdout
    assert "implied verified by fake none, falsified by fake none (in implied and in" in told


def test_where_the_order_is_wrong_nothing_more_follows(lab):
    only_none = "if has A || has B; then proven; else attacked; fi\n"
    sweep_of_attackers(lab, only_none, flags="A B", cores=1)
    change_recipe(lab, 'tasks.task.implies.first = [{"can": "none"}, {"can": "A+B"}]')
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json --prove-implied -t t--one--fake--A+B", code=1)
    assert outcomes_of(lab) == {
        "none": "falsified",
        "A": "implied falsified",
        "B": "implied falsified",
        "A+B": "verified",
    }
    assert "4 tasks: 4 contradicted" in lab.run("status results", code=0).stdout
    edit_theory(lab, "rule A", "rule B")
    lab.run("run recipe.json --prove-implied", code=1)
    assert outcomes_of(lab)["A"] == "verified"


def test_a_correct_order_makes_what_was_implied_open_again(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    change_recipe(lab, 'tasks.task.matrix.can = {"none": {}, "A": {"preprocess_flags": ["A"]}}')
    change_recipe(lab, 'tasks.task.matrix.can.C = {"preprocess_flags": ["C"]}')
    change_recipe(lab, 'tasks.task.implies.order.can = ["none", "C", "A"]')
    lab.run("run recipe.json --no-cache", code=1)
    assert outcomes_of(lab) == {"none": "verified", "A": "verified", "C": "falsified"}


def test_an_edit_of_the_source_opens_what_followed_from_it(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    edit_theory(lab, "rule A:", "#ifdef C\nrule C: [ ] --> [ ]\n#endif\nrule A:")
    lab.run("run recipe.json -t t--one--fake--none --no-cache", code=0)
    found = outcomes_of(lab)
    assert found == {
        **A_B_C_FOUND,
        "C": "pending",
        "A+C": "pending",
        "B+C": "pending",
        "A+B+C": "pending",
    }
    assert len(calls_of(lab)) == 5


def test_what_follows_from_a_withdrawn_variant_is_open_again(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    change_recipe(lab, 'tasks.task.exclude = [{"can": "C"}]')
    lab.run("run recipe.json --no-cache", code=0)
    found = outcomes_of(lab)
    assert "C" not in found
    assert found["A+C"] == found["B+C"] == "falsified"


def test_what_is_asked_for_again_is_proven_whatever_it_follows_from(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json --again -t t--one--fake--A+C", code=0)
    assert outcomes_of(lab) == {**A_B_C_FOUND, "A+C": "falsified"}


def test_exists_trace_lemmas_are_always_proven(lab):
    body = 'echo p > "$OUT"; summary "  $LEMMA (exists-trace): verified (7 steps)"\n'
    sweep_of_attackers(lab, body, lemmas="two", flags="A B")
    lab.run("run recipe.json", code=0)
    assert set(outcomes_of(lab).values()) == {"verified"}


@pytest.mark.parametrize("outcome", ["incomplete", "timeout", "failed"])
def test_without_an_answer_nothing_follows_but_it_may_follow_itself(lab, outcome):
    strongest = f"has A B && {{ {NO_ANSWERS[outcome]}\nexit; }}\n"
    sweep_of_attackers(lab, strongest + "if has A; then attacked; else proven; fi\n", flags="A B")
    change_recipe(lab, 'tasks.task.matrix.more = {"x": {}}')
    if outcome == "timeout":
        change_recipe(lab, "tasks.task.resources.timeout = 1")
    lab.run("run recipe.json", code=0)
    found = outcomes_of(lab)
    assert found["A+B-x"] == "implied falsified"
    assert f"; before: {outcome} after" in lab.finishes()["t--one--fake--A+B-x"]["reason"]


def test_nothing_follows_for_a_text_that_the_prover_refuses():
    batch = bt.Batch()
    for powers in ("", "a", "ab"):
        batch.apply(against(powers))
    for name, result in (("a", PARSE_ERROR), ("ab", bt.Result(bt.Status.FAILED))):
        batch.apply(bt.Finished(name, name, 1, result))
    batch.apply(ends("none", "falsified"))
    settled = bt.Settling(batch).settled_after(batch.tasks["none"])
    assert [each.task.id for each in settled] == ["ab"]


def test_what_is_cached_is_restored_and_not_implied(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json --prove-implied", code=0)
    lab.run("run recipe.json -o more", code=0)
    assert len(calls_of(lab)) == 8
    assert set(outcomes_of(lab, "more").values()) == {"verified", "falsified"}


def test_what_is_implied_is_never_cached(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    lab.run("run recipe.json -o more --prove-implied", code=0)
    assert len(calls_of(lab)) == 8


def test_a_sweep_in_granularity_theory_is_in_the_same_order(lab):
    sweep_of_attackers(lab, lemmas="one three", granularity="theory")
    lab.run("run recipe.json", code=0)
    assert len(calls_of(lab)) == 10


def test_a_sweep_that_is_killed_when_something_followed_goes_on_without_a_proof(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    lines = lab.journal.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"implied"' in line)
    lab.journal.write_text("".join(lines[:first]))
    (lab.path / "runs").unlink()
    lab.run("resume results --no-cache", code=0)
    assert outcomes_of(lab) == A_B_C_FOUND


def test_reports_carry_what_follows_as_its_own_kind(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json", code=0)
    page = lab.read("results/summary.html")
    answer = "5 of 5 results answered: 2 verified, 3 falsified; 1 is implied to be verified; "
    assert answer + "2 are implied to be falsified." in page
    assert '<td class="w implied-verified"' in page
    assert re.search(r"\[class\*=.implied-.\].* \{\n  background: repeating-linear-gradient", page)
    table = csv.DictReader(lab.run("report results -f csv").stdout.splitlines())
    told = {row["variant"]: row for row in table}
    follows = told["A+C"]
    assert (follows["status"], follows["verdict"], follows["implied"]) == (
        "implied",
        "",
        "falsified",
    )
    assert follows["settled_by"] == "t--one--fake--C"
    tasks = json.loads(lab.run("report results -f json").stdout)["tasks"]
    assert [each["result"].get("implied") for each in tasks].count("falsified") == 2
    for form in ("md", "tex", "typ"):
        assert "implied falsified" in lab.run("report results -f", form).stdout
    status = json.loads(lab.run("status results --json").stdout)
    assert "implied falsified" in json.dumps(status)
    upstream = json.loads(lab.read("results/success/t--one--fake--A+C.json"))
    assert not upstream["verified_lemma"] and not upstream["falsified_lemma"]


def test_what_follows_for_tasks_that_were_not_chosen_is_not_counted(lab):
    sweep_of_attackers(lab, "proven\n")
    done = lab.run("run recipe.json -t t--one--fake--A+B+C", code=0)
    assert "[1/1] verified" in done.stderr
    assert "/1] implied" not in done.stderr
    assert "nothing to do" in lab.run("run recipe.json", code=0).stderr


def test_what_is_implied_is_compared_with_what_is_expected_and_was_before(lab):
    sweep_of_attackers(lab)
    lab.run("run recipe.json --prove-implied -o proven", code=0)
    lab.run("run recipe.json -o implied --no-cache", code=0)
    assert "0 findings" in lab.run("audit implied --against proven", code=0).stdout
    assert "0 findings" in lab.run("audit proven --against implied", code=0).stdout
    pinned = lab.run("audit proven -f csv", code=0).stdout
    lab.write("pinned.csv", pinned)
    assert "0 findings" in lab.run("audit implied --expect pinned.csv", code=0).stdout
    lab.write("pinned.csv", pinned.replace(",none,,,verified,", ",none,,,falsified,"))
    told = lab.run("audit implied --expect pinned.csv", code=1).stdout
    assert "falsified expected, implied verified now" in told


def test_an_implied_verdict_can_meet_and_miss_an_expectation(lab):
    sweep_of_attackers(lab, expect="falsified")
    change_recipe(lab, 'tasks.task.implies.first = [{"can": "A"}]')
    done = lab.run("run recipe.json", code=1)
    assert "expected falsified!" in done.stdout
    ended = outcomes_of(lab)
    assert ended["none"] == "implied verified"
    junit = ElementTree.fromstring(lab.run("report results -f junit").stdout)
    notes = {case.get("name"): [note.tag for note in case] for case in junit[0]}
    assert notes["one [fake none]"] == ["failure"]
    assert notes["one [fake A+C]"] == ["skipped"]
    page = PageReader(lab.read("results/summary.html"))
    told = {row[0]: row[2] for row in page.tables["Results"]}
    assert told["implied falsified"] == "yes (implied)"
    assert told["implied verified"] == "no: expected falsified"


def test_what_is_implied_and_not_expected_is_a_failure_that_stops_the_others(lab):
    expect = [{"verdict": "falsified"}, {"when": {"can": "A+B"}, "verdict": "verified"}]
    sweep_of_attackers(lab, "attacked\n", flags="A B", lemmas="one three", expect=expect)
    change_recipe(lab, 'tasks.task.implies.first = [{"can": "none"}]')
    done = lab.run("run", "recipe.json", "--fail-fast", code=1)
    assert "stopping, as t--one--fake--A+B came to implied falsified" in done.stderr
    assert len(calls_of(lab)) == 1
    lab.run("resume", "results", "--fail-fast", code=1)
    assert len(calls_of(lab)) == 2


# --- Signals ---


def test_a_second_signal_kills_at_once(lab):
    lab.prover("trap '' TERM; echo up; sleep 600")
    lab.recipe(lemmas="one")
    process = lab.start("run recipe.json")
    log = lab.path / "results" / "logs" / "t--one--fake.out"
    wait_for(lambda: log.exists() and "up" in log.read_text())
    process.send_signal(signal.SIGHUP)
    while not process.stderr.readline().startswith("stopping: 1 job "):
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    out, _ = end_of(process)
    assert process.returncode == 129
    assert "interrupted" in out
    event = lab.only_finish()
    assert event["status"] == "interrupted"
    assert event["reason"] == "stopped by SIGHUP"
    assert event["exit"] == {"signal": "SIGKILL"}
    assert lab.events()[-1]["signal"] == signal.SIGHUP
    assert not living_provers(lab.path)


@needs_linux
def test_provers_end_with_a_killed_driver_and_a_later_run_goes_on(lab):
    lab.prover("[ -e go ] || { setsid sleep 678 & sleep 679; }; " + VERIFY)
    lab.recipe(lemmas="one")
    process = lab.start("run recipe.json")
    # Not the question for the prover's version, which comes before the batch.
    wait_for(lambda: lab.events("start") and living_provers(lab.path))
    process.kill()
    end_of(process)
    wait_for(lambda: not living_provers(lab.path))
    wait_for(lambda: lock_is_free(lab.journal))
    (lab.path / "go").touch()
    done = lab.run("run recipe.json", code=0)
    assert "going on: 0 of 1 result hold" in done.stderr


# --- The event loop is never late ---


# What takes its time, or may: files, digests, copies, and waiting for a disk.
TAKES_TIME = [
    (bt, "read_result"),
    (bt, "read_load"),
    (bt, "remove_outputs"),
    (bt, "file_state_now"),
    (bt, "file_digest"),
    (bt, "copy_file"),
    (bt, "flush_to_disk"),
    (bt, "_undrawn_traces"),
    (bt.AttemptFiles, "set_aside"),
    (bt.AttemptFiles, "earlier_outputs"),
    (bt.Cache, "store"),
    (bt.Cache, "store_load"),
    (bt.Cache, "restore"),
    (bt.Cache, "what_is_new"),
    (bt.Cache, "entries"),
    (bt.Journal, "bring_to_disk"),
]


def test_what_is_slow_is_done_beside_the_loop(model, monkeypatch):
    """A batch with proofs, a load, hits, growth of the cache, touched files and drawings."""

    def watch(owner, name):
        function = getattr(owner, name)

        def watched(*args, **kwargs):
            where = "beside the loop"
            if asyncio._get_running_loop():
                where = "in the loop"
            with open(model.path / "calls", "a") as file:
                print(f"{name} {where}", file=file)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    model.edit('echo "theory', 'cp own.dot "$DOT"; touch inc.spthy; echo "theory', "fake.sh")
    model.write("own.dot", DOT_ONE.replace("one", "l2"))
    model.proven()
    model.edit_lemma("l2")
    for owner, name in TAKES_TIME:
        watch(owner, name)
    # The last flush is when nothing runs any more.
    monkeypatch.setattr(bt.Journal, "flush", lambda journal: journal.tell(10**9))
    monkeypatch.setattr(bt, "_PRUNE_AFTER", 0)
    assert model.proven("-d") == "l2 load"
    text = model.read("calls")
    calls = set(text.splitlines())
    assert "in the loop\n" not in text
    assert calls == {f"{name} beside the loop" for _, name in TAKES_TIME}


# --- What a task costs ----------------------------------------------------------------------------
#
# In counts, which are the same on every machine: what grows with the tasks decides how many can be.

# What a run does is counted in its own process. Files: those below its own directory.
COUNTED = """
import collections, functools, json, os, sys
counts = collections.Counter()
home = os.getcwd()

def count_calls(name):
    call = getattr(os, name)
    @functools.wraps(call)
    def counting(*args, **options):
        counts[name] += 1
        return call(*args, **options)
    setattr(os, name, counting)

def note(event, args):
    if event == "open" and str(args[0]).startswith(home):
        counts["open"] += 1

for name in ("posix_spawn", "fork", "fdatasync", "rename", "replace"):
    count_calls(name)
sys.addaudithook(note)
sys.path.insert(0, sys.argv[1])
import script
script.main(sys.argv[2:])
with open("counts.json", "w") as file:
    json.dump(counts, file)
"""


def costs_of(lab, *args):
    """How often a command did what costs, and how many bytes its results directory holds then."""
    folder = os.path.dirname(compiled_script())
    command = [sys.executable, "-c", COUNTED, folder, *args]
    subprocess.run(command, cwd=lab.path, check=True, capture_output=True, timeout=RUN_S)
    text = lab.read("counts.json")
    counts = Counter(json.loads(text))
    sizes = [file.stat().st_size for file in lab.results.rglob("*")]
    counts["bytes"] = sum(sizes)
    counts["journal"] = lab.journal.stat().st_size
    return counts


def cost_of_a_task(lab, monkeypatch, *args):
    """What a run of 60 tasks costs more than one of 20, for each of these 40."""
    lab.prover(VERIFY)
    costs = []
    for tasks in (20, 60):
        lab.write("t.spthy", many_lemmas(tasks))
        lab.recipe(config={"global_max_cores": 2})
        monkeypatch.setenv("XDG_CACHE_HOME", str(lab.path / f"cache-{tasks}"))
        shutil.rmtree(lab.results, ignore_errors=True)
        costs.append(costs_of(lab, "run", "recipe.json", *args))
    few, many = costs
    return Counter({name: (many[name] - few[name]) / 40 for name in many})


@needs_linux
@pytest.mark.parametrize(
    ("args", "files", "names"),
    [
        (["--no-cache"], 8, 1.5),
        ([], 15, 2.5),
    ],
)
def test_a_task_costs_one_process_and_few_files(lab, monkeypatch, args, files, names):
    cost = cost_of_a_task(lab, monkeypatch, *args)
    assert cost["posix_spawn"] == 1
    assert cost["fork"] == 0
    # Its proof, and one of the journal, which several results may share.
    assert cost["fdatasync"] <= 2
    assert cost["open"] <= files
    assert cost["rename"] + cost["replace"] <= names
    # Its files and the command line name it by absolute paths.
    path = len(str(lab.results))
    assert cost["journal"] <= 1_300 + 5 * path
    assert cost["bytes"] <= 4_500 + 10 * path


@pytest.mark.parametrize(
    ("args", "times"),
    [
        (["run", "recipe.json", "--fresh"], 2),  # to plan; for the page and the final table
        (["run", "recipe.json"], 2),
        (["audit", "results"], 1),
        (["status", "results"], 1),
        (["report", "results"], 1),
    ],
)
def test_a_command_reads_a_theory_no_more_often_than_it_must(lab, monkeypatch, args, times):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json")
    load = bt.load_theory
    note = lab.path / "loads"

    def loads(*args, **options):
        with note.open("a") as file:
            file.write("1")
        return load(*args, **options)

    monkeypatch.setattr(bt, "load_theory", loads)
    lab.run(*args)
    # The audit looks at each proof as well.
    proofs = len(list((lab.results / "proofs").iterdir())) if args[0] == "audit" else 0
    assert len(note.read_text()) == times + proofs


@needs_linux
@pytest.mark.parametrize("command", ["status", "resume", "report", "audit"])
def test_to_look_at_results_costs_no_file_for_each(lab, command):
    lab.prover(VERIFY)
    opened = []
    for tasks in (20, 60):
        lab.write("t.spthy", many_lemmas(tasks))
        lab.recipe(config={"global_max_cores": 2})
        lab.run("run recipe.json", code=0)
        opened.append(costs_of(lab, command, "results")["open"])
    few, many = opened
    assert many <= few + 5


# --- Jobs on a cluster ----------------------------------------------------------------------------

# With a real Slurm of two nodes, n1 and n2, with 2 cores and 10 GB each: `.ci/slurm start DIR`.


@functools.cache
def why_no_slurm():
    """Why there is no Slurm to test with; "" if there is."""
    if not shutil.which("srun") or not os.environ.get("SLURM_CONF"):
        return "there is no srun, or no SLURM_CONF"
    asked = ["srun", "--nodes=1", "--time=1", "hostname"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "srun does not answer"
    if done.returncode:
        return (done.stderr.splitlines() or ["srun fails"])[0]
    # They stop nodes, and fill them.
    config = "\n".join(slurm_says("scontrol", "show", "config"))
    is_ours = re.search(r"^ClusterName\s*= bt_tests$", config, re.MULTILINE)
    return "" if is_ours else "this one is for other work"


@pytest.fixture
def cluster(lab):
    """A Lab in which `run` goes to Slurm; one test at a time has it."""
    reason = why_no_slurm()
    if reason:
        pytest.skip(f"needs a Slurm (.ci/slurm starts one): {reason}")
    cluster = ClusterLab(lab.path)
    with Path(os.environ["SLURM_CONF"]).open() as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        yield cluster
        # Where a test has failed: the next one needs the nodes.
        batches = {f"bt-{event['id']}" for event in cluster.events("batch")}
        for name in (cluster.path.name, *batches):
            slurm_says("scancel", "--quiet", f"--name={name}")


# A prover that waits until a file go-LEMMA, or go, is there. It tells of its begin and end, and of
# another one that is at work for the same lemma.
WAIT_FOR_GO = """
[ -e "pid-$LEMMA" ] && kill -0 "$(cat "pid-$LEMMA")" && echo "$LEMMA" >> twice
echo $$ > "pid-$LEMMA"
echo "+ $LEMMA $SLURMD_NODENAME" >> marks
until [ -e "go-$LEMMA" ] || [ -e go ]; do sleep 0.05; done
echo "- $LEMMA $SLURMD_NODENAME" >> marks
"""

# One that waits until four have begun.
WAIT_FOR_FOUR = """
echo "+ $LEMMA $SLURMD_NODENAME" >> marks
until [ "$(grep -c + marks)" -ge 4 ]; do sleep 0.05; done
echo "- $LEMMA $SLURMD_NODENAME" >> marks
"""


class ClusterLab(Lab):
    """A Lab whose batches run on the nodes of a cluster."""

    def make(self, lemmas, body=WAIT_FOR_GO, config=None, **entry):
        """Write a theory with so many lemmas, a prover, and a recipe for the cluster."""
        self.write("t.spthy", many_lemmas(lemmas))
        self.prover(body + VERIFY)
        self.recipe(config={"launcher": "slurm", **(config or {})}, **entry)

    def path_with_srun(self, body):
        """Put a shell script in the place of srun, which it calls $SRUN; the PATH to use."""
        self.write("bin/srun", f"#!/bin/sh\nSRUN={shutil.which('srun')}\n{body}\n", 0o755)
        return f"{self.path / 'bin'}:{os.environ['PATH']}"

    def go(self, name="go"):
        """Let provers go on."""
        (self.path / name).touch()

    def marks(self, sign="+"):
        """The lemmas that provers have begun or ended with, in their order."""
        if not (self.path / "marks").exists():
            return []
        lemmas = []
        for line in self.read("marks").splitlines():
            mark, lemma, _ = line.split()
            if mark == sign:
                lemmas.append(lemma)
        return lemmas

    def begun(self):
        """The lemmas whose start the journal tells of."""
        lemmas = set()
        for event in self.events("start"):
            lemmas.add(lemma_in(event["ids"][0]))
        return lemmas

    def outcomes(self, results="results"):
        """How tasks ended: status, verdict and reason, by lemma."""
        told = {}
        for task_id, event in self.finishes(results).items():
            told[lemma_in(task_id)] = (event["status"], event["verdict"], event["reason"])
        return told

    def verdicts(self):
        """What tasks came to, by lemma."""
        told = {}
        for task_id, event in self.finishes().items():
            told[lemma_in(task_id)] = event["verdict"]
        return told

    def nodes(self, kind):
        """The nodes that events of a kind name."""
        return {event["node"] for event in self.events(kind)}

    def copies(self, name="*.json"):
        """What nodes have left for a driver that was killed."""
        return list((self.results / "nodes").glob(f"*/{name}"))

    @property
    def name(self):
        """What Slurm calls the jobs of the batch."""
        return f"bt-{self.events('batch')[0]['id']}"

    def queue(self, form="%i"):
        """The jobs of the batch."""
        return slurm_says("squeue", "--noheader", f"--name={self.name}", f"--format={form}")


def lemma_in(task_id):
    """The lemma that a task's id names."""
    return task_id.split("--")[1]


def all_verified(count):
    """The verdicts of so many lemmas of `many_lemmas`."""
    return dict.fromkeys((f"l{number}" for number in range(count)), "verified")


def slurm_says(*command):
    """The lines that a command of Slurm prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
    return done.stdout.splitlines()


def slurm_daemon(name):
    """The pid of a daemon of the cluster that .ci/slurm has started."""
    path = Path(os.environ.get("SLURM_CONF", "")).parent / f"{name}.pid"
    if not path.exists():
        pytest.skip("needs the Slurm that .ci/slurm starts")
    return int(path.read_text())


def most_at_once(marks):
    """How many provers were at work at one time on each node."""
    at_work = Counter()
    most = Counter()
    for line in marks.splitlines():
        sign, _, node = line.split()
        at_work[node] += 1 if sign == "+" else -1
        most[node] = max(most[node], at_work[node])
    return most


def test_a_batch_fills_the_nodes_of_a_cluster_and_never_more(cluster):
    # The first four wait for each other.
    cluster.make(40, WAIT_FOR_FOUR)
    cluster.run_script("run recipe.json --no-cache", code=0)
    assert cluster.verdicts() == all_verified(40)
    assert most_at_once(cluster.read("marks")) == {"n1": 2, "n2": 2}
    assert cluster.nodes("finish") == {"n1", "n2"}
    hosts = {event["host"] for event in cluster.events("start")}
    assert hosts == {"n1", "n2"}
    # What nodes and srun have said is in the journal now.
    assert not (cluster.results / "nodes").exists()


def test_on_a_cluster_results_are_those_of_one_machine(cluster):
    cluster.make(6)
    hog = f"exec {sys.executable} -c 'x = bytearray(600 * 2**20); input()' < hold"
    cluster.prover(
        "case $LEMMA in\n"
        f"l1) {hog};;\n"
        "l2) exec sleep 600;;\n"
        "l3) echo no; exit 1;;\n"
        "l4) kill -9 $$;;\n"
        'l5) summary "  $LEMMA (all-traces): falsified - found trace (5 steps)"; exit;;\n'
        "esac\n" + VERIFY
    )
    os.mkfifo(cluster.path / "hold")
    holding = os.open(cluster.path / "hold", os.O_RDWR)
    short = {"name": "l2", "resources": {"timeout": 1}}
    small = {"name": "l1", "resources": {"max_memory": 0.4}}
    cluster.recipe(lemmas=[{"name": "*"}, short, small])
    there = cluster.start("run recipe.json --launcher slurm --no-cache")
    cluster.run_script("run recipe.json -o local --no-cache", code=3)
    _, told = end_of(there)
    os.close(holding)
    assert there.returncode == 3, told
    here = cluster.finishes("local")
    statuses = {event["status"] for event in here.values()}
    assert statuses >= {"timeout", "memory_limit", "failed"}
    for task_id, event in cluster.finishes().items():
        for field in ("status", "verdict", "steps", "lemmas", "exit", "warnings", "prover_s"):
            assert event[field] == here[task_id][field], (task_id, field)
        assert event["cpu_s"] is not None
        assert event["node"] in ("n1", "n2")
    assert cluster.finishes()["t--l2--fake"]["wall_s"] >= 1
    assert cluster.finishes()["t--l1--fake"]["peak_mb"] > 0.4 * 1024


def test_a_job_that_somebody_cancels_is_interrupted_and_runs_again(cluster):
    cluster.make(3)
    process = cluster.start("run recipe.json --no-cache")
    wait_for(lambda: len(cluster.begun()) == 3)
    (job,) = (line for line in cluster.queue("%i %k") if "t--l1--fake" in line)
    slurm_says("scancel", job.split()[0])
    wait_for(lambda: cluster.events("finish"))
    cluster.go("go-l0")
    cluster.go("go-l2")
    end_of(process)
    assert process.returncode == 3
    assert cluster.outcomes()["l1"] == ("interrupted", None, "its job was cancelled")
    cluster.go()
    cluster.run_script("resume results", code=0)
    assert cluster.verdicts() == all_verified(3)
    assert sorted(cluster.marks()) == ["l0", "l1", "l1", "l2"]


def test_an_interrupted_batch_leaves_nothing_in_the_queue(cluster):
    cluster.make(6)
    process = cluster.start("run recipe.json --no-cache")
    wait_for(lambda: len(cluster.begun()) == 4)
    wait_for(lambda: len(cluster.queue()) == 6)
    process.send_signal(signal.SIGTERM)
    end_of(process)
    assert process.returncode == 143
    reasons = [reason for _, _, reason in cluster.outcomes().values()]
    assert reasons == ["stopped by SIGTERM"] * 6
    assert wait_for(lambda: not cluster.queue())
    assert not cluster.marks("-")


def test_what_waits_in_the_queue_for_a_race_that_is_won_leaves_it(cluster):
    way = 'until [ -e "go-$H" ]; do sleep 0.05; done\n' + VERIFY
    recipe_of_race(cluster, {"C": way, "I": way, "S": way}, config={"launcher": "slurm"})
    process = cluster.start("run recipe.json --no-cache", "--slurm-args=-w n1")
    cluster.wait_for_events("start", 2)
    wait_for(lambda: len(cluster.queue()) == 3)
    winner = cluster.events("start")[0]["ids"][0][-1]
    cluster.go(f"go-{winner}")
    end_of(process)
    assert process.returncode == 0
    ends = dict.fromkeys("CIS", f"superseded by {winner}")
    assert ends_of_race(cluster) == {**ends, winner: "verified"}
    assert wait_for(lambda: not cluster.queue())


def test_what_nodes_finished_for_a_killed_driver_is_collected_and_the_rest_cancelled(cluster):
    cluster.make(4)
    process = cluster.start("run recipe.json --no-cache")
    cluster.go("go-l0")
    wait_for(lambda: cluster.begun() >= {"l1", "l2", "l3"})
    cluster.wait_for_events("finish", 1)
    process.kill()
    end_of(process)
    cluster.go("go-l1")
    wait_for(lambda: cluster.copies("t--l1--fake.json"))
    before = cluster.marks()
    assert "t--l1--fake" not in cluster.finishes()
    assert "what runs on the cluster goes on" in cluster.run("status results", code=0).stdout
    going_on = cluster.start("resume results")
    cluster.wait_for_events("batch", 2)
    wait_for(lambda: len(cluster.marks()) > len(before))
    cluster.go()
    _, told = end_of(going_on)
    assert going_on.returncode == 0, told
    assert "1 result of nodes collected" in told
    assert cluster.verdicts() == all_verified(4)
    ran = Counter(cluster.marks())
    assert ran["l0"] == 1
    assert ran["l1"] == 1
    assert ran["l2"] == 2
    # What was cancelled had ended before it began again.
    assert cluster.marks("-")[0] == "l0"
    assert not (cluster.path / "twice").exists()
    assert cluster.finishes()["t--l1--fake"]["node"] in ("n1", "n2")
    assert cluster.queue() == []


def test_of_a_killed_driver_processes_that_lemmas_share_are_collected_too(cluster):
    cluster.make(4, granularity="theory", resources={"max_cores": 2, "max_memory": 1})
    lines = 'for l in $LEMMAS; do echo "  $l (all-traces): verified (7 steps)"; done | summary\n'
    cluster.prover(WAIT_FOR_GO + 'echo "theory proof" > "$OUT"\n' + lines)
    process = cluster.start("run recipe.json --no-cache")
    # One process on each node.
    wait_for(lambda: len(cluster.begun()) == 2)
    process.kill()
    end_of(process)
    cluster.go()
    wait_for(lambda: len(cluster.copies()) == 2)
    assert not cluster.events("finish")
    done = cluster.run_script("resume results", code=0)
    assert "4 results of nodes collected, 0 jobs cancelled" in done.stderr
    assert cluster.verdicts() == all_verified(4)
    assert {event["shared_by"] for event in cluster.finishes().values()} == {2}
    assert len(cluster.marks()) == 2
    proofs = sorted(path.name for path in (cluster.results / "proofs").iterdir())
    assert proofs == [f"t--l{number}--fake.spthy" for number in range(4)]


def test_what_nodes_finished_of_an_older_text_is_not_taken_for_todays(cluster):
    cluster.make(1)
    process = cluster.start("run recipe.json --no-cache")
    wait_for(cluster.begun)
    process.kill()
    end_of(process)
    cluster.go()
    wait_for(cluster.copies)
    cluster.write("t.spthy", many_lemmas(1).replace("==> T", "==> F"))
    done = cluster.run_script("run recipe.json --no-cache", code=0)
    assert "0 results of nodes collected" in done.stderr
    assert len(cluster.marks()) == 2
    assert cluster.only_finish()["attempt"] == 2


def test_a_job_that_was_on_its_way_when_its_driver_was_killed_does_not_run_beside_the_next(cluster):
    cluster.make(1)
    path = cluster.path_with_srun(
        "echo on its way >> way\nuntil [ -e on ]; do sleep 0.05; done\n"
        '$SRUN "$@"\necho there >> way'
    )
    process = cluster.start("run", "recipe.json", "--no-cache", env={**os.environ, "PATH": path})
    wait_for((cluster.path / "way").exists)
    process.kill()
    end_of(process)
    going_on = cluster.start("resume", "results")
    wait_for(cluster.begun)
    cluster.go("on")
    wait_for(lambda: "there" in (cluster.path / "way").read_text())
    cluster.go()
    _, told = end_of(going_on)
    assert going_on.returncode == 0, told
    assert len(cluster.marks()) == 1


def test_a_job_that_was_taken_though_srun_did_not_hear_of_it_does_not_stay(cluster):
    cluster.make(1, "")
    path = cluster.path_with_srun(
        '[ -e taken ] && exec $SRUN "$@"\ntouch taken\n'
        'for word in "$@"; do case "$word" in --job-name=*) NAME="$word";; esac; done\n'
        'salloc --no-shell --time=9 --mem=10 "$NAME"\n'
        'echo "srun: error: Socket timed out on send/recv operation" >&2\nexit 1'
    )
    process = cluster.start("run", "recipe.json", "--no-cache", env={**os.environ, "PATH": path})
    _, told = end_of(process)
    assert process.returncode == 0, told
    assert wait_for(lambda: not cluster.queue())


def test_in_an_allocation_steps_fill_it(cluster):
    cluster.make(8, WAIT_FOR_FOUR)
    asked = ["salloc", "-N2", "--ntasks=2", "--cpus-per-task=2", "--mem-per-cpu=3000", "--time=9"]
    asked.append(f"--job-name={cluster.path.name}")
    command = [*asked, *cluster.command("run recipe.json --no-cache")]
    done = subprocess.run(command, cwd=cluster.path, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    assert most_at_once(cluster.read("marks")) == {"n1": 2, "n2": 2}
    (header,) = cluster.events("batch")
    assert header["limits"]["cores"] == 4
    # The least that is there for one job: a node's memory, less what our own process takes.
    assert header["node"]["memory_mb"] == 6000 - bt.NODE_MEMORY_MB


def test_a_node_that_dies_interrupts_its_tasks_and_they_run_on_others(cluster):
    pid = slurm_daemon("slurmd-n1")
    cluster.make(2, config={"global_max_cores": 2})
    process = cluster.start("run recipe.json --no-cache", "--slurm-args=-w n1")
    wait_for(lambda: len(cluster.begun()) == 2)
    os.kill(pid, signal.SIGKILL)
    try:
        end_of(process)
        assert process.returncode == 3
        assert set(cluster.outcomes().values()) == {("interrupted", None, "its node failed")}
        # A node that is dead does nothing more.
        for helper in {event["pid"] for event in cluster.events("start")}:
            os.kill(helper, signal.SIGKILL)
        cluster.go()
        cluster.run_script("resume results --slurm-args=", code=0)
    finally:
        subprocess.run(["slurmd", "-N", "n1"], check=True, timeout=RUN_S)
        wait_for(lambda: "idle" in slurm_says("sinfo", "--noheader", "-n", "n1", "--format=%T"))
    assert cluster.verdicts() == all_verified(2)
    nodes = {event["node"] for event in cluster.finishes().values()}
    assert nodes == {"n2"}


def test_while_the_controller_is_away_jobs_end_and_others_wait_to_be_taken(cluster):
    pid = slurm_daemon("slurmctld")
    cluster.make(3)
    process = cluster.start("run recipe.json --no-cache --slurm-jobs 1")
    wait_for(lambda: cluster.begun() == {"l0"})
    os.kill(pid, signal.SIGTERM)
    told = ""
    try:
        wait_for(lambda: state_of(pid) in "ZX")
        cluster.go()
        while "is asked again" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
    finally:
        subprocess.run(["slurmctld"], check=True, timeout=RUN_S)
    end_of(process)
    assert process.returncode == 0, told
    assert cluster.verdicts() == all_verified(3)
    assert sorted(cluster.marks()) == ["l0", "l1", "l2"]


@pytest.mark.parametrize(
    ("body", "arguments", "status", "reason"),
    [
        # Its own limit is far: what Slurm allows is less.
        (
            f"exec {sys.executable} -c 'import time; x = bytearray(400 * 2**20); time.sleep(600)'",
            "--mem=200M",
            "memory_limit",
            "more memory than its job has",
        ),
        # The process that supervises it.
        ("kill -9 $PPID; exec sleep 600", "", "interrupted", "has told no result of it"),
        ("", "--mem=99G", "failed", "Slurm takes no such job: Memory specification"),
        ("", "-p nosuch", "failed", "Invalid partition name"),
    ],
    ids=["more memory than allowed", "no result", "too large", "no such partition"],
)
def test_what_slurm_ends_or_refuses(cluster, body, arguments, status, reason):
    cluster.make(1, body + "\n")
    cluster.run_script("run recipe.json", f"--slurm-args={arguments}", "--no-cache", code=3)
    finish = cluster.only_finish()
    assert finish["status"] == status
    assert reason in finish["reason"]


def test_a_result_that_srun_did_not_print_is_read_from_its_copy(cluster):
    cluster.make(1, "")
    cluster.run_script("run recipe.json --slurm-args=--output=none --no-cache", code=0)
    assert cluster.only_finish()["verdict"] == "verified"


# What srun printed (22.05), and what that means.
SRUN_WORDS = [
    (
        "slurmstepd-n1: error: *** STEP 78.0 ON n1 CANCELLED AT 2026-11-28T12:30:31 DUE TO TIME "
        "LIMIT ***\nsrun: Job step aborted: Waiting up to 12 seconds for job step to finish.",
        "interrupted",
        "time limit",
    ),
    (
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0. Some of your processes may "
        "have been killed by the cgroup out-of-memory handler.\n"
        "srun: error: n1: task 0: Out Of Memory",
        "memory_limit",
        "memory",
    ),
    ("srun: error: Node failure on n1\nsrun: Job step aborted: Waiting", "interrupted", "node"),
    ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-28T12:30:31 DUE TO PREEMPTION ***",
     "interrupted", "preemption"),
    ("srun: Force Terminated JobId=6", "interrupted", "cancelled"),
    ("srun: unrecognized option '--nosuch'", "failed", "unrecognized option '--nosuch'"),
    ("srun: error: n1: task 0: Killed", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "reason"), SRUN_WORDS)
def test_why_slurm_ended_a_job(words, status, reason):
    cause = bt.slurm_cause(words)
    if status is None:
        assert cause is None
    else:
        assert cause.status == status and reason in cause.reason


def test_a_job_is_lost_that_was_in_the_queue_and_is_not_twice(tmp_path):
    """A controller has crashed: srun waits for ever. Some jobs are in the queue of elsewhere."""
    job = bt.Job("a", 1, (), "", {}, bt.NO_LIMITS, "", "")
    lost = bt.RemoteJob(job, str(tmp_path))
    (tmp_path / "a.err").write_text("srun: job 17 queued and waiting for resources\n")
    for _ in range(3):
        lost.look_for({"16"})
    assert not lost.is_lost
    lost.look_for({"16", "17"})
    lost.look_for({"16"})
    assert not lost.is_lost
    lost.look_for(set())
    assert lost.is_lost


def node_end(status, code=None, by="", reason="stopped by SIGTERM"):
    """What a node told of a job."""
    exit_status = bt.ExitStatus(code, by)
    return bt.NodeEnd("n1", bt.Status(status), exit_status, bt.Usage(9), reason, (), {})


def test_what_ended_by_itself_stays_so_though_its_job_was_cancelled():
    ours = bt.Cause(bt.Status.INTERRUPTED, "stopped by SIGINT")
    words = "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-28T12:30:31 ***"
    completed = bt.outcome_told(node_end("completed", 0, reason=""), ours, words)
    assert (completed.status, completed.reason) == ("completed", "")
    ended = bt.outcome_told(node_end("interrupted", by="SIGTERM"), ours, words)
    assert (ended.status, ended.reason) == ("interrupted", "stopped by SIGINT")
    assert ended.usage.wall_s == 9


def test_a_prover_that_a_cgroup_kills_has_met_a_memory_limit():
    words = "srun: error: n1: task 0: Out Of Memory"
    killed = node_end("failed", by="SIGKILL", reason="ended by signal SIGKILL")
    assert bt.outcome_told(killed, None, words).status == "memory_limit"
    assert bt.outcome_told(killed, None, "").status == "failed"


def test_files_that_are_seen_late_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(bt, "FILES_SEEN_S", 0.0)
    seen = tmp_path / "seen"
    seen.write_text("12345")
    files = {str(seen): 5, str(tmp_path / "late"): 7}
    assert asyncio.run(bt.files_unseen(files)) == [str(tmp_path / "late")]
    monkeypatch.setattr(bt, "FILES_SEEN_S", WAIT_S)

    async def come_late():
        waiting = asyncio.ensure_future(bt.files_unseen(files))
        await asyncio.sleep(0)
        (tmp_path / "late").write_text("1234567")
        return await waiting

    assert asyncio.run(come_late()) == []


def test_what_a_killed_driver_was_left_counts_with_all_its_files_only(tmp_path, monkeypatch):
    monkeypatch.setattr(bt, "FILES_SEEN_S", 0.0)
    whole = tmp_path / "whole"
    whole.write_text("12345")
    torn = tmp_path / "torn"
    torn.write_text("12")
    job = bt.NodeJob("a", 1, (), "", {}, bt.NO_LIMITS, "", "", ("a",), (), "")
    reports = []
    for path in (whole, torn):
        end = node_end("completed", 0)
        reports.append(bt.NodeReport(job, dataclasses.replace(end, files={str(path): 5})))
    assert bt.reports_with_files(reports) == reports[:1]


def test_who_knows_that_nothing_runs_goes_on_without_the_cluster(tmp_path, monkeypatch):
    def no_answer(batch_id):
        raise bt.InputError("there is no 'squeue'")

    monkeypatch.setattr(bt, "cancel_left_jobs", no_answer)
    batch = bt.Batch(bt.Header(cluster="cluster bt"))
    with contextlib.closing(bt.Journal(str(tmp_path / "batch.jsonl"))) as journal:
        journal.batch = batch
        with pytest.raises(bt.InputError, match="--take-over"):
            bt.collect_from_nodes(journal, batch, pytest.fail)
        bt.collect_from_nodes(journal, batch, lambda text: None, take_over=True)


def test_the_nodes_of_a_cluster_count_once_whatever_partitions_they_are_in():
    told = "n1 2 10000\nn1 2 10000\nn2 64+ 256000+\n\nbroken\n"
    assert bt.cluster_nodes(told) == [(2, 10000), (64, 256000)]


@pytest.mark.parametrize(
    ("environment", "nodes"),
    [
        ({"SLURM_JOB_CPUS_PER_NODE": "8(x2),4", "SLURM_MEM_PER_NODE": "9000"},
         [(8, 9000), (8, 9000), (4, 9000)]),
        ({"SLURM_JOB_CPUS_PER_NODE": "8,4", "SLURM_MEM_PER_CPU": "1000"}, [(8, 8000), (4, 4000)]),
        ({"SLURM_JOB_CPUS_PER_NODE": "8"}, [(8, 77)]),
    ],
    ids=["by node", "by core", "memory is not shared out"],
)  # fmt: skip
def test_the_nodes_of_an_allocation(environment, nodes):
    assert bt.allocated_nodes(environment, node_memory_mb=77) == nodes


def test_srun_is_not_told_what_a_batch_script_asked_for_itself():
    environment = {
        "SLURM_JOB_ID": "5",
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_ACCOUNT": "us",
        "SLURM_MEM_PER_CPU": "2000",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_NTASKS": "2",
        "PATH": "/bin",
    }
    left = {"SLURM_JOB_ID", "SLURM_CONF", "SLURM_ACCOUNT", "PATH"}
    assert set(bt.environment_of_srun(environment)) == left


@pytest.mark.parametrize(
    ("complaint", "others_wait", "again"),
    [
        ("srun: error: Unable to allocate resources: Unable to contact slurm controller (connect "
         "failure)", False, True),
        ("srun: error: Unable to allocate resources: Socket timed out on send/recv operation",
         False, True),
        ("srun: error: Unable to allocate resources: Job violates accounting/QOS policy (job "
         "submit limit, user's size and/or time limits)", True, True),
        ("srun: error: Unable to allocate resources: Job violates accounting/QOS policy (job "
         "submit limit, user's size and/or time limits)", False, False),
        ("srun: error: Unable to allocate resources: Invalid partition name specified", True,
         False),
    ],
    ids=["away", "slow", "too many jobs", "never allowed", "no such partition"],
)  # fmt: skip
def test_when_a_job_is_submitted_again(complaint, others_wait, again):
    assert bt.may_submit_again(complaint, others_wait) is again


def test_limits_that_were_met_on_a_cluster_say_nothing_of_this_host():
    header = bt.Header(host="login", cluster="cluster bt")
    assert header.place == "cluster bt"
    assert bt.Header(host="login").place == "login"


def test_in_a_queue_that_nobody_limits_only_jobs_are_counted():
    limits = bt.Limits(4, 1000, 60)
    job = bt.Limits(1, 100, 60)
    header = bt.Header(limits=limits, cluster="cluster bt", most_jobs=7)
    assert bt.room_of(header).places(job) == 7
    limited = dataclasses.replace(header, options=bt.PlanOptions(cores="2"))
    assert bt.room_of(limited).places(job) == 4
    assert bt.room_of(dataclasses.replace(header, most_jobs=0)).places(job) == 4


def test_without_slurm_the_launcher_says_what_is_missing(lab, monkeypatch):
    lab.prover(VERIFY)
    lab.recipe(config={"launcher": "slurm"})
    monkeypatch.setenv("PATH", "/nowhere")
    done = lab.run("run recipe.json", code=2)
    assert "there is no 'srun' on PATH" in done.stderr
    assert "--launcher local" in done.stderr
    assert "for a run on this machine" in lab.run("check recipe.json", code=0).stderr
    lab.run("run recipe.json --launcher local", code=0)


@pytest.mark.parametrize("words", ["--slurm-args=-p long", "--slurm-jobs=4"])
def test_what_is_said_to_slurm_is_never_ignored(lab, words):
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run("run", "recipe.json", words, code=2)
    assert "need --launcher slurm" in done.stderr
    assert not lab.results.exists()


@pytest.mark.parametrize(
    ("command", "hint"),
    [("check", "`run`, `resume` and `retry` take it"), ("recheck", "where their batch ran")],
)
def test_who_takes_no_launcher_tells_who_does(lab, command, hint):
    done = lab.run(command, "recipe.json", "--launcher", "slurm", code=2)
    assert hint in done.stderr


def test_who_is_sent_to_a_log_finds_it(lab):
    lab.write("t.spthy", many_lemmas(2))
    lab.prover("exit 1\n")
    lab.recipe()
    assert "why:   less" in lab.run("run", "recipe.json", "--no-cache", code=3).stdout
    (first, second) = sorted((lab.results / "logs").glob("*.err"))
    first.unlink()
    assert f"less results/logs/{second.name}" in lab.run("status", "results", code=0).stdout
    shutil.rmtree(lab.results / "logs")
    assert "why:" not in lab.run("status", "results", code=0).stdout


# === Interchange with batch-tamarin ===============================================================

# What batch-tamarin 1.2.0 writes, after its sources (see "Interchange" in the program): a report, a
# task in it, and of tasks that ended differently the status and the `task_result`.
UPSTREAM_REPORT = """{
  "recipe": "demo.json",
  "config": {
    "global_max_cores": 2,
    "global_max_memory": 8,
    "default_timeout": 3600,
    "output_directory": "out"
  },
  "tamarin_versions": {"stable": {"path": "tamarin-prover", "version": "v1.11.0"}},
  "execution_metadata": {},
  "tasks": {"nspk": {"theory_file": "NSPK3.spthy", "subtasks": {}}}
}"""
UPSTREAM_SUBTASK = """{
  "task_config": {
    "tamarin_alias": "stable",
    "lemma": "",
    "output_theory_file": "",
    "output_trace_file": "",
    "options": ["-x"],
    "resources": {"cores": 2, "memory": 4, "timeout": 60}
  },
  "task_execution_metadata": {
    "command": [],
    "status": "",
    "cache_hit": false,
    "exec_start": "",
    "exec_end": "",
    "exec_duration_monotonic": 12.5,
    "avg_memory": 1.0,
    "peak_memory": 350.25
  }
}"""
UPSTREAM_ENDS = """{
  "proven": ["completed",
    {"lemma_result": "verified", "steps": 54, "analysis_type": "all-traces"}],
  "refuted": ["completed",
    {"lemma_result": "falsified", "steps": 0, "analysis_type": "all-traces"}],
  "silent": ["completed",
    {"lemma_result": "verified", "steps": 0, "analysis_type": "unknown"}],
  "open": ["completed",
    {"lemma_result": "unterminated", "steps": 0, "analysis_type": "unknown"}],
  "late": ["timeout",
    {"return_code": "-1", "error_type": "timeout", "error_description": "late"}],
  "big": ["memory_limit_exceeded",
    {"return_code": "-2", "error_type": "memory_limit", "error_description": "big"}],
  "broken": ["completed",
    {"return_code": "1", "error_type": "tamarin_error", "error_description": "bad",
     "last_stderr_lines": ["x", ""]}],
  "waiting": ["pending", null]
}"""
# The same in our words: status, verdict, steps.
UPSTREAM_MEANINGS = """
proven   completed     verified    54
refuted  completed     falsified   None
silent   failed        None        None
open     completed     incomplete  None
late     timeout       None        None
big      memory_limit  None        None
broken   failed        None        None
"""


def words_in(text):
    """A table in a text: the words of each line."""
    return [line.split() for line in text.strip().splitlines()]


def upstream_report():
    """A report of batch-tamarin's with a task for each of UPSTREAM_ENDS."""
    report = json.loads(UPSTREAM_REPORT)
    subtasks = report["tasks"]["nspk"]["subtasks"]
    for lemma, (status, result) in json.loads(UPSTREAM_ENDS).items():
        subtask = json.loads(UPSTREAM_SUBTASK)
        subtask["task_config"]["lemma"] = lemma
        metadata = subtask["task_execution_metadata"]
        metadata["status"] = status
        if result:
            metadata["exec_start"] = "2026-01-02T03:04:00.250000"
            metadata["exec_end"] = "2026-01-02T03:04:12"
            common = {"warnings": [], "real_time_tamarin_measure": 0.0}
            subtask["task_result"] = {**common, **result}
        subtasks[f"nspk--{lemma}--stable"] = subtask
    return report


def write_upstream_report(lab, report=None):
    """Make `out` a results directory of batch-tamarin's."""
    text = json.dumps(report or upstream_report())
    lab.write("out/execution_report.json", text)


def read_upstream_report(lab, report=None):
    """The batch that a report of batch-tamarin's is read as."""
    write_upstream_report(lab, report)
    return bt.load_results(str(lab.path / "out"), pytest.fail)


def write_old(lab, name, text):
    """Write a file that is older than every other."""
    path = lab.write(name, text)
    os.utime(path, (1, 1))


@pytest.fixture
def run_here(lab, capsys, monkeypatch):
    """Run a command line that starts no process in this one, from the lab's directory."""

    def run(line, *words, code):
        monkeypatch.chdir(lab.path)
        forget_what_was_read()
        capsys.readouterr()
        returned = bt.main([*line.split(), *words])
        told = capsys.readouterr()
        assert returned == code, f"exit {returned}\n{told.out}\n{told.err}"
        return told

    return run


def forget_what_was_read():
    """Make the program forget what it remembered in this process, as if it were a new one."""
    for value in list(vars(bt).values()):
        if hasattr(value, "cache_clear"):
            value.cache_clear()


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lemma, status, verdict, steps", words_in(UPSTREAM_MEANINGS))
def test_what_batch_tamarin_says_of_a_task(lab, lemma, status, verdict, steps):
    batch = read_upstream_report(lab)
    task = batch.tasks[f"nspk--{lemma}--stable"]
    assert str(task.status) == status
    assert str(task.verdict) == verdict
    assert str(task.result.steps) == steps


def test_a_task_that_batch_tamarin_did_not_run_has_no_result(lab):
    batch = read_upstream_report(lab)
    task = batch.tasks["nspk--waiting--stable"]
    assert task.status is bt.Status.PENDING
    assert task.result is None
    assert len(batch.tasks) == 8


def test_what_batch_tamarin_says_of_a_failure(lab):
    result = read_upstream_report(lab).tasks["nspk--broken--stable"].result
    assert result.exit == bt.ExitStatus(1)
    assert result.reason == "bad"
    assert result.stderr_tail == "x\n"


def test_a_negative_code_of_batch_tamarin_is_no_exit_code(lab):
    result = read_upstream_report(lab).tasks["nspk--late--stable"].result
    assert result.exit is None


def test_what_batch_tamarin_decided_and_measured(lab):
    batch = read_upstream_report(lab)
    task = batch.tasks["nspk--proven--stable"]
    assert task.plan.entry == "nspk"
    assert task.plan.theory == "NSPK3.spthy"
    assert task.plan.cwd == str(lab.path), "where `out` is"
    assert task.plan.options == ("-x",)
    assert task.plan.limits == bt.Limits(2, 4096, 60)
    assert task.result.usage.wall_s == 12.5
    assert task.result.usage.peak_mb == 350.25
    assert batch.header.limits == bt.Limits(2, 8192, 3600)
    assert batch.provers["stable"].version == "1.11.0"


def test_a_limit_that_batch_tamarin_calls_max_is_not_known(lab):
    report = upstream_report()
    report["config"]["global_max_cores"] = "max"
    assert read_upstream_report(lab, report).header.limits.cores == 0


@pytest.fixture
def two_hours_ahead():
    """Local times are two hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "XYZ-2")
        time.tzset()
        yield
    time.tzset()


def test_a_batch_of_batch_tamarin_began_with_its_first_task(lab, two_hours_ahead):
    batch = read_upstream_report(lab)
    assert batch.header.at == "2026-01-02T01:04:00.250000Z", "its times are local ones"


@pytest.mark.parametrize("form", bt.REPORTS)
def test_results_of_batch_tamarin_are_reported(lab, run_here, form):
    write_upstream_report(lab)
    done = run_here("report out -f", form, code=0)
    assert "nspk" in done.out


def test_the_files_of_batch_tamarin_are_not_rebuilt(lab, run_here):
    write_upstream_report(lab)
    done = run_here("report out --rebuild", code=2)
    assert "left as it is" in done.err


def without_tasks(report):
    del report["tasks"]


def without_output_directory(report):
    report["config"]["output_directory"] = None


def without_provers(report):
    report["tamarin_versions"].clear()


def with_tasks_in_a_list(report):
    report["tasks"] = [1]


@pytest.mark.parametrize(
    "damage", [without_tasks, without_output_directory, without_provers, with_tasks_in_a_list]
)
def test_what_batch_tamarin_did_not_write_is_refused(lab, run_here, damage):
    report = upstream_report()
    damage(report)
    write_upstream_report(lab, report)
    done = run_here("report out", code=2)
    assert "not what batch-tamarin 1.2 writes" in done.err


def test_a_date_beyond_all_bounds_is_no_traceback(lab, run_here):
    report = upstream_report()
    task = report["tasks"]["nspk"]["subtasks"]["nspk--proven--stable"]
    task["task_execution_metadata"]["exec_start"] = "0001-01-01T00:00:00+14:00"
    write_upstream_report(lab, report)
    done = run_here("audit out", code=2)
    assert "not what batch-tamarin 1.2 writes" in done.err


@pytest.mark.parametrize("form", ["md", "json", "csv"])
def test_what_batch_tamarin_did_not_measure_or_keep_is_not_invented(lab, run_here, form):
    write_upstream_report(lab)
    told = run_here("report out -f", form, code=0).out
    assert "s CPU" not in told
    assert "--prove=" not in told
    assert '"cpu_s": 0' not in told
    if form == "csv":
        (row, *_) = csv.DictReader(told.splitlines())
        assert row["wall_s"] == "12.5"
        assert row["cpu_s"] == ""


# --- Reading what it left when it was killed ------------------------------------------------------

MEASURES = {"time": 12.5, "avg_memory": 1.0, "peak_memory": 350.25}
SAID_OF_LEMMA = {"steps": 5, "analysis_type": "all-traces"}
SUCCESS_FILE = {
    "warnings": ["odd"],
    "tamarin_timing": 3.5,
    "verified_lemma": {},
    "falsified_lemma": {},
    "unterminated_lemma": ["other"],
}
TIME_OVER = "The task timed out. Review the timeout setting for this task."
MEMORY_OVER = "The task exceeded its memory limit. Review the memory limit setting for this task."
# By lemma: what its file in success/ says beside SUCCESS_FILE, or that in failed/.
KILLED_RUN = {
    "proven": {"verified_lemma": {"proven": SAID_OF_LEMMA, "other": SAID_OF_LEMMA}},
    "refuted": {"falsified_lemma": {"refuted": SAID_OF_LEMMA}},
    "both": {
        "verified_lemma": {"both": SAID_OF_LEMMA},
        "falsified_lemma": {"both": SAID_OF_LEMMA},
    },
    "open": {"unterminated_lemma": ["open"]},
    "silent": {"verified_lemma": {"other": SAID_OF_LEMMA}},
    "late": {"error_description": TIME_OVER, "return_code": -1},
    "big": {"error_description": MEMORY_OVER, "return_code": -2},
    "broken": {"error_description": "bad", "return_code": 1},
}
KILLED_MEANINGS = """
proven   completed     verified    5
refuted  completed     falsified   5
both     completed     falsified   5
open     completed     incomplete  None
silent   failed        None        None
late     timeout       None        None
big      memory_limit  None        None
broken   failed        None        None
"""


def write_killed_run(lab):
    """Make `out` what batch-tamarin leaves when it is killed: results, and no report."""
    for lemma, said in KILLED_RUN.items():
        content = {"task_id": f"my--nspk--{lemma}--stable", "wrapper_measures": MEASURES}
        folder = "success"
        if "return_code" in said:
            folder = "failed"
            content["last_stderr_lines"] = ["x"]
        else:
            content.update(SUCCESS_FILE)
        content.update(said)
        name = content["task_id"]
        lab.write(f"out/{folder}/{name}.json", json.dumps(content))


def read_killed_run(lab):
    """The batch that it is read as, and what is told of it."""
    write_killed_run(lab)
    told = []
    return bt.load_results(str(lab.path / "out"), told.append), told


@pytest.mark.parametrize("lemma, status, verdict, steps", words_in(KILLED_MEANINGS))
def test_what_a_killed_batch_tamarin_says_of_a_task(lab, lemma, status, verdict, steps):
    batch, _ = read_killed_run(lab)
    task = batch.tasks[f"my--nspk--{lemma}--stable"]
    assert task.plan.lemma == lemma
    assert task.plan.prover == "stable"
    assert str(task.status) == status
    assert str(task.verdict) == verdict
    assert str(task.result.steps) == steps


def test_what_a_killed_batch_tamarin_measured(lab):
    batch, told = read_killed_run(lab)
    result = batch.tasks["my--nspk--proven--stable"].result
    assert result.usage == bt.Usage(12.5, None, 350.25, 1.0)
    assert result.prover_s == 3.5
    assert result.warnings == ("odd",)
    assert batch.tasks["my--nspk--broken--stable"].result.exit == bt.ExitStatus(1)
    assert len(told) == 1
    assert "did not come to its end" in told[0]


def test_a_half_written_file_hides_no_other(lab):
    lab.write("out/failed/a.json", '{"task_id": "x--y--')
    lab.write("out/failed/b.json", '{"task_id": 1}')
    failure = {**KILLED_RUN["late"], "task_id": "../x--y--z", "wrapper_measures": MEASURES}
    lab.write("out/failed/c.json", json.dumps(failure))
    batch, told = read_killed_run(lab)
    assert len(batch.tasks) == 8
    assert sum("passed over" in line for line in told) == 3


def test_folders_of_that_name_without_results_are_none(lab, run_here):
    lab.write("out/failed/notes.txt", "x")
    done = run_here("report out", code=2)
    assert "holds no results" in done.err


@pytest.mark.parametrize("form", bt.REPORTS)
def test_what_a_killed_batch_tamarin_left_is_reported(lab, run_here, form):
    write_killed_run(lab)
    told = run_here("report out -f", form, code=0).out
    assert "refuted" in told
    assert "0 cores" not in told
    assert "1970" not in told


def test_what_a_killed_batch_tamarin_left_is_audited(lab, audit):
    write_killed_run(lab)
    # As Tamarin prints it: with the proof, and all other lemmas.
    text = 'theory N begin\nlemma late [reuse]: "T"\nby sorry\nlemma proven: "T"\nby solve\nend\n'
    lab.write("out/proofs/my--nspk--proven--stable.spthy", text)
    told = audit("out", code=3)
    assert told.states["proven"] == "verified, assuming late (timeout)"
    assert any("no verdict: failed" in note for note in told.notes("missing"))


@pytest.mark.parametrize("command", ["status", "resume", "retry", "recheck", "run"])
@pytest.mark.parametrize("write", [write_upstream_report, write_killed_run])
def test_what_can_be_done_with_results_of_batch_tamarin_is_said(lab, run_here, command, write):
    write(lab)
    told = run_here(command, "out", code=2).err
    assert "these are results of batch-tamarin" in told
    assert "`batch_tamarin.py report out` shows them" in told


def test_a_run_beside_results_of_batch_tamarin_says_what_can_be_done_with_them(lab):
    write_upstream_report(lab)
    lab.prover(VERIFY)
    lab.recipe(config={"output_directory": "out"})
    done = lab.run("run recipe.json", code=0)
    assert "out: these are results of batch-tamarin" in done.stderr
    assert "a new batch begins in out_" in done.stderr
    done = lab.run("run recipe.json", code=0)
    assert "batch-tamarin" not in done.stderr


# --- In an audit ----------------------------------------------------------------------------------

UPSTREAM_THEORY = """theory N begin
lemma late [sources]: "T"
lemma proven: "T"
lemma other: "T"
end
"""


def test_what_results_of_batch_tamarin_assume_is_unknown_without_the_theory(lab, audit):
    write_upstream_report(lab)
    first, *_ = audit("out", code=3).notes("assumption")
    assert first.startswith("what the verdicts assume is unknown")


def test_what_results_of_batch_tamarin_assume_is_read_from_the_theory(lab, audit):
    write_upstream_report(lab)
    write_old(lab, "NSPK3.spthy", UPSTREAM_THEORY)
    told = audit("out", code=3)
    assert told.states["proven"] == "verified, assuming late (timeout)"
    assert "other: has no result" in told.notes("missing")
    assert "stale" not in told.kinds


def test_a_lemma_that_the_prover_may_add_is_not_missing(lab, audit):
    report = upstream_report()
    for subtask in report["tasks"]["nspk"]["subtasks"].values():
        subtask["task_config"]["options"] = ["--auto-sources"]
    write_upstream_report(lab, report)
    write_old(lab, "NSPK3.spthy", UPSTREAM_THEORY)
    told = audit("out", code=3)
    missing = "\n".join(told.notes("missing"))
    assert "other: has no result" in missing
    assert "AUTO_typing" not in missing


def test_a_theory_newer_than_results_of_batch_tamarin_is_a_hint_and_hides_nothing(lab, audit):
    """Every checkout makes new dates."""
    write_upstream_report(lab)
    lab.write("NSPK3.spthy", UPSTREAM_THEORY)
    told = audit("out", code=3)
    assert f"proven: {bt.NEWER_BY_DATE}" in told.notes("stale")
    assert told.findings("stale") == [], "a date alone proves nothing"
    assert "other: has no result" in told.notes("missing")


def test_provers_without_a_command_are_called_by_their_names(lab, written):
    text = written.read_text()
    provers = json.dumps({"unused": {"alias": "unused", "command": []}})
    written.write_text(text.replace('"provers":{}', f'"provers":{provers}', 1))
    told = []
    batch = bt.load_results(str(lab.results), told.append)
    commands = [prover.command for prover in batch.provers.values()]
    assert sorted(commands) == [("fake",), ("unused",)]
    assert len(told) == 2


# --- Writing --------------------------------------------------------------------------------------


def test_our_report_is_read_as_batch_tamarins(lab):
    batch = read_upstream_report(lab)
    lab.write("again/out/execution_report.json", "".join(bt.execution_report(batch, "out")))
    again = bt.load_results(str(lab.path / "again/out"), pytest.fail)
    assert list(again.tasks) == list(batch.tasks)
    for task in batch.tasks.values():
        copy = again.tasks[task.id]
        assert copy.outcome == task.outcome
        assert copy.plan.limits == task.plan.limits
        assert copy.plan.options == task.plan.options


def test_no_task_has_more_memory_than_all_together():
    limits = bt.Limits(1, 15 * 1024 + 900, 60)
    provers = {"p": bt.Prover("p", ("./p",))}
    batch = bt.Batch(bt.Header(limits=limits, provers=provers))
    batch.apply(a_plan(limits=limits))
    report = report_to_read(batch)
    task = report["tasks"]["n"]["subtasks"]["i"]
    assert task["task_config"]["resources"]["memory"] == 15
    assert report["config"]["global_max_memory"] == 15


def batch_of_prover(alias, tasks=None):
    """A batch with this prover."""
    prover = bt.Prover(alias, (f"./{alias}",))
    return bt.Batch(bt.Header(provers={alias: prover}), tasks or {})


def report_to_read(batch):
    """What batch-tamarin would read of a batch."""
    text = "".join(bt.execution_report(batch, "out"))
    return json.loads(text, parse_constant=pytest.fail)


def two_completed(result):
    """A batch of two tasks with this result."""
    tasks = {}
    for name in ("a", "b"):
        tasks[name] = a_task(bt.Status.COMPLETED, result, prover="fake")
    return batch_of_prover("fake", tasks)


def test_the_totals_of_a_report_are_sums_and_the_most_of_one():
    batch = batch_of_prover("p")
    for task_id, seconds, memory_mb in [("a", 2.0, 300.0), ("b", 3.0, 100.0)]:
        usage = bt.Usage(seconds, peak_mb=memory_mb)
        batch.apply(a_plan(id=task_id))
        result = bt.Result(bt.Status.FAILED, usage=usage)
        batch.apply(bt.Finished(task_id, task_id, 1, result))
    totals = report_to_read(batch)["execution_metadata"]
    wanted = {"total_runtime": 5, "max_runtime": 3, "total_memory": 400, "max_memory": 300}
    assert {name: totals[name] for name in wanted} == wanted
    assert totals["total_failures"] == 2


def test_while_a_batch_runs_its_report_is_kept_up_to_date(lab, monkeypatch):
    monkeypatch.setattr(bt, "LIVE_REPORT_S", 0.01)
    monkeypatch.setattr(bt, "LIVE_REPORT_SHARE", 0)
    # Lemma three goes on until the report tells of the others.
    look = "until [ $(grep -c task_result results/execution_report.json) = 2 ]; do sleep 0.01; done"
    lab.prover(f"[ $LEMMA = three ] && {look}\n{VERIFY}")
    lab.recipe(config={"global_max_cores": 1})
    lab.run("run recipe.json", code=0)
    report = json.loads(lab.read("results/execution_report.json"))
    assert report["execution_metadata"]["total_successes"] == 3


def test_a_report_that_is_dear_is_seldom_made(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(bt, "LIVE_REPORT_S", 3600)
    monkeypatch.setattr(bt, "write_execution_report", lambda *_: made.append(1))
    live = bt.LiveReport(bt.Batch(), bt.DerivedFiles(str(tmp_path)))

    async def work():
        while not made:
            await asyncio.sleep(0)
        for _ in range(1_000):
            live.note(bt.Ended())
            await asyncio.sleep(0)

    asyncio.run(live.beside(work()))
    assert made == [1]


def test_one_entry_with_two_theories_is_two_of_batch_tamarins():
    tasks = [
        a_task(entry="n", theory="a.spthy"),
        a_task(entry="n", theory="b.spthy"),
        a_task(entry="n 2"),
    ]
    named = bt.recipe_tasks(tasks)
    assert list(named) == ["n", "n 3", "n 2"]
    assert named["n 3"] == [tasks[1]]


@pytest.mark.parametrize("seconds", [1e12, 1e18, 1e308])
def test_a_time_beyond_all_calendars_hides_no_report(seconds):
    usage = bt.Usage(seconds)
    result = bt.Result(bt.Status.COMPLETED, usage=usage, at=bt.timestamp())
    task = a_task(bt.Status.COMPLETED, result, prover="fake")
    batch = batch_of_prover("fake", {"i": task})
    report = report_to_read(batch)
    subtask = report["tasks"]["n"]["subtasks"]["i"]
    metadata = subtask["task_execution_metadata"]
    assert metadata["exec_duration_monotonic"] == seconds
    assert metadata["exec_start"].startswith(("1970", "1969"))
    assert "".join(bt.REPORTS["md"]({"out": batch}, "out"))


def test_a_sum_beyond_all_bounds_is_json():
    usage = bt.Usage(wall_s=1e308, peak_mb=1e308)
    result = bt.Result(bt.Status.COMPLETED, usage=usage)
    totals = report_to_read(two_completed(result))["execution_metadata"]
    assert totals["total_runtime"] == sys.float_info.max
    assert totals["total_memory"] == sys.float_info.max


def test_the_result_file_of_a_shared_process_tells_so(tmp_path):
    (tmp_path / "success").mkdir()
    (tmp_path / "failed").mkdir()
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, shared_by=2, warnings=("w",))
    bt.write_result_file(str(tmp_path), a_task(bt.Status.COMPLETED, result))
    note = "time and memory are those of a process shared by 2"
    assert upstream_file(tmp_path, "success")["warnings"] == ["w", note]


def test_the_sums_of_batch_tamarins_report_have_a_shared_process_once():
    usage = bt.Usage(wall_s=6, peak_mb=10)
    result = bt.Result(bt.Status.COMPLETED, usage=usage, shared_by=2)
    totals = report_to_read(two_completed(result))["execution_metadata"]
    assert totals["total_runtime"] == 6
    assert totals["total_memory"] == 10
    assert totals["max_runtime"] == 6


def upstream_file(tmp_path, folder):
    """What stands in the result file of task `i`."""
    path = tmp_path / folder / "i.json"
    return json.loads(path.read_text())


def test_the_result_file_of_a_success_names_its_lemma(tmp_path):
    (tmp_path / "success").mkdir()
    (tmp_path / "failed").mkdir()
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.FALSIFIED, 3, "all-traces")
    bt.write_result_file(str(tmp_path), a_task(bt.Status.COMPLETED, result))
    told = upstream_file(tmp_path, "success")
    assert told["task_id"] == "i"
    assert told["verified_lemma"] == {}
    assert told["falsified_lemma"] == {"one": {"steps": 3, "analysis_type": "all-traces"}}
    assert told["unterminated_lemma"] == []


def test_a_later_failure_takes_the_place_of_a_success(tmp_path):
    (tmp_path / "failed").mkdir()
    success = tmp_path / "success" / "i.json"
    success.parent.mkdir()
    success.write_text("{}")
    result = bt.Result(bt.Status.FAILED, exit=bt.ExitStatus(3), stderr_tail="a\nb")
    task = a_task(bt.Status.FAILED, result)
    batch = bt.Batch(tasks={"i": task})
    bt.restore_result_files(str(tmp_path), batch, bt.DerivedFiles(str(tmp_path)))
    told = upstream_file(tmp_path, "failed")
    assert told["return_code"] == 3
    assert told["last_stderr_lines"] == ["a", "b"]
    assert not success.exists()


# === Assumptions and audit ========================================================================

# `calm` is false and reusable; `quiet` is false, too, and follows from it; `still` follows from
# `quiet`. `heard` is true: the bell can ring.
BELL = """theory Bell begin
rule Ring: [ Fr(~b) ] --[ Rings(~b) ]-> [ Out(~b) ]
lemma calm [reuse]: "All b #i. Rings(b) @ i ==> F"
lemma quiet [reuse, hide_lemma=nobody]: "All b #i. Rings(b) @ i ==> not (Ex #j. K(b) @ j)"
lemma still [hide_lemma=calm]: "All b #i. Rings(b) @ i ==> not (Ex #j. K(b) @ j)"
lemma heard: exists-trace "Ex b #i. Rings(b) @ i"
end
"""
OTHER_BELL = BELL.replace("Out(~b)", "Out(h(~b))")
# A real prover's verdicts (../shared/transcripts/false-reuse-all): proofs use reusable lemmas, also
# false ones.
BELL_PROVER = """
verdict=verified; trait=all-traces; proof="by contradiction"
case $LEMMA in
    calm) verdict="falsified - found trace"; proof="simplify SOLVED // found";;
    heard) verdict="falsified - no trace found"; trait=exists-trace;;
esac
sed "s|^lemma $LEMMA.*|&\\n$proof|" bell.spthy > "$OUT"
summary "  $LEMMA ($trait): $verdict (3 steps)"
"""

CALM = "calm (all-traces): verified (3 steps)"
QUIET = "quiet (all-traces): verified (3 steps)"
STILL = "still (all-traces): verified (3 steps)"
HEARD = "heard (exists-trace): verified (2 steps)"
CALM_IS_FALSE = "calm (all-traces): falsified - found trace (9 steps)"


def a_log(*lines, theory="bell.spthy", output="", ended=True):
    """The summary that a prover ends with, with these lines on lemmas."""
    text = f"{RULE}\nsummary of summaries:\n\nanalyzed: {theory}\n\n"
    if output:
        text += f"  output:          {output}\n"
    text += "  processing time: 1.50s\n  \n"
    for line in lines:
        text += f"  {line}\n"
    if ended:
        text += f"\n{RULE}\n"
    return text


BELL_LOG = a_log(CALM, QUIET, STILL, HEARD)
FALSE_BELL_LOG = a_log(CALM_IS_FALSE, QUIET, STILL, HEARD)
BELL_PROOFS = {
    "calm": "by contradiction",
    "quiet": "simplify\nby contradiction",
    "still": "by contradiction",
    "heard": "simplify\nSOLVED // found",
}


def printed_theory(theory=BELL, version="1.11.0", **proofs):
    """A theory as a prover prints it: with BELL_PROOFS, but for the lemmas with other proofs."""
    proofs = {**BELL_PROOFS, **proofs}
    lines = []
    for line in theory.splitlines():
        lines.append(line)
        lemma = re.match(r"lemma (\w+)", line)
        if lemma:
            lines.append(proofs[lemma[1]])
    text = "\n".join(lines).removesuffix("end")
    made_by = f"/*\nGenerated from:\nTamarin version {version}\nMaude version 3.4\n*/"
    return f"{text}\n{made_by}\nend\n"


def all_rows(batches):
    """All tasks of some batches as an audit sees them."""
    return list(bt.audit_rows(batches, bt.KnownProblems(batches)))


class Audit:
    """What `audit --format json` says."""

    def __init__(self, told):
        self.ok = told["ok"]
        self.rows = told["lemmas"]
        self.told = told["findings"]
        self.not_judged = told["not_judged"]
        self.kinds = {each["kind"] for each in self.told}
        self.by_lemma = {row["lemma"]: row for row in self.rows}
        self.states = {row["lemma"]: row["state"] for row in self.rows}
        self.verdicts = [row["verdict"] for row in self.rows]

    def findings(self, kind):
        """What counts: `lemma: message`, or `message` of a whole theory; in the order told."""
        return [words_of(each) for each in self.told if is_of(each, kind, note=False)]

    def notes(self, kind):
        """What counts with --strict only."""
        return [words_of(each) for each in self.told if is_of(each, kind, note=True)]

    def places(self, kind):
        """Where findings and notes are."""
        return [each["source"] for each in self.told if each["kind"] == kind]

    def found_of(self, kind):
        """The lemmas of findings that count."""
        return [each["lemma"] for each in self.told if is_of(each, kind, note=False)]


def is_of(finding, kind, note):
    """Whether a finding is of a kind, and a note or none."""
    return finding["kind"] == kind and finding["note"] == note


def words_of(finding):
    """`lemma: message`, or `message` of a whole theory."""
    if not finding["lemma"]:
        return finding["message"]
    return f"{finding['lemma']}: {finding['message']}"


@pytest.fixture
def artifact(lab):
    """A lab without its usual theory: all that is there is the test's own."""
    (lab.path / "t.spthy").unlink()
    return lab


@pytest.fixture
def audit(run_here):
    """Run `audit` from the lab's directory and read what it says."""

    def run(line, *words, code):
        told = run_here(f"audit --format json {line}", *words, code=code)
        audit = Audit(json.loads(told.out))
        assert audit.ok == (code == 0)
        return audit

    return run


# --- What a verdict rests on ----------------------------------------------------------------------


def tasks_in(table):
    """Tasks from a table: lemma, trait, verdict (-: it met its time limit), what it assumes."""
    tasks = []
    for lemma, trait, verdict, *assumes in words_in(table):
        result = bt.Result(bt.Status.TIMEOUT)
        if verdict != "-":
            result = bt.Result(bt.Status.COMPLETED, bt.Verdict(verdict))
        plan = {"id": lemma, "lemma": lemma, "trait": trait, "assumes": tuple(assumes)}
        tasks.append(a_task(result.status, result, **plan))
    return tasks


def closure(table):
    """What each result in a table rests on, as people are told."""
    return rests_of(tasks_in(table))


def rests_of(tasks):
    known = bt.Closure(tasks)
    rests = {}
    for task in tasks:
        found = known.open_assumptions(task)
        rests[task.plan.lemma] = list(map(str, found))
    return rests


def test_a_verdict_rests_on_what_it_assumes_and_is_not_verified():
    rests = closure("""
        types   all-traces  -
        secret  all-traces  verified  types
    """)
    assert rests["secret"] == ["types (timeout)"]


def test_what_is_verified_is_no_open_assumption():
    rests = closure("""
        types   all-traces  verified
        secret  all-traces  verified  types
    """)
    assert rests["secret"] == []


def test_an_assumption_is_handed_on_with_the_lemmas_on_the_way():
    rests = closure("""
        a  all-traces    -
        b  all-traces    verified   a
        c  all-traces    verified   b
        d  exists-trace  falsified  c
    """)
    assert rests["b"] == ["a (timeout)"]
    assert rests["c"] == ["a (timeout) via b"]
    assert rests["d"] == ["a (timeout) via c > b"]


def test_an_assumption_that_is_direct_is_told_so():
    rests = closure("""
        a  all-traces  -
        b  all-traces  verified  a
        c  all-traces  verified  b a
    """)
    assert rests["c"] == ["a (timeout)"]


def test_an_assumption_without_a_result_is_open():
    rests = closure("a  all-traces  verified  gone")
    assert rests["a"] == ["gone (not in the results)"]


def test_an_incomplete_lemma_is_open_and_hands_on_nothing():
    rests = closure("""
        a  all-traces  -
        b  all-traces  incomplete  a
        c  all-traces  verified    b
    """)
    assert rests["c"] == ["b (incomplete)"]


@pytest.mark.parametrize(
    "trait, verdict, rests",
    words_in("""
        all-traces    verified    yes
        all-traces    falsified   no
        all-traces    incomplete  no
        exists-trace  verified    no
        exists-trace  falsified   yes
        diff          verified    yes
        diff          falsified   no
    """),
)
def test_which_verdicts_rest_on_assumptions(trait, verdict, rests):
    """A trace that was found is one whatever else holds."""
    found = closure(f"a  all-traces  -\nb  {trait}  {verdict}  a")
    expected = {"yes": ["a (timeout)"], "no": []}
    assert found["b"] == expected[rests]


def test_several_assumptions_are_told_by_their_ways():
    rests = closure("""
        a  all-traces  incomplete
        b  all-traces  falsified
        c  diff        verified    b
        d  all-traces  verified    a c
    """)
    assert rests["d"] == ["a (incomplete)", "b (falsified) via c"]


def test_the_nearest_assumptions_are_told_first():
    rests = closure("""
        far   all-traces  -
        near  all-traces  -
        x     all-traces  verified  far
        y     all-traces  verified  x near
        z     all-traces  verified  y
    """)
    assert rests["z"] == ["near (timeout) via y", "far (timeout) via y > x"]


def test_of_a_long_chain_the_beginning_is_told():
    lines = ["l0  all-traces  -"]
    for number in range(1, 20):
        lines.append(f"l{number}  all-traces  verified  l{number - 1}")
    (told,) = closure("\n".join(lines))["l19"]
    assert told == "l0 (timeout) via l18 > l17 > l16 > l15 > l14 > l13 > l12 > l11 > l10"


CIRCLE = """
a    all-traces  verified   b
b    all-traces  verified   c a
c    all-traces  verified   a out
out  all-traces  falsified
"""


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_lemmas_that_assume_each_other_rest_on_what_one_of_them_assumes(first):
    tasks = tasks_in(CIRCLE)
    rotated = tasks[first:] + tasks[:first]
    rests = rests_of(rotated)
    assert rests["a"] == ["out (falsified) via b > c"]
    assert rests["b"] == ["out (falsified) via c"]
    assert rests["c"] == ["out (falsified)"]


def test_where_lemmas_assume_each_other_no_way_goes_round():
    rests = closure("""
        x  all-traces  -
        y  all-traces  -
        a  all-traces  verified  b x
        b  all-traces  verified  a y
    """)
    assert rests["a"] == ["x (timeout)", "y (timeout) via b"]
    assert rests["b"] == ["y (timeout)", "x (timeout) via a"]


def test_lemmas_that_assume_only_each_other_rest_on_nothing_open():
    rests = closure("""
        a  all-traces  verified  b
        b  all-traces  verified  a
    """)
    assert rests == {"a": [], "b": []}


# Three results of one lemma, in any order: the first alone is what counts.
THREE_RESULTS = """
verified   falsified  -
falsified  -          verified
-          verified   falsified
"""


@pytest.mark.parametrize("first, second, third", words_in(THREE_RESULTS))
def test_a_lemma_that_is_falsified_once_is_falsified(first, second, third):
    rests = closure(f"""
        a  all-traces  {first}
        a  all-traces  {second}
        a  all-traces  {third}
        b  all-traces  verified  a
    """)
    assert rests["b"] == ["a (falsified)"]


@pytest.mark.parametrize("first, second", [("-", "verified"), ("verified", "-")])
def test_a_lemma_that_is_verified_once_and_never_falsified_is_verified(first, second):
    rests = closure(f"""
        a  all-traces  {first}
        a  all-traces  {second}
        b  all-traces  verified  a
    """)
    assert rests["b"] == []


def one_before(number, count):
    return [number - 1]


def ten_before(number, count):
    return range(max(0, number - 10), number)


def next_in_a_circle(number, count):
    return [(number + 1) % count]


MANY_LEMMAS = pytest.mark.parametrize("assumes", [one_before, ten_before, next_in_a_circle])


def many_results(assumes, count):
    """Tasks l0 (falsified), l1, ...; each assumes the lemmas whose numbers `assumes` says."""
    lines = ["l0  all-traces  falsified"]
    for number in range(1, count):
        names = [f"l{other}" for other in assumes(number, count)]
        lines.append(f"l{number}  all-traces  verified  {' '.join(names)}")
    return tasks_in("\n".join(lines))


@MANY_LEMMAS
def test_more_lemmas_than_python_can_nest_calls_are_closed(assumes):
    count = 2 * sys.getrecursionlimit()
    rests = rests_of(many_results(assumes, count))
    (told,) = rests[f"l{count - 1}"]
    assert told.startswith("l0 (falsified)")


@MANY_LEMMAS
def test_closing_twice_as_many_lemmas_takes_twice_as_much(assumes):
    steps = {}
    for count in (100, 200):
        tasks = many_results(assumes, count)
        steps[count] = instructions_of(lambda tasks=tasks: rests_of(tasks))
    assert steps[200] < 2.5 * steps[100]


def instructions_of(action):
    """How many instructions Python executes for an action: the same on every machine."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def a_verified(lemma, *assumes, **changes):
    """A task whose lemma is verified."""
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
    return a_task(result.status, result, lemma=lemma, assumes=assumes, **changes)


def told_of(task, *others):
    """What people are told of a task, which stands in a batch with others."""
    closure = bt.Closure([task, *others])
    (row,) = bt.rows_of([task], closure)
    return row.told


@pytest.mark.parametrize(
    "change",
    [{"theory_digest": "U"}, {"prover": "q"}, {"flags": ("X",)}],
    ids=["text", "prover", "flags"],
)
def test_results_of_another_text_prover_or_flag_prove_nothing(change):
    task = a_verified("b", "a", theory_digest="T")
    other = a_verified("a", **{"theory_digest": "T", **change})
    assert told_of(task, other) == "verified, assuming a (not in the results)"


def test_results_with_other_options_are_of_the_same_model():
    task = a_verified("b", "a", theory_digest="T")
    other = a_verified("a", theory_digest="T", options=("--bound=9",))
    assert told_of(task, other) == "verified"


def following(source, lemma, verdict="verified", **changes):
    """A task whose verdict follows from that of another one, which it makes its source."""
    source.settles = ("follows",)
    result = bt.Result(bt.Status.IMPLIED, settled_by=source.id, implied=bt.Verdict(verdict))
    return a_task(result.status, result, id="follows", lemma=lemma, flags=("W",), **changes)


def test_what_is_implied_rests_on_what_its_source_rests_on():
    source = a_verified("b", "a")
    weaker = following(source, "b", assumes=("a",))
    open_lemma = a_task(bt.Status.TIMEOUT, bt.Result(bt.Status.TIMEOUT), lemma="a")
    assert told_of(weaker, source, open_lemma) == "implied verified, assuming a (timeout)"
    false = bt.Result(bt.Status.COMPLETED, bt.Verdict.FALSIFIED)
    false_lemma = a_task(false.status, false, lemma="a")
    closure = bt.Closure([weaker, source, false_lemma])
    assert bt.exit_code(bt.rows_of([weaker], closure)) == 1
    assert "resting on a falsified lemma: a" in told_of(weaker, source, false_lemma)


def test_who_assumes_what_is_implied_rests_on_what_its_source_rests_on():
    source = a_verified("b", "a")
    weaker = following(source, "b", assumes=("a",))
    false = bt.Result(bt.Status.COMPLETED, bt.Verdict.FALSIFIED)
    false_lemma = a_task(result=false, lemma="a")
    own = a_verified("c", "b", flags=("W",))
    told = told_of(own, weaker, source, false_lemma)
    assert told == "verified, resting on a falsified lemma: a via b"


def test_assumptions_that_lead_in_a_circle_by_what_is_implied_end():
    source = a_verified("b", "c", id="source")
    follows = following(source, "b", assumes=("c",))
    other = a_verified("c", "b", id="other", flags=("W",))
    back = following(other, "c", assumes=("b",))
    back.plan = dataclasses.replace(back.plan, id="back", flags=())
    other.settles = ("back",)
    told = told_of(other, follows, source, back)
    assert told.startswith("verified, assuming b (implied verified)")


@pytest.mark.parametrize(
    "verdict, told",
    [
        ("verified", "verified, assuming a (implied verified)"),
        ("falsified", "verified, resting on a falsified lemma: a"),
    ],
)
def test_who_assumes_what_is_implied_says_so(verdict, told):
    source = a_verified("a", flags=("S",))
    implied_lemma = following(source, "a", verdict)
    assert told_of(a_verified("b", "a", flags=("W",)), implied_lemma, source) == told


def test_a_source_that_a_recheck_rejects_makes_what_follows_doubtful():
    source = a_verified("b")
    source.rejected_by = ("rs",)
    weaker = following(source, "b")
    assert told_of(weaker, source) == "implied verified, but not confirmed by rs"


def test_a_lemma_that_the_prover_did_not_need_to_add_is_no_open_assumption():
    task = a_verified("b", "a")
    result = bt.Result(bt.Status.NOT_NEEDED)
    not_needed = a_task(result.status, result, lemma="a", optional=True)
    assert told_of(task, not_needed) == "verified"


def test_a_lemma_that_another_variant_was_faster_at_is_an_open_assumption():
    task = a_verified("b", "a")
    result = bt.Result(bt.Status.SUPERSEDED)
    superseded = a_task(result.status, result, lemma="a")
    assert told_of(task, superseded) == "verified, assuming a (superseded)"


def test_of_many_open_assumptions_five_are_told():
    task = a_verified("x", *"abcdefgh")
    assert told_of(task).endswith("e (not in the results) and 3 more")


def exit_code_of(tasks, batch):
    """The exit code of some tasks of a batch."""
    return bt.exit_code(bt.rows_of(tasks, bt.Closure(batch)))


def test_an_answer_that_rests_on_a_falsified_lemma_is_a_failure():
    tasks = tasks_in("a  all-traces  falsified\nb  all-traces  verified  a")
    assert exit_code_of(tasks, tasks) == 1
    assert exit_code_of(tasks[:1], tasks) == 0


def test_an_answer_that_rests_on_an_open_lemma_is_an_answer():
    tasks = tasks_in("a  all-traces  -\nb  all-traces  verified  a")
    assert exit_code_of(tasks, tasks) == 3
    assert exit_code_of(tasks[1:], tasks) == 0


# --- The same in a run and its reports ------------------------------------------------------------


def test_a_run_tells_what_rests_on_a_false_lemma(lab, audit):
    lab.write("bell.spthy", BELL)
    lab.prover(BELL_PROVER)
    lab.recipe(theory_file="bell.spthy", output_file_prefix="bell")
    done = lab.run("run recipe.json", code=1)
    assert "resting on a falsified lemma: calm" in done.stdout
    assert "3 resting on a falsified lemma" in done.stdout
    told = audit("results", code=1)
    assert told.states == {
        "calm": "falsified",
        "quiet": "verified, resting on a falsified lemma: calm",
        "still": "verified, resting on a falsified lemma: calm via quiet",
        "heard": "falsified, resting on a falsified lemma: calm",
    }
    (assumed,) = told.by_lemma["still"]["assuming"]
    assert assumed == {"lemma": "calm", "state": "falsified", "via": ["quiet"]}
    assert told.found_of("assumption") == ["quiet", "still", "heard"]
    assert told.kinds.isdisjoint({"invalid", "sorry", "stale"}), "the kept proofs say the same"


def bell_report(form):
    """A report of results as `test_a_run_tells_what_rests_on_a_false_lemma` has them."""
    tasks = tasks_in("""
        calm   all-traces    falsified
        quiet  all-traces    verified   calm
        still  all-traces    verified   quiet
        heard  exists-trace  falsified  calm
    """)
    header = bt.Header(at="2026-01-02T03:04:05.000000Z", provers={"p": bt.Prover("p", ("p",))})
    batch = bt.Batch(header, {task.id: task for task in tasks})
    return "".join(bt.REPORTS[form]({"/nowhere": batch}, "/nowhere"))


def test_a_csv_report_tells_what_verdicts_assume():
    rows = csv.DictReader(bell_report("csv").splitlines())
    assert [row["assuming"] for row in rows] == [
        "",
        "calm (falsified)",
        "calm (falsified) via quiet",
        "calm (falsified)",
    ]


def test_a_json_report_tells_what_verdicts_assume():
    still = json.loads(bell_report("json"))["tasks"][2]
    (assumption,) = still["assuming"]
    assert assumption["lemma"] == "calm"


def test_a_junit_report_has_failed_cases_where_a_verdict_rests_on_a_false_lemma():
    assert bell_report("junit").count("<failure") == 3


def test_a_markdown_report_tells_what_verdicts_assume():
    assert "calm (falsified) via quiet" in bell_report("md")


# --- Results of ours in an audit ------------------------------------------------------------------

FAIL_ONE = "[ $LEMMA != one ] || exit 1\n"


@pytest.fixture
def one_failed(lab):
    """Results of t.spthy: the prover failed with `one`, on which `three` rests."""
    lab.prover(FAIL_ONE + VERIFY)
    lab.recipe()
    return lab.run("run recipe.json", code=3)


def test_a_run_tells_what_a_verdict_assumes(one_failed):
    assert "assuming one (failed)" in one_failed.stdout


def test_an_open_assumption_is_a_note(one_failed, audit):
    told = audit("results", code=3)
    assert told.states["one"] == "failed"
    assert told.states["three"] == "verified, assuming one (failed)"
    assert told.findings("assumption") == []
    assert told.notes("assumption") == ["three: verified, assuming one (failed)"]


def test_an_audit_names_what_has_no_verdict(one_failed, audit):
    told = audit("results", code=3)
    assert "one: no verdict: failed" in told.notes("missing")


def test_with_strict_a_note_is_a_finding(one_failed, run_here):
    told = run_here("audit results --strict", code=1)
    assert "no verdict: failed" in told.out


@pytest.mark.parametrize("character", ["\\ud800", "\\u0000"])
def test_a_directory_that_cannot_be_one_hides_no_verdict(written, audit, character):
    text = written.read_text()
    written.write_text(text.replace('"cwd":"/"', f'"cwd":"/{character}"'))
    told = audit("results", code=0)
    assert told.states == {"l0": "verified", "l1": "verified", "l2": "verified"}


def test_a_kept_proof_that_is_no_theory_is_a_note(one_failed, audit):
    told = audit("results", code=3)
    two, three = told.notes("invalid")
    assert two.startswith("two: its proof can't be read"), "VERIFY prints no theory"
    assert three.startswith("three: its proof can't be read")
    assert told.findings("invalid") == []


@pytest.fixture
def bell_proofs(lab):
    """Results of bell.spthy with a proof of each lemma, and their folder of proofs."""
    lab.write("bell.spthy", BELL)
    lab.prover(BELL_PROVER)
    lab.recipe(theory_file="bell.spthy", lemmas="quiet still")
    lab.run("run recipe.json", code=0)
    return lab.results / "proofs"


def test_a_proof_file_that_is_lost_is_a_finding(bell_proofs, audit):
    assert audit("results", code=0).findings("missing") == []
    (bell_proofs / "t--quiet--fake.spthy").unlink()
    told = audit("results", code=1)
    assert told.findings("missing") == ["no proof file of 1 result: t--quiet--fake"]


def test_that_a_journal_was_copied_without_any_proof_is_a_note(bell_proofs, audit):
    shutil.rmtree(bell_proofs)
    told = audit("results", code=0)
    assert "no proof file of 2 results: t--quiet--fake, t--still--fake" in told.notes("missing")


def test_a_proof_file_that_is_cut_is_a_finding(bell_proofs, audit):
    path = bell_proofs / "t--quiet--fake.spthy"
    path.write_text(path.read_text().removesuffix("end\n"))
    (message,) = audit("results", code=1).findings("invalid")
    assert message.startswith("quiet: its proof can't be read: ")
    assert "the theory has no 'end'" in message


def test_whole_proofs_that_are_too_large_for_us_are_a_note(bell_proofs, audit, monkeypatch):
    proof = printed_theory()
    (bell_proofs / "t--quiet--fake.spthy").write_text(proof)
    (bell_proofs / "t--still--fake.spthy").write_text(proof[:-60])
    monkeypatch.setattr(bt, "MAX_THEORY_BYTES", len(proof) - 61)
    told = audit("results", code=1)
    (whole,) = (each for each in told.notes("invalid") if "too large" in each)
    (cut,) = told.findings("invalid")
    assert whole.startswith("quiet:")
    assert cut.startswith("still:")


def test_whole_printed_theories_that_are_too_large_for_us_are_a_note(artifact, audit, monkeypatch):
    proof = printed_theory().replace("begin\n", "begin\nrule (modulo E) R: [ ]-->[ ]\n")
    artifact.write("whole.log", proof + BELL_LOG)
    artifact.write("cut.spthy", proof[:-60])
    monkeypatch.setattr(bt, "MAX_THEORY_BYTES", len(proof) - 61)
    told = audit(".", code=1)
    assert [each.split(": ")[1] for each in told.notes("invalid")] == ["./whole.log"]
    assert [each.split(": ")[1] for each in told.findings("invalid")] == ["./cut.spthy"]


def test_a_printed_theory_that_is_cut_is_a_finding_and_a_source_a_note(lab, audit):
    cut = BELL.removesuffix("end\n")
    lab.write("d/source.spthy", cut)
    lab.write("d/printed.spthy", cut.replace("rule Ring", "rule (modulo E) Ring"))
    told = audit("d", code=1)
    assert len(told.findings("invalid")) == 1
    assert len(told.notes("invalid")) == 1


def test_neither_a_comment_nor_a_date_makes_results_stale(lab, one_failed, audit):
    path = lab.write("t.spthy", "// a comment changes nothing\n" + THEORY)
    os.utime(path, (2**32, 2**32))
    told = audit("results", code=3)
    assert "stale" not in told.kinds


def test_results_of_a_theory_that_has_changed_are_stale(lab, one_failed, audit):
    edit_theory(lab, "Out(~k)", "Out(h(~k))")
    told = audit("results", code=1)
    assert told.found_of("stale") == ["one", "two", "three"]


def test_that_a_theory_is_gone_is_said_once(lab, one_failed, audit):
    (lab.path / "t.spthy").unlink()
    told = audit("results", code=3)
    assert told.notes("stale") == ["is not there any more to compare with"]
    assert told.states["three"] == "verified, assuming one (failed)", "our journal says it"


def test_a_lemma_that_nobody_planned_is_missing(lab, audit):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one two")
    lab.run("run recipe.json", code=0)
    told = audit("results", code=0)
    assert "three: has no result" in told.notes("missing")


def test_a_journal_under_another_name_is_no_evidence(lab, run_here):
    lab.write("told.txt", '{"event": "batch"}\n')
    told = run_here("audit told.txt", code=2)
    assert "neither results" in told.err


def test_the_results_of_a_batch_that_was_killed_are_audited(lab, audit):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    kept = []
    for line in lab.journal.read_text().splitlines(keepends=True):
        kept.append(line)
        if json.loads(line)["event"] == "finish":
            break
    lab.journal.write_text("".join(kept))
    told = audit("results", code=3)
    assert told.verdicts.count("verified") == 1
    assert told.verdicts.count(None) == 2


def header_without_provers(header):
    header["provers"] = {}


def header_without_command(header):
    header["provers"]["fake"]["command"] = []


@pytest.mark.parametrize("lose", [header_without_provers, header_without_command])
def test_results_whose_prover_the_journal_lacks_are_shown(lab, run_here, lose):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=0)
    header, _, rest = lab.journal.read_text().partition("\n")
    header = json.loads(header)
    lose(header)
    lab.journal.write_text(json.dumps(header) + "\n" + rest)
    told = run_here("audit results", code=0)
    assert "3 verified" in told.out
    lost = "how prover 'fake' was called is not said"
    assert lost in told.err
    told = run_here("report results --rebuild", code=0)
    assert lost in told.err
    done = lab.run("recheck results --prover fake")
    assert lost in done.stderr


# --- Logs and the theories that they belong to ----------------------------------------------------


def test_our_own_reports_are_no_logs_though_they_quote_some(lab, run_here):
    lab.prover(f"cat <<END >&2\n{BELL_LOG}\nEND\nexit 3")
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=3)
    for form in bt.REPORTS:
        run_here("report results -f", form, "-o", "paper/x", code=0)
    done = run_here("audit paper", code=2)
    assert "neither results" in done.err


def test_a_log_tells_the_verdicts_of_its_summary(lab, audit):
    lab.write("log", a_log(CALM, HEARD, theory="models/bell.spthy"))
    told = audit("log", code=0)
    heard = told.by_lemma["heard"]
    assert heard["theory"] == "models/bell.spthy"
    assert heard["verdict"] == "verified"
    assert heard["steps"] == 2
    assert heard["time_s"] == 1.5
    assert heard["prover"] == "unknown prover"
    assert heard["source"] == "log"


def test_an_analyzed_theory_tells_the_verdicts_of_the_summary_behind_it(lab, audit):
    """Here in a comment, behind the `end` of the theory."""
    summary = BELL_LOG.replace("bell.spthy", "models/bell.spthy")
    lab.write("out/a.spthy", f"{printed_theory()}/* Output\n\n{summary}*/\n")
    told = audit("out", code=0)
    assert told.told == []
    assert told.by_lemma["heard"]["verdict"] == "verified"
    assert told.by_lemma["heard"]["theory"] == "models/bell.spthy"
    assert told.by_lemma["calm"]["prover"] == "Tamarin 1.11.0"


def test_what_a_log_assumes_is_unknown_without_the_theory(lab, audit):
    lab.write("log", BELL_LOG)
    told = audit("log", code=0)
    unknown = "what the verdicts assume is unknown: the theory is not here, or can't be read"
    assert told.notes("assumption") == [unknown]
    assert told.states["quiet"] == "verified"


# `calm` is open: the prover had more steps than one for it.
OPEN_BELL_LOG = a_log("calm (all-traces): analysis incomplete (8 steps)", QUIET, HEARD)


@pytest.mark.parametrize("folder", ["logs", "models"])
def test_what_a_log_assumes_is_read_from_a_theory_in_a_folder_that_was_named(lab, audit, folder):
    lab.write("logs/one.log", OPEN_BELL_LOG)
    write_old(lab, f"{folder}/bell.spthy", BELL)
    told = audit("logs", folder, code=3)
    assert told.states["quiet"] == "verified, assuming calm (incomplete)"
    assert len(told.rows) == 3, "the theory is no evidence of its own"


def test_a_theory_that_was_not_named_says_nothing_of_a_log(lab, audit):
    lab.write("logs/one.log", OPEN_BELL_LOG)
    lab.write("elsewhere/bell.spthy", BELL)
    told = audit("logs", code=3)
    assert told.states["quiet"] == "verified"


def test_a_lemma_in_one_step_is_one_that_nobody_asked_for(lab, audit):
    """Tamarin lists every lemma (../shared/transcripts/two-lemmas-one-process)."""
    lab.write("log", a_log("calm (all-traces): analysis incomplete (1 steps)", HEARD))
    told = audit("log", code=3)
    assert told.notes("missing") == ["calm: nobody asked for a proof of it"]


def test_a_theory_newer_than_a_log_is_a_hint_that_never_counts(lab, audit):
    """Every checkout makes new dates."""
    write_old(lab, "logs/log", BELL_LOG)
    lab.write("models/bell.spthy", BELL)
    told = audit("logs models --strict", code=0)
    assert told.notes("stale") == [bt.NEWER_BY_DATE]
    assert told.places("stale") == ["logs/log"]


def test_a_lemma_that_the_theory_lacks_is_told(lab, audit):
    lab.write("logs/log", BELL_LOG)
    lab.write("models/bell.spthy", BELL.replace("lemma quiet", "lemma hush"))
    told = audit("logs models", code=0)
    unknown = "what the verdicts assume is unknown: not in the theory as it is here"
    assert f"quiet: {unknown}" in told.notes("assumption")


def test_what_a_log_assumes_is_unknown_where_flags_change_the_theory(lab, audit):
    lab.write("log", BELL_LOG)
    lab.write("bell.spthy", BELL.replace("begin\n", "begin\n#ifdef LOUD\n#endif\n"))
    told = audit("log", code=0)
    unknown = "what the verdicts assume is unknown: bell.spthy has #ifdefs, the log no flags"
    assert unknown in told.notes("assumption")


def test_a_log_belongs_to_a_renamed_theory_with_its_lemmas(lab, audit):
    """The lemma that --auto-sources adds stands in the log, and in no theory."""
    added = "AUTO_typing (all-traces): verified (4 steps)"
    lab.write("d/log", a_log(CALM, QUIET, STILL, HEARD, added, theory="old.spthy"))
    write_old(lab, "d/new.spthy", BELL)
    told = audit("d", code=0)
    assert "assumption" not in told.kinds
    assert len(told.rows) == 5


def test_a_theory_of_the_right_name_is_nearer_than_another_one_with_the_lemmas(lab, audit):
    lab.write("d/log", BELL_LOG)
    lab.write("d/bell.spthy", BELL.replace("lemma heard", "lemma unheard"))
    lab.write("d/other.spthy", BELL)
    told = audit("d", code=3)
    by_name = "text matched by name: the lemmas of d/bell.spthy are not those of this log"
    assert by_name in told.notes("assumption")


@pytest.fixture
def with_twins(lab):
    """A log, and two texts in other folders that both may be what was proven."""
    lab.write("logs/log", BELL_LOG)
    lab.write("a/bell.spthy", OTHER_BELL)
    lab.write("b/bell.spthy", OTHER_BELL.replace("h(~b)", "h(h(~b))"))


def test_of_two_texts_that_may_be_that_of_a_log_none_is_taken(with_twins, audit):
    told = audit("logs a b", code=3)
    unknown = "what the verdicts assume is unknown: the theory is not here, or can't be read"
    assert unknown in told.notes("assumption")


def test_a_theory_beside_a_log_is_nearer_than_those_of_other_folders(lab, with_twins, audit):
    write_old(lab, "logs/bell.spthy", BELL)
    told = audit("logs a b", code=3)
    assert "assumption" not in told.kinds


def test_a_text_matched_by_name_is_said(lab, audit):
    lab.write("logs/log", BELL_LOG)
    write_old(lab, "models/bell.spthy", BELL.replace("lemma heard", "lemma unheard"))
    told = audit("logs models", code=0)
    by_name = "text matched by name: the lemmas of models/bell.spthy are not those of this log"
    assert by_name in told.notes("assumption")


def test_results_of_a_text_matched_by_name_contradict_none_of_that_text(lab, audit):
    write_old(lab, "models/bell.spthy", BELL)
    lab.write("a/log", BELL_LOG)
    lab.write("b/log", a_log(CALM_IS_FALSE))
    told = audit("a b models", code=0)
    assert "disagreement" not in told.kinds


def test_a_text_matched_by_its_lemmas_needs_no_word(lab, audit):
    lab.write("logs/log", BELL_LOG)
    write_old(lab, "models/bell.spthy", BELL)
    told = audit("logs models", code=0)
    assert "assumption" not in told.kinds


def not_asked(line):
    """What a prover says instead of a line, in one step, when it was not asked for that lemma."""
    return re.sub(r": .*", ": analysis incomplete (1 steps)", line)


def one_lemma_logs():
    """What processes say that were asked for one lemma each."""
    lines = [CALM, QUIET, STILL, HEARD]
    for asked in lines:
        yield a_log(*(line if line is asked else not_asked(line) for line in lines))


def test_logs_of_one_folder_are_one_set_of_results(lab, audit):
    """Each process was asked for one lemma, and listed the others in one step."""
    lab.write("d/bell.spthy", BELL)
    for number, log in enumerate(one_lemma_logs()):
        lab.write(f"d/log{number}", log)
        lab.write(f"d/log{number}.err", "[Theory Bell] Theory loaded\n")
    told = audit("d", code=0)
    assert told.verdicts == ["verified"] * 4
    assert "missing" not in told.kinds


CUT_OFF = "no complete summary: the prover was ended, or still runs"


def test_a_log_that_was_cut_off_is_a_finding(lab, audit):
    lab.write("log", a_log(CALM, ended=False))
    told = audit("log", code=1)
    assert told.findings("missing") == [CUT_OFF]


def test_a_run_that_left_no_summary_is_a_finding(lab, audit):
    """Its stderr shows that there was one; beside it are the two files of a run that ended."""
    lab.write("d/log", BELL_LOG)
    lab.write("d/log.err", "[Theory Bell] Theory loaded\n")
    told = audit("d", code=0)
    assert told.findings("missing") == []
    lab.write("d/late.err", "[Theory Bell] Theory loaded\n")
    told = audit("d", code=1)
    assert told.findings("missing") == [CUT_OFF]


TALK = "[Theory Bell] Theory loaded\n"
REFUSAL = '"bell.spthy" (line 3, column 1):\nunexpected "#"\nexpecting "rule"\n'


def test_a_finished_run_beside_one_that_failed_keeps_its_own_stderr(artifact, audit):
    """What a shell leaves of `> logs/$f.txt 2> logs/$f.err`."""
    for name in ("a", "b", "c"):
        artifact.write(f"logs/{name}.txt", BELL_LOG)
        artifact.write(f"logs/{name}.err", TALK)
    artifact.write("logs/killed.txt", "")
    artifact.write("logs/killed.err", TALK)
    artifact.write("logs/lost.err", TALK)
    told = audit("logs", code=1)
    assert told.findings("missing") == [CUT_OFF] * 2
    files = [each["theory"] for each in told.told if each["message"] == CUT_OFF]
    assert files == ["logs/killed.txt", "logs/lost.err"]


def test_the_details_of_an_audit_name_every_log_without_a_summary(artifact, run_here):
    names = [f"logs/{number}.txt" for number in range(6)]
    for name in names:
        artifact.write(name, TALK)
    told = run_here("audit logs -d", code=1).out
    assert all(name in told for name in names)


def test_an_empty_baseline_is_refused(artifact, run_here):
    artifact.write("a.txt", BELL_LOG)
    artifact.write("b.txt", "")
    told = run_here("audit a.txt --against b.txt", code=2)
    assert "b.txt: here are no results to compare with" in told.err


def test_which_of_some_runs_has_no_summary_is_not_guessed(artifact, audit):
    artifact.write("logs/a", BELL_LOG)
    for number in range(3):
        artifact.write(f"logs/run{number}", TALK)
    told = audit("logs", code=1)
    assert told.findings("missing") == [f"{CUT_OFF} (at least 2 of 3 runs here)"]


def test_a_log_that_ends_with_a_parse_error_is_said_to(artifact, audit):
    artifact.write("logs/a.txt", "")
    artifact.write("logs/a.err", f"maude tool: 'maude'\n{REFUSAL}")
    told = audit("logs", code=1)
    (message,) = told.findings("missing")
    assert message.startswith(
        "no summary, the theory has a parse error: bell.spthy:3:1: unexpected"
    )


@pytest.mark.parametrize("paths", [["logs/a.txt", "logs/b.txt"], ["logs"]])
def test_an_empty_log_is_a_finding_and_the_rest_is_audited(artifact, audit, paths):
    artifact.write("logs/a.txt", "")
    artifact.write("logs/b.txt", BELL_LOG)
    artifact.write("logs/b.err", "")
    artifact.write("logs/.keep", "")
    told = audit(*paths, code=1)
    assert told.findings("missing") == ["empty: the prover printed nothing"]
    assert len(told.rows) == 4


def test_a_log_belongs_to_the_analyzed_theory_with_its_lemmas(lab, audit):
    lab.write("run/log", BELL_LOG)
    lab.write("run/out.spthy", printed_theory(version="1.9.0", quiet="by sorry"))
    told = audit("run", code=0)
    (note,) = told.notes("invalid")
    assert note.startswith("quiet: the prover's summary says verified, the stored proof")
    assert told.by_lemma["calm"]["prover"] == "Tamarin 1.9.0"


def test_proofs_convict_a_log_that_says_them_to_be_its_own(lab, audit):
    lab.write("run/log", a_log(CALM, QUIET, STILL, HEARD, output="/gone/out.spthy"))
    lab.write("run/out.spthy", printed_theory(quiet="by sorry"))
    assert audit("run", code=1).found_of("invalid") == ["quiet"]


def test_a_log_and_proofs_that_contradict_each_other_are_of_two_runs(lab, audit):
    """As those with other flags are."""
    lab.write("run/log", FALSE_BELL_LOG)
    lab.write("run/out.spthy", printed_theory())
    told = audit("run", code=3)
    assert told.found_of("invalid") == []
    rows = [row for row in told.rows if row["lemma"] == "calm"]
    provers = sorted((row["prover"], row["state"]) for row in rows)
    assert provers == [
        ("Tamarin 1.11.0", "claimed verified by a stored proof, unchecked"),
        ("unknown prover", "falsified"),
    ]


def test_a_proof_file_that_two_processes_wrote_convicts_neither(lab, audit):
    lab.write("run/log", BELL_LOG)
    lab.write("run/later", BELL_LOG)
    lab.write("run/out.spthy", printed_theory(quiet="by sorry"))
    told = audit("run", code=0)
    assert "invalid" not in told.kinds


def test_of_two_analyzed_theories_that_fit_the_one_that_the_log_names_is_its_own(lab, audit):
    lab.write("run/log", a_log(CALM, QUIET, STILL, HEARD, output="/gone/elsewhere/out.spthy"))
    lab.write("run/out.spthy", printed_theory(quiet="by sorry"))
    lab.write("run/old.spthy", printed_theory(still="by sorry"))
    told = audit("run", code=1)
    assert told.found_of("invalid") == ["quiet"]


def test_theories_of_one_name_in_two_folders_do_not_disagree(lab, audit):
    lab.write("a/bell.spthy", BELL)
    lab.write("a/log", BELL_LOG)
    lab.write("b/bell.spthy", OTHER_BELL)
    lab.write("b/log", FALSE_BELL_LOG)
    told = audit("a b", code=1)
    assert "disagreement" not in told.kinds
    first, *_ = told.findings("assumption")
    assert first == "quiet: verified, resting on a falsified lemma: calm"


def test_logs_that_hold_different_texts_do_not_disagree(lab, audit):
    """One theory with two sets of flags: a full log has the text that was proven."""
    lab.write("c/plain.log", printed_theory() + BELL_LOG)
    lab.write("c/flags.log", printed_theory(OTHER_BELL, calm="simplify SOLVED") + FALSE_BELL_LOG)
    told = audit("c", code=1)
    assert told.kinds.isdisjoint({"disagreement", "invalid"})
    assert len(told.rows) == 8
    resting = [row for row in told.rows if "resting on a falsified" in row["state"]]
    assert len(resting) == 2


def test_logs_that_hold_the_same_text_disagree(lab, audit):
    lab.write("c/one.log", printed_theory() + BELL_LOG)
    lab.write("c/two.log", printed_theory(calm="simplify SOLVED") + FALSE_BELL_LOG)
    told = audit("c", code=1)
    assert told.found_of("disagreement") == ["calm"]


def test_several_theories_in_one_log(lab, audit):
    first = a_log("x (all-traces): verified (2 steps)", theory="a.spthy")
    second = a_log("x (all-traces): falsified - found trace (2 steps)", theory="b.spthy")
    head, _, _ = first.rpartition(RULE)
    _, _, rest = second.partition("summaries:\n")
    lab.write("log", head + rest)
    told = audit("log", code=0)
    assert [row["theory"] for row in told.rows] == ["a.spthy", "b.spthy"]
    assert told.verdicts == ["verified", "falsified"]


def test_logs_may_be_named_in_any_order(lab, audit):
    """Here one of another folder between two of one folder."""
    lab.write("d/a.log", a_log("a (all-traces): falsified - found trace (2 steps)"))
    lab.write("e/b.log", a_log("b (all-traces): verified (2 steps)"))
    lab.write("d/c.log", a_log("c (all-traces): verified (2 steps)"))
    told = audit("d/a.log e/b.log d/c.log", code=0)
    assert told.states == {"a": "falsified", "b": "verified", "c": "verified"}


def test_logs_of_one_text_in_many_folders_are_one_set_of_results(artifact, audit):
    artifact.write("bell.spthy", BELL)
    for number, log in enumerate(one_lemma_logs()):
        artifact.write(f"runs/{number}/log", log)
    told = audit(".", code=0)
    assert told.verdicts == ["verified"] * 4
    assert told.kinds.isdisjoint({"missing", "assumption", "vacuity"})


def test_logs_of_a_name_alone_close_no_assumption_of_another_folder(artifact, audit):
    write_old(artifact, "models/bell.spthy", BELL.replace("lemma heard", "lemma unheard"))
    first, second, *_ = one_lemma_logs()
    artifact.write("a/log", first)
    artifact.write("b/log", second)
    told = audit(".", code=3)
    states = [row["state"] for row in told.rows if row["lemma"] == "quiet"]
    assert states == ["incomplete", "verified, assuming calm (incomplete)"]


def test_a_run_that_nobody_asked_for_anything_is_told_beside_one_of_the_same_text(lab, audit):
    lab.write("bell.spthy", BELL)
    lab.write("a/log", BELL_LOG)
    lines = map(not_asked, (CALM, QUIET, STILL, HEARD))
    lab.write("b/log", a_log(*lines))
    told = audit("a b bell.spthy", code=3)
    nobody = "nobody asked for a proof of it"
    assert told.notes("missing") == [f"{lemma}: {nobody}" for lemma in BELL_PROOFS]


def with_ifdef(theory=BELL):
    """A theory that means something else with a flag."""
    return theory.replace("begin\n", "begin\n#ifdef LOUD\n#endif\n")


@pytest.mark.parametrize("name", ["bell.spthy", "part.splib"])
def test_logs_of_unknown_flags_that_contradict_each_other_are_of_two_models(artifact, audit, name):
    """Also where the #ifdef stands in an included file."""
    artifact.write("bell.spthy", BELL.replace("begin\n", 'begin\n#include "part.splib"\n'))
    artifact.write("part.splib", "#ifdef LOUD\n#endif\n")
    if name == "bell.spthy":
        artifact.write(name, with_ifdef())
    artifact.write("logs/plain", BELL_LOG)
    artifact.write("logs/loud", FALSE_BELL_LOG)
    told = audit(".", code=1)
    assert told.findings("disagreement") == []
    (message,) = told.notes("disagreement")
    assert message.startswith("calm: verified by unknown prover")
    states = [row["state"] for row in told.rows if row["entry"] == "./logs/plain"]
    assert states == ["verified"] * 4, "they rest on nothing of the other"


def test_logs_of_unknown_flags_that_agree_are_of_one_model(artifact, audit):
    artifact.write("bell.spthy", with_ifdef())
    for number, log in enumerate(one_lemma_logs()):
        artifact.write(f"logs/{number}", log)
    told = audit(".", code=0)
    assert set(told.states.values()) == {"verified"}


def test_logs_of_provers_are_told_apart_by_their_own_first_lines(artifact, audit):
    artifact.write("bell.spthy", BELL)
    artifact.write(
        "d/a.log", "tamarin-prover 1.10.0, (C) nobody\n" + a_log(CALM, QUIET, STILL, HEARD)
    )
    incomplete = CALM.replace("verified", "analysis incomplete")
    second = a_log(incomplete, QUIET, STILL, HEARD)
    artifact.write("d/b.log", "tamarin-rs 1.13.0\n" + second)
    told = audit(".", code=3)
    rows = [row for row in told.rows if row["lemma"] == "quiet"]
    states = {row["prover"]: row["state"] for row in rows}
    assert states == {
        "Tamarin 1.10.0": "verified",
        "tamarin-rs 1.13.0": "verified, assuming calm (incomplete)",
    }


@pytest.mark.parametrize(
    "head",
    ["tamarin-prover 1.8.0\ntamarin-prover 1.10.0\n", "theory T begin\ntamarin-prover 1.8.0\n"],
)
def test_a_log_that_names_several_provers_or_one_in_a_theory_tells_of_none(lab, audit, head):
    lab.write("log", head + BELL_LOG)
    told = audit("log", code=0)
    assert {row["prover"] for row in told.rows} == {"unknown prover"}


def test_a_log_with_carriage_returns_is_a_log(lab, audit):
    lab.write("d/log", (printed_theory() + BELL_LOG).replace("\n", "\r\n"))
    told = audit("d", code=0)
    assert told.told == []
    assert told.verdicts == ["verified"] * 4


SAID_ON_STDERR = """maude tool: 'maude'
 checking version: 3.4. OK.
[Theory Bell] Theory loaded
[Theory Bell] Theory closed
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_log_of_stdout_and_stderr_holds_the_text_that_was_proven(lab, audit, ending):
    loud = printed_theory(OTHER_BELL, calm="simplify SOLVED") + FALSE_BELL_LOG
    plain = printed_theory() + BELL_LOG
    for name, printed in {"plain": plain, "loud": loud}.items():
        text = SAID_ON_STDERR + printed
        lab.write(f"d/{name}.log", text.replace("\n", ending))
    told = audit("d", code=1)
    assert told.kinds == {"assumption"}
    assert {row["prover"] for row in told.rows} == {"Tamarin 1.11.0"}
    resting = {row["entry"] for row in told.rows if "resting" in row["state"]}
    assert resting == {"d/loud.log"}


def test_the_folder_that_a_log_names_tells_theories_of_one_name_apart(artifact, audit):
    artifact.write("models/v1/bell.spthy", BELL)
    artifact.write("models/v2/bell.spthy", OTHER_BELL)
    artifact.write("logs/1", a_log(CALM, QUIET, STILL, HEARD, theory="v1/bell.spthy"))
    artifact.write("logs/2", a_log(CALM_IS_FALSE, HEARD, STILL, QUIET, theory="v2/bell.spthy"))
    told = audit(".", code=1)
    assert told.kinds.isdisjoint({"disagreement", "vacuity"})
    resting = {row["theory"] for row in told.rows if "resting" in row["state"]}
    assert resting == {"v2/bell.spthy"}


def test_what_another_log_calls_its_output_is_not_taken(artifact, audit):
    """Of two sets of flags the printed text of one was kept: lemmas alone do not make it both's."""
    artifact.write("plain.log", BELL_LOG)
    artifact.write("loud.log", a_log(CALM_IS_FALSE, QUIET, STILL, HEARD, output="loud.spthy"))
    artifact.write("loud.spthy", printed_theory(OTHER_BELL, calm="simplify SOLVED"))
    told = audit(".", code=1)
    assert told.kinds.isdisjoint({"disagreement", "invalid"})
    provers = {row["entry"]: row["prover"] for row in told.rows}
    assert provers == {"./plain.log": "unknown prover", "./loud.log": "Tamarin 1.11.0"}


def test_results_in_a_log_beside_the_theory_are_of_no_older_text(artifact, audit):
    """A prover prints a theory in other words than people wrote it."""
    artifact.write("bell.spthy", BELL)
    artifact.write("log", printed_theory(BELL.replace("rule", "rule (modulo E)")) + BELL_LOG)
    told = audit(".", code=0)
    assert set(told.states.values()) == {"verified"}


# --- Proofs that are stored -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "lemma, proof, words",
    [
        ("calm", "simplify\nby sorry", "says incomplete (it has `sorry` in it)"),
        ("calm", "by sorry", "is not there"),
        ("heard", "by contradiction", "says falsified"),
        ("calm", "simplify SOLVED", "says falsified"),
    ],
    ids=["unfinished", "none", "no trace", "a trace"],
)
def test_a_proof_that_says_otherwise_than_the_prover_is_a_finding(lab, audit, lemma, proof, words):
    lab.write("a.spthy", printed_theory(**{lemma: proof}) + BELL_LOG)
    message = f"{lemma}: the prover's summary says verified, the stored proof {words}"
    told = audit("a.spthy", code=1)
    assert told.findings("invalid") == [message]


def test_a_summary_that_says_otherwise_than_the_proof_is_a_finding(lab, audit):
    lab.write("a.spthy", printed_theory() + FALSE_BELL_LOG)
    told = audit("a.spthy", code=1)
    message = "calm: the prover's summary says falsified, the stored proof says verified"
    assert told.findings("invalid") == [message]
    assert "resting on a falsified lemma: calm via quiet" in told.states["still"]


def test_a_proof_that_nobody_checked_is_a_claim_and_no_verdict(lab, audit):
    lab.write("a.spthy", printed_theory(quiet="simplify\nby sorry", still="by sorry"))
    told = audit("a.spthy", code=3)
    assert told.verdicts == [None] * 4
    claim = "claimed verified by a stored proof, unchecked"
    assert told.notes("missing") == [f"calm: {claim}", f"heard: {claim}", "still: has no result"]
    assert told.notes("sorry") == ["quiet: the stored proof is unfinished"]
    assert told.states == {
        "calm": claim,
        "quiet": "an unfinished proof",
        "still": "no result",
        "heard": claim,
    }


def test_with_strict_claims_are_findings(lab, audit):
    lab.write("a.spthy", printed_theory())
    told = audit("a.spthy --strict", code=1)
    assert len(told.notes("missing")) == 4


def test_a_trace_beside_open_cases_is_a_trace(lab, audit):
    proof = "simplify\nsolve( A )\n  case one\n  SOLVED\nnext\n  case two\n  by sorry\nqed"
    lab.write("a.spthy", printed_theory(heard=proof) + BELL_LOG)
    told = audit("a.spthy", code=0)
    assert "sorry" not in told.kinds


MADE_BY = "Generated from:\nTamarin version 1.8.0\n"
# Where people keep what a prover once said.
PASTED_SUMMARIES = {
    "behind begin": BELL.replace("begin\n", f"begin\n/*{BELL_LOG}*/\n"),
    "before the theory": f"/*{BELL_LOG}*/\n{BELL}",
    "formal": BELL.replace("begin\n", f"begin\ntext{{*{BELL_LOG}*}}\n"),
    "with its version": BELL.replace("\nend\n", f"\n/*{MADE_BY}{BELL_LOG}*/\nend\n"),
    "behind end": f"{BELL}/*{MADE_BY}{BELL_LOG}*/\n",
    "behind end, no comment": BELL + BELL_LOG,
}


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("text", PASTED_SUMMARIES.values(), ids=PASTED_SUMMARIES)
def test_a_summary_in_what_people_wrote_is_no_result(lab, audit, text, ending):
    lab.write("bell.spthy", text.replace("\n", ending))
    told = audit("bell.spthy", code=3)
    assert told.verdicts == [None] * 4
    assert told.notes("missing") == [f"{name}: has no result" for name in BELL_PROOFS]
    remark = "what its summary claims counts for nothing: no prover printed it there"
    assert told.notes("invalid") == [remark]


@pytest.mark.parametrize("before", ["\ufeff", "#define LOUD\n"], ids=["bom", "define"])
def test_a_summary_in_a_comment_of_what_is_no_theory_is_no_result(lab, audit, before):
    lab.write("bell.spthy", before + PASTED_SUMMARIES["behind begin"])
    code = 1 if before == "\ufeff" else 3
    assert audit("bell.spthy --strict", code=code).rows == []


def test_a_summary_behind_a_shell_pattern_is_one(lab, audit):
    lab.write("log", "$ tamarin-prover models/*.spthy\n" + BELL_LOG)
    assert audit("log", code=0).verdicts == ["verified"] * 4


def test_a_remark_on_a_summary_counts_not_even_with_strict(lab, audit):
    theory = printed_theory().replace("begin\n", "begin\n/* x */\n")
    lab.write("run/log", theory + BELL_LOG)
    lab.write("run/bell.spthy", PASTED_SUMMARIES["behind begin"])
    assert audit("run --strict", code=0).kinds == {"invalid"}


def test_a_lemma_that_the_prover_may_add_to_a_theory_has_no_row(lab, audit):
    options = 'theory Bell configuration: "--auto-sources" begin'
    lab.write("bell.spthy", BELL.replace("theory Bell begin", options))
    told = audit("bell.spthy", code=3)
    assert list(told.by_lemma) == list(BELL_PROOFS)


def test_proofs_of_one_text_are_one_set_of_claims(lab, audit):
    """A file for each lemma, as our results have them, and the theory that they are of."""
    lab.write("bell.spthy", BELL)
    for name, proof in BELL_PROOFS.items():
        others = dict.fromkeys(BELL_PROOFS, "by sorry")
        proofs = {**others, name: proof}
        lab.write(f"proofs/{name}.spthy", printed_theory(**proofs))
    told = audit("bell.spthy proofs", code=3)
    claim = "claimed verified by a stored proof, unchecked"
    assert told.notes("missing") == [f"{name}: {claim}" for name in BELL_PROOFS]
    assert [row["theory"] for row in told.rows] == ["bell.spthy"] * 4


@pytest.mark.parametrize(
    "name, version",
    [("proofs/{}.spthy", "1.11.0"), ("proofs/{}/out.spthy", "1.11.0"), ("proofs/{}.spthy", "")],
    ids=["a file each", "a folder each", "several provers"],
)
def test_a_lemma_that_one_of_many_proof_files_proves_has_a_result(artifact, audit, name, version):
    artifact.write("bell.spthy", BELL)
    for number, (lemma, proof) in enumerate(BELL_PROOFS.items()):
        others = dict.fromkeys(BELL_PROOFS, "by sorry")
        by = version or f"1.{number}.0"
        others[lemma] = proof
        artifact.write(name.format(lemma), printed_theory(version=by, **others))
    told = audit(".", code=3)
    claim = "claimed verified by a stored proof, unchecked"
    assert sorted(told.notes("missing")) == sorted(f"{lemma}: {claim}" for lemma in BELL_PROOFS)
    assert "sorry" not in told.kinds


@pytest.mark.parametrize("theory", ["./bell.spthy", "./proofs/calm.spthy"])
def test_the_table_has_one_row_for_the_proofs_of_one_text(artifact, run_here, theory):
    """Also where the source is not there."""
    if theory == "./bell.spthy":
        artifact.write("bell.spthy", BELL)
    for lemma, proof in BELL_PROOFS.items():
        others = dict.fromkeys(BELL_PROOFS, "by sorry")
        proofs = {**others, lemma: proof}
        artifact.write(f"proofs/{lemma}.spthy", printed_theory(**proofs))
    told = run_here("audit .", code=3).out
    _, _, theories = told.partition("Theories")
    (row,) = [line for line in theories.splitlines() if "Tamarin 1.11.0" in line]
    claim = "4 claimed verified by a stored proof, unchecked"
    files = "./proofs/calm.spthy, ./proofs/quiet.spthy and 2 more"
    assert re.split(" {2,}", row) == [theory, "Tamarin 1.11.0", "4", claim, files]


def test_a_printed_text_with_other_lemmas_than_its_source_is_matched_by_name(artifact, audit):
    """Flags give a theory other lemmas."""
    artifact.write("bell.spthy", BELL.replace("lemma heard", "#ifdef A\n#endif\nlemma unheard"))
    artifact.write("proofs/a.spthy", printed_theory())
    told = audit(".", code=3)
    by_name = "text matched by name: the lemmas of ./bell.spthy are not those of this file"
    assert told.notes("assumption") == [by_name]
    without = [each for each in told.notes("missing") if "has no result" in each]
    assert without == ["unheard: has no result"]


def test_a_proof_belongs_to_the_theory_of_its_name(lab, audit):
    """Variants of a theory have the same lemmas."""
    lab.write("src/one.spthy", BELL.replace("theory Bell", "theory Bell_1"))
    second = lab.write("src/two.spthy", BELL.replace("theory Bell", "theory Bell_2")).read_text()
    lab.write("proofs/x.spthy", printed_theory(second))
    told = audit("src proofs", code=3)
    claimed = {row["theory"] for row in told.rows if row["prover"] == "Tamarin 1.11.0"}
    assert claimed == {"src/two.spthy"}
    assert {row["theory"] for row in told.rows} == {"src/one.spthy", "src/two.spthy"}


def test_a_theory_that_cannot_be_read_is_a_note(lab, audit):
    lab.write("d/log", BELL_LOG)
    lab.write("d/open.spthy", 'theory T begin\nlemma a: "T"\n')
    told = audit("d", code=0)
    (message,) = told.notes("invalid")
    assert message.startswith("can't be read as a theory: d/open.spthy")


# --- Vacuity, disagreement, warnings --------------------------------------------------------------


NO_TRACE = "heard (exists-trace): falsified - no trace found (2 steps)"
NO_ANSWER = "late (exists-trace): analysis incomplete (9 steps)"


def vacuity(which):
    """That there was no trace of which lemmas, and what that means."""
    meaning = "what is verified of all traces may hold because nothing can happen"
    return f"no exists-trace lemma {which}: {meaning}"


def test_without_a_trace_what_holds_of_all_traces_may_be_vacuous(lab, audit):
    lab.write("log", a_log(CALM, QUIET, STILL))
    told = audit("log", code=0)
    assert told.notes("vacuity") == [vacuity("in these results")]


def test_exists_trace_lemmas_without_a_trace_are_named(lab, audit):
    lab.write("log", a_log(CALM, NO_TRACE, NO_ANSWER))
    told = audit("log", code=3)
    names = "heard: falsified, no trace, late: incomplete"
    assert told.notes("vacuity") == [vacuity(f"with a trace ({names})")]


def test_the_advice_on_vacuity_fits_whether_there_are_exists_trace_lemmas_or_not(lab, run_here):
    lab.write("log", a_log(CALM, NO_TRACE))
    told = run_here("audit log", code=0).out
    assert "vacuity: let an exists-trace lemma show that the rules can run" in told
    assert "add an exists-trace lemma" not in told


def test_vacuity_of_one_text_is_told_once_whoever_proved(lab, audit):
    for version in ("1.10.0", "1.11.0"):
        printed = printed_theory(version=version, heard="by contradiction")
        lab.write(f"d/{version}.log", printed + a_log(CALM, QUIET, STILL, NO_TRACE))
    told = audit("d", code=0)
    assert told.notes("vacuity") == [vacuity("with a trace (heard: falsified, no trace)")]


def test_a_trace_that_another_prover_found_is_one(lab, audit):
    no_answer = a_log(CALM, QUIET, STILL, "heard (exists-trace): analysis incomplete (9 steps)")
    lab.write("d/a.log", printed_theory(version="1.10.0") + BELL_LOG)
    lab.write("d/b.log", printed_theory(version="1.11.0") + no_answer)
    told = audit("d", code=3)
    assert "vacuity" not in told.kinds


def test_with_a_trace_nothing_is_vacuous(lab, audit):
    lab.write("log", a_log(CALM, HEARD))
    told = audit("log", code=0)
    assert "vacuity" not in told.kinds


def test_logs_that_have_only_a_name_in_common_may_disagree(lab, audit):
    lab.write("new/log", a_log(CALM, QUIET))
    lab.write("old/log", a_log(CALM_IS_FALSE, HEARD))
    told = audit("old new", code=0)
    (message,) = told.notes("disagreement")
    who = "verified by unknown prover, falsified by unknown prover"
    doubt = "whether they are of one text, with the same flags, is not known"
    assert message == f"calm: {who} (in new/log and in old/log): {doubt}"
    assert told.findings("disagreement") == []


@pytest.mark.parametrize(
    "first, second, is_known",
    [
        ("logs/a", "logs/b", True),
        ("old/log", "new/log", False),  # the theory may have changed between them
        ("log", "other/log", False),  # of the second one nobody knows the theory
    ],
)
def test_logs_matched_by_lemmas_disagree_in_one_folder_only(
    artifact, audit, first, second, is_known
):
    artifact.write("bell.spthy", BELL)
    artifact.write(first, a_log(QUIET, STILL, HEARD, CALM))
    artifact.write(second, a_log(QUIET, STILL, HEARD, CALM_IS_FALSE))
    told = audit(".", code=1)
    assert told.found_of("disagreement") == ["calm"] * is_known
    assert len(told.notes("disagreement")) == (not is_known)


def test_logs_that_hold_one_text_disagree_in_any_folder(lab, audit):
    lab.write("new/log", printed_theory() + BELL_LOG)
    lab.write("old/log", printed_theory(calm="simplify SOLVED") + FALSE_BELL_LOG)
    told = audit("new old", code=1)
    assert told.found_of("disagreement") == ["calm"]


def test_a_trace_in_another_folder_is_one_of_the_same_text(artifact, audit):
    artifact.write("bell.spthy", BELL)
    not_asked = "heard (exists-trace): analysis incomplete (1 steps)"
    artifact.write("a/log", a_log(CALM, QUIET, STILL, not_asked))
    told = audit(".", code=3)
    meant = "heard: nobody asked for a proof"
    assert told.notes("vacuity") == [vacuity(f"with a trace ({meant})")]
    artifact.write("b/log", BELL_LOG)
    assert "vacuity" not in audit(".", code=0).kinds


def test_lemmas_of_one_name_in_two_theories_do_not_disagree(lab, audit):
    lab.write("new/log", a_log(CALM))
    lab.write("old/log", a_log(CALM_IS_FALSE, theory="other.spthy"))
    told = audit("old new", code=0)
    assert "disagreement" not in told.kinds


def disagreements(*tasks):
    """What an audit of a batch with these tasks says of disagreement."""
    by_id = {str(number): task for number, task in enumerate(tasks)}
    batches = {"here": bt.Batch(tasks=by_id)}
    found = bt.audit(batches, all_rows(batches))
    return [each for each in found if each.kind == "disagreement"]


def a_falsified(lemma, **changes):
    """A task whose lemma is falsified."""
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.FALSIFIED)
    return a_task(result.status, result, lemma=lemma, **changes)


def test_two_provers_of_one_batch_can_disagree():
    (found,) = disagreements(
        a_verified("three", prover="a"),
        a_falsified("three", prover="b"),
        a_verified("one", prover="a"),
    )
    assert found.lemma == "three"
    assert found.message == "verified by a, falsified by b"
    assert found.rank == bt.WRONG


def test_results_with_different_flags_do_not_disagree():
    assert disagreements(a_verified("x", flags=("A",)), a_falsified("x")) == []


def test_variants_that_only_search_otherwise_can_disagree():
    (found,) = disagreements(
        a_verified("x", variant="smart"),
        a_falsified("x", variant="other", options=("--heuristic=C", "--bound=9")),
    )
    assert found.message == "verified by p smart, falsified by p other"


@pytest.mark.parametrize("options", ["--diff", "--auto-sources", "-D=A", "--defines=A"])
def test_variants_that_read_another_theory_do_not_disagree(options):
    other = a_falsified("x", variant="b", options=(options,), theory_digest="d")
    assert disagreements(a_verified("x", variant="a", theory_digest="d"), other) == []


def test_what_one_variant_has_proven_others_of_the_same_model_may_assume():
    proven = a_verified("types", variant="a", options=("--heuristic=C",))
    resting = a_verified("x", "types", variant="b")
    elsewhere = a_verified("x", "types", variant="c", flags=("A",))
    closure = bt.Closure([proven, resting, elsewhere])
    assert not closure.open_assumptions(resting)
    (assumption,) = closure.open_assumptions(elsewhere)
    assert str(assumption) == "types (not in the results)"


def test_a_diff_lemma_and_a_lemma_of_its_name_are_two_questions():
    assert disagreements(a_verified("x"), a_falsified("x", trait="diff")) == []


# How a prover ends a theory that it complains of (../shared/transcripts/wellformedness-no-prove),
# and how its summary begins then (../shared/transcripts/accountability-parent-name).
COMPLAINTS = """
/*
WARNING: the following wellformedness checks failed!

Unbound variables
=================

Derivation Checks
=================
*/
end
"""
COMPLAINTS_IN_SUMMARY = (
    "  WARNING: 2 wellformedness check failed!\n"
    "           The analysis results might be wrong!\n"
    "  \n"
)


def test_wellformedness_warnings_are_notes(lab, audit):
    theory = printed_theory().removesuffix("\nend\n") + COMPLAINTS
    log = BELL_LOG.replace("  calm", COMPLAINTS_IN_SUMMARY + "  calm")
    lab.write("a.spthy", theory + log)
    told = audit("a.spthy", code=0)
    warnings = told.notes("warning")
    assert "calm: derivation checks timed out (raise --derivcheck-timeout)" in warnings
    assert "calm: 1 wellformedness check failed: Unbound variables" in warnings
    assert len(warnings) == 2 * len(BELL_PROOFS)


def test_a_maude_that_the_prover_does_not_support_is_a_note(lab, audit):
    # ../shared/transcripts/test-old-maude
    maude = "maude tool: 'maude'\n 'maude --version' returned unsupported version '3.2'\n"
    lab.write("b.log", maude + BELL_LOG)
    warnings = audit("b.log", code=0).notes("warning")
    assert "calm: Maude 3.2 is not supported by this prover" in warnings


def test_a_maude_that_is_called_unsupported_behind_the_printed_theory_is_a_note(lab, audit):
    # ../shared/transcripts/version-old-maude
    printed = printed_theory().replace("Maude version 3.4", "Maude version 3.2 (unsupported)")
    lab.write("b.log", printed + BELL_LOG)
    warnings = audit("b.log", code=0).notes("warning")
    assert "calm: Maude 3.2 is not supported by this prover" in warnings


def test_a_warning_of_maude_counts_on_stdout_too(tmp_path):
    stdout = tmp_path / "out"
    stdout.write_text(" 'maude --version' returned unsupported version '3.2'\n" + BELL_LOG)
    assert bt.read_output(str(stdout), str(tmp_path / "none")).old_maude == "3.2"


def test_advice_fits_what_was_warned_of(lab, run_here):
    printed = printed_theory().replace("Maude version 3.4", "Maude version 3.2 (unsupported)")
    log = BELL_LOG.replace("  calm", COMPLAINTS_IN_SUMMARY + "  calm")
    lab.write("a.spthy", printed.removesuffix("\nend\n") + COMPLAINTS + log)
    told = run_here("audit a.spthy", code=0).out
    assert "warning: use a version of Maude that the prover names as supported" in told
    assert "warning: they say nothing of the verdict" in told
    assert "warning: correct the theory" in told


# --- Lemmas that say nothing ----------------------------------------------------------------------

SILENT_BELL = BELL.replace("Rings(b) @ i ==> F", "Ring(b) @ i ==> F")
SILENT = (
    "true of every trace, whatever the rules do: "
    "no rule has the action Ring/1 (did you mean Rings/1?)"
)


@pytest.fixture
def silent_run(lab):
    """A run of a theory whose lemma `calm` is about an action that no rule has."""
    lab.write("bell.spthy", SILENT_BELL)
    lab.prover(VERIFY)
    lab.recipe(theory_file="bell.spthy", lemmas="calm quiet")
    return lab.run("run recipe.json", code=0)


def test_a_lemma_that_says_nothing_is_a_note_of_an_audit(silent_run, audit):
    told = audit("results", code=0)
    assert told.notes("unknown-action") == [f"calm: {SILENT}"]


def test_a_lemma_that_says_nothing_is_told_by_the_run_its_reports_and_check(lab, silent_run):
    assert SILENT in silent_run.stdout
    done = lab.run("report results -f junit", code=0)
    assert SILENT in done.stdout
    done = lab.run("report results -f md")
    assert "no rule has the action Ring/1" in done.stdout
    done = lab.run("check recipe.json")
    assert f"lemma calm: {SILENT}" in done.stdout


def test_an_action_that_never_comes_beside_others_is_told_otherwise(lab, audit):
    lab.write("d/bell.spthy", BELL.replace("K(b) @ j", "Leaks(b) @ j"))
    lab.write("d/log", BELL_LOG)
    told = audit("d", code=0)
    words = "no rule has the action Leaks/1"
    assert told.notes("unknown-action") == [f"quiet: {words}", f"still: {words}"]


def test_of_a_lemma_that_says_nothing_it_is_told_once_however_often_it_was_proven(lab, audit):
    lab.write("d/bell.spthy", SILENT_BELL)
    for name in ("one", "two"):
        lab.write(f"d/{name}.log", printed_theory(SILENT_BELL) + BELL_LOG)
    told = audit("d", code=0)
    assert told.notes("unknown-action") == [f"calm: {SILENT}"]


def test_a_printed_theory_alone_does_not_tell_which_actions_its_rules_have(lab, audit):
    # ../shared/cases/vacuity_falsified_exists: a rule without variants is not printed.
    without_rules = re.sub("^rule .*\n", "", BELL, flags=re.MULTILINE)
    lab.write("d/log", printed_theory(without_rules) + BELL_LOG)
    assert "unknown-action" not in audit("d", code=0).kinds


def test_where_flags_decide_on_rules_a_log_without_them_says_nothing_of_actions(lab, audit):
    ring = "rule Also: []--[ Ring('b') ]->[]"
    text = SILENT_BELL.replace("rule", f"#ifdef ALSO\n{ring}\n#endif\nrule", 1)
    lab.write("d/bell.spthy", text)
    lab.write("d/log", BELL_LOG)
    assert "unknown-action" not in audit("d", code=0).kinds


# --- Expectations and baselines -------------------------------------------------------------------


@pytest.fixture
def audit_expecting(lab, audit):
    """Audit a log in which all lemmas of the bell are verified with a file of expectations."""
    lab.write("log", BELL_LOG.replace("bell.spthy", "models/bell.spthy"))

    def run(text, code):
        lab.write("expect", text)
        return audit("log --expect expect", code=code)

    return run


EXPECTATIONS_MET = {
    "patterns": '{"calm": "verified", "h*": "verified"}',
    "theory": '{"bell": {"calm": "verified"}, "heard": "verified"}',
    "csv as Excel writes it": "\ufefftheory,lemma,verdict\r\n,heard,verified\r\n",
    "no verdict": "theory,lemma,verdict\n,calm,verified\n,heard,\n",
}


@pytest.mark.parametrize("text", EXPECTATIONS_MET.values(), ids=EXPECTATIONS_MET)
def test_expectations_that_are_met(audit_expecting, text):
    told = audit_expecting(text, code=0)
    assert told.kinds.isdisjoint({"expectation", "missing"})


def test_expectations_that_are_no_json_are_refused_in_the_words_of_recipes(lab, run_here):
    (lab.path / "pinned.json").write_text('{\n"calm": "verified",\n}')
    told = run_here("audit t.spthy --expect pinned.json", code=2)
    assert "this is no valid JSON: no comma before '}'" in told.err


def test_a_missed_expectation_is_a_finding(audit_expecting):
    told = audit_expecting('{"calm": "incomplete", "heard": "falsified"}', code=1)
    assert told.findings("expectation") == [
        "calm: incomplete expected, verified now",
        "heard: falsified expected, verified now",
    ]


def test_a_missed_expectation_of_a_csv_is_a_finding(audit_expecting):
    told = audit_expecting("theory,lemma,verdict\nbell.spthy,calm,falsified\n", code=1)
    assert told.found_of("expectation") == ["calm"]
    assert "missing" not in told.kinds


def test_an_exact_name_beats_a_pattern(audit_expecting):
    named = '"calm": "verified", "quiet": "verified", "still": "verified"'
    told = audit_expecting('{"*": "falsified", ' + named + "}", code=1)
    assert told.found_of("expectation") == ["heard"]


def test_an_expected_lemma_without_a_result_is_a_finding(audit_expecting):
    told = audit_expecting('{"calm": "verified", "gone": "verified"}', code=1)
    assert told.findings("missing") == ["gone: verified expected, not in these results"]


def test_an_expected_theory_without_results_is_a_finding(audit_expecting):
    text = '{"models/bell.spthy": {"*": "verified"}, "other.spthy": {"calm": "falsified"}}'
    told = audit_expecting(text, code=1)
    assert told.found_of("missing") == ["calm"]
    assert "expectation" not in told.kinds


def test_the_csv_of_an_audit_is_an_expectation(lab, run_here, audit):
    lab.write("log", BELL_LOG)
    pinned = run_here("audit log --format csv", code=0).out
    lab.write("pinned.csv", pinned)
    audit("log --expect pinned.csv", code=0)
    unheard = HEARD.replace("verified", "falsified - no trace found")
    lab.write("log", BELL_LOG.replace(HEARD, unheard))
    told = audit("log --expect pinned.csv", code=1)
    assert told.found_of("expectation") == ["heard"]


# A prover for which every lemma is false that is proven with the flag LEAK.
LEAKING = """
verdict=verified
case "$*" in *LEAK*) verdict="falsified - found trace";; esac
echo "theory proof" > "$OUT"
echo "  $LEMMA (all-traces): $verdict (7 steps)" | summary
"""
ONE_LEMMA = f'theory T begin\n{RULE_A}lemma three: "All k #i. A(k) @ i ==> F"\nend\n'
BOUND = {"tamarin_options": ["--bound=9", "-s=8"]}
LEAK = {"preprocess_flags": ["LEAK"]}


def write_variants(lab, **variants):
    """Results of `three` in one entry for each variant, which says what it changes."""
    lab.write("t.spthy", ONE_LEMMA)
    lab.prover(LEAKING)
    base = {
        "theory_file": "t.spthy",
        "tamarin_versions": ["fake"],
        "output_file_prefix": "t",
    }
    tasks = {name: {**base, **changes} for name, changes in variants.items()}
    lab.recipe(tasks=tasks)
    shutil.rmtree(lab.results, ignore_errors=True)
    lab.run("run recipe.json", code=0)


@pytest.fixture
def pinned(lab, run_here):
    """Results of three variants, and what `audit --format csv` says of them."""
    write_variants(lab, plain={}, leak=LEAK, bound=BOUND)
    text = run_here("audit results --format csv", code=0).out
    lab.write("pinned.csv", text)
    return text


def test_what_an_audit_pins_is_met(pinned, audit):
    told = audit("results --expect pinned.csv", code=0)
    assert told.kinds.isdisjoint({"expectation", "missing"})


@pytest.mark.parametrize("path", [".", "{here}", "../{name}/."])
def test_what_an_audit_pins_of_one_name_in_two_folders_is_met(artifact, run_here, audit, path):
    """Also where they are reached by another path."""
    artifact.write("A/log", a_log(CALM, HEARD))
    artifact.write("B/log", a_log(CALM_IS_FALSE, HEARD))
    pinned = run_here("audit . --format csv", code=0).out
    artifact.write("pinned.csv", pinned)
    path = path.format(here=artifact.path, name=artifact.path.name)
    told = audit(path, "--expect", "pinned.csv", code=0)
    assert told.kinds.isdisjoint({"expectation", "missing"})
    artifact.write("B/log", a_log(CALM, HEARD))
    told = audit(path, "--expect", "pinned.csv", code=1)
    assert told.found_of("expectation") == ["calm"]


def test_pinned_variants_whose_verdicts_change_places_are_found(lab, pinned, audit):
    flipped = pinned.replace(",verified,verified,", ",X,X,").replace("falsified", "verified")
    lab.write("pinned.csv", flipped.replace(",X,X,", ",falsified,falsified,"))
    told = audit("results --expect pinned.csv", code=1)
    missed = [each for each in told.told if each["kind"] == "expectation"]
    found = {each["entry"]: each["message"] for each in missed}
    assert found == {
        "bound": "falsified expected, verified now",
        "leak": "verified expected, falsified now",
        "plain": "falsified expected, verified now",
    }
    assert len(missed) == 3


@pytest.mark.parametrize("gone, rank", [("leak", bt.WRONG), ("bound", bt.NOTE)])
def test_a_pinned_variant_that_is_gone_is_told(lab, pinned, audit, gone, rank):
    """With other flags it was another model; with other options the lemma has an answer still."""
    variants = {"plain": {}, "leak": LEAK, "bound": BOUND}
    del variants[gone]
    write_variants(lab, **variants)
    told = audit("results --expect pinned.csv", code=int(rank == bt.WRONG))
    (found,) = [each for each in told.told if each["kind"] == "missing"]
    assert found["entry"] == gone
    assert found["rank"] == rank
    assert found["source"].startswith("pinned.csv, row ")


def test_a_renamed_entry_or_prover_is_pinned_all_the_same(lab, pinned, audit):
    older = pinned.replace(",leak,", ",older,")
    lab.write("pinned.csv", older.replace(",fake,", ",old,"))
    told = audit("results --expect pinned.csv", code=0)
    assert "expectation" not in told.kinds


SEPARATORS = pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semi", "tab"])


@SEPARATORS
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_tables_of_expectations_are_read(audit_expecting, separator, ending):
    rows = ["Theory,Lemma,Verdict,note", "bell,calm,falsified,x", "", ",heard,verified,,,"]
    text = ending.join(rows).replace(",", separator)
    told = audit_expecting(text, code=1)
    assert told.findings("expectation") == ["calm: falsified expected, verified now"]


UNCLEAR_ROWS = {
    "no flags": ("lemma,verdict\nthree,verified\n", "expect, row 2: fits results with different"),
    "json": ('{"three": "verified"}', "expect, 'three': fits results with different"),
    "two rows": (
        "lemma,verdict,flags\nthree,verified,LEAK\nthree,falsified,LEAK\nthree,verified,\n",
        "expect, row 2, expect, row 3: different verdicts are expected of three in t.spthy by fake "
        "-D=LEAK",
    ),
}


@pytest.mark.parametrize("text, problem", UNCLEAR_ROWS.values(), ids=UNCLEAR_ROWS)
def test_expectations_that_do_not_say_which_result_is_meant_are_refused(
    lab, pinned, run_here, text, problem
):
    lab.write("expect", text)
    done = run_here("audit results --expect expect", code=2)
    assert problem in done.err


def test_pinned_logs_of_one_folder_that_contradict_each_other_since_are_found(lab, run_here, audit):
    """Two logs that say the same are one row of what is pinned."""
    lab.write("logs/a", a_log(CALM_IS_FALSE))
    lab.write("logs/b", a_log(CALM_IS_FALSE))
    told = run_here("audit logs --format csv", code=0)
    lab.write("pinned.csv", told.out)
    lab.write("logs/a", a_log(CALM))
    told = audit("logs --expect pinned.csv", code=1)
    assert told.findings("expectation") == ["calm: falsified expected, verified now"]


def test_a_pinned_verdict_that_nobody_says_any_more_is_a_finding(lab, run_here, audit):
    """Two logs that contradict each other are two rows of what is pinned."""
    lab.write("logs/a", a_log(CALM))
    lab.write("logs/b", a_log(CALM_IS_FALSE))
    told = run_here("audit logs --format csv", code=0)
    lab.write("pinned.csv", told.out)
    lab.write("logs/b", a_log(CALM))
    told = audit("logs --expect pinned.csv", code=1)
    message = "calm: falsified expected, not in these results: they have the lemma from elsewhere"
    assert told.findings("missing") == [message]


CLEAR_ROWS = {
    "flags": "lemma,verdict,flags\nthree,verified,\nthree,falsified,LEAK\n",
    "entry": "lemma,verdict,entry\nthree,verified,plain\nthree,falsified,leak\n"
    "three,verified,bound\n",
}


@pytest.mark.parametrize("text", CLEAR_ROWS.values(), ids=CLEAR_ROWS)
def test_rows_may_say_what_they_mean_by_any_column(lab, pinned, audit, text):
    lab.write("expect", text)
    told = audit("results --expect expect", code=0)
    assert told.kinds.isdisjoint({"expectation", "missing"})


def test_a_pattern_means_all_that_fit_it(lab, pinned, audit):
    lab.write("expect", '{"*": "verified"}')
    told = audit("results --expect expect", code=1)
    assert told.found_of("expectation") == ["three"]


def test_of_patterns_that_fit_the_first_counts(audit_expecting):
    told = audit_expecting('{"c*": "falsified", "*": "verified"}', code=1)
    assert told.found_of("expectation") == ["calm"]


def test_two_provers_that_disagree_miss_an_expectation(artifact, audit):
    artifact.write("bell.spthy", BELL)
    artifact.write("a.log", BELL_LOG)
    artifact.write("b.log", FALSE_BELL_LOG)
    artifact.write("expect", '{"calm": "verified"}')
    told = audit(". --expect expect", code=1)
    assert told.found_of("expectation") == ["calm"]


def test_a_lemma_that_nobody_asked_for_misses_no_expectation_that_another_log_meets(lab, audit):
    for number, log in enumerate(one_lemma_logs()):
        lab.write(f"runs/{number}/log", log)
    lab.write("expect", '{"calm": "verified", "heard": "verified"}')
    told = audit("runs --expect expect", code=3)
    assert "expectation" not in told.kinds


BAD_EXPECTATIONS = {
    "a recipe": ('{"tamarin_versions": {}}', "this is a recipe: what a recipe expects counts in"),
    "empty": ("", "nothing is expected here"),
    "no lemma": ("{}", "nothing is expected here"),
    "cut": ("{", "expect:1:2: this is no valid JSON: it ends before it is complete"),
    "list": ("[1]", "row 1: the heading has no column 'lemma'"),
    "no verdict": ('{"a": "maybe"}', "'a': 'maybe' is no verdict"),
    "list of verdicts": ('{"a": ["verified"]}', "'a': '[\"verified\"]' is no verdict"),
    "too deep": ('{"a": {"b": {}}}', "'a': 'b': '{}' is no verdict"),
    "semicolons": ("lemma;verdict\na;b\n", "row 2: 'b' is no verdict"),
    "no row": ("theory,lemma,verdict\n", "nothing is expected here"),
    "unknown verdict": ("lemma,verdict\na,verified\n\nb,maybe\n", "row 4: 'maybe' is no verdict"),
    "no name": ("lemma,verdict\n,verified\n", "row 2 names no lemma"),
    "too many cells": ("lemma,verdict\na,verified,b\n", "row 2 has 3 cells, the heading 2"),
    "no column": ("lemma,result\na,verified\n", "row 1: the heading has no column 'verdict'"),
    "twice a column": ("lemma,flags,flags,verdict\n", "row 1: the heading has two columns 'flags'"),
    "nul": ("\0", ""),
    "much too deep": ('{"a":' * 5000, ""),
    "twice": ('{"a": "verified", "a": "falsified"}', "'a' stands twice"),
}


@pytest.mark.parametrize("text, problem", BAD_EXPECTATIONS.values(), ids=BAD_EXPECTATIONS)
def test_bad_expectations_are_refused(lab, run_here, text, problem):
    lab.write("log", BELL_LOG)
    lab.write("expect", text)
    told = run_here("audit log --expect expect", code=2)
    assert "error: expect:" in told.err
    assert problem in told.err


def test_expectations_that_are_not_there_are_refused(lab, run_here):
    lab.write("log", BELL_LOG)
    told = run_here("audit log --expect nowhere", code=2)
    assert "nowhere: " in told.err


@pytest.fixture
def audit_against(lab, audit):
    """Audit a log with some lines against one in which all lemmas of the bell are verified."""
    lab.write("old/log", BELL_LOG.replace("bell.spthy", "there/bell.spthy"))

    def run(*lines, code, options=(), time="1.50s"):
        log = a_log(*lines)
        lab.write("new/log", log.replace("1.50s", time))
        return audit("new --against old", *options, code=code)

    return run


def test_results_are_as_in_the_baseline(audit_against):
    told = audit_against(CALM, QUIET, STILL, HEARD, code=0, options=["--tolerance", "1"])
    assert told.kinds.isdisjoint({"expectation", "missing"})


def test_what_differs_from_the_baseline_is_told_with_the_worst_first(audit_against):
    """A verdict that has turned into its opposite before one that is lost."""
    lost = "calm (all-traces): analysis incomplete (8 steps)"
    turned = "quiet (all-traces): falsified - found trace (3 steps)"
    told = audit_against(lost, turned, HEARD, code=1)
    assert told.findings("expectation") == [
        "quiet: verified in the baseline, falsified now",
        "calm: verified in the baseline, incomplete now",
    ]
    assert told.findings("missing") == ["still: verified in the baseline, not in these results"]
    kinds = [each["kind"] for each in told.told if not each["note"]]
    assert kinds == ["expectation", "expectation", "missing"]


def test_a_lemma_that_the_baseline_lacks_is_a_note(audit_against):
    fresh = "fresh (all-traces): verified (2 steps)"
    told = audit_against(CALM, QUIET, STILL, HEARD, fresh, code=0)
    assert told.notes("expectation") == ["fresh: new: not in the baseline"]


SLOW_HEARD = HEARD.replace("2 steps", "40 steps")


def test_steps_and_seconds_beyond_the_tolerance_are_findings(audit_against):
    lines = (CALM, QUIET, STILL, SLOW_HEARD)
    told = audit_against(*lines, code=1, options=["--tolerance", "1.5"], time="9s")
    slower = "9.00 s, 1.50 s in the baseline: more than 1.5 times as much"
    assert told.findings("expectation") == [
        f"calm: {slower}",
        f"quiet: {slower}",
        f"still: {slower}",
        "heard: 40 steps, 2 steps in the baseline: more than 1.5 times as much",
        f"heard: {slower}",
    ]


def test_less_than_a_second_more_is_no_finding(audit_against):
    lines = (CALM, QUIET, STILL, HEARD)
    told = audit_against(*lines, code=0, options=["--tolerance", "1.1"], time="2.4s")
    assert "expectation" not in told.kinds


def test_without_a_tolerance_steps_and_seconds_do_not_matter(audit_against):
    told = audit_against(CALM, QUIET, STILL, SLOW_HEARD, code=0, time="900s")
    assert "expectation" not in told.kinds


@pytest.mark.parametrize("options", ["--against log --tolerance 0.9", "--tolerance 2"])
def test_a_tolerance_that_means_nothing_is_refused(lab, options):
    lab.write("log", BELL_LOG)
    done = lab.run(f"audit log {options}", code=2)
    assert "tolerance" in done.stderr


def with_failed_checks(*titles):
    """A printed theory, its prover complains of it."""
    headings = ""
    for title in titles:
        line = "=" * len(title)
        headings += f"{title}\n{line}\n\n"
    report = f"/*\nWARNING: the following wellformedness checks failed!\n\n{headings}*/\nend\n"
    checks = f"  WARNING: {len(titles)} wellformedness checks failed!\n  calm"
    log = BELL_LOG.replace("  calm", checks)
    return printed_theory().removesuffix("\nend\n") + "\n" + report + log


def test_a_warning_that_is_new_against_the_baseline_is_said_to_be_new(lab, audit):
    lab.write("old/log", with_failed_checks("Unbound variables"))
    lab.write("new/log", with_failed_checks("Unbound variables", "Lemma annotations"))
    told = audit("new --against old", code=0)
    checks = "2 wellformedness checks failed: Unbound variables, Lemma annotations"
    new = f"new, not in the baseline: {checks}"
    assert told.notes("warning") == [f"{lemma}: {new}" for lemma in BELL_PROOFS]


def test_a_warning_of_the_baseline_is_none_that_is_new(lab, audit):
    """The summary alone tells how many checks failed, not which."""
    _, _, log = with_failed_checks("Unbound variables").partition("end\n")
    lab.write("old/log", log)
    lab.write("new/log", with_failed_checks("Unbound variables"))
    told = audit("new --against old", code=0)
    assert not any("new" in message for message in told.notes("warning"))


def test_findings_against_a_baseline_name_the_variant(lab, audit):
    write_variants(lab, plain={}, leak=LEAK)
    told = lab.journal.read_text()
    lab.write("old/batch.jsonl", told.replace('"verdict":"falsified"', '"verdict":"verified"'))
    told = audit("results --against old", code=1)
    (found,) = [each for each in told.told if each["kind"] == "expectation"]
    assert found["message"] == "verified in the baseline, falsified now"
    assert found["entry"] == "leak"
    assert found["flags"] == ["LEAK"]
    assert found["source"] == "results"


def test_a_baseline_that_is_not_there_is_refused(lab, run_here):
    lab.write("log", BELL_LOG)
    told = run_here("audit log --against nowhere", code=2)
    assert "nowhere: " in told.err


@pytest.fixture
def two_bells(lab):
    """A baseline of theories of one name in two folders: `calm` holds in one of them."""
    lab.write("old/log0", a_log(CALM, theory="a/bell.spthy"))
    lab.write("old/log1", a_log(CALM_IS_FALSE, theory="b/bell.spthy"))


def test_a_theory_is_compared_with_that_of_its_folder(lab, two_bells, audit):
    lab.write("new/log0", a_log(CALM_IS_FALSE, theory="a/bell.spthy"))
    lab.write("new/log1", a_log(CALM_IS_FALSE, theory="b/bell.spthy"))
    told = audit("new --against old", code=1)
    assert told.findings("expectation") == ["calm: verified in the baseline, falsified now"]


def test_a_theory_is_missed_although_another_folder_has_one_of_its_name(lab, two_bells, audit):
    lab.write("new/log0", a_log(CALM, theory="a/bell.spthy"))
    told = audit("new --against old", code=1)
    message = "calm: falsified in the baseline, not in these results"
    assert told.findings("missing") == [message]


def compared(after, before, tolerance=math.inf):
    """What differs between results of ours, which stand here, and earlier ones."""
    earlier = bt.references_of(bt.Located("old", task) for task in before)
    now = [bt.Located("new", task) for task in after]
    return list(bt.compare(now, earlier, "before", tolerance))


def test_seconds_of_a_shared_process_are_no_proofs_and_not_compared():
    def verified_in(seconds, shared_by=1):
        usage = bt.Usage(seconds)
        result = bt.Result(
            bt.Status.COMPLETED, bt.Verdict.VERIFIED, 3, usage=usage, shared_by=shared_by
        )
        return [a_task(bt.Status.COMPLETED, result)]

    slow, fast = verified_in(99), verified_in(9)
    assert len(compared(slow, fast, 2)) == 1
    assert not compared(verified_in(99, shared_by=5), fast, 2)
    assert not compared(slow, verified_in(9, shared_by=5), 2)


def test_results_are_compared_with_those_of_the_same_prover():
    before = [a_verified("x", prover="p"), a_falsified("x", prover="q")]
    found, lost = compared([a_falsified("x", prover="p")], before)
    assert found.message == "verified before, falsified now"
    assert found.source == "new"
    assert found.prover == "p"
    assert lost.message.startswith("falsified before, not in these results")
    assert lost.source == "old"
    assert lost.prover == "q"
    assert lost.rank == bt.NOTE


def test_of_another_prover_any_earlier_verdict_is_as_good():
    before = [a_verified("x", prover="p"), a_falsified("x", prover="q")]
    assert compared([a_falsified("x", prover="new")], before) == []


# --- Files and folders ----------------------------------------------------------------------------

ODD_LINES = ["calm (all-traces): maybe (3 steps)", "\x1b[31mred (all-traces): verified (1 steps)"]
ODD_LOG = a_log(*ODD_LINES, theory="\x1b]0;x\x07../../etc/passwd")
HUGE_LOG = a_log(f"calm (all-traces): verified ({'9' * 5000} steps)", theory="a" * 99_999)
HOSTILE_FILES = {
    "binary": bytes(range(256)) * 999,
    "nul": b"theory T begin\0end",
    "latin": b"theory T begin // \xe9\nend",
    "blank": b"//" + b"\n" * 99_999,
}
HOSTILE_TEXTS = {
    "nothing": "",
    "open": 'theory T begin\nlemma a: "T"\n',
    "deep": "theory T begin\n" + "/*" * 20_000,
    "twice": 'theory T begin\nlemma a: "T"\nlemma a: "T"\nend\n',
    "cut": a_log(CALM, ended=False),
    "odd": ODD_LOG,
    "huge": HUGE_LOG,
    "no-names": "=\nsummary of summaries:\n\nanalyzed: \n\n=====\n",
    "journal": '{"event": "batch"}\n{"event": 1}\n',
    "json": '{"event"' * 9999,
}
# The exit code of an audit of nothing else.
HOSTILE_CODES = """
binary    2
nul       3
latin     3
blank     2
nothing   1
open      3
deep      3
twice     3
cut       1
odd       3
huge      0
no-names  3
journal   2
json      2
"""


def write_hostile_file(lab, path, name):
    """Write one of HOSTILE_FILES or HOSTILE_TEXTS."""
    if name in HOSTILE_TEXTS:
        lab.write(path, HOSTILE_TEXTS[name])
    else:
        (lab.path / path).write_bytes(HOSTILE_FILES[name])


@pytest.mark.parametrize("name, code", words_in(HOSTILE_CODES))
def test_a_damaged_or_hostile_file_alone(lab, run_here, name, code):
    write_hostile_file(lab, "bad", name)
    run_here("audit bad", code=int(code))


@pytest.mark.parametrize("name", [*HOSTILE_FILES, *HOSTILE_TEXTS])
def test_a_damaged_or_hostile_file_hides_nothing_and_stays_text(lab, monkeypatch, name):
    lab.write("dir/good.log", BELL_LOG)
    write_hostile_file(lab, "dir/bad", name)
    monkeypatch.chdir(lab.path)
    warnings = []
    evidence = bt.read_evidence(["dir"], warnings.append)
    rows = all_rows(evidence.batches)
    findings = [*bt.audit(evidence.batches, rows), *evidence.findings]
    for form in ("table", *bt.REPORTS):
        told = bt.audit_report(form, bt.Audit(False, rows, findings), True)
        assert "heard" in told, form
        assert "\x1b" not in told, form
        assert "\x07" not in told, form
        if form == "junit":
            ElementTree.fromstring(told)


@pytest.mark.parametrize("form", ["table", *bt.REPORTS])
def test_an_audit_is_told_in_every_form(lab, run_here, form):
    lab.write("log", BELL_LOG)
    told = run_here("audit log --details -f", form, code=0)
    assert "heard" in told.out


def test_a_file_that_cannot_be_read_is_no_silence(lab, run_here):
    lab.write("dir/log", BELL_LOG)
    (lab.path / "dir/other.log").symlink_to("other.log")
    told = run_here("audit dir", code=0)
    assert "passed over: dir/other.log: can't be read" in told.err


def test_a_file_is_read_once_by_whatever_links_it_is_reached(lab, audit):
    lab.write("dir/sub/log", BELL_LOG)
    (lab.path / "dir/sub/up").symlink_to(lab.path / "dir")
    (lab.path / "dir/again").symlink_to("sub/log")
    told = audit("dir dir/sub dir/again", code=0)
    assert len(told.rows) == 4


def test_results_are_read_once_by_whatever_links_they_are_reached(lab, audit):
    write_upstream_report(lab)
    (lab.path / "same").symlink_to("out")
    told = audit("same out out", code=3)
    assert len(told.rows) == len(json.loads(UPSTREAM_ENDS))


def test_pipes_and_links_to_nowhere_are_passed_over(lab, audit):
    lab.write("dir/log", BELL_LOG)
    os.mkfifo(lab.path / "dir/pipe")
    (lab.path / "dir/gone").symlink_to("nowhere")
    told = audit("dir", code=0)
    assert len(told.rows) == 4


@pytest.mark.parametrize("path", ["empty", "empty/notes.txt", "pipe", "link", "nowhere"])
def test_a_path_without_evidence_is_refused(lab, run_here, path):
    lab.write("empty/notes.txt", "nothing of a prover")
    os.mkfifo(lab.path / "pipe")
    (lab.path / "link").symlink_to("nowhere")
    told = run_here("audit", path, code=2)
    assert "error: " in told.err


def test_a_journal_that_is_none_is_refused(lab, run_here):
    lab.write("results/batch.jsonl", "no journal\n")
    told = run_here("audit results", code=2)
    assert "error: " in told.err


def test_a_broken_results_directory_does_not_hide_the_rest(lab, run_here):
    lab.write("all/a/execution_report.json", "[1]")
    lab.write("all/a/log", BELL_LOG)
    told = run_here("audit all", code=0)
    assert "not what batch-tamarin 1.2 writes" in told.err
    assert "4 results" in told.out


def test_a_run_without_a_summary_is_counted_where_its_files_lie(artifact, audit):
    """Also where a link leads to one of them from another folder, and is followed first."""
    artifact.write("runs/out", a_log(CALM))
    artifact.write("runs/err", "[Theory Bell] Theory loaded\n")
    (artifact.path / "newest").symlink_to("runs/out")
    assert audit(".", code=0).findings("missing") == []


SAID = "[Theory Bell] Theory loaded\n"
RUNS = {
    "stdout and stderr in two folders": ({"out/7.out": BELL_LOG, "err/7.err": SAID}, []),
    "another run": ({"out/7.out": BELL_LOG, "err/8.err": SAID}, ["./err/8.err"]),
    "two folders, the same names": ({"a/x.log": BELL_LOG, "b/x.log": SAID}, ["./b/x.log"]),
    "a folder for each run": (
        {"a/x.out": BELL_LOG, "a/x.err": SAID, "b/x.out": "", "b/x.err": SAID},
        ["./b/x.out"],
    ),
}


@pytest.mark.parametrize("files, ended", RUNS.values(), ids=RUNS)
def test_what_a_prover_says_beside_its_summary_may_be_in_another_folder(
    artifact, audit, files, ended
):
    for name, text in files.items():
        artifact.write(name, text)
    told = audit(".", code=int(bool(ended)))
    found = []
    for each in told.told:
        if each["message"].startswith("no complete"):
            found.append(each["theory"])
    assert found == ended


def test_a_summary_may_be_cut_out_of_its_log(artifact, audit):
    artifact.write("log", a_log(CALM).partition("\n")[2])
    assert audit("log", code=0).states == {"calm": "verified"}


ENCODINGS = {
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, from the other end": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "gunzip": lambda text: gzip.compress(text.encode()),
    "gunzip, of a part": lambda text: gzip.compress(text.encode())[:-9],
}


@pytest.mark.parametrize("problem", ENCODINGS)
@pytest.mark.parametrize("text", [BELL, BELL_LOG, BELL_LOG.replace("\n", "\r\n")])
def test_what_a_prover_wrote_and_cannot_be_read_is_told(artifact, run_here, problem, text):
    artifact.write("log", BELL_LOG)
    data = ENCODINGS[problem](text)
    artifact.write("other", "").write_bytes(data)
    told = run_here("audit .", code=0)
    assert "passed over: ./other: can't be read: " in told.err
    assert problem.partition(",")[0] in told.err


def test_what_no_prover_wrote_is_passed_over_in_silence_however_encoded(artifact, run_here):
    artifact.write("log", BELL_LOG)
    for name, encode in ENCODINGS.items():
        artifact.write(name, "").write_bytes(encode("a theory of bells begins here"))
    done = run_here("audit .", code=0)
    assert done.err == ""


# --- Verdicts touched by known problems -----------------------------------------------------------

# It meets the conditions of problems that came and went with versions.
FRAIL = """theory Frail begin
builtins: xor, multiset
macros: m(x) = <x, x>
rule R: [ In(x) ]--[ A(x), B(x), C(x) ]->[ Out(x + 'b') ]
lemma a: "All x #i. A(x)@i ==> not(B(x)@i <=> C(x)@i)"
lemma b: "All x y #i. A(x)@i & x << y ==> F"
lemma c: exists-trace "Ex #i. A(m('c'))@i"
end
"""
FRAIL_PROOFS = {"a": "by contradiction", "b": "by contradiction", "c": "simplify\nSOLVED"}
FRAIL_LINES = (
    "a (all-traces): verified (3 steps)",
    "b (all-traces): verified (3 steps)",
    "c (exists-trace): verified (2 steps)",
)
BUILT = "Compiled at: 2026-01-02 03:04:05"
# Of each prover: its folder, what it says of itself, and what touches which lemma ("?": maybe).
TOUCHED_BY_VERSION = """
1.4     1.4.0   .123  xor:a xor:b iff-negated:a multiset-output:a multiset-output:b
1.6     1.6.1   .123  xor:a xor:b iff-negated:a multiset-output:a multiset-output:b
1.8     1.8.0   .123  xor:a xor:b iff-negated:a subterm-order:b macro-in-formula:c
1.10    1.10.0  .123  xor:a xor:b iff-negated:a subterm-order:b macro-in-formula:c
1.11    1.11.0  .123  xor?:a xor?:b iff-negated?:a subterm-order?:b macro-in-formula?:c
1.12    1.12.0  .123  xor:a xor:b iff-negated:a
1.13    1.13.0  .123  xor?:a xor?:b iff-negated?:a
rs      1.13.0  -     xor?:a xor?:b iff-negated?:a subterm-order?:b macro-in-formula?:c
"""


def frail_log(version, fraction=".123", theory=FRAIL):
    """A log of a prover of this version, with the theory that it printed."""
    printed = printed_theory(theory, version, **FRAIL_PROOFS)
    built = f"Maude version 3.4\n{BUILT}{fraction.strip('-')} UTC"
    log = a_log(*FRAIL_LINES, theory="frail.spthy")
    return printed.replace("Maude version 3.4", built) + log


def touched(told):
    """`xor:a`, `xor?:b` of the known problems in an audit."""
    words = []
    for each in told.told:
        if "id" in each:
            mark = "?" if "may be affected" in each["message"] else ""
            words.append(f"{each['id']}{mark}:{each['lemma']}")
    return sorted(words)


@pytest.mark.parametrize("line", TOUCHED_BY_VERSION.strip().splitlines())
def test_verdicts_are_touched_by_what_their_prover_has(audit, lab, line):
    _, version, fraction, *wanted = line.split()
    lab.write("frail.log", frail_log(version, fraction))
    own = [f"tamarin-rs:{lemma}" for lemma in "abc"] if fraction == "-" else []
    told = touched(audit("frail.log", code=0))
    assert told == sorted([*wanted, *own])


def test_each_prover_of_a_folder_has_its_own_problems(audit, lab):
    """That tamarin-prover proved the same takes the doubt of tamarin-rs away."""
    everything = []
    for line in TOUCHED_BY_VERSION.strip().splitlines():
        folder, version, fraction, *wanted = line.split()
        lab.write(f"all/{folder}/frail.log", frail_log(version, fraction))
        everything += wanted
    assert touched(audit("all", code=0)) == sorted(everything)


def test_a_version_that_several_programs_have_is_not_guessed_at(audit, lab):
    lab.write("frail.log", frail_log("1.13.0").replace(BUILT, "Compiled"))
    told = audit("frail.log", code=0)
    assert touched(told) == []
    assert {row["prover"] for row in told.rows} == {"Tamarin or tamarin-rs 1.13.0"}
    assert told.not_judged == [
        "3 verdicts: which of tamarin-prover and tamarin-rs proved them is not known"
    ]


def test_of_another_program_nothing_is_known(audit, lab):
    frail_batch(lab, "tamarin-fork 1.10.0")
    told = audit("results", code=0)
    assert touched(told) == []
    assert told.not_judged == ["3 verdicts: the list says nothing of tamarin-fork"]


def test_what_cannot_be_judged_is_said_once(audit, lab):
    lab.write("summary.log", a_log(*FRAIL_LINES, theory="gone.spthy"))
    lab.write("frail.log", frail_log("1.10.0"))
    lab.write("flagged.spthy", FRAIL.replace("builtins", "#ifdef X\n#endif\nbuiltins"))
    told = audit(".", code=3)
    assert told.not_judged == [
        "3 verdicts: the options of the prover are not known: partial-evaluation",
        "3 verdicts: who proved them, or which version, is not known",
    ]


def test_processes_that_were_not_printed_cannot_be_judged(audit, lab):
    rule = 'rule R [color=#ffffff, process="in(x)"]:'
    theory = FRAIL.replace("rule R:", rule)
    lab.write("frail.log", frail_log("1.10.0", theory=theory))
    told = audit("frail.log", code=0)
    assert "3 verdicts: printed theories don't show their processes: sapic-..." in told.not_judged


@pytest.mark.parametrize(
    "path, version, wanted",
    [
        ("bin/tamarin-prover", "1.12.0", ["xor:a"]),
        ("bin/tamarin-prover", "v1.11.0", ["xor?:a"]),
        ("bin/tamarin-prover", "1.13.0", []),
        ("bin/tamarin-rs", "1.13.0", ["tamarin-rs:a", "xor?:a"]),
        ("bin/tamarin-prover", None, []),
    ],
)
def test_results_of_batch_tamarin_are_judged(audit, lab, path, version, wanted):
    report = upstream_report()
    for about in report["tamarin_versions"].values():
        about.update({"path": path, "version": version})
    entry = next(iter(report["tasks"].values()))
    subtasks = entry["subtasks"]
    for name in list(subtasks):
        result = subtasks[name].get("task_result") or {}
        if result.get("lemma_result") != "verified" or result.get("analysis_type") != "all-traces":
            del subtasks[name]
            continue
        subtasks[name]["task_config"]["lemma"] = "a"
    entry["theory_file"] = "frail.spthy"
    lab.write("frail.spthy", FRAIL.replace("not(", "("))
    lab.write("results/execution_report.json", json.dumps(report))
    assert touched(audit("results", code=0)) == wanted


def test_a_claim_is_no_verdict_that_could_be_touched(audit, lab):
    lab.write("frail.spthy", printed_theory(FRAIL, "1.10.0", **FRAIL_PROOFS))
    assert touched(audit("frail.spthy", code=3)) == []


@pytest.mark.parametrize(
    "trait, verdict, by_no_trace, by_trace",
    words_in("""
        all-traces    verified    yes  no
        all-traces    falsified   no   yes
        exists-trace  verified    no   yes
        exists-trace  falsified   yes  no
        diff          verified    yes  no
        diff          falsified   no   yes
    """),
)
def test_a_problem_touches_verdicts_of_the_kind_that_it_makes_false(
    trait, verdict, by_no_trace, by_trace
):
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict(verdict))
    task = a_task(result.status, result, trait=trait)
    told = []
    for name in ("xor", "restriction-not-enforced", "iff-negated"):
        can_touch = bt._can_touch(bt.ADVISORIES[name], task)
        told.append("yes" if can_touch else "no")
    assert told == [by_no_trace, by_trace, "yes"]


@pytest.mark.parametrize("trait, sides", [("all-traces", ()), ("all-traces", ("LHS", "RHS"))])
def test_only_the_equivalence_is_touched_by_what_concerns_both_sides(trait, sides):
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
    task = a_task(result.status, result, trait=trait, sides=sides)
    assert not bt._can_touch(bt.ADVISORIES["diff-private"], task)
    assert bt._can_touch(bt.ADVISORIES["diff-old"], task) == bool(sides)


TOUCHED_IN_1_10 = ["iff-negated:a", "macro-in-formula:c", "subterm-order:b", "xor:a", "xor:b"]


def frail_batch(lab, version="tamarin-prover 1.10.0", config=None, **entry):
    """A batch of ours of the theory with known problems, run to its end; what `run` shows."""
    lab.write("frail.spthy", FRAIL)
    answer = VERIFY + 'case "$LEMMA" in c) echo;; esac'
    answer = answer.replace("(all-traces)", "($TRAIT)")
    trait = 'TRAIT=all-traces; [ "$LEMMA" = c ] && TRAIT=exists-trace'
    lab.prover(f"{trait}\n{answer}")
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("tamarin-prover 1.11.0", version))
    lab.recipe(config=config, theory_file="frail.spthy", **entry)
    return lab.run("run recipe.json", code=0).stdout


def test_a_run_and_its_reports_name_the_known_problems_of_each_verdict(lab, audit):
    told = frail_batch(lab)
    assert re.search(r"t--b--fake .* known problems: xor, subterm-order$", told, re.MULTILINE)
    assert "batch_tamarin.py audit" in told
    assert touched(audit("results", code=0)) == TOUCHED_IN_1_10
    for form in ("md", "html", "tex", "typ", "csv", "json", "junit"):
        report = lab.run("report results -f", form, code=0).stdout
        for words in ("subterm", "811", "prove again with 1.12.0 or later"):
            assert words in report, form


def test_the_text_that_was_proven_is_judged_whatever_lies_there_now(lab, audit):
    frail_batch(lab)
    lab.write("frail.spthy", FRAIL.replace("xor, ", ""))
    assert "xor:a" in touched(audit("results", code=1))
    shutil.rmtree(lab.results / "inputs")
    told = audit("results", code=1)
    assert touched(told) == []
    assert told.not_judged == ["3 verdicts: the text that was proven is not known"]


def test_options_of_a_run_are_judged(lab, audit):
    frail_batch(lab, tamarin_options=["--partial-evaluation=Summary"])
    told = touched(audit("results", code=0))
    assert {"partial-evaluation:a", "partial-evaluation:b"} <= set(told)


def test_a_known_problem_counts_with_strict_only(audit, lab):
    lab.write("frail.log", frail_log("1.12.0"))
    told = audit("frail.log", code=0)
    assert told.found_of("advisory") == told.found_of("note") == []
    assert touched(audit("frail.log --strict", code=1)) == touched(told)


def accepted(told):
    return {each["id"] for each in told.told if each.get("accepted")}


def test_a_known_problem_that_is_accepted_is_shown_and_does_not_count(audit, lab):
    theory = FRAIL.replace("not(", "(")
    lab.write("frail.log", frail_log("1.12.0", theory=theory))
    lab.write(
        "expected.json", '{"accept": ["xor"], "a": "verified", "b": "verified", "*": "verified"}'
    )
    told = audit("frail.log --expect expected.json --strict", code=0)
    assert touched(told) == ["xor:a", "xor:b"]
    assert accepted(told) == {"xor"}


def test_a_recipe_can_accept_known_problems(lab, audit):
    frail_batch(lab, config={"accept_advisories": ["xor", "iff-negated"]})
    told = audit("results", code=0)
    assert accepted(told) == {"xor", "iff-negated"}
    assert touched(told) == TOUCHED_IN_1_10


def test_that_one_program_alone_has_proven_is_counted_apart(lab, run_here):
    theory = FRAIL.replace("m('c')", "'c'")
    lab.write("frail.log", frail_log("1.13.0", "-", theory))
    told = run_here("audit frail.log", code=0).out
    counts = "2 verdicts touched by known problems of provers, 3 verdicts proven by tamarin-rs only"
    assert told.startswith(f"0 findings, {counts} and 0 notes on 3 results")


def test_what_is_accepted_is_not_counted(lab, run_here):
    ids = ["xor", "iff-negated", "subterm-order", "macro-in-formula"]
    told = frail_batch(lab, config={"accept_advisories": ids[1:]})
    assert "2 verdicts touched by known problems" in told
    lab.write("expected.json", json.dumps({"accept": ids, "*": "verified"}))
    told = run_here("audit results --expect expected.json", code=0).out
    assert "touched" not in told
    assert "xor (accepted)" in told


def test_a_problem_of_a_theory_has_one_line_with_all_its_lemmas(lab, run_here):
    lemmas = [f"s{number}" for number in range(6)]
    theory = FRAIL
    for name in lemmas:
        lemma = f'lemma {name}: "All x y #i. A(x)@i & x << y ==> F"\nend'
        theory = theory.replace("\nend\n", f"\n{lemma}\n")
    proofs = dict.fromkeys(lemmas, "by contradiction")
    lines = [f"{name} (all-traces): verified (3 steps)" for name in lemmas]
    printed = printed_theory(theory, "1.13.0", **FRAIL_PROOFS, **proofs)
    printed = printed.replace("Maude version 3.4", f"Maude version 3.4\n{BUILT} UTC")
    log = a_log(*FRAIL_LINES, *lines, theory="frail.spthy")
    lab.write("frail.log", printed + log)
    page = run_here("audit frail.log -f md", code=0).out
    told = page.replace("\\", "")
    (line,) = [line for line in told.splitlines() if "subterm-order" in line]
    assert "frail.spthy: b, s0, s1, s2, s3, s4, s5" in line
    assert "tamarin-rs 1.13.0 follows tamarin-prover's development version 1.11" in line


def test_what_is_accepted_must_be_a_known_problem(lab, run_here):
    lab.write("frail.log", frail_log("1.12.0"))
    lab.write("expected.json", '{"accept": ["xer"]}')
    told = run_here("audit frail.log --expect expected.json", code=2)
    assert "accept: no known problem 'xer' (did you mean 'xor'?)" in told.err
    lab.prover(VERIFY)
    lab.recipe(config={"accept_advisories": ["xer"]})
    told = run_here("run recipe.json", code=2)
    assert "config.accept_advisories.0: must be one of xor, iff-negated" in told.err
    assert "not \"xer\" (did you mean 'xor'?)" in told.err


def test_a_lemma_may_be_called_accept(lab, audit):
    lab.write("bell.log", BELL_LOG.replace("calm", "accept"))
    lab.write("expected.json", '{"accept": "verified", "*": "verified"}')
    audit("bell.log --expect expected.json", code=0)


def a_batch_by(flavour, version, *lemmas):
    """A batch of the prover `p`, which verified these lemmas."""
    prover = bt.Prover("p", ("p",), flavour=flavour, version=version)
    batch = bt.Batch()
    batch.apply(bt.Header(recipe_file="r", provers={"p": prover}))
    for lemma in lemmas:
        batch.apply(a_plan(id=lemma, lemma=lemma))
        result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
        batch.apply(bt.Finished(lemma, "j", 1, result))
    return batch


@pytest.mark.parametrize(
    "flavour, version, by, is_confirmed",
    [
        ("tamarin-prover", "1.10.0", "p", True),
        ("tamarin-prover", "1.10.0", "p (its own proof)", True),
        ("tamarin-prover", "1.10.0", "q", False),
        ("tamarin-prover", "", "p", False),
        ("tamarin-rs", "1.13.0", "p", False),
    ],
)
def test_a_recheck_by_tamarin_prover_takes_the_doubt_of_tamarin_rs_away(
    flavour, version, by, is_confirmed
):
    proven = a_batch_by("tamarin-rs", "1.13.0", "a", "b")
    proven.apply(bt.Rechecked("a", by, confirms=True))
    checker = a_batch_by(flavour, version)
    problems = bt.KnownProblems({"results": proven}, [checker])
    doubtful = {"b"} if is_confirmed else {"a", "b"}
    assert set(problems.within("results")) == doubtful


@pytest.mark.parametrize("form", ["table", "md", "json", "csv", "junit"])
def test_every_form_of_an_audit_tells_of_known_problems(lab, run_here, form):
    lab.write("frail.log", frail_log("1.10.0"))
    told = run_here("audit frail.log -f", form, code=0).out
    for words in ("subterm-order", "#809", "PR #811", "prove again with 1.12.0 or later"):
        assert words in told.replace("\\", "")


def test_known_problems_come_first_after_findings_one_line_each(lab, run_here):
    lab.write(
        "frail.log", frail_log("1.10.0").replace("verified (2", "falsified - no trace found (2")
    )
    told = run_here("audit frail.log", code=1).out
    titles = re.findall(
        r"^(Findings|Known problems of provers|Notes|Theories)$", told, re.MULTILINE
    )
    assert titles == ["Findings", "Known problems of provers", "Notes", "Theories"]
    (line,) = [line for line in told.splitlines() if " xor " in line]
    assert "frail.spthy: a, b" in line
    assert "#770, PR #837" in line
    assert "before citing it" in line


def test_touched_verdicts_are_counted_and_named_with_their_place_and_prover(lab, run_here):
    """A theory of one name lies in two folders; two problems touch one of its lemmas."""
    for folder in ("old", "new"):
        lab.write(f"{folder}/frail.log", frail_log("1.12.0"))
    told = run_here("audit old new", code=0).out
    assert "0 findings, 4 verdicts touched by known problems" in told
    (line,) = [line for line in told.splitlines() if " xor " in line]
    places = [f"{each}/frail.log: frail.spthy: a, b (Tamarin 1.12.0)" for each in ("old", "new")]
    assert "; ".join(places) in line


def test_the_list_of_known_problems_can_be_read(run_here):
    told = run_here("audit --advisories", code=0).out
    (line,) = [line for line in told.splitlines() if line.startswith("subterm-order ")]
    assert "1.8.0 to before 1.12.0" in line
    listed = json.loads(run_here("audit --advisories -f json", code=0).out)
    assert [each["id"] for each in listed] == list(bt.ADVISORIES)
    rows = run_here("audit --advisories -f csv", code=0).out.splitlines()
    assert len(rows) == 1 + len(bt.ADVISORIES)
    done = run_here("audit --advisories -f junit", code=2)
    assert "no test" in done.err


def test_an_audit_needs_a_path(run_here):
    assert "what is to be audited?" in run_here("audit", code=2).err


# --- The table for people -------------------------------------------------------------------------


@pytest.fixture
def audit_table(lab, run_here):
    """The table of an audit with a false lemma that `quiet` and `still` rest on."""
    lab.write("log", a_log(CALM_IS_FALSE, QUIET, STILL))
    write_old(lab, "bell.spthy", BELL)

    def run(*options):
        return run_here("audit .", *options, code=1).out

    return run


def test_a_table_tells_findings_with_advice_then_notes_then_theories(audit_table):
    told = audit_table()
    order = ["Findings", "bell.spthy: quiet", "assumption: prove what is", "Notes", "Theories"]
    places = [told.index(words) for words in order]
    assert places == sorted(places)


def test_a_table_shows_lemmas_with_details_only(audit_table):
    told = audit_table()
    assert "Lemmas" not in told
    assert "calm" not in told.partition("Theories")[2]
    assert "still" in audit_table("-d").partition("Lemmas")[2]


def test_a_table_names_the_file_the_theory_and_the_prover(lab, run_here):
    log = "tamarin-prover 1.10.0, (C) nobody\n" + FALSE_BELL_LOG
    lab.write("d/runs/one.log", log)
    write_old(lab, "d/bell.spthy", BELL)
    told = run_here("audit d", code=1).out
    assert "d/runs/one.log: bell.spthy: quiet (Tamarin 1.10.0)" in told


def test_a_table_wraps_at_the_width_of_a_terminal_and_loses_nothing(lab, run_here, monkeypatch):
    folder = "a/" * 40
    lab.write(f"{folder}log", FALSE_BELL_LOG)
    write_old(lab, f"{folder}bell.spthy", BELL)
    monkeypatch.setattr(bt, "terminal_size", lambda: (80, 40))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    lines = run_here("audit a", code=1).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"{folder}log" in "".join(line[45:].strip() for line in lines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert max(map(len, run_here("audit a", code=1).out.splitlines())) > 150


def test_a_table_names_directory_prover_and_variant(lab, run_here):
    write_variants(lab, plain={}, leak=LEAK, again=LEAK)
    lab.write("expect", '{"*": "incomplete"}')
    told = run_here("audit results --expect expect", code=1).out
    assert "verified now   results: t.spthy: three (fake)\n" in told
    places = ["three (fake -D=LEAK, leak)", "three (fake -D=LEAK, again)"]
    assert "; ".join(f"results: t.spthy: {place}" for place in places) in told


def test_a_table_counts_lemmas_not_results_and_tells_variants_apart(lab, run_here):
    write_variants(lab, plain={}, leak=LEAK, again=LEAK)
    _, _, theories = run_here("audit results", code=0).out.partition("Theories\n\n")
    rows = [re.split(" {2,}", line) for line in theories.splitlines()]
    assert rows[0] == ["theory", "prover", "flags", "lemmas", "results", "from"]
    _, plain, leak, *_ = rows
    assert plain[-3:-1] == ["1", "1 verified"]
    assert leak[-3:-1] == ["1", "2 falsified"]


def test_a_table_of_two_flag_sets_names_the_log_of_each(lab, run_here):
    lab.write("logs/plain", printed_theory() + BELL_LOG)
    lab.write("logs/loud", printed_theory(OTHER_BELL, calm="simplify SOLVED") + FALSE_BELL_LOG)
    told = run_here("audit logs -d", code=1).out
    theories, _, lemmas = told.partition("Theories")[2].partition("Lemmas")
    loud, plain = theories.splitlines()[3:5]
    assert loud.endswith(" logs/loud")
    assert plain.endswith(" logs/plain")
    assert lemmas.count("logs/plain") == 4


def test_details_tell_variants_apart_and_times_as_people_write_them(lab, run_here):
    write_variants(lab, plain={}, leak=LEAK, bound=BOUND)
    told = run_here("audit results -d", code=0).out
    _, _, lemmas = told.partition("Lemmas\n\n")
    head, *rows = lemmas.strip().splitlines()
    assert " ".join(head.split()).endswith("prover entry options flags result steps time from")
    assert "LEAK" in rows[1]
    assert "bound" in rows[2]
    assert "--bound=9 -s=8" in rows[2]
    assert all(re.search(r" \d\.\d\d s  results$", row) for row in rows)


def test_the_cases_of_two_variants_are_two_in_junit(lab, run_here):
    write_variants(lab, plain={}, leak=LEAK)
    told = run_here("audit results -f junit", code=0).out
    root = ElementTree.fromstring(told)
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == ["three [fake]", "three [fake -D=LEAK]"]


@pytest.mark.parametrize("name", ["test_it.py", "README.md"])
def test_a_program_or_a_paper_that_quotes_a_log_is_no_log(lab, run_here, name):
    write_old(lab, "d/bell.spthy", BELL)
    lab.write("d/log", BELL_LOG)
    lab.write(f"d/{name}", 'LOG = """\n' + FALSE_BELL_LOG)
    assert name not in run_here("audit d", code=0).out


def test_a_table_is_the_same_each_time(audit_table):
    assert audit_table() == audit_table()


# --- Real runs ------------------------------------------------------------------------------------


# What audits of the runs in ../shared/transcripts tell: exit code, kinds of notes. Where somebody
# asked for one lemma, the others are missing.
AUDITED_RUNS = """
accountability              0  warning
accountability-parent-name  3  missing warning
accountability-prefix       0  warning
all-lemmas                  0
all-lemmas-rs               0  note
auto-sources                0
bound-incomplete            3  missing sorry
check-broken-proof          3  missing sorry
check-stored-proof          3  assumption missing vacuity
check-stored-proof-of-rs    3  assumption missing vacuity
defines                     0
diff-falsified              0  note
diff-one-lemma              3  assumption missing
diff-two-sides              0
diff-verified               0
false-reuse-one             3  assumption missing vacuity
falsified-all-traces        3  missing
no-prove                    3  missing
no-such-lemma               3  missing warning
prefix                      3  missing
two-lemmas-one-process      3  missing vacuity
verified                    3  assumption missing vacuity
verified-exists-trace       3  missing
verified-rs                 3  assumption missing note vacuity
wellformedness-no-prove     3  missing warning
"""
# Runs that were begun and have no summary, and what is no run on a theory.
ENDED_RUNS = """
diff-without-flag
heap-limit
interrupted-int
killed-kill
killed-term
missing-maude
missing-theory
no-locale
no-locale-stdout
parse-error
wellformedness
wellformedness-quit
"""
NO_RUNS = """
bad-option
diff-rs
old-style-cores-rs
test-ok
test-old-maude
version
version-old-maude
version-rs
"""


@needs_transcripts
def test_every_real_run_is_audited_here():
    expected = {"false-reuse-all", *ENDED_RUNS.split(), *NO_RUNS.split()}
    for name, *_ in words_in(AUDITED_RUNS):
        expected.add(name)
    assert expected == set(os.listdir(TRANSCRIPTS))


@needs_transcripts
@pytest.mark.parametrize("line", AUDITED_RUNS.strip().splitlines())
def test_a_real_run_shows_nothing_wrong(audit, line):
    name, code, *kinds = line.split()
    told = audit(str(TRANSCRIPTS / name), code=int(code))
    assert told.kinds == set(kinds)
    assert [each for each in told.told if not each["note"]] == []


@needs_transcripts
@pytest.mark.parametrize("name", ENDED_RUNS.split())
def test_a_real_run_without_a_summary_is_a_finding(audit, name):
    told = audit(str(TRANSCRIPTS / name), code=1)
    (message,) = told.findings("missing")
    if name in ("diff-without-flag", "parse-error"):
        assert message.startswith("no summary, the theory has a parse error: ")
    else:
        assert message == CUT_OFF
    assert told.rows == []


@needs_transcripts
@pytest.mark.parametrize("name", NO_RUNS.split())
def test_what_a_real_prover_says_without_a_theory_is_no_evidence(run_here, name):
    done = run_here("audit", str(TRANSCRIPTS / name), code=2)
    assert "neither results" in done.err


@needs_transcripts
def test_a_false_reusable_lemma_is_found_in_a_real_run(audit):
    told = audit(str(TRANSCRIPTS / "false-reuse-all"), code=1)
    assert told.found_of("assumption") == ["key_secret", "executable"]
    assert told.kinds == {"assumption", "vacuity"}


@needs_transcripts
def test_a_reusable_lemma_without_an_answer_is_told_in_a_real_run(audit):
    told = audit(str(TRANSCRIPTS / "false-reuse-one"), code=3)
    assert told.states["key_secret"] == "verified, assuming nothing_leaks (incomplete)"


# === Reports ======================================================================================

BEGAN = "2026-01-02T03:04:05.000000Z"
ENDED = "2026-01-02T03:04:06.000000Z"


def ended_task(task_id, outcome="verified", result=None, **plan):
    """A task that ended at ENDED, after a second; `outcome`: a verdict, or why there is none.

    `result` and `plan`: other fields of its result and of its plan.
    """
    fields = {"at": ENDED, "usage": bt.Usage(1.0)}
    fields.update(result or {})
    status = bt.Status.COMPLETED
    if outcome in set(bt.Verdict):
        fields["verdict"] = bt.Verdict(outcome)
    else:
        status = bt.Status(outcome)
    end = bt.Result(status, **fields)
    return a_task(status, end, id=task_id, **plan)


def shared_task(task_id, **result):
    """A task that shared a process with another one; `result`: other fields of its result."""
    task = ended_task(task_id, result={"shared_by": 2, **result})
    task.started = bt.Started(("a", "b"), "a~shared", 1)
    return task


def batch_with(*tasks, **header):
    """A batch with these tasks and their provers. Options: other fields of its header."""
    provers = {task.plan.prover: prover_called(task.plan.prover) for task in tasks}
    fields = {"at": BEGAN, "id": "b", "version": "0.1.0", "cwd": "/"}
    fields["recipe_file"] = "/r/recipe.json"
    fields["limits"] = bt.Limits(2, 2048, 60)
    fields.update(header)
    batch = bt.Batch(bt.Header(provers=provers, **fields))
    for task in tasks:
        batch.tasks[task.id] = task
    return batch


def prover_called(alias):
    """A prover as a journal knows it."""
    command = (f"/bin/{alias}",)
    return bt.Prover(alias, command, version="1.11.0")


def report_of(batch, form, directory="/nowhere", names=False, fragment=False, grid=""):
    """A report of a batch, whose results directory is this one."""
    asked = bt.Asked(names, fragment, bt.read_grid(grid) if grid else None)
    pieces = bt.REPORTS[form]({str(directory): batch}, str(directory), asked)
    return "".join(pieces)


def page_of(*tasks, names=False, **header):
    """The HTML page of a batch with these tasks, read; without any: of one verified task."""
    tasks = tasks or [ended_task("a")]
    batch = batch_with(*tasks, **header)
    return PageReader(report_of(batch, "html", names=names))


HEADINGS = ("h1", "h2", "h3")
CELLS = ("td", "th")
# Text behind the end of one of these is none of its own.
ENDED_TAGS = (*HEADINGS, "a", "table")


class PageReader(HTMLParser):
    """Reads an HTML page: its tags with their attributes, the text that it shows, its tables."""

    def __init__(self, page):
        super().__init__()
        self.page = page
        self.tags = []
        self.texts = []
        self.tables = {}  # by the heading above them: rows of cells
        self.heading = ""
        self.rows = []  # of the last table
        self.row = []  # the last one of it
        self.inside = ""  # the last tag, unless what it began has ended
        # These change nothing but where lines end.
        self.feed(re.sub("<span class=option>([^<]*)</span>", r"\1", page))
        self.close()

    def handle_starttag(self, tag, attributes):
        found = (tag, dict(attributes))
        self.tags.append(found)
        if tag == "wbr":
            return
        self.inside = tag
        if tag in HEADINGS:
            self.heading = ""
        elif tag == "table":
            self.rows = []
            self.tables[self.heading] = self.rows
        elif tag == "tr":
            self.row = []
            self.rows.append(self.row)
        elif tag in CELLS:
            self.row.append("")

    def handle_endtag(self, tag):
        if tag in ENDED_TAGS:
            self.inside = ""

    def handle_data(self, data):
        if self.inside in ("style", "script"):
            return
        self.texts.append(data)
        if self.inside in HEADINGS:
            self.heading += data
        elif self.inside in CELLS:
            self.row[-1] += data.strip("\n")
        elif self.inside == "a" and self.heading == "Results":
            self.row[-1] += data

    @property
    def text(self):
        """All text that it shows."""
        return "\0".join(self.texts)

    @property
    def facts(self):
        """What is so of the whole batch, by name."""
        return dict(self.tables["Machine and recipe"])

    @property
    def problems(self):
        """Which lemmas need a look, by what is wrong with them."""
        return dict(self.tables.get("Tamarin batch recipe.json", {}))

    @property
    def answer(self):
        """The sentence that it begins with."""
        (text,) = re.findall('<p class="answer[^>]*>([^<]*)', self.page)
        return text

    def row_of(self, table, number):
        """A row of a table, by the titles of the columns."""
        head, *rows = self.tables[table]
        return dict(zip(head, rows[number]))

    def attributes_of(self, name):
        """The attributes of each tag of this name."""
        return [attributes for tag, attributes in self.tags if tag == name]

    def all_of(self, name, attribute):
        """What each tag of this name has for an attribute."""
        return [attributes[attribute] for attributes in self.attributes_of(name)]

    def column(self, table, title):
        """The cells of a column, from the top."""
        head, *rows = self.tables[table]
        number = head.index(title)
        return [row[number] for row in rows]


# --- What a page says -----------------------------------------------------------------------------


def test_a_page_tells_the_limits_and_the_recipe_of_a_batch():
    facts = page_of(host="here", platform="linux", cwd="/w").facts
    assert facts["recipe"] == "recipe.json"
    assert facts["platform"] == "linux"
    assert facts["limits"] == "2 cores, 2.0 GB for all jobs"
    assert "host" not in facts


def test_a_page_tells_who_ran_a_batch_and_where_if_it_is_to():
    facts = page_of(host="here", cwd="/w", names=True).facts
    assert facts["recipe"] == "/r/recipe.json"
    assert facts["directory"] == "/w"
    assert facts["host"] == "here"


def test_a_page_tells_by_what_a_batch_was_run():
    facts = page_of(version="0.1.0").facts
    assert facts["run by"] == "batch_tamarin.py 0.1.0"
    facts = page_of(version="").facts
    assert facts["run by"] == "batch-tamarin"


def test_a_batch_took_from_the_first_beginning_to_the_last_end():
    """Its header has the time of the last time that the batch went on."""
    late = "2026-01-02T03:05:00.000000Z"
    first = ended_task("a")
    second = ended_task("b", result={"at": late})
    facts = page_of(first, second, at=late).facts
    assert facts["began"] == "2026-01-02 03:04:05 UTC"
    assert facts["ended"] == "2026-01-02 03:05:00 UTC"
    assert facts["took"] == bt.duration(55)


def test_a_page_of_a_batch_that_has_not_ended_says_so():
    page = page_of(ended_task("a"), a_task(id="b"))
    assert page.facts["ended"].startswith("not yet: 1 task left")


PARTS = """
Tamarin batch recipe.json | Results | Totals | Provers side by side | What the results rest on
Timeline | Each result in full | Provers | Machine and recipe
"""


def test_a_page_begins_with_the_answer_and_ends_with_how_it_came_about():
    one = ended_task("one", lemma="one")
    two = ended_task("two", lemma="two", assumes=("one",))
    batch = batch_with(one, two, ended_task("other", prover="q"))
    page = report_of(batch, "html")
    parts = re.split(r" \| |\n", PARTS.strip())
    assert re.findall("<h[12]>([^<]*)", page) == parts
    assert page.index('class="answer') < page.index("<table")


def test_the_answer_counts_what_is_as_expected_and_then_what_is_not():
    """A lemma that rests on a false one counts as nothing else."""
    tasks = [ended_task("a", lemma="a", expect="verified")]
    tasks.append(ended_task("b", "falsified", lemma="b"))
    tasks.append(ended_task("c", lemma="c", assumes=("b",), expect="verified"))
    tasks.append(ended_task("d", lemma="d", expect="falsified"))
    tasks.append(ended_task("e", "timeout", lemma="e", expect="verified"))
    tasks.append(a_task(id="f", lemma="f"))
    page = page_of(*tasks)
    assert page.answer == (
        "1 of 4 expectations met; 1 rests on a falsified lemma; "
        "1 is not as expected; 1 met its time limit; 1 has not run yet; "
        "1 falsified with no expectation."
    )
    assert page.problems == {
        "resting on a falsified lemma": "c",
        "not as expected": "d",
        "without an answer": "e, f",
    }


def test_problems_of_one_name_are_told_apart_by_their_theories():
    one = ended_task("a", "timeout", lemma="same", theory="x/a.spthy")
    two = ended_task("b", "timeout", lemma="same", theory="x/b.spthy")
    broken = ended_task("c", "failed", lemma="*", theory="x/c.spthy", unreadable="no end")
    (words,) = page_of(one, two, broken).problems.values()
    assert words == "same (a.spthy), same (b.spthy), all of c.spthy (it can't be read)"


def test_problems_in_theories_of_one_name_are_told_apart_by_their_folders():
    one = ended_task("a", "timeout", lemma="same", theory="x/t.spthy")
    two = ended_task("b", "timeout", lemma="same", theory="y/t.spthy")
    (words,) = page_of(one, two).problems.values()
    assert words == "same (x/t.spthy), same (y/t.spthy)"


def test_one_lemma_in_two_batches_is_two_results():
    batches = {"old": batch_with(ended_task("a")), "new": batch_with(ended_task("a"))}
    page = "".join(bt.REPORTS["md"](batches, "."))
    assert "2 of 2 results answered" in page


def test_what_was_not_as_expected_is_an_answer_and_what_rests_on_it_is_none():
    tasks = [ended_task("a", "falsified", lemma="a", expect="verified")]
    tasks.append(ended_task("b", lemma="b", assumes=("a",)))
    assert page_of(*tasks).row_of("Totals", 0)["answered"] == "50 %"


def test_on_a_phone_each_verdict_says_whose_it_is():
    page = page_of(ended_task("a", prover="p"), ended_task("b", prover="q"))
    assert page.page.count('data-of="p (1.11.0)">verified') == 1
    assert page.page.count('data-of="q (1.11.0)">verified') == 1
    assert ".w[data-of]:not([data-of=result])::after" in page.page


def test_the_answer_counts_answers_where_nothing_is_expected():
    """Of one lemma there may be several results."""
    one = ended_task("a", lemma="a")
    two = ended_task("b", lemma="b", assumes=("gone",))
    again = ended_task("c", lemma="b", prover="q")
    false = ended_task("d", "falsified", lemma="d")
    assert page_of(one).answer == "1 of 1 lemma answered: 1 verified."
    assert page_of(one, two, again, false).answer == (
        "4 of 4 results answered: 3 verified, 1 falsified; "
        "1 assumes lemmas that are not verified here."
    )


def test_what_one_prover_verifies_and_another_falsifies_is_no_answer():
    one = ended_task("a", prover="p")
    other = ended_task("b", "falsified", prover="q", options=("--bound=9",))
    page = page_of(one, other)
    assert page.answer == "0 of 2 results answered; 2 are contradicted by other results."
    assert page.problems == {"contradicted": "one"}
    assert page.row_of("Results", 0)["result"] == "verified, but falsified by q --bound=9"
    assert page.row_of("Results", 1)["result"] == "falsified, but verified by p"


def test_an_answer_that_is_contradicted_asks_for_exit_code_1():
    verified = ended_task("a", prover="p")
    tasks = [verified, ended_task("b", "falsified", prover="q")]
    assert bt.exit_code(bt.rows_of(tasks, bt.Closure(tasks))) == 1
    of_another_model = ended_task("b", "falsified", prover="q", flags=("X",))
    others = [verified, of_another_model]
    assert bt.exit_code(bt.rows_of(others, bt.Closure(others))) == 0


def test_the_answer_says_that_results_are_on_an_older_text(monkeypatch):
    older = bt.SourcesNow(frozenset({"a"}), [], {})
    monkeypatch.setattr(bt, "sources_now", lambda batch: older)
    page = page_of()
    assert "1 is on an older text than what lies there now" in page.answer
    assert page.column("Results", "result") == ["verified, on an older text"]


def test_an_answer_with_something_wrong_in_it_looks_so():
    assert '<p class="answer">' in page_of().page
    assert '<p class="answer alarming">' in page_of(ended_task("a", expect="falsified")).page


def test_a_page_does_not_drown_in_the_names_of_lemmas(monkeypatch):
    monkeypatch.setattr(bt, "LISTED_LEMMAS", 1)
    tasks = [ended_task(name, lemma=name, expect="falsified") for name in ("aaa", "bbb")]
    assert page_of(*tasks).problems["not as expected"] == "aaa and 1 more"


def test_a_page_tells_the_provers_with_versions_and_commands():
    one = ended_task("a", prover="p")
    other = ended_task("b", prover="q")
    _, first, second = page_of(one, other).tables["Provers"]
    assert first == ["p", "tamarin-prover 1.11.0", "p"]
    assert second == ["q", "tamarin-prover 1.11.0", "q"]


TOTALS = """
entry prover results verified falsified timeout answered time_(s) CPU_(s) memory_(MB)
x     p      2       2        .         .       100_%    12.0     3.0     70
x     q      1       .        .         1       0_%      1.0      0.0     0
y     p      1       .        1         .       100_%    1.0      0.0     0
all   .      4       2        1         1       75_%     14.0     3.0     70
"""


def test_totals_are_told_by_entry_and_prover():
    """Memory is not added up: not all was in use at once. What never happened has no column."""
    fast = bt.Usage(2.0, cpu_s=1.0, peak_mb=70.0)
    slow = bt.Usage(10.0, cpu_s=2.0, peak_mb=50.0)
    one = ended_task("a", result={"usage": fast}, entry="x")
    two = ended_task("b", result={"usage": slow}, entry="x")
    three = ended_task("c", "timeout", entry="x", prover="q")
    four = ended_task("d", "falsified", entry="y", lemma="two")
    lines = page_of(one, two, three, four).tables["Totals"]
    told = []
    for line in TOTALS.strip().splitlines():
        told.append(["" if word == "." else word.replace("_", " ") for word in line.split()])
    assert [[cell.strip() for cell in line] for line in lines] == told


def test_totals_tell_how_much_is_as_expected_and_cached():
    cached = {"cached": True}
    tasks = [ended_task("a", result=cached, expect="verified")]
    tasks += [ended_task("b", expect="falsified"), ended_task("c")]
    totals = page_of(*tasks).row_of("Totals", 0)
    assert totals["as expected"] == "50 %"
    assert totals["cached"] == "1"
    assert totals["verified"] == "2"
    assert totals["not as expected"] == "1"


def test_no_total_counts_as_verified_what_rests_on_a_falsified_lemma():
    one = ended_task("one", "falsified", lemma="one")
    two = ended_task("two", lemma="two", assumes=("one",))
    page = page_of(one, two)
    totals = page.row_of("Totals", 0)
    assert "verified" not in totals
    assert totals["resting on a falsified lemma"] == "1"
    assert totals["answered"] == "50 %"
    told = re.findall('<span class="key [^>]*>([^<]*)', page.page)
    assert told == ["1 falsified", "1 resting on a falsified lemma"]
    assert page.all_of("rect", "class") == ["falsified", "false"]


def test_a_job_that_served_several_tasks_is_counted_once():
    tasks = []
    for name in "ab":
        tasks.append(shared_task(name, usage=bt.Usage(3.0, cpu_s=2.0)))
    page = page_of(*tasks)
    assert page.column("Results", "remarks") == ["shared by 2", "shared by 2"]
    assert page.row_of("Totals", 0)["time (s)"] == "3.0"
    assert page.row_of("Totals", 0)["CPU (s)"] == "2.0"


@pytest.mark.parametrize("form", ["md", "tex", "typ", "html", "junit"])
def test_every_form_tells_what_shared_a_process(form):
    batch = batch_with(shared_task("a"), shared_task("b"))
    report = report_of(batch, form)
    assert report.count("shared by 2") >= 2


def test_side_by_side_a_shared_process_is_counted_once():
    usage = bt.Usage(3.0)
    tasks = [shared_task("a", usage=usage), shared_task("b", usage=usage)]
    for lemma, task in zip(("one", "two"), list(tasks)):
        task.plan = dataclasses.replace(task.plan, lemma=lemma)
        tasks.append(ended_task(f"{task.id} q", prover="q", lemma=lemma))
    page = page_of(*tasks)
    table = page.column("Provers side by side", "time (s)")
    assert table[-1] == "3.00"


SHARES = """
0 3 : 0 %
1 300 : 1 %
299 300 : 99 %
2 3 : 67 %
3 3 : 100 %
0 0 :
"""


@pytest.mark.parametrize("numbers, share", rows(SHARES))
def test_only_all_is_100_percent_and_only_nothing_is_0(numbers, share):
    assert bt._percent(*map(int, numbers.split())) == share


def test_results_tell_what_a_verdict_rests_on():
    one = ended_task("one", "falsified", lemma="one")
    two = ended_task("two", lemma="two")
    three = ended_task("three", lemma="three", assumes=("one",))
    page = page_of(one, two, three)
    rests = "verified, resting on a falsified lemma: one"
    assert page.column("Results", "result") == ["falsified", "verified", rests]
    assert page.problems["resting on a falsified lemma"] == "three"


def test_only_the_plain_word_looks_good():
    resting = ended_task("b", assumes=("gone",))
    page = page_of(ended_task("a"), resting).page
    assert re.search('<td class="w verified"[^>]*>verified\n?<', page)
    assert re.search('<td class="w qualified"[^>]*>verified, assuming gone', page)


def test_what_rests_on_a_falsified_lemma_is_the_loudest_row():
    one = ended_task("one", "falsified", lemma="one", expect="verified")
    two = ended_task("two", lemma="two", assumes=("one",))
    page = page_of(one, two, ended_task("three", lemma="three"))
    _, _, behind = page.page.partition("<h2>Results")
    head, *rows = re.findall('<tr(?: class="(.*?)")?>', behind)
    assert rows[:3] == ["missed", "false", ""]


def test_a_missed_expectation_does_not_look_like_a_met_one():
    tasks = [ended_task("a", expect="verified"), ended_task("b", expect="falsified")]
    tasks += [a_task(id="c", expect="verified"), ended_task("d")]
    page = page_of(*tasks)
    assert page.column("Results", "as expected") == ["yes", "no: expected falsified", "", ""]


def test_results_have_figures_where_something_was_measured():
    usage = bt.Usage(2.0, cpu_s=1.5, peak_mb=50.0)
    measured = ended_task("a", result={"steps": 7, "usage": usage})
    page = page_of(measured, a_task(id="b"))
    assert page.column("Results", "steps") == ["7", ""]
    assert page.column("Results", "time (s)") == ["2.00", ""]
    assert page.column("Results", "memory (MB)") == ["50", ""]


def test_results_tell_expectations_if_there_are_any():
    head, _ = page_of().tables["Results"]
    assert "as expected" not in head


def test_results_from_the_cache_tell_of_which_day_they_are():
    cached = {"cached": True, "ran": "2025-12-24T00:00:00.000000Z"}
    page = page_of(ended_task("a", result=cached))
    assert page.column("Results", "remarks") == ["cached 2025-12-24"]


def test_results_tell_reasons_and_warnings_but_no_novels():
    failed = ended_task("a", "failed", {"reason": "exit code 1"})
    warned = ended_task("b", result={"warnings": ("x" * 999, "y")})
    first, second = page_of(failed, warned).column("Results", "remarks")
    assert first == "exit code 1"
    assert re.fullmatch(r"warning: x{140,150} \.\.\.; warning: y", second)


def test_what_all_verdicts_share_is_no_remark_of_each():
    old = "Maude 3.2 is not supported"
    first = ended_task("a", result={"warnings": (old,)})
    second = ended_task("b", result={"warnings": ("y", old)})
    ended = ended_task("c", "timeout")
    page = page_of(first, second, ended)
    assert page.column("Results", "remarks") == ["", "warning: y", ""]
    assert f"All verdicts: warning: {old}." in page.text


def test_a_known_problem_of_all_verdicts_is_no_remark_of_each(lab):
    frail_batch(lab, lemmas=[{"name": "a"}, {"name": "b"}])
    text = lab.run("report results -f html", code=0).stdout
    page = PageReader(text)
    assert "All verdicts: known problems: xor." in page.text
    told = ["known problems: iff-negated", "known problems: subterm-order"]
    assert page.column("Results", "remarks") == told


def test_results_have_columns_only_for_what_differs():
    """What is the same for all is told once."""
    plain = ended_task("a", options=("--bound=5",))
    flagged = ended_task("b", flags=("X", "Y"), options=("--bound=5",))
    page = page_of(plain, flagged)
    head, *_ = page.tables["Results"]
    assert head == ["result", "lemma", "flags", "steps", "time (s)", "memory (MB)"]
    assert page.column("Results", "flags") == ["", "X Y"]
    assert "All: theory t.spthy, trait all-traces, prover p, options --bound=5." in page.text


DIFFERENCES = """
theory    : x/a.spthy   : y/a.spthy      : x/a.spthy y/a.spthy
theory    : x/a.spthy   : y/b.spthy      : a.spthy b.spthy
prover    : p           : q              : p q
trait     : all-traces  : exists-trace   : all-traces exists-trace
entry     : m           : n              : m n
"""


@pytest.mark.parametrize("field, one, other, told", rows(DIFFERENCES))
def test_results_tell_in_what_tasks_differ(field, one, other, told):
    first = ended_task("a", **{field: one})
    second = ended_task("b", **{field: other})
    page = page_of(first, second)
    assert page.column("Results", field) == told.split()


def test_an_entry_for_each_theory_says_no_more_than_the_theory():
    tasks = [ended_task("a", entry="m", theory="a.spthy")]
    tasks.append(ended_task("b", entry="n", theory="b.spthy"))
    head, *_ = page_of(*tasks).tables["Results"]
    assert "theory" in head
    assert "entry" not in head


def test_paths_are_cut_to_what_tells_them_apart():
    paths = ["/a/x/t.spthy", "/a/y/t.spthy", "u.spthy", "a/u", "a/a/u", "v/"]
    assert bt.told_apart(paths) == {
        "/a/x/t.spthy": "x/t.spthy",
        "/a/y/t.spthy": "y/t.spthy",
        "u.spthy": "u.spthy",
        "a/u": "a/u",
        "a/a/u": "a/a/u",
        "v/": "v",
    }


def test_provers_stand_side_by_side_with_time_and_memory():
    used = {"usage": bt.Usage(2.0, peak_mb=50.0)}
    first = ended_task("a", prover="p", result=used)
    second = ended_task("b", "falsified", prover="q")
    third = ended_task("c", prover="q", lemma="two", expect="falsified")
    fourth = ended_task("d", "timeout", prover="p", lemma="three")
    fifth = ended_task("e", prover="q", lemma="three")
    page = page_of(first, second, third, fourth, fifth)
    head, one, two, three, both = page.tables["Provers side by side"]
    assert head == ["lemma", "p (1.11.0)", "time (s)", "MB", "q (1.11.0)", "time (s)", "MB"]
    by_p = ["verified, contradicted", "2.00", "50"]
    by_q = ["falsified, contradicted", "1.00", "0"]
    assert one == ["one", *by_p, *by_q]
    assert two == ["two", "", "", "", "verified, not as expected", "1.00", "0"]
    assert three[1] == "timeout"
    assert both == ["all, where each answered: 1 lemma", "", "2.00", "50", "", "1.00", "0"]


def test_results_of_one_prover_on_a_lemma_stand_in_lines_of_their_own():
    first = ended_task("a", prover="p", flags=("X",))
    second = ended_task("b", "falsified", prover="q", flags=("X",))
    third = ended_task("c", prover="q")
    fourth = ended_task("d", "timeout", prover="q")
    page = page_of(first, second, third, fourth)
    _, *lines, _ = page.tables["Provers side by side"]
    told = [(line[0], line[2], line[5]) for line in lines]
    assert told == [
        ("X", "verified, contradicted", "falsified, contradicted"),
        ("", "", "verified"),
        ("", "", "timeout"),
    ]


VARIANTS = (
    {"entry": "plain"},
    {"entry": "leak", "flags": ("LEAK",)},
    {"entry": "bound", "options": ("--bound=9",)},
)


# Their entries, options and flags.
TOLD_VARIANTS = [["plain", "", ""], ["leak", "", "LEAK"], ["bound", "--bound=9", ""]]


def variants(**more):
    """One lemma by one prover in three variants."""
    for number, variant in enumerate(VARIANTS):
        yield ended_task(f"a_{number}", **{"lemma": "one", **variant, **more})


def test_variants_are_told_apart_side_by_side():
    tasks = list(variants())
    for number, variant in enumerate(VARIANTS):
        tasks.append(ended_task(f"b{number}", prover="q", **variant))
    head, *rows, _ = page_of(*tasks).tables["Provers side by side"]
    assert head[:4] == ["entry", "options", "flags", "lemma"]
    assert [row[:3] for row in rows] == TOLD_VARIANTS


def test_variants_are_told_apart_in_what_results_rest_on():
    tables = page_of(*variants(assumes=("x",))).tables
    head, *rows = tables["What the results rest on"]
    columns = [head.index(title) for title in ("entry", "options", "flags")]
    told = [[row[column] for column in columns] for row in rows]
    assert told == TOLD_VARIANTS


def test_variants_are_told_apart_in_junit():
    tasks = [*variants(entry="n")]
    report = report_of(batch_with(*tasks), "junit")
    suites = ElementTree.fromstring(report)
    names = [case.get("name") for case in suites.iter("testcase")]
    assert names == ["one [p]", "one [p -D=LEAK]", "one [p --bound=9]"]


def test_variants_are_told_apart_in_the_final_table():
    head, *rows = final_lines(*variants())[:4]
    assert head.split()[:5] == ["result", "task", "entry", "options", "flags"]
    assert [row.split()[2] for row in rows] == ["plain", "leak", "bound"]
    assert "LEAK" in rows[1]
    assert "--bound=9" in rows[2]


def final_lines(*tasks):
    """The lines of the final table of a batch with these tasks."""
    text = final_table_of(batch_with(*tasks), "results", tasks)
    return text.splitlines()


def test_a_final_table_without_variants_has_no_column_for_them():
    one = ended_task("a", lemma="a")
    two = ended_task("b", lemma="b", flags=("X",), entry="other")
    heading = final_lines(one, two)[0]
    assert heading.split() == ["result", "task", "steps", "time", "memory"]


def report_of_two(form):
    """A report of two batches whose theories have one name and different texts."""
    batches = {}
    for directory, digest in (("/x/old", "a" * 32), ("/x/new", "b" * 32)):
        batches[directory] = batch_with(ended_task("t--one--p", theory_digest=digest))
    return "".join(bt.REPORTS[form](batches, "/x"))


def test_two_theories_of_one_name_stay_two_in_a_report():
    page = PageReader(report_of_two("html"))
    head, *rows = page.tables["Results"]
    columns = [head.index(title) for title in ("directory", "theory")]
    told = [[row[column] for column in columns] for row in rows]
    assert told == [["old", "t.spthy (text aaaaaaaa)"], ["new", "t.spthy (text bbbbbbbb)"]]


def test_details_of_several_batches_name_the_directory_of_each():
    told = report_of_two("md")
    assert "### t\\-\\-one" not in told
    assert re.findall(r"### t--one--p\\: (\w+)\\: verified", told) == ["old", "new"]


def test_verdicts_of_one_prover_stand_in_the_results_alone():
    page = page_of(ended_task("a"), ended_task("b"))
    assert "Provers side by side" not in page.tables


def test_assumptions_are_told_of_what_rests_on_them():
    one = ended_task("one", lemma="one")
    two = ended_task("two", lemma="two", assumes=("one", "gone"))
    three = ended_task("three", "falsified", lemma="three", assumes=("one",))
    page = page_of(one, two, three)
    row = page.row_of("What the results rest on", 0)
    assert row["result"] == "verified, if what is open holds"
    assert row["lemma"] == "two"
    assert row["not verified here"] == "gone (not in the results)"
    assert row["verified here"] == "one"
    assert len(page.tables["What the results rest on"]) == 2


def test_a_failure_is_told_with_its_reason_and_the_end_of_its_stderr():
    end = bt.ExitStatus(1)
    result = {"reason": "no luck", "stderr_tail": "no\nMaude\n", "exit": end}
    page = page_of(ended_task("a", "failed", result))
    facts = dict(page.tables["a: failed"])
    assert facts["reason"] == "no luck"
    assert facts["exit"] == "code 1"
    assert "<pre>no\nMaude</pre>" in page.page


def test_a_task_is_told_with_its_options_and_its_command():
    page = page_of(ended_task("a", options=("--bound=5",), flags=("X",)))
    facts = dict(page.tables["a: verified"])
    assert facts["options"] == "--bound=5"
    assert facts["flags"] == "X"
    (command,) = re.findall("<pre>(p .*)</pre>", page.page)
    assert "--prove=one" in command
    assert "--bound=5" in command


def test_a_task_is_told_with_what_it_expects_takes_for_granted_and_used():
    usage = bt.Usage(2.0, cpu_s=1.5, peak_mb=50.0, avg_mb=40.0)
    result = {"warnings": ("x", "y"), "usage": usage}
    page = page_of(ended_task("a", result=result, expect="verified", assumes=("r", "s")))
    facts = dict(
        page.tables["a: verified, assuming r (not in the results), s (not in the results)"]
    )
    assert facts["expected"] == "verified"
    assert facts["takes for granted"] == "r, s"
    assert facts["warnings"] == "x; y"
    assert facts["used"] == "2.00 s, 1.50 s CPU, 50 MB (average 40 MB)"


def test_a_result_from_the_cache_is_told_with_what_to_keep_in_mind():
    ran = "2025-12-24T00:00:00.000000Z"
    page = page_of(ended_task("a", result={"cached": True, "ran": ran, "old_text": True}))
    told = dict(page.tables["a: verified"])["cached"]
    assert told.startswith("2025-12-24 00:00:00 UTC: the figures are of then")
    assert told.endswith("its proof file may hold older texts of other lemmas")


def test_a_result_links_to_what_is_known_of_its_task():
    page = page_of(ended_task("a"), ended_task("b"))
    assert page.all_of("a", "href") == ["#t0", "#t1"]
    assert page.all_of("details", "id") == ["full", "t0", "t1"]


@pytest.fixture
def cut_batch(monkeypatch):
    """A batch of more tasks than a page shows: two that are verified before two problems."""
    monkeypatch.setattr(bt, "SHOWN_TASKS", 3)
    missed = ended_task("c", expect="falsified")
    failed = ended_task("d", "failed")
    return batch_with(ended_task("a"), ended_task("b"), missed, failed)


def test_a_large_batch_is_cut_for_people_problems_first(cut_batch):
    page = report_of(cut_batch, "md")
    assert "3 of 4 tasks, problems first" in page
    shown = re.findall("^### (.):", page.replace("\\", ""), re.MULTILINE)
    assert shown == ["c", "d", "a"]
    assert "2 verified with no expectation" in page, "the answer is about all"


def test_a_large_batch_is_whole_for_programs(cut_batch):
    assert report_of(cut_batch, "csv").count("\n") == 1 + 4
    assert report_of(cut_batch, "json").count('"lemma"') == 4
    assert report_of(cut_batch, "junit").count("<testcase") == 4


# --- Variants, and grids of them ------------------------------------------------------------------


def in_variant(lemma, order, attacker, outcome="verified", **plan):
    """A task of a matrix of two dimensions."""
    variant = f"{order}-{attacker}"
    dimensions = (f"order={order}", f"attacker={attacker}")
    prover = plan.get("prover", "p")
    task_id = f"{lemma}-{variant}-{prover}"
    return ended_task(task_id, outcome, lemma=lemma, variant=variant, dimensions=dimensions, **plan)


SWEPT = (
    in_variant("one", "first", "weak"),
    in_variant("two", "first", "weak", "timeout"),
    in_variant("one", "first", "strong", expect="falsified"),
    in_variant("two", "first", "strong", "falsified"),
    in_variant("one", "last", "weak"),
)


def grid_of(tasks, grid):
    """The rows of a grid of these tasks, each as words between bars."""
    text = report_of(batch_with(*tasks), "md", fragment=True, grid=grid)
    lines = []
    for line in text.replace("\\", "").splitlines():
        if line.startswith("|") and "---" not in line:
            lines.append(line.strip("| "))
    return lines


def test_a_grid_has_verdict_and_time_where_rows_and_columns_meet():
    assert grid_of(SWEPT, "lemma,order x attacker") == [
        "lemma | order | weak | strong",
        "one | first | verified (1.00) | verified, not as expected (1.00)",
        "one | last | verified (1.00)",
        "two | first | timeout (1.00) | falsified (1.00)",
    ]


def test_columns_of_several_dimensions_have_a_title_of_several_values():
    head, *_ = grid_of(SWEPT, "lemma x order,attacker")
    assert head == "lemma | first, weak | first, strong | last, weak"


def test_several_results_of_one_cell_are_counted_and_none_is_hidden():
    _, line = grid_of(SWEPT, "prover x order")
    assert line.startswith("p | 1 verified; 1 timeout; 1 verified, not as expected; 1 falsified (4")


def test_a_grid_marks_what_a_verdict_rests_on():
    false = in_variant("base", "first", "weak", "falsified")
    resting = in_variant("one", "first", "weak", assumes=("base",))
    open_one = in_variant("two", "first", "weak", assumes=("gone",))
    lines = grid_of([false, resting, open_one], "lemma x variant")
    assert lines[2:] == [
        "one | verified, resting on a falsified lemma (1.00)",
        "two | verified, assuming gone (1.00)",
    ]


def test_a_grid_marks_verdicts_that_another_variant_contradicts():
    smart = in_variant("one", "smart", "weak")
    slow = in_variant("one", "slow", "weak", "falsified")
    tasks = [smart, slow]
    _, line = grid_of(tasks, "lemma x variant")
    assert line == "one | verified, contradicted (1.00) | falsified, contradicted (1.00)"


def test_a_result_without_a_dimension_of_the_grid_is_not_in_it_and_that_is_told():
    batch = batch_with(*SWEPT, ended_task("other", lemma="plain"))
    text = report_of(batch, "md", grid="lemma x order")
    assert "In brackets\\: seconds. Not in it\\: 1 result without one of these." in text


def test_pages_show_lemmas_by_the_dimensions_of_a_matrix():
    page = page_of(*SWEPT)
    assert page.tables["Lemma and order by attacker"] == [
        ["lemma", "order", "weak", "strong"],
        ["one", "first", "verified (1.00)", "verified, not as expected (1.00)"],
        ["one", "last", "verified (1.00)", ""],
        ["two", "first", "timeout (1.00)", "falsified (1.00)"],
    ]
    told = page.column("Results", "variant")
    assert told == ["first-weak", "first-weak", "first-strong", "first-strong", "last-weak"]
    assert '<td class="w missed"' in page.page
    assert '<td class="w verified"' in page.page


def test_results_without_variants_are_no_matter_of_the_usual_grid():
    page = page_of(*SWEPT, ended_task("x", lemma="other", entry="e", prover="q"))
    assert "Lemma and order by attacker" in page.tables
    assert "Not in it: 1 result without one of these." in page.text


def test_variants_of_several_matrices_are_columns_of_one_grid():
    other = ended_task("x", lemma="one", variant="big", dimensions=("size=big",))
    head, *_ = page_of(*SWEPT, other).tables["Lemma by variant"]
    assert head == ["lemma", "first-weak", "first-strong", "last-weak", "big"]


def test_many_variants_stand_in_rows_and_more_than_that_are_no_usual_grid():
    tasks = [in_variant("one", str(number), "weak") for number in range(17)]
    assert page_of(*tasks).tables["Variant by lemma"][0] == ["variant", "one"]
    for number in range(17):
        tasks.append(in_variant(f"l{number}", "0", "weak"))
    assert "Variant by lemma" not in page_of(*tasks).tables


def test_provers_have_rows_of_their_own_in_the_usual_grid():
    tasks = [in_variant("one", "first", "weak", prover=prover) for prover in ("p", "q")]
    page = page_of(*tasks)
    assert page.tables["Prover and lemma by variant"][1:] == [
        ["p", "one", "verified (1.00)"],
        ["q", "one", "verified (1.00)"],
    ]
    assert page.tables["Provers side by side"][1][0] == "one"


def test_without_variants_there_is_no_grid_unless_somebody_asks():
    by_p = ended_task("a", lemma="one", prover="p")
    by_q = ended_task("b", lemma="one", prover="q")
    tasks = [by_p, by_q]
    assert "Prover and lemma by variant" not in page_of(*tasks).tables
    assert grid_of(tasks, "lemma x prover")[1] == "one | verified (1.00) | verified (1.00)"


def test_totals_are_told_by_variant():
    page = page_of(*SWEPT)
    assert page.row_of("Totals", 1)["variant"] == "first-strong"
    assert page.row_of("Totals", 1)["falsified"] == "1"


def test_reports_for_programs_tell_variants_and_dimensions():
    batch = batch_with(*SWEPT)
    lines = report_of(batch, "csv").splitlines()
    first, *_ = csv.DictReader(lines)
    assert first["variant"] == "first-weak"
    assert first["dimensions"] == "order=first; attacker=weak"
    report = json.loads(report_of(batch, "json"))
    task = report["tasks"][0]
    assert task["variant"] == "first-weak"
    assert task["dimensions"] == ["order=first", "attacker=weak"]
    assert 'name="one [p first-weak]"' in report_of(batch, "junit")


@pytest.mark.parametrize(
    "grid, wanted",
    rows(
        """
        lemma: 'ROWS x COLUMNS'
        lemma x: 'ROWS x COLUMNS'
        lemma x order x attacker: 'ROWS x COLUMNS'
        lemma x lemma: once only
        """
    ),
)
def test_what_is_no_grid_is_refused(grid, wanted):
    with pytest.raises(ValueError, match=wanted):
        bt.read_grid(grid)


def test_a_grid_is_asked_for_by_names_that_results_have(lab, run_here):
    lab.prover(VERIFY)
    lab.recipe(matrix={"order": {"first": {}, "last": {}}}, lemmas="one")
    lab.run("run recipe.json", code=0)
    report = ("report", "results", "--grid")
    done = run_here(*report, "lemma x order", "--fragment", code=0)
    assert "| one | verified" in done.out
    told = run_here(*report, "lemma x ordr", code=2).err
    assert "no such dimension 'ordr' (did you mean 'order'?); allowed: lemma, " in told
    told = run_here(*report, "lemma x order", "-f", "csv", code=2).err
    assert "--grid is for pages" in told


# --- Pages for blind review -----------------------------------------------------------------------

BLIND = """
/home/alice/paper/models/t.spthy:3:1: oops     : models/t.spthy:3:1: oops
in /home/alice/paper                           : in .
/home/alice/papers/x.spthy                     : x.spthy
--with-maude=/opt/maude/bin/maude -I/home/al/i : --with-maude=maude -Ii
File "/usr/lib/python3/x.py", line 3           : File "x.py", line 3
file:///home/bob/x and /home/bob, /Users/eve   : x and ~, ~
file:///srv/lab/a%20b/t.spthy file:///home/al  : t.spthy ~
%2Fhome%2falice%2Fa "\\u002falice"             : %2Fhome%2f(hidden)%2Fa "\\u002f(hidden)"
on buildbox.uni.example: buildbox, alice@here  : on (hidden): (hidden), (hidden)@here
tamarin-alice a/b 1/2 http://x.example/a/b </g> : tamarin-alice a/b 1/2 http://x.example/a/b </g>
/opt/my tools/tamarin-prover                   : tamarin-prover
/scratch/r/logs/a.err                          : logs/a.err
"""


@pytest.mark.parametrize(
    "text, seen", [re.split(" +: ", line) for line in BLIND.strip().splitlines()]
)
def test_a_reviewer_sees_no_host_no_user_and_no_absolute_path(text, seen):
    batch = batch_with(ended_task("a"), host="buildbox.uni.example", cwd="/home/alice/paper")
    batch.provers["p"].command = ("/opt/my tools/tamarin-prover",)
    assert bt.Blind({"/scratch/r": batch})(text) == seen


@pytest.mark.parametrize("command", [(), ("apptainer", "exec", "/home/al ice/t.sif", "tamarin")])
def test_a_reviewer_sees_provers_without_their_folders(command):
    batch = batch_with(ended_task("a"))
    batch.provers["p"].command = command
    page = report_of(batch, "md").replace("\\", "")
    told = " ".join(command).replace("/home/al ice/", "")
    assert f"| {told} |" in page


def test_a_reviewer_sees_lemmas_by_their_names():
    """Also one that has the name of a user or a host."""
    tasks = [ended_task("a", lemma="alice", entry="buildbox")]
    batch = batch_with(*tasks, host="buildbox", cwd="/home/alice")
    assert bt.Blind({"r": batch})("alice buildbox") == "alice buildbox"


PAGES = ["md", "html", "tex", "typ"]


@pytest.fixture
def private_batch():
    """A batch in which all that may quote a path, a host or a user does."""
    quote = "/home/alice/paper/x /srv/alice/y on buildbox"
    result = {"reason": quote, "warnings": (quote,), "stderr_tail": quote}
    plan = {"theory": "/home/alice/t.spthy", "cwd": "/home/alice/paper"}
    plan["options"] = ("--oraclename=/home/alice/o.py",)
    tasks = [
        ended_task("a", "failed", result, **plan),
        ended_task("b", theory="/srv/alice/t.spthy"),
    ]
    header = {"host": "buildbox", "recipe_file": "/home/alice/r/recipe.json"}
    batch = batch_with(*tasks, cwd="/home/alice/paper", **header)
    batch.provers["p"].command = ("/home/alice/bin/tamarin",)
    batch.provers["p"].options = ("--with-maude=/home/alice/maude",)
    return batch


@pytest.mark.parametrize("form", PAGES)
def test_a_page_is_fit_for_blind_review(lab, private_batch, form):
    lab.write("traces/b.dot", 'digraph { a [label="/home/alice/paper/x"] }')
    page = report_of(private_batch, form, lab.path)
    for word in ("/home", "/srv", "alice", "buildbox", str(lab.path)):
        assert word not in page
    assert "alice" in report_of(private_batch, form, lab.path, names=True)


def test_a_drawing_in_a_page_names_nobody(lab, private_batch):
    lab.write("traces/b.dot", "digraph {}")
    lab.write("traces/b.svg", "<svg><text>/home/alice/paper/x</text></svg>")
    page = PageReader(report_of(private_batch, "html", lab.path))
    (image,) = page.all_of("img", "src")
    drawn = base64.b64decode(image.partition(",")[2])
    assert drawn == b"<svg><text>x</text></svg>"


def test_a_page_leads_to_traces_that_are_below_it_whatever_it_hides(lab, private_batch):
    lab.write("r/traces/b.dot", "digraph {}")
    lab.write("r/traces/b.svg", SVG)
    batches = {f"{lab.path}/r": private_batch}
    page = "".join(bt.REPORTS["html"](batches, str(lab.path)))
    assert "r/traces/b.svg" in PageReader(page).all_of("a", "href")


@pytest.mark.parametrize("form", PAGES)
def test_the_way_to_a_trace_names_nobody(lab, private_batch, form):
    lab.write("traces/b.dot", "digraph {}")
    lab.write("traces/b.svg", SVG)
    pieces = bt.REPORTS[form]({str(lab.path): private_batch}, "/elsewhere")
    assert str(lab.path).strip("/") not in "".join(pieces)


# --- The table of results alone -------------------------------------------------------------------


def fragment_of(form):
    """The table of results of two lemmas alone."""
    batch = batch_with(ended_task("a"), ended_task("b", lemma="two"))
    return report_of(batch, form, fragment=True)


def test_a_fragment_for_latex_is_a_table_that_can_be_input():
    text = fragment_of("tex")
    code = re.sub("(?m)^%.*\n", "", text)
    assert code.startswith("{\\scriptsize")
    assert "\\begin{tabular}" in code, "which may stand in two columns"
    assert code.count("\\begin") == code.count("\\end{") == 1
    assert "documentclass" not in code


def test_a_fragment_for_latex_that_fills_pages_may_break_between_them():
    tasks = [ended_task(f"t{number}") for number in range(41)]
    text = report_of(batch_with(*tasks), "tex", fragment=True)
    assert "\\begin{longtable}" in text
    assert "Run LaTeX twice" in text


@pytest.mark.parametrize(
    "form, loud", [("md", "| **%s** |"), ("tex", "\\textbf{%s} &"), ("typ", 'strong("%s")')]
)
def test_what_rests_on_a_falsified_lemma_is_loud_without_colours(form, loud):
    false = ended_task("one", "falsified", lemma="one")
    resting = ended_task("two", lemma="two", assumes=("one",))
    text = report_of(batch_with(false, resting), form)
    told = "verified, resting on a falsified lemma: one"
    told = told.replace(",", "{,}") if form == "tex" else told
    told = told.replace(":", "\\:") if form == "md" else told
    assert loud % told in text


def test_a_fragment_leaves_out_what_takes_words():
    failed = ended_task("a", "failed", {"reason": "no luck"}, expect="verified")
    text = report_of(batch_with(failed), "md", fragment=True)
    assert "| **failed** | one |" in text
    assert "no luck" not in text


def test_a_fragment_for_typst_is_a_table_that_can_be_included():
    text = fragment_of("typ")
    assert text.count("#table(") == 1
    assert "#set table" in text
    assert "#set page" not in text
    assert "#heading" not in text


def test_other_fragments_are_tables_too():
    assert fragment_of("md").startswith("| result | lemma |")
    html = fragment_of("html")
    assert html.startswith("<div")
    assert "href" not in html, "there is nothing to lead to"


def test_a_page_for_latex_says_that_it_wants_two_runs():
    assert report_of(batch_with(ended_task("a")), "tex").startswith("% Run pdflatex twice")


# --- Pictures of a page ---------------------------------------------------------------------------


def used(seconds, peak_mb):
    """A task that took so long and so much memory."""
    usage = bt.Usage(seconds, peak_mb=peak_mb)
    return ended_task(f"{seconds}s{peak_mb}mb", result={"usage": usage})


# Of each result: time and its share of the longest, memory and its share of the most.
BARS = """
8.00 100.0%  0   0.0%
2.00 25.0%   50  25.0%
0.00 0.0%    200 100.0%
0.00 0.0%    1   0.5%
"""


def test_time_and_memory_have_bars_in_their_cells():
    tasks = [used(8, 0), used(2, 50)]
    tasks += [used(1e-9, 200), used(0, 1)]
    bars = []
    for line in page_of(*tasks).page.splitlines():
        found = re.findall(r'style="--share:([^"]*)"[^>]*>([^<]*)', line)
        if found:
            (time_share, time), (memory_share, memory) = found
            bars.append([time, time_share, memory, memory_share])
    assert bars == words_in(BARS)


def test_without_figures_there_are_no_pictures():
    page = page_of(a_task()).page
    assert "--share:" not in page.partition("<main>")[2]
    assert "<svg" not in page


def ran(began, ended):
    """A task that ran from and to these seconds of a minute."""
    usage = bt.Usage(ended - began)
    result = {"at": f"2026-01-02T03:04:{ended}.000000Z", "usage": usage}
    return ended_task(f"{began}to{ended}", result=result)


def test_a_timeline_shows_when_a_task_ran_and_what_came_of_it():
    page = page_of(ran(10, 14), ran(14, 20))
    assert page.all_of("rect", "x") == ["0.000%", "40.000%"]
    assert page.all_of("rect", "width") == ["40.000%", "60.000%"]
    assert page.all_of("rect", "class") == ["verified", "verified"]


AXES = """
0.35 : 0 s|0.1 s|0.2 s|0.3 s
45   : 0 s|10 s|20 s|30 s|40 s
4000 : 0 min|20 min|40 min|60 min
20000 : 0 h|1 h|2 h|3 h|4 h|5 h
"""


@pytest.mark.parametrize("seconds, labels", rows(AXES))
def test_a_timeline_has_an_axis(seconds, labels):
    task = ended_task("a", result={"usage": bt.Usage(float(seconds))})
    told = re.findall("<text [^>]*>([^<]*)", page_of(task).page)
    assert told == labels.split("|")


def test_the_axis_of_a_timeline_has_room_for_its_labels():
    for seconds in (0, 0.01, 1, 59, 61, 3599, 86_400, 1e6, 1e8):
        assert seconds / bt._axis_step(seconds) <= bt.MOST_TICKS


def test_a_timeline_shows_also_what_took_no_time():
    page = page_of(ran(10, 20), ran(20, 20))
    assert page.all_of("rect", "width") == ["100.000%", "0.100%"]


def test_a_timeline_has_as_many_lanes_as_jobs_ran_at_a_time():
    tasks = [ran(10, 14), ran(10, 12)]
    tasks += [ran(12, 20), ran(14, 21)]
    tops = page_of(*tasks).all_of("rect", "y")
    assert len(tops) == 4
    assert len(set(tops)) == 2


def test_a_timeline_shows_a_shared_process_once():
    page = page_of(shared_task("a"), shared_task("b"), ended_task("c"))
    assert len(page.attributes_of("rect")) == 2
    assert "<title>a: verified, 1.0 s, shared by 2</title>" in page.page


def test_a_timeline_has_no_results_of_an_earlier_batch():
    cached = ended_task("b", result={"cached": True})
    page = page_of(ended_task("a"), cached)
    assert len(page.attributes_of("rect")) == 1


# --- Traces ---------------------------------------------------------------------------------------

# Two graphs of the lemma that is proven, named as Tamarin names them.
TWO_GRAPHS = r"""
NAME="N0_SL0-AS0-CL0-A0-C0-NF_$LEMMA"
printf 'digraph "%s" { a -> b }\ndigraph "%s" { c }\n' "$NAME" "$NAME" > "$DOT"
"""
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>one</script></svg>"
# As Graphviz names the drawings of a file's graphs; those of `three` it can't draw.
FAKE_DOT = f"""#!/bin/sh
case "$*" in *three*) exit 1;; esac
for file in "$@"; do :; done
echo "{SVG}" > "$file.svg"
echo "<svg>two</svg>" > "$file.2.svg"
"""


@pytest.fixture
def with_traces(lab):
    """A recipe of two tasks that each have a trace of two graphs."""
    lab.prover(TWO_GRAPHS + VERIFY)
    lab.recipe(lemmas="two three")


def test_every_graph_of_a_trace_is_drawn(lab, with_traces, monkeypatch):
    lab.write("bin/dot", FAKE_DOT, 0o755)
    monkeypatch.setenv("PATH", f"{lab.path}/bin", prepend=os.pathsep)
    done = lab.run("run recipe.json", code=0)
    assert "dot could not draw 1 trace" in done.stderr
    names = os.listdir(lab.results / "traces")
    assert sorted(names) == [
        "t--three--fake.dot",
        "t--two--fake.dot",
        "t--two--fake.svg",
        "t--two--fake~graph2.svg",
    ]


def test_without_dot_it_is_said_once(lab, with_traces, monkeypatch):
    programs = lab.path / "bin"
    programs.mkdir()
    (programs / "cat").symlink_to(shutil.which("cat"))
    monkeypatch.setenv("PATH", str(programs))
    done = lab.run("run recipe.json", code=0)
    assert done.stderr.count("no 'dot'") == 1
    assert "2 traces" in done.stderr


@pytest.fixture
def traced(lab):
    """A function that makes a report of a task with a trace of two drawn graphs."""

    batch = batch_with(ended_task("i~ 1"))

    def report(form):
        return report_of(batch, form, lab.path)

    lab.write("traces/i~ 1.dot", "digraph { not drawn }")
    lab.write("traces/i~ 1.svg", SVG)
    lab.write("traces/i~ 1~graph2.svg", "<svg>two</svg>")
    return report


def test_html_has_drawings_in_itself_where_no_script_runs(traced):
    page = PageReader(traced("html"))
    images = page.all_of("img", "src")
    assert len(images) == 2
    for image in images:
        assert image.startswith("data:image/svg+xml;base64,")
    assert "<script>one" not in page.page
    assert "not drawn" not in page.page


def test_typst_has_drawings_in_itself(lab, traced):
    lab.write("traces/i~ 1~graph2.svg", '<svg a="b">\n</svg>')
    page = traced("typ")
    assert page.count("#image(bytes(") == 2
    assert r'#image(bytes("<svg a=\"b\">\n</svg>"), format: "svg"' in page


@pytest.mark.parametrize(
    "form, link",
    [
        ("md", "![Trace of i\\~ 1](traces/i~%201~graph2.svg)"),
        ("tex", r": traces/i\textasciitilde{} 1\textasciitilde{}graph2.svg"),
    ],
)
def test_other_pages_name_the_drawings(traced, form, link):
    assert link in without_ends_of_lines(traced(form))


def without_ends_of_lines(page):
    """A page for LaTeX without the places where a line may end."""
    return re.sub(r"\\(allowbreak|penalty500)\{\}", "", page)


# The trait and the outcome of a lemma, and what its trace is.
TRACES = """
all-traces    : falsified  : Attack trace of a
diff          : falsified  : Attack trace of a
exists-trace  : verified   : Witness of a
all-traces    : verified   : Trace of a
"""


@pytest.mark.parametrize("trait, outcome, name", rows(TRACES))
def test_only_what_breaks_a_lemma_is_an_attack(lab, trait, outcome, name):
    lab.write("traces/a.dot", "digraph {}")
    lab.write("traces/a.svg", SVG)
    batch = batch_with(ended_task("a", outcome, trait=trait))
    assert f"![{name}](" in report_of(batch, "md", lab.path)


@pytest.mark.parametrize("form", ["html", "md", "tex", "typ"])
def test_what_is_not_drawn_is_shown_as_text(lab, traced, form):
    (lab.path / "traces/i~ 1.svg").unlink()
    assert "not drawn" in traced(form)


def test_a_page_says_where_a_trace_is_that_is_too_large_for_it(traced, monkeypatch):
    monkeypatch.setattr(bt, "GRAPH_CAP", len(SVG) - 1)
    page = PageReader(traced("html"))
    assert len(page.attributes_of("img")) == 1, "the other one is small"
    assert "traces/i~%201.svg" in page.all_of("a", "href")


def test_a_page_says_where_traces_are_when_it_is_full(traced, monkeypatch):
    monkeypatch.setattr(bt, "PAGE_CAP", len(SVG) + 5)
    page = PageReader(traced("html"))
    assert len(page.attributes_of("img")) == 1, "the first one fits"


# --- Texts that are not ours ----------------------------------------------------------------------

HOSTILE_MARKUP = {
    "a script": "<script>alert(1)</script>",
    "an image": "<img src=http://127.0.0.1:8009/x onerror=alert(1)>",
    "quotes": "a & b \"double\" 'single'",
    "TeX": "$\\input{/etc/passwd}$ \\end{document} 100% #1 ^~",
    "Typst": '#[typst] #panic() "; #eval("1")',
    "cells": "a|b|c",
    "Markdown": "`code` ``` _em_ *strong* [l](u)",
    "ends of markup": "]]> --> %s {0} {{x}} \\",
}
HOSTILE_SIGNS = {
    "a formula": "=cmd()",
    "plus": "+1",
    "minus": "-2",
    "a function": "@SUM(A1)",
    "colours": "\x1b[31mred\x07",
    "right to left": "\u202egnp.exe",
    "a byte": "bad \udcff byte",
    "ends of lines": "\u2028\x00\x85",
    "a long word": "x" * 300,
}
HOSTILE = {**HOSTILE_MARKUP, **HOSTILE_SIGNS}
# After how many seconds.
HOSTILE_ENDS = [("verified", 3), ("falsified", 1), ("timeout", 20), ("failed", 4)]


def hostile_batch(text):
    """A batch in which every text that comes from outside is this one.

    Its tasks came to HOSTILE_ENDS; a last one is still open. Ids are as in our own batches: safe.
    """
    tasks = [hostile_task(text, number) for number in range(5)]
    batch = batch_with(*tasks, recipe_file=f"/r/{text}.json", host=text, cwd=f"/{text}")
    for prover in batch.header.provers.values():
        prover.command = ("prover", text)
        prover.options = (text,)
    return batch


def hostile_task(text, number):
    """Every other task is another prover's, and expects an answer."""
    plan = dict.fromkeys(["entry", "theory", "lemma", "prover", "variant"], text)
    for name in ("options", "flags", "assumes", "dimensions"):
        plan[name] = (text,)
    plan["cwd"] = f"/{text}"
    if number % 2 == 1:
        plan.update(prover="other", expect="verified")
    if number == len(HOSTILE_ENDS):
        return a_task(id=f"i{number}", **plan)
    outcome, seconds = HOSTILE_ENDS[number]
    result = {"reason": text, "warnings": (text,), "usage": bt.Usage(seconds)}
    result["stderr_tail"] = f"{text}\n{text}"
    return ended_task(f"i{number}", outcome, result, **plan)


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
def hostile(request):
    """A text that some format could take for more than a text."""
    return request.param


@pytest.fixture
def hostile_report(hostile, tmp_path):
    """A function that makes a report of the hostile batch, of which one task has a trace."""
    trace = tmp_path / "traces" / "i1.dot"
    trace.parent.mkdir()
    digraph = f'digraph "{hostile}" {{}}'
    trace.write_text(digraph, encoding="utf-8", errors="surrogateescape")

    def report(form, names=True):
        return report_of(hostile_batch(hostile), form, tmp_path, names)

    return report


def test_no_report_has_what_controls_a_terminal_or_is_no_utf_8(hostile_report):
    for form, names in itertools.product(bt.REPORTS, (True, False)):
        page = hostile_report(form, names)
        page.encode("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", page), form


HTML_TAGS = """
html meta title style main script
h1 h2 h3 p a pre div span details summary
table thead tbody tr th td wbr
svg g rect line text
"""


@pytest.mark.parametrize("names", [True, False])
def test_hostile_text_is_no_html(hostile, hostile_report, names):
    page = PageReader(hostile_report("html", names))
    assert len(page.attributes_of("script")) == 1
    for tag, attributes in page.tags:
        assert tag in HTML_TAGS.split()
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src"):
                assert value.startswith("#")
    shown = bt.printable(hostile)
    assert page.text.count(shown) > 20 or not names


def prose_in(markdown):
    """A page of Markdown without its blocks of code."""
    return re.sub(r"(?m)^(`{3,})text\n(?:.*\n)*?\1$", "", markdown)


def test_hostile_text_is_no_markdown(hostile, hostile_report):
    prose = prose_in(hostile_report("md"))
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", prose)
    assert shown.count(bt.printable(hostile)) > 20
    # What is left of Markdown's own signs once escaped ones are gone.
    plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", prose)
    # A cell that is loud as a whole is ours.
    plain = re.sub(r"(?<=\| )\*\*|\*\*(?= \|)", "", plain)
    assert not re.search(r"[`*_<\[$]", plain)
    for line in plain.splitlines():
        borders = line.count(" | ")
        assert line.count("|") in (0, borders + 2)


TEX_COMMANDS = """
begin end section subsection subsubsection
toprule midrule endhead bottomrule arraybackslash raggedright linewidth
footnotesize scriptsize tiny setlength tabcolsep ttfamily par allowbreak penalty textbf shortstack
mbox
textbackslash textasciicircum textasciitilde textless textgreater
textbar textquotedbl textquotesingle textasciigrave
"""


def test_hostile_text_is_no_tex(hostile_report):
    page = hostile_report("tex")
    _, _, body = page.partition("\\begin{document}")
    commands = set(re.findall(r"\\([a-zA-Z]+)", body))
    assert commands.issubset(TEX_COMMANDS.split())
    unescaped = re.sub(r"\\[{}$&#%_ \\]|@\{\}", "", body)
    assert unescaped.count("{") == unescaped.count("}")
    assert not re.search(r"[$#%^~]", unescaped)


def test_hostile_text_is_no_typst(hostile, hostile_report):
    page = hostile_report("typ").removeprefix(bt.Typst.opening)
    code = re.sub(r'"(?:[^"\\]|\\.)*"', "", page)
    assert re.fullmatch(r"[\w\s#():,.\[\]%]*", code), "all else stands in strings"
    strings = "\n".join(re.findall(r'"((?:[^"\\]|\\.)*)"', page))
    told = re.sub(r"\\(.)", r"\1", strings)
    assert told.count(bt.printable(hostile)) > 20


def test_hostile_text_stays_in_its_cell_of_csv_and_is_no_formula(hostile, hostile_report):
    shown = bt.printable(hostile)
    rows = list(csv.DictReader(hostile_report("csv").splitlines()))
    assert len(rows) == 5
    for row in rows:
        assert row["lemma"].removeprefix("'") == shown.removeprefix("'")
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@"))


def test_hostile_text_is_no_xml(hostile, hostile_report):
    root = ElementTree.fromstring(hostile_report("junit"))
    notes = [case[0] for case in root.iter("testcase")]
    tags = " ".join(note.tag for note in notes)
    assert tags == "failure failure error error skipped"
    shown = bt.printable(hostile)
    assert notes[2].get("message") == f"timeout; {shown}; {shown}"
    assert notes[2].get("type") == "timeout"


def test_json_has_any_text_as_it_is(hostile, hostile_report):
    report = json.loads(hostile_report("json"))
    assert len(report["tasks"]) == 5
    for task in report["tasks"]:
        assert task["lemma"] == hostile


def test_a_page_in_markdown_has_a_line_for_each_result():
    batch = batch_with(ended_task("a"), ended_task("b", "falsified", lemma="two"))
    page = report_of(batch, "md")
    assert "\n| verified | one |" in page
    assert "\n| falsified | two |" in page


def test_a_block_of_markdown_ends_where_its_text_does():
    result = {"stderr_tail": "```\n# no heading\n````\n"}
    batch = batch_with(ended_task("a", "failed", result))
    page = report_of(batch, "md")
    assert "`````text\n```\n# no heading\n````\n`````\n" in page


def tex_of(theory):
    """The page for LaTeX of a batch with a theory of this name, and another."""
    batch = batch_with(ended_task("a", theory=theory), ended_task("b", theory="b"))
    return report_of(batch, "tex")


def test_tex_shows_characters_that_its_fonts_may_lack_by_number():
    page = tex_of("\u0142\u00e9.spthy")
    assert r"\textless{}U+0142\textgreater{}" in without_ends_of_lines(page)
    assert "\u00e9" in page


def test_tex_keeps_blanks_and_empty_lines_of_what_a_prover_printed():
    batch = batch_with(ended_task("a", "failed", {"stderr_tail": "a\n\n  b"}))
    assert "\na\\par\n\\ \\par\n\\ \\ b\\par}" in report_of(batch, "tex")


@pytest.mark.parametrize("length, wraps", [(20, False), (300, True)])
def test_long_columns_of_tex_wrap(length, wraps):
    _, _, results = tex_of("x" * length).partition(r"\subsection{Results}")
    (columns, *_) = re.findall(r"longtable\}\[l\](.*)", results)
    assert ("linewidth" in columns) == wraps
    assert columns.startswith("{@{}ll"), "result and lemma are short"


NAME_OF_83 = "agreement_of_initiator_and_responder_" + "x" * 46


def wide_batch(rows, **plan):
    """A batch of so many lemmas, one of a long name, which differ in these fields of their plans.

    A field has two values, which take turns.
    """
    tasks = []
    for number in range(rows):
        fields = {name: values[number % 2] for name, values in plan.items()}
        lemma = NAME_OF_83 if number == 3 else f"lemma_{number}"
        result = {"usage": bt.Usage(86400.25 + number, 0.0, 16000.0), "steps": 123456}
        tasks.append(ended_task(f"t{number}", "verified", result, lemma=lemma, **fields))
    return batch_with(*tasks)


PROVERS = ("tamarin-prover", "tamarin-rs")
TRAITS = ("all-traces", "exists-trace")
IN_MANY_WAYS = {
    "theory": ("models/tls13-handshake.spthy", "models/noise.spthy"),
    "entry": ("tls", "noise_ik"),
    "trait": TRAITS,
    "prover": PROVERS,
    "variant": ("sign_last-SIGNING_KEYS+DECRYPTION_KEYS", "sign_first-none"),
    "options": (("--heuristic=O", "--oraclename=keys.py"), ()),
    "flags": (("WITH_REVEAL", "SIGN_FIRST"), ()),
}


def test_a_table_that_no_size_of_type_has_room_for_says_so():
    told = "too many columns for this page"
    assert told in report_of(wide_batch(12, **IN_MANY_WAYS), "tex", fragment=True)
    assert told not in report_of(wide_batch(12, **IN_MANY_WAYS), "tex")


@pytest.mark.parametrize("lemma, wraps", [(NAME_OF_83, True), ("agreement", False)])
def test_a_long_name_in_typst_wraps_in_its_column(lemma, wraps):
    batch = batch_with(ended_task("a"), ended_task("b", lemma=lemma))
    text = report_of(batch, "typ", fragment=True)
    (columns,) = re.findall(r"columns: \((.*)\), align", text)
    assert ("%" in columns) == wraps
    assert ("agreement_\\u{200b}of_\\u{200b}" in text) == wraps


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
@pytest.mark.parametrize(
    "rows, fragment, plan",
    [
        (88, True, {}),
        (12, True, {"prover": PROVERS, "trait": TRAITS}),
        (88, True, {"prover": PROVERS, "trait": TRAITS}),
        (12, False, IN_MANY_WAYS),
    ],
)
def test_nothing_sticks_out_of_a_page_that_latex_makes(tmp_path, rows, fragment, plan):
    page = report_of(wide_batch(rows, **plan), "tex", fragment=fragment)
    if fragment:
        # As our pages do: fonts that need not be made, which takes a home.
        preamble = r"""\documentclass{article}\usepackage[T1]{fontenc}
            \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
            \usepackage{textcomp,booktabs,longtable,array}
        """
        page = f"{preamble}\\begin{{document}}\\noindent\n{page}\\end{{document}}\n"
    (tmp_path / "page.tex").write_text(page)
    for _ in range(2):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=RUN_S)
        assert done.returncode == 0, done.stdout
    assert b"Overfull" not in done.stdout


# --- Reports for programs -------------------------------------------------------------------------


def csv_row(*args, **fields):
    """The only line of the CSV report of a task. Arguments as of `ended_task`."""
    batch = batch_with(ended_task(*args, **fields))
    lines = report_of(batch, "csv").splitlines()
    (row,) = csv.DictReader(lines)
    return row


def test_a_line_of_csv_has_plan_limits_and_result_under_the_names_of_the_journal():
    limits = bt.Limits(2, 512, 60)
    row = csv_row("a", "timeout", {"reason": "1 s"}, limits=limits)
    assert row["id"] == "a"
    assert row["lemma"] == "one"
    assert row["cores"] == "2"
    assert row["memory_mb"] == "512"
    assert row["status"] == "timeout"
    assert row["verdict"] == ""
    assert row["reason"] == "1 s"
    assert row["wall_s"] == "1.0"


@pytest.mark.parametrize("task, told", [(shared_task("a"), 2), (ended_task("a"), 1)])
def test_csv_and_json_have_by_how_many_a_process_was_shared(task, told):
    batch = batch_with(task)
    (row,) = csv.DictReader(report_of(batch, "csv").splitlines())
    assert row["shared_by"] == str(told)
    (entry,) = json.loads(report_of(batch, "json"))["tasks"]
    assert entry["shared_by"] == told


def test_several_values_share_a_cell_of_csv():
    row = csv_row("a", options=("--bound=5", "--quiet"), assumes=("x", "y"))
    assert row["options"] == "'--bound=5; --quiet"
    assert row["assuming"] == "x (not in the results); y (not in the results)"


def test_json_has_a_task_a_line_between_the_first_and_the_last_event():
    batch = batch_with(ended_task("a"), a_task(id="b"))
    batch.apply(bt.Ended(at=ENDED))
    page = report_of(batch, "json")
    assert len(page.splitlines()) == 4
    report = json.loads(page)
    assert report["batch"]["id"] == "b"
    assert report["end"]["at"] == ENDED
    done, still_open = report["tasks"]
    assert done["status"] == "completed"
    assert done["result"]["verdict"] == "verified"
    assert still_open["status"] == "pending"
    assert still_open["result"] is None


def test_json_of_a_batch_that_goes_on_has_no_end():
    batch = batch_with(ended_task("a"))
    report = json.loads(report_of(batch, "json"))
    assert report["end"] is None


def junit_suites(*tasks):
    """The test suites of the JUnit report of a batch with these tasks."""
    batch = batch_with(*tasks)
    root = ElementTree.fromstring(report_of(batch, "junit"))
    return list(root)


def test_junit_has_a_suite_for_each_entry_of_the_recipe():
    tasks = []
    for number, entry in enumerate("xyx"):
        tasks.append(ended_task(f"i{number}", entry=entry))
    first, second = junit_suites(*tasks)
    assert first.get("name") == "x"
    assert first.get("tests") == "2"
    assert first.get("time") == "2.000"
    assert first.get("timestamp") == "2026-01-02T03:04:05"
    assert first.get("hostname") == "localhost"
    assert second.get("name") == "y"
    assert second.get("tests") == "1"


def test_a_case_of_junit_is_on_an_older_text(monkeypatch):
    older = bt.SourcesNow(frozenset({"a"}), [], {})
    monkeypatch.setattr(bt, "sources_now", lambda batch: older)
    (suite,) = junit_suites(ended_task("a"))
    ((note,),) = suite
    assert note.text == "verified, on an older text"


def test_the_time_of_a_suite_of_junit_has_a_shared_process_once():
    (suite,) = junit_suites(shared_task("a"), shared_task("b"), ended_task("c"))
    assert suite.get("time") == "2.000"


def test_a_case_of_junit_has_lemma_prover_entry_and_theory():
    (suite,) = junit_suites(ended_task("a"))
    (case,) = suite
    assert case.get("name") == "one [p]"
    assert case.get("classname") == "n.t.spthy"
    assert case.get("time") == "1.000"


def test_a_case_of_junit_without_an_answer_has_the_end_of_its_stderr():
    result = {"reason": "exit code 1", "stderr_tail": "no <Maude>\n\x1b[31m"}
    (suite,) = junit_suites(ended_task("a", "failed", result))
    ((note,),) = suite
    assert note.get("message") == "failed; exit code 1"
    assert note.text == "no <Maude>\n\N{REPLACEMENT CHARACTER}[31m"


# How a task ended, what it expects, and the kind and the words of its case's note.
JUNIT_NOTES = """
verified    :          : system-out : verified
falsified   :          : system-out : falsified
falsified   : verified : failure    : expected verified, got falsified
timeout     :          : error      : timeout
failed      : verified : error      : expected verified, got failed
incomplete  :          : error      : incomplete
superseded  :          : skipped    : superseded
"""


@pytest.mark.parametrize("outcome, expect, kind, words", rows(JUNIT_NOTES))
def test_what_is_no_answer_is_an_error_and_a_wrong_one_a_failure(outcome, expect, kind, words):
    (suite,) = junit_suites(ended_task("a", outcome, expect=expect))
    ((note,),) = suite
    assert note.tag == kind
    assert note.get("message", note.text) == words
    counts = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    for tag, name in counts.items():
        expected = "1" if tag == kind else "0"
        assert suite.get(name) == expected


# --- Files ----------------------------------------------------------------------------------------


def test_a_derived_file_whose_making_fails_leaves_the_old_one(tmp_path):
    def pieces():
        yield "new"
        raise KeyError("lost")

    path = tmp_path / "report"
    path.write_text("old")
    with pytest.raises(KeyError):
        bt.write_file(str(path), pieces())
    assert os.listdir(tmp_path) == ["report"]
    assert path.read_text() == "old"


def test_a_file_that_can_not_be_written_is_called_by_its_own_name(tmp_path):
    path = tmp_path / "nowhere" / "report"
    with pytest.raises(OSError, match="nowhere/report'") as caught:
        bt.write_file(str(path), "text")
    assert caught.value.filename == str(path)


@pytest.fixture
def reported(lab):
    """A lab with results, and a function that makes a report of them in this process."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    return lab


def report_on(reported, *args, code=0):
    return reported.run("report results", *args, code=code)


@pytest.mark.parametrize(
    "args, files",
    [
        ("-o x.csv", "x.csv"),
        ("-o x", "x.md"),
        ("-o x -f html", "x.html"),
        ("-o x.md -f junit -f json", "x.xml x.json"),
    ],
)
def test_a_report_gets_its_ending_and_its_name_is_told(reported, args, files):
    done = report_on(reported, *args.split())
    told = [f"wrote {name}" for name in files.split()]
    assert done.stderr.splitlines() == told
    assert all((reported.path / name).is_file() for name in files.split())


def test_an_ending_that_is_no_format_is_refused(reported):
    done = report_on(reported, "-o", "x.pdf", code=2)
    assert "x.pdf: '.pdf' is no format of a report: use .md, .html, .tex" in done.stderr
    assert not list(reported.path.glob("x*"))


@pytest.mark.parametrize("form", bt.REPORTS)
def test_a_report_is_written_over_an_older_one_and_over_nothing_else(reported, form):
    path = reported.path / ("x" + bt.report_ending(form))
    report_on(reported, "-f", form, "-o", "x")
    first = path.read_text()
    report_on(reported, "-f", form, "-o", "x")
    path.write_text("mine " + first[:-3])
    done = report_on(reported, "-f", form, "-o", "x", code=2)
    assert f"{path.name}: is there, and no {form} report of this program" in done.stderr
    assert path.read_text() == "mine " + first[:-3]
    report_on(reported, "-f", form, "-o", "x", "--force")
    assert path.read_text() == first


@pytest.mark.parametrize("form", bt.REPORTS)
def test_several_results_make_one_report(reported, form):
    reported.recipe(lemmas="two", config={"output_directory": "more"}, name="r2.json")
    reported.run("run r2.json", code=0)
    text = reported.run("report results more -f", form, code=0).stdout
    if form == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        ids = [(row["directory"], row["id"]) for row in rows]
        assert ids == [("results", "t--one--fake"), ("more", "t--two--fake")]
    elif form == "json":
        batches = json.loads(text)["batches"]
        assert [batch["directory"] for batch in batches] == ["results", "more"]
        assert [len(batch["tasks"]) for batch in batches] == [1, 1]
    elif form == "junit":
        suites = ElementTree.fromstring(text)
        assert [suite.get("name") for suite in suites] == ["results: task", "more: task"]
    else:
        plain = re.sub(r"\{(.)\}|\\", r"\1", without_ends_of_lines(text))
        for word in ("recipe.json", "r2.json", "t--one--fake", "t--two--fake", "more"):
            assert word in plain


def test_a_batch_rests_on_its_own_lemmas_only(lab):
    """Also in a report of several: under the same name others may have proven another text."""
    lab.prover("case $LEMMA in one) exit 3;; esac; " + VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=3)
    lab.prover(VERIFY)
    lab.recipe(lemmas="one", config={"output_directory": "more"}, name="r2.json")
    lab.run("run r2.json", code=0)
    text = lab.run("report results more -f csv", code=0).stdout
    rows = {}
    for row in csv.DictReader(text.splitlines()):
        rows[row["directory"], row["lemma"]] = row
    assert rows["results", "three"]["assuming"] == "one (failed)"


def test_a_terminal_gets_a_table_and_a_pipe_markdown(reported):
    terminal = Terminal(reported, "report", "results")
    assert terminal.end() == 0
    assert "\nResults\n" in terminal.text()
    done = reported.run("report results", code=0)
    assert done.stdout.startswith("# Tamarin batch")


def test_a_table_for_the_terminal_goes_to_no_file(reported):
    done = reported.run("report results -f table -o x", code=2)
    assert "a table is for the terminal" in done.stderr


def test_a_page_is_not_poured_into_a_terminal(reported):
    terminal = Terminal(reported, "report", "results", "-f", "html")
    assert terminal.end() == 2
    assert "html is for a browser, not for a terminal: add > page.html" in terminal.text()
    done = report_on(reported, "-f", "html")
    assert done.stdout.startswith("<!DOCTYPE html>")


@pytest.fixture
def report(lab, run_here):
    """A function that runs `report` on a verified and an open task of a batch that died."""
    done = ended_task("a")
    lab.results.mkdir()
    journal = bt.Journal(str(lab.journal))
    journal.begin(batch_with(a_task(id="a"), a_task(id="b")))
    journal.record(bt.Finished("a", "a", 1, done.result))
    journal.close()

    def run(*options, code=0):
        return run_here("report results", *options, code=code)

    return run


def test_a_report_is_markdown_on_stdout_unless_told_otherwise(report):
    assert report().out.startswith("# Tamarin batch recipe.json\n")


def test_the_ending_of_its_file_chooses_the_form_of_a_report(lab, report):
    report("-o", "r.html")
    page = lab.read("r.html")
    assert page.startswith("<!DOCTYPE html>")


def test_several_forms_go_to_files_with_their_own_endings(lab, report):
    report("-f", "md", "-f", "junit", "-f", "csv", "-o", "all.md")
    begins = {"all.md": "# Tamarin", "all.xml": "<?xml ", "all.csv": "id,name,"}
    for name, words in begins.items():
        assert lab.read(name).startswith(words)


def test_the_file_of_a_report_makes_its_folder(lab, report):
    report("-o", "new/deep/r.md")
    assert (lab.path / "new/deep/r.md").is_file()


def test_a_page_names_traces_from_where_it_is(lab, report):
    lab.write("results/traces/a.dot", "digraph {}")
    lab.write("results/traces/a.svg", SVG)
    report("-o", "pages/r.md")
    assert "traces/a.svg" in lab.read("pages/r.md")
    report("-o", "pages/r.md", "--names")
    assert "(../results/traces/a.svg)" in lab.read("pages/r.md")


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_report_to_stdout_can_be_asked_for(report, name):
    done = report("-f", "csv", "-o", name)
    assert done.out.startswith("id,name,")


def test_a_device_is_no_place_for_a_report(report):
    done = report("-o", "/dev/null", code=2)
    assert "/dev/null: is no regular file" in done.err


def test_several_forms_need_a_file(report):
    told = report("-f", "md", "-f", "csv", code=2)
    assert "several formats need -o" in told.err


def test_a_report_that_cannot_be_written_is_refused(report):
    told = report("-o", "results/batch.jsonl/r.md", code=2)
    assert "can't be written" in told.err


@pytest.mark.parametrize("form", bt.REPORTS)
def test_only_pages_have_a_table_to_be_put_into_another_text(report, form):
    if form in PAGES:
        text = report("-f", form, "--fragment").out
        assert "one" in text
        assert "Machine and recipe" not in text
    else:
        told = report("-f", form, "--fragment", code=2)
        assert f"--fragment is for pages (md, html, tex, typ): {form}" in told.err


def test_a_report_names_who_ran_a_batch_only_if_told_to(report):
    told = "| directory | /"
    assert told not in report().out
    assert told in report("--names").out


@pytest.mark.parametrize("count", [0, -1])
def test_a_process_that_nobody_shared_hides_no_report(count):
    batch = batch_with(shared_task("a", shared_by=count))
    for form in bt.REPORTS:
        assert report_of(batch, form)


def test_a_terminal_tells_what_shared_a_process():
    tasks = [shared_task("a"), shared_task("b"), ended_task("c")]
    text = final_table_of(batch_with(*tasks), "results", tasks)
    assert text.count("shared by 2") == 2
    assert bt.result_facts(tasks[0]) == "(1.0 s, 0 MB, shared by 2)"


# For how long each of four lemmas was loading, of 10 s; what more is so of them; and by how much
# less they would have in shared processes: for one theory there is room for two, for two theories
# for one each.
SAVED = {
    "most of it": (9, {}, [], 18),
    "in two theories": (9, {}, ["a", "a", "b", "b"], 18),
    "each in a theory of its own": (9, {}, list("abcd"), 0),
    "less than half of it": (4, {}, [], 8),
    "cached": (9, {"cached": True}, [], 0),
    "shared": (9, {"shared_by": 4}, [], 0),
    "not known": (None, {}, [], 0),
}


@pytest.mark.parametrize("load_s, result, theories, saved_s", SAVED.values(), ids=SAVED)
def test_what_sharing_would_have_saved_is_told(load_s, result, theories, saved_s):
    usage = bt.Usage(10.0, load_s=load_s)
    limits = bt.Limits(1, 1024, 60)
    result = {"usage": usage, **result}
    tasks = []
    for number, theory in enumerate(theories or "aaaa"):
        tasks.append(ended_task(f"t{number}", result=result, theory=theory, limits=limits))
    batch = batch_with(*tasks)
    batch.provers["p"].version = "1.11.0"
    cost = bt.cost_of_loading(batch, tasks)
    assert cost.saved_s == saved_s
    text = final_table_of(batch, "results", tasks)
    told = "faster: loading theories took 36 s of 40 s; --granularity theory "
    assert (told in text) == (saved_s == 18)


def test_what_shares_or_cannot_is_not_told_to_share():
    usage = bt.Usage(10.0, load_s=9)
    tasks = [ended_task(name, result={"usage": usage}) for name in "abcd"]
    batch = batch_with(*tasks)
    batch.provers["p"].version = "1.6.1"
    assert bt.cost_of_loading(batch, tasks).saved_s == 0
    batch.provers["p"].version = "1.11.0"
    assert bt.cost_of_loading(batch, tasks).saved_s > 0
    for task in tasks:
        task.plan = dataclasses.replace(task.plan, granularity=bt.Granularity.THEORY)
    assert bt.cost_of_loading(batch, tasks).saved_s == 0


def test_the_table_of_a_terminal_shows_that_a_long_reason_is_cut():
    task = ended_task("a", "failed", {"reason": "why " * 100})
    assert final_lines(task)[1].endswith("why  ...")


def test_the_totals_of_a_terminal_count_no_answer_that_rests_on_a_falsified_lemma():
    one = ended_task("one", "falsified", lemma="one")
    two = ended_task("two", lemma="two", assumes=("one",))
    batch = batch_with(one, two)
    text = final_table_of(batch, "results", [one, two])
    assert "2 tasks: 1 falsified, 1 resting on a falsified lemma\n" in text


def test_the_table_of_a_large_batch_says_what_it_leaves_out():
    tasks = [ended_task(f"t{number}", lemma=f"l{number}") for number in range(42)]
    tasks.append(ended_task("late", "timeout", lemma="late"))
    text = final_table_of(batch_with(*tasks), "results", tasks)
    assert text.count("verified  ") == 0
    assert "42 tasks with an answer not shown: batch_tamarin.py report results shows all" in text


def test_a_limit_that_was_raised_in_vain_is_told_with_what_it_was():
    limits = bt.Limits(1, 1024, 30)
    task = ended_task("a", "timeout", limits=limits, raised_from=bt.Limits(1, 1024, 15))
    text = final_table_of(batch_with(task), "results", [task])
    assert "(recipe.json) above 30 s and run it again" in text


def test_a_report_needs_results(run_here):
    told = run_here("report nowhere", code=2)
    assert "nowhere: there is no such results directory" in told.err


def test_a_batch_that_died_has_its_reports(lab, report):
    told = report("--rebuild")
    assert told.out == ""
    assert "made again in results: success/, failed/" in told.err
    assert "not yet: 1 task left" in lab.read("results/summary.html")
    text = lab.read("results/execution_report.json")
    assert json.loads(text)["tasks"]


def test_the_page_of_a_run_is_the_report_in_html(lab, report):
    report("--rebuild")
    page = lab.read("results/summary.html")
    assert report("-f", "html").out == page


def files_in(folder):
    """What each file below a folder holds, by its path from there."""
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder))
            files[name] = path.read_bytes()
    return files


def test_derived_files_can_be_made_again(lab):
    lab.prover("case $LEMMA in three) echo oops >&2; exit 3;; esac; " + VERIFY)
    lab.recipe(lemmas="one three")
    lab.run("run recipe.json", code=3)
    before = files_in(lab.results)
    derived = ["summary.html", "execution_report.json"]
    derived += ["success/t--one--fake.json", "failed/t--three--fake.json"]
    for name in derived:
        (lab.results / name).unlink()
    lab.run("report results --rebuild", code=0)
    assert files_in(lab.results) == before


# --- In a browser ---------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="needs chromium (.ci/run installs it)"
)
# Of itself it asks nobody but Google, whatever the page; and our proxy for all.
CHROMIUM = """
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom
--disable-background-networking --disable-component-update --disable-sync --disable-default-apps
--proxy-bypass-list=<-loopback>
"""
ELSEWHERE = "http://127.0.0.1:8009"
# What would be asked for if a browser let it.
EVIL_SVG = f"""<svg xmlns='http://www.w3.org/2000/svg'>
<image href='{ELSEWHERE}/svg'/>
<script>fetch('{ELSEWHERE}/script')</script>
</svg>
"""


SEEN = f'<link rel="stylesheet" href="{ELSEWHERE}/seen">'


def test_a_link_among_the_traces_brings_no_file_into_a_page(lab):
    lab.prover(TWO_GRAPHS + VERIFY)
    lab.recipe(lemmas="one")
    lab.write("bin/dot", "#!/bin/sh\nexit 1\n", 0o755)
    path = f"{lab.path}/bin:{os.environ['PATH']}"
    lab.run_script("run recipe.json", env={**os.environ, "PATH": path}, code=0)
    dot = lab.results / "traces" / "t--one--fake.dot"
    done = lab.run("report results -f md", code=0)
    assert "digraph" in done.stdout
    dot.rename(lab.path / "secret")
    dot.symlink_to(lab.path / "secret")
    done = lab.run("report results -f md", code=0)
    assert "digraph" not in done.stdout


class Proxy(socketserver.ThreadingTCPServer):
    """Gives nothing, and knows what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), AskedOf)
        self.asked = []


class AskedOf(socketserver.StreamRequestHandler):
    """One connection, on which a browser may ask for something."""

    timeout = RUN_S

    def handle(self):
        with contextlib.suppress(OSError):
            words = self.rfile.readline().decode().split()
            self.server.asked += words[1:2]


class Browsed(typing.NamedTuple):
    """What a browser made of a page."""

    page: PageReader
    asked: list  # addresses that it asked for


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """A page of hostile results in a browser, filtered and sorted by its address."""
    folder = tmp_path_factory.mktemp("browser")
    path = write_hostile_page(folder)
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        command = CHROMIUM.split()
        command.append(f"--user-data-dir={folder}/profile")
        command.append(f"--proxy-server=127.0.0.1:{proxy.server_address[1]}")
        command.append(f"file://{path}#filter=EVEN&sort=-time (s)")
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
        proxy.shutdown()
        asked = [address for address in proxy.asked if "google" not in address]
    return Browsed(PageReader(done.stdout), asked)


def write_hostile_page(folder):
    """Write a page of results that would load something if they could; its path.

    Before its own policy holds it loads a style sheet: a page that asks for something is seen.
    """
    batch = hostile_batch(HOSTILE["an image"])
    for task in batch.tasks.values():
        kind = "even" if task.id in ("i0", "i2", "i4") else "odd"
        lemma = f"{kind} {task.plan.lemma}"
        task.plan = bt.replace(task.plan, lemma=lemma)
    (folder / "traces").mkdir()
    (folder / "traces/i2.dot").write_text("digraph {}")
    (folder / "traces/i2.svg").write_text(EVIL_SVG)
    page = report_of(batch, "html", folder)
    first = '<meta charset="utf-8">'
    path = folder / "page.html"
    path.write_text(page.replace(first, first + SEEN))
    return path


@needs_chromium
def test_a_page_asks_nobody_for_anything(browsed):
    (seen,) = browsed.asked
    assert seen == f"{ELSEWHERE}/seen"


@needs_chromium
def test_a_page_shows_the_results_that_its_address_asks_for(browsed):
    # In the order of their times, the longest first; the open one has none.
    assert rows_shown(browsed.page) == ["#t2", "#t0", "#t4"]
    assert "3 of 5" in browsed.page.text


@needs_chromium
def test_a_page_that_is_filtered_says_how_much_is_hidden_also_on_paper(browsed):
    assert "2 of 5 rows are hidden by the filter: EVEN" in browsed.page.text


@needs_chromium
def test_a_page_shows_by_what_its_results_are_sorted(browsed):
    heads = browsed.page.attributes_of("th")
    directions = [head.get("aria-sort") for head in heads]
    assert directions.count("descending") == 1


def rows_shown(page):
    """Where the results lead to that a browser shows, from the top."""
    shown = []
    hidden = False
    for tag, attributes in page.tags:
        if tag == "tr":
            hidden = "hidden" in attributes
        elif tag == "details":
            break
        elif tag == "a" and not hidden:
            shown.append(attributes["href"])
    return shown


# === Bundle =======================================================================================

# Falsifies what says so in its name, is silent of what is `open_`.
PAPER_PROVER = """
PROOF='by contradiction'
case $LEMMA in
    open_*) exit 1;;
    false_*) PROOF='simplify SOLVED'; VERDICT='falsified - found trace (4 steps)';;
    *) VERDICT=${VERDICT:-verified (7 steps)};;
esac
printf 'theory T begin\\nlemma %s: "T" %s\\nend\\n' $LEMMA "$PROOF" > "$OUT"
summary "  $LEMMA (all-traces): ${MINE:-$VERDICT}"
"""


def bundle_of(lab, *args, lemmas=("one", "false_two"), run=(), body=PAPER_PROVER, **recipe):
    """Prove some lemmas, and bundle the results; the bundle's path.

    `args` are of `bundle`, `run` those of `run`, `body` is the prover.
    """
    statements = "".join(f'lemma {name}: "All k #i. A(k) @ i ==> T"\n' for name in lemmas)
    if not (lab.path / "own.spthy").exists():
        lab.write("own.spthy", f"theory T begin\n{RULE_A}{statements}end\n")
    lab.prover(body)
    lab.recipe(**{"theory_file": "own.spthy", **recipe})
    lab.run("run recipe.json", *run)
    lab.run("bundle results -o paper.pyz", *args, code=0)
    return lab.path / "paper.pyz"


def members(bundle):
    """What is in a bundle: bytes by name."""
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def text_in(bundle):
    """All that a bundle says, but the program."""
    told = members(bundle)
    del told["__main__.py"]
    text = "\n".join(told)
    for data in told.values():
        text += "\n" + data.decode()
    return text


def everything_below(path):
    """The paths of files and folders in it."""
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


def test_python_runs_a_bundle_where_nothing_can_be_written(lab):
    bundle = bundle_of(lab)
    empty = lab.path / "empty"
    empty.mkdir()
    empty.chmod(0o555)
    run = functools.partial(subprocess.run, capture_output=True, text=True, cwd=empty)
    temporary = lab.path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = run([sys.executable, bundle], env=environment, timeout=RUN_S)
    check_end(done, 0)
    assert "1 verified, 1 falsified" in done.stdout
    assert "Audit: 0 findings" in done.stdout
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in done.stdout
    assert everything_below(empty) == everything_below(temporary) == []


def test_a_bundle_exits_as_its_audit(lab):
    bundle_of(lab, lemmas=["one", "open_two"])
    done = lab.run("paper.pyz", code=3)
    assert lab.run("audit results", code=3).stdout.split("\n")[0] in done.stdout
    bundle_of(lab, expect="falsified")
    lab.run("paper.pyz", code=1)


def test_the_same_results_make_the_same_bundle(lab):
    first = bundle_of(lab).read_bytes()
    done = lab.run("bundle results -o paper.pyz", code=0)
    assert (lab.path / "paper.pyz").read_bytes() == first
    assert hashlib.sha256(first).hexdigest() in done.stdout
    assert f"{len(first) / 1024:.1f} kB" in done.stdout


def test_a_bundle_does_not_tell_who_made_it(lab):
    own = str(lab.path / "own.spthy")
    told = text_in(bundle_of(lab, theory_file=own))
    assert os.uname().nodename not in told
    assert str(lab.path) not in told
    assert '"cwd":"/artifact"' in told


def test_a_bundle_does_not_tell_when_its_machine_was_started(lab):
    """Two bundles of one machine are not to be told to be of one."""
    told = text_in(bundle_of(lab))
    assert '"boot_id":"(hidden)' in told
    assert bt.host_id()[1].split()[0] not in told


def test_a_bundle_with_names_is_what_there_is(lab):
    told = members(bundle_of(lab, "--names"))
    assert told["paper-results/batch.jsonl"] == lab.journal.read_bytes()
    assert "0 findings" in lab.run("paper.pyz", code=0).stdout


def test_what_theories_say_of_who_wrote_them_goes_only_where_it_is_no_code(lab):
    host = os.uname().nodename
    lab.write(
        "own.spthy",
        f"""theory T begin // on {host}
/* in {lab.path} /* and {lab.path}/x */ {host} */
rule A: [ Fr(~k) ] --[ A(~k), B('{host}') ]-> [ Out('{host} // {host}') ]
lemma one: "All k #i. A(k) @ i ==> T"
end
""",
    )
    results = bundle_of(lab).parent / "results"
    done = lab.run("bundle -o b.pyz", str(results), code=0)
    assert "own.spthy: a host, a user or a directory is named" in done.stderr
    theory = members(lab.path / "b.pyz")["own.spthy"].decode()
    assert theory.startswith(
        f"""theory T begin // on (hidden)
/* in /artifact /* and /artifact/x */ (hidden) */
rule A: [ Fr(~k) ] --[ A(~k), B('{host}') ]-> [ Out('{host} // {host}') ]
"""
    )
    # The journal's digests follow.
    assert "0 findings" in lab.run("b.pyz", code=0).stdout


@pytest.mark.parametrize(
    "text, told",
    [
        ("a // b\nc", "a //X\nc"),
        ("a // b", "a //X"),
        ("/* a /* b */ c */ d", "/*X*/ d"),
        ("'//' a /* it's */ '/*' b", "'//' a /*X*/ '/*' b"),
        ("/* never closed", "/*X"),
        ("code", "code"),
    ],
)
def test_comments_of_a_theory_can_be_changed_alone(text, told):
    assert bt.blind_comments(text, lambda comment: "X") == told


def test_a_theory_that_has_changed_since_is_bundled_as_it_was_proven(lab):
    bundle_of(lab)
    proven = (lab.path / "own.spthy").read_bytes()
    lab.write("own.spthy", THEORY)
    done = lab.run("bundle results -o paper.pyz", code=0)
    assert "own.spthy HAS CHANGED since it was proven" in done.stderr
    assert members(lab.path / "paper.pyz")["own.spthy"] == proven
    done = lab.run("paper.pyz", code=0)
    assert "note: own.spthy HAS CHANGED" in done.stdout
    assert "0 findings" in done.stdout


def test_a_theory_that_is_gone_is_bundled_as_it_was_proven(lab):
    bundle_of(lab)
    (lab.path / "own.spthy").unlink()
    done = lab.run("bundle results -o paper.pyz", code=0)
    assert "own.spthy is not there any more" in done.stderr
    assert "own.spthy" in members(lab.path / "paper.pyz")


def test_a_theory_that_is_nowhere_as_it_was_proven_is_said_not_to_be_in_the_bundle(lab):
    bundle_of(lab)
    shutil.rmtree(lab.results / "inputs")
    lab.write("own.spthy", THEORY)
    done = lab.run("bundle results -o paper.pyz", code=0)
    assert "own.spthy is not in the bundle" in done.stderr
    assert "own.spthy" not in members(lab.path / "paper.pyz")
    lab.run("paper.pyz")


def test_includes_oracles_and_other_directories_go_with_the_theories(lab):
    lab.write("models/lib/rules.spthy", '#include "more.spthy"\n')
    lab.write("models/lib/more.spthy", RULE_A)
    lab.write("models/order", "#!/bin/sh\ncat\n", 0o755)
    text = 'theory T begin\n#include "lib/rules.spthy"\nheuristic: o "./order"\n'
    text += 'lemma one: "All k #i. A(k) @ i ==> T"\nend\n'
    lab.write("models/t1.spthy", text)
    lab.write("elsewhere/t2.spthy", THEORY)
    lab.write("work/scripts/x", "")
    lab.prover(PAPER_PROVER)
    fake = {"path": str(lab.path / "fake.sh")}
    entry = {"tamarin_versions": ["fake"], "output_file_prefix": "{theory}"}
    recipe = {
        "config": {"output_directory": str(lab.path / "results")},
        "tamarin_versions": {"fake": fake},
        "tasks": {
            "a": {**entry, "theory_file": ["../../models/t*.spthy", "!*2*"], "cwd": "../models"},
            "b": {**entry, "theory_file": str(lab.path / "elsewhere" / "t2.spthy")},
        },
    }
    lab.write("work/scripts/recipe.json", json.dumps(recipe))
    lab.run("run scripts/recipe.json", code=0, cwd=lab.path / "work")
    lab.run("bundle results -o paper.pyz", code=0)
    lab.run("paper.pyz", code=0)
    lab.run("paper.pyz extract there --prover fake.sh", code=0)
    assert (lab.path / "there/models/order").stat().st_mode & 0o111
    there = lab.path / "there/work"
    lab.run("run recipe.json --no-cache", code=0, cwd=there)
    compared = lab.run("audit results --against ../paper-results", cwd=there).stdout
    assert "0 findings" in compared
    assert len(lab.finishes("there/work/results")) == 4


def test_an_extracted_bundle_is_a_directory_like_any_other(lab):
    bundle_of(lab)
    done = lab.run("paper.pyz extract there --prover fake.sh", code=0)
    assert "batch_tamarin.py run recipe.json" in done.stderr
    there = lab.path / "there"
    assert (there / "batch_tamarin.py").read_bytes() == SCRIPT.read_bytes()
    run = [sys.executable, "batch_tamarin.py", "run", "recipe.json", "--no-cache"]
    check_end(subprocess.run(run, cwd=there, capture_output=True, text=True, timeout=RUN_S), 0)
    assert "0 findings" in lab.run("audit there", code=0).stdout
    done = lab.run("paper.pyz extract there", code=2)
    assert "is there already" in done.stderr


def second_run(lab, *args, body=PAPER_PROVER, code=None):
    """Run a bundle's proofs again with another prover."""
    lab.write("mine.sh", PRELUDE + body, 0o755)
    return lab.run("paper.pyz run --prover ./mine.sh", *args, code=code)


# The lemma of the paper, what the second run says of it, and what comes of that.
SECOND_RUNS = """
one        verified (7 steps)                 reproduced   0
false_one  falsified - found trace (5 steps)  reproduced   0
false_one  verified (7 steps)                 differs      1
one        falsified - found trace (4 steps)  differs      1
one        analysis incomplete (1 steps)      not reached  3
open_one   verified (7 steps)                 new          0
open_one   analysis incomplete (1 steps)      no verdict   0
"""


@pytest.mark.parametrize(
    "lemma, verdict, word, code",
    [re.split(r"  +", line) for line in SECOND_RUNS.strip().splitlines()],
)
def test_a_second_run_is_compared_with_the_paper(lab, lemma, verdict, word, code):
    bundle_of(lab, lemmas=[lemma])
    body = f"MINE='{verdict}'\n" + PAPER_PROVER.replace("open_*) exit 1;;", "")
    done = second_run(lab, body=body, code=int(code))
    assert f"compared with the paper: 1 {word}" in done.stdout
    # So tell its reports.
    report = "paper.pyz report --run paper-run -f"
    told = json.loads(lab.run(f"{report} json").stdout)
    (result,) = told["results"]
    assert result["reproduction"] == word
    suites = ElementTree.fromstring(lab.run(f"{report} junit").stdout)
    ((note,),) = suites.iter("testcase")
    tags = {"differs": "failure", "not reached": "error", "no verdict": "skipped"}
    assert note.tag == tags.get(word, "system-out")
    assert word in lab.run(f"{report} html").stdout


# What the paper has, and the second run, of an attacker; what that is.
COMPARED_WITH_IMPLIED = """
implied verified   implied verified   implied       0
implied verified   verified           implied       0
verified           implied verified   implied       0
verified           verified           reproduced    0
implied verified   falsified          differs       1
implied verified   implied falsified  differs       1
falsified          implied verified   differs       1
implied verified   timeout            not reached   3
timeout            implied verified   new           0
"""


@pytest.mark.parametrize(
    "paper, own, word, code",
    [re.split(r"  +", line) for line in COMPARED_WITH_IMPLIED.strip().splitlines()],
)
def test_what_is_implied_is_compared_and_never_reproduced(paper, own, word, code):
    batches = []
    for outcome in (paper, own):
        batch = bt.Batch()
        for powers in ("", "a", "ab"):
            batch.apply(against(powers))
        *is_implied, verdict = outcome.split()
        if is_implied:
            source = "ab" if verdict == "verified" else "none"
            batch.apply(ends(source, verdict))
            batch.apply(implied("a", by=source, verdict=verdict))
        else:
            batch.apply(ends("a", verdict))
        batches.append(batch)
    compared = bt.reproductions(*batches, ["a"])
    assert [each.word for each in compared] == [word]
    assert bt.reproduction_code(compared) == int(code)


@pytest.mark.parametrize(
    "verdict, word, code",
    [
        ("verified (9 steps)", "reproduced", 0),
        ("falsified - found trace (4 steps)", "differs", 1),
        ("analysis incomplete (1 steps)", "not reached", 3),
    ],
)
def test_a_race_is_compared_by_its_answer_whoever_wins(lab, verdict, word, code):
    variants = {name: {"tamarin_options": [f"--heuristic={name}"]} for name in "SC"}
    without = 'case "$*" in *--heuristic={}*) exit 1;; esac\n'.format
    body = without("C") + PAPER_PROVER
    bundle_of(lab, lemmas=["one"], variants=variants, race=True, body=body)
    body = f'MINE="{verdict}"\n{without("S")}{PAPER_PROVER}'
    done = second_run(lab, body=body, code=code)
    assert f"compared with the paper: 1 {word}\n" in done.stdout


def test_a_second_run_takes_nothing_from_the_cache(lab):
    bundle_of(lab)
    lab.run("paper.pyz run --prover fake.sh", code=0)
    finishes = lab.finishes("paper-run/results").values()
    assert [event["cached"] for event in finishes] == [False, False]


def test_a_lemma_of_another_text_is_not_compared(lab):
    bundle_of(lab)
    second_run(lab, code=0)
    lab.write("paper-run/own.spthy", lab.read("own.spthy") + " ")
    second_run(lab, code=0)
    lab.write("paper-run/own.spthy", THEORY.replace("three", "false_two"))
    done = second_run(lab, code=3)
    assert "2 another text" in done.stdout


def test_a_part_of_a_bundle_is_proven_again(lab):
    bundle_of(lab)
    done = second_run(lab, "-t", "*--one--*", code=0)
    assert "compared with the paper: 1 reproduced" in done.stdout
    done = second_run(lab, code=0)
    assert "compared with the paper: 2 reproduced" in done.stdout


def test_a_second_run_that_was_stopped_goes_on(lab):
    bundle_of(lab)
    hang = '[ $LEMMA = one ] || [ -e "$0.go" ] || exec sleep 600;'
    lab.write("mine.sh", PRELUDE + hang + PAPER_PROVER, 0o755)
    process = lab.start("paper.pyz run --prover ./mine.sh")
    lab.wait_for_events("finish", 1, "paper-run/results")
    process.send_signal(signal.SIGTERM)
    end_of(process)
    assert process.returncode == 143
    lab.write("mine.sh.go", "")
    done = lab.run("paper.pyz run --prover ./mine.sh", code=0)
    assert "going on in" in done.stderr
    assert "2 reproduced" in done.stdout
    assert len(lab.events("start", "paper-run/results")) == 3


def test_provers_of_the_paper_are_found_on_path_by_what_they_are(lab, monkeypatch):
    bundle_of(lab)
    lab.write("bin/tamarin-prover", PRELUDE + PAPER_PROVER, 0o755)
    monkeypatch.setenv("PATH", f"{lab.path}/bin:{os.environ['PATH']}")
    done = lab.run("paper.pyz run", code=0)
    assert f"fake: tamarin-prover 1.11.0, {lab.path}/bin/tamarin-prover" in done.stderr


def test_what_a_missing_prover_has_proven_is_not_reached(lab, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    lab.prover(PAPER_PROVER.replace("verified (7", "verified (8"), "other")
    bundle_of(lab, tamarin_versions=["fake", "other"])
    lab.write("mine.sh", PRELUDE + PAPER_PROVER, 0o755)
    done = lab.run("paper.pyz run --prover fake=./mine.sh", code=3)
    assert "2 reproduced, 2 not reached" in done.stdout
    assert "--prover other=PROGRAM" in done.stderr
    done = lab.run("paper.pyz run --prover oter=./mine.sh", code=2)
    assert "did you mean 'other'" in done.stderr
    assert "no prover of the paper is here" in lab.run("paper.pyz run", code=2).stderr


def test_proofs_in_a_bundle_are_rechecked(lab):
    found_proofs(lab)
    lab.run("bundle results -o paper.pyz", code=0)
    done = lab.run("paper.pyz recheck --prover ./trusted.sh", code=0)
    assert "2 confirmed" in done.stdout
    # What is confirmed stays so in a bundle, whatever was hidden in the proofs.
    recheck(lab, code=0)
    lab.run("bundle results -o paper.pyz", code=0)
    done = lab.run("paper.pyz report -f md", code=0)
    assert "confirmed by trusted" in done.stdout


def test_checks_that_a_bundle_tells_of_are_made_again(lab):
    found_proofs(lab)
    lab.run("recheck", "results", "--prover", "./trusted.sh", code=0)
    lab.run("bundle", "results", "-o", "paper.pyz", code=0)
    for checks in (2, 0):  # those of an earlier recheck of the bundle hold
        done = lab.run("paper.pyz", "recheck", "--prover", "./trusted.sh", code=0)
        assert "2 confirmed" in done.stdout
        assert done.stdout.count("/2]") + done.stderr.count("/2]") == checks


@pytest.mark.parametrize("option, left_out", [("--no-logs", "logs"), ("--no-proofs", "proofs")])
def test_logs_and_proofs_can_be_left_out(lab, option, left_out):
    with_all = members(bundle_of(lab))
    lab.run("bundle results -o paper.pyz", option, code=0)
    without = members(lab.path / "paper.pyz")
    missing = {name.split("/")[1] for name in with_all.keys() - without}
    assert missing == {left_out}
    lab.run("paper.pyz", code=0)


def test_commands_tell_the_same_of_a_bundle_as_of_its_results(lab):
    bundle_of(lab, lemmas=["one", "false_two", "open_three"])
    for form in ("csv", "junit"):
        own = lab.run("report results -f", form, code=0).stdout
        told = lab.run("paper.pyz report -f", form, code=0).stdout
        assert told == lab.run("report paper.pyz -f", form, code=0).stdout
        assert told.count("\n") == own.count("\n")
        assert re.findall("verified|falsified", told) == re.findall("verified|falsified", own)
    own = lab.run("audit results", code=3).stdout
    assert lab.run("audit paper.pyz", code=3).stdout.splitlines()[0] == own.splitlines()[0]
    assert "one" in lab.run("paper.pyz lemmas", code=0).stdout
    told = lab.run("lemmas paper.pyz/own.spthy", code=0).stdout
    assert told == lab.run("lemmas own.spthy", code=0).stdout
    assert told == lab.run("paper.pyz lemmas own.spthy", code=0).stdout
    told = lab.run("paper.pyz status", code=0).stdout
    assert "1 verified, 1 falsified, 1 failed" in told
    assert "results: paper.pyz/paper-results" in lab.run("status paper.pyz", code=0).stdout
    lab.run("paper.pyz report -o page.html", code=0)
    assert (lab.path / "page.html").exists()
    assert "0 findings" in lab.run("audit results --against paper.pyz").stdout


def test_lemmas_of_several_theories_in_a_bundle_are_told_apart(lab):
    lab.write("own.spthy", THEORY)
    lab.write("models/b.spthy", THEORY)
    bundle_of(
        lab,
        theory_file=["own.spthy", "models/b.spthy"],
        output_file_prefix="{theory}",
        lemmas=["*"],
    )
    told = lab.run("paper.pyz", "lemmas", code=0).stdout
    assert "\npaper.pyz/own.spthy\n" in told
    assert "\npaper.pyz/models/b.spthy\n" in told
    done = lab.run("paper.pyz", "lemmas", "b.spthy", code=2)
    assert "did you mean models/b.spthy?" in done.stderr


def test_who_names_no_command_for_a_bundle_is_told_one_of_those(lab):
    bundle_of(lab)
    assert "as in 'report -f html'" in lab.run("paper.pyz", "--hlp", code=2).stderr


def test_where_nothing_can_be_written_a_second_run_says_so(lab):
    bundle_of(lab)
    done = second_run(lab, "-o", "nowhere/x", code=2)
    assert "nowhere/x: can't be made: No such file or directory" in done.stderr
    assert ".tmp" not in done.stderr


def test_other_commands_say_what_to_do_with_a_bundle(lab):
    bundle_of(lab)
    help_lines = lab.run("paper.pyz --help", code=0).stdout.splitlines()
    assert max(map(len, help_lines)) <= 80
    for command in ("run", "resume"):
        assert "this is a bundle" in lab.run(command, "paper.pyz", code=2).stderr


def test_several_results_are_one_bundle(lab):
    bundle_of(lab)
    shutil.copytree(lab.results, lab.path / "more" / "results")
    lab.run("bundle results more/results -o paper.pyz", code=0)
    done = lab.run("paper.pyz", code=0)
    assert "on 4 results" in done.stdout
    assert "paper.pyz/results_2/paper-results" in done.stdout
    done = second_run(lab, code=0)
    assert "4 reproduced" in done.stdout
    assert "4 reproduced" in lab.run("paper.pyz report --run paper-run").stdout
    lab.run("status paper.pyz/results_2/paper-results", code=0)


def test_results_of_batch_tamarin_are_bundled_with_a_recipe(lab):
    statements = "".join(
        f'lemma {name}: "All k #i. A(k) @ i ==> T"\n' for name in json.loads(UPSTREAM_ENDS)
    )
    lab.write("NSPK3.spthy", f"theory T begin\n{RULE_A}{statements}end\n")
    write_upstream_report(lab)
    done = lab.run("bundle out -o paper.pyz", code=0)
    assert "batch-tamarin does not say which texts it proved" in done.stderr
    told = lab.run("paper.pyz").stdout
    assert "1 verified, 1 falsified" in told
    told = second_run(lab, code=1).stdout
    assert "1 differs, 1 reproduced" in told


def test_what_could_not_be_read_is_in_the_bundle_as_it_is(lab):
    lab.write("bad.spthy", "theory B begin lemma x: end")
    lab.write("own.spthy", THEORY.replace("begin", 'begin heuristic: o "./gone"', 1))
    entry = {"tamarin_versions": ["fake"], "output_file_prefix": "{theory}"}
    tasks = {"task": {**entry, "theory_file": ["own.spthy", "bad.spthy"]}}
    told = members(bundle_of(lab, tasks=tasks))
    assert told["bad.spthy"] == (lab.path / "bad.spthy").read_bytes()
    assert "gone" not in told
    assert "3 reproduced, 1 no verdict" in second_run(lab).stdout


def test_an_unfinished_batch_is_bundled_as_far_as_it_came(lab):
    interrupted_batch(lab)
    done = lab.run("bundle results -o paper.pyz", code=0)
    assert "this batch is not finished (stopped)" in done.stderr
    assert "2 verified, 2 interrupted, 2 pending" in lab.run("paper.pyz", code=3).stdout


def test_a_theory_that_was_made_is_bundled_as_it_was_made(lab):
    lab.write("own.m4", lab.read("t.spthy"))
    prepare = {"command": ["cat", "own.m4"], "inputs": ["own.m4"]}
    bundle_of(lab, theory_file="made.spthy", prepare=prepare, lemmas=[])
    told = members(lab.path / "paper.pyz")
    assert told["made.spthy"] == (lab.path / "t.spthy").read_bytes()
    assert b"prepare" not in told["recipe.json"]
    assert "3 reproduced" in second_run(lab, code=0).stdout


def test_a_bundle_is_written_over_no_other_file(lab):
    bundle_of(lab)
    lab.run("bundle results -o paper.pyz", code=0)
    done = lab.run("bundle results -o recipe.json", code=2)
    assert "is there, and no bundle" in done.stderr
    assert json.loads(lab.read("recipe.json"))
    lab.run("bundle results -o recipe.json --force", code=0)


def test_a_second_run_has_the_limits_that_were_raised_for_the_paper(lab):
    bundle_of(lab)
    journal = lab.journal.read_text()
    raised = '"limits":{"cores":1,"memory_mb":1024,"timeout_s":987.0},"raised_from":'
    old = '{"cores":1,"memory_mb":1024,"timeout_s":300.0}'
    lab.journal.write_text(journal.replace(f'"limits":{old}', raised + old))
    lab.run("bundle results -o paper.pyz", code=0)
    second_run(lab, code=0)
    limits = [event["limits"] for event in lab.events("task", "paper-run/results")]
    assert [each["timeout_s"] for each in limits] == [987, 987]


def test_a_recheck_uses_no_more_than_this_machine_has(lab):
    found_proofs(lab)
    journal = lab.journal.read_text()
    lab.journal.write_text(re.sub('"(cores|memory_mb)":[0-9]+', r'"\1":9000000', journal))
    recheck(lab, code=0)
    machine = bt.Limits(bt.available_cores(), bt.available_memory_mb(), 0)
    events = lab.events(results="results/recheck-trusted")
    limits = [event["limits"] for event in events if "limits" in event]
    assert len(limits) == 3
    for each in limits:
        assert each["cores"] == machine.cores
        assert each["memory_mb"] <= 2 * machine.memory_mb  # others come and go


def places_of(cwd, *paths, directory="/scratch/results"):
    """Where files stand in a bundle of a batch that ran in `cwd`."""
    batch = bt.Batch(bt.Header(cwd=cwd))
    source = bt.BundleSource(directory, batch, {}, "")
    inputs = [bt._Input(path, path, "") for path in paths]
    return bt._BundlePlaces("", source, inputs)


def test_what_lies_below_one_directory_stays_together_in_a_bundle():
    theories = ["/home/alice/paper/models/t.spthy", "/home/bob/x/u.spthy", "/opt/v.spthy"]
    places = places_of("/home/alice/paper/scripts", *theories)
    assert [places.of(path) for path in theories] == [
        "models/t.spthy",
        "outside-1/u.spthy",
        "outside-2/v.spthy",
    ]
    assert places.of("/scratch/results/logs/x.out") == "paper-results/logs/x.out"
    told = places.from_cwd('"/home/bob/x/u.spthy", "/home/alice/paper/scripts/w", "/home/bobby"')
    assert told == '"../outside-1/u.spthy", "w", "/home/bobby"'


def test_a_directory_is_hidden_also_where_json_or_a_url_names_it():
    told = places_of("/home/alice/m\u00fc x").blind()
    names = ["/home/alice/m\u00fc x", "/home/alice/m\\u00fc x", "/home/alice/m%C3%BC%20x"]
    assert [told[name] for name in names] == ["/artifact"] * 3


def test_what_a_journal_tells_later_is_not_bundled():
    lines = bt._lines_within(io.BytesIO(b"a\nbb\nccc\n"), 6)
    assert list(lines) == [b"a\n", b"bb\n"]


# --- Bundles that deceive -------------------------------------------------------------------------


def packed(path, files, manifest=None, shebang=bt.SHEBANG, tail=b"", modes=()):
    """Write a bundle of these files, by name; `manifest` says something else than they are."""
    told = {name: {"sha256": bt.sha256(data), "size": len(data)} for name, data in files}
    batch = {"results": "paper-results", "cwd": "", "roots": {"/artifact": ""}, "folders": []}
    about = {"format": 1, "version": "1", "batches": [batch], "notes": [], "files": told}
    about = manifest(about) if manifest else about
    with path.open("wb") as file:
        file.write(shebang)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings_off():
            for name, data in [*files, ("MANIFEST.json", json.dumps(about).encode())]:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = dict(modes).get(name, 0o100644) << 16
                archive.writestr(info, data)
        file.write(tail)


@contextlib.contextmanager
def warnings_off():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def deceive_with(*more, **options):
    """What writes a bundle with more files than it should have."""

    def write(path, files):
        packed(path, [*files, *more], **options)

    return write


def with_manifest(change):
    def write(path, files):
        packed(path, files, manifest=change)

    return write


def other_digest(manifest):
    manifest["files"]["recipe.json"]["sha256"] = "0" * 64
    return manifest


def missing_file(manifest):
    del manifest["files"]["recipe.json"]
    return manifest


def one_more_file(manifest):
    manifest["files"]["more"] = {"sha256": "0" * 64, "size": 0}
    return manifest


def other_size(manifest):
    manifest["files"]["recipe.json"]["size"] += 1
    return manifest


def executable(manifest):
    manifest["files"]["recipe.json"]["executable"] = True
    return manifest


def results_elsewhere(manifest):
    manifest["batches"][0]["results"] = "../results"
    return manifest


def root_elsewhere(manifest):
    manifest["batches"][0]["roots"]["/etc"] = "../x"
    return manifest


def changed_at(marker, offset, new, last=False):
    """Bytes behind a marker in the file are others."""

    def write(path, files):
        packed(path, files)
        data = bytearray(path.read_bytes())
        found = data.rfind(marker) if last else data.find(marker)
        place = found + offset
        data[place : place + len(new)] = new
        path.write_bytes(data)

    return write


def two_archives(path, files):
    """What some readers find at the beginning is not what others find at the end."""
    packed(path, files)
    first = path.read_bytes()
    packed(path, files)
    path.write_bytes(first + path.read_bytes()[len(bt.SHEBANG) :])


def cut_off(path, files):
    packed(path, files)
    os.truncate(path, path.stat().st_size - 30)


def hidden_between(path, files):
    packed(path, files)
    data = path.read_bytes()
    place = data.rfind(b"PK\x01\x02")
    start = data.find(b"PK\x01\x02")
    assert place > start
    end = bytearray(data[-22:])
    end[16:20] = struct.pack("<L", start + 4)
    path.write_bytes(data[:start] + b"hide" + data[start:-22] + bytes(end))


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
DECEPTIONS = {
    "absolute": (deceive_with(("/tmp/evil", b"")), "leads out of it"),
    "dots": (deceive_with(("a/../../evil", b"")), "leads out of it"),
    "dot": (deceive_with(("a/./evil", b"")), "no plain name"),
    "folder": (deceive_with(("a/", b"")), "no plain name"),
    "backslash": (deceive_with(("..\\evil", b"")), "characters"),
    "control": (deceive_with(("a\x1b[2J", b"")), "characters"),
    "twice": (deceive_with(("recipe.json", b"{}")), "are one name"),
    "case": (deceive_with(("Recipe.JSON", b"{}")), "are one name"),
    "composed": (deceive_with(("\u00e9", b""), ("e\u0301", b"")), "are one name"),
    "file and folder": (deceive_with(("recipe.json/x", b"")), "a file and a folder"),
    "program": (deceive_with(("batch_tamarin.py", b"")), "in the place of the program"),
    "link": (deceive_with(("l", b"/etc/passwd"), modes=[("l", 0o120777)]), "no plain file"),
    "device": (deceive_with(("l", b""), modes=[("l", 0o060644)]), "no plain file"),
    "setuid": (deceive_with(("l", b""), modes=[("l", 0o104755)]), "no plain file"),
    "long": (deceive_with(("l" * 300, b"")), "too long"),
    "zeros": (deceive_with(("zeros", bytes(20 * 2**20))), "unpacked it would be 20."),
    "digest": (with_manifest(other_digest), "has not the digest"),
    "unlisted": (with_manifest(missing_file), "in it, and not in MANIFEST.json"),
    "not there": (with_manifest(one_more_file), "is in MANIFEST.json, and not in it"),
    "size": (with_manifest(other_size), "another size"),
    "mode": (with_manifest(executable), "another size or mode"),
    "results": (with_manifest(results_elsewhere), "a batch that is not in it"),
    "roots": (with_manifest(root_elsewhere), "a batch that is not in it"),
    "no object": (with_manifest(lambda manifest: []), "none of a format"),
    "other format": (with_manifest(lambda manifest: {**manifest, "format": 2}), "none of a format"),
    "other kind": (with_manifest(lambda manifest: {**manifest, "files": 1}), "TypeError"),
    "nothing": (with_manifest(lambda manifest: {**manifest, "batches": []}), "no results"),
    "local name": (changed_at(LOCAL, 30, b"x"), "not what the list of files says"),
    "local size": (changed_at(LOCAL, 22, b"x"), "not what the list of files says"),
    "central size": (changed_at(CENTRAL, 24, b"x"), "not what the list of files says"),
    "central place": (changed_at(CENTRAL, 42, b"x"), "does not begin where"),
    "encrypted": (changed_at(LOCAL, 6, b"\x01"), "not what the list of files says"),
    "behind": (deceive_with(tail=b"more"), "bundle"),
    "journal": (deceive_with(("results_2/batch.jsonl", b"")), "results that are made later"),
    "comment": (changed_at(b"PK\5\6", 20, b"\1", last=True), "stands before, behind or between"),
    "two": (two_archives, "does not begin where"),
    "cut": (cut_off, "BadZipFile"),
    "between": (hidden_between, ""),
    "bytes": (changed_at(LOCAL, 60, b"xxxxxxxx"), ""),
}


@pytest.fixture(scope="module")
def honest_files(tmp_path_factory):
    """The files of a bundle, for all that make a lie of it."""
    lab = Lab(tmp_path_factory.mktemp("honest"))
    told = members(bundle_of(lab, run=["--no-cache"]))  # no test's own cache is there yet
    del told["MANIFEST.json"]
    told["__main__.py"] = b"raise SystemExit('executed')\n"
    return list(told.items())


def test_what_is_packed_like_a_bundle_is_one(lab, honest_files):
    packed(lab.path / "b.pyz", honest_files)
    lab.run("b.pyz", code=0)


@pytest.mark.parametrize("name", DECEPTIONS)
def test_a_bundle_that_deceives_is_refused(tmp_path, honest_files, name, monkeypatch):
    monkeypatch.setattr(bt, "LARGE_MB", 10)
    write, problem = DECEPTIONS[name]
    write(tmp_path / "b.pyz", honest_files)
    with pytest.raises(bt.InputError) as refused:
        bt.open_bundle(str(tmp_path / "b.pyz"))
    assert problem in str(refused.value)
    assert str(refused.value).isprintable()


def test_nothing_of_a_bundle_that_is_refused_is_written(lab, honest_files, monkeypatch):
    place = lab.path / "here"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    packed(lab.path / "b.pyz", honest_files, manifest=other_digest)
    for command in ([], ["report"], ["run"], ["extract", "there"], ["recheck", "--prover", "sh"]):
        done = lab.run("../b.pyz", *command, code=2, cwd=place)
        (line,) = done.stderr.splitlines()
        assert "has not the digest" in line
    lab.run("audit ../b.pyz", code=2, cwd=place)
    cut_off(lab.path / "b.pyz", honest_files)
    assert "is damaged" in lab.run("../b.pyz", code=2, cwd=place).stderr
    assert everything_below(place) == []


def test_ten_gigabytes_of_zeros_are_refused_before_they_are_read(lab, honest_files):
    bundle = lab.path / "b.pyz"
    packed(bundle, honest_files)
    with zipfile.ZipFile(bundle) as archive:
        (last,) = [each for each in archive.infolist() if each.filename == "MANIFEST.json"]
        size = archive.start_dir
    data = bytearray(bundle.read_bytes())
    lie = struct.pack("<L", 2**32 - 2)
    data[last.header_offset + 22 : last.header_offset + 26] = lie
    central = data.rfind(CENTRAL)
    assert central > size
    data[central + 24 : central + 28] = lie
    bundle.write_bytes(data)
    assert "unpacked it would be 4.0 GB" in lab.run("b.pyz", code=2).stderr


def deceiving_recipe(lab, honest_files, change):
    """A bundle with a changed recipe."""
    files = dict(honest_files)
    recipe = json.loads(files["recipe.json"])
    change(recipe)
    files["recipe.json"] = json.dumps(recipe).encode()
    packed(lab.path / "paper.pyz", list(files.items()), modes=[("evil.sh", 0o100755)])


def make_theories(recipe):
    recipe["tasks"]["task"]["prepare"] = {"command": ["touch", "executed"]}


def name_a_prover(recipe):
    recipe["tamarin_versions"]["fake"]["command"] = ["./evil.sh"]
    recipe["tamarin_versions"]["fake"].pop("path")


def name_a_maude(recipe):
    recipe["tasks"]["task"]["tamarin_options"] = ["--with-maude=./evil.sh"]


def let_the_prover_write(recipe):
    recipe["tasks"]["task"]["tamarin_options"] = ["+RTS", "-S/tmp/evil", "-RTS"]


def read_elsewhere(recipe):
    recipe["tasks"]["task"]["theory_file"] = "../secret.spthy"


def name_an_oracle(recipe):
    recipe["tasks"]["task"]["tamarin_options"] = ["--heuristic=o", "--oraclename=/bin/rm"]


def name_no_prover(recipe):
    recipe["tamarin_versions"]["none"] = {"path": "./evil.sh"}
    recipe["tasks"]["task"]["tamarin_versions"] = ["none"]


def write_elsewhere(recipe):
    recipe["config"]["output_directory"] = "../../evil"


def write_to_an_absolute_path(recipe):
    recipe["config"]["output_directory"] = "/tmp/evil"


def write_over_the_paper(recipe):
    recipe["config"]["output_directory"] = "paper-results"


def write_over_all(recipe):
    recipe["config"]["output_directory"] = "."


def preload(recipe):
    recipe["tamarin_versions"]["fake"]["env"] = {"LD_PRELOAD": "./evil.so", "PATH": "."}


@pytest.mark.parametrize(
    "change, problem",
    [
        (make_theories, ""),
        (name_a_prover, ""),
        (preload, ""),
        (name_a_maude, ""),
        (let_the_prover_write, "an option that names a file"),
        (read_elsewhere, "not in it: "),
        (name_an_oracle, "not in it: "),
        (name_no_prover, "know no prover 'none'"),
        (write_elsewhere, "not in it: "),
        (write_to_an_absolute_path, "not in it: "),
        (write_over_the_paper, "files of its own"),
        (write_over_all, "files of its own"),
    ],
)
def test_a_second_run_starts_nothing_that_the_bundle_names(lab, honest_files, change, problem):
    lab.write("secret.spthy", THEORY)
    deceiving_recipe(lab, honest_files, change)
    body = 'case "$*" in *evil*) exit 1;; esac; echo "$LD_PRELOAD" > "$0.env"\n' + PAPER_PROVER
    done = second_run(lab, body=body, code=2 if problem else 0)
    assert problem in done.stderr
    assert not list(lab.path.rglob("executed"))
    if not problem:
        assert lab.read("mine.sh.env") == "\n"


def test_nothing_of_a_bundle_lies_where_results_of_a_second_run_will_be(lab, honest_files):
    files = [*honest_files, ("results/logs/task--one--fake.out", b"verified")]
    packed(lab.path / "paper.pyz", files)
    assert "files of its own" in second_run(lab, code=2).stderr


@pytest.mark.parametrize(
    "change",
    [
        {"cwd": "/etc"},
        {"cwd": "../.."},
        {"inputs": {"/etc/passwd": "0" * 64}},
        {"inputs": {"/dev/zero": "0" * 64}},
        {"made_from": {"t.spthy": {"../../../x": "0" * 64}}},
        {"recheck_of": "/etc"},
    ],
)
def test_a_journal_in_a_bundle_names_no_files_elsewhere(lab, honest_files, change):
    files = dict(honest_files)
    header, *rest = files["paper-results/batch.jsonl"].splitlines()
    changed = json.dumps({**json.loads(header), **change}).encode()
    files["paper-results/batch.jsonl"] = b"\n".join([changed, *rest, b""])
    packed(lab.path / "b.pyz", list(files.items()))
    for command in ([], ["audit"], ["status"], ["report"], ["lemmas"]):
        done = lab.run("b.pyz", *command, code=2)
        assert "names a file that is not in it" in done.stderr


def test_a_device_has_no_digest():
    """It might never end."""
    assert bt.file_state_now(os.devnull).digest == ""


def test_an_oracle_may_have_the_name_of_a_module(lab, honest_files):
    files = dict(honest_files)
    files["__main__.py"] = Path(bt.__file__).read_bytes()
    files["json.py"] = b"raise SystemExit('executed')\n"
    packed(lab.path / "b.pyz", list(files.items()))
    done = subprocess.run([sys.executable, "b.pyz"], cwd=lab.path, capture_output=True, text=True)
    check_end(done, 0)


# === Terminal =====================================================================================


class Terminal:
    """The program on a pseudo-terminal of 80 columns and 24 rows, and what a person sees there."""

    def __init__(self, lab, *args, **env):
        """Run the program with these arguments, and variables of the environment."""
        self.start(be_the_program_on_a_terminal, lab, args, env)

    def start(self, target, *args):
        """Run a function in a child of this process that can get this terminal."""
        self.raw = b""
        self.master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, 80, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        fork = multiprocessing.get_context("fork")
        # A daemon: a test that fails leaves none behind.
        self.process = fork.Process(target=target, args=(slave, *args), daemon=True)
        self.process.start()
        os.close(slave)

    def read(self):
        """Take what the program has written; False when it is gone."""
        while select.select([self.master], [], [], 0.05)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.raw += data
        return True

    def until(self, text, times=1):
        """Wait until this stands on the terminal so often."""

        def stands_there():
            self.read()
            return self.text().count(text) >= times

        wait_for(stands_there, f"{text!r} on the terminal, {times} times")

    def type(self, text):
        os.write(self.master, text.encode())

    def stop_output(self):
        """Type Ctrl-S, and take what is written until it takes effect."""
        fcntl.ioctl(self.master, termios.TIOCPKT, struct.pack("i", 1))
        self.type("\x13")
        told = 0
        # Now each read begins with a byte in which the terminal tells what it did.
        while not told & termios.TIOCPKT_STOP:
            told, *data = os.read(self.master, 65536)
            self.raw += bytes(data)
        fcntl.ioctl(self.master, termios.TIOCPKT, struct.pack("i", 0))

    def end(self):
        """Wait for the program; its exit code."""
        end = time.monotonic() + RUN_S
        while self.read():
            if time.monotonic() > end:
                self.process.kill()
        self.process.join(RUN_S)
        os.close(self.master)
        return self.process.exitcode

    def text(self):
        """All that stands on the terminal, also what has scrolled away."""
        sheet = Sheet()
        written = self.raw.decode("utf-8", "replace")
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
            sheet.take(part)
        return "\n".join(sheet.lines)


class ScriptTerminal(Terminal):
    """One on which the real script starts, for what Python finds out at its start."""

    def __init__(self, lab, *args, **env):
        self.start(be_the_script_on_a_terminal, lab, args, env)


class Sheet:
    """What a terminal makes of what is written to it: enough for what the program writes."""

    def __init__(self):
        self.lines = [""]
        self.row = 0
        self.column = 0

    def take(self, part):
        """Show some text, or do what a control character or sequence says."""
        if part == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        elif part == "\r":
            self.column = 0
        elif part.startswith("\x1b"):
            self.obey(part)
        else:
            self.show(part)

    def show(self, text):
        """Write over what stands at the cursor."""
        line = self.lines[self.row].ljust(self.column)
        end = self.column + len(text)
        self.lines[self.row] = line[: self.column] + text + line[end:]
        self.column = end

    def obey(self, sequence):
        """Go up, or wipe the rest of the line or of the screen; colours are not seen here."""
        kept = self.lines[self.row][: self.column]
        if sequence.endswith("A"):
            self.row -= int(sequence[2:-1])
        elif sequence.endswith("K"):
            self.lines[self.row] = kept
        elif sequence.endswith("J"):
            self.lines[self.row :] = [kept]


def be_the_program_on_a_terminal(slave, lab, args, env):
    """What the child of a `Terminal` does, until its end."""
    take_terminal(slave, env)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as this process lives
    be_the_program(args, lab.path, 1, 2)


def be_the_script_on_a_terminal(slave, lab, args, env):
    """What the child of a `ScriptTerminal` does, until its end."""
    take_terminal(slave, env)
    os.chdir(lab.path)
    os.execv(sys.executable, lab.command(*args))


def take_terminal(slave, env):
    """Make a terminal that of this process, as a login does, with an environment of its kind."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(slave, number)
    os.close(slave)
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", **env})


# Shows a phase, then proves nothing until there is a file `go`.
SLOW = (
    """
echo "[Theory T] Theory loaded" >&2
echo "[Saturating Sources] Step 3 (Max 5)" >&2
until [ -e go ]; do sleep 0.05; done
"""
    + VERIFY
)


def slow_batch(lab, **task):
    """A recipe of three tasks, two at a time, that wait for a file `go`."""
    lab.prover(SLOW)
    lab.recipe(config={"global_max_cores": 2}, **task)


def slow_run_on_terminal(lab):
    """A run of `slow_batch` whose first two tasks are shown with their phase."""
    slow_batch(lab)
    terminal = Terminal(lab, "run", "recipe.json")
    terminal.until("saturating sources 3/5", times=2)
    return terminal


def test_the_live_block_shows_what_runs_and_what_is_left(lab):
    terminal = slow_run_on_terminal(lab)
    seen = terminal.text()
    assert "0/3  0 %" in seen
    assert "░░░░" in seen
    assert "2/2 cores" in seen
    assert "at most" in seen
    assert re.search(r"t--one--fake +saturating sources 3/5 +\d:\d\d/5:00 +\d+M/1G", seen), seen
    lab.write("go", "")
    assert terminal.end() == 0


def test_results_stay_on_the_terminal_and_the_live_block_does_not(lab):
    terminal = slow_run_on_terminal(lab)
    lab.write("go", "")
    assert terminal.end() == 0
    seen = terminal.text()
    assert "░" not in seen, seen
    assert "saturating" not in seen, seen
    told = re.findall(r"^\[\d/\d\] \w+", seen, re.MULTILINE)
    assert told == ["[1/3] verified", "[2/3] verified", "[3/3] verified"]
    assert "3 tasks: 3 verified" in seen
    assert b"\x1b[32mverified" in terminal.raw, "in green"


def test_no_mode_of_the_terminal_is_changed_and_the_screen_never_cleared(lab):
    terminal = slow_run_on_terminal(lab)
    lab.write("go", "")
    assert terminal.end() == 0
    assert b"\x1b[?" not in terminal.raw
    assert b"\x1b[2J" not in terminal.raw


def test_after_ctrl_z_the_block_is_drawn_below_what_the_shell_wrote(lab):
    terminal = slow_run_on_terminal(lab)
    before = termios.tcgetattr(terminal.master)
    terminal.type("\x1a")
    pid = terminal.process.pid
    wait_for(lambda: os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[0])
    terminal.read()
    terminal.raw += b"\r\n$ fg\r\n"
    os.kill(pid, signal.SIGCONT)
    terminal.until("0/3  0 %", times=2)
    terminal.until("saturating sources 3/5", times=4)
    seen = terminal.text()
    assert seen.count("0/3  0 %") == 2, seen
    assert "$ fg" in seen
    assert termios.tcgetattr(terminal.master) == before
    lab.write("go", "")
    assert terminal.end() == 0
    seen = terminal.text()
    assert seen.count("0/3  0 %") == 1, "only the block from before Ctrl-Z is left:\n" + seen


def test_ctrl_c_stops_the_batch_and_tells_how_to_go_on(lab):
    terminal = slow_run_on_terminal(lab)
    terminal.type("\x03")
    assert terminal.end() == 130
    seen = terminal.text()
    assert "stopping: 2 jobs" in seen
    assert "2 interrupted" in seen
    assert "resume results" in seen
    assert "░" not in seen, seen


def test_a_stuck_terminal_does_not_hold_up_the_batch(lab):
    terminal = slow_run_on_terminal(lab)
    terminal.stop_output()
    lab.write("go", "")
    wait_for(lambda: len(lab.finishes()) == 3)
    terminal.read()
    assert "verified" not in terminal.text()
    terminal.type("\x11")
    assert terminal.end() == 0
    assert "3 tasks: 3 verified" in terminal.text()


def run_on_terminal(lab, *args, **env):
    """Run a batch of one task on a terminal; the terminal after its end."""
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    terminal = Terminal(lab, "run", "recipe.json", *args, **env)
    assert terminal.end() == 0
    return terminal


# Where there is a block, it is drawn before anything starts: no need to wait for it.
BLOCK = b"0/1  0 %"
GREEN = b"\x1b[32m"


@pytest.mark.parametrize("options", ["", "--progress auto", "--progress bar -q"])
def test_a_terminal_has_a_block(lab, options):
    terminal = run_on_terminal(lab, *options.split())
    assert BLOCK in terminal.raw
    assert GREEN in terminal.raw


@pytest.mark.parametrize("options", ["-q", "--progress plain", "--progress none"])
def test_a_block_that_is_not_wanted_is_not_drawn(lab, options):
    terminal = run_on_terminal(lab, *options.split())
    assert BLOCK not in terminal.raw
    assert GREEN in terminal.raw


def test_a_terminal_that_is_dumb_gets_text_alone(lab):
    terminal = run_on_terminal(lab, TERM="dumb")
    assert BLOCK not in terminal.raw
    assert b"\x1b" not in terminal.raw


def test_colours_that_are_not_wanted_are_not_shown(lab):
    terminal = run_on_terminal(lab, NO_COLOR="1")
    assert BLOCK in terminal.raw
    assert GREEN not in terminal.raw


@pytest.mark.parametrize(
    "options, told",
    [("", True), ("--progress bar", True), ("-q", False), ("--progress none", False)],
)
def test_what_went_well_is_told_unless_quiet(lab, options, told):
    terminal = run_on_terminal(lab, *options.split())
    assert ("[1/1] verified" in terminal.text()) == told


def test_a_task_with_a_long_id_is_told_by_its_lemma_where_the_line_is_short(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one", output_file_prefix="long" * 20)
    terminal = Terminal(lab, "run", "recipe.json")
    assert terminal.end() == 0
    assert re.search(r"^\[1/1\] verified +one \(7 steps, ", terminal.text(), re.MULTILINE)


def test_the_block_is_ascii_where_the_locale_is(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    # Python itself would take UTF-8 (PEP 538, PEP 540).
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    terminal = ScriptTerminal(lab, "run", "recipe.json", **plain)
    assert terminal.end() == 0
    assert terminal.raw.isascii()
    assert BLOCK in terminal.raw
    assert b"-----" in terminal.raw
    assert GREEN in terminal.raw


@pytest.mark.parametrize(
    "options, told",
    [
        ("", "batch [1/3] [2/3] [3/3]"),
        ("--progress bar", "batch [1/3] [2/3] [3/3]"),
        ("--progress none", "batch"),
    ],
)
def test_a_pipe_is_told_the_results_and_shown_no_block(lab, options, told):
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run(f"run recipe.json {options}", code=0)
    beginnings = [line.split()[0] for line in done.stderr.splitlines()]
    assert beginnings == told.split()
    assert "\x1b" not in done.stdout
    assert "\x1b" not in done.stderr


def test_a_quiet_run_tells_of_what_went_wrong_alone(lab):
    lab.prover('[ "$LEMMA" = two ] && exit 1; ' + VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json -q", code=3)
    _, told = done.stderr.splitlines()
    assert re.match(r"\[\d/3\] failed +t--two--fake .*exit code 1", told), told


@pytest.mark.parametrize("args, times", [([], 0), (["-d"], 1)])
def test_debugging_shows_every_command(lab, args, times):
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run("run recipe.json", *args, code=0)
    for lemma in ("one", "two", "three"):
        assert done.stderr.count(f"--prove={lemma} ") == times, done.stderr


def view_of(tasks, running=0):
    """A Progress over made-up tasks, of which so many run on another host."""
    room = bt.Limits(64, 65536, 60)
    header = bt.Header(at=bt.timestamp(), id="b", limits=room)
    batch = bt.Batch(header, {task.id: task for task in tasks})
    args = bt.argparse.Namespace(quiet=False, debug=False, progress="none")
    progress = bt.Progress(batch, batch.tasks.values(), "nowhere", {}, args)
    for task in tasks[:running]:
        start = bt.Started(
            ids=(task.id,), job=task.id, attempt=1, host="elsewhere", at=bt.timestamp()
        )
        batch.apply(start)
        progress(start)
    return progress


def test_a_shared_process_is_one_line_of_the_block():
    progress = view_of([a_task(id=name) for name in "abc"])
    start = bt.Started(ids=("a", "b", "c"), job="a~shared", attempt=1, host="elsewhere")
    start = dataclasses.replace(start, at=bt.timestamp())
    progress.batch.apply(start)
    progress(start)
    block = progress.block(80, 24)
    assert "1/64 cores" in block[1]
    (line,) = [line for line in block if line.startswith("  a")]
    assert line.startswith("  a +2 ")


def test_what_ended_a_shared_process_is_said_once(capsys):
    progress = view_of([a_task(id=name) for name in "ab"])
    progress.silent = False
    result = bt.Result(bt.Status.INTERRUPTED, shared_by=2, runs_alone=True, reason="runs alone: x")
    for attempt in (1, 2):
        for name in "ab":
            finished = bt.Finished(name, "a~shared", attempt, result)
            progress.batch.apply(finished)
            progress(finished)
    done = capsys.readouterr()
    assert done.err == "a~shared: runs alone: x\n" * 2


def test_a_verdict_that_rests_on_a_falsified_lemma_is_told_as_that(capsys):
    tasks = [a_task(id="one", lemma="one"), a_task(id="two", lemma="two", assumes=("one",))]
    progress = view_of(tasks)
    progress.silent = False
    for event in (ends("one", "falsified"), ends("two", "verified")):
        progress.batch.apply(event)
        progress(event)
    _, told = capsys.readouterr().err.splitlines()
    assert told.startswith("[2/2] verified, resting on a falsified lemma  two (")
    assert told.endswith("); falsified: one")


def test_quiet_tells_of_a_verdict_that_rests_on_a_falsified_lemma(capsys):
    tasks = [a_task(id="one", lemma="one"), a_task(id="two", lemma="two", assumes=("one",))]
    progress = view_of(tasks)
    progress.silent, progress.quiet = False, True
    for event in (ends("one", "falsified"), ends("two", "verified")):
        progress.batch.apply(event)
        progress(event)
    assert "verified, resting on a falsified lemma  two" in capsys.readouterr().err


class ResizedScreen:
    """A Screen, what it writes, and a clock and a terminal's width that a test sets."""

    def __init__(self, monkeypatch):
        self.columns = 80
        self.now = 100.0
        self.err = io.StringIO()
        self.screen = bt.Screen(lambda columns, rows: [columns * "#", "facts"])
        monkeypatch.setattr(bt.sys, "stderr", self.err)
        monkeypatch.setattr(bt, "terminal_size", lambda: (self.columns, 24))
        monkeypatch.setattr(bt.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(self.screen, "_takes_output", lambda: True)
        monkeypatch.setattr(self.screen, "_is_ours", lambda: True)

    def written_after(self, seconds):
        """What another drawing writes after so long."""
        self.now += seconds
        self.err.truncate(0)
        self.err.seek(0)
        self.screen.draw()
        return self.err.getvalue()


def test_a_terminal_that_is_made_narrower_is_wiped_before_it_is_drawn_anew(monkeypatch):
    """A row that a line was wrapped into would be joined with the next when it gets wider."""
    resized = ResizedScreen(monkeypatch)
    assert resized.written_after(1).startswith("#")
    assert resized.written_after(1).startswith("\r\x1b[2A#")
    resized.columns = 40
    resized.written_after(1)
    assert resized.written_after(1).startswith("\r\x1b[3A\x1b[J#")
    assert resized.written_after(1).startswith("\r\x1b[2A#")


def test_nothing_is_drawn_while_a_terminal_gets_another_width(monkeypatch):
    """tmux wraps all lines at once and tells of it later: rows would be counted wrongly."""
    resized = ResizedScreen(monkeypatch)
    resized.written_after(1)
    resized.screen.say("result")
    for columns in (70, 60, 50):
        resized.columns = columns
        assert resized.written_after(0.3) == ""
    assert "result" in resized.written_after(1)


IDEOGRAPH = "\N{CJK UNIFIED IDEOGRAPH-8B49}"  # takes two columns
ACCENTED = "e\N{COMBINING ACUTE ACCENT}"  # two characters that take one column

USUAL_SIZES = [(80, 24), (120, 40), (40, 15), (300, 50)]
SIZES = pytest.mark.parametrize("columns, rows", [*USUAL_SIZES, (20, 5), (10, 2)])
NAMES = pytest.mark.parametrize(
    "name",
    [
        pytest.param("handshake--agreement_{}--tamarin", id="usual"),
        pytest.param(IDEOGRAPH * 40 + "{}", id="wide"),
        pytest.param(ACCENTED + "{}", id="combining"),
    ],
)


def large_block(name, columns, rows):
    """The block of 90 tasks of such names, 64 of which run, for a terminal of this size."""
    tasks = []
    for number in range(90):
        text = name.format(number)
        tasks.append(a_task(id=text, lemma=text))
    return view_of(tasks, running=64).block(columns, rows)


@SIZES
@NAMES
def test_the_block_is_never_higher_than_two_thirds_of_the_terminal(columns, rows, name):
    lines = large_block(name, columns, rows)
    assert 1 <= len(lines) <= max(1, rows - 1)
    if rows >= 15:
        assert len(lines) <= rows * 2 // 3


@SIZES
@NAMES
def test_what_is_drawn_is_never_wider_than_the_terminal(columns, rows, name):
    for line in large_block(name, columns, rows):
        drawn = bt.fit(line, columns - 1)
        assert bt.display_width(drawn) == columns - 1


@pytest.mark.parametrize("columns, rows", USUAL_SIZES)
@NAMES
def test_nothing_is_cut_from_the_block_where_there_is_some_room(columns, rows, name):
    for line in large_block(name, columns, rows):
        assert bt.display_width(line.rstrip()) <= columns - 1


@pytest.mark.parametrize("columns, rows", USUAL_SIZES)
def test_the_block_counts_what_it_has_no_room_to_show(columns, rows):
    lines = large_block("handshake--agreement_{}--tamarin", columns, rows)
    text = "\n".join(lines)
    assert "0/90" in lines[0]
    assert "64/64" in text
    assert "more" in text


def test_wide_and_combining_characters_are_measured():
    assert bt.display_width("a" + IDEOGRAPH) == 3
    assert bt.display_width(ACCENTED) == 1


def test_text_that_is_too_long_is_cut_before_its_tail():
    assert bt.fit("abcdefgh", 5, "~", 2) == "ab~gh"
    assert bt.fit("abc", 0) == ""


def test_text_that_is_too_short_is_filled_with_blanks():
    assert bt.fit("ab", 4) == "ab  "


def test_a_wide_character_is_not_cut_in_two():
    assert bt.fit(IDEOGRAPH * 6, 5, "~", 3) == IDEOGRAPH * 2 + " "


def test_columns_of_a_table_stand_below_each_other_whatever_is_in_them():
    rows = [("ab", "x"), (IDEOGRAPH, "x")]
    for line in bt.text_table(rows).splitlines():
        first_column, _, _ = line.partition("x")
        assert bt.display_width(first_column) == 4


@pytest.mark.parametrize(
    "seconds, shown", [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_a_clock_shows_hours_only_when_there_are_some(seconds, shown):
    assert bt.clock(seconds) == shown


@pytest.mark.parametrize(
    "megabytes, shown", [(0.4, "0M"), (340, "340M"), (1024, "1G"), (1536, "1.5G"), (16384, "16G")]
)
def test_a_size_has_the_unit_that_suits_it(megabytes, shown):
    assert bt.size(megabytes) == shown


def finished(task, seconds, status=bt.Status.COMPLETED):
    """This task, verified after so many seconds."""
    task.status = status
    task.record = bt.Record(
        bt.Result(status, bt.Verdict.VERIFIED, usage=bt.Usage(seconds)), task.plan
    )
    return task


def forecast_of(text, slots):
    """The forecast for tasks such as "a:10 a@4 b", each of which may take 60 s.

    That is: of the entry `a` one that took 10 s and one that has run for 4 s, of `b` an open one.
    """
    tasks = []
    ran_s = {}
    for word in text.split():
        entry, mark, seconds = re.fullmatch(r"(\w)([:@]?)(\d*)", word).groups()
        task = a_task(id=f"t{len(tasks)}", entry=entry)
        if mark == ":":
            finished(task, float(seconds))
        if mark == "@":
            ran_s[task.id] = float(seconds)
        tasks.append(task)
    batch = bt.Batch(bt.Header(), {task.id: task for task in tasks})
    return bt.Tally(batch, tasks).forecast(ran_s, slots)


@pytest.mark.parametrize(
    "tasks, slots, left_s",
    [
        ("a:10 a:20 a a", 1, 30),  # as long as the others of its entry, on average
        ("a:10 b b", 2, 10),  # as long as all others, if its entry has none
        ("a:10 b:40 b", 1, 40),  # not as long as those of another entry
        ("a:10 a@4", 1, 6),  # less what it has run
        ("a:10 a@25", 1, 25),  # longer than the others: as long again
        ("a:10 a@58", 1, 2),  # but not beyond its limit
    ],
)
def test_a_forecast_is_made_from_what_tasks_took(tasks, slots, left_s):
    forecast = forecast_of(tasks, slots)
    assert forecast.left_s == pytest.approx(left_s)
    assert not forecast.is_bound


@pytest.mark.parametrize("tasks, left_s", [("", 0), ("a a a a", 60 * 4 / 2 + 60)])
def test_before_any_end_a_forecast_is_what_the_limits_allow(tasks, left_s):
    forecast = forecast_of(tasks, 2)
    assert forecast.left_s == pytest.approx(left_s)
    assert forecast.is_bound


def test_a_log_is_named_as_a_shell_takes_it(lab, monkeypatch):
    monkeypatch.chdir(lab.path)
    lab.write("results/logs/a\x1b[31m$(x) b.err", "")
    failed = bt.Result(bt.Status.FAILED)
    task = a_task(bt.Status.FAILED, failed, id="a\x1b[31m$(x) b")
    *_, last = final_table_of(bt.Batch(), "results", [task]).splitlines()
    assert last == "why:   less 'results/logs/a\N{REPLACEMENT CHARACTER}[31m$(x) b.err'"


def test_the_log_that_is_named_is_one_that_says_something(lab):
    lab.prover('echo "I can not"; exit 3')
    lab.recipe(lemmas="one")
    done = lab.run("run recipe.json", code=3)
    assert "why:   less results/logs/t--one--fake.out" in done.stdout


def test_the_page_is_named_at_the_end(one_lemma):
    done = one_lemma.run("run recipe.json", code=0)
    assert "page:    results/summary.html\n" in done.stdout


def recipe_with_limits(own=None, task=None, memory="max", **config):
    """The header of a batch whose entry `n` proves all lemmas, `one` with resources of its own."""
    lemmas = [{"name": "*"}, {"name": "one", "resources": own or {}}]
    recipe = {"config": config, "tasks": {"n": {"lemmas": lemmas, "resources": task or {}}}}
    return bt.Header(recipe=recipe, limits=bt.Limits(8, 8192, 60))


@pytest.mark.parametrize(
    "own, task, status, key",
    [
        ({"timeout": 60}, {"timeout": 9}, "timeout", "tasks.n.lemmas.1.resources.timeout"),
        ({"max_memory": 1}, {"timeout": 60}, "timeout", "tasks.n.resources.timeout"),
        ({}, {}, "timeout", "config.default_timeout"),
        ({"max_memory": 1}, {}, "memory_limit", "tasks.n.lemmas.1.resources.max_memory"),
        ({}, {}, "memory_limit", "tasks.n.resources.max_memory"),
    ],
)
def test_the_key_of_a_limit_that_was_met_is_told(own, task, status, key):
    header = recipe_with_limits(own, task)
    result = bt.Result(bt.Status(status))
    met = a_task(bt.Status(status), result)
    assert bt.limit_key(header, met) == key
    text = final_table_of(bt.Batch(header), "results", [met])
    assert f"more:  raise {key} " in text


def test_what_met_the_limit_of_the_whole_batch_needs_that_raised():
    result = bt.Result(bt.Status.MEMORY_LIMIT)
    met = a_task(bt.Status.MEMORY_LIMIT, result, limits=bt.Limits(1, 8192, 60))
    assert bt.limit_key(recipe_with_limits(), met) == "config.global_max_memory"
    header = dataclasses.replace(recipe_with_limits(), options=bt.PlanOptions(memory="8"))
    assert bt.limit_key(header, met) == "--memory"


@pytest.mark.parametrize("recipe", [{}, {"tasks": []}, {"tasks": {"n": {"lemmas": [1]}}}])
def test_a_recipe_of_a_foreign_journal_tells_of_no_limit(recipe):
    met = a_task(bt.Status.TIMEOUT, bt.Result(bt.Status.TIMEOUT))
    assert bt.limit_key(bt.Header(recipe=recipe), met) == ""


def large_batch():
    """Tasks t0 to t99 that failed, t100 to t998 as expected, t999 not as expected."""
    failed = bt.Result(bt.Status.FAILED, reason="exit code 1")
    tasks = []
    for number in range(100):
        tasks.append(a_task(bt.Status.FAILED, failed, id=f"t{number}"))
    for number in range(100, 999):
        tasks.append(finished(a_task(id=f"t{number}"), 1))
    tasks.append(finished(a_task(id="t999", expect="falsified"), 1))
    return tasks


def test_the_final_table_of_many_tasks_has_the_problems_only(lab, monkeypatch):
    monkeypatch.chdir(lab.path)
    lab.write("results/logs/t0.err", "")
    text = final_table_of(bt.Batch(), "results", large_batch())
    assert len(text.splitlines()) < 50
    assert "t100 " not in text
    assert "61 tasks more" in text
    assert "1,000 tasks: 900 verified, 100 failed; 1 not as expected" in text
    assert "less results/logs/t0.err" in text


def test_the_final_table_of_many_tasks_begins_with_what_is_not_as_expected():
    text = final_table_of(bt.Batch(), "results", large_batch())
    first = text.splitlines()[1]
    assert first.startswith("verified  t999")
    assert "expected falsified!" in first


def test_a_narrow_table_wraps_headings_of_numbers_and_keeps_words_whole():
    table = [["result", "lemma", "memory (MB)"], ["verified, confirmed by demo", "secrecy", "14"]]
    lines = bt.text_table(table, right=(2,), columns=29).split("\n")
    assert lines[0] == "result     lemma       memory"
    assert lines[1] == "                         (MB)"
    assert lines[2] == "verified,  secrecy         14"
    assert [line.strip() for line in lines[3:]] == ["confirmed", "by demo"]


def test_a_column_without_room_stands_below_its_row():
    options = "--heuristic=O --oraclename=one.py"
    table = [["result", "lemma", "options", "steps"], ["verified", "secrecy", options, "14"]]
    lines = bt.text_table(table, right=(3,), columns=40).split("\n")
    assert lines == [
        "result    lemma    steps",
        "verified  secrecy     14",
        "    options: --heuristic=O",
        "    --oraclename=one.py",
    ]
    assert bt.text_table(table, right=(3,), columns=50).count("\n") == 2


def test_numbers_stand_below_their_row_where_there_are_too_many():
    heads = ["entry", "prover", "results", "verified", "falsified", "time (s)"]
    table = [heads, ["limits", "demo", "5", "1", "", "2.4"]]
    assert bt.text_table(table, right=range(2, 6), columns=32).split("\n") == [
        "entry   prover  results",
        "limits  demo          5",
        "    verified: 1; time (s): 2.4",
    ]


def test_a_long_word_is_whole_where_other_columns_have_room():
    table = [["result", "lemma", "reason"], ["failed", "a" * 20, "one two three four"]]
    lines = bt.text_table(table, columns=40).split("\n")
    assert lines[1] == f"failed  {'a' * 20}  one two"


def test_a_report_on_a_terminal_leaves_out_each_result_in_full():
    batch = batch_with(ended_task("a", assumes=("gone",)))
    text = "".join(bt.PRINTED["table"]({"": batch}, ".", bt.Asked()))
    assert "verified, assuming gone" in text
    assert "takes for granted" not in text
    assert "Each result in full" not in text


def test_help_fits_on_a_terminal(capsys):
    with pytest.raises(SystemExit):
        bt.main(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# A text, and the lines that it has in 12 columns.
WRAPPED = """
short                     : short
one and two and three     : one and two |and three
twelve chars is one line  : twelve chars |is one line
false_reuse--all_is_well  : false_|reuse--all_|is_well
models/tls/handshake      : models/tls/|handshake
models/handshake.spthy    : models/|handshake|.spthy
it is --oracle=x          : it is |--oracle=x
abcdefghijklmnopqrstuvwxyz: abcdefghijkl|mnopqrstuvwx|yz
\u4e2d\u4e2d\u4e2d\u4e2d\u4e2d\u4e2d\u4e2d: \u4e2d\u4e2d\u4e2d\u4e2d\u4e2d\u4e2d|\u4e2d
"""


@pytest.mark.parametrize("text, lines", rows(WRAPPED))
def test_a_cell_wraps_at_the_joints_of_names(text, lines):
    wanted = [line.rstrip() for line in lines.split("|")]
    assert bt.text_table([["a", text]], columns=15).split("\n")[0] == f"a  {wanted[0]}"
    told = [line[3:] for line in bt.text_table([["a", text]], columns=15).split("\n")]
    assert told == wanted


def test_the_final_table_says_once_what_all_verdicts_share():
    warned = {"warnings": ("no wonder",)}
    tasks = [ended_task(name, result=warned) for name in ("a", "b")]
    text = final_table_of(batch_with(*tasks), "results", tasks)
    assert text.count("no wonder") == 1
    assert "All verdicts: warning: no wonder." in text


@pytest.mark.parametrize(
    "expect, told", [("verified", "2 verified; all as expected\n"), (None, "2 verified\n")]
)
def test_totals_say_where_all_is_as_expected(expect, told):
    tasks = [ended_task("a", expect="verified"), ended_task("b", expect=expect)]
    assert told in final_table_of(batch_with(*tasks), "results", tasks)


def test_a_page_says_once_that_all_is_from_the_cache():
    cached = {"cached": True, "ran": BEGAN}
    page = page_of(ended_task("a", result=cached), ended_task("b", lemma="two", result=cached))
    assert page.text.count("cached 2026-01-02") == 1
    assert "remarks" not in page.tables["Results"][0]
    page = page_of(ended_task("a", result=cached), ended_task("b", lemma="two"))
    assert page.column("Results", "remarks") == ["cached 2026-01-02", ""]


def test_a_long_name_in_a_page_breaks_at_its_joints():
    long = ended_task("b", lemma=NAME_OF_83, theory="tls13-handshake.spthy")
    page = page_of(ended_task("a"), long).page
    assert "agreement_<wbr>of_<wbr>initiator" in page
    assert "tls13-<wbr>handshake<wbr>.spthy" in page
    assert "t.spthy" in page


OPTION_ENDS = [
    ("html", "<span class=option>--oraclename</span>=keys"),
    ("html", "<span class=option>-D</span>=X"),
    ("tex", r"\mbox{{-}{-}}or"),
    ("typ", r"\u{2060}--or"),
]


@pytest.mark.parametrize("form, told", OPTION_ENDS)
def test_no_line_ends_behind_the_hyphens_of_an_option(form, told):
    options = ("--oraclename=keys.py", "-D=X")
    batch = batch_with(ended_task("a"), ended_task("b--c", lemma="b", options=options))
    report = report_of(batch, form)
    assert told in report
    assert "option>--c" not in report


@pytest.mark.parametrize("fragment", [True, False])
def test_typst_takes_the_marks_of_ends_of_lines_out_of_the_page(fragment):
    text = report_of(batch_with(ended_task("a")), "typ", fragment=fragment)
    assert '#show "\\u{200b}": h(0.01pt)\n' in text
    assert '#show regex("\\u{2060}-+\\w+"): it => box(' in text


def test_the_head_of_a_column_of_numbers_stands_above_them():
    false = ended_task("one", "falsified", lemma="one")
    resting = ended_task("two", lemma="two", assumes=("one",))
    assert (
        '<th scope="col" class="n long">resting on a falsified lemma'
        in page_of(false, resting).page
    )


def test_what_no_prover_ran_for_has_no_time():
    unread = ended_task("a", "failed", {"reason": "cut", "usage": bt.Usage()}, unreadable="cut")
    heading, row, *_ = final_table_of(batch_with(unread), "results", [unread]).splitlines()
    assert row.split() == ["failed", "a", "cut"]
    assert bt.result_facts(unread) == "(not run): cut"
    page = page_of(unread)
    assert page.row_of("Results", 0)["time (s)"] == ""
    assert page.row_of("Totals", 0)["memory (MB)"] == ""
    assert "Timeline" not in page.text


def test_a_trace_that_was_found_says_why_it_assumes_nothing():
    found = ended_task("a", "falsified", assumes=("types",))
    page = page_of(found)
    assert "nothing, as a trace that was found stands for itself" in page.text
    unfinished = ended_task("a", "incomplete", assumes=("types",))
    assert "stands for itself" not in page_of(unfinished).text


def test_the_final_table_of_few_tasks_has_all_of_them():
    tasks = large_batch()[200:205]
    text = final_table_of(bt.Batch(), "results", tasks)
    heading, *rows = text.splitlines()
    assert heading.startswith("result")
    for task, row in zip(tasks, rows):
        assert row.startswith(f"verified  {task.id}")
    assert rows[5:] == ["", "5 tasks: 5 verified", "results: results"]


# === Commands =====================================================================================

# One lemma is verified, one refuted, and one left open.
MIXED = """
case $LEMMA in
    one) WORD=verified;;
    two) WORD="falsified - no trace found";;
    *) WORD="analysis incomplete";;
esac
echo proof > "$OUT"
summary "  $LEMMA (all-traces): $WORD (3 steps)"
"""


def test_run_records_a_verdict_for_each_lemma_and_shows_it(lab):
    lab.prover(MIXED)
    lab.recipe()
    done = lab.run("run recipe.json", code=3)
    verdicts = {}
    for task_id, event in lab.finishes().items():
        verdict = event["verdict"]
        verdicts[task_id] = verdict
        assert re.search(f"^{verdict} +{task_id} ", done.stdout, re.MULTILINE), done.stdout
    assert verdicts == {
        "t--one--fake": "verified",
        "t--two--fake": "falsified",
        "t--three--fake": "incomplete",
    }


def test_run_records_how_a_proof_went(lab):
    lab.prover(MIXED)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    event = lab.only_finish()
    assert event["status"] == "completed"
    assert event["exit"] == {"code": 0}
    assert event["cached"] is False
    assert event["wall_s"] > 0
    assert event["prover_s"] == 0.12
    assert event["steps"] == 3
    assert event["trait"] == "all-traces"
    line = {"name": "one", "side": "", "trait": "all-traces", "verdict": "verified", "steps": 3}
    assert event["lemmas"] == [line]


def test_run_leaves_proofs_and_result_files(lab):
    lab.prover(MIXED)
    lab.recipe(lemmas="one")
    lab.run("run recipe.json", code=0)
    proof = lab.results / "proofs" / "t--one--fake.spthy"
    assert proof.read_text() == "proof\n"
    file = lab.results / "success" / "t--one--fake.json"
    result = json.loads(file.read_text())
    assert result["verified_lemma"] == {"one": {"steps": 3, "analysis_type": "all-traces"}}


# What an older Python is asked to run: itself, as it would see its version.
OLD_PYTHON = """
import sys
sys.version_info = (3, 8, 10)
exec(open(sys.argv[1], encoding="utf-8").read())
"""


def test_older_pythons_are_told_that_they_are_too_old():
    command = [sys.executable, "-c", OLD_PYTHON, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
    check_end(done, 2)
    assert done.stderr == "error: batch_tamarin.py needs Python 3.9 or newer; this is 3.8\n"


@pytest.mark.parametrize("script", ["batch_tamarin.py", "recipes/demo/prover.py"])
def test_python_3_7_can_read_the_file_that_it_can_not_run(script):
    """Python 3.9 itself doesn't see all that 3.7 could not read; newer ones do."""
    ast.parse((HERE / script).read_text(encoding="utf-8"), feature_version=(3, 7))


def test_a_batch_as_expected_exits_with_0(lab):
    lab.prover(VERIFY)
    lab.recipe(expect={"one": "verified", "t*": "verified"})
    lab.run("run recipe.json", code=0)


def test_a_missed_expectation_exits_with_1_and_is_told(lab):
    lab.prover(VERIFY)
    lab.recipe(expect={"one": "falsified"})
    done = lab.run("run recipe.json", code=1)
    assert "expected falsified" in done.stdout


# The demo prover sleeps most of the time: many at once.
AT_ONCE = ("--cores", "8", "--memory", "8")


@takes_long
def test_the_demo_recipe_is_a_good_story_that_its_own_prover_confirms(tmp_path):
    lab = Lab(tmp_path)
    demo = str(HERE / "recipes" / "demo.json")
    done = lab.run("run", demo, *AT_ONCE, code=0)
    assert "10 tasks: 7 verified, 3 falsified; all as expected\n" in done.stdout
    results = tmp_path / "results-demo"
    assert (results / "traces" / "counter--bounded--demo.dot").is_file()
    assert "proves nothing" in (results / "logs" / "counter--bounded--demo.err").read_text()
    page = (results / "summary.html").read_text()
    assert "demo 1.0" in page
    assert "tamarin-prover" not in page
    told = lab.run("audit results-demo", code=0)
    assert "0 findings and 0 notes" in told.stdout
    done = lab.run("recheck results-demo --prover demo", code=0)
    assert "10 tasks: 10 confirmed\n" in done.stdout
    done = lab.run("audit results-demo", code=0)
    assert "0 findings and 0 notes" in done.stdout


SWEEP = str(HERE / "recipes" / "sweep.json")
FOUND_BY_THE_SWEEP = [
    ["lemma", "order", "none", "SIGNING_KEYS", "DECRYPTION_KEYS", "SIGNING_KEYS+DECRYPTION_KEYS"],
    ["executable", "sign_last", "verified", "verified", "verified", "verified"],
    ["executable", "sign_first", "verified", "verified", "verified", "verified"],
    ["secrecy", "sign_last", "verified", "verified", "falsified", "falsified"],
    ["secrecy", "sign_first", "verified", "verified", "falsified", "falsified"],
    ["agreement", "sign_last", "verified", "falsified", "verified", "falsified"],
    ["agreement", "sign_first", "verified", "falsified", "falsified", "falsified"],
]


@takes_long
def test_a_sweep_that_is_killed_goes_on_and_is_reported_right(tmp_path):
    lab = Lab(tmp_path)
    running = lab.start("run", SWEEP, "--no-cache")
    lab.wait_for_events("finish", 3, "results-sweep")
    running.kill()
    end_of(running)
    done = lab.run("run", SWEEP, *AT_ONCE, "--no-cache", code=0)
    assert "24 tasks: 15 verified, 9 falsified" in done.stdout
    attempts = [event["attempt"] for event in lab.events("start", "results-sweep")]
    assert attempts.count(1) == 24
    lab.run("report results-sweep -o g.html --grid", "lemma,order x attacker", code=0)
    page = PageReader((tmp_path / "g.html").read_text())
    grid = page.tables["Lemma and order by attacker"]
    found = []
    for row in grid:
        found.append([cell.partition(" (")[0] for cell in row])
    assert found == FOUND_BY_THE_SWEEP
    done = lab.run("audit results-sweep", code=0)
    assert "0 findings and 0 notes" in done.stdout
    # Pinned expectations tell variants apart.
    pinned = lab.run("audit results-sweep -f csv", code=0).stdout
    wanted = pinned.replace(",sign_last-none,,,verified,", ",sign_last-none,,,falsified,", 1)
    lab.write("pinned.csv", wanted)
    told = lab.run("audit results-sweep --expect pinned.csv", code=1).stdout
    assert "1 finding and 0 notes" in told
    assert "falsified expected, verified now" in told
    assert "executable (demo sign_last-none)" in told


@takes_long
def test_a_sweep_of_attackers_in_order_is_killed_and_goes_on(tmp_path):
    lab = Lab(tmp_path)
    attackers = str(HERE / "recipes" / "attackers.json")
    two_lemmas = ["--no-cache", "-t", "*--secrecy--*", "-t", "*--agreement--*"]
    running = lab.start("run", attackers, *two_lemmas)
    lab.wait_for_events("finish", 4, "results-attackers")
    running.kill()
    end_of(running)
    wait_for(lambda: lock_is_free(tmp_path / "results-attackers" / "batch.jsonl"))
    done = lab.run("run", attackers, *AT_ONCE, *two_lemmas, code=0)
    (line,) = re.findall("^48 tasks: .* verified.*", done.stdout, re.MULTILINE)
    found = Counter()
    for count, word in re.findall(r"(\d+) (?:implied )?(\w+ied)\b", line):
        found[word] += int(count)
    assert found == {"verified": 21, "falsified": 27}
    proven = [event for event in lab.events("finish", "results-attackers") if event["verdict"]]
    assert len(proven) < 36
    # Notes tell that the other lemmas are pending.
    assert "0 findings" in lab.run("audit results-attackers", code=3).stdout


LEMMAS_OF_THE_RACE = {"somebody_leaves", "entered_was_issued", "opens_once", "everybody_leaves"}


@takes_long
def test_a_race_of_heuristics_is_killed_and_goes_on(tmp_path):
    lab = Lab(tmp_path)
    race = str(HERE / "recipes" / "race.json")
    running = lab.start("run", race, "--no-cache")
    lab.wait_for_events("finish", 4, "results-race")
    running.kill()
    end_of(running)
    wait_for(lambda: lock_is_free(tmp_path / "results-race" / "batch.jsonl"))
    done = lab.run("run", race, "--no-cache", code=0)
    assert "12 tasks:" in done.stdout
    finishes = lab.finishes("results-race")
    answers = [event for event in finishes.values() if event["status"] == "completed"]
    # Two may come to it at one time, on a busy machine.
    assert len(finishes) == 12
    assert {event["verdict"] for event in answers} == {"verified", "falsified"}
    assert {event["id"].split("--")[1] for event in answers} == LEMMAS_OF_THE_RACE
    others = {event["status"] for event in finishes.values()} - {"completed"}
    assert others == {"superseded"}


@takes_long
def test_the_other_demo_recipe_shows_what_can_go_wrong(tmp_path):
    lab = Lab(tmp_path)
    trouble = str(HERE / "recipes" / "trouble.json")
    done = lab.run("run", trouble, *AT_ONCE, code=1)
    assert "1 incomplete, 1 timeout, 1 memory limit, 3 failed" in done.stdout
    assert "1 resting on a falsified lemma; 1 not as expected" in done.stdout
    assert "it was asked to crash here" in done.stdout
    assert 'broken.spthy:7:14: unexpected "-"' in done.stdout
    assert "unclosed.spthy:14:1: the theory has no 'end', or a bracket is not closed" in done.stdout


# A prover that stores a proof in a theory that it has changed.
FINDER = r"""
{
    echo "theory T begin"
    echo 'restriction evil: "F"'
    echo "rule Evil: [] --> []"
    echo "lemma $LEMMA: all-traces \"x\" simplify by solve( A( ~k ) @ #i ) $PROOF"
    echo "end"
} > "$OUT"
summary "  $LEMMA (all-traces): verified (7 steps)"
"""

# A prover that checks what is stored in a theory. It notes what it was given and, should it be
# asked to prove anything, that.
CHECKER = r"""
for word in "$@"; do
    case "$word" in
        --prove*) echo "$word" >> proved;;
        -*) ;;
        *.spthy) cat "$word" >> checked;;
    esac
done
summary <<END
  one (all-traces): verified (9 steps)
  three (all-traces): verified (9 steps)
END
"""
UNSURE = CHECKER.replace("three (all-traces): verified", "three (all-traces): analysis incomplete")
# It checks a proof with a step that it does not know.
FOREIGN = 'echo "by sorry /* invalid proof step encountered */" > "$OUT"\n' + UNSURE
# It answers, or has none, when it is asked to prove the lemma itself.
PROVES_ITSELF = (
    'case "$*" in *--prove*) echo "  $LEMMA (all-traces): VERDICT" | summary; exit;; esac\n'
)


def recipe_to_recheck(lab, finder=FINDER, checker=CHECKER, **config):
    """A recipe of two tasks for the prover `fake`, with one more prover, `trusted`."""
    lab.prover(finder)
    lab.prover(checker, alias="trusted")
    lemmas = [{"name": "one"}, {"name": "three"}]
    lab.recipe(config=config, tamarin_versions=["fake"], lemmas=lemmas)


def found_proofs(lab, finder=FINDER, checker=CHECKER):
    """A batch of two proofs that `trusted` has not checked yet."""
    recipe_to_recheck(lab, finder, checker)
    lab.run("run recipe.json", code=0)


def recheck(lab, *args, code=None):
    """Let `trusted` check the proofs of the batch; the finished process."""
    return lab.run("recheck results --prover trusted", *args, code=code)


def rechecks(lab):
    """The names of the directories in which proofs were checked."""
    return sorted(path.name for path in lab.results.glob("recheck-*"))


def test_recheck_puts_the_stored_proof_into_the_original_text(lab):
    found_proofs(lab)
    recheck(lab, code=0)
    assert not (lab.path / "proved").exists(), "checked, not searched for"
    text = lab.read("checked")
    # One theory for each of the two tasks.
    assert text.count("rule A:") == 2, text
    assert text.count('lemma three: "All k #i.') == 2, text
    assert text.count("lemma two") == 2, text
    assert text.count("simplify by solve(") == 2, text
    assert "evil" not in text, text
    assert "Evil" not in text, text


def test_recheck_is_a_batch_of_its_own_that_expects_the_same_verdicts(lab):
    found_proofs(lab)
    before = lab.journal.read_bytes()
    done = recheck(lab, code=0)
    assert lab.journal.read_bytes() == before
    assert "2 tasks: 2 confirmed" in done.stdout
    one, three = lab.events("task", "results/recheck-trusted")
    assert one["expect"] == "verified"
    assert three["expect"] == "verified"


def test_in_a_recheck_of_attackers_in_order_every_proof_is_checked(lab):
    recipe_to_recheck(lab)
    change_recipe(lab, 'tasks.task.matrix = {"can": {"subsets": ["A"]}}')
    change_recipe(lab, 'tasks.task.implies = {"order": {"can": "subset"}}')
    lab.run("run recipe.json -q --prove-implied", code=0)
    assert "4 tasks: 4 confirmed" in recheck(lab, code=0).stdout


STRANGE_PROVER = "case \"$*\" in *--version*) echo 'demo 1.0: no tamarin'; exit 0;; esac\n"


def strange_checker(lab):
    """A program that calls itself `demo`, at the place of the prover `trusted`."""
    lab.write("trusted.sh", f"#!/bin/sh\n{STRANGE_PROVER}{PRELUDE}{CHECKER}", 0o755)


@pytest.mark.parametrize("checker", ["trusted", "./trusted.sh"])
def test_a_program_of_another_name_checks_no_proofs_of_tamarin(lab, checker):
    found_proofs(lab)
    strange_checker(lab)
    done = lab.run("recheck results --prover", checker, code=2)
    assert "calls itself 'demo'" in done.stderr
    assert rechecks(lab) == []


def test_recheck_with_a_program_of_another_name_is_refused_before_the_run(lab):
    recipe_to_recheck(lab, recheck_with="trusted")
    strange_checker(lab)
    done = lab.run("run recipe.json", code=2)
    assert "calls itself 'demo'" in done.stderr
    assert not lab.results.exists()


def test_what_a_program_of_another_name_has_checked_before_does_not_count(lab, audit):
    found_proofs(lab)
    recheck(lab, code=0)
    journal = lab.results / "recheck-trusted" / "batch.jsonl"
    text = journal.read_text()
    assert '"flavour":"tamarin-prover"' in text.replace(" ", "")
    journal.write_text(re.sub(r'"flavour": ?"tamarin-prover"', '"flavour":"demo"', text))
    assert audit("results", code=0).states["one"] == "verified"


def test_a_program_is_called_by_its_own_name_when_it_checks_its_own_proofs(lab):
    recipe_to_recheck(lab)
    for name in ("fake", "trusted"):
        script = lab.path / f"{name}.sh"
        script.write_text(script.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{STRANGE_PROVER}"))
    lab.run("run recipe.json", code=0)
    lab.run("recheck results --prover ./trusted.sh", code=0)
    assert rechecks(lab) == ["recheck-demo"]


def test_a_recheck_that_contradicts_says_how_to_take_it_back(lab):
    found_proofs(lab, checker=UNSURE)
    told = recheck(lab, code=1).stdout
    folder = lab.results / "recheck-trusted"
    (line,) = [line for line in told.splitlines() if "take it back: rm -r " in line]
    assert line.endswith((f"rm -r {folder}", "rm -r results/recheck-trusted"))
    done = lab.run("run recipe.json", code=1)
    assert "take it back: rm -r " in done.stdout
    shutil.rmtree(folder)
    done = lab.run("run recipe.json", code=0)
    assert "take it back" not in done.stdout


def test_recheck_takes_nothing_but_a_proof_from_the_stored_file(lab):
    found_proofs(lab, r"PROOF='by contradictionrestriction r: \"F\"'" + FINDER)
    done = recheck(lab, code=2)
    assert done.stderr.count("its stored proof holds what is no proof") == 2
    assert not (lab.path / "checked").exists()


def test_a_verdict_that_a_recheck_does_not_confirm_is_not_as_expected(lab):
    found_proofs(lab, checker=UNSURE)
    done = recheck(lab, code=1)
    assert re.search(r"^rejected +t--three--.* expected verified!", done.stdout, re.MULTILINE)
    assert "the stored proof leaves cases open" in done.stdout
    assert "1 not as expected" in done.stdout


def test_a_verdict_that_a_recheck_does_not_confirm_is_a_finding_of_an_audit(lab):
    found_proofs(lab, checker=UNSURE)
    recheck(lab, code=1)
    done = lab.run("audit results --format json", code=1)
    report = json.loads(done.stdout)
    (finding,) = (each for each in report["findings"] if not each["note"])
    assert finding["kind"] == "invalid"
    assert finding["lemma"] == "three"
    assert finding["theory"] == "t.spthy"


def test_an_audit_says_who_confirmed_a_result(lab, audit):
    found_proofs(lab)
    recheck(lab, code=0)
    assert audit("results", code=0).states["one"] == "verified, confirmed by trusted"


def test_a_page_marks_what_is_confirmed_like_what_is_verified(lab):
    found_proofs(lab)
    recheck(lab, code=0)
    page = lab.read("results/summary.html")
    assert re.search('<td class="w verified"[^>]*>verified, confirmed by trusted', page)


def test_a_recheck_counts_for_the_proof_that_was_checked_only(lab, audit):
    found_proofs(lab)
    recheck(lab, code=0)
    proof = lab.results / "proofs" / "t--one--fake.spthy"
    proof.write_text(proof.read_text() + "// another file")
    told = audit("results", code=0)
    assert told.states["one"] == "verified"
    assert told.states["three"] == "verified, confirmed by trusted"
    words = "what trusted checked is not known to be what is there now"
    assert told.notes("unconfirmed") == [f"one: {words}"]


@pytest.mark.parametrize("path", ["results/recheck-trusted", "moved"])
def test_a_recheck_without_its_results_contradicts_nothing(lab, audit, path):
    found_proofs(lab)
    recheck(lab, code=0)
    checks = lab.results / "recheck-trusted"
    shutil.copytree(checks, lab.path / "moved" / "recheck-trusted")
    told = audit(path, code=3)
    words = "the result that was checked is not here: trusted confirms it"
    assert told.notes("unconfirmed") == [f"one: {words}", f"three: {words}"]
    assert all(each["note"] for each in told.told)


def test_a_recheck_without_its_results_tells_what_it_rejects(lab, audit):
    found_proofs(lab, checker=UNSURE)
    recheck(lab, code=1)
    assert audit("results/recheck-trusted", code=1).found_of("invalid") == ["three"]


def test_a_step_that_a_prover_cannot_replay_says_nothing_against_the_proof(lab, audit):
    found_proofs(lab, checker=FOREIGN)
    done = recheck(lab, code=3)
    assert "2 tasks: 1 confirmed, 1 not replayed" in done.stdout
    told = audit("results", code=0)
    assert told.notes("unconfirmed") == [f"three: trusted: {bt.CANT_REPLAY}"]
    assert "invalid" not in told.kinds


def test_a_recheck_that_came_to_no_end_says_nothing_against_the_proof(lab, audit):
    found_proofs(lab, checker="exit 1\n")
    recheck(lab, code=3)
    told = audit("results", code=0)
    words = "trusted came to no end of the check of the proof: failed"
    assert told.notes("unconfirmed") == [f"one: {words}", f"three: {words}"]
    assert "invalid" not in told.kinds


def test_a_proof_that_shows_the_opposite_is_a_finding(lab, audit):
    opposite = CHECKER.replace("three (all-traces): verified", "three (all-traces): falsified")
    found_proofs(lab, checker=opposite)
    recheck(lab, code=1)
    words = "trusted does not confirm the proof: by it the lemma is falsified"
    assert audit("results", code=1).findings("invalid") == [f"three: {words}"]


@pytest.mark.parametrize("checker", [FOREIGN, UNSURE], ids=["not replayed", "rejected"])
def test_who_confirms_no_proof_can_prove_the_lemma_itself(lab, audit, checker):
    own = PROVES_ITSELF.replace("VERDICT", "verified (2 steps)")
    found_proofs(lab, checker=own + checker)
    done = recheck(lab, "--prove-rejected", code=0)
    assert "1 task: 1 verified" in done.stdout
    assert audit("results", code=1 if checker is UNSURE else 0).states["three"] == (
        "verified, confirmed by trusted (its own proof)"
    )


def test_a_report_tells_what_a_recheck_does_not_confirm(lab):
    """So do its page, `status`, and the command that finds nothing to do."""
    found_proofs(lab, checker=UNSURE)
    _, _, page = lab.read("results/summary.html").partition("<main>")
    assert "contradicted" not in page
    recheck(lab, code=1)
    words = "verified, but not confirmed by trusted"
    done = lab.run("report results", code=0)
    assert words in done.stdout
    assert words in lab.read("results/summary.html")
    done = lab.run("status results", code=0)
    assert "1 contradicted" in done.stdout
    done = lab.run("run recipe.json", code=1)
    assert "1 contradicted" in done.stdout
    page = lab.read("results/recheck-trusted/summary.html")
    assert "<h1>Recheck of recipe.json by trusted</h1>" in page


def test_a_recheck_that_cannot_be_read_hides_no_result(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one")
    (lab.results / "recheck-x" / "batch.jsonl").mkdir(parents=True)
    lab.write("results/batch.jsonl", "")
    for command in ("run recipe.json", "run recipe.json", "status results", "report results"):
        done = lab.run(*command.split(), code=0)
        assert "warning: passed over: " in done.stderr
        assert "verified" in done.stdout


def test_a_prover_that_finds_the_opposite_itself_is_a_finding(lab, audit):
    own = PROVES_ITSELF.replace("VERDICT", "falsified - found trace (2 steps)")
    found_proofs(lab, checker=own + FOREIGN)
    recheck(lab, "--prove-rejected", code=1)
    told = audit("results", code=1)
    words = "verified in these results, falsified when trusted proved it"
    assert told.findings("disagreement") == [f"three: {words}"]


def test_recheck_checks_the_tasks_that_are_asked_for(lab):
    found_proofs(lab)
    done = recheck(lab, "-t", "*--one--fake", code=0)
    assert "1 task:" in done.stdout
    (checked,) = lab.finishes("results/recheck-trusted")
    assert "--one--" in checked


def test_each_prover_rechecks_in_a_directory_of_its_own(lab):
    found_proofs(lab)
    recheck(lab, code=0)
    lab.run("recheck results --prover ./trusted.sh", code=0)
    assert rechecks(lab) == ["recheck-trusted", "recheck-trusted.sh"]


def test_a_recheck_goes_on_with_recheck_and_not_with_resume(lab):
    found_proofs(lab)
    recheck(lab, code=0)
    done = lab.run("resume results/recheck-trusted", code=2)
    assert "batch_tamarin.py recheck " in done.stderr
    assert "goes on with it" in done.stderr


@pytest.mark.parametrize(
    "options, told",
    [("", "Give --prover"), ("--prover nosuch", "'nosuch' is none of the recipe's")],
)
def test_recheck_needs_a_prover(lab, options, told):
    found_proofs(lab)
    done = lab.run(f"recheck results {options}", code=2)
    assert told in done.stderr
    assert rechecks(lab) == []


def test_a_batch_without_a_stored_proof_cannot_be_rechecked(lab):
    found_proofs(lab)
    (lab.results / "proofs" / "t--one--fake.spthy").write_text("theory T begin\nend\n")
    (lab.results / "proofs" / "t--three--fake.spthy").unlink()
    done = recheck(lab, code=2)
    assert done.stderr.count("can't be checked: ") == 2
    assert "error: results: no proof of these results" in done.stderr


def test_a_proof_is_checked_in_the_text_that_was_proven(lab):
    found_proofs(lab)
    (lab.path / "t.spthy").unlink()
    recheck(lab, code=0)


def test_a_proof_of_a_text_that_was_not_kept_cannot_be_rechecked(lab):
    found_proofs(lab)
    shutil.rmtree(lab.results / "inputs")
    edit_theory(lab, "A(~k)", "B(~k)")
    done = recheck(lab, code=2)
    assert done.stderr.count("the theory has changed since it was proven") == 2


def test_recheck_with_checks_all_proofs_when_the_batch_has_ended(lab):
    # No proof is found any more as soon as one is checked.
    finder = "[ ! -e checked ] || exit 1\n" + FINDER
    recipe_to_recheck(lab, finder, recheck_with="trusted", global_max_cores=2)
    done = lab.run("run recipe.json", code=0)
    assert "2 tasks: 2 verified" in done.stdout
    assert "2 tasks: 2 confirmed" in done.stdout
    for place in ("results", "results/recheck-trusted"):
        assert len(lab.events("start", place)) == 2
        assert len(lab.events("end", place)) == 1


def test_recheck_with_checks_proofs_from_the_cache_as_well(lab):
    recipe_to_recheck(lab, recheck_with="trusted")
    lab.run("run recipe.json", code=0)
    (lab.path / "checked").unlink()
    done = lab.run("run recipe.json -o other", code=0)
    assert "All verdicts: cached " in done.stdout
    text = lab.read("checked")
    assert text.count("theory T begin") == 2


def test_what_recheck_with_does_not_confirm_decides_the_exit_code(lab):
    silent = '\nsummary "  one (all-traces): verified (9 steps)"\n'
    recipe_to_recheck(lab, checker=silent, recheck_with="trusted")
    done = lab.run("run recipe.json", code=3)
    assert "the prover's summary has no line for lemma 'three'" in done.stdout


def test_recheck_with_names_a_prover_of_the_recipe(lab):
    recipe_to_recheck(lab, recheck_with="nosuch")
    done = lab.run("run recipe.json", code=2)
    assert "config.recheck_with: no prover 'nosuch'" in done.stderr


# A prover that stops the whole batch, until there is a file `go`. One at a time: a second signal
# would come at any time, even when the program no longer listens.
STOPPER = "[ -e go ] || { kill -TERM $PPID; sleep 600; }\n"
ONE_AT_A_TIME = {"recheck_with": "trusted", "global_max_cores": 1}


def test_a_batch_that_was_stopped_is_not_rechecked(lab):
    recipe_to_recheck(lab, STOPPER + FINDER, **ONE_AT_A_TIME)
    lab.run("run recipe.json", code=143)
    assert rechecks(lab) == []


def test_a_recheck_that_was_stopped_is_told_by_the_exit_code_of_the_run(lab):
    recipe_to_recheck(lab, checker=STOPPER + CHECKER, **ONE_AT_A_TIME)
    lab.run("run recipe.json", code=143)
    for event in lab.finishes().values():
        assert event["verdict"] == "verified"
    (end,) = lab.events("end", "results/recheck-trusted")
    assert end["signal"] == signal.SIGTERM


def test_recheck_goes_on_with_checks_that_were_stopped(lab):
    recipe_to_recheck(lab, checker=STOPPER + CHECKER, **ONE_AT_A_TIME)
    lab.run("run recipe.json", code=143)
    lab.write("go", "")
    lab.run("recheck results", code=0)
    finishes = lab.finishes("results/recheck-trusted")
    assert len(finishes) == 2
    for event in finishes.values():
        assert event["verdict"] == "verified"


def test_a_run_without_standard_streams_runs(lab):
    lab.prover(VERIFY)
    lab.recipe()
    run = " ".join(lab.command("run recipe.json"))
    shell = ["sh", "-c", f"{run} <&- >&- 2>&-"]
    done = subprocess.run(shell, cwd=lab.path, timeout=RUN_S, check=False)
    assert done.returncode == 0
    assert len(lab.finishes()) == 3


@pytest.mark.parametrize(
    "command, told",
    [
        ("report results/nowhere", "results/nowhere: there is no such results directory"),
        ("status nowhere", "nowhere: there is no such results directory"),
        ("resume nowhere", "nowhere: there is no such results directory"),
        ("recheck nowhere", "nowhere: there is no such results directory"),
        ("resume recipe.json", "is a file"),
        ("report html", "there is no such results directory (did you mean '-f html'?)"),
        ("run results", "results: is a directory: name a recipe\n"),
        ("run recipe", "is a directory: name a recipe (did you mean 'recipe.json'?)"),
        ("run old", "name a recipe, or `batch_tamarin.py resume old` goes on with them"),
        ("run old/batch.jsonl", "or `batch_tamarin.py resume old` goes on with them"),
        ("run recipe.json -o recipe.json", "is a file: -o takes the results directory"),
    ],
)
def test_a_mistyped_results_directory_is_named(lab, command, told):
    lab.results.mkdir()
    (lab.path / "recipe").mkdir()
    lab.write("old/batch.jsonl", "")
    lab.prover(VERIFY)
    lab.recipe()
    done = lab.run(*command.split(), code=2)
    assert told in done.stderr


def test_the_script_tells_its_version():
    told = subprocess.check_output([sys.executable, str(SCRIPT), "--version"], text=True)
    assert told == f"batch_tamarin.py {bt.__version__}\n"


def test_help_has_examples_and_exit_codes(lab):
    text = lab.run("--help", code=0).stdout
    assert "examples:" in text
    assert "exit codes" in text


@pytest.mark.parametrize("args", [[], ["run"]], ids=["no command", "no recipe"])
def test_a_command_line_that_lacks_something_is_an_error(lab, args):
    done = lab.run(*args, code=2)
    assert "error: " in done.stderr


def test_contents_and_banners_agree():
    source = SCRIPT.read_text(encoding="utf-8")
    _, _, rest = bt.__doc__.partition("Contents")
    contents, _, _ = rest.partition("\nWords:")
    listed = re.findall(r"^    ([A-Z].*)$", contents, re.MULTILINE)
    banners = re.findall(r"^# === (.*?)(?: \(.*\))? =+$", source, re.MULTILINE)
    assert listed
    assert banners == listed


def test_a_mistyped_id_is_compared_with_its_neighbours_only(monkeypatch):
    """With 100,000 ids it would take ten seconds."""
    import difflib

    compared = []
    compare = difflib.get_close_matches

    def count(word, words, *options):
        compared.append(len(words))
        return compare(word, words, *options)

    monkeypatch.setattr(difflib, "get_close_matches", count)
    ids = [f"theory{number % 7}--lemma{number}--fake" for number in range(20_000)]
    for mistyped in ("teory3--lemma10--fake", "theory3--lemma10--fke", "theory3--lema10--fake"):
        assert bt.did_you_mean(mistyped, ids) == " (did you mean 'theory3--lemma10--fake'?)"
    assert max(compared) <= 400


@pytest.mark.parametrize(
    "command, hint",
    [
        ("rnu", "did you mean 'run'"),
        ("run r.json --sheduler fifo", "'--sheduler' (did you mean '--scheduler'?)"),
        ("run r.json -s fif", "did you mean 'fifo'"),
        ("status r --jsno=1", "did you mean '--json'"),
        ("run r.json --core 2", "'--core' (did you mean '--cores'?)"),
        ("run r.json --resume", "'--resume': run it again: it goes on"),
        ("run r.json --lemma x", "'--lemma': -t '*--LEMMA--*'"),
        ("run r.json --dry-run", "'--dry-run': `check RECIPE`"),
        ("run r.json -v", "'-v': `run` and `check` show more with -d"),
        ("report r -f HTML", "did you mean 'html'?"),
        ("report r --html", "'--html': -f html (of `report` and `audit`)"),
        ("check r.json -r", "'-r': `check RECIPE --report`"),
        ("cache clear -e", "'-e': `cache clear --errors-only`"),
        ("run r.json -n", "'-n': `check RECIPE`"),
        ("audit r -o x.md", "'-o': `> FILE`"),
        ("run a.json b.json", "'b.json': one at a time"),
        ("run a.json results", "'results' (did you mean '-o results'?)"),
        ("retry r --timeout 30", "'--timeout': raise the limit in the recipe; retry doubles it"),
        ("lemmas t.spthy --prove", "'--prove': it proves nothing: `init THEORY`"),
        ("init t.spthy --option --auto-sources", "argument: write --option=--auto-sources\n"),
        ("cache prune", "'prune' (the cache prunes itself: --cache-size GB)"),
        ("report r -f tex md", "'md' (did you mean '-f md'?)"),
        ("report r -f xml", "did you mean 'junit'?"),
        ("r.json", "did you mean 'run r.json'?"),
        ("t.spthy", "did you mean 'init t.spthy'?"),
        ("recipes", "did you mean 'status recipes'?"),
    ],
)
def test_mistyped_words_get_a_suggestion(capsys, tmp_path, monkeypatch, command, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    with pytest.raises(SystemExit, match="2"):
        bt.main(command.split())
    told = capsys.readouterr().err
    assert hint in told
    assert len(told.splitlines()) == 2, told


@pytest.mark.parametrize(
    "options, told",
    [
        ("--cores 0", "'0' is neither a positive whole number nor \"max\""),
        ("--cores 1.5", "'1.5' is neither a positive whole number nor \"max\""),
        ("--memory 0%", "'0%' is neither GB, nor \"max\", nor a percentage such as 50%"),
        ("--timeout nan", "'nan' is no positive number below 10^9"),
        ("--timeout 1_000", "'1_000' is no positive number below 10^9"),
        ("--timeout 2h", "'2h' is no number of seconds: write 7200 (seconds)"),
        ("--memory 8GB", "such as 50%: write 8 (GB)"),
        ("--retry -1", "'-1' is no whole number from 0 to 20"),
        ("--retry 21", "'21' is no whole number from 0 to 20"),
    ],
)
def test_limits_that_make_no_sense_are_refused(capsys, options, told):
    with pytest.raises(SystemExit, match="2"):
        bt.main(["run", "r.json", *options.split()])
    assert told in capsys.readouterr().err


COMMANDS = [
    "run",
    "resume",
    "retry",
    "check",
    "init",
    "status",
    "report",
    "audit",
    "recheck",
    "lemmas",
]


@pytest.mark.parametrize("command", [*COMMANDS, "cache"])
def test_every_command_has_help_with_examples(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        bt.main([command, "--help"])
    done = capsys.readouterr()
    assert f"examples:\n  batch_tamarin.py {command} " in done.out


@pytest.mark.parametrize(
    "words, told", [("help", "commands:"), ("help run", "--fresh"), ("-v", "batch_tamarin.py ")]
)
def test_help_may_be_asked_for_in_other_words(capsys, words, told):
    with pytest.raises(SystemExit, match="0"):
        bt.main(words.split())
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, told",
    [
        ("run recip.json", "recip.json: can't be read: No such file"),
        ("init tt.spthy", "tt.spthy: there is no such theory file (did you mean 't.spthy'?)"),
        ("lemmas tt.spthy", "(did you mean 't.spthy'?)"),
        ("status result", "result: there is no such results directory (did you mean 'results'?)"),
        ("audit result", "No such file or directory (did you mean 'results'?)"),
        ("report resu", "there is no such results directory (did you mean 'results'?)"),
    ],
)
def test_a_misspelt_file_is_answered_with_the_nearest_name(run_here, lab, words, told):
    lab.results.mkdir()
    done = run_here(*words.split(), code=2)
    assert told in done.err


def test_a_recheck_of_no_task_is_refused(one_lemma):
    one_lemma.prover(FINDER.replace("$PROOF", ""))
    one_lemma.run("run recipe.json", code=0)
    command = ["recheck", "results", "--prover", "fake", "-t", "nosuch"]
    done = one_lemma.run(*command, code=2)
    assert "-t 'nosuch' matches no task" in done.stderr


# A prover that passes its self-test, and loads theories with a warning, but for one option. It
# writes its report in a comment at the end of the theory, as Tamarin does.
CHECKED = r"""
if [ "$1" = test ]; then
    echo "All tests successful. The prover should work as intended."
    exit 0
fi
echo "$@" >> calls
case "$*" in
    *--prove*) exit 9;;
    *--broken*)
        printf '"t.spthy" (line 3, column 7):\nunexpected "x"\n' >&2
        exit 1;;
esac
cat > "$OUT" <<END
/*
WARNING: the following wellformedness checks failed!

Unbound variables
=================

  rule A has x
*/
END
summary <<END
  WARNING: 1 wellformedness check failed!
  one (all-traces): analysis incomplete (1 steps)
END
"""


def check_of_two_variations(lab):
    """A check of a recipe in which lemma two has options of its own; the finished process."""
    lab.prover(CHECKED)
    special = {"name": "two", "tamarin_options": ["--bound=7"], "preprocess_flags": ["X"]}
    lab.recipe(lemmas=[{"name": "*"}, special])
    return lab.run("check recipe.json -d", code=0)


def test_check_loads_each_variation_once_with_its_own_options(lab):
    check_of_two_variations(lab)
    calls = lab.read("calls").splitlines()
    assert len(calls) == 2
    plain, special = sorted(calls, key=lambda call: "--bound" in call)
    assert "--bound" not in plain
    assert "--bound=7 -D=X" in special
    assert "--prove" not in plain
    assert "--prove" not in special


def test_check_tells_what_provers_and_loads_say(lab):
    done = check_of_two_variations(lab)
    assert "self-test passed" in done.stdout
    assert done.stdout.count("1 wellformedness check failed: Unbound variables") == 2
    assert "it can run" in done.stderr


def test_check_shows_tasks_with_limits_and_commands(lab):
    done = check_of_two_variations(lab)
    assert "t--one--fake: 1 core, 1 GB, 300 s" in done.stdout
    assert "--prove=two --bound=7 -D=X" in done.stdout


def test_check_writes_nothing(lab):
    check_of_two_variations(lab)
    names = {path.name for path in lab.path.iterdir()}
    assert names == {"t.spthy", "recipe.json", "fake.sh", "calls"}


def test_check_tells_why_a_theory_does_not_load(lab):
    lab.prover(CHECKED)
    lab.recipe(tamarin_options=["--broken"])
    done = lab.run("check recipe.json", code=2)
    assert 'error: it does not load: exit code 1: t.spthy:3:7: unexpected "x"' in done.stdout
    assert "error: this recipe can't run as it is: 1 error" in done.stderr


def test_check_says_what_can_run_beside_what_fails(lab):
    lab.prover(CHECKED)
    broken = {"name": "two", "tamarin_options": ["--broken"]}
    lab.recipe(lemmas=[{"name": "one"}, broken])
    done = lab.run("check recipe.json", code=2)
    assert "error: 1 of 2 tasks would fail as they are: 1 error\n" in done.stderr
    assert "the others can run: batch_tamarin.py run recipe.json\n" in done.stderr


def test_a_self_test_that_fails_is_a_warning(lab):
    lab.prover(CHECKED.replace("All tests successful. The prover should", "Some tests failed. It"))
    lab.recipe()
    done = lab.run("check recipe.json", code=0)
    assert "warning: self-test failed" in done.stdout
    assert "it can run" in done.stderr


@pytest.mark.parametrize(
    "options, code, told", [([], 0, "rule A has x"), (["--broken"], 2, 'unexpected "x"')]
)
def test_check_reports_in_full_what_the_prover_said(lab, options, code, told):
    lab.prover(CHECKED)
    lab.recipe(tamarin_options=options)
    lab.run("check recipe.json --report", code=code)
    report = lab.path / bt.CHECK_REPORT / "t--one--fake.txt"
    assert told in report.read_text()


def test_check_says_what_it_reports(lab):
    lab.prover(CHECKED)
    lab.recipe()
    done = lab.run("check recipe.json --report", code=0)
    assert f"wrote 1 report to {bt.CHECK_REPORT}/" in done.stderr


def test_check_says_that_there_is_nothing_to_report(lab):
    body = CHECKED.replace("WARNING: 1 well", "no")
    lab.prover(body.replace("--broken", "--prove"))
    lab.recipe()
    done = lab.run("check recipe.json --report", code=0)
    assert "nothing to report: no file was written" in done.stderr
    assert not (lab.path / bt.CHECK_REPORT).exists()


def test_check_names_the_lemmas(lab):
    lab.write("t.spthy", many_lemmas(10))
    lab.prover(CHECKED)
    lab.recipe()
    done = lab.run("check recipe.json", code=0)
    assert "  lemmas: l0, l1, l2, l3, l4, l5, l6, l7 and 2 more\n" in done.stdout
    done = lab.run("check recipe.json -d", code=0)
    assert "l9--fake: 1 core" in done.stdout


def test_check_keeps_the_limits(lab):
    lab.prover(CHECKED + "sleep 600")
    lab.recipe(resources={"max_cores": 1, "max_memory": 1, "timeout": 0.3})
    done = lab.run("check recipe.json", code=2)
    assert "ran into its time limit of 0.3 s" in done.stdout


@pytest.mark.parametrize("first_line", ["#!/bin/sh\n", "#!/usr/bin/env -S sh -e\n"])
def test_an_oracle_that_can_be_called_is_no_problem(lab, first_line):
    path = lab.write("oracle", first_line, 0o755)
    assert bt.oracle_problem(str(path), os.environ) == ""


@pytest.mark.parametrize(
    "first_line, interpreter",
    [
        ("#!/usr/bin/nosuch -x\n", "'/usr/bin/nosuch'"),
        ("#!/usr/bin/env nosuch\n", "'nosuch'"),
        ("#!/bin/sh\r\n", "'/bin/sh\\r'"),
    ],
)
def test_an_oracle_needs_its_interpreter(tmp_path, first_line, interpreter):
    path = tmp_path / "oracle"
    path.write_bytes(first_line.encode())
    path.chmod(0o755)
    problem = bt.oracle_problem(str(path), os.environ)
    assert f"needs the interpreter {interpreter}" in problem


def test_an_oracle_must_exist_and_be_executable(lab):
    path = lab.path / "oracle"
    assert "does not exist" in bt.oracle_problem(str(path), os.environ)
    lab.write("oracle", "#!/bin/sh\n", 0o644)
    assert "not executable" in bt.oracle_problem(str(path), os.environ)


def test_an_oracle_must_be_readable(lab, monkeypatch):
    def closed(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = lab.write("oracle", "#!/bin/sh\n", 0o711)
    monkeypatch.setattr("builtins.open", closed)
    assert bt.oracle_problem(str(path), os.environ) == "can't be read: Permission denied"


def test_check_tests_the_oracles_that_would_be_called(lab):
    lab.prover(CHECKED)
    lab.recipe(tamarin_options=["--heuristic=o", "--oraclename=ask.py"])
    done = lab.run("check recipe.json", code=2)
    assert f"error: oracle {lab.path}/ask.py does not exist" in done.stdout
    lab.write("ask.py", "#!/bin/sh\n", 0o755)
    done = lab.run("check recipe.json", code=0)
    assert f"  oracle {lab.path}/ask.py\n" in done.stdout


def init(lab, *args, code=0):
    """Make a recipe with the prover `fake` without a question; the finished process."""
    lab.prover(CHECKED)
    return lab.run("init", *args, "--yes", "--prover", "./fake.sh", code=code)


def written_recipe(lab, name="recipe.json"):
    """What a recipe says."""
    return json.loads(lab.read(name))


LIMITS = "--cores 1 --memory 50% --timeout 77"


def test_init_writes_the_recipe_that_it_prints(lab):
    done = init(lab, "t.spthy", *LIMITS.split(), "--results", "out")
    recipe = written_recipe(lab)
    assert recipe == json.loads(done.stdout)
    assert recipe["config"] == {
        "global_max_cores": 1,
        "global_max_memory": "50%",
        "default_timeout": 77,
        "output_directory": "out",
    }


def test_init_takes_a_prover_with_blanks_in_its_path(lab):
    lab.write("my tools/tp", PRELUDE + VERIFY, 0o755)
    program = f"{lab.path}/my tools/tp"
    lab.run("init t.spthy --yes --prover", program, "-o", "r.json", code=0)
    # Who gives an absolute path means it.
    versions = written_recipe(lab, "r.json")["tamarin_versions"]
    assert versions["tp"]["path"] == program
    done = lab.run("init t.spthy --yes --prover nope' -o s.json", code=2)
    assert "there is no command 'nope'' on PATH" in done.stderr


def test_init_takes_lemmas_and_provers_from_the_command_line(lab):
    init(lab, "t.spthy", "--lemma", "one", "--lemma", "t*")
    entry = written_recipe(lab)["tasks"]["t"]
    assert entry["lemmas"] == [{"name": "one"}, {"name": "t*"}]
    assert entry["tamarin_versions"] == ["fake.sh"]


def test_paths_in_a_recipe_of_init_count_from_the_recipe(lab):
    (lab.path / "sub").mkdir()
    init(lab, "t.spthy", "-o", "sub/r.json")
    recipe = written_recipe(lab, "sub/r.json")
    assert recipe["tasks"]["t"]["theory_file"] == "../t.spthy"
    assert recipe["tamarin_versions"]["fake.sh"]["path"] == "../fake.sh"


DIFF_THEORY = """theory D begin
rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(diff(~k, ~k)) ]
lemma one: exists-trace "Ex k #i. A(k) @ i"
end
"""


def test_init_adds_diff_where_a_theory_needs_it(lab):
    lab.write("d.spthy", DIFF_THEORY)
    done = init(lab, "t.spthy", "d.spthy")
    tasks = written_recipe(lab)["tasks"]
    assert "tamarin_options" not in tasks["t"]
    assert tasks["d"]["tamarin_options"] == ["--diff"]
    assert "note: proven with --diff, which tamarin-rs has not: d.spthy" in done.stderr


def test_init_names_theories_of_the_same_name_apart(lab):
    lab.write("sub/t.spthy", THEORY)
    init(lab, "t.spthy", "sub/t.spthy")
    tasks = written_recipe(lab)["tasks"]
    assert tasks["t"]["theory_file"] == "t.spthy"
    assert tasks["sub-t"]["theory_file"] == "sub/t.spthy"


def test_a_recipe_of_init_passes_check(lab):
    lab.write("sub/d.spthy", DIFF_THEORY)
    init(lab, "t.spthy", "sub/d.spthy", "-o", "sub/r.json", *LIMITS.split())
    lab.run("check sub/r.json", code=0)


def test_init_never_asks_a_pipe(lab):
    done = lab.run("init t.spthy", code=2)
    assert "add --yes" in done.stderr
    assert not (lab.path / "recipe.json").exists()


def test_init_never_overwrites_a_file_unless_told_to(lab):
    path = lab.write("recipe.json", "mine")
    done = init(lab, "t.spthy", code=2)
    assert "--force" in done.stderr
    assert path.read_text() == "mine"
    init(lab, "t.spthy", "--force")
    assert "tasks" in written_recipe(lab)


def test_init_refuses_a_pattern_that_no_lemma_matches(lab):
    done = init(lab, "t.spthy", "--lemma", "on", code=2)
    assert "no lemma of t.spthy matches 'on'" in done.stderr
    assert not (lab.path / "recipe.json").exists()


DIALOGUE = """
provers (commands or files; | ./nosuch
no such file './nosuch' | ./fake.sh
cores for all | many
'many' is neither |
GB for all jobs | 1.5
seconds for one lemma |
options of the provers for t.spthy [none] | bound=5
an option's value is joined | --bound=5 --auto-sources
lemmas of t.spthy: one, two, three | thre
did you mean 'three' | t* !two three:timeout=60,memory=2
limits of one job of t.spthy (timeout=SECONDS too) [cores= | memry=1
did you mean 'memory' | timeout=90
directory for the results | out
write this to recipe.json? | y
"""


def answer(terminal, dialogue):
    """Wait for each question, and type what stands behind it."""
    for line in dialogue.strip().splitlines():
        question, _, words = line.partition(" |")
        terminal.until(question)
        terminal.type(words.strip() + "\n")


def init_on_terminal(lab):
    """`init` on a terminal, with no prover on PATH."""
    lab.prover(VERIFY)
    return Terminal(lab, "init", "t.spthy", PATH="/usr/bin:/bin")


def test_init_asks_on_a_terminal_until_an_answer_makes_sense(lab):
    terminal = init_on_terminal(lab)
    answer(terminal, DIALOGUE)
    assert terminal.end() == 0
    recipe = written_recipe(lab)
    assert recipe["config"]["global_max_memory"] == 1.5
    assert recipe["config"]["output_directory"] == "out"
    assert recipe["tasks"]["t"]["tamarin_versions"] == ["fake.sh"]
    assert recipe["tasks"]["t"]["tamarin_options"] == ["--bound=5", "--auto-sources"]
    three = {"name": "three", "resources": {"timeout": 60, "max_memory": 2}}
    assert recipe["tasks"]["t"]["lemmas"] == [three, {"name": "t*"}, {"name": "!two"}]
    assert recipe["tasks"]["t"]["resources"]["timeout"] == 90


def test_init_shows_the_recipe_and_writes_nothing_against_a_users_will(lab):
    terminal = init_on_terminal(lab)
    answer(terminal, DIALOGUE.replace("recipe.json? | y", "recipe.json? | n"))
    assert terminal.end() == 2
    seen = terminal.text()
    assert seen.index('"tamarin_versions"') < seen.index("write this")
    assert "nothing was written" in seen
    assert not (lab.path / "recipe.json").exists()


def test_init_writes_nothing_when_the_answers_end(lab):
    terminal = init_on_terminal(lab)
    terminal.until("provers (commands or files;")
    terminal.type("\x04")
    assert terminal.end() == 2
    assert "no answer: nothing was written" in terminal.text()
    assert not (lab.path / "recipe.json").exists()


@pytest.mark.parametrize("place, recipe", [("work", "sub/r.json"), ("work/sub", "r.json")])
def test_a_recipe_of_init_names_the_theory_that_was_shown(lab, place, recipe):
    """Also where a file of the same name lies in another directory."""
    lab.prover(VERIFY)
    lab.write("work/a.spthy", THEORY.replace("one", "mine"))
    lab.write("a.spthy", THEORY.replace("one", "others"))
    (lab.path / "work" / "sub").mkdir()
    options = "-o sub/r.json --yes --prover ../fake.sh --cores 1"
    lab.run(f"init a.spthy {options}", cwd=lab.path / "work", code=0)
    done = lab.run("run", recipe, cwd=lab.path / place, code=0)
    assert "mine" in done.stdout
    assert "others" not in done.stdout


# A prover that can't parse some theories.
REFUSING = r"""
for word in "$@"; do
    case "$word" in
        *.spthy)
            if grep -q 'refuse me' "$word"; then
                printf '"%s" (line 1, column 7):\nunexpected "x"\n' "$word" >&2
                exit 1
            fi;;
    esac
done
summary <<END
  one (all-traces): analysis incomplete (1 steps)
END
"""
LEFT_OUT = """
art/deep/part.spthy: is included by art/main.spthy
art/deep/broken.spthy:2:1: the theory has no 'end'
art/deep/refused.spthy: fake.sh refuses it: art/deep/refused.spthy:1:7: unexpected "x"
art/deep/idle.spthy: has no lemmas: nothing to prove
art/deep/main_results.spthy: is a result, as its name says
art/deep/printed.spthy: is a result, printed by Tamarin 1.10.0
art/blind.spthy: its oracle
art/out/proofs/main.spthy: belongs to the results in
"""


def test_init_takes_a_folder_and_names_what_it_leaves_out(lab):
    lab.write("art/main.spthy", THEORY.replace("rule", '#include "deep/part.spthy"\nrule', 1))
    lab.write("art/deep/part.spthy", "rule P: [ Fr(~p) ] --> [ Out(~p) ]\n")
    lab.write("art/deep/broken.spthy", "theory B begin\n")
    lab.write("art/deep/refused.spthy", THEORY.replace("begin", "begin // refuse me"))
    lab.write("art/deep/idle.spthy", "theory I begin end")
    lab.write("art/deep/main_results.spthy", THEORY)
    lab.write("art/deep/printed.spthy", printed_theory(version="1.10.0", quiet="by sorry"))
    lab.write("art/blind.spthy", THEORY.replace("begin", "begin\nheuristic: o"))
    lab.write("art/out/batch.jsonl", "")
    os.mkfifo(lab.path / "art" / "pipe.spthy")
    lab.write("art/out/proofs/main.spthy", THEORY)
    lab.prover(REFUSING)
    done = lab.run("init art --yes --prover ./fake.sh", code=0)
    assert list(written_recipe(lab)["tasks"]) == ["main"]
    left_out = "\n".join(line for line in done.stderr.splitlines() if "left out: " in line)
    for words in LEFT_OUT.strip().splitlines():
        assert words in left_out
    assert left_out.count("left out: ") == 8
    lab.run("check recipe.json", code=0)


@pytest.mark.parametrize("folder", ["proofs", "inputs", "earlier", "recheck", "recheck~proofs"])
def test_init_takes_no_text_of_a_results_directory(lab, folder):
    lab.write("out/batch.jsonl", "")
    lab.write(f"out/{folder}/p/one/t.spthy", THEORY)
    done = init(lab, "out", code=2)
    assert "belongs to the results in" in done.stderr


def test_init_takes_patterns_and_each_theory_once(lab):
    lab.write("a/b/u.spthy", THEORY)
    init(lab, "**/*.spthy", "t.spthy", "a")
    assert list(written_recipe(lab)["tasks"]) == ["u", "t"]


@pytest.mark.parametrize(
    "text, wanted",
    [("theory B begin\n", "t.spthy:2:1: the theory has no 'end'"), ("refuse me", "starts with")],
)
def test_init_writes_nothing_where_no_theory_is_left(lab, text, wanted):
    lab.write("t.spthy", text)
    done = init(lab, "t.spthy", code=2)
    assert wanted in done.stderr
    assert not (lab.path / "recipe.json").exists()


def test_init_writes_nothing_where_the_prover_refuses_all(lab):
    edit_theory(lab, "begin", "begin // refuse me")
    lab.prover(REFUSING)
    done = lab.run("init t.spthy --yes --prover ./fake.sh", code=2)
    assert "fake.sh refuses it" in done.stderr
    assert not (lab.path / "recipe.json").exists()


def test_init_lets_each_prover_parse_with_its_own_command_line(lab):
    """tamarin-rs refuses `+RTS`, so that it said nothing of the theory."""
    lab.write("bad.spthy", THEORY.replace("begin", "begin // refuse me"))
    lab.prover('case "$*" in *+RTS*) exit 2;; esac\n' + REFUSING)
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("tamarin-prover 1.11.0", "tamarin-rs 1.13.0"))
    done = lab.run("init t.spthy bad.spthy --yes --prover ./fake.sh", code=0)
    assert "left out: bad.spthy: fake.sh refuses it" in done.stderr
    assert list(written_recipe(lab)["tasks"]) == ["t"]


def test_a_theory_that_one_of_two_provers_refuses_stays_with_the_other(lab):
    edit_theory(lab, "begin", "begin // refuse me")
    lab.prover(REFUSING, "strict")
    lab.prover(CHECKED, "fake")
    provers = ["--prover", "./strict.sh", "--prover", "./fake.sh"]
    lab.run("init t.spthy --yes", *provers, code=0)
    entry = written_recipe(lab)["tasks"]["t"]
    assert entry["tamarin_versions"] == ["fake.sh"]


NAMES_APART = {
    "alone.spthy": "alone",
    "a/aka.spthy": "a-aka",
    "b/aka.spthy": "b-aka",
    "x/one/tls.spthy": "x-one-tls",
    "y/one/tls.spthy": "y-one-tls",
    "../up.spthy": "up",
    "odd name+.spthy": "odd_name_",
}


@pytest.mark.parametrize("turn", [list, reversed])
def test_names_of_files_do_not_depend_on_their_order(turn):
    names = bt.names_apart(turn(list(NAMES_APART)))
    assert names == NAMES_APART


def test_names_of_files_differ_where_folders_cannot_tell(lab):
    names = bt.names_apart(["a-b/c.spthy", "a/b-c.spthy", "b/c.spthy", "A/B-C.spthy"])
    assert len({name.lower() for name in names.values()}) == 4


WITH_BRANCHES = f"""theory T begin
{RULE_A}
#ifdef A & not B
lemma in_a: "T"
#else
lemma without_a: "T"
#endif
#ifdef A
#ifdef C
lemma deep: "T"
#endif
#endif
#include "more.spthy"
lemma always: "T"
end
"""


@pytest.fixture
def branches(lab):
    """A lab with a theory whose lemmas depend on flags."""
    lab.write("t.spthy", WITH_BRANCHES)
    lab.write("more.spthy", '#ifdef D\nlemma included: "T"\n#endif\n')
    return lab


def test_init_says_which_lemmas_need_which_flags(branches):
    done = init(branches, "t.spthy")
    for words in ("in_a (-D A)", "included (-D D)", "deep (-D A -D C)"):
        assert words in done.stderr
    entry = written_recipe(branches)["tasks"]["t"]
    assert "preprocess_flags" not in entry
    assert entry["lemmas"] == [{"name": "*"}]


def test_init_takes_flags_for_the_theories_that_ask_for_them(branches):
    branches.write("u.spthy", THEORY)
    done = init(branches, "t.spthy", "u.spthy", "-D", "A", "-D=C")
    tasks = written_recipe(branches)["tasks"]
    assert tasks["t"]["preprocess_flags"] == ["A", "C"]
    assert "preprocess_flags" not in tasks["u"]
    assert "included (-D D)" in done.stderr
    assert "in_a (" not in done.stderr
    done = branches.run("check recipe.json -d", code=0)
    assert "t--deep--fake.sh" in done.stdout


def test_init_gives_a_lemma_that_is_named_the_flags_that_it_needs(branches):
    init(branches, "t.spthy", "--lemma", "always", "--lemma", "deep:timeout=7")
    deep, always = written_recipe(branches)["tasks"]["t"]["lemmas"]
    assert always == {"name": "always"}
    assert deep == {"name": "deep", "preprocess_flags": ["A", "C"], "resources": {"timeout": 7}}
    branches.run("check recipe.json", code=0)


INIT_REFUSALS = """
--- a flag that no theory asks for: -D AA: no theory asks for this flag (did you mean 'A'?)
t.spthy -D AA
--- a pattern for lemmas behind flags: no lemma of t.spthy matches 'de*'; deep needs -D A -D C
t.spthy --lemma de*
--- a lemma of no theory: error: no lemma of t.spthy matches 'zz'
t.spthy --lemma always --lemma zz
--- a pattern for no lemma of many theories: error: --lemma 'alwys*': no theory has such a lemma
. --lemma alwys*
--- a flag for lemmas that need others: error: -D AA: no theory asks for this flag (did you mean
idle.spthy -D AA
--- a lemma of what is left out: error: --lemma 'one': only theories that are left out have such
other.spthy t.spthy --lemma one --lemma always
--- limits of another kind: 'memry=3' is none of cores=, memory=, timeout= (did you mean 'memory'?)
t.spthy --lemma always:memry=3
--- half a core: cores: must be a positive whole number
t.spthy --limits cores=1.5
--- no time: timeout: must be a positive number, not "soon"
t.spthy --limits timeout=soon
--- an option that is ours: --prove can't be given here
t.spthy --option=--prove
--- no flag: '-x y' is no name of a preprocessor flag
t.spthy -D=-x\u00a0y
--- two provers of one alias: two provers have one alias
t.spthy --prover a=./fake.sh --prover a=./other.sh
--- an alias that cannot name files: the alias '../a' becomes part of file names
t.spthy --prover ../a=./fake.sh
--- results with lemmas: --from takes lemmas, flags, options, limits and provers from the results
--from results --lemma one
--- a folder without theories: empty: there is no theory (.spthy) in this folder
empty
--- theories and results: give theories, or their folder; or else results
t.spthy --from results
--- nothing: give theories, or their folder; or else results

"""


@pytest.mark.parametrize("text, wanted", cases(INIT_REFUSALS))
def test_init_refuses_with_a_reason(branches, text, wanted):
    branches.prover(CHECKED, "fake")
    branches.prover(CHECKED, "other")
    (branches.path / "empty").mkdir()
    branches.write("idle.spthy", 'theory I begin\n#ifdef A\nlemma a: "T"\n#endif\nend\n')
    branches.write("other.spthy", THEORY.replace("begin", "begin\nheuristic: o"))
    words = text.split(" ") if text.strip() else []
    words = [word.replace("\u00a0", " ").strip() for word in words]
    if not any("--prover" in word for word in words):
        words += ["--prover", "./fake.sh"]
    done = branches.run("init", *words, "--yes", code=2)
    assert wanted in done.stderr.replace("\u00a0", " ")
    assert not (branches.path / "recipe.json").exists()


def test_init_forgets_flags_that_a_theory_does_not_ask_for(branches):
    branches.write("idle.spthy", 'theory I begin\n#ifdef Z\nlemma z: "T"\n#endif\nend\n')
    done = init(branches, "t.spthy", "idle.spthy", "-D", "B", "-D", "A")
    assert "idle.spthy: 1 lemma needs flags: z (-D Z)" in done.stderr
    assert "deep (-D C)" in done.stderr
    entry = written_recipe(branches)["tasks"]["t"]
    assert entry["preprocess_flags"] == ["B", "A"]


def test_a_flag_that_only_theories_ask_for_that_are_left_out(branches):
    branches.write("idle.spthy", 'theory I begin\n#ifdef Z\nlemma z: "T"\n#endif\nend\n')
    done = init(branches, "t.spthy", "idle.spthy", "--lemma", "always", "-D", "Z")
    assert "warning: -D Z: only theories that are left out ask for this flag" in done.stderr


# Of a theory all whose lemmas stand in an #ifdef.
IDLE_DIALOGUE = """
provers (commands or files; | ./fake.sh
cores for all |
GB for all jobs | 1.5
seconds for one lemma |
flags of t.spthy (it asks for Z) [none] |
error: with these flags there is no lemma: 1 lemma needs flags: z (-D Z) | Z
options of the provers |
lemmas of t.spthy: z |
limits of one job |
directory for the results |
write this to recipe.json? |
"""


def test_init_asks_for_the_flags_without_which_a_theory_has_no_lemmas(lab):
    lab.write("t.spthy", 'theory I begin\n#ifdef Z\nlemma z: "T"\n#endif\nend\n')
    terminal = init_on_terminal(lab)
    answer(terminal, IDLE_DIALOGUE)
    assert terminal.end() == 0
    entry = written_recipe(lab)["tasks"]["t"]
    assert entry["preprocess_flags"] == ["Z"]


def test_init_takes_options_and_limits(lab):
    lab.write("d.spthy", DIFF_THEORY)
    init(lab, "t.spthy", "d.spthy", "--option=--bound=5", "--limits", "cores=1,memory=3,timeout=9")
    tasks = written_recipe(lab)["tasks"]
    assert tasks["t"]["tamarin_options"] == ["--bound=5"]
    assert tasks["d"]["tamarin_options"] == ["--diff", "--bound=5"]
    assert tasks["t"]["resources"] == {"max_cores": 1, "max_memory": 3, "timeout": 9}


def test_lemmas_with_limits_come_before_patterns_without(lab):
    init(lab, "t.spthy", "--lemma", "*", "--lemma", "t*:cores=1,timeout=7")
    first, rest = written_recipe(lab)["tasks"]["t"]["lemmas"]
    assert first == {"name": "t*", "resources": {"max_cores": 1, "timeout": 7}}
    assert rest == {"name": "*"}


def test_provers_of_one_name_are_called_by_their_versions(lab):
    for folder, version in (("old", "1.8.0"), ("new", "1.10.1")):
        lab.write(f"{folder}/tamarin", PRELUDE.replace("1.11.0", version) + CHECKED, 0o755)
    provers = ["--prover", "old/tamarin", "--prover", "new/tamarin"]
    lab.run("init t.spthy --yes", *provers, code=0)
    assert list(written_recipe(lab)["tamarin_versions"]) == ["tamarin-1.8", "tamarin-1.10.1"]


def test_provers_of_one_name_and_version_are_called_by_their_folders(lab):
    for folder in ("old", "new"):
        lab.write(f"{folder}/tamarin", PRELUDE + CHECKED, 0o755)
    provers = ["--prover", "old/tamarin", "--prover", "mine=new/tamarin", "--prover", "new/tamarin"]
    lab.run("init t.spthy --yes", *provers, code=0)
    versions = written_recipe(lab)["tamarin_versions"]
    assert list(versions) == ["old-tamarin", "mine", "new-tamarin"]
    assert versions["mine"]["path"] == "new/tamarin"


FLAGS_DIALOGUE = """
provers (commands or files; | ./fake.sh other=./fake.sh
cores for all |
GB for all jobs | 1.5
seconds for one lemma |
flags of t.spthy (it asks for A, B, C, D) [none] | X
and not for 'X' | A C
provers for t.spthy [fake.sh other] | others
did you mean 'other' | other
options of the provers |
lemmas of t.spthy: in_a, deep, always | deep
limits of one job |
directory for the results |
write this to recipe.json? |
"""


def test_init_asks_for_flags_and_provers_of_a_theory(branches):
    terminal = init_on_terminal(branches)
    answer(terminal, FLAGS_DIALOGUE)
    assert terminal.end() == 0
    entry = written_recipe(branches)["tasks"]["t"]
    assert entry["preprocess_flags"] == ["A", "C"]
    assert entry["tamarin_versions"] == ["other"]
    assert entry["lemmas"] == [{"name": "deep"}]


def test_a_recipe_of_init_is_written_in_lines_that_people_can_read(lab):
    done = init(lab, "t.spthy", "--lemma", "one:timeout=7")
    assert '      "lemmas": [{"name": "one", "resources": {"timeout": 7}}],\n' in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    "wall_s, peak_mb, timeout, memory_gb",
    [(0.1, 2, 60, 1), (31, 100, 120, 1), (30, 683, 60, 2), (3600, 4096, 7200, 6)],
)
def test_measured_limits_are_twice_the_time_and_half_as_much_memory_again(
    wall_s, peak_mb, timeout, memory_gb
):
    usage = bt.Usage(wall_s=wall_s, peak_mb=peak_mb)
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, usage=usage)
    measured = bt.measured_resources(bt.Limits(2, 1024, 9), result)
    assert measured == {"max_cores": 2, "max_memory": memory_gb, "timeout": timeout}


@pytest.mark.parametrize("result", [None, bt.Result(bt.Status.TIMEOUT, usage=bt.Usage(9, 9, 9))])
def test_what_has_no_verdict_keeps_its_limits(result):
    measured = bt.measured_resources(bt.Limits(2, 1536, 9.5), result)
    assert measured == {"max_cores": 2, "max_memory": 1.5, "timeout": 9.5}


def test_limits_that_nobody_knows_are_left_to_the_defaults():
    assert bt.measured_resources(bt.Limits(0, 0, 0), None) == {}


# Proves lemma two only with --bound, and never lemma three.
CHOOSY = """
case "$*" in *" test"*|test*) echo "it should work as intended"; exit 0;; esac
case "$*" in
    *--prove=*) ;;
    *) echo "  two (exists-trace): verified (1 steps)" | summary; exit 0;;
esac
case "$LEMMA" in
    two)
        case "$*" in
            *--bound*) echo "  two (exists-trace): falsified - no trace found (3 steps)" | summary;;
            *) echo "  two (exists-trace): analysis incomplete (1 steps)" | summary;;
        esac;;
    three) exit 4;;
    *) echo "  one (all-traces): verified (1 steps)" | summary;;
esac
"""


@pytest.fixture
def results_to_measure(lab):
    """A lab with the results of a recipe; one lemma was tried with two options."""
    lab.prover(CHOOSY)
    bounded = {"name": "two", "tamarin_options": ["--bound=9"]}
    lab.recipe(lemmas=[{"name": "*"}, {"name": "two"}, bounded], config={"scheduler": "sjf"})
    lab.run("run recipe.json --no-cache", code=3)
    return lab


def test_init_makes_a_recipe_of_results(results_to_measure):
    lab = results_to_measure
    done = lab.run("init --from results --yes -o new.json", code=0)
    recipe = written_recipe(lab, "new.json")
    assert recipe["config"]["scheduler"] == "sjf"
    one, two, three = recipe["tasks"]["task"]["lemmas"]
    measured = {"max_cores": 1, "max_memory": 1, "timeout": 60}
    assert one == {"name": "one", "resources": measured, "expect": "verified"}
    assert two["tamarin_options"] == ["--bound=9"], "with these it was answered"
    assert two["expect"] == "falsified"
    assert three == {"name": "three", "resources": {**measured, "timeout": 300}}
    assert "without a verdict, so that they keep their limits: t--three--fake" in done.stderr


def test_a_recipe_of_results_finds_what_it_expects(results_to_measure):
    lab = results_to_measure
    lab.run("init --from results --yes -o new.json --results new", code=0)
    lab.run("check new.json", code=0)
    lab.run("run new.json --no-cache", code=3)
    expected = {event["id"]: event["expect"] for event in lab.events("task", "new")}
    assert expected == {
        "t--one--fake": "verified",
        "t--two--fake": "falsified",
        "t--three--fake": None,
    }


def test_a_recipe_of_results_keeps_the_names_of_variants(lab):
    lab.prover(VERIFY)
    lab.recipe(
        lemmas=[{"name": "one"}, {"name": "three", "tamarin_options": ["--bound=7"]}],
        matrix={
            "attacker": {"subsets": ["LEAK"]},
            "heuristic": {"C": {"tamarin_options": ["--heuristic=C"]}},
        },
    )
    lab.run("run recipe.json", code=0)
    lab.run("init --from results --yes -o new.json --results new", code=0)
    variants = written_recipe(lab, "new.json")["tasks"]["task"]["variants"]
    assert list(variants) == ["none-C", "LEAK-C"]
    one, three = variants["LEAK-C"]["lemmas"]
    assert (one["preprocess_flags"], one["expect"]) == (["LEAK"], "verified")
    assert three["tamarin_options"] == ["--bound=7", "--heuristic=C"]
    lab.run("run new.json", code=0)
    assert sorted(lab.finishes("new")) == sorted(lab.finishes())
    assert all(event["cached"] for event in lab.events("finish", "new"))


def test_what_the_lemmas_of_a_variant_have_in_common_is_said_once(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas="one three", variants={"leak": {"preprocess_flags": ["L"]}})
    lab.run("run recipe.json", code=0)
    lab.run("init --from results --yes -o new.json", code=0)
    leak = written_recipe(lab, "new.json")["tasks"]["task"]["variants"]["leak"]
    assert leak["preprocess_flags"] == ["L"]
    assert all("preprocess_flags" not in item for item in leak["lemmas"])


def test_a_recipe_of_results_leaves_out_what_is_gone(results_to_measure):
    lab = results_to_measure
    edit_theory(lab, "lemma one", "lemma uno")
    done = lab.run("init --from results --yes -o new.json", code=0)
    assert "left out, as no such lemma is there now, or no prover reads it: t--one" in done.stderr
    assert "on an older text" in done.stderr
    lemmas = written_recipe(lab, "new.json")["tasks"]["task"]["lemmas"]
    assert [item["name"] for item in lemmas] == ["two", "three"]
    (lab.path / "t.spthy").unlink()
    done = lab.run("init --from results --yes -o newer.json", code=2)
    assert "holds no results of lemmas that are there now" in done.stderr


def test_a_recipe_of_results_keeps_each_theory_and_prover(lab):
    lab.write("deep/u.spthy", THEORY)
    lab.prover(VERIFY)
    lab.prover(VERIFY, "second")
    entry = {"theory_file": "**/*.spthy", "output_file_prefix": "{theory}"}
    lab.provers["fake"]["options"] = ["--stop-on-trace=dfs"]
    lab.recipe(**entry, tamarin_versions=["fake", "second"], preprocess_flags=["X"])
    change_recipe(lab, 'tasks.task.lemmas = [{"name": "one"}]')
    lab.run("run recipe.json", code=0)
    lab.run("init --from results --yes -o deep/new.json", code=0)
    recipe = written_recipe(lab, "deep/new.json")
    assert recipe["tamarin_versions"]["fake"]["options"] == ["--stop-on-trace=dfs"]
    assert list(recipe["tasks"]) == ["u", "t"]
    task = recipe["tasks"]["t"]
    assert task["theory_file"] == "../t.spthy"
    assert task["preprocess_flags"] == ["X"]
    assert [item["tamarin_versions"] for item in task["lemmas"]] == [["fake"], ["second"]]
    before = [event["id"] for event in lab.events("task")]
    assert [plan.id for plan in plans_of(lab, name="deep/new.json")] == before


def test_a_recipe_of_results_keeps_the_prover_that_checks_proofs(lab):
    lab.prover(VERIFY)
    lab.prover(VERIFY, "checker")
    lab.recipe(config={"recheck_with": "checker"}, lemmas="one")
    lab.run("run recipe.json")
    lab.run("init --from results --yes -o new.json", code=0)
    versions = written_recipe(lab, "new.json")["tamarin_versions"]
    assert list(versions) == ["fake", "checker"]


def test_init_makes_a_recipe_of_results_of_batch_tamarin(lab):
    claims = [f'lemma {line[0]}: "T"\n' for line in words_in(UPSTREAM_MEANINGS)]
    lab.write("NSPK3.spthy", f"theory N begin\n{''.join(claims)}end\n")
    report = upstream_report()
    lab.prover(VERIFY)
    report["tamarin_versions"]["stable"]["path"] = "./fake.sh"
    write_upstream_report(lab, report)
    done = lab.run("init --from out --yes", code=0)
    recipe = written_recipe(lab)
    assert recipe["config"]["global_max_cores"] == 2
    task = recipe["tasks"]["nspk"]
    assert task["tamarin_options"] == ["-x"]
    items = {item["name"]: item for item in task["lemmas"]}
    measured = {"max_cores": 2, "max_memory": 1, "timeout": 60}
    assert items["proven"] == {"name": "proven", "resources": measured, "expect": "verified"}
    assert items["refuted"]["expect"] == "falsified"
    assert items["late"]["resources"] == {"max_cores": 2, "max_memory": 4, "timeout": 60}
    assert "expect" not in items["silent"]
    assert "nspk--waiting--stable" in done.stderr


def status_json(lab):
    """What `status --json` tells."""
    done = lab.run("status results --json", code=0)
    return json.loads(done.stdout)


def test_status_tells_programs_of_a_running_batch(lab):
    terminal = slow_run_on_terminal(lab)
    told = status_json(lab)
    lab.write("go", "")
    assert terminal.end() == 0
    assert told["state"] == "running"
    assert told["tasks"] == 3
    assert told["done"] == 0
    assert told["counts"] == {"pending": 1, "running": 2}
    assert told["eta_s"] > 0
    assert told["eta_is_a_bound"] is True


def test_status_tells_programs_of_each_running_job(lab):
    terminal = slow_run_on_terminal(lab)
    told = status_json(lab)
    lab.write("go", "")
    assert terminal.end() == 0
    job, _ = told["running"]
    assert job["phase"] == "saturating sources 3/5"
    assert job["limits"]["timeout_s"] == 300
    if sys.platform == "linux":
        assert 0 < job["memory_mb"] < 100


def test_status_shows_people_a_running_batch(lab):
    terminal = slow_run_on_terminal(lab)
    seen = lab.run("status results", code=0).stdout
    lab.write("go", "")
    assert terminal.end() == 0
    assert f"running (process {terminal.process.pid})" in seen
    assert "t--two--fake" in seen
    assert "2/2 cores" in seen


def test_status_of_a_batch_that_died_tells_how_to_go_on(lab):
    terminal = slow_run_on_terminal(lab)
    terminal.process.kill()
    assert terminal.end() == -signal.SIGKILL
    seen = lab.run("status results", code=0).stdout
    assert f"died: its process {terminal.process.pid} is gone" in seen
    assert "batch_tamarin.py resume results" in seen
    # The watchdog keeps the lock until the provers are gone.
    wait_for(lambda: lock_is_free(lab.journal))
    lab.write("go", "")
    lab.run("resume results", code=0)
    assert status_json(lab)["state"] == "finished"


def test_status_of_a_finished_batch_is_its_final_table(lab):
    lab.prover(VERIFY)
    lab.recipe()
    table = lab.run("run recipe.json", code=0).stdout
    seen = lab.run("status results", code=0).stdout
    heading, _, rest = seen.partition("\n")
    assert heading.endswith(" in results: finished")
    assert "3 tasks: 3 verified" in rest
    told, _, _ = table.partition("results:")
    told_again, _, _ = rest.partition("results:")
    assert told == told_again


def test_status_follows_in_a_pipe_until_the_end(lab):
    terminal = slow_run_on_terminal(lab)
    follower = lab.start("status results --follow")
    first = follower.stderr.readline()
    lab.write("go", "")
    assert terminal.end() == 0
    out, err = end_of(follower)
    assert follower.returncode == 0
    assert first == f"running (process {terminal.process.pid}), 0 of 3 tasks done\n"
    assert re.findall(r"^\[./3\] verified", err, re.MULTILINE) == [
        "[1/3] verified",
        "[2/3] verified",
        "[3/3] verified",
    ]
    assert "3 tasks: 3 verified" in out


def test_following_a_batch_that_went_on_numbers_its_results_on(lab):
    slow_batch(lab)
    lab.write("go", "")
    lab.run("run recipe.json -t t--two--fake", code=0)
    assert status_json(lab)["state"] == "partial"
    (lab.path / "go").unlink()
    terminal = Terminal(lab, "run", "recipe.json")
    terminal.until("saturating sources 3/5", times=2)
    follower = lab.start("status results --follow")
    first = follower.stderr.readline()
    lab.write("go", "")
    assert terminal.end() == 0
    _, err = end_of(follower)
    assert ", 1 of 3 tasks done" in first
    assert re.findall(r"^\[(./3)\] verified", err, re.MULTILINE) == ["2/3", "3/3"]


def test_status_follows_on_a_terminal_until_the_end(lab):
    terminal = slow_run_on_terminal(lab)
    follower = Terminal(lab, "status", "results", "--follow")
    follower.until("saturating sources 3/5")
    lab.write("go", "")
    assert terminal.end() == 0
    assert follower.end() == 0
    seen = follower.text()
    assert "saturating" not in seen, seen
    assert "░" not in seen, seen
    texts = ("[1/3] verified", "[3/3] verified", "3 tasks: 3")
    order = [seen.index(text) for text in texts]
    assert order == sorted(order), seen


def write_journal(lab, *ends):
    """A journal of a driver on another host: of its three tasks two were verified."""
    now = bt.timestamp()
    limits = bt.Limits(2, 1024, 60)
    header = bt.Header(at=now, id="b", recipe_file="r.json", limits=limits, pid=1, host="elsewhere")
    plans = [a_plan(id=task_id) for task_id in ("t0", "t1", "t2")]
    result = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, 7, at=now)
    finishes = []
    for task_id in ("t0", "t1"):
        finishes.append(bt.Finished(task_id, task_id, 1, result))
    lab.results.mkdir()
    with lab.journal.open("wb") as file:
        for event in (header, *plans, *finishes, *ends):
            file.write(bt.json_line(event))


def test_nobody_knows_of_a_batch_on_another_host(lab):
    write_journal(lab)
    told = status_json(lab)
    assert told["state"] == "unknown"
    assert told["tasks"] == 3
    assert told["done"] == 2
    assert told["counts"] == {"verified": 2, "pending": 1}
    assert told["eta_s"] is None
    seen = lab.run("status results", code=0).stdout
    assert "began on elsewhere: from here nobody can see whether it still runs" in seen


def test_status_of_a_batch_that_was_stopped_names_the_signal(lab):
    write_journal(lab, bt.Ended(signal.SIGTERM, bt.timestamp()))
    seen = lab.run("status results", code=0).stdout
    assert "b in results: stopped by SIGTERM\n" in seen
    assert "go on: batch_tamarin.py resume results" in seen


def test_following_in_json_is_a_line_for_each_look(lab):
    write_journal(lab, bt.Ended(0, bt.timestamp()))
    done = lab.run("status results --json --follow", code=0)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["state"] == "partial", "it ended before all tasks have run"


def test_a_journal_that_tells_of_no_batch_has_no_status(lab):
    lab.results.mkdir()
    lab.journal.touch()
    done = lab.run("status results", code=2)
    assert "this journal tells of no batch" in done.stderr


def test_lemmas_lists_what_tamarin_would_list(lab):
    done = lab.run("lemmas t.spthy", code=0)
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert rows == [
        "lemma trait line attributes assumes",
        "one all-traces 4 reuse",
        "two exists-trace 5 one",
        "three all-traces 6 one",
    ]


def test_lemmas_shows_as_many_assumptions_as_fit(lab):
    names = [f"a_reuse_lemma_of_a_certain_length_{number}" for number in range(40)]
    claims = [f'lemma {name} [reuse]: "T"\n' for name in names]
    lab.write("t.spthy", f'theory T begin\n{"".join(claims)}lemma last: "T"\nend\n')
    done = lab.run("lemmas t.spthy", code=0)
    assert max(map(len, done.stdout.splitlines())) <= 120
    lines = done.stdout.splitlines()
    (last,) = [line for line in lines if line.startswith("last ")]
    assert last.endswith(f"{names[0]} and 39 more")
    done = lab.run("lemmas t.spthy --json", code=0)
    told = json.loads(done.stdout)
    assert told["lemmas"][-1]["assumes"] == names


@pytest.mark.parametrize(
    "columns, wanted",
    [(30, "alpha, beta, gamma"), (17, "alpha and 2 more"), (13, "a… and 2 more")],
)
def test_a_list_of_names_is_cut_to_what_fits(columns, wanted):
    assert bt.names_that_fit(["alpha", "beta", "gamma"], columns) == wanted


def test_lemmas_tells_programs_the_same(lab):
    done = lab.run("lemmas t.spthy --json", code=0)
    told = json.loads(done.stdout)
    assert told["theory"] == "t.spthy"
    one, _, three = told["lemmas"]
    assert one["attributes"] == ["reuse"]
    assert three["name"] == "three"
    assert three["trait"] == "all-traces"
    assert three["assumes"] == ["one"]
    assert three["line"] == 6


@pytest.mark.parametrize("options, names", [([], ["always"]), (["-D=X"], ["sometimes", "always"])])
def test_lemmas_knows_the_flags_of_the_preprocessor(lab, options, names):
    sometimes = 'lemma sometimes: "T"\n'
    always = 'lemma always: "T"\n'
    lab.write("t.spthy", f"theory T begin\n#ifdef X\n{sometimes}#endif\n{always}end\n")
    done = lab.run("lemmas t.spthy --json", *options, code=0)
    told = json.loads(done.stdout)
    assert [lemma["name"] for lemma in told["lemmas"]] == names


def test_lemmas_of_a_folder_wants_a_file(lab):
    lab.write("models/a.spthy", THEORY)
    done = lab.run("lemmas models", code=2)
    assert (
        "models: is a folder: name a theory (.spthy) in it, such as models/a.spthy" in done.stderr
    )


def test_lemmas_says_which_lemmas_need_which_flags(branches):
    done = branches.run("lemmas t.spthy", code=0)
    assert "in_a" not in done.stdout
    assert "note: 3 lemmas need flags: in_a (-D A); " in done.stderr
    assert "deep (-D A -D C)" in done.stderr


def test_lemmas_lists_what_can_be_read_only_with_diff(lab):
    sides = "".join(f'lemma one [{side}]: "T"\n' for side in ("left", "right"))
    lab.write("t.spthy", f"theory T begin\n{sides}end\n")
    done = lab.run("lemmas t.spthy --diff", code=0)
    assert "LHS one" in done.stdout
    assert done.stderr == ""


def test_lemmas_warns_of_a_flag_that_does_nothing(branches):
    done = branches.run("lemmas t.spthy -D AA -D D", code=0)
    assert "warning: -D AA: no #ifdef asks for this flag (did you mean 'A'?)" in done.stderr
    assert "-D D" not in done.stderr
    assert "2 lemmas need flags: in_a (-D A); deep (-D A -D C)" in done.stderr


def run_for_nobody(lab, *args):
    """As with `| true`: nobody reads what the program writes to stdout."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run_into(lab, writer, *args)
    os.close(writer)
    return done


@pytest.mark.parametrize(
    "command, code",
    [
        ("lemmas t.spthy", 0),
        ("report results -f html", 0),
        ("status results", 0),
        ("status results --json", 0),
        ("audit results", 1),
        ("check recipe.json -d", 0),
        ("cache info", 0),
        ("init t.spthy --yes --prover ./fake.sh -o new.json", 0),
        ("run recipe.json", 1),
        ("--help", 0),
    ],
)
def test_a_command_whose_output_nobody_reads_ends_quietly_as_it_should(lab, command, code):
    """Neither a traceback nor a message of Python's at exit, and its own code."""
    lab.prover('[ "$1" = test ] && exit 0; ' + VERIFY)
    lab.recipe(lemmas="one", expect="falsified")
    lab.run("run recipe.json", code=1)
    done = run_for_nobody(lab, *command.split())
    assert done.returncode == code, done.stderr
    assert "roken pipe" not in done.stderr
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_whose_table_nobody_reads_has_its_own_exit_code(lab):
    lab.prover("case $LEMMA in three) exit 3;; esac; " + VERIFY)
    lab.recipe()
    done = run_for_nobody(lab, "run", "recipe.json")
    assert done.returncode == 3
    assert "roken pipe" not in done.stderr
    assert lab.events()[-1]["event"] == "end"


def test_following_ends_when_nobody_reads_any_more(lab):
    terminal = slow_run_on_terminal(lab)
    done = run_for_nobody(lab, "status", "results", "--json", "--follow")
    lab.write("go", "")
    assert terminal.end() == 0
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_batch_that_goes_on_counts_on(lab, monkeypatch, capfd):
    """Those that end at once after a batch went on are counted, each once."""
    lab.write("t.spthy", many_lemmas(8))
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_cores": 4, "global_max_memory": 4})
    lab.run("run recipe.json -t t--l[0-3]--*", code=0)
    monkeypatch.setattr(bt, "FLUSH_S", 0.5)  # all four end before anyone is told
    monkeypatch.chdir(lab.path)
    options = "--no-cache --cores 4 --memory 4"
    assert bt.main(["run", "recipe.json", *options.split()]) == 0
    told = capfd.readouterr().err
    counted = re.findall(r"^\[(\d)/8\]", told, re.MULTILINE)
    assert counted == ["5", "6", "7", "8"]


def next_descriptor():
    """The number under which the next file would be opened."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_a_command_leaves_no_file_open(lab, capsys):
    before = next_descriptor()
    assert bt.main(["lemmas", str(lab.path / "t.spthy")]) == 0
    assert next_descriptor() == before


def temporary_files(lab):
    return [path.name for path in (lab.path / "tmp").iterdir()]


def stop_while_it_waits(lab, number, *args):
    """Stop the program when its prover has written `up`; the finished process and its stderr."""
    (lab.path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(lab.path / "tmp")}
    process = lab.start(*args, env=environment)
    wait_for((lab.path / "up").exists)
    assert temporary_files(lab)
    process.send_signal(number)
    _, err = end_of(process)
    return process, err


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@needs_linux
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_before_the_batch_begins_leaves_nothing_behind(lab, number):
    """While provers are asked for their versions."""
    lab.write("slow.sh", "#!/bin/sh\ntouch up; exec sleep 600\n", 0o755)
    lab.provers["slow"] = {"path": "./slow.sh"}
    lab.recipe()
    process, err = stop_while_it_waits(lab, number, "run", "recipe.json")
    assert process.returncode == 128 + number
    assert err == ""
    assert temporary_files(lab) == []
    assert not living_provers(lab.path)
    assert not lab.results.exists()


@needs_linux
@pytest.mark.parametrize("number", STOPS)
def test_a_check_that_is_stopped_leaves_nothing_behind(lab, number):
    lab.prover("touch up; exec sleep 600")
    lab.prover("touch up; exec sleep 600", alias="other")
    lab.recipe(config={"global_max_cores": 1}, tamarin_versions=["fake", "other"])
    process, err = stop_while_it_waits(lab, number, "check", "recipe.json")
    assert process.returncode == 128 + number
    assert err == ""
    assert temporary_files(lab) == []
    assert not living_provers(lab.path)


def test_a_stop_after_the_proofs_leaves_no_half_written_page(lab, monkeypatch):
    def page_report(*_, **__):
        yield "<html>"
        os.kill(os.getpid(), signal.SIGTERM)
        yield "</html>"

    monkeypatch.setattr(bt, "page_report", page_report)
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run recipe.json", code=143)
    assert lab.events()[-1]["event"] == "end"
    assert not list(lab.results.glob("summary.html*"))


IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def ignore_signals():
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def test_signals_that_were_ignored_at_the_start_stay_ignored(lab):
    """`nohup` ignores SIGHUP, a script's `&` SIGINT: the batch goes on."""
    slow_batch(lab, lemmas=[{"name": "one"}])
    process = lab.start("run recipe.json", preexec_fn=ignore_signals)
    wait_for(lambda: lab.events("start"))
    for number in IGNORED:
        process.send_signal(number)
    lab.write("go", "")
    end_of(process)
    assert process.returncode == 0
    assert lab.only_finish()["verdict"] == "verified"


def test_python_can_run_it_as_a_module_and_keep_what_it_compiled(lab):
    lab.prover(VERIFY)
    lab.recipe()
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-m", "batch_tamarin", "run", "recipe.json"]
    subprocess.run(command, cwd=lab.path, env=environment, check=True, timeout=RUN_S)
    assert len(lab.finishes()) == 3


# === Soak =========================================================================================
#
# What takes long, with random input: of each kind a few rounds with the same seed in every run of
# the tests, and as many as there is time for by `python test_batch_tamarin.py soak`.

SOAK_SEED = 1  # of every run of the tests
SOAK_S = 600
ROUND_S = 300  # more is taken for hanging


class Kind(typing.NamedTuple):
    """Rounds of one kind: each is played with random numbers, in an empty working directory."""

    play: typing.Callable
    rounds: int  # in every run of the tests


def play_round(name, seed, number):
    """Play one round; what is found wrong is an AssertionError that says how to find it again."""
    numbers = random.Random(f"{seed} {name} {number}")
    forget_what_was_read()
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with time_limit():
                KINDS[name].play(numbers)
        except Exception as error:
            place = f"soak --seed {seed}, round {number} of '{name}'"
            raise AssertionError(f"{place}: {error}") from error.__cause__ or error
        finally:
            os.chdir(before)


@contextlib.contextmanager
def time_limit():
    """A time after which what happens here is taken for hanging."""

    def give_up(*_):
        raise AssertionError(f"this hangs: it did not end within {ROUND_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    left = signal.alarm(ROUND_S)
    try:
        yield
    finally:
        signal.alarm(left)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def blamed_on(data):
    """Whatever goes wrong here is told together with the input that it goes wrong with."""
    try:
        yield
    except Exception as error:
        message = f"{type(error).__name__}: {error}\nwith this input: {shortened(data)}"
        raise AssertionError(message) from error


def shortened(data):
    """The input as Python writes it, without what is the same character over and over."""
    return re.sub(r"(.)\1{99,}", counted, repr(data))


def counted(found):
    """What stands for many of one character."""
    return f"{found[1]}<{len(found[0])} times>"


def call(line, *words):
    """Run a command line in this process; the finished "process"."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        args = [*line.split(), *words]
        code = bt.main(args)
        out.flush()
        err.flush()
    told = [stream.buffer.getvalue().decode() for stream in (out, err)]
    done = subprocess.CompletedProcess(args, code, *told)
    if code == 2:
        assert "error: " in done.stderr, f"{args} failed without a word"
    return done


def complain(about):
    """Take something for wrong that one should not be told of."""
    raise AssertionError(about)


# --- Damage at random -----------------------------------------------------------------------------

# Values that nobody expects where they come to stand, as JSON has them (NaN and Infinity: as Python
# has them).
ODD_NUMBERS = """
0
-1
1
1.5
999
1e308
-1e308
1e-320
NaN
-Infinity
""".strip().splitlines()
for zeros in (10, 30, 400, 5000):
    ODD_NUMBERS.append("1" + zeros * "0")
ODD_TEXTS = r"""
""
" "
"."
".."
"../x"
"/"
"-"
"--prove"
"*"
"[a"
"!"
"x"
"\n"
"\u0000"
"\ud800"
"a\ud800"
"/\ud800"
"\u001b[31m"
"\u202e"
"0001-01-01T00:00:00.000000Z"
"0001-01-01T00:00:00+14:00"
"9999-12-31T23:59:59.999999-14:00"
"2026-02-30T25:61:61Z"
""".strip().splitlines()
ODD_TEXTS.append('"' + 5000 * "x" + '"')
OTHER_VALUES = """
null
true
false
[]
{}
[null]
[""]
{"": null}
""".strip().splitlines()
OTHER_VALUES.append("[" * 50_000 + "]" * 50_000)
ODD_VALUES = [*ODD_NUMBERS, *ODD_TEXTS, *OTHER_VALUES]

# What may be put into a text: what means something there, and what is no text.
JSON_PIECES = rb', " { } [ ] : \ /*x*/ // '.split() + [b"\n"]
ODD_BYTES = [b"\xef\xbb\xbf", b"\xff", b"\0", b"\r", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[2J"]
MARK = "the value is put here"


def places_in(data):
    """Where each member and element of a JSON value stands: what holds it, and under which key."""
    members = []
    if isinstance(data, dict):
        members = list(data.items())
    elif isinstance(data, list):
        members = list(enumerate(data))
    for key, value in members:
        yield data, key
        yield from places_in(value)


def with_odd_value(numbers, text, indent=None, words=()):
    """A JSON text in which one value is another one, stands under another key, or is gone."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places = list(places_in(data))
    if not places:
        return text
    holder, key = numbers.choice(places)
    way = numbers.choice(["odd", "odd", "odd", "copy", "rename", "remove"])
    value = odd_value(numbers, holder[key], words)
    if way == "odd":
        holder[key] = MARK
    elif way == "copy":
        other, its_key = numbers.choice(places)
        holder[key] = MARK
        value = json.dumps(other[its_key])
    elif way == "rename" and isinstance(holder, dict):
        ending = numbers.choice("s \0\ud800")
        holder[key + ending] = holder.pop(key)
    else:
        del holder[key]
    return with_value(data, value, indent)


def with_value(data, value, indent=None):
    """The JSON text of some data, with this text where MARK stands in it."""
    return json.dumps(data, indent=indent).replace(f'"{MARK}"', value)


def odd_value(numbers, value, words=()):
    """A JSON text to stand for some value: mostly of the same kind, as others are soon refused.

    For a text it may be one of these words, too: they mean something somewhere.
    """
    values = OTHER_VALUES
    if numbers.random() < 0.2:
        values = ODD_VALUES
    elif isinstance(value, str):
        values = [*ODD_TEXTS, *map(json.dumps, words)]
    elif isinstance(value, (int, float)):
        values = ODD_NUMBERS
    return numbers.choice(values)


def with_odd_values(numbers, text, indent=None, words=()):
    """A JSON text after one to three such changes."""
    for _ in range(numbers.choice([1, 1, 2, 3])):
        text = with_odd_value(numbers, text, indent, words)
    return text


def with_odd_bytes(numbers, data, pieces):
    """Data in which one place is cut out, doubled, turned, overwritten or has something put in."""
    start = numbers.randrange(len(data) + 1)
    size = numbers.choice([0, 1, 1, 10, 100, 1000])
    end = start + size
    head, middle, tail = data[:start], data[start:end], data[end:]
    piece = numbers.choice([*pieces, *ODD_BYTES])
    ways = [b"", middle * 2, middle[::-1], bytes(len(middle))]
    ways.append(numbers.randbytes(len(middle)))
    ways += [middle + piece] * 2
    middle = numbers.choice(ways)
    if numbers.random() < 0.1:
        tail = b""
    return head + middle + tail


def damaged_json(numbers, text, words=()):
    """The bytes of a JSON text after some damage: to its values, or to the text."""
    indent = numbers.choice([None, 2])
    data = with_odd_values(numbers, text, indent, words).encode()
    if numbers.random() < 0.3:
        data = with_odd_bytes(numbers, data, JSON_PIECES)
    return data


# --- Kills ----------------------------------------------------------------------------------------

# A process that others share with l1 crashes.
SHORT_WORK = (
    'for LEMMA in $LEMMAS; do echo "$LEMMA" >> runs; sleep 0.0$((${#LEMMA} * 3)); done\n'
    + 'case "$LEMMAS " in " l1 ") ;; *" l1 "*) exit 3;; esac\n'
    + TOGETHER
)


def play_kills(number, tasks, numbers):
    """A batch that a signal stops at random moments, and that goes on until all has finished.

    Every task has one final result, none that was finished runs again, no prover is left.
    """
    lab = Lab(Path.cwd())
    lab.write("t.spthy", many_lemmas(tasks))
    lab.prover(SHORT_WORK)
    granularity = numbers.choice(["lemma", "theory"])
    lab.recipe(config={"global_max_cores": 4, "granularity": granularity})
    finished = []
    lives = 0
    while len(finished) < tasks:
        lives += 1
        assert lives <= 10 * tasks, f"only {len(finished)} tasks finished in {lives} runs"
        code = stop_at_random(lab, number, numbers)
        before, finished = finished, final_results(lab.journal)
        assert len(finished) == len(set(finished)), f"one finished twice: {finished}"
        assert set(before) <= set(finished), f"a result was lost: {before}, then {finished}"
        assert code != 0 or len(finished) == tasks, f"it ended, with only {finished} finished"
        wait_for(lambda: lock_is_free(lab.journal), "the watchdog's end")
    batch, _ = bt.load_batch(str(lab.journal), complain)
    assert batch.count(bt.Status.COMPLETED) == tasks
    wait_for(lambda: not living_provers(lab.path), "the end of all provers")


def stop_at_random(lab, number, numbers):
    """Run the recipe until there are some new lines in the journal and a little longer; exit code.

    Now and then that is before the program does anything.
    """
    wanted = steps_of(lab) + numbers.randint(0, 5)
    pause = numbers.uniform(0, 0.1)
    with tempfile.TemporaryFile() as told:
        # What an earlier round has kept leaves nothing to kill.
        caching = numbers.choice([[], ["--no-cache"]])
        words = ["run", "recipe.json", "-q", *caching]
        arguments = (words, lab.path, told.fileno(), told.fileno())
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=be_the_program, args=arguments)
        process.start()
        wait_for(lambda: process.exitcode is not None or steps_of(lab) >= wanted)
        time.sleep(pause)
        if process.exitcode is None:
            os.kill(process.pid, number)
        process.join(RUN_S)
        told.seek(0)
        output = told.read().decode()
    # Before the program has begun to handle a signal, Python itself ends by it.
    early = output.endswith("KeyboardInterrupt\n")
    assert early or process.exitcode in (0, 128 + number, -number), (process.exitcode, output)
    return process.exitcode


def steps_of(lab):
    """How often a job started or finished."""
    return len(lab.events("start")) + len(lab.events("finish"))


def final_results(journal):
    """The ids of all `finish` events of a journal but those of interrupted attempts."""
    if not journal.exists():
        return []
    found = []
    for line in journal.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            event = json.loads(line)
            if event["event"] == "finish" and event["status"] != "interrupted":
                found.append(event["id"])
    return found


def living_provers(path):
    """Provers of a lab that still run, by their command lines."""
    prover = str(path / "fake.sh").encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            if prover in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


# --- Sweeps of attackers in order: edits, kills, proofs of what follows ---------------------------

POWERS = ("A", "B", "C")


def play_sweeps(steps, numbers):
    """A sweep that is edited, killed and proven in part at random.

    What it says of an attacker, proven or implied, is true of the theory as it is now.
    """
    lab = Lab(Path.cwd())
    truths = []  # of two versions of the theory: which sets of powers attack
    for _ in range(2):
        sizes = [numbers.randint(0, 3) for _ in range(numbers.randint(0, 3))]
        truths.append([numbers.sample(POWERS, size) for size in sizes])
    tests = [" || ".join(f"has {' '.join(attack)}" for attack in truth) for truth in truths]
    body = f"attacks() {{ if grep -q R1: t.spthy; then {tests[1] or 'false'}; else "
    body += f"{tests[0] or 'false'}; fi; }}\nif attacks; then attacked; else proven; fi\n"
    for _ in range(steps):
        version = numbers.choice([0, 1])
        lab.write("t.spthy", THEORY.replace("rule A:", f"rule R{version}:"))
        without = numbers.choice([{}, {"exclude": [{"can": numbers.choice(POWERS)}]}])
        sweep_of_attackers(lab, body, cores=numbers.choice([1, 2]), **without)
        if numbers.random() < 0.4:
            stop_at_random(lab, numbers.choice([signal.SIGKILL, signal.SIGTERM]), numbers)
            wait_for(lambda: lock_is_free(lab.journal), "the watchdog's end")
            continue
        args = numbers.sample(["--no-cache", "--prove-implied", "--again"], numbers.randint(0, 2))
        chosen = numbers.choice([[], ["-t", "t--one--fake--A+*"]])
        done = lab.run("run recipe.json -q", *args, *chosen, code=0)
        look_at_sweep(lab, truths[version], bool(chosen), done)


def look_at_sweep(lab, truth, may_be_open, done):
    """Assert that each task says what is true, or is open where that may be."""
    batch, _ = bt.load_batch(str(lab.journal), complain)
    for task in batch.tasks.values():
        is_attacked = any(set(attack) <= set(task.plan.flags) for attack in truth)
        wanted = "falsified" if is_attacked else "verified"
        is_open = may_be_open and task.status == "pending"
        assert is_open or task.conclusion == wanted, (task, truth, done.stderr)
    assert not bt.answers_against_order(batch.tasks.values())


# --- Walks over one results directory: edits, undone edits, limits, kills, other provers ----------

# Its answer is a function of the three versions that it sees: of the rule, the lemma and itself. It
# notes down each answer, and writes it in the proof as well. A lemma of a version that ends with 9
# has no end, of 6 only with heuristic C, which its answer tells, too; others do harm to a process
# that they share: 8 lets it crash, of 7 it says nothing.
WALK_PROVER = r"""
for word in "$@"; do case "$word" in --heuristic=*) H="${word#*=}";; esac; done
rule=$(sed -n 's/^rule R\([0-9]*\):.*/\1/p' t.spthy)
said=
for LEMMA in ${LEMMAS:-l0}; do
    lemma=$(sed -n "s/^lemma $LEMMA: .*S\([0-9]*\)(.*/\1/p" t.spthy)
    steps="1$rule$lemma$PROVER"
    case "$LEMMAS $lemma" in
        *9) exec sleep 600;;
        *6) [ "$H" = C ] || exec sleep 600; steps="${steps}2";;
        " "[0-9]*|" l"[0-9]" "[0-9]*) ;;  # it loads only, or proves one lemma
        *8) exit 3;;
        *7) continue;;
    esac
    [ -z "$LEMMAS" ] || { echo "$LEMMA $steps" >> runs; echo "$LEMMA $steps" >> "$OUT"; }
    said="$said  $LEMMA (all-traces): verified ($steps steps)
"
done
printf %s "$said" | summary
"""
WALK_LEMMAS = ("l0", "l1", "l2", "l3")


class Walk:
    """One recipe, edited at random; what its results directory must say is known by a model."""

    def __init__(self, numbers, folder):
        self.numbers = numbers
        self.lab = Lab(folder)
        self.rule = 10
        self.lemmas = dict.fromkeys(WALK_LEMMAS, 10)
        self.prover = 10
        self.planned = list(WALK_LEMMAS)
        self.timeout_s = 0.3
        self.granularity = "lemma"
        self.stages = ""  # the heuristics of later attempts, a letter each
        self.is_journalled = False  # whether the journal has the recipe as it is
        # All answers that the journal has had, as (lemma, text): none is ever proven once more.
        self.answers = set()
        self.history = []  # what was done, for the message of a failed assertion
        self.write()

    def write(self):
        """Write recipe, theory and prover as the model has them."""
        lemmas = ""
        for name, version in self.lemmas.items():
            lemmas += f'lemma {name}: "All k #i. S{version}(k) @ i ==> F"\n'
        rule = f"rule R{self.rule}: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n"
        self.lab.write("t.spthy", f"theory T begin\n{rule}{lemmas}end\n")
        self.lab.prover(f"PROVER={self.prover}\n{WALK_PROVER}")
        self.lab.recipe(
            config={"global_max_cores": 2, "granularity": self.granularity},
            lemmas=[{"name": name} for name in self.planned],
            resources={"max_cores": 1, "max_memory": 1, "timeout": self.timeout_s},
            **self.on_limit(),
        )

    def on_limit(self):
        """What the recipe says of later attempts."""
        stages = [{"tamarin_options": [f"--heuristic={letter}"]} for letter in self.stages]
        return {"on_limit": stages} if stages else {}

    def steps(self, lemma):
        """What the prover answers for a lemma, as it is now."""
        heuristic = "2" if self.lemmas[lemma] % 10 == 6 else ""
        return int(f"1{self.rule}{self.lemmas[lemma]}{self.prover}{heuristic}")

    def text(self):
        """All that an answer can depend on where nothing is known of single lemmas."""
        return (self.rule, tuple(self.lemmas.values()), self.prover)

    def hangs(self, lemma):
        ending = self.lemmas[lemma] % 10
        return ending == 9 or (ending == 6 and "C" not in self.stages)

    # --- One step ---

    def step(self):
        """Change something, run, perhaps break it off, and look at everything."""
        args = ["run", "recipe.json", "-q"]
        edits = [self.edit_lemma, self.edit_rule, self.edit_prover]
        if self.is_journalled and self.numbers.random() < 0.3:
            # They take the recipe from the journal.
            args = [self.numbers.choice(["resume", "retry"]), "results", "-q"]
        else:
            edits.append(self.edit_plan)
            self.timeout_s = self.numbers.choice([0.2, 0.3, 0.4])
            self.granularity = self.numbers.choice(["lemma", "theory"])
            self.stages = self.numbers.choice(["", "C", "SC", "CS", "S"])
        if self.numbers.random() < 0.7:
            self.numbers.choice(edits)()
        self.write()
        if self.numbers.random() < 0.7:
            args.append("--no-cache")
        chosen = list(self.planned)
        if self.numbers.random() < 0.3:
            chosen = [self.numbers.choice(self.planned)]
            args += ["-t", f"t--{chosen[0]}--"]
        again = self.numbers.random() < 0.2
        if again:
            args.append("--again")
        if self.numbers.random() < 0.3:
            args += ["--retry", self.numbers.choice("12")]
        runs = len(self.runs())
        drivers = self.kinds().count("batch")
        ended = self.run(args, chosen)
        self.is_journalled = ended
        if self.lab.journal.exists():
            self.look_at_runs(runs, again)
            self.look(chosen, drivers, ended)
        self.look_at_jobs()
        look_at_limits_in_cache()

    def edit_lemma(self):
        # Few versions, so that many an edit is undone.
        self.lemmas[self.numbers.choice(WALK_LEMMAS)] = self.numbers.choice(
            [10, 11, 16, 17, 18, 19]
        )

    def edit_rule(self):
        self.rule = self.numbers.choice([10, 11])

    def edit_prover(self):
        self.prover = self.numbers.choice([10, 11])

    def edit_plan(self):
        number = self.numbers.randint(1, len(WALK_LEMMAS))
        self.planned = sorted(self.numbers.sample(WALK_LEMMAS, number))

    def run(self, args, chosen):
        """Run the program to its end, or kill it after some events; whether it ended by itself."""
        number = self.numbers.choice([0, 0, 0, signal.SIGKILL, signal.SIGTERM])
        self.history.append((self.text(), self.timeout_s, self.stages, args, number))
        if not number:
            done = self.lab.run(*args)
            wanted = 3 if any(map(self.hangs, chosen)) else 0
            assert done.returncode == wanted, (self.history, done.stderr)
            return True
        wanted = self.journal_size() + self.numbers.choice([1, 2, 1000, 3000])
        with tempfile.TemporaryFile() as told:
            fork = multiprocessing.get_context("fork")
            arguments = (args, self.lab.path, told.fileno(), told.fileno())
            process = fork.Process(target=be_the_program, args=arguments)
            process.start()
            wait_for(lambda: process.exitcode is not None or self.journal_size() >= wanted)
            if process.exitcode is None:
                os.kill(process.pid, number)
            process.join(RUN_S)
        wait_for(lambda: lock_is_free(self.lab.journal))
        return False

    def journal_size(self):
        return self.lab.journal.stat().st_size if self.lab.journal.exists() else 0

    def runs(self):
        path = self.lab.path / "runs"
        return path.read_text().splitlines() if path.exists() else []

    # --- What must hold ---

    def look_at_runs(self, before, again):
        """What the journal has had is not proven again, unless that is wanted."""
        for line in self.runs()[before:]:
            lemma = line.split()[0]
            known = (lemma, self.text()) in self.answers
            assert again or not known, (f"{line} was proven once more", self.history)

    def look(self, chosen, drivers, ended):
        """Compare the journal, the files and the reports with the model."""
        batch, _ = bt.load_batch(str(self.lab.journal), complain)
        if not ended and not self.has_begun(drivers):
            return  # it was killed before it had written its plan, or made the pages again
        for task in batch.tasks.values():
            self.look_at(task, task.plan.lemma in chosen, ended)
            self.look_at_files(task)
        if ended:
            self.look_at_reports(batch)

    def look_at(self, task, is_chosen, ended):
        lemma = task.plan.lemma
        answer = (lemma, self.text())
        told = (lemma, task.status, self.history)
        if task.verdict:
            assert task.result.steps == self.steps(lemma), told
            self.answers.add(answer)
        elif ended and not self.hangs(lemma):
            assert answer not in self.answers, ("a result was lost", told)
            assert not is_chosen, ("it has not run", told)
        if ended and is_chosen and self.hangs(lemma):
            assert task.status == "timeout", told
        proof = self.lab.results / "proofs" / f"{task.id}.spthy"
        if ended:
            assert proof.exists() == bool(task.verdict), told
        if proof.exists() and task.verdict:
            lines = proof.read_text().splitlines()
            own = [line for line in lines if line.startswith(f"{lemma} ")]
            assert own == [f"{lemma} {task.result.steps}"], (lines, told)
            assert len(lines) <= task.result.shared_by, (lines, told)

    def look_at_jobs(self):
        """No task runs twice at once, and none shares a process after one that ended badly."""
        keys = {}
        alone = set()
        running = set()
        for event in self.lab.events():
            if event["event"] == "batch":
                running = set()
            elif event["event"] == "task":
                keys[event["id"]] = event["key"]
            elif event["event"] == "finish":
                running.discard(event["id"])
                if event.get("runs_alone"):
                    alone.add((event["id"], keys[event["id"]]))
            elif event["event"] == "start":
                ids = event["ids"]
                assert not running & set(ids), (event, self.history)
                running |= set(ids)
                if len(ids) > 1:
                    shares = {(task_id, keys[task_id]) for task_id in ids}
                    assert not shares & alone, (event, self.history)

    def kinds(self):
        """The words of all events in the journal."""
        return [event["event"] for event in self.lab.events()]

    def has_begun(self, drivers):
        """Whether a driver after the first `drivers` has started a job."""
        kinds = self.kinds()
        if kinds.count("batch") == drivers:
            return False
        newest_first = kinds[::-1]
        return "start" in newest_first[: newest_first.index("batch")]

    def look_at_files(self, task):
        """No file may show a result of an older text as today's as soon as a proof has begun."""
        success = self.lab.results / "success" / f"{task.id}.json"
        if success.exists():
            lemma = task.plan.lemma
            verified = json.loads(success.read_text())["verified_lemma"]
            assert verified[lemma]["steps"] == self.steps(lemma), (task.id, self.history)

    def look_at_reports(self, batch):
        """Every form must say of every task what the batch says."""
        report = self.lab.run("report results -f json", code=0).stdout
        rows = {row["id"]: row for row in json.loads(report)["tasks"]}
        assert set(rows) == set(batch.tasks)
        page = (self.lab.results / "summary.html").read_text()
        table = self.lab.run("status results", code=0).stdout
        for task in batch.tasks.values():
            assert rows[task.id]["status"] == task.status
            assert not rows[task.id]["on_older_text"], self.history
            steps = str(task.result.steps) if task.verdict else task.outcome
            assert steps in page, (task.id, self.history)
            lines = [line for line in table.splitlines() if f" {task.id} " in f"{line} "]
            assert len(lines) < 2
            is_shown = steps in "".join(lines)
            assert is_shown or task.status == "pending", (task.id, table, self.history)


def look_at_limits_in_cache():
    """What a shared process came to is no limit of any lemma."""
    for path in cache_entries("*.limit-*"):
        entry = bt.Cache().read(str(path))
        assert not entry or entry.result.shared_by == 1


def play_walk(steps, numbers):
    """Walk over one results directory; everything is compared with the model after every step."""
    walk = Walk(numbers, Path.cwd())
    for _ in range(steps):
        walk.step()


# --- Walks over races -----------------------------------------------------------------------------

# What comes of a lemma is a function of what it sees of the theory, of its heuristic and of itself:
# by the version of the lemma and the letter of the heuristic one of WAYS. Without a lemma to prove
# it checks the proofs that stand in the theory.
RACE_WALK_PROVER = r"""
echo "[Theory T] Theory closed" >&2
H=S
for word in "$@"; do case "$word" in --heuristic=*) H="${word#*=}";; esac; done
rule=$(sed -n 's/^rule R\([0-9]*\):.*/\1/p' t.spthy)
if [ -z "$LEMMA" ]; then
    echo "theory" > "$OUT"
    sed -n 's/^lemma \(l[0-9]\): .*[02468](k).*contradiction/  \1 (all-traces): verified (2 steps)/p
        s/^lemma \(l[0-9]\): .*contradiction/  \1 (all-traces): falsified - found trace (2 steps)/p
        s/^lemma \(l[0-9]\): .*"$/  \1 (all-traces): analysis incomplete (1 steps)/p' t.spthy |
        summary
    exit
fi
lemma=$(sed -n "s/^lemma $LEMMA: .*S\([0-9]*\)(.*/\1/p" t.spthy)
steps="1$rule$lemma$PROVER"
case $lemma$H in
    WAYS
esac
echo "$LEMMA $H $steps" >> runs
echo "$LEMMA $H $steps" > "$OUT"
case $lemma in *[02468]) word=verified;; *) word="falsified - found trace";; esac
summary "  $LEMMA (all-traces): $word ($steps steps)"
"""
WAYS = {
    "answers": "",
    "hangs": "exec sleep 600",
    "crashes": "exit 3",
    "unsure": 'summary "  $LEMMA (all-traces): analysis incomplete (1 steps)"; exit',
}
LETTERS = "SCIQ"


class RaceWalk:
    """A recipe whose variants race, edited at random; a model knows what may come of it."""

    def __init__(self, numbers, folder):
        self.numbers = numbers
        self.lab = Lab(folder)
        self.rule = 10
        self.lemmas = {"l0": 10, "l1": 11}
        self.proofs = {"l0": ""}  # those that stand in the theory
        self.prover = 10
        self.letters = dict(zip("abc", LETTERS))  # the heuristic of each variant
        self.stages = ""
        self.timeout_s = 1.2
        self.config = {}
        self.granularity = "lemma"
        kinds = ["answers", "answers", "answers", "hangs", "crashes", "unsure", "unsure"]
        self.ways = {
            f"{lemma}{letter}": numbers.choice(kinds)
            for lemma in (10, 11, 12)
            for letter in LETTERS
        }
        self.known = {}  # answers of the journal by (task, all that they depend on)
        self.proven = set()  # what has had an answer: (lemma, variant, heuristic, text)
        self.was_again = False
        self.history = []

    # --- What the world is ---

    def write(self):
        lemmas = ""
        for name, version in self.lemmas.items():
            proof = " by contradiction" if name in self.proofs else ""
            lemmas += f'lemma {name}: "All k #i. S{version}(k) @ i ==> F"{proof}\n'
        rule = f"rule R{self.rule}: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n"
        self.lab.write("t.spthy", f"theory T begin\n{rule}{lemmas}end\n")
        ways = "\n    ".join(f"{key}) {WAYS[way]};;" for key, way in self.ways.items())
        script = RACE_WALK_PROVER.replace("WAYS", ways)
        self.lab.prover(f"PROVER={self.prover}\n{script}")
        variants = {
            name: {"tamarin_options": [f"--heuristic={letter}"]}
            for name, letter in self.letters.items()
        }
        resources = {"max_cores": 1, "max_memory": 0.2, "timeout": self.timeout_s}
        race = {
            "theory_file": "t.spthy",
            "tamarin_versions": ["fake"],
            "output_file_prefix": "t",
            "resources": resources,
            "variants": variants,
            "race": True,
            "granularity": self.granularity,
        }
        if self.stages:
            race["on_limit"] = [{"tamarin_options": [f"--heuristic={x}"]} for x in self.stages]
        stored = {**race, "output_file_prefix": "s", "race": False, "prove": False}
        del stored["variants"]
        self.lab.recipe(tasks={"race": race, "stored": stored}, config=self.config)

    def text(self):
        """All that an answer of a task can depend on beside its options."""
        return (self.rule, tuple(self.lemmas.items()), tuple(self.proofs), self.prover)

    def way(self, task):
        """What would come of a task of the race, through all its stages."""
        lemma = self.lemmas[task.plan.lemma]
        for letter in (self.letters[task.plan.variant], *self.stages):
            way = self.ways[f"{lemma}{letter}"]
            if way != "hangs":
                return way
        return "hangs"

    # --- One step ---

    def step(self):
        edits = [
            self.edit_lemma,
            self.edit_rule,
            self.edit_prover,
            self.edit_variant,
            self.edit_proof,
        ]
        for edit in self.numbers.sample(edits, self.numbers.choice([0, 0, 1, 1, 2])):
            edit()
        self.config = {"global_max_cores": self.numbers.choice([1, 2, 6]), "global_max_memory": 2}
        self.config["scheduler"] = self.numbers.choice(["fifo", "history"])
        self.granularity = self.numbers.choice(["lemma", "theory"])
        self.stages = self.numbers.choice(["", "", "C", "QI"])
        self.write()
        args = ["run", "recipe.json", "-q"]
        args += self.numbers.choice([[], ["--no-cache"]])
        chosen = self.numbers.choice(["", "", "", "t--l0--fake--b", "t--l1", "s--"])
        if chosen:
            args += ["-t", chosen]
        again = self.numbers.random() < 0.15
        args += ["--again"] * again
        args += ["--fail-fast"] * (self.numbers.random() < 0.15)
        args += self.numbers.choice([[], [], ["--retry", "1"]])
        self.play(args, chosen, again)
        if self.numbers.random() < 0.3 and self.lab.journal.exists():
            args = [
                self.numbers.choice(["resume", "resume", "retry"]),
                "results",
                "-q",
                "--no-cache",
            ]
            self.play(args, "", False)
        if self.numbers.random() < 0.2 and self.lab.journal.exists():
            self.look_at_a_copy()

    def edit_lemma(self):
        self.lemmas[self.numbers.choice(list(self.lemmas))] = self.numbers.choice([10, 11, 12])

    def edit_rule(self):
        self.rule = self.numbers.choice([10, 11])

    def edit_prover(self):
        self.prover = self.numbers.choice([10, 11])

    def edit_proof(self):
        self.proofs = self.numbers.choice([{}, {"l0": ""}, {"l0": "", "l1": ""}])

    def edit_variant(self):
        names = self.numbers.choice(["ab", "abc", "abc", "bca"])
        self.letters = dict(zip(names, self.numbers.sample(LETTERS, len(names))))

    def play(self, args, chosen, again):
        number = self.numbers.choice([0, 0, 0, signal.SIGKILL, signal.SIGTERM])
        self.history.append((self.text(), self.letters, self.stages, self.config, args, number))
        runs = len(self.runs())
        self.is_again = again
        self.was_again = self.was_again or again
        if again:
            self.known = {
                key: told for key, told in self.known.items() if not key[0].startswith(chosen)
            }
        code = self.run(args, number)
        if not self.lab.journal.exists():
            return
        Walk.look_at_jobs(self)
        batch, _ = bt.load_batch(str(self.lab.journal), complain)
        if number and code in (-9, 143):
            return
        self.look(batch, args, chosen, code, runs)

    def run(self, args, number):
        before = self.journal_size()
        wanted = before + self.numbers.choice([1, 2, 1000, 3000, 6000])
        with tempfile.TemporaryFile() as told:
            fork = multiprocessing.get_context("fork")
            arguments = (args, self.lab.path, told.fileno(), told.fileno())
            process = fork.Process(target=be_the_program, args=arguments)
            process.start()
            if number:
                wait_for(lambda: process.exitcode is not None or self.journal_size() >= wanted)
                if process.exitcode is None:
                    os.kill(process.pid, number)
            process.join(RUN_S)
            assert process.exitcode is not None, ("hangs", self.history)
            told.seek(0)
            self.said = told.read().decode()
        assert "Traceback" not in self.said, (self.said, self.history)
        wait_for(lambda: lock_is_free(self.lab.journal))
        return process.exitcode

    def journal_size(self):
        return self.lab.journal.stat().st_size if self.lab.journal.exists() else 0

    def runs(self):
        path = self.lab.path / "runs"
        return path.read_text().splitlines() if path.exists() else []

    # --- What must hold ---

    def look(self, batch, args, chosen, code, runs):
        assert code in (0, 1, 3), (code, self.said, self.history)
        tasks = list(batch.tasks.values())
        for task in tasks:
            self.look_at(task, batch)
        mine = [task for task in tasks if task.id.startswith(chosen)]
        wanted = 0 if all(task.is_settled for task in mine) else 3
        assert code == wanted, (code, wanted, self.said, self.history)
        for line in self.runs()[runs:]:
            lemma, letter, _ = line.split()
            might = [name for name in self.letters if letter in (self.letters[name], *self.stages)]
            new = {(lemma, name, letter, self.text()) for name in might} - self.proven
            assert self.is_again or new, (line, "was proven once more", self.history)
        self.note(tasks)
        stopped_early = "--fail-fast" in args
        for lemma in self.lemmas:
            rivals = [task for task in tasks if task.plan.race and task.plan.lemma == lemma]
            ran = [task for task in rivals if task.id.startswith(chosen)]
            self.look_at_race(rivals, ran, stopped_early)

    def note(self, tasks):
        for task in tasks:
            if task.plan.race and task.is_answered:
                plan = task.plan
                self.proven.add((plan.lemma, plan.variant, plan.options[-1][-1], self.text()))
                self.known[task.id, plan.options, self.text()] = task.result.steps

    def look_at(self, task, batch):
        told = (task.id, task.status, task.result, self.said, self.history)
        plan = task.plan
        proof = self.lab.results / "proofs" / f"{task.id}.spthy"
        if plan.entry == "stored":
            if task.verdict:
                answer = "falsified" if self.lemmas[plan.lemma] % 2 else "verified"
                wanted = answer if plan.lemma in self.proofs else "incomplete"
                assert task.verdict == wanted, told
            return
        if task.is_answered:
            lemma = self.lemmas[plan.lemma]
            assert task.verdict == ("falsified" if lemma % 2 else "verified"), told
            assert task.result.steps == int(f"1{self.rule}{lemma}{self.prover}"), told
            words = f"{plan.lemma} {plan.options[-1][-1]} {task.result.steps}\n"
            assert proof.read_text() == words, told
        else:
            key = (task.id, plan.options, self.text())
            assert key not in self.known, ("a result was lost", told)
        if task.status == "superseded":
            winner = batch.tasks[task.result.settled_by]
            assert winner.is_answered and winner.plan.race == plan.race, told
            assert not proof.exists(), told

    def look_at_race(self, rivals, ran, stopped_early):
        told = ([(task.id, task.outcome) for task in rivals], self.said, self.history)
        is_won = any(task.is_answered for task in rivals)
        # What was proven anew beside an answer keeps what it came to.
        if is_won and not stopped_early and not self.was_again and ran:
            assert all(task.is_settled for task in ran), told
        if stopped_early:
            return
        if any(self.way(task) == "answers" for task in ran):
            assert is_won, ("nobody has won", told)
        if not is_won:
            names = {"hangs": "timeout", "crashes": "failed", "unsure": "incomplete"}
            for task in ran:
                assert task.outcome == names[self.way(task)], told

    def look_at_a_copy(self):
        """A journal elsewhere says the same."""
        copy = self.lab.path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.lab.results, copy)
        for args in (["status", "copy"], ["audit", "copy"], ["report", "copy", "-f", "json"]):
            done = self.lab.run(*args)
            assert done.returncode in (0, 1, 3), (args, done, self.history)
        one, _ = bt.load_batch(str(self.lab.journal), complain)
        two, _ = bt.load_batch(str(copy / "batch.jsonl"), complain)
        assert one == two
        shutil.rmtree(copy)


def play_race_walk(steps, numbers):
    """Walk over races; everything is compared with the model after every step."""
    walk = RaceWalk(numbers, Path.cwd())
    for _ in range(steps):
        walk.step()


# --- Damaged journals -----------------------------------------------------------------------------

# Verifies one, refutes two with a warning, fails on three.
MANY_ENDS = """
echo "theory proof" > "$OUT"
case $LEMMA in
one) summary "  one (all-traces): verified (7 steps)";;
two) printf '  WARNING: 1 wellformedness check failed!\n\n  two (exists-trace): falsified' > text
    echo " - no trace found (3 steps)" >> text
    summary < text;;
*) echo "something is wrong" >&2; exit 1;;
esac
"""
SHORT_TASK = {
    "theory_file": "t.spthy",
    "tamarin_versions": ["fake"],
    "output_file_prefix": "t",
    "resources": {"max_cores": 1, "max_memory": 1, "timeout": 300},
}


# What differs from run to run and from machine to machine is always this in a good journal: a seed
# means the same everywhere. On another host, too: nothing here is taken for a process of the batch.
ALWAYS = json.loads("""{
  "at": "2026-01-02T03:04:05.678901Z",
  "host": "host", "boot_id": "boot", "pid": 999, "started": 12345,
  "python": "3.9.0", "platform": "linux",
  "wall_s": 1.25, "cpu_s": 0.5, "peak_mb": 100.0, "avg_mb": 50.0
}""")


@functools.lru_cache(maxsize=1)
def good_results():
    """The files, by name, of a run of two entries with verdicts, a failure and a limit.

    What was in its directory's name there stands as `{here}`.
    """
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder).resolve())
        lab.prover(MANY_ENDS)
        bound = {**SHORT_TASK, "tamarin_options": ["--bound=5"], "output_file_prefix": "b"}
        staged = {**SHORT_TASK, "on_limit": [{"tamarin_options": ["--heuristic=C"]}]}
        lab.recipe(
            config={"global_max_cores": 1, "global_max_memory": 1},
            tasks={"plain": staged, "bound": {**bound, "expect": {"one": "verified"}}},
        )
        lab.run("run recipe.json --no-cache", code=3)
        make_same(lab.journal)
        files = {}
        for path in lab.path.rglob("*"):
            if path.is_file():
                data = path.read_bytes().replace(str(lab.path).encode(), b"{here}")
                files[path.relative_to(lab.path)] = data
    return files


def make_same(journal):
    """Make a journal the same in all runs; one of two failures becomes a limit that was met."""
    lines = journal.read_text().replace('"failed"', '"timeout"', 1).splitlines()
    events = []
    for line in lines:
        event = json.loads(line)
        known = {name: value for name, value in ALWAYS.items() if name in event}
        events.append({**event, **known})
    events[0]["id"] = "0123456789ab"
    journal.write_text("\n".join(map(json.dumps, events)) + "\n")


def write_good_results():
    """The files of that run, as if it had been made here."""
    for name, data in good_results().items():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(made_here(data))
        name.chmod(0o755)


def made_here(data):
    """Some data of that run as it would be here."""
    return data.replace(b"{here}", str(Path.cwd()).encode())


RESULT_WORDS = [*bt.Status, *bt.Verdict, *bt.Trait, *bt.Flavour, "LHS", "SIGKILL", "t--one--fake"]


def lose_line(numbers, lines, place):
    del lines[place]


def double_line(numbers, lines, place):
    lines.insert(numbers.randrange(len(lines)), lines[place])


def swap_lines(numbers, lines, place):
    other = numbers.randrange(len(lines))
    lines[place], lines[other] = lines[other], lines[place]


def join_lines(numbers, lines, place):
    lines[place] = lines[place].rstrip(b"\n")


def damage_line(numbers, lines, place):
    lines[place] = with_odd_bytes(numbers, lines[place], JSON_PIECES)


def change_line(numbers, lines, place):
    text = lines[place].decode(errors="replace")
    lines[place] = with_odd_values(numbers, text, words=RESULT_WORDS).encode() + b"\n"


def change_all_lines(numbers, lines, place):
    """Give a member the same odd value wherever it stands: each line for itself looks good."""
    places = []
    with contextlib.suppress(ValueError, RecursionError):
        places = list(places_in(json.loads(lines[place])))
    if not places:
        return
    holder, name = numbers.choice(places)
    value = odd_value(numbers, holder[name], RESULT_WORDS)
    for number, line in enumerate(lines):
        with contextlib.suppress(ValueError, RecursionError):
            lines[number] = with_member(json.loads(line), name, value)


def with_member(data, name, value):
    """A line of JSON in which all members of this name have this value."""
    for holder, key in list(places_in(data)):
        if key == name:
            holder[key] = MARK
    return with_value(data, value).encode() + b"\n"


LINE_DAMAGES = [lose_line, double_line, swap_lines, join_lines, damage_line]
LINE_DAMAGES += [change_line, change_all_lines] * 4


def damaged_lines(numbers, lines):
    """The lines of a journal after a few damages."""
    lines = list(lines)
    for _ in range(numbers.choice([1, 1, 2, 5, 20])):
        damage = numbers.choice(LINE_DAMAGES)
        damage(numbers, lines, numbers.randrange(len(lines)))
    return lines


def play_damaged_journals(numbers):
    """Every command that reads a journal copes with a damaged one, and shows what is whole."""
    write_good_results()
    path = Path("results/batch.jsonl")
    good = good_results()[path].splitlines(keepends=True)
    # Lines may have become others: two of one, one of two.
    journal = b"".join(damaged_lines(numbers, good))
    path.write_bytes(made_here(journal))
    with blamed_on(journal):
        reports = {form: call("report results -f", form) for form in bt.REPORTS}
        for form, done in reports.items():
            check_report(form, done)
        shown = shown_verdicts(reports["json"])
        for task_id, verdict in whole_results(good, journal).items():
            assert shown.get(task_id) == verdict, f"{task_id} was {verdict}, shown is {shown}"
        check_rebuilt(call("report results --rebuild"))
        call("status results")
        check_json(call("status results --json"))
        check_json(call("audit results --format json"))
        check_audits()
        if numbers.random() < 0.2:
            check_going_on(numbers)


def check_audits():
    """Audits of the results and of all around them end with a code of theirs."""
    for words in (["results"], ["results", "--format", "junit"], [".", "--details"]):
        done = call("audit", *words)
        assert done.returncode in (0, 1, 2, 3)


def check_json(done):
    """What was printed is one JSON object, if there was no error."""
    if done.returncode != 2:
        json.loads(done.stdout, parse_constant=complain)


def check_report(form, done):
    """A report is there, and is what its format demands; or an error is."""
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        return
    assert done.stdout
    if form == "json":
        check_json(done)
    elif form == "junit":
        ElementTree.fromstring(done.stdout)
    elif form == "csv":
        rows = list(csv.reader(done.stdout.splitlines(keepends=True)))
        assert len({len(row) for row in rows}) == 1


def check_rebuilt(done):
    """All derived files that are JSON by their names are JSON."""
    if done.returncode != 2:
        for path in Path("results").rglob("*.json"):
            json.loads(path.read_text(), parse_constant=complain)


def whole_results(good, journal):
    """The verdicts that a damaged journal still tells for sure, by task.

    Those of which all lines are as they were, in their order, under the header as it was.
    """
    lines = journal.splitlines(keepends=True)
    headers = [line for line in lines if b'"batch"' in line]
    if headers != good[:1] or lines[0] != good[0]:
        return {}
    verdicts = {}
    for line in good:
        event = json.loads(line)
        if event["event"] == "finish":
            name = json.dumps(event["id"]).encode()
            if about(name, lines) == about(name, good):
                verdicts[event["id"]] = event.get("verdict")
    return verdicts


def about(name, lines):
    """The lines that name a task."""
    return [line for line in lines if name in line]


def shown_verdicts(done):
    """The verdict of each task that a report in JSON names."""
    if done.returncode == 2:
        return {}
    verdicts = {}
    for task in json.loads(done.stdout)["tasks"]:
        result = task["result"] or {}
        verdicts[task["id"]] = result.get("verdict")
    return verdicts


GOING_ON = [
    ["resume", "results", "--no-cache"],
    ["run", "recipe.json", "--no-cache"],
    ["recheck", "results", "--prover", "fake"],
]


def check_going_on(numbers):
    """A batch goes on, or is not begun; when it has ended, every task has."""
    command = numbers.choice(GOING_ON)
    done = call(*command, "-q")
    assert done.returncode in (0, 1, 2, 3)
    # A run that finds another batch there has a directory of its own.
    if "resume" in command and done.returncode != 2:
        batch, _ = bt.load_batch("results/batch.jsonl", lambda message: None)
        assert all(task.is_final for task in batch.tasks.values())


# --- Damaged recipes, expectations and reports ----------------------------------------------------

RICH_RECIPE = """{
  "$schema": "x",
  "config": {"global_max_cores": 2, "global_max_memory": "50%", "default_timeout": 60,
             "output_directory": "results", "scheduler": "sjf", "recheck_with": "fake"},
  "tamarin_versions": {
    "fake": {"path": "./fake.sh", "version": "1.11", "test_success": true},
    "other": {"command": ["./fake.sh", "-x"], "options": ["--quiet"], "env": {"A": "b"}}
  },
  "tasks": {
    "plain": {"theory_file": "t.spthy", "tamarin_versions": ["fake", "other"],
              "output_file_prefix": "p", "expect": {"o*": "verified", "two": "falsified"}},
    "many": {"theory_file": "*.spthy", "tamarin_versions": ["fake"], "cwd": ".",
             "output_file_prefix": "m_{theory}", "tamarin_options": ["--bound=5"],
             "preprocess_flags": ["FLAG"], "prove": false,
             "variants": {"a": {}, "b": {"preprocess_flags": ["MORE"]}},
             "on_limit": [{"tamarin_options": ["--heuristic=C"]}, {"resources": {"timeout": 20}}],
             "resources": {"max_cores": 1, "max_memory": 1, "timeout": 10},
             "lemmas": [{"name": "one", "expect": "verified", "resources": {"timeout": 5}},
                        {"name": "t*", "tamarin_options": []}, {"name": "!three"}]}
  }
}"""


def play_damaged_recipes(numbers):
    """A damaged recipe is refused with a place in a file, or planned; the plan can be written."""
    lab = Lab(Path.cwd())
    lab.prover(VERIFY)
    data = damaged_json(numbers, RICH_RECIPE)
    Path("recipe.json").write_bytes(data)
    with blamed_on(data):
        try:
            batch = planned_batch()
        except bt.InputError as error:
            for line in str(error).splitlines():
                # What no task can be run of is told behind the task's id.
                names = re.split(": ?", line)
                assert any(Path(name).is_file() for name in names), f"no file is named: {line}"
        else:
            check_written(batch)


def planned_batch():
    """What `run` would plan of the recipe, its provers not asked for their versions."""
    recipe = bt.Recipe("recipe.json")
    provers = bt.recipe_provers(recipe)
    room = bt.Limits(4, 8192, 3600)
    return bt.plan_batch(recipe, provers, room, bt.PlanOptions(), lambda message: None)


def check_written(batch):
    """A journal that begins with this batch tells of the very same batch."""
    journal = bt.Journal("batch.jsonl")
    journal.begin(batch)
    journal.close()
    read, _ = bt.load_batch("batch.jsonl", complain)
    assert read.tasks
    assert read == batch


EXPECTED_JSON = (
    '{"one": "verified", "t.spthy": {"two": "falsified", "th*": "verified"}, "x*": null}'
)
EXPECTED_CSV = """theory,lemma,verdict
t.spthy,one,verified
results/t,"two",falsified
,th*,
"""
CSV_PIECES = [b",", b'"', b'""', b"\n", b"\r\n", b";", b"verified", b"theory,lemma,verdict\n"]


def play_damaged_expectations(numbers):
    """A damaged file of expectations is refused by its name, or compared with."""
    write_good_results()
    name = numbers.choice(["expect.json", "expect.csv"])
    if name == "expect.json":
        data = damaged_json(numbers, EXPECTED_JSON)
    else:
        data = with_odd_bytes(numbers, EXPECTED_CSV.encode(), CSV_PIECES)
    Path(name).write_bytes(data)
    with blamed_on(data):
        done = call("audit results --expect", name, "--format", "json")
        assert done.returncode in (1, 2, 3), done.stderr
        if done.returncode == 2:
            assert f"error: {name}:" in done.stderr, done.stderr
        check_json(done)


UPSTREAM_WORDS = ["completed", "timeout", "pending", "verified", "unterminated", "unknown"]


def play_damaged_upstream_reports(numbers):
    """A damaged report of batch-tamarin's is refused by its name, or shown."""
    write_good_results()
    data = damaged_json(numbers, json.dumps(upstream_report()), UPSTREAM_WORDS)
    Path("out").mkdir()
    path = Path("out/execution_report.json")
    path.write_bytes(data)
    with blamed_on(data):
        for form in bt.REPORTS:
            done = call("report out -f", form)
            check_report(form, done)
            if done.returncode == 2:
                assert f"error: {path}:" in done.stderr, done.stderr
        call("audit out --against results")


# --- Damaged cache entries ------------------------------------------------------------------------


def play_damaged_cache_entries(numbers):
    """What a damaged entry of the cache answers is nothing, or what was stored."""
    stored = StoredResult(Path.cwd())
    stored.store()
    entry = stored.entry()
    file = numbers.choice(sorted(entry.iterdir()))
    data = file.read_bytes()
    if file.name == "entry.json":
        data = damaged_json(numbers, data.decode())
    else:
        data = with_odd_bytes(numbers, data, [b"x"])
    file.write_bytes(data)
    with blamed_on((file.name, data)):
        hit = stored.find()
        if hit:
            check_hit(stored, hit)
        stored.proof.write_text("proof")
        stored.store()
        assert stored.find(), "it can't be stored any more"


def check_hit(stored, hit):
    """A hit has the stored verdict, and its proof is as it was, or is none."""
    assert hit.result.verdict == VERIFIED.verdict
    assert hit.result.status == VERIFIED.status
    stored.proof.unlink()
    if stored.cache.restore(hit, stored.outputs) and "proof" in hit.files:
        assert stored.proof.read_text() == "proof"


# --- Damaged logs and theories --------------------------------------------------------------------

LOG = """[Theory T] Theory loaded
[Theory T] Theory translated
analyzing
==============================================================================
summary of summaries:

analyzed: t.spthy

  output:          t.spthy-proof
  processing time: 0.12s
  \x20
  WARNING: 1 wellformedness check failed!
           The analysis results might be wrong!

  one (all-traces): verified (7 steps)
  two (exists-trace): falsified - no trace found (3 steps)
  three (all-traces): analysis incomplete (1 steps)

==============================================================================
"""
LOG_PIECES = b"""
analyzed: t.spthy
analyzed: u.spthy
=====
summary of summaries:
: verified (
(1 steps)
(99999999999999999999 steps)
"t.spthy" (line 1, column 1):
unexpected "x"
""".splitlines(keepends=True)


def play_damaged_logs(numbers):
    """Of a damaged log no lemma has an answer that does not stand in it, beside its name."""
    data = LOG.encode()
    for _ in range(numbers.choice([1, 2, 4])):
        data = with_odd_bytes(numbers, data, LOG_PIECES)
    log = Path("log")
    log.write_bytes(data)
    text = data.decode(errors="replace")
    with blamed_on(data):
        for lemma in ("", "one", "three"):
            output = bt.read_output("log", "log", lemma)
            for line in output.lines:
                if line.verdict in bt.ANSWERS:
                    assert re.search(rf"\b{line.name}\b.*: {line.verdict}", text), line
        done = call("audit . --format json")
        assert done.returncode in (0, 1, 2, 3)
        check_json(done)


MANY_ITEMS = """theory Many
configuration: "--auto-sources"
begin
builtins: hashing, signing
functions: f/2, g/1 [private]
#define FLAG
#ifdef FLAG & not OTHER
rule A [color=#ffffff]: let x = ~k in [ Fr(~k) ] --[ A(x) ]-> [ Out(<x, 'c'>) ]
#else
rule A: [ ] --> [ ]
#endif
#include "t.spthy"
restriction R: "All x #i #j. A(x) @ i & A(x) @ j ==> #i = #j"
tactic: tac
prio:
    regex ".*A.*"
lemma many [sources, reuse, heuristic={tac}]:
    all-traces "All x #i. A(x) @ i ==> T" /* a comment */
simplify
by contradiction /* from formulas */
lemma some [hide_lemma=many, output=[spthy]]: exists-trace "Ex x #i. A(x) @ i"
text{* with a \\* in it *}
predicates: P(x) <=> Ex #i. A(x) @ i
end
"""
THEORY_PIECES = b"""
" ' ( ) [ ] { } {* *} | = , : < . /* */ // lemma rule end begin let in diff( restriction text
heuristic: configuration: sorry SOLVED qed process builtins: #else #endif #ifdef
""".split()
THEORY_PIECES += [
    b"\n",
    b"#ifdef X\n",
    b"#endif\n",
    b'#include "t.spthy"\n',
    b"lemma x:",
    b"by sorry",
]
LARGEST_THEORY = 60_000


@functools.lru_cache(maxsize=1)
def good_theories():
    """Texts of theories: real ones where they are there."""
    texts = [MANY_ITEMS.encode()]
    for path in sorted(CORPUS.rglob("*.spthy")):
        data = path.read_bytes()
        if len(data) <= LARGEST_THEORY:
            texts.append(data)
    return texts


def play_damaged_theories(numbers):
    """A damaged theory is refused with a place, or read: what is a lemma has its name there."""
    lab = Lab(Path.cwd())
    theories = good_theories()
    data = numbers.choice(theories)
    for _ in range(numbers.choice([1, 2, 4])):
        other = numbers.choice(theories)
        start = numbers.randrange(len(other))
        size = numbers.choice([20, 200, 2000])
        spliced = other[start : start + size]
        data = with_odd_bytes(numbers, data, [*THEORY_PIECES, spliced, spliced])
    path = lab.path / "damaged.spthy"
    path.write_bytes(data)
    with blamed_on(data):
        for options in ([], ["--diff"], ["--auto-sources", "-D=FLAG"]):
            check_lemmas(data, options)
        done = call("audit . --format json")
        assert done.returncode in (0, 1, 2, 3)
        check_json(done)


def check_lemmas(data, options):
    """What `lemmas` lists of a theory stands in it; if it is refused, with file and line."""
    done = call("lemmas damaged.spthy --json", *options)
    if done.returncode == 2:
        assert re.search(r"^error: \w+\.spthy:\d+:", done.stderr), done.stderr
        return
    text = data.decode(errors="replace") + THEORY
    for lemma in json.loads(done.stdout)["lemmas"]:
        name = lemma["name"]
        is_added = name.startswith(("AUTO_typing", "Observational_equivalence"))
        assert is_added or name.partition("_")[0] in text, name


# --- The two ways to soak -------------------------------------------------------------------------

KINDS = {}
for stop in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
    KINDS[f"kills by {stop.name}"] = Kind(functools.partial(play_kills, stop, 6), 1)
KINDS["walks over one results directory"] = Kind(functools.partial(play_walk, 5), 1)
KINDS["walks over races"] = Kind(functools.partial(play_race_walk, 5), 1)
KINDS["sweeps of attackers"] = Kind(functools.partial(play_sweeps, 4), 1)
KINDS["damaged journals"] = Kind(play_damaged_journals, 4)
KINDS["damaged recipes"] = Kind(play_damaged_recipes, 50)
KINDS["damaged expectations"] = Kind(play_damaged_expectations, 15)
KINDS["damaged reports of batch-tamarin"] = Kind(play_damaged_upstream_reports, 6)
KINDS["damaged cache entries"] = Kind(play_damaged_cache_entries, 30)
KINDS["damaged logs"] = Kind(play_damaged_logs, 20)
KINDS["damaged theories"] = Kind(play_damaged_theories, 12)


@pytest.mark.parametrize("name", KINDS)
def test_soak(name):
    if name.startswith(("kills", "walks", "sweeps")) and sys.platform != "linux":
        pytest.skip("needs Linux")
    print(f"seed {SOAK_SEED}")
    for number in range(KINDS[name].rounds):
        play_round(name, SOAK_SEED, number)


def soak(seconds, seed, names):
    """Play rounds of these kinds in turn until the time is up; the exit code."""
    print(f"seed {seed}", flush=True)
    end = time.monotonic() + seconds
    played = dict.fromkeys(names, 0)
    code = 0
    try:
        for name, number in rounds_in_turn(names):
            if time.monotonic() >= end:
                break
            play_round(name, seed, number)
            played[name] += 1
    except AssertionError:
        traceback.print_exc()
        code = 1
    except KeyboardInterrupt:
        code = 130
    for name, rounds in played.items():
        print(f"{rounds:8,} x {name}")
    return code


def rounds_in_turn(names):
    """(kind, number) without an end: of each kind as many rounds as an ordinary run has, and again.

    So each kind has about the same time.
    """
    for turn in itertools.count():
        for name in names:
            rounds = KINDS[name].rounds
            for number in range(turn * rounds, turn * rounds + rounds):
                yield name, number


# === Benchmark ====================================================================================
#
# What is spent beside proofs: provers that answer at once, or after a while, and two slots. What
# other programs do with the very same commands is measured in turn with it. `done` counts answers:
# who is fast because it stops early shows it there.

SLOTS = 2
C_PROVER = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    const char *lemma = "", *out = 0;
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "--version")) { puts("tamarin-prover 1.11.0, (C) nobody"); return 0; }
        if (!strncmp(words[i], "--prove=", 8)) lemma = words[i] + 8;
        if (!strncmp(words[i], "--output=", 9)) out = words[i] + 9;
    }
    usleep(SLEEP_MS * 1000);
    FILE *proof = out ? fopen(out, "w") : 0;
    if (proof) { fputs("theory T begin end\n", proof); fclose(proof); }
    puts(RULE "\nsummary of summaries:\n\nanalyzed: t.spthy\n\n  processing time: 0.01s\n  ");
    printf("  %s (all-traces): verified (2 steps)\n\n" RULE "\n", lemma);
}
"""


class Measurement(typing.NamedTuple):
    """What one run of a command took, with all its children."""

    wall_s: float
    cpu_s: float
    peak_mb: float  # of the largest process
    done: int  # answers that are there after it


# The kernel counts the memory of who starts a process as that process's own: a small Python does.
MEASURE = """
import os, subprocess, sys, time
begun = time.monotonic()
null = subprocess.DEVNULL
process = subprocess.Popen(sys.argv[1:], stdin=null, stdout=null, stderr=null)
_, _, usage = os.wait4(process.pid, 0)
print(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def measured(command, folder):
    """Run a command in a folder; its Measurement."""
    measure = [sys.executable, "-c", MEASURE, *command]
    told = subprocess.check_output(measure, cwd=folder, text=True)
    return Measurement(*map(float, told.split()), done=answers_in(folder))


def answers_in(folder):
    """How many tasks have an answer: as files of success/, or of one prover each."""
    answered = folder / "results" / "success"
    if answered.is_dir():
        return sum(1 for _ in os.scandir(answered))
    return sum(1 for _ in (folder / "answers").glob("*.spthy"))


class Contests:
    """A folder with a recipe, the programs that run it, and the table of what they took."""

    def __init__(self, folder, args):
        self.folder = folder
        self.lab = Lab(folder)
        self.rounds = 3 if args.quick else 5
        self.peer = args.batch_tamarin
        self.gone = folder / "gone"  # what was cleared away
        self.module = folder / "module"
        self.module.mkdir()
        shutil.copy(SCRIPT, self.module)
        py_compile.compile(str(self.module / SCRIPT.name), doraise=True)

    def recipe(self, prover, config=None, **entry):
        """Write the recipe of a contest; the other programs need an absolute path."""
        self.lab.provers = {"fake": {"path": str(prover)}}
        limits = {"global_max_cores": SLOTS, "global_max_memory": 8, "default_timeout": 600}
        self.lab.recipe(config={**limits, **(config or {})}, **entry)

    def prover(self, sleep_ms):
        """A prover that answers after so many milliseconds."""
        path = self.folder / f"after-{sleep_ms}-ms"
        compiler = shutil.which("cc")
        if compiler:
            values = {"SLEEP_MS": sleep_ms, "RULE": f'"{78 * "="}"'}
            defines = [f"-D{name}={value}" for name, value in values.items()]
            command = [compiler, "-x", "c", *defines, "-", "-o", str(path)]
            subprocess.run(command, input=C_PROVER, text=True, check=True)
        else:
            body = f'{PRELUDE}sleep {sleep_ms / 1000}; echo "theory T begin end" > "$OUT"\n{VERIFY}'
            self.lab.write(path.name, body, 0o755)
        return path

    def ours(self, *args):
        """The program as users start it: Python compiles it first."""
        return [sys.executable, str(SCRIPT), *args]

    def ours_compiled(self, *args):
        """The same as `python -m`, which keeps what it has compiled."""
        return ["env", f"PYTHONPATH={self.module}", sys.executable, "-m", "batch_tamarin", *args]

    def runners(self, prover, names):
        """Who can run a prover on these lemmas of t.spthy: a command by name."""
        self.lab.write("names", "\n".join(names) + "\n")
        prove = f"{prover} +RTS -N1 -RTS t.spthy --prove={{}} --output=answers/{{}}.spthy"
        shell = f"xargs -P{SLOTS} -I{{}} {prove} < names"
        commands = {f"xargs -P{SLOTS}": ["sh", "-c", shell]}
        if shutil.which("parallel"):
            jobs = ["parallel", f"-j{SLOTS}", "--joblog", "joblog", "-a", "names"]
            commands["GNU parallel, job log"] = [*jobs, prove]
        commands["batch_tamarin.py"] = self.ours("run", "recipe.json", "-q")
        commands["python -m batch_tamarin"] = self.ours_compiled("run", "recipe.json", "-q")
        if self.peer:
            commands["batch-tamarin"] = [self.peer, "run", "recipe.json"]
        return commands

    def contest(self, title, commands, rounds=None, keep=False):
        """Measure these in turn, each from nothing (or from what is there: keep); the medians."""
        taken = {name: [] for name in commands}
        for _ in range(rounds or self.rounds):
            for name, command in commands.items():
                if not keep:
                    self.clear()
                taken[name].append(measured(command, self.folder))
        medians = {}
        for name, each in taken.items():
            figures = zip(*each)
            medians[name] = Measurement(*map(statistics.median, figures))
        self.tell(title, medians)
        shutil.rmtree(self.gone, ignore_errors=True)

    def clear(self):
        """Take away results, and the caches of all programs."""
        # Not removed before the contest ends: for half a minute ext4 looks at each inode that was
        # deleted, whoever makes a file, and who makes most files would seem twice as slow.
        gone = self.gone / str(time.monotonic_ns())
        gone.mkdir(parents=True)
        for name in ("results", "answers", "home"):
            if (self.folder / name).exists():
                (self.folder / name).rename(gone / name)
            (self.folder / name).mkdir()
        self.lab.results.rmdir()
        (self.folder / "joblog").unlink(missing_ok=True)
        home = str(self.folder / "home")
        os.environ.update(HOME=home, XDG_CACHE_HOME=home)

    def tell(self, title, medians):
        """Print the lines of one contest; ratios are to its first."""
        print(f"\n| {title} | wall s | ratio | CPU s | peak MB | done |")
        print("|---|---:|---:|---:|---:|---:|")
        first = next(iter(medians.values())).wall_s
        for name, (wall_s, cpu_s, peak_mb, done) in medians.items():
            ratio = wall_s / first
            print(
                f"| {name} | {wall_s:.2f} | {ratio:.2f} | {cpu_s:.2f} | {peak_mb:.0f} | {done:g} |",
                flush=True,
            )

    # --- The contests

    def start_up(self):
        """Nothing but starting."""
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "batch_tamarin.py --version": self.ours("--version"),
            "python -m batch_tamarin --version": self.ours_compiled("--version"),
        }
        if self.peer:
            commands["batch-tamarin --version"] = [self.peer, "--version"]
        self.contest("start-up", commands, rounds=2 * self.rounds)

    def waits(self, sleep_ms, tasks):
        """A batch whose provers answer after so many milliseconds."""
        self.lab.write("t.spthy", many_lemmas(tasks))
        prover = self.prover(sleep_ms)
        self.recipe(prover)
        runners = self.runners(prover, [f"l{number}" for number in range(tasks)])
        self.contest(f"{tasks:,} tasks of {sleep_ms} ms, {SLOTS} slots", runners)

    def size(self, tasks):
        """One run of a large batch."""
        self.lab.write("t.spthy", many_lemmas(tasks))
        prover = self.prover(0)
        self.recipe(prover)
        runners = self.runners(prover, [f"l{number}" for number in range(tasks)])
        runners.pop("batch-tamarin", None)  # it would take hours
        self.contest(f"{tasks:,} instant tasks", runners, rounds=1)

    def looks(self, tasks):
        """Commands on a large batch that has ended."""
        self.lab.write("t.spthy", many_lemmas(tasks))
        self.recipe(self.prover(0))
        self.clear()
        finished_batch(self.folder)
        commands = {
            "check (plans, one load)": self.ours("check", "recipe.json"),
            "status": self.ours("status", "results"),
            "report -f json": self.ours("report", "results", "-f", "json"),
            "audit": self.ours("audit", "results"),
            "resume (nothing to do)": self.ours("resume", "results"),
        }
        self.contest(f"a batch of {tasks:,} results", commands, rounds=1, keep=True)

    def edits(self, lemmas):
        """How many provers start after an edit: a count, and no time."""
        print(f"\n| {lemmas} lemmas with results, then | proofs | loads |\n|---|---:|---:|")
        theory = many_lemmas(lemmas)
        body = 'echo "${LEMMA:-load}" >> runs; ' + VERIFY
        for name, edited in {
            "nothing changes": theory,
            "a comment is added": theory.replace("lemma l1:", "/* more */ lemma l1:"),
            "one lemma is edited": theory.replace("lemma l1:", "lemma l1 [use_induction]:"),
            "a rule is edited": theory.replace("rule A: [", "rule A: [ In('1'),"),
        }.items():
            self.clear()
            self.lab.write("t.spthy", theory)
            self.lab.prover(body)
            self.recipe(self.folder / "fake.sh")
            measured(self.ours("run", "recipe.json"), self.folder)
            (self.folder / "runs").write_text("")
            self.lab.write("t.spthy", edited)
            measured(self.ours("run", "recipe.json"), self.folder)
            started = (self.folder / "runs").read_text().split()
            loads = started.count("load")
            print(f"| {name} | {len(started) - loads} | {loads} |", flush=True)

    def real(self, prover, theories):
        """A real prover on theories, one process for each lemma, and one for each theory."""
        self.lab.provers = {"real": {"path": os.path.abspath(prover)}}
        entries = {}
        for number, theory in enumerate(theories):
            name = f"{number}-{Path(theory).name}"
            shutil.copy(theory, self.folder / name)
            entries[f"t{number}"] = {
                "theory_file": name,
                "tamarin_versions": ["real"],
                "output_file_prefix": f"t{number}",
                "resources": {"max_cores": 1, "max_memory": 2, "timeout": 600},
            }
        config = {"global_max_cores": SLOTS, "global_max_memory": 8, "default_timeout": 600}
        self.lab.recipe(config, "lemma.json", tasks=entries)
        self.lab.recipe({**config, "granularity": "theory"}, "theory.json", tasks=entries)
        lemmas = self.write_commands("lemma.json")
        shell = f"xargs -P{SLOTS} -d '\\n' -I{{}} sh -c '{{}}' < commands"
        commands = {
            f"xargs -P{SLOTS}": ["sh", "-c", shell],
            "granularity lemma": self.ours("run", "lemma.json", "-q"),
            "granularity theory": self.ours("run", "theory.json", "-q"),
        }
        if self.peer:
            commands["batch-tamarin"] = [self.peer, "run", "lemma.json"]
        title = f"a real prover, {len(theories)} theories, {lemmas} lemmas"
        self.contest(title, commands, rounds=min(3, self.rounds))

    def write_commands(self, recipe):
        """Write the command lines of a recipe for a shell; how many there are."""
        with working_in(self.folder):
            batch = bt.plan_recipe(bt.Recipe(recipe), bt.PlanOptions())
        lines = []
        for task in batch.tasks.values():
            endings = ("out", "err", "spthy", "json", "dot")
            outputs = bt.Outputs(*(f"answers/{task.id}.{ending}" for ending in endings))
            command = bt.prover_command(batch.provers["real"], task.plan, outputs)
            lines.append(shlex.join(command) + "\n")
        self.lab.write("commands", "".join(lines))
        return len(lines)


@contextlib.contextmanager
def working_in(folder):
    """Be in a folder for a while."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def finished_batch(folder):
    """The results of a batch as a run would leave them, of which nothing was run."""
    with working_in(folder):
        batch = bt.plan_recipe(bt.Recipe("recipe.json"), bt.PlanOptions())
        journal = bt.open_results("results", batch, False, print)
        bt.prepare_directory(batch, journal.directory)
        usage = bt.Usage(0.01, 0.01, 3.0, 2.0)
        for plan in [task.plan for task in batch.tasks.values()]:
            command = ("./fake", plan.theory, f"--prove={plan.lemma}")
            started = bt.Started((plan.id,), plan.id, 1, 1, 1, "host", "boot", command)
            journal.record(started)
            line = bt.SummaryLine(plan.lemma, "", plan.trait, bt.Verdict.VERIFIED, 2)
            result = bt.Result(
                bt.Status.COMPLETED,
                bt.Verdict.VERIFIED,
                steps=2,
                trait=plan.trait,
                lemmas=(line,),
                exit=bt.ExitStatus(0),
                usage=usage,
            )
            journal.record(bt.Finished(plan.id, plan.id, 1, result))
        journal.record(bt.Ended(0, bt.timestamp()))
        journal.close()


def benchmark(folder, args):
    """Measure, and print a table of each contest."""
    contests = Contests(folder, args)
    version = sys.version.split()[0]
    print(f"Python {version}, {os.cpu_count()} cores; medians of {contests.rounds} rounds in turn.")
    print("CPU: of all processes; MB: of the largest one; ratios: wall time to the first line.")
    by_name = {
        "start": contests.start_up,
        "instant": lambda: contests.waits(0, 200),
        "50ms": lambda: contests.waits(50, 60 if args.quick else 200),
        "300ms": lambda: contests.waits(300, 20 if args.quick else 200),
        "edits": lambda: contests.edits(20),
        "sizes": lambda: list(
            map(contests.size, [1_000] if args.quick else [1_000, 10_000, 100_000])
        ),
        "looks": lambda: contests.looks(10_000 if args.quick else 100_000),
    }
    if args.prover:
        by_name["real"] = lambda: contests.real(args.prover, args.theories)
    for name, contest in by_name.items():
        if not args.only or name in args.only:
            contest()


# === The command line =============================================================================


def main():
    """`python test_batch_tamarin.py soak|bench`; the exit code."""
    parser = argparse.ArgumentParser(description="What is too long for a run of the tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    soaking = commands.add_parser("soak", help="random input for as long as there is time")
    soaking.add_argument("--seconds", type=float, default=SOAK_S, help=f"default: {SOAK_S}")
    soaking.add_argument("--seed", type=int, help="that of an earlier soak; default: a new one")
    soaking.add_argument(
        "--kind",
        choices=KINDS,
        action="append",
        metavar="KIND",
        help=f"only this (repeatable): {', '.join(KINDS)}",
    )
    bench = commands.add_parser("bench", help="how fast it is, beside other programs")
    bench.add_argument("--quick", action="store_true", help="minutes: smaller, fewer rounds")
    bench.add_argument("--only", action="append", metavar="CONTEST", help="only this (repeatable)")
    bench.add_argument("--batch-tamarin", metavar="FILE", help="that program, beside it")
    bench.add_argument("--prover", metavar="FILE", help="a real prover, to prove THEORIES with")
    bench.add_argument("theories", nargs="*", metavar="THEORY", help="theories for --prover")
    args = parser.parse_args()
    if args.command == "soak":
        seed = args.seed
        if seed is None:
            seed = random.SystemRandom().randrange(1_000_000)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder
            return soak(args.seconds, seed, args.kind or list(KINDS))
    with tempfile.TemporaryDirectory() as folder:
        benchmark(Path(folder), args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
