# SPDX-License-Identifier: GPL-2.0
"""The matrix of scripts/test-vmms: a row is a command line, what it boots, and what must be seen (host.d/vmms.py)."""

MACHINES = ("pc", "q35", "microvm")
QUICK = {"7.2 pc on 2 CPUs", "7.2 q35 split 1 CPU", "7.2 pc off 1 CPU", "10.0 microvm on 1 CPU"}
ROWS = []


def row(name, args, steps, append=None, qemu="7.2", kvm="", backends=("svm", "vmx"), before=(), own=False, cpu=""):
    """`kvm`: why the in-tree KVM fails in the same AMD host, if it does. `own`: the row needs /dev/wafer by that name.
    `cpu`: the model that the host must have."""
    ROWS.append({"name": f"{qemu} {name}", "qemu": qemu, "args": args, "append": append, "steps": [list(s) for s in steps],
                 "kvm": kvm, "backends": backends, "before": list(before), "own": own, "quick": f"{qemu} {name}" in QUICK,
                 "cpu": cpu})


def machine(kind="pc", irqchip="on", cpus=1, cpu="host", options="", accel="", mem=192):
    return ["-accel", f"kvm,kernel-irqchip={irqchip}{accel}", "-M", f"{kind}{options}", "-smp", str(cpus), "-cpu", cpu,
            "-m", str(mem)]


KERNEL = ["-kernel", "/vmm/vmlinuz", "-initrd", "/vmm/initrd"]
OFF = [("off",)]


def linux(name, args, steps=(), modules="", cpus=1, **more):
    """Debian's kernel, started without a boot loader; it gets the modules named, and says which guest it is."""
    row(name, [*args, *KERNEL], [("boot", cpus), *steps, *OFF], f"wafer.modules={modules}", **more)


def plural(cpus):
    return f"{cpus} CPU{'s' if cpus > 1 else ''}"


# -- machines, interrupt controllers, numbers of CPUs
for qemu in ("7.2", "10.0", "11.1"):
    for kind in MACHINES:
        for irqchip, cpus in (("on", 1), ("on", 2), ("on", 4), ("split", 1), ("split", 2), ("off", 1)):
            # since 8.0 QEMU has no local APIC of its own beside KVM: off is a machine without one
            bare = irqchip == "off" and qemu != "7.2"
            if not (cpus == 4 and qemu != "7.2" or bare and kind == "microvm"):
                linux(f"{kind} {irqchip} {plural(cpus)}{', no APIC' if bare else ''}",
                      machine(kind, irqchip, cpus, "host,-apic" if bare else "host"), cpus=cpus, qemu=qemu)

# -- CPU models
for cpu in ("max", "qemu64", "host,-x2apic", "host,kvm=off"):
    linux(f"pc -cpu {cpu}", machine("pc", "on", 2, cpu), cpus=2)
linux("pc -cpu EPYC", machine("pc", "on", 2, "EPYC"), cpus=2, backends=("svm",))
linux("pc -cpu Skylake-Client", machine("pc", "on", 2, "Skylake-Client"), cpus=2, backends=("vmx",))
linux("q35 x2apic", machine("q35", "split", 2, "host,+x2apic"), [("guest", "dmesg | grep -i x2apic", "(?i)x2apic.*enabled|enabled.*x2apic|routing.*x2apic")], cpus=2)
linux("q35 x2apic", machine("q35", "split", 2, "max,+x2apic"), [("guest", "grep -c x2apic /proc/cpuinfo", "^2$")], cpus=2, qemu="11.1")
linux("pc -no-hpet", [*machine(), "-no-hpet"])

# -- what is done to a running machine
WORK = [("stop",), ("nmi",), ("reset",), ("reset", "guest"), ("migrate", "file")]
for qemu, kind, irqchip, cpus in (("7.2", "pc", "on", 2), ("10.0", "q35", "split", 2), ("7.2", "pc", "off", 1),
                                  ("10.0", "microvm", "split", 1), ("11.1", "q35", "on", 2)):
    linux(f"{kind} {irqchip} {plural(cpus)}: stop, NMI, reset, reboot, migrate to a file", machine(kind, irqchip, cpus),
          WORK, cpus=cpus, qemu=qemu)
