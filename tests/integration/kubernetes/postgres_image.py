"""`python -m tests.integration.kubernetes.postgres_image NAME FILE`: an image of this machine's PostgreSQL.

It keeps those promises of the official image that the manifests build on, where there is no registry to have that from.
"""

import sys
import tempfile
from pathlib import Path

from deployments.kubernetes.archive import Image, write_archive
from deployments.kubernetes.layer import Content, Contents, content_of, tree, write_layer
from deployments.kubernetes.machine import elf_files, libraries, root
from tests.servers import postgres_programs

ENTRY_POINT = rb"""#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --auth-local=trust --encoding=UTF8 --locale=C
    : >/tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl start --wait --options="-c listen_addresses=''"
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --username=postgres --no-psqlrc --set=ON_ERROR_STOP=1 --file="$file"
    done
    pg_ctl stop --wait
fi
exec "$@" -c "listen_addresses=*"
"""
SHELL = Path("/bin/sh")
ZONES = Path("/usr/share/zoneinfo")


def make(name: str, output: Path) -> None:
    programs = postgres_programs()
    assert programs, "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
    with tempfile.TemporaryDirectory() as directory:
        layer = write_layer(contents(programs), Path(directory, "layer.tar"))
        write_archive(Image((layer,), config(programs)), name, output)


def contents(programs: Path) -> Contents:
    installed = programs.parent  # /usr/lib/postgresql/15, beside which Debian has /usr/share/postgresql/15
    shared = Path("/usr/share/postgresql", installed.name)
    return {
        **root(),
        **tree(installed, str(installed)[1:]),
        **tree(shared, str(shared)[1:]),
        **tree(ZONES, str(ZONES)[1:]),
        **libraries([SHELL.resolve(), *elf_files(installed)]),
        "bin/sh": content_of(SHELL.resolve()),
        "etc/passwd": Content(data=b"postgres:x:999:999::/var/lib/postgresql:/bin/sh\n"),
        "var/lib/postgresql/data": Content(mode=0o755),
        "usr/local/bin/entry-point": Content(data=ENTRY_POINT, mode=0o755),
    }


def config(programs: Path) -> dict[str, object]:
    return {
        "Env": [f"PATH={programs}:/usr/local/bin:/usr/bin:/bin", "PGDATA=/var/lib/postgresql/data"],
        "Entrypoint": ["/usr/local/bin/entry-point"],
        "Cmd": ["postgres"],
        "StopSignal": "SIGINT",
    }


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
