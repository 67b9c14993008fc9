# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places the deferred memory of a post-copy's copy while it runs: what ``criu lazy-pages`` is for, and what it gets wrong.

``criu restore --lazy-pages`` hands over a userfaultfd for each process, through ``lazy-pages.socket`` in its working
directory. From then on the kernel tells of every page that the copy touches and has not got, and of everything that makes a
page unwanted or puts it elsewhere: unmapping, ``madvise``, ``mremap``, forking. All happen all the time in ordinary programs.
``criu lazy-pages`` (4.2) loses sight of a request in flight whose area is changed in part, and waits for it for ever; it also
asks for ever for pages that it cannot place, be it that they are there, or that their area was split by ``mprotect``.

Here, whether a page is still wanted, and where, is asked when it has come, not when it is ordered:

* the kernel refuses to place anything while it has something to tell (EAGAIN): it is heard, and then asked again;
* a page that is there (EEXIST) is there; one whose place is gone (ENOENT) is wanted by nobody; a range that is not one mapping
  (ENOENT, too) is halved.

Pages are asked for in order, in chunks that double, and those that the copy waits for first. A connection to the source that
breaks, or does not answer, is replaced: the source calls again, and what has not come is asked for again. Only the source
can say that memory is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import queue
import selectors
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..protocol import protobuf
from ..protocol.words import sentence
from . import criu_image, deferred
from .lazy_pages import PagesLost
from .missing import Extent, Missing
from .page_server import ADD, CHUNK, CLOSE, COMMAND_BITS, GET, GONE, IOV, PRESENT
from .recall import CAME, KINDS, LEFT, RESTORED, Doubtful, Happened, Record
from .userfault import FAULT, FORK, PAGE, REMAP, REMOVE, UNMAP, Event, Userfault

ADDED = PRESENT << COMMAND_BITS | ADD
LONGEST_SENTENCE = 1 << 16  # bytes
#: What criu/uffd.c sends when all processes have got their memory.
ALL_RESTORED = 0x52535446
MOST_ADDRESS = 1 << 57  # with five levels of page tables
SMALLEST, LARGEST = 64 << 10, CHUNK
FAULT_PAGES = 8  # of a fault: the page and those behind it
#: A source that answers nothing for so long is called again.
STILL_SECONDS = 5.0
TICK_SECONDS = 0.25
RETRY_SECONDS = 0.002
#: For what the kernel wants to tell before a page can be placed, and does not.
EVENT_SECONDS = 2.0
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_GONE = (errno.ESRCH, errno.ENOSPC)  # the process has ended; kernels before 4.16 said the latter


class Asked(NamedTuple):
    """A range of the source's memory that is on its way."""

    pid: int
    start: int
    end: int


class Space:
    """An address space of the copy."""

    def __init__(self, number: int, pid: int, faults: Userfault, missing: Missing) -> None:
        self.number, self.pid, self.faults, self.missing = number, pid, faults, missing
        self.gone = False


def deferred_pages(images: str, pid: int) -> Missing:
    """Return what an image leaves to us. :param pid: in the container.

    :raises OSError: there is no such page map; :raises PagesLost: it is none, and nobody knows what is missing.
    """
    with open(deferred.page_map(images, pid), "rb") as file:
        image = file.read()
    try:
        entries = [protobuf.decode(message) for _, message in criu_image.messages(image)][1:]
        return Missing(filter(None, map(_deferred_extent, entries)))
    except protobuf.BadMessage as error:
        raise PagesLost(f"the page map that the source has sent for process {pid} is damaged: {error}") from error


def _deferred_extent(entry: protobuf.Fields) -> Extent | None:
    """Return what an entry of a page map leaves to us. :raises BadMessage: it is none."""
    address, flags, pages = (entry.get(key, 0) for key in (deferred.ADDRESS, deferred.FLAGS, deferred.PAGES))
    if not (isinstance(address, int) and isinstance(flags, int) and isinstance(pages, int)):
        raise protobuf.BadMessage("an entry has text where a number is needed")
    if not flags & deferred.LAZY:
        return None
    if address % PAGE or not 0 < pages <= (MOST_ADDRESS - address) // PAGE:
        raise protobuf.BadMessage("an entry names no range of memory")
    return Extent(address, address + pages * PAGE, address)


