package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCommand prints a script for a shell. The scripts are made of the commands and flags as they are, and ask
// nobody when they complete.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completionCommand) Run(ctx *kong.Context, out *output) error {
	write := map[string]func([]completion) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := io.WriteString(out.to, write(completions(ctx.Model)))
	return err
}

// A completion is what can follow the words of a command: other words, or flags.
type completion struct {
	path  string // such as " key create", each word after a space; empty at the beginning
	words []completionWord
}

type completionWord struct {
	text, help string
	values     []string // that a flag takes, if they are few
	takes      bool     // a value follows the flag
	file       bool     // which is a path
}

func (w completionWord) flag() bool { return strings.HasPrefix(w.text, "--") }

// completions lists every command with what follows it.
func completions(app *kong.Application) (list []completion) {
	var visit func(node *kong.Node, path string)
	visit = func(node *kong.Node, path string) {
		c := completion{path: path}
		for _, child := range node.Children {
			if !child.Hidden {
				c.words = append(c.words, completionWord{text: child.Name, help: firstSentence(child.Help)})
			}
		}
		for _, arg := range node.Positional {
			for _, value := range arg.EnumSlice() {
				if value != "" {
					c.words = append(c.words, completionWord{text: value, help: firstSentence(arg.Help)})
				}
			}
		}
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				c.words = append(c.words, completionWord{
					text: "--" + f.Name, help: firstSentence(f.Help), values: f.EnumSlice(), takes: !f.IsBool(),
					file: f.Tag.Type == "path" || f.Tag.Type == "existingfile" || f.Name == "config",
				})
			}
		}
		list = append(list, c)
		for _, child := range node.Children {
			if !child.Hidden {
				visit(child, path+" "+child.Name)
			}
		}
	}
	visit(app.Node, "")
	return list
}

func firstSentence(help string) string {
	text, _, _ := strings.Cut(help, ". ")
	text, _, _ = strings.Cut(text, "; ")
	return strings.TrimSuffix(text, ".")
}

// quoted is text between single quotes of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// bashCompletion walks the words before the cursor as long as they are commands, then offers what follows.
func bashCompletion(list []completion) string {
	var b strings.Builder
	b.WriteString("# bash completion for tuco; made by 'tuco completion bash'\n_tuco() {\n" +
		"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= words= i\n" +
		"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase \"$path ${COMP_WORDS[i]}\" in\n")
	for _, c := range list {
		if c.path != "" {
			fmt.Fprintf(&b, "\t\t'%s') path='%s' ;;\n", c.path, c.path)
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tCOMPREPLY=()\n\tcase \"$path $prev\" in\n")
	for _, c := range list {
		for _, w := range c.words {
			switch pattern := quoted(c.path + " " + w.text); {
			case len(w.values) > 0:
				fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W %s -- \"$cur\")); return ;;\n", pattern, quoted(strings.TrimSpace(strings.Join(w.values, " "))))
			case w.file:
				fmt.Fprintf(&b, "\t%s) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", pattern)
			case w.takes:
				fmt.Fprintf(&b, "\t%s) return ;;\n", pattern)
			}
		}
	}
	b.WriteString("\tesac\n\tcase \"$path\" in\n")
	for _, c := range list {
		var words []string
		for _, w := range c.words {
			words = append(words, w.text)
		}
		fmt.Fprintf(&b, "\t%s) words=%s ;;\n", quoted(c.path), quoted(strings.Join(words, " ")))
	}
	b.WriteString("\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _tuco tuco\n")
	return b.String()
}

// zshCompletion does the same with descriptions.
func zshCompletion(list []completion) string {
	var b strings.Builder
	b.WriteString("#compdef tuco\n# zsh completion for tuco; made by 'tuco completion zsh'\n_tuco() {\n" +
		"\tlocal path_='' i\n\tlocal -a offers\n\tfor ((i = 2; i < CURRENT; i++)); do\n\t\tcase \"$path_ ${words[i]}\" in\n")
	for _, c := range list {
		if c.path != "" {
			fmt.Fprintf(&b, "\t\t'%s') path_='%s' ;;\n", c.path, c.path)
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$path_ ${words[CURRENT-1]}\" in\n")
	for _, c := range list {
		for _, w := range c.words {
			switch pattern := quoted(c.path + " " + w.text); {
			case len(w.values) > 0:
				fmt.Fprintf(&b, "\t%s) compadd -- %s; return ;;\n", pattern, strings.TrimSpace(strings.Join(w.values, " ")))
			case w.file:
				fmt.Fprintf(&b, "\t%s) _files; return ;;\n", pattern)
			case w.takes:
				fmt.Fprintf(&b, "\t%s) return ;;\n", pattern)
			}
		}
	}
	b.WriteString("\tesac\n\tcase \"$path_\" in\n")
	for _, c := range list {
		fmt.Fprintf(&b, "\t%s) offers=(\n", quoted(c.path))
		for _, w := range c.words {
			fmt.Fprintf(&b, "\t\t%s\n", quoted(strings.ReplaceAll(w.text, ":", `\:`)+":"+w.help))
		}
		b.WriteString("\t) ;;\n")
	}
	b.WriteString("\tesac\n\t_describe tuco offers\n}\nif [ \"$funcstack[1]\" = _tuco ]; then _tuco \"$@\"; else compdef _tuco tuco; fi\n")
	return b.String()
}

// fishCompletion asks for each offer whether its command was typed.
func fishCompletion(list []completion) string {
	var b strings.Builder
	b.WriteString("# fish completion for tuco; made by 'tuco completion fish'\n" +
		"function __tuco_path\n\tset -l path ''\n\tfor word in (commandline -opc)[2..-1]\n\t\tswitch \"$path $word\"\n\t\t\tcase")
	for _, c := range list {
		if c.path != "" {
			fmt.Fprintf(&b, " %s", quoted(c.path))
		}
	}
	b.WriteString("\n\t\t\t\tset path \"$path $word\"\n\t\tend\n\tend\n\techo $path\nend\n" +
		"function __tuco_at\n\ttest (__tuco_path) = \"$argv[1]\"\nend\ncomplete -c tuco -f\n")
	for _, c := range list {
		for _, w := range c.words {
			fmt.Fprintf(&b, "complete -c tuco -n %s -d %s", quoted("__tuco_at "+quoted(c.path)), quoted(w.help))
			switch {
			case !w.flag():
				fmt.Fprintf(&b, " -a %s\n", quoted(w.text))
				continue
			case len(w.values) > 0:
				fmt.Fprintf(&b, " -x -a %s", quoted(strings.TrimSpace(strings.Join(w.values, " "))))
			case w.file:
				b.WriteString(" -r -F")
			case w.takes:
				b.WriteString(" -x")
			}
			fmt.Fprintf(&b, " -l %s\n", strings.TrimPrefix(w.text, "--"))
		}
	}
	return b.String()
}
