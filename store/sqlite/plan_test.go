package sqlite

import (
	"regexp"
	"strings"
	"testing"
)

// TestHotQueriesUseIndexes reads SQLite's plans: none of the queries that run
// all the time may scan a table or sort.
func TestHotQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	s, _, _, _ := fresh(t)
	for name, c := range map[string]struct {
		query string
		want  string // index of the first loop
	}{
		"due":       {dueQuery, "deliveries_due"},
		"lapsed":    {`SELECT id, attempts, claimed_at FROM deliveries WHERE lease_until <= ? ORDER BY lease_until LIMIT ?`, "deliveries_lease"},
		"ended":     {`SELECT id FROM deliveries WHERE finished_at < ? AND lease_until IS NULL LIMIT ?`, "deliveries_finished"},
		"events":    {`SELECT ` + eventColumns + ` FROM events WHERE team_id = ? AND position < ? ORDER BY position DESC LIMIT ?`, "events_team"},
		"team":      {`SELECT ` + deliveryColumns + ` FROM deliveries d WHERE d.team_id = ? AND d.id < ? ORDER BY d.id DESC LIMIT ?`, "deliveries_team"},
		"webhook":   {`SELECT ` + deliveryColumns + ` FROM deliveries d WHERE d.team_id = ? AND d.webhook_id = ? ORDER BY d.id DESC LIMIT ?`, "deliveries_webhook"},
		"expire":    {expireQuery, "deliveries_event"},
		"old":       {oldEventsQuery, "events_created"},
		"by event":  {`SELECT ` + deliveryColumns + ` FROM deliveries d WHERE d.team_id = ? AND d.event_id = ? ORDER BY d.id DESC LIMIT ?`, "deliveries_event"},
		"key":       {`SELECT ` + keyColumns + ` FROM api_keys WHERE hash = ?`, "sqlite_autoindex_api_keys"},
		"cancelled": {`UPDATE deliveries SET reason = reason WHERE webhook_id = ? AND status = 'pending'`, "deliveries_webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := collect(t.Context(), s.reader, func(row scanner) (detail string, err error) {
				var id, parent, unused int
				return detail, row.Scan(&id, &parent, &unused, &detail)
			}, `EXPLAIN QUERY PLAN `+c.query, arguments(c.query)...)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(plan, "\n")
			if !strings.Contains(all, c.want) {
				t.Errorf("the plan does not use %s:\n%s", c.want, all)
			}
			for _, step := range plan {
				if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "json_each") || strings.Contains(step, "TEMP B-TREE FOR ORDER BY") {
					t.Errorf("the plan scans or sorts:\n%s", all)
				}
			}
		})
	}
}

// arguments are as many as the query has places; no plan depends on them.
func arguments(query string) []any {
	places := map[string]bool{}
	for i, place := range regexp.MustCompile(`\?\d*`).FindAllString(query, -1) {
		if place == "?" {
			place += strings.Repeat("?", i)
		}
		places[place] = true
	}
	args := make([]any, len(places))
	for i := range args {
		args[i] = 0
	}
	return args
}
