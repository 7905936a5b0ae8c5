package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// transcript is everything that a process wrote, stdout and stderr in the order
// in which they came.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a running Tellhook.
type process struct {
	cmd  *exec.Cmd
	out  *transcript
	done chan struct{} // closed when it has ended; err is set then
	err  error
}

// start starts the program; the test's end stops it with SIGTERM.
func (d *deployment) start(args ...string) *process {
	d.t.Helper()
	p := &process{cmd: d.command(args...), out: d.transcript(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	d.t.Cleanup(func() {
		if p.running() {
			p.terminate(d.t)
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
}

// terminate sends SIGTERM and wants an orderly end within 15 seconds.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%v after SIGTERM: %v\n%s", p.cmd.Args[1:], p.err, p.out)
		}
	case <-time.After(15 * time.Second):
		t.Errorf("%v: still running 15 s after SIGTERM\n%s", p.cmd.Args[1:], p.out)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// logged waits for a log line with the message and answers its fields.
func (p *process) logged(t *testing.T, message string) map[string]any {
	t.Helper()
	var line map[string]any
	eventually(t, 60*time.Second, func() error {
		for text := range strings.Lines(p.out.String()) {
			line = nil
			if json.Unmarshal([]byte(text), &line) == nil && line["message"] == message {
				return nil
			}
		}
		if !p.running() {
			t.Fatalf("%v ended: %v\n%s", p.cmd.Args[1:], p.err, p.out)
		}
		return fmt.Errorf("no log line %q in:\n%s", message, p.out)
	})
	return line
}

// ended is what is left of a command.
type ended struct {
	stdout, stderr string
	code           int
}

// run runs a command to its end.
func (d *deployment) run(stdin io.Reader, args ...string) ended {
	d.t.Helper()
	cmd := d.command(args...)
	var stdout, stderr bytes.Buffer
	out := d.transcript()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, io.MultiWriter(&stderr, out)
	timer := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	err := cmd.Run()
	timer.Stop()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return ended{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and answers its stdout, trimmed.
func (d *deployment) must(args ...string) string {
	d.t.Helper()
	e := d.run(nil, args...)
	if e.code != 0 {
		d.t.Fatalf("tellhook %v: exit code %d\n%s", args, e.code, e.stderr)
	}
	return strings.TrimSpace(e.stdout)
}
