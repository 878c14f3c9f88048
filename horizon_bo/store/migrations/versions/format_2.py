"""Format 2: how does a database hold several studies, each with an id, and who works on them?

On PostgreSQL the events of format 1 stay in the table `events_format_1`.
"""

import json
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Give the study an id and a name, and its events to it."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT * FROM events ORDER BY sequence")).mappings().all()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("CREATE TABLE events_format_1 AS SELECT * FROM events"))
    op.drop_table("events")
    study = uuid4().hex
    studies, events = _create_tables()
    _create_tables_of_workers()
    op.bulk_insert(studies, [{"id": study, "name": "study"}])
    op.bulk_insert(
        events,
        [{**row, "study": study, "payload": _payload(row), "call": uuid4().hex} for row in rows],
    )
    op.execute("UPDATE meta SET value = '2' WHERE name = 'format'")


def _payload(row: sa.RowMapping) -> str:
    """The first event held the study itself, later ones its trials under that name."""
    if row["sequence"] > 0:
        return row["payload"]
    return json.dumps({"study": json.loads(row["payload"])})


def _create_tables() -> tuple[sa.Table, sa.Table]:
    studies = op.create_table(
        "studies",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
    )
    events = op.create_table(
        "events",
        _study(),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("time", sa.String(40), nullable=False),
        sa.Column("call", sa.String(32)),
    )
    return studies, events


def _create_tables_of_workers() -> None:
    op.create_table(
        "claims",
        _study(),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lost", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("began", sa.Float(53)),
        sa.Column("expires", sa.Float(53)),
    )
    op.create_table(
        "asks",
        _study(),
        sa.Column("asker", sa.String(200), primary_key=True),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("asked", sa.Float(53), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
        sa.Column("answer", sa.Text),
    )
    op.create_table(
        "suggesters",
        _study(),
        sa.Column("holder", sa.String(200)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )


def _study() -> sa.Column:
    return sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), primary_key=True)
