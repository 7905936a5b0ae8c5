package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/tellhook/tellhook/store"
)

type teamsCmd struct {
	Create teamsCreateCmd `cmd:"" help:"Make a team; prints its id."`
	List   teamsListCmd   `cmd:"" help:"List the teams."`
}

// maxName bounds the names of teams and keys, in bytes.
const maxName = 100

type teamsCreateCmd struct {
	Name       string  `arg:"" help:"Name, unique."`
	ExternalID *string `name:"external-id" placeholder:"ID" help:"Your product's own id for the team, unique."`
}

// Help is the long help.
func (teamsCreateCmd) Help() string {
	return `Example:

    tellhook teams create "Acme Ltd" --external-id customer-42`
}

// Run makes a team.
func (cmd *teamsCreateCmd) Run(ctx context.Context, a *app) error {
	if err := checkName("NAME", cmd.Name); err != nil {
		return err
	}
	if cmd.ExternalID != nil {
		if err := checkName("--external-id", *cmd.ExternalID); err != nil {
			return err
		}
	}
	return a.withStore(ctx, func(s store.Store) error {
		team, err := s.CreateTeam(ctx, cmd.Name, cmd.ExternalID)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, team.ID)
		return err
	})
}

func checkName(what, name string) error {
	if _, err := line(maxName)(name); err != nil || name == "" {
		return usage("%s: %q came, expected 1 to %d bytes on one line, without space at either end", what, store.Clip(name, 120), maxName)
	}
	return nil
}

type teamsListCmd struct {
	JSON bool `help:"Print JSON."`
}

type teamLine struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	ExternalID *string `json:"external_id"`
	CreatedAt  string  `json:"created_at"`
}

// Run lists the teams.
func (cmd *teamsListCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s store.Store) error {
		teams, err := allTeams(ctx, s)
		if err != nil {
			return err
		}
		lines := make([]teamLine, len(teams))
		for i, t := range teams {
			lines[i] = teamLine{t.ID, t.Name, t.ExternalID, stamp(t.CreatedAt)}
		}
		if cmd.JSON {
			return a.printJSON(lines)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tNAME\tEXTERNAL ID\tCREATED")
		for _, t := range lines {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, t.Name, orDash(t.ExternalID), t.CreatedAt)
		}
		return w.Flush()
	})
}

func allTeams(ctx context.Context, s store.Store) ([]store.Team, error) {
	return allPages(func(p store.Page) (store.List[store.Team], error) { return s.ListTeams(ctx, p) })
}

// allPages reads a list to its end.
func allPages[T any](read func(store.Page) (store.List[T], error)) ([]T, error) {
	var all []T
	page := store.Page{Limit: store.MaxPageLimit}
	for {
		list, err := read(page)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Data...)
		if list.NextCursor == "" {
			return all, nil
		}
		page.Cursor = list.NextCursor
	}
}

func stamp(t time.Time) string { return t.UTC().Format(store.TimeFormat) }

func stampPtr(t *time.Time) *string {
	if t == nil {
		return nil
	}
	return new(stamp(*t))
}

func orDash(text *string) string {
	if text == nil || *text == "" {
		return "-"
	}
	return *text
}
