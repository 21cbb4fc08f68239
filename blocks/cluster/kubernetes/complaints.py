"""What Kubernetes' complaints mean to a person: tables, in each of which the first row that matches counts."""

from dataclasses import dataclass

from blocks.domain.plan import ExitCause

PATIENCE_SECONDS = 30.0
"""For what somebody has to change before it can go: it may have been changed a moment ago."""

HAS_RUN_SECONDS = 600.0
"""For all that can be mended, of a run that goes on from what it has done: as long as it takes to hear of it."""

PULL_SECONDS = 120.0
"""For a registry to be back."""

CLAIM_SECONDS = 120.0
"""For a volume's claim to be made."""

CRASHES = 2
"""So often the platform's own container is started again: for half a minute."""


@dataclass(frozen=True)
class Row:
    """What words of Kubernetes mean: `{0}`, `{1}`... are the groups of the pattern."""

    pattern: str
    message: str
    cause: ExitCause | None = None
    patience_seconds: float = PATIENCE_SECONDS


MOUNTS = ("FailedMount", "FailedAttachVolume")
QUOTA = r"exceeded quota: (\S+), requested: (.*), used: (.*), limited: (.*)"
QUOTA_FULL = (
    "waiting for {1}: {2} of {3} are used, which is the quota {0} of the namespace. It starts when others have ended."
)
QUOTA_NEVER = (
    "The quota {0} of the namespace allows no more than {1}, and a worker asks for {2}. "
    "Use a smaller flavor, or have the quota raised."
)
UNITS = {
    "cpu": " vCPU",
    "memory": " of memory",
    "pods": " pod",
    "nvidia.com/gpu": " GPU",
    "jobs.batch": " Job",
    "secrets": " Secret",
    "services": " Service",
}

UNMENDED = "If that is not mended by {0:%Y-%m-%d %H:%M:%S} UTC, it ends."

UNUSABLE = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError")
UNPULLED = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")

PULLS = {
    r"toomanyrequests|\b429\b|rate limit": "its registry allows no more downloads for now",
    r"unauthorized|denied|forbidden|authorization|credentials|\b40[13]\b": "its registry refuses it to the cluster",
    r"not found|manifest unknown|does not exist|\b404\b": "its registry does not have it",
    r"dial tcp|no such host|timeout|timed out|connection|x509|tls|EOF": "its registry cannot be reached",
    r"no space left": "the disk of its node is full",
    r"": "the node says",
}
OUR_IMAGE = "Check MAKERFLOW_IMAGE"
USERS_IMAGE = "Check the container of the image's entry in the catalogue"
KEY = ", and MAKERFLOW_IMAGE_PULL_SECRETS if its registry asks for a key"

WHEN = ". It starts when one has; if none is that large, choose a smaller flavor."
HELPLESS, HOPEFUL = "Preemption is not helpful", "No preemption victims found"
"""Of a node that is too small, however empty; of one that others fill. Older schedulers say the latter of both."""

TOO_LARGE = Row(
    r"Insufficient ([^\s,]+)",
    "waiting for a node with more of {0}: none that the flavor may use now is large enough, however empty. Choose "
    "a smaller flavor, or have a larger node added; `kubectl describe nodes` says what each has (Allocatable).",
)

