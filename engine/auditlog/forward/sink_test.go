package forward

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue(t, "127.0.0.1")
	for _, tt := range []struct{ url, name, format, address string }{
		{"file:///var/log/tuco", "file:///var/log/tuco", JSONL, ""},
		{"file://localhost/a%20b/../c/?format=csv", "file:///c", "csv", ""},
		{"syslog://Logs.Example", "syslog://logs.example:601", JSONL, "logs.example:601"},
		{"syslog://[::1]:1514/?format=cef&enterprise=1", "syslog://[::1]:1514", "cef", "[::1]:1514"},
		{"syslog+tls://h?ca=" + a.file + "&cert=" + cert + "&key=" + key, "syslog+tls://h:6514", JSONL, "h:6514"},
	} {
		s, err := Parse(tt.url)
		if err != nil || s.Name != tt.name || s.format != tt.format || s.address != tt.address {
			t.Errorf("%s: %+v, %v", tt.url, s, err)
		}
	}
	for url, want := range map[string]string{
		"":                                            "the scheme must be",
		"/var/log":                                    "the scheme must be",
		"http://h":                                    "the scheme must be",
		"syslog://h:secret%zz":                        "not a URL",
		"syslog://u:secret@h":                         "has no use",
		"syslog://h:0":                                "1 to 65535",
		"syslog://h:99999":                            "1 to 65535",
		"syslog://":                                   "host is missing",
		"syslog://%ff":                                "host is missing",
		"syslog://h/path":                             "nothing but",
		"syslog://h?format=xml":                       "must be jsonl, ocsf, cef, csv",
		"syslog://h?format=csv&format=cef":            "must have one value",
		"syslog://h?format=":                          "must have one value",
		"syslog://h?ca=/x":                            `unknown parameter "ca"`,
		"syslog://h?enterprise=-1":                    "enterprise",
		"syslog://h?a=%zz":                            "malformed",
		"file://relative/dir":                         "absolute path",
		"file:relative":                               "absolute path",
		"file:///d?enterprise=1":                      `unknown parameter "enterprise"`,
		"syslog+tls://h?ca=/does/not/exist":           "no such file",
		"syslog+tls://h?ca=" + key:                    "no PEM certificate",
		"syslog+tls://h?cert=" + cert:                 "both or none",
		"syslog+tls://h?cert=x&key=/not/there":        "cert and key",
		"syslog+tls://h?key=" + key + "&cert=":        "must have one value",
		"syslog+tls://h?cert=" + key + "&key=" + cert: "cert and key",
	} {
		if _, err := Parse(url); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want %q", url, err, want)
		}
	}
	if _, err := ParseAll([]string{"file:///d", "syslog://h", "file:///d/?format=csv"}); err == nil || !strings.Contains(err.Error(), "file:///d is given twice") {
		t.Errorf("the same directory twice: %v", err)
	}
}
