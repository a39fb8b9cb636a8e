# SPDX-License-Identifier: GPL-2.0
"""In the emulated host: runs the rows of /vmm/rows.json one after the other, for scripts/test-vmms.

A row is a command line, most often QEMU's, and steps; a step is the name of a function below and its arguments. "@begin NAME" comes
before each row, "@end JSON" after it.
"""
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

RUN = "/tmp/vmm"
APPEND = ("console=ttyS0 loglevel=4 nokaslr mitigations=off panic=-1 apparmor=0 cryptomgr.notests audit=0 noreplace-smp "
          "wafer.run=/shell")
SLOW = float(os.environ.get("VMM_SLOW", "1"))     # what a time limit is multiplied by


class Bad(Exception):
    """What was not as it must be."""


def wait(what, seconds, test):
    """Until test() gives something; that."""
    end = time.monotonic() + seconds * SLOW
    while True:
        found = test()
        if found:
            return found
        if time.monotonic() > end:
            raise Bad(f"no {what} within {seconds:g} s")
        time.sleep(0.1)


class Serial:
    """The guest's first serial port: what it said so far, and a shell behind it (guest.d/shell)."""

    def __init__(self, path):
        self.text, self.rest, self.mark, self.peer = "", "", 0, None
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(path)
        self.door.listen(1)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            # libvirt starts another QEMU for the same guest
            while True:
                self.peer, _ = self.door.accept()
                with contextlib.suppress(ConnectionError):
                    while data := self.peer.recv(65536):
                        self._add(data.decode(errors="replace").replace("\r", ""))
                self.peer = None

    def _add(self, text):
        """SeaBIOS moves the cursor when its clock ticks, in the middle of what somebody prints: escape sequences are left out."""
        text = re.sub(r"\x1b(\[[\d;?]*)?[A-Za-z]", "", self.rest + text)
        begun = re.search(r"\x1b(\[[\d;?]*)?$", text)
        self.rest = begun[0] if begun else ""
        self.text += text[:len(text) - len(self.rest)]

    def find(self, pattern):
        """The next match, beyond all that was found before."""
        m = re.compile(pattern, re.M).search(self.text, self.mark)
        if m:
            self.mark = m.end()
        return m

    def send(self, text):
        def attempt():
            with contextlib.suppress(BrokenPipeError, AttributeError):
                self.peer.sendall(text.encode())
                return True
        wait("peer of the serial port", 20, attempt)


