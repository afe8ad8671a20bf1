"""What batch_tamarin.py promises, as tests: sections have the titles of the program's.

Run: `pytest` (all of it), `python test_batch_tamarin.py soak` (what takes long: random kills, walks
and mutations), `python test_batch_tamarin.py bench` (its speed, beside other programs).

Provers are small shell scripts. Where ../shared (real theories and real prover runs) is there, it is
used as well.

No test depends on how fast the machine is. Tests wait for what happens (a line in a journal, a file,
an exit), for minutes if need be; a prover that is meant to pass has minutes, too, and one that is
meant to run into its limit waits for something that never comes.
"""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import errno
import fcntl
import functools
import json
import multiprocessing
import os
import pty
import random
import re
import resource
import select
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import typing
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

# Limits in seconds, generous: no test passes or fails by them, they only end what hangs.
WAIT_S = 180  # for one event
RUN_S = 300  # for one run of the program
TEST_S = 1800  # for one test

# Provers of the tests. After this beginning $LEMMA is the lemma asked for, $OUT, $JSON and $DOT are
# the files to write, and `summary` prints what it reads as the summary of a real prover.
PRELUDE = r"""#!/bin/sh
case "$*" in *--version*) echo "tamarin-prover 1.11.0, (C) nobody"; exit 0;; esac
for word in "$@"; do
    case "$word" in
        --prove=*) LEMMA="${word#--prove=}";;
        --output=*) OUT="${word#--output=}";;
        --output-json=*) JSON="${word#--output-json=}";;
        --output-dot=*) DOT="${word#--output-dot=}";;
    esac
done
RULE===============================================================================
summary() {
    printf '%s\nsummary of summaries:\n\nanalyzed: x.spthy\n\n' $RULE
    printf '  processing time: 0.12s\n  \n'
    cat
    printf '\n%s\n' $RULE
}
"""
VERIFY = """
echo "theory proof" > "$OUT"
echo "  $LEMMA (all-traces): verified (7 steps)" | summary
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

    def prover(self, body, alias="fake"):
        """Make a prover of the recipe: a shell script that begins with PRELUDE."""
        self.write(f"{alias}.sh", PRELUDE + body, 0o755)
        self.provers[alias] = {"path": f"./{alias}.sh"}

    def recipe(self, config=None, name="recipe.json", tasks=None, **entry):
        """Write a recipe of one entry "task", which proves t.spthy with the first prover."""
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

    def command(self, *args):
        """The words that start the program as users do."""
        return [sys.executable, str(SCRIPT), *args]

    def run(self, *args, code=None, cwd=None):
        """Run one command line in a process of its own; the finished process.

        Its whole output is in the message when the exit code isn't the wanted one.
        """
        done = fork_program(args, cwd or self.path)
        check_end(done, code)
        return done

    def run_script(self, *args, code=None, **options):
        """Run the program as users do: `python batch_tamarin.py ...`. Options as of `subprocess.run`."""
        options = {"cwd": self.path, "timeout": RUN_S, **options}
        done = subprocess.run(self.command(*args), capture_output=True, text=True, **options)
        check_end(done, code)
        return done

    def start(self, *args, **options):
        """Start the program as users do; the running process."""
        return subprocess.Popen(
            self.command(*args),
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

    def finishes(self, results="results"):
        """The last `finish` event of each task, by its id."""
        return {event["id"]: event for event in self.events("finish", results)}

    def only_finish(self):
        """The `finish` event of a batch of one task."""
        (event,) = self.events("finish")
        return event


def fork_program(args, cwd):
    """Run `main(args)` in a child of this process, from a directory; the finished process.

    As the script does it, but Python isn't started and the file not compiled once more for each of
    some thousand runs.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = multiprocessing.get_context("fork").Process(
            target=be_the_program, args=(args, cwd, out.fileno(), err.fileno())
        )
        child.start()
        child.join(RUN_S)
        if child.exitcode is None:
            child.kill()
            raise AssertionError(f"{args} did not end within {RUN_S} s")
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode(errors="surrogateescape"))
        return subprocess.CompletedProcess(args, child.exitcode, *told)


def be_the_program(args, cwd, out, err):
    """What the child of `fork_program` does, until its end."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace")
    sys.stderr.reconfigure(line_buffering=True)
    sys.argv = [str(SCRIPT), *args]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(cwd)
    # What an earlier test made the program remember in this process.
    for value in list(vars(bt).values()):
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    sys.exit(bt.main(list(args)))


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
    process = lab.start("run", "recipe.json")
    wait_for(lambda: len(lab.events("finish")) == 2 and len(lab.events("start")) == 4)
    process.send_signal(signal.SIGTERM)
    end_of(process)
    assert process.returncode == 143
    (lab.path / "go").touch()


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


def a_task(status=bt.Status.PENDING, result=None, **changes):
    """A task, with some fields of its plan of one's own."""
    return bt.Task(a_plan(**changes), status, result=result)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    """Every test has a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def same_directory(monkeypatch):
    """Every test begins in the same directory, wherever another one went."""
    monkeypatch.chdir(HERE)


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


# === Model ========================================================================================


def test_a_plan_in_memory_is_the_plan_on_disk(lab):
    lab.prover(VERIFY)
    lab.recipe(expect="verified", tamarin_options=["--bound=5"], preprocess_flags=["X"])
    os.chdir(lab.path)
    recipe = bt.Recipe("recipe.json")
    planned = bt.plan_batch(
        recipe, bt.recipe_provers(recipe), bt.Limits(4, 8192, 0), bt.PlanOptions(), print
    )
    journal = bt.Journal(str(lab.path / "j.jsonl"))
    journal.begin(planned)
    journal.close()
    loaded, _ = bt.load_batch(str(lab.path / "j.jsonl"), pytest.fail)
    assert loaded == planned and loaded.tasks["t--one--fake"].plan.options == ("--bound=5",)


def test_events_that_cannot_follow_are_refused():
    batch = bt.Batch()
    batch.apply(a_plan())
    start = bt.Started(("i",), "i", 1)
    batch.apply(start)
    with pytest.raises(ValueError, match="begun before"):
        batch.apply(start)
    with pytest.raises(ValueError, match="can't finish as running"):
        batch.apply(bt.Finished("i", "i", 1, bt.Result(bt.Status.RUNNING)))


def test_the_tally_kept_by_events_is_that_of_the_tasks():
    plans = [
        a_plan(id=str(number), entry="ab"[number % 2], limits=bt.Limits(1, 1, 60 + number % 3))
        for number in range(8)
    ]
    batch = bt.Batch(bt.Header(), {plan.id: bt.Task(plan) for plan in plans})
    tally = bt.Tally(batch, batch.tasks.values())

    def start(task_id, attempt=1):
        return bt.Started((task_id,), task_id, attempt)

    def finish(task_id, status, verdict=None):
        return bt.Finished(
            task_id,
            task_id,
            1,
            bt.Result(bt.Status(status), verdict, usage=bt.Usage(10 + int(task_id))),
        )

    for event in [
        start("0"),
        start("1"),
        finish("0", "completed", bt.Verdict.VERIFIED),
        start("2"),
        finish("1", "interrupted"),
        finish("2", "timeout"),
        start("1", 2),
        finish("3", "completed", bt.Verdict.FALSIFIED),  # from the cache: it never started
        bt.Header(vanished=("7",)),
        a_plan(id="0", key="new"),
        a_plan(id="8"),
        start("0", 2),
        finish("8", "failed"),
    ]:
        batch.apply(event)
        tally.note(event)
        fresh = bt.Tally(batch, batch.tasks.values())
        running = {
            task.id: 5.0 for task in batch.tasks.values() if task.status is bt.Status.RUNNING
        }
        assert tally.counts() == bt.count_outcomes(batch.tasks.values()) and tally.total == len(
            batch.tasks
        )
        assert tally.done == batch.count(*bt.FINAL) and tally.forecast(
            running, 2
        ) == fresh.forecast(running, 2)


# === Theory =======================================================================================

FORMULA = '"All x #i. A(x)@i ==> F"'


def a_lemma(name, attributes="", trait=""):
    return f"lemma {name}{attributes}: {trait} {FORMULA}\n"


@pytest.fixture
def load(tmp_path):
    """Write a theory with this body (and other files), and load it."""

    def loader(body, files=None, whole=False, **options):
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        data = body if whole else f"theory T\nbegin\n{body}\nend\n"
        (tmp_path / "t.spthy").write_bytes(data if isinstance(data, bytes) else data.encode())
        return bt.load_theory(str(tmp_path / "t.spthy"), **options)

    return loader


def lemma_names(theory):
    return [lemma.name for lemma in theory.lemmas]


def shown_lemmas(theory):
    return [f"{lemma.side} {lemma.name} {lemma.trait}".strip() for lemma in theory.lemmas]


def assumed(theory, name, side=""):
    return next(
        lemma.assumes for lemma in theory.lemmas if lemma.name == name and side in ("", lemma.side)
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("/* /* " + a_lemma("x") + " */ " + a_lemma("y") + "*/" + a_lemma("a"), ["a"]),
        ('lemma a: "All x #i. // not the end: "\n A(x)@i ==> F"\n' + a_lemma("b"), ["a", "b"]),
        ("rule Q: [In('http://x')]-->[Out('a/*b')]\n" + a_lemma("a"), ["a"]),
        (
            "rule Q: [In('//x\n y')]-->[]\n" + a_lemma("a"),
            ["a"],
        ),  # Tamarin sees a comment behind the quote
        ('lemma a: "All #i. A(\'x"y\')@i ==> F"\n' + a_lemma("b"), ["a", "b"]),
        ("text{* " + a_lemma("x") + r" \* " + "*}\n" + a_lemma("a"), ["a"]),
        (a_lemma("a") + "end junk \" ' /* " + a_lemma("x"), ["a"]),
        ("functions: end/0, lemma/1, test/2\n" + a_lemma("a"), ["a"]),
        ("rule Q: let end = '1' lemma = end in [In(end)]-->[Out(lemma)]\n" + a_lemma("a"), ["a"]),
        ("predicates: P(x) <=> Ex end. end = x\n" + a_lemma("a"), ["a"]),
        ("lemma(modulo E)a[reuse,]:all-traces" + FORMULA, ["a"]),
        ("lemma /* c */ a // d\n : exists-trace // e\n" + FORMULA, ["a"]),
        (r'export p: "lemma x: \"a\" \\ // y"' + "\n" + a_lemma("a"), ["a"]),
        (
            'tactic: t\npresort: C\nprio: {smallest}\n regex "don\'t // x" | isFactName "lemma"\n'
            + a_lemma("a"),
            ["a"],
        ),
        (
            'rule Q [color=#ffffff, process="in(\'x);// y", role="lemma a: "]: []-->[]\n'
            + a_lemma("a"),
            ["a"],
        ),
        (
            "process: new end; !P | in(x); event A(x)\n"
            + a_lemma("a")
            + "let Q = 0\n"
            + a_lemma("b"),
            ["a", "b"],
        ),
        ("process: 0\nequivLemma: 0 0\ndiffEquivLemma: out(diff('1','2'))\n" + a_lemma("a"), ["a"]),
        ("lemma a: \"All #ifdef. A('1')@#ifdef ==> F\"\n" + a_lemma("b"), ["a", "b"]),
        (a_lemma("é") + a_lemma("1a_b"), ["é", "1a_b"]),
    ],
)
def test_lemmas_are_found_where_tamarin_finds_them(load, text, expected):
    assert lemma_names(load(text)) == expected


def test_traits_attributes_lines_and_stored_proofs(load):
    theory = load(
        'lemma a [ sources , hide_lemma = b,\n heuristic=o "x y" , output=[spthy, msr] ]:\n exists-trace '
        + FORMULA
        + "\n/* guarded */ by /* */ sorry\n"
        + a_lemma("b", trait="all-traces")
        + "simplify\nsolve( A( '(' ) @ #i )\n"
        "  case end\n  by sorry\nqed\n" + a_lemma("c")
    )
    first, _second, _third = theory.lemmas
    assert first.attributes == (
        "sources",
        "hide_lemma=b",
        'heuristic=o "x y"',
        "output=[spthy,msr]",
    )
    assert [(entry.trait, entry.line, bool(entry.proof)) for entry in theory.lemmas] == [
        ("exists-trace", 3, False),
        ("all-traces", 7, True),
        ("all-traces", 13, False),
    ]
    assert first.file.endswith("t.spthy")


@pytest.mark.parametrize(
    "text, line, message",
    [
        (a_lemma("a") + "/* /* */", 4, "comment is never closed"),
        ('lemma a: "All x', 3, "double quote is never closed"),
        ("text{* a", 3, "never closed"),
        ("text{* a * b *}", 3, "star"),
        ("rule Q: [In('x)]-->[]", 3, "single quotes"),
        (a_lemma("a") + a_lemma("a"), 4, "second lemma 'a'"),
        ("lemma a [reused]: " + FORMULA, 3, "reused"),
        ("lemma a " + FORMULA, 3, "expected"),
        (a_lemma("a") + "SOLVED", 4, "SOLVED"),
        ("heuristic: s\nheuristic: C", 4, "second 'heuristic:'"),
        ("#ifdef X\n" + a_lemma("a"), 3, "no #endif"),
        ("#define X\n#ifdef X\n" + a_lemma("a"), 4, "no #endif"),
        ("#ifdef X\n#ifdef Y\n#endif\n#endif", 6, "nested"),
        ('#include "nope.spthy"', 3, "nope.spthy"),
        ('#include "a-b.spthy"', 3, "letters, digits"),
        ("rule Q: [In('1')\n#ifdef X\n]-->[]\n#endif", 4, "between items"),
        ("rule Q: [In(x)]-->[Out(diff(x, '1'))]", 3, "--diff"),
        ("diffLemma a:", 3, "--diff"),
        ("rule Q: []-->[] left rule Q: []-->[] right rule Q: []-->[]", 3, "--diff"),
        ("restriction r [left]: " + FORMULA, 3, "--diff"),
        ("lemma a: t accounts for " + FORMULA, 3, "no case test 't'"),
        (a_lemma("a") + "\0", 4, "NUL"),
    ],
)
def test_what_tamarin_refuses_is_refused_with_its_place(load, text, line, message):
    with pytest.raises(bt.InputError, match=re.escape(message)) as caught:
        load(text)
    assert caught.value.line == line and caught.value.file.endswith(".spthy")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  \n",
        b"lemma a: x",
        b"theory",
        b"theory T",
        b"theory T begin",
        b"theory T begin lemma end",
        "\ufefftheory T begin end".encode(),
        b"theory T begin // \xe9\nend",
        b"\0" * 100,
        b"(" * 99_999,
    ],
)
def test_what_is_no_theory_is_refused(load, data):
    with pytest.raises(bt.InputError):
        load(data, whole=True)


def test_a_missing_file_a_directory_and_a_bad_name_are_errors(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none.spthy", tmp_path, tmp_path / "fifo", "a\0b"):
        with pytest.raises(bt.InputError, match="can't read"):
            bt.load_theory(str(path))


@pytest.mark.parametrize(
    "condition, flags, holds",
    [
        ("X", "X", True),
        ("not X", "X", False),
        ("notX", "", True),
        ("X & Y", "X", False),
        ("X | Y", "Y", True),
        ("not X & not Y | Z", "XZ", True),
        ("not X & (Y | Z)", "Z", True),
        ("¬X ∧ Y", "Y", True),
        ("not (X | Y)", "Y", False),
        ("(X /* c */ | Y)", "Y", True),
    ],
)
def test_flag_formulas(load, condition, flags, holds):
    theory = load(
        f"#ifdef {condition}\n" + a_lemma("a") + "#else\n" + a_lemma("b") + "#endif\n",
        flags=list(flags),
    )
    assert lemma_names(theory) == (["a"] if holds else ["b"])


def test_disabled_text_ends_at_the_first_directive_wherever_it_stands(load):
    assert lemma_names(load("#ifdef X\nskipped // #endif\n" + a_lemma("a"))) == ["a"]
    assert lemma_names(
        load("#define X\n#ifdef X\n" + a_lemma("a") + "#else \" ' /*\n#endif\n" + a_lemma("b"))
    ) == ["a", "b"]
    assert lemma_names(
        load(
            "#define X\n#define Y\n#ifdef X\n#ifdef Y\n"
            + a_lemma("a")
            + "#endif\n"
            + a_lemma("b")
            + "#endif\n"
        )
    ) == ["a", "b"]


def test_includes_are_relative_to_the_including_file_and_share_flags(load):
    theory = load(
        '#include "sub/one.spthy"\n#ifdef X\n' + a_lemma("c") + "#endif\n",
        {
            "sub/one.spthy": '#include "two.spthy"\n' + a_lemma("a") + "end\n" + a_lemma("unread"),
            "sub/two.spthy": "#define X\n" + a_lemma("b"),
        },
    )
    assert lemma_names(theory) == ["b", "a", "c"]
    assert [os.path.basename(path) for path in theory.files] == [
        "t.spthy",
        "one.spthy",
        "two.spthy",
    ]
    assert [(os.path.basename(entry.file), entry.line) for entry in theory.lemmas] == [
        ("two.spthy", 2),
        ("one.spthy", 2),
        ("t.spthy", 5),
    ]


def test_an_include_silently_ends_at_what_is_no_item(load):
    files = {
        "whole.spthy": "theory S begin\n" + a_lemma("x") + "end",
        "stray.spthy": a_lemma("a") + "#endif\n" + a_lemma("x"),
    }
    assert lemma_names(
        load('#include "whole.spthy"\n#include "stray.spthy"\n' + a_lemma("b"), files)
    ) == ["a", "b"]


def test_an_include_cycle_is_an_error(load):
    with pytest.raises(bt.InputError, match="includes itself") as caught:
        load('#include "a.spthy"', {"a.spthy": '\n#include "t.spthy"'})
    assert caught.value.line == 2 and caught.value.file.endswith("a.spthy")


def test_trace_mode_assumes_earlier_reuse_lemmas_and_all_sources_lemmas(load):
    theory = load(
        a_lemma("early")
        + a_lemma("r1", "[reuse]")
        + a_lemma("r2", "[reuse]", "exists-trace")
        + a_lemma("s1", "[sources]")
        + a_lemma("both", "[typing, reuse]")
        + a_lemma("s2", "[sources]")
        + a_lemma("r3", "[reuse]")
        + a_lemma("hides", "[hide_lemma=r1, hide_lemma=both]")
        + a_lemma("hides_all", "[hide_lemma=ALL]")
        + a_lemma("sources_exists", "[sources]", "exists-trace")
        + a_lemma("late")
    )
    assert assumed(theory, "early") == ("s1", "both", "s2")
    assert assumed(theory, "r1") == ("s1", "both", "s2")
    assert (
        assumed(theory, "s1") == ()
        and assumed(theory, "s2") == ("both",)
        and assumed(theory, "sources_exists") == ("both",)
    )
    assert assumed(theory, "hides") == (
        "s1",
        "both",
        "s2",
        "r3",
    )  # as a sources lemma `both` can't be hidden
    assert assumed(theory, "hides_all") == ("s1", "both", "s2")
    assert assumed(theory, "late") == ("r1", "s1", "both", "s2", "r3")


def test_diff_mode_lists_both_sides_and_assumes_by_side(load):
    theory = load(
        a_lemma("r", "[reuse, left]")
        + a_lemma("s", "[sources, right]")
        + a_lemma("a", "[hide_lemma=r]")
        + "diffLemma d [reuse]:\n\n"
        + a_lemma("dr", "[diff_reuse]")
        + a_lemma("ex", "[diff_reuse]", "exists-trace"),
        diff=True,
    )
    assert shown_lemmas(theory) == [
        "LHS r all-traces",
        "RHS s all-traces",
        "RHS a all-traces",
        "LHS a all-traces",
        "RHS dr all-traces",
        "LHS dr all-traces",
        "RHS ex exists-trace",
        "LHS ex exists-trace",
        "d diff",
        "Observational_equivalence diff",
    ]
    assert assumed(theory, "a", "LHS") == ("r", "s") and assumed(theory, "a", "RHS") == ("s",)
    assert assumed(theory, "d") == assumed(theory, "Observational_equivalence") == ("s", "dr")
    assert lemma_names(load("diffLemma Observational_equivalence:", diff=True)) == [
        "Observational_equivalence"
    ]
    for text in (
        "process: 0",
        "predicates: P(x) <=> x = x",
        'export p: "x"',
        "let P = 0",
        "lemma a: t accounts for " + FORMULA,
    ):
        with pytest.raises(bt.InputError, match="--diff"):
            load(text, diff=True)


def test_an_accountability_lemma_becomes_its_parts_behind_all_others(load):
    theory = load(
        f"test t: {FORMULA}\ntest u: {FORMULA}\nlemma acc [reuse]: t, u accounts for {FORMULA}\n"
        + a_lemma("z", "[reuse]")
    )
    assert shown_lemmas(theory) == [
        "z all-traces",
        "acc_t_suff exists-trace",
        "acc_u_suff exists-trace",
        "acc_verif_empty all-traces",
        *(
            f"acc_{test}_{part} all-traces"
            for part in ("verif_nonempty", "min", "uniq", "inj")
            for test in "tu"
        ),
        "acc_t_single exists-trace",
        "acc_u_single exists-trace",
    ]
    assert {entry.parent for entry in theory.lemmas[1:]} == {
        "acc"
    } and theory.cannot_split == "accountability"
    assert assumed(theory, "acc_verif_empty") == ("z",)
    assert assumed(theory, "acc_u_verif_nonempty") == (
        "z",
        "acc_verif_empty",
        "acc_t_verif_nonempty",
    )


def test_auto_sources_by_option_or_configuration_block(load):
    theory = load(a_lemma("a"), auto_sources=True)
    assert (
        lemma_names(theory) == ["a", "AUTO_typing"]
        and theory.lemmas[1].optional
        and assumed(theory, "a") == ("AUTO_typing",)
    )
    configured = load(
        'theory T configuration: "--auto-sources --stop-on-trace=NONE" begin\n'
        + a_lemma("AUTO_typing")
        + "end",
        whole=True,
    )
    assert (
        configured.auto_sources
        and lemma_names(configured) == ["AUTO_typing"]
        and not configured.lemmas[0].optional
    )
    assert configured.configuration == ("--auto-sources", "--stop-on-trace=NONE")
    assert shown_lemmas(load(a_lemma("a"), auto_sources=True, diff=True))[:4] == [
        "LHS a all-traces",
        "LHS AUTO_typing_LHS all-traces",
        "RHS a all-traces",
        "RHS AUTO_typing_RHS all-traces",
    ]


def test_oracles(load, tmp_path):
    theory = load(
        'heuristic: o "tools/x" s\n#include "sub/i.spthy"\n'
        + a_lemma("a", "[heuristic=O]")
        + a_lemma("b", "[heuristic=sO]"),
        {"sub/i.spthy": a_lemma("i", '[heuristic=o "y"]'), "t.oracle": ""},
    )
    root, sub = str(tmp_path), str(tmp_path / "sub")
    assert bt.used_oracles(theory, [], root) == (
        f"{root}/tools/x",
        f"{root}/sub/y",
        f"{root}/t.oracle",
    )
    assert bt.used_oracles(theory, ["--oraclename=z"], sub) == (
        f"{root}/tools/x",
        f"{root}/sub/y",
        f"{root}/oracle",
        f"{sub}/oracle",
    )
    assert bt.used_oracles(theory, ["--heuristic=so", "--oraclename=z"], sub) == (f"{sub}/z",)
    assert bt.used_oracles(theory, ["--heuristic=o"], root) == (f"{root}/t.oracle",)
    assert bt.used_oracles(theory, ["--heuristic={o}s"], root) == ()


def test_the_token_text_ignores_comments_and_splits_at_lemmas(load):
    rule = "rule R: [ Fr(~x) ]--[ A( ~x, 'a  b' ) ]->[]\n"
    one = load(
        rule + a_lemma("a") + "by sorry\n" + "builtins: hashing\n" + a_lemma("b") + "text{* x *}\n"
    )
    other = load(
        "// c\n"
        + rule.replace(" ", "  ").replace("a    b", "a  b")
        + "/* d\n*/"
        + a_lemma("a").replace(" ", "\n ")
        + "by/**/ sorry\n"
        + "#ifdef X\n"
        + a_lemma("x")
        + "#endif\nbuiltins: hashing /* */\n"
        + a_lemma("b")
        + "text{* x *}\n"
    )
    assert one.digest == other.digest
    only_a = load(rule + a_lemma("a") + "by sorry\nbuiltins: hashing\ntext{* x *}\n")
    parts = {
        name: bt.lemma_parts(theory)
        for name, theory in (("one", one), ("other", other), ("only_a", only_a))
    }
    assert (
        parts["one"]["a"]
        == parts["only_a"]["a"]
        == parts["other"]["a"]
        != parts["one"]["b"]
        == parts["other"]["b"]
    )
    earlier = load(
        rule + a_lemma("b") + a_lemma("a") + "by sorry\nbuiltins: hashing\ntext{* x *}\n"
    )
    assert (
        parts["one"]["b"] != bt.lemma_parts(earlier)["b"]
        and one.split_digests.rest == earlier.split_digests.rest
    ), "places count"
    assert one.cannot_split == "" and load("process: 0").cannot_split == "a top-level process"
    assert load(rule).segments == (
        ("", "theory T begin"),
        ("", "rule R: [Fr(~x)]--[A(~x,'a  b')]->[]"),
        ("", "end"),
    )
    assert (
        one.split_digests.rest
        != load(rule.replace("a  b", "a b") + "builtins: hashing\ntext{* x *}\n").split_digests.rest
    )


@pytest.mark.parametrize(
    "body, count",
    [
        ("/*" * 100_000 + "*/" * 100_000 + a_lemma("a"), 1),
        (" " * 5_000_000 + a_lemma("a"), 1),
        ("//" + "x" * 5_000_000 + "\n", 0),
        ("#define X " + "#ifdef X\n" * 20_000 + "#endif\n" * 20_000, 0),
        ("'a' " * 100_000, 0),
        ("#ifdef " + "(" * 50_000 + "X" + ")" * 50_000 + "\n#endif\n", 0),
        ("".join(a_lemma(f"a{i}") for i in range(5_000)), 5_000),
    ],
)
def test_hostile_size_and_nesting(load, body, count):
    assert len(load(body).lemmas) == count


def test_too_large_files_are_refused(load, monkeypatch):
    monkeypatch.setattr(bt, "MAX_THEORY_BYTES", 2**20)
    with pytest.raises(bt.InputError, match="too large"):
        load("x" * 2**20)


def test_includes_that_double_are_refused(load):
    files = {f"i{level}.spthy": f'#include "i{level + 1}.spthy"\n' * 2 for level in range(40)}
    with pytest.raises(bt.InputError, match="includes"):
        load('#include "i0.spthy"', {**files, "i40.spthy": ""})


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no shared corpus here")
def test_the_shared_corpus_lists_what_tamarin_lists():
    wrong = []
    for name, known in json.loads((CORPUS / "lemmas.json").read_text()).items():
        try:
            theory = bt.load_theory(str(CORPUS / "theories" / name), diff=known["diff"])
            lines = [
                f"{entry.side} :  {entry.name} ({entry.trait})"
                if entry.side
                else f"DiffLemma:  {entry.name} "
                if entry.trait == "diff"
                else f"{entry.name} ({entry.trait})"
                for entry in theory.lemmas
                if not entry.optional
            ]
        except bt.InputError as error:
            lines = str(error)
        expected = (
            [line.rpartition(": ")[0] for line in known["summary"]] if known["loads"] else None
        )
        if lines != expected and not (expected is None and isinstance(lines, str)):
            wrong.append((name, expected, lines))
    assert not wrong


def test_a_lemma_in_which_more_may_hide_makes_the_whole_file_the_key(load):
    """Some provers read `restrictionfoo: "..."` as an item, glued to what stands before it or not."""
    rule = "rule R: [ Fr(~x) ]--[ A(~x) ]->[]\n"
    for text in (
        a_lemma("a") + 'restrictionfoo: "F"\n',
        'lemma a: "T" by sorryrestriction r: "F"\n',
        'lemma a [heuristic={x(}]: "T"\nrestriction r: "F"\nlemma z [heuristic={x)}]: "T"\n',
    ):
        assert not load(rule + text + a_lemma("b")).splits_for_sure, text
    for text in (
        a_lemma("a"),
        'lemma a [reuse, heuristic={tac}]: all-traces "All x #i. A(x) @ i ==> T" simplify by contradiction\n',
        'lemma (modulo E) a [hide_lemma=b, heuristic=o "my.py"]: exists-trace "T"\n',
    ):
        assert load(rule + text + a_lemma("b")).splits_for_sure, text


def test_what_stands_behind_the_end_counts_unless_it_is_a_comment(tmp_path):
    def digest(text):
        (tmp_path / "t.spthy").write_text("theory T begin\n" + text)
        return bt.load_theory(str(tmp_path / "t.spthy")).digest

    assert (
        digest("end\n")
        == digest("end\n/* Output\nverified */ // x\n")
        != digest('end (start(x)) = x\nrestriction r: "F"\nend\n')
    )
    assert digest("end\n") != digest("\u2028end\n"), "Tamarin refuses a blank of this kind"


FLAGGED = THEORY.replace("lemma three", '#ifdef X\nlemma hidden [reuse]: "F"\n#endif\nlemma three')


def test_each_prover_sees_the_theory_with_its_own_options(lab):
    lab.prover(VERIFY)
    lab.provers["withx"] = {**lab.provers["fake"], "options": ["-D=X"]}
    lab.write("t.spthy", FLAGGED)
    lab.recipe(tamarin_versions=["fake", "withx"])
    lab.run("run", "recipe.json", code=0)
    assert [task["id"] for task in lab.events("task")] == [
        "t--one--fake",
        "t--one--withx",
        "t--two--fake",
        "t--two--withx",
        "t--three--fake",
        "t--hidden--withx",
        "t--three--withx",
    ]
    assumes = {task["id"]: task["assumes"] for task in lab.events("task")}
    assert assumes["t--three--fake"] == ["one"] and assumes["t--three--withx"] == ["one", "hidden"]


@pytest.mark.parametrize(
    "options, view",
    [
        (["-DX"], (("X",), False, False)),
        (["-D=X"], (("X",), False, False)),
        (["--def=X"], (("X",), False, False)),
        (["--dif"], ((), True, False)),
        (["--auto"], ((), False, True)),
        (["--derivcheck-timeout=0"], ((), False, False)),
    ],
)
def test_options_are_seen_however_they_are_written(options, view):
    assert bt.reading_options(options, ()) == view


def test_what_stored_proofs_claim(load):
    def claim(proof, trait=""):
        return (
            load(f'lemma a: {trait} "T"\n{proof}\nrule R: [ ] --[ SOLVED() ]-> [ ]').lemmas[0].claim
        )

    for proof, everywhere, somewhere in [
        ("by contradiction", "verified", "falsified"),
        ("simplify SOLVED", "falsified", "verified"),
        ("simplify by sorry", "incomplete", "incomplete"),
        ("by sorry", None, None),
        ("", None, None),
        ("simplify // SOLVED\nby contradiction /* sorry */", "verified", "falsified"),
        ("induction case sorry1 SOLVED next case b by sorry qed", "falsified", "verified"),
        ("simplify by UNFINISHABLE", "incomplete", "incomplete"),
        ("by UNFINISHABLE", "incomplete", "incomplete"),
    ]:
        assert (claim(proof), claim(proof, "exists-trace")) == (everywhere, somewhere), proof


def test_a_stored_proof_is_a_text_of_its_own(load):
    segments = load('lemma a: "T" simplify by sorry\nlemma b: "T"').segments
    assert [segment for segment in segments if segment[0]] == [
        ("a", 'lemma a: "T"'),
        ("a", "simplify by sorry"),
        ("b", 'lemma b: "T"'),
    ]


# === Machine ======================================================================================


def root_folder(folder: Path, cgroup: str, files: dict[str, str]) -> str:
    """A folder that looks like / to who asks for cgroups."""
    texts = {
        "proc/self/cgroup": cgroup,
        **{"sys/fs/cgroup/" + name: text for name, text in files.items()},
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(folder)


def test_max_respects_cgroups_of_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(
        os, "sysconf", lambda name: {"SC_PHYS_PAGES": 2**26, "SC_PAGE_SIZE": 4096}[name]
    )
    two_levels = {
        "a/cpu.max": "250000 100000",
        "a/b/cpu.max": "max 100000",
        "a/memory.max": str(8 << 30),
        "a/b/memory.high": str(3 << 30),
    }
    inside = {
        "cpu/cpu.cfs_quota_us": "50000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(2 << 30),
    }
    unlimited = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
    }
    bare = root_folder(tmp_path / "bare", "0::/", {})
    two = root_folder(tmp_path / "two", "0::/a/b", two_levels)
    one = root_folder(tmp_path / "one", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x", inside)
    free = root_folder(tmp_path / "free", "5:cpu:/\n4:memory:/", unlimited)
    assert [bt.available_cores(root, {}) for root in (bare, two, one, free)] == [64, 2, 1, 64]
    assert [bt.available_memory_mb(root, {}) for root in (bare, two, one, free)] == [
        2**18,
        3 << 10,
        2 << 10,
        2**18,
    ]
    slurm = {"SLURM_CPUS_ON_NODE": "6", "SLURM_MEM_PER_CPU": "1000"}
    assert (bt.available_cores(bare, slurm), bt.available_memory_mb(bare, slurm)) == (6, 6000)
    assert bt.available_memory_mb(bare, {"SLURM_MEM_PER_NODE": "5000"}) == 5000
    assert bt.available_memory_mb(bare, {"SLURM_MEM_PER_NODE": "0"}) == 2**18


def test_max_of_this_machine():
    assert 1 <= bt.available_cores() <= (os.cpu_count() or 1)
    assert (
        64
        < bt.available_memory_mb()
        <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    )


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
        return self.job("/bin/sh", "-c", script.replace("SLEEP", f"sleep {self.token}"), **limits)

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
        change(live.job, limits=bt.replace(live.job.limits, timeout_s=0.01))

    return wait_and_limit


def change(job, **fields):
    """Give a job other fields."""
    for name, value in fields.items():
        object.__setattr__(job, name, value)


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
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        said = said_by(bench, "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, before)
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
    job = bench.job("no-such-prover")
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
    assert_not_started(bench.run_one(bench.job(*command, cwd=os.getcwd())), reason)


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
    change(job, stdout=str(bench.folder / "no" / "out"))
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

    monkeypatch.setattr(os, "posix_spawnp", refuse)
    assert_not_started(bench.run_one(bench.sh("true")), reason)


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

    one, two = bench.run(bench.sh("exec SLEEP"), bench.sh("exec SLEEP"), during=stop)
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
        change(live.job, limits=bt.Limits(1, 100 + free_mb, RUN_S))
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
    assert int(left_out) + len(head) + len(tail) == lines * 9
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


def test_version_is_asked_once_per_executable(lab):
    lab.prover(VERIFY)
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("case", 'echo "$@" >> calls\ncase', 1))
    lab.provers["same"] = {"path": "./fake.sh"}
    lab.recipe(tamarin_versions=["fake", "same"], lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    calls = (lab.path / "calls").read_text().splitlines()
    assert calls.count("--version") == 1
    assert sorted(lab.finishes()) == ["t--one--fake", "t--one--same"]


def test_tamarin_prover_gets_its_cores_by_the_rts(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    (start,) = lab.events("start")
    assert start["command"][1:4] == ["+RTS", "-N1", "-RTS"]


def test_tamarin_rs_gets_its_own_cores_option(lab):
    """It refuses `+RTS` with exit code 2 (tamarin-rs 1.13)."""
    lab.prover(VERIFY)
    script = lab.path / "fake.sh"
    told = script.read_text().replace("tamarin-prover 1.11.0, (C) nobody", "tamarin-rs 1.13.0")
    script.write_text(told)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    (start,) = lab.events("start")
    assert start["command"][1] == "--processors=1"
    assert "+RTS" not in start["command"]


def a_prover(version="1.11.0", flavour=bt.Flavour.TAMARIN_PROVER, **fields):
    """A prover that has told its version."""
    prover = bt.Prover("p", ("tamarin-prover",), **fields)
    prover.flavour = flavour
    prover.version = version
    return prover


OUTPUTS = bt.result_files("/results", "i")


@pytest.mark.parametrize(
    "version, writes",
    [("1.4.1", False), ("1.8.0", False), ("1.10.0", True), ("1.11.0", True), ("", True)],
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


@pytest.fixture
def no_locale(monkeypatch):
    """There is no locale in the environment."""
    for name in list(os.environ):
        if name.startswith(("LC_", "LANG")):
            monkeypatch.delenv(name)


def test_a_child_gets_a_utf8_locale(lab, no_locale):
    lab.prover('echo "${LC_ALL:-$LC_CTYPE}" > locale; ' + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert "UTF-8" in (lab.path / "locale").read_text()


@pytest.mark.parametrize("name, value", [("LC_ALL", "C"), ("LANG", "POSIX"), ("LC_CTYPE", "de_DE")])
def test_a_locale_that_is_not_utf8_is_replaced(monkeypatch, no_locale, name, value):
    monkeypatch.setenv(name, value)
    assert bt.prover_environment(a_prover())["LC_ALL"].endswith(".UTF-8")


@pytest.mark.parametrize("name", ["LC_ALL", "LC_CTYPE", "LANG"])
def test_a_locale_of_utf8_stays(monkeypatch, no_locale, name):
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
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    traces = lab.path / "results" / "traces"
    assert (traces / "t--one--fake.dot").read_text() == DOT_ONE
    graphs = json.loads((traces / "t--one--fake.json").read_text())
    assert graphs == {"graphs": [JSON_ONE]}


def test_no_trace_files_without_an_attack(lab):
    lab.prover(': > "$DOT"; echo \'{"graphs": []}\' > "$JSON"; ' + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert list((lab.path / "results" / "traces").iterdir()) == []


def test_json_that_holds_no_graphs_is_left_as_it_is():
    for text in ("[]", "{", '{"graphs": [1]}', "[" * 100_000):
        assert bt.own_json(text, "one", ["two"]) == text


# --- What a prover must have printed ---

# What a prover does, and the status and the reason that come of it.
LIES = {
    "silence": ("exit 0", "failed", "no summary"),
    "another lemma": (
        'echo "  two (all-traces): verified (3 steps)" | summary',
        "failed",
        "no line for lemma 'one'",
    ),
    "longer name": (
        'echo "  one_more (all-traces): verified (3 steps)" | summary',
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
        'echo "  one (all-traces): probably fine (3 steps)" | summary',
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
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=3)
    event = lab.only_finish()
    assert event["verdict"] is None
    assert event["status"] == status
    assert reason in event["reason"]
    failed = json.loads((lab.path / "results" / "failed" / "t--one--fake.json").read_text())
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
    result = bt.judge(a_plan(trait=trait), EXIT_0, read_summary(tmp_path, line.rstrip()), "")
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
    result = bt.judge(BOTH_SIDES, EXIT_0, read_summary(tmp_path, LEFT_VERIFIED), "")
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


def test_a_generated_lemma_that_is_not_needed_is_superseded(tmp_path):
    output = read_summary(tmp_path, "  one (all-traces): verified (7 steps)")
    plan = a_plan(lemma="AUTO_typing", optional=True)
    result = bt.judge(plan, EXIT_0, output, "")
    assert result.status == "superseded"
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


def test_checks_that_failed_are_named_and_those_that_only_took_long_told_apart(tmp_path):
    (tmp_path / "proof").write_text(REPORT)
    output = bt.ProverOutput(failed_checks=2)
    assert list(bt.prover_warnings(a_plan(), output, str(tmp_path / "proof"))) == [
        "derivation checks timed out (raise --derivcheck-timeout)",
        "1 wellformedness check failed: Unbound variables",
    ]


def test_checks_without_a_report_are_counted(tmp_path):
    output = bt.ProverOutput(failed_checks=2)
    warnings = list(bt.prover_warnings(a_plan(), output, str(tmp_path / "none")))
    assert warnings == ["2 wellformedness checks failed"]


def test_an_unsupported_maude_is_warned_of(tmp_path):
    output = bt.ProverOutput(old_maude="3.2")
    warnings = list(bt.prover_warnings(a_plan(), output, str(tmp_path / "none")))
    assert warnings == ["Maude 3.2 is not supported by this prover"]


def test_the_complaint_about_a_name_that_we_asked_for_is_none_of_the_theorys(tmp_path):
    """Of a lemma that the prover itself generates it says that the theory has none of that name."""
    plan = a_plan(lemma="Observational_equivalence")
    output = bt.ProverOutput(failed_checks=1)
    assert list(bt.prover_warnings(plan, output, str(tmp_path / "none"))) == []


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
    output = bt.read_output(str(folder / "stdout"), str(folder / "stderr"))
    sides = tuple(line.side for line in output.lines if line.name == lemma and line.side)
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
    bt.own_dot(f'digraph {text}\ndigraph "{text}" {{}}', "one", ["two"])
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


# === Recipe =======================================================================================


def test_a_recipe_is_found_from_anywhere(lab):
    """Relative paths: against the working directory; if nothing is there, against the recipe's own directory."""
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "elsewhere").mkdir()
    lab.run("run", "../recipe.json", cwd=lab.path / "elsewhere", code=0)
    assert (lab.path / "elsewhere" / "results" / "batch.jsonl").is_file()


