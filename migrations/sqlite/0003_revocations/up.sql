-- What ended a session or changed what is said of a user, in the order in which it
-- was committed. Triggers write it, so that nothing ends a session behind its back.
CREATE TABLE revocations (
    -- AUTOINCREMENT: never given twice, although old rows are swept.
    revision INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind     TEXT      NOT NULL CHECK (kind IN ('session_ended', 'user_sessions_ended', 'user_changed')),
    user_id  BIGINT    NOT NULL,
    -- Of the session that ended.
    handle   TEXT,
    digest   BLOB,
    at       TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')) -- UTC
);

CREATE INDEX revocations_at ON revocations (at);

-- One row: up to which revision the log was swept.
CREATE TABLE swept_revocations (
    through BIGINT NOT NULL
);

INSERT INTO swept_revocations (through) VALUES (0);

CREATE TRIGGER sessions_ended AFTER DELETE ON sessions
BEGIN
    INSERT INTO revocations (kind, user_id, handle, digest)
    VALUES ('session_ended', OLD.user_id, OLD.handle, OLD.digest);
END;

CREATE TRIGGER users_credentials_changed AFTER UPDATE OF credential_version ON users
WHEN OLD.credential_version <> NEW.credential_version
BEGIN
    INSERT INTO revocations (kind, user_id) VALUES ('user_sessions_ended', OLD.id);
END;

CREATE TRIGGER users_removed AFTER DELETE ON users
BEGIN
    INSERT INTO revocations (kind, user_id) VALUES ('user_sessions_ended', OLD.id);
END;

CREATE TRIGGER users_changed AFTER UPDATE OF email, created_at ON users
WHEN OLD.email <> NEW.email OR OLD.created_at <> NEW.created_at
BEGIN
    INSERT INTO revocations (kind, user_id) VALUES ('user_changed', OLD.id);
END;
