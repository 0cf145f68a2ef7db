-- What ended a session or changed what is said of a user, in the order in which it
-- was committed. Triggers write it, so that nothing ends a session behind its back.
CREATE TABLE revocations (
    revision BIGINT    PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    kind     TEXT      NOT NULL CHECK (kind IN ('session_ended', 'user_sessions_ended', 'user_changed')),
    user_id  BIGINT    NOT NULL,
    -- Of the session that ended.
    handle   TEXT,
    digest   BYTEA,
    at       TIMESTAMP NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC') -- UTC
);

CREATE INDEX revocations_at ON revocations (at);

-- One row: up to which revision the log was swept.
CREATE TABLE swept_revocations (
    through BIGINT NOT NULL
);

INSERT INTO swept_revocations (through) VALUES (0);

-- A number is taken from the sequence only by who holds the lock, and the lock is
-- held until the transaction is over: so numbers become visible in their order.
-- Who reads up to one has missed none before it.
CREATE FUNCTION log_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bienvenue revocations'));
    -- By whatever search path somebody changes the table.
    IF TG_TABLE_NAME = 'sessions' THEN
        EXECUTE format('INSERT INTO %I.revocations (kind, user_id, handle, digest)
                        VALUES (''session_ended'', $1, $2, $3)', TG_TABLE_SCHEMA)
        USING OLD.user_id, OLD.handle, OLD.digest;
    ELSE
        EXECUTE format('INSERT INTO %I.revocations (kind, user_id) VALUES ($1, $2)',
                       TG_TABLE_SCHEMA)
        USING TG_ARGV[0], OLD.id;
    END IF;
    PERFORM pg_notify('bienvenue_revocations', '');
    RETURN NULL;
END;
$$;

-- Deferred: the lock is the last thing that a transaction takes, whatever it does
-- before, so that nobody who holds it waits for anybody.
CREATE CONSTRAINT TRIGGER sessions_ended AFTER DELETE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION log_revocation();

CREATE CONSTRAINT TRIGGER users_credentials_changed AFTER UPDATE OF credential_version ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.credential_version <> NEW.credential_version)
    EXECUTE FUNCTION log_revocation('user_sessions_ended');

CREATE CONSTRAINT TRIGGER users_removed AFTER DELETE ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION log_revocation('user_sessions_ended');

CREATE CONSTRAINT TRIGGER users_changed AFTER UPDATE OF email, created_at ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.email <> NEW.email OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION log_revocation('user_changed');

-- It would end sessions without a row for each.
CREATE FUNCTION refuse_truncate() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE would leave sessions open that nodes have in memory'
        USING HINT = 'Use DELETE FROM sessions.';
END;
$$;

CREATE TRIGGER sessions_truncated BEFORE TRUNCATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

-- The transaction that opened a session, by which a node finds out which ones were
-- opened since it last looked.
ALTER TABLE sessions ADD COLUMN opened_in XID8 NOT NULL DEFAULT pg_current_xact_id();

CREATE INDEX sessions_opened_in ON sessions (opened_in);
