#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record a real hop in the lab and draw it as ``docs/images/hop.svg``, the picture in the README.

``docs/record_hop.py record CONTAINER HOST ADDRESS:PORT`` runs ``relocate move CONTAINER --to HOST`` in a terminal, as root,
while clients in the lab's outside network ask the container at ADDRESS:PORT (the lab's image ``counter``). What both printed,
and when, goes to ``build/hop.json``. ``docs/record_hop.py draw`` makes the picture from that file: nothing in it is typed by
hand. The picture needs no script and no font of its own, so that it moves inside an ``<img>``; a reader who has asked for
less motion sees its last frame.
"""

from __future__ import annotations

import fcntl
import html
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "build" / "hop.json"
PICTURE = ROOT / "docs" / "images" / "hop.svg"

COLUMNS, ROWS = 92, 30
CONNECTIONS = 4
#: The recording is played in so many seconds, and its last frame stays for so many.
PLAYED, LAST = 7.0, 9.0
CELL, LINE, MARGIN, BAR = 8.4, 20, 18, 30
#: The terminal's colours, by their numbers.
INK = {
    1: "#ff7b72",
    2: "#7ee787",
    3: "#f2cc60",
    4: "#79c0ff",
    5: "#d2a8ff",
    6: "#56d4dd",
    14: "#b3f0ff",
    15: "#ffffff",
}
PLAIN, DIM, GROUND, FRAME = "#d6dde6", "#8b949e", "#0d1117", "#30363d"

#: Runs in the outside network: asks over several connections in turn, every 2 ms, and expects the next number each time.
CLIENT = """
import json, socket, sys, time
address, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ends = [socket.create_connection((address, port)) for _ in range(connections)]
answers, last, count, longest, told = [end.makefile("rb") for end in ends], {}, 0, 0.0, 0.0
while True:
    for index, end in enumerate(ends):
        asked = time.time()
        end.sendall(b"x\\n")
        number = int(answers[index].readline())
        longest = max(longest, time.time() - asked)
        assert number == last.get(index, number - 1) + 1, "an answer is missing"
        last[index] = number
        count += 1
        if time.time() - told > 0.1:
            told = time.time()
            print(json.dumps([told, count, longest * 1000]), flush=True)
        time.sleep(0.002)