def test_cwd_of_a_task(lab):
    lab.prover("pwd > here; " + VERIFY)
    lab.write("sub/u.spthy", THEORY)
    lab.recipe(cwd="sub", theory_file="sub/u.spthy", lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert (lab.path / "sub" / "here").read_text().strip() == str(lab.path / "sub")
    assert "u.spthy" in lab.events("start")[0]["command"]


def test_lemma_patterns_overrides_and_inheritance(lab):
    lab.prover(VERIFY)
    lab.recipe(
        tamarin_options=["--bound=9"],
        resources={"max_cores": 1, "max_memory": 1, "timeout": 500},
        lemmas=[
            {"name": "t*"},
            {
                "name": "three",
                "tamarin_options": [],
                "resources": {"timeout": 70},
                "expect": "falsified",
            },
            {"name": "!two"},
        ],
    )
    lab.run("run", "recipe.json", code=1)
    (task,) = lab.events("task")
    assert task["lemma"] == "three" and task["options"] == [] and task["expect"] == "falsified"
    assert task["limits"] == {"cores": 1, "memory_mb": 1024, "timeout_s": 70}


def test_what_batch_tamarin_accepts_is_accepted(lab):
    lab.prover(VERIFY)
    lab.provers["fake"].update(version="v1.11.0", test_success=True)
    lab.recipe(
        config={"global_max_cores": "MAX", "global_max_memory": " 50 %", "default_timeout": "60"},
        lemmas=[
            {
                "name": "one",
                "tamarin_options": None,
                "preprocess_flags": [],
                "resources": {"timeout": "70", "max_cores": None},
            },
            {"name": "t*"},
        ],
        resources={"max_cores": 1.0, "max_memory": "1"},
        tamarin_options=["--bound=9"],
        preprocess_flags=None,
    )
    lab.run("run", "recipe.json", code=0)
    first, second, _ = lab.events("task")
    assert first["options"] == ["--bound=9"] and first["limits"] == {
        "cores": 1,
        "memory_mb": 1024,
        "timeout_s": 70,
    }
    assert second["limits"]["timeout_s"] == 60


def test_an_absolute_pattern_means_the_same_everywhere(lab):
    lab.prover(VERIFY)
    lab.recipe(
        theory_file=str(lab.path / "*.spthy"),
        output_file_prefix="{theory}",
        lemmas=[{"name": "one"}],
    )
    (lab.path / "a" / "deep").mkdir(parents=True)
    (lab.path / "recipe.json").rename(lab.path / "a" / "recipe.json")
    lab.run("run", "a/recipe.json", code=0)
    assert list(lab.finishes()) == ["t--one--fake"]


def test_globbed_theories(lab):
    lab.prover(VERIFY)
    for name in ("b", "a"):
        lab.write(f"many/{name}.spthy", THEORY)
    lab.recipe(
        theory_file="many/*.spthy", output_file_prefix="g-{theory}", lemmas=[{"name": "one"}]
    )
    lab.run("run", "recipe.json", code=0)
    assert list(lab.finishes()) and [task["id"] for task in lab.events("task")] == [
        "g-a--one--fake",
        "g-b--one--fake",
    ]


def test_what_is_expected_of_an_accountability_lemma_is_expected_of_its_parts(lab):
    lab.prover(VERIFY)
    lab.write(
        "t.spthy",
        "theory T begin\nrule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n"
        'test t: "Ex k #i. A(k) @ i"\nlemma acc: t accounts for "All k #i. A(k) @ i ==> F"\nlemma other: "T"\nend\n',
    )
    lab.recipe(expect={"acc": "verified", "acc_t_suff": "falsified"})
    lab.run("run", "recipe.json", code=1)
    expected = {task["lemma"]: task["expect"] for task in lab.events("task")}
    assert (
        expected.pop("other") is None
        and expected.pop("acc_t_suff") == "falsified"
        and len(expected) == 6
    )
    assert set(expected.values()) == {"verified"}, expected


def test_the_same_complaint_is_made_once(lab):
    lab.prover(VERIFY)
    lab.recipe(theory_file="u.spthy", tamarin_versions=["fake", "fake"])
    assert lab.run("run", "recipe.json", code=2).stderr.count("no theory file") == 1


BAD = {  # change of a good recipe -> what the message must say
    "unknown key": (
        lambda r: r["tasks"]["task"]["resources"].update(max_core=1),
        ["max_core", "did you mean 'max_cores'", "recipe.json:"],
    ),
    "wrong type": (
        lambda r: r["config"].update(default_timeout="soon"),
        ["config.default_timeout", "positive number"],
    ),
    "zero limit": (
        lambda r: r["config"].update(global_max_cores=0),
        ["global_max_cores", "positive whole number"],
    ),
    "boolean limit": (lambda r: r["config"].update(global_max_cores=True), ["global_max_cores"]),
    "unknown alias": (
        lambda r: r["tasks"]["task"].update(tamarin_versions=["fak"]),
        ["'fak'", "did you mean 'fake'"],
    ),
    "missing key": (lambda r: r["tasks"]["task"].pop("theory_file"), ["'theory_file' is missing"]),
    "no such theory": (
        lambda r: r["tasks"]["task"].update(theory_file="u.spthy"),
        ["no theory file 'u.spthy'"],
    ),
    "no such prover": (
        lambda r: r["tamarin_versions"]["fake"].update(path="nowhere"),
        ["no executable program 'nowhere'"],
    ),
    "no such lemma": (
        lambda r: r["tasks"]["task"].update(lemmas=[{"name": "ones"}]),
        ["'ones'", "did you mean 'one'", "lemmas.0.name"],
    ),
    "nothing taken away": (
        lambda r: r["tasks"]["task"].update(lemmas=[{"name": "!x*"}]),
        ["'!x*' takes no lemma away"],
    ),
    "path in prefix": (
        lambda r: r["tasks"]["task"].update(output_file_prefix="../up"),
        ["output_file_prefix", "file names"],
    ),
    **{
        f"option {option}": (
            lambda r, option=option: r["tasks"]["task"].update(tamarin_options=[option]),
            ["must be written out"],
        )
        for option in ("--", "--a", "--l=two", "-vD=X")
    },
    "own option": (
        lambda r: r["tasks"]["task"].update(tamarin_options=["--prove=one"]),
        ["--prove", "'lemmas'"],
    ),
    "bare word": (
        lambda r: r["tasks"]["task"].update(tamarin_options=["--bound", "5"]),
        ["'5'", "joined by '='"],
    ),
    "RTS cores": (
        lambda r: r["tasks"]["task"].update(tamarin_options=["+RTS", "-N4", "-RTS"]),
        ["-N", "max_cores"],
    ),
    "docker": (
        lambda r: r["tamarin_versions"].update(fake={"command": ["docker", "run", "tamarin"]}),
        ["docker", "apptainer"],
    ),
    "two at once": (
        lambda r: (r["config"].update(default_timeout=-1), r["config"].update(nope=1)),
        ["default_timeout", "config.nope"],
    ),
    "granularity": (
        lambda r: r["config"].update(granularity="lemma"),
        ["config.granularity", "unknown key", "allowed: global_max_cores"],
    ),
    "variants": (
        lambda r: r["tasks"]["task"].update(variants={}),
        ["tasks.task.variants", "unknown key", "allowed: theory_file"],
    ),
    "missed expectation name": (
        lambda r: r["tasks"]["task"].update(expect={"onee": "verified"}),
        ["expect.onee", "did you mean 'one'"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_recipes_are_refused_with_a_reason(lab, name):
    lab.prover(VERIFY)
    lab.recipe()
    change, words = BAD[name]
    data = json.loads((lab.path / "recipe.json").read_text())
    change(data)
    lab.write("recipe.json", json.dumps(data, indent=2))
    done = lab.run("run", "recipe.json", code=2)
    assert all(word in done.stderr for word in words), done.stderr
    assert not (lab.path / "results").exists(), "nothing is written"


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"tasks": {', ["recipe.json:1:12", "no valid JSON"]),
        ('{\n "config": {"default_timeout": NaN}}', ["NaN"]),
        ('{"config": {},\n "config": {}}', ["recipe.json:2:2", "twice"]),
        ("[]", ["a recipe is a JSON object"]),
        ("", ["no valid JSON"]),
        ("[" * 100_000, ["can't be read"]),
        (
            '{"config": {"output_directory": 1, "default_timeout": 0}, "tamarin_versions": {}, "tasks": []}',
            ["output_directory", "default_timeout", "tamarin_versions", "tasks"],
        ),
    ],
)
def test_broken_json(lab, text, words):
    lab.write("recipe.json", text)
    done = lab.run("run", "recipe.json", code=2)
    assert all(word in done.stderr for word in words), done.stderr


def test_missing_and_undecodable_recipes(lab):
    assert "can't be read" in lab.run("run", "nothing.json", code=2).stderr
    (lab.path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    assert "latin.json:1:8" in lab.run("run", "latin.json", code=2).stderr


def test_theory_without_lemmas(lab):
    lab.prover(VERIFY)
    lab.write("t.spthy", "theory T begin end")
    lab.recipe()
    assert "has no lemmas" in lab.run("run", "recipe.json", code=2).stderr


def test_schema_and_checks_name_the_same_keys():
    schema = json.loads((HERE / "recipes" / "recipe.schema.json").read_text())
    definitions = schema["$defs"]
    for fields, where in [
        (bt._RECIPE, schema),
        (bt._CONFIG, schema["properties"]["config"]),
        (bt._TASK, definitions["task"]),
        (bt._LEMMA, definitions["lemma"]),
        (bt._RESOURCES, definitions["resources"]),
    ]:
        assert set(where["properties"]) == set(fields)


def test_json_positions():
    text = '{"a": [1, {"b": "x,]"}],\n "c": {}}'
    assert {path: text[offset] for path, offset in bt.json_positions(text)} == {
        ("a",): '"',
        ("a", 0): "1",
        ("a", 1): "{",
        ("a", 1, "b"): '"',
        ("c",): '"',
    }


def test_a_number_larger_than_any_float_is_refused():
    for number in (10**400, float("inf"), float("nan"), True, "1"):
        with pytest.raises(TypeError):
            bt.decode(bt.Limits, {"cores": 1, "memory_mb": 1, "timeout_s": number})


def test_a_second_theory_on_the_command_line(lab, tmp_path):
    lab.prover(VERIFY)
    lab.provers["fake"]["options"] = ["other.spthy"]
    lab.recipe()
    assert "would be read as a theory file" in lab.run("run", "recipe.json", code=2).stderr
    (tmp_path / "out").write_text(
        summary_of(
            "  one (all-traces): verified (7 steps)",
            "",
            "analyzed: u",
            "",
            "  two (all-traces): verified (7 steps)",
        )
    )
    assert not bt.read_output(str(tmp_path / "out"), "").summary


@pytest.mark.parametrize(
    "here, beside, code",
    [
        ({}, {}, 0),
        ({"t.spthy": THEORY.replace("~k", "~x")}, {}, 2),
        ({"i.inc": "rule B: [ ] --> [ ]"}, {}, 2),
        ({"oracle": "#!/bin/cat"}, {}, 2),
    ],
)
def test_a_relative_name_means_one_theory(lab, here, beside, code):
    """Where it could mean two, here and beside the recipe, they must be the same, with their includes and oracles."""
    lab.prover(VERIFY)
    lab.provers["fake"]["path"] = str(lab.path / "fake.sh")
    lab.recipe(lemmas=[{"name": "one"}])
    theory = THEORY.replace("begin", 'begin\n#include "i.inc"\nheuristic: o "oracle"')
    for folder, changes in (("here", here), ("beside", beside)):
        for name, text in {
            "t.spthy": theory,
            "i.inc": "rule A2: [ ] --> [ ]",
            "oracle": "#!/bin/sh",
            **changes,
        }.items():
            lab.write(
                f"{folder}/{name}",
                text.replace("begin\nrule", 'begin\n#include "i.inc"\nrule'),
                0o755,
            )
    os.rename(lab.path / "recipe.json", lab.path / "beside" / "recipe.json")
    done = subprocess.run(
        lab.command("run", "../beside/recipe.json"),
        cwd=lab.path / "here",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    if code:
        assert all(
            str(lab.path / folder / "t.spthy") in done.stderr for folder in ("here", "beside")
        ), done.stderr
        assert "theory_file" in done.stderr and "recipe.json:" in done.stderr


def test_what_runs_is_what_is_digested_and_asked(lab):
    """A relative wrapper of a task with a directory of its own: the one that is here, whatever has that name there."""
    lab.prover(VERIFY)
    lab.write(
        "there/fake.sh",
        PRELUDE + 'echo "  $LEMMA (all-traces): falsified - found trace (7 steps)" | summary',
        0o755,
    )
    lab.write("there/t.spthy", THEORY)
    lab.provers["fake"] = {"command": ["sh", "./fake.sh"]}
    lab.recipe(cwd="there", lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert (
        lab.only_finish()["verdict"] == "verified"
        and str(lab.path / "fake.sh") in lab.events("start")[0]["command"]
    )
    lab.provers["fake"] = {"command": ["sh", "fake.sh"]}
    lab.recipe(cwd="there", lemmas=[{"name": "one"}])
    assert (
        "'fake.sh' is not the same file here and in"
        in lab.run("run", "recipe.json", "--fresh", code=2).stderr
    )


# === Plan =========================================================================================


def test_task_filter_and_its_typo(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", "-t", "t--t*", "-q", code=0)
    assert set(lab.finishes()) == {"t--two--fake", "t--three--fake"}
    done = lab.run("run", "recipe.json", "-t", "t--onn", "-o", "other", code=2)
    assert "did you mean 't--one--fake'" in done.stderr and not (lab.path / "other").exists()


def test_plan_is_in_file_order(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": "three"}, {"name": "*o*"}])
    lab.run("run", "recipe.json", "-q", code=0)
    assert [task["lemma"] for task in lab.events("task")] == ["one", "two", "three"]


def test_limits_above_the_global_ones_are_capped(lab):
    lab.prover(VERIFY)
    lab.recipe(
        config={"global_max_cores": 1, "global_max_memory": 2},
        resources={"max_cores": 64, "max_memory": 500},
    )
    done = lab.run("run", "recipe.json", code=0)
    assert done.stderr.count("capped") == 2, done.stderr
    assert lab.events("task")[0]["limits"] == {"cores": 1, "memory_mb": 2048, "timeout_s": 3600}


def test_command_line_over_recipe(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_memory": 1}, resources={"max_memory": 1})
    lab.run(
        "run",
        "recipe.json",
        "--cores",
        "1",
        "--memory",
        "50%",
        "--timeout",
        "77",
        "-o",
        "there",
        code=0,
    )
    header, task = lab.events("batch", "there")[0], lab.events("task", "there")[0]
    assert (
        header["limits"]["cores"] == 1
        and header["limits"]["memory_mb"] > 64
        and task["limits"]["timeout_s"] == 77
    )


def test_ids_are_safe_and_unique(lab):
    lab.prover(VERIFY)
    task = {"theory_file": "t.spthy", "tamarin_versions": ["fake"], "lemmas": [{"name": "one"}]}
    lab.recipe(
        tasks={
            "a": {**task, "output_file_prefix": "x y"},
            "b": {**task, "output_file_prefix": "X_y"},
            "c": {**task, "output_file_prefix": "x y"},
            "d": {**task, "output_file_prefix": "\N{SNOWMAN}" * 150},
        }
    )
    lab.run("run", "recipe.json", "-t", "x_y--one--fake_3", code=0)
    ids = [event["id"] for event in lab.events("task")]
    assert ids[:3] == ["x_y--one--fake", "X_y--one--fake_2", "x_y--one--fake_3"]
    assert (
        all(len(name.encode()) <= 200 for name in ids) and len({name.lower() for name in ids}) == 4
    )


# === Journal ======================================================================================


def test_journal_order_and_content(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    events = lab.events()
    assert [event["event"] for event in events[:4]] == ["batch", "task", "task", "task"] and events[
        -1
    ]["event"] == "end"
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["at"]) for event in events
    )
    task = events[1]
    assert (
        task["limits"] == {"cores": 1, "memory_mb": 1024, "timeout_s": 300}
        and task["theory"] == "t.spthy"
    )
    assert (
        task["prover"] == "fake"
        and task["assumes"] == []
        and re.fullmatch("[0-9a-f]{32}", task["key"])
    )
    assert lab.events("task")[2]["assumes"] == ["one"], (
        "a reuse lemma before it is taken for granted"
    )
    start = lab.events("start")[0]
    assert {"ids", "job", "attempt", "pid", "started", "host", "boot_id", "command"} <= set(start)
    assert "--prove=one" in start["command"] and start["command"][1:4] == ["+RTS", "-N1", "-RTS"]
    assert not [
        word
        for word in start["command"]
        if word.startswith("--output") and not word.split("=")[1].startswith("/")
    ]


def test_a_stopped_batch_goes_on(lab):
    interrupted_batch(lab)
    statuses = [event["status"] for event in lab.events("finish")]
    assert statuses.count("completed") == 2 and "interrupted" in statuses
    assert (lab.path / "results" / "execution_report.json").is_file()
    done = lab.run("run", "recipe.json", code=0)
    assert "resuming: 2 of 6 done" in done.stderr
    runs = (lab.path / "runs").read_text().split()
    assert sorted(runs) == [f"l{number}" for number in range(6)], (
        "every lemma ran to its end exactly once"
    )
    assert (
        all(event["verdict"] == "verified" for event in lab.finishes().values())
        and len(lab.finishes()) == 6
    )


def test_resume_needs_only_the_directory(lab):
    interrupted_batch(lab)
    (lab.path / "recipe.json").unlink()
    done = lab.run("resume", str(lab.path / "results"), cwd="/", code=0)
    assert "resuming: 2 of 6 done" in done.stderr, done.stderr
    assert len(lab.finishes()) == 6


def test_what_changed_since_runs_again(lab):
    interrupted_batch(lab, lemmas=4)
    text = (lab.path / "t.spthy").read_text()
    lab.write(
        "t.spthy",
        "/* a comment changes nothing */ "
        + text.replace('lemma l3: "All k #i. A(k) @ i ==> T"\n', 'lemma new: "F"\n'),
    )
    done = lab.run("run", "recipe.json", "--no-cache", code=0)
    assert "no longer planned: t--l3--fake" in done.stderr
    report = json.loads((lab.path / "results" / "execution_report.json").read_text())
    assert set(report["tasks"]["task"]["subtasks"]) == {
        "t--l0--fake",
        "t--l1--fake",
        "t--l2--fake",
        "t--new--fake",
    }
    assert (lab.path / "runs").read_text().split().count("l0") == 2, (
        "the theory's text changed: nothing old holds"
    )


def test_a_comment_changes_nothing(lab):
    interrupted_batch(lab, lemmas=4)
    lab.write("t.spthy", "/* a comment */ " + (lab.path / "t.spthy").read_text())
    lab.run("run", "recipe.json", code=0)
    assert (lab.path / "runs").read_text().split().count("l0") == 1


def test_outputs_of_an_earlier_attempt_are_kept(lab):
    interrupted_batch(
        lab,
        body='echo "attempt says $LEMMA" >&2; case $LEMMA in l0|l1) ;; *) [ -e go ] || exec sleep 600;; esac; '
        + VERIFY,
    )
    lab.run("run", "recipe.json", code=0)
    logs = lab.path / "results" / "logs"
    interrupted = next(
        event["id"] for event in lab.events("finish") if event["status"] == "interrupted"
    )
    assert (logs / f"{interrupted}~1.err").is_file() and (logs / f"{interrupted}.err").is_file()
    assert [event["attempt"] for event in lab.events("start") if event["job"] == interrupted] == [
        1,
        2,
    ]


def test_larger_limits_run_again_what_failed_by_limits(lab):
    lab.prover(
        'case $LEMMA in three) [ -e go ] || exec sleep 600;; esac; echo "$LEMMA" >> runs; ' + VERIFY
    )
    lab.recipe(lemmas=[{"name": "*"}, {"name": "three", "resources": {"timeout": 1}}])
    lab.run("run", "recipe.json", code=3)
    assert lab.finishes()["t--three--fake"]["status"] == "timeout"
    lab.write("go", "")
    lab.recipe(lemmas=[{"name": "*"}, {"name": "three", "resources": {"timeout": 300}}])
    assert "resuming: 2 of 3 done" in lab.run("run", "recipe.json", code=0).stderr
    assert sorted((lab.path / "runs").read_text().split()) == ["one", "three", "two"]


def test_finished_and_foreign_directories_are_left_alone(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    before = {path: path.stat().st_mtime_ns for path in (lab.path / "results").rglob("*")}
    done = lab.run("run", "recipe.json", code=0)
    sibling = re.search(
        r"a new batch begins in (results_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)", done.stderr
    ).group(1)
    assert (lab.path / sibling / "batch.jsonl").is_file()
    lab.write("mine/notes.txt", "mine")
    assert "mine_" in lab.run("run", "recipe.json", "-o", "mine", code=0).stderr
    assert before == {path: path.stat().st_mtime_ns for path in (lab.path / "results").rglob("*")}
    assert [path.name for path in (lab.path / "mine").iterdir()] == ["notes.txt"]


def test_fresh_begins_anew_beside_an_unfinished_batch(lab):
    interrupted_batch(lab)
    lab.run("run", "recipe.json", "--fresh", code=0)
    assert len(lab.events("start")) < 6 and len(list(lab.path.glob("results_*"))) == 1


def test_a_second_run_is_refused(lab):
    lab.prover("sleep 600; " + VERIFY)
    lab.recipe()
    first = lab.start("run", "recipe.json")
    wait_for(lambda: lab.events("start"))
    done = lab.run("run", "recipe.json", code=2)
    assert f"process {first.pid} on" in done.stderr
    first.send_signal(signal.SIGINT)
    end_of(first)
    assert first.returncode == 130


def journal_of(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    return lab.path / "results" / "batch.jsonl"


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda lines: lines[:-2] + [lines[-2][:40]], 0),  # a torn tail
        (
            lambda lines: [lines[0], b"\0" * 4096 + lines[1], *lines[2:]],
            0,
        ),  # a block that was never written
        (lambda lines: [*lines[:2], b"rubbish\n", b"[1]\n", b'{"no": 1}\n', *lines[2:]], 3),
        (lambda lines: [*lines[:-1], *lines[-2:-1], lines[-1]], 0),  # a line twice
        (lambda lines: [*lines[:2], b'{"event": "from_the_future", "id": 1}\n', *lines[2:]], 0),
        (
            lambda lines: [
                line.replace(b'"event"', b'"added_field":[1],"event"', 1) for line in lines
            ],
            0,
        ),
        (
            lambda lines: [
                *lines[:4],
                b'{"event":"finish","id":"nobody","status":"completed"}\n',
                *lines[4:],
            ],
            1,
        ),
        (
            lambda lines: [
                *lines[:4],
                b'{"event":"finish","id":"t--one--fake","status":"fine"}\n',
                *lines[4:],
            ],
            1,
        ),
    ],
)
def test_damaged_journals(lab, damage, told):
    path = journal_of(lab)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(damage(lines)))
    warnings = []
    batch, _ = bt.load_batch(str(path), warnings.append)
    assert len(warnings) == told and all(
        re.search(r"batch\.jsonl:\d+: ", warning) for warning in warnings
    ), warnings
    assert len(batch.tasks) == 3 and batch.count(bt.Status.COMPLETED) >= 2


@pytest.mark.parametrize(
    "word, before, after",
    [
        ("task", '"prover":"fake"', '"prover":"another"'),
        ("task", '"id":"t--one--fake"', '"id":"t--one\\u0000"'),
        ("end", '"signal":0', '"signal":999'),
    ],
)
def test_a_journal_that_makes_no_sense_is_shown_as_far_as_it_does(lab, word, before, after):
    path = journal_of(lab)
    lines = path.read_text().splitlines(keepends=True)
    (number, *_) = [
        number
        for number, line in enumerate(lines)
        if f'"event":"{word}"' in line and (word == "end" or "t--one--fake" in line)
    ]
    assert before in lines[number]
    lines[number] = lines[number].replace(before, after, 1)
    path.write_text("".join(lines))
    done = lab.run("status", "results", code=0)
    assert re.search("[23] verified", done.stdout) or "stopped by SIG999" in done.stdout
    for form in bt.REPORTS:
        lab.run("report", "results", "-f", form, code=0)
    lab.run("report", "results", "--rebuild", code=0)
    lab.run("audit", "results")


def test_output_that_cannot_be_written_is_one_clear_error(lab):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            lab.command("lemmas", "t.spthy"),
            cwd=lab.path,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=RUN_S,
        )
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


def test_a_cache_named_to_resume_lies_where_the_user_is(lab):
    interrupted_batch(lab)
    elsewhere = lab.path / "elsewhere"
    elsewhere.mkdir()
    lab.run("resume", "../results", "--cache-dir", "kept", cwd=elsewhere)
    assert (elsewhere / "kept").is_dir() and not (lab.path / "kept").exists()


def test_a_damaged_journal_is_gone_on_with(lab):
    path = journal_of(lab)
    kept = [
        line
        for line in path.read_bytes().splitlines(keepends=True)
        if b'"end"' not in line
        and b'"t--two--fake","status"' not in line
        and not (b'"finish"' in line and b"t--two--fake" in line)
    ]
    path.write_bytes(b"".join(kept) + b'{"event":"finish","id":"t--tw')
    done = lab.run("run", "recipe.json", code=0)
    assert "resuming: 2 of 3 done" in done.stderr
    assert b'"t--tw' + b"{" not in path.read_bytes() and len(lab.finishes()) == 3


def test_an_empty_journal_is_begun(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.write("results/batch.jsonl", "")
    lab.run("run", "recipe.json", code=0)
    assert len(lab.finishes()) == 3


def test_a_full_disk_stops_the_batch_and_loses_nothing(lab, monkeypatch):
    """A write that fails in the middle of the batch leaves whole lines behind, and what is there goes on."""
    path = journal_of(lab)
    journal = bt.Journal(str(path))
    journal.batch, _ = bt.load_batch(str(path), pytest.fail)
    size = path.stat().st_size
    monkeypatch.setattr(
        bt.os, "write", lambda fd, data, write=os.write: write(fd, data[: len(data) // 2])
    )
    with pytest.raises(bt.StorageError, match="make room"):
        journal.record(bt.Ended(at=bt.timestamp()))
    monkeypatch.undo()
    os.close(journal.fd)
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    "change, holds",
    [
        ({}, True),
        ({"key": "other"}, False),
        ({"limits": bt.Limits(1, 1024, 61)}, False),
        ({"limits": bt.Limits(1, 1024, 59)}, True),
        ({"limits": bt.Limits(2, 1024, 60)}, False),
    ],
)
def test_when_a_timeout_still_holds(change, holds):
    old = a_task()
    old.status, old.result = bt.Status.TIMEOUT, bt.Result(bt.Status.TIMEOUT)
    assert bt.still_holds(old, a_plan(**change)) is holds


def test_ids_that_would_leave_the_results_are_refused(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    journal = lab.path / "results" / "batch.jsonl"
    journal.write_text(journal.read_text().replace('"id":"t--one--fake"', '"id":"../../evil"'))
    done = lab.run("recheck", "results", "--prover", "fake", code=2)
    assert "can't name files" in done.stderr and not list(lab.path.parent.glob("evil*"))


def limit_files(bytes_each):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_each, bytes_each))


def test_a_disk_that_is_full_in_the_middle(lab):
    """A limit on the size of files stands for a full disk: one clear error, a readable journal, and going on works."""
    lab.write("t.spthy", many_lemmas(30))
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", "-o", "resultz", "--cache-dir", "another", code=0)
    lines = (lab.path / "resultz" / "batch.jsonl").read_bytes().splitlines(keepends=True)
    half = [number for number, line in enumerate(lines) if b'"finish"' in line][15]
    done = lab.run_script(
        "run", "recipe.json", code=2, preexec_fn=limit_files(sum(map(len, lines[:half])))
    )
    assert (
        done.stderr.count("error:") == 1
        and "batch.jsonl: the journal can't be written" in done.stderr
    ), done.stderr
    assert (lab.path / "results" / "batch.jsonl").read_bytes().endswith(b"\n")
    finished = len(
        final_results(lab.path / "results" / "batch.jsonl")
    )  # a short line, of an interrupted one, may still have gone in
    assert 0 < finished < 30
    assert f"resuming: {finished} of 30 done" in lab.run("run", "recipe.json", code=0).stderr
    assert len(lab.finishes()) == 30


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place(lab):
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "closed").mkdir(mode=0o555)
    assert (
        "can't be written" in lab.run("run", "recipe.json", "-o", "closed/results", code=2).stderr
    )


def test_odd_names_of_directories(lab):
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "real").mkdir()
    (lab.path / "li nk \N{SNOWMAN}").symlink_to("real")
    lab.run("run", "recipe.json", "-o", "li nk \N{SNOWMAN}", code=0)
    assert (lab.path / "real" / "batch.jsonl").is_file()
    lab.write("file", "")
    assert "can't be written" in lab.run("run", "recipe.json", "-o", "file", code=2).stderr


def test_a_foreign_journal_is_not_touched(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.write("results/batch.jsonl", '{"custom_id": 1}\n{"custom_id": 2}')
    lab.run("run", "recipe.json", code=0)
    assert (
        lab.path / "results" / "batch.jsonl"
    ).read_text() == '{"custom_id": 1}\n{"custom_id": 2}'
    assert len(list(lab.path.glob("results_*"))) == 1


def test_result_files_are_what_the_journal_says_after_going_on(lab):
    interrupted_batch(lab)
    success = lab.path / "results" / "success"
    (success / "t--l0--fake.json").unlink()
    (success / "t--l5--fake.json").write_text("{}")
    lab.run("resume", "results", "-t", "t--l2", code=0)
    assert sorted(path.name for path in success.iterdir()) == [
        f"t--l{number}--fake.json" for number in (0, 1, 2)
    ]


def test_resuming_a_finished_batch_runs_nothing(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    done = lab.run("resume", "results", code=0)
    assert (
        "nothing is left to do" in done.stderr
        and "3 verified" in done.stdout
        and not list(lab.path.glob("results_*"))
    )


@pytest.mark.parametrize(
    "field, value",
    [
        ("peak_mb", "x"),
        ("wall_s", []),
        ("wall_s", 10**400),
        ("stderr_tail", []),
        ("warnings", 1),
        ("steps", "2"),
        ("at", {}),
    ],
)
def test_wrong_kinds_in_a_journal_are_skipped(lab, field, value):
    path = journal_of(lab)
    lines = path.read_text().splitlines()
    event = next(json.loads(line) for line in lines if '"finish"' in line)
    path.write_text("\n".join([*lines, json.dumps({**event, field: value})]) + "\n")
    for command in (["status", "results"], ["report", "results", "-f", "md"]):
        assert "is skipped" in lab.run(*command).stderr


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def a_driver(**changes):
    """The header of a batch that this process drives, but for the changes."""
    host, boot_id = bt.host_id()
    fields = {
        "recipe_file": "/r.json",
        "pid": os.getpid(),
        "started": bt.process_start(os.getpid()),
        "host": host,
        "boot_id": boot_id,
    }
    return bt.Header(**{**fields, **changes})


STRANGER = {
    "pid": os.getppid(),
    "started": bt.process_start(os.getppid()),
}  # lives, and is not this process


@pytest.mark.parametrize(
    "changes, lives, state, told",
    [
        (STRANGER, True, "running", "another run is at work here"),
        ({}, True, "running", ""),  # our own
        ({"started": 1}, False, "died", ""),  # a pid that another process has got
        ({"boot_id": "an earlier boot pid:[1]"}, False, "died", ""),
        (
            {"boot_id": bt.host_id()[1].partition(" ")[0] + " pid:[1]"},
            None,
            "unknown",
            "--take-over",
        ),  # another container of this host
        ({"host": "elsewhere", "started": 1}, None, "unknown", "--take-over"),
        (
            {"boot_id": "", "started": 0},
            None,
            "unknown",
            "--take-over",
        ),  # as older versions wrote it
    ],
)
def test_the_last_driver_decides_where_the_file_system_has_no_locks(
    tmp_path, no_locks, changes, lives, state, told
):
    path = str(tmp_path / "batch.jsonl")
    journal = bt.Journal(path)
    batch = bt.Batch(a_driver(**changes))
    journal.begin(batch)
    os.write(journal.fd, b'{"torn')
    os.close(journal.fd)
    written = Path(path).read_bytes()
    assert bt.driver_lives(batch.header) is lives and bt.batch_state(batch, path)[0] == state
    if told:
        with pytest.raises(bt.StorageError, match=told):
            bt.Journal(path)
        with pytest.raises(bt.StorageError, match=told):
            bt.open_results(str(tmp_path), bt.Batch(a_driver()), False, pytest.fail)
    else:
        bt.Journal(path).close()
    assert Path(path).read_bytes() == written, (
        "no line is cut before it is known that nobody is at work"
    )
    taken = bt.open_results(
        str(tmp_path), bt.Batch(a_driver()), False, lambda _: None, take_over=True
    )
    taken.close()
    assert bt.load_batch(path, pytest.fail)[0].header == a_driver()


def test_a_batch_that_has_ended_is_driven_by_nobody(tmp_path, no_locks):
    path = str(tmp_path / "batch.jsonl")
    journal = bt.Journal(path)
    journal.begin(bt.Batch(a_driver(host="elsewhere")))
    journal.record(bt.Ended(at=bt.timestamp()))
    journal.close()
    bt.Journal(path).close()


def test_locks_of_the_file_system_decide_where_there_are_some(tmp_path):
    path = str(tmp_path / "batch.jsonl")
    first = bt.Journal(path)
    first.begin(bt.Batch(a_driver()))
    for take_over in (False, True):
        with pytest.raises(bt.StorageError, match="another run is at work here"):
            bt.Journal(path, take_over)
    assert bt.is_locked(path) and bt.batch_state(first.batch, path)[0] == "running"
    first.close()
    assert bt.is_locked(path) is False and bt.batch_state(first.batch, path)[0] == "died"
    bt.Journal(path).close()


NO_LOCKS = f"""import errno, fcntl, sys
sys.path.insert(0, {str(HERE)!r})
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
import batch_tamarin
sys.exit(batch_tamarin.main())
"""


def test_a_batch_from_another_host_is_taken_over(lab):
    path = journal_of(lab)
    lines = path.read_text().splitlines(keepends=True)
    header = {**json.loads(lines[0]), "host": "elsewhere"}
    kept = [
        line
        for line in lines[1:]
        if '"event":"end"' not in line
        and not ('"event":"finish"' in line and "t--two--fake" in line)
    ]
    path.write_text(json.dumps(header) + "\n" + "".join(kept))
    lab.command = lambda *args: [sys.executable, "-c", NO_LOCKS, *args]
    assert "add --take-over" in lab.run_script("run", "recipe.json", code=2).stderr
    assert json.loads(lab.run_script("status", "results", "--json").stdout)["state"] == "unknown"
    assert (
        "resuming: 2 of 3 done" in lab.run_script("resume", "results", "--take-over", code=0).stderr
    )
    assert len(lab.finishes()) == 3 and [
        path.name for path in (lab.path / "results").glob("batch*")
    ] == ["batch.jsonl"]


def test_an_unfinished_batch_in_a_dated_directory_goes_on(lab):
    lab.prover("[ $LEMMA = one ] || [ -e go ] || exec sleep 600; " + VERIFY)
    lab.recipe()
    lab.write("results/mine.txt", "")
    process = lab.start("run", "recipe.json")
    wait_for(lambda: [path for path in lab.path.glob("results_*/success/*")])
    process.terminate()
    end_of(process)
    lab.write("go", "")
    done = lab.run("run", "recipe.json", code=0)
    assert "resuming: 1 of 3 done" in done.stderr and len(list(lab.path.glob("results_*"))) == 1
    assert "the newest beside it: results_" in lab.run("status", "results", code=2).stderr


# === Cache ========================================================================================

# A prover whose answer depends on all that Tamarin's depends on, and on nothing else.
MODEL = f"""#!{sys.executable} -S
import os, re, sys
version = "1.11.0"
if "--version" in sys.argv:
    sys.exit(print("tamarin-prover", version))
options = dict((word.partition("=")[0], word.partition("=")[2]) for word in sys.argv[1:] if word[:2] == "--")
flags, file = [word[3:] for word in sys.argv if word[:3] == "-D="], next(word for word in sys.argv if word.endswith(".spthy"))
def read(path):
    text = re.sub(r"/[*].*?[*]/|//[^\\n]*", " ", open(path).read(), flags=re.S)
    text = re.sub(r"#ifdef (\\w+)(.*?)#endif", lambda found: found[2] if found[1] in flags else "", text, flags=re.S)
    return re.sub(r'#include "(.*?)"', lambda found: read(os.path.join(os.path.dirname(path), found[1])), text)
items = [" ".join(item.split()) for item in re.split(r"\\n(?=[a-z]+[ :\\n])", read(file))]
for item in items:
    if "SYNTAX" in item:
        print(f'"{{file}}" (line 1, column 1):\\nunexpected "S"', file=sys.stderr)
        sys.exit(1)
name = lambda item: re.match(r"lemma (\\w+)", item)[1] if item.startswith("lemma ") else ""
asked, seen = options.get("--prove", ""), False
of_sources = any(name(item) == asked and "[sources" in item for item in items)
with open("runs", "a") as runs:
    runs.write((asked or "load") + "\\n")
print("[Theory T] Theory loaded\\n[Theory T] Theory closed", file=sys.stderr)
kept = []
for item in items:
    seen = seen or name(item) == asked
    reused = "[reuse" in item and "all" in item and not seen
    hidden = any(f"hide_lemma={{name(item)}}" in other for other in items if name(other) == asked)
    if not name(item) or name(item) == asked or ("[sources" in item or reused and not hidden) and not of_sources:
        kept.append(item)
if any(item.startswith("process:") for item in items) or "--quit-on-warning" in options or "--auto-sources" in options:
    kept = items
if any(item.startswith("heuristic: o") for item in items):
    oracle = os.path.join(os.path.dirname(file), "oracle")
    if not os.access(oracle, os.X_OK):
        sys.exit("tamarin-prover: oracle: permission denied")
    kept.append(open(oracle).read())
import hashlib
number = int(hashlib.sha256(repr((kept, flags, options.get("--bound"), os.environ.get("GHCRTS"))).encode()).hexdigest()[:6], 16)
with open(options["--output"], "w") as proof:
    proof.write(f"theory proof of {{asked}} {{number}}")
verdict = ("verified", "falsified - found trace")[number % 2]
rule = "=" * 78
print(f"{{rule}}\\nsummary of summaries:\\n\\nanalyzed: x\\n\\n  {{asked}} (all-traces): {{verdict}} ({{number}} steps)\\n\\n{{rule}}")
"""


@pytest.fixture
def model(lab):
    """A lab with the model prover and a theory of 20 lemmas, of which l5 is a `reuse` lemma; `lab.proven(...)` tells what was run."""
    lab.write("model", MODEL, 0o755)
    lab.provers["fake"] = {"path": "./model"}
    lab.write("inc.spthy", "rule Inc: [] --> []\n")
    lemmas = "".join(
        f'lemma l{number}{" [reuse]" * (number == 5)}: all-traces "All k #i. A(k) @ i ==> T"\n'
        for number in range(20)
    )
    lab.write(
        "t.spthy",
        f'theory T begin\nheuristic: o\nrule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n#include "inc.spthy"\n{lemmas}end\n',
    )
    lab.write("oracle", "#!/bin/sh\n", 0o755)
    lab.recipe(config={"global_max_cores": 2})

    def proven(*args, code=(0, 1, 3)):  # 1: by chance some verdict rests on a falsified lemma
        (lab.path / "runs").write_text("")
        done = lab.run("run", "recipe.json", "--fresh", *args)
        assert done.returncode in code, done.stderr
        lab.last = done
        return sorted((lab.path / "runs").read_text().split())

    def edit(old, new, file="t.spthy"):
        text = (lab.path / file).read_text()
        assert old in text
        (lab.path / file).write_text(text.replace(old, new, 1))

    lab.proven, lab.edit = proven, edit
    return lab


def results_of(lab, directory=None):
    """What came out, by task; and the journal's finishes."""
    journal = (
        max(lab.path.glob("results*/batch.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        if directory is None
        else directory
    )
    finishes = [
        json.loads(line) for line in journal.read_text().splitlines() if '"event":"finish"' in line
    ]
    return {event["id"]: event for event in finishes}


ALL_LEMMAS = sorted(f"l{number}" for number in range(20))


def test_only_what_changed_is_proven(model):
    assert model.proven() == ALL_LEMMAS
    first = results_of(model)
    assert model.proven() == [], "nothing changed"
    again = results_of(model)
    for task_id, event in again.items():
        same = ("status", "verdict", "steps", "wall_s", "cpu_s", "peak_mb", "lemmas", "exit")
        assert [event[name] for name in same] == [first[task_id][name] for name in same]
        assert (
            event["cached"]
            and event["ran"] == first[task_id]["at"]
            and not event["old_text"]
            and not first[task_id]["cached"]
        )
    newest = max(model.path.glob("results_*"))
    for folder, ending in (("proofs", "spthy"), ("logs", "out"), ("logs", "err")):
        name = f"t--l3--fake.{ending}"
        assert (newest / folder / name).read_bytes() == (
            model.path / "results" / folder / name
        ).read_bytes()
    model.edit("rule A", "/* a comment */   rule A")
    assert model.proven() == [], "a comment"
    model.edit('lemma l7: all-traces "All', 'lemma l7: all-traces "All z')
    assert model.proven() == ["l7", "load"], "one plain lemma edited"
    assert all(
        event["old_text"] == (event["id"] != "t--l7--fake")
        for event in results_of(model).values()
        if event["cached"]
    )
    model.edit("Out(~k)", "Out('a'), Out(~k)")
    assert model.proven() == ALL_LEMMAS, "one rule edited"
    model.edit('[reuse]: all-traces "All', '[reuse]: all-traces "All z')
    assert model.proven() == [*sorted(f"l{number}" for number in range(5, 20)), "load"], (
        "a reuse lemma edited: itself and those after it"
    )
    model.edit("Inc: []", "Inc: [ In(x) ]", "inc.spthy")
    assert model.proven() == ALL_LEMMAS, "an included file edited"
    model.edit("#!/bin/sh", "#!/bin/sh\nexit 0", "oracle")
    assert (
        model.proven("-d") == ALL_LEMMAS
        and "t--l3--fake: new: oracle oracle\n" in model.last.stderr
    ), "the oracle edited"
    assert model.proven("--cores", "1") == [], "cores changed"
    model.edit('version = "1.11.0"', 'version = "1.11.1"', "model")
    assert model.proven("-d") == ALL_LEMMAS and "t--l3--fake: new: prover\n" in model.last.stderr, (
        "the prover updated"
    )
    assert model.proven("--no-cache") == ALL_LEMMAS
    (model.path / "oracle").chmod(0o644)
    assert model.proven() == ALL_LEMMAS and {
        event["status"] for event in results_of(model).values()
    } == {"failed"}
    assert model.proven() == ALL_LEMMAS, "such a failure is nothing to keep"


def test_what_a_lemma_depends_on_fixes_the_text_without_other_lemmas(lab):
    """Whatever is moved or edited: the parts of a lemma are the same exactly where the text that matters to it is."""
    rng = random.Random(7)
    pieces = [
        "rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]",
        "rule B: [ Fr(~k) ] --[ A(~k) ]-> [ ]",
        *(
            f'lemma {name}{attributes}: "{formula}"{proof}'
            for name, attributes, formula, proof in (
                ("s1", " [sources]", "F", "\nby sorry"),
                ("s2", " [sources]", "T", ""),
                ("r", " [reuse]", "F", ""),
                ("x", "", "T", "\nby sorry"),
                ("y", "", "T", ""),
            )
        ),
    ]
    seen = {}
    for _ in range(150):
        order = rng.sample(pieces, rng.randrange(3, len(pieces) + 1))
        lab.write("t.spthy", "theory T begin\n" + "\n".join(order) + "\nend\n")
        theory = bt.load_theory(str(lab.path / "t.spthy"))
        for lemma in theory.lemmas:
            matters = {"", lemma.name, *lemma.assumes}
            text = tuple(text for name, text in theory.segments if name in matters)
            parts = lemma.name, bt.lemma_parts(theory)[lemma.name]
            assert seen.setdefault(parts, text) == text
            assert seen.setdefault((lemma.name, text), parts) == parts


def test_why_something_runs(model):
    model.proven()
    model.recipe(
        config={"global_max_cores": 2}, tamarin_options=["--bound=3"], preprocess_flags=["F"]
    )
    model.proven("-d")
    assert "t--l3--fake: new: options, preprocessor flags\n" in model.last.stderr
    model.recipe(config={"global_max_cores": 2})
    model.edit("lemma l19: all", "lemma new: all")
    assert (
        model.proven("-d") == ["load", "new"]
        and "t--new--fake: no result of it is stored\n" in model.last.stderr
    )
    model.edit('[reuse]: all-traces "All', '[reuse]: all-traces "All z')
    model.edit('lemma l8: all-traces "All', 'lemma l8: all-traces "All z')
    model.proven("-d")
    assert (
        "l5--fake: new: lemma\n" in model.last.stderr
        and "l8--fake: new: lemma, assumed lemmas\n" in model.last.stderr
    )
    assert (
        "l9--fake: new: assumed lemmas\n" in model.last.stderr
        and "l4--fake:" not in model.last.stderr
    )
    model.edit("lemma l1:", "rule Late: [] --> []\nlemma l1:")
    model.proven("-d")
    assert "l1--fake: new: theory outside of lemmas\n" in model.last.stderr


def test_a_hit_never_hides_a_change(model):
    """Random edits of every kind; after each, a run with the cache and one without, side by side, must tell the same."""
    rng = random.Random(8)
    lemmas = ["l0", "l1", "l2", "l3"]
    parts = {name: f'lemma {name}: all-traces "F{name}"\n' for name in lemmas}
    state = {
        "rule": "rule R: [] --> []\n",
        "function": ("before", "functions: f/1\n"),
        "process": "",
        "tail": "",
        "comment": "",
    }

    def write():
        where, function = state["function"]
        body = [*(parts[name] for name in lemmas)]
        body[2:2] = [function] if where == "amid" else []
        text = (
            state["comment"]
            + (function if where == "before" else "")
            + state["rule"]
            + "heuristic: o\n"
            + '#include "inc.spthy"\n'
            + "".join(body)
            + "#ifdef X\nrule X: [] --> []\n#endif\n"
            + state["process"]
            + (function if where == "after" else "")
            + state["tail"]
        )
        model.write("t.spthy", f"theory T begin\n{text}end\n")

    def edit_lemma(kind):
        name, number = rng.choice(lemmas), rng.randrange(3)
        attributes = {"reuse": " [reuse]", "sources": " [sources]", "hide": " [hide_lemma=l0]"}.get(
            kind, ""
        )
        parts[name] = (
            f'lemma {name}{attributes}: all-traces "F{number}{" SYNTAX" * (kind == "syntax")}"\n'
        )

    edits = {
        **{
            kind: lambda kind=kind: edit_lemma(kind)
            for kind in ("plain", "reuse", "sources", "hide", "syntax")
        },
        "order": lambda: rng.shuffle(lemmas),
        "rule": lambda: state.update(rule=f"rule R: [] --> [ A('{rng.randrange(3)}') ]\n"),
        "function": lambda: state.update(
            function=(
                rng.choice(["before", "amid", "after"]),
                f"functions: f/{rng.randrange(1, 3)}\n",
            )
        ),
        "process": lambda: state.update(process="" if state["process"] else "process: 0\n"),
        "one more lemma": lambda: state.update(
            tail=f'lemma more: all-traces "G{rng.randrange(3)}"\n'
        ),
        "comment": lambda: state.update(comment=f"// {rng.random()}\n"),
        "include": lambda: model.write(
            "inc.spthy", f"rule Inc: [] --> [ B('{rng.randrange(3)}') ]\n"
        ),
        "oracle": lambda: model.write(
            "oracle", f"#!/bin/sh\nexit {rng.randrange(3)}\n", rng.choice([0o755, 0o755, 0o644])
        ),
        "options": lambda: model.recipe(
            config={"global_max_cores": 2},
            tamarin_options=rng.choice([[], ["--bound=5"], ["--quit-on-warning"]]),
            preprocess_flags=rng.choice([[], ["X"]]),
        ),
    }
    told = ("status", "verdict", "steps", "reason", "lemmas")
    kinds, cached = [*edits, *rng.sample(list(edits), 4)], 0
    rng.shuffle(kinds)
    for number, kind in enumerate(kinds):
        edits[kind]()
        write()
        runs = {
            name: model.start("run", "recipe.json", "-q", "-o", f"{name}{number}", *options)
            for name, options in (("with", ()), ("without", ("--no-cache",)))
        }
        for process in runs.values():
            output = end_of(process)
            assert process.returncode in (0, 1, 3), output
        with_cache, without = (
            results_of(model, model.path / f"{name}{number}" / "batch.jsonl") for name in runs
        )
        for task_id, event in without.items():
            assert not event["cached"] and [with_cache[task_id][name] for name in told] == [
                event[name] for name in told
            ], (kind, task_id, model.path)
            assert (
                with_cache[task_id]["cached"]
                or event["warnings"] == with_cache[task_id]["warnings"]
            )
            cached += with_cache[task_id]["cached"]
    assert cached > 5, "the test means nothing if little was cached"


def test_limits_are_remembered_for_this_host_and_for_no_larger_ones(model):
    """l1 runs into its limit; the limits of the others are as much larger or smaller."""
    model.edit("import os, re, sys", "import os, re, sys, time", "model")
    model.edit(
        "import hashlib",
        'time.sleep(600 * (asked == "l1" and not os.path.exists("quick")))\nimport hashlib',
        "model",
    )
    model.write("t.spthy", 'theory T begin\nrule A: [] --> []\nlemma l0: "T"\nlemma l1: "T"\nend\n')

    def started(*args, factor=1, memory=1, of_l1=0.5):
        model.recipe(
            resources={"max_cores": 1, "max_memory": memory, "timeout": 300 * factor},
            lemmas=[{"name": "*"}, {"name": "l1", "resources": {"timeout": of_l1 * factor}}],
        )
        model.proven(*args)
        journal = max(
            model.path.glob("results*"), key=lambda path: (path / "batch.jsonl").stat().st_mtime_ns
        )
        return sorted(event["job"] for event in model.events("start", journal))

    both, l1 = ["t--l0--fake", "t--l1--fake"], ["t--l1--fake"]
    assert started() == both and results_of(model)["t--l1--fake"]["status"] == "timeout"
    assert started() == [] and results_of(model)["t--l1--fake"]["status"] == "timeout"
    assert started(factor=0.5) == []
    for larger in ({"memory": 2}, {"factor": 2}):
        assert started("-d", **larger) == l1 and "met smaller limits" in model.last.stderr, (
            "only what timed out"
        )
    assert started(factor=2) == []
    for entry in Path(os.environ["XDG_CACHE_HOME"]).glob("batch-tamarin/*/*limit*"):
        entry.rename(entry.parent / f"{entry.name.partition('.')[0]}.limit-{'0' * 16}")
    assert started(factor=2) == l1, "met on another host"
    (model.path / "quick").touch()
    assert started(of_l1=300) == l1 and results_of(model)["t--l1--fake"]["verdict"]
    assert started() == [], "a verdict needs no limit"


def test_what_is_never_kept(lab):
    """A signal, a missing program, an interruption, silence; a parse error is, until errors are cleared."""
    lab.prover(
        'echo "$LEMMA" >> runs; case $LEMMA in one) kill -9 $$;; two) kill -TERM $PPID; sleep 600;; esac'
    )
    lab.recipe(config={"global_max_cores": 1})
    for _ in range(2):
        lab.run("run", "recipe.json", "--fresh", code=143)
    assert (lab.path / "runs").read_text().split() == ["one", "two"] * 2
    lab.prover(
        'echo "$LEMMA" >> runs; case $LEMMA in one) exit 0;; two) exec /nowhere;; esac; printf \'"t.spthy" (line 2, column 3):\\nno\\n\' >&2; exit 1'
    )
    for lemmas in (["one", "two", "three"], ["one", "two"]):
        (lab.path / "runs").write_text("")
        done = lab.run("run", "recipe.json", "--fresh", code=3)
        assert (
            lab.path / "runs"
        ).read_text().split() == lemmas and "t.spthy:2:3: no" in done.stdout
    assert "removed" in lab.run("cache", "clear", "--errors-only", code=0).stdout
    lab.run("run", "recipe.json", "--fresh", "-t", "t--three", code=3)
    assert (lab.path / "runs").read_text().split()[-1] == "three"


def test_hits_wait_until_the_prover_has_loaded_the_text(model):
    """One load goes first; what is not in the cache runs beside it, and longer."""
    model.edit("import os, re, sys", "import os, re, sys, time", "model")
    model.edit(
        'print("[Theory T] Theory loaded',
        """if os.path.exists("hold"):
    while asked == "l7" or not asked and not os.path.exists("go"):
        time.sleep(0.05)
print("[Theory T] Theory loaded""",
        "model",
    )
    model.proven("-t", "t--l1*")
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "All z')
    (model.path / "hold").touch()
    (model.path / "runs").write_text("")
    process = model.start("run", "recipe.json", "--fresh", "-t", "t--l1*", "-t", "t--l7*")
    ran = lambda: (model.path / "runs").read_text().split()  # noqa: E731
    wait_for(lambda: len(ran()) == 2)
    first, second = model.events("start", max(model.path.glob("results_*")))
    assert (first["ids"], second["ids"]) == ([], ["t--l7--fake"]), "the load goes first"
    assert not results_of(model), "nothing counts before the prover has loaded the text"
    (model.path / "go").touch()
    wait_for(lambda: len(results_of(model)) == 10)
    assert all(event["cached"] for event in results_of(model).values()), (
        "they count while others still run"
    )
    process.send_signal(signal.SIGTERM)
    end_of(process)
    assert sorted(ran()) == ["l7", "load"]


def test_a_text_is_loaded_once(model):
    model.proven()
    model.edit('lemma l3: all-traces "All k #i. A(k) @ i ==> T"\n', "")
    assert model.proven() == ["load"] and all(
        event["old_text"] for event in results_of(model).values()
    )
    newest = max(model.path.glob("results_*"))
    assert not list(newest.rglob("*~load*")), "what it wrote is nobody's result"
    assert [event["attempt"] for event in model.events("start", newest)] == [1]
    assert model.proven() == [], "and that is remembered"
    model.edit('lemma l7: all-traces "All', 'lemma l7: all-traces "All z')
    assert model.proven() == ["l7", "load"], "one lemma edited: one proof and one load"
    for entry in Path(os.environ["XDG_CACHE_HOME"]).glob("batch-tamarin/*/*.loaded/entry.json"):
        entry.write_text('{"files": {}}')  # what an older version wrote
    assert model.proven() == ["load"], "a load that can't be read is no load"


def test_hits_take_the_warnings_of_the_load(model):
    """Those of the load of the new text, not those of the old text that the lemma was proven in."""
    model.edit(
        "{rule}\\nsummary of summaries:\\n\\nanalyzed: x\\n\\n",
        "{rule}\\nsummary of summaries:\\n\\nanalyzed: x\\n{warning}\\n",
        "model",
    )
    model.edit(
        'rule = "=" * 78\n',
        'rule = "=" * 78\ncount = sum("WRONG" in item for item in items)\n'
        'warning = f"\\n  WARNING: {count} wellformedness check failed!\\n" * bool(count)\n',
        "model",
    )
    model.recipe(config={"global_max_cores": 2}, lemmas=[{"name": "l[0-3]"}])
    model.proven()
    assert not any(event["warnings"] for event in results_of(model).values())
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "WRONG All')
    for ran in (["load"], []):
        assert model.proven() == ran
        events = results_of(model)
        assert len(events) == 4 and all(
            event["cached"] and event["warnings"] == ["1 wellformedness check failed"]
            for event in events.values()
        )


def test_a_load_that_meets_its_limit_after_it_has_loaded_counts(model):
    model.recipe(
        config={"global_max_cores": 2}, resources={"max_memory": 1}, lemmas=[{"name": "l[0-3]"}]
    )
    model.edit("import os, re, sys", "import os, re, sys, time", "model")
    model.edit(
        "kept = []\n",
        'if not asked:\n    sys.stderr.flush()\n    hog = b"1" * (1200 << 20)\n    time.sleep(600)\nkept = []\n',
        "model",
    )
    model.proven()
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "All z')
    assert model.proven() == ["load"] and all(
        event["cached"] for event in results_of(model).values()
    )
    assert model.proven() == [], "and that is remembered"
    model.edit("Theory closed", "Theory open", "model")
    assert model.proven() == ["l0", "l1", "l2", "l3"], "another prover"
    model.edit('"All z', '"All y')
    assert model.proven() == ["l0", "l1", "l2", "l3", "load"], (
        "a load that did not get so far is none"
    )


def test_hits_are_withdrawn_when_the_prover_refuses_the_text(model):
    model.recipe(config={"global_max_cores": 2}, lemmas=[{"name": "l[0-3]"}])
    model.proven()
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "SYNTAX All')
    assert model.proven() == [], "the model prover notes down nothing when it refuses a text"
    refused = results_of(model)
    assert {event["status"] for event in refused.values()} == {"failed"} and not any(
        event["cached"] for event in refused.values()
    )
    assert all("t.spthy:1:1: unexpected" in event["reason"] for event in refused.values())
    assert model.proven() == [] and all(event["cached"] for event in results_of(model).values()), (
        "a parse error is kept"
    )
    model.edit("SYNTAX All", "All")
    assert model.proven() == [] and {event["status"] for event in results_of(model).values()} == {
        "completed"
    }


@pytest.mark.parametrize(
    "harm", ["truncate", "garbage", "other", "missing", "not json", "empty dir", "list"]
)
def test_a_damaged_entry_is_a_miss_and_removed(model, harm):
    model.recipe(lemmas=[{"name": "l1"}])
    model.proven()
    right = results_of(model)["t--l1--fake"]
    (entry,) = Path(os.environ["XDG_CACHE_HOME"]).glob("batch-tamarin/*/*.?*/proof")
    entry = entry.parent
    if harm == "truncate":
        (entry / "proof").write_text("")
    elif harm == "garbage":
        (entry / "stdout").write_bytes(os.urandom(100))
    elif harm == "missing":
        (entry / "stderr").unlink()
    elif harm == "empty dir":
        shutil.rmtree(entry)
        entry.mkdir()
    else:
        text = {
            "other": (entry / "entry.json").read_text().replace('"stdout"', '"../x"'),
            "list": "[1]",
        }.get(harm, "{")
        (entry / "entry.json").write_text(text)
    assert model.proven() == ["l1"] and results_of(model)["t--l1--fake"]["steps"] == right["steps"]
    assert model.proven() == [], "stored anew"


def test_a_cache_that_cannot_be_written_is_a_warning(model):
    (model.path / "file").touch()
    model.recipe(lemmas=[{"name": "l1"}])
    for place in (
        {"XDG_CACHE_HOME": str(model.path / "file")},
        {"HOME": str(model.path / "file"), "XDG_CACHE_HOME": ""},
    ):
        done = model.run_script("run", "recipe.json", "--fresh", env={**os.environ, **place})
        assert done.returncode in (0, 1, 3) and done.stderr.count("can't be kept in the cache") == 1


def test_two_threads_store_one_result(tmp_path, monkeypatch):
    """Two tasks of one key end at once, as under two aliases of one prover: neither takes the other's files away."""
    outputs = bt.result_files(str(tmp_path), "i")
    (tmp_path / "proofs").mkdir()
    Path(outputs.proof).write_text("proof")
    plan, result = (
        a_plan(key="a" * 32, lemma_key="b" * 32),
        bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED),
    )
    cache, inputs = bt.Cache(str(tmp_path / "cache")), bt.Dependencies("T", {}, {})
    copy = bt.copy_file

    def while_another_stores(source, target):
        monkeypatch.setattr(bt, "copy_file", copy)
        cache.store(plan, result, outputs, inputs, parse_error=False)
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", while_another_stores)
    cache.store(plan, result, outputs, inputs, parse_error=False)
    assert cache.problem == ""
    hit = cache.find(plan, inputs)
    Path(outputs.proof).unlink()
    assert hit and cache.restore(hit, outputs) and Path(outputs.proof).read_text() == "proof"
    assert len(list((tmp_path / "cache").glob("*/*"))) == 1, "nothing unfinished is left"


def test_what_another_run_removes_meanwhile_ends_no_storing(tmp_path, monkeypatch):
    """A run that keeps the cache to its size removes what this one is just making: the next result is stored."""
    outputs = bt.result_files(str(tmp_path), "i")
    (tmp_path / "proofs").mkdir()
    Path(outputs.proof).write_text("proof")
    plan, result = a_plan(key="a" * 32), bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
    cache, inputs = bt.Cache(str(tmp_path / "cache")), bt.Dependencies("T", {}, {})
    copy = bt.copy_file

    def remove_first(source, target):
        monkeypatch.setattr(bt, "copy_file", copy)
        bt.remove_entry(os.path.dirname(target))
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", remove_first)
    for stored in (False, True):
        cache.store(plan, result, outputs, inputs, parse_error=False)
        assert cache.problem == "" and bool(cache.find(plan, inputs)) is stored


def test_a_load_that_cannot_be_read_is_no_load(tmp_path):
    for folder in ("logs", "proofs/i.spthy"):
        (tmp_path / folder).mkdir(parents=True)
    outputs = bt.result_files(str(tmp_path), "i")
    Path(outputs.stderr).write_text("[Theory T] Theory closed\n")
    Path(outputs.stdout).write_text(
        "=\nsummary of summaries:\n\nanalyzed: t\n\n  WARNING: 1 wellformedness check failed!\n\n=====\n"
    )
    job = bt.Job("i", 1, ("p",), "/", {}, bt.Limits(1, 1024, 60), outputs.stdout, outputs.stderr)
    run = bt.ProverRun(a_plan(lemma="", prove=False), bt.Dependencies("T", {}, {}), job, outputs)
    outcome = bt.Outcome(bt.Status.COMPLETED, bt.ExitStatus(0))
    assert bt.read_load(run, outcome) is None
    Path(outputs.proof).rmdir()
    assert bt.read_load(run, outcome).warnings == ("1 wellformedness check failed",)


def test_the_name_of_the_cache_directory_means_nothing(model):
    model.recipe(lemmas=[{"name": "l1"}])
    assert (
        model.proven("--cache-dir", "no.limit-here") == ["l1"]
        and model.proven("--cache-dir", "no.limit-here") == []
    )


def test_a_log_that_a_killed_driver_left_is_no_load(model):
    """A load appends to its log: what stands there from another text must not count for this one."""
    model.recipe(lemmas=[{"name": "l[0-3]"}])
    model.proven()
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "SYNTAX All')
    for ending in ("out", "err"):
        model.write(f"new/logs/t--l0--fake~load.{ending}", "[Theory T] Theory closed\n")
    shutil.copy(model.path / "results" / "batch.jsonl", model.path / "new" / "batch.jsonl")
    lines = (model.path / "new" / "batch.jsonl").read_text().splitlines(True)
    (model.path / "new" / "batch.jsonl").write_text(
        "".join(line for line in lines if '"event":"batch"' in line)
    )
    model.run("run", "recipe.json", "-o", "new")
    events = results_of(model, model.path / "new" / "batch.jsonl")
    assert len(events) == 4 and {event["status"] for event in events.values()} == {"failed"}


def test_a_prover_behind_another_command_counts(model):
    model.write("bin/hidden-model", (model.path / "model").read_text(), 0o755)
    model.provers["fake"] = {"command": ["nice", "hidden-model"]}
    model.recipe(lemmas=[{"name": "l1"}])
    path = f"{model.path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def starts():
        (model.path / "runs").write_text("")
        assert model.run_script(
            "run", "recipe.json", "--fresh", env={**os.environ, "PATH": path}
        ).returncode in (0, 3)
        return (model.path / "runs").read_text().split()

    assert starts() == ["l1"] and starts() == []
    model.edit(
        "import hashlib",
        "import hashlib # another program, of the same version",
        "bin/hidden-model",
    )
    assert starts() == ["l1"]


@pytest.mark.parametrize(
    "tail, options",
    [
        ("process: 0\n", []),
        ('restrictionfoo: "F"\n', []),
        ("", ["--quit-on-warning"]),
        ("", ["--quit"]),
        ("", ["--auto-sources"]),
    ],
)
def test_where_a_theory_does_not_split_any_edit_counts(model, tail, options):
    model.edit("lemma l6:", f"{tail}lemma l6:")
    model.recipe(
        config={"global_max_cores": 2}, tamarin_options=options, lemmas=[{"name": "l[0-3]"}]
    )
    assert model.proven() == ["l0", "l1", "l2", "l3"] and model.proven() == []
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "All z')
    assert model.proven() == ["l0", "l1", "l2", "l3"]


def test_the_cache_has_a_size(model):
    model.edit("proof.write(f", "proof.write('x' * 300_000 + f", "model")
    model.recipe(config={"global_max_cores": 1}, lemmas=[{"name": "l[0-5]"}])
    model.proven("--cache-size", "0.001")
    assert (
        0
        < sum(
            path.stat().st_size
            for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*")
            if path.is_file()
        )
        <= 0.001 * 2**30
    )
    assert model.proven("--cache-size", "0.001") == ["l0", "l1", "l2"], (
        "the least recently used are gone"
    )
    shown = model.run("cache", "info", code=0).stdout
    assert "MB of at most 2 GB" in shown and str(
        model.run("cache", "clear", code=0).stdout
    ).strip().endswith(": 3")
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).glob("batch-tamarin/*"))


def test_foreign_files_in_a_cache_directory_are_left_alone(model):
    keep = [
        model.write("c/precious/file", "x"),
        model.write(f"c/{'0' * 32}/note", "x"),
        model.write(f"c/{'0' * 32}/{'a' * 32}.txt/note", "x"),
    ]
    model.recipe(lemmas=[{"name": "l1"}])
    model.proven("--cache-dir", "c", "--cache-size", "0.0000001")
    model.run("cache", "clear", "--cache-dir", "c", code=0)
    assert all(path.is_file() for path in keep)


def test_two_runs_share_a_cache(model):
    """Four at once, with room for next to nothing: every result is right, whoever removes what."""
    model.proven("--no-cache")
    right = {task_id: event["steps"] for task_id, event in results_of(model).items()}
    processes = [
        model.start("run", "recipe.json", "-o", f"results-{number}", "--cache-size", size)
        for number, size in enumerate(["1", "0.00001", "1", "0.00001"])
    ]
    for number, process in enumerate(processes):
        told = end_of(process)
        assert process.returncode in (0, 1, 3), told
        assert {
            task_id: event["steps"]
            for task_id, event in results_of(
                model, model.path / f"results-{number}" / "batch.jsonl"
            ).items()
        } == right


def test_restored_results_are_marked_in_reports(model):
    model.recipe(lemmas=[{"name": "l[12]"}])
    model.proven()
    model.edit('lemma l19: all-traces "All', 'lemma l19: all-traces "All z')
    model.proven()
    newest = max(model.path.glob("results_*"))
    day = results_of(model)["t--l1--fake"]["ran"][:10]
    assert f"cached {day}" in model.last.stdout and f"(cached {day}, " in model.last.stderr
    page = (newest / "summary.html").read_text()
    assert day in page and "older texts of other lemmas" in page
    rows = list(
        csv.DictReader(model.run("report", str(newest), "-f", "csv", code=0).stdout.splitlines())
    )
    assert [(row["cached"], row["ran"][:10], row["old_text"]) for row in rows] == [
        ("True", day, "True")
    ] * 2


@pytest.mark.parametrize("change", ["maude", "environment"])
def test_what_else_can_change_a_result(lab, change, monkeypatch):
    lab.prover("[ $LEMMA = one ] || [ -e go ] || exec sleep 600; " + VERIFY)
    lab.write("maude.sh", "#!/bin/sh\n", 0o755)
    lab.provers["fake"]["options"] = ["--with-maude=./maude.sh"]
    lab.recipe()
    process = lab.start("run", "recipe.json")
    wait_for(lab.finishes)
    process.terminate()
    end_of(process)
    lab.write("go", "")
    if change == "maude":
        lab.write("maude.sh", "#!/bin/sh\n# other bytes\n", 0o755)
    else:
        monkeypatch.setenv("GHCRTS", "-M2g")
    assert "resuming: 0 of 3 done" in lab.run("run", "recipe.json", code=0).stderr


def test_an_input_that_is_only_touched_has_not_changed(lab):
    lab.prover("touch t.spthy fake.sh; " + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"


# === Scheduler and executors ======================================================================

# --- The scheduler, on made-up jobs in simulated time ---


class MadeUp(typing.NamedTuple):
    """A job that only takes room and time."""

    name: str
    cores: int
    seconds: float
    memory_mb: int = 1
    timeout_s: float = 100


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
        return bt.Waiting(limits, lambda: self.work(job))

    async def work(self, job):
        self.began[job.name] = self.now()
        await asyncio.sleep(job.seconds)
        if job.name in self.failing:
            raise OSError("disk full")
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
        small.append(MadeUp(f"s{number}", cores=2, seconds=1 + number % 2, timeout_s=5))
    wide = MadeUp("wide", cores=4, seconds=1, timeout_s=5)
    simulation.run(*small[:2], wide, *small[2:])
    assert 5 <= simulation.began["wide"] <= 8


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
        a_task(id="mid", limits=bt.Limits(2, 2 * 1024, 9)),
        a_task(id="big", limits=bt.Limits(4, 16 * 1024, 9)),
        a_task(id="small", limits=bt.Limits(1, 1 * 1024, 9)),
        a_task(id="mid2", limits=bt.Limits(1, 3 * 1024, 9)),
    ]
    assert [task.id for task in bt.in_order(tasks, scheduler)] == wanted


# --- Limits of whole runs ---


def test_a_task_that_runs_into_its_timeout_leaves_no_prover(lab, monkeypatch):
    monkeypatch.setattr(bt, "GRACE_S", 0.1)
    lab.prover("trap '' TERM; setsid sleep 677 & sleep 678")
    lab.recipe(lemmas=[{"name": "one", "resources": {"timeout": 1}}])
    lab.run("run", "recipe.json", code=3)
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
        lemmas=[{"name": "one"}, {"name": "two"}],
    )
    lab.run("run", "recipe.json", code=3)
    one = lab.finishes()["t--one--fake"]
    assert one["status"] == "memory_limit"
    assert one["exit"] == {"signal": "SIGKILL"}
    assert lab.finishes()["t--two--fake"]["verdict"] == "verified"


def test_limits_hold_while_results_are_copied(lab, monkeypatch):
    """A proof is copied into the cache until the other lemma has run into its limit."""

    def slow_copy(source, target, copy=bt.copy_file):
        wait_for(lambda: any(event["status"] == "timeout" for event in lab.events("finish")))
        (lab.path / "copied").touch()
        return copy(source, target)

    monkeypatch.setattr(bt, "copy_file", slow_copy)
    lab.prover("[ $LEMMA = one ] || exec sleep 600; " + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}, {"name": "two", "resources": {"timeout": 1}}])
    lab.run("run", "recipe.json", "--cores", "2", "--memory", "2", "-q", code=3)
    assert lab.finishes()["t--one--fake"]["status"] == "completed"
    assert lab.finishes()["t--two--fake"]["status"] == "timeout"
    assert (lab.path / "copied").exists()


# --- Provers that misbehave ---


def test_a_prover_that_disappears_fails_the_tasks_that_come_later(lab):
    lab.prover("rm -f fake.sh; " + VERIFY)
    lab.recipe(config={"global_max_cores": 1}, lemmas=[{"name": "one"}, {"name": "two"}])
    lab.run("run", "recipe.json", code=3)
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
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert lab.only_finish()["verdict"] == "verified"
    assert (lab.path / "results" / "logs" / "t--one--fake.out").stat().st_size <= 8 << 20


def test_with_few_descriptors_nothing_is_wrong(lab):
    """Tasks fail with a reason, or the batch stops with one error."""
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    few = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (14, 14))
    done = lab.run_script("run", "recipe.json", preexec_fn=few)
    assert done.returncode in (0, 2, 3), done.stderr
    if done.returncode == 2:
        assert "error:" in done.stderr
    for event in lab.events("finish"):
        assert event["verdict"] == "verified" or event["reason"]


def test_a_theory_that_changes_while_the_batch_runs_gets_no_verdict(lab):
    lab.prover('echo "// more" >> t.spthy; ' + VERIFY)
    lab.recipe(config={"global_max_cores": 1})
    lab.run("run", "recipe.json", code=3)
    for event in lab.finishes().values():
        assert event["status"] == "interrupted"
        assert event["verdict"] is None
        assert "t.spthy changed since" in event["reason"]
    assert len(lab.finishes()) == 3
    assert len(lab.events("start")) == 1, "what is not what was planned is not even started"


# --- Signals ---


def test_a_second_signal_kills_at_once(lab):
    lab.prover("trap '' TERM; echo up; sleep 600")
    lab.recipe(lemmas=[{"name": "one"}])
    process = lab.start("run", "recipe.json")
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
    lab.recipe(lemmas=[{"name": "one"}])
    process = lab.start("run", "recipe.json")
    wait_for(lambda: living_provers(lab.path))
    process.kill()
    end_of(process)
    wait_for(lambda: not living_provers(lab.path))
    wait_for(lambda: lock_is_free(lab.journal))
    (lab.path / "go").touch()
    assert "resuming: 0 of 1 done" in lab.run("run", "recipe.json", code=0).stderr


# === Interchange with batch-tamarin ===============================================================

UPSTREAM = {
    "a": (
        "completed",
        {"lemma_result": "verified", "steps": 54, "analysis_type": "all-traces"},
        "verified",
        54,
    ),
    "b": (
        "completed",
        {"lemma_result": "falsified", "steps": 0, "analysis_type": "all-traces"},
        "falsified",
        None,
    ),
    "c": (
        "completed",
        {"lemma_result": "verified", "steps": 0, "analysis_type": "unknown"},
        None,
        None,
    ),
    "d": (
        "completed",
        {"lemma_result": "unterminated", "steps": 0, "analysis_type": "unknown"},
        "incomplete",
        None,
    ),
    "e": (
        "timeout",
        {"return_code": "-1", "error_type": "timeout", "error_description": "late"},
        None,
        None,
    ),
    "f": (
        "memory_limit_exceeded",
        {"return_code": "-2", "error_type": "memory_limit", "error_description": "big"},
        None,
        None,
    ),
    "g": (
        "completed",
        {
            "return_code": "1",
            "error_type": "tamarin_error",
            "error_description": "bad",
            "last_stderr_lines": ["x", ""],
        },
        None,
        None,
    ),
    "h": ("pending", None, None, None),
}


def upstream_report():
    def subtask(lemma, status, result):
        ran = {
            "command": [],
            "status": status,
            "cache_hit": False,
            "exec_start": "2026-01-02T03:04:00.250000" if result else "",
            "exec_end": "2026-01-02T03:04:12" if result else "",
            "exec_duration_monotonic": 12.5,
            "avg_memory": 1.0,
            "peak_memory": 350.25,
        }
        made = (
            {"task_result": {"warnings": [], "real_time_tamarin_measure": 0.0, **result}}
            if result
            else {}
        )
        return {
            "task_config": {
                "tamarin_alias": "stable",
                "lemma": lemma,
                "output_theory_file": "",
                "output_trace_file": "",
                "options": ["-x"],
                "resources": {"cores": 2, "memory": 4, "timeout": 60},
            },
            "task_execution_metadata": ran,
            **made,
        }

    return {
        "recipe": "demo.json",
        "config": {
            "global_max_cores": 2,
            "global_max_memory": 8,
            "default_timeout": 3600,
            "output_directory": "out",
        },
        "tamarin_versions": {"stable": {"path": "tamarin-prover", "version": "v1.11.0"}},
        "execution_metadata": {},
        "tasks": {
            "nspk": {
                "theory_file": "NSPK3.spthy",
                "subtasks": {
                    f"nspk--{lemma}--stable": subtask(lemma, *told[:2])
                    for lemma, told in UPSTREAM.items()
                },
            }
        },
    }


def test_results_of_batch_tamarin_are_read(lab, tmp_path):
    lab.write("out/execution_report.json", json.dumps(upstream_report()))
    batch = bt.load_results(str(tmp_path / "out"), pytest.fail)
    assert {
        task.plan.lemma: (task.verdict, task.result.steps if task.result else None)
        for task in batch.tasks.values()
    } == {lemma: told[2:] for lemma, told in UPSTREAM.items()}
    assert [str(task.status) for task in batch.tasks.values()] == [
        "completed",
        "completed",
        "failed",
        "completed",
        "timeout",
        "memory_limit",
        "failed",
        "pending",
    ]
    task = batch.tasks["nspk--a--stable"]
    assert (task.plan.cwd, task.plan.limits, task.result.usage.wall_s) == (
        str(tmp_path),
        bt.Limits(2, 4096, 60),
        12.5,
    )
    for form in bt.REPORTS:
        assert "nspk" in lab.run("report", "out", "-f", form, code=0).stdout
    assert "left as it is" in lab.run("report", "out", "--rebuild", code=2).stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.pop("tasks"),
        lambda report: report["config"].update(output_directory=None),
        lambda report: report["tamarin_versions"].clear(),
        lambda report: report.update(tasks=[1]),
    ],
)
def test_what_batch_tamarin_did_not_write_is_refused(lab, damage):
    report = upstream_report()
    damage(report)
    lab.write("out/execution_report.json", json.dumps(report))
    assert "not what batch-tamarin 1.2 writes" in lab.run("report", "out", code=2).stderr


