"""Tests of batch_tamarin.py: pure functions directly, everything else through the command line and real processes.

Provers are small shell scripts. Where ../shared (real theories and real prover runs) is there, it is used as well.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import batch_tamarin as bt

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "batch_tamarin.py"
SHARED = HERE.parent / "shared"
TRANSCRIPTS = SHARED / "transcripts"
needs_transcripts = pytest.mark.skipif(not TRANSCRIPTS.is_dir(), reason="needs ../shared/transcripts")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


# --- Help for the tests ------------------------------------------------------------------------------------------------

THEORY = """theory T begin
rule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]
lemma one [reuse]: "All k #i. A(k) @ i ==> T"
lemma two: exists-trace "Ex k #i. A(k) @ i"
lemma three: "All k #i. A(k) @ i ==> F"
end
"""

# What a prover of the tests begins with: $LEMMA is the lemma asked for, $OUT the proof file; `summary` prints a summary.
PRELUDE = r"""#!/bin/sh
case "$*" in *--version*) echo "tamarin-prover 1.11.0, (C) nobody"; exit 0;; esac
for word in "$@"; do
    case "$word" in --prove=*) LEMMA="${word#--prove=}";; --output=*) OUT="${word#--output=}";;
                    --output-json=*) JSON="${word#--output-json=}";; --output-dot=*) DOT="${word#--output-dot=}";; esac
