-- What is asked of the formation at times that were set before.
CREATE TABLE jobs (
    id          TEXT   NOT NULL PRIMARY KEY,
    user_id     TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    prompt      TEXT   NOT NULL,
    -- One of the two: when it runs again and again, or the moment of its only run.
    cron        TEXT,
    once_ms     BIGINT,
    timezone    TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN
        ('active', 'paused', 'completed', 'failed', 'cancelled')),
    -- The next run; none of a job that has had its last one.
    next_ms     BIGINT,
    created_ms  BIGINT NOT NULL,
    updated_ms  BIGINT NOT NULL,
    last_run_ms BIGINT,
    last_status TEXT,
    last_error  TEXT,
    runs        BIGINT NOT NULL DEFAULT 0,
    failures    BIGINT NOT NULL DEFAULT 0,
    failures_in_a_row BIGINT NOT NULL DEFAULT 0,
    CHECK ((cron IS NULL) <> (once_ms IS NULL))
);

CREATE INDEX jobs_by_user ON jobs (user_id, created_ms);
CREATE INDEX jobs_due ON jobs (next_ms) WHERE status = 'active' AND next_ms IS NOT NULL;

-- The last runs of each job. A row is made together with the request that does the work.
CREATE TABLE job_runs (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job         TEXT   NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    request     BIGINT NOT NULL,
    request_id  TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN
        ('running', 'completed', 'failed', 'cancelled')),
    error       TEXT,
    due_ms      BIGINT NOT NULL,
    started_ms  BIGINT NOT NULL,
    ended_ms    BIGINT
);

CREATE INDEX job_runs_by_job ON job_runs (job, seq);
CREATE INDEX job_runs_open ON job_runs (request) WHERE ended_ms IS NULL;
