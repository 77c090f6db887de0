-- What operators did to the formation. Rows are only added, ended, and cleared as a whole or by age.
CREATE TABLE audit (
    seq           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms         BIGINT  NOT NULL,
    action        TEXT    NOT NULL,
    resource_type TEXT    NOT NULL,
    resource_id   TEXT,
    request_id    TEXT    NOT NULL,
    -- Pending until the act has ended; for ever, if its process died in the act.
    outcome       TEXT    NOT NULL CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    -- The code of the error, of an act that failed.
    error         TEXT
);
