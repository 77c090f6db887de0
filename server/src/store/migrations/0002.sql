-- Generations beyond the first, and the way back from one that fails on trial.
ALTER TABLE formations ADD COLUMN newest_generation INTEGER NOT NULL DEFAULT 1;
-- The generation that served before the current one.
ALTER TABLE formations ADD COLUMN previous_generation INTEGER;
-- While an update or a rollback is under way: what comes back if it fails.
ALTER TABLE formations ADD COLUMN fallback_generation INTEGER;
ALTER TABLE formations ADD COLUMN fallback_state TEXT;

-- Null until the generation has served and was kept.
ALTER TABLE generations ADD COLUMN settled_at_ms INTEGER;
UPDATE generations SET settled_at_ms = created_at_ms;
-- The manifest's name goes with its generation.
ALTER TABLE generations ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE generations SET name = (SELECT name FROM formations WHERE id = formation);
ALTER TABLE formations DROP COLUMN name;

-- Two instances of a formation live at a time while one replaces the other.
CREATE TABLE living (
    formation     TEXT NOT NULL REFERENCES formations (id) ON DELETE CASCADE,
    instance      INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    spawned_at_ms INTEGER NOT NULL,
    -- Null until the process is known, healthy, routed, and on its way out, respectively.
    pid           INTEGER,
    start_ticks   INTEGER,
    boot_id       TEXT,
    healthy_at_ms INTEGER,
    routed_at_ms  INTEGER,
    leaving_at_ms INTEGER,
    PRIMARY KEY (formation, instance)
) STRICT;
INSERT INTO living SELECT formation, instance, generation, epoch, spawned_at_ms, pid, start_ticks,
    boot_id, healthy_at_ms, healthy_at_ms, NULL FROM instances;
DROP TABLE instances;
ALTER TABLE living RENAME TO instances;
