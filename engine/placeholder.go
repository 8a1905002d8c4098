package engine

import (
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}`)

// fill puts the lead's values in place of {{firstName}} and its like: the lead's own fields, then its
// custom fields. What the lead doesn't have becomes empty.
func fill(text string, l *Lead) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		name := placeholder.FindStringSubmatch(found)[1]
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
		return customField(l.CustomFields, name)
	})
}

func customField(fields jsontext.Value, name string) string {
	if len(fields) == 0 {
		return ""
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(fields, &all); err != nil {
		return ""
	}
	value := all[name]
	switch value.Kind() {
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
