package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// output prints a command's answer: for people, or with --json for programs.
type output struct {
	json    bool
	to, log io.Writer
}

// show prints v, whose JSON is an object.
func (o *output) show(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if o.json {
		_, err = fmt.Fprintf(o.to, "%s\n", data)
		return err
	}
	w := tabwriter.NewWriter(o.to, 0, 4, 2, ' ', 0)
	if err := showObject(w, "", data); err != nil {
		return err
	}
	return w.Flush()
}

// member is one member of a JSON object, in its order.
type member struct {
	name  string
	value jsontext.Value
}

// members splits an object, or an array, whose members have no names.
func members(data []byte, opts ...jsontext.Options) (list []member, err error) {
	d := jsontext.NewDecoder(strings.NewReader(string(data)), opts...)
	open, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	object := open.Kind() == '{'
	for d.PeekKind() != '}' && d.PeekKind() != ']' {
		var m member
		if object {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			m.name = name.String()
		}
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m.value = value.Clone()
		list = append(list, m)
	}
	return list, nil
}

// showObject prints an object, a member a line; lists of objects follow as tables.
func showObject(w io.Writer, prefix string, data []byte) error {
	list, err := members(data)
	if err != nil {
		return err
	}
	for _, m := range list {
		switch {
		case m.value.Kind() == '{':
			err = showObject(w, prefix+m.name+".", m.value)
		case isTable(m.value):
			fmt.Fprintf(w, "%s%s:\n", prefix, m.name)
			err = showTable(w, m.value)
		default:
			fmt.Fprintf(w, "%s%s\t%s\n", prefix, m.name, cell(m.value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isTable(v jsontext.Value) bool {
	list, err := members(v)
	return v.Kind() == '[' && err == nil && (len(list) == 0 || list[0].value.Kind() == '{')
}

func showTable(w io.Writer, data []byte) error {
	list, err := members(data)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "  (none)")
		return nil
	}
	var names []string
	rows := make([]map[string]string, len(list))
	for i, row := range list {
		columns, err := members(row.value)
		if err != nil {
			return err
		}
		rows[i] = map[string]string{}
		for _, c := range columns {
			if c.value.Kind() == '{' || isTable(c.value) {
				continue
			}
			rows[i][c.name] = cell(c.value)
			if !slices.Contains(names, c.name) { // a row may lack what others have
				names = append(names, c.name)
			}
		}
	}
	line := func(cellOf func(name string) string) {
		cells := make([]string, len(names))
		for i, name := range names {
			cells[i] = cellOf(name)
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	line(heading)
	for _, row := range rows {
		line(func(name string) string { return cmp.Or(row[name], "-") })
	}
	return nil
}

// heading makes a column's heading of a member's name: createdAt becomes CREATED AT.
func heading(name string) string {
	var b strings.Builder
	for i, r := range strings.TrimPrefix(name, "_") {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// cell is a value on a terminal; no control character gets there.
func cell(v jsontext.Value) string {
	text := v.String()
	switch v.Kind() {
	case 'n':
		return "-"
	case '[':
		list, _ := members(v) // what members took for a list of objects is a table
		cells := make([]string, len(list))
		for i, m := range list {
			cells[i] = cell(m.value)
		}
		return strings.Join(cells, " ")
	}
	if v.Kind() == '"' {
		if s, err := jsontext.AppendUnquote(nil, v); err == nil {
			text = string(s)
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) { // also what turns the direction of text
			return '?'
		}
		return r
	}, text)
}
