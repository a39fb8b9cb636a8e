# SPDX-License-Identifier: GPL-2.0
"""One run of an emulated host: starts the emulator, streams the output, decides how it ended."""
import contextlib
import ctypes
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time

from cache import ROOT, say

EMULATOR_DIED, REPORTED, TIMED_OUT, NOT_LOADED = 98, 99, 124, 97


class Stopped(Exception):
    """A signal asked this process to end."""


@contextlib.contextmanager
def workplace():
    """A directory for one run, gone afterwards; those of runs that were killed go too."""
    runs = ROOT / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        if old.name.isdigit() and not os.path.exists(f"/proc/{old.name}"):
            shutil.rmtree(old, ignore_errors=True)
    work = runs / str(os.getpid())
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def catch_signals():
    def stop(number, _):
        raise Stopped(number)
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, stop)


def die_with_parent():
    """For a child, before its program is run."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Stream:
    """Splits the serial line into the command's output and the agent's frames."""

    def __init__(self, token):
        self.mark = b"\x1e" + token.encode() + b" "
        self.rest = b""

    def feed(self, data):
        """Yields (None, output) and (word, text of a frame)."""
        self.rest += data
        while True:
            at = self.rest.find(self.mark)
            if at < 0:
                # hold back what may be the beginning of a mark
                at = self.rest.find(b"\x1e", max(0, len(self.rest) - len(self.mark) + 1))
                at = len(self.rest) if at < 0 else at
                if at:
                    yield None, self.rest[:at]
                    self.rest = self.rest[at:]
                return
            if at:
                yield None, self.rest[:at]
                self.rest = self.rest[at:]
            end = self.rest.find(b"\n")
            if end < 0:
                return
            word, _, text = self.rest[len(self.mark):end].decode(errors="replace").partition(" ")
            self.rest = self.rest[end + 1:]
            yield word, text


class Race:
    """A report of KCSAN as it comes in, line by line: two stacks, the innermost frame first."""

    def __init__(self, title):
        self.title, self.text, self.depth, self.ours = title, [title], 0, False

    def line(self, text):
        """False at the report's end. A frame begins with a blank, what stands over a stack does not."""
        if text.startswith("====="):
            return False
        self.text.append(text)
        self.depth = self.depth + 1 if text.startswith(" ") else 0
        # ours is an access in our code, or in a function of the kernel that our code has called for it
        self.ours |= 0 < self.depth <= 2 and "[wafer]" in text
        return True


class Run:
    def __init__(self, emulator, token, timeout):
        self.emulator, self.timeout = emulator, timeout
        self.stream = Stream(token)
        self.booted = False         # the agent has spoken
        self.started = None         # when the command began
        self.status = None          # what the agent told last
        self.reports = []           # what was wrong in the host's kernel log
        self.race = None            # the report of KCSAN that is coming in
        self.others = []            # races of the host's kernel with itself

    def go(self):
        """Gives (status, may the run be tried again)."""
        e = self.emulator
        if not e.serial.exists():
            os.mkfifo(e.serial)
        fd = os.open(e.serial, os.O_RDWR | os.O_NONBLOCK)
        env = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
        with open(e.work / "emulator.out", "wb") as out:
            child = subprocess.Popen(e.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=e.work,
                                     env=env, start_new_session=True, preexec_fn=die_with_parent)
        try:
            return self._watch(fd, child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            os.close(fd)

    def _watch(self, fd, child):
        deadline = time.monotonic() + self.timeout
        next_look = 0
        while True:
            ended = child.poll() is not None
            self._read(fd, 0 if ended else 0.25)
            if self.status is not None:
                return self._verdict(), False
            if ended:
                return self._ended(child.returncode)
            now = time.monotonic()
            if now > next_look:
                next_look = now + 1
                if self.booted and self._panicked():
                    time.sleep(1)       # the end of its last words
                    self._read(fd, 0)
                    return self._down("the host's kernel panicked"), False
                if self.booted and self.emulator.trouble():
                    return self._down(f"the host crashed: {self.emulator.trouble()}"), False
            if now > deadline:
                return self._timed_out(), False

    def _read(self, fd, wait):
        if not select.select([fd], [], [], wait)[0]:
            return
        while True:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                return
            for word, text in self.stream.feed(data):
                self._take(word, text)

    def _take(self, word, text):
        if word is None:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        elif word == "boot":
            self.booted = True
        elif word == "start":
            self.started = time.monotonic()
        elif word in ("report", "log"):
            self._note(word, text)
        elif word == "exit":
            self.status = int(text)
        elif word == "load":
            self.status = -int(text or 1)

    def _note(self, word, text):
        if word == "report" and self.race:
            self._end_race()
        if word == "report" and text.startswith("BUG: KCSAN: "):
            self.race = Race(text)
        elif self.race:
            if not self.race.line(text):
                self._end_race()
        elif text.strip("="):
            say(f"[host's kernel] {text}")
            if word == "report":
                self.reports.append(text)

    def _end_race(self):
        race, self.race = self.race, None
        if race and race.ours:
            say("\n".join(f"[host's kernel] {line}" for line in race.text))
            self.reports.append(race.title)
        elif race:
            self.others.append(race.title)

    def _verdict(self):
        self._end_race()
        if self.others:
            say("scripts/host: the host's kernel raced with itself, which does not count: "
                + ", ".join(sorted({t.removeprefix("BUG: KCSAN: data-race in ") for t in self.others})))
        if self.reports:
            say(f"scripts/host: the host's kernel reported: {self.reports[0]}"
                + (f" (and {len(self.reports) - 1} more)" if len(self.reports) > 1 else ""))
            return REPORTED
        if self.status < 0:
            say("scripts/host: the module could not be loaded, so the command was not run")
            return NOT_LOADED
        return self.status

    def _console(self):
        with contextlib.suppress(OSError):
            return self.emulator.console.read_text(errors="replace")
        return ""

    def _panicked(self):
        return "Kernel panic - not syncing" in self._console()

    def _show_console(self):
        lines = [l.rstrip() for l in self._console().splitlines() if l.strip()]
        for line in lines[-80:]:
            say(f"[host's console] {line}")

    def _down(self, why):
        self._show_console()
        say(f"scripts/host: {why} before the command ended")
        return REPORTED

    def _timed_out(self):
        self._end_race()
        if self.reports:
            self._show_console()
            say(f"scripts/host: the host's kernel reported: {self.reports[0]}; then no end within {self.timeout} s")
            return REPORTED
        if not self.booted:
            self._show_console()
        say(f"scripts/host: timed out after {self.timeout} s "
            + ("while the command ran" if self.started else "before the command was started"))
        return TIMED_OUT

    def _ended(self, code):
        if self.booted and self._panicked():
            return self._down("the host's kernel panicked"), False
        if self.booted and self.emulator.trouble():
            return self._down(f"the host crashed: {self.emulator.trouble()}"), False
        if self.booted and code == 0:
            return self._down("the host switched itself off or was reset (a triple fault?)"), False
        out = pathlib.Path(self.emulator.work / "emulator.out").read_text(errors="replace").strip()
        say("\n".join(out.splitlines()[-8:]))
        if not self.booted:
            self._show_console()
        say(f"scripts/host: the emulator died with status {code if code >= 0 else 128 - code}")
        return EMULATOR_DIED, True
