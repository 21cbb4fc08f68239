"""The schema's version: checked at every opening with one SELECT, migrated when the database is older."""

from blocks.domain.errors import RegistryUnusableError
from blocks.registry.driver import Driver

HEAD = "0007"
"""The newest migration; a test compares it with the migrations themselves, which are slow to import."""

_VERSION = "SELECT version_num FROM alembic_version"


def ensure_schema(driver: Driver) -> None:
    """Bring the database to this program's schema; nothing to do costs one SELECT.

    Many processes may open a new database at once: one migrates, in one transaction, the others wait for it.

    Raises:
        RegistryUnusableError: The database is newer than this program, or holds something else.
        RegistryUnavailableError: It does not answer.
    """
    try:
        if _version(driver) == HEAD:
            return
        with driver.migrating():
            driver.prepare()
            version = _version(driver)
            if version != HEAD:
                _migrate(driver, version)
    except driver.errors as exc:
        raise driver.error(exc) from exc
    except OSError as exc:
        raise RegistryUnusableError(driver.where, str(exc), "Make its directory writable for you.") from exc


def _version(driver: Driver) -> str:
    """The version that the database says it has; empty when it says nothing."""
    if not driver.exists():
        return ""
    connection = driver.connect(autocommit=True)
    try:
        found = connection.execute(_VERSION).fetchone()
    except driver.errors as exc:
        if driver.is_no_such_table(exc):
            return ""
        raise
    finally:
        connection.close()
    return str(found[0]) if found else ""


def _migrate(driver: Driver, version: str) -> None:
    from blocks.registry.migrating import known_versions, upgrade

    if version and version not in known_versions():
        raise RegistryUnusableError(
            driver.where,
            f"a newer Makerflow has written it (schema {version}; this one knows up to {HEAD})",
            "Use that version of Makerflow, or another database (MAKERFLOW_REGISTRY_URL).",
        )
    upgrade(driver)
