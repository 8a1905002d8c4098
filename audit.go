package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/mod/sumdb/note"

	"tuco/engine/auditlog"
	"tuco/engine/auditlog/bundle"
	"tuco/httpapi"
)

type auditCommand struct {
	Log        auditLog        `cmd:"" help:"Show entries of the audit log, as they stand in it."`
	Checkpoint auditCheckpoint `cmd:"" help:"Print the newest checkpoint of the audit log, signed. Keep it elsewhere: it proves later what the log had now."`
	Proof      auditProof      `cmd:"" help:"Print the proof that an entry is in the audit log, with the newest checkpoint."`
	Key        auditKey        `cmd:"" help:"Print the verifier keys of the audit log, one a line, the newest last."`
	Export     auditExport     `cmd:"" help:"Write a bundle for auditors: one file that proves itself without the server."`
	Verify     auditVerify     `cmd:"" help:"Check a bundle, with nothing but verifier keys. It needs no server."`
	RotateKey  auditRotateKey  `cmd:"" help:"Sign the audit log with a new key from now on, which the old one vouches for."`
}

type auditLog struct {
	adminFlags
	From  uint64 `help:"Sequence number of the first entry." placeholder:"N"`
	Limit int    `help:"Most entries, at most 1000." default:"100" placeholder:"N"`
}

func (c auditLog) Run(out *output) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return &usageError{"--limit must be from 1 to 1000"}
	}
	var answer httpapi.AuditLogOutput
	if err := c.ask("audit/log", httpapi.AuditLogInput{From: c.From, Limit: c.Limit}, &answer); err != nil {
		return err
	}
	if out.json {
		return out.show(answer)
	}
	for _, entry := range answer.Entries {
		if _, err := fmt.Fprintf(out.to, "%s\n", entry); err != nil {
			return err
		}
	}
	return nil
}

type auditCheckpoint struct{ adminFlags }

func (c auditCheckpoint) Run(out *output) error {
	var answer httpapi.CheckpointOutput
	if err := c.ask("audit/checkpoint", httpapi.Nothing{}, &answer); err != nil {
		return err
	}
	if out.json {
		return out.show(answer)
	}
	_, err := fmt.Fprint(out.to, answer.Checkpoint)
	return err
}

type auditProof struct {
	adminFlags
	Seq uint64 `arg:"" help:"The entry's number."`
}

func (c auditProof) Run(out *output) error {
	var answer httpapi.AuditProofOutput
	if err := c.ask("audit/proof", httpapi.AuditProofInput{Seq: c.Seq}, &answer); err != nil {
		return err
	}
	if out.json {
		return out.show(answer)
	}
	_, err := fmt.Fprint(out.to, answer.Proof)
	return err
}

type auditKey struct{ adminFlags }

func (c auditKey) Run(out *output) error { return c.keys(out, "audit/key") }

type auditRotateKey struct{ adminFlags }

func (c auditRotateKey) Run(out *output) error { return c.keys(out, "audit/rotate-key") }

// keys runs a command that answers with the verifier keys.
func (f adminFlags) keys(out *output, command string) error {
	var answer httpapi.AuditKeysOutput
	if err := f.ask(command, httpapi.Nothing{}, &answer); err != nil {
		return err
	}
	if out.json {
		return out.show(answer)
	}
	for _, key := range answer.Keys {
		if _, err := fmt.Fprintln(out.to, key); err != nil {
			return err
		}
	}
	return nil
}

type auditExport struct {
	adminFlags
	Out        string `help:"File to write; it must not be there yet." required:"" type:"path" placeholder:"FILE"`
	From       string `help:"Entries from this time on, ISO 8601." placeholder:"TIME"`
	To         string `help:"Entries before this time, ISO 8601." placeholder:"TIME"`
	Workspace  string `help:"Only the entries of this workspace, all of them." placeholder:"ID"`
	Checkpoint string `help:"An earlier checkpoint: the bundle proves that the log continues it." type:"existingfile" placeholder:"FILE"`
}

func (c auditExport) Run(out *output) error {
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("%q is there already; name another file with --out", c.Out)
	}
	in := httpapi.ExportInput{Workspace: c.Workspace, From: c.From, To: c.To}
	if c.Checkpoint != "" {
		text, err := os.ReadFile(c.Checkpoint)
		if err != nil {
			return err
		}
		if _, err := auditlog.UnsignedCheckpoint(text); err != nil { // one that is empty would mean that there is none
			return noCheckpoint(c.Checkpoint, err)
		}
		in.Checkpoint = string(text)
	}
	file, err := renameio.NewPendingFile(c.Out, renameio.WithPermissions(0o600), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer file.Cleanup() //nolint:errcheck // there is nothing to clean up after it was replaced
	if err := c.with(func(client *httpapi.AdminClient) error { return client.Fetch("audit/export", in, file) }); err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err == nil {
		err = file.CloseAtomicallyReplace()
	}
	if err != nil {
		return err
	}
	return out.show(exportOutput{c.Out, size})
}

