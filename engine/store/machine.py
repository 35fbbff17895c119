"""Which machine this is, and which of its processes still run: what is left of a dead one can be taken away."""

import os
import socket
from functools import cache
from pathlib import Path

import psutil


@cache
def machine() -> str:
    """Where a number means one process: a boot of a machine and a process namespace, or the host where none is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def alive(process: int) -> bool:
    """Whether the process still runs. In a container without an init, one that was killed stays as a zombie."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
