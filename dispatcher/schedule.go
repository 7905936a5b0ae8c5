package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Schedule is the waits before the first, second, … retry of a delivery.
type Schedule []time.Duration

// Limits of a schedule.
const (
	MaxRetries   = 20
	MaxRetryWait = 7 * 24 * time.Hour
)

// DefaultSchedule makes four requests in all.
const DefaultSchedule = "1m,5m,30m"

// The presets, by name.
var presets = map[string]Schedule{
	"seed": {time.Minute, 5 * time.Minute, 30 * time.Minute},
	"days": {
		5 * time.Second, 5 * time.Minute, 30 * time.Minute,
		2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
	},
}

// ParseSchedule reads a preset's name ("seed", "days") or up to MaxRetries
// waits such as "1m,5m,30m", each above zero and at most MaxRetryWait. The
// error names the entry at fault.
func ParseSchedule(text string) (Schedule, error) {
	if s, ok := presets[strings.TrimSpace(text)]; ok {
		return slices.Clone(s), nil
	}
	entries := strings.Split(text, ",")
	if len(entries) > MaxRetries {
		return nil, fmt.Errorf("retry schedule: %d waits came, expected at most %d", len(entries), MaxRetries)
	}
	s := make(Schedule, len(entries))
	for i, entry := range entries {
		wait, err := time.ParseDuration(strings.TrimSpace(entry))
		if err != nil || wait <= 0 || wait > MaxRetryWait {
			return nil, fmt.Errorf("retry schedule: entry %d, %q, is not a wait above zero and at most %s; expected such as %s, or one of the presets seed and days",
				i+1, entry, short(MaxRetryWait), DefaultSchedule)
		}
		s[i] = wait
	}
	return s, nil
}

// Next answers the wait before the retry that follows a failed attempt, when
// step attempts of this run of the schedule were made before that one. The wait
// is stretched by a random part of jitter (0.1: up to 10 %), never shortened.
// ok is false where the schedule is at its end.
func (s Schedule) Next(step int, jitter float64) (wait time.Duration, ok bool) {
	if step < 0 || step >= len(s) {
		return 0, false
	}
	return stretch(s[step], jitter), true
}

// String writes the schedule as ParseSchedule reads it.
func (s Schedule) String() string {
	waits := make([]string, len(s))
	for i, wait := range s {
		waits[i] = short(wait)
	}
	return strings.Join(waits, ",")
}

func stretch(wait time.Duration, jitter float64) time.Duration {
	return wait + time.Duration(float64(wait)*max(0, jitter)*rand.Float64()) //nolint:gosec // spreads load, guards nothing
}

// short is d without the units at its end that are zero: 5m, not 5m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
