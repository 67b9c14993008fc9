# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the configuration says of a launcher: one model per kind, told apart by ``kind``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from relocate.reading import shown
from relocate.state import state_directory


def default_runs() -> Path:
    """Return where failed runs' output is kept: ``runs`` in the state directory that systemd gave, else in the user's."""
    return state_directory() / "runs"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Kept(_Settings):
    """What stays of runs that failed: their output, never their variables or environment."""

    runs: Path = Field(default_factory=default_runs)
    kept_runs: int = Field(20, ge=0, le=100_000, description="failed runs whose output is kept")
    kept_days: float = Field(14, gt=0, le=36500, description="days after which it goes in any case")


class RunnerSettings(_Kept):
    """Ansible on this machine, through ansible-runner."""

    kind: Literal["runner"] = "runner"
    verbosity: int = Field(0, ge=0, le=5)


class StreamSettings(_Kept):
    """Ansible on an execution node, through ``ansible-runner worker`` at the other end of a pipe."""

    kind: Literal["stream"]
    node: str | None = Field(None, description="the execution node, as ssh takes it: user@host")
    ssh_arguments: list[str] = Field(default_factory=list, description="further arguments of ssh, such as -i KEY")
    worker: list[str] = Field(default_factory=lambda: ["ansible-runner", "worker"], min_length=1)
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="instead of ssh: a command with the worker's input and output, such as receptorctl",
    )
    silence: float = Field(
        300.0, ge=0.1, le=86400, description="seconds without a word from the node after which the run counts as lost"
    )
    verbosity: int = Field(0, ge=0, le=5)

    @model_validator(mode="after")
    def _one_way(self) -> StreamSettings:
        if (self.node is None) == (self.command is None):
            raise ValueError("give either node (reached by ssh) or command (such as receptorctl's), and not both")
        if self.node is not None and self.node.startswith("-"):
            raise ValueError(f"node is {shown(self.node)}, which ssh would take for an option: give user@host")
        return self


class AwxSettings(_Settings):
    """A job template of AWX or of Automation Platform's controller, launched through its REST interface."""

    kind: Literal["awx"]
    url: str = Field(description="https://HOST[:PORT]")
    base_path: str = Field("/api/v2/", description="/api/controller/v2/ behind Automation Platform's gateway")
    token_file: Path | None = Field(None, description="file with an OAuth 2 token; RELOCATE_AWX_TOKEN otherwise")
    ca_file: Path | None = Field(None, description="certificates that the server's is checked against")
    template: int | str = Field(description="the template of playbooks/awx.yml, by number or name")
    recover_template: int | str = Field(description="the template of playbooks/recover.yml, by number or name")
    limit: str | None = Field(None, description="host pattern sent as the job's limit")
    poll: float = Field(1.0, ge=0.001, le=3600, description="seconds until a job is first asked after")
    poll_longest: float = Field(10.0, ge=0.001, le=3600, description="seconds between two questions at most")
    patience: float = Field(
        3600.0, gt=0, le=31 * 86400.0, description="seconds after which a job without an end is in doubt"
    )
    timeout: float = Field(30.0, ge=0.1, le=600, description="seconds for one answer")

    @model_validator(mode="after")
    def _usable(self) -> AwxSettings:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"url is {shown(self.url)}: {error}; give https://HOST") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is {shown(self.url)}: give https://HOST")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(
                f"url is {shown(self.url)}: the token would cross the network in the clear; give https://HOST"
            )
        if parts.username or parts.password or parts.path.strip("/") or parts.query:
            raise ValueError(f"url is {shown(self.url)}: give only scheme and host; the path belongs in base_path")
        if not (self.base_path.startswith("/") and self.base_path.endswith("/")):
            raise ValueError(f"base_path is {shown(self.base_path)}: it begins and ends with a slash, such as /api/v2/")
        return self


class NullSettings(_Settings):
    """Moves nothing: for benchmarks of the scheduler itself."""

    kind: Literal["null"]
    seconds: float = Field(0.0, ge=0, le=86400, description="how long each move pretends to take")


def _kind(value: Any) -> str | None:
    """Return the tag of a launcher; a section without one means the runner."""
    return value.get("kind", "runner") if isinstance(value, dict) else getattr(value, "kind", None)


LauncherSettings = Annotated[
    Annotated[RunnerSettings, Tag("runner")]
    | Annotated[StreamSettings, Tag("stream")]
    | Annotated[AwxSettings, Tag("awx")]
    | Annotated[NullSettings, Tag("null")],
    Discriminator(
        _kind,
        custom_error_type="launcher_kind",
        custom_error_message="kind must be one of runner, stream, awx and null",
    ),
]
