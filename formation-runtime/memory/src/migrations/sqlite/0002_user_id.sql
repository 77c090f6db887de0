-- `user` is a word of its own in other databases, and statements are written once for all.

ALTER TABLE sessions RENAME COLUMN user TO user_id;
ALTER TABLE turns RENAME COLUMN user TO user_id;
ALTER TABLE messages RENAME COLUMN user TO user_id;
