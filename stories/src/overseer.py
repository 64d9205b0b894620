"""Plays a service manager's part for one program, as sd_notify(3) and sd_listen_fds(3) describe it.

overseer.py SOCKET PROGRAM ARGUMENTS…: starts the program, hears what it says, keeps the file descriptors it leaves, and
gives them back at the next start. SIGHUP: SIGTERM to the program, wait, start it again. SIGTERM: the same without a start.
"""

import array
import fcntl
import os
import select
import signal
import socket
import sys
import time

path, program, *arguments = sys.argv[1:]
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind(path)
kept = []  # (name, descriptor)
asked = []


def start():
    pid = os.fork()
    if pid:
        return pid
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for _, fd in kept]
    for number, fd in enumerate(high):
        os.dup2(fd, 3 + number, inheritable=True)
    environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000")
    if kept:
        environment.update(
            LISTEN_PID=str(os.getpid()),
            LISTEN_FDS=str(len(kept)),
            LISTEN_FDNAMES=":".join(name for name, _ in kept),
        )
    os.execve(program, [program, *arguments], environment)


def hear():
    text, beside, _, _ = ear.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    words = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
    given = array.array("i")
    for level, kind, content in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            given.frombytes(content[: len(content) - len(content) % 4])
    name = words.get("FDNAME", "stored")
    for fd in given:
        same = any(os.fstat(fd).st_ino == os.fstat(one).st_ino for _, one in kept)
        if "FDSTORE" in words and not same:
            kept.append((name, fd))
        else:
            os.close(fd)
    if "FDSTOREREMOVE" in words:
        for one in [one for one in kept if one[0] == name]:
            kept.remove(one)
            os.close(one[1])
    print("overseer hears", words, flush=True)


for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, lambda number, _: asked.append(number))
pid, stopping = start(), None
while True:
    try:
        if select.select([ear], [], [], 0.02)[0]:
            hear()
            continue
    except InterruptedError:
        pass
    if asked and stopping is None:
        stopping = asked.pop(0)
        os.kill(pid, signal.SIGTERM)
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        continue
    print("overseer saw the program end:", status, "kept:", [name for name, _ in kept], flush=True)
    if stopping != signal.SIGHUP:
        sys.exit(0 if stopping else 1)
    # As systemd does, which waits a moment (RestartSec) between two lives.
    time.sleep(0.1)
    pid, stopping = start(), None
