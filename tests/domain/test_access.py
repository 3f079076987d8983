"""Scopes, and the names of tenants and users."""

import pytest

from outlast.domain.access import (
    ADMIN,
    CLIENT_SCOPES,
    READ_SCOPES,
    SCOPES,
    checked_scopes,
    has_scope,
    is_tenant,
    is_user,
    require_scope,
)
from outlast.domain.acting import Principal, acting_for
from outlast.errors import Forbidden, InvalidInput


def test_writing_does_not_include_reading():
    assert not has_scope(frozenset({"runs:write"}), "runs:read")


def test_admin_includes_every_scope_and_so_does_nobody_being_asked():
    for scope in SCOPES:
        assert has_scope(frozenset({ADMIN}), scope)
        assert has_scope(None, scope)
        assert not has_scope(frozenset(), scope)


def test_what_a_client_needs_runs_nothing():
    assert not {ADMIN, "keys:admin", "budgets:read", "budgets:write"} & CLIENT_SCOPES
    assert {"runs:write", "threads:write", "inbox:answer"} <= CLIENT_SCOPES
    assert all(scope.endswith(":read") for scope in READ_SCOPES)


def test_the_scope_that_is_missing_is_named():
    with acting_for(Principal(scopes=frozenset({"runs:read"}))), pytest.raises(Forbidden, match="store:write"):
        require_scope("store:write")


def test_a_misspelt_scope_is_named():
    with pytest.raises(InvalidInput, match="'runs:raed'"):
        checked_scopes(["runs:read", "runs:raed"])


@pytest.mark.parametrize("name", ["default", "acme", "a", "Acme-1.eu", "org/team", "ann@example.com", "7", "a" * 128])
def test_names_of_tenants(name):
    assert is_tenant(name)


@pytest.mark.parametrize("name", ["", "*", "a*", " a", "a ", "a\n", "-a", "a-", "é", "a\0", "a" * 129, 7, None, True])
def test_what_is_no_name_of_a_tenant(name):
    assert not is_tenant(name)


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "a\nb", "a\0", "a" * 256, 7, None])
def test_what_is_no_name_of_a_user(name):
    assert not is_user(name)
    assert is_user("Ann Ö. (support)")
