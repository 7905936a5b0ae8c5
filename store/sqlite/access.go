package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

const teamColumns = `id, name, external_id, created_at`

func scanTeam(row scanner) (store.Team, error) {
	var t store.Team
	err := row.Scan(&t.ID, &t.Name, &t.ExternalID, instant{&t.CreatedAt})
	return t, err
}

// CreateTeam implements store.Store.
func (s *Store) CreateTeam(ctx context.Context, name string, externalID *string) (*store.Team, error) {
	t := store.Team{ID: store.NewID(store.PrefixTeam), Name: name, ExternalID: externalID, CreatedAt: now()}
	err := s.write(ctx, func(tx *sql.Tx) error {
		var nameTaken, externalTaken bool
		err := tx.QueryRowContext(ctx, `
			SELECT EXISTS (SELECT 1 FROM teams WHERE name = ?), EXISTS (SELECT 1 FROM teams WHERE external_id = ?)`,
			name, externalID).Scan(&nameTaken, &externalTaken)
		switch {
		case err != nil:
			return err
		case nameTaken:
			return store.Errorf(store.CodeConflict, "name", "name: there is a team named %q already; choose another name", name)
		case externalTaken:
			return store.Errorf(store.CodeConflict, "external_id", "external_id: %q belongs to another team already", *externalID)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO teams (id, name, external_id, created_at) VALUES (?, ?, ?, ?)`,
			t.ID, t.Name, t.ExternalID, t.CreatedAt.UnixMicro())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// ListTeams implements store.Store.
func (s *Store) ListTeams(ctx context.Context, p store.Page) (store.List[store.Team], error) {
	after, err := p.Position("teams")
	if err != nil {
		return store.List[store.Team]{}, err
	}
	teams, err := collect(ctx, s.reader, scanTeam, `
		SELECT `+teamColumns+` FROM teams WHERE ?1 = '' OR id < ?1 ORDER BY id DESC LIMIT ?2`, after, p.Rows()+1)
	if err != nil {
		return store.List[store.Team]{}, translate(err)
	}
	return store.PageOf(p, "teams", teams, func(t *store.Team) string { return t.ID }), nil
}

// FindTeam implements store.Store.
func (s *Store) FindTeam(ctx context.Context, ref string) (*store.Team, error) {
	t, err := scanTeam(s.reader.QueryRowContext(ctx, `
		SELECT `+teamColumns+` FROM teams WHERE ?1 IN (id, external_id, name)
		ORDER BY id = ?1 DESC, external_id IS ?1 DESC LIMIT 1`, ref))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("team", ref)
	}
	if err != nil {
		return nil, translate(err)
	}
	return &t, nil
}

const keyColumns = `id, team_id, name, prefix, scopes, tools, hash, expires_at, last_used_at, revoked_at, created_at`

func scanKey(row scanner) (store.APIKey, error) {
	var (
		k    store.APIKey
		hash []byte
	)
	err := row.Scan(&k.ID, &k.TeamID, &k.Name, &k.Prefix, asJSON{&k.Scopes}, asJSON{&k.Tools}, &hash,
		maybeInstant{&k.ExpiresAt}, maybeInstant{&k.LastUsedAt}, maybeInstant{&k.RevokedAt}, instant{&k.CreatedAt})
	copy(k.Hash[:], hash)
	return k, err
}

// CreateKey implements store.Store.
func (s *Store) CreateKey(ctx context.Context, teamID string, k store.APIKey) (*store.APIKey, error) {
	err := s.write(ctx, func(tx *sql.Tx) error { return insertKey(ctx, tx, teamID, &k) })
	if err != nil {
		return nil, err
	}
	return &k, nil
}

// CreateFirstKey implements store.Store.
func (s *Store) CreateFirstKey(ctx context.Context, teamID string, k store.APIKey) (*store.APIKey, error) {
	var exists bool
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM api_keys)`).Scan(&exists); err != nil || exists {
			return err
		}
		return insertKey(ctx, tx, teamID, &k)
	})
	if err != nil || exists {
		return nil, err
	}
	return &k, nil
}

