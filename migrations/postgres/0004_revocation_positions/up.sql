-- A revision is to prove by itself which log it belongs to: where a database has lost
-- its latest changes, the revisions that were lost are not to be given to other
-- revocations. So of every 131,072 numbers one is used, at random. Before 2^53, which is
-- what JavaScript counts to, there is room for 2^36 revocations: 100 a second for 21 years.
ALTER TABLE revocations ALTER COLUMN revision SET INCREMENT BY 131072;

-- Far beyond the revisions that were given one after the other until now. The change
-- above keeps others from adding any until this is committed.
SELECT CASE
    WHEN newest = 0 THEN setval('revocations_revision_seq', 131072, false)
    ELSE setval('revocations_revision_seq', newest + 4294967296)
END
FROM (
    SELECT greatest((SELECT max(revision) FROM revocations),
                    (SELECT through FROM swept_revocations)) AS newest
) AS log;

-- What an identity column does without being asked for it: whoever may end sessions
-- takes a number.
GRANT USAGE ON SEQUENCE revocations_revision_seq TO PUBLIC;

CREATE OR REPLACE FUNCTION log_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next_revision BIGINT;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bienvenue revocations'));
    -- By whatever search path somebody changes the table.
    next_revision := nextval(format('%I.revocations_revision_seq', TG_TABLE_SCHEMA)::regclass)
        - floor(random() * 131072)::bigint;
    IF TG_TABLE_NAME = 'sessions' THEN
        EXECUTE format('INSERT INTO %I.revocations (revision, kind, user_id, handle, digest)
                        OVERRIDING SYSTEM VALUE
                        VALUES ($1, ''session_ended'', $2, $3, $4)', TG_TABLE_SCHEMA)
        USING next_revision, OLD.user_id, OLD.handle, OLD.digest;
    ELSE
        EXECUTE format('INSERT INTO %I.revocations (revision, kind, user_id)
                        OVERRIDING SYSTEM VALUE
                        VALUES ($1, $2, $3)', TG_TABLE_SCHEMA)
        USING next_revision, TG_ARGV[0], OLD.id;
    END IF;
    PERFORM pg_notify('bienvenue_revocations', '');
    RETURN NULL;
END;
$$;
