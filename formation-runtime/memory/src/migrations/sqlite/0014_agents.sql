-- What sessions wait for: a decision or an answer of their user. A row is made together with the end of
-- the turn that asks.
CREATE TABLE pendings (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    -- The request that asked first, whose caller looks for the end under its id.
    request    INTEGER NOT NULL,
    request_id TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('approval', 'plan', 'clarification', 'credential')),
    question   TEXT    NOT NULL,
    -- What may be shown, and what going on needs; both are JSON that their maker reads again.
    detail     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    resolution TEXT    CHECK (resolution IN
        ('approved', 'denied', 'answered', 'cancelled', 'expired')),
    note       TEXT,
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    resolved_ms INTEGER,
    CHECK ((resolution IS NULL) = (resolved_ms IS NULL)),
    FOREIGN KEY (user_id, session) REFERENCES sessions (user_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX pendings_by_user ON pendings (user_id, created_ms);
CREATE INDEX pendings_by_session ON pendings (user_id, session) WHERE resolution IS NULL;
CREATE INDEX pendings_open ON pendings (expires_ms) WHERE resolution IS NULL;
CREATE INDEX pendings_resolved ON pendings (resolved_ms) WHERE resolution IS NOT NULL;

-- What the request waits for, and what was waited for before it: the two ends of one work.
ALTER TABLE requests ADD COLUMN waits_for TEXT;
ALTER TABLE requests ADD COLUMN goes_on_from TEXT;
-- How many processes died while they worked on it.
ALTER TABLE requests ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;

CREATE INDEX requests_waiting ON requests (waits_for) WHERE status = 'awaiting_clarification';
CREATE INDEX requests_going_on ON requests (goes_on_from) WHERE goes_on_from IS NOT NULL;

-- Why a request was worked on as it was.
CREATE TABLE decisions (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    request INTEGER NOT NULL REFERENCES requests (seq) ON DELETE CASCADE,
    step    TEXT    NOT NULL,
    choice  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    detail  TEXT,
    at_ms   INTEGER NOT NULL
) STRICT;

CREATE INDEX decisions_by_request ON decisions (request, seq);

-- What came of the parts of a request, so that none is done twice.
CREATE TABLE task_results (
    request INTEGER NOT NULL REFERENCES requests (seq) ON DELETE CASCADE,
    task    TEXT    NOT NULL,
    status  TEXT    NOT NULL CHECK (status IN ('completed', 'failed', 'skipped')),
    text    TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (request, task)
) STRICT;

-- Work that goes on behind conversations: jobs elsewhere that are watched, code that is written.
CREATE TABLE tasks (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('watch', 'code')),
    session    TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    label      TEXT    NOT NULL,
    spec       TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN
        ('started', 'running', 'completed', 'failed', 'cancelled', 'timed_out')),
    -- The process that works on it now, or that is yet to see that it was cancelled.
    owner      TEXT,
    next_ms    INTEGER NOT NULL,
    -- In a row.
    failures   INTEGER NOT NULL DEFAULT 0,
    result     TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    CHECK ((state IN ('started', 'running')) = (ended_ms IS NULL))
) STRICT;

CREATE INDEX tasks_by_user ON tasks (user_id, created_ms);
CREATE INDEX tasks_due ON tasks (next_ms) WHERE ended_ms IS NULL;
CREATE INDEX tasks_owned ON tasks (owner) WHERE owner IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE task_lines (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    task  TEXT    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    text  TEXT    NOT NULL
) STRICT;

CREATE INDEX task_lines_by_task ON task_lines (task, seq);

-- What lets the formation use the servers of tools, for one user or, without one, for itself. Only the
-- holder of the key can read it.
CREATE TABLE tool_tokens (
    user_id    TEXT    NOT NULL,
    server     TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    sealed_by  TEXT    NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, server)
) STRICT;

-- What users were offered to choose from; each is answered once.
CREATE TABLE widgets (
    user_id    TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    options    TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER,
    PRIMARY KEY (user_id, session, id),
    FOREIGN KEY (user_id, session) REFERENCES sessions (user_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE active_skills (
    user_id TEXT    NOT NULL,
    session TEXT    NOT NULL,
    skill   TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (user_id, session, skill),
    FOREIGN KEY (user_id, session) REFERENCES sessions (user_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
