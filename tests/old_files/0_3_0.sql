-- An empty file of schema 301, with its counters, notes of what is not indexed yet, and triggers.
CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'experimental',
    checkpoint_path TEXT NOT NULL,
    config_path TEXT,
    d_model INTEGER,
    n_layers INTEGER,
    n_heads INTEGER,
    vocab_size INTEGER,
    params INTEGER,
    training_step INTEGER,
    training_loss REAL,
    dataset TEXT,
    description TEXT,
    tags TEXT,
    metrics TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), artifact_uri TEXT, checkpoint_sha256 TEXT, checkpoint_size_bytes INTEGER, config_sha256 TEXT, config_size_bytes INTEGER, run_id TEXT, git_commit TEXT, created_by TEXT, source_host TEXT, frozen INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, version)
);
CREATE TABLE model_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    payload_json TEXT,
    actor TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);
CREATE UNIQUE INDEX idx_models_one_production ON models (name) WHERE status = 'production';
CREATE INDEX idx_models_created ON models (created_at);
CREATE INDEX idx_models_step ON models (CASE WHEN typeof(training_step) = 'integer' THEN training_step ELSE -9223372036854775808 END);
CREATE INDEX idx_models_status_created ON models (status, created_at);
CREATE INDEX idx_models_status_updated ON models (status, updated_at);
CREATE INDEX idx_models_other_updated ON models (updated_at) WHERE ifnull(status, '') NOT IN ('experimental', 'staging', 'production', 'archived');
CREATE INDEX idx_models_name_created ON models (name, created_at);
CREATE INDEX idx_model_events_model ON model_events (model_id);
CREATE TABLE name_counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE status_counts (status TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE model_blocks (block INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE creation_steps (id INTEGER PRIMARY KEY, earlier_latest, first);
CREATE TABLE model_conflicts (id INTEGER PRIMARY KEY, name TEXT, status TEXT);
CREATE TABLE index_pending (model_id INTEGER PRIMARY KEY);
CREATE TABLE model_tags (tag TEXT NOT NULL, model_id INTEGER NOT NULL, PRIMARY KEY (tag, model_id)) WITHOUT ROWID;
CREATE INDEX idx_model_tags_model ON model_tags (model_id);
CREATE TABLE tag_counts (tag TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE model_grams USING
    fts5(grams, content = '', contentless_delete = 1, detail = 'none', tokenize = 'ascii');
CREATE TRIGGER trg_models_before_insert BEFORE INSERT ON models BEGIN DELETE FROM model_conflicts WHERE true; INSERT INTO model_conflicts SELECT id, name, status FROM models WHERE id = NEW.id UNION SELECT id, name, status FROM models WHERE name = NEW.name AND version = NEW.version UNION SELECT id, name, status FROM models WHERE NEW.status = 'production' AND name = NEW.name AND status = 'production' ; END;
CREATE TRIGGER trg_models_before_update BEFORE UPDATE OF name, version, status ON models BEGIN DELETE FROM model_conflicts WHERE true; INSERT INTO model_conflicts SELECT id, name, status FROM models WHERE id = NEW.id AND id IS NOT OLD.id UNION SELECT id, name, status FROM models WHERE name = NEW.name AND version = NEW.version AND id IS NOT OLD.id UNION SELECT id, name, status FROM models WHERE NEW.status = 'production' AND name = NEW.name AND status = 'production' AND id IS NOT OLD.id; END;
CREATE TRIGGER trg_models_before_move BEFORE UPDATE ON models WHEN NEW.id IS NOT OLD.id BEGIN DELETE FROM model_conflicts WHERE true; INSERT INTO model_conflicts SELECT id, name, status FROM models WHERE id = NEW.id AND id IS NOT OLD.id UNION SELECT id, name, status FROM models WHERE name = NEW.name AND version = NEW.version AND id IS NOT OLD.id UNION SELECT id, name, status FROM models WHERE NEW.status = 'production' AND name = NEW.name AND status = 'production' AND id IS NOT OLD.id; END;
CREATE TRIGGER trg_models_insert_replaced AFTER INSERT ON models WHEN EXISTS (SELECT 1 FROM model_conflicts) BEGIN DELETE FROM model_conflicts WHERE id IS NOT NEW.id AND id IN (SELECT id FROM models); UPDATE name_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.name = name_counts.name) WHERE name IN (SELECT model_conflicts.name FROM model_conflicts); DELETE FROM name_counts WHERE n <= 0 AND name IN (SELECT model_conflicts.name FROM model_conflicts);UPDATE status_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE ifnull(model_conflicts.status, '') = status_counts.status) WHERE status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts); DELETE FROM status_counts WHERE n <= 0 AND status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts);UPDATE model_blocks SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.id >> 10 = model_blocks.block) WHERE block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); DELETE FROM model_blocks WHERE n <= 0 AND block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); INSERT INTO index_pending SELECT id FROM model_conflicts WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = model_conflicts.id); DELETE FROM model_conflicts WHERE true; END;
CREATE TRIGGER trg_models_update_replaced AFTER UPDATE OF name, version, status ON models WHEN EXISTS (SELECT 1 FROM model_conflicts) BEGIN DELETE FROM model_conflicts WHERE id IS NOT NEW.id AND id IN (SELECT id FROM models); UPDATE name_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.name = name_counts.name) WHERE name IN (SELECT model_conflicts.name FROM model_conflicts); DELETE FROM name_counts WHERE n <= 0 AND name IN (SELECT model_conflicts.name FROM model_conflicts);UPDATE status_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE ifnull(model_conflicts.status, '') = status_counts.status) WHERE status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts); DELETE FROM status_counts WHERE n <= 0 AND status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts);UPDATE model_blocks SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.id >> 10 = model_blocks.block) WHERE block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); DELETE FROM model_blocks WHERE n <= 0 AND block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); INSERT INTO index_pending SELECT id FROM model_conflicts WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = model_conflicts.id); DELETE FROM model_conflicts WHERE true; END;
CREATE TRIGGER trg_models_move_replaced AFTER UPDATE ON models WHEN NEW.id IS NOT OLD.id AND EXISTS (SELECT 1 FROM model_conflicts) BEGIN DELETE FROM model_conflicts WHERE id IS NOT NEW.id AND id IN (SELECT id FROM models); UPDATE name_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.name = name_counts.name) WHERE name IN (SELECT model_conflicts.name FROM model_conflicts); DELETE FROM name_counts WHERE n <= 0 AND name IN (SELECT model_conflicts.name FROM model_conflicts);UPDATE status_counts SET n = n - (SELECT count(*) FROM model_conflicts WHERE ifnull(model_conflicts.status, '') = status_counts.status) WHERE status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts); DELETE FROM status_counts WHERE n <= 0 AND status IN (SELECT ifnull(model_conflicts.status, '') FROM model_conflicts);UPDATE model_blocks SET n = n - (SELECT count(*) FROM model_conflicts WHERE model_conflicts.id >> 10 = model_blocks.block) WHERE block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); DELETE FROM model_blocks WHERE n <= 0 AND block IN (SELECT model_conflicts.id >> 10 FROM model_conflicts); INSERT INTO index_pending SELECT id FROM model_conflicts WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = model_conflicts.id); DELETE FROM model_conflicts WHERE true; END;
CREATE TRIGGER trg_models_inserted AFTER INSERT ON models BEGIN INSERT INTO name_counts SELECT NEW.name, 0 WHERE NOT EXISTS (SELECT 1 FROM name_counts WHERE name = NEW.name); UPDATE name_counts SET n = n + 1 WHERE name = NEW.name;INSERT INTO status_counts SELECT ifnull(NEW.status, ''), 0 WHERE NOT EXISTS (SELECT 1 FROM status_counts WHERE status = ifnull(NEW.status, '')); UPDATE status_counts SET n = n + 1 WHERE status = ifnull(NEW.status, '');INSERT INTO model_blocks SELECT NEW.id >> 10, 0 WHERE NOT EXISTS (SELECT 1 FROM model_blocks WHERE block = NEW.id >> 10); UPDATE model_blocks SET n = n + 1 WHERE block = NEW.id >> 10; INSERT INTO index_pending SELECT NEW.id WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = NEW.id); END;
CREATE TRIGGER trg_models_deleted AFTER DELETE ON models BEGIN UPDATE name_counts SET n = n - 1 WHERE name = OLD.name; DELETE FROM name_counts WHERE name = OLD.name AND n <= 0;UPDATE status_counts SET n = n - 1 WHERE status = ifnull(OLD.status, ''); DELETE FROM status_counts WHERE status = ifnull(OLD.status, '') AND n <= 0;UPDATE model_blocks SET n = n - 1 WHERE block = OLD.id >> 10; DELETE FROM model_blocks WHERE block = OLD.id >> 10 AND n <= 0; INSERT INTO index_pending SELECT OLD.id WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = OLD.id); DELETE FROM model_conflicts WHERE id = OLD.id; END;
CREATE TRIGGER trg_models_renamed AFTER UPDATE OF name ON models WHEN NEW.name IS NOT OLD.name BEGIN UPDATE name_counts SET n = n - 1 WHERE name = OLD.name; DELETE FROM name_counts WHERE name = OLD.name AND n <= 0; INSERT INTO name_counts SELECT NEW.name, 0 WHERE NOT EXISTS (SELECT 1 FROM name_counts WHERE name = NEW.name); UPDATE name_counts SET n = n + 1 WHERE name = NEW.name; END;
CREATE TRIGGER trg_models_status_changed AFTER UPDATE OF status ON models WHEN NEW.status IS NOT OLD.status BEGIN UPDATE status_counts SET n = n - 1 WHERE status = ifnull(OLD.status, ''); DELETE FROM status_counts WHERE status = ifnull(OLD.status, '') AND n <= 0; INSERT INTO status_counts SELECT ifnull(NEW.status, ''), 0 WHERE NOT EXISTS (SELECT 1 FROM status_counts WHERE status = ifnull(NEW.status, '')); UPDATE status_counts SET n = n + 1 WHERE status = ifnull(NEW.status, ''); END;
CREATE TRIGGER trg_models_moved AFTER UPDATE ON models WHEN NEW.id IS NOT OLD.id BEGIN UPDATE model_blocks SET n = n - 1 WHERE block = OLD.id >> 10; DELETE FROM model_blocks WHERE block = OLD.id >> 10 AND n <= 0; INSERT INTO model_blocks SELECT NEW.id >> 10, 0 WHERE NOT EXISTS (SELECT 1 FROM model_blocks WHERE block = NEW.id >> 10); UPDATE model_blocks SET n = n + 1 WHERE block = NEW.id >> 10; INSERT INTO index_pending SELECT OLD.id WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = OLD.id); INSERT INTO index_pending SELECT NEW.id WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = NEW.id); DELETE FROM creation_steps WHERE true; INSERT INTO creation_steps VALUES (NEW.id, x'', NULL); END;
CREATE TRIGGER trg_models_described AFTER UPDATE OF name, version, description, tags ON models BEGIN INSERT INTO index_pending SELECT NEW.id WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = NEW.id); END;
CREATE TRIGGER trg_models_stepped_back AFTER INSERT ON models WHEN NEW.created_at < (SELECT created_at FROM models WHERE id < NEW.id ORDER BY id DESC LIMIT 1) OR EXISTS (SELECT 1 FROM creation_steps WHERE id >= NEW.id AND typeof(earlier_latest) = 'text') BEGIN DELETE FROM creation_steps WHERE id >= NEW.id AND typeof(earlier_latest) = 'text'; INSERT INTO creation_steps SELECT NEW.id, (SELECT max(created_at) FROM models), NEW.created_at WHERE NEW.created_at < (SELECT created_at FROM models WHERE id < NEW.id ORDER BY id DESC LIMIT 1) AND NOT EXISTS (SELECT 1 FROM creation_steps WHERE typeof(earlier_latest) <> 'text'); DELETE FROM creation_steps WHERE (SELECT count(*) FROM creation_steps) > 64; INSERT INTO creation_steps SELECT NEW.id, x'', NULL WHERE NEW.created_at < (SELECT created_at FROM models WHERE id < NEW.id ORDER BY id DESC LIMIT 1) AND NOT EXISTS (SELECT 1 FROM creation_steps); END;
CREATE TRIGGER trg_models_out_of_turn AFTER INSERT ON models WHEN NEW.created_at IS NULL OR EXISTS (SELECT 1 FROM models WHERE id > NEW.id) BEGIN DELETE FROM creation_steps WHERE true; INSERT INTO creation_steps VALUES (NEW.id, x'', NULL); END;
CREATE TRIGGER trg_models_redated AFTER UPDATE OF created_at ON models WHEN NEW.created_at IS NOT OLD.created_at BEGIN DELETE FROM creation_steps WHERE true; INSERT INTO creation_steps VALUES (NEW.id, x'', NULL); END;
CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE models SET updated_at = CASE
        WHEN OLD.updated_at IS NULL OR OLD.updated_at < strftime('%Y-%m-%d %H:%M:%f', 'now')
            THEN strftime('%Y-%m-%d %H:%M:%f', 'now')
        ELSE ifnull(strftime('%Y-%m-%d %H:%M:%f', OLD.updated_at, '+0.001 seconds'),
                    strftime('%Y-%m-%d %H:%M:%f', 'now'))
    END WHERE id = NEW.id;
END;
PRAGMA user_version = 301;