def test_results_of_batch_tamarin_are_audited(lab):
    lab.write("out/execution_report.json", json.dumps(upstream_report()))
    told = Audited(lab, "out", code=3)
    assert told["assumption"][0][1].startswith("what the verdicts assume is unknown")
    lab.write(
        "NSPK3.spthy", 'theory N begin\nlemma e [sources]: "T"\nlemma a: "T"\nlemma z: "T"\nend\n'
    )
    os.utime(lab.path / "NSPK3.spthy", (1, 1))
    told = Audited(lab, "out", code=3)
    assert (
        told.states["a"].endswith("assuming e (timeout)")
        and ("z", "has no result", True) in told["missing"]
        and not told["stale"]
    )
    os.utime(lab.path / "NSPK3.spthy")
    assert [(lemma, note) for lemma, _, note in Audited(lab, "out", code=3)["stale"]][:1] == [
        ("a", True)
    ], "a date alone is a note"


# === Assumptions and audit ========================================================================


def test_an_audit_names_what_has_no_verdict(lab):
    lab.prover("case $LEMMA in two) exit 1;; esac; " + VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=3)
    assert "no verdict: failed" in lab.run("audit", "results", code=3).stdout
    assert "no verdict: failed" in lab.run("audit", "results", "--strict", code=1).stdout


