package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var keyForm = regexp.MustCompile(`thk_[0-9A-Za-z]{43}`)

// TestFirstRun wants `serve` on nothing to make a database and one key, printed
// once, that does everything.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	d := undeployed(t, sqlite)
	delete(d.settings, "TELLHOOK_DATABASE_URL")
	s := d.serve("--dev")
	var found []string
	eventually(t, 10*time.Second, func() error {
		if found = keyForm.FindAllString(s.out.String(), -1); len(found) == 0 {
			return fmt.Errorf("no key in\n%s", s.out)
		}
		return nil
	})
	for _, key := range found {
		if key != found[0] {
			t.Errorf("more than one key was printed:\n%s", s.out)
		}
	}
	d.key = found[0]
	for _, want := range []string{s.url, "mcpServers"} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("the first start does not print %q:\n%s", want, s.out)
		}
	}
	me := d.rest(s).do("GET", "/api/v1/whoami", nil).ok(http.StatusOK)
	if asObject(me["team"])["name"] != "default" || len(arr(me, "scopes")) != 4 {
		t.Errorf("the first key is %v", me)
	}
	a := transports[4].open(t, d, s, d.key)
	if got := a.tools(); len(got) != len(toolNames) {
		t.Errorf("tools of the first key: %v", got)
	}

	files, err := filepath.Glob(filepath.Join(d.settings["XDG_DATA_HOME"], "tellhook", "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the embedded database: %v, %v", files, err)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v %v", name, info.Mode(), err)
		}
	}
	s.terminate(t)

	again := d.serve("--dev")
	d.rest(again).do("GET", "/api/v1/whoami", nil).ok(http.StatusOK)
	again.terminate(t)
	if keyForm.MatchString(again.out.String()) {
		t.Errorf("the second start prints a key:\n%s", again.out)
	}
	d.transcripts = d.transcripts[1:] // the first start is the one that may print its key
	d.secret("first key", d.key)
}

// TestFirstCommandIsNotServe wants no other command to make or print a key.
func TestFirstCommandIsNotServe(t *testing.T) {
	t.Parallel()
	d := undeployed(t, sqlite)
	list := d.run(nil, "teams", "list")
	if list.code != 0 || !strings.Contains(list.stdout, "default") || keyForm.MatchString(list.stdout+list.stderr) {
		t.Errorf("teams list: %+v", list)
	}
	// Embedded and without a key, stdio is the local team with everything.
	a := transports[0].open(t, d, nil, "")
	if got := a.tools(); len(got) != len(toolNames) {
		t.Errorf("tools of the local team: %v", got)
	}
	ro := &agent{t, nil}
	ro.session = readOnly(t, d)
	for _, name := range ro.tools() {
		if strings.HasPrefix(name, "create_") || strings.HasPrefix(name, "delete_") || strings.HasPrefix(name, "update_") || strings.HasPrefix(name, "publish_") {
			t.Errorf("stdio --read-only offers %s", name)
		}
	}
}

