-- The table of 0.2.0's predecessor.
CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version TEXT NOT NULL,
    status TEXT DEFAULT 'experimental', checkpoint_path TEXT NOT NULL, config_path TEXT,
    d_model INTEGER, n_layers INTEGER, n_heads INTEGER, vocab_size INTEGER, params INTEGER,
    training_step INTEGER, training_loss REAL, dataset TEXT, description TEXT, tags TEXT, metrics TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(name, version));
