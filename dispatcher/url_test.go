package dispatcher

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/tellhook/tellhook/store"
)

var local = Egress{AllowHTTP: true, AllowNetworks: []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
}}

func TestCanonicalURL(t *testing.T) {
	long := "https://example.com/" + strings.Repeat("a", MaxURLBytes)
	for _, c := range []struct{ raw, want, refusal string }{
		{raw: "https://example.com/hooks?x=1&y=%20", want: "https://example.com/hooks?x=1&y=%20"},
		{raw: "https://example.com", want: "https://example.com"},
		{raw: "HTTPS://EXAMPLE.com:443/A", want: "https://example.com/A"},
		{raw: "https://example.com:0443/", want: "https://example.com/"},
		{raw: "https://example.com:8443/", want: "https://example.com:8443/"},
		{raw: "https://example.com:/", want: "https://example.com/"},
		{raw: "https://example.com./x", want: "https://example.com/x"},
		{raw: "https://bücher.example/ü?q=ü", want: "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC"},
		{raw: "https://example.com/a%2Fb/ü?q=ü", want: "https://example.com/a%2Fb/%C3%BC?q=%C3%BC"},
		{raw: "https://example.com/{a}%2Fb;c=[d]/%2e%2E", want: "https://example.com/%7Ba%7D%2Fb;c=[d]/%2e%2E"},
		{raw: "https://qa--site.example.com/", want: "https://qa--site.example.com/"},
		{raw: "https://ｅxample。com/", want: "https://example.com/"},
		{raw: "https://93.184.216.34/", want: "https://93.184.216.34/"},
		{raw: "https://[2606:4700::0:1111]/", want: "https://[2606:4700::1111]/"},
		{raw: "https://example.com/#", want: "https://example.com/"},
		{raw: long[:MaxURLBytes], want: long[:MaxURLBytes]},

		{raw: "", refusal: "empty"},
		{raw: long, refusal: "at most 2048"},
		{raw: "https://example.com/" + strings.Repeat("ü", 700), refusal: "once encoded"},
		{raw: "http://example.com/", refusal: "deliveries need https"},
		{raw: "ftp://example.com/", refusal: "deliveries need https"},
		{raw: "example.com/x", refusal: "deliveries need https"},
		{raw: "https:example.com", refusal: "no host"},
		{raw: "https:///x", refusal: "no host"},
		{raw: "https://user:pw@example.com/", refusal: "user name"},
		{raw: "https://@example.com/", refusal: "user name"},
		{raw: "https://example.com/#x", refusal: "fragment"},
		{raw: "https://example.com:0/", refusal: "port 0"},
		{raw: "https://example.com:65536/", refusal: "port 65536"},
		{raw: "https://example.com:99999999999999999999/", refusal: "port 9999"},
		{raw: "https://example.com:x/", refusal: "cannot be read"},
		{raw: "https://exa mple.com/", refusal: "space"},
		{raw: " https://example.com/", refusal: "space"},
		{raw: "https://example.com/\r\nX: y", refusal: "control"},
		{raw: "https://example.com/\x00", refusal: "control"},
		{raw: "https://example.com../", refusal: "valid name"},
		{raw: "https://a..b/", refusal: "valid name"},
		{raw: "https://-a.example/", refusal: "valid name"},
		{raw: "https://a-.example/", refusal: "valid name"},
		{raw: "https://" + strings.Repeat("a", 64) + ".example/", refusal: "valid name"},
		{raw: "https://example.com\\@evil.example/", refusal: "cannot be read"},
		{raw: "https://0x7f000001/", refusal: "four decimal numbers"},
		{raw: "https://0x7f.1/", refusal: "four decimal numbers"},
		{raw: "https://0177.0.0.1/", refusal: "four decimal numbers"},
		{raw: "https://127.1/", refusal: "four decimal numbers"},
		{raw: "https://2130706433/", refusal: "four decimal numbers"},
		{raw: "https://1.2.3.4.5/", refusal: "four decimal numbers"},
		{raw: "https://１２７.1/", refusal: "four decimal numbers"},
		{raw: "https://%31%32%37.0.0.1/", refusal: "cannot be read"},
		{raw: "https://[fe80::1%25eth0]/", refusal: "without a zone"},
		{raw: "https://[::1/", refusal: "cannot be read"},
		{raw: "https://127.0.0.1/", refusal: "127.0.0.1 is not an allowed destination"},
		{raw: "https://127.0.0.1./", refusal: "127.0.0.1 is not an allowed destination"},
		{raw: "https://１２７.0.0.1/", refusal: "127.0.0.1 is not an allowed destination"},
		{raw: "https://10.1.2.3/", refusal: "private"},
		{raw: "https://169.254.169.254/latest", refusal: "metadata"},
		{raw: "https://[::1]/", refusal: "not an allowed destination"},
		{raw: "https://[::ffff:127.0.0.1]/", refusal: "wraps an IPv4 address"},
		{raw: "https://localhost/", refusal: "this machine"},
		{raw: "https://LOCALHOST./", refusal: "this machine"},
		{raw: "https://a.localhost:8080/", refusal: "this machine"},
	} {
		got, err := Egress{}.CanonicalURL(c.raw)
		if c.refusal == "" {
			if err != nil || got != c.want {
				t.Errorf("%q = %q, %v; want %q", c.raw, got, err, c.want)
			}
			continue
		}
		var e *store.Error
		if !errors.As(err, &e) || e.Code != store.CodeInvalid || e.Field != "url" || !strings.Contains(e.Message, c.refusal) {
			t.Errorf("%q: %q, %v; want a refusal that speaks of %q", c.raw, got, err, c.refusal)
		}
	}
}

func TestCanonicalURLForDevelopment(t *testing.T) {
	for raw, want := range map[string]string{
		"http://localhost:8080/x":   "http://localhost:8080/x",
		"http://127.0.0.1:80/":      "http://127.0.0.1/",
		"https://[::1]:9/":          "https://[::1]:9/",
		"http://[::ffff:127.0.0.1]": "http://[::ffff:127.0.0.1]",
		"http://10.0.0.1/":          "",
	} {
		if got, err := local.CanonicalURL(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%q = %q, %v; want %q", raw, got, err, want)
		}
	}
}

func FuzzCanonicalURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/", "https://[::1]:80/?q", "http://1.2.3.4:99/#f", "https://ü.example./ü", "https://0x1/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := local.CanonicalURL(raw)
		if err != nil {
			return
		}
		again, err := local.CanonicalURL(got)
		if err != nil || again != got {
			t.Fatalf("%q became %q, and that %q, %v", raw, got, again, err)
		}
		u, err := url.Parse(got)
		if err != nil || u.User != nil || u.Host == "" || strings.HasSuffix(u.Hostname(), ".") || len(got) > MaxURLBytes {
			t.Fatalf("%q became %q, %v", raw, got, err)
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && local.judge(ip) != nil {
			t.Fatalf("%q leads to %s", raw, ip)
		}
	})
}
