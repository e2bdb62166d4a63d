"""The catalogue's tables, as SQLAlchemy sees them. Older databases become this one in `migrations/`."""

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text

# The newest revision in `migrations/versions`; a test holds the two together.
REVISION = "0001"

metadata = MetaData()

releases = Table(
    "releases",
    metadata,
    Column("release_id", Text, CheckConstraint("length(release_id) = 64"), primary_key=True),
    Column("title", Text, nullable=False),
    Column("artist", Text),
    Column("year", Integer),
    Column("cover_hash", Text),
    Column("artist_key", Text, nullable=False),
    Column("published_at", Float, nullable=False),
)

tracks = Table(
    "tracks",
    metadata,
    Column("track_root", Text, CheckConstraint("length(track_root) = 64"), primary_key=True),
    Column("manifest_hash", Text, nullable=False),
    Column("release_id", Text, ForeignKey("releases.release_id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("artist", Text),
    Column("album", Text),
    Column("track_number", Integer),
    Column("duration_s", Float, nullable=False),
    Column("cover_hash", Text),
    Column("artist_key", Text, nullable=False),
    Column("preview_s", Integer),
    Column("published_at", Float, nullable=False),
    Index("tracks_newest", "published_at"),
    Index("tracks_of_release", "release_id", "position"),
    Index("tracks_by_cover", "cover_hash"),
)

undone_attempts = Table(
    "undone_attempts",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("undone_at", Float, nullable=False),
)
