package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"

	"tuco/strictjson"
)

// settings are the values of the config file. Flags come before TUCO_* variables, those before the
// file, and that before the defaults.
type settings struct {
	file map[string]jsontext.Value
	name string
}

// load reads a config file for kong.
func (s *settings) load(r io.Reader) (kong.Resolver, error) {
	if f, ok := r.(*os.File); ok {
		s.name = f.Name()
	}
	text, err := io.ReadAll(r)
	if err == nil {
		err = strictjson.Unmarshal(text, &s.file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s must hold a JSON object: %w", s.name, err)
	}
	return s, nil
}

// Validate refuses keys that no flag has: they are most likely typing errors.
func (s *settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	kong.Visit(app, func(node kong.Visitable, next kong.Next) error { //nolint:errcheck // nothing in it fails
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for key := range s.file {
		if !known[key] || key == "config" {
			return fmt.Errorf("%s: there is no setting %q", s.name, key)
		}
	}
	return nil
}

// Resolve gives kong the value of a flag that is not on the command line.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if _, set := fromEnv(flag); set {
		return nil, nil // kong has taken it
	}
	if name, set := secretFile(flag); set {
		text, err := os.ReadFile(name)
		return strings.TrimSpace(string(text)), err
	}
	v, ok := s.file[flag.Name]
	if !ok {
		return nil, nil
	}
	value, err := flagValue(v, flag.IsSlice())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return value, nil
}

// flagValue is a value of the file as it would stand on the command line: so that it is judged alike.
func flagValue(v jsontext.Value, list bool) (any, error) {
	switch kind := v.Kind(); {
	case kind == '[' && list:
		ms, err := members(v)
		values := make([]any, len(ms))
		for i, m := range ms {
			if values[i], err = flagValue(m.value, false); err != nil {
				return nil, err
			}
		}
		return values, err
	case kind == '"':
		text, err := jsontext.AppendUnquote(nil, v)
		return string(text), err
	case kind == '0', kind == 't', kind == 'f':
		return v.String(), nil
	default:
		return nil, fmt.Errorf("%s stands where one string, number, true or false belongs", kindNames[kind]) // v may be a secret
	}
}

var kindNames = map[jsontext.Kind]string{'[': "a list", '{': "an object", 'n': "null"}

func fromEnv(flag *kong.Flag) (name string, set bool) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name, true
		}
	}
	return "", false
}

// secretFile is the file that TUCO_<FLAG>_FILE names, for flags that are secrets.
func secretFile(flag *kong.Flag) (name string, set bool) {
	if !isSecret(flag) {
		return "", false
	}
	for _, env := range flag.Envs {
		if name, ok := os.LookupEnv(env + "_FILE"); ok {
			return name, true
		}
	}
	return "", false
}

func isSecret(flag *kong.Flag) bool { return flag.Tag.Has("secret") }

// A setting is one effective value.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

type settingsOutput struct {
	Settings []setting `json:"settings"`
}

// configCommand takes the flags of serve, and shows what serve would run with.
type configCommand struct {
	serveFlags
	Reference bool `help:"Print the reference of all settings, as Markdown."`
}

func (c *configCommand) Run(ctx *kong.Context, out *output, s *settings) error {
	if c.Reference {
		_, err := io.WriteString(out.to, reference(ctx.Model))
		return err
	}
	return out.show(settingsOutput{s.effective(ctx)})
}

// effective are the settings that a command runs with.
func (s *settings) effective(ctx *kong.Context) (list []setting) {
	for _, flag := range ctx.Selected().Flags {
		if flag.Name != "reference" {
			list = append(list, setting{flag.Name, fmt.Sprint(flag.Target.Interface()), s.source(ctx, flag)})
		}
	}
	return list
}

func (s *settings) source(ctx *kong.Context, flag *kong.Flag) string {
	if slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag == flag && !p.Resolved }) {
		return "flag"
	}
	if name, set := fromEnv(flag); set {
		return "environment " + name
	}
	if _, ok := s.file[flag.Name]; ok {
		return "file"
	}
	return "default"
}

// reference is the configuration reference: every setting of serve, as the code has it.
func reference(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("# Configuration reference\n\nMade by `tuco config --reference`; a test keeps it true.\n\n")
	b.WriteString("A flag comes before its `TUCO_*` variable, that before the key in the config file (`--config FILE`, a JSON\n")
	b.WriteString("object), and that before the default. `tuco config` prints what is in force and where it came from.\n")
	for _, node := range app.Leaves(true) {
		fmt.Fprintf(&b, "\n## tuco %s\n\n%s\n", node.Path(), node.Help)
		if len(node.Positional) > 0 {
			b.WriteString("\nArguments:")
			for _, arg := range node.Positional {
				fmt.Fprintf(&b, " `%s`", arg.Summary())
			}
			b.WriteString("\n")
		}
		rows := 0
		for _, flag := range node.Flags {
			if flag.Hidden || flag.Name == "help" {
				continue
			}
			if rows++; rows == 1 {
				b.WriteString("\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n")
			}
			def := flag.Default
			if def != "" {
				def = "`" + def + "`"
			}
			fmt.Fprintf(&b, "| `--%s` | %s | %s | %s |\n", flag.Name, variables(flag), def, flag.Help)
		}
	}
	return b.String()
}

// variables names the environment variables of a flag.
func variables(flag *kong.Flag) string {
	var names []string
	for _, name := range flag.Envs {
		names = append(names, "`"+name+"`")
		if isSecret(flag) {
			names = append(names, "`"+name+"_FILE` (a file that holds it)")
		}
	}
	return strings.Join(names, ", ")
}
