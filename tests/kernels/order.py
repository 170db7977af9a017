"""A device that knows what may run at the same time, and refuses what then touches the same memory.

Lanes and host are clocks (Lamport's vector kind): an operation happens after all that its lane, the host that asked for
it, and the events it waited for have seen. Two operations on one buffer, one of them writing, must be in that order.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from c2i_fast.kernels.host import HostBuffer, HostDevice

PARTIES = ("host", "compute", "copy")


class RaceError(AssertionError):
    """Two operations on the same memory in no order."""


class PinnedTwin(HostBuffer):
    """Pinned memory that tells its device when the host touches it."""

    def __init__(self, device, nbytes):
        super().__init__(nbytes)
        self._device = device

    def array(self, shape, dtype):
        self._device.touch("host", writes=[self.pointer])
        return super().array(shape, dtype)


class OrderedDevice(HostDevice):
    """`HostDevice`, with the order of everything checked; `log` is what was asked, by name."""

    def __init__(self):
        super().__init__()
        self.log = []
        self.clocks = {party: dict.fromkeys(PARTIES, 0) for party in PARTIES}
        self._starts, self._buffers, self._seen = [], {}, {}

    # ------------------------------------------------------------------------------------------------ memory

    def allocate(self, nbytes):
        return self._known(super().allocate(nbytes))

    def pinned(self, nbytes):
        return self._known(PinnedTwin(self, nbytes))

    def known(self, buffer):
        """Lets a buffer of the network's be watched as well."""
        return self._known(buffer)

    def _known(self, buffer):
        self._buffers[buffer.pointer] = buffer
        self._starts = sorted(self._buffers)
        self._seen[buffer.pointer] = []
        return buffer

    def _home(self, address):
        place = bisect_right(self._starts, address) - 1
        start = self._starts[place] if place >= 0 else None
        return start if start is not None and address < start + self._buffers[start].nbytes else None

    def touch(self, party, reads=(), writes=()):
        """Checks an operation against all before it on the same memory, and notes it."""
        if party != "host":
            self._join(party, self.clocks["host"])
        self.clocks[party][party] += 1
        now = dict(self.clocks[party])
        touched = {start: False for address in reads if (start := self._home(address)) is not None}
        touched |= {start: True for address in writes if (start := self._home(address)) is not None}
        for start, written in touched.items():
            for other, when, wrote in self._seen[start]:
                if (written or wrote) and now[other] < when:
                    raise RaceError(f"{party} and {other} use the same memory at the same time")
            self._seen[start].append((party, now[party], written))

    def _join(self, party, other):
        mine = self.clocks[party]
        for name, value in other.items():
            mine[name] = max(mine[name], value)

    # ------------------------------------------------------------------------------------------------ operations

    def upload(self, array, into, offset=0):
        self.log.append("upload")
        self.touch("compute", writes=[into.pointer])
        super().upload(array, into, offset)

    def download(self, buffer, shape, dtype):
        self.log.append("download")
        self.touch("compute", reads=[buffer.pointer])
        self._join("host", self.clocks["compute"])
        return super().download(buffer, shape, dtype)

    def send(self, source, into, nbytes):
        self.log.append("send")
        self.touch("copy", reads=[source.pointer], writes=[into.pointer])
        super().send(source, into, nbytes)

    def fetch(self, source, into, nbytes):
        self.log.append("fetch")
        self.touch("compute", reads=[source.pointer], writes=[into.pointer])
        super().fetch(source, into, nbytes)

    def copy(self, source, into, nbytes):
        self.do(lambda: self.touch("compute", reads=[source], writes=[into]))
        super().copy(source, into, nbytes)

    def _execute(self, launch):
        addresses = [value for value in launch.arguments if not isinstance(value, np.generic)]
        self.log.append(launch.source)
        self.touch("compute", reads=addresses[:-1], writes=addresses[-1:])
        super()._execute(launch)

    def mark(self, lane):
        self.log.append(f"mark {lane}")
        self._join(lane, self.clocks["host"])
        return dict(self.clocks[lane])

    def after(self, lane, event):
        self.log.append(f"{lane} waits")
        self._join(lane, event)

    def wait(self, event):
        self.log.append("host waits")
        self._join("host", event)

    def synchronise(self):
        for lane in ("compute", "copy"):
            self._join("host", self.clocks[lane])
