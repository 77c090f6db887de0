-- What each call of a model used, kept when its conversation is forgotten: people pay for it.
CREATE TABLE usage (
    seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms             BIGINT NOT NULL,
    user_id           TEXT    NOT NULL,
    session           TEXT    NOT NULL,
    request_id        TEXT    NOT NULL,
    agent             TEXT    NOT NULL,
    model             TEXT    NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    -- In billionths of the currency; absent where the model has no price.
    cost_nano         BIGINT
);

CREATE INDEX usage_by_time ON usage (at_ms);
CREATE INDEX usage_by_user ON usage (user_id, at_ms);
