# SPDX-License-Identifier: GPL-2.0
"""What the checkout itself builds for a host: wafer.ko, the program wafer, the selftests.

Everything is built in copies of the sources, one per checkout and kernel, so that objects of different kernels
never meet and the checkout stays clean. Only what changed is built again.
"""
import os
import pathlib
import re
import shutil
import subprocess

import kernels
from cache import ROOT, TOP, Failure, digest, lock, run, say

SOURCE = TOP
USER_PARTS = ("tools", "selftests", "include", "README.md")
SKIP = (".o", ".ko", ".cmd", ".mod", ".mod.c", ".a", ".d")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in
       ("MFLAGS", "KDIR", "ARCH", "W", "C", "V", "O", "M")}


def files():
    """The checkout's files: tracked ones and new ones, not what is built there."""
    p = subprocess.run(["git", "-C", str(SOURCE), "ls-files", "-z", "-co", "--exclude-standard"],
                       capture_output=True)
    if p.returncode == 0:
        names = [os.fsdecode(n) for n in p.stdout.split(b"\0") if n]
    else:
        names = [os.path.relpath(os.path.join(d, f), SOURCE) for d, dirs, files in os.walk(SOURCE)
                 for f in files if ".git" not in pathlib.Path(d).parts]
    return [n for n in names if not n.endswith(SKIP) and (SOURCE / n).is_file()]


def _mirror(target, keep):
    """Brings the copy up to date: only changed files are touched, vanished ones go."""
    target.mkdir(parents=True, exist_ok=True)
    listing = target / ".copied"
    before = set(listing.read_text().split("\n")) if listing.exists() else set()
    names = [n for n in files() if keep(n)]
    for n in names:
        s, d = SOURCE / n, target / n
        try:
            old, new = d.stat(), s.stat()
            if old.st_mtime_ns == new.st_mtime_ns and old.st_size == new.st_size:
                continue
        except FileNotFoundError:
            d.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(s, d)
    for n in before - set(names) - {""}:
        (target / n).unlink(missing_ok=True)
    listing.write_text("\n".join(names))


def _copy_of_tree(part):
    # a checkout's name may have blanks, a path that modules are built in may not
    return ROOT / "trees" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', SOURCE.name)}-{digest(str(SOURCE))}" / part


def _kbuild(kernel, path, *more, part=None):
    """Builds the module; or, of the checkout, the one in the directory `part`."""
    if part:
        _mirror(path, lambda n: n.startswith(f"{part}/"))
    else:
        _mirror(path, lambda n: n.split("/")[0] not in ("scripts", "selftests", "tools", "Documentation"))
    return subprocess.run(["make", "-C", str(kernel.kdir), f"M={path / (part or '')}", f"-j{os.cpu_count() or 1}",
                           *kernel.make, *more, "modules"], stdin=subprocess.DEVNULL, env=ENV,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sparse(kernel):
    """What sparse says of our own files, line by line, and what the compiler does with W=1."""
    path = _copy_of_tree(f"{kernel.key}-sparse")
    with lock(f"tree-{path.parent.name}-{path.name}"):
        p = _kbuild(kernel, path, "C=2", "W=1", "CHECK=sparse")
    seen = set()
    for line in p.stderr.splitlines():
        if re.search(r"(error|warning):", line) and (str(path) in line or not line.startswith("/")):
            line = line.replace(f"{path}/", "")
            if line not in seen and "the compiler differs" not in line:
                seen.add(line)
                yield line
    if p.returncode and not seen:
        yield p.stderr.strip()[-2000:]


def module(kernel, needed=True, count=False):
    """wafer.ko for this kernel, as bytes; None when it does not build and is not needed. count: the counting build."""
    if not (SOURCE / "Kbuild").exists():
        if not needed:
            return None
        raise Failure("there is no Kbuild in this checkout yet, so no wafer.ko: use --module kvm or none")
    path = _copy_of_tree(kernel.key + ("-count" if count else ""))
    with lock(f"tree-{path.parent.name}-{path.name}"):
        p = _kbuild(kernel, path, *(["COUNT=1"] if count else []))
        said = "\n".join(l for l in p.stderr.splitlines() if not l.startswith("Skipping BTF generation"))
        if p.returncode and not needed:
            say(f"wafer.ko does not build for the kernel {kernel.release}, so it is not in this host")
            return None
        if said.strip():
            say(said.replace(f"{path}/", ""))
        if p.returncode:
            raise Failure(f"wafer.ko does not build for the kernel {kernel.release}: see the compiler's messages above")
        # debug information is nine tenths of it, and a host's memory
        run(["strip", "--strip-debug", "-o", path / "wafer.stripped.ko", path / "wafer.ko"])
        return (path / "wafer.stripped.ko").read_bytes()


def hwbits(kernel):
    """The module that reads CR4 and EFER for tests, as bytes; None where it does not build."""
    path = _copy_of_tree(f"{kernel.key}-hwbits")
    with lock(f"tree-{path.parent.name}-{path.name}"):
        p = _kbuild(kernel, path, part="selftests/hwbits")
        if p.returncode:
            say(f"hwbits.ko does not build for the kernel {kernel.release}, so it is not in this host: {p.stderr.strip()}")
            return None
        return (path / "selftests/hwbits/hwbits.ko").read_bytes()


def add_programs(archive, count=False):
    """The user-space programs, under /wafer."""
    path = _copy_of_tree("user")
    with lock(f"tree-{path.parent.name}-user"):
        _mirror(path, lambda n: n.split("/")[0] in USER_PARTS)
        _bench(archive, path, "exitcost")
        _bench(archive, path, "manyvms")
        _bench(archive, path, "bigguest")
        if count:
            _bench(archive, path, "exitcost-count", "-DCOUNTS")
        if (path / "tools/Makefile").exists():
            if _make(path, ["make", "-C", "tools", "STATIC=1"], "tools/"):
                archive.tree(path / "tools/wafer", "wafer/wafer")
        _selftests(archive, path)


def _make(path, argv, what):
    p = subprocess.run(argv, cwd=path, stdin=subprocess.DEVNULL, env=ENV, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
    if p.stderr.strip():
        say(p.stderr.strip().replace(f"{path}/", ""))
    if p.returncode:
        # the host may be wanted for something else
        say(f"{what} does not build (see above), so what comes from there is not in this host")
    return p.returncode == 0


def _bench(archive, path, name, *flags):
    source, target = path / f"selftests/bench/{name.split('-')[0]}.c", path / name
    if source.exists():
        newest = max(f.stat().st_mtime for f in source.parent.glob("*.[ch]"))
        if not target.exists() or target.stat().st_mtime < newest:
            run(["cc", "-O2", "-static", *flags, "-o", target, source])
        archive.tree(target, f"wafer/{name}")


def _selftests(archive, path):
    """Installed by the rules of kselftest: a directory with the programs and run_kselftest.sh or our own runner."""
    if os.environ.get("WAFER_SELFTESTS") == "0":
        return
    if (path / "selftests/Makefile").exists():
        out = path / "selftests-installed"
        shutil.rmtree(out, ignore_errors=True)
        # the harness and the runner come from the kernel's source
        if _make(path, ["make", "-C", "selftests", "install", f"INSTALL_PATH={out}",
                        f"KERNEL_SRC={kernels.source()}"], "selftests/"):
            archive.tree(out, "wafer/selftests")
