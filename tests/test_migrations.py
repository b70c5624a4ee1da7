"""The schema's way from version to version, with rows in the tables."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, text

from mailer.embedded.services import Servers
from mailer.migrations import run
from mailer.models import Base
from tests.factories import NOW

STATES = {
    1: ("paused", "paused by Camille"),
    2: ("paused", "paused from the command line"),
    3: ("paused", "the ledger does not add up: Equation(recipients=2)"),
    4: ("paused", "535 5.7.8 bad credentials"),
    5: ("failed", "issue/body.html, line 3: no such name."),
    6: ("failed", "“hebdo” has no confirmed readers yet."),
    7: ("sending", "the server cannot be reached; trying again"),
    8: ("sent", None),
}
# The tables as they were then: the models of today do not fit them.
NEWSLETTER = text(
    "INSERT INTO newsletters (slug, name, language, site_url, sender_name, sender_address, publisher, postal_address,"
    " timezone, scheduled_since, created_at, updated_at) VALUES ('hebdo', 'Hebdo', 'fr', 'https://hebdo.example', 'Hebdo',"
    " 'lettre@hebdo.example', 'Hebdo', '12 rue des Caravanes', 'UTC', :now, :now, :now)"
)
ISSUE = text(
    "INSERT INTO issues (newsletter_id, state, state_reason, subject, preview_text, started_at, created_at, updated_at)"
    " VALUES (1, :state, :reason, 'Le titre', 'Aussi', :now, :now, :now)"
)
DELIVERY = text("INSERT INTO deliveries (issue_id, variant_id) VALUES (8, 1)")
BATCH = text(
    "INSERT INTO batches (issue_id, first_id, last_id, size, state, due_at, uncertain) VALUES (8, 1, 1, 1, 'done', :now, 1)"
)
OUTCOME = text("INSERT INTO outcomes VALUES (1, 'uncertain', 'no answer', :now)")


@pytest.fixture
def bare(services: Servers, worker_id: str) -> Iterator[Engine]:
    """A database without tables."""
    name = f"migrated_{worker_id}"
    services.create_database(name)
    engine = create_engine(services.url_for(name), poolclass=NullPool)
    yield engine
    engine.dispose()
    services.drop_database(name)


def url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def upgrade(engine: Engine, revision: str) -> None:
    config = run._config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def with_rows(engine: Engine) -> None:
    """Issues in every state, as the first version wrote them, and deliveries of the last."""
    with engine.begin() as connection:
        connection.execute(NEWSLETTER, {"now": NOW})
        for state, reason in STATES.values():
            connection.execute(ISSUE, {"now": NOW, "state": state, "reason": reason})
        connection.execute(DELIVERY)
        connection.execute(BATCH, {"now": NOW})
        connection.execute(OUTCOME, {"now": NOW})


def test_a_database_with_rows_comes_from_the_first_schema_to_the_newest(bare: Engine) -> None:
    upgrade(bare, "0001")
    with_rows(bare)
    run.upgrade(url(bare))
    assert run.is_current(url(bare))
    with bare.connect() as connection:
        rows = connection.execute(text("SELECT id, state_code, state_reason, when_uncertain FROM issues ORDER BY id"))
        found = {row.id: (row.state_code, row.state_reason, row.when_uncertain) for row in rows}
    codes = {1: "by_hand", 2: "by_hand", 3: "ledger_mismatch", 5: "template_invalid", 6: "nothing_to_send"}
    assert found == {one: (codes.get(one), reason, "leave") for one, (_, reason) in STATES.items()}


def test_the_migrations_make_the_tables_that_the_models_describe(bare: Engine) -> None:
    run.upgrade(url(bare))
    with bare.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(bare: Engine) -> None:
    run.upgrade(url(bare))
    run.upgrade(url(bare))
    assert run.is_current(url(bare))


def test_a_database_of_a_newer_version_is_left_alone_with_a_sentence(bare: Engine) -> None:
    run.upgrade(url(bare))
    with bare.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(run.DatabaseNewer, match="9999 of a newer version"):
        run.upgrade(url(bare))
    with bare.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
