// Command tellhook is the service and its command line: the one place that
// reads flags and the environment, and that knows every room of the house.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
)

// Exit codes.
const (
	exitSuccess = 0
	exitFailure = 1
	exitUsage   = 2
)

// hardStop ends a drain that hangs, within the 15 s that the process has. What
// was in flight heals when its lease lapses.
const hardStop = 14*time.Second + 800*time.Millisecond

func main() {
	// A reader of stdout or stderr that goes away must not end the process in
	// the middle of a delivery: the write fails, and what runs is drained.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // the first signal drains; a second one ends the process at once
		time.AfterFunc(hardStop, func() {
			fmt.Fprintln(os.Stderr, "tellhook: the drain took too long; ending now")
			os.Exit(exitFailure)
		})
	})
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// cli is the command line's grammar. Flags of the settings come from Config.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Serve MCP, REST and the dispatcher."`
	Stdio    stdioCmd    `cmd:"" help:"Speak MCP over stdin and stdout."`
	Dispatch dispatchCmd `cmd:"" help:"Run a dispatcher alone."`
	Migrate  migrateCmd  `cmd:"" help:"Migrate the database."`
	Keys     keysCmd     `cmd:"" help:"Make and change API keys, straight on the database."`
	Teams    teamsCmd    `cmd:"" help:"Make and list teams, straight on the database."`
	Send     sendCmd     `cmd:"" help:"Publish an event."`
	Listen   listenCmd   `cmd:"" help:"Receive webhooks, for development."`
	Config   configCmd   `cmd:"" help:"Print the configuration in force, secrets redacted."`
	Keygen   keygenCmd   `cmd:"" help:"Make a master key."`
	Version  versionCmd  `cmd:"" help:"Print version, commit and Go."`
}

// app is what every command has at hand.
type app struct {
	cfg            *Config
	stdin          io.Reader
	stdout, stderr io.Writer
	log            zerolog.Logger
}

// usageError is a fault in how a command was called.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the program, as a function of its inputs. It answers the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := newEnvironment(environ)
	cfg := newConfig(env)
	helped := false
	parser, err := kong.New(&cli{},
		kong.Name("tellhook"),
		kong.Description("Webhooks for your product and for its agents: register URLs, publish events, and every delivery is signed, sent, retried and logged."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100, NoExpandSubcommands: true}),
		kong.Vars{"default_scopes": defaultScopes},
		kong.PostBuild(cfg.addFlags),
	)
	if err != nil {
		return report(stderr, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
		parser.Stdout = stderr
		_, _ = parser.Parse(args) // prints the help; the missing command is said by the exit code
		return exitUsage
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return exitSuccess
	case err != nil:
		return report(stderr, usage("%w\nRun `tellhook %s--help` to see how it is called.", err, commandPath(err)))
	}
	if !needsNoConfig(command.Command()) {
		if err := cfg.load(env); err != nil {
			return report(stderr, err)
		}
	}
	a := &app{cfg: cfg, stdin: stdin, stdout: stdout, stderr: stderr, log: newLogger(cfg, stderr)}
	command.BindTo(ctx, (*context.Context)(nil))
	return report(stderr, command.Run(a))
}

// needsNoConfig tells the commands that help to mend a configuration.
func needsNoConfig(command string) bool { return command == "keygen" || command == "version" }

// commandPath is how far the command line was understood.
func commandPath(err error) string {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil || parse.Context.Selected() == nil {
		return ""
	}
	return parse.Context.Selected().Path() + " "
}

// report says what went wrong and answers the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitSuccess
	}
	fmt.Fprintf(stderr, "tellhook: %v\n", err)
	var called usageError
	var configured faults
	if errors.As(err, &called) || errors.As(err, &configured) {
		return exitUsage
	}
	return exitFailure
}
