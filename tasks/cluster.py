"""The Dask cluster: started on first use, with a bounded number of partitions in flight.

Only this module and `started_clusters` know Dask. Functions sent to workers come from `bioclip` and touch neither Prefect nor MLflow, so no
worker starts a server.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bioclip.errors import TreeOfLifeError, UsageError
from bioclip.settings import ClusterSettings
from tasks.started_clusters import start_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")
_MAX_LOCAL_WORKERS = 8
_CONNECT_TIMEOUT_S = 30
_POLL_S = 0.1
_STOP_S = 1


class Cluster:
    """A cluster from settings; a context manager that closes the cluster if it started it.

    With `address` it connects to that scheduler; otherwise it starts the workers of `kind`, by default single-thread processes on this
    machine, bound to loopback.
    """

    def __init__(self, settings: ClusterSettings, scratch_dir: Path) -> None:
        self._settings = settings
        self._scratch_dir = scratch_dir
        self._log_path = scratch_dir.parent / "logs" / f"workers-{os.getpid()}.log"
        self._client: Any = None
        self._started: Any = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        timeout = {"timeout": _STOP_S} if is_interrupted else {}
        if kind is None:
            self._log_path.unlink(missing_ok=True)
        with suppress(TimeoutError) if is_interrupted else nullcontext():
            if self._client is not None:
                self._client.close(**timeout)
            if self._started is not None:
                self._started.close(**timeout)

    @property
    def num_workers(self) -> int:
        """Number of worker threads; contacts the scheduler only if an address is given.

        Of a cluster whose workers start later (pods, jobs), at least the number that was asked for.
        """
        if self._settings.address:
            return max(1, int(sum(self._connected().nthreads().values())))
        if self._settings.kind == "ssh":
            return max(self._settings.num_workers, int(sum(self._connected().nthreads().values())), 1)
        return int(self._settings.num_workers or min(os.cpu_count() or 1, _MAX_LOCAL_WORKERS))

    @property
    def own_host(self) -> str:
        """This machine's address for the workers: that of the route to the scheduler, or loopback for a local cluster."""
        if self._settings.kind == "local" and not self._settings.address:
            return "127.0.0.1"
        scheduler = urlsplit(self._settings.address or str(self._connected().scheduler.address))
        try:
            [(family, _, _, _, address), *_] = socket.getaddrinfo(scheduler.hostname, scheduler.port or 8786, type=socket.SOCK_DGRAM)
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cluster.address {self._settings.address!r} cannot be reached ({error}); correct it or leave it empty."
            ) from None

    @property
    def dashboard(self) -> str:
        """Address of Dask's dashboard; empty if no cluster runs."""
        return str(self._client.dashboard_link) if self._client is not None else ""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item], names: Sequence[str]) -> Iterator[tuple[str, Result]]:
        """(name, function(item)) as they finish, with a bounded number in flight.

        If the scheduler is lost and comes back, its partitions are submitted again, as often as `cluster.retries` allows; they are then
        computed twice at worst, with equal bytes. A partition that fails does not stop the others; when all have finished, the first
        failure by name is raised: a TreeOfLifeError unchanged, any other error as a TreeOfLifeError that names the partition and the
        cause.
        """
        from distributed import as_completed

        client = self._connected()
        waiting = iter(zip(names, items, strict=True))
        flying: dict[Any, tuple[str, Item]] = {}
        failures: dict[str, BaseException] = {}
        losses: Counter[str] = Counter()
        done = as_completed(loop=client.loop)

        def launch(name: str, item: Item) -> None:
            future = self._submit(client, function, item)
            flying[future] = name, item
            done.add(future)

        for name, item in islice(waiting, self._settings.window_per_worker * self.num_workers):
            launch(name, item)
        for future in self._ended(client, done):
            name, item = flying.pop(future)
            if future.status == "cancelled" and losses[name] < self._settings.retries:  # the scheduler that knew it is gone
                losses[name] += 1
                launch(name, item)
                continue
            result = _result(future)
            if isinstance(result, BaseException):
                failures[name] = result
            else:
                yield name, result
            future.release()
            for further in islice(waiting, 1):
                launch(*further)
        _raise_first(failures, len(items))

    def _submit(self, client: Any, function: Callable[[Item], Result], item: Item) -> Any:
        """The future of one partition. After the loss of the scheduler the client sends it once it has found a scheduler again."""
        from distributed.client import ClosedClientError

        try:
            return client.submit(_attempt, function, item, pure=False, retries=self._settings.retries)
        except ClosedClientError:
            raise self._lost() from None

    def _ended(self, client: Any, done: Any) -> Iterator[Any]:
        """The futures of `done`, Dask's as_completed, as they end. Raises TreeOfLifeError once the client has closed: a future that it
        took while it searched for the scheduler would never end."""
        while not done.is_empty():
            if done.has_ready():
                yield next(done)
            elif client.status == "closed":
                raise self._lost()
            else:
                with done.thread_condition:
                    done.thread_condition.wait(_POLL_S)

    def _lost(self) -> TreeOfLifeError:
        return TreeOfLifeError(
            f"the Dask scheduler {self._settings.address!r} was lost and did not answer for {_CONNECT_TIMEOUT_S} s; start it and run "
            "again. Finished partitions are kept."
        )

    def _connected(self) -> Any:
        if self._client is None:
            import dask
            from distributed import Client

            dask.config.set({"distributed.scheduler.allowed-failures": self._settings.retries})
            if self._settings.address:
                self._client = _connect(self._settings.address)
            else:
                number = self._settings.num_workers if self._settings.kind == "ssh" else self.num_workers
                self._started = start_cluster(self._settings, number, self._scratch_dir, self._log_path)
                self._client = Client(self._started, set_as_default=False)
        return self._client


def _result(future: Any) -> Any:
    """The result of a future, or its exception; Dask gives none for a future that it has cancelled."""
    if future.status == "finished":
        return future.result()
    return future.exception() or TreeOfLifeError("the Dask scheduler was lost several times; run again. Finished partitions are kept.")


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | TreeOfLifeError:
    """Return expected errors as results, so that Dask neither retries them nor logs them on the worker."""
    try:
        return function(item)
    except TreeOfLifeError as error:
        return error


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, set_as_default=False, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise UsageError(f"cluster.address {address!r} does not answer ({error}); start the scheduler or leave it empty.") from None


def _raise_first(failures: dict[str, BaseException], num_items: int) -> None:
    if not failures:
        return
    name, error = min(failures.items())
    if isinstance(error, TreeOfLifeError):
        raise error
    others = f" ({len(failures)} of {num_items} partitions failed)" if len(failures) > 1 else ""
    raise TreeOfLifeError(
        f"partition {name} failed{others}: {type(error).__name__}: {error}. Finished ones are kept; run again."
    ) from error


@contextmanager
def open_cluster(settings: ClusterSettings, scratch_dir: Path) -> Iterator[Cluster]:
    """A cluster that is not started yet."""
    with Cluster(settings, scratch_dir) as cluster:
        yield cluster
