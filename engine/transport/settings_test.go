package transport

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	base := smtpSettings{host: "mail.test", port: "587", startTLS: "required", timeout: 30 * time.Second}
	with := func(f func(*smtpSettings)) smtpSettings {
		s := base
		f(&s)
		return s
	}
	for _, tt := range []struct {
		url      string
		want     smtpSettings
		redacted string // if it differs from url
		interval time.Duration
	}{
		{url: "smtp://mail.test", want: base},
		{url: "smtp://mail.test/", want: base},
		{url: "smtp://mail.test:2525", want: with(func(s *smtpSettings) { s.port = "2525" })},
		{url: "smtps://mail.test", want: with(func(s *smtpSettings) { s.implicitTLS, s.port, s.startTLS = true, "465", "none" })},
		{url: "smtp://[2001:db8::1]:25", want: with(func(s *smtpSettings) { s.host, s.port = "2001:db8::1", "25" })},
		{
			url: "smtp://me%40corp:s%2Fecret@mail.test", redacted: "smtp://me%40corp:xxxxx@mail.test",
			want: with(func(s *smtpSettings) { s.user, s.password = "me@corp", "s/ecret" }),
		},
		{url: "smtp://mail.test?starttls=opportunistic", want: with(func(s *smtpSettings) { s.startTLS = "opportunistic" })},
		{url: "smtp://mail.test?starttls=none&auth=insecure", want: with(func(s *smtpSettings) { s.startTLS, s.insecureAuth = "none", true })},
		{
			url: "smtp://mail.test?ca=/etc/ca.pem&from=a@b.test&subject=Hi+there&helo=me.test&timeout=5s",
			want: with(func(s *smtpSettings) {
				s.caFile, s.from, s.subject, s.helo, s.timeout = "/etc/ca.pem", "a@b.test", "Hi there", "me.test", 5*time.Second
			}),
		},
		{url: "smtp://mail.test?rate=30/m", want: base, interval: 2 * time.Second},
		{url: "smtp://mail.test?rate=1/h", want: base, interval: time.Hour},
		{url: "smtp://mail.test?rate=3/s", want: base, interval: 333333334},
	} {
		settings, got, err := parse(tt.url)
		if tt.redacted == "" {
			tt.redacted = tt.url
		}
		want := Settings{Kind: "smtp", Redacted: tt.redacted, MinInterval: tt.interval}
		if err != nil || settings != want || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parse(%s) = %+v, %+v, %v, want %+v, %+v", tt.url, settings, got, err, want, tt.want)
		}
	}
	if got, err := Parse("sandbox:"); err != nil || got != (Settings{Kind: "sandbox", Redacted: "sandbox:"}) {
		t.Errorf("Parse(sandbox:) = %+v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const auth = "smtp://user:hunter22@mail.test"
	for rawURL, want := range map[string]string{
		"":                                   "scheme",
		"sandbox":                            "scheme",
		"sandbox:x":                          "nothing after the colon",
		"sandbox://mail.test":                "nothing after the colon",
		"http://mail.test":                   "scheme",
		"smtp:mail.test":                     "host",
		"smtp://":                            "host",
		"smtp://:25":                         "host",
		"smtp://mail.test:0":                 "port",
		"smtp://mail.test:65536":             "port",
		"smtp://mail.test:25/inbox":          "host and port",
		"smtp://mail.test#x":                 "host and port",
		"smtp://user@mail.test":              "password",
		"smtp://user:@mail.test":             "password",
		"smtp://:hunter22@mail.test":         "user name",
		"smtp://user:hunter22%0D@mail.test":  "control characters",
		"smtp://user:hunter22/x@mail.test":   "percent-encoded",
		"smtp://user:hunter22?x@mail.test":   "percent-encoded",
		"smtp://user:hunter22%zz@mail.test":  "percent-encoded",
		auth + "?tls=yes":                    `unknown parameter "tls"`,
		auth + "?starttls=yes":               "parameter starttls: must be required, opportunistic or none",
		auth + "?starttls=none&auth=plain":   "parameter auth",
		auth + "?auth=insecure":              "parameter auth: insecure needs",
		"smtps://mail.test?auth=insecure":    "parameter auth: insecure needs",
		"smtps://mail.test?starttls=none":    "parameter starttls",
		auth + "?from=Me+<a@b.test>":         "parameter from",
		auth + "?from=nobody":                "parameter from",
		auth + "?helo=a%0D%0Ab":              "parameter helo",
		auth + "?rate=30":                    "parameter rate",
		auth + "?rate=0/s":                   "parameter rate",
		auth + "?rate=-1/s":                  "parameter rate",
		auth + "?rate=1/d":                   "parameter rate",
		auth + "?timeout=30":                 "parameter timeout",
		auth + "?timeout=-1s":                "parameter timeout",
		auth + "?timeout=2h":                 "parameter timeout",
		auth + "?subject=":                   "parameter subject must have one value",
		auth + "?subject=a&subject=b":        "parameter subject must have one value",
		auth + "?subject=%zz":                "after ?",
		"smtp://mail.test?ca=/no/such&x=y":   `"x"`,
		"smtp://user:hunter22@mail.test:abc": "percent-encoded",
	} {
		_, err := Parse(rawURL)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("Parse(%s) = %v, want an error with %q, without the password", rawURL, err, want)
		}
	}
	for rawURL, want := range map[string]string{
		"smtp://mail.test?ca=/no/such.pem":     "parameter ca",
		"smtp://mail.test?ca=settings_test.go": "no PEM certificate",
		"mailto:x":                             "scheme",
	} {
		if _, err := Open(rawURL, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s) = %v, want an error with %q", rawURL, err, want)
		}
	}
}

// What Parse shows must not depend on the password: with another one it has to show, or complain about, the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"sandbox:", "smtp://user:secret@mail.test:25?rate=30/m&timeout=1s", "smtps://u:p%40@[::1]?from=a@b.test", "smtp://u:p@h?x=y", "smtp://u:p/?#@h",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		got, gotErr := Parse(rawURL)
		u, err := url.Parse(rawURL)
		if err != nil {
			return
		}
		if gotErr == nil && got.Kind == "smtp" {
			if again, err := Parse(got.Redacted); err != nil || again != got {
				t.Errorf("Parse(%q) = %+v, %v, want %+v", got.Redacted, again, err, got)
			}
		}
		if password, set := u.User.Password(); !set || password == "" || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
			return
		}
		u.User = url.UserPassword(u.User.Username(), "another password")
		other, otherErr := Parse(u.String())
		if got != other || (gotErr == nil) != (otherErr == nil) || gotErr != nil && gotErr.Error() != otherErr.Error() {
			t.Errorf("Parse(%q) = %+v, %v; with another password %+v, %v", rawURL, got, gotErr, other, otherErr)
		}
	})
}
