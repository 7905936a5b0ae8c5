package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/tellhook/tellhook/store/seal"
)

// version is set by release builds: -ldflags "-X main.version=1.2.3".
var version string

// build tells what this program was made of.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "+dirty" behind it: with changes; empty: unknown
	Go      string `json:"go"`
}

func buildInfo() build {
	b := build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if b.Commit != "" {
		b.Commit += dirty
	}
	return b
}

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run prints what the build recorded.
func (cmd *versionCmd) Run(a *app) error {
	b := buildInfo()
	if cmd.JSON {
		return json.NewEncoder(a.stdout).Encode(b)
	}
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	_, err := fmt.Fprintf(a.stdout, "tellhook %s\ncommit   %s\ngo       %s\n", b.Version, commit, b.Go)
	return err
}

type keygenCmd struct{}

// Help is the long help.
func (keygenCmd) Help() string {
	return `The key is 32 random bytes in base64, alone on stdout. Keep it apart from the database and its backups: without it the signing secrets in the database cannot be opened.

Examples:

    tellhook keygen > master.key
    TELLHOOK_MASTER_KEY_FILE=master.key tellhook serve --migrate`
}

// Run prints a new master key.
func (keygenCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, seal.GenerateKey())
	return err
}
