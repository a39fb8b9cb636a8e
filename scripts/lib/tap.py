# SPDX-License-Identifier: GPL-2.0
"""Collects test results from TAP output, of any depth: kselftest's runner puts "# " before inner lines."""
import re

LINE = re.compile(r"^(?:# )*(?P<not>not )?ok\b\s*(?P<number>\d+)?\s*(?:- )?(?P<name>[^#]*?)\s*"
                  r"(?:#\s*(?P<directive>SKIP|TODO|XFAIL)\b:?\s*(?P<reason>.*))?$", re.I)


class Results:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def take(self, where, line):
        """One line of output; a list with "passed", "failed" or "skipped" when it was a result, else an empty one."""
        m = LINE.match(line.strip("\r\n"))
        if not m:
            return []
        name = f"{where}: {m['name'] or m['number']}"
        if (m["directive"] or "").upper() == "SKIP":
            self.skip(name, m["reason"] or "no reason given")
            return ["skipped"]
        if m["not"]:
            self.fail(name)
            return ["failed"]
        self.passed += 1
        return ["passed"]

    def check(self, name, good, why=""):
        if good:
            self.passed += 1
        else:
            self.fail(f"{name}{': ' + why if why else ''}")

    def fail(self, name):
        self.failed.append(name)

    def skip(self, name, reason):
        self.skipped.append((name, reason))

    def summary(self):
        for name in self.failed:
            yield f"failed: {name}"
        for name, reason in self.skipped:
            yield f"skipped: {name}: {reason}"
        yield f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"
