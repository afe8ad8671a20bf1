#!/usr/bin/env python3
"""`demo`, a pretend prover: it speaks tamarin-prover's command line and PROVES NOTHING.

It reads its answers from formal comments in the theory, one line a lemma:

    demo{*
    NAME: verified | falsified | incomplete | hang | hoard | crash, N steps, S seconds
    NAME --OPTION: ...                     what counts instead where it is called with this option
    *}

so that a machine without Tamarin can see a whole batch run. It knows -D=FLAG and #ifdef. What it writes as a proof is N steps
that mean nothing; given a theory with such proofs and no --prove, it says what they claim.
"""

import json
import re
import sys
import time
from collections import namedtuple

VERSION = "demo 1.0: it speaks tamarin-prover's command line, and proves nothing"
RULE = "=" * 78
MB = 2**20
# What `hoard` takes at most, should nobody stop it.
HOARD_MB = 2048

# `proof`: what stands behind the statement, "" for nothing; `start`, `end`: where in the text.
Lemma = namedtuple("Lemma", "name trait proof start end")
Answer = namedtuple("Answer", "verdict steps")

LEMMA = re.compile(
    r"^lemma\s+(?P<name>\w+)\s*(?:\[[^\]]*\])?\s*:\s*"
    r'(?P<trait>all-traces|exists-trace)?\s*"[^"]*"'
    r"(?P<proof>(?:\s*simplify)*\s*(?:by contradiction|by sorry|SOLVED(?: // trace found)?))?",
    re.MULTILINE,
)
ANSWER = re.compile(
    r"^(?P<name>\w+)(?: (?P<option>--\S+))?: (?P<verdict>\w+)"
    r"(?:, (?P<steps>\d+) steps)?(?:, (?P<seconds>[\d.]+) seconds)?$",
    re.MULTILINE,
)
NOTHING = Answer("incomplete", 1)


def main(argv):
    """Answer one command line; returns the exit code."""
    if "--version" in argv:
        print(VERSION)
        return 0
    if argv[:1] == ["test"]:
        print("All tests successful: demo proves nothing, and should work as intended.")
        return 0
    options = dict(word.split("=", 1) for word in argv if word.startswith("--") and "=" in word)
    path = next(word for word in argv if word.endswith(".spthy"))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    progress(VERSION)
    complaint = syntax_error(path, text)
    if complaint:
        print(complaint, file=sys.stderr)
        return 1
    flags = {word[len("-D=") :] for word in argv if word.startswith("-D=")}
    prove(path, preprocessed(text, flags), options, argv)
    return 0


def progress(line):
    print(line, file=sys.stderr, flush=True)


def syntax_error(path, text):
    """How Tamarin would complain of a rule's arrow with a dash too few; "" if there is none."""
    found = re.search(r"\]\s*(-\[)", text)
    if not found:
        return ""
    line = text.count("\n", 0, found.start(1)) + 1
    column = found.start(1) - text.rfind("\n", 0, found.start(1))
    return f'"{path}" (line {line}, column {column}):\nunexpected "-"\nexpecting "-->" or "--["'


def preprocessed(text, flags):
    """What these flags leave of a text. No #ifdef stands in another one here."""
    lines = []
    enabled = True
    for line in text.splitlines(keepends=True):
        directive, _, formula = line.strip().partition(" ")
        if directive == "#ifdef":
            enabled = holds(formula, flags)
        elif directive == "#else":
            enabled = not enabled
        elif directive == "#endif":
            enabled = True
        elif enabled:
            lines.append(line)
    return "".join(lines)


def holds(formula, flags):
    """Whether `A | B & not C` holds with these flags."""
    for alternative in formula.split("|"):
        parts = [part.split() for part in alternative.split("&")]
        if all((part[-1] in flags) == (part[0] != "not") for part in parts):
            return True
    return False