# `calm` is false and reusable; `quiet` is false, too, and follows from it, `still` follows from `quiet`.
FALSE_REUSE = """theory Bell begin
rule Ring: [ Fr(~b) ] --[ Rings(~b) ]-> [ Out(~b) ]
lemma calm [reuse]: "All b #i. Rings(b) @ i ==> F"
lemma quiet [reuse, hide_lemma=nobody]: "All b #i. Rings(b) @ i ==> not (Ex #j. K(b) @ j)"
lemma still [hide_lemma=calm]: "All b #i. Rings(b) @ i ==> not (Ex #j. K(b) @ j)"
lemma heard: exists-trace "Ex b #i. Rings(b) @ i"
end
"""

BELL_PROVER = """case $LEMMA in calm) verdict="falsified - found trace"; trait=all-traces; proof="simplify SOLVED // found";;
    heard) verdict="falsified - no trace found"; trait=exists-trace; proof="by contradiction";;
    *) verdict=verified; trait=all-traces; proof="by contradiction";; esac
sed "s|^lemma $LEMMA.*|&\\n$proof|" bell.spthy > "$OUT"; echo "  $LEMMA ($trait): $verdict (3 steps)" | summary
"""

RULE = "=" * 78


def a_log(*lines, theory="bell.spthy", output="", ended=True):
    said = f"  output:          {output}\n" if output else ""
    return "\n".join(
        (
            RULE,
            "summary of summaries:",
            "",
            f"analyzed: {theory}",
            "",
            said + "  processing time: 1.50s",
            "  ",
            *(f"  {line}" for line in lines),
            "",
            *([RULE, ""] if ended else []),
        )
    )


