package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
)

type backupCommand struct {
	Create  backupCreate  `cmd:"" help:"Make a full backup now. Also works on a stopped data directory."`
	List    backupList    `cmd:"" help:"List what a target holds: full backups with how many changes follow, and exports of workspaces."`
	Verify  backupVerify  `cmd:"" help:"Restore every backup in a target into a scratch directory and read every record of it."`
	Restore backupRestore `cmd:"" help:"Put a backup into a new data directory."`
}

// keyFlags open what is encrypted.
type keyFlags struct {
	IdentityFile   string `help:"File of private age keys that open the backup." type:"existingfile" placeholder:"FILE"`
	PassphraseFile string `help:"File of the passphrase that opens the backup." type:"existingfile" placeholder:"FILE"`
}

func (f keyFlags) opening() (keys backup.Keys, err error) {
	if f.IdentityFile != "" {
		if keys.Identities, err = backup.ReadIdentities(f.IdentityFile); err != nil {
			return keys, err
		}
	}
	if f.PassphraseFile != "" {
		keys.Passphrase, err = backup.ReadPassphrase(f.PassphraseFile)
	}
	return keys, err
}

type backupCreate struct {
	adminFlags
	Keys           string   `help:"Directory of the key files, of a stopped server; DATA/keys by default." type:"path" placeholder:"DIR"`
	To             string   `help:"Where it goes: a directory, which must be there, or s3://…; as the server is configured by default." placeholder:"TARGET"`
	Recipient      []string `help:"Public age key to encrypt to; may be given more than once." placeholder:"AGE1…"`
	PassphraseFile string   `help:"File of a passphrase to encrypt with." type:"existingfile" placeholder:"FILE"`
	Plain          bool     `help:"Do not encrypt."`
	Workspace      string   `help:"This workspace alone, for another installation ('tuco workspace import')." placeholder:"ID"`
}

func (c backupCreate) Run(out *output) (err error) {
	in := backupInput{Recipients: c.Recipient, Plain: c.Plain, Workspace: c.Workspace}
	if in.To, err = absolute(c.To); err != nil {
		return err
	}
	if c.PassphraseFile != "" {
		if in.Passphrase, err = backup.ReadPassphrase(c.PassphraseFile); err != nil {
			return err
		}
	}
	if in.To != "" {
		if err := (backup.Encryption{Recipients: in.Recipients, Passphrase: in.Passphrase, Plain: in.Plain}).Check(); err != nil {
			return &usageError{err.Error() + "; say --recipient, --passphrase-file or --plain"}
		}
	}
	var made backupOutput
	err = c.ask("backup/create", in, &made)
	if none := (*noServerError)(nil); errors.As(err, &none) {
		if in.To == "" {
			return &usageError{err.Error() + "; without a server, name a target with --to"}
		}
		made, err = c.stopped(in)
	}
	if err != nil {
		return err
	}
	return out.show(made)
}

// stopped backs up a data directory that no server has open.
func (c backupCreate) stopped(in backupInput) (made backupOutput, err error) {
	if err := mustHaveDatabase(c.Data); err != nil {
		return made, err
	}
	eng, err := engine.Open(engine.Options{Dir: c.Data, KeysDir: c.Keys, KeepLog: keptLog})
	if err != nil {
		return made, advise(err)
	}
	if in.Workspace == "" {
		made, err = makeBackup(eng, c.Data, in)
	} else {
		made, err = makeWorkspaceBackup(eng, c.Data, in)
	}
	return made, errors.Join(err, eng.Close())
}

type backupList struct {
	Target string `arg:"" help:"A directory, or s3://…" env:"TUCO_BACKUP_TO"`
}

type backupListOutput struct {
	Backups []listedBackup `json:"backups"`
	Exports []listedExport `json:"exports"`
}

