package backup

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// WorkspaceName is what an object of one workspace is called in a target. It is never deleted by itself.
//
//	INSTALLATION/workspaces/WORKSPACE-TIME-ID.tuco
func (m *Manifest) WorkspaceName() string {
	return fmt.Sprintf("%s/%s/%s-%s-%s.tuco", m.Installation, workspacesDir, m.Workspace, m.Time.UTC().Format(nameTime), m.ID)
}

const workspacesDir = "workspaces"

// ObjectName is what an object of any kind is called in a target.
func (m *Manifest) ObjectName() string {
	if m.Kind == Workspace {
		return m.WorkspaceName()
	}
	return m.Name().String()
}

// An Export is an object of one workspace in a target, by its name alone.
type Export struct {
	Name         string
	Installation string
	Workspace    string
	Time         time.Time // UTC, in whole seconds
	Size         int64     // in bytes
}

var exportPattern = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,63})/` + workspacesDir + `/([^/]+)-(\d{8}T\d{6}Z)-[a-z0-9]+\.tuco$`)

// parseExport reports whether an object is called like one of a workspace.
func parseExport(o Stored) (e Export, ok bool) {
	m := exportPattern.FindStringSubmatch(o.Name)
	if m == nil {
		return e, false
	}
	at, err := time.Parse(nameTime, m[3])
	return Export{o.Name, m[1], m[2], at, o.Size}, err == nil
}

// OpenWorkspace opens an object of a workspace by where it is: a file, or s3://BUCKET[/PREFIX]/NAME[?…], as [OpenTarget] has it
// with the object's name behind the prefix.
//
// Errors: [ErrInvalid], [ErrNotFound], [ErrUnavailable]; those of the file.
func OpenWorkspace(ctx context.Context, location string) (io.ReadCloser, error) {
	if !strings.HasPrefix(location, "s3://") {
		f, err := os.Open(location)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			f.Close()
			return nil, invalid("%s is no file", location)
		}
		return f, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, invalid("it is not a URL like s3://bucket/prefix/name?endpoint=host:port")
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 3 || parts[len(parts)-2] != workspacesDir {
		return nil, invalid("the URL has to end with the name of a workspace's object, INSTALLATION/%s/…", workspacesDir)
	}
	at := len(parts) - 3
	u.Path = "/" + strings.Join(parts[:at], "/")
	target, err := OpenTarget(u.String())
	if err != nil {
		return nil, err
	}
	return target.Get(ctx, strings.Join(parts[at:], "/"))
}
