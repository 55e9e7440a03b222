"""Jobs in worker processes: what is finished stays finished when any of them is stopped or killed.

Each worker is a fresh process (spawn), with its own OpenGL context. It notices at its next progress report that its
parent is gone, and ends.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar, cast

Job = TypeVar("Job")
Result = TypeVar("Result")
Work = Callable[[Job, Callable[[float], None]], Result]
"""Does one job, and reports the share that is done (0 to 1) now and then. Must be importable by name."""


class WorkerFailed(RuntimeError):
    """A job raised an error, or its process died."""


class Workers(Generic[Job, Result]):
    """A pool of processes, each of which does one job at a time.

    Args:
        count: Number of processes.
        work: What they do.

    Raises:
        ValueError: no worker is asked for.
    """

    def __init__(self, count: int, work: Work[Job, Result]) -> None:
        if count < 1:
            raise ValueError(f"at least one worker is needed, got {count}")
        self._count, self._work = count, work

    def run(
        self,
        next_job: Callable[[], Job | None],
        finished: Callable[[Job, Result], None],
        progress: Callable[[float], None],
    ) -> None:
        """Do jobs until there are no more.

        Args:
            next_job: Gives the next job, or None while there is none; asked again after each job that finishes.
            finished: Told each result.
            progress: Told the jobs that are done in part, as a sum of shares.

        Raises:
            WorkerFailed: an error in a worker; the others are stopped.
        """
        context = multiprocessing.get_context("spawn")
        idle: list[Connection] = []
        busy: dict[Connection, Job] = {}
        shares: dict[Connection, float] = {}
        processes: list[BaseProcess] = []
        try:
            with _sharing_cores(self._count):
                for _ in range(self._count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
                    process.start()
                    theirs.close()  # so that the worker's death closes the pipe
                    processes.append(process)
                    idle.append(ours)
            while True:
                while idle and (job := next_job()) is not None:
                    connection = idle.pop()
                    connection.send(job)
                    busy[connection] = job
                if not busy:
                    return
                for ready in wait(list(busy)):
                    connection = cast(Connection, ready)
                    try:
                        kind, value = connection.recv()
                    except EOFError as error:
                        raise WorkerFailed(f"a worker died while it did {busy[connection]}") from error
                    if kind == "failed":
                        raise WorkerFailed(f"{busy[connection]} failed:\n{value}")
                    shares[connection] = value if kind == "progress" else 0.0
                    if kind == "done":
                        idle.append(connection)
                        finished(busy.pop(connection), value)
                        shares.pop(connection)
                    progress(sum(shares.values()))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()


@contextmanager
def _sharing_cores(processes: int) -> Generator[None]:
    """Processes that are started within have each an equal share of the cores, unless the user chose otherwise.

    With more threads than cores, those of OpenMP wait for each other in loops that cost all of them time. Their number
    is read when numpy or torch is imported, which in a worker comes before `_serve`: it must be inherited.
    """
    share = max(1, (os.cpu_count() or 1) // processes)
    chosen = {"OMP_NUM_THREADS": str(share), "LP_NUM_THREADS": "1"}  # the latter is Mesa's software renderer's
    unset = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


def _serve(connection: Connection, work: Callable[..., object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops its workers
    try:
        while True:
            job = connection.recv()
            try:
                result = work(job, lambda share: connection.send(("progress", share)))
            except ConnectionError:
                raise
            except Exception:  # any error is the parent's to report
                connection.send(("failed", traceback.format_exc()))
            else:
                connection.send(("done", result))
    except (EOFError, ConnectionError):
        pass  # the parent is gone
