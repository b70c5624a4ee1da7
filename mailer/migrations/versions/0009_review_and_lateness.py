"""What the desk decides before an issue leaves, and what happens when it is late"""

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
