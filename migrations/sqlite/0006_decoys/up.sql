-- Random keys that all nodes of this database share.
CREATE TABLE server_keys (
    id         INTEGER   PRIMARY KEY AUTOINCREMENT NOT NULL,
    purpose    TEXT      NOT NULL,
    key        BLOB      NOT NULL CHECK (length(key) = 32),
    created_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')) -- UTC
);

-- Decoys have one key for good.
CREATE UNIQUE INDEX server_keys_decoys ON server_keys (purpose) WHERE purpose = 'decoys';

-- A random sample of the users. A login with an unknown e-mail is compared with the
-- stored hash of one of them; a keyed hash of the e-mail picks the slot.
CREATE TABLE decoys (
    slot    INTEGER PRIMARY KEY NOT NULL,
    user_id BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX decoys_user_id ON decoys (user_id);

-- One row: how many users have been considered for the sample, and the highest id
-- among them.
CREATE TABLE decoy_sampling (
    considered   BIGINT NOT NULL,
    last_user_id BIGINT
);

INSERT INTO decoy_sampling (considered) VALUES (0);
