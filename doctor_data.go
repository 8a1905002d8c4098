package main

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"tuco/engine"
	"tuco/listen"
)

func (d *doctor) keysDir() string {
	if d.flags.Keys != "" {
		return d.flags.Keys
	}
	return filepath.Join(d.data, "keys")
}

// permissions looks who may read the data and the keys, and whether they are the server's.
func (d *doctor) permissions() (found []finding) {
	data, err := os.Stat(d.data)
	if err != nil {
		if d.server == nil {
			return risky("there is no data directory "+d.data, "there is nothing to look at", "name it with --data")
		}
		return nil
	}
	owner := ownerOf(data)
	if d.server != nil {
		if p, err := os.Stat(fmt.Sprintf("/proc/%d", d.server.PID)); err == nil {
			owner = ownerOf(p)
		}
	}
	look := func(path string, most fs.FileMode) {
		info, err := os.Lstat(path)
		if err != nil {
			return
		}
		if open := info.Mode().Perm() &^ most; open != 0 {
			found = append(found, wrong(fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()), "others on the machine can get at customers' data or keys",
				fmt.Sprintf("chmod %04o %s", most, path))...)
		}
		if have := ownerOf(info); have != owner {
			found = append(found, wrong(fmt.Sprintf("%s is user %d's, and the server is user %d's", path, have, owner), "the server can't read or replace it",
				fmt.Sprintf("chown %d %s", owner, path))...)
		}
	}
	look(d.data, 0o700)
	look(filepath.Join(d.data, engine.DatabaseName), 0o600)
	look(filepath.Join(d.data, socketName), 0o600)
	look(d.keysDir(), 0o700)
	entries, _ := os.ReadDir(d.keysDir())
	for _, e := range entries {
		look(filepath.Join(d.keysDir(), e.Name()), 0o600)
	}
	if d.flags.TLSKey != "" {
		if info, err := os.Stat(d.flags.TLSKey); err == nil && info.Mode().Perm()&0o007 != 0 {
			found = append(found, wrong(fmt.Sprintf("%s has mode %04o", d.flags.TLSKey, info.Mode().Perm()), "everybody on the machine can get at the TLS key",
				"chmod o= "+d.flags.TLSKey)...)
		}
	}
	return found
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return 0
}

// sandbox looks for lines of production that reach nobody.
func (d *doctor) sandbox() []finding {
	if d.server == nil || d.server.SandboxLines == 0 {
		return nil
	}
	return risky(fmt.Sprintf("%d active lines of production are sandboxes", d.server.SandboxLines), "their messages are shown as delivered, and nobody gets them",
		"give them a transport ('tuco line set ID --transport …'), or delete them")
}

// certificate looks at the TLS certificate.
func (d *doctor) certificate() []finding {
	var leaf *x509.Certificate
	switch {
	case d.flags.TLSCert != "":
		files, err := listen.LoadFiles(d.flags.TLSCert, d.flags.TLSKey)
		if err != nil {
			return wrong("the TLS certificate can't be used: "+err.Error(), "the server would not start with it", "put the right certificate and key there")
		}
		leaf = files.Leaf()
	default:
		return nil // by ACME: the server renews it, and warns
	}
	now, end := time.Now(), leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(leaf.NotAfter):
		return wrong("the TLS certificate expired on "+end, "clients refuse it", "renew it; the server reads it by itself")
	case now.Before(leaf.NotBefore):
		return wrong("the TLS certificate is not valid yet", "clients refuse it", "check the clock")
	case listen.ExpiresSoon(leaf, now):
		return risky("the TLS certificate expires on "+end, "clients will refuse it then", "renew it; the server reads it by itself")
	}
	return nil
}

// anchor looks where the audit log's checkpoints are kept.
func (d *doctor) anchor() (found []finding) {
	for _, path := range d.flags.Anchor {
		if err := engine.AnchorFault(path); err != nil && d.server == nil { // else it warns of it
			found = append(found, wrong(fmt.Sprintf("the anchor %s can't be read: %v", path, err), "the server can't tell whether the end of the audit log was cut off",
				"mount it, or let the server's user read and write it")...)
		}
	}
	return append(found, d.anchorPlaces()...)
}

// anchorPlaces looks whether there is one outside of the data directory.
func (d *doctor) anchorPlaces() []finding {
	const why = "whoever can change the database can change it too, and nothing else would show that the log was cut"
	data, err := filepath.Abs(d.data)
	if err != nil {
		return nil
	}
	for _, path := range d.flags.Anchor {
		abs, err := filepath.Abs(strings.TrimPrefix(path, "+"))
		if rel, failed := filepath.Rel(data, abs); err == nil && failed == nil && strings.HasPrefix(rel, "..") {
			return nil
		}
	}
	return risky("the audit log's only anchor is in the data directory", why, "keep one elsewhere: --anchor DATA/anchor --anchor PATH, on another volume or machine")
}

// variables looks for TUCO_ variables that mean nothing, or more than was meant.
func (d *doctor) variables() (found []finding) {
	known, secret := knownVariables()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case !strings.HasPrefix(name, "TUCO_"):
		case slices.Contains(secret, strings.TrimSuffix(name, "_FILE")):
			found = append(found, risky(name+" is set", "it stands in for a flag of every command, so 'tuco line set' changes a transport with it", "unset it; set it for one command only")...)
		case !slices.Contains(known, name):
			found = append(found, risky(name+" is set, and no setting has that name", "it does nothing", "unset it, or look its name up with 'tuco config --reference'")...)
		}
	}
	return found
}

// knownVariables are those of all flags, and among them those that hold secrets.
func knownVariables() (all, secret []string) {
	var c cli
	parser, err := kong.New(&c, kong.Name("tuco"), kong.DefaultEnvars("TUCO"))
	if err != nil {
		return nil, nil
	}
	_ = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			all = append(all, flag.Envs...)
			if isSecret(flag) {
				secret = append(secret, flag.Envs...)
			}
		}
		return next(nil)
	})
	return all, secret
}

// warnings are what a running server says in /readyz, but for what other checks say better.
func (d *doctor) warnings() (found []finding) {
	if d.server == nil {
		return nil
	}
	for _, text := range d.server.Warnings {
		if !strings.HasPrefix(text, "The clock jumped") && !strings.HasPrefix(text, "The TLS certificate") {
			found = append(found, wrong("the server warns: "+strings.TrimSuffix(text, "."), "it is in /readyz, too", "look it up in the operating guide")...)
		}
	}
	return found
}
