-- Conversations. Every row names its user; the same session id of two users is two sessions.

CREATE TABLE sessions (
    user             TEXT    NOT NULL,
    id               TEXT    NOT NULL,
    created_ms       INTEGER NOT NULL,
    last_activity_ms INTEGER NOT NULL,
    PRIMARY KEY (user, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_activity ON sessions (user, last_activity_ms DESC);

-- One question and what became of it. `owner` is the process that answers it while it runs.
CREATE TABLE turns (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    user              TEXT    NOT NULL,
    session           TEXT    NOT NULL,
    request_id        TEXT    NOT NULL,
    agent             TEXT    NOT NULL,
    status            TEXT    NOT NULL
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted')),
    owner             TEXT,
    error             TEXT,
    prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    started_ms        INTEGER NOT NULL,
    ended_ms          INTEGER,
    CHECK ((status = 'running') = (ended_ms IS NULL)),
    FOREIGN KEY (user, session) REFERENCES sessions (user, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX turns_by_session ON turns (user, session, seq);
CREATE INDEX turns_running ON turns (owner) WHERE status = 'running';

-- The answer's row is reserved together with the question's and stays without content until the
-- turn ends, so that two turns of one session can never interleave.
CREATE TABLE messages (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    turn    INTEGER NOT NULL REFERENCES turns (seq) ON DELETE CASCADE,
    user    TEXT    NOT NULL,
    session TEXT    NOT NULL,
    role    TEXT    NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT,
    at_ms   INTEGER NOT NULL
) STRICT;

CREATE INDEX messages_by_session ON messages (user, session, seq) WHERE content IS NOT NULL;
CREATE INDEX messages_by_turn ON messages (turn);
