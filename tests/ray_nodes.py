"""A real Ray cluster on this machine: a head and nodes, each a process group of its own that can be killed.

Each node has a folder for temporary files of its own, so that devices of different nodes are different ones
to the locks that say who measures.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
# a node that is gone is told after two seconds in place of a minute
HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # of nodes and drivers


@dataclass
class Nodes:
    """A running cluster. For `--on`: its address, and that for drivers on other machines."""

    address: str
    outside: str
    folder: Path
    variables: dict[str, str]
    shared: bool
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def add(self, *, cpus: int, gpus: int = 0) -> None:
        """One more node, of so many processors and GPUs as Ray counts them."""
        self._start("--address", self.address, f"--num-cpus={cpus}", f"--num-gpus={gpus}")

    def kill(self, number: int) -> None:
        """End a node as a loss of power does; 0 is the head."""
        process = self.running[number]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()

    def _start(self, *arguments: str) -> None:
        own = self.folder / f"node-{len(self.running)}"
        own.mkdir()
        words = ["start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", *arguments]
        process = subprocess.Popen(
            [RAY, *words],
            env=os.environ | self.variables | ({} if self.shared else {"TMPDIR": str(own)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        said = ""  # what follows is little, and stays in the pipe
        while "Ray runtime started" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line


@contextmanager
def cluster(cpus: list[int], *, gpus: int = 0, shared: bool = False) -> Iterator[Nodes]:
    """A head that measures nothing, and a node for each of these numbers of processors. `shared`: their
    devices are this machine's to the locks too, so that they take turns."""
    with ExitStack() as stack:
        # short: Ray's sockets lie below it, and a path of a socket has 107 characters
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r", dir="/tmp")))
        port = _free_port()
        client = _free_port()
        outside = f"ray://127.0.0.1:{client}"
        nodes = Nodes(f"127.0.0.1:{port}", outside, folder, HEALTH | TOKEN, shared=shared)
        stack.callback(lambda: [nodes.kill(number) for number in reversed(range(len(nodes.running)))])
        nodes._start(
            "--head",
            f"--port={port}",
            f"--ray-client-server-port={client}",
            "--num-cpus=0",
            "--num-gpus=0",
            "--include-dashboard=false",
            f"--temp-dir={folder}/ray",
        )
        for count in cpus:
            nodes.add(cpus=count, gpus=gpus)
        yield nodes


def _free_port() -> int:
    """One below those that the system gives out by itself, and Ray to its workers."""
    while True:
        port = random.randrange(6400, 7000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
