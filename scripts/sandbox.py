"""Network, mounts, processes and temporary files of a script's own, all gone when it ends, however it ends.

The script runs again as the first process of a process namespace: when that ends, the kernel ends all others. What stays
outside waits for it and then removes the temporary files. A signal that asks for an end (INT, TERM, HUP) ends that first
process; after one that cannot be caught (KILL) only the temporary files are left.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

INSIDE = "SEPTUM_SANDBOX_INSIDE"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1


def enter():
    """Returns inside, where /run is empty; outside it ends with the status of what ran inside."""
    if INSIDE not in os.environ:
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        # Without --fork: what is executed stays outside the process namespace, and its first child is the first inside.
        again = ["unshare", *user, "--net", "--mount", "--pid", sys.executable, *sys.argv]
        os.execvpe(again[0], again, {**os.environ, INSIDE: "1"})
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    tempfile.tempdir = tempfile.mkdtemp(prefix="septum-")
    first = os.fork()
    if first:
        _supervise(first)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # What a terminal sends reaches the one outside alone.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    # Names of namespaces are files in /run/netns.
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _supervise(first):
    asked = []

    def end(number, _):
        asked.append(number)
        os.kill(first, signal.SIGKILL)

    for number in ENDING:
        # nohup(1), and a shell for what it starts in the background, have some ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    _, status = os.waitpid(first, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    shutil.rmtree(tempfile.tempdir)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(128 + asked[0] if asked else code if code >= 0 else 128 - code)
