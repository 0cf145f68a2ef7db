-- AUTOINCREMENT, so that the id of a deleted user is never given to another.
CREATE TABLE users (
    id              INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    -- The canonical form; its one spelling makes uniqueness a matter of bytes.
    email           TEXT      NOT NULL UNIQUE CHECK (typeof(email) = 'text'),
    hashed_password TEXT      NOT NULL CHECK (typeof(hashed_password) = 'text'),
    created_at      TIMESTAMP NOT NULL -- UTC
);

CREATE TABLE sessions (
    -- SHA-256 of the session_id, which itself is stored nowhere.
    digest       BLOB      PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
    handle       TEXT      NOT NULL UNIQUE,
    user_id      BIGINT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TIMESTAMP NOT NULL, -- UTC
    last_seen_at TIMESTAMP NOT NULL, -- UTC
    user_agent   TEXT      NOT NULL,
    ip           TEXT      NOT NULL
);

CREATE INDEX sessions_user_id ON sessions (user_id);