def analyzed(theory, proofs, version="1.11.0"):
    """A theory as the prover writes it, with these proofs of its lemmas."""
    for name, proof in proofs.items():
        theory = re.sub(
            rf"(?m)^lemma {name}\b.*$", lambda found, proof=proof: f"{found[0]}\n{proof}", theory
        )
    return theory.replace(
        "\nend\n", f"\n/*\nGenerated from:\nTamarin version {version}\nMaude version 3.4\n*/\nend\n"
    )


class Audited:
    """What `audit --format json` says; findings by kind as (lemma, message)."""

    def __init__(self, lab, *args, code):
        self.told = json.loads(lab.run("audit", *args, "--format", "json", code=code).stdout)
        assert self.told["ok"] == (code == 0)
        self.lemmas = {entry["lemma"]: entry for entry in self.told["lemmas"]}
        self.states = {entry["lemma"]: entry["state"] for entry in self.told["lemmas"]}

    def __getitem__(self, kind):
        return [
            (each["lemma"], each["message"], each["note"])
            for each in self.told["findings"]
            if each["kind"] == kind
        ]


def test_a_false_reuse_lemma_is_found_in_a_run(lab):
    lab.write("bell.spthy", FALSE_REUSE)
    lab.prover(BELL_PROVER)
    lab.recipe(theory_file="bell.spthy", output_file_prefix="bell")
    done = lab.run("run", "recipe.json", code=1)
    assert (
        "resting on a falsified lemma: calm" in done.stdout
        and "3 resting on a falsified lemma" in done.stdout
    )
    told = Audited(lab, "results", code=1)
    assert told.states == {
        "calm": "falsified",
        "quiet": "verified, resting on a falsified lemma: calm",
        "still": "verified, resting on a falsified lemma: calm via quiet",
        "heard": "falsified, resting on a falsified lemma: calm",
    }
    assert told.lemmas["still"]["assuming"] == [
        {"lemma": "calm", "state": "falsified", "via": ["quiet"]}
    ]
    assert [lemma for lemma, _, note in told["assumption"] if not note] == [
        "quiet",
        "still",
        "heard",
    ]
    assert not told["invalid"] and not told["sorry"] and not told["stale"]
    rows = list(
        csv.DictReader(lab.run("report", "results", "-f", "csv", code=0).stdout.splitlines())
    )
    assert [row["assuming"] for row in rows] == [
        "",
        "calm (falsified)",
        "calm (falsified) via quiet",
        "calm (falsified)",
    ]
    assert (
        json.loads(lab.run("report", "results", "-f", "json").stdout)["tasks"][2]["assuming"][0][
            "lemma"
        ]
        == "calm"
    )
    assert lab.run("report", "results", "-f", "junit").stdout.count("<failure") == 3
    assert "calm (falsified) via quiet" in lab.run("report", "results", "-f", "md").stdout


def test_open_assumptions_are_shown_and_a_changed_theory_is_stale(lab):
    lab.prover('[ "$LEMMA" = one ] && exec sleep 600; ' + VERIFY)
    lab.recipe(lemmas=[{"name": "*"}, {"name": "one", "resources": {"timeout": 1}}])
    done = lab.run("run", "recipe.json", code=3)
    assert "assuming one (timeout)" in done.stdout
    told = Audited(lab, "results", code=3)
    assert (
        told.states["three"] == "verified, assuming one (timeout)"
        and told.states["one"] == "timeout"
    )
    assert (
        told["assumption"] == [("three", "verified, assuming one (timeout)", True)]
        and not told["stale"]
    )
    assert {lemma for lemma, *_ in told["invalid"]} == {
        "two",
        "three",
    }  # what this prover writes is no theory: a note
    lab.write("t.spthy", "// a comment changes nothing\n" + THEORY)
    assert not Audited(lab, "results", code=3)["stale"]
    lab.write("t.spthy", THEORY.replace("Out(~k)", "Out(h(~k))"))
    assert {lemma for lemma, *_ in Audited(lab, "results", code=1)["stale"]} == {
        "one",
        "two",
        "three",
    }
    (lab.path / "t.spthy").unlink()
    assert not Audited(lab, "results", code=3)["stale"]
    (lab.path / "results/batch.jsonl").rename(lab.path / "told.txt")  # what it is its content tells
    shutil.rmtree(lab.path / "results")
    assert lab.run("audit", "told.txt", code=2)


def closure(*tasks):
    known = [
        a_task(
            lemma=lemma,
            trait=trait,
            assumes=tuple(assumes.split()),
            status=bt.Status.COMPLETED if verdict else bt.Status.TIMEOUT,
            result=bt.Result(bt.Status.COMPLETED, bt.Verdict(verdict)) if verdict else None,
        )
        for lemma, trait, verdict, assumes in tasks
    ]
    rests = bt.Closure(known)
    return {task.plan.lemma: [str(each) for each in rests.open_assumptions(task)] for task in known}


ALL, EXISTS, DIFF = "all-traces", "exists-trace", "diff"


def test_closure():
    assert closure(
        ("a", ALL, None, ""),
        ("b", ALL, "verified", "a"),
        ("c", ALL, "verified", "b"),
        ("d", ALL, "verified", "c gone a"),
        ("e", EXISTS, "verified", "a"),
        ("f", EXISTS, "falsified", "c"),
        ("g", ALL, "falsified", "a"),
        ("h", DIFF, "verified", "g"),
        ("i", ALL, "incomplete", "a"),
        ("j", ALL, "verified", "i h"),
    ) == {
        "a": [],
        "b": ["a (timeout)"],
        "c": ["a (timeout) via b"],
        "d": ["gone (not in the results)", "a (timeout)"],
        "e": [],
        "f": ["a (timeout) via c > b"],
        "g": [],
        "h": ["g (falsified)"],
        "i": [],
        "j": ["i (incomplete)", "g (falsified) via h"],
    }


@pytest.mark.parametrize("first", [0, 1, 2])
def test_closure_in_a_circle(first):
    circle = [
        ("a", ALL, "verified", "b"),
        ("b", ALL, "verified", "c a"),
        ("c", ALL, "verified", "a out"),
    ]
    found = closure(*circle[first:], *circle[:first], ("out", ALL, "falsified", ""))
    assert {
        name: [each.split(" via")[0] for each in rests] for name, rests in found.items() if rests
    } == {name: ["out (falsified)"] for name in "abc"}
    assert closure(*circle[:2], ("c", ALL, "verified", "a"))["a"] == []


def test_of_several_results_of_a_lemma_the_worst_counts():
    for verdicts in (
        ("verified", "falsified", None),
        ("falsified", None, "verified"),
        (None, "verified", "falsified"),
    ):
        assert closure(
            *(("a", ALL, verdict, "") for verdict in verdicts), ("b", ALL, "verified", "a")
        )["b"] == ["a (falsified)"]
    assert (
        closure(("a", ALL, None, ""), ("a", ALL, "verified", ""), ("b", ALL, "verified", "a"))["b"]
        == []
    )


@pytest.mark.parametrize(
    "assumes",
    [
        lambda number: f"l{number - 1}",
        lambda number: " ".join(f"l{place}" for place in range(number - 10, number)),
        lambda number: f"l{(number + 1) % 100_000}",
    ],
    ids=["chain", "ten", "circle"],
)
def test_closure_of_many_tasks(assumes):
    tasks = [
        (
            f"l{number}",
            ALL,
            "verified" if number else "falsified",
            assumes(number) if number else "",
        )
        for number in range(100_000)
    ]
    found = closure(*tasks)  # does not end if the time grows with the square of their number
    assert any(each.startswith("l0 (falsified)") for each in found["l99999"])


def told_of(task, *others):
    rows = bt.rows_of([task], bt.Closure([task, *others]))
    return next(rows).told


def test_the_nearest_assumptions_are_told_first():
    assert closure(
        ("far", ALL, None, ""),
        ("near", ALL, None, ""),
        ("x", ALL, "verified", "far"),
        ("y", ALL, "verified", "x near"),
        ("z", ALL, "verified", "y"),
    )["z"] == ["near (timeout) via y", "far (timeout) via y > x"]


def test_other_texts_provers_and_flags_prove_nothing():
    done = bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED)
    other = {"lemma": "a", "status": bt.Status.COMPLETED, "result": done}
    task = a_task(
        lemma="b", assumes=("a",), theory_digest="T", status=bt.Status.COMPLETED, result=done
    )
    for change in (
        {"theory_digest": "U"},
        {"theory_digest": "T", "prover": "q"},
        {"theory_digest": "T", "flags": ("X",)},
    ):
        assert (
            told_of(task, a_task(**other, **change)) == "verified, assuming a (not in the results)"
        )
    assert told_of(task, a_task(**other, theory_digest="T", options=("--bound=9",))) == "verified"
    not_needed = bt.Result(bt.Status.SUPERSEDED)
    assert (
        bt.Closure(
            [
                task,
                a_task(
                    lemma="a",
                    theory_digest="T",
                    optional=True,
                    status=bt.Status.SUPERSEDED,
                    result=not_needed,
                ),
            ]
        ).open_assumptions(task)
        == []
    )


def test_long_lists_are_cut():
    tasks = [
        a_task(
            lemma="x",
            assumes=tuple("abcdefgh"),
            status=bt.Status.COMPLETED,
            result=bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED),
        )
    ]
    assert told_of(*tasks).endswith("e (not in the results) and 3 more")


PROVEN = {
    "calm": "by contradiction",
    "quiet": "simplify\nby contradiction",
    "still": "by contradiction",
    "heard": "simplify\nSOLVED // found",
}

VERDICTS = (
    "calm (all-traces): verified (3 steps)",
    "quiet (all-traces): verified (3 steps)",
    "still (all-traces): verified (3 steps)",
    "heard (exists-trace): verified (2 steps)",
)


def test_an_analyzed_theory_with_its_summary(lab):
    whole = (
        analyzed(FALSE_REUSE, PROVEN)
        + "/* Output\n\n"
        + a_log(*VERDICTS, theory="models/bell.spthy", output="x.tmp")
        + "*/\n"
    )
    lab.write("out/a.spthy", whole)
    told = Audited(lab, "out", code=0)
    assert told.told["findings"] == [] and told.told["lemmas"][0]["prover"] == "Tamarin 1.11.0"
    assert told.lemmas["heard"] == {
        **told.lemmas["heard"],
        "theory": "models/bell.spthy",
        "verdict": "verified",
        "steps": 2,
        "time_s": 1.5,
    }
    lab.write(
        "out/a.spthy",
        whole.replace("calm (all-traces): verified", "calm (all-traces): falsified - found trace"),
    )
    told = Audited(lab, "out/a.spthy", code=1)
    assert told["invalid"] == [
        ("calm", "the prover's summary says falsified, the stored proof says verified", False)
    ]
    assert "resting on a falsified lemma: calm via quiet" in told.states["still"]


@pytest.mark.parametrize(
    "lemma,proof,why",
    [
        ("calm", "simplify\nby sorry", "says incomplete (it has `sorry` in it)"),
        ("calm", "by sorry", "is not there"),
        ("heard", "by contradiction", "says falsified"),
        ("calm", "simplify SOLVED", "says falsified"),
    ],
)
def test_proofs_that_say_otherwise(lab, lemma, proof, why):
    lab.write("a.spthy", analyzed(FALSE_REUSE, {**PROVEN, lemma: proof}) + a_log(*VERDICTS))
    assert Audited(lab, "a.spthy", code=1)["invalid"] == [
        (lemma, f"the prover's summary says verified, the stored proof {why}", False)
    ]


def test_claims_are_not_verdicts(lab):
    lab.write(
        "a.spthy",
        analyzed(FALSE_REUSE, {**PROVEN, "quiet": "simplify\nby sorry", "still": "by sorry"}),
    )
    told = Audited(lab, "a.spthy", code=3)
    assert all(entry["verdict"] is None for entry in told.lemmas.values())
    assert told["missing"] == [
        ("calm", "claimed verified by a stored proof, unchecked", True),
        ("still", "has no result", True),
        ("heard", "claimed verified by a stored proof, unchecked", True),
    ]
    assert told["sorry"] == [("quiet", "the stored proof is unfinished", True)]
    Audited(lab, "a.spthy", "--strict", code=1)


def test_a_trace_beside_open_cases_is_a_trace(lab):
    lab.write(
        "a.spthy",
        analyzed(
            FALSE_REUSE,
            {
                **PROVEN,
                "heard": "simplify\nsolve( A )\n  case one\n  SOLVED\nnext\n  case two\n  by sorry\nqed",
            },
        )
        + a_log(*VERDICTS),
    )
    assert not Audited(lab, "a.spthy", code=0)["sorry"]


def test_a_log_with_and_without_its_theory(lab):
    lines = (
        "calm (all-traces): analysis incomplete (1 steps)",
        "quiet (all-traces): verified (3 steps)",
        "heard (exists-trace): verified (2 steps)",
    )
    lab.write("logs/one.log", a_log(*lines))
    told = Audited(lab, "logs", code=3)
    assert told["assumption"] == [
        ("", "what the verdicts assume is unknown: the theory is not here, or can't be read", True)
    ]
    assert told.states["quiet"] == "verified" and told["missing"] == [
        ("calm", "nobody asked for a proof of it", True)
    ]
    lab.write("logs/bell.spthy", FALSE_REUSE)
    os.utime(lab.path / "logs/one.log")
    told = Audited(lab, "logs", code=3)
    assert (
        told.states["quiet"] == "verified, assuming calm (incomplete)"
        and len(told.told["lemmas"]) == 3
    )
    shutil.move(lab.path / "logs/bell.spthy", lab.path / "elsewhere.spthy")
    assert Audited(lab, "logs", code=3).states["quiet"] == "verified"
    lab.write("models/bell.spthy", FALSE_REUSE)
    os.utime(lab.path / "logs/one.log")  # however long all this took
    assert "assuming calm" in Audited(lab, "logs", "models", code=3).states["quiet"]
    os.utime(lab.path / "logs/one.log", (1, 1))
    assert [note for _, _, note in Audited(lab, "logs", "models", code=3)["stale"]] == [True], (
        "a date alone is a note"
    )
    lab.write("models/bell.spthy", FALSE_REUSE.replace("lemma quiet", "lemma hush"))
    assert (
        "quiet",
        "what the verdicts assume is unknown: not in the theory as it is here",
        True,
    ) in Audited(lab, "logs", "models", code=3)["assumption"]


