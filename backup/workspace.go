package backup

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// WorkspaceName is what an object of one workspace is called in a target. It is never deleted by itself.
//
//	INSTALLATION/workspaces/WORKSPACE-TIME-ID.tuco
func (m *Manifest) WorkspaceName() string {
	return fmt.Sprintf("%s/%s/%s-%s-%s.tuco", m.Installation, workspacesDir, m.Workspace, m.Time.UTC().Format(nameTime), m.ID)
}

const workspacesDir = "workspaces"

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
