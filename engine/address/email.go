package address

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxEmailBytes = 254 // RFC 5321, as erratum 1690 counts
	maxLocalBytes = 64
	maxLabelBytes = 63
)

// Email returns raw trimmed and in lower case. It must be one bare address, without display name, angle brackets, comment,
// quotes or address literal, and its domain must have a dot. Letters outside of ASCII are allowed before the @; an
// international domain is written in its xn-- form. What Email returns, it returns unchanged when it is given that.
//
// Errors: [ErrInvalid].
func Email(raw string) (string, error) {
	if len(raw) > 2*maxEmailBytes { // before any work on it; space around it is trimmed
		return "", invalidEmail("have at most 254 bytes")
	}
	if !utf8.ValidString(raw) {
		return "", invalidEmail("be UTF-8")
	}
	trimmed := strings.TrimFunc(raw, unicode.IsSpace)
	for _, r := range trimmed {
		if !unicode.IsPrint(r) || r == ' ' {
			return "", invalidEmail("have no space and no character that can't be seen")
		}
		if r >= utf8.RuneSelf && unicode.ToLower(r) < utf8.RuneSelf { // the Kelvin sign would become a k
			return "", invalidEmail("have no letter that turns into another in lower case")
		}
	}
	email := strings.ToLower(trimmed)
	if len(email) > maxEmailBytes {
		return "", invalidEmail("have at most 254 bytes")
	}
	local, domain, found := strings.Cut(email, "@")
	switch {
	case !found || strings.Contains(domain, "@"):
		return "", invalidEmail("have one @")
	case !isLocalPart(local):
		return "", invalidEmail("have a plain name before the @")
	case !isDomain(domain):
		return "", invalidEmail("have a domain such as example.com")
	}
	return email, nil
}

// isLocalPart reports whether s is a dot-atom of RFC 5322, or of RFC 6531 with letters outside of ASCII.
func isLocalPart(s string) bool {
	return s != "" && len(s) <= maxLocalBytes && !strings.ContainsAny(s, `()<>[]:;\,"`) &&
		s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// isDomain reports whether s is a host name in lower case of at least two labels.
func isDomain(s string) bool {
	labels := 0
	for label := range strings.SplitSeq(s, ".") {
		labels++
		if label == "" || len(label) > maxLabelBytes || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return labels >= 2
}

func invalidEmail(must string) error {
	return fmt.Errorf("%w: an e-mail address must %s", ErrInvalid, must)
}