def test_logs_of_one_folder_are_one_set_of_results(lab):
    lab.write("d/bell.spthy", FALSE_REUSE)
    not_asked = [
        line.replace(": verified (3", ": analysis incomplete (1").replace(
            ": verified (2", ": analysis incomplete (1"
        )
        for line in VERDICTS
    ]
    for number in range(4):
        lab.write(
            f"d/log{number}",
            a_log(
                *(
                    VERDICTS[place] if place == number else line
                    for place, line in enumerate(not_asked)
                )
            ),
        )
        lab.write(f"d/log{number}.err", "[Theory Bell] Theory loaded\n[Saturating Sources] Done\n")
    told = Audited(lab, "d", code=0)
    assert [entry["verdict"] for entry in told.told["lemmas"]] == ["verified"] * 4 and not told[
        "missing"
    ]
    lab.write("d/log9", a_log(*not_asked, ended=False))
    lab.write("d/late.err", "[Theory Bell] Theory loaded\n")
    told = Audited(lab, "d", code=1)
    assert [message for _, message, _ in told["missing"]] == [
        "no complete summary: the prover was ended, or still runs"
    ] * 2


def test_a_log_belongs_to_the_analyzed_theory_with_its_lemmas(lab):
    lab.write("run/log", a_log(*VERDICTS, output="/gone/elsewhere/out.spthy"))
    lab.write("run/out.spthy", analyzed(FALSE_REUSE, {**PROVEN, "quiet": "by sorry"}, "1.9.0"))
    told = Audited(lab, "run", code=1)
    assert [lemma for lemma, *_ in told["invalid"]] == ["quiet"] and told.lemmas["calm"][
        "prover"
    ] == "Tamarin 1.9.0"
    lab.write(
        "run/later", a_log(*VERDICTS, output="out.spthy")
    )  # one process wrote over the other's: which is not known
    assert not Audited(lab, "run", code=0)["invalid"]


def test_logs_belong_to_the_text_that_they_hold_or_list(lab):
    """The same name in two folders, and one theory with two sets of flags, are different texts."""
    traces = ("calm (all-traces): falsified - found trace (9 steps)", *VERDICTS[1:])
    lab.write("a/bell.spthy", FALSE_REUSE)
    lab.write("a/log", a_log(*VERDICTS))
    lab.write("b/bell.spthy", FALSE_REUSE.replace("Out(~b)", "Out(h(~b))"))
    lab.write("b/log", a_log(*traces))
    told = Audited(lab, "a", "b", code=1)
    assert not told["disagreement"] and told["assumption"][0][1].startswith(
        "verified, resting on a falsified lemma"
    )
    falsified = {**PROVEN, "calm": "simplify SOLVED"}
    lab.write("c/plain.log", analyzed(FALSE_REUSE, PROVEN) + a_log(*VERDICTS))
    lab.write(
        "c/flags.log",
        analyzed(FALSE_REUSE.replace("Out(~b)", "Out(h(~b))"), falsified) + a_log(*traces),
    )
    told = Audited(lab, "c", code=1)
    assert not told["disagreement"] and not told["invalid"] and len(told.told["lemmas"]) == 8
    assert sum("resting on a falsified" in entry["state"] for entry in told.told["lemmas"]) == 2
    lab.write("c/flags.log", analyzed(FALSE_REUSE, falsified) + a_log(*traces))
    assert [lemma for lemma, *_ in Audited(lab, "c", code=1)["disagreement"]] == ["calm"]


def test_a_text_matched_by_name_is_said(lab):
    lab.write("logs/log", a_log(*VERDICTS))
    lab.write("models/bell.spthy", FALSE_REUSE.replace("lemma heard", "lemma unheard"))
    os.utime(lab.path / "models/bell.spthy", (1, 1))
    told = Audited(lab, "logs", "models", code=0)
    assert any(
        message.startswith("text matched by name: the lemmas of models/bell.spthy are not those")
        for _, message, _ in told["assumption"]
    )
    lab.write("models/bell.spthy", FALSE_REUSE)
    os.utime(lab.path / "models/bell.spthy", (1, 1))
    assert not Audited(lab, "logs", "models", code=0)["assumption"]


def test_a_summary_in_a_comment_of_what_people_wrote_is_none(lab):
    lab.write("bell.spthy", FALSE_REUSE.replace("begin\n", f"begin\n/*{a_log(*VERDICTS)}*/\n"))
    told = Audited(lab, "bell.spthy", code=3)
    assert [message for _, message, _ in told["missing"]] == ["has no result"] * 4 and not any(
        entry["verdict"] for entry in told.told["lemmas"]
    )


def test_proofs_of_one_text_are_one_set_of_claims(lab):
    lab.write("bell.spthy", FALSE_REUSE)
    for name in PROVEN:
        lab.write(
            f"proofs/{name}.spthy",
            analyzed(FALSE_REUSE, {**dict.fromkeys(PROVEN, "by sorry"), name: PROVEN[name]}),
        )
    told = Audited(lab, "bell.spthy", "proofs", code=3)
    assert told["missing"] == [
        (name, "claimed verified by a stored proof, unchecked", True) for name in PROVEN
    ]
    assert {entry["theory"] for entry in told.told["lemmas"]} == {"bell.spthy"} and len(
        told.told["lemmas"]
    ) == 4


def test_several_theories_in_one_log(lab):
    first, second = (
        a_log("x (all-traces): verified (2 steps)", theory="a.spthy"),
        a_log("x (all-traces): falsified - found trace (2 steps)", theory="b.spthy"),
    )
    lab.write("log", first.rpartition(RULE)[0] + second.partition("summaries:\n")[2])
    assert [
        (entry["theory"], entry["verdict"]) for entry in Audited(lab, "log", code=0).told["lemmas"]
    ] == [("a.spthy", "verified"), ("b.spthy", "falsified")]


def test_vacuity_and_disagreement(lab):
    lab.write("new/log", a_log(*VERDICTS[:3]))
    told = Audited(lab, "new", code=0)
    assert len(told["vacuity"]) == 1 and told["vacuity"][0][2]
    Audited(lab, "new", "--strict", code=1)
    lab.write("old/log", a_log("calm (all-traces): falsified - found trace (9 steps)", VERDICTS[3]))
    told = Audited(lab, "old", "new", code=1)
    assert told["disagreement"] == [
        (
            "calm",
            "verified by unknown prover, falsified by unknown prover (in new and in old)",
            False,
        )
    ]
    lab.write(
        "old/log",
        a_log("calm (all-traces): falsified - found trace (9 steps)", theory="other.spthy"),
    )
    assert not Audited(lab, "old", "new", code=0)["disagreement"]


def test_a_diff_lemma_and_a_lemma_of_its_name_are_two_questions():
    batch = bt.Batch()
    for trait, verdict in (ALL, "verified"), (DIFF, "falsified"):
        task = a_task(id=trait, lemma="x", trait=trait)
        batch.apply(task.plan)
        batch.apply(bt.Finished(trait, "", 1, bt.Result(bt.Status.COMPLETED, bt.Verdict(verdict))))
    assert not [each for each in bt.audit({"here": batch}) if each.kind == "disagreement"]


def test_provers_that_disagree_in_one_batch(lab):
    lab.prover(VERIFY, "a")
    lab.prover(VERIFY.replace("verified", "falsified - found trace"), "b")
    lab.recipe(
        tamarin_versions=["a", "b"],
        lemmas=[{"name": "three"}, {"name": "one", "tamarin_versions": ["a"]}],
    )
    lab.run("run", "recipe.json", code=0)
    assert Audited(lab, "results", code=1)["disagreement"] == [
        ("three", "verified by a, falsified by b", False)
    ]


def test_warnings_are_notes(lab):
    report = "\n/*\nWARNING: the following wellformedness checks failed!\n\nUnbound variables\n=================\n\nDerivation Checks\n=================\n*/\nend\n"
    log = a_log(*VERDICTS).replace(
        "  calm",
        "  WARNING: 2 wellformedness check failed!\n           The analysis results might be wrong!\n  \n  calm",
    )
    lab.write("a.spthy", analyzed(FALSE_REUSE, PROVEN).replace("\nend\n", report) + log)
    told = Audited(lab, "a.spthy", code=0)
    assert {message for _, message, note in told["warning"] if note} == {
        "derivation checks timed out (raise --derivcheck-timeout)",
        "1 wellformedness check failed: Unbound variables",
    }
    lab.write(
        "b.log",
        "maude tool: 'maude'\n 'maude --version' returned unsupported version '3.2'\n"
        + a_log(*VERDICTS),
    )
    assert "Maude 3.2 is not supported by this prover" in lab.run("audit", "b.log", code=0).stdout


@pytest.mark.parametrize(
    "text,code,told",
    [
        ('{"calm": "verified", "h*": "verified"}', 0, []),
        ('{"bell": {"calm": "verified"}, "heard": "verified"}', 0, []),
        (
            '{"models/bell.spthy": {"*": "verified"}, "other.spthy": {"calm": "falsified"}}',
            1,
            [("missing", "calm")],
        ),
        (
            '{"*": "falsified", "calm": "verified", "quiet": "verified", "still": "verified"}',
            1,
            [("expectation", "heard")],
        ),
        (
            '{"calm": "incomplete", "gone": "verified"}',
            1,
            [("expectation", "calm"), ("missing", "gone")],
        ),
        (
            "theory,lemma,verdict\nbell.spthy,calm,falsified\n,heard,\n",
            1,
            [("expectation", "calm")],
        ),
        ("\ufefftheory,lemma,verdict\r\n,heard,verified\r\n", 0, []),
    ],
)
def test_expectations_of_a_file(lab, text, code, told):
    lab.write("log", a_log(*VERDICTS, theory="models/bell.spthy"))
    lab.write("expect", text)
    found = Audited(lab, "log", "--expect", "expect", code=code)
    assert [
        (each["kind"], each["lemma"]) for each in found.told["findings"] if not each["note"]
    ] == told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "{",
        "[1]",
        '{"a": "maybe"}',
        '{"a": ["verified"]}',
        '{"a": {"b": {}}}',
        "lemma;verdict\na;b\n",
        "theory,lemma,verdict\n",
        "theory,lemma,verdict\na,b,maybe\n",
        "\0",
        '{"a":' * 5000,
    ],
)
def test_bad_expectations_are_refused(lab, text):
    lab.write("log", a_log(*VERDICTS))
    lab.write("expect", text)
    assert "expect: " in lab.run("audit", "log", "--expect", "expect", code=2).stderr
    lab.run("audit", "log", "--expect", "missing", code=2)


def test_a_baseline_and_its_tolerance(lab):
    lab.write("old/log", a_log(*VERDICTS, theory="there/bell.spthy"))
    lab.write(
        "new/log",
        a_log(
            "calm (all-traces): falsified - found trace (3 steps)",
            "quiet (all-traces): analysis incomplete (8 steps)",
            "heard (exists-trace): verified (40 steps)",
            "fresh (all-traces): verified (2 steps)",
        ).replace("1.50s", "9s"),
    )
    found = Audited(lab, "new", "--against", "old", code=1)
    assert [(each["kind"], each["lemma"], each["note"]) for each in found.told["findings"]][:3] == [
        ("expectation", "calm", False),
        ("expectation", "quiet", False),
        ("missing", "still", False),
    ]  # the flip comes first
    assert found["expectation"][0][1] == "verified in the baseline, falsified now"
    assert ("fresh", "new: not in the baseline", True) in found["expectation"]
    found = Audited(lab, "new", "--against", "old", "--tolerance", "1.5", code=1)
    assert [message for lemma, message, _ in found["expectation"] if lemma == "heard"] == [
        "40 steps, 2 in the baseline: more than 1.5 times as many",
        "9 seconds, 1.5 in the baseline: more than 1.5 times as many",
    ]
    Audited(lab, "old", "--against", "old", "--tolerance", "1", code=0)
    lab.run("audit", "old", "--against", "nowhere", code=2)


def test_theories_of_one_name_in_two_folders_are_compared_apart(lab):
    def run(name, a, *b):
        logs = [
            a_log(f"calm (all-traces): {words} (3 steps)", theory=f"{folder}/bell.spthy")
            for folder, words in zip("ab", (a, *b))
        ]
        for number, log in enumerate(logs):
            lab.write(f"{name}/log{number}", log)

    run("old", "verified", "falsified - found trace")
    run("turned", "falsified - found trace", "falsified - found trace")
    run("less", "verified")
    assert [
        lemma
        for lemma, message, _ in Audited(lab, "turned", "--against", "old", code=1)["expectation"]
        if "falsified now" in message
    ] == ["calm"]
    assert ("calm", "falsified in the baseline, not in these results", False) in Audited(
        lab, "less", "--against", "old", code=1
    )["missing"]


def test_a_file_that_cannot_be_read_is_no_silence(lab):
    lab.write("dir/log", a_log(*VERDICTS))
    (lab.path / "dir/other.log").symlink_to("other.log")
    assert "passed over: dir/other.log: can't be read" in lab.run("audit", "dir", code=0).stderr


@pytest.mark.parametrize(
    "lost",
    [
        lambda header: header.update(provers={}),
        lambda header: header["provers"]["fake"].update(command=[]),
    ],
    ids=["prover", "command"],
)
def test_results_whose_prover_the_journal_lacks_are_shown(lab, lost):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    header, _, rest = (lab.path / "results/batch.jsonl").read_text().partition("\n")
    header = json.loads(header)
    lost(header)
    lab.write("results/batch.jsonl", json.dumps(header) + "\n" + rest)
    for command in (
        ("audit", "results"),
        ("report", "results", "--rebuild"),
        ("recheck", "results", "--prover", "fake"),
    ):
        done = lab.run(*command)
        assert (
            "how prover 'fake' was called is not said" in done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr
    assert "3 verified" in lab.run("audit", "results").stdout


def test_a_date_beyond_all_bounds_is_no_traceback(lab):
    lab.write(
        "out/execution_report.json",
        json.dumps(upstream_report()).replace(
            '"exec_start": "', '"exec_start": "0001-01-01T00:00:00+14:00", "x": "'
        ),
    )
    assert "Traceback" not in lab.run("audit", "out").stderr


def test_a_pinned_csv_is_an_expectation(lab):
    lab.write("log", a_log(*VERDICTS))
    lab.write("pinned.csv", lab.run("audit", "log", "--format", "csv", code=0).stdout)
    Audited(lab, "log", "--expect", "pinned.csv", code=0)
    lab.write(
        "log", a_log(*VERDICTS[:3], "heard (exists-trace): falsified - no trace found (2 steps)")
    )
    assert [
        lemma for lemma, *_ in Audited(lab, "log", "--expect", "pinned.csv", code=1)["expectation"]
    ] == ["heard"]


HOSTILE_EVIDENCE = {
    "nothing": b"",
    "binary": bytes(range(256)) * 999,
    "nul": b"theory T begin\0end",
    "latin": "theory T begin // \xe9\nend".encode("latin-1"),
    "open": b'theory T begin\nlemma a: "T"\n',
    "deep": b"theory T begin\n" + b"/*" * 99_999,
    "blank": b"//" + b"\n" * 99_999,
    "twice": b'theory T begin\nlemma a: "T"\nlemma a: "T"\nend\n',
    "cut": a_log(*VERDICTS, ended=False).encode(),
    "odd": a_log(
        "calm (all-traces): maybe (3 steps)",
        "\x1b[31mred (all-traces): verified (1 steps)",
        theory="\x1b]0;x\x07../../etc/passwd",
    ).encode(),
    "huge": a_log(
        "calm (all-traces): verified (" + "9" * 5000 + " steps)", theory="a" * 99_999
    ).encode(),
    "no names": b"=\nsummary of summaries:\n\nanalyzed: \n\n=====\n",
    "journal": b'{"event": "batch"}\n{"event": 1}\n',
    "json": b'{"event"' * 9999,
}


@pytest.mark.parametrize("name", HOSTILE_EVIDENCE)
def test_damaged_and_hostile_files(lab, name):
    lab.write("dir/good.log", a_log(*VERDICTS))
    (lab.path / "dir/bad").write_bytes(HOSTILE_EVIDENCE[name])
    for form in ("table", "json", "csv", "md", "junit"):
        done = lab.run("audit", "dir", "-d", "--format", form)
        assert (
            done.returncode in (0, 1, 3)
            and "heard" in done.stdout
            and "\x1b" not in done.stdout
            and "\x07" not in done.stdout
        )
        if form == "junit":
            ElementTree.fromstring(done.stdout)
    alone = lab.run("audit", "dir/bad")
    assert alone.returncode in (
        (2,)
        if name in ("nothing", "binary", "blank", "journal", "json")
        else (0,)
        if name == "huge"
        else (1, 3)
    )


def test_folders_with_loops_pipes_and_nothing(lab):
    lab.write("dir/sub/log", a_log(*VERDICTS))
    (lab.path / "dir/sub/up").symlink_to(lab.path / "dir")
    (lab.path / "dir/again").symlink_to("sub/log")
    os.mkfifo(lab.path / "dir/pipe")
    (lab.path / "dir/gone").symlink_to("nowhere")
    assert len(Audited(lab, "dir", "dir/sub", "dir/again", code=0).told["lemmas"]) == 4
    lab.write("empty/notes.txt", "nothing of a prover")
    for path in "empty", "empty/notes.txt", "dir/pipe", "dir/gone", "nowhere", "a\0b":
        with_nul = "\0" in path
        assert with_nul or "error: " in lab.run("audit", path, code=2).stderr
    lab.write("results/batch.jsonl", "no journal\n")
    assert lab.run("audit", "results", code=2)


def test_a_broken_results_directory_does_not_hide_the_rest(lab):
    lab.write("all/a/execution_report.json", "[1]")
    lab.write("all/a/log", a_log(*VERDICTS))
    done = lab.run("audit", "all", code=0)
    assert "not what batch-tamarin 1.2 writes" in done.stderr and "4 results" in done.stdout


def test_an_unfinished_batch_is_audited(lab):
    interrupted_batch(lab)
    (lab.path / "same").symlink_to("results")
    assert lab.run("audit", "same", "results", "results", code=3).stdout.count("t.spthy  ") == 1
    assert json.loads(lab.run("audit", "results", "--format", "json", code=3).stdout)["ok"] is False


def test_the_table_for_people(lab):
    lab.write(
        "log",
        a_log(*VERDICTS[:3]).replace(
            "calm (all-traces): verified", "calm (all-traces): falsified - found trace"
        ),
    )
    lab.write("bell.spthy", FALSE_REUSE)
    os.utime(lab.path / "bell.spthy", (1, 1))
    told = lab.run("audit", ".", code=1).stdout
    assert (
        told.index("Findings")
        < told.index("bell.spthy: quiet")
        < told.index("assumption: prove what is assumed")
        < told.index("Notes")
        < told.index("Theories")
        and "heard" not in told
    )
    assert told == lab.run("audit", ".", code=1).stdout
    assert "still" in lab.run("audit", ".", "-d", code=1).stdout.partition("Lemmas")[2]


@needs_transcripts
@pytest.mark.parametrize(
    "name", sorted(path.name for path in TRANSCRIPTS.glob("*")) if TRANSCRIPTS.is_dir() else []
)
def test_real_runs_are_audited(lab, name):
    done = lab.run("audit", str(TRANSCRIPTS / name), "--format", "json")
    summary = "summary of summaries:" in (TRANSCRIPTS / name / "stdout").read_text(encoding="utf-8")
    if not summary:
        assert done.returncode in (1, 2)
        return
    told = json.loads(done.stdout)
    wrong = {(each["kind"], each["lemma"]) for each in told["findings"] if not each["note"]}
    assert wrong == (
        {("assumption", "key_secret"), ("assumption", "executable")}
        if name == "false-reuse-all"
        else set()
    )
    assert done.returncode == (
        1
        if wrong
        else 0
        if all(entry["verdict"] in ("verified", "falsified") for entry in told["lemmas"])
        else 3
    )
    notes = {each["kind"] for each in told["findings"]}
    assert ("sorry" in notes) == (name in ("bound-incomplete", "check-broken-proof"))
    assert ("missing" in notes) == any(
        entry["steps"] in (1, 2) and entry["verdict"] == "incomplete" for entry in told["lemmas"]
    )
    if name == "false-reuse-one":
        assert "assuming nothing_leaks (incomplete)" in done.stdout
    if name in ("all-lemmas", "all-lemmas-rs", "diff-two-sides", "auto-sources", "defines"):
        assert told["ok"] and not told["findings"]


def test_an_audit_takes_logs_in_any_order(lab):
    for name, word in (
        ("d/a", "falsified - found trace"),
        ("e/b", "verified"),
        ("d/c", "verified"),
    ):
        lab.write(
            f"{name}.log",
            summary_of(f"  {name[-1]} (all-traces): {word} (2 steps)").replace(
                "x.spthy", f"{name[-1]}.spthy"
            ),
        )
    said = lab.run("audit", "d/a.log", "e/b.log", "d/c.log", "--format", "json").stdout
    assert {row["lemma"]: row["verdict"] for row in json.loads(said)["lemmas"]} == {
        "a": "falsified",
        "b": "verified",
        "c": "verified",
    }


# === Reports ======================================================================================


def test_a_derived_file_whose_making_fails_leaves_the_old_one(tmp_path):
    def pieces():
        yield "new"
        raise KeyError("lost")

    path = tmp_path / "report"
    path.write_text("old")
    with pytest.raises(KeyError):
        bt.write_file(str(path), pieces())
    assert os.listdir(tmp_path) == ["report"] and path.read_text() == "old"


def test_pages_tell_in_their_results_what_a_verdict_rests_on(lab):
    lab.write(
        "t.spthy", THEORY.replace("lemma three", 'lemma four [hide_lemma=one]: "T"\nlemma three')
    )
    lab.prover(
        'case $LEMMA in one) WORD="falsified - found trace";; *) WORD=verified;; esac; echo "theory proof" > "$OUT"; '
        'echo "  $LEMMA (all-traces): $WORD (7 steps)" | summary\n'
    )
    lab.recipe()
    lab.run("run", "recipe.json", code=1)
    page = lab.run("report", "results", "-f", "md", code=0).stdout
    rows = [
        line.split(" | ")
        for line in page.partition("## Results")[2].partition("## ")[0].splitlines()
        if "three" in line or "four" in line
    ]
    assert [row[0].lstrip("| ").replace("\\", "") for row in rows] == [
        "verified",
        "verified, resting on a falsified lemma: one",
    ]
    html = (lab.path / "results" / "summary.html").read_text()
    assert (
        html.count("verified, resting on a falsified lemma: one") >= 2
        and "<td>verified, resting" in html
    ), "not shown as good"


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://127.0.0.1:8009/x onerror=alert(1)>",
    "a & b \"double\" 'single'",
    "$\\input{/etc/passwd}$ \\end{document} 100% #1 ^~",
    '#[typst] #panic() "; #eval("1")',
    "a|b|c",
    "`code` ``` _em_ *strong* [l](u)",
    "=cmd()",
    "+1",
    "-2",
    "@SUM(A1)",
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "bad \udcff byte",
    "]]> --> %s {0} {{x}} \\",
    "\u2028\x00\x85",
    "x" * 300,
]


def hostile_batch(text):
    """A batch in which every text that comes from outside is this one; ids are what they are in our own batches, safe."""
    provers = {
        alias: bt.Prover(alias, ("prover", text), (text,), version="1.11.0")
        for alias in (text, "other")
    }
    batch = bt.Batch(
        bt.Header(
            at="2026-01-02T03:04:05.000000Z",
            id="b",
            version="0.1.0",
            recipe_file=f"/r/{text}.json",
            host=text,
            platform="linux",
            cwd=f"/{text}",
            limits=bt.Limits(2, 2048, 60),
            provers=provers,
        )
    )
    ends = [
        bt.Result(bt.Status.COMPLETED, bt.Verdict.VERIFIED, 7, "all-traces"),
        bt.Result(bt.Status.COMPLETED, bt.Verdict.FALSIFIED, 3),
        bt.Result(bt.Status.TIMEOUT),
        bt.Result(bt.Status.FAILED, exit=bt.ExitStatus(1)),
        None,
    ]
    for number, result in enumerate(ends):
        task = a_task(
            id=f"i{number}",
            entry=text,
            theory=text,
            lemma=text,
            prover=(text, "other")[number % 2],
            options=(text,),
            flags=(text,),
            cwd="/" + text,
            assumes=(text,),
            expect=(None, "verified")[number % 2],
        )
        if result:
            task.status, task.result = (
                result.status,
                bt.replace(
                    result,
                    at="2026-01-02T03:04:06.000000Z",
                    usage=bt.Usage(1.0),
                    reason=text,
                    warnings=(text,),
                    stderr_tail=f"{text}\n{text}",
                ),
            )
        batch.tasks[task.id] = task
    return batch


def report_of(batch, form, directory="/nowhere"):
    return "".join(bt.REPORTS[form](batch, str(directory), str(directory)))


def html_parts(page):
    """Tags with their attributes, and the text outside of style and script."""
    tags, texts = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append((tag, dict(attributes)))

        def handle_data(self, data):
            if tags and tags[-1][0] not in ("style", "script"):
                texts.append(data)

    Reader().feed(page)
    return tags, "\0".join(texts)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_as_text_in_every_format(text, tmp_path):
    batch, shown = hostile_batch(text), bt.printable(text)
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces/i1.dot").write_text(
        f'digraph "{text}" {{}}', encoding="utf-8", errors="surrogateescape"
    )
    pages = {form: report_of(batch, form, tmp_path) for form in bt.REPORTS}
    for form, page in pages.items():
        page.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", page), form
    tags, told = html_parts(pages["html"])
    assert {name for name, _ in tags} <= set(
        [
            "html",
            "meta",
            "title",
            "style",
            "main",
            "h1",
            "h2",
            "h3",
            "p",
            "a",
            "div",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "svg",
            "g",
            "rect",
            "text",
            "details",
            "summary",
            "pre",
            "script",
        ]
    ), tags
    assert [name for name, _ in tags].count("script") == 1
    assert not [
        found
        for found in tags
        for key in found[1]
        if key.startswith("on") or (key in ("href", "src") and found[1][key][0] != "#")
    ]
    assert told.count(shown) > 20
    prose = "\n".join(
        line
        for number, part in enumerate(re.split(r"(?m)^(`{3,})text\n(?:.*\n)*?\1$", pages["md"]))
        if number % 2 == 0
        for line in part.splitlines()
    )
    plain = re.sub(
        r"\\[!-/:-@\[-`{-~]", "", prose
    )  # what is left of Markdown's own signs once escaped ones are gone
    assert not re.search(r"[`*_<\[$]", plain) and all(
        line.count("|") == line.count(" | ") + 2 for line in plain.splitlines() if "|" in line
    )
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", prose).count(shown) > 20
    commands = set(re.findall(r"\\([a-zA-Z]+)", pages["tex"].partition("\\begin{document}")[2]))
    assert commands <= set(
        [
            "section",
            "subsection",
            "subsubsection",
            "footnotesize",
            "begin",
            "end",
            "toprule",
            "midrule",
            "endhead",
            "bottomrule",
            "ttfamily",
            "scriptsize",
            "raggedright",
            "arraybackslash",
            "linewidth",
            "par",
            "allowbreak",
            "textbackslash",
            "textasciicircum",
            "textasciitilde",
            "textless",
            "textgreater",
            "textbar",
            "textquotedbl",
            "textquotesingle",
            "textasciigrave",
        ]
    ), commands
    body = re.sub(r"\\[{}$&#%_ \\]|@\{\}", "", pages["tex"])
    assert body.count("{") == body.count("}") and not re.search(
        r"[$#%^~]", body.partition("\\begin{document}")[2]
    )
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', pages["typ"])
    assert sum(shown in re.sub(r"\\(.)", r"\1", string) for string in strings) > 20
    assert re.fullmatch(r"[\w\s#():,.]*", re.sub(r'"(?:[^"\\]|\\.)*"', "", pages["typ"]))
    rows = list(csv.DictReader(pages["csv"].splitlines()))
    assert len(rows) == 5 and all(row["lemma"].lstrip("'") == shown.lstrip("'") for row in rows)
    assert not [
        cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))
    ]
    cases = list(ElementTree.fromstring(pages["junit"]).iter("testcase"))
    assert [case[0].tag for case in cases] == ["system-out", "failure", "error", "error", "skipped"]
    assert cases[2][0].attrib == {"type": "timeout", "message": f"timeout; {shown}; {shown}"}
    assert [task["lemma"] for task in json.loads(pages["json"])["tasks"]] == [text] * 5


