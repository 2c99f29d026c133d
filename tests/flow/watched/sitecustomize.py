"""Put into PYTHONPATH: every attempt of this process, and of all that it starts, to reach a network is written down; all but one place are refused.

The hook is the interpreter's own (PEP 578): no library, whatever it does, gets past it.
"""

from __future__ import annotations

import json
import os
import sys

LOOKED_AT = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto", "socket.sendmsg"}
FILE, ALLOWED = os.environ.get("WATCHED_FILE", ""), os.environ.get("WATCHED_ALLOWED", "")


def _place(event: str, arguments: tuple) -> str | None:
    """Return the host and port that is meant; None for what stays in this machine's kernel (a socket between processes, or one that is connected)."""
    if event == "socket.getaddrinfo":
        return f"{arguments[0]}:{arguments[1]}"
    address = arguments[1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else arguments[0]
    if address is None or (event.startswith(("socket.connect", "socket.send")) and not isinstance(address, tuple)):
        return None
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _hook(event: str, arguments: tuple) -> None:
    if event not in LOOKED_AT:
        return
    place = _place(event, arguments)
    if place is None:
        return
    handle = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (json.dumps([event, place]) + "\n").encode())
    os.close(handle)
    if place != ALLOWED:
        raise ConnectionRefusedError(f"{event} {place}: not while this is watched")


if FILE:
    sys.addaudithook(_hook)
