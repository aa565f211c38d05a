"""Many cases by several processes: each takes the next case that none has taken."""

import multiprocessing
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator

_INDEX = struct.Struct("<I")
_DONE = struct.Struct("<I?")


Work = Callable[[int, Iterator[int]], Iterator[tuple[int, bool]]]


def spread(count: int, jobs: int, work: Work) -> tuple[dict[int, bool], set[int]]:
    """Do the tasks 0..count - 1 in `jobs` forked processes.

    work: run in each of them, with its number and the tasks that fall to it, one by one; yields each with whether it
    succeeded. It opens all that it needs itself: call this before anything has started threads.

    Returns what became of each task, True or False, and the exit statuses of the processes: 0, what `work` gave to
    sys.exit, or the negative number of the signal that ended one. A task that a process had taken when it died is missing;
    so are those that nobody was left to take. On KeyboardInterrupt the processes are interrupted too, and waited for.
    """
    # Two pipes, for they need no lock, which a process that is killed would keep: whole records are read and written at once.
    tasks_out, tasks_in = os.pipe()
    done_out, done_in = os.pipe()

    def run(number):
        # The terminal's Ctrl-C goes to all processes, but only the first one tells the others to stop, and once.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        os.close(tasks_in)
        os.close(done_out)
        try:
            for index, succeeded in work(number, _taken(tasks_out)):
                os.write(done_in, _DONE.pack(index, succeeded))
        except KeyboardInterrupt:
            os._exit(130)

    processes = [multiprocessing.get_context("fork").Process(target=run, args=(number,)) for number in range(jobs)]
    for process in processes:
        process.start()
    os.close(tasks_out)
    os.close(done_in)
    threading.Thread(target=_hand_out, args=(tasks_in, count), daemon=True).start()
    done = {}
    try:
        with os.fdopen(done_out, "rb") as stream:
            while record := stream.read(_DONE.size):
                index, succeeded = _DONE.unpack(record)
                done[index] = succeeded
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()
    return done, {process.exitcode for process in processes}


def _hand_out(tasks_in: int, count: int) -> None:
    with os.fdopen(tasks_in, "wb", buffering=0) as stream:
        try:
            for index in range(count):
                stream.write(_INDEX.pack(index))
        except BrokenPipeError:
            pass  # nobody is left to take them


def _taken(tasks_out: int) -> Iterator[int]:
    while record := os.read(tasks_out, _INDEX.size):
        yield _INDEX.unpack(record)[0]
