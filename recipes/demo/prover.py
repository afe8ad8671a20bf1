#!/usr/bin/env python3
"""A pretend prover that speaks tamarin-prover's command line and PROVES NOTHING.

It reads its answers from a formal comment in the theory, one line a lemma:

    demo{*
    NAME: verified | falsified | incomplete | hang | crash, N steps, S seconds
    *}

so that a machine without Tamarin can see a whole batch run.
"""
import json
import re
import sys
import time

RULE = "=" * 78
VERSION = "tamarin-prover 1.11.0 is the command line that this demo prover speaks; it proves nothing"
FALSIFIED = {"all-traces": "falsified - found trace", "exists-trace": "falsified - no trace found"}


def main(argv):
    if "--version" in argv:
        print(VERSION)
        return 0
    if argv[:1] == ["test"]:
        print("All tests successful: the demo prover proves nothing, and should work as intended.")
        return 0
    values = dict(arg.split("=", 1) for arg in argv if arg.startswith("--") and "=" in arg)
    path = next(arg for arg in argv if arg.endswith(".spthy"))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    name = re.search(r"\btheory\s+(\w+)", text).group(1)
    lemmas = re.findall(r'^lemma\s+(\w+)[^:]*:\s*(all-traces|exists-trace)?', text, re.MULTILINE)
    answers = dict(re.findall(r"^(\w+): (.*)$", text.partition("demo{*")[2].partition("*}")[0], re.MULTILINE))
    asked = values.get("--prove")
    print("demo prover: proves nothing, answers from the theory's demo{* *} comment", file=sys.stderr)
    for phase in ("loaded", "translated", "closed"):
        print(f"[Theory {name}] Theory {phase}", file=sys.stderr, flush=True)
    verdict, steps = answer(answers.get(asked, "incomplete"))
    print("[Saturating Sources] Done", file=sys.stderr)
    traits = {lemma: trait or "all-traces" for lemma, trait in lemmas}
    found = asked in traits and (verdict == "falsified") == (traits[asked] == "all-traces") and verdict in ("verified", "falsified")
    write(values.get("--output"), text)
    label = f"trace_{name}_SL2-AS0-CL0-A1-C1-NB_{asked}-Attack"
    dot = f'digraph "{label}" {{\nn1[label="a made-up trace of {asked}"];\nn2[label="it shows nothing"];\nn1 -> n2;\n}}\n'
    write(values.get("--output-dot"), dot if found else "")
    write(values.get("--output-json"), json.dumps({"graphs": [{"jgLabel": label, "jgNodes": [], "jgEdges": []}] if found else []}))
    print(f"\n{RULE}\nsummary of summaries:\n\nanalyzed: {path}\n\n  processing time: {time.process_time():.2f}s\n  ")
    for lemma, trait in traits.items():
        word = {"verified": "verified", "falsified": FALSIFIED[trait]}.get(verdict) if lemma == asked else None
        print(f"  {lemma} ({trait}): {word or 'analysis incomplete'} ({steps if lemma == asked else 1} steps)")
    print(f"\n{RULE}")
    return 0


def answer(words):
    """Act out one answer; returns (verdict, steps)."""
    verdict = words.split(",")[0].strip()
    steps = re.search(r"(\d+) steps", words)
    seconds = re.search(r"([\d.]+) seconds", words)
    time.sleep(float(seconds.group(1)) if seconds else 0)
    if verdict == "hang":
        time.sleep(3600)
    if verdict == "crash":
        print("demo prover: it was asked to crash here", file=sys.stderr)
        sys.exit(1)
    return verdict, int(steps.group(1)) if steps else 1


def write(path, text):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