class Filler:
    """Fills the address spaces that CRIU hands over, until nothing is missing.

    :ivar received: bytes of memory that came from the source. :ivar placed: bytes of it that were missing, and are there now.
    """

    def __init__(
        self,
        images: str,
        record: Record,
        sources: queue.Queue[ssl.SSLSocket],
        keep: Callable[[int, int | None], None],
        report: Callable[[dict], None],
    ) -> None:
        """Then call :meth:`await_restore` or :meth:`go_on`.

        :param record: where is written down what happens.
        :param sources: connections of the source, of which the latest counts.
        :param keep: is told every descriptor that must outlive this process, under its number, and None when it may go.
        :param report: is told how it goes; ``restored`` says that what came is written down, and another could go on.
        """
        self._images, self._sources, self._keep, self._tell = images, sources, keep, report
        self._record = record
        self._last = 0  # number of an address space
        self._selector = selectors.DefaultSelector()
        self._spaces: list[Space] = []
        self._restored = False
        self._remote: socket.socket | None = None
        self._out = b""
        self._head = bytearray()
        self._chunk = mmap.mmap(-1, LARGEST)
        self._memory = ctypes.addressof(ctypes.c_char.from_buffer(self._chunk))
        self._came = 0  # bytes of the range that is arriving
        self._asked: deque[Asked] = deque()
        self._plan: deque[Asked] = deque()
        self._urgent: deque[Asked] = deque()
        self._faulted: dict[tuple[int, int], None] = {}  # pages of the source that somebody waits for
        self._later: list[tuple[Space, int]] = []
        self._window = SMALLEST
        self._more = False  # OpenSSL may have read more than we have taken
        self._heard = self._progress = self._reported = time.monotonic()
        self._rate_from = (self._progress, 0)
        self._rate = 0.0
        self.received = self.placed = 0
        self.problem = ""

    def await_restore(self, restore: socket.socket) -> None:
        """Hear CRIU's restore, when it connects there."""
        self._selector.register(restore, selectors.EVENT_READ, lambda: self._restore_comes(restore))

    def go_on(self, descriptors: Mapping[int, int]) -> None:
        """Go on where a process was killed. :param descriptors: userfaultfds by the numbers of their address spaces.

        :raises recall.Doubtful: it cannot be known where that was.
        """
        known: dict[int, tuple[int, Missing]] = {}
        for kind, number, first, second, third in self._record.all():
            self._last = max(self._last, number, first if kind == FORK else 0)
            if kind == CAME:
                known[number] = first, deferred_pages(self._images, first)
            elif kind == FORK:
                known[first] = known[number][0], known[number][1].duplicate()
            elif kind == LEFT:
                known.pop(number, None)
            elif kind == REMAP:
                known[number][1].move(first, first + third, second)
            elif kind in (REMOVE, UNMAP):
                known[number][1].cut(first, second)
        if known.keys() - descriptors.keys():
            raise Doubtful("a descriptor of it is not there any more")
        self._restored = True
        for number in descriptors.keys() - known.keys():  # complete: it was killed before it let go of this one
            self._keep(number, None)
            os.close(descriptors[number])
        for number, (pid, missing) in known.items():
            space = Space(number, pid, Userfault(descriptors[number]), missing)
            self._add(space)
            space.faults.wake_all()  # who waits for a page has told the one that was killed: it is to tell us

    @property
    def left(self) -> int:
        """Bytes that are missing."""
        return sum(space.missing.bytes for space in self._spaces)

    def run(self) -> None:
        """Fill. :raises PagesLost: the source says that the memory is gone, or the restore has been given up."""
        while not (self._restored and not self._spaces):
            self._change_source()
            self._ask()
            soon = 0 if self._more else RETRY_SECONDS if self._later else TICK_SECONDS
            for key, _ in self._selector.select(soon):
                key.data()  # may find that another's has closed it
            if self._more:
                self._hear_source()
            later, self._later = self._later, []
            for space, page in later:
                self._fault(space, page)
            self._drop_complete()
            self._report()
        self._report(True)
        self._take_leave()

    # -- the restore ------------------------------------------------------------------------------------------------

    def _restore_comes(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self._selector.unregister(listener)
        listener.close()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear_restore(connection))

    def _hear_restore(self, connection: socket.socket) -> None:
        """Hear a process's number, then its userfaultfd; at the end of all a word. A zombie has a negative number alone."""
        word = connection.recv(4, socket.MSG_WAITALL)
        if len(word) < 4:
            self._selector.unregister(connection)
            connection.close()
            if not self._restored:
                raise PagesLost("the restore was given up before all memory was handed over")
            return
        (pid,) = struct.unpack("=i", word)
        if pid == ALL_RESTORED:
            for space in self._spaces:
                self._prepare(space)
            self._record.add(Happened(RESTORED, 0))
            self._restored = True
            self._report(True)  # the destination's vote waits for it
        elif pid > 0:
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
            number = self._new(descriptors[0])
            self._record.add(Happened(CAME, number, pid))
            self._add(Space(number, pid, Userfault(descriptors[0]), deferred_pages(self._images, pid)))
            self._report(True)  # before the verdict, which asks whether memory is missing that no source serves

    @staticmethod
    def _prepare(space: Space) -> None:
        """Give the mappings whose pages are missing what they had at the source: an ``anon_vma``. Nothing runs yet.

        A mapping gets it with its first page. One that is split before that (``mprotect``) gets one for each part, as pages
        come, and the parts never become one again: an mremap(2) of the whole fails then, as it never did at the source.
        """
        for extent in list(space.missing):
            at, length = extent.start, extent.end - extent.start
            while at < extent.end:
                number = space.faults.prepare(at, length)
                if number == errno.ENOENT and length > PAGE:
                    length = max(PAGE, length // 2 // PAGE * PAGE)  # two mappings, or none
                else:
                    at += length
                    length = extent.end - at

    def _new(self, descriptor: int) -> int:
        """Return the number of a new address space; its descriptor is kept."""
        self._last += 1
        self._keep(self._last, descriptor)
        return self._last

    def _add(self, space: Space) -> None:
        os.set_blocking(space.faults.fd, False)
        self._spaces.append(space)
        self._selector.register(space.faults, selectors.EVENT_READ, lambda: self._events(space))
        self._plan.extend(
            Asked(space.pid, extent.image, extent.image + extent.end - extent.start) for extent in space.missing
        )

    def _remove(self, space: Space) -> None:
        if not space.gone:
            space.gone = True
            self._spaces.remove(space)
            self._selector.unregister(space.faults)
            self._let_go(space)

    def _let_go(self, space: Space) -> None:
        self._record.add(Happened(LEFT, space.number))
        self._keep(space.number, None)
        space.faults.close()

    def _drop_complete(self) -> None:
        if self._restored:
            for space in [space for space in self._spaces if not space.missing.bytes]:
                self._remove(space)

    # -- what the copy does -----------------------------------------------------------------------------------------

    def _events(self, space: Space) -> bool:
        """Take in what has happened in an address space; return whether anything had."""
        if space.gone:
            return False
        with self._record.hearing():
            events = [self._noted(space, event) for event in space.faults.events()]
        for event in events:
            if event.kind == FAULT:
                self._fault(space, event.second & -PAGE)
            else:
                self._changed(space, event)
        return bool(events)

    def _noted(self, space: Space, event: Event) -> Event:
        """Write an event down. Of a fork, return it with the number of the child's space as the second."""
        if event.kind == FORK:
            event = event._replace(second=self._new(event.first))
            self._record.add(Happened(FORK, space.number, event.second))
        elif event.kind in KINDS:
            self._record.add(Happened(event.kind, space.number, event.first, event.second, event.third))
        return event

    def _changed(self, space: Space, event: Event) -> None:
        before = self.left
        faults, missing = space.faults, space.missing
        if event.kind == FORK:
            child = Space(event.second, space.pid, Userfault(event.first), missing.duplicate())
            if missing.bytes:
                self._add(child)
            else:
                self._let_go(child)
        elif event.kind == REMAP:
            missing.move(event.first, event.first + event.third, event.second)
            faults.wake(event.first, event.first + event.third)
        elif event.kind in (REMOVE, UNMAP):
            # What was forgotten stays ours, and is empty for who touches it. Were it given back to the kernel, it would be a
            # mapping of its own, and an mremap(2) of the whole would fail, as it never does where nobody watches.
            missing.cut(event.first, event.second)
            faults.wake(event.first, event.second)
        if self.left != before:
            self._progress = time.monotonic()

    def _fault(self, space: Space, page: int) -> None:
        """Somebody waits for a page: ask for it; one that the source does not have either is an empty one."""
        if space.gone:
            return
        extent = space.missing.at(page)
        if extent:
            wanted = extent.part(page, page + FAULT_PAGES * PAGE)
            self._faulted[space.pid, wanted.image] = None
            if not any(each.pid == space.pid and each.start <= wanted.image < each.end for each in self._asked):
                self._urgent.append(Asked(space.pid, wanted.image, wanted.image + wanted.end - wanted.start))
            self._window = SMALLEST
            return
        number = space.faults.zero(page)
        if number in _GONE:
            self._remove(space)
        elif number == errno.EAGAIN:
            self._later.append((space, page))
        elif number in (errno.ENOENT, errno.EEXIST):
            space.faults.wake(page, page + PAGE)
        elif number:
            self.problem = f"an empty page could not be placed: {os.strerror(number)}"
            self._later.append((space, page))

    # -- the source -------------------------------------------------------------------------------------------------

    def _change_source(self) -> None:
        """Take a new connection of the source, and part with one that does not answer."""
        now = time.monotonic()
        if self._remote and self._asked and now > self._heard + STILL_SECONDS:
            self._part(f"the source has not answered for {STILL_SECONDS:g} s")
        newest = None
        with contextlib.suppress(queue.Empty):
            while True:
                newest = self._sources.get_nowait()
        if newest is None:
            return
        self._part("")
        newest.setblocking(False)
        self._remote, self._heard, self._more = newest, now, True
        self._selector.register(newest, selectors.EVENT_READ, self._hear_source)
        self._plan.clear()
        self._urgent = deque(Asked(pid, page, page + PAGE) for pid, page in self._faulted)
        self._report(True)

    def _part(self, reason: str) -> None:
        """Let the connection go; whatever was asked for is asked for again at the next."""
        self.problem = reason
        if self._remote is None:
            return
        self._selector.unregister(self._remote)
        self._remote.close()
        self._remote, self._more, self._out, self._came = None, False, b"", 0
        self._head.clear()
        self._asked.clear()
        self._report(True)

    def _ask(self) -> None:
        """Order what somebody waits for, and of the rest as much as is wanted on its way."""
        if self._remote is None:
            return
        while self._urgent:
            self._order(self._urgent.popleft())
        if self._restored:
            if not (self._asked or self._plan) and self.left:
                for space in self._spaces:
                    self._plan.extend(
                        Asked(space.pid, extent.image, extent.image + extent.end - extent.start)
                        for extent in space.missing
                    )
            on_its_way = sum(each.end - each.start for each in self._asked)
            while self._plan and on_its_way < self._window:
                pid, start, end = self._plan.popleft()
                if end - start > self._window:
                    self._plan.appendleft(Asked(pid, start + self._window, end))
                    end = start + self._window
                for part in self._wanted(pid, start, end):
                    self._order(part)
                    on_its_way += part.end - part.start
        self._flush()

    def _wanted(self, pid: int, start: int, end: int) -> Iterator[Asked]:
        """Yield what is still missing of a range, in whatever address space, and has not been ordered."""
        begin = start
        parts = sorted(
            (extent.image, extent.image + extent.end - extent.start)
            for space in self._spaces
            if space.pid == pid
            for extent in space.missing.of_image(start, end)
        )
        for low, high in parts:
            low = max(low, begin)
            if low < high:
                yield Asked(pid, low, high)
                begin = high

    def _order(self, what: Asked) -> None:
        if not self._asked:
            self._heard = time.monotonic()
        self._asked.append(what)
        self._out += IOV.pack(GET, (what.end - what.start) // PAGE, what.start, what.pid)

    def _flush(self) -> None:
        while self._out and self._remote:
            try:
                self._out = self._out[self._remote.send(self._out) :]
            except WAIT:
                return
            except OSError as error:
                self._part(f"the connection to the source broke: {error}")

    def _hear_source(self) -> None:
        """Receive until there is no more for now, or a range is complete and placed."""
        self._more = False
        while self._remote:
            try:
                if len(self._head) < IOV.size:
                    data = self._remote.recv(IOV.size - len(self._head))
                    count = len(data)
                    self._head += data
                else:
                    count = self._remote.recv_into(memoryview(self._chunk)[self._came : self._coming()])
                    self._came += count
                    self.received += count
            except WAIT:
                return
            except OSError as error:
                self._part(f"the connection to the source broke: {error}")
                return
            if not count:
                self._part("the source closed the connection")
                return
            self._heard = time.monotonic()
            if len(self._head) == IOV.size and self._came == self._coming():
                self._place()
                self._more = True
                return

    def _coming(self) -> int:
        """Return the length of what follows the head that has been read. :raises PagesLost: the source says that it is over."""
        command, pages, address, pid = IOV.unpack(self._head)
        if command == GONE:
            if self._came == pages:
                raise PagesLost(sentence(bytes(self._chunk[:pages]).decode(errors="replace")))
            if pages > LONGEST_SENTENCE:
                raise PagesLost("the source says that the memory is gone, and not why")
            return pages
        want = self._asked[0] if self._asked else Asked(0, 0, 0)
        if (command, pid, address, pages * PAGE) != (ADDED, want.pid, want.start, want.end - want.start):
            raise PagesLost("the source answers something else than it was asked: run prepare.yml again")
        return want.end - want.start

    def _place(self) -> None:
        """Put what has come wherever it is missing."""
        what, self._came = self._asked.popleft(), 0
        self._head.clear()
        for page in range(what.start, what.end, PAGE):
            self._faulted.pop((what.pid, page), None)
        before, done = self.left, set()
        while True:
            spaces = [space for space in self._spaces if space.pid == what.pid and id(space) not in done]
            if not spaces:  # one that was forked off meanwhile has its turn, too
                break
            done.add(id(spaces[0]))
            self._place_in(spaces[0], what)
        if self.left < before:
            self._progress = time.monotonic()
        self._window = min(self._window * 2, LARGEST)

    def _place_in(self, space: Space, what: Asked) -> None:
        deadline = time.monotonic() + EVENT_SECONDS
        absent = 0
        length = what.end - what.start
        while not space.gone and (extents := space.missing.of_image(what.start, what.end)):
            start, end, at = extents[0]
            length = min(length, end - start)
            placed, number = space.faults.copy(start, self._memory + at - what.start, length)
            if placed:
                self.placed += placed
                space.missing.cut(start, start + placed)
            if not number:
                length, absent = what.end - what.start, 0
                continue
            if number in _GONE:
                self._remove(space)
            elif number == errno.EEXIST:
                space.missing.cut(start, start + PAGE)
                space.faults.wake(start, start + PAGE)
            elif number == errno.ENOENT and length > PAGE:
                length = max(PAGE, length // 2 // PAGE * PAGE)  # two mappings, or none
            elif number == errno.ENOENT and absent < 2:
                absent += 1  # it may just have been moved: the kernel tells before it looks again
                self._events(space)
            elif number == errno.ENOENT:
                absent = 0
                space.missing.cut(start, start + PAGE)
                space.faults.wake(start, start + PAGE)
            elif number == errno.EAGAIN:
                if not self._events(space) and not placed:
                    time.sleep(RETRY_SECONDS / 10)
                if time.monotonic() > deadline:
                    self.problem = "the kernel lets no page be placed, and does not say why"
                    return
            else:
                self.problem = f"a page could not be placed: {os.strerror(number)}"
                time.sleep(TICK_SECONDS)
                return

    def _take_leave(self) -> None:
        """Tell the source that it is not needed any more."""
        if self._remote is None:
            return
        with contextlib.suppress(OSError):
            self._remote.setblocking(True)
            self._remote.settimeout(STILL_SECONDS)
            self._remote.sendall(self._out + IOV.pack(CLOSE, 0, 0, 0))

    # -- how it goes ------------------------------------------------------------------------------------------------

    def _report(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now < self._reported + TICK_SECONDS:
            return
        self._reported = now
        since, received = self._rate_from
        if now - since >= 1.0:
            self._rate = (self.received - received) / (now - since)
            self._rate_from = (now, self.received)
        self._tell(
            {
                "restored": self._restored,
                "left": self.left,
                "received": self.received,
                "placed": self.placed,
                "rate": round(self._rate),
                "still": round(now - self._progress, 3) if self.left else 0.0,
                "connected": self._remote is not None,
                "problem": self.problem,
            }
        )
