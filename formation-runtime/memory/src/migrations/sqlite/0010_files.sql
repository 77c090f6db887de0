-- What is remembered of the files that came with a question, as JSON; absent without files.
ALTER TABLE messages ADD COLUMN files TEXT;
-- Whether the tokens were estimated, because the call ended before its provider told them.
ALTER TABLE usage ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;
