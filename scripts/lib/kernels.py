# SPDX-License-Identifier: GPL-2.0
"""The host kernels by name: fetched or built once, kept in the cache, ready to boot and to build modules for."""
import os
import pathlib
import re
import shutil

import debian
from cache import ROOT, SCRIPTS, Failure, digest, lock, once, run, say

FRAGMENTS = SCRIPTS / "kernels"
# name: (set of Debian suites, configuration fragments of our own; none: Debian's own binary kernel; minutes on two cores)
BUILT = {
    "small": (["bookworm"], "6.1", ["base"], 5),
    "debug": (["bookworm"], "6.1", ["base", "debug"], 9),
    "kcsan": (["bookworm"], "6.1", ["base", "kcsan"], 7),
    "7.2": (["sid", "testing"], "7.2", ["base", "7.2"], 7),
    "debug-rt": (["sid", "testing"], "7.2", ["base", "7.2", "rt"], 9),
}
# name: suites, Debian's name of the flavour
PACKAGED = {"debian": ("bookworm", "amd64"), "6.12": ("backports", "amd64"), "rt": ("bookworm", "rt-amd64")}
NAMES = [*PACKAGED, *BUILT]


class Kernel:
    """Where a kernel's parts are; `key` names this very build of it."""

    def __init__(self, name, key, release, vmlinuz, kdir, modroot, make=()):
        self.name, self.key, self.release = name, key, release
        self.vmlinuz, self.kdir, self.modroot = vmlinuz, kdir, modroot
        self.make = list(make)      # more arguments for building a module


def get(name, update=False):
    if name in PACKAGED:
        return _packaged(name, update)
    if name in BUILT:
        return _built(name, update)
    return _file(name)


def _cached(pattern):
    """The newest complete directory of the cache that matches."""
    found = [p.parent for p in (ROOT / "kernels").glob(pattern + "/.complete")]
    return max(found, key=lambda p: (p / ".complete").stat().st_mtime) if found else None


def _packaged(name, update):
    suites, flavour = PACKAGED[name]
    path = None if update else _cached(f"{name}-*")
    if not path:
        with lock(f"kernel-{name}"):
            path = None if update else _cached(f"{name}-*")
            if not path:
                image = debian.depends(suites, f"linux-image-{flavour}", rf"linux-image-\d.*-{flavour}")
                release = re.sub(r"^linux-image-", "", image)
                path = ROOT / "kernels" / f"{name}-{release}"
                once(path, lambda p: _fetch(name, suites, image, release, p))
    release = path.name[len(name) + 1:]
    headers = path / "usr/src" / f"linux-headers-{release}"
    # pahole is not needed for a module of our own: leave the type information out
    return Kernel(name, path.name, release, path / "boot" / f"vmlinuz-{release}", headers, path,
                  ["CONFIG_DEBUG_INFO_BTF_MODULES="])


def _fetch(name, suites, image, release, path):
    say(f"fetching Debian's kernel {release} and its headers, about 85 MB")
    headers = f"linux-headers-{release}"
    common = debian.depends(suites, headers, r"linux-headers-.*-common(-rt)?")
    kbuild = debian.depends(suites, headers, r"linux-kbuild-.*")
    debian.unpack(suites, [image, headers, common, kbuild], path)
    # the headers name each other by absolute paths: make those point into the cache
    for root in (path / "usr/src").iterdir():
        for f in [root / "Makefile", root / ".kernelvariables"]:
            if f.is_file():
                text = f.read_text()
                f.write_text(re.sub(r"(?<![\w.])/usr/(src|lib)/(?=linux-)", rf"{path}/usr/\1/", text))
        for link in root.iterdir():
            if link.is_symlink() and os.readlink(link).startswith("/usr/"):
                target = os.readlink(link)
                link.unlink()
                link.symlink_to(f"{path}{target}")
    for link in (path / "lib/modules" / release).iterdir():
        if link.is_symlink():
            link.unlink()
    _depmod(path, release)


