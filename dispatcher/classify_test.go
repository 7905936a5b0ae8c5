package dispatcher

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 2, 9, 14, 30, 0, 0, time.UTC)
	theirs := now.Add(time.Hour).Format(http.TimeFormat) // the receiver's clock is an hour ahead
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{value: "", want: 0},
		{value: "0", want: 0},
		{value: "120", want: 2 * time.Minute},
		{value: " 7 ", want: 7 * time.Second},
		{value: "86400", want: 24 * time.Hour},
		{value: "86401", want: 24 * time.Hour},
		{value: "99999999999999999999999", want: 24 * time.Hour},
		{value: "9223372036854775807", want: 24 * time.Hour},
		{value: "-5", want: 0},
		{value: "+5", want: 0},
		{value: "1.5", want: 0},
		{value: "soon", want: 0},
		{value: now.Add(90 * time.Second).Format(http.TimeFormat), want: 90 * time.Second},
		{value: now.Add(-time.Hour).Format(http.TimeFormat), want: 0},
		{value: now.Add(48 * time.Hour).Format(http.TimeFormat), want: 24 * time.Hour},
		{value: now.Add(time.Hour + time.Minute).Format(http.TimeFormat), date: theirs, want: time.Minute},
		{value: now.Add(time.Minute).Format(time.RFC850), want: time.Minute},
	} {
		h := http.Header{"Retry-After": {c.value}, "Date": {c.date}}
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q = %s, want %s", c.value, got, c.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Mon, 09 Feb 2026 14:30:00 GMT", "Mon, 09 Feb 2026 13:30:00 GMT")
	f.Add("99999999999999999999", "x")
	f.Fuzz(func(t *testing.T, value, date string) {
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now())
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q, %q = %s", value, date, got)
		}
	})
}
