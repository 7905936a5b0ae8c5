package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

const teamColumns = `id, name, external_id, created_at`

func scanTeam(row pgx.CollectableRow) (t store.Team, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.ExternalID, &t.CreatedAt)
	return t, err
}

// CreateTeam makes a team.
func (s *Store) CreateTeam(ctx context.Context, name string, externalID *string) (*store.Team, error) {
	team, err := insert(ctx, s, scanTeam, `
		INSERT INTO tellhook.teams (id, name, external_id) VALUES ($1, $2, $3)
		RETURNING `+teamColumns, store.NewID(store.PrefixTeam), name, externalID)
	switch {
	case violates(err, uniqueViolation, "teams_external_id_key"):
		return nil, store.Errorf(store.CodeConflict, "external_id", "external_id: %q is another team's; find that team by it, or choose another", store.Clip(*externalID, 80))
	case violates(err, uniqueViolation, ""):
		return nil, store.Errorf(store.CodeConflict, "name", "name: a team named %q exists; use it, or choose another name", store.Clip(name, 80))
	case err != nil:
		return nil, err
	}
	return &team, nil
}

// ListTeams answers teams, newest first.
func (s *Store) ListTeams(ctx context.Context, p store.Page) (store.List[store.Team], error) {
	const kind = "teams"
	before, err := p.Position(kind)
	if err != nil {
		return store.List[store.Team]{}, err
	}
	rows, err := query(ctx, s, scanTeam, `
		SELECT `+teamColumns+` FROM tellhook.teams
		WHERE $1 = '' OR id < $1 ORDER BY id DESC LIMIT $2`, before, p.Rows()+1)
	if err != nil {
		return store.List[store.Team]{}, err
	}
	return store.PageOf(p, kind, rows, func(t *store.Team) string { return t.ID }), nil
}

// FindTeam finds a team by id, external id or name, tried in this order.
func (s *Store) FindTeam(ctx context.Context, ref string) (*store.Team, error) {
	list, err := query(ctx, s, scanTeam, `
		SELECT `+teamColumns+` FROM tellhook.teams
		WHERE id = $1 OR external_id = $1 OR name = $1
		ORDER BY id = $1 DESC, external_id IS NOT DISTINCT FROM $1 DESC LIMIT 1`, ref)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, noTeam(ref)
	}
	return &list[0], nil
}

func noTeam(ref string) *store.Error {
	return store.Errorf(store.CodeNotFound, "", "no team %q: give a team's id, external id or name; `tellhook teams list` shows them", store.Clip(ref, 80))
}
