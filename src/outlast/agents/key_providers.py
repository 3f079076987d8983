"""Where the master key is: in the settings, or in a KMS that the project's own code speaks to."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.domain.key_provider import KeyProvider
from outlast.errors import ConfigurationError
from outlast.settings_encryption import EncryptionSettings
from outlast.storage.postgres.data_keys import sealing_of
from outlast.storage.postgres.master_keys import MasterKeys
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.sealing import Sealing


@asynccontextmanager
async def encrypted(pool: Pool, settings: EncryptionSettings, project: Project) -> AsyncGenerator[Sealing]:
    """Let a pool encrypt and decrypt to the end of the block, if the settings say so.

    Raises ConfigurationError when the database is encrypted and there is no key, or the other way round.
    """
    async with sealing_of(pool, key_provider(settings, project), refresh=settings.refresh) as sealing:
        before, pool.sealing = pool.sealing, sealing
        try:
            yield sealing
        finally:
            pool.sealing = before


def key_provider(settings: EncryptionSettings, project: Project) -> KeyProvider | None:
    """Return what wraps data keys; None where nothing is to be encrypted."""
    if settings.provider and settings.master_key:
        msg = "encryption: give either master_key or provider; a provider keeps its master keys itself"
        raise ConfigurationError(msg)
    if settings.provider:
        return _loaded(settings.provider, project)
    return MasterKeys(settings.master_key, settings.old_master_keys) if settings.master_key else None


def _loaded(text: str, project: Project) -> KeyProvider:
    _, found = load_attribute(project, project.target("encryption.provider", text))
    made = found if isinstance(found, KeyProvider) and not isinstance(found, type) else None
    if made is None and callable(found):
        made = cast("Callable[[], object]", found)()
    if not isinstance(made, KeyProvider):
        msg = (
            f"encryption.provider: {text} is no outlast.KeyProvider; it needs a name, and `wrap` and `unwrap` that are "
            "coroutine functions"
        )
        raise ConfigurationError(msg)
    return made
