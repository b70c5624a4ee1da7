"""Bring a database to the newest schema, or tell whether it is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, pool


class DatabaseNewer(Exception):
    """The database was made by a newer version, which this one can't read."""


def upgrade(database_url: str) -> None:
    """Run every migration that the database lacks, in one transaction. Safe to run twice, or by two at once.

    Raises DatabaseNewer.
    """
    config = _config()
    engine = create_engine(database_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        _refuse_newer(connection, config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def is_current(database_url: str) -> bool:
    """Tell whether the database has the schema that this version expects."""
    engine = create_engine(database_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        heads = MigrationContext.configure(connection).get_current_heads()
    return set(heads) == set(ScriptDirectory.from_config(_config()).get_heads())


def _refuse_newer(connection: Connection, config: Config) -> None:
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    newer = set(MigrationContext.configure(connection).get_current_heads()) - known
    # What was read here must not stand in the migrations' own transaction.
    connection.rollback()
    if newer:
        raise DatabaseNewer(
            f"The database has the schema {', '.join(sorted(newer))} of a newer version, which this one does not know. "
            "Install that version again, or restore a backup from before the upgrade; a demo begins anew with --fresh."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
