-- What users gave the formation to act for them elsewhere. Only the holder of the key can read it.
CREATE TABLE credentials (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    service    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    sealed     BYTEA   NOT NULL,
    -- Tells keys apart, and tells nothing else about one.
    sealed_by  TEXT    NOT NULL,
    created_ms BIGINT  NOT NULL,
    updated_ms BIGINT  NOT NULL,
    UNIQUE (user_id, service, name)
);
