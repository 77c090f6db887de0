-- User ids of formations, kept when the formation goes: `formation` is plain text.
CREATE TABLE formation_users (
    formation TEXT PRIMARY KEY,
    uid       INTEGER NOT NULL UNIQUE
) STRICT;

-- Formations that the manager itself stopped; void once the epoch is another.
CREATE TABLE holds (
    formation TEXT PRIMARY KEY REFERENCES formations (id) ON DELETE CASCADE,
    epoch     INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    at_ms     INTEGER NOT NULL
) STRICT;
