# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-copy with the real CRIU and a kernel that tracks written memory: rounds, a dump that builds on them, a restore.

Run as root by ``make vm-test``, in a virtual machine. Everything but the channel is what the proxies use: a process that never
stops writing is sent ahead in rounds, frozen, dumped by a prepared CRIU, killed, and restored from what the receiver has
stored. It has to find all of its memory as it left it. A second process lives through rounds whose destination goes away. A
third is moved in a container of runc.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _criu
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from relocate_proxy.files.cargo import Receiver
from relocate_proxy.host import paths
from relocate_proxy.memory.image_cargo import ImageReceiver, ImageSender
from relocate_proxy.memory.prepared_dump import PreparedDump
from relocate_proxy.memory.rounds import PreCopy
from relocate_proxy.protocol.channel import ChannelLost

SECONDS = 60.0
HERE = Path(__file__).parent
FREEZER = Path("/sys/fs/cgroup/freezer")


class Line:
    """A channel's end within this process; it is lost after ``lives`` messages."""

    def __init__(self, inbox: queue.Queue[dict], outbox: queue.Queue[dict], lives: int = sys.maxsize) -> None:
        self._inbox, self._outbox, self._lives = inbox, outbox, lives

    def send(self, kind: str, raw: bytes = b"", **fields: Any) -> None:
        """Send a message."""
        self._lives -= 1
        if self._lives < 0:
            raise ChannelLost("the destination is gone")
        self._outbox.put({"kind": kind, "raw": bytes(raw), **fields})

    def receive(self) -> dict:
        """Return the next message."""
        return self._inbox.get(timeout=SECONDS)


