package e2e

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Scopes of a team's key with everything.
const allScopes = "webhooks:read,webhooks:write,events:write,keys:write"

// deployment is one migrated database and the settings of the processes that run
// on it. At the test's end nothing that they wrote may hold a secret or the
// report of a data race.
type deployment struct {
	t        *testing.T
	settings map[string]string
	key      string // of the team "default", with every scope and tool

	mu          sync.Mutex
	transcripts []*transcript
	secrets     map[string]string // what must not be seen, to what it is
}

// deploy prepares a database. Settings are "NAME=value".
func deploy(t *testing.T, db database, settings ...string) *deployment {
	t.Helper()
	d := undeployed(t, db, settings...)
	if db == postgres {
		d.set("TELLHOOK_MASTER_KEY", d.must("keygen"))
		d.secret("master key", d.settings["TELLHOOK_MASTER_KEY"])
		d.must("migrate")
	}
	d.key = d.newKey("default", allScopes, "all")
	return d
}

// undeployed is a deployment on a database that is still empty.
func undeployed(t *testing.T, db database, settings ...string) *deployment {
	t.Helper()
	home := t.TempDir()
	d := &deployment{t: t, secrets: map[string]string{}, settings: map[string]string{
		"PATH":                        os.Getenv("PATH"),
		"HOME":                        home,
		"XDG_DATA_HOME":               home,
		"GORACE":                      "halt_on_error=0",
		"TELLHOOK_DATABASE_URL":       db.create(t),
		"TELLHOOK_DATABASE_MAX_CONNS": "6", // many tests share the cluster
		"TELLHOOK_ADDR":               "127.0.0.1:0",
		"TELLHOOK_LOG_LEVEL":          "debug",
	}}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		d.set(name, value)
	}
	t.Cleanup(d.checkTranscripts)
	return d
}

func (d *deployment) set(name, value string) { d.settings[name] = value }

// with is the same deployment with other settings, on another machine as it were.
func (d *deployment) with(settings ...string) *deployment {
	other := &deployment{t: d.t, key: d.key, settings: maps.Clone(d.settings), secrets: maps.Clone(d.secrets)}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		other.set(name, value)
	}
	d.t.Cleanup(other.checkTranscripts)
	return other
}

func (d *deployment) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), binary, args...) // it outlives the test's context, to be stopped in order
	for name, value := range d.settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

func (d *deployment) transcript() *transcript {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := &transcript{}
	d.transcripts = append(d.transcripts, o)
	return o
}

// secret remembers a text that no process may write.
func (d *deployment) secret(what, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secrets[text] = what
}

func (d *deployment) checkTranscripts() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, out := range d.transcripts {
		text := out.String()
		if strings.Contains(text, "DATA RACE") {
			d.t.Errorf("the race detector spoke:\n%s", text)
		}
		if strings.Contains(text, "panic:") || strings.Contains(text, "goroutine 1 [") {
			d.t.Errorf("panic:\n%s", text)
		}
		for secret, what := range d.secrets {
			if strings.Contains(text, secret) {
				d.t.Errorf("the %s was written to the log:\n%s", what, text)
			}
		}
	}
}

// newKey makes an API key; tools may be a preset or empty.
func (d *deployment) newKey(team, scopes, tools string) string {
	d.t.Helper()
	args := []string{"keys", "create", "--team", team, "--name", "e2e", "--scopes", scopes}
	if tools != "" {
		args = append(args, "--tools", tools)
	}
	key := d.must(args...)
	if !strings.HasPrefix(key, "thk_") || strings.ContainsAny(key, " \n") {
		d.t.Fatalf("keys create wrote %q on stdout; want the key alone", key)
	}
	d.secret("API key", key)
	return key
}

// server is a running `tellhook serve`.
type server struct {
	*process
	url string
}

// serve starts a server and waits until it listens.
func (d *deployment) serve(args ...string) *server {
	d.t.Helper()
	p := d.start(append([]string{"serve"}, args...)...)
	addr, _ := p.logged(d.t, "listening")["addr"].(string)
	return &server{p, "http://" + addr}
}
