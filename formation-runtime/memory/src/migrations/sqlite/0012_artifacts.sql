-- Files that were made for users: what is known of each version. Its bytes are on the disk, under its id.
CREATE TABLE artifacts (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    user_id      TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    -- The version before, which may be gone.
    parent_id    TEXT,
    content_type TEXT    NOT NULL,
    size_bytes   INTEGER NOT NULL,
    sha256       TEXT    NOT NULL,
    -- The fingerprint of the key; none if the bytes are not sealed.
    sealed_by    TEXT,
    agent        TEXT    NOT NULL,
    session      TEXT    NOT NULL,
    -- What it was made in.
    turn         INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    accessed_ms  INTEGER NOT NULL,
    UNIQUE (user_id, name, version)
) STRICT;

CREATE INDEX artifacts_by_user ON artifacts (user_id, seq);
CREATE INDEX artifacts_by_turn ON artifacts (turn);
CREATE INDEX artifacts_by_age ON artifacts (created_ms);
CREATE INDEX artifacts_by_access ON artifacts (accessed_ms);

-- What the caller of a request should know besides its answer, as a JSON list.
ALTER TABLE requests ADD COLUMN warnings TEXT;

CREATE INDEX turns_ended ON turns (ended_ms) WHERE ended_ms IS NOT NULL;
