#!/usr/bin/env python3
"""Run batches of Tamarin Prover jobs and tell the truth about what was proven.

One file, standard library only: copy it to a server and type

    python batch_tamarin.py run recipe.json

A recipe (JSON) names theories, lemmas and provers; every lemma is proven in a process of its own,
or in one that lemmas of a theory share, under core, memory and time limits; every result goes to
`batch.jsonl` as it comes. The design in one picture:

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
under an alias. A task is one lemma x prover (x variant); a job is one command line that serves one
or more tasks. Units: seconds; MB = 2^20 and GB = 2^30 bytes.
"""

from __future__ import annotations

import signal
import sys

# Python 3.7 and 3.8 can read this file, so that they can say that they can't run it.
if sys.version_info < (3, 9):  # noqa: UP036
    python = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(f"error: batch_tamarin.py needs Python 3.9 or newer; this is {python}\n")
    sys.exit(2)

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
import time
from collections import Counter, deque
from collections.abc import (
    Awaitable,
    Collection,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Callable,
    NamedTuple,
    Optional,
    Protocol,
    TypeVar,
    Union,
    cast,
    final,
)

# Modules that only some commands need are imported there: every module costs start-up time.
if TYPE_CHECKING:
    import asyncio
    import resource
    from typing import BinaryIO, NoReturn, TextIO

__version__ = "0.1.0"

T = TypeVar("T")
Json = dict[str, Any]  # a JSON object


# === Words and errors =============================================================================

MB = 2**20


class InputError(Exception):
    """Something a user gave is wrong: where (file, line, column from 1), what, and what to do."""

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        place = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{place}: {message}" if place else message)


class StorageError(InputError):
    """The results directory can't be written (any more): full, read-only, or held by another."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def way_out(error: OSError) -> str:
    """What to do about a file that can't be written, to stand behind its message; or ""."""
    if error.errno in NO_ROOM:
        return ": make room, then give the same command again"
    return ""


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
    NOT_NEEDED = "not_needed"  # a lemma that the prover adds where it is needed, and did not
    SUPERSEDED = "superseded"  # another task was the first to answer what both were to


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


class Flavour(Word):
    """The programs whose ways are known. A prover that calls itself otherwise goes by that name."""

    TAMARIN_PROVER = "tamarin-prover"
    TAMARIN_RS = "tamarin-rs"


class Granularity(Word):
    """How many lemmas one process proves."""

    LEMMA = "lemma"  # one: it has a process, limits and measures of its own
    THEORY = "theory"  # those that can be proven after one load of their theory


FINAL = frozenset(Status) - {Status.PENDING, Status.RUNNING, Status.INTERRUPTED}
MET_A_LIMIT = frozenset({Status.TIMEOUT, Status.MEMORY_LIMIT})
# Settled by the answer of another task, and only as long as that holds.
SETTLED_BY_ANOTHER = frozenset({Status.SUPERSEDED})
# Final without a verdict of the prover, and none is wanted.
WANTS_NO_VERDICT = frozenset({Status.NOT_NEEDED, *SETTLED_BY_ANOTHER})
# `incomplete` is a verdict but answers nothing: another heuristic may.
ANSWERS = frozenset({Verdict.VERIFIED, Verdict.FALSIFIED})


# --- What a message to the user is ----------------------------------------------------------------


def say(message: str) -> None:
    """Tell the user one line: on stderr, or above the live block while there is one."""
    # It may name what others wrote: a theory, a file, a prover's last words.
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
    "confirmed": 32,
    "rejected": 31,
    "not replayed": 33,
    "incomplete": 33,
    "timeout": 33,
    "memory limit": 33,
    "failed": 31,
    "interrupted": 33,
    "superseded": 2,
    "not needed": 2,
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
    # https://no-color.org
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
    # Serial lines and some pseudo-terminals say 0 x 0.
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
        rest = ellipsis + text[len(text) - tail :]
        while display_width(head + rest) > width:
            # A tail of wide characters may have no room of its own.
            if head:
                head = head[:-1]
            else:
                rest = rest[1:]
        text = head + rest
    return text + " " * (width - display_width(text))


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}s"


def listed(things: Iterable[Any], most: int = 5, between: str = ", ") -> str:
    """`a, b, c and 3 more`."""
    words = [str(thing) for thing in things]
    shown = between.join(words[:most])
    if len(words) <= most:
        return shown
    return f"{shown} and {len(words) - most:,} more"


def quoted(command: Iterable[str]) -> str:
    """A command line as a shell would take it."""
    import shlex

    return shlex.join(command)


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.5) -> str:
    """A hint at the nearest known word that is at least so much like this one, or ""."""
    import difflib

    words = list(known)
    if len(words) > 1_000:  # to compare with 100,000 ids would take ten seconds
        words = _neighbours(word, words)
    for near in difflib.get_close_matches(word, words, 1, likeness):
        return f" (did you mean '{near}'?)"
    return ""


def _neighbours(word: str, known: Iterable[str], most: int = 100) -> list[str]:
    """Of many words those that begin like one, and those that end like it.

    Where there is one mistake, a long part before or behind it is right.
    """
    import bisect

    alphabet = sorted(known)
    place = bisect.bisect(alphabet, word)
    near = alphabet[max(0, place - most) : place + most]
    backwards = sorted(each[::-1] for each in alphabet)
    place = bisect.bisect(backwards, word[::-1])
    near += [each[::-1] for each in backwards[max(0, place - most) : place + most]]
    return near


def file_meant(path: str) -> str:
    """A hint at the file or directory beside `path` with the nearest name, or ""."""
    folder, name = os.path.split(os.path.expanduser(path))
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return ""
    # Endings are alike in any case.
    return did_you_mean(name, filter(str.isprintable, names), 0.75)


# --- Times, digests, files ------------------------------------------------------------------------


# What Python raises for a time that it can't convert: one of these, by how far off it is.
NO_TIME = (ValueError, OverflowError, OSError)


def timestamp() -> str:
    """The time as the journal writes it: UTC, ISO 8601, microseconds."""
    # Without `datetime`: it is called for every event, and the module costs start-up time.
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"


def instant(at: str) -> float:
    """Seconds since 1970 of a time in the journal; 0 for none."""
    import datetime

    try:
        return datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except NO_TIME:
        return 0.0


def utc(seconds: float) -> str:
    """A time (seconds since 1970) for people; "" for none."""
    if seconds <= 0:
        return ""
    try:
        moment = time.gmtime(seconds)
    except NO_TIME:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)


def told_seconds(seconds: float) -> str:
    """A measured time as people write it: `0.32 s`, `41.7 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return duration(seconds)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    # Rounded before it is divided: no "60 s", no "1 min 60 s".
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{rest} s"


@contextmanager
def making_what_stays() -> Iterator[None]:
    """Leave the collector of garbage out while a large batch is made, which stays until the end.

    Nothing of it is cyclic. To look for that takes an eighth of the time, and to look through the
    batch again and again half as long again.
    """
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def path_from(file: str, cwd: str) -> str:
    """How `file` is named on a command line that runs in `cwd`: relative where it lies below."""
    full = os.path.abspath(file)
    # Of a damaged journal it may be relative: nothing is known to lie below that.
    if not os.path.isabs(cwd) or os.path.commonpath([full, cwd]) != cwd:
        return full
    name = os.path.relpath(full, cwd)
    # Not to be taken for an option.
    return os.path.join(".", name) if name.startswith("-") else name


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
    # In the same folder: a rename is one step only within a file system.
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        # Names of files may hold bytes that are no text: escaped, they hide no report.
        with open(
            temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
        ) as file:
            file.writelines(pieces)
        os.replace(temporary, path)
    except BaseException as error:  # what makes the pieces may fail, too
        with suppress(OSError):  # the first error tells more
            remove_file(temporary)
        # A full disk names no file, and the temporary name tells nobody anything.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = path
        raise


def flush_to_disk(path: str) -> None:
    """Bring a file's bytes, or a directory's entries, to disk; nothing where it isn't there.

    Raises StorageError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # a directory may be one that we only pass through
        return
    try:
        flush_descriptor(fd, path)
    finally:
        os.close(fd)


def flush_descriptor(fd: int, path: str) -> None:
    """The same of what is open; `path` is for the user. Raises StorageError."""
    try:
        getattr(os, "fdatasync", os.fsync)(fd)
    except OSError as error:
        # Some file systems have nothing to flush.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            problem = f"can't be brought to disk: {error.strerror}{way_out(error)}"
            raise StorageError(problem, path) from None


def remove_file(path: str) -> None:
    """Remove a file of ours if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


# === Model ========================================================================================


def slotted(cls: type[T]) -> type[T]:
    """`dataclass(slots=True)`, which Python 3.9 lacks: half the memory at 100,000 tasks."""
    # No class gets slots afterwards: it is built again, without what would stand in their way.
    names = tuple(field_names(cls))
    dropped = {*names, "__dict__", "__weakref__"}
    body = {key: value for key, value in vars(cls).items() if key not in dropped}
    return cast(type[T], type(cls.__name__, cls.__bases__, {**body, "__slots__": names}))


def field_names(cls: type[Any]) -> Iterable[str]:
    """The names of a dataclass's fields, as `dataclasses.fields` but ten times as fast."""
    return cast(Iterable[str], getattr(cls, "__dataclass_fields__", ()))


# How the fields of the model stand in JSON, where that isn't their own name and value.
# The fields of this part stand among those of the whole.
INLINE: Mapping[str, Any] = {"inline": True}
# Written to the journal and not read from it.
NOT_READ: Mapping[str, Any] = {"not_read": True}
# Left out while it has its default.
SPARSE: Mapping[str, Any] = {"sparse": True}


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


NO_LIMITS = Limits(0, 0, 0)  # of what others did, and did not tell


@slotted
@dataclass(frozen=True)
class Usage:
    """What a job used, over its whole process tree: seconds and MB."""

    wall_s: float = 0.0
    cpu_s: Optional[float] = 0.0  # noqa: UP045 - None where nobody measured it
    peak_mb: float = 0.0
    avg_mb: float = 0.0  # weighted by time
    # Of the wall time, what went by until a prover had loaded its theory and computed the sources;
    # None where it did not say so.
    load_s: Optional[float] = field(default=None, metadata=SPARSE)  # noqa: UP045


@dataclass
class Prover:
    """One Tamarin executable under an alias."""

    alias: str
    command: tuple[str, ...]  # argv up to the theory
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    flavour: str = Flavour.TAMARIN_PROVER  # the name that its --version gives
    version: str = ""  # "1.11.0"; "" when the prover did not say
    identity: str = ""  # digest of the files on its command line and of what --version says

    def all_options(self, own: Sequence[str]) -> tuple[str, ...]:
        """The options of a call: those of every call, then the task's own."""
        return (*self.options, *own)


class Job(NamedTuple):
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


class Outputs(NamedTuple):
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

    # `Optional`, here and below: the codec evaluates these types at run time, on Python 3.9 too.
    code: Optional[int] = field(default=None, metadata=SPARSE)  # noqa: UP045
    signal: str = field(default="", metadata=SPARSE)  # "SIGKILL"

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal else f"code {self.code}"


class Outcome(NamedTuple):
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

    name: SharedText
    side: SharedText  # "", "LHS" or "RHS"
    trait: SharedText
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
    refused: bool = field(default=False, metadata=SPARSE)  # a parse error: the text is to blame
    # How many tasks its process served: usage and the prover's own time are theirs together.
    shared_by: int = field(default=1, metadata=SPARSE)
    # Of one that another task has settled: the id of that task.
    settled_by: SharedText = field(default="", metadata=SPARSE)
    # Of an interrupted one: the process that it shared ended badly, so that it shares no other.
    runs_alone: bool = field(default=False, metadata=SPARSE)
    stderr_tail: str = ""
    at: str = ""  # when it was journalled

    @property
    def tells_time(self) -> bool:
        """Whether its usage tells what the task will take again: it was measured alone, to the end.

        What met a limit takes at least as long.
        """
        has_ended = self.status is Status.COMPLETED or self.status in MET_A_LIMIT
        return has_ended and self.shared_by == 1

    def share_of(self, amount: float) -> float:
        """Its part of what a process used: over all that shared it the parts sum up to that."""
        return amount / max(1, self.shared_by)  # a journal can come from anywhere


@slotted
@dataclass(frozen=True)
class Plan:
    """What was decided about a task before the run: one lemma x prover, completely resolved.

    Where its entry has variants: one lemma x prover x variant.
    """

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
    priority: int = field(default=0, metadata=SPARSE)  # the highest starts first
    # What the recipe says for further attempts, in their order, where a limit is met.
    on_limit: tuple[Limits, ...] = field(default=(), metadata=SPARSE)
    # The recipe's limits, where one of them was met and raised for another attempt.
    raised_from: Optional[Limits] = field(default=None, metadata=SPARSE)  # noqa: UP045
    # Why its theory can't be read: nothing else is known of its lemmas, and no prover is started.
    unreadable: SharedText = field(default="", metadata=SPARSE)
    variant: SharedText = field(default="", metadata=SPARSE)  # "" of an entry without variants
    # Of a matrix what the variant is made of: "DIMENSION=VALUE", in the order of the dimensions.
    dimensions: tuple[str, ...] = field(default=(), metadata=SPARSE)
    # Actions in the lemma's formula that nothing in the theory makes, with near misses, and whether
    # it is true of every trace because of that.
    unknown_actions: tuple[str, ...] = field(default=(), metadata=SPARSE)
    holds_anyway: bool = field(default=False, metadata=SPARSE)
    # Of a recheck: digest of the file with the proof that is checked.
    checks_proof: str = field(default="", metadata=SPARSE)
    # Of THEORY it may share a process with other lemmas of its entry.
    granularity: Granularity = field(default=Granularity.LEMMA, metadata=SPARSE)
    # What it has in common with the tasks that compete with it: the first answer settles them all.
    race: SharedText = field(default="", metadata=SPARSE)

    @property
    def view(self) -> TheoryView:
        """What tasks that read the same files have in common."""
        return TheoryView(self.prover, self.theory, self.options, self.flags, self.cwd)

    @property
    def raised_limit(self) -> str:
        """`limit raised to 20 s`: what is more than the recipe says; "" where nothing is."""
        if not self.raised_from:
            return ""
        raised: list[str] = []
        if self.limits.timeout_s > self.raised_from.timeout_s:
            raised.append(f"{self.limits.timeout_s:g} s")
        if self.limits.memory_mb > self.raised_from.memory_mb:
            raised.append(f"{self.limits.memory_mb / 1024:.3g} GB")
        return f"limit raised to {' and '.join(raised)}"


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
    """A job began: the `start` event. pid, start time, host and boot id name one process."""

    ids: tuple[str, ...]  # of the tasks that the job serves
    job: str
    attempt: int
    pid: int = 0
    started: int = 0  # what `process_start` tells
    host: SharedText = ""
    boot_id: SharedText = ""
    # For people who read the journal: of 100,000 tasks they take much room.
    command: tuple[str, ...] = field(default=(), metadata=NOT_READ)
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
class Rechecked:
    """What a recheck says of the result of a task. It stands in the recheck's journal only."""

    id: str
    by: str  # who, and how: `trusted`, `trusted (its own proof)`
    confirms: bool  # else it followed the proof, and it is none


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
    many_tasks: bool = field(default=False, metadata=SPARSE)  # more than MOST_TASKS are meant
    granularity: Optional[Granularity] = None  # noqa: UP045
    retry: int = 0  # how often a limit that was met may be doubled


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
    # All that the theories of the plan read: SHA-256 by path, as `path_from` the working directory.
    inputs: dict[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = field(default=(), metadata=SPARSE)  # tasks no longer planned
    # The ids of all tasks in the order of the plan, where the journal has had them in another one.
    order: tuple[str, ...] = field(default=(), metadata=SPARSE)
    again: tuple[str, ...] = field(default=(), metadata=SPARSE)  # they run whatever they came to
    recheck_of: str = field(default="", metadata=SPARSE)  # the results whose proofs are checked

    @functools.cached_property
    def ids_again(self) -> frozenset[str]:
        """`again`, to look ids up in: it may name all tasks."""
        return frozenset(self.again)


# What comes of the check of a stored proof, where the prover got to its end.
CONFIRMED = "confirmed"
REJECTED = "rejected"  # the prover followed the proof, and it is none
NOT_REPLAYED = "not replayed"  # the prover can't follow it: that says nothing against the proof
UNCONFIRMED = (REJECTED, NOT_REPLAYED)
CANT_REPLAY = "this prover can't replay a step of the stored proof, which may be right all the same"


def outcome_words(result: Result) -> str:
    """The verdict if there is one, else the status, in words."""
    return _in_words(result.verdict or result.status)


@functools.cache
def _in_words(word: str) -> str:
    return str(word).replace("_", " ")


class Standing(enum.Enum):
    """What a result is to a plan, today."""

    HOLDS = "holds"  # it is its result: the prover would say it again
    SHOWN = "shown"  # the last word on it, until another attempt is wanted, which may go better
    KEPT = "kept"  # of something else: it holds again when that is planned again
    LOST = "lost"  # of something else, and worth nothing any more


class Record(NamedTuple):
    """A result, and what it is a result of.

    What it is to a plan depends on how the task ended:

                                      same key   same key, larger limits   another key
                                                     or another host
        with a verdict, not needed,
            its text refused           holds              holds                kept
        a limit met                    holds              kept                 kept
        settled by another task        holds              holds                lost
        anything else                  shown              shown                lost

    What another task has settled holds in the same race only, and as long as that task's answer
    does: the Batch sees to that. To settle it again costs nothing.
    """

    result: Result
    plan: Plan  # as it was then: its text, options and limits are those of the result
    attempt: int = 0
    host: str = ""  # where it came

    def standing(self, plan: Plan, host: str) -> Standing:
        """What it is to a plan, on a host: the table above."""
        has_same_key = self.plan.key == plan.key
        if self.result.settled_by:
            is_settled = has_same_key and self.plan.race == plan.race
            return Standing.HOLDS if is_settled else Standing.LOST
        if self.may_pass:
            return Standing.SHOWN if has_same_key else Standing.LOST
        if not has_same_key:
            return Standing.KEPT
        if self.result.status in MET_A_LIMIT:
            is_as_strict = self.host == host and plan.limits.no_larger_than(self.plan.limits)
            return Standing.HOLDS if is_as_strict else Standing.KEPT
        return Standing.HOLDS

    def holds(self, plan: Plan, host: str) -> bool:
        """Whether it is the result of a plan, on a host, which then needs no other attempt."""
        return self.standing(plan, host) is Standing.HOLDS

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may go better: crashes, signals, what was missing."""
        if self.result.refused:
            return False
        return self.result.status not in (Status.COMPLETED, *WANTS_NO_VERDICT, *MET_A_LIMIT)


@slotted
@dataclass
class Task:
    """A plan and what has become of it; the unit of results. Only `Batch.apply` changes it."""

    plan: Plan
    status: Status = Status.PENDING
    attempts: int = 0
    # Its last start: while it runs; afterwards only where the job served several tasks.
    started: Started | None = None
    record: Record | None = None  # its result
    # Results that a newer plan or attempt has replaced, the last one last. They come back when
    # they hold again.
    earlier: tuple[Record, ...] = ()
    # The ids of the tasks that its answer has settled, and perhaps of some that run again since.
    settles: tuple[str, ...] = ()
    # The attempt that began, or whose result was taken away, last: while there is no result, what
    # stands in the place of its files is of this one.
    left_by: int = 0
    alone_for: str = ""  # the key of the plan for which a process that it shared ended badly
    # Who confirmed its result in a recheck, and by whom its proof is none, as far as was asked.
    confirmed_by: tuple[str, ...] = ()
    rejected_by: tuple[str, ...] = ()

    @classmethod
    def with_result(cls, plan: Plan, result: Result) -> Task:
        """A task that has ended, outside of any batch."""
        return cls(plan, result.status, record=Record(result, plan))

    @property
    def id(self) -> str:
        """Its plan's."""
        return self.plan.id

    @property
    def result(self) -> Result | None:
        """How its last attempt ended; None while one runs, or before the first."""
        return self.record.result if self.record else None

    def newest_holding(self, plan: Plan, host: str) -> Record | None:
        """The newest of its results that holds for a plan, on a host."""
        for record in (self.record, *reversed(self.earlier)):
            if record and record.holds(plan, host):
                return record
        return None

    @property
    def runs_alone(self) -> bool:
        """Whether it shares no process any more, as the one that it shared ended badly."""
        return self.alone_for == self.plan.key

    @property
    def outdated(self) -> Record | None:
        """While it has no result: the newest one that it had, of something else."""
        return self.earlier[-1] if self.earlier and not self.record else None

    @property
    def verdict(self) -> Verdict | None:
        """What the prover printed in its last attempt; None while that runs, or without one."""
        return self.result.verdict if self.result else None

    @property
    def is_final(self) -> bool:
        """Whether it is done: it runs again if what it rests on changes, or its limits grow."""
        return self.status in FINAL

    @property
    def is_answered(self) -> bool:
        """Whether it is `verified` or `falsified`."""
        return self.verdict in ANSWERS

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is asked of it: it has an answer, or none is wanted any more."""
        return self.is_answered or self.status in WANTS_NO_VERDICT

    @property
    def wants_verdict(self) -> bool:
        """Whether it has no verdict and should have one."""
        return self.verdict is None and self.status not in WANTS_NO_VERDICT

    @property
    def misses_expectation(self) -> bool:
        """Whether it is not as expected, or should have an answer by now and has none.

        A check that comes to no end says nothing against the proof.
        """
        if self.plan.checks_proof:
            return self.outcome == REJECTED
        # What has settled it is held to the same.
        if self.status in SETTLED_BY_ANOTHER:
            return False
        return bool(self.plan.expect) and self.is_final and self.verdict != self.plan.expect

    @property
    def outcome(self) -> str:
        """The verdict if there is one, else the status, in words; of a check what it shows."""
        result = self.result
        if result is None:
            return outcome_words(Result(self.status))
        if not self.plan.checks_proof or result.verdict is None:
            return outcome_words(result)
        if result.verdict == self.plan.expect:
            return CONFIRMED
        return NOT_REPLAYED if result.reason == CANT_REPLAY else REJECTED


class FileState(NamedTuple):
    """What a file was when the batch was planned.

    It has changed when its bytes have, or who may execute it.
    """

    stamp: tuple[int, ...]  # while this stays the same, so do the bytes
    digest: str  # "" if it could not be read
    executable: str = ""  # the mode's bits; "" where they don't matter


def json_digest(value: Any) -> str:
    """128 bits of the SHA-256 of a value's JSON text, in hexadecimal."""
    # Half of them: every task in a journal has two or three such digests.
    return sha256(json.dumps(value).encode())[:32]


class LemmaParts(NamedTuple):
    """Digests of what of a theory's text the result of one lemma depends on."""

    around: str  # all that is no lemma, and where in it the lemma stands
    own: str  # the lemma's own text
    assumed: str  # the lemmas that it takes for granted, and where they stand to it


@dataclass
class Dependencies:
    """All that can change the results of the tasks that read the same files.

    A named set of digests, as it was when the batch was planned. From it follow the keys under
    which results are kept, and what is new where none is. Cores, memory and time are not in it:
    they decide whether there is a verdict, never which.
    """

    theory: str  # its name
    files: dict[str, FileState]  # all that a prover reads, by absolute path
    parts: dict[str, str]  # what matters to every lemma beside the theory, by words for people
    text: str = ""  # the whole theory
    why_whole: str = ""  # why all of it matters to every lemma
    sources: tuple[str, ...] = ()  # of the files: the theory, what it includes, the oracles
    lemmas: Mapping[str, LemmaParts] = field(default_factory=dict)  # where not all of it does

    @functools.cached_property
    def key(self) -> str:
        """Of the whole theory, as this prover with these options would load it."""
        return json_digest([self.parts, self.text])

    def task_key(self, lemma: str, prove: bool) -> str:
        """`Plan.key` of a lemma that is proven, or whose stored proof is checked."""
        return json_digest([self.key, prove, lemma])

    def lemma_key(self, lemma: str, prove: bool) -> str:
        """`Plan.lemma_key`; "" where the whole theory counts."""
        if lemma not in self.lemmas:
            return ""
        return json_digest([self.parts_of(lemma), prove, lemma])

    def parts_of(self, lemma: str) -> dict[str, str]:
        """All that the result of a lemma depends on, by words for people."""
        if lemma not in self.lemmas:
            return {**self.parts, f"theory ({self.why_whole}: all of it counts)": self.text}
        theory = self.lemmas[lemma]
        return {
            **self.parts,
            "theory outside of lemmas": theory.around,
            "lemma": theory.own,
            "assumed lemmas": theory.assumed,
        }


@dataclass
class Batch:
    """Everything about one batch: the single source of truth.

    `apply` is the one way to change it, so that live runs, resuming and reports can't disagree.
    """

    header: Header = field(default_factory=Header)
    tasks: dict[str, Task] = field(default_factory=dict)  # in plan order
    # What was planned once and isn't any more. Its results come back with its plan.
    withdrawn: dict[str, Task] = field(default_factory=dict)
    ended: Ended | None = None  # unless something started after it
    # What planning found of the files; known to the driver only.
    dependencies: dict[TheoryView, Dependencies] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def id(self) -> str:
        """Its header's; unique, as processes and survivors are found by it."""
        return self.header.id

    @property
    def provers(self) -> dict[str, Prover]:
        """The provers by alias."""
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
        elif isinstance(event, Rechecked):
            self._note_recheck(self.tasks[event.id], event)
        else:
            self.ended = event

    def _note_recheck(self, task: Task, event: Rechecked) -> None:
        """Each word counts once, however often it is read."""
        if event.confirms:
            if event.by not in task.confirmed_by:
                task.confirmed_by = (*task.confirmed_by, event.by)
        elif event.by not in task.rejected_by:
            task.rejected_by = (*task.rejected_by, event.by)

    def _begin(self, header: Header) -> None:
        """A batch begins, or goes on with a plan in which some tasks are no longer there."""
        # Going on repeats the header, and after it only the plans that changed.
        self.header = header
        self.ended = None
        for task in self.tasks.values():
            if task.status is Status.RUNNING:
                task.status = Status.PENDING  # its driver has died
        for task_id in header.vanished:
            vanished = self.tasks.pop(task_id, None)
            if vanished:
                self.withdrawn[task_id] = vanished
                self._reopen_settled(vanished)
        for task in self.tasks.values():
            self._settle(task)
        self._put_in_order()

    def _put_in_order(self) -> None:
        """Let tasks that came later stand where the plan has them, once all are here."""
        order = self.header.order
        if len(order) != len(self.tasks):
            return
        if all(task_id in self.tasks for task_id in order):
            # In place: who watches the tasks goes on watching these.
            for task_id in order:
                self.tasks[task_id] = self.tasks.pop(task_id)

    def _plan(self, plan: Plan) -> None:
        """A plan, or a changed one: an older result under this id counts only if it still holds."""
        # A journal can come from anywhere, and ids name files that we write and remove.
        if os.path.basename(plan.id) != plan.id or plan.id in ("", ".", "..") or "\0" in plan.id:
            raise ValueError(f"'{plan.id}' can't name files")
        os.fsencode(plan.id)  # half a character can't either
        # Attempts are counted on even if nothing else holds: their numbers name files.
        task = self.tasks.get(plan.id) or self.withdrawn.pop(plan.id, None)
        if task is None:
            self.tasks[plan.id] = Task(plan)
            self._put_in_order()
            return
        came_back = plan.id not in self.tasks
        self.tasks[plan.id] = task
        task.plan = plan
        self._settle(task)
        if came_back:
            self._put_in_order()

    def _settle(self, task: Task) -> None:
        """Give a task the newest of its results that holds; without one it may keep what is shown.

        A task that is to run again has none.
        """
        host = self.header.host
        if task.id in self.header.ids_again:
            self._retire(task)
            return
        holding = task.newest_holding(task.plan, host)
        if holding is None:
            if task.record and task.record.standing(task.plan, host) is not Standing.SHOWN:
                self._retire(task)
        elif holding is not task.record:
            self._retire(task)
            task.earlier = tuple(record for record in task.earlier if record is not holding)
            task.record = holding
            task.status = holding.result.status

    def _retire(self, task: Task) -> None:
        """Take a task's result away, and what rests on it; what may hold again is kept."""
        record = task.record
        task.record = None
        task.confirmed_by = task.rejected_by = ()
        task.status = Status.PENDING
        self._reopen_settled(task)
        if record is None:
            return
        task.left_by = record.attempt
        if not record.may_pass and not record.result.settled_by:
            task.earlier = (*task.earlier, record)

    def _reopen_settled(self, source: Task) -> None:
        """What was settled by the answer of a task is open again, or has its own result back."""
        settled = source.settles
        source.settles = ()
        for task_id in settled:
            task = self.tasks.get(task_id) or self.withdrawn.get(task_id)
            # It may have come to a result of its own since.
            if task and task.result and task.result.settled_by == source.id:
                self._retire(task)
                self._settle(task)

    def _start(self, started: Started) -> None:
        # All are looked at before one is changed: a refused event leaves no trace.
        tasks = [self.tasks[task_id] for task_id in started.ids]
        for task in tasks:
            if started.attempt <= task.attempts:
                raise ValueError(f"attempt {started.attempt} of task '{task.id}' has begun before")
        for task in tasks:
            self._retire(task)
            task.status = Status.RUNNING
            task.attempts = task.left_by = started.attempt
            task.started = started
        self.ended = None  # a batch that ended goes on

    def _finish(self, finished: Finished) -> None:
        task = self.tasks[finished.id]
        result = finished.result
        if result.status in (Status.PENDING, Status.RUNNING):
            raise ValueError(f"task '{task.id}' can't finish as {result.status}")
        if result.status is Status.SUPERSEDED and not result.settled_by:
            result = replace(result, status=Status.NOT_NEEDED)  # as older versions called it
        source = self._settling(task, result)
        self._retire(task)
        if source:
            source.settles = (*source.settles, task.id)
        task.status = result.status
        task.attempts = max(task.attempts, finished.attempt)
        task.record = Record(result, task.plan, finished.attempt, self.header.host)
        if result.runs_alone:
            task.alone_for = task.plan.key
        if task.started and len(task.started.ids) == 1:
            task.started = None  # 100,000 of them would take a sixth of the memory

    def _settling(self, task: Task, result: Result) -> Task | None:
        """The other task whose answer has settled this one, if one has.

        Raises KeyError where there is no such task, ValueError where it has no answer.
        """
        if result.status not in SETTLED_BY_ANOTHER:
            return None
        source = self.tasks[result.settled_by]
        if source is task or not source.is_answered:
            raise ValueError(f"task '{source.id}' has no answer that could settle '{task.id}'")
        return source

    def needs_run(self, task: Task) -> bool:
        """Whether a task has no result that holds."""
        return not (task.record and task.record.holds(task.plan, self.header.host))

    def events(self) -> Iterator[Event]:
        """The plan as events: what a fresh journal begins with."""
        yield self.header
        for task in self.tasks.values():
            yield task.plan

    def count(self, *statuses: Status) -> int:
        """How many tasks have one of these statuses."""
        return sum(task.status in statuses for task in self.tasks.values())


def what_changed(old: Plan, new: Plan) -> str:
    """What a result of an old plan is of, seen from a new plan for which it does not hold."""
    if old.key == new.key:
        return "an earlier run" if new.limits.no_larger_than(old.limits) else "smaller limits"
    if old.theory_digest != new.theory_digest:
        return "an older text"
    if (old.options, old.flags, old.prove) != (new.options, new.flags, new.prove):
        return "other options"
    # Its files, an oracle, Maude, or what the environment says.
    return "an older prover"


# --- The codec: the model as JSON and back, by the types of its fields ----------------------------


def refuse_constant(word: str) -> NoReturn:
    """Python's `json` reads NaN and Infinity, which are no JSON."""
    raise ValueError(f"{word} is no JSON number")


STRICT_JSON = json.JSONDecoder(parse_constant=refuse_constant)


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
    missing = dataclasses.MISSING
    for attribute, name, inline, _, _, default, plain, read in _read_fields(cast(Hashable, cls)):
        if inline:
            values[attribute] = read(data)
            continue
        value = data.get(name, missing)
        if type(value) is plain:  # most are: not worth a call
            values[attribute] = value
        elif value is not missing:
            try:
                values[attribute] = read(value)
            except (TypeError, ValueError):
                raise TypeError(f"'{name}' is {value!r:.40}") from None
        elif default is missing:
            raise KeyError(name)
    return cls(**values)


@functools.cache
def _read_fields(cls: Hashable) -> tuple[_JsonField, ...]:
    """The fields that are read from JSON."""
    return tuple(each for each in _json_fields(cls) if not each.not_read)


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
    not_read: bool
    default: Any  # MISSING: it must be there
    plain: type[Any] | None  # a value of this very type is taken as it is
    read: Callable[[Any], Any]  # what makes its value of what JSON has


@functools.cache
def _json_fields(cls: Hashable) -> tuple[_JsonField, ...]:
    """The fields of a dataclass; none of any other type."""
    if not dataclasses.is_dataclass(cls) or not isinstance(cls, type):
        return ()
    import typing

    kinds = typing.get_type_hints(cls, globals(), include_extras=True)
    fields: list[_JsonField] = []
    for each in dataclasses.fields(cls):
        fields.append(
            # A made default is for the class to make; any value says that there is one.
            _JsonField(
                attribute=each.name,
                name=each.metadata.get("name", each.name),
                inline="inline" in each.metadata,
                sparse="sparse" in each.metadata,
                not_read="not_read" in each.metadata,
                default=each.default if each.default_factory is dataclasses.MISSING else None,
                plain=kinds[each.name] if kinds[each.name] in (str, bool) else None,
                read=_reader(kinds[each.name]),
            )
        )
    return tuple(fields)


def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads a value of this kind from JSON; it raises TypeError or ValueError for others."""
    import typing

    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin is Annotated:  # SharedText
        return sys.intern  # it raises TypeError for what is no text
    if origin is Union:  # Optional
        some = _reader(parts[0])
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        item = _reader(parts[0])
        return lambda values: _shared_tuple(item, values)
    if origin is dict:
        member = _reader(parts[1])
        return lambda values: {
            name: member(value) for name, value in _checked(dict, values).items()
        }
    if kind is float:
        return _number
    if kind is int:
        return _integer
    if kind in (str, bool):
        return functools.partial(_checked, kind)
    if kind in (Limits, ExitStatus):
        return _reader_of_few(kind)
    if dataclasses.is_dataclass(kind):
        return lambda data: decode(cast(Any, kind), data)
    # A Word; to look it up takes a fifth of the time that the class takes to find it.
    words = {str(word): word for word in kind}
    return lambda text: words[text] if text in words else kind(text)


def _reader_of_few(kind: type[Any]) -> Callable[[Any], Any]:
    """What reads a dataclass of which 100,000 tasks have few distinct ones: each is made once."""

    # To JSON `true` is not 1.
    @functools.lru_cache(maxsize=4096, typed=True)
    def read(names: tuple[str, ...], *values: Any) -> Any:
        return decode(kind, dict(zip(names, values)))

    return lambda data: read(tuple(_checked(dict, data)), *data.values())


def _shared_tuple(item: Callable[[Any], Any], values: Any) -> tuple[Any, ...]:
    # Most are empty.
    if values == []:
        return ()
    read = tuple(map(item, _checked(list, values)))
    # Texts are what many have in common; lines of summaries hardly ever are the same.
    return share(read) if type(read[0]) is str else read


def _checked(kind: type[T], value: Any) -> T:
    # Not `isinstance`: to Python `True` is an integer, to JSON it is not.
    if type(value) is not kind:
        raise TypeError
    return value


def _integer(value: Any) -> int:
    """An integer of 64 bits at most: 400 digits are no float, where one is wanted later."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise TypeError


_LARGEST = sys.float_info.max


def _number(value: Any) -> float:
    """A finite number: NaN and infinity are no JSON, though Python reads and writes them."""
    # Not `math.isfinite`: it raises OverflowError for an integer of 400 digits.
    if type(value) in (int, float) and -_LARGEST <= value <= _LARGEST:
        return cast(float, value)
    raise TypeError


# One object for equal ones: 100,000 tasks have few distinct limits, options and warnings.
share: Callable[[T], T] = cast(Any, functools.lru_cache(maxsize=4096)(lambda value: value))

# One line of the journal (DESIGN section 8), by the word for it.
Event = Union[Header, Plan, Started, Finished, Rechecked, Ended]
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
    # An event that knows its own time keeps it: `encode` comes last.
    return {"event": EVENT_WORDS[type(event)], "at": timestamp(), **encode(event)}


def decode_event(data: Mapping[str, Any]) -> Event | None:
    """The event of a line of the journal; None for a kind of event that a newer version writes.

    Raises TypeError, ValueError or KeyError, as `decode`.
    """
    kind = EVENTS.get(data["event"])
    return None if kind is None else cast(Event, decode(kind, data))


# === Theory =======================================================================================

# The rules were read in the sources of tamarin-prover 1.11 (lib/theory/src/Theory/Text/Parser*,
# Prover.hs, ClosedTheory.hs, Accountability/Generation.hs, Main/TheoryLoader.hs) and compared with
# what the prover lists.

MAX_THEORY_BYTES = 64 * MB  # of one file; four times this for a theory with all that it includes
AUTO_SOURCES_LEMMA = "AUTO_typing"
EQUIVALENCE_LEMMA = "Observational_equivalence"
# How a branch of a stored proof may end; `contradiction` needs no word of its own here.
PROOF_ENDS = (
    "ATTACK",
    "INVALIDATED",
    "MIRRORED",
    "SOLVED",
    "UNFINISHABLE",
    "UNFINISHABLEdiff",
    "sorry",
)
# How the text of a lemma begins; that of its stored proof doesn't.
STATEMENTS = ("lemma", "diffLemma")


class StoredProof(NamedTuple):
    """A proof that stands behind its lemma, by what tells how it ended."""

    ends: frozenset[str]  # which of PROOF_ENDS it has

    @property
    def found_trace(self) -> bool:
        """Whether it ends in a trace; that counts beside open cases too."""
        return not self.ends.isdisjoint(("SOLVED", "ATTACK"))

    @property
    def is_complete(self) -> bool:
        """Whether every branch ends in a contradiction or a mirror."""
        return self.ends <= {"MIRRORED"}


@slotted
@dataclass(frozen=True)
class Lemma:
    """One line of Tamarin's summary: what `--prove=NAME` can ask for, on one side in diff mode."""

    name: str
    trait: Trait
    side: str  # "LHS" or "RHS" in diff mode, else ""
    attributes: tuple[str, ...]  # as written, white space normalised
    file: str  # where it stands: the theory, or a file it includes
    line: int = 0  # from 1; 0 for what Tamarin adds by itself
    parent: str = ""  # the accountability lemma this is a part of, else ""
    proof: StoredProof | None = None  # None also for `by sorry` alone
    # Names of the lemmas that a proof of this one takes for granted, in theory order.
    assumes: tuple[str, ...] = ()
    optional: bool = False  # --auto-sources adds it only where partial deconstructions are left

    @property
    def claim(self) -> Verdict | None:
        """The verdict that the stored proof would get if a prover checked it; None without one."""
        if not self.proof:
            return None
        wants_trace = self.trait == Trait.EXISTS_TRACE
        if self.proof.found_trace:
            return Verdict.VERIFIED if wants_trace else Verdict.FALSIFIED
        if self.proof.is_complete:
            return Verdict.FALSIFIED if wants_trace else Verdict.VERIFIED
        return Verdict.INCOMPLETE

    @property
    def is_sources(self) -> bool:
        """Whether it describes sources; `typing` is the older word."""
        return "sources" in self.attributes or "typing" in self.attributes


class OracleRanking(NamedTuple):
    """An oracle that a theory asks for: the letter `o` or `O` of a heuristic."""

    folder: str | None  # of the file that says so; None: the prover's own directory
    name: str  # "": the default


class UnknownActions(NamedTuple):
    """Actions in the formula of a lemma that nothing in the theory makes."""

    told: tuple[str, ...]  # each with near misses: `Comit/2 (did you mean Commit/2?)`
    holds_anyway: bool  # the lemma is true of every trace, because its premise never holds


NO_UNKNOWN_ACTIONS = UnknownActions((), holds_anyway=False)


class Segment(NamedTuple):
    """The token text of one item, or of the stored proof of a lemma."""

    lemma: str  # whose statement or proof it is; "" for all else
    text: str
    kind: str  # the word that begins the item, or `proof`; "" for what is no item that counts


class SplitDigests(NamedTuple):
    """SHA-256 of the parts of a theory's token text."""

    rest: str  # of all that is no lemma
    lemmas: dict[str, list[PlacedDigest]]  # of the statement and the proof of each lemma


class PlacedDigest(NamedTuple):
    """SHA-256 of a segment, and where that stands."""

    place: int  # among all segments
    rest_before: int  # how many segments that belong to no lemma stand before it
    digest: str


@dataclass
class Theory:
    """A theory as Tamarin would load it with given flags."""

    path: str
    name: str
    diff: bool
    auto_sources: bool  # by the option, or by the theory's configuration block
    lemmas: tuple[Lemma, ...]  # in the order of Tamarin's summary
    files: dict[str, FileState]  # the theory itself, then all that it includes, as they were read
    configuration: tuple[str, ...]  # arguments of the `configuration: "..."` block
    oracle_rankings: tuple[OracleRanking, ...]
    asked_flags: frozenset[str]  # all others make no difference to what is read
    # Why a lemma can't be judged by its text and what it assumes alone; "": it can.
    cannot_split: str
    tokens: TokenText = field(repr=False, compare=False)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The token text, item by item: comments and white space outside strings don't count."""
        return self.tokens.segments

    @functools.cached_property
    def items(self) -> TheoryItems:
        """What the items say, beyond the names of the lemmas."""
        return TheoryItems(self.segments)

    @functools.cached_property
    def unknown_actions(self) -> Mapping[str, UnknownActions]:
        """By the name of a lemma the actions in its formula that nothing here makes, if any."""
        as_written = find_unknown_actions(self.items)
        found: dict[str, UnknownActions] = {}
        for lemma in self.lemmas:
            unknown = as_written.get(lemma.parent or lemma.name)
            if unknown:
                found[lemma.name] = unknown
        return found

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the token text."""
        return sha256("\n".join(segment.text for segment in self.segments).encode())

    @property
    def asks_for_flags(self) -> bool:
        """Whether other flags would make it another theory."""
        return bool(self.asked_flags)

    @property
    def splits_for_sure(self) -> bool:
        """Whether each lemma's text is a plain statement or proof: nothing else can hide in it.

        Some provers read items that are glued to what stands before or behind them, as in
        `by sorryrestriction r: ...`.
        """
        return all(_is_plain(segment.text) for segment in self.segments if segment.lemma)

    def split_digests(self) -> SplitDigests:
        """Digests of what is no lemma, and of each lemma."""
        rest: list[str] = []
        lemmas: dict[str, list[PlacedDigest]] = {}
        for place, segment in enumerate(self.segments):
            digest = sha256(segment.text.encode())
            if segment.lemma:
                placed = PlacedDigest(place, len(rest), digest)
                lemmas.setdefault(segment.lemma, []).append(placed)
            else:
                rest.append(digest)
        return SplitDigests(sha256("".join(rest).encode()), lemmas)


_PLAIN_STATEMENT = re.compile(
    r'lemma ?(?:\(modulo E\) ?)?\w+ ?(?:\[(?:[\w ,=.]|"[^"]*"|\{[\w ]*\})*\] ?)?: ?'
    r'(?:(?:all-traces|exists-trace) ?)?"[^"]*"\s*'
)


def _is_plain(text: str) -> bool:
    """Whether the token text of a lemma, or of its stored proof, can hold no other item."""
    if text.startswith(STATEMENTS):
        return _PLAIN_STATEMENT.fullmatch(text) is not None
    # Every item has one of these; few proofs have.
    return '"' not in text and ":" not in text


NO_COPIES: Mapping[str, str] = {}


def load_theory(
    path: str,
    flags: Sequence[str] = (),
    diff: bool = False,
    auto_sources: bool = False,
    copies: Mapping[str, str] = NO_COPIES,
) -> Theory:
    """A theory as `tamarin-prover PATH -D=FLAG... [--diff] [--auto-sources]` would read it.

    `copies`: of files that are not to be read where they lie, by absolute path.

    Raises InputError, with file and line, for whatever Tamarin would refuse and can be seen without
    parsing terms. Time and memory are linear in the text.
    """
    reading = read_theory(path, flags, diff, copies)
    auto_sources = auto_sources or AUTO_SOURCES.is_given(reading.configuration)
    in_order = _diff_order if diff else _trace_order
    lemmas = in_order(reading.claims, path, auto_sources)
    _refuse_second_lemmas(lemmas)
    return Theory(
        path=path,
        name=reading.name,
        diff=diff,
        auto_sources=auto_sources,
        lemmas=tuple(_with_assumptions(lemmas, diff)),
        files=reading.files.states,
        configuration=reading.configuration,
        oracle_rankings=tuple(dict.fromkeys(reading.rankings)),
        asked_flags=frozenset(reading.asked_flags),
        cannot_split=_why_not_split(reading, lemmas, auto_sources),
        tokens=reading.tokens,
    )


def load_in_its_mode(
    path: str, flags: Sequence[str] = (), copies: Mapping[str, str] = NO_COPIES
) -> Theory:
    """A theory, read with --diff if it demands that; `copies`: as of `load_theory`.

    Raises InputError.
    """
    try:
        return load_theory(path, flags, copies=copies)
    except InputError as error:
        if _NEEDS_DIFF not in error.message:
            raise
    return load_theory(path, flags, diff=True, copies=copies)


# The formula of an #ifdef, and what in it is no flag.
_IFDEF = re.compile(r"#ifdef\s((?:[\s(¬]|not\b)*\w+(?:[\s)]*[&|∧∨](?:[\s(¬]|not\b)*\w+)*)")
_MOST_READINGS = 64


class Reading(NamedTuple):
    """A theory as it is read with some flags."""

    flags: tuple[str, ...]
    theory: Theory


def flags_asked(theory: Theory) -> list[str]:
    """The flags that the files of a theory ask for in any #ifdef."""
    flags: dict[str, None] = {}
    for path in theory.files:
        for formula in _IFDEF.findall(read_text(path)):
            flags.update(dict.fromkeys(re.findall(r"\w+", formula)))
    flags.pop("not", None)
    return list(flags)


def readings_of(path: str, flags: Sequence[str]) -> Iterator[Reading]:
    """A theory with these flags; then with one, two, ... more of those that it asks for.

    So every branch is read, up to a limit that 6 flags don't reach. Raises InputError where it
    can't be read with the flags given; what can't be read with more is passed over.
    """
    import itertools

    first = Reading(tuple(flags), load_in_its_mode(path, flags))
    yield first
    asked = flags_asked(first.theory)
    readings = 1
    size = 1
    while size <= len(asked):
        others = [flag for flag in asked if flag not in flags]
        for more in itertools.combinations(others, size):
            if readings == _MOST_READINGS:
                return
            readings += 1
            with suppress(InputError):
                reading = Reading((*flags, *more), load_in_its_mode(path, (*flags, *more)))
                # It may include files that ask for others.
                asked += [flag for flag in flags_asked(reading.theory) if flag not in asked]
                yield reading
        size += 1


def _why_not_split(reading: TheoryReading, lemmas: Sequence[Lemma], auto_sources: bool) -> str:
    """Why more than its own text and what it assumes can matter to a lemma; "" if nothing can."""
    if reading.diff:
        return "diff mode"
    if "process" in reading.words:
        return "a top-level process"
    if any(lemma.parent for lemma in lemmas):
        return "accountability"
    if not reading.words.isdisjoint(("equivLemma", "diffEquivLemma")):
        return "export lemmas"
    if auto_sources:
        return "--auto-sources"
    return ""


def _refuse_second_lemmas(lemmas: Iterable[Lemma]) -> None:
    """Raise InputError for a name that comes twice on one side, or twice as a diffLemma."""
    seen: set[tuple[str, bool, str]] = set()
    for lemma in lemmas:
        # A diffLemma may have the name of a lemma.
        key = (lemma.side, lemma.trait == Trait.DIFF, lemma.name)
        if key in seen:
            raise InputError(
                f"a second lemma '{lemma.name}': Tamarin refuses this, rename one",
                lemma.file,
                lemma.line,
            )
        seen.add(key)


# --- Which lemmas there are, in the order of the summary ------------------------------------------


def lemmas_by_name(theory: Theory) -> dict[str, list[Lemma]]:
    """Each lemma by name, in theory order; in diff mode both sides together."""
    groups: dict[str, list[Lemma]] = {}
    for lemma in theory.lemmas:
        groups.setdefault(lemma.name, []).append(lemma)
    return groups


def _trace_order(claims: Sequence[Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """File order; the parts of accountability lemmas behind all others."""
    lemmas = [claim.lemma for claim in claims if not claim.tests]
    for claim in claims:
        if claim.tests:
            lemmas += _accountability_parts(claim)
    if auto_sources and all(lemma.name != AUTO_SOURCES_LEMMA for lemma in lemmas):
        lemmas.append(_auto_sources_lemma(AUTO_SOURCES_LEMMA, "", path))
    return lemmas


def _accountability_parts(claim: Claim) -> Iterator[Lemma]:
    """The lemmas that Tamarin makes of an accountability lemma (Accountability/Generation.hs)."""

    def part(name: str, trait: Trait) -> Lemma:
        lemma = claim.lemma
        return replace(lemma, name=f"{lemma.name}_{name}", parent=lemma.name, trait=trait)

    for test in claim.tests:
        yield part(f"{test}_suff", Trait.EXISTS_TRACE)
    yield part("verif_empty", Trait.ALL_TRACES)
    for kind in ("verif_nonempty", "min", "uniq", "inj"):
        for test in claim.tests:
            yield part(f"{test}_{kind}", Trait.ALL_TRACES)
    for test in claim.tests:
        yield part(f"{test}_single", Trait.EXISTS_TRACE)


def _diff_order(claims: Sequence[Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """Every lemma on both sides, then the equivalences."""
    sided: list[Lemma] = []
    equivalences: list[Lemma] = []
    for lemma, _ in claims:  # --diff refuses case tests
        if lemma.trait == Trait.DIFF:
            equivalences.append(lemma)
        else:
            sided += [replace(lemma, side=side) for side in _sides(lemma)]
    if auto_sources:
        sided = _with_auto_sources(sided, path)
    if all(lemma.name != EQUIVALENCE_LEMMA for lemma in equivalences):
        equivalences.append(Lemma(EQUIVALENCE_LEMMA, Trait.DIFF, "", (), path))
    return sided + equivalences


def _sides(lemma: Lemma) -> tuple[str, ...]:
    """The sides of a lemma in diff mode, in the order of the summary."""
    if "left" in lemma.attributes:
        return ("LHS",)
    if "right" in lemma.attributes:
        return ("RHS",)
    return ("RHS", "LHS")


def _with_auto_sources(sided: Sequence[Lemma], path: str) -> list[Lemma]:
    """With --auto-sources each side gets its lemma, and stands together."""
    taken = {(lemma.name, lemma.side) for lemma in sided}
    lemmas = list(sided)
    for side in ("LHS", "RHS"):
        name = f"{AUTO_SOURCES_LEMMA}_{side}"
        if (name, side) not in taken:
            lemmas.append(_auto_sources_lemma(name, side, path))
    # A stable sort: each side keeps its order.
    return sorted(lemmas, key=lambda lemma: lemma.side)


def _auto_sources_lemma(name: str, side: str, path: str) -> Lemma:
    return Lemma(name, Trait.ALL_TRACES, side, ("sources",), path, optional=True)


# --- What a lemma takes for granted ---------------------------------------------------------------


def assumed_by(lemmas: Iterable[Lemma]) -> tuple[str, ...]:
    """What a lemma, of which these are the sides, takes for granted."""
    return share(tuple(dict.fromkeys(name for side in lemmas for name in side.assumes)))


def _with_assumptions(lemmas: Sequence[Lemma], diff: bool) -> Iterator[Lemma]:
    """The lemmas with the names that each takes for granted."""
    assumptions = _Assumptions(lemmas)
    for lemma in lemmas:
        # Diff mode ignores hide_lemma.
        hidden = frozenset() if diff else _hidden_by(lemma)
        yield replace(lemma, assumes=assumptions.of(lemma, hidden))
        assumptions.pass_by(lemma)


def _hidden_by(lemma: Lemma) -> frozenset[str]:
    """What the `hide_lemma=` attributes of a lemma name."""
    word = "hide_lemma="
    return frozenset(
        attribute[len(word) :] for attribute in lemma.attributes if attribute.startswith(word)
    )


class _Assumptions:
    """What can be taken for granted at a place in a theory, which moves from lemma to lemma."""

    def __init__(self, lemmas: Sequence[Lemma]) -> None:
        self._place: dict[str, int] = {}  # of the first lemma with this name
        for place, lemma in enumerate(lemmas):
            self._place.setdefault(lemma.name, place)
        usable = [lemma for lemma in lemmas if lemma.trait == Trait.ALL_TRACES]
        self._sources = [lemma.name for lemma in usable if lemma.is_sources]
        self._diff_reuse = [lemma.name for lemma in usable if "diff_reuse" in lemma.attributes]
        # The `reuse` lemmas that we have passed, by side.
        self._reusable: dict[str, list[Lemma]] = {"": [], "LHS": [], "RHS": []}
        # By what they depend on: neighbours share one tuple.
        self._known: dict[Hashable, tuple[str, ...]] = {}

    def pass_by(self, lemma: Lemma) -> None:
        """Go on behind this lemma: the next ones may reuse it."""
        if "reuse" in lemma.attributes and lemma.trait == Trait.ALL_TRACES:
            self._reusable[lemma.side].append(lemma)

    def of(self, lemma: Lemma, hidden: frozenset[str]) -> tuple[str, ...]:
        """The names that a lemma takes for granted here, in theory order."""
        of_diff = lemma.trait == Trait.DIFF
        passed = len(self._reusable[lemma.side])
        # All that the answer depends on: `reuse` lemmas are only ever added.
        key = (lemma.side, of_diff, passed, lemma.is_sources, hidden)
        if key not in self._known:
            names = self._for_diff() if of_diff else self._for_one_side(lemma, hidden)
            self._known[key] = tuple(sorted(names, key=self._place.__getitem__))
        return self._known[key]

    def _for_diff(self) -> set[str]:
        """Equivalences take no plain `reuse` lemma."""
        return {*self._sources, *self._diff_reuse}

    def _for_one_side(self, lemma: Lemma, hidden: frozenset[str]) -> set[str]:
        """`sources` lemmas can't be hidden; one of them takes for granted only earlier ones."""
        names: set[str] = set()
        if not lemma.is_sources:
            names.update(self._sources)
        if "ALL" in hidden:  # of the `reuse` lemmas
            return names
        for reusable in self._reusable[lemma.side]:
            if reusable.name in hidden:
                continue
            if reusable.is_sources or not lemma.is_sources:
                names.add(reusable.name)
        return names


# --- Options of a prover --------------------------------------------------------------------------


class ProverOption(NamedTuple):
    """An option of Tamarin that means something to this program."""

    name: str  # as we write it
    other_name: str = ""  # Tamarin takes this one as well
    takes_value: bool = True
    refusal: str = ""  # why a recipe can't give it, and what to do instead; "" where it can

    def with_value(self, value: object) -> str:
        """The word of a command line that sets it to this."""
        return f"{self.name}={value}"

    def is_meant_by(self, word: str) -> bool:
        """Whether Tamarin takes a word for this option, whatever value it gives."""
        return self._value_in(word) is not None

    def is_given(self, words: Iterable[str]) -> bool:
        """Whether it is among the words of a command line."""
        return any(map(self.is_meant_by, words))

    def values(self, words: Iterable[str]) -> list[str]:
        """What the words of a command line give it, in their order; "" where they give nothing."""
        values: list[str] = []
        for word in words:
            value = self._value_in(word)
            if value is not None:
                values.append(value)
        return values

    def _value_in(self, word: str) -> str | None:
        """The value that a word gives this option; None where it means none, or another one."""
        for name in filter(None, (self.name, self.other_name)):
            if name.startswith("--"):
                # Tamarin takes any beginning that only one of its options has. Which ones these
                # are differs by version: here a beginning means all that it can mean.
                given, _, value = word.partition("=")
                if len(given) > len("--x") and name.startswith(given):
                    return value
            elif word.startswith(name):
                # Behind one letter the value may follow at once: -DX and -D=X are the same.
                return word[len(name) :].removeprefix("=")
        return None


# The one place that knows options of Tamarin: src/Main/TheoryLoader.hs, src/Main/Environment.hs and
# src/Main/Mode/Batch.hs list them. All others, such as --bound, change nothing that this program
# reads or decides: results depend on them as they are written.

# What the theory says.
DEFINES = ProverOption("-D", "--defines")
DIFF = ProverOption("--diff", takes_value=False)
PARSE_ONLY = ProverOption(
    "--parse-only", takes_value=False, refusal="it proves nothing: use the 'check' command"
)
AUTO_SOURCES = ProverOption("--auto-sources", takes_value=False)
# Which oracle is called.
HEURISTIC = ProverOption("--heuristic")
ORACLE_NAME = ProverOption("--oraclename")
# Which files results depend on.
WITH_MAUDE = ProverOption("--with-maude")
# Whether a lemma's result hangs on all others: a warning for any of them ends the run.
QUIT_ON_WARNING = ProverOption("--quit-on-warning", takes_value=False)

# What this program decides itself; the recipe would contradict the plan.
_NAME_LEMMAS = "name the lemmas under 'lemmas'"
_PROOFS_ARE_WRITTEN = "proofs are always written to the results directory"
_TRACES_ARE_WRITTEN = "traces are always written to the results directory"
_USE_MAX_CORES = "use 'max_cores' in 'resources'"
PROVE = ProverOption("--prove", refusal=_NAME_LEMMAS)
OUTPUT = ProverOption("--output", "-o", refusal=_PROOFS_ARE_WRITTEN)
OUTPUT_JSON = ProverOption("--output-json", "--oj", refusal=_TRACES_ARE_WRITTEN)
OUTPUT_DOT = ProverOption("--output-dot", "--od", refusal=_TRACES_ARE_WRITTEN)
PROCESSORS = ProverOption("--processors", refusal=_USE_MAX_CORES)  # of tamarin-rs
RUNTIME_CORES = ProverOption("-N", refusal=_USE_MAX_CORES)  # of GHC, between +RTS and -RTS

PROVER_OPTIONS = (
    DEFINES,
    DIFF,
    AUTO_SOURCES,
    HEURISTIC,
    ORACLE_NAME,
    WITH_MAUDE,
    QUIT_ON_WARNING,
    PROVE,
    ProverOption("--lemma", refusal=_NAME_LEMMAS),
    OUTPUT,
    ProverOption("--Output", "-O", refusal=_PROOFS_ARE_WRITTEN),
    OUTPUT_JSON,
    OUTPUT_DOT,
    ProverOption("--output-module", "-m", refusal="a translation proves nothing"),
    PARSE_ONLY,
    ProverOption("--precompute-only", takes_value=False, refusal="it proves nothing"),
    PROCESSORS,
    RUNTIME_CORES,
)


class ReadingOptions(NamedTuple):
    """What of a command line changes how a theory is read: arguments of `load_theory`."""

    flags: tuple[str, ...]  # of the preprocessor
    diff: bool
    auto_sources: bool


def reading_options(options: Sequence[str], flags: Iterable[str]) -> ReadingOptions:
    """What of a command line changes how a theory is read; `flags` are given beside the options."""
    return ReadingOptions(
        flags=(*flags, *DEFINES.values(options)),
        diff=DIFF.is_given(options),
        auto_sources=AUTO_SOURCES.is_given(options),
    )


# --- Oracles --------------------------------------------------------------------------------------


def used_oracles(theory: Theory, options: Sequence[str], cwd: str) -> tuple[str, ...]:
    """Absolute paths of the oracles a prover started in `cwd` would call, whether there or not."""
    own_folder = os.path.dirname(theory.path)
    default = _default_oracle(theory.path, cwd)
    paths: list[str] = []
    for folder, name in _asked_rankings(theory, options):
        # Only the theory itself, and no file that it includes elsewhere, has a default of its own.
        if not name:
            name = default if folder in (None, own_folder) else "oracle"
        directory = cwd if folder is None else folder
        paths.append(os.path.abspath(os.path.join(directory, name)))
    return tuple(dict.fromkeys(paths))


def _asked_rankings(theory: Theory, options: Sequence[str]) -> tuple[OracleRanking, ...]:
    """A `--heuristic` among the options replaces all that the theory says.

    Its oracle is searched from the prover's directory.
    """
    heuristics = HEURISTIC.values(options)
    if not heuristics:  # without it Tamarin ignores --oraclename
        return theory.oracle_rankings
    # Of options given twice Tamarin takes the last.
    letters = re.sub(r"\{[^{}]*\}", "", heuristics[-1])  # {names} of tactics are no letters
    if "o" not in letters and "O" not in letters:
        return ()
    names = ORACLE_NAME.values(options) or [""]
    return (OracleRanking(None, names[-1]),)


def _default_oracle(theory_file: str, cwd: str) -> str:
    """The name of the oracle of a heuristic that names none.

    Tamarin cuts the argument at the first dot and keeps the last slash: dir/x.spthy has the default
    /x.oracle, which is never there.
    """
    argument = path_from(theory_file, cwd)
    own = argument[:1] + argument[1:].partition(".")[0] + ".oracle"
    if "/" not in argument and os.path.isfile(os.path.join(cwd, own)):
        return own
    return "oracle"


# --- Reading a theory -----------------------------------------------------------------------------


class Claim(NamedTuple):
    """A lemma as it is written, with the case tests that it names (accountability)."""

    lemma: Lemma
    tests: tuple[str, ...]


class Include(NamedTuple):
    """A file to be read, and which file asks for it in which line (0: a user does)."""

    path: str
    asked_by: str
    line: int


@dataclass
class TheoryReading:
    """What has been found so far in all files of a theory, and what one file leaves to the next."""

    flags: set[str]  # of the preprocessor: given, and defined so far
    diff: bool
    files: SourceFiles
    tokens: TokenText
    name: str = ""
    configuration: tuple[str, ...] = ()
    claims: list[Claim] = field(default_factory=list)
    rankings: list[OracleRanking] = field(default_factory=list)
    words: set[str] = field(default_factory=set)  # that began an item; `diff` for the operator
    tests: set[str] = field(default_factory=set)  # names of the case tests
    asked_flags: set[str] = field(default_factory=set)  # that some #ifdef has asked for
    counts_ifdefs: bool = False  # in disabled branches, as tamarin-rs does
    passed_ifdef: bool = False  # in a disabled branch, without counting

    def add_proof_end(self, word: str) -> None:
        """One of PROOF_ENDS stands here: it counts in the stored proof that we are in, if any."""
        if not self.tokens.lemma:
            return
        lemma, tests = self.claims[-1]
        # Large proofs have thousands of ends of few kinds.
        if lemma.proof and word not in lemma.proof.ends:
            proof = StoredProof(lemma.proof.ends | {word})
            self.claims[-1] = Claim(replace(lemma, proof=proof), tests)


def read_theory(
    path: str, flags: Iterable[str], diff: bool, copies: Mapping[str, str]
) -> TheoryReading:
    """All that the scanner finds in a theory and in the files that it includes.

    tamarin-rs counts the #ifdefs in a disabled branch, tamarin-prover 1.11 does not. What can't be
    read in its way is read in the other; whether this recipe's prover does so is for it to say.
    """
    reading = TheoryReading(set(flags), diff, SourceFiles(copies), TokenText())
    try:
        _read_files(path, reading)
    except InputError:
        if not reading.passed_ifdef:
            raise
        again = TheoryReading(
            set(flags), diff, SourceFiles(copies), TokenText(), counts_ifdefs=True
        )
        # With other flags the first way might succeed.
        again.asked_flags |= reading.asked_flags
        with suppress(InputError):
            _read_files(path, again)
            return again
        raise
    return reading


def _read_files(path: str, reading: TheoryReading) -> None:
    """Read a theory and the files that it includes. Raises InputError."""
    # No recursion: includes may be nested thousands deep.
    scans = [scan_file(Include(path, path, 0), reading)]
    while scans:
        include = next(scans[-1], None)
        if include:
            scans.append(scan_file(include, reading))
        else:
            scans.pop()


# --- The items of a file --------------------------------------------------------------------------

# A theory is a row of items. Tamarin finds their borders by parsing every term; here only the
# borders matter, and each shows by the word that begins an item. But of these words Tamarin
# reserves just `rule` and `let` (reservedNames in Token.hs): `end`, `lemma` or `test` may as well
# be a variable, a function, a process, a case of a proof. So this is what the scanner decides of
# each such word: does an item begin here, or is it a name?
#
# - An item taken for a name: nobody proves that lemma, or the theory seems to have no end.
# - A name taken for an item: an error that Tamarin doesn't make, or (`end`) all lemmas behind it
#   are lost.
#
# The two neighbours decide, and the tables say how. Tamarin tries items where the one before is
# complete, and nowhere else: what stands before the word must be something that can come last in
# an item (_LAST_CHARACTERS, _UNFINISHED_WORDS), outside of all brackets. What stands behind it must
# look like the head of that item (_ITEMS).
#
# It is one pass: a pattern finds the next place that can matter, be it a quote, a comment, a
# directive or such a word; all between two of them is code. What may hide such places (strings,
# formulas, comments) is passed at once, and so are names of items.
#
# Files named here are those of Theory/Text/Parser/ in tamarin-prover.

_NEEDS_DIFF = "needs observational equivalence: add --diff to the options"

# What stands behind the word, as a look ahead. A comment may hide anything: then we take it for
# the head of an item.
_NAME = r"(?=\s*(?:\w|\(\s*modulo|//|/\*))"
_COLON = r"(?=\s*(?:[:\[]|//|/\*))"
# `end` has no head: all that tells is what goes on with a name. That is its arguments, arity or
# sort, a comma or a dot in a list or behind variables, `=` in a definition; but `===` is a line
# that people draw.
_NO_TERM = r"(?![(:,.]|\s*(?:=(?!=)|/(?![/*])))"


class _Item(NamedTuple):
    """A word that begins items."""

    word: str
    behind: str  # the pattern of what stands behind it then
    in_diff: bool = True  # whether --diff allows such items: `diffTheory` in Parser.hs lists them


_ITEMS = (
    # Lemma.hs, Accountability.hs
    _Item("lemma", _NAME),
    _Item("diffLemma", _NAME),
    _Item("test", _NAME, in_diff=False),
    # Restriction.hs; `axiom` is the older word.
    _Item("restriction", _NAME),
    _Item("axiom", _NAME),
    # Rule.hs
    _Item("rule", _NAME),
    # Signature.hs, Macro.hs
    _Item("builtins", _COLON),
    _Item("functions", _COLON),
    _Item("function", _COLON),
    _Item("equations", _COLON),
    _Item("macros", _COLON),
    _Item("options", _COLON, in_diff=False),
    _Item("predicates", _COLON, in_diff=False),
    _Item("predicate", _COLON, in_diff=False),
    _Item("export", _NAME, in_diff=False),
    _Item("heuristic", _COLON),
    # Tactics.hs
    _Item("tactic", _COLON),
    # Sapic.hs
    _Item("process", _COLON, in_diff=False),
    _Item("let", _NAME, in_diff=False),
    _Item("equivLemma", _COLON, in_diff=False),
    _Item("diffEquivLemma", _COLON, in_diff=False),
    # Parser.hs
    _Item("end", _NO_TERM),
)
_ITEM_OF_WORD = {item.word: item for item in _ITEMS}

# What can come last in an item, beside letters and digits; all other characters want more.
_LAST_CHARACTERS = frozenset(
    '"'  # a formula, an export, an argument in a tactic
    "'"  # a constant
    "]"  # the conclusions of a rule, attributes of a function
    ")"  # arguments, a goal in a stored proof
    ">"  # a pair, as in the last equation
    "}"  # a formal comment, a {tactic} in a heuristic
    ","  # Token.hs: a list may end in a comma (sepEndBy)
    "⊥⊤"  # the formula of a predicate
    "_"  # a name
)
# Words that want more: what stands behind them is a name or a term, whatever it looks like.
_UNFINISHED_WORDS = frozenset(
    (
        # Sapic.hs: actions and other parts of processes
        "as",
        "delete",
        "else",
        "if",
        "in",
        "insert",
        "lock",
        "lookup",
        "new",
        "then",
        "unlock",
        # Let.hs: also in rules
        "let",
        # Formula.hs: predicates, and conditions of processes, have formulas without quotes.
        "All",
        "Ex",
        "not",
        # Proof.hs
        "case",
    )
)

# What counts inside of formulas and outside: comments, quotes, NUL (Tamarin refuses it, and who has
# one has no text), and the operator `diff`. Every alternative starts with a plain character: `re`
# then passes over all other characters without trying them. So what must not stand before a word
# is looked for behind it.
_EVERYWHERE = r"//|/\*|\"|'|\0|diff(?<!\wdiff)(?=\s*[(/])"


def _word_pattern(word: str, behind: str = "") -> str:
    """A pattern for this as a word by itself; it starts with a plain character."""
    return rf"{word}(?!\w)(?<!\w{word}){behind}"


@functools.cache
def _event_pattern() -> re.Pattern[str]:
    """What can matter outside of formulas.

    Compiled when it is needed: it takes as long as many other patterns of this file together, and
    not every command reads a theory.
    """
    patterns = [_EVERYWHERE, r"\{\*", "#ifdef|#define|#include|#else|#endif"]
    for item in _ITEMS:
        patterns.append(_word_pattern(item.word, item.behind))
    for word in PROOF_ENDS:
        patterns.append(_word_pattern(word))
    return re.compile("|".join(patterns))


_STRING_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_COMMENT_START = re.compile(r"//|/\*")


def scan_file(include: Include, reading: TheoryReading) -> Iterator[Include]:
    """Read a file, in one pass from one place that can matter to the next, into `reading`.

    Yields the files that are to be read in between.
    """
    text = reading.files.open(include)
    is_included = include.line > 0
    cursor = Cursor(include.path, text, is_included, reading.tokens)
    preprocessor = Preprocessor(cursor, reading)
    events = _event_pattern()
    try:
        _read_heading(cursor, reading)
        while True:
            event = events.search(cursor.text, cursor.pos)
            if not event:
                _refuse_missing_end(cursor)
            cursor.pos = event.end()
            word = event.group()
            if not word.startswith("#"):
                _on_event(cursor, reading, event.start(), word)
                continue
            included = preprocessor.obey(event.start(), word)
            if included:
                yield Include(included, cursor.path, cursor.line(cursor.pos))
    except EndOfFile:
        preprocessor.expect_no_open_branch()
        _hand_on_rest(cursor)
        reading.files.close()


def _read_heading(cursor: Cursor, reading: TheoryReading) -> None:
    """`theory NAME [configuration: "..."] begin`; an included file has none of this."""
    cursor.skip_blanks()
    if cursor.is_included:
        if cursor.next_is("theory"):
            raise EndOfFile
        return
    if not cursor.take("theory"):
        cursor.fail(
            cursor.pos,
            "a theory starts with 'theory NAME'; is this a file for others to include?",
        )
    reading.name = cursor.identifier()
    if cursor.take("configuration") and cursor.take(":"):
        reading.configuration = _read_configuration(cursor)
    if not reading.name or not cursor.take("begin"):
        cursor.fail(cursor.pos, "expected 'theory NAME begin'")


def _read_configuration(cursor: Cursor) -> tuple[str, ...]:
    """The arguments in the string of a configuration block."""
    import shlex

    literal = _STRING_LITERAL.match(cursor.text, cursor.pos)
    if not literal:
        cursor.fail(cursor.pos, "'configuration:' needs a string")
    cursor.pass_verbatim(literal.start(), literal.end())
    cursor.skip_blanks()
    text = re.sub(r"\\(.)", r"\1", literal.group(1))
    if len(text) < 10_000:  # shlex takes quadratic time
        with suppress(ValueError):
            return tuple(shlex.split(text))
    return tuple(text.split())


def _refuse_missing_end(cursor: Cursor) -> NoReturn:
    end = len(cursor.text)
    cursor.hand_on(end)
    message = "the theory has no 'end'"
    if cursor.depth > 0:
        message += ", or a bracket is not closed"
    cursor.refuse(end, message)


def _hand_on_rest(cursor: Cursor) -> None:
    """Behind its end the text of a file does not count, if the prover sees the end where we do.

    It is a segment of its own, so that it tells apart texts where that matters.
    """
    cursor.hand_on(cursor.pos)
    cursor.tokens.begin()
    rest = _without_comments(cursor.text[cursor.pos :]).strip()
    if rest:
        cursor.tokens.add_verbatim(rest)
        cursor.tokens.begin()


def _without_comments(text: str) -> str:
    """The text without `//` comments and those `/* */` that end; here they don't nest."""
    kept: list[str] = []
    place = 0
    while True:
        comment = _COMMENT_START.search(text, place)
        if not comment:
            break
        if comment.group() == "//":
            end = text.find("\n", comment.end())
            behind = len(text) if end < 0 else end
        else:
            end = text.find("*/", comment.end())
            behind = end + len("*/")
            if end < 0:
                break
        kept.append(text[place : comment.start()])
        place = behind
    return "".join(kept) + text[place:]


def _on_event(cursor: Cursor, reading: TheoryReading, start: int, word: str) -> None:
    """Deal with what can stand in a theory, but for directives."""
    if word == '"':
        _on_double_quote(cursor, reading, start)
    elif word == "{*":
        _pass_formal_comment(cursor, start)
    elif word in ("//", "/*", "'", "diff", "\0"):
        pass_common_event(cursor, reading, start, word)
    else:
        cursor.hand_on(start)
        if word in PROOF_ENDS:
            reading.add_proof_end(word)
        elif _item_may_stand_here(cursor):
            _on_item(cursor, reading, start, word)


def _on_double_quote(cursor: Cursor, reading: TheoryReading, start: int) -> None:
    cursor.hand_on(start)
    # That of a restriction or case test; lemmas pass their own. Other strings are attributes and
    # arguments: in these `//` is no comment.
    if cursor.last_character() == ":":
        pass_formula(cursor, reading, start)
    else:
        _pass_string(cursor, start)


def _item_may_stand_here(cursor: Cursor) -> bool:
    """Whether all that stands before this place can be whole items."""
    if cursor.depth:
        return False
    last = cursor.last_character()
    if last and last not in _LAST_CHARACTERS and not last.isalnum():
        return False
    return cursor.last_word() not in _UNFINISHED_WORDS


def _on_item(cursor: Cursor, reading: TheoryReading, start: int, word: str) -> None:
    """Read an item as far as words in it could be taken for the next one."""
    is_side = word == "rule" and cursor.last_word() in ("left", "right")
    if is_side and not reading.diff:
        cursor.refuse(start, "a rule with sides " + _NEEDS_DIFF)
    cursor.tokens.begin(word)
    if word == "end":
        # The word belongs to a theory; in an included file nothing of it counts.
        if cursor.is_included:
            cursor.pos = start
        raise EndOfFile
    item = _ITEM_OF_WORD[word]
    if reading.diff and not item.in_diff:
        cursor.refuse(start, f"'{word}' is not allowed with --diff")
    cursor.skip_blanks()
    if word in STATEMENTS:
        read_lemma(cursor, reading, start, word)
    elif word == "heuristic":
        _read_heuristic(cursor, reading, start)
    elif item.behind == _NAME:
        _read_name(cursor, reading, word)
    reading.words.add(word)


def _read_name(cursor: Cursor, reading: TheoryReading, word: str) -> None:
    """Pass the name of an item: it may be a word that begins others."""
    if word == "rule" and cursor.take("("):
        cursor.take_modulo("E", "AC")
    name = cursor.identifier()
    if word in ("restriction", "axiom"):
        if cursor.next_is("[") and not reading.diff:
            cursor.fail(cursor.pos, "a restriction for one side " + _NEEDS_DIFF)
    elif word == "test":
        reading.tests.add(name)
    elif word == "export" and cursor.take(":") and cursor.next_is('"'):
        _pass_export(cursor)


def _read_heuristic(cursor: Cursor, reading: TheoryReading, start: int) -> None:
    """The heuristic of the whole theory, behind its word."""
    if not cursor.take(":"):
        return
    if "heuristic" in reading.words:
        cursor.fail(start, "a second 'heuristic:', which Tamarin refuses")
    read_ranking(cursor, reading)


# --- Lemmas ---------------------------------------------------------------------------------------

_ATTRIBUTES = ("diff_reuse", "left", "reuse", "right", "sources", "typing", "use_induction")
# Signature.hs, goalRanking: an oracle with or without a name, a {tactic}, letters. Only spaces may
# stand between: what follows on the same line goes on with the letters.
_RANKING = re.compile(r'([oO]) *(?:"([^"\n\r]+)")? *|\{[^"\n\r{}]+\} *|([^\W\d_]+) *')
# Proof.hs: how the proof of a lemma or diffLemma may begin.
_PROOF_WORD = re.compile(
    rf"(?:{'|'.join(PROOF_ENDS)}|backward|by|contradiction|"
    r"induction|rule(?=-equivalence)|simplify|solve|step)(?!\w)"
)


def read_lemma(cursor: Cursor, reading: TheoryReading, start: int, word: str) -> None:
    """Read a lemma from behind its word (which stands at `start`) up to its proof.

    `lemma [(modulo E)] NAME [attributes]: [all-traces|exists-trace] "..."`,
    `lemma NAME [attributes]: t1, t2 accounts for "..."` or `diffLemma NAME [attributes]:`.
    """
    if word == "diffLemma" and not reading.diff:
        cursor.refuse(start, "a diffLemma " + _NEEDS_DIFF)
    if cursor.take("(") and not cursor.take_modulo("E"):
        cursor.refuse(start, "expected '(modulo E)'")
    name = cursor.identifier()
    attributes = _read_attributes(cursor, reading)
    if not name or not cursor.take(":"):
        cursor.refuse(cursor.pos, f"expected '{word} NAME [attributes]:'")
    trait = Trait.DIFF
    tests: tuple[str, ...] = ()
    if word == "diffLemma":
        # It is complete with its colon.
        cursor.hand_on(cursor.pos)
        cursor.forget_last()
    else:
        trait, tests = _read_statement(cursor, reading, name)
    cursor.tokens.lemma = name
    line = cursor.line(start)
    proof = _begin_proof(cursor, name)
    lemma = Lemma(name, trait, "", attributes, cursor.path, line, proof=proof)
    reading.claims.append(Claim(lemma, tests))


def _read_statement(
    cursor: Cursor, reading: TheoryReading, lemma: str
) -> tuple[Trait, tuple[str, ...]]:
    """What stands behind the colon of a lemma, up to the end of its formula: trait, case tests."""
    trait = Trait.ALL_TRACES
    tests: tuple[str, ...] = ()
    if cursor.take("exists-trace"):
        trait = Trait.EXISTS_TRACE
    elif not cursor.take("all-traces") and not cursor.next_is('"'):
        tests = _read_case_tests(cursor, reading, lemma)
    if not cursor.next_is('"'):
        cursor.refuse(cursor.pos, f"lemma '{lemma}' needs a formula in double quotes")
    pass_formula(cursor, reading, cursor.pos)
    return trait, tests


def _read_case_tests(cursor: Cursor, reading: TheoryReading, lemma: str) -> tuple[str, ...]:
    """`t1, t2 accounts for`: Tamarin wants the tests before the lemma."""
    words = ("accounts for", "account for")
    tests = [cursor.identifier()]
    while cursor.take(",") and not cursor.next_is(*words):
        tests.append(cursor.identifier())
    if "" in tests or not cursor.take(*words):
        cursor.refuse(
            cursor.pos,
            f"lemma '{lemma}' needs a formula in double quotes, or 'TESTS accounts for' one",
        )
    if reading.diff:
        cursor.refuse(cursor.pos, "accountability lemmas are not allowed with --diff")
    for test in tests:
        if test not in reading.tests:
            cursor.fail(cursor.pos, f"lemma '{lemma}': no case test '{test}' stands before it")
    return tuple(tests)


def _read_attributes(cursor: Cursor, reading: TheoryReading) -> tuple[str, ...]:
    """`[reuse, hide_lemma=NAME, heuristic=o "oracle", output=[spthy]]`, if that stands here."""
    attributes: list[str] = []
    if not cursor.take("["):
        return ()
    while not cursor.take("]"):
        attributes.append(_read_attribute(cursor, reading))
        if not cursor.take(",") and not cursor.next_is("]"):
            cursor.refuse(cursor.pos, "expected ',' or ']' behind a lemma attribute")
    return tuple(attributes)


def _read_attribute(cursor: Cursor, reading: TheoryReading) -> str:
    place = cursor.pos
    word = cursor.identifier()
    if word == "heuristic" and cursor.take("="):
        return "heuristic=" + read_ranking(cursor, reading)
    if word == "hide_lemma" and cursor.take("="):
        return "hide_lemma=" + (cursor.identifier() or _read_list(cursor))
    if word == "output" and cursor.take("="):
        value = cursor.identifier() or _read_list(cursor)
        return "output=" + "".join(value.split())
    if word not in _ATTRIBUTES:
        cursor.refuse(
            place,
            f"no lemma attribute '{word or cursor.text[place : place + 1]}'; allowed are "
            f"{', '.join(_ATTRIBUTES)}, heuristic=, hide_lemma=, output=",
        )
    return word


def _read_list(cursor: Cursor) -> str:
    """Pass `[module, ...]`: what stands here up to the next `]`; "" where there is none."""
    end = cursor.text.find("]", cursor.pos) + 1
    text = cursor.text[cursor.pos : end]
    cursor.pos += len(text)
    cursor.skip_blanks()
    return text


def read_ranking(cursor: Cursor, reading: TheoryReading) -> str:
    """Pass a heuristic: a row of letters, `o "oracle"` and `{tactic}` on one line; its text."""
    start = cursor.pos
    while True:
        part = _RANKING.match(cursor.text, cursor.pos)
        if not part:
            break
        oracle, name, letters = part.groups(default="")
        if oracle:
            reading.rankings.append(OracleRanking(os.path.dirname(cursor.path), name))
        elif "o" in letters or "O" in letters:
            # Behind another letter it takes no name, and comes from the prover's own directory.
            reading.rankings.append(OracleRanking(None, ""))
        if name:
            cursor.pass_verbatim(part.start(2) - 1, part.end(2) + 1)
        cursor.pos = part.end()
    text = " ".join(cursor.text[start : cursor.pos].split())
    cursor.skip_blanks()
    return text


def _begin_proof(cursor: Cursor, lemma: str) -> StoredProof | None:
    """Pass the first word of the stored proof, if one stands here; None also for `by sorry` alone.

    The proof is a segment of its own.
    """
    cursor.skip_blanks()
    first = _PROOF_WORD.match(cursor.text, cursor.pos)
    if not first:
        return None
    word = first.group()
    cursor.hand_on(cursor.pos)
    cursor.tokens.begin("proof", lemma)
    cursor.take(word)
    if word == "sorry" or (word == "by" and cursor.next_is("sorry")):
        return None
    return StoredProof(frozenset({word}.intersection(PROOF_ENDS)))


# --- The preprocessor -----------------------------------------------------------------------------

# Blanks may stand behind the first quote, as behind any symbol. tamarin-prover 1.11 takes letters,
# digits, dots and slashes only (Token.hs, filePath), tamarin-rs any string.
_INCLUDED_NAME = re.compile(r'"\s*([^"\s](?:[^"\n]*[^"\s])?)[^\S\n]*"')
# In a disabled branch Tamarin takes `#` for a symbol of its own: blanks may follow.
_BRANCH_END = re.compile(r"#\s*(else|endif)")
# What counts there for tamarin-rs.
_COUNTED = re.compile(r"//|/\*|#(ifdef|else|endif)(?![A-Za-z])")
_NO_ENDIF = "this #ifdef has no #endif"


class _Branch(NamedTuple):
    """The part of an #ifdef that we are in, which is enabled."""

    ifdef: int  # the place of its #ifdef
    is_else: bool  # whether it is the part behind #else


class Preprocessor:
    """Obeys the directives of one file, which are no part of its text.

    It counts #ifdefs as tamarin-prover 1.11 does: in what is disabled it sees none; or, if
    `reading` says so, as tamarin-rs.
    """

    def __init__(self, cursor: Cursor, reading: TheoryReading) -> None:
        self._cursor = cursor
        self._reading = reading
        self._flags = reading.flags
        self._branches: list[_Branch] = []  # the innermost last

    def obey(self, start: int, word: str) -> str:
        """Pass the directive that begins with `word` at `start`; the path of a file to include."""
        cursor = self._cursor
        cursor.hand_on(start)
        if cursor.depth > 0:
            cursor.refuse(
                start, f"'{word}' may stand between items only; is a bracket before it not closed?"
            )
        cursor.tokens.begin()
        # To what follows it is as if the directive were not there.
        last = cursor.last
        depth = cursor.depth
        cursor.skip_blanks()
        included = ""
        if word == "#define":
            self._define(start)
        elif word == "#include":
            included = self._include()
        elif word == "#ifdef":
            self._ifdef(start)
        elif word == "#else":
            self._else(start)
        else:
            self._endif(start)
        # Comments in the directive have handed on what stands before them.
        cursor.tokens.discard()
        cursor.handed_on = cursor.pos
        cursor.last = last
        cursor.depth = depth
        return included

    def expect_no_open_branch(self) -> None:
        """At the end of the file: raise InputError for an #ifdef without #endif."""
        if self._branches:
            self._cursor.fail(self._branches[-1].ifdef, _NO_ENDIF + " before the end")

    def _define(self, start: int) -> None:
        flag = self._cursor.identifier()
        if not flag:
            self._cursor.fail(start, "'#define' needs a name")
        self._flags.add(flag)

    def _include(self) -> str:
        """The path of the file: relative to this one."""
        cursor = self._cursor
        name = _INCLUDED_NAME.match(cursor.text, cursor.pos)
        if not name:
            cursor.fail(cursor.pos, "expected '#include \"FILE\"'")
        cursor.pos = name.end()
        return os.path.join(os.path.dirname(cursor.path), name.group(1))

    def _ifdef(self, start: int) -> None:
        cursor = self._cursor
        formula = FlagFormula(cursor, self._flags)
        holds = formula.holds()
        self._reading.asked_flags |= formula.names
        if holds:
            self._branches.append(_Branch(start, is_else=False))
            return
        end = self._pass_counted() if self._reading.counts_ifdefs else self._pass_disabled()
        if not end:
            cursor.fail(start, _NO_ENDIF)
        if end == "else":
            self._branches.append(_Branch(start, is_else=True))

    def _pass_disabled(self) -> str:
        """Pass a disabled branch; `else` or `endif`, which ends it, "" where neither comes.

        It is the next one, in whatever that stands: a comment, a string, a nested #ifdef.
        """
        cursor = self._cursor
        end = _BRANCH_END.search(cursor.text, cursor.pos)
        if not end:
            return ""
        if cursor.text.find("#ifdef", cursor.pos, end.start()) >= 0:
            self._reading.passed_ifdef = True
        cursor.pos = end.end()
        return end.group(1)

    def _pass_counted(self) -> str:
        """As `_pass_disabled`, but an #ifdef in the branch has its own #endif, comments aside."""
        cursor = self._cursor
        depth = 0
        while True:
            found = _COUNTED.search(cursor.text, cursor.pos)
            if not found:
                return ""
            word = found.group(1)
            if word is None:
                cursor.pos = found.start()
                cursor.skip_blanks()
                continue
            cursor.pos = found.end()
            if word == "ifdef":
                depth += 1
            elif depth == 0:
                return word
            elif word == "endif":
                depth -= 1

    def _else(self, start: int) -> None:
        """All up to the next #endif is disabled, in whatever that stands."""
        if not self._branches or self._branches[-1].is_else:
            self._refuse_stray(start, "#else")
        branch = self._branches.pop()
        end = self._cursor.text.find("#endif", self._cursor.pos)
        if end < 0:
            self._cursor.fail(branch.ifdef, _NO_ENDIF)
        self._cursor.pos = end + len("#endif")

    def _endif(self, start: int) -> None:
        if not self._branches:
            self._refuse_stray(start, "#endif")
        self._branches.pop()

    def _refuse_stray(self, start: int, word: str) -> NoReturn:
        message = f"'{word}' without an #ifdef"
        if self._reading.passed_ifdef:
            message += (
                "; Tamarin doesn't count #ifdefs nested in a disabled branch: the first #else or "
                "#endif there ends the outer one"
            )
            # No silent end of an included file: for who counts it goes on here.
            self._cursor.fail(start, message)
        self._cursor.refuse(start, message)


@dataclass
class _Bracket:
    """An open bracket of a flag formula: alternatives between `|`, of parts between `&`."""

    negated: bool  # whether "not" stands before it
    one_held: bool = False  # whether an alternative holds that we have passed
    holds_so_far: bool = True  # whether all parts of the present one hold that we have passed

    def add_part(self, holds: bool) -> None:
        """Pass one part of the present alternative."""
        self.holds_so_far = self.holds_so_far and holds

    def end_alternative(self) -> None:
        """Pass the end of the present alternative: another may follow."""
        self.one_held = self.one_held or self.holds_so_far
        self.holds_so_far = True


class FlagFormula:
    """`not A & (B | C)`, read at a place: `&` binds tighter; "notA" means `not A`.

    Only tamarin-rs knows brackets.
    """

    def __init__(self, cursor: Cursor, flags: Collection[str]) -> None:
        self.names: set[str] = set()  # of the flags that stand in it
        self._cursor = cursor
        self._flags = flags
        # No recursion: brackets may be nested thousands deep. The first is no real one.
        self._open = [_Bracket(negated=False)]

    def holds(self) -> bool:
        """Pass the formula; whether it holds with these flags."""
        cursor = self._cursor
        while True:
            negated = cursor.take("not", "¬")
            if cursor.take("("):
                self._open.append(_Bracket(negated))
                continue
            flag = cursor.identifier()
            if not flag:
                cursor.fail(cursor.pos, "expected the name of a flag")
            self.names.add(flag)
            self._open[-1].add_part((flag in self._flags) != negated)
            if not self._goes_on():
                return self._open[0].one_held

    def _goes_on(self) -> bool:
        """Pass what may stand behind a part, closing brackets too: whether another part follows."""
        cursor = self._cursor
        while not cursor.take("&", "∧"):
            self._open[-1].end_alternative()
            if cursor.take("|", "∨"):
                return True
            if len(self._open) == 1:
                return False
            if not cursor.take(")"):
                cursor.fail(cursor.pos, "expected ')'")
            closed = self._open.pop()
            self._open[-1].add_part(closed.one_held != closed.negated)
        return True


# --- Strings, constants and formulas --------------------------------------------------------------

_FORMULA_EVENT = re.compile(_EVERYWHERE)
_CONSTANT_REST = re.compile(r"[^'\n]+'")
# Inside of `text{* *}` star and backslash must be escaped.
_FORMAL_COMMENT_EDGE = re.compile(r"\\[\\*]?|\*\}?")
_EXPORT_EDGE = re.compile(r'\\[\\"]|"')


def pass_formula(cursor: Cursor, reading: TheoryReading, start: int) -> None:
    """Pass a formula from quote to quote; it is code, but for its constants."""
    cursor.pos = start + 1
    while True:
        event = _FORMULA_EVENT.search(cursor.text, cursor.pos)
        if not event:
            cursor.fail(start, "this double quote is never closed")
        cursor.pos = event.end()
        if event.group() == '"':
            return
        pass_common_event(cursor, reading, event.start(), event.group())


def pass_common_event(cursor: Cursor, reading: TheoryReading, start: int, word: str) -> None:
    """Pass a comment, a constant or a diff operator; `word` tells what, and begins at `start`."""
    if word in ("//", "/*"):
        cursor.pos = start
        cursor.skip_blanks()
    elif word == "'":
        _pass_constant(cursor, start)
    elif word == "diff":
        _pass_diff_operator(cursor, reading, start)
    else:
        cursor.refuse(start, "a NUL character, which Tamarin refuses: is this a text file?")


def _pass_constant(cursor: Cursor, start: int) -> None:
    """Pass the rest of a constant in single quotes."""
    cursor.skip_blanks()  # Tamarin takes a comment behind the quote for a comment
    rest = _CONSTANT_REST.match(cursor.text, cursor.pos)
    if not rest:
        cursor.refuse(
            start, "a constant in single quotes may not be empty and must end on its line"
        )
    # Behind such a comment the quote is in the token text already.
    cursor.pass_verbatim(max(start, cursor.handed_on), rest.end())


def _pass_diff_operator(cursor: Cursor, reading: TheoryReading, start: int) -> None:
    cursor.skip_blanks()
    if not cursor.next_is("("):
        return
    reading.words.add("diff")
    if not reading.diff and "diffEquivLemma" not in reading.words:
        cursor.refuse(start, "the diff operator " + _NEEDS_DIFF)


def _pass_string(cursor: Cursor, start: int) -> None:
    closing = cursor.text.find('"', start + 1)
    if closing < 0:
        cursor.fail(start, "this double quote is never closed")
    cursor.pass_verbatim(start, closing + 1)


def _pass_formal_comment(cursor: Cursor, bracket: int) -> None:
    """Pass `text{* ... *}`: the letters before the bracket belong to it."""
    begin = bracket
    while begin > cursor.handed_on and cursor.text[begin - 1].isalpha():
        begin -= 1
    if begin < bracket:
        cursor.hand_on(begin)
        cursor.tokens.begin()
        _pass_escaped(cursor, begin, bracket + len("{*"), _FORMAL_COMMENT_EDGE, "*}")


def _pass_export(cursor: Cursor) -> None:
    """Pass the text of an export, whose first quote stands here."""
    _pass_escaped(cursor, cursor.pos, cursor.pos + 1, _EXPORT_EDGE, '"')


def _pass_escaped(
    cursor: Cursor, begin: int, inside: int, edges: re.Pattern[str], closing: str
) -> None:
    """Pass a text with escapes; its opening stands at `begin`, what it says from `inside` on.

    edges: finds `closing`, the escapes, and single characters that should have been escaped.
    """
    end = inside
    word = ""
    while word != closing:
        edge = edges.search(cursor.text, end)
        if not edge:
            cursor.fail(begin, "this text is never closed")
        end = edge.end()
        word = edge.group()
        if len(word) == 1 and word != closing:
            cursor.fail(
                edge.start(), r"in a formal comment write \* and \\ for a star and a backslash"
            )
    cursor.pass_verbatim(begin, end)


# --- A place in the text of a file ----------------------------------------------------------------

_BLANKS = re.compile(r"[^\S\u2028\u2029\x85\x1c-\x1f]+")  # what Haskell takes for blanks
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# Tamarin takes these four words for no name.
_IDENTIFIER = re.compile(r"(?!(?:in|let|rule|diff)(?!\w))[^\W_]\w*")
_NO_WORD = re.compile(r"\W")


class EndOfFile(Exception):  # noqa: N818 - no error
    """The rest of the file doesn't count: behind `end`, or behind what is no item of an include."""


class SourceText:
    """The text of one file, and what is wrong in it."""

    def __init__(self, path: str, text: str, is_included: bool) -> None:
        self.path = path
        self.text = text
        self.is_included = is_included  # by another file
        # A place, and the number of its line: to count from the start each time would be quadratic.
        self._counted = (0, 1)

    def line(self, place: int) -> int:
        """The number of the line at this place, counted on from the place asked for before."""
        counted, line = self._counted
        if counted > place:
            counted, line = 0, 1
        line += self.text.count("\n", counted, place)
        self._counted = (place, line)
        return line

    def fail(self, place: int, message: str) -> NoReturn:
        """Raise InputError for what Tamarin refuses at this place."""
        column = place - self.text.rfind("\n", 0, place)
        raise InputError(message, self.path, self.line(place), column)


class Cursor(SourceText):
    """Where we read in a file, and what of it has been handed on to the token text.

    Passing something only moves `pos`. It is handed on with what follows it, unless it counts in
    another way than code does: a comment, or a stretch that is taken verbatim.
    """

    def __init__(self, path: str, text: str, is_included: bool, tokens: TokenText) -> None:
        super().__init__(path, text, is_included)
        self.tokens = tokens
        self.pos = 0  # where to read on
        self.handed_on = 0  # the text before this place is in the token text
        # Of the text handed on:
        self.last = 0  # the end of what stands last, blanks and comments aside; 0: nothing counts
        self.depth = 0  # how many brackets are open

    def refuse(self, place: int, message: str) -> NoReturn:
        """What is no item is an error in a theory; an included file silently ends there."""
        if not self.is_included:
            self.fail(place, message)
        self.pos = place
        raise EndOfFile

    def next_is(self, *symbols: str) -> bool:
        """Whether one of these stands here."""
        return self.text.startswith(symbols, self.pos)

    def take(self, *symbols: str) -> bool:
        """Pass the first of these that stands here, and the white space behind it."""
        for symbol in symbols:
            if self.text.startswith(symbol, self.pos):
                self.pos += len(symbol)
                self.skip_blanks()
                return True
        return False

    def take_modulo(self, *theories: str) -> bool:
        """Pass `modulo E)` behind its bracket; False: something else stands here."""
        return self.take("modulo") and self.take(*theories) and self.take(")")

    def identifier(self) -> str:
        """Pass a name and the white space behind it; "" where none stands here."""
        name = _IDENTIFIER.match(self.text, self.pos)
        if not name:
            return ""
        self.pos = name.end()
        self.skip_blanks()
        return name.group()

    def skip_blanks(self) -> None:
        """Pass white space and comments."""
        while True:
            blanks = _BLANKS.match(self.text, self.pos)
            if blanks:
                self.pos = blanks.end()
            if not self.text.startswith(("//", "/*"), self.pos):
                return
            if self.next_is("//"):
                self._pass_comment(self._end_of_line())
            else:
                self._pass_comment(self._end_of_comment())

    def _end_of_line(self) -> int:
        end = self.text.find("\n", self.pos)
        return len(self.text) if end < 0 else end

    def _end_of_comment(self) -> int:
        """The end of the comment that starts here; comments nest."""
        end = self.pos + len("/*")
        depth = 1
        while depth:
            edge = _COMMENT_EDGE.search(self.text, end)
            if not edge:
                self.fail(
                    self.pos,
                    "this comment is never closed (comments nest: every /* needs its own */)",
                )
            depth += 1 if edge.group() == "/*" else -1
            end = edge.end()
        return end

    def hand_on(self, upto: int) -> None:
        """Take the text up to here as code."""
        if upto <= self.handed_on:
            return
        code = self.text[self.handed_on : upto]
        stripped = code.rstrip()
        if stripped:
            self.last = self.handed_on + len(stripped)
            self.depth += code.count("(") + code.count("[") - code.count(")") - code.count("]")
        self.tokens.add_code(code)
        self.handed_on = upto

    def pass_verbatim(self, start: int, end: int) -> None:
        """Take this stretch as it is, and go on behind it."""
        self.hand_on(start)
        self.tokens.add_verbatim(self.text[start:end])
        self.last = end
        self.handed_on = end
        self.pos = end

    def _pass_comment(self, end: int) -> None:
        """A comment stands here, up to `end`: it counts as a blank."""
        self.hand_on(self.pos)
        self.tokens.add_code(" ")
        self.handed_on = end
        self.pos = end

    def forget_last(self) -> None:
        """What is handed on now is as if nothing stood before it."""
        self.last = 0

    def last_character(self) -> str:
        """The character that stands last, blanks and comments aside; "" where nothing does."""
        return self.text[self.last - 1 : self.last] if self.last else ""

    def last_word(self) -> str:
        """The word that ends at `last`, or "".

        Of a long one the last 8 characters: more than any word that matters has.
        """
        return _NO_WORD.split(self.text[max(0, self.last - 8) : self.last])[-1]


# --- The token text of a theory -------------------------------------------------------------------

# A blank is idle beside a bracket or comma, unless an operator stands there: `] ->` is not `]->`.
# All three kinds begin with the blank: `re` then looks at nothing but blanks.
_IDLE_BLANK = re.compile(
    r' (?:(?<=[,;()\[\]] )(?=[\w"~$,;()\[\]]|$)'
    r'|(?<=[\w",;()\[\]] )(?=[,;()\[\]])'
    r"|(?<=^ )(?=[,;()\[\]]))"
)


class _Piece(NamedTuple):
    """A stretch of a theory's text."""

    text: str
    is_code: bool  # else every character of it counts


class _Collected(NamedTuple):
    """A segment before it is asked for."""

    lemma: str
    kind: str
    pieces: list[_Piece]


class TokenText:
    """Collects the text of a theory in segments, without comments."""

    def __init__(self) -> None:
        self.lemma = ""  # whose segment is being collected; "" for what is no lemma
        self._kind = ""  # of that segment
        self._pieces: list[_Piece] = []  # of that segment
        self._code: list[str] = []  # code behind these
        self._finished: list[_Collected] = []

    def begin(self, kind: str = "", lemma: str = "") -> None:
        """A new item, or the proof of a lemma, starts here."""
        self._end_code()
        if self._pieces:
            self._finished.append(_Collected(self.lemma, self._kind, self._pieces))
        self._pieces = []
        self._kind = kind
        self.lemma = lemma

    def discard(self) -> None:
        """Take back the segment that is being collected."""
        self._pieces = []
        self._code = []

    def add_code(self, text: str) -> None:
        """White space in this text counts as one blank, or not at all."""
        self._code.append(text)

    def add_verbatim(self, text: str) -> None:
        """Every character of this text counts."""
        self._end_code()
        self._pieces.append(_Piece(text, is_code=False))

    def _end_code(self) -> None:
        if self._code:
            self._pieces.append(_Piece("".join(self._code), is_code=True))
            self._code = []

    @functools.cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All segments that are not empty, once the theory is read to its end."""
        # Made only when somebody asks: it takes as long as all the reading.
        segments: list[Segment] = []
        for lemma, kind, pieces in self._finished:
            text = "".join(_tidy(piece) for piece in pieces).strip(" ")
            if text:
                segments.append(Segment(lemma, text, kind))
        self._finished.clear()
        return tuple(segments)


def _tidy(piece: _Piece) -> str:
    """The text of a piece, without white space that doesn't count."""
    if not piece.is_code:
        return piece.text
    # As `_BLANKS.sub(" ", ...)`, in half the time.
    return _IDLE_BLANK.sub("", " ".join(_BLANKS.split(piece.text)))


# --- What the items say ---------------------------------------------------------------------------

# A view of the token text for who looks for more than lemmas. Nothing of it is made before somebody
# asks, and all of it takes time in proportion to the text. Terms and formulas stay text.

# Older words, by the newer ones.
_NEWER_WORDS = {"axiom": "restriction", "function": "functions", "predicate": "predicates"}
# `lemma(modulo E)NAME[attributes]:`, in token text.
_ITEM_HEAD = re.compile(
    r"\w+ ?(?:\(modulo \w+\) ?)?(?P<name>\w+) ?"
    r"(?:\[(?P<attributes>(?:[^\[\]\"']|\"[^\"]*\"|'[^']*'|\[[^\[\]]*\])*)\] ?)?:"
)
_CONSTANT = re.compile(r"'[^'\n]*'")
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"]*\"")
_BRACKET_OR_COMMA = re.compile(r"[\[\](){},]")
_PAIR_OR_COMMA = re.compile(r"[\[\](){}<>,]")  # where `<` begins a pair and compares nothing
_LET_BLOCK = re.compile(r" ?let(?!\w)(.*?)(?<!\w)in(?!\w)", re.DOTALL)
_PREDICATE_HEAD = re.compile(r"(?<!\w)\w+ ?\([^()]*\) ?(?:<=>|⇔)")


class Item(NamedTuple):
    """An item that counts with the flags of the theory, of whatever file."""

    kind: str  # the word that begins it; of two words for one thing the newer
    text: str  # token text, from that word on; without the stored proof of a lemma


class DeclaredFunction(NamedTuple):
    """One of `functions:`, as `h/1[private]` or `h(bitstring):bitstring`."""

    name: str
    signature: str  # behind the name: `/1`
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class RuleText:
    """A rule; in diff mode each of its sides is one more."""

    name: str
    attributes: tuple[str, ...]
    let_block: str  # between `let` and `in`; "" where there is none
    premises: tuple[str, ...]
    actions: tuple[str, ...]  # `_restrict(...)` as well
    conclusions: tuple[str, ...]


class Statement(NamedTuple):
    """A lemma, a restriction or a case test."""

    kind: str  # `lemma`, `diffLemma`, `restriction` or `test`
    name: str
    attributes: tuple[str, ...]
    quantifier: str  # between colon and formula: `exists-trace`, `t1,t2 accounts for`, or ""
    formula: str  # between its quotes; a diffLemma has none


class TheoryItems:
    """The items of a theory that count with its flags, those of included files too, by kind."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        items: list[Item] = []
        for segment in segments:
            if segment.kind not in ("", "proof", "end"):
                kind = _NEWER_WORDS.get(segment.kind, segment.kind)
                items.append(Item(kind, segment.text))
        self.all = tuple(items)

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """The texts of all items of these kinds: `process`, `let`, `tactic`, `heuristic`, ..."""
        return tuple(item.text for item in self.all if item.kind in kinds)

    @functools.cached_property
    def builtins(self) -> tuple[str, ...]:
        """Names of builtins: `xor`."""
        return self._listed("builtins")

    @functools.cached_property
    def functions(self) -> tuple[DeclaredFunction, ...]:
        """What `functions:` declares."""
        return tuple(map(_declared_function, self._listed("functions")))

    @functools.cached_property
    def equations(self) -> tuple[str, ...]:
        """Equations: `fst(<x,y>) = x`."""
        return self._listed("equations", _PAIR_OR_COMMA)

    @functools.cached_property
    def options(self) -> tuple[str, ...]:
        """Words of `options:`; the configuration block is `Theory.configuration`."""
        return self._listed("options")

    @functools.cached_property
    def macros(self) -> tuple[str, ...]:
        """Macros: `f(x) = h(<x,x>)`."""
        return self._listed("macros", _PAIR_OR_COMMA)

    @functools.cached_property
    def predicates(self) -> tuple[str, ...]:
        """Predicates: `P(x,y) <=> Ex z. x = <y,z>`."""
        found: list[str] = []
        for text in self.of_kind("predicates"):
            starts = [head.start() for head in _PREDICATE_HEAD.finditer(text)]
            for start, end in zip(starts, [*starts[1:], len(text)]):
                found.append(text[start:end].rstrip(" ,"))
        return tuple(found)

    @functools.cached_property
    def rules(self) -> tuple[RuleText, ...]:
        """The rules; a process has none before it is translated."""
        return tuple(map(_rule_text, self.of_kind("rule")))

    @functools.cached_property
    def statements(self) -> tuple[Statement, ...]:
        """Lemmas, restrictions and case tests, in the order of the theory."""
        kinds = (*STATEMENTS, "restriction", "test")
        return tuple(_statement(item) for item in self.all if item.kind in kinds)

    def _listed(self, kind: str, events: re.Pattern[str] = _BRACKET_OR_COMMA) -> tuple[str, ...]:
        """What stands behind the colons of such items, at commas."""
        parts: list[str] = []
        for text in self.of_kind(kind):
            _, _, behind = text.partition(":")
            parts += split_list(behind, events)
        return tuple(parts)


def split_list(text: str, events: re.Pattern[str] = _BRACKET_OR_COMMA) -> tuple[str, ...]:
    """The parts of a list, at the commas outside of brackets; `events` finds these."""
    parts: list[str] = []
    begin = 0
    depth = 0
    for event in events.finditer(_blanked(_QUOTED, text)):
        word = event.group()
        if word in "[({<":
            depth += 1
        elif word in "])}>":
            depth -= 1
        elif depth == 0:
            parts.append(text[begin : event.start()].strip())
            begin = event.end()
    parts.append(text[begin:].strip())
    return tuple(filter(None, parts))


def _blanked(literals: re.Pattern[str], text: str) -> str:
    """A text as long as this one, in which nothing stands in these literals."""
    return literals.sub(lambda literal: "_" * len(literal.group()), text)


def _declared_function(text: str) -> DeclaredFunction:
    name = _NO_WORD.split(text, maxsplit=1)[0]
    signature, _, attributes = text[len(name) :].partition("[")
    return DeclaredFunction(name, signature.strip(), split_list(attributes.rstrip("] ")))


def _rule_text(text: str) -> RuleText:
    """A rule as it is written. What can't be read is empty: provers will refuse it."""
    head = _ITEM_HEAD.match(text)
    if not head:
        return RuleText("", (), "", (), (), ())
    attributes = split_list(head["attributes"] or "")
    body = text[head.end() :]
    let_block = ""
    bound = _LET_BLOCK.match(_blanked(_QUOTED, body))
    if bound:
        let_block = body[bound.start(1) : bound.end(1)].strip()
        body = body[bound.end() :]
    lists = [split_list(part) for part in _outer_brackets(body)]
    # `[premises]-->[conclusions]` has no actions.
    if len(lists) < 3:
        lists.insert(1, ())
    premises, actions, conclusions = [*lists, (), ()][:3]
    return RuleText(head["name"], attributes, let_block, premises, actions, conclusions)


def _outer_brackets(text: str) -> list[str]:
    """What stands in each `[...]` that stands in no other bracket."""
    found: list[str] = []
    begin = 0
    depth = 0
    for event in _BRACKET_OR_COMMA.finditer(_blanked(_QUOTED, text)):
        word = event.group()
        if word in "[({":
            if depth == 0:
                begin = event.end()
            depth += 1
        elif word in "])}":
            depth -= 1
            if depth == 0 and word == "]":
                found.append(text[begin : event.start()])
    return found


def _statement(item: Item) -> Statement:
    head = _ITEM_HEAD.match(item.text)
    if not head:
        return Statement(item.kind, "", (), "", "")
    attributes = split_list(head["attributes"] or "")
    quantifier, _, behind = item.text[head.end() :].partition('"')
    # A constant may hold a double quote.
    length = max(0, _blanked(_CONSTANT, behind).find('"'))
    return Statement(item.kind, head["name"], attributes, quantifier.strip(), behind[:length])


# --- Inside of formulas, rules and processes ------------------------------------------------------

# For who looks for certain operators: terms are rows of tokens, and no more is known of them than
# that shows. Sorts, arities and what operators mean is for provers to know.

_TOKEN = re.compile(r"'[^'\n]*'|[#~$%]?\w+(?:\.\d+)?|<=>|==>|<<|\+\+|%\+|\S")
# Tamarin prints the signs (Theory/Model/Formula.hs); people mostly write the words.
_WORD_OF_SIGN = {
    "⇔": "<=>",
    "⇒": "==>",
    "∧": "&",
    "∨": "|",
    "¬": "not",
    "∀": "All",
    "∃": "Ex",
    "⊥": "F",
    "⊤": "T",
    "⊏": "<<",
    "⊕": "XOR",
}
_QUANTIFIERS = ("All", "Ex")
_CONNECTIVES = ("<=>", "==>", "|", "&")  # the loosest first
# Substitution can double a term with each line; longer ones stay as they are written.
_MOST_TOKENS = 2_000

Tokens = Sequence[str]


def tokens_of(text: str) -> list[str]:
    """The tokens of a formula, a term or a process: constants are one, signs are words."""
    tokens = [_WORD_OF_SIGN.get(token, token) for token in _TOKEN.findall(text)]
    return _with_pairs(tokens) if "<<" in text else tokens


def _with_pairs(tokens: Iterable[str]) -> list[str]:
    """Tokens in which two pairs begin wherever `<<` doesn't stand behind a term."""
    found: list[str] = []
    for token in tokens:
        if token == "<<" and not (found and _ends_term(found[-1])):
            found += ("<", "<")
        else:
            found.append(token)
    return found


def _ends_term(token: str) -> bool:
    """Whether a token can be the last one of a term."""
    if token in ("not", "in", "then", "else"):
        return False
    return token in (")", ">") or token[0].isalnum() or token[0] in "'~$%#"


def applies_function(tokens: Tokens, names: Collection[str]) -> bool:
    """Whether one of these functions, predicates or macros is applied somewhere."""
    followers = itertools.islice(tokens, 1, None)
    return any(name in names and behind == "(" for name, behind in zip(tokens, followers))


def is_variable(token: str) -> bool:
    """Whether a token can be a variable of the sort `msg` (or a function without arguments)."""
    return token[0].isalpha()


def closing_brackets(tokens: Tokens) -> dict[int, int]:
    """Of each opening bracket that is closed the place of its partner."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    for place, token in enumerate(tokens):
        if token in ("(", "[", "{"):
            opened.append(place)
        elif token in (")", "]", "}") and opened:
            partners[opened.pop()] = place
    return partners


class FormulaPart(NamedTuple):
    """A part of a formula, and whether it counts as it is (1), negated (-1), or both ways (0)."""

    start: int
    end: int
    sign: int


class Split(NamedTuple):
    """A formula taken apart at its loosest operator."""

    operator: str  # a connective, a quantifier, `not`, `(`, or "" of an atom
    parts: list[FormulaPart]


class Formula:
    """A formula without its quotes, to be taken apart (Theory/Text/Parser/Formula.hs)."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens_of(text)
        self._partners = closing_brackets(self.tokens)

    @property
    def whole(self) -> FormulaPart:
        """All of it, as it is."""
        return FormulaPart(0, len(self.tokens), 1)

    def words(self, part: FormulaPart) -> list[str]:
        """The tokens of a part."""
        return self.tokens[part.start : part.end]

    def bare(self, part: FormulaPart) -> FormulaPart:
        """A part without the brackets around all of it."""
        while self.split(part).operator == "(":
            part = self.split(part).parts[0]
        return part

    def split(self, part: FormulaPart) -> Split:
        """Take a part apart; an atom has no parts."""
        start, end, sign = part
        if start >= end:
            return Split("", [])
        first = self.tokens[start]
        if first in _QUANTIFIERS:
            return Split(first, [FormulaPart(self._behind_variables(part), end, sign)])
        places = self._connectives(part)
        for operator in _CONNECTIVES:
            if operator in places:
                return Split(operator, list(_operands(part, operator, places[operator])))
        if first == "not":
            while start < end and self.tokens[start] == "not":
                start += 1
                sign = -sign
            return Split("not", [FormulaPart(start, end, sign)])
        if self._partners.get(start) == end - 1:
            return Split("(", [FormulaPart(start + 1, end - 1, sign)])
        return Split("", [])

    def _behind_variables(self, part: FormulaPart) -> int:
        """Where the body of a quantified formula begins."""
        for place in range(part.start, part.end):
            if self.tokens[place] == ".":
                return place + 1
        return part.end

    def _connectives(self, part: FormulaPart) -> dict[str, list[int]]:
        """Where which connectives stand outside of brackets; a quantifier takes all behind it."""
        places: dict[str, list[int]] = {}
        place = part.start
        while place < part.end:
            token = self.tokens[place]
            if token in _QUANTIFIERS:
                break
            if token in _CONNECTIVES:
                places.setdefault(token, []).append(place)
            place = self._partners.get(place, place) + 1
        return places

    def signed_parts(self) -> Iterator[tuple[str, FormulaPart]]:
        """The equivalences (`<=>`) and the atoms (""), each with its sign.

        Of an equivalence also what is in it: that counts both ways.
        """
        parts = [self.whole]
        while parts:
            part = parts.pop()
            operator, inner = self.split(part)
            if operator in ("", "<=>"):
                yield operator, part
            parts += inner


def _operands(part: FormulaPart, operator: str, places: Sequence[int]) -> Iterator[FormulaPart]:
    """What stands between the places of one connective."""
    start = part.start
    for place in (*places, part.end):
        sign = part.sign
        if operator == "<=>":
            sign = 0
        elif operator == "==>" and place != part.end:
            sign = -sign
        yield FormulaPart(start, place, sign)
        start = place + 1


class RuleFact(NamedTuple):
    """A fact of a rule, in which the terms of its `let` block stand for their names."""

    name: str
    is_linear: bool
    arguments: tuple[Tokens, ...]


_FACT_HEAD = re.compile(r"(!?) ?(\w+) ?\(")


def facts_of(rule: RuleText, texts: Iterable[str]) -> Iterator[RuleFact]:
    """Some of the facts of a rule; `_restrict(...)` is none."""
    bound = _bound_terms(rule.let_block)
    for text in texts:
        head = _FACT_HEAD.match(text)
        if not head or head[2] == "_restrict":
            continue
        arguments = split_list(text[head.end() : text.rfind(")")], _PAIR_OR_COMMA)
        terms = tuple(_unfolded(tokens_of(term), bound) for term in arguments)
        yield RuleFact(head[2], not head[1], terms)


def _bound_terms(let_block: str) -> dict[str, Tokens]:
    """The terms of a `let` block by their names; each may use those before it."""
    bound: dict[str, Tokens] = {}
    tokens = tokens_of(let_block)
    equals = [place for place, token in enumerate(tokens) if token == "=" and place]
    ends = [place - 1 for place in equals[1:]]
    for place, end in zip(equals, [*ends, len(tokens)]):
        bound[tokens[place - 1]] = _unfolded(tokens[place + 1 : end], bound)
    return bound


def _unfolded(tokens: Tokens, bound: Mapping[str, Tokens]) -> Tokens:
    """A term in which others stand, in brackets, for their names."""
    if bound.keys().isdisjoint(tokens):
        return tokens
    unfolded: list[str] = []
    for token in tokens:
        if token in bound:
            unfolded += ("(", *bound[token], ")")
        else:
            unfolded.append(token)
        if len(unfolded) > _MOST_TOKENS:
            return tokens
    return unfolded


@dataclass
class ProcessLet:
    """`let PATTERN = TERM in ... else ...` in a process."""

    pattern: Tokens
    term: Tokens
    has_else: bool = False

    @property
    def is_match(self) -> bool:
        """Whether the pattern is more than a variable."""
        return len(self.pattern) > 1 and self.pattern[1] != ":"


_PROCESS_HEAD = re.compile(r"process ?:|let \w+ ?(?:\([^()]*\))? ?=")


def process_tokens(items: TheoryItems) -> Iterator[list[str]]:
    """The tokens of each process and of those that it calls, without their heads."""
    for text in items.of_kind("process", "let"):
        head = _PROCESS_HEAD.match(text)
        if head:
            yield tokens_of(text[head.end() :])


def process_lets(tokens: Tokens) -> list[ProcessLet]:
    """Every `let` of a process. An `else` belongs to the last `if`, `lookup` or `let` before it.

    Brackets end what was begun in them (Theory/Text/Parser/Sapic.hs).
    """
    found: list[ProcessLet] = []
    open_in_brackets: list[list[list[ProcessLet]]] = [[]]
    place = 0
    while place < len(tokens):
        token = tokens[place]
        waiting = open_in_brackets[-1]
        if token == "(":
            open_in_brackets.append([])
        elif token == ")" and len(open_in_brackets) > 1:
            open_in_brackets.pop()
        elif token in ("if", "lookup"):
            waiting.append([])
        elif token == "let":
            end = _end_of_bindings(tokens, place)
            lets = list(_bindings(tokens[place + 1 : end]))
            waiting.append(lets)
            found += lets
            place = end
        elif token == "else" and waiting:
            for each in waiting.pop():
                each.has_else = True
        place += 1
    return found


def _end_of_bindings(tokens: Tokens, place: int) -> int:
    """The place of the `in` behind the `let` at this place."""
    while place < len(tokens) and tokens[place] != "in":
        place += 1
    return place


def _bindings(tokens: Tokens) -> Iterator[ProcessLet]:
    """`PATTERN = TERM`, one behind the other."""
    # In a pattern `=x` wants what x is: only the other ones stand between pattern and term.
    equals: list[int] = []
    for place, token in enumerate(tokens):
        if token == "=" and place and tokens[place - 1] not in ("<", ",", "("):
            equals.append(place)
    starts: list[int] = []
    for number, place in enumerate(equals):
        behind_last = equals[number - 1] + 1 if number else 0
        starts.append(_start_of_term(tokens, behind_last, place))
    for start, equal, end in zip(starts, equals, [*starts[1:], len(tokens)]):
        yield ProcessLet(tokens[start:equal], tokens[equal + 1 : end])


def _start_of_term(tokens: Tokens, first: int, end: int) -> int:
    """Where the pattern begins that ends before `end`; `first`: it doesn't before that."""
    place = end - 1
    depth = 0
    while place > first:
        token = tokens[place]
        depth += token in (")", ">")
        depth -= token in ("(", "<")
        before = tokens[place - 1]
        is_whole = depth == 0 and token != ":" and before not in (":", "=")
        if is_whole and not (token == "(" and is_variable(before)):
            break
        place -= 1
    return max(place, first)


# --- Actions that no rule has ---------------------------------------------------------------------

# A lemma about an action that never comes says less than it seems to, or nothing at all. Older
# versions of Tamarin warn of it ("Inexistent lemma actions"), 1.11 and 1.12 don't. What counts as
# known is read from Wellformedness.hs.

# Beside K/1, intruder rules have these; a `!` before them and capitals make no difference.
_OF_INTRUDER = ("KU", "KD", "DED")
# --auto-sources, and diff mode (getRuleName in Wellformedness.hs), add actions of these names.
_ADDED_PREFIXES = ("AUTO_", "DiffProto", "DiffIntr")
# What the translation of a process makes of all but events (actionToFact in Sapic/Facts.hs).
_OF_TRANSLATION = re.compile(
    r"Init|Event|Send|Receive|IsIn|IsNotSet|Insert|Delete|ChannelIn|(?:Unl|L)ock(?:_\w+)?"
    r"|Pred_\w+|Progress(?:From|To)_\w+"
)
_FACT = re.compile(r"(!?) ?([^\W_]\w*) ?\((.*)\)", re.DOTALL)
_ACTIONS_IN_PROCESS = re.compile(r"-- ?\[([^\[\]]*)\] ?->")
_BRACKET_OF_TERM = re.compile(r"(?P<name>(?:! ?)?(?<!\w)[^\W_]\w*) ?\(|[()<>,]")
_NOTHING_IN_BRACKETS = re.compile(r"\s*\)")
# What joins the parts of a formula; a quantifier reaches to the end of its bracket.
_JOINT = re.compile(r"[()&∧|∨⇒⇔∀∃]|==>|<=>|(?<!\w)(?:All|Ex)(?!\w)")
_UNIVERSAL = re.compile(r"(?:All|∀)(?!\w)[^.]*\.")
_NO_EXISTENTIAL = re.compile(r"(?:not|¬) ?(?P<bracket>\( ?)?(?:Ex|∃)(?!\w)[^.]*\.")
_ACTION_ATOM = re.compile(r"(.*\)) ?@ ?#? ?\w+", re.DOTALL)
_MOST_PARTS = 100  # of a premise that are looked at
_MANY_ACTIONS = 1000  # to compare more names takes too long


class FactName(NamedTuple):
    """What tells facts apart: `A/2` never meets `A/1`, nor `!A/2`."""

    name: str  # with its `!`
    arity: int

    def __str__(self) -> str:
        return f"{self.name}/{self.arity}"


def find_unknown_actions(items: TheoryItems) -> dict[str, UnknownActions]:
    """By lemma, as written, the unknown actions in its formula, if any.

    Those of predicates and case tests that it uses count. What can't be known isn't told.
    """
    known = _known_actions(items)
    if known is None:
        return {}
    near_misses = _NearMisses(known)
    found: dict[str, UnknownActions] = {}
    for lemma, unknown in _with_unknown_actions(items, "lemma", known):
        told = tuple(map(near_misses.told, unknown))
        found[lemma.name] = UnknownActions(told, _holds_without(lemma, unknown))
    return found


def find_misspelt_restrictions(items: TheoryItems) -> dict[str, list[str]]:
    """By restriction the unknown actions in it that are like others, which may be meant.

    Others are not told: many a theory has the usual restrictions, and does not use them all.
    """
    known = _known_actions(items)
    if known is None:
        return {}
    near_misses = _NearMisses(known)
    found: dict[str, list[str]] = {}
    for restriction, unknown in _with_unknown_actions(items, "restriction", known):
        told = [near_misses.told(action) for action in unknown if near_misses.of(action)]
        if told:
            found[restriction.name] = told
    return found


def _with_unknown_actions(
    items: TheoryItems, kind: str, known: Collection[FactName]
) -> Iterator[tuple[Statement, Collection[FactName]]]:
    """The statements of a kind that have unknown actions, and these, in their order."""
    formulas = _Formulas(items)
    has_process = bool(items.of_kind("process"))
    for statement in items.statements:
        if statement.kind != kind:
            continue
        unknown: dict[FactName, None] = {}
        for action in formulas.actions_of(statement):
            if action not in known and not _may_be_added(action.name, has_process):
                unknown[action] = None
        if unknown:
            yield statement, unknown


def _known_actions(items: TheoryItems) -> set[FactName] | None:
    """All that rules and processes say they make; None where a rule can't be read."""
    facts = [FactName("K", 1)]
    for rule in items.rules:
        if not rule.name:
            return None
        facts += _facts_in(rule.actions)
    # A process that nothing calls counts, too: that is not looked for.
    for process in items.of_kind("process", "let", "equivLemma", "diffEquivLemma"):
        for event in _applications(process):
            if process.endswith("event ", 0, event.start):
                facts.append(event.fact)
        for actions in _ACTIONS_IN_PROCESS.findall(_blanked(_QUOTED, process)):
            facts += _facts_in(split_list(actions))
    return set(facts)


def _facts_in(texts: Iterable[str]) -> Iterator[FactName]:
    for text in texts:
        fact = _FACT.match(text)
        if fact:
            arguments = split_list(fact[3], _PAIR_OR_COMMA)
            yield FactName(fact[1] + fact[2], len(arguments))


def _may_be_added(name: str, has_process: bool) -> bool:
    """Whether Tamarin itself may add actions of this name to the theory."""
    if name.lstrip("!").upper() in _OF_INTRUDER or name.startswith(_ADDED_PREFIXES):
        return True
    return has_process and _OF_TRANSLATION.fullmatch(name) is not None


class _NearMisses:
    """Finds known facts that an unknown one may be a slip of the pen for."""

    def __init__(self, known: Iterable[FactName]) -> None:
        self._known = sorted(known)
        self._told: dict[FactName, str] = {}  # many lemmas may be about one action
        self._alike: dict[str, list[FactName]] = {}  # by what they share: `kept` of `!Kept/1`
        for fact in self._known:
            self._alike.setdefault(_folded(fact), []).append(fact)

    def told(self, action: FactName) -> str:
        """`Comit/2 (did you mean Commit/2?)`."""
        if action not in self._told:
            self._told[action] = self._tell(action)
        return self._told[action]

    def _tell(self, action: FactName) -> str:
        near = self.of(action)
        if not near:
            return str(action)
        words = " or ".join(map(str, near[:3]))
        return f"{action} (did you mean {words}?)"

    def of(self, action: FactName) -> list[FactName]:
        """The known facts that may be meant."""
        # One that differs in case, arity or multiplicity alone is nearer than any other.
        return self._alike.get(_folded(action)) or self._of_like_name(action)

    def _of_like_name(self, action: FactName) -> list[FactName]:
        import difflib

        if len(self._known) > _MANY_ACTIONS or len(self._told) > _MANY_ACTIONS:
            return []
        names = {fact.name for fact in self._known}
        alike = difflib.get_close_matches(action.name, names, n=2, cutoff=0.75)
        return [fact for fact in self._known if fact.name in alike]


def _folded(fact: FactName) -> str:
    return fact.name.lstrip("!").lower()


class _Application(NamedTuple):
    """A name with arguments in brackets: a fact, a predicate or a function."""

    fact: FactName
    start: int  # where the name begins
    end: int  # behind its bracket


@dataclass
class _OpenBracket:
    """A bracket while we are in it: `(`, or `<` of a pair."""

    match: re.Match[str]
    commas: int = 0  # that stand in it, and in none further inside


def _applications(text: str) -> Iterator[_Application]:
    """All names with arguments in a text, inner ones first."""
    blanked = _blanked(_CONSTANT, text)
    around: list[_OpenBracket] = []
    for event in _BRACKET_OF_TERM.finditer(blanked):
        word = event.group()
        if word.endswith(("(", "<")):
            around.append(_OpenBracket(event))
        elif word == "," and around:
            around[-1].commas += 1
        elif word == ">" and around and around[-1].match.group() == "<":
            around.pop()
        elif word == ")":
            # A `<` that is still open compares.
            while around and around[-1].match.group() == "<":
                around.pop()
            if around:
                yield from _application(blanked, around.pop(), event.end())


def _application(text: str, bracket: _OpenBracket, end: int) -> Iterator[_Application]:
    """The name before a bracket that ends there, if it has one, with its arguments."""
    head = bracket.match
    if head["name"]:
        arity = bracket.commas + 1
        if _NOTHING_IN_BRACKETS.match(text, head.end()):
            arity = 0
        yield _Application(FactName(head["name"].replace(" ", ""), arity), head.start(), end)


class _Formulas:
    """The actions in formulas, with those of the predicates and case tests that they use."""

    def __init__(self, items: TheoryItems) -> None:
        self._tests = {each.name: each.formula for each in items.statements if each.kind == "test"}
        self._predicates: dict[str, str] = {}
        for text in items.predicates:
            head = _PREDICATE_HEAD.match(text)
            if head:
                self._predicates[_NO_WORD.split(text, maxsplit=1)[0]] = text[head.end() :]

    def actions_of(self, lemma: Statement) -> Iterator[FactName]:
        """The actions in its formula."""
        waiting = [lemma.formula]
        tests, _, accounts = lemma.quantifier.rpartition("account")
        if accounts:
            waiting += [self._tests.get(test, "") for test in split_list(tests)]
        used: set[str] = set()
        while waiting:
            formula = waiting.pop()
            for application in _applications(formula):
                name = application.fact.name
                if formula[application.end : application.end + 2].lstrip().startswith("@"):
                    yield application.fact
                elif name in self._predicates and name not in used:
                    used.add(name)
                    waiting.append(self._predicates[name])


def _holds_without(lemma: Statement, unknown: Collection[FactName]) -> bool:
    """Whether a lemma is true of every trace because these actions never come.

    It is where one of them stands in the premise of `All ... ==> ...`, or in `not (Ex ...)`, alone
    or beside `&`. Formulas of other forms aren't judged.
    """
    if lemma.quantifier not in ("", "all-traces"):
        return False
    waiting = _never_together(_unwrapped(lemma.formula))
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        part = _unwrapped(waiting.pop())
        atom = _ACTION_ATOM.fullmatch(part)
        if atom and any(fact in unknown for fact in _facts_in([atom[1]])):
            return True
        inner = _conjuncts(part)
        if len(inner) > 1:
            waiting += inner
    return False


def _never_together(formula: str) -> list[str]:
    """Parts of a formula which is true where one of them never holds."""
    universal = _UNIVERSAL.match(formula)
    if universal:
        return _premise(_unwrapped(formula[universal.end() :]))
    negated = _NO_EXISTENTIAL.match(formula)
    if not negated:
        return []
    body = formula[negated.end() :]
    if negated["bracket"]:
        wrapped = formula[negated.start("bracket") :]
        if _unwrapped(wrapped) == wrapped:  # it goes on behind the bracket
            return []
        body = body[:-1]
    return _conjuncts(_unwrapped(body))


def _premise(formula: str) -> list[str]:
    """What stands left of `==>`, in parts; nothing where it is no such formula."""
    joints = _outer_joints(formula)
    if any(joint.group() in ("<=>", "⇔") for joint in joints):
        return []
    for joint in joints:
        if joint.group() in ("==>", "⇒"):
            return _conjuncts(formula[: joint.start()])
    return []


def _conjuncts(formula: str) -> list[str]:
    """The parts of a formula between `&`; nothing where others join them."""
    parts: list[str] = []
    begin = 0
    for joint in _outer_joints(formula):
        if joint.group() not in "&∧":
            return []
        parts.append(formula[begin : joint.start()])
        begin = joint.end()
    return [*parts, formula[begin:]]


def _outer_joints(formula: str) -> list[re.Match[str]]:
    """What joins the parts of a formula, outside of brackets."""
    joints: list[re.Match[str]] = []
    depth = 0
    for joint in _JOINT.finditer(_blanked(_CONSTANT, formula)):
        if joint.group() == "(":
            depth += 1
        elif joint.group() == ")":
            depth -= 1
        elif depth == 0:
            joints.append(joint)
    return joints


def _unwrapped(formula: str) -> str:
    """A formula without the brackets around all of it."""
    formula = formula.strip()
    if not (formula.startswith("(") and formula.endswith(")")):
        return formula
    depth = 0
    for bracket in re.finditer(r"[()]", _blanked(_CONSTANT, formula)):
        depth += 1 if bracket.group() == "(" else -1
        if depth == 0 and bracket.end() < len(formula):
            return formula
    return formula[1:-1].strip()


# --- The files of a theory ------------------------------------------------------------------------

# Files that include each other twice would be read 2^n times.
_MAX_INCLUDES = 10_000


class SourceFiles:
    """The files of a theory while they are read: limits on all together, and no circles."""

    def __init__(self, copies: Mapping[str, str]) -> None:
        """`copies`: of files that are not to be read where they lie, by absolute path."""
        self.states: dict[str, FileState] = {}  # by path, in the order of reading
        self._copies = copies
        self._open: dict[str, None] = {}  # real paths of the files that we are in, this one last
        self._reads = 0
        self._bytes = 0

    def open(self, include: Include) -> str:
        """The text of a file. Raises InputError where Tamarin would refuse it, or it is no text."""
        path = include.path
        try:
            data = self._read(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            hint = file_meant(path) if isinstance(error, FileNotFoundError) else ""
            raise InputError(
                f"can't read '{path}': {reason}{hint}", include.asked_by, include.line
            ) from None
        if len(data) > MAX_THEORY_BYTES or self._bytes > 4 * MAX_THEORY_BYTES:
            most = f"at most {MAX_THEORY_BYTES // MB} MB a file, four times that with includes"
            raise InputError(f"too large: {most}", path)
        return _decoded(data, path)

    def close(self) -> None:
        """The file that was opened last has been read to its end."""
        self._open.popitem()

    def _read(self, path: str) -> bytes:
        """The bytes of a file, up to one more than it may have. Raises OSError or ValueError."""
        place = self._copies.get(os.path.abspath(path), path)
        if not stat.S_ISREG(os.stat(place).st_mode):  # a pipe or a device might never end
            raise ValueError("not a regular file")
        # By real paths: a circle may lead through links.
        real = os.path.realpath(path)
        if real in self._open:
            raise ValueError("it includes itself")
        if self._reads > _MAX_INCLUDES:
            raise ValueError(f"more than {_MAX_INCLUDES} includes")
        with open(place, "rb") as file:
            # Before the bytes: what changes while we read has another stamp afterwards.
            stamp = file_stamp(file.fileno())
            data = file.read(MAX_THEORY_BYTES + 1)
        self.states[path] = FileState(stamp, sha256(data))
        self._open[real] = None
        self._reads += 1
        self._bytes += len(data)
        return data


def _decoded(data: bytes, path: str) -> str:
    """The text of these bytes. Raises InputError if they are not UTF-8, as Tamarin wants it."""
    if data.startswith(b"\xef\xbb\xbf"):
        message = "a byte order mark, which Tamarin refuses: save the file as UTF-8 without BOM"
        raise InputError(message, path, 1, 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = (
            "not UTF-8, which Tamarin refuses: convert the file, e.g. with iconv -f latin1 -t utf-8"
        )
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(message, path, line) from None


# === Machine ======================================================================================

# Facts: proc(5), cgroups(7); for macOS <libproc.h>.

MACOS = sys.platform == "darwin"


# --- Cores and memory that this process may use ---------------------------------------------------


def available_cores(root: str = "/", environ: Mapping[str, str] = os.environ) -> int:
    """Cores this process may use: the least of affinity, cgroup quotas and Slurm allocation.

    A fraction of a core doesn't count, but one core is always there. root: where proc and sys are
    looked for.
    """
    bounds = [float(_cores_to_run_on())]
    bounds += _numbers(environ.get("SLURM_CPUS_ON_NODE", ""))
    for folder in _cgroup_folders(root, "cpu"):
        # v2 has both numbers in one file, "max" for no quota; v1 in two, -1 for no quota.
        numbers = _numbers_of(folder, "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
        if len(numbers) == 2:
            quota, period = numbers
            bounds.append(quota / period)
    return max(1, int(min(bounds)))


def available_memory_mb(root: str = "/", environ: Mapping[str, str] = os.environ) -> int:
    """MB this process may use, taken or not: the least of what is built in, cgroups and Slurm."""
    # Slurm's own unit is MB, too, and it gives either the node's memory or that of each core.
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB]
    bounds += _numbers(environ.get("SLURM_MEM_PER_NODE", ""))
    per_core = _numbers(environ.get("SLURM_MEM_PER_CPU", ""))
    cores = _numbers(environ.get("SLURM_CPUS_ON_NODE", ""))
    if per_core and cores:
        bounds.append(per_core[0] * cores[0])
    for folder in _cgroup_folders(root, "memory"):
        limits = _numbers_of(folder, "memory.max", "memory.high", "memory.limit_in_bytes")
        bounds += [limit // MB for limit in limits]
    return max(1, min(bounds))


def _cores_to_run_on() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    if affinity:
        return len(affinity(0))
    return os.cpu_count() or 1


def _cgroup_folders(root: str, controller: str) -> Iterator[str]:
    """Where this process's cgroup, and each one above it, may show its limits: v1 and v2."""
    table = os.fsdecode(read_kernel_file(os.path.join(root, "proc/self/cgroup")))
    for line in table.splitlines():
        fields = line.split(":", 2)
        if len(fields) < 3:
            continue
        hierarchy, controllers, path = fields
        if hierarchy == "0":  # v2; "unified" where v1 is mounted beside it
            mounts = ["", "unified"]
        elif controller in controllers.split(","):
            mounts = [controller]
        else:
            continue
        # A container without a cgroup namespace reads its path as it is outside, and finds its own
        # limits at the mount's root.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield os.path.join(root, "sys/fs/cgroup", mount, *parts[:depth])


def _numbers_of(folder: str, *names: str) -> list[int]:
    """The positive numbers in those of these files that are there."""
    numbers = []
    for name in names:
        numbers += _numbers(read_kernel_file(os.path.join(folder, name)))
    return numbers


def _numbers(text: str | bytes) -> list[int]:
    # Words like "max" set no limit, and neither does Slurm's 0.
    return [int(word) for word in text.split() if word.isdigit() and int(word)]


# --- Processes ------------------------------------------------------------------------------------


# The unit of ru_maxrss: the largest of the process waited for and those it waited for.
MAXRSS_MB = 2**-20 if MACOS else 2**-10


class ProcessId(NamedTuple):
    """Names one process since boot: pids are used again."""

    pid: int
    started: int  # what `process_start` tells


class ProcessInfo(NamedTuple):
    """What /proc/PID/stat tells of a process; as it stands here when the process is gone."""

    state: str = "X"
    parent: int = 0
    session: int = 0
    started: int = 0  # clock ticks since boot


class ProcessMemory(NamedTuple):
    """What a process has of memory, in bytes."""

    virtual: int = 0  # its address space; 0 on macOS
    resident: int = 0


# Asked for once: the live view compares it in every frame, and macOS starts a program for it.
@functools.cache
def host_id() -> tuple[str, str]:
    """(host, boot id): between two equal ones a pid with its start time means the same process.

    The boot id holds the pid namespace, too: containers share a kernel and often a name, but not
    their pids.
    """
    if MACOS:
        return os.uname().nodename, os.popen("sysctl -n kern.bootsessionuuid").read().strip()
    boot = read_kernel_file("/proc/sys/kernel/random/boot_id").decode().strip()
    with suppress(OSError):
        boot += " " + os.readlink("/proc/self/ns/pid")
    return os.uname().nodename, boot


def process_start(pid: int) -> int:
    """When a process started, in the system's own unit; 0 when it is gone."""
    with suppress(OSError):  # no descriptor free to look with
        if MACOS:
            return _mac_usage(pid).started
        return process_info(pid).started
    return 0


def process_info(pid: int) -> ProcessInfo:
    """What the system tells of a process (Linux)."""
    # The name before the fields may hold anything, blanks and parentheses too. The first field
    # behind it is number 3 in proc(5).
    fields = read_kernel_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) <= 19:
        return ProcessInfo()
    return ProcessInfo(
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        started=int(fields[19]),
    )


def living_processes() -> dict[int, ProcessInfo]:
    """Every living process by pid (Linux)."""
    living = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            info = process_info(int(name))
            if info.state not in "ZX":
                living[int(name)] = info
    return living


def children_of(pid: int) -> list[int]:
    """Children of a process, dead ones included.

    The list can miss one while another dies, so who must know looks again.
    """
    if MACOS:
        return _mac_pids(_PROC_PPID_ONLY, pid)
    if not _kernel_lists_children():
        table = living_processes()
        return [child for child, info in table.items() if info.parent == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or not ours to look at
        return []
    children: list[int] = []
    for thread in threads:
        children += map(int, read_kernel_file(f"/proc/{pid}/task/{thread}/children").split())
    return children


@functools.cache
def _kernel_lists_children() -> bool:
    """Whether it was built with CONFIG_PROC_CHILDREN."""
    return os.path.exists("/proc/thread-self/children")


def memory_of(pid: int) -> ProcessMemory:
    """What a process has of memory; zeros when it is gone."""
    if MACOS:
        return ProcessMemory(resident=_mac_usage(pid).resident)
    pages = read_kernel_file(f"/proc/{pid}/statm").split()
    if not pages:
        return ProcessMemory()
    page_size = os.sysconf("SC_PAGE_SIZE")
    return ProcessMemory(int(pages[0]) * page_size, int(pages[1]) * page_size)


def oom_kill_count(path: str = "/proc/vmstat") -> int:
    """How often the kernel's out-of-memory killer struck since boot, or -1.

    In all cgroups of the whole system (Linux 4.13).
    """
    count = re.search(rb"^oom_kill (\d+)$", read_kernel_file(path), re.MULTILINE)
    if count is None:
        return -1
    return int(count[1])


def read_kernel_file(path: str) -> bytes:
    """A file of /proc or /sys; empty when it is gone or not ours to look at.

    Raises OSError when no descriptor is free.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return b""


def send_signal(pid: int, number: int) -> None:
    """Signal a process, or a group by its negative number; it may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


# What proc_listpids selects by.
_PROC_PGRP_ONLY = 2
_PROC_PPID_ONLY = 6


class _MacUsage(NamedTuple):
    """What rusage_info_v0 tells of a process; zeros when it is gone."""

    resident: int = 0  # bytes
    started: int = 0  # in Mach's time since boot


def mac_group(number: int) -> list[int]:
    """The pids of a process group (macOS)."""
    return _mac_pids(_PROC_PGRP_ONLY, number)


def _mac_pids(kind: int, number: int) -> list[int]:
    """Pids by parent or group: proc_listpids."""
    import ctypes

    pids = (ctypes.c_int * 4096)()
    ctypes.CDLL(None).proc_listpids(kind, number, pids, ctypes.sizeof(pids))
    return [pid for pid in pids if pid]


def _mac_usage(pid: int) -> _MacUsage:
    """What proc_pid_rusage tells of a process."""
    import ctypes

    info = (ctypes.c_uint64 * 12)()
    failed = ctypes.CDLL(None).proc_pid_rusage(pid, 0, info)
    if failed:
        return _MacUsage()
    return _MacUsage(resident=int(info[8]), started=int(info[10]))


# --- Programs -------------------------------------------------------------------------------------


def find_program(name: str, directory: str = "", env: Mapping[str, str] | None = None) -> str:
    """The absolute path of an executable file, or of a command on PATH (that of `env`), or ""."""
    name = os.path.expanduser(name)
    # As a shell finds it; what is on no PATH may still lie beside the recipe.
    folders = [os.getcwd(), directory]
    if os.sep not in name:
        folders = [*os.get_exec_path(env), *folders]
    for folder in folders:
        path = os.path.abspath(os.path.join(folder, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def no_program(name: str, directory: str = "") -> str:
    """What to say of a program that `find_program` does not find."""
    name = os.path.expanduser(name)
    shown = printable(name)
    for folder in (os.getcwd(), directory):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            return f"'{shown}' is a directory: name the program in it"
        if os.path.isfile(path):
            shortest = path if os.path.isabs(name) else os.path.relpath(path)
            command = quoted(["chmod", "+x", printable(shortest)])
            return f"'{shown}' has no permission to be run: {command}"
    if os.sep in name:
        hint = file_meant(os.path.join(directory, name))
        return f"there is no such file '{shown}'{hint}: give a file, or a command on PATH"
    return f"there is no command '{shown}' on PATH: give one that is, or a file"


# Of a script's first line: what the system calls, or `env` for it.
_INTERPRETER = re.compile(r"#! *(?:(?:[^ ]*/)?env +(?:(?:-|\w+=)[^ ]* +)*)?([^ \n]+)")


def oracle_problem(path: str, environment: Mapping[str, str]) -> str:
    """Why an oracle can't be called, with this environment; "" if it can.

    Tamarin finds out only when it has loaded the theory.
    """
    if not os.path.isfile(path):
        return "does not exist"
    if not os.access(path, os.X_OK):
        return "is not executable (chmod +x)"
    try:
        with open(path, "rb") as file:
            first_line = os.fsdecode(file.readline(1024))
    except OSError as error:
        return f"can't be read: {error.strerror}"
    found = _INTERPRETER.match(first_line)
    if found and not find_program(found[1], env=environment):
        return f"needs the interpreter {found[1]!r}, which is not there"
    return ""


# --- Files ----------------------------------------------------------------------------------------

# Characters of a prover's line that are looked at; a line of output may be of any length.
LINE_CAP = 65_536


def relative_to(name: str, directory: str) -> list[str]:
    """What a recipe's path can mean: a file below the working directory, or below the recipe's.

    One path, or none; two where both are there and are different files.
    """
    name = os.path.expanduser(name)
    candidates = (name, os.path.join(directory, name))
    paths = [path for path in candidates if os.path.exists(path)]
    if len(paths) == 2 and os.path.samefile(*paths):
        return paths[:1]
    return paths


def in_home(path: str) -> str:
    """A path to be written to, its `~` expanded. Raises InputError where that is unknown."""
    expanded = os.path.expanduser(path)
    # Else a directory of this name would be made here.
    if expanded.startswith("~"):
        raise InputError("no home directory is known for this: set HOME", printable(path))
    return expanded


def read_text(path: str, limit: int = 64 * MB) -> str:
    """A user's text file (UTF-8, with or without a byte order mark). Raises InputError."""
    try:
        with open_file(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        hint = file_meant(path) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"can't be read: {error.strerror}{hint}", path) from None
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


def file_digest(path: str) -> str:
    """A digest of what `file_state` tells of a file; "" when it can't be read."""
    state = file_state(path)
    if not state.digest:
        return ""
    return sha256(f"{state.digest} {state.executable}".encode())


# Hundreds of tasks read the same theories and are proven by the same programs.
@functools.lru_cache(maxsize=1024)
def file_state(path: str) -> FileState:
    """What a file was when it was asked for first."""
    return file_state_now(path)


def file_state_now(path: str) -> FileState:
    """What a file is: its `file_stamp`, SHA-256 of its bytes, who may execute it."""
    import hashlib

    # Before the bytes: what changes while we read has another stamp afterwards.
    stamp = file_stamp(path)
    digest = hashlib.sha256()
    try:
        with open_file(path) as file:
            for block in _blocks(file):
                digest.update(block)
            executable = os.fstat(file.fileno()).st_mode & 0o111
    except OSError:
        return FileState(stamp, "")
    return FileState(stamp, digest.hexdigest(), oct(executable))


def open_file(path: str) -> BinaryIO:
    """A file from anywhere, opened for reading. Raises OSError, also for what might never end.

    A pipe that nobody writes to would block for ever. What a shell makes of `<(command)` is one,
    too, but ends: it lies below /dev.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_irregular(fd, path)
    except OSError:
        os.close(fd)
        raise
    os.set_blocking(fd, True)
    return os.fdopen(fd, "rb")


def _refuse_irregular(fd: int, path: str) -> None:
    """Raise OSError for a directory, a pipe or a device."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode) and not os.path.abspath(path).startswith("/dev/"):
        raise OSError(errno.EINVAL, "not a regular file", path)


def open_no_link(path: str, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file, an `opener` of `open`. Raises OSError for a symbolic link, too."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def copy_file(source: str, target: str) -> str:
    """Copy a file to where none is; returns its SHA-256. Raises OSError."""
    import hashlib

    if not os.path.isfile(source):
        raise FileNotFoundError(source)
    digest = hashlib.sha256()
    with open(source, "rb") as reading, open(target, "xb") as writing:
        for block in _blocks(reading):
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """What a file holds, in pieces."""
    return iter(functools.partial(file.read, MB), b"")


def last_part(path: str, marker: str, reach: int = 16 * MB) -> list[str]:
    """The lines of a text file from the last `marker` on.

    Empty if it doesn't stand within `reach` bytes of the end. Raises OSError, but not for a missing
    file.
    """
    for size in (65_536, reach):  # most summaries are short
        data = read_from_end(path, size)
        is_whole = len(data) < size
        # Logs come by way of other systems, too.
        data = data.replace(b"\r\n", b"\n")
        start = data.rfind(marker.encode())
        if start >= 0:
            text = data[start:].decode("utf-8", "replace")
            return [line[:LINE_CAP] for line in text.split("\n")]
        if is_whole:
            break
    return []


def ends_of(path: str, size: int = 65_536) -> list[str]:
    """The lines of a text file; of a large one, those in `size` bytes at its beginning and end.

    Raises OSError, but not for a missing file.
    """
    data = read_from_end(path, 2 * size)
    if len(data) == 2 * size:
        with open(path, "rb") as file:
            data = file.read(size) + b"\n" + data[size:]
    return data.decode("utf-8", "replace").splitlines()


def read_from_end(path: str, size: int) -> bytes:
    """The last `size` bytes of a file, nothing of a missing one. Raises OSError."""
    try:
        with open(path, "rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            file.seek(max(0, length - size))
            return file.read(size)
    except FileNotFoundError:  # nothing was ever printed
        return b""


# === Supervisor ===================================================================================

# Facts: proc(5), prctl(2), wait4(2), posix_spawn(3), the kernel's fs/exec.c (what execs takes over
# the peak of the memory it leaves: under posix_spawn the driver's) and mm/oom_kill.c.

MARKER = "BATCH_TAMARIN_JOB"  # in the environment of every job: <batch>/<job>/<attempt>

GRACE_S = 3.0  # from SIGTERM to SIGKILL
UNKILLABLE_S = 30.0  # what outlives SIGKILL for so long is given up

LONGEST_LOOK_S = 1.0  # between two looks at a job
CLOSEST_LOOK_S = 0.02
FIRST_LOOK_S = 0.005
LONE_LOOK_S = 0.06  # what is looked at less often is looked at together with others
LATE_S = 0.5  # a look that is so late did not hold a job to its limits
FASTEST_HOG = 3 * 1024  # MB per second a prover is expected to grow at most
COPY_S = 1.0  # for so long a child that looks like its parent is taken for one about to exec

LOG_CAP = 64 * MB
LOG_HEAD = 16 * MB  # of a longer log, what is kept of its beginning
LOG_TAIL = 16 * MB  # and of its end


@final
class Supervisor:
    """Runs jobs for one batch, as a context manager around it; single-threaded, one per driver.

    batch_id: unique; inside another supervisor's job (on a Slurm node) that job's marker, so that
    the outer marker is a prefix of the inner ones. lock_fd: stays open in a watchdog until no
    process of the batch is left.
    """

    def __init__(self, batch_id: str, lock_fd: int | None = None) -> None:
        self.live: dict[str, Live] = {}  # by job id
        self._batch_id = batch_id
        self._lock_fd = lock_fd
        self._finder = ProcessFinder(self.live)
        self._monitor = Monitor(self._finder)
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that tells of SIGCHLD
        self._stopped: str | None = None  # why nothing more is started
        self._suspended: float | None = None  # since when every tree is held

    def __enter__(self) -> Supervisor:
        # Asked for once: the process's directory never changes while there are jobs.
        self._home = os.getcwd()
        _keep_descriptors_from_children()
        if not MACOS:
            _become_subreaper()
        self._watchdog = start_watchdog(self._batch_id, self._lock_fd)
        # Children that we have already: what a shell started before it became us by `exec`.
        self._finder.leave_alone([self._watchdog.pid, *children_of(os.getpid())])
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # no descriptor free to look with
            for live in self.live.values():
                kill_tree_now(live, self._finder)
            kill_orphans_now(self._finder)
        # Last: if we are killed before this, it does the rest.
        self._watchdog.end()

    async def run(self, job: Job, on_start: Callable[[int, int], None]) -> Outcome:
        """How a job ended, once its whole tree is gone; never raises for a prover or the system.

        Right after the start, on_start(pid, started) is called: `started` is what `process_start`
        tells of it.
        """
        import asyncio

        if self._stopped is not None:
            return Outcome(Status.INTERRUPTED, reason=self._stopped)
        try:
            live = self._start(job, asyncio.get_running_loop())
        except (OSError, ValueError) as error:
            reason = f"could not start {job.command[0]}: {_why_not_started(job, error)}"
            return Outcome(Status.FAILED, reason=reason)
        pid = live.leader.pid
        try:
            on_start(pid, process_start(pid))
            await live.turn
            unkillable = await end_tree(live, self._finder)
            if live.may_share_our_end:
                # systemd and Slurm signal everything at once: is it our turn, too?
                await asyncio.sleep(0.2)
        except BaseException:
            kill_tree_now(live, self._finder)
            raise
        finally:
            live.timer.cancel()
            del self.live[job.id]
            self._watchdog.forget(pid)
        for log in live.logs:
            log.cap()
        return outcome_of(live, unkillable, self._monitor.oom_kills)

    def stop(
        self, job_id: str, reason: str, at_once: bool = False, status: Status = Status.INTERRUPTED
    ) -> None:
        """End one job if it runs: SIGTERM, 3 s, SIGKILL; or SIGKILL at once.

        Its outcome gets this status and reason.
        """
        live = self.live.get(job_id)
        if live:
            live.stop(Cause(status, reason), at_once)

    def interrupt(self, reason: str, at_once: bool = False) -> None:
        """Stop every job and start no other. Called again with at_once, it cuts the grace short."""
        self._stopped = reason
        for job_id in self.live:
            self.stop(job_id, reason, at_once)

    def suspend(self) -> None:
        """Hold every tree (Ctrl-Z); limits' clocks stand still until `resume`."""
        self._suspended = time.monotonic()
        for live in self.live.values():
            live.timer.cancel()
            signal_tree(live, self._finder.tree_of(live), signal.SIGSTOP)

    def resume(self) -> None:
        """Let every held tree go on."""
        if self._suspended is None:
            return
        away_s = time.monotonic() - self._suspended
        self._suspended = None
        for live in self.live.values():
            live.timer.cancel()
            live.put_clocks_forward(away_s)
            signal_tree(live, self._finder.tree_of(live), signal.SIGCONT)
            self._monitor.look(live)

    def _start(self, job: Job, loop: asyncio.AbstractEventLoop) -> Live:
        """A job that was just started and is looked at from now on.

        Raises OSError or ValueError when it can't be started.
        """
        if loop is not self._loop:
            self._loop = loop
            loop.add_signal_handler(signal.SIGCHLD, self._reap_all)
        started = time.monotonic()
        # Nothing is awaited from here until the job is in `live`: a look at another job in between
        # would take the leader for an orphan, and reap it.
        leader = start_leader(job, f"{self._batch_id}/{job.id}/{job.attempt}", self._home)
        paths = dict.fromkeys((job.stdout, job.stderr))
        live = Live(
            job=job,
            started=started,
            leader=leader,
            usage=UsageSoFar(sampled=started),
            logs=[CappedLog(path) for path in paths],
            turn=loop.create_future(),
        )
        self.live[job.id] = live
        self._monitor.watch(live)
        self._watchdog.watch(leader.pid)
        return live

    def _reap_all(self) -> None:
        """Some child ended. Each leader is asked for: wait4(-1) would take what others wait for."""
        for live in self.live.values():
            reap(live)


# --- Signals that end what runs -------------------------------------------------------------------

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started us wants this signal to be ignored (`nohup`, a script's `&`)."""
    return signal.getsignal(number) == signal.SIG_IGN


def run_unless_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Run an event loop until some work is done; what came of it.

    A signal that stops us cancels the work, and SystemExit is raised when that has ended. Raised
    where a signal happens to come it would end up in any task, and the loop would complain of it.
    """
    import asyncio

    stopped_by: list[int] = []

    async def stoppable() -> T:
        task = asyncio.ensure_future(work)

        def stop(number: int) -> None:
            stopped_by.append(number)
            task.cancel()

        for number in STOPPING_SIGNALS:
            if not is_ignored(number):
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await task

    answers = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}
    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not stopped_by:
            raise
        sys.exit(128 + stopped_by[0])
    finally:
        # The event loop has put them back to what they are in any program.
        for number, answer in answers.items():
            signal.signal(number, answer)


# --- A job that runs, and what is remembered of it ------------------------------------------------


class Cause(NamedTuple):
    """Why we end a job: what its outcome gets."""

    status: Status
    reason: str


@dataclass
class Leader:
    """A job's first process, which the session and the group have their number from."""

    pid: int
    marker: str
    driver_peak_mb: float  # of the driver at the start: a fresh child's ru_maxrss begins there
    ended: float | None = None  # when it was reaped; until then its pid and group are ours
    exit: ExitStatus | None = None  # None also when somebody else took it

    @property
    def died_of(self) -> str:
        """The signal that ended it, or ""."""
        return self.exit.signal if self.exit else ""


@dataclass
class UsageSoFar:
    """What a job has used so far, over its whole tree."""

    sampled: float  # when its memory was looked at last
    rss_mb: float = 0.0  # then
    peak_mb: float = 0.0
    mb_seconds: float = 0.0
    cpu_s: float = 0.0  # of what has ended
    pids: set[int] = field(default_factory=set)  # in the last sample
    # Children that may still share their parent's memory: since when.
    copies: dict[int, float] = field(default_factory=dict)

    def add_sample(self, rss_mb: float, now: float) -> None:
        """Count what all of the tree has in memory now."""
        self.rss_mb = rss_mb
        self.peak_mb = max(self.peak_mb, rss_mb)
        self.mb_seconds += rss_mb * (now - self.sampled)
        self.sampled = now

    def add_ended(self, rusage: resource.struct_rusage, least_mb: float = 0.0) -> None:
        """Count what a process used that has ended; a peak up to `least_mb` may not be its own."""
        self.cpu_s += rusage.ru_utime + rusage.ru_stime
        peak_mb = rusage.ru_maxrss * MAXRSS_MB
        if peak_mb > least_mb:
            self.peak_mb = max(self.peak_mb, peak_mb)

    def average_mb(self, started: float) -> float:
        """The memory weighted by time, of a job that started then."""
        if not self.mb_seconds:
            return self.peak_mb
        return min(self.peak_mb, self.mb_seconds / (self.sampled - started))


@dataclass(eq=False)
class Live:
    """A job that runs. `job`, `started` and `rss_mb` are for the live view."""

    job: Job
    started: float  # monotonic; moved on by suspended time: now - started is time run
    leader: Leader
    usage: UsageSoFar
    logs: list[CappedLog]
    turn: asyncio.Future[None]  # done: the leader has ended, or the tree is to be ended
    due: float = field(init=False)  # the next look; if it comes later, the loop was busy elsewhere
    timer: asyncio.TimerHandle = field(init=False)  # for it
    cause: Cause | None = None  # set by whoever ends it first
    no_grace: bool = False  # SIGKILL without (further) waiting

    @property
    def rss_mb(self) -> float:
        """MB that its tree had in memory at the last look."""
        return self.usage.rss_mb

    @property
    def has_leader(self) -> bool:
        """Whether its leader wasn't reaped yet."""
        return self.leader.ended is None

    @property
    def may_share_our_end(self) -> bool:
        """Whether it was ended, not by us, by what also ends a driver."""
        return self.cause is None and self.leader.died_of in ("SIGTERM", "SIGINT", "SIGHUP")

    def stop(self, cause: Cause, at_once: bool) -> None:
        """Have its tree ended, for the first cause that is given."""
        # What ended by itself stays so while its rest is killed.
        if self.cause is None and (self.has_leader or self.leader.died_of):
            self.cause = cause
        if at_once:
            self.no_grace = True
        self.wake()

    def wake(self) -> None:
        """Let `Supervisor.run` go on with its end."""
        if not self.turn.done():
            self.turn.set_result(None)

    def put_clocks_forward(self, seconds: float) -> None:
        """Forget a time in which it was held."""
        self.started += seconds
        self.usage.sampled += seconds
        self.due += seconds


# --- Starting a job -------------------------------------------------------------------------------

# Signals that a child gets back with their usual effect.
RESET = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
)


def start_leader(job: Job, marker: str, home: str) -> Leader:
    """The leader of a job, started in a session of its own, with nothing of ours but its log files.

    home: our own working directory. Raises OSError or ValueError.
    """
    import resource

    command = job.command
    if job.cwd != home:
        command = _in_directory(job.cwd, command)
    program = _program_on_path(command[0], job.env)
    environment = {**job.env, MARKER: marker}
    try:
        pid = _spawn(job, program, command, environment)
    except NotImplementedError:
        pid = _spawn_without_setsid(job, program, command, environment)
    if MACOS:  # a fresh child starts from nothing
        return Leader(pid, marker, 0.0)
    return Leader(pid, marker, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_MB)


# After a cut of its log, a prover goes on at the new end: O_APPEND.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW


def _spawn(job: Job, program: str, command: tuple[str, ...], environment: dict[str, str]) -> int:
    """The pid of a program in a session of its own.

    Raises NotImplementedError where the system this Python was built for could not do that: macOS
    before 10.15, a C library before glibc 2.26.
    """
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, job.stdout, _APPEND, 0o666),
        (os.POSIX_SPAWN_OPEN, 2, job.stderr, _APPEND, 0o666),
    )
    # Not `subprocess`: posix_spawn costs a tenth of it, and nothing of ours runs in the child.
    return os.posix_spawn(
        program,
        command,
        environment,
        file_actions=files,
        setsid=True,
        setsigmask=(),
        setsigdef=RESET,
    )


def _spawn_without_setsid(
    job: Job, program: str, command: tuple[str, ...], environment: dict[str, str]
) -> int:
    """The same by `subprocess`: signals that we were started to ignore stay ignored."""
    import subprocess

    with _log_opened(job.stdout) as stdout, _log_opened(job.stderr) as stderr:
        process = subprocess.Popen(
            command,
            executable=program,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    # We wait for it, and `subprocess` must not: it leaves alone what it takes to have ended.
    process.returncode = 0
    return process.pid


def _log_opened(path: str) -> BinaryIO:
    return cast("BinaryIO", open(path, "ab", buffering=0, opener=_open_log))


def _open_log(path: str, flags: int) -> int:
    return os.open(path, _APPEND | os.O_CLOEXEC, 0o666)


def _program_on_path(word: str, environment: Mapping[str, str]) -> str:
    """Where a command is on the PATH of the child, which may not be ours.

    Raises FileNotFoundError.
    """
    import shutil

    if os.sep in word:
        return word
    path = os.pathsep.join(os.get_exec_path(environment))
    program = shutil.which(word, path=path)
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)
    return program


def _in_directory(directory: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """A command line that does the same in a directory.

    posix_spawn can't change it, and ours is that of all our threads. The shell reads no text but
    this one. Raises OSError where there is no such directory or program.
    """
    os.stat(os.path.join(directory, "."))
    if os.sep in command[0]:
        os.stat(os.path.join(directory, command[0]))
    return ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"', directory, *command)


# What posix_spawn's error numbers mean, where it doesn't depend on the program.
_START_ERRORS = {
    errno.ENOEXEC: "not a program for this machine, or a script without #! line",
    errno.EAGAIN: "no more processes allowed (ulimit -u, or the pids limit of a cgroup)",
    errno.EMFILE: "this process has too many open files (ulimit -n)",
}


def _why_not_started(job: Job, error: Exception) -> str:
    """A sentence for the user.

    posix_spawn has one error number for opening the logs, finding and executing the program.
    """
    if not os.access(job.cwd, os.X_OK):
        return f"the working directory {job.cwd} does not exist or is closed to you"
    for log in (job.stdout, job.stderr):
        if not os.access(os.path.dirname(log), os.W_OK):
            return f"its log {log} can't be written"
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.ENOENT:
        return _why_not_found(job)
    if error.errno == errno.EACCES:
        return _why_not_executed(job)
    if error.errno in _START_ERRORS:
        return _START_ERRORS[error.errno]
    return error.strerror or str(error)


def _why_not_found(job: Job) -> str:
    program = job.command[0]
    if "/" in program and os.path.exists(os.path.join(job.cwd, program)):
        return "its interpreter (#! line) or loader is missing"
    return "there is no such program"


def _why_not_executed(job: Job) -> str:
    program = job.command[0]
    closed = "it is not executable, or its folder is closed to you"
    if "/" not in program:  # a closed folder on PATH hides that it is nowhere
        return f"there is no such program, or {closed}"
    if os.path.isdir(os.path.join(job.cwd, program)):
        return "it is a folder"
    return closed


def _keep_descriptors_from_children() -> None:
    """Python opens all of ours close-on-exec; what a shell handed down isn't."""
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the descriptor of listdir itself
            os.set_inheritable(number, number <= 2)


def _become_subreaper() -> None:
    """Orphans of our descendants come to us (Linux)."""
    import ctypes

    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


# --- Looking: memory, time and logs, and holding a job to its limits ------------------------------


class Monitor:
    """Looks at jobs from time to time, and ends those that meet a limit."""

    def __init__(self, finder: ProcessFinder) -> None:
        self.oom_kills = OomKills()
        self._finder = finder

    def watch(self, live: Live) -> None:
        """Look at a job that was just started, from now on."""
        self._look_again(live, live.started, FIRST_LOOK_S)

    def look(self, live: Live) -> None:
        """Sample a job, hold it to its limits, and come again.

        Soon in its youth and near a limit, else every second.
        """
        reap(live)  # also makes up for a SIGCHLD that somebody lost
        # In the grace of what we end, the limit of memory still holds for those that are left.
        if not live.has_leader and not live.cause:
            return
        now = time.monotonic()
        since_s = now - live.usage.sampled
        age_s = now - live.started
        pauses = [LONGEST_LOOK_S, max(FIRST_LOOK_S, age_s / 2)]
        with suppress(OSError):  # no descriptor free to look with: the next look may have one
            self._sample(live, now)
        for log in live.logs:
            with suppress(OSError):  # somebody removed it
                pauses.append(self._watch_log(live, log, since_s))
        hold_to_limits(live, age_s)
        pauses.append(seconds_to_limit(live, age_s))
        self._look_again(live, now, min(pauses))

    def _look_again(self, live: Live, now: float, pause_s: float) -> None:
        loop = live.turn.get_loop()
        due = loop.time() + pause_s
        if pause_s > LONE_LOOK_S:
            # At common multiples of a power of two: many jobs need few wake-ups.
            grid = 2.0 ** (math.frexp(pause_s)[1] - 1)
            due = due // grid * grid
        live.timer = loop.call_at(due, self.look, live)
        live.due = now + pause_s

    def _sample(self, live: Live, now: float) -> None:
        """Sum the resident memory of the tree."""
        self.oom_kills.look(now)
        total = 0
        sizes = {0: ProcessMemory()}
        copies = {}
        tree = self._finder.tree_of(live, CLOSEST_LOOK_S)
        for pid, parent in tree.items():
            size = sizes[pid] = memory_of(pid)
            if is_copy(size, sizes[parent]):
                copies[pid] = live.usage.copies.get(pid, now)
                if now - copies[pid] < COPY_S:
                    continue
            total += size.resident
        live.usage.pids = set(tree)
        live.usage.copies = copies
        live.usage.add_sample(total / MB, now)

    def _watch_log(self, live: Live, log: CappedLog, since_s: float) -> float:
        """Cut a log that is too long; returns in how many seconds it may be so again."""
        pause_s = log.seconds_to_cap(since_s)
        if pause_s > 0:
            return pause_s
        # Its writers are held meanwhile, so that nothing is lost.
        tree = self._finder.tree_of(live)
        signal_tree(live, tree, signal.SIGSTOP)
        log.cap()
        signal_tree(live, tree, signal.SIGCONT)
        return CLOSEST_LOOK_S


class OomKills:
    """Whether the kernel's out-of-memory killer struck lately: it only counts, and names nobody."""

    def __init__(self) -> None:
        # Two, so that a kill just before a look is not missed.
        self.counts: deque[int] = deque(maxlen=2)
        self._looked = 0.0

    def look(self, now: float) -> None:
        """Take the count, at most once a second."""
        if now - self._looked >= 1:
            self._looked = now
            self.counts.append(oom_kill_count())

    def grew(self) -> bool:
        """Whether there was a kill since the last look but one."""
        with suppress(OSError):  # no descriptor free to look with
            return len(self.counts) > 0 and 0 <= self.counts[0] < oom_kill_count()
        return False


def is_copy(child: ProcessMemory, parent: ProcessMemory) -> bool:
    """Whether a child looks as if it had just forked: it shows its parent's memory once more."""
    return 0 < child.virtual == parent.virtual and child.resident <= parent.resident


def hold_to_limits(live: Live, age_s: float) -> None:
    """End a job that is over its memory or time."""
    limits = live.job.limits
    if live.usage.rss_mb > limits.memory_mb:
        live.stop(over_memory(live.usage.rss_mb, limits), at_once=True)
    elif age_s >= limits.timeout_s:
        live.stop(over_time(limits), at_once=False)


def seconds_to_limit(live: Live, age_s: float) -> float:
    """How soon a job can meet a limit."""
    limits = live.job.limits
    free_mb = limits.memory_mb - live.usage.rss_mb
    # A little earlier than the fastest prover would be there.
    by_memory_s = max(CLOSEST_LOOK_S, 0.8 * free_mb / FASTEST_HOG)
    if age_s >= limits.timeout_s:  # it is being ended
        return by_memory_s
    return min(by_memory_s, limits.timeout_s - age_s)


def over_memory(used_mb: float, limits: Limits) -> Cause:
    """What a job is ended for that used too much memory."""
    reason = f"used {used_mb:,.0f} MB; its limit is {limits.memory_mb:,} MB"
    return Cause(Status.MEMORY_LIMIT, reason)


def over_time(limits: Limits) -> Cause:
    """What a job is ended for that took too long."""
    return Cause(Status.TIMEOUT, f"ran into its time limit of {limits.timeout_s:g} s")


@dataclass
class CappedLog:
    """A log file that a prover appends to; past LOG_CAP its middle is left out, repeatedly."""

    path: str
    size: int = 0  # at the last look
    head: int = 0  # length of the head kept, once cut
    note: int = 0  # length of the note after it
    left_out: int = 0  # bytes

    def seconds_to_cap(self, since_s: float) -> float:
        """How soon it may be over LOG_CAP, if it grows as since the last look; 0 when it is.

        Raises OSError.
        """
        size = os.stat(self.path).st_size
        rate = (size - self.size) / max(1e-3, since_s)
        self.size = size
        if size > LOG_CAP:
            return 0
        if rate <= 0:
            return LONGEST_LOOK_S
        return max(CLOSEST_LOOK_S, 0.5 * (LOG_CAP - size) / rate)

    def cap(self) -> None:
        """Keep the head, a note and the tail of a log over LOG_CAP."""
        with suppress(OSError):  # too long a log is no reason to stop a batch
            size = os.stat(self.path).st_size
            if size > LOG_CAP:
                self._cut(size)

    def _cut(self, size: int) -> None:
        """Leave out its middle: between two lines, if it has lines."""
        import shutil

        with open(self.path, "rb") as reading, open(self.path, "r+b") as writing:
            if not self.head:
                # Only its end is read: a writer waits meanwhile, and so does every other job.
                block = min(LOG_HEAD, MB)
                reading.seek(LOG_HEAD - block)
                lines = reading.read(block).rfind(b"\n") + 1
                self.head = LOG_HEAD - block + (lines or block)
            tail = reading.seek(size - LOG_TAIL)
            # Half a line of the tail goes on the note's line: alone it could look like a verdict.
            behind_note = b" "
            if reading.readline(MB).endswith(b"\n"):
                tail = reading.tell()
                behind_note = b"\n"
            self.left_out += tail - self.head - self.note
            note = b"[batch_tamarin left out %d bytes here]" % self.left_out
            writing.seek(self.head)
            self.note = writing.write(note + behind_note)
            reading.seek(tail)
            shutil.copyfileobj(reading, writing)
            self.size = writing.truncate()


# --- Finding the processes of a job ---------------------------------------------------------------


class ProcessFinder:
    """Finds all processes of the jobs in `live`, those that lost their parent included."""

    def __init__(self, live: Mapping[str, Live]) -> None:
        self._live = live
        # Orphans that came to us, not reaped yet: whose they are, if that can be told.
        self._orphans: dict[int, Live | None] = {}
        self._strangers: set[int] = set()  # children of ours that are of no job
        self._adopted = 0.0  # when we looked last

    def leave_alone(self, pids: Iterable[int]) -> None:
        """Never take these for a job's."""
        self._strangers.update(pids)

    def tree_of(self, live: Live, age_s: float = 0.0) -> dict[int, int]:
        """Every process of a job, and its parent (or 0), parents first.

        The leader, its orphans (as seen at most `age_s` seconds ago), and all below. A process can
        be missed while others die, so who must know asks until there is none.
        """
        reap(live)
        try:
            if time.monotonic() - self._adopted > age_s:
                self.adopt()
            return _with_descendants(self._roots_of(live))
        except OSError:
            return {live.leader.pid: 0}  # no descriptor free to look with: assume the worst

    def adopt(self) -> Collection[int]:
        """The orphans that came to us and live; the dead ones are reaped, for their owner."""
        self._adopted = time.monotonic()
        for pid in self._unreaped_orphans():
            if pid not in self._orphans:
                self._orphans[pid] = self._owner_of(pid)
            # Singly: wait4(-1) would take the exit status of leaders from those who wait for it.
            reaped, _, rusage = os.wait4(pid, os.WNOHANG)
            if reaped:
                owner = self._orphans.pop(pid)
                if owner:
                    owner.usage.add_ended(rusage)
        return self._orphans

    def _unreaped_orphans(self) -> set[int]:
        """Children of ours that are no leaders."""
        orphans = set(children_of(os.getpid())) - self._strangers
        for live in self._live.values():
            if live.has_leader:
                orphans.discard(live.leader.pid)
        return orphans

    def _owner_of(self, pid: int) -> Live | None:
        """Whose an orphan is: by marker, session or last sample, or as there is no other job."""
        # What empties its environment and leaves its session was seen below its leader before.
        marker = marker_of(pid)
        session = process_info(pid).session
        for live in self._live.values():
            leader = live.leader
            if marker == leader.marker or session == leader.pid or pid in live.usage.pids:
                return live
        if len(self._live) == 1:
            return next(iter(self._live.values()))
        return None

    def _roots_of(self, live: Live) -> list[int]:
        """What a job's tree grows from."""
        leader = live.leader.pid
        roots = [pid for pid, owner in self._orphans.items() if owner is live]
        if live.has_leader:
            roots.append(leader)
        if MACOS:  # no orphan comes to us there
            roots += [pid for pid in mac_group(leader) if pid != leader]
        return roots


def _with_descendants(roots: Iterable[int]) -> dict[int, int]:
    """Processes and all below them, each with its parent (a root with 0), parents first."""
    tree: dict[int, int] = {}
    todo = [(pid, 0) for pid in roots]
    while todo:
        pid, parent = todo.pop()
        if pid not in tree:
            tree[pid] = parent
            todo += [(child, pid) for child in children_of(pid)]
    return tree


def marker_of(pid: int) -> str:
    """The value of MARKER a process was started with, or "".

    /proc/PID/environ is what exec left, whatever the process did since.
    """
    assignment = f"{MARKER}=".encode()
    for variable in read_kernel_file(f"/proc/{pid}/environ").split(b"\0"):
        if variable.startswith(assignment):
            return os.fsdecode(variable[len(assignment) :])
    return ""


# --- Ending a job's processes ---------------------------------------------------------------------


async def end_tree(live: Live, finder: ProcessFinder) -> tuple[int, ...]:
    """What of a job's tree outlived SIGKILL for too long: nothing as a rule, when all is gone.

    What we stop gets SIGTERM and GRACE_S seconds; what is left of a job that ended is killed.
    """
    import asyncio

    # In rounds: while some die, others are born, or come to us as orphans. No event tells of all.
    kill_at = time.monotonic()
    if live.cause:
        kill_at += GRACE_S
    pause_s = 0.001
    asked: set[int] = set()
    while True:
        left = set(finder.tree_of(live))
        if not left:
            return ()
        now = time.monotonic()
        if live.no_grace:
            kill_at = min(kill_at, now)
        if now >= kill_at + UNKILLABLE_S:
            # Its owner is forgotten soon: the finder would take it for another job's.
            finder.leave_alone(left)
            return tuple(sorted(left))
        if now >= kill_at:
            signal_tree(live, left, signal.SIGKILL)
        elif not left <= asked:
            ask_to_end(live, left - asked)
            asked |= left
        await asyncio.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)


def ask_to_end(live: Live, pids: Collection[int]) -> None:
    """Ask these processes of a job to end."""
    signal_tree(live, pids, signal.SIGTERM)
    # A stopped process takes no SIGTERM.
    signal_tree(live, pids, signal.SIGCONT)


def kill_tree_now(live: Live, finder: ProcessFinder) -> None:
    """Kill a job's tree at once: the driver gives way to nothing on its way out."""
    for left in _until_gone(lambda: finder.tree_of(live)):
        signal_tree(live, left, signal.SIGKILL)


def kill_orphans_now(finder: ProcessFinder) -> None:
    """Kill orphans that could be of any job, when there are no jobs any more."""
    for left in _until_gone(finder.adopt):
        for pid in left:
            send_signal(pid, signal.SIGKILL)


def _until_gone(find: Callable[[], Collection[int]]) -> Iterator[Collection[int]]:
    """What is left, again and again, until nothing is or GRACE_S seconds have passed."""
    patience = time.monotonic() + GRACE_S
    while time.monotonic() < patience:
        left = find()
        if not left:
            return
        yield left
        time.sleep(0.002)


def signal_tree(live: Live, pids: Collection[int], number: int) -> None:
    """Signal these processes of a job; they may be gone."""
    leader = live.leader.pid
    # First at one stroke, so that nothing forks away; but a second SIGTERM may mean more than one.
    if number != signal.SIGTERM and _group_is_ours(live, pids):
        send_signal(-leader, number)
    for pid in pids:
        if live.has_leader or pid != leader:
            send_signal(pid, number)


def _group_is_ours(live: Live, pids: Iterable[int]) -> bool:
    """Whether the leader's number names its group for sure."""
    if live.has_leader:
        return True
    # While one of ours is in there, the system gives the number to no other.
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == live.leader.pid:
                return True
    return False


# --- How a job ended ------------------------------------------------------------------------------


def reap(live: Live) -> None:
    """Take the exit status of a job's leader, if it has ended."""
    if not live.has_leader:
        return
    leader = live.leader
    try:
        reaped, status, rusage = os.wait4(leader.pid, os.WNOHANG)
    except ChildProcessError:  # somebody else waited for it: its status is lost
        leader.ended = time.monotonic()
        live.wake()
        return
    if not reaped:
        return
    leader.ended = time.monotonic()
    leader.exit = exit_status(status)
    # What the driver's own memory left in the child's peak differs a little from what we saw.
    live.usage.add_ended(rusage, leader.driver_peak_mb + 0.5)
    if live.cause is None and leader.ended > live.due + LATE_S:
        judge_late(live, leader.ended)
    live.wake()


def judge_late(live: Live, noticed: float) -> None:
    """Hold to its limits a leader that ended while nobody could look.

    By its own peak, and by when it last wrote to its stdout, where provers end with their summary.
    What wrote nothing counts as having run until it was noticed.
    """
    ended = noticed
    last_word = _last_word(live.job.stdout, noticed)
    if last_word > live.started - 0.1:  # the kernel's clock of files is coarse
        ended = max(live.usage.sampled, last_word)
    live.leader.ended = ended
    if live.leader.died_of:
        return
    limits = live.job.limits
    if live.usage.peak_mb > limits.memory_mb:
        live.cause = over_memory(live.usage.peak_mb, limits)
    elif ended - live.started > limits.timeout_s:
        live.cause = over_time(limits)


def _last_word(path: str, now: float) -> float:
    """When a log was written to last, in monotonic seconds; minus infinity for an empty one."""
    with suppress(OSError):
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            return now - max(0.0, time.time() - status.st_mtime)
    return -math.inf


def outcome_of(live: Live, unkillable: tuple[int, ...], oom_kills: OomKills) -> Outcome:
    """How a job ended whose tree is gone, but for processes that can't be killed."""
    ended = live.leader.ended
    if ended is None:
        ended = time.monotonic()
    usage = live.usage
    cause = live.cause or _own_end(live.leader, oom_kills)
    reasons = [cause.reason] if cause.reason else []
    if unkillable:
        pids = ", ".join(map(str, unkillable))
        reasons.append(f"processes {pids} can't be killed (waiting in the kernel?)")
    return Outcome(
        status=cause.status,
        exit=live.leader.exit,
        usage=Usage(
            wall_s=ended - live.started,
            cpu_s=usage.cpu_s,
            peak_mb=usage.peak_mb,
            avg_mb=usage.average_mb(live.started),
        ),
        reason="; ".join(reasons),
        unkillable=unkillable,
    )


def _own_end(leader: Leader, oom_kills: OomKills) -> Cause:
    """What is to be said of a job that we did not end."""
    if leader.exit is None:
        return Cause(Status.FAILED, "its exit status was lost")
    if not leader.died_of:
        return Cause(Status.COMPLETED, "")
    if leader.died_of == "SIGKILL" and oom_kills.grew():
        return Cause(Status.MEMORY_LIMIT, "killed by the kernel's out-of-memory killer")
    reason = f"ended by signal {leader.died_of}, which batch_tamarin did not send"
    return Cause(Status.FAILED, reason)


def exit_status(status: int) -> ExitStatus:
    """From wait's 16-bit status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return ExitStatus(code=code)
    return ExitStatus(signal=signal_name(-code))


def signal_name(number: int) -> str:
    """`SIGTERM`, or `SIG42` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name of their own
        return f"SIG{number}"


# --- After a driver that was killed ---------------------------------------------------------------


class Watchdog(NamedTuple):
    """A process that sleeps until the driver dies, then kills what the driver leaves behind."""

    pid: int
    pipe: int  # our end of it: closes when we die, however that comes

    def watch(self, leader: int) -> None:
        """Tell it of a job that runs."""
        self._tell(b"+%d\n" % leader)

    def forget(self, leader: int) -> None:
        """Tell it that nothing is left of a job."""
        self._tell(b"-%d\n" % leader)

    def _tell(self, word: bytes) -> None:
        if MACOS:  # elsewhere it finds them by their marker
            with suppress(OSError):  # somebody killed it
                os.write(self.pipe, word)

    def end(self) -> None:
        """End it: nothing is left to watch."""
        send_signal(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_watchdog(batch_id: str, lock_fd: int | None) -> Watchdog:
    """A watchdog, just forked. Only SIGKILL and SIGSTOP reach it."""
    reading, writing = os.pipe()
    # Blocked in the watchdog for ever: what ends the driver must not end it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _keep_watch(batch_id, reading, lock_fd)
            finally:
                os._exit(0)
    finally:  # also where no more processes are allowed
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reading)
    return Watchdog(pid, writing)


def _keep_watch(batch_id: str, pipe: int, lock_fd: int | None) -> None:
    """Wait until the driver dies, then kill what it leaves behind."""
    os.setsid()
    # No log or journal of ours is held open; but the lock is, until we are done.
    for number in set(map(int, os.listdir("/dev/fd"))) - {pipe, lock_fd}:
        with suppress(OSError):  # the descriptor of listdir itself
            os.close(number)
    leaders: set[int] = set()
    # The words end when the driver does, whatever ends it: the kernel closes its end of the pipe.
    with open(pipe, "rb") as words:
        for word in words:
            pid = int(word[1:])
            if word.startswith(b"+"):
                leaders.add(pid)
            else:
                leaders.discard(pid)
    for pid in leaders:  # on macOS, where no marker can be read
        send_signal(-pid, signal.SIGKILL)
    end_survivors(batch_id, ())


def end_survivors(batch_id: str, recorded: Iterable[Started]) -> list[int]:
    """The pids of what an earlier driver of this batch left running on this host, now killed.

    A process counts if it carries the batch's marker, or if a `start` event in `recorded` tells of
    its pid, start time, host and boot; then so do its session and descendants. Never this process
    or one it descends from. What outlives SIGKILL for 30 s is given up.
    """
    here = host_id()
    known = set()
    for start in recorded:
        if start.started and (start.host, start.boot_id) == here:
            known.add(ProcessId(start.pid, start.started))
    held: set[ProcessId] = set()
    patience = time.monotonic() + UNKILLABLE_S
    while time.monotonic() < patience:
        found = _survivors(batch_id, known | held)
        if not found:
            break
        # Held first, killed in a later round: a shell whose child died before it would start the
        # next one, and if the shell was killed then, nothing would show any more that this child is
        # of the batch.
        for process in found:
            if process_start(process.pid) == process.started:
                number = signal.SIGKILL if process in held else signal.SIGSTOP
                send_signal(process.pid, number)
        held |= found
        time.sleep(0.005)
    return sorted({process.pid for process in held})


def _survivors(batch_id: str, known: set[ProcessId]) -> set[ProcessId]:
    """Everything alive that `end_survivors` may end."""
    if MACOS:
        return _mac_groups_of(known)
    table = living_processes()
    found = set()
    for pid, info in table.items():
        is_known = ProcessId(pid, info.started) in known
        if is_known or marker_of(pid).startswith(batch_id + "/"):
            found.add(pid)
    found = _with_sessions_and_descendants(found, table)
    # Not this process, nor what it descends from.
    pid = os.getpid()
    while pid in table:
        found.discard(pid)
        pid = table[pid].parent
    return {ProcessId(pid, table[pid].started) for pid in found}


def _with_sessions_and_descendants(pids: set[int], table: Mapping[int, ProcessInfo]) -> set[int]:
    """Processes, the sessions that these lead, and all below."""
    sessions = {pid for pid in pids if table[pid].session == pid}
    found = set(pids)
    while True:
        more = set()
        for pid, info in table.items():
            if info.parent in found or info.session in sessions:
                more.add(pid)
        if more <= found:
            return found
        found |= more


def _mac_groups_of(known: set[ProcessId]) -> set[ProcessId]:
    """The living ones of these processes, and their groups: no marker is to be seen there."""
    found = set()
    for leader in known:
        if process_start(leader.pid) == leader.started:
            found.add(leader)
            for pid in mac_group(leader.pid):
                found.add(ProcessId(pid, process_start(pid)))
    return found


# === Prover =======================================================================================

# Facts about Tamarin: its src/Main/TheoryLoader.hs, src/Main/Mode/Batch.hs and
# lib/theory/src/Theory/Proof.hs (1.11.0), and real runs of tamarin-prover 1.4 to 1.11 and of
# tamarin-rs 1.13.

# --- The command line -----------------------------------------------------------------------------

# The first version that writes traces by --output-json and --output-dot; tamarin-rs always does.
TRACES_SINCE = (1, 10)
# The first version that says on stderr what it is doing; tamarin-rs always does.
PHASES_SINCE = (1, 8)


def prover_command(
    prover: Prover, plan: Plan, outputs: Outputs, others: Iterable[str] = ()
) -> tuple[str, ...]:
    """The command line that proves (or with `prove: false` checks) one task.

    `others`: lemmas of the same theory that it proves in the same process. Values are joined by
    `=`: tamarin-prover takes the X of `-D X` for a theory file.
    """
    command = [*prover.command, *_cores_options(prover, plan.limits.cores), plan.theory]
    if plan.prove:
        for lemma in (plan.lemma, *others):
            command.append(PROVE.with_value(lemma))
    # The task's own come last: of two that contradict each other the last counts.
    command += prover.options
    command += plan.options
    for flag in plan.flags:
        command.append(DEFINES.with_value(flag))
    if _writes_traces(prover):
        command.append(OUTPUT_JSON.with_value(outputs.trace_json))
        command.append(OUTPUT_DOT.with_value(outputs.trace_dot))
    command.append(OUTPUT.with_value(outputs.proof))
    return tuple(command)


def _cores_options(prover: Prover, cores: int) -> tuple[str, ...]:
    if prover.flavour == Flavour.TAMARIN_RS:  # it refuses `+RTS` with exit code 2
        return (PROCESSORS.with_value(cores),)
    return ("+RTS", f"{RUNTIME_CORES.name}{cores}", "-RTS")


def _writes_traces(prover: Prover) -> bool:
    """Whether the prover knows the trace options; one that we know too little of is taken to."""
    version = _version_of_tamarin_prover(prover)
    return version is None or version >= TRACES_SINCE


def tells_phases(prover: Prover) -> bool:
    """Whether the prover is known to say on stderr when it has loaded a theory."""
    if prover.flavour == Flavour.TAMARIN_RS:
        return True
    version = _version_of_tamarin_prover(prover)
    return version is not None and version >= PHASES_SINCE


def _version_of_tamarin_prover(prover: Prover) -> tuple[int, ...] | None:
    """The numbers of its version; None of another program, or where they are not known."""
    if prover.flavour != Flavour.TAMARIN_PROVER or not prover.version:
        return None
    parts = prover.version.split(".")
    # A journal from outside may hold any text as a version.
    if not all(map(str.isdecimal, parts)):
        return None
    return tuple(map(int, parts))


def prover_environment(prover: Prover) -> dict[str, str]:
    """The child's environment: ours, the recipe's `env`, and a UTF-8 locale.

    Without one Tamarin dies on the first non-ASCII character that it reads or writes.
    """
    env = {**os.environ, **prover.env}
    asked = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    there = utf8_locales()
    # A name that `ssh` brought along may be of a locale that was never generated here.
    if there and _one_name(asked) not in map(_one_name, there):
        env["LC_ALL"] = there[0]
    elif not _UTF8.search(asked):
        env["LC_ALL"] = "C.UTF-8"
    return env


_UTF8 = re.compile("utf-?8", re.IGNORECASE)


@functools.cache
def utf8_locales() -> list[str]:
    """The UTF-8 locales of this machine, the best first; none where there is no `locale -a`.

    C.UTF-8 is no locale of CentOS 7 or of macOS; others are there only if they were generated.
    """
    import subprocess

    names: list[str] = []
    with suppress(OSError):
        told = subprocess.run(["locale", "-a"], capture_output=True, stdin=subprocess.DEVNULL)
        names = told.stdout.decode(errors="replace").split()
    found = [name for name in names if _UTF8.search(name)]
    known = set(map(_one_name, found))
    best = [name for name in ("C.UTF-8", "en_US.UTF-8") if _one_name(name) in known]
    return best + found


def _one_name(locale: str) -> str:
    """One name for all that a locale has: en_US.UTF-8 is also called en_US.utf8."""
    return locale.lower().replace("utf-8", "utf8")


# --- What a prover printed ------------------------------------------------------------------------

SUMMARY_HEADING = "=\nsummary of summaries:\n"
REPORT_HEADING = "WARNING: the following wellformedness checks failed!"
# What is kept of stderr with a failed task.
TAIL_LINES = 20
TAIL_CHARS = 2_000
COMPLAINT_CHARS = 300
PARSE_ERROR_LINES = 4
PARSE_ERROR_CHARS = 600

_SUMMARY = re.compile(
    r"^  ?(?:(?P<side>LHS|RHS) :  |(?P<diff>DiffLemma):  )?"
    r"(?P<name>\w+) (?:\((?P<trait>all-traces|exists-trace)\))?: "
    r"(?P<verdict>\S.*?)(?: \((?P<steps>\d{1,18}) steps\))?$"
)
_WARNING = re.compile(r"^  WARNING: (\d{1,18}) wellformedness checks? failed!")
_SECONDS = re.compile(r"^  processing time: (\d{1,18}(?:\.\d*)?(?:e-?\d\d?)?)s")
# How the texts of verdicts begin (lib/theory/src/Theory/Proof.hs). Any other is no verdict.
_VERDICT_TEXTS = {
    "verified": Verdict.VERIFIED,
    "falsified": Verdict.FALSIFIED,
    "analysis incomplete": Verdict.INCOMPLETE,
    "analysis undetermined": Verdict.INCOMPLETE,
    "analysis cannot be finished": Verdict.INCOMPLETE,
    "analysis has been invalidated": Verdict.INCOMPLETE,
}
# On stderr while it starts; on stdout in what is printed behind the theory.
_OLD_MAUDE = re.compile(
    r"returned unsupported version '(?P<at_start>[^']*)'"
    r"|^Maude version (?P<behind>\S+) \(unsupported\)",
    re.MULTILINE,
)
_PARSE_ERROR = re.compile(r'^"(.*)" \(line (\d+), column (\d+)\):$')
_COMPLAINT = re.compile(r"(tamarin-prover|tamarin-rs|error): ")
# Lines of stderr that say nothing of what went wrong.
_PROGRESS = re.compile(
    r"\[Theory [^]]*\] |\[Saturating Sources\] |maude tool: | checking |diffLemma$|CallStack "
    r"|  error, called at "
)
_UNDERLINE = re.compile(r"={3,}$")
_PHASE = re.compile(
    r"^\[Theory [^]\n]*\] (?P<said>[^\n]+)"
    r"|^\[Saturating Sources\] (?:Step (?P<step>\d+) \(Max (?P<most>\d+)\)|Done)",
    re.MULTILINE,
)

# The theory is read and translated; the sources are computed (raw ones, then refined ones).
_LOADED = re.compile(r"\[Theory [^]\n]*\] Theory closed$|\[Saturating Sources\] Done$")
PROVING = "proving"  # the phase behind that
SOURCES_DONE = "[Saturating Sources] Done"


@dataclass
class ProverOutput:
    """What one process said: all that a result needs, so that its files are read once."""

    lines: list[SummaryLine] = field(default_factory=list)  # of the lemma that was asked for
    printed: list[str] = field(default_factory=list)  # the summary's text, of every lemma
    summary: bool = False  # a summary was printed to its end
    prover_s: float | None = None  # its own "processing time"
    failed_checks: int = 0  # wellformedness checks
    old_maude: str = ""  # the version of a Maude that the prover does not support
    parse_error: str = ""
    complaint: str = ""  # the line of stderr that tells best what went wrong
    stderr_tail: str = ""

    def lemma_names(self) -> set[str]:
        """The lemmas that the summary names: all of the theory's."""
        found = map(_SUMMARY.match, self.printed)
        return {line["name"] for line in found if line}


def read_output(stdout: str, stderr: str, lemma: str = "") -> ProverOutput:
    """What one process said in its two log files, read in bounded memory.

    lemma: only its lines of the summary become SummaryLines; "": all do.
    """
    errors = ends_of(stderr)
    output = ProverOutput(
        printed=last_part(stdout, SUMMARY_HEADING),
        old_maude=unsupported_maude("\n".join([*errors, *ends_of(stdout)])),
        parse_error=_parse_error(errors),
        complaint=_complaint(errors),
        stderr_tail=_tail(errors),
    )
    _read_summary(output.printed, output, lemma)
    return output


def _read_summary(lines: Sequence[str], output: ProverOutput, lemma: str) -> None:
    """Add to `output` what a summary says; `lines` begin with the two of its heading.

    It ends with a line of `=`: what was not printed to its end is no summary. tamarin-prover 1.4
    prints the block twice, and a theory printed before it may contain lookalikes, so the caller
    takes the last one.
    """
    theories = sum(line.startswith("analyzed: ") for line in lines)
    for line in lines[2:]:
        if line.startswith("====="):
            output.summary = theories < 2  # else a verdict may be another theory's
            return
        # A theory may have thousands of other lemmas: their lines are not worth a look. What is
        # said of the whole theory begins with `  WARNING` or `  processing`.
        if lemma in line or line[2:3] in ("W", "p"):
            _read_summary_line(line, output)


def _read_summary_line(line: str, output: ProverOutput) -> None:
    found = _SUMMARY.match(line)
    if found:
        output.lines.append(_summary_line(found))
        return
    checks = _WARNING.match(line)
    if checks:
        output.failed_checks = int(checks[1])
    seconds = _SECONDS.match(line)
    if seconds:
        output.prover_s = float(seconds[1])


def _summary_line(found: re.Match[str]) -> SummaryLine:
    trait = found["trait"] or ""
    if found["diff"]:
        trait = Trait.DIFF
    return SummaryLine(
        name=found["name"],
        side=found["side"] or "",
        trait=trait,
        verdict=_verdict_in(found["verdict"]),
        steps=int(found["steps"]) if found["steps"] else None,
    )


def _verdict_in(text: str) -> Verdict | None:
    """The verdict that a text of the summary stands for; None for one that we don't know."""
    for beginning, verdict in _VERDICT_TEXTS.items():
        if text.startswith(beginning):
            return verdict
    return None


def unsupported_maude(text: str) -> str:
    """The version of Maude that a prover calls unsupported in a text, or ""."""
    version = ""
    for found in _OLD_MAUDE.finditer(text):
        version = found["at_start"] or found["behind"]
    return version


def _parse_error(errors: Sequence[str]) -> str:
    """`t.spthy:3:1:` and what the prover says of that place, or ""."""
    told: list[str] = []
    for line in errors:
        place = _PARSE_ERROR.match(line)
        if place:
            told.append(":".join(place.groups()) + ":")
        elif told and line and len(told) < PARSE_ERROR_LINES:
            told.append(line)
    return " ".join(told)[:PARSE_ERROR_CHARS]


def _complaint(errors: Sequence[str]) -> str:
    """The first line that the prover marks as a complaint; else the last that is no progress."""
    last = ""
    for line in errors:
        if not line.strip() or _PROGRESS.match(line):
            continue
        last = line.strip()[:COMPLAINT_CHARS]
        # What is complained of later follows from the first.
        if _COMPLAINT.match(last):
            break
    return last


def _tail(errors: Sequence[str]) -> str:
    """The last lines of stderr, of bounded length."""
    last = [line[:TAIL_CHARS] for line in errors[-TAIL_LINES:]]
    return "\n".join(last)[-TAIL_CHARS:]


def has_loaded(stderr: str) -> bool:
    """Whether a prover says that it has parsed, translated and closed the theory.

    Provers do so from 1.8 on.
    """
    return any(line.endswith("] Theory closed") for line in ends_of(stderr))


def phase(log: str) -> str:
    """What a prover says it is doing, from the end of its stderr; "" if it says nothing we know."""
    try:
        text = read_from_end(log, 2048).decode("utf-8", "replace")
    except OSError:
        return ""
    found = list(_PHASE.finditer(text))
    if not found:
        return ""
    last = found[-1]
    if last["said"]:
        return printable(re.sub("^Theory | started$", "", last["said"])).lower()
    if last["step"]:
        return f"saturating sources {last['step']}/{last['most']}"
    return PROVING


def phases_told(log: str) -> list[str]:
    """The lines in which a prover told of its phases, but for those in the middle of a long log.

    What others say meanwhile, such as oracles, is left out. None of a log that can't be read.
    """
    try:
        text = "\n".join(ends_of(log))
    except OSError:
        return []
    return [found[0] for found in _PHASE.finditer(text)]


def load_seconds(log: str, began: float, wall_s: float) -> float | None:
    """How long a prover that has ended took to load its theory and to compute the sources.

    By when it last wrote to its stderr, if it told of that then: it says nothing while it proves.
    None if it didn't. began: when it was started (seconds since 1970).
    """
    try:
        text = read_from_end(log, 2048).decode("utf-8", "replace")
        load_s = os.stat(log).st_mtime - began
    except OSError:
        return None
    last_line = text.strip().rpartition("\n")[2]
    if not _LOADED.match(last_line):
        return None
    # The clock of files is coarse, and that of another machine may be wrong.
    return min(max(load_s, 0.0), wall_s)


def wellformedness_titles(theory: str) -> list[str]:
    """The headings of the wellformedness report at the end of a file.

    Tamarin writes the report behind the theory: into a proof file, or to its stdout.
    """
    report = last_part(theory, REPORT_HEADING)
    if "*/" in report:
        report = report[: report.index("*/")]
    titles: list[str] = []
    for line, below in zip(report, [*report[1:], ""]):
        is_underlined = line.strip() and _UNDERLINE.match(below)
        # Those of accountability are headings without a line below them.
        if is_underlined or line.startswith("Accountability ("):
            titles.append(line.strip())
    return titles


# --- The result -----------------------------------------------------------------------------------

GHC_HEAP_EXHAUSTED = 251  # GHC's exit code when `+RTS -M` is exceeded
ASKED_NAME_CHECK = "Check presence of the --prove/--lemma arguments in theory"
DERIVATION_CHECKS = "Derivation Checks"
DERIVATION_CHECKS_TIMED_OUT = "derivation checks timed out"
UNKNOWN_CHECKS = "wellformedness is not known: loading this text met a limit"


class Judgement(NamedTuple):
    """What was concluded: only COMPLETED goes with a verdict; without one it says why."""

    status: Status
    verdict: Verdict | None = None
    reason: str = ""  # for people


def judge(plan: Plan, outcome: Outcome, output: ProverOutput, proof: str) -> Result:
    """The result of one task: how its job ended, and what the prover printed for that very lemma.

    Silence, an exit code, a summary without the lemma or with an unknown word never make a verdict.
    proof: the path of the analyzed theory, which names the wellformedness checks that failed.
    """
    lines = [line for line in output.lines if _belongs_to(line, plan)]
    judgement = _judge_exit(outcome, output)
    if judgement.status is Status.COMPLETED:
        judgement = _judge_lines(plan, lines)
    if plan.checks_proof and judgement.verdict is Verdict.INCOMPLETE:
        reason = CANT_REPLAY if _has_foreign_step(proof) else "the stored proof leaves cases open"
        judgement = judgement._replace(reason=reason)
    steps = None
    stderr_tail = output.stderr_tail
    if judgement.verdict is not None:
        steps = _total_steps(lines)
        # It is kept to explain why there is no verdict; beside one it would only fill the journal.
        stderr_tail = ""
    return Result(
        status=judgement.status,
        verdict=judgement.verdict,
        steps=steps,
        trait=lines[0].trait if lines else plan.trait,
        lemmas=tuple(lines),
        exit=outcome.exit,
        usage=_rounded(outcome.usage),
        prover_s=output.prover_s,
        warnings=tuple(prover_warnings(plan, output, proof)),
        reason=judgement.reason,
        refused=bool(output.parse_error) and judgement.status is Status.FAILED,
        stderr_tail=stderr_tail,
        at=timestamp(),
    )


# So provers mark steps that they can't apply, and cases that they don't have (`checkProof` in
# Theory/Proof.hs, prettyIncrementalProof).
_FOREIGN_STEP = re.compile(rb"/\* (?:invalid proof step|unannotated)")


def _has_foreign_step(proof: str) -> bool:
    """Whether a prover wrote into the theory that it could not follow the stored proof."""
    with suppress(OSError), open(proof, "rb") as file:
        return any(map(_FOREIGN_STEP.search, file))
    return False


def _belongs_to(line: SummaryLine, plan: Plan) -> bool:
    """Whether a line of the summary is about the task's lemma; in diff mode each side has one."""
    if line.name != plan.lemma:
        return False
    if (line.trait == Trait.DIFF) != (plan.trait == Trait.DIFF):
        return False
    return line.side in (plan.sides or ("",))


def _judge_exit(outcome: Outcome, output: ProverOutput) -> Judgement:
    """What the end of a job tells: COMPLETED only for a whole summary and no sign of failure."""
    if outcome.status is not Status.COMPLETED:
        return Judgement(outcome.status, reason=outcome.reason)
    ended = outcome.exit
    if ended is None:  # nothing is believed of what is not known to have gone well
        return _failed("its exit status is not known", output)
    if ended.code == GHC_HEAP_EXHAUSTED:
        reason = "the prover's own heap limit (+RTS -M) was reached"
        return Judgement(Status.MEMORY_LIMIT, reason=reason)
    if ended.signal:
        return _failed(f"killed by {ended.signal}, not by this batch", output)
    if ended.code != 0:
        return _failed(f"exit {ended}", output)
    if not output.summary:
        reason = "exit code 0, but the prover printed no summary"
        return Judgement(Status.FAILED, reason=reason)
    return Judgement(Status.COMPLETED)


def _failed(how: str, output: ProverOutput) -> Judgement:
    """The failure of a prover, with its own words for it."""
    said = output.parse_error or output.complaint
    if said:
        how += f": {said}"
    return Judgement(Status.FAILED, reason=how)


def _judge_lines(plan: Plan, lines: Sequence[SummaryLine]) -> Judgement:
    """What the summary's lines about a lemma say together: one for each side of a diff task."""
    if not lines and plan.optional:
        reason = "not needed: no partial deconstructions are left"
        return Judgement(Status.NOT_NEEDED, reason=reason)
    missing = f"the prover's summary has no line for lemma '{plan.lemma}'"
    if not lines:
        return Judgement(Status.FAILED, reason=missing)
    sides_there = {line.side for line in lines}
    for side in plan.sides:
        if side not in sides_there:
            return Judgement(Status.FAILED, reason=f"{missing} on side {side}")
    verdicts = {line.verdict for line in lines}
    if None in verdicts:
        reason = f"the prover's summary has an unknown verdict for lemma '{plan.lemma}'"
        return Judgement(Status.FAILED, reason=reason)
    # Of two sides the worse decides.
    if Verdict.FALSIFIED in verdicts:
        return Judgement(Status.COMPLETED, Verdict.FALSIFIED)
    if Verdict.INCOMPLETE in verdicts:
        reason = "the prover could not finish the analysis"
        return Judgement(Status.COMPLETED, Verdict.INCOMPLETE, reason)
    return Judgement(Status.COMPLETED, Verdict.VERIFIED)


def _total_steps(lines: Sequence[SummaryLine]) -> int | None:
    """The steps of all sides; None when the prover gives no number."""
    steps = [line.steps for line in lines if line.steps is not None]
    return sum(steps) if steps else None


def _rounded(usage: Usage) -> Usage:
    """A usage as precise as it was measured: milliseconds and tenths of a MB."""
    return Usage(
        wall_s=round(usage.wall_s, 3),
        cpu_s=round(usage.cpu_s or 0.0, 3),
        peak_mb=round(usage.peak_mb, 1),
        avg_mb=round(usage.avg_mb, 1),
        load_s=None if usage.load_s is None else round(usage.load_s, 3),
    )


def is_generated(plan: Plan) -> bool:
    """Whether Tamarin makes the lemma itself: it complains when it is asked for one by name."""
    return plan.optional or plan.lemma == EQUIVALENCE_LEMMA


def prover_warnings(plan: Plan, output: ProverOutput, proof: str) -> Iterator[str]:
    """What the prover warned of, in sentences.

    Its complaint about a generated lemma's name (asked for by us) is none of the theory's.
    proof: the path of the analyzed theory, which names the checks that failed.
    """
    count = output.failed_checks
    titles: list[str] = []
    if count:
        titles = wellformedness_titles(proof)
    if count and plan.prove and is_generated(plan):
        count -= 1
        titles = [title for title in titles if title != ASKED_NAME_CHECK]
    # They have 5 s by default: this depends on the machine, never on the verdict.
    if DERIVATION_CHECKS in titles:
        count -= 1
        titles.remove(DERIVATION_CHECKS)
        yield f"{DERIVATION_CHECKS_TIMED_OUT} (raise --derivcheck-timeout)"
    if count > 0:
        failed = f"{plural(count, 'wellformedness check')} failed"
        if titles:
            failed += ": " + ", ".join(dict.fromkeys(titles))
        yield failed
    if output.old_maude:
        yield f"Maude {output.old_maude} is not supported by this prover"


# --- Traces ---------------------------------------------------------------------------------------
# The trace files hold the graphs of all lemmas of the theory with an attack, stored ones too.

_GRAPH_BEGINS = re.compile(rb'(?:strict )?digraph [^"\n]*(?:"(?P<label>[^"\n]*)")?')
_TRACE_LABEL = re.compile(r"_SL\d+-AS\d-CL\d-A\d-C\d-N[BF]_(.*)$", re.DOTALL)
_JSON_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_JSON_PART = re.compile(
    rb'"jgLabel"\s*:\s*(?P<label>' + _JSON_STRING + rb")"
    rb'|"graphs"\s*:\s*(?P<graphs>\[)'
    rb"|" + _JSON_STRING + rb"|(?P<opens>[{\[])|(?P<closes>[}\]])",
    re.DOTALL,
)


class TraceGraph(NamedTuple):
    """A graph in a trace file: what it is called, and where its bytes are."""

    label: str
    start: int
    end: int


def dot_graphs(data: bytes) -> list[TraceGraph]:
    """The graphs of a DOT file: one behind the other, each from its `digraph` on."""
    import io

    graphs: list[TraceGraph] = []
    start = 0
    # By lines: one search through all of it would hold up every other thread.
    for line in io.BytesIO(data):
        begins = _GRAPH_BEGINS.match(line)
        if begins:
            label = (begins["label"] or b"").decode("utf-8", "replace")
            graphs.append(TraceGraph(label, start, len(data)))
        start += len(line)
    followers = graphs[1:]
    for number, following in enumerate(followers):
        graphs[number] = graphs[number]._replace(end=following.start)
    return graphs


def json_graphs(data: bytes) -> list[TraceGraph]:
    """The graphs of a file of JSON traces: `{"graphs": [{"jgLabel": ...}, ...]}`.

    Raises ValueError for anything else. Only brackets and strings are looked at, one by one: a JSON
    parser would build 500 MB of 64 MB, and hold up every other thread meanwhile.
    """
    graphs: list[TraceGraph] = []
    depth = 0
    array = 0  # where the array of graphs begins; 0 before that
    start = 0
    label = None
    for part in _JSON_PART.finditer(data):
        kind = part.lastgroup
        if kind in ("opens", "graphs"):
            depth += 1
            if depth == 2 and kind == "graphs":
                array = part.end()
            if depth == 3:
                start = part.start()
                label = None
        elif kind == "label" and depth == 3:
            label = json.loads(part["label"])
        elif kind == "closes":
            depth -= 1
            if array and depth == 2:
                if label is None:
                    raise ValueError("a graph without a label")
                graphs.append(TraceGraph(label, start, part.end()))
            if array and depth == 1:
                if not graphs and data[array : part.start()].strip():
                    raise ValueError("what stands here is no graph")
                return graphs
    raise ValueError("no graphs stand here")


def own_graphs(graphs: Iterable[TraceGraph], lemma: str, names: Iterable[str]) -> list[TraceGraph]:
    """Those of `lemma` among the graphs of a file; `names`: the theory's lemmas."""
    known = {*names, lemma}
    return [graph for graph in graphs if graph_lemma(graph.label, known) == lemma]


def graph_lemma(label: str, known: Iterable[str]) -> str:
    """The one of the `known` lemmas that a trace's label names, or "".

    The label ends in the lemma's name and the path of proof cases, joined by `-`, which only the
    first case may lack.
    """
    rest = label
    found = _TRACE_LABEL.search(label)
    if found:
        rest = found[1]

    def likelihood(name: str) -> tuple[bool, int]:
        behind = rest[len(name) : len(name) + 1]
        return behind in ("", "-"), len(name)

    fitting = [name for name in known if rest.startswith(name)]
    return max(fitting, key=likelihood, default="")


# --- Versions -------------------------------------------------------------------------------------

VERSION_LIMITS = Limits(cores=1, memory_mb=4096, timeout_s=30)
# Among other things: tamarin-prover first tells of Maude.
_VERSION = re.compile(r"^(tamarin-prover|tamarin-rs) v?(\d+(?:\.\d+)+)", re.MULTILINE)
# Of another program that speaks Tamarin's command line, as it must say itself.
_OTHER_VERSION = re.compile(r"([A-Za-z][\w-]*) v?(\d+(?:\.\d+)+)")


class VersionAnswer(NamedTuple):
    """What one executable says to `--version`, with the options and environment of its alias."""

    flavour: str
    version: str  # "" when it did not say
    identity: str  # as Prover.identity; "" of what is no prover, or did not come to its answer
    problem: str = ""  # why there is no version


async def ask_versions(provers: Iterable[Prover]) -> None:
    """Ask every prover its version, all at once and each executable once.

    Sets flavour, version and identity; one that does not tell its version is warned of. Raises
    InputError where one is no Tamarin, as every task would fail, or did not come to its answer:
    half an answer would be another identity, and no result would hold any more.
    """
    import asyncio
    import tempfile

    questions: dict[Hashable, list[Prover]] = {}  # what is asked of an executable: its aliases
    for prover in provers:
        question = (prover.command, prover.options, tuple(prover.env.items()))
        questions.setdefault(question, []).append(prover)
    groups = list(questions.values())
    environments = [prover_environment(group[0]) for group in groups]
    # There is no batch yet, and the watchdog ends what carries this id.
    own_id = os.urandom(6).hex()
    logs = tempfile.TemporaryDirectory(prefix="batch-tamarin-")
    with logs as folder, Supervisor(own_id) as supervisor:
        asked: list[Awaitable[VersionAnswer]] = []
        for group, environment in zip(groups, environments):
            asked.append(_ask_version(supervisor, folder, group[0], environment))
        answers = await asyncio.gather(*asked)
    for group, answer in zip(groups, answers):
        if not answer.identity:
            raise InputError(
                f"prover '{group[0].alias}' is not known to be a Tamarin: {answer.problem}; "
                f"try `{quoted(group[0].command)} --version`, then run it again"
            )
        for prover in group:
            prover.flavour = answer.flavour
            prover.version = answer.version
            prover.identity = answer.identity
        if answer.problem:
            warn(f"prover '{group[0].alias}' did not tell its version: {answer.problem}")


async def _ask_version(
    supervisor: Supervisor, folder: str, prover: Prover, environment: dict[str, str]
) -> VersionAnswer:
    """Run a prover with `--version`, its log files in `folder`."""
    import asyncio

    log = os.path.join(folder, prover.alias)
    # With the alias's own options: they decide which Maude is found.
    job = Job(
        id=prover.alias,
        attempt=1,
        command=(*prover.command, "--version", *prover.options),
        cwd=os.getcwd(),
        env=environment,
        limits=VERSION_LIMITS,
        stdout=f"{log}.out",
        stderr=f"{log}.err",
    )
    outcome = await supervisor.run(job, lambda pid, started: None)
    if outcome.status is not Status.COMPLETED:
        return VersionAnswer(Flavour.TAMARIN_PROVER, "", "", outcome.reason)
    said = "\n".join(ends_of(job.stdout))
    # A prover that was built anew may say the same. It may be large: the limits of those that are
    # still asked hold meanwhile.
    files = filter(os.path.isfile, prover.command)
    digests = [await asyncio.to_thread(file_digest, file) for file in files]
    identity = sha256(json.dumps([digests, said]).encode())
    found = _VERSION.search(said)
    is_tamarin = "tamarin" in said.lower()
    if is_tamarin and not found:
        found = _OTHER_VERSION.match(said)
    if found:
        return VersionAnswer(found[1], found[2], identity)
    if is_tamarin:
        problem = "what it said is none that we know"
        return VersionAnswer(Flavour.TAMARIN_PROVER, "", identity, problem)
    first_line = next(filter(None, said.split("\n")), "")
    answer = f"its answer is '{first_line}'" if first_line else "it answers nothing"
    problem = _complaint(ends_of(job.stderr)) or answer
    return VersionAnswer(Flavour.TAMARIN_PROVER, "", "", problem)


# --- Known problems of provers --------------------------------------------------------------------

# What Tamarin's developers have found wrong with its verdicts, in their public issues (#) and pull
# requests up to September 2026, read with the sources. It is a list of what is known, no more: a
# verdict that nothing here touches is as good as its prover. An entry of ADVISORIES is all that
# there is of a problem; its condition is one of the predicates before it. Precise before complete:
# what can't be seen for certain is not seen.

MOST_QUOTED = 80  # characters of a theory
# What is newer than this release was not looked at.
JUDGED_UP_TO = (1, 12, 0)
# tamarin-rs 1.13.0 follows the development version of tamarin-prover of mid 2025. Its own number
# tells nothing: tamarin-prover may have the same one day.
TAMARIN_RS_FOLLOWS = (1, 11, 0)
# Where nothing but a number is known, before this one it is tamarin-prover's.
FIRST_OF_TAMARIN_RS = (1, 13, 0)
EITHER_PROGRAM = "Tamarin or tamarin-rs"  # as a flavour

Version = tuple[int, ...]


class Weight(Word):
    """How much a known problem weighs where its condition holds; the heavier first."""

    ADVISORY = "advisory"
    NOTE = "note"


class CanBeFalse(enum.Enum):
    """Which verdicts a known problem can make false."""

    NO_TRACE = "what is verified of all traces"  # and `no trace found`
    FOUND_TRACE = "a trace that was found"
    BOTH = "both"  # also where it is the model that isn't what it seems


class Met(NamedTuple):
    """That a condition holds, and where."""

    weight: Weight
    where: str = ""  # "restriction once"; "" where what is said of the problem says all
    lemma: str = ""  # the only one that it touches; "": all of the theory


class Circumstances(NamedTuple):
    """All that a condition may look at; None where nothing is known of it."""

    theory: Theory | None  # with its text
    options: Sequence[str] | None = None  # of the prover's command line
    checks_timed_out: bool = False  # those of derivations, as the prover said
    is_printed: bool = False  # by a prover: its stored proofs are results, none that were given

    @property
    def text(self) -> Theory:
        """The theory, where a condition is known to need it."""
        assert self.theory
        return self.theory

    @property
    def items(self) -> TheoryItems:
        """Its items."""
        return self.text.items


Condition = Callable[[Circumstances], Iterable[Met]]

TEXT_NEEDED = "text"
OPTIONS_NEEDED = "options"


@dataclass(frozen=True)
class Advisory:
    """A known problem of a prover, as an entry of ADVISORIES."""

    id: str
    references: tuple[str, ...]
    since: str  # the first version that has it
    fixed_in: str  # the first release without it; "" if there is none up to JUDGED_UP_TO
    can_be_false: CanBeFalse
    what: str  # the condition, in words
    advice: str
    condition: Condition
    needs: tuple[str, ...] = (TEXT_NEEDED,)
    in_diff: bool = False  # only with --diff
    of_equivalence: bool = False  # only the equivalence of both sides is touched
    flavour: str = Flavour.TAMARIN_PROVER  # tamarin-rs has what it took over

    @property
    def versions(self) -> str:
        """`1.8.0 to before 1.12.0`; `1.4.0 on`."""
        if self.flavour != Flavour.TAMARIN_PROVER:
            return self.flavour
        if self.fixed_in:
            return f"{self.since} to before {self.fixed_in}"
        return f"{self.since} on"


def version_number(text: str) -> Version:
    """`1.4` as (1, 4, 0); () of what is no number."""
    if not re.fullmatch(r"\d{1,9}(?:\.\d{1,9})*", text):
        return ()
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def is_development(version: Version) -> bool:
    """Whether it is a development version: these have odd minors."""
    return version[1] % 2 == 1


class Exposure(Word):
    """Whether a version has a known problem, as far as its number tells."""

    NOT_AFFECTED = "not affected"
    AFFECTED = "affected"
    MAYBE = "may be affected"


def affected(advisory: Advisory, flavour: str, version: str) -> Exposure:
    """Whether a prover has a known problem.

    What a release brings or mends may be in the development version before it, or not yet.
    """
    number = version_number(version)
    if advisory.flavour != Flavour.TAMARIN_PROVER:
        return Exposure.AFFECTED if flavour == advisory.flavour else Exposure.NOT_AFFECTED
    if flavour == Flavour.TAMARIN_RS:
        if advisory.in_diff:  # it has no diff mode
            return Exposure.NOT_AFFECTED
        number = TAMARIN_RS_FOLLOWS
    elif flavour != Flavour.TAMARIN_PROVER or not number:
        return Exposure.NOT_AFFECTED
    begins = version_number(advisory.since)
    mended = version_number(advisory.fixed_in)
    if mended and number >= mended:
        return Exposure.NOT_AFFECTED
    if is_development(number):
        next_release = (number[0], number[1] + 1, 0)
        return Exposure.MAYBE if begins <= next_release else Exposure.NOT_AFFECTED
    if number < begins:
        return Exposure.NOT_AFFECTED
    return Exposure.MAYBE if number > JUDGED_UP_TO else Exposure.AFFECTED


def reason_for_doubt(flavour: str, version: str) -> str:
    """Why a prover only may be affected, for people."""
    if flavour == Flavour.TAMARIN_RS:
        followed = f"{TAMARIN_RS_FOLLOWS[0]}.{TAMARIN_RS_FOLLOWS[1]}"
        own = f"tamarin-rs {version}".rstrip()
        return f"{own} follows tamarin-prover's development version {followed} of mid 2025"
    number = version_number(version)
    if is_development(number):
        return f"{version} is a development version"
    return f"{version} is newer than what is known here"


# Conditions that look at the whole theory.


def _any_theory(run: Circumstances) -> Iterator[Met]:
    yield Met(Weight.ADVISORY)


def _noted_of_any_theory(run: Circumstances) -> Iterator[Met]:
    yield Met(Weight.NOTE)


# What stands beside one of these is a part of a term: they bind tighter than those below.
_TIGHTER = ("*", "^")


def _variable_operands(tokens: Tokens, operators: Collection[str]) -> Iterator[str]:
    """The operands of these operators that may be variables without a sort."""
    last = len(tokens) - 1
    for place, token in enumerate(tokens):
        if token not in operators or place in (0, last):
            continue
        before = tokens[max(0, place - 2)]
        if is_variable(tokens[place - 1]) and before not in (*_TIGHTER, ":"):
            yield tokens[place - 1]
        behind = tokens[min(last, place + 2)]
        if is_variable(tokens[place + 1]) and behind not in (*_TIGHTER, ":", "("):
            yield tokens[place + 1]


def _constants(items: TheoryItems) -> set[str]:
    """Names that are no variables although they may stand without brackets."""
    builtin = {"zero", "one", "true", "false", "XOR", "DH_neutral", "tempzero"}
    return builtin | {function.name for function in items.functions}


def _has_xor(run: Circumstances) -> Iterator[Met]:
    items = run.items
    if "xor" not in items.builtins:
        return
    constants = _constants(items)
    for rule in items.rules:
        for fact in facts_of(rule, rule.premises):
            for term in fact.arguments:
                if constants.issuperset(_variable_operands(term, ("XOR",))):
                    continue
                yield Met(Weight.ADVISORY, f"an operand without a sort in rule {rule.name}")
                return
    yield Met(Weight.NOTE)


def _has_private_result(run: Circumstances) -> Iterator[Met]:
    items = run.items
    private = {each.name for each in items.functions if "private" in each.attributes}
    if not private:
        return
    for equation in items.equations:
        left, _, right = equation.partition("=")
        known = " ".join(("", *tokens_of(left), ""))
        for term in _terms_of(tokens_of(right), private):
            words = " ".join(("", *term, ""))
            if words not in known:
                yield Met(Weight.ADVISORY, f"equation {equation[:MOST_QUOTED]}")
                return


def _terms_of(tokens: Tokens, functions: Collection[str]) -> Iterator[Tokens]:
    """The terms that begin with one of these functions, but for those inside of others."""
    partners = closing_brackets(tokens)
    end = 0
    for place, token in enumerate(tokens):
        if place >= end and token in functions:
            end = partners.get(place + 1, place) + 1
            yield tokens[place:end]


def _has_product_in_action(run: Circumstances) -> Iterator[Met]:
    items = run.items
    if {"diffie-hellman", "bilinear-pairing"}.isdisjoint(items.builtins):
        return
    for rule in items.rules:
        for fact in facts_of(rule, rule.actions):
            if any(map(_has_product_outside_of_exponents, fact.arguments)):
                yield Met(Weight.ADVISORY, f"{fact.name}(...) in rule {rule.name}")
                return


def _has_product_outside_of_exponents(term: Tokens) -> bool:
    """Whether a `*` stands outside of `^(...)`; the scalar of `pmult(...)` is an exponent, too."""
    in_exponent = [False]
    before = ""
    for token in term:
        if token == "(":
            in_exponent.append(in_exponent[-1] or before in ("^", "pmult"))
        elif token == ")" and len(in_exponent) > 1:
            in_exponent.pop()
        elif token == "*" and not in_exponent[-1]:
            return True
        before = token
    return False


def _macro_names(items: TheoryItems) -> set[str]:
    return {macro.partition("(")[0].strip() for macro in items.macros}


def _has_macro_in_state(run: Circumstances) -> Iterator[Met]:
    items = run.items
    macros = _macro_names(items)
    if not macros:
        return
    for rule in items.rules:
        consumed = [fact for fact in facts_of(rule, rule.premises) if fact.is_linear]
        produced = [fact for fact in facts_of(rule, rule.conclusions) if fact.is_linear]
        both = {fact.name for fact in consumed} & {fact.name for fact in produced}
        for fact in (*consumed, *produced):
            uses_macro = any(applies_function(term, macros) for term in fact.arguments)
            if fact.name in both and uses_macro:
                yield Met(Weight.NOTE, f"{fact.name}(...) in rule {rule.name}")
                return


_WITHOUT_EQUATIONS = frozenset(("hashing", "multiset", "natural-numbers"))
PARTIAL_EVALUATION = ProverOption("--partial-evaluation")


def _is_partially_evaluated(run: Circumstances) -> Iterator[Met]:
    if not PARTIAL_EVALUATION.is_given(run.options or ()):
        return
    items = run.items
    if items.equations or not _WITHOUT_EQUATIONS.issuperset(items.builtins):
        yield Met(Weight.ADVISORY)


def _has_tuple_beside_variable(run: Circumstances) -> Iterator[Met]:
    """A fact that loops, with a tuple in one rule and a variable at its place in another."""
    constants = _constants(run.items)
    looping: set[str] = set()
    # By fact and place: the rules in which this stands there.
    tuples: dict[tuple[str, int], set[str]] = {}
    variables: dict[tuple[str, int], set[str]] = {}
    for rule in run.items.rules:
        premises = [fact for fact in facts_of(rule, rule.premises) if fact.is_linear]
        conclusions = [fact for fact in facts_of(rule, rule.conclusions) if fact.is_linear]
        looping |= {fact.name for fact in premises} & {fact.name for fact in conclusions}
        for fact in (*premises, *conclusions):
            for place, term in enumerate(fact.arguments):
                if _is_tuple(term):
                    tuples.setdefault((fact.name, place), set()).add(rule.name)
                elif len(term) == 1 and is_variable(term[0]) and term[0] not in constants:
                    variables.setdefault((fact.name, place), set()).add(rule.name)
    for (name, place), rules in tuples.items():
        others = variables.get((name, place), set())
        if name in looping and others and len(rules | others) > 1:
            yield Met(Weight.NOTE, f"argument {place + 1} of {name}")
            return


def _is_tuple(term: Tokens) -> bool:
    """Whether a term is `<...>`, also by way of a rule's `let`."""
    # By the way of a `let` it stands in brackets.
    bare = [token for token in term if token not in ("(", ")")]
    depth = 0
    for token in bare[:-1]:
        depth += token == "<"
        depth -= token == ">"
        if depth == 0:
            return False
    return len(bare) > 1


def _has_union_in_output(run: Circumstances) -> Iterator[Met]:
    items = run.items
    if "multiset" not in items.builtins:
        return
    constants = _constants(items)
    for rule in items.rules:
        for fact in facts_of(rule, rule.conclusions):
            for term in fact.arguments:
                is_quiet = constants.issuperset(_variable_operands(term, ("+", "++")))
                if fact.name == "Out" and not is_quiet:
                    yield Met(Weight.ADVISORY, f"Out(...) in rule {rule.name}")
                    return


# Conditions that look at formulas.


def _with_formulas(theory: Theory, *kinds: str) -> Iterator[Statement]:
    """The statements of these kinds that have a formula, but for accountability lemmas."""
    for statement in theory.items.statements:
        if statement.kind in kinds and statement.formula and not _accounts(statement):
            yield statement


def _accounts(statement: Statement) -> bool:
    """Whether it is an accountability lemma: Tamarin makes others of it."""
    return statement.quantifier.endswith(("accounts for", "account for"))


def _met_in(statement: Statement, weight: Weight) -> Met:
    """A condition that holds in a formula: what a restriction says touches every lemma."""
    where = f"{statement.kind} {statement.name}"
    lemma = statement.name if statement.kind == "lemma" else ""
    return Met(weight, where, lemma)


def _has_negated_equivalence(run: Circumstances) -> Iterator[Met]:
    theory = run.text
    of_predicates = _predicates_with_equivalence(theory.items)
    for statement in _with_formulas(theory, "lemma", "restriction"):
        if _negates_equivalence(statement.formula, of_predicates):
            yield _met_in(statement, Weight.ADVISORY)
    for name, body in _predicate_bodies(theory.items).items():
        if _negates_equivalence(body):
            yield Met(Weight.ADVISORY, f"predicate {name}")
    for rule in theory.items.rules:
        for action in rule.actions:
            if action.startswith("_restrict") and _negates_equivalence(action, of_predicates):
                yield Met(Weight.ADVISORY, f"_restrict(...) in rule {rule.name}")


def _negates_equivalence(text: str, of_predicates: Collection[str] = ()) -> bool:
    """Whether a `<=>`, or a predicate that has one, counts negated or both ways somewhere."""
    if "<=>" not in text and "⇔" not in text and not of_predicates:
        return False
    # `_restrict(...)` is read as what stands in its brackets.
    formula = Formula(text.removeprefix("_restrict"))
    for operator, part in formula.signed_parts():
        if part.sign == 1:
            continue
        if operator or applies_function(formula.words(part)[:2], of_predicates):
            return True
    return False


def _predicate_bodies(items: TheoryItems) -> dict[str, str]:
    """What each predicate stands for, behind its defining arrow."""
    bodies: dict[str, str] = {}
    for text in items.of_kind("predicates"):
        _, _, behind = text.partition(":")
        for predicate in split_list(behind):
            head, _, body = predicate.replace("⇔", "<=>").partition("<=>")
            bodies[head.partition("(")[0].strip()] = body
    return bodies


def _predicates_with_equivalence(items: TheoryItems) -> set[str]:
    bodies = _predicate_bodies(items)
    return {name for name, body in bodies.items() if "<=>" in body}


def _has_last_in_restriction(run: Circumstances) -> Iterator[Met]:
    theory = run.text
    if any(function.name == "last" for function in theory.items.functions):
        return
    for statement in _with_formulas(theory, "restriction"):
        if not applies_function(tokens_of(statement.formula), ("last",)):
            continue
        where = f"restriction {statement.name}"
        if any(lemma.is_sources for lemma in theory.lemmas):
            yield Met(Weight.ADVISORY, f"{where}, beside a sources lemma")
            continue
        for lemma in theory.lemmas:
            if "use_induction" in lemma.attributes:
                yield Met(Weight.ADVISORY, f"{where}, and induction", lemma.name)


def _has_idle_restriction(run: Circumstances) -> Iterator[Met]:
    for statement in _with_formulas(run.text, "restriction"):
        formula = Formula(statement.formula)
        outermost = formula.bare(formula.whole)
        operator, parts = formula.split(outermost)
        if formula.words(outermost) == ["F"]:
            yield _met_in(statement, Weight.ADVISORY)
        elif operator == "|" and "Ex" not in formula.tokens:
            inner = [formula.split(formula.bare(part)).operator for part in parts]
            if all(word == "All" for word in inner):
                yield _met_in(statement, Weight.NOTE)


def _has_subterm(weight: Weight) -> Condition:
    def condition(run: Circumstances) -> Iterator[Met]:
        for statement in _with_formulas(run.text, "lemma", "restriction"):
            formula = statement.formula
            if ("<<" in formula or "⊏" in formula) and "<<" in tokens_of(formula):
                yield _met_in(statement, weight)

    return condition


def _has_subterm_of_two_sorts(run: Circumstances) -> Iterator[Met]:
    if "natural-numbers" not in run.items.builtins:
        return
    constants = _constants(run.items)
    for statement in _with_formulas(run.text, "lemma", "restriction"):
        tokens = tokens_of(statement.formula)
        for place, token in enumerate(tokens):
            if token != "<<":
                continue
            sides = (_sort_before(tokens, place, constants), _sort_behind(tokens, place, constants))
            if sorted(sides) == ["msg", "nat"]:
                yield _met_in(statement, Weight.NOTE)
                break


def _sort_before(tokens: Tokens, place: int, constants: Collection[str]) -> str:
    """`nat` or `msg` of a variable that stands before a place; "" of any other term."""
    if tokens[max(0, place - 2) : place] == [":", "nat"]:
        return "nat"
    if place > 1 and tokens[place - 2] in ("%+", "*", "^", "+", "++", "XOR", ":", ","):
        return ""
    return _sort_of(tokens[place - 1], constants) if place else ""


def _sort_behind(tokens: Tokens, place: int, constants: Collection[str]) -> str:
    behind = tokens[place + 1 : place + 4]
    if behind[1:] == [":", "nat"]:
        return "nat"
    if not behind or behind[1:2] and behind[1] in ("(", "%+", "*", "^", "+", "++", "XOR", ":"):
        return ""
    return _sort_of(behind[0], constants)


def _sort_of(token: str, constants: Collection[str]) -> str:
    if token[0] == "%" and token[1:2].isalpha():
        return "nat"
    if token in constants or not (token[0] in "~$" or is_variable(token)):
        return ""
    return "msg"


def _has_macro_in_formula(run: Circumstances) -> Iterator[Met]:
    macros = _macro_names(run.items)
    if not macros:
        return
    for statement in _with_formulas(run.text, "lemma", "restriction"):
        if applies_function(tokens_of(statement.formula), macros):
            yield _met_in(statement, Weight.ADVISORY)


def _has_equivalence_in_accountability(run: Circumstances) -> Iterator[Met]:
    for statement in run.items.statements:
        if _accounts(statement) and "<=>" in tokens_of(statement.formula):
            for lemma in run.text.lemmas:
                if lemma.parent == statement.name:
                    where = f"accountability lemma {statement.name}"
                    yield Met(Weight.ADVISORY, where, lemma.name)


# Conditions that look at processes.


def _lets(items: TheoryItems) -> Iterator[ProcessLet]:
    """All `let`s in processes."""
    for tokens in process_tokens(items):
        yield from process_lets(tokens)


_BUILTIN_DESTRUCTORS = {
    "dest-pairing": ("fst", "snd"),
    "dest-symmetric-encryption": ("sdec",),
    "dest-asymmetric-encryption": ("adec",),
    "dest-signing": ("verify",),
}


def _destructors(items: TheoryItems) -> dict[str, list[str]]:
    """What the declared destructors come to: the right-hand sides of their equations."""
    results: dict[str, list[str]] = {}
    for function in items.functions:
        if "destructor" in function.attributes:
            results[function.name] = []
    for equation in items.equations:
        left, _, right = equation.partition("=")
        name = left.partition("(")[0].strip()
        if name in results:
            results[name].append(right.strip())
    return results


def _has_state_optimisation(run: Circumstances) -> Iterator[Met]:
    if "translation-state-optimisation" in run.items.options:
        yield Met(Weight.ADVISORY)


def _binds_x_twice(run: Circumstances) -> Iterator[Met]:
    items = run.items
    destructors = set(_destructors(items))
    for builtin in items.builtins:
        destructors.update(_BUILTIN_DESTRUCTORS.get(builtin, ()))
    has_dest_builtin = not _BUILTIN_DESTRUCTORS.keys().isdisjoint(items.builtins)
    if not has_dest_builtin:
        return
    if not any(applies_function(each.term, destructors) for each in _lets(items)):
        return
    if sum(map(_bindings_of_x, process_tokens(items))) > 1:
        yield Met(Weight.NOTE)


def _bindings_of_x(tokens: Tokens) -> int:
    """How often a process binds a variable named x."""
    count = sum("x" in _bound_in(each.pattern) for each in process_lets(tokens))
    partners = closing_brackets(tokens)
    for place, token in enumerate(tokens):
        behind = tokens[place + 1 : place + 2]
        if token in ("new", "as") and behind and behind[0].lstrip("~") == "x":
            count += 1
        if token == "in" and behind == ["("]:
            inside = tokens[place + 2 : partners.get(place + 1, place)]
            # Behind the channel, if one is named.
            message = split_list(" ".join(inside), re.compile(r"[(){}<>,]"))[-1:]
            count += "x" in _bound_in(tokens_of(" ".join(message)))
    return count


def _bound_in(pattern: Tokens) -> set[str]:
    """The names that a pattern binds: all that it doesn't compare."""
    names: set[str] = set()
    for place, token in enumerate(pattern):
        if place == 0 or pattern[place - 1] != "=":
            names.add(token)
    return names


def _has_result_that_is_no_variable(run: Circumstances) -> Iterator[Met]:
    items = run.items
    names: set[str] = set()
    if "dest-signing" in items.builtins:
        names.add("verify")
    for name, results in _destructors(items).items():
        for result in results:
            tokens = tokens_of(result)
            if len(tokens) > 1 or tokens and tokens[0] in _constants(items):
                names.add(name)
    yield from _used_in_lets(items, names)


def _has_two_equations(run: Circumstances) -> Iterator[Met]:
    items = run.items
    names = {name for name, results in _destructors(items).items() if len(results) > 1}
    yield from _used_in_lets(items, names)


def _used_in_lets(items: TheoryItems, names: Collection[str]) -> Iterator[Met]:
    """Of these functions those that are applied in the `let` of a process."""
    if not names:
        return
    lets = list(_lets(items))
    for name in sorted(names):
        if any(applies_function(each.term, (name,)) for each in lets):
            yield Met(Weight.ADVISORY, name)


def _compares_in_let(run: Circumstances) -> Iterator[Met]:
    if any("=" in each.pattern and each.has_else for each in _lets(run.items)):
        yield Met(Weight.NOTE)


def _matches_without_else(run: Circumstances) -> Iterator[Met]:
    items = run.items
    if "translation-progress" not in items.options:
        return
    if any(each.is_match and not each.has_else for each in _lets(items)):
        yield Met(Weight.NOTE)


# Conditions of diff mode.


def _has_sided_restriction(run: Circumstances) -> Iterator[Met]:
    restrictions = list(_with_formulas(run.text, "restriction"))
    # A prover prints what holds for both sides once for each.
    sides: dict[tuple[str, str], set[str]] = {}
    for statement in restrictions:
        side = {"left", "right"}.intersection(statement.attributes)
        sides.setdefault((statement.name, statement.formula), set()).update(side)
    for (name, _), of_restriction in sides.items():
        if len(of_restriction) == 1:
            yield Met(Weight.ADVISORY, f"restriction {name}, of one side")
            return
    for statement in restrictions:
        if tokens_of(statement.formula).count("@") > 1:
            where = f"restriction {statement.name}, which relates two events"
            yield Met(Weight.NOTE, where)
            return


def _has_restriction(run: Circumstances) -> Iterator[Met]:
    for statement in _with_formulas(run.text, "restriction"):
        yield _met_in(statement, Weight.NOTE)
        return


def _has_embedded_restriction(run: Circumstances) -> Iterator[Met]:
    for rule in run.items.rules:
        if any(action.startswith("_restrict") for action in rule.actions):
            yield Met(Weight.ADVISORY, f"rule {rule.name}")
            return


def _has_sided_sources(run: Circumstances) -> Iterator[Met]:
    # Not by their attributes: a prover prints what holds for both sides once for each.
    sides = Counter(lemma.name for lemma in run.text.lemmas if lemma.is_sources)
    for name, count in sides.items():
        # What --auto-sources adds is made for each side by itself.
        if count == 1 and not name.startswith(AUTO_SOURCES_LEMMA):
            yield Met(Weight.ADVISORY, f"lemma {name}")
            return


def _has_multiset(run: Circumstances) -> Iterator[Met]:
    items = run.items
    if "multiset" not in items.builtins:
        return
    for rule in items.rules:
        for fact in facts_of(rule, (*rule.premises, *rule.actions, *rule.conclusions)):
            if any(map(_has_union_of_three, fact.arguments)):
                yield Met(Weight.ADVISORY, f"a union of three in rule {rule.name}")
                return
    yield Met(Weight.NOTE)


def _has_union_of_three(term: Tokens) -> bool:
    """Whether two unions stand beside each other in one bracket, with no comma between them."""
    counts = [0]
    for token in term:
        if token in ("(", "<"):
            counts.append(0)
        elif token in (")", ">") and len(counts) > 1:
            counts.pop()
        elif token == ",":
            counts[-1] = 0
        elif token in ("+", "++"):
            counts[-1] += 1
            if counts[-1] > 1:
                return True
    return False


def _has_private_function(run: Circumstances) -> Iterator[Met]:
    for function in run.items.functions:
        if "private" in function.attributes:
            yield Met(Weight.ADVISORY, f"function {function.name}")
            return


# Conditions of proofs, options and logs.


def _has_misspelt_restriction(run: Circumstances) -> Iterator[Met]:
    """Whoever proves them, an audit tells of such lemmas by themselves (`unknown-action`)."""
    # Provers print no rule that has no variants: which actions rules have the source alone tells.
    if run.is_printed:
        return
    for name, actions in find_misspelt_restrictions(run.items).items():
        yield Met(Weight.NOTE, f"restriction {name}: {listed(actions)}")


def _was_given_found_trace(run: Circumstances) -> Iterator[Met]:
    if run.is_printed:
        return
    for lemma in run.text.lemmas:
        if lemma.proof and lemma.proof.found_trace:
            yield Met(Weight.ADVISORY, "", lemma.name)


DERIVATION_CHECKS_TIMEOUT = ProverOption("--derivcheck-timeout", "-d")


def _has_no_derivation_checks(run: Circumstances) -> Iterator[Met]:
    if run.checks_timed_out:
        yield Met(Weight.NOTE, "they timed out")
    elif DERIVATION_CHECKS_TIMEOUT.values(run.options or ())[-1:] == ["0"]:
        yield Met(Weight.NOTE, "they were switched off")
    elif run.theory:
        for rule in run.items.rules:
            if "no_derivcheck" in rule.attributes:
                yield Met(Weight.NOTE, f"rule {rule.name} has none")
                return


_NO_TRACE = CanBeFalse.NO_TRACE
_FOUND_TRACE = CanBeFalse.FOUND_TRACE
_BOTH = CanBeFalse.BOTH

_ADVISORIES = (
    Advisory(
        "xor",
        ("#770", "PR #837"),
        "1.4.0",
        "",
        _NO_TRACE,
        "`builtins: xor`",
        "cases can be missing: prove it again with another goal order before citing it",
        _has_xor,
    ),
    Advisory(
        "iff-negated",
        ("#933", "PR #934"),
        "0.8.0",
        "",
        _BOTH,
        "`<=>` under a negation, left of `==>`, or inside another `<=>`",
        "write two implications and prove again",
        _has_negated_equivalence,
    ),
    Advisory(
        "last-in-restriction",
        ("#917", "PR #915"),
        "0.8.1",
        "",
        _NO_TRACE,
        "`last(...)` in a restriction, and induction",
        "remove last() from the restriction",
        _has_last_in_restriction,
    ),
    Advisory(
        "restriction-not-enforced",
        ("PR #948",),
        "0.8.1",
        "",
        _FOUND_TRACE,
        "a restriction without an outer quantifier",
        "move it under one quantifier; test with an exists-trace lemma that it bites",
        _has_idle_restriction,
    ),
    Advisory(
        "private-result",
        ("#191", "#849"),
        "0.8.4",
        "",
        _NO_TRACE,
        "an equation that makes a term of a [private] function",
        "secrecy of such terms is not established: give the adversary that rule",
        _has_private_result,
    ),
    Advisory(
        "dh-product",
        ("PR #948",),
        "1.2.0",
        "",
        _NO_TRACE,
        "`*` outside of an exponent in an action",
        "put the product into an exponent",
        _has_product_in_action,
    ),
    Advisory(
        "macro-in-state",
        ("PR #948",),
        "1.8.0",
        "",
        _NO_TRACE,
        "a macro in a fact that its rule consumes and produces",
        "write the macro out",
        _has_macro_in_state,
    ),
    Advisory(
        "partial-evaluation",
        ("PR #948",),
        "0.4.0",
        "",
        _NO_TRACE,
        "`--partial-evaluation` of a theory with equations",
        "prove again without the option",
        _is_partially_evaluated,
        needs=(TEXT_NEEDED, OPTIONS_NEEDED),
    ),
    Advisory(
        "nat-subterm",
        ("PR #948",),
        "1.8.0",
        "",
        _BOTH,
        "`<<` between a %-variable and one that is none",
        "give both sides the %-sort",
        _has_subterm_of_two_sorts,
    ),
    Advisory(
        "subterm-witness",
        ("PR #948",),
        "1.8.0",
        "",
        _FOUND_TRACE,
        "a found trace, and `<<` in a formula",
        "check that the trace has a real term",
        _has_subterm(Weight.NOTE),
    ),
    Advisory(
        "subterm-order",
        ("#809", "PR #811"),
        "1.8.0",
        "1.12.0",
        _NO_TRACE,
        "`<<` in a formula",
        "prove again with 1.12.0 or later",
        _has_subterm(Weight.ADVISORY),
    ),
    Advisory(
        "injective-tuple",
        ("#664", "PR #665"),
        "1.8.0",
        "1.10.0",
        _NO_TRACE,
        "a fact that loops has a tuple in one rule and a variable there in another",
        "prove again with 1.10.0 or later",
        _has_tuple_beside_variable,
    ),
    Advisory(
        "multiset-output",
        ("#519", "PR #522"),
        "0.8.4",
        "1.8.0",
        _NO_TRACE,
        "an output of a union with a variable that has no sort",
        "prove again with 1.8.0 or later",
        _has_union_in_output,
    ),
    Advisory(
        "macro-in-formula",
        ("#694", "PR #754"),
        "1.8.0",
        "1.12.0",
        _BOTH,
        "a macro in a formula",
        "prove again with 1.12.0 or write the term out",
        _has_macro_in_formula,
    ),
    Advisory(
        "unknown-action",
        ("#917", "PR #926"),
        "1.11.0",
        "",
        _BOTH,
        "a restriction names an action that no rule has, and the prover doesn't warn of it",
        "mend the name: the restriction does not say what it seems to",
        _has_misspelt_restriction,
    ),
    Advisory(
        "sapic-state-optimisation",
        ("#931", "#941", "#942", "#696"),
        "1.8.0",
        "",
        _BOTH,
        "`options: translation-state-optimisation`",
        "prove again without the option",
        _has_state_optimisation,
    ),
    Advisory(
        "sapic-x",
        ("#936", "PR #950"),
        "1.8.0",
        "",
        _NO_TRACE,
        "a destructor in a `let`, and a process that binds x twice",
        "rename the variables x",
        _binds_x_twice,
    ),
    Advisory(
        "sapic-destructor-result",
        ("#937", "PR #950"),
        "1.8.0",
        "",
        _NO_TRACE,
        "a destructor in a `let` whose result is no variable",
        "use `if verify(...) = true`",
        _has_result_that_is_no_variable,
    ),
    Advisory(
        "sapic-destructor-equations",
        ("#940", "PR #950"),
        "1.8.0",
        "",
        _BOTH,
        "a destructor with several equations in a `let`",
        "one destructor for each equation",
        _has_two_equations,
    ),
    Advisory(
        "sapic-let-else",
        ("#939", "PR #950"),
        "1.8.0",
        "",
        _NO_TRACE,
        "a `let` that matches `=name`, with an `else`",
        "bind a new variable and compare by `if`",
        _compares_in_let,
    ),
    Advisory(
        "sapic-progress-let",
        ("#943",),
        "1.8.0",
        "",
        _NO_TRACE,
        "`options: translation-progress`, and a `let` with a pattern and no `else`",
        "add `else 0`",
        _matches_without_else,
    ),
    Advisory(
        "accountability-iff",
        ("PR #886",),
        "1.8.0",
        "",
        _BOTH,
        "`<=>` in an accountability lemma",
        "write two implications",
        _has_equivalence_in_accountability,
    ),
    Advisory(
        "diff-restriction-sides",
        ("#324", "PR #949"),
        "1.0.0",
        "",
        _NO_TRACE,
        "an equivalence under a restriction",
        "the equivalence is not established: argue by hand or drop the restriction",
        _has_sided_restriction,
        in_diff=True,
        of_equivalence=True,
    ),
    Advisory(
        "diff-false-attack",
        ("#815", "#701", "PR #949"),
        "1.0.0",
        "",
        _FOUND_TRACE,
        "an attack on an equivalence under a restriction",
        "check by hand that both traces differ for the adversary",
        _has_restriction,
        in_diff=True,
        of_equivalence=True,
    ),
    Advisory(
        "diff-restrict-ignored",
        ("#892",),
        "1.6.0",
        "",
        _BOTH,
        "`--diff` and `_restrict(...)`",
        "use an action and a restriction",
        _has_embedded_restriction,
        in_diff=True,
    ),
    Advisory(
        "diff-sided-sources",
        ("PR #949",),
        "1.2.0",
        "",
        _NO_TRACE,
        "`--diff` and a sources lemma of one side",
        "prove it for both sides",
        _has_sided_sources,
        in_diff=True,
    ),
    Advisory(
        "diff-macros",
        ("PR #949",),
        "1.8.0",
        "",
        _BOTH,
        "`--diff` and a macro in a formula",
        "write the macro out",
        _has_macro_in_formula,
        in_diff=True,
    ),
    Advisory(
        "diff-multiset",
        ("#368",),
        "1.0.0",
        "",
        _NO_TRACE,
        "`--diff` and `builtins: multiset`",
        "do not rely on the equivalence",
        _has_multiset,
        in_diff=True,
        of_equivalence=True,
    ),
    Advisory(
        "diff-private",
        ("#337",),
        "1.0.0",
        "",
        _NO_TRACE,
        "`--diff` and a [private] function",
        "give the adversary an oracle rule for it",
        _has_private_function,
        in_diff=True,
        of_equivalence=True,
    ),
    Advisory(
        "diff-old",
        ("#192", "#198", "#331"),
        "1.0.0",
        "1.6.0",
        _BOTH,
        "`--diff` of an old version",
        "prove again with 1.6.0 or later",
        _noted_of_any_theory,
        needs=(),
        in_diff=True,
    ),
    Advisory(
        "stored-solved",
        ("#326", "#329", "PR #394", "PR #446"),
        "0.0",
        "1.10.0",
        _FOUND_TRACE,
        "the theory was given with a stored SOLVED, which was only checked",
        "take the proof out and prove again",
        _was_given_found_trace,
    ),
    Advisory(
        "old-prover",
        ("#83", "#108", "#144"),
        "0.0",
        "1.0.0",
        _BOTH,
        "a prover before 1.0.0",
        "prove again with a current release",
        _any_theory,
        needs=(),
    ),
    Advisory(
        "tamarin-rs",
        ("its README",),
        "1.13.0",
        "",
        _BOTH,
        "proven by tamarin-rs only, whose authors ask for a check by tamarin-prover",
        "recheck the proof with tamarin-prover",
        _noted_of_any_theory,
        needs=(),
        flavour=Flavour.TAMARIN_RS,
    ),
    Advisory(
        "derivation-checks",
        ("PR #541",),
        "1.8.0",
        "",
        _BOTH,
        "not all derivation checks were made",
        "run once with a long --derivcheck-timeout",
        _has_no_derivation_checks,
        needs=(),
    ),
)
# By id.
ADVISORIES = {advisory.id: advisory for advisory in _ADVISORIES}


class Touch(NamedTuple):
    """That the condition of an advisory holds."""

    advisory: Advisory
    met: Met


def conditions_met(run: Circumstances) -> list[Touch]:
    """The advisories whose conditions hold, whatever prover and verdict: those that can be judged.

    Time is linear in the text.
    """
    known = {TEXT_NEEDED: run.theory is not None, OPTIONS_NEEDED: run.options is not None}
    touches: list[Touch] = []
    for advisory in _ADVISORIES:
        is_other_mode = advisory.in_diff and run.theory and not run.theory.diff
        if is_other_mode or not all(known[need] for need in advisory.needs):
            continue
        for met in advisory.condition(run):
            touches.append(Touch(advisory, met))
    return touches


# === Recipe =======================================================================================

# What is not said in a recipe.
DEFAULT_CORES = 4
DEFAULT_MEMORY_GB = 16
DEFAULT_TIMEOUT_S = 3600
SCHEDULERS = ("fifo", "sjf", "ljf", "history")
ALIAS_BYTES = 100  # as a part of file names, which may have 255
MOST_SUBSET_FLAGS = 16  # of a dimension: they have 65,536 subsets
# Conditions, placeholders and grids of reports have their own meaning for these.
NO_DIMENSIONS = ("directory", "entry", "lemma", "theory", "variant")

# Where something stands in a recipe: ("tasks", "NAME", "lemmas", 0).
JsonPath = tuple[Union[str, int], ...]


class Recipe:
    """A recipe file: its JSON object, checked, and where in the text all stands."""

    def __init__(self, path: str, text: str | None = None) -> None:
        """Read the file at `path`, or take `text` for what it says.

        Raises InputError with all that is wrong.
        """
        self.path = path
        # What a journal holds, or is to be written, has no lines in that file.
        self._is_file = text is None
        if self._is_file and os.path.isdir(path):
            hint = file_meant(path.rstrip("/") + ".json")
            raise InputError(f"is a directory: name a recipe{hint}", path)
        self.text = read_text(path) if text is None else text
        self._problems: dict[str, None] = {}  # in the order of their discovery, each once
        self.not_made: dict[str, str] = {}  # why theories could not be made, by their names here
        # What may be meant instead of a text that stands there, for `check --fix`.
        self.mends: dict[JsonPath, str] = {}
        # Lemmas that batch-tamarin selects beside the one whose name stands there.
        self.also_prefixes: dict[JsonPath, list[str]] = {}
        self.data: Json = self._parse()
        for problem in RECIPE.problems(self.data, ()):
            self.problem(problem.path, problem.message)
        self.raise_problems()

    @property
    def directory(self) -> str:
        """The recipe's own directory, "" for the working directory."""
        return os.path.dirname(self.path)

    @property
    def config(self) -> Json:
        """What it says of the whole batch."""
        config: Json = self.data.get("config", {})
        return config

    def problem(self, path: JsonPath, message: str) -> None:
        """Note that something is wrong at a place of the JSON text."""
        error = self.error(path, message)
        self._problems[str(error)] = None  # each once

    def error(self, path: JsonPath, message: str) -> InputError:
        """What says that something is wrong at a place of the JSON text."""
        place = ".".join(map(str, path))
        if place:
            message = f"{place}: {message}"
        if not self._is_file:
            return InputError(printable(message), self.path)
        # What is missing has no place of its own: that of the object around it is shown.
        while path and path not in self._positions:
            path = path[:-1]
        offset = self._positions.get(path, 0)
        line = self.text.count("\n", 0, offset) + 1
        line_start = self.text.rfind("\n", 0, offset)
        # On one line, whatever stands in a key.
        return InputError(printable(message), self.path, line, offset - line_start)

    def raise_problems(self) -> None:
        """Raise InputError with all problems that were noted, if there are any."""
        if not self._problems:
            return
        lines = list(self._problems)
        if self.mends and self._is_file:
            names = plural(len(self.mends), "name")
            command = quoted(["batch_tamarin.py", "check", self.path, "--fix", "-o", "NEW.json"])
            lines.append(
                f"batch-tamarin takes names of lemmas for prefixes: {printable(command)} writes a "
                f"recipe with '*' behind {names}"
            )
        raise InputError("\n".join(lines))

    def mended_text(self) -> str:
        """The text with what `mends` says; all else in it stays as people wrote it."""
        pieces: list[str] = []
        done = 0
        places = {self._positions[path]: mend for path, mend in self.mends.items()}
        for place in sorted(places):
            member = _JSON_MEMBER.match(self.text, place)
            if member:
                pieces += [self.text[done : member.start(1)], json.dumps(places[place])]
                done = member.end(1)
        return "".join(pieces) + self.text[done:]

    def _parse(self) -> Json:
        """The text as a JSON object. A member that is `null` is as if it were not there."""
        repeated: list[Json] = []  # objects in which a key stands twice

        def members(pairs: list[tuple[str, Any]]) -> Json:
            whole = dict(pairs)
            if len(whole) < len(pairs):
                repeated.append(whole)
            return {key: value for key, value in pairs if value is not None}

        if self.path.endswith(".spthy"):
            command = f"batch_tamarin.py init {quoted([printable(self.path)])}"
            raise InputError(f"this is a theory: {command} writes a recipe for it", self.path)
        try:
            data = json.loads(self.text, object_pairs_hook=members, parse_constant=refuse_constant)
        except json.JSONDecodeError as error:
            raise no_json(self.text, error, self.path) from None
        # NaN; a number of too many digits; lists nested deeper than Python's stack.
        except (ValueError, RecursionError) as error:
            raise InputError(f"this JSON can't be read: {error}", self.path) from None
        if repeated:
            # Python's `json` keeps the last without a word.
            self._refuse_repeated_keys()
        if not isinstance(data, dict):
            message = 'a recipe is a JSON object: {"tamarin_versions": ..., "tasks": ...}'
            raise InputError(message, self.path, 1, 1)
        return data

    def _refuse_repeated_keys(self) -> None:
        seen: set[JsonPath] = set()
        for path, _ in json_positions(self.text):
            if path in seen:
                self.problem(path, "this key stands here twice: keep one")
            seen.add(path)
        self.raise_problems()

    @functools.cached_property
    def _positions(self) -> dict[JsonPath, int]:
        """Needed only where something is wrong. Of a key that stands twice, the second."""
        positions = json_positions(self.text)
        return dict(positions)


def no_json(text: str, error: json.JSONDecodeError, path: str) -> InputError:
    """The error that the text of a file at `path` is no JSON, with its place."""
    message = f"this is no valid JSON: {_json_mistake(text, error)}"
    return InputError(message, path, error.lineno, error.colno)


def _json_mistake(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong with a text that is no JSON, in words of people who write other languages."""
    rest = text[error.pos :].lstrip()
    if not text.strip():
        return "the file is empty"
    if not rest:
        return "it ends before it is complete"
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments: take this one out"
    if rest.startswith("'"):
        return """its texts stand in double quotes: "...\""""
    # From Python 3.13 on the place is that of the comma, before it what stands behind.
    before = text[: error.pos].rstrip()
    if before.endswith(",") and rest.startswith(("]", "}")):
        return f"no comma before '{rest[0]}'"
    if re.match(r",\s*[]}]", rest):
        return f"no comma before '{rest[1:].lstrip()[0]}'"
    return error.msg


# A string that has a colon behind it is a key.
_JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\],]|[^\s{}\[\],"]+')

# A key, and the string behind it.
_JSON_MEMBER = re.compile(r'"(?:[^"\\]|\\.)*"\s*:\s*("(?:[^"\\]|\\.)*")')


def json_positions(text: str) -> Iterator[tuple[JsonPath, int]]:
    """Where each member (its key) and each element of valid JSON text begins."""
    path: list[str | int] = []  # of an open list the index, of an open object the last key
    for token in _JSON_TOKEN.finditer(text):
        word, string, is_key = token.group(0, 1, 2)
        if is_key:
            path[-1] = json.loads(string)
        in_list = bool(path) and isinstance(path[-1], int)
        is_element = in_list and word not in "]},"
        if is_key or is_element:
            yield tuple(path), token.start()
        if word == "[":
            path.append(0)
        elif word == "{":
            path.append("")
        elif word in "]}":
            path.pop()
        elif word == "," and in_list:
            index = cast(int, path[-1])
            path[-1] = index + 1


# --- Kinds of values in a recipe ------------------------------------------------------------------


class RecipeProblem(NamedTuple):
    """What is wrong at a place of a recipe."""

    path: JsonPath
    message: str


Problems = Iterator[RecipeProblem]


class ValueKind:
    """What a value in a recipe may be."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        """All that is wrong with a value that stands at `path`, or inside it."""
        raise NotImplementedError


@dataclass(eq=False)
class PlainValue(ValueKind):
    """A value for which `is_good` holds; in the message FOUND stands for what is there instead."""

    is_good: Callable[[Any], bool]
    message: str

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if not self.is_good(value):
            message = self.message.replace("FOUND", _described(value))
            yield RecipeProblem(path, message)


class Unit(NamedTuple):
    """What numbers count, and for how many of it other units stand that people write."""

    name: str
    others: Mapping[str, float]

    def hint(self, text: str) -> str:
        """What to write for a number with a unit: `: write 3600 (seconds)` for `1h`; or ""."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
        if not found or found[2] not in self.others:
            return ""
        number = float(found[1]) * self.others[found[2]]
        return f": write {number:.10g} ({self.name})"


SECONDS = Unit(
    "seconds",
    {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hours": 3600, "d": 86400, "days": 86400},
)
GIGABYTES = Unit("GB", {"g": 1, "gb": 1, "gib": 1, "m": 1 / 1024, "mb": 1 / 1024, "tb": 1024})
CORES = Unit("cores", {"core": 1, "cores": 1})


@dataclass(eq=False)
class Number(ValueKind):
    """A positive number, or one of the words; the word "50%" stands for any percentage."""

    unit: Unit
    words: tuple[str, ...] = ()
    whole: bool = False

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if self._is_word(value) or self._is_number(value):
            return
        wanted = "a positive whole number" if self.whole else "a positive number"
        for word in self.words:
            wanted += f' or "{word}"'
        hint = self.unit.hint(value) if isinstance(value, str) else ""
        yield RecipeProblem(path, f"must be {wanted}, not {_described(value)}{hint}")

    def _is_word(self, value: Any) -> bool:
        """Whether it is one of the words, or a percentage where these are allowed."""
        if not isinstance(value, str):
            return False
        if "50%" in self.words and percentage(value):
            return True
        return value.lower() in self.words

    def _is_number(self, value: Any) -> bool:
        """Whether it is a number in range, or a whole one written as a text."""
        number = value
        # batch-tamarin takes "60" for 60.
        if isinstance(value, str) and value.isdecimal():
            number = float(value)
        # By type: True is an instance of int.
        if type(number) not in (int, float):
            return False
        # No machine has more, and 1e999 is infinite.
        if not 0 < number < 1e9:
            return False
        return not self.whole or number % 1 == 0


@dataclass(eq=False)
class OneOf(ValueKind):
    """One of some words."""

    words: tuple[str, ...]

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if value not in self.words:
            allowed = ", ".join(self.words)
            hint = did_you_mean(value, self.words) if isinstance(value, str) else ""
            yield RecipeProblem(path, f"must be one of {allowed}, not {_described(value)}{hint}")


@dataclass(eq=False)
class ListOf(ValueKind):
    """A list of at least so many values of one kind."""

    item: ValueKind
    message: str = "must be a list, not FOUND"
    least: int = 0

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if not isinstance(value, list) or len(value) < self.least:
            message = self.message.replace("FOUND", _described(value))
            yield RecipeProblem(path, message)
            return
        for index, item in enumerate(value):
            yield from self.item.problems(item, (*path, index))


@dataclass(eq=False)
class Named(ValueKind):
    """An object from names, at least one, that the user gives to values of one kind."""

    item: ValueKind
    message: str

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if not isinstance(value, dict) or not value:
            yield RecipeProblem(path, self.message)
            return
        for name, item in value.items():
            yield from self.item.problems(item, (*path, name))


# What people write for keys that have other names.
KEYS_MEANT = {
    "flags": "preprocess_flags",
    "defines": "preprocess_flags",
    "options": "tamarin_options",
    "theory": "theory_file",
    "file": "theory_file",
    "prover": "tamarin_versions",
    "provers": "tamarin_versions",
    "prefix": "output_file_prefix",
    "cores": "max_cores",
    "memory": "max_memory",
}


@dataclass(eq=False)
class Fields(ValueKind):
    """An object with these members and no others."""

    members: Mapping[str, ValueKind]
    required: tuple[str, ...] = ()

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if not isinstance(value, dict):
            yield RecipeProblem(path, f"must be an object, not {_described(value)}")
            return
        allowed = ", ".join(self.members)
        for key, member in value.items():
            member_path = (*path, key)
            kind = self.members.get(key)
            if kind:
                yield from kind.problems(member, member_path)
            else:
                # A misspelt limit that is passed over would never hold.
                hint = self._home_of(key)
                if KEYS_MEANT.get(key) in self.members:
                    hint = hint or f" (did you mean '{KEYS_MEANT[key]}'?)"
                hint = hint or did_you_mean(key, self.members)
                yield RecipeProblem(member_path, f"unknown key{hint}; allowed: {allowed}")
        for key in self.required:
            if key not in value:
                yield RecipeProblem(path, f"'{key}' is missing")

    def _home_of(self, key: str) -> str:
        """A hint at the member under which a key belongs, or ""."""
        for name, kind in self.members.items():
            if isinstance(kind, Fields) and key in kind.members:
                return f": it belongs under '{name}'"
        return ""


@dataclass(eq=False)
class TaskEntry(Fields):
    """An entry of `tasks`: an object of which some members exclude each other."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        yield from super().problems(value, path)
        if not isinstance(value, dict):
            return
        if "matrix" in value and "variants" in value:
            message = "stands beside 'variants': one of them says which variants there are"
            yield RecipeProblem((*path, "matrix"), message)
        if "exclude" in value and "matrix" not in value:
            message = "takes combinations out of a 'matrix', and there is none"
            yield RecipeProblem((*path, "exclude"), message)


class Options(ValueKind):
    """A list of prover options that are not this program's own business."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        if not isinstance(value, list):
            yield RecipeProblem(path, f"must be a list of texts, not {_described(value)}")
            return
        for index, option in enumerate(value):
            message = option_problem(option)
            if message:
                yield RecipeProblem((*path, index), message)
        runtime = [option for option in value if option in ("+RTS", "-RTS")]
        # GHC would take all that follows, --output too, for options of its own.
        if runtime and runtime[-1] == "+RTS":
            yield RecipeProblem(path, "'+RTS' needs a '-RTS' after its options")


@dataclass(eq=False)
class OneOrNamed(ValueKind):
    """A value of one kind, or an object from names to such values."""

    item: ValueKind
    message: str

    def problems(self, value: Any, path: JsonPath) -> Problems:
        kind = self.item
        if isinstance(value, dict):
            kind = Named(self.item, self.message)
        yield from kind.problems(value, path)


@dataclass(eq=False)
class FileNamed(Named):
    """As `Named`; the names become part of file names."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        yield from super().problems(value, path)
        if isinstance(value, dict):
            for name in value:
                yield from FILE_NAME.problems(name, (*path, name))


class Dimension(ValueKind):
    """A dimension of a `matrix`: values with their overrides, or all subsets of some flags."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        name = str(path[-1])
        if not is_flag(name) or name in NO_DIMENSIONS:
            reserved = ", ".join(NO_DIMENSIONS)
            message = f"a dimension is named by letters, digits and '_', and none of {reserved}"
            yield RecipeProblem(path, message)
        if is_power_set(value):
            yield from SUBSETS.problems(value, path)
        else:
            yield from DIMENSION_VALUES.problems(value, path)


def is_power_set(dimension: Any) -> bool:
    """Whether a dimension is `{"subsets": [flag, ...]}`, and not an object of values."""
    return isinstance(dimension, dict) and isinstance(dimension.get("subsets"), list)


class ExpectationsOrRules(ValueKind):
    """What an entry expects: a verdict, verdicts by lemma, or a list of rules."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        kind = EXPECT_RULES if isinstance(value, list) else EXPECTATIONS
        yield from kind.problems(value, path)


@dataclass(eq=False)
class OneOrList(ValueKind):
    """A value of one kind, or a list with at least one of them."""

    item: ValueKind

    def problems(self, value: Any, path: JsonPath) -> Problems:
        kind = self.item
        if isinstance(value, list):
            kind = ListOf(self.item, "must not be an empty list", least=1)
        yield from kind.problems(value, path)


class ProverEntry(ValueKind):
    """A prover of `tamarin_versions`; its alias becomes part of file names."""

    def problems(self, value: Any, path: JsonPath) -> Problems:
        alias = path[-1]
        yield from FILE_NAME.problems(alias, path)
        if len(str(alias).encode(errors="replace")) > ALIAS_BYTES:
            message = f"becomes part of file names: at most {ALIAS_BYTES} bytes"
            yield RecipeProblem(path, message)
        yield from PROVER_FIELDS.problems(value, path)
        if not isinstance(value, dict):
            return
        if ("path" in value) == ("command" in value):
            message = "needs either 'path' (a file, or a command on PATH) or 'command' (a list)"
            yield RecipeProblem(path, message)


def _described(value: Any) -> str:
    """What stands there instead of something good, for people."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value)
    return text[:60]


def percentage(text: str) -> float | None:
    """The share that "50%" means, or None."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not found:
        return None
    percent = float(found[1])
    return percent / 100 if 0 < percent <= 100 else None


def option_problem(option: Any) -> str:
    """Why this can't be an option of a prover, "" if it can.

    Words between +RTS and -RTS, which are GHC's, are judged alike.
    """
    if not is_text(option):
        return f"must be an option of the prover, not {_described(option)}"
    name, joined, _ = option.partition("=")
    if " " in name and name[0] in "-+":
        return 'one option per text: use a list such as ["+RTS", "-M8g", "-RTS"]'
    if name[:1] not in ("-", "+"):
        return (
            f"'{printable(option)}' would be read as a theory file: an option's value is joined "
            "by '=', as in --bound=5"
        )
    # Tamarin would take `--a` for --auto-sources, `--l` for --lemma, and what follows `--` for a
    # theory file; of `-vDX` it takes each letter. Nobody here would know what it was told.
    if re.fullmatch("--.?", name) or re.match("-v+[^v]", name):
        return f"'{printable(option)}' must be written out, one option per text"
    for known in PROVER_OPTIONS:
        if not known.is_meant_by(option):
            continue
        if known.refusal:
            return f"{known.name} can't be given here: {known.refusal}"
        if joined and not known.takes_value:
            return f"{known.name} takes no value"
    return ""


# NUL, and halves of characters, which JSON may name.
_NOT_FOR_COMMANDS = re.compile("[\0\ud800-\udfff]")


def is_text(value: Any) -> bool:
    """Whether it is a text that is not empty and that a command line can hold."""
    if not isinstance(value, str) or not value:
        return False
    return not _NOT_FOR_COMMANDS.search(value)


def is_integer(value: Any) -> bool:
    """Whether it is a whole number, of nine digits at most."""
    # By type: True is an instance of int.
    return type(value) is int and abs(value) < 1e9


def is_file_name_part(value: Any) -> bool:
    """Whether it can stand inside the name of a file, whatever stands before and behind it."""
    if not is_text(value) or not value.isprintable():
        return False
    return not re.search(r"[/\\]|\.\.", value)


def is_flag(value: Any) -> bool:
    """Whether it is the name of a preprocessor flag."""
    # An #ifdef can ask for nothing else: flags are identifiers (Text/Parser.hs, flagatom).
    return isinstance(value, str) and re.fullmatch(r"\w+", value) is not None


def is_set_of_flags(value: Any) -> bool:
    """Whether it is a list of flags, each once, whose subsets can be told."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_SUBSET_FLAGS:
        return False
    return all(map(is_flag, value)) and len(set(value)) == len(value)


def is_environment(value: Any) -> bool:
    """Whether it is an object from variables to texts, as a process can get it."""
    if not isinstance(value, dict):
        return False
    # Of a name with `=` the child would see another variable.
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            return False
        if not isinstance(text, str) or "\0" in text:
            return False
    return True


# --- What a recipe may contain --------------------------------------------------------------------

ANYTHING = PlainValue(lambda value: True, "")
TEXT = PlainValue(is_text, "must be a text that is not empty, not FOUND")
BOOLEAN = PlainValue(lambda value: isinstance(value, bool), "must be true or false, not FOUND")
INTEGER = PlainValue(is_integer, "must be a whole number, such as 5 or -1, not FOUND")
FLAG = PlainValue(is_flag, "must be the name of one preprocessor flag, without -D")
VERDICT = OneOf(tuple(Verdict))
GRANULARITY = OneOf(tuple(Granularity))
FILE_NAME = PlainValue(
    is_file_name_part,
    "becomes part of file names: a text without '/', '\\', '..' and control characters, not FOUND",
)
ENVIRONMENT = PlainValue(
    is_environment,
    'must be an object from variables (not empty, without "=") to texts, '
    'such as {"TMPDIR": "/scratch"}',
)
TEXTS = ListOf(TEXT, "must be a list with at least one text, not FOUND", least=1)

_CONFIG: dict[str, ValueKind] = {
    "global_max_cores": Number(CORES, ("max",), whole=True),  # of all jobs together
    "global_max_memory": Number(GIGABYTES, ("max", "50%")),  # GB, of all jobs together
    "default_timeout": Number(SECONDS),
    "output_directory": TEXT,
    "scheduler": OneOf(SCHEDULERS),  # which waiting task starts first
    "granularity": GRANULARITY,  # of tasks that say nothing else
    "recheck_with": TEXT,  # alias of a prover that checks every proof
    # Known problems of provers that results may have: `audit` shows them as accepted.
    "accept_advisories": ListOf(OneOf(tuple(ADVISORIES))),
}

_PROVER: dict[str, ValueKind] = {
    # One of these two: a file, or a command on PATH; or a whole command line up to the theory.
    "path": TEXT,
    "command": TEXTS,
    "options": Options(),  # of every call
    "env": ENVIRONMENT,
    # What batch-tamarin writes here; not used.
    "version": TEXT,
    "test_success": ANYTHING,
}

PROVER_FIELDS = Fields(_PROVER)

# Of one job. What is missing is inherited: lemma, task, then the defaults.
_RESOURCES: dict[str, ValueKind] = {
    "max_cores": Number(CORES, whole=True),
    "max_memory": Number(GIGABYTES),
    "timeout": Number(SECONDS),
}

# What a task says and one of its lemmas may say anew.
_OVERRIDES: dict[str, ValueKind] = {
    "tamarin_versions": TEXTS,  # aliases
    "tamarin_options": Options(),
    "preprocess_flags": ListOf(FLAG),
    "resources": Fields(_RESOURCES),
    "priority": INTEGER,  # of those that wait, the highest starts first
}

_LEMMA: dict[str, ValueKind] = {
    # Exact; else a shell pattern, case-sensitive; "!pattern" takes lemmas away.
    "name": TEXT,
    **_OVERRIDES,
    "expect": VERDICT,
}

# One for all of its lemmas, or by lemma: names or patterns.
EXPECTATIONS = OneOrNamed(VERDICT, "must be an object with at least one lemma")
LEMMA_FIELDS = Fields(_LEMMA, required=("name",))

# One value of a dimension, or several; shell patterns.
_VALUES = OneOrList(TEXT)
_BY_DIMENSION = Named(_VALUES, "must be an object from dimensions to values")

_EXPECT_RULE: dict[str, ValueKind] = {
    "lemma": TEXT,  # a name or a pattern; all lemmas when left out
    "when": _BY_DIMENSION,  # in these variants; in all when left out
    "verdict": VERDICT,
}

EXPECT_RULES = ListOf(
    Fields(_EXPECT_RULE, required=("verdict",)), "must be a list that is not empty", least=1
)

# What a variant says over the entry and its lemmas; options and flags are added to theirs.
_VARIANT: dict[str, ValueKind] = {
    **_OVERRIDES,
    "expect": EXPECTATIONS,
    "lemmas": ListOf(LEMMA_FIELDS),
}

VARIANT_FIELDS = Fields(_VARIANT)
DIMENSION_VALUES = FileNamed(
    VARIANT_FIELDS,
    'must be an object from values to what they change, or {"subsets": [flag, ...]}',
)
SUBSETS = Fields(
    {
        "subsets": PlainValue(
            is_set_of_flags,
            f"must be a list of 1 to {MOST_SUBSET_FLAGS} different flags, without -D",
        )
    }
)

# A further attempt at what has met its limit. Other options would be another question: a variant.
_LIMIT_STAGE: dict[str, ValueKind] = {"resources": Fields(_RESOURCES)}

# What makes the theory before it is read.
_PREPARE: dict[str, ValueKind] = {
    "command": TEXTS,  # without a shell; it writes {theory_file}, or else prints the theory
    "inputs": ListOf(TEXT),  # names or patterns of files: when they change, it runs again
}

_TASK: dict[str, ValueKind] = {
    # A pattern, too, or a list of both, where the prefix contains {theory}; in a list "!pattern"
    # takes theories away.
    "theory_file": OneOrList(TEXT),
    "output_file_prefix": FILE_NAME,
    **_OVERRIDES,
    "expect": ExpectationsOrRules(),
    "cwd": TEXT,  # where its jobs run
    "lemmas": ListOf(LEMMA_FIELDS),  # all when left out
    "prove": BOOLEAN,  # false: check the proofs stored in the theory instead of searching
    # Every lemma is planned once for each variant: by name; or as the product of dimensions, less
    # some combinations.
    "variants": FileNamed(VARIANT_FIELDS, "must be an object with at least one variant"),
    "matrix": Named(Dimension(), "must be an object with at least one dimension"),
    "exclude": ListOf(_BY_DIMENSION, "must be a list that is not empty", least=1),
    "prepare": Fields(_PREPARE, required=("command",)),
    # For what meets a limit, one after the other.
    "on_limit": ListOf(
        Fields(_LIMIT_STAGE, required=("resources",)), "must be a list that is not empty", least=1
    ),
    "granularity": GRANULARITY,  # whether its lemmas may share a process
}

TASK_FIELDS = TaskEntry(_TASK, required=("theory_file", "tamarin_versions", "output_file_prefix"))

_RECIPE: dict[str, ValueKind] = {
    "$schema": ANYTHING,  # for editors
    "config": Fields(_CONFIG),
    "tamarin_versions": Named(ProverEntry(), "must be an object with at least one prover"),
    "tasks": Named(TASK_FIELDS, "must be an object with at least one task"),
}

RECIPE = Fields(_RECIPE, required=("tamarin_versions", "tasks"))


# --- Provers of a recipe --------------------------------------------------------------------------


def recipe_provers(recipe: Recipe) -> dict[str, Prover]:
    """The provers that are used, found on this machine, their versions not yet asked, by alias.

    Raises InputError with all that is wrong.
    """
    provers: dict[str, Prover] = {}
    known = recipe.data["tamarin_versions"]
    # The others need not be here: people share one list of provers between machines.
    for path, alias in _used_aliases(recipe):
        if alias not in known:
            hint = did_you_mean(alias, known)
            recipe.problem(path, f"no prover '{printable(alias)}' in tamarin_versions{hint}")
        elif alias not in provers:
            provers[alias] = _recipe_prover(recipe, alias)
    recipe.raise_problems()
    return provers


def _used_aliases(recipe: Recipe) -> Iterator[tuple[JsonPath, str]]:
    """Each use of a prover's alias, and where it stands."""
    recheck_with = recipe.config.get("recheck_with")
    if recheck_with:
        yield ("config", "recheck_with"), recheck_with
    tasks = recipe.data["tasks"]
    for name, task in tasks.items():
        yield from _aliases_of(task, ("tasks", name))
        for layer in override_layers(task, ("tasks", name)):
            yield from _aliases_of(layer.overrides, layer.path)


def _aliases_of(entry: Json, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    """The aliases that a task, one of its variants, or one of its lemmas names itself."""
    aliases = entry.get("tamarin_versions", ())
    for index, alias in enumerate(aliases):
        yield (*path, "tamarin_versions", index), alias
    lemmas = entry.get("lemmas", ())
    for index, item in enumerate(lemmas):
        yield from _aliases_of(item, (*path, "lemmas", index))


class Layer(NamedTuple):
    """What a part of the recipe says over another one, and where it stands.

    A variant, or a value of a dimension, over an element of `lemmas`, and that over its entry.
    """

    overrides: Json
    path: JsonPath


def override_layers(entry: Json, path: JsonPath) -> Iterator[Layer]:
    """All that an entry's variants, or the values of its dimensions, say over it."""
    for name, overrides in entry.get("variants", {}).items():
        yield Layer(overrides, (*path, "variants", name))
    for dimension, values in entry.get("matrix", {}).items():
        if not is_power_set(values):
            for value, overrides in values.items():
                yield Layer(overrides, (*path, "matrix", dimension, value))


def _recipe_prover(recipe: Recipe, alias: str) -> Prover:
    """A prover of the recipe, found on this machine; what is wrong with it is noted."""
    entry = recipe.data["tamarin_versions"][alias]
    path: JsonPath = ("tamarin_versions", alias)
    program, *rest = entry.get("command") or [entry["path"]]
    options = entry.get("options", ())
    env = entry.get("env", {})
    command = [_program(recipe, path, program, {**os.environ, **env})]
    for word in rest:
        command.append(_argument(recipe, path, word))
    return Prover(alias=alias, command=tuple(command), options=tuple(options), env=dict(env))


def _program(recipe: Recipe, path: JsonPath, word: str, environment: Mapping[str, str]) -> str:
    """The absolute path of a prover's program; `environment`: the one that it will have."""
    # As every relative path of a recipe: what is here comes before what is beside the recipe.
    program = find_program(word, recipe.directory, environment)
    name = os.path.basename(word)
    if os.sep in word:
        meant = relative_to(word, recipe.directory)
        files = filter(os.path.isfile, meant)
        programs = [file for file in files if os.access(file, os.X_OK)]
        refuse_two_files(recipe, path, word, programs)
    if name in ("docker", "podman"):
        message = (
            f"{name} runs the prover outside our process tree, where limits can't hold: "
            "use apptainer, or install the prover"
        )
        recipe.problem(path, message)
    if not program:
        recipe.problem(path, no_program(word, recipe.directory))
    return program


def _argument(recipe: Recipe, path: JsonPath, word: str) -> str:
    """A word of a prover's command line behind its program.

    A path is made absolute, as it is here: a task may run in another directory.
    """
    if os.sep not in word or word.startswith("-"):
        return word
    meant = relative_to(word, recipe.directory)
    files = list(filter(os.path.isfile, meant))
    refuse_two_files(recipe, path, word, files)
    return os.path.abspath(files[0]) if files else word


def refuse_two_files(recipe: Recipe, path: JsonPath, name: str, files: Sequence[str]) -> None:
    """Note a problem where a name can mean two files that are not equal."""
    digests = {file_digest(file) for file in files}
    # Copies of one file are no question.
    if len(digests) > 1:
        message = two_files(name, files)
        recipe.problem(path, message)


def two_files(name: str, files: Iterable[str]) -> str:
    """What to say where a name can mean two files that differ."""
    paths = map(os.path.abspath, files)
    shown_paths = " and ".join(map(printable, paths))
    shown = printable(name)
    return f"'{shown}' can mean two files that differ, {shown_paths}: give the absolute path of one"


def recipe_path(file: str, recipe_file: str) -> str:
    """How a recipe should name a file: relative to its own directory.

    Absolute where the relative path could mean another file here.
    """
    recipe_file = os.path.abspath(recipe_file)
    directory = os.path.dirname(recipe_file)
    relative = os.path.relpath(file, directory)
    meant = relative_to(relative, directory)
    if meant and all(os.path.samefile(path, file) for path in meant):
        return relative
    return os.path.abspath(file)


# === Plan =========================================================================================

# In an id: what a pattern would select of a theory that can't be read. No lemma has such a name.
UNKNOWN_LEMMAS = "unknown-lemmas"

# Says something to the user that stops nothing.
Warn = Callable[[str], None]


def plan_batch(
    recipe: Recipe, provers: dict[str, Prover], room: Limits, options: PlanOptions, warn: Warn
) -> Batch:
    """The completely resolved Batch of a recipe, in file order.

    `room`: what this process may use. Raises InputError with all that is wrong in the recipe, or if
    none of its theories can be read. One that can't be read fails its own tasks, and no others.
    """
    limits = global_limits(recipe.config, room, options, warn)
    planner = _Planner(recipe, provers, limits, options, warn)
    tasks: dict[str, Task] = {}
    # All of them, whatever -t chooses later: an id must not depend on what else runs today. And on
    # after a problem: a user wants to hear of all at once.
    with making_what_stays():
        for name, entry in recipe.data["tasks"].items():
            for plan in planner.plans_of(name, entry):
                tasks[plan.id] = Task(plan)
    recipe.raise_problems()
    if all(task.plan.unreadable for task in tasks.values()):
        raise_unreadable(tasks.values())
    found = planner.dependencies.found
    header = _header(recipe, provers, limits, options)
    header.inputs.update(_source_digests(found.values(), header.cwd))
    return Batch(header, tasks, dependencies=found)


def most_tasks(options: PlanOptions) -> int:
    """How many tasks a recipe may have."""
    return MOST_COMBINATIONS if options.many_tasks else MOST_TASKS


def raise_unreadable(tasks: Iterable[Task]) -> None:
    """Raise InputError with all theories of these tasks that can't be read, if there are any."""
    lines: list[str] = []
    for group in tasks_read_alike(tasks):
        plan = group[0].plan
        if plan.unreadable:
            ids = listed((task.id for task in group), 10)
            lines.append(f"{ids} ({theory_words(plan)}): {plan.unreadable}")
    if lines:
        raise InputError("\n".join(lines))


def tasks_read_alike(tasks: Iterable[Task]) -> Iterable[list[Task]]:
    """Groups of tasks that read the same of a theory, or can't read it for the same reason."""
    groups: dict[tuple[TheoryView, str], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.plan.view, task.plan.unreadable), []).append(task)
    return groups.values()


def theory_words(plan: Plan) -> str:
    """A task's theory with its options and flags, as on a command line."""
    flags = [DEFINES.with_value(flag) for flag in plan.flags]
    return quoted([plan.theory, *plan.options, *flags])


def _source_digests(
    all_dependencies: Iterable[Dependencies], cwd: str
) -> Iterator[tuple[str, str]]:
    """`Header.inputs` of what was planned, as pairs."""
    for dependencies in all_dependencies:
        for path in dependencies.sources:
            yield path_from(path, cwd), dependencies.files[path].digest


def _header(
    recipe: Recipe, provers: dict[str, Prover], limits: Limits, options: PlanOptions
) -> Header:
    """The `batch` event of this run, with this process as its driver."""
    host, boot_id = host_id()
    # At random: two drivers may plan the same recipe in the same moment, on two machines.
    batch_id = os.urandom(6).hex()
    scheduler = options.scheduler or recipe.config.get("scheduler", "fifo")
    own_pid = os.getpid()
    python = sys.version.split()[0]
    return Header(
        at=timestamp(),
        id=batch_id,
        version=__version__,
        recipe_file=os.path.abspath(recipe.path),
        recipe=recipe.data,
        options=options,
        limits=limits,
        cwd=os.getcwd(),
        scheduler=scheduler,
        provers=provers,
        pid=own_pid,
        # Pids are used again: this tells our process from a later one.
        started=process_start(own_pid),
        host=host,
        boot_id=boot_id,
        python=python,
        platform=sys.platform,
    )


class _Planner:
    """Plans one entry of the recipe's `tasks` after the other."""

    def __init__(
        self,
        recipe: Recipe,
        provers: Mapping[str, Prover],
        limits: Limits,
        options: PlanOptions,
        warn: Warn,
    ) -> None:
        """`limits`: of all jobs together, and a job's default time."""
        self.recipe = recipe
        self.provers = provers
        self.most_tasks = most_tasks(options)
        self.granularity = options.granularity  # of all entries; None for what the recipe says
        self._warn = warn
        self._warned_of: set[str] = set()  # aliases of provers
        self.limits = JobLimits(limits, warn)
        self.lemmas = LemmaSelection(recipe, provers, warn)
        self.dependencies = DependencyFinder(recipe, provers)
        self.ids = TaskIds()

    def plans_of(self, name: str, data: Json) -> Iterator[Plan]:
        """The plans of one entry: variants, theories, lemmas in theory order, then provers."""
        variants = read_variants(self.recipe, name, data, self.most_tasks)
        words = SelectingWords()
        idle: list[Variant] = []
        for variant in variants.all:
            entry = read_entry(name, data, self.limits, variant)
            planned_before = self.ids.count
            yield from self._plans_of_variant(entry, words)
            if self.ids.count == planned_before:
                idle.append(variant)
        words.complain()
        # Where no variant plans anything, that has been complained of.
        if len(idle) < len(variants.all):
            for variant in idle:
                message = f"variant '{variant.name}' plans no lemma: exclude it, or give it some"
                self.recipe.problem(variant.path, message)
        if not idle:
            self._warn_of_idle_theories(name, words)

    def _warn_of_idle_theories(self, entry: str, words: SelectingWords) -> None:
        """Who names several theories may not see that nothing of one is proven."""
        if words.idle_theories:
            theories = printable(listed(words.idle_theories, 3))
            self._warn(
                f"tasks.{entry}: none of its names and patterns selects a lemma of {theories}"
            )

    def _plans_of_variant(self, entry: RecipeEntry, words: SelectingWords) -> Iterator[Plan]:
        if not os.path.isdir(entry.cwd):
            message = f"there is no directory '{printable(entry.cwd)}'"
            self.recipe.problem((*entry.path, "cwd"), message)
            return
        for file in find_theories(self.recipe, entry):
            words.begin_theory(file.path)
            selection = self.lemmas.select(entry, file, words)
            self._note_expectations(entry, selection, words)
            stem = _stem(file.path)
            prefix = entry.prefix.replace("{theory}", stem)
            argument = path_from(file.path, entry.cwd)
            argument = share(argument)
            for choice in selection.choices:
                self._refuse_diff(choice)
                self._refuse_idle_stages(entry, choice.item)
                words.note_plan()
                yield self._plan(entry, choice, prefix, argument)
            for unread in selection.unread:
                words.note_plan()
                yield self._unreadable(entry, unread, prefix, argument)

    def _new_id(self, entry: RecipeEntry, prefix: str, lemma: str, alias: str) -> str:
        """The id of a further task. Raises InputError where there are too many."""
        if self.ids.count >= self.most_tasks:
            message = f"the recipe plans more than {self.most_tasks:,} tasks: {_TOO_MANY}"
            raise self.recipe.error(entry.path, message)
        words = [prefix, lemma, alias, entry.variant.name]
        return self.ids.new("--".join(filter(None, words)))

    def _plan(self, entry: RecipeEntry, choice: LemmaChoice, prefix: str, argument: str) -> Plan:
        """`argument`: how the command line names the theory."""
        item = choice.item
        lemma = choice.lemma
        view = TheoryView(choice.alias, argument, item.options, item.flags, entry.cwd)
        dependencies = self.dependencies.of(view, choice.loaded)
        task_id = self._new_id(entry, prefix, lemma.name, choice.alias)
        sides = sides_of(choice.sides)
        assumes = assumed_by(choice.sides)
        expect = expected_verdict(self.recipe, item, lemma)
        key = dependencies.task_key(lemma.name, entry.prove)
        lemma_key = dependencies.lemma_key(lemma.name, entry.prove)
        # Enough to tell texts apart, and it stands in the journal once for each task.
        theory_digest = dependencies.text[:32]
        unknown_actions = choice.loaded.theory.unknown_actions
        unknown = unknown_actions.get(lemma.name, NO_UNKNOWN_ACTIONS)
        return Plan(
            id=task_id,
            entry=entry.name,
            theory=view.theory,
            lemma=lemma.name,
            trait=lemma.trait,
            sides=sides,
            prover=view.prover,
            options=view.options,
            flags=view.flags,
            limits=item.limits,
            cwd=view.cwd,
            prove=entry.prove,
            optional=lemma.optional,
            assumes=assumes,
            expect=expect,
            key=key,
            lemma_key=lemma_key,
            theory_digest=share(theory_digest),
            priority=item.priority,
            on_limit=item.on_limit,
            variant=entry.variant.name,
            dimensions=entry.variant.dimensions,
            unknown_actions=unknown.told,
            holds_anyway=unknown.holds_anyway,
            granularity=self._granularity(entry, choice.alias),
        )

    def _granularity(self, entry: RecipeEntry, alias: str) -> Granularity:
        """What the command line says, else the entry, else the recipe's `config`.

        THEORY only where the prover tells when it has loaded a theory.
        """
        default = self.recipe.config.get("granularity", Granularity.LEMMA)
        wanted = Granularity(self.granularity or entry.granularity or default)
        prover = self.provers[alias]
        if wanted is Granularity.LEMMA or tells_phases(prover):
            return wanted
        if alias not in self._warned_of:
            self._warned_of.add(alias)
            version = f"{prover.flavour} {prover.version or 'of unknown version'}"
            self._warn(
                f"prover '{alias}' ({version}) is not known to say when it has loaded a theory: "
                "each of its lemmas has a process of its own"
            )
        return Granularity.LEMMA

    def _unreadable(
        self, entry: RecipeEntry, unread: UnreadLemmas, prefix: str, argument: str
    ) -> Plan:
        """The plan of what an item would select, if its theory could be read."""
        item = unread.item
        name = UNKNOWN_LEMMAS if _is_pattern(item.pattern) else item.pattern
        task_id = self._new_id(entry, prefix, name, unread.alias)
        lemma = Lemma(item.pattern, Trait.ALL_TRACES, "", (), argument)
        expect = expected_verdict(self.recipe, item, lemma)
        return Plan(
            id=task_id,
            entry=entry.name,
            theory=argument,
            lemma=item.pattern,
            trait="",  # the theory would say
            sides=(),
            prover=unread.alias,
            options=item.options,
            flags=item.flags,
            limits=item.limits,
            cwd=entry.cwd,
            prove=entry.prove,
            optional=False,
            assumes=(),
            expect=expect,
            # As that of no text: no result of one holds.
            key=json_digest(["unreadable", unread.reason]),
            unreadable=unread.reason,
            variant=entry.variant.name,
            dimensions=entry.variant.dimensions,
        )

    def _refuse_idle_stages(self, entry: RecipeEntry, item: LemmaItem) -> None:
        """A further attempt that may use no more would come to nothing else."""
        before = item.limits
        for index, limits in enumerate(item.on_limit):
            # What is capped here may be more elsewhere.
            if limits.no_larger_than(before) and not self.limits.are_all(limits):
                message = f"allows no more than what was met before ({before})"
                self.recipe.problem((*entry.path, "on_limit", index), message)
            before = limits

    def _refuse_diff(self, choice: LemmaChoice) -> None:
        """tamarin-rs has no diff mode."""
        alias = choice.alias
        flavour = self.provers[alias].flavour
        if choice.loaded.theory.diff and flavour == Flavour.TAMARIN_RS:
            message = f"tamarin-rs ('{alias}') has no --diff: use tamarin-prover for this task"
            self.recipe.problem(choice.item.path, message)

    def _note_expectations(
        self, entry: RecipeEntry, selection: Selection, words: SelectingWords
    ) -> None:
        """What is expected of no lemma would never be missed."""
        lemmas = [choice.lemma for choice in selection.choices]
        # Of lemmas that can't be read nothing is known; where there are none that is told.
        is_unread = bool(selection.unread)
        if not lemmas and not is_unread:
            return
        for expects in entry.expects:
            for path, pattern in expecting_words(expects):
                if is_unread or any(_selects(pattern, lemma) for lemma in lemmas):
                    words.use(path)
                else:
                    names = [lemma.name for lemma in lemmas]
                    complain = functools.partial(self._no_such_expectation, path, pattern)
                    words.note_idle(path, names, complain)

    def _no_such_expectation(self, path: JsonPath, pattern: str, searched: Searched) -> None:
        hint = did_you_mean(pattern, searched.names)
        where = searched.theory_words()
        of_theories = f" of {where}" if len(searched.theories) > 1 else ""
        self.recipe.problem(path, f"matches no planned lemma{of_theories}{hint}")


def _stem(path: str) -> str:
    """A file's name without its ending."""
    name = os.path.basename(path)
    stem, _ = os.path.splitext(name)
    return stem


class Searched(NamedTuple):
    """Where a word selects nothing."""

    theories: dict[str, None]  # their paths
    names: dict[str, None]  # of lemmas, of which it could have selected some

    def theory_words(self) -> str:
        """The theory, or how many there are and the first of them."""
        paths = listed(map(printable, self.theories), 2)
        return paths if len(self.theories) == 1 else f"{len(self.theories):,} theories ({paths})"


# Says what is wrong with a word that selects nothing anywhere.
Complain = Callable[[Searched], None]


class SelectingWords:
    """What of an entry selects something: names, patterns, what is expected.

    Most likely what selects nothing is mistyped. Where an entry has variants or several theories it
    is enough that one of them has what is meant.
    """

    def __init__(self) -> None:
        self._theory = ""  # that is being looked at
        self._used: set[JsonPath] = set()
        self._idle: dict[JsonPath, tuple[Complain, Searched]] = {}
        self._has_plans: dict[str, bool] = {}  # of all theories looked at

    @property
    def idle_theories(self) -> list[str]:
        """The theories of which nothing is selected, where there are others."""
        idle = [theory for theory, has_plans in self._has_plans.items() if not has_plans]
        return idle if len(idle) < len(self._has_plans) else []

    def begin_theory(self, path: str) -> None:
        """What follows is about the theory at this path."""
        self._theory = path
        self._has_plans.setdefault(path, False)

    def note_plan(self) -> None:
        """Something of this theory is planned."""
        self._has_plans[self._theory] = True

    def note_idle(self, path: JsonPath, names: Iterable[str], complain: Complain) -> None:
        """The word at `path` selects none of these lemmas; what to do if it nowhere does."""
        _, searched = self._idle.setdefault(path, (complain, Searched({}, {})))
        searched.theories[self._theory] = None
        searched.names.update(dict.fromkeys(names))

    def use(self, path: JsonPath) -> None:
        """The word at `path` selects something of this theory, or may do so."""
        self._used.add(path)

    def complain(self) -> None:
        """Complain of the words that have selected nothing."""
        for path, (complain, searched) in self._idle.items():
            if path not in self._used:
                complain(searched)


# --- Variants of an entry -------------------------------------------------------------------------

MOST_TASKS = 100_000  # of a recipe, unless more are meant
MOST_COMBINATIONS = 1_000_000  # of a matrix; and tasks, however many are meant
_TOO_MANY = f"if that is meant, --yes allows up to {MOST_COMBINATIONS:,}"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

# By dimension some of its values.
ChosenValues = Mapping[str, frozenset[str]]


class Variant(NamedTuple):
    """A way in which the lemmas of an entry are planned."""

    name: str  # "" of an entry without variants
    path: JsonPath  # where it stands
    values: Mapping[str, str]  # by dimension
    layers: tuple[Layer, ...]  # the last one has the last word
    rules: tuple[ExpectRule, ...] = ()  # of a list in the entry's `expect` what is for this variant

    @property
    def dimensions(self) -> tuple[str, ...]:
        """As `Plan.dimensions`."""
        return share(tuple(f"{name}={value}" for name, value in self.values.items()))

    @property
    def words(self) -> dict[str, str]:
        """What conditions ask for, and placeholders mean."""
        return {"variant": self.name, **self.values}

    def fill(self, text: str) -> str:
        """A text with what this variant has for its placeholders."""
        words = self.words if self.name else {}
        # All at once: what looks like a placeholder in a value is none.
        return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)

    def meets(self, condition: ChosenValues) -> bool:
        """Whether it has the values that a condition names."""
        words = self.words
        return all(words[name] in values for name, values in condition.items())


class Variants(NamedTuple):
    """The variants of an entry; one without a name where it has none."""

    all: Sequence[Variant]
    known: Mapping[str, Collection[str]]  # what conditions can ask for: by dimension, and `variant`


def read_variants(recipe: Recipe, name: str, entry: Json, most: int) -> Variants:
    """The variants of an entry; what is wrong is noted.

    Raises InputError for more than `most`.
    """
    path: JsonPath = ("tasks", name)
    known: dict[str, Collection[str]] = {}
    variants = [Variant("", path, {}, ())]
    if "variants" in entry:
        variants = list(map(_named_variant, override_layers(entry, path)))
    if "matrix" in entry:
        matrix = _Matrix(recipe, entry, path)
        known.update(matrix.known)
        variants = matrix.variants(most)
    if "variants" in entry or "matrix" in entry:
        known["variant"] = {variant.name for variant in variants}
        _refuse_equal_names(recipe, variants)
    _refuse_unknown_names(recipe, entry, known, path)
    if isinstance(entry.get("expect"), list):
        rules = _expect_rules(recipe, entry["expect"], known, (*path, "expect"))
        _refuse_idle_rules(recipe, rules, variants)
        variants = list(map(functools.partial(_with_rules, rules), variants))
    return Variants(variants, known)


def _named_variant(layer: Layer) -> Variant:
    """An element of an entry's `variants`."""
    return Variant(str(layer.path[-1]), layer.path, {}, (layer,))


class _Value(NamedTuple):
    """A value of a dimension."""

    name: str
    layer: Layer


class _Matrix:
    """The product of the dimensions of an entry, less what it excludes."""

    def __init__(self, recipe: Recipe, entry: Json, path: JsonPath) -> None:
        self._recipe = recipe
        self._path = (*path, "matrix")
        self._dimensions: dict[str, list[_Value]] = {}
        self.known: dict[str, Collection[str]] = {}  # as in `Variants`
        for name, data in entry["matrix"].items():
            values = list(_values_of(data, (*self._path, name)))
            self._dimensions[name] = values
            self.known[name] = [value.name for value in values]
        self._exclusions = list(self._read_exclusions(entry, path))

    def _read_exclusions(self, entry: Json, path: JsonPath) -> Iterator[ChosenValues]:
        for index, asked in enumerate(entry.get("exclude", ())):
            place = (*path, "exclude", index)
            condition = read_condition(self._recipe, asked, self.known, place)
            # One with a mistake might take everything away.
            if condition:
                yield condition

    def variants(self, most: int) -> list[Variant]:
        """The combinations that are left. Raises InputError where there are more than `most`."""
        number = math.prod(map(len, self._dimensions.values()))
        if number > MOST_COMBINATIONS:
            message = f"{number:,} combinations: more than {MOST_COMBINATIONS:,} can't be planned"
            raise self._recipe.error(self._path, message)
        variants: list[Variant] = []
        for values in itertools.product(*self._dimensions.values()):
            variant = self._combination(values)
            if not any(map(variant.meets, self._exclusions)):
                variants.append(variant)
        if len(variants) > most:
            message = f"{len(variants):,} variants are more than {most:,} tasks: {_TOO_MANY}"
            raise self._recipe.error(self._path, message)
        if not variants:
            self._recipe.problem((*self._path[:-1], "exclude"), "leaves no variant")
        return variants

    def _combination(self, values: Sequence[_Value]) -> Variant:
        names = [value.name for value in values]
        layers = tuple(value.layer for value in values)
        return Variant("-".join(names), self._path, dict(zip(self._dimensions, names)), layers)


def _values_of(dimension: Json, path: JsonPath) -> Iterator[_Value]:
    """The values of a dimension; of a power set small ones first: `none`, `A`, `B`, `A+B`."""
    if not is_power_set(dimension):
        for name, overrides in dimension.items():
            yield _Value(name, Layer(overrides, (*path, name)))
        return
    flags = dimension["subsets"]
    for size in range(len(flags) + 1):
        for subset in itertools.combinations(flags, size):
            name = "+".join(subset) or "none"
            yield _Value(name, Layer({"preprocess_flags": subset}, (*path, "subsets")))


def read_condition(
    recipe: Recipe, asked: Json, known: Mapping[str, Collection[str]], path: JsonPath
) -> ChosenValues | None:
    """The values that a condition names, as such or by shell patterns.

    None for one with a mistake, which is noted.
    """
    condition: dict[str, frozenset[str]] = {}
    for dimension, words in asked.items():
        place = (*path, dimension)
        if dimension not in known:
            allowed = ", ".join(known) or "none, as this entry has no variants"
            hint = did_you_mean(dimension, known)
            recipe.problem(place, f"no such dimension{hint}; allowed: {allowed}")
            continue
        meant: set[str] = set()
        for word in [words] if isinstance(words, str) else words:
            values = _values_meant(word, known[dimension])
            if not values:
                hint = did_you_mean(word, known[dimension])
                recipe.problem(place, f"'{word}' is no value of '{dimension}'{hint}")
            meant.update(values)
        condition[dimension] = frozenset(meant)
    is_good = len(condition) == len(asked) and all(condition.values())
    return condition if is_good else None


def _values_meant(word: str, known: Collection[str]) -> Collection[str]:
    """The values that a name or a shell pattern means."""
    if word in known:
        return [word]
    return [value for value in known if fnmatch.fnmatchcase(value, word)]


def _refuse_equal_names(recipe: Recipe, variants: Iterable[Variant]) -> None:
    """Note a problem where two variants would have one name: ids are told apart by it."""
    seen: dict[str, Variant] = {}
    for variant in variants:
        folded = _without_case(_safe_file_name(variant.name))
        other = seen.setdefault(folded, variant)
        if other is not variant:
            message = (
                f"{_told_variant(other)} and {_told_variant(variant)} would have the same name in "
                "ids, where case and unusual characters don't count: rename one"
            )
            recipe.problem(variant.path, message)


def _told_variant(variant: Variant) -> str:
    """`'a' x 'b-c'`."""
    names = list(variant.values.values()) or [variant.name]
    return " x ".join(f"'{name}'" for name in names)


def _refuse_unknown_names(
    recipe: Recipe, entry: Json, known: Collection[str], path: JsonPath
) -> None:
    """Note a problem for a placeholder in an entry's names that nothing stands for."""
    prefix = entry["output_file_prefix"]
    place = (*path, "output_file_prefix")
    refuse_unknown_placeholders(recipe, prefix, [*known, "theory"], place)
    # Without variants braces are a part of a file's name.
    if known:
        names = entry["theory_file"]
        for name in [names] if isinstance(names, str) else names:
            refuse_unknown_placeholders(recipe, name, known, (*path, "theory_file"))


def refuse_unknown_placeholders(
    recipe: Recipe, text: str, known: Collection[str], path: JsonPath
) -> None:
    """Note a problem for a placeholder in a text that nothing stands for."""
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            allowed = ", ".join("{" + each + "}" for each in known)
            hint = did_you_mean(name, known)
            recipe.problem(path, f"unknown placeholder '{{{name}}}'{hint}; allowed: {allowed}")


# --- What is expected -----------------------------------------------------------------------------


class ExpectRule(NamedTuple):
    """An element of a list in `expect`."""

    lemma: str  # a name or a pattern
    when: ChosenValues
    verdict: Verdict
    path: JsonPath

    @property
    def rank(self) -> int:
        """How narrowly it names its lemmas."""
        if self.lemma == "*":
            return 0
        return 1 if _is_pattern(self.lemma) else 2

    def is_within(self, other: ExpectRule) -> bool:
        """Whether it is no wider than another one, in its lemmas and in its variants."""
        if self.rank < other.rank:
            return False
        for dimension, values in other.when.items():
            if dimension not in self.when or not self.when[dimension] <= values:
                return False
        return True

    def beats(self, other: ExpectRule) -> bool:
        """Whether it is more specific than another one."""
        return self.is_within(other) and not other.is_within(self)


# A verdict; verdicts by lemma, a name or a pattern; or rules, of which the most specific counts.
Expectations = Union[str, dict[str, str], tuple[ExpectRule, ...], None]


class Expects(NamedTuple):
    """What is expected, and where that stands in the recipe."""

    value: Expectations
    path: JsonPath


def _expect_rules(
    recipe: Recipe, data: Sequence[Json], known: Mapping[str, Collection[str]], path: JsonPath
) -> list[ExpectRule]:
    """A list in `expect`; what is wrong is noted."""
    rules: list[ExpectRule] = []
    for index, each in enumerate(data):
        place = (*path, index)
        condition = read_condition(recipe, each.get("when", {}), known, (*place, "when"))
        if condition is not None:
            lemma = each.get("lemma", "*")
            rules.append(ExpectRule(lemma, condition, Verdict(each["verdict"]), place))
    return rules


def _with_rules(rules: Iterable[ExpectRule], variant: Variant) -> Variant:
    """A variant with those rules that are for it."""
    return variant._replace(rules=tuple(rule for rule in rules if variant.meets(rule.when)))


def _refuse_idle_rules(
    recipe: Recipe, rules: Iterable[ExpectRule], variants: Sequence[Variant]
) -> None:
    """Note a problem for a rule that is for none of the variants."""
    for rule in rules:
        if not any(variant.meets(rule.when) for variant in variants):
            recipe.problem((*rule.path, "when"), "is so in no variant: all of these are excluded")


def expecting_words(expects: Expects) -> Iterator[tuple[JsonPath, str]]:
    """The names and patterns of lemmas of which something is expected, and where they stand."""
    if isinstance(expects.value, dict):
        for pattern in expects.value:
            yield (*expects.path, pattern), pattern
    elif isinstance(expects.value, tuple):
        for rule in expects.value:
            yield rule.path, rule.lemma


def expected_verdict(recipe: Recipe, item: LemmaItem, lemma: Lemma) -> Verdict | None:
    """What is expected of a lemma: the first of the item's levels that has a word for it counts.

    Words of one level that contradict each other are noted.
    """
    for level in item.expects:
        told: dict[JsonPath, Verdict] = {}
        for expects in level:
            told.update(_expected_there(expects, lemma))
        if told:
            _refuse_contradiction(recipe, told, lemma)
            return next(iter(told.values()))
    return None


def _refuse_contradiction(recipe: Recipe, told: Mapping[JsonPath, Verdict], lemma: Lemma) -> None:
    """Note a problem where not all words about a lemma are the same."""
    (path, verdict), *others = told.items()
    for other_path, other in others:
        if other != verdict:
            place = ".".join(map(str, other_path))
            message = f"{verdict}, but {place} says {other} of '{lemma.name}', in the same variant"
            recipe.problem(path, message)


def _expected_there(expects: Expects, lemma: Lemma) -> dict[JsonPath, Verdict]:
    """What is expected of a lemma at one place of the recipe: no, one or several verdicts."""
    value = expects.value
    if not value:
        return {}
    if isinstance(value, str):
        return {expects.path: Verdict(value)}
    if isinstance(value, dict):
        return _expected_by_name(value, lemma, expects.path)
    rules = [rule for rule in value if _selects(rule.lemma, lemma)]
    best = [rule for rule in rules if not any(other.beats(rule) for other in rules)]
    return {rule.path: rule.verdict for rule in best}


def _expected_by_name(
    verdicts: Mapping[str, str], lemma: Lemma, path: JsonPath
) -> dict[JsonPath, Verdict]:
    """A lemma's own name beats patterns, of these the first counts."""
    if lemma.name in verdicts:
        return {(*path, lemma.name): Verdict(verdicts[lemma.name])}
    for pattern, verdict in verdicts.items():
        if _selects(pattern, lemma):
            return {(*path, pattern): Verdict(verdict)}
    return {}


# --- An entry of the recipe -----------------------------------------------------------------------


class LemmaItem(NamedTuple):
    """What an entry says of the lemmas that one name or pattern selects.

    Each word is that of the variant where it has one, else that of the item in `lemmas`, else that
    of the task.
    """

    pattern: str
    path: JsonPath
    aliases: tuple[str, ...]
    options: tuple[str, ...]
    flags: tuple[str, ...]
    limits: Limits
    on_limit: tuple[Limits, ...]
    # Of the variant, the item, the task: the first of these that has a word for a lemma counts.
    expects: tuple[tuple[Expects, ...], ...]
    priority: int
    own: Json  # what the item itself sets, as in the recipe: "resources.timeout" is one of the keys
    settings: Json  # the same with what it inherits

    def idle_beside(self, first: LemmaItem) -> list[str]:
        """What this item sets that does not apply to a lemma that `first` takes."""
        # Who gives a lemma's name, or "*" for all that is left, knows that the other one counts.
        is_special = not _is_pattern(first.pattern) or self.pattern == "*"
        idle: list[str] = []
        for key, value in self.own.items():
            if is_special and key in first.own:
                continue
            if first.settings.get(key) != value:
                idle.append(key)
        return idle


class LemmaExclusion(NamedTuple):
    """Lemmas that an entry takes away: `"!pattern"`, here without the `!`."""

    pattern: str
    path: JsonPath


class TheoryName(NamedTuple):
    """A name or a pattern of theory files."""

    text: str
    place: JsonPath  # where it stands


class RecipeEntry(NamedTuple):
    """An entry of the recipe's `tasks`, its inheritance resolved."""

    name: str
    path: JsonPath
    theories: tuple[TheoryName, ...]
    theory_exclusions: tuple[str, ...]  # `"!pattern"`, here without the `!`
    prefix: str  # may contain {theory}
    cwd: str  # absolute
    prove: bool
    granularity: str  # "": it says nothing
    variant: Variant
    expects: tuple[Expects, ...]  # of the entry and its variant, not of single items
    items: tuple[LemmaItem, ...]
    exclusions: tuple[LemmaExclusion, ...]


def read_entry(name: str, data: Json, limits: JobLimits, variant: Variant) -> RecipeEntry:
    """A variant of an entry of the recipe's `tasks`, from its checked JSON object."""
    path: JsonPath = ("tasks", name)
    entry = Layer(data, path)
    items: list[LemmaItem] = []
    exclusions: list[LemmaExclusion] = []
    theories, theory_exclusions = _named_theories(variant, data["theory_file"], path)
    for item in _lemma_layers(entry, variant):
        pattern: str = item.overrides["name"]
        if pattern.startswith("!"):
            exclusion = LemmaExclusion(pattern[1:], item.path)
            exclusions.append(exclusion)
        else:
            items.append(_read_item(item, entry, variant, limits))
    # Who names no lemma, or only some that are not wanted, means all others.
    if not items:
        all_lemmas = Layer({"name": "*"}, path)
        items.append(_read_item(all_lemmas, entry, variant, limits))
    cwd = os.path.expanduser(data.get("cwd", "."))
    cwd = os.path.abspath(cwd)
    prove = data.get("prove", True)
    granularity = data.get("granularity", "")
    return RecipeEntry(
        name=name,
        path=path,
        theories=tuple(theories),
        theory_exclusions=tuple(theory_exclusions),
        prefix=variant.fill(data["output_file_prefix"]),
        cwd=share(cwd),
        prove=prove,
        granularity=granularity,
        variant=variant,
        expects=(*map(_expects_of, variant.layers), _entry_expects(entry, variant)),
        items=tuple(items),
        exclusions=tuple(exclusions),
    )


def _named_theories(
    variant: Variant, theory_file: str | Sequence[str], entry_path: JsonPath
) -> tuple[list[TheoryName], list[str]]:
    """The theories that a `theory_file` names, and the patterns that take some away."""
    path: JsonPath = (*entry_path, "theory_file")
    if isinstance(theory_file, str):
        return [TheoryName(variant.fill(theory_file), path)], []
    names: list[TheoryName] = []
    exclusions: list[str] = []
    for index, text in enumerate(theory_file):
        name = variant.fill(text)
        if name.startswith("!"):
            exclusions.append(name[1:])
        else:
            names.append(TheoryName(name, (*path, index)))
    return names, exclusions


def _lemma_layers(entry: Layer, variant: Variant) -> Iterator[Layer]:
    """The elements of `lemmas` that count: those of a variant replace the entry's."""
    chosen = entry
    for layer in variant.layers:
        if "lemmas" in layer.overrides:
            chosen = layer
    for index, item in enumerate(chosen.overrides.get("lemmas", ())):
        yield Layer(item, (*chosen.path, "lemmas", index))


# What a variant says beside its entry, and not instead of it.
_NOT_REPLACED = ("tamarin_options", "preprocess_flags", "resources", "expect", "lemmas")


def _read_item(item: Layer, entry: Layer, variant: Variant, limits: JobLimits) -> LemmaItem:
    """An item of an entry's `lemmas`; where it says nothing the entry's word counts."""
    whole = {**entry.overrides, **item.overrides}
    options = list(whole.get("tamarin_options", ()))
    flags = list(whole.get("preprocess_flags", ()))
    for layer in variant.layers:
        options += layer.overrides.get("tamarin_options", ())
        flags += layer.overrides.get("preprocess_flags", ())
        for key, value in layer.overrides.items():
            if key not in _NOT_REPLACED:
                whole[key] = value
    if variant.layers:
        # Given twice, a flag says no more.
        flags = list(dict.fromkeys(flags))
    # These are inherited field by field, and not as a whole.
    layers = [*reversed(variant.layers), item, entry]
    resources = list(map(_asked_resources, layers))
    of_variant = tuple(map(_expects_of, variant.layers))
    return LemmaItem(
        pattern=item.overrides["name"],
        path=item.path,
        aliases=tuple(whole["tamarin_versions"]),
        options=share(tuple(options)),
        flags=share(tuple(flags)),
        limits=limits.decide(resources),
        on_limit=_limits_of_stages(entry, resources, limits),
        expects=(of_variant, (_expects_of(item),), (_entry_expects(entry, variant),)),
        priority=whole.get("priority", 0),
        own=_lemma_settings(item.overrides),
        settings={**_lemma_settings(entry.overrides), **_lemma_settings(item.overrides)},
    )


def _limits_of_stages(
    entry: Layer, resources: Sequence[AskedResources], limits: JobLimits
) -> tuple[Limits, ...]:
    """The limits of an entry's `on_limit`; each has what it does not say itself from before."""
    asked = list(resources)
    stages: list[Limits] = []
    for index, stage in enumerate(entry.overrides.get("on_limit", ())):
        asked.insert(0, _asked_resources(Layer(stage, (*entry.path, "on_limit", index))))
        stages.append(limits.decide(asked))
    return share(tuple(stages))


def _asked_resources(layer: Layer) -> AskedResources:
    """What a variant, an item of `lemmas` or an entry asks for."""
    return AskedResources(layer.overrides.get("resources", {}), layer.path)


def _expects_of(layer: Layer) -> Expects:
    """What a variant, or an item of `lemmas`, expects."""
    return Expects(layer.overrides.get("expect"), (*layer.path, "expect"))


def _entry_expects(entry: Layer, variant: Variant) -> Expects:
    """What an entry expects of a variant."""
    expects = _expects_of(entry)
    if isinstance(expects.value, list):
        return Expects(variant.rules, expects.path)
    return expects


def _lemma_settings(data: Json) -> Json:
    """What a task, or an item of its `lemmas`, sets for lemmas: each of its resources by itself."""
    settings = {key: data[key] for key in _LEMMA if key in data}
    settings.pop("name", None)
    resources = settings.pop("resources", {})
    for key, value in resources.items():
        settings[f"resources.{key}"] = value
    return settings


# --- Limits ---------------------------------------------------------------------------------------


def global_limits(config: Json, room: Limits, options: PlanOptions, warn: Warn) -> Limits:
    """The limits of all jobs together, no more than this process may use; and a job's default time.

    What the command line says comes first, then the recipe's `config`, then "max".
    """
    asked_cores = options.cores or config.get("global_max_cores", "max")
    asked_memory = options.memory or config.get("global_max_memory", "max")
    timeout_s = options.timeout_s or config.get("default_timeout", DEFAULT_TIMEOUT_S)
    cores = _global_limit(str(asked_cores), room.cores, 1, "cores", warn)
    memory_mb = _global_limit(str(asked_memory), room.memory_mb, 1024, "GB", warn)
    return Limits(cores, memory_mb, float(timeout_s))


def _global_limit(asked: str, most: int, unit: int, name: str, warn: Warn) -> int:
    """How much of `most` all jobs together may use: "max", "50%", or a number of units."""
    if asked.lower() == "max":
        return max(1, most)
    part = percentage(asked)
    amount = most * part if part else float(asked) * unit
    limit = int(amount)
    if limit > most:
        wanted = f"{limit / unit:g} {name}"
        there = f"{most / unit:.4g} {name}"
        warn(f"{wanted} asked for, but this process may use {there}: capped")
        limit = most
    # A part of very little may be nothing, and with nothing no job would ever start.
    return max(1, limit)


class AskedResources(NamedTuple):
    """A `resources` object of the recipe, and where the object that holds it stands."""

    values: Json
    path: JsonPath


class JobLimits:
    """Decides what one job may use; above a limit of the whole batch it would wait for ever."""

    def __init__(self, batch: Limits, warn: Warn) -> None:
        """`batch`: the limits of all jobs together, and a job's default time."""
        self._batch = batch
        self._warn = warn
        # Many lemmas inherit the limit of their task: one warning for all.
        self._warned_of: set[JsonPath] = set()

    def are_all(self, limits: Limits) -> bool:
        """Whether nothing beyond these could be had: cores or memory are those of the batch."""
        batch = self._batch
        return limits.cores >= batch.cores or limits.memory_mb >= batch.memory_mb

    def decide(self, sources: Sequence[AskedResources]) -> Limits:
        """Each field is that of the first of the sources that has it, else the default."""
        most_gb = self._batch.memory_mb / 1024
        cores = self._amount(sources, "max_cores", DEFAULT_CORES, self._batch.cores)
        memory_gb = self._amount(sources, "max_memory", DEFAULT_MEMORY_GB, most_gb)
        timeout_s = self._amount(sources, "timeout", self._batch.timeout_s, math.inf)
        # A limit of 0 MB would let nothing run.
        memory_mb = max(1, int(memory_gb * 1024))
        return share(Limits(int(cores), memory_mb, timeout_s))

    def _amount(
        self, sources: Sequence[AskedResources], key: str, default: float, most: float
    ) -> float:
        """One field, never above `most`; who asked for more is warned."""
        for source in sources:
            if key not in source.values:
                continue
            asked = float(source.values[key])
            if asked <= most:
                return asked
            self._warn_of_cap((*source.path, "resources", key), asked, most)
            return most
        return min(default, most)

    def _warn_of_cap(self, path: JsonPath, asked: float, most: float) -> None:
        if path in self._warned_of:
            return
        self._warned_of.add(path)
        place = ".".join(map(str, path))
        self._warn(f"{place}: {asked:g} is above the global limit: capped at {most:.3g}")


def raised_plan(plan: Plan, met: Record, room: Limits, times: float) -> Plan | None:
    """A plan with more of what one of its results has met the limit of; None where that is no use.

    First what the recipe has for that (`on_limit`), then twice as much. A limit is doubled at most
    so many times over what the recipe says, and memory never beyond `room`, what all jobs together
    may use.
    """
    # A heap that the task's own `+RTS -M` bounds is as small under any limit.
    if met.result.exit == ExitStatus(GHC_HEAP_EXHAUSTED):
        return None
    recipes = plan.raised_from or plan.limits
    last_of_recipe = plan.on_limit[-1] if plan.on_limit else recipes
    before = met.plan.limits
    for limits in plan.on_limit:
        if _is_more(limits, before, met.result.status):
            return replace(plan, limits=limits, raised_from=recipes)
    most = 2**times
    if met.result.status is Status.TIMEOUT:
        timeout_s = min(2 * before.timeout_s, last_of_recipe.timeout_s * most)
        raised = replace(plan.limits, timeout_s=timeout_s)
        is_more = timeout_s > before.timeout_s
    elif met.result.status is Status.MEMORY_LIMIT:
        memory_mb = min(2 * before.memory_mb, last_of_recipe.memory_mb * most, room.memory_mb)
        raised = replace(plan.limits, memory_mb=int(memory_mb))
        is_more = memory_mb > before.memory_mb
    else:
        return None
    return replace(plan, limits=share(raised), raised_from=recipes) if is_more else None


def _is_more(limits: Limits, before: Limits, status: Status) -> bool:
    """Whether these limits allow more of what was met, and less of nothing."""
    if not before.no_larger_than(limits):
        return False
    if status is Status.TIMEOUT:
        return limits.timeout_s > before.timeout_s
    return status is Status.MEMORY_LIMIT and limits.memory_mb > before.memory_mb


def may_be_raised(header: Header, task: Task) -> bool:
    """Whether a task has met a limit that can be doubled."""
    record = task.record
    return bool(record and raised_plan(task.plan, record, header.limits, math.inf))


def with_limits_raised_before(plan: Plan, before: Plan, room: Limits) -> Plan:
    """A plan with the limits of an earlier plan where these were raised, and nothing changed."""
    is_the_same = plan.key == before.key and plan.limits == before.raised_from
    if is_the_same and before.limits.memory_mb <= room.memory_mb:
        return replace(plan, limits=before.limits, raised_from=before.raised_from)
    return plan


def limit_key(header: Header, task: Task) -> str:
    """What of the recipe or the command line to raise for a task that has met its limit, or ""."""
    key = "timeout" if task.status is Status.TIMEOUT else "max_memory"
    try:
        entry = header.recipe["tasks"][task.plan.entry]
        place = _place_of_resource(entry, task.plan, key)
    # The recipe in a journal can come from anywhere.
    except (AttributeError, KeyError, TypeError):
        return ""
    if task.plan.on_limit:
        return f"tasks.{task.plan.entry}.on_limit"
    is_capped = task.plan.limits.memory_mb >= header.limits.memory_mb
    if key == "max_memory" and is_capped:
        return "--memory" if header.options.memory else "config.global_max_memory"
    if key == "timeout" and not place:
        return "--timeout" if header.options.timeout_s else "config.default_timeout"
    return f"tasks.{task.plan.entry}.{place or 'resources.max_memory'}"


def _place_of_resource(entry: Json, plan: Plan, key: str) -> str:
    """Where in an entry of the recipe's `tasks` a limit of a task stands, or ""."""
    # Of several dimensions the last one that has a word counts.
    for layer in reversed(list(override_layers(entry, ()))):
        if _is_layer_of(plan, layer) and key in layer.overrides.get("resources", {}):
            place = ".".join(map(str, layer.path))
            return f"{place}.resources.{key}"
    items = list(enumerate(entry.get("lemmas", ())))
    # As they are selected: exact names come first, then the first pattern.
    items.sort(key=lambda item: item[1]["name"] != plan.lemma)
    for index, item in items:
        if fnmatch.fnmatchcase(plan.lemma, item["name"]):
            if key in item.get("resources", {}):
                return f"lemmas.{index}.resources.{key}"
            break
    return f"resources.{key}" if key in entry.get("resources", {}) else ""


def _is_layer_of(plan: Plan, layer: Layer) -> bool:
    """Whether a task's variant is this one, or has this value of a dimension."""
    kind, *names = layer.path
    if kind == "variants":
        return names == [plan.variant]
    return "=".join(map(str, names)) in plan.dimensions


# --- Theory files ---------------------------------------------------------------------------------


class TheoryFile(NamedTuple):
    """A theory that an entry of the recipe names."""

    name: str  # as in the recipe
    path: str
    place: JsonPath  # of the name in the recipe
    twin: str = ""  # another file that the name can mean as well: it must say the same


def find_theories(recipe: Recipe, entry: RecipeEntry) -> list[TheoryFile]:
    """The theories that an entry names, those of a pattern by path; what is wrong is noted.

    One that is named, not matched by a pattern, may be missing: who reads it will tell.
    """
    path = (*entry.path, "theory_file")
    if len(entry.theories) > 1 and "{theory}" not in entry.prefix:
        recipe.problem(path, _NEEDS_THEORY_IN_PREFIX)
        return []
    found: dict[str, TheoryFile] = {}
    for name in entry.theories:
        for theory in _theories_of(recipe, name, "{theory}" in entry.prefix):
            found.setdefault(os.path.abspath(theory.path), theory)
    left = _without_excluded(recipe, found, entry.theory_exclusions)
    if not left and (found or not entry.theories):
        recipe.problem(path, "names no theory, or takes all away again")
    return left


_NEEDS_THEORY_IN_PREFIX = (
    "a pattern, or a list of theories, needs {theory} in output_file_prefix, so that each theory "
    "has results of its own"
)


def _theories_of(recipe: Recipe, name: TheoryName, may_be_many: bool) -> list[TheoryFile]:
    """The theories that one name or pattern means."""
    theories = _named_theory(recipe, name.text, name.place)
    if not theories and may_be_many:
        theories = _matching_theories(recipe, name.text, name.place)
    if theories:
        return theories
    if not _is_pattern(name.text):
        return [TheoryFile(name.text, os.path.expanduser(name.text), name.place)]
    message = _no_theory_file(recipe, name.text)
    if not may_be_many:
        message = _NEEDS_THEORY_IN_PREFIX
    recipe.problem(name.place, message)
    return []


def _without_excluded(
    recipe: Recipe, found: Mapping[str, TheoryFile], exclusions: Iterable[str]
) -> list[TheoryFile]:
    """The theories, which are given by absolute path, that no exclusion takes away."""
    # One that takes nothing away is no mistake: results may come later.
    left = dict(found)
    for pattern in exclusions:
        excluded: set[str] = set()
        for root in (os.getcwd(), os.path.abspath(recipe.directory or ".")):
            excluded.update(map(os.path.abspath, _glob(pattern, root).values()))
        for path in found:
            # Without a folder it means files of that name wherever they lie.
            if path in excluded or fnmatch.fnmatchcase(os.path.basename(path), pattern):
                left.pop(path, None)
    return list(left.values())


def _no_theory_file(recipe: Recipe, name: str) -> str:
    hint = file_meant(os.path.join(recipe.directory, name)) or file_meant(name)
    return f"there is no theory file '{printable(name)}'{hint}"


def _named_theory(recipe: Recipe, name: str, place: JsonPath) -> list[TheoryFile]:
    """The file of this very name, if there is one."""
    paths = relative_to(name, recipe.directory)
    files = list(filter(os.path.isfile, paths))
    if not files:
        return []
    twin = files[1] if len(files) > 1 else ""
    theory = TheoryFile(name, files[0], place, twin)
    return [theory]


def _matching_theories(recipe: Recipe, pattern: str, place: JsonPath) -> list[TheoryFile]:
    """The files that match a pattern here; if there are none, in the recipe's own directory."""
    beside_recipe = os.path.abspath(recipe.directory or ".")
    directories = [os.getcwd(), beside_recipe]
    # An absolute pattern means the same files from everywhere.
    if os.path.isabs(os.path.expanduser(pattern)):
        directories = directories[:1]
    matches: list[dict[str, str]] = []
    # The recipe may lie in the working directory.
    for root in dict.fromkeys(directories):
        paths = _glob(pattern, root)
        if paths:
            matches.append(paths)
    if not matches:
        return []
    twins: dict[str, str] = {}
    if len(matches) > 1:
        here, twins = matches
        # Files of one name are compared when they are read.
        if list(here) != list(twins):
            first_files = [next(iter(paths.values())) for paths in matches]
            recipe.problem(place, two_files(pattern, first_files))
    theories: list[TheoryFile] = []
    for name, path in matches[0].items():
        twin = twins.get(name, "")
        theories.append(TheoryFile(pattern, path, place, twin))
    return theories


def _glob(pattern: str, root: str) -> dict[str, str]:
    """The files below `root` that match a pattern: paths by names relative to `root`, sorted."""
    import glob

    # Only the recipe's part is a pattern: the directory may be called `[old]`.
    escaped_root = glob.escape(root)
    pattern = os.path.join(escaped_root, os.path.expanduser(pattern))
    matches = glob.glob(pattern, recursive=True)
    paths = filter(os.path.isfile, matches)
    return {os.path.relpath(path, root): path for path in sorted(paths)}


@dataclass
class LoadedTheory:
    """A theory as some provers will see it."""

    theory: Theory

    @functools.cached_property
    def lemma_parts(self) -> dict[str, LemmaParts]:
        """What the result of each lemma depends on; none unless every lemma is plain for sure."""
        return lemma_parts(self.theory) if self.theory.splits_for_sure else {}


# Theories that are kept while a recipe is planned. Neighbours in it read the same; variants that do
# may stand far from each other. But texts take room.
KEPT_THEORIES = 8
KEPT_CHARACTERS = 4_000_000  # of all their token texts, if they are more than these few


@dataclass(eq=False)
class _Load:
    """A theory that was read, or could not be, and with what."""

    path: str
    view: ReadingOptions
    loaded: LoadedTheory | InputError

    def is_of(self, view: ReadingOptions) -> bool:
        """Whether the same of this file would be read with these."""
        own = self.view
        if (own.diff, own.auto_sources) != (view.diff, view.auto_sources):
            return False
        differing = set(own.flags).symmetric_difference(view.flags)
        if isinstance(self.loaded, InputError):
            return not differing
        return differing.isdisjoint(self.loaded.theory.asked_flags)

    @functools.cached_property
    def length(self) -> int:
        """The characters of its text."""
        if isinstance(self.loaded, InputError):
            return 0
        return sum(len(segment.text) for segment in self.loaded.theory.segments)


class TheoryReader:
    """Reads theories as provers will."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._loads: deque[_Load] = deque()  # in the order of their coming
        self._by_path: dict[str, list[_Load]] = {}
        self._kept = 0  # characters of their texts

    def read(self, file: TheoryFile, options: Sequence[str], flags: Sequence[str]) -> LoadedTheory:
        """The theory as a prover with these options and flags will see it.

        Raises InputError where it can't be read.
        """
        if file.name in self._recipe.not_made:
            raise self._recipe.error(file.place, self._recipe.not_made[file.name])
        if not os.path.isfile(file.path):
            raise self._recipe.error(file.place, _no_theory_file(self._recipe, file.name))
        view = reading_options(options, flags)
        loaded = _readable(self._load(file.path, view))
        if file.twin:
            twin = _readable(self._load(file.twin, view))
            self._refuse_unequal(file, loaded, twin, options)
        return loaded

    def _load(self, path: str, view: ReadingOptions) -> LoadedTheory | InputError:
        """A theory, or why it can't be read; read once for all flags that make no difference."""
        of_file = self._by_path.setdefault(path, [])
        for load in reversed(of_file):
            if load.is_of(view):
                return load.loaded
        load = _Load(path, view, _load_theory(path, *view))
        of_file.append(load)
        self._loads.append(load)
        self._kept += load.length
        while len(self._loads) > KEPT_THEORIES and self._kept > KEPT_CHARACTERS:
            oldest = self._loads.popleft()
            self._by_path[oldest.path].remove(oldest)
            self._kept -= oldest.length
        return load.loaded

    def _refuse_unequal(
        self, file: TheoryFile, loaded: LoadedTheory, twin: LoadedTheory, options: Sequence[str]
    ) -> None:
        """Two files of the name that the recipe gives must be one theory."""
        digests = _all_digests(loaded.theory, options)
        if digests != _all_digests(twin.theory, options):
            message = two_files(file.name, (file.path, file.twin))
            self._recipe.problem(file.place, message)


def _load_theory(
    path: str, flags: Sequence[str], diff: bool, auto_sources: bool
) -> LoadedTheory | InputError:
    """A theory; or why it can't be read, which takes as long to find out."""
    try:
        return LoadedTheory(load_theory(path, flags, diff, auto_sources))
    except InputError as error:
        return error


def _readable(loaded: LoadedTheory | InputError) -> LoadedTheory:
    """A theory that was loaded; raises InputError where it could not be."""
    if isinstance(loaded, InputError):
        raise loaded
    return loaded


def _all_digests(theory: Theory, options: Sequence[str]) -> list[str]:
    """Of a theory with its includes and its oracles."""
    oracles = used_oracles(theory, options, os.getcwd())
    digests = [state.digest for state in theory.files.values()]
    digests += map(file_digest, oracles)
    return digests


# --- Theories that are made before they are read --------------------------------------------------


class Preparation(NamedTuple):
    """How a theory comes about: by a command, from inputs."""

    theory: str  # as the recipe names it
    place: JsonPath  # of the entry's `prepare`
    command: tuple[str, ...]  # its program is an absolute path
    target: str  # absolute path: where the theory belongs
    inputs: tuple[str, ...]  # files that decide what is made
    cwd: str
    limits: Limits

    @property
    def digest(self) -> str:
        """Of all that decides what is made."""
        words = (*self.inputs, *self.command)
        digests = list(map(file_digest, words))
        return json_digest([words, self.cwd, digests])


THEORY_FILE = "{theory_file}"  # in a command: where it is to write; else it prints the theory


def read_preparations(recipe: Recipe, batch: Limits, most_tasks: int) -> list[Preparation]:
    """What makes the theories of a recipe, each command once. Raises InputError.

    `batch`: the limits of all jobs together, and a job's default time.
    """
    # What is capped is told when the tasks are planned.
    limits = JobLimits(batch, lambda message: None)
    by_target: dict[str, Preparation] = {}
    for name, data in recipe.data["tasks"].items():
        entry = Layer(data, ("tasks", name))
        if "prepare" not in data:
            continue
        if not isinstance(data["theory_file"], str):
            recipe.problem((*entry.path, "theory_file"), "a command makes one theory, and no list")
            continue
        # What is said of placeholders goes for the command, too.
        variants = read_variants(recipe, name, data, most_tasks)
        _refuse_unknown_words(recipe, data["prepare"]["command"], variants.known, entry.path)
        for variant in variants.all:
            preparation = _preparation(recipe, entry, variant, limits)
            other = by_target.setdefault(preparation.target, preparation)
            if other.command != preparation.command:
                message = (
                    f"two different commands make '{printable(preparation.theory)}': let what they "
                    "differ in stand in theory_file, too"
                )
                recipe.problem((*entry.path, "theory_file"), message)
    recipe.raise_problems()
    return list(by_target.values())


def _refuse_unknown_words(
    recipe: Recipe, words: Iterable[str], known: Collection[str], path: JsonPath
) -> None:
    """Note a problem for an unknown placeholder in a command that makes a theory."""
    known = [*known, "theory", "theory_file"]
    for index, word in enumerate(words):
        refuse_unknown_placeholders(recipe, word, known, (*path, "prepare", "command", index))


def _preparation(recipe: Recipe, entry: Layer, variant: Variant, limits: JobLimits) -> Preparation:
    """How the theory of a variant comes about; what is wrong is noted."""
    path = (*entry.path, "prepare")
    data = entry.overrides["prepare"]
    theory = variant.fill(entry.overrides["theory_file"])
    if _is_pattern(theory):
        message = "the theory that a command makes has a name, and no pattern"
        recipe.problem((*entry.path, "theory_file"), message)
    stem = _stem(theory)
    word, *others = data["command"]
    program = find_program(word, recipe.directory)
    if not program:
        recipe.problem((*path, "command", 0), no_program(word, recipe.directory))
    command = [program]
    for word in others:
        filled = variant.fill(word).replace("{theory}", stem)
        command.append(_file_or_word(recipe, filled))
    inputs: list[str] = []
    for index, pattern in enumerate(data.get("inputs", ())):
        files = _input_files(recipe, variant.fill(pattern))
        if not files:
            recipe.problem((*path, "inputs", index), f"no file matches '{printable(pattern)}'")
        inputs += files
    return Preparation(
        theory=theory,
        place=path,
        command=tuple(command),
        target=os.path.abspath(os.path.expanduser(theory)),
        inputs=tuple(inputs),
        cwd=os.getcwd(),
        limits=limits.decide([_asked_resources(entry)]),
    )


def _file_or_word(recipe: Recipe, word: str) -> str:
    """A word of a command; of a file that lies only beside the recipe the absolute path."""
    beside_recipe = os.path.join(recipe.directory, word)
    if os.path.exists(word) or word.startswith("-") or not os.path.isfile(beside_recipe):
        return word
    return os.path.abspath(beside_recipe)


def _input_files(recipe: Recipe, pattern: str) -> list[str]:
    """The files that a pattern means here; if there are none, in the recipe's own directory."""
    here = _glob(pattern, os.getcwd())
    files = here or _glob(pattern, os.path.abspath(recipe.directory or "."))
    return list(files.values())


# --- Choice of lemmas -----------------------------------------------------------------------------


class LemmaChoice(NamedTuple):
    """A lemma that an item of an entry selects, for one prover."""

    item: LemmaItem
    alias: str  # of the prover: its own options may change how the theory is read
    loaded: LoadedTheory
    place: int  # of the lemma in the theory
    sides: list[Lemma]  # the lemma; in diff mode it may stand on two sides

    @property
    def lemma(self) -> Lemma:
        """The lemma, on its first side."""
        return self.sides[0]


class UnreadLemmas(NamedTuple):
    """What an item selects for one prover of a theory that can't be read."""

    item: LemmaItem
    alias: str
    reason: str


class Selection(NamedTuple):
    """What an entry selects of a theory."""

    choices: list[LemmaChoice]
    unread: list[UnreadLemmas]


class LemmaSelection:
    """Selects lemmas of theories; notes what selects none."""

    def __init__(self, recipe: Recipe, provers: Mapping[str, Prover], warn: Warn) -> None:
        self._recipe = recipe
        self._provers = provers
        self._warn = warn
        self._warned_of: set[tuple[JsonPath, JsonPath]] = set()
        self._theories = TheoryReader(recipe)

    def select(self, entry: RecipeEntry, file: TheoryFile, words: SelectingWords) -> Selection:
        """What an entry selects of a theory, in theory order.

        An exact name beats patterns; of patterns the first counts; "!pattern" takes away, wherever
        it stands. `words` notes which of them select something.
        """
        chosen: list[LemmaChoice] = []
        unread: list[UnreadLemmas] = []
        # Exact names first: no pattern takes again what they took.
        items = sorted(entry.items, key=lambda item: _is_pattern(item.pattern))
        for item in items:
            choices, unread_here = self._matching(item, file, words)
            if _is_pattern(item.pattern):
                taken = {choice.lemma.name: choice.item for choice in chosen}
                taken.update((each.item.pattern, each.item) for each in unread)
                lemmas = [choice.lemma for choice in choices]
                self._warn_of_idle_settings(entry, item, lemmas, taken)
                choices = [choice for choice in choices if choice.lemma.name not in taken]
            chosen += choices
            unread += unread_here
        for exclusion in entry.exclusions:
            left = [each for each in chosen if not _selects(exclusion.pattern, each.lemma)]
            # It may take away what can't be read.
            if unread:
                words.use((*exclusion.path, "takes"))
                words.use((*exclusion.path, "leaves"))
            else:
                self._note_exclusion(exclusion, chosen, left, words)
            chosen = left
        chosen.sort(key=lambda choice: choice.place)
        return Selection(chosen, _one_of_patterns(unread))

    def _matching(self, item: LemmaItem, file: TheoryFile, words: SelectingWords) -> Selection:
        """What one item selects, for each of its provers."""
        choices: list[LemmaChoice] = []
        unread: list[UnreadLemmas] = []
        theories: list[Theory] = []
        for alias in item.aliases:
            options = self._provers[alias].all_options(item.options)
            try:
                loaded = self._theories.read(file, options, item.flags)
            except InputError as error:
                unread.append(UnreadLemmas(item, alias, str(error)))
                continue
            # A prover's own options may hide a lemma from it that another one has.
            theories.append(loaded.theory)
            groups = lemmas_by_name(loaded.theory)
            for place, sides in enumerate(groups.values()):
                if _selects(item.pattern, sides[0]):
                    choice = LemmaChoice(item, alias, loaded, place, sides)
                    choices.append(choice)
        names = lemmas_by_name(theories[0]) if theories else {}
        path = (*item.path, "name")
        if theories and not choices:
            words.note_idle(path, names, functools.partial(self._no_such_lemma, item))
        else:
            words.use(path)
        longer = [name for name in names if name.startswith(item.pattern)]
        if choices and item.pattern in names and len(longer) > 1:
            longer.remove(item.pattern)
            self._recipe.also_prefixes[path] = longer
        return Selection(choices, unread)

    def _note_exclusion(
        self,
        exclusion: LemmaExclusion,
        chosen: list[LemmaChoice],
        left: list[LemmaChoice],
        words: SelectingWords,
    ) -> None:
        """An exclusion must leave something of what was chosen, and not all of it."""
        # Nothing was chosen before: that has been complained of.
        if not chosen:
            return
        word = printable(f"!{exclusion.pattern}")
        # Most likely mistyped, and what should not run would run.
        takes = len(left) < len(chosen)
        self._judge(exclusion, "takes", takes, f"'{word}' takes no lemma away", words)
        self._judge(exclusion, "leaves", bool(left), f"'{word}' leaves no lemma", words)

    def _judge(
        self,
        exclusion: LemmaExclusion,
        deed: str,
        is_done: bool,
        message: str,
        words: SelectingWords,
    ) -> None:
        """Note whether an exclusion does what it must do somewhere; the problem if it does not."""
        if is_done:
            words.use((*exclusion.path, deed))
            return
        place = (*exclusion.path, "name")

        def complain(searched: Searched) -> None:
            self._recipe.problem(place, message)

        words.note_idle((*exclusion.path, deed), (), complain)

    def _warn_of_idle_settings(
        self,
        entry: RecipeEntry,
        item: LemmaItem,
        lemmas: Iterable[Lemma],
        taken: Mapping[str, LemmaItem],
    ) -> None:
        """Say what an item sets in vain for lemmas that it selects, as others have taken them."""
        in_vain: dict[JsonPath, list[str]] = {}  # names of lemmas, by the item that has taken them
        for lemma in lemmas:
            excluded = any(_selects(each.pattern, lemma) for each in entry.exclusions)
            first = taken.get(lemma.name)
            if first and not excluded and item.idle_beside(first):
                in_vain.setdefault(first.path, []).append(lemma.name)
        for names in in_vain.values():
            self._warn_of_overlap(item, taken[names[0]], names)

    def _warn_of_overlap(self, item: LemmaItem, first: LemmaItem, names: Iterable[str]) -> None:
        """Say, once for two items, what one sets in vain for lemmas that the other has taken."""
        if (item.path, first.path) in self._warned_of:
            return
        self._warned_of.add((item.path, first.path))
        place = ".".join(map(str, item.path))
        settings = ", ".join(item.idle_beside(first))
        lemmas = listed(dict.fromkeys(names), 3)
        self._warn(
            f"{place} ('{item.pattern}'): what it sets does not apply to {lemmas}: {settings}; "
            f"'{first.pattern}' comes first (names before patterns, these in their order)"
        )

    def _no_such_lemma(self, item: LemmaItem, searched: Searched) -> None:
        where = searched.theory_words()
        names = list(searched.names)
        if not names:
            has = "has" if len(searched.theories) == 1 else "have"
            message = f"{where} {has} no lemmas (with these flags): nothing to prove"
            self._recipe.problem(item.path[:2], message)
            return
        as_prefix = [name for name in names if name.startswith(item.pattern)]
        if as_prefix:
            self._no_prefixes(item, where, as_prefix)
            return
        first_names = names[:12]
        some = ", ".join(first_names)
        if len(names) > len(first_names):
            some += ", ..."
        hint = did_you_mean(item.pattern, names)
        has = "it has" if len(searched.theories) == 1 else "they have"
        message = f"no lemma of {where} matches '{printable(item.pattern)}'{hint}; {has}: {some}"
        self._recipe.problem((*item.path, "name"), message)

    def _no_prefixes(self, item: LemmaItem, where: str, names: Sequence[str]) -> None:
        """A name that only begins the names of lemmas, which batch-tamarin would select."""
        pattern = f"{item.pattern}*"
        path = (*item.path, "name")
        self._recipe.mends[path] = pattern
        message = (
            f"no lemma of {where} has the name '{printable(item.pattern)}'; "
            f"'{printable(pattern)}' would select {listed(names, 3)}"
        )
        self._recipe.problem(path, message)


def _one_of_patterns(unread: Sequence[UnreadLemmas]) -> list[UnreadLemmas]:
    """Exact names, and for each prover the first of the patterns: who knows what the others add?"""
    kept: list[UnreadLemmas] = []
    with_pattern: set[str] = set()
    for lemmas in unread:
        if _is_pattern(lemmas.item.pattern):
            if lemmas.alias in with_pattern:
                continue
            with_pattern.add(lemmas.alias)
        kept.append(lemmas)
    return kept


def _is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def _selects(pattern: str, lemma: Lemma) -> bool:
    """Whether a name or a shell pattern means this lemma, or the one that it was generated from."""
    names = [lemma.name]
    if lemma.parent:
        names.append(lemma.parent)
    if _is_pattern(pattern):
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)
    return pattern in names


def sides_of(lemmas: Iterable[Lemma]) -> tuple[str, ...]:
    """`Plan.sides` of a lemma that is given on all its sides: none outside of diff mode."""
    return share(tuple(lemma.side for lemma in lemmas if lemma.side))


# --- What results depend on -----------------------------------------------------------------------

# Variables of the environment that can change what is proven. GHCRTS holds options of GHC's
# runtime, such as a limit of the heap; MAUDE_LIB tells where Maude's prelude is.
RESULT_VARIABLES = ("GHCRTS", "TAMARIN_NO_MAUDE_VARIANTS", "MAUDE_LIB")


class DependencyFinder:
    """Finds what results depend on, once for all tasks that read the same files."""

    def __init__(self, recipe: Recipe, provers: Mapping[str, Prover]) -> None:
        self.found: dict[TheoryView, Dependencies] = {}
        self._recipe = recipe
        self._provers = provers

    def of(self, view: TheoryView, loaded: LoadedTheory) -> Dependencies:
        """All that results depend on where one prover reads this theory, with these options."""
        if view not in self.found:
            prover = self._provers[view.prover]
            refuse_two_meanings(self._recipe, prover, view.cwd)
            self.found[view] = find_dependencies(prover, view, loaded)
        return self.found[view]


def find_dependencies(prover: Prover, view: TheoryView, loaded: LoadedTheory) -> Dependencies:
    """All that results depend on: this decides which results hold, so nothing may be missing here.

    A theory and what it includes count by their text, everything else by its bytes.
    """
    theory = loaded.theory
    options = prover.all_options(view.options)
    environment = prover_environment(prover)
    programs = _program_files(prover, view.cwd, environment)
    maude = _maude_file(options, view.cwd, environment)
    oracles = used_oracles(theory, options, view.cwd)
    values: dict[str, Any] = {}  # by the name that `run -d` gives them
    values["prover"] = _prover_value(prover, programs)
    values["Maude"] = file_digest(maude)
    # In their order: of two that contradict each other the last counts.
    values["options"] = [prover.options, view.options]
    values["preprocessor flags"] = view.flags
    values["environment"] = _environment_value(prover, environment)
    for path in oracles:
        name = f"oracle {path_from(path, view.cwd)}"
        # By its path, too: a script may look where it stands.
        values[name] = [path, file_digest(path)]
    # An oracle runs there, and a relative path in an option means another file elsewhere.
    needs_cwd = bool(oracles) or _options_name_files(options, view.cwd)
    values["working directory"] = view.cwd if needs_cwd else ""
    files = _file_states(theory, [*oracles, *programs, maude])
    parts = {name: json_digest(value) for name, value in values.items()}
    why_whole = _why_whole_theory(loaded, options)
    lemmas = {} if why_whole else loaded.lemma_parts
    return Dependencies(
        theory=theory.name,
        files=files,
        parts=parts,
        text=theory.digest,
        why_whole=why_whole,
        lemmas=lemmas,
        sources=tuple(map(os.path.abspath, (*theory.files, *oracles))),
    )


def _prover_value(prover: Prover, programs: Sequence[str]) -> list[Any]:
    """What the prover itself is: what it says of itself, its files, the other words of its call."""
    digests = list(map(file_digest, programs))
    # Programs count by their bytes alone: the same prover elsewhere is the same.
    words = [word for word in prover.command if word not in programs]
    return [prover.identity, digests, words]


def _environment_value(prover: Prover, environment: Mapping[str, str]) -> list[Any]:
    """What the recipe gives the prover as environment, and what else of it matters."""
    given = sorted(prover.env.items())
    inherited = [name for name in RESULT_VARIABLES if name in environment]
    return [given, [[name, environment[name]] for name in inherited]]


def _program_files(prover: Prover, cwd: str, environment: Mapping[str, str]) -> list[str]:
    """The files among the words of a command: programs, as in `nice tamarin-prover`, and others."""
    files: list[str] = []
    for word in prover.command:
        program = find_program(word, cwd, environment)
        if program:
            files.append(program)
    # An argument of a command such as `apptainer exec tamarin.sif tamarin-prover`.
    for word in prover.command:
        path = os.path.join(cwd, word)
        if os.path.isfile(path) and path not in files:
            files.append(path)
    return files


def _maude_file(options: Sequence[str], cwd: str, environment: Mapping[str, str]) -> str:
    """The Maude that a prover will call; "" if there is none."""
    # The last one counts. Without a value the option means what Tamarin takes without it.
    asked = ["maude", *WITH_MAUDE.values(options)][-1]
    maude = asked or "maude"
    if os.sep in maude:
        maude = os.path.join(cwd, os.path.expanduser(maude))
    return find_program(maude, cwd, environment)


def _options_name_files(options: Iterable[str], cwd: str) -> bool:
    """Whether the value of some option can be a path that is there."""
    for option in options:
        _, joined, value = option.partition("=")
        path = os.path.join(cwd, value)
        if joined and os.path.exists(path):
            return True
    return False


def _file_states(theory: Theory, others: Iterable[str]) -> dict[str, FileState]:
    """Of the theory and what it includes as they were read, and of all others that are named."""
    states: dict[str, FileState] = {}
    for path, state in theory.files.items():
        full_path = os.path.abspath(path)
        states[full_path] = state
    # A Maude that is not there has no path.
    for path in filter(None, others):
        full_path = os.path.abspath(path)
        states[full_path] = file_state(full_path)
    return states


def _why_whole_theory(loaded: LoadedTheory, options: Sequence[str]) -> str:
    """Why the whole theory can matter to the result of each lemma; "" where it can't."""
    theory = loaded.theory
    if theory.cannot_split:
        return theory.cannot_split
    if QUIT_ON_WARNING.is_given((*options, *theory.configuration)):
        return "--quit-on-warning"
    return "" if loaded.lemma_parts else "unusual lemmas"


def lemma_parts(theory: Theory) -> dict[str, LemmaParts]:
    """What of a theory's text the result of each lemma depends on, where it splits.

    The three parts together fix the text without all other lemmas, everything left in its place:
    Tamarin goes by positions.
    """
    rest, placed = theory.split_digests()
    parts: dict[str, LemmaParts] = {}
    for lemma in theory.lemmas:
        own = placed[lemma.name]
        rest_before = [segment.rest_before for segment in own]
        digests = [segment.digest for segment in own]
        assumed: list[PlacedDigest] = []
        for name in lemma.assumes:
            assumed += placed[name]
        assumed_from_here = _seen_from(own, sorted(assumed))
        parts[lemma.name] = LemmaParts(
            around=_digest_of_many((rest, tuple(rest_before))),
            own=json_digest(digests),
            assumed=_digest_of_many(tuple(assumed_from_here)),
        )
    return parts


# Neighbours stand at the same place in the rest, and assume the same: they share one digest.
_digest_of_many = functools.lru_cache(maxsize=64)(json_digest)


def _seen_from(own: Sequence[PlacedDigest], assumed: Iterable[PlacedDigest]) -> list[PlacedDigest]:
    """The segments of assumed lemmas, with places that count from those of the lemma itself.

    So they stay the same where something is added before all of these lemmas.
    """
    start = own[0].rest_before
    seen: list[PlacedDigest] = []
    for segment in assumed:
        own_before = sum(each.place < segment.place for each in own)
        rest_between = segment.rest_before - start
        seen.append(PlacedDigest(own_before, rest_between, segment.digest))
    return seen


def refuse_two_meanings(recipe: Recipe, prover: Prover, cwd: str) -> None:
    """Note a problem where a bare word of a prover's command means two files.

    It may be one file where the task runs, and another one here, where the version is asked.
    """
    for word in prover.command[1:]:
        here = os.path.abspath(word)
        there = os.path.join(cwd, word)
        if file_digest(here) == file_digest(there):
            continue
        shown = printable(word)
        message = (
            f"'{shown}' is not the same file here and in {printable(cwd)}, where a task runs: "
            f"write './{shown}' for the one here, or an absolute path"
        )
        recipe.problem(("tamarin_versions", prover.alias, "command"), message)


# --- Ids ------------------------------------------------------------------------------------------

ID_BYTES = 200


class TaskIds:
    """Gives tasks their ids: safe file names, unlike each other even where case is ignored."""

    def __init__(self) -> None:
        # All ids, and for each the last number that another one got behind this text.
        self._given: dict[str, int] = {}
        self.count = 0

    def new(self, text: str) -> str:
        """An id that says `text`; what is taken gets `_2`, `_3`."""
        name = _safe_file_name(text)
        folded = _without_case(name)
        number = self._given.get(folded, 1)
        ending = ""
        while folded + ending in self._given:
            number += 1
            ending = f"_{number}"
        self._given[folded] = number
        self._given[folded + ending] = 1
        self.count += 1
        return name + ending


def _safe_file_name(text: str) -> str:
    """A file name of at most ID_BYTES; what is longer ends in a digest of the text."""
    # No `~` either: behind it stand the marks of earlier attempts, shared jobs, loads, drawings and
    # rechecks.
    name = re.sub(r"[^\w.+-]", "_", text)
    # No hidden file, and nothing that a command takes for an option.
    if name[0] in ".-":
        name = "_" + name[1:]
    data = name.encode()
    if len(data) <= ID_BYTES:
        return name
    # The cut may go through a character.
    start = data[: ID_BYTES - 20].decode("utf-8", "ignore")
    digest = sha256(text.encode())
    return f"{start}-{digest[:12]}"


def _without_case(name: str) -> str:
    """Equal for what a case-ignoring, Unicode-composing file system takes for the same."""
    if name.isascii():
        return name.lower()
    import unicodedata

    folded = name.casefold()
    return unicodedata.normalize("NFC", folded)


def select_ids(batch: Batch, patterns: Sequence[str]) -> list[str]:
    """The ids that -t selects, by prefix or shell pattern; all without -t.

    Raises InputError for a pattern without a match.
    """
    if not patterns:
        return list(batch.tasks)
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {task_id for task_id in batch.tasks if _id_matches(task_id, pattern)}
        if not matching:
            # Most likely mistyped: to run the rest in silence would waste a night.
            raise InputError(_no_such_task(batch, pattern))
        chosen |= matching
    return [task_id for task_id in batch.tasks if task_id in chosen]


RECHECK_FOLDER = "recheck-"  # of results; behind it the alias of who checks
RECHECK_MARK = "~recheck"  # behind the id of a task: the check of its proof


def _id_matches(task_id: str, pattern: str) -> bool:
    if task_id.startswith(pattern):
        return True
    # A recheck goes by its task's id.
    own_id = task_id.removesuffix(RECHECK_MARK)
    return fnmatch.fnmatchcase(own_id, pattern)


def _no_such_task(batch: Batch, pattern: str) -> str:
    lemmas = {task.plan.lemma for task in batch.tasks.values()}
    if pattern in lemmas:
        hint = f"; for that lemma: -t '*--{pattern}--*'"
    else:
        hint = did_you_mean(pattern, batch.tasks)
    # A task stands for all that a pattern would select there: the wanted one may be among them.
    for task in batch.tasks.values():
        if task.plan.unreadable and _is_pattern(task.plan.lemma):
            hint += f"; '{task.id}' stands for lemmas that can't be read: {task.plan.unreadable}"
            break
    example = next(iter(batch.tasks))
    return f"-t '{printable(pattern)}' matches no task{hint}; ids look like '{example}'"


# === Journal ======================================================================================

JOURNAL = "batch.jsonl"


class Journal:
    """The truth about a batch on disk, one JSON object a line, by one writer.

    `record` is how a running batch changes: the line is written, then the batch changed. Results
    that come together share a `flush`; only then is anyone told.
    """

    def __init__(self, path: str, take_over: bool = False) -> None:
        """Open or create, and lock, the journal at `path`.

        take_over: the user vouches that no other run is at work, where no lock can tell.
        Raises OSError, StorageError.
        """
        self.path = path
        self.batch = Batch()
        self.is_new = False  # whether the batch has begun with this run
        self.observers: list[Callable[[Event], None]] = []  # told of an event once it is on disk
        self._unflushed: list[Event] = []
        # A link would lead to the journal of other results, and the rest would stay here.
        self.fd = open_no_link(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _refuse_irregular(self.fd, path)
            self._is_locked = lock_journal(self.fd, path, take_over)
        except (StorageError, OSError):
            os.close(self.fd)
            raise
        # Where its last whole line ended when it was read; until then, where the file did.
        self.end = os.fstat(self.fd).st_size

    @property
    def has_news(self) -> bool:
        """Whether something was recorded that no observer was told of."""
        return self._unflushed != []

    @property
    def directory(self) -> str:
        """The results directory that it stands in."""
        return os.path.dirname(self.path)

    def begin(self, batch: Batch) -> None:
        """Write the plan of a new batch. Raises StorageError."""
        self.batch = batch
        self.is_new = True
        lines = map(json_line, batch.events())
        self._write(next(lines))
        self._claim(batch.header)
        # In pieces: 100,000 tasks need not be in memory as text.
        while True:
            data = b"".join(itertools.islice(lines, 1_000))
            if not data:
                break
            self._write(data)
        self._sync()
        # A file whose name is not on disk is lost with all that it holds; so is its directory.
        directory = os.path.abspath(self.directory)
        flush_to_disk(directory)
        flush_to_disk(os.path.dirname(directory))

    def load(self, tell: Callable[[str], None]) -> None:
        """Read the batch that this journal tells of. Raises InputError."""
        self.batch, self.end = load_batch(self.path, tell)

    def go_on(self, header: Header) -> None:
        """Go on with the batch that was loaded, with a new driver. Raises OSError, StorageError."""
        # Behind the last whole line stands what a dying writer left half-written.
        if self._is_locked:
            os.ftruncate(self.fd, self.end)
        elif os.fstat(self.fd).st_size > self.end:
            # It may be the line of another run, which began after we had read.
            self._write(b"\n")
        # First of all: where there are no locks this line keeps others away.
        self.record(header)
        self._claim(header)

    def _claim(self, own: Header) -> None:
        """Where there are no locks: of runs that begin at one moment only the first goes on.

        `own`: what we wrote behind what we had read. Raises StorageError.
        """
        if self._is_locked:
            return
        with open(self.path, "rb") as file:
            file.seek(self.end)
            for header in _drivers(file, self.path):
                if (header.at, header.host, header.pid) == (own.at, own.host, own.pid):
                    return
                if driver_lives(header) is not False:
                    problem = f"another run began at the same moment ({_driver_words(header)})"
                    raise StorageError(f"{problem}: {WAIT_OR_GO}", self.path)

    def record(self, event: Event) -> None:
        """Write one event, then apply it. Raises StorageError."""
        # In this order: what can't be written has not happened.
        self._write(json_line(event))
        self.batch.apply(event)
        self._unflushed.append(event)

    def flush(self) -> None:
        """Bring what was recorded to the disk, then tell the observers. Raises StorageError."""
        count = self.bring_to_disk()
        self.tell(count)

    def bring_to_disk(self) -> int:
        """Bring to disk what was recorded, in any thread; how many events observers can be told of.

        Raises StorageError.
        """
        events = self._unflushed.copy()
        if not all(isinstance(event, Started) for event in events):  # a lost start only runs again
            try:
                self._sync()
            except StorageError:
                # The batch ends, and what may be lost is shown to nobody: a second try would go
                # well even if it is.
                self._unflushed.clear()
                raise
        return len(events)

    def tell(self, count: int) -> None:
        """Tell the observers of so many events that are on disk."""
        events = self._unflushed[:count]
        del self._unflushed[:count]
        for event in events:
            for observer in self.observers:
                observer(event)

    def close(self) -> None:
        """Flush, and let others write. Raises StorageError."""
        self.flush()
        os.close(self.fd)

    def _write(self, data: bytes) -> None:
        """Append whole lines.

        If they don't go in whole the file is cut back, so that it always ends with a whole line.
        """
        # Not what we have read and written: where there are no locks others may have written too.
        end = os.fstat(self.fd).st_size
        try:
            # Without a buffer: what failed must not follow with a later write.
            if os.write(self.fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self.fd, end)
            raise StorageError(
                f"the journal can't be written: {error.strerror}. What it holds is safe: make "
                "room, then run the same command again to go on",
                self.path,
            ) from None

    def _sync(self) -> None:
        flush_descriptor(self.fd, self.path)


def json_line(event: Event) -> bytes:
    """One line of the journal.

    Half a surrogate pair (an undecodable file name) survives as its JSON escape.
    """
    text = json.dumps(encode_event(event), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def load_batch(path: str, tell: Callable[[str], None]) -> tuple[Batch, int]:
    """The Batch that a journal tells of, and where its last whole line ends.

    tell: is told of lines that are skipped. Raises InputError when there is no journal.
    """
    batch = Batch()
    with making_what_stays(), _open_journal(path) as file:
        deque(journal_events(file, path, tell, batch.apply), maxlen=0)
        return batch, file.tell()


def load_header(path: str) -> Header:
    """The last header in a journal, or an empty one; its tasks are not read.

    Raises InputError when there is no journal.
    """
    import io

    with _open_journal(path) as file:
        headers = b"".join(line for line in file if b'"batch"' in line)
    header = Header()
    for event in journal_events(io.BytesIO(headers), path, lambda _: None, lambda _: None):
        if isinstance(event, Header):
            header = event
    return header


@contextmanager
def _open_journal(path: str) -> Iterator[BinaryIO]:
    """A journal to read from. Raises InputError where it can't be read."""
    try:
        with open_file(path) as file:
            yield file
    except OSError as error:
        raise InputError(f"the journal can't be read: {error.strerror}", path) from None


def journal_events(
    file: BinaryIO, path: str, tell: Callable[[str], None], apply: Callable[[Event], None]
) -> Iterator[Event]:
    """The events from where the file stands, each after `apply` took it.

    The file is left standing before a torn last line. Leading NULs (blocks that a crashed file
    system never filled) are stripped. A line that can't be read, or an event that can't be applied,
    is skipped, and `tell` told.
    """
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        try:
            event = decode_event(STRICT_JSON.decode(line.lstrip(b"\0").decode("utf-8")))
            if event:
                apply(event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if line.strip(b"\0 \r\n"):
                problem = f"{type(error).__name__}: {error}"
                tell(f"{path}:{number}: this line can't be used and is skipped ({problem})")
            continue
        if event:
            yield event


# --- One writer: the lock, or the last driver where the file system has no locks ------------------

# What can be done while another run is at work.
WAIT_OR_GO = "wait for it, or give another directory with -o"

# What flock says on a file system without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def lock_journal(fd: int, path: str, take_over: bool) -> bool:
    """Make this process the journal's one writer, as long as it has `fd` open; whether by a lock.

    Where the file system has no locks the journal's drivers decide: a run goes on only when all are
    known to be dead, or the user takes over. Raises StorageError that says who is at work.
    """
    import fcntl

    try:
        locked = _try_lock(fd, fcntl.LOCK_EX)
    except OSError as error:
        raise StorageError(f"the journal can't be locked: {error.strerror}", path) from None
    if locked:
        return True
    with open(path, "rb") as file:
        drivers = _drivers(file, path)
    if locked is None:
        drivers = [header for header in drivers if _may_be_at_work(header)]
        if take_over or not drivers:
            return False
    driver = _driver_words(drivers[-1] if drivers else Header())
    if locked is None and driver_lives(drivers[-1]) is None:
        problem = (
            "this file system has no locks, and from here nobody can see whether the last run "
            f"({driver}) is still at work: if it is not, add --take-over"
        )
    else:
        problem = f"another run is at work here ({driver}): {WAIT_OR_GO}"
    raise StorageError(problem, path)


def _drivers(file: BinaryIO, path: str) -> list[Header]:
    """Who has driven a batch since it ended last, from where a journal stands."""
    headers: list[Header] = []
    for event in journal_events(file, path, lambda _: None, lambda _: None):
        if isinstance(event, Header):
            headers.append(event)
        elif isinstance(event, Ended):
            headers.clear()
    return headers


def _driver_words(header: Header) -> str:
    return f"process {header.pid or '?'} on {header.host or '?'}"


def _may_be_at_work(header: Header) -> bool:
    """Whether a driver isn't known to be dead."""
    # It may be ourselves: one run opens its batch of rechecks twice.
    return driver_lives(header) is not False and not _is_ourselves(header)


def _is_ourselves(header: Header) -> bool:
    """Whether this very process is a driver."""
    return driver_lives(header) is True and header.pid == os.getpid()


def _try_lock(fd: int, kind: int) -> bool | None:
    """Whether a lock could be had at once; None on a file system without locks. Raises OSError."""
    import fcntl

    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def driver_lives(header: Header) -> bool | None:
    """Whether the process that drives, or drove, a batch still lives; None where nobody can tell.

    On this host a process is what it was while boot, pid namespace, pid and start time are the
    same. Another boot of the same host has ended it; in another pid namespace, or on another host,
    it can't be seen.
    """
    if foreign_place(header):
        return None
    # Older versions wrote neither.
    if not header.boot_id or not header.started:
        return None
    _, boot_id = host_id()
    return header.boot_id == boot_id and process_start(header.pid) == header.started


def is_driven(header: Header, path: str) -> bool | None:
    """Whether a run is at work on a journal; None where nobody can tell."""
    lives = driver_lives(header)
    # When the driver is dead the lock isn't tried: a run that begins now must not find it taken.
    if lives is False:
        return False
    locked = is_locked(path)
    if locked is None:
        return lives
    if not locked and header.host != host_id()[0]:
        return None  # a network file system may keep the locks of each host apart
    return locked


def foreign_place(header: Header) -> str:
    """Where a batch's driver is, or was, if its pid is not one of ours; "" if it is."""
    host, boot_id = host_id()
    if header.host != host:
        return f"on {header.host}"
    # `host_id` puts the pid namespace behind the boot's own id.
    same_boot = header.boot_id.partition(" ")[0] == boot_id.partition(" ")[0]
    if same_boot and header.boot_id != boot_id:
        return "in another container of this host"
    return ""


def is_locked(path: str) -> bool | None:
    """Whether some process holds the journal's lock; None where that can't be known."""
    import fcntl

    with suppress(OSError), open_file(path) as file:
        free = _try_lock(file.fileno(), fcntl.LOCK_SH)
        if free is not None:
            return not free
    return None


# --- The results directory ------------------------------------------------------------------------

# What provers write stands there, and nobody can make it again.
EVIDENCE_FOLDERS = ("proofs", "traces", "logs")


class DerivedFiles:
    """Makes what follows from the journal: what can't be made is a warning and nothing more.

    A reason is told once: on a full disk it is that of all of them.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._told: set[str] = set()

    @contextmanager
    def making(self, path: str) -> Iterator[None]:
        """While this is made, at a path in the results directory, no error gets out."""
        try:
            yield
        # Whatever it is, also a mistake of ours: it must not hide results that took weeks.
        except Exception as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, OSError):
                path = error.filename or os.path.join(self.directory, path)
                reason = error.strerror or reason
            elif not isinstance(error, InputError):
                reason = f"{type(error).__name__}: {error}"
            if reason not in self._told:
                self._told.add(reason)
                self._tell(path, reason)

    def _tell(self, path: str, reason: str) -> None:
        command = quoted(["report", self.directory, "--rebuild"])
        warn(
            f"{path} can't be made: {reason}. The results are safe in {JOURNAL}; "
            f"`batch_tamarin.py {command}` makes such files again"
        )


def _names_in(folder: str) -> list[str]:
    """The names in a folder; none if it isn't there."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def result_files(directory: str, job: str) -> Outputs:
    """Where a job leaves its files: absolute paths."""
    root = os.path.abspath(directory)

    def path(folder: str, ending: str) -> str:
        return os.path.join(root, folder, job + ending)

    return Outputs(
        stdout=path("logs", ".out"),
        stderr=path("logs", ".err"),
        proof=path("proofs", ".spthy"),
        trace_json=path("traces", ".json"),
        trace_dot=path("traces", ".dot"),
    )


class Place(enum.Enum):
    """Where a batch is kept, seen from the directory that was named for it.

    A recipe has one results directory. Beside anything else, which is not touched, a dated one is
    made.
    """

    NEWEST = "newest"  # where the newest batch of the recipe is, there or in a dated one beside it
    FRESH = "fresh"  # where nothing is yet
    THERE = "there"  # in it, whatever stands beside it


def open_results(
    directory: str,
    planned: Batch,
    place: Place,
    tell: Callable[[str], None],
    take_over: bool = False,
) -> Journal:
    """The journal of a batch: a new one, or one that was begun before. Raises StorageError."""
    with storage_errors(directory):
        os.makedirs(directory, exist_ok=True)
        if place is Place.THERE:
            return _locked_journal(directory, tell, take_over)
        journal = _usable_journal(directory, planned, place, tell, take_over)
        if journal is None:
            journal = _journal_beside(directory, place, tell)
        if journal.end == 0:
            journal.begin(planned)
    return journal


@contextmanager
def storage_errors(directory: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        problem = f"the results directory can't be written: {error.strerror}{way_out(error)}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem += ": `run RECIPE -o DIR` takes another one"
        raise StorageError(problem, error.filename or directory) from None


def _usable_journal(
    directory: str, planned: Batch, place: Place, tell: Callable[[str], None], take_over: bool
) -> Journal | None:
    """A new journal in an empty directory, or that of a batch to go on with; None for neither."""
    if not os.listdir(directory):
        journal = Journal(os.path.join(directory, JOURNAL), take_over)
        if journal.end == 0:
            return journal
        journal.close()  # another run, perhaps of another recipe, has begun here since then
    if place is Place.FRESH:
        return None
    newest = newest_results(directory, planned.header)
    if not newest:
        return None
    return _locked_journal(newest, tell, take_over)


def _locked_journal(directory: str, tell: Callable[[str], None], take_over: bool) -> Journal:
    """The journal of a batch in a directory, locked and read."""
    journal = Journal(os.path.join(directory, JOURNAL), take_over)
    if journal.end:
        # Locked before it is read: what it tells can't change any more.
        journal.load(tell)
    return journal


def newest_results(directory: str, planned: Header) -> str:
    """The newest batch of a recipe in this directory or in the dated ones beside it; "" for none.

    A journal in which nothing stands yet is as good as the recipe's own.
    """
    newest = ""
    newest_begun = ""
    for place in (directory, *dated_siblings(directory)):
        begun = _when_begun(os.path.join(place, JOURNAL), planned)
        # A sibling is made only beside what is there: of equal ones it is the newer.
        if begun is not None and begun >= newest_begun:
            newest = place
            newest_begun = begun
    return newest


def _when_begun(path: str, planned: Header) -> str | None:
    """When the batch of a journal began; "" for an empty one, None if it is not of the recipe."""
    if not os.path.exists(path):
        return None
    if os.path.getsize(path) == 0:
        return ""
    begun = first_header(path)
    if begun is None or not _is_same_recipe(begun, planned):
        return None
    return begun.at


def first_header(path: str) -> Header | None:
    """What a journal says of its batch when that begins; None if it does not say it."""
    try:
        with open_file(path) as file:
            events = journal_events(file, path, lambda _: None, lambda _: None)
            headers = (event for event in events if isinstance(event, Header))
            return next(headers, None)
    except OSError as error:
        raise InputError(f"the journal can't be read: {error.strerror}", path) from None


def _is_same_recipe(begun: Header, planned: Header) -> bool:
    """Whether a batch is of the recipe that is planned: its file, or equal text in one place."""
    if begun.recipe_file == planned.recipe_file:
        return True
    return begun.recipe == planned.recipe and begun.cwd == planned.cwd


def _journal_beside(directory: str, place: Place, tell: Callable[[str], None]) -> Journal:
    """A new journal in a dated directory beside this one, which is left as it is."""
    sibling = dated_sibling(directory)
    what = "what is there"
    if place is not Place.FRESH and os.path.exists(os.path.join(directory, JOURNAL)):
        what = "another recipe's batch is there already and"
    tell(f"{what} is left alone: a new batch begins in {sibling}")
    return Journal(os.path.join(sibling, JOURNAL))


class Changes(NamedTuple):
    """How what is wanted now differs from a batch that was begun before."""

    header: Header  # with the new driver
    plans: list[Plan]  # new or changed
    differs: bool  # whether anything does, but for the driver


def raise_limits(old: Batch, planned: Batch, ids: Iterable[str], times: float) -> None:
    """Let what is planned have the limits that were raised before, and raise more of them.

    `ids`: the chosen tasks. The limits that their results have met are doubled, at most so many
    times over what the recipe says.
    """
    host = planned.header.host
    room = planned.header.limits
    chosen = set(ids)
    for task in planned.tasks.values():
        before = old.tasks.get(task.id) or old.withdrawn.get(task.id)
        if before is None:
            continue
        plan = with_limits_raised_before(task.plan, before.plan, room)
        holding = before.newest_holding(plan, host)
        if holding and task.id in chosen:
            plan = raised_plan(plan, holding, room, times) or plan
        if plan != task.plan:
            planned.apply(plan)


def changes_of(old: Batch, planned: Batch, ids: Iterable[str], again: bool) -> Changes:
    """How what is planned, and is to run, differs from the batch that it goes on with.

    `ids`: the chosen tasks. Those without a result that holds run; `again`: all of them do.
    """
    vanished = tuple(task_id for task_id in old.tasks if task_id not in planned.tasks)
    anew: list[str] = []
    # A driver that did not come to its end may have left files that are not of these results.
    has_work = old.ended is None
    for task_id in ids:
        # What was withdrawn may have a result as well.
        task = old.tasks.get(task_id) or old.withdrawn.get(task_id)
        plan = planned.tasks[task_id].plan
        if task is None:
            continue
        holding = task.newest_holding(plan, planned.header.host)
        if again or (task.record and holding is None):
            anew.append(task_id)
        # Something runs, or an earlier result comes back.
        if again or holding is None or holding is not task.record:
            has_work = True
    plans: list[Plan] = []
    for task in planned.tasks.values():
        before = old.tasks.get(task.id)
        if before is None or before.plan != task.plan:
            plans.append(task.plan)
    order = _order_to_tell(old, planned)
    header = replace(planned.header, id=old.id, vanished=vanished, order=order, again=tuple(anew))
    differs = bool(has_work or plans or vanished or order)
    differs = differs or not _say_the_same(old.header, header)
    return Changes(header, plans, differs)


def _order_to_tell(old: Batch, planned: Batch) -> tuple[str, ...]:
    """The order of the plan, if tasks that are written behind old ones would not stand in it."""
    kept = [task_id for task_id in old.tasks if task_id in planned.tasks]
    added = [task_id for task_id in planned.tasks if task_id not in old.tasks]
    order = tuple(planned.tasks)
    return order if (*kept, *added) != order else ()


def _say_the_same(one: Header, other: Header) -> bool:
    """Whether two headers differ in nothing that results or a later run could depend on."""
    return (
        one.recipe == other.recipe
        and one.options == other.options
        and one.limits == other.limits
        and one.cwd == other.cwd
        and one.scheduler == other.scheduler
        and one.provers == other.provers
        and one.inputs == other.inputs
    )


def bring_up_to_plan(journal: Journal, changes: Changes, tell: Callable[[str], None]) -> None:
    """Bring a batch that was begun before up to the present plan. Raises OSError, StorageError."""
    batch = journal.batch
    # What a killed driver left behind must not write into the files of those that run next.
    end_survivors(batch.id, _running(batch))
    journal.go_on(changes.header)
    for plan in changes.plans:
        journal.record(plan)
    # Those who watch from now on know the batch as it is here: what is told to them later must
    # have happened later.
    journal.flush()
    for line in _told_of_going_on(batch, changes.header.vanished):
        tell(line)


def _running(batch: Batch) -> Iterator[Started]:
    """The last starts of what ran when the driver died."""
    for task in batch.tasks.values():
        if task.status is Status.RUNNING and task.started:
            yield task.started


def _told_of_going_on(batch: Batch, vanished: Sequence[str]) -> Iterator[str]:
    """How much of a batch is done already, and why something runs again."""
    tasks = batch.tasks.values()
    holding = sum(not batch.needs_run(task) for task in tasks)
    told = f"going on: {holding:,} of {plural(len(tasks), 'result')} hold"
    reasons: Counter[str] = Counter()
    for task in tasks:
        if task.outdated:
            reasons[what_changed(task.outdated.plan, task.plan)] += 1
    older = [f"{count:,} of {reason}" for reason, count in reasons.items()]
    if older:
        told += f"; left out: {', '.join(older)}"
    yield told
    # A theory that can be read again leaves nothing of the task that stood for its lemmas.
    kept = [task_id for task_id in vanished if not batch.withdrawn[task_id].plan.unreadable]
    if kept:
        yield f"no longer planned, their results are kept: {listed(kept, 10)}"


# What stands behind a directory's name in those of its dated siblings. Of those of one second the
# tenth (`_10`) comes behind the second (`_2`).
_DATE = re.compile(r"(?P<date>_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:_(?P<number>\d+))?")


def dated_siblings(directory: str) -> list[str]:
    """The dated directories beside this one that hold a journal, the newest last."""
    parent, stem = os.path.split(_undated(directory))
    found: list[tuple[str, int, str]] = []
    for name in _names_in(parent or "."):
        date = _DATE.fullmatch(name[len(stem) :]) if name.startswith(stem) else None
        if date and os.path.exists(os.path.join(parent, name, JOURNAL)):
            found.append((date["date"], int(date["number"] or 1), os.path.join(parent, name)))
    return [path for _, _, path in sorted(found)]


def _undated(directory: str) -> str:
    """What the paths of its dated siblings begin with."""
    path = directory.rstrip(os.sep)
    # These have no name to which something could be added.
    return os.path.abspath(directory) if os.path.basename(path) in ("", ".", "..") else path


def newer_results(directory: str, header: Header) -> str:
    """Where newer results of the same recipe are than those of this directory; "" for nowhere."""
    path = os.path.abspath(directory)
    folder, name = os.path.split(path)
    undated = re.sub(rf"{_DATE.pattern}\Z", "", name)
    newest = newest_results(os.path.join(folder, undated), header)
    return "" if newest in ("", path) else newest


def dated_sibling(directory: str) -> str:
    """Make `NAME_YYYY-MM-DD_HH-MM-SS` beside a directory, for nobody else.

    Raises OSError, StorageError.
    """
    stem = _undated(directory) + time.strftime("_%Y-%m-%d_%H-%M-%S")
    for path in (stem, *(f"{stem}_{number}" for number in range(2, 1_000))):
        with suppress(FileExistsError):
            os.mkdir(path)
            return path
    raise StorageError("there is no free name for a directory beside it", directory)


def results_directory(path: str, *records: str) -> str:
    """The results directory that a user means: it, or one of the `records` (names) in it.

    Raises InputError that says what is wrong.
    """
    directory = path
    if os.path.basename(path) in records and os.path.isfile(path):
        directory = os.path.dirname(path) or "."
    if os.path.isfile(directory):
        raise InputError(
            "is a file: give the results directory (`run` names it after 'results:')",
            printable(path),
        )
    if not _is_there(directory):
        hint = file_meant(path.rstrip("/"))
        raise InputError(f"there is no such results directory{hint}", printable(path))
    if not any(_is_there(os.path.join(directory, name)) for name in records):
        problem = "holds no results"
        siblings = dated_siblings(directory)
        if siblings:
            problem += f"; the newest beside it: {printable(siblings[-1])}"
        raise InputError(problem, printable(path))
    return directory


def _is_there(path: str) -> bool:
    """Whether there is such a file or directory. Raises InputError where that can't be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", printable(path)) from None
    return True


# === Cache ========================================================================================

# Nothing in here can make a result wrong: a stored one is used only where its key says that the
# prover would say the same again, and only when its files are whole. Nothing in here can end a
# batch either: what can't be stored is said once, what can't be read is a miss.

CACHE_GB = 2.0  # unless --cache-size says otherwise
_ENTRY_FILE = "entry.json"
# What these don't match is not ours, whatever directory we were given, and is left alone.
_FOLDER = re.compile(r"[0-9a-f]{32}")
_ENTRY = re.compile(
    r"(?P<key>[0-9a-f]{32})"
    # A limit without those that it was met under is of an older version: it answers nothing.
    r"\.(?P<kind>|[0-9a-f]{32}|limit-[0-9a-f]{16}(?:-[0-9a-f]{16})?|loaded)"
    r"(?P<unfinished>-\d+)?"
)
_PRUNE_AFTER = 1_000  # entries that were stored
_PRUNE_GROWN = 0.05  # of the size that is allowed


@dataclass(frozen=True)
class Entry:
    """What stands in the `entry.json` of a cache's entry: a result, and what it is a result of."""

    plan: Plan = field(metadata=named("task"))
    result: Result = field(metadata=named("finish"))
    parts: dict[str, str]  # digests of what the result depends on, by words for people
    files: dict[str, str]  # SHA-256 of the outputs in the entry, by their names in Outputs

    @property
    def task(self) -> Task:
        """The task as it was when its result was stored."""
        return Task.with_result(self.plan, self.result)

    @property
    def is_load(self) -> bool:
        """Whether it tells that a prover has loaded a theory, and of no lemma."""
        return not self.plan.lemma


class Hit(NamedTuple):
    """A stored result that holds for a task."""

    result: Result  # as the task's own, marked as cached
    path: str  # of the entry
    files: Mapping[str, str]  # as in the entry
    # False: lemmas changed that can't matter to this one, in a text that the prover may refuse. It
    # counts only when the prover has loaded that text.
    counts: bool

    def after_load(self, load: Result) -> Hit:
        """The hit when the prover has loaded the text: it counts, with the warnings of the load."""
        return self._replace(result=replace(self.result, warnings=load.warnings), counts=True)


class Cache:
    """Results under digests of all that they depend on, shared by any number of runs; never fatal.

    Below its directory, `LEMMA/KEY.KIND/` holds `entry.json` and the outputs. LEMMA is a digest of
    the names of a theory and a lemma, KEY is `Plan.key`. KIND is `Plan.lemma_key` (or nothing where
    only the whole file counts), `limit-HOST-LIMITS` for what met these limits on that host, or
    `loaded` for a text that a prover has loaded. An entry appears whole, by a rename, and is never
    changed. What is damaged is removed; when there is too much, the least recently used go first.
    """

    def __init__(self, directory: str = "", size_gb: float = CACHE_GB) -> None:
        """`directory`: default $XDG_CACHE_HOME/batch-tamarin, or ~/.cache/batch-tamarin.

        Raises InputError where there is no home for it.
        """
        self.directory = os.path.abspath(directory or _default_cache_directory())
        self.size_mb = size_gb * 1024
        self.problem = ""  # the first reason why nothing can be stored
        # Since it was last kept to its size.
        self._stored = 0  # entries
        self._stored_mb = 0.0
        # Another host may be faster, or have other things to do: a limit is met there or not.
        host = sha256(os.uname().nodename.encode())
        self._limits_here = f"limit-{host[:16]}-"  # how the kinds begin

    def find(self, plan: Plan, inputs: Dependencies) -> Hit | None:
        """The stored result that holds for a task, if there is one."""
        names = self._entries_of(inputs, plan.lemma)
        # Most entries of a lemma are of older texts: their names alone rule them out.
        candidates = [name for name in names if self._may_answer(name, plan)]
        # What met a limit comes last: a verdict says more. Before that, the very same text first.
        candidates.sort(key=lambda name: (name.is_limit, name.key != plan.key))
        for name in candidates:
            entry = self.read(name.path)
            if entry and _answers(entry, plan):
                return _hit(entry, name.path, same_text=entry.plan.key == plan.key)
        return None

    def find_load(self, inputs: Dependencies) -> Result | None:
        """The load of this very text, if the prover is known to have loaded it."""
        path = self._load_path(inputs)
        entry = self.read(path)
        if entry is None:
            return None
        _mark_as_used(path)
        return entry.result

    def past_usage(self, plan: Plan, inputs: Dependencies) -> Usage | None:
        """What the prover took for a task's lemma before, whatever the theory's text was then."""
        newest: Result | None = None
        for name in self._entries_of(inputs, plan.lemma):
            entry = None if name.unfinished else self.read(name.path)
            if entry is None or entry.plan.prover != plan.prover:
                continue
            if entry.result.tells_time and (newest is None or entry.result.at > newest.at):
                newest = entry.result
        return newest.usage if newest else None

    def restore(self, hit: Hit, outputs: Outputs, known: Outputs | None = None) -> bool:
        """Put a result's files to where the task's own would be.

        False, and no file is left, if they aren't whole. `known`: files that may be the same; then
        they are taken and nothing is copied. Raises OSError on a full disk.
        """
        same: dict[str, str] = {}  # where they are, and where they belong
        try:
            for name, digest in hit.files.items():
                target = getattr(outputs, name)
                if known and file_state_now(getattr(known, name)).digest == digest:
                    same[getattr(known, name)] = target
                elif copy_file(os.path.join(hit.path, name), target) != digest:
                    raise FileNotFoundError
            # Last: until all are whole they belong to another result, and are not ours to remove.
            for path, target in same.items():
                os.rename(path, target)
        except OSError as error:
            if isinstance(error, FileNotFoundError):  # damaged, or removed by another run
                remove_entry(hit.path)
            for name in hit.files:
                remove_file(getattr(outputs, name))
            if error.errno in NO_ROOM:  # a proof would find none either
                raise
            return False
        _mark_as_used(hit.path)
        return True

    def store(self, plan: Plan, result: Result, outputs: Outputs, inputs: Dependencies) -> None:
        """Keep a result if it would be the same again."""
        kind = self._kind_to_store(plan, result)
        if kind is None:
            return
        path = os.path.join(self._folder(inputs, plan.lemma), f"{plan.key}.{kind}")
        entry = Entry(plan, result, inputs.parts_of(plan.lemma), files={})
        self._write(path, entry, outputs._asdict())

    def store_load(self, plan: Plan, result: Result, inputs: Dependencies) -> None:
        """Remember that the prover has loaded a text; `plan`: of the load."""
        self._write(self._load_path(inputs), Entry(plan, result, parts={}, files={}), outputs={})

    def what_is_new(self, plan: Plan, inputs: Dependencies) -> str:
        """Why no stored result holds for a task: the parts of its key that no stored one has."""
        entries: list[Entry] = []
        for name in self._entries_of(inputs, plan.lemma):
            entry = self.read(name.path)
            if entry:
                entries.append(entry)
        if not entries:
            return "no result of it is stored"
        if any(entry.plan.key == plan.key for entry in entries):
            return "what is stored of it met smaller limits, or those of another host"
        known = {part for entry in entries for part in entry.parts.items()}
        new = [
            word
            for word, digest in inputs.parts_of(plan.lemma).items()
            if (word, digest) not in known
        ]
        if new:
            return f"new: {', '.join(new)}"
        return "nothing is new, but never stood together like this"

    def prune(self) -> str:
        """Keep to the size that is allowed; returns why nothing could be stored, or ""."""
        if self._stored:
            self._stored = 0
            self._stored_mb = 0.0
            left_mb = self.size_mb
            # By this field alone: to compare 100,000 tuples would hold up all other threads.
            for entry in sorted(self.entries(), key=lambda entry: entry.used, reverse=True):
                # What is too large goes alone: it must not take all that is older with it.
                if entry.size_mb < left_mb:
                    left_mb -= entry.size_mb
                else:
                    remove_entry(entry.path)
        return self.problem

    def entries(self) -> Iterator[CacheUse]:
        """What all entries take up, those included that were never finished."""
        for name in _list_directory(self.directory):
            if not _FOLDER.fullmatch(name):
                continue
            for entry in _entry_names(os.path.join(self.directory, name)):
                with suppress(OSError):  # gone meanwhile
                    yield _use_of(entry.path)

    def read(self, path: str) -> Entry | None:
        """An entry; None if it isn't there. One that makes no sense is removed."""
        try:
            with open_file(os.path.join(path, _ENTRY_FILE)) as file:
                entry = decode(Entry, STRICT_JSON.decode(file.read().decode("utf-8")))
            # The files are copied to where these names say: never trust them.
            if not os.path.basename(path).startswith(entry.plan.key):
                raise ValueError("it stands under another's key")
            if not set(entry.files) <= set(Outputs._fields):
                raise ValueError("it names files that are none of ours")
            is_completed = entry.result.status is Status.COMPLETED
            if is_completed and entry.result.verdict is None and not entry.is_load:
                raise ValueError("it has lost its verdict")
            return entry
        except OSError:  # gone meanwhile, not yet whole, or not ours to read
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            remove_entry(path)
            return None

    def _may_answer(self, name: _EntryName, plan: Plan) -> bool:
        """Whether an entry, by its name, could hold for a task."""
        if name.unfinished:
            return False
        # A limit says something about the whole file only: other lemmas take their time as well.
        if name.is_limit:
            return name.key == plan.key and name.kind.startswith(self._limits_here)
        same_lemma = plan.lemma_key != "" and name.kind == plan.lemma_key
        return name.key == plan.key or same_lemma

    def _kind_to_store(self, plan: Plan, result: Result) -> str | None:
        """Under which kind a result is kept; None if it might be another one next time."""
        if result.status in MET_A_LIMIT:
            if not _met_its_own_limit(plan, result):
                return None
            # Under others it may be met as well: less time on more cores says nothing of these.
            limits = sha256(str(encode(plan.limits)).encode())
            return f"{self._limits_here}{limits[:16]}"
        if result.status is Status.COMPLETED:
            return plan.lemma_key
        not_needed = result.status is Status.NOT_NEEDED
        return "" if not_needed or result.refused else None

    def _entries_of(self, inputs: Dependencies, lemma: str) -> list[_EntryName]:
        return _entry_names(self._folder(inputs, lemma))

    def _folder(self, inputs: Dependencies, lemma: str) -> str:
        names = json.dumps([inputs.theory, lemma])
        return os.path.join(self.directory, sha256(names.encode())[:32])

    def _load_path(self, inputs: Dependencies) -> str:
        return os.path.join(self._folder(inputs, lemma=""), f"{inputs.key}.loaded")

    def _write(self, path: str, entry: Entry, outputs: Mapping[str, str]) -> None:
        """Make an entry; a problem is kept for `prune` and ends all storing."""
        import shutil

        if self.problem:
            return
        # Under another name until it is whole, and nobody else's: other runs, on other hosts too,
        # and our own other threads may be storing the same result.
        temporary = f"{path}-{int(os.urandom(8).hex(), 16)}"
        try:
            os.makedirs(temporary)
            files: dict[str, str] = {}
            for name, output in outputs.items():
                if os.path.exists(output):
                    # The digest is of what was copied: what changes meanwhile can't deceive it.
                    files[name] = copy_file(output, os.path.join(temporary, name))
            text = json.dumps(encode(replace(entry, files=files)))
            write_file(os.path.join(temporary, _ENTRY_FILE), text)
            self._stored_mb += _use_of(temporary).size_mb
            os.rename(temporary, path)
        except OSError as error:
            # An entry that is there already was made by another run, which was faster. What is gone
            # was removed by one that keeps to its size.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) and not self._is_pruned(error):
                reason = error.strerror or error
                self.problem = f"results can't be kept in the cache {self.directory}: {reason}"
            shutil.rmtree(temporary, ignore_errors=True)
        self._stored += 1
        # At once, not in the end: a run may go on for a month.
        if self._stored > _PRUNE_AFTER or self._stored_mb > _PRUNE_GROWN * self.size_mb:
            self.prune()

    def _is_pruned(self, error: OSError) -> bool:
        """Whether something is missing below the cache's directory, but not this itself."""
        return error.errno == errno.ENOENT and os.path.isdir(self.directory)


class CacheUse(NamedTuple):
    """What an entry takes up. Those that were used last sort last."""

    used: float  # when last; seconds since 1970
    size_mb: float
    path: str


class _EntryName(NamedTuple):
    """What the name of an entry tells."""

    path: str
    key: str
    kind: str
    unfinished: bool  # another run is just making it, or was killed when it did

    @property
    def is_limit(self) -> bool:
        """Whether it tells of limits that were met."""
        return self.kind.startswith("limit-")


def _default_cache_directory() -> str:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification tells to ignore it then
        base = in_home("~/.cache")
    return os.path.join(base, "batch-tamarin")


@contextmanager
def made_theories_folder() -> Iterator[str]:
    """Where it is kept which theories commands have made, and what these said.

    Where nothing can be kept they are made again each time.
    """
    import tempfile

    try:
        folder = os.path.join(_default_cache_directory(), "made")
        os.makedirs(folder, exist_ok=True)
        is_good = os.access(folder, os.W_OK)
    except (InputError, OSError):
        is_good = False
    if is_good:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder:
        yield folder


def _list_directory(path: str) -> list[str]:
    """The names in a directory; none if it isn't there."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def _entry_names(folder: str) -> list[_EntryName]:
    """What the cache made in a folder: a directory that the user gave may hold other things."""
    names: list[_EntryName] = []
    if os.path.islink(folder):  # what is removed must not lie elsewhere
        return names
    for name in _list_directory(folder):
        found = _ENTRY.fullmatch(name)
        if found:
            path = os.path.join(folder, name)
            unfinished = found["unfinished"] is not None
            names.append(_EntryName(path, found["key"], found["kind"], unfinished))
    return names


def _use_of(path: str) -> CacheUse:
    """What an entry takes up. Raises OSError when it is gone."""
    sizes = [os.stat(os.path.join(path, name)).st_size for name in os.listdir(path)]
    return CacheUse(os.stat(path).st_mtime, sum(sizes) / MB, path)


def _mark_as_used(path: str) -> None:
    with suppress(OSError):  # a cache that others own
        os.utime(path)


def remove_entry(path: str) -> None:
    """Remove an entry of the cache, and its folder if it was the last."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


def _answers(entry: Entry, plan: Plan) -> bool:
    """Whether a stored result is that of a task.

    A verdict is also that where only lemmas changed that can't matter to it, if the prover takes
    the new text at all.
    """
    record = Record(entry.result, entry.plan)
    # Entries of limits are named by their host.
    if record.holds(plan, record.host):
        return True
    # Without a verdict the prover may have refused a text that doesn't matter to the lemma.
    same_lemma = plan.lemma_key != "" and entry.plan.lemma_key == plan.lemma_key
    return same_lemma and entry.result.verdict is not None


def _hit(entry: Entry, path: str, same_text: bool) -> Hit:
    """The result of an entry as that of a task with the same text, or the same lemma's at least."""
    old = entry.result
    result = replace(
        old,
        cached=True,
        ran=old.at,
        old_text=not same_text,
        # They may be about lemmas that are no longer there.
        warnings=old.warnings if same_text else (),
    )
    return Hit(result, path, entry.files, counts=same_text)


def _met_its_own_limit(plan: Plan, result: Result) -> bool:
    """Whether it shows that a limit was met: else the kernel or a stranger may have ended it."""
    return (
        result.status is Status.TIMEOUT
        or result.usage.peak_mb >= plan.limits.memory_mb
        or result.exit == ExitStatus(GHC_HEAP_EXHAUSTED)
    )


# === Scheduler and executors ======================================================================

FLUSH_S = 0.005  # how long a result may wait for others before it is brought to disk and shown
TRACE_CAP = 64 * MB  # a larger trace file is left as the prover wrote it
LEAST_ROOM = 65536  # bytes; with less, a file system is full
DOT_LIMITS = Limits(cores=1, memory_mb=2048, timeout_s=30)  # of drawing one trace file


class Executor(Protocol):
    """Where jobs run: on this machine it is the Supervisor."""

    @property
    def live(self) -> Mapping[str, Live]:
        """The jobs that run, by id."""

    async def run(self, job: Job, on_start: Callable[[int, int], None]) -> Outcome:
        """Run a job and return when its whole tree is gone; on_start(pid, start time)."""

    def stop(self, job_id: str, reason: str, *, status: Status = Status.INTERRUPTED) -> None:
        """End one job if it runs: its outcome gets this status and reason."""

    def interrupt(self, reason: str, at_once: bool = False) -> None:
        """Stop every job and start no other."""

    def suspend(self) -> None:
        """Hold every job, its time limit included, until `resume`."""

    def resume(self) -> None:
        """Let every held job go on."""


# --- The scheduler --------------------------------------------------------------------------------


class Room:
    """The cores and the memory (MB) that jobs share.

    Two semaphores that are taken together: no job holds one and waits for the other.
    """

    def __init__(self, cores: int, memory_mb: int) -> None:
        self.cores = cores
        self.memory_mb = memory_mb

    def fits(self, limits: Limits) -> bool:
        """Whether a job with these limits may start now."""
        return limits.cores <= self.cores and limits.memory_mb <= self.memory_mb

    def places(self, limits: Limits) -> int:
        """How many jobs with these limits may start now."""
        return min(self.cores // limits.cores, self.memory_mb // limits.memory_mb)

    def take(self, limits: Limits) -> None:
        """A job with these limits starts."""
        self.cores -= limits.cores
        self.memory_mb -= limits.memory_mb

    def give(self, limits: Limits) -> None:
        """Such a job has ended, and nothing of it is left."""
        self.cores += limits.cores
        self.memory_mb += limits.memory_mb


# Does the work of one job; returns whether the job's room is free again (it is not while processes
# are left that can't be killed).
Work = Callable[[], Awaitable[bool]]


class Waiting(NamedTuple):
    """Work that waits until its limits fit into the room."""

    limits: Limits
    work: Work
    priority: int = 0  # the highest first


# Of loads of theories: the results of many tasks may wait for one.
BEFORE_ALL_PROOFS = sys.maxsize


class _Queue(NamedTuple):
    """What all that waits in one queue has in common, so that none of it overtakes another."""

    priority: int
    limits: Limits


class Scheduler:
    """One coroutine per job, each begun as soon as its limits fit into the room, in order.

    That is the order of their priorities; of equal ones what was added first comes first. A job
    that fits may overtake one that doesn't. When the first waiting one has been overtaken for
    as long as its own timeout, nothing else starts until it does: with limits capped to the whole
    room, nothing can wait for ever. (Limits are poor estimates of run times: reserving by them, as
    EASY backfilling does, doubled the makespan in simulations.)
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.stopped = False  # for ever: what is added later does not start
        # There are few to look through. What waits stands there with its place in the order of all
        # of equal priority.
        self._queues: dict[_Queue, deque[tuple[int, Work]]] = {}
        self._places = itertools.count()
        # The first waiting place when it was first overtaken, and when that was.
        self._overtaken_place = -1
        self._overtaken_since = 0.0
        # What runs. The event loop itself holds no reference to it.
        self._jobs: set[asyncio.Future[None]] = set()
        self._error: BaseException | None = None

    async def run(self, items: Iterable[Waiting]) -> None:
        """Work on these and all that is added meanwhile, until the last job has ended.

        Raises what a job raised, or what `fail` was told.
        """
        import asyncio

        waiting = iter(items)
        while True:
            piece = list(itertools.islice(waiting, 1_000))
            if not piece:
                break
            self.add(piece)
            await asyncio.sleep(0)  # 100,000 of them take a second
        while self._jobs:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
        if self._error:
            raise self._error

    def add(self, items: Iterable[Waiting]) -> None:
        """Let these wait for room, behind what waits already with the same priority.

        Not when it has been stopped.
        """
        if self.stopped:
            return
        for limits, work, priority in items:
            queue = self._queues.setdefault(_Queue(priority, limits), deque())
            queue.append((next(self._places), work))
        self._start_what_fits()

    def stop(self) -> None:
        """Start nothing new."""
        self.stopped = True
        self._queues.clear()

    def fail(self, error: BaseException) -> None:
        """Start nothing new, and let `run` raise this when the jobs have ended."""
        self._error = self._error or error
        self.stop()

    def _start_what_fits(self) -> None:
        import asyncio

        while True:
            item = self._take_next()
            if item is None:
                return
            self.room.take(item.limits)
            self._jobs.add(asyncio.ensure_future(self._job(item)))

    def _take_next(self) -> Waiting | None:
        """The first waiting item that may start now, taken out of its queue."""
        # Within a queue nobody overtakes: only its first may start.
        kinds = sorted(self._queues, key=self._order_of)
        if not kinds:
            return None
        first_place = self._queues[kinds[0]][0][0]
        if self._is_starving(first_place, kinds[0].limits.timeout_s):
            del kinds[1:]
        for kind in kinds:
            if not self.room.fits(kind.limits):
                continue
            queue = self._queues[kind]
            place, work = queue.popleft()
            if not queue:
                del self._queues[kind]
            if place != first_place and self._overtaken_place != first_place:
                self._overtaken_place = first_place
                self._overtaken_since = time.monotonic()
            return Waiting(kind.limits, work, kind.priority)
        return None

    def _order_of(self, kind: _Queue) -> tuple[int, int]:
        """The highest priority comes first, then what was added first."""
        place, _ = self._queues[kind][0]
        return -kind.priority, place

    def _is_starving(self, place: int, timeout_s: float) -> bool:
        """Whether the first waiting item has been overtaken for as long as its own timeout."""
        overtaken_s = time.monotonic() - self._overtaken_since
        return place == self._overtaken_place and overtaken_s >= timeout_s

    async def _job(self, item: Waiting) -> None:
        """Do the work of one item, then start what fits into the room that it leaves."""
        import asyncio

        try:
            # What failed keeps its room as well: nobody knows what it left running.
            if await item.work():
                self.room.give(item.limits)
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it in the end
            self.fail(error)
        except asyncio.CancelledError:  # the event loop ends: nothing may start any more
            self.stop()
            raise
        finally:
            self._jobs.discard(cast("asyncio.Future[None]", asyncio.current_task()))
            self._start_what_fits()


# What tasks took before, in a process of their own, by their ids.
PastUsages = Mapping[str, Usage]


def in_order(tasks: Iterable[Task], scheduler: str, past: PastUsages) -> list[Task]:
    """Waiting tasks in the order in which they should start.

    `fifo`: as planned. `sjf`, `ljf`: smallest or largest first, by cores + GB asked for.
    `history`: what took longest before comes first, what never ended before that. A higher priority
    comes before all that.
    """
    ordered = list(tasks)
    if scheduler == "history":
        ordered.sort(key=lambda task: _past_seconds(task, past), reverse=True)
    elif scheduler != "fifo":
        ordered.sort(key=_size_asked_for, reverse=scheduler == "ljf")
    # Of equal priority they stay as they are.
    ordered.sort(key=lambda task: -task.plan.priority)
    return ordered


def _size_asked_for(task: Task) -> float:
    limits = task.plan.limits
    return limits.cores + limits.memory_mb / 1024


def _past_seconds(task: Task, past: PastUsages) -> float:
    """What a task took before; what is not known may be the longest of all."""
    usage = past.get(task.id)
    return usage.wall_s if usage else math.inf


def past_usages(tasks: Iterable[Task], batch: Batch, cache: Cache | None) -> dict[str, Usage]:
    """What tasks took before, by the journal and the cache: what is known, by their ids."""
    past: dict[str, Usage] = {}
    for task in tasks:
        usage = _journalled_usage(task)
        if usage is None and cache:
            usage = cache.past_usage(task.plan, batch.dependencies[task.plan.view])
        if usage:
            past[task.id] = usage
    return past


def _journalled_usage(task: Task) -> Usage | None:
    """What the newest result of a task took that tells."""
    for record in (task.record, *reversed(task.earlier)):
        if record and record.result.tells_time:
            return record.result.usage
    return None


# --- From waiting to finished ---------------------------------------------------------------------


class TaskHit(NamedTuple):
    """A task, and the stored result that holds for it."""

    task: Task
    hit: Hit


class Runner:
    """Brings tasks from waiting to finished: from the cache, or through prover and reader."""

    def __init__(
        self,
        directory: str,
        journal: Journal,
        executor: Executor,
        cache: Cache | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`tell`: wants to know why a task is not in the cache."""
        self.directory = directory
        self.batch = journal.batch
        self.executor = executor
        limits = self.batch.header.limits
        self.scheduler = Scheduler(Room(limits.cores, limits.memory_mb))
        self.signals = StopSignals(self.scheduler, executor)
        self.recorder = Recorder(journal, self._give_up)
        self.files = AttemptFiles(directory)
        self.prover_runs = ProverRuns(self.batch, directory, executor, self.recorder)
        self.past: PastUsages = {}
        self.cached: CachedResults | None = None
        if cache:
            self.cached = CachedResults(cache, self.batch, self.files, self.recorder, tell)

    async def run(self, tasks: Iterable[Task], again: bool = False) -> None:
        """Run these tasks, under the signals that a user or a system sends.

        `again`: they are proven anew, whatever is stored. Raises StorageError when results can't
        be written any more.
        """
        self.signals.listen()
        keep_loop_punctual()
        try:
            with storage_errors(self.directory):
                await self._run(tasks, again)
            if not self.signals.stopped_by:
                await draw_traces(self.directory, self.executor, self.batch.header.limits)
        finally:
            await self.recorder.flush()

    async def _fail_unreadable(self, tasks: Iterable[Task]) -> list[Task]:
        """Record that these can't run whose theory can't be read; returns the others."""
        import asyncio

        readable: list[Task] = []
        for task in tasks:
            reason = task.plan.unreadable
            if not reason:
                readable.append(task)
                continue
            result = Result(Status.FAILED, reason=reason, at=timestamp())
            await asyncio.to_thread(self.files.set_aside, task)  # of an earlier attempt
            self.recorder.record(Finished(task.id, task.id, task.attempts + 1, result))
        return readable

    async def _run(self, tasks: Iterable[Task], again: bool) -> None:
        missing = await self._fail_unreadable(tasks)
        loads: list[list[TaskHit]] = []
        if self.cached and not again:
            missing, loads = await self._ask_cache(self.cached, missing)
        held = [each.task for hits in loads for each in hits]
        self.past = await self._look_up_past([*missing, *held])
        ordered = in_order(missing, self.batch.header.scheduler, self.past)
        waiting = itertools.chain(map(self._loading, loads), self._waiting(ordered))
        await self.scheduler.run(waiting)

    async def _look_up_past(self, tasks: Sequence[Task]) -> PastUsages:
        """What these tasks took before, of those for which it matters."""
        import asyncio

        if self.batch.header.scheduler != "history":
            tasks = [task for task in tasks if task.plan.granularity is Granularity.THEORY]
        cache = self.cached.cache if self.cached else None
        return await asyncio.to_thread(past_usages, tasks, self.batch, cache)

    async def _ask_cache(
        self, cached: CachedResults, tasks: Iterable[Task]
    ) -> tuple[list[Task], list[list[TaskHit]]]:
        """Restore what counts now; returns what is not stored, and the hits that wait for a load.

        Those that wait for the same load are one list.
        """
        import asyncio

        missing: list[Task] = []
        held: dict[TheoryView, list[TaskHit]] = {}
        waiting = deque(tasks)
        while waiting:
            await asyncio.sleep(0)  # for signals, and for the screen
            if self.scheduler.stopped:
                break
            task = waiting.popleft()
            hit = await cached.find(task.plan)
            if hit and not hit.counts:
                held.setdefault(task.plan.view, []).append(TaskHit(task, hit))
            elif not hit or not await cached.restore(task, hit):
                missing.append(task)
            elif self._raise_limit(task):
                waiting.appendleft(task)  # larger limits may have been met before, too
        return missing, list(held.values())

    def _waiting(self, tasks: Sequence[Task]) -> Iterator[Waiting]:
        """The work on these tasks, in their order; those that may share processes wait as one."""
        for group in groups_to_share(tasks, self.past):
            if len(group) > 1:
                yield self._sharing(group)
            else:
                yield self._proving(group[0])

    def _raise_limit(self, task: Task) -> bool:
        """Raise the limit that a task has just met, if that was asked for; whether it runs again.

        Not when the batch is being stopped: it is raised when the batch goes on.
        """
        header = self.batch.header
        if not task.record or self.scheduler.stopped:
            return False
        plan = raised_plan(task.plan, task.record, header.limits, header.options.retry)
        if plan:
            self.recorder.record(plan)
        return plan is not None

    def _proving(self, task: Task) -> Waiting:
        plan = task.plan
        return Waiting(plan.limits, lambda: self._work(self._prove(task)), plan.priority)

    def _sharing(self, tasks: Sequence[Task]) -> Waiting:
        plan = tasks[0].plan
        return Waiting(plan.limits, lambda: self._work(self._share(tasks)), plan.priority)

    def _proving_part(self, tasks: Sequence[Task]) -> Waiting:
        plan = tasks[0].plan
        return Waiting(plan.limits, lambda: self._work(self._prove_part(tasks)), plan.priority)

    def _loading(self, hits: list[TaskHit]) -> Waiting:
        limits = hits[0].task.plan.limits
        return Waiting(limits, lambda: self._work(self._load(hits)), BEFORE_ALL_PROOFS)

    async def _work(self, job: Awaitable[Outcome]) -> bool:
        """Await a job, and all that its outcome brings; whether its room is free again."""
        try:
            outcome = await job
        except (OSError, StorageError) as error:
            self._give_up(error)
            return True
        return not outcome.unkillable

    async def _prove(self, task: Task) -> Outcome:
        """One attempt at one task."""
        import asyncio

        run = self.prover_runs.proving(task)
        # Logs are appended to: the summary of an earlier attempt must not be taken for this one's.
        if task.attempts:  # before the first one `settle` has left nothing in its place
            await asyncio.to_thread(self.files.set_aside, task)
        outcome = await self.prover_runs.run(run)
        result = await asyncio.to_thread(read_result, run, outcome)
        self.recorder.record(Finished(task.id, run.job.id, run.job.attempt, result))
        if self.cached:
            self.cached.keep(run, result)
        if self._raise_limit(task):
            self.scheduler.add([self._proving(task)])  # behind what waits already
        return outcome

    async def _share(self, tasks: Sequence[Task]) -> Outcome:
        """Prove tasks in as many processes as there is room for now: in this room, and beside."""
        more_places = self.scheduler.room.places(tasks[0].plan.limits)
        own, *others = parts_to_share(tasks, 1 + more_places, self.past)
        self.scheduler.add(map(self._proving_part, others))
        return await self._prove_part(own)

    async def _prove_part(self, tasks: Sequence[Task]) -> Outcome:
        """One attempt at tasks in one process; those without an answer run alone after that."""
        import asyncio

        if len(tasks) == 1:
            return await self._prove(tasks[0])
        shared = self.prover_runs.sharing(tasks)
        for task in tasks:
            if task.attempts:
                await asyncio.to_thread(self.files.set_aside, task)
        run_all = self.prover_runs.run(shared.runs[0])
        outcome = await within_budget(self.executor, shared.job, run_all)
        results = await asyncio.to_thread(read_shared_results, shared, outcome)
        await asyncio.to_thread(self.files.put_away, shared, results)
        job = shared.job
        for run, result in zip(shared.runs, results):
            self.recorder.record(Finished(run.plan.id, job.id, job.attempt, result))
            if self.cached:
                self.cached.keep(run, result)
        alone = [task for task in tasks if task.runs_alone]
        self.scheduler.add(map(self._proving, alone))
        return outcome

    async def _load(self, hits: list[TaskHit]) -> Outcome:
        """Load a theory without proving: if the prover takes its text the hits on it count.

        If it doesn't, or if what was stored is damaged, the lemmas are proven.
        """
        import asyncio

        cached = cast(CachedResults, self.cached)
        run = self.prover_runs.loading(hits[0].task)
        # Of a driver that was killed: logs are appended to.
        await asyncio.to_thread(remove_outputs, run.outputs)
        outcome = await self.prover_runs.run(run)
        load = await asyncio.to_thread(read_load, run, outcome)
        await asyncio.to_thread(remove_outputs, run.outputs)
        if load:
            await cached.keep_load(run, load)
        missing: list[Task] = []
        for task, hit in hits:
            if not load or not await cached.restore(task, hit.after_load(load)):
                missing.append(task)
        # A batch that was stopped meanwhile adds nothing: these tasks stay pending.
        self.scheduler.add(self._waiting(missing))
        return outcome

    def _give_up(self, error: Exception) -> None:
        """What happens can't be recorded any more: end everything, let `run` raise the error."""
        self.scheduler.fail(error)
        self.executor.interrupt("the results can't be written any more")


def keep_loop_punctual() -> None:
    """Let other threads, and the collector of garbage, hold up the event loop as little as can be.

    Limits hold, signals are answered and the screen is drawn by it alone.
    """
    import gc

    # A thread that computes gives way so soon. The loop gives way with every file that it looks at:
    # by Python's 5 ms it would get through one look at a job in 50.
    sys.setswitchinterval(0.0005)
    # What was planned stays until the end: to look through it takes 0.2 s for 100,000 tasks.
    gc.freeze()


class StopSignals:
    """What signals do to a running batch.

    The first SIGINT, SIGTERM or SIGHUP starts nothing new and ends what runs, a second one kills at
    once. Ctrl-Z holds every job, then this process.
    """

    def __init__(self, scheduler: Scheduler, executor: Executor) -> None:
        self.scheduler = scheduler
        self.executor = executor
        self.stopped_by = 0  # the number of the first signal

    def listen(self) -> None:
        """Answer to signals from now on, but not to those that we were started to ignore."""
        import asyncio

        loop = asyncio.get_running_loop()
        for number in STOPPING_SIGNALS:
            if not is_ignored(number):
                loop.add_signal_handler(number, self._interrupt, number)
        if not is_ignored(signal.SIGTSTP):
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)

    def _interrupt(self, number: signal.Signals) -> None:
        self.scheduler.stop()  # first: a job that ends now must not make room for another
        reason = f"stopped by {signal.Signals(number).name}"
        if self.stopped_by:
            self.executor.interrupt(reason, at_once=True)
            return
        self.stopped_by = number
        jobs = plural(len(self.executor.live), "job")
        say(f"stopping: {jobs} to end within {GRACE_S:g} s; once more kills at once")
        self.executor.interrupt(reason)

    def _suspend(self) -> None:
        """This process goes on from here, and its jobs with it, when it is told to."""
        self.executor.suspend()
        # Not SIGTSTP: our own handler has taken its place.
        os.kill(os.getpid(), signal.SIGSTOP)
        self.executor.resume()


class Recorder:
    """Writes events to the journal at once, and flushes it in a moment.

    Results that come in quick succession share one flush.
    """

    def __init__(self, journal: Journal, on_error: Callable[[Exception], None]) -> None:
        """`on_error` is called when a flush fails."""
        self.journal = journal
        self._on_error = on_error
        self._host, self._boot_id = host_id()
        self._flushing: asyncio.Future[None] | None = None

    def record(self, event: Event) -> None:
        """Write and apply an event. Raises StorageError."""
        import asyncio

        self.journal.record(event)
        if self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush())

    def record_start(self, job: Job, pid: int, started: int) -> None:
        """Record that a job runs as this process; `started`: what `process_start` tells of it."""
        event = Started(
            ids=job.task_ids,
            job=job.id,
            attempt=job.attempt,
            pid=pid,
            started=started,
            host=self._host,
            boot_id=self._boot_id,
            command=job.command,
            at=timestamp(),
        )
        self.record(event)

    async def flush(self) -> None:
        """Bring to disk what was recorded, and let it be shown. Raises StorageError."""
        if self._flushing:
            await self._flushing
        self.journal.flush()

    async def _flush(self) -> None:
        """The same in a moment, and again while there is something new; one at a time."""
        import asyncio

        try:
            while self.journal.has_news:
                await asyncio.sleep(FLUSH_S)
                # A disk that is busy may take seconds.
                count = await asyncio.to_thread(self.journal.bring_to_disk)
                self.journal.tell(count)
        except (OSError, StorageError) as error:
            self._on_error(error)
        finally:
            self._flushing = None


# --- Shared processes -----------------------------------------------------------------------------

SHARED = "~shared"  # behind the id of its first task: the id of a job that serves several
# What a shared process may take: so many times what it took to load, and so long beside.
BUDGET_LOADS = 2
BUDGET_S = 60.0
PAUSE_S = 1.0  # a prover that says nothing for so long has got to proving


def groups_to_share(tasks: Sequence[Task], past: PastUsages) -> Iterator[list[Task]]:
    """Tasks in their order, those that may share processes together: where their first one is."""
    # Decided once: tasks end while others are still looked at.
    keys = [_key_to_share(task, past) for task in tasks]
    groups: dict[Hashable, list[Task]] = {}
    for task, key in zip(tasks, keys):
        if key is not None:
            groups.setdefault(key, []).append(task)
    for task, key in zip(tasks, keys):
        if key is None:
            yield [task]
        elif key in groups:
            yield groups.pop(key)


def _key_to_share(task: Task, past: PastUsages) -> Hashable | None:
    """What a task has in common with those that it is to share processes with; None: with none."""
    wanted = task.plan.granularity is Granularity.THEORY
    if not wanted or not could_share(task, past.get(task.id)):
        return None
    return sharing_key(task.plan)


def sharing_key(plan: Plan) -> Hashable:
    """What tasks must have in common to share a process."""
    return (plan.entry, plan.view, plan.prove, plan.limits, plan.priority)


def could_share(task: Task, past: Usage | None) -> bool:
    """Whether a task could, if that was wanted; `past`: what it took before, in its own process."""
    plan = task.plan
    # To ask for a lemma that Tamarin makes itself would add a warning to the results of all others.
    if task.runs_alone or is_generated(plan):
        return False
    return past is None or past.wall_s <= budget_of(past.load_s or 0.0, plan.limits)


def budget_of(load_s: float, limits: Limits) -> float:
    """For how many seconds a shared process may run that took so long to load its theory."""
    return min(limits.timeout_s, BUDGET_LOADS * load_s + BUDGET_S)


@dataclass
class _Part:
    """Tasks that are to share one process."""

    tasks: list[Task] = field(default_factory=list)
    proofs_s: float = 0.0  # what their proofs are expected to take


def parts_to_share(tasks: Sequence[Task], places: int, past: PastUsages) -> list[list[Task]]:
    """Tasks in parts of about equal times, one for each place, each to be proven in one process.

    There are more parts than places where fewer would not keep to their budget.
    """
    usages = [past[task.id] for task in tasks if task.id in past]
    known = list(map(_proof_seconds, usages))
    mean_s = sum(known) / max(1, len(known))
    load_s = max((usage.load_s or 0.0 for usage in usages), default=0.0)
    most_s = budget_of(load_s, tasks[0].plan.limits) - load_s

    def expected_s(task: Task) -> float:
        return _proof_seconds(past[task.id]) if task.id in past else mean_s

    parts = [_Part() for _ in range(min(places, len(tasks)))]
    for task in sorted(tasks, key=expected_s, reverse=True):
        part = min(parts, key=lambda part: (part.proofs_s, len(part.tasks)))
        if part.tasks and part.proofs_s + expected_s(task) > most_s:
            part = _Part()
            parts.append(part)
        part.tasks.append(task)
        part.proofs_s += expected_s(task)
    return [part.tasks for part in parts]


def _proof_seconds(usage: Usage) -> float:
    """What a proof took without the load of its theory, where that is known."""
    return usage.wall_s - (usage.load_s or 0.0)


async def within_budget(executor: Executor, job: Job, work: Awaitable[Outcome]) -> Outcome:
    """Await a shared process, and end it when it had better be several: as at its time limit.

    A prover prints its summary in the end: what takes too long for one lemma is lost for all.
    """
    import asyncio

    watch = asyncio.ensure_future(_hold_to_budget(executor, job))
    try:
        return await work
    finally:
        watch.cancel()


async def _hold_to_budget(executor: Executor, job: Job) -> None:
    before: list[str] = []
    told: list[str] = []
    loaded_s = 0.0
    # Sources are computed more than once: it has loaded when it has said so, and then nothing.
    while told != before or not told or told[-1] != SOURCES_DONE:
        loaded_s = await _seconds_run(executor, job)
        before = told
        told = phases_told(job.stderr)
    budget_s = budget_of(loaded_s, job.limits)
    while await _seconds_run(executor, job) < budget_s:
        pass
    executor.stop(job.id, f"it met its budget of {budget_s:.3g} s", status=Status.TIMEOUT)


async def _seconds_run(executor: Executor, job: Job) -> float:
    """For how long a job has run, after a pause; by its own clock, which may be held."""
    import asyncio

    while True:
        await asyncio.sleep(PAUSE_S)
        live = executor.live.get(job.id)
        if live:  # it has begun
            return time.monotonic() - live.started


class SharedRun(NamedTuple):
    """One run of a prover for several tasks."""

    job: Job
    outputs: Outputs  # where the prover leaves its files
    runs: Sequence[ProverRun]  # of each task, with its own outputs


def read_shared_results(shared: SharedRun, outcome: Outcome) -> list[Result]:
    """What came of each task of a shared process, the files of each settled and on disk.

    What has no verdict runs alone, as only a process of its own can tell why; unless the batch was
    stopped. Raises OSError on a full disk, StorageError.
    """
    outputs = shared.outputs
    try:
        output = read_output(outputs.stdout, outputs.stderr)
    except OSError as error:
        output = ProverOutput()
        reason = f"its output can't be read: {error.strerror}"
        outcome = outcome._replace(status=Status.FAILED, reason=reason)
    results: list[Result] = []
    for run in shared.runs:
        result = judge(run.plan, outcome, output, outputs.proof)
        result = replace(result, shared_by=len(shared.runs))
        if result.status is Status.COMPLETED:
            result = _with_own_files(shared, run, result, output)
        elif result.status is Status.FAILED and is_full(os.path.dirname(outputs.proof)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), outputs.proof)
        if result.status not in (Status.COMPLETED, Status.INTERRUPTED):
            result = run_alone(result)
        results.append(result)
    return results


def _with_own_files(
    shared: SharedRun, run: ProverRun, result: Result, output: ProverOutput
) -> Result:
    """The result of a task, with copies of what its process left, the traces of its lemma alone.

    Raises OSError on a full disk, StorageError.
    """
    try:
        for source, target in zip(shared.outputs, run.outputs):
            remove_file(target)
            with suppress(FileNotFoundError):  # no prover writes all of them
                copy_file(source, target)
        keep_outputs(run.plan, result, run.outputs, output)
        flush_evidence(run.outputs)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        remove_outputs(run.outputs)
        reason = f"its files can't be kept: {error.strerror}"
        return replace(result, status=Status.FAILED, reason=reason)
    return result


def run_alone(result: Result) -> Result:
    """What is said of a task whose shared process gave it no verdict: nothing about the task."""
    reason = f"runs alone: in a process shared by {result.shared_by:,}, {result.reason}"
    return Result(
        Status.INTERRUPTED,
        trait=result.trait,
        exit=result.exit,
        usage=result.usage,
        shared_by=result.shared_by,
        runs_alone=True,
        reason=reason,
        at=result.at,
    )


# --- Provers at work ------------------------------------------------------------------------------


class ProverRun(NamedTuple):
    """One run of a prover: what for, on which files, as which job, and where its own files go."""

    plan: Plan
    inputs: Dependencies
    job: Job
    outputs: Outputs


class ProverRuns:
    """The runs of provers in one batch."""

    def __init__(
        self, batch: Batch, directory: str, executor: Executor, recorder: Recorder
    ) -> None:
        self.batch = batch
        self.directory = directory
        self.executor = executor
        self.recorder = recorder
        # Once for each prover: it copies our whole environment.
        self._environments = {
            alias: prover_environment(prover) for alias, prover in batch.provers.items()
        }

    def proving(self, task: Task) -> ProverRun:
        """The next attempt at a task."""
        return self._prepare(task.plan, task.id, task.attempts + 1, (task.id,))

    def sharing(self, tasks: Sequence[Task]) -> SharedRun:
        """The next attempt at several tasks, which may share a process, in one."""
        first = tasks[0].plan
        attempt = max(task.attempts for task in tasks) + 1
        ids = tuple(task.id for task in tasks)
        others = [task.plan.lemma for task in tasks[1:]]
        own = self._prepare(first, first.id + SHARED, attempt, ids, others)
        runs: list[ProverRun] = []
        for task in tasks:
            outputs = result_files(self.directory, task.id)
            runs.append(own._replace(plan=task.plan, outputs=outputs))
        return SharedRun(own.job, own.outputs, runs)

    def loading(self, task: Task) -> ProverRun:
        """Loading a task's theory without proving: it serves no task by itself."""
        inputs = self.batch.dependencies[task.plan.view]
        # Without a lemma, under the key of the whole text: one load is good for all its lemmas.
        plan = replace(task.plan, lemma="", prove=False, key=inputs.key, lemma_key="")
        return self._prepare(plan, f"{task.id}~load", 1, task_ids=())

    def _prepare(
        self,
        plan: Plan,
        job_id: str,
        attempt: int,
        task_ids: tuple[str, ...],
        others: Sequence[str] = (),
    ) -> ProverRun:
        """`others`: the lemmas that it proves beside that of the plan."""
        prover = self.batch.provers[plan.prover]
        outputs = result_files(self.directory, job_id)
        job = Job(
            id=job_id,
            attempt=attempt,
            command=prover_command(prover, plan, outputs, others),
            cwd=plan.cwd,
            env=self._environments[prover.alias],
            limits=plan.limits,
            stdout=outputs.stdout,
            stderr=outputs.stderr,
            task_ids=task_ids,
        )
        return ProverRun(plan, self.batch.dependencies[plan.view], job, outputs)

    async def run(self, run: ProverRun) -> Outcome:
        """Run a prover, on what was planned and nothing else.

        What read other files would stand under a wrong key: it is `interrupted`.
        """
        # What is edited while tasks wait, perhaps for days, is no longer what their keys say.
        changed = await changed_input(run.plan, run.inputs)
        if changed:
            return Outcome(Status.INTERRUPTED, reason=changed)
        began = time.time()
        on_start = functools.partial(self.recorder.record_start, run.job)
        outcome = await self.executor.run(run.job, on_start)
        load_s = load_seconds(run.job.stderr, began, outcome.usage.wall_s)
        outcome = outcome._replace(usage=replace(outcome.usage, load_s=load_s))
        # Once more: it may have read a file before or after an edit.
        changed = await changed_input(run.plan, run.inputs)
        if changed:
            return outcome._replace(status=Status.INTERRUPTED, reason=changed)
        return outcome


async def changed_input(plan: Plan, inputs: Dependencies) -> str:
    """Why what the prover reads now is not what was planned; "" if it is."""
    import asyncio

    for path, planned in list(inputs.files.items()):
        stamp = file_stamp(path)
        if stamp == planned.stamp:
            continue
        if not stamp and path not in inputs.sources:
            continue  # a program: what runs has been started, what will run is missed then
        if not stamp:
            # What it was before it went, when a prover may have read it, nobody can tell.
            return f"{path_from(path, plan.cwd)} is gone since the batch was planned"
        # It was only touched, perhaps: the bytes tell. In a thread, as a prover may be large.
        state = await asyncio.to_thread(file_state_now, path)
        same_mode = planned.executable in ("", state.executable)
        if state.digest != planned.digest or not same_mode:
            file = path_from(path, plan.cwd)
            return f"{file} changed since the batch was planned: run it again"
        inputs.files[path] = planned._replace(stamp=state.stamp)
    return ""


def read_result(run: ProverRun, outcome: Outcome) -> Result:
    """What came of an attempt, its files settled and on disk.

    Raises OSError on a full disk, StorageError.
    """
    outputs = run.outputs
    try:
        output = read_output(outputs.stdout, outputs.stderr, run.plan.lemma)
        result = judge(run.plan, outcome, output, outputs.proof)
        if result.status is Status.FAILED and is_full(os.path.dirname(outputs.proof)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), outputs.proof)
        keep_outputs(run.plan, result, outputs, output)
        flush_evidence(outputs)
    except OSError as error:
        if error.errno in NO_ROOM:  # no fault of the task: it runs again when there is room
            raise
        # Too many open files, perhaps: the next task may have better luck.
        reason = f"its output can't be read: {error.strerror}"
        failed = outcome._replace(status=Status.FAILED, reason=reason)
        return judge(run.plan, failed, ProverOutput(), proof="")
    return result


def is_full(folder: str) -> bool:
    """Whether there is no room: a prover that can't write says so by its exit code at most."""
    space = os.statvfs(folder)
    free_bytes = space.f_bavail * space.f_frsize
    # Some file systems don't tell, not even how large they are.
    return space.f_blocks > 0 and free_bytes < LEAST_ROOM


def flush_evidence(outputs: Outputs) -> None:
    """Bring to disk what a result rests on, before the journal tells of it. Raises StorageError."""
    for path in (outputs.proof, outputs.trace_json, outputs.trace_dot):
        flush_to_disk(path)


def read_load(run: ProverRun, outcome: Outcome) -> Result | None:
    """What came of loading a theory; None unless the prover said that it has loaded it.

    It has when it says `Theory closed`, even if it meets its limit after that (in the search for
    proofs that are stored in the text, say), or when it prints a summary (before 1.8, it says no
    more than that).
    """
    if not _ended_without_error(outcome):
        return None
    try:
        output = read_output(run.outputs.stdout, run.outputs.stderr)
        if not output.summary and not has_loaded(run.outputs.stderr):
            return None
        # They are about the text as it is now. What a hit's own proof was warned of may be gone.
        warnings = tuple(prover_warnings(run.plan, output, run.outputs.proof))
        if not output.summary:  # it would tell how many checks failed
            warnings = (*warnings, UNKNOWN_CHECKS)
    except OSError:  # what can't be read has told nothing: the lemmas are proven
        return None
    return Result(Status.COMPLETED, exit=outcome.exit, warnings=warnings, at=timestamp())


def _ended_without_error(outcome: Outcome) -> bool:
    """Whether a prover ended well, or by a limit: what it says with an error may be half of it."""
    if outcome.status in MET_A_LIMIT:
        return True
    good_ends = (ExitStatus(0), ExitStatus(GHC_HEAP_EXHAUSTED))
    return outcome.status is Status.COMPLETED and outcome.exit in good_ends


class CachedResults:
    """What the cache answers for the tasks of one batch. Its files may be large: threads copy."""

    def __init__(
        self,
        cache: Cache,
        batch: Batch,
        files: AttemptFiles,
        recorder: Recorder,
        tell: Callable[[str], None] | None,
    ) -> None:
        """`tell`: wants to know why a task is not in the cache."""
        self.cache = cache
        self.batch = batch
        self.files = files
        self.recorder = recorder
        self.tell = tell
        # What is stored of the load of each text: looked up once, though many hits rest on it.
        self._loads: dict[TheoryView, Result | None] = {}

    async def find(self, plan: Plan) -> Hit | None:
        """The stored result that holds for a task, if nothing changed since it was planned."""
        import asyncio

        inputs = self.batch.dependencies[plan.view]
        if await changed_input(plan, inputs):
            return None
        hit = self.cache.find(plan, inputs)
        if not hit and self.tell:
            reason = await asyncio.to_thread(self.cache.what_is_new, plan, inputs)
            self.tell(f"not in the cache: {plan.id}: {reason}")
        if hit is None or hit.counts:
            return hit
        if plan.view not in self._loads:
            self._loads[plan.view] = self.cache.find_load(inputs)
        load = self._loads[plan.view]
        return hit.after_load(load) if load else hit

    async def restore(self, task: Task, hit: Hit) -> bool:
        """Make a stored result that of a task; False if it is damaged. Raises StorageError."""
        import asyncio

        restored = await asyncio.to_thread(self._restore_files, task, hit)
        if restored:
            result = replace(hit.result, at=timestamp())
            # A number of its own: evidence is kept by it.
            self.recorder.record(Finished(task.id, task.id, task.attempts + 1, result))
        return restored

    def _restore_files(self, task: Task, hit: Hit) -> bool:
        """Put the files of a stored result into their place; False if they aren't whole."""
        self.files.set_aside(task)  # of an attempt that failed
        outputs = result_files(self.files.directory, task.id)
        known = self.files.earlier_outputs(task)
        restored = self.cache.restore(hit, outputs, known)
        if restored:
            flush_evidence(outputs)
        return restored

    def keep(self, run: ProverRun, result: Result) -> None:
        """Store a result while other things go on; the end of the event loop waits for that."""
        import asyncio

        asyncio.get_running_loop().run_in_executor(
            None, self.cache.store, run.plan, result, run.outputs, run.inputs
        )

    async def keep_load(self, run: ProverRun, load: Result) -> None:
        """Remember that the prover has loaded a text."""
        import asyncio

        await asyncio.to_thread(self.cache.store_load, run.plan, load, run.inputs)


# --- The files of an attempt ----------------------------------------------------------------------


class AttemptFiles:
    """What attempts have left in a results directory: logs, proofs and traces.

    In its own place stands what belongs to a task's result, and nothing else. In earlier/ stands,
    as ID~ATTEMPT, what belongs to results that were replaced. Nothing is written over.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self.earlier = os.path.join(self.directory, "earlier")

    def settle(self, batch: Batch) -> None:
        """Bring everything to where it belongs: plans may have changed, a driver may have died.

        Raises OSError.
        """
        present = set(self._present_ids())
        kept: dict[str, list[str]] = {}
        for name in _names_in(self.earlier):
            found = _EVIDENCE.fullmatch(name)
            if found:
                kept.setdefault(found["stem"], []).append(found["ending"])
        for task in batch.withdrawn.values():
            if task.id in present:
                self.set_aside(task)
        for stem in present:
            first_id = stem.removesuffix(SHARED)
            if first_id != stem:
                first = batch.tasks.get(first_id)
                self._move_away(stem, first.attempts if first else 0)
        for task in batch.tasks.values():
            if task.record is None:
                if task.id in present:
                    self._move_away(task.id, task.left_by)
                continue
            own = f"{task.id}~{task.record.attempt}"
            endings = kept.get(own, [])
            # Its log can't be in two places: what stands in its place is of another attempt. If it
            # isn't, a driver died when it had moved some of the files.
            if any(os.path.lexists(self._path(task.id, ending)) for ending in endings):
                self._move_away(task.id, task.left_by)
            for ending in endings:
                os.rename(self._earlier_path(own, ending), self._path(task.id, ending))

    def set_aside(self, task: Task) -> None:
        """Make room for another attempt at a task. Raises OSError."""
        self._move_away(task.id, task.record.attempt if task.record else task.left_by)

    def put_away(self, shared: SharedRun, results: Iterable[Result]) -> None:
        """Take away what a shared process left: each result has copies. Raises OSError.

        Its logs are kept where they may tell why there are tasks without one.
        """
        if all(result.status is Status.COMPLETED for result in results):
            remove_outputs(shared.outputs)
            return
        for path in (shared.outputs.proof, shared.outputs.trace_json, shared.outputs.trace_dot):
            remove_file(path)
        self._move_away(shared.job.id, shared.job.attempt)

    def earlier_outputs(self, task: Task) -> Outputs | None:
        """Where the files of the task's newest replaced result are; they may be right once more."""
        if not task.earlier:
            return None
        stem = f"{task.id}~{task.earlier[-1].attempt}"
        paths: dict[str, str] = {}
        for name, path in result_files(self.directory, task.id)._asdict().items():
            ending = os.path.basename(path)[len(task.id) :]
            paths[name] = self._earlier_path(stem, ending)
        return Outputs(**paths)

    def _present_ids(self) -> Iterator[str]:
        """The ids of tasks of which something stands in its place."""
        for folder in EVIDENCE_FOLDERS:
            for name in _names_in(os.path.join(self.directory, folder)):
                found = _EVIDENCE.fullmatch(name)
                if found:
                    yield found["stem"]

    def _move_away(self, task_id: str, attempt: int) -> None:
        outputs = result_files(self.directory, task_id)
        # The drawings are found by the name of their DOT file, whether it is still there or not.
        paths = (*outputs, *drawings(outputs.trace_dot))
        # The logs last: while they stand in their place, so may everything else (see `settle`).
        for path in reversed(paths):
            if os.path.lexists(path):
                os.makedirs(self.earlier, exist_ok=True)
                ending = os.path.basename(path)[len(task_id) :]
                os.rename(path, _free_name(self._earlier_path(f"{task_id}~{attempt}", ending)))

    def _earlier_path(self, stem: str, ending: str) -> str:
        return os.path.join(self.earlier, stem + ending)

    def _path(self, task_id: str, ending: str) -> str:
        """Where a file of a result stands, by how its name ends."""
        folder = _FOLDERS.get(ending.rpartition(".")[2], "traces")
        return os.path.join(self.directory, folder, task_id + ending)


# How the files of an attempt are called. The drawings of a second graph and on are ID~graph2.svg.
_EVIDENCE = re.compile(r"(?P<stem>.+?)(?P<ending>(?:~graph\d+)?\.(?:out|err|spthy|json|dot|svg))")
_FOLDERS = {"out": "logs", "err": "logs", "spthy": "proofs"}  # of others: traces


def _free_name(path: str) -> str:
    """A path, or `ID~1~2.out` ...: the first that is not there."""
    stem, ending = os.path.splitext(path)
    number = 1
    while os.path.lexists(path):
        number += 1
        path = f"{stem}~{number}{ending}"
    return path


def kept_inputs(header: Header, directory: str) -> dict[str, str]:
    """The copies in inputs/ of what a batch was planned with, by the absolute paths of these."""
    folder = os.path.join(directory, "inputs")
    copies: dict[str, str] = {}
    for path, digest in header.inputs.items():
        copy = os.path.join(folder, os.path.basename(digest))
        if os.path.isfile(copy):
            copies[os.path.abspath(os.path.join(header.cwd, path))] = copy
    return copies


def keep_inputs(batch: Batch, directory: str) -> None:
    """Keep every theory, include and oracle as it was planned: inputs/SHA256.

    What has changed since then is not kept: no result can be of it. Raises OSError.
    """
    folder = os.path.join(directory, "inputs")
    os.makedirs(folder, exist_ok=True)
    kept = set(os.listdir(folder))
    for dependencies in batch.dependencies.values():
        for source in dependencies.sources:
            digest = dependencies.files[source].digest
            if digest and digest not in kept:
                kept.add(digest)
                _keep_input(source, os.path.join(folder, digest), digest)


def _keep_input(source: str, path: str, digest: str) -> None:
    """Copy a source, if it still is what its digest says."""
    import shutil

    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with suppress(FileNotFoundError):  # gone since it was planned
            if copy_file(source, temporary) == digest:
                shutil.copymode(source, temporary)  # an oracle is executed
                os.replace(temporary, path)
    finally:
        remove_file(temporary)


def remove_outputs(outputs: Outputs) -> None:
    """Remove what is nobody's result."""
    for path in outputs:
        remove_file(path)


def keep_outputs(plan: Plan, result: Result, outputs: Outputs, output: ProverOutput) -> None:
    """Leave what belongs to the result: a proof with its verdict, the traces of this lemma.

    Nothing half-written stays. Raises OSError.
    """
    if result.status is not Status.COMPLETED:
        for path in (outputs.proof, outputs.trace_json, outputs.trace_dot):
            remove_file(path)
        return
    # Provers write the traces of all lemmas in the file, of stored proofs as well.
    _keep_own(outputs.trace_dot, dot_graphs, "", plan, output)
    _keep_own(outputs.trace_json, json_graphs, ",\n", plan, output)


def _keep_own(
    path: str,
    graphs_of: Callable[[bytes], list[TraceGraph]],
    between: str,
    plan: Plan,
    output: ProverOutput,
) -> None:
    """Leave in a trace file the graphs of the task's own lemma, with `between` between two.

    A file without any is removed; one that can't be understood, or is too large, is left as it is.
    """
    try:
        size = os.stat(path).st_size
        if size > TRACE_CAP:
            return
        with open(path, "rb") as file:
            data = file.read()
        graphs = graphs_of(data) if size else []
    except (OSError, ValueError):  # not every prover writes them
        return
    own = own_graphs(graphs, plan.lemma, output.lemma_names())
    if not own:
        remove_file(path)
    elif len(own) < len(graphs):
        write_file(path, _only_graphs(data, graphs, own, between))


def _only_graphs(
    data: bytes, graphs: Sequence[TraceGraph], own: Sequence[TraceGraph], between: str
) -> Iterator[str]:
    """The text of a trace file with some of its graphs only, in pieces."""
    yield data[: graphs[0].start].decode("utf-8", "replace")
    for number, graph in enumerate(own):
        if number:
            yield between
        yield data[graph.start : graph.end].decode("utf-8", "replace")
    yield data[graphs[-1].end :].decode("utf-8", "replace")


# --- Drawings of traces ---------------------------------------------------------------------------


async def draw_traces(directory: str, executor: Executor, room: Limits) -> None:
    """Draw every `traces/ID.dot` that has no drawing yet, by Graphviz's `dot`.

    What it can't draw in time, or without `dot`, stays DOT; that is said once.
    """
    import asyncio
    import shutil

    folder = os.path.join(os.path.abspath(directory), "traces")
    try:
        undrawn = await asyncio.to_thread(_undrawn_traces, folder)
    except OSError as error:
        warn(f"the traces in {folder} can't be drawn: {error.strerror}")
        return
    if not undrawn:
        return
    program = shutil.which("dot")
    if not program:
        traces = plural(len(undrawn), "trace")
        warn(f"there is no 'dot' (Graphviz) here: {traces} in {folder} can't be drawn")
        return
    memory_mb = min(DOT_LIMITS.memory_mb, room.memory_mb)
    limits = replace(DOT_LIMITS, memory_mb=memory_mb)
    waiting: list[Waiting] = []
    for path in undrawn:
        job = Job(
            id=path,
            attempt=1,
            command=(program, "-Tsvg", "-O", path),
            cwd=folder,
            env=os.environ,
            limits=limits,
            stdout=os.devnull,
            stderr=os.devnull,
        )
        waiting.append(Waiting(limits, functools.partial(_draw_trace, executor, job)))
    await Scheduler(Room(room.cores, room.memory_mb)).run(waiting)
    left = await asyncio.to_thread(_undrawn_traces, folder)
    if left:
        traces = plural(len(left), "trace")
        warn(f"dot could not draw {traces} within {limits.timeout_s:g} s: {listed(left)}")


def _undrawn_traces(folder: str) -> list[str]:
    """The DOT files of the last attempts that have no drawing yet."""
    undrawn: list[str] = []
    for name in sorted(_names_in(folder)):
        path = os.path.join(folder, name)
        # No id has a `~`: it marks what `set_aside` has kept of earlier attempts.
        if name.endswith(".dot") and "~" not in name and not drawings(path):
            undrawn.append(path)
    return undrawn


async def _draw_trace(executor: Executor, job: Job) -> bool:
    """Draw one DOT file, which the job's id names; whether the room is free again."""
    with suppress(OSError):
        # What a driver that was killed has left may be of another text.
        for path in _drawn_by_dot(job.id):
            os.unlink(path)
    outcome = await executor.run(job, lambda pid, started: None)
    # What dot did not make, or a full disk, is told of as not drawn: a drawing ends no batch.
    with suppress(OSError):
        for path, drawing in zip(_drawn_by_dot(job.id), _drawing_names(job.id)):
            if outcome.exit == ExitStatus(0):
                os.replace(path, drawing)
            else:
                os.unlink(path)
    return not outcome.unkillable


def _drawn_by_dot(dot: str) -> list[str]:
    """What `dot -O` has made of a DOT file's graphs: ID.dot.svg, ID.dot.2.svg ..."""
    names = (f"{dot}.{number}.svg" for number in itertools.count(2))
    return list(itertools.takewhile(os.path.exists, itertools.chain([f"{dot}.svg"], names)))


def drawings(dot: str) -> list[str]:
    """The drawings of a DOT file's graphs that are there.

    Those of an earlier attempt's file have been set aside with it.
    """
    return list(itertools.takewhile(os.path.exists, _drawing_names(dot)))


def _drawing_names(dot: str) -> Iterator[str]:
    """Where the drawings of a DOT file's graphs go: ID.svg, ID~graph2.svg ...: no id has a `~`."""
    stem = os.path.splitext(dot)[0]
    yield f"{stem}.svg"
    for number in itertools.count(2):
        yield f"{stem}~graph{number}.svg"


# --- Making theories ------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeTheory:
    """What a command has made, and of what: a file beside the cache."""

    digest: str  # of the preparation
    output: str  # SHA-256 of the theory


class TheoryMaker:
    """Runs the commands that make theories, as jobs, before anything is planned.

    A theory is made again only when the command, or what it reads, has changed. What the command
    wrote takes its place only when it has ended well, and never that of a file that others wrote.
    """

    def __init__(self, folder: str) -> None:
        """`folder`: for logs, and for what was made."""
        self.folder = folder

    def make(self, preparations: Sequence[Preparation], room: Limits) -> dict[str, str]:
        """Make what is not there. Why something could not be made, by the theory's name."""

        waiting: list[Waiting] = []
        reasons: dict[str, str] = {}
        to_make = [each for each in preparations if not self._is_made(each)]
        if not to_make:
            return reasons
        with Supervisor(os.urandom(6).hex()) as supervisor:

            async def work(preparation: Preparation) -> bool:
                reason = await self._make(supervisor, preparation)
                if reason:
                    reasons[preparation.theory] = reason
                return True

            for each in to_make:
                start = functools.partial(work, each)
                waiting.append(Waiting(each.limits, start))
            scheduler = Scheduler(Room(room.cores, room.memory_mb))
            run_unless_stopped(scheduler.run(waiting))
        made = len(to_make) - len(reasons)
        wanted = plural(len(to_make), "theory file")
        say(f"made {made:,} of {wanted}")
        return reasons

    def _place(self, preparation: Preparation, ending: str) -> str:
        """A file about a theory."""
        name = sha256(preparation.target.encode())[:32]
        return os.path.join(self.folder, name + ending)

    def _last_made(self, preparation: Preparation) -> MadeTheory | None:
        try:
            with open(self._place(preparation, ".json"), encoding="utf-8") as file:
                return decode(MadeTheory, json.load(file))
        # There is none, or somebody has damaged it.
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _is_made(self, preparation: Preparation) -> bool:
        """Whether the theory is there as its command would make it."""
        # As it is now: it may be made anew in the life of this process.
        there = file_state_now(preparation.target).digest
        wanted = MadeTheory(preparation.digest, there)
        return self._last_made(preparation) == wanted

    async def _make(self, supervisor: Supervisor, preparation: Preparation) -> str:
        """Make a theory; why it could not be made, or ""."""
        import tempfile

        digest = preparation.digest
        beside = os.path.dirname(preparation.target)
        try:
            os.makedirs(beside, exist_ok=True)
            # In the same file system: what is whole takes its place in one step.
            with tempfile.TemporaryDirectory(prefix=".batch-tamarin-", dir=beside) as folder:
                written = os.path.join(folder, os.path.basename(preparation.target))
                job = self._job(preparation, written)
                outcome = await supervisor.run(job, lambda pid, started: None)
                return _preparation_problem(job, outcome) or self._take(
                    preparation, digest, written, job
                )
        except OSError as error:
            return f"can't be made: {error.strerror}: {error.filename or preparation.target}"

    def _job(self, preparation: Preparation, written: str) -> Job:
        """The job that lets a command write a file."""
        command = [word.replace(THEORY_FILE, written) for word in preparation.command]
        stderr = self._place(preparation, ".err")
        # What is there is of another attempt.
        remove_file(stderr)
        prints = THEORY_FILE not in "".join(preparation.command)
        return Job(
            id=sha256(preparation.target.encode())[:32],
            attempt=1,
            command=tuple(command),
            cwd=preparation.cwd,
            env=dict(os.environ),
            limits=preparation.limits,
            stdout=written if prints else stderr,
            stderr=stderr,
        )

    def _take(self, preparation: Preparation, digest: str, written: str, job: Job) -> str:
        """Put what was written to where it belongs; why that can't be, or "". Raises OSError."""
        if not os.path.isfile(written) or not os.path.getsize(written):
            if job.stdout == written:
                return "prepare printed nothing"
            return f"prepare did not write {{theory_file}}, which was {printable(written)}"
        output = file_state_now(written).digest
        there = file_state_now(preparation.target).digest
        last = self._last_made(preparation)
        if there not in ("", output, last.output if last else ""):
            return (
                f"prepare makes another text than what is in {printable(preparation.target)}, "
                "which it did not write: move that away"
            )
        if there != output:
            os.replace(written, preparation.target)
        made = MadeTheory(digest, output)
        write_file(self._place(preparation, ".json"), json.dumps(encode(made)))
        return ""


def _preparation_problem(job: Job, outcome: Outcome) -> str:
    """Why a command has made nothing that counts, or ""."""
    if outcome.exit == ExitStatus(0) and outcome.status is Status.COMPLETED:
        return ""
    said = "\n".join(ends_of(job.stderr)).strip()
    why = outcome.reason or f"exit {outcome.exit}"
    told = f"prepare failed ({why})"
    if said:
        last_line = said.splitlines()[-1]
        told += f": {last_line[:COMPLAINT_CHARS]}"
    return f"{told}; all that it said: {job.stderr}"


# === Interchange with batch-tamarin ===============================================================

# Read in the sources of batch-tamarin 1.2.0: its execution_report.json, success/ and failed/. What
# was written for its results shall work on ours, and its results can be shown and audited here.

UPSTREAM_REPORT = "execution_report.json"
RESULT_FOLDERS = ("success", "failed")  # it writes a file for each task that has ended
# What tells a results directory, ours or its own.
RECORDS = (JOURNAL, UPSTREAM_REPORT, *RESULT_FOLDERS)


class _UpstreamEnd(NamedTuple):
    """How batch-tamarin says that a task ended."""

    status: str
    return_code: int
    error_type: str


# Its codes below 0 are words for such an end, not what the prover exited with.
_IS_PENDING = _UpstreamEnd("pending", 0, "")
_SUCCEEDED = _UpstreamEnd("completed", 0, "")
_FAILED = _UpstreamEnd("failed", -1, "tamarin_error")
_TOOK_TOO_LONG = _UpstreamEnd("timeout", -1, "timeout")
_GREW_TOO_LARGE = _UpstreamEnd("memory_limit_exceeded", -2, "memory_limit")
_WAS_STOPPED = _UpstreamEnd("signal_interrupted", -3, "wrapper_killed")

_UPSTREAM_ENDS = {
    Status.PENDING: _IS_PENDING,
    Status.RUNNING: _IS_PENDING,
    Status.COMPLETED: _SUCCEEDED,
    # It has no word for what nobody needs any more; to call it a failure would be worse.
    Status.NOT_NEEDED: _SUCCEEDED,
    Status.SUPERSEDED: _SUCCEEDED,
    Status.FAILED: _FAILED,
    Status.TIMEOUT: _TOOK_TOO_LONG,
    Status.MEMORY_LIMIT: _GREW_TOO_LARGE,
    Status.INTERRUPTED: _WAS_STOPPED,
}
_SUCCESSES = frozenset({Status.COMPLETED, *WANTS_NO_VERDICT})  # what it calls successes


# --- Reading --------------------------------------------------------------------------------------


def load_results(path: str, warn: Callable[[str], None]) -> Batch:
    """The Batch of a results directory, which is given by itself or by one of its records.

    Of our journal, if there is one; else of the report that batch-tamarin 1.2 writes at its end, or
    of the files that it writes before. Raises InputError.
    """
    directory = results_directory(path, *RECORDS)
    journal = os.path.join(directory, JOURNAL)
    # Where the others are, too, they were made of the journal.
    if not os.path.exists(journal):
        if os.path.exists(os.path.join(directory, UPSTREAM_REPORT)):
            return _load_report(directory)
        return _load_result_files(directory, warn)
    batch, _ = load_batch(journal, warn)
    if not batch.has_begun:
        raise InputError("this journal tells of no batch", journal)
    _name_lost_provers(batch, journal, warn)
    return batch


def own_results(path: str) -> str:
    """The results directory, with a journal, that a user means.

    Raises InputError that says what can be done with batch-tamarin's.
    """
    directory = results_directory(path, *RECORDS)
    if not os.path.exists(os.path.join(directory, JOURNAL)):
        raise InputError(f"there is no {JOURNAL}: {_uses_of_upstream(path)}", printable(path))
    return directory


def _uses_of_upstream(path: str) -> str:
    """What can be done with a results directory of batch-tamarin's."""
    shown = quoted([printable(path)])
    return (
        f"these are results of batch-tamarin. `batch_tamarin.py report {shown}` shows them, "
        f"`batch_tamarin.py audit {shown}` tells what they establish; `batch_tamarin.py run` takes "
        "their recipe, for results that can be gone on with and proofs that can be checked"
    )


def note_upstream_results(directory: str, tell: Callable[[str], None]) -> None:
    """Say what can be done with batch-tamarin's results where new ones were to be written."""
    names = _list_directory(directory)
    is_upstreams = UPSTREAM_REPORT in names or has_result_files(directory)
    # Who has begun another batch beside them knows by now.
    if is_upstreams and JOURNAL not in names and not dated_siblings(directory):
        tell(f"{printable(directory)}: {_uses_of_upstream(directory)}")


def _name_lost_provers(batch: Batch, journal: str, warn: Callable[[str], None]) -> None:
    """Give provers a command where the header lacks it: results are shown without."""
    # A journal may be damaged, or of another program: a missing name must not hide its results.
    used = [task.plan.prover for task in batch.tasks.values()]
    for alias in dict.fromkeys([*used, *batch.provers]):
        prover = batch.provers.get(alias)
        if prover is None or not prover.command:
            shown = printable(alias)
            warn(f"{journal}: how prover '{shown}' was called is not said")
            batch.provers[alias] = Prover(alias, (alias,))


def _load_report(directory: str) -> Batch:
    """The Batch of batch-tamarin's report in a directory."""
    path = os.path.join(directory, UPSTREAM_REPORT)
    batch = Batch()
    with _as_upstream_writes(path):
        report = json.loads(read_text(path))
        for event in _report_events(report, os.path.abspath(directory)):
            batch.apply(event)
    return batch


@contextmanager
def _as_upstream_writes(path: str) -> Iterator[None]:
    """While a file of batch-tamarin's is read: InputError for what it would not write."""
    try:
        yield
    # It comes from outside: any part may be missing, or of another kind.
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,  # a year or a number beyond all bounds
        RecursionError,
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"this is not what batch-tamarin 1.2 writes ({problem})", path) from None


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
    """The tasks of a report, in its order. Raises KeyError and the like for what is none."""
    for entry, about in report["tasks"].items():
        for task_id, data in about["subtasks"].items():
            yield _Subtask(task_id, entry, about["theory_file"], data)


def _report_header(report: Json, directory: str) -> Header:
    """What is true of the whole batch; it began when its first task did."""
    config = report["config"]
    starts: list[str] = []
    for subtask in _subtasks(report):
        start = _utc(subtask.metadata["exec_start"])
        if start:
            starts.append(start)
    provers: Json = {}
    for alias, about in report["tamarin_versions"].items():
        provers[alias] = _reported_prover(alias, about)
    cores = _number_or_zero(config["global_max_cores"])
    memory_gb = _number_or_zero(config["global_max_memory"])
    timeout_s = _number_or_zero(config["default_timeout"])
    cwd = _where_it_ran(config["output_directory"], directory)
    data: Json = {"recipe_file": report["recipe"], "cwd": cwd, "provers": provers}
    data["at"] = min(starts, default="")
    data["limits"] = _limits_json(cores, memory_gb, timeout_s)
    return decode(Header, data)


def _limits_json(cores: Any, memory_gb: Any, timeout_s: Any) -> Json:
    """Limits as they stand in our journal; the numbers may be anything yet. Raises TypeError."""
    return {"cores": cores, "memory_mb": memory_gb * 1024, "timeout_s": timeout_s}


def _reported_prover(alias: str, about: Json) -> Json:
    prover = {"alias": alias, "command": [about["path"]]}
    # Its field may hold more than the number: `v1.11.0`.
    said = about.get("version") or ""
    version = re.search(r"\d{1,9}(?:\.\d{1,9})+", said)
    if version:
        prover["version"] = version[0]
    # It does not say which program that is.
    if os.path.basename(about["path"]) == Flavour.TAMARIN_RS:
        prover["flavour"] = Flavour.TAMARIN_RS.value
    elif version and version_number(version[0]) >= FIRST_OF_TAMARIN_RS:
        prover["flavour"] = EITHER_PROGRAM
    return prover


def _number_or_zero(limit: Any) -> int:
    """A limit of its `config`: 0, no limit known, where it says "max"."""
    if isinstance(limit, int):
        return limit
    return 0


def _where_it_ran(output_directory: str, directory: str) -> str:
    """Where batch-tamarin ran, which it leaves out: above the results, or else here."""
    # Its paths of theories are relative to that directory.
    below = os.sep + os.path.normpath(output_directory)
    if directory.endswith(below):
        return directory[: -len(below)]
    return os.getcwd()


# Of the fields of a plan, those that batch-tamarin's tasks don't have. The key is empty: nothing is
# known to be the same as what was proven there, so its results are shown and never taken over.
_UNKNOWN_TO_UPSTREAM: Json = {
    "sides": [],
    "prove": True,
    "optional": False,
    "expect": None,
    "key": "",
}


def _subtask_plan(subtask: _Subtask, header: Header) -> Plan:
    """What was decided about a task; what it assumes is read from the theory as it is now."""
    config = subtask.data["task_config"]
    lemma = config["lemma"]
    options = config.get("options") or []
    flags = config.get("preprocessor_flags") or []
    path = os.path.join(header.cwd, subtask.theory)
    now = theory_now(path, tuple(options), tuple(flags))
    sides = now.lemmas.get(lemma, [])
    unknown = now.unknown_actions.get(lemma, NO_UNKNOWN_ACTIONS)
    data: Json = {**_UNKNOWN_TO_UPSTREAM, "id": subtask.id, "name": subtask.entry}
    data.update({"theory": subtask.theory, "cwd": header.cwd})
    data.update({"options": options, "flags": flags, "lemma": lemma})
    data["trait"] = _reported_trait(subtask.result, sides)
    data["assumes"] = list(assumed_by(sides))
    data["unknown_actions"] = list(unknown.told)
    data["holds_anyway"] = unknown.holds_anyway
    # An alias without a prover is a damaged report: it is refused here.
    data["prover"] = header.provers[config["tamarin_alias"]].alias
    limits = config["resources"]
    data["limits"] = _limits_json(limits["cores"], limits["memory"], limits["timeout"])
    return decode(Plan, data)


class TheoryNow(NamedTuple):
    """What batch-tamarin does not say of lemmas, as their theory says it now."""

    lemmas: Mapping[str, list[Lemma]]
    unknown_actions: Mapping[str, UnknownActions]  # by lemma


# Hundreds of tasks are of one theory.
@functools.lru_cache(maxsize=64)
def theory_now(path: str, options: tuple[str, ...], flags: tuple[str, ...]) -> TheoryNow:
    """What a theory says of its lemmas, if it is still there."""
    with suppress(InputError):
        theory = load_theory(path, *reading_options(options, flags))
        return TheoryNow(lemmas_by_name(theory), theory.unknown_actions)
    return TheoryNow({}, {})


def _reported_trait(result: Json, lemmas: Sequence[Lemma]) -> str:
    """The trait that a result says, or else the theory as it is now; "" if neither does."""
    said = result.get("analysis_type", "")
    if said in set(Trait):
        return str(said)
    if lemmas:
        return str(lemmas[0].trait)
    return ""


def _subtask_result(subtask: _Subtask) -> Json:
    """How a task ended, in the words of our journal."""
    result = subtask.result
    said = _reported_usage(subtask.metadata)
    said["warnings"] = result.get("warnings", [])
    if "lemma_result" in result:
        said.update(_reported_verdict(result))
    else:
        said.update(_reported_failure(result, subtask.metadata["status"]))
    return said


def _reported_usage(metadata: Json) -> Json:
    """What a task used, in seconds and MB as with us, and when it ended."""
    usage: Json = {"wall_s": float(metadata["exec_duration_monotonic"]), "cpu_s": None}
    usage["peak_mb"] = float(metadata["peak_memory"])
    usage["avg_mb"] = float(metadata["avg_memory"])
    usage["at"] = _utc(metadata["exec_end"])
    usage["cached"] = bool(metadata["cache_hit"])
    return usage


def _reported_verdict(result: Json) -> Json:
    """What the prover said of the lemma.

    batch-tamarin calls a run without a verdict for the lemma "verified", of trait "unknown".
    """
    word = result["lemma_result"]
    trait = result["analysis_type"]
    if trait == "unknown":
        if word == Verdict.VERIFIED:
            reason = "batch-tamarin found no verdict of this lemma"
            return {"status": Status.FAILED, "reason": reason}
        trait = ""
    if word == "unterminated":
        word = Verdict.INCOMPLETE
    verdict: Json = {"status": Status.COMPLETED, "verdict": word, "trait": trait}
    # 0 stands for a number that it did not find.
    verdict["steps"] = result["steps"] or None
    verdict["prover_s"] = result["real_time_tamarin_measure"] or None
    return verdict


def _reported_failure(result: Json, status: str) -> Json:
    """Why there is no verdict."""
    lines = result.get("last_stderr_lines", ())
    failure: Json = {"status": _status_of(status), "stderr_tail": "\n".join(lines)}
    failure["reason"] = result["error_description"]
    # Negative codes are words of batch-tamarin's for limits and signals, none of the prover's.
    code = result.get("return_code", "")
    if code.isdigit():
        failure["exit"] = {"code": int(code)}
    return failure


def _status_of(word: str) -> Status:
    """Our status for its word, of a task without a verdict: what it calls completed failed, too."""
    for status in (Status.TIMEOUT, Status.MEMORY_LIMIT, Status.INTERRUPTED):
        if word == _UPSTREAM_ENDS[status].status:
            return status
    return Status.FAILED


def has_result_files(directory: str) -> bool:
    """Whether there is a file of a result in success/ or failed/."""
    return next(_result_files(directory), "") != ""


def _result_files(directory: str) -> Iterator[str]:
    """The paths of the files in success/ and failed/."""
    for folder in RESULT_FOLDERS:
        place = os.path.join(directory, folder)
        for name in sorted(_list_directory(place)):
            if name.endswith(".json"):
                yield os.path.join(place, name)


def _load_result_files(directory: str, warn: Callable[[str], None]) -> Batch:
    """The Batch of a run of batch-tamarin that was killed before it wrote its report."""
    tasks: Json = {}
    for path in _result_files(directory):
        try:
            with _as_upstream_writes(path):
                _add_result_file(tasks, directory, json.loads(read_text(path)))
        except InputError as error:  # the last one may be half-written
            warn(f"passed over: {error}")
    if not tasks:
        raise InputError("holds no results", printable(directory))
    report = _report_of_files(tasks, directory)
    batch = Batch()
    with _as_upstream_writes(directory):
        for event in _report_events(report, os.path.abspath(directory)):
            batch.apply(event)
    warn(
        f"{printable(directory)} has no {UPSTREAM_REPORT}: batch-tamarin did not come to its end. "
        f"Shown is what stands in success/ and failed/, {plural(len(batch.tasks), 'result')}; what "
        "else was planned, and limits, options and flags, are not known"
    )
    return batch


def _report_of_files(tasks: Json, directory: str) -> Json:
    """The report that batch-tamarin would have written, as far as it is known; `tasks`: its own."""
    provers: Json = {}
    for entry in tasks.values():
        for subtask in entry["subtasks"].values():
            alias = subtask["task_config"]["tamarin_alias"]
            provers[alias] = {"path": alias}
    # Paths in it are relative to where it ran: above the directory.
    name = os.path.basename(os.path.abspath(directory))
    config = {"global_max_cores": 0, "global_max_memory": 0, "default_timeout": 0}
    report: Json = {"recipe": "(unknown)", "config": {**config, "output_directory": name}}
    report["tamarin_versions"] = provers
    report["tasks"] = tasks
    return report


def _add_result_file(tasks: Json, directory: str, file: Json) -> None:
    """Put what a file of success/ or failed/ says into the member `tasks` of a report."""
    task_id = _checked(str, file["task_id"])
    prefix, lemma, alias = task_id.rsplit("--", 2)
    result = _result_in_file(file, lemma)
    measures = file["wrapper_measures"]
    metadata: Json = {"exec_start": "", "exec_end": "", "cache_hit": False}
    metadata["exec_duration_monotonic"] = measures["time"]
    metadata["peak_memory"] = measures["peak_memory"]
    metadata["avg_memory"] = measures["avg_memory"]
    metadata["status"] = _status_in_file(file)
    config: Json = {"tamarin_alias": alias, "lemma": lemma}
    config["resources"] = {"cores": 0, "memory": 0, "timeout": 0}
    subtask = {"task_config": config, "task_execution_metadata": metadata, "task_result": result}
    # What can't be read is refused here, for this file alone; ids name files.
    decode(Result, _subtask_result(_Subtask(task_id, prefix, "", subtask)))
    if os.path.basename(task_id) != task_id:
        raise ValueError(f"'{task_id}' can't name files")
    entry = tasks.setdefault(prefix, {"theory_file": prefix, "subtasks": {}})
    entry["subtasks"][task_id] = subtask
    # A proof holds the whole theory; the one of the recipe is not known.
    proof = os.path.join(directory, "proofs", task_id + ".spthy")
    if entry["theory_file"] == prefix and os.path.exists(proof):
        folder = os.path.dirname(os.path.abspath(directory))
        entry["theory_file"] = os.path.relpath(proof, folder)


def _result_in_file(file: Json, lemma: str) -> Json:
    """What a file of success/ or failed/ says, as the report says it."""
    if "error_description" in file:
        return {**file, "return_code": str(file["return_code"])}
    about: Json = {"steps": 0, "analysis_type": "unknown"}
    word = str(Verdict.VERIFIED)  # of trait "unknown": its word for no verdict of the lemma
    # A lemma of a diff theory is there for each side: that one of them is false comes first.
    if lemma in file["falsified_lemma"]:
        word = str(Verdict.FALSIFIED)
        about = file["falsified_lemma"][lemma]
    elif lemma in file["unterminated_lemma"]:
        word = "unterminated"
    elif lemma in file["verified_lemma"]:
        about = file["verified_lemma"][lemma]
    result: Json = {"lemma_result": word, **about}
    result["warnings"] = file["warnings"]
    result["real_time_tamarin_measure"] = file["tamarin_timing"]
    return result


# How the descriptions begin of what met its limit, in failed/.
_DESCRIBED_ENDS = {
    "The task timed out": _TOOK_TOO_LONG,
    "The task exceeded its memory limit": _GREW_TOO_LARGE,
}


def _status_in_file(file: Json) -> str:
    """Its word for how the task of a file ended."""
    description = file.get("error_description", "")
    for beginning, end in _DESCRIBED_ENDS.items():
        if description.startswith(beginning):
            return end.status
    return _FAILED.status if description else _SUCCEEDED.status


def _utc(local: str) -> str:
    """A time of batch-tamarin's (local, no zone) as the journal writes times; "" for none."""
    import datetime

    try:
        # Python 3.9 and 3.10 read no `Z`.
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
    name = task.id + ".json"
    # First: a task that failed, ran again and succeeded must not stand in both, nor in the wrong
    # one if the right one can't be written.
    for folder in RESULT_FOLDERS:
        if folder != home:
            remove_file(os.path.join(directory, folder, name))
    if home:
        content = _result_file(directory, task)
        os.makedirs(os.path.join(directory, home), exist_ok=True)
        write_file(os.path.join(directory, home, name), json.dumps(content, indent=2) + "\n")


def restore_result_files(directory: str, batch: Batch, derived: DerivedFiles) -> None:
    """Make success/ and failed/ what the journal says.

    A driver that died may not have written one. Files of tasks that are no longer planned go.
    """
    # Two listings are faster than a look at two paths for each of 100,000 tasks.
    succeeded: set[str] = set()
    failed: set[str] = set()
    with derived.making("success"):
        succeeded.update(_names_in(os.path.join(directory, "success")))
    with derived.making("failed"):
        failed.update(_names_in(os.path.join(directory, "failed")))
    for task in batch.tasks.values():
        name = task.id + ".json"
        home = _result_folder(task)
        success_is_right = (name in succeeded) == (home == "success")
        failure_is_right = (name in failed) == (home == "failed")
        # Of several attempts the file may tell of another one.
        if task.attempts > 1 or not (success_is_right and failure_is_right):
            with derived.making(home):
                write_result_file(directory, task)
    # What is no longer planned may be of a text that is no longer there.
    for task_id in batch.withdrawn:
        name = task_id + ".json"
        for folder, present in (("success", succeeded), ("failed", failed)):
            if name in present:
                with derived.making(folder):
                    remove_file(os.path.join(directory, folder, name))


def _result_folder(task: Task) -> str:
    """Where the result of a task stands; "" before it has one."""
    if not task.result:
        return ""
    if task.status in _SUCCESSES:
        return "success"
    return "failed"


def _result_file(directory: str, task: Task) -> Json:
    """What stands in a task's file; units as with us: seconds and MB."""
    result = task.result or Result(task.status)
    usage = result.usage
    measures = {"time": usage.wall_s}
    measures["avg_memory"] = usage.avg_mb
    measures["peak_memory"] = usage.peak_mb
    content: Json = {"task_id": task.id, "wrapper_measures": measures}
    if task.status in _SUCCESSES:
        content.update(_success(directory, task, result))
    else:
        content.update(_failure(result))
    return content


def _success(directory: str, task: Task, result: Result) -> Json:
    """What is told of a success: one of the last three members names the lemma."""
    success: Json = {"warnings": _upstream_warnings(result)}
    success["tamarin_timing"] = result.prover_s or 0.0
    success["output_spthy"] = result_files(directory, task.id).proof
    # All three are always there: a reader asks each for the lemma.
    success["verified_lemma"] = {}
    success["falsified_lemma"] = {}
    success["unterminated_lemma"] = []
    about = {"steps": result.steps or 0, "analysis_type": result.trait}
    if result.verdict is Verdict.VERIFIED:
        success["verified_lemma"] = {task.plan.lemma: about}
    elif result.verdict is Verdict.FALSIFIED:
        success["falsified_lemma"] = {task.plan.lemma: about}
    else:
        success["unterminated_lemma"] = [task.plan.lemma]
    return success


def _upstream_warnings(result: Result) -> tuple[str, ...]:
    """The warnings of a success, the one place where more can be said of it."""
    if result.shared_by <= 1:
        return result.warnings
    note = f"time and memory are those of a process shared by {result.shared_by:,}"
    return (*result.warnings, note)


def _failure(result: Result) -> Json:
    """What is told of a failure, in the result file and in the report alike."""
    code = _UPSTREAM_ENDS[result.status].return_code
    # Where a prover ended by itself its own code tells more.
    exit_status = result.exit
    if result.status is Status.FAILED and exit_status and exit_status.code is not None:
        code = exit_status.code
    failure: Json = {"error_description": result.reason or str(result.status)}
    failure["last_stderr_lines"] = result.stderr_tail.splitlines()
    failure["return_code"] = code
    return failure


# --- Writing: the execution report ----------------------------------------------------------------


def execution_report(batch: Batch, directory: str) -> Iterator[str]:
    """The whole batch as batch-tamarin's execution_report.json, in pieces.

    In a thread, too, while the batch goes on: whatever changes meanwhile is looked at once.
    """
    provers: Json = {}
    for alias, prover in batch.provers.items():
        path = prover.command[0]
        provers[alias] = {"path": path, "version": _v_version(prover)}
    head: Json = {"recipe": os.path.basename(batch.header.recipe_file)}
    head["config"] = _config(batch, directory)
    head["tamarin_versions"] = provers
    head["execution_metadata"] = _totals(batch)
    return _with_tasks(head, _report_entries(batch, directory))


def _report_entries(batch: Batch, directory: str) -> Iterator[_TaskEntry]:
    entries = recipe_tasks(batch.tasks.values())
    for name, tasks in entries.items():
        members = {"theory_file": tasks[0].plan.theory}
        subtasks = _subtask_items(batch, directory, tasks)
        yield _TaskEntry(name, members, last="subtasks", brackets="{}", items=subtasks)


def recipe_tasks(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by the recipe's entry; one of several theories is several, under names of their own."""
    # An entry of ours may be of many theories, by a glob or by variants; one of its has one.
    entries: dict[str, dict[_EntryPart, list[Task]]] = {}
    for task in tasks:
        plan = task.plan
        part = _EntryPart(plan.theory, plan.cwd, plan.prove)
        parts = entries.setdefault(plan.entry, {})
        parts.setdefault(part, []).append(task)
    named: dict[str, list[Task]] = {}
    for entry, parts in entries.items():
        names = _part_names(entry, entries)
        named.update(zip(names, parts.values()))
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
    """The member `config`: whole GB and seconds, at least 1."""
    limits = batch.header.limits
    config: Json = {"global_max_cores": limits.cores}
    config["global_max_memory"] = _whole_gb(limits)
    config["default_timeout"] = max(1, round(limits.timeout_s))
    config["output_directory"] = directory
    return config


def _whole_gb(limits: Limits) -> int:
    """A memory limit as its schema has it. Rounded down, no task's is above that of all."""
    return max(1, limits.memory_mb // 1024)


def _v_version(prover: Prover) -> str:
    """`v1.11.0`, or "" where the prover did not say."""
    if not prover.version:
        return ""
    return f"v{prover.version}"


def _totals(batch: Batch) -> Json:
    """Sums over what has ended; its `total_memory` is the sum of the peaks."""
    tasks = batch.tasks.values()
    results = [result for result in [task.result for task in tasks] if result]
    times = [result.usage.wall_s for result in results]
    peaks = [result.usage.peak_mb for result in results]
    # A process that served several tasks is counted once.
    time_shares = [result.share_of(result.usage.wall_s) for result in results]
    peak_shares = [result.share_of(result.usage.peak_mb) for result in results]
    successes = sum(result.status in _SUCCESSES for result in results)
    totals: Json = {"total_tasks": len(tasks), "total_successes": successes}
    totals["total_failures"] = len(results) - successes
    totals["total_cache_hit"] = sum(result.cached for result in results)
    # In a damaged journal numbers may be so large that a sum is infinite, which is no JSON.
    totals["total_runtime"] = min(sum(time_shares), sys.float_info.max)
    totals["total_memory"] = min(sum(peak_shares), sys.float_info.max)
    totals["max_runtime"] = max(times, default=0.0)
    totals["max_memory"] = max(peaks, default=0.0)
    return totals


class _TaskEntry(NamedTuple):
    """An entry of the member `tasks`, whose last member is too long to be made at once."""

    name: str
    members: Json  # all but the last; at least one
    last: str  # its name
    brackets: str  # "{}" or "[]"
    items: Iterable[str]  # what stands between these, as JSON


def _with_tasks(head: Json, entries: Iterable[_TaskEntry]) -> Iterator[str]:
    """A JSON object in pieces: `head`, not empty, and behind its members `tasks`."""
    # As one text, the report of 100,000 tasks would be the largest thing in memory.
    yield json.dumps(head, indent=2).removesuffix("\n}")
    yield ',\n  "tasks": {'
    comma = ""
    for entry in entries:
        name = json.dumps(entry.name)
        members = json.dumps(entry.members).removesuffix("}")
        last = json.dumps(entry.last)
        yield f"{comma}\n    {name}: {members}, {last}: "
        yield entry.brackets[0]
        yield from _one_a_line(entry.items)
        yield entry.brackets[1] + "}"
        comma = ","
    yield "\n  }\n}\n"


def _one_a_line(items: Iterable[str]) -> Iterator[str]:
    """The items with commas between them."""
    comma = ""
    for item in items:
        yield f"{comma}\n      {item}"
        comma = ","


def _subtask_items(batch: Batch, directory: str, tasks: Iterable[Task]) -> Iterator[str]:
    for task in tasks:
        name = json.dumps(task.id)
        value = json.dumps(_subtask(batch, directory, task))
        yield f"{name}: {value}"


def _subtask(batch: Batch, directory: str, task: Task) -> Json:
    """What the report says of a task; it has no `task_result` before it ended."""
    plan = task.plan
    result = task.result
    outputs = result_files(directory, plan.id)
    metadata = _task_execution_metadata(batch, plan, result or Result(Status.PENDING), outputs)
    subtask: Json = {"task_config": _task_config(plan, outputs)}
    subtask["task_execution_metadata"] = metadata
    if result:
        subtask["task_result"] = _task_result(result)
    return subtask


def _task_config(plan: Plan, outputs: Outputs) -> Json:
    """What the report says of a plan; limits in whole GB and seconds, at least 1."""
    limits = plan.limits
    resources = {"cores": limits.cores}
    resources["memory"] = _whole_gb(limits)
    resources["timeout"] = max(1, round(limits.timeout_s))
    config: Json = {"tamarin_alias": plan.prover, "lemma": plan.lemma}
    config["output_theory_file"] = outputs.proof
    config["output_trace_file"] = outputs.trace_json
    config["options"] = plan.options
    config["preprocessor_flags"] = plan.flags
    config["resources"] = resources
    return config


def _task_execution_metadata(batch: Batch, plan: Plan, result: Result, outputs: Outputs) -> Json:
    """What the report says of a run."""
    prover = batch.provers[plan.prover]
    usage = result.usage
    # What never ran is given the batch's beginning: the format has no task without times.
    ended = instant(result.at or batch.header.at)
    metadata: Json = {"command": prover_command(prover, plan, outputs)}
    metadata["status"] = _UPSTREAM_ENDS[result.status].status
    metadata["cache_hit"] = result.cached
    metadata["exec_start"] = _local_time(ended - usage.wall_s)
    metadata["exec_end"] = _local_time(ended)
    metadata["exec_duration_monotonic"] = usage.wall_s
    metadata["avg_memory"] = usage.avg_mb
    metadata["peak_memory"] = usage.peak_mb
    return metadata


def _local_time(seconds: float) -> str:
    """A time (seconds since 1970) as batch-tamarin writes it: local, without a zone."""
    import datetime

    try:
        moment = datetime.datetime.fromtimestamp(seconds)
    except NO_TIME:
        # The format has no task without times: as one that no time is known of.
        moment = datetime.datetime.fromtimestamp(0)
    return moment.isoformat(timespec="microseconds")


def _task_result(result: Result) -> Json:
    """How a task ended: a success with a verdict or "unterminated", or a failure."""
    if result.status not in _SUCCESSES:
        failure = _failure(result)
        # There a text, while failed/ID.json has a number.
        failure["return_code"] = str(failure["return_code"])
        failure["error_type"] = _UPSTREAM_ENDS[result.status].error_type
        return failure
    word = "unterminated"
    if result.verdict in ANSWERS:
        word = str(result.verdict)
    success: Json = {"warnings": _upstream_warnings(result)}
    success["real_time_tamarin_measure"] = result.prover_s or 0.0
    success["steps"] = result.steps or 0
    success["lemma_result"] = word
    success["analysis_type"] = result.trait
    return success


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
# What is counted as neither verified nor falsified, although the prover said so.
RESTING_ON_FALSE = "resting on a falsified lemma"
ITS_OWN_PROOF = " (its own proof)"  # behind the name of who confirms a result in this way
CONFIRMED_BY = "confirmed by "  # other provers, which checked its proof
CONTRADICTED = "contradicted"  # another result says the opposite, or a recheck that it is no proof
NOT_AS_EXPECTED = "not as expected"

# Of every settled lemma the open ones that it rests on, each with the next lemma on the way there:
# "" where it assumes the open one itself.
Ways = dict[str, dict[str, str]]


class Model(NamedTuple):
    """What results must have in common to say something about each other."""

    text: str  # digest of the theory's text, or its name where that is not known
    cwd: str  # where that name means something; "" of a digest
    flags: tuple[str, ...]  # sorted: the preprocessor knows no order; --diff and --auto-sources too
    prover: str

    @property
    def of_any_prover(self) -> Model:
        """The same rules, whoever proves: what can happen does not depend on it."""
        return self._replace(prover="")

    @property
    def of_any_folder(self) -> Model:
        """The same name in any folder, where no more is known of the text."""
        return self._replace(cwd="")


class Question(NamedTuple):
    """What can have one answer only."""

    model: Model
    lemma: str
    trait: str  # a diffLemma may have the name of a lemma


class Assumption(NamedTuple):
    """A lemma that is taken for granted and not verified."""

    lemma: str
    state: str  # what is known of it: its outcome, or that it is not in the results
    chain: tuple[str, ...]  # the lemmas by way of which it is reached

    def __str__(self) -> str:
        return f"{self.lemma} ({self.state}){self.way}"

    @property
    def way(self) -> str:
        """` via heard > quiet`, or "" where it is assumed directly."""
        if not self.chain:
            return ""
        return " via " + " > ".join(self.chain)


class Closure:
    """What verdicts rest on, as far as results of the same theory text, prover and flags tell."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        known = list(tasks)
        self._results = _results_by_model(known)
        self._contradictions = _contradictions(known)
        self._ways: dict[Model, Ways] = {}  # of a model once it is asked for
        # By the model and what is assumed: neighbours assume the same.
        self._open: dict[Hashable, tuple[Assumption, ...]] = {}

    def open_assumptions(self, task: Task) -> tuple[Assumption, ...]:
        """What the verdict assumes and is not verified here, nearest first.

        A trace that was found assumes nothing.
        """
        plan = task.plan
        if not plan.assumes or (plan.trait, task.verdict) not in RESTING:
            return ()
        # All that the model depends on: to make it takes longer.
        key = (plan.theory_digest, plan.theory, plan.cwd, plan.flags, plan.prover, plan.assumes)
        known = self._open.get(key)
        if known is None:
            known = self._open[key] = tuple(self._find_open(plan))
        return known

    def against(self, task: Task) -> list[str]:
        """What contradicts the verdict: `falsified by rs`, `not confirmed by rs`."""
        words: list[str] = []
        for by in task.rejected_by:
            # Who has proven the lemma itself confirms it, if not by this proof.
            if by + ITS_OWN_PROOF not in task.confirmed_by:
                words.append(f"not confirmed by {by}")
        if self._contradictions and task.is_answered:
            pair = self._contradictions.get(question_of(task.plan))
            if pair:
                other = pair.falsified if task.verdict is Verdict.VERIFIED else pair.verified
                words.insert(0, f"{other.verdict} by {told_by(other.plan)}")
        return words

    def _find_open(self, plan: Plan) -> Iterator[Assumption]:
        model = model_of(plan)
        results = self._results.get(model, {})
        if model not in self._ways:
            self._ways[model] = _ways_to_open_lemmas(results)
        ways = self._ways[model]
        for lemma, step in _open_below(plan.assumes, ways).items():
            state = "not in the results"
            if lemma in results:
                state = results[lemma].outcome
            chain = _chain(ways, step, lemma)
            yield Assumption(lemma, state, chain)


class Contradiction(NamedTuple):
    """Two results of which one must be wrong."""

    verified: Task
    falsified: Task


def _contradictions(tasks: Sequence[Task]) -> dict[Question, Contradiction]:
    """What is verified here and falsified there. Few lemmas are: only these are remembered."""
    falsified: dict[Question, Task] = {}
    for task in tasks:
        if task.verdict is Verdict.FALSIFIED:
            falsified[question_of(task.plan)] = task
    found: dict[Question, Contradiction] = {}
    if falsified:
        for task in tasks:
            if task.verdict is Verdict.VERIFIED:
                question = question_of(task.plan)
                if question in falsified:
                    found[question] = Contradiction(task, falsified[question])
    return found


def question_of(plan: Plan) -> Question:
    """What a result answers, whoever proved it."""
    return Question(model_of(plan).of_any_prover, plan.lemma, plan.trait)


def told_by(plan: Plan) -> str:
    """Who came to a result, and how: `rs -D=LEAK`, `rs strong` of a variant."""
    words = variant_words(plan.flags, plan.options, plan.variant)
    return f"{plan.prover} {words}".rstrip()


def variant_words(flags: Iterable[str], options: Iterable[str], variant: str = "") -> str:
    """What tells results of one lemma apart: their variant, or `-D=LEAK --heuristic=S`."""
    if variant:
        return variant
    defines = [f"-D={flag}" for flag in flags]
    return quoted([*defines, *options])


def silence_words(plan: Plan) -> str:
    """`no rule has the action Comit/2 (did you mean Commit/2?)`, of a lemma with such actions."""
    actions = listed(plan.unknown_actions)
    noun = "action" if len(plan.unknown_actions) == 1 else "actions"
    words = f"no rule has the {noun} {actions}"
    if plan.holds_anyway:
        return f"true of every trace, whatever the rules do: {words}"
    return words


def told_outcome(task: Task) -> str:
    """Its outcome; of what stands in a file without a verdict what is there instead."""
    if task.verdict is not None or not stands_in_a_file(task):
        return task.outcome
    claim = task.result.reason if task.result else ""
    return claim or "no result"


def _falsified(assumptions: Iterable[Assumption]) -> list[Assumption]:
    return [each for each in assumptions if each.state == Verdict.FALSIFIED]


def told_of(task: Task, assumptions: Sequence[Assumption] = (), against: Sequence[str] = ()) -> str:
    """`verified, assuming types (timeout)`; `verified, resting on a falsified lemma: calm`.

    What speaks `against` the verdict is told: `verified, but falsified by rs`. Of what has no
    result yet also the one that it had: `pending, was verified (an older text)`.
    """
    if task.outdated:
        was = outcome_words(task.outdated.result)
        return f"{task.outcome}, was {was} ({what_changed(task.outdated.plan, task.plan)})"
    outcome = told_outcome(task)
    false = _falsified(assumptions) if assumptions else []
    if false:
        lemmas = listed(each.lemma + each.way for each in false)
        return f"{outcome}, {RESTING_ON_FALSE}: {lemmas}"
    if against:
        return f"{outcome}, but {listed(against)}"
    if assumptions:
        return f"{outcome}, assuming {listed(assumptions)}"
    if task.confirmed_by:
        return f"{outcome}, {CONFIRMED_BY}{listed(task.confirmed_by)}"
    return outcome


def _results_by_model(tasks: Iterable[Task]) -> dict[Model, dict[str, Task]]:
    """Of each model the one result of each lemma that counts."""
    models: dict[Model, dict[str, Task]] = {}
    for task in tasks:
        lemma = task.plan.lemma
        results = models.setdefault(model_of(task.plan), {})
        known = results.get(lemma)
        if known is None or _outweighs(task, known):
            results[lemma] = task
    return models


def model_of(plan: Plan) -> Model:
    """The model that a result of this plan is about; a heuristic, say, makes no other one."""
    flags = _model_words(plan.options, plan.flags)
    if plan.theory_digest:
        return Model(plan.theory_digest, "", flags, plan.prover)
    return Model(plan.theory, plan.cwd, flags, plan.prover)


# Many tasks have the same.
@functools.lru_cache(maxsize=1024)
def _model_words(options: tuple[str, ...], flags: tuple[str, ...]) -> tuple[str, ...]:
    """The flags, wherever they are given, and what else makes another theory of the same text."""
    reading = reading_options(options, flags)
    words = set(reading.flags)
    if reading.diff:
        words.add(DIFF.name)
    if reading.auto_sources:
        words.add(AUTO_SOURCES.name)
    return tuple(sorted(words))


def _outweighs(later: Task, known: Task) -> bool:
    """Whether the later of two results counts: the worst news do, then that it is verified."""
    # One counterexample is enough; that it was verified elsewhere is a finding of its own.
    if known.verdict is Verdict.FALSIFIED:
        return False
    return later.verdict is Verdict.FALSIFIED or not _is_closed(known)


def _is_closed(task: Task) -> bool:
    """Whether who assumes the lemma needs nothing more: it is verified, or does not exist."""
    return task.verdict is Verdict.VERIFIED or task.status is Status.NOT_NEEDED


def _ways_to_open_lemmas(results: Mapping[str, Task]) -> Ways:
    """What each settled lemma rests on.

    Open lemmas are handed on from each lemma to those that assume it until nothing is new: this
    ends in circles, too, and every way is finite.
    """
    settled = {name: task for name, task in results.items() if _is_closed(task)}
    ways: Ways = {}
    for name, task in settled.items():
        assumes = task.plan.assumes
        ways[name] = {lemma: "" for lemma in assumes if lemma not in settled}
    waiting = deque(name for name, lemmas in ways.items() if lemmas)
    if not waiting:  # the usual case: all is verified
        return ways
    users = _users(settled)
    while waiting:
        below = waiting.popleft()
        for name in users.get(below, ()):
            if ways[below].keys() <= ways[name].keys():
                continue
            # A way that is known stays: it was found first, and can't lead back here.
            for lemma in ways[below]:
                ways[name].setdefault(lemma, below)
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


class Row(NamedTuple):
    """A task as people see it: made once, used by every table and report, the audit and `status`.

    Times in seconds, memory in MB; what did not end has a `result` with nothing but its status.
    """

    task: Task
    result: Result
    outcome: str  # the verdict if there is one, else the status, or what a file has instead
    told: str  # the outcome with what it rests on: `verified, assuming types (timeout)`
    assuming: tuple[Assumption, ...]  # what the verdict takes for granted and is not verified here
    rests_on_false: tuple[Assumption, ...]  # those of them that are falsified
    against: Sequence[str]  # what contradicts the verdict: `falsified by rs`
    on_older_text: bool  # the theory, or an oracle, has changed since
    directory: str = ""  # in a report: the results directory that it is of
    advisories: Sequence[Applied] = ()  # known problems of its prover that touch its verdict

    @property
    def plan(self) -> Plan:
        return self.task.plan

    @property
    def limits(self) -> Limits:
        """Those of its result. One that met larger limits than are planned now still holds."""
        return self._plan_of_result.limits

    @property
    def raised_limit(self) -> str:
        """`limit raised to 20 s`, of its result's limits; "" where the recipe's were enough."""
        return self._plan_of_result.raised_limit

    @property
    def _plan_of_result(self) -> Plan:
        record = self.task.record
        return record.plan if record else self.plan

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the prover warned of, and before that what the lemma itself leaves in doubt."""
        if not self.plan.unknown_actions:
            return self.result.warnings
        return (silence_words(self.plan), *self.result.warnings)

    @property
    def is_failure(self) -> bool:
        """Whether it misses its expectation, or must be wrong for all we know: exit code 1."""
        is_doubtful = bool(self.rests_on_false or self.against)
        return self.task.misses_expectation or is_doubtful

    @property
    def is_problem(self) -> bool:
        """Whether the exit code tells of it: a failure, or no answer although one is wanted."""
        return self.is_failure or not self.task.is_settled

    @property
    def standing(self) -> str:
        """As what it counts: its outcome, unless that is an answer which must not be taken so."""
        if self.rests_on_false:
            return RESTING_ON_FALSE
        if self.against:
            return CONTRADICTED
        if self.task.is_answered and self.task.misses_expectation:
            return NOT_AS_EXPECTED
        return self.outcome

    @property
    def is_as_expected(self) -> bool:
        """Whether it is what the recipe expects, and that stands."""
        expect = self.plan.expect
        is_doubtful = bool(self.rests_on_false or self.against)
        return bool(expect) and self.task.verdict == expect and not is_doubtful

    @property
    def shared_by(self) -> int:
        """How many tasks its process served: its time and memory are theirs together."""
        return self.result.shared_by

    @property
    def sharing(self) -> str:
        """`shared by 5`; "" of a result that was measured alone."""
        return f"shared by {self.shared_by:,}" if self.shared_by > 1 else ""


def rows_of(
    tasks: Iterable[Task],
    closure: Closure,
    older: Collection[str] = (),
    advisories: AppliedAdvisories | None = None,
    directory: str = "",
) -> Iterator[Row]:
    """Tasks as people see them; `closure` knows all tasks of the batch.

    `older`: the ids of those whose theory has changed since. `advisories`: by task id what applies.
    `directory`: where their batch stands.
    """
    applied = advisories or {}
    for task in tasks:
        result = task.result or Result(task.status, trait=task.plan.trait)
        assuming = closure.open_assumptions(task)
        against = closure.against(task)
        told = told_of(task, assuming, against)
        on_older_text = task.id in older
        if on_older_text:
            told += ", on an older text"
        false = _falsified(assuming) if assuming else ()
        yield Row(
            task,
            result,
            outcome=told_outcome(task),
            told=told,
            assuming=assuming,
            rests_on_false=tuple(false),
            against=against,
            on_older_text=on_older_text,
            directory=directory,
            advisories=applied.get(task.id, ()),
        )


def exit_code(tasks: Iterable[Task], closure: Closure) -> int:
    """The exit code that these tasks ask for; `closure` knows all tasks of the batch.

    1: an expectation was missed, or a verdict rests on a falsified lemma; 3: some task has neither
    `verified` nor `falsified`, and should have.
    """
    code = 0
    for row in rows_of(tasks, closure):
        # A wrong result is worse news than any number of missing ones.
        if row.is_failure:
            return 1
        if row.is_problem:
            code = 3
    return code


# --- Verdicts touched by known problems -----------------------------------------------------------

# Whether one of ADVISORIES applies to a verdict: the prover has the problem, as far as its version
# tells, the problem can make such a verdict false, and its condition holds. Texts are read again
# each time: the list grows, and what was proven years ago must be held against it as it is today.


class Applied(NamedTuple):
    """An advisory that applies to a verdict."""

    advisory: Advisory
    met: Met
    doubt: str = ""  # why the prover only may be affected
    is_accepted: bool = False  # by who knows of it

    @property
    def message(self) -> str:
        """What of the problem holds, in one line."""
        told = self.advisory.what
        if self.met.where:
            told += f" ({self.met.where})"
        if self.doubt:
            told += f"; may be affected: {self.doubt}"
        return told

    @property
    def name(self) -> str:
        """Its id, and whether it is accepted."""
        if self.is_accepted:
            return f"{self.advisory.id} (accepted)"
        return self.advisory.id

    @property
    def references(self) -> str:
        """`#770, PR #837`."""
        return ", ".join(self.advisory.references)

    @property
    def in_full(self) -> str:
        """`xor (#770, PR #837): what; what to do`."""
        return f"{self.name} ({self.references}): {self.message}; {self.advisory.advice}"


def told_touched(verdicts: Iterable[Collection[Applied]]) -> str:
    """`2 verdicts touched by known problems of provers, 9 proven by tamarin-rs only`, or "".

    `verdicts`: what applies to each. What is accepted never counts. That one program alone has
    proven a verdict is no problem of that verdict: it would hide those that have some.
    """
    touched = 0
    by_one_program = 0
    for applied in verdicts:
        flavours = [each.advisory.flavour for each in applied if not each.is_accepted]
        touched += any(flavour != Flavour.TAMARIN_RS for flavour in flavours)
        by_one_program += Flavour.TAMARIN_RS in flavours
    told: list[str] = []
    if touched:
        told.append(f"{plural(touched, 'verdict')} touched by known problems of provers")
    if by_one_program:
        told.append(f"{plural(by_one_program, 'verdict')} proven by {Flavour.TAMARIN_RS} only")
    return ", ".join(told)


# By task id.
AppliedAdvisories = Mapping[str, Sequence[Applied]]
NONE_APPLIED: AppliedAdvisories = {}


class TouchedText(NamedTuple):
    """What known problems a text in a file meets."""

    touches: Sequence[Touch]
    lacks_processes: bool = False  # a prover printed the rules that it made of them, and not these


TouchedTexts = Mapping[str, TouchedText]  # by digest

_NO_TEXT = "the text that was proven is not known"
_NO_PROCESSES = "printed theories don't show their processes: "
_NO_OPTIONS = "the options of the prover are not known: "


class KnownProblems:
    """The advisories that apply to the verdicts of some batches.

    `batches`: by where they stand. `rechecks`: of their proofs. `texts`: of those read from files.
    `accepted`: ids of advisories.
    """

    def __init__(
        self,
        batches: Mapping[str, Batch],
        rechecks: Sequence[Batch] = (),
        texts: TouchedTexts | None = None,
        accepted: Collection[str] = (),
    ) -> None:
        self._texts = texts or {}
        self._unjudged: dict[str, int] = {}  # how many verdicts, by why
        self._by_tamarin_prover: Collection[_AnswerOf] = ()
        if any(_has_tamarin_rs(batch) for batch in batches.values()):
            self._by_tamarin_prover = _answered_by_tamarin_prover(batches)
        self._checkers: set[str] = set()  # aliases of tamarin-prover in rechecks
        for recheck in rechecks:
            provers = filter(_is_tamarin_prover, recheck.provers.values())
            self._checkers.update(prover.alias for prover in provers)
        self._applied: dict[str, AppliedAdvisories] = {}
        for source, batch in batches.items():
            names = {*accepted, *_accepted_by_recipe(batch.header)}
            self._applied[source] = self._judge_batch(source, batch, names)

    def within(self, source: str) -> AppliedAdvisories:
        """What applies to the tasks of one batch."""
        return self._applied.get(source, NONE_APPLIED)

    @property
    def not_judged(self) -> list[str]:
        """What is not known, so that nothing is said of some verdicts."""
        told: list[str] = []
        for reason, count in self._unjudged.items():
            told.append(f"{plural(count, 'verdict')}: {reason}")
        return told

    def _judge_batch(
        self, source: str, batch: Batch, accepted: Collection[str]
    ) -> AppliedAdvisories:
        reader = _ProvenTexts(source, batch)
        found: dict[str, Sequence[Applied]] = {}
        for tasks in _alike(batch).values():
            prover = _prover_of(batch, tasks[0])
            why_not = _why_not_judged(prover)
            if why_not:
                self._leave(why_not, tasks)
                continue
            touches = self._touches(tasks, reader)
            relevant = _relevant_to(prover, touches, accepted)
            for task in tasks:
                applied = self._to_task(task, relevant)
                if applied:
                    found[task.id] = applied
        return found

    def _leave(self, reason: str, tasks: Sequence[Task]) -> None:
        """Nothing, or not all, is said of these tasks."""
        self._unjudged[reason] = self._unjudged.get(reason, 0) + len(tasks)

    def _touches(self, tasks: Sequence[Task], reader: _ProvenTexts) -> Sequence[Touch]:
        """The advisories whose conditions hold for tasks that are alike."""
        task = tasks[0]
        timed_out = _checks_timed_out(task)
        if not stands_in_a_file(task):
            theory = reader.theory_of(task.plan)
            if not theory:
                self._leave(_NO_TEXT, tasks)
            return conditions_met(Circumstances(theory, reader.options_of(task.plan), timed_out))
        # Of what stands in a file the text was judged when it was read.
        text = self._texts.get(task.plan.theory_digest)
        without_text = conditions_met(Circumstances(None, None, timed_out))
        if not text:
            self._leave(_NO_TEXT, tasks)
            return without_text
        by_options = [each.id for each in ADVISORIES.values() if OPTIONS_NEEDED in each.needs]
        self._leave(_NO_OPTIONS + ", ".join(by_options), tasks)
        if text.lacks_processes:
            self._leave(_NO_PROCESSES + "sapic-...", tasks)
        return [*text.touches, *without_text]

    def _to_task(self, task: Task, relevant: Mapping[str, list[Applied]]) -> Sequence[Applied]:
        """What applies to a verdict: of each advisory the heaviest case."""
        plan = task.plan
        found: dict[str, Applied] = {}
        for each in (*relevant.get("", ()), *relevant.get(plan.lemma, ())):
            advisory = each.advisory
            if not _can_touch(advisory, task):
                continue
            if advisory.flavour == Flavour.TAMARIN_RS and self._is_confirmed(task):
                continue
            known = found.get(advisory.id)
            is_heavier = each.met.weight is Weight.ADVISORY
            if known is None or (is_heavier and known.met.weight is Weight.NOTE):
                found[advisory.id] = each
        return tuple(found.values())

    def _is_confirmed(self, task: Task) -> bool:
        """Whether tamarin-prover says the same in these results, or of the proof in a recheck."""
        checkers = {by.partition(" (")[0] for by in task.confirmed_by}
        if not checkers.isdisjoint(self._checkers):
            return True
        return _answer_of(task) in self._by_tamarin_prover


def _alike(batch: Batch) -> dict[Hashable, list[Task]]:
    """The answered tasks of a batch; those are together that are judged by the same facts."""
    groups: dict[Hashable, list[Task]] = {}
    for task in batch.tasks.values():
        if task.is_answered:
            plan = task.plan
            key = (plan.view, plan.theory_digest, _checks_timed_out(task))
            groups.setdefault(key, []).append(task)
    return groups


def _checks_timed_out(task: Task) -> bool:
    """Whether the prover said so of its derivation checks."""
    warnings = task.result.warnings if task.result else ()
    return any(warning.startswith(DERIVATION_CHECKS_TIMED_OUT) for warning in warnings)


def _prover_of(batch: Batch, task: Task) -> Prover:
    """Who proved; without a version where a damaged journal does not say it."""
    alias = task.plan.prover
    return batch.provers.get(alias) or Prover(alias, ())


def _why_not_judged(prover: Prover) -> str:
    """Why the list can't be held against what a prover says; "" if it can."""
    if not version_number(prover.version):
        return "who proved them, or which version, is not known"
    if prover.flavour == EITHER_PROGRAM:
        return "which of tamarin-prover and tamarin-rs proved them is not known"
    if prover.flavour not in (Flavour.TAMARIN_PROVER, Flavour.TAMARIN_RS):
        return f"the list says nothing of {prover.flavour}"
    return ""


def _relevant_to(
    prover: Prover, touches: Iterable[Touch], accepted: Collection[str]
) -> dict[str, list[Applied]]:
    """Those that a prover has, or may have, by the lemma that they touch ("": every one)."""
    relevant: dict[str, list[Applied]] = {}
    for advisory, met in touches:
        likelihood = affected(advisory, prover.flavour, prover.version)
        if likelihood is Exposure.NOT_AFFECTED:
            continue
        doubt = ""
        if likelihood is Exposure.MAYBE:
            doubt = reason_for_doubt(prover.flavour, prover.version)
        applied = Applied(advisory, met, doubt, advisory.id in accepted)
        relevant.setdefault(met.lemma, []).append(applied)
    return relevant


def _can_touch(advisory: Advisory, task: Task) -> bool:
    """Whether a problem can have made this very verdict false."""
    plan = task.plan
    is_diff = plan.trait == Trait.DIFF or bool(plan.sides) or DIFF.is_given(plan.options)
    if advisory.in_diff and not is_diff:
        return False
    if advisory.of_equivalence and plan.trait != Trait.DIFF:
        return False
    if advisory.can_be_false is CanBeFalse.BOTH:
        return True
    # The two kinds of verdicts, whatever the lemma asks for.
    is_without_trace = (plan.trait, task.verdict) in RESTING
    return is_without_trace == (advisory.can_be_false is CanBeFalse.NO_TRACE)


def _has_tamarin_rs(batch: Batch) -> bool:
    return any(prover.flavour == Flavour.TAMARIN_RS for prover in batch.provers.values())


class _AnswerOf(NamedTuple):
    """What was answered, whoever did."""

    question: Question
    verdict: Verdict | None


def _answer_of(task: Task) -> _AnswerOf:
    model = model_of(task.plan).of_any_prover
    return _AnswerOf(Question(model, task.plan.lemma, task.plan.trait), task.verdict)


def _answered_by_tamarin_prover(batches: Mapping[str, Batch]) -> set[_AnswerOf]:
    """What tamarin-prover has proven."""
    answers: set[_AnswerOf] = set()
    for batch in batches.values():
        for task in batch.tasks.values():
            if task.is_answered and _is_tamarin_prover(_prover_of(batch, task)):
                answers.add(_answer_of(task))
    return answers


def _is_tamarin_prover(prover: Prover) -> bool:
    """Whether it is that one for certain."""
    return prover.flavour == Flavour.TAMARIN_PROVER and prover.version != ""


def _accepted_by_recipe(header: Header) -> list[str]:
    """The advisories that the recipe accepts; a journal may hold anything."""
    config = header.recipe.get("config")
    accepted = config.get("accept_advisories") if isinstance(config, dict) else None
    return list(map(str, accepted)) if isinstance(accepted, list) else []


class _ProvenTexts:
    """The theories of a batch as they were proven, wherever they are kept."""

    def __init__(self, directory: str, batch: Batch) -> None:
        self._batch = batch
        self._copies = kept_inputs(batch.header, directory)
        # Several provers, or sets of options, may have proven one.
        self._load = functools.lru_cache(maxsize=4)(self._loaded)

    def options_of(self, plan: Plan) -> tuple[str, ...]:
        """The options of a task's call."""
        return _all_options(self._batch, plan)

    def theory_of(self, plan: Plan) -> Theory | None:
        """The text that a result is of; None where it is not there any more, or can't be read."""
        view = reading_options(self.options_of(plan), plan.flags)
        theory = self._load(_theory_path(plan), view)
        # batch-tamarin does not say which text it proved: then it is what lies there.
        if theory and plan.theory_digest not in ("", theory.digest[:32]):
            return None
        return theory

    def _loaded(self, path: str, view: ReadingOptions) -> Theory | None:
        try:
            return load_theory(path, *view, self._copies)
        except (InputError, ValueError):  # a journal may name what can be no file
            return None


# --- Findings -------------------------------------------------------------------------------------

UNKNOWN = "what the verdicts assume is unknown"
NO_PROOF_FILE = "no proof file"
NO_RESULT_OF_CHECK = "the result that was checked is not here"

# Of every kind of finding what to do about it, in the order in which they are told.
ADVICE = {
    # Known problems of provers, told before all else that counts as little.
    Weight.ADVISORY.value: "what to do stands beside each",
    Weight.NOTE.value: "what to do stands beside each",
    "expectation": "find out what changed: theory, prover, options or limits; or correct what is "
    "expected",
    "assumption": "prove what is assumed, with the same prover and text; if it is false, correct "
    "it: anything follows from it",
    "disagreement": "at most one is right: compare texts, flags and assumptions, let another "
    "prover check the proof",
    "invalid": "do not rely on it: run the prover again and keep all that it writes",
    "unconfirmed": "let another prover check the proof, or `recheck --prove-rejected` find its own",
    "stale": "run it again, on the theory as it is now",
    "missing": "prove it: nothing is known of it",
    "unknown-action": "correct the action's name or arguments in the lemma, or let a rule have it: "
    "what never comes proves nothing",
    "vacuity": "let an exists-trace lemma show that the rules can run: where they can't, "
    "everything is true of all traces",
    "sorry": "finish the proof",
    "warning": "correct the theory; `check --report` shows all that the prover says",
}

# The same where a message of a kind wants another advice, by how it begins.
ADVICE_ON = {
    "derivation checks timed out": "they say nothing of the verdict, and depend on the machine: "
    "raise --derivcheck-timeout",
    "Maude ": "use a version of Maude that the prover names as supported",
    UNKNOWN: "put the theory as it was proven beside the log, and audit both",
    "text matched by name": "put the theory as it was proven beside the log, and audit both",
    "is not there any more": "put the theory back where it was, or audit it with the results",
    "no complete summary": "see why it ended, and run it again",
    "empty: ": "see why the prover did not start, or was ended, and run it again",
    "no summary, the theory has a parse error": "correct the theory there, and run it again",
    "can't be read as a theory": "see that the file is whole, and let a prover check it: what one "
    "had not written to its end proves nothing",
    NO_RESULT_OF_CHECK: "audit the results directory with the recheck in it",
    NO_PROOF_FILE: "bring back what was lost, or prove it again (`run RECIPE --again -t ID`)",
}


def advice_on(each: Finding) -> str:
    """What to do about a finding."""
    for beginning, advice in ADVICE_ON.items():
        if each.message.startswith(beginning):
            return advice
    return ADVICE[each.kind]


# How bad a finding is; the first are told first.
FLIP = 0  # a verdict turned into its opposite
WRONG = 1
NOTE = 2  # counts with --strict only
# Never counts: a date that every checkout makes new, a remark of who wrote the theory, what who
# wrote the expectations accepts.
HINT = 3


class Finding(NamedTuple):
    """Something that a reader of results must know."""

    kind: str  # one of ADVICE
    theory: str
    lemma: str  # "": it is about the whole theory
    message: str
    rank: int = WRONG
    prover: str = ""
    source: str = ""  # the results directory, log or theory that the result stands in
    entry: str = ""  # of the recipe
    variant: str = ""
    flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    problem: Applied | None = None  # the known problem of the prover that it tells of

    @property
    def is_note(self) -> bool:
        """Whether it is no finding, or only with --strict."""
        return self.rank >= NOTE

    def counts(self, strict: bool) -> bool:
        """Whether the exit code tells of it."""
        return self.rank < NOTE or (strict and self.rank == NOTE)


def finding(kind: str, task: Task, message: str, rank: int = WRONG, source: str = "") -> Finding:
    """A finding about a task; `source`: where that stands, unless it knows its file itself."""
    plan = task.plan
    place = Finding(kind, plan.theory, plan.lemma, message, rank, plan.prover)
    if stands_in_a_file(task):
        return place._replace(source=plan.entry)
    return place._replace(
        source=source,
        entry=plan.entry,
        variant=plan.variant,
        flags=plan.flags,
        options=plan.options,
    )


def audit_rows(batches: Mapping[str, Batch], problems: KnownProblems) -> Iterator[Row]:
    """All tasks as an audit sees them; `batches` by where they stand."""
    closures = audit_closures(batches)
    for source, batch in batches.items():
        older = sources_now(batch).older
        tasks = batch.tasks.values()
        yield from rows_of(tasks, closures[source], older, problems.within(source), source)


def audit(batches: Mapping[str, Batch], rows: Iterable[Row]) -> Iterator[Finding]:
    """What results say about themselves and about each other; `rows`: all of `audit_rows`."""
    for row in rows:
        for each in _findings_of_task(row):
            yield _placed(each, row.directory)
    for source, batch in batches.items():
        yield from _silent_lemmas(source, batch)
    yield from _vacuous_models(batches)
    yield from _disagreements(batches)


def _placed(each: Finding, source: str) -> Finding:
    """A finding with the results directory that it is of, unless its file is known."""
    if each.source:
        return each
    return each._replace(source=source)


def audit_closures(batches: Mapping[str, Batch]) -> dict[str, Closure]:
    """What verdicts of each batch rest on.

    Logs of one text may lie in several folders. Of batches each stands for itself: one alias may
    mean two provers.
    """
    in_files: list[Task] = []
    for batch in batches.values():
        in_files += filter(stands_in_a_file, batch.tasks.values())
    of_files = Closure(in_files)
    closures: dict[str, Closure] = {}
    for source, batch in batches.items():
        tasks = batch.tasks.values()
        if any(map(stands_in_a_file, tasks)):
            closures[source] = of_files
        else:
            closures[source] = Closure(tasks)
    return closures


def findings_of_known_problems(
    batches: Mapping[str, Batch], problems: KnownProblems
) -> Iterator[Finding]:
    """The advisories that apply, a finding for each verdict and advisory."""
    for source, batch in batches.items():
        for task_id, applied in problems.within(source).items():
            task = batch.tasks[task_id]
            for each in applied:
                rank = HINT if each.is_accepted else NOTE
                told = finding(each.met.weight.value, task, each.message, rank, source)
                yield told._replace(problem=each)


def _findings_of_task(row: Row) -> Iterator[Finding]:
    task = row.task
    if task.misses_expectation:
        message = f"expected {task.plan.expect}, got {row.outcome}"
        yield _missed(task, message)
    if row.assuming:
        rank = NOTE
        if row.rests_on_false:
            rank = WRONG
        yield finding("assumption", task, row.told, rank)
    # What a log or a theory has no verdict of is told where those are read.
    if task.wants_verdict and not stands_in_a_file(task):
        yield finding("missing", task, f"no verdict: {row.outcome}", NOTE)
    for text in row.result.warnings:
        yield finding("warning", task, text, NOTE)


def _missed(task: Task, message: str, source: str = "") -> Finding:
    """A finding that a result is not the expected one; an opposite answer is the worst."""
    rank = WRONG
    if task.is_answered:
        rank = FLIP
    return finding("expectation", task, message, rank, source)


def _silent_lemmas(source: str, batch: Batch) -> Iterator[Finding]:
    """Lemmas about actions that nothing makes, each once, whoever proves it."""
    told: set[tuple[str, str, tuple[str, ...]]] = set()
    for task in batch.tasks.values():
        plan = task.plan
        key = (plan.theory, plan.lemma, plan.unknown_actions)
        if not plan.unknown_actions or key in told:
            continue
        told.add(key)
        # It may be meant so: in this variant of the model nobody can leak a key.
        place = finding("unknown-action", task, silence_words(plan), NOTE, source)
        yield place._replace(prover="", entry="", variant="", options=())


def _vacuous_models(batches: Mapping[str, Batch]) -> Iterator[Finding]:
    """Models of which something is verified of all traces, and no trace was found."""
    models: dict[Model, list[Located]] = {}
    # Logs of one text may lie in several folders. Of those that have nothing but the theory's name
    # in common nobody knows whether the trace of one is a trace of the other: nothing is claimed.
    for answer in located_tasks(batches):
        model = model_of(answer.task.plan).of_any_prover.of_any_folder
        models.setdefault(model, []).append(answer)
    for answers in models.values():
        # By trait the first that is verified.
        verified: dict[str, Located] = {}
        for each in answers:
            if each.task.verdict is Verdict.VERIFIED:
                verified.setdefault(each.task.plan.trait, each)
        if Trait.ALL_TRACES in verified and Trait.EXISTS_TRACE not in verified:
            yield _vacuity(verified[Trait.ALL_TRACES], answers)


def _vacuity(verified: Located, answers: Iterable[Located]) -> Finding:
    """That no trace of a model was found, and which lemmas should have had one.

    `verified`: what may be so because nothing can happen.
    """
    # An answer says more than that another prover had none.
    without: dict[str, str] = {}
    for _, task in answers:
        if task.plan.trait != Trait.EXISTS_TRACE:
            continue
        if task.verdict is Verdict.FALSIFIED:
            without[task.plan.lemma] = "falsified, no trace"
        elif not_asked_for(task):
            without.setdefault(task.plan.lemma, "nobody asked for a proof")
        else:
            without.setdefault(task.plan.lemma, task.outcome)
    missing = "no exists-trace lemma in these results"
    if without:
        told = [f"{lemma}: {outcome}" for lemma, outcome in without.items()]
        missing = f"no exists-trace lemma with a trace ({listed(told)})"
    message = f"{missing}: what is verified of all traces may hold because nothing can happen"
    place = finding("vacuity", verified.task, message, NOTE, verified.source)
    # Of the whole model, whoever proved it, by whatever options.
    return place._replace(lemma="", prover="", entry="", variant="", options=())


class Located(NamedTuple):
    """A task, and where it stands."""

    source: str
    task: Task

    @property
    def place(self) -> str:
        """The file that it stands in, or the results directory."""
        return place_of(self.task, self.source)


def place_of(task: Task, source: str) -> str:
    """The file that a task of a batch stands in, or the batch's results directory."""
    return task.plan.entry if stands_in_a_file(task) else source


def located_tasks(batches: Mapping[str, Batch]) -> Iterator[Located]:
    """All tasks of some batches; `batches` by where they stand."""
    for source, batch in batches.items():
        for task in batch.tasks.values():
            yield Located(source, task)


def _disagreements(batches: Mapping[str, Batch]) -> Iterator[Finding]:
    """Lemmas that are verified here and falsified there."""
    # Few lemmas are falsified: only these are remembered. `incomplete` contradicts nobody.
    falsified = dict(_all_answers(batches, Verdict.FALSIFIED))
    verified: dict[Question, Located] = {}
    if falsified:
        for question, answer in _all_answers(batches, Verdict.VERIFIED):
            if question in falsified:
                verified[question] = answer
    for question, answer in verified.items():
        yield _disagreement(answer, falsified[question])


def _all_answers(
    batches: Mapping[str, Batch], verdict: Verdict
) -> Iterator[tuple[Question, Located]]:
    """All results with this verdict, each with what it answers."""
    for answer in located_tasks(batches):
        task = answer.task
        if task.verdict is verdict:
            # Logs of one theory stand in many folders. Of those that have nothing but the
            # theory's name in common, people must look which are of one text.
            model = model_of(task.plan).of_any_prover.of_any_folder
            yield Question(model, task.plan.lemma, task.plan.trait), answer


def _disagreement(verified: Located, falsified: Located) -> Finding:
    """A finding only if both are known to be of one text."""
    task = verified.task
    message = f"verified by {told_by(task.plan)}, falsified by {told_by(falsified.task.plan)}"
    if verified.place != falsified.place:
        message += f" (in {verified.place} and in {falsified.place})"
    rank = WRONG
    is_one_batch = verified.source == falsified.source and not stands_in_a_file(task)
    if not (task.plan.theory_digest or is_one_batch):
        message += ": whether they are of one text, with the same flags, is not known"
        rank = NOTE
    place = finding("disagreement", task, message, rank, verified.source)
    return place._replace(prover="", entry="", variant="", options=())


# --- Expectations and comparison ------------------------------------------------------------------

# What a row of expectations may say of a result, beside theory, lemma and verdict.
PINS = ("source", "entry", "variant", "flags", "options", "prover")


class Reference(NamedTuple):
    """A result to compare others with: an expected one, or one of a baseline."""

    task: Task
    place: str  # where it stands: `pinned.csv, row 3`, a results directory, a log
    pins: Mapping[str, str]  # which of PINS are known, and what they are

    @property
    def is_pattern(self) -> bool:
        """Whether its lemma or its theory is a shell pattern."""
        return _is_pattern(self.task.plan.lemma) or _is_pattern(self.task.plan.theory)


def pins_of(located: Located) -> dict[str, str]:
    """What is known of how a result came, as a row of expectations would say it."""
    plan = located.task.plan
    pins = {"source": located.place, "entry": plan.entry, "prover": plan.prover}
    # A log doesn't tell its command line.
    if not stands_in_a_file(located.task):
        pins["variant"] = plan.variant
        pins["flags"] = joined(sorted(plan.flags))
        pins["options"] = joined(plan.options)
    return pins


def joined(words: Iterable[str]) -> str:
    """Several words in one cell of a table for programs."""
    return "; ".join(words)


def split_cell(cell: str) -> tuple[str, ...]:
    """The words that `joined` put into one cell."""
    return tuple(filter(None, cell.split("; ")))


def references_of(tasks: Iterable[Located]) -> list[Reference]:
    """Results as a baseline for others."""
    return [Reference(each.task, each.place, pins_of(each)) for each in tasks]


class _Expected(NamedTuple):
    """What a file of expectations says of a lemma; theory and lemma may be shell patterns."""

    place: str  # in the file
    theory: str  # with or without folder and ending; "": any
    lemma: str
    verdict: str
    pins: Mapping[str, str]


def read_expectations(path: str) -> list[Reference]:
    """What a file expects, as results that would be so. Raises InputError.

    JSON: `{"lemma": "verified"}` or `{"theory.spthy": {"lemma": "verified"}}`. A table: columns
    `theory`, `lemma`, `verdict` and any of PINS, apart by commas, semicolons or tabs; a row without
    a verdict expects nothing. Theories (with or without folder and ending; "": any) and lemmas may
    be shell patterns.
    """
    import csv

    text = read_text(path)
    try:
        read = _expected_json if text.lstrip().startswith("{") else _expected_rows
        expected = [_reference(row, path) for row in read(text)]
    except json.JSONDecodeError as error:
        raise no_json(text, error, path) from None
    except (ValueError, RecursionError, csv.Error) as error:
        forms = "a JSON object, or a table with the columns theory, lemma and verdict"
        raise InputError(f"{printable(str(error))} (expected is {forms})", path) from None
    if not expected and not read_accepted(path):
        raise InputError("nothing is expected here", path)
    return expected


ACCEPT = "accept"  # the member of a file of expectations that names advisories


def read_accepted(path: str) -> list[str]:
    """The advisories that a file of expectations accepts: `{"accept": ["xor"]}`.

    Raises InputError for an id that there is not. What is no JSON accepts none.
    """
    text = read_text(path)
    if not text.lstrip().startswith("{"):
        return []
    accepted: Any = None
    with suppress(ValueError, RecursionError):  # `read_expectations` tells of these
        accepted = json.loads(text).get(ACCEPT)
    if not isinstance(accepted, list):
        return []
    for name in map(str, accepted):
        if name not in ADVISORIES:
            hint = did_you_mean(name, ADVISORIES)
            message = (
                f"{ACCEPT}: no known problem '{printable(name)}'{hint}; see audit --advisories"
            )
            raise InputError(message, path)
    return list(map(str, accepted))


def _expected_json(text: str) -> Iterator[_Expected]:
    for name, value in json.loads(text, object_pairs_hook=_each_once).items():
        if name == ACCEPT and isinstance(value, list):
            continue  # `read_accepted` reads these
        if isinstance(value, dict):
            for lemma, verdict in value.items():
                yield _Expected(f"'{name}': '{lemma}'", name, lemma, verdict, {})
        else:
            yield _Expected(f"'{name}'", "", name, value, {})


def _each_once(members: Sequence[tuple[str, Any]]) -> Json:
    """An object of JSON. Raises ValueError for a key that stands twice: which one counts?"""
    names = Counter(name for name, _ in members)
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"'{name}' stands twice")
    return dict(members)


def _expected_rows(text: str) -> Iterator[_Expected]:
    """The rows of a table. Raises ValueError, csv.Error."""
    import csv
    import io

    heading, _, _ = text.lstrip().partition("\n")
    delimiter = max(",;\t", key=heading.count)
    columns: list[str] = []
    # Counted as spreadsheets do: the heading is a row, and so is an empty line.
    for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
        if not any(cells):
            continue
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            _refuse_columns(columns, number)
            continue
        # Behind the last column some programs write empty cells.
        if any(cells[len(columns) :]):
            raise ValueError(f"row {number} has {len(cells)} cells, the heading {len(columns)}")
        # What `audit --format csv` writes is a pinned expectation: some of its rows are findings.
        row = dict(zip(columns, map(_cell_text, cells)))
        if row.get("verdict"):
            yield _expected_row(row, f"row {number}")


def _refuse_columns(columns: Sequence[str], number: int) -> None:
    """Raise ValueError for a heading that lacks what an expectation needs, or says it twice."""
    for name in ("lemma", "verdict"):
        if name not in columns:
            raise ValueError(f"row {number}: the heading has no column '{name}'")
    for name in ("theory", "lemma", "verdict", *PINS):
        if columns.count(name) > 1:
            raise ValueError(f"row {number}: the heading has two columns '{name}'")


def _cell_text(cell: str) -> str:
    """A cell without the mark by which our CSV says that it is no formula."""
    return re.sub(r"^'(?=[=+@-])", "", cell.strip())


def _expected_row(row: Mapping[str, str], place: str) -> _Expected:
    """A row of a table. Raises ValueError."""
    if not row["lemma"]:
        raise ValueError(f"{place} names no lemma")
    pins: dict[str, str] = {}
    for name in PINS:
        # No flag and no option is something to pin, too.
        if row.get(name) or (name in row and name in ("flags", "options")):
            pins[name] = row[name]
    if "flags" in pins:
        flags = re.split(r"[;,\s]+", pins["flags"])
        pins["flags"] = joined(sorted(filter(None, flags)))
    return _Expected(place, row.get("theory", ""), row["lemma"], row["verdict"], pins)


def _reference(row: _Expected, path: str) -> Reference:
    """An expectation as a result that would be so. Raises ValueError."""
    verdicts = list(Verdict)
    if row.verdict not in verdicts:
        told = row.verdict if isinstance(row.verdict, str) else json.dumps(row.verdict)[:80]
        raise ValueError(f"{row.place}: '{told}' is no verdict, which are {listed(verdicts)}")
    lemma = Lemma(row.lemma, Trait.ALL_TRACES, "", (), path)
    result = Result(Status.COMPLETED, Verdict(row.verdict))
    task = file_task("", row.theory, row.pins.get("prover", ""), [lemma], result)
    return Reference(task, f"{path}, {row.place}", row.pins)


class Compared(NamedTuple):
    """A result, and what it must be compared with; nothing for one that is new."""

    located: Located
    references: Sequence[Reference]


def check_expectations(tasks: Iterable[Located], path: str) -> Iterator[Finding]:
    """How results differ from what a file expects. Raises InputError."""
    baseline = _Baseline(read_expectations(path))
    compared = list(baseline.compared(tasks))
    _refuse_contradictions(compared)
    _refuse_unclear_rows(compared)
    for each in compared:
        yield from _changed_verdict(each, "expected", 0)
    yield from baseline.lost("expected")


def _refuse_contradictions(compared: Iterable[Compared]) -> None:
    """Raise InputError where two rows expect different verdicts of one result."""
    for located, references in compared:
        places: dict[Verdict | None, str] = {}
        for reference in references:
            places[reference.task.verdict] = reference.place
        if len(places) > 1:
            rows = listed(places.values())
            told = _told_result(located)
            raise InputError(f"{rows}: different verdicts are expected of {told}")


def _refuse_unclear_rows(compared: Iterable[Compared]) -> None:
    """Raise InputError for a row that fits results of two models, with different verdicts.

    A pattern means all that fit it, and a lemma without a theory those of any theory.
    """
    fitting: dict[tuple[str, str], list[Located]] = {}
    rows: dict[str, Reference] = {}
    for located, references in compared:
        theory = os.path.basename(located.task.plan.theory)
        for reference in references:
            if located.task.is_answered and not reference.is_pattern:
                rows[reference.place] = reference
                fitting.setdefault((reference.place, theory), []).append(located)
    for (place, _), results in fitting.items():
        _refuse_unclear_row(rows[place], results)


def _refuse_unclear_row(row: Reference, results: list[Located]) -> None:
    """Raise InputError if these results, which a row fits, are of two models and differ."""
    verdicts: dict[str, str] = {}
    models: set[Model] = set()
    # Where the row's own words single out some, it is those that it means.
    for pin, value in row.pins.items():
        named = [each for each in results if pins_of(each).get(pin) == value]
        results = named or results
    for each in results:
        verdicts[each.task.outcome] = _told_result(each)
        models.add(model_of(each.task.plan).of_any_prover)
    if len(verdicts) > 1 and len(models) > 1:
        told = listed((f"{result}: {verdict}" for verdict, result in verdicts.items()), 2, "; ")
        columns = ", ".join(PINS)
        raise InputError(
            f"{row.place}: fits results with different verdicts ({told}): say which one is meant, "
            f"in columns {columns}, as `audit --format csv` writes them"
        )


def _told_result(located: Located) -> str:
    """`safe in t.spthy by rs -D=LEAK (results)`."""
    plan = located.task.plan
    return printable(f"{plan.lemma} in {plan.theory} by {told_by(plan)} ({located.place})")


def compare(
    tasks: Iterable[Located], before: Iterable[Reference], where: str, tolerance: float
) -> Iterator[Finding]:
    """How results differ from those that stand `where`.

    `tolerance`: so many times the steps and seconds are no news.
    """
    baseline = _Baseline(before)
    for each in baseline.compared(tasks):
        if each.references:
            yield from _changed_verdict(each, where, tolerance)
            yield from _changed_costs(each, where, tolerance)
            yield from _new_warnings(each)
        else:
            message = f"new: not {where}"
            yield finding("expectation", each.located.task, message, NOTE, each.located.place)
    yield from baseline.lost(where)


class _Baseline:
    """Results to compare others with.

    Theories are the same when their base names are. An exact name beats patterns, of these the
    first counts. Other flags make another model, with which nothing is compared. Of what is left
    the same folder, text, source, entry, options and prover beat others, in this order.
    """

    def __init__(self, references: Iterable[Reference]) -> None:
        self.references = list(references)
        self.exact: dict[tuple[str, str], list[Reference]] = {}  # by theory and lemma
        self.patterns: list[Reference] = []
        # A task is no key: it can change.
        # What the results say, whoever says it, of the lemma of each of these tasks.
        self.met: dict[int, set[Verdict | None]] = {}
        self.used: set[int] = set()  # of those that were compared with something
        for reference in self.references:
            plan = reference.task.plan
            theory = os.path.basename(plan.theory)
            self.exact.setdefault((theory, plan.lemma), []).append(reference)
            if reference.is_pattern:
                self.patterns.append(reference)

    def compared(self, tasks: Iterable[Located]) -> Iterator[Compared]:
        """Each result with those that it must be compared with.

        A lemma that one log was not asked for is not, where another result is.
        """
        waiting: list[Located] = []
        for each in tasks:
            if not_asked_for(each.task):
                waiting.append(each)
            else:
                yield self._compared(each)
        for each in waiting:
            references = self._nearest(each)
            if not any(id(reference.task) in self.used for reference in references):
                yield self._compared(each)

    def _compared(self, located: Located) -> Compared:
        references = self._nearest(located)
        self.used.update(id(each.task) for each in references)
        return Compared(located, references)

    def _nearest(self, located: Located) -> list[Reference]:
        plan = located.task.plan
        pins = pins_of(located)
        known = self._exact_results(plan, pins) or self._first_pattern(plan, pins)
        # Two theories of one name may stand in two folders: what is known of one is no word for
        # the other.
        for is_nearer in (_same_place, _same_text):
            known = _preferred(known, functools.partial(is_nearer, plan))
        for each in known:
            self.met.setdefault(id(each.task), set()).add(located.task.verdict)
        for pin in ("source", "entry"):
            known = _with_most_of_the_way(known, pin, pins[pin])
        for pin in ("options", "prover"):
            known = _preferred(known, functools.partial(_same_pin, pins, pin))
        return known

    def lost(self, where: str) -> Iterator[Finding]:
        """What nothing was compared with."""
        for task, place, pins in self.references:
            if id(task) in self.used:
                continue
            message = f"{told_outcome(task)} {where}, not in these results"
            rank = WRONG if task.is_answered else NOTE
            said = self.met.get(id(task), ())
            if said:
                message += ": they have the lemma from elsewhere"
            if task.verdict in said:
                rank = NOTE
            yield finding("missing", task, message, rank)._replace(
                source=place,
                prover=pins.get("prover", ""),
                entry=pins.get("entry", ""),
                flags=split_cell(pins.get("flags", "")),
                options=split_cell(pins.get("options", "")),
            )

    def _exact_results(self, plan: Plan, pins: Mapping[str, str]) -> list[Reference]:
        for theory in _theory_names(plan.theory):
            known = self.exact.get((theory, plan.lemma), ())
            fitting = [each for each in known if _may_have_same_flags(pins, each)]
            if fitting:
                return fitting
        return []

    def _first_pattern(self, plan: Plan, pins: Mapping[str, str]) -> list[Reference]:
        """The rows of the first pattern that fits: several, if they differ in their pins."""
        fitting: list[Reference] = []
        for each in self.patterns:
            if _matches(plan, each.task.plan) and _may_have_same_flags(pins, each):
                fitting.append(each)
        return list(itertools.takewhile(lambda each: _same_names(each, fitting[0]), fitting))


def _same_names(reference: Reference, other: Reference) -> bool:
    plan = reference.task.plan
    return (plan.theory, plan.lemma) == (other.task.plan.theory, other.task.plan.lemma)


def _preferred(
    references: list[Reference], is_nearer: Callable[[Reference], bool]
) -> list[Reference]:
    """The nearer ones, or all if none is."""
    if len(references) < 2:
        return references
    return list(filter(is_nearer, references)) or references


def _may_have_same_flags(pins: Mapping[str, str], reference: Reference) -> bool:
    flags = pins.get("flags")
    known = reference.pins.get("flags")
    return flags is None or known is None or flags == known


def _same_pin(pins: Mapping[str, str], name: str, reference: Reference) -> bool:
    value = pins.get(name)
    return value is not None and reference.pins.get(name) == value


def _with_most_of_the_way(references: list[Reference], pin: str, value: str) -> list[Reference]:
    """Those whose path has most names at its end in common with this one: all may have moved."""
    if len(references) < 2:
        return references
    common = [_common_end(each.pins.get(pin, ""), value) for each in references]
    most = max(common)
    return [each for each, number in zip(references, common) if number == most]


def _common_end(path: str, other: str) -> int:
    """How many names two paths have in common at their ends."""
    names = os.path.normpath(path).split("/")
    others = os.path.normpath(other).split("/")
    pairs = zip(reversed(names), reversed(others))
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


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


def _same_place(plan: Plan, reference: Reference) -> bool:
    place = os.path.normpath(reference.task.plan.theory)
    return place == os.path.normpath(plan.theory)


def _same_text(plan: Plan, reference: Reference) -> bool:
    return plan.theory_digest == reference.task.plan.theory_digest != ""


def _changed_verdict(each: Compared, where: str, tolerance: float) -> Iterator[Finding]:
    task = each.located.task
    before = [reference.task for reference in each.references]
    if not before or any(old.verdict == task.verdict for old in before):
        return
    outcomes = dict.fromkeys(map(told_outcome, before))
    words = " or ".join(outcomes)
    message = f"{words} {where}, {told_outcome(task)} now"
    had_an_answer = any(old.is_answered for old in before)
    if tolerance and not had_an_answer:
        yield finding("expectation", task, message, NOTE, each.located.place)
    else:
        yield _missed(task, message, each.located.place)


# Smaller differences say nothing.
NOISE = {"steps": 0, "seconds": 1}


def proof_cost(result: Result) -> dict[str, float]:
    """What a proof took, by the words of the report: a new measure is one more entry."""
    costs: dict[str, float] = {"steps": result.steps or 0}
    # Of a shared process nobody knows what each proof took.
    if result.shared_by == 1:
        # A log has nothing but the prover's own time: that is what can be compared.
        costs["seconds"] = result.prover_s or result.usage.wall_s
    return costs


def _changed_costs(each: Compared, where: str, tolerance: float) -> Iterator[Finding]:
    located = each.located
    task = located.task
    before = [reference.task for reference in each.references]
    earlier = [old.result for old in before if old.result and old.verdict == task.verdict]
    if task.verdict is None or not task.result or not earlier:
        return
    for growth in _grown_costs(task.result, earlier, tolerance):
        message = f"{growth.told(growth.cost)}, {growth.told(growth.before)} {where}"
        message += f": more than {tolerance:g} times as much"
        yield finding("expectation", task, message, source=located.place)


class _Growth(NamedTuple):
    """A cost that has grown."""

    what: str  # a word of `proof_cost`
    before: float
    cost: float

    def told(self, cost: float) -> str:
        """A cost as people write it: `40 steps`, `0.32 s`."""
        if self.what == "seconds":
            return told_seconds(cost)
        return f"{cost:,g} {self.what}"


def _grown_costs(result: Result, earlier: Sequence[Result], tolerance: float) -> Iterator[_Growth]:
    for what, cost in proof_cost(result).items():
        known = [costs[what] for costs in map(proof_cost, earlier) if what in costs]
        before = max(known, default=0)
        matters = cost - before > NOISE[what]
        if before and matters and cost > before * tolerance:
            yield _Growth(what, before, cost)


NEW_WARNING = "new, not in the baseline: "


def _new_warnings(each: Compared) -> Iterator[Finding]:
    """What the prover warns of that it did not warn of before."""
    known: set[str] = set()
    for reference in each.references:
        if reference.task.result:
            known.update(reference.task.result.warnings)
    # A log without its theory tells how many checks failed, not which.
    counts = {warning.partition(": ")[0] for warning in known}
    located = each.located
    for text in located.task.result.warnings if located.task.result else ():
        count, _, titles = text.partition(": ")
        is_known = text in known or count in known or (not titles and count in counts)
        if not is_known:
            message = NEW_WARNING + text
            yield finding("warning", located.task, message, NOTE, located.place)


def without_repeats(findings: Sequence[Finding]) -> list[Finding]:
    """Findings without the warnings that are told to be new as well."""
    told: set[Finding] = set()
    for each in findings:
        if each.message.startswith(NEW_WARNING):
            told.add(each._replace(message=each.message[len(NEW_WARNING) :]))
    return [each for each in findings if each not in told]


# --- What is to be audited ------------------------------------------------------------------------

# What a file is its content tells: a theory begins with its name, and a prover's words with these.
_BEGINS_THEORY = re.compile(
    rb"\s*(?:/[/*].*?)??^[ \t]*theory\s+\w+\s+(?:begin|configuration|/[/*])",
    re.DOTALL | re.MULTILINE,
)
# What a prover says while it loads a theory that it prints later: where both go to one file.
_SAID_BEFORE = re.compile(rb"^(?:\[Theory \w+\] |maude tool: )", re.MULTILINE)
_PRINTED_THEORY = re.compile(rb"^theory\s+\w+\s+(?:begin|configuration)", re.MULTILINE)
_OF_A_PROVER = re.compile(
    rb"^(?:\[Theory \w+\] |tamarin-(?:prover|rs): |summary of summaries:"
    rb"|.*\(line \d+, column \d+\):$)",
    re.MULTILINE,
)
_PRINTED = b"\nrule (modulo E) "  # provers print rules so
_MADE_BY = re.compile(rb"Generated from:\s+Tamarin version ([\w.]+)")
_BUILT_AT = re.compile(rb"Compiled at: \d+-\d+-\d+ \d+:\d+:\d+(\.\d+)? UTC")
CLOCK_S = 2  # by so much times may differ only because files were copied
NEWER_BY_DATE = "the theory is newer by its date, which says little: so is every copy and checkout"


class Evidence(NamedTuple):
    """What there is at some paths."""

    batches: dict[str, Batch]  # by where they stand; the logs of a folder are one
    findings: list[Finding]  # what reading showed
    rechecks: list[Batch]  # of proofs of these
    texts: TouchedTexts  # by digest: of the texts in files what known problems they meet


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
    said = [log for file in files for log in file.logs]
    index = TextIndex([file.text for file in files if file.text], said)
    logs = [match_log(log, index) for log in said]
    claims = unchecked_texts(index, _theories_with_results(reader.batches, logs))
    # What is known of results, and what reading showed about them.
    batches = dict(reader.batches)
    findings = hear_rechecks(reader.rechecks, batches)
    findings += _unreadable_texts(files)
    findings += _findings_of_batches(reader.batches)
    tasks_of_logs = _told_apart(map(read_results, logs))
    results = _results_that_count(tasks_of_logs)
    for folder, tasks in _by_folder(results).items():
        batches[folder] = _file_batch(folder, tasks)
    findings += _findings_of_logs(tasks_of_logs, results)
    stored = list(map(_union_of_proofs, _by_model(claims)))
    for proofs in stored:
        path = proofs.texts[0].text.path
        batches[path] = _file_batch(path, proofs.tasks)
        findings += _findings_of_claims(proofs)
    findings += _lemmas_without_result(tasks_of_logs, stored)
    findings += _lemmas_of_sources(claims, index)
    findings += _runs_without_summary(files, reader.named)
    return Evidence(batches, findings, list(reader.rechecks.values()), _touched_texts(index, logs))


def _touched_texts(index: TextIndex, matches: Iterable[Match]) -> TouchedTexts:
    """What known problems the theory texts meet, by their digests."""
    as_read = [match.source_text for match in matches if match.source_text]
    touched: dict[str, TouchedText] = {}
    for text in (*index.texts.values(), *as_read):
        if text.touched:
            # Proofs are no part of the digest: the text may be here with some and without.
            known = touched.get(text.model, TouchedText(()))
            touches = (*known.touches, *text.touched.touches)
            touched[text.model] = text.touched._replace(touches=touches)
    return touched


# Step 1: read each file and each results directory once.

# The lemmas of a theory as people wrote them: the same for a source, whatever options it is read
# with, for what a prover printed of it, and for the summary.
LemmaNames = frozenset[str]


def lemma_names(lemmas: Iterable[Lemma | SummaryLine]) -> LemmaNames:
    """The names of lemmas, without those that Tamarin adds."""
    # With --auto-sources it adds one only when it needs it; with --diff each has two sides.
    added = (AUTO_SOURCES_LEMMA, EQUIVALENCE_LEMMA)
    names = {lemma.name for lemma in lemmas}
    return frozenset(name for name in names if not name.startswith(added))


class ProverLog(NamedTuple):
    """What a process said of one theory in its last summary."""

    file: str
    theory: str  # as the prover was given it
    output: str  # where it says that it wrote the analyzed theory
    said: ProverOutput
    prover: str = ""  # who wrote it by its first lines: "Tamarin 1.11.0"; "" if they don't say

    @property
    def folder(self) -> str:
        return os.path.dirname(self.file)

    @property
    def lemmas(self) -> LemmaNames:
        """All lemmas of the theory: a summary lists those, too, that nobody asked for."""
        return lemma_names(self.said.lines)


class TheoryText(NamedTuple):
    """A theory among the files: as people wrote it, or as a prover printed it."""

    path: str
    theory: Theory
    model: str  # digest of all that it says but proofs
    unknown_actions: Mapping[str, UnknownActions]  # by lemma
    made_by: str = ""  # the prover that printed it: "Tamarin 1.11.0"; "" of what people wrote
    has_summary: bool = False  # it stands in a log
    # The known problems of provers whose conditions it meets; None where flags would be needed.
    touched: TouchedText | None = None

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    @property
    def lemmas(self) -> LemmaNames:
        """What a log of this theory lists."""
        return lemma_names(self.theory.lemmas)


class EvidenceFile(NamedTuple):
    """What a file that a prover wrote or read says."""

    path: str
    text: TheoryText | None
    problem: str = ""  # why it is no theory though it begins as one
    is_printed: bool = False  # a prover wrote it, not a person, whether it is a theory or not
    logs: tuple[ProverLog, ...] = ()  # of each theory that a complete summary tells of
    is_cut: bool = False  # a summary was begun, and not ended
    is_talk: bool = False  # what a prover says beside its summary, or before it was ended
    refusal: str = ""  # the parse error of the theory that the talk ends with
    is_empty: bool = False
    is_pasted: bool = False  # a summary stands in a comment, or behind what no prover printed


class Mark(NamedTuple):
    """How a report is known as ours: no other file is written over."""

    comment: str  # its end; "" in formats without comments
    beginnings: tuple[str, ...] = ()  # of those formats

    def is_on(self, ends: _Ends) -> bool:
        """Whether a file with these ends has it."""
        if self.comment:
            return ends.last.endswith(self.comment)
        return ends.first.startswith(self.beginnings)


class _Ends(NamedTuple):
    """The first and the last characters of a file, enough of them for any mark."""

    first: str
    last: str


REPORT_SIGN = "made by batch_tamarin.py"
REPORT_MARKS: dict[str, Mark] = {
    "md": Mark(f"<!-- {REPORT_SIGN} -->\n"),
    "html": Mark(f"<!-- {REPORT_SIGN} -->\n"),
    "tex": Mark(f"% {REPORT_SIGN}\n"),
    "typ": Mark(f"// {REPORT_SIGN}\n"),
    "csv": Mark("", ("id,name,theory,lemma,", "directory,id,name,theory,lemma,")),
    "junit": Mark(f"<!-- {REPORT_SIGN} -->\n"),
    "json": Mark("", ('{"batch": {"event": "batch",', '{"batches": [\n{"directory": ')),
}


def _ends(path: str) -> _Ends:
    with open_file(path) as file:
        first = file.read(100)
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 100))
        return _Ends(first.decode("utf-8", "replace"), file.read().decode("utf-8", "replace"))


def is_report(path: str, form: str) -> bool:
    """Whether a file is a report of ours in this format, or is empty. Raises OSError."""
    ends = _ends(path)
    return not ends.first or REPORT_MARKS[form].is_on(ends)


def is_any_report(path: str) -> bool:
    """Whether a file is a report of ours in any format. Raises OSError."""
    ends = _ends(path)
    return any(mark.is_on(ends) for mark in REPORT_MARKS.values())


class EvidenceReader:
    """Reads what stands at paths: every file and folder once, by whatever links it is reached."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self.batches: dict[str, Batch] = {}  # by the results directory
        self.rechecks: dict[str, Batch] = {}  # by their directory
        self.files: dict[str, EvidenceFile | None] = {}  # by real path; None: of no prover
        self.named: set[str] = set()  # what a user named, as it was named
        self._folders: set[str] = set()  # real paths

    def read(self, path: str) -> bool:
        """Read what a user named; False if there is nothing for an audit. Raises InputError."""
        is_record = os.path.basename(path) in RECORDS
        if is_record and os.path.isfile(path):
            path = os.path.dirname(path) or "."
        if os.path.isdir(path):
            return self._read_folder(path)
        self.named.add(path)
        return self._read_file(path) is not None

    def _read_folder(self, path: str) -> bool:
        something = os.path.realpath(path) in self._folders
        for folder, folders, names in os.walk(path, onerror=self._tell, followlinks=True):
            if os.path.realpath(folder) in self._folders:
                folders.clear()  # links may lead round in circles
                continue
            self._folders.add(os.path.realpath(folder))
            if self._read_results(folder, names):
                # The journal says all that the files beside it say; rechecks have one of their own.
                something = True
                folders[:] = [name for name in folders if name.startswith(RECHECK_FOLDER)]
                names.clear()
            folders.sort()
            for name in sorted(names):
                try:
                    file = self._read_file(os.path.join(folder, name))
                    something |= file is not None and not file.is_empty
                except InputError as error:
                    # Nobody knows what is in it: it may be the log that the audit is about.
                    self._tell(error)
        return something

    def _tell(self, error: Exception) -> None:
        self.warn(f"passed over: {error}")

    def _read_results(self, folder: str, names: Iterable[str]) -> bool:
        """Read a results directory; False if it is none, or can't be read."""
        is_whole = JOURNAL in names or UPSTREAM_REPORT in names
        if not is_whole and not has_result_files(folder):
            return False
        try:
            batch = load_results(folder, self.warn)
        except InputError as error:
            self.warn(str(error))
            return False
        if batch.header.recheck_of:
            self.rechecks[folder] = batch
        else:
            self.batches[folder] = batch
        return True

    def _read_file(self, path: str) -> EvidenceFile | None:
        real = os.path.realpath(path)
        if real not in self.files:
            self.files[real] = read_evidence_file(path)
        return self.files[real]


def read_evidence_file(path: str) -> EvidenceFile | None:
    """What a theory or a log says; None of any other file. Raises InputError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            # Some editors begin a file with a byte order mark.
            head = file.read(65_536).removeprefix(b"\xef\xbb\xbf")
        _refuse_encoded(head)
        summary: list[str] = []
        # Binary files are of no prover, and may be huge: they are not searched for a summary.
        if b"\0" not in head:
            summary = _last_summary(path, head)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"can't be read: {problem}", printable(path)) from None
    if not head:
        return EvidenceFile(path, None, is_empty=True)
    begins_theory = bool(_BEGINS_THEORY.match(head))
    speaks = bool(_OF_A_PROVER.search(head))
    # Reports quote what provers said.
    if not (begins_theory or summary or speaks) or is_any_report(path):
        return None
    logs = list(read_logs(path, summary, head))
    text = None
    problem = ""
    if begins_theory:
        try:
            text = read_theory_text(path, bool(logs))
        except InputError as error:
            problem = str(error)
    elif logs:
        text = _text_in_log(path, head)
    # No prover printed a summary into what people wrote.
    if not text.made_by if text else bool(summary) and _is_in_comment(path):
        return EvidenceFile(path, text, problem, is_pasted=bool(summary))
    complete = tuple(log for log in logs if log.said.summary)
    # One that was ended while it wrote the summary has said nothing that counts.
    is_cut = bool(summary) and (not logs or len(complete) < len(logs))
    is_talk = speaks and not summary
    return EvidenceFile(
        path,
        text,
        problem,
        is_printed=_PRINTED in head,
        logs=complete,
        is_cut=is_cut,
        is_talk=is_talk,
        refusal=_refusal_in(path) if is_talk else "",
    )


def _refusal_in(path: str) -> str:
    """The parse error that a log ends with, or ""."""
    last_words = read_from_end(path, MB).decode("utf-8", "replace")
    return _parse_error(last_words.splitlines())


def _refuse_encoded(head: bytes) -> None:
    """Raise ValueError for what a prover wrote, if it was encoded or packed since.

    `head`: the beginning of the file.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "replace").encode()
        problem = "UTF-16: make it UTF-8, e.g. with iconv -f utf-16 -t utf-8"
    elif head.startswith(b"\x1f\x8b"):
        import zlib

        text = b""
        with suppress(zlib.error):  # also of a file that is cut
            text = zlib.decompressobj(wbits=31).decompress(head, 65_536)
        problem = "packed: unpack it with gunzip"
    else:
        return
    if _BEGINS_THEORY.match(text) or _OF_A_PROVER.search(text):
        raise ValueError(problem)


def _last_summary(path: str, head: bytes) -> list[str]:
    """The lines of the last summary in a file, with the two of its heading. Raises OSError."""
    _, words = SUMMARY_HEADING.splitlines()
    summary = last_part(path, SUMMARY_HEADING)
    # Who cuts the summary out of a log may begin behind the line of `=`.
    if not summary and head.startswith(words.encode()):
        summary = ["=", *last_part(path, words + "\n")]
    return summary


def _text_in_log(path: str, head: bytes) -> TheoryText | None:
    """The theory that a prover printed behind what it said before; `head`: the log's beginning."""
    import shutil
    import tempfile

    found = _PRINTED_THEORY.search(head)
    if not found or not _SAID_BEFORE.search(head, 0, found.start()):
        return None
    with open(path, "rb") as log, tempfile.NamedTemporaryFile() as theory:
        log.seek(found.start())
        shutil.copyfileobj(log, theory)
        theory.flush()
        with suppress(InputError):
            text = read_theory_text(path, True, {os.path.abspath(path): theory.name})
            return text if text.made_by else None
    return None


def _is_in_comment(path: str) -> bool:
    """Whether the last summary of a file stands in a comment."""
    before, _, after = read_from_end(path, 64 * MB).rpartition(b"summary of summaries:")
    # Of a shell's `models/*.spthy` there is no end.
    return before.rfind(b"/*") > before.rfind(b"*/") and b"*/" in after


def read_theory_text(
    path: str, has_summary: bool = False, copies: Mapping[str, str] = NO_COPIES
) -> TheoryText:
    """A theory, read with --diff if it demands that; `copies`: as of `load_theory`.

    Raises InputError.
    """
    theory = load_in_its_mode(path, copies=copies)
    # Tamarin says so behind the last lemma; in a log only the summary comes after it.
    made_by = _who_printed(read_from_end(path, 2 * MB))
    # Who pastes that into a theory has no proofs there: a prover prints one for each lemma.
    if theory.lemmas and not _has_proofs(theory):
        made_by = ""
    text = theory_text(theory, is_printed=bool(made_by))
    if made_by:
        # Provers print no rule that has no variants: which actions rules have the source alone
        # tells.
        text = text._replace(unknown_actions={})
    return text._replace(made_by=made_by, has_summary=has_summary)


def _has_proofs(theory: Theory) -> bool:
    """Whether a proof is stored of some lemma, be it `by sorry`."""
    return any(segment.kind == "proof" for segment in theory.segments)


def _who_printed(text: bytes) -> str:
    """The prover that says at the end of a theory that it printed it: "Tamarin 1.11.0", or "".

    tamarin-rs says the same, and a number that tamarin-prover may have as well. But it tells whole
    seconds of when it was built, Haskell's `show` of such a time also their fraction.
    """
    found = _MADE_BY.search(text)
    if not found:
        return ""
    number = found[1].decode("ascii", "replace")
    if version_number(number) < FIRST_OF_TAMARIN_RS:
        return f"Tamarin {number}"
    built = _BUILT_AT.search(text, found.end())
    if not built:
        return f"{EITHER_PROGRAM} {number}"
    return f"Tamarin {number}" if built[1] else f"tamarin-rs {number}"


def _prover_of_files(alias: str) -> Prover:
    """Who printed what stands in files, by the name that `_who_printed` gives it."""
    name, _, version = alias.rpartition(" ")
    flavour = Flavour.TAMARIN_PROVER if name == "Tamarin" else name
    if not version_number(version):
        version = ""
    return Prover(alias, (), flavour=flavour, version=version)


def theory_text(theory: Theory, is_printed: bool = False) -> TheoryText:
    """A theory that was loaded with its text, which may be long and is not kept."""
    statements = [text for _, text in _statements(theory)]
    model = sha256("\n".join(statements).encode())[:32]
    # Of flags nothing is known here.
    unknown = {} if theory.asks_for_flags else theory.unknown_actions
    touched = None
    if not theory.asks_for_flags:
        touches = conditions_met(Circumstances(theory, is_printed=is_printed))
        touched = TouchedText(touches, lacks_processes=_lacks_processes(theory.items))
    without_text = replace(theory, tokens=TokenText())
    return TheoryText(theory.path, without_text, model, unknown, touched=touched)


def _lacks_processes(items: TheoryItems) -> bool:
    """Whether rules were made of processes that don't stand here (Sapic/Basetranslation.hs)."""
    if items.of_kind("process"):
        return False
    return any(word.startswith("process=") for rule in items.rules for word in rule.attributes)


def read_logs(path: str, summary: Sequence[str], head: bytes) -> Iterator[ProverLog]:
    """What the last summary in a file says of each theory; `head` is the beginning of the file."""
    starts = [number for number, line in enumerate(summary) if line.startswith("analyzed: ")]
    has_end = any(line.startswith("=====") for line in summary[2:])
    # Before the theory where streams were merged, or in what is printed behind it.
    first_lines = head.decode("utf-8", "replace")
    last_lines = read_from_end(path, MB).decode("utf-8", "replace")
    old_maude = unsupported_maude(first_lines) or unsupported_maude(last_lines)
    prover = _prover_in(first_lines)
    for start, stop in zip(starts, [*starts[1:], len(summary)]):
        # Each theory as if it were the only one: two lines of heading, its own, and the end, which
        # in the file stands behind the last.
        block = list(summary[start:stop])
        lines = ["", "", *block]
        if has_end:
            lines.append("=====")
        said = ProverOutput()
        said.old_maude = old_maude
        _read_summary(lines, said, "")
        theory = _behind("analyzed: ", block)
        output = _behind("  output: ", block)
        yield ProverLog(path, theory, output, said, prover)


def _prover_in(first_lines: str) -> str:
    """The prover that a log names before any theory: many a script asks for its version first."""
    before, *_ = re.split(r"^theory\b", first_lines, maxsplit=1, flags=re.MULTILINE)
    said = set(_VERSION.findall(before))
    # Of several nobody knows which one wrote the last summary.
    if len(said) != 1:
        return ""
    flavour, version = said.pop()
    # The same words as in what it prints behind a theory.
    name = "Tamarin" if flavour == Flavour.TAMARIN_PROVER else flavour
    return f"{name} {version}"


def _behind(words: str, lines: Iterable[str]) -> str:
    """What stands behind these words in the first line that begins with them, or ""."""
    for line in lines:
        if line.startswith(words):
            return line[len(words) :].strip()
    return ""


# Step 2: find the theory texts that a log belongs to.
#
# There are up to two: what the prover printed, in which flags have had their effect, and the source
# that people wrote. Each is taken by the strongest evidence that there is for one:
#   1. The log holds the printed text: one process wrote both (`TextIndex.text_in`).
#   2. A printed text has the lemmas that the log lists, and the name that the log says of its
#      output, or else those lemmas alone, unless the two contradict each other, or another log
#      says that it is its own (`_printed_text`).
#   3. A source stands where the log says, or has the file name that it says (`_source_by_name`).
#   4. A source has those lemmas, and the printed text's theory name where that is known
#      (`_source_by_lemmas`). So the source of a printed text without a log is found, too.
# Where the same evidence speaks for several texts, the only one in the log's folder is taken, or
# else none (`_nearest`): nothing is guessed. A source that has the name, but not the lemmas of the
# log, is matched by name alone: this is said, and the results do not count as ones of that text
# (`Match.digest`). Neither do they where flags that no log tells decide what the text is.


class TextIndex:
    """The theory texts among the files, by what a log can know of them."""

    def __init__(self, texts: Iterable[TheoryText], logs: Iterable[ProverLog] = ()) -> None:
        self.texts = {text.path: text for text in texts}
        # The names of files that logs say to be their own.
        self.outputs = {os.path.basename(log.output) for log in logs}

    def text_in(self, log: ProverLog) -> TheoryText | None:
        """The text that stands in the same file as a log."""
        return self.texts.get(log.file)

    @functools.cached_property
    def printed(self) -> dict[LemmaNames, list[TheoryText]]:
        """What provers wrote into files of their own, by lemmas."""
        # The text in a log is what that log's process printed, and no other's.
        texts = [text for text in self.texts.values() if text.made_by]
        return _by_lemmas(text for text in texts if not text.has_summary)

    @functools.cached_property
    def sources(self) -> dict[LemmaNames, list[TheoryText]]:
        """What people wrote, by lemmas."""
        texts = self.texts.values()
        return _by_lemmas(text for text in texts if not text.made_by)

    @functools.cached_property
    def sources_by_title(self) -> dict[str, list[TheoryText]]:
        """What people wrote, by the name that stands in the theory."""
        titles: dict[str, list[TheoryText]] = {}
        for text in self.texts.values():
            if not text.made_by:
                titles.setdefault(text.theory.name, []).append(text)
        return titles

    @functools.cached_property
    def sources_by_name(self) -> dict[str, list[TheoryText]]:
        """What people wrote, by the name of the file."""
        names: dict[str, list[TheoryText]] = {}
        for texts in self.sources.values():
            for text in texts:
                name = os.path.basename(text.path)
                names.setdefault(name, []).append(text)
        return names


def _by_lemmas(texts: Iterable[TheoryText]) -> dict[LemmaNames, list[TheoryText]]:
    groups: dict[LemmaNames, list[TheoryText]] = {}
    for text in texts:
        groups.setdefault(text.lemmas, []).append(text)
    return groups


class Match(NamedTuple):
    """A log, and the theory texts that it belongs to."""

    log: ProverLog
    printed: TheoryText | None
    source: str  # its path; "" if it is not here
    source_text: TheoryText | None  # as the prover read it; None: not needed, or can't be read
    unknown_actions: Mapping[str, UnknownActions]  # by lemma, as far as the source tells
    needs_flags: bool = False  # flags, which no log tells, decide what was proven

    @property
    def text(self) -> TheoryText | None:
        """What was proven, as well as that is known."""
        return self.printed or self.source_text

    @property
    def has_own_proofs(self) -> bool:
        """Whether the printed text is known to be of the log's process: its proofs are, too."""
        if not self.printed:
            return False
        files = (self.log.file, self.log.output)
        return os.path.basename(self.printed.path) in map(os.path.basename, files)

    @property
    def prover(self) -> str:
        """Who proved, as far as the log or the text tells: "Tamarin 1.11.0", or ""."""
        if self.log.prover or not self.printed:
            return self.log.prover
        return self.printed.made_by

    @property
    def by_name(self) -> bool:
        """Whether nothing but its name says that the text is the log's."""
        if self.printed or not self.source_text:
            return False
        return self.source_text.lemmas != self.log.lemmas

    @property
    def digest(self) -> str:
        """Of the text that was proven; "" where that is not known."""
        if self.text is None or self.by_name or self.needs_flags:
            return ""
        return self.text.model


def match_log(log: ProverLog, index: TextIndex) -> Match:
    """The theory texts that a log belongs to."""
    printed = index.text_in(log) or _printed_text(log, index)
    source = _source_by_name(log, index, printed)
    if not source:
        source = _source_by_lemmas(log.lemmas, log.folder, index, printed)
    source_text = None
    needs_flags = False
    # In a printed text flags have had their effect.
    if source and not printed:
        with suppress(InputError):
            source_text = _source_as_read(source, log)
            needs_flags = any("#ifdef" in read_text(path) for path in source_text.theory.files)
    unknown: Mapping[str, UnknownActions] = {}
    told_by = source_text or index.texts.get(source)
    if told_by and told_by.lemmas == log.lemmas:
        unknown = told_by.unknown_actions
    return Match(log, printed, source, source_text, unknown, needs_flags)


def _printed_text(log: ProverLog, index: TextIndex) -> TheoryText | None:
    """The printed text with just the lemmas of a log: without them it is another run's."""
    texts = index.printed.get(log.lemmas, [])
    # Files of provers are moved and renamed: the name helps to choose, and is not asked for.
    output = os.path.basename(log.output)
    named = [text for text in texts if os.path.basename(text.path) == output]
    others = [text for text in texts if os.path.basename(text.path) not in index.outputs]
    fitting = [text for text in others if not _contradicts(log, text)]
    return _nearest(named, log.folder) or _nearest(fitting, log.folder)


def _contradicts(log: ProverLog, text: TheoryText) -> bool:
    """Whether a text has a proof of what a log says to be false, or a trace against what it proves.

    Then they are of two runs: with other flags, say.
    """
    claims: dict[Hashable, Verdict | None] = {}
    for lemma in text.theory.lemmas:
        claims[(_lemma_key(lemma), lemma.side)] = lemma.claim
    for line in log.said.lines:
        key = (LemmaKey(line.name, line.trait == Trait.DIFF), line.side)
        if {line.verdict, claims.get(key)} == ANSWERS:
            return True
    return False


def _source_by_name(log: ProverLog, index: TextIndex, printed: TheoryText | None) -> str:
    """Where the theory stands that a log names, or "".

    Its lemmas may be others by now: it is nearer to the log than a stranger which has the same.
    """
    name = os.path.basename(log.theory)
    # The name means something where the prover ran: there the log was left, or we are there now.
    # Who checks a stored proof gives the prover what one printed, but no run reads what it writes.
    outputs = [os.path.realpath(log.file)]
    if printed:
        outputs.append(os.path.realpath(printed.path))
    from_log = os.path.join(log.folder, log.theory)
    beside = os.path.join(log.folder, name)
    for path in (from_log, beside, log.theory):
        if os.path.isfile(path) and os.path.realpath(path) not in outputs:
            return path
    sources = index.sources_by_name.get(name, [])
    # What the log calls `v1/x.spthy` is not `v2/x.spthy`, wherever both lie now.
    way = "/" + os.path.normpath(log.theory)
    same_way = [source for source in sources if os.path.abspath(source.path).endswith(way)]
    return _path(_nearest(same_way or sources, log.folder))


def _source_by_lemmas(
    lemmas: LemmaNames, folder: str, index: TextIndex, printed: TheoryText | None
) -> str:
    """Where the only source with these lemmas stands, or ""."""
    sources = index.sources.get(lemmas, [])
    # Variants of a theory have the same lemmas; a prover prints the name that stands in the text.
    if printed:
        title = printed.theory.name
        sources = [source for source in sources if source.theory.name == title]
    return _path(_nearest(sources, folder))


def _nearest(texts: Sequence[TheoryText], folder: str) -> TheoryText | None:
    """The only one of these texts in the folder, or else the only one at all."""
    near = [text for text in texts if text.folder == folder] or texts
    if len(near) != 1:
        return None
    return near[0]


def _path(text: TheoryText | None) -> str:
    """Where a text stands, or ""."""
    if not text:
        return ""
    return text.path


def _source_as_read(path: str, log: ProverLog) -> TheoryText:
    """A theory with the options that show in a log. Raises InputError."""
    lines = log.said.lines
    diff = any(line.side or line.trait == Trait.DIFF for line in lines)
    auto_sources = any(line.name.startswith(AUTO_SOURCES_LEMMA) for line in lines)
    # Of flags a log says nothing; they are told of where the theory asks for any.
    theory = load_theory(path, (), diff, auto_sources)
    return theory_text(theory)


def _theories_with_results(batches: Mapping[str, Batch], matches: Iterable[Match]) -> set[str]:
    """Real paths of the theories that results are of."""
    paths: set[str] = set()
    for batch in batches.values():
        for task in batch.tasks.values():
            paths.add(_theory_path(task.plan))
    for match in matches:
        paths.add(_path(match.printed))
        paths.add(match.source)
    paths.discard("")
    real_paths: set[str] = set()
    for path in paths:
        # A journal may name what can be no file.
        with suppress(ValueError):
            real_paths.add(os.path.realpath(path))
    return real_paths


class UncheckedText(NamedTuple):
    """A text that no results are of: what its proofs claim nobody is known to have checked."""

    text: TheoryText
    source: str  # where the theory stands that a prover printed it of; "" if that is not known
    by_name: bool = False  # nothing but its name says that the source is its own


def unchecked_texts(index: TextIndex, with_results: Collection[str]) -> list[UncheckedText]:
    """The texts that no results are of; `with_results`: real paths of the others.

    A source of which a prover printed one of them is none of its own: its lemmas would be told
    twice.
    """
    claims: list[UncheckedText] = []
    for text in index.texts.values():
        if os.path.realpath(text.path) in with_results:
            continue
        source = ""
        by_name = ""
        if text.made_by:
            source = _source_by_lemmas(text.lemmas, text.folder, index, text)
        if text.made_by and not source:
            # With flags a theory has other lemmas.
            by_name = _path(_nearest(index.sources_by_title.get(text.theory.name, []), text.folder))
        claims.append(UncheckedText(text, source or by_name, by_name != ""))
    sources = {claim.source for claim in claims}
    return [claim for claim in claims if claim.text.path not in sources]


# Step 3: the results in logs, a batch for each folder.


class LogResults(NamedTuple):
    """What a log tells of the theory that it belongs to."""

    match: Match
    tasks: list[Task]


def _by_folder(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Results in logs by the folders of these."""
    # A theory's name in a log means something only where the prover ran.
    folders: dict[str, list[Task]] = {}
    for task in tasks:
        folders.setdefault(os.path.dirname(task.plan.entry), []).append(task)
    return folders


def _told_apart(logs: Iterable[LogResults]) -> list[LogResults]:
    """Logs, of one text only if they do not contradict each other where nothing proves the text.

    Those that do are of several texts, or of several sets of flags.
    """
    apart: list[LogResults] = []
    by_source: dict[str, list[LogResults]] = {}
    by_name: dict[Model, list[LogResults]] = {}
    for log in logs:
        if log.match.printed or not log.tasks:
            apart.append(log)
        elif log.match.digest:
            by_source.setdefault(log.match.digest, []).append(log)
        else:
            model = model_of(log.tasks[0].plan).of_any_prover
            by_name.setdefault(model, []).append(log)
    for group in by_source.values():
        # In one folder that is what an audit must tell; in several the theory may have changed.
        folders = {log.match.log.folder for log in group}
        is_doubtful = len(folders) > 1 and _contradict_each_other(group)
        apart += map(_of_its_folder, group) if is_doubtful else group
    for group in by_name.values():
        apart += map(_of_its_own, group) if _contradict_each_other(group) else group
    return apart


def _contradict_each_other(logs: Iterable[LogResults]) -> bool:
    """Whether one lemma is verified in one of these logs, and falsified in another."""
    verdicts: dict[tuple[str, str], set[Verdict | None]] = {}
    for log in logs:
        for task in log.tasks:
            lemma = (task.plan.lemma, task.plan.trait)
            verdicts.setdefault(lemma, set()).add(task.verdict)
    return any(said >= ANSWERS for said in verdicts.values())


def _of_another_text(log: LogResults, where: str) -> LogResults:
    """A log whose text is not known; the theory's name means something `where` it stands only."""
    tasks: list[Task] = []
    for task in log.tasks:
        plan = replace(task.plan, cwd=where, theory_digest="")
        tasks.append(Task.with_result(plan, task.result) if task.result else Task(plan))
    return log._replace(tasks=tasks)


def _of_its_folder(log: LogResults) -> LogResults:
    return _of_another_text(log, log.match.log.folder)


def _of_its_own(log: LogResults) -> LogResults:
    return _of_another_text(log, log.match.log.file)


class _Said(NamedTuple):
    """What logs of one folder say of a lemma. Those of other folders are shown for themselves."""

    folder: str
    verdict: Verdict | None


def _results_that_count(logs: Sequence[LogResults]) -> list[Task]:
    """Of each lemma in the logs of a folder one result for each verdict that there is.

    A lemma that one log was not asked for gives way to any other's word on the same text.
    """
    questions: dict[Question, list[Task]] = {}
    # A log that was asked for nothing has no other word to say.
    idle = {log.match.log.file for log in logs if all(map(not_asked_for, log.tasks))}
    for log in logs:
        for task in log.tasks:
            plan = task.plan
            question = Question(model_of(plan), plan.lemma, plan.trait)
            questions.setdefault(question, []).append(task)
    results: list[Task] = []
    for tasks in questions.values():
        results += _words_that_count(tasks, idle)
    return results


def _words_that_count(tasks: Sequence[Task], idle: Collection[str]) -> Iterable[Task]:
    """What counts of all that is said of one lemma; `idle`: logs that were asked for nothing."""
    by_folder = _by_folder(task for task in tasks if not not_asked_for(task))
    counting = list(itertools.chain(*by_folder.values()))
    for task in tasks:
        if task.plan.entry in idle and os.path.dirname(task.plan.entry) not in by_folder:
            counting.append(task)
    # Not one for all: where two logs say different things, that is what an audit must tell.
    different: dict[_Said, Task] = {}
    for task in counting or tasks[:1]:
        said = _Said(os.path.dirname(task.plan.entry), task.verdict)
        different.setdefault(said, task)
    return different.values()


def read_results(match: Match) -> LogResults:
    """What a log tells, as tasks."""
    return LogResults(match, list(_results_in_log(match)))


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
    # Its exit code nobody kept; a process that was ended has no complete summary.
    ended_well = Outcome(Status.COMPLETED, ExitStatus(0))
    for key in keys:
        # The theory tells more of a lemma than the log: what it assumes.
        lemma = known.get(key) or said[key]
        unknown = match.unknown_actions.get(lemma[0].name, NO_UNKNOWN_ACTIONS)
        task = file_task(
            log.file, log.theory, match.prover, lemma, text=match.digest, unknown=unknown
        )
        if key in said:
            result = judge(task.plan, ended_well, output, "")
            task = Task.with_result(task.plan, replace(result, warnings=warnings))
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
        for sides in lemmas_by_name(text.theory).values():
            lemmas[_lemma_key(sides[0])] = sides
    return lemmas


class LemmaKey(NamedTuple):
    """A lemma of a theory: the sides of one are together, a diffLemma of its name is another."""

    name: str
    is_diff: bool


def _lemma_key(lemma: Lemma) -> LemmaKey:
    return LemmaKey(lemma.name, lemma.trait == Trait.DIFF)


def log_warnings(log: ProverLog, theory: str) -> tuple[str, ...]:
    """What the prover warned of; `theory` is the file with the theory as the prover printed it.

    Its complaint that `--prove` named a lemma that it generates itself is none of the theory's.
    """
    generated = (EQUIVALENCE_LEMMA, AUTO_SOURCES_LEMMA)
    names = [line.name for line in log.said.lines]
    has_generated = any(name.startswith(generated) for name in names)
    asked = ""
    if has_generated and ASKED_NAME_CHECK in wellformedness_titles(theory):
        asked = EQUIVALENCE_LEMMA
    lemma = Lemma(asked, Trait.DIFF, "", (), "")
    task = file_task("", "", "", [lemma])
    return tuple(prover_warnings(task.plan, log.said, theory))


def stands_in_a_file(task: Task) -> bool:
    """Whether a task was made by `file_task`, not planned in a batch."""
    # What batch-tamarin left without a report has no limits either, but an id.
    return task.plan.limits == NO_LIMITS and "--" not in task.id


def file_task(
    file: str,
    theory: str,
    prover: str,
    lemmas: Sequence[Lemma],
    result: Result | None = None,
    text: str = "",
    unknown: UnknownActions = NO_UNKNOWN_ACTIONS,
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
        sides=sides_of(lemmas),
        prover=prover or "unknown prover",
        options=(),
        flags=(),
        limits=NO_LIMITS,
        cwd=os.path.dirname(file),
        prove=True,
        optional=first.optional,
        assumes=assumed_by(lemmas),
        expect=None,
        key="",
        theory_digest=text,
        unknown_actions=unknown.told,
        holds_anyway=unknown.holds_anyway,
    )
    if result:
        return Task.with_result(plan, result)
    return Task(plan)


def _file_batch(source: str, tasks: Collection[Task]) -> Batch:
    """A batch of results that stand in files."""
    batch = Batch()
    aliases = {task.plan.prover for task in tasks}
    provers = {alias: _prover_of_files(alias) for alias in aliases}
    batch.apply(Header(recipe_file=source, cwd=source, provers=provers))
    for number, task in enumerate(tasks):
        batch.apply(replace(task.plan, id=str(number)))
        if task.result:
            result = replace(task.result, at="")
            batch.apply(Finished(str(number), "", 1, result))
    return batch


def not_asked_for(task: Task) -> bool:
    """Whether a result is that of a lemma which nobody asked for.

    Tamarin lists every lemma of a theory, in one step those that it was not asked for.
    """
    if task.result is None or task.verdict is not Verdict.INCOMPLETE:
        return False
    return task.result.steps == len(task.result.lemmas)


# Step 4: what proofs claim that nobody is known to have checked.


class ProofOnFile(NamedTuple):
    """A lemma with the proof that a text has of it, on both sides in diff mode."""

    task: Task  # without a verdict
    lemmas: Sequence[Lemma]


class StoredProofs(NamedTuple):
    """Texts that differ in nothing but proofs, and of each lemma the proof that claims most."""

    texts: Sequence[UncheckedText]
    proofs: Sequence[ProofOnFile]

    @property
    def tasks(self) -> list[Task]:
        """Those of the proofs."""
        return [proof.task for proof in self.proofs]


def _by_model(claims: Iterable[UncheckedText]) -> list[list[UncheckedText]]:
    """What provers printed of one text is together, wherever it lies, if it differs in proofs only.

    What people wrote is a theory of its own in each folder.
    """
    # Who proves lemma by lemma has a file of each, and every one holds all lemmas.
    groups: dict[tuple[str, str, str], list[UncheckedText]] = {}
    for claim in claims:
        text = claim.text
        folder = "" if text.made_by else text.folder
        groups.setdefault((folder, text.made_by, text.model), []).append(claim)
    return list(groups.values())


def _union_of_proofs(texts: Sequence[UncheckedText]) -> StoredProofs:
    """Of each lemma the proof that claims most."""
    best: dict[LemmaKey, ProofOnFile] = {}
    theory = texts[0].source or texts[0].text.path
    for claim in texts:
        for key, lemmas in _lemmas_of_text(claim.text).items():
            if lemmas[0].optional and not stored_claim(lemmas):
                continue
            known = best.get(key)
            if known is None or _claim_rank(lemmas) > _claim_rank(known.lemmas):
                best[key] = ProofOnFile(_claim_task(claim.text, theory, lemmas), lemmas)
    return StoredProofs(texts, list(best.values()))


def _claim_task(text: TheoryText, theory: str, lemmas: Sequence[Lemma]) -> Task:
    """A lemma of a text, with what its stored proof claims; `theory` is what to call that."""
    claimed = stored_claim(lemmas)
    result = None
    if claimed:
        result = Result(Status.COMPLETED, reason=_claim_words(claimed))
    unknown = text.unknown_actions.get(lemmas[0].name, NO_UNKNOWN_ACTIONS)
    return file_task(text.path, theory, text.made_by, lemmas, result, text.model, unknown)


def _claim_words(claim: Verdict) -> str:
    if claim is Verdict.INCOMPLETE:
        return "an unfinished proof"
    return f"claimed {claim} by a stored proof, unchecked"


# From the least that a proof may claim to the most: a trace needs no other branch.
_CLAIMS = (None, Verdict.INCOMPLETE, Verdict.VERIFIED, Verdict.FALSIFIED)


def _claim_rank(lemmas: Iterable[Lemma]) -> int:
    """The larger, the more a stored proof claims."""
    return _CLAIMS.index(stored_claim(lemmas))


def stored_claim(lemmas: Iterable[Lemma]) -> Verdict | None:
    """What a stored proof, in diff mode of both sides, would show if a prover checked it."""
    claims = {lemma.claim for lemma in lemmas} or {None}
    # An attack on one side is one on the lemma; to verify it takes a whole proof of each side.
    for claim in (Verdict.FALSIFIED, None, Verdict.INCOMPLETE):
        if claim in claims:
            return claim
    return Verdict.VERIFIED


# Step 5: what reading showed.


def may_check(checker: Prover, finder: Prover) -> bool:
    """Whether a program's word on the proofs of another counts.

    What calls itself neither tamarin-prover nor tamarin-rs is known to know its own proofs only.
    """
    return checker.flavour in set(Flavour) or checker.flavour == finder.flavour


def hear_rechecks(rechecks: Mapping[str, Batch], batches: Mapping[str, Batch]) -> list[Finding]:
    """Note in batches what rechecks confirm and reject there; what an audit must tell of it.

    `rechecks` and `batches` by their directories.
    """
    return list(_heard_of_rechecks(rechecks, batches))


def _heard_of_rechecks(
    rechecks: Mapping[str, Batch], batches: Mapping[str, Batch]
) -> Iterator[Finding]:
    of_folders = {os.path.realpath(folder): batch for folder, batch in batches.items()}
    for folder, recheck in rechecks.items():
        # Both may have been moved together.
        results = os.path.dirname(os.path.realpath(folder))
        batch = of_folders.get(results, Batch())
        for check in recheck.tasks.values():
            own_id = check.id.removesuffix(RECHECK_MARK)
            task = batch.tasks.get(own_id)
            if not check.result:
                continue
            if not task and check.verdict == check.plan.expect:
                words = f"{NO_RESULT_OF_CHECK}: {check.plan.prover} confirms it"
                yield finding("unconfirmed", check, words, NOTE, folder)
            elif not task:
                yield from _finding_of_check(check, check)
            elif not may_check(_prover_of(recheck, check), _prover_of(batch, task)):
                continue
            elif not _is_of_present_result(check, task, result_files(results, own_id).proof):
                words = f"what {check.plan.prover} checked is not known to be what is there now"
                yield finding("unconfirmed", task, words, NOTE)
            elif check.verdict == check.plan.expect:
                own = ITS_OWN_PROOF if check.plan.prove else ""
                batch.apply(Rechecked(own_id, check.plan.prover + own, confirms=True))
            else:
                if check.outcome == REJECTED:
                    batch.apply(Rechecked(own_id, check.plan.prover, confirms=False))
                yield from _finding_of_check(check, task)


def note_rechecks(batch: Batch, directory: str, warn: Callable[[str], None]) -> None:
    """Let a batch know what the rechecks in its results directory say of its results.

    One that can't be read is a warning: results are shown without it.
    """
    rechecks: dict[str, Batch] = {}
    for name in _list_directory(directory):
        journal = os.path.join(directory, name, JOURNAL)
        if not (name.startswith(RECHECK_FOLDER) and os.path.exists(journal)):
            continue
        try:
            rechecks[os.path.dirname(journal)], _ = load_batch(journal, warn)
        except InputError as error:
            warn(f"passed over: {error}")
    # Who wants to know what is wrong asks `audit`.
    hear_rechecks(rechecks, {directory: batch})


def _is_of_present_result(check: Task, task: Task, proof: str) -> bool:
    """Whether a check, or a second proof, is about a result as it is now, and its proof file."""
    if check.plan.expect != task.verdict:
        return False
    if check.plan.prove:
        return check.plan.theory_digest == task.plan.theory_digest
    return check.plan.checks_proof == file_state_now(proof).digest


def _finding_of_check(check: Task, task: Task) -> Iterator[Finding]:
    """What a check that confirms nothing says of the result of `task`."""
    by = check.plan.prover
    if check.outcome == REJECTED:
        words = f"{by} does not confirm the proof: "
        if check.is_answered:
            words += f"by it the lemma is {check.verdict}"
        elif check.result:
            words += check.result.reason
        yield finding("invalid", task, words)
    elif check.outcome == NOT_REPLAYED:
        yield finding("unconfirmed", task, f"{by}: {CANT_REPLAY}", NOTE)
    elif check.is_answered:
        words = f"{check.plan.expect} in these results, {check.verdict} when {by} proved it"
        yield finding("disagreement", task, words)
    elif check.plan.expect and check.verdict != check.plan.expect:
        what = "its own proof" if check.plan.prove else "the check of the proof"
        words = f"{by} came to no end of {what}: {check.outcome}"
        yield finding("unconfirmed", task, words, NOTE)


def _unreadable_texts(files: Iterable[EvidenceFile]) -> Iterator[Finding]:
    for file in files:
        if file.is_pasted:
            message = "what its summary claims counts for nothing: no prover printed it there"
            yield Finding("invalid", file.path, "", message, HINT)
        if file.problem:
            message = f"can't be read as a theory: {file.problem}"
            # Of what people write provers may read more than we; half of a proof is none.
            rank = WRONG if file.is_printed and is_cut(file.path) else NOTE
            yield Finding("invalid", file.path, "", message, rank)


NO_SUMMARY = "no complete summary: the prover was ended, or still runs"
NOTHING_PRINTED = "empty: the prover printed nothing"
NOT_PARSED = "no summary, the theory has a parse error: "

# What the names of the files of one run differ in: `x.txt` and `x.err`, `stdout` and `stderr`.
_ERROR_STREAMS = frozenset({"err", "stderr"})
_OF_STREAMS = _ERROR_STREAMS | {"out", "stdout", "log", "txt", "spthy"}
_LOG_ENDINGS = (".txt", ".log", ".out")


def _words_of_name(file: EvidenceFile) -> list[str]:
    return re.split(r"[._-]", os.path.basename(file.path))


def _is_error_stream(file: EvidenceFile) -> bool:
    return not _ERROR_STREAMS.isdisjoint(_words_of_name(file))


@dataclass
class _LoggedRun:
    """The files of a folder that by their names are of one run of a prover: stdout and stderr."""

    files: list[EvidenceFile] = field(default_factory=list)

    @property
    def main_file(self) -> EvidenceFile:
        """Its stdout, if that is here."""
        return min(self.files, key=_is_error_stream)

    @property
    def has_summary(self) -> bool:
        """Whether it began one; of one that is cut off the file itself is told."""
        return any(file.logs or file.is_cut for file in self.files)

    @property
    def has_talk(self) -> bool:
        return any(file.is_talk for file in self.files)

    @property
    def has_empty_file(self) -> bool:
        return any(file.is_empty for file in self.files)


def _runs_without_summary(
    files: Iterable[EvidenceFile], named: Collection[str]
) -> Iterator[Finding]:
    """Runs that were ended, or still go on, as far as files show for certain.

    `named`: the files that a user named, not a folder of theirs.
    """
    folders: dict[str, dict[tuple[str, ...], _LoggedRun]] = {}
    for file in files:
        if file.is_cut:
            yield Finding("missing", file.path, "", NO_SUMMARY)
        if file.logs or file.is_cut or file.is_talk or file.is_empty:
            words = [word for word in _words_of_name(file) if word not in _OF_STREAMS]
            runs = folders.setdefault(_real_folder(file), {})
            runs.setdefault(tuple(words), _LoggedRun()).files.append(file)
    twins = _files_with_summaries(folders.values())
    for by_name in folders.values():
        alone: list[_LoggedRun] = []
        for name, run in by_name.items():
            # A file of the same name in another folder is of another run.
            others = twins.get(name, set()) - {os.path.basename(run.main_file.path)}
            if run.has_summary or not others:
                alone.append(run)
        yield from _unfinished_runs(alone)
        yield from _empty_logs(alone, named)


def _files_with_summaries(
    folders: Iterable[Mapping[tuple[str, ...], _LoggedRun]],
) -> dict[tuple[str, ...], set[str]]:
    """The names of files whose stderr may be in another folder, by the name of the run.

    `out/7.out` has the summary of what says `err/7.err`.
    """
    names: dict[tuple[str, ...], set[str]] = {}
    for by_name in folders:
        if any(run.has_talk for run in by_name.values()):
            continue
        for name, run in by_name.items():
            if name and run.has_summary:
                names.setdefault(name, set()).add(os.path.basename(run.main_file.path))
    return names


def _real_folder(file: EvidenceFile) -> str:
    """Where it lies: it may have been reached first by a link from elsewhere."""
    return os.path.dirname(os.path.realpath(file.path))


def _unfinished_runs(runs: Sequence[_LoggedRun]) -> Iterator[Finding]:
    """The runs of a folder of which there is what the prover said, and no summary.

    What it says beside its summary may be in a file whose name tells not of which run: only where
    there are more of these than runs without such a file, some run has no summary.
    """
    doubtful: list[EvidenceFile] = []
    for run in runs:
        refusals = [file for file in run.files if file.refusal]
        if run.has_summary or not run.has_talk:
            continue
        if refusals:
            yield Finding("missing", refusals[0].path, "", NOT_PARSED + refusals[0].refusal)
        elif run.has_empty_file:
            yield Finding("missing", run.main_file.path, "", NO_SUMMARY)
        else:
            doubtful.append(run.main_file)
    owners = sum(run.has_summary and not run.has_talk for run in runs)
    if len(doubtful) <= owners:
        return
    if owners:
        some = f"{NO_SUMMARY} (at least {len(doubtful) - owners:,} of {len(doubtful):,} runs here)"
        yield Finding("missing", os.path.dirname(doubtful[0].path) or ".", "", some)
        return
    for file in doubtful:
        yield Finding("missing", file.path, "", NO_SUMMARY)


def _empty_logs(runs: Sequence[_LoggedRun], named: Collection[str]) -> Iterator[Finding]:
    """The runs of a folder of which there is nothing but an empty log."""
    has_logs = any(run.has_summary or run.has_talk for run in runs)
    for run in runs:
        if run.has_summary or run.has_talk:
            continue
        path = run.main_file.path
        # Other empty files may mean anything, and nobody says anything on stderr most of the time.
        is_log = path in named or (has_logs and path.endswith(_LOG_ENDINGS))
        if is_log and not _is_error_stream(run.main_file):
            yield Finding("missing", path, "", NOTHING_PRINTED)


def _findings_of_logs(logs: Sequence[LogResults], results: Iterable[Task]) -> Iterator[Finding]:
    """What the logs of a folder show; `results` are those that count."""
    printed = [log.match.printed for log in logs]
    writers = Counter(text.path for text in printed if text)
    for match, tasks in logs:
        yield from _findings_of_match(match)
        known = _lemmas_of_text(match.text)
        for task in tasks:
            plan = task.plan
            key = LemmaKey(plan.lemma, plan.trait == Trait.DIFF)
            if match.text and key not in known:
                message = f"{UNKNOWN}: not in the theory as it is here"
                yield finding("assumption", task, message, NOTE)
            # Where several processes wrote to one file it is not known whose proof is left.
            if match.printed and writers[match.printed.path] == 1:
                rank = WRONG if match.has_own_proofs else NOTE
                yield from judge_proof(task, known.get(key, ()), rank)
    for task in results:
        if not_asked_for(task):
            yield finding("missing", task, "nobody asked for a proof of it", NOTE)


def _findings_of_claims(stored: StoredProofs) -> Iterator[Finding]:
    """What texts show that no prover is known to have checked."""
    for text, source, by_name in stored.texts:
        if source:
            yield from _newer_source(source, text.path, text.path)
        if by_name:
            message = f"text matched by name: the lemmas of {source} are not those of this file"
            yield Finding(
                "assumption", text.path, "", message, NOTE, text.made_by, source=text.path
            )
    for proof in stored.proofs:
        yield from judge_proof(proof.task, proof.lemmas)


class _LemmaOfText(NamedTuple):
    """A lemma of a source, or of a text without one."""

    text: str  # the path of the source, or a digest
    lemma: LemmaKey


def _lemmas_without_result(
    logs: Iterable[LogResults], stored: Iterable[StoredProofs]
) -> Iterator[Finding]:
    """Lemmas that neither a log nor a stored proof says anything of.

    Who proves lemma by lemma has a file of each, which may be of several provers.
    """
    silent: list[tuple[set[_LemmaOfText], Task]] = []
    told: set[_LemmaOfText] = set()
    for task, texts in _tasks_in_files(logs, stored):
        key = LemmaKey(task.plan.lemma, task.plan.trait == Trait.DIFF)
        lemmas = {_LemmaOfText(text, key) for text in texts if text}
        if task.result:
            told |= lemmas
        else:
            silent.append((lemmas, task))
    for lemmas, task in silent:
        if lemmas.isdisjoint(told):
            yield finding("missing", task, "has no result", NOTE)


def _lemmas_of_sources(claims: Iterable[UncheckedText], index: TextIndex) -> Iterator[Finding]:
    """Lemmas of sources that none of the texts printed of them has."""
    printed: dict[str, set[str]] = {}
    for text, source, _ in claims:
        if source:
            printed.setdefault(source, set()).update(lemma_names(text.theory.lemmas))
    for path, names in printed.items():
        source_text = index.texts[path]
        # `lemma_names` leaves out what Tamarin adds by itself.
        for name in dict.fromkeys(lemma.name for lemma in source_text.theory.lemmas):
            if name in source_text.lemmas - names:
                message = "has no result"
                yield Finding("missing", path, name, message, NOTE, source=path)


def _tasks_in_files(
    logs: Iterable[LogResults], stored: Iterable[StoredProofs]
) -> Iterator[tuple[Task, tuple[str, str]]]:
    """What stands in files, with the digest of its text and the path of its source."""
    for match, tasks in logs:
        source = os.path.realpath(match.source) if match.source else ""
        for task in tasks:
            yield task, (match.digest, source)
    for texts, proofs in stored:
        text, source, _ = texts[0]
        # What people wrote is its own source.
        if not text.made_by:
            source = text.path
        path = os.path.realpath(source) if source else ""
        for proof in proofs:
            yield proof.task, (text.model, path)


def _findings_of_match(match: Match) -> Iterator[Finding]:
    """What the text that a log belongs to leaves in doubt."""
    log = match.log
    if match.source:
        yield from _newer_source(match.source, log.file, log.theory)
    message = ""
    if not match.text:
        message = f"{UNKNOWN}: the theory is not here, or can't be read"
    elif match.by_name:
        message = f"text matched by name: the lemmas of {match.source} are not those of this log"
    elif match.needs_flags:
        message = f"{UNKNOWN}: {match.source} has #ifdefs, the log no flags"
    if message:
        yield Finding("assumption", log.theory, "", message, NOTE, match.prover, log.file)


def _newer_source(source: str, file: str, theory: str) -> Iterator[Finding]:
    """Whether a source was changed after a prover wrote this file; `theory` is what to call it."""
    written_at = os.stat(file).st_mtime + CLOCK_S
    if os.stat(source).st_mtime > written_at:
        yield Finding("stale", theory, "", NEWER_BY_DATE, HINT, source=file)


def judge_proof(task: Task, stored: Sequence[Lemma], rank: int = WRONG) -> Iterator[Finding]:
    """Whether the stored proof of a task's lemma (in diff mode of both sides) says what it should.

    That is what the prover said, if it said anything. `rank`: of a finding that it is not.
    """
    claim = stored_claim(stored)
    if task.is_answered and claim != task.verdict:
        message = f"the prover's summary says {task.verdict}, the stored proof {_words(stored)}"
        yield finding("invalid", task, message, rank)
    elif claim is Verdict.INCOMPLETE:
        yield finding("sorry", task, "the stored proof is unfinished", NOTE)
    elif task.verdict is None and claim:
        yield finding("missing", task, _claim_words(claim), NOTE)


def _words(stored: Sequence[Lemma]) -> str:
    claim = stored_claim(stored)
    if not claim:
        return "is not there"
    proofs = [lemma.proof for lemma in stored]
    if any("sorry" in proof.ends for proof in proofs if proof):
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
        for each in _findings_of_batch(directory, batch):
            yield _placed(each, directory)


def _findings_of_batch(directory: str, batch: Batch) -> Iterator[Finding]:
    # What has been proven can be read even when the theory has moved on.
    copies = kept_inputs(batch.header, directory)
    gone: dict[str, None] = {}
    proofs = ProofFiles(directory)
    for view, tasks in _views_of(batch).items():
        # Our journal says what is assumed, without the theory.
        is_ours = tasks[0].plan.key != ""
        if os.path.exists(view.path) or not is_ours:
            yield from _findings_of_view(view, tasks, NO_COPIES)
        else:
            gone[tasks[0].plan.theory] = None
            if view.path in copies:
                yield from _findings_of_view(view, tasks, copies)
        yield from proofs.findings(tasks, view.diff)
    yield from proofs.finding_of_lost()
    if gone:
        theories = listed(gone)
        yield Finding("stale", theories, "", "is not there any more to compare with", NOTE)


def _views_of(batch: Batch) -> dict[_View, list[Task]]:
    """What tasks read of theories. One that could not be read then has no results to look at."""
    views: dict[_View, list[Task]] = {}
    for task in batch.tasks.values():
        plan = task.plan
        # What stands in a file was matched with its text as well as that goes.
        if plan.unreadable or stands_in_a_file(task):
            continue
        flags, diff, auto_sources = reading_options(_all_options(batch, plan), plan.flags)
        view = _View(_theory_path(plan), flags, diff, auto_sources)
        views.setdefault(view, []).append(task)
    return views


def _all_options(batch: Batch, plan: Plan) -> tuple[str, ...]:
    """The options of a task's call, as far as a journal tells them: it may lack the prover."""
    prover = batch.provers.get(plan.prover)
    return prover.all_options(plan.options) if prover else plan.options


def _theory_path(plan: Plan) -> str:
    return os.path.join(plan.cwd, plan.theory)


def _findings_of_view(
    view: _View, tasks: Sequence[Task], copies: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether a theory has changed; if not, which of its lemmas have no result."""
    name = tasks[0].plan.theory
    try:
        theory = load_theory(*view, copies)
    except InputError as error:
        yield Finding("assumption", name, "", f"{UNKNOWN}: {error}", NOTE)
        return
    digest = theory.digest[:32]
    stale = list(_stale_results(view, tasks, digest))
    yield from stale
    # Of another text it does not matter which lemmas have no result; a date doesn't make it one.
    if any(each.rank != HINT for each in stale):
        return
    planned = {task.plan.lemma for task in tasks}
    for lemma, sides in lemmas_by_name(theory).items():
        if lemma not in planned and not sides[0].optional:
            yield Finding("missing", name, lemma, "has no result", NOTE)


def _stale_results(view: _View, tasks: Iterable[Task], digest: str) -> Iterator[Finding]:
    """Results of an older text than that of this digest; only of batch-tamarin's by their dates."""
    for task in tasks:
        if task.outdated:
            yield finding("stale", task, f"{told_of(task)}: run it again", NOTE)
        if not task.result:
            continue
        if task.plan.theory_digest not in ("", digest):
            yield finding("stale", task, "the theory has changed since")
            continue
        # A fresh clone has new dates: they count only where nothing better is known.
        ended = instant(task.result.at)
        if not task.plan.key and 0 < ended < os.stat(view.path).st_mtime - CLOCK_S:
            yield finding("stale", task, NEWER_BY_DATE, HINT)


class SourcesNow(NamedTuple):
    """What has become of the theories of a batch since they were planned."""

    older: frozenset[str]  # the ids of tasks with results of another text than lies there now
    gone: list[str]  # the theories that lie there no more


def sources_now(batch: Batch) -> SourcesNow:
    """Compare theories, what they include and oracles with what was planned, by their bytes."""
    changed = _changed_inputs(batch.header)
    if batch.header.inputs and not changed:
        return SourcesNow(frozenset(), [])
    older: set[str] = set()
    gone: dict[str, None] = {}
    for view, tasks in _views_of(batch).items():
        if not os.path.exists(view.path):
            gone[tasks[0].plan.theory] = None
            continue
        try:
            theory: Theory | None = load_theory(*view)
        except InputError:  # what is no theory now is another text
            theory = None
        for task in tasks:
            if task.result and not (theory and _is_of_present_text(task, batch, theory, changed)):
                older.add(task.id)
    return SourcesNow(frozenset(older), list(gone))


def _is_of_present_text(task: Task, batch: Batch, theory: Theory, changed: set[str]) -> bool:
    """Whether a result is of a theory as it lies there now, with its oracles."""
    plan = task.plan
    oracles = used_oracles(theory, _all_options(batch, plan), plan.cwd)
    return plan.theory_digest in ("", theory.digest[:32]) and changed.isdisjoint(oracles)


def _changed_inputs(header: Header) -> set[str]:
    """The files that are not, or not all, what they were when they were planned: absolute paths."""
    changed: set[str] = set()
    for name, digest in header.inputs.items():
        path = os.path.abspath(os.path.join(header.cwd, name))
        if file_state(path).digest != digest:
            changed.add(path)
    return changed


class ProofFiles:
    """The proofs that are kept in a results directory."""

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, "proofs")
        self._names: set[str] = set()
        self._lost: list[Task] = []
        self.are_here = False  # the folder is: who copied the journal alone has no proof at all
        with suppress(OSError):
            self._names.update(os.listdir(self._folder))
            self.are_here = True

    def findings(self, tasks: Iterable[Task], diff: bool) -> Iterator[Finding]:
        """Whether the proofs of these tasks are whole, and say what the verdicts say."""
        for task in tasks:
            if not task.verdict:
                continue
            if task.id + ".spthy" in self._names:
                yield from self._findings_of(task, diff)
            # Where batch-tamarin keeps them is not known for sure.
            elif task.is_answered and task.plan.key:
                self._lost.append(task)

    def finding_of_lost(self) -> Iterator[Finding]:
        """Which of all these tasks have an answer, and no proof."""
        if self._lost:
            ids = listed((task.id for task in self._lost), 3)
            theories = listed(dict.fromkeys(task.plan.theory for task in self._lost), 3)
            message = f"{NO_PROOF_FILE} of {plural(len(self._lost), 'result')}: {ids}"
            rank = WRONG if self.are_here else NOTE
            yield Finding("missing", theories, "", message, rank)

    def _findings_of(self, task: Task, diff: bool) -> Iterator[Finding]:
        path = os.path.join(self._folder, task.id + ".spthy")
        try:
            theory = load_theory(path, diff=diff)
        except InputError as error:
            # What no prover of today prints may be a proof for others; half of a theory is none.
            rank = WRONG if is_cut(path) else NOTE
            yield finding("invalid", task, f"its proof can't be read: {error}", rank)
            return
        stored = lemmas_by_name(theory).get(task.plan.lemma, [])
        yield from judge_proof(task, stored)


def is_cut(path: str) -> bool:
    """Whether a file that can't be read as a theory is the beginning of one, or empty."""
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(65_536)
        begins_theory = _BEGINS_THEORY.match(head) is not None
        # What is whole may be too large for us, or of a prover that knows more.
        return not head or (begins_theory and not _who_printed(read_from_end(path, 2 * MB)))
    return False


# --- Recheck --------------------------------------------------------------------------------------


class Recheck:
    """Checks of the proofs of a batch by another prover, in `recheck-ALIAS/` of its results.

    They are tasks of a batch of their own. Each stored proof is put into the original theory text,
    alone, which is loaded without `--prove`: checked, not searched. The same verdict is expected.
    (Tamarin can't always load its own output again.) What it does not confirm the prover can be
    asked to prove itself: that is one more batch, in `recheck-ALIAS~proofs/`.
    """

    def __init__(self, batch: Batch, directory: str, prover: Prover) -> None:
        self.batch = batch
        self.results = os.path.abspath(directory)
        self.prover = prover
        self.directory = os.path.join(self.results, RECHECK_FOLDER + prover.alias)
        self.proofs_directory = self.directory + "~proofs"
        self.dependencies: dict[TheoryView, Dependencies] = {}
        # What was proven, not what lies there today.
        self.copies = kept_inputs(batch.header, self.results)
        load = functools.partial(load_theory, copies=self.copies)
        # Many tasks are of one theory.
        self._load = functools.lru_cache(maxsize=8)(load)

    def plan(self, warn: Callable[[str], None]) -> Batch:
        """The checks of all answers that there are; what can't be checked is warned of."""
        planned = Batch(self._header(), dependencies=self.dependencies)
        answered = [task for task in self.batch.tasks.values() if task.is_answered]
        own = [task for task in answered if may_check(self.prover, _prover_of(self.batch, task))]
        if len(own) < len(answered):
            others = plural(len(answered) - len(own), "proof")
            warn(f"{others} not checked: {self.prover.flavour} did not find them")
        for task in own:
            try:
                check = self.check_of(task)
            except InputError as error:
                warn(f"the proof of {task.id} can't be checked: {error}")
            else:
                planned.apply(check)
        return planned

    def check_of(self, task: Task) -> Plan:
        """The check of one proof, its theory written. Raises InputError if it can't be checked."""
        theory = self._original(task)
        stored_in = result_files(self.results, task.id).proof
        checked = file_state_now(stored_in).digest
        stored = load_theory(stored_in, (), theory.diff)
        text = text_to_check(theory, stored, task.plan.lemma)
        check = replace(
            self._plan_with(task, theory, text, "recheck"),
            id=task.id + RECHECK_MARK,
            prove=False,
            assumes=(),
            # The text was made for this check: no other result is of it.
            granularity=Granularity.LEMMA,
            theory_digest="",
            checks_proof=checked,
        )
        return self._with_dependencies(check)

    def plan_proofs(self, tasks: Iterable[Task], warn: Callable[[str], None]) -> Batch:
        """Proofs of lemmas, without any that is stored, by the prover that checks."""
        planned = Batch(self._header(), dependencies=self.dependencies)
        for task in tasks:
            try:
                theory = self._original(task)
            except InputError as error:
                warn(f"{task.id} can't be proven: {error}")
                continue
            statements = [text for _, text in _statements(theory)]
            plan = self._plan_with(task, theory, "\n".join(statements) + "\n", "recheck~proofs")
            planned.apply(self._with_dependencies(replace(plan, prove=True)))
        return planned

    def _plan_with(self, task: Task, theory: Theory, text: str, folder: str) -> Plan:
        """The plan of a task with the prover that checks, and a text, which is written."""
        folder = os.path.join(self.results, folder, self.prover.alias, task.id)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, os.path.basename(task.plan.theory))
        write_file(path, text)
        link_oracles(theory, task.plan.cwd, folder, self.copies)
        return replace(
            task.plan,
            theory=path,
            prover=self.prover.alias,
            expect=task.verdict,
            key=self._key(task.plan, text),
            lemma_key="",
            raised_from=None,  # to a check the limits that its proof needed are its own
            # They are told of the result itself.
            unknown_actions=(),
            holds_anyway=False,
        )

    def _with_dependencies(self, plan: Plan) -> Plan:
        files = {plan.theory: file_state_now(plan.theory)}
        self.dependencies[plan.view] = Dependencies("", files, {"stored proof": plan.key})
        return plan

    def _header(self) -> Header:
        """That of the batch, with this process as its driver."""
        host, boot_id = host_id()
        return replace(
            self.batch.header,
            at=timestamp(),
            id=os.urandom(6).hex(),
            pid=os.getpid(),
            started=process_start(os.getpid()),
            host=host,
            boot_id=boot_id,
            provers={self.prover.alias: self.prover},
            recheck_of=self.results,
        )

    def _original(self, task: Task) -> Theory:
        """The theory as it was when the task was proven. Raises InputError."""
        plan = task.plan
        options = self.batch.provers[plan.prover].all_options(plan.options)
        view = reading_options(options, plan.flags)
        theory = self._load(_theory_path(plan), *view)
        if theory.digest[:32] != plan.theory_digest:
            problem = "the theory has changed since it was proven: run that again first"
            raise InputError(problem, theory.path)
        if theory.diff and self.prover.flavour == Flavour.TAMARIN_RS:
            raise InputError("tamarin-rs has no --diff", theory.path)
        return theory

    def _key(self, plan: Plan, text: str) -> str:
        """Digest of everything that can change what the check says."""
        options = self.prover.all_options(plan.options)
        parts = [text, self.prover.identity, options, plan.flags]
        return sha256(json.dumps(parts).encode())[:32]


def refuse_strange_checker(checker: Prover, batch: Batch) -> None:
    """Raise InputError where a program that may check its own proofs only has found none here."""
    finders = [_prover_of(batch, task) for task in batch.tasks.values()]
    if finders and not any(may_check(checker, finder) for finder in finders):
        found_by = listed(dict.fromkeys(finder.flavour for finder in finders))
        raise InputError(
            f"{printable(checker.alias)} calls itself '{checker.flavour}', which is neither "
            f"{Flavour.TAMARIN_PROVER} nor {Flavour.TAMARIN_RS}: its word on proofs of "
            f"{printable(found_by)} says nothing. Give another prover"
        )


def text_to_check(original: Theory, stored: Theory, lemma: str) -> str:
    """The original text with no proof but the stored one of a lemma. Raises InputError.

    Both theories were loaded with their text.
    """
    statements = _statements(original)
    if lemma == EQUIVALENCE_LEMMA and lemma not in dict(statements):
        statement = f"diffLemma {lemma}:"
        statements.insert(-1, (lemma, statement))  # before the theory's `end`
    proofs: list[str] = []
    for segment in stored.segments:
        if segment.lemma == lemma and segment.kind == "proof":
            proofs.append(segment.text)
    # A proof has neither. An axiom that hides behind it would make the check worthless.
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
    for lemma, text, kind in theory.segments:
        if kind != "proof":
            statements.append((lemma, text))
        if kind == "end":  # a prover's log goes on behind it
            break
    return statements


def link_oracles(theory: Theory, cwd: str, folder: str, copies: Mapping[str, str]) -> None:
    """Let the oracles of a theory, or their `copies`, be found from its copy in a folder.

    tamarin-prover calls them also when it checks a proof.
    """
    for ranking in theory.oracle_rankings:
        # A ranking alone has just one oracle.
        only_this = replace(theory, oracle_rankings=(ranking,))
        oracle = used_oracles(only_this, (), cwd)[0]
        link = os.path.join(folder, ranking.name or "oracle")
        is_beside = ranking.folder is not None and "/" not in ranking.name
        if is_beside and not os.path.lexists(link):
            os.symlink(copies.get(os.path.abspath(oracle), oracle), link)


# === Reports ======================================================================================

PAGE = "summary.html"


def write_execution_report(batch: Batch, directory: str) -> None:
    """Write the report that batch-tamarin reads. Raises OSError."""
    path = os.path.join(directory, UPSTREAM_REPORT)
    write_file(path, execution_report(batch, directory))


def write_summary(batch: Batch, directory: str) -> None:
    """Write the page about a batch: in pieces, as it grows with its traces. Raises OSError."""
    path = os.path.join(directory, PAGE)
    page = page_report(Html, {directory: batch}, directory)
    write_file(path, marked("html", page))


def write_reports(batch: Batch, directory: str, derived: DerivedFiles) -> None:
    """Write what else the Batch alone can make again, beside success/ and failed/."""
    with derived.making(UPSTREAM_REPORT):
        write_execution_report(batch, directory)
    with derived.making(PAGE):
        write_summary(batch, directory)


LIVE_REPORT_S = 5.0  # at least, between two reports of a batch that runs
LIVE_REPORT_SHARE = 50  # and so many times as long as making one takes


class LiveReport:
    """Keeps batch-tamarin's report up to date while a batch runs, as its `report` may read it then.

    In a thread, and seldom: of 100,000 tasks one takes seconds.
    """

    def __init__(self, batch: Batch, derived: DerivedFiles) -> None:
        self._batch = batch
        self._derived = derived
        self._has_news = True

    def note(self, event: Event) -> None:
        """Take note of an event: there is something to write."""
        self._has_news = True

    async def beside(self, work: Awaitable[None]) -> None:
        """Await some work, and keep the report up to date meanwhile."""
        import asyncio

        job = asyncio.ensure_future(work)
        while not job.done():
            began = time.monotonic()
            if self._has_news:
                self._has_news = False
                await asyncio.to_thread(self._write)
            took_s = time.monotonic() - began
            pause_s = max(LIVE_REPORT_S, LIVE_REPORT_SHARE * took_s)
            await asyncio.wait([job], timeout=pause_s)
        await job

    def _write(self) -> None:
        with self._derived.making(UPSTREAM_REPORT):
            write_execution_report(self._batch, self._derived.directory)


# What a report is of: batches by their results directories.
Batches = Mapping[str, Batch]


def marked(form: str, pieces: Iterable[str]) -> Iterator[str]:
    """A report with the mark by which it is known as ours."""
    yield from pieces
    yield REPORT_MARKS[form].comment


def rows_of_batches(batches: Batches, problems: KnownProblems | None = None) -> Iterator[Row]:
    """All tasks of some batches as people see them, batch by batch, in plan order."""
    problems = problems or KnownProblems(batches)
    for directory, batch in batches.items():
        tasks = batch.tasks.values()
        # What a verdict rests on is looked for in its own batch only: others may be of other texts.
        older = sources_now(batch).older
        yield from rows_of(tasks, Closure(tasks), older, problems.within(directory), directory)


# --- The final table ------------------------------------------------------------------------------

TABLE_ROWS = 40  # a longer batch shows its problems only

# Of outcomes, in the order in which they are told.
WORDS = (
    "verified",
    "falsified",
    CONFIRMED,
    REJECTED,
    NOT_REPLAYED,
    "incomplete",
    "timeout",
    "memory limit",
    "failed",
    "interrupted",
    "superseded",
    "running",
    "pending",
    "completed",
)
# As what results can count, in the order in which they are told.
STANDINGS = (*WORDS[:2], RESTING_ON_FALSE, CONTRADICTED, NOT_AS_EXPECTED, *WORDS[2:])


def final_table(
    batch: Batch, directory: str, tasks: Sequence[Task], older: Collection[str] = ()
) -> str:
    """What came out of `tasks`, for a terminal: a line for each, totals, where to look next.

    Of a large batch it has only the tasks that are problems. `older`: as in `rows_of`.
    """
    # What was never begun has nothing to show: the totals count it.
    begun = [task for task in tasks if task.status is not Status.PENDING or task.outdated]
    # All tasks of the batch: lemmas that were not asked for this time are assumed all the same.
    closure = Closure(batch.tasks.values())
    problems = KnownProblems({directory: batch}).within(directory)
    rows = rows_of(begun, closure, older, problems)
    left_out = ""
    if len(begun) > TABLE_ROWS:
        chosen = [row for row in rows if row.is_problem]
        # A wrong result must not hide among timeouts: failures first.
        chosen.sort(key=lambda row: not row.is_failure)
        answered = plural(len(begun) - len(chosen), "task")
        command = f"batch_tamarin.py report {quoted([printable(directory)])}"
        left_out = f"{answered} with an answer not shown: {command} shows all"
    else:
        chosen = list(rows)
    lines = list(_task_lines(chosen, _variants_of(tasks, chosen)))
    if left_out:
        lines.append(left_out)
    lines.append("")
    lines.append(_totals_line(tasks, chosen))
    lines.append(f"results: {printable(directory)}")
    page = os.path.join(directory, PAGE)
    if os.path.exists(page):
        lines.append(f"page:    {printable(page)}")
    lines += _next_steps(batch, directory, tasks)
    touched = told_touched(problems.get(task.id, ()) for task in begun)
    if touched:
        where = quoted([printable(directory)])
        lines.append(f"{touched}, what to do: batch_tamarin.py audit {where}")
    return "\n".join(lines) + "\n"


def _variants_of(tasks: Iterable[Task], rows: Sequence[Row]) -> list[Aspect]:
    """What tells rows apart whose ids differ in nothing but a number; nothing if there are none."""
    plans = [task.plan for task in tasks]
    questions = {(plan.theory, plan.lemma, plan.prover, plan.variant) for plan in plans}
    if len(questions) == len(plans):
        return []
    return _with_words(_some(_settings(rows), *VARIANTS), rows)


def _task_lines(rows: Sequence[Row], variants: Sequence[Aspect]) -> Iterator[str]:
    """The table, and for how many rows it had no room; nothing if there are none."""
    shown = rows[:TABLE_ROWS]
    if shown:
        titles = [variant.title for variant in variants]
        lines = [["result", "task", *titles, "steps", "time", "memory", ""]]
        for row in shown:
            result, task, *figures = _final_cells(row)
            lines.append([result, task, *(variant.of(row) for variant in variants), *figures])
        first = 2 + len(variants)
        yield text_table(lines, right=range(first, first + 3))
    hidden = len(rows) - len(shown)
    if hidden:
        yield f"and {plural(hidden, 'task')} more without a verdict, or not as expected"


def _final_cells(row: Row) -> Iterator[str]:
    """A row of the final table."""
    result = row.result
    yield row.outcome
    yield row.task.id
    yield str(result.steps or "")
    # Zeros would be read as measured.
    if row.task.result:
        usage = result.usage
        yield duration(usage.wall_s)
        yield f"{usage.peak_mb:,.0f} MB"
    else:
        yield from ("", "")
    yield "; ".join(_notes(row))


def _notes(row: Row) -> Iterator[str]:
    """What a person should know of a task beside its figures."""
    if row.task.misses_expectation:
        yield f"expected {row.plan.expect}!"
    # `told` is the outcome, which has a column of its own, and behind a comma what it rests on.
    _, _, what_it_rests_on = row.told.partition(", ")
    if what_it_rests_on:
        yield what_it_rests_on
    if row.raised_limit:
        yield row.raised_limit
    result = row.result
    if result.reason:
        # It may quote the prover at length.
        yield result.reason[:160]
    for warning in row.warnings:
        yield f"warning: {warning}"
    if row.advisories:
        yield told_advisories(row)
    if result.cached:
        day = _day(result.ran)
        yield f"cached {day}".rstrip()
    if row.sharing:
        yield row.sharing


def told_advisories(row: Row) -> str:
    """`known problems: xor, iff-negated`, of what has some."""
    if not row.advisories:
        return ""
    return _told_problems(each.advisory.id for each in row.advisories)


def _told_problems(ids: Iterable[str]) -> str:
    return f"known problems: {', '.join(ids)}"


def _day(at: str) -> str:
    """The day of a time in the journal, "" for none."""
    return at[:10]


def _totals_line(tasks: Sequence[Task], rows: Iterable[Row]) -> str:
    """Totals of all tasks; `rows` has all that are failures."""
    total = plural(len(tasks), "task")
    counts = Counter(count_outcomes(tasks))
    failures = [row for row in rows if row.is_failure]
    for row in failures:
        # It must not be counted as what the prover said.
        if row.standing in (RESTING_ON_FALSE, CONTRADICTED):
            counts[row.outcome] -= 1
            counts[row.standing] += 1
    line = f"{total}: {told_counts(+counts)}"
    unexpected = sum(row.task.misses_expectation for row in failures)
    if unexpected:
        line += f"; {unexpected:,} not as expected"
    return line


def _next_steps(batch: Batch, directory: str, tasks: Sequence[Task]) -> Iterator[str]:
    """What a user can do about tasks without an answer, and to be faster."""
    where = quoted([printable(directory)])
    statuses = {task.status for task in tasks}
    # From the directory alone: the recipe may be elsewhere by now.
    if not statuses <= FINAL:
        yield f"go on: batch_tamarin.py resume {where}"
    # What no prover was started for has no log: its reason says all.
    failed = [t for t in tasks if t.status is Status.FAILED and not t.plan.unreadable]
    if failed:
        log = _telling_log(directory, failed[0].id)
        # A user pastes this into a shell, and an id may be what a foreign journal says.
        shown = quoted([printable(log)])
        yield f"why:   less {shown}"
    if statuses & MET_A_LIMIT:
        yield from _next_limits(batch, where, tasks)
    for folder in _contradicting_rechecks(batch, directory, tasks):
        yield f"if the recheck is wrong, take it back: rm -r {quoted([printable(folder)])}"
    cost = cost_of_loading(batch, tasks)
    if cost.is_worth_sharing:
        loading = duration(cost.loading_s)
        took = duration(cost.took_s)
        saved = duration(cost.saved_s)
        yield (
            f"faster: loading theories took {loading} of {took}; --granularity theory (in the "
            f'recipe: "granularity": "theory") would have saved about {saved} of it'
        )


def _contradicting_rechecks(batch: Batch, directory: str, tasks: Iterable[Task]) -> Collection[str]:
    """The directories of the rechecks that do not confirm what is here: this one may be one."""
    if batch.header.recheck_of:
        return [directory] if any(task.misses_expectation for task in tasks) else []
    by = itertools.chain.from_iterable(task.rejected_by for task in tasks)
    return [os.path.join(directory, RECHECK_FOLDER + alias) for alias in dict.fromkeys(by)]


def _next_limits(batch: Batch, where: str, tasks: Iterable[Task]) -> Iterator[str]:
    """What a user can do about tasks that met a limit; `where`: the directory, as typed."""
    met = [task for task in tasks if task.status in MET_A_LIMIT]
    keys = dict.fromkeys(limit_key(batch.header, task) for task in met)
    recipe = os.path.basename(batch.header.recipe_file) or "the recipe"
    limits = listed(filter(None, keys), 3) or "the limits"
    yield (
        f"more:  raise {printable(limits)} ({printable(recipe)}){_above_what_was_met(met)} and run "
        "it again: only what met its limit runs again"
    )
    if any(may_be_raised(batch.header, task) for task in met):
        yield f"       or batch_tamarin.py retry {where}: the same with doubled limits"


def _above_what_was_met(tasks: Iterable[Task]) -> str:
    """` above 30 s`, where limits were raised over what the recipe says, and met again."""
    timeouts: list[float] = []
    memories_mb: list[int] = []
    for task in tasks:
        if task.record and task.record.plan.raised_from:
            limits = task.record.plan.limits
            if task.status is Status.TIMEOUT:
                timeouts.append(limits.timeout_s)
            else:
                memories_mb.append(limits.memory_mb)
    told: list[str] = []
    if timeouts:
        told.append(f"{max(timeouts):g} s")
    if memories_mb:
        told.append(f"{max(memories_mb) / 1024:.3g} GB")
    return f" above {' and '.join(told)}" if told else ""


class LoadingCost(NamedTuple):
    """What processes of one lemma each took together, in seconds."""

    took_s: float
    loading_s: float  # how much of it they loaded theories
    saved_s: float  # how much less that would have been in shared processes

    @property
    def is_worth_sharing(self) -> bool:
        """Whether they did little else, and it is worth a word."""
        return self.loading_s > self.took_s / 2 and self.saved_s >= 1


def cost_of_loading(batch: Batch, tasks: Iterable[Task]) -> LoadingCost:
    """What was measured of the tasks that ran in this batch, in a process of their own."""
    took_s = 0.0
    loading_s = 0.0
    groups: dict[Hashable, list[Task]] = {}
    for task in tasks:
        result = task.result
        if result is None or result.cached or not result.tells_time:
            continue
        took_s += result.usage.wall_s
        loading_s += result.usage.load_s or 0.0
        # What was to share and did not would not do so another time.
        is_apart = task.plan.granularity is Granularity.LEMMA
        prover = batch.provers.get(task.plan.prover)
        can_share = prover and tells_phases(prover) and could_share(task, result.usage)
        if result.usage.load_s and is_apart and can_share:
            groups.setdefault(sharing_key(task.plan), []).append(task)
    room = Room(batch.header.limits.cores, batch.header.limits.memory_mb)
    saved_s = 0.0
    for group in groups.values():
        # The room is for all theories: each has a part of it, one process at least.
        processes = max(1, room.places(group[0].plan.limits) // len(groups))
        saved_s += _saved_seconds(group, processes)
    return LoadingCost(took_s, loading_s, saved_s)


def _saved_seconds(tasks: Sequence[Task], processes: int) -> float:
    """How much less loading so many processes do than one for each of these tasks."""
    usages = [task.result.usage for task in tasks if task.result]
    loading_s = sum(usage.load_s or 0.0 for usage in usages)
    share_left = min(1.0, processes / len(tasks))
    return loading_s * (1 - share_left)


def _telling_log(directory: str, job: str) -> str:
    """The log in which a prover said something: that of stderr, else that of stdout."""
    stderr = os.path.join(directory, "logs", job + ".err")
    stdout = os.path.join(directory, "logs", job + ".out")
    with suppress(OSError):
        if not os.path.getsize(stderr) and os.path.getsize(stdout):
            return stdout
    return stderr


def count_outcomes(tasks: Iterable[Task]) -> dict[str, int]:
    """How many tasks came to which outcome, in the order of WORDS."""
    counts = Counter(task.outcome for task in tasks)
    return {word: counts[word] for word in WORDS if word in counts}


def told_counts(counts: Mapping[str, int]) -> str:
    """`7 verified, 1 timeout`."""
    parts: list[str] = []
    for word, count in counts.items():
        part = f"{count:,} {word}"
        parts.append(part)
    return ", ".join(parts)


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = (), columns: int = 0) -> str:
    """Columns as wide as they need to be; the first row is the heading. Safe for a terminal.

    `right`: the numbers of the columns that are set to the right. `columns`: of the terminal, into
    which the widest of the others are cut; 0: nothing is.
    """
    # Cells quote theories and provers: what controls a terminal must not reach it.
    table = [list(map(printable, row)) for row in rows]
    widths: list[int] = []
    for column in zip(*table):
        widest = max(map(display_width, column))
        widths.append(widest)
    if columns:
        _cut_to(columns, widths, right)
    lines: list[str] = []
    for cells in table:
        for number, width in enumerate(widths):
            if number in right:
                cells[number] = cells[number].rjust(width)
            else:
                cells[number] = fit(cells[number], width)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


LEAST_CUT = 12  # no column of a table is cut to less


def _cut_to(columns: int, widths: list[int], right: Collection[int]) -> None:
    """Make the widest columns of a table narrower until all fit, if they can."""
    texts = [number for number in range(len(widths)) if number not in right]
    gaps = 2 * (len(widths) - 1)
    while texts and sum(widths) + gaps > columns:
        widest = max(texts, key=lambda number: widths[number])
        if widths[widest] <= LEAST_CUT:
            return
        widths[widest] -= 1


# --- What a page says, whatever its format --------------------------------------------------------

# Of a larger batch pages show so many tasks, problems first; csv and json hold all.
SHOWN_TASKS = 3_000
# Traces inside one page, in bytes: each, and together. Beyond that the page names the file.
GRAPH_CAP = 4 * MB
PAGE_CAP = 24 * MB
LISTED_LEMMAS = 12  # by name; of more, their number
REMARK_LENGTH = 160  # characters of a reason or warning in a table: details have all of it


class Kind(enum.Enum):
    """What the cells of a column are, which decides how they are shown."""

    TEXT = enum.auto()
    NUMBER = enum.auto()
    AMOUNT = enum.auto()  # a number >= 0 or "", with a bar for its share of the column's largest
    OUTCOME = enum.auto()  # one of WORDS, or what `told_of` says
    GRID = enum.auto()  # the same with a time behind it in brackets
    NAME = enum.auto()  # the row's name
    TASK = enum.auto()  # a link to the details of the task, which come in the order of the rows
    REMARK = enum.auto()  # a sentence that may be long


class Tone(enum.Enum):
    """How loud a row is."""

    CALM = enum.auto()
    MISSED = enum.auto()  # not as expected
    FALSE = enum.auto()  # resting on a falsified lemma
    SUM = enum.auto()  # of the rows above


LOUD_TONES = (Tone.MISSED, Tone.FALSE)


class Column(NamedTuple):
    """A column of a page's table."""

    title: str
    kind: Kind = Kind.TEXT

    @property
    def is_number(self) -> bool:
        """Whether its cells are set to the right."""
        return self.kind in (Kind.NUMBER, Kind.AMOUNT)


Cells = Sequence[str]  # of one row, a text for each column


@dataclass
class Table:
    """A table of a page, in no format yet; without rows it isn't shown."""

    title: str = ""  # of the section that it makes
    about: str = ""  # what a reader must know to understand it
    columns: list[Column] = field(default_factory=list)
    rows: list[Cells] = field(default_factory=list)
    tones: list[Tone] = field(default_factory=list)  # of the rows

    def add_columns(self, *titles: str, kind: Kind = Kind.TEXT) -> None:
        """Further columns of one kind."""
        for title in titles:
            self.columns.append(Column(title, kind))

    def add_row(self, *cells: str, tone: Tone = Tone.CALM) -> None:
        """A further row: a text for each column."""
        self.rows.append(cells)
        self.tones.append(tone)

    @property
    def heads(self) -> Cells:
        """The titles of the columns; empty if none has one."""
        titles = [column.title for column in self.columns]
        return titles if any(titles) else ()

    def largest(self, number: int) -> float:
        """The largest value of a column of amounts, 0 for another column."""
        if self.columns[number].kind is not Kind.AMOUNT:
            return 0
        largest = 0.0
        for row in self.rows:
            value = float(row[number] or 0)
            largest = max(largest, value)
        return largest

    @property
    def head_and_rows(self) -> Sequence[Cells]:
        """All lines from the top."""
        return [self.heads, *self.rows] if self.heads else self.rows


Fact = tuple[str, str]  # its name, and what is so; "" for one that isn't told


class Span(NamedTuple):
    """When a task ran in this batch, in seconds since 1970."""

    began: float
    ended: float
    row: Row


class Asked(NamedTuple):
    """What is asked of a page; reports for programs always tell everything."""

    names: bool = False  # it may tell hosts, users and absolute paths
    fragment: bool = False  # nothing but the table of results, to be put into another text
    grid: Grid | None = None  # which grid it has; None: lemmas by variants, if there are some


WHOLE_PAGE = Asked()


def page_report(
    form: type[Writer], batches: Batches, beside: str, asked: Asked = WHOLE_PAGE
) -> Iterator[str]:
    """A page from top to bottom, in pieces, for a file in the directory `beside`.

    First the answer, then results, what they rest on, each in full, and at last how they came.
    """
    page = form(beside)
    if not asked.names:
        page.blind = Blind(batches)
    rows = list(rows_of_batches(batches))
    shown = _chosen_rows(rows)
    grid = asked.grid or usual_grid(rows)
    if asked.fragment and asked.grid:
        yield page.fragment(_grid_table(rows, asked.grid))
        return
    if asked.fragment:
        yield page.fragment(_results_table(shown, len(rows), Kind.TEXT, with_words=False))
        return
    yield page.opening
    yield page.heading(1, _page_title(batches))
    yield from _answer_part(page, rows)
    if grid:
        yield page.section(_grid_table(rows, grid))
    yield page.section(_results_table(shown, len(rows), Kind.TASK))
    yield page.section(_totals_table(rows))
    yield from _comparison_part(page, batches, shown)
    yield from _assumptions_part(page, batches, shown)
    yield page.section(_advisories_table(shown))
    for directory in batches:
        spans = list(spans_of(_rows_in(directory, shown)))
        yield page.timeline(_title_of("Timeline", directory, batches), spans)
    yield from page.all_details("Each result in full", _details_part(page, batches, shown))
    yield from _origin_part(page, batches, rows, asked.names)
    yield page.closing


def _page_title(batches: Batches) -> str:
    recipes = dict.fromkeys(
        os.path.basename(batch.header.recipe_file) for batch in batches.values()
    )
    if all(batch.header.recheck_of for batch in batches.values()):
        aliases = {alias: None for batch in batches.values() for alias in batch.provers}
        return f"Recheck of {listed(recipes)} by {listed(aliases)}"
    noun = "batch" if len(batches) == 1 else "batches"
    return f"Tamarin {noun} {listed(recipes)}"


def _rows_in(directory: str, rows: Iterable[Row]) -> list[Row]:
    """The rows of one results directory."""
    return [row for row in rows if row.directory == directory]


def _title_of(title: str, directory: str, batches: Batches) -> str:
    """The title of what is told of one of the batches; where there are several it says of which."""
    if len(batches) == 1:
        return title
    shown = told_apart(batches)[directory]
    return f"{title}: {shown}"


def _chosen_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that a page has room for."""
    if len(rows) <= SHOWN_TASKS:
        return rows
    # Both kinds stay in plan order: sorting is stable, also in reverse.
    problems_first = sorted(rows, key=lambda row: row.is_problem, reverse=True)
    return problems_first[:SHOWN_TASKS]


def spans_of(rows: Iterable[Row]) -> Iterator[Span]:
    """When tasks ran, of those that did in this batch and have ended.

    A process that served several is told once, as that of the first.
    """
    told: set[Started] = set()
    for row in rows:
        result = row.result
        started = row.task.started
        if row.shared_by > 1 and started:
            if started in told:
                continue
            told.add(started)
        # A cached result's figures are of another batch.
        if result.at and not result.cached:
            ended = instant(result.at)
            yield Span(ended - result.usage.wall_s, ended, row)


def task_anchor(number: int) -> str:
    """How a page names the details of its n-th task, from 0."""
    # An id can have characters that are no name of a place in some format.
    return f"t{number}"


def told_apart(paths: Iterable[str]) -> dict[str, str]:
    """By each path the shortest end of it that no other of them has."""
    distinct = dict.fromkeys(paths)
    uses: Counter[str] = Counter()
    for path in distinct:
        uses.update(_ends_of(path))
    shortest: dict[str, str] = {}
    for path in distinct:
        # A path that is the end of another one has none of its own.
        shortest[path] = next((end for end in _ends_of(path) if uses[end] == 1), path)
    return shortest


def _ends_of(path: str) -> Iterator[str]:
    """The last name of a path, its last two, and so on."""
    names = path.rstrip("/").split("/")
    for first in reversed(range(len(names))):
        yield "/".join(names[first:])


# --- A page that doesn't tell who made it ---------------------------------------------------------

# Of a path that isn't known: what may stand before it, and what is in it.
_PATH = re.compile(
    r"""(?:file://)?
    (?: (?<![\w./<~-]) | (?=/(?:home|Users|root)/) )  # `-I/home/x`, too; no `a/b`, no `</g>`
    (?: / [^\s/'"<>|:;,()\[\]{}]+ ){2,} /?
    """,
    re.VERBOSE,
)
_HOME = re.compile(r"/(?:home|Users)/([^/\s]+)")


class Blind:
    """Takes out of any text who made it and where: hosts, users, absolute paths.

    Paths below a directory of the batches are told from there, of others only the last name. What
    the recipe and the theories call their lemmas, entries and provers stays as it is.
    """

    def __init__(self, batches: Batches) -> None:
        hosts: set[str] = set()
        names: set[str] = set()
        for batch in batches.values():
            hosts.add(batch.header.host)
            for task in batch.tasks.values():
                plan = task.plan
                names |= {plan.lemma, plan.entry, plan.prover, plan.variant}
                if task.record:
                    hosts.add(task.record.host)
        roots = _roots_of(batches)
        self._roots = _roots_pattern(roots)
        self._words = _words_pattern(hosts, roots, names)

    def __call__(self, text: str) -> str:
        """The text as a reviewer may see it."""
        if "/" in text:
            text = self._roots.sub(_below_root, text)
            text = _PATH.sub(_last_name, text)
        return self._words.sub("(hidden)", text)

    def shows_way(self, path: str, beside: str) -> bool:
        """Whether the way from a directory to a file can be told: not if it leaves all of ours."""
        start = os.path.abspath(beside)
        common = os.path.commonpath([start, os.path.abspath(path)])
        return common == start or bool(self._roots.match(common))


def _roots_of(batches: Batches) -> set[str]:
    """The directories that batches know: where they ran, and what lies elsewhere."""
    ran: set[str] = set()
    others: set[str] = set()
    for directory, batch in batches.items():
        ran.add(batch.header.cwd)
        ran.update(task.plan.cwd for task in batch.tasks.values())
        others.add(os.path.abspath(directory))
        others.add(os.path.dirname(batch.header.recipe_file))
        for prover in batch.provers.values():
            # Some are called by way of another program: its image may lie in somebody's home.
            others.update(map(os.path.dirname, prover.command))
    # The root of all tells nothing of what is below it.
    ran.discard("/")
    inside = tuple(root.rstrip("/") + "/" for root in ran)
    return ran.union(other for other in others if not other.startswith(inside))


def _roots_pattern(roots: Iterable[str]) -> re.Pattern[str]:
    """Matches a directory, with the `/` behind it if there is one."""
    stripped = [root.rstrip("/") for root in roots if os.path.isabs(root)]
    either = _any_of(filter(None, stripped))
    return re.compile(rf"(?<![\w.-])(?:file://)?{either}(?:/|(?![\w.-]))")


def _any_of(words: Iterable[str]) -> str:
    """A pattern for any of them, the longest that there is; without one it matches nothing."""
    longest_first = sorted(words, key=len, reverse=True)
    either = "|".join(map(re.escape, longest_first))
    return f"(?:{either})" if either else "(?!)"


def _below_root(found: re.Match[str]) -> str:
    """What stands for a directory: nothing before what is below it."""
    return "" if found[0].endswith("/") else "."


def _last_name(found: re.Match[str]) -> str:
    """The last name of a path; of somebody's home not even that."""
    path = found[0].rstrip("/")
    if _HOME.fullmatch(path.removeprefix("file://")):
        return "~"
    return os.path.basename(path)


def _words_pattern(
    hosts: Iterable[str], roots: Iterable[str], names: Collection[str]
) -> re.Pattern[str]:
    """Matches the names of hosts, and of users as far as paths tell them."""
    words: set[str] = set()
    for host in hosts:
        words.update((host, host.partition(".")[0]))
    for root in roots:
        words.update(_HOME.findall(root))
    # What is also the name of a lemma must be read there.
    words.difference_update(names, ["localhost"])
    # One letter would be found everywhere.
    either = _any_of(word for word in words if len(word) > 1)
    return re.compile(rf"(?<![\w-]){either}(?![\w-])")


# --- The answer -----------------------------------------------------------------------------------

# What a result is that counts as such, of one and of several.
PHRASES = {
    RESTING_ON_FALSE: ("rests on a falsified lemma", "rest on a falsified lemma"),
    CONTRADICTED: ("is contradicted by another result", "are contradicted by other results"),
    NOT_AS_EXPECTED: ("is not as expected", "are not as expected"),
    "incomplete": ("is incomplete", "are incomplete"),
    "timeout": ("met its time limit", "met their time limit"),
    "memory limit": ("met its memory limit", "met their memory limit"),
    "failed": ("failed", "failed"),
    "interrupted": ("was interrupted", "were interrupted"),
    "superseded": ("was not needed", "were not needed"),
    "running": ("is running", "are running"),
    "pending": ("has not run yet", "have not run yet"),
    "completed": ("has no verdict", "have no verdict"),
}


def _answer_part(page: Writer, rows: Sequence[Row]) -> Iterator[str]:
    """What came out, in one sentence, and which lemmas need a look."""
    yield page.answer(_answer(rows), any(row.is_failure for row in rows))
    yield page.shares(_standings(rows))
    yield page.facts(_names_of_problems(rows))


def _standings(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows count as what, in the order of STANDINGS."""
    counts = Counter(row.standing for row in rows)
    return {word: counts[word] for word in STANDINGS if word in counts}


def _answer(rows: Sequence[Row]) -> str:
    """`71 of 74 lemmas as expected; 2 rest on a falsified lemma; 1 met its time limit.`"""
    parts = [*_answered(rows), *_unanswered(rows), *_reservations(rows), *_not_expected(rows)]
    return "; ".join(parts) + "."


def _answered(rows: Sequence[Row]) -> Iterator[str]:
    """How many results are what they should be, or are answers if nothing is expected of them."""
    total = plural(len(rows), _noun(rows))
    expecting = sum(bool(row.plan.expect) for row in rows)
    if expecting:
        as_expected = sum(row.is_as_expected and not row.on_older_text for row in rows)
        if expecting == len(rows):
            yield f"{as_expected:,} of {total} as expected"
        else:
            yield f"{as_expected:,} of {plural(expecting, 'expectation')} met"
        return
    answered = _answers_of(rows)
    told = f": {told_counts(_standings(answered))}" if answered else ""
    yield f"{len(answered):,} of {total} answered{told}"


def _not_expected(rows: Sequence[Row]) -> Iterator[str]:
    """Where something is expected of others: the answers of which nothing is."""
    answered = _answers_of(row for row in rows if not row.plan.expect)
    if answered and any(row.plan.expect for row in rows):
        yield f"{told_counts(_standings(answered))} with no expectation"


def _answers_of(rows: Iterable[Row]) -> list[Row]:
    """Those that are answers, and stand."""
    return [row for row in rows if row.standing in ANSWERS and not row.on_older_text]


def _noun(rows: Sequence[Row]) -> str:
    """What rows are: lemmas, unless some are results of the same one."""
    lemmas = {(row.plan.theory, row.plan.lemma) for row in rows}
    return "lemma" if len(lemmas) == len(rows) else "result"


def _unanswered(rows: Iterable[Row]) -> Iterator[str]:
    """How many results are what they should not be."""
    counts = Counter(row.standing for row in rows)
    for word, phrases in PHRASES.items():
        if counts[word]:
            yield _counted(counts[word], *phrases)


def _counted(count: int, of_one: str, of_several: str) -> str:
    """`1 met its limit`, `2 met their limit`."""
    if count == 1:
        return f"1 {of_one}"
    return f"{count:,} {of_several}"


def _reservations(rows: Iterable[Row]) -> Iterator[str]:
    """What must be said of answers that were counted as such."""
    assuming = 0
    older = 0
    for row in rows:
        assuming += bool(row.assuming) and not row.rests_on_false
        older += row.on_older_text
    if assuming:
        what = "lemmas that are not verified here"
        yield _counted(assuming, f"assumes {what}", f"assume {what}")
    if older:
        what = "on an older text than what lies there now"
        yield _counted(older, f"is {what}", f"are {what}")


def _names_of_problems(rows: Sequence[Row]) -> Iterator[Fact]:
    """Which lemmas need a look, the worst first."""
    # Of each kind the lemmas, each once.
    problems: dict[str, dict[str, None]] = {
        RESTING_ON_FALSE: {},
        CONTRADICTED: {},
        NOT_AS_EXPECTED: {},
    }
    unanswered: dict[str, None] = {}
    ambiguous = _ambiguous_lemmas(rows)
    theories = told_apart(row.plan.theory for row in rows)
    for row in rows:
        if row.is_problem:
            chosen = problems.get(row.standing, unanswered)
            chosen[_lemma_told_apart(row, ambiguous, theories)] = None
    problems["without an answer"] = unanswered
    for word, lemmas in problems.items():
        yield word, listed(lemmas, LISTED_LEMMAS)


# --- Results --------------------------------------------------------------------------------------


class Aspect(NamedTuple):
    """What a column tells of each row."""

    title: str
    of: Callable[[Row], str]
    kind: Kind = Kind.TEXT


class SharedRemarks(NamedTuple):
    """What all verdicts of a table share beside their figures: it is said once, above them."""

    warnings: frozenset[str] = frozenset()
    problems: frozenset[str] = frozenset()  # known ones of provers, by id

    @property
    def told(self) -> str:
        """`All verdicts: warning: ...; known problems: xor.`, or ""."""
        remarks = [_shortened(f"warning: {warning}") for warning in sorted(self.warnings)]
        if self.problems:
            remarks.append(_told_problems(sorted(self.problems)))
        return f"All verdicts: {'; '.join(remarks)}." if remarks else ""

    def without(self, row: Row) -> Row:
        """A row without what is said above it."""
        if not row.task.is_answered:
            return row
        warnings = tuple(text for text in row.result.warnings if text not in self.warnings)
        advisories = [each for each in row.advisories if each.advisory.id not in self.problems]
        return row._replace(result=replace(row.result, warnings=warnings), advisories=advisories)


def _shared_remarks(rows: Sequence[Row]) -> SharedRemarks:
    """What the prover warned of and the known problems that all verdicts share, if there are some.

    What has no verdict is left aside: a run that was ended warned of what it came to.
    """
    answered = [row for row in rows if row.task.is_answered]
    if len(answered) < 2:
        return SharedRemarks()
    warnings = [frozenset(row.result.warnings) for row in answered]
    problems = [frozenset(each.advisory.id for each in row.advisories) for row in answered]
    return SharedRemarks(
        frozenset.intersection(*warnings),
        frozenset.intersection(*problems),
    )


def _results_table(
    rows: Sequence[Row], total: int, lemma_kind: Kind, with_words: bool = True
) -> Table:
    """A line for each task that is shown, with the columns in which they differ.

    `with_words`: also what was expected, and why there is no verdict.
    """
    table = Table("Results")
    settings = _settings(rows)
    shared = _shared_remarks(rows) if with_words else SharedRemarks()
    about = [*_about_results(rows, total, settings), shared.told]
    table.about = " ".join(filter(None, about))
    aspects = [Aspect("result", lambda row: row.told, Kind.OUTCOME)]
    aspects.append(Aspect("lemma", lambda row: row.plan.lemma, lemma_kind))
    if with_words:
        aspects += _with_words([Aspect("as expected", _told_expectation)], rows)
    aspects += _differing(settings, rows)
    aspects.append(Aspect("steps", _told_steps, Kind.NUMBER))
    aspects.append(Aspect("time (s)", _told_seconds, Kind.AMOUNT))
    aspects.append(Aspect("memory (MB)", _told_memory, Kind.AMOUNT))
    if with_words:
        remarks = Aspect("remarks", lambda row: _remarks(shared.without(row)), Kind.REMARK)
        aspects += _with_words([remarks], rows)
    _fill(table, aspects, rows)
    return table


def _fill(table: Table, aspects: Sequence[Aspect], rows: Iterable[Row]) -> None:
    """Give a table a column for each aspect and a line for each row."""
    for aspect in aspects:
        table.add_columns(aspect.title, kind=aspect.kind)
    for row in rows:
        cells = [aspect.of(row) for aspect in aspects]
        table.add_row(*cells, tone=_tone(row))


# What tells results of one lemma of one theory apart, beside the prover.
VARIANTS = ("entry", "variant", "options", "flags")


def _settings(rows: Sequence[Row]) -> list[Aspect]:
    """In what tasks can differ, beside their lemma."""
    directories = told_apart(row.directory for row in rows)
    theories = told_apart(row.plan.theory for row in rows)
    settings: list[Aspect] = []
    if len(directories) > 1:
        settings.append(Aspect("directory", lambda row: directories[row.directory]))
    of_many_texts = _names_of_many_texts(rows)

    def told_theory(row: Row) -> str:
        name = theories[row.plan.theory]
        if row.plan.theory in of_many_texts:
            return f"{name} (text {row.plan.theory_digest[:8]})"
        return name

    settings.append(Aspect("theory", told_theory))
    entries = {(row.plan.theory, row.plan.entry) for row in rows}
    # Where each theory has one entry, its name says no more.
    if len(entries) > len(theories):
        settings.append(Aspect("entry", lambda row: row.plan.entry))
    settings.append(Aspect("trait", lambda row: row.result.trait or row.plan.trait))
    settings.append(Aspect("prover", lambda row: row.plan.prover))
    settings.append(Aspect("variant", lambda row: row.plan.variant))
    settings.append(Aspect("options", lambda row: quoted(row.plan.options)))
    settings.append(Aspect("flags", lambda row: " ".join(row.plan.flags)))
    return settings


def _names_of_many_texts(rows: Iterable[Row]) -> set[str]:
    """The names that stand for one theory here and for another there."""
    texts: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for row in rows:
        plan = row.plan
        # Flags change the text of a theory, too: they are told of by themselves.
        if plan.theory_digest:
            texts.setdefault((plan.theory, plan.flags), set()).add(plan.theory_digest)
    return {theory for (theory, _), digests in texts.items() if len(digests) > 1}


def _differing(aspects: Iterable[Aspect], rows: Sequence[Row]) -> list[Aspect]:
    """Those in which these rows differ."""
    return [aspect for aspect in aspects if len(_values(aspect, rows)) > 1]


def _with_words(aspects: Iterable[Aspect], rows: Sequence[Row]) -> list[Aspect]:
    """Those that have words for some row: an empty column would ask everyone what is missing."""
    return [aspect for aspect in aspects if any(_values(aspect, rows))]


def _values(aspect: Aspect, rows: Iterable[Row]) -> set[str]:
    """What an aspect tells of these rows."""
    return {aspect.of(row) for row in rows}


def _about_results(rows: Sequence[Row], total: int, settings: Iterable[Aspect]) -> Iterator[str]:
    """What is so of all rows, and how many there are no lines for."""
    if len(rows) < total:
        yield f"{len(rows):,} of {total:,} tasks, problems first; csv and json reports hold all."
    common: list[str] = []
    for setting in settings:
        values = _values(setting, rows)
        if len(values) == 1 and any(values):
            common.append(f"{setting.title} {values.pop()}")
    if common:
        told = ", ".join(common)
        yield f"All: {told}."


def _told_expectation(row: Row) -> str:
    """Whether a result is as expected; "" where nothing is, or it isn't known yet."""
    if not row.plan.expect:
        return ""
    if row.task.misses_expectation:
        return f"no: expected {row.plan.expect}"
    if row.rests_on_false:
        return "no"
    if row.is_as_expected:
        return "yes"
    return ""


def _told_steps(row: Row) -> str:
    return str(row.result.steps or "")


def _told_seconds(row: Row) -> str:
    """What a task took; "" where nothing was measured: zeros would be read as such."""
    if not row.task.result:
        return ""
    return f"{row.result.usage.wall_s:.2f}"


def _told_memory(row: Row) -> str:
    """The most memory in MB that a task used; "" where nothing was measured."""
    if not row.task.result:
        return ""
    return f"{row.result.usage.peak_mb:.0f}"


def _remarks(row: Row) -> str:
    """What a person should know of a result beside its figures."""
    result = row.result
    remarks = [row.raised_limit, _shortened(result.reason)]
    remarks += [_shortened(f"warning: {warning}") for warning in row.warnings]
    remarks.append(told_advisories(row))
    if result.cached:
        remarks.append(f"cached {_day(result.ran)}".rstrip())
    remarks.append(row.sharing)
    return "; ".join(filter(None, remarks))


def _shortened(text: str) -> str:
    """A text that may quote a prover at length, as a table has room for it."""
    if len(text) <= REMARK_LENGTH:
        return text
    return text[: REMARK_LENGTH - 4] + " ..."


def _tone(row: Row) -> Tone:
    """How loud the row of a result is."""
    if row.rests_on_false:
        return Tone.FALSE
    return Tone.MISSED if row.is_failure else Tone.CALM


def _ambiguous_lemmas(rows: Iterable[Row]) -> set[str]:
    """The names that lemmas of several theories have."""
    names = {(row.plan.theory, row.plan.lemma) for row in rows}
    counts = Counter(lemma for _, lemma in names)
    return {lemma for lemma, count in counts.items() if count > 1}


def _lemma_told_apart(row: Row, ambiguous: Collection[str], theories: Mapping[str, str]) -> str:
    """A lemma; with its theory where the name alone doesn't tell which."""
    theory = theories[row.plan.theory]
    if row.plan.unreadable:
        return f"all of {theory} (it can't be read)"
    if row.plan.lemma in ambiguous:
        return f"{row.plan.lemma} ({theory})"
    return row.plan.lemma


# --- Totals, and provers side by side -------------------------------------------------------------


TOTALED_VARIANTS = 100  # more of them have no totals of their own


class Measure(NamedTuple):
    """A column of totals: a figure of some rows."""

    title: str
    of: Callable[[Sequence[Row]], str]


def _totals_table(rows: Sequence[Row]) -> Table:
    """What came out, and what it took, by entry, prover and variant."""
    table = Table("Totals")
    table.about = "Each result is counted once. Times are sums, memory is the most of one job."
    directories = told_apart(row.directory for row in rows)
    groups: dict[tuple[str, ...], list[Row]] = {}
    variants = {row.plan.variant for row in rows}
    with_variants = any(variants) and len(variants) <= TOTALED_VARIANTS
    for row in rows:
        names = [row.plan.entry, row.plan.prover]
        if with_variants:
            names.append(row.plan.variant)
        if len(directories) > 1:
            names.insert(0, directories[row.directory])
        groups.setdefault(tuple(names), []).append(row)
    if len(directories) > 1:
        table.add_columns("directory")
    table.add_columns("entry", "prover")
    if with_variants:
        table.add_columns("variant")
    measures = list(_measures(rows))
    for names_of_group, group in groups.items():
        table.add_row(*names_of_group, *_measured(measures, group))
    if len(groups) > 1:
        empty = [""] * (len(table.columns) - 1)
        table.add_row("all", *empty, *_measured(measures, rows), tone=Tone.SUM)
    for measure in measures:
        table.add_columns(measure.title, kind=Kind.NUMBER)
    return table


def _measured(measures: Iterable[Measure], rows: Sequence[Row]) -> list[str]:
    """The figures of some rows."""
    return [measure.of(rows) for measure in measures]


def _measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """The columns of totals: what none of the rows came to has none."""
    yield Measure("results", lambda group: f"{len(group):,}")
    for word in _standings(rows):
        yield Measure(word, functools.partial(_count_of, word))
    yield Measure("answered", _share_answered)
    if any(row.plan.expect for row in rows):
        yield Measure("as expected", _share_as_expected)
    if any(row.result.cached for row in rows):
        yield Measure("cached", _count_cached)
    yield Measure("time (s)", _sum_of_times)
    yield Measure("CPU (s)", _sum_of_cpu_times)
    yield Measure("memory (MB)", _most_memory)


def _count_of(word: str, rows: Iterable[Row]) -> str:
    """How many of them count as this."""
    return _told_count(sum(row.standing == word for row in rows))


def _count_cached(rows: Iterable[Row]) -> str:
    """How many of them came from the cache."""
    return _told_count(sum(row.result.cached for row in rows))


def _told_count(count: int) -> str:
    """A number in a table; "" for none: zeros would hide what is there."""
    return f"{count:,}" if count else ""


def _share_answered(rows: Sequence[Row]) -> str:
    """How many of them have an answer that stands, as expected or not."""
    answered = sum(row.task.is_answered and not _is_void(row) for row in rows)
    return _percent(answered, len(rows))


def _share_as_expected(rows: Sequence[Row]) -> str:
    """How many of those that expect something are so."""
    expecting = sum(bool(row.plan.expect) for row in rows)
    as_expected = sum(row.is_as_expected and not row.on_older_text for row in rows)
    return _percent(as_expected, expecting)


def _is_void(row: Row) -> bool:
    """Whether its verdict says nothing of the theory as it is."""
    return bool(row.rests_on_false) or row.on_older_text


def _sum_of_times(rows: Iterable[Row]) -> str:
    """Their seconds; a job that served several tasks is counted once."""
    total = sum(row.result.share_of(row.result.usage.wall_s) for row in rows)
    return f"{total:,.1f}"


def _sum_of_cpu_times(rows: Iterable[Row]) -> str:
    """Their CPU seconds, in the same way; "" where some were not measured."""
    total = 0.0
    for row in rows:
        cpu_s = row.result.usage.cpu_s
        if cpu_s is None:
            return ""
        total += row.result.share_of(cpu_s)
    return f"{total:,.1f}"


def _most_memory(rows: Iterable[Row]) -> str:
    """Jobs ran one after the other, too: a sum of their peaks was never in use."""
    most = max(row.result.usage.peak_mb for row in rows)
    return f"{most:,.0f}"


def _percent(part: int, whole: int) -> str:
    """A share for people: 100 % is all of it, 0 % nothing; "" of nothing."""
    if not whole:
        return ""
    share = round(100 * part / whole)
    if part < whole:
        share = min(share, 99)
    if part:
        share = max(share, 1)
    return f"{share} %"


def _comparison_part(page: Writer, batches: Batches, rows: Sequence[Row]) -> Iterator[str]:
    """For each batch what several provers say of its lemmas."""
    for directory, batch in batches.items():
        # Of one batch each: elsewhere the same name may mean another text.
        table = _comparison_table(batch, _rows_in(directory, rows))
        table.title = _title_of(table.title, directory, batches)
        yield page.section(table)


def _comparison_table(batch: Batch, rows: Sequence[Row]) -> Table:
    """Verdict, time and memory of each prover, a line for each lemma; empty where there is one."""
    table = Table("Provers side by side")
    provers = list(dict.fromkeys(row.plan.prover for row in rows))
    # One would say the same as the table of results.
    if len(provers) < 2:
        return table
    aspects = _differing(_some(_settings(rows), "theory", *VARIANTS), rows)
    aspects.append(Aspect("lemma", lambda row: row.plan.lemma))
    table.add_columns(*(aspect.title for aspect in aspects))
    for alias in provers:
        table.add_columns(_prover_name(batch, alias), kind=Kind.OUTCOME)
        table.add_columns("time (s)", "MB", kind=Kind.NUMBER)
    lines = _by_lemma(rows)
    for line in lines:
        cells = [_told_of_all(aspect, line.values()) for aspect in aspects]
        for alias in provers:
            cells += _compared_cells(line.get(alias))
        table.add_row(*cells)
    empty = [""] * (len(aspects) - 1)
    table.add_row(*empty, *_sums_where_all_answered(provers, lines), tone=Tone.SUM)
    return table


def _told_of_all(aspect: Aspect, rows: Iterable[Row]) -> str:
    """What is so of rows in one line: of several provers the options may differ."""
    return " / ".join(dict.fromkeys(map(aspect.of, rows)))


def _some(aspects: Iterable[Aspect], *titles: str) -> list[Aspect]:
    """Those with these titles."""
    return [aspect for aspect in aspects if aspect.title in titles]


def _prover_name(batch: Batch, alias: str) -> str:
    """A prover's alias with its version."""
    version = batch.provers[alias].version
    if version in alias:
        return alias
    return f"{alias} ({version})"


def _by_lemma(rows: Iterable[Row]) -> list[dict[str, Row]]:
    """For each lemma of each entry what each prover came to."""
    lemmas: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        plan = row.plan
        # In another entry or variant, or with other flags, it is another question.
        key = (plan.entry, plan.theory, plan.lemma, plan.variant, *plan.flags)
        # Within an entry a prover may have the same lemma twice: in a line of its own.
        while plan.prover in lemmas.get(key, ()):
            key = (*key, "again")
        lemmas.setdefault(key, {})[plan.prover] = row
    return list(lemmas.values())


def _compared_cells(row: Row | None) -> list[str]:
    """What one prover came to, with time and memory."""
    if not row:
        return ["", "", ""]
    told = row.told
    if row.against:
        told = f"{row.outcome}, {CONTRADICTED}"
    elif row.task.misses_expectation:
        told = f"{row.outcome}, {NOT_AS_EXPECTED}"
    if row.sharing:
        told += f", {row.sharing}"
    return [told, _told_seconds(row), _told_memory(row)]


def _sums_where_all_answered(
    provers: Sequence[str], lines: Iterable[Mapping[str, Row]]
) -> Iterator[str]:
    """What each prover took for the lemmas that all have answered: only these compare."""
    common = [line for line in lines if _is_answered_by(provers, line)]
    lemmas = plural(len(common), "lemma")
    yield f"all, where each answered: {lemmas}"
    for alias in provers:
        results = [line[alias].result for line in common]
        seconds = sum(result.share_of(result.usage.wall_s) for result in results)
        peak_mb = max((result.usage.peak_mb for result in results), default=0)
        yield from ("", f"{seconds:,.2f}", f"{peak_mb:,.0f}")


def _is_answered_by(provers: Iterable[str], line: Mapping[str, Row]) -> bool:
    """Whether all of them have an answer."""
    return all(alias in line and line[alias].task.is_answered for alias in provers)


# --- Grids: what lemmas came to in variants -------------------------------------------------------

USUAL_GRID_COLUMNS = 16  # at most, of a grid that nobody has asked for
MAY_BE_EMPTY = ("trait", "options", "flags")  # and mean something then


class Grid(NamedTuple):
    """What stands in the rows and in the columns of a grid: names that `grid_names` has."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]


def read_grid(text: str) -> Grid:
    """`lemma,order x attacker`. Raises ValueError."""
    lines, _, columns = re.sub(r"\s[x×]\s", "\n", text).replace(",", " ").partition("\n")
    grid = Grid(tuple(lines.split()), tuple(columns.split()))
    if not (grid.rows and grid.columns) or "\n" in columns:
        raise ValueError("it takes 'ROWS x COLUMNS', such as 'lemma x variant'")
    names = [*grid.rows, *grid.columns]
    if len(set(names)) < len(names):
        raise ValueError("a name can stand there once only")
    return grid


def grid_names(rows: Sequence[Row]) -> list[str]:
    """What can stand in the rows and columns of a grid of these results."""
    return list(_grid_aspects(rows))


def _grid_aspects(rows: Sequence[Row]) -> dict[str, Aspect]:
    """In what results differ, by name: lemmas, settings, the dimensions of a matrix.

    A dimension that is called `flags`, say, is what `flags` means here.
    """
    aspects = [Aspect("lemma", lambda row: row.plan.lemma)]
    aspects.append(Aspect("entry", lambda row: row.plan.entry))
    aspects += _settings(rows)
    # Few are distinct, whatever the number of rows.
    for dimensions in dict.fromkeys(row.plan.dimensions for row in rows):
        for each in dimensions:
            name, _, _ = each.partition("=")
            aspects.append(Aspect(name, functools.partial(_value_of_dimension, name)))
    return {aspect.title: aspect for aspect in aspects}


def _value_of_dimension(name: str, row: Row) -> str:
    """The value that a result's variant has of a dimension; "" if it has none."""
    for each in row.plan.dimensions:
        dimension, _, value = each.partition("=")
        if dimension == name:
            return value
    return ""


def usual_grid(rows: Sequence[Row]) -> Grid | None:
    """Lemmas by variants, or the other way round; None without variants, or where there are many.

    Where results differ in more than that, there are more rows.
    """
    aspects = _grid_aspects(rows)
    if len(rows) > SHOWN_TASKS or not any(_values(aspects["variant"], rows)):
        return None
    more: list[str] = []
    for name in ("directory", "entry", "prover"):
        if name in aspects and len(_values(aspects[name], rows)) > 1:
            more.append(name)
    for line, column in (("lemma", "variant"), ("variant", "lemma")):
        if len(_values(aspects[column], rows)) <= USUAL_GRID_COLUMNS:
            grid = Grid((*more, line), (column,))
            # An entry may have several theories.
            places = {_place_of(row, (*grid.rows, column), aspects) for row in rows}
            if len(places) < len(rows):
                return Grid(("theory", *grid.rows), grid.columns)
            return grid
    return None


# Where a result stands among the rows, or among the columns, of a grid.
_Place = tuple[str, ...]


def _place_of(row: Row, names: Iterable[str], aspects: Mapping[str, Aspect]) -> _Place:
    """Where a result stands; nowhere, `()`, if it has no such dimension."""
    place: list[str] = []
    for name in names:
        value = aspects[name].of(row)
        if not value and name not in MAY_BE_EMPTY:
            return ()
        place.append(value)
    return tuple(place)


def _grid_table(rows: Sequence[Row], grid: Grid) -> Table:
    """Verdict and time of each result where it stands in a grid."""
    aspects = _grid_aspects(rows)
    cells: dict[tuple[_Place, _Place], list[Row]] = {}
    lines: dict[_Place, None] = {}
    columns: dict[_Place, None] = {}
    outside = 0
    for row in rows:
        line = _place_of(row, grid.rows, aspects)
        column = _place_of(row, grid.columns, aspects)
        if line and column:
            lines[line] = columns[column] = None
            cells.setdefault((line, column), []).append(row)
        else:
            outside += 1
    table = Table(_grid_title(grid))
    table.about = "In brackets: seconds."
    if outside:
        results = plural(outside, "result")
        table.about += f" Not in it: {results} without one of these."
    table.add_columns(*grid.rows)
    in_order = _in_order(columns)
    for column in in_order:
        title = ", ".join(column)
        table.add_columns(title or "(none)", kind=Kind.GRID)
    for line in _in_order(lines):
        told: list[str] = []
        for column in in_order:
            inside = cells.get((line, column), ())
            told.append(_grid_cell(inside))
        table.add_row(*line, *told)
    return table


def _grid_title(grid: Grid) -> str:
    """`Lemma and order by attacker`."""
    lines = " and ".join(grid.rows)
    columns = " and ".join(grid.columns)
    return f"{lines} by {columns}".capitalize()


def _in_order(places: Collection[_Place]) -> list[_Place]:
    """By the first part, then the second: of the values of a part what came first comes first."""
    ranks: dict[tuple[int, str], int] = {}  # of the values of each part
    for place in places:
        for part in enumerate(place):
            ranks.setdefault(part, len(ranks))

    def rank_of(place: _Place) -> list[int]:
        return [ranks[part] for part in enumerate(place)]

    return sorted(places, key=rank_of)


def _grid_cell(rows: Sequence[Row]) -> str:
    """`verified (0.31)`; of several results what they came to, and the sum of their times."""
    counts = Counter(map(_told_compactly, rows))
    told = "; ".join(counts)
    if len(rows) > 1:
        told = "; ".join(f"{count:,} {word}" for word, count in counts.items())
    # Zeros would be read as measured.
    if any(row.task.result for row in rows):
        seconds = sum(row.result.usage.wall_s / row.shared_by for row in rows)
        told += f" ({seconds:.2f})"
    return told


def _told_compactly(row: Row) -> str:
    """The outcome, and in few words what of it must not be taken as it is."""
    if row.rests_on_false:
        told = f"{row.outcome}, {RESTING_ON_FALSE}"
    elif row.against:
        told = f"{row.outcome}, {CONTRADICTED}"
    elif row.task.misses_expectation:
        told = f"{row.outcome}, {NOT_AS_EXPECTED}"
    elif row.assuming:
        lemmas = listed((each.lemma for each in row.assuming), 2)
        told = f"{row.outcome}, assuming {lemmas}"
    else:
        told = row.outcome
    return f"{told}, on an older text" if row.on_older_text else told


# --- What results rest on -------------------------------------------------------------------------


def _assumptions_part(page: Writer, batches: Batches, rows: Sequence[Row]) -> Iterator[str]:
    """For each batch what its verdicts take for granted."""
    for directory in batches:
        table = _assumptions_table(_rows_in(directory, rows))
        table.title = _title_of(table.title, directory, batches)
        yield page.section(table)


def _assumptions_table(rows: Sequence[Row]) -> Table:
    """What verdicts take for granted, of those that do."""
    table = Table("What the results rest on")
    table.about = (
        "These results hold if the lemmas that their proofs assume hold; one that rests on a "
        "falsified lemma says nothing."
    )
    aspects = [Aspect("result", _told_shortly, Kind.OUTCOME)]
    aspects.append(Aspect("lemma", lambda row: row.plan.lemma))
    aspects += _differing(_some(_settings(rows), "theory", "prover", *VARIANTS), rows)
    assuming = list(filter(_assumes, rows))
    verified = Aspect("verified here", _verified_assumptions)
    unverified = Aspect("not verified here", lambda row: listed(row.assuming))
    aspects += _with_words([unverified, verified], assuming)
    _fill(table, aspects, assuming)
    return table


def _assumes(row: Row) -> bool:
    """Whether a result assumes something; a trace that was found doesn't, whatever its lemma."""
    rests = (row.plan.trait, row.task.verdict) in RESTING
    return rests and bool(row.plan.assumes)


def _told_shortly(row: Row) -> str:
    """The outcome, and whether it rests on something else; on what stands beside it."""
    if row.rests_on_false:
        return f"{row.outcome}, {RESTING_ON_FALSE}"
    if row.against:
        return f"{row.outcome}, {CONTRADICTED}"
    if row.assuming:
        return f"{row.outcome}, if what is open holds"
    return row.outcome


def _verified_assumptions(row: Row) -> str:
    """The lemmas that a result assumes and that are verified."""
    unverified = {each.lemma for each in row.assuming}
    return listed(name for name in row.plan.assumes if name not in unverified)


def _advisories_table(rows: Iterable[Row]) -> Table:
    """The known problems of provers that touch verdicts, a line for each with its lemmas."""
    lemmas: dict[Applied, dict[str, None]] = {}
    for row in rows:
        for each in row.advisories:
            lemmas.setdefault(each, {})[row.plan.lemma] = None
    table = Table("Known problems of provers")
    table.about = (
        "These verdicts are of a kind that a known problem of their prover can make false."
    )
    table.add_columns("known problem", "what", "lemmas", "reference", "what to do")
    for each, names in lemmas.items():
        where = listed(names, LISTED_LEMMAS)
        table.add_row(each.name, each.message, where, each.references, each.advisory.advice)
    return table


# --- Each result in full --------------------------------------------------------------------------


def _details_part(page: Writer, batches: Batches, rows: Iterable[Row]) -> Iterator[str]:
    """All that is known of each task that is shown."""
    for number, row in enumerate(rows):
        task = _title_of(row.task.id, row.directory, batches)
        title = f"{task}: {row.told}"
        parts = _task_details(page, batches[row.directory], row.directory, row)
        yield page.details(title, task_anchor(number), parts)


def _task_details(page: Writer, batch: Batch, directory: str, row: Row) -> Iterator[str]:
    """All that is known of a task: facts, command line, what the prover said, its trace."""
    plan = row.plan
    prover = batch.provers[plan.prover]
    outputs = result_files(directory, plan.id)
    yield page.facts(_task_facts(row, prover))
    # Without its theory a task has no command: a pattern in the recipe is no lemma. And of
    # batch-tamarin's, which have no key, nobody knows it.
    if plan.key and not plan.unreadable:
        # What is taken out of a word may be what it would be quoted for.
        words = map(page.seen, prover_command(prover, plan, outputs))
        yield page.code(quoted(words))
    stderr = row.result.stderr_tail
    if stderr.strip():
        yield page.paragraph("The end of its stderr:")
        yield page.code(stderr.strip("\n"))
    trace = outputs.trace_dot
    if os.path.exists(trace):
        kind = _kind_of_trace(row)
        yield page.trace(f"{kind} of {plan.id}", trace)


def _kind_of_trace(row: Row) -> str:
    """What the trace of a result is: only one that breaks a lemma is an attack."""
    trait = row.result.trait or row.plan.trait
    if trait == Trait.EXISTS_TRACE:
        return "Witness"
    return "Attack trace" if row.task.verdict is Verdict.FALSIFIED else "Trace"


def _task_facts(row: Row, prover: Prover) -> Iterator[Fact]:
    """What was planned of a task, and what came of it."""
    plan = row.plan
    result = row.result
    trait = result.trait or plan.trait or "?"
    yield "theory", plan.theory
    yield "lemma", f"{plan.lemma} ({trait})"
    yield "recipe task", plan.entry
    yield "variant", _told_variant_of(plan)
    version = prover.version or "of unknown version"
    yield "prover", f"{plan.prover} ({prover.flavour} {version})"
    yield "expected", plan.expect or ""
    yield "reason", result.reason
    yield "warnings", "; ".join(row.warnings)
    yield "steps", str(result.steps or "")
    yield "takes for granted", ", ".join(plan.assumes)
    yield "known problems", "; ".join(each.in_full for each in row.advisories)
    yield "options", quoted(plan.options)
    yield "flags", " ".join(plan.flags)
    yield "limits", _told_limits(row)
    yield "earlier attempts", "; ".join(_earlier_attempts(row.task))
    if row.task.result:
        yield "used", _told_usage(result.usage)
    if row.shared_by > 1:
        told = f"one process proved {row.shared_by:,} lemmas: the figures are theirs together"
        yield "shared", f"{told}; the command below proves this one alone"
    if result.cached:
        yield "cached", _told_origin(result)
    yield "ended", utc(instant(result.at))
    # 0 of what came from the cache, or never began.
    yield "attempts", str(row.task.attempts or "")
    yield "exit", str(result.exit or "")


def _told_variant_of(plan: Plan) -> str:
    """The name of a task's variant, and what it is made of."""
    if not plan.dimensions:
        return plan.variant
    return f"{plan.variant} ({', '.join(plan.dimensions)})"


def _told_limits(row: Row) -> str:
    """The limits of a result; "" where nobody knows them."""
    if row.limits == NO_LIMITS:
        return ""
    return f"{row.limits} ({row.raised_limit})" if row.raised_limit else str(row.limits)


def _earlier_attempts(task: Task) -> Iterator[str]:
    """How earlier attempts at the same plan ended that met smaller limits."""
    for record in task.earlier:
        if record.plan.key == task.plan.key and record.result.status in MET_A_LIMIT:
            yield f"{outcome_words(record.result)} ({record.plan.limits})"


def _told_usage(usage: Usage) -> str:
    """Time and memory, over the whole process tree."""
    told = [f"{usage.wall_s:,.2f} s"]
    if usage.cpu_s is not None:
        told.append(f"{usage.cpu_s:,.2f} s CPU")
    told.append(f"{usage.peak_mb:,.0f} MB (average {usage.avg_mb:,.0f} MB)")
    return ", ".join(told)


def _told_origin(result: Result) -> str:
    """What to keep in mind of a result from the cache."""
    ran = utc(instant(result.ran)) or "yes"
    told = f"{ran}: the figures are of then"
    if result.old_text:
        told += ", its proof file may hold older texts of other lemmas"
    return told


# --- How the results came -------------------------------------------------------------------------


def _origin_part(
    page: Writer, batches: Batches, rows: Sequence[Row], with_names: bool
) -> Iterator[str]:
    """Of each batch the provers, the machine and the recipe."""
    for directory, batch in batches.items():
        provers = _provers_table(batch)
        provers.title = _title_of(provers.title, directory, batches)
        yield page.section(provers)
        yield page.heading(2, _title_of("Machine and recipe", directory, batches))
        yield page.facts(_batch_facts(batch, _rows_in(directory, rows), with_names))


def _provers_table(batch: Batch) -> Table:
    """The provers of a batch with their versions."""
    table = Table("Provers")
    table.add_columns("prover", "version", "command")
    for alias, prover in batch.provers.items():
        number = prover.version or "(unknown)"
        version = f"{prover.flavour} {number}"
        words = [*prover.command, *prover.options]
        if words == [alias]:  # of a prover of ours it is a path
            words = ["(unknown)"]
        table.add_row(alias, version, " ".join(words))
    return table


def _batch_facts(batch: Batch, rows: Sequence[Row], with_names: bool) -> Iterator[Fact]:
    """What is so of the whole batch; `with_names`: also who ran it, and where."""
    header = batch.header
    if with_names:
        yield "recipe", header.recipe_file
        yield "directory", header.cwd
        yield "host", header.host
    else:
        yield "recipe", os.path.basename(header.recipe_file)
    yield "platform", header.platform
    limits = header.limits
    if limits != NO_LIMITS:
        cores = plural(limits.cores, "core")
        memory_gb = limits.memory_mb / 1024
        yield "limits", f"{cores}, {memory_gb:.1f} GB for all jobs"
    # What we read of batch-tamarin's has no version of ours.
    if header.version:
        yield "run by", f"batch_tamarin.py {header.version}"
    else:
        yield "run by", "batch-tamarin"
    yield from _batch_times(batch, rows)


def _batch_times(batch: Batch, rows: Sequence[Row]) -> Iterator[Fact]:
    """When a batch began and ended, and whether it has."""
    # By what ran, not by the header's time: that is of the last time that the batch went on.
    spans = list(spans_of(rows))
    began = ended = instant(batch.header.at)
    if spans:
        began = min(span.began for span in spans)
        ended = max(span.ended for span in spans)
    if not began:  # what batch-tamarin did not finish tells of no times
        return
    yield "began", utc(began)
    left = len(rows) - batch.count(*FINAL)
    if left:
        tasks = plural(left, "task")
        yield "ended", f"not yet: {tasks} left, the same `run` command goes on with them"
    else:
        yield "ended", utc(ended)
    yield "took", duration(ended - began)


# --- Writers of pages: a new format is one class --------------------------------------------------


class Frame(NamedTuple):
    """What stands before, between and after the texts of a row, or the lines of a code."""

    before: str
    between: str
    after: str


class Writer:
    """Renders the parts of a page in one format.

    All text that was not made here passes through `escape`, line by line. A format needs `table`,
    its own escapes and the forms below; what else it can do better, it overrides.
    """

    opening = ""
    closing = ""
    paragraph_form = "%s\n\n"
    heading_forms: Sequence[str] = ("%s\n\n",) * 3  # of level 1 (the page's title), 2 and 3
    row_frame = Frame("", "\n", "\n")
    code_frame = Frame("", "\n", "\n")
    cell_form = "%s"
    loud_form = "%s"  # of an outcome that must not be overlooked
    escapes: Mapping[int, str] = {}  # as `str.translate` takes them

    def __init__(self, beside: str) -> None:
        # The directory that the page is for: names of files are relative to it.
        self.beside = beside
        # Of a page that doesn't tell who made it: what takes that out of texts.
        self.blind: Blind | None = None
        self.room = PAGE_CAP  # for traces, in bytes

    def escape(self, text: str) -> str:
        """Any text as one line that the format shows as it is."""
        return printable(self.seen(text)).translate(self.escapes)

    def seen(self, text: str) -> str:
        """What the page may tell of any text."""
        return self.blind(text) if self.blind else text

    def table(self, table: Table) -> str:
        """A table without its title."""
        raise NotImplementedError

    def paragraph(self, text: str) -> str:
        return self.paragraph_form % self.escape(text)

    def heading(self, level: int, text: str) -> str:
        return self.heading_forms[level - 1] % self.escape(text)

    def code(self, text: str) -> str:
        """A text of several lines as it stands."""
        return self.framed(self.code_frame, text.expandtabs().split("\n"))

    def facts(self, facts: Iterable[Fact]) -> str:
        """Those facts that are told, one a line."""
        table = Table()
        table.add_columns("", kind=Kind.NAME)
        table.add_columns("")
        for name, text in facts:
            if text:
                table.add_row(name, text)
        return self.table(table) if table.rows else ""

    def answer(self, text: str, alarming: bool) -> str:
        """The sentence that a page begins with; `alarming`: something in it is wrong."""
        return self.paragraph(text)

    def shares(self, counts: Mapping[str, int]) -> str:
        """A picture of how many results count as what, in a format that has pictures."""
        return ""

    def fragment(self, table: Table) -> str:
        """A table alone, to be put into another text."""
        return self.table(table)

    def section(self, table: Table) -> str:
        """A table under its heading; nothing where it has no rows."""
        if not table.rows:
            return ""
        parts = [self.heading(2, table.title)]
        if table.about:
            parts.append(self.paragraph(table.about))
        parts.append(self.table(table))
        return "".join(parts)

    def all_details(self, title: str, parts: Iterable[str]) -> Iterator[str]:
        """What is known of all tasks, in pieces."""
        yield self.heading(2, title)
        yield from parts

    def details(self, title: str, anchor: str, parts: Iterable[str]) -> str:
        """What is known of one task; `anchor` is where a table's link leads."""
        return self.heading(3, title) + "".join(parts)

    def timeline(self, title: str, spans: Sequence[Span]) -> str:
        """A picture of which task ran when, in a format that has pictures."""
        return ""

    def trace(self, name: str, dot: str) -> str:
        """The drawn graphs of a DOT file, else its text, else where it lies."""
        # Drawn when the batch ended, or never: a report starts no program.
        drawn = drawings(dot)
        if drawn:
            return "".join(self.drawing(name, path) for path in drawn)
        text = self.file_text(dot)
        return self.code(text) if text else self.link(name, dot)

    def drawing(self, name: str, path: str) -> str:
        """A drawn graph (SVG), or where it lies."""
        return self.link(name, path)

    def link(self, name: str, path: str) -> str:
        """Where a file lies."""
        place = self.place(path) or path
        return self.paragraph(f"{name}: {place}")

    def place(self, path: str) -> str:
        """A file from where the page is: the page and the results can be moved together.

        "" where the way there could tell somebody's name.
        """
        if self.blind and not self.blind.shows_way(path, self.beside):
            return ""
        return os.path.relpath(path, self.beside)

    def framed(self, frame: Frame, texts: Iterable[str]) -> str:
        """Texts, escaped, in their frame."""
        return _in_frame(frame, map(self.escape, texts))

    def table_head(self, table: Table) -> str:
        cells = [self.cell_form % self.escape(head) for head in table.heads]
        return _in_frame(self.row_frame, cells)

    def table_rows(self, table: Table) -> Iterator[str]:
        """The rows; of one that is not calm the outcome is set off."""
        for row, tone in zip(table.rows, table.tones):
            cells: list[str] = []
            for column, text in zip(table.columns, row):
                is_loud = tone in LOUD_TONES and column.kind is Kind.OUTCOME
                form = self.loud_form if is_loud else self.cell_form
                cells.append(form % self.escape(text))
            yield _in_frame(self.row_frame, cells)

    def file_text(self, path: str) -> str:
        """The text of a trace, "" when the page has no room for it (left)."""
        # Results may be a stranger's: a link in them could bring any file of ours into the page.
        opened = functools.partial(open, encoding="utf-8", errors="replace", opener=open_no_link)
        with suppress(OSError), opened(path) as file:
            # Asked of the open file: what has this name may change until it is read.
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes <= min(GRAPH_CAP, self.room):
                self.room -= size_bytes
                return self.seen(file.read(GRAPH_CAP))
        return ""

    def url(self, place: str) -> str:
        """A relative path as an address, all but plain characters in per cent signs."""
        import urllib.parse

        return urllib.parse.quote(os.fsencode(place))


def _in_frame(frame: Frame, parts: Iterable[str]) -> str:
    return frame.before + frame.between.join(parts) + frame.after


class PlainText(Writer):
    """For a terminal."""

    columns = 0  # tables are cut to so many; 0: they are whole

    def table(self, table: Table) -> str:
        right = [number for number, column in enumerate(table.columns) if column.is_number]
        return text_table(table.head_and_rows, right, self.columns) + "\n\n"


class Markdown(Writer):
    """As GitHub renders it."""

    heading_forms = ("# %s\n\n", "## %s\n\n", "### %s\n\n")
    row_frame = Frame("| ", " | ", " |\n")
    loud_form = "**%s**"
    escapes = str.maketrans({sign: "\\" + sign for sign in "\\`*_[]{}<>#|&~$!@:"})

    def table(self, table: Table) -> str:
        # Markdown has no table without a heading: of facts it is empty.
        heads = table.heads or [""] * len(table.columns)
        rules = ["--:" if column.is_number else "---" for column in table.columns]
        rule = " | ".join(rules)
        parts = [self.framed(self.row_frame, heads)]
        parts.append(f"| {rule} |\n")
        parts += self.table_rows(table)
        parts.append("\n")
        return "".join(parts)

    def code(self, text: str) -> str:
        fences = re.findall("`+", text)
        longest = max(map(len, fences), default=0)
        # A fence ends at the first line of at least as many backticks.
        fence = "`" * max(3, longest + 1)
        # Between fences nothing is markup: what is escaped there would show its backslashes.
        lines = [printable(self.seen(line)) for line in text.expandtabs().split("\n")]
        content = "\n".join(lines)
        return f"{fence}text\n{content}\n{fence}\n\n"

    def drawing(self, name: str, path: str) -> str:
        shown = "!" if self.place(path) else ""
        return shown + self.link(name, path)

    def link(self, name: str, path: str) -> str:
        place = self.place(path)
        if not place:
            return super().link(name, path)
        text = self.escape(name)
        return f"[{text}]({self.url(place)})\n\n"


class Latex(Writer):
    """For pdflatex, with tables that a paper can take over."""

    # Without lmodern, T1 may have bitmap fonts only, but not every installation has it.
    opening = r"""% Run pdflatex twice: longtable knows the widths of its columns only then.
\documentclass[a4paper,landscape]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp,booktabs,longtable,array}
\usepackage[margin=15mm]{geometry}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}\setcounter{secnumdepth}{0}\emergencystretch=3em
\begin{document}
"""
    closing = "\\end{document}\n"
    heading_forms = ("\n\\section{%s}\n", "\n\\subsection{%s}\n", "\n\\subsubsection{%s}\n")
    row_frame = Frame("", " & ", " \\\\\n")
    loud_form = "\\textbf{%s}"
    code_frame = Frame("{\\ttfamily\\scriptsize\\raggedright\n", "\\par\n", "\\par}\n\n")
    escapes = str.maketrans(
        {
            "{": r"\{",
            "}": r"\}",
            "$": r"\$",
            "&": r"\&",
            "#": r"\#",
            "%": r"\%",
            # A row's first cell may begin with what `\\` takes for its argument; `--` and `,,` are
            # other signs.
            "[": "{[}",
            "]": "{]}",
            "*": "{*}",
            "-": "{-}",
            ",": "{,}",
            # Long names may break here.
            "_": r"\_\allowbreak{}",
            "/": r"/\allowbreak{}",
            "\\": r"\textbackslash{}",
            "^": r"\textasciicircum{}",
            "~": r"\textasciitilde{}",
            "<": r"\textless{}",
            ">": r"\textgreater{}",
            "|": r"\textbar{}",
            '"': r"\textquotedbl{}",
            "'": r"\textquotesingle{}",
            "`": r"\textasciigrave{}",
        }
    )
    # By trial, about so many characters fit on a line: in footnotesize on landscape A4, and in
    # scriptsize with little between the columns on a paper. A column of no more than `short`
    # characters never wraps: it would gain nothing.
    line_width = 185
    paper_width = 100
    short = 20
    # A table of so many rows fits on a page: it need not be a longtable, which two columns refuse.
    page_rows = 40

    def escape(self, text: str) -> str:
        """As `Writer.escape`; blanks that TeX would swallow stay.

        A character that pdflatex's fonts may not have is shown by its number.
        """
        # Printable ASCII and the letters of Latin-1, which the T1 encoding has.
        known = re.sub("[^\x20-\x7e\xc0-\xff]", _code_point, printable(self.seen(text)))
        escaped = super().escape(known)
        # `\ ` is a blank that stays; without one an empty line of a code would vanish.
        return re.sub("^ |(?<= ) ", r"\\ ", escaped) or r"\ "

    def fragment(self, table: Table) -> str:
        self.line_width = self.paper_width
        if len(table.rows) > self.page_rows:
            return TEX_LONG_FRAGMENT + self.table(table)
        forms = self._column_forms(table)
        parts = [TEX_FRAGMENT, "{\\scriptsize\\setlength{\\tabcolsep}{3pt}\n"]
        parts += [f"\\begin{{tabular}}{{@{{}}{forms}@{{}}}}\n\\toprule\n"]
        parts += [self.table_head(table), "\\midrule\n"]
        parts += self.table_rows(table)
        parts.append("\\bottomrule\n\\end{tabular}}\n")
        return "".join(parts)

    def table(self, table: Table) -> str:
        forms = self._column_forms(table)
        parts = [f"{{\\footnotesize\n\\begin{{longtable}}[l]{{@{{}}{forms}@{{}}}}\n\\toprule\n"]
        if table.heads:
            parts.append(self.table_head(table))
            parts.append("\\midrule\n\\endhead\n")
        parts += self.table_rows(table)
        parts.append("\\bottomrule\n\\end{longtable}}\n\n")
        return "".join(parts)

    def table_head(self, table: Table) -> str:
        """Long heads of numbers on several lines: the numbers are short."""
        heads: list[str] = []
        for column in table.columns:
            lines = _head_lines(column)
            head = "\\\\ ".join(map(self.escape, lines))
            heads.append(f"\\shortstack[r]{{{head}}}" if len(lines) > 1 else head)
        return _in_frame(self.row_frame, heads)

    def _column_forms(self, table: Table) -> str:
        """The columns as longtable takes them: long ones wrap where a line can't hold them all."""
        widths: list[int] = []
        for number, column in enumerate(table.columns):
            cells = _head_lines(column) + [row[number] for row in table.rows]
            longest = max(map(len, cells))
            widths.append(longest + 3)  # the gap to the next
        scale = self._scale(widths)
        forms: list[str] = []
        for column, width in zip(table.columns, widths):
            if column.is_number:
                forms.append("r")
            elif scale == 1 or width <= self.short:
                forms.append("l")
            else:
                # The gaps between columns need room, too.
                share = max(scale * width, self.short) / (1.08 * self.line_width)
                form = f">{{\\raggedright\\arraybackslash}}p{{{share:.3f}\\linewidth}}"
                forms.append(form)
        return "".join(forms)

    def _scale(self, widths: Iterable[int]) -> float:
        """How much of the characters that a long column needs it gets, at most 1.

        Short columns get what they need, long ones share the rest in proportion.
        """
        short = 0
        long = 0
        for width in widths:
            if width > self.short:
                long += width
            else:
                short += width
        if not long:
            return 1.0
        left = self.line_width - short
        # Where next to nothing is left the table is wider than the page, but can be read.
        return min(1.0, max(0.1, left / long))


# What stands above a table that a paper takes in.
TEX_FRAGMENT = r"""% In the preamble: \usepackage[T1]{fontenc}
%   \usepackage{textcomp,booktabs,array}
% In the text, for example in a table (where there are two columns, a table*): \input{FILE}
"""
TEX_LONG_FRAGMENT = r"""% In the preamble: \usepackage[T1]{fontenc}
%   \usepackage{textcomp,booktabs,longtable,array}
% In the text, where there is one column (in two: between \onecolumn and \twocolumn): \input{FILE}
% Run LaTeX twice: longtable knows its widths only then.
"""


def _head_lines(column: Column) -> list[str]:
    """The head of a column: that of numbers on as many lines as make it narrow."""
    import textwrap

    if not column.is_number:
        return [column.title]
    return textwrap.wrap(column.title, 8, break_long_words=False)


def _code_point(found: re.Match[str]) -> str:
    """A character by its number."""
    number = ord(found[0])
    return f"<U+{number:04X}>"


class Typst(Writer):
    """All text stands in string literals, so that nothing in it is markup."""

    table_style = "#set table(stroke: none, inset: 3pt)\n"
    opening = f"#set page(flipped: true, margin: 15mm)\n#set text(size: 9pt)\n{table_style}"
    paragraph_form = '#par("%s")\n'
    heading_forms = (
        '\n#heading(level: 1, "%s")\n',
        '\n#heading(level: 2, "%s")\n',
        '\n#heading(level: 3, "%s")\n',
    )
    # Commas behind the last cell and row are allowed: no row is a special case.
    row_frame = Frame("  ", ", ", ",\n")
    cell_form = '"%s"'
    loud_form = 'strong("%s")'
    code_frame = Frame('#raw(block: true, "', "\\n", '")\n')
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"'})

    def fragment(self, table: Table) -> str:
        return f"// In the text: #include FILE (this one)\n{self.table_style}{self.table(table)}"

    def table(self, table: Table) -> str:
        sides = ["right" if column.is_number else "left" for column in table.columns]
        align = ", ".join(sides)
        number = len(sides)
        parts = [f"#table(columns: {number}, align: ({align}), table.hline(),\n"]
        if table.heads:
            parts.append("  table.header(\n")
            parts.append(self.table_head(table))
            parts.append("  ), table.hline(stroke: 0.5pt),\n")
        parts += self.table_rows(table)
        parts.append("  table.hline())\n")
        return "".join(parts)

    def drawing(self, name: str, path: str) -> str:
        svg = self.file_text(path)
        if not svg:
            return self.link(name, path)
        literal = svg.translate(self.escapes).replace("\n", "\\n")
        text = self.escape(name)
        return f'#image(bytes("{literal}"), format: "svg", alt: "{text}")\n'


class Html(Writer):
    """One file for any browser, offline: no script but ours (told by its digest), nothing loaded.

    A drawn trace is an image in a data: URL, in which a browser runs no script and loads nothing.
    """

    paragraph_form = "<p>%s</p>\n"
    heading_forms = ("<h1>%s</h1>\n", "<h2>%s</h2>\n", "<h3>%s</h3>\n")
    code_frame = Frame("<pre>", "\n", "</pre>\n")
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

    def __init__(self, beside: str) -> None:
        import base64

        super().__init__(beside)
        # The page's policy lets a browser run the script of this digest and no other.
        digest = bytes.fromhex(sha256(PAGE_SCRIPT.encode()))
        allowed = base64.b64encode(digest).decode()
        self.opening = PAGE_HEAD % (allowed, PAGE_STYLE)
        self.closing = f"</main>\n<script>{PAGE_SCRIPT}</script>\n</html>\n"

    def answer(self, text: str, alarming: bool) -> str:
        kind = "answer alarming" if alarming else "answer"
        return f'<p class="{kind}">{self.escape(text)}</p>\n'

    def shares(self, counts: Mapping[str, int]) -> str:
        parts = ['<div class="shares" aria-hidden="true">']
        for word, count in counts.items():
            kind = _style_class(word)
            parts.append(f'<span class="{kind}" style="flex-grow:{count}"></span>')
        parts.append('</div>\n<p class="legend">')
        # What the colours mean, here and in the timeline.
        for word, count in counts.items():
            told = self.escape(f"{count:,} {word}")
            parts.append(f'<span class="key {_style_class(word)}">{told}</span> ')
        parts.append("</p>\n")
        return "".join(parts)

    def table(self, table: Table) -> str:
        about = ", ".join(table.heads) or "facts"
        label = self.escape(f"Table of {about}")
        # A wide table scrolls in a box of its own. With `tabindex` the keyboard can do that, too.
        parts = [f'<div class="wide" role="region" tabindex="0" aria-label="{label}">']
        kinds = [column.kind for column in table.columns]
        # By this id PAGE_SCRIPT finds the one table that can be sorted and filtered.
        if Kind.TASK in kinds:
            parts.append("<table id=results>")
        elif table.heads:
            parts.append("<table>")
        else:
            parts.append("<table class=facts>")
        if table.heads:
            parts.append("<thead><tr>")
            parts += map(self._head, table.columns)
            parts.append("</thead>")
        parts.append("<tbody>\n")
        parts += self._body(table)
        parts.append("</tbody></table></div>\n")
        return "".join(parts)

    def _head(self, column: Column) -> str:
        title = self.escape(column.title)
        kind = " class=n" if column.is_number else ""
        if len(column.title) > SHORT_CELL:
            kind = " class=long"
        return f'<th scope="col"{kind}>{title}'

    def _body(self, table: Table) -> Iterator[str]:
        largest = list(map(table.largest, range(len(table.columns))))
        # On a phone a row is a list of what there is, each with its label; facts have none.
        labels = [f' data-of="{self.escape(head)}"' for head in table.heads]
        labels = labels or [""] * len(table.columns)
        for number, (row, tone) in enumerate(zip(table.rows, table.tones)):
            yield TONES[tone]
            for column, cell, most, label in zip(table.columns, row, largest, labels):
                if not cell:
                    label = ""
                yield self._cell(column, cell, most, number, label)
            yield "\n"

    def _cell(self, column: Column, cell: str, largest: float, number: int, label: str) -> str:
        """A cell of row `number`; `largest`: of an AMOUNT, the column's largest value."""
        text = self.escape(cell)
        if column.kind is Kind.TASK:
            anchor = task_anchor(number)
            return f'<td class=name><a href="#{anchor}">{text}</a>'
        if column.kind is Kind.OUTCOME:
            return f'<td class="w {_style_of_told(cell)}"{label}>{text}'
        if column.kind is Kind.GRID:
            told = _GRID_TIME.sub("", cell)
            return f'<td class="w {_style_of_told(told)}"{label}>{text}'
        if column.kind is Kind.NAME:
            return f'<th scope="row">{text}'
        if column.kind is Kind.AMOUNT and cell and largest:
            share = float(cell) / largest
            return f'<td class="n bar" style="--share:{share:.1%}"{label}>{text}'
        if column.is_number:
            return f"<td class=n{label}>{text}"
        if column.kind is Kind.REMARK:
            return f"<td class=remark{label}>{text}"
        kind = " class=long" if len(cell) > SHORT_CELL else ""
        return f"<td{kind}{label}>{text}"

    def all_details(self, title: str, parts: Iterable[str]) -> Iterator[str]:
        shown = self.escape(title)
        yield f'<details id="full"><summary><h2>{shown}</h2></summary>\n'
        yield from parts
        yield "</details>\n"

    def details(self, title: str, anchor: str, parts: Iterable[str]) -> str:
        shown = self.escape(title)
        summary = f"<summary><h3>{shown}</h3></summary>\n"
        content = "".join(parts)
        return f'<details id="{anchor}">{summary}{content}</details>\n'

    def drawing(self, name: str, path: str) -> str:
        import base64

        svg = self.file_text(path)
        if not svg:
            return self.link(name, path)
        image = base64.b64encode(svg.encode()).decode()
        text = self.escape(name)
        shown = f'<img alt="{text}" src="data:image/svg+xml;base64,{image}">'
        anchor = self._anchor(name, path)
        return f"<p>{shown}<br>{anchor}</p>\n"

    def link(self, name: str, path: str) -> str:
        anchor = self._anchor(name, path)
        return f"<p>{anchor}</p>\n"

    def _anchor(self, name: str, path: str) -> str:
        place = self.place(path)
        if not place:
            return self.escape(f"{name}: {path}")
        text = self.escape(name)
        address = self.escape(self.url(place))
        return f'<a href="{address}">{text}</a>'

    def timeline(self, title: str, spans: Sequence[Span]) -> str:
        if not spans:
            return ""
        began = min(span.began for span in spans)
        ended = max(span.ended for span in spans)
        # As many lanes as jobs ran at a time, not one a task: a batch may have thousands.
        lanes = _lanes(spans)
        height = LANE_HEIGHT * len(lanes)
        label = self.escape(f"{utc(began)} to {utc(ended)}")
        parts = [self.heading(2, title), f"<p>{label}</p>\n"]
        size = f'width="100%" height="{height + AXIS_HEIGHT}"'
        parts.append(f'<svg role="img" aria-label="Timeline, {label}" {size}>\n')
        parts += self._axis(ended - began, height)
        for number, lane in enumerate(lanes):
            top = LANE_HEIGHT * number
            for span in lane:
                bar = self._bar(span, top, began, ended)
                parts.append(bar)
        parts.append("</svg>\n")
        return "".join(parts)

    def _axis(self, whole_s: float, height: int) -> Iterator[str]:
        """Lines over all lanes, with the time since the beginning below them."""
        step = _axis_step(whole_s)
        for number in range(int(whole_s / step) + 1):
            seconds = number * step
            left = seconds / (whole_s or 1)
            place = f"{left:.3%}"
            yield f'<line x1="{place}" x2="{place}" y1="0" y2="{height + 4}"/>'
            side = _side_of_text(left)
            told = _axis_label(seconds, step)
            yield f'<text x="{place}" y="{height + 16}" text-anchor="{side}">{told}</text>\n'

    def _bar(self, span: Span, top: int, began: float, ended: float) -> str:
        """A bar of a timeline from `began` to `ended`, `top` pixels from its upper edge."""
        took_s = span.ended - span.began
        took = duration(took_s)
        words = filter(None, [span.row.told, took, span.row.sharing])
        told = self.escape(f"{span.row.task.id}: {', '.join(words)}")
        # Of a batch that took no time at all, too, there are shares.
        whole_s = ended - began or 1
        left = (span.began - began) / whole_s
        # The shortest can still be seen, and pointed at.
        width = max(0.001, took_s / whole_s)
        height = LANE_HEIGHT - 2
        place = f'x="{left:.3%}" y="{top}"'
        size = f'width="{width:.3%}" height="{height}"'
        kind = _style_class(span.row.standing)
        # Browsers show a `title` where the pointer is, and read it out.
        return f'<g><title>{told}</title><rect class="{kind}" {place} {size}/></g>\n'


SHORT_CELL = 24  # characters of a text that stays on one line
LANE_HEIGHT = 16  # of the timeline, in pixels
AXIS_HEIGHT = 22
MOST_TICKS = 6  # that a phone has room for
# How loud rows begin.
TONES = {
    Tone.CALM: "<tr>",
    Tone.MISSED: '<tr class="missed">',
    Tone.FALSE: '<tr class="false">',
    Tone.SUM: '<tr class="sum">',
}
# A job starts a moment before the result of the one whose place it takes is journalled.
OVERLAP_S = 0.05
MINUTE_S = 60
HOUR_S = 3600
AXIS_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
    *(MINUTE_S, 2 * MINUTE_S, 5 * MINUTE_S, 10 * MINUTE_S, 20 * MINUTE_S, 30 * MINUTE_S),
    *(HOUR_S, 2 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 24 * HOUR_S),
)


def _side_of_text(left: float) -> str:
    """Where the text at a line of an axis is anchored: at the edges it stands inside."""
    if left < 0.03:
        return "start"
    if left > 0.97:
        return "end"
    return "middle"


def _axis_step(whole_s: float) -> float:
    """The time between two lines of an axis."""
    for step in AXIS_STEPS_S:
        if whole_s <= step * MOST_TICKS:
            return step
    days = math.ceil(whole_s / (24 * HOUR_S * MOST_TICKS))
    return 24 * HOUR_S * days


def _axis_label(seconds: float, step: float) -> str:
    """A time since the beginning, in the unit of the steps."""
    if step >= HOUR_S:
        return f"{seconds / HOUR_S:g} h"
    if step >= MINUTE_S:
        return f"{seconds / MINUTE_S:g} min"
    return f"{round(seconds, 1):g} s"


def _lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans in as few lanes as hold them side by side: each goes into the first that is free."""
    lanes: list[list[Span]] = []
    # In order of their beginnings, the first free lane makes the fewest lanes.
    for span in sorted(spans, key=lambda span: (span.began, span.ended)):
        for lane in lanes:
            if lane[-1].ended <= span.began + OVERLAP_S:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _style_class(standing: str) -> str:
    """The class that PAGE_STYLE has for one of STANDINGS."""
    if standing == RESTING_ON_FALSE:
        return "false"
    if standing in (NOT_AS_EXPECTED, CONTRADICTED):
        return "missed"
    return standing.replace(" ", "-")


# The seconds behind what a cell of a grid tells.
_GRID_TIME = re.compile(r" \([\d.]+\)$")


def _style_of_told(told: str) -> str:
    """The class that PAGE_STYLE has for what `told_of` says."""
    word, _, more = told.partition(", ")
    if more.startswith(RESTING_ON_FALSE):
        return "false"
    if more.startswith((NOT_AS_EXPECTED, CONTRADICTED, "but ")):
        return "missed"
    if word not in WORDS:
        return "other"
    # "verified, assuming ..." isn't to be taken for the plain word. What is confirmed is no weaker.
    if more and not more.startswith(CONFIRMED_BY):
        return "qualified"
    return _style_class(word)


# --- Reports for programs -------------------------------------------------------------------------


def csv_report(batches: Batches, beside: str, asked: Asked = WHOLE_PAGE) -> Iterator[str]:
    """One line per task, with the model's field names; of several batches also the directory."""
    names = [*json_names(Plan), "status", "attempts"]
    names += json_names(Limits)
    names += json_names(Result)
    names += ["assuming", "on_older_text", "advisories"]
    # What is no single value, or of many lines; the JSON report has it. Limits stand as columns.
    left_out = ("limits", "on_limit", "raised_from", "lemmas", "exit", "stderr_tail")
    columns = [name for name in dict.fromkeys(names) if name not in left_out]
    if len(batches) > 1:
        columns.insert(0, "directory")
    objects = map(_csv_object, rows_of_batches(batches))
    return csv_lines(columns, objects)


def _csv_object(row: Row) -> Json:
    """A task's plan, its limits, and what came of it, under the names of the journal."""
    told: Json = encode(row.plan)
    told["status"] = row.task.status
    told["attempts"] = row.task.attempts
    # Nested objects are no columns: those of one value each are laid open.
    told.update(encode(row.limits))
    # Last: how it ended is its status, too.
    told.update(encode(row.result))
    told["assuming"] = [str(each) for each in row.assuming]
    told["on_older_text"] = "yes" if row.on_older_text else ""
    told["shared_by"] = row.shared_by
    told["granularity"] = row.plan.granularity
    told["advisories"] = [each.in_full for each in row.advisories]
    told["directory"] = row.directory
    return told


def csv_lines(names: Sequence[str], rows: Iterable[Json]) -> Iterator[str]:
    """CSV of what rows have under these names.

    A text that a spreadsheet would take for a formula gets an apostrophe.
    """
    import csv
    from types import SimpleNamespace

    # `writerow` returns what `write` does: the text.
    writer: Any = csv.writer(SimpleNamespace(write=str), lineterminator="\n")
    yield writer.writerow(names)
    for row in rows:
        values = [row.get(name, "") for name in names]
        yield writer.writerow(map(_csv_cell, values))


def _csv_cell(value: Any) -> Any:
    """A value as CSV has it: several in one cell, a text on one line."""
    if isinstance(value, (tuple, list)):
        value = joined(value)
    if not isinstance(value, str):
        return value
    text = printable(value)
    # https://owasp.org/www-community/attacks/CSV_Injection
    if text.startswith(("=", "+", "-", "@")):
        return "'" + text
    return text


def json_report(batches: Batches, beside: str, asked: Asked = WHOLE_PAGE) -> Iterator[str]:
    """The Batch; of several batches a list of them, each with its directory."""
    if len(batches) == 1:
        for directory, batch in batches.items():
            yield from _batch_json(batch, directory, {})
        return
    yield '{"batches": ['
    separator = "\n"
    for directory, batch in batches.items():
        yield separator
        yield from _batch_json(batch, directory, {"directory": directory})
        separator = ",\n"
    yield "]}\n"


def _batch_json(batch: Batch, directory: str, more: Json) -> Iterator[str]:
    """What a batch's `batch` and `end` events said, and every task, one a line."""
    ended = None
    if batch.ended:
        ended = encode_event(batch.ended)
    # The object is written in pieces: a large batch as one text would take too much memory.
    began = encode_event(batch.header)
    head = json.dumps({**more, "batch": began, "end": ended})
    yield head.removesuffix("}") + ', "tasks": ['
    # One a line: what works by lines, as `grep` does, works here.
    separator = "\n"
    for row in rows_of_batches({directory: batch}):
        told = json.dumps(_json_object(row))
        yield separator + told
        separator = ",\n"
    yield "\n]}\n"


def _json_object(row: Row) -> Json:
    """A task's plan, what came of it, and what that rests on."""
    told: Json = encode(row.plan)
    told["status"] = row.task.status
    told["attempts"] = row.task.attempts
    told["limits"] = encode(row.limits)
    told["result"] = encode(row.task.result)
    told["shared_by"] = row.shared_by
    told["assuming"] = _assuming_json(row)
    told["on_older_text"] = row.on_older_text
    told["advisories"] = list(map(_advisory_json, row.advisories))
    return told


def _advisory_json(each: Applied) -> Json:
    """A known problem of the prover that touches a verdict."""
    told: Json = {"id": each.advisory.id, "weight": each.met.weight}
    told["what"] = each.message
    told["references"] = list(each.advisory.references)
    told["advice"] = each.advisory.advice
    told["accepted"] = each.is_accepted
    return told


def _assuming_json(row: Row) -> list[Json]:
    """What a verdict takes for granted."""
    assuming: list[Json] = []
    for each in row.assuming:
        told: Json = {"lemma": each.lemma, "state": each.state}
        told["via"] = list(each.chain)
        assuming.append(told)
    return assuming


# --- JUnit ----------------------------------------------------------------------------------------


class JUnitNote(NamedTuple):
    """What a test case says: of what `tag`, and why."""

    tag: str  # "failure", "error" or "skipped"; "system-out" of a case that passed
    message: str = ""
    type: str = ""
    text: str = ""


@dataclass
class JUnitCase:
    """A test case; it has passed unless a note says otherwise."""

    name: str
    class_name: str
    time_s: float | None = None
    notes: list[JUnitNote] = field(default_factory=list)

    def has(self, tag: str) -> bool:
        """Whether one of its notes is of this kind."""
        return any(note.tag == tag for note in self.notes)


@dataclass
class JUnitSuite:
    """Test cases that belong together."""

    name: str
    cases: Sequence[JUnitCase]
    attributes: Mapping[str, str] = field(default_factory=dict)

    def count(self, tag: str) -> int:
        """How many of its cases have a note of this kind."""
        return sum(case.has(tag) for case in self.cases)


def junit_report(batches: Batches, beside: str, asked: Asked = WHOLE_PAGE) -> Iterator[str]:
    """JUnit XML, a suite for each entry of the recipe.

    What is not as expected, or rests on a falsified lemma, is a failure; no answer is an error;
    what was not run is skipped.
    """
    return junit_lines(_all_suites(batches))


def _all_suites(batches: Batches) -> Iterator[JUnitSuite]:
    """The suites of all batches; where there are several, their names say of which."""
    for directory, batch in batches.items():
        problems = KnownProblems({directory: batch}).within(directory)
        for suite in _junit_suites(batch, problems):
            if len(batches) > 1:
                suite.name = f"{directory}: {suite.name}"
            yield suite


def _junit_suites(batch: Batch, problems: AppliedAdvisories) -> Iterator[JUnitSuite]:
    """A suite for each entry of the recipe."""
    header = batch.header
    closure = Closure(batch.tasks.values())
    entries = recipe_tasks(batch.tasks.values())
    for name, tasks in entries.items():
        rows = list(rows_of(tasks, closure, advisories=problems))
        cases = list(map(_junit_case, rows))
        time_s = sum(row.result.share_of(row.result.usage.wall_s) for row in rows)
        attributes = {"time": f"{time_s:.3f}"}
        attributes["timestamp"] = header.at[:19]  # JUnit's have no fractions and no zone
        attributes["hostname"] = header.host or "localhost"
        yield JUnitSuite(name, cases, attributes)


def _junit_case(row: Row) -> JUnitCase:
    """A task as a test case, with a note of what came of it."""
    plan = row.plan
    result = row.result
    name = f"{plan.lemma} [{told_by(plan)}]"
    class_name = f"{plan.entry}.{plan.theory}"
    case = JUnitCase(name, class_name, result.usage.wall_s)
    told = [row.told]
    if row.task.misses_expectation:
        told = [f"expected {plan.expect}, got {row.told}"]
    if result.reason:
        told.append(result.reason)
    told += filter(None, (*row.warnings, row.sharing))
    told += (each.in_full for each in row.advisories)
    message = "; ".join(told)
    tag = _junit_tag(row)
    if tag == "system-out":
        # What a passed case rests on, and warnings, have no other place in JUnit.
        note = JUnitNote(tag, text=message)
    else:
        note = JUnitNote(tag, message, type=row.outcome, text=result.stderr_tail)
    case.notes.append(note)
    return case


def _junit_tag(row: Row) -> str:
    """Of what kind the note of a task is, as JUnitNote.tag says."""
    task = row.task
    if task.is_answered and row.is_failure:
        return "failure"
    if task.is_answered:
        return "system-out"
    # A superseded one needs no answer: it has no error of its own.
    if task.is_settled or not task.is_final:
        return "skipped"
    return "error"


def junit_lines(suites: Iterable[JUnitSuite]) -> Iterator[str]:
    """JUnit XML, in pieces."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    for suite in suites:
        yield from _suite_lines(suite)
    yield "</testsuites>\n"


def _suite_lines(suite: JUnitSuite) -> Iterator[str]:
    """A test suite with its cases, in pieces."""
    attributes: dict[str, object] = {"name": suite.name, **suite.attributes}
    attributes["tests"] = len(suite.cases)
    attributes["failures"] = suite.count("failure")
    attributes["errors"] = suite.count("error")
    attributes["skipped"] = suite.count("skipped")
    yield xml_tag("testsuite", attributes) + "\n"
    yield from map(_case_xml, suite.cases)
    yield "</testsuite>\n"


def _case_xml(case: JUnitCase) -> str:
    attributes = {"name": case.name, "classname": case.class_name}
    if case.time_s is not None:
        attributes["time"] = f"{case.time_s:.3f}"
    notes = "".join(map(_note_xml, case.notes))
    return xml_tag("testcase", attributes) + notes + "</testcase>\n"


def _note_xml(note: JUnitNote) -> str:
    attributes: dict[str, str] = {}
    if note.type:
        attributes["type"] = note.type
    if note.message:
        attributes["message"] = note.message
    start = xml_tag(note.tag, attributes)
    text = xml_text(note.text)
    return f"{start}{text}</{note.tag}>\n"


def xml_tag(tag: str, attributes: Mapping[str, object]) -> str:
    """The start of an XML element; the values are any text."""
    from xml.sax.saxutils import quoteattr

    start = "<" + tag
    for name, value in attributes.items():
        # With its quotes: which ones depends on the text.
        text = quoteattr(printable(str(value)))
        start += f" {name}={text}"
    return start + ">"


def xml_text(text: str) -> str:
    """Any text as XML shows it, line by line."""
    from xml.sax.saxutils import escape

    # XML can't hold control characters, not even escaped.
    lines = map(printable, text.split("\n"))
    return escape("\n".join(lines))


# --- What an audit says ---------------------------------------------------------------------------


def audit_report(
    form: str,
    ok: bool,
    rows: Sequence[Row],
    findings: Sequence[Finding],
    not_judged: Sequence[str],
    details: bool,
) -> str:
    """What an audit found, as a table for a terminal or in one of the formats of REPORTS.

    CSV: a line for each result, then one for each finding. `details`: pages show every lemma.
    `not_judged`: as of KnownProblems.
    """
    if form == "json":
        return _audit_json(ok, rows, findings, not_judged)
    if form == "csv":
        return "".join(_audit_csv(rows, findings))
    if form == "junit":
        suite = _audit_suite(rows, findings)
        return "".join(junit_lines([suite]))
    page = _audit_writer(form, details)
    parts = _audit_page(page, rows, findings, not_judged, details)
    return page.opening + "".join(parts) + page.closing


def _audit_writer(form: str, details: bool) -> Writer:
    """The writer of a format; with `details` a terminal's tables are whole, however wide."""
    # Only traces need a place to be relative to, and an audit shows none.
    page = WRITERS[form](".")
    if isinstance(page, PlainText) and sys.stdout.isatty() and not details:
        page.columns, _ = terminal_size()
    return page


def _place(row: Row) -> str:
    """The file that a result stands in, or the results directory."""
    return place_of(row.task, row.directory)


def _audit_json(
    ok: bool, rows: Iterable[Row], findings: Iterable[Finding], not_judged: Sequence[str]
) -> str:
    """All that an audit found as one JSON object."""
    told: Json = {"ok": ok}
    told["lemmas"] = list(map(_result_json, rows))
    told["findings"] = list(map(_finding_json, findings))
    told["not_judged"] = list(not_judged)
    return json.dumps(told, indent=1) + "\n"


def _result_json(row: Row) -> Json:
    """A task as an audit tells it; `state` says what its verdict rests on, `word` doesn't."""
    told = _place_json(finding("", row.task, "", source=row.directory))
    told["entry"] = row.plan.entry
    told["verdict"] = row.task.verdict
    told["state"] = row.told
    told["assuming"] = _assuming_json(row)
    told["steps"] = row.result.steps
    told["time_s"] = _seconds(row)
    told["shared_by"] = row.shared_by
    told["source"] = _place(row)
    told["word"] = row.outcome
    told["advisories"] = [each.advisory.id for each in row.advisories]
    return told


def _finding_json(finding: Finding) -> Json:
    """A finding; `note`: it counts with --strict only, or never."""
    told = _place_json(finding)
    told["source"] = finding.source
    told["kind"] = finding.kind
    told["message"] = finding.message
    told["rank"] = finding.rank
    told["note"] = finding.is_note
    if finding.problem:
        told.update(_advisory_json(finding.problem))
    return told


def _place_json(finding: Finding) -> Json:
    """What results and findings are told by: who reads both can join them."""
    return {
        "theory": finding.theory,
        "lemma": finding.lemma,
        "prover": finding.prover,
        "entry": finding.entry,
        "variant": finding.variant,
        "flags": finding.flags,
        "options": finding.options,
    }


def _seconds(row: Row) -> float | None:
    """How long a proof took: what we measured, or what the prover said in a log."""
    # Of what stands in a log nobody measured anything: 0.
    return row.result.usage.wall_s or row.result.prover_s


def _audit_csv(rows: Iterable[Row], findings: Iterable[Finding]) -> Iterator[str]:
    """Results, then findings; a column that one of them has not is empty there."""
    columns = ["theory", "lemma", "prover", "entry", "variant", "flags", "options", "verdict"]
    columns += ["state", "steps", "time_s", "shared_by", "source", "kind", "message", "note"]
    columns += ["advisories", "id", "references", "advice", "accepted"]
    # The file can be a pinned expectation: findings have no verdict, so that they expect nothing.
    objects = list(map(_result_json, rows))
    objects += map(_finding_json, findings)
    return csv_lines(columns, objects)


def _audit_suite(rows: Sequence[Row], findings: Iterable[Finding]) -> JUnitSuite:
    """A case for each result: findings are failures, no answer is an error."""
    cases: dict[Finding, JUnitCase] = {}
    names = WhoAndHow(rows)

    def case_of(place: Finding) -> JUnitCase:
        """The case of what stands there, whatever was found."""
        by = names.told(place)
        case = JUnitCase(f"{place.lemma or place.theory} [{by}]", place.theory)
        return cases.setdefault(_place_alone(place), case)

    for row in rows:
        case = case_of(finding("", row.task, "", source=row.directory))
        if not row.task.is_answered:
            note = JUnitNote("error", row.told)
            case.notes.append(note)
    for each in findings:
        # Notes may be meant so: they must not turn a build red.
        if not each.is_note:
            case = case_of(each)
            note = JUnitNote("failure", each.message, type=each.kind)
            case.notes.append(note)
        elif each.problem:
            case = case_of(each)
            text = f"{each.kind}: {each.problem.in_full}"
            case.notes.append(JUnitNote("system-out", text=text))
    return JUnitSuite("audit", list(cases.values()))


def _place_alone(each: Finding) -> Finding:
    """Where a finding is, without what was found."""
    return each._replace(kind="", message="", rank=WRONG, problem=None)


class _Command(NamedTuple):
    """What results of several lemmas, and of several entries, have in common."""

    source: str
    theory: str
    prover: str
    flags: tuple[str, ...]
    options: tuple[str, ...]


class WhoAndHow:
    """Tells provers with flags and options, and entries of the recipe where these are the same."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._entries: dict[_Command, set[str]] = {}
        for row in rows:
            plan = row.plan
            command = _Command(_place(row), plan.theory, plan.prover, plan.flags, plan.options)
            self._entries.setdefault(command, set()).add(plan.entry)

    def told(self, each: Finding) -> str:
        """`rs -D=LEAK, fast`; "" where neither is known."""
        words = variant_words(each.flags, each.options, each.variant)
        told = [f"{each.prover} {words}".strip()]
        command = _Command(each.source, each.theory, each.prover, each.flags, each.options)
        if len(self._entries.get(command, ())) > 1:
            told.append(each.entry)
        return ", ".join(filter(None, told))


def _audit_page(
    page: Writer,
    rows: Sequence[Row],
    findings: Sequence[Finding],
    not_judged: Sequence[str],
    details: bool,
) -> Iterator[str]:
    """Problems first, then what there is of each theory, and if wanted of each lemma."""
    wrong = [each for each in findings if not each.is_note]
    notes = [each for each in findings if each.is_note and not each.problem]
    known = [each for each in findings if each.problem]
    found = plural(len(wrong), "finding")
    noted = plural(len(notes), "note")
    results = plural(sum(map(_has_result, rows)), "result")
    touched = told_touched(row.advisories for row in rows)
    if touched:
        found += f", {touched}"
    yield page.heading(1, f"{found} and {noted} on {results}")
    # Apart: notes may be many, and must not hide what is wrong.
    names = WhoAndHow(rows)
    yield from _findings_part(page, "Findings", wrong, names, details)
    yield page.section(_known_problems_table(known, names, details))
    for reason in not_judged:
        yield page.paragraph(f"Known problems of provers are not judged for {reason}.")
    yield from _findings_part(page, "Notes", notes, names, details)
    yield page.section(_theories_table(rows))
    if details:
        yield page.section(_lemmas_table(rows))


def _has_result(row: Row) -> bool:
    """Whether somebody tried to prove it: more than what an unchecked proof claims."""
    return bool(row.task.result) and (row.task.verdict is not None or row.plan.key != "")


def _findings_part(
    page: Writer, title: str, findings: Sequence[Finding], names: WhoAndHow, details: bool
) -> Iterator[str]:
    """Findings, those that say the same in one line; then what to do about each kind.

    `details`: with every place where they are.
    """
    lines: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        lines.setdefault((each.kind, each.message), []).append(each)
    table = Table(title)
    table.add_columns("kind", "what", "where")
    for (kind, message), same in lines.items():
        table.add_row(kind, message, _told_places(same, names, details))
    yield page.section(table)
    for kind, advice in dict.fromkeys((each.kind, advice_on(each)) for each in findings):
        yield page.paragraph(f"{kind}: {advice}")


def _told_places(findings: Iterable[Finding], names: WhoAndHow, details: bool) -> str:
    """Where findings are: `results: t.spthy: safe, live (rs -D=LEAK); old.log and 3 more`.

    `details`: all places and lemmas.
    """
    most = sys.maxsize if details else 3
    most_lemmas = sys.maxsize if details else LISTED_LEMMAS
    places: dict[tuple[str, str], dict[str, None]] = {}
    for each in findings:
        files = dict.fromkeys(filter(None, (each.source, each.theory)))
        key = (": ".join(files), names.told(each))
        places.setdefault(key, {})[each.lemma] = None
    words: list[str] = []
    for (place, by), lemmas in places.items():
        told = ": ".join(filter(None, (place, listed(filter(None, lemmas), most_lemmas))))
        words.append(f"{told} ({by})" if by else told)
    return listed(words, most, "; ")


class _ProblemOfTheory(NamedTuple):
    """A known problem as it touches verdicts of one theory."""

    kind: str
    problem: Applied  # without the place where its condition is met
    theory: str


def _known_problems_table(findings: Iterable[Finding], names: WhoAndHow, details: bool) -> Table:
    """A line for each known problem and theory; theories of which all else is the same share one.

    `details`: with every place, theory and lemma.
    """
    touched: dict[_ProblemOfTheory, list[Finding]] = {}
    for each in findings:
        if each.problem:
            problem = _met_at(each.problem, "")
            of_theory = _ProblemOfTheory(each.kind, problem, each.theory)
            touched.setdefault(of_theory, []).append(each)
    lines: dict[tuple[str, Applied], list[Finding]] = {}
    for (kind, problem, _), several in touched.items():
        met = dict.fromkeys(each.problem.met.where for each in several if each.problem)
        where_met = listed(filter(None, met), sys.maxsize if details else 3)
        lines.setdefault((kind, _met_at(problem, where_met)), []).extend(several)
    table = Table("Known problems of provers")
    table.add_columns("kind", "known problem", "what", "where", "reference", "what to do")
    for (kind, problem), same in lines.items():
        where = _told_places(same, names, details)
        advice = problem.advisory.advice
        table.add_row(kind, problem.name, problem.message, where, problem.references, advice)
    return table


def _met_at(problem: Applied, where: str) -> Applied:
    """A known problem whose condition is met there, of whatever lemma."""
    return problem._replace(met=problem.met._replace(where=where, lemma=""))


def advisories_report(form: str, details: bool = False) -> str:
    """All known problems with the versions that have them, in one of the formats of an audit.

    `details`: nothing is cut in a terminal.
    """
    entries = list(map(_entry_json, ADVISORIES.values()))
    if form == "json":
        return json.dumps(entries, indent=1) + "\n"
    if form == "csv":
        return "".join(csv_lines(list(entries[0]), entries))
    table = Table("Known problems of provers")
    table.add_columns("id", "versions", "can be false", "what", "reference", "what to do")
    for advisory in ADVISORIES.values():
        references = ", ".join(advisory.references)
        of_what = advisory.can_be_false.value
        table.add_row(
            advisory.id, advisory.versions, of_what, advisory.what, references, advisory.advice
        )
    page = _audit_writer(form, details)
    return page.opening + page.section(table) + page.closing


def _entry_json(advisory: Advisory) -> Json:
    told: Json = {"id": advisory.id, "references": list(advisory.references)}
    told["flavour"] = advisory.flavour
    told["since"] = advisory.since
    told["fixed_in"] = advisory.fixed_in
    told["can_be_false"] = advisory.can_be_false.value
    told["what"] = advisory.what
    told["advice"] = advisory.advice
    return told


class _TheoryResults(NamedTuple):
    """What results have in common that are counted together."""

    # By directory, too: in two folders one name may mean two texts.
    directory: str
    model: Model
    theory: str
    options: tuple[str, ...]


def _theories_table(rows: Sequence[Row]) -> Table:
    """How many lemmas of a theory came to which outcome, by prover, variant and source."""
    groups: dict[_TheoryResults, list[Row]] = {}
    for row in rows:
        plan = row.plan
        group = _TheoryResults(row.directory, model_of(plan), plan.theory, plan.options)
        groups.setdefault(group, []).append(row)
    table = Table("Theories")
    table.add_columns("theory", "prover")
    variants = _differing(_some(_settings(rows), "options", "flags"), rows)
    table.add_columns(*(variant.title for variant in variants))
    table.add_columns("lemmas", kind=Kind.NUMBER)
    table.add_columns("results", "from")
    for group, several in groups.items():
        cells = [variant.of(several[0]) for variant in variants]
        lemmas = {(row.plan.lemma, row.plan.trait == Trait.DIFF) for row in several}
        results = told_counts(Counter(row.standing for row in several))
        places = listed(dict.fromkeys(map(_place, several)), 2)
        prover = several[0].plan.prover
        table.add_row(group.theory, prover, *cells, f"{len(lemmas):,}", results, places)
    return table


def _lemmas_table(rows: Sequence[Row]) -> Table:
    """A line for each result."""
    table = Table("Lemmas")
    aspects = [Aspect("theory", lambda row: row.plan.theory)]
    aspects.append(Aspect("lemma", lambda row: row.plan.lemma))
    aspects.append(Aspect("prover", lambda row: row.plan.prover))
    of_recipes = [row for row in rows if not stands_in_a_file(row.task)]
    aspects += _differing(_some(_settings(of_recipes), *VARIANTS), of_recipes)
    aspects.append(Aspect("result", lambda row: row.told, Kind.OUTCOME))
    aspects.append(Aspect("steps", _told_steps, Kind.NUMBER))
    aspects.append(Aspect("time", _told_time, Kind.NUMBER))
    aspects += _with_words([Aspect("process", lambda row: row.sharing)], rows)
    aspects.append(Aspect("from", _place))
    _fill(table, aspects, rows)
    return table


def _told_time(row: Row) -> str:
    """How long a proof took; "" where that is not known."""
    seconds = _seconds(row)
    return told_seconds(seconds) if seconds else ""


# --- The page's style sheet and script ------------------------------------------------------------

# `%s`: the digest of the script, the only one that a browser may run; the style sheet.
PAGE_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-%s'">
<title>Tamarin batch report</title>
<style>%s</style>
<main>
"""

# For light and dark screens and for paper: one accent for what is, one colour for what is wrong.
# Outcomes have a sign, too: not everyone sees colours, and not every printer has any.
PAGE_STYLE = r"""
:root {
  color-scheme: light dark;
  --paper: #fff;
  --ink: #1b1f23;
  --soft: #5b636b;
  --line: #d5d9dd;
  --faint: #f5f6f7;
  --accent: #2b6391;
  --alarm: #b42318;
  --alarm-fill: #b42318;
  --alarm-tint: #b4231814;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a;
    --ink: #e2e5e8;
    --soft: #9aa3ab;
    --line: #363c42;
    --faint: #1d2125;
    --accent: #7db0da;
    --alarm: #ff8c80;
    --alarm-fill: #a5281c;
    --alarm-tint: #ff8c801f;
  }
}
body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere;
}
main {
  max-width: 1400px;
  margin: auto;
  padding: 1.5rem 1rem 4rem;
}
h1, h2 {
  font-family: Charter, "Bitstream Charter", Cambria, Georgia, serif;
  font-weight: 600;
  line-height: 1.25;
}
h1 {
  margin: 0 0 .75rem;
  font-size: 1.6rem;
}
h2 {
  margin: 2.4rem 0 .5rem;
  font-size: 1.2rem;
}
h3 {
  display: inline;
  font-size: .9rem;
  font-weight: 400;
}
p {
  max-width: 75ch;
  margin: .4rem 0;
}
h2 + p, .legend, svg + p {
  color: var(--soft);
  font-size: .87rem;
}
a {
  color: var(--accent);
  text-decoration-thickness: 1px;
  text-underline-offset: 2px;
}

/* The answer, and how many results count as what. */
.answer {
  margin-bottom: 1rem;
  padding-left: .9rem;
  border-left: 3px solid var(--accent);
  font-size: 1.15rem;
}
.answer.alarming {
  border-color: var(--alarm);
  color: var(--alarm);
}
.shares {
  display: flex;
  gap: 1px;
  height: 10px;
}
.shares span {
  background: var(--fill);
}
.legend {
  max-width: none;
}
.key {
  display: inline-block;
  margin-right: 1.1rem;
}
.key::before {
  content: "";
  display: inline-block;
  width: .75em;
  height: .75em;
  margin-right: .4em;
  background: var(--fill, var(--soft));
}

/* Tables: rules only where they part something. */
.wide {
  overflow-x: auto;
}
table {
  margin: .6rem 0;
  border-collapse: collapse;
  border-block: 1.5px solid var(--ink);
  font-size: .84rem;
  line-height: 1.4;
}
th, td {
  padding: .26em .4em;
  border-bottom: 1px solid var(--line);
  text-align: left;
  vertical-align: top;
  white-space: nowrap;
}
.long, .w, .name, .remark, thead th, .facts td, [data-of="as expected"] {
  white-space: normal;
}
.long {
  min-width: 9.5rem;
}
th:first-child, td:first-child {
  padding-left: .35rem;
}
thead th {
  border-bottom: 1px solid var(--ink);
  font-size: .78rem;
  font-weight: 600;
  vertical-align: bottom;
  overflow-wrap: normal;
}
tbody tr:last-child > * {
  border-bottom: 0;
}
tbody th {
  font-weight: 400;
  color: var(--soft);
}
.facts {
  border: 0;
}
.facts th {
  white-space: nowrap;
}
.facts th, .facts td {
  border: 0;
}
.n {
  text-align: right;
  font-variant-numeric: tabular-nums lining-nums;
}
.name a {
  display: inline-block;
  max-width: 15rem;
  overflow-wrap: break-word;
}
.remark {
  min-width: 10rem;
  color: var(--soft);
  overflow-wrap: break-word;
}
thead .long {
  overflow-wrap: anywhere;
  min-width: 6rem;
}
[data-of="as expected"] {
  overflow-wrap: normal;
}
.sum > * {
  border-top: 1.5px solid var(--ink);
}

/* Time and memory: below the number a line for the share of the column's largest. */
.bar {
  min-width: 3.6em;
  background: linear-gradient(var(--accent), var(--accent)) no-repeat right .5em top 1.69em;
  background-size: calc(var(--share) - var(--share) * .2) 2px;
}

/* Outcomes, in tables and pictures. */
.verified, .confirmed {
  --fill: var(--accent);
  --sign: "\2713";
}
.falsified, .rejected {
  --fill: color-mix(in srgb, var(--accent) 45%, var(--paper));
  --sign: "\2717";
}
.incomplete, .not-replayed {
  --fill: color-mix(in srgb, var(--soft) 40%, var(--paper));
}
.timeout {
  --fill: color-mix(in srgb, var(--soft) 60%, var(--paper));
}
.memory-limit {
  --fill: color-mix(in srgb, var(--soft) 80%, var(--paper));
}
.failed {
  --fill: var(--ink);
}
.interrupted, .superseded, .running, .pending, .completed {
  --fill: var(--line);
}
.missed {
  --fill: color-mix(in srgb, var(--alarm) 60%, var(--paper));
}
.false {
  --fill: var(--alarm-fill);
}
.w {
  position: relative;
  min-width: 4rem;
  padding-left: 1.5rem !important;
}
.w::before {
  content: var(--sign, "\2013");
  position: absolute;
  left: .4rem;
}
.w.qualified {
  --sign: "~";
}
.w.qualified, .w.false {
  min-width: 9rem;
}
.w.other {
  --sign: "";
}
.w.missed {
  --sign: "\2260";
}
.w.missed, .missed > .w, .missed > td[data-of="as expected"] {
  color: var(--alarm);
  font-weight: 600;
}
.missed > td {
  background-color: var(--alarm-tint);
}
.w.false, .false > .w {
  --sign: "!";
  font-weight: 700;
}
.w.false, .false > td {
  background-color: var(--alarm-fill);
  color: #fff;
}
.false a {
  color: inherit;
}
.false > .bar {
  background-image: linear-gradient(#fff, #fff);
}
svg {
  display: block;
  overflow: visible;
}
rect {
  fill: var(--fill, var(--soft));
  stroke: var(--paper);
  stroke-width: .5;
}
rect.false {
  stroke: var(--ink);
}
line {
  stroke: var(--line);
}
text {
  fill: var(--soft);
  font-size: 11px;
  font-variant-numeric: tabular-nums;
}

/* Each result in full. */
summary h2 {
  display: inline-block;
  margin-bottom: .3rem;
}
details details {
  padding: .25rem 0 .25rem 1rem;
  border-bottom: 1px solid var(--line);
}
pre {
  margin: .5rem 0;
  padding: .6rem .8rem;
  background: var(--faint);
  font: .78rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap;
}
img {
  max-width: 100%;
  background: #fff;
}

/* What the script adds: filters, and a button in each column's head. */
summary, button {
  cursor: pointer;
}
#tools {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: .4rem 1.2rem;
  margin: .8rem 0 .2rem;
  font-size: .87rem;
}
#tools input, #tools select {
  max-width: 16rem;
  padding: .15rem .35rem;
  border: 1px solid var(--line);
  border-radius: 3px;
  background: var(--paper);
  color: inherit;
  font: inherit;
}
#hidden {
  color: var(--alarm);
}
thead button {
  padding: 0;
  border: 0;
  background: none;
  color: inherit;
  font: inherit;
  text-align: inherit;
}
[aria-sort=ascending] button::after {
  content: " \25b2";
}
[aria-sort=descending] button::after {
  content: " \25bc";
}

/* On a phone each row is a paragraph of its own. */
@media screen and (max-width: 760px) {
  main {
    padding: 1rem .9rem 3rem;
  }
  table, tbody, tr, .facts th {
    display: block;
  }
  thead {
    display: none;
  }
  #results thead, #results thead tr {
    display: flex;
    flex-wrap: wrap;
    align-items: baseline;
    gap: .2rem 1rem;
  }
  tr {
    padding: .4rem 0;
    border-bottom: 1px solid var(--line);
  }
  tr:not(.sum) > *, .sum > * {
    border: 0;
  }
  td, td.bar, td.remark {
    display: inline-block;
    min-width: 0;
    padding: .1rem .5rem .1rem .35rem;
    background-image: none;
    text-align: left;
    white-space: normal;
  }
  .w, .name, .remark {
    display: block;
  }
  td:empty, #results thead th {
    padding: 0;
  }
  [data-of]:not(.w)::before {
    content: attr(data-of) "\a0";
    color: var(--soft);
    font-weight: 400;
  }
  /* Before an outcome stands its sign: whose it is stands behind it. */
  .w[data-of]:not([data-of=result])::after {
    content: "\a0 " attr(data-of);
    color: var(--soft);
    font-weight: 400;
  }
  .name a {
    max-width: none;
  }
  .false [data-of]::before {
    color: inherit;
  }
  tr.false {
    background: var(--alarm-fill);
  }
  tr.missed {
    background: var(--alarm-tint);
  }
  .missed > td {
    background-color: transparent;
  }
  thead .n {
    text-align: left;
  }
}

@media print {
  @page {
    margin: 14mm;
  }
  :root {
    font-size: 12px;
  }
  body {
    font-size: 9.5pt;
  }
  main {
    max-width: none;
    padding: 0;
  }
  #tools, details details:not([open]) {
    display: none;
  }
  #full:not([open]) h2::after {
    content: " (in the file, not printed)";
    font-size: .8em;
    font-weight: 400;
  }
  table, thead th, pre {
    font-size: 7pt;
  }
  th, td {
    padding: .22em .45em;
  }
  .name a {
    max-width: 14rem;
  }
  .remark {
    min-width: 8rem;
  }
  .wide {
    overflow: visible;
  }
  tr, img, svg {
    break-inside: avoid;
  }
  h2, h2 + p {
    break-after: avoid;
  }
  .w, .bar, .false > td, .missed > td, rect, .shares span, .key::before {
    print-color-adjust: exact;
  }
}
"""

# It filters and sorts. Without it, in a browser that runs none, the page says the same.
PAGE_SCRIPT = r"""
// Filter and order of the results stand in the address (#filter=WORDS&result=WORD&sort=COLUMN, or
// sort=-COLUMN for the largest first), so that a view can be passed on.

const byId = id => document.getElementById(id);

function make(parent, name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return parent.appendChild(element);
}

function makeInteractive(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const titles = heads.map(head => head.textContent);
  const texts = rows.map(row => row.innerText.toLowerCase());
  const results = rows.map(row => row.cells[0].textContent);
  const compare = new Intl.Collator('en', {numeric: true}).compare;

  const tools = make(document.body, 'div', '');
  tools.id = 'tools';
  const filter = make(make(tools, 'label', 'Filter '), 'input', '');
  const result = make(make(tools, 'label', 'Result '), 'select', '');
  const count = make(tools, 'output', '');
  // Paper has no filters: it must say what it doesn't show.
  const hidden = make(document.body, 'p', '');
  hidden.id = 'hidden';
  table.parentElement.before(tools, hidden);
  for (const word of ['', ...new Set(results)]) {
    make(result, 'option', word || 'any').value = word;
  }

  let sort = '';

  function keepInAddress(newSort) {
    const view = {filter: filter.value, result: result.value, sort: newSort};
    location.replace('#' + new URLSearchParams(view));
  }

  function showRows() {
    const words = filter.value.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, at) => {
      const hasWords = words.every(word => texts[at].includes(word));
      const hasResult = result.value === '' || result.value === results[at];
      row.hidden = !(hasWords && hasResult);
      shown += row.hidden ? 0 : 1;
    });
    count.value = shown + ' of ' + rows.length;
    const asked = [filter.value, result.value].filter(Boolean).join('; ');
    hidden.hidden = shown === rows.length;
    hidden.textContent =
      (rows.length - shown) + ' of ' + rows.length + ' rows are hidden by the filter: ' + asked;
  }

  function sortRows() {
    const descending = sort.startsWith('-');
    const column = titles.indexOf(descending ? sort.slice(1) : sort);
    const key = row => row.cells[column].textContent;
    const sorted = [...rows];
    if (column >= 0) {
      sorted.sort((a, b) => descending ? compare(key(b), key(a)) : compare(key(a), key(b)));
    }
    body.append(...sorted);
    heads.forEach((head, at) => {
      const direction = descending ? 'descending' : 'ascending';
      head.setAttribute('aria-sort', at === column ? direction : 'none');
    });
  }

  function show() {
    const address = location.hash.slice(1);
    const details = byId(address);
    if (details) {
      for (let each = details; each; each = each.parentElement) {
        each.open = true;
      }
      details.scrollIntoView();
      return;
    }
    const view = new URLSearchParams(address);
    filter.value = view.get('filter') || '';
    result.value = view.get('result') || '';
    sort = view.get('sort') || '';
    showRows();
    sortRows();
  }

  heads.forEach((head, at) => {
    const title = titles[at];
    head.textContent = '';
    const button = make(head, 'button', title);
    button.onclick = () => keepInAddress(sort === title ? '-' + title : title);
  });
  filter.oninput = () => keepInAddress(sort);
  result.onchange = () => keepInAddress(sort);
  onhashchange = show;
  show();
}

if (byId('results')) {
  makeInteractive(byId('results'));
}
"""


WRITERS: dict[str, type[Writer]] = {
    "table": PlainText,
    "md": Markdown,
    "html": Html,
    "tex": Latex,
    "typ": Typst,
}


class Report(Protocol):
    """A report, in pieces, of batches, for the directory that it goes to."""

    def __call__(self, batches: Batches, beside: str, asked: Asked = ...) -> Iterator[str]: ...


REPORTS: dict[str, Report] = {
    "md": functools.partial(page_report, Markdown),
    "html": functools.partial(page_report, Html),
    "tex": functools.partial(page_report, Latex),
    "typ": functools.partial(page_report, Typst),
    "csv": csv_report,
    "junit": junit_report,
    "json": json_report,
}
# What `-f` takes: also what only a terminal is to see.
PRINTED: dict[str, Report] = {"table": functools.partial(page_report, PlainText), **REPORTS}
ENDINGS = {"junit": "xml"}  # of file names, where it isn't the format's name


# === Terminal =====================================================================================

REDRAW_S = 0.1  # at most ten redraws a second
TICK_S = 0.25  # without news, four
PROGRESS_MODES = ("auto", "bar", "plain", "none")


class Progress:
    """Watches the events of a batch, live or from its journal: tells of each, and draws the block.

    `tasks`: those that count. `live`: what the supervisor of this process, if there is one, knows
    of its jobs, by job id. `args`: `quiet`, `debug` and `progress` of the command line.
    """

    def __init__(
        self,
        batch: Batch,
        tasks: Collection[Task],
        directory: str,
        live: Mapping[str, Live],
        args: argparse.Namespace,
    ) -> None:
        self.batch = batch
        self.tally = Tally(batch, tasks)
        self.running = RunningJobs(batch, directory, live)
        self.quiet: bool = args.quiet
        self.debug: bool = args.debug
        self.silent: bool = args.progress == "none"
        self._told_shared_end = ("", 0)  # the last job, and its attempt
        self.screen: Screen | None = None
        if draws_block(args.progress, args.quiet):
            self.screen = Screen(self.block)

    async def beside(self, work: Awaitable[None]) -> None:
        """Await some work, and keep the live block alive meanwhile."""
        import asyncio

        job = asyncio.ensure_future(work)
        with self.screen or nullcontext():
            # Without news, too: clocks and memory go on.
            while self.screen and not job.done():
                self.screen.draw()
                await asyncio.wait([job], timeout=TICK_S)
            await job

    def note(self, event: Event) -> None:
        """Take note of an event that has just been applied."""
        self.tally.note(event)
        self.running.note(event)

    def __call__(self, event: Event) -> None:
        """Take note, and tell, of an event that has just been applied."""
        self.note(event)
        if self.silent:
            return
        if isinstance(event, Started) and self.debug:
            self._tell_start(event)
        if isinstance(event, Finished) and event.result.runs_alone:
            self._tell_shared_end(event)
        elif isinstance(event, Finished):
            self._tell_end(event)

    def _tell_shared_end(self, event: Finished) -> None:
        """Say, once for all tasks of a shared process, why they run alone."""
        if (event.job, event.attempt) != self._told_shared_end:
            self._told_shared_end = (event.job, event.attempt)
            say(f"{event.job}: {event.result.reason}")

    def _tell_start(self, start: Started) -> None:
        """Say which command began."""
        process = f"attempt {start.attempt}, process {start.pid}"
        cores = self._cores_in_use()
        command = quoted(start.command)
        say(f"start {start.job} ({process}; {cores} in use): {command}")

    def _tell_end(self, finished: Finished) -> None:
        """Say what came of a task; with --quiet only what didn't go well."""
        task = self.batch.tasks[finished.id]
        next_step = ""
        if task.result is not finished.result:  # it waits once more, and no verdict is due yet
            next_step = f"; {task.plan.raised_limit}, runs again"
            task = Task.with_result(replace(task.plan, expect=None), finished.result)
        went_well = task.is_settled and not task.misses_expectation
        if self.quiet and (went_well or next_step):
            return
        total = str(self.tally.total)
        # What runs again is counted until its new plan is told.
        done = str(self.tally.done - bool(next_step)).rjust(len(total))
        heading = f"[{done}/{total}] {task.outcome:12}"
        facts = result_facts(task) + next_step
        if self.screen is None:
            say(f"{heading} {task.id} {facts}")
            return
        columns, _ = terminal_size()
        name = task.id
        # A long id would push what came of the task off the line.
        if len(name) >= columns - 20:
            name = task.plan.lemma
        line = fit(f"{heading} {name} {facts}", columns - 1, glyphs().ellipsis)
        say(line.rstrip())

    def _cores_in_use(self) -> str:
        """`3/16 cores`."""
        total = self.batch.header.limits.cores
        return f"{self.running.cores()}/{plural(total, 'core')}"

    def forecast(self, jobs: Sequence[RunningJob]) -> Forecast:
        """When all tasks will have ended, if these jobs run now."""
        ran_s: dict[str, float] = {}
        for job in jobs:
            for task_id in job.task_ids:
                ran_s[task_id] = job.elapsed_s / len(job.task_ids)
        return self.tally.forecast(ran_s, len(jobs))

    def block(self, columns: int, rows: int) -> list[str]:
        """The live block for a terminal of this size: at most two thirds of its height."""
        jobs = self.running.look()
        lines = [self._bar(jobs, columns), *self._facts(jobs, columns)]
        # What was said before stays in sight above the block.
        room = max(0, rows * 2 // 3 - len(lines))
        if room >= len(jobs):
            lines += [job_line(job, columns) for job in jobs]
        elif room > 0:
            shown = jobs[: room - 1]
            more = len(jobs) - len(shown)
            lines += [job_line(job, columns) for job in shown]
            lines.append(f"  and {more} more")
        return lines[: max(1, rows - 1)]

    def _bar(self, jobs: Sequence[RunningJob], columns: int) -> str:
        """How far the batch is: a bar if there is room for one, counts, time gone, time left."""
        done = self.tally.done
        total = self.tally.total
        percent = done * 100 // max(1, total)
        elapsed_s = time.time() - instant(self.batch.header.at)
        text = f"{done:,}/{total:,}  {percent} %  {clock(elapsed_s)}"
        if done < total:
            text += f"  {self.forecast(jobs)}"
        width = min(40, columns - len(text) - 3)
        # So short a bar shows nothing.
        if width < 5:
            return text
        filled = width * done // max(1, total)
        bar = glyphs().filled * filled
        bar = bar.ljust(width, glyphs().empty)
        return f"{bar}  {text}"

    def _facts(self, jobs: Sequence[RunningJob], columns: int) -> list[str]:
        """Cores and memory in use, and how many tasks came to what; lines break between facts."""
        import textwrap

        used_mb = sum(job.memory_mb or 0 for job in jobs)
        total_mb = self.batch.header.limits.memory_mb
        facts = [self._cores_in_use(), f"{size(used_mb)}/{size(total_mb)}"]
        for word, count in self.tally.counts().items():
            if word not in (Status.PENDING, Status.RUNNING):
                facts.append(f"{count:,} {word}")
        # A no-break space is none to `textwrap`.
        text = ", ".join(fact.replace(" ", "\xa0") for fact in facts)
        lines = textwrap.wrap(text, columns - 1)
        return [line.replace("\xa0", " ") for line in lines]


def result_facts(task: Task) -> str:
    """`(7 steps, 0.4 s, 120 MB)` of a task that ended, and why there is no verdict."""
    result = task.result or Result(task.status)
    facts: list[str] = []
    if result.cached:
        facts.append(f"cached {_day(result.ran)}".rstrip())
    if result.steps:
        facts.append(plural(result.steps, "step"))
    facts.append(duration(result.usage.wall_s))
    facts.append(f"{result.usage.peak_mb:,.0f} MB")
    if result.shared_by > 1:
        facts.append(f"shared by {result.shared_by:,}")
    text = f"({', '.join(facts)})"
    if task.misses_expectation:
        text += f" (expected {task.plan.expect}!)"
    if result.reason:
        text += f": {result.reason}"
    return text


# --- Counts and the forecast ----------------------------------------------------------------------


class Forecast(NamedTuple):
    """When all tasks will have ended."""

    left_s: float
    is_bound: bool  # only what limits allow: no task has ended yet that could tell more

    def __str__(self) -> str:
        how = "at most" if self.is_bound else "about"
        return f"{how} {clock(self.left_s)} left"


@dataclass
class Times:
    """What some tasks took, as a running sum."""

    count: int = 0
    total_s: float = 0.0


class Tally:
    """How many tasks came to what, and what the rest will take.

    Kept up event by event: a look costs as much at 100,000 tasks as at ten.
    """

    def __init__(self, batch: Batch, tasks: Collection[Task]) -> None:
        """`tasks`: those of the batch that count; it may grow and shrink with the batch's plan."""
        self._batch = batch
        self._tasks = tasks
        self._count_anew()

    def _count_anew(self) -> None:
        """Forget what was counted, and count the tasks as they are."""
        self._is_stale = False
        self._done = 0
        self._outcomes: Counter[str] = Counter()  # of final tasks
        self._begun: dict[str, str] = {}  # by id: the outcomes of others that have begun
        self._at_limits: set[str] = set()  # ids of final tasks that may wait once more
        # How many tasks are not final, by recipe entry and timeout: what a forecast needs of them.
        self._open: Counter[tuple[str, float]] = Counter()
        # What final tasks took: all of them, and those of each recipe entry.
        self._all_times = Times()
        self._entry_times: dict[str, Times] = {}
        # Lemmas that proofs take for granted; theories in which one of them is falsified.
        self._assumed: set[str] = set()
        self._undermined: set[str] = set()
        for task in self._batch.tasks.values():
            self._assumed.update(task.plan.assumes)
        for task in self._tasks:
            self._open[open_key(task.plan)] += 1
            if task.is_final:
                self._note_end(task.plan, task.result or Result(task.status))
            elif task.status is not Status.PENDING:
                self._begun[task.id] = task.outcome

    def note(self, event: Event) -> None:
        """Take note of an event that has just been applied."""
        if self._is_stale:
            return
        if isinstance(event, Started):
            for task_id in event.ids:
                self._begun[task_id] = Status.RUNNING
        elif isinstance(event, Finished):
            self._note_finish(event)
        elif isinstance(event, Plan) and event.id in self._at_limits:
            self._note_raised_limit(self._batch.tasks[event.id])
        elif isinstance(event, (Header, Plan)):
            # Any task may have another status now. A journal begins with thousands of plans: they
            # are counted at the next look, all at once.
            self._is_stale = True

    def _note_finish(self, event: Finished) -> None:
        """Count how an attempt ended."""
        task = self._batch.tasks[event.id]
        if event.result.status not in FINAL:
            self._begun[task.id] = outcome_words(event.result)
            return
        # Its plan of then: limits that were met may have been raised meanwhile.
        for record in (task.record, task.outdated):
            if record and record.result is event.result:
                self._note_end(record.plan, record.result)

    def _note_end(self, plan: Plan, result: Result) -> None:
        """Count a task that was open until now."""
        self._begun.pop(plan.id, None)
        self._open[open_key(plan)] -= 1
        self._done += 1
        self._outcomes[outcome_words(result)] += 1
        self._note_time(plan, result, 1)
        if result.verdict is Verdict.FALSIFIED and plan.lemma in self._assumed:
            self._undermined.add(plan.theory)
        if result.status in MET_A_LIMIT:
            self._at_limits.add(plan.id)

    def _note_time(self, plan: Plan, result: Result, count: int) -> None:
        """Count what a task took; a count of -1 takes it back."""
        for times in (self._all_times, self._entry_times.setdefault(plan.entry, Times())):
            times.count += count
            times.total_s += count * result.share_of(result.usage.wall_s)

    def _note_raised_limit(self, task: Task) -> None:
        """Count a task as open once more."""
        met = task.outdated
        if met is None or task.status is not Status.PENDING:
            self._is_stale = True
            return
        self._at_limits.discard(task.id)
        self._open[open_key(task.plan)] += 1
        self._done -= 1
        self._outcomes[outcome_words(met.result)] -= 1
        self._note_time(task.plan, met.result, -1)

    def _refresh(self) -> None:
        """Count anew if any task may have changed otherwise than by a start or an end."""
        if self._is_stale:
            self._count_anew()

    @property
    def total(self) -> int:
        """How many tasks count."""
        return len(self._tasks)

    @property
    def done(self) -> int:
        """How many of them are final."""
        self._refresh()
        return self._done

    def counts(self) -> dict[str, int]:
        """How many tasks came to which outcome, in the order of our words; none that is 0."""
        self._refresh()
        counts = self._outcomes + Counter(self._begun.values())
        counts[Status.PENDING] = self.total - self._done - len(self._begun)
        for task in self._resting_on_false():
            counts[task.outcome] -= 1
            counts[RESTING_ON_FALSE] += 1
        return {word: counts[word] for word in STANDINGS if counts[word] > 0}

    def _resting_on_false(self) -> Iterator[Task]:
        """The tasks whose verdict rests on a falsified lemma; hardly ever there is one."""
        if not self._undermined:
            return
        tasks = [
            task for task in self._batch.tasks.values() if task.plan.theory in self._undermined
        ]
        closure = Closure(tasks)
        counted = {task.id for task in self._tasks}
        for task in tasks:
            if task.id in counted and _falsified(closure.open_assumptions(task)):
                yield task

    def forecast(self, running: Mapping[str, float], slots: int) -> Forecast:
        """When all tasks will have ended, if `slots` jobs go on running side by side.

        A task is taken to need what the finished ones of its recipe entry (else: of all) needed on
        average; one that has run longer than that, as long again; none more than its limit.
        `running`: for how many seconds each running task has run, by id.
        """
        self._refresh()
        total_s = 0.0
        longest_s = 0.0
        waiting = self._open.copy()
        for task_id, ran_s in running.items():
            plan = self._batch.tasks[task_id].plan
            waiting[open_key(plan)] -= 1
            rest_s = self._rest_s(plan.entry, plan.limits.timeout_s, ran_s)
            total_s += rest_s
            longest_s = max(longest_s, rest_s)
        for (entry, timeout_s), count in waiting.items():
            if count > 0:
                rest_s = self._rest_s(entry, timeout_s, 0.0)
                total_s += rest_s * count
                longest_s = max(longest_s, rest_s)
        shared_s = total_s / max(1, slots)
        if self._all_times.count:
            return Forecast(max(shared_s, longest_s), False)
        # Jobs that start as soon as there is room never take longer (R. L. Graham, 1966).
        return Forecast(shared_s + longest_s, True)

    def _rest_s(self, entry: str, timeout_s: float, ran_s: float) -> float:
        """What a task of this recipe entry still needs after so many seconds."""
        times = self._entry_times.get(entry, self._all_times)
        limit_s = max(0.0, timeout_s - ran_s)
        if not times.count:
            return limit_s
        mean_s = times.total_s / times.count
        # Times of proofs have a long tail: what has run long will run long.
        rest_s = mean_s - ran_s if ran_s < mean_s else ran_s
        return min(rest_s, limit_s)


def open_key(plan: Plan) -> tuple[str, float]:
    """What the forecast for an open task depends on: its recipe entry and its timeout."""
    return plan.entry, plan.limits.timeout_s


# --- What runs ------------------------------------------------------------------------------------


class RunningJob(NamedTuple):
    """A job that runs, as a person sees it."""

    id: str
    lemma: str  # of its first task
    task_ids: tuple[str, ...]
    elapsed_s: float
    limits: Limits
    memory_mb: float | None  # None where it can't be seen: on another host, or gone
    log: str  # path of the prover's stderr

    @property
    def name(self) -> str:
        """For people: the task that it serves, or the first of several."""
        others = len(self.task_ids) - 1
        return f"{self.task_ids[0]} +{others}" if others else self.id

    def as_json(self) -> Json:
        """What `status --json` tells of it."""
        return {
            "id": self.id,
            "lemma": self.lemma,
            "tasks": list(self.task_ids),
            "elapsed_s": self.elapsed_s,
            "limits": encode(self.limits),
            "memory_mb": self.memory_mb,
            "log": self.log,
            "phase": phase(self.log),
        }


class RunningJobs:
    """Which jobs run now, of this process or of another one whose journal we read."""

    def __init__(self, batch: Batch, directory: str, live: Mapping[str, Live]) -> None:
        self._batch = batch
        self._directory = directory
        self._live = live
        self._starts: dict[str, Started] = {}  # by job id

    def note(self, event: Event) -> None:
        """Take note of an event that has just been applied."""
        if isinstance(event, Header):
            self._starts.clear()  # another driver goes on: nothing of the former one runs
        elif isinstance(event, Started):
            if event.ids:  # else it loads a theory, for no task
                self._starts[event.job] = event
        elif isinstance(event, Finished):
            self._starts.pop(event.job, None)

    def cores(self) -> int:
        """How many cores these jobs may use."""
        return sum(self._task(start).plan.limits.cores for start in self._starts.values())

    def look(self) -> list[RunningJob]:
        """The jobs as they are now, the longest first."""
        return [self._look_at(start) for start in self._starts.values()]

    def _look_at(self, start: Started) -> RunningJob:
        """A job as it is now: by our own supervisor's figures, else by its processes."""
        live = self._live.get(start.job)
        if live:
            elapsed_s = time.monotonic() - live.started
            memory_mb: float | None = live.rss_mb
        else:
            elapsed_s = max(0.0, time.time() - instant(start.at))
            memory_mb = tree_memory_mb(start)
        task = self._task(start)
        return RunningJob(
            id=start.job,
            lemma=task.plan.lemma,
            task_ids=start.ids,
            elapsed_s=elapsed_s,
            limits=task.plan.limits,
            memory_mb=memory_mb,
            log=result_files(self._directory, start.job).stderr,
        )

    def _task(self, start: Started) -> Task:
        return self._batch.tasks[start.ids[0]]


def tree_memory_mb(start: Started) -> float | None:
    """What another driver's job uses now, in MB; None when it runs on another host or is gone."""
    # The pid of another host, or from before a reboot, is a stranger's here.
    if (start.host, start.boot_id) != host_id():
        return None
    if process_start(start.pid) != start.started:
        return None
    total_bytes = 0
    unseen = [start.pid]
    while unseen:
        pid = unseen.pop()
        unseen += children_of(pid)
        resident = memory_of(pid).resident
        total_bytes += resident
    return total_bytes / MB


NARROW = 64  # columns; below, a job's line leaves out its limits


def job_line(job: RunningJob, columns: int) -> str:
    """Id, phase, time and memory of a running job; on a narrow terminal without the limits."""
    ellipsis = glyphs().ellipsis
    time_s = clock(job.elapsed_s)
    memory = ""
    if job.memory_mb is not None:
        memory = size(job.memory_mb)
    if columns < NARROW:
        name = job.lemma
        doing = fit(phase(job.log).replace("saturating ", ""), 11, ellipsis)
        figures = f"{time_s:>5} {memory:>4}"
    else:
        name = job.name
        doing = fit(phase(job.log), 23, ellipsis)
        of_time = f"{time_s}/{clock(job.limits.timeout_s)}"
        of_memory = f"{memory}/{size(job.limits.memory_mb)}"
        figures = f"{of_time:>15}  {of_memory:>10}"
    width = max(8, columns - 5 - len(doing) - len(figures))
    # Ids differ at both ends: the cut is in the middle.
    name = fit(name, width, ellipsis, width // 2)
    return f"  {name} {doing} {figures}"


def clock(seconds: float) -> str:
    """`0:05`, `1:02:03`."""
    minutes, second = divmod(int(max(0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{minute}:{second:02}"


def size(megabytes: float) -> str:
    """`340M`, `1.5G`, `16G`."""
    if megabytes < 1000:
        return f"{megabytes:.0f}M"
    gigabytes = f"{megabytes / 1024:.1f}"
    return gigabytes.removesuffix(".0") + "G"


# --- The screen -----------------------------------------------------------------------------------


class Screen:
    """The last lines of a terminal, drawn over again and again; what is said scrolls by above them.

    It changes no mode of the terminal and leaves the cursor below the block, so that nothing is
    left to put right, however the program ends.
    """

    def __init__(self, block: Callable[[int, int], list[str]]) -> None:
        """`block` makes the lines for so many columns and rows."""
        self._block = block
        self._said: list[str] = []  # since the last drawing
        self._shown: list[str] = []  # the lines of the block that stand there
        self._drawn = 0.0  # when, on the monotonic clock

    def __enter__(self) -> None:
        _listeners.append(self.say)
        # Not through the event loop: the block must be forgotten before anything else goes on
        # after Ctrl-Z and `fg`.
        signal.signal(signal.SIGCONT, lambda *_: self._shown.clear())

    def __exit__(self, *_: object) -> None:
        _listeners.remove(self.say)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        # This waits where the terminal takes nothing (Ctrl-S): nothing that was said is lost.
        with suppress(OSError, ValueError):
            self._write([])

    def say(self, line: str) -> None:
        """Show a line above the block, at once or with the next drawing."""
        self._said.append(line)
        # A thousand results a second need not be a thousand drawings.
        if time.monotonic() - self._drawn >= REDRAW_S:
            self.draw()

    def draw(self) -> None:
        """Write what was said, and the block below it; not while the terminal takes nothing."""
        with suppress(OSError, ValueError):  # the terminal is gone: the batch goes on
            if not self._takes_output():
                return
            lines: list[str] = []
            if self._is_ours():
                columns, rows = terminal_size()
                ellipsis = glyphs().ellipsis
                # One column stays free: some terminals wrap a line that fills the last one.
                for line in self._block(columns, rows):
                    lines.append(fit(line, columns - 1, ellipsis).rstrip())
            self._write(lines)
        self._drawn = time.monotonic()

    def _takes_output(self) -> bool:
        """False after Ctrl-S: a write would wait for Ctrl-Q, and all jobs with it."""
        import select

        _, writable, _ = select.select([], [sys.stderr], [], 0)
        return bool(writable)

    def _is_ours(self) -> bool:
        """False while we run in the background and a user types to the shell."""
        try:
            return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
        except OSError:  # there is no job control
            return True

    def _write(self, lines: list[str]) -> None:
        """Replace the block by what was said and these lines, at one stroke."""
        text = ""
        height = self._height()
        if height:
            text = f"\r\x1b[{height}A"
        # Every line wipes what stood behind it, the end of the text what stood below.
        for line in (*self._said, *lines):
            text += coloured(line, sys.stderr) + "\x1b[K\n"
        self._said.clear()
        self._shown = lines
        sys.stderr.write(text + "\x1b[J")
        sys.stderr.flush()

    def _height(self) -> int:
        """How many rows the block takes now: a terminal made narrower has wrapped its lines."""
        columns, _ = terminal_size()
        height = 0
        for line in self._shown:
            rows = math.ceil(display_width(line) / columns)
            height += max(1, rows)
        return height


def draws_block(mode: str, quiet: bool = False) -> bool:
    """Whether a live block is wanted, and stderr is a terminal that can show it."""
    if not sys.stderr.isatty():
        return False
    if mode == "auto":
        return not quiet and os.environ.get("TERM", "dumb") != "dumb"
    return mode == "bar"


class Glyphs(NamedTuple):
    """What a bar is drawn with, done and open, and what stands where text was cut."""

    filled: str
    empty: str
    ellipsis: str


UNICODE_GLYPHS = Glyphs("█", "░", "…")
ASCII_GLYPHS = Glyphs("#", "-", "~")


def glyphs() -> Glyphs:
    """The glyphs that stderr can show."""
    encoding = sys.stderr.encoding or ""
    return UNICODE_GLYPHS if "utf" in encoding.lower() else ASCII_GLYPHS


# === Commands =====================================================================================

EXAMPLES = """\
examples:
  write a recipe for a theory:          batch_tamarin.py init theory.spthy
  see whether it can run:               batch_tamarin.py check recipe.json
  prove everything it names:            batch_tamarin.py run recipe.json
  look at it from another terminal:     batch_tamarin.py status results --follow
  go on after a stop or a crash:        batch_tamarin.py resume results
  double the limits that were met:      batch_tamarin.py retry results
  what do the results establish?        batch_tamarin.py audit results
  what Tamarin would list in a theory:  batch_tamarin.py lemmas theory.spthy

type `batch_tamarin.py COMMAND --help` for a command's options and examples.
exit codes: 0 all proven or refuted as expected; 1 an expectation was missed, a verdict rests on a
false lemma, or an audit found something; 2 wrong usage or input; 3 some task has no `verified` or
`falsified`; 130, 143, 129 stopped by SIGINT, SIGTERM, SIGHUP.
"""
SHOWN_LEMMAS = 8  # of a theory, by `check`; all with -d
CHECK_REPORT = "wellformedness-check-report"  # the folder that `check --report` writes

# What people type who come from elsewhere, from batch-tamarin too, and what it is here.
INSTEAD = {
    "--resume": "run it again: it goes on where it stopped (or `resume RESULTS`)",
    "--continue": "run it again: it goes on where it stopped (or `resume RESULTS`)",
    "--rerun": "run it again: what changed or failed is proven; --again proves anew",
    "--force": "run it again: what changed or failed is proven; --again proves anew",
    "--lemma": "-t '*--LEMMA--*' runs the tasks of one lemma",
    "--lemmas": "-t '*--LEMMA--*' runs the tasks of one lemma",
    "--prove": "-t '*--LEMMA--*' runs the tasks of one lemma",
    "--prover": "provers stand in the recipe's tamarin_versions",
    "--dry-run": "`check RECIPE` plans all and proves nothing",
    "--dryrun": "`check RECIPE` plans all and proves nothing",
    "--pdf": "`report RESULTS -f tex`, and pdflatex makes it one",
    "--verbose": "-d shows more",
    "-v": "`run` and `check` show more with -d",
    "-n": "`check RECIPE` plans all and proves nothing",
    "-o": "`> FILE` writes what is printed to a file",
    "--output": "`> FILE` writes what is printed to a file",
    "-j": "--cores N",
    "--jobs": "--cores N",
    "-r": "`check RECIPE --report` writes what provers say of the theories",
    "-e": "`cache clear --errors-only`",
    "--expect": "`audit RESULTS --expect FILE`, or `expect` in the recipe",
    "--follow": "`status RESULTS --follow`",
    **{f"--{form}": f"-f {form} (of `report` and `audit`)" for form in REPORTS},
}

# What only some commands have in place of an option.
RAISE_IN_RECIPE = "raise the limit in the recipe; retry doubles it"
INSTEAD_IN = {
    "retry": {"--timeout": RAISE_IN_RECIPE, "--memory": RAISE_IN_RECIPE},
    "lemmas": {"--prove": "it proves nothing: `init THEORY` writes a recipe for `run`"},
}

# Other names of what `-f` takes.
FORMATS_MEANT = {"markdown": "md", "latex": "tex", "typst": "typ", "xml": "junit", "text": "md"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    open_missing_streams()
    # A name that the user's locale can't show is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = command_line_parser().parse_args(help_as_option(argv))
        end_in_order_when_stopped()
        code = int(args.func(args))
        print_out("")  # what can't be written must be known here
        return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except InputError as error:
        for line in str(error).split("\n"):
            say(f"error: {line}")
    except OSError as error:
        # A full disk, too many open files: what the environment did gets no traceback.
        place = f"{error.filename}: " if error.filename else ""
        say(f"error: {place}{error.strerror or error}{way_out(error)}")
    finally:
        flush_or_discard_output()
    return 2


def help_as_option(argv: Sequence[str] | None) -> Sequence[str]:
    """The command line, with `--help` where it says `help` or `help COMMAND`."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["help"]:
        return [*words[1:2], "--help"]
    return words


def end_in_order_when_stopped() -> None:
    """From here on, a signal that stops us ends what runs and removes what is temporary.

    While a batch runs, its own answers take the place of these. A signal that whoever started us
    wants to be ignored (`nohup`) stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def flush_or_discard_output() -> None:
    """Write what stdout still holds; what can't be written goes nowhere.

    Python would try it again at exit, complain, and change the exit code.
    """
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Let all that goes to stdout go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def open_missing_streams() -> None:
    """Make /dev/null of a standard stream that was closed for us (`>&-`).

    Else the journal would be opened under its number.
    """
    while True:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened > 2:
            os.close(opened)
            break
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as this process lives
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


# --- The command line -----------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Names the nearest word for a mistyped one, and doesn't bury the error under the usage."""

    _words: Sequence[str] = ()  # that are being parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # argparse tells of unknown arguments in the main parser, which doesn't know the options of
        # the command. The command's parser is asked by this method, so that it can.
        self._words = list(args or ())
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0]
            self.error(f"unknown argument '{printable(word)}'{self._hint_at(word)}")
        return parsed, unknown

    def _hint_at(self, word: str) -> str:
        """What could be meant by a word that this command does not know, or ""."""
        command = self.prog.rpartition(" ")[2]
        name = word.partition("=")[0]
        instead = INSTEAD_IN.get(command, {}).get(name) or INSTEAD.get(name, "")
        has_tasks = "-t" in self._option_string_actions
        if instead and (has_tasks or not instead.startswith("-t ")):
            return f": {instead}"
        if name.startswith("--"):
            options = [option for option in self._option_string_actions if option.startswith("--")]
            return did_you_mean(name, options)
        if name in REPORTS:
            return f" (did you mean '-f {name}'?)"
        if name.startswith("-"):
            return ""
        if command == "run" and not name.endswith(".json"):
            return f" (did you mean '-o {printable(word)}'?)"
        return ": one at a time"

    def _hint_at_value(self, message: str) -> str:
        """How to give an option a value that looks like an option; "" if that isn't the problem."""
        found = re.match(r"argument (\S+): expected one argument", message)
        if not found:
            return ""
        names = found[1].split("/")
        for name, value in zip(self._words, self._words[1:]):
            if name in names and value.startswith("-"):
                joined = f"{name}={value}" if name.startswith("--") else f"{name}{value}"
                return f": write {printable(joined)}"
        return ""

    def error(self, message: str) -> NoReturn:
        # argparse has put the choices into the message already.
        message += self._hint_at_value(message)
        problem, _, rest = message.partition("(choose from ")
        if rest:
            choices = rest.rstrip(")")
            word = problem.rpartition("invalid choice: ")[2].strip(" '")
            known = re.findall("[a-z-]+", choices)
            hint = command_meant(word) or did_you_mean(word.lower(), known)
            if word in FORMATS_MEANT:
                hint = f" (did you mean '{FORMATS_MEANT[word]}'?)"
            if word == "prune":
                hint = " (the cache prunes itself: --cache-size GB)"
            message = f"{problem.rstrip()}{hint}; it is one of {choices}"
        self.exit(2, f"{self.prog}: error: {message}\ntype '{self.prog} --help' for help\n")


def command_meant(path: str) -> str:
    """A hint at the command for a file or directory that stands where a command should; or ""."""
    commands = {".json": "run", ".spthy": "init"}
    command = commands.get(os.path.splitext(path)[1], "")
    if os.path.isdir(path):
        command = "status"
    return f" (did you mean '{command} {printable(path)}'?)" if command else ""


def command_line_parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it returns has the command's function as `func`."""
    parser = Parser(
        prog="batch_tamarin.py",
        description=(__doc__ or "").split("\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-v", "--version", action="version", version=f"batch_tamarin.py {__version__}"
    )
    # For commands without these options.
    parser.set_defaults(quiet=False, debug=False, take_over=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_run_command(commands)
    add_resume_command(commands)
    add_retry_command(commands)
    add_check_command(commands)
    add_init_command(commands)
    add_status_command(commands)
    add_report_command(commands)
    add_audit_command(commands)
    add_recheck_command(commands)
    add_lemmas_command(commands)
    add_cache_command(commands)
    return parser


def add_run_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_run,
        "recipe.json",
        "recipe.json -t 'nslpk3--*' -o /scratch/out",
        "recipe.json --cores 16 --memory 50%   # on half of a shared server",
    )
    add_recipe_argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="",
        help="results directory (instead of the recipe's output_directory)",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="begin a new batch, in a dated directory beside the one that is there",
    )
    add_plan_arguments(parser)
    parser.add_argument(
        "-s",
        "--scheduler",
        choices=SCHEDULERS,
        default="",
        help="which waiting task starts first: in file order (fifo), the smallest (sjf) or largest "
        "(ljf) by cores and memory, or what took longest before (history)",
    )
    parser.add_argument(
        "--granularity",
        choices=tuple(map(str, Granularity)),
        default="",
        help="one process for each lemma, or shared ones for those of a theory, which is then "
        "loaded once for many (instead of what the recipe says)",
    )
    add_running_arguments(parser)


def add_resume_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(commands, command_resume, "results", "results -t '*--secrecy--*'")
    add_results_argument(parser)
    add_running_arguments(parser)


def add_retry_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(commands, command_retry, "results", "results -t '*--secrecy--*'")
    add_results_argument(parser)
    add_running_arguments(parser)


def add_check_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_check,
        "recipe.json",
        "recipe.json -d          # every task with its command",
        f"recipe.json --report    # all that the provers say, in ./{CHECK_REPORT}/",
        "old.json --fix -o new.json    # a recipe of batch-tamarin whose names are prefixes",
    )
    add_recipe_argument(parser)
    add_plan_arguments(parser)
    parser.add_argument(
        "--report",
        action="store_true",
        help=f"write the full text of warnings and errors to ./{CHECK_REPORT}/",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write the recipe to the file of -o with '*' behind names that begin names of lemmas, "
        "as batch-tamarin takes them, and check that",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="", help="where --fix writes the recipe"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument(
        "-d",
        "--debug",
        action="store_true",
        help="show every task with its limits and command",
    )


def add_init_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_init,
        "handshake.spthy",
        "models --yes -o all.json                # all theories below a folder",
        "a.spthy --yes --prover dev=~/tamarin-prover --lemma 'secrecy*:timeout=7200' --lemma '*'",
        "--from results -o tight.json            # limits as measured, verdicts as found",
    )
    parser.add_argument(
        "theories", metavar="THEORY", nargs="*", help="a .spthy file, a shell pattern, or a folder"
    )
    parser.add_argument(
        "--from",
        dest="measured",
        metavar="RESULTS",
        default="",
        help="make the recipe of results, ours or batch-tamarin's: limits are twice the time and "
        "1.5 times the memory that was used, expected is what was found",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="recipe.json",
        help="where to write the recipe (recipe.json)",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument(
        "-y",
        "--yes",
        action="store_true",
        help="ask nothing: take the options, else the defaults",
    )
    add_repeatable_argument(
        parser,
        "--prover",
        metavar="PROGRAM",
        help="a prover: a file or a command on PATH, or ALIAS=PROGRAM (repeatable)",
    )
    add_limit_arguments(parser)
    add_entry_arguments(parser)


def add_entry_arguments(parser: Parser) -> None:
    """What `init` writes into each entry of a recipe's `tasks`, and where results go."""
    add_repeatable_argument(
        parser,
        "--lemma",
        type=lemma_argument,
        metavar="PATTERN",
        help="lemmas to prove: a name, a shell pattern, or '!pattern' to take lemmas away; with "
        "limits of their own: 'secrecy*:cores=2,memory=8,timeout=7200' (repeatable)",
    )
    add_repeatable_argument(
        parser,
        "-D",
        "--define",
        type=flag_argument,
        metavar="FLAG",
        help="a preprocessor flag, for the theories that ask for it (repeatable)",
    )
    add_repeatable_argument(
        parser,
        "--option",
        metavar="OPTION",
        help="an option of the provers, as in --option=--auto-sources (repeatable)",
    )
    parser.add_argument(
        "--limits",
        type=resources_argument,
        metavar="LIMITS",
        default={},
        help="of one job: cores=2,memory=8,timeout=7200, or some of these (GB, seconds)",
    )
    parser.add_argument(
        "--results",
        metavar="DIR",
        default="results",
        help="the recipe's results directory (results)",
    )


def add_status_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(commands, command_status, "results", "results --follow", "results --json")
    add_results_argument(parser)
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on until the batch ends, like the batch's own terminal",
    )
    parser.add_argument(
        "--json", action="store_true", help="JSON; with --follow one line for each look"
    )
    add_progress_argument(parser)


def add_report_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_report,
        "results",
        "results -f tex -f csv -o tables.tex",
        "results old-results -f html -o both",
        "results --rebuild",
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        nargs="+",
        help="the results directory; several make one report",
    )
    add_repeatable_argument(
        parser,
        "-f",
        "--format",
        choices=list(PRINTED),
        help="repeatable; default: by the ending of -o FILE, else a table on a terminal, md in a "
        "pipe",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="",
        help="write to this file: its ending chooses the format, or that of -f is put behind it",
    )
    parser.add_argument(
        "--force", action="store_true", help="write over a file that is no report of ours"
    )
    add_page_arguments(parser)
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="write the derived files of RESULTS again: success/, failed/, execution_report.json, "
        "summary.html",
    )


def add_page_arguments(parser: Parser) -> None:
    """What `report` can be told about pages."""
    parser.add_argument(
        "--names",
        action="store_true",
        help="pages also tell hosts, users and absolute paths (default: fit for blind review)",
    )
    parser.add_argument(
        "--fragment",
        action="store_true",
        help="of md, html, tex and typ only the table of results, to be put into another text",
    )
    parser.add_argument(
        "--grid",
        type=grid_argument,
        metavar="'ROWS x COLUMNS'",
        help="the verdicts and times as a table, such as 'lemma x variant' or 'lemma,prover x "
        "attacker': of dimensions of a matrix, of lemma, entry, theory, prover, variant, flags",
    )


def add_audit_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_audit,
        "results",
        "paper/*.spthy logs -d",
        "results --expect pinned.csv",
        "new --against old --tolerance 1.5 --format junit",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="results directories (ours, batch-tamarin's), analyzed theories, prover logs, folders "
        "of these, and the theories themselves",
    )
    parser.add_argument(
        "--expect",
        metavar="FILE",
        help='expected verdicts: JSON ({"lemma or pattern": "verified"}, or that for each theory), '
        "or CSV with the columns theory,lemma,verdict and any of " + ",".join(PINS) + " "
        "(`audit --format csv` writes it)",
    )
    add_repeatable_argument(
        parser,
        "--against",
        metavar="BASELINE",
        help="earlier results, in any form (repeatable)",
    )
    parser.add_argument(
        "--tolerance",
        type=factor_argument,
        metavar="FACTOR",
        help="with --against: steps or seconds may become so many times as many (1 or more; "
        "default: any number)",
    )
    parser.add_argument("--strict", action="store_true", help="notes count as findings")
    parser.add_argument(
        "--advisories",
        action="store_true",
        help="list the known problems of provers that results are held against, with versions",
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=list(PRINTED),
        default="table",
        help="default: a table for people",
    )
    parser.add_argument("-d", "--details", action="store_true", help="all lemmas, nothing cut")


def add_recheck_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands,
        command_recheck,
        "results --prover tamarin-prover",
        "results --prover stable -t '*--secrecy--*'",
    )
    add_results_argument(parser)
    parser.add_argument(
        "--prover",
        metavar="PROVER",
        default="",
        help="one of the batch's provers by its alias, a file, or a command on PATH (default: the "
        "recipe's recheck_with)",
    )
    parser.add_argument(
        "--prove-rejected",
        action="store_true",
        help="let the prover prove the lemmas itself whose proofs it does not confirm",
    )
    add_batch_arguments(parser)


def add_lemmas_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(
        commands, command_lemmas, "theory.spthy", "theory.spthy -D WITH_REVEAL --json"
    )
    parser.add_argument("theory", metavar="THEORY", help="a .spthy file")
    add_repeatable_argument(
        parser, "-D", "--define", metavar="FLAG", help="a preprocessor flag (repeatable)"
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="as with Tamarin's --diff: both sides, and Observational_equivalence",
    )
    parser.add_argument(
        "--auto-sources", action="store_true", help="as with Tamarin's --auto-sources"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def add_cache_command(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = add_command(commands, command_cache, "info", "clear --errors-only")
    parser.add_argument("action", choices=("info", "clear"), nargs="?", default="info")
    parser.add_argument(
        "--errors-only",
        action="store_true",
        help="clear only what has no verdict: limits met, parse errors",
    )
    add_cache_arguments(parser)


def add_command(
    commands: argparse._SubParsersAction[Parser],
    func: Callable[[argparse.Namespace], int],
    *examples: str,
) -> Parser:
    """The parser of one more command, named after its function, whose docstring is its help.

    `examples`: arguments of the command, with a comment where one is needed.
    """
    name = func.__name__.removeprefix("command_")
    doc = func.__doc__ or ""
    # Before Python 3.13 the lines of a docstring keep their indentation.
    lines = [line.strip() for line in doc.splitlines()]
    epilog = "examples:"
    for example in examples:
        epilog += f"\n  batch_tamarin.py {name} {example}"
    parser = commands.add_parser(
        name,
        help=lines[0].rstrip("."),
        description="\n".join(lines),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation would mean something else when there are more options.
        allow_abbrev=False,
    )
    parser.set_defaults(func=func)
    return parser


def add_recipe_argument(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="the recipe, a JSON file")


def add_results_argument(parser: Parser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="the results directory")


def add_plan_arguments(parser: Parser) -> None:
    """What the command line says of a recipe's plan: see `asked_options`."""
    add_limit_arguments(parser)
    parser.add_argument(
        "--yes", action="store_true", help=f"yes, more than {MOST_TASKS:,} tasks are meant"
    )


def add_limit_arguments(parser: Parser) -> None:
    """What all jobs together may use, and the time of a task."""
    parser.add_argument(
        "--cores",
        type=cores_argument,
        metavar="N",
        help='cores for all jobs together, or "max"',
    )
    parser.add_argument(
        "--memory",
        type=memory_argument,
        metavar="GB",
        # argparse formats this: %% shows as %.
        help='memory for all jobs together: GB, "max" or "50%%"',
    )
    parser.add_argument(
        "--timeout",
        type=seconds_argument,
        default=0,
        metavar="S",
        help="seconds for a task that has no timeout of its own (instead of default_timeout)",
    )


def add_running_arguments(parser: Parser) -> None:
    """What `run` and `resume` have in common."""
    add_batch_arguments(parser)
    parser.add_argument(
        "--again",
        action="store_true",
        help="prove the tasks that -t selects anew (without -t: all), whatever results there are",
    )
    parser.add_argument(
        "--retry",
        type=retries_argument,
        metavar="N",
        help="let what meets its limit run again with that limit doubled, at most N times; memory "
        "never beyond that of all jobs together",
    )
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="take no results of other runs, and keep none for them; what this results directory "
        "holds still counts",
    )
    add_cache_arguments(parser)


def add_batch_arguments(parser: Parser) -> None:
    """What all have in common that run a batch: which tasks, and how it is shown."""
    add_task_argument(parser)
    add_verbosity_arguments(parser)
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="go on although another run may be at work here, where the file system has no locks",
    )
    add_progress_argument(parser)


def add_task_argument(parser: Parser) -> None:
    add_repeatable_argument(
        parser,
        "-t",
        "--task",
        metavar="PATTERN",
        help="run only tasks whose id begins with this or matches this shell pattern (repeatable)",
    )


def add_verbosity_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="show only problems and the final table"
    )
    parser.add_argument(
        "-d",
        "--debug",
        action="store_true",
        help="show the commands too, and what was new to the cache",
    )


def add_cache_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        default="",
        help="the cache (default: ~/.cache/batch-tamarin)",
    )
    parser.add_argument(
        "--cache-size",
        metavar="GB",
        type=number_argument,
        default=CACHE_GB,
        help=f"its size at most (default: {CACHE_GB:g})",
    )


def add_progress_argument(parser: Parser) -> None:
    parser.add_argument(
        "--progress",
        choices=PROGRESS_MODES,
        default="auto",
        help="a live block on the terminal (bar), one line for each finished task (plain), or "
        "nothing until the end (none); auto: bar on a terminal that can, else plain",
    )


def add_repeatable_argument(parser: Parser, *names: str, **details: Any) -> None:
    """An option that may be given several times: a list of values, empty without it."""
    parser.add_argument(*names, action="append", default=[], **details)


# --- Types of arguments ---------------------------------------------------------------------------

# argparse shows the message of an ArgumentTypeError as it is, and replaces any other.


def cores_argument(text: str) -> int | str:
    """A number of cores, or "max"."""
    if text.lower() == "max":
        return text
    cores = positive_number(text)
    if not isinstance(cores, int):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a positive whole number nor \"max\"")
    return cores


def memory_argument(text: str) -> float | str:
    """An amount of memory: GB, "max" or "50%"."""
    if text.lower() == "max" or percentage(text):
        return text
    memory_gb = positive_number(text)
    if memory_gb is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither GB, nor \"max\", nor a percentage such as 50%"
            + GIGABYTES.hint(text)
        )
    return memory_gb


def grid_argument(text: str) -> Grid:
    """A grid: `lemma x variant`."""
    try:
        return read_grid(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from None


def retries_argument(text: str) -> int:
    """How often a limit may be doubled: doubled 20 times, an hour is over a century."""
    if not re.fullmatch(r"\d{1,2}", text) or int(text) > 20:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 to 20")
    return int(text)


def number_argument(text: str) -> float:
    """A positive number: seconds, GB, a factor."""
    number = positive_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive number below 10^9")
    return number


def factor_argument(text: str) -> float:
    """How many times as much of something there may be: 1 or more."""
    number = positive_number(text)
    if number is None or number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no factor: a number from 1 on, as in 1.5")
    return number


def seconds_argument(text: str) -> float:
    """A time: a number of seconds."""
    hint = SECONDS.hint(text)
    if hint:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds{hint}")
    return number_argument(text)


class LemmaWish(NamedTuple):
    """Lemmas that somebody wants to have proven."""

    text: str  # as it was given
    pattern: str  # a name, a shell pattern, or "!pattern"
    resources: Json  # limits of their own, as in a recipe


def lemma_argument(text: str) -> LemmaWish:
    """`PATTERN`, or `PATTERN:LIMITS`."""
    pattern, _, limits = text.partition(":")
    if not pattern.strip("!"):
        raise argparse.ArgumentTypeError(f"'{text}' names no lemma")
    return LemmaWish(text, pattern, resources_argument(limits) if limits else {})


def resources_argument(text: str) -> Json:
    """`cores=2,memory=8,timeout=60`, or some of these, as the `resources` of a recipe."""
    keys = {"cores": "max_cores", "memory": "max_memory", "timeout": "timeout"}
    resources: Json = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        key = keys.get(name.strip(), name.strip())
        kind = _RESOURCES.get(key)
        if not kind:
            hint = did_you_mean(name, keys)
            raise argparse.ArgumentTypeError(f"'{part}' is none of cores=, memory=, timeout={hint}")
        number = positive_number(value.strip())
        for problem in kind.problems(number or value, ()):
            raise argparse.ArgumentTypeError(f"{name}: {problem.message}")
        resources[key] = number
    return resources


def flag_argument(text: str) -> str:
    """The name of a preprocessor flag; `-D=X` means X."""
    flag = text.lstrip("=")
    if not is_flag(flag):
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a preprocessor flag")
    return flag


def positive_number(text: str) -> float | None:
    """A positive number below 10^9, as recipes allow it, an int where it is whole; else None."""
    # `float` alone would also take `nan`, `1_000` and white space.
    if not re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", text):
        return None
    number = float(text)
    if not 0 < number < 1e9:
        return None
    return int(number) if number.is_integer() else number


# --- What several commands need -------------------------------------------------------------------


def asked_options(args: argparse.Namespace) -> PlanOptions:
    """What the limits of the command line say over the recipe."""
    cores = str(args.cores or "")
    memory = str(args.memory or "")
    return PlanOptions(cores, memory, args.timeout, many_tasks=args.yes)


def recipe_results(recipe: Recipe) -> str:
    """The results directory that a recipe names."""
    directory: str = recipe.config.get("output_directory", "results")
    return in_home(directory)


def print_out(text: str | Iterable[str]) -> bool:
    """Write a text, or its pieces, to stdout at once; whether somebody still reads there.

    Where nobody does (`| head`), what was asked for is done, and nobody is to be told. Raises
    OSError on a full disk.
    """
    pieces = [text] if isinstance(text, str) else text
    try:
        sys.stdout.writelines(pieces)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return False
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise
    return True


def print_coloured(text: str) -> None:
    """Write a text to stdout, in colours where it shows them."""
    print_out(coloured(text, sys.stdout))


# --- check ----------------------------------------------------------------------------------------


@dataclass
class CheckJob:
    """A self-test of a prover, or one load of a theory, and what came of it."""

    job: Job  # serves the tasks that load the theory in this way; none for a self-test
    proof: str  # path of the theory as the prover writes it, with its report in a comment
    heading: tuple[str, ...]  # lines to show above what is found
    outcome: Outcome = Outcome(Status.PENDING)
    # What was found, for people: "error: " where the recipe can't run, "warning: " where results
    # need a look. Where something was found before, the job does not run.
    notes: list[str] = field(default_factory=list)

    @property
    def limits(self) -> Limits:
        return self.job.limits

    @property
    def errors(self) -> int:
        """For how many reasons the recipe can't run."""
        return sum(note.startswith("error: ") for note in self.notes)

    @property
    def needs_look(self) -> bool:
        """Whether there is an error or a warning."""
        return any(note.startswith(("error: ", "warning: ")) for note in self.notes)


def command_check(args: argparse.Namespace) -> int:
    """Test a recipe before it runs: its plan, its provers, its theories and their oracles.

    Every theory is loaded once with its tasks' own options, under their limits.
    """
    import tempfile

    if args.output and not args.fix:
        raise InputError("-o is where --fix writes a recipe: without it nothing is written")
    recipe_file = mend_recipe(args) if args.fix else args.recipe
    recipe = Recipe(recipe_file)
    batch = plan_recipe(recipe, asked_options(args))
    with tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder:
        for name in EVIDENCE_FOLDERS:
            os.makedirs(os.path.join(folder, name))
        checks = [*self_tests(batch, folder), *theory_loads(batch, folder)]
        jobs = [check for check in checks if not check.notes]
        run_checks(batch, jobs)
        # Only now, when no job runs whose limits would have to wait for it.
        for check in jobs:
            check.notes += check_notes(batch, check)
        if args.report:
            write_check_reports(checks)
    directory = recipe_results(recipe)
    for check in checks:
        print_check(check)
        if args.debug:
            print_tasks(batch, check.job.task_ids, directory)
        else:
            print_lemmas(batch, check.job.task_ids)
    return conclude_checks(batch, checks, recipe_file)


def mend_recipe(args: argparse.Namespace) -> str:
    """Write the recipe with what `--fix` can mend, for `check` to go on with; its path.

    Raises InputError.
    """
    if not args.output:
        raise InputError("--fix needs -o NEW.json: the recipe itself stays as it is")
    refuse_existing(args.output, args.force)
    recipe = Recipe(args.recipe)
    machine = Limits(available_cores(), available_memory_mb(), math.inf)
    # What else is wrong is told of the mended recipe.
    with suppress(InputError):
        plan_batch(recipe, recipe_provers(recipe), machine, asked_options(args), lambda text: None)
    for path, names in recipe.also_prefixes.items():
        place = ".".join(map(str, path))
        say(f"note: {place} means that lemma alone; batch-tamarin adds {listed(names)}")
    if not recipe.mends:
        say("nothing to fix: no name of a lemma is a mere prefix; no file was written")
        return str(args.recipe)
    write_file(args.output, recipe.mended_text())
    count = plural(len(recipe.mends), "name")
    say(f"wrote {args.output}, with '*' behind {count}")
    return str(args.output)


def refuse_existing(path: str, force: bool) -> None:
    """Raise InputError where a file is that nobody wants to lose."""
    if os.path.exists(path) and not force:
        raise InputError(
            "is there already: give another file with -o, or write over it with --force", path
        )


def self_tests(batch: Batch, folder: str) -> Iterator[CheckJob]:
    """A self-test of each prover; its output goes below `folder`."""
    memory_mb = min(VERSION_LIMITS.memory_mb, batch.header.limits.memory_mb)
    for alias, prover in batch.provers.items():
        name = f"self-test of {alias}"
        outputs = result_files(folder, name)
        job = Job(
            id=name,
            attempt=1,
            command=(*prover.command, "test", *prover.options),
            cwd=os.getcwd(),
            env=prover_environment(prover),
            limits=Limits(cores=1, memory_mb=memory_mb, timeout_s=60),
            stdout=outputs.stdout,
            stderr=outputs.stderr,
        )
        version = prover.version or "(version unknown)"
        command = quoted(prover.command)
        heading = f"{alias}: {prover.flavour} {version}, {command}"
        yield CheckJob(job, outputs.proof, (heading,))


def theory_loads(batch: Batch, folder: str) -> Iterator[CheckJob]:
    """A load of each theory by each prover with each options and flags that some task has."""
    for tasks in tasks_read_alike(batch.tasks.values()):
        yield theory_load(batch, tasks, folder)


def theory_load(batch: Batch, tasks: Sequence[Task], folder: str) -> CheckJob:
    """The load of one theory, for all tasks that load it alike, under their largest limits."""
    plan = tasks[0].plan
    prover = batch.provers[plan.prover]
    limits = list(dict.fromkeys(task.plan.limits for task in tasks))
    # Where it does not load under the largest limits, it does under none.
    load = replace(plan, prove=False, limits=largest_limits(limits))
    outputs = result_files(folder, plan.id)
    job = Job(
        id=plan.id,
        attempt=1,
        command=prover_command(prover, load, outputs),
        cwd=plan.cwd,
        env=prover_environment(prover),
        limits=load.limits,
        stdout=outputs.stdout,
        stderr=outputs.stderr,
        task_ids=tuple(task.id for task in tasks),
    )
    check = CheckJob(job, outputs.proof, ("", load_heading(tasks, limits)))
    if plan.unreadable:
        check.notes = [f"error: {plan.unreadable}", f"can't run: {listed(check.job.task_ids, 10)}"]
    return check


def load_heading(tasks: Sequence[Task], limits: Iterable[Limits]) -> str:
    """What a theory is loaded for: tasks that load it alike, and the limits that these have."""
    plan = tasks[0].plan
    entries = dict.fromkeys(task.plan.entry for task in tasks)
    names = ", ".join(entries)
    count = plural(len(tasks), "task")
    sizes = " or ".join(map(str, limits))
    return f"{names}: {theory_words(plan)} with {plan.prover}, {count} of {sizes}"


def largest_limits(limits: Collection[Limits]) -> Limits:
    """Of each kind the largest."""
    return Limits(
        cores=max(each.cores for each in limits),
        memory_mb=max(each.memory_mb for each in limits),
        timeout_s=max(each.timeout_s for each in limits),
    )


def run_checks(batch: Batch, checks: Sequence[CheckJob]) -> None:
    """Run the jobs side by side, within the limits of the batch; on a terminal, show which."""

    ended = 0
    with Supervisor(batch.id) as supervisor:

        def block(columns: int, rows: int) -> list[str]:
            names = ", ".join(supervisor.live)
            return [f"checking {ended}/{len(checks)}: {names}"]

        screen = Screen(block) if draws_block("auto") else None

        def on_start(pid: int, started: int) -> None:
            if screen:
                screen.draw()

        async def work(check: CheckJob) -> bool:
            nonlocal ended
            check.outcome = await supervisor.run(check.job, on_start)
            ended += 1
            return True

        room = batch.header.limits
        scheduler = Scheduler(Room(room.cores, room.memory_mb))
        waiting: list[Waiting] = []
        for check in checks:
            start = functools.partial(work, check)
            waiting.append(Waiting(check.job.limits, start))
        with screen or nullcontext():
            run_unless_stopped(scheduler.run(waiting))


def check_notes(batch: Batch, check: CheckJob) -> Iterator[str]:
    """What a job found, for people."""
    output = read_output(check.job.stdout, check.job.stderr)
    if not check.job.task_ids:
        yield self_test_note(check, output)
        return
    task = batch.tasks[check.job.task_ids[0]]
    # As it was loaded: no lemma was asked for by name.
    plan = replace(task.plan, prove=False)
    yield load_note(check, output)
    for task_id in check.job.task_ids:
        asked = batch.tasks[task_id].plan
        if asked.unknown_actions:
            yield f"warning: lemma {asked.lemma}: {silence_words(asked)}"
    for warning in prover_warnings(plan, output, check.proof):
        yield f"warning: {warning}"
    yield from oracle_notes(plan, batch.provers[plan.prover])


def self_test_note(check: CheckJob, output: ProverOutput) -> str:
    """Whether a prover's self-test passed; else why not."""
    said = "\n".join(ends_of(check.job.stdout))
    if check.outcome.exit == ExitStatus(0) and "should work as intended" in said:
        return "self-test passed"
    reason = check.outcome.reason or output.complaint or "it does not say why"
    if output.old_maude:
        reason = f"Maude {output.old_maude} is not supported"
    return f"warning: self-test failed: {reason}"


def load_note(check: CheckJob, output: ProverOutput) -> str:
    """What loading a theory took; or why it failed."""
    judgement = _judge_exit(check.outcome, output)
    if judgement.status is not Status.COMPLETED:
        return f"error: it does not load: {judgement.reason}"
    usage = check.outcome.usage
    return f"loads in {duration(usage.wall_s)} and {usage.peak_mb:,.0f} MB"


def oracle_notes(plan: Plan, prover: Prover) -> Iterator[str]:
    """Which oracles the tasks of a theory call, and which of them can't be called."""
    options = prover.all_options(plan.options)
    path = os.path.join(plan.cwd, plan.theory)
    theory = load_theory(path, *reading_options(options, plan.flags))
    environment = prover_environment(prover)
    # A load does not call them: a broken one ends a proof only after seconds.
    for oracle in used_oracles(theory, options, plan.cwd):
        problem = oracle_problem(oracle, environment)
        if problem:
            yield f"error: oracle {oracle} {problem}"
        else:
            yield f"oracle {oracle}"


def print_check(check: CheckJob) -> None:
    """Show what a job found."""
    lines = list(check.heading)
    for note in check.notes:
        lines.append(f"  {note}")
    for line in lines:
        print_coloured(printable(line) + "\n")


def print_lemmas(batch: Batch, task_ids: Sequence[str]) -> None:
    """Show the first of the lemmas that these tasks are of."""
    plans = [batch.tasks[task_id].plan for task_id in task_ids]
    lemmas = dict.fromkeys(plan.lemma for plan in plans if not plan.unreadable)
    if lemmas:
        print(printable(f"  lemmas: {listed(lemmas, SHOWN_LEMMAS)}"))


def print_tasks(batch: Batch, task_ids: Iterable[str], directory: str) -> None:
    """Show tasks with their limits and the commands that would run them, results in `directory`."""
    for task_id in task_ids:
        plan = batch.tasks[task_id].plan
        line = f"  {task_id}: {plan.limits}"
        if plan.priority:
            line += f", priority {plan.priority}"
        if plan.expect:
            line += f", expect {plan.expect}"
        print_out(printable(line) + "\n")
        # Without its theory a task has no command: a pattern in the recipe is no lemma.
        if not plan.unreadable:
            outputs = result_files(directory, task_id)
            command = prover_command(batch.provers[plan.prover], plan, outputs)
            print_out(printable(f"    {quoted(command)}") + "\n")


def conclude_checks(batch: Batch, checks: Sequence[CheckJob], recipe_file: str) -> int:
    """Say what there is to run, and whether it can; the exit code."""
    tasks = plural(len(batch.tasks), "task")
    room = batch.header.limits
    cores = plural(room.cores, "core")
    memory_gb = room.memory_mb / 1024
    print_out(f"\n{tasks}, together on {cores} and {memory_gb:.3g} GB\n")
    command = f"batch_tamarin.py run {quoted([recipe_file])}"
    wrong = [check for check in checks if check.errors]
    if not wrong:
        say(f"it can run: {command}")
        return 0
    errors = plural(sum(check.errors for check in wrong), "error")
    failing = {task_id for check in wrong for task_id in check.job.task_ids}
    # What is wrong with a prover is so for all its tasks.
    if len(failing) < len(batch.tasks) and all(check.job.task_ids for check in wrong):
        say(f"error: {len(failing):,} of {tasks} would fail as they are: {errors}")
        say(f"the others can run: {command}")
    else:
        say(f"error: this recipe can't run as it is: {errors}")
    return 2


def write_check_reports(checks: Iterable[CheckJob]) -> None:
    """Write a file for each check that needs a look, and say so."""
    worth_a_look = [check for check in checks if check.needs_look]
    for check in worth_a_look:
        write_check_report(check)
    if worth_a_look:
        say(f"wrote {plural(len(worth_a_look), 'report')} to {CHECK_REPORT}/")
    else:
        say("nothing to report: no file was written")


def write_check_report(check: CheckJob) -> None:
    """Write the command, what was found, the prover's own report, and its stderr to a file."""
    heading = "WARNING: the following wellformedness checks failed!"
    lines = last_part(check.proof, heading)
    # With --quit-on-warning the prover reports on stdout.
    lines += last_part(check.job.stdout, heading)
    report = "\n".join(lines).partition("\n*/")[0]
    # Its outputs went to a folder that is gone when somebody reads this.
    command = [word for word in check.job.command if not word.startswith("--output")]
    stderr = "\n".join(ends_of(check.job.stderr))
    text = "\n\n".join([quoted(command), *check.notes, report, stderr])
    os.makedirs(CHECK_REPORT, exist_ok=True)
    name = check.job.id.replace(" ", "-") + ".txt"
    write_file(os.path.join(CHECK_REPORT, name), text + "\n")


# --- init -----------------------------------------------------------------------------------------


JSON_COLUMNS = 100  # of a line in a recipe that `init` writes


def command_init(args: argparse.Namespace) -> int:
    """Write a recipe for some theories; or, --from results, one with limits that were measured.

    Asks on a terminal, or with --yes takes options and defaults. Of folders and of many theories
    those are left out, and named, that can't be proven.
    """
    if bool(args.theories) == bool(args.measured):
        raise InputError("give theories, or their folder; or else results: --from RESULTS")
    if args.measured and (args.lemma or args.define or args.option or args.limits or args.prover):
        raise InputError("--from takes lemmas, flags, options, limits and provers from the results")
    paths = theory_paths(args.theories)
    if not args.yes and not sys.stdin.isatty():
        raise InputError(
            "stdin is no terminal to ask on: add --yes, and options for what should not be as by "
            "default"
        )
    refuse_existing(args.output, args.force)
    room = Limits(available_cores(), available_memory_mb(), math.inf)
    data = measured_recipe(args) if args.measured else recipe_of_theories(args, paths, room)
    write_recipe(args, data, room)
    return 0


def recipe_of_theories(args: argparse.Namespace, paths: Sequence[str], room: Limits) -> Json:
    """A recipe for the theories among some files. Raises InputError."""
    provers = ask_provers(args)
    sources = sources_to_prove(args, paths, provers)
    config = ask_limits(args, room)
    resources = default_resources(config, room)
    names = names_apart([source.path for source in sources])
    tasks: Json = {}
    for source in sources:
        name = names[source.path]
        tasks[name] = ask_task(args, source, name, provers, resources)
    config["output_directory"] = ask(args, "directory for the results", args.results, str)
    versions = recipe_versions(provers, args.output)
    data = {"config": config, "tamarin_versions": versions, "tasks": tasks}
    leave_out_refused(args.output, data, provers, room)
    return data


# Of a prover that only parses a theory.
PARSE_LIMITS = Limits(cores=1, memory_mb=2048, timeout_s=60)


def leave_out_refused(
    recipe_file: str, data: Json, provers: dict[str, Prover], room: Limits
) -> None:
    """Take from a recipe what its provers can't parse, and say so: our reader sees no terms.

    `provers`: that have told their versions, as command lines depend on these. Raises InputError
    when nothing is left.
    """
    recipe = Recipe(recipe_file, json.dumps(data))
    batch = plan_batch(recipe, provers, room, PlanOptions(), lambda message: None)
    refusals = list(parse_errors(batch))
    for plan, _ in refusals:
        leave_out_prover(data["tasks"], plan.entry, plan.prover)
    messages = [f"{plan.theory}: {plan.prover} refuses it: {error}" for plan, error in refusals]
    if not data["tasks"]:
        raise InputError("\n".join(messages))
    for message in messages:
        say(f"left out: {message}")


def parse_errors(batch: Batch) -> Iterator[tuple[Plan, str]]:
    """What provers say of theories that they can't parse, with the plan of one task of each."""
    import tempfile

    memory_mb = min(PARSE_LIMITS.memory_mb, batch.header.limits.memory_mb)
    limits = replace(PARSE_LIMITS, memory_mb=memory_mb)
    with tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder:
        for name in EVIDENCE_FOLDERS:
            os.makedirs(os.path.join(folder, name))
        checks = list(theory_loads(batch, folder))
        for check in checks:
            command = (*check.job.command, PARSE_ONLY.name)
            check.job = check.job._replace(command=command, limits=limits)
        run_checks(batch, checks)
        for check in checks:
            # Whatever else went wrong says nothing of the theory.
            error = read_output(check.job.stdout, check.job.stderr).parse_error
            if error:
                yield batch.tasks[check.job.task_ids[0]].plan, error


def leave_out_prover(tasks: Json, entry: str, alias: str) -> None:
    """Take a prover from an entry of a recipe, and the entry when it has no other."""
    aliases = tasks.get(entry, {}).get("tamarin_versions", [])
    if alias in aliases:
        aliases.remove(alias)
    if not aliases:
        tasks.pop(entry, None)


def write_recipe(args: argparse.Namespace, data: Json, room: Limits) -> None:
    """Show a recipe, and write it unless the user says no. Raises InputError."""
    recipe = Recipe(args.output, json_lines(data) + "\n")
    # What can't be planned is refused here, before it is written.
    planned = plan_batch(recipe, recipe_provers(recipe), room, PlanOptions(), warn)
    raise_unreadable(planned.tasks.values())
    print_out(recipe.text)
    answer = ask(args, f"write this to {args.output}?", "yes", str)
    if answer.lower() not in ("y", "yes"):
        raise InputError("nothing was written")
    write_file(args.output, recipe.text)
    count = plural(len(planned.tasks), "task")
    say(f"{count}; next: batch_tamarin.py check {quoted([args.output])}")


def json_lines(value: Any, indent: str = "") -> str:
    """JSON text in which objects and lists stand on one line where they are short enough."""
    line = json.dumps(value)
    if len(indent + line) <= JSON_COLUMNS or not isinstance(value, (dict, list)):
        return line
    inner = indent + "  "
    if isinstance(value, list):
        opening, closing = "[", "]"
        members = [json_lines(item, inner) for item in value]
    else:
        opening, closing = "{", "}"
        members = [f"{json.dumps(key)}: {json_lines(item, inner)}" for key, item in value.items()]
    body = ",\n".join(inner + member for member in members)
    return f"{opening}\n{body}\n{indent}{closing}"


def ask(args: argparse.Namespace, question: str, default: Any, check: Callable[[str], T]) -> T:
    """The answer that a user gives on the terminal; with --yes the default.

    `check` makes a value of the text, or raises InputError or ArgumentTypeError: then the question
    is asked again. Enter takes the default. Raises InputError at the end of the input.
    """
    if args.yes:
        return check(str(default))
    prompt = printable(f"{question} [{default}]: ")
    while True:
        # Not to stdout, where the recipe goes: it may be a file.
        print(prompt, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise InputError("no answer: nothing was written")
        try:
            return check(answer.strip() or str(default))
        except (InputError, argparse.ArgumentTypeError) as error:
            say(f"error: {error}")


def ask_provers(args: argparse.Namespace) -> dict[str, Prover]:
    """The provers to use, by alias; those on PATH are shown with their versions."""
    found = [name for name in ("tamarin-prover", "tamarin-rs") if find_program(name)]
    # Who is asked should know what there is to choose from.
    if found and not args.yes:
        for prover in provers_named(" ".join(found)).values():
            program = find_program(prover.command[0])
            version = prover.version or "unknown"
            say(f"found {program}, version {version}")
    # Quoted: there may be blanks in a path.
    default = quoted(args.prover or found[:1])
    return ask(args, "provers (commands or files; ALIAS=PROGRAM names one)", default, provers_named)


def provers_named(text: str) -> dict[str, Prover]:
    """The provers that some words mean, by alias, asked for their versions. Raises InputError."""
    import shlex

    try:
        programs = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{printable(text)}: {error}") from None
    if not programs:
        raise InputError("no tamarin-prover or tamarin-rs is on PATH: name one (--prover PROGRAM)")
    provers = [prover_named(word) for word in dict.fromkeys(programs)]
    nameless = [prover for prover in provers if not prover.alias]
    by_folder = names_apart([prover.command[0] for prover in nameless])
    for prover in nameless:
        prover.alias = by_folder[prover.command[0]]
    refuse_equal_aliases(provers)
    run_unless_stopped(ask_versions(provers))
    for prover, alias in zip(nameless, aliases_of_programs(nameless)):
        prover.alias = alias
    refuse_equal_aliases(provers)
    return {prover.alias: prover for prover in provers}


def refuse_equal_aliases(provers: Collection[Prover]) -> None:
    """Raise InputError where two provers have one alias."""
    if len({prover.alias for prover in provers}) < len(provers):
        raise InputError("two provers have one alias: name them ALIAS=PROGRAM")


def prover_named(word: str) -> Prover:
    """The prover that `PROGRAM` or `ALIAS=PROGRAM` means. Raises InputError."""
    alias, is_named, program = word.partition("=")
    if not is_named or find_program(word):
        alias, program = "", word
    if is_named and alias and not is_file_name_part(alias):
        raise InputError(
            f"the alias '{printable(alias)}' becomes part of file names: no '/' or '..'"
        )
    if not find_program(program):
        raise InputError(no_program(program))
    # Behind `ALIAS=` a shell leaves `~` as it is.
    return Prover(alias, (os.path.expanduser(program),))


def aliases_of_programs(provers: Sequence[Prover]) -> list[str]:
    """An alias for each: their names, else with versions, else with folders as they have them."""
    names: list[str] = []
    versioned: list[str] = []
    for prover in provers:
        name = safe_name(prover.command[0])
        version = prover.version.removesuffix(".0")  # people say 1.10 for 1.10.0
        names.append(name)
        versioned.append(f"{name}-{version}" if version else name)
    for aliases in (names, versioned):
        if len(set(aliases)) == len(aliases):
            return aliases
    return [prover.alias for prover in provers]


def ask_limits(args: argparse.Namespace, room: Limits) -> Json:
    """The recipe's `config`: what all jobs together may use, and the time of one."""
    room_gb = room.memory_mb / 1024
    question = f"cores for all jobs together (here: {room.cores})"
    cores = ask(args, question, args.cores or "max", cores_argument)
    question = f"GB for all jobs together (here: {room_gb:.3g})"
    memory = ask(args, question, args.memory or "max", memory_argument)
    default_s = args.timeout or DEFAULT_TIMEOUT_S
    timeout_s = ask(args, "seconds for one lemma", default_s, seconds_argument)
    return {
        "global_max_cores": cores,
        "global_max_memory": memory,
        "default_timeout": timeout_s,
    }


def default_resources(config: Json, room: Limits) -> Json:
    """The `resources` of a recipe's task: as by default, but no more than the whole batch has."""
    most = global_limits(config, room, PlanOptions(), warn)
    memory_gb = max(1, most.memory_mb // 1024)
    return {
        "max_cores": min(DEFAULT_CORES, most.cores),
        "max_memory": min(DEFAULT_MEMORY_GB, memory_gb),
    }


def recipe_versions(provers: Mapping[str, Prover], recipe_file: str) -> Json:
    """The recipe's `tamarin_versions`: files by paths, commands on PATH by their names."""
    versions: Json = {}
    for alias, prover in provers.items():
        path = prover.command[0]
        # Who gave an absolute path means it, wherever the recipe goes.
        if os.sep in path and not os.path.isabs(path):
            path = recipe_path(path, recipe_file)
        versions[alias] = {"path": path}
    return versions


# What init makes a recipe of: theories that stand for themselves.


class SourceTheory(NamedTuple):
    """A theory that a recipe is made for."""

    path: str
    theory: Theory  # with `flags`
    flags: tuple[str, ...]  # of those that the user gave, what it asks for
    known_flags: tuple[str, ...]  # all that it asks for
    hidden: dict[str, Reading]  # lemmas that need more flags: a reading that has them
    includes: frozenset[str]  # real paths of all files that it includes, whatever the flags


def theory_paths(words: Iterable[str]) -> list[str]:
    """The files that words of the command line mean, each once, in the order of the words.

    Raises InputError for a word that means none.
    """
    paths: dict[str, str] = {}  # by real path
    for word in words:
        found = files_meant(word)
        if not found and os.path.isdir(word):
            raise InputError("there is no theory (.spthy) in this folder", printable(word))
        if not found:
            raise InputError(f"there is no such theory file{file_meant(word)}", printable(word))
        for path in found:
            paths.setdefault(os.path.realpath(path), path)
    return list(paths.values())


def files_meant(word: str) -> list[str]:
    """The file of this name; or the theories below a folder, or those that match a pattern."""
    import glob

    if os.path.isfile(word):
        return [word]
    if os.path.isdir(word):
        return theories_below(word)
    matches = glob.glob(os.path.expanduser(word), recursive=True)
    return sorted(filter(os.path.isfile, matches))


def theories_below(folder: str) -> list[str]:
    """The theories in a folder, then those in its folders, hidden ones aside."""
    paths: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.normpath(os.path.join(place, name))
            if name.endswith(".spthy") and os.path.isfile(path):
                paths.append(path)
    return paths


def sources_to_prove(
    args: argparse.Namespace, paths: Iterable[str], provers: Mapping[str, Prover]
) -> list[SourceTheory]:
    """The theories among some files that can be proven; the others are named.

    Raises InputError when there is none.
    """
    left_out: dict[str, InputError] = {}  # by path
    sources = read_sources(args, paths, left_out)
    includers = {file: source.path for source in sources for file in source.includes}
    for path in paths:
        includer = includers.get(os.path.realpath(path))
        if includer:
            left_out[path] = InputError(f"is included by {includer}", path)
    for source in sources:
        try:
            refuse_unprovable(args, source, provers)
        except InputError as error:
            left_out.setdefault(source.path, error)
    left = [source for source in sources if source.path not in left_out]
    if not left:
        raise InputError("\n".join(map(str, left_out.values())))
    for reason in left_out.values():
        say(f"left out: {reason}")
    refuse_left_out_words(args, left)
    say_notes(left)
    return left


def read_sources(
    args: argparse.Namespace, paths: Iterable[str], left_out: dict[str, InputError]
) -> list[SourceTheory]:
    """The theories among some files that can be read and are no results; the others are noted.

    Raises InputError for words of the command line that mean nothing in any of them.
    """
    sources: list[SourceTheory] = []
    unreadable: list[InputError] = []
    for path in paths:
        try:
            source = read_source(path, args.define)
        except InputError as error:
            left_out[path] = error
            unreadable.append(error)
            continue
        try:
            refuse_results(path)
            sources.append(source)
        except InputError as error:
            left_out[path] = error
    messages = list(idle_words(args, sources)) if sources else []
    if messages:
        # A word may mean something in what can't be read.
        raise InputError("\n".join([*messages, *map(str, unreadable)]))
    return sources


# Folders of a results directory in which theories lie.
_RESULT_SUBFOLDERS = (*EVIDENCE_FOLDERS, *RESULT_FOLDERS, "earlier", "inputs", "recheck")


def refuse_results(path: str) -> None:
    """Raise InputError for a theory that a prover or a batch wrote, or that no recipe can name."""
    maker = ""
    with suppress(InputError):  # who reads it tells
        maker = read_theory_text(path).made_by
    if maker:
        raise InputError(f"is a result, printed by {maker}", path)
    if not is_text(path):
        raise InputError("has a name that is no text: rename it", printable(path))
    if path.endswith("_results.spthy"):
        raise InputError("is a result, as its name says", path)
    folder = os.path.dirname(os.path.abspath(path))
    while os.path.dirname(folder) != folder:
        around, name = os.path.split(folder)
        records = [os.path.join(around, record) for record in RECORDS]
        if name in _RESULT_SUBFOLDERS and any(map(os.path.exists, records)):
            raise InputError(f"belongs to the results in {around}", path)
        folder = around


def read_source(path: str, given: Sequence[str]) -> SourceTheory:
    """A theory with those of the given flags that it asks for. Raises InputError."""
    import itertools

    readings = readings_of(path, given)
    first = next(readings)
    names = set(lemmas_by_name(first.theory))
    hidden: dict[str, Reading] = {}
    files: set[str] = set()
    known_flags: dict[str, None] = {}
    for reading in itertools.chain([first], readings):
        files.update(map(os.path.realpath, reading.theory.files))
        known_flags.update(dict.fromkeys(flags_asked(reading.theory)))
        for name in lemmas_by_name(reading.theory):
            if name not in names:
                # Readings with few flags come first.
                hidden.setdefault(name, reading)
    # What nothing asks for changes nothing: it belongs in no recipe.
    for name, reading in hidden.items():
        hidden[name] = reading._replace(flags=among(reading.flags, known_flags))
    flags = among(given, known_flags)
    includes = frozenset(files - {os.path.realpath(path)})
    return SourceTheory(path, first.theory, flags, tuple(known_flags), hidden, includes)


def among(flags: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Those of some flags that are known."""
    return tuple(flag for flag in flags if flag in known)


def refuse_unprovable(
    args: argparse.Namespace, source: SourceTheory, provers: Mapping[str, Prover]
) -> None:
    """Raise InputError where no lemma could be proven: `check` would refuse the recipe."""
    wishes = wishes_for(args, source)
    if not wishes and args.lemma:
        lemma_items(args.lemma, source)  # tells what is wrong with the first
    if not source.theory.lemmas and not wishes:
        needs = hidden_words(source)
        # On a terminal we ask for them.
        if args.yes or not needs:
            raise InputError(needs or "has no lemmas: nothing to prove", source.path)
    if source.theory.diff:
        provers_with_diff(provers, source.path)
    for prover in provers.values():
        environment = prover_environment(prover)
        for oracle in used_oracles(source.theory, args.option, os.getcwd()):
            problem = oracle_problem(oracle, environment)
            if problem:
                raise InputError(f"its oracle {oracle} {problem}", source.path)


def idle_words(args: argparse.Namespace, sources: Sequence[SourceTheory]) -> Iterator[str]:
    """What to say of each flag and lemma of the command line that no theory knows."""
    known_flags = {flag for source in sources for flag in source.known_flags}
    for flag in args.define:
        if flag not in known_flags:
            yield idle_flag(flag, "theory", known_flags)
    for wish in args.lemma:
        if not any(selects_something(wish, source) for source in sources):
            yield no_lemma_anywhere(wish, sources)


def refuse_left_out_words(args: argparse.Namespace, left: Sequence[SourceTheory]) -> None:
    """Raise InputError for a lemma that only theories have that are left out; warn of a flag."""
    known_flags = {flag for source in left for flag in source.known_flags}
    for flag in dict.fromkeys(args.define):
        if flag not in known_flags:
            warn(f"-D {flag}: only theories that are left out ask for this flag")
    for wish in args.lemma:
        if not any(selects_something(wish, source) for source in left):
            message = f"--lemma '{wish.text}': only theories that are left out have such a lemma"
            raise InputError(message)


def idle_flag(flag: str, place: str, known: Iterable[str]) -> str:
    """What to say of a flag of the command line that is not among the known ones."""
    return f"-D {flag}: no {place} asks for this flag{did_you_mean(flag, known)}"


def say_notes(sources: Iterable[SourceTheory]) -> None:
    """Say what is special about theories: what many have in common in one line."""
    with_diff: list[str] = []
    with_parts: list[str] = []
    for source in sources:
        if source.hidden:
            say(f"note: {source.path}: {hidden_words(source)}")
        if source.theory.diff:
            with_diff.append(source.path)
        if any(lemma.parent for lemma in source.theory.lemmas):
            with_parts.append(source.path)
    if with_diff:
        say(f"note: proven with --diff, which tamarin-rs has not: {listed(with_diff)}")
    if with_parts:
        say(
            "note: the name of an accountability lemma means all lemmas that Tamarin makes of it: "
            + listed(with_parts)
        )


def wishes_for(args: argparse.Namespace, source: SourceTheory) -> list[LemmaWish]:
    """What of the --lemma options selects something of a theory."""
    return [wish for wish in args.lemma if selects_something(wish, source)]


def selects_something(wish: LemmaWish, source: SourceTheory) -> bool:
    """Whether it selects a lemma of a theory, or is the name of one that needs more flags."""
    pattern = wish.pattern.lstrip("!")
    if any(_selects(pattern, lemma) for lemma in source.theory.lemmas):
        return True
    return pattern in source.hidden


def hidden_words(source: SourceTheory) -> str:
    """Which lemmas need which flags, for people; "" if none needs any."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, reading in source.hidden.items():
        groups.setdefault(needed_words(reading, source), []).append(name)
    parts = [f"{listed(names, 6)} ({' '.join(words)})" for words, names in groups.items()]
    if not parts:
        return ""
    need = "needs" if len(source.hidden) == 1 else "need"
    return f"{plural(len(source.hidden), 'lemma')} {need} flags: {'; '.join(parts)}"


def needed_words(reading: Reading, source: SourceTheory) -> tuple[str, ...]:
    """What a command line needs for a reading of a theory, beside what the user gave."""
    words = [f"-D {flag}" for flag in reading.flags if flag not in source.flags]
    if reading.theory.diff and not source.theory.diff:
        words.append(DIFF.name)
    return tuple(words)


def names_apart(paths: Iterable[str]) -> dict[str, str]:
    """Safe names for files, by path: their own, with as many folders as tell them apart.

    A name does not depend on the order of the paths.
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        groups.setdefault(safe_name(path).lower(), []).append(path)
    ids = TaskIds()
    names: dict[str, str] = {}
    for group in groups.values():
        depth = 1
        deepest = max(path.count(os.sep) for path in group) + 1
        while depth < deepest and len({safe_name(path, depth) for path in group}) < len(group):
            depth += 1
        for path in group:
            # `a/b-c` and `a-b/c` are still alike.
            names[path] = ids.new(safe_name(path, depth))
    return names


def safe_name(path: str, depth: int = 1) -> str:
    """A file's name without `.spthy`, behind the names of its last folders, safe for file names."""
    parts = [part for part in os.path.normpath(path).split(os.sep) if part not in ("", "..")]
    name = "-".join(parts[-depth:]).removesuffix(".spthy")
    return re.sub(r"[^\w.-]|\.\.", "_", name)


# What init asks for each theory.


def ask_task(
    args: argparse.Namespace,
    source: SourceTheory,
    name: str,
    provers: Mapping[str, Prover],
    resources: Json,
) -> Json:
    """The recipe's entry for one theory; `resources`: its limits by default. Raises InputError."""
    file = source.path
    if source.known_flags:
        source = ask_flags(args, source)
    entry: Json = {
        "theory_file": recipe_path(file, args.output),
        "tamarin_versions": ask_aliases(args, source, provers),
        "output_file_prefix": name,
    }
    options = ask_options(args, source)
    if options:
        entry["tamarin_options"] = options
    if source.flags:
        entry["preprocess_flags"] = list(source.flags)
    entry["lemmas"] = ask_lemmas(args, source, options)
    entry["resources"] = ask_resources(args, file, resources)
    return entry


def ask_flags(args: argparse.Namespace, source: SourceTheory) -> SourceTheory:
    """A theory with the flags that the user wants for it."""
    known = ", ".join(source.known_flags)
    question = f"flags of {source.path} (it asks for {known})"

    def check(text: str) -> SourceTheory:
        flags = [flag_argument(word.removeprefix("-D")) for word in list_answer(text)]
        for flag in flags:
            if flag not in source.known_flags:
                raise InputError(f"{source.path} asks for {known}, and not for '{flag}'")
        wanted = source
        if tuple(flags) != source.flags:
            wanted = read_source(source.path, flags)
        if not wanted.theory.lemmas and not wishes_for(args, wanted):
            raise InputError(f"with these flags there is no lemma: {hidden_words(wanted)}")
        return wanted

    return ask(args, question, " ".join(source.flags) or NONE, check)


# The answer that an empty list is.
NONE = "none"


def list_answer(text: str) -> list[str]:
    """The words of an answer. Raises InputError for a quote that does not end."""
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{printable(text)}: {error}") from None
    return [] if words == [NONE] else words


def ask_aliases(
    args: argparse.Namespace, source: SourceTheory, provers: Mapping[str, Prover]
) -> list[str]:
    """The aliases of the provers that prove a theory. Raises InputError when none can."""
    aliases = list(provers)
    if source.theory.diff:
        aliases = provers_with_diff(provers, source.path)
    if len(aliases) == 1:
        return aliases

    def check(text: str) -> list[str]:
        chosen = list_answer(text)
        for alias in chosen:
            if alias not in aliases:
                hint = did_you_mean(alias, aliases)
                raise InputError(f"no prover '{alias}'{hint}; there are: {', '.join(aliases)}")
        if not chosen:
            raise InputError("at least one")
        return chosen

    return ask(args, f"provers for {source.path}", quoted(aliases), check)


def provers_with_diff(provers: Mapping[str, Prover], file: str) -> list[str]:
    """The aliases of the provers that know --diff. Raises InputError when there is none."""
    aliases = [alias for alias, prover in provers.items() if prover.flavour != Flavour.TAMARIN_RS]
    if not aliases:
        raise InputError("this theory needs a tamarin-prover, as it uses diff(...)", file)
    return aliases


def ask_options(args: argparse.Namespace, source: SourceTheory) -> list[str]:
    """The options of the provers for a theory."""
    needed = [DIFF.name] if source.theory.diff else []

    def check(text: str) -> list[str]:
        options = list_answer(text)
        for problem in Options().problems(options, ()):
            raise InputError(problem.message)
        return options

    default = [option for option in args.option if option not in needed]
    question = f"options of the provers for {source.path}"
    return [*needed, *ask(args, question, quoted(default) or NONE, check)]


def ask_lemmas(
    args: argparse.Namespace, source: SourceTheory, options: Sequence[str]
) -> list[Json]:
    """The `lemmas` of a recipe's task that has these options."""

    def check(text: str) -> list[Json]:
        wishes = [lemma_argument(word) for word in text.split()]
        return lemma_items(wishes, source, options)

    if not args.yes:
        listing = ", ".join(lemmas_by_name(source.theory))
        say(f"lemmas of {source.path}: {listing or 'none'}")
    default = " ".join(wish.text for wish in wishes_for(args, source)) or "*"
    question = "lemmas (names or patterns; '!pattern' takes away; 'NAME:timeout=60,memory=8')"
    return ask(args, question, default, check)


def lemma_items(
    wishes: Iterable[LemmaWish], source: SourceTheory, options: Sequence[str] = ()
) -> list[Json]:
    """Wishes as the `lemmas` of a recipe's task with these options. Raises InputError."""
    items: list[Json] = []
    # Of patterns the first counts: what sets something comes before the rest.
    for wish in sorted(wishes, key=lambda wish: not wish.resources):
        if not selects_something(wish, source):
            raise InputError(no_lemma_for(wish, source))
        item: Json = {"name": wish.pattern}
        reading = source.hidden.get(wish.pattern)
        if reading:
            item["preprocess_flags"] = list(reading.flags)
        if reading and reading.theory.diff and DIFF.name not in options:
            item["tamarin_options"] = [DIFF.name, *options]
        if wish.resources:
            item["resources"] = wish.resources
        items.append(item)
    return items


def no_lemma_for(wish: LemmaWish, source: SourceTheory) -> str:
    """What to say of a name or a pattern that selects nothing of a theory."""
    pattern = wish.pattern.lstrip("!")
    message = f"no lemma of {source.path} matches '{pattern}'"
    matching = fnmatch.filter(source.hidden, pattern)
    if matching:
        # With different flags it is another theory: which one is meant is for the user to say.
        flags = " ".join(needed_words(source.hidden[matching[0]], source))
        return f"{message}; {matching[0]} needs {flags}"
    return message + did_you_mean(pattern, [*lemmas_by_name(source.theory), *source.hidden])


def no_lemma_anywhere(wish: LemmaWish, sources: Sequence[SourceTheory]) -> str:
    """What to say of a name or a pattern that selects nothing of any theory."""
    pattern = wish.pattern.lstrip("!")
    names: dict[str, None] = {}
    for source in sources:
        if len(sources) == 1 or fnmatch.filter(source.hidden, pattern):
            return no_lemma_for(wish, source)
        names.update(dict.fromkeys([*lemmas_by_name(source.theory), *source.hidden]))
    return f"--lemma '{wish.text}': no theory has such a lemma{did_you_mean(pattern, names)}"


def ask_resources(args: argparse.Namespace, file: str, resources: Json) -> Json:
    """The `resources` of a recipe's task, `resources` by default."""
    wanted = {**resources, **args.limits}
    words = [f"{key.removeprefix('max_')}={value}" for key, value in wanted.items()]
    question = f"limits of one job of {file} (timeout=SECONDS too)"

    def check(text: str) -> Json:
        return {**resources, **resources_argument(text)}

    return ask(args, question, ",".join(words), check)


# --- init --from: a recipe of results -------------------------------------------------------------

MEASURED_MINUTE_S = 60  # limits of time are rounded up to these


class Measured(NamedTuple):
    """What became of a lemma, and what its limits should be."""

    plan: Plan  # of the result, where there is one
    prefix: str  # of its id
    result: Result | None

    @property
    def verdict(self) -> Verdict | None:
        return self.result.verdict if self.result else None

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The smaller the better: answers first, then other verdicts, of these the fastest."""
        wall_s = math.inf
        if self.result:
            wall_s = self.result.share_of(self.result.usage.wall_s)
        return self.verdict not in ANSWERS, self.verdict is None, wall_s


def measured_recipe(args: argparse.Namespace) -> Json:
    """A recipe of results: limits are what was used and more, expected is what was found.

    Raises InputError.
    """
    batch = load_results(args.measured, warn)
    directory = args.measured
    if os.path.isfile(directory):
        directory = os.path.dirname(directory)
    warn_of_news(batch, directory, sources_now(batch))
    groups: dict[tuple[str, str, str, bool], list[Measured]] = {}
    for each in winners(batch):
        plan = each.plan
        groups.setdefault((plan.entry, plan.theory, plan.cwd, plan.prove), []).append(each)
    if not groups:
        raise InputError("holds no results of lemmas that are there now", printable(directory))
    entries = [group[0].plan.entry for group in groups.values()]
    names = TaskIds()
    tasks: Json = {}
    for group in groups.values():
        name = group[0].plan.entry
        # A pattern of theories is as many entries.
        if entries.count(name) > 1:
            name = names.new(group[0].prefix)
        tasks[name] = measured_entry(batch, group, args.output)
    aliases = dict.fromkeys(each.plan.prover for group in groups.values() for each in group)
    config = measured_config(batch.header, args)
    checker = str(config.get("recheck_with", ""))
    if checker in batch.provers:
        aliases[checker] = None
    versions = {alias: measured_prover(batch, alias, args.output) for alias in aliases}
    return {"config": config, "tamarin_versions": versions, "tasks": tasks}


def winners(batch: Batch) -> list[Measured]:
    """Each lemma with each prover and flags, as it was answered best; what isn't is said."""
    best: dict[tuple[str, str, str, str, tuple[str, ...]], Measured] = {}
    gone: list[str] = []
    for task in batch.tasks.values():
        plan = task.record.plan if task.record else task.plan
        options = batch.provers[plan.prover].all_options(plan.options)
        path = os.path.join(plan.cwd, plan.theory)
        is_refused = bool(plan.unreadable) or bool(task.result and task.result.refused)
        if is_refused or plan.lemma not in theory_now(path, options, plan.flags).lemmas:
            gone.append(task.id)
            continue
        prefix = task.id.removesuffix(f"--{plan.lemma}--{plan.prover}").partition("--")[0]
        measured = Measured(plan, prefix, task.result)
        key = (plan.entry, plan.theory, plan.lemma, plan.prover, plan.flags)
        if key not in best or measured.rank < best[key].rank:
            best[key] = measured
    if gone:
        say(f"left out, as no such lemma is there now, or no prover reads it: {listed(gone, 10)}")
    open_ids = [each.plan.id for each in best.values() if each.verdict is None]
    if open_ids:
        say(f"without a verdict, so that they keep their limits: {listed(open_ids, 10)}")
    return list(best.values())


def measured_entry(batch: Batch, group: Sequence[Measured], recipe_file: str) -> Json:
    """An entry of the recipe, for the lemmas of one theory."""
    plan = group[0].plan
    entry: Json = {
        "theory_file": recipe_path(os.path.join(plan.cwd, plan.theory), recipe_file),
        "tamarin_versions": list(dict.fromkeys(each.plan.prover for each in group)),
        "output_file_prefix": group[0].prefix,
    }
    if plan.options:
        entry["tamarin_options"] = list(plan.options)
    if plan.flags:
        entry["preprocess_flags"] = list(plan.flags)
    if plan.cwd != batch.header.cwd:
        entry["cwd"] = path_from(plan.cwd, batch.header.cwd)
    if not plan.prove:
        entry["prove"] = False
    entry["lemmas"] = [measured_item(each, entry) for each in group]
    return entry


def measured_item(measured: Measured, entry: Json) -> Json:
    """A lemma of the entry, which says what is not as with the entry's first one."""
    plan = measured.plan
    item: Json = {"name": plan.lemma}
    if len(entry["tamarin_versions"]) > 1:
        item["tamarin_versions"] = [plan.prover]
    if list(plan.options) != entry.get("tamarin_options", []):
        item["tamarin_options"] = list(plan.options)
    if list(plan.flags) != entry.get("preprocess_flags", []):
        item["preprocess_flags"] = list(plan.flags)
    item["resources"] = measured_resources(plan.limits, measured.result)
    if measured.verdict:
        item["expect"] = measured.verdict
    return item


def measured_resources(limits: Limits, result: Result | None) -> Json:
    """Twice the time and 1.5 times the memory, in whole minutes and GB; `limits` if unknown."""
    memory_gb: float = math.ceil(limits.memory_mb / 1024 * 1000) / 1000
    timeout_s = limits.timeout_s
    if result and result.verdict and result.usage.wall_s:
        minutes = math.ceil(2 * result.usage.wall_s / MEASURED_MINUTE_S)
        timeout_s = minutes * MEASURED_MINUTE_S
        memory_gb = max(1, math.ceil(1.5 * result.usage.peak_mb / 1024))
    resources: Json = {}
    wanted = {"max_cores": limits.cores, "max_memory": memory_gb, "timeout": timeout_s}
    for key, number in wanted.items():
        # 0: batch-tamarin did not say it.
        if number:
            resources[key] = int(number) if float(number).is_integer() else number
    return resources


def measured_config(header: Header, args: argparse.Namespace) -> Json:
    """The recipe's `config`: what the command line says, then that of the results."""
    limits = header.limits
    config: Json = {"global_max_cores": "max", "global_max_memory": "max"}
    # batch-tamarin keeps no recipe, only what came of it; 0 where that was "max".
    if not header.recipe and limits.cores:
        config["global_max_cores"] = limits.cores
    if not header.recipe and limits.memory_mb >= 1024:
        config["global_max_memory"] = limits.memory_mb // 1024
    said = header.recipe.get("config")
    if isinstance(said, dict):  # a journal can come from anywhere
        config.update(said)
    asked = {"global_max_cores": args.cores, "global_max_memory": args.memory}
    asked["default_timeout"] = args.timeout
    config.update({key: value for key, value in asked.items() if value})
    config["output_directory"] = args.results
    return config


def measured_prover(batch: Batch, alias: str, recipe_file: str) -> Json:
    """A prover of results, as an entry of a recipe's `tamarin_versions`."""
    prover = batch.provers[alias]
    program, *rest = prover.command
    name = os.path.basename(program)
    # A command on PATH goes by its name, on other machines too.
    if program == find_program(name):
        program = name
    elif os.sep in program:
        program = recipe_path(os.path.join(batch.header.cwd, program), recipe_file)
    entry: Json = {"command": [program, *rest]} if rest else {"path": program}
    if prover.options:
        entry["options"] = list(prover.options)
    if prover.env:
        entry["env"] = prover.env
    return entry


# --- status ---------------------------------------------------------------------------------------

JSON_LOOK_S = 1.0  # between two lines of `status --follow --json`
PIPE_COLUMNS = 120  # how wide the block is where no terminal says it


class BatchState(NamedTuple):
    """What becomes of a batch."""

    word: str  # "running", "finished", "partial", "stopped", "died", "unknown" (on another host)
    sentence: str

    @property
    def is_running(self) -> bool:
        return self.word == "running"


def command_status(args: argparse.Namespace) -> int:
    """Tell what a batch does now, from another terminal.

    What runs, what is done, what is left and for how long; of a batch that has ended, its results.
    """
    directory = own_results(args.results)
    path = os.path.join(directory, JOURNAL)
    with open_file(path) as file:
        batch = Batch()
        progress = Progress(batch, batch.tasks.values(), directory, {}, args)
        journal = FollowedJournal(file, path, progress)
        if args.json:
            print_status_json(journal, args.follow)
            return 0
        state = follow_batch(journal) if args.follow else journal.look()
    heading = f"batch {batch.id} in {args.results}: {state.sentence}"
    print_out(printable(heading) + "\n")
    now = sources_now(batch)
    note_rechecks(batch, directory, warn)
    warn_of_news(batch, directory, now)
    print_coloured(status_text(progress, state, args.results, now.older))
    return 0


def warn_of_news(batch: Batch, directory: str, now: SourcesNow) -> None:
    """Say what makes results old: newer ones, or theories that have moved on since."""
    newer = newer_results(directory, batch.header)
    if newer:
        warn(f"newer results of this recipe are in {printable(path_from(newer, os.getcwd()))}")
    if now.gone:
        warn(f"not there any more, so that nothing can be compared with it: {listed(now.gone)}")
    if now.older:
        results = plural(len(now.older), "result")
        warn(f"{results} on an older text than lies there now: run the recipe to prove them again")


class FollowedJournal:
    """A journal that another process may be writing; brings a batch up to what it says."""

    def __init__(self, file: BinaryIO, path: str, progress: Progress) -> None:
        self.progress = progress
        self.batch = progress.batch
        self.observer: Callable[[Event], None] = progress.note  # what is past is not told
        self._file = file
        self._path = path

    def look(self) -> BatchState:
        """Read what is new; the state of the batch after that. Raises InputError."""
        state = self._read_on()
        if state.word in ("died", "unknown"):
            # Or it ended as it should, after we had read and before we asked.
            state = self._read_on()
        return state

    def _read_on(self) -> BatchState:
        """Read to the end once; the state after that."""
        for event in journal_events(self._file, self._path, warn, self.batch.apply):
            self.observer(event)
        if not self.batch.has_begun:
            raise InputError("this journal tells of no batch", self._path)
        return batch_state(self.batch, self._path)


def follow_batch(journal: FollowedJournal) -> BatchState:
    """Show a batch until it ends, like its own terminal does; the state in which it ended."""
    progress = journal.progress
    state = journal.look()
    if not progress.silent:
        done = progress.tally.done
        tasks = plural(progress.tally.total, "task")
        say(f"{state.sentence}, {done:,} of {tasks} done")
    journal.observer = progress
    with progress.screen or nullcontext():
        while state.is_running:
            if progress.screen:
                progress.screen.draw()
            # By looking again and again: a journal may grow on another host, which tells nobody.
            time.sleep(TICK_S)
            state = journal.look()
    return state


def print_status_json(journal: FollowedJournal, follow: bool) -> None:
    """Print the status as JSON; `follow`: one line for each look, until the batch ends."""
    indent = None if follow else 2
    while True:
        state = journal.look()
        status = status_json(journal.progress, state)
        is_read = print_out(json.dumps(status, indent=indent) + "\n")
        if not (follow and is_read and state.is_running):
            return
        time.sleep(JSON_LOOK_S)


def status_text(
    progress: Progress, state: BatchState, directory: str, older: Collection[str]
) -> str:
    """The block of a batch that runs, the final table of any other; `older`: as in `rows_of`."""
    if not state.is_running:
        tasks = list(progress.batch.tasks.values())
        return final_table(progress.batch, directory, tasks, older)
    columns = PIPE_COLUMNS
    if sys.stdout.isatty():
        columns, _ = terminal_size()
    lines = progress.block(columns, sys.maxsize)
    return "".join(printable(line) + "\n" for line in lines)


def status_json(progress: Progress, state: BatchState) -> Json:
    """What `status --json` says."""
    tally = progress.tally
    header = progress.batch.header
    jobs: list[RunningJob] = []
    if state.is_running:
        jobs = progress.running.look()
    forecast = progress.forecast(jobs)
    return {
        "batch": header.id,
        "state": state.word,
        "began": header.at,
        "tasks": tally.total,
        "done": tally.done,
        "counts": tally.counts(),
        "limits": encode(header.limits),
        "running": [job.as_json() for job in jobs],
        "eta_s": round(forecast.left_s) if jobs else None,
        "eta_is_a_bound": forecast.is_bound and bool(jobs),
    }


def batch_state(batch: Batch, path: str) -> BatchState:
    """What becomes of the batch whose journal lies at `path`."""
    header = batch.header
    if batch.ended and batch.ended.signal:
        return BatchState("stopped", f"stopped by {signal_name(batch.ended.signal)}")
    if batch.ended:
        open_tasks = len(batch.tasks) - batch.count(*FINAL)
        if open_tasks:  # -t has chosen others
            left = plural(open_tasks, "task")
            return BatchState("partial", f"ended, {left} not run")
        return BatchState("finished", "finished")
    driven = is_driven(header, path)
    place = foreign_place(header)
    if driven is None:
        place = place or f"on {header.host}"
        return BatchState(
            "unknown", f"began {place}: from here nobody can see whether it still runs"
        )
    if driven and place:
        return BatchState("running", f"runs {place}")
    if driven:
        return BatchState("running", f"running (process {header.pid})")
    return BatchState(
        "died",
        f"died: its process {header.pid} is gone, and with it what is shown as running",
    )


# --- audit ----------------------------------------------------------------------------------------


def command_audit(args: argparse.Namespace) -> int:
    """Tell what results really establish.

    What verdicts rest on, what contradicts them, and what is not as expected.
    """
    refuse_to_print([args.format])
    if args.advisories:
        return _print_advisories(args)
    if not args.paths:
        raise InputError("what is to be audited? Give results directories, theories, logs, folders")
    if args.tolerance is not None and not args.against:
        raise InputError("--tolerance says how far results may be from those of --against")
    accepted = read_accepted(args.expect) if args.expect else []
    evidence = read_evidence(args.paths, warn)
    batches = evidence.batches
    tasks = list(located_tasks(batches))
    problems = KnownProblems(batches, evidence.rechecks, evidence.texts, accepted)
    rows = list(audit_rows(batches, problems))
    findings = [*audit(batches, rows), *evidence.findings]
    findings += findings_of_known_problems(batches, problems)
    if args.expect:
        findings += check_expectations(tasks, args.expect)
    if args.against:
        baseline = read_evidence(args.against, warn).batches
        if not baseline:
            raise InputError("here are no results to compare with", printable(args.against[0]))
        earlier = located_tasks(baseline)
        tolerance = args.tolerance or math.inf
        findings += compare(tasks, references_of(earlier), "in the baseline", tolerance)
        findings = without_repeats(findings)
    kinds = list(ADVICE)
    findings.sort(key=lambda finding: (finding.rank, kinds.index(finding.kind)))
    code = audit_code(tasks, findings, args.strict)
    told = problems.not_judged
    text = audit_report(args.format, code == 0, rows, findings, told, args.details)
    _print_audit(text, args.format)
    return code


def _print_audit(text: str, form: str) -> None:
    if form == "table":
        text = coloured(text, sys.stdout)
    use_utf8_on_stdout()
    print_out(text)


def _print_advisories(args: argparse.Namespace) -> int:
    """List what an audit holds against verdicts."""
    if args.format == "junit":
        raise InputError("a list of known problems is no test: use another --format")
    _print_audit(advisories_report(args.format, args.details), args.format)
    return 0


def audit_code(tasks: Sequence[Located], findings: Iterable[Finding], strict: bool) -> int:
    """The exit code of an audit: 1 for a finding, 3 where there is nothing that was proven."""
    if any(finding.counts(strict) for finding in findings):
        return 1
    if not tasks:  # nothing found in nothing is no success
        return 3
    # What rests on a false lemma is a finding already: no closure is needed.
    if any(each.task.misses_expectation for each in tasks):
        return 1
    return 0 if all(each.task.is_settled for each in tasks) else 3


def use_utf8_on_stdout() -> None:
    """Reports are UTF-8, whatever the user's locale is."""
    cast(Any, sys.stdout).reconfigure(encoding="utf-8")


# --- report ---------------------------------------------------------------------------------------


def command_report(args: argparse.Namespace) -> int:
    """Write what came out, for people or programs.

    Also of a batch that has not finished, and of what batch-tamarin left.
    """
    batches: dict[str, Batch] = {}
    for path in args.results:
        if path in REPORTS and not os.path.lexists(path):
            raise InputError(
                f"there is no such results directory (did you mean '-f {path}'?)", path
            )
        directory = results_directory(path, *RECORDS)
        batches[directory] = load_results(directory, warn)
        note_rechecks(batches[directory], directory, warn)
        warn_of_news(batches[directory], directory, sources_now(batches[directory]))
    files = report_files(args)
    if args.grid:
        refuse_grid(args.grid, files, list(rows_of_batches(batches)))
    asked = Asked(args.names, args.fragment, args.grid)
    try:
        if args.rebuild:
            for directory, batch in batches.items():
                rebuild(batch, directory)
        for form, path in files.items():
            write_report(batches, form, path, asked)
    except OSError as error:
        raise InputError(
            f"the report can't be written: {error.strerror}{way_out(error)}", error.filename or ""
        ) from None
    return 0


def report_files(args: argparse.Namespace) -> dict[str, str]:
    """Where to write which formats; "" is stdout. Raises InputError.

    None where derived files are to be made again and no more is asked for.
    """
    stem, ending = os.path.splitext(args.output)
    forms = {report_ending(form): form for form in REPORTS}
    if args.output in ("", "-", "/dev/stdout"):
        formats = args.format or ([] if args.rebuild else [form_to_print()])
        refuse_to_print(formats)
        refuse_no_pages(formats, "--fragment" if args.fragment else "")
        return dict.fromkeys(formats, "")
    if not os.path.basename(args.output) or os.path.isdir(args.output):
        raise InputError("is a directory: name a file in it", args.output)
    if os.path.exists(args.output) and not os.path.isfile(args.output):
        raise InputError("is no regular file: `> FILE` writes there what is printed", args.output)
    if ending and ending not in forms:
        endings = ", ".join(forms)
        raise InputError(f"'{ending}' is no format of a report: use {endings}", args.output)
    formats = args.format or [forms.get(ending, "md")]
    if "table" in formats:
        raise InputError("a table is for the terminal: leave out -o, or give another format")
    refuse_no_pages(formats, "--fragment" if args.fragment else "")
    files: dict[str, str] = {}
    for form in formats:
        path = stem + report_ending(form)
        if os.path.lexists(path) and not args.force:
            refuse_to_replace(path, form)
        files[form] = path
    return files


def form_to_print() -> str:
    """What a report is printed as where no format is asked for."""
    return "table" if sys.stdout.isatty() else "md"


def refuse_to_print(formats: Sequence[str]) -> None:
    """Raise InputError for what stdout can't take."""
    if len(formats) > 1:
        raise InputError(
            "several formats need -o FILE: each is written to FILE with its own ending"
        )
    if "html" in formats and sys.stdout.isatty():
        raise InputError("html is for a browser, not for a terminal: add > page.html")


def refuse_no_pages(formats: Iterable[str], option: str) -> None:
    """Raise InputError for a format that is no page, where an option for pages is given."""
    for form in formats:
        if option and form not in WRITERS:
            pages = ", ".join(form for form in WRITERS if form in REPORTS)
            raise InputError(f"{option} is for pages ({pages}): {form} is a table already")


def refuse_grid(grid: Grid, formats: Iterable[str], rows: Sequence[Row]) -> None:
    """Raise InputError for a grid that no report can have."""
    refuse_no_pages(formats, "--grid")
    known = grid_names(rows)
    for name in (*grid.rows, *grid.columns):
        if name not in known:
            hint = did_you_mean(name, known)
            allowed = ", ".join(known)
            raise InputError(f"--grid: no such dimension '{name}'{hint}; allowed: {allowed}")


def refuse_to_replace(path: str, form: str) -> None:
    """Raise InputError for a file that is no report of ours, or can't be read."""
    try:
        is_ours = os.path.isfile(path) and is_report(path, form)
    except OSError:
        is_ours = False
    if not is_ours:
        raise InputError(
            f"is there, and no {form} report of this program: give another name, or --force", path
        )


def report_ending(form: str) -> str:
    """The ending of a file in this format, with its dot."""
    return "." + ENDINGS.get(form, form)


def write_report(batches: Batches, form: str, path: str, asked: Asked) -> None:
    """Write one report to a file, and say so, or to stdout if `path` is "". Raises OSError."""
    folder = os.path.dirname(path) or "."
    pieces = PRINTED[form](batches, folder, asked)
    if form in REPORTS:
        pieces = marked(form, pieces)
    if path:
        os.makedirs(folder, exist_ok=True)
        write_file(path, pieces)
        say(f"wrote {path}")
    else:
        use_utf8_on_stdout()
        print_out(pieces)


def rebuild(batch: Batch, directory: str) -> None:
    """Make every derived file of a results directory of ours again. Raises InputError, OSError."""
    if not os.path.exists(os.path.join(directory, JOURNAL)):
        raise InputError(f"there is no {JOURNAL}: what others wrote is left as it is", directory)
    for task in batch.tasks.values():
        write_result_file(directory, task)
    write_execution_report(batch, directory)
    write_summary(batch, directory)
    say(f"made again in {directory}: success/, failed/, {UPSTREAM_REPORT}, {PAGE}")


# --- lemmas ---------------------------------------------------------------------------------------


def command_lemmas(args: argparse.Namespace) -> int:
    """List what Tamarin would list in a theory, and what each lemma takes for granted."""
    flags = [flag.lstrip("=") for flag in args.define]
    if os.path.isdir(args.theory):
        first = theories_below(args.theory)[:1]
        such_as = f", such as {quoted(first)}" if first else ""
        raise InputError(f"is a folder: name a theory (.spthy) in it{such_as}", args.theory)
    theory = load_theory(args.theory, flags, args.diff, args.auto_sources)
    if args.json:
        lemmas = [lemma_json(lemma) for lemma in theory.lemmas]
        print_out(json.dumps({"theory": args.theory, "lemmas": lemmas}, indent=2) + "\n")
    else:
        columns = terminal_size()[0] if sys.stdout.isatty() else PIPE_COLUMNS
        print_out(lemma_table(theory.lemmas, columns) + "\n")
    say_what_flags_do(theory, flags)
    return 0


def say_what_flags_do(theory: Theory, flags: Sequence[str]) -> None:
    """Say which lemmas need more flags, and which of these flags do nothing."""
    try:
        source = read_source(theory.path, flags)
    except InputError:
        return  # only with the options that were given it can be read
    for flag in flags:
        if flag not in source.known_flags:
            warn(idle_flag(flag, "#ifdef", source.known_flags))
    needs = hidden_words(source)
    # Lemmas that only --diff shows stand in the table then.
    if needs and theory.diff == source.theory.diff:
        say(f"note: {needs}")


def lemma_table(lemmas: Sequence[Lemma], columns: int) -> str:
    """The lemmas as a table, their attributes and what they assume cut to fit into the columns."""
    rows: list[tuple[str, ...]] = [("lemma", "trait", "line", "attributes", "assumes")]
    rows += [lemma_row(lemma, columns // 4, columns) for lemma in lemmas]
    # What the columns before the last one, and the gaps between them, leave.
    room = columns
    for cells in list(zip(*rows))[:-1]:
        room -= max(map(display_width, cells)) + 2
    rows[1:] = [lemma_row(lemma, columns // 4, max(room, columns // 6)) for lemma in lemmas]
    return text_table(rows)


def lemma_row(lemma: Lemma, attributes_room: int, assumes_room: int) -> tuple[str, ...]:
    """A lemma as a row of the table; its lists have so many columns."""
    name = f"{lemma.side} {lemma.name}".strip()
    if lemma.optional:
        name += " (if needed)"
    line = str(lemma.line or "")
    attributes = names_that_fit(lemma.attributes, attributes_room)
    assumes = names_that_fit(lemma.assumes, assumes_room)
    return name, lemma.trait, line, attributes, assumes


def names_that_fit(names: Sequence[str], columns: int) -> str:
    """As many names as fit, and how many more there are: the first one, or a part of it, always."""
    shown = len(names)
    while shown > 1 and display_width(listed(names, shown)) > columns:
        shown -= 1
    text = listed(names, shown)
    if display_width(text) <= columns:
        return text
    return fit(text, columns, tail=len(text) - len(names[0]))


def lemma_json(lemma: Lemma) -> Json:
    """A lemma as `lemmas --json` tells it."""
    return {
        "name": lemma.name,
        "trait": lemma.trait,
        "side": lemma.side,
        "attributes": lemma.attributes,
        "assumes": lemma.assumes,
        "line": lemma.line,
    }


# --- cache ----------------------------------------------------------------------------------------


def command_cache(args: argparse.Namespace) -> int:
    """Show what the cache holds, or clear it."""
    cache = Cache(args.cache_dir, args.cache_size)
    if args.action == "clear":
        clear_cache(cache, args.errors_only)
    else:
        show_cache(cache)
    return 0


def clear_cache(cache: Cache, errors_only: bool) -> None:
    """Remove all entries, or only those without a verdict."""
    removed = 0
    # A list: folders change while entries are removed.
    for _, _, path in list(cache.entries()):
        if errors_only:
            found = cache.read(path)
            if found is None or found.is_load or found.task.verdict:
                continue
        remove_entry(path)
        removed += 1
    told = f"entries removed from {cache.directory}: {removed:,}"
    print_out(printable(told) + "\n")


def show_cache(cache: Cache) -> None:
    """Print where the cache is, its size, and how many entries it has of each outcome."""
    used_mb = 0.0
    tasks: list[Task] = []
    for _, size_mb, path in cache.entries():
        used_mb += size_mb
        found = cache.read(path)
        if found and not found.is_load:
            tasks.append(found.task)
    most_gb = cache.size_mb / 1024
    told = f"{cache.directory}: {used_mb:,.1f} MB of at most {most_gb:g} GB"
    print_out(printable(told) + "\n")
    rows = [("result", "entries")]
    for outcome, count in count_outcomes(tasks).items():
        rows.append((outcome, f"{count:,}"))
    if tasks:
        print_out(text_table(rows, right=(1,)) + "\n")


# --- run, resume, recheck -------------------------------------------------------------------------


def command_run(args: argparse.Namespace) -> int:
    """Prove what a recipe names; go on if its results directory holds an unfinished batch of it."""
    if any(os.path.exists(os.path.join(args.recipe, name)) for name in RECORDS):
        own_results(args.recipe)  # which tells what batch-tamarin's are good for
        command = f"`batch_tamarin.py resume {quoted([printable(args.recipe)])}`"
        raise InputError(
            f"holds results: name a recipe, or {command} goes on with them", args.recipe
        )
    recipe = Recipe(args.recipe)
    granularity = Granularity(args.granularity) if args.granularity else None
    asked = replace(asked_options(args), scheduler=args.scheduler, granularity=granularity)
    options = replace(asked, retry=args.retry or 0)
    directory = args.output or recipe_results(recipe)
    note_upstream_results(directory, say)
    place = Place.FRESH if args.fresh else Place.NEWEST
    return run_recipe(recipe, options, directory, asked_run(args, place), args)


def command_resume(args: argparse.Namespace) -> int:
    """Go on where a batch stopped, from its results directory alone."""
    return resume_batch(args)


def command_retry(args: argparse.Namespace) -> int:
    """Go on with a batch, what met its limit once more with that limit doubled.

    Memory grows to that of all jobs together at most. Another `retry` doubles once more.
    """
    return resume_batch(args, doubled=True)


def resume_batch(args: argparse.Namespace, doubled: bool = False) -> int:
    """Go on with a batch; `doubled`: the limits that its results have met, once."""
    directory = os.path.abspath(own_results(args.results))
    journal_path = os.path.join(directory, JOURNAL)
    header = load_header(journal_path)
    if not header.recipe_file:
        path = os.path.join(args.results, JOURNAL)
        raise InputError("this journal tells of no batch: run the recipe again", path)
    if header.recheck_of:
        command = f"batch_tamarin.py recheck {quoted([header.recheck_of])}"
        raise InputError(f"this is a recheck: {command} goes on with it", args.results)
    asked = asked_run(args, Place.THERE)._replace(doubled=doubled)
    # The recipe's names mean what they meant when the batch began; the command line's don't.
    try:
        os.chdir(header.cwd)
    except OSError as error:
        raise InputError(
            f"the batch's working directory {header.cwd} can't be entered: {error.strerror}"
        ) from None
    # As it was then: the file may say something else today.
    text = json.dumps(header.recipe, indent=2)
    recipe = Recipe(header.recipe_file, text)
    options = header.options
    if args.retry is not None:
        options = replace(options, retry=args.retry)
    return run_recipe(recipe, options, directory, asked, args)


def command_recheck(args: argparse.Namespace) -> int:
    """Let another prover check stored proofs, without a search: it must reach the same verdicts."""

    directory = own_results(args.results)
    journal_path = os.path.join(directory, JOURNAL)
    batch = load_results(directory, warn)
    if batch.header.recheck_of:
        raise InputError("this is itself a recheck", journal_path)
    text = json.dumps(batch.header.recipe)
    recipe = Recipe(batch.header.recipe_file, text)
    asked = args.prover or recipe.config.get("recheck_with", "")
    prover = _checking_prover(recipe, asked)
    recipe.raise_problems()
    run_unless_stopped(ask_versions([prover]))
    is_program = asked not in recipe.data["tamarin_versions"]
    if is_program and prover.flavour not in set(Flavour):
        prover.alias = prover.flavour  # it tells more than its file's name
    refuse_strange_checker(prover, batch)
    recheck = Recheck(batch, directory, prover)
    planned = recheck.plan(warn)
    if not planned.tasks:
        raise InputError("no proof of these results can be checked", printable(args.results))
    answered = sum(task.is_answered for task in batch.tasks.values())
    if len(planned.tasks) < answered:
        say(f"{len(planned.tasks):,} of {plural(answered, 'proof')} can be checked")
    asked_checks = RunAsked(args.task, take_over=args.take_over)
    done = run_batch(planned, recheck.directory, asked_checks, args)
    tell_of_rechecks(batch, directory)
    if args.prove_rejected and not done.was_stopped:
        return prove_rejected(recheck, done, args)
    return done.exit_code


def tell_of_rechecks(batch: Batch, directory: str) -> None:
    """Let the page of results say which of them a recheck has confirmed."""
    note_rechecks(batch, directory, warn)
    with DerivedFiles(directory).making(PAGE):
        write_summary(batch, directory)


def prove_rejected(recheck: Recheck, checks: BatchRun, args: argparse.Namespace) -> int:
    """Let the prover prove the lemmas whose proofs it did not confirm; the exit code of all."""
    unconfirmed: list[Task] = []
    others: list[Task] = []
    for check in checks.batch.tasks.values():
        if check.outcome in UNCONFIRMED:
            task_id = check.id.removesuffix(RECHECK_MARK)
            unconfirmed.append(recheck.batch.tasks[task_id])
        elif check.result:
            others.append(check)
    proofs = recheck.plan_proofs(unconfirmed, warn)
    if not proofs.tasks:
        return checks.exit_code
    asked = RunAsked(take_over=args.take_over)
    done = run_batch(proofs, recheck.proofs_directory, asked, args)
    codes = {done.exit_code, exit_code(others, Closure(()))}
    # A wrong result is worse news than any number of missing ones.
    return 1 if 1 in codes else max(codes)


def _checking_prover(recipe: Recipe, asked: str) -> Prover:
    """The prover that is to check proofs: one of the recipe's, or a program. Raises InputError."""
    if not asked:
        raise InputError(
            "which prover is to check the proofs? "
            "Give --prover, or recheck_with in the recipe's config"
        )
    known = recipe.data["tamarin_versions"]
    if asked in known:
        return _recipe_prover(recipe, asked)
    program = find_program(asked)
    if not program:
        aliases = ", ".join(known)
        hint = did_you_mean(asked, known)
        raise InputError(
            f"--prover '{printable(asked)}' is none of the recipe's provers ({aliases}){hint}, and "
            + no_program(asked)
        )
    return Prover(safe_name(asked), (program,))


def plan_recipe(recipe: Recipe, options: PlanOptions) -> Batch:
    """The Batch that `run` would run here, its provers asked for their versions."""

    provers = recipe_provers(recipe)
    run_unless_stopped(ask_versions(provers.values()))
    machine = Limits(available_cores(), available_memory_mb(), math.inf)
    make_theories(recipe, machine, options)
    return plan_batch(recipe, provers, machine, options, warn)


def make_theories(recipe: Recipe, machine: Limits, options: PlanOptions) -> None:
    """Let the commands of a recipe make the theories that it is about."""
    # What is capped is told when the tasks are planned.
    room = global_limits(recipe.config, machine, options, lambda message: None)
    preparations = read_preparations(recipe, room, most_tasks(options))
    if preparations:
        with made_theories_folder() as folder:
            recipe.not_made.update(TheoryMaker(folder).make(preparations, room))


class RunAsked(NamedTuple):
    """What is asked of a run of a batch, beside what the plan says."""

    patterns: Sequence[str] = ()  # of the tasks that are to run; none: all
    place: Place = Place.NEWEST
    again: bool = False  # also what has a result, and without asking the cache
    doubled: bool = False  # the limits that results have met, once
    cache: Cache | None = None
    take_over: bool = False  # another run is known to be dead, where no lock can tell


def asked_run(args: argparse.Namespace, place: Place) -> RunAsked:
    """What the command line asks of a run; relative to where the user is, so call it there."""
    cache = None if args.no_cache else cache_to_use(args)
    return RunAsked(args.task, place, args.again, cache=cache, take_over=args.take_over)


def run_recipe(
    recipe: Recipe,
    options: PlanOptions,
    directory: str,
    asked: RunAsked,
    args: argparse.Namespace,
) -> int:
    """Plan, run and report; returns the exit code. `args`: how it is shown.

    With `recheck_with` in the recipe's config, the proofs are checked when the batch has ended, in
    a batch of their own. A check that does not confirm a verdict, or a stop, decides the exit code.
    """
    planned = plan_recipe(recipe, options)
    checker = recipe.config.get("recheck_with", "")
    if checker:
        refuse_strange_checker(planned.provers[checker], planned)
    done = run_batch(planned, directory, asked, args)
    if not checker or done.was_stopped:
        return done.exit_code
    # All answers that there are: from the cache, of earlier runs, and not chosen by -t as well.
    recheck = Recheck(done.batch, done.directory, planned.provers[checker])
    checks = recheck.plan(warn)
    if not checks.tasks:
        return done.exit_code
    asked_checks = RunAsked(take_over=asked.take_over)
    checked = run_batch(checks, recheck.directory, asked_checks, args)
    tell_of_rechecks(done.batch, done.directory)
    if checked.was_stopped or checked.exit_code == 1:
        return checked.exit_code
    return done.exit_code or checked.exit_code


def cache_to_use(args: argparse.Namespace) -> Cache | None:
    """The cache of a run, which goes on without one where there is no place for it."""
    try:
        return Cache(args.cache_dir, args.cache_size)
    except InputError as error:
        warn(f"no cache: {error}")
        return None


class BatchRun(NamedTuple):
    """How a run of a batch ended, and where its results are."""

    batch: Batch
    directory: str
    exit_code: int  # above 128 if a signal stopped it

    @property
    def was_stopped(self) -> bool:
        return self.exit_code > 128


def run_batch(
    planned: Batch, directory: str, asked: RunAsked, args: argparse.Namespace
) -> BatchRun:
    """Run what is left of a batch, and show what came out. `args`: how it is shown.

    Raises InputError when a pattern chooses nothing, StorageError when the results can't be kept.
    """
    chosen_ids = select_ids(planned, asked.patterns)
    journal = open_results(directory, planned, asked.place, say, asked.take_over)
    directory = journal.directory
    batch = journal.batch
    if not journal.is_new:
        times = math.inf if asked.doubled else planned.header.options.retry
        raise_limits(batch, planned, chosen_ids, times)
        changes = changes_of(batch, planned, chosen_ids, asked.again)
        batch.dependencies = planned.dependencies
        if not changes.differs:
            journal.close()
            return _nothing_to_do(batch, directory, chosen_ids, asked)
        bring_up_to_plan(journal, changes, say)
    prepare_directory(batch, directory)
    derived = DerivedFiles(directory)
    if not journal.is_new:
        show_as_it_is_now(batch, directory, derived)
    tasks = [batch.tasks[task_id] for task_id in chosen_ids]
    stopped_by = _run_tasks(tasks, journal, derived, asked, args)
    # Before what may fail or be stopped: the journal is whole, and the rest follows from it.
    journal.close()
    if asked.cache and asked.cache.prune():
        warn(asked.cache.problem)
    note_rechecks(batch, directory, warn)
    write_reports(batch, directory, derived)
    return conclude(batch, directory, tasks, stopped_by)


def _run_tasks(
    tasks: Sequence[Task],
    journal: Journal,
    derived: DerivedFiles,
    asked: RunAsked,
    args: argparse.Namespace,
) -> int:
    """Run those of the chosen tasks that need it; the number of the signal that ended it, or 0."""
    import asyncio

    batch = journal.batch
    directory = journal.directory
    waiting = [task for task in tasks if batch.needs_run(task)]
    left = plural(len(waiting), "task") if waiting else "nothing"
    say(f"batch {batch.id}: {left} to run in {directory}")
    with Supervisor(batch.id, journal.fd) as supervisor:
        progress = Progress(batch, tasks, directory, supervisor.live, args)
        # First the file: who is told that a task has ended finds it.
        journal.observers.append(functools.partial(write_event_files, batch, derived))
        journal.observers.append(progress)
        report = LiveReport(batch, derived)
        journal.observers.append(report.note)
        tell = say if args.debug else None
        runner = Runner(directory, journal, supervisor, asked.cache, tell)
        work = runner.run(waiting, asked.again)
        asyncio.run(progress.beside(report.beside(work)))
        end_in_order_when_stopped()  # the event loop took its own answers with it
    stopped_by = runner.signals.stopped_by
    journal.record(Ended(stopped_by, timestamp()))
    return stopped_by


def _nothing_to_do(batch: Batch, directory: str, ids: Iterable[str], asked: RunAsked) -> BatchRun:
    """Every result that is asked for is there, and holds: nothing is written."""
    hint = "no limit that was met can be doubled" if asked.doubled else "--again proves anew"
    tasks = [batch.tasks[task_id] for task_id in ids]
    results = plural(len(tasks), "result")
    holds = "holds" if len(tasks) == 1 else "hold"
    say(f"nothing to do: {results} in {directory} still {holds} ({hint})")
    note_rechecks(batch, directory, warn)
    return conclude(batch, directory, tasks, stopped_by=0)


def conclude(batch: Batch, directory: str, tasks: Sequence[Task], stopped_by: int) -> BatchRun:
    """Show what came out; `stopped_by`: the number of the signal that ended it, or 0."""
    show_results(batch, directory, tasks)
    if stopped_by:
        return BatchRun(batch, directory, 128 + stopped_by)
    closure = Closure(batch.tasks.values())
    return BatchRun(batch, directory, exit_code(tasks, closure))


def show_results(batch: Batch, directory: str, tasks: Sequence[Task]) -> None:
    """Print the final table; where that can't be, it is a warning: the results are on disk."""
    try:
        print_coloured(final_table(batch, directory, tasks))
    except OSError as error:
        discard_output()
        again = quoted(["status", directory])
        warn(f"{error.filename}: {error.strerror}: `batch_tamarin.py {again}` shows the results")


def prepare_directory(batch: Batch, directory: str) -> None:
    """Make the folders of a results directory, and keep what is to be proven. Raises StorageError.

    After the journal has begun: a directory that holds something, but no journal, counts as
    foreign.
    """
    with storage_errors(directory):
        for folder in EVIDENCE_FOLDERS:
            os.makedirs(os.path.join(directory, folder), exist_ok=True)
        keep_inputs(batch, directory)


def show_as_it_is_now(batch: Batch, directory: str, derived: DerivedFiles) -> None:
    """Let everything in a results directory be what the batch says now. Raises StorageError.

    Before the first proof begins: who looks while it runs, or when it was killed, must not see the
    verdict of an older text as today's.
    """
    with storage_errors(directory):
        AttemptFiles(directory).settle(batch)
    restore_result_files(directory, batch, derived)
    write_reports(batch, directory, derived)


def write_event_files(batch: Batch, derived: DerivedFiles, event: Event) -> None:
    """Write the result file of a task that has just ended."""
    if isinstance(event, Finished):
        task = batch.tasks[event.id]
        with derived.making(task.id):
            write_result_file(derived.directory, task)


if __name__ == "__main__":
    sys.exit(main())
