-- What was asked of the formation and what became of it, for a day or so after its end.
CREATE TABLE requests (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    mode       TEXT    NOT NULL CHECK (mode IN ('sync', 'stream', 'async')),
    status     TEXT    NOT NULL CHECK (status IN
        ('pending', 'processing', 'completed', 'failed', 'cancelled', 'awaiting_clarification')),
    -- The process that works on it while it is open.
    owner      TEXT,
    -- What is to be done, of a request that was accepted before its work began.
    work       TEXT,
    turn       BIGINT,
    result     TEXT,
    error      TEXT,
    cancel_ms  BIGINT,
    created_ms BIGINT NOT NULL,
    started_ms BIGINT,
    ended_ms   BIGINT
);

CREATE INDEX requests_by_id ON requests (id, seq);
CREATE INDEX requests_by_user ON requests (user_id, seq);
CREATE INDEX requests_by_turn ON requests (turn);
CREATE INDEX requests_open ON requests (owner) WHERE ended_ms IS NULL;
CREATE INDEX requests_ended ON requests (ended_ms) WHERE ended_ms IS NOT NULL;

-- Webhooks on their way. A row is made together with what it tells of.
CREATE TABLE deliveries (
    seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    request_id   TEXT    NOT NULL,
    user_id      TEXT    NOT NULL,
    url          TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('due', 'delivered', 'given_up')),
    attempts     BIGINT NOT NULL DEFAULT 0,
    next_ms      BIGINT NOT NULL,
    last_error   TEXT,
    created_ms   BIGINT NOT NULL,
    ended_ms     BIGINT
);

CREATE INDEX deliveries_due ON deliveries (next_ms) WHERE state = 'due';

-- First answers to requests that named a key, so that a repeat gets the same one.
CREATE TABLE answers (
    user_id     TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    body_sha256 TEXT    NOT NULL,
    owner       TEXT,
    status      BIGINT,
    body        TEXT,
    created_ms  BIGINT NOT NULL,
    PRIMARY KEY (user_id, route, key)
);

CREATE INDEX answers_by_age ON answers (created_ms);

-- When each process was last known to live, for those that run on other machines.
CREATE TABLE processes (
    owner   TEXT   NOT NULL PRIMARY KEY,
    seen_ms BIGINT NOT NULL
);
