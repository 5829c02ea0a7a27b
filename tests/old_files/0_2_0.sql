-- What 0.2.0 added to it.
ALTER TABLE models ADD COLUMN artifact_uri TEXT;
ALTER TABLE models ADD COLUMN checkpoint_sha256 TEXT;
ALTER TABLE models ADD COLUMN checkpoint_size_bytes INTEGER;
ALTER TABLE models ADD COLUMN config_sha256 TEXT;
ALTER TABLE models ADD COLUMN config_size_bytes INTEGER;
ALTER TABLE models ADD COLUMN run_id TEXT;
ALTER TABLE models ADD COLUMN git_commit TEXT;
ALTER TABLE models ADD COLUMN created_by TEXT;
ALTER TABLE models ADD COLUMN source_host TEXT;
ALTER TABLE models ADD COLUMN frozen INTEGER NOT NULL DEFAULT 0;
CREATE TABLE model_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, model_id INTEGER NOT NULL, event_type TEXT NOT NULL,
    payload_json TEXT, actor TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY(model_id) REFERENCES models(id));
CREATE INDEX idx_model_events_model_id ON model_events(model_id);
CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
WHEN NEW.updated_at = OLD.updated_at
BEGIN UPDATE models SET updated_at = CURRENT_TIMESTAMP WHERE id = OLD.id; END;
PRAGMA user_version = 2;
