"""The formerly declared tenants, in real tables."""

from datetime import timedelta

import pytest

from shared.configuration.settings import StorageSettings
from shared.resources.catalog import LONGEST_LIFETIME
from shared.subscriptions.former_tenants import WRITE_INTERVAL, FormerTenants
from tests import accounts
from tests.builders import NOW, OTHER_TENANT, TENANT

MOMENT = timedelta(seconds=1)


@pytest.fixture
def tenants(storage_settings: StorageSettings) -> FormerTenants:
    return FormerTenants(accounts.tables(storage_settings))


def test_an_undeclared_tenant_is_a_former_one_until_it_is_forgotten(tenants: FormerTenants) -> None:
    assert tenants.former([TENANT, OTHER_TENANT], NOW) == []
    assert tenants.former([TENANT], NOW + MOMENT) == [OTHER_TENANT]
    tenants.forget(OTHER_TENANT)
    assert tenants.former([TENANT], NOW + MOMENT) == []


def test_a_former_tenant_is_one_until_all_its_subscriptions_must_have_expired(tenants: FormerTenants) -> None:
    tenants.former([OTHER_TENANT], NOW)
    longest = LONGEST_LIFETIME + WRITE_INTERVAL
    assert tenants.former([], NOW + longest - MOMENT) == [OTHER_TENANT]
    assert tenants.former([], NOW + longest) == []


def test_that_a_tenant_is_declared_is_noted_once_a_day(tenants: FormerTenants) -> None:
    tenants.former([TENANT], NOW)
    tenants.former([TENANT], NOW + WRITE_INTERVAL)
    assert tenants._declared.get(TENANT) == NOW
    tenants.former([TENANT], NOW + WRITE_INTERVAL + MOMENT)
    assert tenants._declared.get(TENANT) == NOW + WRITE_INTERVAL + MOMENT
