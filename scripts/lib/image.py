# SPDX-License-Identifier: GPL-2.0
"""The initramfs of an emulated host: a base that is kept for each kernel, and what this run adds."""
import os
import pathlib
import secrets
import subprocess
import time

import guest
import tree
from cache import ROOT, SCRIPTS, Failure, digest, once, run
from cpio import Archive

PARTS = SCRIPTS / "host.d"


def _compile(source, target):
    run(["cc", "-O2", "-g", "-static", "-Wall", "-o", target, source])


def base(kernel):
    """The part that is the same in every run on this kernel."""
    vmlinuz, initrd = guest.image()
    files = [PARTS / n for n in ["init", "load", "run-selftests", "go-down", "agent.c"]]
    lib = [SCRIPTS / "lib" / n for n in ["image.py", "guest.py", "cpio.py"]]
    mark = digest(kernel.key, initrd, *files, *lib)
    path = once(ROOT / "images" / f"host-{kernel.key}-{mark}", lambda p: _make_base(p, kernel, vmlinuz, initrd))
    os.utime(path)
    return path / "base.cpio"


def _make_base(path, kernel, vmlinuz, initrd):
    for old in path.parent.glob(f"host-{kernel.key}-*"):
        # leave what another checkout's run may still read
        if old != path and old.stat().st_mtime < time.time() - 7200:
            subprocess.run(["rm", "-rf", str(old)])
    _compile(PARTS / "agent.c", path / "agent")
    with open(path / "base.cpio", "wb") as f:
        a = Archive(f)
        for d in ["proc", "sys", "dev", "tmp", "run", "root", "etc", "var/tmp", "mnt"]:
            a.directory(d)
        a.node("dev/console", 0o600, 5, 1)
        guest.busybox(a)
        guest.add_modules(a, kernel, guest.HOST_MODULES)
        a.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        a.text("etc/group", "root:x:0:\nkvm:x:107:\nnogroup:x:65534:\n")
        a.text("init", (PARTS / "init").read_bytes(), 0o755)
        a.text("wafer/load", (PARTS / "load").read_bytes(), 0o755)
        a.text("wafer/run-selftests", (PARTS / "run-selftests").read_bytes(), 0o755)
        a.text("wafer/go-down", (PARTS / "go-down").read_bytes(), 0o755)
        a.text("wafer/.host/agent", (path / "agent").read_bytes(), 0o755)
        a.text("wafer/vmlinuz", vmlinuz.read_bytes())
        a.text("wafer/initrd", initrd.read_bytes())
        a.end()


def per_run(target, kernel, options):
    """Writes the archive of this run: what the checkout builds, the command, files to copy. Gives the token."""
    token = secrets.token_hex(16)
    with open(target, "wb") as f:
        a = Archive(f)
        tree.add_programs(a, options.count)
        module = tree.module(kernel, needed=options.module == "wafer", count=options.count)
        if module:
            a.text("wafer/wafer.ko", module)
        hwbits = tree.hwbits(kernel)
        if hwbits:
            a.text("wafer/hwbits.ko", hwbits)
        for copy in options.copy:
            _copy(a, copy)
        a.text("wafer/.host/token", token, 0o600)
        a.text("wafer/.host/module", options.module)
        a.text("wafer/.host/modargs", options.modargs)
        a.text("wafer/.host/command", b"".join(os.fsencode(w) + b"\0" for w in options.command))
        a.end()
    return token


def _copy(archive, text):
    source, _, target = text.rpartition(":")
    if not source or not target.startswith("/"):
        raise Failure(f"--copy {text}: wants SRC:DST, with an absolute path in the host as DST")
    if not (pathlib.Path(source).is_file() or pathlib.Path(source).is_dir()):
        raise Failure(f"--copy {text}: {source} " + ("is neither a file nor a directory" if os.path.exists(source)
                                                     else "does not exist"))
    if target.split("/")[1] in ("dev", "proc", "sys"):
        raise Failure(f"--copy {text}: what is put there would be hidden under /{target.split('/')[1]}'s own file system")
    if target.endswith("/"):
        target += pathlib.Path(source).resolve().name
    archive.tree(source, target)
