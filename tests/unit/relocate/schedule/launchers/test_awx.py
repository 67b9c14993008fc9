# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The awx launcher against a server that speaks AWX's documented job-launch interface with recorded shapes.

This is not a test against AWX: no AWX was at hand. It shows that the launcher does what the interface's description asks.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relocate.errors import Refusal
from relocate.schedule.launchers import LaunchError, Move, make
from relocate.schedule.launchers.settings import AwxSettings

from ..fleet import FAST, World
from .awx_server import ACTION, LAUNCH, TOKEN, Awx, event, serve

RESULT = {"outcome": "committed", "id": "m1", "container": "web", "downtime_ms": 104.2, "source": {"host": "host1"}}
MOVE = Move("m1", "web", "host1", "clock", 0.0, {"container": "web", "relocation_id": "m1"})
RECOVER = "relocate.mtd.relocations_recover"


@pytest.fixture
def awx() -> Awx:
    """Return an AWX whose job moved the container."""
    return Awx(
        events=[
            event(1, "playbook_on_task_start", ACTION),
            event(2, "runner_on_ok", "ansible.builtin.assert", {"msg": "All assertions passed"}),
            event(3, "runner_on_ok", ACTION, RESULT),
        ]
    )


@pytest.fixture
def url(awx: Awx, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve it."""
    monkeypatch.setenv("RELOCATE_AWX_TOKEN", TOKEN)
    with serve(awx) as address:
        yield address


def settings(url: str, **rest: Any) -> AwxSettings:
    """Return settings that do not wait."""
    return AwxSettings(
        **{
            "kind": "awx",
            "url": url,
            "template": 7,
            "recover_template": 7,
            "poll": 0.01,
            "poll_longest": 0.02,
            "timeout": 10,
            **rest,
        }
    )


def launch(url: str, cancelled: threading.Event | None = None, **rest: Any) -> dict[str, Any]:
    """Launch the move."""
    return make(settings(url, **rest)).launch(MOVE, cancelled or threading.Event())


def test_a_job_is_launched_followed_and_its_result_read(awx: Awx, url: str) -> None:
    """From the events, where the job has no artifacts."""
    result = launch(url)
    assert result["outcome"] == "committed" and result["downtime_ms"] == 104.2 and result["job"] == 41
    assert awx.posted == [{"extra_vars": MOVE.variables}]


@pytest.mark.parametrize("variables", [{}, {"relocate_with_project": True}], ids=["alone", "project"])
@pytest.mark.parametrize(
    ("move", "says"),
    [
        (replace(MOVE, container="{{ lookup('pipe', 'id') }}"), "is no container's name"),
        (replace(MOVE, id="{{ lookup('pipe', 'id') }}"), "is no relocation's id"),
    ],
    ids=["container", "id"],
)
def test_a_name_that_is_none_does_not_reach_awx(
    awx: Awx, url: str, move: Move, says: str, variables: dict[str, Any]
) -> None:
    """A job's extra variables are templates, which AWX's Ansible evaluates: a host's text must not be among them."""
    told = {**variables, "container": move.container, "relocation_id": move.id}
    with pytest.raises(LaunchError, match=says):
        make(settings(url)).launch(replace(move, variables=told), threading.Event())
    assert awx.asked == [] and awx.posted == []


def test_a_project_is_launched_by_its_leaders_name_alone(awx: Awx, url: str, tmp_path: Path) -> None:
    """The host finds the others. A survey that would drop the word for it is refused: the leader alone would be."""
    world = World(tmp_path, FAST, names=("db", "web"), leaders={"db": "db", "web": "db"})
    world.places["web"] = world.places["db"]
    world.begin()
    world.run(30)
    move = world.launched[0][1]
    assert move.variables["container"] == move.container == "db" and "web" not in str(move.variables)
    launcher = make(settings(url))
    assert launcher.launch(move, threading.Event())["outcome"] == "committed"
    assert [each["extra_vars"]["relocate_with_project"] for each in awx.posted] == [True]
    awx.launch.update(ask_variables_on_launch=False, survey_enabled=True)
    awx.survey = [{"variable": each} for each in move.variables if each != "relocate_with_project"]
    with pytest.raises(LaunchError, match=r"ignores extra_vars \(relocate_with_project\)"):
        launcher.launch(move, threading.Event())
    assert len(awx.posted) == 1


def test_the_artifacts_of_the_playbook_for_awx_come_first(awx: Awx, url: str) -> None:
    """They are one answer instead of pages of events."""
    awx.artifacts = {"relocate_result": {**RESULT, "downtime_ms": 99.0}}
    assert launch(url)["downtime_ms"] == 99.0
    assert ("GET", "/api/v2/jobs/41/job_events/") not in awx.asked


def test_a_template_may_be_named_and_the_base_path_be_another(awx: Awx, url: str) -> None:
    """As behind Automation Platform's gateway."""
    awx.base = "/api/controller/v2/"
    assert launch(url, base_path="/api/controller/v2/", template="relocate")["outcome"] == "committed"
    with pytest.raises(LaunchError, match=" 404 to "):
        launch(url)
    with pytest.raises(LaunchError, match="has 0 job templates named 'other'"):
        launch(url, base_path="/api/controller/v2/", template="other")


def test_a_rolled_back_relocation_is_no_failure_to_launch(awx: Awx, url: str) -> None:
    """The job fails, its event has the result."""
    awx.statuses = ["failed"]
    awx.events[2] = event(3, "runner_on_failed", ACTION, {"outcome": "rolled-back", "msg": "criu said no", "id": "m1"})
    result = launch(url)
    assert (result["outcome"], result["msg"], result["downtime_ms"]) == ("rolled-back", "criu said no", None)


def test_events_come_in_pages(awx: Awx, url: str) -> None:
    """The result may be on the last."""
    awx.page_size = 1
    assert launch(url)["outcome"] == "committed"
    assert awx.asked.count(("GET", "/api/v2/jobs/41/job_events/")) == 2


def test_a_template_that_ignores_variables_is_refused_before_the_launch(awx: Awx, url: str) -> None:
    """Neither prompted for nor in a survey: AWX would drop them silently."""
    awx.launch["ask_variables_on_launch"] = False
    with pytest.raises(
        LaunchError, match=r"ignores extra_vars \(container, relocation_id\): switch on 'Prompt on launch'"
    ):
        launch(url)
    assert awx.posted == []


def test_a_survey_lets_its_own_variables_through_and_no_others(awx: Awx, url: str) -> None:
    """A survey with all of them is as good as a prompt."""
    awx.launch.update(ask_variables_on_launch=False, survey_enabled=True)
    awx.survey = [{"variable": "container", "type": "text", "required": True}]
    with pytest.raises(LaunchError, match=r"\(relocation_id\)"):
        launch(url)
    awx.survey.append({"variable": "relocation_id", "type": "text", "required": False})
    assert launch(url)["outcome"] == "committed"


def test_a_template_that_ignores_the_limit_is_refused(awx: Awx, url: str) -> None:
    """Only where one is configured."""
    awx.launch["ask_limit_on_launch"] = False
    with pytest.raises(LaunchError, match="ignores limit"):
        launch(url, limit="docker_hosts")
    assert awx.posted == []
    assert launch(url)["outcome"] == "committed"
    awx.launch["ask_limit_on_launch"] = True
    launch(url, limit="docker_hosts")
    assert awx.posted[-1]["limit"] == "docker_hosts"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"passwords_needed_to_start": ["ssh_password"]}, "asks for passwords \\(ssh_password\\)"),
        ({"variables_needed_to_start": ["ticket"]}, "requires ticket"),
    ],
)
def test_a_template_that_wants_a_person_is_refused(awx: Awx, url: str, change: dict[str, Any], says: str) -> None:
    """Nobody is there to answer."""
    awx.launch.update(change)
    with pytest.raises(LaunchError, match=says):
        launch(url)


