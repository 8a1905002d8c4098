package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/engine"
	"tuco/httpapi"
	"tuco/kv"
)

// backupFlags say which backups the server makes, and where.
type backupFlags struct {
	To             string        `help:"Where backups go: a directory, which must be there, or s3://BUCKET/PREFIX?endpoint=HOST. Without it there are none." placeholder:"TARGET"`
	Recipient      []string      `help:"Public age key to which backups are encrypted; may be given more than once. Its private key opens them: keep that elsewhere." placeholder:"AGE1…"`
	Plain          bool          `help:"Do not encrypt backups."`
	Identity       string        `help:"File of private age keys with which the server verifies its own backups; without it only their digests are compared." type:"path" placeholder:"FILE"`
	Schedule       string        `help:"When full backups are made, as cron writes it, in UTC; empty: never." default:"17 2 * * *" placeholder:"CRON"`
	VerifySchedule string        `help:"When the newest backup is restored into a scratch directory and read, as cron writes it, in UTC; empty: never." default:"41 3 * * *" placeholder:"CRON"`
	Ship           time.Duration `help:"How far the shipped changes may be behind: what a lost disk costs." default:"5s"`
	MaxAge         time.Duration `help:"Age of the newest full backup from which on it is warned of." default:"26h"`
	Pace           size          `help:"Bytes a second at which a full backup reads the database, and a verification unpacks it; 0 is any." default:"16MiB" placeholder:"SIZE"`
	KeepLast       int           `help:"Full backups to keep: the newest ones." default:"3"`
	KeepDaily      int           `help:"Full backups to keep: the newest of each of so many days." default:"7"`
	KeepWeekly     int           `help:"Full backups to keep: the newest of each of so many weeks." default:"4"`
	KeepMonthly    int           `help:"Full backups to keep: the newest of each of so many months." default:"6"`
}

// keptLog is how much of the redo log a server with backups keeps over a stop, so that the chain goes on.
const keptLog = 64 << 20

func (f *backupFlags) keepLog() int64 {
	if f.To == "" {
		return 0
	}
	return keptLog
}

func (f *backupFlags) encryption() backup.Encryption {
	return backup.Encryption{Recipients: f.Recipient, Plain: f.Plain}
}

func (f *backupFlags) keep() backup.Keep {
	return backup.Keep{Last: f.KeepLast, Daily: f.KeepDaily, Weekly: f.KeepWeekly, Monthly: f.KeepMonthly}
}

// check finds what can't be meant, before anything is opened.
func (f *backupFlags) check(data string) error {
	if f.To == "" {
		if len(f.Recipient) > 0 || f.Plain {
			return &usageError{"--backup-recipient and --backup-plain are of use with --backup-to only: no backups would be made"}
		}
		return nil
	}
	if _, err := backup.OpenTarget(f.To); err != nil {
		return &usageError{fmt.Sprintf("--backup-to: %v", err)}
	}
	if err := f.encryption().Check(); err != nil {
		return &usageError{fmt.Sprintf("backups: %v; say --backup-recipient or --backup-plain", err)}
	}
	if f.Identity != "" {
		keys, err := f.keys()
		if err == nil {
			err = f.encryption().CheckKeys(keys)
		}
		if err != nil {
			return &usageError{fmt.Sprintf("--backup-identity must open what is encrypted to --backup-recipient: %v", err)}
		}
	}
	if f.Ship <= 0 || f.MaxAge <= 0 {
		return &usageError{"--backup-ship and --backup-max-age must be more than 0"}
	}
	if f.keep().Check() != nil {
		return &usageError{"--backup-keep-last, --backup-keep-daily, --backup-keep-weekly and --backup-keep-monthly must not be negative"}
	}
	if err := keeper.CheckSchedule(f.Schedule); err != nil {
		return &usageError{fmt.Sprintf("--backup-schedule: %v", err)}
	}
	if err := keeper.CheckSchedule(f.VerifySchedule); err != nil {
		return &usageError{fmt.Sprintf("--backup-verify-schedule: %v", err)}
	}
	if !isBucket(f.To) && within(f.To, data) {
		return &usageError{fmt.Sprintf("--backup-to: %q is in the data directory: what loses the one loses the other; name a place on another disk or machine", f.To)}
	}
	return nil
}

// keys open what is encrypted; none if there is no --backup-identity.
func (f *backupFlags) keys() (k backup.Keys, err error) {
	if f.Identity != "" {
		k.Identities, err = backup.ReadIdentities(f.Identity)
	}
	return k, err
}

