-- What is remembered of users, and what is remembered for all of them. `folded` is what a search without
-- regard to case reads; the databases' own words for that differ.
CREATE TABLE memories (
    seq            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    event_id       TEXT    NOT NULL UNIQUE,
    user_id        TEXT    NOT NULL,
    scope          TEXT    NOT NULL CHECK (scope IN ('user', 'formation')),
    type           TEXT    NOT NULL,
    content        TEXT    NOT NULL,
    folded         TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,
    source         TEXT,
    source_id      TEXT,
    subject        TEXT,
    subject_folded TEXT,
    happened_ms    BIGINT,
    created_ms     BIGINT  NOT NULL
);

CREATE INDEX memories_by_user ON memories (user_id, seq);
CREATE INDEX memories_by_time ON memories (user_id, created_ms);
CREATE INDEX memories_for_all ON memories (seq) WHERE scope = 'formation';
CREATE INDEX memories_by_subject ON memories (user_id, subject_folded);
CREATE UNIQUE INDEX memories_by_source ON memories (user_id, source, source_id)
    WHERE source_id IS NOT NULL;

-- What became of the entries that were brought in together, for as long as requests are kept.
CREATE TABLE ingestions (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    items      TEXT    NOT NULL,
    created_ms BIGINT  NOT NULL
);

CREATE INDEX ingestions_by_age ON ingestions (created_ms);

-- What was forgotten for the operator, and why.
CREATE TABLE forgets (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT,
    source     TEXT,
    reason     TEXT,
    deleted    BIGINT  NOT NULL,
    created_ms BIGINT  NOT NULL
);

CREATE INDEX turns_by_time ON turns (user_id, started_ms);
