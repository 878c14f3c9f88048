"""Schema: which tables hold the studies of a database?

`events` is the history, append-only, and all that a study is. The other tables only say who does
what at this moment (`claims`, `asks`, `suggesters`); without them nothing that was learned is lost.

An event's payload is JSON. `trials` are the trials that it added or altered, as they were
afterwards; what stands beside them (the worker, the attempt, the reason) tells how that came
about, and `crc32` shows whether it was altered since (`seals.py`). A further kind of event needs no
other table, and a client that does not know a kind refuses the study rather than leave the event
out.
"""

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

#: Version of the tables and of the JSON in them; an older one is upgraded, a newer one refused.
FORMAT = "2"

METADATA = MetaData()

#: One row: the format. Clients of every version read it first.
META = Table(
    "meta",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
STUDIES = Table(
    "studies",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
)


def _study() -> Column[str]:
    """The study that a row belongs to."""
    return Column("study", String(32), ForeignKey("studies.id"), primary_key=True)


EVENTS = Table(
    "events",
    METADATA,
    _study(),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("payload", Text, nullable=False),
    Column("time", String(40), nullable=False),
    Column("call", String(32)),  # of whom wrote it: a repeated call finds that it has been made
)
#: Runs that workers make. Times are seconds of the database's clock since 1970.
CLAIMS = Table(
    "claims",
    METADATA,
    _study(),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("state", String(8), nullable=False),  # waiting, running, ended
    Column("attempt", Integer, nullable=False),  # grows with every claim
    Column("lost", Integer, nullable=False),  # attempts that came to nothing
    Column("owner", String(200)),
    Column("began", Float(53)),
    Column("expires", Float(53)),
)
#: Who waits for suggestions, and what they were given.
ASKS = Table(
    "asks",
    METADATA,
    _study(),
    Column("asker", String(200), primary_key=True),
    Column("wanted", Integer, nullable=False),
    Column("terms", Text, nullable=False),
    Column("asked", Float(53), nullable=False),
    Column("expires", Float(53), nullable=False),
    Column("answer", Text),
)
#: The one who works out suggestions; the fence grows with every election.
SUGGESTERS = Table(
    "suggesters",
    METADATA,
    _study(),
    Column("holder", String(200)),
    Column("fence", Integer, nullable=False),
    Column("expires", Float(53), nullable=False),
)
