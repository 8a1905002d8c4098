package keeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"

	"tuco/backup"
	"tuco/engine"
)

// redoDir is the directory of the redo log beside the database.
const redoDir = engine.DatabaseName + "-redo"

// Full makes a full backup, unless nothing has changed since the newest one; then it returns that.
func (k *Keeper) Full(ctx context.Context) (backup.Name, error) {
	k.full.Lock()
	defer k.full.Unlock()
	began := k.opt.Now()
	name, size, err := k.makeFull(ctx)
	if err != nil {
		k.failed(fullFailed, err)
		k.note(func(s *Status) { s.FullDue = true })
		return name, err
	}
	k.worked(fullFailed)
	k.note(func(s *Status) {
		s.FullAt, s.FullDue = began, false
		if size > 0 {
			s.FullBytes = size
		}
	})
	if size > 0 {
		k.opt.Log.Info().Str("name", name.String()).Int64("bytes", size).Dur("took", k.opt.Now().Sub(began)).Msg("full backup made")
	} else {
		k.opt.Log.Info().Str("name", name.String()).Msg("no full backup made: nothing has changed since this one")
	}
	if err := k.retire(ctx); err != nil {
		k.failed(retireFailed, err)
	} else {
		k.worked(retireFailed)
	}
	return name, nil
}

// catchUp makes a full backup or a verification if one is due, in the background. Where that fails it is tried again after
// longer and longer.
func (k *Keeper) catchUp(now time.Time) {
	c, s := &k.catching, k.Status()
	if !s.FullDue && !s.VerifyDue {
		c.pause, c.after = 0, time.Time{}
		return
	}
	if now.Before(c.after) && !c.after.After(now.Add(fullRetryMost)) || !c.running.CompareAndSwap(false, true) {
		return
	}
	c.pause = min(max(2*c.pause, time.Second), fullRetryMost)
	c.after = now.Add(c.pause)
	c.all.Go(func() {
		defer c.running.Store(false)
		if s.FullDue {
			_, _ = k.Full(k.ctx) // it says so itself
		}
		if s.VerifyDue {
			_, _ = k.Verify(k.ctx)
		}
	})
}

// catching is about the full backups and verifications that are due. The goroutine that ships uses the times alone.
type catching struct {
	running atomic.Bool
	all     sync.WaitGroup
	pause   time.Duration
	after   time.Time // no try before
}

const fullRetryMost = 10 * time.Minute

func (k *Keeper) makeFull(ctx context.Context) (name backup.Name, size int64, err error) {
	installation, epoch := k.opt.Engine.Installation()
	if newest, err := k.newest(ctx, installation, epoch); err == nil && newest.Kind == backup.Full && newest.To == k.opt.Engine.Position() {
		return newest, 0, nil
	}
	o, err := gently(func() (*backup.Object, error) { return Pack(ctx, k.opt) })
	if err != nil {
		return name, 0, err
	}
	defer o.Close()
	name = o.Manifest.Name()
	return name, o.Size(), k.opt.Target.Put(ctx, name.String(), o)
}

// newest is the newest full backup of an epoch in the target; zero if there is none.
func (k *Keeper) newest(ctx context.Context, installation string, epoch uint64) (backup.Name, error) {
	list, err := k.opt.Target.List(ctx, installation+"/")
	if err != nil {
		return backup.Name{}, err
	}
	for _, s := range backup.NewCatalogue(list).Series {
		if s.Installation == installation && s.Epoch == epoch && len(s.Fulls) > 0 {
			return s.Fulls[len(s.Fulls)-1].Name, nil
		}
	}
	return backup.Name{}, nil
}

// Pack makes an object of everything that the engine has, in the temporary directory of opt.
func Pack(ctx context.Context, opt Options) (*backup.Object, error) {
	if err := room(opt); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(opt.Dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the next start does it
	s, log, err := opt.Engine.Snapshot(ctx, dir, opt.Pace)
	if err != nil {
		return nil, err
	}
	log.Close()
	inputs, done, err := files(dir)
	defer done()
	if err != nil {
		return nil, err
	}
	now := milli(s.Time)
	return backup.Create(ctx, opt.Dir, backup.Manifest{
		Kind: backup.Full, ID: newID(), Installation: s.Installation, Epoch: s.Epoch, Product: opt.Product, Schema: engine.Schema, Time: now,
		To: s.Position, LastTime: now, Records: s.Records, Quota: jsontext.Value(s.Quota), Checkpoint: string(s.Checkpoint),
	}, inputs, opt.Encryption)
}

// room refuses a backup that would take the disk's reserve.
func room(opt Options) error {
	stats := opt.Engine.Stats()
	var fs unix.Statfs_t
	if err := unix.Statfs(opt.Dir, &fs); err != nil {
		return err
	}
	need := 2*stats.FileBytes + 2*stats.LogBytes + 16<<20
	if free := int64(fs.Bavail) * fs.Frsize; free-opt.Engine.Reserve() < need {
		return fmt.Errorf("%w in %q: a backup takes up to %d bytes for a while, and %d are free, of which %d are in reserve",
			backup.ErrNoSpace, opt.Dir, need, free, opt.Engine.Reserve())
	}
	return nil
}

// files are the database and its log as they are called in an object.
func files(dir string) (inputs []backup.Input, done func(), err error) {
	var open []*os.File
	done = func() {
		for _, f := range open {
			f.Close()
		}
	}
	paths := []string{filepath.Join(dir, engine.DatabaseName)}
	segments, err := filepath.Glob(filepath.Join(dir, redoDir, "*.redo"))
	for _, path := range append(paths, segments...) {
		f, failed := os.Open(path)
		if failed != nil {
			return nil, done, errors.Join(err, failed)
		}
		open = append(open, f)
		info, failed := f.Stat()
		if failed != nil {
			return nil, done, errors.Join(err, failed)
		}
		inputs = append(inputs, backup.Input{Name: filepath.Base(path), Content: content{f, info.Size()}})
	}
	return inputs, done, err
}

// A content is a file of a known size.
type content struct {
	*os.File
	size int64
}

// Size is in bytes.
func (c content) Size() int64 { return c.size }

func newID() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails: the program ends instead
	return hex.EncodeToString(b)
}

// milli is a time as manifests have it.
func milli(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// retire deletes what is no longer to be kept.
func (k *Keeper) retire(ctx context.Context) error {
	installation, _ := k.opt.Engine.Installation()
	list, err := k.opt.Target.List(ctx, installation+"/")
	if err != nil {
		return err
	}
	verified := k.state().Verified
	var all []backup.Candidate
	for _, s := range list {
		if name, ok := backup.ParseName(s.Name); ok {
			all = append(all, backup.Candidate{Name: name, Verified: s.Name == verified})
		}
	}
	for _, name := range k.opt.Keep.Drop(all) {
		if err := k.opt.Target.Delete(ctx, name.String()); err != nil {
			return err
		}
	}
	return nil
}
