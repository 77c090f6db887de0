-- What the body of a call was, so that another one is not taken for its repeat.
ALTER TABLE calls ADD COLUMN body_sha256 TEXT;
