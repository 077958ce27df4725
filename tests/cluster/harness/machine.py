"""A throw-away machine: network, mount and PID namespaces with a link to the computer.  Used by the cluster.

Nothing of it touches the computer but one link with its routes, the control groups and a folder in the cache; killing
its first process ends it all.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from tests.cluster.harness.cgroups import make_cgroups
from tests.cluster.harness.packages import SYSTEM_PATH
from tests.cluster.harness.slot import Slot

END_SECONDS = 30
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A program of the machine; it starts when every need is there (``tcp:HOST:PORT`` or ``path:PATH``)."""

    name: str
    command: Sequence[str]
    needs: Sequence[str] = ()


class Machine:
    """One running machine.  ``outer`` is the process that waits for process 1, as seen on the computer."""

    def __init__(self, slot: Slot, outer: int, child: subprocess.Popen[bytes] | None) -> None:
        self.slot = slot
        self.outer = outer
        self._child = child

    @classmethod
    def start(
        cls, slot: Slot, lock: int, processes: Sequence[Process], *, binaries: Path, detached: bool = False
    ) -> "Machine":
        """Start the machine in a taken slot.  Unless detached it ends with the calling process, however that ends."""
        has_node = any(process.name == "kubelet" for process in processes)
        plan = {
            "network": {"node": slot.node, "pods": slot.pods, "fence": has_node},
            "path": SYSTEM_PATH,
            "binaries": str(binaries),
            "attached": not detached,
            "processes": [asdict(process) for process in processes],
        }
        (slot.folder / "plan.json").write_text(json.dumps(plan))
        (slot.folder / "logs").mkdir()
        if has_node:
            make_cgroups(slot.cgroup)
        init = Path(__file__).with_name("init.py")
        with (slot.folder / "logs" / "init.log").open("wb") as log:
            child = subprocess.Popen(
                ["unshare", *NAMESPACES, sys.executable, "-I", init, slot.folder],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        os.close(lock)
        (slot.folder / "outer").write_text(str(child.pid))
        machine = cls(slot, child.pid, child)
        try:
            machine._link()
        except BaseException:
            machine.stop()
            raise
        return machine

    @classmethod
    def find(cls, slot: Slot) -> "Machine | None":
        """The machine that lives in a slot, started by whomever."""
        file = slot.folder / "outer"
        if not slot.is_taken() or not file.exists():
            return None
        return cls(slot, int(file.read_text()), None)

    def run(
        self, *command: str | Path, stdin: IO[bytes] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine.

        Raises:
            RuntimeError: it failed; its last lines are in the message.
        """
        enter = ["nsenter", "--target", str(self.init), "--net", "--mount", "--pid"]
        source = stdin if stdin is not None else subprocess.DEVNULL
        done = subprocess.run([*enter, *command], stdin=source, text=True, capture_output=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        return done

    def is_alive(self) -> bool:
        """Whether the machine still runs."""
        if self._child:
            self._child.poll()  # so that it does not stay a zombie
        return self.slot.is_taken()

    def stop(self) -> None:
        """End everything in the machine and remove every trace of it."""
        if self.is_alive():
            # Process 1 first: its parent then lives until the kernel has ended the rest.
            for pid in (self.init, self.outer):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                break
        deadline = time.monotonic() + END_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._child and self._child.stdin:
            self._child.stdin.close()
        self.slot.clear()

    @property
    def init(self) -> int:
        """Process 1 of the machine, as seen on the computer."""
        children = Path(f"/proc/{self.outer}/task/{self.outer}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else self.outer

    def _link(self) -> None:
        """Lay the link; the machine's end is configured inside, by process 1."""
        slot = self.slot
        _wait_for_namespace(self.outer)
        for command in (
            f"link add {slot.link} type veth peer name eth0 netns {self.outer}",
            f"addr add {slot.host}/30 dev {slot.link}",
            f"link set {slot.link} up",
            f"route add {slot.pods} via {slot.node}",
            f"route add {slot.services} via {slot.node}",
        ):
            done = subprocess.run(["ip", *command.split()], text=True, capture_output=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"ip {command} failed: {done.stderr.strip()}")


def _wait_for_namespace(pid: int) -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino != own:
                return
        except FileNotFoundError:  # it has ended
            break
        time.sleep(0.01)
    raise RuntimeError("the machine got no network namespace of its own; may this computer's root make namespaces?")