def _depmod(path, release):
    tool = shutil.which("depmod", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not tool:
        raise Failure("depmod: not installed; run scripts/install-deps as root")
    run([tool, "-b", path, release])


def _built(name, update):
    suites, series, fragments, minutes = BUILT[name]
    files = [FRAGMENTS / f"{f}.config" for f in fragments]
    mark = digest(*files)
    path = None if update else _cached(f"{name}-*-{mark}")
    if not path:
        with lock(f"kernel-{name}"):
            path = None if update else _cached(f"{name}-*-{mark}")
            if not path:
                source, version = _source(suites, series)
                path = ROOT / "kernels" / f"{name}-{version}-{mark}"
                once(path, lambda p: _build(name, source, files, minutes, p))
    release = (path / "build/include/config/kernel.release").read_text().strip()
    return Kernel(name, path.name, release, path / "build/arch/x86/boot/bzImage", path / "build", path)


def _source(suites, series):
    """Debian's kernel source, unpacked: the first of the suites that has it."""
    package = f"linux-source-{series}"
    for suite in suites:
        version = debian.version(suite, package)
        if version:
            path = ROOT / "src" / f"{package}-{version.replace(':', '-')}"
            return once(path, lambda p: _fetch_source(suite, package, p)) / "linux", version
    raise Failure(f"{package} is in none of Debian's {', '.join(suites)} any more: "
                  f"name another kernel with --kernel FILE, or change scripts/lib/kernels.py")


def source(series="6.1"):
    """For checks that need a file of the kernel's source tree, such as checkpatch."""
    found = sorted((ROOT / "src").glob(f"linux-source-{series}-*/.complete"))
    if found:
        return found[-1].parent / "linux"
    return _source(["bookworm"] if series == "6.1" else ["sid", "testing"], series)[0]


def _fetch_source(suite, package, path):
    say(f"fetching {package}, about 140 MB, and unpacking it to 1.4 GB")
    debian.unpack(suite, [package], path)
    (path / "linux").mkdir()
    run(["tar", "-xf", path / "usr/src" / f"{package}.tar.xz", "-C", path / "linux",
         "--strip-components=1"])
    shutil.rmtree(path / "usr")


def _build(name, source, files, minutes, path):
    say(f"building the {name} kernel, about {minutes} minutes on two cores "
        f"(log: {path}/build.log)")
    build = path / "build"
    build.mkdir()
    log = path / "build.log"
    env = {**os.environ, "KBUILD_BUILD_USER": "wafer", "KBUILD_BUILD_HOST": "wafer",
           "KCONFIG_NOTIMESTAMP": "1"}
    for v in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "KDIR", "ARCH", "CROSS_COMPILE"):
        env.pop(v, None)
    run(["scripts/kconfig/merge_config.sh", "-n", "-O", build, *files], log=log, cwd=source, env=env)
    jobs = f"-j{os.cpu_count() or 1}"
    run(["nice", "make", "-C", source, f"O={build}", jobs, "bzImage", "modules"], log=log, env=env)
    run(["make", "-C", build, f"INSTALL_MOD_PATH={path}", "modules_install"], log=log, env=env)
    for link in (path / "lib/modules").glob("*/*"):
        if link.is_symlink():
            link.unlink()


def _file(name):
    """A bzImage of the caller's; the build tree around it gives the modules."""
    image = pathlib.Path(name).resolve()
    if not image.is_file():
        raise Failure(f"--kernel {name}: neither one of {', '.join(NAMES)} nor a file")
    build = image.parents[3] if len(image.parents) > 3 else image.parent
    kernelrelease = build / "include/config/kernel.release"
    if image.parts[-4:-1] != ("arch", "x86", "boot") or not kernelrelease.is_file():
        raise Failure(f"--kernel {name}: not .../arch/x86/boot/bzImage of a kernel's build tree, "
                      "which is needed to build modules for it")
    release = kernelrelease.read_text().strip()
    key = f"file-{digest(image, str(build))}"
    path = ROOT / "kernels" / key
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    once(path, lambda p: run(["make", "-C", build, f"INSTALL_MOD_PATH={p}", "modules_install"],
                             env=env))
    return Kernel(name, key, release, image, build, path)
