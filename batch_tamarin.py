#!/usr/bin/env python3
"""Run batches of Tamarin Prover jobs and tell the truth about what was proven.

One file, standard library only: copy it to a server and type

    python batch_tamarin.py run recipe.json

A recipe (JSON) names theories, lemmas and provers; every lemma is proven in a process of its own under core, memory and time
limits; every result goes to `batch.jsonl` as it comes. DESIGN in one picture:

    recipe --plan--> Batch --> scheduler --> executor --> supervisor --> reader
                       ^          jobs                                     |
                       +------------- Batch.apply(event) <------ event <---+
                                        |
                    observers: journal, result files, cache, progress

The Batch is the single source of truth. It is planned once; after that only `Batch.apply(event)` changes it, whether the event
comes from a live run or from a journal. Everything shown or written at the end is a function of the Batch.

Contents (each section uses only those above it)
    Words and errors
    Model
    Theory
    Prover
    Recipe
    Supervisor
    Journal
    Cache
    Scheduler and executors
    Audit
    Reports
    Terminal
    Commands

Words: a theory is a `.spthy` file, a lemma a named claim in it, a prover one Tamarin executable under an alias. A task is one
lemma x prover; a job is one command line that serves one or more tasks. Units: seconds; MB = 2^20 and GB = 2^30 bytes.
"""
from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` takes over: no traceback for a Ctrl-C while this file loads

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
from collections import deque
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    Generic,
    NamedTuple,
    NoReturn,
    TextIO,
    TypeVar,
    Union,
    cast,
    final,
)

if TYPE_CHECKING:  # imported where they are needed: every module costs start-up time
    import asyncio

__version__ = "0.1.0"

T = TypeVar("T")
Event = dict[str, Any]  # one line of the journal; DESIGN section 8

# ======================================================================================================================
# Words and errors
# ======================================================================================================================

MB = 2 ** 20


class InputError(Exception):
    """Something a user gave is wrong: says where (file, line, column, counted from 1), what, and what to do about it."""

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        self.message, self.file, self.line, self.column = message, file, line, column
        place = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{place}: {message}" if place else message)


class InputErrors(InputError):
    """All that is wrong with one input, reported together."""

    def __init__(self, problems: Sequence[InputError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))


class Word(str, enum.Enum):
    """A word with a fixed meaning: reads, prints and goes to JSON as its plain text (on every Python)."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


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


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.MEMORY_LIMIT, Status.SUPERSEDED})
ANSWERS = frozenset({Verdict.VERIFIED, Verdict.FALSIFIED})


def now() -> str:
    """The time as the journal writes it: UTC, ISO 8601, microseconds."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"


def printable(text: str) -> str:
    """`text` on one line, safe for a terminal: no control, direction-changing or undecodable character is left."""
    return "".join(char if char.isprintable() else " " if char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def display_width(text: str) -> int:
    """How many columns a terminal shows the text in."""
    if text.isascii():
        return len(text)
    import unicodedata
    return sum(0 if unicodedata.category(char) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def fit(text: str, width: int, ellipsis: str = "…", tail: int = 0) -> str:
    """The text in exactly so many columns: padded, or cut before its last `tail` characters."""
    if display_width(text) > width:
        head, end = text[:width], text[len(text) - tail:]
        while head and display_width(head + ellipsis + end) > width:
            head = head[:-1]
        text = head + ellipsis + end if width else ""
    return text + " " * (width - display_width(text))


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or ""."""
    import difflib
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    import hashlib
    return hashlib.sha256(data).hexdigest()


def write_file(path: str, text: str) -> None:
    """Write a derived file so that a reader sees the old or the new one, never half of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        remove_file(temporary)
        raise


def remove_file(path: str) -> None:
    """Remove a file of ours if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# ======================================================================================================================
# Model
# ======================================================================================================================


def slotted(cls: type[T]) -> type[T]:
    """`dataclass(slots=True)`, which Python 3.9 lacks: half the memory at 100,000 tasks."""
    names = tuple(item.name for item in dataclasses.fields(cls))  # type: ignore[arg-type]
    body = {key: value for key, value in vars(cls).items() if key not in (*names, "__dict__", "__weakref__")}
    made: Any = type(cls)
    return cast(type[T], made(cls.__name__, cls.__bases__, {**body, "__slots__": names}))


@slotted
@dataclass(frozen=True)
class Limits:
    """What one job may use: cores, memory in MB, wall time in seconds."""

    cores: int
    memory_mb: int
    timeout_s: float

    def __str__(self) -> str:
        return f"{plural(self.cores, 'core')}, {self.memory_mb / 1024:.3g} GB, {self.timeout_s:g} s"


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
    """One command line with its limits, environment and log files; scheduler, executors and supervisor know nothing else."""

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
class ExitStatus:
    """How a process ended: an exit code or a signal, never both."""

    code: int | None = None
    signal: str = ""  # "SIGKILL"


@slotted
@dataclass(frozen=True)
class SummaryLine:
    """One line of the prover's summary: `side` is "", "LHS" or "RHS"; `verdict` None when the text is unknown to us."""

    name: str
    side: str
    trait: str
    verdict: str | None
    steps: int | None


@slotted
@dataclass
class Result:
    """How one task ended: the `finish` event. Times in seconds, memory in MB over the whole process tree."""

    status: Status
    verdict: Verdict | None = None
    steps: int | None = None
    trait: str = ""
    lemmas: tuple[SummaryLine, ...] = ()  # every summary line that belongs to the task
    exit: dict[str, Any] | None = None  # {"code": n} or {"signal": "SIGKILL"}
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    avg_mb: float = 0.0
    prover_s: float | None = None  # the prover's own "processing time"
    warnings: tuple[str, ...] = ()
    cached: bool = False
    reason: str = ""  # for people: why there is no verdict
    stderr_tail: str = ""
    at: str = ""  # when it was journalled


@slotted
@dataclass
class Task:
    """One lemma x prover, completely resolved; the unit of results.

    `theory` is what goes on the command line: relative to `cwd` where it lies below. Only `Batch.apply` changes the last three.
    """

    id: str
    name: str  # the recipe task it belongs to
    theory: str
    lemma: str
    trait: str
    sides: tuple[str, ...]  # ("LHS", "RHS") or one of them in diff mode
    prover: str  # alias
    options: tuple[str, ...]
    flags: tuple[str, ...]
    limits: Limits
    cwd: str
    prove: bool  # False: check the proof stored in the file instead of searching
    optional: bool  # the prover lists it only when it is needed (AUTO_typing)
    assumes: tuple[str, ...]  # lemmas that a proof of this one takes for granted
    expect: str | None
    key: str  # digest of everything that can change the result
    status: Status = Status.PENDING
    attempts: int = 0
    result: Result | None = None

    @property
    def verdict(self) -> Verdict | None:
        return self.result.verdict if self.result else None


@dataclass
class Batch:
    """Everything about one batch. `apply` is the one way to change it: live runs, resuming and reports can't disagree."""

    id: str = ""
    header: Event = field(default_factory=dict)  # the `batch` event: recipe, directories, global limits, host, version
    provers: dict[str, Prover] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)  # in plan order
    ended: Event | None = None  # the `end` event, unless something started after it

    def apply(self, event: Event) -> None:
        """Change the batch by one event; events and fields of newer versions are ignored.

        Raises ValueError when the event can't follow what came before, KeyError or TypeError when a field is missing or wrong.
        """
        handler = getattr(self, "_apply_" + str(event["event"]), None)
        if handler:
            handler(event)

    def _apply_batch(self, event: Event) -> None:
        """A batch begins, or goes on with a plan in which some tasks are no longer there."""
        self.id, self.header, self.ended = event["id"], event, None
        self.provers = {alias: from_json(Prover, value) for alias, value in event["provers"].items()}
        for task_id in event.get("vanished", ()):
            self.tasks.pop(task_id, None)

    def _apply_task(self, event: Event) -> None:
        """A plan, or a changed plan: an older result under this id counts only if it still holds."""
        task, before = from_json(Task, event), self.tasks.get(event["id"])
        if before:
            task.attempts = before.attempts
            if still_holds(before, task):
                task.status, task.result = before.status, before.result
        self.tasks[task.id] = task

    def _apply_start(self, event: Event) -> None:
        tasks = [self.tasks[task_id] for task_id in event["ids"]]
        for task in tasks:
            if event["attempt"] <= task.attempts:
                raise ValueError(f"attempt {event['attempt']} of task '{task.id}' has begun before")
        for task in tasks:
            task.status, task.attempts, task.result = Status.RUNNING, event["attempt"], None
        self.ended = None

    def _apply_finish(self, event: Event) -> None:
        task = self.tasks[event["id"]]
        result = from_json(Result, event)
        if result.status in (Status.PENDING, Status.RUNNING):
            raise ValueError(f"task '{task.id}' can't finish as {result.status}")
        task.status, task.result = result.status, result

    def _apply_end(self, event: Event) -> None:
        self.ended = event

    def events(self) -> Iterator[Event]:
        """The plan as events: what a fresh journal begins with."""
        yield self.header
        for task in self.tasks.values():
            yield task_event(task)

    def count(self, *statuses: Status) -> int:
        return sum(task.status in statuses for task in self.tasks.values())


def plan_fields() -> tuple[str, ...]:
    """What of a task is its plan: all that events after it don't change."""
    return tuple(name for name in field_names(Task) if name not in ("status", "attempts", "result"))


def still_holds(old: Task, new: Task) -> bool:
    """Whether the result of `old` is the result of `new`: nothing that can change it changed, and no limit that it failed by grew."""
    if old.key != new.key or old.status not in FINAL:
        return False
    if old.status in (Status.TIMEOUT, Status.MEMORY_LIMIT):
        return (new.limits.cores <= old.limits.cores and new.limits.memory_mb <= old.limits.memory_mb
                and new.limits.timeout_s <= old.limits.timeout_s)
    return True


def task_event(task: Task) -> Event:
    """The `task` event: the whole resolved plan of one task."""
    return {"event": "task", "at": now(), **{name: to_json(getattr(task, name)) for name in plan_fields()}}


def finish_event(task: Task, job: str, attempt: int, result: Result) -> Event:
    """The `finish` event of one task."""
    return {"event": "finish", "id": task.id, "job": job, "attempt": attempt, **to_json(result), "at": now()}


def to_json(value: Any) -> Any:
    """Dataclasses as objects, field by field; tuples as lists."""
    names = field_names(type(value))
    if names:
        return {name: to_json(getattr(value, name)) for name in names}
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass from a JSON object: unknown fields are left out, lists become tuples, words and parts get their types."""
    return cls(**{name: _PARTS.get(name, _plain)(data[name]) for name in field_names(cls) if name in data})


def field_names(cls: type[Any]) -> Iterable[str]:
    """The names of a dataclass's fields (as `dataclasses.fields`, ten times as fast); of any other type none."""
    names: Iterable[str] = getattr(cls, "__dataclass_fields__", ())
    return names


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_PARTS: dict[str, Callable[[Any], Any]] = {
    "limits": lambda value: share(from_json(Limits, value)),
    "lemmas": lambda value: tuple(from_json(SummaryLine, line) for line in value),
    "status": Status,
    "verdict": lambda value: Verdict(value) if value else None,
}


def share(value: T) -> T:
    """One object for equal ones: 100,000 tasks have few distinct limits, options and paths."""
    return cast(T, _shared(value))


@functools.lru_cache(maxsize=4096)
def _shared(value: Any) -> Any:
    return value


# ======================================================================================================================
# Theory
# ======================================================================================================================

# The rules were read in the sources of tamarin-prover 1.11 (lib/theory/src/Theory/Text/Parser*, Prover.hs, ClosedTheory.hs,
# Accountability/Generation.hs, Main/TheoryLoader.hs) and compared with what the prover lists.

MAX_THEORY_BYTES = 64 * MB        # of one file; four times this for a theory with all that it includes
_MAX_INCLUDES = 10_000            # files that include each other twice would be read 2^n times
AUTO_SOURCES_LEMMA = "AUTO_typing"
EQUIVALENCE_LEMMA = "Observational_equivalence"


@dataclass(frozen=True)
class Lemma:
    """One line of Tamarin's summary: something `--prove=NAME` can ask for, on one side in diff mode."""

    __slots__ = ("assumes", "attributes", "file", "has_proof", "line", "name", "optional", "parent", "side", "trait")
    name: str
    trait: Trait
    side: str                    # "LHS" or "RHS" in diff mode, else ""
    attributes: tuple[str, ...]  # as written, white space normalised
    file: str                    # where it stands: the theory, or a file it includes
    line: int                    # from 1; 0 for what Tamarin adds by itself
    parent: str                  # the accountability lemma this is a part of, else ""
    has_proof: bool              # the file stores more of a proof than `by sorry`
    assumes: tuple[str, ...]     # names of the lemmas a proof of this one takes for granted, in theory order
    optional: bool               # --auto-sources adds it only where partial deconstructions are left

@dataclass
class Theory:
    """A theory as Tamarin would load it with given flags; `lemmas` stand in the order of Tamarin's summary."""

    path: str
    name: str
    diff: bool
    auto_sources: bool                      # by the option, or by the theory's configuration block
    lemmas: tuple[Lemma, ...]
    files: tuple[str, ...]                  # the theory itself, then all that it includes
    configuration: tuple[str, ...]          # arguments of the `configuration: "..."` block
    oracle_rankings: tuple[tuple[str | None, str], ...]  # of each `o`: folder (None: the prover's), name ("": the default)
    uses_diff_operator: bool
    has_process: bool
    has_accountability: bool
    has_export_lemmas: bool
    segments: tuple[tuple[str, str], ...]   # (lemma name or "", token text); empty unless loaded with keep_text

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the token text: comments and white space outside strings don't count. Needs the text."""
        return sha256(self.token_text().encode("utf-8", "backslashreplace"))

    @property
    def has_stored_proofs(self) -> bool:
        """Whether the file stores proofs: Tamarin checks them again in every process that loads it."""
        return any(lemma.has_proof for lemma in self.lemmas)

    @property
    def cannot_split(self) -> str:
        """Why a lemma can't be judged by its own text and what it assumes alone; "" when it can."""
        reasons = {"diff mode": self.diff, "a top-level process": self.has_process, "accountability": self.has_accountability,
                   "export lemmas": self.has_export_lemmas, "--auto-sources": self.auto_sources}
        return next((reason for reason, applies in reasons.items() if applies), "")

    def token_text(self, lemmas: Collection[str] | None = None) -> str:
        """The preprocessed text with its includes, without comments and idle white space; with these lemmas only, in place."""
        return "\n".join(text for name, text in self.segments if not name or lemmas is None or name in lemmas)

    def skeleton(self) -> str:
        """The token text of everything that is no lemma."""
        return self.token_text(())

    def lemma_text(self, lemma: Lemma) -> str:
        """The token text of a lemma; for a part of an accountability lemma, of the whole one."""
        return "\n".join(text for name, text in self.segments if name == (lemma.parent or lemma.name))


def load_theory(path: str, flags: Sequence[str] = (), diff: bool = False, auto_sources: bool = False,
                keep_text: bool = False) -> Theory:
    """Read a theory as `tamarin-prover PATH -D=FLAG... [--diff] [--auto-sources]` would.

    Raises InputError, with file and line, for whatever Tamarin would refuse and can be seen without parsing terms.
    Time and memory are linear in the text.
    """
    found = _Found(flags, diff, keep_text)
    scanner: _Scanner | None = _Scanner(path, found)
    while scanner:   # a loop, no recursion: includes may be nested thousands deep
        included = scanner.run()
        scanner = _Scanner(included, found, scanner) if included else scanner.parent
    auto_sources = auto_sources or any(len(word) > 3 and "--auto-sources".startswith(word) for word in found.configuration)
    return Theory(path, found.name, diff, auto_sources, tuple(_listed(found.claims, path, diff, auto_sources)),
                  tuple(dict.fromkeys(found.files)), found.configuration, tuple(dict.fromkeys(found.rankings)),
                  "diff" in found.words, "process" in found.words, any(tests for _, tests in found.claims),
                  not found.words.isdisjoint(("equivLemma", "diffEquivLemma")), tuple(found.segments()))


def used_oracles(theory: Theory, options: Sequence[str], cwd: str, argument: str = "") -> tuple[str, ...]:
    """Absolute paths of the oracles a prover started in `cwd` would call, whether they exist or not.

    `argument` is the theory as it stands on the command line (default: relative where it lies below `cwd`). A `--heuristic`
    among the options replaces all that the theory says, and its oracle is searched from `cwd`.
    """
    relative = os.path.relpath(theory.path, cwd)
    argument = argument or (os.path.abspath(theory.path) if relative.startswith("..") else relative)
    # Tamarin cuts at the first dot and keeps the last slash: dir/x.spthy has the default /x.oracle, which is never there.
    bare = argument[:1] + argument[1:].partition(".")[0] + ".oracle"
    default = bare if "/" not in argument and os.path.isfile(os.path.join(cwd, bare)) else "oracle"
    given = {name: value for key, _, value in (option.partition("=") for option in options)  # may be abbreviated, the last counts
             for name in ("--heuristic", "--oraclename") if len(key) > 4 and name.startswith(key)}
    rankings = theory.oracle_rankings
    if "--heuristic" in given:
        letters = re.sub(r"\{[^}]*\}", "", given["--heuristic"])   # {names} of tactics are no letters
        rankings = ((None, given.get("--oraclename", "")),) if set(letters) & {"o", "O"} else ()
    paths = [os.path.join(os.path.abspath(cwd if folder is None else folder),
                          name or (default if folder in (None, os.path.dirname(theory.path)) else "oracle"))
             for folder, name in rankings]
    return tuple(dict.fromkeys(map(os.path.normpath, paths)))


def _listed(claims: Sequence[_Claim], path: str, diff: bool, auto_sources: bool) -> Iterator[Lemma]:
    """What Tamarin's summary lists for these claims, in its order, with what each takes for granted."""
    shown = (_diff_order if diff else _trace_order)(claims, path, auto_sources)
    seen: set[tuple[str, bool, str]] = set()
    for lemma, assumes in zip(shown, _assumptions(shown, diff)):
        key = (lemma.side, lemma.trait == Trait.DIFF, lemma.name)
        if key in seen:
            raise InputError(f"a second lemma '{lemma.name}': Tamarin refuses this, rename one", lemma.file, lemma.line)
        seen.add(key)
        yield replace(lemma, assumes=assumes)


def _trace_order(claims: Sequence[_Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """File order; the parts of accountability lemmas behind all others, each kind of part for every case test."""
    shown = [lemma for lemma, tests in claims if not tests]
    for lemma, tests in claims:
        parts = [f"{test}_suff" for test in tests] + ["verif_empty"]
        parts += [f"{test}_{kind}" for kind in ("verif_nonempty", "min", "uniq", "inj", "single") for test in tests]
        shown += [replace(lemma, name=f"{lemma.name}_{part}", parent=lemma.name,
                          trait=Trait.EXISTS_TRACE if part.endswith(("_suff", "_single")) else Trait.ALL_TRACES)
                  for part in parts if tests]
    if auto_sources and all(lemma.name != AUTO_SOURCES_LEMMA for lemma in shown):
        shown.append(Lemma(AUTO_SOURCES_LEMMA, Trait.ALL_TRACES, "", ("sources",), path, 0, "", False, (), True))
    return shown


def _diff_order(claims: Sequence[_Claim], path: str, auto_sources: bool) -> list[Lemma]:
    """Every lemma on both sides, the right one first; where --auto-sources adds lemmas, all of one side before the other."""
    equivalences = [lemma for lemma, _ in claims if lemma.trait == Trait.DIFF]
    if all(lemma.name != EQUIVALENCE_LEMMA for lemma in equivalences):
        equivalences.append(Lemma(EQUIVALENCE_LEMMA, Trait.DIFF, "", (), path, 0, "", False, (), False))
    sided: list[Lemma] = []
    for lemma, _ in claims:
        only = [side for word, side in (("left", "LHS"), ("right", "RHS")) if word in lemma.attributes][:1]
        sided += [replace(lemma, side=side) for side in only or ("RHS", "LHS") if lemma.trait != Trait.DIFF]
    if auto_sources:
        taken = {(lemma.name, lemma.side) for lemma in sided}
        sided += [Lemma(f"{AUTO_SOURCES_LEMMA}_{side}", Trait.ALL_TRACES, side, ("sources",), path, 0, "", False, (), True)
                  for side in ("LHS", "RHS") if (f"{AUTO_SOURCES_LEMMA}_{side}", side) not in taken]
        sided.sort(key=lambda lemma: lemma.side)
    return sided + equivalences


def _assumptions(shown: Sequence[Lemma], diff: bool) -> Iterator[tuple[str, ...]]:
    """For each lemma the names it takes for granted (gatherReusableLemmas in Prover.hs and ClosedTheory.hs, typAsms)."""
    place = {lemma.name: index for index, lemma in reversed(list(enumerate(shown)))}   # of the first with this name
    usable = [lemma for lemma in shown if lemma.trait == Trait.ALL_TRACES]
    sources = [lemma.name for lemma in usable if not _SOURCES.isdisjoint(lemma.attributes)]
    for_diff = sources + [lemma.name for lemma in usable if "diff_reuse" in lemma.attributes]
    reuse: dict[str, list[tuple[str, bool]]] = {"": [], "LHS": [], "RHS": []}   # of each side: name, whether it is `sources`
    known: dict[tuple[str, int, bool, frozenset[str]], tuple[str, ...]] = {}    # neighbours share one tuple
    for lemma in shown:
        before, of_diff, is_sources = reuse[lemma.side], lemma.trait == Trait.DIFF, not _SOURCES.isdisjoint(lemma.attributes)
        hidden = frozenset(word[11:] for word in lemma.attributes if word.startswith("hide_lemma=") and not diff)
        key = (str(of_diff) + lemma.side, len(before), is_sources, hidden)
        if key not in known:
            names = set(for_diff if of_diff else () if is_sources else sources)
            if not of_diff and "ALL" not in hidden:
                names.update(name for name, of_kind in before if name not in hidden and (of_kind or not is_sources))
            known[key] = tuple(sorted(names, key=place.__getitem__))
        yield known[key]
        if "reuse" in lemma.attributes and lemma.trait == Trait.ALL_TRACES:
            before.append((lemma.name, is_sources))


_Claim = tuple[Lemma, tuple[str, ...]]   # a lemma as it is written, with the case tests it names (accountability)
_NAMED_ITEMS = ("axiom", "diffLemma", "export", "lemma", "let", "restriction", "rule", "test")
_OTHER_ITEMS = ("builtins", "diffEquivLemma", "equations", "equivLemma", "function", "functions", "heuristic", "macros",
                "options", "predicate", "predicates", "process", "tactic")
_NOT_IN_DIFF = ("diffEquivLemma", "equivLemma", "export", "let", "options", "predicate", "predicates", "process", "test")
# What must follow a word to begin an item, unless it is a comment: a name or `(modulo E)`; `:` or `[`; nothing of a term.
_BEHIND = {**dict.fromkeys(_NAMED_ITEMS, r"(?=\s*(?:[\w(]|//|/\*))"), **dict.fromkeys(_OTHER_ITEMS, r"(?=\s*(?:[:\[]|//|/\*))"),
           "end": r"(?![(:,.]|\s*(?:=(?!=)|/(?![/*])))"}
_ITEM = "|".join(rf"{word}(?!\w)(?<!\w{word}){behind}" for word, behind in _BEHIND.items())
# Every alternative starts with a plain character: `re` then passes over all other characters without trying them.
_EVERYWHERE = r"//|/\*|\"|'|\0|diff(?<!\wdiff)(?=\s*[(/])"
_FORMULA_EVENT = re.compile(_EVERYWHERE)
_EVENT = re.compile(rf"{_EVERYWHERE}|\{{\*|#ifdef|#define|#include|#else|#endif|{_ITEM}")
_BLANKS = re.compile(r"\s+")
# A blank is idle beside a bracket or comma, unless an operator stands there: `] ->` is not `]->`.
_IDLE_BLANK = re.compile(r'(?<=[,;()\[\]]) (?=[\w"~$,;()\[\]]|$)|(?<=[\w",;()\[\]]) (?=[,;()\[\]])|^ (?=[,;()\[\]])')
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_IDENTIFIER = re.compile(r"(?!(?:in|let|rule|diff)(?!\w))[^\W_]\w*")
_CONSTANT_REST = re.compile(r"[^'\n]+'")
_FORMAL_COMMENT_EDGE = re.compile(r"\\[\\*]?|\*\}?")      # inside `text{* *}` star and backslash must be escaped
_EXPORT_EDGE = re.compile(r'\\[\\"]|"')
_RANKING = re.compile(r'([oO]) *(?:"([^"\n\r]+)")? *|\{[^"\n\r{}]+\} *|([^\W\d_]+) *')
_STRING_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_NO_WORD = re.compile(r"\W")
_INCLUDED_NAME = re.compile(r'"\s*((?:[^\W_]|[./])+)[^\S\n]*"')
_BRANCH_END = re.compile(r"#\s*(else|endif)")
_ITEM_ENDS = frozenset("\"])}>',⊥⊤_")
# Behind these words a word is a name or a term, whatever it looks like.
_OPEN_WORDS = frozenset(("as", "case", "delete", "else", "event", "if", "in", "insert", "let", "lock", "lookup", "new", "not",
                         "rule", "then", "unlock"))
_ATTRIBUTES = ("diff_reuse", "left", "reuse", "right", "sources", "typing", "use_induction")
_SOURCES = frozenset(("sources", "typing"))   # `typing` is the older name
_PROOF_WORD = re.compile(r"(?:ATTACK|INVALIDATED|MIRRORED|SOLVED|UNFINISHABLE|UNFINISHABLEdiff|backward|by|contradiction|"
                         r"induction|rule(?=-equivalence)|simplify|solve|sorry|step)(?!\w)")
_NO_ENDIF = "this #ifdef has no #endif"
_NEEDS_DIFF = "needs observational equivalence: add --diff to the options"


class _Found:
    """What the scanner has found so far, in all files of a theory, and what one file leaves to the next."""

    def __init__(self, flags: Sequence[str], diff: bool, keep_text: bool) -> None:
        self.flags, self.diff, self.keep_text = set(flags), diff, keep_text
        self.name, self.bytes = "", 0
        self.claims: list[_Claim] = []
        self.files: list[str] = []
        self.reading: set[str] = set()      # real paths of the files we are in
        self.configuration: tuple[str, ...] = ()
        self.rankings: list[tuple[str | None, str]] = []
        self.words: set[str] = set()                        # that began an item, and `diff` for the operator
        self.tests: set[str] = set()
        self.pieces: list[tuple[bool, str]] = []            # (to be kept as it is, text)
        self.cuts: list[tuple[int, str]] = [(0, "")]        # from this piece on the text belongs to that lemma ("": to none)

    def cut(self) -> None:
        """A new item starts here."""
        self.cuts.append((len(self.pieces), ""))

    def segments(self) -> Iterator[tuple[str, str]]:
        """The token text of each item: white space outside strings is one blank, or none where it is idle."""
        for (start, name), (end, _) in zip(self.cuts, self.cuts[1:] + [(len(self.pieces), "")]):
            groups = itertools.groupby(self.pieces[start:end], key=lambda piece: piece[0])
            runs = ((verbatim, "".join(text for _, text in group)) for verbatim, group in groups)
            text = "".join(text if verbatim else _IDLE_BLANK.sub("", _BLANKS.sub(" ", text)) for verbatim, text in runs).strip()
            if text:
                yield name, text


class _EndOfFile(Exception):
    """The rest of this file does not count."""


class _Scanner:
    """Reads one file of a theory, in one pass from one place that can matter to the next, into a common _Found."""

    def __init__(self, path: str, found: _Found, parent: _Scanner | None = None) -> None:
        self.path, self.found, self.parent = path, found, parent
        self.pos = 0            # where to read on
        self.done = 0           # text before this place has been handed on
        self.last = 0           # the end of the last code or text handed on, without blanks; 0: an item may stand next
        self.depth = 0          # open brackets at `done`
        self.counted = (0, 1)   # the number of the line at a place
        self.conditions: list[tuple[int, bool]] = []    # open #ifdefs: place, whether we are behind their #else
        self.real = ""          # the path without symbolic links
        self.text = self._read()

    def _read(self) -> str:
        """The text of the file, if Tamarin would read it and it may be one of ours."""
        found, parent, path = self.found, self.parent, self.path
        place = (parent.path, parent.line(parent.pos)) if parent else (path, 0)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):   # a pipe or a device might never end
                raise OSError(0, "not a regular file")
            self.real = os.path.realpath(path)
            if self.real in found.reading or len(found.files) > _MAX_INCLUDES:
                raise OSError(0, "it includes itself" if self.real in found.reading else f"more than {_MAX_INCLUDES} includes")
            with open(path, "rb") as file:
                data = file.read(MAX_THEORY_BYTES + 1)
            found.bytes += len(data)
            found.files.append(path)
            found.reading.add(self.real)
            if len(data) > MAX_THEORY_BYTES or found.bytes > 4 * MAX_THEORY_BYTES:
                raise InputError(f"too large: at most {MAX_THEORY_BYTES // MB} MB a file, four times that with includes", path)
            if data.startswith(b"\xef\xbb\xbf"):
                raise InputError("a byte order mark, which Tamarin refuses: save the file as UTF-8 without BOM", path, 1, 1)
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError("not UTF-8, which Tamarin refuses: convert the file, e.g. with iconv -f latin1 -t utf-8", path,
                             data.count(b"\n", 0, error.start) + 1) from None
        except (OSError, ValueError) as error:
            raise InputError(f"can't read '{path}': {getattr(error, 'strerror', None) or error}", *place) from None

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
                    self._refuse(len(self.text), "the theory has no 'end'" + ", or a bracket is not closed" * (self.depth > 0))
                included = self._on_event(event.start(), event.end(), event.group())
        except _EndOfFile:
            if self.conditions:
                self._fail(self.conditions[-1][0], _NO_ENDIF + " before the end")
            self._hand_on(self.pos)
            self.found.reading.discard(self.real)
        self.found.cut()
        return included

    def _begin(self) -> None:
        """`theory NAME [configuration: "..."] begin`; an included file has none of this."""
        self._skip()
        if self.parent and not self._next("theory"):
            return
        if self.parent or not self._take("theory"):
            self._refuse(self.pos, "a theory starts with 'theory NAME'; is this a file for others to include?")
        self.found.name = self._identifier()
        if self._take("configuration") and self._take(":"):
            import shlex
            literal = _STRING_LITERAL.match(self.text, self.pos) or self._fail(self.pos, "'configuration:' needs a string")
            text = re.sub(r"\\(.)", r"\1", literal.group(1))
            self.found.configuration = tuple(text.split())
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
        raise _EndOfFile

    def _hand_on(self, upto: int) -> None:
        """Take the text up to here as code."""
        chunk = self.text[self.done:upto]
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
                        start, "this comment is never closed (comments nest: every /* needs its own */)")
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
        return _NO_WORD.split(self.text[max(0, self.last - 8):self.last])[-1]

    def _on_event(self, start: int, end: int, word: str) -> str:
        """Deal with what can stand in a theory; returns the path of a file to include, or ""."""
        self.pos = end
        if word[0] == "#":
            return self._on_directive(start, word)
        if word == '"':
            self._on_quote(start)
        elif word == "{*":
            self._on_formal_comment(start)
        elif not self._passed(start, word):
            self._hand_on(start)
            before = self.text[self.last - 1] if self.last else ","
            # An item stands outside of all brackets, behind a complete thing.
            if not self.depth and (before in _ITEM_ENDS or before.isalnum()) and self._last_word() not in _OPEN_WORDS:
                self._on_item(start, word)
        return ""

    def _passed(self, start: int, word: str) -> bool:
        """Pass a comment, a constant or a diff operator, which count inside of formulas too; False: it is none."""
        if word in ("//", "/*"):
            self.pos = start
            self._skip()
        elif word == "'":
            self._skip()    # Tamarin takes a comment behind the quote for a comment
            rest = _CONSTANT_REST.match(self.text, self.pos) or self._refuse(
                start, "a constant in single quotes may not be empty and must end on its line")
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

    def _on_quote(self, start: int) -> None:
        """A double quote: a formula where there can be one, else a string that is taken as it is."""
        self._hand_on(start)
        if self.text[self.last - 1:self.last] == ":" or self._last_word() in ("traces", "trace", "for"):
            self._pass_formula(start)
        else:
            end = self.text.find('"', start + 1) + 1 or self._fail(start, "this double quote is never closed")
            self._pass(start, end, verbatim=True)

    def _pass_formula(self, start: int) -> None:
        """Pass a formula from quote to quote; it is handed on as code, but for its constants."""
        self.pos, word = start + 1, ""
        while word != '"':
            event = _FORMULA_EVENT.search(self.text, self.pos) or self._fail(start, "this double quote is never closed")
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
                self._fail(edge.start(), r"in a formal comment write \* and \\ for a star and a backslash")
        self._pass(begin, end, verbatim=True)

    def _on_item(self, start: int, word: str) -> None:
        """Read an item as far as words in it could be taken for the next one."""
        found = self.found
        if word == "rule" and self._last_word() in ("left", "right"):   # a side of a diff rule
            if not found.diff:
                self._refuse(start, "a rule with sides " + _NEEDS_DIFF)
            return
        found.cut()
        if word == "end":
            self.pos = start if self.parent else self.pos
            raise _EndOfFile
        if found.diff and word in _NOT_IN_DIFF:
            self._refuse(start, f"'{word}' is not allowed with --diff")
        self._skip()
        name = self._identifier() if word in ("restriction", "axiom", "test", "rule", "export") else ""
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
            trait, self.last = Trait.DIFF, 0   # complete without a formula
        elif self._take("exists-trace"):
            trait = Trait.EXISTS_TRACE
        elif not self._take("all-traces") and not self._next('"'):
            tests = self._case_tests(name)
        if word == "lemma":
            if not self._next('"'):
                self._refuse(self.pos, f"lemma '{name}' needs a formula in double quotes")
            self._pass_formula(self.pos)
        self.found.cuts[-1] = (self.found.cuts[-1][0], name)
        lemma = Lemma(name, trait, "", attributes, self.path, self.line(start), "", self._proof_follows(), (), False)
        self.found.claims.append((lemma, tests))

    def _case_tests(self, name: str) -> tuple[str, ...]:
        """`t1, t2 accounts for`: Tamarin wants the tests before the lemma."""
        tests = [self._identifier()]
        while self._take(",") and not self._next("accounts for", "account for"):
            tests.append(self._identifier())
        if "" in tests or not self._take("accounts for", "account for"):
            self._refuse(self.pos, f"lemma '{name}' needs a formula in double quotes, or 'TESTS accounts for' one")
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
                if not value and word != "heuristic":   # output=[module, ...]
                    value = self.text[self.pos:self.text.find("]", self.pos) + 1]
                    self.pos += len(value)
                    self._skip()
                word += "=" + ("".join(value.split()) if word == "output" else value)
            elif word not in _ATTRIBUTES:
                self._refuse(place, f"no lemma attribute '{word or self.text[place:place + 1]}'; allowed are "
                                    f"{', '.join(_ATTRIBUTES)}, heuristic=, hide_lemma=, output=")
            found.append(word)
            if not self._take(",") and not self._next("]"):
                self._refuse(self.pos, "expected ',' or ']' behind a lemma attribute")
        return tuple(found)

    def _ranking(self) -> str:
        """Pass a heuristic (a row of letters, `o "oracle"` and `{tactic}` on one line); returns its text."""
        start = self.pos
        for matched in iter(lambda: _RANKING.match(self.text, self.pos), None):
            oracle, name, letters = matched.groups()
            if oracle or set(letters or "") & {"o", "O"}:   # behind another letter: from the prover's own directory
                self.found.rankings.append((os.path.dirname(self.path) if oracle else None, name or ""))
            if name:
                self._pass(matched.start(2) - 1, matched.end(2) + 1, verbatim=True)
            self.pos = matched.end()
        text = " ".join(self.text[start:self.pos].split())
        self._skip()
        return text

    def _proof_follows(self) -> bool:
        """Whether a stored proof is next that says more than `by sorry`."""
        self._skip()
        first = _PROOF_WORD.match(self.text, self.pos)
        if not first:
            return False
        if first.group() == "SOLVED":
            self._fail(self.pos, "SOLVED without a proof, which Tamarin refuses")
        self.pos = first.end()
        self._skip()
        return first.group() != "sorry" and not (first.group() == "by" and self._next("sorry"))

    def _on_directive(self, start: int, word: str) -> str:
        """Obey a directive of the preprocessor, which is no part of the text; returns the path of a file to include, or ""."""
        self._hand_on(start)
        if self.depth > 0:
            self._refuse(start, f"'{word}' may stand between items only; is a bracket before it not closed?")
        self.found.cut()
        mark, last, included = len(self.found.pieces), self.last, ""
        self._skip()
        if word == "#define":
            self.found.flags.add(self._identifier() or self._fail(start, "'#define' needs a name"))
        elif word == "#include":
            name = _INCLUDED_NAME.match(self.text, self.pos) or self._fail(
                self.pos, "expected '#include \"FILE\"', with only letters, digits, '.' and '/' in the name of the file")
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
            end = None if enabled else _BRANCH_END.search(self.text, self.pos) or self._fail(start, _NO_ENDIF)
            self.pos = end.end() if end else self.pos
            if not end or end.group(1) == "else":
                self.conditions.append((start, not enabled))
            return
        if not self.conditions or word == "#else" and self.conditions[-1][1]:
            self._refuse(start, f"'{word}' without an #ifdef; Tamarin doesn't count #ifdefs nested in a disabled branch: "
                                "the first #else or #endif there ends the outer one")
        place, _ = self.conditions.pop()
        if word == "#else":
            behind = self.text.find("#endif", self.pos) + len("#endif")
            self.pos = behind if behind >= len("#endif") else self._fail(place, _NO_ENDIF)

    def _flag_formula(self) -> bool:
        """`not A & (B | C)`: `&` binds tighter; "notA" means `not A`. Only tamarin-rs knows parentheses."""
        outer: list[tuple[bool, bool, bool]] = []   # of every open bracket: the values before it, whether "not" stands there
        some, every = False, True                   # whether an alternative holds, whether this one does so far
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


# ======================================================================================================================
# Prover (command line and output reader)
# ======================================================================================================================

# Facts about Tamarin: its src/Main/TheoryLoader.hs, src/Main/Mode/Batch.hs and lib/theory/src/Theory/Proof.hs (1.11.0),
# and real runs of tamarin-prover 1.4 to 1.11 and tamarin-rs 1.13.

LINE_CAP = 65_536  # characters of a prover's line that are looked at; a line of output may be of any length
TAIL_LINES, TAIL_CHARS = 20, 2_000  # of stderr, kept with a failed task

_VERSION = re.compile(r"^(tamarin-prover|tamarin-rs) v?(\d+(?:\.\d+)+)", re.MULTILINE)
_SUMMARY = re.compile(r"^  ?(?:(LHS|RHS) :  |(DiffLemma):  )?(\w+) (?:\((all-traces|exists-trace)\))?: (\S.*?)(?: \((\d+) steps\))?$")
_WARNING = re.compile(r"^  WARNING: (\d+) wellformedness checks? failed!")
_SECONDS = re.compile(r"^  processing time: ([\d.]+(?:e-?\d+)?)s")
_PROGRESS = re.compile(r"\[Theory [^]]*\] |\[Saturating Sources\] |maude tool: | checking |diffLemma$|CallStack |  error, called at ")
_OLD_MAUDE = re.compile(r"returned unsupported version '([^']*)'")
_COMPLAINT = re.compile(r"(tamarin-prover|tamarin-rs|error): ")
_PARSE_ERROR = re.compile(r'^"(.*)" \(line (\d+), column (\d+)\):$')
_TRACE_LABEL = re.compile(r"_SL\d+-AS\d-CL\d-A\d-C\d-N[BF]_(.*)$", re.DOTALL)
_VERDICTS = (("verified", Verdict.VERIFIED), ("falsified", Verdict.FALSIFIED), ("analysis incomplete", Verdict.INCOMPLETE),
             ("analysis undetermined", Verdict.INCOMPLETE), ("analysis cannot be finished", Verdict.INCOMPLETE),
             ("analysis has been invalidated", Verdict.INCOMPLETE))


@dataclass(frozen=True)
class Outputs:
    """Where one attempt of a job leaves its files: absolute paths."""

    stdout: str
    stderr: str
    proof: str
    trace_json: str
    trace_dot: str


def prover_command(prover: Prover, task: Task, outputs: Outputs) -> tuple[str, ...]:
    """The whole command line that proves (or with `prove: false` checks) one task. Values need `=`: `-D X` would load a file X."""
    old = prover.flavour == "tamarin-prover" and prover.version and version_tuple(prover.version) < (1, 10)
    traces = () if old else (f"--output-json={outputs.trace_json}", f"--output-dot={outputs.trace_dot}")
    return (*prover.command, *cores_option(prover, task.limits.cores), task.theory,
            *((f"--prove={task.lemma}",) if task.prove else ()), *prover.options, *task.options,
            *(f"-D={flag}" for flag in task.flags), *traces, f"--output={outputs.proof}")


def cores_option(prover: Prover, cores: int) -> tuple[str, ...]:
    """How this flavour is told its cores; tamarin-rs refuses `+RTS` with exit 2."""
    return (f"--processors={cores}",) if prover.flavour == "tamarin-rs" else ("+RTS", f"-N{cores}", "-RTS")


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def read_version(text: str) -> tuple[str, str]:
    """The flavour and version that `--version` printed; an unknown answer counts as a tamarin-prover of unknown version."""
    found = _VERSION.search(text)
    return (found.group(1), found.group(2)) if found else ("tamarin-prover", "")


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
    """Read a process's two log files; what can't be decoded is replaced. Memory is bounded whatever they hold.

    `lemma`: take only its lines of the summary (every task of a theory prints a line for each of its lemmas).
    """
    output = ProverOutput()
    _read_summary(last_part(stdout, "=\nsummary of summaries:\n"), output, lemma)
    _read_stderr(ends_of(stderr), output)
    return output


def last_part(path: str, marker: str, reach: int = 16 * MB) -> list[str]:
    """The lines of a text file from the last `marker` on, if it stands within `reach` bytes of the end; else none."""
    data = wanted = b""
    for step in (65_536, reach):
        data = read_from_end(path, step)
        start = data.rfind(marker.encode())
        if start >= 0:
            wanted = data[start:]
        if wanted or len(data) < step:
            break
    return [line[:LINE_CAP] for line in wanted.decode("utf-8", "replace").split("\n")]


def ends_of(path: str, size: int = 65_536) -> list[str]:
    """The lines at the beginning and the end of a text file: all of them unless it is large."""
    tail = read_from_end(path, 2 * size)
    if len(tail) == 2 * size:
        with open(path, "rb") as file:
            tail = file.read(size) + b"\n" + tail[size:]
    return tail.decode("utf-8", "replace").splitlines()


def read_from_end(path: str, size: int) -> bytes:
    """The last `size` bytes of a file, nothing of a missing one."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except FileNotFoundError:
        return b""  # nothing was ever printed


def _read_summary(lines: Sequence[str], output: ProverOutput, lemma: str) -> None:
    """Only what stands between the last "summary of summaries:" and the line of `=` that ends it counts.

    tamarin-prover 1.4 prints the block twice; a theory printed before it may contain lookalikes.
    """
    for line in lines[2:]:
        if line.startswith("====="):
            output.summary = True
            return
        if lemma in line or line[2:3] in "Wp":  # or a WARNING, or the processing time
            _read_summary_line(line, output)


def _read_summary_line(line: str, output: ProverOutput) -> None:
    found = _SUMMARY.match(line)
    if found:
        side, diff, name, trait, text, steps = found.groups()
        verdict = next((word for start, word in _VERDICTS if text.startswith(start)), None)
        output.lines.append(SummaryLine(name, side or "", trait or (Trait.DIFF if diff else ""), verdict,
                                        int(steps) if steps else None))
        return
    found = _WARNING.match(line)
    if found:
        output.failed_checks = int(found.group(1))
    found = _SECONDS.match(line)
    if found:
        output.prover_s = float(found.group(1))


def _read_stderr(lines: Iterable[str], output: ProverOutput) -> None:
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    error: list[str] = []  # the lines of a parse error, once its first was seen
    for line in lines:
        tail.append(line[:TAIL_CHARS])
        maude, place = _OLD_MAUDE.search(line), _PARSE_ERROR.match(line)
        if maude:
            output.old_maude = maude.group(1)
        if place or (error and len(error) < 4 and line):
            error.append(line if not place else f"{place.group(1)}:{place.group(2)}:{place.group(3)}:")
        elif line.strip() and not _COMPLAINT.match(output.complaint) and not _PROGRESS.match(line):
            output.complaint = line.strip()[:300]  # the first that the prover marks as one, else the last
    output.parse_error = " ".join(error)[:600]
    output.stderr_tail = "\n".join(tail)[-TAIL_CHARS:]


def wellformedness_titles(theory: str) -> list[str]:
    """The headings of the wellformedness report that Tamarin writes at the end of a theory: a proof file, or its stdout."""
    titles: list[str] = []
    before = ""
    for line in last_part(theory, "WARNING: the following wellformedness checks failed!"):
        if line == "*/":
            break
        if len(line) >= 3 and set(line) == {"="} and before.strip():
            titles.append(before.strip())
        elif line.startswith("Accountability ("):  # the one check whose title has no underline
            titles.append(line.strip())
        before = line
    return titles


def own_dot(text: str, lemma: str, names: Iterable[str]) -> str:
    """The graphs of `lemma` among the concatenated DOT graphs of all attacks in the file; `names`: the theory's lemmas."""
    starts = [found.start() for found in re.finditer(r"^(?:strict )?digraph ", text, re.MULTILINE)]
    graphs = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)])]
    known = sorted({*names, lemma}, key=len, reverse=True)
    return "".join(graph for graph in graphs if graph_lemma(graph.partition('"')[2].partition('"')[0], known) == lemma)


def own_json(text: str, lemma: str, names: Iterable[str]) -> str:
    """The same for the JSON traces; text that is no such JSON is left as it is."""
    known = sorted({*names, lemma}, key=len, reverse=True)
    try:
        traces = json.loads(text)
        own = [graph for graph in traces["graphs"] if graph_lemma(graph["jgLabel"], known) == lemma]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    if len(own) == len(traces["graphs"]) and own:
        return text
    return json.dumps({**traces, "graphs": own}, indent=1) if own else ""


def graph_lemma(label: str, known: Sequence[str]) -> str:
    """The lemma that a trace's label names; `known` lemma names come longest first.

    The label ends in the lemma's name and the path of proof cases, joined by `-`; only the first case may follow without one.
    """
    found = _TRACE_LABEL.search(label)
    rest = found.group(1) if found else label
    exact = (name for name in known if rest == name or rest.startswith(name + "-"))
    return next(exact, next((name for name in known if rest.startswith(name)), ""))


GHC_HEAP_EXHAUSTED = 251  # GHC's exit code when `+RTS -M` is exceeded


def judge(task: Task, outcome: Outcome, output: ProverOutput, proof: str) -> Result:
    """The result of one task: how its job ended, and what the prover printed for that very lemma.

    Silence, an exit code, a summary without the lemma or with an unknown word never make a verdict.
    """
    lines = own_lines(task, output.lines)
    verdict: Verdict | None = None
    status, reason = outcome.status, outcome.reason
    if status is Status.COMPLETED:
        status, reason = _judge_exit(outcome.exit or ExitStatus(), output)
    if status is Status.COMPLETED:
        status, verdict, reason = _judge_lines(task, lines, output)
    return Result(status=status, verdict=verdict, steps=_steps(lines) if verdict else None,
                  trait=lines[0].trait if lines else task.trait, lemmas=tuple(lines), exit=_exit_json(outcome.exit),
                  wall_s=round(outcome.wall_s, 3), cpu_s=round(outcome.cpu_s, 3), peak_mb=round(outcome.peak_mb, 1),
                  avg_mb=round(outcome.avg_mb, 1), prover_s=output.prover_s, warnings=tuple(prover_warnings(task, output, proof)),
                  reason=reason, stderr_tail="" if verdict else output.stderr_tail)


def own_lines(task: Task, lines: Iterable[SummaryLine]) -> list[SummaryLine]:
    """The summary lines that belong to the task: in diff mode one for each side."""
    return [line for line in lines if line.name == task.lemma
            and (line.side in task.sides if task.sides else not line.side)
            and (line.trait == Trait.DIFF) == (task.trait == Trait.DIFF)]


def _judge_exit(ended: ExitStatus, output: ProverOutput) -> tuple[Status, str]:
    said = output.parse_error or output.complaint
    if ended.signal:
        return Status.FAILED, f"killed by {ended.signal}, not by this batch" + (f": {said}" if said else "")
    if ended.code == GHC_HEAP_EXHAUSTED:
        return Status.MEMORY_LIMIT, "the prover's own heap limit (+RTS -M) was reached"
    if ended.code:
        return Status.FAILED, f"exit code {ended.code}" + (f": {said}" if said else "")
    if not output.summary:
        return Status.FAILED, "exit code 0, but the prover printed no summary"
    return Status.COMPLETED, ""


def _judge_lines(task: Task, lines: list[SummaryLine], output: ProverOutput) -> tuple[Status, Verdict | None, str]:
    missing = [side for side in task.sides if side not in {line.side for line in lines}]
    if not lines and task.optional:
        return Status.SUPERSEDED, None, "not needed: no partial deconstructions are left"
    if not lines or missing:
        where = f" on side {missing[0]}" if missing and lines else ""
        return Status.FAILED, None, f"the prover's summary has no line for lemma '{task.lemma}'{where}"
    verdicts = {line.verdict for line in lines}
    if None in verdicts:
        return Status.FAILED, None, f"the prover's summary has an unknown verdict for lemma '{task.lemma}'"
    if Verdict.FALSIFIED in verdicts:
        return Status.COMPLETED, Verdict.FALSIFIED, ""
    if verdicts == {Verdict.VERIFIED}:
        return Status.COMPLETED, Verdict.VERIFIED, ""
    return Status.COMPLETED, Verdict.INCOMPLETE, "the prover could not finish the analysis"


def _steps(lines: Iterable[SummaryLine]) -> int | None:
    counts = [line.steps for line in lines if line.steps is not None]
    return sum(counts) if counts else None


def _exit_json(ended: ExitStatus | None) -> dict[str, Any] | None:
    if ended is None:
        return None
    return {"signal": ended.signal} if ended.signal else {"code": ended.code}


ASKED_NAME_CHECK = "Check presence of the --prove/--lemma arguments in theory"


def prover_warnings(task: Task, output: ProverOutput, proof: str) -> Iterator[str]:
    """What the prover warned of. Its complaint about a generated lemma's name (asked for by us) is none of the theory's."""
    count = output.failed_checks
    titles = wellformedness_titles(proof) if count else []
    if task.prove and (task.optional or task.lemma == EQUIVALENCE_LEMMA):
        count -= bool(count)
        titles = [title for title in titles if title != ASKED_NAME_CHECK]
    if "Derivation Checks" in titles:  # they have 5 s by default: this depends on the machine, never on the verdict
        count -= 1
        titles.remove("Derivation Checks")
        yield "derivation checks timed out (raise --derivcheck-timeout)"
    if count > 0:
        yield f"{plural(count, 'wellformedness check')} failed" + (f": {', '.join(dict.fromkeys(titles))}" if titles else "")
    if output.old_maude:
        yield f"Maude {output.old_maude} is not supported by this prover"


# ======================================================================================================================
# Recipe (and plan)
# ======================================================================================================================

JsonPath = tuple[Union[str, int], ...]
Check = Callable[["Recipe", Any, JsonPath], None]

DEFAULT_CORES, DEFAULT_MEMORY_GB, DEFAULT_TIMEOUT_S = 4, 16, 3600
SCHEDULERS = ("fifo", "sjf", "ljf")
ID_BYTES = 200


class Recipe:
    """A recipe file: its JSON object, checked, and where in the text everything stands.

    Raises InputErrors with all problems at once.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        """Read the file at `path`, or take `text` for what it says."""
        self.path = path
        self.problems: list[InputError] = []
        self._positions: dict[JsonPath, int] | None = None
        self.text = read_text(path) if text is None else text
        self.data: dict[str, Any] = self._parse()
        check_recipe(self, self.data, ())
        self.raise_problems()

    def problem(self, path: JsonPath, message: str) -> None:
        """Note that something is wrong at a place of the JSON text."""
        place = ".".join(str(part) for part in path)
        line, column = self._line_column(self._position(path))
        self.problems.append(InputError(f"{place}: {message}" if place else message, self.path, line, column))

    def raise_problems(self) -> None:
        if self.problems:
            raise InputErrors(self.problems)

    def _parse(self) -> dict[str, Any]:
        repeated: list[str] = []

        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            if len(dict(items)) < len(items):
                repeated.append("")
            return {key: value for key, value in items if value is not None}  # null: as if it were not there

        try:
            data = json.loads(self.text, object_pairs_hook=pairs, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise InputError(f"this is no valid JSON: {error.msg}", self.path, error.lineno, error.colno) from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"this JSON can't be read: {error}", self.path) from None
        if repeated:
            self._position(())
            self.raise_problems()
        if not isinstance(data, dict):
            raise InputError("a recipe is a JSON object: {\"tamarin_versions\": ..., \"tasks\": ...}", self.path, 1, 1)
        return data

    def _position(self, path: JsonPath) -> int:
        if self._positions is None:
            self._positions = {}
            for where, offset in json_positions(self.text):
                repeated = where in self._positions
                self._positions[where] = offset
                if repeated:
                    self.problem(where, "this key stands here twice: keep one")
        while path and path not in self._positions:
            path = path[:-1]
        return self._positions.get(path, 0)

    def _line_column(self, offset: int) -> tuple[int, int]:
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


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
        raise InputError("is no UTF-8 text: save it as UTF-8", path, line, error.start - data.rfind(b"\n", 0, error.start)) from None


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def json_positions(text: str) -> Iterator[tuple[JsonPath, int]]:
    """Where each member (its key) and each element of valid JSON text begins."""
    path: list[str | int] = []
    key, expect_key = ("", 0), False
    for token in _JSON_TOKEN.finditer(text):
        word, offset = token.group(), token.start()
        if word == ",":
            if isinstance(path[-1], int):
                path[-1] += 1
            else:
                expect_key = True
        elif word in "]}":
            path.pop()
            expect_key = False
        elif expect_key and word[0] == '"':
            key, expect_key = (json.loads(word), offset), False
            path[-1] = key[0]
            yield tuple(path), offset
        elif word != ":":
            if path and isinstance(path[-1], int):
                yield tuple(path), offset
            if word in "[{":
                path.append(0 if word == "[" else "")
                expect_key = word == "{"


# --- What a recipe may contain: a table of checks for each kind of object ----------------------------------------------


def check_object(fields: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """An object with these members and no others."""
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if not isinstance(value, dict):
            return recipe.problem(path, f"must be an object, not {_kind(value)}")
        for key, item in value.items():
            if key in fields:
                fields[key](recipe, item, (*path, key))
            else:
                recipe.problem((*path, key), f"unknown key{did_you_mean(key, fields)}; allowed: {', '.join(fields)}")
        for key in required:
            if key not in value:
                recipe.problem(path, f"'{key}' is missing")
    return check


def check_map(item: Check, what: str) -> Check:
    """An object from names to items; at least one."""
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if not isinstance(value, dict) or not value:
            return recipe.problem(path, f"must be an object with at least one {what}")
        for key, member in value.items():
            item(recipe, member, (*path, key))
    return check


def check_list(item: Check) -> Check:
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if not isinstance(value, list):
            return recipe.problem(path, f"must be a list, not {_kind(value)}")
        for index, member in enumerate(value):
            item(recipe, member, (*path, index))
    return check


def check_nonempty_list(item: Check) -> Check:
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        check_list(item)(recipe, value, path)
        if value == []:
            recipe.problem(path, "must not be empty")
    return check


def check_number(whole: bool, *words: str) -> Check:
    """A positive number (`whole`: an integer; "60" will do), or one of the words; the word "50%" stands for any percentage."""
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if isinstance(value, str) and (value.lower() in words or ("50%" in words and percentage(value))):
            return
        number = isinstance(value, (int, float)) and not isinstance(value, bool) or isinstance(value, str) and value.isdecimal()
        if number and 0 < float(value) < 1e9 and not (whole and float(value) % 1):
            return
        allowed = ["a positive whole number" if whole else "a positive number", *(f'"{word}"' for word in words)]
        recipe.problem(path, f"must be {' or '.join(allowed)}, not {json.dumps(value)[:60]}")
    return check


def check_text(recipe: Recipe, value: Any, path: JsonPath) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        recipe.problem(path, f"must be a text that is not empty, not {_kind(value)}")


def check_any(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """Accepted as it is."""


def check_bool(recipe: Recipe, value: Any, path: JsonPath) -> None:
    if not isinstance(value, bool):
        recipe.problem(path, f"must be true or false, not {_kind(value)}")


def check_one_of(*words: str) -> Check:
    def check(recipe: Recipe, value: Any, path: JsonPath) -> None:
        if value not in words:
            recipe.problem(path, f"must be one of {', '.join(words)}, not {json.dumps(value)[:60]}")
    return check


def check_later(recipe: Recipe, value: Any, path: JsonPath) -> None:
    recipe.problem(path, "is not supported by this version of batch_tamarin.py: remove it")


def check_name(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """A text that becomes part of file names."""
    check_text(recipe, value, path)
    if isinstance(value, str) and ("/" in value or ".." in value or "\\" in value or not value.isprintable()):
        recipe.problem(path, "becomes part of file names: no '/', '\\', '..' or control characters")


def check_env(recipe: Recipe, value: Any, path: JsonPath) -> None:
    if not isinstance(value, dict) or not all(isinstance(item, str) and "\0" not in item for item in value.values()):
        recipe.problem(path, 'must be an object from variables to texts, such as {"TMPDIR": "/scratch"}')
    elif any(not key or "=" in key or "\0" in key for key in value):
        recipe.problem(path, "a variable's name is not empty and has no '='")


def check_version(recipe: Recipe, value: Any, path: JsonPath) -> None:
    check_name(recipe, path[-1], path)
    fields = {"path": check_text, "command": check_nonempty_list(check_text), "options": check_list(check_text), "env": check_env,
              "version": check_text, "test_success": check_any}
    check_object(fields)(recipe, value, path)
    if isinstance(value, dict) and ("path" in value) == ("command" in value):
        recipe.problem(path, "needs either 'path' (a file, or a command on PATH) or 'command' (a list)")


def check_flag(recipe: Recipe, value: Any, path: JsonPath) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
        recipe.problem(path, "must be the name of one preprocessor flag, without -D")


def check_option(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """One prover option that is not the tool's own business. Inside `+RTS ... -RTS` only -N is."""
    if not isinstance(value, str) or not value or "\0" in value:
        return recipe.problem(path, f"must be an option of the prover, not {_kind(value)}")
    name = value.split("=")[0]
    if " " in name and name[0] in "-+":
        return recipe.problem(path, "one option per text: use a list such as [\"+RTS\", \"-M8g\", \"-RTS\"]")
    if name[0] not in "-+":
        return recipe.problem(path, f"'{printable(value)}' would be read as a theory file: an option's value is joined by '=', "
                                    "as in --bound=5")
    for own, advice in _OWN_OPTIONS.items():
        short = own[0] == "-" and own[1] != "-"
        if name == own or (short and name.startswith(own)) or (not short and len(name) > 3 and own.startswith(name)):
            return recipe.problem(path, f"{own} can't be given here: {advice}")


_OWN_OPTIONS = {
    "--prove": "name the lemmas under 'lemmas'", "--lemma": "name the lemmas under 'lemmas'",
    "-o": "proofs are always written to the results directory", "-O": "proofs are always written to the results directory",
    "--output": "proofs are always written to the results directory",
    "--Output": "proofs are always written to the results directory",
    "--output-json": "traces are always written to the results directory",
    "--output-dot": "traces are always written to the results directory",
    "--output-module": "a translation proves nothing", "-m": "a translation proves nothing",
    "--parse-only": "it proves nothing: use the 'check' command", "--precompute-only": "it proves nothing",
    "-N": "use 'max_cores' in 'resources'", "--processors": "use 'max_cores' in 'resources'",
}


def check_options(recipe: Recipe, value: Any, path: JsonPath) -> None:
    """A list of prover options; words between +RTS and -RTS are GHC's."""
    runtime = False
    if not isinstance(value, list):
        return recipe.problem(path, f"must be a list of texts, not {_kind(value)}")
    for index, item in enumerate(value):
        check_option(recipe, item, (*path, index))
        runtime = item == "+RTS" or (runtime and item != "-RTS")
    if runtime:
        recipe.problem(path, "'+RTS' needs a '-RTS' after its options")


def check_expectation(recipe: Recipe, value: Any, path: JsonPath) -> None:
    if value not in (Verdict.VERIFIED, Verdict.FALSIFIED):
        recipe.problem(path, 'must be "verified" or "falsified"')


def check_expectations(recipe: Recipe, value: Any, path: JsonPath) -> None:
    check = check_map(check_expectation, "lemma") if isinstance(value, dict) else check_expectation
    check(recipe, value, path)


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def percentage(text: str) -> float | None:
    """The share that "50%" means, or None."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    return float(found.group(1)) / 100 if found and 0 < float(found.group(1)) <= 100 else None


_RESOURCES = {"max_cores": check_number(True), "max_memory": check_number(False), "timeout": check_number(False)}
_OVERRIDES: dict[str, Check] = {"tamarin_versions": check_nonempty_list(check_text), "tamarin_options": check_options,
                                "preprocess_flags": check_list(check_flag), "resources": check_object(_RESOURCES)}
_LEMMA: dict[str, Check] = {"name": check_text, **_OVERRIDES, "expect": check_expectation}
_TASK: dict[str, Check] = {
    "theory_file": check_text, "output_file_prefix": check_name, **_OVERRIDES, "lemmas": check_list(check_object(_LEMMA, ["name"])),
    "expect": check_expectations, "cwd": check_text, "prove": check_bool, "variants": check_later, "race": check_later}
_CONFIG: dict[str, Check] = {
    "global_max_cores": check_number(True, "max"), "global_max_memory": check_number(False, "max", "50%"),
    "default_timeout": check_number(False), "output_directory": check_text, "scheduler": check_one_of(*SCHEDULERS),
    "granularity": check_one_of("lemma"), "launcher": check_one_of("local"), "recheck_with": check_later}
_RECIPE: dict[str, Check] = {
    "$schema": check_any, "config": check_object(_CONFIG), "tamarin_versions": check_map(check_version, "prover"),
    "tasks": check_map(check_object(_TASK, ["theory_file", "tamarin_versions", "output_file_prefix"]), "task")}
check_recipe = check_object(_RECIPE, ["tamarin_versions", "tasks"])


# --- Provers -----------------------------------------------------------------------------------------------------------


def recipe_provers(recipe: Recipe) -> dict[str, Prover]:
    """The provers that the recipe's tasks use, found on this machine, their versions not yet asked. Raises InputErrors."""
    provers: dict[str, Prover] = {}
    for path, alias in _used_aliases(recipe):
        if alias not in recipe.data["tamarin_versions"]:
            recipe.problem(path, f"no prover '{printable(alias)}' in tamarin_versions{did_you_mean(alias, recipe.data['tamarin_versions'])}")
        elif alias not in provers:
            provers[alias] = _recipe_prover(recipe, alias)
    recipe.raise_problems()
    return provers


def _used_aliases(recipe: Recipe) -> Iterator[tuple[JsonPath, str]]:
    for name, task in recipe.data["tasks"].items():
        for index, alias in enumerate(task["tamarin_versions"]):
            yield ("tasks", name, "tamarin_versions", index), alias
        for number, lemma in enumerate(task.get("lemmas", ())):
            for index, alias in enumerate(lemma.get("tamarin_versions", ())):
                yield ("tasks", name, "lemmas", number, "tamarin_versions", index), alias


def _recipe_prover(recipe: Recipe, alias: str) -> Prover:
    entry, path = recipe.data["tamarin_versions"][alias], ("tamarin_versions", alias)
    words = entry.get("command") or [entry["path"]]
    if os.path.basename(words[0]) in ("docker", "podman"):
        recipe.problem(path, f"{os.path.basename(words[0])} runs the prover outside our process tree, where limits can't hold: "
                             "use apptainer, or install the prover")
    program = find_program(words[0], os.path.dirname(recipe.path))
    if not program:
        recipe.problem(path, f"there is no executable program '{printable(words[0])}': give a file, or a command on PATH")
    return Prover(alias, (program or words[0], *words[1:]), tuple(entry.get("options", ())), dict(entry.get("env", {})))


def find_program(name: str, directory: str = "") -> str:
    """The absolute path of an executable file, or of a command on PATH; "" if there is none."""
    name = os.path.expanduser(name)
    folders = [os.getcwd(), directory] if os.sep in name else [*os.get_exec_path(), os.getcwd(), directory]
    for folder in folders:
        path = os.path.abspath(os.path.join(folder, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def find_input(name: str, directory: str) -> str:
    """A recipe's relative path: against the working directory; if nothing is there, against the recipe's own directory."""
    name = os.path.expanduser(name)
    beside = os.path.join(directory, name)
    return beside if not os.path.exists(name) and os.path.exists(beside) else name


# --- Planning ----------------------------------------------------------------------------------------------------------


@dataclass
class PlanOptions:
    """What the command line says over the recipe; "" and 0 leave the recipe's word."""

    cores: str = ""
    memory: str = ""  # GB, "max" or "50%"
    timeout_s: float = 0
    scheduler: str = ""


@dataclass
class Machine:
    """What a batch may use here at all: `available_cores()` and `available_memory_mb()`."""

    cores: int
    memory_mb: int


def plan_batch(recipe: Recipe, provers: dict[str, Prover], machine: Machine, options: PlanOptions,
               warn: Callable[[str], None]) -> Batch:
    """The completely resolved Batch of a recipe, in file order. Raises InputErrors with all that is wrong."""
    config = recipe.data.get("config", {})
    limits = Limits(_global_cores(config, machine, options, warn), _global_memory(config, machine, options, warn),
                    options.timeout_s or float(config.get("default_timeout", DEFAULT_TIMEOUT_S)))
    batch = Batch(os.urandom(6).hex(), provers=provers)
    planner = _Planner(recipe, provers, limits, warn)
    for name, entry in recipe.data["tasks"].items():
        for task in planner.recipe_task(name, entry):
            batch.tasks[task.id] = task
    recipe.raise_problems()
    batch.header = {
        "event": "batch", "at": now(), "id": batch.id, "version": __version__, "recipe_file": os.path.abspath(recipe.path),
        "pid": os.getpid(), "host": os.uname().nodename, "recipe": recipe.data, "options": to_json(options), "limits": to_json(limits), "scheduler": options.scheduler or config.get("scheduler", "fifo"),
        "provers": {alias: to_json(prover) for alias, prover in provers.items()}, "cwd": os.getcwd(),
        "python": sys.version.split()[0], "platform": sys.platform}
    return batch


def _global_cores(config: Mapping[str, Any], machine: Machine, options: PlanOptions, warn: Callable[[str], None]) -> int:
    asked = str(options.cores or config.get("global_max_cores", "max")).lower()
    cores = machine.cores if asked == "max" else int(float(asked))
    if cores > machine.cores:
        warn(f"{plural(cores, 'core')} asked for, but this process may use {machine.cores}: capped")
    return min(cores, machine.cores)


def _global_memory(config: Mapping[str, Any], machine: Machine, options: PlanOptions, warn: Callable[[str], None]) -> int:
    asked = str(options.memory or config.get("global_max_memory", "max")).lower()
    share_of = 1.0 if asked == "max" else percentage(asked)
    memory_mb = int(machine.memory_mb * share_of if share_of else float(asked) * 1024)
    if memory_mb > machine.memory_mb:
        warn(f"{memory_mb / 1024:g} GB asked for, but this process may use {machine.memory_mb / 1024:.1f} GB: capped")
    return max(1, min(memory_mb, machine.memory_mb))


@dataclass
class _Choice:
    """One lemma that an entry of a task's `lemmas` selects; `entry` overrides the task's fields."""

    entry: Mapping[str, Any]
    path: JsonPath
    lemmas: list[Lemma]  # one, or its two sides in diff mode
    theory: Theory


class _Planner:
    """Plans one recipe task after the other; remembers the ids given, the theories read and the caps already said."""

    def __init__(self, recipe: Recipe, provers: Mapping[str, Prover], limits: Limits, warn: Callable[[str], None]) -> None:
        self.recipe, self.provers, self.limits, self.warn = recipe, provers, limits, warn
        self.directory = os.path.dirname(recipe.path)
        self.ids: set[str] = set()
        self.capped: set[JsonPath] = set()
        self.theories: dict[tuple[Any, ...], Theory | None] = {}
        self.keys: dict[tuple[Any, ...], str] = {}  # digests of what the keys of many tasks have in common

    def recipe_task(self, name: str, entry: Mapping[str, Any]) -> Iterator[Task]:
        """The tasks of one entry of the recipe's `tasks`: theories, then lemmas in theory order, then provers."""
        path: JsonPath = ("tasks", name)
        cwd = os.path.abspath(find_input(entry.get("cwd", "."), self.directory))
        if not os.path.isdir(cwd):
            return self.recipe.problem((*path, "cwd"), f"there is no directory '{printable(cwd)}'")
        for file in self._theory_files(entry, path):
            prefix = entry["output_file_prefix"].replace("{theory}", os.path.splitext(os.path.basename(file))[0])
            choices = self._choices(entry, path, file, cwd)
            self._check_expected_names(entry, path, choices)
            for choice in choices:
                for alias in choice.entry.get("tamarin_versions", entry["tamarin_versions"]):
                    yield self._task(name, entry, choice, self.provers[alias], file, prefix, cwd)

    def _task(self, name: str, entry: Mapping[str, Any], choice: _Choice, prover: Prover, file: str, prefix: str, cwd: str) -> Task:
        lemma, path = choice.lemmas[0], ("tasks", name)
        options, flags = _options(entry, choice.entry), tuple(choice.entry.get("preprocess_flags", entry.get("preprocess_flags", ())))
        if "--diff" in (*prover.options, *options) and prover.flavour == "tamarin-rs":
            self.recipe.problem(choice.path, f"tamarin-rs ('{prover.alias}') has no --diff: use tamarin-prover for this task")
        prove = entry.get("prove", True)
        assumes = tuple(dict.fromkeys(name for side in choice.lemmas for name in side.assumes))
        key = self._key(prover, choice.theory, lemma.name, options, flags, prove, cwd)
        return Task(id=self._unique_id(f"{prefix}--{lemma.name}--{prover.alias}"), name=name, theory=share(path_from(file, cwd)),
                    lemma=lemma.name, trait=lemma.trait, sides=share(tuple(side.side for side in choice.lemmas if side.side)),
                    prover=prover.alias, options=share(options), flags=share(flags), limits=self._limits(entry, choice, path),
                    cwd=share(cwd), prove=prove, optional=lemma.optional, assumes=share(assumes),
                    expect=_expected(entry, choice.entry, lemma.name), key=key)

    def _key(self, prover: Prover, theory: Theory, lemma: str, options: tuple[str, ...], flags: tuple[str, ...], prove: bool,
             cwd: str) -> str:
        """Digest of everything that can change a task's result; cores, memory and time can't."""
        common = (prover.alias, id(theory), options, flags, prove, cwd)
        if common not in self.keys:
            oracles = used_oracles(theory, (*prover.options, *options), cwd)
            parts = [prover.identity, prover.options, sorted(prover.env.items()), options, flags, prove, theory.digest,
                     [(path, file_digest(path)) for path in oracles], cwd if oracles else ""]
            self.keys[common] = sha256(json.dumps(parts).encode())
        return sha256(f"{self.keys[common]} {lemma}".encode())[:32]

    def _theory_files(self, entry: Mapping[str, Any], path: JsonPath) -> list[str]:
        pattern = entry["theory_file"]
        found = find_input(pattern, self.directory)
        if os.path.isfile(found):
            return [found]
        if "{theory}" in entry["output_file_prefix"]:
            import glob
            files = (sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
                     or sorted(glob.glob(os.path.join(glob.escape(self.directory), pattern), recursive=True)))
            if files:
                return [file for file in files if os.path.isfile(file)]
        elif any(char in pattern for char in "*?["):
            return self._problem((*path, "theory_file"), "a pattern needs {theory} in output_file_prefix, so that each theory "
                                                         "has results of its own")
        return self._problem((*path, "theory_file"), f"there is no theory file '{printable(pattern)}'")

    def _choices(self, entry: Mapping[str, Any], path: JsonPath, file: str, cwd: str) -> list[_Choice]:
        """What the task's `lemmas` select, in theory order. An exact name beats patterns; of several patterns the first counts."""
        items = [(item, (*path, "lemmas", index, "name")) for index, item in enumerate(entry.get("lemmas", ()))]
        takes = [pair for pair in items if pair[0]["name"][0] != "!"] or [({"name": "*"}, path)]
        found: list[tuple[int, _Choice]] = []
        taken: set[str] = set()
        for exact in (True, False):
            for item, where in takes:
                theory = self._theory(entry, item, file, path)
                groups = _lemma_groups(theory) if theory else {}
                if exact is not _names_exactly(item["name"], groups):
                    continue
                chosen = [(place, _Choice(item, where, sides, theory)) for place, sides in enumerate(groups.values())
                          if theory and _selects(item["name"], sides[0], exact)]
                if theory and not chosen:
                    self._no_such_lemma(item["name"], groups, where, file)
                found += [pair for pair in chosen if exact or pair[1].lemmas[0].name not in taken]
                taken.update(choice.lemmas[0].name for _, choice in chosen)
        found = self._without(items, found)
        return [choice for _, choice in sorted(found, key=lambda pair: pair[0])]

    def _without(self, items: Sequence[tuple[Mapping[str, Any], JsonPath]], found: list[tuple[int, _Choice]]) -> list[tuple[int, _Choice]]:
        """What "!pattern" entries leave, wherever they stand."""
        for item, where in items:
            if item["name"][0] == "!" and found:
                pattern = item["name"][1:]
                left = [pair for pair in found if not any(_selects(pattern, pair[1].lemmas[0], exact) for exact in (True, False))]
                if len(left) == len(found):
                    self.recipe.problem(where, f"'{printable(item['name'])}' takes no lemma away")
                elif not left:
                    self.recipe.problem(where, f"'{printable(item['name'])}' leaves no lemma")
                found = left
        return found

    def _no_such_lemma(self, name: str, groups: Mapping[str, list[Lemma]], where: JsonPath, file: str) -> None:
        if not groups:
            self.recipe.problem(where[:2], f"{printable(file)} has no lemmas (with these flags): nothing to prove")
        else:
            some = ", ".join(list(groups)[:12]) + (", ..." if len(groups) > 12 else "")
            self.recipe.problem(where, f"no lemma of {printable(file)} matches '{printable(name)}'"
                                       f"{did_you_mean(name, groups)}; it has: {some}")

    def _theory(self, entry: Mapping[str, Any], item: Mapping[str, Any], file: str, path: JsonPath) -> Theory | None:
        """The theory as the prover will see it with these options and flags; None when that is a problem (noted once)."""
        alias = item.get("tamarin_versions", entry["tamarin_versions"])[0]
        options = (*self.provers[alias].options, *_options(entry, item))
        view = (file, *theory_view(options, item.get("preprocess_flags", entry.get("preprocess_flags", ()))))
        if view not in self.theories:
            self.theories[view] = None
            try:
                self.theories[view] = load_theory(*view, keep_text=True)
            except InputError as error:
                self.recipe.problems.append(error)
        return self.theories[view]

    def _limits(self, entry: Mapping[str, Any], choice: _Choice, path: JsonPath) -> Limits:
        """Per field: the lemma's, the task's, the default; above the global limit it is capped, else it would wait for ever."""
        defaults = {"max_cores": DEFAULT_CORES, "max_memory": DEFAULT_MEMORY_GB, "timeout": self.limits.timeout_s}
        most = {"max_cores": self.limits.cores, "max_memory": self.limits.memory_mb / 1024, "timeout": float("inf")}
        chosen: dict[str, float] = {}
        for key, default in defaults.items():
            own, inherited = choice.entry.get("resources", {}), entry.get("resources", {})
            asked = float(own.get(key, inherited.get(key, default)))
            where = (*choice.path[:-1], "resources", key) if key in own else (*path, "resources", key)
            if asked > most[key] and (key in own or key in inherited) and where not in self.capped:
                self.capped.add(where)
                self.warn(f"{'.'.join(map(str, where))}: {asked:g} is above the global limit: capped at {most[key]:.3g}")
            chosen[key] = min(asked, most[key])
        return share(Limits(int(chosen["max_cores"]), max(1, int(chosen["max_memory"] * 1024)), chosen["timeout"]))

    def _check_expected_names(self, entry: Mapping[str, Any], path: JsonPath, choices: Sequence[_Choice]) -> None:
        """A name under `expect` that matches no planned lemma would never be missed."""
        expect = entry.get("expect")
        for pattern in expect if isinstance(expect, dict) and choices else ():
            if not any(_selects(pattern, choice.lemmas[0], exact) for choice in choices for exact in (True, False)):
                names = {choice.lemmas[0].name for choice in choices}
                self.recipe.problem((*path, "expect", pattern), f"matches no planned lemma{did_you_mean(pattern, names)}")

    def _unique_id(self, text: str) -> str:
        """A safe file name of at most 200 bytes, unlike every other one even where case is ignored."""
        base = re.sub(r"[^\w.+-]", "_", text)
        base = "_" + base[1:] if base[0] in ".-" else base
        if len(base.encode()) > ID_BYTES:
            digest = sha256(text.encode())[:12]
            base = base.encode()[:ID_BYTES - 20].decode("utf-8", "ignore") + "-" + digest
        number, candidate = 1, base
        while _fold(candidate) in self.ids:
            number += 1
            candidate = f"{base}_{number}"
        self.ids.add(_fold(candidate))
        return candidate

    def _problem(self, path: JsonPath, message: str) -> list[str]:
        self.recipe.problem(path, message)
        return []


def theory_view(options: Sequence[str], flags: Iterable[str]) -> tuple[tuple[str, ...], bool, bool]:
    """What of a command line changes how a theory is read: preprocessor flags, diff mode, automatic sources."""
    defined = (option.split("=", 1)[1] for option in options if re.match("(-D|--defines)=", option))
    return (*flags, *defined), "--diff" in options, "--auto-sources" in options


def _fold(text: str) -> str:
    """Equal for names that a case-ignoring, Unicode-composing file system takes for the same."""
    if text.isascii():
        return text.lower()
    import unicodedata
    return unicodedata.normalize("NFC", text.casefold())


def _options(entry: Mapping[str, Any], item: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(item.get("tamarin_options", entry.get("tamarin_options", ())))


def _expected(entry: Mapping[str, Any], item: Mapping[str, Any], lemma: str) -> str | None:
    expect: None | str | dict[str, str] = item.get("expect", entry.get("expect"))
    if isinstance(expect, dict):
        return expect.get(lemma) or next((word for pattern, word in expect.items() if fnmatch.fnmatchcase(lemma, pattern)), None)
    return expect


def _lemma_groups(theory: Theory) -> dict[str, list[Lemma]]:
    """Each lemma by name, in theory order; in diff mode both sides together."""
    groups: dict[str, list[Lemma]] = {}
    for lemma in theory.lemmas:
        groups.setdefault(lemma.name, []).append(lemma)
    return groups


def _names_exactly(name: str, groups: Mapping[str, list[Lemma]]) -> bool:
    return name in groups or any(sides[0].parent == name for sides in groups.values())


def _selects(pattern: str, lemma: Lemma, exact: bool) -> bool:
    """Whether a name (`exact`) or a shell pattern means this lemma, or the accountability lemma it was generated from."""
    names = [name for name in (lemma.name, lemma.parent) if name]
    return pattern in names if exact else any(fnmatch.fnmatchcase(name, pattern) for name in names)


def path_from(file: str, cwd: str) -> str:
    """How `file` is named on a command line that runs in `cwd`: relative where it lies below."""
    full = os.path.abspath(file)
    return os.path.relpath(full, cwd) if os.path.commonpath([full, cwd]) == cwd else full


@functools.lru_cache(maxsize=1024)
def file_digest(path: str) -> str:
    """SHA-256 of a file's mode and bytes; "" when it can't be read."""
    import hashlib
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            digest.update(oct(os.fstat(file.fileno()).st_mode & 0o111).encode())
            for block in iter(functools.partial(file.read, MB), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


# ======================================================================================================================
# Supervisor
# ======================================================================================================================

# Facts: proc(5), prctl(2), wait4(2), posix_spawn(3), cgroups(7), the kernel's fs/exec.c (what execs takes over the peak of the memory
# it leaves: under posix_spawn the driver's) and mm/oom_kill.c; for macOS <libproc.h>.

MARKER = "BATCH_TAMARIN_JOB"      # in the environment of every job: <batch>/<job>/<attempt>
GRACE_S = 3.0                     # from SIGTERM to SIGKILL
UNKILLABLE_S = 30.0               # what outlives SIGKILL for so long is given up
LONGEST_LOOK_S, CLOSEST_LOOK_S, FIRST_LOOK_S = 1.0, 0.02, 0.005
FASTEST_HOG = 3 * 1024 * MB       # bytes per second a prover is expected to grow at most
COPY_S = 1.0                      # for so long a child that looks like its parent is taken for one about to exec
LOG_CAP, LOG_HEAD, LOG_TAIL = 64 * MB, 16 * MB, 16 * MB
RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP)
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC_PGRP_ONLY, PROC_PPID_ONLY = 2, 6  # macOS: what proc_listpids selects by
LINUX, MACOS = sys.platform == "linux", sys.platform == "darwin"


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    status: COMPLETED: its leader exited by itself, whatever the code. FAILED: not started, or ended by a signal that isn't ours.
        TIMEOUT, MEMORY_LIMIT (also the kernel's out-of-memory killer), INTERRUPTED (also stopped singly by `Supervisor.stop`).
    cpu_s: user + system of the whole tree, without processes whose parent ignores SIGCHLD (the kernel forgets these).
    peak_mb: 0 for what was gone before the first look (5 ms) and smaller than the driver. avg_mb: weighted by time.
    unkillable: processes that outlived SIGKILL; their room stays taken.
    """

    status: Status
    exit: ExitStatus | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    avg_mb: float = 0.0
    reason: str = ""
    unkillable: tuple[int, ...] = ()


@dataclass(eq=False)
class Live:
    """A job that runs: figures for the live view, and what the supervisor must remember of it."""

    job: Job
    marker: str
    pid: int
    started: float                                          # monotonic; moved on by suspended time: now - started is time run
    driver_peak: int                                        # bytes; a fresh child's ru_maxrss starts there
    turn: asyncio.Future[None]                              # done: the leader has ended, or the tree is to be ended
    born: int = 0                                           # as process_start gives it
    rss_mb: float = 0.0
    peak_mb: float = 0.0
    cpu_s: float = 0.0
    mb_seconds: float = 0.0
    looked: float = 0.0                                     # when the last sample was taken
    tree: set[int] = field(default_factory=set)             # pids of the last sample
    copies: dict[int, float] = field(default_factory=dict)  # pid of a child that may still share its parent's memory: since when
    logs: list[_Log] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    ended: float | None = None                              # when the leader was reaped; until then its pid and group are ours
    exit: ExitStatus | None = None
    why: tuple[Status, str] | None = None                   # set by whoever ends it first
    kill: bool = False                                      # SIGKILL without (further) grace


@final
class Supervisor:
    """Runs jobs for one batch, as a context manager around it; single-threaded, one per driver.

    batch_id: unique; a supervisor inside another one's job (on a Slurm node) should take that job's marker as its id, so that the
        outer marker is a prefix of the inner ones. lock_fd: stays open in a watchdog until no process of the batch is left.
    """

    def __init__(self, batch_id: str, lock_fd: int | None = None) -> None:
        self.live: dict[str, Live] = {}                     # by job id
        self._batch_id, self._lock_fd = batch_id, lock_fd
        self._leaders: dict[int, Live] = {}                 # by pid, not reaped yet
        self._adopted: dict[int, Live | None] = {}          # orphans that came to us, not reaped yet: whose they are
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: str | None = None                    # why nothing more is started
        self._suspended: float | None = None
        self._adopted_at = 0.0
        self._oom = _OomWatch()

    def __enter__(self) -> Supervisor:
        self._pid, self._home = os.getpid(), os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
        _keep_descriptors_from_children()
        self._subreaper = _become_subreaper()
        self._watchdog, self._pipe = _start_watchdog(self._batch_id, self._lock_fd)
        self._strangers = set(_children(self._pid))         # the watchdog; what a shell started before it became us by `exec`
        return self

    def __exit__(self, *_: object) -> None:
        for live in list(self.live.values()):
            self._end_now(live)
        self._end_strays()
        self._tell_watchdog(b".")
        os.close(self._pipe)
        os.close(self._home)
        with suppress(ChildProcessError):
            os.waitpid(self._watchdog, 0)

    async def run(self, job: Job, on_start: Callable[[int, int], None]) -> Outcome:
        """Run a job and return when its whole tree is gone; never raises for what a prover or the system does.

        on_start(pid, started) is called right after the start; `started` is the process's start time as `process_start` gives it.
        """
        if self._stopped is not None:
            return Outcome(Status.INTERRUPTED, reason=self._stopped)
        try:
            live = self._start(job)
        except (OSError, ValueError) as error:
            return Outcome(Status.FAILED, reason=_why_not_started(job, error))
        try:
            on_start(live.pid, live.born)
            self._arm(live, FIRST_LOOK_S)
            await live.turn
            stuck = await self._end(live)
            if live.exit and live.exit.signal in ("SIGTERM", "SIGINT", "SIGHUP") and live.why is None:
                await self._sleep(0.2)  # systemd and Slurm signal everything at once: is it our turn, too?
        except BaseException:
            self._end_now(live)
            raise
        finally:
            self._disarm(live)
            del self.live[job.id]
            self._leaders.pop(live.pid, None)
        for log in live.logs:
            log.measure(0)
            if log.size > LOG_CAP:
                log.cap()
        return self._outcome(live, stuck)

    def stop(self, job_id: str, reason: str, at_once: bool = False) -> None:
        """End one job if it runs: SIGTERM, 3 s, SIGKILL; or SIGKILL at once. Its outcome becomes INTERRUPTED with this reason."""
        if job_id in self.live:
            self._ask_end(self.live[job_id], Status.INTERRUPTED, reason, at_once)

    def interrupt(self, reason: str, at_once: bool = False) -> None:
        """Stop every job and start no other. Called again with at_once, it cuts the grace short."""
        self._stopped = reason
        for job_id in list(self.live):
            self.stop(job_id, reason, at_once)

    def suspend(self) -> None:
        """Hold every tree (Ctrl-Z); limits' clocks stand still until `resume`."""
        self._suspended = time.monotonic()
        for live in self.live.values():
            self._disarm(live)
            self._signal(live, self._tree(live), signal.SIGSTOP)

    def resume(self) -> None:
        """Let every held tree go on."""
        if self._suspended is None:
            return
        away, self._suspended = time.monotonic() - self._suspended, None
        for live in self.live.values():
            live.started, live.looked = live.started + away, live.looked + away
            self._signal(live, self._tree(live), signal.SIGCONT)
            self._arm(live, 0)

    # Starting

    def _start(self, job: Job) -> Live:
        """Spawn the leader in a session of its own, with nothing of ours but its log files."""
        loop, marker = self._attach(), f"{self._batch_id}/{job.id}/{job.attempt}"
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                 (os.POSIX_SPAWN_OPEN, 1, job.stdout, append, 0o666), (os.POSIX_SPAWN_OPEN, 2, job.stderr, append, 0o666)]
        os.chdir(job.cwd)  # posix_spawn can't; nobody sees it in between, as there is one thread and no await
        try:
            started = time.monotonic()
            pid = os.posix_spawnp(job.command[0], job.command, {**job.env, MARKER: marker}, file_actions=files, setsid=True,
                                  setsigmask=(), setsigdef=RESET)
        finally:
            os.fchdir(self._home)
        live = Live(job, marker, pid, started, _own_peak(), loop.create_future(), looked=started)
        live.logs = [_Log(path) for path in dict.fromkeys((job.stdout, job.stderr))]
        self.live[job.id] = self._leaders[pid] = live
        if MACOS:
            self._tell_watchdog(b"+%d\n" % pid)
        with suppress(OSError):  # no descriptor free
            live.born = process_start(pid)
        return live

    def _attach(self) -> asyncio.AbstractEventLoop:
        import asyncio
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop.add_signal_handler(signal.SIGCHLD, self._reap_leaders)
        return loop

    async def _sleep(self, seconds: float) -> None:
        import asyncio
        await asyncio.sleep(seconds)

    def _tell_watchdog(self, word: bytes) -> None:
        with suppress(OSError):  # somebody killed it
            os.write(self._pipe, word)

    # Looking

    def _arm(self, live: Live, pause: float) -> None:
        """Look again after at most this pause; longer ones end on common multiples, so that many jobs need few wake-ups."""
        self._disarm(live)
        if self._loop and self._suspended is None:
            due = self._loop.time() + pause
            grid = 2.0 ** (math.frexp(pause)[1] - 1)
            live.timer = self._loop.call_at(due // grid * grid if pause > 0.06 else due, self._look, live)

    def _disarm(self, live: Live) -> None:
        if live.timer:
            live.timer.cancel()

    def _look(self, live: Live) -> None:
        """Sample a job, hold it to its limits, and come again: soon in its youth and near a limit, else every second."""
        self._reap_leader(live)  # also makes up for a SIGCHLD that somebody lost
        if live.ended is not None:
            return
        now, limits = time.monotonic(), live.job.limits
        age = now - live.started
        pause = min(LONGEST_LOOK_S, max(FIRST_LOOK_S, age / 2))
        with suppress(OSError):  # no descriptor free to look with: the next look may have one
            self._sample(live, now)
            pause = min([pause, *(self._watch_log(live, log, now) for log in live.logs)])
        if live.rss_mb > limits.memory_mb:
            self._ask_end(live, Status.MEMORY_LIMIT, f"used {live.rss_mb:,.0f} MB; its limit is {limits.memory_mb:,} MB", True)
        elif age >= limits.timeout_s:
            self._ask_end(live, Status.TIMEOUT, f"ran into its time limit of {limits.timeout_s:g} s", False)
        if live.why is None:
            pause = min(pause, max(0.0, live.started + limits.timeout_s - now))
        room = (limits.memory_mb - live.rss_mb) * MB
        self._arm(live, min(pause, max(CLOSEST_LOOK_S, 0.8 * room / FASTEST_HOG)))

    def _sample(self, live: Live, now: float) -> None:
        """Sum the resident memory of the tree; a child that just forked shows its parent's memory once more and doesn't count."""
        self._oom.look(now)
        if now - self._adopted_at > CLOSEST_LOOK_S:
            self._adopt()
        total, sizes, copies = 0, {0: (0, 0)}, {}
        for pid, parent in self._walk(live):
            virtual, resident = sizes[pid] = _memory(pid)
            if 0 < virtual == sizes[parent][0] and resident <= sizes[parent][1]:
                copies[pid] = live.copies.get(pid, now)
                resident = 0 if now - copies[pid] < COPY_S else resident
            total += resident
        live.tree, live.copies, live.rss_mb = set(sizes), copies, total / MB
        live.peak_mb = max(live.peak_mb, live.rss_mb)
        live.mb_seconds += live.rss_mb * (now - live.looked)
        live.looked = now

    def _watch_log(self, live: Live, log: _Log, now: float) -> float:
        """Cut a log that is too long, its writers held meanwhile; return in how many seconds to look again at the latest."""
        pause = log.measure(now)
        if log.size > LOG_CAP:
            tree = self._tree(live)
            self._signal(live, tree, signal.SIGSTOP)
            log.cap()
            self._signal(live, tree, signal.SIGCONT)
            pause = CLOSEST_LOOK_S
        return pause

    # The tree

    def _tree(self, live: Live) -> set[int]:
        """Every process of a job at this moment; what matters is asked again until it is empty."""
        self._reap_leader(live)
        try:
            self._adopt()
            return {pid for pid, _ in self._walk(live)}
        except OSError:
            return {live.pid}  # no descriptor free to look with: assume the worst

    def _walk(self, live: Live) -> Iterator[tuple[int, int]]:
        """(pid, parent) of every process of a job, parents first: the leader and its orphans that came to us, and all below."""
        todo = [(pid, 0) for pid, owner in self._adopted.items() if owner is live]
        if live.ended is None:
            todo.append((live.pid, 0))
        if MACOS:
            todo += [(pid, 0) for pid in _mac_pids(PROC_PGRP_ONLY, live.pid) if pid != live.pid]
        elif not self._subreaper:
            todo += [(pid, 0) for pid in _processes() if _marker(pid) == live.marker]
        met: set[int] = set()
        while todo:
            pid, parent = todo.pop()
            if pid not in met:
                met.add(pid)
                yield pid, parent
                todo += [(child, pid) for child in _children(pid)]

    def _adopt(self) -> None:
        """Take note of orphans that came to us, find out whose they are, and reap the dead ones: singly, as wait4(-1) would take
        the exit status of leaders from those who wait for it."""
        self._adopted_at = time.monotonic()
        for pid in _children(self._pid):
            if pid in self._leaders or pid in self._strangers:
                continue
            if pid not in self._adopted:
                self._adopted[pid] = self._owner(pid)
            reaped, _, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                owner = self._adopted.pop(pid)
                if owner:
                    owner.cpu_s += usage.ru_utime + usage.ru_stime
                    owner.peak_mb = max(owner.peak_mb, _peak(usage) / MB)

    def _owner(self, pid: int) -> Live | None:
        """The job an orphan belongs to: by its marker, its session, the last sample, or because there is no other."""
        marker, session = _marker(pid), _process(pid).session
        for live in self.live.values():
            if marker == live.marker or session == live.pid or pid in live.tree:
                return live
        return next(iter(self.live.values())) if len(self.live) == 1 else None

    def _reap_leaders(self) -> None:
        for live in list(self._leaders.values()):
            self._reap_leader(live)

    def _reap_leader(self, live: Live) -> None:
        """Take the leader's exit status if it has ended."""
        if live.ended is not None:
            return
        try:
            reaped, status, usage = os.wait4(live.pid, os.WNOHANG)
        except ChildProcessError:
            reaped, status, usage = live.pid, None, None  # somebody waited for any child
        if not reaped:
            return
        live.ended = time.monotonic()
        del self._leaders[live.pid]
        if usage and status is not None:
            live.exit = exit_status(status)
            live.cpu_s += usage.ru_utime + usage.ru_stime
            if _peak(usage) > live.driver_peak + MB // 2:
                live.peak_mb = max(live.peak_mb, _peak(usage) / MB)
        if MACOS:
            self._tell_watchdog(b"-%d\n" % live.pid)
        if not live.turn.done():
            live.turn.set_result(None)

    # Ending

    def _ask_end(self, live: Live, status: Status, reason: str, kill: bool) -> None:
        if live.ended is None or live.exit and live.exit.signal:  # what ended by itself stays so while its leftovers are killed
            live.why = live.why or (status, reason)
        live.kill = live.kill or kill
        if not live.turn.done():
            live.turn.set_result(None)

    async def _end(self, live: Live) -> tuple[int, ...]:
        """Return when the tree is gone; or, with what is left, when it outlived SIGKILL for too long."""
        kill_at, pause, asked = time.monotonic(), 0.001, set[int]()
        if live.why and not live.kill:
            kill_at += GRACE_S
        while True:
            now, left = time.monotonic(), self._tree(live)
            if not left:
                return ()
            if live.kill:
                kill_at = min(kill_at, now)
            if now >= kill_at + UNKILLABLE_S:
                self._strangers |= left
                return tuple(sorted(left))
            if now >= kill_at:
                self._signal(live, left, signal.SIGKILL)
            elif left - asked:
                self._signal(live, left - asked, signal.SIGTERM)
                self._signal(live, left - asked, signal.SIGCONT)  # a stopped process takes no SIGTERM
                asked |= left
            await self._sleep(pause)
            pause = min(0.05, pause * 1.5)

    def _end_now(self, live: Live) -> None:
        """Kill a tree without giving way to other coroutines: the driver is on its way out."""
        patience = time.monotonic() + GRACE_S
        while time.monotonic() < patience:
            left = self._tree(live)
            if not left:
                return
            self._signal(live, left, signal.SIGKILL)
            time.sleep(0.002)

    def _end_strays(self) -> None:
        """Kill orphans that could be of any of several jobs (own session, empty environment): no job is left to own them."""
        patience = time.monotonic() + GRACE_S
        with suppress(OSError):  # no descriptor free to look with
            while time.monotonic() < patience:
                self._adopt()
                if not self._adopted:
                    return
                for pid in self._adopted:
                    _send(pid, signal.SIGKILL)
                time.sleep(0.002)

    def _signal(self, live: Live, tree: Iterable[int], number: int) -> None:
        """Signal processes of a job; the leader's number is its group's for sure only while one of ours is in there."""
        if number != signal.SIGTERM and (live.ended is None or any(_group_of(pid) == live.pid for pid in tree)):
            _send(-live.pid, number)  # at one stroke: nothing forks away. Not SIGTERM: a second one may mean more than one
        for pid in tree:
            if pid != live.pid or live.ended is None:
                _send(pid, number)

    def _outcome(self, live: Live, stuck: tuple[int, ...]) -> Outcome:
        status, reason = live.why or self._own_end(live)
        if stuck:
            reason = f"{reason}; processes {', '.join(map(str, stuck))} can't be killed (waiting in the kernel?)".lstrip("; ")
        ended = live.ended or time.monotonic()
        sampled = live.looked - live.started
        average = min(live.peak_mb, live.mb_seconds / sampled) if live.mb_seconds else live.peak_mb
        return Outcome(status, live.exit, ended - live.started, live.cpu_s, live.peak_mb, average, reason, stuck)

    def _own_end(self, live: Live) -> tuple[Status, str]:
        """What it means that a leader ended without our doing."""
        if live.exit is None:
            return Status.FAILED, "its exit status was lost"
        if not live.exit.signal:
            return Status.COMPLETED, ""
        if live.exit.signal == "SIGKILL" and self._oom.struck():
            return Status.MEMORY_LIMIT, "killed by the kernel's out-of-memory killer"
        return Status.FAILED, f"ended by signal {live.exit.signal}, which batch_tamarin did not send"


def end_survivors(batch_id: str, recorded: Iterable[Mapping[str, Any]], patience_s: float = UNKILLABLE_S) -> list[int]:
    """Kill what an earlier driver of this batch left running on this host, and return the pids.

    recorded: `start` events (pid, started, host, boot_id). A process counts if it carries the batch's marker, or is exactly a
    recorded pid with its start time; then so do its session and descendants. Never this process or one it descends from.
    """
    here = host_id()
    known = {(int(start["pid"]), int(start["started"])) for start in recorded
             if (start.get("host"), start.get("boot_id")) == here and start.get("started")}
    ended: set[int] = set()
    patience = time.monotonic() + patience_s
    while True:
        found = _survivors(batch_id, known)
        if not found or time.monotonic() > patience:
            break
        for pid, started in found.items():
            _kill_exactly(pid, started)
        ended |= set(found)
        time.sleep(0.005)
    return sorted(ended)


def _survivors(batch_id: str, known: set[tuple[int, int]]) -> dict[int, int]:
    """Start times by pid of everything alive that end_survivors may end."""
    if MACOS:
        roots = [pid for pid, started in known if process_start(pid) == started]
        return {pid: process_start(pid) for root in roots for pid in {root, *_mac_pids(PROC_PGRP_ONLY, root)}}
    table = _processes()
    found = {pid for pid in table if (pid, table[pid].started) in known or _marker(pid).startswith(batch_id + "/")}
    sessions = {table[pid].session for pid in found if table[pid].session in found}
    more = found
    while more:
        more = {pid for pid, process in table.items() if process.parent in found or process.session in sessions} - found
        found |= more
    own = os.getpid()
    while own in table:
        found.discard(own)
        own = table[own].parent
    return {pid: table[pid].started for pid in found}


def host_id() -> tuple[str, str]:
    """(host, boot id): between two equal ones a pid with its start time means the same process. The boot id holds the pid
    namespace, too: containers share a kernel and often a name, but not their pids."""
    if not LINUX:
        return os.uname().nodename, _sysctl("kern.bootsessionuuid")
    boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    with suppress(OSError):
        boot += " " + os.readlink("/proc/self/ns/pid")
    return os.uname().nodename, boot


def exit_status(status: int) -> ExitStatus:
    """From wait's 16-bit status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return ExitStatus(signal=signal.Signals(number).name)
        except ValueError:
            return ExitStatus(signal=f"SIG{number}")  # a real-time signal
    return ExitStatus(code=os.WEXITSTATUS(status))


# What this process may use

def available_cores(root: str = "/", environ: Mapping[str, str] | None = None) -> int:
    """Cores this process may use: the least of affinity, cgroup quota (v1 and v2, every level) and the Slurm allocation on this
    node. A fraction of a core doesn't count, but one core is always there. root: where proc and sys are looked for."""
    environ = os.environ if environ is None else environ
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    bounds = [float(len(affinity(0)) if affinity else os.cpu_count() or 1)]
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _text(folder + "/cpu.max").partition(" ")
        quota, period = (quota, period) if quota else (_text(folder + "/cpu.cfs_quota_us"), _text(folder + "/cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period):
            bounds.append(int(quota) / int(period))
    bounds += _positive(environ, "SLURM_CPUS_ON_NODE")
    return max(1, int(min(bounds)))


def available_memory_mb(root: str = "/", environ: Mapping[str, str] | None = None) -> int:
    """Memory in MB this process may use, taken or not: the least of what is built in, cgroup limits and the Slurm allocation."""
    environ = os.environ if environ is None else environ
    bounds = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB)]
    for folder in _cgroups(root, "memory"):
        limits = (_text(folder + "/" + name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes"))
        bounds += [int(limit) / MB for limit in limits if limit.isdigit()]
    bounds += _positive(environ, "SLURM_MEM_PER_NODE")
    cores = _positive(environ, "SLURM_CPUS_ON_NODE")
    bounds += [each * cores[0] for each in _positive(environ, "SLURM_MEM_PER_CPU") if cores]
    return max(1, int(min(bounds)))


def _cgroups(root: str, controller: str) -> Iterator[str]:
    """Folders of this process's cgroup and all above it, v1 and v2. A container without a cgroup namespace reads its path from
    outside, and finds its own limits at the mount's root."""
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, names, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0":
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif controller in names.split(","):
            mounts = [f"sys/fs/cgroup/{controller}"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for length in range(len(parts), -1, -1):
            yield from (os.path.join(root, mount, *parts[:length]) for mount in mounts)


def _positive(environ: Mapping[str, str], name: str) -> list[float]:
    value = environ.get(name, "")
    return [float(value)] if value.isdigit() and int(value) else []


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


# Starting, in detail

def _why_not_started(job: Job, error: Exception) -> str:
    """A sentence for the user; posix_spawn reports one error number for changing files, finding and executing the program."""
    program, number = job.command[0], getattr(error, "errno", None) or 0
    if not os.access(job.cwd, os.X_OK):
        return f"could not start {program}: the working directory {job.cwd} does not exist or is closed to you"
    for log in (job.stdout, job.stderr):
        if not os.access(os.path.dirname(log), os.W_OK):
            return f"could not start {program}: its log {log} can't be written"
    path = os.path.join(job.cwd, program)
    found = "/" in program and os.path.exists(path)
    closed = "it is not executable, or its folder is closed to you"
    if "/" not in program:
        closed = f"there is no such program, or {closed}"  # a closed folder on PATH hides that it is nowhere
    hints = {
        errno.ENOENT: "its interpreter (#! line) or loader is missing" if found else "there is no such program",
        errno.EACCES: "it is a folder" if os.path.isdir(path) else closed,
        errno.ENOEXEC: "not a program for this machine, or a script without #! line",
        errno.EAGAIN: "no more processes allowed (ulimit -u, or the pids limit of a cgroup)",
        errno.EMFILE: "this process has too many open files (ulimit -n)",
    }
    hint = hints.get(number, "")
    return f"could not start {program}: {hint or getattr(error, 'strerror', None) or error}"


def _keep_descriptors_from_children() -> None:
    """Python opens everything close-on-exec; what a shell handed down to us isn't."""
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the descriptor of listdir itself
            os.set_inheritable(number, number <= 2)


def _become_subreaper() -> bool:
    """Let orphans of our descendants become our children (Linux 3.4); False if that can't be had."""
    if not LINUX:
        return False
    import ctypes
    pr_set_child_subreaper = 36
    return bool(ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0)


def _start_watchdog(batch_id: str, lock_fd: int | None) -> tuple[int, int]:
    """Fork a process that sleeps until the pipe to it closes; (pid, our end of the pipe)."""
    ours = {signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCHLD}
    reading, writing = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # a handler of ours must not run in the child
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in ours - {signal.SIGCHLD}:
                signal.signal(number, signal.SIG_IGN)
            _close_all_but({reading} if lock_fd is None else {reading, lock_fd})
            _watch(batch_id, reading)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reading)
    return pid, writing


def _watch(batch_id: str, pipe: int) -> None:
    """Wait for the driver's end: a full stop is a good one, anything else leaves processes to kill."""
    leaders, rest = set[int](), b""
    for chunk in iter(lambda: os.read(pipe, 65536), b""):
        if chunk.endswith(b"."):
            return
        *words, rest = (rest + chunk).split(b"\n")
        for word in words:  # macOS only: there is no marker to be seen
            (leaders.add if word.startswith(b"+") else leaders.discard)(int(word[1:]))
    for pid in leaders:
        _send(-pid, signal.SIGKILL)
    end_survivors(batch_id, ())


def _close_all_but(keep: set[int]) -> None:
    """Close every descriptor but these, and put /dev/null in the place of the first three."""
    for number in set(map(int, os.listdir("/dev/fd"))) - keep:
        with suppress(OSError):
            os.close(number)
    while os.open(os.devnull, os.O_RDWR) < 2:
        pass


# Logs

@dataclass
class _Log:
    """A log file that a prover appends to; past LOG_CAP its middle is left out, again and again if need be."""

    path: str
    size: int = 0           # at the last look
    looked: float = 0.0
    head: int = 0           # length of the head kept, once cut
    note: int = 0           # length of the note after it
    left_out: int = 0       # bytes

    def measure(self, now: float) -> float:
        """Take its size; return in how many seconds it may be too long if it goes on like this."""
        size = 0
        with suppress(OSError):
            size = os.stat(self.path).st_size
        rate = (size - self.size) / max(1e-3, now - self.looked)
        self.size, self.looked = size, now
        return max(CLOSEST_LOOK_S, 0.5 * (LOG_CAP - size) / rate) if rate > 0 else LONGEST_LOOK_S

    def cap(self) -> None:
        """Keep the head, a note and the tail of a log over LOG_CAP; both are cut between lines if they have any."""
        with suppress(OSError), open(self.path, "r+b", buffering=0) as file:  # too long a log is no reason to stop a batch
            length = os.fstat(file.fileno()).st_size
            if length > LOG_CAP:
                self._cut(file.fileno(), length)

    def _cut(self, file: int, length: int) -> None:
        self.head = self.head or os.pread(file, LOG_HEAD, 0).rfind(b"\n") + 1 or LOG_HEAD
        source = length - LOG_TAIL
        line_end = os.pread(file, MB, source).find(b"\n")
        source += line_end + 1
        self.left_out += source - self.head - self.note
        # Half a line of the tail goes on the note's line: standing alone it could look like a verdict.
        note = b"[batch_tamarin left out %d bytes here]%s" % (self.left_out, b" " if line_end < 0 else b"\n")
        self.note = os.pwrite(file, note, self.head)
        target = self.head + self.note
        while True:
            chunk = os.pread(file, MB, source)
            if not chunk:
                break
            source += len(chunk)
            target += os.pwrite(file, chunk, target)
        os.ftruncate(file, target)
        self.size = target


# What the system knows of a process

class _Process(NamedTuple):
    """From /proc/PID/stat; zeros when it is gone."""

    state: str = "X"
    parent: int = 0
    session: int = 0
    started: int = 0        # clock ticks since boot


class _OomWatch:
    """Whether the kernel's out-of-memory killer struck lately: its count (Linux 4.13) is for all cgroups and the whole system."""

    def __init__(self, path: str = "/proc/vmstat") -> None:
        self._path = path
        self._looked, self._before, self._last = 0.0, -1, -1

    def look(self, now: float) -> None:
        """Take the count, once a second at most; the one before is kept, so that a kill just before a look is not missed."""
        if now - self._looked >= 1:
            self._looked, self._before, self._last = now, self._last, self._count()

    def struck(self) -> bool:
        before = self._before if self._before >= 0 else self._last
        return 0 <= before < self._count()

    def _count(self) -> int:
        for line in _read(self._path).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return -1


def process_start(pid: int) -> int:
    """When a process started, in the system's own unit: with its pid it names one process since boot; 0 when it is gone."""
    return _mac_usage(pid)[1] if MACOS else _process(pid).started


def _process(pid: int) -> _Process:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # the name before may hold anything
    return _Process(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19])) if len(fields) > 19 else _Process()


def _processes() -> dict[int, _Process]:
    """Every living process by pid (Linux)."""
    table = {int(name): _process(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: process for pid, process in table.items() if process.state not in "ZX"}


def _children(pid: int) -> list[int]:
    """Children of a process, dead ones included; the list can miss one while another dies, so who must know looks again."""
    if MACOS:
        return _mac_pids(PROC_PPID_ONLY, pid)
    if not _kernel_lists_children():
        return [child for child, process in _processes().items() if process.parent == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


@functools.cache
def _kernel_lists_children() -> bool:
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _memory(pid: int) -> tuple[int, int]:
    """(address space, resident) in bytes; of the second alone on macOS, zeros when it is gone."""
    if MACOS:
        return 0, _mac_usage(pid)[0]
    pages = _read(f"/proc/{pid}/statm").split() or [b"0", b"0"]
    return int(pages[0]) * PAGE, int(pages[1]) * PAGE


def _marker(pid: int) -> str:
    """The value of MARKER a process was started with, or "": environ is what exec left, whatever the process did since."""
    _, found, rest = (b"\0" + _read(f"/proc/{pid}/environ")).partition(b"\0" + MARKER.encode() + b"=")
    return os.fsdecode(rest.partition(b"\0")[0]) if found else ""


def _read(path: str) -> bytes:
    """A file of /proc; empty when the process is gone or not ours to look at. OSError when no descriptor is free."""
    try:
        file = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        chunks = [os.read(file, 16384)]
        while chunks[-1]:
            chunks.append(os.read(file, 65536))
        return b"".join(chunks)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(file)


def _peak(usage: Any) -> int:
    """ru_maxrss in bytes: the largest single process among the one waited for and those it waited for."""
    return int(usage.ru_maxrss) * (1 if MACOS else 1024)


def _own_peak() -> int:
    """What a child inherits as ru_maxrss when it leaves our memory by exec (Linux only)."""
    import resource
    return 0 if MACOS else _peak(resource.getrusage(resource.RUSAGE_SELF))


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return 0


def _send(pid: int, number: int) -> None:
    """Signal a process, or a group by its negative number; it may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _kill_exactly(pid: int, started: int) -> None:
    """SIGKILL for this very process; with pidfds (Linux 5.3) not even one that got its pid just now is mistaken for it."""
    with suppress(OSError):  # gone, or an old kernel
        if sys.platform == "linux" and hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(pid)
            try:
                if process_start(pid) == started:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                return
            finally:
                os.close(handle)
    if process_start(pid) == started:
        _send(pid, signal.SIGKILL)


def _mac_pids(kind: int, number: int) -> list[int]:
    """proc_listpids: pids by parent or group."""
    import ctypes
    pids = (ctypes.c_int * 4096)()
    size = ctypes.CDLL(None).proc_listpids(kind, number, pids, ctypes.sizeof(pids))
    return [pid for pid in pids[:max(0, size) // 4] if pid]


def _mac_usage(pid: int) -> tuple[int, int]:
    """proc_pid_rusage, rusage_info_v0: (resident bytes, start in Mach's time since boot)."""
    import ctypes
    info = (ctypes.c_uint64 * 12)()
    failed = ctypes.CDLL(None).proc_pid_rusage(pid, 0, info)
    return (0, 0) if failed else (int(info[8]), int(info[10]))


def _sysctl(name: str) -> str:
    import ctypes
    value, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    failed = ctypes.CDLL(None).sysctlbyname(name.encode(), value, ctypes.byref(size), None, 0)
    return "" if failed else value.value.decode()


# ======================================================================================================================
# Journal
# ======================================================================================================================

JOURNAL = "batch.jsonl"


class StorageError(InputError):
    """The results directory can't be written (any more): full, read-only, or held by another run."""


class Journal:
    """The truth about a batch on disk, one JSON object a line; `record` is how a running batch changes.

    One writer, locked. Order: the line is written, the batch changed, and, before anyone is told, the line is on disk. Many
    results that come together share one flush.
    """

    def __init__(self, path: str) -> None:
        """Open or create, and lock, the journal at `path`. Raises StorageError."""
        self.path, self.batch = path, Batch()
        self.observers: list[Callable[[Event], None]] = []  # told of an event once it is on disk
        self._unflushed: list[Event] = []
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"the journal can't be written: {error.strerror}", path) from None
        lock_journal(self.fd, path)
        self.size = cut_torn_tail(self.fd)

    def begin(self, batch: Batch) -> None:
        """Write the plan of a new batch. Raises StorageError."""
        self.batch = batch
        lines: list[bytes] = []
        for event in batch.events():
            lines.append(json_line(event))
            if len(lines) >= 1_000:
                self._write(b"".join(lines))
                lines.clear()
        self._write(b"".join(lines))
        self._sync()

    def record(self, event: Event) -> None:
        """Write one event, then apply it. Raises StorageError."""
        self._write(json_line(event))
        self.batch.apply(event)
        self._unflushed.append(event)

    def flush(self) -> None:
        """Bring what was recorded to the disk, then tell the observers. Raises StorageError."""
        events, self._unflushed = self._unflushed, []
        if any(event["event"] != "start" for event in events):  # a start that is lost only runs again
            self._sync()
        for event in events:
            for observer in self.observers:
                observer(event)

    def close(self) -> None:
        self.flush()
        os.close(self.fd)

    def _write(self, data: bytes) -> None:
        """Append whole lines. If they don't go in whole the file is cut back, so that it always ends with a whole line."""
        why = ""
        try:
            written = os.write(self.fd, data)
        except OSError as error:
            written, why = 0, error.strerror or str(error)
        if written == len(data):
            self.size += written
            return
        os.ftruncate(self.fd, self.size)
        raise StorageError(f"the journal can't be written: {why or os.strerror(errno.ENOSPC)}. What it holds is safe: make room, then "
                           "run the same command again to go on", self.path)

    def _sync(self) -> None:
        try:
            getattr(os, "fdatasync", os.fsync)(self.fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have nothing to flush
                raise StorageError(f"the journal can't be brought to disk: {error.strerror}", self.path) from None


def json_line(event: Event) -> bytes:
    """One line of the journal; half a surrogate pair (an undecodable file name) survives as its JSON escape."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"


def lock_journal(fd: int, path: str) -> None:
    """Make this process the journal's one writer. Raises StorageError that says who is."""
    import fcntl
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StorageError(f"the journal can't be locked: {error.strerror}", path) from None
        holder = load_batch(path, lambda _: None).header
        raise StorageError(f"another run is at work here (process {holder.get('pid', '?')} on {holder.get('host', '?')}): wait for it, "
                           "or give another directory with -o", path) from None


def cut_torn_tail(fd: int) -> int:
    """Cut what follows the last newline: a line that a dying writer left half-written. Returns the size."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - 65_536)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
    return end


def read_journal(path: str, warn: Callable[[str], None]) -> Iterator[tuple[int, Event]]:
    """The events of a journal with their line numbers, as a stream. Lines that can't be read are skipped, loudly.

    Leading NULs (blocks that a crashed file system never filled) are stripped; a torn last line is left out.
    Raises InputError when there is no journal.
    """
    try:
        with open(path, "rb") as file:
            yield from journal_events(file, path, warn)
    except OSError as error:
        raise InputError(f"the journal can't be read: {error.strerror}", path) from None


def journal_events(file: BinaryIO, path: str, warn: Callable[[str], None]) -> Iterator[tuple[int, Event]]:
    """The events from where the file stands; it is left standing before a torn last line, to be read on from there."""
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        event = _parse_line(line.lstrip(b"\0").strip())
        if event:
            yield number, event
        elif event is None:
            warn(f"{path}:{number}: this line can't be read and is skipped")


def _parse_line(line: bytes) -> Event | None:
    """The event on a line; an empty one on an empty line; None when it can't be read."""
    try:
        event = json.loads(line) if line else {}
    except (ValueError, RecursionError):
        return None
    return event if event == {} or isinstance(event, dict) and "event" in event else None


def load_batch(path: str, warn: Callable[[str], None]) -> Batch:
    """The Batch that a journal tells of. Raises InputError when it tells of none."""
    batch = Batch()
    deque(apply_events(batch, read_journal(path, warn), path, warn), maxlen=0)
    return batch


def apply_events(batch: Batch, events: Iterable[tuple[int, Event]], path: str, warn: Callable[[str], None]) -> Iterator[Event]:
    """Apply events from a journal; those that could be used are handed on."""
    for number, event in events:
        try:
            batch.apply(event)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            warn(f"{path}:{number}: this event can't be used and is skipped ({type(error).__name__}: {error})")
        else:
            yield event


def is_locked(path: str) -> bool:
    """Whether some process holds the journal's lock."""
    import fcntl
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # this file system has no locks
    return False


# --- The results directory ---------------------------------------------------------------------------------------------

RESULT_FOLDERS = ("success", "failed", "proofs", "traces", "logs")


def open_results(directory: str, planned: Batch, fresh: bool, tell: Callable[[str], None]) -> tuple[str, Journal]:
    """The directory to write to and its journal, whose batch is ready to run. Nothing that others wrote is touched.

    An unfinished batch of the same recipe goes on; beside anything else a dated sibling is made. Raises StorageError.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        found = os.listdir(directory)
        journal = None if found and (fresh or JOURNAL not in found) else Journal(os.path.join(directory, JOURNAL))
        if journal and journal.size:
            journal = continue_batch(journal, planned, tell)
        elif journal:
            journal.begin(planned)
        if not journal:
            directory = dated_sibling(directory)
            tell(f"results that are already there are left alone: writing to {directory}")
            journal = Journal(os.path.join(directory, JOURNAL))
            journal.begin(planned)
        for folder in RESULT_FOLDERS:
            os.makedirs(os.path.join(directory, folder), exist_ok=True)
    except OSError as error:
        raise StorageError(f"the results directory can't be written: {error.strerror}", error.filename or directory) from None
    return directory, journal


def continue_batch(journal: Journal, planned: Batch, tell: Callable[[str], None]) -> Journal | None:
    """Bring an unfinished batch of the same recipe up to the present plan; None (journal closed) for any other batch."""
    old = journal.batch = load_batch(journal.path, tell)
    same = old.header and (old.header["recipe_file"] == planned.header["recipe_file"] or old.header["recipe"] == planned.header["recipe"])
    finished = old.ended is not None and old.count(*FINAL) == len(old.tasks)
    grown = any(task.id in old.tasks and task.key == old.tasks[task.id].key and not still_holds(old.tasks[task.id], task)
                for task in planned.tasks.values())
    if old.header and (not same or (finished and not grown)):
        journal.close()
        return None
    end_survivors(old.id, recorded_starts(journal.path, old))
    vanished = [task_id for task_id in old.tasks if task_id not in planned.tasks]
    journal.record({**planned.header, "id": old.id or planned.id, "vanished": vanished})
    for task in planned.tasks.values():
        if task.id not in old.tasks or any(getattr(task, name) != getattr(old.tasks[task.id], name) for name in plan_fields()):
            journal.record(task_event(task))
    tell(f"resuming: {old.count(*FINAL):,} of {len(old.tasks):,} done"
         + (f"; no longer in the recipe: {', '.join(vanished[:10])}" if vanished else ""))
    return journal


def recorded_starts(path: str, batch: Batch) -> list[Event]:
    """The `start` events of what was running when the driver went away."""
    running = {task.id: task.attempts for task in batch.tasks.values() if task.status is Status.RUNNING}
    return [event for _, event in read_journal(path, lambda _: None) if event["event"] == "start"
            and any(running.get(task_id) == event.get("attempt") for task_id in event.get("ids", ()))]


def dated_sibling(directory: str) -> str:
    """Make `NAME_YYYY-MM-DD_HH-MM-SS` beside a directory, for nobody else."""
    stem = directory.rstrip(os.sep) + time.strftime("_%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1_000):
        path = stem if number == 1 else f"{stem}_{number}"
        try:
            os.mkdir(path)
            return path
        except FileExistsError:
            continue
    raise StorageError("there is no free name for a directory beside it", directory)


# ======================================================================================================================
# Cache
# ======================================================================================================================


# ======================================================================================================================
# Scheduler and executors
# ======================================================================================================================


class Room:
    """The cores and the memory (MB) that jobs share: two semaphores taken together, so that no job holds one and waits for the other."""

    def __init__(self, cores: int, memory_mb: int) -> None:
        self.cores, self.memory_mb = cores, memory_mb

    def fits(self, limits: Limits) -> bool:
        return limits.cores <= self.cores and limits.memory_mb <= self.memory_mb

    def take(self, limits: Limits) -> None:
        self.cores, self.memory_mb = self.cores - limits.cores, self.memory_mb - limits.memory_mb

    def give(self, limits: Limits) -> None:
        self.cores, self.memory_mb = self.cores + limits.cores, self.memory_mb + limits.memory_mb


class Scheduler(Generic[T]):
    """Starts `work(item)` for every item as soon as its limits fit into the room, in order.

    A job that fits may overtake one that does not. When the first waiting job has been overtaken for as long as its own timeout,
    nothing else starts until it does: with limits capped to the whole room, nothing can wait for ever. (Limits are poor estimates
    of run times: reserving by them, as EASY backfilling does, doubled the makespan in simulations.)
    """

    def __init__(self, room: Room, limits: Callable[[T], Limits], work: Callable[[T], Awaitable[bool]]) -> None:
        """`work` tells whether the item's room is free again."""
        self.room, self._limits, self._work = room, limits, work
        self._waiting: dict[Limits, deque[tuple[int, T]]] = {}  # one queue for all items of equal limits: few to look through
        self._overtaken: tuple[int, float] = (-1, 0.0)  # the first waiting item's place, and since when others start before it
        self._jobs: set[asyncio.Future[None]] = set()
        self._error: BaseException | None = None

    async def run(self, items: Iterable[T]) -> None:
        """Work on all items; returns when the last job has ended. Raises what a job or `fail` raised."""
        import asyncio
        for place, item in enumerate(items):
            self._waiting.setdefault(self._limits(item), deque()).append((place, item))
        self._start_what_fits()
        while self._jobs:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Start nothing new."""
        self._waiting.clear()

    def fail(self, error: BaseException) -> None:
        """Start nothing new, and let `run` raise this."""
        self._error = self._error or error
        self.stop()

    def _start_what_fits(self) -> None:
        import asyncio
        for item, limits in iter(self._next, None):
            self.room.take(limits)
            self._jobs.add(asyncio.ensure_future(self._job(item, limits)))

    def _next(self) -> tuple[T, Limits] | None:
        """Take the first waiting item that may start now."""
        queues = sorted(self._waiting.items(), key=lambda pair: pair[1][0][0])
        for limits, queue in queues[:1] if self._starving(queues) else queues:
            if self.room.fits(limits):
                place, item = queue.popleft()
                first = queues[0][1][0][0] if queues[0][1] else place
                if place > first and self._overtaken[0] != first:
                    self._overtaken = (first, time.monotonic())
                if not queue:
                    del self._waiting[limits]
                return item, limits
        return None

    def _starving(self, queues: Sequence[tuple[Limits, deque[tuple[int, T]]]]) -> bool:
        place, since = self._overtaken
        return bool(queues) and queues[0][1][0][0] == place and time.monotonic() - since >= queues[0][0].timeout_s

    async def _job(self, item: T, limits: Limits) -> None:
        import asyncio
        try:
            if await self._work(item):
                self.room.give(limits)
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it when the other jobs have ended
            self.fail(error)
        finally:
            self._jobs.discard(asyncio.current_task())
            self._start_what_fits()


FLUSH_S = 0.005  # how long a result may wait for others before it is brought to disk and shown


def in_order(tasks: Iterable[Task], scheduler: str) -> list[Task]:
    """Waiting tasks in the order in which they should start: as planned, or the smallest or largest (cores + GB asked for) first."""
    if scheduler == "fifo":
        return list(tasks)
    return sorted(tasks, key=lambda task: task.limits.cores + task.limits.memory_mb / 1024, reverse=scheduler == "ljf")


class Runner:
    """Brings tasks from waiting to finished: the way of a lemma through prover, reader and journal."""

    def __init__(self, directory: str, journal: Journal, supervisor: Supervisor) -> None:
        self.directory, self.journal, self.batch, self.supervisor = directory, journal, journal.batch, supervisor
        limits = from_json(Limits, self.batch.header["limits"])
        self.scheduler: Scheduler[Task] = Scheduler(Room(limits.cores, limits.memory_mb), lambda task: task.limits, self.prove)
        self._environments = {alias: prover_environment(prover) for alias, prover in self.batch.provers.items()}
        self._host = host_id()
        self._flushing = False
        self.stopped = 0  # the signal that stopped the batch

    async def run(self, tasks: Iterable[Task]) -> None:
        """Run these tasks, under the signals that a user or a system sends. Raises StorageError."""
        import asyncio
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._interrupt, number)
        self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        try:
            await self.scheduler.run(in_order(tasks, self.batch.header["scheduler"]))
        finally:
            self.journal.flush()

    async def prove(self, task: Task) -> bool:
        """One attempt at one task; whether its room is free again."""
        attempt, prover, outputs = task.attempts + 1, self.batch.provers[task.prover], result_files(self.directory, task.id)
        job = Job(task.id, attempt, prover_command(prover, task, outputs), task.cwd, self._environments[task.prover], task.limits,
                  outputs.stdout, outputs.stderr, (task.id,))
        try:
            set_aside(outputs)
            outcome = await self.supervisor.run(job, functools.partial(self._record_start, job))
            result = self._result(task, outcome, outputs)
            self._record(finish_event(task, job.id, attempt, result))
        except (OSError, StorageError) as error:
            self._give_up(error)
            return True
        return not outcome.unkillable

    def _result(self, task: Task, outcome: Outcome, outputs: Outputs) -> Result:
        """What came of an attempt, its files settled."""
        try:
            result = judge(task, outcome, read_output(outputs.stdout, outputs.stderr, task.lemma), outputs.proof)
            keep_outputs(task, result, outputs)
        except OSError as error:  # too many open files, perhaps: the next task may have better luck
            return judge(task, replace(outcome, status=Status.FAILED, reason=f"its output can't be read: {error.strerror}"),
                         ProverOutput(), "")
        return result

    def _give_up(self, error: Exception) -> None:
        """What happens can't be recorded any more: end everything, let `run` raise the error."""
        self.scheduler.fail(error)
        self.supervisor.interrupt("the results can't be written any more")

    def _record_start(self, job: Job, pid: int, started: int) -> None:
        self._record({"event": "start", "at": now(), "ids": job.task_ids, "job": job.id, "attempt": job.attempt, "pid": pid,
                      "started": started, "host": self._host[0], "boot_id": self._host[1], "command": job.command})

    def _record(self, event: Event) -> None:
        """Record now, flush in a moment: results that come in quick succession share one flush."""
        self.journal.record(event)
        if not self._flushing:
            self._flushing = True
            self._loop.call_later(FLUSH_S, self._flush)

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
            say(f"stopping: {plural(len(self.supervisor.live), 'job')} to end within {GRACE_S:g} s; once more kills at once")
        self.supervisor.interrupt(f"stopped by {signal.Signals(number).name}", at_once=bool(self.stopped))
        self.stopped = self.stopped or number

    def _suspend(self) -> None:
        """Ctrl-Z holds every prover, then this process; it goes on from here when it is told to."""
        self.supervisor.suspend()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.supervisor.resume()


OUTPUT_FILES = (("logs", ".out"), ("logs", ".err"), ("proofs", ".spthy"), ("traces", ".json"), ("traces", ".dot"))


def result_files(directory: str, job: str) -> Outputs:
    """Where a job leaves its files: absolute paths."""
    directory = os.path.abspath(directory)
    return Outputs(*(os.path.join(directory, folder, job + ending) for folder, ending in OUTPUT_FILES))


def set_aside(outputs: Outputs) -> None:
    """Keep what an earlier attempt left: `ID.out` becomes `ID~1.out`. Nothing is ever written over."""
    for path in dataclasses.astuple(outputs):
        if os.path.exists(path):
            stem, ending = os.path.splitext(path)
            number = 1
            while os.path.exists(f"{stem}~{number}{ending}"):
                number += 1
            os.rename(path, f"{stem}~{number}{ending}")


def keep_outputs(task: Task, result: Result, outputs: Outputs) -> None:
    """Leave what belongs to the result: a proof with its verdict, the traces of this lemma; nothing half-written."""
    if result.status is not Status.COMPLETED:
        for path in (outputs.proof, outputs.trace_json, outputs.trace_dot):
            remove_file(path)
        return
    for path, own in ((outputs.trace_dot, own_dot), (outputs.trace_json, own_json)):
        try:
            size = os.stat(path).st_size
            if size > TRACE_CAP:
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        names = {line.name for line in read_output(outputs.stdout, outputs.stderr).lines} if size else ()
        kept = own(text, task.lemma, names) if size else ""
        if not kept:
            remove_file(path)
        elif kept != text:
            write_file(path, kept)


TRACE_CAP = 64 * MB  # a larger trace file is left as the prover wrote it


VERSION_LIMITS = Limits(cores=1, memory_mb=4096, timeout_s=30)


async def ask_versions(provers: Iterable[Prover]) -> None:
    """Ask every prover its version, all at once and each executable once; one that does not tell is warned of."""
    import asyncio
    import tempfile
    groups: dict[str, list[Prover]] = {}
    for prover in provers:
        groups.setdefault(json.dumps([prover.command, prover.options, prover.env]), []).append(prover)
    with tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder, Supervisor(os.urandom(6).hex()) as supervisor:
        await asyncio.gather(*(_ask_version(supervisor, folder, same) for same in groups.values()))


async def _ask_version(supervisor: Supervisor, folder: str, provers: Sequence[Prover]) -> None:
    prover = provers[0]
    stdout, stderr = os.path.join(folder, prover.alias + ".out"), os.path.join(folder, prover.alias + ".err")
    job = Job(prover.alias, 1, (*prover.command, "--version", *prover.options), os.getcwd(), prover_environment(prover), VERSION_LIMITS,
              stdout, stderr)
    outcome = await supervisor.run(job, lambda pid, started: None)
    said = "\n".join(ends_of(stdout))
    flavour, version = read_version(said)
    digests = [file_digest(word) for word in prover.command if os.path.isfile(word)]
    for same in provers:
        same.flavour, same.version = flavour, version
        same.identity = sha256(json.dumps([digests, said]).encode())
    if not version:
        problem = outcome.reason or read_output(stdout, stderr).complaint or "it said nothing that we know"
        warn(f"prover '{prover.alias}' did not tell its version: {problem}")


# ======================================================================================================================
# Audit
# ======================================================================================================================


# ======================================================================================================================
# Reports
# ======================================================================================================================


def missed_expectation(task: Task) -> bool:
    """Whether the task has an answer that is not the one its recipe expects, or should have one and has none."""
    return bool(task.expect) and task.status not in (Status.PENDING, Status.RUNNING, Status.INTERRUPTED) and task.verdict != task.expect


def exit_code(tasks: Sequence[Task]) -> int:
    """1: an expectation was missed; 3: some task has neither `verified` nor `falsified`; 0: all well."""
    if any(missed_expectation(task) for task in tasks):
        return 1
    settled = (task.verdict in ANSWERS or task.status is Status.SUPERSEDED for task in tasks)
    return 0 if all(settled) else 3


# --- batch-tamarin's files: the layout and the field names that its 1.2 `report` command reads --------------------------

# How its words differ from ours: status, return code and error type of what has no verdict.
_UPSTREAM_ENDS = {Status.TIMEOUT: ("timeout", -1, "timeout"), Status.MEMORY_LIMIT: ("memory_limit_exceeded", -2, "memory_limit"),
                  Status.INTERRUPTED: ("signal_interrupted", -3, "wrapper_killed"), Status.FAILED: ("failed", -1, "tamarin_error")}
_WON = (Status.COMPLETED, Status.SUPERSEDED)


def write_result_file(directory: str, task: Task) -> None:
    """success/ID.json or failed/ID.json of a task that has ended; the other one, of an earlier attempt, goes."""
    if not task.result:
        return
    won = task.status in _WON
    content = _success(directory, task, task.result) if won else _failure(task, task.result)
    for folder, wanted in (("success", won), ("failed", not won)):
        path = os.path.join(directory, folder, task.id + ".json")
        if wanted:
            write_file(path, json.dumps(content, indent=2) + "\n")
        else:
            remove_file(path)


def _success(directory: str, task: Task, result: Result) -> Event:
    lemma = {task.lemma: {"steps": result.steps or 0, "analysis_type": result.trait}}
    return {"task_id": task.id, "warnings": list(result.warnings), "tamarin_timing": result.prover_s or 0.0, "wrapper_measures": _measures(result),
            "output_spthy": os.path.join(directory, "proofs", task.id + ".spthy"),
            "verified_lemma": lemma if result.verdict is Verdict.VERIFIED else {},
            "falsified_lemma": lemma if result.verdict is Verdict.FALSIFIED else {},
            "unterminated_lemma": [] if result.verdict in ANSWERS else [task.lemma]}


def _failure(task: Task, result: Result) -> Event:
    return {"task_id": task.id, "error_description": result.reason, "wrapper_measures": _measures(result),
            "return_code": _return_code(result), "last_stderr_lines": result.stderr_tail.splitlines()}


def _measures(result: Result) -> Event:
    return {"time": result.wall_s, "avg_memory": result.avg_mb, "peak_memory": result.peak_mb}


def _return_code(result: Result) -> int:
    code = (result.exit or {}).get("code") if result.status is Status.FAILED else None
    return int(code) if code is not None else _UPSTREAM_ENDS[result.status][1]


def execution_report(batch: Batch, directory: str) -> Event:
    """The whole batch as batch-tamarin's execution_report.json."""
    ended = [task.result for task in batch.tasks.values() if task.result]
    tasks: dict[str, Event] = {}
    for task in batch.tasks.values():
        entry = tasks.setdefault(task.name, {"theory_file": task.theory, "subtasks": {}})
        entry["subtasks"][task.id] = _subtask(batch, directory, task)
    limits = batch.header["limits"]
    won = sum(result.status in _WON for result in ended)
    return {
        "recipe": os.path.basename(batch.header["recipe_file"]),
        "config": {"global_max_cores": limits["cores"], "global_max_memory": max(1, limits["memory_mb"] // 1024),
                   "default_timeout": max(1, round(limits["timeout_s"])), "output_directory": directory},
        "tamarin_versions": {alias: {"path": prover.command[0], "version": f"v{prover.version}" if prover.version else ""}
                             for alias, prover in batch.provers.items()},
        "execution_metadata": {
            "total_tasks": len(batch.tasks), "total_successes": won, "total_failures": len(ended) - won,
            "total_cache_hit": sum(result.cached for result in ended), "total_runtime": sum(result.wall_s for result in ended),
            "total_memory": sum(result.peak_mb for result in ended), "max_runtime": max((result.wall_s for result in ended), default=0.0),
            "max_memory": max((result.peak_mb for result in ended), default=0.0)},
        "tasks": tasks}


def _subtask(batch: Batch, directory: str, task: Task) -> Event:
    result = task.result or Result(task.status)
    outputs, at = result_files(directory, task.id), result.at or batch.header["at"]
    return {
        "task_config": {
            "tamarin_alias": task.prover, "lemma": task.lemma, "output_theory_file": outputs.proof, "output_trace_file": outputs.trace_json,
            "options": list(task.options), "preprocessor_flags": list(task.flags),
            "resources": {"cores": task.limits.cores, "memory": max(1, round(task.limits.memory_mb / 1024)),
                          "timeout": max(1, round(task.limits.timeout_s))}},
        "task_execution_metadata": {
            "command": list(prover_command(batch.provers[task.prover], task, outputs)),
            "status": "completed" if task.status in _WON else _UPSTREAM_ENDS.get(task.status, ("pending",))[0],
            "cache_hit": result.cached, "exec_start": local_time(at, -result.wall_s), "exec_end": local_time(at),
            "exec_duration_monotonic": result.wall_s, "avg_memory": result.avg_mb, "peak_memory": result.peak_mb},
        **({"task_result": _subtask_result(task, task.result)} if task.result else {})}


def _subtask_result(task: Task, result: Result) -> Event:
    if task.status in _WON:
        return {"warnings": list(result.warnings), "real_time_tamarin_measure": result.prover_s or 0.0,
                "lemma_result": result.verdict if result.verdict in ANSWERS else "unterminated", "steps": result.steps or 0,
                "analysis_type": result.trait}
    return {"return_code": str(_return_code(result)), "error_type": _UPSTREAM_ENDS[task.status][2],
            "error_description": result.reason or str(task.status), "last_stderr_lines": result.stderr_tail.splitlines()}


def local_time(at: str, seconds: float = 0.0) -> str:
    """A journal's time, moved by `seconds`, as batch-tamarin writes times: local, without a zone."""
    import datetime
    moment = datetime.datetime.fromisoformat(at.replace("Z", "+00:00")) + datetime.timedelta(seconds=seconds)
    return moment.astimezone().replace(tzinfo=None).isoformat(timespec="microseconds")


# --- The final table ---------------------------------------------------------------------------------------------------

TABLE_ROWS = 40  # a longer batch shows its problems only


def outcome_word(task: Task) -> str:
    """The verdict if there is one, else the status."""
    return str(task.verdict or task.status).replace("_", " ")


def count_outcomes(tasks: Iterable[Task]) -> dict[str, int]:
    """How many tasks came to which outcome, in the order of our words."""
    counts = {str(word).replace("_", " "): 0 for word in (*Verdict, *Status)}
    for task in tasks:
        counts[outcome_word(task)] += 1
    return {word: count for word, count in counts.items() if count}


def final_table(batch: Batch, directory: str, tasks: Sequence[Task]) -> str:
    """What came out, for a terminal: the tasks (of a large batch only those that need a look), totals, where to look next."""
    ran = [task for task in tasks if task.status is not Status.PENDING]
    problems = [task for task in ran if missed_expectation(task) or task.verdict not in ANSWERS and task.status is not Status.SUPERSEDED]
    shown = ran if len(ran) <= TABLE_ROWS else sorted(problems, key=missed_expectation, reverse=True)[:TABLE_ROWS]
    lines = [text_table([("result", "task", "steps", "time", "memory", ""), *map(_table_row, shown)], right=(2, 3, 4))] if shown else []
    if len(shown) < len(problems):
        lines.append(f"and {plural(len(problems) - len(shown), 'task')} more without a verdict, or not as expected")
    totals = ", ".join(f"{count:,} {word}" for word, count in count_outcomes(tasks).items())
    missed = sum(map(missed_expectation, tasks))
    totals += f"; {missed:,} not as expected" if missed else ""
    return "\n".join([*lines, "", f"{plural(len(tasks), 'task')}: {totals}", f"results: {printable(directory)}", *_next_steps(tasks, directory)]) + "\n"


def _next_steps(tasks: Iterable[Task], directory: str) -> Iterator[str]:
    """What to type next."""
    import shlex
    where, first = shlex.quote(printable(directory)), {task.status: task.id for task in reversed([*tasks])}
    if first.keys() & {Status.PENDING, Status.RUNNING, Status.INTERRUPTED}:
        yield f"go on: batch_tamarin.py resume {where}"
    if Status.FAILED in first:
        yield f"why:   less {where}/logs/{first[Status.FAILED]}.err"
    if first.keys() & {Status.TIMEOUT, Status.MEMORY_LIMIT}:
        yield "more:  run the recipe again with larger limits: only what met its limit runs again"


def text_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as they need to be; the first row is the heading. Safe for a terminal."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.rjust(width) if column in right else fit(cell, width)
                               for column, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in cells)


def _table_row(task: Task) -> tuple[str, ...]:
    result = task.result or Result(task.status)
    notes = [f"expected {task.expect}!"] if missed_expectation(task) else []
    notes += [result.reason[:160]] if result.reason else []
    notes += [f"warning: {warning}" for warning in result.warnings]
    ran = task.result is not None
    return (outcome_word(task), task.id, str(result.steps or ""), duration(result.wall_s) if ran else "",
            f"{result.peak_mb:,.0f} MB" if ran else "", "; ".join(notes))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


# ======================================================================================================================
# Terminal
# ======================================================================================================================


REDRAW_S, TICK_S = 0.1, 0.25  # at most ten redraws a second; without news, four
PROGRESS_MODES = ("auto", "bar", "plain", "none")
_COLOURS = {"verified": 32, "falsified": 35, "incomplete": 33, "timeout": 33, "memory limit": 33, "failed": 31, "interrupted": 33,
            "superseded": 2, "error:": 31, "warning:": 33}
_COLOURED = re.compile(rf"(^|^\[ *\d+/\d+\] |(?<=\d ))({'|'.join(_COLOURS)})(?=[ ,]|$)|\bexpected (?:verified|falsified)!", re.MULTILINE)
_PHASE = re.compile(rb"^\[Theory [^]\n]*\] ([^\n]+)|^\[Saturating Sources\] (?:Step (\d+) \(Max (\d+)\)|Done)", re.MULTILINE)


class RunningJob(NamedTuple):
    """What a live view tells of a job; memory in MB, None where it can't be seen; `log`: its stderr."""

    id: str
    lemma: str
    elapsed_s: float
    memory_mb: float | None
    limits: Limits
    log: str


class Progress:
    """Watches the events of a batch, live or from its journal: tells of each on one line, and draws the live block.

    `tasks`: those that count. `live`: what the supervisor of this process, if there is one, knows of its jobs.
    """

    def __init__(self, batch: Batch, tasks: Collection[Task], directory: str, live: Mapping[str, Live], args: argparse.Namespace) -> None:
        self.batch, self.tasks, self.directory, self.live = batch, tasks, directory, live
        self.quiet, self.debug, self.silent = args.quiet, args.debug, args.progress == "none"
        self.screen = Screen(self.block) if draws_block(args.progress, args.quiet) else None
        self.done = sum(task.status in FINAL for task in tasks)
        self._starts: dict[str, Event] = {}  # by task id, of what runs
        self._counts: dict[str, int] = {}
        self._forecast = (0.0, False)
        self._survey_due = 0.0

    async def beside(self, work: Awaitable[None]) -> None:
        """Await some work, and keep the live block alive meanwhile."""
        import asyncio
        if not self.screen:
            return await work

        async def tick(screen: Screen) -> None:
            while True:
                screen.draw()
                await asyncio.sleep(TICK_S)

        with self.screen:
            ticker = asyncio.ensure_future(tick(self.screen))
            try:
                await work
            finally:
                ticker.cancel()

    def __call__(self, event: Event) -> None:
        """Take note, and tell, of an event that has just been applied."""
        if event["event"] == "batch":  # another driver goes on
            self._starts.clear()
        elif event["event"] == "start":
            self._starts.update(dict.fromkeys(event["ids"], event))
            if self.debug and not self.silent:
                where = f"attempt {event['attempt']}, process {event['pid']}; {self._use()} in use"
                say(f"start {event['job']} ({where}): {quoted(event['command'])}")
        elif event["event"] == "finish":
            self._starts.pop(event["id"], None)
            task = self.batch.tasks[event["id"]]
            self.done += task.status in FINAL
            settled = task.verdict in ANSWERS or task.status is Status.SUPERSEDED
            if not self.silent and not (self.quiet and settled and not missed_expectation(task)):
                say(self._line(task, task.result or Result(task.status)))

    def _line(self, task: Task, result: Result) -> str:
        about = ["cached"] if result.cached else []
        about += [plural(result.steps, "step")] if result.steps else []
        about += [duration(result.wall_s), f"{result.peak_mb:,.0f} MB"]
        reason = f" (expected {task.expect}!)" if missed_expectation(task) else ""
        reason += f": {result.reason}" if result.reason else ""
        total, room = str(len(self.tasks)), terminal_size()[0] - 20 if self.screen else math.inf
        name = task.id if len(task.id) < room else task.lemma
        line = f"[{self.done:{len(total)}}/{total}] {outcome_word(task):12} {name} ({', '.join(about)}){reason}"
        return fit(line, terminal_size()[0] - 1, glyphs()[2]).rstrip() if self.screen else line

    def jobs(self) -> list[RunningJob]:
        """What runs, the longest first."""
        return [self._running(start) for start in {start["job"]: start for start in self._starts.values()}.values()]

    def _running(self, start: Event) -> RunningJob:
        job, live, task = start["job"], self.live.get(start["job"]), self.batch.tasks[start["ids"][0]]
        elapsed, memory = (time.monotonic() - live.started, live.rss_mb) if live else (seconds_since(start["at"]), tree_memory_mb(start))
        return RunningJob(job, task.lemma, elapsed, memory, task.limits, result_files(self.directory, job).stderr)

    def _use(self) -> str:
        starts = {start["job"]: self.batch.tasks[start["ids"][0]].limits.cores for start in self._starts.values()}
        return f"{sum(starts.values())}/{plural(self.batch.header['limits']['cores'], 'core')}"

    def survey(self, jobs: Sequence[RunningJob]) -> tuple[dict[str, int], tuple[float, bool]]:
        """How many tasks came to what, and the forecast; taken anew so rarely that it costs at most 1/200 of a core."""
        began = time.monotonic()
        if began >= self._survey_due:
            self._counts = count_outcomes(self.tasks)
            elapsed = {job.id: job.elapsed_s for job in jobs}
            running = {task_id: elapsed[start["job"]] for task_id, start in self._starts.items() if start["job"] in elapsed}
            self._forecast = forecast(self.tasks, running, len(jobs))
            self._survey_due = began + 200 * (time.monotonic() - began)
        return self._counts, self._forecast

    def block(self, columns: int, rows: int) -> list[str]:
        """The live block for a terminal of this size: at most two thirds of its height."""
        import textwrap
        jobs = self.jobs()
        counts, (left_s, bound) = self.survey(jobs)
        left = f"{'at most' if bound else 'about'} {clock(left_s)} left" if self.done < len(self.tasks) else ""
        facts = [self._use(), f"{size(sum(job.memory_mb or 0 for job in jobs))}/{size(self.batch.header['limits']['memory_mb'])}"]
        facts += [f"{count:,} {word}" for word, count in counts.items() if word not in ("pending", "running")]
        facts = [fact.replace(" ", "\xa0") for fact in facts]  # where no line is broken
        done, total = self.done, len(self.tasks)
        text = f"{done:,}/{total:,}  {done * 100 // max(1, total)} %  {clock(seconds_since(self.batch.header['at']))}  {left}".rstrip()
        width = min(40, columns - len(text) - 3)
        filled = width * done // max(1, total)
        progress = f"{glyphs()[0] * filled}{glyphs()[1] * (width - filled)}  {text}" if width >= 5 else text
        head = [progress, *textwrap.wrap(", ".join(facts), columns - 1)]
        room = max(0, rows * 2 // 3 - len(head))
        shown = jobs if len(jobs) <= room else jobs[:max(0, room - 1)]
        lines = [*head, *(job_line(job, columns) for job in shown)]
        lines += [f"  and {len(jobs) - len(shown)} more"] if room and len(shown) < len(jobs) else []
        return [line.replace("\xa0", " ") for line in lines[:max(1, rows - 1)]]


def forecast(tasks: Iterable[Task], running: Mapping[str, float], slots: int) -> tuple[float, bool]:
    """Seconds until all tasks have ended, and whether that is only what their limits allow, as none has finished yet.

    A task is taken to need what the finished ones of its recipe task (else: of all) needed on average; one that has run longer
    than that, as long again; none more than its limit. `running`: seconds by task id; `slots`: how many jobs run side by side.
    """
    times: dict[str, list[float]] = {"": []}
    open_tasks = []
    for task in tasks:
        if task.result and task.status is not Status.INTERRUPTED:
            times.setdefault(task.name, []).append(task.result.wall_s)
            times[""].append(task.result.wall_s)
        elif task.status not in FINAL:
            open_tasks.append(task)
    means = {name: sum(found) / len(found) for name, found in times.items() if found}
    longest = work = 0.0
    for task in open_tasks:
        mean, ran = means.get(task.name, means.get("", math.inf)), running.get(task.id, 0.0)
        rest = max(0.0, min(mean - ran if ran < mean else ran, task.limits.timeout_s - ran))
        work, longest = work + rest, max(longest, rest)
    shared = work / max(1, slots)
    return (max(shared, longest), False) if means else (shared + longest, True)


def job_line(job: RunningJob, columns: int) -> str:
    """Id, phase, time and memory of a running job; on a narrow terminal without the limits."""
    now_at, time_s, label = phase(job.log), clock(job.elapsed_s), job.id
    memory = "" if job.memory_mb is None else size(job.memory_mb)
    if columns < 64:
        label, figures = job.lemma, f"{time_s:>5} {memory:>4}"
        now_at = fit(now_at.replace("saturating ", ""), 11, glyphs()[2])
    else:
        figures = f"{time_s + '/' + clock(job.limits.timeout_s):>15}  {memory + '/' + size(job.limits.memory_mb):>10}"
        now_at = fit(now_at, 23, glyphs()[2])
    width = max(8, columns - 5 - len(now_at) - len(figures))
    return f"  {fit(label, width, glyphs()[2], width // 2)} {now_at} {figures}"


def clock(seconds: float) -> str:
    """`0:05`, `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}" if minutes >= 60 else f"{minutes}:{second:02}"