def test_report_command(lab):
    lab.prover("case $LEMMA in three) exit 3;; esac; " + VERIFY)
    lab.recipe(expect={"two": "falsified"})
    lab.run("run", "recipe.json", code=1)
    assert lab.run("report", "results", code=0).stdout.startswith("# Tamarin batch recipe.json\n")
    lab.run("report", "results", "-o", "r.html", code=0)
    lab.run("report", "results", "-f", "md", "-f", "junit", "-f", "csv", "-o", "all.md", code=0)
    assert (lab.path / "all.xml").is_file() and (lab.path / "all.csv").read_text().count("\n") == 4
    assert (lab.path / "r.html").read_text().replace("\n", "") == (
        lab.path / "results/summary.html"
    ).read_text().replace("\n", "")
    suite = ElementTree.parse(lab.path / "all.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert (
        "several formats need -o"
        in lab.run("report", "results", "-f", "md", "-f", "csv", code=2).stderr
    )
    assert (
        "can't be written"
        in lab.run("report", "results", "-o", "recipe.json/dir.md", code=2).stderr
    )
    assert (
        "nowhere: there is no such results directory" in lab.run("report", "nowhere", code=2).stderr
    )


def test_derived_files_can_be_made_again(lab):
    lab.prover("case $LEMMA in three) echo oops >&2; exit 3;; esac; " + VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=3)
    files = {
        path: path.read_bytes() for path in (lab.path / "results").rglob("*") if path.is_file()
    }
    derived = [
        path
        for path in files
        if path.parent.name in ("success", "failed")
        or path.parent.name == "results"
        and path.suffix != ".jsonl"
    ]
    assert len(derived) == 6
    for path in derived:
        path.unlink()
    lab.run("report", "results", "--rebuild", code=0)
    assert {
        path: path.read_bytes() for path in (lab.path / "results").rglob("*") if path.is_file()
    } == files


def test_a_batch_that_died_has_its_reports(lab):
    interrupted_batch(lab)
    lines = (lab.path / "results/batch.jsonl").read_bytes().splitlines(keepends=True)
    (lab.path / "results/batch.jsonl").write_bytes(b"".join(lines[:-3]))
    lab.run("report", "results", "--rebuild", code=0)
    assert "not yet: " in (lab.path / "results/summary.html").read_text()
    assert json.loads((lab.path / "results/execution_report.json").read_text())["tasks"]


def test_the_rerun_recipe_has_what_is_left_and_runs(lab):
    lab.prover("case $LEMMA in three) exit 3;; esac; " + VERIFY)
    lab.recipe(tamarin_options=["--heuristic=S"], preprocess_flags=["A"])
    lab.run("run", "recipe.json", code=3)
    recipe = json.loads((lab.path / "results/recipe-rerun.json").read_text())
    assert recipe["tasks"] == {
        "task": {
            "theory_file": "t.spthy",
            "tamarin_versions": ["fake"],
            "output_file_prefix": "t",
            "lemmas": [
                {
                    "name": "three",
                    "tamarin_versions": ["fake"],
                    "tamarin_options": ["--heuristic=S"],
                    "preprocess_flags": ["A"],
                    "resources": {"max_cores": 1, "max_memory": 1, "timeout": 300},
                }
            ],
        }
    }
    assert set(recipe["config"]) == {
        "global_max_cores",
        "global_max_memory",
        "default_timeout",
        "output_directory",
    }
    assert recipe["tamarin_versions"] == {
        "fake": {"path": str(lab.path / "fake.sh"), "version": "v1.11.0"}
    }
    lab.prover(VERIFY)
    lab.run("run", "results/recipe-rerun.json", code=0)
    assert list(lab.finishes("results/rerun")) == ["t--three--fake"]
    lab.run("run", "recipe.json", "--fresh", code=0)
    (fresh,) = lab.path.glob("results_*")
    assert not list(fresh.glob("*-rerun.json"))


TWO_GRAPHS = """printf 'digraph "x" { a -> b }\\ndigraph "x" { c }\\n' | sed "s/x/N0_SL0-AS0-CL0-A0-C0-NF_$LEMMA/" > "$DOT"; """

DOT = """#!/bin/sh
echo "$$" >> dots; case "$*" in *three*) exit 1;; esac
for file in "$@"; do :; done
echo "<svg xmlns='http://www.w3.org/2000/svg'><script>one</script></svg>" > $file.svg; echo "<svg>two</svg>" > $file.2.svg
"""


def test_traces_are_drawn_and_shown(lab):
    lab.prover(TWO_GRAPHS + VERIFY)
    lab.recipe()
    lab.write("bin/dot", DOT, 0o755)
    done = lab.run_script(
        "run",
        "recipe.json",
        code=0,
        env={**os.environ, "PATH": f"{lab.path}/bin:{os.environ['PATH']}"},
    )
    assert sorted(path.name for path in (lab.path / "results/traces").glob("t--t*")) == [
        "t--three--fake.dot",
        "t--two--fake.dot",
        "t--two--fake.svg",
        "t--two--fake~graph2.svg",
    ]
    assert "dot could not draw 1 trace" in done.stderr
    page = (lab.path / "results/summary.html").read_text()
    tags, told = html_parts(page)
    images = [found["src"] for name, found in tags if name == "img"]
    assert len(images) == 4 and all(
        image.startswith("data:image/svg+xml;base64,") for image in images
    )
    assert "<svg>two</svg>" not in page and "digraph" in told  # what could not be drawn
    assert lab.run("report", "results", "-f", "typ").stdout.count('#image(bytes("<svg') == 4
    assert (
        "![Attack trace of t--two--fake](results/traces/t--two--fake%7Egraph2.svg)".replace(
            "%7E", "~"
        )
        in lab.run("report", "results").stdout
    )


def test_without_dot_it_is_said_once(lab):
    lab.prover(TWO_GRAPHS + VERIFY)
    lab.recipe()
    for name in ("sh", "sed", "cat", "echo"):
        (lab.path / "bin").mkdir(exist_ok=True)
        (lab.path / "bin" / name).symlink_to(shutil.which(name))
    done = lab.run_script(
        "run", "recipe.json", code=0, env={**os.environ, "PATH": f"{lab.path}/bin"}
    )
    assert done.stderr.count("no 'dot'") == 1 and "3 traces" in done.stderr


def test_a_large_batch_is_cut_for_people_only(monkeypatch):
    monkeypatch.setattr(bt, "SHOWN_TASKS", 3)
    batch = hostile_batch("x")
    assert "3 of 5 tasks, problems first" in report_of(batch, "md") and "### i0" not in report_of(
        batch, "md"
    )
    assert report_of(batch, "csv").count("\n") == 6


def test_time_and_memory_have_bars_in_their_cells():
    batch = hostile_batch("x")
    for task, seconds, peak_mb in zip(batch.tasks.values(), (8, 2, 1e-9, 0), (0, 50, 200, 1)):
        task.result = bt.replace(task.result, usage=bt.Usage(seconds, peak_mb=peak_mb))
    page = report_of(batch, "html")
    results = page.partition("<table id=results>")[2].partition("</table>")[0].splitlines()[1:-1]
    assert [re.findall(r'style="--share:([^"]*)">([^<]*)', row) for row in results] == [
        [("100.0%", "8.00"), ("0.0%", "0")],
        [("25.0%", "2.00"), ("25.0%", "50")],
        [("0.0%", "0.00"), ("100.0%", "200")],
        [("0.0%", "0.00"), ("0.5%", "1")],
        [],
    ]
    nothing = report_of(
        bt.Batch(tasks={"i": a_task(id="i", prover="other")}, header=batch.header), "html"
    )
    assert (
        "--share:" not in nothing.partition("<main>")[2]
        and page.count("<svg") == 1
        and "<svg" not in nothing
    )


# What Chromium asks of Google by itself, whatever the page.
CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--proxy-bypass-list=<-loopback>",
    "--dump-dom",
]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium (.ci/run installs it)")
def test_the_page_in_a_browser(lab):
    """Filter and sort by the address, as the DOM shows them; and every request, local ones too, would come to our proxy."""
    batch = hostile_batch(HOSTILE[1])
    for number, task in enumerate(batch.tasks.values()):
        task.plan = bt.replace(
            task.plan, lemma=f"{'even' if number % 2 == 0 else 'odd'}{number} {task.plan.lemma}"
        )
        if task.result:
            task.result = bt.replace(task.result, usage=bt.Usage((3, 1, 20, 4)[number]))
    (lab.path / "traces").mkdir()
    evil = "<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1:8009/svg'/><script>fetch('http://127.0.0.1:8009/script')</script></svg>"
    lab.write("traces/i2.dot", "digraph {}")
    lab.write("traces/i2.svg", evil)
    lab.write("page.html", report_of(batch, "html", lab.path))
    lab.write("control.html", "<img src='http://127.0.0.1:8009/control'>")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        asked = []
        threading.Thread(target=take_requests, args=(proxy, asked), daemon=True).start()
        profile = [
            f"--user-data-dir={lab.path}/profile",
            f"--proxy-server=http://127.0.0.1:{proxy.getsockname()[1]}",
        ]
        shown = [
            subprocess.run(
                ["chromium", *CHROMIUM, *profile, f"file://{lab.path}/{page}"],
                capture_output=True,
                text=True,
                timeout=RUN_S,
            ).stdout
            for page in ("page.html#filter=EVEN&sort=-time (s)", "control.html")
        ]
        proxy.shutdown(socket.SHUT_RDWR)
    assert [url for url in asked if "google" not in url] == ["http://127.0.0.1:8009/control"]
    tags, told = html_parts(shown[0])
    table = re.search(r"<table id=\"results\">.*?</table>", shown[0], re.DOTALL).group()
    rows = re.findall(
        r"<tr( hidden=\"\")?>.*?<a href=\"#(t\d)\">", table.partition("<tbody>")[2], re.DOTALL
    )
    assert [name for hidden, name in rows if not hidden] == ["t2", "t0", "t4"] and len(rows) == 5
    assert "3 of 5" in told and [
        found for name, found in tags if name == "th" and found.get("aria-sort") == "descending"
    ]


def take_requests(proxy, asked):
    while True:
        try:
            connection = proxy.accept()[0]
        except OSError:
            return
        threading.Thread(target=take_request, args=(connection, asked), daemon=True).start()


def take_request(connection, asked):
    """One that asks for nothing is closed by who opened it."""
    with connection:
        connection.settimeout(RUN_S)
        try:
            asked.append(connection.recv(4096).split()[1].decode())
        except (OSError, IndexError):
            pass


# === Terminal =====================================================================================


