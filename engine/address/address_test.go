package address

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

func TestPhone(t *testing.T) {
	for _, tt := range []struct{ raw, countryCode, want string }{
		// The documented example, and the numbers that the sandbox treats specially.
		{"+12025550142", "", "+12025550142"},
		{"+15005550001", "", "+15005550001"},
		{"+15005550002", "+1", "+15005550002"},
		{"+15005550006", "+49", "+15005550006"},
		{"+441632960961", "+1", "+441632960961"},
		{"01632 960961", "44", "+441632960961"},

		{"(904) 555-0123", "+1", "+19045550123"},
		{"904.555.0123", "1", "+19045550123"},
		{"19045550123", "+1", "+19045550123"},
		{"1-904-555-0123", "+1", "+19045550123"},
		{" 904\u00a0555\u20110123 ", "+1", "+19045550123"},
		{"+1 (904) 555-0123", "", "+19045550123"},
		{"0170 1234567", "+49", "+491701234567"},
		{"0170/1234567", "49", "+491701234567"},
		{"+49 (0)170 1234567", "+1", "+491701234567"},
		{"0049 170 1234567", "49", "+491701234567"},
		{"447911 123456", "44", "+447911123456"}, // a country code without +, where nothing else makes sense
		{"47123456", "47", "+4747123456"},        // the same digits as the country code, and not it
		{"06 12345678", "39", "+390612345678"},   // Italy keeps the 0
		{"+390612345678", "1", "+390612345678"},
		{"+61 491 570 156", "+1", "+61491570156"},
		{"+800 1234 5678", "", "+80012345678"}, // of no country
		{"+6834002", "", "+6834002"},           // Niue: as short as they get
	} {
		got, err := Phone(tt.raw, tt.countryCode)
		if err != nil || got != tt.want {
			t.Errorf("Phone(%q, %q) = %q, %v, want %s", tt.raw, tt.countryCode, got, err, tt.want)
		}
	}
}

func TestPhoneRefuses(t *testing.T) {
	for _, tt := range []struct{ name, raw, countryCode string }{
		{"nothing", "", "+1"},
		{"no digits", "() -", "+1"},
		{"only a plus", "+", "+1"},
		{"seven digits", "555-0123", "+1"},
		{"nine digits", "904555012", "+1"},
		{"11 digits that don't start with 1", "29045550123", "+1"},
		{"an area code that is none", "1234567890", "+1"},
		{"an emergency number", "911", "+1"},
		{"abroad, as dialled from the US", "011 49 170 1234567", "+1"},
		{"a mobile number, or a landline in 04917", "491701234567", "+49"},
		{"abroad, without a plus", "491701234567", "+1"},
		{"no country", "904 555 0123", ""},
		{"no country, with its code but no plus", "19045550123", ""},
		{"a number never assigned", "+447700900123", "+1"},
		{"a country code that is none", "+999123456789", "+1"},
		{"a trunk 0 where there is none", "+1 (0)9045550123", "+1"},
		{"too long", "+49170123456789012", "+49"},
		{"an extension", "904 555 0123 x12", "+1"},
		{"an extension, in a word", "904 555 0123 ext. 12", "+1"},
		{"an extension, as a parameter", "+19045550123;ext=5", "+1"},
		{"a pause", "9045550123,12", "+1"},
		{"vanity letters", "1-800-FLOWERS", "+1"},
		{"a URI", "tel:+19045550123", "+1"},
		{"Arabic digits", "٩٠٤٥٥٥٠١٢٣", "+1"},
		{"full-width digits", "９０４５５５０１２３", "+1"},
		{"a full-width plus", "＋19045550123", "+1"},
		{"two pluses", "++19045550123", "+1"},
		{"a plus inside", "1+9045550123", "+1"},
		{"two numbers", "9045550123/9045550124", "+1"},
		{"a line break", "9045550123\r\n", "+1"},
		{"an invisible mark", "\u202a9045550123", "+1"},
		{"a NUL", "9045550123\x00", "+1"},
		{"invalid UTF-8", "9045550123\xff", "+1"},
		{"an e-mail address", "ana@example.com", "+1"},
		{"too many bytes", "904 555 0123" + strings.Repeat(" ", 64), "+1"},
		{"1 MiB", strings.Repeat("1", 1<<20), "+1"},
	} {
		if got, err := Phone(tt.raw, tt.countryCode); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Phone(%.40q, %q) = %q, %v, want ErrInvalid", tt.name, tt.raw, tt.countryCode, got, err)
		}
	}
	for _, cc := range []string{"+", "++1", "01", "+0", "DE", "US", "1 ", "٤٩", "1242", "999", "800", "-1", "+1\n", strings.Repeat("1", 1<<20)} {
		if got, err := Phone("+12025550142", cc); !errors.Is(err, ErrCountryCode) {
			t.Errorf("Phone of a proper number with country code %.20q = %q, %v, want ErrCountryCode", cc, got, err)
		}
	}
}

