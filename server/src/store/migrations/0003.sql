-- Management keys that were made with `keys add` or over the API; those of config.yaml stay there.
CREATE TABLE keys (
    id            TEXT PRIMARY KEY,
    label         TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('read', 'deploy', 'admin')),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER
) STRICT;

-- Sealed with the master key, which lies beside config.yaml. A revoked key has none left.
CREATE TABLE key_secrets (
    id             INTEGER PRIMARY KEY,
    key            TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    sealed         BLOB NOT NULL,
    -- Null for the current one; a rotation sets it for the one before.
    valid_until_ms INTEGER
) STRICT;

-- Counts every change of the two tables above, whoever makes it, so that a manager that runs
-- notices at the next request.
CREATE TABLE key_revision (value INTEGER NOT NULL) STRICT;
INSERT INTO key_revision VALUES (1);
CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN UPDATE key_revision SET value = value + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN UPDATE key_revision SET value = value + 1; END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN UPDATE key_revision SET value = value + 1; END;
CREATE TRIGGER key_secrets_inserted AFTER INSERT ON key_secrets BEGIN UPDATE key_revision SET value = value + 1; END;
CREATE TRIGGER key_secrets_updated AFTER UPDATE ON key_secrets BEGIN UPDATE key_revision SET value = value + 1; END;
CREATE TRIGGER key_secrets_deleted AFTER DELETE ON key_secrets BEGIN UPDATE key_revision SET value = value + 1; END;

-- Written at most once a minute and a key; also for the keys of config.yaml.
CREATE TABLE key_uses (
    key             TEXT PRIMARY KEY,
    last_used_at_ms INTEGER NOT NULL
) STRICT;

-- Calls that change something, for as long as their signature or their answer may come again.
CREATE TABLE calls (
    id              INTEGER PRIMARY KEY,
    key             TEXT NOT NULL,
    -- SHA-256 of the signature.
    signature       BLOB NOT NULL,
    idempotency_key TEXT,
    method          TEXT NOT NULL,
    target          TEXT NOT NULL,
    content_sha256  TEXT,
    begun_at_ms     INTEGER NOT NULL,
    -- `released`: it failed in a way that a repeat may mend.
    state           TEXT NOT NULL CHECK (state IN ('running', 'answered', 'released')),
    -- The operation that it began.
    operation       TEXT,
    status          INTEGER,
    error           TEXT,
    content_type    TEXT,
    -- Sealed with the master key, since answers may hold secrets. Null if it is too large to keep.
    body            BLOB
) STRICT;
CREATE UNIQUE INDEX calls_idempotency ON calls (key, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX calls_signature ON calls (key, signature);
CREATE INDEX calls_begun ON calls (begun_at_ms);

-- Every management call. `hash` is the SHA-256 of the previous entry's hash and of `entry`.
CREATE TABLE audit (
    seq   INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    hash  BLOB NOT NULL
) STRICT;
-- Where the chain begins since the last pruning: the last entry that is gone.
CREATE TABLE audit_checkpoint (
    only         INTEGER PRIMARY KEY CHECK (only = 1),
    seq          INTEGER NOT NULL,
    hash         BLOB NOT NULL,
    pruned_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO audit_checkpoint VALUES (1, 0, zeroblob(32), 0);
-- An entry that must still be there, under a keyed hash that only the master key can make.
CREATE TABLE audit_seal (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    seq         INTEGER NOT NULL,
    checkpoint  INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    mac         BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_pruned_by_checkpoint BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT seq FROM audit_checkpoint) BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_checkpoint_goes_forward BEFORE UPDATE ON audit_checkpoint
WHEN NEW.seq < OLD.seq BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_checkpoint_stays BEFORE DELETE ON audit_checkpoint BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;
