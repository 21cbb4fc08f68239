"""Alembic, run in one transaction. Only imported when there is something to migrate: it takes a second."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from blocks.registry.driver import Driver
from blocks.registry.engine import open_engine

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config() -> Config:
    """Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def known_versions() -> set[str]:
    """The versions that this program can migrate from."""
    return {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def upgrade(driver: Driver) -> None:
    """Bring the database to the newest schema, wholly or not at all.

    Raises:
        RegistryUnavailableError: The database did not answer.
        RegistryUnusableError: It holds tables of somebody else.
    """
    config = alembic_config()
    engine = open_engine(driver)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as exc:
        raise driver.error(exc.orig or exc) from exc
    except SQLAlchemyError as exc:
        raise driver.error(exc) from exc
    finally:
        engine.dispose()
