# SPDX-License-Identifier: GPL-2.0
"""The guest that every host carries: Debian's own kernel and a small initramfs."""
import gzip
import pathlib

import kernels
from cache import ROOT, SCRIPTS, Failure, digest, once, run
from cpio import Archive

MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng"]
# what the host gets on top of the in-tree KVM: needed to test networks, memory pressure, poisoned pages
HOST_MODULES = ["kvm", "kvm-amd", "kvm-intel", "tun", "bridge", "vhost_net", "vhost_vsock", "loop", "zram",
                "hwpoison-inject", "msr", "cpuid"]
BUSYBOX = pathlib.Path("/bin/busybox")


def busybox(archive):
    """busybox under all of its names."""
    if not BUSYBOX.exists():
        raise Failure("/bin/busybox: not installed (package busybox-static); run scripts/install-deps as root")
    archive.tree(BUSYBOX, "bin/busybox")
    for name in run([BUSYBOX, "--list"]).decode().split():
        if name != "busybox":
            archive.symlink(f"bin/{name}", "busybox")
    archive.symlink("sbin", "bin")


def add_modules(archive, kernel, names):
    """Modules with all that they depend on, and the lists that modprobe wants."""
    base = kernel.modroot / "lib/modules" / kernel.release
    dep = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        dep[pathlib.Path(path).name.split(".ko")[0].replace("_", "-")] = [path, *needs.split()]
    wanted = {}
    for name in names:
        for path in dep.get(name.replace("_", "-"), []):
            wanted[path] = dep[pathlib.Path(path).name.split(".ko")[0].replace("_", "-")]
    # rng-core is asked for by ccp through its symbols, so it comes along as a dependency
    for path in wanted:
        archive.tree(base / path, f"lib/modules/{kernel.release}/{path}", libraries=False)
    text = "".join(f"{d[0]}: {' '.join(d[1:])}".rstrip() + "\n" for d in wanted.values())
    archive.text(f"lib/modules/{kernel.release}/modules.dep", text)
    for name in ["modules.builtin", "modules.order"]:
        if (base / name).exists():
            archive.tree(base / name, f"lib/modules/{kernel.release}/{name}")


def image():
    """(kernel, initramfs) of the guest."""
    kernel = kernels.get("debian")
    init = SCRIPTS / "guest.d/init"
    mark = digest(kernel.key, init, pathlib.Path(__file__), BUSYBOX if BUSYBOX.exists() else "")
    path = once(ROOT / "images" / f"guest-{mark}", lambda p: _make(p / "initrd", kernel, init))
    return kernel.vmlinuz, path / "initrd"


def _make(target, kernel, init):
    with gzip.GzipFile(target, "wb", 6, mtime=0) as f:
        a = Archive(f)
        for d in ["proc", "sys", "dev", "tmp", "root", "etc"]:
            a.directory(d)
        a.node("dev/console", 0o600, 5, 1)
        busybox(a)
        add_modules(a, kernel, MODULES)
        a.text("init", init.read_bytes(), 0o755)
        a.end()
