# SPDX-License-Identifier: BSD-3-Clause
"""sandbox.py CALL[,CALL..] PROGRAM [ARGUMENT..] - runs a program from which system calls are taken away, as a container's
sandbox does: a seccomp filter answers them with EPERM and lets all others pass. Ends with 77 where that cannot be had."""
import ctypes
import os
import platform
import struct
import sys

NUMBERS = {  # of x86_64 and aarch64: asm/unistd_64.h, asm-generic/unistd.h
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "memfd_create": (319, 279),
    "pidfd_open": (434, 434), "membarrier": (324, 283),
}
MACHINES = ("x86_64", "aarch64")
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2  # linux/prctl.h, linux/seccomp.h
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
ALLOW, ANSWER_EPERM = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
CANNOT = 77


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def rows_of(numbers):
    """(code, jump if true, jump if false, value): each number leads to the last row."""
    compare = [(JUMP_IF_EQUAL, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    return [(LOAD_NUMBER, 0, 0, 0), *compare, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ANSWER_EPERM)]


def take_away(names):
    column = MACHINES.index(platform.machine())
    rows = rows_of([NUMBERS[n][column] for n in names])
    program = Program(len(rows), b"".join(struct.pack("HBBI", *row) for row in rows))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main():
    try:
        take_away(sys.argv[1].split(","))
    except (OSError, ValueError) as exc:
        print(f"no seccomp filter here: {exc}", file=sys.stderr)
        return CANNOT
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
