//! The ledger's tables. Times are RFC 3339 text in UTC, as `jiff::Timestamp` prints them (to the nanosecond, so that
//! they come back equal; order is by sequence, never by text); ids are hexadecimal text; owners are as
//! `names::Owner` prints them (`fleet`, `ring/dev`, `acme`).

/// The version of the newest entry of [`MIGRATIONS`].
pub(super) const VERSION: i64 = 6;

/// `rngf`, so that another program's database is not taken for ours.
pub(super) const APPLICATION: i64 = 0x726e_6766;

/// The tables that decisions are made from: they are checked when a ledger is opened that was written since. The record and the journal
/// grow with time, and every verb would read all of them: damage there is found when they are read. With each the version
/// that brought it.
pub(super) const DECIDES: &[(&str, i64)] = &[
    ("meta", 1),
    ("releases", 1),
    ("rings", 1),
    ("ring_quarantine", 1),
    ("tenants", 1),
    ("tenant_quarantine", 1),
    ("specs", 1),
    ("objects", 1),
    ("looks", 2),
    ("volumes", 2),
    ("image_volumes", 3),
    ("spent", 4),
    ("proofs", 5),
    ("first_seen", 6),
    ("policies", 6),
];

/// What brings a ledger from the version before (index) to the next.
pub(super) const MIGRATIONS: &[&str] = &[
    r"
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    ring TEXT,
    tenant TEXT,
    service TEXT,
    message TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX events_ring ON events (ring, seq) WHERE ring IS NOT NULL;
CREATE INDEX events_tenant ON events (tenant, seq) WHERE tenant IS NOT NULL;
CREATE TABLE releases (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    git_commit TEXT NOT NULL,
    images TEXT NOT NULL
) STRICT;
CREATE TABLE rings (
    name TEXT PRIMARY KEY,
    running TEXT,
    previous TEXT,
    moving TEXT,
    rolled_back INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE ring_quarantine (
    ring TEXT NOT NULL REFERENCES rings (name) ON DELETE CASCADE,
    release TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (ring, release)
) STRICT;
CREATE TABLE tenants (
    slug TEXT PRIMARY KEY,
    ring TEXT NOT NULL,
    good TEXT,
    asked TEXT
) STRICT;
CREATE TABLE tenant_quarantine (
    slug TEXT NOT NULL REFERENCES tenants (slug) ON DELETE CASCADE,
    files TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (slug, files)
) STRICT;
CREATE TABLE specs (
    kind TEXT NOT NULL CHECK (kind IN ('good', 'failed', 'job')),
    owner TEXT NOT NULL,
    service TEXT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (owner, service, kind, spec)
) STRICT;
CREATE TABLE objects (name TEXT PRIMARY KEY, spec TEXT, at TEXT NOT NULL) STRICT;
CREATE TABLE spec_bodies (spec TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pass INTEGER NOT NULL,
    object TEXT NOT NULL,
    call TEXT NOT NULL,
    began TEXT NOT NULL,
    ended TEXT,
    outcome TEXT,
    reason TEXT
) STRICT;
CREATE INDEX steps_open ON steps (id) WHERE ended IS NULL;
",
    r"
CREATE TABLE looks (container TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE volumes (name TEXT PRIMARY KEY) STRICT;
",
    r"
CREATE TABLE image_volumes (
    owner TEXT NOT NULL,
    service TEXT NOT NULL,
    path TEXT NOT NULL,
    volume TEXT NOT NULL,
    PRIMARY KEY (owner, service, path)
) STRICT;
",
    r"
CREATE TABLE spent (word TEXT PRIMARY KEY, ring TEXT NOT NULL, at TEXT NOT NULL) STRICT;
",
    r"
CREATE TABLE proofs (
    ring TEXT NOT NULL,
    release TEXT NOT NULL,
    proof TEXT NOT NULL,
    watch TEXT NOT NULL,
    PRIMARY KEY (ring, release)
) STRICT;
",
    r"
CREATE TABLE first_seen (git_commit TEXT PRIMARY KEY, at TEXT NOT NULL, older INTEGER) STRICT;
CREATE TABLE policies (git_commit TEXT PRIMARY KEY, before TEXT NOT NULL) STRICT;
INSERT OR IGNORE INTO meta (key, value) SELECT 'accepted_policy', value FROM meta WHERE key = 'accepted';
INSERT OR IGNORE INTO meta (key, value) SELECT 'first_accepted', value FROM meta WHERE key = 'accepted';
",
];
