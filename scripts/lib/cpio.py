# SPDX-License-Identifier: GPL-2.0
"""Writes initramfs archives ("newc" cpio), every file owned by root, without being root."""
import os
import pathlib
import stat
import subprocess

from cache import Failure


class Archive:
    """The kernel unpacks several of these behind each other, so one can be kept and one made per run."""

    def __init__(self, f):
        self.f = f
        self.seen = set()
        self.ino = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.ino += 1
        name = os.fsencode(name.strip("/")) + b"\0"
        if len(data) >> 32:
            raise Failure(f"{os.fsdecode(name[:-1])}: 4 GiB or more, which an initramfs has no room for")
        fields = [self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name), 0]
        head = b"070701" + b"".join(b"%08X" % v for v in fields) + name
        self.f.write(head + bytes(-len(head) % 4))
        self.f.write(data)
        self.f.write(bytes(-len(data) % 4))

    def directory(self, name, mode=0o755):
        name = name.strip("/")
        if not name or name in self.seen:
            return
        self.directory(os.path.dirname(name))
        self.seen.add(name)
        self._entry(name, stat.S_IFDIR | mode)

    def text(self, name, data, mode=0o644):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self.seen.add(name)
        self._entry(name, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode())

    def symlink(self, name, target):
        self.directory(os.path.dirname(name.strip("/")))
        self._entry(name, stat.S_IFLNK | 0o777, os.fsencode(target))

    def node(self, name, mode, major, minor):
        self.directory(os.path.dirname(name.strip("/")))
        self._entry(name, stat.S_IFCHR | mode, rdev=(major, minor))

    def tree(self, source, name, libraries=True):
        """A file or directory, with the shared libraries that its programs need."""
        source = pathlib.Path(source)
        st = source.lstat() if name.strip("/") in self.seen else source.stat()
        if stat.S_ISDIR(st.st_mode):
            self.directory(name, stat.S_IMODE(st.st_mode) | 0o700)
            for child in sorted(source.iterdir()):
                if child.is_symlink():
                    self.symlink(f"{name}/{child.name}", os.readlink(child))
                elif child.is_dir() or child.is_file():
                    self.tree(child, f"{name}/{child.name}", libraries)
            return
        data = source.read_bytes()
        self.text(name, data, stat.S_IMODE(st.st_mode))
        if libraries and data[:4] == b"\x7fELF" and b"ld-linux" in data[:8192]:
            self._libraries(source)

    def _libraries(self, program):
        p = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
        for word in p.stdout.split():
            if word.startswith("/") and word.strip("/") not in self.seen and os.path.exists(word):
                self.text(word, pathlib.Path(word).read_bytes(), 0o755)

    def end(self):
        self._entry("TRAILER!!!", 0)
        self.f.write(bytes(-self.f.tell() % 512))
