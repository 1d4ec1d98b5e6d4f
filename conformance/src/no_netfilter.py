# Runs a program as on a kernel without nftables and ipset: sockets for them are refused.
# Arguments: the program and its words. Linux on x86-64 and ARM64.
import ctypes
import os
import platform
import struct
import sys

AF_NETLINK, NETLINK_NETFILTER = 16, 12
EPROTONOSUPPORT = 93
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | EPROTONOSUPPORT

# seccomp_data: number at 0, arguments at 16, 24, 32 (low halves).
program = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 5, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 0, 3, AF_NETLINK),
    (LOAD, 0, 0, 32), (EQUAL, 0, 1, NETLINK_NETFILTER),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("HBBI", *step) for step in program)
buffer = ctypes.create_string_buffer(code)
head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(head), 0, 0)):
    if libc.prctl(*words) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
