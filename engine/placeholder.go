package engine

import (
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}`)

// fill puts the lead's values in place of {{firstName}} and its like: the lead's own fields, then its
// custom fields. What the lead doesn't have becomes empty. It reports false if the text would have more
// than most characters.
func fill(text string, l *Lead, most int) (filled string, ok bool) {
	if !strings.Contains(text, "{{") {
		return text, true
	}
	custom := sync.OnceValue(func() (fields map[string]jsontext.Value) {
		_ = json.Unmarshal(l.CustomFields, &fields) // it was an object when it was stored, or there is none
		return fields
	})
	var b strings.Builder
	end, chars := 0, 0
	add := func(s string) bool {
		chars += utf8.RuneCountInString(s)
		b.WriteString(s)
		return chars <= most
	}
	for _, at := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		if !add(text[end:at[0]]) || !add(l.value(text[at[2]:at[3]], custom)) {
			return "", false
		}
		end = at[1]
	}
	return b.String() + text[end:], add(text[end:])
}

// value is what stands in place of a name.
func (l *Lead) value(name string, custom func() map[string]jsontext.Value) string {
	switch name {
	case "firstName":
		return l.FirstName
	case "lastName":
		return l.LastName
	case "email":
		return l.Email
	case "phone":
		return l.Phone
	case "companyName":
		return l.CompanyName
	case "jobTitle":
		return l.JobTitle
	case "linkedinUrl":
		return l.LinkedinURL
	}
	switch value := custom()[name]; value.Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(value, &s); err == nil {
			return s
		}
	case '0', 't', 'f':
		return value.String()
	}
	return ""
}
