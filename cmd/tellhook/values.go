package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/schemas"
	"github.com/tellhook/tellhook/store/seal"
)

const day = 24 * time.Hour

// into makes a setting's parse of a function from text to a value.
func into[T any](target *T, read func(string) (T, error)) func(string) error {
	return func(text string) error {
		value, err := read(text)
		if err == nil {
			*target = value
		}
		return err
	}
}

// unavailable refuses every value but the default: a setting that is taken and
// then ignored would be a lie.
func unavailable(fallback string) func(string) error {
	return func(text string) error {
		if text == fallback {
			return nil
		}
		return errors.New("not available in this version; leave it unset")
	}
}

func integer(low, high int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("expected a whole number between %d and %d", low, high)
		}
		return n, nil
	}
}

func fraction(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) { // written so that NaN fails
		return 0, errors.New("expected a number between 0 and 1, such as 0.1")
	}
	return f, nil
}

func boolean(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("expected true or false")
	}
	return b, nil
}

func duration(low, high time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		d, err := parseDuration(text)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("expected a time between %s and %s, such as 10s, 5m, 12h or 30d", formatDuration(low), formatDuration(high))
		}
		return d, nil
	}
}

var days = regexp.MustCompile(`^([0-9]{1,6})d(.*)$`)

// parseDuration reads what time.ParseDuration reads, and days in front of it:
// 30d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	found := days.FindStringSubmatch(text)
	if found == nil {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil || n > 100_000 {
		return 0, errors.New("too many days")
	}
	if found[2] == "" {
		return time.Duration(n) * day, nil
	}
	rest, err := time.ParseDuration(found[2])
	if err != nil || rest < 0 {
		return 0, errors.New("not a time")
	}
	return time.Duration(n)*day + rest, nil
}

func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	if text := d.String(); strings.HasSuffix(text, "m0s") {
		return strings.TrimSuffix(text, "0s")
	}
	return d.String()
}

func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(words, text) {
			return "", fmt.Errorf("expected one of %s", strings.Join(words, ", "))
		}
		return text, nil
	}
}

// list reads values separated by commas; space around them does not count.
func list[T any](read func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		var values []T
		for i, part := range strings.Split(text, ",") {
			value, err := read(strings.TrimSpace(part))
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i+1, err)
			}
			values = append(values, value)
		}
		return values, nil
	}
}

func line(limit int) func(string) (string, error) {
	return func(text string) (string, error) {
		if len(text) > limit || strings.ContainsFunc(text, unicode.IsControl) || strings.TrimSpace(text) != text {
			return "", fmt.Errorf("expected at most %d bytes on one line, without space at either end", limit)
		}
		return text, nil
	}
}

func address(text string) (string, error) {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", errors.New("expected host:port, such as 127.0.0.1:8080 or :0")
	}
	return text, nil
}

func webURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("expected an http or https URL without user, query or fragment, such as https://hooks.example.com")
	}
	return strings.TrimRight(text, "/"), nil
}

func origin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != strings.ToLower(text) {
		return "", errors.New("expected an origin, such as https://app.example.com")
	}
	return strings.ToLower(text), nil
}

var hostPattern = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)

func hostName(text string) (string, error) {
	if !hostPattern.MatchString(text) {
		return "", errors.New("expected a host, such as hooks.example.com or hooks.example.com:8443")
	}
	return text, nil
}

func network(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, errors.New("expected a network, such as 10.0.0.0/8 or fd00::/8")
	}
	if prefix != prefix.Masked() {
		return prefix, fmt.Errorf("has bits set behind its length; %s is probably meant", prefix.Masked())
	}
	return prefix, nil
}

func signatureHeader(text string) (string, error) {
	lower := strings.ToLower(text)
	// These are others that the sender sets on every delivery.
	taken := lower == "host" || lower == "user-agent" || lower == "x-webhook-event" || lower == "x-webhook-delivery" ||
		lower == "x-webhook-attempt" || strings.HasPrefix(lower, "content-") || strings.HasPrefix(lower, "webhook-")
	custom := map[string]string{text: "value"}
	if lower != "x-webhook-signature" && (taken || !httpguts.ValidHeaderFieldName(text) || !strings.HasPrefix(lower, "x-webhook-") && dispatcher.CheckHeaders(custom, "") != nil) {
		return "", errors.New("expected a header's name that nothing else uses, such as X-Example-Signature")
	}
	return text, nil
}

func builtinTypes(text string) ([]string, error) {
	if text == "all" {
		return nil, nil
	}
	var known []string
	for _, t := range schemas.Events() {
		known = append(known, t.Name)
	}
	return list(func(name string) (string, error) {
		if !slices.Contains(known, name) {
			return "", fmt.Errorf("expected all, or some of %s", strings.Join(known, ", "))
		}
		return name, nil
	})(text)
}

func apiKey(text string) (string, error) {
	if !strings.HasPrefix(text, "thk_") || strings.ContainsFunc(text, unicode.IsSpace) {
		return "", errors.New("expected a key that begins with thk_; make one with tellhook keys create")
	}
	return text, nil
}

func masterKeys(text string) (string, error) {
	_, err := seal.Parse(text)
	return text, err
}
