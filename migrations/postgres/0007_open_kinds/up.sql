-- The kinds of mails and of revocations grow with the versions of the service, which alone
-- writes them: no constraint lists them, so that a new kind needs no migration.
ALTER TABLE outgoing_mails DROP CONSTRAINT IF EXISTS outgoing_mails_kind_check;
ALTER TABLE revocations DROP CONSTRAINT IF EXISTS revocations_kind_check;
