"""Where packages come from: the user's settings for pip, told to uv, which does not read them.

A machine that reaches its packages through a mirror has that set up for pip, in `PIP_*` variables or in pip's
configuration files. What uv is told itself (`UV_*`) always wins.
"""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "proxy": "HTTPS_PROXY",
}
"""pip's option to the variable in which uv takes the same."""

SOURCES_OF_PACKAGES = ("index-url", "extra-index-url", "find-links", "no-index", "constraint", "pre")
"""The options that decide which packages are found."""

_PLACES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS")
_NETWORK = ("NETRC", "SSH_AUTH_SOCK", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_COMPILERS = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "LD_LIBRARY_PATH", "CUDA_HOME")
PASSED = frozenset((*_PLACES, *_NETWORK, *_CERTIFICATES, *_COMPILERS, "MAKERFLOW_RUN"))
"""What an installer gets of our environment, besides `LC_*`, `PIP_*` and `UV_*`.

A package's build runs the package's own code, so the credentials that the agent holds must not be there.
`MAKERFLOW_RUN` is how a stop finds what it starts.
"""


def installer_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which an installer runs, out of ours: pip's settings also in uv's words."""
    result = {
        name: value
        for name, value in environ.items()
        if name.upper() in PASSED or name.startswith(("LC_", "PIP_", "UV_"))
    }
    settings = pip_settings(environ)
    for option, name in UV_NAMES.items():
        if settings.get(option):
            result.setdefault(name, " ".join(settings[option].split()))
    if settings.get("extra-index-url"):
        # pip takes the best version of all indexes; uv would stop at the first index that knows the name.
        result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    result.setdefault("UV_SYSTEM_CERTS", "1")
    return result


def has_no_index(environ: Mapping[str, str]) -> bool:
    """Whether pip is told to use no index, which uv takes as an argument only."""
    return pip_settings(environ).get("no-index", "").lower() in ("1", "true", "yes", "on")


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The options of `pip install`, by their long names: its configuration files, then `PIP_*` over them."""
    settings: dict[str, str] = {}
    for file in _configuration_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will say what is wrong with it
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_"):
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings.pop("default-timeout"))
    return settings


def _configuration_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """In pip's order: a later one wins. https://pip.pypa.io/en/stable/topics/configuration/."""
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return
    for directory in reversed(environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(directory, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    if home := environ.get("HOME"):
        yield Path(home, ".pip", "pip.conf")
        yield Path(environ.get("XDG_CONFIG_HOME") or Path(home, ".config"), "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if own:
        yield Path(own)
