# SPDX-License-Identifier: GPL-2.0
"""What scripts/test-vmms puts into the host: VMMs from Debian's packages, not installed, and what their guests boot."""
import gzip
import os
import pathlib
import re
import shutil
import struct

import debian
import guest
import kernels
import unpacked
from cache import ROOT, SCRIPTS, digest, once, run
from cpio import Archive

HERE = pathlib.Path(__file__)
# QEMU's version: where apt looks for it (debian.SETS), and the release
RELEASES = {"7.2": ("both", "bookworm"), "10.0": ("both", "bookworm-backports"), "11.1": ("sid", "sid")}
FIRMWARE = ["qemu", "seabios"]
# parts of QEMU that it loads when a device wants them
DISPLAYS = ["virtio-gpu", "virtio-gpu-pci", "virtio-vga"]
# modules of the guest, with what they depend on
MODULES = [*guest.MODULES, "virtio_mmio", "virtio_scsi", "virtio_balloon", "virtio_console", "ahci", "ata_piix", "sd_mod",
           "sr_mod", "e1000", "e1000e", "bochs", "virtio-gpu", "usbhid", "hid-generic", "uhci-hcd", "xhci-pci", "virtiofs",
           "vmw_vsock_virtio_transport", "i6300esb", "button", "evdev"]
# parts of Python's library that the driver and the modules it imports need
PYTHON = ["*.py", "collections", "json", "encodings", "re", "importlib", "lib-dynload", "concurrent", "urllib"]


def _packages(name, suite, packages):
    """Packages unpacked in the cache. A directory of this name is kept as it is: say another name for other packages."""
    return once(ROOT / "images" / f"packages-{name}", lambda p: debian.unpack(suite, packages(), p))


