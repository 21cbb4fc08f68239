"""What goes wrong with a database is said in words of our own, and leaves it whole."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from blocks.domain.errors import InvalidInputError, RegistryUnavailableError, RegistryUnusableError
from blocks.domain.specs import ExperimentSpec
from blocks.registry.database import open_registry
from blocks.registry.driver import open_driver
from blocks.registry.engine import open_engine
from blocks.registry.experiment_rows import ExperimentRows
from blocks.registry.migrating import alembic_config
from blocks.registry.schema import HEAD
from blocks.registry.tables import Table

SPEC = ExperimentSpec(name="digits")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, file: Path) -> str:
    """A new database of either kind."""
    return url_of(file) if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def run(url: str, *statements: str) -> None:
    """Do something to a database behind the registry's back."""
    engine = open_engine(open_driver(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def tables_of(url: str) -> set[str]:
    engine = open_engine(open_driver(url))
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


class TestSchema:
    def test_the_newest_migration_is_the_one_that_an_opening_looks_for(self) -> None:
        assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]

    def test_the_migrations_make_the_tables_that_the_classes_describe(self, url: str) -> None:
        open_registry(url).close()
        engine = open_engine(open_driver(url))
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        engine.dispose()

    def test_a_database_that_is_newer_is_refused_and_left_alone(self, url: str) -> None:
        open_registry(url).close()
        run(url, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(RegistryUnusableError, match=r"newer Makerflow has written it \(schema 9999; this one"):
            open_registry(url)
        run(url, f"UPDATE alembic_version SET version_num = '{HEAD}'")  # noqa: S608 - a constant of ours
        open_registry(url).close()

    def test_a_migration_that_cannot_be_finished_changes_nothing(self, url: str) -> None:
        run(url, "CREATE TABLE training (mine int)")
        with pytest.raises(RegistryUnusableError, match="training"):
            open_registry(url)
        assert tables_of(url) == {"training"}

    def test_opening_what_is_up_to_date_imports_neither_alembic_nor_sqlalchemy(self, file: Path) -> None:
        open_registry(url_of(file)).close()
        program = (
            "import sys\n"
            "from blocks.registry.database import open_registry\n"
            "with open_registry(sys.argv[1]) as registry:\n"
            "    assert registry.trainings.page().items == ()\n"
            "slow = {'alembic', 'sqlalchemy', 'sqlmodel', 'psycopg', 'prefect', 'numpy'} & set(sys.modules)\n"
            "assert not slow, slow\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", program, url_of(file)], check=True)

    def test_a_file_of_sqlite_is_in_wal_mode_with_foreign_keys(self, file: Path) -> None:
        open_registry(url_of(file)).close()
        connection = open_driver(url_of(file)).connect(autocommit=True)
        names = ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
        connection.close()
        assert settings == ["wal", 1, 1, 30_000]


class TestTrouble:
    @pytest.mark.parametrize("url", ["mysql://a:secret@host/db", "sqlite://", "sqlite:///:memory:", "registry.db", ""])
    def test_a_url_of_another_kind_is_refused_without_its_password(self, url: str) -> None:
        with pytest.raises(InvalidInputError, match="sqlite:///PATH or postgresql://") as refused:
            open_registry(url)
        assert "secret" not in str(refused.value)

    def test_a_file_that_is_no_database_is_refused(self, file: Path) -> None:
        file.write_bytes(b"This is no database, and it is longer than a header of one would be." * 100)
        with pytest.raises(RegistryUnusableError, match="no database"):
            open_registry(url_of(file))

    def test_a_damaged_file_is_said_to_be_one(self, file: Path) -> None:
        with open_registry(url_of(file)) as registry:
            for n in range(50):
                registry.experiments.create(ExperimentSpec(name=f"digits-{n}", description="x" * 1000))
        page = 4096
        body = bytearray(file.read_bytes())
        body[page:] = b"\xff" * (len(body) - page)
        file.write_bytes(body)
        with pytest.raises(RegistryUnusableError, match="damaged"):
            open_registry(url_of(file))

    def test_a_place_where_no_file_can_be_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RegistryUnusableError):
            open_registry(url_of(tmp_path / "file" / "registry.db"))

    def test_a_table_that_is_gone_is_said(self, url: str) -> None:
        with open_registry(url) as registry:
            run(url, "DROP TABLE metric_point")
            with pytest.raises(RegistryUnusableError, match="metric_point"):
                registry.metrics.curve("trn-1", "loss")

    def test_a_file_that_somebody_else_locks_for_too_long_may_be_free_later(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("blocks.registry.sqlite.BUSY_SECONDS", 0.05)
        with open_registry(url_of(file)) as registry:
            holder = sqlite3.connect(file, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(RegistryUnavailableError, match="locked"):
                registry.experiments.create(SPEC)
            assert registry.experiments.page().items == ()
            holder.execute("COMMIT")
            holder.close()
            assert registry.experiments.create(SPEC).name == "digits"

    def test_a_writer_waits_for_another(self, file: Path) -> None:
        with open_registry(url_of(file)) as registry:
            holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            holder.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.2, lambda: holder.execute("COMMIT"))
            timer.start()
            assert registry.experiments.create(SPEC).name == "digits"
            timer.join()
            holder.close()

    def test_a_server_that_is_not_there_may_come_back(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryUnavailableError) as refused:
            open_registry(f"postgresql://user:secret@/nothing?host={tmp_path}")
        assert "secret" not in str(refused.value)

    def test_a_database_that_nobody_has_created_is_no_passing_trouble(self, postgres_url: str) -> None:
        for absent in (postgres_url.replace("/test_", "/nobody_"), postgres_url.replace("//makerflow@", "//nobody@")):
            with pytest.raises(RegistryUnusableError, match=r"does not exist.*Create it.*MAKERFLOW_REGISTRY_URL"):
                open_registry(absent)

    def test_a_directory_in_the_place_of_the_file_is_no_passing_trouble(self, file: Path) -> None:
        file.mkdir()
        with pytest.raises(RegistryUnusableError, match="it is a directory"):
            open_registry(url_of(file))

    def test_a_url_that_postgresql_does_not_understand_is_refused_without_its_password(self) -> None:
        with pytest.raises(InvalidInputError, match="MAKERFLOW_REGISTRY_URL") as refused:
            open_registry("postgresql://user:secret@host:port:port/db?x=y")
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize(
        "call",
        [
            lambda registry: registry.experiments.page(),
            lambda registry: registry.experiments.change(registry.experiments.get("digits").id, description="x"),
        ],
        ids=["reading", "writing"],
    )
    def test_lost_connections_are_made_again(self, postgres_url: str, call: Callable[[object], object]) -> None:
        with open_registry(postgres_url) as registry:
            registry.experiments.create(SPEC)
            registry.experiments.page()
            with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as other:
                ended = other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
            assert len(ended) == 2
            call(registry)

    def test_a_connection_that_is_lost_while_writing_is_a_passing_trouble(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lose_connection(rows: ExperimentRows, id: str, status: object, at_us: int) -> None:
            (pid,) = rows._session.connection().exec_driver_sql("SELECT pg_backend_pid()").one()
            with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            rows.named("digits")

        with open_registry(postgres_url) as registry:
            with monkeypatch.context() as patch:
                patch.setattr(ExperimentRows, "begin_history", lose_connection)
                with pytest.raises(RegistryUnavailableError):
                    registry.experiments.create(SPEC)
            assert registry.experiments.page().items == ()
            assert registry.experiments.create(SPEC).name == "digits"

    def test_threads_share_a_registry(self, url: str) -> None:
        with open_registry(url) as registry:
            made: list[str] = []

            def work(number: int) -> None:
                for n in range(5):
                    made.append(registry.experiments.create(ExperimentSpec(name=f"{number}-{n}")).id)
                    registry.experiments.get(f"{number}-{n}")

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(made)) == 40
            assert {row.id for row in registry.experiments.page().items} == set(made)

    def test_a_registry_that_is_forgotten_leaves_no_connection_open(self, url: str) -> None:
        registry = open_registry(url)
        registry.experiments.create(SPEC)
        assert registry.experiments.get("digits").name == "digits"
        del registry