done
RULE===============================================================================
summary() { printf '%s\nsummary of summaries:\n\nanalyzed: x.spthy\n\n  processing time: 0.12s\n  \n' $RULE; cat; printf '\n%s\n' $RULE; }
"""
VERIFY = 'echo "theory proof" > "$OUT"; echo "  $LEMMA (all-traces): verified (7 steps)" | summary\n'


class Lab:
    """A directory with a theory, provers and a recipe, and the program to run on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("t.spthy", THEORY)
        self.provers = {}

    def write(self, name, text, mode=0o644):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def prover(self, body, alias="fake"):
        self.write(f"{alias}.sh", PRELUDE + body, 0o755)
        self.provers[alias] = {"path": f"./{alias}.sh"}

    def recipe(self, config=None, name="recipe.json", tasks=None, **task):
        entry = {"theory_file": "t.spthy", "tamarin_versions": list(self.provers)[:1], "output_file_prefix": "t",
                 "resources": {"max_cores": 1, "max_memory": 1, "timeout": 30}, **task}
        data = {"config": {"output_directory": "results", **(config or {})}, "tamarin_versions": self.provers,
                "tasks": tasks or {"task": entry}}
        self.write(name, json.dumps(data, indent=2))

    def command(self, *args):
        return [sys.executable, str(SCRIPT), *args]

    def run(self, *args, code=None, timeout=60, **options):
        """Run the program; its whole output is in the message when the exit code is not the wanted one."""
        done = subprocess.run(self.command(*args), cwd=self.path, capture_output=True, text=True, timeout=timeout, **options)
        told = f"exit {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert "Traceback" not in done.stderr, told
        if code is not None:
            assert done.returncode == code, told
        return done

    def start(self, *args, **options):
        return subprocess.Popen(self.command(*args), cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def events(self, kind=None, results="results"):
        lines = (self.path / results / "batch.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if kind in (None, event["event"])]

    def finishes(self, results="results"):
        return {event["id"]: event for event in self.events("finish", results)}

    def only_finish(self):
        (event,) = self.events("finish")
        return event


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def wait_for(condition, seconds=10.0):
    """Poll until the condition holds; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {condition}")


def a_task(**changes):
    fields = {"id": "i", "name": "n", "theory": "t.spthy", "lemma": "one", "trait": "all-traces", "sides": (), "prover": "p",
              "options": (), "flags": (), "limits": bt.Limits(1, 1024, 60), "cwd": "/", "prove": True, "optional": False,
              "assumes": (), "expect": None, "key": "k"}
    return bt.Task(**{**fields, **changes})


# --- Running a recipe --------------------------------------------------------------------------------------------------


def test_run_end_to_end(lab):
    lab.prover('case $LEMMA in one) W=verified;; two) W="falsified - no trace found";; *) W="analysis incomplete";; esac\n'
               'echo proof > "$OUT"; echo "  $LEMMA (all-traces): $W (3 steps)" | summary')
    lab.recipe()
    done = lab.run("run", "recipe.json", code=3)
    finishes = lab.finishes()
    assert {name: event["verdict"] for name, event in finishes.items()} == {
        "t--one--fake": "verified", "t--two--fake": "falsified", "t--three--fake": "incomplete"}
    first = finishes["t--one--fake"]
    assert first["status"] == "completed" and first["steps"] == 3 and first["trait"] == "all-traces" and first["prover_s"] == 0.12
    assert first["lemmas"] == [{"name": "one", "side": "", "trait": "all-traces", "verdict": "verified", "steps": 3}]
    assert first["exit"] == {"code": 0} and first["cached"] is False and first["wall_s"] > 0
    results = lab.path / "results"
    assert (results / "proofs" / "t--one--fake.spthy").read_text() == "proof\n"
    assert json.loads((results / "success" / "t--one--fake.json").read_text())["verified_lemma"] == {
        "one": {"steps": 3, "analysis_type": "all-traces"}}
    assert "verified" in done.stdout and "t--three--fake" in done.stdout


def test_journal_order_and_content(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    events = lab.events()
    assert [event["event"] for event in events[:4]] == ["batch", "task", "task", "task"] and events[-1]["event"] == "end"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["at"]) for event in events)
    task = events[1]
    assert task["limits"] == {"cores": 1, "memory_mb": 1024, "timeout_s": 30} and task["theory"] == "t.spthy"
    assert task["prover"] == "fake" and task["assumes"] == [] and re.fullmatch("[0-9a-f]{32}", task["key"])
    assert lab.events("task")[2]["assumes"] == ["one"], "a reuse lemma before it is taken for granted"
    start = lab.events("start")[0]
    assert {"ids", "job", "attempt", "pid", "started", "host", "boot_id", "command"} <= set(start)
    assert "--prove=one" in start["command"] and start["command"][1:4] == ["+RTS", "-N1", "-RTS"]
    assert not [word for word in start["command"] if word.startswith("--output") and not word.split("=")[1].startswith("/")]


def test_a_plan_in_memory_is_the_plan_on_disk(lab):
    lab.prover(VERIFY)
    lab.recipe(expect="verified", tamarin_options=["--bound=5"], preprocess_flags=["X"])
    os.chdir(lab.path)
    recipe = bt.Recipe("recipe.json")
    planned = bt.plan_batch(recipe, bt.recipe_provers(recipe), bt.Machine(4, 8192), bt.PlanOptions(), print)
    journal = bt.Journal(str(lab.path / "j.jsonl"))
    journal.begin(planned)
    journal.close()
    loaded = bt.load_batch(str(lab.path / "j.jsonl"), pytest.fail)
    assert loaded == planned and loaded.tasks["t--one--fake"].options == ("--bound=5",)


def test_expectations_decide_the_exit_code(lab):
    lab.prover(VERIFY)
    lab.recipe(expect={"one": "verified", "t*": "verified"})
    lab.run("run", "recipe.json", code=0)
    lab.recipe(expect={"one": "falsified"})
    done = lab.run("run", "recipe.json", "--fresh", code=1)
    assert "expected falsified" in done.stdout


def test_version_is_asked_once_per_executable(lab):
    lab.prover('echo "$@" >> calls; ' + VERIFY)
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("case", 'echo "$@" >> calls\ncase', 1))
    lab.provers["same"] = {"path": "./fake.sh"}
    lab.recipe(tamarin_versions=["fake", "same"])
    lab.run("run", "recipe.json", code=0)
    calls = (lab.path / "calls").read_text().splitlines()
    assert calls.count("--version") == 1
    assert len(lab.finishes()) == 6


def test_tamarin_rs_gets_its_own_cores_option(lab):
    lab.prover(VERIFY)
    script = lab.path / "fake.sh"
    script.write_text(script.read_text().replace("tamarin-prover 1.11.0, (C) nobody", "tamarin-rs 1.13.0"))
    lab.recipe()
    lab.run("run", "recipe.json", "-t", "t--one", code=0)
    (start,) = lab.events("start")
    assert start["command"][1] == "--processors=1" and "+RTS" not in start["command"]


@pytest.mark.parametrize("given", [{}, {"LC_ALL": "C"}, {"LANG": "POSIX"}])
def test_child_gets_a_utf8_locale(lab, given):
    lab.prover('echo "${LC_ALL:-$LC_CTYPE}" > locale; ' + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    lab.run("run", "recipe.json", code=0, env={**env, **given})
    assert "UTF-8" in (lab.path / "locale").read_text()


def test_task_filter_and_its_typo(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", "-t", "t--t*", "-q", code=0)
    assert set(lab.finishes()) == {"t--two--fake", "t--three--fake"}
    done = lab.run("run", "recipe.json", "-t", "t--onn", "-o", "other", code=2)
    assert "did you mean 't--one--fake'" in done.stderr and not (lab.path / "other").exists()


def test_traces_of_other_lemmas_are_taken_out(lab):
    label = "trace_T_SL2-AS0-CL0-A1-C1-NB_"
    lab.prover(f"""
printf 'digraph "{label}one-Case" {{\\na\\n}}\\ndigraph "{label}one_more-Case" {{\\nb\\n}}\\n' > "$DOT"
echo '{{"graphs": [{{"jgLabel": "{label}one-Case"}}, {{"jgLabel": "{label}two"}}]}}' > "$JSON"
printf '  one (all-traces): falsified - found trace (2 steps)\\n  one_more (all-traces): verified (1 steps)\\n' | summary""")
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    traces = lab.path / "results" / "traces"
    dot = (traces / "t--one--fake.dot").read_text()
    assert "one-Case" in dot and "one_more" not in dot
    assert [graph["jgLabel"] for graph in json.loads((traces / "t--one--fake.json").read_text())["graphs"]] == [label + "one-Case"]


def test_no_trace_files_without_an_attack(lab):
    lab.prover(': > "$DOT"; echo \'{"graphs": []}\' > "$JSON"; ' + VERIFY)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert not list((lab.path / "results" / "traces").iterdir())


def test_the_demo_recipe(tmp_path):
    done = Lab(tmp_path).run("run", str(HERE / "recipes" / "demo.json"), code=3)
    verdicts = re.findall(r"^(verified|falsified|incomplete|timeout|failed) ", done.stdout, re.MULTILINE)
    assert {word: verdicts.count(word) for word in verdicts} == {
        "verified": 7, "falsified": 3, "incomplete": 1, "timeout": 1, "failed": 1}
    assert (tmp_path / "results-demo" / "traces" / "counter--bounded--demo.dot").is_file()
    assert "proves nothing" in (tmp_path / "results-demo" / "logs" / "counter--bounded--demo.err").read_text()


def test_a_recipe_is_found_from_anywhere(lab):
    """Relative paths: against the working directory; if nothing is there, against the recipe's own directory."""
    lab.prover(VERIFY)
    lab.recipe()
    (lab.path / "elsewhere").mkdir()
    done = subprocess.run(lab.command("run", "../recipe.json"), cwd=lab.path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (lab.path / "elsewhere" / "results" / "batch.jsonl").is_file()


def test_cwd_of_a_task(lab):
    lab.prover("pwd > here; " + VERIFY)
    lab.write("sub/u.spthy", THEORY)
    lab.recipe(cwd="sub", theory_file="sub/u.spthy", lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert (lab.path / "sub" / "here").read_text().strip() == str(lab.path / "sub")
    assert "u.spthy" in lab.events("start")[0]["command"]


# --- Truth: only a printed verdict for that lemma is a verdict ---------------------------------------------------------

LIES = {
    "silence": ("exit 0", "failed", "no summary"),
    "another lemma": ('echo "  two (all-traces): verified (3 steps)" | summary', "failed", "no line for lemma 'one'"),
    "longer name": ('echo "  one_more (all-traces): verified (3 steps)" | summary', "failed", "no line for lemma 'one'"),
    "verdict outside a summary": ('echo "  one (all-traces): verified (3 steps)"', "failed", "no summary"),
    "summary cut off": ("printf '%s\\nsummary of summaries:\\n\\n  one (all-traces): verified (3 steps)\\n' $RULE", "failed", "no summary"),
    "exit 3 at once": ('echo boom >&2; exit 3', "failed", "exit code 3: boom"),
    "verdict, then exit 1": (VERIFY + "exit 1", "failed", "exit code 1"),
    "unknown word": ('echo "  one (all-traces): probably fine (3 steps)" | summary', "failed", "unknown verdict"),
    "segfault": ("kill -SEGV $$", "failed", "SIGSEGV"),
    "heap exhausted": ('echo "tamarin-prover: Heap exhausted;" >&2; exit 251', "memory_limit", "heap limit"),
    "parse error": ('printf \'"t.spthy" (line 68, column 1):\\nunexpected "#"\\nexpecting "end"\\n\' >&2; exit 1', "failed",
                    't.spthy:68:1: unexpected "#"'),
    "missing maude": ('echo "tamarin-prover: Maude is not installed. Ensure it is." >&2; exit 1', "failed", "Maude is not installed"),
}


@pytest.mark.parametrize("name", LIES)
def test_never_a_verdict_that_was_not_printed(lab, name):
    body, status, reason = LIES[name]
    lab.prover(body)
    lab.recipe(lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=3)
    event = lab.only_finish()
    assert (event["status"], event["verdict"]) == (status, None) and reason in event["reason"], event
    assert json.loads((lab.path / "results" / "failed" / "t--one--fake.json").read_text())["error_description"] == event["reason"]
    assert not (lab.path / "results" / "proofs" / "t--one--fake.spthy").exists()


def summary_of(*lines):
    rule = "=" * 78
    return "\n".join([rule, "summary of summaries:", "", "analyzed: t", "", *lines, "", rule, ""])


@pytest.mark.parametrize("lines, sides, trait, verdict, steps", [
    (["  one (all-traces): verified (7 steps)"], (), "all-traces", "verified", 7),
    (["  one (exists-trace): falsified - no trace found (3 steps)"], (), "exists-trace", "falsified", 3),
    (["  one (all-traces): analysis undetermined (2 steps)"], (), "all-traces", "incomplete", 2),
    (["  one (all-traces): analysis cannot be finished (reducible operators in subterms) (9 steps)"], (), "all-traces", "incomplete", 9),
    (["  one (all-traces): analysis has been invalidated (9 steps)"], (), "all-traces", "incomplete", 9),
    (["  RHS :  one (all-traces): verified (4 steps)", "  LHS :  one (all-traces): verified (5 steps)"], ("LHS", "RHS"), "all-traces",
     "verified", 9),
    (["  RHS :  one (all-traces): verified (4 steps)", "  LHS :  one (all-traces): falsified - found trace (5 steps)"], ("LHS", "RHS"),
     "all-traces", "falsified", 9),
    (["  LHS :  one (all-traces): verified (5 steps)"], ("LHS", "RHS"), "all-traces", None, None),
    (["  DiffLemma:  one : falsified - found trace (4 steps)"], (), "diff", "falsified", 4),
    (["  DiffLemma:  one : verified (383 steps)"], (), "diff", "verified", 383),
])
def test_summary_lines(tmp_path, lines, sides, trait, verdict, steps):
    (tmp_path / "out").write_text("junk\n" + summary_of(*lines))
    output = bt.read_output(str(tmp_path / "out"), str(tmp_path / "none"))
    result = bt.judge(a_task(sides=sides, trait=trait), bt.Outcome(bt.Status.COMPLETED, exit=bt.ExitStatus(0)), output, "")
    assert (result.verdict, result.steps) == (verdict, steps), result
    assert len(result.lemmas) == len(lines)


def test_only_the_last_summary_counts(tmp_path):
    """tamarin-prover 1.4 prints the summary twice; what a theory's own text prints before can't forge one."""
    (tmp_path / "out").write_text(summary_of("  one (all-traces): verified (7 steps)") + summary_of("  one (all-traces): falsified - found trace (2 steps)"))
    output = bt.read_output(str(tmp_path / "out"), "")
    assert [line.verdict for line in output.lines] == ["falsified"]


def test_a_generated_lemma_that_is_not_needed(tmp_path):
    (tmp_path / "out").write_text(summary_of("  one (all-traces): verified (7 steps)"))
    output = bt.read_output(str(tmp_path / "out"), "")
    result = bt.judge(a_task(lemma="AUTO_typing", optional=True), bt.Outcome(bt.Status.COMPLETED, exit=bt.ExitStatus(0)), output, "")
    assert (result.status, result.verdict) == ("superseded", None)


def test_warnings_are_told_apart(tmp_path):
    report = ("WARNING: the following wellformedness checks failed!\n\nUnbound variables\n=================\n\n  x\n\n"
              "Derivation Checks\n=================\n\n  Derivation checks timed out.\n*/\n")
    (tmp_path / "proof").write_text("/*\n" + report)
    output = bt.ProverOutput(failed_checks=2, old_maude="3.2")
    warnings = list(bt.prover_warnings(a_task(), output, str(tmp_path / "proof")))
    assert warnings == ["derivation checks timed out (raise --derivcheck-timeout)", "1 wellformedness check failed: Unbound variables",
                        "Maude 3.2 is not supported by this prover"]
    asked = bt.prover_warnings(a_task(lemma="Observational_equivalence"), bt.ProverOutput(failed_checks=1), str(tmp_path / "none"))
    assert list(asked) == [], "the complaint about the name we asked for is none of the theory's"


# What each real run must be read as: (lemma, status, verdict, steps).
REAL_RUNS = {
    "accountability": ("acc_verif_empty", "completed", "falsified", 15),
    "accountability-parent-name": ("acc", "failed", None, None),
    "all-lemmas": ("session_key_setup_possible", "completed", "verified", 5),
    "all-lemmas-rs": ("nonce_secrecy", "completed", "falsified", 16),
    "auto-sources": ("AUTO_typing", "completed", "verified", 145),
    "bad-option": ("types", "failed", None, None),
    "bound-incomplete": ("nonce_secrecy", "completed", "incomplete", 6),
    "check-broken-proof": ("nonce_secrecy", "completed", "incomplete", 54),
    "check-stored-proof": ("nonce_secrecy", "completed", "verified", 54),
    "diff-falsified": ("Observational_equivalence", "completed", "falsified", 4),
    "diff-one-lemma": ("Observational_equivalence", "completed", "verified", 383),
    "diff-two-sides": ("types", "completed", "verified", 50),
    "diff-rs": ("types", "failed", None, None),
    "diff-without-flag": ("types", "failed", None, None),
    "false-reuse-all": ("executable", "completed", "falsified", 3),
    "heap-limit": ("types", "memory_limit", None, None),
    "killed-term": ("types", "failed", None, None),
    "killed-kill": ("types", "failed", None, None),
    "missing-maude": ("types", "failed", None, None),
    "missing-theory": ("types", "failed", None, None),
    "no-locale": ("types", "failed", None, None),
    "no-such-lemma": ("no_such_lemma", "failed", None, None),
    "old-style-cores-rs": ("types", "failed", None, None),
    "parse-error": ("types", "failed", None, None),
    "verified": ("nonce_secrecy", "completed", "verified", 54),
    "verified-exists-trace": ("session_key_setup_possible", "completed", "verified", 5),
    "verified-rs": ("nonce_secrecy", "completed", "verified", 54),
    "wellformedness": ("types", "failed", None, None),
    "wellformedness-quit": ("types", "failed", None, None),
}


@needs_transcripts
@pytest.mark.parametrize("name", REAL_RUNS)
def test_real_runs_are_read_right(name):
    folder = TRANSCRIPTS / name
    lemma, *wanted = REAL_RUNS[name]
    code = json.loads((folder / "run.json").read_text())["exit_code"]
    ended = bt.ExitStatus(code=code) if code >= 0 else bt.ExitStatus(signal=signal.Signals(-code).name)
    output = bt.read_output(str(folder / "stdout"), str(folder / "stderr"))
    sides = tuple(line.side for line in output.lines if line.name == lemma and line.side)
    task = a_task(lemma=lemma, sides=sides, trait="diff" if lemma == "Observational_equivalence" else "all-traces")
    result = bt.judge(task, bt.Outcome(bt.Status.COMPLETED, exit=ended), output, str(folder / "out.spthy"))
    assert [result.status, result.verdict, result.steps] == wanted, result
    assert bool(result.reason) == (result.verdict not in bt.ANSWERS), result
    assert bool(result.warnings) == (name in ("accountability", "accountability-parent-name", "no-such-lemma")), result


# --- Recipes -----------------------------------------------------------------------------------------------------------


def test_lemma_patterns_overrides_and_inheritance(lab):
    lab.prover(VERIFY)
    lab.recipe(tamarin_options=["--bound=9"], resources={"max_cores": 1, "max_memory": 1, "timeout": 50}, lemmas=[
        {"name": "t*"}, {"name": "three", "tamarin_options": [], "resources": {"timeout": 7}, "expect": "falsified"}, {"name": "!two"}])
    lab.run("run", "recipe.json", code=1)
    (task,) = lab.events("task")
    assert task["lemma"] == "three" and task["options"] == [] and task["expect"] == "falsified"
    assert task["limits"] == {"cores": 1, "memory_mb": 1024, "timeout_s": 7}


def test_plan_is_in_file_order(lab):
    lab.prover(VERIFY)
    lab.recipe(lemmas=[{"name": "three"}, {"name": "*o*"}])
    lab.run("run", "recipe.json", "-q", code=0)
    assert [task["lemma"] for task in lab.events("task")] == ["one", "two", "three"]


def test_limits_above_the_global_ones_are_capped(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_cores": 1, "global_max_memory": 2}, resources={"max_cores": 64, "max_memory": 500})
    done = lab.run("run", "recipe.json", code=0)
    assert done.stderr.count("capped") == 2, done.stderr
    assert lab.events("task")[0]["limits"] == {"cores": 1, "memory_mb": 2048, "timeout_s": 3600}


def test_command_line_over_recipe(lab):
    lab.prover(VERIFY)
    lab.recipe(config={"global_max_memory": 1}, resources={"max_memory": 1})
    lab.run("run", "recipe.json", "--cores", "1", "--memory", "50%", "--timeout", "77", "-o", "there", code=0)
    header, task = lab.events("batch", "there")[0], lab.events("task", "there")[0]
    assert header["limits"]["cores"] == 1 and header["limits"]["memory_mb"] > 64 and task["limits"]["timeout_s"] == 77


def test_ids_are_safe_and_unique(lab):
    lab.prover(VERIFY)
    task = {"theory_file": "t.spthy", "tamarin_versions": ["fake"], "lemmas": [{"name": "one"}]}
    lab.recipe(tasks={"a": {**task, "output_file_prefix": "x y"}, "b": {**task, "output_file_prefix": "X_y"},
                      "c": {**task, "output_file_prefix": "x y"}, "d": {**task, "output_file_prefix": "\N{SNOWMAN}" * 150}})
    lab.run("run", "recipe.json", "-t", "x_y--one--fake_3", code=0)
    ids = [event["id"] for event in lab.events("task")]
    assert ids[:3] == ["x_y--one--fake", "X_y--one--fake_2", "x_y--one--fake_3"]
    assert all(len(name.encode()) <= 200 for name in ids) and len({name.lower() for name in ids}) == 4


def test_globbed_theories(lab):
    lab.prover(VERIFY)
    for name in ("b", "a"):
        lab.write(f"many/{name}.spthy", THEORY)
    lab.recipe(theory_file="many/*.spthy", output_file_prefix="g-{theory}", lemmas=[{"name": "one"}])
    lab.run("run", "recipe.json", code=0)
    assert list(lab.finishes()) and [task["id"] for task in lab.events("task")] == ["g-a--one--fake", "g-b--one--fake"]


BAD = {  # change of a good recipe -> what the message must say
    "unknown key": (lambda r: r["tasks"]["task"]["resources"].update(max_core=1), ["max_core", "did you mean 'max_cores'", "recipe.json:"]),
    "wrong type": (lambda r: r["config"].update(default_timeout="soon"), ["config.default_timeout", "positive number"]),
    "zero limit": (lambda r: r["config"].update(global_max_cores=0), ["global_max_cores", "positive whole number"]),
    "boolean limit": (lambda r: r["config"].update(global_max_cores=True), ["global_max_cores"]),
    "unknown alias": (lambda r: r["tasks"]["task"].update(tamarin_versions=["fak"]), ["'fak'", "did you mean 'fake'"]),
    "missing key": (lambda r: r["tasks"]["task"].pop("theory_file"), ["'theory_file' is missing"]),
    "no such theory": (lambda r: r["tasks"]["task"].update(theory_file="u.spthy"), ["no theory file 'u.spthy'"]),
    "no such prover": (lambda r: r["tamarin_versions"]["fake"].update(path="nowhere"), ["no executable program 'nowhere'"]),
    "no such lemma": (lambda r: r["tasks"]["task"].update(lemmas=[{"name": "ones"}]), ["'ones'", "did you mean 'one'", "lemmas.0.name"]),
    "nothing taken away": (lambda r: r["tasks"]["task"].update(lemmas=[{"name": "!x*"}]), ["'!x*' takes no lemma away"]),
    "path in prefix": (lambda r: r["tasks"]["task"].update(output_file_prefix="../up"), ["output_file_prefix", "file names"]),
    "own option": (lambda r: r["tasks"]["task"].update(tamarin_options=["--prove=one"]), ["--prove", "'lemmas'"]),
    "bare word": (lambda r: r["tasks"]["task"].update(tamarin_options=["--bound", "5"]), ["'5'", "joined by '='"]),
    "RTS cores": (lambda r: r["tasks"]["task"].update(tamarin_options=["+RTS", "-N4", "-RTS"]), ["-N", "max_cores"]),
    "docker": (lambda r: r["tamarin_versions"].update(fake={"command": ["docker", "run", "tamarin"]}), ["docker", "apptainer"]),
    "two at once": (lambda r: (r["config"].update(default_timeout=-1), r["config"].update(nope=1)), ["default_timeout", "config.nope"]),
    "missed expectation name": (lambda r: r["tasks"]["task"].update(expect={"onee": "verified"}), ["expect.onee", "did you mean 'one'"]),
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


@pytest.mark.parametrize("text, words", [
    ('{"tasks": {', ["recipe.json:1:12", "no valid JSON"]),
    ('{\n "config": {"default_timeout": NaN}}', ["NaN"]),
    ('{"config": {},\n "config": {}}', ["recipe.json:2:2", "twice"]),
    ("[]", ["a recipe is a JSON object"]),
    ("", ["no valid JSON"]),
    ("[" * 100_000, ["can't be read"]),
    ('{"config": {"output_directory": 1, "default_timeout": 0}, "tamarin_versions": {}, "tasks": []}',
     ["output_directory", "default_timeout", "tamarin_versions", "tasks"]),
])
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
    for fields, where in [(bt._RECIPE, schema), (bt._CONFIG, schema["properties"]["config"]), (bt._TASK, definitions["task"]),
                          (bt._LEMMA, definitions["lemma"]), (bt._RESOURCES, definitions["resources"])]:
        later = {key for key, check in fields.items() if check is bt.check_later}
        assert set(where["properties"]) == set(fields) - later


def test_json_positions():
    text = '{"a": [1, {"b": "x,]"}],\n "c": {}}'
    assert {path: text[offset] for path, offset in bt.json_positions(text)} == {
        ("a",): '"', ("a", 0): "1", ("a", 1): "{", ("a", 1, "b"): '"', ("c",): '"'}


# --- The journal and going on -----------------------------------------------------------------------------------------

def many_lemmas(count):
    lemmas = "".join(f'lemma l{number}: "All k #i. A(k) @ i ==> T"\n' for number in range(count))
    return f"theory T begin\nrule A: [ Fr(~k) ] --[ A(~k) ]-> [ Out(~k) ]\n{lemmas}end\n"


def interrupted_batch(lab, lemmas=6, body=None):
    """A batch that was stopped by SIGTERM when two tasks had finished; the third and fourth hang."""
    lab.write("t.spthy", many_lemmas(lemmas))
    lab.prover(body or 'case $LEMMA in l0|l1) ;; *) [ -e go ] || sleep 60;; esac; echo "$LEMMA" >> runs; ' + VERIFY)
    lab.recipe(config={"global_max_cores": 2})
    process = lab.start("run", "recipe.json")
    journal = lab.path / "results" / "batch.jsonl"
    wait_for(lambda: journal.exists() and journal.read_text().count('"finish"') >= 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    (lab.path / "go").touch()


def test_a_stopped_batch_goes_on(lab):
    interrupted_batch(lab)
    statuses = [event["status"] for event in lab.events("finish")]
    assert statuses.count("completed") == 2 and "interrupted" in statuses
    assert (lab.path / "results" / "execution_report.json").is_file()
    done = lab.run("run", "recipe.json", code=0)
    assert "resuming: 2 of 6 done" in done.stderr
    runs = (lab.path / "runs").read_text().split()
    assert sorted(runs) == [f"l{number}" for number in range(6)], "every lemma ran to its end exactly once"
    assert all(event["verdict"] == "verified" for event in lab.finishes().values()) and len(lab.finishes()) == 6


def test_resume_needs_only_the_directory(lab):
    interrupted_batch(lab)
    (lab.path / "recipe.json").unlink()
    done = subprocess.run(lab.command("resume", str(lab.path / "results")), cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "resuming: 2 of 6 done" in done.stderr, done.stderr
    assert len(lab.finishes()) == 6


def test_what_changed_since_runs_again(lab):
    interrupted_batch(lab, lemmas=4)
    text = (lab.path / "t.spthy").read_text()
    lab.write("t.spthy", "/* a comment changes nothing */ " + text.replace('lemma l3: "All k #i. A(k) @ i ==> T"\n', 'lemma new: "F"\n'))
    done = lab.run("run", "recipe.json", code=0)
    assert "no longer in the recipe: t--l3--fake" in done.stderr
    report = json.loads((lab.path / "results" / "execution_report.json").read_text())
    assert set(report["tasks"]["task"]["subtasks"]) == {"t--l0--fake", "t--l1--fake", "t--l2--fake", "t--new--fake"}
    assert (lab.path / "runs").read_text().split().count("l0") == 2, "the theory's text changed: nothing old holds"


def test_a_comment_changes_nothing(lab):
    interrupted_batch(lab, lemmas=4)
    lab.write("t.spthy", "/* a comment */ " + (lab.path / "t.spthy").read_text())
    lab.run("run", "recipe.json", code=0)
    assert (lab.path / "runs").read_text().split().count("l0") == 1


def test_outputs_of_an_earlier_attempt_are_kept(lab):
    interrupted_batch(lab, body='echo "attempt says $LEMMA" >&2; case $LEMMA in l0|l1) ;; *) [ -e go ] || sleep 60;; esac; ' + VERIFY)
    lab.run("run", "recipe.json", code=0)
    logs = lab.path / "results" / "logs"
    interrupted = next(event["id"] for event in lab.events("finish") if event["status"] == "interrupted")
    assert (logs / f"{interrupted}~1.err").is_file() and (logs / f"{interrupted}.err").is_file()
    assert [event["attempt"] for event in lab.events("start") if event["job"] == interrupted] == [1, 2]


def test_larger_limits_run_again_what_failed_by_limits(lab):
    lab.prover('case $LEMMA in three) sleep 1.5;; esac; echo "$LEMMA" >> runs; ' + VERIFY)
    lab.recipe(resources={"max_cores": 1, "max_memory": 1, "timeout": 1})
    lab.run("run", "recipe.json", code=3)
    assert lab.finishes()["t--three--fake"]["status"] == "timeout"
    lab.recipe(resources={"max_cores": 1, "max_memory": 1, "timeout": 20})
    assert "resuming: 2 of 3 done" in lab.run("run", "recipe.json", code=0).stderr
    assert sorted((lab.path / "runs").read_text().split()) == ["one", "three", "two"]


def test_finished_and_foreign_directories_are_left_alone(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    before = {path: path.stat().st_mtime_ns for path in (lab.path / "results").rglob("*")}
    done = lab.run("run", "recipe.json", code=0)
    sibling = re.search(r"writing to (results_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)", done.stderr).group(1)
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
    lab.prover("[ -e go ] || sleep 20; " + VERIFY)
    lab.recipe()
    first = lab.start("run", "recipe.json")
    wait_for(lambda: (lab.path / "results" / "batch.jsonl").exists() and "start" in (lab.path / "results" / "batch.jsonl").read_text())
    done = lab.run("run", "recipe.json", code=2)
    assert f"process {first.pid} on" in done.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert first.returncode == 130


def journal_of(lab):
    lab.prover(VERIFY)
    lab.recipe()
    lab.run("run", "recipe.json", code=0)
    return lab.path / "results" / "batch.jsonl"


@pytest.mark.parametrize("damage, told", [
    (lambda lines: lines[:-2] + [lines[-2][:40]], 0),  # a torn tail
    (lambda lines: [lines[0], b"\0" * 4096 + lines[1], *lines[2:]], 0),  # a block that was never written
    (lambda lines: [*lines[:2], b"rubbish\n", b"[1]\n", b'{"no": 1}\n', *lines[2:]], 3),
    (lambda lines: [*lines[:-1], *lines[-2:-1], lines[-1]], 0),  # a line twice
    (lambda lines: [*lines[:2], b'{"event": "from_the_future", "id": 1}\n', *lines[2:]], 0),
    (lambda lines: [line.replace(b'"event"', b'"added_field":[1],"event"', 1) for line in lines], 0),
    (lambda lines: [*lines[:4], b'{"event":"finish","id":"nobody","status":"completed"}\n', *lines[4:]], 1),
    (lambda lines: [*lines[:4], b'{"event":"finish","id":"t--one--fake","status":"fine"}\n', *lines[4:]], 1),
])
def test_damaged_journals(lab, damage, told):
    path = journal_of(lab)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(damage(lines)))
    warnings = []
    batch = bt.load_batch(str(path), warnings.append)
    assert len(warnings) == told and all(re.search(r"batch\.jsonl:\d+: ", warning) for warning in warnings), warnings
    assert len(batch.tasks) == 3 and batch.count(bt.Status.COMPLETED) >= 2


def test_a_damaged_journal_is_gone_on_with(lab):
    path = journal_of(lab)
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if b'"end"' not in line and b'"t--two--fake","status"' not in line
            and not (b'"finish"' in line and b"t--two--fake" in line)]
    path.write_bytes(b"".join(kept) + b'{"event":"finish","id":"t--tw')
    done = lab.run("run", "recipe.json", code=0)
    assert "resuming: 2 of 3 done" in done.stderr
    assert b'"t--tw' + b'{' not in path.read_bytes() and len(lab.finishes()) == 3


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
    journal.batch = bt.load_batch(str(path), pytest.fail)
    size = path.stat().st_size
    monkeypatch.setattr(bt.os, "write", lambda fd, data, write=os.write: write(fd, data[: len(data) // 2]))
    with pytest.raises(bt.StorageError, match="make room"):
        journal.record({"event": "end", "at": bt.now()})
    monkeypatch.undo()
    os.close(journal.fd)
    assert path.stat().st_size == size


def test_events_that_cannot_follow_are_refused():
    batch = bt.Batch()
    batch.apply(bt.task_event(a_task()))
    start = {"event": "start", "ids": ["i"], "attempt": 1}
    batch.apply(start)
    with pytest.raises(ValueError, match="begun before"):
        batch.apply(start)
    with pytest.raises(ValueError, match="can't finish as running"):
        batch.apply({"event": "finish", "id": "i", "status": "running"})


@pytest.mark.parametrize("change, holds", [
    ({}, True), ({"key": "other"}, False), ({"limits": bt.Limits(1, 1024, 61)}, False), ({"limits": bt.Limits(1, 1024, 59)}, True),
    ({"limits": bt.Limits(2, 1024, 60)}, False)])
def test_when_a_timeout_still_holds(change, holds):
    old = a_task()
    old.status, old.result = bt.Status.TIMEOUT, bt.Result(bt.Status.TIMEOUT)
    assert bt.still_holds(old, a_task(**change)) is holds


TORTURE_ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "6"))


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_torture(lab, number):
    """Stopped at random moments, gone on with: every task has one final result, none that was finished runs again, no prover is left."""
    import random
    lab.write("t.spthy", many_lemmas(12))
    lab.prover('echo "$LEMMA" >> runs; sleep 0.0$((${#LEMMA} * 3)); ' + VERIFY)
    lab.recipe(config={"global_max_cores": 4})
    for _ in range(TORTURE_ROUNDS):
        shutil.rmtree(lab.path / "results", ignore_errors=True)
        (lab.path / "runs").write_text("")
        finished = set()
        for _ in range(30):
            process = lab.start("run", "recipe.json", "-q")
            try:
                process.wait(timeout=random.uniform(0.15, 0.8))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            process.communicate(timeout=20)
            assert process.returncode in (0, -9, 143, 130, -15, -2), process.returncode
            if not (lab.path / "results" / "batch.jsonl").exists():
                continue
            done = [json.loads(line) for line in (lab.path / "results" / "batch.jsonl").read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            final = [event["id"] for event in done if event["event"] == "finish" and event["status"] != "interrupted"]
            assert len(final) == len(set(final)), "a finished task ran again"
            assert finished <= set(final), "a result was lost"
            finished = set(final)
            if process.returncode == 0:
                break
        assert len(finished) == 12 and process.returncode == 0
        wait_for(lambda: not living_provers(lab.path))


def living_provers(path):
    """Processes whose command line names a file below `path`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(path).encode() in (entry / "cmdline").read_bytes() and b"fake.sh" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


# --- Start-up and help -------------------------------------------------------------------------------------------------


def test_version_and_help(lab):
    assert lab.run("--version", code=0).stdout == f"batch_tamarin.py {bt.__version__}\n"
    text = lab.run("--help", code=0).stdout
    assert "examples:" in text and "exit codes" in text
    assert lab.run(code=2).stderr and lab.run("run", code=2).stderr


def test_contents_and_banners_agree():
    source = SCRIPT.read_text(encoding="utf-8")
    listed = re.findall(r"^    ([A-Z].*)$", bt.__doc__.partition("Contents")[2].partition("\nWords:")[0], re.MULTILINE)
    banners = re.findall(r"^# =+\n# (.*)\n# =+$", source, re.MULTILINE)
    assert [title.partition(" (")[0] for title in banners] == listed
