# SPDX-License-Identifier: BSD-3-Clause
"""What `ucxx.testing` has for tests with processes."""
from __future__ import annotations

import queue
import time
import traceback
from typing import Any

from weft.faces import _lacks


def run_in_subprocess(target: Any, error_queue: Any, *args: Any, **kwargs: Any) -> None:
    """Calls target; the traceback of what it raises goes to error_queue, too."""
    try:
        target(*args, **kwargs)
    except Exception:
        error_queue.put(traceback.format_exc())
        raise


def join_processes(processes: list[Any], timeout: float) -> None:
    """Joins them all within timeout seconds."""
    end = time.monotonic() + timeout
    for p in processes:
        p.join(timeout=max(end - time.monotonic(), 0))


def terminate_process(process: Any, kill_wait: float = 3.0, error_queue: Any = None) -> None:
    """Kills a process that still runs. RuntimeError when it did not end with 0, with the traceback that error_queue has."""
    if process.is_alive():
        process.kill()
    process.join(kill_wait)
    if process.is_alive():
        process.close()                  # ValueError: it cannot be killed
    elif process.exitcode != 0:
        text = f"Process did not exit cleanly (exit code: {process.exitcode})"
        try:
            text += f"\n\nSubprocess traceback:\n{error_queue.get_nowait()}" if error_queue is not None else ""
        except queue.Empty:
            pass
        raise RuntimeError(text)


def wait_requests(worker: Any, progress_mode: str, requests: Any) -> None:
    """Waits until all requests of the low level have ended; what failed first raises. progress_mode: "blocking" sleeps in the worker,
    "polling" moves it on, and in any other somebody else does."""
    requests = requests if isinstance(requests, list) else [requests]
    while not all([r.completed for r in requests]):
        if progress_mode == "blocking":
            worker.progress_worker_event()
        elif progress_mode == "polling":
            worker.progress()
    for r in requests:
        r.check_error()

_lacks.said_by(__name__)
