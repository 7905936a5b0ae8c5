package postgres

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

const keyColumns = `id, team_id, name, prefix, scopes, tools, hash, expires_at, last_used_at, revoked_at, created_at`

func scanKey(row pgx.CollectableRow) (k store.APIKey, err error) {
	var hash []byte
	err = row.Scan(&k.ID, &k.TeamID, &k.Name, &k.Prefix, &k.Scopes, &k.Tools, &hash, &k.ExpiresAt, &k.LastUsedAt, &k.RevokedAt, &k.CreatedAt)
	copy(k.Hash[:], hash)
	return k, err
}

const insertKey = `
	INSERT INTO tellhook.api_keys (id, team_id, name, prefix, scopes, tools, hash, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ` + keyColumns

func keyArgs(teamID string, k *store.APIKey) []any {
	return []any{
		store.NewID(store.PrefixKey), teamID, k.Name, k.Prefix, texts(slices.Sorted(slices.Values(k.Scopes))), texts(k.Tools), k.Hash[:], k.ExpiresAt,
	}
}

// texts makes a list fit for a text[] that is NOT NULL.
func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// CreateKey stores k with a new id.
func (s *Store) CreateKey(ctx context.Context, teamID string, k store.APIKey) (*store.APIKey, error) {
	made, err := insert(ctx, s, scanKey, insertKey, keyArgs(teamID, &k)...)
	if err != nil {
		return nil, keyError(err, teamID)
	}
	return &made, nil
}

func keyError(err error, teamID string) error {
	switch {
	case violates(err, foreignKeyViolation, ""):
		return noTeam(teamID)
	case violates(err, uniqueViolation, ""):
		return &store.Error{Code: store.CodeConflict, Message: "this very key exists already; make a new one", Err: err}
	}
	return err
}

// CreateFirstKey is CreateKey where the database has no key at all.
func (s *Store) CreateFirstKey(ctx context.Context, teamID string, k store.APIKey) (*store.APIKey, error) {
	var made *store.APIKey
	err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		made = nil
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockFirstKey); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM tellhook.api_keys)`).Scan(&exists); err != nil || exists {
			return err
		}
		rows, _ := tx.Query(ctx, insertKey, keyArgs(teamID, &k)...)
		first, err := pgx.CollectExactlyOneRow(rows, scanKey)
		made = &first
		return err
	})
	if err != nil {
		return nil, keyError(err, teamID)
	}
	return made, nil
}

// ListKeys answers a team's keys, newest first.
func (s *Store) ListKeys(ctx context.Context, teamID string, p store.Page) (store.List[store.APIKey], error) {
	const kind = "keys"
	before, err := p.Position(kind)
	if err != nil {
		return store.List[store.APIKey]{}, err
	}
	rows, err := query(ctx, s, scanKey, `
		SELECT `+keyColumns+` FROM tellhook.api_keys
		WHERE team_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, teamID, before, p.Rows()+1)
	if err != nil {
		return store.List[store.APIKey]{}, err
	}
	return store.PageOf(p, kind, rows, func(k *store.APIKey) string { return k.ID }), nil
}

// FindKey finds a key in any team by id or prefix.
func (s *Store) FindKey(ctx context.Context, ref string) (*store.APIKey, error) {
	const shown = 10
	list, err := query(ctx, s, scanKey, `
		SELECT `+keyColumns+` FROM tellhook.api_keys WHERE id = $1 OR prefix = $1 ORDER BY id LIMIT $2`, ref, shown)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, store.Errorf(store.CodeNotFound, "", "no key %q: give a key's id or its first %d characters; `tellhook keys list` shows them", store.Clip(ref, 80), store.KeyPrefixLen)
	case len(list) > 1:
		ids := make([]string, len(list))
		for i := range list {
			ids[i] = list[i].ID
		}
		return nil, store.Errorf(store.CodeConflict, "", "the prefix %q fits several keys: %s; give one of these ids", store.Clip(ref, 80), strings.Join(ids, ", "))
	}
	return &list[0], nil
}

// AuthenticateKey finds a key by its hash.
func (s *Store) AuthenticateKey(ctx context.Context, hash [sha256.Size]byte) (*store.APIKey, error) {
	list, err := query(ctx, s, scanKey, `SELECT `+keyColumns+` FROM tellhook.api_keys WHERE hash = $1`, hash[:])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, store.Errorf(store.CodeNotFound, "", "no such API key")
	}
	return &list[0], nil
}

// UpdateKey changes a key.
func (s *Store) UpdateKey(ctx context.Context, teamID, keyID string, patch store.KeyPatch) (*store.APIKey, error) {
	return s.changeKey(ctx, teamID, keyID, patch.Apply)
}

// RevokeKey revokes a key for good.
func (s *Store) RevokeKey(ctx context.Context, teamID, keyID string) (*store.APIKey, error) {
	return one(ctx, s, "key", keyID, scanKey, `
		UPDATE tellhook.api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
		WHERE team_id = $1 AND id = $2 RETURNING `+keyColumns, teamID, keyID)
}

func (s *Store) changeKey(ctx context.Context, teamID, keyID string, change func(*store.APIKey) error) (*store.APIKey, error) {
	var changed store.APIKey
	err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `SELECT `+keyColumns+` FROM tellhook.api_keys WHERE team_id = $1 AND id = $2 FOR UPDATE`, teamID, keyID)
		list, err := pgx.CollectRows(rows, scanKey)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return notFound("key", keyID)
		}
		k := &list[0]
		if err := change(k); err != nil {
			return err
		}
		rows, _ = tx.Query(ctx, `
			UPDATE tellhook.api_keys SET name = $2, scopes = $3, tools = $4, expires_at = $5
			WHERE id = $1 RETURNING `+keyColumns, k.ID, k.Name, texts(k.Scopes), texts(k.Tools), k.ExpiresAt)
		changed, err = pgx.CollectExactlyOneRow(rows, scanKey)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &changed, nil
}

// TouchKeys sets LastUsedAt of keys, never backwards.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(used))
	times := make([]time.Time, len(ids))
	for i, id := range ids {
		times[i] = used[id]
	}
	return s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		// Locked in the order of ids, since other processes touch the same keys.
		_, err := tx.Exec(ctx, `
			WITH used AS (
				SELECT k.id, u.at FROM unnest($1::text[], $2::timestamptz[]) AS u (id, at)
				JOIN tellhook.api_keys k ON k.id = u.id
				ORDER BY k.id FOR NO KEY UPDATE OF k
			)
			UPDATE tellhook.api_keys k SET last_used_at = used.at FROM used
			WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)`, ids, times)
		return err
	})
}
