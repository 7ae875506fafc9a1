"""
What is shipped for containers: it parses, is a whole configuration, and gives away no privilege.

Whether the image does what is said of it is tried by `make e2e-container`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from passproxy.core.config import settings_from, variables
from passproxy.core.routing import PREFIX
from passproxy.core.settings import Settings
from passproxy.web.server import DRAIN_SECONDS

CHECKOUT = Path(__file__).parent.parent
COMPOSE = CHECKOUT / "etc" / "compose" / "compose.yaml"
KUBERNETES = CHECKOUT / "etc" / "kubernetes" / "passproxy.yaml"
CONTAINERFILE = (CHECKOUT / "Containerfile").read_text("utf-8")

#: Whose files and processes PassProxy's are in the image.
(USER,) = re.findall(r"^USER (\d+):\d+$", CONTAINERFILE, re.MULTILINE)


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text("utf-8"))


def kubernetes(kind: str) -> dict[str, Any]:
    (found,) = [each for each in yaml.safe_load_all(KUBERNETES.read_text("utf-8")) if each["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    return kubernetes("Deployment")["spec"]["template"]["spec"]


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return found


ENVIRONMENTS: dict[str, Mapping[str, str]] = {
    "compose": compose()["services"]["passproxy"]["environment"],
    "Kubernetes": kubernetes("ConfigMap")["data"],
}


def configured(environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings, and the files of secrets that were read for them."""
    read: list[str] = []
    return settings_from(None, "environment", environment, lambda path: read.append(path) or "a secret"), read


@pytest.mark.parametrize(
    "file", [COMPOSE, KUBERNETES, CHECKOUT / "docs" / "install-container.md"], ids=lambda f: f.name
)
def test_every_variable_that_is_named_exists(file: Path):
    # One that ends with an underscore is the beginning of several; some are named because they are none.
    named = set(re.findall(r"PASSPROXY_[A-Z0-9_]*[A-Z0-9]", file.read_text("utf-8")))
    foreign = {"PASSPROXY_PORT", "PASSPROXY_PORT_8123_TCP", "PASSPROXY_SERVICE_HOST"}
    assert named - foreign <= variables().keys()
    assert len(named - foreign) >= 8


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_is_a_whole_configuration(name: str):
    environment = ENVIRONMENTS[name]
    assert all(isinstance(value, str) for value in environment.values()), "as Kubernetes and Docker insist"
    settings, _ = configured(environment)
    assert settings.listen == "0.0.0.0:8123"
    assert "127.0.0.0/8" not in settings.trusted_proxies


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_secret_is_a_file_that_is_mounted(name: str):
    settings, read = configured(ENVIRONMENTS[name])
    files = {*read, settings.session.keys_file}
    if name == "compose":
        mounted = {f"/run/secrets/{secret}" for secret in compose()["services"]["passproxy"]["secrets"]}
        assert set(compose()["secrets"]) == set(compose()["services"]["passproxy"]["secrets"])
    else:
        (mount,) = container()["volumeMounts"]
        told = re.findall(r"--from-literal=(\w+)=", KUBERNETES.read_text("utf-8"))
        mounted = {f"{mount['mountPath']}/{secret}" for secret in told}
        assert mount["readOnly"] is True
    assert files == mounted


def test_compose_takes_every_privilege_away():
    service = compose()["services"]["passproxy"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image says it"


def test_compose_gives_the_application_no_way_past_passproxy():
    application, service = compose()["services"]["app"], compose()["services"]["passproxy"]
    assert "ports" not in application
    assert set(application["networks"]) < set(service["networks"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_web_server_in_front_of_compose_is_believed():
    (network,) = compose()["networks"]["front"]["ipam"]["config"]
    assert configured(ENVIRONMENTS["compose"])[0].trusted_proxies == (network["gateway"],)


def test_kubernetes_takes_every_privilege_away():
    assert container()["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    context = pod()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["fsGroup"]) == (int(USER), int(USER))
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False


def test_kubernetes_adds_no_variable_of_its_own():
    assert pod()["enableServiceLinks"] is False


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_kubernetes_asks_what_is_there(probe: str):
    asked = container()[probe]["httpGet"]
    assert asked["path"] == PREFIX + "health"
    assert asked["port"] == container()["ports"][0]["name"]


def test_there_is_time_to_finish_what_is_under_way():
    assert int(compose()["services"]["passproxy"]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    (_, before) = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pod()["terminationGracePeriodSeconds"] > DRAIN_SECONDS + int(before)


def test_the_service_finds_the_pods():
    labels = kubernetes("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert kubernetes("Service")["spec"]["selector"] == labels
    assert kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    (rule,) = kubernetes("NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]


def test_the_image_is_not_for_root():
    assert int(USER) > 0


def test_the_image_has_only_dependencies_whose_hash_is_known():
    installs = re.findall(r"pip install (?:\\\n|[^\n])+", CONTAINERFILE)
    assert len(installs) == 2
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert all("--no-deps" in each for each in installs)


def test_everything_that_the_image_is_made_of_reaches_the_builder_and_nothing_else():
    sources = {
        word for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    ignored = [line for line in (CHECKOUT / ".containerignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert all((CHECKOUT / source).exists() for source in sources)


def test_the_image_holds_no_key_and_no_setting():
    """A key in an image is the same for everybody who has the image; a setting would beat the file of an administrator."""
    assert "PASSPROXY_" not in re.sub(r"^#.*", "", CONTAINERFILE, flags=re.MULTILINE)
    assert not re.search(r"^RUN.*passproxy (serve|keys)", CONTAINERFILE, re.MULTILINE)
