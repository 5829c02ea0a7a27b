-- When anything but its tags changed last, if that is not `updated_at`; and where a version comes from in terms of MLflow (JSON).
ALTER TABLE models ADD COLUMN changed_at text COLLATE "C", ADD COLUMN origin text COLLATE "C";
ALTER TABLE deleted_models ADD COLUMN changed_at text COLLATE "C", ADD COLUMN origin text COLLATE "C";
ALTER TABLE registered_models ADD COLUMN changed_at text COLLATE "C";
-- The newest version of each status.
CREATE INDEX idx_models_latest ON models (model_key, status, number);
