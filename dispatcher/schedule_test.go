package dispatcher

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseSchedule(t *testing.T) {
	for text, want := range map[string]Schedule{
		"1m,5m,30m":       {time.Minute, 5 * time.Minute, 30 * time.Minute},
		" 1s , 1m30s":     {time.Second, 90 * time.Second},
		"seed":            {time.Minute, 5 * time.Minute, 30 * time.Minute},
		"days":            presets["days"],
		"168h":            {MaxRetryWait},
		"200ms,1h,1h0m5s": {200 * time.Millisecond, time.Hour, time.Hour + 5*time.Second},
	} {
		got, err := ParseSchedule(text)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q = %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseSchedule(got.String()); err != nil || !cmp.Equal(again, want) {
			t.Errorf("%q reads as %v, %v", got.String(), again, err)
		}
	}
	for text, names := range map[string]string{
		"":                               `""`,
		"1m,,5m":                         "entry 2",
		"1m,0s":                          `"0s"`,
		"-1m":                            `"-1m"`,
		"1m,soon":                        `"soon"`,
		"5":                              `"5"`,
		"169h":                           `"169h"`,
		strings.Repeat("1m,", 20) + "1m": "at most 20",
	} {
		if _, err := ParseSchedule(text); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%q: %v, want an error that names %s", text, err, names)
		}
	}
}

func TestScheduleNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		waits := rapid.SliceOfN(rapid.Int64Range(1, int64(MaxRetryWait)), 0, MaxRetries).Draw(t, "waits")
		s := make(Schedule, len(waits))
		for i, w := range waits {
			s[i] = time.Duration(w)
		}
		jitter := rapid.Float64Range(0, 1).Draw(t, "jitter")
		step := rapid.IntRange(-1, MaxRetries+1).Draw(t, "step")
		wait, ok := s.Next(step, jitter)
		if ok != (step >= 0 && step < len(s)) {
			t.Fatalf("step %d of %d: ok is %v", step, len(s), ok)
		}
		if ok && (wait < s[step] || float64(wait) > float64(s[step])*(1+jitter)+1) {
			t.Fatalf("%s became %s under jitter %v", s[step], wait, jitter)
		}
	})
}