UNSCHEDULED = (
    Row(
        r'persistentvolumeclaim "([^"]+)" not found',
        "There is no PersistentVolumeClaim {0} in the namespace. "
        "Make it, or correct MAKERFLOW_NAS_VOLUMES or MAKERFLOW_NODE_CACHE, whichever names it.",
        ExitCause.INPUT_MISSING,
        CLAIM_SECONDS,
    ),
    Row(
        r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim \"[^\"]+\" (is being|bound to)",
        "waiting for the volume of the NAS or node cache: its PersistentVolumeClaim is not bound to one. "
        "Ask `kubectl describe pvc` for what it lacks.",
    ),
    Row(r"Insufficient cpu", "waiting for {vcpus:g} vCPU: no node has as many left" + WHEN),
    Row(r"Insufficient memory", "waiting for memory: no node has as much left as the flavor asks for" + WHEN),
    Row(
        r"Insufficient ephemeral-storage",
        "waiting for disk space: no node has as much left as the flavor asks for" + WHEN,
    ),
    Row(r"Insufficient ([^\s,]+)", "waiting for {0}: no node has as many left as the flavor asks for" + WHEN),
    Row(
        r"Too many pods",
        "waiting for room: the nodes have as many pods as they may have" + WHEN.partition(";")[0] + ".",
    ),
    Row(
        r"untolerated taint(?:\(s\))? \{(node\.kubernetes\.io/[^:]+):|(were unschedulable)",
        "waiting for a node: those that would do are out of use. It starts when one is back.",
    ),
    Row(
        r"untolerated taint(?:\(s\))? \{([^}]*?):? *\}",
        "waiting for a node: those there are have the taint {0}, which the flavor does not tolerate. "
        "Add it to the tolerations of the flavor in the catalogue, if it may use them.",
    ),
    Row(
        r"untolerated taint\(s\)",
        "waiting for a node: those that would do are out of use, or have a taint that the flavor does not tolerate. "
        "It starts when one is back; `kubectl describe nodes` names the taints.",
    ),
    Row(
        r"node affinity/selector|node selector",
        "waiting for a node: none has the labels that the flavor asks for. "
        "Label one, or correct the node_selector of the flavor in the catalogue.",
    ),
    Row(r"(.*)", "waiting for a node: {0}"),
)

REFUSED = (
    Row(
        r"failed quota: (\S+): must specify (.*?)(?: for: (.*))?$",
        "The quota {0} of the namespace takes only pods all of whose containers say {1}, which the platform's own do "
        "not, whatever the flavor. Give the namespace a LimitRange of type Container with a default of it, or have the "
        "quota changed.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r'violates PodSecurity "([^":]+)[^"]*": (.*hostPath.*)',
        "The namespace's Pod Security standard {0} allows no cache on nodes ({1}). "
        "Set MAKERFLOW_NODE_CACHE to a claim (claim:NAME), or unset it, or have the standard changed.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r'violates PodSecurity "([^":]+)[^"]*": (.*"nfs".*)',
        "The namespace's Pod Security standard {0} allows no NFS volume ({1}). "
        "Name a claim of such a volume (claim:NAME) in MAKERFLOW_NAS_VOLUMES, or have the standard changed.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r'violates PodSecurity "([^":]+)[^"]*": (.*)',
        "The namespace's Pod Security standard {0} refuses its pods: {1}. Have one of the two changed.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r"(m(?:ax|in)imum \S+ usage per \S+ is [^,]+), but (limit|request) is ([^,\]]+)",
        "A LimitRange of the namespace refuses its pods: the {0}, and the flavor's {1} is {2}. "
        "Choose another flavor, or have the LimitRange changed.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r'serviceaccount "([^"]+)" not found',
        "There is no service account {0} in the namespace. Have it made.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r"no PriorityClass with name (\S+) was found",
        "The cluster has no priority class {0}. Correct the priority_class of the flavor in the catalogue.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r'admission webhook "([^"]+)" denied the request: (.*)',
        "The cluster's rule {0} refuses its pods: {1}. Ask whoever keeps the cluster.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(
        r"is forbidden: (.*)",
        "The cluster refuses its pods: {0}. Ask whoever keeps the cluster.",
        ExitCause.LAUNCHER_ERROR,
    ),
    Row(r"(.*)", "waiting for the cluster to make its pods: {0}"),
)

UNMOUNTED = (
    Row(
        r'secret "([^"]+)" not found|references non-existent secret key: (\S+)',
        "Somebody deleted its Secret {0}. Start it again as a copy.",
        ExitCause.LAUNCHER_ERROR,
        CLAIM_SECONDS,
    ),
    Row(
        r'volume "(nas-[^"]+)".*?: *(?:mount failed: )?(.*)',
        "waiting for the volume {0}, which cannot be mounted: {1}. Check MAKERFLOW_NAS_VOLUMES and the server it names",
    ),
    Row(r"(.*)", "waiting for a volume: {0}"),
)
