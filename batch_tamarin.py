#!/usr/bin/env python3
"""Run batches of Tamarin Prover jobs and tell the truth about what was proven.

One file, standard library only: copy it to a server and type

    python batch_tamarin.py run recipe.json

A recipe (JSON) names theories, lemmas and provers; every lemma is proven in a process of its own
under core, memory and time limits; every result goes to `batch.jsonl` as it comes. The design in
one picture:

    recipe --plan--> Batch --> scheduler --> executor --> supervisor --> reader
                       ^          jobs                                     |
                       +------------- Batch.apply(event) <------ event <---+
                                        |
                    observers: journal, result files, cache, progress

The Batch is the single source of truth. It is planned once; after that only `Batch.apply(event)`
changes it, whether the event comes from a live run or from a journal. Everything shown or written
at the end is a function of the Batch.

Contents (each section uses only those above it)
    Words and errors
    Model
    Theory
    Machine
    Supervisor
    Prover
    Recipe
    Plan
    Journal
    Cache
    Scheduler and executors
    Interchange with batch-tamarin
    Assumptions and audit
    Reports
    Terminal
    Commands

Words: a theory is a `.spthy` file, a lemma a named claim in it, a prover one Tamarin executable
under an alias. A task is one lemma x prover; a job is one command line that serves one or more
tasks. Units: seconds; MB = 2^20 and GB = 2^30 bytes.
"""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` takes over: no traceback for a Ctrl-C while this file loads.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import dataclasses
import enum
import errno
import fnmatch
import functools
import itertools
import json
import math
import os
import re
import stat
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    NamedTuple,
    Optional,
    TypeVar,
    Union,
    cast,
    final,
)

# Modules that only some commands need are imported there: every module costs start-up time.
if TYPE_CHECKING:
    import asyncio
    from typing import BinaryIO, NoReturn, TextIO

__version__ = "0.1.0"

T = TypeVar("T")
Json = dict[str, Any]  # a JSON object


# === Words and errors =============================================================================

MB = 2**20


class InputError(Exception):
    """Something a user gave is wrong: where (file, line and column from 1), what, and what to do."""

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        place = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{place}: {message}" if place else message)


class StorageError(InputError):
    """The results directory can't be written (any more): full, read-only, or held by another."""


class Word(str, enum.Enum):
    """A word with a fixed meaning: reads, prints and goes to JSON as its plain text."""

    # Before Python 3.12, Enum's own `__format__` and `__str__` would show `Status.PENDING`.
    __str__ = str.__str__


class Status(Word):
    """How a task ended, or that it has not."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"  # exit 0 and a verdict was read
    FAILED = "failed"
    TIMEOUT = "timeout"
    MEMORY_LIMIT = "memory_limit"
    INTERRUPTED = "interrupted"  # a user's or a system's stop: runs again
    SUPERSEDED = "superseded"  # final without a verdict, asks for nothing


class Verdict(Word):
    """What the prover printed for that very lemma; nothing else is a verdict."""

    VERIFIED = "verified"
    FALSIFIED = "falsified"
    INCOMPLETE = "incomplete"


class Trait(Word):
    """What a lemma quantifies over; a diff lemma compares two systems."""

    ALL_TRACES = "all-traces"
    EXISTS_TRACE = "exists-trace"
    DIFF = "diff"


FINAL = frozenset(Status) - {Status.PENDING, Status.RUNNING, Status.INTERRUPTED}
MET_A_LIMIT = frozenset({Status.TIMEOUT, Status.MEMORY_LIMIT})
ANSWERS = frozenset({Verdict.VERIFIED, Verdict.FALSIFIED})


# --- What a message to the user is ----------------------------------------------------------------


def say(message: str) -> None:
    """Tell the user one line: on stderr, or above the live block while there is one."""
    _listeners[-1](printable(message))


def warn(message: str) -> None:
    """Tell the user of something that needs a look but stops nothing."""
    say(f"warning: {message}")


def print_line(line: str) -> None:
    """Write a line to stderr, in colours where it shows them."""
    with suppress(OSError):  # nobody listens: no reason to stop a batch
        print(coloured(line, sys.stderr), file=sys.stderr, flush=True)


# Who is told of messages: the last one. The live block puts itself here while it is shown.
_listeners: list[Callable[[str], None]] = [print_line]

_COLOURS = {
    "verified": 32,
    "falsified": 35,
    "incomplete": 33,
    "timeout": 33,
    "memory limit": 33,
    "failed": 31,
    "interrupted": 33,
    "superseded": 2,
    "error:": 31,
    "warning:": 33,
}
_COLOURED = re.compile(
    r"(^|^\[ *\d+/\d+\] |(?<=\d ))"  # where an outcome stands: first, behind a counter or a count
    rf"({'|'.join(_COLOURS)})(?=[ ,]|$)"
    r"|expected \w+!",
    re.MULTILINE,
)


def coloured(text: str, stream: TextIO) -> str:
    """Verdicts, and what needs a look, in colour, where the user's terminal shows colours."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    if os.environ.get("TERM", "dumb") == "dumb":
        return text

    def paint(found: re.Match[str]) -> str:
        word = found[2] or found[0]
        colour = _COLOURS.get(word, 31)
        return f"{found[1] or ''}\x1b[{colour}m{word}\x1b[0m"

    return _COLOURED.sub(paint, text)


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal that stderr is."""
    columns = rows = 0
    with suppress(OSError, ValueError):
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    return max(columns or 80, 10), rows or 24


def printable(text: str) -> str:
    """`text` on one line, safe for a terminal.

    No control, direction-changing or undecodable character is left.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable_character, text))


def _printable_character(char: str) -> str:
    if char.isprintable():
        return char
    if char in "\n\t":
        return " "
    return "\N{REPLACEMENT CHARACTER}"


def display_width(text: str) -> int:
    """How many columns a terminal shows the text in."""
    if text.isascii():
        return len(text)
    import unicodedata

    width = 0
    for char in text:
        if unicodedata.category(char) in ("Mn", "Me"):
            continue
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return width


def fit(text: str, width: int, ellipsis: str = "…", tail: int = 0) -> str:
    """The text in exactly so many columns: padded, or cut before its last `tail` characters."""
    if width <= 0:
        return ""
    if display_width(text) > width:
        head = text[:width]
        end = text[len(text) - tail :]
        while head and display_width(head + ellipsis + end) > width:
            head = head[:-1]
        text = head + ellipsis + end
    return text + " " * (width - display_width(text))


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(things: Iterable[Any], most: int = 5) -> str:
    """`a, b, c and 3 more`."""
    words = [str(thing) for thing in things]
    shown = ", ".join(words[:most])
    more = len(words) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def quoted(command: Iterable[str]) -> str:
    """A command line as a shell would take it."""
    import shlex

    return shlex.join(command)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or ""."""
    import difflib

    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


# --- Times, digests, files ------------------------------------------------------------------------


def timestamp() -> str:
    """The time as the journal writes it: UTC, ISO 8601, microseconds."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"


def instant(at: str) -> float:
    """Seconds since 1970 of a time in the journal; 0 for none."""
    import datetime

    try:
        return datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def utc(seconds: float) -> str:
    """A time (seconds since 1970) for people; "" for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds > 0 else ""


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{rest} s"


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def path_from(file: str, cwd: str) -> str:
    """How `file` is named on a command line that runs in `cwd`: relative where it lies below."""
    full = os.path.abspath(file)
    return os.path.relpath(full, cwd) if os.path.commonpath([full, cwd]) == cwd else full


def file_stamp(path: str | int) -> tuple[int, ...]:
    """Changes when a file (given by path or descriptor) is written, replaced or gets another mode.

    Empty when the file is not there.
    """
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def write_file(path: str, text: str | Iterable[str]) -> None:
    """Write a derived file: a reader sees the old one or the new one, never half of it.

    `text`: all of it, or its pieces. Raises OSError.
    """
    pieces = [text] if isinstance(text, str) else text
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(
            temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
        ) as file:
            file.writelines(pieces)
        os.replace(temporary, path)
    except OSError:
        remove_file(temporary)
        raise


def remove_file(path: str) -> None:
    """Remove a file of ours if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


# === Model ========================================================================================


def slotted(cls: type[T]) -> type[T]:
    """`dataclass(slots=True)`, which Python 3.9 lacks: half the memory at 100,000 tasks."""
    names = tuple(field_names(cls))
    dropped = {*names, "__dict__", "__weakref__"}
    body = {key: value for key, value in vars(cls).items() if key not in dropped}
    return cast(type[T], type(cls.__name__, cls.__bases__, {**body, "__slots__": names}))


def field_names(cls: type[Any]) -> Iterable[str]:
    """The names of a dataclass's fields, as `dataclasses.fields` but ten times as fast."""
    return cast(Iterable[str], getattr(cls, "__dataclass_fields__", ()))


# How the fields of the model stand in JSON, where that isn't their own name and value.
INLINE: Mapping[str, Any] = {
    "inline": True
}  # the fields of this part stand among those of the whole
SPARSE: Mapping[str, Any] = {"sparse": True}  # left out while it has its default


def named(name: str) -> Mapping[str, Any]:
    """Metadata of a field that has another name in JSON."""
    return {"name": name}


# A text that many tasks have in common: read from JSON, equal ones are one object.
SharedText = Annotated[str, "shared"]


@slotted
@dataclass(frozen=True)
class Limits:
    """What one job may use: cores, memory in MB, wall time in seconds."""

    cores: int
    memory_mb: int
    timeout_s: float

    def __str__(self) -> str:
        memory_gb = self.memory_mb / 1024
        return f"{plural(self.cores, 'core')}, {memory_gb:.3g} GB, {self.timeout_s:g} s"

    def no_larger_than(self, other: Limits) -> bool:
        """Whether none of the three is larger than the other's."""
        return (
            self.cores <= other.cores
            and self.memory_mb <= other.memory_mb
            and self.timeout_s <= other.timeout_s
        )


@slotted
@dataclass(frozen=True)
class Usage:
    """What a job used, over its whole process tree: seconds and MB."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    avg_mb: float = 0.0  # weighted by time


@dataclass
class Prover:
    """One Tamarin executable under an alias."""

    alias: str
    command: tuple[str, ...]  # argv up to the theory
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    flavour: str = "tamarin-prover"  # or "tamarin-rs"; told by --version
    version: str = ""  # "1.11.0"; "" when the prover did not say
    identity: str = ""  # digest of the files on its command line and of what --version says


@dataclass(frozen=True)
class Job:
    """One command line with its limits, environment and log files.

    Scheduler, executors and supervisor know nothing else.
    """

    id: str  # a safe file name
    attempt: int  # from 1
    command: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]  # the child's whole environment, the marker excluded
    limits: Limits
    stdout: str  # absolute paths, appended to
    stderr: str
    task_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """Where one attempt of a job leaves its files: absolute paths."""

    stdout: str
    stderr: str
    proof: str
    trace_json: str
    trace_dot: str


@slotted
@dataclass(frozen=True)
class ExitStatus:
    """How a process ended: an exit code or a signal, never both."""

    code: Optional[int] = field(default=None, metadata=SPARSE)  # noqa: UP045 - read at run time, on 3.9
    signal: str = field(default="", metadata=SPARSE)  # "SIGKILL"

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal else f"code {self.code}"


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    COMPLETED: its leader exited by itself, whatever the code. FAILED: it did not start, or a signal
    that isn't ours ended it. MEMORY_LIMIT: also by the kernel's out-of-memory killer. INTERRUPTED:
    also singly, by `Supervisor.stop`.

    The CPU time lacks processes whose parent ignores SIGCHLD (the kernel forgets them). The peak is
    0 for what was gone before the first look (5 ms) and smaller than the driver.
    """

    status: Status
    exit: ExitStatus | None = None
    usage: Usage = Usage()
    reason: str = ""
    unkillable: tuple[int, ...] = ()  # processes that outlived SIGKILL; their room stays taken


@slotted
@dataclass(frozen=True)
class SummaryLine:
    """One line of the prover's summary."""

    name: str
    side: str  # "", "LHS" or "RHS"
    trait: str
    verdict: Optional[Verdict]  # noqa: UP045 - None when the text is unknown to us
    steps: Optional[int]  # noqa: UP045


@slotted
@dataclass(frozen=True)
class Result:
    """How one task ended."""

    status: Status
    verdict: Optional[Verdict] = None  # noqa: UP045
    steps: Optional[int] = None  # noqa: UP045
    trait: SharedText = ""
    lemmas: tuple[SummaryLine, ...] = ()  # every summary line that belongs to the task
    exit: Optional[ExitStatus] = None  # noqa: UP045
    usage: Usage = field(default=Usage(), metadata=INLINE)
    prover_s: Optional[float] = None  # noqa: UP045 - the prover's own "processing time"
    warnings: tuple[str, ...] = ()
    cached: bool = False
    ran: str = ""  # of a cached one: when it ran
    old_text: bool = False  # of a cached one: its proof file may hold older texts of other lemmas
    reason: str = ""  # for people: why there is no verdict
    stderr_tail: str = ""
    at: str = ""  # when it was journalled


@slotted
@dataclass(frozen=True)
class Plan:
    """What was decided about a task before the run: one lemma x prover, completely resolved."""

    id: str
    entry: SharedText = field(metadata=named("name"))  # the recipe's entry that it belongs to
    theory: SharedText  # as on the command line: relative to `cwd` where it lies below
    lemma: SharedText
    trait: SharedText
    sides: tuple[str, ...]  # ("LHS", "RHS") or one of them in diff mode
    prover: SharedText  # alias
    options: tuple[str, ...]
    flags: tuple[str, ...]
    limits: Limits
    cwd: SharedText
    prove: bool  # False: check the proof stored in the file instead of searching
    optional: bool  # the prover lists it only when it is needed (AUTO_typing)
    assumes: tuple[str, ...]  # lemmas that a proof of this one takes for granted
    expect: Optional[Verdict]  # noqa: UP045
    key: str  # digest of everything that can change the result
    lemma_key: str = ""  # the same without lemmas that can't matter; "" where the whole file counts
    theory_digest: SharedText = field(default="", metadata=named("text"))  # of the theory's text

    @property
    def view(self) -> TheoryView:
        """What tasks that read the same files have in common."""
        return TheoryView(self.prover, self.theory, self.options, self.flags, self.cwd)


class TheoryView(NamedTuple):
    """A theory as one prover reads it, with these options and flags, in this directory."""

    prover: str
    theory: str
    options: tuple[str, ...]
    flags: tuple[str, ...]
    cwd: str


@slotted
@dataclass(frozen=True)
class Started:
    """A job began: the `start` event. pid, start time, host and boot id name one process for ever."""

    ids: tuple[str, ...]  # of the tasks that the job serves
    job: str
    attempt: int
    pid: int = 0
    started: int = 0  # what `process_start` tells
    host: SharedText = ""
    boot_id: SharedText = ""
    command: tuple[str, ...] = ()
    at: str = ""


@slotted
@dataclass(frozen=True)
class Finished:
    """A task ended: the `finish` event."""

    id: str
    job: str
    attempt: int
    result: Result = field(metadata=INLINE)


@dataclass(frozen=True)
class Ended:
    """The batch ended: the `end` event; `signal` is the number of the one that stopped it, or 0."""

    signal: int = 0
    at: str = ""


@dataclass(frozen=True)
class PlanOptions:
    """What the command line says over the recipe; "" and 0 leave the recipe's word."""

    cores: str = ""
    memory: str = ""  # GB, "max" or "50%"
    timeout_s: float = 0
    scheduler: str = ""


@dataclass(frozen=True)
class Header:
    """What is true of the whole batch: the `batch` event."""

    at: str = ""
    id: str = ""
    version: str = ""  # of this program; "" for what batch-tamarin wrote
    recipe_file: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    options: PlanOptions = PlanOptions()
    limits: Limits = Limits(0, 0, 0)  # of all jobs together; the time is a job's default
    cwd: str = ""
    scheduler: str = "fifo"
    provers: dict[str, Prover] = field(default_factory=dict)
    # The driver: these four name one process for ever.
    pid: int = 0
    started: int = 0  # what `process_start` tells
    host: str = ""
    boot_id: str = ""
    python: str = ""
    platform: str = ""
    vanished: tuple[str, ...] = field(default=(), metadata=SPARSE)  # tasks no longer planned
    recheck_of: str = field(default="", metadata=SPARSE)  # the results whose proofs are checked


@slotted
@dataclass
class Task:
    """A plan and what has become of it; the unit of results. Only `Batch.apply` changes it."""

    plan: Plan
    status: Status = Status.PENDING
    attempts: int = 0
    started: Started | None = None  # its last start
    result: Result | None = None

    @property
    def id(self) -> str:
        return self.plan.id

    @property
    def limits(self) -> Limits:
        return self.plan.limits

    @property
    def verdict(self) -> Verdict | None:
        return self.result.verdict if self.result else None

    @property
    def is_final(self) -> bool:
        """Whether it is done: it runs again only if what it rests on changes, or its limits grow."""
        return self.status in FINAL

    @property
    def is_answered(self) -> bool:
        """Whether it is `verified` or `falsified`."""
        return self.verdict in ANSWERS

    @property
    def wants_verdict(self) -> bool:
        """Whether it has no verdict and should have one."""
        return self.verdict is None and self.status is not Status.SUPERSEDED

    @property
    def misses_expectation(self) -> bool:
        """Whether it is not as expected, or should have an answer by now and has none."""
        return bool(self.plan.expect) and self.is_final and self.verdict != self.plan.expect

    @property
    def outcome(self) -> str:
        """The verdict if there is one, else the status, in words."""
        return str(self.verdict or self.status).replace("_", " ")


class FileState(NamedTuple):
    """What a file was when the batch was planned.

    It has changed when its bytes have, or who may execute it.
    """

    stamp: tuple[int, ...]  # while this stays the same, so do the bytes
    digest: str  # "" if it could not be read
    executable: str = ""  # the mode's bits; "" where they don't matter


@dataclass
class Inputs:
    """What tasks that read the same files have in common, as it was when the batch was planned."""

    theory: str  # its name
    key: str  # of the whole theory, as this prover with these options would load it
    splits: bool  # a lemma can be judged by its own text, what it assumes, and all that is no lemma
    files: dict[str, FileState]  # all that a prover reads, by absolute path
    parts: dict[str, str]  # digests, by words for people
    # Digests of each lemma's text, and of those that it assumes.
    lemmas: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parts_of(self, lemma: str) -> dict[str, str]:
        """Digests of all that the result of a lemma depends on, by words for people."""
        return {**self.parts, **dict(zip(("lemma", "assumed lemmas"), self.lemmas.get(lemma, ())))}


@dataclass
class Batch:
    """Everything about one batch: the single source of truth.

    `apply` is the one way to change it, so that live runs, resuming and reports can't disagree.
    """

    header: Header = field(default_factory=Header)
    tasks: dict[str, Task] = field(default_factory=dict)  # in plan order
    ended: Ended | None = None  # unless something started after it
    # What planning found of the files; known to the driver only.
    inputs: dict[TheoryView, Inputs] = field(default_factory=dict, compare=False, repr=False)

    @property
    def id(self) -> str:
        return self.header.id

    @property
    def provers(self) -> dict[str, Prover]:
        return self.header.provers

    @property
    def unanswered(self) -> list[Task]:
        """What has no verdict, and wants one."""
        return [task for task in self.tasks.values() if task.wants_verdict]

    @property
    def has_begun(self) -> bool:
        """Whether there is a batch at all: a journal may be empty, or its first line lost."""
        return bool(self.header.recipe_file)

    def apply(self, event: Event) -> None:
        """Change the batch by one event.

        Raises ValueError when the event can't follow what came before, KeyError when its task was
        never planned.
        """
        if isinstance(event, Header):
            self._begin(event)
        elif isinstance(event, Plan):
            self._plan(event)
        elif isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Finished):
            self._finish(event)
        else:
            self.ended = event

    def _begin(self, header: Header) -> None:
        """A batch begins, or goes on with a plan in which some tasks are no longer there."""
        self.header = header
        self.ended = None
        for task_id in header.vanished:
            self.tasks.pop(task_id, None)

    def _plan(self, plan: Plan) -> None:
        """A plan, or a changed plan: an older result under this id counts only if it still holds."""
        if os.path.basename(plan.id) != plan.id or plan.id in ("", ".", ".."):
            raise ValueError(f"'{plan.id}' can't name files")
        before = self.tasks.get(plan.id)
        task = self.tasks[plan.id] = Task(plan)
        if before:
            task.attempts = before.attempts
            if still_holds(before, plan):
                task.status = before.status
                task.result = before.result

    def _start(self, started: Started) -> None:
        tasks = [self.tasks[task_id] for task_id in started.ids]
        for task in tasks:
            if started.attempt <= task.attempts:
                raise ValueError(f"attempt {started.attempt} of task '{task.id}' has begun before")
        for task in tasks:
            task.status = Status.RUNNING
            task.attempts = started.attempt
            task.started = started
            task.result = None
        self.ended = None

    def _finish(self, finished: Finished) -> None:
        task = self.tasks[finished.id]
        status = finished.result.status
        if status in (Status.PENDING, Status.RUNNING):
            raise ValueError(f"task '{task.id}' can't finish as {status}")
        task.status = status
        task.result = finished.result

    def events(self) -> Iterator[Event]:
        """The plan as events: what a fresh journal begins with."""
        yield self.header
        for task in self.tasks.values():
            yield task.plan

    def count(self, *statuses: Status) -> int:
        """How many tasks have one of these statuses."""
        return sum(task.status in statuses for task in self.tasks.values())


def still_holds(old: Task, new: Plan, by_lemma: bool = False) -> bool:
    """Whether the result of `old` is that of `new`.

    Nothing may have changed that can change it, and no limit that it met may have grown.
    by_lemma: a verdict also holds where only lemmas changed that can't matter to it, if the prover
    takes the new text at all.
    """
    if not old.is_final:
        return False
    if old.status in MET_A_LIMIT and not new.limits.no_larger_than(old.plan.limits):
        return False
    if old.plan.key == new.key:
        return True
    same_lemma = old.plan.lemma_key != "" and old.plan.lemma_key == new.lemma_key
    return by_lemma and same_lemma and old.verdict is not None


# --- The codec: the model as JSON and back, by the types of its fields ----------------------------


def encode(value: Any) -> Any:
    """A value of the model as JSON has it: dataclasses as objects, tuples as lists."""
    if type(value) is tuple:
        return [encode(item) for item in value]
    if type(value) is dict:
        return {key: encode(item) for key, item in value.items()}
    fields = _json_fields(cast(Hashable, type(value)))
    if not fields:
        return value
    members: dict[str, Any] = {}
    for each in fields:
        member = getattr(value, each.attribute)
        if each.inline:
            members.update(encode(member))
        elif not (each.sparse and member == each.default):
            members[each.name] = encode(member)
    return members


def decode(cls: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass of the model from a JSON object; members that it does not know are left out.

    Raises TypeError or ValueError for a value that is not of its field's kind, KeyError for a
    missing one.
    """
    if not isinstance(data, dict):
        raise TypeError(f"{data!r:.40} is no object")
    values: dict[str, Any] = {}
    for each in _json_fields(cast(Hashable, cls)):
        if each.inline:
            values[each.attribute] = each.decode(data)
        elif each.name in data:
            try:
                values[each.attribute] = each.decode(data[each.name])
            except (TypeError, ValueError):
                raise TypeError(f"'{each.name}' is {data[each.name]!r:.40}") from None
        elif each.default is dataclasses.MISSING:
            raise KeyError(each.name)
    return cls(**values)


def json_names(cls: type[Any]) -> Iterator[str]:
    """The names that a dataclass of the model has in JSON."""
    for each in _json_fields(cast(Hashable, cls)):
        if each.inline:
            yield from json_names(type(each.default))
        else:
            yield each.name


class _JsonField(NamedTuple):
    """How one field of a dataclass stands in JSON."""

    attribute: str
    name: str
    inline: bool
    sparse: bool
    default: Any  # MISSING: it must be there
    decode: Callable[[Any], Any]


@functools.cache
def _json_fields(cls: Hashable) -> tuple[_JsonField, ...]:
    """The fields of a dataclass; none of any other type."""
    if not dataclasses.is_dataclass(cls) or not isinstance(cls, type):
        return ()
    import typing

    kinds = typing.get_type_hints(cls, include_extras=True)
    fields: list[_JsonField] = []
    for each in dataclasses.fields(cls):
        fields.append(
            _JsonField(
                attribute=each.name,
                name=each.metadata.get("name", each.name),
                inline="inline" in each.metadata,
                sparse="sparse" in each.metadata,
                default=each.default if each.default_factory is dataclasses.MISSING else None,
                decode=_decoder(kinds[each.name]),
            )
        )
    return tuple(fields)


def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What reads a value of this kind from JSON; it raises TypeError or ValueError for others."""
    import typing

    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin is Annotated:  # SharedText
        return lambda text: sys.intern(_checked(str, text))
    if origin is Union:  # Optional
        some = _decoder(parts[0])
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        item = _decoder(parts[0])
        return lambda values: share(tuple(map(item, _checked(list, values))))
    if origin is dict:
        member = _decoder(parts[1])
        return lambda values: {
            name: member(value) for name, value in _checked(dict, values).items()
        }
    if kind is float:
        return _number
    if kind in (str, int, bool):
        return functools.partial(_checked, kind)
    if kind is Limits:  # 100,000 tasks have few distinct ones
        return lambda data: share(decode(Limits, data))
    if dataclasses.is_dataclass(kind):
        return lambda data: decode(cast(Any, kind), data)
    return cast(Callable[[Any], Any], kind)  # a Word


def _checked(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise TypeError
    return value


def _number(value: Any) -> float:
    """A finite number: NaN and infinity are no JSON, though Python reads and writes them."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError
    return cast(float, value)


# One object for equal ones: 100,000 tasks have few distinct limits, options and warnings.
share: Callable[[T], T] = cast(Any, functools.lru_cache(maxsize=4096)(lambda value: value))

# One line of the journal (DESIGN section 8), by the word for it.
Event = Union[Header, Plan, Started, Finished, Ended]
EVENTS: dict[str, type[Any]] = {
    "batch": Header,
    "task": Plan,
    "start": Started,
    "finish": Finished,
    "end": Ended,
}
EVENT_WORDS = {kind: word for word, kind in EVENTS.items()}


def encode_event(event: Event) -> dict[str, Any]:
    """An event as its line in the journal has it."""
    return {"event": EVENT_WORDS[type(event)], "at": timestamp(), **encode(event)}


def decode_event(data: Mapping[str, Any]) -> Event | None:
    """The event of a line of the journal; None for a kind of event that a newer version writes.

    Raises TypeError, ValueError or KeyError, as `decode`.
    """
    kind = EVENTS.get(data["event"])
    return None if kind is None else cast(Event, decode(kind, data))


# === Theory =======================================================================================

# The rules were read in the sources of tamarin-prover 1.11 (lib/theory/src/Theory/Text/Parser*, Prover.hs, ClosedTheory.hs,
# Accountability/Generation.hs, Main/TheoryLoader.hs) and compared with what the prover lists.

MAX_THEORY_BYTES = 64 * MB  # of one file; four times this for a theory with all that it includes
_MAX_INCLUDES = 10_000  # files that include each other twice would be read 2^n times
AUTO_SOURCES_LEMMA = "AUTO_typing"
EQUIVALENCE_LEMMA = "Observational_equivalence"


@slotted
@dataclass(frozen=True)
class Lemma:
    """One line of Tamarin's summary: something `--prove=NAME` can ask for, on one side in diff mode."""

    name: str
    trait: Trait
    side: str  # "LHS" or "RHS" in diff mode, else ""
    attributes: tuple[str, ...]  # as written, white space normalised
    file: str  # where it stands: the theory, or a file it includes
    line: int = 0  # from 1; 0 for what Tamarin adds by itself
    parent: str = ""  # the accountability lemma this is a part of, else ""
    proof: str = ""  # "proof" and which PROOF_ENDS it has; "" if none is stored, or only `by sorry`
    assumes: tuple[
        str, ...
    ] = ()  # names of the lemmas a proof of this one takes for granted, in theory order
    optional: bool = False  # --auto-sources adds it only where partial deconstructions are left

    @property
    def claim(self) -> Verdict | None:
        """What the stored proof would show if a prover checked it; a trace that was found counts beside open cases."""
        ends, trace = (
            self.proof.split(),
            Verdict.VERIFIED if self.trait == Trait.EXISTS_TRACE else Verdict.FALSIFIED,
        )
        if not {"SOLVED", "ATTACK"}.isdisjoint(ends):
            return trace
        closed = Verdict.FALSIFIED if trace is Verdict.VERIFIED else Verdict.VERIFIED
        return (
            None
            if not ends
            else closed
            if ends in (["proof"], ["proof", "MIRRORED"])
            else Verdict.INCOMPLETE
        )


@dataclass
class Theory:
    """A theory as Tamarin would load it with given flags; `lemmas` stand in the order of Tamarin's summary."""

    path: str
    name: str
    diff: bool
    auto_sources: bool  # by the option, or by the theory's configuration block
    lemmas: tuple[Lemma, ...]
    files: dict[str, FileState]  # the theory itself, then all that it includes, as they were read
    configuration: tuple[str, ...]  # arguments of the `configuration: "..."` block
    oracle_rankings: tuple[
        tuple[str | None, str], ...
    ]  # of each `o`: folder (None: the prover's), name ("": the default)
    cannot_split: (
        str  # why a lemma can't be judged by its text and what it assumes alone; "": it can
    )
    segments: tuple[
        tuple[str, str], ...
    ]  # (lemma name or "", token text); empty unless loaded with keep_text

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the token text: comments and white space outside strings don't count. Needs the text."""
        return sha256("\n".join(text for _, text in self.segments).encode())

    @property
    def splits_for_sure(self) -> bool:
        """Whether each lemma's text is a plain statement or proof, so that nothing else can hide in it. (Some provers read items
        that are glued to what stands before or behind them, as `by sorryrestriction r: ...`.)"""
        return all(
            _SURE_LEMMA.fullmatch(text)
            if text.startswith(STATEMENTS)
            else not set('":') & set(text)
            for name, text in self.segments
            if name
        )

    def digest_of(self, lemmas: Iterable[str]) -> str:
        """SHA-256 of the token text without all other lemmas, everything left in its place. Needs the text."""
        rest, places = self.split_digests
        kept = sorted(place for name in set(lemmas) for place in places.get(name, ()))
        return sha256(json.dumps([rest, [place[1:] for place in kept]]).encode())

    @functools.cached_property
    def split_digests(self) -> tuple[str, dict[str, list[tuple[int, int, str]]]]:
        """Digest of what is no lemma; of each lemma its place, how many pieces of the rest stand before it, and its digest."""
        rest: list[str] = []
        places: dict[str, list[tuple[int, int, str]]] = {}
        for place, (name, text) in enumerate(self.segments):
            digest = sha256(text.encode())
            if name:
                places.setdefault(name, []).append((place, len(rest), digest))
            else:
                rest.append(digest)
        return sha256("".join(rest).encode()), places


def load_theory(
    path: str,
    flags: Sequence[str] = (),
    diff: bool = False,
    auto_sources: bool = False,
    keep_text: bool = False,
) -> Theory:
    """Read a theory as `tamarin-prover PATH -D=FLAG... [--diff] [--auto-sources]` would.

    Raises InputError, with file and line, for whatever Tamarin would refuse and can be seen without parsing terms.
    Time and memory are linear in the text."""
    found = TheoryReading(flags, diff, keep_text)
    scanner: FileScanner | None = FileScanner(path, found)
    while scanner:  # a loop, no recursion: includes may be nested thousands deep
        included = scanner.run()
        scanner = FileScanner(included, found, scanner) if included else scanner.parent
    auto_sources = auto_sources or bool(option_values(found.configuration, "--auto-sources"))
    shown = (_diff_order if diff else _trace_order)(found.claims, path, auto_sources)
    reasons = {
        "diff mode": diff,
        "a top-level process": "process" in found.words,
        "accountability": any(lemma.parent for lemma in shown),
        "export lemmas": not found.words.isdisjoint(("equivLemma", "diffEquivLemma")),
        "--auto-sources": auto_sources,
    }
    return Theory(
        path,
        found.name,
        diff,
        auto_sources,
        tuple(_with_assumptions(shown, diff)),
        dict(found.files),
        found.configuration,
        tuple(dict.fromkeys(found.rankings)),
        next((reason for reason, applies in reasons.items() if applies), ""),
        tuple(found.segments()),
    )


def used_oracles(theory: Theory, options: Sequence[str], cwd: str) -> tuple[str, ...]:
    """Absolute paths of the oracles a prover started in `cwd` would call, whether they exist or not.

    A `--heuristic` among the options replaces all that the theory says, and its oracle is searched from `cwd`."""
    argument = path_from(theory.path, cwd)
    # Tamarin cuts at the first dot and keeps the last slash: dir/x.spthy has the default /x.oracle, which is never there.
    bare = argument[:1] + argument[1:].partition(".")[0] + ".oracle"
    default = bare if "/" not in argument and os.path.isfile(os.path.join(cwd, bare)) else "oracle"
    rankings = theory.oracle_rankings
    for heuristic in option_values(options, "--heuristic")[-1:]:
        letters = re.sub(r"\{[^{}]*\}", "", heuristic)  # {names} of tactics are no letters
        names = option_values(options, "--oraclename")
        rankings = ((None, names[-1] if names else ""),) if set(letters) & {"o", "O"} else ()
    own = (None, os.path.dirname(theory.path))
    paths = (
        os.path.join(
            cwd if folder is None else folder, name or (default if folder in own else "oracle")
        )
        for folder, name in rankings
    )
    return tuple(dict.fromkeys(map(os.path.abspath, paths)))


def option_values(options: Iterable[str], name: str) -> list[str]:
    """What a long option is given, in order ("" where nothing). Tamarin lets users cut it short."""
    parted = (option.partition("=") for option in options)
    return [value for word, _, value in parted if len(word) > 3 and name.startswith(word)]


def _trace_order(claims: Sequence[_Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """File order; the parts of accountability lemmas behind all others, each kind of part for every case test."""
    shown = [lemma for lemma, tests in claims if not tests]
    for lemma, tests in claims:
        parts = [f"{test}_suff" for test in tests] + ["verif_empty"]
        parts += [
            f"{test}_{kind}"
            for kind in ("verif_nonempty", "min", "uniq", "inj", "single")
            for test in tests
        ]
        shown += [
            replace(
                lemma,
                name=f"{lemma.name}_{part}",
                parent=lemma.name,
                trait=Trait.EXISTS_TRACE
                if part.endswith(("_suff", "_single"))
                else Trait.ALL_TRACES,
            )
            for part in parts
            if tests
        ]
    if auto_sources and all(lemma.name != AUTO_SOURCES_LEMMA for lemma in shown):
        shown.append(
            Lemma(AUTO_SOURCES_LEMMA, Trait.ALL_TRACES, "", ("sources",), path, optional=True)
        )
    return shown


def _diff_order(claims: Sequence[_Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """Every lemma on both sides, the right one first; where --auto-sources adds lemmas, all of one side before the other."""
    equivalences = [lemma for lemma, _ in claims if lemma.trait == Trait.DIFF]
    if all(lemma.name != EQUIVALENCE_LEMMA for lemma in equivalences):
        equivalences.append(Lemma(EQUIVALENCE_LEMMA, Trait.DIFF, "", (), path))
    sided: list[Lemma] = []
    for lemma, _ in claims:
        only = [
            side for word, side in (("left", "LHS"), ("right", "RHS")) if word in lemma.attributes
        ][:1]
        sided += [
            replace(lemma, side=side)
            for side in only or ("RHS", "LHS")
            if lemma.trait != Trait.DIFF
        ]
    if auto_sources:
        taken = {(lemma.name, lemma.side) for lemma in sided}
        sided += [
            Lemma(
                f"{AUTO_SOURCES_LEMMA}_{side}",
                Trait.ALL_TRACES,
                side,
                ("sources",),
                path,
                optional=True,
            )
            for side in ("LHS", "RHS")
            if (f"{AUTO_SOURCES_LEMMA}_{side}", side) not in taken
        ]
        sided.sort(key=lambda lemma: lemma.side)
    return sided + equivalences


def _with_assumptions(shown: Sequence[Lemma], diff: bool) -> Iterator[Lemma]:
    """The lemmas with the names each takes for granted (gatherReusableLemmas in Prover.hs and ClosedTheory.hs, typAsms)."""
    place = {
        lemma.name: index for index, lemma in reversed(list(enumerate(shown)))
    }  # of the first with this name
    usable = [lemma for lemma in shown if lemma.trait == Trait.ALL_TRACES]
    sources = [lemma.name for lemma in usable if not _SOURCES.isdisjoint(lemma.attributes)]
    for_diff = sources + [lemma.name for lemma in usable if "diff_reuse" in lemma.attributes]
    reuse: dict[str, list[tuple[str, bool]]] = {
        "": [],
        "LHS": [],
        "RHS": [],
    }  # of each side: name, whether it is `sources`
    known: dict[
        tuple[str, bool, int, bool, frozenset[str]], tuple[str, ...]
    ] = {}  # neighbours share one tuple
    seen: set[tuple[str, bool, str]] = set()
    for lemma in shown:
        kind = side, of_diff = lemma.side, lemma.trait == Trait.DIFF
        if (*kind, lemma.name) in seen:
            raise InputError(
                f"a second lemma '{lemma.name}': Tamarin refuses this, rename one",
                lemma.file,
                lemma.line,
            )
        seen.add((*kind, lemma.name))
        before, is_sources = reuse[side], not _SOURCES.isdisjoint(lemma.attributes)
        hidden = frozenset(
            word[11:] for word in lemma.attributes if word.startswith("hide_lemma=") and not diff
        )
        key = (*kind, len(before), is_sources, hidden)
        if key not in known:
            names = set(for_diff if of_diff else () if is_sources else sources)
            if not of_diff and "ALL" not in hidden:
                names.update(
                    name
                    for name, of_kind in before
                    if name not in hidden and (of_kind or not is_sources)
                )
            known[key] = tuple(sorted(names, key=place.__getitem__))
        yield replace(lemma, assumes=known[key])
        if "reuse" in lemma.attributes and lemma.trait == Trait.ALL_TRACES:
            before.append((lemma.name, is_sources))


_Claim = tuple[
    Lemma, tuple[str, ...]
]  # a lemma as it is written, with the case tests it names (accountability)
_NAMED_ITEMS = ("axiom", "diffLemma", "export", "lemma", "let", "restriction", "rule", "test")
_OTHER_ITEMS = (
    "builtins",
    "diffEquivLemma",
    "equations",
    "equivLemma",
    "function",
    "functions",
    "heuristic",
    "macros",
    "options",
    "predicate",
    "predicates",
    "process",
    "tactic",
)
_NOT_IN_DIFF = (
    "diffEquivLemma",
    "equivLemma",
    "export",
    "let",
    "options",
    "predicate",
    "predicates",
    "process",
    "test",
)
# What must follow a word to begin an item, unless it is a comment: a name or `(modulo E)`; `:` or `[`; nothing of a term.
_BEHIND = {
    **dict.fromkeys(_NAMED_ITEMS, r"(?=\s*(?:[\w(]|//|/\*))"),
    **dict.fromkeys(_OTHER_ITEMS, r"(?=\s*(?:[:\[]|//|/\*))"),
    "end": r"(?![(:,.]|\s*(?:=(?!=)|/(?![/*])))",
}
_ITEM = "|".join(rf"{word}(?!\w)(?<!\w{word}){behind}" for word, behind in _BEHIND.items())
# Every alternative starts with a plain character: `re` then passes over all other characters without trying them.
_EVERYWHERE = r"//|/\*|\"|'|\0|diff(?<!\wdiff)(?=\s*[(/])"
_FORMULA_EVENT = re.compile(_EVERYWHERE)
PROOF_ENDS = (
    "ATTACK",
    "INVALIDATED",
    "MIRRORED",
    "SOLVED",
    "UNFINISHABLE",
    "UNFINISHABLEdiff",
    "sorry",
)  # but contradiction
_PROOF_END = "|".join(rf"{word}(?!\w)(?<!\w{word})" for word in PROOF_ENDS)
_EVENT = re.compile(
    rf"{_EVERYWHERE}|\{{\*|#ifdef|#define|#include|#else|#endif|{_ITEM}|{_PROOF_END}"
)
STATEMENTS = (
    "lemma",
    "diffLemma",
)  # how the text of a lemma begins; that of its stored proof doesn't
_SURE_LEMMA = re.compile(
    r'lemma ?(?:\(modulo E\) ?)?\w+ ?(?:\[(?:[\w ,=.]|"[^"]*"|\{[\w ]*\})*\] ?)?: ?'
    r'(?:(?:all-traces|exists-trace) ?)?"[^"]*"\s*'
)
_BLANKS = re.compile(r"[^\S\u2028\u2029\x85\x1c-\x1f]+")  # what Haskell takes for blanks
# A blank is idle beside a bracket or comma, unless an operator stands there: `] ->` is not `]->`.
_IDLE_BLANK = re.compile(
    r'(?<=[,;()\[\]]) (?=[\w"~$,;()\[\]]|$)|(?<=[\w",;()\[\]]) (?=[,;()\[\]])|^ (?=[,;()\[\]])'
)
_COMMENT_START = re.compile(r"//|/\*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_IDENTIFIER = re.compile(r"(?!(?:in|let|rule|diff)(?!\w))[^\W_]\w*")
_CONSTANT_REST = re.compile(r"[^'\n]+'")
_FORMAL_COMMENT_EDGE = re.compile(
    r"\\[\\*]?|\*\}?"
)  # inside `text{* *}` star and backslash must be escaped
_EXPORT_EDGE = re.compile(r'\\[\\"]|"')
_RANKING = re.compile(r'([oO]) *(?:"([^"\n\r]+)")? *|\{[^"\n\r{}]+\} *|([^\W\d_]+) *')
_STRING_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_NO_WORD = re.compile(r"\W")
_INCLUDED_NAME = re.compile(r'"\s*((?:[^\W_]|[./])+)[^\S\n]*"')
_BRANCH_END = re.compile(r"#\s*(else|endif)")
_ITEM_ENDS = frozenset("\"])}>',⊥⊤_")
# Behind these words a word is a name or a term, whatever it looks like.
_OPEN_WORDS = frozenset(
    (
        "as",
        "case",
        "delete",
        "else",
        "event",
        "if",
        "in",
        "insert",
        "let",
        "lock",
        "lookup",
        "new",
        "not",
        "rule",
        "then",
        "unlock",
    )
)
_ATTRIBUTES = ("diff_reuse", "left", "reuse", "right", "sources", "typing", "use_induction")
_SOURCES = frozenset(("sources", "typing"))  # `typing` is the older name
_PROOF_WORD = re.compile(
    r"(?:ATTACK|INVALIDATED|MIRRORED|SOLVED|UNFINISHABLE|UNFINISHABLEdiff|backward|by|contradiction|"
    r"induction|rule(?=-equivalence)|simplify|solve|sorry|step)(?!\w)"
)
_NO_ENDIF = "this #ifdef has no #endif"
_NEEDS_DIFF = "needs observational equivalence: add --diff to the options"


class TheoryReading:
    """What the scanner has found so far, in all files of a theory, and what one file leaves to the next."""

    def __init__(self, flags: Sequence[str], diff: bool, keep_text: bool) -> None:
        self.flags, self.diff, self.keep_text = set(flags), diff, keep_text
        self.name, self.bytes = "", 0
        self.claims: list[_Claim] = []
        self.files: list[tuple[str, FileState]] = []  # in the order of reading
        self.reading: dict[str, None] = {}  # real paths of the files we are in, this one last
        self.configuration: tuple[str, ...] = ()
        self.rankings: list[tuple[str | None, str]] = []
        self.words: set[str] = set()  # that began an item, and `diff` for the operator
        self.tests: set[str] = set()
        self.pieces: list[tuple[bool, str]] = []  # (to be kept as it is, text)
        self.cuts: list[tuple[int, str]] = [
            (0, "")
        ]  # from this piece on the text belongs to that lemma ("": to none)

    def cut(self, lemma: str = "") -> None:
        """A new item, or the proof of a lemma, starts here."""
        self.cuts.append((len(self.pieces), lemma))

    def end_in_proof(self, word: str) -> None:
        """One of PROOF_ENDS stands here, which counts in the proof of the lemma that was found last."""
        lemma, tests = self.claims[-1] if self.cuts[-1][1] else (None, ())
        if lemma and lemma.proof and word not in lemma.proof.split():
            self.claims[-1] = replace(lemma, proof=f"{lemma.proof} {word}"), tests

    def segments(self) -> Iterator[tuple[str, str]]:
        """The token text of each item: white space outside strings is one blank, or none where it is idle."""
        for (start, name), (end, _) in zip(self.cuts, self.cuts[1:] + [(len(self.pieces), "")]):
            groups = itertools.groupby(self.pieces[start:end], key=lambda piece: piece[0])
            runs = ((verbatim, "".join(text for _, text in group)) for verbatim, group in groups)
            text = "".join(
                text if verbatim else _IDLE_BLANK.sub("", _BLANKS.sub(" ", text))
                for verbatim, text in runs
            )
            if text.strip(" "):
                yield name, text.strip(" ")


def without_comments(text: str) -> str:
    """The text without `//` comments and those `/* */` that end; here they don't nest."""
    kept, place = list[str](), 0
    while comment := _COMMENT_START.search(text, place):
        closing = "\n" if comment.group() == "//" else "*/"
        end = text.find(closing, comment.end())
        if end < 0 and closing == "*/":
            break
        kept.append(text[place : comment.start()])
        place = len(text) if end < 0 else end + len(closing.strip())
    return "".join(kept) + text[place:]


class FileScanner:
    """Reads one file of a theory, in one pass from one place that can matter to the next, into a common TheoryReading."""

    def __init__(self, path: str, found: TheoryReading, parent: FileScanner | None = None) -> None:
        self.path, self.found, self.parent = path, found, parent
        self.pos = 0  # where to read on
        self.done = 0  # text before this place has been handed on
        self.last = 0  # the end of the last code or text handed on, without blanks; 0: an item may stand next
        self.depth = 0  # open brackets at `done`
        self.counted = (0, 1)  # the number of the line at a place
        self.conditions: list[
            tuple[int, bool]
        ] = []  # open #ifdefs: place, whether we are behind their #else
        self.text = self._read()

    def _read(self) -> str:
        """The text of the file, if Tamarin would read it and it may be one of ours."""
        found, parent, path = self.found, self.parent, self.path
        place = (parent.path, parent.line(parent.pos)) if parent else (path, 0)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device might never end
                raise OSError(0, "not a regular file")
            real = os.path.realpath(path)
            if real in found.reading or len(found.files) > _MAX_INCLUDES:
                raise OSError(
                    0,
                    "it includes itself"
                    if real in found.reading
                    else f"more than {_MAX_INCLUDES} includes",
                )
            with open(path, "rb") as file:
                stamp, data = file_stamp(file.fileno()), file.read(MAX_THEORY_BYTES + 1)
            found.files.append((path, FileState(stamp, sha256(data))))
            found.bytes += len(data)
            found.reading[real] = None
            if len(data) > MAX_THEORY_BYTES or found.bytes > 4 * MAX_THEORY_BYTES:
                raise InputError(
                    f"too large: at most {MAX_THEORY_BYTES // MB} MB a file, four times that with includes",
                    path,
                )
            if data.startswith(b"\xef\xbb\xbf"):
                raise InputError(
                    "a byte order mark, which Tamarin refuses: save the file as UTF-8 without BOM",
                    path,
                    1,
                    1,
                )
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                "not UTF-8, which Tamarin refuses: convert the file, e.g. with iconv -f latin1 -t utf-8",
                path,
                data.count(b"\n", 0, error.start) + 1,
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"can't read '{path}': {getattr(error, 'strerror', None) or error}", *place
            ) from None

    def run(self) -> str:
        """Read on; returns the path of a file to be read in between, or "" at the end."""
        included = ""
        try:
            if not self.pos:
                self._begin()
            while not included:
                event = _EVENT.search(self.text, self.pos)
                if not event:
                    self._hand_on(len(self.text))
                    self._refuse(
                        len(self.text),
                        "the theory has no 'end'"
                        + ", or a bracket is not closed" * (self.depth > 0),
                    )
                included = self._on_event(event.start(), event.end(), event.group())
        except EOFError:  # the rest of the file does not count
            if self.conditions:
                self._fail(self.conditions[-1][0], _NO_ENDIF + " before the end")
            self._hand_on(self.pos)
            rest = without_comments(self.text[self.pos :]).strip()
            if (
                rest and self.found.keep_text
            ):  # it does not count, if we and the prover agree on where the end is
                self.found.cut()
                self.found.pieces.append((True, rest))
            self.found.reading.popitem()
        self.found.cut()
        return included

    def _begin(self) -> None:
        """`theory NAME [configuration: "..."] begin`; an included file has none of this."""
        self._skip()
        if self.parent and not self._next("theory"):
            return
        if self.parent or not self._take("theory"):
            self._refuse(
                self.pos,
                "a theory starts with 'theory NAME'; is this a file for others to include?",
            )
        self.found.name = self._identifier()
        if self._take("configuration") and self._take(":"):
            import shlex

            literal = _STRING_LITERAL.match(self.text, self.pos) or self._fail(
                self.pos, "'configuration:' needs a string"
            )
            text = re.sub(r"\\(.)", r"\1", literal.group(1))
            self.found.configuration = tuple(text.split())
            if len(text) < 10_000:  # shlex takes quadratic time
                with suppress(ValueError):
                    self.found.configuration = tuple(shlex.split(text))
            self._pass(literal.start(), literal.end(), verbatim=True)
            self._skip()
        if not self.found.name or not self._take("begin"):
            self._fail(self.pos, "expected 'theory NAME begin'")

    def line(self, pos: int) -> int:
        """The number of the line at this place, counted on from the place asked for before."""
        counted, line = self.counted if self.counted[0] <= pos else (0, 1)
        self.counted = pos, line + self.text.count("\n", counted, pos)
        return self.counted[1]

    def _fail(self, pos: int, message: str) -> NoReturn:
        raise InputError(message, self.path, self.line(pos), pos - self.text.rfind("\n", 0, pos))

    def _refuse(self, pos: int, message: str) -> NoReturn:
        """Something that is no item: an error in a theory; in an included file Tamarin silently stops reading."""
        if not self.parent:
            self._fail(pos, message)
        self.pos = pos
        raise EOFError

    def _hand_on(self, upto: int) -> None:
        """Take the text up to here as code."""
        chunk = self.text[self.done : upto]
        stripped = chunk.rstrip()
        if stripped:
            self.last = self.done + len(stripped)
            self.depth += chunk.count("(") + chunk.count("[") - chunk.count(")") - chunk.count("]")
        if chunk and self.found.keep_text:
            self.found.pieces.append((False, chunk))
        self.done = max(upto, self.done)

    def _pass(self, start: int, end: int, verbatim: bool) -> None:
        """Take this stretch as it is, or as a blank, and go on behind it."""
        self._hand_on(start)
        if self.found.keep_text:
            self.found.pieces.append((verbatim, self.text[start:end] if verbatim else " "))
        self.last = end if verbatim else self.last
        self.done = self.pos = end

    def _skip(self) -> None:
        """Pass white space and comments, which nest."""
        while True:
            blanks = _BLANKS.match(self.text, self.pos)
            start = self.pos = blanks.end() if blanks else self.pos
            if self.text.startswith("//", start):
                end = self.text.find("\n", start)
                self._pass(start, len(self.text) if end < 0 else end, verbatim=False)
            elif self.text.startswith("/*", start):
                depth, end = 1, start + 2
                while depth:
                    edge = _COMMENT_EDGE.search(self.text, end) or self._fail(
                        start,
                        "this comment is never closed (comments nest: every /* needs its own */)",
                    )
                    depth, end = depth + (1 if edge.group() == "/*" else -1), edge.end()
                self._pass(start, end, verbatim=False)
            else:
                return

    def _next(self, *symbols: str) -> bool:
        return self.text.startswith(symbols, self.pos)

    def _take(self, *symbols: str) -> bool:
        """Pass the first of these that is next, and the white space behind it."""
        for symbol in symbols:
            if self.text.startswith(symbol, self.pos):
                self.pos += len(symbol)
                self._skip()
                return True
        return False

    def _identifier(self) -> str:
        """Pass a name and the white space behind it; "" where none is next."""
        matched = _IDENTIFIER.match(self.text, self.pos)
        if matched:
            self.pos = matched.end()
            self._skip()
        return matched.group() if matched else ""

    def _last_word(self) -> str:
        """The word that ends at `last`, or "". Of a long one the last 8 characters: more than any word that matters has."""
        return _NO_WORD.split(self.text[max(0, self.last - 8) : self.last])[-1]

    def _on_event(self, start: int, end: int, word: str) -> str:
        """Deal with what can stand in a theory; returns the path of a file to include, or ""."""
        self.pos = end
        if word[0] == "#":
            return self._on_directive(start, word)
        if word == '"':
            self._hand_on(start)
            if self.text[self.last - 1 : self.last] == ":" or self._last_word() in (
                "traces",
                "trace",
                "for",
            ):
                self._pass_formula(start)
            else:  # a string
                end = self.text.find('"', start + 1) + 1 or self._fail(
                    start, "this double quote is never closed"
                )
                self._pass(start, end, verbatim=True)
        elif word == "{*":
            self._on_formal_comment(start)
        elif not self._passed(start, word):
            self._hand_on(start)
            before = self.text[self.last - 1] if self.last else ","
            if word in PROOF_ENDS:
                self.found.end_in_proof(word)
            # An item stands outside of all brackets, behind a complete thing.
            elif (
                not self.depth
                and (before in _ITEM_ENDS or before.isalnum())
                and self._last_word() not in _OPEN_WORDS
            ):
                self._on_item(start, word)
        return ""

    def _passed(self, start: int, word: str) -> bool:
        """Pass a comment, a constant or a diff operator, which count inside of formulas too; False: it is none."""
        if word in ("//", "/*"):
            self.pos = start
            self._skip()
        elif word == "'":
            self._skip()  # Tamarin takes a comment behind the quote for a comment
            rest = _CONSTANT_REST.match(self.text, self.pos) or self._refuse(
                start, "a constant in single quotes may not be empty and must end on its line"
            )
            self._pass(max(start, self.done), rest.end(), verbatim=True)
        elif word == "diff":
            self._skip()
            if self._next("("):
                self.found.words.add("diff")
                if not self.found.diff and "diffEquivLemma" not in self.found.words:
                    self._refuse(start, "the diff operator " + _NEEDS_DIFF)
        elif word == "\0":
            self._refuse(start, "a NUL character, which Tamarin refuses: is this a text file?")
        return word in ("//", "/*", "'", "diff")

    def _pass_formula(self, start: int) -> None:
        """Pass a formula from quote to quote; it is handed on as code, but for its constants."""
        self.pos, word = start + 1, ""
        while word != '"':
            event = _FORMULA_EVENT.search(self.text, self.pos) or self._fail(
                start, "this double quote is never closed"
            )
            self.pos, word = event.end(), event.group()
            self._passed(event.start(), word)

    def _on_formal_comment(self, start: int) -> None:
        """`text{* ... *}`: the letters before the bracket belong to it."""
        begin = start
        while begin > self.done and self.text[begin - 1].isalpha():
            begin -= 1
        if begin < start:
            self._hand_on(begin)
            self.found.cut()
            self._pass_escaped(begin, start + 2, _FORMAL_COMMENT_EDGE, "*}")

    def _pass_escaped(self, begin: int, start: int, edges: re.Pattern[str], closing: str) -> None:
        """Take a text with escapes, from `begin` to its closing edge behind `start`."""
        end, word = start, ""
        while word != closing:
            edge = edges.search(self.text, end) or self._fail(begin, "this text is never closed")
            end, word = edge.end(), edge.group()
            if len(word) == 1 and word != closing:
                self._fail(
                    edge.start(), r"in a formal comment write \* and \\ for a star and a backslash"
                )
        self._pass(begin, end, verbatim=True)

    def _on_item(self, start: int, word: str) -> None:
        """Read an item as far as words in it could be taken for the next one."""
        found = self.found
        if word == "rule" and self._last_word() in ("left", "right"):  # a side of a diff rule
            if not found.diff:
                self._refuse(start, "a rule with sides " + _NEEDS_DIFF)
            return
        found.cut()
        if word == "end":
            self.pos = start if self.parent else self.pos
            raise EOFError
        if found.diff and word in _NOT_IN_DIFF:
            self._refuse(start, f"'{word}' is not allowed with --diff")
        self._skip()
        name = (
            self._identifier() if word in ("restriction", "axiom", "test", "rule", "export") else ""
        )
        if word in ("lemma", "diffLemma"):
            self._on_lemma(start, word)
        elif word in ("restriction", "axiom") and name and self._next("[") and not found.diff:
            self._fail(self.pos, "a restriction for one side " + _NEEDS_DIFF)
        elif word == "test":
            found.tests.add(name)
        elif word == "heuristic" and self._take(":"):
            if word in found.words:
                self._fail(start, "a second 'heuristic:', which Tamarin refuses")
            self._ranking()
        elif word == "export" and name and self._take(":") and self._next('"'):
            self._pass_escaped(self.pos, self.pos + 1, _EXPORT_EDGE, '"')
        found.words.add(word)

    def _on_lemma(self, start: int, word: str) -> None:
        """`lemma [(modulo E)] NAME [attributes]: [all-traces|exists-trace] "..."`, `lemma NAME: t1, t2 accounts for "..."` or
        `diffLemma NAME [attributes]:`, up to the proof."""
        if word == "diffLemma" and not self.found.diff:
            self._refuse(start, "a diffLemma " + _NEEDS_DIFF)
        if self._take("(") and not (self._take("modulo") and self._take("E") and self._take(")")):
            self._refuse(start, "expected '(modulo E)'")
        name, attributes = self._identifier(), self._attributes()
        if not name or not self._take(":"):
            self._refuse(self.pos, f"expected '{word} NAME [attributes]:'")
        trait, tests = Trait.ALL_TRACES, tuple[str, ...]()
        if word == "diffLemma":
            self._hand_on(self.pos)
            trait, self.last = Trait.DIFF, 0  # complete without a formula
        elif self._take("exists-trace"):
            trait = Trait.EXISTS_TRACE
        elif not self._take("all-traces") and not self._next('"'):
            tests = self._case_tests(name)
        if word == "lemma":
            if not self._next('"'):
                self._refuse(self.pos, f"lemma '{name}' needs a formula in double quotes")
            self._pass_formula(self.pos)
        self.found.cuts[-1] = (self.found.cuts[-1][0], name)
        lemma = Lemma(
            name, trait, "", attributes, self.path, self.line(start), proof=self._proof(name)
        )
        self.found.claims.append((lemma, tests))

    def _case_tests(self, name: str) -> tuple[str, ...]:
        """`t1, t2 accounts for`: Tamarin wants the tests before the lemma."""
        tests = [self._identifier()]
        while self._take(",") and not self._next("accounts for", "account for"):
            tests.append(self._identifier())
        if "" in tests or not self._take("accounts for", "account for"):
            self._refuse(
                self.pos,
                f"lemma '{name}' needs a formula in double quotes, or 'TESTS accounts for' one",
            )
        if self.found.diff:
            self._refuse(self.pos, "accountability lemmas are not allowed with --diff")
        for test in tests:
            if test not in self.found.tests:
                self._fail(self.pos, f"lemma '{name}': no case test '{test}' stands before it")
        return tuple(tests)

    def _attributes(self) -> tuple[str, ...]:
        """`[reuse, hide_lemma=NAME, heuristic=o "oracle", output=[spthy]]`, if that is next."""
        found: list[str] = []
        closed = not self._take("[")
        while not closed and not self._take("]"):
            place, word = self.pos, self._identifier()
            if word in ("heuristic", "hide_lemma", "output") and self._take("="):
                value = self._ranking() if word == "heuristic" else self._identifier()
                if not value and word != "heuristic":  # output=[module, ...]
                    value = self.text[self.pos : self.text.find("]", self.pos) + 1]
                    self.pos += len(value)
                    self._skip()
                word += "=" + ("".join(value.split()) if word == "output" else value)
            elif word not in _ATTRIBUTES:
                self._refuse(
                    place,
                    f"no lemma attribute '{word or self.text[place : place + 1]}'; allowed are "
                    f"{', '.join(_ATTRIBUTES)}, heuristic=, hide_lemma=, output=",
                )
            found.append(word)
            if not self._take(",") and not self._next("]"):
                self._refuse(self.pos, "expected ',' or ']' behind a lemma attribute")
        return tuple(found)

    def _ranking(self) -> str:
        """Pass a heuristic (a row of letters, `o "oracle"` and `{tactic}` on one line); returns its text."""
        start = self.pos
        for matched in iter(lambda: _RANKING.match(self.text, self.pos), None):
            oracle, name, letters = matched.groups()
            if oracle or set(letters or "") & {
                "o",
                "O",
            }:  # behind another letter: from the prover's own directory
                self.found.rankings.append(
                    (os.path.dirname(self.path) if oracle else None, name or "")
                )
            if name:
                self._pass(matched.start(2) - 1, matched.end(2) + 1, verbatim=True)
            self.pos = matched.end()
        text = " ".join(self.text[start : self.pos].split())
        self._skip()
        return text

    def _proof(self, name: str) -> str:
        """Begin the stored proof, if one is next, as a text of its own; "" where it is none, or `by sorry` alone."""
        self._skip()
        first = _PROOF_WORD.match(self.text, self.pos)
        word = first.group() if first else ""
        if not word:
            return ""
        if word == "SOLVED":
            self._fail(self.pos, "SOLVED without a proof, which Tamarin refuses")
        self._hand_on(self.pos)
        self.found.cut(name)
        self._take(word)
        if word == "sorry" or word == "by" and self._next("sorry"):
            return ""
        return f"proof {word}" if word in PROOF_ENDS else "proof"

    def _on_directive(self, start: int, word: str) -> str:
        """Obey a directive of the preprocessor, which is no part of the text; returns the path of a file to include, or ""."""
        self._hand_on(start)
        if self.depth > 0:
            self._refuse(
                start, f"'{word}' may stand between items only; is a bracket before it not closed?"
            )
        self.found.cut()
        mark, last, included = len(self.found.pieces), self.last, ""
        self._skip()
        if word == "#define":
            self.found.flags.add(self._identifier() or self._fail(start, "'#define' needs a name"))
        elif word == "#include":
            name = _INCLUDED_NAME.match(self.text, self.pos) or self._fail(
                self.pos,
                "expected '#include \"FILE\"', with only letters, digits, '.' and '/' in the name of the file",
            )
            self.pos, included = name.end(), os.path.join(os.path.dirname(self.path), name.group(1))
        else:
            self._branch(start, word)
        del self.found.pieces[mark:]
        self.done, self.last = self.pos, last
        return included

    def _branch(self, start: int, word: str) -> None:
        """#ifdef, #else behind an enabled branch, or #endif. A disabled branch ends at the next #else or #endif, in whatever
        that stands: a comment, a string, a nested #ifdef; that of an #else at the next #endif."""
        if word == "#ifdef":
            enabled = self._flag_formula()
            end = (
                None
                if enabled
                else _BRANCH_END.search(self.text, self.pos) or self._fail(start, _NO_ENDIF)
            )
            self.pos = end.end() if end else self.pos
            if not end or end.group(1) == "else":
                self.conditions.append((start, not enabled))
            return
        if not self.conditions or word == "#else" and self.conditions[-1][1]:
            self._refuse(
                start,
                f"'{word}' without an #ifdef; Tamarin doesn't count #ifdefs nested in a disabled branch: "
                "the first #else or #endif there ends the outer one",
            )
        place, _ = self.conditions.pop()
        if word == "#else":
            behind = self.text.find("#endif", self.pos) + len("#endif")
            self.pos = behind if behind >= len("#endif") else self._fail(place, _NO_ENDIF)

    def _flag_formula(self) -> bool:
        """`not A & (B | C)`: `&` binds tighter; "notA" means `not A`. Only tamarin-rs knows parentheses."""
        outer: list[
            tuple[bool, bool, bool]
        ] = []  # of every open bracket: the values before it, whether "not" stands there
        some, every = False, True  # whether an alternative holds, whether this one does so far
        while True:
            negated = self._take("not", "¬")
            if self._take("("):
                outer.append((some, every, negated))
                some, every = False, True
                continue
            flag = self._identifier() or self._fail(self.pos, "expected the name of a flag")
            every = every and (flag in self.found.flags) != negated
            while not self._take("&", "∧"):
                some, every = some or every, True
                if self._take("|", "∨"):
                    break
                if not outer:
                    return some
                if not self._take(")"):
                    self._fail(self.pos, "expected ')'")
                (some, before, negated), inner = outer.pop(), some
                every = before and inner != negated


def theory_view(options: Sequence[str], flags: Iterable[str]) -> tuple[tuple[str, ...], bool, bool]:
    """What of a command line changes how a theory is read: preprocessor flags, diff mode, automatic sources."""
    defined = [
        option[2:].lstrip("=") for option in options if option.startswith("-D")
    ]  # Tamarin also takes `-DX`
    return (
        (*flags, *defined, *option_values(options, "--defines")),
        bool(option_values(options, "--diff")),
        bool(option_values(options, "--auto-sources")),
    )


def _lemma_groups(theory: Theory) -> dict[str, list[Lemma]]:
    """Each lemma by name, in theory order; in diff mode both sides together."""
    groups: dict[str, list[Lemma]] = {}
    for lemma in theory.lemmas:
        groups.setdefault(lemma.name, []).append(lemma)
    return groups


def assumed_by(lemmas: Iterable[Lemma]) -> tuple[str, ...]:
    """What a lemma, of which these are the sides, takes for granted."""
    return share(tuple(dict.fromkeys(name for side in lemmas for name in side.assumes)))


# === Machine ======================================================================================

MACOS = sys.platform == "darwin"
PROC_PGRP_ONLY, PROC_PPID_ONLY = 2, 6  # macOS: what proc_listpids selects by
MAXRSS_MB = (
    2**-20 if MACOS else 2**-10
)  # the unit of ru_maxrss: the largest of the process waited for and those it waited for


def available_cores(root: str = "/", environ: Mapping[str, str] = os.environ) -> int:
    """Cores this process may use: the least of affinity, cgroup quota (v1 and v2, every level) and the Slurm allocation on this
    node. A fraction of a core doesn't count, but one core is always there. root: where proc and sys are looked for."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    bounds = [
        float(len(affinity(0)) if affinity else os.cpu_count() or 1),
        *_numbers(environ.get("SLURM_CPUS_ON_NODE", "")),
    ]
    for quota in _cgroups(root, "cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        bounds += [quota[0] / quota[1]] if len(quota) == 2 else []  # the period alone: no quota
    return max(1, int(min(bounds)))


def available_memory_mb(root: str = "/", environ: Mapping[str, str] = os.environ) -> int:
    """Memory in MB this process may use, taken or not: the least of what is built in, cgroup limits and the Slurm allocation."""
    names = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
    per_node, per_core, cores = (_numbers(environ.get(name, "")) for name in names)
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB, *per_node]
    bounds += [per_core[0] * cores[0]] if per_core and cores else []
    for limits in _cgroups(root, "memory", "memory.max", "memory.high", "memory.limit_in_bytes"):
        bounds += [limit // MB for limit in limits]
    return max(1, min(bounds))


def _cgroups(root: str, controller: str, *names: str) -> Iterator[list[int]]:
    """The numbers in these files of this process's cgroup and of all above it, v1 and v2. A container without a cgroup namespace
    reads its path from outside, and finds its own limits at the mount's root."""
    for line in os.fsdecode(_read(os.path.join(root, "proc/self/cgroup"))).splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        mounts = (
            ["", "unified"]
            if number == "0"
            else [controller]
            if controller in controllers.split(",")
            else []
        )
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount, length in itertools.product(mounts, range(len(parts) + 1)):
            folder = os.path.join(root, "sys/fs/cgroup", mount, *parts[:length])
            yield _numbers(b" ".join(_read(os.path.join(folder, name)) for name in names))


def _numbers(text: str | bytes) -> list[int]:
    return [int(word) for word in text.split() if word.isdigit() and int(word)]


def host_id() -> tuple[str, str]:
    """(host, boot id): between two equal ones a pid with its start time means the same process. The boot id holds the pid
    namespace, too: containers share a kernel and often a name, but not their pids."""
    if MACOS:
        return os.uname().nodename, os.popen("sysctl -n kern.bootsessionuuid").read().strip()
    boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    with suppress(OSError):
        boot += " " + os.readlink("/proc/self/ns/pid")
    return os.uname().nodename, boot


class _Process(NamedTuple):
    """From /proc/PID/stat; zeros when it is gone."""

    state: str = "X"
    parent: int = 0
    session: int = 0
    started: int = 0  # clock ticks since boot


def process_start(pid: int) -> int:
    """When a process started, in the system's own unit: with its pid it names one process since boot; 0 when it is gone."""
    with suppress(OSError):  # no descriptor free to look with
        return _mac_usage(pid)[1] if MACOS else _process(pid).started
    return 0


def _process(pid: int) -> _Process:
    fields = (
        _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    )  # the name before may hold anything
    return (
        _Process(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))
        if len(fields) > 19
        else _Process()
    )


def _processes() -> dict[int, _Process]:
    """Every living process by pid (Linux)."""
    table = {int(name): _process(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: process for pid, process in table.items() if process.state not in "ZX"}


def _children(pid: int) -> list[int]:
    """Children of a process, dead ones included; the list can miss one while another dies, so who must know looks again."""
    if MACOS:
        return _mac_pids(PROC_PPID_ONLY, pid)
    if not os.path.exists("/proc/thread-self/children"):  # a kernel built without
        return [child for child, process in _processes().items() if process.parent == pid]
    with suppress(FileNotFoundError, ProcessLookupError):
        threads = os.listdir(f"/proc/{pid}/task")
        return [
            int(child)
            for thread in threads
            for child in _read(f"/proc/{pid}/task/{thread}/children").split()
        ]
    return []


def _memory(pid: int) -> tuple[int, int]:
    """(address space, resident) in bytes; of the second alone on macOS, zeros when it is gone."""
    if MACOS:
        return 0, _mac_usage(pid)[0]
    page, pages = os.sysconf("SC_PAGE_SIZE"), _read(f"/proc/{pid}/statm").split() or [b"0", b"0"]
    return int(pages[0]) * page, int(pages[1]) * page


def _oom_kills(path: str = "/proc/vmstat") -> int:
    """How often the kernel's out-of-memory killer struck (Linux 4.13; all cgroups, the whole system), or -1."""
    count = re.search(rb"^oom_kill (\d+)$", _read(path), re.MULTILINE)
    return int(count[1]) if count else -1


def _read(path: str) -> bytes:
    """A file of /proc or /sys; empty when it is gone or not ours to look at. OSError when no descriptor is free."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return b""


def _send(pid: int, number: int) -> None:
    """Signal a process, or a group by its negative number; it may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _mac_pids(kind: int, number: int) -> list[int]:
    """proc_listpids: pids by parent or group."""
    import ctypes

    pids = (ctypes.c_int * 4096)()
    ctypes.CDLL(None).proc_listpids(kind, number, pids, ctypes.sizeof(pids))
    return [pid for pid in pids if pid]


def _mac_usage(pid: int) -> tuple[int, int]:
    """proc_pid_rusage, rusage_info_v0: (resident bytes, start in Mach's time since boot)."""
    import ctypes

    info = (ctypes.c_uint64 * 12)()
    failed = ctypes.CDLL(None).proc_pid_rusage(pid, 0, info)
    return (0, 0) if failed else (int(info[8]), int(info[10]))


def find_program(name: str, directory: str = "", env: Mapping[str, str] | None = None) -> str:
    """The absolute path of an executable file, or of a command on PATH (that of `env`); "" if there is none."""
    name = os.path.expanduser(name)
    folders = (
        [os.getcwd(), directory]
        if os.sep in name
        else [*os.get_exec_path(env), os.getcwd(), directory]
    )
    paths = (os.path.abspath(os.path.join(folder, name)) for folder in folders)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def relative_to(name: str, directory: str) -> list[str]:
    """What a recipe's path can mean: against the working directory; if nothing is there, against the recipe's own directory."""
    name = os.path.expanduser(name)
    paths = [path for path in (name, os.path.join(directory, name)) if os.path.exists(path)]
    return paths[:1] if len(paths) == 2 and os.path.samefile(*paths) else paths


_INTERPRETER = re.compile(
    r"#! *(?:(?:[^ ]*/)?env +(?:(?:-|\w+=)[^ ]* +)*)?([^ \n]+)"
)  # that `env` calls, or the system itself


def oracle_problem(path: str) -> str:
    """Why an oracle can't be called; "" if it can. Tamarin finds out only when it has loaded the theory."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return "is not executable (chmod +x)" if os.path.isfile(path) else "does not exist"
    with open(path, "rb") as file:
        found = _INTERPRETER.match(os.fsdecode(file.readline(1024)))
    return (
        f"needs the interpreter {found[1]!r}, which is not there"
        if found and not find_program(found[1])
        else ""
    )


def read_text(path: str, limit: int = 64 * MB) -> str:
    """A user's text file (UTF-8, with or without a byte order mark). Raises InputError."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", path) from None
    except ValueError:
        raise InputError("this is no file name", printable(path)) from None
    if len(data) > limit:
        raise InputError(f"is larger than {limit // MB} MB", path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InputError("is no UTF-8 text: save it as UTF-8", path, line, column) from None


@functools.lru_cache(maxsize=1024)
def file_state(path: str) -> FileState:
    """What a file is when it is asked for first."""
    return file_state_now(path)


def file_state_now(path: str) -> FileState:
    """What a file is: its `file_stamp`, SHA-256 of its bytes, who may execute it."""
    import hashlib

    stamp, digest = file_stamp(path), hashlib.sha256()
    with suppress(OSError), open(path, "rb") as file:
        for block in iter(functools.partial(file.read, MB), b""):
            digest.update(block)
        return FileState(stamp, digest.hexdigest(), oct(os.fstat(file.fileno()).st_mode & 0o111))
    return FileState(stamp, "")


def look_at_file(path: str) -> str:
    """A digest of a file's bytes and of who may execute it; "" when it can't be read."""
    state = file_state(path)
    return state.digest and sha256(f"{state.digest} {state.executable}".encode())


def read_from_end(path: str, size: int) -> bytes:
    """The last `size` bytes of a file, nothing of a missing one."""
    with suppress(FileNotFoundError), open(path, "rb", buffering=0) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)
    return b""  # nothing was ever printed


def ends_of(path: str, size: int = 65_536) -> list[str]:
    """The lines at the beginning and the end of a text file: all of them unless it is large."""
    tail = read_from_end(path, 2 * size)
    if len(tail) == 2 * size:
        with open(path, "rb") as file:
            tail = file.read(size) + b"\n" + tail[size:]
    return tail.decode("utf-8", "replace").splitlines()


def last_part(path: str, marker: str, reach: int = 16 * MB) -> list[str]:
    """The lines of a text file from the last `marker` on, if it stands within `reach` bytes of the end; else none."""
    for step in (65_536, reach):  # most summaries are short
        data = read_from_end(path, step)
        start = data.rfind(marker.encode())
        if start >= 0 or len(data) < step:
            break
    return (
        [line[:LINE_CAP] for line in data[start:].decode("utf-8", "replace").split("\n")]
        if start >= 0
        else []
    )


# Facts about Tamarin: its src/Main/TheoryLoader.hs, src/Main/Mode/Batch.hs and lib/theory/src/Theory/Proof.hs (1.11.0),
# and real runs of tamarin-prover 1.4 to 1.11 and tamarin-rs 1.13.

LINE_CAP = 65_536  # characters of a prover's line that are looked at; a line of output may be of any length


def copy_file(source: str, target: str) -> str:
    """Copy a file to where none is; returns its SHA-256. Raises OSError."""
    import hashlib

    digest = hashlib.sha256()
    if not os.path.isfile(source):
        raise FileNotFoundError(source)
    with open(source, "rb") as reading, open(target, "xb") as writing:
        for block in iter(functools.partial(reading.read, MB), b""):
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()


# === Supervisor ===================================================================================

# Facts: proc(5), prctl(2), wait4(2), posix_spawn(3), cgroups(7), the kernel's fs/exec.c (what execs takes over the peak of the
# memory it leaves: under posix_spawn the driver's) and mm/oom_kill.c; for macOS <libproc.h>.

MARKER = "BATCH_TAMARIN_JOB"  # in the environment of every job: <batch>/<job>/<attempt>
GRACE_S, UNKILLABLE_S = (
    3.0,
    30.0,
)  # from SIGTERM to SIGKILL; what outlives SIGKILL for so long is given up
LONGEST_LOOK_S, CLOSEST_LOOK_S, FIRST_LOOK_S = 1.0, 0.02, 0.005
FASTEST_HOG = 3 * 1024  # MB per second a prover is expected to grow at most
LATE_S = 0.5  # a look that is so late did not hold a job to its limits
COPY_S = 1.0  # for so long a child that looks like its parent is taken for one about to exec
LOG_CAP, LOG_HEAD, LOG_TAIL = 64 * MB, 16 * MB, 16 * MB
RESET = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
)


@dataclass(eq=False)
class Live:
    """A job that runs: figures for the live view, and what the supervisor must remember of it."""

    job: Job
    marker: str
    pid: int
    started: float  # monotonic; moved on by suspended time: now - started is time run
    looked: float  # when the last sample was taken
    due: float  # when the next one is: later, and the loop was busy elsewhere
    driver_peak: float  # MB; a fresh child's ru_maxrss starts there
    logs: list[CappedLog]
    turn: asyncio.Future[None]  # done: the leader has ended, or the tree is to be ended
    rss_mb: float = 0.0
    peak_mb: float = 0.0
    cpu_s: float = 0.0
    mb_seconds: float = 0.0
    tree: set[int] = field(default_factory=set)  # pids of the last sample
    copies: dict[int, float] = field(
        default_factory=dict
    )  # pid of a child that may still share its parent's memory: since when
    timer: asyncio.TimerHandle = field(init=False)  # for the next look
    ended: float | None = None  # when the leader was reaped; until then its pid and group are ours
    exit: ExitStatus | None = None
    why: tuple[Status, str] | None = None  # set by whoever ends it first
    kill: bool = False  # SIGKILL without (further) grace


@final
class Supervisor:
    """Runs jobs for one batch, as a context manager around it; single-threaded, one per driver. batch_id: unique; inside another
    supervisor's job (on a Slurm node) that job's marker, so that the outer marker is a prefix of the inner ones. lock_fd: stays
    open in a watchdog until no process of the batch is left."""

    def __init__(self, batch_id: str, lock_fd: int | None = None) -> None:
        self.live: dict[str, Live] = {}  # by job id
        self._batch_id, self._lock_fd = batch_id, lock_fd
        self._adopted: dict[
            int, Live | None
        ] = {}  # orphans that came to us, not reaped yet: whose they are
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: str | None = None  # why nothing more is started
        self._suspended: float | None = None  # since when, while every tree is held
        self._oom_kills: deque[int] = deque(
            maxlen=2
        )  # two, so that a kill just before a look is not missed
        self._adopted_at = self._oom_at = 0.0  # when we looked last

    def __enter__(self) -> Supervisor:
        self._home = os.getcwd()
        for number in map(int, os.listdir("/dev/fd")):
            with suppress(OSError):  # the descriptor of listdir itself
                os.set_inheritable(
                    number, number <= 2
                )  # Python opens all close-on-exec; what a shell handed down isn't
        if not MACOS:
            import ctypes

            ctypes.CDLL(None).prctl(
                36, 1, 0, 0, 0
            )  # PR_SET_CHILD_SUBREAPER: orphans of our descendants come to us
        self._watchdog, self._pipe = _start_watchdog(self._batch_id, self._lock_fd)
        self._strangers = {
            self._watchdog,
            *_children(os.getpid()),
        }  # what a shell started before it became us by `exec`
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # no descriptor free to look with
            for live in (*self.live.values(), None):
                self._end_now(live)
        _send(self._watchdog, signal.SIGKILL)  # nothing is left to watch
        os.close(self._pipe)
        with suppress(ChildProcessError):
            os.waitpid(self._watchdog, 0)

    async def run(self, job: Job, on_start: Callable[[int, int], None]) -> Outcome:
        """Run a job and return when its whole tree is gone; never raises for what a prover or the system does. Right after the
        start, on_start(pid, started) is called: `started` is what `process_start` tells of it."""
        import asyncio

        if self._stopped is not None:
            return Outcome(Status.INTERRUPTED, reason=self._stopped)
        try:
            live = self._start(job, asyncio.get_running_loop())
        except (OSError, ValueError) as error:
            return Outcome(
                Status.FAILED,
                reason=f"could not start {job.command[0]}: {_why_not_started(job, error)}",
            )
        try:
            on_start(live.pid, process_start(live.pid))
            await live.turn
            stuck = await self._end(live)
            if (
                live.exit
                and live.exit.signal in ("SIGTERM", "SIGINT", "SIGHUP")
                and live.why is None
            ):
                await asyncio.sleep(
                    0.2
                )  # systemd and Slurm signal everything at once: is it our turn, too?
        except BaseException:
            self._end_now(live)
            raise
        finally:
            live.timer.cancel()
            del self.live[job.id]
        for log in live.logs:
            log.cap()
        return self._outcome(live, stuck)

    def stop(
        self, job_id: str, reason: str, at_once: bool = False, status: Status = Status.INTERRUPTED
    ) -> None:
        """End one job if it runs: SIGTERM, 3 s, SIGKILL; or SIGKILL at once. Its outcome gets this status and reason."""
        if live := self.live.get(job_id):
            if (
                live.ended is None or live.exit and live.exit.signal
            ):  # what ended by itself stays so while its rest is killed
                live.why = live.why or (status, reason)
            live.kill = live.kill or at_once
            if not live.turn.done():
                live.turn.set_result(None)

    def interrupt(self, reason: str, at_once: bool = False) -> None:
        """Stop every job and start no other. Called again with at_once, it cuts the grace short."""
        self._stopped = reason
        for job_id in self.live:
            self.stop(job_id, reason, at_once)

    def suspend(self) -> None:
        """Hold every tree (Ctrl-Z); limits' clocks stand still until `resume`."""
        self._suspended = time.monotonic()
        for live in self.live.values():
            self._signal(live, self._tree(live), signal.SIGSTOP)

    def resume(self) -> None:
        """Let every held tree go on."""
        now = time.monotonic()
        away, self._suspended = now - (self._suspended or now), None
        for live in self.live.values():
            live.started, live.looked, live.due = (
                live.started + away,
                live.looked + away,
                live.due + away,
            )
            self._signal(live, self._tree(live), signal.SIGCONT)
            live.timer.cancel()
            self._look(live)

    def _start(self, job: Job, loop: asyncio.AbstractEventLoop) -> Live:
        """Spawn the leader in a session of its own, with nothing of ours but its log files."""
        import resource

        if loop is not self._loop:
            self._loop = loop
            loop.add_signal_handler(signal.SIGCHLD, self._reap)
        marker, append = (
            f"{self._batch_id}/{job.id}/{job.attempt}",
            os.O_WRONLY | os.O_APPEND | os.O_CREAT,
        )
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, job.stdout, append, 0o666),
            (os.POSIX_SPAWN_OPEN, 2, job.stderr, append, 0o666),
        ]
        started = time.monotonic()
        command = job.command if job.cwd == self._home else _in_directory(job.cwd, job.command)
        pid = os.posix_spawnp(
            command[0],
            command,
            {**job.env, MARKER: marker},
            file_actions=files,
            setsid=True,
            setsigmask=(),
            setsigdef=RESET,
        )
        inherited = 0.0 if MACOS else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_MB
        logs = [CappedLog(path) for path in dict.fromkeys((job.stdout, job.stderr))]
        live = self.live[job.id] = Live(
            job,
            marker,
            pid,
            started,
            started,
            started + FIRST_LOOK_S,
            inherited,
            logs,
            loop.create_future(),
        )
        self._tell_watchdog(b"+%d\n" % pid)
        live.timer = loop.call_later(FIRST_LOOK_S, self._look, live)
        return live

    def _tell_watchdog(self, word: bytes) -> None:
        """Which leaders there are: on macOS, no marker is to be seen."""
        with suppress(OSError):  # somebody killed it
            if MACOS:
                os.write(self._pipe, word)

    def _look(self, live: Live) -> None:
        """Sample a job, hold it to its limits, and come again: soon in its youth and near a limit, else every second."""
        self._reap(live)  # also makes up for a SIGCHLD that somebody lost
        if live.ended is not None or self._suspended is not None:
            return
        now, limits = time.monotonic(), live.job.limits
        age, since = now - live.started, now - live.looked
        pause = min(LONGEST_LOOK_S, max(FIRST_LOOK_S, age / 2))
        with suppress(OSError):  # no descriptor free to look with: the next look may have one
            self._sample(live, now)
            pause = min([pause, *(self._watch_log(live, log, since) for log in live.logs)])
        if live.rss_mb > limits.memory_mb:
            reason = f"used {live.rss_mb:,.0f} MB; its limit is {limits.memory_mb:,} MB"
            self.stop(live.job.id, reason, True, Status.MEMORY_LIMIT)
        elif age >= limits.timeout_s:
            self.stop(
                live.job.id,
                f"ran into its time limit of {limits.timeout_s:g} s",
                False,
                Status.TIMEOUT,
            )
        else:
            pause = min(pause, limits.timeout_s - age)
        pause = min(
            pause, max(CLOSEST_LOOK_S, 0.8 * (limits.memory_mb - live.rss_mb) / FASTEST_HOG)
        )
        loop = live.turn.get_loop()
        due, grid = (
            loop.time() + pause,
            2.0 ** (math.frexp(pause)[1] - 1),
        )  # common multiples: many jobs need few wake-ups
        live.timer = loop.call_at(due // grid * grid if pause > 0.06 else due, self._look, live)
        live.due = now + pause

    def _sample(self, live: Live, now: float) -> None:
        """Sum the resident memory of the tree; a child that just forked shows its parent's memory once more and doesn't count."""
        if now - self._oom_at >= 1:
            self._oom_at = now
            self._oom_kills.append(_oom_kills())
        total, sizes, copies = 0, {0: (0, 0)}, {}
        for pid, parent in self._tree(live, CLOSEST_LOOK_S).items():
            virtual, resident = sizes[pid] = _memory(pid)
            if 0 < virtual == sizes[parent][0] and resident <= sizes[parent][1]:
                copies[pid] = live.copies.get(pid, now)
                resident = 0 if now - copies[pid] < COPY_S else resident
            total += resident
        live.tree, live.copies, live.rss_mb = set(sizes), copies, total / MB
        live.peak_mb = max(live.peak_mb, live.rss_mb)
        live.mb_seconds += live.rss_mb * (now - live.looked)
        live.looked = now

    def _watch_log(self, live: Live, log: CappedLog, since: float) -> float:
        """Cut a log that is too long, its writers held meanwhile; return in how many seconds it may be too long again."""
        size = os.stat(log.path).st_size
        rate, log.size = (size - log.size) / max(1e-3, since), size
        if size <= LOG_CAP:
            return (
                max(CLOSEST_LOOK_S, 0.5 * (LOG_CAP - size) / rate) if rate > 0 else LONGEST_LOOK_S
            )
        tree = self._tree(live)
        self._signal(live, tree, signal.SIGSTOP)
        log.cap()
        self._signal(live, tree, signal.SIGCONT)
        return CLOSEST_LOOK_S

    def _tree(self, live: Live, age_s: float = 0.0) -> dict[int, int]:
        """Every process of a job, and its parent, parents first: the leader, its orphans that came to us (as seen at most `age_s`
        ago), and all below. What matters is asked again until it is empty."""
        self._reap(live)
        tree: dict[int, int] = {}
        try:
            if time.monotonic() - self._adopted_at > age_s:
                self._adopt()
            todo = [(pid, 0) for pid, owner in self._adopted.items() if owner is live]
            todo += [(live.pid, 0)] if live.ended is None else []
            if MACOS:
                todo += [(pid, 0) for pid in _mac_pids(PROC_PGRP_ONLY, live.pid) if pid != live.pid]
            while todo:
                pid, parent = todo.pop()
                if pid not in tree:
                    tree[pid] = parent
                    todo += [(child, pid) for child in _children(pid)]
            return tree
        except OSError:
            return {live.pid: 0}  # no descriptor free to look with: assume the worst

    def _adopt(self) -> Collection[int]:
        """Take note of orphans that came to us, find out whose they are, and reap the dead ones: singly, as wait4(-1) would take
        the exit status of leaders from those who wait for it. Return those that live."""
        self._adopted_at, lives = time.monotonic(), list(self.live.values())
        ours = {live.pid for live in lives if live.ended is None}
        for pid in set(_children(os.getpid())) - self._strangers - ours:
            if (
                pid not in self._adopted
            ):  # known by its marker, its session, the last sample, or because there is no other job
                marker, session = _marker(pid), _process(pid).session
                sure = [
                    live
                    for live in lives
                    if marker == live.marker or session == live.pid or pid in live.tree
                ]
                self._adopted[pid] = (sure or lives)[0] if sure or len(lives) == 1 else None
            reaped, _, usage = os.wait4(pid, os.WNOHANG)
            owner = self._adopted.pop(pid) if reaped else None
            if owner:
                owner.cpu_s += usage.ru_utime + usage.ru_stime
                owner.peak_mb = max(owner.peak_mb, usage.ru_maxrss * MAXRSS_MB)
        return self._adopted

    def _reap(self, *lives: Live) -> None:
        """Take the exit status of these leaders, or of all, if they have ended."""
        for live in lives or self.live.values():
            if live.ended is not None:
                continue
            with suppress(ChildProcessError):  # somebody else waited for it: its status is lost
                reaped, status, usage = os.wait4(live.pid, os.WNOHANG)
                if not reaped:
                    continue
                live.exit = exit_status(status)
                live.cpu_s += usage.ru_utime + usage.ru_stime
                if usage.ru_maxrss * MAXRSS_MB > live.driver_peak + 0.5:
                    live.peak_mb = max(live.peak_mb, usage.ru_maxrss * MAXRSS_MB)
            live.ended = time.monotonic()
            if live.exit and live.ended > live.due + LATE_S and not live.why:
                self._judge_late(live, live.exit)
            self._tell_watchdog(b"-%d\n" % live.pid)
            if not live.turn.done():
                live.turn.set_result(None)

    def _judge_late(self, live: Live, ended: ExitStatus) -> None:
        """Hold to its limits a leader that ended while nobody could look: by its own peak, and by when it last wrote to its stdout,
        where provers end with their summary. What wrote nothing counts as having run until now."""
        limits, noticed = live.job.limits, time.monotonic()
        with suppress(OSError):
            said = os.stat(live.job.stdout)
            last_word = noticed - max(0.0, time.time() - said.st_mtime)
            if (
                stat.S_ISREG(said.st_mode) and said.st_size and last_word > live.started - 0.1
            ):  # the kernel's clock of files is coarse
                live.ended = max(live.looked, last_word)
        if ended.signal:
            return
        if live.peak_mb > limits.memory_mb:
            live.why = (
                Status.MEMORY_LIMIT,
                f"used {live.peak_mb:,.0f} MB; its limit is {limits.memory_mb:,} MB",
            )
        elif (live.ended or noticed) - live.started > limits.timeout_s:
            live.why = Status.TIMEOUT, f"ran into its time limit of {limits.timeout_s:g} s"

    async def _end(self, live: Live) -> tuple[int, ...]:
        """Return when the tree is gone; or, with what is left, when it outlived SIGKILL for too long."""
        import asyncio

        kill_at, pause, asked = time.monotonic() + (GRACE_S if live.why else 0), 0.001, set[int]()
        while left := set(self._tree(live)):
            now = time.monotonic()
            kill_at = min(kill_at, now) if live.kill else kill_at
            if now >= kill_at + UNKILLABLE_S:
                self._strangers |= left
                return tuple(sorted(left))
            if now >= kill_at:
                self._signal(live, left, signal.SIGKILL)
            elif left - asked:
                self._signal(live, left - asked, signal.SIGTERM)
                self._signal(
                    live, left - asked, signal.SIGCONT
                )  # a stopped process takes no SIGTERM
                asked |= left
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return ()

    def _end_now(self, live: Live | None) -> None:
        """Kill a tree, or (None) orphans that could be of any job, at once: the driver gives way to nothing on its way out."""
        patience = time.monotonic() + GRACE_S
        while time.monotonic() < patience and (left := self._tree(live) if live else self._adopt()):
            self._signal(live, left, signal.SIGKILL)
            time.sleep(0.002)

    def _signal(self, live: Live | None, tree: Collection[int], number: int) -> None:
        """Signal processes of a job; the leader's number is its group's for sure only while one of ours is in there."""
        with suppress(ProcessLookupError, PermissionError):
            if (
                live
                and number != signal.SIGTERM
                and (live.ended is None or live.pid in map(os.getpgid, tree))
            ):
                os.killpg(
                    live.pid, number
                )  # at one stroke: nothing forks away. Not SIGTERM: a second one may mean more than one
        for pid in tree:
            if not live or pid != live.pid or live.ended is None:
                _send(pid, number)

    def _outcome(self, live: Live, stuck: tuple[int, ...]) -> Outcome:
        if live.why:
            status, reason = live.why
        elif live.exit is None:
            status, reason = Status.FAILED, "its exit status was lost"
        elif not live.exit.signal:
            status, reason = Status.COMPLETED, ""
        elif (
            live.exit.signal == "SIGKILL"
            and self._oom_kills
            and 0 <= self._oom_kills[0] < _oom_kills()
        ):
            status, reason = Status.MEMORY_LIMIT, "killed by the kernel's out-of-memory killer"
        else:
            status, reason = (
                Status.FAILED,
                f"ended by signal {live.exit.signal}, which batch_tamarin did not send",
            )
        if stuck:
            reason = f"{reason}; processes {', '.join(map(str, stuck))} can't be killed (waiting in the kernel?)".lstrip(
                "; "
            )
        wall = (live.ended or time.monotonic()) - live.started
        average = (
            min(live.peak_mb, live.mb_seconds / (live.looked - live.started))
            if live.mb_seconds
            else live.peak_mb
        )
        return Outcome(
            status, live.exit, Usage(wall, live.cpu_s, live.peak_mb, average), reason, stuck
        )


def end_survivors(batch_id: str, recorded: Iterable[Started]) -> list[int]:
    """Kill what an earlier driver of this batch left running on this host, and return the pids. A process counts if it carries
    the batch's marker, or if a `start` event in `recorded` tells of its pid, start time, host and boot; then so do its session
    and descendants. Never this process or one it descends from. What outlives SIGKILL for 30 s is given up."""
    here, patience = host_id(), time.monotonic() + UNKILLABLE_S
    known = {
        (start.pid, start.started)
        for start in recorded
        if (start.host, start.boot_id) == here and start.started
    }
    held: set[tuple[int, int]] = set()
    while (found := _survivors(batch_id, known | held)) and time.monotonic() < patience:
        # Held first, killed in a later round: a shell whose child died before it would start the next one, and if the shell was
        # killed then, nothing would show any more that this child is of the batch.
        for pid, started in found:
            if process_start(pid) == started:
                _send(pid, signal.SIGKILL if (pid, started) in held else signal.SIGSTOP)
        held |= found
        time.sleep(0.005)
    return sorted({pid for pid, _ in held})


def _survivors(batch_id: str, known: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """(pid, start time) of everything alive that end_survivors may end."""
    if MACOS:
        roots = [pid for pid, started in known if process_start(pid) == started]
        return {
            (pid, process_start(pid))
            for root in roots
            for pid in (root, *_mac_pids(PROC_PGRP_ONLY, root))
        }
    table = _processes()
    found = {
        pid
        for pid in table
        if (pid, table[pid].started) in known or _marker(pid).startswith(batch_id + "/")
    }
    sessions = {table[pid].session for pid in found if table[pid].session in found}
    while (
        more := {
            pid
            for pid, process in table.items()
            if process.parent in found or process.session in sessions
        }
        - found
    ):
        found |= more
    own = os.getpid()
    while own in table:
        found.discard(own)
        own = table[own].parent
    return {(pid, table[pid].started) for pid in found}


def exit_status(status: int) -> ExitStatus:
    """From wait's 16-bit status; real-time signals have no name of their own."""
    code = os.waitstatus_to_exitcode(status)
    names = {number.value: number.name for number in signal.Signals} if code < 0 else {}
    return (
        ExitStatus(code=code) if code >= 0 else ExitStatus(signal=names.get(-code, f"SIG{-code}"))
    )


def _in_directory(directory: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """A command line that does the same in a directory: posix_spawn can't change it, and ours is that of all our threads. The
    shell reads no text but this one. Raises OSError where there is no such directory or program."""
    os.stat(os.path.join(directory, "."))
    if os.sep in command[0]:
        os.stat(os.path.join(directory, command[0]))
    return ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"', directory, *command)


def _why_not_started(job: Job, error: Exception) -> str:
    """A sentence for the user; posix_spawn reports one error number for changing files, finding and executing the program."""
    program, number = job.command[0], getattr(error, "errno", None) or 0
    if not os.access(job.cwd, os.X_OK):
        return f"the working directory {job.cwd} does not exist or is closed to you"
    for log in (job.stdout, job.stderr):
        if not os.access(os.path.dirname(log), os.W_OK):
            return f"its log {log} can't be written"
    path, nowhere = (
        os.path.join(job.cwd, program) if "/" in program else "",
        "there is no such program",
    )
    maybe = "" if path else f"{nowhere}, or "  # a closed folder on PATH hides that it is nowhere
    hints = {
        errno.ENOENT: "its interpreter (#! line) or loader is missing"
        if os.path.exists(path)
        else nowhere,
        errno.EACCES: "it is a folder"
        if os.path.isdir(path)
        else f"{maybe}it is not executable, or its folder is closed to you",
        errno.ENOEXEC: "not a program for this machine, or a script without #! line",
        errno.EAGAIN: "no more processes allowed (ulimit -u, or the pids limit of a cgroup)",
        errno.EMFILE: "this process has too many open files (ulimit -n)",
    }
    return hints.get(number) or getattr(error, "strerror", None) or str(error)


def _start_watchdog(batch_id: str, lock_fd: int | None) -> tuple[int, int]:
    """Fork a process that sleeps until the pipe to it closes; (pid, our end of the pipe). Only SIGKILL and SIGSTOP reach it."""
    reading, writing = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        try:
            _watch(batch_id, reading, lock_fd)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reading)
    return pid, writing


def _watch(batch_id: str, pipe: int, lock_fd: int | None) -> None:
    """Wait until the driver dies, then kill what it leaves behind."""
    os.setsid()
    for number in set(map(int, os.listdir("/dev/fd"))) - {pipe, lock_fd}:
        with suppress(OSError):  # the descriptor of listdir itself
            os.close(number)
    leaders, rest = set[int](), b""
    for chunk in iter(lambda: os.read(pipe, 65536), b""):
        *words, rest = (rest + chunk).split(b"\n")
        for word in words:
            (leaders.add if word.startswith(b"+") else leaders.discard)(int(word[1:]))
    for pid in leaders:
        _send(-pid, signal.SIGKILL)
    end_survivors(batch_id, ())


@dataclass
class CappedLog:
    """A log file that a prover appends to; past LOG_CAP its middle is left out, again and again if need be."""

    path: str
    size: int = 0  # at the last look
    head: int = 0  # length of the head kept, once cut
    note: int = 0  # length of the note after it
    left_out: int = 0  # bytes

    def cap(self) -> None:
        """Keep the head, a note and the tail of a log over LOG_CAP; both are cut between lines if they have any."""
        with suppress(OSError):  # too long a log is no reason to stop a batch
            length = os.stat(self.path).st_size
            if length <= LOG_CAP:
                return
            import shutil

            with open(self.path, "rb") as reading, open(self.path, "r+b") as writing:
                self.head = self.head or reading.read(LOG_HEAD).rfind(b"\n") + 1 or LOG_HEAD
                source = reading.seek(length - LOG_TAIL)
                whole = reading.readline(MB).endswith(b"\n")
                source = reading.seek(reading.tell() if whole else source)
                self.left_out += source - self.head - self.note
                writing.seek(self.head)
                # Half a line of the tail goes on the note's line: standing alone it could look like a verdict.
                self.note = writing.write(
                    b"[batch_tamarin left out %d bytes here]%s"
                    % (self.left_out, b"\n" if whole else b" ")
                )
                shutil.copyfileobj(reading, writing)
                self.size = writing.truncate()


def _marker(pid: int) -> str:
    """The value of MARKER a process was started with, or "": environ is what exec left, whatever the process did since."""
    _, found, rest = (b"\0" + _read(f"/proc/{pid}/environ")).partition(
        b"\0" + MARKER.encode() + b"="
    )
    return os.fsdecode(rest.partition(b"\0")[0]) if found else ""


# === Prover =======================================================================================

TAIL_LINES, TAIL_CHARS = 20, 2_000  # of stderr, kept with a failed task
ASKED_NAME_CHECK = "Check presence of the --prove/--lemma arguments in theory"
GHC_HEAP_EXHAUSTED = 251  # GHC's exit code when `+RTS -M` is exceeded
_VERSION = re.compile(r"^(tamarin-prover|tamarin-rs) v?(\d+(?:\.\d+)+)", re.MULTILINE)
_SUMMARY = re.compile(
    r"^  ?(?:(LHS|RHS) :  |(DiffLemma):  )?(\w+) (?:\((all-traces|exists-trace)\))?: "
    r"(\S.*?)(?: \((\d{1,18}) steps\))?$"
)
_WARNING = re.compile(r"^  WARNING: (\d{1,18}) wellformedness checks? failed!")
_SECONDS = re.compile(r"^  processing time: (\d{1,18}(?:\.\d*)?(?:e-?\d\d?)?)s")
_PROGRESS = re.compile(
    r"\[Theory [^]]*\] |\[Saturating Sources\] |maude tool: | checking |diffLemma$|CallStack "
    r"|  error, called at "
)
_OLD_MAUDE = re.compile(r"returned unsupported version '([^']*)'")
_COMPLAINT = re.compile(r"(tamarin-prover|tamarin-rs|error): ")
_PARSE_ERROR = re.compile(r'^"(.*)" \(line (\d+), column (\d+)\):$')
_UNDERLINE = re.compile(r"={3,}$")
_TRACE_LABEL = re.compile(r"_SL\d+-AS\d-CL\d-A\d-C\d-N[BF]_(.*)$", re.DOTALL)
_VERDICTS = (
    ("verified", Verdict.VERIFIED),
    ("falsified", Verdict.FALSIFIED),
    *(
        (f"analysis {word}", Verdict.INCOMPLETE)
        for word in ("incomplete", "undetermined", "cannot be finished", "has been invalidated")
    ),
)


def prover_command(prover: Prover, plan: Plan, outputs: Outputs) -> tuple[str, ...]:
    """The command line that proves (or with `prove: false` checks) one task. Values need `=`: `-D X` would load a file X."""
    rust, cores = (
        prover.flavour == "tamarin-rs",
        plan.limits.cores,
    )  # tamarin-rs refuses `+RTS` with exit 2
    old = not rust and prover.version and tuple(map(int, prover.version.split("."))) < (1, 10)
    traces = (
        () if old else (f"--output-json={outputs.trace_json}", f"--output-dot={outputs.trace_dot}")
    )
    return (
        *prover.command,
        *((f"--processors={cores}",) if rust else ("+RTS", f"-N{cores}", "-RTS")),
        plan.theory,
        *((f"--prove={plan.lemma}",) if plan.prove else ()),
        *prover.options,
        *plan.options,
        *(f"-D={flag}" for flag in plan.flags),
        *traces,
        f"--output={outputs.proof}",
    )


def prover_environment(prover: Prover) -> dict[str, str]:
    """The child's environment. Without a UTF-8 locale Tamarin dies on the first non-ASCII character it reads or writes."""
    env = {**os.environ, **prover.env}
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    if not re.search("utf-?8", locale, re.IGNORECASE):
        env["LC_ALL"] = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    return env


@dataclass
class ProverOutput:
    """What one process said: the lines of its last summary, and what else a result needs."""

    lines: list[SummaryLine] = field(default_factory=list)
    summary: bool = False  # a summary was printed to its end
    prover_s: float | None = None
    failed_checks: int = 0
    old_maude: str = ""
    parse_error: str = ""
    complaint: str = ""  # the line of stderr that tells best what went wrong
    stderr_tail: str = ""


def read_output(stdout: str, stderr: str, lemma: str = "") -> ProverOutput:
    """Read a process's two log files, in bounded memory; of the summary only the lines of `lemma`, if it is given."""
    output, lines = ProverOutput(), ends_of(stderr)
    _read_summary(last_part(stdout, "=\nsummary of summaries:\n"), output, lemma)
    error: list[str] = []  # the lines of a parse error, once its first was seen
    for line in lines:
        maude, place = _OLD_MAUDE.search(line), _PARSE_ERROR.match(line)
        if maude:
            output.old_maude = maude.group(1)
        if place or (error and len(error) < 4 and line):
            error.append(
                line if not place else f"{place.group(1)}:{place.group(2)}:{place.group(3)}:"
            )
        elif line.strip() and not _COMPLAINT.match(output.complaint) and not _PROGRESS.match(line):
            output.complaint = line.strip()[
                :300
            ]  # the first that the prover marks as one, else the last
    output.parse_error = " ".join(error)[:600]
    output.stderr_tail = "\n".join(line[:TAIL_CHARS] for line in lines[-TAIL_LINES:])[-TAIL_CHARS:]
    return output


def has_loaded(stderr: str) -> bool:
    """Whether a prover says that it has parsed, translated and closed the theory (they do from 1.8 on)."""
    return any(line.endswith("] Theory closed") for line in ends_of(stderr))


def _read_summary(lines: Sequence[str], output: ProverOutput, lemma: str) -> None:
    """Only what stands between the last "summary of summaries:" and the line of `=` that ends it counts: tamarin-prover 1.4 prints
    the block twice, and a theory printed before it may contain lookalikes."""
    theories = sum(line.startswith("analyzed: ") for line in lines)
    for line in lines[2:]:
        if line.startswith("====="):
            output.summary = theories < 2  # else a verdict may be another theory's
            return
        if (
            lemma not in line and line[2:3] not in "Wp"
        ):  # a theory has many other lemmas: don't look at their lines
            continue
        found, checks, seconds = _SUMMARY.match(line), _WARNING.match(line), _SECONDS.match(line)
        if found:
            side, diff, name, trait, text, steps = found.groups()
            verdict = next((word for start, word in _VERDICTS if text.startswith(start)), None)
            trait = trait or (Trait.DIFF if diff else "")
            output.lines.append(
                SummaryLine(name, side or "", trait, verdict, int(steps) if steps else None)
            )
        elif checks:
            output.failed_checks = int(checks.group(1))
        elif seconds:
            output.prover_s = float(seconds.group(1))


def wellformedness_titles(theory: str) -> list[str]:
    """The headings of the wellformedness report that Tamarin writes at the end of a theory: a proof file, or its stdout."""
    lines = last_part(theory, "WARNING: the following wellformedness checks failed!")
    report = list(itertools.takewhile(lambda line: line != "*/", lines))
    return [
        line.strip()
        for line, below in zip(report, [*report[1:], ""])
        if line.startswith("Accountability (") or (_UNDERLINE.match(below) and line.strip())
    ]  # this one is not underlined


def own_dot(text: str, lemma: str, names: Iterable[str]) -> str:
    """The graphs of `lemma` among the concatenated DOT graphs of all attacks in the file; `names`: the theory's lemmas."""
    graphs = re.split(r"^(?=(?:strict )?digraph )", text, flags=re.MULTILINE)[1:]
    return "".join(
        graph
        for graph in graphs
        if graph_lemma(graph.partition('"')[2].partition('"')[0], {*names, lemma}) == lemma
    )


def own_json(text: str, lemma: str, names: Iterable[str]) -> str:
    """The same for the JSON traces; text that is no such JSON is left as it is."""
    try:
        traces = json.loads(text)
        own = [
            graph
            for graph in traces["graphs"]
            if graph_lemma(graph["jgLabel"], {*names, lemma}) == lemma
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return (
        ""
        if not own
        else text
        if own == traces["graphs"]
        else json.dumps({**traces, "graphs": own}, indent=1)
    )


def graph_lemma(label: str, known: Iterable[str]) -> str:
    """The one of the `known` lemmas that a trace's label names; it ends in the lemma's name and the path of proof cases, joined
    by `-`, which only the first case may lack."""
    found = _TRACE_LABEL.search(label)
    rest = found.group(1) if found else label
    fitting = [name for name in known if rest.startswith(name)]
    return max(
        fitting,
        key=lambda name: (rest[len(name) : len(name) + 1] in ("", "-"), len(name)),
        default="",
    )


def judge(plan: Plan, outcome: Outcome, output: ProverOutput, proof: str) -> Result:
    """The result of one task: how its job ended, and what the prover printed for that very lemma.

    Silence, an exit code, a summary without the lemma or with an unknown word never make a verdict."""
    lines = [
        line
        for line in output.lines
        if line.name == plan.lemma  # in diff mode one for each side
        and (line.side in plan.sides if plan.sides else not line.side)
        and (line.trait == Trait.DIFF) == (plan.trait == Trait.DIFF)
    ]
    verdict: Verdict | None = None
    status, reason = _judge_exit(outcome, output)
    if status is Status.COMPLETED:
        status, verdict, reason = _judge_lines(plan, lines)
    steps = [line.steps for line in lines if line.steps is not None and verdict]
    usage = outcome.usage
    return Result(
        status=status,
        verdict=verdict,
        steps=sum(steps) if steps else None,
        trait=lines[0].trait if lines else plan.trait,
        lemmas=tuple(lines),
        exit=outcome.exit,
        usage=Usage(
            wall_s=round(usage.wall_s, 3),
            cpu_s=round(usage.cpu_s, 3),
            peak_mb=round(usage.peak_mb, 1),
            avg_mb=round(usage.avg_mb, 1),
        ),
        prover_s=output.prover_s,
        warnings=tuple(prover_warnings(plan, output, proof)),
        reason=reason,
        stderr_tail="" if verdict else output.stderr_tail,
        at=timestamp(),
    )


def _judge_exit(outcome: Outcome, output: ProverOutput) -> tuple[Status, str]:
    ended, said = outcome.exit or ExitStatus(), output.parse_error or output.complaint
    if outcome.status is not Status.COMPLETED:
        return outcome.status, outcome.reason
    if ended.code == GHC_HEAP_EXHAUSTED:
        return Status.MEMORY_LIMIT, "the prover's own heap limit (+RTS -M) was reached"
    if ended.signal or ended.code:
        how = (
            f"killed by {ended.signal}, not by this batch"
            if ended.signal
            else f"exit code {ended.code}"
        )
        return Status.FAILED, how + (f": {said}" if said else "")
    return (
        (Status.COMPLETED, "")
        if output.summary
        else (Status.FAILED, "exit code 0, but the prover printed no summary")
    )


def _judge_lines(plan: Plan, lines: Sequence[SummaryLine]) -> tuple[Status, Verdict | None, str]:
    missing = [side for side in plan.sides if side not in {line.side for line in lines}]
    if not lines and plan.optional:
        return Status.SUPERSEDED, None, "not needed: no partial deconstructions are left"
    if not lines or missing:
        where = f" on side {missing[0]}" if missing and lines else ""
        return (
            Status.FAILED,
            None,
            f"the prover's summary has no line for lemma '{plan.lemma}'{where}",
        )
    verdicts = {line.verdict for line in lines}
    if None in verdicts:
        return (
            Status.FAILED,
            None,
            f"the prover's summary has an unknown verdict for lemma '{plan.lemma}'",
        )
    verdict = next(
        word
        for word in (Verdict.FALSIFIED, Verdict.INCOMPLETE, Verdict.VERIFIED)
        if word in verdicts
    )
    return (
        Status.COMPLETED,
        verdict,
        "the prover could not finish the analysis" if verdict is Verdict.INCOMPLETE else "",
    )


def prover_warnings(plan: Plan, output: ProverOutput, proof: str) -> Iterator[str]:
    """What the prover warned of. Its complaint about a generated lemma's name (asked for by us) is none of the theory's."""
    count = output.failed_checks
    titles = wellformedness_titles(proof) if count else []
    if plan.prove and (plan.optional or plan.lemma == EQUIVALENCE_LEMMA):
        count -= bool(count)
        titles = [title for title in titles if title != ASKED_NAME_CHECK]
    if (
        "Derivation Checks" in titles
    ):  # they have 5 s by default: this depends on the machine, never on the verdict
        count -= 1
        titles.remove("Derivation Checks")
        yield "derivation checks timed out (raise --derivcheck-timeout)"
    if count > 0:
        yield f"{plural(count, 'wellformedness check')} failed" + (
            f": {', '.join(dict.fromkeys(titles))}" if titles else ""
        )
    if output.old_maude:
        yield f"Maude {output.old_maude} is not supported by this prover"


VERSION_LIMITS = Limits(cores=1, memory_mb=4096, timeout_s=30)


async def ask_versions(provers: Iterable[Prover]) -> None:
    """Ask every prover its version, all at once and each executable once; one that does not tell is warned of."""
    import asyncio
    import tempfile

    groups: dict[str, list[Prover]] = {}
    for prover in provers:
        groups.setdefault(json.dumps([prover.command, prover.options, prover.env]), []).append(
            prover
        )
    with (
        tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder,
        Supervisor(os.urandom(6).hex()) as supervisor,
    ):
        await asyncio.gather(*(_ask_version(supervisor, folder, same) for same in groups.values()))


async def _ask_version(supervisor: Supervisor, folder: str, provers: Sequence[Prover]) -> None:
    prover = provers[0]
    stdout, stderr = (os.path.join(folder, prover.alias + ending) for ending in (".out", ".err"))
    job = Job(
        prover.alias,
        1,
        (*prover.command, "--version", *prover.options),
        os.getcwd(),
        prover_environment(prover),
        VERSION_LIMITS,
        stdout,
        stderr,
    )
    outcome = await supervisor.run(job, lambda pid, started: None)
    said = "\n".join(ends_of(stdout))
    found = _VERSION.search(said)
    digests = [look_at_file(word) for word in prover.command if os.path.isfile(word)]
    for same in provers:
        same.flavour, same.version = found.groups() if found else ("tamarin-prover", "")
        same.identity = sha256(json.dumps([digests, said]).encode())
    if not prover.version:
        problem = (
            outcome.reason
            or read_output(stdout, stderr).complaint
            or "it said nothing that we know"
        )
        warn(f"prover '{prover.alias}' did not tell its version: {problem}")


_PHASE = re.compile(
    r"^\[Theory [^]\n]*\] ([^\n]+)|^\[Saturating Sources\] (?:Step (\d+) \(Max (\d+)\)|Done)",
    re.MULTILINE,
)


def phase(log: str) -> str:
    """What a prover says it is doing, from the end of its stderr; "" when it says nothing that we know."""
    with suppress(OSError):
        for said, step, steps in _PHASE.findall(
            read_from_end(log, 2048).decode("utf-8", "replace")
        )[-1:]:
            if said:
                return printable(re.sub("^Theory | started$", "", said)).lower()
            return f"saturating sources {step}/{steps}" if step else "proving"
    return ""


# === Recipe =======================================================================================

JsonPath = tuple[Union[str, int], ...]
Check = Callable[["Recipe", Any, JsonPath], None]
DEFAULT_CORES, DEFAULT_MEMORY_GB, DEFAULT_TIMEOUT_S = 4, 16, 3600
SCHEDULERS = ("fifo", "sjf", "ljf")
ID_BYTES = 200
_JSON_TOKEN = re.compile(
    r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\],]|[^\s{}\[\],"]+'
)  # a text with a colon behind it is a key


class Recipe:
    """A recipe file: its JSON object, checked, and where in the text all stands. Raises InputError with all problems at once."""

    def __init__(self, path: str, text: str | None = None) -> None:
        """Read the file at `path`, or take `text` for what it says."""
        self.path, self.text = path, read_text(path) if text is None else text
        self.problems: list[InputError] = []
        self.data: dict[str, Any] = self._parse()
        check_recipe(self, self.data, ())
        self.raise_problems()

    def problem(self, path: JsonPath, message: str) -> None:
        """Note that something is wrong at a place of the JSON text."""
        place, known = ".".join(map(str, path)), path
        while known and known not in self._positions:
            known = known[:-1]
        offset = self._positions.get(known, 0)
        line, column = (
            self.text.count("\n", 0, offset) + 1,
            offset - self.text.rfind("\n", 0, offset),
        )
        self.problems.append(
            InputError(f"{place}: {message}" if place else message, self.path, line, column)
        )

    def raise_problems(self) -> None:
        if self.problems:
            raise InputError("\n".join(map(str, self.problems)))

    def _parse(self) -> dict[str, Any]:
        repeated = False

        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal repeated
            repeated = repeated or len(dict(items)) < len(items)
            return {
                key: value for key, value in items if value is not None
            }  # null: as if it were not there

        try:
            data = json.loads(self.text, object_pairs_hook=pairs, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise InputError(
                f"this is no valid JSON: {error.msg}", self.path, error.lineno, error.colno
            ) from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"this JSON can't be read: {error}", self.path) from None
        if repeated:
            for where, count in Counter(where for where, _ in json_positions(self.text)).items():
                if count > 1:
                    self.problem(where, "this key stands here twice: keep one")
            self.raise_problems()
        if not isinstance(data, dict):
            raise InputError(
                'a recipe is a JSON object: {"tamarin_versions": ..., "tasks": ...}',
                self.path,
                1,
                1,
            )
        return data

    @functools.cached_property
    def _positions(self) -> dict[JsonPath, int]:
        """Needed only where something is wrong. Of a key that stands twice, the second."""
        return dict(json_positions(self.text))


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def json_positions(text: str) -> Iterator[tuple[JsonPath, int]]:
    """Where each member (its key) and each element of valid JSON text begins."""
    path: list[str | int] = []
    for token in _JSON_TOKEN.finditer(text):
        word, string, is_key = token.group(0, 1, 2)
        if is_key:
            path[-1] = json.loads(string)
        if is_key or (word not in "]}," and path and isinstance(path[-1], int)):
            yield tuple(path), token.start()
        if word in "[{":
            path.append(0 if word == "[" else "")
        elif word in "]}":
            path.pop()
        elif word == "," and isinstance(path[-1], int):
            path[-1] += 1


# --- What a recipe may contain: a table of checks for each kind of object -------------------------


def check_value(good: Callable[[Any], object], message: str) -> Check:
    """A value for which `good` holds; in the message FOUND stands for what is there instead."""

    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if not good(value):
            recipe.problem(path, message.replace("FOUND", _described(value)))

    return check


def check_number(whole: bool, *words: str) -> Check:
    """A positive number (`whole`: an integer; "60" will do), or one of the words; the word "50%" stands for any percentage."""

    def good(value: Any) -> bool:
        if isinstance(value, str) and (
            value.lower() in words or ("50%" in words and percentage(value))
        ):
            return True
        number = float(value) if isinstance(value, str) and value.isdecimal() else value
        return type(number) in (int, float) and 0 < number < 1e9 and not (whole and number % 1)

    allowed = [
        "a positive whole number" if whole else "a positive number",
        *(f'"{word}"' for word in words),
    ]
    return check_value(good, f"must be {' or '.join(allowed)}, not FOUND")


def check_one_of(*words: str) -> Check:
    return check_value(
        lambda value: value in words, f"must be one of {', '.join(words)}, not FOUND"
    )


def check_each(kind: type[Any], item: Check, message: str, least: int = 0) -> Check:
    """A list, or an object from names (`kind`), of at least so many members that pass the check `item`."""
    shape = check_value(lambda value: isinstance(value, kind) and len(value) >= least, message)

    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        shape(recipe, value, path)
        if isinstance(value, kind):
            for key, member in value.items() if kind is dict else enumerate(value):
                item(recipe, member, (*path, key))

    return check


def check_object(fields: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """An object with these members and no others."""

    def member(recipe: Recipe, value: Any, path: JsonPath) -> None:
        key = str(path[-1])
        if key in fields:
            return fields[key](recipe, value, path)
        allowed = ", ".join(name for name, check in fields.items() if check is not check_later)
        recipe.problem(path, f"unknown key{did_you_mean(key, fields)}; allowed: {allowed}")

    members = check_each(dict, member, "must be an object, not FOUND")

    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        members(recipe, value, path)
        for key in required if isinstance(value, dict) else ():
            if key not in value:
                recipe.problem(path, f"'{key}' is missing")

    return check


def _described(value: Any) -> str:
    return (
        "an object"
        if isinstance(value, dict)
        else "a list"
        if isinstance(value, list)
        else json.dumps(value)[:60]
    )


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value != ""
        and not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value)
    )


def check_version(recipe: Recipe, value: Any, path: JsonPath) -> None:
    check_name(recipe, path[-1], path)
    check_object(_VERSION_FIELDS)(recipe, value, path)
    if isinstance(value, dict) and ("path" in value) == ("command" in value):
        recipe.problem(
            path, "needs either 'path' (a file, or a command on PATH) or 'command' (a list)"
        )


def check_options(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """A list of prover options; words between +RTS and -RTS are GHC's."""
    check_each(list, check_option, "must be a list of texts, not FOUND")(recipe, value, path)
    runtime = (
        [item for item in value if item in ("+RTS", "-RTS")] if isinstance(value, list) else []
    )
    if runtime[-1:] == ["+RTS"]:
        recipe.problem(path, "'+RTS' needs a '-RTS' after its options")


def check_option(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """One prover option that is not the tool's own business. Inside `+RTS ... -RTS` only -N is."""
    if not _is_text(value):
        return recipe.problem(path, f"must be an option of the prover, not {_described(value)}")
    name = value.split("=")[0]
    if " " in name and name[0] in "-+":
        return recipe.problem(
            path, 'one option per text: use a list such as ["+RTS", "-M8g", "-RTS"]'
        )
    if name[:1] not in ("-", "+"):
        return recipe.problem(
            path,
            f"'{printable(value)}' would be read as a theory file: an option's value is joined by '=', "
            "as in --bound=5",
        )
    for own, advice in _OWN_OPTIONS.items():
        short = (
            own[0] == "-" and own[1] != "-"
        )  # its value may follow at once, and a long one may be abbreviated
        if (
            name == own
            or (short and name.startswith(own))
            or (not short and len(name) > 3 and own.startswith(name))
        ):
            return recipe.problem(path, f"{own} can't be given here: {advice}")


def check_expectations(recipe: Recipe, value: Any, path: JsonPath) -> None:
    lemmas = check_each(dict, check_expectation, "must be an object with at least one lemma", 1)
    (lemmas if isinstance(value, dict) else check_expectation)(recipe, value, path)


def percentage(text: str) -> float | None:
    """The share that "50%" means, or None."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    return float(found.group(1)) / 100 if found and 0 < float(found.group(1)) <= 100 else None


check_text = check_value(_is_text, "must be a text that is not empty, not FOUND")
check_bool = check_value(lambda value: isinstance(value, bool), "must be true or false, not FOUND")
check_any = check_value(lambda value: True, "")
check_later = check_value(
    lambda value: False, "is not supported by this version of batch_tamarin.py: remove it"
)
check_expectation = check_one_of(Verdict.VERIFIED, Verdict.FALSIFIED)
check_flag = check_value(
    lambda value: isinstance(value, str) and re.fullmatch(r"\w+", value),
    "must be the name of one preprocessor flag, without -D",
)
check_name = check_value(
    lambda value: _is_text(value) and value.isprintable() and not re.search(r"[/\\]|\.\.", value),
    "becomes part of file names: a text without '/', '\\', '..' and control characters, not FOUND",
)
check_env = check_value(
    lambda value: (
        isinstance(value, dict)
        and all(
            isinstance(text, str) and "\0" not in text and name and not set("=\0") & set(name)
            for name, text in value.items()
        )
    ),
    'must be an object from variables (not empty, without "=") to texts, such as {"TMPDIR": "/scratch"}',
)
_OWN_OPTIONS = {
    option: advice
    for options, advice in (
        ("--prove --lemma", "name the lemmas under 'lemmas'"),
        ("-o -O --output --Output", "proofs are always written to the results directory"),
        ("--output-json --output-dot", "traces are always written to the results directory"),
        ("--output-module -m", "a translation proves nothing"),
        ("--parse-only", "it proves nothing: use the 'check' command"),
        ("--precompute-only", "it proves nothing"),
        ("-N --processors", "use 'max_cores' in 'resources'"),
    )
    for option in options.split()
}
_SOME_TEXTS = check_each(list, check_text, "must be a list with at least one text, not FOUND", 1)
_VERSION_FIELDS: dict[str, Check] = {
    "path": check_text,
    "command": _SOME_TEXTS,
    "options": check_options,
    "env": check_env,
    "version": check_text,
    "test_success": check_any,
}
_RESOURCES = {
    "max_cores": check_number(True),
    "max_memory": check_number(False),
    "timeout": check_number(False),
}
_FLAGS = check_each(list, check_flag, "must be a list, not FOUND")
_OVERRIDES: dict[str, Check] = {
    "tamarin_versions": _SOME_TEXTS,
    "tamarin_options": check_options,
    "preprocess_flags": _FLAGS,
    "resources": check_object(_RESOURCES),
}
_LEMMA: dict[str, Check] = {"name": check_text, **_OVERRIDES, "expect": check_expectation}
_TASK: dict[str, Check] = {
    "theory_file": check_text,
    "output_file_prefix": check_name,
    **_OVERRIDES,
    "expect": check_expectations,
    "cwd": check_text,
    "lemmas": check_each(list, check_object(_LEMMA, ["name"]), "must be a list, not FOUND"),
    "prove": check_bool,
    "variants": check_later,
    "race": check_later,
}
_TASKS = check_each(
    dict,
    check_object(_TASK, ["theory_file", "tamarin_versions", "output_file_prefix"]),
    "must be an object with at least one task",
    1,
)
_PROVERS = check_each(dict, check_version, "must be an object with at least one prover", 1)
_CONFIG: dict[str, Check] = {
    "global_max_cores": check_number(True, "max"),
    "global_max_memory": check_number(False, "max", "50%"),
    "default_timeout": check_number(False),
    "output_directory": check_text,
    "scheduler": check_one_of(*SCHEDULERS),
    "granularity": check_one_of("lemma"),
    "launcher": check_one_of("local"),
    "recheck_with": check_text,
}
_RECIPE: dict[str, Check] = {
    "$schema": check_any,
    "config": check_object(_CONFIG),
    "tamarin_versions": _PROVERS,
    "tasks": _TASKS,
}
check_recipe = check_object(_RECIPE, ["tamarin_versions", "tasks"])

# --- Provers of a recipe --------------------------------------------------------------------------


def recipe_provers(recipe: Recipe) -> dict[str, Prover]:
    """The provers that the recipe's tasks use, found on this machine, their versions not yet asked. Raises InputError."""
    provers: dict[str, Prover] = {}
    known, config = recipe.data["tamarin_versions"], recipe.data.get("config", {})
    named: list[tuple[JsonPath, str]] = [
        (("config", key), config[key]) for key in ("recheck_with",) if key in config
    ]
    for name, task in recipe.data["tasks"].items():
        for *place, entry in (
            (task,),
            *(("lemmas", *item) for item in enumerate(task.get("lemmas", ()))),
        ):
            named += [
                (("tasks", name, *place, "tamarin_versions", index), alias)
                for index, alias in enumerate(entry.get("tamarin_versions", ()))
            ]
    for path, alias in named:
        if alias not in known:
            recipe.problem(
                path,
                f"no prover '{printable(alias)}' in tamarin_versions{did_you_mean(alias, known)}",
            )
        elif alias not in provers:
            provers[alias] = _recipe_prover(recipe, alias)
    recipe.raise_problems()
    return provers


def _recipe_prover(recipe: Recipe, alias: str) -> Prover:
    entry, path = recipe.data["tamarin_versions"][alias], ("tamarin_versions", alias)
    words = entry.get("command") or [entry["path"]]
    name, directory = os.path.basename(words[0]), os.path.dirname(recipe.path)
    program = find_program(words[0], directory)

    def argument(word: str) -> str:
        """A relative path among the arguments, as it is here: a task may run in another directory."""
        files = (
            [path for path in relative_to(word, directory) if os.path.isfile(path)]
            if os.sep in word and word[0] != "-"
            else []
        )
        same_file(recipe, path, word, files)
        return os.path.abspath(files[0]) if files else word

    if os.sep in words[0]:
        programs = [
            path
            for path in relative_to(words[0], directory)
            if os.path.isfile(path) and os.access(path, os.X_OK)
        ]
        same_file(recipe, path, words[0], programs)
    if name in ("docker", "podman"):
        recipe.problem(
            path,
            f"{name} runs the prover outside our process tree, where limits can't hold: use apptainer, or "
            "install the prover",
        )
    if not program:
        recipe.problem(
            path,
            f"there is no executable program '{printable(words[0])}': give a file, or a command on PATH",
        )
    return Prover(
        alias,
        (program or words[0], *map(argument, words[1:])),
        tuple(entry.get("options", ())),
        dict(entry.get("env", {})),
    )


def same_file(recipe: Recipe, place: JsonPath, name: str, paths: Sequence[str]) -> None:
    """Note a problem where a name can mean two files that are not equal."""
    if len({look_at_file(path) for path in paths}) > 1:
        recipe.problem(place, two_files(name, paths))


def two_files(name: str, paths: Iterable[str]) -> str:
    return (
        f"'{printable(name)}' can mean two files that differ, {' and '.join(printable(os.path.abspath(path)) for path in paths)}: "
        "give the absolute path of one"
    )


def recipe_path(file: str, recipe_file: str) -> str:
    """How a recipe should name a file: relative to its own directory, unless that could mean another one here."""
    directory = os.path.dirname(os.path.abspath(recipe_file))
    relative = os.path.relpath(file, directory)
    meant = relative_to(relative, directory)
    return (
        relative
        if meant and all(os.path.samefile(path, file) for path in meant)
        else os.path.abspath(file)
    )


# === Plan =========================================================================================


def plan_batch(
    recipe: Recipe,
    provers: dict[str, Prover],
    room: Limits,
    options: PlanOptions,
    warn: Callable[[str], None],
) -> Batch:
    """The completely resolved Batch of a recipe, in file order. Raises InputError with all that is wrong."""
    config = recipe.data.get("config", {})
    limits = _global_limits(config, room, options, warn)
    planner = _Planner(recipe, provers, limits, warn)
    tasks = {
        task.id: task
        for name, entry in recipe.data["tasks"].items()
        for task in planner.recipe_task(name, entry)
    }
    recipe.raise_problems()
    header = Header(
        at=timestamp(),
        id=os.urandom(6).hex(),
        version=__version__,
        recipe_file=os.path.abspath(recipe.path),
        recipe=recipe.data,
        options=options,
        limits=limits,
        cwd=os.getcwd(),
        scheduler=options.scheduler or config.get("scheduler", "fifo"),
        provers=provers,
        pid=os.getpid(),
        started=process_start(os.getpid()),
        host=host_id()[0],
        boot_id=host_id()[1],
        python=sys.version.split()[0],
        platform=sys.platform,
    )
    return Batch(header, tasks, inputs=planner.inputs)


def _global_limits(
    config: Json, room: Limits, options: PlanOptions, warn: Callable[[str], None]
) -> Limits:
    """Those of the whole batch: what is asked for, but no more than this process may use (`room`); and a job's default time."""
    limits: list[int] = []
    for asked, key, most, unit, name in (
        (options.cores, "global_max_cores", room.cores, 1, "cores"),
        (options.memory, "global_max_memory", room.memory_mb, 1024, "GB"),
    ):
        word = str(asked or config.get(key, "max")).lower()
        part = 1.0 if word == "max" else percentage(word)
        limit = int(most * part if part else float(word) * unit)
        if limit > most:
            warn(
                f"{limit / unit:g} {name} asked for, but this process may use {most / unit:.4g} {name}: capped"
            )
        limits.append(max(1, min(limit, most)))
    return Limits(
        limits[0],
        limits[1],
        options.timeout_s or float(config.get("default_timeout", DEFAULT_TIMEOUT_S)),
    )


@dataclass
class _Choice:
    """One lemma that an item of a task's `lemmas` selects."""

    item: Mapping[str, Any]
    entry: Mapping[str, Any]  # the task's fields, overridden by the item's
    alias: str  # of the prover: its own options may change how the theory is read
    path: JsonPath  # of the item's name
    lemmas: list[Lemma]  # one, or its two sides in diff mode
    place: int  # in the theory
    theory: Theory


class _Planner:
    """Plans one recipe task after the other; remembers the ids given, the theories read and the caps already said."""

    def __init__(
        self,
        recipe: Recipe,
        provers: Mapping[str, Prover],
        limits: Limits,
        warn: Callable[[str], None],
    ) -> None:
        self.recipe, self.provers, self.limits, self.warn = recipe, provers, limits, warn
        self.directory = os.path.dirname(recipe.path)
        self.ids: set[str] = set()
        self.capped: set[JsonPath] = set()
        self.theories: dict[tuple[Any, ...], Theory | None] = {}
        self.inputs: dict[TheoryView, Inputs] = {}
        self.twins: dict[
            str, str
        ] = {}  # by theory file: another one that its name in the recipe can mean

    def recipe_task(self, name: str, entry: Mapping[str, Any]) -> Iterator[Task]:
        """The tasks of one entry of the recipe's `tasks`: theories, then lemmas in theory order, then provers."""
        path: JsonPath = ("tasks", name)
        cwd = os.path.abspath(os.path.expanduser(entry.get("cwd", ".")))
        if not os.path.isdir(cwd):
            return self.recipe.problem((*path, "cwd"), f"there is no directory '{printable(cwd)}'")
        for file in self._theory_files(entry, path):
            prefix = entry["output_file_prefix"].replace(
                "{theory}", os.path.splitext(os.path.basename(file))[0]
            )
            choices, expect = self._choices(entry, path, file), entry.get("expect")
            names = {choice.lemmas[0].name for choice in choices}
            for pattern in (
                expect if isinstance(expect, dict) and choices else ()
            ):  # what matches nothing would never be missed
                if not any(_selects(pattern, choice.lemmas[0]) for choice in choices):
                    self.recipe.problem(
                        (*path, "expect", pattern),
                        f"matches no planned lemma{did_you_mean(pattern, names)}",
                    )
            for choice in choices:
                yield self._task(name, choice, file, prefix, cwd)

    def _task(self, name: str, choice: _Choice, file: str, prefix: str, cwd: str) -> Task:
        lemma, entry, alias, theory = choice.lemmas[0], choice.entry, choice.alias, choice.theory
        if theory.diff and self.provers[alias].flavour == "tamarin-rs":
            self.recipe.problem(
                choice.path,
                f"tamarin-rs ('{alias}') has no --diff: use tamarin-prover for this task",
            )
        expect = entry.get("expect")
        if isinstance(expect, dict):  # by names, which come first, and patterns
            fitting = (
                word for pattern, word in expect.items() if fnmatch.fnmatchcase(lemma.name, pattern)
            )
            expect = expect.get(lemma.name) or next(fitting, None)
        plan = Plan(
            id=self._unique_id(f"{prefix}--{lemma.name}--{alias}"),
            entry=name,
            theory=share(path_from(file, cwd)),
            lemma=lemma.name,
            trait=lemma.trait,
            prover=alias,
            sides=share(tuple(side.side for side in choice.lemmas if side.side)),
            options=share(tuple(entry.get("tamarin_options", ()))),
            flags=share(tuple(entry.get("preprocess_flags", ()))),
            limits=self._limits(choice),
            cwd=share(cwd),
            prove=entry.get("prove", True),
            optional=lemma.optional,
            assumes=assumed_by(choice.lemmas),
            expect=expect,
            key="",
            theory_digest=share(theory.digest[:32]),
        )
        key, lemma_key = self._keys(plan, theory)
        return Task(replace(plan, key=key, lemma_key=lemma_key))

    def _inputs(self, plan: Plan, theory: Theory) -> Inputs:
        """Everything that can change a result, but for the lemma; cores, memory and time can't."""
        if plan.view not in self.inputs:
            prover, options, flags, cwd = (
                self.provers[plan.prover],
                plan.options,
                plan.flags,
                plan.cwd,
            )
            env, all_options = prover_environment(prover), (*prover.options, *options)
            oracles = used_oracles(theory, all_options, cwd)
            maude = ["maude", *option_values(all_options, "--with-maude")][-1]
            maude_path = find_program(
                os.path.join(cwd, os.path.expanduser(maude)) if os.sep in maude else maude, cwd, env
            )
            files = list(
                filter(None, (find_program(word, cwd, env) for word in prover.command))
            )  # as in `nice tamarin-prover`
            self._refuse_two_meanings(prover, cwd)
            files += [
                path
                for path in (os.path.join(cwd, word) for word in prover.command)
                if os.path.isfile(path) and path not in files
            ]
            depends = bool(oracles) or any(
                os.path.exists(os.path.join(cwd, option.partition("=")[2] or ".."))
                for option in all_options
                if "=" in option
            )
            words = {
                "prover": [
                    prover.identity,
                    [look_at_file(path) for path in files],
                    [word for word in prover.command if word not in files],
                ],
                "Maude": look_at_file(maude_path),
                "options": [prover.options, options],
                "preprocessor flags": flags,
                "environment": [
                    sorted(prover.env.items()),
                    [env.get(name) for name in RESULT_VARIABLES],
                ],
                **{
                    f"oracle {path_from(path, cwd)}": [path, look_at_file(path)] for path in oracles
                },
                "working directory": cwd if depends else "",
            }
            quits = option_values((*all_options, *theory.configuration), "--quit-on-warning")
            why_whole = (
                theory.cannot_split
                or "--quit-on-warning" * bool(quits)
                or "unusual lemmas" * (not theory.splits_for_sure)
            )
            parts = {name: sha256(json.dumps(value).encode())[:32] for name, value in words.items()}
            parts |= (
                {f"theory ({why_whole}: all of it counts)": theory.digest[:32]}
                if why_whole
                else {"theory outside of lemmas": theory.split_digests[0][:32]}
            )
            others = map(os.path.abspath, (*oracles, *files, *filter(None, [maude_path])))
            read = {
                **{os.path.abspath(path): state for path, state in theory.files.items()},
                **{path: file_state(path) for path in others},
            }
            key = sha256(json.dumps([words, theory.digest]).encode())[:32]
            self.inputs[plan.view] = Inputs(theory.name, key, not why_whole, read, parts)
        return self.inputs[plan.view]

    def _refuse_two_meanings(self, prover: Prover, cwd: str) -> None:
        """A bare word of a command may be a file where the task runs, and another one here, where the version is asked."""
        place: JsonPath = ("tamarin_versions", prover.alias, "command")
        for word in prover.command[1:]:
            paths = os.path.abspath(word), os.path.join(cwd, word)
            if look_at_file(paths[0]) != look_at_file(paths[1]) and place not in self.capped:
                self.capped.add(place)
                self.recipe.problem(
                    place,
                    f"'{printable(word)}' is not the same file here and in {printable(cwd)}, where a task "
                    f"runs: write './{printable(word)}' for the one here, or an absolute path",
                )

    def _keys(self, plan: Plan, theory: Theory) -> tuple[str, str]:
        """`Task.key` and `Task.lemma_key`: of the whole file, and of what can matter to this lemma."""
        inputs, lemma, prove = self._inputs(plan, theory), plan.lemma, plan.prove
        whole = sha256(f"{inputs.key} {prove} {lemma}".encode())[:32]
        if not inputs.splits:
            return whole, ""
        places = theory.split_digests[1]
        texts = (
            "".join(digest for each in lemmas for *_, digest in places.get(each, ()))
            for lemmas in ((lemma,), plan.assumes)
        )
        inputs.lemmas[lemma] = tuple(share(sha256(text.encode())[:16]) for text in texts)
        return whole, sha256(
            json.dumps(
                [inputs.parts, theory.digest_of((lemma, *plan.assumes)), prove, lemma]
            ).encode()
        )[:32]

    def _theory_files(self, entry: Mapping[str, Any], path: JsonPath) -> list[str]:
        pattern = entry["theory_file"]
        meant, many = (
            relative_to(pattern, self.directory),
            "{theory}" in entry["output_file_prefix"],
        )
        found = [[path] for path in meant if os.path.isfile(path)]
        if many and not found:
            import glob

            roots = dict.fromkeys(map(os.path.abspath, (".", self.directory or ".")))
            matches = (
                glob.glob(
                    os.path.join(glob.escape(root), os.path.expanduser(pattern)), recursive=True
                )
                for root in roots
            )
            found = [sorted(filter(os.path.isfile, paths)) for paths in matches]
            names = [
                [os.path.relpath(path, root) for path in paths] for paths, root in zip(found, roots)
            ]
            if all(names[1:]) and names[0] and names[-1] != names[0]:
                self.recipe.problem(
                    (*path, "theory_file"), two_files(pattern, (paths[0] for paths in found))
                )
            found = [paths for paths in found if paths]
        files = found[0] if found else []
        self.twins.update(zip(*found) if len(found) == 2 else ())
        if not files:
            self.recipe.problem(
                (*path, "theory_file"),
                (
                    f"there is no theory file '{printable(pattern)}'"
                    if many or not _is_pattern(pattern)
                    else "a pattern needs {theory} in output_file_prefix, so that each theory has results of its own"
                ),
            )
        return files

    def _choices(self, entry: Mapping[str, Any], path: JsonPath, file: str) -> list[_Choice]:
        """What the task's `lemmas` select, in theory order. An exact name beats patterns; of patterns the first counts;
        "!pattern" takes away, wherever it stands."""
        items = [
            (item, (*path, "lemmas", index, "name"))
            for index, item in enumerate(entry.get("lemmas", ()))
        ]
        takes = [pair for pair in items if pair[0]["name"][0] != "!"] or [({"name": "*"}, path)]
        found: list[_Choice] = []
        for item, where in sorted(takes, key=lambda pair: _is_pattern(pair[0]["name"])):
            name, merged = item["name"], {**entry, **item}
            views = [
                (alias, self._theory(merged, alias, file, (*path, "theory_file")))
                for alias in merged["tamarin_versions"]
            ]
            chosen = [
                _Choice(item, merged, alias, where, sides, place, theory)
                for alias, theory in views
                if theory
                for place, sides in enumerate(_lemma_groups(theory).values())
                if _selects(name, sides[0])
            ]
            if not chosen and views[0][1]:
                self._no_such_lemma(name, _lemma_groups(views[0][1]), where, file)
            taken = {choice.lemmas[0].name for choice in found} if _is_pattern(name) else ()
            found += [choice for choice in chosen if choice.lemmas[0].name not in taken]
        for name, where in (
            (item["name"], where) for item, where in items if item["name"][0] == "!" and found
        ):
            left = [choice for choice in found if not _selects(name[1:], choice.lemmas[0])]
            if len(left) in (0, len(found)):
                self.recipe.problem(
                    where,
                    f"'{printable(name)}' {'takes no lemma away' if left else 'leaves no lemma'}",
                )
            found = left
        return sorted(found, key=lambda choice: choice.place)

    def _no_such_lemma(
        self, name: str, groups: Mapping[str, list[Lemma]], where: JsonPath, file: str
    ) -> None:
        if not groups:
            return self.recipe.problem(
                where[:2], f"{printable(file)} has no lemmas (with these flags): nothing to prove"
            )
        some = ", ".join(list(groups)[:12]) + (", ..." if len(groups) > 12 else "")
        self.recipe.problem(
            where,
            f"no lemma of {printable(file)} matches '{printable(name)}'{did_you_mean(name, groups)}; "
            f"it has: {some}",
        )

    def _theory(
        self, entry: Mapping[str, Any], alias: str, file: str, path: JsonPath
    ) -> Theory | None:
        """The theory as this prover will see it with these options and flags; None when that is a problem (noted once)."""
        options = (*self.provers[alias].options, *entry.get("tamarin_options", ()))
        view = (file, *theory_view(options, entry.get("preprocess_flags", ())))
        if view not in self.theories:
            for old in [known for known, theory in self.theories.items() if theory][
                :-8
            ]:  # their texts take room
                del self.theories[old]
            self.theories[view] = None
            try:
                self.theories[view] = load_theory(*view, keep_text=True)
                if file in self.twins and self._all_digests(view, options) != self._all_digests(
                    (self.twins[file], *view[1:]), options
                ):
                    self.recipe.problem(
                        path, two_files(entry["theory_file"], (file, self.twins[file]))
                    )
            except InputError as error:
                self.recipe.problems.append(error)
        return self.theories[view]

    def _all_digests(self, view: tuple[Any, ...], options: Sequence[str]) -> list[str]:
        """Of a theory with its includes and its oracles. Raises InputError."""
        theory = load_theory(*view)
        oracles = used_oracles(theory, options, os.getcwd())
        return [*(state.digest for state in theory.files.values()), *map(look_at_file, oracles)]

    def _limits(self, choice: _Choice) -> Limits:
        """Per field: the lemma's, the task's, the default; above the global limit it is capped, else it would wait for ever."""
        item, task = choice.path[:-1], choice.path[:2]
        own, inherited = (
            choice.item.get("resources", {}),
            self.recipe.data["tasks"][task[1]].get("resources", {}),
        )
        chosen: list[float] = []
        for key, default, most in (
            ("max_cores", DEFAULT_CORES, self.limits.cores),
            ("timeout", self.limits.timeout_s, math.inf),
            ("max_memory", DEFAULT_MEMORY_GB, self.limits.memory_mb / 1024),
        ):
            asked = float(own.get(key, inherited.get(key, default)))
            where = (*(item if key in own else task), "resources", key)
            if asked > most and (key in own or key in inherited) and where not in self.capped:
                self.capped.add(where)
                self.warn(
                    f"{'.'.join(map(str, where))}: {asked:g} is above the global limit: capped at {most:.3g}"
                )
            chosen.append(min(asked, most))
        return share(Limits(int(chosen[0]), max(1, int(chosen[2] * 1024)), chosen[1]))

    def _unique_id(self, text: str) -> str:
        """A safe file name of at most 200 bytes, unlike every other one even where case is ignored."""
        base = re.sub(r"[^\w.+-]", "_", text)
        base = "_" + base[1:] if base[0] in ".-" else base
        if len(base.encode()) > ID_BYTES:
            base = (
                base.encode()[: ID_BYTES - 20].decode("utf-8", "ignore")
                + "-"
                + sha256(text.encode())[:12]
            )
        folded = base.lower()
        if (
            not base.isascii()
        ):  # equal for what a case-ignoring, Unicode-composing file system takes for the same
            import unicodedata

            folded = unicodedata.normalize("NFC", base.casefold())
        endings = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        ending = next(ending for ending in endings if folded + ending not in self.ids)
        self.ids.add(folded + ending)
        return base + ending


RESULT_VARIABLES = (
    "GHCRTS",
    "TAMARIN_NO_MAUDE_VARIANTS",
)  # of the environment: they can change what is proven


def _is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def _selects(pattern: str, lemma: Lemma) -> bool:
    """Whether a name or a shell pattern means this lemma, or the accountability lemma it was generated from."""
    return any(name and fnmatch.fnmatchcase(name, pattern) for name in (lemma.name, lemma.parent))


def select_ids(batch: Batch, patterns: Sequence[str]) -> list[str]:
    """The ids that -t selects: by prefix or shell pattern; all without -t. Raises InputError for a pattern without a match."""
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {
            task_id
            for task_id in batch.tasks
            if task_id.startswith(pattern)  # a recheck goes by its task's id
            or fnmatch.fnmatchcase(task_id.removesuffix("~recheck"), pattern)
        }
        if not matching:
            lemma = any(task.plan.lemma == pattern for task in batch.tasks.values())
            hint = (
                f"; for that lemma: -t '*--{pattern}--*'"
                if lemma
                else did_you_mean(pattern, batch.tasks)
            )
            raise InputError(
                f"-t '{printable(pattern)}' matches no task{hint}; ids look like '{next(iter(batch.tasks))}'"
            )
        chosen |= matching
    return [task_id for task_id in batch.tasks if task_id in chosen or not patterns]


# === Journal ======================================================================================

JOURNAL = "batch.jsonl"


class Journal:
    """The truth about a batch on disk, one JSON object a line, by one writer, who holds a lock. `record` is how a running batch
    changes: the line is written, then the batch changed. Results that come together share a `flush`; only then is anyone told."""

    def __init__(self, path: str) -> None:
        """Open or create, and lock, the journal at `path`. Raises OSError, StorageError."""
        self.path, self.batch = path, Batch()
        self.observers: list[Callable[[Event], None]] = []  # told of an event once it is on disk
        self._unflushed: list[Event] = []
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._by_file = lock_journal(self.fd, path)
        self.size = os.fstat(self.fd).st_size

    def begin(self, batch: Batch) -> None:
        """Write the plan of a new batch. Raises StorageError."""
        self.batch = batch
        lines = map(json_line, batch.events())
        while data := b"".join(
            itertools.islice(lines, 1_000)
        ):  # 100,000 tasks need not be in memory as text
            self._write(data)
        self._sync()

    def record(self, event: Event) -> None:
        """Write one event, then apply it. Raises StorageError."""
        self._write(json_line(event))
        self.batch.apply(event)
        self._unflushed.append(event)

    def flush(self) -> None:
        """Bring what was recorded to the disk, then tell the observers. Raises StorageError."""
        events, self._unflushed = self._unflushed, []
        if not all(isinstance(event, Started) for event in events):  # a lost start only runs again
            self._sync()
        for event in events:
            for observer in self.observers:
                observer(event)

    def close(self) -> None:
        self.flush()
        os.close(self.fd)
        if self._by_file:
            remove_file(self.path + ".lock")

    def _write(self, data: bytes) -> None:
        """Append whole lines. If they don't go in whole the file is cut back, so that it always ends with a whole line."""
        try:
            if os.write(self.fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self.fd, self.size)
            raise StorageError(
                f"the journal can't be written: {error.strerror}. What it holds is safe: make room, then "
                "run the same command again to go on",
                self.path,
            ) from None
        self.size += len(data)

    def _sync(self) -> None:
        try:
            getattr(os, "fdatasync", os.fsync)(self.fd)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.ENOTSUP,
            ):  # some file systems have nothing to flush
                raise StorageError(
                    f"the journal can't be brought to disk: {error.strerror}", self.path
                ) from None


def json_line(event: Event) -> bytes:
    """One line of the journal; half a surrogate pair (an undecodable file name) survives as its JSON escape."""
    text = json.dumps(encode_event(event), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def lock_journal(fd: int, path: str) -> bool:
    """Make this process the journal's one writer; whether that took a lock file. Raises StorageError that says who is."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError as error:
        no_locks = error.errno in (
            errno.ENOLCK,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
        )  # the file system has none
        if no_locks and lock_by_file(path):
            return True
        os.close(fd)
        if not no_locks and error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StorageError(f"the journal can't be locked: {error.strerror}", path) from None
    holder = load_batch(path, lambda _: None)[0].header
    raise StorageError(
        f"another run is at work here (process {holder.pid or '?'} on {holder.host or '?'}): "
        f"wait for it, or give another directory with -o",
        path,
    )


def lock_by_file(path: str) -> bool:
    """Hold the journal by a file beside it that names this process, unless the one that it names still lives or may live."""
    host, boot = host_id()
    try:
        with open(path + ".lock", "x", encoding="utf-8") as file:
            json.dump(
                {
                    "host": host,
                    "boot_id": boot,
                    "pid": os.getpid(),
                    "started": process_start(os.getpid()),
                },
                file,
            )
        return True
    except FileExistsError:
        if lock_file_holds(path):
            return False
    remove_file(path + ".lock")
    return lock_by_file(path)


def lock_file_holds(path: str) -> bool:
    """Whether there is such a file, and its process is not known to be gone."""
    try:
        with open(path + ".lock", encoding="utf-8") as file:
            holder = json.load(file)
        return (holder["host"], holder["boot_id"]) != host_id() or process_start(
            holder["pid"]
        ) == holder["started"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def journal_events(
    file: BinaryIO, path: str, warn: Callable[[str], None], apply: Callable[[Event], None]
) -> Iterator[Event]:
    """The events from where the file stands, applied; it is left standing before a torn last line. Leading NULs (blocks that a
    crashed file system never filled) are stripped. A line that can't be read, or an event applied, is skipped, loudly."""
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        try:
            event = decode_event(json.loads(line.lstrip(b"\0")))
            if event:
                apply(event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if line.strip(b"\0 \r\n"):
                warn(
                    f"{path}:{number}: this line can't be used and is skipped ({type(error).__name__}: {error})"
                )
        else:
            if event:
                yield event


def load_batch(path: str, warn: Callable[[str], None]) -> tuple[Batch, int]:
    """The Batch that a journal tells of, and where its last whole line ends.

    Raises InputError when there is no journal."""
    import gc

    batch = Batch()
    gc.disable()  # nothing here is cyclic, and looking for it would take an eighth of the time
    try:
        with open(path, "rb") as file:
            deque(journal_events(file, path, warn, batch.apply), maxlen=0)
            return batch, file.tell()
    except OSError as error:
        raise InputError(f"the journal can't be read: {error.strerror}", path) from None
    finally:
        gc.enable()


def is_locked(path: str) -> bool:
    """Whether some process holds the journal's lock."""
    import fcntl

    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # any other: this file system has no locks
        return isinstance(error, BlockingIOError) or lock_file_holds(path)
    return False


# --- The results directory ------------------------------------------------------------------------

OUTPUT_FILES = (
    ("logs", ".out"),
    ("logs", ".err"),
    ("proofs", ".spthy"),
    ("traces", ".json"),
    ("traces", ".dot"),
)


def result_files(directory: str, job: str) -> Outputs:
    """Where a job leaves its files: absolute paths."""
    directory = os.path.abspath(directory)
    return Outputs(
        *(os.path.join(directory, folder, job + ending) for folder, ending in OUTPUT_FILES)
    )


RESULT_FOLDERS = ("success", "failed", "proofs", "traces", "logs")


def open_results(
    directory: str, planned: Batch, fresh: bool, tell: Callable[[str], None]
) -> tuple[str, Journal]:
    """The directory to write to and its journal, whose batch is ready to run. An unfinished batch of the same recipe goes on;
    beside anything else, which is not touched, a dated sibling is made. Raises StorageError."""
    try:
        os.makedirs(directory, exist_ok=True)
        found = os.listdir(directory)
        begun = [
            place
            for place in (directory, newest_sibling(directory))
            if place and os.path.exists(f"{place}/{JOURNAL}")
        ]
        for place in [directory] if not found else [] if fresh else begun:
            journal = Journal(os.path.join(place, JOURNAL))
            if not journal.size or continue_batch(journal, planned, tell):
                break
            journal.close()
        else:
            place, known = dated_sibling(directory), JOURNAL in found and not fresh
            what = (
                "a finished batch, or another recipe's, is there already and"
                if known
                else "what is there"
            )
            tell(f"{what} is left alone: a new batch begins in {place}")
            journal = Journal(os.path.join(place, JOURNAL))
        if not journal.size:
            journal.begin(planned)
        for folder in RESULT_FOLDERS:
            os.makedirs(os.path.join(place, folder), exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the results directory can't be written: {error.strerror}", error.filename or directory
        ) from None
    return place, journal


def continue_batch(journal: Journal, planned: Batch, tell: Callable[[str], None]) -> bool:
    """Bring an unfinished batch of the same recipe up to the present plan; False, and nothing done, for any other batch."""
    old, end = load_batch(journal.path, tell)
    journal.batch = old
    old.inputs = planned.inputs
    before, now = old.header, planned.header
    same = old.has_begun and (
        before.recipe_file == now.recipe_file
        or (before.recipe, before.cwd) == (now.recipe, now.cwd)
    )
    finished = old.ended is not None and old.count(*FINAL) == len(old.tasks)
    known = [
        (old.tasks[task.id], task.plan) for task in planned.tasks.values() if task.id in old.tasks
    ]
    grown = any(task.plan.key == plan.key and not still_holds(task, plan) for task, plan in known)
    if not same or (finished and not grown):  # or no journal of ours at all
        return False
    running = [task.started for task in old.tasks.values() if task.status is Status.RUNNING]
    end_survivors(old.id, [started for started in running if started])
    journal.size = end
    os.ftruncate(journal.fd, end)  # a line that a dying writer left half-written
    rerun = sum(task.is_final and task.plan.key != plan.key for task, plan in known)
    vanished = tuple(task_id for task_id in old.tasks if task_id not in planned.tasks)
    journal.record(replace(now, id=old.id, vanished=vanished))
    for task in planned.tasks.values():
        if task.id not in old.tasks or task.plan != old.tasks[task.id].plan:
            journal.record(task.plan)
    tell(
        f"resuming: {old.count(*FINAL):,} of {len(old.tasks):,} done"
        + (f"; {rerun:,} run again, as a theory, an option or a prover changed" if rerun else "")
        + (f"; no longer planned: {', '.join(vanished[:10])}" if vanished else "")
    )
    return True


def newest_sibling(directory: str) -> str:
    """The newest dated directory beside this one that holds a journal, or ""."""
    import glob

    stem = glob.escape(directory.rstrip(os.sep)) + "_[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]_*"
    return max(
        (os.path.dirname(path) for path in glob.glob(os.path.join(stem, JOURNAL))), default=""
    )


def dated_sibling(directory: str) -> str:
    """Make `NAME_YYYY-MM-DD_HH-MM-SS` beside a directory, for nobody else."""
    stem = directory.rstrip(os.sep) + time.strftime("_%Y-%m-%d_%H-%M-%S")
    for path in (stem, *(f"{stem}_{number}" for number in range(2, 1_000))):
        with suppress(FileExistsError):
            os.mkdir(path)
            return path
    raise StorageError("there is no free name for a directory beside it", directory)


def results_directory(path: str, *records: str) -> str:
    """The results directory that a user means: it, or one of the records in it. Raises InputError that says what is wrong."""
    directory = (
        os.path.dirname(path) or "."
        if os.path.basename(path) in records and os.path.isfile(path)
        else path
    )
    if os.path.isfile(directory):
        raise InputError(
            "is a file: give the results directory (`run` names it after 'results:')",
            printable(path),
        )
    if not os.path.isdir(directory):
        raise InputError("there is no such results directory", printable(path))
    if not any(os.path.exists(os.path.join(directory, name)) for name in records):
        newest = newest_sibling(directory)
        raise InputError(
            "holds no results" + (f"; the newest beside it: {printable(newest)}" if newest else ""),
            printable(path),
        )
    return directory


# === Cache ========================================================================================

CACHE_GB = 2.0


class Hit(NamedTuple):
    """A stored result that holds for a task."""

    result: Result  # as the task's own, marked as cached
    path: str  # of the entry
    files: Mapping[str, str]  # SHA-256 of the outputs in it, by their names in Outputs
    exact: bool  # nothing that Tamarin reads changed since


class Cache:
    """Results under digests of all that they depend on, in a directory that any number of runs may share; never fatal.

    Below it, `LEMMA/KEY.KIND/` holds `entry.json` and the outputs. LEMMA is a digest of a theory's and a lemma's name, KEY is
    `Task.key`, KIND is `Task.lemma_key`, `limit-HOST` for what met its limits on that host, or `loaded` for a text that a prover
    has loaded. An entry appears whole, by a rename, and is never changed; what is damaged is removed, the least used go first."""

    def __init__(self, directory: str = "", size_gb: float = CACHE_GB) -> None:
        """`directory`: default $XDG_CACHE_HOME/batch-tamarin, or ~/.cache/batch-tamarin."""
        base = os.environ.get("XDG_CACHE_HOME", "")
        base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
        self.directory = os.path.abspath(directory or os.path.join(base, "batch-tamarin"))
        self.size_mb, self.stored, self.problem = (
            size_gb * 1024,
            0,
            "",
        )  # the first reason why nothing can be stored
        self._host = sha256(os.uname().nodename.encode())[:16]

    def find(self, task: Task, inputs: Inputs) -> Hit | None:
        """The stored result that holds for a task: first one of the very same text, last one that met a limit on this host."""
        paths = _names(self._folder(inputs.theory, task.plan.lemma))
        for path in sorted(paths, key=lambda path: (_by_limit(path), task.plan.key not in path)):
            entry = (
                self.read(path)
                if task.plan.key in path or (task.plan.lemma_key and task.plan.lemma_key in path)
                else None
            )
            if (
                entry
                and (not _by_limit(path) or path.endswith(self._host))
                and still_holds(entry[0], task.plan, by_lemma=True)
            ):
                old, exact = cast(Result, entry[0].result), entry[0].plan.key == task.plan.key
                return Hit(
                    replace(
                        old,
                        cached=True,
                        ran=old.at,
                        old_text=not exact,
                        warnings=old.warnings if exact else (),
                    ),
                    path,
                    entry[1]["files"],
                    exact,
                )
        return None

    def restore(self, hit: Hit, outputs: Outputs) -> bool:
        """Copy a result's files to where the task's own would be; False, and no file, if they aren't whole."""
        try:
            for name, digest in hit.files.items():
                if copy_file(os.path.join(hit.path, name), getattr(outputs, name)) != digest:
                    raise FileNotFoundError
            with suppress(OSError):  # a cache that others own
                os.utime(hit.path)  # the least recently used is removed first
            return True
        except OSError as error:
            if isinstance(error, FileNotFoundError):  # damaged, or removed by another run
                remove_entry(hit.path)
            for name in hit.files:
                remove_file(getattr(outputs, name))
            return False

    def store(
        self, task: Task, event: Finished, outputs: Outputs, inputs: Inputs, parse_error: bool
    ) -> None:
        """Keep a result, told of by its `finish` event, if it would be the same again."""
        result = task.result or Result(task.status)
        by_limit = task.status in (Status.TIMEOUT, Status.MEMORY_LIMIT)
        # The kernel or a stranger may have ended it, too: a limit was met for sure only where it shows.
        met = (
            task.status is Status.TIMEOUT
            or result.usage.peak_mb >= task.plan.limits.memory_mb
            or result.exit == ExitStatus(GHC_HEAP_EXHAUSTED)
        )
        settled = (
            task.status is Status.COMPLETED
            or parse_error
            or (task.plan.optional and task.status is Status.SUPERSEDED)
        )
        if settled or (by_limit and met):
            kind = (
                f"limit-{self._host}" if by_limit else task.plan.lemma_key if task.verdict else ""
            )
            path = os.path.join(
                self._folder(inputs.theory, task.plan.lemma), f"{task.plan.key}.{kind}"
            )
            if by_limit:
                remove_entry(path)  # met under other limits
            self._write(
                path,
                outputs,
                {
                    "task": encode_event(task.plan),
                    "finish": encode_event(event),
                    "parts": inputs.parts_of(task.plan.lemma),
                },
            )

    def has_loaded(self, inputs: Inputs) -> bool:
        """Whether the prover is known to have loaded this very text."""
        with suppress(OSError):
            os.utime(self._load_entry(inputs))
        return os.path.exists(self._load_entry(inputs))

    def remember_load(self, inputs: Inputs) -> None:
        """The prover has loaded this text."""
        if not self.has_loaded(inputs):
            self._write(self._load_entry(inputs), None, {})

    def what_is_new(self, task: Task, inputs: Inputs) -> str:
        """Why no stored result holds for a task: which parts of its key no stored result of that lemma has."""
        entries = [
            entry
            for _, entry in filter(
                None, map(self.read, _names(self._folder(inputs.theory, task.plan.lemma)))
            )
        ]
        known = {part for entry in entries for part in entry["parts"].items()}
        new = [part[0] for part in inputs.parts_of(task.plan.lemma).items() if part not in known]
        if not entries:
            return "no result of it is stored"
        if any(entry["task"]["key"] == task.plan.key for entry in entries):
            return "what is stored of it met smaller limits, or those of another host"
        return (
            f"new: {', '.join(new)}"
            if new
            else "nothing is new, but never stood together like this"
        )

    def prune(self) -> str:
        """Keep to the size that is allowed; returns why nothing could be stored, or ""."""
        left = self.size_mb if self.stored else math.inf
        for _, size_mb, path in sorted(self.entries(), reverse=True) if self.stored else ():
            left -= size_mb
            if left < 0:
                remove_entry(path)
        self.stored = 0
        return self.problem

    def entries(self) -> Iterator[tuple[float, float, str]]:
        """When last used (seconds since 1970), size in MB and path of all entries, those included that were never finished."""
        for path in itertools.chain.from_iterable(
            map(_names, _names(self.directory, "[0-9a-f]{32}"))
        ):
            with suppress(OSError):  # gone meanwhile
                sizes = [os.stat(os.path.join(path, file)).st_size for file in os.listdir(path)]
                yield os.stat(path).st_mtime, sum(sizes) / MB, path

    def read(self, path: str) -> tuple[Task, Json] | None:
        """The task of an entry with its result, and all that the entry says; one that makes no sense is removed."""
        try:
            if not os.path.isfile(os.path.join(path, "entry.json")):
                return None
            with open(os.path.join(path, "entry.json"), encoding="utf-8") as file:
                entry = json.load(file, parse_constant=_refuse_constant)
            plan, result = decode(Plan, entry["task"]), decode(Result, entry["finish"])
            task = Task(plan, result.status, result=result)
            if not os.path.basename(path).startswith(task.plan.key) or not set(
                entry["files"]
            ) <= set(field_names(Outputs)):
                raise ValueError
            return task, {**entry, "parts": dict(entry["parts"]), "files": dict(entry["files"])}
        except OSError:  # gone meanwhile, not yet whole, or not ours to read
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            if not path.endswith(".loaded"):
                remove_entry(path)
            return None

    def _folder(self, theory: str, lemma: str) -> str:
        return os.path.join(self.directory, sha256(json.dumps([theory, lemma]).encode())[:32])

    def _load_entry(self, inputs: Inputs) -> str:
        return os.path.join(self._folder(inputs.theory, ""), inputs.key + ".loaded")

    def _write(self, path: str, outputs: Outputs | None, entry: Json) -> None:
        """Make an entry; a problem is kept for `prune` and ends all storing."""
        import shutil

        if self.problem:
            return
        temporary = f"{path}-{os.getpid()}"
        try:
            os.makedirs(temporary)
            files = {
                name: copy_file(output, os.path.join(temporary, name))
                for name, output in (vars(outputs) if outputs else {}).items()
                if os.path.exists(output)
            }
            write_file(os.path.join(temporary, "entry.json"), json.dumps({**entry, "files": files}))
            os.rename(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else another run was faster
                self.problem = f"results can't be kept in the cache {self.directory}: {error.strerror or error}"
            shutil.rmtree(temporary, ignore_errors=True)
        self.stored += 1
        if self.stored > 1000:
            self.prune()


def _names(
    folder: str, pattern: str = r"[0-9a-f]{32}\.(|[0-9a-f]{32}|limit-[0-9a-f]{16}|loaded)(-\d+)?"
) -> list[str]:
    """Paths of what the cache (or a run that was killed) made in a folder; none if it isn't there."""
    with suppress(OSError):
        return [
            os.path.join(folder, name) for name in os.listdir(folder) if re.fullmatch(pattern, name)
        ]
    return []


def _by_limit(path: str) -> bool:
    """Whether an entry holds what met its limits."""
    return ".limit-" in os.path.basename(path)


def remove_entry(path: str) -> None:
    """Remove an entry of the cache, and its folder if it was the last."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


# === Scheduler and executors ======================================================================

FLUSH_S = 0.005  # how long a result may wait for others before it is brought to disk and shown
TRACE_CAP = 64 * MB  # a larger trace file is left as the prover wrote it


class Room:
    """The cores and the memory (MB) that jobs share: two semaphores taken together: no job holds one and waits for the other."""

    def __init__(self, cores: int, memory_mb: int) -> None:
        self.cores, self.memory_mb = cores, memory_mb

    def fits(self, limits: Limits) -> bool:
        return limits.cores <= self.cores and limits.memory_mb <= self.memory_mb

    def take(self, limits: Limits) -> None:
        self.cores, self.memory_mb = self.cores - limits.cores, self.memory_mb - limits.memory_mb

    def give(self, limits: Limits) -> None:
        self.cores, self.memory_mb = self.cores + limits.cores, self.memory_mb + limits.memory_mb


class Scheduler:
    """Does the work on items as soon as their `limits` fit into the room, in order.

    An item that fits may overtake one that doesn't. When the first waiting one has been overtaken for as long as its own timeout,
    nothing else starts until it does: with limits capped to the whole room, nothing can wait for ever. (Limits are poor estimates
    of run times: reserving by them, as EASY backfilling does, doubled the makespan in simulations.)"""

    def __init__(self, room: Room) -> None:
        self.room, self.stopped = room, False
        self._places = itertools.count()
        # One queue for all items of equal limits: few to look through. An item stands there with its place and its work.
        self._waiting: dict[Limits, deque[tuple[int, Any, Callable[[Any], Awaitable[bool]]]]] = {}
        self._overtaken: tuple[int, float] = (
            -1,
            0.0,
        )  # the first waiting item's place, and since when others start before it
        self._jobs: set[asyncio.Future[None]] = set()
        self._error: BaseException | None = None

    def add(self, items: Iterable[Any], work: Callable[[Any], Awaitable[bool]]) -> None:
        """Let these wait for room, behind what waits already; `work` tells whether an item's room is free again."""
        for item in () if self.stopped else items:
            self._waiting.setdefault(item.limits, deque()).append((next(self._places), item, work))
        self._start_what_fits()

    async def run(self, items: Iterable[Any], work: Callable[[Any], Awaitable[bool]]) -> None:
        """Work on these and all that is added meanwhile, until the last job has ended. Raises what a job or `fail` raised."""
        import asyncio

        self.add(items, work)
        while self._jobs:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Start nothing new."""
        self.stopped = True
        self._waiting.clear()

    def fail(self, error: BaseException) -> None:
        """Start nothing new, and let `run` raise this."""
        self._error = self._error or error
        self.stop()

    def _start_what_fits(self) -> None:
        import asyncio

        for limits, job in iter(self._next, None):
            self.room.take(limits)
            self._jobs.add(asyncio.ensure_future(self._job(limits, job)))

    def _next(self) -> tuple[Limits, Awaitable[bool]] | None:
        """Take the first waiting item that may start now."""
        queues = sorted(self._waiting.items(), key=lambda pair: pair[1][0][0])
        place, since = self._overtaken
        starving = (
            queues
            and queues[0][1][0][0] == place
            and time.monotonic() - since >= queues[0][0].timeout_s
        )
        for limits, queue in queues[:1] if starving else queues:
            if self.room.fits(limits):
                place, item, work = queue.popleft()
                first = queues[0][1][0][0] if queues[0][1] else place
                if place > first and self._overtaken[0] != first:
                    self._overtaken = (first, time.monotonic())
                if not queue:
                    del self._waiting[limits]
                return limits, work(item)
        return None

    async def _job(self, limits: Limits, job: Awaitable[bool]) -> None:
        import asyncio

        try:
            if await job:
                self.room.give(limits)
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it when the other jobs have ended
            self.fail(error)
        finally:
            self._jobs.discard(asyncio.current_task())
            self._start_what_fits()


def in_order(tasks: Iterable[Task], scheduler: str) -> list[Task]:
    """Waiting tasks in the order in which they should start: as planned, or smallest or largest (cores + GB) first."""
    if scheduler == "fifo":
        return list(tasks)
    return sorted(
        tasks,
        key=lambda task: task.plan.limits.cores + task.plan.limits.memory_mb / 1024,
        reverse=scheduler == "ljf",
    )


class Runner:
    """Brings tasks from waiting to finished: the way of a lemma through prover, reader and journal."""

    def __init__(
        self,
        directory: str,
        journal: Journal,
        supervisor: Supervisor,
        cache: Cache | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`tell`: wants to know why a task is not in the cache."""
        self.directory, self.journal, self.batch, self.supervisor = (
            directory,
            journal,
            journal.batch,
            supervisor,
        )
        limits = self.batch.header.limits
        self.scheduler = Scheduler(Room(limits.cores, limits.memory_mb))
        self.cache, self.tell = cache, tell
        self._environments = {
            alias: prover_environment(prover) for alias, prover in self.batch.provers.items()
        }
        self._host = host_id()
        self._flushing = False
        self._held: dict[
            str, list[tuple[Task, Hit]]
        ] = {}  # by Inputs.key: hits that wait for the prover to load that text
        self._to_load: dict[str, int] = {}  # by Inputs.key: how many tasks will yet load the text
        self.stopped = 0  # the signal that stopped the batch
        self.check: Callable[[Task], Awaitable[object]] | None = (
            None  # what to do with each proof, as soon as it is there
        )

    async def run(self, tasks: Iterable[Task]) -> None:
        """Run these tasks, under the signals that a user or a system sends. Raises StorageError."""
        import asyncio

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if not is_ignored(number):
                loop.add_signal_handler(number, self._interrupt, number)
        if not is_ignored(signal.SIGTSTP):
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        try:
            waiting = [task for task in tasks if not await self._from_cache(task)]
            for key in self._held.keys() - self._to_load.keys():
                self._to_load[key] = 1
                self.scheduler.add([self._held[key][0][0]], self.load)
            await self.scheduler.run(in_order(waiting, self.batch.header.scheduler), self.prove)
            if not self.stopped:
                await draw_traces(self.directory, self.supervisor, self.batch.header.limits)
        finally:
            self.journal.flush()

    async def prove(self, task: Task) -> bool:
        """One attempt at one task; whether its room is free again."""
        outputs, attempt = result_files(self.directory, task.id), task.attempts + 1
        try:
            set_aside(outputs)
            outcome = await self._run_job(task.plan, task.id, attempt, outputs)
            result, output = self._result(task, outcome, outputs)
            event = Finished(task.id, task.id, attempt, result)
            self._record(event)
            if self.cache:
                self._store(self.cache, task, event, outputs, bool(output.parse_error))
            await self._end_of_load(task, outcome, output, outputs)
            if self.check and result.verdict in ANSWERS:
                await self.check(task)
        except (OSError, StorageError) as error:
            self._give_up(error)
            return True
        return not outcome.unkillable

    async def load(self, task: Task) -> bool:
        """Load a task's theory without proving, for the hits that wait for it; whether its room is free again."""
        job_id = task.id + "~load"
        outputs = result_files(self.directory, job_id)
        for path in dataclasses.astuple(
            outputs
        ):  # a driver that was killed may have left them, and logs are appended to
            remove_file(path)
        outcome = await self._run_job(replace(task.plan, prove=False), job_id, 0, outputs)
        await self._end_of_load(task, outcome, read_output(outputs.stdout, outputs.stderr), outputs)
        for path in dataclasses.astuple(outputs):
            remove_file(path)
        return not outcome.unkillable

    async def _run_job(self, plan: Plan, job_id: str, attempt: int, outputs: Outputs) -> Outcome:
        """Run a prover on a task. Meanwhile, hits count as soon as it says that it has loaded their text."""
        import asyncio

        prover = self.batch.provers[plan.prover]
        job = Job(
            job_id,
            attempt,
            prover_command(prover, plan, outputs),
            plan.cwd,
            self._environments[prover.alias],
            plan.limits,
            outputs.stdout,
            outputs.stderr,
            (plan.id,) if attempt else (),
        )

        changed, outcome = await self._changed_input(plan), Outcome(Status.INTERRUPTED)
        if not changed:
            running = asyncio.ensure_future(
                self.supervisor.run(job, functools.partial(self._record_start, job))
            )
            while (
                self._inputs(plan).key in self._held
                and not (await asyncio.wait([running], timeout=0.2))[0]
            ):
                try:
                    if has_loaded(job.stderr) and not await self._changed_input(plan):
                        await self._text_loaded(plan)
                except (OSError, StorageError) as error:
                    self._give_up(error)
            outcome = await running
            changed = await self._changed_input(plan)
        return replace(outcome, status=Status.INTERRUPTED, reason=changed) if changed else outcome

    # --- The cache: hits, and those that are held back until the prover has loaded a text that it has never seen

    async def _from_cache(self, task: Task) -> bool:
        """Whether the cache answers for a task, now or when its text is loaded."""
        import asyncio

        inputs, hit = self._inputs(task.plan), None
        if self.cache and not self.scheduler.stopped and not await self._changed_input(task.plan):
            hit = self.cache.find(task, inputs)
            if hit and not hit.exact and not self.cache.has_loaded(inputs):
                self._held.setdefault(inputs.key, []).append((task, hit))
                return True
            if not hit and self.tell:
                self.tell(f"not in the cache: {task.id}: {self.cache.what_is_new(task, inputs)}")
        if hit and await self._restore(task, hit):
            await asyncio.sleep(0)  # for signals, and for the screen
            return True
        self._to_load[inputs.key] = self._to_load.get(inputs.key, 0) + 1
        return False

    def _store(
        self, cache: Cache, task: Task, event: Finished, outputs: Outputs, parse_error: bool
    ) -> None:
        """Keep a result in the cache while other things go on: its files may be large. The end of the loop waits for that."""
        import asyncio

        asyncio.get_running_loop().run_in_executor(
            None, cache.store, task, event, outputs, self._inputs(task.plan), parse_error
        )

    async def _restore(self, task: Task, hit: Hit) -> bool:
        """Make a stored result that of a task; False if it is damaged."""
        import asyncio

        outputs = result_files(self.directory, task.id)
        set_aside(outputs)
        restored = self.cache is not None and await asyncio.to_thread(
            self.cache.restore, hit, outputs
        )
        if restored:
            self._record(
                Finished(task.id, task.id, task.attempts, replace(hit.result, at=timestamp()))
            )
        return restored

    async def _text_loaded(self, plan: Plan) -> None:
        """The prover takes the text of this task's theory: hits that waited for that count."""
        if self.cache:
            self.cache.remember_load(self._inputs(plan))
        for held, hit in self._held.pop(self._inputs(plan).key, ()):
            if not await self._restore(held, hit):
                self.scheduler.add([held], self.prove)

    async def _end_of_load(
        self, task: Task, outcome: Outcome, output: ProverOutput, outputs: Outputs
    ) -> None:
        """A job that loads this task's theory is over. If none did and no other will, hits that wait for that don't count."""
        key = self._inputs(task.plan).key
        self._to_load[key] = self._to_load.get(key, 0) - 1
        if outcome.status is not Status.INTERRUPTED and (
            output.summary or has_loaded(outputs.stderr)
        ):
            await self._text_loaded(task.plan)
        elif not self._to_load[key]:
            self.scheduler.add([held for held, _ in self._held.pop(key, ())], self.prove)

    def _inputs(self, plan: Plan) -> Inputs:
        return self.batch.inputs[plan.view]

    async def _changed_input(self, plan: Plan) -> str:
        """Why what the prover reads now is not what was planned; "" if it is. Such a result would stand under a wrong key.

        A file that is gone is the prover's to tell of, or it is the prover itself."""
        import asyncio

        files = self._inputs(plan).files
        for path, planned in list(files.items()):
            if file_stamp(path) in (planned.stamp, ()):
                continue
            state = await asyncio.to_thread(
                file_state_now, path
            )  # a prover may be large, and was only touched, perhaps
            if state.digest != planned.digest or planned.executable not in ("", state.executable):
                return (
                    f"{path_from(path, plan.cwd)} changed since the batch was planned: run it again"
                )
            files[path] = planned._replace(stamp=state.stamp)
        return ""

    def _result(
        self, task: Task, outcome: Outcome, outputs: Outputs
    ) -> tuple[Result, ProverOutput]:
        """What came of an attempt, its files settled."""
        try:
            output = read_output(outputs.stdout, outputs.stderr, task.plan.lemma)
            result = judge(task.plan, outcome, output, outputs.proof)
            keep_outputs(task, result, outputs)
            return result, output
        except OSError as error:  # too many open files, perhaps: the next task may have better luck
            failed = replace(
                outcome, status=Status.FAILED, reason=f"its output can't be read: {error.strerror}"
            )
            return judge(task.plan, failed, ProverOutput(), ""), ProverOutput()

    def _give_up(self, error: Exception) -> None:
        """What happens can't be recorded any more: end everything, let `run` raise the error."""
        self.scheduler.fail(error)
        self.supervisor.interrupt("the results can't be written any more")

    def _record_start(self, job: Job, pid: int, started: int) -> None:
        host, boot_id = self._host
        self._record(
            Started(
                ids=job.task_ids,
                job=job.id,
                attempt=job.attempt,
                pid=pid,
                started=started,
                host=host,
                boot_id=boot_id,
                command=job.command,
                at=timestamp(),
            )
        )

    def _record(self, event: Event) -> None:
        """Record now, flush in a moment: results that come in quick succession share one flush."""
        self.journal.record(event)
        if not self._flushing:
            import asyncio

            self._flushing = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        try:
            self.journal.flush()
        except (OSError, StorageError) as error:
            self._give_up(error)

    def _interrupt(self, number: signal.Signals) -> None:
        """The first signal ends what runs (SIGTERM, 3 s, SIGKILL) and starts nothing new, a second one kills at once."""
        self.scheduler.stop()
        if not self.stopped:
            say(
                f"stopping: {plural(len(self.supervisor.live), 'job')} to end within {GRACE_S:g} s; once more kills at once"
            )
        self.supervisor.interrupt(
            f"stopped by {signal.Signals(number).name}", at_once=bool(self.stopped)
        )
        self.stopped = self.stopped or number

    def _suspend(self) -> None:
        """Ctrl-Z holds every prover, then this process; it goes on from here when it is told to."""
        self.supervisor.suspend()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.supervisor.resume()


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started us wants this signal to be ignored (`nohup`, a script's `&`): it stays so."""
    return signal.getsignal(number) == signal.SIG_IGN


def set_aside(outputs: Outputs) -> None:
    """Keep what an earlier attempt left: `ID.out` becomes `ID~1.out`. Nothing is ever written over."""
    drawn = itertools.takewhile(os.path.exists, _drawing_names(outputs.trace_dot))
    for path in (*dataclasses.astuple(outputs), *drawn):
        if os.path.exists(path):
            stem, ending = os.path.splitext(path)
            names = (f"{stem}~{number}{ending}" for number in itertools.count(1))
            os.rename(path, next(name for name in names if not os.path.exists(name)))


def keep_outputs(task: Task, result: Result, outputs: Outputs) -> None:
    """Leave what belongs to the result: a proof with its verdict, the traces of this lemma; nothing half-written."""
    if result.status is not Status.COMPLETED:
        for path in (outputs.proof, outputs.trace_json, outputs.trace_dot):
            remove_file(path)
        return
    for path, own in ((outputs.trace_dot, own_dot), (outputs.trace_json, own_json)):
        try:
            if os.stat(path).st_size > TRACE_CAP:
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        names = (
            {line.name for line in read_output(outputs.stdout, outputs.stderr).lines}
            if text
            else ()
        )
        kept = own(text, task.plan.lemma, names) if text else ""
        if not kept:
            remove_file(path)
        elif kept != text:
            write_file(path, kept)


async def draw_traces(directory: str, supervisor: Supervisor, room: Limits) -> None:
    """Draw every `traces/ID.dot` that has no drawing yet, by Graphviz's `dot`; what it can't draw in time stays DOT."""
    import shutil

    traces = os.path.join(os.path.abspath(directory), "traces")
    undrawn = sorted(
        path
        for path in (
            os.path.join(traces, name) for name in os.listdir(traces) if name.endswith(".dot")
        )
        if "~" not in path[len(traces) :] and not drawings(path)
    )
    program = shutil.which("dot")
    if not program and undrawn:
        warn(
            f"there is no 'dot' (Graphviz) here: {plural(len(undrawn), 'trace')} in {traces} can't be drawn"
        )
    limits = Limits(1, min(2048, room.memory_mb), 30)
    jobs = (
        Job(
            path,
            1,
            (str(program), "-Tsvg", "-O", path),
            traces,
            os.environ,
            limits,
            os.devnull,
            os.devnull,
        )
        for path in undrawn
    )

    async def draw(job: Job) -> bool:
        path, outcome = job.id, await supervisor.run(job, lambda pid, started: None)
        parts = [
            f"{path}.svg",
            *itertools.takewhile(
                os.path.exists, (f"{path}.{number}.svg" for number in itertools.count(2))
            ),
        ]
        for part, drawing in zip(parts, _drawing_names(path)):  # one graph makes one file
            if outcome.exit == ExitStatus(0):
                os.replace(part, drawing)
            else:
                remove_file(part)
        return not outcome.unkillable

    if program:
        await Scheduler(Room(room.cores, room.memory_mb)).run(jobs, draw)
        undrawn = [path for path in undrawn if not drawings(path)]
        if undrawn:
            warn(
                f"dot could not draw {plural(len(undrawn), 'trace')} within {limits.timeout_s:g} s: {', '.join(undrawn[:5])}"
            )


def drawings(dot: str) -> list[str]:
    """The drawings of a DOT file's graphs, unless an earlier attempt's DOT file was drawn."""
    there, drawn_from = (
        itertools.takewhile(os.path.exists, _drawing_names(dot)),
        os.stat(dot).st_mtime,
    )
    return [path for path in there if os.stat(path).st_mtime >= drawn_from]


def _drawing_names(dot: str) -> Iterator[str]:
    """ID.svg, ID~graph2.svg ...: no id has a `~`."""
    stem = os.path.splitext(dot)[0]
    return itertools.chain(
        (f"{stem}.svg",), (f"{stem}~graph{number}.svg" for number in itertools.count(2))
    )


# === Interchange with batch-tamarin ===============================================================

# Read in the sources of batch-tamarin 1.2.0: its execution_report.json, success/ and failed/.

UPSTREAM_REPORT = "execution_report.json"


class _UpstreamEnd(NamedTuple):
    """How batch-tamarin says that a task ended."""

    status: str
    return_code: int
    error_type: str


_UPSTREAM_ENDS = {
    Status.PENDING: _UpstreamEnd("pending", 0, ""),
    Status.RUNNING: _UpstreamEnd("pending", 0, ""),
    Status.COMPLETED: _UpstreamEnd("completed", 0, ""),
    Status.SUPERSEDED: _UpstreamEnd("completed", 0, ""),
    Status.FAILED: _UpstreamEnd("failed", -1, "tamarin_error"),
    Status.TIMEOUT: _UpstreamEnd("timeout", -1, "timeout"),
    Status.MEMORY_LIMIT: _UpstreamEnd("memory_limit_exceeded", -2, "memory_limit"),
    Status.INTERRUPTED: _UpstreamEnd("signal_interrupted", -3, "wrapper_killed"),
}
_SUCCESSES = frozenset({Status.COMPLETED, Status.SUPERSEDED})  # what it calls successes


# --- Reading --------------------------------------------------------------------------------------


def load_results(path: str, warn: Callable[[str], None]) -> Batch:
    """The Batch of a results directory, which is given by itself or by one of its records.

    Of our journal, if there is one; else of the report that batch-tamarin 1.2 writes. Raises
    InputError.
    """
    directory = results_directory(path, JOURNAL, UPSTREAM_REPORT)
    journal = os.path.join(directory, JOURNAL)
    if not os.path.exists(journal):
        return _load_report(directory)
    batch, _ = load_batch(journal, warn)
    if not batch.has_begun:
        raise InputError("this journal tells of no batch", journal)
    return batch


def _load_report(directory: str) -> Batch:
    """The Batch of batch-tamarin's report in a directory."""
    path = os.path.join(directory, UPSTREAM_REPORT)
    batch = Batch()
    try:
        report = json.loads(read_text(path))
        for event in _report_events(report, os.path.abspath(directory)):
            batch.apply(event)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"this is not what batch-tamarin 1.2 writes ({problem})", path) from None
    return batch


class _Subtask(NamedTuple):
    """One task in batch-tamarin's report."""

    id: str
    entry: str  # of its recipe
    theory: str
    data: Json

    @property
    def metadata(self) -> Json:
        return cast(Json, self.data["task_execution_metadata"])

    @property
    def result(self) -> Json:
        """How it ended; empty before that."""
        return self.data.get("task_result") or {}


def _report_events(report: Json, directory: str) -> Iterator[Event]:
    """What batch-tamarin's report says, as the events of a journal.

    What it says is put into the words of our journal, whose reader checks that all is of its kind.
    """
    header = _report_header(report, directory)
    yield header
    for subtask in _subtasks(report):
        plan = _subtask_plan(subtask, header)
        yield plan
        if subtask.result:
            result = decode(Result, _subtask_result(subtask))
            yield Finished(plan.id, plan.id, 1, result)


def _subtasks(report: Json) -> Iterator[_Subtask]:
    for entry, about in report["tasks"].items():
        for task_id, data in about["subtasks"].items():
            yield _Subtask(task_id, entry, about["theory_file"], data)


def _report_header(report: Json, directory: str) -> Header:
    config = report["config"]
    starts = [_utc(subtask.metadata["exec_start"]) for subtask in _subtasks(report)]
    provers = {}
    for alias, about in report["tamarin_versions"].items():
        provers[alias] = _reported_prover(alias, about)
    data = {
        "at": min((start for start in starts if start), default=timestamp()),
        "recipe_file": report["recipe"],
        "limits": {
            "cores": _number_or_zero(config["global_max_cores"]),
            "memory_mb": _number_or_zero(config["global_max_memory"]) * 1024,
            "timeout_s": _number_or_zero(config["default_timeout"]),
        },
        "cwd": _where_it_ran(config["output_directory"], directory),
        "provers": provers,
    }
    return decode(Header, data)


def _reported_prover(alias: str, about: Json) -> Json:
    version = re.search(r"\d{1,9}(?:\.\d{1,9})+", about.get("version") or "")
    return {
        "alias": alias,
        "command": [about["path"]],
        "version": version[0] if version else "",
    }


def _number_or_zero(limit: Any) -> int:
    """A limit of its `config`: 0, no limit known, where it says "max"."""
    return limit if isinstance(limit, int) else 0


def _where_it_ran(output_directory: str, directory: str) -> str:
    """Where batch-tamarin ran, which it leaves out: above the results, or else here."""
    below = os.sep + os.path.normpath(output_directory)
    if directory.endswith(below):
        return directory[: -len(below)]
    return os.getcwd()


def _subtask_plan(subtask: _Subtask, header: Header) -> Plan:
    config = subtask.data["task_config"]
    resources = config["resources"]
    options = config.get("options") or []
    flags = config.get("preprocessor_flags") or []
    path = os.path.join(header.cwd, subtask.theory)
    lemmas = _lemmas_now(path, tuple(options), tuple(flags)).get(config["lemma"], [])
    data = {
        "id": subtask.id,
        "name": subtask.entry,
        "theory": subtask.theory,
        "lemma": config["lemma"],
        "trait": _reported_trait(subtask.result, lemmas),
        "sides": [],
        "prover": header.provers[config["tamarin_alias"]].alias,
        "options": options,
        "flags": flags,
        "limits": {
            "cores": resources["cores"],
            "memory_mb": resources["memory"] * 1024,
            "timeout_s": resources["timeout"],
        },
        "cwd": header.cwd,
        "prove": True,
        "optional": False,
        "assumes": list(assumed_by(lemmas)),
        "expect": None,
        "key": "",
    }
    return decode(Plan, data)


@functools.lru_cache(maxsize=64)
def _lemmas_now(
    path: str, options: tuple[str, ...], flags: tuple[str, ...]
) -> dict[str, list[Lemma]]:
    """A theory's lemmas, if it is still there: batch-tamarin does not say what they assume."""
    with suppress(InputError):
        return _lemma_groups(load_theory(path, *theory_view(options, flags)))
    return {}


def _reported_trait(result: Json, lemmas: Sequence[Lemma]) -> str:
    """The trait that a result says, or else the theory as it is now; "" if neither does."""
    said = result.get("analysis_type", "")
    if said in set(Trait):
        return str(said)
    return str(lemmas[0].trait) if lemmas else ""


def _subtask_result(subtask: _Subtask) -> Json:
    """How a task ended, in the words of our journal."""
    result = subtask.result
    if "lemma_result" in result:
        outcome = _reported_verdict(result)
    else:
        outcome = _reported_failure(result, subtask.metadata["status"])
    return {**_reported_usage(subtask.metadata), "warnings": result.get("warnings", []), **outcome}


def _reported_usage(metadata: Json) -> Json:
    return {
        "at": _utc(metadata["exec_end"]),
        "wall_s": float(metadata["exec_duration_monotonic"]),
        "peak_mb": float(metadata["peak_memory"]),
        "avg_mb": float(metadata["avg_memory"]),
        "cached": bool(metadata["cache_hit"]),
    }


def _reported_verdict(result: Json) -> Json:
    """What the prover said of the lemma.

    batch-tamarin calls a run without a verdict for the lemma "verified", of trait "unknown".
    """
    word = result["lemma_result"]
    trait = result["analysis_type"]
    if word == Verdict.VERIFIED and trait == "unknown":
        return {"status": Status.FAILED, "reason": "batch-tamarin found no verdict of this lemma"}
    return {
        "status": Status.COMPLETED,
        "verdict": Verdict.INCOMPLETE if word == "unterminated" else word,
        "steps": result["steps"] or None,
        "trait": "" if trait == "unknown" else trait,
        "prover_s": result["real_time_tamarin_measure"] or None,
    }


def _reported_failure(result: Json, status: str) -> Json:
    code = result.get("return_code", "")
    return {
        "status": _status_of(status),
        "reason": result["error_description"],
        "stderr_tail": "\n".join(result.get("last_stderr_lines", ())),
        "exit": {"code": int(code)} if code.isdigit() else None,
    }


def _status_of(word: str) -> Status:
    """Our status for its word, of a task without a verdict: what it calls completed failed, too."""
    for status in (Status.TIMEOUT, Status.MEMORY_LIMIT, Status.INTERRUPTED):
        if word == _UPSTREAM_ENDS[status].status:
            return status
    return Status.FAILED


def _utc(local: str) -> str:
    """A time of batch-tamarin's (local, no zone) as the journal writes times; "" for none."""
    import datetime

    try:
        moment = datetime.datetime.fromisoformat(local.replace("Z", "+00:00"))
    except ValueError:
        return ""
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- Writing: success/ and failed/ ----------------------------------------------------------------


def write_result_file(directory: str, task: Task) -> None:
    """Write success/ID.json or failed/ID.json of a task that has ended.

    What an earlier attempt left in the other folder goes. Raises OSError.
    """
    home = _result_folder(task)
    for folder in ("success", "failed"):
        path = os.path.join(directory, folder, task.id + ".json")
        if folder == home:
            write_file(path, json.dumps(_result_file(directory, task), indent=2) + "\n")
        else:
            remove_file(path)


def restore_result_files(directory: str, batch: Batch) -> None:
    """Make success/ and failed/ what the journal says.

    A driver that died may not have written one, and others may be of an older plan.
    """
    succeeded = set(os.listdir(os.path.join(directory, "success")))
    failed = set(os.listdir(os.path.join(directory, "failed")))
    for task in batch.tasks.values():
        name = task.id + ".json"
        home = _result_folder(task)
        in_its_place = (name in succeeded) == (home == "success")
        if not in_its_place or (name in failed) != (home == "failed"):
            write_result_file(directory, task)


def _result_folder(task: Task) -> str:
    """Where the result of a task stands; "" before it has one."""
    if not task.result:
        return ""
    return "success" if task.status in _SUCCESSES else "failed"


def _result_file(directory: str, task: Task) -> Json:
    result = task.result or Result(task.status)
    content: Json = {
        "task_id": task.id,
        "wrapper_measures": {
            "time": result.usage.wall_s,
            "avg_memory": result.usage.avg_mb,
            "peak_memory": result.usage.peak_mb,
        },
    }
    if task.status in _SUCCESSES:
        content.update(_success(directory, task, result))
    else:
        content.update(_failure(result))
    return content


def _success(directory: str, task: Task, result: Result) -> Json:
    lemma = {task.plan.lemma: {"steps": result.steps or 0, "analysis_type": result.trait}}
    return {
        "warnings": result.warnings,
        "tamarin_timing": result.prover_s or 0.0,
        "output_spthy": os.path.join(directory, "proofs", task.id + ".spthy"),
        "verified_lemma": lemma if result.verdict is Verdict.VERIFIED else {},
        "falsified_lemma": lemma if result.verdict is Verdict.FALSIFIED else {},
        "unterminated_lemma": [] if result.verdict in ANSWERS else [task.plan.lemma],
    }


def _failure(result: Result) -> Json:
    code = _UPSTREAM_ENDS[result.status].return_code
    if result.status is Status.FAILED and result.exit and result.exit.code is not None:
        code = result.exit.code
    return {
        "error_description": result.reason or str(result.status),
        "last_stderr_lines": result.stderr_tail.splitlines(),
        "return_code": code,
    }


# --- Writing: the execution report ----------------------------------------------------------------


def execution_report(batch: Batch, directory: str) -> Iterator[str]:
    """The whole batch as batch-tamarin's execution_report.json, in pieces."""
    provers = {}
    for alias, prover in batch.provers.items():
        provers[alias] = {"path": prover.command[0], "version": _v_version(prover)}
    head = {
        "recipe": os.path.basename(batch.header.recipe_file),
        "config": _config(batch, directory),
        "tamarin_versions": provers,
        "execution_metadata": _totals(batch),
    }
    entries = (
        _TaskEntry(
            name=name,
            members={"theory_file": tasks[0].plan.theory},
            last="subtasks",
            brackets="{}",
            items=_subtask_items(batch, directory, tasks),
        )
        for name, tasks in recipe_tasks(batch.tasks.values()).items()
    )
    return _with_tasks(head, entries)


def recipe_tasks(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by the recipe's entry; one of several theories is several, under names of their own."""
    entries: dict[str, dict[_EntryPart, list[Task]]] = {}
    for task in tasks:
        part = _EntryPart(task.plan.theory, task.plan.cwd, task.plan.prove)
        entries.setdefault(task.plan.entry, {}).setdefault(part, []).append(task)
    named: dict[str, list[Task]] = {}
    for entry, parts in entries.items():
        for name, members in zip(_part_names(entry, entries), parts.values()):
            named[name] = members
    return named


class _EntryPart(NamedTuple):
    """What all tasks of an entry have in common in batch-tamarin's recipes."""

    theory: str
    cwd: str
    prove: bool


def _part_names(entry: str, taken: Collection[str]) -> Iterator[str]:
    """`entry`, `entry 2`, `entry 3`, ..., without those that other entries have."""
    yield entry
    for number in itertools.count(2):
        name = f"{entry} {number}"
        if name not in taken:
            yield name


def _config(batch: Batch, directory: str) -> Json:
    limits = batch.header.limits
    return {
        "global_max_cores": limits.cores,
        "global_max_memory": max(1, limits.memory_mb // 1024),
        "default_timeout": max(1, round(limits.timeout_s)),
        "output_directory": directory,
    }


def _v_version(prover: Prover) -> str:
    """`v1.11.0`, or "" where the prover did not say."""
    return f"v{prover.version}" if prover.version else ""


def _totals(batch: Batch) -> Json:
    ended = [task.result for task in batch.tasks.values() if task.result]
    times = [result.usage.wall_s for result in ended]
    peaks = [result.usage.peak_mb for result in ended]
    successes = sum(result.status in _SUCCESSES for result in ended)
    return {
        "total_tasks": len(batch.tasks),
        "total_successes": successes,
        "total_failures": len(ended) - successes,
        "total_cache_hit": sum(result.cached for result in ended),
        "total_runtime": sum(times),
        "total_memory": sum(peaks),
        "max_runtime": max(times, default=0.0),
        "max_memory": max(peaks, default=0.0),
    }


class _TaskEntry(NamedTuple):
    """An entry of the member `tasks`, whose last member is too long to be made at once."""

    name: str
    members: Json  # all but the last; at least one
    last: str  # its name
    brackets: str  # "{}" or "[]"
    items: Iterable[str]  # what stands between these, as JSON


def _with_tasks(head: Json, entries: Iterable[_TaskEntry]) -> Iterator[str]:
    """A JSON object in pieces: `head`, not empty, and behind its members `tasks`."""
    yield json.dumps(head, indent=2).removesuffix("\n}")
    yield ',\n  "tasks": {'
    comma = ""
    for entry in entries:
        members = json.dumps(entry.members).removesuffix("}")
        yield f"{comma}\n    {json.dumps(entry.name)}: {members}, {json.dumps(entry.last)}: "
        yield entry.brackets[0]
        yield from _one_a_line(entry.items)
        yield entry.brackets[1] + "}"
        comma = ","
    yield "\n  }\n}\n"


def _one_a_line(items: Iterable[str]) -> Iterator[str]:
    comma = ""
    for item in items:
        yield f"{comma}\n      {item}"
        comma = ","


def _subtask_items(batch: Batch, directory: str, tasks: Iterable[Task]) -> Iterator[str]:
    for task in tasks:
        yield f"{json.dumps(task.id)}: {json.dumps(_subtask(batch, directory, task))}"


def _subtask(batch: Batch, directory: str, task: Task) -> Json:
    outputs = result_files(directory, task.id)
    subtask = {
        "task_config": _task_config(task.plan, outputs),
        "task_execution_metadata": _task_execution_metadata(batch, task, outputs),
    }
    if task.result:
        subtask["task_result"] = _task_result(task.result)
    return subtask


def _task_config(plan: Plan, outputs: Outputs) -> Json:
    return {
        "tamarin_alias": plan.prover,
        "lemma": plan.lemma,
        "output_theory_file": outputs.proof,
        "output_trace_file": outputs.trace_json,
        "options": plan.options,
        "preprocessor_flags": plan.flags,
        "resources": {
            "cores": plan.limits.cores,
            "memory": max(1, round(plan.limits.memory_mb / 1024)),
            "timeout": max(1, round(plan.limits.timeout_s)),
        },
    }


def _task_execution_metadata(batch: Batch, task: Task, outputs: Outputs) -> Json:
    result = task.result or Result(task.status)
    ended = instant(result.at or batch.header.at)
    return {
        "command": prover_command(batch.provers[task.plan.prover], task.plan, outputs),
        "status": _UPSTREAM_ENDS[task.status].status,
        "cache_hit": result.cached,
        "exec_start": _local_time(ended - result.usage.wall_s),
        "exec_end": _local_time(ended),
        "exec_duration_monotonic": result.usage.wall_s,
        "avg_memory": result.usage.avg_mb,
        "peak_memory": result.usage.peak_mb,
    }


def _local_time(seconds: float) -> str:
    """A time (seconds since 1970) as batch-tamarin writes it: local, without a zone."""
    import datetime

    return datetime.datetime.fromtimestamp(seconds).isoformat(timespec="microseconds")


def _task_result(result: Result) -> Json:
    if result.status in _SUCCESSES:
        return {
            "warnings": result.warnings,
            "real_time_tamarin_measure": result.prover_s or 0.0,
            "steps": result.steps or 0,
            "lemma_result": result.verdict if result.verdict in ANSWERS else "unterminated",
            "analysis_type": result.trait,
        }
    failure = _failure(result)
    return {
        **failure,
        "return_code": str(failure["return_code"]),
        "error_type": _UPSTREAM_ENDS[result.status].error_type,
    }


# --- Writing: a recipe of what is left ------------------------------------------------------------


def rerun_name(batch: Batch) -> str:
    """The file name of `rerun_recipe` in the results directory."""
    stem, _ = os.path.splitext(os.path.basename(batch.header.recipe_file))
    return f"{stem}-rerun.json"


def rerun_recipe(batch: Batch, directory: str) -> Iterator[str]:
    """A recipe of what has no verdict yet, in pieces.

    It has keys that batch-tamarin does not know only where the batch needs them.
    """
    cwd = batch.header.cwd
    provers = {alias: _recipe_version(prover) for alias, prover in batch.provers.items()}
    head = {
        "config": _config(batch, os.path.join(path_from(directory, cwd), "rerun")),
        "tamarin_versions": provers,
    }
    entries = (
        _TaskEntry(
            name=name,
            members=_recipe_task(tasks, cwd),
            last="lemmas",
            brackets="[]",
            items=(json.dumps(_recipe_lemma(task.plan)) for task in tasks),
        )
        for name, tasks in recipe_tasks(batch.unanswered).items()
    )
    return _with_tasks(head, entries)


def _recipe_version(prover: Prover) -> Json:
    version: Json = {}
    if len(prover.command) == 1:
        version["path"] = prover.command[0]
    else:
        version["command"] = prover.command
    if prover.version:
        version["version"] = _v_version(prover)
    if prover.options:
        version["options"] = prover.options
    if prover.env:
        version["env"] = prover.env
    return version


def _recipe_task(tasks: Sequence[Task], cwd: str) -> Json:
    plan = tasks[0].plan
    prefix, _, _ = plan.id.partition(f"--{plan.lemma}--")
    entry: Json = {
        "theory_file": path_from(os.path.join(plan.cwd, plan.theory), cwd),
        "tamarin_versions": list(dict.fromkeys(task.plan.prover for task in tasks)),
        "output_file_prefix": prefix,
    }
    if plan.cwd != cwd:
        entry["cwd"] = plan.cwd
    if not plan.prove:
        entry["prove"] = False
    return entry


def _recipe_lemma(plan: Plan) -> Json:
    lemma: Json = {
        "name": plan.lemma,
        "tamarin_versions": [plan.prover],
        "tamarin_options": plan.options,
        "preprocess_flags": plan.flags,
        "resources": {
            "max_cores": plan.limits.cores,
            "max_memory": math.ceil(plan.limits.memory_mb / 1024),
            "timeout": math.ceil(plan.limits.timeout_s),
        },
    }
    if plan.expect:
        lemma["expect"] = plan.expect
    return lemma


# === Assumptions and audit ========================================================================

# A verdict says: if the lemmas hold that its proof takes for granted. What is known of results is a
# function of Batches; what other tools left is read into Batches first.

# Only these verdicts rest on assumptions: a trace that was found is one whatever else holds.
RESTING = frozenset(
    {
        (Trait.ALL_TRACES, Verdict.VERIFIED),
        (Trait.EXISTS_TRACE, Verdict.FALSIFIED),
        (Trait.DIFF, Verdict.VERIFIED),
    }
)
MOST_STEPS = 9  # of a chain of lemmas that is told

# Of every settled lemma the open ones that it rests on, each with the next lemma on the way there:
# "" where it assumes the open one itself.
Ways = dict[str, dict[str, str]]


class Model(NamedTuple):
    """What results must have in common to say something about each other."""

    text: str  # digest of the theory's text, or its name where that is not known
    cwd: str  # where that name means something; "" of a digest
    prover: str
    flags: tuple[str, ...]


class Assumption(NamedTuple):
    """A lemma that is taken for granted and not verified."""

    lemma: str
    state: str  # what is known of it: its outcome, or that it is not in the results
    chain: tuple[str, ...]  # the lemmas by way of which it is reached

    def __str__(self) -> str:
        way = f" via {' > '.join(self.chain)}" if self.chain else ""
        return f"{self.lemma} ({self.state}){way}"


class Closure:
    """What verdicts rest on, as far as results of the same theory text, prover and flags tell."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._results = _results_by_model(tasks)
        self._ways: dict[Model, Ways] = {}  # of a model once it is asked for

    def open_assumptions(self, task: Task) -> list[Assumption]:
        """What the verdict assumes and is not verified here, nearest first.

        A trace that was found assumes nothing.
        """
        if (task.plan.trait, task.verdict) not in RESTING or not task.plan.assumes:
            return []
        model = _model_of(task.plan)
        results = self._results.get(model, {})
        if model not in self._ways:
            self._ways[model] = _ways_to_open_lemmas(results)
        ways = self._ways[model]
        assumptions: list[Assumption] = []
        for lemma, step in _open_below(task.plan.assumes, ways).items():
            state = results[lemma].outcome if lemma in results else "not in the results"
            assumptions.append(Assumption(lemma, state, _chain(ways, step, lemma)))
        return assumptions

    def false_assumptions(self, task: Task) -> list[Assumption]:
        """The falsified lemmas that the verdict rests on."""
        return _falsified(self.open_assumptions(task))

    def outcome(self, task: Task) -> str:
        """The outcome with what it rests on: `verified, assuming types (timeout)`."""
        return _told(task, self.open_assumptions(task))


def _falsified(assumptions: Iterable[Assumption]) -> list[Assumption]:
    return [each for each in assumptions if each.state == Verdict.FALSIFIED]


def _told(task: Task, assumptions: Sequence[Assumption]) -> str:
    """`verified, assuming types (timeout)`; `verified, resting on a falsified lemma: calm`."""
    false = _falsified(assumptions)
    if false:
        lemmas = listed(false).replace(" (falsified)", "")
        return f"{task.outcome}, resting on a falsified lemma: {lemmas}"
    if assumptions:
        return f"{task.outcome}, assuming {listed(assumptions)}"
    return task.outcome


def _results_by_model(tasks: Iterable[Task]) -> dict[Model, dict[str, Task]]:
    """Of each model the one result of each lemma that counts."""
    models: dict[Model, dict[str, Task]] = {}
    for task in tasks:
        results = models.setdefault(_model_of(task.plan), {})
        known = results.get(task.plan.lemma)
        if known is None or _outweighs(task, known):
            results[task.plan.lemma] = task
    return models


def _model_of(plan: Plan) -> Model:
    if plan.theory_digest:
        return Model(plan.theory_digest, "", plan.prover, plan.flags)
    return Model(plan.theory, plan.cwd, plan.prover, plan.flags)


def _outweighs(later: Task, known: Task) -> bool:
    """Whether the later of two results counts: the worst news do, then that it is verified."""
    if known.verdict is Verdict.FALSIFIED:
        return False
    return later.verdict is Verdict.FALSIFIED or not _is_settled(known)


def _is_settled(task: Task) -> bool:
    """Whether who assumes the lemma needs nothing more: it is verified, or does not exist."""
    not_needed = task.plan.optional and task.status is Status.SUPERSEDED
    return task.verdict is Verdict.VERIFIED or not_needed


def _ways_to_open_lemmas(results: Mapping[str, Task]) -> Ways:
    """What each settled lemma rests on.

    Open lemmas are handed on from each lemma to those that assume it until nothing is new: this
    ends in circles, too, and every way is finite.
    """
    settled = {name: task for name, task in results.items() if _is_settled(task)}
    ways: Ways = {}
    for name, task in settled.items():
        ways[name] = {lemma: "" for lemma in task.plan.assumes if lemma not in settled}
    waiting = deque(name for name, lemmas in ways.items() if lemmas)
    if not waiting:  # the usual case: all is verified
        return ways
    users = _users(settled)
    while waiting:
        below = waiting.popleft()
        for name in users.get(below, ()):
            if ways[below].keys() <= ways[name].keys():
                continue
            handed_on = dict.fromkeys(ways[below], below)
            ways[name] = {**handed_on, **ways[name]}
            waiting.append(name)
    return ways


def _users(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """By each lemma those that assume it."""
    users: dict[str, list[str]] = {}
    for name, task in tasks.items():
        for lemma in task.plan.assumes:
            users.setdefault(lemma, []).append(name)
    return users


def _open_below(assumes: Iterable[str], ways: Ways) -> dict[str, str]:
    """The open lemmas below these, nearest first, each with the one to go by ("": itself)."""
    steps = {name: "" for name in assumes if name not in ways}
    for name in assumes:
        for lemma in ways.get(name, ()):
            steps.setdefault(lemma, name)
    return steps


def _chain(ways: Ways, first: str, lemma: str) -> tuple[str, ...]:
    """The lemmas, from the first on, that lead to an open one; of a long chain its beginning."""
    chain: list[str] = []
    step = first
    while step and len(chain) < MOST_STEPS:
        chain.append(step)
        step = ways[step][lemma]
    return tuple(chain)


@dataclass(frozen=True)
class Row:
    """A task as people see it: made once, used by every table and report, the audit and `status`.

    Times in seconds, memory in MB; what did not end has a `result` with nothing but its status.
    """

    task: Task
    result: Result
    outcome: str  # a word: the verdict if there is one, else the status
    told: str  # the outcome with what it rests on: `verified, assuming types (timeout)`
    assuming: tuple[Assumption, ...]  # what the verdict takes for granted and is not verified here
    rests_on_false: tuple[Assumption, ...]  # those of them that are falsified

    @property
    def plan(self) -> Plan:
        return self.task.plan

    @property
    def is_failure(self) -> bool:
        """Whether it misses its expectation, or rests on a falsified lemma: exit code 1."""
        return self.task.misses_expectation or bool(self.rests_on_false)

    @property
    def needs_look(self) -> bool:
        """Whether a person should look at it: no answer, or a failure."""
        return self.is_failure or not self.task.is_answered


def rows_of(tasks: Iterable[Task], closure: Closure) -> Iterator[Row]:
    """Tasks as people see them; `closure` knows all tasks of the batch."""
    for task in tasks:
        assuming = closure.open_assumptions(task)
        yield Row(
            task=task,
            result=task.result or Result(task.status, trait=task.plan.trait),
            outcome=task.outcome,
            told=_told(task, assuming),
            assuming=tuple(assuming),
            rests_on_false=tuple(_falsified(assuming)),
        )


def exit_code_of(rows: Iterable[Row]) -> int:
    """The exit code that these results ask for.

    1: an expectation was missed, or a verdict rests on a falsified lemma; 3: some task has neither
    `verified` nor `falsified`, and should have.
    """
    code = 0
    for row in rows:
        if row.is_failure:
            return 1
        if not row.task.is_answered and row.task.status is not Status.SUPERSEDED:
            code = 3
    return code


def exit_code(tasks: Iterable[Task], closure: Closure) -> int:
    """The exit code that these tasks ask for, as `exit_code_of`."""
    return exit_code_of(rows_of(tasks, closure))


def needs_look(task: Task, closure: Closure) -> bool:
    """Whether a person should look at a task, as `Row.needs_look`."""
    return any(row.needs_look for row in rows_of([task], closure))


def outcome_word(task: Task) -> str:
    """The verdict if there is one, else the status, in words."""
    return task.outcome


def missed_expectation(task: Task) -> bool:
    """Whether a task is not as expected, as `Task.misses_expectation`."""
    return task.misses_expectation


# --- Findings -------------------------------------------------------------------------------------

# Of every kind of finding what to do about it, in the order in which they are told.
ADVICE = {
    "expectation": "find out what changed: theory, prover, options or limits; or correct what is "
    "expected",
    "assumption": "prove what is assumed, with the same prover and text; if it is false, correct "
    "it: anything follows from it",
    "disagreement": "at most one is right: compare texts, flags and assumptions, let another "
    "prover check the proof",
    "invalid": "do not rely on it: run the prover again and keep all that it writes",
    "stale": "run it again, on the theory as it is now",
    "missing": "prove it: nothing is known of it",
    "vacuity": "add an exists-trace lemma: where the rules can't run, everything is true of all "
    "traces",
    "sorry": "finish the proof",
    "warning": "correct the theory; `check --report` shows all that the prover says",
}

# How bad a finding is; the first are told first.
FLIP = 0  # a verdict turned into its opposite
WRONG = 1
NOTE = 2  # counts with --strict only


@dataclass(frozen=True)
class Finding:
    """Something that a reader of results must know."""

    kind: str  # one of ADVICE
    theory: str
    lemma: str
    message: str
    rank: int = WRONG
    prover: str = ""


def finding(kind: str, task: Task, message: str, rank: int = WRONG) -> Finding:
    """A finding about a task."""
    return Finding(kind, task.plan.theory, task.plan.lemma, message, rank, task.plan.prover)


def audit(batches: Mapping[str, Batch]) -> Iterator[Finding]:
    """What results say about themselves and about each other; `batches` by where they stand."""
    for batch in batches.values():
        for row in rows_of(batch.tasks.values(), Closure(batch.tasks.values())):
            yield from _findings_of_task(row)
        yield from _vacuous_models(batch)
    yield from _disagreements(batches)


def _findings_of_task(row: Row) -> Iterator[Finding]:
    task = row.task
    if task.misses_expectation:
        yield _missed(task, f"expected {task.plan.expect}, got {row.outcome}")
    if row.assuming:
        rank = WRONG if row.rests_on_false else NOTE
        yield finding("assumption", task, row.told, rank)
    # What a log or a theory has no verdict of is told where those are read.
    stands_in_a_file = task.plan.limits.cores == 0
    if task.wants_verdict and not stands_in_a_file:
        yield finding("missing", task, f"no verdict: {row.outcome}", NOTE)
    for text in row.result.warnings:
        yield finding("warning", task, text, NOTE)


def _missed(task: Task, message: str) -> Finding:
    """A finding that a result is not the expected one; an opposite answer is the worst."""
    return finding("expectation", task, message, FLIP if task.is_answered else WRONG)


class _Rules(NamedTuple):
    """Whose rules are the same, whoever proves: the results of one theory text with its flags."""

    text: str  # its digest; "" where it is not known
    theory: str
    cwd: str
    flags: tuple[str, ...]


def _vacuous_models(batch: Batch) -> Iterator[Finding]:
    """Theories of which something is verified of all traces, and no trace was found."""
    verified: dict[_Rules, set[str]] = {}  # traits
    for task in batch.tasks.values():
        if task.verdict is Verdict.VERIFIED:
            plan = task.plan
            rules = _Rules(plan.theory_digest, plan.theory, plan.cwd, plan.flags)
            verified.setdefault(rules, set()).add(plan.trait)
    text = (
        "no exists-trace lemma with a trace: what is verified of all traces may hold because "
        "nothing can happen"
    )
    for rules, traits in verified.items():
        if Trait.ALL_TRACES in traits and Trait.EXISTS_TRACE not in traits:
            yield Finding("vacuity", rules.theory, "", text, NOTE)


class _Question(NamedTuple):
    """What can have one answer only: a lemma of a theory text with flags."""

    text: str  # digest, or the theory's name where the text is not known
    lemma: str
    flags: tuple[str, ...]  # sorted


class _Answer(NamedTuple):
    """A verdict, and where it stands."""

    source: str
    task: Task


def _disagreements(batches: Mapping[str, Batch]) -> Iterator[Finding]:
    """Lemmas that are verified here and falsified there."""
    answers: dict[_Question, dict[Verdict, _Answer]] = {}
    for source, batch in batches.items():
        for task in batch.tasks.values():
            if task.verdict is not None:
                plan = task.plan
                text = plan.theory_digest or plan.theory
                question = _Question(text, plan.lemma, tuple(sorted(plan.flags)))
                answers.setdefault(question, {})[task.verdict] = _Answer(source, task)
    for verdicts in answers.values():
        if verdicts.keys() >= ANSWERS:
            yield _disagreement(verdicts[Verdict.VERIFIED], verdicts[Verdict.FALSIFIED])


def _disagreement(verified: _Answer, falsified: _Answer) -> Finding:
    plan = verified.task.plan
    message = f"verified by {plan.prover}, falsified by {falsified.task.plan.prover}"
    if verified.source != falsified.source:
        message += f" (in {verified.source} and in {falsified.source})"
    return Finding("disagreement", plan.theory, plan.lemma, message)


# --- Expectations and comparison ------------------------------------------------------------------


class _Expected(NamedTuple):
    """A row of a file of expectations; theory and lemma may be shell patterns."""

    theory: str  # with or without folder and ending; "": any
    lemma: str
    verdict: str


def read_expectations(path: str) -> list[Task]:
    """What a file expects, as results that would be so. Raises InputError.

    JSON: `{"lemma": "verified"}` or `{"theory.spthy": {"lemma": "verified"}}`. CSV: columns
    `theory,lemma,verdict`; a row without a verdict expects nothing. Theories (with or without
    folder and ending; "": any) and lemmas may be shell patterns.
    """
    import csv

    text = read_text(path)
    try:
        is_json = text.lstrip().startswith("{")
        rows = list(_expected_json(text) if is_json else _expected_csv(text))
        if not rows:
            raise ValueError("nothing is expected")
        return [_expected_task(row, path) for row in rows]
    except (ValueError, KeyError, RecursionError, csv.Error) as error:
        raise InputError(
            "not a JSON object, or CSV with theory,lemma,verdict, of which each verdict is one of "
            f"{', '.join(Verdict)}: {printable(str(error))}",
            path,
        ) from None


def _expected_json(text: str) -> Iterator[_Expected]:
    for name, value in json.loads(text).items():
        if isinstance(value, dict):
            for lemma, verdict in value.items():
                yield _Expected(name, lemma, verdict)
        else:
            yield _Expected("", name, value)


def _expected_csv(text: str) -> Iterator[_Expected]:
    import csv

    for row in csv.DictReader(text.splitlines()):
        if row["verdict"]:
            yield _Expected(row["theory"] or "", row["lemma"] or "", row["verdict"])


def _expected_task(row: _Expected, path: str) -> Task:
    lemma = Lemma(row.lemma, Trait.ALL_TRACES, "", (), path)
    result = Result(Status.COMPLETED, Verdict(row.verdict))
    return file_task("", row.theory, "", [lemma], result)


def compare(
    tasks: Iterable[Task], before: Iterable[Task], where: str, tolerance: float
) -> Iterator[Finding]:
    """How results differ from other ones, or from expected ones, that stand `where`.

    `tolerance`: so many times the steps and seconds are no news; 0: the others are expectations,
    and what is not among them is no news either.
    """
    baseline = _Baseline(before)
    for task in tasks:
        known = baseline.results_for(task)
        if known:
            yield from _changed_verdict(task, known, where, tolerance)
            yield from _changed_costs(task, known, where, tolerance)
        elif tolerance:
            yield finding("expectation", task, f"new: not {where}", NOTE)
    for old in baseline.not_met():
        message = f"{old.outcome} {where}, not in these results"
        rank = WRONG if old.is_answered else NOTE
        yield Finding("missing", old.plan.theory, old.plan.lemma, message, rank)


class _Baseline:
    """Results to compare others with.

    Theories are the same when their base names are. An exact name beats patterns, the same prover
    and flags beat others.
    """

    def __init__(self, results: Iterable[Task]) -> None:
        self.results = list(results)
        self.exact: dict[tuple[str, str], list[Task]] = {}  # by theory and lemma
        self.patterns: list[Task] = []
        # A task is no key: it can change.
        self.met: set[int] = set()  # ids of the objects that were compared with something
        for result in self.results:
            plan = result.plan
            self.exact.setdefault((os.path.basename(plan.theory), plan.lemma), []).append(result)
            if _is_pattern(plan.lemma) or _is_pattern(plan.theory):
                self.patterns.append(result)

    def results_for(self, task: Task) -> list[Task]:
        """The results that a task must be compared with."""
        known = self._exact_results(task) or self._matching_patterns(task)
        self.met.update(id(result) for result in known)
        same = [result for result in known if _same_prover(result.plan, task.plan)]
        return same or known

    def not_met(self) -> Iterator[Task]:
        """The results that nothing was compared with."""
        for result in self.results:
            if id(result) not in self.met:
                yield result

    def _exact_results(self, task: Task) -> list[Task]:
        for theory in _theory_names(task.plan.theory):
            if (theory, task.plan.lemma) in self.exact:
                return self.exact[theory, task.plan.lemma]
        return []

    def _matching_patterns(self, task: Task) -> list[Task]:
        return [result for result in self.patterns if _matches(task.plan, result.plan)]


def _matches(plan: Plan, pattern: Plan) -> bool:
    """Whether a plan's lemma and theory are meant by shell patterns in their place."""
    if not fnmatch.fnmatchcase(plan.lemma, pattern.lemma):
        return False
    theories = (*_theory_names(plan.theory), plan.theory)
    return any(fnmatch.fnmatchcase(theory, pattern.theory) for theory in theories)


def _theory_names(theory: str) -> tuple[str, str, str]:
    """The names under which an expectation may mean a theory: "" means any."""
    base = os.path.basename(theory)
    stem, _ = os.path.splitext(base)
    return base, stem, ""


def _same_prover(plan: Plan, other: Plan) -> bool:
    return plan.prover == other.prover and plan.flags == other.flags


def _changed_verdict(
    task: Task, before: Sequence[Task], where: str, tolerance: float
) -> Iterator[Finding]:
    if any(old.verdict == task.verdict for old in before):
        return
    words = " or ".join(dict.fromkeys(old.outcome for old in before))
    message = f"{words} {where}, {task.outcome} now"
    had_an_answer = any(old.is_answered for old in before)
    if tolerance and not had_an_answer:
        yield finding("expectation", task, message, NOTE)
    else:
        yield _missed(task, message)


# Smaller differences say nothing.
NOISE = {"steps": 0, "seconds": 1}


def proof_cost(result: Result) -> dict[str, float]:
    """What a proof took, by the words of the report: a new measure is one more entry."""
    return {"steps": result.steps or 0, "seconds": result.prover_s or result.usage.wall_s}


def _changed_costs(
    task: Task, before: Sequence[Task], where: str, tolerance: float
) -> Iterator[Finding]:
    earlier = [old.result for old in before if old.result and old.verdict == task.verdict]
    if task.verdict is None or not task.result or not earlier:
        return
    for growth in _grown_costs(task.result, earlier, tolerance):
        message = (
            f"{growth.cost:,g} {growth.what}, {growth.before:,g} {where}: "
            f"more than {tolerance:g} times as many"
        )
        yield finding("expectation", task, message)


class _Growth(NamedTuple):
    """A cost that has grown."""

    what: str  # a word of `proof_cost`
    before: float
    cost: float


def _grown_costs(result: Result, earlier: Sequence[Result], tolerance: float) -> Iterator[_Growth]:
    for what, cost in proof_cost(result).items():
        before = max(proof_cost(old)[what] for old in earlier)
        if before and cost > before * tolerance and cost - before > NOISE[what]:
            yield _Growth(what, before, cost)


# --- What is to be audited ------------------------------------------------------------------------

# What a file is its content tells: a theory begins with its name, and a prover's words with these.
_BEGINS_THEORY = re.compile(
    rb"\s*(?:/[/*].*?)??^[ \t]*theory\s+\w+\s+(?:begin|configuration|/[/*])",
    re.DOTALL | re.MULTILINE,
)
_OF_A_PROVER = re.compile(
    rb"^(?:\[Theory \w+\] |tamarin-(?:prover|rs): |summary of summaries:"
    rb"|.*\(line \d+, column \d+\):$)",
    re.MULTILINE,
)
_MADE_BY = re.compile(rb"Generated from:\s+Tamarin version ([\w.]+)")
UNKNOWN = "what the verdicts assume is unknown"
CLOCK_S = 2  # by so much times may differ only because files were copied


@dataclass(frozen=True)
class Evidence:
    """What there is at some paths."""

    batches: dict[str, Batch]  # by where they stand; the logs of a folder are one
    findings: list[Finding]  # what reading showed


def read_evidence(paths: Iterable[str], warn: Callable[[str], None]) -> Evidence:
    """What there is at these paths: results directories, analyzed theories, logs of provers.

    Folders are searched for all of these; what is none of them is passed over. Raises InputError
    for a path where there is nothing.
    """
    # Paths may be named in any order: all is read before anything is matched.
    reader = EvidenceReader(warn)
    for path in paths:
        if not reader.read(path):
            raise InputError(
                "here are neither results, nor an analyzed theory, nor a log of a prover",
                printable(path),
            )
    files = [file for file in reader.files.values() if file]
    # Which theory text each log belongs to, and the texts that no results are of.
    index = TextIndex([file.text for file in files if file.text])
    logs = [match_log(log, index) for file in files for log in file.logs]
    claims = _unchecked_texts(index, _explained(reader.batches, logs))
    # What is known of results, and what reading showed about them.
    batches = dict(reader.batches)
    findings = [
        *_unconfirmed_proofs(reader.rechecks),
        *_unreadable_texts(files),
        *_findings_of_batches(reader.batches),
    ]
    for folder, matches in _by_folder(logs).items():
        said = [LogResults(match, list(_results_in_log(match))) for match in matches]
        results = _results_that_count(said)
        batches[folder] = _file_batch(folder, results)
        findings += _findings_of_logs(said, results)
    for proofs in _by_model(claims):
        path = proofs[0].log.file
        stored = _union_of_proofs(proofs)
        batches[path] = _file_batch(path, [each.task for each in stored])
        findings += _findings_of_claims(proofs, stored)
    findings += _runs_without_summary(files)
    return Evidence(batches, findings)


# Step 1: read each file and each results directory once.

# Names with sides: by it a log and a theory text are known to belong together.
LemmaList = frozenset[tuple[str, str]]


def lemma_list(lemmas: Iterable[Lemma | SummaryLine]) -> LemmaList:
    """The names of lemmas with their sides."""
    return frozenset((lemma.name, lemma.side) for lemma in lemmas)


@dataclass(frozen=True)
class ProverLog:
    """What a process said of one theory in its last summary."""

    file: str
    theory: str  # as the prover was given it
    output: str  # where it says that it wrote the analyzed theory
    said: ProverOutput

    @property
    def folder(self) -> str:
        return os.path.dirname(self.file)

    @property
    def lemmas(self) -> LemmaList:
        """The lemma list of the theory that it is of."""
        return lemma_list(self.said.lines)


@dataclass(frozen=True)
class TheoryText:
    """A theory among the files: as people wrote it, or as a prover printed it."""

    path: str
    theory: Theory
    model: str  # digest of all that it says but proofs
    made_by: str = ""  # the prover that printed it: "Tamarin 1.11.0"; "" of what people wrote
    has_summary: bool = False  # it stands in a log

    @property
    def lemma_lists(self) -> set[LemmaList]:
        """The lemma lists that a prover may show of it: --auto-sources adds what is needed only."""
        sure = [lemma for lemma in self.theory.lemmas if not lemma.optional]
        return {lemma_list(self.theory.lemmas), lemma_list(sure)}


@dataclass(frozen=True)
class EvidenceFile:
    """What a file that a prover wrote or read says."""

    path: str
    text: TheoryText | None
    problem: str = ""  # why it is no theory though it begins as one
    logs: tuple[ProverLog, ...] = ()  # of each theory that a complete summary tells of
    is_cut: bool = False  # a summary was begun, and not ended
    is_talk: bool = False  # what a prover says beside its summary, or before it was ended


class EvidenceReader:
    """Reads what stands at paths: every file and folder once, by whatever links it is reached."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self.batches: dict[str, Batch] = {}  # by the results directory
        self.rechecks: list[Batch] = []
        self.files: dict[str, EvidenceFile | None] = {}  # by real path; None: of no prover
        self._folders: set[str] = set()  # real paths

    def read(self, path: str) -> bool:
        """Read what a user named; False if there is nothing for an audit. Raises InputError."""
        if os.path.basename(path) in (JOURNAL, UPSTREAM_REPORT) and os.path.isfile(path):
            path = os.path.dirname(path) or "."
        if os.path.isdir(path):
            return self._read_folder(path)
        return self._read_file(path)

    def _read_folder(self, path: str) -> bool:
        something = os.path.realpath(path) in self._folders
        for folder, folders, names in os.walk(path, followlinks=True):
            if os.path.realpath(folder) in self._folders:
                folders.clear()  # links may lead round in circles
                continue
            self._folders.add(os.path.realpath(folder))
            if self._read_results(folder, names):
                something = True
                folders[:] = [name for name in folders if name.startswith("recheck-")]
                names.clear()
            folders.sort()
            for name in sorted(names):
                with suppress(InputError):
                    something |= self._read_file(os.path.join(folder, name))
        return something

    def _read_results(self, folder: str, names: Iterable[str]) -> bool:
        """Read a results directory; False if it is none, or can't be read."""
        if JOURNAL not in names and UPSTREAM_REPORT not in names:
            return False
        try:
            batch = load_results(folder, self.warn)
        except InputError as error:
            self.warn(str(error))
            return False
        if batch.header.recheck_of:
            self.rechecks.append(batch)
        else:
            self.batches[folder] = batch
        return True

    def _read_file(self, path: str) -> bool:
        real = os.path.realpath(path)
        if real not in self.files:
            self.files[real] = read_evidence_file(path)
        return self.files[real] is not None


def read_evidence_file(path: str) -> EvidenceFile | None:
    """What a theory or a log says; None of any other file. Raises InputError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            head = file.read(65_536)
        summary: list[str] = []
        if b"\0" not in head:
            summary = last_part(path, "=\nsummary of summaries:\n")
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"can't be read: {problem}", printable(path)) from None
    begins_theory = bool(_BEGINS_THEORY.match(head))
    speaks = bool(_OF_A_PROVER.search(head))
    if not (begins_theory or summary or speaks):
        return None
    logs = list(read_logs(path, summary, head))
    text = None
    problem = ""
    if begins_theory:
        try:
            text = read_theory_text(path, bool(logs))
        except InputError as error:
            problem = str(error)
    if text and not text.made_by:
        # No prover printed a summary into what people wrote: it stands in a comment.
        return EvidenceFile(path, text)
    complete = tuple(log for log in logs if log.said.summary)
    all_complete = bool(logs) and len(complete) == len(logs)
    return EvidenceFile(
        path,
        text,
        problem=problem,
        logs=complete,
        is_cut=bool(summary) and not all_complete,
        is_talk=speaks and not summary,
    )


def read_theory_text(path: str, has_summary: bool = False) -> TheoryText:
    """A theory, read with --diff if it demands that. Raises InputError."""
    try:
        theory = load_theory(path, keep_text=True)
    except InputError as error:
        if _NEEDS_DIFF not in str(error):
            raise
        theory = load_theory(path, diff=True, keep_text=True)
    version = _MADE_BY.search(read_from_end(path, 2 * MB))
    made_by = f"Tamarin {version[1].decode()}" if version else ""
    return replace(theory_text(theory), made_by=made_by, has_summary=has_summary)


def theory_text(theory: Theory) -> TheoryText:
    """A theory that was loaded with its text, which may be long and is not kept."""
    statements = "\n".join(text for _, text in _statements(theory))
    model = sha256(statements.encode())[:32]
    return TheoryText(theory.path, replace(theory, segments=()), model)


def read_logs(path: str, summary: Sequence[str], head: bytes) -> Iterator[ProverLog]:
    """What the last summary in a file says of each theory; `head` is the beginning of the file."""
    starts = [number for number, line in enumerate(summary) if line.startswith("analyzed: ")]
    has_end = any(line.startswith("=====") for line in summary[2:])
    old_maude = _OLD_MAUDE.search(head.decode("utf-8", "replace"))
    for start, stop in zip(starts, [*starts[1:], len(summary)]):
        # Each theory as if it were the only one: two lines of heading, its own, and the end, which
        # in the file stands behind the last.
        block = list(summary[start:stop])
        lines = ["", "", *block]
        if has_end:
            lines.append("=====")
        said = ProverOutput()
        if old_maude:
            said.old_maude = old_maude[1]
        _read_summary(lines, said, "")
        yield ProverLog(path, _behind("analyzed: ", block), _behind("  output: ", block), said)


def _behind(words: str, lines: Iterable[str]) -> str:
    """What stands behind these words in the first line that begins with them, or ""."""
    for line in lines:
        if line.startswith(words):
            return line[len(words) :].strip()
    return ""


# Step 2: find the theory text that a log belongs to.


class TextIndex:
    """The theory texts among the files, by path, name and lemma list."""

    def __init__(self, texts: Iterable[TheoryText]) -> None:
        self.texts = {text.path: text for text in texts}
        self._by_name: dict[str, list[TheoryText]] = {}
        self._by_lemmas: dict[LemmaList, list[TheoryText]] = {}
        for text in self.texts.values():
            self._by_name.setdefault(os.path.basename(text.path), []).append(text)
            for lemmas in text.lemma_lists:
                self._by_lemmas.setdefault(lemmas, []).append(text)

    def named(self, name: str) -> list[TheoryText]:
        """The texts in files of this name."""
        return self._by_name.get(name, [])

    def with_lemmas(self, lemmas: LemmaList) -> list[TheoryText]:
        """The texts that have just these lemmas."""
        return self._by_lemmas.get(lemmas, [])


@dataclass(frozen=True)
class Match:
    """A log, and the theory that it belongs to."""

    log: ProverLog
    printed: TheoryText | None  # as the prover printed it: the flags have had their effect
    source: str  # where the theory stands that the prover was given; "" if it is not here
    text: TheoryText | None  # the printed theory, or else the source as the prover read it

    @property
    def prover(self) -> str:
        """Who proved, as far as the text tells: "Tamarin 1.11.0", or ""."""
        return self.printed.made_by if self.printed else ""

    @property
    def digest(self) -> str:
        """Of the text that was proven; "" where that is not known."""
        return self.text.model if self.text and not self.by_name else ""

    @property
    def by_name(self) -> bool:
        """Whether nothing but its name says that the text is the log's."""
        return (
            self.printed is None
            and self.text is not None
            and self.log.lemmas not in self.text.lemma_lists
        )


def match_log(log: ProverLog, index: TextIndex) -> Match:
    """Which theory text a log belongs to.

    The one that it holds itself, or one with its lemma list. Where there is none, a source of the
    name that it says is taken for what is assumed, but it proves nothing about where it belongs.
    """
    printed = _printed_text(log, index)
    source = _source_of(log, index, printed)
    text = printed
    if not printed and source:
        with suppress(InputError):
            text = _source_as_read(source, log)
    return Match(log, printed, source, text)


def _printed_text(log: ProverLog, index: TextIndex) -> TheoryText | None:
    """The analyzed theory: in the log itself, or the only one with its lemma list."""
    if log.file in index.texts:
        return index.texts[log.file]
    fitting: list[TheoryText] = []
    for text in index.with_lemmas(log.lemmas):
        # The text in another log is what that log's process printed.
        if text.made_by and not text.has_summary:
            fitting.append(text)
    # Where several have these lemmas, the log may say which of them its process wrote.
    output = os.path.basename(log.output)
    named = [text for text in fitting if os.path.basename(text.path) == output]
    return _nearest(named, log.folder) or _nearest(fitting, log.folder)


def _nearest(texts: Sequence[TheoryText], folder: str) -> TheoryText | None:
    """The only one of these texts in the folder, or the only one at all."""
    near = [text for text in texts if os.path.dirname(text.path) == folder]
    for some in (near, texts):
        if len(some) == 1:
            return some[0]
    return None


def _source_of(log: ProverLog, index: TextIndex, printed: TheoryText | None) -> str:
    """Where the theory stands that the prover was given, or ""."""
    name = os.path.basename(log.theory)
    beside = os.path.join(log.folder, name)
    # The name that the log says, as seen from the log and from here.
    for path in (os.path.join(log.folder, log.theory), beside, log.theory):
        is_print = printed is not None and path == printed.path
        if os.path.isfile(path) and path != log.file and not is_print:
            return path
    source = _nearest(_sources(index.named(name)), log.folder)
    if not source:
        source = _nearest(_sources(index.with_lemmas(log.lemmas)), log.folder)
    return source.path if source else ""


def _sources(texts: Iterable[TheoryText]) -> list[TheoryText]:
    """Those that no prover printed."""
    return [text for text in texts if not text.made_by]


def _source_as_read(path: str, log: ProverLog) -> TheoryText:
    """A theory with the options that show in a log. Raises InputError."""
    lines = log.said.lines
    diff = any(line.side or line.trait == Trait.DIFF for line in lines)
    auto_sources = any(line.name.startswith(AUTO_SOURCES_LEMMA) for line in lines)
    return theory_text(load_theory(path, (), diff, auto_sources, keep_text=True))


def _explained(batches: Mapping[str, Batch], matches: Iterable[Match]) -> set[str]:
    """Real paths of the theories that results are of."""
    paths: set[str] = set()
    for batch in batches.values():
        paths.update(_theory_path(task.plan) for task in batch.tasks.values())
    for match in matches:
        if match.printed:
            paths.add(match.printed.path)
        if match.source:
            paths.add(match.source)
    return {os.path.realpath(path) for path in paths}


def _unchecked_texts(index: TextIndex, explained: Collection[str]) -> list[Match]:
    """Texts that no results are of: what their proofs claim nobody is known to have checked.

    Each stands as a log in which nothing is said. A source of which a prover printed one of them is
    none of its own.
    """
    texts: list[TheoryText] = []
    for text in index.texts.values():
        if os.path.realpath(text.path) not in explained:
            texts.append(text)
    matches: list[Match] = []
    sources: set[str] = set()
    for text in texts:
        source = _source_of_print(text, index) if text.made_by else ""
        sources.add(source)
        log = ProverLog(text.path, text.path, "", ProverOutput())
        matches.append(Match(log, text, source, text))
    return [match for match in matches if match.log.file not in sources]


def _source_of_print(printed: TheoryText, index: TextIndex) -> str:
    """Where the theory stands that a prover printed this of: its name and its lemma list, or ""."""
    sources = _sources(index.with_lemmas(lemma_list(printed.theory.lemmas)))
    same_name = [text for text in sources if text.theory.name == printed.theory.name]
    source = _nearest(same_name, os.path.dirname(printed.path))
    return source.path if source else ""


# Step 3: the results in logs, a batch for each folder.


class LogResults(NamedTuple):
    """What a log tells of the theory that it belongs to."""

    match: Match
    tasks: list[Task]


class LemmaKey(NamedTuple):
    """A lemma of a theory: the sides of one are together, a diffLemma of its name is another."""

    name: str
    is_diff: bool


def _by_folder(matches: Iterable[Match]) -> dict[str, list[Match]]:
    folders: dict[str, list[Match]] = {}
    for match in matches:
        folders.setdefault(match.log.folder, []).append(match)
    return folders


def _results_that_count(logs: Iterable[LogResults]) -> list[Task]:
    """Of each lemma in the logs of a folder one result for each verdict that there is.

    A lemma that one log was not asked for gives way to any other's word.
    """
    lemmas: dict[tuple[Model, str, str], list[Task]] = {}
    for task in itertools.chain.from_iterable(log.tasks for log in logs):
        key = (_model_of(task.plan), task.plan.lemma, task.plan.trait)
        lemmas.setdefault(key, []).append(task)
    results: list[Task] = []
    for tasks in lemmas.values():
        asked_for = [task for task in tasks if not not_asked_for(task)]
        verdicts: dict[Verdict | None, Task] = {}
        for task in asked_for or tasks[:1]:
            verdicts.setdefault(task.verdict, task)
        results += verdicts.values()
    return results


def _results_in_log(match: Match) -> Iterator[Task]:
    """What a log says of each lemma; of a printed theory also the lemmas that it is silent of."""
    log = match.log
    said = _lemmas_of_log(log)
    known = _lemmas_of_text(match.text)
    keys = dict.fromkeys(said)
    printed_in = log.file
    if match.printed:
        keys.update(dict.fromkeys(known))
        printed_in = match.printed.path
    warnings = log_warnings(log, printed_in)
    # A warning of these checks is told by `warnings`, with what the theory says of it.
    output = replace(log.said, failed_checks=0)
    for key in keys:
        # The theory tells more of a lemma than the log: what it assumes.
        lemma = known.get(key) or said[key]
        task = file_task(log.file, log.theory, match.prover, lemma, text=match.digest)
        if key in said:
            result = judge(task.plan, Outcome(Status.COMPLETED, ExitStatus(0)), output, "")
            task.status = result.status
            task.result = replace(result, warnings=warnings)
        yield task


def _lemmas_of_log(log: ProverLog) -> dict[LemmaKey, list[Lemma]]:
    """The lemmas that a log tells of; what they assume it does not tell."""
    lemmas: dict[LemmaKey, list[Lemma]] = {}
    for line in log.said.lines:
        trait = Trait(line.trait or Trait.ALL_TRACES)
        lemma = Lemma(line.name, trait, line.side, (), log.file)
        lemmas.setdefault(_lemma_key(lemma), []).append(lemma)
    return lemmas


def _lemmas_of_text(text: TheoryText | None) -> dict[LemmaKey, list[Lemma]]:
    lemmas: dict[LemmaKey, list[Lemma]] = {}
    if text:
        for sides in _lemma_groups(text.theory).values():
            lemmas[_lemma_key(sides[0])] = sides
    return lemmas


def _lemma_key(lemma: Lemma) -> LemmaKey:
    return LemmaKey(lemma.name, lemma.trait == Trait.DIFF)


def log_warnings(log: ProverLog, theory: str) -> tuple[str, ...]:
    """What the prover warned of; `theory` is the file with the theory as the prover printed it.

    Its complaint that `--prove` named a lemma that it generates itself is none of the theory's.
    """
    generated = (EQUIVALENCE_LEMMA, AUTO_SOURCES_LEMMA)
    has_generated = any(line.name.startswith(generated) for line in log.said.lines)
    asked = ""
    if has_generated and ASKED_NAME_CHECK in wellformedness_titles(theory):
        asked = EQUIVALENCE_LEMMA
    task = file_task("", "", "", [Lemma(asked, Trait.DIFF, "", (), "")])
    return tuple(prover_warnings(task.plan, log.said, theory))


def file_task(
    file: str,
    theory: str,
    prover: str,
    lemmas: Sequence[Lemma],
    result: Result | None = None,
    text: str = "",
) -> Task:
    """A task whose result stands in a file.

    `lemmas`: one, or its two sides; `text`: digest of the theory text, "" where it is not known.
    """
    first = lemmas[0]
    plan = Plan(
        id="",
        entry=file,
        theory=theory,
        lemma=first.name,
        trait=first.trait,
        sides=tuple(lemma.side for lemma in lemmas if lemma.side),
        prover=prover or "unknown prover",
        options=(),
        flags=(),
        limits=Limits(0, 0, 0),
        cwd=os.path.dirname(file),
        prove=True,
        optional=first.optional,
        assumes=assumed_by(lemmas),
        expect=None,
        key="",
        theory_digest=text,
    )
    return Task(plan, result.status if result else Status.PENDING, result=result)


def _file_batch(source: str, tasks: Iterable[Task]) -> Batch:
    """A batch of results that stand in files."""
    batch = Batch()
    batch.apply(Header(recipe_file=source, cwd=source))
    for number, task in enumerate(tasks):
        batch.apply(replace(task.plan, id=str(number)))
        if task.result:
            batch.apply(Finished(str(number), "", 1, replace(task.result, at="")))
    return batch


def not_asked_for(task: Task) -> bool:
    """Whether a result is that of a lemma which nobody asked for.

    Tamarin lists every lemma of a theory, in one step those that it was not asked for.
    """
    if task.result is None or task.verdict is not Verdict.INCOMPLETE:
        return False
    return task.result.steps == len(task.result.lemmas)


# Step 4: what proofs claim that nobody is known to have checked.


class StoredProof(NamedTuple):
    """A lemma with the proof that a text has of it, on both sides in diff mode."""

    task: Task  # without a result
    lemmas: Sequence[Lemma]


def _by_model(claims: Iterable[Match]) -> list[list[Match]]:
    """Texts of a folder that differ in nothing but proofs are together."""
    groups: dict[tuple[str, str, str], list[Match]] = {}
    for match in claims:
        if match.text:
            key = (match.log.folder, match.text.made_by, match.text.model)
            groups.setdefault(key, []).append(match)
    return list(groups.values())


def _union_of_proofs(matches: Sequence[Match]) -> list[StoredProof]:
    """Of each lemma the proof that claims most."""
    first = matches[0]
    best: dict[LemmaKey, list[Lemma]] = {}
    for match in matches:
        for key, lemmas in _lemmas_of_text(match.text).items():
            if key not in best or _claim_rank(lemmas) > _claim_rank(best[key]):
                best[key] = lemmas
    theory = first.source or first.log.file
    stored: list[StoredProof] = []
    for lemmas in best.values():
        task = file_task(first.log.file, theory, first.prover, lemmas, text=first.digest)
        stored.append(StoredProof(task, lemmas))
    return stored


_CLAIMS = (None, Verdict.INCOMPLETE, Verdict.VERIFIED, Verdict.FALSIFIED)


def _claim_rank(lemmas: Iterable[Lemma]) -> int:
    """The larger, the more a stored proof claims."""
    return _CLAIMS.index(stored_claim(lemmas))


def stored_claim(lemmas: Iterable[Lemma]) -> Verdict | None:
    """What a stored proof, in diff mode of both sides, would show if a prover checked it."""
    claims = {lemma.claim for lemma in lemmas} or {None}
    for claim in (Verdict.FALSIFIED, None, Verdict.INCOMPLETE):
        if claim in claims:
            return claim
    return Verdict.VERIFIED


# Step 5: what reading showed.


def _unconfirmed_proofs(rechecks: Iterable[Batch]) -> Iterator[Finding]:
    for batch in rechecks:
        for task in batch.tasks.values():
            if task.misses_expectation:
                message = f"{task.plan.prover} does not confirm the proof: {task.outcome}"
                yield finding("invalid", task, message)


def _unreadable_texts(files: Iterable[EvidenceFile]) -> Iterator[Finding]:
    for file in files:
        if file.problem:
            message = f"can't be read as a theory: {file.problem}"
            yield Finding("invalid", file.path, "", message, NOTE)


def _runs_without_summary(files: Sequence[EvidenceFile]) -> Iterator[Finding]:
    """Runs that were ended, or still go on, as far as the files of a folder show for certain.

    What a prover says beside its summary may be in a file of its own: only where there are more of
    these than files with a summary, some run has none.
    """
    message = "no complete summary: the prover was ended, or still runs"
    talks: dict[str, list[str]] = {}
    summaries: Counter[str] = Counter()
    for file in files:
        folder = os.path.dirname(file.path)
        if file.is_cut:
            yield Finding("missing", file.path, "", message)
        elif file.is_talk:
            talks.setdefault(folder, []).append(file.path)
        elif file.logs:
            summaries[folder] += 1
    for folder, paths in talks.items():
        if len(paths) > summaries[folder]:
            yield Finding("missing", listed(paths, 1), "", message)


def _findings_of_logs(logs: Sequence[LogResults], results: Iterable[Task]) -> Iterator[Finding]:
    """What the logs of a folder show; `results` are those that count."""
    writers = Counter(log.match.printed.path for log in logs if log.match.printed)
    for match, tasks in logs:
        yield from _findings_of_match(match)
        known = _lemmas_of_text(match.text)
        for task in tasks:
            key = LemmaKey(task.plan.lemma, task.plan.trait == Trait.DIFF)
            if match.text and key not in known:
                message = f"{UNKNOWN}: not in the theory as it is here"
                yield finding("assumption", task, message, NOTE)
            # Where several processes wrote to one file it is not known whose proof is left.
            if match.printed and writers[match.printed.path] == 1:
                yield from judge_proof(task, known.get(key, ()))
    for task in results:
        if not_asked_for(task):
            yield finding("missing", task, "nobody asked for a proof of it", NOTE)


def _findings_of_claims(
    matches: Iterable[Match], stored: Iterable[StoredProof]
) -> Iterator[Finding]:
    """What texts show that no prover is known to have checked."""
    for match in matches:
        yield from _findings_of_match(match)
    for proof in stored:
        yield from judge_proof(proof.task, proof.lemmas)


def _findings_of_match(match: Match) -> Iterator[Finding]:
    """What the text that a log belongs to leaves in doubt."""
    log = match.log
    if match.source and _is_newer(match.source, log.file):
        yield Finding("stale", log.theory, "", f"{match.source} is newer than {log.file}")
    if not match.text:
        message = f"{UNKNOWN}: the theory is not here, or can't be read"
        yield Finding("assumption", log.theory, "", message, NOTE)
        return
    if match.by_name:
        message = f"text matched by name: the lemmas of {match.source} are not those of {log.file}"
        yield Finding("assumption", log.theory, "", message, NOTE)
    if not match.printed and "#ifdef" in read_text(match.source):
        message = f"{UNKNOWN}: {match.source} has #ifdefs, the log no flags"
        yield Finding("assumption", log.theory, "", message, NOTE)


def _is_newer(path: str, than: str) -> bool:
    return os.stat(path).st_mtime > os.stat(than).st_mtime + CLOCK_S


def judge_proof(task: Task, stored: Sequence[Lemma]) -> Iterator[Finding]:
    """Whether the stored proof of a task's lemma (in diff mode of both sides) says what it should.

    That is what the prover said, if it said anything.
    """
    claim = stored_claim(stored)
    if task.is_answered and claim != task.verdict:
        message = f"the prover's summary says {task.verdict}, the stored proof {_words(stored)}"
        yield finding("invalid", task, message)
    elif claim is Verdict.INCOMPLETE:
        yield finding("sorry", task, "the stored proof is unfinished", NOTE)
    elif task.verdict is None and claim:
        message = f"claimed {claim} by a stored proof, unchecked"
        yield finding("missing", task, message, NOTE)
    elif task.verdict is None:
        yield finding("missing", task, "has no result", NOTE)


def _words(stored: Sequence[Lemma]) -> str:
    claim = stored_claim(stored)
    if not claim:
        return "is not there"
    if any("sorry" in lemma.proof for lemma in stored):
        return f"says {claim} (it has `sorry` in it)"
    return f"says {claim}"


class _View(NamedTuple):
    """A theory file and what of a command line changes how it is read."""

    path: str
    flags: tuple[str, ...]
    diff: bool
    auto_sources: bool


def _findings_of_batches(batches: Mapping[str, Batch]) -> Iterator[Finding]:
    """Batches compared with their theories as they are now, and verdicts with the proofs kept."""
    for directory, batch in batches.items():
        for view, tasks in _views_of(batch).items():
            yield from _findings_of_view(view, tasks)
            for task in tasks:
                yield from _findings_of_proof(directory, task, view.diff)


def _views_of(batch: Batch) -> dict[_View, list[Task]]:
    views: dict[_View, list[Task]] = {}
    for task in batch.tasks.values():
        options = (*batch.provers[task.plan.prover].options, *task.plan.options)
        flags, diff, auto_sources = theory_view(options, task.plan.flags)
        view = _View(_theory_path(task.plan), flags, diff, auto_sources)
        views.setdefault(view, []).append(task)
    return views


def _theory_path(plan: Plan) -> str:
    return os.path.join(plan.cwd, plan.theory)


def _findings_of_view(view: _View, tasks: Sequence[Task]) -> Iterator[Finding]:
    """Whether a theory has changed; if not, which of its lemmas have no result."""
    name = tasks[0].plan.theory
    try:
        theory = load_theory(*view, keep_text=True)
    except InputError as error:
        is_ours = tasks[0].plan.key != ""  # our journal says what is assumed, without the theory
        if os.path.exists(view.path) or not is_ours:
            yield Finding("assumption", name, "", f"{UNKNOWN}: {error}", NOTE)
        return
    changed_at = os.stat(view.path).st_mtime - CLOCK_S
    stale = [task for task in tasks if _is_stale(task, theory, changed_at)]
    for task in stale:
        yield finding("stale", task, "the theory has changed since")
    if stale:
        return
    with_result = {task.plan.lemma for task in tasks}
    for lemma, sides in _lemma_groups(theory).items():
        if lemma not in with_result and not sides[0].optional:
            yield Finding("missing", name, lemma, "has no result", NOTE)


def _is_stale(task: Task, theory: Theory, changed_at: float) -> bool:
    """Whether a result is of an older text; of batch-tamarin's only the time is known."""
    if not task.result:
        return False
    if task.plan.theory_digest not in ("", theory.digest[:32]):
        return True
    # A fresh clone has new times: they count only where nothing better is known.
    return not task.plan.key and instant(task.result.at) < changed_at


def _findings_of_proof(directory: str, task: Task, diff: bool) -> Iterator[Finding]:
    """Whether the proof that was kept says what the verdict says."""
    path = os.path.join(directory, "proofs", task.id + ".spthy")
    if not task.verdict or not os.path.isfile(path):
        return
    try:
        theory = load_theory(path, diff=diff)
    except InputError as error:
        yield finding("invalid", task, f"its proof can't be read: {error}", NOTE)
        return
    yield from judge_proof(task, _lemma_groups(theory).get(task.plan.lemma, []))


# --- Recheck --------------------------------------------------------------------------------------


class Recheck:
    """Checks of the proofs of a batch by another prover, in `recheck-ALIAS/` of its results.

    They are tasks of a batch of their own. Each stored proof is put into the original theory text,
    alone, which is loaded without `--prove`: checked, not searched. The same verdict is expected.
    (Tamarin can't always load its own output again.)
    """

    def __init__(self, batch: Batch, directory: str, prover: Prover) -> None:
        self.batch = batch
        self.results = os.path.abspath(directory)
        self.prover = prover
        self.directory = os.path.join(self.results, f"recheck-{prover.alias}")
        self.inputs: dict[TheoryView, Inputs] = {}
        # Many tasks are of one theory.
        self._load = functools.lru_cache(maxsize=8)(load_theory)

    def plan(self, warn: Callable[[str], None]) -> Batch:
        """The checks of all answers that there are; what can't be checked is warned of."""
        planned = Batch(self._header(), inputs=self.inputs)
        for task in self.batch.tasks.values():
            if not task.is_answered:
                continue
            try:
                check = self.check_of(task)
            except InputError as error:
                warn(f"the proof of {task.id} can't be checked: {error}")
            else:
                planned.tasks[check.id] = Task(check)
        return planned

    def check_of(self, task: Task) -> Plan:
        """The check of one proof, its theory written. Raises InputError if it can't be checked."""
        theory = self._original(task)
        stored_in = result_files(self.results, task.id).proof
        stored = load_theory(stored_in, (), theory.diff, keep_text=True)
        text = text_to_check(theory, stored, task.plan.lemma)
        folder = os.path.join(self.results, "recheck", self.prover.alias, task.id)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, os.path.basename(task.plan.theory))
        write_file(path, text)
        link_oracles(theory, task.plan.cwd, folder)
        check = replace(
            task.plan,
            id=task.id + "~recheck",
            theory=path,
            prover=self.prover.alias,
            prove=False,
            assumes=(),
            theory_digest="",
            expect=task.verdict,
            key=self._key(task.plan, text),
            lemma_key="",
        )
        self.inputs[check.view] = Inputs("", check.key, False, {path: file_state_now(path)}, {})
        return check

    def _header(self) -> Header:
        return replace(
            self.batch.header,
            at=timestamp(),
            id=os.urandom(6).hex(),
            pid=os.getpid(),
            started=process_start(os.getpid()),
            provers={self.prover.alias: self.prover},
            recheck_of=self.results,
        )

    def _original(self, task: Task) -> Theory:
        """The theory as it was when the task was proven. Raises InputError."""
        plan = task.plan
        options = (*self.batch.provers[plan.prover].options, *plan.options)
        view = theory_view(options, plan.flags)
        theory = self._load(_theory_path(plan), *view, keep_text=True)
        if theory.digest[:32] != plan.theory_digest:
            problem = "the theory has changed since it was proven: run that again first"
            raise InputError(problem, theory.path)
        if theory.diff and self.prover.flavour == "tamarin-rs":
            raise InputError("tamarin-rs has no --diff", theory.path)
        return theory

    def _key(self, plan: Plan, text: str) -> str:
        """Digest of everything that can change what the check says."""
        parts = [text, self.prover.identity, self.prover.options, plan.options, plan.flags]
        return sha256(json.dumps(parts).encode())[:32]


def text_to_check(original: Theory, stored: Theory, lemma: str) -> str:
    """The original text with no proof but the stored one of a lemma. Raises InputError.

    Both theories were loaded with their text.
    """
    statements = _statements(original)
    if lemma == EQUIVALENCE_LEMMA and lemma not in dict(statements):
        statements.insert(-1, (lemma, f"diffLemma {lemma}:"))  # before the theory's `end`
    proofs: list[str] = []
    for name, text in stored.segments:
        if name == lemma and _is_proof(name, text):
            proofs.append(text)
    for proof in proofs:
        if '"' in proof or ":" in proof:
            raise InputError("its stored proof holds what is no proof")
    places = [name for name, _ in statements].count(lemma)
    if len(proofs) != 1 or places != 1:
        raise InputError(
            "a lemma that Tamarin made, or one with no proof, or with proofs for two sides"
        )
    pieces: list[str] = []
    for name, text in statements:
        pieces.append(text)
        if name == lemma:
            pieces.append(proofs[0])
    return "\n".join(pieces) + "\n"


def _statements(theory: Theory) -> list[tuple[str, str]]:
    """The text to its `end` without proofs: pieces, with the lemma that each is of, or ""."""
    statements: list[tuple[str, str]] = []
    for name, text in theory.segments:
        if _is_proof(name, text):
            continue
        statements.append((name, text))
        if text == "end":  # a prover's log goes on behind it
            break
    return statements


def _is_proof(name: str, text: str) -> bool:
    """Whether a piece of a theory's text is the stored proof of a lemma."""
    return name != "" and not text.startswith(STATEMENTS)


def link_oracles(theory: Theory, cwd: str, folder: str) -> None:
    """Let the oracles of a theory be found from its copy in a folder.

    tamarin-prover calls them also when it checks a proof.
    """
    for ranking_folder, name in theory.oracle_rankings:
        only_this = replace(theory, oracle_rankings=((ranking_folder, name),))
        oracle = used_oracles(only_this, (), cwd)[0]
        link = os.path.join(folder, name or "oracle")
        if ranking_folder is not None and "/" not in name and not os.path.lexists(link):
            os.symlink(oracle, link)


# === Reports ======================================================================================


def write_derived_files(batch: Batch, directory: str) -> None:
    """What the Batch alone can make again, but for success/ and failed/."""
    rerun = os.path.join(directory, rerun_name(batch))
    if batch.unanswered:
        write_file(rerun, rerun_recipe(batch, directory))
    else:
        remove_file(rerun)  # of an earlier stop
    write_file(os.path.join(directory, UPSTREAM_REPORT), execution_report(batch, directory))
    write_file(
        os.path.join(directory, "summary.html"), REPORTS["html"](batch, directory, directory)
    )


# --- The final table ------------------------------------------------------------------------------

TABLE_ROWS = 40  # a longer batch shows its problems only
WORDS = (
    "verified",
    "falsified",
    "incomplete",
    "timeout",
    "memory limit",
    "failed",
    "interrupted",
    "superseded",
    "running",
    "pending",
    "completed",
)  # of outcomes, in the order in which they are told


def count_outcomes(tasks: Iterable[Task]) -> dict[str, int]:
    """How many tasks came to which outcome, in the order of our words."""
    counts = Counter(map(outcome_word, tasks))
    return {word: counts[word] for word in WORDS if word in counts}


def final_table(batch: Batch, directory: str, tasks: Sequence[Task]) -> str:
    """What came out, for a terminal: the tasks (of a large batch only those that need a look), totals, where to look next."""
    ran = [task for task in tasks if task.status is not Status.PENDING]
    closure = Closure(batch.tasks.values())
    problems = [task for task in ran if exit_code([task], closure)]
    shown = (
        ran
        if len(ran) <= TABLE_ROWS
        else sorted(problems, key=missed_expectation, reverse=True)[:TABLE_ROWS]
    )
    rows = [
        ("result", "task", "steps", "time", "memory", ""),
        *(_table_row(task, closure) for task in shown),
    ]
    lines = [text_table(rows, right=(2, 3, 4))] if shown else []
    if len(shown) < len(problems):
        lines.append(
            f"and {plural(len(problems) - len(shown), 'task')} more without a verdict, or not as expected"
        )
    totals = ", ".join(f"{count:,} {word}" for word, count in count_outcomes(tasks).items())
    for what, count in (
        ("not as expected", sum(map(missed_expectation, tasks))),
        (
            "resting on a falsified lemma",
            sum(bool(closure.false_assumptions(task)) for task in tasks),
        ),
    ):
        totals += f"; {count:,} {what}" if count else ""
    lines += ["", f"{plural(len(tasks), 'task')}: {totals}", f"results: {printable(directory)}"]
    where, first = (
        quoted([printable(directory)]),
        {task.status: task.id for task in reversed(tasks)},
    )
    if first.keys() & {Status.PENDING, Status.RUNNING, Status.INTERRUPTED}:
        lines.append(f"go on: batch_tamarin.py resume {where}")
    if Status.FAILED in first:
        lines.append(f"why:   less {where}/logs/{first[Status.FAILED]}.err")
    if first.keys() & {Status.TIMEOUT, Status.MEMORY_LIMIT}:
        lines.append(
            "more:  run the recipe again with larger limits: only what met its limit runs again"
        )
    return "\n".join(lines) + "\n"


def text_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as they need to be; the first row is the heading. Safe for a terminal."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else fit(cell, width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    )


def _table_row(task: Task, closure: Closure) -> tuple[str, ...]:
    result = task.result or Result(task.status)
    notes = (
        f"expected {task.plan.expect}!" if task.misses_expectation else "",
        closure.outcome(task).partition(", ")[2],
        result.reason[:160],
        *(f"warning: {warning}" for warning in result.warnings),
        f"cached {result.ran[:10]}".rstrip() if result.cached else "",
    )
    used = (
        (duration(result.usage.wall_s), f"{result.usage.peak_mb:,.0f} MB")
        if task.result
        else ("", "")
    )
    return (
        task.outcome,
        task.id,
        str(result.steps or ""),
        *used,
        "; ".join(filter(None, notes)),
    )


# --- What a page says, whatever its format --------------------------------------------------------

SHOWN_TASKS = (
    3_000  # of a larger batch pages show those that need a look first; csv and json hold all
)
GRAPH_CAP, PAGE_CAP = (
    4 * MB,
    24 * MB,
)  # traces inside one page: each, and together; beyond that the page names the file


def page_report(form: type[Writer], batch: Batch, directory: str, beside: str) -> Iterator[str]:
    """A page, from top to bottom."""
    page, header, tasks, limits = (
        form(beside),
        batch.header,
        [*batch.tasks.values()],
        batch.header.limits,
    )
    closure, left = Closure(tasks), len(tasks) - batch.count(*FINAL)
    yield page.opening + page.line(1, "Tamarin batch " + os.path.basename(header.recipe_file))
    spans = [*_spans(tasks)] or [(instant(header.at),) * 2]
    began, ended = min(span[0] for span in spans), max(span[1] for span in spans)
    yield page.facts(
        (
            ("recipe", header.recipe_file),
            ("directory", header.cwd),
            ("host", f"{header.host} {header.platform}".strip()),
            (
                "run by",
                f"batch_tamarin.py {header.version}" if header.version else "batch-tamarin",
            ),
            ("began", utc(began)),
            ("ended", f"not yet: {plural(left, 'task')} left" if left else utc(ended)),
            ("took", duration(ended - began)),
            (
                "limits",
                f"{plural(limits.cores, 'core')}, {limits.memory_mb / 1024:.1f} GB for all jobs",
            ),
            (
                "not as expected",
                ", ".join(task.id for task in filter(missed_expectation, tasks))[:1000],
            ),
            (
                "resting on a falsified lemma",
                ", ".join(task.id for task in filter(closure.false_assumptions, tasks))[:1000],
            ),
        )
    )
    yield page.section(
        "Provers",
        ("prover", "version", "command"),
        "lll",
        [
            (
                alias,
                f"{prover.flavour} {prover.version or '(unknown)'}",
                " ".join((*prover.command, *prover.options)),
            )
            for alias, prover in batch.provers.items()
        ],
    )
    groups: dict[str, list[Result]] = {word: [] for word in WORDS}
    for task in tasks:
        groups[task.outcome].append(task.result or Result(task.status))
    groups["all"] = list(itertools.chain.from_iterable(groups.values()))
    yield page.section(
        "Totals",
        ("result", "tasks", "cached", "time (s)", "CPU (s)", "most memory (MB)"),
        "wrrrrr",
        [
            (
                word,
                f"{len(results):,}",
                f"{sum(result.cached for result in results):,}",
                f"{sum(result.usage.wall_s for result in results):,.1f}",
                f"{sum(result.usage.cpu_s for result in results):,.1f}",
                f"{max((result.usage.peak_mb for result in results), default=0):,.0f}",
            )
            for word, results in groups.items()
            if results or word in WORDS[:6]
        ],
    )
    shown = (
        tasks
        if len(tasks) <= SHOWN_TASKS
        else sorted(tasks, key=lambda task: not needs_look(task, closure))[:SHOWN_TASKS]
    )
    cut = f"{len(shown):,} of {len(tasks):,} tasks, those that need a look first; csv and json reports hold all."
    expected = any(task.plan.expect for task in shown)
    yield page.section(
        "Results",
        (
            "result",
            "lemma",
            *["expected"] * expected,
            "theory",
            "trait",
            "prover",
            "steps",
            "time (s)",
            "CPU (s)",
            "memory (MB)",
            "cores",
            "cached",
        ),
        f"wa{'l' * expected}lllrrrrrl",
        [
            (
                closure.outcome(task),
                task.plan.lemma,
                *[task.plan.expect or ""] * expected,
                task.plan.theory,
                result.trait or task.plan.trait,
                task.plan.prover,
                str(result.steps or ""),
                *(
                    (
                        f"{result.usage.wall_s:.2f}",
                        f"{result.usage.cpu_s:.2f}",
                        f"{result.usage.peak_mb:.0f}",
                    )
                    if task.result
                    else ("", "", "")
                ),
                str(task.plan.limits.cores),
                (result.ran[:10] or "yes") * result.cached,
            )
            for task in shown
            for result in (task.result or Result(task.status),)
        ],
        cut if len(shown) < len(tasks) else "",
    )
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for task in shown:
        cells.setdefault((task.plan.theory, task.plan.lemma), {}).setdefault(
            task.plan.prover, []
        ).append(closure.outcome(task))
    provers = list(dict.fromkeys(task.plan.prover for task in shown))
    if len(provers) > 1:
        yield page.section(
            "Verdicts by prover",
            ("theory", "lemma", *provers),
            "ll" + "w" * len(provers),
            [
                (*key, *(" / ".join(row.get(prover, ())) for prover in provers))
                for key, row in cells.items()
            ],
        )
    yield page.charts(shown)
    rests = [
        (task, closure.open_assumptions(task))
        for task in shown
        if task.plan.assumes and (task.plan.trait, task.verdict) in RESTING
    ]
    yield page.section(
        "Assumptions",
        ("theory", "lemma", "prover", "result", "not verified here", "verified here"),
        "lllwll",
        [
            (
                task.plan.theory,
                task.plan.lemma,
                task.plan.prover,
                task.outcome,
                listed(known),
                listed(
                    name for name in task.plan.assumes if name not in {each.lemma for each in known}
                ),
            )
            for task, known in rests
        ],
        "These results hold if the lemmas that their proofs assume hold.",
    )
    if batch.unanswered:
        yield page.line(2, "To run again") + page.line(
            0, f"What has no verdict: {rerun_name(batch)} in the results directory."
        )
    yield page.line(2, "Tasks")
    for number, task in enumerate(shown):
        yield page.details(
            f"{task.id}: {closure.outcome(task)}",
            f"t{number}",
            _details(page, batch, directory, task),
        )
    yield page.closing


def _spans(tasks: Iterable[Task]) -> Iterator[tuple[Any, ...]]:
    """Start, end and task of what ran in this batch."""
    return (
        (instant(task.result.at) - task.result.usage.wall_s, instant(task.result.at), task)
        for task in tasks
        if task.result and task.result.at and not task.result.cached
    )


def _details(page: Writer, batch: Batch, directory: str, task: Task) -> Iterator[str]:
    result, prover, outputs = (
        task.result or Result(task.status),
        batch.provers[task.plan.prover],
        result_files(directory, task.id),
    )
    yield page.facts(
        (
            ("theory", task.plan.theory),
            ("lemma", f"{task.plan.lemma} ({result.trait or task.plan.trait or '?'})"),
            ("recipe task", task.plan.entry),
            (
                "prover",
                f"{task.plan.prover} ({prover.flavour} {prover.version or 'of unknown version'})",
            ),
            ("expected", task.plan.expect or ""),
            ("reason", result.reason),
            ("warnings", "; ".join(result.warnings)),
            ("steps", str(result.steps or "")),
            ("takes for granted", ", ".join(task.plan.assumes)),
            ("options", quoted(task.plan.options)),
            ("flags", " ".join(task.plan.flags)),
            (
                "limits",
                f"{plural(task.plan.limits.cores, 'core')}, {task.plan.limits.memory_mb:,} MB, {task.plan.limits.timeout_s:,g} s",
            ),
            (
                "used",
                f"{result.usage.wall_s:,.2f} s, {result.usage.cpu_s:,.2f} s CPU, {result.usage.peak_mb:,.0f} MB (average {result.usage.avg_mb:,.0f} MB)"
                if task.result
                else "",
            ),
            (
                "cached",
                f"{utc(instant(result.ran)) or 'yes'}: the figures are of then" * result.cached
                + ", its proof file may hold older texts of other lemmas" * result.old_text,
            ),
            ("ended", utc(instant(result.at))),
            ("attempts", str(task.attempts or "")),
            ("exit", str(result.exit or "")),
        )
    )
    yield page.code(quoted(prover_command(prover, task.plan, outputs)))
    if result.stderr_tail.strip():
        yield page.line(0, "The end of its stderr:") + page.code(result.stderr_tail.strip("\n"))
    if os.path.exists(outputs.trace_dot):
        yield page.trace(f"Attack trace of {task.id}", outputs.trace_dot)


# --- Writers of pages: a new format is one class --------------------------------------------------


class Writer:
    """Renders the parts of a page, here as plain text. All text that was not made here passes through `escape`, line by line.

    A table's `columns` are a letter each: l text, r number, h the row's name, w one of WORDS, a link to the row's details."""

    opening, closing = "", ""
    lines: Sequence[str] = ("%s\n\n",) * 4  # a paragraph, the title, two levels of headings
    row_parts = code_parts = (
        "",
        "\n",
        "\n",
    )  # before, between and after the cells of a row; the lines of a code
    escapes: Mapping[int, str] = {}

    def __init__(self, beside: str) -> None:
        self.beside, self.left = (
            beside,
            PAGE_CAP,
        )  # the directory that the page is for; how much of traces it still has room for

    def escape(self, text: str) -> str:
        return printable(text).translate(self.escapes)

    def joined(self, parts: tuple[str, str, str], texts: Iterable[str]) -> str:
        return parts[0] + parts[1].join(map(self.escape, texts)) + parts[2]

    def line(self, level: int, text: str) -> str:
        return self.lines[level] % self.escape(text)

    def code(self, text: str) -> str:
        return self.joined(self.code_parts, text.expandtabs().split("\n"))

    def table(self, head: Sequence[str], columns: str, rows: Sequence[Sequence[str]]) -> str:
        return (
            text_table([head, *rows], [place for place, kind in enumerate(columns) if kind == "r"])
            + "\n\n"
        )

    def rows(self, rows: Iterable[Sequence[str]]) -> str:
        return "".join(self.joined(self.row_parts, row) for row in rows)

    def facts(self, facts: Iterable[tuple[str, str]]) -> str:
        return self.table((), "hl", [fact for fact in facts if fact[1]])

    def section(
        self,
        title: str,
        head: Sequence[str],
        columns: str,
        rows: Sequence[Sequence[str]],
        about: str = "",
    ) -> str:
        """A table under its heading, unless it is empty."""
        return (
            self.line(2, title)
            + (self.line(0, about) if about else "")
            + self.table(head, columns, rows)
            if rows
            else ""
        )

    def details(self, title: str, anchor: str, parts: Iterable[str]) -> str:
        return self.line(3, title) + "".join(parts)

    def charts(self, tasks: Iterable[Task]) -> str:
        return ""  # the tables hold the same figures

    def trace(self, name: str, dot: str) -> str:
        """The drawn graphs, else the DOT text; of what is too large, so that `content` has no text of it, the path."""
        drawn = drawings(dot)
        text = "" if drawn else self.content(dot)
        return (
            self.code(text)
            if text
            else "".join(self.drawing(path, name) for path in drawn or [dot])
        )

    def drawing(self, path: str, name: str) -> str:
        return self.line(0, f"{name}: {os.path.relpath(path, self.beside)}")

    def content(self, path: str) -> str:
        """A trace file's text, "" when it is too large for the page."""
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            if os.fstat(file.fileno()).st_size <= min(GRAPH_CAP, self.left):
                text = file.read(GRAPH_CAP)
                self.left -= len(text)
                return text
        return ""

    def url(self, path: str) -> str:
        import urllib.parse

        return urllib.parse.quote(os.fsencode(os.path.relpath(path, self.beside)))


class Markdown(Writer):
    """As GitHub renders it."""

    lines, row_parts = ("%s\n\n", "# %s\n\n", "## %s\n\n", "### %s\n\n"), ("| ", " | ", " |\n")
    escapes = str.maketrans({char: "\\" + char for char in "\\`*_[]{}<>#|&~$!@:"})

    def table(self, head: Sequence[str], columns: str, rows: Sequence[Sequence[str]]) -> str:
        rule = " | ".join("--:" if kind == "r" else "---" for kind in columns)
        return f"{self.rows([head or ('', '')])}| {rule} |\n{self.rows(rows)}\n"

    def code(self, text: str) -> str:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        return "\n".join(
            (fence + "text", *map(printable, text.expandtabs().split("\n")), fence, "\n")
        )

    def drawing(self, path: str, name: str) -> str:
        return f"{'!' * path.endswith('.svg')}[{self.escape(name)}]({self.url(path)})\n\n"


class Latex(Writer):
    """For pdflatex, with tables that a paper can take over."""

    opening, closing = (
        r"""\documentclass[a4paper,landscape]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp,booktabs,longtable,array}
\usepackage[margin=15mm]{geometry}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}\setcounter{secnumdepth}{0}\emergencystretch=3em
\begin{document}
""",
        "\\end{document}\n",
    )
    lines = ("%s\n\n", "\n\\section{%s}\n", "\n\\subsection{%s}\n", "\n\\subsubsection{%s}\n")
    code_parts, row_parts = (
        ("{\\ttfamily\\scriptsize\\raggedright\n", "\\par\n", "\\par}\n\n"),
        ("", " & ", " \\\\\n"),
    )
    escapes = str.maketrans(
        {
            **{char: "\\" + char for char in "{}$&#%"},
            **{char: f"{{{char}}}" for char in "[]*-,"},
            "_": r"\_\allowbreak{}",
            "/": r"/\allowbreak{}",
            **{
                char: f"\\text{name}{{}}"
                for char, name in zip(
                    "\\^~<>|\"'`",
                    (
                        "backslash",
                        "asciicircum",
                        "asciitilde",
                        "less",
                        "greater",
                        "bar",
                        "quotedbl",
                        "quotesingle",
                        "asciigrave",
                    ),
                )
            },
        }
    )

    def escape(self, text: str) -> str:
        """A character that pdflatex's fonts may not have is shown by its number; blanks that TeX would swallow stay."""
        known = re.sub(
            "[^\x20-\x7e\xc0-\xff]", lambda found: f"<U+{ord(found.group()):04X}>", printable(text)
        )
        return re.sub("^ |(?<= ) ", r"\\ ", super().escape(known)) or r"\ "

    def table(self, head: Sequence[str], columns: str, rows: Sequence[Sequence[str]]) -> str:
        widths = [max(map(len, column)) + 3 for column in zip(*rows, head or rows[0])]
        wide = sum(width for width in widths if width > 20)
        scale = min(
            1, max(0.1, (185 - sum(widths) + wide) / (wide or 1))
        )  # long cells wrap where 185 characters are not enough
        form = "".join(
            "r"
            if kind == "r"
            else "l"
            if scale == 1 or width <= 20
            else f">{{\\raggedright\\arraybackslash}}p{{{scale * width / 200:.3f}\\linewidth}}"
            for kind, width in zip(columns, widths)
        )
        first = f"{self.rows([head])}\\midrule\n\\endhead\n" if head else ""
        return (
            f"{{\\footnotesize\n\\begin{{longtable}}[l]{{@{{}}{form}@{{}}}}\n\\toprule\n{first}{self.rows(rows)}"
            "\\bottomrule\n\\end{longtable}}\n\n"
        )


class Typst(Writer):
    """All text stands in string literals, so that nothing in it is markup."""

    opening = "#set page(flipped: true, margin: 15mm)\n#set text(size: 9pt)\n#set table(stroke: none, inset: 3pt)\n"
    lines = ('#par("%s")\n', *(f'\n#heading(level: {level}, "%s")\n' for level in (1, 2, 3)))
    code_parts, row_parts = ('#raw(block: true, "', "\\n", '")\n'), ('  "', '", "', '",\n')
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"'})

    def table(self, head: Sequence[str], columns: str, rows: Sequence[Sequence[str]]) -> str:
        align = ", ".join("right" if kind == "r" else "left" for kind in columns)
        first = (
            f"  table.header(\n{self.rows([head])}  ), table.hline(stroke: 0.5pt),\n"
            if head
            else ""
        )
        return f"#table(columns: {len(columns)}, align: ({align}), table.hline(),\n{first}{self.rows(rows)}  table.hline())\n"

    def drawing(self, path: str, name: str) -> str:
        text = self.content(path).translate(self.escapes).replace("\n", "\\n")
        return (
            f'#image(bytes("{text}"), format: "svg", alt: "{self.escape(name)}")\n'
            if text
            else super().drawing(path, name)
        )


class Html(Writer):
    """One file for any browser, offline: no script but ours (told by its digest), nothing loaded. A drawn trace is an image in a
    data: URL, in which a browser runs no script and loads nothing."""

    lines, code_parts = (
        ("<p>%s</p>\n", "<h1>%s</h1>\n", "<h2>%s</h2>\n", "<h3>%s</h3>\n"),
        ("<pre>", "\n", "</pre>\n"),
    )
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

    def __init__(self, beside: str) -> None:
        import base64

        super().__init__(beside)
        digest = base64.b64encode(bytes.fromhex(sha256(PAGE_SCRIPT.encode()))).decode()
        self.opening, self.closing = (
            PAGE_HEAD % (digest, PAGE_STYLE),
            f"</main>\n<script>{PAGE_SCRIPT}</script>\n</html>\n",
        )

    def table(self, head: Sequence[str], columns: str, rows: Sequence[Sequence[str]]) -> str:
        heads = "".join(
            f'<th scope="col"{" class=n" * (kind == "r")}>{self.escape(name)}'
            for kind, name in zip(columns, head)
        )
        body = "".join(
            f"<tr>{''.join(map(self._cell, columns, row, itertools.repeat(at)))}\n"
            for at, row in enumerate(rows)
        )
        about = self.escape("Table of " + (", ".join(head) or "facts"))
        return (
            f'<div class="wide" role="region" tabindex="0" aria-label="{about}">'
            f"<table{' id=results' * ('a' in columns)}><thead><tr>{heads}</thead><tbody>\n{body}</tbody></table></div>\n"
        )

    def _cell(self, kind: str, cell: str, number: int) -> str:
        if kind == "a":
            return f'<td><a href="#t{number}">{self.escape(cell)}</a>'
        if kind == "w" and cell in WORDS:
            return f'<td class="w {cell.replace(" ", "-")}">{cell}'
        return {"h": '<th scope="row">', "r": "<td class=n>"}.get(kind, "<td>") + self.escape(cell)

    def details(self, title: str, anchor: str, parts: Iterable[str]) -> str:
        return f'<details id="{anchor}"><summary><h3>{self.escape(title)}</h3></summary>\n{"".join(parts)}</details>\n'

    def drawing(self, path: str, name: str) -> str:
        import base64

        image = base64.b64encode(self.content(path).encode()).decode()
        shown = (
            f'<img alt="{self.escape(name)}" src="data:image/svg+xml;base64,{image}"><br>'
            if image
            else ""
        )
        return f'<p>{shown}<a href="{self.escape(self.url(path))}">{self.escape(name)}</a></p>\n'

    def charts(self, tasks: Iterable[Task]) -> str:
        """Who ran when; the largest in time and memory."""
        spans = sorted(_spans(tasks), key=lambda span: span[:2])
        begin, end = (
            min((span[0] for span in spans), default=0),
            max((span[1] for span in spans), default=0),
        )
        free: list[float] = []  # when each row is free again: a task goes into the first that is
        bars = []
        for start, stop, task in spans:
            row = next((row for row, since in enumerate(free) if since <= start + 0.05), len(free))
            free[row : row + 1] = [stop]
            bars.append(
                self._bar(
                    task,
                    row,
                    (start - begin) / (end - begin or 1),
                    (stop - start) / (end - begin or 1),
                    f"{task.id}: {task.outcome}, {duration(stop - start)}",
                    False,
                )
            )
        charts = [(f"Timeline, {utc(begin)} to {utc(end)}", len(free), bars)]
        for title, measure, shape in (
            ("Longest times", "wall_s", duration),
            ("Largest memory", "peak_mb", "{:,.0f} MB".format),
        ):
            values = sorted(
                ((getattr(task.result.usage, measure), task) for _, _, task in spans),
                key=lambda pair: -pair[0],
            )[:25]
            charts.append(
                (
                    title,
                    len(values),
                    [
                        self._bar(
                            task,
                            row,
                            0,
                            value / (values[0][0] or 1),
                            f"{shape(value)}  {task.id} ({task.outcome})",
                            True,
                        )
                        for row, (value, task) in enumerate(values)
                    ],
                )
            )
        return "".join(
            f'<h2>{title}</h2>\n<svg role="img" aria-label="{title}" width="100%" height="{20 * rows}">\n'
            f"{''.join(bars)}</svg>\n"
            for title, rows, bars in charts
            if bars
        )

    def _bar(
        self, task: Task, row: int, left: float, width: float, told: str, labelled: bool
    ) -> str:
        """A bar in a row of its chart, its left edge and width as shares of 1."""
        return (
            f'<g><title>{self.escape(told)}</title><rect class="{task.outcome.replace(" ", "-")}" x="{left:.3%}" '
            f'y="{20 * row}" width="{max(0.001, width):.3%}" height="18"/>'
            f'<text x="4" y="{20 * row + 14}">{self.escape(told * labelled)}</text></g>\n'
        )


PAGE_HEAD = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-%s'">
<title>Tamarin batch report</title><style>%s</style><main>
"""
PAGE_STYLE = """
:root{color-scheme:light dark;--line:#8887;--faint:#8882}
body{margin:0;font:15px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:1500px;margin:auto;padding:0 1rem 3rem}h1{font-size:1.5rem}h2{font-size:1.15rem;margin:1.8rem 0 .5rem}
h3{display:inline;font-size:1rem;font-weight:500}.wide{overflow-x:auto}thead th,pre,svg{background:var(--faint)}
table{border-collapse:collapse;font-size:.9rem}thead th,.w,#results td{white-space:nowrap}tbody th{font-weight:500}
th,td{text-align:left;vertical-align:top;padding:.2rem .5rem;border-bottom:1px solid var(--line);min-width:3em}
th,td{overflow-wrap:normal}tr>th+td:last-child{overflow-wrap:anywhere}.n{text-align:right;font-variant-numeric:tabular-nums}
.verified{--mark:#1a65}.falsified{--mark:#e525}.failed{--mark:#94e5}.incomplete,.timeout,.memory-limit{--mark:#cb05}
.w{background:var(--mark,#8884)}rect{fill:var(--mark,#8884);stroke:Canvas}.w::before{content:"\\2013\\a0"}
.w.verified::before{content:"\\2713\\a0"}.w.falsified::before{content:"\\2717\\a0"}
svg text{fill:CanvasText;white-space:pre}svg{display:block;font:12px system-ui,sans-serif}img{max-width:100%;background:#fff}
pre{padding:.6rem;font-size:.82rem;white-space:pre-wrap}details{border-bottom:1px solid var(--line);padding:.35rem 0}
summary,button{cursor:pointer}thead button{font:inherit;padding:0;border:0;background:none}
#tools{margin:.5rem 0;display:flex;flex-wrap:wrap;gap:.3rem 1rem}
[aria-sort=ascending] button::after{content:" \\25b2"}[aria-sort=descending] button::after{content:" \\25bc"}
@media print{#tools{display:none}table,pre{font-size:8pt}.wide{overflow:visible}tr,img{break-inside:avoid}
.w,rect{print-color-adjust:exact}}
"""
# Filter and order stand in the address (#filter=WORDS&result=WORD&sort=COLUMN or -COLUMN), so that a view can be passed on.
PAGE_SCRIPT = """
const find = id => document.getElementById(id), table = find('results'), body = table.tBodies[0], rows = [...body.rows];
const heads = [...table.tHead.rows[0].cells], names = heads.map(head => head.textContent);
const texts = rows.map(row => row.innerText.toLowerCase()), results = rows.map(row => row.cells[0].textContent);
const make = (parent, name, text) => Object.assign(parent.appendChild(document.createElement(name)), {textContent: text});
const tools = make(document.body, 'div', ''), box = make(make(tools, 'label', 'Filter '), 'input');
const pick = make(make(tools, 'label', 'Result '), 'select'), count = make(tools, 'output');
const order = new Intl.Collator('en', {numeric: true}).compare;
const keep = sort => location.replace('#' + new URLSearchParams({filter: box.value, result: pick.value, sort}));
let sort = '';
function show() {
  const view = new URLSearchParams(location.hash.slice(1)), part = find(location.hash.slice(1));
  if (part) return part.open = true, part.scrollIntoView();
  [box.value, pick.value, sort] = ['filter', 'result', 'sort'].map(name => view.get(name) || '');
  const words = box.value.toLowerCase().split(/\\s+/);
  const column = names.indexOf(sort.replace('-', '')), sign = sort[0] === '-' ? -1 : 1;
  const fits = at => words.every(word => texts[at].includes(word)) && [results[at], ''].includes(pick.value);
  rows.forEach((row, at) => { row.hidden = !fits(at); });
  count.value = rows.filter(row => !row.hidden).length + ' of ' + rows.length;
  const key = row => row.cells[column].textContent;
  body.append(...column < 0 ? rows : [...rows].sort((a, b) => sign * order(key(a), key(b))));
  heads.forEach((head, at) => head.setAttribute('aria-sort', at !== column ? 'none' : sign < 0 ? 'descending' : 'ascending'));
}
for (const word of ['', ...new Set(results)]) make(pick, 'option', word);
heads.forEach((head, at) => {
  head.textContent = '';
  make(head, 'button', names[at]).onclick = () => keep(sort === names[at] ? '-' + sort : names[at]);
});
box.oninput = pick.onchange = () => keep(sort);
onhashchange = show;
onbeforeprint = () => document.querySelectorAll('details').forEach(part => { part.open = true; });
tools.id = 'tools';
table.parentElement.before(tools);
show();
"""

# --- Reports for programs -------------------------------------------------------------------------


def csv_report(batch: Batch, directory: str, beside: str) -> Iterator[str]:
    """One line per task, with the model's field names."""
    closure = Closure(batch.tasks.values())
    rows = (
        {**task_json(task), "assuming": tuple(map(str, closure.open_assumptions(task)))}
        for task in batch.tasks.values()
    )
    left_out = ("limits", "lemmas", "exit", "stderr_tail")
    names = (*json_names(Plan), "status", "attempts", *json_names(Limits), *json_names(Result))
    columns = [name for name in dict.fromkeys(names) if name not in left_out]
    return csv_lines([*columns, "assuming"], rows)


def task_json(task: Task) -> Json:
    """A task's plan, its limits, and what came of it, under the names of the journal."""
    result = task.result or Result(task.status, trait=task.plan.trait)
    return {
        **encode(task.plan),
        "status": task.status,
        "attempts": task.attempts,
        **encode(task.plan.limits),
        **encode(result),
    }


def csv_lines(names: Sequence[str], rows: Iterable[Json]) -> Iterator[str]:
    """CSV of what rows have under these names. A text that a spreadsheet would take for a formula gets an apostrophe."""
    import csv
    from types import SimpleNamespace

    writer: Any = csv.writer(SimpleNamespace(write=str), lineterminator="\n")
    yield writer.writerow(names)  # it returns what `write` does: the text
    for row in rows:
        yield writer.writerow([_csv_cell(row.get(name, "")) for name in names])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return "'" * value.startswith(("=", "+", "-", "@")) + printable(value)
    return _csv_cell("; ".join(value)) if isinstance(value, (tuple, list)) else value


def json_report(batch: Batch, directory: str, beside: str) -> Iterator[str]:
    """The Batch: what its `batch` and `end` events said, and every task with its plan and result, one a line."""
    closure = Closure(batch.tasks.values())
    ended = encode_event(batch.ended) if batch.ended else None
    yield json.dumps({"batch": encode_event(batch.header), "end": ended})[:-1] + ', "tasks": ['
    for number, task in enumerate(batch.tasks.values()):
        about = {
            **encode(task.plan),
            "status": task.status,
            "attempts": task.attempts,
            "result": encode(task.result),
            "assuming": assuming(closure, task),
        }
        yield (",\n" if number else "\n") + json.dumps(about)
    yield "\n]}\n"


def assuming(closure: Closure, task: Task) -> list[Json]:
    return [
        {"lemma": each.lemma, "state": each.state, "via": list(each.chain)}
        for each in closure.open_assumptions(task)
    ]


def junit_report(batch: Batch, directory: str, beside: str) -> Iterator[str]:
    """JUnit XML: what is not as expected, or rests on a false lemma, is a failure, no answer an error; not run is skipped."""
    closure = Closure(batch.tasks.values())
    about = {
        "timestamp": batch.header.at[:19],
        "hostname": batch.header.host or "localhost",
    }
    return junit_suites(
        (
            {
                "name": name,
                "time": f"{sum(task.result.usage.wall_s for task in tasks if task.result):.3f}",
                **about,
            },
            [_junit_case(task, closure) for task in tasks],
        )
        for name, tasks in recipe_tasks(batch.tasks.values()).items()
    )


def _junit_case(task: Task, closure: Closure) -> str:
    result, missed, told = (
        task.result or Result(task.status),
        task.misses_expectation,
        closure.outcome(task),
    )
    about = {
        "name": f"{task.plan.lemma} [{task.plan.prover}]",
        "classname": f"{task.plan.entry}.{task.plan.theory}",
        "time": f"{result.usage.wall_s:.3f}",
    }
    told = "; ".join(
        filter(
            None,
            (
                f"expected {task.plan.expect}, got {told}" if missed else told,
                result.reason,
                *result.warnings,
            ),
        )
    )
    if task.verdict in ANSWERS and not missed and not closure.false_assumptions(task):
        return element("testcase", about, element("system-out", {}, text=told))
    kind = (
        "failure"
        if task.verdict in ANSWERS
        else "skipped"
        if task.status not in FINAL or task.status is Status.SUPERSEDED
        else "error"
    )
    return element(
        "testcase",
        about,
        element(kind, {"type": task.outcome, "message": told}, text=result.stderr_tail),
    )


def junit_suites(suites: Iterable[tuple[Mapping[str, str], Sequence[str]]]) -> Iterator[str]:
    """JUnit XML, in pieces, of suites: of each its attributes and its cases."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    for about, cases in suites:
        counts = {
            name: str(sum(start in case for case in cases))
            for name, start in (
                ("tests", "<testcase"),
                ("failures", "<failure"),
                ("errors", "<error"),
                ("skipped", "<skipped"),
            )
        }
        yield element("testsuite", {**about, **counts}, "\n" + "".join(cases))
    yield "</testsuites>\n"


def element(tag: str, attributes: Mapping[str, str], inner: str = "", text: str = "") -> str:
    """An XML element; what is in it is XML, or any text."""
    from xml.sax.saxutils import escape, quoteattr

    inner += "\n".join(escape(printable(line)) for line in text.split("\n"))
    return f"<{tag}{''.join(f' {name}={quoteattr(printable(value))}' for name, value in attributes.items())}>{inner}</{tag}>\n"


# --- What an audit says ---------------------------------------------------------------------------


def audit_report(
    form: str, ok: bool, batches: Mapping[str, Batch], findings: Sequence[Finding], details: bool
) -> str:
    """What an audit found. CSV: a line for each result, then one for each finding."""
    rows, told = [], [{**vars(each), "note": each.rank == NOTE} for each in findings]
    for source, batch in batches.items():
        closure = Closure(batch.tasks.values())
        for task in batch.tasks.values():
            result = task.result or Result(task.status)
            rows.append(
                {
                    "theory": task.plan.theory,
                    "lemma": task.plan.lemma,
                    "prover": task.plan.prover,
                    "verdict": task.verdict,
                    "state": closure.outcome(task),
                    "assuming": assuming(closure, task),
                    "steps": result.steps,
                    "time_s": result.usage.wall_s or result.prover_s,
                    "flags": task.plan.flags,
                    "source": source,
                    "word": task.outcome,
                }
            )
    if form == "json":
        return json.dumps({"ok": ok, "lemmas": rows, "findings": told}, indent=1) + "\n"
    if form == "csv":
        names = (
            "theory",
            "lemma",
            "prover",
            "verdict",
            "state",
            "steps",
            "time_s",
            "source",
            "kind",
            "message",
            "note",
        )
        return "".join(csv_lines(names, rows + told))
    if form == "junit":
        return audit_junit(rows, findings)
    return "".join(audit_page((Markdown if form == "md" else Writer)("."), rows, findings, details))


def audit_page(
    page: Writer, rows: Sequence[Json], findings: Sequence[Finding], details: bool
) -> Iterator[str]:
    """Problems first, with what to do about them; then what there is of each theory, and if wanted of each lemma."""
    wrong, notes = (
        [each for each in findings if (each.rank == NOTE) == noted] for noted in (False, True)
    )
    yield page.line(
        1,
        f"{plural(len(wrong), 'finding')} and {plural(len(notes), 'note')} on {plural(len(rows), 'result')}",
    )
    for title, chosen in ("Findings", wrong), ("Notes", notes):
        folded: dict[tuple[str, str], dict[str, str]] = {}
        for each in chosen:
            where = f"{os.path.basename(each.theory)}: {each.lemma}" if each.lemma else each.theory
            folded.setdefault((each.kind, each.message), {})[where] = where
        yield page.section(
            title,
            ("kind", "what", "where"),
            "lll",
            [(*key, listed(where, 3)) for key, where in folded.items()],
        )
        yield from (
            page.line(0, f"{kind}: {ADVICE[kind]}")
            for kind in dict.fromkeys(kind for kind, _ in folded)
        )
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        counts.setdefault((row["theory"], row["prover"], row["source"]), Counter())[
            row["word"]
        ] += 1
    yield page.section(
        "Theories",
        ("theory", "prover", "lemmas", "results", "from"),
        "llrll",
        [
            (
                theory,
                prover,
                f"{sum(count.values()):,}",
                ", ".join(f"{number:,} {word}" for word, number in count.items()),
                source,
            )
            for (theory, prover, source), count in counts.items()
        ],
    )
    if details:
        yield page.section(
            "Lemmas",
            ("theory", "lemma", "prover", "result", "steps", "time (s)"),
            "llllrr",
            [
                tuple(
                    str(row[key] or "")
                    for key in ("theory", "lemma", "prover", "state", "steps", "time_s")
                )
                for row in rows
            ],
        )


def audit_junit(rows: Iterable[Json], findings: Iterable[Finding]) -> str:
    """A case for each lemma: findings are failures, no answer is an error."""
    parts = [
        (
            (row["theory"], row["lemma"], row["prover"]),
            element("error", {"message": row["state"]}) * (row["verdict"] not in ANSWERS),
        )
        for row in rows
    ]
    parts += [
        (
            (each.theory, each.lemma, each.prover),
            element("failure", {"type": each.kind, "message": each.message}),
        )
        for each in findings
        if each.rank != NOTE
    ]
    cases: dict[tuple[str, ...], str] = {}
    for about, part in parts:
        cases[about] = cases.get(about, "") + part
    return "".join(
        junit_suites(
            [
                (
                    {"name": "audit"},
                    [
                        element(
                            "testcase",
                            {"name": f"{lemma or theory} [{prover}]", "classname": theory},
                            inner,
                        )
                        for (theory, lemma, prover), inner in cases.items()
                    ],
                )
            ]
        )
    )


# A report, in pieces, of a batch and its results directory, for the directory that it is written to.
REPORTS: dict[str, Callable[[Batch, str, str], Iterator[str]]] = {
    "md": functools.partial(page_report, Markdown),
    "html": functools.partial(page_report, Html),
    "tex": functools.partial(page_report, Latex),
    "typ": functools.partial(page_report, Typst),
    "csv": csv_report,
    "junit": junit_report,
    "json": json_report,
}
ENDINGS = {"junit": "xml"}  # of file names, where it isn't the format's name

# === Terminal =====================================================================================

REDRAW_S, TICK_S = 0.1, 0.25  # at most ten redraws a second; without news, four
PROGRESS_MODES = ("auto", "bar", "plain", "none")


class Progress:
    """Watches the events of a batch, live or from its journal: tells of each on one line, and draws the live block.

    `tasks`: those that count. `live`: what the supervisor of this process, if there is one, knows of its jobs."""

    def __init__(
        self,
        batch: Batch,
        tasks: Collection[Task],
        directory: str,
        live: Mapping[str, Live],
        args: argparse.Namespace,
    ) -> None:
        self.batch, self.tasks, self.directory, self.live = batch, tasks, directory, live
        self.quiet, self.debug, self.silent = args.quiet, args.debug, args.progress == "none"
        self.screen = Screen(self.block) if draws_block(args.progress, args.quiet) else None
        self.done = sum(task.status in FINAL for task in tasks)
        self._starts: dict[str, Started] = {}  # by job id, of what runs
        self._surveyed: tuple[dict[str, int], tuple[float, bool]] = ({}, (0.0, False))
        self._survey_due = 0.0

    async def beside(self, work: Awaitable[None]) -> None:
        """Await some work, and keep the live block alive meanwhile."""
        import asyncio

        job = asyncio.ensure_future(work)
        with self.screen or nullcontext():
            while self.screen and not job.done():
                self.screen.draw()
                await asyncio.wait([job], timeout=TICK_S)
            await job

    def __call__(self, event: Event) -> None:
        """Take note, and tell, of an event that has just been applied."""
        if isinstance(event, Header):  # another driver goes on
            self._starts.clear()
        elif isinstance(event, Started):
            if event.ids:  # else it loads a theory, for no task
                self._starts[event.job] = event
            if self.debug and not self.silent:
                where = f"attempt {event.attempt}, process {event.pid}; {self._use()} in use"
                say(f"start {event.job} ({where}): {quoted(event.command)}")
        elif isinstance(event, Finished):
            self._starts.pop(event.job, None)
            task = self.batch.tasks[event.id]
            self.done += task.status in FINAL
            if not self.silent and not (self.quiet and exit_code([task], Closure(())) == 0):
                say(self._line(task))

    def _line(self, task: Task) -> str:
        result = task.result or Result(task.status)
        about = [f"cached {result.ran[:10]}".rstrip()] if result.cached else []
        about += [plural(result.steps, "step")] if result.steps else []
        about += [duration(result.usage.wall_s), f"{result.usage.peak_mb:,.0f} MB"]
        reason = f" (expected {task.plan.expect}!)" if task.misses_expectation else ""
        reason += f": {result.reason}" if result.reason else ""
        total, room = str(len(self.tasks)), terminal_size()[0] - 20 if self.screen else math.inf
        name = task.id if len(task.id) < room else task.plan.lemma
        line = f"[{self.done:{len(total)}}/{total}] {task.outcome:12} {name} ({', '.join(about)}){reason}"
        return fit(line, terminal_size()[0] - 1, glyphs()[2]).rstrip() if self.screen else line

    def jobs(self) -> Iterator[Json]:
        """What runs, the longest first, as `status --json` tells it: seconds, MB (None where it can't be seen), its stderr."""
        for job, start in self._starts.items():
            live, task = self.live.get(job), self.batch.tasks[start.ids[0]]
            elapsed = (
                time.monotonic() - live.started
                if live
                else max(0.0, time.time() - instant(start.at))
            )
            yield {
                "id": job,
                "lemma": task.plan.lemma,
                "elapsed_s": elapsed,
                "limits": encode(task.plan.limits),
                "memory_mb": live.rss_mb if live else tree_memory_mb(start),
                "log": result_files(self.directory, job).stderr,
            }

    def _use(self) -> str:
        used = sum(
            self.batch.tasks[start.ids[0]].plan.limits.cores for start in self._starts.values()
        )
        return f"{used}/{plural(self.batch.header.limits.cores, 'core')}"

    def survey(self, jobs: Sequence[Json]) -> tuple[dict[str, int], tuple[float, bool]]:
        """How many tasks came to what, and the forecast; taken anew so rarely that it costs at most 1/200 of a core."""
        began = time.monotonic()
        if began >= self._survey_due:
            running = {
                task_id: job["elapsed_s"] for job in jobs for task_id in self._starts[job["id"]].ids
            }
            self._surveyed = count_outcomes(self.tasks), forecast(self.tasks, running, len(jobs))
            self._survey_due = began + 200 * (time.monotonic() - began)
        return self._surveyed

    def block(self, columns: int, rows: int) -> list[str]:
        """The live block for a terminal of this size: at most two thirds of its height."""
        import textwrap

        jobs, done, total = list(self.jobs()), self.done, len(self.tasks)
        counts, (left_s, bound) = self.survey(jobs)
        left = f"{'at most' if bound else 'about'} {clock(left_s)} left" if done < total else ""
        elapsed = clock(time.time() - instant(self.batch.header.at))
        text = f"{done:,}/{total:,}  {done * 100 // max(1, total)} %  {elapsed}  {left}".rstrip()
        width = min(40, columns - len(text) - 3)
        filled = width * done // max(1, total)
        bar = f"{glyphs()[0] * filled}{glyphs()[1] * (width - filled)}  " if width >= 5 else ""
        memory_mb = sum(job["memory_mb"] or 0 for job in jobs)
        facts = [self._use(), f"{size(memory_mb)}/{size(self.batch.header.limits.memory_mb)}"]
        facts += [
            f"{count:,} {word}"
            for word, count in counts.items()
            if word not in ("pending", "running")
        ]
        unbroken = ", ".join(fact.replace(" ", "\xa0") for fact in facts)  # within a fact
        head = [
            bar + text,
            *(line.replace("\xa0", " ") for line in textwrap.wrap(unbroken, columns - 1)),
        ]
        room = max(0, rows * 2 // 3 - len(head))
        lines = [job_line(job, columns) for job in jobs[:room]]
        if 0 < room < len(jobs):
            lines[-1] = f"  and {len(jobs) - room + 1} more"
        return [*head, *lines][: max(1, rows - 1)]


def forecast(
    tasks: Collection[Task], running: Mapping[str, float], slots: int
) -> tuple[float, bool]:
    """Seconds until all tasks have ended, and whether that is only what their limits allow, as none has finished yet.

    A task is taken to need what the finished ones of its recipe task (else: of all) needed on average; one that has run longer
    than that, as long again; none more than its limit. `running`: seconds by task id; `slots`: how many jobs run side by side."""
    times: dict[str, list[float]] = {}
    for task in tasks:
        if task.result and task.status in FINAL:
            for name in (task.plan.entry, ""):
                times.setdefault(name, []).append(task.result.usage.wall_s)
    means = {name: sum(found) / len(found) for name, found in times.items()}
    rests = [0.0]
    for task in (task for task in tasks if task.status not in FINAL):
        mean, ran = means.get(task.plan.entry, means.get("", math.inf)), running.get(task.id, 0.0)
        rests.append(
            max(0.0, min(mean - ran if ran < mean else ran, task.plan.limits.timeout_s - ran))
        )
    shared, longest = sum(rests) / max(1, slots), max(rests)
    return (max(shared, longest), False) if means else (shared + longest, True)


def job_line(job: Json, columns: int) -> str:
    """Id, phase, time and memory of a running job; on a narrow terminal without the limits."""
    now_at, time_s, limits = phase(job["log"]), clock(job["elapsed_s"]), job["limits"]
    memory = "" if job["memory_mb"] is None else size(job["memory_mb"])
    if columns < 64:
        label, figures = job["lemma"], f"{time_s:>5} {memory:>4}"
        now_at = fit(now_at.replace("saturating ", ""), 11, glyphs()[2])
    else:
        label, of_time, of_memory = (
            job["id"],
            f"{time_s}/{clock(limits['timeout_s'])}",
            f"{memory}/{size(limits['memory_mb'])}",
        )
        figures = f"{of_time:>15}  {of_memory:>10}"
        now_at = fit(now_at, 23, glyphs()[2])
    width = max(8, columns - 5 - len(now_at) - len(figures))
    return f"  {fit(label, width, glyphs()[2], width // 2)} {now_at} {figures}"


def clock(seconds: float) -> str:
    """`0:05`, `1:02:03`."""
    minutes, second = divmod(int(max(0, seconds)), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{second:02}"
        if minutes >= 60
        else f"{minutes}:{second:02}"
    )


def size(megabytes: float) -> str:
    """`340M`, `1.5G`, `16G`."""
    return (
        f"{megabytes:.0f}M"
        if megabytes < 1000
        else f"{megabytes / 1024:.1f}".removesuffix(".0") + "G"
    )


def tree_memory_mb(start: Started) -> float | None:
    """What another driver's job uses now; None when it runs on another host or is gone."""
    tree = [start.pid]
    if (start.host, start.boot_id) != host_id() or process_start(tree[0]) != start.started:
        return None
    for pid in tree:  # it grows meanwhile
        tree += _children(pid)
    return sum(_memory(pid)[1] for pid in tree) / MB


class Screen:
    """The last lines of a terminal, drawn over again and again; what is said meanwhile scrolls by above them.

    It changes no mode of the terminal and leaves the cursor below the block, so that nothing is left to put right, however the
    program ends."""

    def __init__(self, block: Callable[[int, int], list[str]]) -> None:
        self._block = block  # makes the lines for so many columns and rows
        self._said: list[str] = []
        self._shown: list[str] = []  # the lines that stand there
        self._drawn = 0.0

    def __enter__(self) -> None:
        _listeners.append(self.say)
        # Not through the event loop: the block must be forgotten before anything else goes on after Ctrl-Z and `fg`.
        signal.signal(signal.SIGCONT, lambda *_: self._shown.clear())

    def __exit__(self, *_: object) -> None:
        _listeners.remove(self.say)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        self.draw(last=True)

    def say(self, line: str) -> None:
        self._said.append(line)
        if time.monotonic() - self._drawn >= REDRAW_S:
            self.draw()

    def draw(self, last: bool = False) -> None:
        """Write what was said, and the block below it, at one stroke; not while the terminal takes nothing (Ctrl-S)."""
        import select

        with suppress(OSError, ValueError):  # the terminal is gone: the batch goes on
            if not last and not select.select([], [sys.stderr], [], 0)[1]:
                return
            columns, rows = terminal_size()
            up = sum(
                max(1, -(-display_width(line) // columns)) for line in self._shown
            )  # a narrower terminal has wrapped them
            ours = not last
            with suppress(
                OSError
            ):  # no job control; else not while a user types to the shell that we run behind
                ours = ours and os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
            self._shown = (
                [
                    fit(line, columns - 1, glyphs()[2]).rstrip()
                    for line in self._block(columns, rows)
                ]
                if ours
                else []
            )
            said, self._said = self._said, []
            moved = f"\r\x1b[{up}A" if up else ""
            lines = (f"{coloured(line, sys.stderr)}\x1b[K\n" for line in (*said, *self._shown))
            sys.stderr.write(moved + "".join(lines) + "\x1b[J")
            sys.stderr.flush()
        self._drawn = time.monotonic()


def draws_block(mode: str, quiet: bool = False) -> bool:
    """Whether a live block is wanted, and stderr is a terminal that can show it."""
    return sys.stderr.isatty() and (
        mode == "bar" or mode == "auto" and not quiet and os.environ.get("TERM", "dumb") != "dumb"
    )


def glyphs() -> str:
    """What a bar is drawn with, done and open, and what stands where text was cut."""
    return "█░…" if "utf" in (sys.stderr.encoding or "").lower() else "#-~"


# === Commands =====================================================================================

EXAMPLES = """\
examples:
  write a recipe for a theory:          batch_tamarin.py init theory.spthy
  see whether it can run:               batch_tamarin.py check recipe.json
  prove everything it names:            batch_tamarin.py run recipe.json
  look at it from another terminal:     batch_tamarin.py status results --follow
  go on after a stop or a crash:        batch_tamarin.py resume results
  what do the results establish?        batch_tamarin.py audit results
  what Tamarin would list in a theory:  batch_tamarin.py lemmas theory.spthy

type `batch_tamarin.py COMMAND --help` for a command's options and examples.
exit codes: 0 all proven or refuted as expected; 1 an expectation was missed, a verdict rests on a false lemma, or an audit found
something; 2 wrong usage or input; 3 some task has no
`verified` or `falsified`; 130, 143, 129 stopped by SIGINT, SIGTERM, SIGHUP.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    args = command_line_parser().parse_args(argv)
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(args.func(args))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output (such as `head`) is gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except InputError as error:
        for line in str(error).split("\n"):
            say(f"error: {line}")
    except (
        OSError
    ) as error:  # a full disk, too many open files: what the environment did gets no traceback
        say(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
    return 2


def open_missing_streams() -> None:
    """A descriptor that was closed for us (`>&-`) becomes /dev/null: else the journal would be opened under its number."""
    while os.open(os.devnull, os.O_RDWR) < 3:
        pass
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - they are open as long as this process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


class Parser(argparse.ArgumentParser):
    """Names the nearest option or command for a mistyped one, and doesn't bury the error under the usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            self.error(
                f"unknown argument '{printable(unknown[0])}'{did_you_mean(unknown[0].partition('=')[0], options)}"
            )
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        wrong, _, choices = message.partition("(choose from ")
        if choices:
            word = wrong.rpartition("invalid choice: ")[2].strip(" '")
            message = f"{wrong.rstrip()}{did_you_mean(word, re.findall('[a-z-]+', choices))}; it is one of {choices.rstrip(')')}"
        self.exit(2, f"{self.prog}: error: {message}\ntype '{self.prog} --help' for help\n")


def command_line_parser() -> argparse.ArgumentParser:
    """The commands: of each its function, whose docstring is its help, its ARGUMENTS, and examples without the program's name."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog="batch_tamarin.py",
        description=(__doc__ or "").split("\n")[0],
        epilog=EXAMPLES,
        formatter_class=layout,
    )
    parser.add_argument("--version", action="version", version=f"batch_tamarin.py {__version__}")
    parser.set_defaults(quiet=False, debug=False)  # for commands without these options
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    limits = ("--cores", "--memory", "--timeout")
    cache = ("--cache-dir", "--cache-size")
    running = ("-t --task", "-q --quiet", "-d --debug", "--no-cache", *cache, "--progress")
    for func, arguments, *examples in (
        (
            command_run,
            ("recipe", "-o --output", "--fresh", *limits, "-s --scheduler", *running),
            "recipe.json",
            "recipe.json -t 'nslpk3--*' -o /scratch/out",
            "recipe.json --cores 16 --memory 50%   # on half of a shared server",
        ),
        (command_resume, ("results", *running), "results", "results -t '*--secrecy--*'"),
        (
            command_check,
            ("recipe", *limits, "--report", "-d --debug (check)"),
            "recipe.json",
            "recipe.json -d          # every task with its command",
            f"recipe.json --report    # all that the provers say, in ./{CHECK_REPORT}/",
        ),
        (
            command_init,
            (
                "theories",
                "-o --output (init)",
                "--force",
                "-y --yes",
                "--prover",
                *limits,
                "--lemma",
                "--results",
            ),
            "handshake.spthy",
            "models/*.spthy -o all.json",
            "handshake.spthy --yes --prover tamarin-prover --lemma 'secrecy*' --timeout 7200",
        ),
        (
            command_status,
            ("results", "-f --follow", "--json (status)", "--progress"),
            "results",
            "results --follow",
            "results --json",
        ),
        (
            command_report,
            ("results", "-f --format", "-o --output (report)", "--rebuild"),
            "results",
            "results -f tex -f csv -o tables.tex",
            "results --rebuild",
        ),
        (
            command_audit,
            (
                "paths",
                "--expect",
                "--against",
                "--tolerance",
                "--strict",
                "--format",
                "-d --details",
            ),
            "results",
            "paper/*.spthy logs -d",
            "results --expect pinned.csv",
            "new --against old --tolerance 1.5 --format junit",
        ),
        (
            command_recheck,
            ("results", "--prover (recheck)", *running[:3], "--progress"),
            "results --prover tamarin-prover",
            "results --prover stable -t '*--secrecy--*'",
        ),
        (
            command_lemmas,
            ("theory", "-D --define", "--diff", "--auto-sources", "--json"),
            "theory.spthy",
            "theory.spthy -D WITH_REVEAL --json",
        ),
        (command_cache, ("action", "--errors-only", *cache), "info", "clear --errors-only"),
    ):
        name, text = func.__name__.partition("_")[2], func.__doc__ or ""
        epilog = "\n".join(
            ["examples:", *(f"  batch_tamarin.py {name} {example}" for example in examples)]
        )
        command = commands.add_parser(
            name,
            help=text.split("\n")[0].rstrip("."),
            description=text,
            epilog=epilog,
            formatter_class=layout,
        )
        command.set_defaults(func=func)
        for argument in arguments:
            command.add_argument(*argument.partition(" (")[0].split(), **ARGUMENTS[argument])
    return parser


def number_argument(check: Check, problem: str) -> Callable[[str], Any]:
    """An argparse type: a text as the value that stands for it in a recipe, if the recipe's own check accepts that."""

    def read(text: str) -> Any:
        def refuse(*_: object) -> NoReturn:
            raise argparse.ArgumentTypeError(f"'{text}' is {problem}")

        number = float(text) if re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", text) else math.inf
        value = int(number) if number.is_integer() else number if number < math.inf else text
        check(cast(Any, argparse.Namespace(problem=refuse)), value, ())
        return value

    return read


cores_argument = number_argument(
    _CONFIG["global_max_cores"], 'neither a positive whole number nor "max"'
)
memory_argument = number_argument(
    _CONFIG["global_max_memory"], 'neither GB, nor "max", nor a percentage such as 50%'
)
seconds_argument = number_argument(_CONFIG["default_timeout"], "no positive number below 10^9")
SWITCH: dict[str, Any] = {"action": "store_true"}
REPEATABLE: dict[str, Any] = {"action": "append", "default": []}
CHECK_REPORT = "wellformedness-check-report"
# What argparse must know of each argument. A command in brackets tells apart what several commands understand differently.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "recipe": {"metavar": "RECIPE", "help": "the recipe, a JSON file"},
    "results": {"metavar": "RESULTS", "help": "the results directory"},
    "theory": {"metavar": "THEORY", "help": "a .spthy file"},
    "theories": {"metavar": "THEORY", "nargs": "+", "help": "a .spthy file"},
    "-o --output": {
        "metavar": "DIR",
        "default": "",
        "help": "results directory (instead of the recipe's output_directory)",
    },
    "-o --output (init)": {
        "metavar": "FILE",
        "default": "recipe.json",
        "help": "where to write the recipe (recipe.json)",
    },
    "-o --output (report)": {
        "metavar": "FILE",
        "default": "",
        "help": "write to this file, for several formats with their endings",
    },
    "--fresh": {
        **SWITCH,
        "help": "begin anew beside an unfinished batch instead of going on with it",
    },
    "--cores": {
        "type": cores_argument,
        "metavar": "N",
        "help": 'cores for all jobs together, or "max"',
    },
    "--memory": {
        "type": memory_argument,
        "metavar": "GB",
        "help": 'memory for all jobs together: GB, "max" or "50%%"',
    },
    "--timeout": {
        "type": seconds_argument,
        "default": 0,
        "metavar": "S",
        "help": "seconds for a task that has no timeout of its own (instead of default_timeout)",
    },
    "-s --scheduler": {
        "choices": SCHEDULERS,
        "default": "",
        "help": "which waiting task starts first: in file order (fifo), the "
        "smallest (sjf) or largest (ljf) by cores and memory",
    },
    "-t --task": {
        **REPEATABLE,
        "metavar": "PATTERN",
        "help": "run only tasks whose id begins with this or matches this shell pattern (repeatable)",
    },
    "-q --quiet": {**SWITCH, "help": "show only problems and the final table"},
    "-d --debug": {**SWITCH, "help": "show the commands too, and what was new to the cache"},
    "-d --debug (check)": {**SWITCH, "help": "show every task with its limits and command"},
    "--no-cache": {**SWITCH, "help": "prove everything, and keep nothing for other runs"},
    "--cache-dir": {
        "metavar": "DIR",
        "default": "",
        "help": "the cache (default: ~/.cache/batch-tamarin)",
    },
    "--cache-size": {
        "metavar": "GB",
        "type": seconds_argument,
        "default": CACHE_GB,
        "help": f"its size at most (default: {CACHE_GB:g})",
    },
    "--progress": {
        "choices": PROGRESS_MODES,
        "default": "auto",
        "help": "a live block on the terminal (bar), one line for each "
        "finished task (plain), or nothing until the end (none); auto: bar on a terminal that can, else plain",
    },
    "--report": {
        **SWITCH,
        "help": f"write the full text of warnings and errors to ./{CHECK_REPORT}/",
    },
    "--force": {**SWITCH, "help": "write over a file that is there"},
    "-y --yes": {**SWITCH, "help": "ask nothing: take the options, else the defaults"},
    "--prover": {
        **REPEATABLE,
        "metavar": "PROGRAM",
        "help": "a prover: a file or a command on PATH (repeatable)",
    },
    "--prover (recheck)": {
        "metavar": "PROVER",
        "default": "",
        "help": "one of the batch's provers by its alias, a file, or a command "
        "on PATH (default: the recipe's recheck_with)",
    },
    "--lemma": {
        **REPEATABLE,
        "metavar": "PATTERN",
        "help": "lemmas to prove: a name, a shell pattern, or '!pattern' to take lemmas away (repeatable)",
    },
    "--results": {
        "metavar": "DIR",
        "default": "results",
        "help": "the recipe's results directory (results)",
    },
    "-f --follow": {**SWITCH, "help": "go on until the batch ends, like the batch's own terminal"},
    "--json": {**SWITCH, "help": "JSON instead of a table"},
    "--json (status)": {**SWITCH, "help": "JSON; with --follow one line for each look"},
    "-f --format": {
        **REPEATABLE,
        "choices": list(REPORTS),
        "help": "repeatable; default: by the ending of -o FILE, else md",
    },
    "paths": {
        "metavar": "PATH",
        "nargs": "+",
        "help": "results directories (ours, batch-tamarin's), analyzed theories, prover "
        "logs, folders of these, and the theories themselves",
    },
    "--expect": {
        "metavar": "FILE",
        "help": 'expected verdicts: JSON ({"lemma or pattern": "verified"}, or that for each '
        "theory), or CSV with the columns theory,lemma,verdict",
    },
    "--against": {
        **REPEATABLE,
        "metavar": "BASELINE",
        "help": "earlier results, in any form (repeatable)",
    },
    "--tolerance": {
        "type": seconds_argument,
        "default": math.inf,
        "metavar": "FACTOR",
        "help": "with --against: steps or seconds may grow by so much",
    },
    "--strict": {**SWITCH, "help": "notes count as findings"},
    "--format": {
        "choices": ("table", "json", "csv", "md", "junit"),
        "default": "table",
        "help": "default: a table for people",
    },
    "-d --details": {**SWITCH, "help": "show every lemma"},
    "--rebuild": {
        **SWITCH,
        "help": "write the derived files of RESULTS again: success/, failed/, execution_report.json, the "
        "rerun recipe, summary.html",
    },
    "-D --define": {**REPEATABLE, "metavar": "FLAG", "help": "a preprocessor flag (repeatable)"},
    "--diff": {
        **SWITCH,
        "help": "as with Tamarin's --diff: both sides, and Observational_equivalence",
    },
    "--auto-sources": {**SWITCH, "help": "as with Tamarin's --auto-sources"},
    "action": {"choices": ("info", "clear")},
    "--errors-only": {**SWITCH, "help": "clear only what has no verdict: limits met, parse errors"},
}

# --- check ----------------------------------------------------------------------------------------


def command_check(args: argparse.Namespace) -> int:
    """Test a recipe before it runs: its plan, its provers and oracles; every theory is loaded with its tasks' own options."""
    import asyncio
    import tempfile

    recipe = Recipe(args.recipe)
    batch = plan_recipe(
        recipe, PlanOptions(str(args.cores or ""), str(args.memory or ""), args.timeout)
    )
    room, found = batch.header.limits, dict[str, list[str]]()
    with (
        tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder,
        Supervisor(batch.id) as supervisor,
    ):
        tests = list(_check_jobs(batch, folder, room))
        screen = Screen(
            lambda columns, rows: [
                f"checking {len(found)}/{len(tests)}: {', '.join(supervisor.live)}"
            ]
        )

        shown = draws_block("auto")

        async def work(job: Job) -> bool:
            outcome = await supervisor.run(
                job, lambda pid, started: screen.draw() if shown else None
            )
            found[job.id] = list(_judge_check(batch, job, outcome, folder))
            if args.report and any(
                note.startswith(("warning: ", "error: ")) for note in found[job.id]
            ):
                _report_check(job, found[job.id], result_files(folder, job.id).proof)
            return True

        with screen if shown else nullcontext():
            asyncio.run(
                Scheduler(Room(room.cores, room.memory_mb)).run([job for job, _ in tests], work)
            )
    directory = os.path.expanduser(recipe.data.get("config", {}).get("output_directory", "results"))
    for job, heading in tests:
        lines = [*heading, *(f"  {note}" for note in found[job.id])]
        for task in (batch.tasks[task_id] for task_id in job.task_ids if args.debug):
            lines.append(
                f"  {task.id}: {task.plan.limits}"
                + (f", expect {task.plan.expect}" if task.plan.expect else "")
            )
            lines.append(
                f"    {quoted(prover_command(batch.provers[task.plan.prover], task.plan, result_files(directory, task.id)))}"
            )
        print(coloured("\n".join(map(printable, lines)), sys.stdout))
    errors = sum(note.startswith("error: ") for notes in found.values() for note in notes)
    print(
        f"\n{plural(len(batch.tasks), 'task')}, together on {plural(room.cores, 'core')} and {room.memory_mb / 1024:.3g} GB"
    )
    say(
        f"error: this recipe can't run as it is: {plural(errors, 'error')}"
        if errors
        else f"it can run: batch_tamarin.py run {quoted([args.recipe])}"
    )
    return 2 if errors else 0


def _check_jobs(batch: Batch, folder: str, room: Limits) -> Iterator[tuple[Job, tuple[str, ...]]]:
    """Self-tests of the provers; loads of each theory by each prover with each options and flags, under the largest limits of
    the tasks. Each with the lines to show above what it finds."""
    for name in RESULT_FOLDERS:
        os.makedirs(os.path.join(folder, name))
    small, loads = (
        Limits(1, min(VERSION_LIMITS.memory_mb, room.memory_mb), 60),
        dict[tuple[Any, ...], list[Task]](),
    )
    for alias, prover in batch.provers.items():
        name, outputs = f"self-test of {alias}", result_files(folder, f"self-test of {alias}")
        command = (*prover.command, "test", *prover.options)
        yield (
            Job(
                name,
                1,
                command,
                os.getcwd(),
                prover_environment(prover),
                small,
                outputs.stdout,
                outputs.stderr,
            ),
            (
                f"{alias}: {prover.flavour} {prover.version or '(version unknown)'}, {quoted(prover.command)}",
            ),
        )
    for task in batch.tasks.values():
        loads.setdefault(task.plan.view, []).append(task)
    for tasks in loads.values():
        task, prover, outputs = (
            tasks[0],
            batch.provers[tasks[0].plan.prover],
            result_files(folder, tasks[0].id),
        )
        names, limits = (
            ", ".join(dict.fromkeys(each.plan.entry for each in tasks)),
            dict.fromkeys(each.plan.limits for each in tasks),
        )
        most = Limits(*map(max, zip(*map(dataclasses.astuple, limits))))
        command = prover_command(prover, replace(task.plan, prove=False, limits=most), outputs)
        view = quoted(
            (task.plan.theory, *task.plan.options, *(f"-D={flag}" for flag in task.plan.flags))
        )
        yield (
            Job(
                task.id,
                1,
                command,
                task.plan.cwd,
                prover_environment(prover),
                most,
                outputs.stdout,
                outputs.stderr,
                tuple(each.id for each in tasks),
            ),
            (
                "",
                f"{names}: {view} with {task.plan.prover}, {plural(len(tasks), 'task')} of {' or '.join(map(str, limits))}",
            ),
        )


def _judge_check(batch: Batch, job: Job, outcome: Outcome, folder: str) -> Iterator[str]:
    """What was found, for people: "error: " where the recipe can't run, "warning: " where results need a look."""
    output = read_output(job.stdout, job.stderr)
    if not job.task_ids:
        passed = outcome.exit == ExitStatus(0) and "should work as intended" in "\n".join(
            ends_of(job.stdout)
        )
        why = (
            f"Maude {output.old_maude} is not supported"
            if output.old_maude
            else outcome.reason or output.complaint
        )
        yield (
            "self-test passed"
            if passed
            else f"warning: self-test failed: {why or 'it does not say why'}"
        )
        return
    plan = replace(batch.tasks[job.task_ids[0]].plan, prove=False)
    status, reason = _judge_exit(outcome, output)
    loaded = f"loads in {duration(outcome.usage.wall_s)} and {outcome.usage.peak_mb:,.0f} MB"
    yield loaded if status is Status.COMPLETED else f"error: it does not load: {reason}"
    yield from (
        f"warning: {warning}"
        for warning in prover_warnings(plan, output, result_files(folder, job.id).proof)
    )
    options = (*batch.provers[plan.prover].options, *plan.options)
    theory = load_theory(os.path.join(plan.cwd, plan.theory), *theory_view(options, plan.flags))
    for oracle in used_oracles(theory, options, plan.cwd):
        problem = oracle_problem(oracle)
        yield f"error: oracle {oracle} {problem}" if problem else f"oracle {oracle}"


def _report_check(job: Job, notes: Sequence[str], theory: str) -> None:
    """A file with the command, what was found, the prover's own report, and its stderr."""
    os.makedirs(CHECK_REPORT, exist_ok=True)
    heading = (
        "WARNING: the following wellformedness checks failed!"  # with --quit-on-warning on stdout
    )
    warnings = "\n".join((*last_part(theory, heading), *last_part(job.stdout, heading))).partition(
        "\n*/"
    )[0]
    command = quoted(word for word in job.command if not word.startswith("--output"))
    text = "\n\n".join([command, *notes, warnings, "\n".join(ends_of(job.stderr))])
    write_file(os.path.join(CHECK_REPORT, job.id.replace(" ", "-") + ".txt"), text + "\n")


# --- init -----------------------------------------------------------------------------------------


def command_init(args: argparse.Namespace) -> int:
    """Write a recipe for some theories: asks on a terminal, or takes defaults and options with --yes."""
    if not args.yes and not sys.stdin.isatty():
        raise InputError(
            "stdin is no terminal to ask on: add --yes, and options for what should not be as by default"
        )
    if os.path.exists(args.output) and not args.force:
        raise InputError(
            "is there already: give another file with -o, or write over it with --force",
            args.output,
        )
    provers, room = _init_provers(args), Limits(available_cores(), available_memory_mb(), math.inf)
    config = {
        key: ask(args, question, default, check)
        for key, question, default, check in (
            (
                "global_max_cores",
                f"cores for all jobs together (here: {room.cores})",
                args.cores or "max",
                cores_argument,
            ),
            (
                "global_max_memory",
                f"GB for all jobs together (here: {room.memory_mb / 1024:.3g})",
                args.memory or "max",
                memory_argument,
            ),
            (
                "default_timeout",
                "seconds for one lemma",
                args.timeout or DEFAULT_TIMEOUT_S,
                seconds_argument,
            ),
        )
    }
    most = _global_limits(config, room, PlanOptions(), warn)
    job = {
        "max_cores": min(DEFAULT_CORES, most.cores),
        "max_memory": min(DEFAULT_MEMORY_GB, max(1, most.memory_mb // 1024)),
    }
    tasks = {
        name: {**_init_task(args, file, name, provers), "resources": job}
        for name, file in _named(args.theories).items()
    }
    config["output_directory"] = ask(args, "directory for the results", args.results, str)
    programs = {
        alias: {
            "path": recipe_path(prover.command[0], args.output)
            if os.sep in prover.command[0]
            else prover.command[0]
        }
        for alias, prover in provers.items()
    }
    recipe = Recipe(
        args.output,
        json.dumps({"config": config, "tamarin_versions": programs, "tasks": tasks}, indent=2)
        + "\n",
    )
    planned = plan_batch(recipe, recipe_provers(recipe), room, PlanOptions(), warn)
    sys.stdout.write(recipe.text)
    if ask(args, f"write this to {args.output}?", "yes", str).lower() not in ("y", "yes"):
        raise InputError("nothing was written")
    write_file(args.output, recipe.text)
    say(
        f"{plural(len(planned.tasks), 'task')}; next: batch_tamarin.py check {quoted([args.output])}"
    )
    return 0


def ask(args: argparse.Namespace, question: str, default: Any, check: Callable[[str], T]) -> T:
    """Ask on the terminal until the answer is one (Enter takes the default); with --yes take the default."""
    while not args.yes:
        print(
            f"{printable(question)} [{printable(str(default))}]: ",
            end="",
            file=sys.stderr,
            flush=True,
        )
        answer = sys.stdin.readline()
        if not answer:
            raise InputError("no answer: nothing was written")
        try:
            return check(answer.strip() or str(default))
        except (InputError, argparse.ArgumentTypeError) as error:
            say(f"error: {error}")
    return check(str(default))


def _init_provers(args: argparse.Namespace) -> dict[str, Prover]:
    """The provers to use, by alias; those on PATH are shown with their versions."""
    import asyncio

    def programs(text: str) -> dict[str, Prover]:
        missing = [word for word in text.split() if not find_program(word)]
        if missing or not text:
            raise InputError(
                f"there is no executable program '{missing[0]}'"
                if missing
                else "no tamarin-prover or tamarin-rs is on PATH: name one (--prover PROGRAM)"
            )
        provers = {alias: Prover(alias, (word,)) for alias, word in _named(text.split()).items()}
        asyncio.run(ask_versions(provers.values()))
        return provers

    found = [name for name in ("tamarin-prover", "tamarin-rs") if find_program(name)]
    for prover in programs(" ".join(found)).values() if found and not args.yes else ():
        say(f"found {find_program(prover.command[0])}, version {prover.version or 'unknown'}")
    return ask(args, "provers (commands or files)", " ".join(args.prover or found[:1]), programs)


def _init_task(
    args: argparse.Namespace, file: str, name: str, provers: Mapping[str, Prover]
) -> Json:
    """The recipe's entry for one theory."""
    entry: Json = {
        "theory_file": recipe_path(file, args.output),
        "tamarin_versions": list(provers),
        "output_file_prefix": name,
    }
    try:
        theory = load_theory(file)
    except InputError as error:
        if "--diff" not in error.message:
            raise
        theory, entry["tamarin_options"] = load_theory(file, diff=True), ["--diff"]
        say(f"note: {file} uses diff(...): it is proven with --diff, which tamarin-rs has not")
        entry["tamarin_versions"] = [
            alias for alias, prover in provers.items() if prover.flavour != "tamarin-rs"
        ]
        if not entry["tamarin_versions"]:
            raise InputError("this theory needs a tamarin-prover", file) from None
    if any(lemma.parent for lemma in theory.lemmas):
        say(
            f"note: {file} has accountability lemmas: the name of one means all lemmas that Tamarin makes of it"
        )
    names = list(_lemma_groups(theory))
    say(f"lemmas of {file}: {', '.join(names) or 'none'}")

    def known(text: str) -> list[Json]:
        for word in (pattern.lstrip("!") for pattern in text.split()):
            if not any(_selects(word, lemma) for lemma in theory.lemmas):
                raise InputError(f"no lemma of {file} matches '{word}'{did_you_mean(word, names)}")
        return [{"name": pattern} for pattern in text.split()]

    patterns = " ".join(args.lemma or ["*"])
    entry["lemmas"] = ask(
        args, "lemmas (names or patterns; '!pattern' takes away)", patterns, known
    )
    return entry


def _named(paths: Iterable[str]) -> dict[str, str]:
    """The files by safe names, made of their own."""
    named: dict[str, str] = {}
    for path in paths:
        base = re.sub(r"[^\w.-]|\.\.", "_", os.path.basename(path).removesuffix(".spthy"))
        names = (base, *(f"{base}_{number}" for number in range(2, len(named) + 3)))
        named[next(name for name in names if name not in named)] = path
    return named


# --- status ---------------------------------------------------------------------------------------


def command_status(args: argparse.Namespace) -> int:
    """Tell what a batch does now, from another terminal: what runs, what is done, what is left and for how long."""
    directory, batch = results_directory(args.results, JOURNAL), Batch()
    path, progress = (
        os.path.join(directory, JOURNAL),
        Progress(batch, batch.tasks.values(), directory, {}, args),
    )
    screen, silent = (
        progress.screen if args.follow and not args.json else None,
        progress.silent or args.json,
    )
    progress.silent = True  # as for what is past

    def look() -> tuple[str, str]:
        for event in journal_events(file, path, warn, batch.apply):
            progress(event)
        if not batch.has_begun:
            raise InputError("this journal tells of no batch", path)
        progress.done = batch.count(
            *FINAL
        )  # events alone don't tell: another driver may have planned anew
        return batch_state(batch, path)

    with open(path, "rb") as file, screen or nullcontext():
        while True:
            state, sentence = look()
            if state in (
                "died",
                "unknown",
            ):  # or it ended as it should, after we had read and before we asked
                state, sentence = look()
            if args.follow and progress.silent and not silent:
                say(f"{sentence}, {progress.done:,} of {plural(len(batch.tasks), 'task')} done")
            progress.silent = silent
            if args.json:
                print(
                    json.dumps(
                        status_json(batch, progress, state), indent=None if args.follow else 2
                    ),
                    flush=True,
                )
            elif screen:
                screen.draw()
            if not args.follow or state != "running":
                break
            time.sleep(TICK_S * (4 if args.json else 1))
    if not args.json:
        lines = (
            progress.block(terminal_size()[0] if sys.stdout.isatty() else 120, sys.maxsize)
            if state == "running"
            else ()
        )
        text = "".join(printable(line) + "\n" for line in lines) or final_table(
            batch, args.results, list(batch.tasks.values())
        )
        sys.stdout.write(
            coloured(
                printable(f"batch {batch.id} in {args.results}: {sentence}") + "\n" + text,
                sys.stdout,
            )
        )
    return 0


def batch_state(batch: Batch, path: str) -> tuple[str, str]:
    """A word and a sentence: running, finished, stopped, died, or unknown (on another host)."""
    header = batch.header
    if batch.ended and batch.ended.signal:
        return "stopped", f"stopped by {signal.Signals(batch.ended.signal).name}"
    if batch.ended:
        return "finished", "finished"
    if header.host != os.uname().nodename:
        return (
            ("running", f"runs on {header.host}")
            if is_locked(path)
            else (
                "unknown",
                f"began on {header.host}: from here nobody can see whether it still runs",
            )
        )
    # The lock is tried only while the process is there: a run that is about to begin must not find it taken.
    if process_start(header.pid) and is_locked(path):
        return "running", f"running (process {header.pid})"
    return (
        "died",
        f"died: its process {header.pid} is gone, and with it what is shown as running",
    )


def status_json(batch: Batch, progress: Progress, state: str) -> Json:
    """What `status --json` says."""
    jobs = list(progress.jobs()) if state == "running" else []
    counts, (left_s, bound) = progress.survey(jobs)
    running = [{**job, "phase": phase(job["log"])} for job in jobs]
    return {
        "batch": batch.id,
        "state": state,
        "began": batch.header.at,
        "tasks": len(batch.tasks),
        "done": progress.done,
        "counts": counts,
        "limits": encode(batch.header.limits),
        "running": running,
        "eta_s": round(left_s) if jobs else None,
        "eta_is_a_bound": bound and bool(jobs),
    }


# --- audit ----------------------------------------------------------------------------------------


def command_audit(args: argparse.Namespace) -> int:
    """Tell what results really establish: what verdicts rest on, what contradicts them, and what is not as expected."""
    evidence = read_evidence(args.paths, warn)
    tasks = [task for batch in evidence.batches.values() for task in batch.tasks.values()]
    findings = [*audit(evidence.batches), *evidence.findings]
    if args.expect:
        findings += compare(tasks, read_expectations(args.expect), "expected", 0)
    if args.against:
        baseline = read_evidence(args.against, warn).batches.values()
        before = [task for batch in baseline for task in batch.tasks.values()]
        findings += compare(tasks, before, "in the baseline", args.tolerance)
    findings.sort(key=lambda finding: (finding.rank, list(ADVICE).index(finding.kind)))
    failed = any(finding.rank != NOTE or args.strict for finding in findings)
    code = 1 if failed else exit_code(tasks, Closure(())) if tasks else 3
    text = audit_report(args.format, code == 0, evidence.batches, findings, args.details)
    cast(Any, sys.stdout).reconfigure(encoding="utf-8")
    sys.stdout.write(coloured(text, sys.stdout) if args.format == "table" else text)
    return code


# --- run, resume, report, lemmas, cache -----------------------------------------------------------


def command_run(args: argparse.Namespace) -> int:
    """Prove what a recipe names; go on if its results directory holds an unfinished batch of it."""
    recipe = Recipe(args.recipe)
    options = PlanOptions(
        str(args.cores or ""), str(args.memory or ""), args.timeout, args.scheduler
    )
    directory = args.output or os.path.expanduser(
        recipe.data.get("config", {}).get("output_directory", "results")
    )
    return run_recipe(recipe, options, directory, args, args.fresh)


def command_resume(args: argparse.Namespace) -> int:
    """Go on where a batch stopped, from its results directory alone."""
    directory = os.path.abspath(results_directory(args.results, JOURNAL))
    batch, _ = load_batch(os.path.join(directory, JOURNAL), warn)
    header = batch.header
    if not batch.has_begun:
        raise InputError(
            "this journal tells of no batch: run the recipe again",
            os.path.join(args.results, JOURNAL),
        )
    if header.recheck_of:
        raise InputError(
            f"this is a recheck: batch_tamarin.py recheck {quoted([header.recheck_of])} goes on with it",
            args.results,
        )
    if batch.ended and batch.count(*FINAL) == len(batch.tasks):
        say("nothing is left to do: this batch has finished")
        sys.stdout.write(
            coloured(final_table(batch, args.results, list(batch.tasks.values())), sys.stdout)
        )
        return exit_code(list(batch.tasks.values()), Closure(batch.tasks.values()))
    try:
        os.chdir(header.cwd)
    except OSError as error:
        raise InputError(
            f"the batch's working directory {header.cwd} can't be entered: {error.strerror}"
        ) from None
    recipe = Recipe(header.recipe_file, json.dumps(header.recipe, indent=2))
    return run_recipe(recipe, header.options, directory, args, fresh=False)


def command_report(args: argparse.Namespace) -> int:
    """Write what came out, also of an unfinished batch or in batch-tamarin's results, for people or programs."""
    batch = load_results(args.results, warn)
    directory = results_directory(args.results, JOURNAL, UPSTREAM_REPORT)
    stem, ending = os.path.splitext(args.output)
    endings = {name: "." + ENDINGS.get(name, name) for name in REPORTS}
    formats = args.format or [name for name in REPORTS if endings[name] == ending] or ["md"]
    if len(formats) > 1 and not args.output:
        raise InputError(
            "several formats need -o FILE: each is written to FILE with its own ending"
        )
    try:
        if args.rebuild:
            rebuild(batch, directory)
        for name in formats if args.format or args.output or not args.rebuild else ():
            base = stem if ending in endings.values() else args.output
            path = base + endings[name] if len(formats) > 1 else args.output
            pieces = REPORTS[name](batch, directory, os.path.dirname(path) or ".")
            if path:
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                write_file(path, pieces)
            else:
                cast(Any, sys.stdout).reconfigure(encoding="utf-8")
                sys.stdout.writelines(pieces)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"the report can't be written: {error.strerror}", error.filename or ""
        ) from None
    return 0


def rebuild(batch: Batch, directory: str) -> None:
    """Make every derived file of one of our results directories again."""
    if not os.path.exists(os.path.join(directory, JOURNAL)):
        raise InputError(f"there is no {JOURNAL}: what others wrote is left as it is", directory)
    for folder in ("success", "failed"):
        os.makedirs(os.path.join(directory, folder), exist_ok=True)
    for task in batch.tasks.values():
        write_result_file(directory, task)
    write_derived_files(batch, directory)


def command_recheck(args: argparse.Namespace) -> int:
    """Let another prover check the proofs of some results, without searching: it must come to the same verdicts."""
    import asyncio

    directory = results_directory(args.results, JOURNAL)
    batch, _ = load_batch(os.path.join(directory, JOURNAL), warn)
    if not batch.has_begun or batch.header.recheck_of:
        raise InputError(
            "this journal tells of no batch, or is itself a recheck",
            os.path.join(directory, JOURNAL),
        )
    recipe = Recipe(batch.header.recipe_file, json.dumps(batch.header.recipe))
    asked = args.prover or recipe.data.get("config", {}).get("recheck_with", "")
    known, program = recipe.data["tamarin_versions"], find_program(asked or os.curdir)
    if not asked:
        raise InputError(
            "which prover is to check the proofs? Give --prover, or recheck_with in the recipe's config"
        )
    if asked not in known and not program:
        raise InputError(
            f"--prover '{printable(asked)}' is none of the recipe's provers ({', '.join(known)}), nor a program"
        )
    prover = (
        _recipe_prover(recipe, asked)
        if asked in known
        else Prover(next(iter(_named([asked]))), (program,))
    )
    recipe.raise_problems()
    asyncio.run(ask_versions([prover]))
    recheck = Recheck(batch, directory, prover)
    planned = recheck.plan(warn)
    if not planned.tasks:
        raise InputError("no proof of these results can be checked", printable(args.results))
    return run_batch(planned, recheck.directory, args)


def command_lemmas(args: argparse.Namespace) -> int:
    """List what Tamarin would list in a theory, and what each lemma takes for granted."""
    theory = load_theory(
        args.theory, [flag.lstrip("=") for flag in args.define], args.diff, args.auto_sources
    )
    if args.json:
        fields = ("name", "trait", "side", "attributes", "assumes", "line")
        lemmas = [{name: getattr(lemma, name) for name in fields} for lemma in theory.lemmas]
        print(json.dumps({"theory": args.theory, "lemmas": lemmas}, indent=2))
        return 0
    rows = [("lemma", "trait", "line", "attributes", "assumes")]
    rows += [
        (
            f"{lemma.side} {lemma.name}".strip() + (" (if needed)" if lemma.optional else ""),
            lemma.trait,
            str(lemma.line or ""),
            ", ".join(lemma.attributes),
            ", ".join(lemma.assumes),
        )
        for lemma in theory.lemmas
    ]
    print(text_table(rows))
    return 0


def command_cache(args: argparse.Namespace) -> int:
    """Show what the cache holds, or clear it."""
    cache = Cache(args.cache_dir, args.cache_size)
    entries = [
        (found[0] if found else None, size_mb, path)
        for _, size_mb, path in cache.entries()
        for found in (cache.read(path),)
    ]
    if args.action == "clear":
        gone = [
            path for task, _, path in entries if not args.errors_only or (task and not task.verdict)
        ]
        for path in gone:
            remove_entry(path)
        print(f"entries removed from {printable(cache.directory)}: {len(gone):,}")
        return 0
    used, counts = (
        sum(size_mb for _, size_mb, _ in entries),
        count_outcomes(task for task, *_ in entries if task),
    )
    print(f"{printable(cache.directory)}: {used:,.1f} MB of at most {cache.size_mb / 1024:g} GB")
    if counts:
        print(
            text_table(
                [("result", "entries"), *((word, f"{count:,}") for word, count in counts.items())],
                right=(1,),
            )
        )
    return 0


def plan_recipe(recipe: Recipe, options: PlanOptions) -> Batch:
    """The Batch that `run` would run here, its provers asked for their versions."""
    import asyncio

    provers = recipe_provers(recipe)
    asyncio.run(ask_versions(provers.values()))
    return plan_batch(
        recipe, provers, Limits(available_cores(), available_memory_mb(), math.inf), options, warn
    )


def run_recipe(
    recipe: Recipe, options: PlanOptions, directory: str, args: argparse.Namespace, fresh: bool
) -> int:
    """Plan, run and report: the one pipeline."""
    planned = plan_recipe(recipe, options)
    cache = None if args.no_cache else Cache(args.cache_dir, args.cache_size)
    return run_batch(
        planned,
        directory,
        args,
        fresh,
        cache,
        recipe.data.get("config", {}).get("recheck_with", ""),
    )


def run_batch(
    planned: Batch,
    directory: str,
    args: argparse.Namespace,
    fresh: bool = False,
    cache: Cache | None = None,
    recheck_with: str = "",
) -> int:
    """Run what is left of a batch, and tell what came out. `recheck_with`: the prover that is to check every proof."""
    import asyncio

    selected_ids = select_ids(planned, args.task)
    directory, journal = open_results(directory, planned, fresh, say)
    batch = journal.batch
    restore_result_files(directory, batch)
    tasks = [batch.tasks[task_id] for task_id in selected_ids]
    waiting = [task for task in tasks if task.status not in FINAL]
    say(f"batch {batch.id}: {plural(len(waiting), 'task')} to run in {directory}")
    recheck = Recheck(batch, directory, planned.provers[recheck_with]) if recheck_with else None
    with Supervisor(batch.id, journal.fd) as supervisor:
        progress = Progress(batch, tasks, directory, supervisor.live, args)
        journal.observers += [lambda event: write_event_files(directory, batch, event), progress]
        runner = Runner(directory, journal, supervisor, cache, say if args.debug else None)
        checks = check_proofs(recheck, runner) if recheck else None
        asyncio.run(progress.beside(runner.run(waiting)))
    if checks:
        checks.close()
    if cache and cache.prune():
        warn(cache.problem)
    journal.record(Ended(runner.stopped, timestamp()))
    journal.close()
    write_derived_files(batch, directory)
    tasks = [batch.tasks[task_id] for task_id in selected_ids]
    sys.stdout.write(coloured(final_table(batch, directory, tasks), sys.stdout))
    code = (
        128 + runner.stopped if runner.stopped else exit_code(tasks, Closure(batch.tasks.values()))
    )
    if (
        recheck and not runner.stopped and (rest := recheck.plan(warn)).tasks
    ):  # proofs from the cache and earlier runs, too
        checked = run_batch(
            rest, recheck.directory, argparse.Namespace(**{**vars(args), "task": []})
        )
        code = checked if checked > 128 or checked == 1 else code
    return code


def check_proofs(recheck: Recheck, runner: Runner) -> Journal:
    """Let every proof of a running batch be checked at once, in the room of its task; returns the journal of that."""
    recheck.directory, journal = open_results(
        recheck.directory, recheck.plan(warn), False, lambda _: None
    )
    checker = Runner(recheck.directory, journal, runner.supervisor)
    checker.scheduler = runner.scheduler
    journal.observers.append(
        lambda event: write_event_files(recheck.directory, journal.batch, event)
    )

    async def check(task: Task) -> None:
        try:
            planned = recheck.check_of(task)
        except InputError:
            return  # `plan` will tell
        journal.record(planned)
        await checker.prove(journal.batch.tasks[planned.id])

    runner.check = check
    return journal


def write_event_files(directory: str, batch: Batch, event: Event) -> None:
    """The result file of a task that has just ended."""
    if isinstance(event, Finished):
        write_result_file(directory, batch.tasks[event.id])


if __name__ == "__main__":
    sys.exit(main())
