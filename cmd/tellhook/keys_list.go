package main

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tellhook/tellhook/store"
)

type keysListCmd struct {
	Team string `placeholder:"TEAM" help:"Only this team's: id, external id or name."`
	JSON bool   `help:"Print JSON."`
}

// keyLine is a key as it is printed; the shape of the API's Key.
type keyLine struct {
	ID         string        `json:"id"`
	TeamID     string        `json:"team_id"`
	Name       string        `json:"name"`
	Prefix     string        `json:"prefix"`
	Scopes     []store.Scope `json:"scopes"`
	Tools      []string      `json:"tools"`
	ExpiresAt  *string       `json:"expires_at"`
	LastUsedAt *string       `json:"last_used_at"`
	RevokedAt  *string       `json:"revoked_at"`
	CreatedAt  string        `json:"created_at"`
}

// Run lists keys, revoked ones included.
func (cmd *keysListCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s store.Store) error {
		teams, err := cmd.teams(ctx, s)
		if err != nil {
			return err
		}
		keys := []store.APIKey{}
		names := map[string]string{}
		for _, team := range teams {
			names[team.ID] = team.Name
			some, err := allPages(func(p store.Page) (store.List[store.APIKey], error) { return s.ListKeys(ctx, team.ID, p) })
			if err != nil {
				return err
			}
			keys = append(keys, some...)
		}
		if cmd.JSON {
			return a.printJSON(keyLines(keys))
		}
		return a.printKeys(keys, names)
	})
}

func (cmd *keysListCmd) teams(ctx context.Context, s store.Store) ([]store.Team, error) {
	if cmd.Team == "" {
		return allTeams(ctx, s)
	}
	team, err := findTeam(ctx, s, cmd.Team)
	if err != nil {
		return nil, err
	}
	return []store.Team{*team}, nil
}

func keyLines(keys []store.APIKey) []keyLine {
	lines := make([]keyLine, len(keys))
	for i, k := range keys {
		lines[i] = keyLine{
			ID: k.ID, TeamID: k.TeamID, Name: k.Name, Prefix: k.Prefix,
			Scopes: k.Scopes, Tools: slices.Concat([]string{}, k.Tools), // [], not null
			ExpiresAt: stampPtr(k.ExpiresAt), LastUsedAt: stampPtr(k.LastUsedAt), RevokedAt: stampPtr(k.RevokedAt),
			CreatedAt: stamp(k.CreatedAt),
		}
	}
	return lines
}

func (a *app) printKeys(keys []store.APIKey, teams map[string]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPREFIX\tTEAM\tNAME\tSTATUS\tLAST USED\tSCOPES\tTOOLS")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Prefix, teams[k.TeamID], k.Name,
			keyStatus(&k, time.Now()), orDash(stampPtr(k.LastUsedAt)), joinScopes(k.Scopes), describeTools(k.Tools))
	}
	return w.Flush()
}

func keyStatus(k *store.APIKey, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case !k.Usable(now):
		return "expired"
	case k.ExpiresAt != nil:
		return "until " + stamp(*k.ExpiresAt)
	}
	return "active"
}
