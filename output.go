package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

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
func members(data []byte) (list []member, err error) {
	d := jsontext.NewDecoder(strings.NewReader(string(data)))
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
	rows, err := members(data)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "  (none)")
	}
	for i, row := range rows {
		columns, err := members(row.value)
		if err != nil {
			return err
		}
		var names, cells []string
		for _, c := range columns {
			if c.value.Kind() != '{' && !isTable(c.value) {
				names, cells = append(names, strings.ToUpper(c.name)), append(cells, cell(c.value))
			}
		}
		if i == 0 {
			fmt.Fprintln(w, "  "+strings.Join(names, "\t"))
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	return nil
}

// cell is a value on a terminal; no control character gets there.
func cell(v jsontext.Value) string {
	text := v.String()
	if v.Kind() == 'n' {
		return "-"
	}
	if v.Kind() == '"' {
		if s, err := jsontext.AppendUnquote(nil, v); err == nil {
			text = string(s)
		}
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
