package transport

import (
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The kinds of transport, the values of [Settings.Kind].
const (
	Sandbox = "sandbox"
	SMTP    = "smtp"
)

// Settings is what a transport URL says, as far as others than the transport need it.
type Settings struct {
	Kind        string        // sandbox or smtp
	Redacted    string        // the URL without its password, for showing
	MinInterval time.Duration // the least time between two messages; 0 is no limit. The caller paces.
}

// Parse reads a transport URL; it neither connects nor reads files. Errors are for operators: they name the part that is wrong
// and never quote a secret.
//
//	sandbox:
//	smtp://user:password@host:port?name=value…    port 587, STARTTLS
//	smtps://user:password@host:port?name=value…   port 465, TLS from the first byte
//
// The parameters:
//
//	starttls=required|opportunistic|none   what smtp:// does when the server doesn't offer STARTTLS; required by default
//	auth=insecure                          with starttls=none: send the password unencrypted
//	ca=FILE                                PEM certificates to trust beside the system's
//	from=ADDR                              sender address instead of the line's
//	subject=TEXT                           subject instead of "Message from" and the line's name
//	rate=N/s|N/m|N/h                       see MinInterval
//	timeout=30s                            the longest wait for one step; for the last answer ten times that
//	helo=NAME                              what the client calls itself instead of the host's name
func Parse(rawURL string) (Settings, error) {
	settings, _, err := parse(rawURL)
	return settings, err
}

// smtpSettings is what an SMTP URL says.
type smtpSettings struct {
	host, port     string
	user, password string // no user is no authentication
	implicitTLS    bool
	startTLS       string // required, opportunistic or none
	insecureAuth   bool
	caFile         string
	from           string
	subject        string
	helo           string
	timeout        time.Duration
}

func parse(rawURL string) (Settings, smtpSettings, error) {
	settings, smtp, err := parseURL(rawURL)
	if err != nil {
		return Settings{}, smtpSettings{}, fmt.Errorf("transport URL: %w", err)
	}
	return settings, smtp, nil
}

func parseURL(rawURL string) (Settings, smtpSettings, error) {
	if rawURL == "sandbox:" {
		return Settings{Kind: Sandbox, Redacted: rawURL}, smtpSettings{}, nil
	}
	s := smtpSettings{port: "587", startTLS: "required", timeout: 30 * time.Second}
	settings := Settings{Kind: SMTP}

	// What url.Parse could not read it quotes, and that may be a piece of the password. So its error stops here.
	u, err := url.Parse(rawURL)
	if err != nil {
		return settings, s, errors.New("not a URL; in a user name or password, write /, ?, #, @, :, %, [ and ] percent-encoded")
	}
	settings.Redacted = u.Redacted()
	switch u.Scheme {
	case "smtp":
	case "smtps":
		s.implicitTLS, s.port, s.startTLS = true, "465", "none"
	case "sandbox":
		return settings, s, errors.New("sandbox: takes nothing after the colon")
	default:
		return settings, s, errors.New("the scheme must be sandbox, smtp or smtps")
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return settings, s, errors.New("nothing but ?name=value may follow host and port")
	}
	if s.host = u.Hostname(); s.host == "" {
		return settings, s, errors.New("the host is missing")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return settings, s, errors.New("the port must be 1 to 65535")
		}
		s.port = p
	}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
		if s.user == "" || s.password == "" || strings.ContainsFunc(s.user+s.password, unicode.IsControl) {
			return settings, s, errors.New("before the @ there must be a user name and a password, without control characters")
		}
	}

	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return settings, s, errors.New("the part after ? is malformed; write special characters percent-encoded")
	}
	params := s.params(&settings)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		set, ok := params[name]
		if !ok {
			return settings, s, fmt.Errorf("unknown parameter %q", name)
		}
		if values := query[name]; len(values) != 1 || values[0] == "" {
			return settings, s, fmt.Errorf("parameter %s must have one value", name)
		}
		if err := set(query.Get(name)); err != nil {
			return settings, s, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	if s.implicitTLS && query.Has("starttls") {
		return settings, s, errors.New("parameter starttls: smtps has TLS from the first byte; use smtp")
	}
	if s.insecureAuth && (s.implicitTLS || s.startTLS != "none") {
		return settings, s, errors.New("parameter auth: insecure needs smtp with starttls=none")
	}
	return settings, s, nil
}

// params has, for each parameter, what takes its value.
func (s *smtpSettings) params(settings *Settings) map[string]func(string) error {
	return map[string]func(string) error{
		"starttls": func(v string) error {
			s.startTLS = v
			return mustBe(slices.Contains([]string{"required", "opportunistic", "none"}, v), "required, opportunistic or none")
		},
		"auth": func(v string) error {
			s.insecureAuth = true
			return mustBe(v == "insecure", "insecure, or left out")
		},
		"ca":      func(v string) error { s.caFile = v; return nil },
		"subject": func(v string) error { s.subject = v; return nil },
		"from": func(v string) error {
			s.from = v
			return mustBe(validEmail(v), "an e-mail address without a name")
		},
		"helo": func(v string) error {
			s.helo = v
			return mustBe(!strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }), "a host name")
		},
		"timeout": func(v string) (err error) {
			s.timeout, err = time.ParseDuration(v)
			return mustBe(err == nil && s.timeout > 0 && s.timeout <= time.Hour, "a duration of up to 1h, such as 30s")
		},
		"rate": func(v string) error {
			count, unit, _ := strings.Cut(v, "/")
			per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
			n, err := strconv.ParseInt(count, 10, 32)
			if err := mustBe(per > 0 && err == nil && n > 0, "a number per s, m or h, such as 30/m"); err != nil {
				return err
			}
			// Rounded up, so that the rate is never exceeded.
			settings.MinInterval = (per + time.Duration(n) - 1) / time.Duration(n)
			return nil
		},
	}
}

func mustBe(ok bool, want string) error {
	if ok {
		return nil
	}
	return errors.New("must be " + want)
}

// validEmail accepts a bare address of the everyday form, which can go between < and > in a command and in a header.
func validEmail(addr string) bool {
	a, err := mail.ParseAddress(addr)
	return err == nil && a.Name == "" && a.Address == addr && len(addr) <= 320 &&
		!strings.ContainsFunc(addr, func(r rune) bool { return r == '<' || r == '>' || unicode.IsSpace(r) || unicode.IsControl(r) })
}

// isLoopback tells whether what is sent to host stays on this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
