# SPDX-License-Identifier: GPL-2.0
"""What all scripts share: the cache's place, locks, messages, running a program."""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SCRIPTS = TOP / "scripts"


def _root():
    # the XDG specification: what is not absolute counts as not set
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = (pathlib.Path(base) if base.startswith("/") else pathlib.Path.home() / ".cache") / "wafer"
    if re.search(r"[\s:]", str(root)):
        print(f"{root}: modules are built in this cache, and the kernel's rules take no blank and no colon in a path; "
              "set XDG_CACHE_HOME to another one", file=sys.stderr)
        sys.exit(2)
    return root


ROOT = _root()


class Failure(Exception):
    """Ends a script with one line that tells what to do; .status is its exit status."""

    def __init__(self, text, status=2):
        super().__init__(text)
        self.status = status


def say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(name):
    """One process at a time, over all checkouts and users of this cache."""
    path = ROOT / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as f:
        for _ in range(30):
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            say(f"waiting for another run that prepares {name}")
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def run(argv, status=2, log=None, **kw):
    """Runs a program quietly; when it fails, shows the end of what it said."""
    argv = [str(a) for a in argv]
    try:
        if log:
            with open(log, "ab") as f:
                p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, **kw)
        else:
            p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, **kw)
    except FileNotFoundError:
        raise Failure(f"{argv[0]}: not installed; run scripts/install-deps as root") from None
    if p.returncode == 0:
        return p.stdout or b""
    text = pathlib.Path(log).read_bytes() if log else (p.stdout or b"") + (p.stderr or b"")
    say(text.decode(errors="replace")[-4000:])
    raise Failure(f"{' '.join(argv)[:200]}: failed with status {p.returncode}"
                  + (f"; the whole log: {log}" if log else ""), status)


def once(path, make, lockname=None):
    """Makes the directory `path` by make(path) unless an earlier call finished it."""
    done = path / ".complete"
    if done.exists():
        return path
    with lock(lockname or path.relative_to(ROOT).as_posix().replace("/", "-")):
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            make(path)
            done.touch()
    return path


def digest(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p.read_bytes() if isinstance(p, pathlib.Path) else str(p).encode())
        h.update(b"\0")
    return h.hexdigest()[:12]
