# SPDX-License-Identifier: GPL-2.0
"""Turns a bzImage into one whose kernel is already unpacked, for emulators that take long to unpack it.

The kernel's bytes stay what they are; see host.d/boot64.S for how they are started.
"""
import lzma
import shutil
import struct
import subprocess
import zlib

from cache import ROOT, SCRIPTS, Failure, digest, once, run

STUB = SCRIPTS / "host.d/boot64.S"
BASE, DATA = 0x100000, 0x108000


def image(vmlinuz):
    """The path of the unpacked image; the original's where this kernel can't be taken apart."""
    path = ROOT / "images" / f"unpacked-{digest(vmlinuz, STUB, SCRIPTS / 'lib/unpacked.py')}"

    def make(p):
        try:
            (p / "bzImage").write_bytes(_convert(vmlinuz.read_bytes(), p))
        except (ValueError, struct.error, lzma.LZMAError, zlib.error, Failure):
            shutil.copy(vmlinuz, p / "bzImage")
    return once(path, make) / "bzImage"


def elf(data):
    """The ELF file inside a bzImage."""
    if data[0x202:0x206] != b"HdrS":
        raise ValueError("not a bzImage")
    setup = (data[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", data, 0x248)
    return _decompress(data[setup + offset:setup + offset + length])


def _convert(data, work):
    entry, segments = _segments(elf(data))
    setup = (data[0x1f1] + 1) * 512

    table, blob, at = b"", b"", DATA
    for destination, content in segments:
        content += bytes(-len(content) % 4)
        if destination <= at:
            raise ValueError("a segment would have to move down")
        table += struct.pack("<III", at, destination, len(content))
        blob += content
        at += len(content)
    run(["cc", "-c", "-o", work / "boot64.o", STUB])
    run(["ld", "-m", "elf_x86_64", "-Ttext", hex(BASE), "--oformat", "binary", "-e", "_start",
         "-o", work / "boot64.bin", work / "boot64.o"])
    stub = (work / "boot64.bin").read_bytes()
    header = struct.pack("<II", entry, len(segments)) + table
    if len(stub) > 0x1000 or len(header) > 0x1000:
        raise ValueError("stub or table too long")
    body = (stub.ljust(0x1000, b"\0") + header).ljust(DATA - BASE, b"\0") + blob
    body += bytes(-len(body) % 16)

    head = bytearray(data[:setup])
    struct.pack_into("<I", head, 0x1f4, len(body) // 16)
    # no 64-bit entry of its own, no relocation, no payload that a loader could look into
    struct.pack_into("<H", head, 0x236, 0)
    struct.pack_into("<B", head, 0x234, 0)
    struct.pack_into("<II", head, 0x248, 0, 0)
    return bytes(head) + body


def _decompress(payload):
    if payload[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        # the last four bytes are the kernel's own note of the size
        p = subprocess.run(["zstd", "-dcq"], input=payload[:-4], capture_output=True)
        if p.returncode == 0:
            return p.stdout
    raise ValueError("a compression that is not known here")


def _segments(kernel):
    if kernel[:5] != b"\x7fELF\x02":
        raise ValueError("no 64-bit ELF file inside")
    entry, phoff = struct.unpack_from("<QQ", kernel, 24)
    size, count = struct.unpack_from("<HH", kernel, 54)
    found = []
    for n in range(count):
        kind, _, offset, _, paddr, filesz = struct.unpack_from("<IIQQQQ", kernel, phoff + n * size)
        if kind == 1 and filesz:
            found.append((paddr, kernel[offset:offset + filesz]))
    return entry, sorted(found)