class Writer:
    """The process that is moved, in a cgroup of its own."""

    def __init__(self, answer: Path, pid: int, group: freezer.Freezer) -> None:
        """Be a process that runs; it writes its ``answer`` when it begins, and whenever it is asked."""
        self.answer, self.pid, self.group = answer, pid, group
        self._heard()

    @classmethod
    def begin(cls, directory: Path) -> Writer:
        """Start one."""
        answer = directory / "verdict"
        group = freezer.Freezer(str(FREEZER / f"writer-{directory.name}"), 1)
        Path(group.directory).mkdir()
        process = subprocess.Popen(
            [sys.executable, str(HERE / "writer.py"), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: Path(group.directory, "cgroup.procs").write_text(str(os.getpid())),
        )
        return cls(answer, process.pid, group)

    def _heard(self) -> tuple[str, int]:
        deadline = time.monotonic() + SECONDS
        while not self.answer.exists():
            assert time.monotonic() < deadline, "the writer says nothing"
            time.sleep(0.05)
        word, turn = self.answer.read_text().split()
        self.answer.unlink()
        return word, int(turn)

    def ask(self) -> int:
        """Have it look at its memory; return the turn that it is in."""
        os.kill(self.pid, signal.SIGUSR1)
        word, turn = self._heard()
        assert word == "right", "its memory is not what it was"
        return turn

    def end(self) -> None:
        """Kill it, and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        freezer.thaw(self.group)
        os.waitpid(self.pid, 0)


def directories(base: Path) -> tuple[Path, Path, Path]:
    """Return images at the source, work, images at the destination: made."""
    made = base / "images", base / "work", base / "there"
    for each in made:
        each.mkdir(mode=0o700)
    return made


def ends(base: Path, there: Path) -> tuple[Any, threading.Thread]:
    """Return the sender's end of a line, and what stores at its other end until it is told that this is all."""
    way, back = queue.Queue[dict](), queue.Queue[dict]()
    other: Any = Line(way, back)
    receiving = threading.Thread(target=Receiver(other, [ImageReceiver(str(there))]).receive)
    receiving.start()
    return Line(back, way), receiving


def freeze_and_send(
    writer: Writer, command: list[str], images: Path, work: Path, line: Any, receiving: threading.Thread
) -> None:
    """What the source does in the freeze; return when all is over there. The process stays frozen."""
    prepared = PreparedDump(command, str(images), str(work))
    freezer.freeze(writer.group)
    status, words = prepared.begin().wait()
    assert status == 0, f"{words}\n{(work / 'dump.log').read_text()}"
    prepared.close()
    ImageSender(line, str(images)).send_rest()
    line.send("end")
    receiving.join()
    assert freezer.is_frozen(writer.group)


def moves(base: Path) -> None:
    """Rounds, dump, restore; what is restored goes on where the original was stopped."""
    images, work, there = directories(base)
    writer = Writer.begin(base)
    writer.ask()
    line, receiving = ends(base, there)
    commands: list[list[str]] = []
    rounds = PreCopy(line, writer.pid, str(images), str(work), commands)
    rounds.run()
    for number, each in enumerate(rounds.rounds, 1):
        print(f"round {number}: {each.bytes / 2**20:.2f} MiB, stopped for {each.stopped_ms:.1f} ms", flush=True)
    assert len(rounds.rounds) > 1, "no memory is followed"
    assert rounds.rounds[0].bytes > 24 << 20 and rounds.rounds[-1].bytes < rounds.rounds[0].bytes / 4
    turn = writer.ask()
    command = _criu.dump_command(
        writer.pid, str(images), str(work), freeze_cgroup=writer.group.directory, previous=rounds.last
    )
    freeze_and_send(writer, command, images, work, line, receiving)
    pages = sum(path.stat().st_size for path in there.glob("pages-*"))
    print(f"dump: {pages / 2**20:.2f} MiB of pages", flush=True)
    assert 0 < pages < rounds.rounds[0].bytes / 4
    writer.end()
    shutil.rmtree(images)  # nothing of it is used over there
    restore = _criu.restore_command(str(there), str(work), str(base / "pid"))
    done = subprocess.run(restore, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (work / "restore.log").read_text()
    assert int((base / "pid").read_text()) == writer.pid
    first = writer.ask()
    time.sleep(1)
    second = writer.ask()
    assert turn <= first < second, (turn, first, second)
    os.kill(writer.pid, signal.SIGKILL)
    print(f"restored: its memory is right, and it goes on (turn {turn} before, {first} and {second} after)", flush=True)
    for each in [*commands, command, restore]:
        print(" ".join(each), flush=True)


def in_a_container(base: Path) -> None:
    """The same with what a runtime puts around a process: namespaces, hidden paths, bind mounts, runc's own restore."""
    images, work, there = directories(base)
    bundle = base / "bundle"
    root = bundle / "rootfs"
    root.mkdir(parents=True)
    subprocess.run(["mount", "--bind", "/", str(root)], check=True)
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    answer = root / "var/tmp/verdict"
    shutil.copy(HERE / "writer.py", answer.with_name("writer.py"))
    config["process"].update(args=["python3", "/var/tmp/writer.py", "/var/tmp/verdict"], terminal=False)
    config["root"]["readonly"] = False
    # files only: for a hidden directory the destination's proxy gives CRIU a place, which runc's restore alone does not
    config["linux"]["maskedPaths"] = [path for path in config["linux"]["maskedPaths"] if not Path(path).is_dir()]
    (bundle / "config.json").write_text(json.dumps(config))
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.run(["runc", "run", "--detach", "--bundle", str(bundle), "before"], **quiet, check=True)
    pid = json.loads(subprocess.run(["runc", "state", "before"], capture_output=True, check=True).stdout)["pid"]
    writer = Writer(answer, pid, freezer.freezer_of(pid))
    writer.ask()
    line, receiving = ends(base, there)
    rounds = PreCopy(line, pid, str(images), str(work), [])
    rounds.run()
    turn = writer.ask()
    externals = _criu.mount_externals(
        Path(f"/proc/{pid}/mountinfo").read_text(), _criu.bundle_masked(config), _criu.bundle_binds(config)
    )
    command = _criu.dump_command(
        pid,
        str(images),
        str(work),
        root=str(root),
        externals=externals,
        freeze_cgroup=writer.group.directory,
        previous=rounds.last,
    )
    freeze_and_send(writer, command, images, work, line, receiving)
    (there / "descriptors.json").write_text(_criu.descriptors(["/dev/null"] * 3))
    subprocess.run(["runc", "delete", "--force", "before"], check=True)
    restore = _criu.runc_restore_command("after", str(bundle), str(there), str(work), str(base / "pid"))
    done = subprocess.run(restore, **quiet, check=False)
    assert done.returncode == 0, (work / "restore.log").read_text()
    writer.pid = int((base / "pid").read_text())
    first = writer.ask()
    time.sleep(1)
    assert turn <= first < writer.ask()
    subprocess.run(["runc", "delete", "--force", "after"], check=True)
    print(f"a container of runc: {len(rounds.rounds)} rounds, and all is right after its restore", flush=True)


def lives_on(base: Path) -> None:
    """A destination that goes away in a round: the process runs, is followed no more, and a later move is whole."""
    images, work, _ = directories(base)
    writer = Writer.begin(base)
    line: Any = Line(queue.Queue(), queue.Queue(), lives=3)
    with contextlib.suppress(ChannelLost):
        PreCopy(line, writer.pid, str(images), str(work), []).run()
        raise AssertionError("nobody was there, and no round failed")
    first = writer.ask()
    time.sleep(1)
    assert writer.ask() > first
    assert not freezer.is_frozen(writer.group)
    tracer = next(line for line in Path(f"/proc/{writer.pid}/status").read_text().splitlines() if "TracerPid" in line)
    assert tracer.split()[1] == "0", tracer
    writer.end()
    print("a round whose destination goes away leaves the process as it was", flush=True)


def main() -> None:
    """Do both, in memory."""
    paths.RESTORE_SHIM = ""  # for containers only
    check = subprocess.run(
        ["criu", "check", "--feature", "mem_dirty_track"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, f"this kernel does not track written memory: {check.stdout}{check.stderr}"
    base = Path("/tmp/pre-copy")
    for name, test in (("moves", moves), ("lives-on", lives_on), ("in-a-container", in_a_container)):
        directory = base / name
        directory.mkdir(parents=True)
        test(directory)


main()