def test_a_job_that_lost_what_was_asked_is_cancelled(awx: Awx, url: str) -> None:
    """The template was changed between the question and the launch."""
    awx.ignored = {"extra_vars": {"container": "web"}}
    awx.events = []
    with pytest.raises(LaunchError, match=r"ignored extra_vars \(container\), and job 41 was cancelled"):
        launch(url)
    assert awx.cancelled


def test_a_job_that_has_not_started_is_cancelled(awx: Awx, url: str) -> None:
    """Nothing of the playbook has run: no relocation was attempted."""
    cancelled = threading.Event()
    awx.on_get_job = cancelled.set
    awx.statuses, awx.events = ["pending"], []
    with pytest.raises(LaunchError, match="cancelled before anything was touched"):
        launch(url, cancelled)
    assert awx.cancelled


def test_a_job_that_runs_is_let_to_its_end(awx: Awx, url: str) -> None:
    """It may be inside the freeze."""
    cancelled = threading.Event()
    awx.on_get_job = cancelled.set
    awx.statuses = ["running", "running", "successful"]
    assert launch(url, cancelled)["outcome"] == "committed"
    assert not awx.cancelled


def test_a_controller_that_is_away_for_a_moment_is_asked_again(awx: Awx, url: str) -> None:
    """The job goes on meanwhile."""
    awx.faults = [502, 503, 429, 404]
    assert launch(url)["outcome"] == "committed"


