# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate demo``: the lab, three tenants, live clients, and the scheduler that moves them between real Docker hosts."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relocate.commands import lab
from relocate.commands.move import phase_bar, phase_words
from relocate.demo.clockwork import CLOCK, Clockwork
from relocate.demo.watching import Client
from relocate.errors import Refusal
from relocate.lab.paths import Lab, project_root
from relocate.move import playbook
from relocate.move.relocation import DEFAULT_INVENTORY, recover
from relocate.schedule.records import Firing
from relocate.schedule.views import duration
from relocate.terminal import cell

REPOSITORY = "10.77.0.10:5000"
VIRTUAL = "10.88.0.100"
SETTLE_SECONDS = 120.0
PATIENCE_MS = 60_000.0  # it is to show how long a pause is on this machine, not to refuse one
CALM_SECONDS = 0.6  # after a move: the answer to the request that was held comes after the result


@dataclass(frozen=True)
class DemoTenant:
    """A container of the demonstration. ``port`` is published under the virtual address; None for one that only exists."""

    name: str
    command: str = ""
    port: int | None = None
    client: str | None = None


TENANTS = (
    DemoTenant("counter", "7000 8", 7000, "counter"),
    DemoTenant("redis", "", 6379, "redis"),
    DemoTenant("idle"),
)


def register(app: typer.Typer) -> None:
    """Add ``relocate demo`` to the command."""
    app.command("demo")(demo)


