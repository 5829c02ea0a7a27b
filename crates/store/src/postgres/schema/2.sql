-- When anything but its tags and metrics changed last, of a model if that is not `updated_at`; and where a version comes from in terms of MLflow (JSON).
ALTER TABLE models ADD COLUMN changed_at text COLLATE "C", ADD COLUMN origin text COLLATE "C";
ALTER TABLE deleted_models ADD COLUMN changed_at text COLLATE "C", ADD COLUMN origin text COLLATE "C";
ALTER TABLE registered_models ADD COLUMN changed_at text COLLATE "C";
-- The newest version of each status.
CREATE INDEX idx_models_latest ON models (model_key, status, number);
-- The versions as MLflow lists them. Recorded metrics leave `changed_at`.
UPDATE models SET changed_at = updated_at;
CREATE INDEX idx_models_changed ON models (changed_at);
CREATE INDEX idx_registered_model_tags_value ON registered_model_tags (key, (left(value, 200)));
