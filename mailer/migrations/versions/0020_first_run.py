"""First run and settings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None


def upgrade() -> None:
    _installation()
    _mail_servers()
    op.create_table(
        'logos',
        sa.Column('digest', sa.Text(), nullable=False),
        sa.Column('width', sa.SmallInteger(), nullable=False),
        sa.Column('height', sa.SmallInteger(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('content', sa.LargeBinary(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('jpg', 'png')", name=op.f('ck_logos_kind')),
        sa.PrimaryKeyConstraint('digest', name=op.f('pk_logos')),
    )


def _installation() -> None:
    states = sa.Enum(
        'none', 'asked', 'found', 'ready', 'failed',
        name='sitestate', native_enum=False, create_constraint=True, length=None,
    )
    empty = {name: sa.Column(name, sa.Text(), server_default='', nullable=False) for name in (
        'name', 'publisher', 'postal_address', 'contact_address', 'site_url',
    )}
    op.create_table(
        'installation',
        sa.Column('id', sa.BigInteger(), server_default='1', autoincrement=False, nullable=False),
        empty['name'],
        sa.Column('language', sa.Text(), server_default='en', nullable=False),
        sa.Column('timezone', sa.Text(), server_default='UTC', nullable=False),
        empty['publisher'],
        empty['postal_address'],
        empty['contact_address'],
        sa.Column('brand_color', sa.Text(), server_default='#0F5C5C', nullable=False),
        sa.Column('logo_url', sa.Text(), nullable=True),
        sa.Column('logo_width', sa.SmallInteger(), server_default='160', nullable=False),
        sa.Column('is_sandbox', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        empty['site_url'],
        sa.Column('site_state', states, server_default='none', nullable=False),
        sa.Column('site_found', postgresql.JSONB(), server_default='{}', nullable=False),
        sa.Column('asked_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('newsletter_id', sa.BigInteger(), nullable=True),
        sa.Column('steps', postgresql.JSONB(), server_default='{}', nullable=False),
        sa.Column('dismissed', postgresql.JSONB(), server_default='[]', nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint('id = 1', name=op.f('ck_installation_one_row')),
        sa.CheckConstraint('logo_width BETWEEN 24 AND 536', name=op.f('ck_installation_logo_width')),
        sa.CheckConstraint(
            "(site_state = 'none') = (asked_at IS NULL)", name=op.f('ck_installation_asked_has_moment')
        ),
        sa.ForeignKeyConstraint(
            ['newsletter_id'], ['newsletters.id'], name=op.f('fk_installation_newsletter_id'), ondelete='SET NULL'
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_installation')),
    )
    op.create_index(op.f('ix_installation_newsletter_id'), 'installation', ['newsletter_id'])


def _mail_servers() -> None:
    security = sa.Enum(
        'smtp', 'smtp+starttls', 'smtps', name='security', native_enum=False, create_constraint=True, length=None
    )
    op.create_table(
        'mail_servers',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('security', security, nullable=False),
        sa.Column('host', sa.Text(), nullable=False),
        sa.Column('port', sa.Integer(), nullable=False),
        sa.Column('username', sa.Text(), nullable=True),
        sa.Column('sealed_password', sa.LargeBinary(), nullable=True),
        sa.Column('position', sa.SmallInteger(), server_default='1', nullable=False),
        sa.Column('connections', sa.SmallInteger(), server_default='10', nullable=False),
        sa.Column('per_second', sa.Float(), nullable=True),
        sa.Column('per_hour', sa.Integer(), nullable=True),
        sa.Column('per_day', sa.Integer(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name=op.f('ck_mail_servers_name_form')),
        sa.CheckConstraint('port BETWEEN 1 AND 65535', name=op.f('ck_mail_servers_port')),
        sa.CheckConstraint('position BETWEEN 1 AND 100', name=op.f('ck_mail_servers_position')),
        sa.CheckConstraint('connections BETWEEN 1 AND 1000', name=op.f('ck_mail_servers_connections')),
        sa.CheckConstraint(
            'per_second > 0 AND per_hour > 0 AND per_day > 0', name=op.f('ck_mail_servers_limits')
        ),
        sa.CheckConstraint(
            'username IS NOT NULL OR sealed_password IS NULL', name=op.f('ck_mail_servers_password_has_user')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_mail_servers')),
        sa.UniqueConstraint('name', name=op.f('uq_mail_servers_name')),
    )