def size(megabytes: float) -> str:
    """`340M`, `1.5G`, `16G`."""
    return f"{megabytes:.0f}M" if megabytes < 1000 else f"{megabytes / 1024:.1f}".removesuffix(".0") + "G"


def phase(log: str) -> str:
    """What a prover says it is doing, from the end of its stderr; "" when it says nothing that we know."""
    with suppress(OSError):
        for found in deque(_PHASE.finditer(read_from_end(log, 2048)), maxlen=1):
            said, step, steps = (part.decode("utf-8", "replace") if part else "" for part in found.groups())
            if said:
                return printable(re.sub("^Theory | started$", "", said)).lower()
            return f"saturating sources {step}/{steps}" if step else "proving"
    return ""


def tree_memory_mb(start: Event) -> float | None:
    """What another driver's job uses now; None when it runs on another host or is gone."""
    pid = int(start["pid"])
    if (start["host"], start["boot_id"]) != host_id() or process_start(pid) != start["started"]:
        return None
    todo, total = [pid], 0
    while todo:
        pid = todo.pop()
        total += _memory(pid)[1]
        todo += _children(pid)
    return total / MB


def seconds_since(at: str) -> float:
    """How long ago a time of the journal is."""
    import datetime
    return max(0.0, time.time() - datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp())


