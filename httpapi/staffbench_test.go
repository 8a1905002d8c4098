package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tuco/engine"
)

// BenchmarkStaffRead: looks of staff over 64 connections, each recorded durably before its answer leaves.
func BenchmarkStaffRead(b *testing.B) {
	w, _, sent, who := benchWorld(b, 200)
	ws := workspace{w, who.Workspace()}
	s := w.staff("Sam")
	r := ws.request(s.token)
	must[engine.AccessRequest](b)(w.eng.ApproveAccess(ws.customer(), string(r.ID)))
	place := "/staff/workspaces/" + string(ws.id) + "/"
	for _, look := range []struct{ name, path string }{
		{"one message", place + "messages/" + sent.Message.ID.String() + "?environment=production"},
		{"40 messages", place + "messages?environment=production&limit=40"},
		{"100 messages", place + "messages?environment=production&limit=100"},
	} {
		b.Run(strings.ReplaceAll(look.name, " ", "-"), func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}
			defer transport.CloseIdleConnections()
			var clients sync.WaitGroup
			turns := make(chan struct{}, b.N)
			for range b.N {
				turns <- struct{}{}
			}
			close(turns)
			b.ResetTimer()
			for range 64 {
				clients.Go(func() {
					for range turns {
						if err := s.look(transport, look.path); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}

func (s staffMember) look(transport *http.Transport, path string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.w.addr+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf := make([]byte, 64<<10)
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