def test_a_launch_whose_answer_was_lost_is_found_by_the_relocations_id(awx: Awx, url: str) -> None:
    """And never launched twice."""
    awx.lose_launch = True
    assert launch(url)["outcome"] == "committed"
    assert len(awx.posted) == 1


def test_a_job_without_an_end_is_in_doubt(awx: Awx, url: str) -> None:
    """The container may have moved."""
    awx.statuses = ["running"]
    result = launch(url, patience=0.05)
    assert (result["outcome"], result["downtime_ms"]) == ("in-doubt", None)
    assert "had no end" in result["msg"]


def test_a_job_that_died_within_the_relocation_is_in_doubt(awx: Awx, url: str) -> None:
    """Its task began and never told what came of it."""
    awx.statuses = ["error"]
    awx.events = awx.events[:1]
    assert launch(url)["outcome"] == "in-doubt"


def test_a_job_that_failed_before_attempted_nothing(awx: Awx, url: str) -> None:
    """The reason is that of its first failed task; ignored failures are none."""
    awx.statuses = ["failed"]
    awx.events = [
        event(1, "runner_on_failed", "ansible.builtin.command", {"msg": "no matter"}, ignore_errors=True),
        event(2, "runner_on_failed", "ansible.builtin.assert", {"msg": "the inventory has no fleet"}),
    ]
    with pytest.raises(LaunchError, match=r"^job 41: the inventory has no fleet$"):
        launch(url)


def test_a_template_of_another_playbook_is_named(awx: Awx, url: str) -> None:
    """It succeeds and moves nothing."""
    awx.events = []
    with pytest.raises(LaunchError, match=r"is the template's playbook playbooks/awx\.yml"):
        launch(url)


def test_recovery_is_a_template_of_its_own(awx: Awx, url: str) -> None:
    """Its result is that of its action."""
    found = {"settled": [{"id": "r1"}], "in_progress": [], "left": []}
    awx.events = [event(1, "runner_on_ok", RECOVER, found)]
    assert make(settings(url)).recover() == found
    awx.statuses, awx.events = ["failed"], [event(1, "runner_on_failed", RECOVER, {"msg": "edge is down"})]
    with pytest.raises(LaunchError, match="edge is down"):
        make(settings(url)).recover()


def test_a_token_is_needed_and_must_be_right(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file's token, or the environment's."""
    token = tmp_path / "token"
    token.write_text("wrong\n")
    with pytest.raises(LaunchError, match=r"401.*the token is not accepted"):
        launch(url, token_file=token)
    token.write_text(f"{TOKEN}\n")
    assert launch(url, token_file=token)["outcome"] == "committed"
    token.write_text("\n")
    with pytest.raises(Refusal, match="is empty"):
        launch(url, token_file=token)
    monkeypatch.delenv("RELOCATE_AWX_TOKEN")
    with pytest.raises(Refusal, match="has no token"):
        launch(url)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names whom."""
    monkeypatch.setenv("RELOCATE_AWX_TOKEN", TOKEN)
    with serve(Awx()) as gone:
        pass
    with pytest.raises(LaunchError, match=f"{gone} cannot be reached"):
        launch(gone)


def authority(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate for 127.0.0.1 that vouches for itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "controller")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    public, private = directory / "ca.pem", directory / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


def test_the_servers_certificate_is_checked(awx: Awx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Against the file that was named, and not at all trusted without it."""
    monkeypatch.setenv("RELOCATE_AWX_TOKEN", TOKEN)
    public, context = authority(tmp_path)
    with serve(awx, context) as address:
        assert launch(address, ca_file=public)["outcome"] == "committed"
        with pytest.raises(LaunchError, match=r"cannot be reached.*CERTIFICATE_VERIFY_FAILED"):
            launch(address)
        with pytest.raises(Refusal, match="is not a file of certificates"):
            launch(address, ca_file=tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://controller.example", "in the clear"),
        ("controller.example", "give https://HOST"),
        ("https://controller.example/api/v2", "base_path"),
        ("https://user:word@controller.example", "give only scheme and host"),
    ],
)
def test_an_address_that_would_not_do_is_refused(url: str, says: str) -> None:
    """Above all one that sends the token in clear."""
    with pytest.raises(ValueError, match=says):
        settings(url)


def test_the_documented_launch_document_is_used_whole() -> None:
    """What the launcher asks of it is in it: a misspelt key would be taken for 'not prompted'."""
    assert {"ask_limit_on_launch", "ask_variables_on_launch", "survey_enabled"} <= set(LAUNCH)
    assert {"passwords_needed_to_start", "variables_needed_to_start"} <= set(LAUNCH)