def prove(path, text, options, argv):
    """Act out one proof, or a load without one; write what Tamarin would write."""
    theory = re.search(r"\btheory\s+(\w+)", text).group(1)
    for phase in ("loaded", "translated", "closed"):
        progress(f"[Theory {theory}] Theory {phase}")
    lemmas = lemmas_of(text)
    answers = {}
    for lemma in lemmas:
        answers[lemma.name] = claim(lemma)
    asked = options.get("--prove")
    progress("[Saturating Sources] Done")
    if asked in answers:
        answers[asked] = act(text, asked, argv)
    traces = [lemma for lemma in lemmas if shows_trace(lemma, answers[lemma.name])]
    write(options.get("--output"), text_with_proofs(text, lemmas, answers))
    write(options.get("--output-dot"), "".join(dot(theory, lemma) for lemma in traces))
    graphs = [{"jgLabel": label(theory, each), "jgNodes": [], "jgEdges": []} for each in traces]
    write(options.get("--output-json"), json.dumps({"graphs": graphs}))
    print(f"\n{RULE}\nsummary of summaries:\n\nanalyzed: {path}\n")
    print(f"  processing time: {time.process_time():.2f}s\n  ")
    for lemma in lemmas:
        answer = answers[lemma.name]
        print(f"  {lemma.name} ({lemma.trait}): {words(lemma, answer)} ({answer.steps} steps)")
    print(f"\n{RULE}")


def lemmas_of(text):
    """The lemmas of a theory."""
    lemmas = []
    for found in LEMMA.finditer(text):
        trait = found["trait"] or "all-traces"
        proof = found["proof"] or ""
        end_of_statement = found.end() - len(proof)
        lemmas.append(Lemma(found["name"], trait, proof, end_of_statement, found.end()))
    return lemmas


def claim(lemma):
    """What the proof that stands behind a lemma claims."""
    steps = lemma.proof.count("simplify") + 1
    if "SOLVED" in lemma.proof:
        verdict = "falsified" if lemma.trait == "all-traces" else "verified"
    elif "contradiction" in lemma.proof:
        verdict = "verified" if lemma.trait == "all-traces" else "falsified"
    else:
        verdict = "incomplete"
    return Answer(verdict, steps)


def act(text, asked, argv):
    """Do what the theory's comments say of the lemma that is to be proven; the answer."""
    comments = re.findall(r"demo\{\*(.*?)\*\}", text, re.DOTALL)
    lines = [found for found in ANSWER.finditer("".join(comments)) if found["name"] == asked]
    lines = [found for found in lines if found["option"] in (None, *argv)]
    if not lines:
        return NOTHING
    # Those that name an option come before the one that names none.
    found = max(lines, key=lambda found: found["option"] is not None)
    time.sleep(float(found["seconds"] or 0))
    misbehave(found["verdict"])
    return Answer(found["verdict"], int(found["steps"] or 1))


def misbehave(word):
    """What a prover should not do, if that is what is wanted."""
    if word == "hang":
        time.sleep(3600)
    if word == "hoard":
        hoard()
    if word == "crash":
        progress("demo: it was asked to crash here")
        sys.exit(1)


def hoard():
    """Take more and more memory."""
    held = []
    while len(held) < HOARD_MB // 8:
        held.append(b"x" * 8 * MB)
        time.sleep(0.02)
    time.sleep(3600)


def shows_trace(lemma, answer):
    """Whether an answer comes with a trace."""
    wanted = "falsified" if lemma.trait == "all-traces" else "verified"
    return answer.verdict == wanted


def words(lemma, answer):
    """An answer as the summary has it."""
    if answer.verdict == "verified":
        return "verified"
    if answer.verdict == "falsified":
        found = "found trace" if lemma.trait == "all-traces" else "no trace found"
        return f"falsified - {found}"
    return "analysis incomplete"


def text_with_proofs(text, lemmas, answers):
    """The theory with a proof behind each lemma."""
    pieces = []
    done = 0
    for lemma in lemmas:
        pieces.append(text[done : lemma.start])
        pieces.append("\n" + proof_of(lemma, answers[lemma.name]))
        done = lemma.end
    pieces.append(text[done:])
    return "".join(pieces)


def proof_of(lemma, answer):
    """A proof of so many steps that claims the answer."""
    if answer.verdict == "incomplete":
        last = "by sorry"
    elif shows_trace(lemma, answer):
        last = "SOLVED // trace found"
    else:
        last = "by contradiction"
    return "simplify\n" * (answer.steps - 1) + last


def label(theory, lemma):
    return f"trace_{theory}_SL2-AS0-CL0-A1-C1-NB_{lemma.name}-Trace"


def dot(theory, lemma):
    """A made-up trace as Graphviz draws it."""
    name = label(theory, lemma)
    return (
        f'digraph "{name}" {{\n'
        f'n1[label="a made-up trace of {lemma.name}"];\n'
        'n2[label="it shows nothing"];\n'
        "n1 -> n2;\n}\n"
    )


def write(path, text):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
