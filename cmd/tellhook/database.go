package main

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
)

// database says which database to open: exactly one field is set.
type database struct {
	url  string // of PostgreSQL
	path string // of the embedded database's file, absolute
}

func (d database) embedded() bool { return d.path != "" }

func parseDatabase(text string) (database, error) {
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		if _, err := url.Parse(text); err != nil {
			return database{}, errors.New("cannot be read as a URL; expected postgres://user:password@host:5432/name, with special characters of the password percent-encoded")
		}
		return database{url: text}, nil
	}
	path, ok := strings.CutPrefix(text, "sqlite:")
	if !ok {
		return database{}, errors.New("names no database that Tellhook knows; expected postgres://… or sqlite:PATH")
	}
	if rest, ok := strings.CutPrefix(path, "//"); ok { // an empty authority, as in file:///path
		if !strings.HasPrefix(rest, "/") {
			return database{}, errors.New("expected sqlite:PATH, with one slash at the start of an absolute path and none before a relative one")
		}
		path = rest
	}
	if path == "" || path == ":memory:" || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "\x00\n") {
		return database{}, errors.New("expected the path of a file, such as sqlite:/var/lib/tellhook/tellhook.db")
	}
	path, err := filepath.Abs(path)
	return database{path: path}, err
}

const errNoDataHome = databaseURL + ": neither XDG_DATA_HOME nor HOME is set, so there is no place for the embedded database; set " + databaseURL + "=sqlite:PATH"

// defaultDatabase is the embedded one in the user's data directory (XDG Base
// Directory Specification); empty where there is none.
func defaultDatabase(env environment) string {
	dir := env["XDG_DATA_HOME"]
	if !filepath.IsAbs(dir) { // a relative one is to be ignored
		if env["HOME"] == "" {
			return ""
		}
		dir = filepath.Join(env["HOME"], ".local", "share")
	}
	return "sqlite:" + filepath.Join(dir, "tellhook", "tellhook.db")
}

// redactURL takes the password out of a database's URL.
func redactURL(text string) string {
	if strings.HasPrefix(text, "sqlite:") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return redacted
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), redacted)
	}
	query := u.Query()
	for _, name := range []string{"password", "sslpassword"} {
		if query.Has(name) {
			query.Set(name, redacted)
			u.RawQuery = query.Encode()
		}
	}
	return u.String()
}

// redacted stands for what is secret.
const redacted = "redacted"