class Vm:
    """A running QEMU."""
    all = []

    def __init__(self, row, name="a", more=()):
        self.row, self.name, self.place = row, name, f"{RUN}/{name}"
        shutil.rmtree(self.place, ignore_errors=True)
        os.makedirs(self.place)
        self.serial = Serial(f"{self.place}/serial")
        home = f"/vmm/{row['qemu']}"
        argv = [f"{home}/ld.so", "--library-path", f"{home}/lib", f"{home}/qemu", "-L", home, "-no-user-config",
                "-nodefaults", "-display", "none", "-chardev", f"socket,id=serial,path={self.place}/serial",
                "-serial", "chardev:serial", "-qmp", f"unix:{self.place}/qmp,server=on,wait=off", *self._fill(row["args"]),
                *self._fill(more)]
        if row.get("append") is not None:
            argv += ["-append", f"{APPEND} {row['append']}"]
        self.out = open(f"{self.place}/out", "wb+")
        # a process of the driver's own group would get the signals that it gets
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out, start_new_session=True,
                                      env={**os.environ, "QEMU_MODULE_DIR": home})
        self.qmp = None
        self.events = []
        Vm.all.append(self)

    def _fill(self, words):
        return [w.replace("{place}", self.place).replace("{run}", RUN) for w in words]

    def said(self):
        with open(f"{self.place}/out", errors="replace") as f:
            return " ".join(f.read().split())[-700:]

    def alive(self):
        if self.child.poll() is not None:
            raise Bad(f"QEMU ended with status {self.child.returncode}: {self.said()}")

    def _connect(self):
        def attempt():
            self.alive()
            s = socket.socket(socket.AF_UNIX)
            try:
                s.settimeout(60 * SLOW)
                s.connect(f"{self.place}/qmp")
                return s
            except OSError:
                s.close()
        self.qmp = wait("QMP", 30, attempt).makefile("rw")
        self.qmp.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        """A command of QMP; what it gives."""
        if not self.qmp and command != "qmp_capabilities":
            self._connect()
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            line = self.qmp.readline()
            if not line:
                time.sleep(0.5)
                self.alive()
                raise Bad(f"{command}: QMP was closed")
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer["event"])
            elif "error" in answer:
                raise Bad(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def hmp(self, line):
        return self.do("human-monitor-command", **{"command-line": line})

    def see(self, pattern, seconds):
        """Waits for the serial port to say something."""
        def look():
            m = self.serial.find(pattern)
            if not m:
                self.alive()
            return m
        return wait(f"/{pattern}/ on the serial port", seconds, look)

    def guest(self, command, seconds=60):
        """Runs a command in the guest's shell; what it printed."""
        start = self.serial.mark = len(self.serial.text)
        self.serial.send(command + "\n")
        # what the guest sleeps it sleeps in the host's time, on whatever host
        naps = sum(map(float, re.findall(r"\bsleep ([\d.]+)", command)))
        m = self.see(r"^=(\d+)=$", seconds + naps / SLOW)
        text = self.serial.text[start:m.start()].strip()
        if m[1] != "0":
            raise Bad(f"guest: {command}: status {m[1]}: {text[-300:]}")
        return text

    def where(self):
        """Where the vCPUs are, twice: for the report of a row that failed."""
        with contextlib.suppress(Bad, OSError, ValueError):
            yield " ".join(self.hmp("info status").split())
            for _ in range(2):
                text = self.hmp("info registers -a")
                yield " ".join(re.findall(r"\b[RE]IP=\w+|HLT=\d|CR0=\w+", text))
                time.sleep(1)

    def tick(self):
        return float(self.guest("cut -d' ' -f1 /proc/uptime", 30))

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.out.close()
        self.serial.door.close()


DOMAIN = """<domain type='kvm'><name>domain</name><memory unit='MiB'>192</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='{machine}'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
<cmdline>{append}</cmdline></os>
<features><acpi/><apic/></features><cpu mode='{cpu}'/><on_poweroff>destroy</on_poweroff>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{run}/state.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<serial type='unix'><source mode='connect' path='{place}/serial'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>
"""
# what a package's installation makes; for a second daemon all of it is its own, but for what is in the cache
DAEMON = """set -e
own="/run /var/lib/libvirt /var/log/libvirt /etc/libvirt"
if [ -n "$SECOND" ]; then
	cp -r /etc/libvirt /tmp/vmm/etc
	for d in $own; do mount -t tmpfs none $d; done
	cp /tmp/vmm/etc/*.conf /etc/libvirt
	sed -i '/host_uuid/d' /etc/libvirt/libvirtd.conf
	echo 'host_uuid = "22222222-1111-4444-3333-555555555555"' >> /etc/libvirt/libvirtd.conf
	echo "unix_sock_dir = \\"$SECOND\\"" >> /etc/libvirt/libvirtd.conf
	mkdir -p $SECOND
else
	rm -rf /run/libvirt /var/lib/libvirt /etc/libvirt/qemu
fi
mkdir -p /run/libvirt /var/lib/libvirt/qemu /var/log/libvirt/qemu /var/cache/libvirt
exec /usr/sbin/libvirtd
"""


ROOT = """
mkdir -p /tmp/root && mount -t tmpfs root /tmp/root && cd /tmp/root && mkdir proc sys dev tmp run etc vmm || exit
cp -a /bin . && cp -a /vmm/python /vmm/gVisor vmm && [ ! -e /lib ] || cp -a /lib . || exit
for d in proc sys dev; do mount --rbind /$d $d || exit; done
mount --move . / && exec chroot . /vmm/gVisor "$@"
"""


class Domain(Vm):
    """A guest of libvirt's."""

    def __init__(self, row):
        self.row, self.name, self.place = row, "domain", f"{RUN}/domain"
        os.makedirs(self.place)
        self.serial = Serial(f"{self.place}/serial")
        self.out = open(f"{self.place}/out", "wb+")
        self.daemons = {}
        self.uri = self.daemon()
        self.child = self.daemons[self.uri]
        Vm.all.append(self)

    def daemon(self, place=""):
        """Starts a libvirtd; its URI."""
        uri = f"qemu:///system?socket={place}/libvirt-sock" if place else "qemu:///system"
        self.daemons[uri] = subprocess.Popen(["unshare", "-m", "sh", "-c", DAEMON], stdin=subprocess.DEVNULL, stdout=self.out,
                                             stderr=self.out, env={**os.environ, "SECOND": place}, start_new_session=True)
        return uri

    def alive(self):
        """libvirtd's own end; QEMU's shows in what virsh says."""
        for child in self.daemons.values():
            if child.poll() is not None:
                raise Bad(f"libvirtd ended with status {child.returncode}: {self.said()}")

    def virsh(self, line, pattern="", seconds=120, uri=None):
        return self.program(f"virsh -q -c {uri or self.uri} {line}", pattern, seconds)

    def program(self, line, pattern="", seconds=120):
        # the driver's own Python has another home than virt-install's
        p = subprocess.run(["env", "-u", "PYTHONHOME", *shlex.split(line)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=seconds * SLOW)
        if p.returncode or not re.search(pattern, p.stdout, re.M):
            raise Bad(f"{line}: status {p.returncode}, no /{pattern}/ in: {p.stdout[-500:]} {p.stderr[-700:]}")
        return p.stdout

    def ready(self, uri):
        """Until a daemon answers."""
        said = ""

        def answer():
            nonlocal said
            self.alive()
            try:
                return self.virsh("version", "QEMU", uri=uri)
            except Bad as e:
                said = e
        try:
            wait("answer of libvirtd", 90, answer)
        except Bad:
            raise Bad(f"no answer of libvirtd: {said}") from None

    def where(self):
        with contextlib.suppress(Bad, OSError, subprocess.TimeoutExpired):
            yield self.virsh(f"qemu-monitor-command {self.name} --hmp info status")

    def end(self):
        for uri, child in self.daemons.items():
            for line in ("destroy domain", "undefine domain --snapshots-metadata --managed-save"):
                with contextlib.suppress(Bad, OSError, subprocess.TimeoutExpired):
                    self.virsh(line, uri=uri)
            child.kill()
            child.wait()
        self.out.close()
        self.serial.door.close()


class Sandbox(Vm):
    """A program in gVisor. It must be able to leave its root directory by pivot_root, which cannot be done from an initramfs."""

    def __init__(self, row):
        self.row, self.place = row, f"{RUN}/sandbox"
        os.makedirs(self.place)
        self.serial = Serial(f"{self.place}/serial")
        self.out = open(f"{self.place}/out", "wb+")
        self.child = subprocess.Popen(["unshare", "-m", "sh", "-c", ROOT, "sh", *row["args"]], stdin=subprocess.DEVNULL,
                                      stdout=self.out, stderr=self.out, start_new_session=True)
        Vm.all.append(self)

    def where(self):
        return []


# -- steps: each gets the VM and gives the one that goes on, or None for the same

def boot(vm, cpus=None, seconds=180):
    m = vm.see(r"userspace reached, (\d+) cpus", seconds)
    if cpus and int(m[1]) != cpus:
        raise Bad(f"the guest has {m[1]} CPUs, not {cpus}")
    vm.see("guest-shell: ready", 30)


def serial(vm, pattern, seconds=60):
    vm.see(pattern, seconds)


def guest(vm, command, pattern="", seconds=60):
    text = vm.guest(command, seconds)
    if not re.search(pattern, text, re.M):
        raise Bad(f"guest: {command}: no /{pattern}/ in: {text[-400:]}")


def define(vm, machine, cpu, kernel, initrd):
    """libvirt gets a domain and starts it."""
    vm.ready(vm.uri)
    with open(f"{vm.place}/xml", "w") as f:
        f.write(DOMAIN.format(machine=machine, cpu=cpu, kernel=kernel, initrd=initrd, run=RUN, place=vm.place,
                              append=f"{APPEND} {vm.row['append']}"))
    vm.virsh(f"define {vm.place}/xml")
    vm.virsh("start domain")


def virsh(vm, line, pattern=""):
    vm.virsh(line.replace("{place}", vm.place), pattern)


def until(vm, state):
    """Until the domain is in a state."""
    def look():
        with contextlib.suppress(Bad):
            return vm.virsh("domstate domain", state)
    wait(f"state {state}", 60, look)


def install(vm, line):
    """virt-install makes the domain."""
    vm.ready(vm.uri)
    line = line.format(place=vm.place, run=RUN, append=f"{APPEND} {vm.row['append']}")
    vm.program(f"virt-install --connect {vm.uri} {line}", "", 240)


def guestfish(vm, backend, pattern):
    """libguestfs runs its guest, by QEMU directly or through libvirt, and works in it."""
    if backend != "direct":
        vm.ready(vm.uri)
    home = "/vmm/guestfs"
    vm.program(f"env PATH={home}:{os.environ['PATH']} LIBGUESTFS_BACKEND={backend} LIBGUESTFS_BACKEND_SETTINGS=force_kvm "
               f"LIBGUESTFS_PATH={home}/appliance {home}/ld.so --library-path {home}/lib {home}/guestfish -f {RUN}/script",
               pattern, 300)


def button(vm, line):
    """What libvirt does through the power button of ACPI: the guest sees it and powers off."""
    vm.guest("modprobe button; modprobe evdev; for e in /dev/input/event*; do (head -c 24 $e > /tmp/event; poweroff -f) & done; "
             "sleep 1")
    vm.virsh(line)


def moved(vm, megabytes):
    """Live to a second libvirt on this host, and back, while the guest works on its memory."""
    there = vm.daemon(f"{RUN}/second")
    vm.ready(there)
    vm.guest(f"rm -f /tmp/stop; dirty {megabytes} > /tmp/dirty 2>&1 & echo $! > /tmp/pid; sleep {3 * SLOW:g}")
    before = vm.tick()
    for here, there, n in ((vm.uri, there, 1), (there, vm.uri, 2)):
        begin = time.monotonic()
        vm.virsh("migrate-setmaxdowntime domain 1500", uri=here)    # as for QEMU alone: an emulator is slow
        vm.virsh(f"migrate --live --persistent --undefinesource --unsafe --timeout 120 domain {there} --migrateuri unix://{RUN}/m{n}",
                 seconds=240, uri=here)
        print(f"# migration {n}: {time.monotonic() - begin:.1f} s", flush=True)
        vm.virsh("domstate domain", "running", uri=there)
        if "domain" in vm.virsh("list --all", uri=here):
            raise Bad("the domain is where it came from, too")
        after = vm.tick()
        if after < before:
            raise Bad(f"the guest's clock went back, from {before} to {after}")
        before = after
    vm.guest("touch /tmp/stop; while [ -d /proc/$(cat /tmp/pid) ]; do sleep 1; done", 60)
    guest(vm, "cat /tmp/dirty", r"dirty: \d+ rounds, 0 wrong")


def type(vm, text, pattern):
    """Something that is no shell of ours gets a line; what it answers."""
    vm.serial.send(text + "\r")
    vm.see(pattern, 30)


def host(vm, command, pattern=""):
    """Runs a command in the host."""
    p = subprocess.run(command.replace("{run}", RUN), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode or not re.search(pattern, p.stdout, re.M):
        raise Bad(f"host: {command}: status {p.returncode}, no /{pattern}/ in: {p.stdout[-400:]}")


def monitor(vm, command, pattern="", seconds=20):
    """Until the monitor's answer to the command is as wanted."""
    said = ""

    def look():
        nonlocal said
        said = vm.hmp(command)
        return re.search(pattern, said, re.M)
    try:
        wait(pattern, seconds, look)
    except Bad:
        raise Bad(f"{command}: no /{pattern}/ in: {said[-300:]}") from None


def ended(vm, pattern, seconds=180):
    """A sandbox's program ends well and has said what it should."""
    wait("end", seconds, lambda: vm.child.poll() is not None)
    with open(f"{vm.place}/out", errors="replace") as f:
        if vm.child.returncode or not re.search(pattern, f.read(), re.M):
            raise Bad(f"status {vm.child.returncode}, not said")


def off(vm, status=0):
    """The guest powers off by itself."""
    vm.serial.send("off\n")
    wait("end of QEMU", 40, lambda: vm.child.poll() is not None)
    if vm.child.returncode != status:
        raise Bad(f"QEMU ended with status {vm.child.returncode}: {vm.said()}")


def stop(vm):
    """Stopped, a guest does nothing, and its clock stands."""
    before = vm.tick()
    vm.do("stop")
    time.sleep(3)
    size = len(vm.serial.text)
    vm.serial.send("echo late\n")
    time.sleep(2)
    if len(vm.serial.text) != size:
        raise Bad("the guest ran while it was stopped")
    vm.do("cont")
    vm.see("^late$", 20)
    vm.see("^=0=$", 20)
    went = vm.tick() - before
    if not 0 < went < 4:
        raise Bad(f"stopped for 5 s, the guest counted {went:.1f} s")


def nmi(vm):
    vm.guest("dmesg -c > /dev/null")
    vm.do("inject-nmi")
    guest(vm, "sleep 1; grep NMI /proc/interrupts; dmesg", r"NMI:.* [1-9]")


def reset(vm, how="monitor"):
    """From outside, or by the guest itself; it comes up again."""
    if how == "guest":
        vm.serial.mark = len(vm.serial.text)
        vm.serial.send("reboot -f\n")
    else:
        vm.serial.mark = len(vm.serial.text)
        vm.do("system_reset")
    boot(vm)


def snapshot(vm):
    """savevm, something else, loadvm: the memory is as it was."""
    vm.guest("echo before > /tmp/mark")
    said = vm.hmp("savevm one")
    vm.guest("echo after > /tmp/mark")
    said += vm.hmp("loadvm one")
    if said.strip():
        raise Bad(said.strip())
    vm.do("cont")
    guest(vm, "cat /tmp/mark", "^before$", 30)
    vm.tick()


def suspend(vm, times=1):
    """Suspended to RAM by itself, the guest stays so until it is woken from outside."""
    for _ in range(times):
        vm.serial.mark = len(vm.serial.text)
        vm.serial.send("echo mem > /sys/power/state\n")
        wait("suspended guest", 60, lambda: vm.do("query-status")["status"] == "suspended")
        vm.do("system_wakeup")
        vm.see("^=0=$", 60)


def interrupted(vm, what, times, cpus):
    """The guest is reset, or saved and loaded, again and again at any moment of its way up, and comes up all the same."""
    vm.do("query-status")
    for n in range(times):
        # in steps that fit nothing else, the same in each run
        time.sleep((0.1 + n * 7 % 13 * 0.05) * SLOW)
        if what == "reset":
            vm.do("system_reset")
        elif said := vm.hmp("savevm one") + vm.hmp("loadvm one"):
            raise Bad(said.strip())
        else:
            vm.do("cont")
        if what != "reset" and "userspace" in vm.serial.text:
            break
    if what == "reset":
        vm.serial.mark = len(vm.serial.text)
    boot(vm, cpus)


def _migrated(vm, seconds=120):
    def look():
        got = vm.do("query-migrate")
        if got.get("status") in ("failed", "cancelled"):
            raise Bad(f"migration {got['status']}: {got.get('error-desc', '')} {vm.said()}")
        return got.get("status") == "completed" and got
    return wait("end of the migration", seconds, look)


def migrate(vm, how="file", megabytes=0):
    """To a file and back, or to another QEMU while the guest works on its memory, which must be right afterwards."""
    if megabytes:
        # the guest's shell is busybox's: what runs beside it writes to a file
        vm.guest(f"rm -f /tmp/stop; dirty {megabytes} > /tmp/dirty 2>&1 & echo $! > /tmp/pid; sleep {3 * SLOW:g}")
    before = vm.tick()
    if how == "file":
        vm.do("migrate", uri=f"exec:cat > {RUN}/state")
        _migrated(vm)
        vm.end()
        other = Vm(vm.row, "b", ["-incoming", f"exec:cat {RUN}/state"])
    else:
        other = Vm(vm.row, "b", ["-incoming", "defer"])
        capabilities = {"postcopy": ["postcopy-ram"], "live": []}.get(how, [how])
        for v in (vm, other):
            v.do("migrate-set-capabilities", capabilities=[{"capability": c, "state": True} for c in capabilities])
        vm.do("migrate-set-parameters", **{"downtime-limit": 1500, "max-bandwidth": 400 << 20})
        other.do("migrate-incoming", uri=f"unix:{RUN}/migration")
        wait("socket", 20, lambda: os.path.exists(f"{RUN}/migration"))
        vm.do("migrate", uri=f"unix:{RUN}/migration")
        if how == "postcopy":
            time.sleep(SLOW)
            vm.do("migrate-start-postcopy")
        got = _migrated(vm)
        print(f"# migration: {got.get('total-time')} ms, downtime {got.get('downtime')} ms, "
              f"{got['ram']['dirty-sync-count']} rounds, {got['ram']['transferred'] >> 20} MiB", flush=True)
        vm.end()
    wait("running target", 60, lambda: other.do("query-status")["status"] == "running")
    # the connection to the serial port is a new one, the guest does not notice
    after = other.tick()
    if after < before:
        raise Bad(f"the guest's clock went back, from {before} to {after}")
    if megabytes:
        other.guest("touch /tmp/stop; while [ -d /proc/$(cat /tmp/pid) ]; do sleep 1; done", 60)
        guest(other, "cat /tmp/dirty", r"dirty: \d+ rounds, 0 wrong")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{RUN}/state")
    return other


class Gdb:
    """As much of gdb's protocol as the steps below need."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.s.settimeout(40 * SLOW)
        self.data = b""

    def send(self, text):
        self.last = text
        self.s.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 255))

    def receive(self):
        while not (m := re.search(rb"\$([^#]*)#..", self.data)):
            try:
                more = self.s.recv(4096)
            except TimeoutError:
                raise Bad(f"gdb: {self.last}: no answer") from None
            if not more:
                raise Bad(f"gdb: {self.last}: closed")
            self.data += more
        self.data = self.data[m.end():]
        self.s.sendall(b"+")
        return m[1].decode()

    def do(self, text, want="OK"):
        self.send(text)
        answer = self.receive()
        if not re.match(want, answer):
            raise Bad(f"gdb: {text}: {answer}, not {want}")
        return answer

    def pc(self):
        # behind sixteen others; QEMU answers "p" to those alone who have asked for its description of registers
        return struct.unpack_from("<Q", bytes.fromhex(self.do("g", "[0-9a-f]{272}")), 128)[0]


def gdb(vm):
    """Breakpoints of both kinds and a watchpoint in the kernel, and single steps; the guest goes on after each."""
    vm.guest("while :; do sleep 1; done & echo $! > /tmp/pid")
    text = vm.guest("grep -E ' (__x64_sys_clock_nanosleep|jiffies)$' /proc/kallsyms")
    where = {name: int(a, 16) for a, name in re.findall(r"^(\w+) \w (\w+)$", text, re.M)}
    nap, jiffies = where["__x64_sys_clock_nanosleep"], where["jiffies"]
    vm.hmp(f"gdbserver unix:{vm.place}/gdb,server=on,wait=off")
    g = Gdb(f"{vm.place}/gdb")
    # that it stopped for us may be told by itself, before the answer to the question
    g.do("?", "[ST]0[25]")
    time.sleep(1)
    g.s.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        g.s.recv(4096)
    g.s.settimeout(40 * SLOW)
    for kind, what in (("1", "hardware"), ("0", "software")):
        g.do(f"Z{kind},{nap:x},1")
        for _ in range(2):
            g.do("c", "[ST]05")
            if g.pc() != nap:
                raise Bad(f"gdb: {what} breakpoint at {nap:x} stopped at {g.pc():x}")
        g.do(f"z{kind},{nap:x},1")
        for _ in range(3):
            before = g.pc()
            g.do("s", "[ST]05")
            if g.pc() == before:
                raise Bad(f"gdb: a step stays at {before:x}")
    g.do(f"Z2,{jiffies:x},8")
    g.do("c", "[ST]05")
    g.do(f"z2,{jiffies:x},8")
    g.do("D")
    g.s.close()
    vm.do("query-status")
    with contextlib.suppress(Bad):
        vm.do("cont")
    vm.guest("kill $(cat /tmp/pid)")
    vm.tick()


class Vnc:
    """A client of the VNC server that asks for raw pictures: 4 bytes a pixel, blue first."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.s.settimeout(40 * SLOW)
        self.get(12)
        self.s.sendall(b"RFB 003.008\n")
        self.get(self.get(1)[0])
        self.s.sendall(b"\1")
        self.get(4)
        self.s.sendall(b"\1")
        self.size = struct.unpack(">HH", self.get(4))
        self.get(16)
        self.get(struct.unpack(">I", self.get(4))[0])
        self.s.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.s.sendall(struct.pack(">BxHi", 2, 1, 0))
        self.picture = bytearray(self.size[0] * self.size[1] * 4)

    def get(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise Bad("VNC: closed")
            data += more
        return data

    def update(self, incremental):
        """Asks for what is new, or for all; the number of rectangles."""
        self.s.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, *self.size))
        while (kind := self.get(1)[0]) != 0:
            if kind == 3:       # a cut text
                self.get(struct.unpack(">xxxI", self.get(7))[0])
            elif kind != 2:     # not a bell
                raise Bad(f"VNC: message {kind}")
        count = struct.unpack(">xH", self.get(3))[0]
        for _ in range(count):
            x, y, w, h, _ = struct.unpack(">HHHHi", self.get(12))
            for line in range(y, y + h):
                at = (line * self.size[0] + x) * 4
                self.picture[at:at + w * 4] = self.get(w * 4)
        return count

    def differs(self, want):
        """Says where the picture is another one, each pixel's fourth byte left out."""
        bad = [n for n in range(0, len(want), 4) if self.picture[n:n + 3] != want[n:n + 3]]
        where = [f"{n // 4 % self.size[0]},{n // 4 // self.size[0]}" for n in (bad[0], bad[-1])] if bad else []
        return f"{len(bad)} pixels differ, from {where[0]} to {where[1]}" if bad else ""

    def shows(self, want):
        return all(self.picture[c::4] == want[c::4] for c in range(3))


def picture(vm):
    """What the guest draws into a linear framebuffer is what VNC shows, the second time by the dirty log alone."""
    vm.guest("modprobe bochs; modprobe virtio-gpu; sleep 2; for c in /sys/class/vtconsole/vtcon*; do "
             "grep -q 'frame buffer' $c/name && echo 0 > $c/bind; done; cat /sys/class/graphics/fb0/virtual_size", 60)
    first = open("/vmm/data", "rb").read()
    v = Vnc(f"{vm.place}/vnc")
    v.update(0)
    size = len(v.picture)
    # whole lines, several at once: Linux 6.1 forgets a write that ends where its only line ends
    block = v.size[0] * 4 * 16
    for want, command in ((first[:size], f"dd if=/dev/vda of=/dev/fb0 bs={block} count={size // block}"),
                          (first[13 * block:26 * block] + first[13 * block:size],
                           f"dd if=/dev/vda of=/dev/fb0 bs={block} skip=13 count=13")):
        if len(want) != size:
            raise Bad(f"VNC: a picture of {v.size}")
        vm.guest(command, 40)

        def look():
            # with nothing new there is no answer
            with contextlib.suppress(TimeoutError):
                v.update(1)
            return v.shows(want)
        v.s.settimeout(5 * SLOW)
        try:
            wait("same picture through VNC", 30, look)
        except Bad as e:
            text = v.differs(want)
            vm.do("screendump", filename=f"{RUN}/dump")
            shot = open(f"{RUN}/dump", "rb").read()[-size // 4 * 3:]
            same = shot[0::3] == want[2::4] and shot[1::3] == want[1::4] and shot[2::3] == want[0::4]
            raise Bad(f"{e}: {text}; the framebuffer itself is {'right' if same else 'wrong'}") from None


def text(vm):
    """What the guest prints on the text console stands in the legacy window of the VGA."""
    vm.guest("echo seen-in-the-window > /dev/tty1")

    def look():
        data = re.findall(r"0x(\w\w)", vm.hmp("xp /4000xb 0xb8000"))
        return "seen-in-the-window" in "".join(chr(int(c, 16)) for c in data[::2])
    wait("text in the VGA's window", 20, look)


def disk(vm, device="vda"):
    """The disk of known contents reads as it is; what is written arrives."""
    want = hashlib.md5(open("/vmm/data", "rb").read()).hexdigest()
    got = vm.guest(f"sum /dev/{device}")
    if got.split()[-1:] != [want]:
        raise Bad(f"/dev/{device}: checksum {got}, not {want}")
    vm.guest(f"tr '\\0' x < /dev/zero | dd of=/dev/{device} bs=64k count=16 iflag=fullblock conv=fsync")
    if open(f"{RUN}/disk", "rb").read()[:1 << 20] != b"x" * (1 << 20):
        raise Bad(f"what was written to /dev/{device} is not in the file")


def _checksum(vm, command):
    """The guest's command must end with the checksum of the known contents."""
    want = hashlib.md5(open("/vmm/data", "rb").read()).hexdigest()
    # a network card comes up in seconds of the host's, of which Bochs gets a twentieth
    got = vm.guest(command, 200)
    if got.split()[-1:] != [want]:
        raise Bad(f"{command}: checksum {got}, not {want}")


def network(vm, device="eth0", net="10.0.2"):
    """A file from the host through the network of QEMU, or through the host's own."""
    _checksum(vm, f"net {device} {net}.15 {net}.2 8000 /data")


def vsock(vm):
    """A file from the host through a vsock."""
    door = socket.socket(socket.AF_VSOCK)
    door.bind((socket.VMADDR_CID_ANY, 8000))
    door.listen(1)
    threading.Thread(target=serve, args=(door,), daemon=True).start()
    _checksum(vm, "fetch host 8000 /data | md5sum | cut -d' ' -f1")


def shared(vm):
    """A directory of the host, through virtiofs: what is there, and what the guest writes."""
    vm.guest("modprobe virtiofs && mount -t virtiofs shared /mnt")
    _checksum(vm, "sum /mnt/data")
    vm.guest("sum /mnt/data > /mnt/new && mv /mnt/new /mnt/sum")
    want = hashlib.md5(open("/vmm/data", "rb").read()).hexdigest()
    if open(f"{RUN}/shared/sum").read().strip() != want:
        raise Bad("virtiofs: what the guest wrote is not there")


def agent(vm):
    """QEMU's guest agent in the guest answers, and runs a program for the host."""
    vm.guest("modprobe virtio_pci && modprobe virtio_console && sleep 1 && "
             "(/agent/ld.so --library-path /agent/lib /agent/qemu-ga -p /dev/vport*p1 -t /tmp > /tmp/agent 2>&1 &)")
    s = socket.socket(socket.AF_UNIX)
    s.connect(f"{vm.place}/agent")
    s.settimeout(40 * SLOW)
    lines = s.makefile("rw")

    def do(command, **arguments):
        lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        lines.flush()
        answer = json.loads(lines.readline())
        if "error" in answer:
            raise Bad(f"agent: {command}: {answer['error']}")
        return answer["return"]
    if do("guest-sync", id=4711) != 4711:
        raise Bad("agent: guest-sync gave another number")
    release = vm.guest("uname -r")
    if do("guest-get-osinfo")["kernel-release"] != release:
        raise Bad("agent: guest-get-osinfo names another kernel")
    pid = do("guest-exec", path="/bin/sh", arg=["-c", "uname -r > /tmp/by-agent"])["pid"]
    wait("end of what the agent runs", 20, lambda: do("guest-exec-status", pid=pid)["exited"])
    guest(vm, "cat /tmp/by-agent", re.escape(release))


def irqs(vm, pattern):
    """The kinds of interrupts that the guest's devices use."""
    guest(vm, "cat /proc/interrupts", pattern)


def serve(door):
    """A file server for the guests."""
    while True:
        peer, _ = door.accept()
        with contextlib.suppress(OSError), peer:
            name = re.match(rb"GET (/[\w./-]+)", peer.recv(4096))
            data = open("/vmm" + name[1].decode(), "rb").read()
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


def run(row):
    """Gives what is wrong, or None."""
    shutil.rmtree(RUN, ignore_errors=True)
    os.makedirs(RUN)
    for command in row.get("before", []):
        subprocess.run(command.replace("{run}", RUN), shell=True, check=True, capture_output=True)
    vm = (Sandbox if row["qemu"] == "gVisor" else Vm if row["args"] else Domain)(row)
    try:
        for name, *arguments in row["steps"]:
            step = f"{name} {' '.join(map(str, arguments))}".strip()
            try:
                vm = globals()[name](vm, *arguments) or vm
            except (Bad, OSError, KeyError, ValueError, TypeError, AttributeError,
                    subprocess.TimeoutExpired) as e:
                why = [f"{step}: {e}", "serial: " + " / ".join(vm.serial.text.split("\n")[-8:])[-600:]]
                if vm.child.poll() is None:
                    why += [f"at: {w}" for w in vm.where()]
                return "\n".join([*why, f"QEMU: {vm.said()}"])
    finally:
        while Vm.all:
            Vm.all.pop().end()


def main():
    threading.Thread(target=serve, args=(socket.create_server(("", 8000)),), daemon=True).start()
    for row in json.load(open("/vmm/rows.json")):
        print(f"@begin {row['name']}", flush=True)
        try:
            why = run(row)
        except (Bad, OSError, subprocess.CalledProcessError) as e:
            why = f"start: {e}"
        print("@end", json.dumps({"name": row["name"], "why": why}), flush=True)


sys.exit(main())
