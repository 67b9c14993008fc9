# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate fleet``: how different the hosts are, and how predictable the next hop is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import MODES
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import Settings
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relocate import reading
from relocate.arguments import PICTURES, checked_name, checked_path
from relocate.commands import options
from relocate.errors import Refusal
from relocate.fleet import inventory_policy
from relocate.fleet.report import Question, Report, answer, check, place_of
from relocate.lab.paths import project_root
from relocate.move import playbook
from relocate.move.relocation import inventory_path
from relocate.terminal import cell

#: Hosts whose differences fit a terminal, and lines of the other tables.
MATRIX_HOSTS = 12
LINES = 20


def register(app: typer.Typer) -> None:
    """Add ``relocate fleet`` to the command."""
    app.command("fleet")(fleet)


def _bits(value: float) -> str:
    return f"{value:.2f}"


def headline(summary: dict[str, Any]) -> str:
    """Return the fleet's figures as one line."""
    weights = ", ".join(f"{name} {value:g}" for name, value in summary["weights"].items() if value)
    rate = summary["hop_entropy_rate_bits"]
    chain = "" if rate is None else f", hop chain {rate:.2f} bits per hop"
    return (
        f"{summary['hosts']} hosts, {summary['configurations']} configurations "
        f"({summary['effective_configurations']:.2f} effective, {summary['shannon_bits']:.2f} bits){chain}; "
        f"{summary['mode']}, weights {summary['weights_are']}: {weights}"
    )


def matrix(report: Report) -> Table:
    """Return Δ between the hosts as a coloured table."""
    table = Table(box=None, pad_edge=False)
    table.add_column()
    for host in report.shown:
        table.add_column(cell(host), justify="right")
    bound = max(float(abs(report.delta).max()), 1e-9)
    for host, values in zip(report.shown, report.delta, strict=True):
        cells = [Text(f"{value:.2f}", style=_shade(float(value) / bound)) for value in values]
        table.add_row(cell(host), *cells)
    return table


def _shade(level: float) -> str:
    return "dim" if abs(level) < 0.05 else "red" if level < 0 else "cyan" if level < 0.5 else "bold bright_cyan"


def classes(report: Report) -> Table:
    """Return the configurations with their hosts and the entropies of the draw from them."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (
        ("configuration", "left"),
        ("hosts", "left"),
        ("next hop", "right"),
        ("min-entropy", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    largest = sorted(range(len(report.names)), key=lambda number: (-len(report.members[number]), report.names[number]))
    for number in largest[:LINES]:
        members, hop = report.members[number], report.hops[number]
        hosts = ", ".join(members[:4]) + (f" and {len(members) - 4} more" if len(members) > 4 else "")
        entropies = ("–", "–") if hop is None else (_bits(hop.shannon_bits), _bits(hop.min_entropy_bits))
        mark = "" if hop is None or hop.floor_kept else " (below the floor)"
        table.add_row(report.names[number], cell(hosts), f"{entropies[0]} bits", f"{entropies[1]} bits{mark}")
    if len(largest) > LINES:
        table.add_row(f"… {len(largest) - LINES} more: see --json", "", "", "")
    return table


def hops(rows: list[dict[str, Any]]) -> Table:
    """Return the expected next hop as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("destination", "probability", "Δ", *(term.upper() for term in rows[0]["terms"])):
        table.add_column(name, justify="left" if name == "destination" else "right")
    for row in rows[:LINES]:
        terms = [f"{value:.2f}" for value in row["terms"].values()]
        table.add_row(cell(row["host"]), f"{row['probability']:.1%}", f"{row['delta']:.3f}", *terms)
    if len(rows) > LINES:
        rest = sum(row["probability"] for row in rows[LINES:])
        table.add_row(f"… {len(rows) - LINES} more", f"{rest:.1%}", "", *([""] * len(rows[0]["terms"])))
    return table


