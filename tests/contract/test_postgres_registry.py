"""The registry in a PostgreSQL keeps the registry's promises."""

import pytest

from tests.contract.registry_contract import ExperimentContract, JournalContract, RegistryBase, TrainingContract
from tests.contract.registry_listing_contract import ChangingListContract, ListingContract
from tests.servers import PostgresServer


class OnPostgres(RegistryBase):
    """A new database for each test."""

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


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


class TestJournalOnPostgres(OnPostgres, JournalContract):
    """See the contract."""
