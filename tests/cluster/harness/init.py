"""Process 1 of a cluster's machine: prepares mounts and network, starts the programs, restarts what dies.

Started by ``machine.py`` inside fresh network, mount and PID namespaces, as a plain file and with the standard library
alone: ``python init.py FOLDER``.  The folder holds ``plan.json``.  When this process ends, the kernel ends everything
that was started in the machine and drops its mounts and its network.  It ends by itself when its standard input closes,
which is when the test run that holds the other end is gone, however that ended.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
RESTART_SECONDS = 0.5
LINK_SECONDS = 30
# What a kubelet wants of the kernel.  It would set these for the whole computer, so it is shown files that agree.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


# Where programs write whatever they are told.  They write to throw-away layers on top.
COVERED = ("/etc", "/opt", "/usr/libexec", "/var/lib", "/var/log")


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def mount(folder: Path, binaries: str) -> None:
    """A /run of our own, in which the folder is /run/machine, and no writing to the computer's folders."""
    private = folder / "mnt"
    private.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(private))
    for name, source in {"machine": str(folder), "bin": binaries}.items():
        (private / name).mkdir()
        run("mount", "--bind", source, str(private / name))
    for name in ("lock", "netns", "settings", "cover"):
        (private / name).mkdir()
    run("mount", "--rbind", str(private), "/run")
    for number, covered in enumerate(COVERED):
        upper, work = Path(f"/run/cover/{number}/upper"), Path(f"/run/cover/{number}/work")
        upper.mkdir(parents=True)
        work.mkdir()
        if Path(covered).is_dir():
            run(
                "mount",
                "-t",
                "overlay",
                "-o",
                f"lowerdir={covered},upperdir={upper},workdir={work}",
                "overlay",
                covered,
            )
    for number, (name, value) in enumerate(KERNEL_SETTINGS.items()):
        shown = Path("/run/settings") / str(number)
        shown.write_text(value + "\n")
        if Path("/proc/sys", name).exists():
            run("mount", "--bind", str(shown), f"/proc/sys/{name}")
    run("mount", "--make-rshared", "/")


def connect(network: dict[str, str]) -> None:
    """Bring up the link that the outside has put here.  There is no way further than the computer itself."""
    deadline = time.monotonic() + LINK_SECONDS
    while "eth0" not in [name for _, name in socket.if_nameindex()]:
        if time.monotonic() > deadline:
            raise SystemExit("no network link appeared")
        time.sleep(0.01)
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", network["node"] + "/30", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if network["fence"]:
        pods_out = ["-s", network["pods"], "-o", "eth0", "-m", "conntrack", "--ctstate", "NEW", "-j", "REJECT"]
        run("iptables", "-I", "FORWARD", "1", *pods_out)


class Supervisor:
    """Starts each program once what it needs is there, and again when it ends."""

    def __init__(self, folder: Path, processes: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.waiting: dict[str, tuple[float, dict[str, Any]]] = {each["name"]: (0.0, each) for each in processes}
        self.running: dict[int, dict[str, Any]] = {}
        self.starts: dict[str, int] = {}

    def turn(self) -> None:
        now = time.monotonic()
        for name, (earliest, process) in list(self.waiting.items()):
            if now >= earliest and all(is_there(need) for need in process["needs"]):
                del self.waiting[name]
                self.start(process)
        self.reap()

    def start(self, process: dict[str, Any]) -> None:
        name = process["name"]
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(process["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self.running[child.pid] = process
        self.starts[name] = self.starts.get(name, 0) + 1
        child.returncode = 0  # reaped below, together with the orphans that only process 1 can reap
        self.tell()

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self.running.pop(pid, None)
            if process is not None:
                with (self.folder / "logs" / f"{process['name']}.log").open("a") as log:
                    log.write(f"--- ended with {os.waitstatus_to_exitcode(status)}, will be started again\n")
                self.waiting[process["name"]] = (time.monotonic() + RESTART_SECONDS, process)
                self.tell()

    def tell(self) -> None:
        state = {each["name"]: {"pid": pid, "starts": self.starts[each["name"]]} for pid, each in self.running.items()}
        partial = self.folder / "processes.json.partial"
        partial.write_text(json.dumps(state))
        partial.rename(self.folder / "processes.json")


def is_there(need: str) -> bool:
    """``tcp:HOST:PORT`` answers, or ``path:PATH`` exists."""
    kind, _, what = need.partition(":")
    if kind == "path":
        return Path(what).exists()
    host, _, port = what.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.2).close()
    except OSError:
        return False
    return True


def main() -> None:
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["PATH"] = plan["path"]
    mount(folder, plan["binaries"])
    connect(plan["network"])
    supervisor = Supervisor(Path("/run/machine"), plan["processes"])
    while True:
        supervisor.turn()
        if plan["attached"]:
            readable, _, _ = select.select([0], [], [], POLL_SECONDS)
            if readable and not os.read(0, 1):
                return
        else:
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
