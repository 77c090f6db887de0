-- Set on drafts alone: the folder that they were taken from. Their ids end in `@draft`.
ALTER TABLE formations ADD COLUMN source TEXT;
