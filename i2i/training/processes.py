"""The processes that train a run together: how they meet, and how long one waits for another."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import torch.distributed.nn.functional  # noqa: F401  imported after a group is made, its defaults would keep it alive
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import distributed

from i2i.config.schema import Config
from i2i.device import resolve_device
from i2i.errors import ConfigError
from i2i.launched import launched, restarted
from i2i.world import world


def patience(config: Config) -> timedelta:
    """How long a process waits for another one before it counts that one as lost."""
    return timedelta(seconds=config.training.rank_timeout)


def join_processes(config: Config) -> PartialState:
    """Joins those that a launcher started, if it did.

    Raises:
        ConfigError: a device that is not here, or processes that do not find each other.
    """
    _rejoin(patience(config))
    device = resolve_device(config.training.device)  # accelerate joins processes on CPUs only where it is told so
    joined = PartialState(cpu=device.type == "cpu", timeout=patience(config))
    if joined.num_processes != launched().size:
        raise ConfigError(
            f"{launched().size} processes were started, and {joined.num_processes} train together on {device.type}: "
            "start them by torchrun, start one, or name another training.device"
        )
    return joined


def _rejoin(wait: timedelta) -> None:
    """Joins processes that torchrun has restarted around the store of those that died.

    It still has the addresses of these, under the names that torch would look up, so each restart uses its own names.
    With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 each restart has a store of its own.
    """
    if not restarted() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    if not distributed.is_available() or distributed.is_initialized():
        return
    here, attempt = launched(), os.environ["TORCHELASTIC_RESTART_COUNT"]
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, is_master=False)  # type: ignore[attr-defined]
    own = distributed.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(store=own, rank=here.rank, world_size=here.size, timeout=wait)


def decided_by_first(decide: Callable[[], bool]) -> bool:
    """What rank 0 decides, on every rank."""
    told = [world().rank == 0 and decide()]
    if world().size > 1:
        broadcast_object_list(told)
    return told[0]
