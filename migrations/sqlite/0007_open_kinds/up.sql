-- The kinds of mails and of revocations grow with the versions of the service, which alone
-- writes them: no constraint lists them, so that a new kind needs no migration.
--
-- SQLite cannot drop a constraint, so both tables are rebuilt. Their sequences are copied
-- first: no id and no revision is assigned a second time, including those of deleted rows.
CREATE TABLE new_outgoing_mails (
    id            INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind          TEXT      NOT NULL,
    -- The recipient. For a password reset it is the requested address, which may belong to
    -- no user.
    email         TEXT      NOT NULL,
    created_at    TIMESTAMP NOT NULL, -- UTC
    due_at        TIMESTAMP NOT NULL, -- UTC
    tries         BIGINT    NOT NULL,
    -- While a node is sending it: when the mail is free again if that node dies.
    claimed_until TIMESTAMP -- UTC
);

INSERT INTO sqlite_sequence (name, seq)
SELECT 'new_outgoing_mails', seq FROM sqlite_sequence WHERE name = 'outgoing_mails';

INSERT INTO new_outgoing_mails (id, kind, email, created_at, due_at, tries, claimed_until)
SELECT id, kind, email, created_at, due_at, tries, claimed_until FROM outgoing_mails;

DROP TABLE outgoing_mails;
ALTER TABLE new_outgoing_mails RENAME TO outgoing_mails;

CREATE INDEX outgoing_mails_due_at ON outgoing_mails (due_at);
-- Several requests for one address are one row.
CREATE UNIQUE INDEX outgoing_mails_password_reset ON outgoing_mails (email)
    WHERE kind = 'password_reset';

-- A renamed table must not be referred to while it has another name.
DROP TRIGGER IF EXISTS sessions_ended;
DROP TRIGGER IF EXISTS users_credentials_changed;
DROP TRIGGER IF EXISTS users_removed;
DROP TRIGGER IF EXISTS users_changed;
DROP VIEW IF EXISTS next_revision;

CREATE TABLE new_revocations (
    -- AUTOINCREMENT: never assigned twice, although old rows are deleted.
    revision INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind     TEXT      NOT NULL,
    user_id  BIGINT    NOT NULL,
    -- Of the ended session.
    handle   TEXT,
    digest   BLOB,
    at       TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')) -- UTC
);

INSERT INTO sqlite_sequence (name, seq)
SELECT 'new_revocations', seq FROM sqlite_sequence WHERE name = 'revocations';

INSERT INTO new_revocations (revision, kind, user_id, handle, digest, at)
SELECT revision, kind, user_id, handle, digest, at FROM revocations;

DROP TABLE revocations;
ALTER TABLE new_revocations RENAME TO revocations;

CREATE INDEX revocations_at ON revocations (at);

-- The view and the triggers as in migration 0004.
CREATE VIEW next_revision AS
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0),
           coalesce((SELECT max(revision) FROM revocations), 0))
       + 1 + (random() & 262143) AS revision;

CREATE TRIGGER sessions_ended AFTER DELETE ON sessions
BEGIN
    INSERT INTO revocations (revision, kind, user_id, handle, digest)
    VALUES ((SELECT revision FROM next_revision), 'session_ended', OLD.user_id, OLD.handle,
            OLD.digest);
END;

CREATE TRIGGER users_credentials_changed AFTER UPDATE OF credential_version ON users
WHEN OLD.credential_version <> NEW.credential_version
BEGIN
    INSERT INTO revocations (revision, kind, user_id)
    VALUES ((SELECT revision FROM next_revision), 'user_sessions_ended', OLD.id);
END;

CREATE TRIGGER users_removed AFTER DELETE ON users
BEGIN
    INSERT INTO revocations (revision, kind, user_id)
    VALUES ((SELECT revision FROM next_revision), 'user_sessions_ended', OLD.id);
END;

CREATE TRIGGER users_changed AFTER UPDATE OF email, created_at ON users
WHEN OLD.email <> NEW.email OR OLD.created_at <> NEW.created_at
BEGIN
    INSERT INTO revocations (revision, kind, user_id)
    VALUES ((SELECT revision FROM next_revision), 'user_changed', OLD.id);
END;
