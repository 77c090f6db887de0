-- What happened to formations: written in the transaction that changes the state it is about.
CREATE TABLE events (
    -- Never used again, so that a reader knows what it has seen.
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL UNIQUE,
    kind      TEXT NOT NULL,
    -- Plain text: an event outlives a removal. Empty for what is about the manager itself.
    formation TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    -- The very bytes that webhooks are sent.
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_formation ON events (formation, seq);
CREATE INDEX events_by_time ON events (at_ms);

-- Up to where the events were handed out to a webhook.
CREATE TABLE webhook_cursors (
    webhook TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT;

-- One event on its way to one webhook.
CREATE TABLE deliveries (
    number             INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT NOT NULL UNIQUE,
    event              INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    webhook            TEXT NOT NULL,
    formation          TEXT NOT NULL,
    state              TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts           INTEGER NOT NULL DEFAULT 0,
    attempts_max       INTEGER NOT NULL,
    created_at_ms      INTEGER NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL,
    last_attempt_at_ms INTEGER,
    last_duration_ms   INTEGER,
    last_status        INTEGER,
    last_error         TEXT,
    delivered_at_ms    INTEGER
) STRICT;
CREATE INDEX deliveries_of_event ON deliveries (event);
CREATE INDEX deliveries_of_webhook ON deliveries (webhook, number);
-- The lanes: one a webhook and formation, in the order of the events.
CREATE INDEX deliveries_pending ON deliveries (webhook, formation, event) WHERE state = 'pending';

-- What events call this manager: `server_id` of its configuration.
CREATE TABLE server (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id   TEXT NOT NULL
) STRICT;

-- The request that asked for an operation.
ALTER TABLE operations ADD COLUMN request_id TEXT;