QCOW = ["-drive", "if=none,format=qcow2,file={run}/state.qcow2,id=s", "-device", "virtio-blk-pci,drive=s"]
EMPTY_QCOW = ["cp /vmm/empty.qcow2 {run}/state.qcow2"]
for qemu in ("7.2", "10.0", "11.1"):
    linux("pc: savevm, loadvm", [*machine("pc", "on", 2), *QCOW], [("snapshot",)], cpus=2, qemu=qemu, before=EMPTY_QCOW)
    linux("q35: live migration", machine("q35", "on", 2), [("migrate", "live", 24)], cpus=2, qemu=qemu)
    linux("q35: live migration, dirty ring", machine("q35", "on", 2, accel=",dirty-ring-size=4096"),
          [("migrate", "live", 24)], cpus=2, qemu=qemu)
    linux("pc: postcopy", machine("pc", "on", 2), [("migrate", "postcopy", 24)], cpus=2, qemu=qemu)
    linux("pc: gdb", machine("pc", "on", 1), [("gdb",)], qemu=qemu,
          kvm="QEMU's TCG arms no breakpoint at VMRUN and lets INT3 through")
linux("pc: suspended to RAM three times", machine("pc", "on", 2), [("suspend", 3)], cpus=2)
# pc: QEMU's q35 keeps its PAM registers over a reset
for qemu, kind, irqchip, what in (("7.2", "pc", "on", "reset"), ("10.0", "q35", "split", "saved and loaded")):
    row(f"{kind} {irqchip} 2 CPUs: {what} while it boots",
        [*machine(kind, irqchip, 2, mem=128), *QCOW, "-kernel", "/vmm/packed", "-initrd", "/vmm/initrd"],
        [("interrupted", what, 20, 2), *OFF], "wafer.modules=", qemu=qemu, before=EMPTY_QCOW)
for capability, accel, more in (("multifd", "", []), ("background-snapshot", "", []), ("dirty-limit", ",dirty-ring-size=1024", []),
                                ("x-ignore-shared", "", ["-object", "memory-backend-file,id=m,size=192M,mem-path={run}/ram,share=on",
                                                         "-machine", "memory-backend=m"])):
    linux(f"q35: live migration, {capability}", [*machine("q35", "on", 2, accel=accel), *more], [("migrate", capability, 24)],
          cpus=2, qemu="10.0")

# -- devices
VIRTIO = "virtio_pci,virtio_blk,virtio_net"
DISK = ["-drive", "if=none,format=raw,file={run}/disk,id=d"]
COPY = ["cp /vmm/data {run}/disk"]
NET = ["-netdev", "user,id=n"]
for title, more, kinds in (("MSI-X", "", "PCI-MSI.*virtio"), ("MSI-X, no ioeventfd", ",ioeventfd=off", "PCI-MSI.*virtio"),
                           ("INTx", ",vectors=0", "IO-APIC.*fasteoi.*virtio")):
    linux(f"q35 virtio-blk, net, rng: {title}",
          [*machine("q35", "on", 2), *DISK, *NET, "-device", f"virtio-blk-pci,drive=d{more}",
           "-device", f"virtio-net-pci,netdev=n{more}", "-device", f"virtio-rng-pci{more}"],
          [("disk",), ("network",), ("guest", "dd if=/dev/hwrng bs=16 count=1 | wc -c", "16"), ("irqs", kinds)],
          VIRTIO + ",virtio-rng", cpus=2, before=COPY)
for qemu, kind, title, modules, devices, name, kinds in (
        ("7.2", "pc", "IDE, e1000: INTx", "ata_piix,sd_mod,e1000", ["-device", "ide-hd,drive=d", "-device", "e1000,netdev=n"], "sda", "IO-APIC.*eth0"),
        ("7.2", "q35", "AHCI: MSI, e1000e: MSI-X", "ahci,sd_mod,e1000e", ["-device", "ide-hd,drive=d", "-device", "e1000e,netdev=n"], "sda",
         "PCI-MSI.*ahci"),
        ("10.0", "pc", "split, virtio-scsi, virtio-net", "virtio_pci,virtio_scsi,sd_mod,virtio_net",
         ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d", "-device", "virtio-net-pci,netdev=n"], "sda",
         "PCI-MSI.*virtio")):
    linux(f"{kind} {title}", [*machine(kind, "split" if "split" in title else "on", 1), *DISK, *NET, *devices],
          [("disk", name), ("network",), ("irqs", kinds)], modules, qemu=qemu, before=COPY)