class Screen:
    """The last lines of a terminal, drawn over again and again; what is said meanwhile scrolls by above them.

    It changes no mode of the terminal and leaves the cursor below the block, so that nothing is left to put right, however the
    program ends.
    """

    current: Screen | None = None  # the one that `say` must not write into

    def __init__(self, block: Callable[[int, int], list[str]]) -> None:
        self._block = block  # makes the lines for so many columns and rows
        self._said: list[str] = []
        self._shown: list[str] = []  # the lines that stand there
        self._drawn = 0.0

    def __enter__(self) -> None:
        Screen.current = self
        # Not through the event loop: the block must be forgotten before anything else goes on after Ctrl-Z and `fg`.
        signal.signal(signal.SIGCONT, lambda *_: self._shown.clear())

    def __exit__(self, *_: object) -> None:
        Screen.current = None
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        self.draw(last=True)

    def say(self, line: str) -> None:
        self._said.append(line)
        if time.monotonic() - self._drawn >= REDRAW_S:
            self.draw()

    def draw(self, last: bool = False) -> None:
        """Write what was said, and the block below it, at one stroke. A terminal that takes nothing (Ctrl-S) must not hold up a batch."""
        import select
        with suppress(OSError, ValueError):  # the terminal is gone: the batch goes on
            if not last and not select.select([], [sys.stderr], [], 0)[1]:
                return
            columns, rows = terminal_size()
            up = sum(max(1, -(-display_width(line) // columns)) for line in self._shown)  # a narrower terminal has wrapped them
            ours = not last
            with suppress(OSError):  # no job control; else not while a user types to the shell that we run behind
                ours = ours and os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
            self._shown = [fit(line, columns - 1, glyphs()[2]).rstrip() for line in self._block(columns, rows)] if ours else []
            said, self._said = self._said, []
            moved = f"\r\x1b[{up}A" if up else ""
            sys.stderr.write(moved + "".join(f"{coloured(line, sys.stderr)}\x1b[K\n" for line in (*said, *self._shown)) + "\x1b[J")
            sys.stderr.flush()
        self._drawn = time.monotonic()


def draws_block(mode: str, quiet: bool = False) -> bool:
    """Whether a live block is wanted, and stderr is a terminal that can show it."""
    return sys.stderr.isatty() and (mode == "bar" or mode == "auto" and not quiet and os.environ.get("TERM", "dumb") != "dumb")


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal that stderr is."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return max(columns or 80, 10), rows or 24


def glyphs() -> str:
    """What a bar is drawn with, done and open, and what stands where text was cut."""
    return "█░…" if "utf" in (sys.stderr.encoding or "").lower() else "#-~"


def coloured(text: str, stream: TextIO) -> str:
    """Verdicts, and what needs a look, in colour, where the user's terminal shows colours."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return _COLOURED.sub(lambda found: f"{found[1] or ''}\x1b[{_COLOURS.get(found[2], 31)}m{found[2] or found[0]}\x1b[0m", text)


def say(message: str) -> None:
    """One line for the user, on stderr, above the live block if there is one."""
    line = printable(message)
    if Screen.current:
        Screen.current.say(line)
        return
    with suppress(OSError):  # nobody listens: no reason to stop a batch
        print(coloured(line, sys.stderr), file=sys.stderr, flush=True)


def quoted(command: Iterable[str]) -> str:
    import shlex
    return shlex.join(command)


# ======================================================================================================================
# Commands
# ======================================================================================================================

EXAMPLES = """\
examples:
  write a recipe for a theory:          batch_tamarin.py init theory.spthy
  see whether it can run:               batch_tamarin.py check recipe.json
  prove everything it names:            batch_tamarin.py run recipe.json
  look at it from another terminal:     batch_tamarin.py status results --follow
  go on after a stop or a crash:        batch_tamarin.py resume results
  what Tamarin would list in a theory:  batch_tamarin.py lemmas theory.spthy

type `batch_tamarin.py COMMAND --help` for a command's options and examples.
exit codes: 0 all proven or refuted as expected; 1 an expectation was missed; 2 wrong usage or input; 3 some task has no
`verified` or `falsified`; 130, 143, 129 stopped by SIGINT, SIGTERM, SIGHUP.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    args = command_line_parser().parse_args(argv)
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(args.func(args))
    except InputError as error:
        for line in str(error).split("\n"):
            say(f"error: {line}")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output (such as `head`) is gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:  # a full disk, too many open files: what the environment did gets no traceback
        say(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        return 2


class Parser(argparse.ArgumentParser):
    """Names the nearest option or command for a mistyped one, and doesn't bury the error under the usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            self.error(f"unknown argument '{printable(unknown[0])}'{did_you_mean(unknown[0].partition('=')[0], options)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        wrong, _, choices = message.partition("(choose from ")
        if choices:
            word = wrong.rpartition("invalid choice: ")[2].strip(" '")
            message = wrong.rstrip() + did_you_mean(word, re.findall(r"[\w-]+", choices)) + f"; it is one of {choices.rstrip(')')}"
        self.exit(2, f"{self.prog}: error: {message}\ntype '{self.prog} --help' for help\n")


def command_line_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="batch_tamarin.py", description=(__doc__ or "").split("\n")[0], epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"batch_tamarin.py {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_run_command(commands)
    add_resume_command(commands)
    add_check_command(commands)
    add_init_command(commands)
    add_status_command(commands)
    add_lemmas_command(commands)
    return parser


Subparsers = Any  # argparse's own class for them is private


def add_command(commands: Subparsers, func: Callable[[argparse.Namespace], int], name: str, *examples: str) -> argparse.ArgumentParser:
    """A subcommand whose help is its function's docstring; `examples` come without the program's name."""
    text = func.__doc__ or ""
    epilog = "\n".join(["examples:", *(f"  batch_tamarin.py {name} {example}" for example in examples)])
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text.split("\n")[0].rstrip("."), description=text, epilog=epilog,
                                                          formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(func=func)
    return parser


def add_run_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_run, "run", "recipe.json", "recipe.json -t 'nslpk3--*' -o /scratch/out",
                         "recipe.json --cores 16 --memory 50%   # on half of a shared server")
    parser.add_argument("recipe", metavar="RECIPE", help="the recipe, a JSON file")
    parser.add_argument("-o", "--output", metavar="DIR", default="", help="results directory (instead of the recipe's output_directory)")
    parser.add_argument("--fresh", action="store_true", help="begin anew beside an unfinished batch instead of going on with it")
    add_limit_arguments(parser)
    parser.add_argument("-s", "--scheduler", choices=SCHEDULERS, default="", help="which waiting task starts first: in file order "
                        "(fifo), the smallest (sjf) or largest (ljf) by cores and memory")
    add_running_arguments(parser)


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cores", type=cores_argument, metavar="N", help='cores for all jobs together, or "max"')
    parser.add_argument("--memory", type=memory_argument, metavar="GB", help='memory for all jobs together: GB, "max" or "50%%"')
    parser.add_argument("--timeout", type=seconds_argument, default=0, metavar="S",
                        help="seconds for a task that has no timeout of its own (instead of default_timeout)")


def add_resume_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_resume, "resume", "results", "results -t '*--secrecy--*'")
    parser.add_argument("results", metavar="RESULTS", help="the results directory")
    add_running_arguments(parser)


def add_running_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--task", action="append", default=[], metavar="PATTERN",
                        help="run only tasks whose id begins with this or matches this shell pattern (repeatable)")
    parser.add_argument("-q", "--quiet", action="store_true", help="show only problems and the final table")
    parser.add_argument("-d", "--debug", action="store_true", help="show the commands too")
    add_progress_argument(parser)


def add_progress_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", choices=PROGRESS_MODES, default="auto", help="a live block on the terminal (bar), one line for each "
                        "finished task (plain), or nothing until the end (none); auto: bar on a terminal that can, else plain")


def cores_argument(text: str) -> str:
    if text == "max" or (text.isdigit() and int(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is neither a positive whole number nor \"max\"")


def memory_argument(text: str) -> str:
    if text == "max" or percentage(text) or (re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is neither GB, nor \"max\", nor a percentage such as 50%")


def seconds_argument(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0:
        return float(text)
    raise argparse.ArgumentTypeError(f"'{text}' is no positive number of seconds")


# --- check -------------------------------------------------------------------------------------------------------------

CHECK_REPORT = "wellformedness-check-report"


def add_check_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_check, "check", "recipe.json", "recipe.json -d          # every task with its command",
                         f"recipe.json --report    # all that the provers say, in ./{CHECK_REPORT}/")
    parser.add_argument("recipe", metavar="RECIPE", help="the recipe, a JSON file")
    add_limit_arguments(parser)
    parser.add_argument("--report", action="store_true", help=f"write the full text of warnings and errors to ./{CHECK_REPORT}/")
    parser.add_argument("-d", "--debug", action="store_true", help="show every task with its limits and command")


def command_check(args: argparse.Namespace) -> int:
    """Test a recipe before it runs: its plan, its provers and oracles; every theory is loaded once with its tasks' own options."""
    import asyncio
    import tempfile
    recipe = Recipe(args.recipe)
    batch = plan_recipe(recipe, PlanOptions(args.cores or "", args.memory or "", args.timeout))
    room, found = from_json(Limits, batch.header["limits"]), dict[str, list[str]]()
    with tempfile.TemporaryDirectory(prefix="batch-tamarin-") as folder, Supervisor(batch.id) as supervisor:
        jobs = list(_check_jobs(batch, folder, room))
        screen = Screen(lambda columns, rows: [f"checking {len(found)}/{len(jobs)}: {', '.join(supervisor.live)}"])

        async def work(job: Job) -> bool:
            outcome = await supervisor.run(job, lambda pid, started: screen.draw() if Screen.current else None)
            found[job.id] = list(_judge_check(batch, job, outcome, folder))
            if args.report and any(note.startswith(("warning: ", "error: ")) for note in found[job.id]):
                _report_check(job, found[job.id], result_files(folder, job.id).proof)
            return True

        with screen if draws_block("auto") else nullcontext():
            asyncio.run(Scheduler(Room(room.cores, room.memory_mb), lambda job: job.limits, work).run(jobs))
    directory = recipe.data.get("config", {}).get("output_directory", "results")
    print(coloured("\n".join(map(printable, _check_lines(batch, jobs, found, directory if args.debug else ""))), sys.stdout))
    errors = sum(note.startswith("error: ") for notes in found.values() for note in notes)
    print(f"\n{plural(len(batch.tasks), 'task')}, together on {plural(room.cores, 'core')} and {room.memory_mb / 1024:.3g} GB")
    say(f"error: this recipe can't run as it is: {plural(errors, 'error')}" if errors
        else f"it can run: batch_tamarin.py run {quoted([args.recipe])}")
    return 2 if errors else 0


def _check_jobs(batch: Batch, folder: str, room: Limits) -> Iterator[Job]:
    """A self-test of each prover; a load for each prover x theory x options x flags, under the largest limits of its tasks."""
    for name in RESULT_FOLDERS:
        os.makedirs(os.path.join(folder, name))
    small, loads = Limits(1, min(VERSION_LIMITS.memory_mb, room.memory_mb), 60), dict[tuple[Any, ...], list[Task]]()
    for alias, prover in batch.provers.items():
        name, outputs = f"self-test of {alias}", result_files(folder, f"self-test of {alias}")
        command = (*prover.command, "test", *prover.options)
        yield Job(name, 1, command, os.getcwd(), prover_environment(prover), small, outputs.stdout, outputs.stderr)
    for task in batch.tasks.values():
        loads.setdefault((task.prover, task.theory, task.cwd, task.options, task.flags), []).append(task)
    for task, *others in loads.values():
        most = Limits(*map(max, zip(*((each.limits.cores, each.limits.memory_mb, each.limits.timeout_s) for each in (task, *others)))))
        prover, outputs = batch.provers[task.prover], result_files(folder, task.id)
        command = prover_command(prover, replace(task, prove=False, limits=most), outputs)
        yield Job(task.id, 1, command, task.cwd, prover_environment(prover), most, outputs.stdout, outputs.stderr,
                  tuple(each.id for each in (task, *others)))


def _judge_check(batch: Batch, job: Job, outcome: Outcome, folder: str) -> Iterator[str]:
    """What was found, for people: "error: " where the recipe can't run, "warning: " where results need a look."""
    output = read_output(job.stdout, job.stderr)
    if not job.task_ids:
        passed = outcome.exit == ExitStatus(0) and "should work as intended" in "\n".join(ends_of(job.stdout))
        why = f"Maude {output.old_maude} is not supported" if output.old_maude else outcome.reason or output.complaint
        yield "self-test passed" if passed else f"warning: self-test failed: {why or 'it does not say why'}"
        return
    task, ended = replace(batch.tasks[job.task_ids[0]], prove=False), outcome.status is Status.COMPLETED
    status, reason = _judge_exit(outcome.exit or ExitStatus(), output) if ended else (outcome.status, outcome.reason)
    loaded = f"loads in {duration(outcome.wall_s)} and {outcome.peak_mb:,.0f} MB"
    yield loaded if status is Status.COMPLETED else f"error: it does not load: {reason}"
    yield from (f"warning: {warning}" for warning in prover_warnings(task, output, result_files(folder, job.id).proof))
    options = (*batch.provers[task.prover].options, *task.options)
    theory = load_theory(os.path.join(task.cwd, task.theory), *theory_view(options, task.flags))
    for oracle in used_oracles(theory, options, task.cwd, task.theory):
        problem = oracle_problem(oracle)
        yield f"error: oracle {oracle} {problem}" if problem else f"oracle {oracle}"


def oracle_problem(path: str) -> str:
    """Why an oracle can't be called; "" if it can. Tamarin finds out only when it has loaded the theory."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return "is not executable (chmod +x)" if os.path.isfile(path) else "does not exist"
    with open(path, "rb") as file:
        first = os.fsdecode(file.readline(1024)).rstrip("\n")
    words = [word for word in first[2:].split(" ") if word and word[0] != "-"] if first[:2] == "#!" else []
    program = words[1] if len(words) > 1 and os.path.basename(words[0]) == "env" else "".join(words[:1])
    return f"needs the interpreter {program!r}, which is not there" if program and not find_program(program) else ""


def _report_check(job: Job, notes: Sequence[str], theory: str) -> None:
    """A file with the command, what was found, the prover's own report, and its stderr."""
    os.makedirs(CHECK_REPORT, exist_ok=True)
    heading = "WARNING: the following wellformedness checks failed!"  # with --quit-on-warning on stdout
    warnings = "\n".join((*last_part(theory, heading), *last_part(job.stdout, heading))).partition("\n*/")[0]
    command = quoted(word for word in job.command if not word.startswith("--output"))
    text = "\n\n".join([command, *notes, warnings, "\n".join(ends_of(job.stderr))])
    write_file(os.path.join(CHECK_REPORT, job.id.replace(" ", "-") + ".txt"), text + "\n")


def _check_lines(batch: Batch, jobs: Sequence[Job], found: Mapping[str, Sequence[str]], directory: str) -> Iterator[str]:
    """Provers, then the plan grouped by recipe task and load, with what was found; with a results directory each task's command."""
    for job, (alias, prover) in zip(jobs, batch.provers.items()):
        yield f"{alias}: {prover.flavour} {prover.version or '(version unknown)'}, {quoted(prover.command)}"
        yield f"  {found[job.id][0]}"
    for job in jobs[len(batch.provers):]:
        tasks = [batch.tasks[task_id] for task_id in job.task_ids]
        view = quoted((tasks[0].theory, *tasks[0].options, *(f"-D={flag}" for flag in tasks[0].flags)))
        limits = " or ".join(dict.fromkeys(str(task.limits) for task in tasks))
        yield ""
        yield f"{', '.join(dict.fromkeys(t.name for t in tasks))}: {view} with {tasks[0].prover}, {plural(len(tasks), 'task')} of {limits}"
        yield from (f"  {note}" for note in found[job.id])
        for task in tasks if directory else ():
            yield f"  {task.id}: {task.limits}" + (f", expect {task.expect}" if task.expect else "")
            yield f"    {quoted(prover_command(batch.provers[task.prover], task, result_files(directory, task.id)))}"


# --- init --------------------------------------------------------------------------------------------------------------


def add_init_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_init, "init", "handshake.spthy", "models/*.spthy -o all.json",
                         "handshake.spthy --yes --prover tamarin-prover --lemma 'secrecy*' --timeout 7200")
    parser.add_argument("theories", metavar="THEORY", nargs="+", help="a .spthy file")
    parser.add_argument("-o", "--output", metavar="FILE", default="recipe.json", help="where to write the recipe (recipe.json)")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("-y", "--yes", action="store_true", help="ask nothing: take the options, else the defaults")
    parser.add_argument("--prover", action="append", metavar="PROGRAM", help="a prover: a file, or a command on PATH (repeatable)")
    add_limit_arguments(parser)
    parser.add_argument("--lemma", action="append", default=[], metavar="PATTERN", help="lemmas to prove: a name, a shell pattern, or "
                        "'!pattern' to take lemmas away (repeatable)")
    parser.add_argument("--results", metavar="DIR", default="results", help="the recipe's results directory (results)")


def command_init(args: argparse.Namespace) -> int:
    """Write a recipe for some theories: asks on a terminal, or takes defaults and options with --yes."""
    if not args.yes and not sys.stdin.isatty():
        raise InputError("stdin is no terminal to ask on: add --yes, and options for what should not be as by default")
    if os.path.exists(args.output) and not args.force:
        raise InputError("is there already: give another file with -o, or write over it with --force", args.output)
    provers, machine = _init_provers(args), Machine(available_cores(), available_memory_mb())
    cores = ask(args, f"cores for all jobs together (here: {machine.cores})", args.cores or "max", cores_argument)
    memory = ask(args, f"GB of memory for all jobs together (here: {machine.memory_mb / 1024:.3g})", args.memory or "max", memory_argument)
    timeout_s = ask(args, "seconds for one lemma", f"{args.timeout or DEFAULT_TIMEOUT_S:g}", seconds_argument)
    chosen = PlanOptions(cores, memory)
    job = {"max_cores": min(DEFAULT_CORES, _global_cores({}, machine, chosen, warn)),
           "max_memory": min(DEFAULT_MEMORY_GB, max(1, _global_memory({}, machine, chosen, warn) // 1024))}
    tasks = {name: {**_init_task(args, file, name, provers), "resources": job} for name, file in _named(args.theories)}
    config: dict[str, Any] = {"global_max_cores": cores, "global_max_memory": memory, "default_timeout": f"{timeout_s:.9g}"}
    for key, text in config.items():
        if text[-1].isdigit():
            config[key] = int(float(text)) if float(text).is_integer() else float(text)
    config["output_directory"] = ask(args, "directory for the results", args.results, str)
    programs = {alias: {"path": prover.command[0]} for alias, prover in provers.items()}
    recipe = Recipe(args.output, json.dumps({"config": config, "tamarin_versions": programs, "tasks": tasks}, indent=2) + "\n")
    planned = plan_batch(recipe, recipe_provers(recipe), machine, PlanOptions(), warn)
    sys.stdout.write(recipe.text)
    if ask(args, f"write this to {args.output}?", "yes", str).lower() not in ("y", "yes"):
        raise InputError("nothing was written")
    write_file(args.output, recipe.text)
    say(f"{plural(len(planned.tasks), 'task')}; next: batch_tamarin.py check {quoted([args.output])}")
    return 0


def ask(args: argparse.Namespace, question: str, default: str, check: Callable[[str], T]) -> T:
    """Ask on the terminal until the answer is one (Enter takes the default); with --yes take the default."""
    while not args.yes:
        print(f"{printable(question)} [{printable(default)}]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise InputError("no answer: nothing was written")
        try:
            return check(answer.strip() or default)
        except (InputError, argparse.ArgumentTypeError) as error:
            say(f"error: {error}")
    return check(default)


def _init_provers(args: argparse.Namespace) -> dict[str, Prover]:
    """The provers to use, by alias; those on PATH are shown with their versions."""
    import asyncio

    def programs(text: str) -> dict[str, Prover]:
        missing = [word for word in text.split() if not find_program(word)]
        if missing or not text:
            raise InputError(f"there is no executable program '{missing[0]}'" if missing else
                             "no tamarin-prover or tamarin-rs is on PATH: name one (--prover PROGRAM)")
        provers = {alias: Prover(alias, (word,)) for alias, word in _named(text.split())}
        asyncio.run(ask_versions(provers.values()))
        return provers

    found = [name for name in ("tamarin-prover", "tamarin-rs") if find_program(name)]
    for prover in programs(" ".join(found)).values() if found and not args.yes else ():
        say(f"found {find_program(prover.command[0])}, version {prover.version or 'unknown'}")
    return ask(args, "provers (commands or files)", " ".join(args.prover or found[:1]), programs)


def _init_task(args: argparse.Namespace, file: str, name: str, provers: Mapping[str, Prover]) -> dict[str, Any]:
    """The recipe's entry for one theory."""
    try:
        theory = load_theory(file)
    except InputError as error:
        if "--diff" not in error.message:
            raise
        theory = load_theory(file, diff=True)
        say(f"note: {file} uses diff(...): it is proven with --diff, which tamarin-rs has not")
    aliases = [alias for alias, prover in provers.items() if not (theory.diff and prover.flavour == "tamarin-rs")]
    if not aliases:
        raise InputError("this theory needs a tamarin-prover", file)
    if theory.has_accountability:
        say(f"note: {file} has accountability lemmas: the name of one means all lemmas that Tamarin makes of it")
    groups = _lemma_groups(theory)
    say(f"lemmas of {file}: {', '.join(groups) or 'none'}")

    def known(text: str) -> list[str]:
        for word in (pattern.lstrip("!") for pattern in text.split()):
            if not any(_selects(word, sides[0], exact) for sides in groups.values() for exact in (True, False)):
                raise InputError(f"no lemma of {file} matches '{word}'{did_you_mean(word, groups)}")
        return text.split()

    patterns = ask(args, "lemmas (names or patterns; '!pattern' takes away)", " ".join(args.lemma or ["*"]), known)
    return {"theory_file": os.path.relpath(file, os.path.dirname(args.output) or "."), "tamarin_versions": aliases,
            "output_file_prefix": name, **({"tamarin_options": ["--diff"]} if theory.diff else {}),
            **({"lemmas": [{"name": pattern} for pattern in patterns]} if patterns != ["*"] else {})}


def _named(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """A safe name of its own for each file, made of its name."""
    used: set[str] = set()
    for path in paths:
        base = re.sub(r"[^\w.-]|\.\.", "_", re.sub(r"\.spthy$", "", os.path.basename(path)))
        name = next(name for name in (base, *(f"{base}_{number}" for number in range(2, len(used) + 3))) if name not in used)
        used.add(name)
        yield name, path


# --- status ------------------------------------------------------------------------------------------------------------


def add_status_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_status, "status", "results", "results --follow", "results --json")
    parser.add_argument("results", metavar="RESULTS", help="the results directory, of a running batch or any other")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the batch ends, like the batch's own terminal")
    parser.add_argument("--json", action="store_true", help="JSON; with --follow one line for each look")
    add_progress_argument(parser)
    parser.set_defaults(quiet=False, debug=False)


def command_status(args: argparse.Namespace) -> int:
    """Tell what a batch does now, from another terminal: what runs, what is done, what is left and for how long."""
    path, batch = os.path.join(args.results, JOURNAL), Batch()
    progress = Progress(batch, batch.tasks.values(), args.results, {}, args)
    screen, silent = progress.screen if args.follow and not args.json else None, progress.silent
    progress.silent = True  # as for what is past
    with open(path, "rb") as file, screen or nullcontext():
        while True:
            for event in apply_events(batch, journal_events(file, path, warn), path, warn):
                progress(event)
            if not batch.header:
                raise InputError("this journal tells of no batch", path)
            if progress.silent:
                progress.done, progress.silent = batch.count(*FINAL), silent or args.json
            state, sentence = batch_state(batch, path)
            if args.json:
                print(json.dumps(status_json(batch, progress, state), indent=None if args.follow else 2), flush=True)
            elif screen:
                screen.draw()
            if not args.follow or state != "running":
                break
            time.sleep(TICK_S * (4 if args.json else 1))
    if not args.json:
        lines = progress.block(terminal_size()[0] if sys.stdout.isatty() else 120, sys.maxsize) if state == "running" else ()
        text = "".join(printable(line) + "\n" for line in lines) or final_table(batch, args.results, list(batch.tasks.values()))
        sys.stdout.write(coloured(printable(f"batch {batch.id} in {args.results}: {sentence}") + "\n" + text, sys.stdout))
    return 0


def batch_state(batch: Batch, path: str) -> tuple[str, str]:
    """A word and a sentence: running, finished, stopped, died, or unknown (on another host)."""
    header, number = batch.header, (batch.ended or {}).get("signal")
    if batch.ended:
        return ("stopped", f"stopped by {signal.Signals(number).name}") if number else ("finished", "finished")
    if header["host"] != os.uname().nodename:
        return ("running", f"runs on {header['host']}") if is_locked(path) else (
            "unknown", f"began on {header['host']}: from here nobody can see whether it still runs")
    # The lock is tried only while the process is there: a run that is about to begin must not find it taken.
    if process_start(header["pid"]) and is_locked(path):
        return "running", f"running (process {header['pid']})"
    return "died", f"died: its process {header['pid']} is gone, and with it what is shown as running"


def status_json(batch: Batch, progress: Progress, state: str) -> Event:
    """What `status --json` says."""
    jobs = progress.jobs() if state == "running" else []
    counts, (left_s, bound) = progress.survey(jobs)
    running = [{**job._asdict(), "limits": to_json(job.limits), "phase": phase(job.log)} for job in jobs]
    return {"batch": batch.id, "state": state, "began": batch.header["at"], "tasks": len(batch.tasks), "done": progress.done,
            "counts": counts, "limits": batch.header["limits"], "running": running, "eta_s": round(left_s) if jobs else None,
            "eta_is_a_bound": bound and bool(jobs)}


# --- lemmas ------------------------------------------------------------------------------------------------------------


def add_lemmas_command(commands: Subparsers) -> None:
    parser = add_command(commands, command_lemmas, "lemmas", "theory.spthy", "theory.spthy -D WITH_REVEAL --json")
    parser.add_argument("theory", metavar="THEORY", help="a .spthy file")
    parser.add_argument("-D", "--define", action="append", default=[], metavar="FLAG", help="a preprocessor flag, as Tamarin's -D=FLAG (repeatable)")
    parser.add_argument("--diff", action="store_true", help="as with Tamarin's --diff: both sides, and Observational_equivalence")
    parser.add_argument("--auto-sources", action="store_true", help="as with Tamarin's --auto-sources")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def command_run(args: argparse.Namespace) -> int:
    """Prove what a recipe names; go on if its results directory holds an unfinished batch of it."""
    recipe = Recipe(args.recipe)
    options = PlanOptions(args.cores or "", args.memory or "", args.timeout, args.scheduler)
    directory = args.output or recipe.data.get("config", {}).get("output_directory", "results")
    return run_recipe(recipe, options, directory, args, args.fresh)


def command_resume(args: argparse.Namespace) -> int:
    """Go on where a batch stopped, from its results directory alone."""
    directory = os.path.abspath(args.results)
    header = load_batch(os.path.join(directory, JOURNAL), warn).header
    if not header:
        raise InputError("this journal tells of no batch: run the recipe again", os.path.join(args.results, JOURNAL))
    try:
        os.chdir(header["cwd"])
    except OSError as error:
        raise InputError(f"the batch's working directory {header['cwd']} can't be entered: {error.strerror}") from None
    recipe = Recipe(header["recipe_file"], json.dumps(header["recipe"], indent=2))
    return run_recipe(recipe, from_json(PlanOptions, header["options"]), directory, args, fresh=False)


def command_lemmas(args: argparse.Namespace) -> int:
    """List what Tamarin would list in a theory, and what each lemma takes for granted."""
    theory = load_theory(args.theory, [flag.lstrip("=") for flag in args.define], args.diff, args.auto_sources)
    if args.json:
        fields = ("name", "trait", "side", "attributes", "assumes", "line")
        lemmas = [{name: getattr(lemma, name) for name in fields} for lemma in theory.lemmas]
        print(json.dumps({"theory": args.theory, "lemmas": lemmas}, indent=2))
        return 0
    rows = [("lemma", "trait", "line", "attributes", "assumes")]
    rows += [(f"{lemma.side} {lemma.name}".strip() + (" (if needed)" if lemma.optional else ""), lemma.trait, str(lemma.line or ""),
              ", ".join(lemma.attributes), ", ".join(lemma.assumes)) for lemma in theory.lemmas]
    print(text_table(rows))
    return 0


def warn(message: str) -> None:
    say(f"warning: {message}")


def plan_recipe(recipe: Recipe, options: PlanOptions) -> Batch:
    """The Batch that `run` would run here, its provers asked for their versions."""
    import asyncio
    provers = recipe_provers(recipe)
    asyncio.run(ask_versions(provers.values()))
    return plan_batch(recipe, provers, Machine(available_cores(), available_memory_mb()), options, warn)


def run_recipe(recipe: Recipe, options: PlanOptions, directory: str, args: argparse.Namespace, fresh: bool) -> int:
    """Plan, run and report: the one pipeline."""
    import asyncio
    planned = plan_recipe(recipe, options)
    selected_ids = select_ids(planned, args.task)
    directory, journal = open_results(directory, planned, fresh, say)
    batch = journal.batch
    tasks = [batch.tasks[task_id] for task_id in selected_ids]
    waiting = [task for task in tasks if task.status not in FINAL]
    say(f"batch {batch.id}: {plural(len(waiting), 'task')} to run in {directory}")
    with Supervisor(batch.id, journal.fd) as supervisor:
        progress = Progress(batch, tasks, directory, supervisor.live, args)
        journal.observers += [lambda event: write_event_files(directory, batch, event), progress]
        runner = Runner(directory, journal, supervisor)
        asyncio.run(progress.beside(runner.run(waiting)))
    journal.record({"event": "end", "at": now(), "signal": runner.stopped})
    journal.close()
    write_file(os.path.join(directory, "execution_report.json"), json.dumps(execution_report(batch, directory), indent=2) + "\n")
    tasks = [batch.tasks[task_id] for task_id in selected_ids]
    sys.stdout.write(coloured(final_table(batch, directory, tasks), sys.stdout))
    return 128 + runner.stopped if runner.stopped else exit_code(tasks)


def write_event_files(directory: str, batch: Batch, event: Event) -> None:
    """The result file of a task that has just ended."""
    if event["event"] == "finish":
        write_result_file(directory, batch.tasks[event["id"]])


def select_ids(batch: Batch, patterns: Sequence[str]) -> list[str]:
    """The ids that -t selects: by prefix or shell pattern; all without -t. Raises InputError for a pattern without a match."""
    if not patterns:
        return list(batch.tasks)
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {task_id for task_id in batch.tasks if task_id.startswith(pattern) or fnmatch.fnmatchcase(task_id, pattern)}
        if not matching:
            raise InputError(f"-t '{printable(pattern)}' matches no task{did_you_mean(pattern, batch.tasks)}; "
                             f"ids look like '{next(iter(batch.tasks))}'")
        chosen |= matching
    return [task_id for task_id in batch.tasks if task_id in chosen]


if __name__ == "__main__":
    sys.exit(main())