// TestSendAndListen runs the tour: a receiver, a webhook, an event.
func TestSendAndListen(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, loopback...)
		s := d.serve()
		c := d.rest(s)
		const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // its owner's, so that listen can start first
		d.secret("signing secret", secret)
		listener := d.start("listen", "--addr", "127.0.0.1:0", "--secret", secret)
		addr, _ := listener.logged(t, "listening")["addr"].(string)
		c.createWebhook(object{"url": "http://" + addr + "/", "events": []string{"scan.created"}, "secret": secret})

		file := filepath.Join(t.TempDir(), "data.json")
		if err := os.WriteFile(file, []byte(`{"node_slug":"s","node_id":"from-a-file"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		// Over REST with the server's address, else on the database.
		over := d.with("TELLHOOK_URL="+s.url, "TELLHOOK_API_KEY="+d.key)
		first := over.must("send", "scan.created", "--data", "@"+file, "--idempotency-key", "once", "--wait")
		if again := over.must("send", "scan.created", "--data", "@"+file, "--idempotency-key", "once"); again != first || !strings.HasPrefix(first, "evt_") {
			t.Errorf("send printed %q, then %q under one idempotency key", first, again)
		}
		direct := d.with("TELLHOOK_API_KEY="+d.key).run(strings.NewReader(`{"node_slug":"s","node_id":"from-stdin"}`), "send", "scan.created", "--data", "-")
		if direct.code != 0 {
			t.Fatalf("send on the database: %+v", direct)
		}
		c.delivery(strings.TrimSpace(direct.stdout), "succeeded", 10*time.Second)
		c.delivery(first, "succeeded", time.Second)
		for _, want := range []string{"from-a-file", "from-stdin", first, "X-Webhook-Signature: verified", "webhook-signature: verified"} {
			if !strings.Contains(listener.out.String(), want) {
				t.Errorf("listen does not show %q:\n%s", want, listener.out)
			}
		}
		if e := over.run(nil, "send", "scan.created", "--data", `{"node_slug":1}`); e.code != 1 || e.stdout != "" || !strings.Contains(e.stderr, "node_id") {
			t.Errorf("send of data that does not fit: %+v", e)
		}
	})
}

// TestMigrations wants PostgreSQL to be refused until it is migrated, with words.
func TestMigrations(t *testing.T) {
	t.Parallel()
	d := undeployed(t, postgres)
	if e := d.run(nil, "serve"); e.code != 1 || !strings.Contains(e.stderr, "TELLHOOK_MASTER_KEY") {
		t.Errorf("serve without a master key: %+v", e)
	}
	key := d.must("keygen")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 32 {
		t.Errorf("keygen: %q is not 32 bytes in base64", key)
	}
	d.set("TELLHOOK_MASTER_KEY", key)
	d.secret("master key", key)
	if e := d.run(nil, "serve"); e.code != 1 || !strings.Contains(e.stderr, "migrate") {
		t.Errorf("serve before migrate: %+v", e)
	}
	if e := d.run(nil, "migrate", "status"); e.code != 1 {
		t.Errorf("migrate status with something pending: %+v", e)
	}
	s := d.serve("--migrate")
	if e := d.run(nil, "migrate", "status"); e.code != 0 {
		t.Errorf("migrate status with nothing pending: %+v", e)
	}
	if keyForm.MatchString(s.out.String()) {
		t.Errorf("serve on PostgreSQL prints a key:\n%s", s.out)
	}
	if teams := d.must("teams", "list"); !strings.Contains(teams, "default") {
		t.Errorf("teams after migrate: %q", teams)
	}
	other := d.with("TELLHOOK_MASTER_KEY=" + d.must("keygen"))
	if e := other.run(nil, "serve"); e.code != 1 || !strings.Contains(strings.ToLower(e.stderr), "master key") {
		t.Errorf("serve with another master key: %+v", e)
	}
}

// TestWrongUsage wants every fault named at once, and the exit codes.
func TestWrongUsage(t *testing.T) {
	t.Parallel()
	d := undeployed(t, sqlite)
	e := d.with("TELLHOOK_TIMEOUT=soon", "TELLHOOK_CONCURRENCY=-1", "TELLHOOK_COLOUR=red", "TELLHOOK_PORT=tcp://10.0.0.1:80", "TELLHOOK_SERVICE_HOST=10.0.0.1").run(nil, "serve")
	for _, want := range []string{"TELLHOOK_TIMEOUT", "TELLHOOK_CONCURRENCY", "TELLHOOK_COLOUR"} {
		if e.code != 2 || !strings.Contains(e.stderr, want) {
			t.Errorf("exit code %d, and the words have to name %s:\n%s", e.code, want, e.stderr)
		}
	}
	if strings.Contains(e.stderr, "TELLHOOK_PORT") || strings.Contains(e.stderr, "TELLHOOK_SERVICE_HOST") {
		t.Errorf("what Kubernetes injects has to be ignored:\n%s", e.stderr)
	}
	for _, args := range [][]string{{}, {"dance"}, {"serve", "--colour", "red"}, {"keys", "create"}} {
		if e := d.run(nil, args...); e.code != 2 || e.stdout != "" {
			t.Errorf("tellhook %v: %+v; want exit code 2 and words on stderr alone", args, e)
		}
	}
	for _, args := range [][]string{
		{"keys", "create", "--team", "default", "--name", "x", "--scopes", "everything"},
		{"keys", "create", "--team", "nobody", "--name", "x", "--scopes", "webhooks:read"},
		{"keys", "revoke", "key_none"},
	} {
		if e := d.run(nil, args...); e.code == 0 || e.stdout != "" || e.stderr == "" {
			t.Errorf("tellhook %v: %+v", args, e)
		}
	}
	if e := d.run(nil, "version"); e.code != 0 || !strings.Contains(e.stdout, "go1.") {
		t.Errorf("version: %+v", e)
	}
	secret := d.with("TELLHOOK_MASTER_KEY=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)))
	if e := secret.run(nil, "config"); e.code != 0 || !strings.Contains(e.stdout, "TELLHOOK_TIMEOUT") || strings.Contains(e.stdout, "a2tra2tr") {
		t.Errorf("config: %+v", e)
	}
}

// TestKeysJSON wants the commands' --json to be JSON.
func TestKeysJSON(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	for _, args := range [][]string{{"keys", "list", "--json"}, {"teams", "list", "--json"}} {
		if text := d.must(args...); !json.Valid([]byte(text)) {
			t.Errorf("%v: %s", args, text)
		}
	}
}
