-- Which process tries a webhook, so that another need not wait when that one has died.
ALTER TABLE deliveries ADD COLUMN owner TEXT;