# with the interrupt controllers in the kernel, QEMU's second I/O APIC hears of no EOI
for irqchip, options in (("split", ""), ("on", ",ioapic2=off")):
    linux(f"microvm {irqchip}{options}, virtio-mmio block, net",
          [*machine("microvm", irqchip, options=options), *DISK, *NET, "-device", "virtio-blk-device,drive=d", "-device",
           "virtio-net-device,netdev=n"],
          [("disk",), ("network",)], "virtio_mmio,virtio_blk,virtio_net", before=COPY)

# four devices on one line, level-triggered, through the I/O APIC or the PIC
SHARED = [*DISK, *NET, "-device", "virtio-blk-pci,drive=d,vectors=0,addr=0x8", "-device", "virtio-net-pci,netdev=n,vectors=0,addr=0xc",
          "-device", "virtio-rng-pci,vectors=0,addr=0x10", "-chardev", "null,id=x", "-device", "pci-serial,chardev=x,addr=0x14"]
for irqchip, cpus, words in (("on", 2, ""), ("split", 1, " noapic"), ("off", 1, " noapic")):
    linux(f"pc {irqchip} {plural(cpus)}{' PIC' if words else ''}, a line shared by four", [*machine("pc", irqchip, cpus), *SHARED],
          [("disk",), ("network",), ("guest", "sum /dev/vda & dd if=/dev/hwrng bs=16 count=300 | wc -c; wait", "^4800$"),
           ("irqs", f"{'XT-PIC' if words else 'IO-APIC'} .*virtio0, virtio1, virtio2")],
          f"{VIRTIO},virtio-rng{words}", cpus=cpus, before=COPY)
# interrupts that an IOMMU remaps, and an APIC id beyond 255 with an IOMMU and without
for device, cpus, ids, more, pattern in (
        ("intel-iommu,intremap=on,eim=on", 4, [], "host,+x2apic", "IR-PCI-MSI.*virtio"),
        ("amd-iommu,intremap=on", 4, [], "host,+x2apic", "IR-PCI-MSI.*virtio"),
        ("intel-iommu,intremap=on,eim=on", "1,maxcpus=288", [287], "host,+x2apic", "IR-PCI-MSI.*virtio"),
        ("", "1,maxcpus=288", [287], "host,+x2apic,+kvm-msi-ext-dest-id", "PCI-MSI.*virtio")):
    title = f"{device.split(',')[0]}{', ' if device and ids else ''}{'APIC id 287' if ids else ''}"
    linux(f"q35 split {title}",
          [*machine("q35", "split", cpus, more, mem=512), *(["-device", device] if device else []), *DISK, "-device", "virtio-blk-pci,drive=d",
           *(w for n in ids for w in ("-device", f"host-x86_64-cpu,socket-id=0,core-id={n},thread-id=0"))],
          [*([("guest", "grep apicid /proc/cpuinfo; for i in /proc/irq/*/smp_affinity; do echo 2 > $i; done 2>/dev/null; true", "287$")]
             if ids else []), ("disk",), ("irqs", pattern)],
          VIRTIO, cpus=2 if ids else cpus, qemu="10.0", before=COPY)