class Demo:
    """The demonstration's course."""

    def __init__(self, console: Console, verbose: bool) -> None:
        self.console = console
        self.verbose = verbose
        self.root: Path = project_root()
        self.lab = Lab.from_environment()
        self.inventory = str(self.root / DEFAULT_INVENTORY)
        self.clients: dict[str, Client] = {}
        self.hops: list[dict[str, Any]] = []
        self.losses: list[str] = []
        self.most: int | None = None
        self.clockwork: Clockwork | None = None

    def step(self, sentence: str, book: str, **variables: Any) -> None:
        """Run one playbook of the preparation, and say how long it took."""
        start = time.monotonic()
        self.console.print(f"[bold]{sentence}[/bold]")
        playbook.run(self.root, book, variables, inventory=self.inventory, verbose=self.verbose)
        self.console.print(f"  done in {time.monotonic() - start:.0f} s", style="dim")

    def prepare(self) -> None:
        """Bring up what is moved, and those that watch."""
        self.console.print("[bold]The lab: an edge, Docker hosts and the outside world[/bold]")
        lab.up(hosts=None, json_=False, verbose=self.verbose)
        self.step("Preparing the hosts, the edge and the image repository", "playbooks/prepare.yml")
        self.step("Packing the tenants' images and pushing them to the repository", "playbooks/lab_images.yml")
        self.step("Profiling the hosts: how different are they?", "playbooks/profile.yml")
        for tenant in TENANTS:
            variables = {"container": tenant.name, "image": f"{REPOSITORY}/{tenant.name}:1", "tenant": "demo"}
            if tenant.command:
                variables["command"] = tenant.command
            if tenant.port:
                variables["publish"] = f"{VIRTUAL}:{tenant.port}:{tenant.port}/tcp"
            self.step(f"Tenant {tenant.name}", "playbooks/instantiate.yml", **variables)

    def connect(self) -> None:
        """Start the clients: one connection each, from now until the end."""
        for tenant in TENANTS:
            if tenant.client and tenant.port:
                client = Client(tenant.client, VIRTUAL, tenant.port, self.lab.client_namespace)
                self.clients[tenant.name] = client.start()
        self.console.print(f"Clients of {' and '.join(self.clients)} are connected and ask every 2 ms.\n")

    def schedule(self, seconds: float, hops: int | None) -> None:
        """Let the scheduler move the tenants for so long, or until there were so many hops."""
        self.most = hops
        clock = f"Stays are drawn from Exp({CLOCK['rate']:g}/s) below {CLOCK['ceiling']:g} s by the system's entropy"
        self.console.print(
            "[bold]The scheduler: every tenant has a clock of its own, and nobody knows when it runs out[/bold]"
        )
        self.console.print(f"  {clock}; it runs for {seconds:.0f} s once it has found the tenants.\n", style="dim")
        variables = {"relocate_downtime_limit_ms": PATIENCE_MS}
        self.clockwork = Clockwork(self.inventory, variables, self.landed)
        with self.console.status("the clocks run"):
            self.clockwork.run(seconds)
        if self.losses:
            raise Refusal("something was lost: " + "; ".join(self.losses))

    def landed(self, firing: Firing, result: dict[str, Any]) -> None:
        """Show a move that has ended. Called from the scheduler's observer, while the clocks go on."""
        if result["outcome"] != "committed" or "timings_ns" not in result:
            self.console.print(
                f"[yellow]{cell(firing.container)}: {firing.outcome}[/yellow]  {cell(firing.msg)}\n", soft_wrap=True
            )
            return
        time.sleep(CALM_SECONDS)
        client = self.clients.get(firing.container)
        result["pause_ms"] = client.longest_since(firing.launched_at or firing.alerted_at) if client else None
        result["stay_s"] = (firing.stay_ms or 0.0) / 1000
        self.hops.append(result)
        self._show(result)
        if client and client.lost:
            self.losses.append(f"the client of {firing.container} lost its connection: {client.lost}")
        if self.clockwork and (self.losses or (self.most is not None and len(self.hops) >= self.most)):
            self.clockwork.end()

    def _show(self, result: dict[str, Any]) -> None:
        source, destination = cell(result["source"]["host"]), cell(result["destination"]["host"])
        seen = f"client waited [bold]{result['pause_ms']:.0f} ms[/bold]" if result["pause_ms"] else "nobody was asking"
        lines = (
            f"[bold]hop {len(self.hops)}  {cell(result['container'])}[/bold]  {source} → [bold]{destination}[/bold]  "
            f"{cell(result['address_before'])} → [bold]{cell(result['address_after'])}[/bold]",
            f"  after a stay of {duration(result['stay_s'])}: down {result['downtime_ms']:.0f} ms, {seen}",
            f"  why  {cell(result['choice'].get('why', 'the destination was given'))}",
            Text("  ") + phase_bar(result["timings_ns"]),
            Text("  ") + phase_words(result["timings_ns"]),
        )
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def audit(self) -> None:
        """Say whether the clocks were honest."""
        found = self.clockwork.audit() if self.clockwork else None
        if found is None:
            return
        self.console.print(
            "\n[bold]Was the clock honest?[/bold] The stays, tested against the law that was configured:"
        )
        self.console.print(found.text(), highlight=False, markup=False, soft_wrap=True)

    def finish(self) -> None:
        """Stop the clients and print the table. Raises Refusal when anything was lost."""
        table = Table(title="What the clients saw", title_justify="left")
        for heading in ("tenant", "hops", "pause median", "pause max", "requests", "lost", "connection"):
            table.add_column(heading, justify="left" if heading in ("tenant", "connection") else "right")
        losses = []
        for tenant in TENANTS:
            hops = [hop for hop in self.hops if hop["container"] == tenant.name]
            pauses = [hop["pause_ms"] for hop in hops if hop["pause_ms"]]
            row = [tenant.name, str(len(hops))]
            row += [f"{statistics.median(pauses):.0f} ms", f"{max(pauses):.0f} ms"] if pauses else ["", ""]
            if tenant.name in self.clients:
                summary = self.clients[tenant.name].stop()
                row += [
                    str(summary["requests"]),
                    "0" if not summary["error"] else "1",
                    "kept" if not summary["error"] else "lost",
                ]
                if summary["error"]:
                    losses.append(f"{tenant.name}: {summary['error']}")
            table.add_row(*row)
        self.console.print()
        self.console.print(table)
        if losses:
            raise Refusal("something was lost: " + "; ".join(losses))
        self._next_steps()

    def _next_steps(self) -> None:
        file = self.clockwork.file if self.clockwork else ""
        self.console.print(
            "\nThe lab is still up. Try next:\n"
            "  .venv/bin/relocate move redis           move a tenant (--check: only plan)\n"
            f"  .venv/bin/relocate history --config {file}\n"
            "                                          what the scheduler did, and when\n"
            "  .venv/bin/relocate lab status           the hosts and how they are\n"
            "  .venv/bin/relocate lab shell host1      look around: docker ps, docker logs counter\n"
            "  .venv/bin/ansible-playbook -i inventories/lab playbooks/relocate.yml -e container=counter\n"
            "  .venv/bin/relocate lab down             take everything away again",
            highlight=False,
            soft_wrap=True,
        )

    def abandon(self) -> None:
        """After Ctrl-C: end the clients and wait until the hosts have finished or rolled back what was under way."""
        for client in self.clients.values():
            client.stop()
        self.console.print("\nInterrupted. Waiting until the hosts have settled what was under way …")
        deadline = time.monotonic() + SETTLE_SECONDS
        while recover(inventory=self.inventory, quiet=True)["in_progress"] and time.monotonic() < deadline:
            time.sleep(1.0)
        self.console.print("No container is half-moved. The lab is still up: 'relocate lab down' takes it away.")


def demo(
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=86_400, help="How long the scheduler's clocks run.")
    ] = 60.0,
    hops: Annotated[int | None, typer.Option("--hops", min=1, max=1000, help="Stop after so many moves.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show Ansible's own output while preparing.")
    ] = False,
) -> None:
    """Run the demonstration: three tenants with live clients hop between real Docker hosts on this machine."""
    course = Demo(Console(highlight=False), verbose)
    begun = False
    try:
        course.prepare()
        course.connect()
        begun = True
        course.schedule(seconds, hops)
        course.audit()
        course.finish()
    except KeyboardInterrupt:
        if begun:
            course.abandon()
        raise
    except Refusal:
        for client in course.clients.values():
            client.stop()
        raise
