"""A real Slurm with accounting on this machine, for tests: ``python -m tests.slurm.real.cluster up|down FOLDER``.

munged, MariaDB, slurmdbd, slurmctld and one slurmd per simulated node, all on loopback, every file of theirs under FOLDER. Needs root and
Debian's packages (:data:`PACKAGES`). Clients need ``SLURM_CONF=FOLDER/etc/slurm.conf``.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.slurm.real.settings import NODES, free_ports, slurm_conf, slurmdbd_conf

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
"""Program -> the Debian package that holds it."""

_SBIN = ("/usr/sbin", "/sbin")
_MARK = "SMILEBENCH_TEST_CLUSTER"
"""In the environment of every daemon: a pid file counts only where the process carries it, and no other process is ever signalled."""


def unavailable() -> str | None:
    """Why no cluster can be started here, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a test cluster needs root on Linux"
    missing = sorted({package for program, package in PACKAGES.items() if _which(program) is None})
    return f"these Debian packages are not installed: {' '.join(missing)}" if missing else None


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_SBIN]))


class Cluster:
    """One cluster, with its state in ``folder``: a path short enough for the sockets below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if len(str(self.folder)) > 70:
            raise ValueError(f"the path is too long for socket files under it: {self.folder}")
        self.conf = self.folder / "etc" / "slurm.conf"
        mark = {_MARK: str(self.folder), "SLURM_CONF": str(self.conf), "MYSQL_UNIX_PORT": str(self._run("mariadb.sock"))}
        path = os.pathsep.join([os.environ["PATH"], *_SBIN])
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        self.environment = {**kept, "PATH": path, **mark}

    def up(self) -> None:
        """Start whatever does not run; seconds."""
        for name in ("etc", "run", "log", "ctld", "spool", "munge"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("ctld", "munge"):
            (self.folder / name).chmod(0o700)
        if not any(self.pid(name) for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES))):
            self._configure()
        self._munged()
        self._mariadbd()
        self._slurmdbd()
        self._start("slurmctld", ["slurmctld"])
        self._until("slurmctld answers", lambda: self.call("scontrol", "ping").returncode == 0)
        for node in NODES:
            self.start_node(node)
        self._until("all nodes are up", self._nodes_are_up, seconds=40)

    def down(self) -> None:
        """Cancel the jobs, then stop everything that :meth:`up` started."""
        if self.pid("slurmctld"):
            with contextlib.suppress(TimeoutError):
                self._until("no job is left", self._no_job_is_left, seconds=30)
        for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES), "slurmdbd", "mariadbd", "munged"):
            self.stop(name)

    def call(self, *command: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """A client command of this cluster."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False)

    def pid(self, name: str) -> int | None:
        """Process id of a daemon of this cluster, if it runs."""
        try:
            pid = int(self._run(f"{name}.pid").read_text())
            mark = f"{_MARK}={self.folder}".encode()
            return pid if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") else None
        except (OSError, ValueError):
            return None

    def start_node(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._start(f"slurmd-{node}", ["slurmd", "-N", node])

    def stop(self, name: str, number: int = signal.SIGTERM, seconds: float = 15) -> None:
        """Signal a daemon and wait for its end; killed when it does not end in time."""
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, number)
        try:
            self._until("", lambda: self.pid(name) is None, seconds)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)

    def crash(self, node: str) -> None:
        """End a node as a power cut does: its daemon and every process of its jobs at once, without a word to anybody."""
        daemon = self.pid(f"slurmd-{node}")
        if daemon is not None:
            os.kill(daemon, signal.SIGKILL)
        for step in _holders(f"{self.folder}/spool/{node}/"):
            for pid in _tree(step):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def state(self) -> str:
        """Jobs, nodes and the end of the daemons' logs, for a test that failed."""
        queue = self.call("squeue", "-a", "-r", "-o", "%i %T %M %N %r %S").stdout
        nodes = self.call("sinfo", "-N", "-o", "%N %P %T %E").stdout
        logs = [f"{log}:\n{log.read_text(errors='replace')[-6000:]}" for log in sorted((self.folder / "log").glob("slurm[cd]*.log"))]
        return "\n".join([time.strftime("%H:%M:%S"), queue, nodes, *logs])

    def _run(self, name: str) -> Path:
        return self.folder / "run" / name

    def _configure(self) -> None:
        ports = free_ports(2 + len(NODES))
        first_job = int(time.time()) % 31_536_000 + 1
        self.conf.write_text(slurm_conf(self.folder, ports, first_job))
        accounting = self.folder / "etc" / "slurmdbd.conf"
        accounting.touch(mode=0o600)
        accounting.write_text(slurmdbd_conf(self.folder, ports))
        (self.folder / "etc" / "gres.conf").touch()

    def _start(self, name: str, command: list[str]) -> None:
        """Run a daemon that puts itself in the background."""
        if self.pid(name):
            return
        self._run(f"{name}.pid").unlink(missing_ok=True)
        log = self.folder / "log" / "start.log"
        with log.open("ab") as file:
            done = subprocess.run(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=30, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{name} did not start: {log.read_text(errors='replace')[-1500:]}")

    def _until(self, what: str, ready: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = "".join(
                    f"\n{log}:\n{log.read_text(errors='replace')[-1500:]}" for log in sorted((self.folder / "log").glob("*.log"))
                )
                raise TimeoutError(f"waited {seconds:.0f} s until {what}{logs}")
            time.sleep(0.1)

    def _munged(self) -> None:
        if self.pid("munged"):
            return
        key, socket = self.folder / "munge" / "key", self._run("munge.socket")
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        for stale in self._run("").glob("munge.socket*"):
            stale.unlink()
        files = {"socket": socket, "key-file": key, "pid-file": self._run("munged.pid"), "seed-file": self.folder / "munge" / "seed"}
        self._start("munged", ["munged", *(f"--{k}={v}" for k, v in files.items()), f"--log-file={self.folder}/log/munged.log"])
        self._until("munged has its socket", socket.exists)

    def _mariadbd(self) -> None:
        if self.pid("mariadbd"):
            return
        data, socket = self.folder / "db", self._run("mariadb.sock")
        made = self.folder / "db-made"
        if not made.exists():
            shutil.rmtree(data, ignore_errors=True)
            root = ["--auth-root-authentication-method=socket", "--auth-root-socket-user=root", "--skip-test-db"]
            done = self.call("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", *root, seconds=120)
            if done.returncode:
                raise RuntimeError(f"mariadb-install-db: {done.stdout[-1500:]}{done.stderr[-1500:]}")
            made.touch()
        socket.unlink(missing_ok=True)
        options = ["--skip-networking", "--performance-schema=OFF", "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"]
        files = [f"--socket={socket}", f"--pid-file={self._run('mariadbd.pid')}", f"--log-error={self.folder}/log/mariadb.log"]
        subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", *files, *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        query = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "-e", "select 1"]
        self._until("the database answers", lambda: self.call(*query).returncode == 0, seconds=40)

    def _slurmdbd(self) -> None:
        self._start("slurmdbd", ["slurmdbd"])
        self._until("slurmdbd answers", lambda: self.call("sacctmgr", "-n", "show", "cluster").returncode == 0)
        if "smilebench" not in self.call("sacctmgr", "-nP", "show", "cluster", "format=cluster").stdout:
            for added in (["cluster", "smilebench"], ["account", "test", "cluster=smilebench"], ["user", "root", "account=test"]):
                done = self.call("sacctmgr", "-i", "add", *added)
                if done.returncode:
                    raise RuntimeError(f"sacctmgr add {added}: {done.stdout}{done.stderr}")

    def _nodes_are_up(self) -> bool:
        lines = self.call("sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T").stdout.splitlines()
        states = dict(line.split() for line in lines)
        for node, state in states.items():
            if "down" in state or "drain" in state:
                self.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return len(states) == len(NODES) and all(state in ("idle", "mixed", "allocated") for state in states.values())

    def _no_job_is_left(self) -> bool:
        jobs = self.call("squeue", "-h", "-a", "-o", "%A").stdout.split()
        if jobs:
            self.call("scancel", *set(jobs))
        return not jobs


def _holders(prefix: str) -> list[int]:
    """Processes that hold a socket file whose path begins with ``prefix``: the step daemons of a node."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    sockets = {f"socket:[{row[6]}]" for row in rows if len(row) == 8 and row[7].startswith(prefix)}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().strip() == "slurmstepd" and any(
                os.readlink(file) in sockets for file in (process / "fd").iterdir()
            ):
                found.append(int(process.name))
    return found


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(child))]


if __name__ == "__main__":
    reason = unavailable()
    if reason or len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(reason or __doc__)
    cluster = Cluster(Path(sys.argv[2]))
    cluster.up() if sys.argv[1] == "up" else cluster.down()
    print(f"{sys.argv[1]}: export SLURM_CONF={cluster.conf}")
