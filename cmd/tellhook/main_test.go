package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tellhook/tellhook/store/postgres/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tellhook": main})
}

// TestEmbedded runs the commands on the embedded database, as users do: each
// script in a home of its own.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scripts("testdata/embedded", nil))
}

// TestPostgres runs them on PostgreSQL; DATABASE names an empty database.
func TestPostgres(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/postgres/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			p := scripts("", func(e *testscript.Env) { e.Setenv("DATABASE", pgtest.New(t)) })
			p.Files = []string{file}
			testscript.Run(t, p)
		})
	}
}

func scripts(dir string, more func(*testscript.Env)) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			if more != nil {
				more(e)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":     await,
			"terminate": terminate,
			"mode":      mode,
			"count":     count,
			"get":       get,
		},
	}
}

// await FILE PATTERN [VAR] waits until a file matches, and puts the pattern's
// first group into the variable.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await FILE PATTERN [VAR]")
	}
	pattern := regexp.MustCompile(args[1])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if found := pattern.FindSubmatch(b); found != nil {
			if len(args) == 3 {
				ts.Setenv(args[2], string(found[1]))
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: no %s (%v) in:\n%s", args[0], args[1], err, b)
		}
	}
}

// terminate sends SIGTERM to the commands in the background.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: terminate")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// mode BITS PATH compares a file's permissions.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode BITS PATH")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().String(); got != args[0] {
		ts.Fatalf("%s has the mode %s, want %s", args[1], got, args[0])
	}
}

// count N TEXT FILE... wants the text N times in the files together.
func count(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] == "" {
		ts.Fatalf("usage: count N TEXT FILE...")
	}
	n := 0
	for _, file := range args[2:] {
		n += strings.Count(ts.ReadFile(file), args[1])
	}
	if got := string(rune('0' + n)); got != args[0] {
		ts.Fatalf("%d times %q in %v, want %s", n, args[1], args[2:], args[0])
	}
}

// get URL PATTERN fetches a page, which must be a 200 that matches.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get URL PATTERN")
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, args[0], http.NoBody)
	ts.Check(err)
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	if res.StatusCode != http.StatusOK || !regexp.MustCompile(args[1]).Match(body) {
		ts.Fatalf("%s answered %s:\n%s", args[0], res.Status, body)
	}
}
