"""The registry in a file of SQLite keeps the registry's promises."""

from pathlib import Path

import pytest

from tests.contract.registry_contract import ExperimentContract, JournalContract, RegistryBase, TrainingContract
from tests.contract.registry_listing_contract import ChangingListContract, ListingContract
from tests.contract.registry_metrics_contract import MetricsContract
from tests.contract.registry_monitoring_contract import MonitoringContract
from tests.contract.registry_overview_contract import OverviewContract
from tests.contract.registry_processes_contract import ProcessesContract
from tests.contract.registry_templates_contract import TemplatesContract
from tests.contract.registry_tunings_contract import TuningsContract


class OnSQLite(RegistryBase):
    """A new file for each test."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/registry.db"


class TestExperimentsOnSQLite(OnSQLite, ExperimentContract):
    """See the contract."""


class TestTrainingsOnSQLite(OnSQLite, TrainingContract):
    """See the contract."""


class TestListsOnSQLite(ListingContract):
    """See the contract."""

    @pytest.fixture(scope="class")
    @classmethod
    def shared_url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db"


class TestChangingListsOnSQLite(OnSQLite, ChangingListContract):
    """See the contract."""


class TestTuningsOnSQLite(OnSQLite, TuningsContract):
    """See the contract."""


class TestTemplatesOnSQLite(OnSQLite, TemplatesContract):
    """See the contract."""


class TestOverviewOnSQLite(OnSQLite, OverviewContract):
    """See the contract."""


class TestJournalOnSQLite(OnSQLite, JournalContract):
    """See the contract."""


class TestMetricsOnSQLite(OnSQLite, MetricsContract):
    """See the contract."""


class TestMonitoringOnSQLite(OnSQLite, MonitoringContract):
    """See the contract."""


class TestProcessesOnSQLite(OnSQLite, ProcessesContract):
    """See the contract."""
