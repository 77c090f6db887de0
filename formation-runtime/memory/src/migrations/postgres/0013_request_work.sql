-- What is to be done, apart from its request, whose row changes often: files make it large. It goes when
-- the work begins.
CREATE TABLE request_work (
    request BIGINT PRIMARY KEY REFERENCES requests (seq) ON DELETE CASCADE,
    work    TEXT   NOT NULL
);

-- Who is to be told of the end, also when the process that works on it dies.
ALTER TABLE requests ADD COLUMN webhook_url TEXT;
-- The code of the error, of one that failed.
ALTER TABLE requests ADD COLUMN error_code TEXT;

INSERT INTO request_work (request, work)
    SELECT seq, work FROM requests WHERE work IS NOT NULL AND status = 'pending';
-- What has this character is no JSON that this database reads.
UPDATE requests SET webhook_url = CASE
        WHEN position('\u0000' IN work) = 0 THEN CAST(work AS JSON) ->> 'webhook_url' END
    WHERE work IS NOT NULL;
ALTER TABLE requests DROP COLUMN work;

CREATE INDEX turns_completed ON turns (agent, seq) WHERE status = 'completed';
CREATE INDEX artifacts_by_key ON artifacts (sealed_by);