func insertKey(ctx context.Context, tx *sql.Tx, teamID string, k *store.APIKey) error {
	if err := checkTeam(ctx, tx, teamID); err != nil {
		return err
	}
	k.ID, k.TeamID, k.CreatedAt = store.NewID(store.PrefixKey), teamID, now()
	k.Scopes = slices.Sorted(slices.Values(k.Scopes))
	_, err := tx.ExecContext(ctx, `
		INSERT INTO api_keys (id, team_id, name, prefix, scopes, tools, hash, expires_at, last_used_at, revoked_at, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.TeamID, k.Name, k.Prefix, asJSON{k.Scopes}, asJSON{k.Tools}, k.Hash[:],
		micros(k.ExpiresAt), micros(k.LastUsedAt), micros(k.RevokedAt), k.CreatedAt.UnixMicro())
	return err
}

// ListKeys implements store.Store.
func (s *Store) ListKeys(ctx context.Context, teamID string, p store.Page) (store.List[store.APIKey], error) {
	after, err := p.Position("keys")
	if err != nil {
		return store.List[store.APIKey]{}, err
	}
	keys, err := collect(ctx, s.reader, scanKey, `
		SELECT `+keyColumns+` FROM api_keys WHERE team_id = ?1 AND (?2 = '' OR id < ?2) ORDER BY id DESC LIMIT ?3`,
		teamID, after, p.Rows()+1)
	if err != nil {
		return store.List[store.APIKey]{}, translate(err)
	}
	return store.PageOf(p, "keys", keys, func(k *store.APIKey) string { return k.ID }), nil
}

// FindKey implements store.Store.
func (s *Store) FindKey(ctx context.Context, ref string) (*store.APIKey, error) {
	keys, err := collect(ctx, s.reader, scanKey, `
		SELECT `+keyColumns+` FROM api_keys WHERE id = ?1 OR prefix = ?1 ORDER BY id LIMIT 20`, ref)
	switch {
	case err != nil:
		return nil, translate(err)
	case len(keys) == 0:
		return nil, notFound("key", ref)
	case len(keys) > 1:
		ids := make([]string, len(keys))
		for i, k := range keys {
			ids[i] = k.ID
		}
		return nil, store.Errorf(store.CodeConflict, "", "the prefix %q fits several keys: %s; name one by its id", ref, strings.Join(ids, ", "))
	}
	return &keys[0], nil
}

// AuthenticateKey implements store.Store.
func (s *Store) AuthenticateKey(ctx context.Context, hash [sha256.Size]byte) (*store.APIKey, error) {
	k, err := scanKey(s.reader.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE hash = ?`, hash[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, store.Errorf(store.CodeNotFound, "", "no such key")
	}
	if err != nil {
		return nil, translate(err)
	}
	return &k, nil
}

// UpdateKey implements store.Store.
func (s *Store) UpdateKey(ctx context.Context, teamID, keyID string, patch store.KeyPatch) (*store.APIKey, error) {
	return s.changeKey(ctx, teamID, keyID, patch.Apply)
}

// RevokeKey implements store.Store.
func (s *Store) RevokeKey(ctx context.Context, teamID, keyID string) (*store.APIKey, error) {
	return s.changeKey(ctx, teamID, keyID, func(k *store.APIKey) error {
		if k.RevokedAt == nil {
			k.RevokedAt = new(now())
		}
		return nil
	})
}

func (s *Store) changeKey(ctx context.Context, teamID, keyID string, change func(*store.APIKey) error) (*store.APIKey, error) {
	var k store.APIKey
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		k, err = scanKey(tx.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE team_id = ? AND id = ?`, teamID, keyID))
		if errors.Is(err, sql.ErrNoRows) {
			return notFound("key", keyID)
		}
		if err != nil {
			return err
		}
		if err := change(&k); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE api_keys SET name = ?, scopes = ?, tools = ?, expires_at = ?, revoked_at = ? WHERE team_id = ? AND id = ?`,
			k.Name, asJSON{k.Scopes}, asJSON{k.Tools}, micros(k.ExpiresAt), micros(k.RevokedAt), teamID, keyID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &k, nil
}

// TouchKeys implements store.Store.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for id, at := range used {
			_, err := tx.ExecContext(ctx, `
				UPDATE api_keys SET last_used_at = ?1 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)`,
				at.UnixMicro(), id)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
