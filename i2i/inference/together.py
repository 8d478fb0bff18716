"""Lets several processes share the work of one command: ``torchrun --nproc-per-node 2 -m -- i2i translate ...``.

The first process plans the work and sends the plan to the others; each handles every world-size-th item; the first
waits for the others and reports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn, TypeVar

from torch import distributed

from i2i.errors import ConfigError, DataError, UserError
from i2i.launched import World, launched

Told = TypeVar("Told")
Item = TypeVar("Item")
Made = TypeVar("Made")

PATIENCE = timedelta(hours=1)
"""How long a process waits for another one before it counts that one as lost."""
ENDED = "another process of this command has ended: repeat the command to continue"


class Together:
    """The processes of one command; a single process plans alone and does not wait."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    @property
    def is_first(self) -> bool:
        """Whether this process plans and reports."""
        return self.world.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of the items."""
        return items[self.world.rank :: self.world.size]

    def told(self, decide: Callable[[], Told]) -> Told:
        """The result of ``decide`` in the first process; if it raises a UserError there, the others end silently.

        Raises:
            DataError: another process has ended.
        """
        if self.world.size == 1:
            return decide()
        message: list[Told | UserError | None] = [None]
        if self.is_first:
            try:
                message = [decide()]
            except UserError as error:
                message = [error]
        try:
            distributed.broadcast_object_list(message)
        except RuntimeError:
            raise DataError(ENDED) from None
        (answer,) = message
        if isinstance(answer, UserError):
            if self.is_first:
                raise answer
            sys.exit(0)
        return answer  # type: ignore[return-value]

    def each(self, work: Callable[[], Made]) -> Made:
        """The result of ``work``, which every process does; a UserError of any is raised in the first, and ends all.

        Raises:
            DataError: in the first process: another one has ended. The others end silently with the first.
        """
        if self.world.size == 1:
            return work()
        made: list[Made] = []
        own: UserError | None = None
        try:
            made.append(work())
        except UserError as error:
            own = error
        errors: list[UserError | None] = [None] * self.world.size
        try:
            distributed.all_gather_object(errors, own)
        except RuntimeError:
            self._end(DataError(ENDED))
        for one in errors:
            if one is not None:
                self._end(one)
        return made[0]

    def collected(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Made]]) -> Sequence[Made]:
        """``work`` of all items, in their order, each done by one process; errors as ``each``.

        Returns:
            In the first process, what was made of each item; nothing in the others.
        """
        own = self.each(lambda: work(self.share(items)))
        if self.world.size == 1:
            return own
        parts: list[Sequence[Made]] | None = [()] * self.world.size if self.is_first else None
        try:
            distributed.gather_object(own, parts)
        except RuntimeError:
            self._end(DataError(ENDED))
        return [parts[n % self.world.size][n // self.world.size] for n in range(len(items))] if parts else []

    def _end(self, error: UserError) -> NoReturn:
        if self.is_first:
            raise error
        sys.exit(0)

    def wait(self) -> bool:
        """Waits for all processes to arrive here; whether all did so within ``PATIENCE``."""
        if self.world.size > 1:
            try:
                distributed.barrier()
            except RuntimeError:
                return False
        return True


@contextmanager
def together() -> Iterator[Together]:
    """The processes that a launcher started for this command.

    Raises:
        ConfigError: the launcher's environment variables are incomplete, or the processes cannot connect.
    """
    world = launched()
    if world.size == 1 or distributed.is_initialized():
        yield Together()
        return
    import torch.distributed.nn.functional  # noqa: F401  for the reason in i2i/training/processes.py

    try:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the {world.size} processes cannot connect to each other ({reason}): use torchrun") from None
    try:
        yield Together(world)
    finally:
        distributed.destroy_process_group()
