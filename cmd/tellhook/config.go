package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/tellhook/tellhook/store"
)

const (
	prefix       = "TELLHOOK_"
	fileSuffix   = "_FILE"
	databaseURL  = "TELLHOOK_DATABASE_URL"
	masterKey    = "TELLHOOK_MASTER_KEY"
	otelEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

	maxSecretFile = 64 << 10 // bytes
)

// faults are everything that is wrong with the configuration, found at once.
type faults []string

func (f faults) Error() string {
	if len(f) == 1 {
		return "the configuration has a fault: " + f[0]
	}
	return fmt.Sprintf("the configuration has %d faults:\n  %s", len(f), strings.Join(f, "\n  "))
}

// flagName is the name of the setting's flag.
func (s *setting) flagName() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.name, prefix), "_", "-"))
}

// load reads every setting: the flag, or else the environment, or else the
// default. The error is of type faults and lists all of them.
func (c *Config) load(env environment) error {
	found := c.unknown(env)
	c.ignoredOTLP = env[otelEndpoint] != ""
	for _, s := range c.settings {
		if err := s.resolve(env); err != nil {
			found = append(found, err.Error())
			continue
		}
		if s.text == "" {
			if s.name == databaseURL {
				found = append(found, errNoDataHome)
			}
			continue
		}
		if err := s.parse(s.text); err != nil {
			found = append(found, s.fault(err))
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// fault says what is wrong with the value in force; a secret is not quoted.
func (s *setting) fault(err error) string {
	value := ""
	if !s.secret {
		value = fmt.Sprintf("%q: ", store.Clip(s.text, 100))
	}
	name := s.name
	switch {
	case strings.HasPrefix(s.source, "flag"):
		name = fmt.Sprintf("--%s (%s)", s.flagName(), s.name)
	case strings.HasPrefix(s.source, "file"):
		name = fmt.Sprintf("%s (%s)", s.name, s.source)
	}
	return name + ": " + value + err.Error()
}

// resolve finds the setting's text and where it comes from. An empty variable
// counts as one that is not set.
func (s *setting) resolve(env environment) error {
	variable, file := env[s.name], ""
	if s.secret {
		file = env[s.name+fileSuffix]
	}
	switch {
	case s.flag != nil && s.flagFile != nil:
		return fmt.Errorf("--%s and --%s-file are both given; give one of them", s.flagName(), s.flagName())
	case s.flag != nil:
		s.text, s.source = *s.flag, "flag --"+s.flagName()
		if s.text == "" {
			return fmt.Errorf("--%s (%s): the value is empty; leave the flag out for the default", s.flagName(), s.name)
		}
		return nil
	case s.flagFile != nil:
		return s.readFile(*s.flagFile, "--"+s.flagName()+"-file")
	case variable != "" && file != "":
		return fmt.Errorf("%s and %s are both set; set one of them", s.name, s.name+fileSuffix)
	case variable != "":
		s.text, s.source = variable, "environment"
		return nil
	case file != "":
		return s.readFile(file, s.name+fileSuffix)
	}
	s.text, s.source = s.fallback, "default"
	return nil
}

// readFile takes the text from a file, without space at its ends.
func (s *setting) readFile(path, by string) error {
	text, err := readSecret(path)
	if err != nil {
		return fmt.Errorf("%s: %w", by, err)
	}
	s.text, s.source = text, "file "+path
	return nil
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case len(b) > maxSecretFile:
		return "", fmt.Errorf("%s is larger than %d bytes; expected the secret alone", path, maxSecretFile)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("%s is empty; expected the secret in it", path)
	}
	return text, nil
}

// unknown finds the TELLHOOK_ variables that nothing reads.
func (c *Config) unknown(env environment) faults {
	var known []string // without the prefix, which says nothing of what was meant
	for _, s := range c.settings {
		known = append(known, strings.TrimPrefix(s.name, prefix))
		if s.secret {
			known = append(known, strings.TrimPrefix(s.name+fileSuffix, prefix))
		}
	}
	var found faults
	for name, value := range env {
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || slices.Contains(known, rest) || ignored(name, value) {
			continue
		}
		fault := name + ": unknown variable"
		if meant := store.Nearest(rest, known); meant != "" {
			fault += "; did you mean " + prefix + meant + "?"
		} else {
			fault += "; `tellhook config` lists those there are"
		}
		found = append(found, fault)
	}
	slices.Sort(found) // a map has no order
	return found
}

// fromFlag tells whether a setting was given on the command line.
func (c *Config) fromFlag(name string) bool {
	i := slices.IndexFunc(c.settings, func(s *setting) bool { return s.name == name })
	return i >= 0 && c.settings[i].flag != nil
}
