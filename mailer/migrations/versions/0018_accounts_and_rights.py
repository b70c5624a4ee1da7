"""Roles, invitations, second factors, and the audit log"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = '0018'
down_revision = '0016'
branch_labels = None
depends_on = None

_ROLES = ('viewer', 'writer', 'editor', 'admin', 'owner')


def upgrade() -> None:
    _accounts()
    _rights()
    _sessions()
    _secrets()
    _approvals()
    _audit()


def _accounts() -> None:
    op.alter_column('accounts', 'password_hash', nullable=True)
    op.add_column('accounts', sa.Column('role', _enum('role', *_ROLES), nullable=True))
    # Whoever had an account could do everything.
    op.execute("UPDATE accounts SET role = 'owner'")
    op.add_column(
        'accounts', sa.Column('has_single_keys', sa.Boolean(), server_default=sa.text('true'), nullable=False)
    )
    op.add_column('accounts', sa.Column('totp_secret', sa.LargeBinary(), nullable=True))
    op.add_column('accounts', sa.Column('totp_confirmed_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('accounts', sa.Column('totp_step', sa.BigInteger(), server_default='0', nullable=False))
    op.create_check_constraint(
        op.f('ck_accounts_confirmed_has_secret'), 'accounts', 'totp_confirmed_at IS NULL OR totp_secret IS NOT NULL'
    )
    op.create_table(
        'account_policies',
        sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('requires_second_factor', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.CheckConstraint('id = 1', name=op.f('ck_account_policies_one_row')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_account_policies')),
    )


def _rights() -> None:
    op.create_table(
        'account_rights',
        sa.Column('account_id', sa.BigInteger(), nullable=False),
        sa.Column('newsletter_id', sa.BigInteger(), nullable=False),
        sa.Column('role', _enum('role', *_ROLES), nullable=False),
        sa.CheckConstraint("role <> 'owner'", name=op.f('ck_account_rights_owner_is_everywhere')),
        _of_account('account_rights'),
        sa.ForeignKeyConstraint(
            ['newsletter_id'], ['newsletters.id'], name=op.f('fk_account_rights_newsletter_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('account_id', 'newsletter_id', name=op.f('pk_account_rights')),
    )
    op.create_index(op.f('ix_account_rights_newsletter_id'), 'account_rights', ['newsletter_id'])


def _sessions() -> None:
    op.add_column('account_sessions', sa.Column('seen_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('account_sessions', sa.Column('browser', sa.Text(), server_default='', nullable=False))
    op.add_column('account_sessions', sa.Column('network', sa.Text(), nullable=True))


def _secrets() -> None:
    op.create_table(
        'account_secrets',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('kind', _enum('secretkind', 'invitation', 'reset'), nullable=False),
        sa.Column('account_id', sa.BigInteger(), nullable=False),
        sa.Column('delivery_id', sa.BigInteger(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        _of_account('account_secrets'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_account_secrets')),
        sa.UniqueConstraint('delivery_id', name=op.f('uq_account_secrets_delivery_id')),
    )
    op.create_index(op.f('ix_account_secrets_account_id'), 'account_secrets', ['account_id'])
    op.create_index(op.f('ix_account_secrets_expires_at'), 'account_secrets', ['expires_at'])
    op.create_table(
        'account_requests',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('kind', _enum('secretkind', 'invitation', 'reset'), nullable=False),
        sa.Column('email', sa.Text(), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_account_requests')),
    )
    op.create_index(op.f('ix_account_requests_created_at'), 'account_requests', ['created_at'])
    _allow(
        'variants', 'kind', 'mailkind',
        'issue', 'confirm', 'already', 'review', 'alert', 'manage', 'change_address', 'address_changed', 'desk_account',
    )
    op.create_table(
        'recovery_codes',
        sa.Column('account_id', sa.BigInteger(), nullable=False),
        sa.Column('code_hash', sa.LargeBinary(), nullable=False),
        _of_account('recovery_codes'),
        sa.PrimaryKeyConstraint('account_id', 'code_hash', name=op.f('pk_recovery_codes')),
    )


def _approvals() -> None:
    op.add_column(
        'newsletters', sa.Column('needs_approval', sa.Boolean(), server_default=sa.text('false'), nullable=False)
    )
    op.create_table(
        'approvals',
        sa.Column('issue_id', sa.BigInteger(), nullable=False),
        sa.Column('account_id', sa.BigInteger(), nullable=False),
        sa.Column('content_hash', sa.LargeBinary(), nullable=False),
        sa.Column('given_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('asked', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        _of_account('approvals'),
        sa.ForeignKeyConstraint(
            ['issue_id'], ['issues.id'], name=op.f('fk_approvals_issue_id'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('issue_id', 'account_id', name=op.f('pk_approvals')),
    )
    op.create_index(op.f('ix_approvals_account_id'), 'approvals', ['account_id'])
    _allow(
        'issues', 'state_code', 'pausereason',
        'by_hand', 'too_many_refused', 'sender_refused', 'login_refused', 'tls_refused', 'message_too_big',
        'signing_failed', 'blocked', 'complaints', 'ledger_mismatch', 'template_invalid', 'nothing_to_send',
        'checks_failed', 'feeds_stale', 'not_approved', 'server_unreachable', 'server_slow', 'quota_reached',
    )
    _allow(
        'slots', 'code', 'slotcode',
        'in_review', 'approved', 'held_by_desk', 'dropped_by_desk', 'silence_sent', 'silence_held', 'pause_held',
        'unreviewed_sent', 'unreviewed_held', 'late_sent', 'late_held', 'late_merged', 'stale_sent', 'stale_held',
        'not_approved',
    )


def _audit() -> None:
    op.create_table(
        'audit_entries',
        sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('actor', _enum('actor', 'account', 'token', 'command'), nullable=False),
        sa.Column('actor_id', sa.BigInteger(), nullable=True),
        sa.Column('actor_name', sa.Text(), nullable=False),
        sa.Column('action', sa.Text(), nullable=False),
        sa.Column('newsletter_id', sa.BigInteger(), nullable=True),
        sa.Column('objects', JSONB(), nullable=False),
        sa.Column('network', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_entries')),
    )
    op.create_index(op.f('ix_audit_entries_at'), 'audit_entries', ['at'])
    op.create_index('ix_audit_entries_newsletter_id_id', 'audit_entries', ['newsletter_id', 'id'])
    op.create_index('ix_audit_entries_actor_actor_id_id', 'audit_entries', ['actor', 'actor_id', 'id'])
    op.execute(
        "CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries"
        " FOR EACH ROW EXECUTE FUNCTION forbid_change()"
    )


def _allow(table: str, column: str, name: str, *values: str) -> None:
    constraint = op.f(f'ck_{table}_{name}')
    op.drop_constraint(constraint, table)
    listed = ', '.join(f"'{value}'" for value in values)
    op.create_check_constraint(constraint, table, f'{column} IN ({listed})')


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ['account_id'], ['accounts.id'], name=op.f(f'fk_{table}_account_id'), ondelete='CASCADE'
    )


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=None)