"""


def record(container: str, host: str, service: str) -> None:
    """Move the container and write what was seen. Raises CalledProcessError if the move or a connection fails."""
    lab = json.loads(subprocess.check_output([Path(sys.executable).with_name("relocate"), "lab", "status", "--json"]))
    outside = lab["client_namespace"]
    address, port = service.split(":")
    client = subprocess.Popen(
        ["ip", "netns", "exec", outside, sys.executable, "-c", CLIENT, address, port, str(CONNECTIONS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    command = ["relocate", "move", container, "--to", host]
    begin, printed = time.time(), []
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
        os.execvp(Path(sys.executable).with_name("relocate"), command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the terminal's other end is closed
            break
        printed.append([time.time() - begin, piece.decode()])
    _, status = os.waitpid(child, 0)
    time.sleep(1)
    alive = client.poll() is None
    client.terminate()
    told = [json.loads(line) for line in client.communicate()[0].splitlines()]
    if status or not alive:
        raise SystemExit(
            f"the move ended with status {status}, and the clients {'were well' if alive else 'lost something'}"
        )
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(
        json.dumps(
            {
                "command": " ".join(command),
                "service": service,
                "connections": CONNECTIONS,
                "printed": printed,
                "client": [[at - begin, count, longest] for at, count, longest in told if at >= begin],
            }
        )
    )


def frames(printed: list[tuple[float, str]]) -> tuple[list[tuple[float, str]], list[str]]:
    """Return the progress lines, each with the second it appeared, and the lines that were left on the screen at the end."""
    steps: list[tuple[float, str]] = []
    whole = "".join(piece for _, piece in printed)
    for at, piece in printed:
        for line in re.split(r"\r(?:\x1b\[2K)?", piece):
            found = re.match(r"(?:\x1b\[\?25l)?\x1b\[32m[⠀-⣿]\x1b\[0m (.+)", line.split("\n")[0])
            if found and (not steps or steps[-1][1] != found[1]):
                steps.append((at, found[1]))
    rest = whole.rpartition("\x1b[1A\x1b[2K")[2].replace("\r", "")
    return steps, [line.rstrip() for line in rest.rstrip("\n ").split("\n")]


def drawn(line: str, x: float, y: float) -> str:
    """Return a line of a terminal as SVG: words where their columns are, blocks as rectangles."""
    found, column = [], 0
    text = Text.from_ansi(line)
    for segment in text.render(Console(width=200)):
        style = segment.style
        colour = INK.get(style.color.number or 0, PLAIN) if style and style.color else PLAIN
        if style and style.dim:
            colour = DIM
        bold = ' class="bold"' if style and style.bold else ""
        for run in re.finditer(r"█+|[^█\s]+(?: [^█\s]+)*", segment.text):
            left, cells = x + (column + run.start()) * CELL, len(run[0])
            if run[0][0] == "█":
                found.append(
                    f'<rect x="{left:.1f}" y="{y - 13}" width="{cells * CELL:.1f}" height="15" fill="{colour}"/>'
                )
            else:
                found.append(
                    f'<text x="{left:.1f}" y="{y}" fill="{colour}"{bold} textLength="{cells * CELL:.1f}">'
                    f"{html.escape(run[0])}</text>"
                )
        column += len(segment.text)
    return "".join(found)


def draw() -> None:
    """Draw the recording."""
    seen = json.loads(RECORDING.read_text())
    steps, rest = frames(seen["printed"])
    end = seen["printed"][-1][0]
    faster = max(1, round(end / PLAYED))
    length = end / faster + LAST
    width = round(COLUMNS * CELL + 2 * MARGIN)
    first = BAR + 28
    below = first + (len(rest) + 2) * LINE
    height = below + 3 * LINE + 6

    timed: list[str] = []
    rules: list[str] = []

    def shown(body: str, start: float, stop: float | None) -> None:
        """Show the body from one second of the recording to another, or to the end."""
        a = 100 * start / faster / length
        b = 100.0 if stop is None else 100 * stop / faster / length
        name = f"f{len(rules)}"
        hidden = "" if a <= 0 else "0%{opacity:0}"
        after = "" if stop is None else f"{b:.2f}%,100%{{opacity:0}}"
        rules.append(f"@keyframes {name}{{{hidden}{a:.2f}%{{opacity:1}}{after}}}")
        kind = "frame last" if stop is None else "frame"
        timed.append(f'<g class="{kind}" style="animation-name:{name}">{body}</g>')

    for index, (at, step) in enumerate(steps):
        stop = steps[index + 1][0] if index + 1 < len(steps) else end
        mark = f'<circle cx="{MARGIN + 4}" cy="{first + LINE - 5}" r="4" fill="{INK[2]}" class="busy"/>'
        shown(mark + drawn(step, MARGIN + 2 * CELL, first + LINE), at, stop)
    shown("".join(drawn(line, MARGIN, first + (n + 1) * LINE) for n, line in enumerate(rest)), end, None)

    client = [entry for index, entry in enumerate(seen["client"]) if index % 3 == 0 and entry[0] < end]
    client.append(seen["client"][-1])
    for index, (at, count, longest) in enumerate(client):
        words = (
            f"{count:,}".replace(",", " ").rjust(6)
            + f" answers, none missing      longest wait \x1b[1m{longest:.0f} ms\x1b[0m"
        )
        stop = client[index + 1][0] if index + 1 < len(client) else None
        shown(drawn(words, MARGIN, below + 2 * LINE + 4), at if index else 0, stop)

    clients = f"{seen['connections']} clients outside, connected to {seen['service']}, each asking all the time"
    style = (
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
        ".bold{font-weight:bold}"
        f".frame{{animation:{length:.2f}s step-end infinite}}"
        "@keyframes busy{50%{opacity:.25}}.busy{animation:busy .8s infinite}"
        "@media(prefers-reduced-motion:reduce){.frame{animation:none;opacity:0}.last{opacity:1}}"
    )
    dots = "".join(f'<circle cx="{MARGIN + 20 * n}" cy="15" r="5" fill="{FRAME}"/>' for n in range(3))
    title = drawn(f"\x1b[2m{clients}\x1b[0m", MARGIN, below + LINE + 2)
    speed = f"recorded; played {faster} times as fast"
    title += drawn(f"\x1b[2m{speed}\x1b[0m", width - MARGIN - len(speed) * CELL, 20)
    said = " ".join(Text.from_ansi(line).plain.strip() for line in rest)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>relocate move, recorded</title><desc>{html.escape(said)}</desc>",
        "<style>",
        style,
        *rules,
        "</style>",
        f'<rect width="{width}" height="{height}" rx="9" fill="{GROUND}" stroke="{FRAME}"/>{dots}',
        drawn(f"$ {seen['command']}", MARGIN, first),
        f'<path d="M0 {below} H{width}" stroke="{FRAME}"/>{title}',
        *timed,
        "</svg>",
    ]
    PICTURE.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", container, host, service]:
            record(container, host, service)
        case ["draw"]:
            draw()
        case _:
            sys.exit(__doc__)
