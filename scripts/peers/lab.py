"""Two namespaces, `client` and `server`, and the processes between them; all of it goes when the lab is left."""

import pathlib
import shlex
import subprocess
import tempfile
import time

CLIENT, SERVER = "client", "server"
MAC = {CLIENT: "02:00:00:00:00:01", SERVER: "02:00:00:00:00:02"}
ADDRESS = {CLIENT: "10.77.0.1", SERVER: "10.77.0.2"}


class Lab:
    """A place for one switch."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._folder.name)
        self.processes = []
        self.namespaces = []
        for name in (CLIENT, SERVER):
            self.add_namespace(name)
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False)
        self._folder.cleanup()

    def add_namespace(self, name):
        """A named namespace without IPv6: what it says by itself would be counted."""
        self.run(f"ip netns add {name}")
        self.namespaces.append(name)
        self.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1", inside=name)
        self.run("ip link set lo up", inside=name)

    def run(self, command, inside=None, env=None):
        """Runs a command to its end; gives what it printed."""
        words = (["ip", "netns", "exec", inside] if inside else []) + shlex.split(command)
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=env)
        if done.returncode != 0:
            raise RuntimeError(f"`{command}` failed: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout

    def spawn(self, command, inside=None, env=None):
        """Starts a process that lives as long as the lab; gives the file that holds what it says."""
        words = (["ip", "netns", "exec", inside] if inside else []) + shlex.split(command)
        log = self.folder / f"{len(self.processes)}.log"
        with open(log, "w", encoding="utf-8") as output:
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=output, env=env)
        self.processes.append(process)
        return log

    def await_device(self, device, inside=None):
        """Waits until a device is there."""
        namespace = f"-n {inside} " if inside else ""
        self.await_true(f"the device {device}", lambda: self._succeeds(f"ip {namespace}link show {device}"))

    def await_true(self, what, holds, seconds=20):
        deadline = time.monotonic() + seconds
        while not holds():
            ended = [process.args for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(log.read_text()[-400:] for log in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{what} did not come\n{logs}")
            time.sleep(0.05)

    def _succeeds(self, command):
        return subprocess.run(shlex.split(command), capture_output=True, check=False).returncode == 0

    def place(self, device, name):
        """Moves a device into a host's namespace and gives it the host's addresses."""
        self.run(f"ip link set {device} netns {name}")
        self.address(device, name)

    def address(self, device, name):
        """Gives a device in a host's namespace the host's addresses, and its neighbour for good."""
        other = SERVER if name == CLIENT else CLIENT
        self.run(f"ip -n {name} link set {device} address {MAC[name]} mtu 1500 up")
        self.run(f"ip -n {name} addr replace {ADDRESS[name]}/16 dev {device}")
        self.run(f"ip -n {name} neigh replace {ADDRESS[other]} lladdr {MAC[other]} dev {device}")