type exportOutput struct {
	File string `json:"file"`
	Size int64  `json:"size"`
}

type auditVerify struct {
	File       string `arg:"" help:"The bundle." type:"existingfile"`
	Key        string `help:"File with verifier keys, one a line, as tuco audit key printed them. Get it by another way than the bundle." required:"" type:"existingfile" placeholder:"KEYFILE"`
	Checkpoint string `help:"A checkpoint from elsewhere: the log must continue it." type:"existingfile" placeholder:"FILE"`
}

func (c auditVerify) Run(out *output) error {
	verifiers, err := readVerifiers(c.Key)
	if err != nil {
		return err
	}
	var earlier *auditlog.Checkpoint
	if c.Checkpoint != "" {
		signed, err := os.ReadFile(c.Checkpoint)
		if err != nil {
			return err
		}
		opened, err := auditlog.OpenCheckpoint(signed, verifiers...)
		if err != nil {
			return noCheckpoint(c.Checkpoint, err)
		}
		earlier = &opened
	}
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	report, err := bundle.Verify(file, info.Size(), verifiers, earlier, progressBar(out.log))
	if err != nil {
		return out.refuse(c.File, err)
	}
	return out.verified(c.File, report)
}

func noCheckpoint(file string, err error) error {
	return fmt.Errorf("%q is no checkpoint that can be used: %w; it should be what 'tuco audit checkpoint' printed", file, err)
}

// readVerifiers reads a file with a verifier key on each line.
func readVerifiers(name string) (all []note.Verifier, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		v, err := auditlog.ParseVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("%q holds something else than verifier keys: %w; it should be what 'tuco audit key' printed", name, err)
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%q holds no verifier key: it should be what 'tuco audit key' printed", name)
	}
	return all, nil
}

// verifyOutput is the result of a check, for programs.
type verifyOutput struct {
	File       string   `json:"file"`
	Valid      bool     `json:"valid"`
	Error      string   `json:"error,omitzero"`
	BadSeq     *uint64  `json:"badSeq,omitzero"`
	Workspace  string   `json:"workspace,omitzero"`
	From       uint64   `json:"from"`
	To         uint64   `json:"to"`
	Entries    uint64   `json:"entries"`
	Dropped    uint64   `json:"dropped"`
	Checkpoint uint64   `json:"checkpoint"` // its size
	Complete   bool     `json:"complete"`
	Checked    []string `json:"checked"`
	Proven     []string `json:"proven"`
	NotProven  []string `json:"notProven"`
}

func (o *output) verified(file string, r bundle.Report) error {
	v := verifyOutput{
		File: file, Valid: true, Workspace: r.Manifest.Workspace, From: r.Manifest.From, To: r.Manifest.To, Entries: r.Manifest.Entries,
		Dropped: r.Manifest.Dropped, Checkpoint: r.Checkpoint.Size, Complete: r.Complete, Checked: r.Checked, Proven: r.Proven, NotProven: r.NotProven,
	}
	if o.json {
		return o.show(v)
	}
	if v.Entries+v.Dropped == 0 {
		fmt.Fprintf(o.to, "%s is whole and unchanged, and empty: it has no entry. Checkpoint of %d.\n", file, v.Checkpoint)
	} else {
		fmt.Fprintf(o.to, "%s is whole and unchanged: %d entries, numbers %d to %d, checkpoint of %d.\n", file, v.Entries, v.From, v.To-1, v.Checkpoint)
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"Checked", v.Checked}, {"This proves", v.Proven}, {"It does not prove", v.NotProven}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(o.to, "\n%s:\n  - %s\n", part.title, strings.Join(part.lines, "\n  - "))
		}
	}
	return nil
}

// refuse shows why a bundle is not to be relied on, and returns that.
func (o *output) refuse(file string, err error) error {
	if o.json {
		v := verifyOutput{File: file, Error: err.Error(), Checked: []string{}, Proven: []string{}, NotProven: []string{}}
		if damage := (*bundle.DamageError)(nil); errors.As(err, &damage) && damage.HasSeq {
			v.BadSeq = &damage.Seq
		}
		if err := o.show(v); err != nil {
			return err
		}
	}
	return fmt.Errorf("%q is not to be relied on: %w", file, err)
}

// progressBar shows on a terminal how far a check is that takes more than a second.
func progressBar(w io.Writer) func(done, total int64) {
	if !isTerminal(w) {
		return nil
	}
	began, shown := time.Now(), time.Time{}
	return func(done, total int64) {
		now := time.Now()
		switch {
		case now.Sub(began) < time.Second:
		case done >= total && !shown.IsZero():
			fmt.Fprint(w, "\r\x1b[K")
		case now.Sub(shown) >= 100*time.Millisecond:
			const width = 40
			filled := int(width * done / max(total, 1))
			fmt.Fprintf(w, "\r[%s%s] %3d %%", strings.Repeat("#", filled), strings.Repeat(" ", width-filled), 100*done/max(total, 1))
			shown = now
		}
	}
}
