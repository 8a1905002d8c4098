package forward

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// exampleEnterprise is the enterprise number that is reserved for examples (RFC 5612): this program has none of its own.
const exampleEnterprise = "32473"

// A Sink is where entries go.
type Sink struct {
	// Name is the URL without its parameters: for people, and for labels.
	Name string

	format     string
	dir        string // of files; empty for syslog
	address    string // host and port of a syslog server
	tls        *tlsFiles
	enterprise uint64 // of the structured data of syslog
}

// Parse reads the URL of a sink, and the certificates that it names.
//
//	file:///path/to/dir?format=…      files in a directory that is there
//	syslog://host:port?format=…       RFC 5424 over TCP with octet counting (RFC 6587), port 601
//	syslog+tls://host:port?format=…   RFC 5425, port 6514
//
// The parameters:
//
//	format=jsonl|ocsf|cef|csv   jsonl by default
//	enterprise=N                for syslog: the private enterprise number after tuco@ in the structured data, 32473 by default
//	ca=FILE                     for TLS: PEM certificates to trust instead of the system's
//	cert=FILE, key=FILE         for TLS: PEM certificate and key to show
func Parse(rawURL string) (Sink, error) {
	s, err := parse(rawURL)
	if err != nil {
		return Sink{}, fmt.Errorf("audit log sink: %w", err)
	}
	return s, nil
}

// ParseAll reads the URLs of sinks, of which no two may lead to the same place.
func ParseAll(rawURLs []string) ([]Sink, error) {
	var sinks []Sink
	for _, raw := range rawURLs {
		s, err := Parse(raw)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(sinks, func(other Sink) bool { return other.Name == s.Name }) {
			return nil, fmt.Errorf("audit log sink: %s is given twice", s.Name)
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

// parse does not quote what it can't read: it might be a password.
func parse(rawURL string) (Sink, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Sink{}, errors.New("not a URL")
	}
	if u.User != nil {
		return Sink{}, errors.New("a user name or password has no use in it")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Sink{}, errors.New("the part after ? is malformed; write special characters percent-encoded")
	}
	p := params{query, nil}
	s := Sink{format: p.take("format", JSONL)}
	p.must(isFormat(s.format), "parameter format: must be %s", strings.Join(Formats, ", "))
	switch u.Scheme {
	case "file":
		err = s.toDirectory(u)
	case "syslog":
		err = s.toServer(u, "601", &p)
	case "syslog+tls":
		s.tls = &tlsFiles{ca: p.take("ca", ""), cert: p.take("cert", ""), key: p.take("key", "")}
		err = s.toServer(u, "6514", &p)
	default:
		err = errors.New("the scheme must be file, syslog or syslog+tls")
	}
	if err == nil {
		err = p.end()
	}
	if err == nil && s.tls != nil {
		_, err = s.tls.config(s.address) // read anew for each connection; here so that a wrong name is told at the start
	}
	return s, err
}

// params are the parameters of a URL that are not taken yet, and the first error.
type params struct {
	left url.Values
	err  error
}

func (p *params) take(name, otherwise string) string {
	values, there := p.left[name]
	delete(p.left, name)
	if !there {
		return otherwise
	}
	p.must(len(values) == 1 && values[0] != "", "parameter %s must have one value", name)
	return values[0]
}

func (p *params) must(ok bool, format string, args ...any) {
	if !ok && p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// end returns what is wrong, also that there are parameters that nobody took.
func (p *params) end() error {
	for _, name := range slices.Sorted(maps.Keys(p.left)) {
		p.must(false, "unknown parameter %q", name)
	}
	return p.err
}

func (s *Sink) toDirectory(u *url.URL) error {
	if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) || u.Fragment != "" {
		return errors.New("file:// must be followed by the absolute path of a directory")
	}
	s.dir = filepath.Clean(u.Path)
	s.Name = (&url.URL{Scheme: u.Scheme, Path: s.dir}).String()
	return nil
}

func (s *Sink) toServer(u *url.URL, port string, p *params) error {
	var err error
	s.enterprise, err = strconv.ParseUint(p.take("enterprise", exampleEnterprise), 10, 32)
	p.must(err == nil, "parameter enterprise: must be a private enterprise number")
	if given := u.Port(); given != "" {
		port = given
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Path != "" && u.Path != "/" || u.Fragment != "":
		return errors.New("nothing but ?name=value may follow host and port")
	case u.Hostname() == "" || strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the host is missing, or not in ASCII")
	case err != nil || n == 0:
		return errors.New("the port must be 1 to 65535")
	}
	s.address = net.JoinHostPort(strings.ToLower(u.Hostname()), port)
	s.Name = u.Scheme + "://" + s.address
	return nil
}
