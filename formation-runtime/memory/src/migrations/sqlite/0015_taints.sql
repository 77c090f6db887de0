-- Whether words of others are in what a turn asked, read or went on from. Of turns that nobody watched,
-- such as those before this column and those that were put back, that is not known, so it counts as so.
ALTER TABLE turns ADD COLUMN is_tainted INTEGER NOT NULL DEFAULT 1;
