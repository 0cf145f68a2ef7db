-- Moves on with each change of the password. A session has the version that it
-- was opened with, and is refused once its user has another.
ALTER TABLE users ADD COLUMN credential_version BIGINT NOT NULL DEFAULT 0;
-- SHA-256 of the one reset token that is good, and until when.
ALTER TABLE users ADD COLUMN reset_token BLOB CHECK (length(reset_token) = 32);
ALTER TABLE users ADD COLUMN reset_token_expires_at TIMESTAMP; -- UTC

CREATE UNIQUE INDEX users_reset_token ON users (reset_token);

ALTER TABLE sessions ADD COLUMN credential_version BIGINT NOT NULL DEFAULT 0;

-- What the removal of expired sessions goes by.
CREATE INDEX sessions_created_at ON sessions (created_at);
CREATE INDEX sessions_last_seen_at ON sessions (last_seen_at);

-- A mail stands here until it is sent. It holds no secret: a reset token is
-- made when its mail is.
CREATE TABLE outgoing_mails (
    id            INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind          TEXT      NOT NULL CHECK (kind IN ('password_reset', 'password_changed')),
    -- Whom it is for; for a password reset, whoever was named: perhaps nobody's.
    email         TEXT      NOT NULL,
    created_at    TIMESTAMP NOT NULL, -- UTC
    due_at        TIMESTAMP NOT NULL, -- UTC
    tries         BIGINT    NOT NULL,
    -- While a node is sending it: when the mail is free again if that node dies.
    claimed_until TIMESTAMP -- UTC
);

CREATE INDEX outgoing_mails_due_at ON outgoing_mails (due_at);
-- However often somebody asks for an address, it is one request.
CREATE UNIQUE INDEX outgoing_mails_password_reset ON outgoing_mails (email)
    WHERE kind = 'password_reset';
