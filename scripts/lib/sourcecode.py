# SPDX-License-Identifier: GPL-2.0
"""Reads C and assembler sources just well enough to count code lines and function lengths."""
import re

TOKEN = re.compile(r"""//[^\n]* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X)


def without_comments(text):
    """The text with every comment blanked; line numbers stay."""
    def blank(m):
        s = m.group(0)
        return s if s[0] in "\"'" else re.sub(r"[^\n]", " ", s)
    return TOKEN.sub(blank, text)


def code_lines(text):
    return sum(1 for line in without_comments(text).splitlines() if line.strip())


def functions(text):
    """(name, first line, number of lines) of each function, found by the kernel's brace style."""
    lines = without_comments(text).splitlines()
    start = None
    for n, line in enumerate(lines):
        if line.startswith("{"):
            start = n
        elif start is not None and line.startswith("}"):
            head = start
            while head > 0 and lines[head - 1].strip() and not re.match(r"[}#]|.*;\s*$", lines[head - 1]):
                head -= 1
            m = re.search(r"(\w+)\s*\(", " ".join(lines[head:start]))
            if m:
                yield m.group(1), head + 1, n - head + 1
            start = None
