package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// senders send mail, each one message after the other, wherever the server is at the moment.
type senders struct {
	url   atomic.Pointer[string]
	who   tenant
	pause time.Duration

	running sync.WaitGroup
	stop    chan struct{}

	mu    sync.Mutex
	acked []string
	odd   []string // answers that are neither 201 nor missing
}

func startSenders(n int, who tenant, url string) *senders {
	s := &senders{who: who, stop: make(chan struct{}), pause: 4 * time.Millisecond}
	s.url.Store(&url)
	for worker := range n {
		s.running.Go(func() { s.run(worker) })
	}
	return s
}

func (s *senders) run(worker int) {
	tick := time.NewTicker(s.pause)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		text := fmt.Sprintf("Message %d of %d", i, worker)
		id, a, err := send(client, *s.url.Load(), s.who.key, mailTo(fmt.Sprintf("p%d-%d@example.com", worker, i%50), text))
		s.mu.Lock()
		switch {
		case id != "":
			s.acked = append(s.acked, id)
		case err == nil:
			s.odd = append(s.odd, fmt.Sprintf("%d %s", a.status, a.body))
		}
		s.mu.Unlock()
	}
}

// end waits for the senders and returns the ids that were answered with 201.
func (s *senders) end(t *testing.T) []string {
	t.Helper()
	close(s.stop)
	s.running.Wait()
	for _, odd := range s.odd[:min(3, len(s.odd))] {
		t.Errorf("an odd answer: %s", odd)
	}
	return s.acked
}

// TestKilled kills the process at random moments between acceptance and delivery. Every accepted message
// arrives once, or is listed as unknown; none arrives twice until the operator asks for it.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir, box := t.TempDir(), openMailbox(t, "", 8*time.Millisecond)
	s := serve(t, dir)
	who := newTenant(s, "--email-lines", "1", "--requests-per-minute", "0")
	newLine(s, who, "--type", "email", "--email", "ann@sender.test", "--transport", box.url())

	load := startSenders(4, who, s.url)
	for range killRounds {
		<-time.After(20*time.Millisecond + rand.N(200*time.Millisecond))
		s.kill()
		s = serve(t, dir)
		load.url.Store(&s.url)
	}
	acked := load.end(t)

	eventually(t, "all is delivered or unknown", func() bool { return s.underWay(who) == 0 })
	unknown := s.unknown(who)
	arrived := box.deliveries()
	duplicates, lost := 0, 0
	for id, n := range arrived {
		if n > 1 {
			duplicates++
			t.Errorf("message %s arrived %d times", id, n)
		}
	}
	for _, id := range acked {
		if arrived[id] == 0 && !slices.Contains(unknown, id) {
			lost++
			t.Errorf("message %s was accepted, and neither arrived nor is unknown", id)
		}
	}
	taken := 0
	for _, id := range unknown {
		taken += arrived[id]
	}
	s.check()

	// The operator looks into the mailbox and settles what is unknown.
	for _, id := range unknown {
		as := "pending"
		if arrived[id] > 0 {
			as = "sent"
		}
		s.tuco(nil, "message", "settle", id, "--as", as)
	}
	eventually(t, "what was settled as pending arrives", func() bool { return s.underWay(who) == 0 })
	arrived = box.deliveries()
	for _, id := range acked {
		if arrived[id] != 1 {
			t.Errorf("after settling, message %s has arrived %d times", id, arrived[id])
		}
	}
	if still := s.unknown(who); len(still) > 0 {
		t.Errorf("still unknown after settling: %v", still)
	}
	s.check()
	rows := s.messages(who.key, "")
	if got := s.used(who, "messages_per_day"); got != int64(len(rows)) {
		t.Errorf("the day's usage is %d, there are %d messages", got, len(rows))
	}
	t.Logf("%d kills: %d messages accepted with an answer, %d in all; lost %d, duplicates %d, unknown %d (of which the mail server had %d)",
		killRounds, len(acked), len(rows), lost, duplicates, len(unknown), taken)
}

// underWay counts the messages of production that are neither at their end, nor scheduled, nor unknown.
func (s *server) underWay(who tenant) (n int) {
	for _, status := range []string{"pending", "queued", "sending"} {
		n += len(s.messages(who.key, "&status="+status))
	}
	return n
}

// TestQuotaKilled: 64 clients ask for more than the plan has, the process is killed in the middle, and
// in both lives together exactly the plan's number is accepted, and exactly the lines' number sent today.
func TestQuotaKilled(t *testing.T) {
	t.Parallel()
	const plan, lines, perLine, clients = 1000, 3, 100, 64
	dir := t.TempDir()
	s := serve(t, dir)
	who := newTenant(s, "--messages-per-day", fmt.Sprint(plan), "--requests-per-minute", "0")
	for i := range lines {
		newLine(s, who, "--type", "imessage", "--phone", fmt.Sprintf("+1202555010%d", i), "--daily-messages", fmt.Sprint(perLine))
	}

	var accepted, denied, next atomic.Int64
	life := func(url string, enough func() bool) {
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for !enough() {
					n := next.Add(1)
					id, a, err := send(client, url, who.key, map[string]any{"message": "Hello", "recipientPhone": fmt.Sprintf("+1202555%04d", 1000+n%8000)})
					switch {
					case id != "":
						accepted.Add(1)
					case err != nil:
						return // killed
					case a.status == http.StatusTooManyRequests:
						denied.Add(1)
						return
					default:
						t.Errorf("an odd answer: %d %s", a.status, a.body)
						return
					}
				}
			})
		}
		all.Wait()
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for accepted.Load() < 400 {
			<-time.After(time.Millisecond)
		}
		s.kill()
	}()
	life(s.url, func() bool { return false })
	<-killed
	first := accepted.Load()

	s = serve(t, dir)
	s.check()
	life(s.url, func() bool { return false })
	if denied.Load() == 0 {
		t.Error("nobody was refused")
	}
	rows := s.messages(who.key, "")
	if len(rows) != plan {
		t.Errorf("%d messages were accepted, want %d", len(rows), plan)
	}
	if got := accepted.Load(); got > plan || got < plan-clients {
		t.Errorf("%d answers of acceptance for a plan of %d", got, plan)
	}
	eventually(t, "the lines have sent what they may", func() bool { return s.underWay(who) == 0 })
	today, scheduled := 0, 0
	for _, m := range s.messages(who.key, "") {
		if m.Status == "scheduled" {
			scheduled++
		} else {
			today++
		}
	}
	if today != lines*perLine || scheduled != plan-lines*perLine {
		t.Errorf("%d go today and %d are scheduled, want %d and %d", today, scheduled, lines*perLine, plan-lines*perLine)
	}

	s.kill()
	s = serve(t, dir)
	s.check()
	if got := s.used(who, "messages_per_day"); got != plan {
		t.Errorf("after another kill the plan's usage is %d, want %d", got, plan)
	}
	if got := s.used(who, "line_messages_per_day"); got != lines*perLine {
		t.Errorf("after another kill the lines' usage is %d, want %d", got, lines*perLine)
	}
	t.Logf("accepted %d before the kill and %d after it (%d without an answer), refused %d, unknown %d",
		first, accepted.Load()-first, plan-accepted.Load(), denied.Load(), len(s.unknown(who)))
}
