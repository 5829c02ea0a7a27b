-- A file of schema 400, with a deleted version and two promotions.
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
CREATE TABLE model_counts (
    kind TEXT NOT NULL, value TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE TABLE model_tags (
    tag TEXT NOT NULL, model_id INTEGER NOT NULL, PRIMARY KEY (tag, model_id)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE model_texts USING fts5(
    folded_name, folded_version, folded_description,
    content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram case_sensitive 1'
);
CREATE TABLE backdated_models (model_id INTEGER PRIMARY KEY, backdated_to TEXT NOT NULL);
INSERT INTO models VALUES(1,'m','1','staging','s3://b/m1',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'Déjà vu','["nightly","b"]','{"suites":{"s":{"score":1.0,"_meta":{"recorded_at":"2026-11-28T22:37:46.270+00:00","actor":"key:kkkk…"}}}}','2026-11-28 22:37:46.178','2026-11-28 22:37:46.329','s3://b/m1','abababababababababababababababababababababababababababababababab',NULL,NULL,NULL,NULL,NULL,'key:kkkk…','127.0.0.1',0);
INSERT INTO models VALUES(2,'m','2','production','s3://b/m2',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["nightly"]',NULL,'2026-11-28 22:37:46.198','2026-11-28 22:37:46.329','s3://b/m2',NULL,NULL,NULL,NULL,NULL,NULL,'key:kkkk…','127.0.0.1',0);
INSERT INTO models VALUES(4,'n','1','experimental','s3://b/n1',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-28 22:37:46.247','2026-11-28 22:37:46.247','s3://b/n1',NULL,NULL,NULL,NULL,NULL,NULL,'key:kkkk…','127.0.0.1',0);
INSERT INTO model_events VALUES(1,1,'create','{"name":"m","version":"1","status":"experimental","artifact_uri":"s3://b/m1"}','key:kkkk…','2026-11-28 22:37:46.178');
INSERT INTO model_events VALUES(2,2,'create','{"name":"m","version":"2","status":"experimental","artifact_uri":"s3://b/m2"}','key:kkkk…','2026-11-28 22:37:46.198');
INSERT INTO model_events VALUES(3,3,'create','{"name":"m","version":"3","status":"experimental","artifact_uri":"s3://b/m3"}','key:kkkk…','2026-11-28 22:37:46.234');
INSERT INTO model_events VALUES(4,4,'create','{"name":"n","version":"1","status":"experimental","artifact_uri":"s3://b/n1"}','key:kkkk…','2026-11-28 22:37:46.247');
INSERT INTO model_events VALUES(5,1,'eval','{"suite":"s","metrics":{"score":1.0},"prior_metrics_sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}','key:kkkk…','2026-11-28 22:37:46.270');
INSERT INTO model_events VALUES(6,1,'promote','{"from":"experimental","to":"production"}','key:kkkk…','2026-11-28 22:37:46.305');
INSERT INTO model_events VALUES(7,1,'auto_demote','{"from":"production","to":"staging","reason":"new production: 2"}','key:kkkk…','2026-11-28 22:37:46.329');
INSERT INTO model_events VALUES(8,2,'promote','{"from":"experimental","to":"production"}','key:kkkk…','2026-11-28 22:37:46.329');
INSERT INTO model_events VALUES(9,3,'delete','{"name":"m","version":"3","status":"experimental","artifact_uri":"s3://b/m3"}','key:kkkk…','2026-11-28 22:37:46.377');
INSERT INTO model_counts VALUES('name','m',2);
INSERT INTO model_counts VALUES('name','n',1);
INSERT INTO model_counts VALUES('status','experimental',1);
INSERT INTO model_counts VALUES('status','production',1);
INSERT INTO model_counts VALUES('status','staging',1);
INSERT INTO model_counts VALUES('tag','b',1);
INSERT INTO model_counts VALUES('tag','nightly',2);
INSERT INTO model_tags VALUES('b',1);
INSERT INTO model_tags VALUES('nightly',1);
INSERT INTO model_tags VALUES('nightly',2);
INSERT INTO model_texts (rowid, folded_name, folded_version, folded_description) VALUES (1, 'm', '1', 'déjà vu');
INSERT INTO model_texts (rowid, folded_name, folded_version, folded_description) VALUES (2, 'm', '2', '');
INSERT INTO model_texts (rowid, folded_name, folded_version, folded_description) VALUES (4, 'n', '1', '');
UPDATE sqlite_sequence SET seq = 4 WHERE name = 'models';
CREATE UNIQUE INDEX idx_models_one_production ON models (name) WHERE status = 'production';
CREATE INDEX idx_models_created ON models (created_at);
CREATE INDEX idx_models_step ON models (ifnull(training_step, -9223372036854775808));
CREATE INDEX idx_models_status_created ON models (status, created_at);
CREATE INDEX idx_models_status_updated ON models (status, updated_at);
CREATE INDEX idx_models_name_created ON models (name, created_at);
CREATE INDEX idx_model_events_model ON model_events (model_id);
CREATE INDEX idx_backdated_models ON backdated_models (backdated_to);
CREATE TRIGGER trg_models_set_updated_at AFTER UPDATE ON models FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE models SET updated_at = CASE
        WHEN OLD.updated_at < strftime('%Y-%m-%d %H:%M:%f', 'now') THEN strftime('%Y-%m-%d %H:%M:%f', 'now')
        ELSE ifnull(strftime('%Y-%m-%d %H:%M:%f', OLD.updated_at, '+0.001 seconds'),
                    strftime('%Y-%m-%d %H:%M:%f', 'now'))
    END WHERE id = NEW.id;
END;
PRAGMA user_version = 400;
