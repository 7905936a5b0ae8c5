-- +goose Up

-- Ids compare by bytes (COLLATE "C"), so that they sort by their time of making
-- whatever the database's locale is.

CREATE TABLE tellhook.settings (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE tellhook.teams (
    id          text COLLATE "C" PRIMARY KEY,
    name        text NOT NULL CONSTRAINT teams_name_key UNIQUE,
    external_id text CONSTRAINT teams_external_id_key UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE tellhook.api_keys (
    id           text COLLATE "C" PRIMARY KEY,
    team_id      text COLLATE "C" NOT NULL REFERENCES tellhook.teams,
    name         text NOT NULL,
    prefix       text NOT NULL,
    scopes       text[] NOT NULL,
    tools        text[] NOT NULL,
    hash         bytea NOT NULL UNIQUE,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX api_keys_team ON tellhook.api_keys (team_id, id);
CREATE INDEX api_keys_prefix ON tellhook.api_keys (prefix);

-- filter and metadata are json, not jsonb: the text stays as it was given.
CREATE TABLE tellhook.webhooks (
    id                   text COLLATE "C" PRIMARY KEY,
    team_id              text COLLATE "C" NOT NULL REFERENCES tellhook.teams,
    kind                 text NOT NULL CHECK (kind IN ('webhook', 'subscription')),
    url                  text NOT NULL,
    description          text NOT NULL,
    events               text[] NOT NULL,
    filter               json,
    metadata             json,
    rate_limit           integer CHECK (rate_limit BETWEEN 1 AND 1000),
    status               text NOT NULL,
    paused_reason        text NOT NULL,
    health               text NOT NULL CHECK (health IN ('healthy', 'failing')),
    failing_since        timestamptz,
    consecutive_failures integer NOT NULL,
    last_delivery_at     timestamptz,
    sealed               bytea NOT NULL, -- signing secrets and custom headers
    secret_hint          text NOT NULL,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CHECK (status = 'active' AND paused_reason = ''
        OR status = 'paused' AND paused_reason IN ('owner', 'gone', 'operator'))
);
CREATE INDEX webhooks_team ON tellhook.webhooks (team_id, id);

-- Drawn under the publishers' advisory lock alone, so that positions become
-- visible in their order.
CREATE SEQUENCE tellhook.event_positions AS bigint;

-- No foreign keys from here on: a publisher waits for nobody's row.
-- data is bytea: what was published stays, byte for byte.
CREATE TABLE tellhook.events (
    team_id         text COLLATE "C" NOT NULL,
    id              text COLLATE "C" NOT NULL,
    type            text NOT NULL,
    occurred_at     timestamptz(3) NOT NULL,
    data            bytea NOT NULL,
    idempotency_key text NOT NULL,
    created_at      timestamptz NOT NULL,
    position        bigint NOT NULL UNIQUE,
    PRIMARY KEY (team_id, id)
);
CREATE INDEX events_log ON tellhook.events (team_id, position);

-- Which things have been scanned: outlives the events.
CREATE TABLE tellhook.first_scans (
    team_id text COLLATE "C" NOT NULL,
    qr_key  text COLLATE "C" NOT NULL,
    PRIMARY KEY (team_id, qr_key)
);

CREATE TABLE tellhook.idempotency_keys (
    team_id     text COLLATE "C" NOT NULL,
    route       text NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    resource_id text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, route, key)
);
CREATE INDEX idempotency_keys_age ON tellhook.idempotency_keys (created_at);

CREATE TABLE tellhook.deliveries (
    id               text COLLATE "C" PRIMARY KEY,
    team_id          text COLLATE "C" NOT NULL,
    webhook_id       text COLLATE "C" NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    event_type       text NOT NULL,
    status           text NOT NULL,
    reason           text NOT NULL,
    attempts         integer NOT NULL, -- begun; the newest one's number, which is the fencing token
    step             integer NOT NULL, -- of them, those that count for this run of the schedule
    lost             integer NOT NULL, -- senders that died in a row
    due_at           timestamptz,      -- kept under a lease, so that a release restores it
    claimed_at       timestamptz,
    lease_until      timestamptz,
    last_status_code integer,
    last_error_kind  text NOT NULL,
    created_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    CONSTRAINT state CHECK (
        status = 'pending'
            AND reason = '' AND due_at IS NOT NULL AND finished_at IS NULL
        OR status = 'succeeded'
            AND reason = '' AND due_at IS NULL AND finished_at IS NOT NULL AND lease_until IS NULL
        OR status = 'failed' AND reason IN ('exhausted', 'gone', 'lost')
            AND due_at IS NULL AND finished_at IS NOT NULL AND lease_until IS NULL
        OR status = 'cancelled' AND reason IN ('webhook_deleted', 'event_erased', 'expired')
            AND due_at IS NULL AND finished_at IS NOT NULL -- an attempt in flight keeps its lease
    ),
    CONSTRAINT lease CHECK ((lease_until IS NULL) = (claimed_at IS NULL) AND (lease_until IS NULL OR attempts > 0)),
    CONSTRAINT counts CHECK (step >= 0 AND lost >= 0 AND attempts >= step)
);
CREATE INDEX deliveries_due ON tellhook.deliveries (due_at, id) WHERE status = 'pending' AND lease_until IS NULL;
CREATE INDEX deliveries_leased ON tellhook.deliveries (lease_until, id) WHERE lease_until IS NOT NULL;
CREATE INDEX deliveries_team ON tellhook.deliveries (team_id, id);
CREATE INDEX deliveries_webhook ON tellhook.deliveries (webhook_id, id);
CREATE INDEX deliveries_event ON tellhook.deliveries (team_id, event_id, id);

-- Durations are nanoseconds.
CREATE TABLE tellhook.attempts (
    delivery_id        text COLLATE "C" NOT NULL,
    number             integer NOT NULL CHECK (number > 0),
    id                 text COLLATE "C" NOT NULL,
    started_at         timestamptz NOT NULL,
    duration           bigint NOT NULL,
    dns                bigint NOT NULL,
    connect            bigint NOT NULL,
    tls                bigint NOT NULL,
    first_byte         bigint NOT NULL,
    status_code        integer,
    error_kind         text NOT NULL,
    error              text NOT NULL,
    response_headers   json,
    response_body      bytea,
    response_truncated boolean NOT NULL,
    remote_ip          text NOT NULL,
    PRIMARY KEY (delivery_id, number)
);
