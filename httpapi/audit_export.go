package httpapi

import (
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"tuco/engine"
	"tuco/engine/auditlog/bundle"
)

// What auditors and customers can take away: bundles of the audit log. A bundle is made in a file before its first byte goes,
// so that an answer is a whole one.

type exportRequest struct {
	From        string `json:"from,omitzero" description:"ISO 8601: entries from this time on"`
	To          string `json:"to,omitzero" description:"ISO 8601: entries before this time"`
	WorkspaceID string `json:"workspaceId,omitzero" description:"only the entries of this workspace, all of them; then without from and to"`
	Checkpoint  string `json:"checkpoint,omitzero" description:"an earlier checkpoint, as it was given: the bundle proves that the log continues it"`
}

// exportAudit serves POST /audit/export.
func (s *Server) exportAudit(c *call, in exportRequest) (reply, error) {
	r, err := ExportInput{Workspace: in.WorkspaceID, From: in.From, To: in.To, Checkpoint: in.Checkpoint}.bounds()
	if err != nil {
		return reply{}, err
	}
	return s.export(c, auditorToken, string(c.auditor.Auditor().ID), func(w io.Writer) (bundle.Manifest, error) {
		return s.eng.ExportAudit(*c.auditor, w, s.version(), r)
	})
}

type ownExportRequest struct {
	inWorkspace
	Checkpoint string `json:"checkpoint,omitzero" description:"an earlier checkpoint, as it was given: the bundle proves that the log continues it"`
}

// exportOwnAudit serves POST /api/staff-access/export.
func (s *Server) exportOwnAudit(c *call, in ownExportRequest) (reply, error) {
	r, err := ExportInput{Checkpoint: in.Checkpoint}.bounds()
	if err != nil {
		return reply{}, err
	}
	return s.export(c, workspaceKey, string(c.who.Workspace()), func(w io.Writer) (bundle.Manifest, error) {
		return s.eng.ExportOwnAudit(c.who, w, s.version(), r.Earlier)
	})
}

// version is the product's, as a bundle names it.
func (s *Server) version() string { return or(s.opt.Version, "dev") }

// export answers with the bundle that write makes.
func (s *Server) export(c *call, realm realm, owner string, write func(io.Writer) (bundle.Manifest, error)) (reply, error) {
	made, free, err := s.exports.begin(realm, owner)
	if err != nil {
		return reply{}, err
	}
	defer made()
	file, err := s.eng.TempFile()
	if err != nil {
		free()
		return reply{}, err
	}
	d, whole := &download{file: file, free: free, conn: c.ctx.Context().Conn(), timeout: s.app.Config().WriteTimeout}, false
	defer func() {
		if !whole {
			d.Close()
		}
	}()
	m, err := write(file)
	if err != nil {
		return reply{}, err
	}
	if d.size, err = file.Seek(0, io.SeekEnd); err != nil {
		return reply{}, err
	}
	if _, err = file.Seek(0, io.SeekStart); err != nil {
		return reply{}, err
	}
	d.name = "tuco-audit-" + or(m.Workspace, m.Installation) + "-" + m.Time.Format("20060102T150405Z") + ".tar"
	whole = true
	return ok(d)
}

// exports bound how many bundles there are at a time. To make one takes the time of a processor: two are made for each realm, so
// that customers and auditors don't keep each other out. Until it is downloaded it takes a file beside the database: everybody
// has one, and so keeps nobody else out by being slow.
type exports struct {
	mu     sync.Mutex
	making map[realm]int
	owners map[string]bool // of those that are made, or downloaded
}

const maxExports = 2 // made at a time

// begin takes a place until made is called, and the owner's until free is. Both may be called again.
func (x *exports) begin(r realm, owner string) (made, free func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owners[owner] || x.making[r] >= maxExports {
		return nil, nil, &engine.Error{Kind: engine.QuotaExceeded, Code: engine.CodeTemporarilyExhausted, RetryAfter: 10 * time.Second,
			Msg: "Another export is being made or downloaded: try again when it is done"}
	}
	if x.owners == nil {
		x.making, x.owners = map[realm]int{}, map[string]bool{}
	}
	x.making[r]++
	x.owners[owner] = true
	made = sync.OnceFunc(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.making[r]--
	})
	free = sync.OnceFunc(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.owners, owner)
	})
	return made, free, nil
}

// A download is a file as an answer. The server reads it as far as the connection holds, and closes it.
type download struct {
	name string
	size int64
	file *os.File
	free func()

	conn    net.Conn
	timeout time.Duration // for an answer of ordinary size
	done    int64         // bytes read
}

const (
	tarType         = "application/x-tar"
	slowestDownload = 128 << 10 // bytes a second
)

// Read gives the peer, when it begins, the time that so large an answer takes. With the last bytes the place is free: whoever
// has them can ask for the next.
func (d *download) Read(p []byte) (int, error) {
	if d.done == 0 {
		if err := d.conn.SetWriteDeadline(time.Now().Add(d.timeout + time.Duration(d.size/slowestDownload)*time.Second)); err != nil {
			return 0, err
		}
	}
	n, err := d.file.Read(p)
	if d.done += int64(n); d.done == d.size {
		d.free()
	}
	return n, err
}

func (d *download) Close() error {
	defer d.free()
	return d.file.Close()
}

// write answers with the file.
func (d *download) write(c *call) error {
	c.ctx.Status(http.StatusOK)
	header := &c.ctx.Response().Header
	header.SetContentType(tarType)
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.name}))
	c.ctx.Response().SetBodyStream(d, int(d.size))
	return nil
}

// content says in the OpenAPI document that it is no JSON.
func (*download) content() object { return object{tarType: object{}} }