// startBackups begins to make backups, if that is asked for.
func (s *server) startBackups() error {
	f := s.flags.Backup
	if f.To == "" {
		return nil
	}
	target, err := backup.OpenTarget(f.To)
	if err != nil {
		return fmt.Errorf("--backup-to: %w", err)
	}
	keys, err := f.keys()
	if err != nil {
		return fmt.Errorf("--backup-identity: %w", err)
	}
	opt := keeper.Options{
		Engine: s.eng, Product: version, Dir: s.flags.Data, Target: target, Encryption: f.encryption(), Keys: keys,
		Keep: f.keep(), Schedule: f.Schedule, Verify: f.VerifySchedule, Ship: f.Ship, MaxAge: f.MaxAge, Pace: int64(f.Pace), Log: s.log,
	}
	if s.backups, err = keeper.Start(opt); err != nil {
		return fmt.Errorf("backups: %w", err)
	}
	s.registry.MustRegister(backupMetrics{s})
	return nil
}

// stopBackups ships the rest. Nothing may be written after it.
func (s *server) stopBackups(ctx context.Context) error {
	if s.backups == nil {
		return nil
	}
	if err := s.eng.FlushKeyUse(); err != nil {
		s.log.Warn().Err(err).Msg("last uses of keys not written")
	}
	if err := s.backups.Finish(ctx); err != nil {
		s.log.Warn().Err(err).Msg("the last changes were not shipped; they are after the next start")
	}
	return nil
}

// backupInput asks a running server for a full backup; where to is empty, as it is configured.
type backupInput struct {
	To         string   `json:"to,omitzero"`
	Recipients []string `json:"recipients,omitzero"`
	Passphrase string   `json:"passphrase,omitzero"`
	Plain      bool     `json:"plain,omitzero"`
	Workspace  string   `json:"workspace,omitzero"` // this one alone
}

// backupOutput is a backup that was made.
type backupOutput struct {
	Name     string           `json:"name"`
	Bytes    int64            `json:"bytes"`
	Records  map[string]int64 `json:"records"`
	Took     string           `json:"took"`
	Position kv.Position      `json:"position"`
}

func (s *server) createBackup(in backupInput) (backupOutput, error) {
	began := time.Now()
	if in.To == "" {
		if s.backups == nil {
			return backupOutput{}, engine.Errorf(engine.Invalid, "No backups are configured: name a target with --to, or start the server with --backup-to")
		}
		if in.Workspace != "" {
			f := s.flags.Backup
			in.To, in.Recipients, in.Plain = f.To, f.Recipient, f.Plain
			return makeWorkspaceBackup(s.eng, s.flags.Data, in)
		}
		name, err := s.backups.Full(context.Background())
		return backupOutput{Name: name.String(), Bytes: s.backups.Status().FullBytes, Took: time.Since(began).Round(time.Millisecond).String(), Position: name.To}, err
	}
	if in.Workspace != "" {
		return makeWorkspaceBackup(s.eng, s.flags.Data, in)
	}
	return makeBackup(s.eng, s.flags.Data, in)
}

// makeBackup makes one full backup of an open engine.
func makeBackup(eng *engine.Engine, dir string, in backupInput) (out backupOutput, err error) {
	began := time.Now()
	target, err := backup.OpenTarget(in.To)
	if err != nil {
		return out, err
	}
	o, err := keeper.Pack(context.Background(), keeper.Options{
		Engine: eng, Product: version, Dir: dir, Encryption: backup.Encryption{Recipients: in.Recipients, Passphrase: in.Passphrase, Plain: in.Plain},
	})
	if err != nil {
		return out, err
	}
	defer o.Close()
	name := o.Manifest.Name()
	err = target.Put(context.Background(), name.String(), o)
	return backupOutput{name.String(), o.Size(), o.Manifest.Records, time.Since(began).Round(time.Millisecond).String(), o.Manifest.To}, err
}

// verifyBackup verifies the newest backup of a running server.
func (s *server) verifyBackup(httpapi.Nothing) (verificationsOutput, error) {
	if s.backups == nil {
		return verificationsOutput{}, engine.Errorf(engine.Invalid, "No backups are configured: name a target")
	}
	v, err := s.backups.Verify(context.Background())
	return newVerificationsOutput([]keeper.Verification{v}), err
}

// absolute makes a directory of a target absolute, since the server's working directory is another one.
func absolute(target string) (string, error) {
	if target == "" || isBucket(target) {
		return target, nil
	}
	return filepath.Abs(target)
}

func isBucket(target string) bool { return strings.HasPrefix(target, "s3://") }

// within tells whether a path is that of a directory, or inside it.
func within(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
