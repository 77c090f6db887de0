-- Who is who. A person has one place where everything of theirs is kept: that of the first identifier.
CREATE TABLE people (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `user_id` is where an identifier leads while it is nobody's. It differs from the identifier itself
-- once that place became a person's who no longer has the identifier.
CREATE TABLE identifiers (
    identifier TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    person     TEXT    REFERENCES people (id),
    type       TEXT,
    linked_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identifiers_by_person ON identifiers (person, linked_ms) WHERE person IS NOT NULL;
