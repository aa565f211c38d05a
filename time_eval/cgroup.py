"""Peak memory and CPU seconds of a container, from the kernel's accounting of its control group (cgroup v1 or v2).

The challenge's command line has --rm, so the group is gone when the command returns. It is therefore sampled while the
container runs. The kernel's counters only grow, so the last sample misses at most what happened in one interval.
A group is charged only for the file pages that it was the first to read: where the image's libraries are in the page
cache already, its peak is far below the resident set of its processes. So both are kept.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
INTERVAL_S = 0.01

# Where Docker and Podman put containers, with the cgroupfs and the systemd driver, as root and rootless.
_PARENTS = ("docker", "libpod_parent", "system.slice", "machine.slice",
            "user.slice/user-*.slice/user@*.service/*.slice")
_CONTAINER = re.compile(r"(?:docker-|libpod-)?([0-9a-f]{64})(?:\.scope)?")


@dataclass(frozen=True)
class Usage:
    """What a container used; MB is 10^6 bytes. charged_mb: peak of what its group was charged for; resident_mb: peak
    resident set of its largest process, as getrusage has it; cpu_s: user + system, all processes."""

    charged_mb: float
    resident_mb: float
    cpu_s: float


def container_groups(root: Path = CGROUP_ROOT) -> dict[str, Path]:
    """Containers known to the kernel now: 64-digit id -> folder of the group (v1: that of the memory controller)."""
    top = root / "memory" if (root / "memory").is_dir() else root
    groups = {}
    for parent in (folder for pattern in _PARENTS for folder in top.glob(pattern)):
        try:
            names = os.listdir(parent)
        except OSError:
            continue
        groups.update((match[1], parent / match[0]) for name in names if (match := _CONTAINER.fullmatch(name)))
    return groups


def read_usage(group: Path, root: Path = CGROUP_ROOT) -> Usage:
    """Counters of one group. Raises OSError when the group is gone."""
    resident_mb = _resident_mb(group)
    if (root / "memory").is_dir():
        cpu = root / "cpuacct" / group.relative_to(root / "memory") / "cpuacct.usage"
        charged = int((group / "memory.max_usage_in_bytes").read_text())
        return Usage(charged / 1e6, resident_mb, int(cpu.read_text()) / 1e9)
    peak = group / "memory.peak"
    if not peak.exists():   # before Linux 5.19
        peak = group / "memory.current"
    stat = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return Usage(int(peak.read_text()) / 1e6, resident_mb, int(stat["usage_usec"]) / 1e6)


def _resident_mb(group: Path) -> float:
    """Largest VmHWM (peak resident set) of the processes in a group; 0 where none is left."""
    peaks_kib = [0]
    for pid in (group / "cgroup.procs").read_text().split():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue   # it ended meanwhile
        peaks_kib += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks_kib) * 1024 / 1e6


class GroupWatch:
    """Context manager that follows the one container started inside it; `usage` is None where the kernel showed none.

    container_id() is asked only when several containers appear at once; it returns the wanted id, or "" for unknown.
    """

    def __init__(self, container_id: Callable[[], str], root: Path = CGROUP_ROOT):
        self.usage: Usage | None = None
        self._container_id = container_id
        self._root = root
        self._before = container_groups(root).keys()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "GroupWatch":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()

    def _find(self) -> Path | None:
        new = {name: group for name, group in container_groups(self._root).items() if name not in self._before}
        if len(new) == 1:
            return next(iter(new.values()))
        return new.get(self._container_id()) if new else None

    def _follow(self) -> None:
        group = None
        while not self._done.wait(INTERVAL_S):
            group = group or self._find()
            if group is None:
                continue
            try:
                now = read_usage(group, self._root)
            except (OSError, ValueError, KeyError):
                continue   # the group is being made or taken down
            seen = self.usage or now
            self.usage = Usage(max(seen.charged_mb, now.charged_mb), max(seen.resident_mb, now.resident_mb),
                               max(seen.cpu_s, now.cpu_s))
