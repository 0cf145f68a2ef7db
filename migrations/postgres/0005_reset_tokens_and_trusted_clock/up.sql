-- When the newest reset token was mailed; NULL while it is on its way, or where it was
-- not mailed at all.
ALTER TABLE users ADD COLUMN reset_token_mailed_at TIMESTAMP; -- UTC
-- The token before the newest one, which stays good until its own expiry.
ALTER TABLE users ADD COLUMN previous_reset_token BYTEA CHECK (octet_length(previous_reset_token) = 32);
ALTER TABLE users ADD COLUMN previous_reset_token_expires_at TIMESTAMP; -- UTC
ALTER TABLE users ADD COLUMN previous_reset_token_mailed_at TIMESTAMP; -- UTC

CREATE UNIQUE INDEX users_previous_reset_token ON users (previous_reset_token);
-- For the removal of tokens that have expired.
CREATE INDEX users_reset_token_expires_at ON users (reset_token_expires_at)
    WHERE reset_token_expires_at IS NOT NULL;

-- One row: when a clock was last known to be right. Only a clock that goes on from there
-- removes what has expired.
CREATE TABLE trusted_clock (
    trusted_at TIMESTAMP NOT NULL -- UTC
);

-- The last use of a session was at such a time; a new database has nothing to lose.
INSERT INTO trusted_clock (trusted_at)
SELECT coalesce(max(last_seen_at), clock_timestamp() AT TIME ZONE 'UTC') FROM sessions;