class Terminal:
    """A program on a pseudo-terminal, and what a person sees there: enough of a terminal for what the program writes."""

    def __init__(self, lab, *args, columns=80, rows=24, **env):
        self.raw = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(lab.path)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            clean = {
                name: value
                for name, value in os.environ.items()
                if name not in ("NO_COLOR", "LC_ALL", "LANG", "LC_CTYPE")
            }
            os.execve(
                sys.executable,
                lab.command(*args),
                {**clean, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env},
            )

    def read(self, seconds=0.05):
        """Take what the program has written; False when it is gone."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                return False
            self.raw += data
        return True

    def until(self, text, times=1):
        """Wait until this stands on the terminal so often."""
        wait_for(
            lambda: (self.read(), self.text().count(text) >= times)[1],
            f"{text!r} on the terminal, {times} times",
        )

    def stop_output(self):
        """Ctrl-S, and what is written until it takes effect (the terminal tells in a byte before what it lets us read)."""
        fcntl.ioctl(self.master, termios.TIOCPKT, struct.pack("i", 1))
        self.type("\x13")
        told = 0
        while not told & termios.TIOCPKT_STOP:
            told, *data = os.read(self.master, 65536)
            self.raw += bytes(data)
        fcntl.ioctl(self.master, termios.TIOCPKT, struct.pack("i", 0))

    def end(self):
        """Wait for the program; its exit code."""
        end = time.monotonic() + RUN_S
        while self.read():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.master)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)

    def type(self, text):
        os.write(self.master, text.encode())

    def text(self):
        """What stands on the terminal, all that scrolled away included."""
        lines, row, column = [""], 0, 0
        for part in re.findall(
            r"\x1b\[\d*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.raw.decode("utf-8", "replace")
        ):
            if part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part == "\r":
                column = 0
            elif part[0] != "\x1b":
                lines[row] = (
                    lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                )
                column += len(part)
            elif part[-1] == "A":
                row -= int(part[2:-1])
            elif part[-1] == "K":
                lines[row] = lines[row][:column]
            elif part[-1] == "J":
                lines[row:] = [lines[row][:column]]
        return "\n".join(lines)


SLOW = (
    'echo "[Theory T] Theory loaded" >&2; echo "[Saturating Sources] Step 3 (Max 5)" >&2\n'
    "until [ -e go ]; do sleep 0.05; done\n" + VERIFY
)


def slow_batch(lab, **task):
    lab.prover(SLOW)
    lab.recipe(config={"global_max_cores": 2}, **task)


def test_the_live_block_comes_and_goes(lab):
    slow_batch(lab)
    terminal = Terminal(lab, "run", "recipe.json")
    terminal.until("saturating sources 3/5", times=2)
    seen = terminal.text()
    assert "0/3  0 %" in seen and "░░░░" in seen and "2/2 cores" in seen and "at most" in seen
    assert re.search(r"t--one--fake +saturating sources 3/5 +\d:\d\d/5:00 +\d+M/1G", seen), seen
    (lab.path / "go").touch()
    assert terminal.end() == 0
    seen = terminal.text()
    assert "░" not in seen and "saturating" not in seen, "nothing of the block is left:\n" + seen
    assert [line[:14].strip() for line in seen.splitlines() if line.startswith("[")] == [
        "[1/3] verified",
        "[2/3] verified",
        "[3/3] verified",
    ]
    assert b"\x1b[32mverified" in terminal.raw and "3 tasks: 3 verified" in seen
    assert b"\x1b[?" not in terminal.raw and b"\x1b[2J" not in terminal.raw, (
        "no mode is changed, the screen never cleared"
    )


def test_ctrl_c_and_ctrl_z_leave_the_terminal_sane(lab):
    slow_batch(lab)
    terminal = Terminal(lab, "run", "recipe.json")
    terminal.until("saturating sources 3/5", times=2)
    before = termios.tcgetattr(terminal.master)
    terminal.type("\x1a")
    wait_for(lambda: os.waitpid(terminal.pid, os.WUNTRACED | os.WNOHANG)[0])
    terminal.read()
    terminal.raw += b"\r\n$ fg\r\n"  # what a shell writes meanwhile must stay
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until("0/3  0 %", times=2)
    terminal.until("saturating sources 3/5", times=4)
    seen = terminal.text()
    assert (
        seen.count("0/3  0 %") == 2
        and "$ fg" in seen
        and termios.tcgetattr(terminal.master) == before
    ), seen
    terminal.type("\x03")
    assert terminal.end() == 130
    seen = terminal.text()
    assert "stopping: 2 jobs" in seen and "2 interrupted" in seen and "resume results" in seen, seen
    assert seen.count("0/3  0 %") == 1, "only the block from before Ctrl-Z is left"


def test_a_stuck_terminal_does_not_hold_up_the_batch(lab):
    slow_batch(lab)
    terminal = Terminal(lab, "run", "recipe.json")
    terminal.until("saturating sources 3/5")
    terminal.stop_output()
    (lab.path / "go").touch()
    wait_for(lambda: len(lab.finishes()) == 3)
    terminal.read()
    assert "verified" not in terminal.text()
    terminal.type("\x11")
    assert terminal.end() == 0 and "3 tasks: 3 verified" in terminal.text()


@pytest.mark.parametrize(
    "env, args, bar, colour",
    [
        ({}, (), True, True),
        ({"NO_COLOR": "1"}, (), True, False),
        ({"TERM": "dumb"}, (), False, False),
        ({}, ("-q",), False, True),
        ({}, ("--progress", "plain"), False, True),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, (), True, True),
    ],
)
def test_terminals_of_all_kinds(lab, env, args, bar, colour):
    lab.prover(("until [ -e go ]; do sleep 0.05; done; " if bar else "sleep 0.4; ") + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}], expect="verified")
    terminal = Terminal(lab, "run", "recipe.json", *args, **env)
    if bar:
        terminal.until("0/1  0 %")
        lab.write("go", "")
    assert terminal.end() == 0
    assert (b"0/1  0 %" in terminal.raw) is bar and (b"\x1b[32m" in terminal.raw) is colour, (
        terminal.raw
    )
    if env.get("LC_ALL") == "C":
        assert terminal.raw.isascii() and b"-----" in terminal.raw
    assert ("[1/1]" in terminal.text()) is ("-q" not in args)


@pytest.mark.parametrize(
    "args, lines",
    [((), 4), (("-q",), 2), (("--progress", "none"), 1), (("-d",), 10), (("--progress", "bar"), 4)],
)
def test_progress_in_a_pipe(lab, args, lines):
    lab.prover('[ "$LEMMA" = two ] && exit 1; ' + VERIFY)
    lab.recipe()
    done = lab.run("run", "recipe.json", *args, code=3)
    assert len(done.stderr.splitlines()) == lines and "\x1b" not in done.stdout + done.stderr, (
        done.stderr
    )
    assert ("--prove=one" in done.stderr) is ("-d" in args)


def view_of(tasks, running=0):
    """A Progress over made-up tasks, some of which run."""
    header = bt.Header(at=bt.timestamp(), id="b", limits=bt.Limits(64, 65536, 60))
    batch = bt.Batch(header, {task.id: task for task in tasks})
    args = bt.argparse.Namespace(quiet=False, debug=False, progress="none")
    progress = bt.Progress(batch, batch.tasks.values(), "nowhere", {}, args)
    for number, task in enumerate(tasks[:running]):
        start = bt.Started(
            (task.id,), task.id, 1, number, 1, "elsewhere", "", ("p",), bt.timestamp()
        )
        batch.apply(start)
        progress(start)
    return progress


@pytest.mark.parametrize(
    "columns, rows", [(80, 24), (120, 40), (40, 15), (20, 5), (10, 2), (300, 50)]
)
@pytest.mark.parametrize(
    "name",
    [
        "handshake--agreement_{}--tamarin",
        "\N{CJK UNIFIED IDEOGRAPH-8B49}" * 40 + "{}",
        "e\N{COMBINING ACUTE ACCENT}{}",
    ],
)
def test_the_block_fits_every_size(columns, rows, name):
    progress = view_of(
        [a_task(id=name.format(number), lemma=name.format(number)) for number in range(90)],
        running=64,
    )
    lines = progress.block(columns, rows)
    assert 1 <= len(lines) <= max(1, rows - 1) and (rows < 15 or len(lines) <= rows * 2 // 3)
    cut = [bt.fit(line, columns - 1).rstrip() for line in lines]
    assert max(map(bt.display_width, cut)) <= columns - 1
    if columns >= 40:
        assert cut == [line.rstrip() for line in lines], "nothing had to be cut from outside"
        assert (
            "0/90" in lines[0]
            and any("64/64" in line for line in lines)
            and any("more" in line for line in lines)
        )


def test_wide_characters_are_measured():
    assert (
        bt.display_width("a\N{CJK UNIFIED IDEOGRAPH-8B49}") == 3
        and bt.display_width("e\N{COMBINING ACUTE ACCENT}") == 1
    )
    assert (
        bt.fit("abcdefgh", 5, "~", 2) == "ab~gh"
        and bt.fit("ab", 4) == "ab  "
        and bt.fit("abc", 0) == ""
    )
    assert (
        bt.fit("\N{CJK UNIFIED IDEOGRAPH-8B49}" * 6, 5, "~", 3)
        == "\N{CJK UNIFIED IDEOGRAPH-8B49}" * 2 + " "
    )
    rows = [
        line.index("x") + line.count("\N{CJK UNIFIED IDEOGRAPH-8B49}")
        for line in bt.text_table(
            [("ab", "x"), ("\N{CJK UNIFIED IDEOGRAPH-8B49}", "x")]
        ).splitlines()
    ]
    assert len(set(rows)) == 1


def finished(task, seconds, status="completed"):
    task.status = bt.Status(status)
    task.result = bt.Result(task.status, bt.Verdict.VERIFIED, usage=bt.Usage(seconds))
    return task


@pytest.mark.parametrize(
    "tasks, running, slots, wanted",
    [
        ([], {}, 0, (0, True)),
        ([("a", None)] * 4, {}, 2, (60 * 4 / 2 + 60, True)),
        ([("a", 10), ("a", 20), ("a", None), ("a", None)], {}, 1, (30, False)),
        ([("a", 10), ("b", None), ("b", None)], {}, 2, (10, False)),
        ([("a", 10), ("b", 40), ("b", None)], {}, 1, (40, False)),
        ([("a", 10), ("a", None)], {"2": 4}, 1, (6, False)),
        (
            [("a", 10), ("a", None)],
            {"2": 25},
            1,
            (25, False),
        ),  # longer than the others: as long again
        ([("a", 10), ("a", None)], {"2": 58}, 1, (2, False)),  # but not beyond its limit
    ],
)
def test_forecast(tasks, running, slots, wanted):
    made = [a_task(id=str(number), entry=name) for number, (name, _) in enumerate(tasks, 1)]
    for task, (_, seconds) in zip(made, tasks):
        if seconds:
            finished(task, seconds)
    tally = bt.Tally(bt.Batch(bt.Header(), {task.id: task for task in made}), made)
    assert tally.forecast(running, slots) == pytest.approx(wanted)


def test_a_log_is_named_as_a_shell_takes_it():
    tasks = [a_task(bt.Status.FAILED, bt.Result(bt.Status.FAILED), id="a\x1b[31m$(x) b")]
    assert (
        bt.final_table(bt.Batch(), "results", tasks).splitlines()[-1]
        == "why:   less 'results/logs/a\N{REPLACEMENT CHARACTER}[31m$(x) b.err'"
    )


def test_the_final_table_is_short_for_many_tasks():
    tasks = [
        finished(a_task(id=f"t{number}", expect="falsified" if number == 4999 else None), 1)
        for number in range(5000)
    ]
    for task in tasks[:100]:
        task.status, task.result = (
            bt.Status.FAILED,
            bt.Result(bt.Status.FAILED, reason="exit code 1"),
        )
    text = bt.final_table(bt.Batch(), "results", tasks)
    assert len(text.splitlines()) < 50 and "61 tasks more" in text
    assert (
        text.splitlines()[1].startswith("verified  t4999")
        and "expected falsified!" in text.splitlines()[1]
    ), "what is unexpected comes first"
    assert (
        "5,000 tasks: 4,900 verified, 100 failed; 1 not as expected" in text
        and "less results/logs/t0.err" in text
    )
    assert len(bt.final_table(bt.Batch(), "results", tasks[200:205]).splitlines()) == 9


# === Commands =====================================================================================


def test_run_end_to_end(lab):
    lab.prover(
        'case $LEMMA in one) W=verified;; two) W="falsified - no trace found";; *) W="analysis incomplete";; esac\n'
        'echo proof > "$OUT"; echo "  $LEMMA (all-traces): $W (3 steps)" | summary'
    )
    lab.recipe()
    done = lab.run("run", "recipe.json", code=3)
    finishes = lab.finishes()
    assert {name: event["verdict"] for name, event in finishes.items()} == {
        "t--one--fake": "verified",
        "t--two--fake": "falsified",
        "t--three--fake": "incomplete",
    }
    first = finishes["t--one--fake"]
    assert (
        first["status"] == "completed"
        and first["steps"] == 3
        and first["trait"] == "all-traces"
        and first["prover_s"] == 0.12
    )
    assert first["lemmas"] == [
        {"name": "one", "side": "", "trait": "all-traces", "verdict": "verified", "steps": 3}
    ]
    assert first["exit"] == {"code": 0} and first["cached"] is False and first["wall_s"] > 0
    results = lab.path / "results"
    assert (results / "proofs" / "t--one--fake.spthy").read_text() == "proof\n"
    assert json.loads((results / "success" / "t--one--fake.json").read_text())[
        "verified_lemma"
    ] == {"one": {"steps": 3, "analysis_type": "all-traces"}}
    assert "verified" in done.stdout and "t--three--fake" in done.stdout


def test_expectations_decide_the_exit_code(lab):
    lab.prover(VERIFY)
    lab.recipe(expect={"one": "verified", "t*": "verified"})
    lab.run("run", "recipe.json", code=0)
    lab.recipe(expect={"one": "falsified"})
    done = lab.run("run", "recipe.json", "--fresh", code=1)
    assert "expected falsified" in done.stdout


def test_the_demo_recipe(tmp_path):
    done = Lab(tmp_path).run("run", str(HERE / "recipes" / "demo.json"), code=3)
    verdicts = re.findall(
        r"^(verified|falsified|incomplete|timeout|failed) ", done.stdout, re.MULTILINE
    )
    assert {word: verdicts.count(word) for word in verdicts} == {
        "verified": 7,
        "falsified": 3,
        "incomplete": 1,
        "timeout": 1,
        "failed": 1,
    }
    assert (tmp_path / "results-demo" / "traces" / "counter--bounded--demo.dot").is_file()
    assert (
        "proves nothing"
        in (tmp_path / "results-demo" / "logs" / "counter--bounded--demo.err").read_text()
    )


# One that finds a proof and stores it in a theory that it changed; one that checks what is stored and never proves.
FINDER = """F="lemma $LEMMA: $TRAIT \\"x\\" simplify by solve( A( ~k ) @ #i ) $PROOF"
printf 'theory T begin\\nrestriction evil: "F"\\nrule Evil: [] --> []\\n%s\\nend\\n' "$F" > "$OUT"
echo "  $LEMMA ($TRAIT): $VERDICT (7 steps)" | summary
"""

CHECKER = r"""for word in "$@"; do case "$word" in --prove*) echo "$word" >> proved;; -*) ;; *.spthy) cat "$word" >> checked;; esac; done
echo "  one (all-traces): verified (9 steps)\n  three (all-traces): verified (9 steps)" | summary
"""


def rechecked(lab, proof=""):
    lab.prover(f"TRAIT=all-traces VERDICT=verified PROOF='{proof}'; " + FINDER)
    lab.prover(CHECKER, alias="trusted")
    lab.recipe(tamarin_versions=["fake"], lemmas=[{"name": "one"}, {"name": "three"}])


def test_recheck_puts_the_stored_proof_into_the_original_text(lab):
    rechecked(lab)
    lab.run("run", "recipe.json", code=0)
    before = (lab.path / "results" / "batch.jsonl").read_bytes()
    done = lab.run("recheck", "results", "--prover", "trusted", code=0)
    assert not (lab.path / "proved").exists(), "checked, not proven"
    text = (lab.path / "checked").read_text()
    assert text.count("rule A:") == 2 and text.count('lemma three: "All k #i.') == 2, text
    assert "evil" not in text and "Evil" not in text, "of the stored file the proof alone counts"
    assert (
        text.count("simplify by solve(") == 2
        and text.count("lemma two") == 2
        and done.stdout.count("t--") == 2
    )
    assert (lab.path / "results" / "batch.jsonl").read_bytes() == before
    assert {event["expect"] for event in lab.events("task", "results/recheck-trusted")} == {
        "verified"
    }


def test_recheck_takes_nothing_but_a_proof_from_the_stored_file(lab):
    rechecked(lab, proof='by contradictionrestriction r: \\"F\\"')
    lab.run("run", "recipe.json", code=0)
    done = lab.run("recheck", "results", "--prover", "trusted", code=2)
    assert (
        done.stderr.count("its stored proof holds what is no proof") == 2
        and not (lab.path / "checked").exists()
    )


def test_recheck_tells_what_is_not_confirmed(lab):
    lab.prover("TRAIT=all-traces VERDICT=verified PROOF=; " + FINDER)
    confirm = 'echo "  one (all-traces): verified (9 steps)\n  three (all-traces): WORD (1 steps)" | summary\n'
    lab.prover(confirm.replace("WORD", "analysis incomplete"), alias="trusted")
    lab.prover(confirm.replace("WORD", "verified"), alias="other")
    lab.recipe(tamarin_versions=["fake"], lemmas=[{"name": "one"}, {"name": "three"}])
    lab.run("run", "recipe.json", code=0)
    assert (
        "1 task:" in lab.run("recheck", "results", "--prover", "other", "-t", "*--one--fake").stdout
    )
    assert "Give --prover" in lab.run("recheck", "results", code=2).stderr
    done = lab.run("recheck", "results", "--prover", "trusted", code=1)
    assert "expected verified!" in done.stdout and "1 not as expected" in done.stdout
    found = json.loads(lab.run("audit", "results", "--format", "json", code=1).stdout)["findings"]
    assert [(each["kind"], each["lemma"]) for each in found if not each["note"]] == [
        ("invalid", "three")
    ]
    lab.run("recheck", "results", "--prover", "./other.sh", code=0)
    assert sorted(path.name for path in (lab.path / "results").glob("recheck-*")) == [
        "recheck-other",
        "recheck-other.sh",
        "recheck-trusted",
    ]
    assert (
        "its own" not in done.stderr
        and "goes on with it" in lab.run("resume", "results/recheck-trusted", code=2).stderr
    )


def test_recheck_with_checks_all_proofs_when_the_batch_has_ended(lab):
    lab.prover("TRAIT=all-traces VERDICT=verified PROOF=; [ ! -e checked ] || exit 1; " + FINDER)
    lab.prover(
        'echo x >> checked; echo "  one (all-traces): verified (9 steps)\n  three (all-traces): verified (1 steps)" | summary\n',
        alias="trusted",
    )
    lab.recipe(
        config={"recheck_with": "trusted", "global_max_cores": 2},
        tamarin_versions=["fake"],
        lemmas=[{"name": "one"}, {"name": "three"}],
    )
    done = lab.run("run", "recipe.json", code=0)
    assert done.stdout.count("2 tasks: 2 verified") == 2
    assert (
        len(lab.events("start", "results/recheck-trusted")) == 2
        and (lab.path / "checked").read_text() == "x\nx\n"
    )
    assert [len(lab.events("end", place)) for place in ("results", "results/recheck-trusted")] == [
        1,
        1,
    ], "a batch of its own"
    done = lab.run("run", "recipe.json", code=0)
    assert (lab.path / "checked").read_text() == "x\nx\nx\nx\n", (
        "proofs from the cache are checked as well"
    )
    lab.prover('echo "  one (all-traces): verified (9 steps)" | summary\n', alias="trusted")
    assert (
        "the prover's summary has no line for lemma 'three'"
        in lab.run("run", "recipe.json", code=1).stdout
    )


def test_a_batch_that_was_stopped_is_not_rechecked(lab):
    """What stops the batch leaves the checks for later; what stops the checks is told by the exit code."""
    lab.prover(
        "TRAIT=all-traces VERDICT=verified PROOF=; [ -e go ] || [ $LEMMA = one ] || { kill -TERM $PPID; sleep 600; }; "
        + FINDER
    )
    lab.prover("[ -e checkable ] || { kill -TERM $PPID; sleep 600; }; " + CHECKER, alias="trusted")
    lab.recipe(
        config={"recheck_with": "trusted", "global_max_cores": 1},
        tamarin_versions=["fake"],
        lemmas=[{"name": "one"}, {"name": "three"}],
    )
    lab.run("run", "recipe.json", code=143)
    assert not (lab.path / "results" / "recheck-trusted").exists()
    (lab.path / "go").touch()
    lab.run("run", "recipe.json", code=143)
    assert {event["verdict"] for event in lab.events("finish")} == {None, "verified"}
    assert [event["signal"] for event in lab.events("end", "results/recheck-trusted")] == [15]
    (lab.path / "checkable").touch()
    lab.run("recheck", "results", code=0)
    assert {event["verdict"] for event in lab.events("finish", "results/recheck-trusted")} == {
        None,
        "verified",
    }


def test_what_cannot_be_rechecked_is_said(lab):
    rechecked(lab)
    lab.run("run", "recipe.json", code=0)
    (lab.path / "results" / "proofs" / "t--one--fake.spthy").write_text("theory T begin\nend\n")
    (lab.path / "results" / "proofs" / "t--three--fake.spthy").unlink()
    done = lab.run("recheck", "results", "--prover", "trusted")
    assert (
        done.stderr.count("can't be checked: ") == 2
        and "error: results: no proof of these results" in done.stderr
        and done.returncode == 2
    )
    lab.write("t.spthy", THEORY.replace("A(~k)", "B(~k)"))
    assert (
        lab.run("recheck", "results", "--prover", "trusted").stderr.count(
            "the theory has changed since it was proven"
        )
        == 2
    )
    for arguments in ([], ["--prover", "nosuch"], ["--prover", "trusted"]):
        assert "error: " in lab.run("recheck", "results", *arguments, code=2).stderr
    lab.recipe(config={"recheck_with": "nosuch"})
    assert "config.recheck_with: no prover 'nosuch'" in lab.run("run", "recipe.json", code=2).stderr


def test_closed_streams(lab):
    lab.prover(VERIFY)
    lab.recipe()
    command = " ".join([*lab.command("run", "recipe.json"), "<&- >&- 2>&-"])
    assert (
        subprocess.run(["sh", "-c", command], cwd=lab.path, timeout=RUN_S, check=False).returncode
        == 0
    )
    assert len(lab.finishes()) == 3


@pytest.mark.parametrize(
    "command",
    [
        ["report", "results/nowhere"],
        ["status", "nowhere"],
        ["resume", "nowhere"],
        ["resume", "recipe.json"],
    ],
)
def test_a_mistyped_results_directory(lab, command):
    journal_of(lab)
    told = lab.run(*command, code=2).stderr
    assert "there is no such results directory" in told or "is a file" in told, told


def test_version_and_help(lab):
    assert lab.run("--version", code=0).stdout == f"batch_tamarin.py {bt.__version__}\n"
    text = lab.run("--help", code=0).stdout
    assert "examples:" in text and "exit codes" in text
    assert lab.run(code=2).stderr and lab.run("run", code=2).stderr


def test_contents_and_banners_agree():
    source = SCRIPT.read_text(encoding="utf-8")
    listed = re.findall(
        r"^    ([A-Z].*)$",
        bt.__doc__.partition("Contents")[2].partition("\nWords:")[0],
        re.MULTILINE,
    )
    banners = re.findall(r"^# === (.*) =+$", source, re.MULTILINE)
    assert [title.partition(" (")[0] for title in banners] == listed


@pytest.mark.parametrize(
    "args, hint",
    [
        (["rnu"], "did you mean 'run'"),
        (["run", "r.json", "--sheduler", "fifo"], "'--sheduler' (did you mean '--scheduler'?)"),
        (["run", "r.json", "-s", "fif"], "did you mean 'fifo'"),
        (["status", "r", "--jsno=1"], "did you mean '--json'"),
    ],
)
def test_mistyped_words_get_a_suggestion(capsys, args, hint):
    with pytest.raises(SystemExit, match="2"):
        bt.main(args)
    told = capsys.readouterr().err
    assert hint in told and len(told.splitlines()) == 2, told


@pytest.mark.parametrize("command", ["run", "resume", "check", "init", "status", "lemmas"])
def test_every_command_has_help_with_examples(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        bt.main([command, "--help"])
    assert f"examples:\n  batch_tamarin.py {command} " in capsys.readouterr().out


CHECKED = r"""
case "$1" in test) echo "All tests successful. The prover should work as intended."; exit 0;; esac
echo "$@" >> calls
case "$*" in *--prove*) exit 9;; *--broken*) printf '"t.spthy" (line 3, column 7):\nunexpected "x"\n' >&2; exit 1;; esac
printf '/*\nWARNING: the following wellformedness checks failed!\n\nUnbound variables\n=================\n\n  rule A has x\n*/\n' > "$OUT"
printf '  WARNING: 1 wellformedness check failed!\n  one (all-traces): analysis incomplete (1 steps)' | summary
"""


def test_check_loads_each_variation_once_with_its_own_options(lab):
    lab.prover(CHECKED)
    lab.recipe(
        lemmas=[
            {"name": "*"},
            {"name": "two", "tamarin_options": ["--bound=7"], "preprocess_flags": ["X"]},
        ]
    )
    before = sorted(lab.path.iterdir())
    done = lab.run("check", "recipe.json", "-d", code=0)
    calls = (lab.path / "calls").read_text().splitlines()
    assert (
        len(calls) == 2
        and not any("--prove" in call for call in calls)
        and sum("--bound=7 -D=X" in call for call in calls) == 1
    )
    assert (
        "self-test passed" in done.stdout
        and done.stdout.count("1 wellformedness check failed: Unbound variables") == 2
    )
    assert (
        "t--one--fake: 1 core, 1 GB, 300 s" in done.stdout
        and "--prove=two --bound=7 -D=X" in done.stdout
    )
    assert "it can run" in done.stderr and sorted(lab.path.iterdir()) == sorted(
        [*before, lab.path / "calls"]
    ), "nothing is written"


def test_check_reports_what_cannot_run(lab):
    lab.prover(
        CHECKED.replace(
            "All tests successful. The prover should work as intended.",
            "WARNING: Some tests failed.",
        )
    )
    lab.recipe(tamarin_options=["--broken"])
    done = lab.run("check", "recipe.json", "--report", code=2)
    assert (
        'error: it does not load: exit code 1: t.spthy:3:7: unexpected "x"' in done.stdout
        and "self-test failed" in done.stdout
    )
    assert 'unexpected "x"' in (lab.path / bt.CHECK_REPORT / "t--one--fake.txt").read_text()
    lab.recipe()
    lab.run("check", "recipe.json", "--report", code=0)
    assert "rule A has x" in (lab.path / bt.CHECK_REPORT / "t--one--fake.txt").read_text()


def test_check_keeps_the_limits(lab):
    lab.prover(CHECKED + "sleep 600")
    lab.recipe(resources={"max_cores": 1, "max_memory": 1, "timeout": 0.3})
    assert "ran into its time limit of 0.3 s" in lab.run("check", "recipe.json", code=2).stdout


@pytest.mark.parametrize(
    "text, mode, problem",
    [
        ("#!/bin/sh\n", 0o755, ""),
        ("#!/usr/bin/env -S sh -e\n", 0o755, ""),
        ("#!/bin/sh\n", 0o644, "not executable"),
        (None, 0, "does not exist"),
        ("#!/usr/bin/nosuch -x\n", 0o755, "needs the interpreter '/usr/bin/nosuch'"),
        ("#!/usr/bin/env nosuch\n", 0o755, "needs the interpreter 'nosuch'"),
        ("#!/bin/sh\r\n", 0o755, "needs the interpreter '/bin/sh\\r'"),
    ],
)
def test_oracles_are_tested(tmp_path, text, mode, problem):
    path = tmp_path / "oracle"
    if text is not None:
        path.write_bytes(text.encode())
        path.chmod(mode)
    found = bt.oracle_problem(str(path))
    assert problem in found and bool(problem) == bool(found)


def test_an_oracle_that_cannot_be_read(tmp_path, monkeypatch):
    def closed(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = tmp_path / "oracle"
    path.touch(0o711)
    monkeypatch.setattr("builtins.open", closed)
    assert bt.oracle_problem(str(path)) == "can't be read: Permission denied"


def test_check_tests_the_oracles_that_would_be_called(lab):
    lab.prover(CHECKED)
    lab.recipe(tamarin_options=["--heuristic=o", "--oraclename=ask.py"])
    assert (
        f"error: oracle {lab.path}/ask.py does not exist"
        in lab.run("check", "recipe.json", code=2).stdout
    )
    lab.write("ask.py", "#!/bin/sh\n", 0o755)
    lab.run("check", "recipe.json", code=0)


def test_init_makes_a_recipe_that_passes_check(lab):
    lab.prover(CHECKED)
    lab.write(
        "sub/u.spthy",
        THEORY.replace('"All k #i. A(k) @ i ==> F"', '"diff(1,2)"').replace(
            "A(~k) ]-> [ Out(~k) ]", "A(~k) ]-> [ Out(diff(~k, ~k)) ]"
        ),
    )
    done = lab.run(
        "init",
        "t.spthy",
        "sub/u.spthy",
        "--yes",
        "--prover",
        "./fake.sh",
        "-o",
        "sub/r.json",
        "--cores",
        "1",
        "--memory",
        "50%",
        "--timeout",
        "77",
        "--lemma",
        "one",
        "--lemma",
        "t*",
        "--results",
        "out",
        code=0,
    )
    data = json.loads((lab.path / "sub" / "r.json").read_text())
    assert data == json.loads(done.stdout) and data["config"] == {
        "global_max_cores": 1,
        "global_max_memory": "50%",
        "default_timeout": 77,
        "output_directory": "out",
    }
    assert [task.get("tamarin_options") for task in data["tasks"].values()] == [
        None,
        ["--diff"],
    ] and "note: sub/u.spthy uses diff" in done.stderr
    assert (
        data["tasks"]["t"]["lemmas"] == [{"name": "one"}, {"name": "t*"}]
        and data["tasks"]["t"]["theory_file"] == "../t.spthy"
    )
    lab.run("check", "sub/r.json", code=0)


def test_init_never_asks_a_pipe_and_never_overwrites(lab):
    lab.prover(VERIFY)
    assert "add --yes" in lab.run_script("init", "t.spthy", code=2, stdin=subprocess.DEVNULL).stderr
    lab.write("recipe.json", "mine")
    assert "--force" in lab.run("init", "t.spthy", "--yes", "--prover", "./fake.sh", code=2).stderr
    assert (lab.path / "recipe.json").read_text() == "mine"
    assert (
        "no lemma of t.spthy matches 'on'"
        in lab.run(
            "init", "t.spthy", "--yes", "--force", "--prover", "./fake.sh", "--lemma", "on", code=2
        ).stderr
    )
    lab.run("init", "t.spthy", "--yes", "--force", "--prover", "./fake.sh", code=0)
    assert json.loads((lab.path / "recipe.json").read_text())["tasks"]["t"]["tamarin_versions"] == [
        "fake.sh"
    ]


def test_init_asks_on_a_terminal(lab):
    lab.prover(VERIFY)
    terminal = Terminal(lab, "init", "t.spthy", PATH="/usr/bin:/bin")
    for question, answer in [
        ("provers (commands or files)", "./nosuch"),
        ("no executable program './nosuch'", "./fake.sh"),
        ("cores for all", "many"),
        ("'many' is neither", ""),
        ("GB for all jobs", "1.5"),
        ("seconds for one lemma", ""),
        ("lemmas of t.spthy: one, two, three", "thre"),
        ("did you mean 'three'", "t* !two"),
        ("directory for the results", "out"),
        ("write this to recipe.json?", "y"),
    ]:
        terminal.until(question)
        terminal.type(answer + "\n")
    assert terminal.end() == 0
    seen = terminal.text()
    assert seen.index('"tamarin_versions"') < seen.index("write this"), (
        "the recipe is shown before it is written"
    )
    data = json.loads((lab.path / "recipe.json").read_text())
    assert data["config"]["global_max_memory"] == 1.5 and data["tasks"]["t"]["lemmas"] == [
        {"name": "t*"},
        {"name": "!two"},
    ]


def test_status_of_a_running_a_dead_and_a_finished_batch(lab):
    slow_batch(lab)
    assert (
        "results: there is no such results directory" in lab.run("status", "results", code=2).stderr
    )
    process = lab.start("run", "recipe.json")
    wait_for(lambda: len(lab.events("start")) == 2)
    wait_for(
        lambda: all(
            "Step 3" in (lab.path / "results" / "logs" / f"t--{name}--fake.err").read_text()
            for name in ("one", "two")
        )
    )
    told = json.loads(lab.run("status", "results", "--json", code=0).stdout)
    assert (
        told["state"] == "running"
        and told["counts"] == {"pending": 1, "running": 2}
        and told["tasks"] == 3
        and told["eta_is_a_bound"] is True
    )
    assert (
        told["running"][0]["phase"] == "saturating sources 3/5"
        and told["running"][0]["limits"]["timeout_s"] == 300
    )
    assert sys.platform != "linux" or 0 < told["running"][0]["memory_mb"] < 100
    seen = lab.run("status", "results", code=0).stdout
    assert (
        f"running (process {process.pid})" in seen
        and "t--two--fake" in seen
        and "2/2 cores" in seen
    )
    process.kill()
    end_of(process)
    seen = lab.run("status", "results", code=0).stdout
    assert (
        f"died: its process {process.pid} is gone" in seen
        and "batch_tamarin.py resume results" in seen
    )
    (lab.path / "go").touch()
    wait_for(
        lambda: lock_is_free(lab.path / "results" / "batch.jsonl")
    )  # the watchdog keeps it until the provers are gone
    lab.run("resume", "results", code=0)
    seen = lab.run("status", "results", code=0).stdout
    assert "finished" in seen and "3 tasks: 3 verified" in seen


@pytest.mark.parametrize("on_terminal", [False, True])
def test_status_follows_until_the_end(lab, on_terminal):
    slow_batch(lab)
    process = lab.start("run", "recipe.json")
    wait_for(lambda: len(lab.events("start")) == 2)
    if on_terminal:
        terminal = Terminal(lab, "status", "results", "--follow")
        terminal.until("saturating sources 3/5")
    else:
        follower = lab.start("status", "results", "--follow")
        assert follower.stderr.readline() == f"running (process {process.pid}), 0 of 3 tasks done\n"
    (lab.path / "go").touch()
    end_of(process)
    if on_terminal:
        assert terminal.end() == 0
        seen = terminal.text()
        assert "saturating" not in seen and "░" not in seen
    else:
        seen = "".join(reversed(end_of(follower)))
        assert follower.returncode == 0
    assert (
        seen.index("[1/3] verified")
        < seen.index("[3/3] verified")
        < seen.index("3 tasks: 3 verified")
    ), seen


def test_status_of_many_tasks(lab):
    header = bt.Header(
        at=bt.timestamp(),
        id="b",
        recipe_file="r.json",
        pid=1,
        host="elsewhere",
        limits=bt.Limits(2, 1024, 60),
        provers={"p": bt.Prover("p", ("p",))},
    )
    plans = [a_plan(id=f"t{number}", entry=f"n{number % 9}") for number in range(10_000)]
    result = bt.Result(
        bt.Status.COMPLETED, bt.Verdict.VERIFIED, 7, usage=bt.Usage(1), at=bt.timestamp()
    )
    events = [header, *plans, *(bt.Finished(plan.id, plan.id, 1, result) for plan in plans[:4_000])]
    (lab.path / "results").mkdir()
    (lab.path / "results" / "batch.jsonl").write_bytes(b"".join(map(bt.json_line, events)))
    told = json.loads(lab.run("status", "results", "--json", code=0).stdout)
    assert told["state"] == "unknown" and told["done"] == 4_000


def test_a_batch_that_goes_on_counts_on(lab, monkeypatch, capfd):
    """Two that end at once after a batch went on: both are counted, each once."""
    lab.write("t.spthy", many_lemmas(8))
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_cores": 4, "global_max_memory": 4})
    four = [
        argument
        for lemma in json.loads(lab.run("lemmas", "t.spthy", "--json").stdout)["lemmas"][:4]
        for argument in ("-t", f"t--{lemma['name']}--")
    ]
    lab.run("run", "recipe.json", *four, code=0)
    monkeypatch.setattr(bt, "FLUSH_S", 1.0)  # all four end before anyone is told
    monkeypatch.chdir(lab.path)
    assert bt.main(["run", "recipe.json", "--no-cache", "--cores", "4", "--memory", "4"]) == 0
    assert re.findall(r"^\[(\d)/8\]", capfd.readouterr().err, re.MULTILINE) == ["5", "6", "7", "8"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(lab, number):
    """`nohup` ignores SIGHUP, a script's `&` SIGINT: the batch goes on."""
    lab.prover("until [ -e go ]; do sleep 0.05; done; " + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    process = lab.start(
        "run", "recipe.json", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN)
    )
    wait_for(lambda: (lab.path / "results" / "batch.jsonl").exists() and lab.events("start"), 180)
    process.send_signal(number)
    lab.write("go", "")
    process.communicate(timeout=180)
    assert process.returncode == 0 and lab.only_finish()["verdict"] == "verified"


def test_init_writes_the_theory_that_it_has_shown(lab):
    lab.prover(VERIFY)
    lab.write("work/a.spthy", THEORY.replace("one", "mine"))
    lab.write("a.spthy", THEORY.replace("one", "others"))
    (lab.path / "work" / "sub").mkdir()
    command = lab.command(
        "init", "a.spthy", "-o", "sub/r.json", "--yes", "--prover", "../fake.sh", "--cores", "1"
    )
    subprocess.run(command, cwd=lab.path / "work", check=True, timeout=300)
    for place, recipe in ((lab.path / "work", "sub/r.json"), (lab.path / "work" / "sub", "r.json")):
        done = subprocess.run(
            lab.command("run", recipe), cwd=place, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 and "mine" in done.stdout and "others" not in done.stdout, done


# === Soak =========================================================================================

TORTURE_ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "2"))


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_torture(lab, number):
    """Stopped at random moments, gone on with: every task has one final result, none that was finished runs again, no prover is left.

    A moment is a number of new lines in the journal and a little more; now and then it comes before the program does anything."""
    lab.write("t.spthy", many_lemmas(12))
    lab.prover('echo "$LEMMA" >> runs; sleep 0.0$((${#LEMMA} * 3)); ' + VERIFY)
    lab.recipe(config={"global_max_cores": 4})
    journal = lab.path / "results" / "batch.jsonl"
    for _ in range(TORTURE_ROUNDS):
        shutil.rmtree(lab.path / "results", ignore_errors=True)
        finished, lives = [], 0
        while len(finished) < 12:
            lives += 1
            assert lives <= 100, (
                f"it does not get on: {len(finished)} of 12 tasks finished in 100 runs"
            )
            wanted = steps_of(lab) + random.randint(0, 10)
            process = lab.start("run", "recipe.json", "-q")
            wait_for(
                lambda: process.poll() is not None or steps_of(lab) >= wanted,
                "a run that does anything",
            )
            time.sleep(random.uniform(0, 0.1))
            process.send_signal(number)
            _, told = end_of(process)
            # A signal may also come before the program has begun to handle it; then Python itself ends.
            assert process.returncode in (0, 128 + number, -number) or told.endswith(
                "KeyboardInterrupt\n"
            ), told
            before, finished = finished, final_results(journal)
            assert len(finished) == len(set(finished)), "a finished task ran again"
            assert set(before) <= set(finished), "a result was lost"
            wait_for(lambda: lock_is_free(journal), "the watchdog's end")
        assert bt.load_batch(str(journal), pytest.fail)[0].count(bt.Status.COMPLETED) == 12
        wait_for(lambda: not living_provers(lab.path))


def steps_of(lab):
    """How often a job started or finished."""
    return len(lab.events("start")) + len(lab.events("finish"))


def final_results(journal):
    """The ids of all `finish` events but those of interrupted attempts."""
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    events = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [
        event["id"]
        for event in events
        if event["event"] == "finish" and event["status"] != "interrupted"
    ]


def living_provers(path):
    """Processes whose command line names a file below `path`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and str(path).encode() in (entry / "cmdline").read_bytes()
                and b"fake.sh" in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


# === Benchmark ====================================================================================


def measured(command, folder):
    """(seconds, CPU seconds, peak MB of the largest process) of a command and its children."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def benchmark(folder, tasks=200, rounds=5):
    """A prover that answers at once, two slots; the peers run the same commands. Medians of some rounds, in turn."""
    lab = Lab(folder)
    lab.write("t.spthy", many_lemmas(tasks))
    lab.prover(
        'printf "%s\\nsummary of summaries:\\n\\n  $LEMMA (all-traces): verified (1 steps)\\n\\n%s\\n" $RULE $RULE'
    )
    lab.recipe(config={"global_max_cores": 2, "global_max_memory": 2, "default_timeout": 60})
    command = f"seq 0 {tasks - 1} | xargs -P2 -I@ ./fake.sh +RTS -N1 -RTS t.spthy --prove=l@ --output=x > /dev/null"
    contest = {
        "xargs -P2": ["sh", "-c", command],
        "batch_tamarin.py": [
            sys.executable,
            str(SCRIPT),
            "run",
            "recipe.json",
            "-q",
            "-o",
            "results@",
        ],
        "batch_tamarin.py --version": [sys.executable, str(SCRIPT), "--version"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    peer = shutil.which("batch-tamarin")
    if peer:
        contest["batch-tamarin (peer)"] = [peer, "run", "recipe.json"]
    figures = {name: [] for name in contest}
    for number in range(rounds):
        for name, words in contest.items():
            if name == "batch-tamarin (peer)":
                shutil.rmtree(lab.path / "results", ignore_errors=True)
            figures[name].append(
                measured(
                    [word.replace("results@", f"results-{number}") for word in words], lab.path
                )
            )
    print(
        f"{tasks} tasks, instant prover, 2 slots, Python {sys.version.split()[0]}, median of {rounds}"
    )
    for name, rows in figures.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*rows))
        print(f"{name:28} {wall:7.3f} s   CPU {cpu:6.3f} s   largest process {peak:6.1f} MB")


if __name__ == "__main__" and sys.argv[1:] == ["bench"]:
    with tempfile.TemporaryDirectory() as scratch:
        benchmark(Path(scratch))
