-- A revision is to prove by itself which log it belongs to: where a database has lost
-- its latest changes, the revisions that were lost are not to be given to other
-- revocations. So each is greater than the one before by a random step of up to 262,144.
-- Before 2^53, which is what JavaScript counts to, there is room for 2^36 revocations: 100
-- a second for 21 years.
--
-- sqlite_sequence knows of revisions that were removed from the log, and is written at
-- the end of a statement only: the log itself knows of those before in the same one.
CREATE VIEW next_revision AS
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0),
           coalesce((SELECT max(revision) FROM revocations), 0))
       + 1 + (random() & 262143) AS revision;

-- Far beyond the revisions that were given one after the other until now.
UPDATE sqlite_sequence SET seq = seq + 4294967296 WHERE name = 'revocations';

DROP TRIGGER sessions_ended;
DROP TRIGGER users_credentials_changed;
DROP TRIGGER users_removed;
DROP TRIGGER users_changed;

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
