"""The registry in a PostgreSQL keeps the registry's promises."""

from collections.abc import Iterator

import psycopg
import pytest

from blocks.registry.database import open_registry
from tests.contract.registry_contract import ExperimentContract, JournalContract, RegistryBase, TrainingContract
from tests.contract.registry_listing_contract import ChangingListContract, ListingContract
from tests.contract.registry_metrics_contract import MetricsContract
from tests.contract.registry_monitoring_contract import MonitoringContract
from tests.contract.registry_overview_contract import OverviewContract
from tests.contract.registry_processes_contract import ProcessesContract
from tests.contract.registry_templates_contract import TemplatesContract
from tests.contract.registry_tunings_contract import TuningsContract
from tests.servers import PostgresServer


class OnPostgres(RegistryBase):
    """A database for each class, emptied after each test: making one takes longer than most tests."""

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, _postgres: PostgresServer) -> str:
        """A database with the registry's tables."""
        url = _postgres.make_database()
        open_registry(url).close()
        return url

    @pytest.fixture
    def url(self, database: str) -> Iterator[str]:
        yield database
        with psycopg.connect(database.replace("+psycopg", "")) as connection:
            connection.execute(
                "TRUNCATE experiment, template, status_move, flow_run, connection RESTART IDENTITY CASCADE"
            )


class TestExperimentsOnPostgres(OnPostgres, ExperimentContract):
    """See the contract."""


class TestTrainingsOnPostgres(OnPostgres, TrainingContract):
    """See the contract."""


class TestListsOnPostgres(ListingContract):
    """See the contract."""

    @pytest.fixture(scope="class")
    @classmethod
    def shared_url(cls, _postgres: PostgresServer) -> str:
        return _postgres.make_database()


class TestChangingListsOnPostgres(OnPostgres, ChangingListContract):
    """See the contract."""


class TestTuningsOnPostgres(OnPostgres, TuningsContract):
    """See the contract."""


class TestTemplatesOnPostgres(OnPostgres, TemplatesContract):
    """See the contract."""


class TestOverviewOnPostgres(OnPostgres, OverviewContract):
    """See the contract."""


class TestJournalOnPostgres(OnPostgres, JournalContract):
    """See the contract."""


class TestMetricsOnPostgres(OnPostgres, MetricsContract):
    """See the contract."""


class TestMonitoringOnPostgres(OnPostgres, MonitoringContract):
    """See the contract."""


class TestProcessesOnPostgres(ProcessesContract):
    """See the contract; each test has a new database, which the processes themselves make ready."""

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
