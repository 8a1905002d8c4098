// Package address normalises the addresses of people, phone numbers and e-mail addresses, so that one person's address is
// written in one way only. It is pure.
package address

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"google.golang.org/protobuf/proto"
)

// ErrInvalid is what [Phone] and [Email] wrap: the rest of the message says what is wrong, and repeats nothing of the input.
var ErrInvalid = errors.New("not a valid address")

// ErrCountryCode is what [Phone] wraps for a country code that it can't use, whatever the number.
var ErrCountryCode = errors.New("not a country code such as +1")

const (
	maxPhoneBytes = 64 // of raw input: 17 digits and generous punctuation
	minDigits     = 7
	maxDigits     = 15 // E.164
)

// testNumbers are documented test numbers that the library calls invalid, as they lie in ranges that are never assigned:
// this one in those that Ofcom keeps for drama. The numbers of the sandbox, +1500555…, it calls valid.
var testNumbers = map[string]bool{"+441632960961": true}

// Phone returns raw in E.164, such as +12025550142. A number that doesn't start with + belongs to countryCode, such as +49 or
// 49, and is read as it is dialled there; for +1 it has 10 digits, or 11 of which the first is 1. With an empty countryCode
// it must start with +. A number without + that makes sense with and without its first digits as the country code, as German
// ones can, is refused. What Phone returns, it returns unchanged when it is given that.
//
// Besides ASCII digits and one leading +, raw may hold spaces, no-break spaces, hyphens, dots, slashes and parentheses.
// Extensions, vanity letters and other digits are refused: dropped or guessed at, they would reach somebody else.
//
// Errors: [ErrInvalid], [ErrCountryCode].
func Phone(raw, countryCode string) (string, error) {
	region, err := regionOf(countryCode)
	if err != nil {
		return "", err
	}
	number, err := digits(raw)
	if err != nil {
		return "", err
	}
	if region == nanp && number[0] != '+' {
		switch {
		case len(number) == 10:
			number = "+1" + number
		case len(number) == 11 && number[0] == '1':
			number = "+" + number
		default:
			return "", invalidPhone("have 10 digits, or start with + and the country code")
		}
	}
	if region == "" && number[0] != '+' {
		return "", invalidPhone("start with + and the country code")
	}
	e164, ok := parse(number, region)
	if !ok {
		return "", invalidPhone("be one that its country assigns")
	}
	if code := strings.TrimPrefix(countryCode, "+"); code != "" && strings.HasPrefix(number, code) {
		if other, ok := parse("+"+number, region); ok && other != e164 {
			return "", invalidPhone("start with + or 0, as it can be read in two ways")
		}
	}
	return e164, nil
}

// parse returns number in E.164, and whether it is one that people can have.
func parse(number, region string) (string, bool) {
	if isNANP(number) { // nothing is left to find out of it, and the library's way to that takes half of its time
		n, _ := strconv.ParseUint(number[2:], 10, 64)
		parsed := &phonenumbers.PhoneNumber{CountryCode: proto.Int32(1), NationalNumber: proto.Uint64(n)}
		return number, phonenumbers.IsValidNumber(parsed) || testNumbers[number]
	}
	parsed, err := phonenumbers.Parse(number, region)
	if err != nil {
		return "", false
	}
	e164 := phonenumbers.Format(parsed, phonenumbers.E164)
	return e164, IsPhone(e164) && (phonenumbers.IsValidNumber(parsed) || testNumbers[e164])
}

// IsPhone reports whether s has the form of what [Phone] returns: + and 7 to 15 digits, the first not 0. It tells a stored
// phone number from a stored e-mail address, and checks no more.
func IsPhone(s string) bool {
	if len(s) < 1+minDigits || len(s) > 1+maxDigits || s[0] != '+' || s[1] == '0' {
		return false
	}
	return strings.Trim(s[1:], "0123456789") == ""
}

// isNANP tells whether number is +1 with ten digits, of which the first is no prefix.
func isNANP(number string) bool {
	return len(number) == 12 && number[:2] == "+1" && number[2] >= '2'
}

// nanp is the region that stands for all countries of +1.
const nanp = "US"

// regionOf returns the main region of a country code, "" for none.
func regionOf(countryCode string) (string, error) {
	if countryCode == "" {
		return "", nil
	}
	code := 0
	cc := strings.TrimPrefix(countryCode, "+")
	if len(cc) < 1 || len(cc) > 3 || cc[0] == '0' {
		return "", ErrCountryCode
	}
	for _, c := range []byte(cc) {
		if c < '0' || c > '9' {
			return "", ErrCountryCode
		}
		code = code*10 + int(c-'0')
	}
	region := phonenumbers.GetRegionCodeForCountryCode(code)
	if region == phonenumbers.UNKNOWN_REGION || region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY {
		return "", ErrCountryCode
	}
	return region, nil
}

// digits returns the digits of raw, with the leading + if there is one.
func digits(raw string) (string, error) {
	if len(raw) > maxPhoneBytes {
		return "", invalidPhone(fmt.Sprintf("have at most %d bytes", maxPhoneBytes))
	}
	number := make([]byte, 0, maxPhoneBytes)
	for _, r := range raw {
		switch {
		case '0' <= r && r <= '9', r == '+' && len(number) == 0:
			number = append(number, byte(r))
		case !strings.ContainsRune(" -./()\u00a0\u202f\u2010\u2011", r):
			return "", invalidPhone("have only digits, spaces, hyphens, dots, slashes, parentheses and a leading +")
		}
	}
	if len(number) == 0 || number[0] == '+' && len(number) == 1 {
		return "", invalidPhone("have digits")
	}
	return string(number), nil
}

func invalidPhone(must string) error {
	return fmt.Errorf("%w: a phone number must %s", ErrInvalid, must)
}
