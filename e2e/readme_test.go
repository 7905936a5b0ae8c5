package e2e

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestREADMETour runs the commands of the README's tour as they stand there, but
// for ports and the key.
func TestREADMETour(t *testing.T) {
	t.Parallel()
	_, tour, ok := strings.Cut(readme(t), "\n## Sixty seconds\n")
	if !ok {
		t.Fatal("the README has no section \"Sixty seconds\"")
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```sh\n(.*?)```").FindAllStringSubmatch(tour, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 2 || !strings.Contains(blocks[0], "serve --dev") {
		t.Fatalf("the tour has to begin with serve --dev and go on: %q", blocks)
	}

	d := deploy(t, sqlite, "TELLHOOK_RETRY_SCHEDULE=1s,1s") // send may be quicker than listen
	s := d.serve("--dev")
	receiver := "127.0.0.1:" + freePort(t)
	script := strings.NewReplacer("http://127.0.0.1:8080", s.url, "127.0.0.1:9000", receiver,
		"./tellhook listen", binary+" listen --addr "+receiver, "./tellhook", binary).Replace(strings.Join(blocks[1:], "\n"))
	script = regexp.MustCompile(`thk_[0-9A-Za-z]+…`).ReplaceAllString(script, d.key)

	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	sh := exec.CommandContext(ctx, "sh", "-ec", script+"\nkill $!\nwait $! || true\n")
	sh.Dir = t.TempDir()
	for _, name := range []string{"PATH", "HOME"} {
		sh.Env = append(sh.Env, name+"="+d.settings[name])
	}
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	for _, want := range []string{"whsec_", "evt_", "X-Webhook-Signature: verified; webhook-signature: verified", `"qr_code_id": 42`, "succeeded"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the tour prints no %q:\n%s", want, out)
		}
	}
}

// TestREADMENames wants every command, tool and file that the README names to be
// there.
func TestREADMENames(t *testing.T) {
	t.Parallel()
	text := readme(t)
	d := undeployed(t, sqlite)
	commands := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)(?:\\./|`)tellhook ([a-z]+)").FindAllStringSubmatch(text, -1) {
		commands[m[1]] = true
	}
	for name := range commands {
		if e := d.run(nil, name, "--help"); e.code != 0 {
			t.Errorf("tellhook %s --help: %+v", name, e)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("../" + m[1]); err != nil {
			t.Errorf("link of the README: %v", err)
		}
	}
	_, table, _ := strings.Cut(text, "\n### Tools\n")
	table, _, _ = strings.Cut(table, "\n\nA key")
	var named []string
	for _, m := range regexp.MustCompile("`([a-z]+_[a-z_]+|whoami)`").FindAllStringSubmatch(table, -1) {
		named = append(named, m[1])
	}
	if got := sorted(named); !slices.Equal(got, toolNames) {
		t.Errorf("tools in the README:\ngot  %v\nwant %v", got, toolNames)
	}
}
