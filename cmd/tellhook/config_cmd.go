package main

import (
	"fmt"
	"text/tabwriter"
)

type configCmd struct {
	JSON bool `help:"Print JSON."`
}

// Help is the long help.
func (configCmd) Help() string {
	return `Every setting is a flag (--retry-schedule), or else an environment variable (TELLHOOK_RETRY_SCHEDULE), or else has a default. ` +
		`Secrets may stand in a file that TELLHOOK_MASTER_KEY_FILE, TELLHOOK_API_KEY_FILE or TELLHOOK_DATABASE_URL_FILE names; they are never printed.

Examples:

    tellhook config
    tellhook config --json | jq -r '.[] | select(.source != "default") | .name'`
}

// configLine is one setting as it is printed.
type configLine struct {
	Name   string  `json:"name"`
	Value  *string `json:"value"` // null: not set
	Source string  `json:"source"`
}

// Run prints the settings.
func (cmd *configCmd) Run(a *app) error {
	lines := a.cfg.lines()
	if cmd.JSON {
		return a.printJSON(lines)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		value := "-"
		if line.Value != nil {
			value = *line.Value
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", line.Name, value, line.Source)
	}
	return w.Flush()
}

func (c *Config) lines() []configLine {
	lines := make([]configLine, 0, len(c.settings))
	for _, s := range c.settings {
		if s.planned() {
			continue
		}
		line := configLine{Name: s.name, Source: s.source}
		switch {
		case s.name == masterKey && s.text == "" && c.Database.embedded():
			line.Source = "default, the file " + c.Database.path + keySuffix
		case s.text == "":
		case s.secret && s.shown == nil:
			line.Value = new(redacted)
		case s.secret:
			line.Value = new(s.shown(s.text))
		default:
			line.Value = new(s.text)
		}
		lines = append(lines, line)
	}
	return lines
}
