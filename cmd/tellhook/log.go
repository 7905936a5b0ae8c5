package main

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// newLogger makes the logger on stderr.
func newLogger(c *Config, stderr io.Writer) zerolog.Logger {
	zerolog.TimeFieldFormat = store.TimeFormat
	zerolog.TimestampFunc = func() time.Time { return time.Now().UTC() }
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // commands without a configuration
	}
	out := stderr
	if c.LogFormat == "console" || c.LogFormat == "" && terminal(stderr) {
		out = zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly, NoColor: !terminal(stderr)}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// warnOfIgnored says what a service's configuration asks for in vain.
func (a *app) warnOfIgnored() {
	if a.cfg.ignoredOTLP {
		a.log.Warn().Msg(otelEndpoint + " is set, and this version exports no traces or metrics")
	}
}
