# SPDX-License-Identifier: GPL-2.0
"""Results of a run in an emulated host, as TAP while it goes on, as JSON or as a Markdown table at its end."""
import json
import os
import subprocess
import time

import session
from cache import SCRIPTS, TOP, run

WORDS = {"pass": "pass", "skip": "skipped", "fail": "FAIL", "kvm": "fails on the in-tree KVM too"}


class Report:
    """Results are "pass", "skip", "fail", or "kvm": fails, and the in-tree KVM does no better in that host."""

    def __init__(self, form, what):
        self.form, self.what, self.rows, self.begin = form, what, {}, time.monotonic()

    def plan(self, names):
        self.names = list(names)
        if self.form == "tap":
            print(f"TAP version 13\n1..{len(self.names)}", flush=True)

    def note(self, text):
        if self.form == "tap":
            for line in text.splitlines():
                print(f"# {line}".rstrip(), flush=True)

    def row(self, name, result, why="", seconds=0, **more):
        """One result; a host that had to be started again does not report a row twice."""
        if name in self.rows:
            return
        self.rows[name] = {"name": name, "result": result, "why": why, "seconds": seconds, **more}
        if self.form != "tap":
            return
        directive = {"skip": f" # SKIP {why}", "kvm": f" # TODO KVM fails too: {why}"}.get(result, "")
        if result == "fail":
            self.note(why)
        print(f"{'ok' if result in ('pass', 'skip') else 'not ok'} {len(self.rows)} {name}{directive}", flush=True)
        self.note(f"{seconds} s")

    def count(self, result):
        return sum(r["result"] == result for r in self.rows.values())

    def end(self, about):
        """Rows that never came are failures; the exit status."""
        for name in self.names:
            self.row(name, "fail", "the host ended before this was run to its end")
        took = int(time.monotonic() - self.begin)
        if self.form == "json":
            print(json.dumps({"what": self.what, **about, "seconds": took, "rows": list(self.rows.values())}, indent=1))
        elif self.form == "table":
            self._table(about, took)
        else:
            self.note(f"{self.count('pass')} passed, {self.count('fail')} failed, {self.count('skip')} skipped, "
                      f"{self.count('kvm')} fail on the in-tree KVM too; {took} s")
        return 1 if self.count("fail") else 0

    def _table(self, about, took):
        print(f"{self.what}, {time.strftime('%Y-%m-%d', time.gmtime())}, commit {about['commit']}, {about['host']}, "
              f"module {about['module']}; {took} s:\n\n| row | result | seconds | |\n| --- | --- | --- | --- |")
        for r in self.rows.values():
            why = r["why"].replace("|", "\\|").replace("\n", " ")[:200]
            print(f"| {r['name']} | {WORDS[r['result']]} | {r['seconds']} | {why} |")


def about(backend, kernel, module):
    emulator = "QEMU TCG, AMD" if backend == "svm" else "Bochs, Intel"
    p = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {"commit": p.stdout.strip() or "unknown", "backend": backend, "kernel": kernel, "module": module,
            "host": f"{emulator}, host kernel {kernel}"}


def host_lines(argv, seconds):
    """Runs scripts/host; yields its lines, then its exit status. Closed early, it ends the host."""
    env = {**os.environ, "WAFER_SELFTESTS": "0"}
    with subprocess.Popen([str(a) for a in [SCRIPTS / "host", "--timeout", seconds, *argv]], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, env=env, preexec_fn=session.die_with_parent) as p:
        try:
            for raw in p.stdout:
                yield raw.decode(errors="replace").rstrip("\r\n")
            yield p.wait()
        finally:
            p.terminate()


def add_options(parser):
    parser.add_argument("--backend", choices=["svm", "vmx"], default="svm", help="of the host (default: svm)")
    parser.add_argument("--kernel", default="debian", help="of the host (default: debian)")
    parser.add_argument("--module", choices=["wafer", "kvm"], default="wafer",
                        help="kvm: the in-tree one, to see what that does in the same host (default: wafer)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", default="tap",
                      help="one JSON object at the end instead of TAP")
    form.add_argument("--table", action="store_const", const="table", dest="form",
                      help="a Markdown table at the end instead of TAP")


def module_options(module):
    """scripts/host's options, so that /dev/kvm is the module's."""
    return ["--module", "wafer", "--modargs", "alias=1"] if module == "wafer" else ["--module", "kvm"]


def strip(path):
    run(["strip", "-g", path])
