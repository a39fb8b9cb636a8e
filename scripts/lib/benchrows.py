# SPDX-License-Identifier: GPL-2.0
"""Rows of exitcost: what may they cost, what did they cost when last kept, and is this worse."""
import re

from cache import TOP

BENCH = TOP / "selftests/bench"
WORSE = 1.03        # a row may take so much more than what is kept
ROUNDING = 1.0      # exitcost prints whole instructions


class Row:
    """One row, with what it took on the in-tree KVM and on Wafer; None: not measured."""

    def __init__(self, name, kvm=None, wafer=None):
        self.name, self.kvm, self.wafer = name, kvm, wafer
        self.target, self.limit = "-", None

    @property
    def ratio(self):
        return self.wafer / self.kvm if self.kvm and self.wafer is not None else None

    @property
    def met(self):
        """None where nothing is asked."""
        return None if self.limit is None or self.wafer is None else self.wafer <= self.limit


def parse(text):
    """What a host printed: lines "# kvm" and "# wafer", then a name, a tab and a number each."""
    rows, column = {}, None
    for line in text.splitlines():
        if re.fullmatch(r"# (kvm|wafer)", line.strip()):
            column = line.strip()[2:]
            continue
        m = re.fullmatch(r"(\w+)\s*\t(-?[\d.]+)", line.strip())
        if m and column:
            setattr(rows.setdefault(m[1], Row(m[1])), column, float(m[2]))
    return rows


def counts(text):
    """What the counting build printed: rows with a number for each kind, and the kinds; rows that tell of sleeping left out."""
    rows, kinds = {}, []
    for line in text.splitlines():
        if m := re.fullmatch(r"# count_(\w+)", line.strip()):
            kinds.append(m[1])
        elif kinds and (m := re.fullmatch(r"(\w+)\s*\t(-?[\d.]+)", line.strip())) and not m[1].endswith("_sleeps"):
            n = float(m[2])     # a timer's interrupt in the loop that is taken away makes a small number negative
            rows.setdefault(m[1], {})[kinds[-1]] = round(n, 1) if n < 1e12 else 0
    return rows, kinds


def _lines(path):
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def hosts():
    """The hosts that the table of targets has columns for."""
    head = [l for l in (BENCH / "targets").read_text().splitlines() if l.startswith("#\t")][-1]
    return head[1:].split()


def judge(rows, host):
    """Fills in the targets of this host."""
    at, table = hosts().index(host), {}
    for line in _lines(BENCH / "targets"):
        words = line.split()
        names, targets = words[:-len(hosts())], words[-len(hosts()):]
        table.update((n, targets[at]) for n in names)
    for row in rows.values():
        row.target = table.get(row.name, table["*"] if not row.name.endswith("_sleeps") else "-")
        row.limit = _limit(row, rows)


def _limit(row, rows):
    if row.target == "-":
        return None
    if row.target.endswith("x"):
        return float(row.target[:-1]) * row.kvm if row.kvm else None
    total = 0.0
    for part in row.target.split("+"):
        if not part.isdigit():
            part = rows[part].wafer if part in rows else None
            if part is None:
                return None
        total += float(part)
    return total


def kept_path(host, kernel, compiler):
    return BENCH / "kept" / f"{host}-{kernel}-gcc{compiler}"


def keep(path, rows, where):
    """Writes what is asked of later runs: not what the host takes alone, nor how long a guest had to wait."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "w") as f:
        f.write("# SPDX-License-Identifier: GPL-2.0\n# Written by scripts/bench --keep: row, KVM, Wafer; ")
        f.write(f"{where}\n")
        for r in rows.values():
            if r.kvm is not None and r.wafer is not None and not re.search("^host_|_idle$", r.name):
                f.write(f"{r.name}\t{r.kvm:g}\t{r.wafer:g}\n")


def names():
    """The rows of exitcost that a call by name measures."""
    kept = min((BENCH / "kept").iterdir())
    return [n for n in (line.split("\t")[0] for line in _lines(kept)) if not n.endswith(("_sleeps", "_idle"))]


def compare(path, rows):
    """Gives (row, kept row, why) for each that is worse than what is kept, and for each that is not there any more."""
    for line in _lines(path):
        name, kvm, wafer = line.split("\t")
        old, new = Row(name, float(kvm), float(wafer)), rows.get(name)
        if not new or new.wafer is None:
            yield new or Row(name), old, "was not measured"
        elif new.wafer > old.wafer * WORSE * _drift(old, new, rows) + ROUNDING:
            yield new, old, "is worse"


def _drift(old, new, rows):
    """How much the in-tree KVM changed: by that much the host is another. What KVM spends sleeping is no measure."""
    slept = rows.get(f"{new.name}_sleeps")
    if not old.kvm or not new.kvm or (slept and slept.kvm):
        return 1.0
    return new.kvm / old.kvm