// The library knows an example of each kind of number of each country. What it writes we must read, and keep.
func TestPhoneOfEveryCountry(t *testing.T) {
	for region := range phonenumbers.GetSupportedRegions() {
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.UAN; kind++ {
			example := phonenumbers.GetExampleNumberForType(region, kind)
			if example == nil || !phonenumbers.IsValidNumber(example) {
				continue
			}
			want := phonenumbers.Format(example, phonenumbers.E164)
			if !IsPhone(want) {
				continue // longer or shorter than E.164 allows
			}
			for _, raw := range []string{want, phonenumbers.Format(example, phonenumbers.INTERNATIONAL)} {
				if got, err := Phone(raw, "+1"); err != nil || got != want {
					t.Errorf("%s: Phone(%q) = %q, %v, want %s", region, raw, got, err, want)
				}
			}
		}
	}
}

// Numbers of +1 are not parsed by the library: it must say the same of them, whatever their area.
func TestPhoneOfNANP(t *testing.T) {
	for area := 200; area < 1000; area++ {
		for _, local := range []string{"0000000", "1112222", "2000000", "5550142", "5551212", "7654321", "9110000", "9999999"} {
			number := fmt.Sprintf("+1%d%s", area, local)
			parsed, err := phonenumbers.Parse(number, "")
			want := err == nil && phonenumbers.IsValidNumber(parsed) && phonenumbers.Format(parsed, phonenumbers.E164) == number
			if got, err := Phone(number, ""); (err == nil) != want || want && got != number {
				t.Errorf("Phone(%q) = %q, %v; the library says %v", number, got, err, want)
			}
		}
	}
}

func TestIsPhone(t *testing.T) {
	for _, s := range []string{"+12025550142", "+6834002", "+123456789012345"} {
		if !IsPhone(s) {
			t.Errorf("IsPhone(%q) = false", s)
		}
	}
	for _, s := range []string{"", "+", "12025550142", "+02025550142", "+123456", "+1234567890123456", "+1202555014x", "+1@example.com", "ana@example.com", "+1202555 0142"} {
		if IsPhone(s) {
			t.Errorf("IsPhone(%q) = true", s)
		}
	}
}

