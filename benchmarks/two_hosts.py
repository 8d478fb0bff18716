"""Two hosts for real on one machine: two network namespaces, each with a network of its own, joined by a virtual cable.

As root, on Linux, with iproute2: ``python -m benchmarks.two_hosts [equal] [cable] [elastic]``. On each host torchrun
starts one process with the lines of docs/scale.md.

- equal: every recipe for some steps in double precision on both hosts, against the same on one process.
- cable: the cable is pulled while both train. Both processes have to end within ``training.rank_timeout`` and say so in
  one line, and a resume has to go on from the last checkpoint.
- elastic: with ``--nnodes 1:2 --max-restarts 3``, the cable is pulled, the host that is left goes on, and the other one
  is taken back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.conftest import make_set, small_settings
from tests.toys import joined

PORT, DEVICE = 29500, "cable"
TIMEOUT, LONGEST = 20, 400
"""Seconds: ``training.rank_timeout``, and the longest that anything here is waited for."""
ELASTIC = ("--nnodes", "1:2", "--max-restarts", "3")
APART = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@dataclass
class Host:
    """A network namespace.

    Attributes:
        name: of the namespace.
        address: in it.
        first: whether the processes meet here.
    """

    name: str
    address: str
    first: bool
    environment: dict[str, str] = field(default_factory=dict)

    def torchrun(self, log: Path, *arguments: object) -> subprocess.Popen[bytes]:
        """Starts ``torchrun`` here, in a process group of its own; what it says goes to ``log``."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d", "--rdzv-id", "job"]
        meeting = ["--rdzv-endpoint", f"{HOSTS[0].address}:{PORT}", "--rdzv-conf", f"is_host={int(self.first)}"]
        command = ["ip", "netns", "exec", self.name, *launcher, *meeting, "--local-addr", self.address]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": DEVICE, "OMP_NUM_THREADS": "1"} | self.environment
        with log.open("ab") as out:
            return subprocess.Popen(
                [*command, "--nproc-per-node", "1", *map(str, arguments)],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )


HOSTS = tuple(Host(f"i2i-{os.getpid()}-{i}", f"10.77.0.{i + 1}", first=i == 0) for i in (0, 1))


def ip(*arguments: str) -> None:
    """Runs iproute2."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Both hosts and the cable."""
    try:
        for host in HOSTS:
            ip("netns", "add", host.name)
        one, other = HOSTS
        ip("link", "add", DEVICE, "netns", one.name, "type", "veth", "peer", "name", DEVICE, "netns", other.name)
        for host in HOSTS:
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", DEVICE)
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "link", "set", DEVICE, "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)


def cable(state: str) -> None:
    """Plugs the cable in ("up") or pulls it ("down")."""
    ip("-n", HOSTS[0].name, "link", "set", DEVICE, state)


