"""The Pod Security standard `restricted`, version 1.34, as far as a pod's own fields say.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """What `restricted` would refuse of a pod's specification."""
    whole = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    if whole.get("sysctls"):
        yield "sysctls"
    for volume in pod.get("volumes", ()):
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kinds}"
    for container in containers(pod):
        for why in _of_container(whole | container.get("securityContext", {}), container):
            yield f"container {container['name']}: {why}"


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def _of_container(context: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    capabilities = context.get("capabilities", {})
    rules = {
        "privileged": not context.get("privileged"),
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser") != 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "capabilities.drop": capabilities.get("drop") == ["ALL"],
        "capabilities.add": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "procMount": context.get("procMount", "Default") == "Default",
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
    }
    return (rule for rule, is_kept in rules.items() if not is_kept)
