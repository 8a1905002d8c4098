package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesNameTests: each test that docs/promises.md names exists, in the package that it says.
func TestPromisesNameTests(t *testing.T) {
	have := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, name := range declared.FindAllStringSubmatch(string(source), -1) {
			have[filepath.ToSlash(filepath.Dir(path))+": "+name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	in, n := "", 0
	for _, word := range regexp.MustCompile(`[\w/]+: Test[A-Z]\w+|\bTest[A-Z]\w+`).FindAllString(string(text), -1) {
		pkg, name, named := strings.Cut(word, ": ")
		if !named {
			pkg, name = in, word
		}
		if in = pkg; !have[pkg+": "+name] {
			t.Errorf("docs/promises.md names %s in %s, which does not exist", name, pkg)
		}
		n++
	}
	if n < 50 {
		t.Errorf("docs/promises.md names only %d tests", n)
	}
}