def wait_for(what: str, there: Callable[[], bool]) -> float:
    """Waits until something is there; how many seconds that took."""
    start = time.monotonic()
    while not there():
        if time.monotonic() - start > LONGEST:
            raise SystemExit(f"{what}: not within {LONGEST} s")
        time.sleep(0.2)
    return time.monotonic() - start


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a launcher and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(40)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def training(folder: Path, steps: int) -> list[object]:
    """The command of a small training."""
    settings = ["health.enabled=false", "training.log_every=20", "training.checkpoint_seconds=1"]
    settings += [f"training.rank_timeout={TIMEOUT}", *small_settings("cyclegan")]
    return [
        *("-m", "--", "i2i", "train", "--arch", "cyclegan", "--data", folder / "data", "--run", folder / "run"),
        *("--image-size", 16, "--batch-size", 2, "--steps", steps, "--device", "cpu", "--precision", "fp32"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def newest(folder: Path) -> int:
    """The step of the newest checkpoint; 0 for none."""
    return max((int(path.stem.rpartition("-")[2]) for path in folder.glob("run/checkpoints/*.safetensors")), default=0)


def lines(log: Path, text: str) -> list[str]:
    """The lines of a log that have ``text`` in them."""
    return [line for line in log.read_text(errors="replace").splitlines() if text in line]


def equal(folder: Path) -> None:
    """Weights of two hosts against those of one process."""
    steps, one, two = 4, folder / "one.pt", folder / "two.pt"
    subprocess.run([sys.executable, "-m", "tests.ranks", str(one), str(steps)], check=True)
    running = [host.torchrun(folder / host.name, "--nnodes", 2, "-m", "tests.ranks", two, steps) for host in HOSTS]
    wait_for("both hosts", lambda: all(process.poll() is not None for process in running))
    left, right = torch.load(one), torch.load(two)
    distances = [
        float((joined(right[arch][kind]["weights"]) - joined(weights)).norm() / joined(weights).norm())
        for arch in left
        for kind in left[arch]
        for weights in (left[arch][kind]["weights"],)
    ]
    print(f"equal: {len(left)} recipes, {steps} steps in double precision, with SGD and their own optimisers:")
    print(f"  two hosts differ from one process by at most {max(distances):.0e} of the weights' norm")


def pulled(folder: Path) -> None:
    """The cable is pulled, and what is then resumed."""
    logs = [folder / f"cable-{i}.log" for i in (0, 1)]
    running = [
        host.torchrun(log, "--nnodes", 2, *training(folder, 100_000)) for host, log in zip(HOSTS, logs, strict=True)
    ]
    wait_for("a checkpoint", lambda: newest(folder) > 0)
    time.sleep(3)
    cable("down")
    start = time.monotonic()
    print(f"cable: pulled after step {newest(folder)}, training.rank_timeout {TIMEOUT}")
    for log in logs:
        wait_for("the end of a process", lambda log=log: bool(lines(log, "error: ")))  # type: ignore[misc]
        said = lines(log, "error: ")
        assert len(said) == 1, said
        print(f"  host {log.stem[-1]}, {time.monotonic() - start:.0f} s later: {said[0].replace(str(folder), '')}")
    kept = newest(folder)
    running[0].wait(LONGEST)
    print(f"  torchrun on host 0 ended with {running[0].returncode} after {time.monotonic() - start:.0f} s")
    cable("up")
    for process in running:
        end(process)
    command = [sys.executable, "-m", "i2i", "train", "--resume", folder / "run", "--steps", kept + 20]
    resumed = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    print(
        f"  resumed from step {kept} on one process: {resumed.stdout.strip().splitlines()[-2].replace(str(folder), '')}"
    )


def elastic(folder: Path) -> None:
    """One host goes on alone, and takes the other one back."""
    for host in HOSTS:
        host.environment = APART
    one, other = HOSTS
    log, steps = folder / "elastic-0.log", 100_000
    first = one.torchrun(log, *ELASTIC, *training(folder, steps))
    second = other.torchrun(folder / "elastic-1.log", *ELASTIC, *training(folder, steps))
    wait_for("a checkpoint", lambda: newest(folder) > 0)
    time.sleep(3)
    cable("down")
    print(f"elastic: pulled after step {newest(folder)}")
    waited = wait_for("host 0 alone", lambda: len(lines(log, "continuing at step")) == 1)
    print(f"  host 0 {waited:.0f} s later: {lines(log, 'goes on with')[-1]}; {lines(log, 'continuing')[-1]}")
    end(second)
    cable("up")
    alone = newest(folder)
    wait_for("steps of host 0", lambda: newest(folder) > alone)
    second = other.torchrun(folder / "elastic-2.log", *ELASTIC, *training(folder, steps))
    waited = wait_for("both again", lambda: len(lines(log, "continuing at step")) == 2)
    print(f"  host 1 is back {waited:.0f} s after its start: {lines(log, 'stopped at')[-1].split(';')[0]}")
    print(f"  {lines(log, 'goes on with')[-1]}; {lines(log, 'continuing')[-1]}")
    together = newest(folder)
    wait_for("steps of both", lambda: newest(folder) > together)
    print(f"  both went on to step {newest(folder)}")
    end(first)
    end(second)


def refusal() -> str | None:
    """Why this machine permits no network namespaces; None where it does."""
    try:
        with two_hosts():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return " ".join(str(getattr(error, "stderr", None) or error).split())


def main() -> None:
    """Runs what is asked for."""
    reason = refusal()
    if reason is not None:
        print(f"skipped: no network namespaces here ({reason})")
        return
    for name in sys.argv[1:] or ["equal", "cable", "elastic"]:
        with two_hosts(), tempfile.TemporaryDirectory() as folder:
            make_set(Path(folder) / "data", trainA=8, trainB=6, testA=3, testB=2)
            {"equal": equal, "cable": pulled, "elastic": elastic}[name](Path(folder))


if __name__ == "__main__":
    main()
