-- Times are microseconds since 1970 in UTC. Ids are text that orders by time of
-- creation. Lists of words (events, scopes) and maps are JSON.

-- +goose Up
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE teams (
	id          TEXT PRIMARY KEY,
	name        TEXT NOT NULL UNIQUE,
	external_id TEXT UNIQUE,
	created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
	id           TEXT PRIMARY KEY,
	team_id      TEXT NOT NULL REFERENCES teams (id),
	name         TEXT NOT NULL,
	prefix       TEXT NOT NULL,
	scopes       TEXT NOT NULL,
	tools        TEXT NOT NULL,
	hash         BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256
	expires_at   INTEGER,
	last_used_at INTEGER,
	revoked_at   INTEGER,
	created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_team ON api_keys (team_id, id);
CREATE INDEX api_keys_prefix ON api_keys (prefix);

CREATE TABLE webhooks (
	id                   TEXT PRIMARY KEY,
	team_id              TEXT NOT NULL REFERENCES teams (id),
	kind                 TEXT NOT NULL CHECK (kind IN ('webhook', 'subscription')),
	url                  TEXT NOT NULL,
	description          TEXT NOT NULL,
	events               TEXT NOT NULL,
	filter               TEXT NOT NULL,
	metadata             TEXT NOT NULL,
	sealed               BLOB NOT NULL, -- secrets and headers, bound to team and id
	secret_hint          TEXT NOT NULL,
	rate_limit           INTEGER CHECK (rate_limit BETWEEN 1 AND 1000),
	status               TEXT NOT NULL CHECK (status IN ('active', 'paused')),
	paused_reason        TEXT NOT NULL CHECK (paused_reason IN ('', 'owner', 'gone', 'operator')),
	health               TEXT NOT NULL CHECK (health IN ('healthy', 'failing')),
	failing_since        INTEGER,
	consecutive_failures INTEGER NOT NULL CHECK (consecutive_failures >= 0),
	last_delivery_at     INTEGER,
	created_at           INTEGER NOT NULL,
	updated_at           INTEGER NOT NULL,
	CHECK ((status = 'paused') = (paused_reason <> '')),
	CHECK ((health = 'failing') = (failing_since IS NOT NULL))
) STRICT;
CREATE INDEX webhooks_team ON webhooks (team_id, id);

-- AUTOINCREMENT: a position is never given twice, even after its event is pruned.
CREATE TABLE events (
	position        INTEGER PRIMARY KEY AUTOINCREMENT,
	id              TEXT NOT NULL,
	team_id         TEXT NOT NULL REFERENCES teams (id),
	type            TEXT NOT NULL,
	occurred_at     INTEGER NOT NULL,
	data            BLOB NOT NULL, -- the bytes that were published
	idempotency_key TEXT NOT NULL,
	created_at      INTEGER NOT NULL,
	UNIQUE (team_id, id)
) STRICT;
CREATE INDEX events_team ON events (team_id, position);
CREATE INDEX events_created ON events (created_at);

-- No foreign keys to webhook and event: the history outlives both.
CREATE TABLE deliveries (
	id               TEXT PRIMARY KEY,
	team_id          TEXT NOT NULL REFERENCES teams (id),
	webhook_id       TEXT NOT NULL,
	event_id         TEXT NOT NULL,
	event_type       TEXT NOT NULL,
	status           TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed', 'cancelled')),
	reason           TEXT NOT NULL,
	attempts         INTEGER NOT NULL CHECK (attempts >= 0),
	step             INTEGER NOT NULL CHECK (step BETWEEN 0 AND attempts),
	lost             INTEGER NOT NULL CHECK (lost BETWEEN 0 AND attempts), -- newest attempts in a row whose sender died
	next_attempt_at  INTEGER,
	claimed_at       INTEGER,
	lease_until      INTEGER,
	last_status_code INTEGER,
	last_error_kind  TEXT NOT NULL,
	created_at       INTEGER NOT NULL,
	finished_at      INTEGER,
	-- The state machine. A cancelled delivery keeps its lease while its last
	-- attempt is in flight.
	CHECK ((status = 'pending') = (finished_at IS NULL)),
	CHECK ((next_attempt_at IS NOT NULL) = (status = 'pending' AND lease_until IS NULL)),
	CHECK (lease_until IS NULL OR (attempts > 0 AND status IN ('pending', 'cancelled'))),
	CHECK ((lease_until IS NULL) = (claimed_at IS NULL)),
	CHECK (CASE status
		WHEN 'failed' THEN reason IN ('exhausted', 'gone', 'lost')
		WHEN 'cancelled' THEN reason IN ('webhook_deleted', 'event_erased', 'expired')
		ELSE reason = '' END)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (next_attempt_at, id) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_lease ON deliveries (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX deliveries_team ON deliveries (team_id, id);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_event ON deliveries (event_id);

CREATE TABLE attempts (
	id                 TEXT NOT NULL,
	delivery_id        TEXT NOT NULL REFERENCES deliveries (id),
	number             INTEGER NOT NULL CHECK (number > 0),
	started_at         INTEGER NOT NULL,
	duration           INTEGER NOT NULL, -- this and the phases in nanoseconds
	dns                INTEGER NOT NULL,
	connect            INTEGER NOT NULL,
	tls                INTEGER NOT NULL,
	first_byte         INTEGER NOT NULL,
	status_code        INTEGER,
	error_kind         TEXT NOT NULL,
	error              TEXT NOT NULL,
	response_headers   TEXT NOT NULL,
	response_body      BLOB,
	response_truncated INTEGER NOT NULL CHECK (response_truncated IN (0, 1)),
	remote_ip          TEXT NOT NULL,
	PRIMARY KEY (delivery_id, number)
) STRICT;

-- Outlives the events: no row is ever deleted by age.
CREATE TABLE first_scans (
	team_id TEXT NOT NULL REFERENCES teams (id),
	qr_key  TEXT NOT NULL,
	PRIMARY KEY (team_id, qr_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
	team_id     TEXT NOT NULL REFERENCES teams (id),
	route       TEXT NOT NULL CHECK (route IN ('create_webhook', 'publish_event')),
	key         TEXT NOT NULL,
	fingerprint BLOB NOT NULL,
	resource_id TEXT NOT NULL,
	created_at  INTEGER NOT NULL,
	PRIMARY KEY (team_id, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
