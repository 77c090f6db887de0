-- Intent: written by handlers.
CREATE TABLE formations (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    desired_state   TEXT NOT NULL CHECK (desired_state IN ('running', 'stopped', 'removed')),
    epoch           INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    newest_instance INTEGER NOT NULL DEFAULT 0,
    restart_count   INTEGER NOT NULL DEFAULT 0,
    created_at_ms   INTEGER NOT NULL,
    deployed_at_ms  INTEGER NOT NULL,
    updated_at_ms   INTEGER NOT NULL
) STRICT;

-- What was deployed: immutable.
CREATE TABLE generations (
    formation     TEXT NOT NULL REFERENCES formations (id) ON DELETE CASCADE,
    generation    INTEGER NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    version       TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (formation, generation)
) STRICT;

-- Leases: a port belongs to a formation for as long as the formation lives.
CREATE TABLE ports (
    port      INTEGER PRIMARY KEY,
    formation TEXT NOT NULL UNIQUE REFERENCES formations (id) ON DELETE CASCADE
) STRICT;

-- The living instance, as observed: written by the formation's actor. One row a formation.
CREATE TABLE instances (
    formation     TEXT PRIMARY KEY REFERENCES formations (id) ON DELETE CASCADE,
    instance      INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    spawned_at_ms INTEGER NOT NULL,
    -- Null until the process is known, and healthy, respectively.
    pid           INTEGER,
    start_ticks   INTEGER,
    boot_id       TEXT,
    healthy_at_ms INTEGER
) STRICT;

-- Long acts and their progress. `formation` is plain text: an operation outlives a removal.
CREATE TABLE operations (
    id             TEXT PRIMARY KEY,
    kind           TEXT NOT NULL,
    formation      TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed')),
    started_at_ms  INTEGER NOT NULL,
    finished_at_ms INTEGER
) STRICT;
-- At most one act at a time on one formation.
CREATE UNIQUE INDEX operations_running ON operations (formation) WHERE state = 'running';

CREATE TABLE operation_events (
    operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    event     TEXT NOT NULL CHECK (event IN ('progress', 'complete', 'error')),
    data      TEXT NOT NULL,
    PRIMARY KEY (operation, seq)
) STRICT;
