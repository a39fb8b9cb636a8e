# SPDX-License-Identifier: GPL-2.0
"""How an emulated host is started: QEMU for AMD, Bochs for Intel (and for its AMD models)."""
import os
import pathlib
import re
import shutil

import unpacked
from cache import Failure, run

BOCHS_AMD = ("zambezi", "trinity_apu", "ryzen", "amd_k6_2_chomper", "athlon64_clawhammer",
             "athlon64_venice", "turion64_tyler", "phenom_8650_toliman")
BOCHS_BIOS = pathlib.Path("/usr/share/bochs/BIOS-bochs-latest")
BOCHS_VGA = pathlib.Path("/usr/share/bochs/VGABIOS-lgpl-latest")
ISOLINUX = pathlib.Path("/usr/lib/ISOLINUX/isolinux.bin")
LDLINUX = pathlib.Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
# These models tell a wrong size for XSAVE's compacted format. Linux then does without XSAVE, and 7.2 crashes over it:
# keep it to the format whose size is right, so that AVX and AVX-512 can be tested.
BOCHS_WRONG_XSAVE = ("corei7_skylake_x", "corei3_cnl", "corei7_icelake_u", "tigerlake")
# an oops ends the host at once instead of leaving it half dead; slow is not stuck
COMMON = ("console=ttyS0 quiet oops=panic panic=-1 log_buf_len=4M rcupdate.rcu_cpu_stall_timeout=120 "
          "rdinit=/init")


def make(options, kernel, images, work):
    """The emulator for these options. `images` are the parts of the initramfs."""
    bochs = options.accel == "emulated" and (options.backend == "vmx" or options.cpu in BOCHS_AMD)
    return (Bochs if bochs else Qemu)(options, kernel, images, work)


class Emulator:
    def __init__(self, options, kernel, images, work):
        self.options, self.work = options, work
        self.console = work / "console"     # what the host's kernel prints
        self.serial = work / "serial"       # the command's output and the agent's frames
        self.log = work / "emulator.log"    # what the emulator itself says
        self.prepare(kernel, images)

    def trouble(self):
        """The emulator's own word that the host can not go on, or None."""
        return None


class Qemu(Emulator):
    def prepare(self, kernel, images):
        o = self.options
        program = [shutil.which("qemu-system-x86_64")]
        # 7.2 gives one CPU all the time until the next timer, while it waits for another: the second never comes up
        version = os.environ.get("WAFER_QEMU") or ("10.0" if o.icount and o.cpus > 1 and o.accel == "emulated" else None)
        if version:
            import vmmimage
            newer = vmmimage.qemu(version)
            program = ["env", f"QEMU_MODULE_DIR={newer}", newer / "ld.so", "--library-path", newer / "lib", newer / "qemu", "-L", newer]
        elif not program[0]:
            raise Failure("qemu-system-x86_64: not installed; run scripts/install-deps as root")
        initrd = self.work / "initrd"
        with open(initrd, "wb") as f:
            for i in images:
                with open(i, "rb") as g:
                    shutil.copyfileobj(g, f)
        append = f"{COMMON} {o.append}"
        self.argv = [*program, "-nodefaults", "-display", "none", "-no-reboot", "-m", str(o.mem),
                     "-smp", str(o.cpus), "-kernel", str(unpacked.image(kernel.vmlinuz)), "-initrd", str(initrd),
                     "-serial", f"file:{self.console}", "-serial", f"file:{self.serial}",
                     "-machine", "q35"]
        if o.accel == "nested":
            append = self._nested(append)
        else:
            append = self._emulated(append)
        self.argv += ["-append", append]

    def _emulated(self, append):
        o = self.options
        cpu = o.cpu or "EPYC"
        model, _, features = cpu.partition(",")
        cpu = f"{model},+svm,+npt" + (f",{features}" if features else "")
        if o.icount:
            # random numbers from the host would make one run differ from the next
            cpu += ",-rdrand,-rdseed"
            self.argv += ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm",
                          "-seed", "1"]
            append += " nokaslr"
        elif o.cpus > 1 and not os.environ.get("WAFER_QEMU"):
            # QEMU 7.2 with one thread per CPU dies now and then of an assertion about its big lock
            self.argv += ["-accel", "tcg,thread=single"]
        self.argv += ["-cpu", cpu]
        if os.environ.get("WAFER_QEMU_PLUGIN"):         # scripts/trace-exit
            self.argv += ["-plugin", os.environ["WAFER_QEMU_PLUGIN"]]
        return append

    def _nested(self, append):
        o = self.options
        flag, module = ("svm", "kvm_amd") if o.backend == "svm" else ("vmx", "kvm_intel")
        if not re.search(rf"^flags.*\b{flag}\b", open("/proc/cpuinfo").read(), re.M):
            raise Failure(f"--accel nested: this machine's CPU shows no {flag}, which the backend "
                          f"{o.backend} needs; use --accel emulated")
        nested = pathlib.Path(f"/sys/module/{module}/parameters/nested")
        if not nested.exists() or nested.read_text().strip() not in ("1", "Y", "y"):
            raise Failure(f"--accel nested: {module} is not loaded with nested=1; "
                          f"load it so, or use --accel emulated")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise Failure("--accel nested: /dev/kvm can not be opened; join the group kvm, or use --accel emulated")
        if o.icount:
            raise Failure("--icount counts instructions and needs --accel emulated")
        self.argv += ["-accel", "kvm", "-cpu", f"{o.cpu or 'host'},+{flag}"]
        return append