# -- clocks and timers other than the local APIC's and kvmclock
for title, kind, options, words, clock in (("HPET's timer and clock", "q35", "", "clocksource=hpet", "hpet"),
                                           ("HPET's timer and clock, PIC", "pc", "", "clocksource=hpet noapic", "hpet"),
                                           ("PIT's timer, ACPI's clock", "q35", ",hpet=off", "clocksource=acpi_pm", "acpi_pm")):
    linux(f"{kind} {title}", machine(kind, "on", 2, options=options),
          [("guest", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource", f"^{clock}$"),
           ("guest", "set -- $(date +%s; sleep 3; date +%s); echo slept $(($2 - $1))", "^slept [34]$")],
          f"i6300esb {words} nolapic_timer", cpus=2, qemu="10.0")
for irqchip, words in (("on", ""), ("split", "noapic")):
    linux(f"pc {irqchip} RTC's alarm", machine("pc", irqchip, 1, options=",hpet=off"),
          [("guest", "echo +2 > /sys/class/rtc/rtc0/wakealarm; sleep 4; grep rtc0 /proc/interrupts", "8: +[1-9]")],
          f"i6300esb {words}", qemu="10.0")

MEMFD = ["-object", "memory-backend-memfd,id=m,size=192M,share=on", "-machine", "memory-backend=m"]
linux("q35 vhost-net", [*machine("q35", "on", 2), "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no,vhost=on", "-device",
                        "virtio-net-pci,netdev=n"],
      [("host", "ip address add 10.0.3.2/24 dev tap0 && ip link set tap0 up && ps", r"\[vhost-\d+\]"), ("network", "eth0", "10.0.3"),
       ("irqs", "PCI-MSI.*virtio")], VIRTIO, cpus=2, before=["modprobe tun && modprobe vhost_net"])
linux("pc vhost-vsock", [*machine("pc", "split"), "-device", "vhost-vsock-pci,guest-cid=3"], [("vsock",)],
      "virtio_pci,vmw_vsock_virtio_transport", before=["modprobe vhost_vsock"])
linux("q35 virtiofs", [*machine("q35", "on", 2), *MEMFD, "-chardev", "socket,id=f,path={run}/fs", "-device",
                       "vhost-user-fs-pci,chardev=f,tag=shared"], [("shared",)], "virtio_pci", cpus=2,
      before=["mkdir {run}/shared && cp /vmm/data {run}/shared/data",
              "cd /vmm/7.2 && { ./ld.so --library-path lib ./virtiofsd --socket-path={run}/fs -o source={run}/shared "
              "-o sandbox=chroot -o cache=none > {run}/virtiofsd 2>&1 & }; "
              "for i in $(seq 50); do [ -S {run}/fs ] && exit; sleep 0.1; done; cat {run}/virtiofsd; exit 1"])
row("pc guest agent", [*machine(), "-device", "virtio-serial-pci", "-chardev", "socket,id=a,path={place}/agent,server=on,wait=off",
                       "-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0", "-kernel", "/vmm/vmlinuz", "-initrd",
                       "/vmm/initrd-agent"], [("boot", 1), ("agent",), *OFF], "wafer.modules=")

PICTURE = ["-drive", "if=none,format=raw,readonly=on,file=/vmm/data,id=d", "-device", "virtio-blk-pci,drive=d", "-vnc",
           "unix:{place}/vnc"]
for qemu, kind, device in (("7.2", "pc", "bochs-display"), ("10.0", "q35", "virtio-vga")):
    linux(f"{kind} {device}, picture through VNC", [*machine(kind, "on", 1, mem=256), *PICTURE, "-device", device],
          [("picture",)], VIRTIO, qemu=qemu)
linux("pc VGA text, USB tablet", [*machine("pc", "on", 1), "-device", "VGA", "-device", "piix3-usb-uhci", "-device", "usb-tablet"],
      [("text",), ("guest", "modprobe uhci-hcd; modprobe usbhid; sleep 3; dmesg | grep Tablet", "QEMU USB Tablet")])

# -- how it boots
CD = ["-drive", "if=none,media=cdrom,readonly=on,format=raw,file={file},id=c", "-device", "ide-cd,drive=c,bootindex=0"]
HD = ["-drive", "if=none,format=raw,readonly=on,file={file},id=c", "-device", "virtio-blk-pci,drive=c,bootindex=0"]


def image(words, file):
    return [w.replace("{file}", file) for w in words]


for title, kind, words, file in (("isolinux from a CD", "pc", CD, "/vmm/isolinux.iso"),
                                 ("isolinux from a disk", "q35", HD, "/vmm/isolinux.iso"),
                                 ("GRUB from a CD", "q35", CD, "/vmm/grub.iso"), ("GRUB from a disk", "pc", HD, "/vmm/grub.iso")):
    row(f"{kind} SeaBIOS, {title}", [*machine(kind), *image(words, file)], [("boot", 1, 150), *OFF])
SERIAL = ",graphics=off"        # SeaBIOS then has its console on the serial port
row("pc GRUB rescue", [*machine(options=SERIAL), *image(CD, "/vmm/rescue.iso")],
    [("serial", "grub rescue>", 60), ("type", "ls", r"\(hd\d\)|\(cd\d?\)"), ("type", "set", "prefix=.*nowhere")])
TFTP = ["-netdev", "user,id=n,tftp=/vmm/ipxe,bootfile=boot.ipxe"]
for title, kind, words in (("iPXE of virtio-net", "pc", ["-device", "virtio-net-pci,netdev=n,bootindex=0"]),
                           ("iPXE as a kernel, e1000", "q35", ["-device", "e1000,netdev=n,romfile=", "-kernel", "/vmm/ipxe.lkrn"])):
    row(f"{kind} {title}", [*machine(kind, "on", 1, mem=256, options=SERIAL), *TFTP, *words],
        [("serial", "script from the network", 90), ("boot", 1, 180), *OFF])
PFLASH = ["-drive", "if=pflash,format=raw,readonly=on,file=/vmm/OVMF_CODE.fd", "-drive", "if=pflash,format=raw,file={run}/vars"]
VARS = ["cp /vmm/OVMF_VARS.fd {run}/vars"]
for qemu in ("7.2", "10.0"):
    row("q35 OVMF, kernel", [*machine("q35", "on", 1, mem=256), *PFLASH, "-kernel", "/vmm/packed", "-initrd", "/vmm/initrd"],
        [("boot", 1, 240), *OFF], "wafer.modules=", qemu=qemu, before=VARS)

# -- guests of other kinds
for flavour in ("686", "pae"):
    row(f"pc i386 kernel, {flavour}", [*machine("pc", "on", 2), "-kernel", f"/vmm/vmlinuz-{flavour}", "-initrd", "/vmm/initrd32"],
        [("boot", None, 240), ("guest", "uname -m", "i686"), *OFF], "wafer.modules=")
for kernel, kind, qemu, seconds, kvm in (("6.12", "q35", "10.0", 240, ""), ("7.2", "pc", "7.2", 60, "a NULL pointer in prepare_creds()")):
    row(f"{kind} Linux {kernel}", [*machine(kind, "on", 2, mem=256), "-kernel", f"/vmm/vmlinuz-{kernel}", "-initrd", "/vmm/initrd"],
        [("boot", 2, seconds), ("guest", "uname -r", rf"^{kernel}\b"), *OFF], "wafer.modules=", qemu=qemu, kvm=kvm)
# in QEMU's TCG SMAP hits Xen where it may read its guest's stack
row("pc Xen, Linux as its dom0", [*machine("pc", "on", 2, mem=512), "-kernel", "/vmm/xen", "-append",
                                  "console=com1 com1=115200 dom0_mem=300M smap=0 smep=0", "-initrd",
                                  "/vmm/vmlinux console=hvc0 loglevel=4 nokaslr wafer.modules= wafer.run=/shell,/vmm/initrd"],
    [("boot", 2, 300), ("guest", "cat /sys/hypervisor/type", "^xen$"), *OFF])
row("pc GNU Mach", [*machine("pc", "on", 1, mem=128), "-kernel", "/vmm/gnumach", "-append", "console=com0"],
    [("serial", "GNU Mach 1", 60), ("serial", "[Nn]o bootstrap", 120)])
row("pc Memtest86+", [*machine("pc", "on", 2, mem=64), "-kernel", "/vmm/memtest", "-append", "console=ttyS0,115200"],
    [("serial", r"Memtest86\+", 60), ("serial", r"Pass +[1-9]|\d+%", 120)])
for bits in ("x86", "x86_64"):
    row(f"pc U-Boot, {bits}", [*machine("pc", "on", 1, mem=128), "-bios", f"/vmm/u-boot-{bits}.rom", "-nic", "none"],
        [("serial", r"U-Boot 20\d\d", 60), ("serial", "=> ", 60)])

# -- memory of other kinds
linux("pc hugetlbfs", [*machine("pc", "on", 1), "-object", "memory-backend-file,id=m,size=192M,mem-path=/huge,share=on",
                       "-machine", "memory-backend=m"],
      before=["echo 100 > /proc/sys/vm/nr_hugepages", "mkdir -p /huge; mountpoint -q /huge || mount -t hugetlbfs none /huge"])
linux("pc memfd", [*machine("pc", "on", 1), *MEMFD])
linux("q35 balloon", [*machine("q35"), "-device", "virtio-balloon-pci"],
      [("guest", "modprobe virtio_pci; modprobe virtio_balloon"), ("monitor", "balloon 128"), ("monitor", "info balloon", "actual=128"), ("guest", "free", "Mem"),
       ("monitor", "balloon 192"), ("monitor", "info balloon", "actual=192")])
linux("q35 CPU hotplug", [*machine("q35", "on", "1,maxcpus=2")],
      [("monitor", "device_add host-x86_64-cpu,id=c,socket-id=0,core-id=1,thread-id=0"),
       ("guest", "sleep 2; for c in /sys/devices/system/cpu/cpu[1-9]; do echo 1 > $c/online; done; grep -c ^processor /proc/cpuinfo", "^2$")])
TOTAL = "awk '/MemTotal/ {print $2}' /proc/meminfo"
linux("pc memory hotplug", [*machine("pc", "on", 1, mem="192,slots=2,maxmem=1G")],
      [("guest", f"{TOTAL} > /tmp/before"), ("monitor", "object_add memory-backend-ram,id=m,size=128M"),
       ("monitor", "device_add pc-dimm,id=d,memdev=m"),
       ("guest", "sleep 2; for m in /sys/devices/system/memory/memory*; do grep -q offline $m/state && echo online > $m/state; done; "
                 f"echo grown by $(($({TOTAL}) - $(cat /tmp/before)))", r"grown by 1\d{5}$")])

# -- libvirt: no QEMU of ours
def libvirt(name, steps, before=(), last=(("virsh", "destroy domain"), ("until", "shut off"))):
    row(f"libvirt {name}", [], [*steps, *last], "wafer.modules=",
        before=[*EMPTY_QCOW, *before, "[ -e /usr/sbin/libvirtd ] || { cp -a /vmm/libvirt/. /; ln -sf ../run /var/run; }"])


MARK, MARKED = ("guest", "echo before > /tmp/mark"), ("guest", "cat /tmp/mark", "^before$")
libvirt("pc: save, managedsave, snapshot", [
    ("define", "pc", "host-passthrough", *KERNEL[1::2]), ("boot", 2), ("virsh", "domstate domain", "running"),
    ("virsh", "suspend domain"), ("until", "paused"), ("virsh", "resume domain"), MARK,
    ("virsh", "save domain {place}/saved"), ("until", "shut off"), ("virsh", "restore {place}/saved"), MARKED,
    ("virsh", "managedsave domain"), ("until", "shut off"), ("virsh", "start domain"), MARKED,
    ("virsh", "snapshot-create-as domain one"), ("guest", "echo after > /tmp/mark"), ("virsh", "snapshot-revert domain one"), MARKED])
libvirt("q35 host-model: reset, reboot, shutdown", [
    ("define", "q35", "host-model", *KERNEL[1::2]), ("boot", 2), ("virsh", "domcapabilities --virttype kvm", "<domain>kvm</domain>"),
    ("virsh", "dominfo domain", r"^CPU\(s\): +2$"), ("virsh", "reset domain"), ("boot", 2),
    ("button", "reboot domain --mode acpi"), ("boot", 2), ("button", "shutdown domain"), ("until", "shut off"),
    ("virsh", "start domain"), ("boot", 2)])
libvirt("q35: migrate --live to a second libvirtd and back", [("define", "q35", "host-passthrough", *KERNEL[1::2]), ("boot", 2), ("moved", 16)])
INSTALL = ("--name domain --memory 192 --vcpus 2 --cpu host-passthrough --osinfo detect=off,require=off "
           "--disk path={run}/state.qcow2,format=qcow2 --network none --graphics none --controller usb,model=none --memballoon none "
           "--serial unix,source.mode=connect,source.path={place}/serial --noautoconsole ")
libvirt("virt-install", [
    ("host", "virt-host-validate qemu; true", "/dev/kvm is accessible +: PASS"),
    ("install", INSTALL + "--import --boot kernel=/vmm/vmlinuz,initrd=/vmm/initrd,kernel_args='{append}'"), ("boot", 2)])
libvirt("virt-install from a CD", [
    ("install", INSTALL + "--cdrom /vmm/isolinux.iso"), ("boot", 2),
    ("guest", "modprobe ata_piix; modprobe sr_mod; sleep 2; dd if=/dev/sr0 bs=2k skip=16 count=1 | cut -c2-6", "CD001")])
# libguestfs starts a guest of its own, which does this
FISH = """
set-memsize 384
set-smp CPUS
disk-create {run}/disk raw 64M
add-drive {run}/disk format:raw
run
part-disk /dev/sda mbr
pvcreate /dev/sda1
vgcreate group /dev/sda1
lvcreate volume group 40
mkfs ext4 /dev/group/volume
mount /dev/group/volume /
write /one "written inside"
cp /one /two
umount-all
fsck ext4 /dev/group/volume
vfs-type /dev/group/volume
mount-ro /dev/group/volume /
checksum md5 /two
debug sh "nproc; cat /sys/devices/system/clocksource/clocksource0/available_clocksource"
"""
for backend, cpus in (("direct", 1), ("libvirt:qemu:///system", 2)):
    libvirt(f"guestfish, {backend.split(':')[0]}, {plural(cpus)}",
            [("guestfish", backend, rf"^0\next4\ncc7db61cc22c02685f087c7433ca0ac4\n{cpus}\n.*kvm-clock")],
            ["ln -sf /vmm/vmlinuz /vmm/guestfs/appliance/kernel",
             "cat > {run}/script << END" + FISH.replace("CPUS", str(cpus)) + "END"], last=[])

# -- gVisor: its kernel runs in the guest's ring 0 and in the host's ring 3 by turns. Its XSETBV makes no exit on QEMU 7.2's
# TCG, so that XCR0 is lost: the host is one without XSAVE. An initramfs is no root that it could leave: it gets another
SHELL = """
exec 2>&1    # gVisor keeps an offset of its own for each descriptor that it is given
seq 2000 | awk '{ s += $1 } END { print "sum", s }'
for i in 1 2 3 4 5; do (echo $i | cat | wc -c); done | sort | uniq -c
for i in 1 2 3 4; do (seq 500 | md5sum) & done; wait
sleep 100 & sleep 1; kill $!; wait $!; echo killed $?
"""
# threads that compute, map memory and share a lock, under a timer's signals; then children that write to the parent's pages
PYTHON = """
import mmap, os, signal, threading
ticks, lock, count = [], threading.Lock(), 0
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
def work(n):
    global count
    for i in range(20):
        m = mmap.mmap(-1, (n + i + 1) * 4096)
        m.write(bytes([n + i]) * len(m))
        assert m[:] == bytes([n + i]) * len(m) and abs((n + 0.5) ** 3 / (n + 0.5) - (n + 0.5) ** 2) < 1e-9
        m.close()
        with lock:
            count += 1
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
signal.setitimer(signal.ITIMER_REAL, 0)
mine = bytearray(b"parent" * 50000)
for n in range(4):
    if not os.fork():
        mine[:] = bytes([n]) * len(mine)
        os._exit(10 + n if mine == bytes([n]) * len(mine) else 1)
print(count, bool(ticks), sorted(os.wait()[1] >> 8 for _ in range(4)), mine == b"parent" * 50000)
"""
RUNSC = ["--network=none", "--ignore-cgroups", "--platform=kvm", "do"]
row("shell, processes, pipes, signals", [*RUNSC, "/bin/busybox", "sh", "-c", SHELL],
    [("ended", r"sum 2001000\n +5 2\n(5705e3c0d0044b724281f9bcc7520d3a  -\n){4}(Terminated\n)?killed 143")], qemu="gVisor",
    backends=("svm",), cpu="EPYC,-xsave")
row("Python, threads, signals, forks", [*RUNSC, "/vmm/python/ld.so", "--library-path", "/vmm/python/lib", "/vmm/python/python3.11",
                                        "-c", PYTHON],
    [("ended", r"^160 True \[10, 11, 12, 13\] True$")], qemu="gVisor", backends=("svm",), cpu="EPYC,-xsave")

# -- the device by its own name
for qemu in ("10.0", "11.1"):
    linux("pc -accel kvm,device=/dev/wafer", machine("pc", "on", 1, accel=",device=/dev/wafer"), qemu=qemu, own=True)
