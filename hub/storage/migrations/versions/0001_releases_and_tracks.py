"""Releases, tracks, undone attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "releases",
        sa.Column("release_id", sa.Text, sa.CheckConstraint("length(release_id) = 64"), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("artist", sa.Text),
        sa.Column("year", sa.Integer),
        sa.Column("cover_hash", sa.Text),
        sa.Column("artist_key", sa.Text, nullable=False),
        sa.Column("published_at", sa.Float, nullable=False),
    )
    op.create_table(
        "tracks",
        sa.Column("track_root", sa.Text, sa.CheckConstraint("length(track_root) = 64"), primary_key=True),
        sa.Column("manifest_hash", sa.Text, nullable=False),
        sa.Column("release_id", sa.Text, sa.ForeignKey("releases.release_id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("artist", sa.Text),
        sa.Column("album", sa.Text),
        sa.Column("track_number", sa.Integer),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("cover_hash", sa.Text),
        sa.Column("artist_key", sa.Text, nullable=False),
        sa.Column("preview_s", sa.Integer),
        sa.Column("published_at", sa.Float, nullable=False),
    )
    op.create_table(
        "undone_attempts",
        sa.Column("attempt_id", sa.Text, primary_key=True),
        sa.Column("undone_at", sa.Float, nullable=False),
    )
    op.create_index("tracks_newest", "tracks", ["published_at"])
    op.create_index("tracks_of_release", "tracks", ["release_id", "position"])
    op.create_index("tracks_by_cover", "tracks", ["cover_hash"])


def downgrade() -> None:
    """Forget everything: the catalogue can be made anew from manifests and vault."""
    op.drop_table("undone_attempts")
    op.drop_table("tracks")
    op.drop_table("releases")
