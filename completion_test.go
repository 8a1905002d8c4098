package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// script writes the completion of a shell into a file.
func script(t *testing.T, write func([]completion) string) string {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Name("tuco"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tuco")
	if err := os.WriteFile(path, []byte(write(completions(parser.Model))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(t *testing.T, name string, args ...string) []string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("there is no %s here", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	var offers []string
	for line := range strings.Lines(string(out)) {
		offer, _, _ := strings.Cut(strings.TrimSpace(line), "\t") // fish describes each
		offers = append(offers, offer)
	}
	return offers
}

// completed are command lines up to the cursor, something that must be offered, and something that must not.
var completed = []struct{ line, want, never string }{
	{"", "workspace", "create"},
	{"wor", "workspace", "serve"},
	{"workspace ", "read-only", "workspace"},
	{"workspace create --t", "--timezone", "--data"},
	{"--json workspace create --", "--plan", "--reason"},
	{"workspace read-only --reason ", "past_due", "--reason"},
	{"completion ", "fish", "serve"},
	{"serve --log-level ", "debug", "serve"},
	{"", "doctor", "bench-ceiling"},
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	path := script(t, bashCompletion)
	for _, tt := range completed {
		words := strings.Split("tuco "+tt.line, " ")
		quotedWords := make([]string, len(words))
		for i, w := range words {
			quotedWords[i] = quoted(w)
		}
		got := shell(t, "bash", "-c", "compopt() { :; }; source "+quoted(path)+"; COMP_WORDS=("+strings.Join(quotedWords, " ")+"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _tuco; printf '%s\\n' \"${COMPREPLY[@]}\"")
		if !slices.Contains(got, tt.want) || slices.Contains(got, tt.never) {
			t.Errorf("%q: offered %q; want %s, and not %s", tt.line, got, tt.want, tt.never)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	t.Parallel()
	path := script(t, fishCompletion)
	for _, tt := range completed {
		got := shell(t, "fish", "-N", "-c", "source "+quoted(path)+"; complete -C "+quoted("tuco "+tt.line))
		if !slices.Contains(got, tt.want) || slices.Contains(got, tt.never) {
			t.Errorf("%q: offered %q; want %s, and not %s", tt.line, got, tt.want, tt.never)
		}
	}
}

// TestZshCompletion: zsh reads it; it completes only on a terminal.
func TestZshCompletion(t *testing.T) {
	t.Parallel()
	shell(t, "zsh", "-n", script(t, zshCompletion))
}