type listedBackup struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`
	Bytes int64     `json:"bytes"`
	Logs  int       `json:"logs"` // objects with changes that continue it without a gap
}

// A listedExport is an object of one workspace. Somebody asked for it, so retention leaves it alone.
type listedExport struct {
	Name      string    `json:"name"`
	Workspace string    `json:"workspace"`
	Time      time.Time `json:"time"`
	Bytes     int64     `json:"bytes"`
	Kept      string    `json:"kept"`
}

func (c backupList) Run(out *output) error {
	target, err := backup.OpenTarget(c.Target)
	if err != nil {
		return err
	}
	list, err := target.List(context.Background(), "")
	if err != nil {
		return err
	}
	answer := backupListOutput{[]listedBackup{}, []listedExport{}}
	catalogue := backup.NewCatalogue(list)
	for _, s := range catalogue.Series {
		for _, full := range s.Fulls {
			answer.Backups = append(answer.Backups, listedBackup{full.String(), full.Time, full.Size, len(s.Chain(full))})
		}
	}
	for _, e := range catalogue.Exports {
		answer.Exports = append(answer.Exports, listedExport{e.Name, e.Workspace, e.Time, e.Size, "until deleted by hand"})
	}
	return out.show(answer)
}

type backupRestore struct {
	keyFlags
	Target             string   `arg:"" help:"A directory, or s3://…"`
	Data               string   `required:"" help:"The new data directory; it must not be there." type:"path" placeholder:"NEWDIR"`
	Backup             string   `help:"Name of a full backup, as list shows it; what leads furthest by default." placeholder:"NAME"`
	Installation       string   `help:"Installation, if the target holds backups of several." placeholder:"ID"`
	To                 string   `help:"Bring customer data back to what they were at this time, ISO 8601. Revocations, erasures and the audit log stay the newest." placeholder:"TIME"`
	Keys               string   `help:"Exported key files ('tuco keys export'). Without them API keys and transport passwords are lost, and the audit log begins anew." type:"existingfile" placeholder:"FILE"`
	KeysIdentityFile   string   `help:"File of private age keys that open the key files; as of the backup by default." type:"existingfile" placeholder:"FILE"`
	KeysPassphraseFile string   `help:"File of the passphrase that opens the key files; as of the backup by default." type:"existingfile" placeholder:"FILE"`
	Anchor             []string `help:"Anchor of the audit log to compare with: a file, a directory, or + and a file. May be given more than once." sep:"none" placeholder:"PATH"`
	AcceptRewind       string   `help:"Why it is right that an anchor has seen more of the audit log than the backup holds. It is recorded." placeholder:"REASON"`
	Yes                bool     `help:"Do not ask whether to go on."`
}

func (c backupRestore) Run(out *output) error {
	opt, done, err := c.options()
	defer done()
	if err != nil {
		return err
	}
	ctx := context.Background()
	plan, err := keeper.PlanRestore(ctx, opt)
	if err != nil {
		return err
	}
	for _, what := range plan.Missing {
		fmt.Fprintf(out.log, "tuco: can't be reached: %s\n", what)
	}
	c.explain(out.log, &plan)
	if plan.Anchors() == keeper.Ahead && c.AcceptRewind == "" {
		return adviseRewind(&engine.RewindError{Size: plan.Entries, Anchored: plan.Anchor.Size})
	}
	if !c.Yes && !confirmed(out) {
		return errors.New("nothing was restored; say --yes to go on without being asked")
	}
	bar := &progress{to: out.log, total: plan.Logs + 3}
	opt.Progress = bar.step
	restored, err := keeper.Restore(ctx, opt, plan)
	bar.end()
	if err != nil {
		return adviseRewind(err)
	}
	if c.Keys != "" {
		_ = noteExport(filepath.Join(c.Data, "keys")) // they come from an export; without the note doctor asks for another
	}
	fmt.Fprintln(out.log, "tuco: start the server on it, with --anchor and --backup-to as before; what is to be done then is in docs/backup.md, Restoring, from step 4 on")
	return out.show(restoreOutput{c.Data, restored.Epoch, restored.Workspaces, restored.Unknown, restored.KeysOff, restored.StaffOff, plan.KeysLost})
}

// adviseRewind says what to do where an anchor is ahead.
func adviseRewind(err error) error {
	if errors.As(err, new(*engine.RewindError)) {
		return fmt.Errorf("%w. Restore a newer backup, or say --accept-rewind REASON", err)
	}
	return err
}

type restoreOutput struct {
	Data            string `json:"data"`
	Epoch           uint64 `json:"epoch"`           // of the audit log
	Workspaces      int    `json:"workspaces"`      // all in READ_ONLY maintenance: 'tuco workspace active ID'
	UnknownMessages int    `json:"unknownMessages"` // 'tuco message unknown', 'tuco message settle'
	KeysDisabled    int    `json:"keysDisabled"`    // 'tuco key enable ID'
	StaffDisabled   int    `json:"staffDisabled"`
	KeysLost        bool   `json:"keysLost"`
}

func (c backupRestore) options() (opt keeper.RestoreOptions, done func(), err error) {
	done = func() {}
	opt = keeper.RestoreOptions{Dir: c.Data, Backup: c.Backup, Installation: c.Installation, Anchors: c.Anchor, Rewind: c.AcceptRewind}
	if opt.Target, err = backup.OpenTarget(c.Target); err != nil {
		return opt, done, err
	}
	if opt.Keys, err = c.opening(); err != nil {
		return opt, done, err
	}
	if c.To != "" {
		at, ok := engine.ParseDate(c.To)
		if !ok {
			return opt, done, &usageError{"--to must be a time such as 2026-11-23T14:05:00Z"}
		}
		opt.To = at
	}
	if c.Keys == "" {
		return opt, done, nil
	}
	f, err := os.Open(c.Keys)
	if err != nil {
		return opt, done, err
	}
	opt.KeyFile, opt.KeyFileKeys = f, opt.Keys
	if c.KeysIdentityFile != "" || c.KeysPassphraseFile != "" {
		opt.KeyFileKeys, err = keyFlags{c.KeysIdentityFile, c.KeysPassphraseFile}.opening()
	}
	return opt, func() { f.Close() }, err
}

// explain says what will be.
func (c backupRestore) explain(w io.Writer, p *keeper.RestorePlan) {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	say("Restore %s of installation %s, with %d objects of changes after it, into %q.", p.Full.String(), p.Installation, p.Logs, c.Data)
	say("  customer data as of   %s", p.State.UTC().Format(time.RFC3339))
	if p.Beyond > 0 {
		say("  LATER CHANGES         in %d objects can't be used: one before them is missing from the target", p.Beyond)
	}
	say("  audit log             a new restore epoch; the old entries stay")
	say("  workspaces            READ_ONLY (maintenance) until 'tuco workspace active ID'; nothing is sent by itself")
	say("  messages              what was not final is of unknown outcome; 'tuco message settle' decides, unless an anchor says that the server was stopped and did not start again")
	say("  usage                 today counts as used up, with the same exception")
	say("  anchors               %s", map[keeper.Outlook]string{
		keeper.NoAnchor:   "none can be reached: revocations may be lost, so API keys, staff and grants are disabled",
		keeper.Agrees:     "agree: no revocation is lost",
		keeper.Ahead:      "AHEAD of the backup: entries are lost; API keys, staff and grants are disabled",
		keeper.MaybeAhead: "have seen more than the manifests tell of: whether entries are lost shows when it is unpacked, and then it ends without --accept-rewind",
		keeper.OfOldEpoch: "are of before an earlier restore: revocations may be lost, so API keys, staff and grants are disabled",
	}[p.Anchors()])
	if p.KeysLost {
		say("  keys                  LOST without --keys: every API key, token and transport password must be made anew; the audit log begins anew")
	}
}

// confirmed asks on a terminal.
func confirmed(out *output) bool {
	if !isTerminal(os.Stdin) {
		return false
	}
	fmt.Fprint(out.log, "Go on? [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}

// A progress bar on a terminal; lines elsewhere.
type progress struct {
	to    io.Writer
	done  int
	total int
}

func (p *progress) step(what string) {
	if p.done++; !isTerminal(p.to) {
		fmt.Fprintln(p.to, "tuco:", what)
		return
	}
	const width = 30
	full := min(width, p.done*width/max(1, p.total))
	fmt.Fprintf(p.to, "\r[%s%s] %-40.40s", strings.Repeat("#", full), strings.Repeat(" ", width-full), what)
}

func (p *progress) end() {
	if isTerminal(p.to) {
		fmt.Fprintln(p.to)
	}
}

type keysCommand struct {
	Export keysExport `cmd:"" help:"Write the key files, encrypted, to be kept away from the backups. Without them a restore loses all API keys."`
}

type keysExport struct {
	Data           string   `help:"Data directory." default:"./tuco-data" type:"path"`
	Keys           string   `help:"Directory of the key files; DATA/keys by default." type:"path" placeholder:"DIR"`
	Recipient      []string `help:"Public age key to encrypt to; may be given more than once." placeholder:"AGE1…"`
	PassphraseFile string   `help:"File of a passphrase to encrypt with." type:"existingfile" placeholder:"FILE"`
	Out            string   `required:"" help:"File to write; it must not be there yet." type:"path" placeholder:"FILE"`
}

type keysOutput struct {
	File string `json:"file"`
}

func (c keysExport) Run(out *output) (err error) {
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("%q is there already; name another file with --out", c.Out)
	}
	enc := backup.Encryption{Recipients: c.Recipient}
	if c.PassphraseFile != "" {
		if enc.Passphrase, err = backup.ReadPassphrase(c.PassphraseFile); err != nil {
			return err
		}
	}
	if err := enc.Check(); err != nil {
		return &usageError{err.Error() + "; say --recipient or --passphrase-file"}
	}
	dir := keysDir(c.Data, c.Keys)
	f, err := renameio.NewPendingFile(c.Out, renameio.WithPermissions(0o600), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // there is nothing to clean up after it was replaced
	if err := backup.ExportKeys(f, dir, enc); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	if err := noteExport(dir); err != nil {
		return err
	}
	return out.show(keysOutput{c.Out})
}
