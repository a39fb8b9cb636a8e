# SPDX-License-Identifier: GPL-2.0
"""Debian packages without root: fetched with a package list of our own, unpacked in the cache.

The machine's own apt settings (mirror, proxy, keys) are used and never changed.
"""
import glob
import os
import pathlib
import re
import time

from cache import ROOT, Failure, lock, run, say

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASES = {"bookworm", "bookworm-updates", "trixie", "forky", "sid", "stable", "testing",
            "unstable", "oldstable"}
# our name of a set of suites: (suites of the archive, suites of the security archive, a day's packages)
SETS = {
    "bookworm": (["bookworm", "bookworm-updates"], ["bookworm-security"]),
    "backports": (["bookworm-backports"], []),
    "trixie": (["trixie"], []),
    "sid": (["sid"], []),
    "testing": (["testing"], []),
    "both": (["bookworm", "bookworm-updates", "bookworm-backports"], ["bookworm-security"]),
    "i386": (["bookworm", "bookworm-updates"], []),
}
STALE = 12 * 3600


def _entries():
    """(uri, suites) of every binary source that the machine's apt knows."""
    for name in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(name):
            for line in open(name, errors="replace"):
                m = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)", line)
                if m:
                    yield m.group(1), [m.group(2)]
    for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", open(name, errors="replace").read()):
            text = "\n".join(l for l in stanza.splitlines() if not l.startswith("#"))
            f = dict(re.findall(r"^(\S+):\s*(.*)$", text, re.M))
            for uri in f.get("URIs", "").split():
                yield uri, f.get("Suites", "").split()


def _mirrors():
    main = security = None
    for uri, suites in _entries():
        if any(s in RELEASES for s in suites):
            main = main or uri
        if any(s.endswith("-security") or s.endswith("/updates") for s in suites):
            security = security or uri
    if not main:
        raise Failure("no Debian archive in /etc/apt/sources.list*; these scripts need Debian's packages")
    return main, security


def _options(name):
    """apt's options for the set `name`, with fresh enough package lists."""
    base = ROOT / "apt" / name
    arch = "i386" if name == "i386" else "amd64"
    opts = ["-q", "-o", f"Dir::State={base}/state", "-o", f"Dir::State::status={base}/status",
            "-o", f"Dir::Cache={base}/cache", "-o", f"Dir::Etc::sourcelist={base}/sources.list",
            "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::Etc::preferencesparts=-",
            "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
            "-o", f"APT::Architecture={arch}", "-o", f"APT::Architectures::={arch}",
            "-o", "Acquire::Retries=3"]
    stamp = base / "updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > STALE:
        say(f"fetching the package lists of Debian {name}")
        main, security = _mirrors()
        (base / "state/lists/partial").mkdir(parents=True, exist_ok=True)
        (base / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        (base / "status").touch()
        lines = [f"deb [signed-by={KEYRING}] {main} {s} main" for s in SETS[name][0]]
        lines += [f"deb [signed-by={KEYRING}] {security} {s} main" for s in SETS[name][1] if security]
        (base / "sources.list").write_text("\n".join(lines) + "\n")
        run(["apt-get", *opts, "update"])
        stamp.touch()
    return opts


def newest(name, pattern):
    """Name of the package with the highest version number that matches the expression whole."""
    with lock(f"apt-{name}"):
        out = run(["apt-cache", *_options(name), "pkgnames"]).decode().split()
    found = [p for p in out if re.fullmatch(pattern, p)]
    key = lambda p: [int(n) for n in re.findall(r"\d+", p)]
    return max(found, key=key) if found else None


def depends(name, package, pattern):
    """The package that `package` depends on and whose name matches."""
    with lock(f"apt-{name}"):
        out = run(["apt-cache", *_options(name), "depends", package]).decode()
    for p in re.findall(r"Depends: (\S+)", out):
        if re.fullmatch(pattern, p):
            return p
    raise Failure(f"{package} of Debian {name} depends on no package named like {pattern}")


def version(name, package):
    with lock(f"apt-{name}"):
        out = run(["apt-cache", *_options(name), "policy", package]).decode()
    m = re.search(r"Candidate: (\S+)", out)
    return m.group(1) if m and m.group(1) != "(none)" else None


def closure(name, release, packages):
    """Packages of a release with all that they depend on, as PACKAGE=VERSION."""
    with lock(f"apt-{name}"):
        out = run(["apt-get", *_options(name), "-s", "--no-install-recommends", "-t", release, "install", *packages]).decode()
    return [f"{package}={version}" for package, version in re.findall(r"^Inst (\S+) \((\S+)", out, re.M)]


def unpack(name, packages, to):
    """Downloads packages and unpacks them under the directory `to`."""
    to = pathlib.Path(to)
    debs = to / ".debs"
    debs.mkdir(parents=True, exist_ok=True)
    with lock(f"apt-{name}"):
        run(["apt-get", *_options(name), "download", *packages], cwd=debs)
    for deb in debs.glob("*.deb"):
        run(["dpkg", "-x", deb, to])
        deb.unlink()
    debs.rmdir()
