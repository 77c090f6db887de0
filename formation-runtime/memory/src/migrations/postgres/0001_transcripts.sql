-- Conversations. Every row names its user; the same session id of two users is two sessions.

CREATE TABLE sessions (
    user_id          TEXT   NOT NULL,
    id               TEXT   NOT NULL,
    created_ms       BIGINT NOT NULL,
    last_activity_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);

CREATE INDEX sessions_by_activity ON sessions (user_id, last_activity_ms DESC);

-- One question and what became of it. `owner` is the process that answers it while it runs.
CREATE TABLE turns (
    seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id           TEXT   NOT NULL,
    session           TEXT   NOT NULL,
    request_id        TEXT   NOT NULL,
    agent             TEXT   NOT NULL,
    status            TEXT   NOT NULL
        CHECK (status IN ('running', 'completed', 'failed', 'cancelled', 'interrupted')),
    owner             TEXT,
    error             TEXT,
    prompt_tokens     BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    started_ms        BIGINT NOT NULL,
    ended_ms          BIGINT,
    CHECK ((status = 'running') = (ended_ms IS NULL)),
    FOREIGN KEY (user_id, session) REFERENCES sessions (user_id, id) ON DELETE CASCADE
);

CREATE INDEX turns_by_session ON turns (user_id, session, seq);
CREATE INDEX turns_running ON turns (owner) WHERE status = 'running';

-- The answer's row is reserved together with the question's and stays without content until the
-- turn ends, so that two turns of one session can never interleave.
CREATE TABLE messages (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    turn    BIGINT NOT NULL REFERENCES turns (seq) ON DELETE CASCADE,
    user_id TEXT   NOT NULL,
    session TEXT   NOT NULL,
    role    TEXT   NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT,
    at_ms   BIGINT NOT NULL
);

CREATE INDEX messages_by_session ON messages (user_id, session, seq) WHERE content IS NOT NULL;
CREATE INDEX messages_by_turn ON messages (turn);