def fleet(
    container: Annotated[
        str | None, typer.Option("--container", "-c", help="Show the expected next hop of this container.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="HOST", help="The host it runs on. Default: from the ledger.")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(help="Directory of profiles, HOST.json. Default: RELOCATE_PROFILES.")
    ] = None,
    vulnerabilities: Annotated[
        Path | None, typer.Option(help="Directory of Trivy or Grype reports, HOST.json: adds the term V.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="equal, fitted, or numbers: c=0.3,n=0.2,s=0.5. Default: the inventory's, else equal."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="hardened (distances) or paper (equation 3.3, signed). Default: the inventory's."),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(help="Min-entropy of the next hop to keep, in bits. Default: the inventory's, else 1."),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Use this beta for the softmax instead of the one that keeps the floor.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="TERM=JMESPath: count only these facts. Repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="TERM=JMESPath: do not count these facts. Repeatable.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the heat map: PNG, SVG or PDF.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Profile the hosts first (playbooks/profile.yml).")
    ] = False,
    inventory: Annotated[
        str | None,
        typer.Option(
            "--inventory", "-i", help="Inventory with the policy. Default: RELOCATE_INVENTORY, else the lab's."
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Show how different the hosts are, and how predictable the next hop is."""
    if mode is not None and mode not in MODES:
        raise Refusal(f"--mode is {reading.shown(mode)}: use one of {', '.join(MODES)}", status=2)
    for option, name in (("--container", container), ("--from", source)):
        if name is not None:
            checked_name(option, name)
    checked_path("--plot", plot, PICTURES)
    checked_path("--html", html, (".html", ".htm"))
    for option, path in (("--profiles", profiles), ("--vulnerabilities", vulnerabilities)):
        checked_path(option, path)
    policy = _policy(inventory) if inventory or not profiles else Settings()
    question = Question(
        profiles,
        vulnerabilities,
        inventory_policy.weights(policy) if weights is None else weights,
        mode or policy.mode,
        policy.min_entropy_bits if floor is None else floor,
        policy.beta if beta is None and floor is None else beta,
        _selectors(include, policy.include),
        _selectors(exclude, policy.exclude),
    )
    check(question)
    if refresh:
        _profile(profiles, inventory, quiet=json_)
    report = answer(question)
    origin = source or (place_of(container) if container else None)
    expected = report.expected(origin) if origin else []
    what = f"{container} on {origin}" if container else f"a container on {origin}"
    if plot:
        from relocate.fleet import heatmap

        heatmap.draw(report, plot)
    if html:
        from relocate.fleet import page

        page.write(report, html, expected, what)
    if json_:
        document = report.document()
        if origin:
            document["next_hop"] = {"container": container, "source": origin, "destinations": expected}
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(headline(report.summary), markup=False, soft_wrap=True)
    for reason in report.aside.values():
        console.print(f"left out: {shown(reason)}", style="yellow", markup=False, soft_wrap=True)
    for title, table in _tables(report, expected, what):
        # rich folds a title of the table's own to its width
        console.print(f"\n{shown(title)}", style="bold", markup=False, soft_wrap=True)
        console.print(table)
    for path in filter(None, (plot, html)):
        console.print(f"\n{path} written", style="dim", markup=False)


def _policy(inventory: str | None) -> Settings:
    """Return how relocations draw with this inventory; as without any policy where there is no inventory to ask.

    Raises Refusal for an inventory that was named and is not there, and for a policy that is wrong.
    """
    try:
        path = inventory_path(inventory, project_root())
    except Refusal:
        if inventory:
            raise
        return Settings()
    return inventory_policy.of(path, project_root()) or Settings()


def _selectors(given: list[str] | None, policy: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(given or (f"{term}={expression}" for term, expression in policy.items()))


def _tables(report: Report, expected: list[dict[str, Any]], what: str) -> list[tuple[str, Table]]:
    tables = [("Configurations", classes(report))]
    if len(report.shown) <= MATRIX_HOSTS:
        tables.append(("Δ (row: source, column: destination)", matrix(report)))
    if expected:
        tables.append((f"Next hop of {what}, if all hosts can take it", hops(expected)))
    return tables


def _profile(profiles: Path | None, inventory: str | None, quiet: bool) -> None:
    root = project_root()
    variables = {"relocate_profiles_directory": str(profiles.resolve())} if profiles else {}
    playbook.run(root, "playbooks/profile.yml", variables, inventory=inventory_path(inventory, root), quiet=quiet)