class Bochs(Emulator):
    def prepare(self, kernel, images):
        o = self.options
        program = shutil.which("bochs")
        for need in [BOCHS_BIOS, BOCHS_VGA, ISOLINUX, LDLINUX]:
            if not program or not need.exists():
                raise Failure(f"{'bochs' if not program else need}: not installed; "
                              "run scripts/install-deps as root")
        cpu = o.cpu or "corei7_skylake_x"
        append = f"{COMMON} nokaslr tsc=reliable no_timer_check {o.append}"
        hidden = []
        if cpu in BOCHS_WRONG_XSAVE:
            append += " noxsaves"
            hidden += ["xsavec"]
        if o.icount:
            # one tick is one instruction in Bochs anyway; without these each run takes the same path as the last
            hidden += ["rdrand", "rdseed"]
        if hidden:
            append += f" clearcpuid={','.join(hidden)}"
        self._boot_disc(kernel, images, append)
        os.mkfifo(self.serial)
        rc = self.work / "bochsrc"
        rc.write_text(f"""\
display_library: sdl2
cpu: model={cpu}, count={o.cpus}, ips=200000000, ignore_bad_msrs=1, reset_on_triple_fault=0
memory: guest={o.mem}, host={o.mem}
romimage: file={BOCHS_BIOS}
vgaromimage: file={BOCHS_VGA}
ata0: enabled=1
ata0-master: type=cdrom, path={self.work}/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={self.console}
com2: enabled=1, mode=file, dev={self.serial}
clock: sync=none, time0=1704067200
panic: action=fatal
error: action=ignore
info: action=ignore
log: {self.log}
""")
        # Debian's Bochs starts in its debugger: tell that to go on
        (self.work / "debugger").write_text("continue\n")
        self.argv = [program, "-q", "-f", str(rc), "-rc", str(self.work / "debugger")]

    def _boot_disc(self, kernel, images, append):
        disc = self.work / "disc"
        (disc / "isolinux").mkdir(parents=True)
        shutil.copy(ISOLINUX, disc / "isolinux")
        shutil.copy(LDLINUX, disc / "isolinux")
        os.symlink(unpacked.image(kernel.vmlinuz), disc / "vmlinuz")
        names = []
        for n, image in enumerate(images):
            os.symlink(image, disc / f"initrd{n}")
            names.append(f"/initrd{n}")
        (disc / "isolinux/isolinux.cfg").write_text(
            f"default host\nprompt 0\nlabel host\n kernel /vmlinuz\n"
            f" append initrd={','.join(names)} {append}\n")
        run(["xorriso", "-as", "mkisofs", "-quiet", "-f", "-o", self.work / "boot.iso",
             "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
             "-boot-load-size", "4", "-boot-info-table", disc])
        shutil.rmtree(disc)

    def trouble(self):
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return None
        m = re.search(r"exception\(\): 3rd .*", text)
        return m.group(0) if m else None