func TestEmail(t *testing.T) {
	for raw, want := range map[string]string{
		"ana@example.com":              "ana@example.com",
		" Ana.Example@Example.COM\r\n": "ana.example@example.com",
		"failed@example.com":           "failed@example.com",
		"fallback@example.com":         "fallback@example.com",
		"+1@example.com":               "+1@example.com",
		"o'hara+list=1@mail.example":   "o'hara+list=1@mail.example",
		"ÄNNE@xn--mnchen-3ya.de":       "änne@xn--mnchen-3ya.de",
		strings.Repeat("a", 64) + "@" + strings.Repeat("b", 63) + ".example": strings.Repeat("a", 64) + "@" + strings.Repeat("b", 63) + ".example",
	} {
		if got, err := Email(raw); err != nil || got != want {
			t.Errorf("Email(%q) = %q, %v, want %q", raw, got, err, want)
		}
	}
	for name, raw := range map[string]string{
		"nothing":                     "",
		"space":                       " ",
		"no @":                        "ana.example.com",
		"two @":                       "ana@home@example.com",
		"no name":                     "@example.com",
		"no domain":                   "ana@",
		"no dot":                      "ana@localhost",
		"a dot at the end":            "ana@example.com.",
		"two dots":                    "ana@example..com",
		"a dot before the @":          "ana.@example.com",
		"two dots before the @":       "a..na@example.com",
		"a hyphen at the start":       "ana@-example.com",
		"a space inside":              "ana example@example.com",
		"a no-break space inside":     "ana\u00a0@example.com",
		"a display name":              "Ana <ana@example.com>",
		"angle brackets":              "<ana@example.com>",
		"a comment":                   "ana(home)@example.com",
		"quotes":                      `"ana"@example.com`,
		"a route":                     "ana%example.com@example.com:25",
		"an address literal":          "ana@[192.0.2.1]",
		"two addresses":               "ana@example.com,bob@example.com",
		"two addresses, semicolon":    "ana@example.com;bob@example.com",
		"a header after a line break": "ana@example.com\r\nBcc: bob@example.com",
		"a NUL":                       "ana\x00@example.com",
		"a right-to-left mark":        "ana\u202e@example.com",
		"a zero-width space":          "ana\u200b@example.com",
		"invalid UTF-8":               "ana\xff@example.com",
		"a Kelvin sign":               "\u212aarl@example.com",
		"a dotted I":                  "\u0130ris@example.com",
		"a domain beyond ASCII":       "ana@münchen.de",
		"a name too long":             strings.Repeat("a", 65) + "@example.com",
		"a label too long":            "ana@" + strings.Repeat("b", 64) + ".com",
		"255 bytes":                   "ana@" + strings.Repeat("b.", 123) + "exam.",
		"longer in lower case":        strings.Repeat("Ⱥ", 30) + "@" + strings.Repeat("b.", 94) + "com",
		"1 MiB":                       strings.Repeat("a", 1<<20) + "@example.com",
	} {
		if got, err := Email(raw); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Email(%.60q) = %q, %v, want ErrInvalid", name, raw, got, err)
		}
	}
}

// What comes out goes in again unchanged, with any country code, and has the form of a number.
func FuzzPhone(f *testing.F) {
	for _, raw := range []string{"+12025550142", "(904) 555-0123", "+441632960961", "0170 1234567", "06 12345678", "+5491123456789", "+5215512345678", "00491701234567", "+", "x123"} {
		f.Add(raw, "+1")
		f.Add(raw, "49")
		f.Add(raw, "")
	}
	form := regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	f.Fuzz(func(t *testing.T, raw, countryCode string) {
		got, err := Phone(raw, countryCode)
		if err != nil {
			if got != "" || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrCountryCode) {
				t.Fatalf("Phone(%q, %q) = %q, %v", raw, countryCode, got, err)
			}
			return
		}
		if !form.MatchString(got) || !IsPhone(got) {
			t.Fatalf("Phone(%q, %q) = %q, which is not E.164", raw, countryCode, got)
		}
		for _, cc := range []string{countryCode, "", "+1", "49"} {
			if again, err := Phone(got, cc); err != nil || again != got {
				t.Fatalf("Phone(%q, %q) = %q, but Phone(%q, %q) = %q, %v", raw, countryCode, got, got, cc, again, err)
			}
		}
	})
}

func FuzzEmail(f *testing.F) {
	for _, raw := range []string{"ana@example.com", " Ana@Example.COM\r\n", "ÄNNE@xn--mnchen-3ya.de", "Ⱥ@b.c", "\u212a@b.c", "<a@b.c>", "a@b.c,d@e.f"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Email(raw)
		if err != nil {
			if got != "" || !errors.Is(err, ErrInvalid) {
				t.Fatalf("Email(%q) = %q, %v", raw, got, err)
			}
			return
		}
		if again, err := Email(got); err != nil || again != got {
			t.Fatalf("Email(%q) = %q, but Email of that = %q, %v", raw, got, again, err)
		}
		if !utf8.ValidString(got) || len(got) > 254 || strings.ContainsAny(got, " \r\n\t\x00,;<>") || strings.Count(got, "@") != 1 || IsPhone(got) {
			t.Fatalf("Email(%q) = %q", raw, got)
		}
	})
}

// A bulk import is 10,000 numbers, so each has 100 µs at most.
func BenchmarkPhone(b *testing.B) {
	for _, raw := range []string{"(904) 555-0123", "+19045550123", "+49 170 1234567", "1-800-FLOWERS", "+447700900123"} {
		b.Run(raw, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Phone(raw, "+1")
			}
		})
	}
}

func BenchmarkEmail(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Email("Ana.Example@Example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
