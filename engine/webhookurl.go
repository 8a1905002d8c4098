package engine

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tuco/engine/transport"
)

// checkWebhookURL reads a URL that a customer gave. What its name leads to is known only when it is dialled.
func checkWebhookURL(text string, allow []netip.Prefix) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) {
		return nil, Errorf(Invalid, "url: %s", why).With(CodeInvalidURL)
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURLBytes || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" {
		return refuse("give an https URL of at most " + strconv.Itoa(maxURLBytes) + " bytes")
	}
	if u.User != nil || u.Fragment != "" {
		return refuse("it must have neither a user nor a fragment")
	}
	if u.Scheme == "http" && len(allow) == 0 {
		return refuse("http is taken only within networks that the operator allows; use https")
	}
	u.Host = strings.ToLower(u.Host)
	if err := checkHost(u, transport.Guard{Allow: allow, OnlyAllow: u.Scheme == "http"}); err != nil {
		return refuse(err.Error())
	}
	return u, nil
}

func checkHost(u *url.URL, guard transport.Guard) error {
	name := u.Hostname()
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("its port is none")
		}
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		if !guard.MayReach(addr) {
			return transport.ErrForbiddenAddress
		}
		return nil
	}
	other := func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r))
	}
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, other) {
		return errors.New("its host must be a name of letters, digits, - and ., or an address")
	}
	return nil
}