def _loader(root):
    return next(p for p in [root / d / "ld-linux-x86-64.so.2" for d in ("lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]
                if p.exists())


def _with_libraries(root):
    """What starts a program of unpacked packages: their loader, and where it looks."""
    places = [root / d for d in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib", "usr/lib"]]
    return [_loader(root), "--library-path", ":".join(map(str, places))]


def _program(root, program, to, more=()):
    """A program with its libraries: to/NAME, to/lib, to/ld.so."""
    (to / "lib").mkdir(parents=True, exist_ok=True)
    for p in [program, *more]:
        said = run([*_with_libraries(root), "--list", p]).decode()
        for path in re.findall(r"=> (/\S+)", said):
            shutil.copy(path, to / "lib")
    for lib in (to / "lib").iterdir():
        lib.chmod(0o755)
    shutil.copy(_loader(root), to / "ld.so")
    shutil.copy(program, to / program.name)
    run(["strip", to / program.name])


def qemu(version):
    def make(path):
        suite, release = RELEASES[version]
        root = _packages(f"qemu-{version}", suite, lambda: debian.closure(suite, release, ["qemu-system-x86"]))
        _program(root, root / "usr/bin/qemu-system-x86_64", path)
        (path / "qemu-system-x86_64").rename(path / "qemu")
        for place in FIRMWARE + ["../lib/ipxe/qemu"]:
            for f in (root / "usr/share" / place).glob("*"):
                if f.suffix in (".bin", ".rom", ".aml") and f.stat().st_size < 600000 and "," not in f.name:
                    shutil.copy(f, path / f.name)
        shutil.copytree(root / "usr/share/qemu/keymaps", path / "keymaps")
        for name in DISPLAYS:
            shutil.copy(root / f"usr/lib/x86_64-linux-gnu/qemu/hw-display-{name}.so", path)
        for f in (root / "usr/lib/x86_64-linux-gnu/qemu").glob("accel-tcg-*.so"):
            shutil.copy(f, path)        # libvirt looks at what QEMU can do without KVM as well
        if (root / "usr/lib/qemu/virtiofsd").exists():
            _program(root, root / "usr/lib/qemu/virtiofsd", path)
    return once(ROOT / "images" / f"qemu-{version}-{digest(HERE)}", make)


def python():
    def make(path):
        root = _packages("python", "both", lambda: debian.closure("both", "bookworm", ["python3.11-minimal",
                                                                                       "libpython3.11-stdlib"]))
        library = root / "usr/lib/python3.11"
        _program(root, root / "usr/bin/python3.11", path, sorted((library / "lib-dynload").glob("_[sjhpm]*.so")))
        to = path / "usr/lib/python3.11"
        to.mkdir(parents=True)
        for pattern in PYTHON:
            for p in library.glob(pattern):
                (shutil.copytree if p.is_dir() else shutil.copy)(p, to / p.name)
        # compiled here: the emulated host would take seconds for it
        run([path / "ld.so", "--library-path", path / "lib", path / "python3.11", "-m", "compileall", "-q", to],
            env={"PYTHONHOME": str(path / "usr"), "PATH": os.environ["PATH"]})
    return once(ROOT / "images" / f"python-{digest(HERE)}", make)


QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
swtpm_user = "root"
swtpm_group = "root"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
# libvirt starts QEMU by one name only, and it is not installed
QEMU = """#!/bin/sh
QEMU_MODULE_DIR=/vmm/7.2 exec /vmm/7.2/ld.so --library-path /vmm/7.2/lib /vmm/7.2/qemu -L /vmm/7.2 "$@"
"""


# virt-install's packages; what they pull in (perl, systemd, dbus) is for other programs
VIRTINST = ["virtinst", "python3-gi", "python3-libvirt", "python3-libxml2", "python3-requests", "python3-urllib3", "python3-chardet",
            "python3-idna", "python3-certifi", "python3-six", "gir1.2-glib-2.0", "gir1.2-freedesktop", "gir1.2-libosinfo-1.0",
            "libgirepository-1.0-1", "libosinfo-1.0-0", "libsoup-3.0-0", "libpsl5", "libbrotli1", "libxslt1.1", "libproxy1v5",
            "libglib2.0-0"]


def libvirt():
    """libvirtd with its drivers for QEMU and storage, virsh, virt-install: what is copied to the host's root directory."""
    def make(path):
        root = _packages("libvirt-1", "both", lambda: debian.closure("both", "bookworm", [
            "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "python3.11-minimal", "libpython3.11-stdlib",
            "libosinfo-1.0-0", "libgirepository-1.0-1"]) + VIRTINST)
        to, triple = path / "root", "usr/lib/x86_64-linux-gnu"
        files = [f"{triple}/libvirt/connection-driver/libvirt_driver_{n}.so" for n in ("qemu", "storage")]
        files += [f"{triple}/libvirt/storage-backend/libvirt_storage_backend_fs.so", "usr/lib/libvirt/libvirt_iohelper"]
        files += [f"usr/bin/{n}" for n in ("virsh", "virt-host-validate", "python3.11", "virt-install")]
        files += [str(p.relative_to(root)) for d in (f"{triple}/girepository-1.0", "usr/lib/python3/dist-packages",
                                                     "usr/lib/python3.11", "usr/share/virt-manager")
                  for p in (root / d).rglob("*") if p.is_file() and "/test" not in str(p) and "__pycache__" not in str(p)]
        for f in ["usr/sbin/libvirtd", *files]:
            (to / f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / f, to / f)
        # what the typelibs name
        named = [root / triple / n for n in ("libosinfo-1.0.so.0", "libgirepository-1.0.so.1", "libgio-2.0.so.0")]
        _program(root, root / "usr/sbin/libvirtd", path / "all",
                 [*named, *(root / f for f in files if f.endswith(".so") or "/bin/" in f and f != "usr/bin/virt-install")])
        for f in named:
            shutil.copy(f, path / "all/lib")
        shutil.copytree(path / "all/lib", to / triple, dirs_exist_ok=True)
        (to / "lib64").mkdir()
        (path / "all/ld.so").rename(to / "lib64/ld-linux-x86-64.so.2")
        shutil.rmtree(path / "all")
        (to / "usr/bin/python3").symlink_to("python3.11")
        for d in ("libvirt/cpu_map", "libvirt/schemas"):
            shutil.copytree(root / "usr/share" / d, to / "usr/share" / d, dirs_exist_ok=True)
        run([to / "lib64/ld-linux-x86-64.so.2", "--library-path", to / triple, to / "usr/bin/python3.11", "-m", "compileall", "-q",
             to / "usr/lib", to / "usr/share/virt-manager"], env={"PYTHONHOME": str(to / "usr"), "PATH": os.environ["PATH"]})
        (to / "usr/share/misc").mkdir()
        for name in ("pci.ids", "usb.ids"):     # libosinfo stops without them
            (to / "usr/share/misc" / name).touch()
        (to / "etc/libvirt").mkdir(parents=True)
        (to / "etc/libvirt/qemu.conf").write_text(QEMU_CONF)
        (to / "etc/libvirt/libvirtd.conf").write_text('auth_unix_rw = "none"\nhost_uuid_source = "machine-id"\n')
        # users that its packages make; it looks for them whatever the configuration says
        (to / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
                                       "libvirt-qemu:x:64055:107::/:/bin/false\ntss:x:64056:64056::/:/bin/false\n")
        (to / "etc/group").write_text("root:x:0:\nkvm:x:107:\nlibvirt-qemu:x:64055:\ntss:x:64056:\nnogroup:x:65534:\n")
        (to / "etc/machine-id").write_text("11111111222233334444555555555555\n")
        (to / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 host\n")
        (to / "usr/bin/qemu-system-x86_64").write_text(QEMU)
        (to / "usr/bin/qemu-system-x86_64").chmod(0o755)
    return once(ROOT / "images" / f"libvirt-{digest(HERE)}", make) / "root"


# what libguestfs's guest needs before it has its root file system, and what the daemon in it uses
GUESTFS_MODULES = ["virtio_pci", "virtio_scsi", "sd_mod", "crc32c_generic", "ext4", "virtio_console", "virtio-rng", "dm_mod"]
GUESTFS_INIT = f"""#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for m in {' '.join(GUESTFS_MODULES)}; do modprobe $m; done
root=$(sed 's/.*root=\\([^ ]*\\).*/\\1/' /proc/cmdline)
for i in $(seq 30); do mount -t ext4 "$(findfs $root)" /root && break; sleep 1; done
umount /proc
exec switch_root /root /init
"""


def guestfs():
    """libguestfs's guestfish, and the appliance that it boots. Made beforehand, which it calls a fixed one: by itself it would
    have supermin ask dpkg what is installed."""
    def make(path):
        root = _packages("guestfs", "both", lambda: debian.closure("both", "bookworm", [
            "guestfsd", "udev", "e2fsprogs", "parted", "fdisk", "mount", "util-linux", "lvm2", "bash", "coreutils", "sed", "grep",
            "findutils", "kmod", "libvirt0", "libfuse2", "libreadline8", "libconfig9", "qemu-utils"]) + ["guestfish", "libguestfs0"])
        for name in ("guestfish", "qemu-img"):
            _program(root, root / "usr/bin" / name, path)
        tree, appliance = path / "tree", path / "appliance"
        shutil.copytree(root, tree, symlinks=True, ignore=shutil.ignore_patterns(
            "doc", "man", "locale", "info", "perl*", "zoneinfo", "gconv", "hwdb.d", "libvirt*", "qemu*", "gprofng*", "guestfish"))
        for name in ("base", "daemon", "init", "udev-rules"):
            run(["tar", "xzf", root / f"usr/lib/x86_64-linux-gnu/guestfs/supermin.d/{name}.tar.gz", "-C", tree])
        (tree / "bin/sh").symlink_to("bash")
        appliance.mkdir()
        (appliance / "README.fixed").touch()
        with open(appliance / "initrd", "wb") as f:
            a = Archive(f)
            for d in ("proc", "dev", "root"):
                a.directory(d)
            a.node("dev/console", 0o600, 5, 1)
            guest.busybox(a)
            guest.add_modules(a, kernels.get("debian"), GUESTFS_MODULES)
            a.text("init", GUESTFS_INIT, 0o755)
            a.end()
        run([*_with_libraries(root), root / "sbin/mke2fs", "-q", "-d", tree, "-E", "root_owner=0:0", "-m", "0", appliance / "root",
             "200M"])
        shutil.rmtree(tree)
    return once(ROOT / "images" / f"guestfs-{digest(kernels.get('debian').key, HERE)}", make)


def boot():
    """Boot loaders, firmware, and kernels of other kinds."""
    return _packages("boot", "both", lambda: ["grub-pc-bin", "grub-common", "isolinux", "ovmf", "syslinux-common",
                                              "memtest86+"])


def others():
    """What else boots or runs in a guest."""
    return _packages("others", "both", lambda: ["xen-hypervisor-4.17-amd64", "ipxe",
                                                *debian.closure("both", "bookworm", ["qemu-guest-agent"])])


def runsc():
    """gVisor. The one of sid is built with a Go that it does not know: it ends with "running on goroutine"."""
    return _packages("runsc", "trixie", lambda: ["runsc"]) / "usr/bin/runsc"


def u_boot():
    return _packages("u-boot", "both", lambda: ["u-boot-qemu"])


def i386():
    return _packages("i386", "i386", lambda: [
        "busybox-static", *(debian.depends("i386", f"linux-image-{k}", "linux-image-.*") for k in ("686", "686-pae"))])


def kernel32(flavour):
    return next(p for p in (i386() / "boot").glob("vmlinuz-*") if p.name.endswith(f"-{flavour}"))


def initrd():
    parts = [SCRIPTS / "guest.d" / n for n in ("init", "shell", "dirty.c", "fetch.c")]

    def make(path):
        kernel = kernels.get("debian")
        for source in parts[2:]:
            run(["cc", "-O2", "-static", "-Wall", "-o", path / source.stem, source])
        with open(path / "initrd", "wb") as f:
            a = _base(f, parts)
            guest.busybox(a)
            guest.add_modules(a, kernel, MODULES)
            for source in parts[2:]:
                a.text(f"bin/{source.stem}", (path / source.stem).read_bytes(), 0o755)
            a.end()
    return once(ROOT / "images" / f"vmm-guest-{digest(kernels.get('debian').key, HERE, *parts)}", make) / "initrd"


def initrd_agent():
    """The same with QEMU's guest agent behind it."""
    def make(path):
        _program(others(), others() / "usr/sbin/qemu-ga", path / "agent")
        with open(path / "initrd", "wb") as f:
            f.write(initrd().read_bytes())
            a = Archive(f)
            a.tree(path / "agent", "agent", libraries=False)
            a.end()
    return once(ROOT / "images" / f"vmm-guest-agent-{digest(HERE, initrd())}", make) / "initrd"


def initrd32():
    parts = [SCRIPTS / "guest.d" / n for n in ("init", "shell")]

    def make(path):
        busybox = i386() / "bin/busybox"
        with open(path / "initrd", "wb") as f:
            a = _base(f, parts)
            a.text("bin/busybox", busybox.read_bytes(), 0o755)
            for name in run([guest.BUSYBOX, "--list"]).decode().split():
                if name != "busybox":
                    a.symlink(f"bin/{name}", "busybox")
            a.symlink("sbin", "bin")
            a.end()
    return once(ROOT / "images" / f"vmm-guest32-{digest(HERE, *parts)}", make) / "initrd"


def _base(f, parts):
    a = Archive(f)
    for d in ["proc", "sys", "dev", "tmp", "root", "etc", "mnt"]:
        a.directory(d)
    a.node("dev/console", 0o600, 5, 1)
    a.text("init", parts[0].read_bytes(), 0o755)
    a.text("shell", parts[1].read_bytes(), 0o755)
    return a


APPEND = "console=ttyS0 loglevel=4 nokaslr mitigations=off panic=-1 wafer.modules= wafer.run=/shell"


def disc(kind):
    """A CD that boots by isolinux or GRUB, from a BIOS also as a disk."""
    def make(path):
        root, tree = boot(), path / "tree"
        (tree / "boot").mkdir(parents=True)
        shutil.copy(kernels.get("debian").vmlinuz, tree / "boot/vmlinuz")
        shutil.copy(initrd(), tree / "boot/initrd")
        run(["gzip", "-n", tree / "boot/initrd"])
        (_isolinux if kind == "isolinux" else _grub)(path, root, tree)
        shutil.rmtree(tree)
    return once(ROOT / "images" / f"disc-{kind}-{digest(HERE, initrd())}", make) / "iso"


def _isolinux(path, root, tree):
    shutil.copy(root / "usr/lib/ISOLINUX/isolinux.bin", tree)
    shutil.copy(root / "usr/lib/syslinux/modules/bios/ldlinux.c32", tree)
    (tree / "isolinux.cfg").write_text(
        f"serial 0 115200\ndefault g\nlabel g\n kernel /boot/vmlinuz\n append initrd=/boot/initrd.gz {APPEND}\n")
    run(["xorriso", "-as", "mkisofs", "-quiet", "-o", path / "iso", "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot",
         "-boot-load-size", "4", "-boot-info-table", "-isohybrid-mbr", root / "usr/lib/ISOLINUX/isohdpfx.bin", tree])


def _grub(path, root, tree):
    (path / "early.cfg").write_text("search --file --set=root /boot/grub.cfg\nset prefix=($root)/boot\n")
    (tree / "boot/grub.cfg").write_text(
        "serial --unit=0 --speed=115200\nterminal_output serial\nterminal_input serial\nset timeout=1\n"
        f"menuentry linux {{\n linux /boot/vmlinuz {APPEND}\n initrd /boot/initrd.gz\n}}\n")
    modules = root / "usr/lib/grub/i386-pc"
    image = path / "core.img"
    run([root / "usr/bin/grub-mkimage", "-O", "i386-pc", "-d", modules, "-c", path / "early.cfg", "-p", "/boot", "-o", image,
         "biosdisk", "iso9660", "part_msdos", "normal", "linux", "serial", "terminal", "search", "search_fs_file", "echo"])
    (tree / "eltorito.img").write_bytes((modules / "cdboot.img").read_bytes() + image.read_bytes())
    run(["xorriso", "-as", "mkisofs", "-quiet", "-o", path / "iso", "-b", "eltorito.img", "-no-emul-boot",
         "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", "--grub2-mbr", modules / "boot_hybrid.img", tree])


def rescue():
    """A CD whose GRUB finds nothing of its own."""
    def make(path):
        modules = boot() / "usr/lib/grub/i386-pc"
        run([boot() / "usr/bin/grub-mkimage", "-O", "i386-pc", "-d", modules, "-p", "(hd9)/nowhere", "-o", path / "core", "biosdisk"])
        tree = path / "tree"
        tree.mkdir()
        (tree / "eltorito.img").write_bytes((modules / "cdboot.img").read_bytes() + (path / "core").read_bytes())
        run(["xorriso", "-as", "mkisofs", "-quiet", "-o", path / "iso", "-b", "eltorito.img", "-no-emul-boot",
             "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", tree])
    return once(ROOT / "images" / f"disc-rescue-{digest(HERE)}", make) / "iso"


def ipxe():
    """What iPXE fetches: a script, and a kernel."""
    def make(path):
        (path / "boot.ipxe").write_text(f"#!ipxe\necho script from the network\nkernel vmlinuz {APPEND} initrd=initrd.gz\n"
                                        "initrd initrd.gz\nboot\n")
        shutil.copy(kernels.get("debian").vmlinuz, path / "vmlinuz")
        shutil.copy(initrd(), path / "initrd")
        run(["gzip", "-n", path / "initrd"])
    return once(ROOT / "images" / f"ipxe-{digest(HERE, initrd())}", make)


def xen():
    return once(ROOT / "images" / f"xen-{digest(HERE)}", lambda p: (p / "xen").write_bytes(
        gzip.decompress(next((others() / "boot").glob("xen-*.gz")).read_bytes()))) / "xen"


def vmlinux():
    """The kernel as an ELF file: Xen takes minutes to unpack it."""
    packed = kernels.get("debian").vmlinuz
    return once(ROOT / "images" / f"vmlinux-{digest(packed, HERE)}", lambda p: (p / "vmlinux").write_bytes(
        unpacked.elf(packed.read_bytes()))) / "vmlinux"


def data():
    """A disk with known contents: 4 MiB, each word its own number."""
    path = once(ROOT / "images" / "vmm-data", lambda p: (p / "disk").write_bytes(
        b"".join(struct.pack("<I", n * 2654435761 & 0xffffffff) for n in range(1 << 20))))
    return path / "disk"


def qcow2():
    """An empty qcow2 of 16 MiB: the header, one cluster each of reference table, reference counts and mapping table."""
    cluster = 1 << 16
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 16 << 20, 0, 1, 3 * cluster, cluster, 1, 0, 0)
    parts = [header, struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1), b""]
    path = once(ROOT / "images" / "vmm-qcow2",
                lambda p: (p / "disk").write_bytes(b"".join(x.ljust(cluster, b"\0") for x in parts)))
    return path / "disk"


def gnumach():
    # the one for i386: QEMU's loader takes no 64-bit multiboot kernel
    root = _packages("gnumach", "i386", lambda: ["gnumach-image-1.8-486"])
    packed = next((root / "boot").glob("gnumach*"))
    path = once(ROOT / "images" / f"{packed.stem}-i386",
                lambda p: (p / "gnumach").write_bytes(gzip.decompress(packed.read_bytes())))
    return path / "gnumach"


# path in the host: where it comes from
FILES = {
    "/vmm/7.2": lambda: qemu("7.2"),
    "/vmm/10.0": lambda: qemu("10.0"),
    "/vmm/11.1": lambda: qemu("11.1"),
    "/vmm/gVisor": runsc,
    "/vmm/libvirt": libvirt,
    "/vmm/guestfs": guestfs,
    "/vmm/vmlinuz": lambda: unpacked.image(kernels.get("debian").vmlinuz),
    "/vmm/vmlinuz-6.12": lambda: unpacked.image(kernels.get("6.12").vmlinuz),
    "/vmm/vmlinuz-7.2": lambda: unpacked.image(kernels.get("7.2").vmlinuz),
    "/vmm/packed": lambda: kernels.get("debian").vmlinuz,
    "/vmm/vmlinux": vmlinux,
    "/vmm/initrd": initrd,
    "/vmm/initrd-agent": initrd_agent,
    "/vmm/vmlinuz-686": lambda: kernel32("686"),
    "/vmm/vmlinuz-pae": lambda: kernel32("686-pae"),
    "/vmm/initrd32": initrd32,
    "/vmm/isolinux.iso": lambda: disc("isolinux"),
    "/vmm/grub.iso": lambda: disc("grub"),
    "/vmm/rescue.iso": rescue,
    "/vmm/ipxe": ipxe,
    "/vmm/ipxe.lkrn": lambda: others() / "boot/ipxe.lkrn",
    "/vmm/xen": xen,
    "/vmm/data": data,
    "/vmm/empty.qcow2": qcow2,
    "/vmm/OVMF_CODE.fd": lambda: boot() / "usr/share/OVMF/OVMF_CODE_4M.fd",
    "/vmm/OVMF_VARS.fd": lambda: boot() / "usr/share/OVMF/OVMF_VARS_4M.fd",
    "/vmm/gnumach": gnumach,
    "/vmm/u-boot-x86.rom": lambda: u_boot() / "usr/lib/u-boot/qemu-x86/u-boot.rom",
    "/vmm/u-boot-x86_64.rom": lambda: u_boot() / "usr/lib/u-boot/qemu-x86_64/u-boot.rom",
    "/vmm/memtest": lambda: boot() / "boot/memtest86+x64.bin",
}


def copies(text):
    """scripts/host's options for the files that are named in the text."""
    wanted = {p: make for p, make in FILES.items() if re.search(re.escape(p) + r"(?![\w.-])", text)}
    if re.search(r'"(network|vsock)"', text):       # what these steps fetch
        wanted["/vmm/data"] = data
    wanted["/vmm/python"] = python
    wanted["/vmm/drive"] = lambda: SCRIPTS / "host.d/vmms.py"
    return [f"{make()}:{path}" for path, make in wanted.items()]
