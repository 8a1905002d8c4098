package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// CeilingCommand is the command of this program that serves what [tuco/httpapi.NewCeiling] makes.
const CeilingCommand = "bench-ceiling"

// ceiling is one measurement of what the machine could do.
type ceiling struct {
	name      string
	of        []string // operations that together can be at most so many
	perSecond float64
	latency   *histogram
	cpu       time.Duration // of the server, for a request
}

// ceilings measures each ceiling once.
func (b *bench) ceilings(ctx context.Context) error {
	if !b.opt.Ceilings {
		return nil
	}
	round, message, err := b.httpCeilings(ctx)
	if err == nil && b.dir != "" && b.opt.Mix[Send] > 0 {
		round, err = b.diskCeilings(round, message)
	}
	b.report.rounds = append(b.report.rounds, round)
	return err
}

// httpCeilings measures the same requests against a server with nothing behind it. message is one as it answers it.
func (b *bench) httpCeilings(ctx context.Context) (round []ceiling, message []byte, err error) {
	server, err := startChild(CeilingCommand)
	if err != nil {
		return nil, nil, err
	}
	defer server.crash()
	for _, op := range b.opt.Mix.ops() {
		l := b.load(only(op))
		l.Host, l.Path, l.Rate = server.host, DefaultPath, 0
		if op == Get {
			l.Tenants = []Tenant{{Key: l.Tenants[0].Key, Messages: []string{"6b03d08e97cd740000000003"}}}
		}
		c, answer, err := b.httpCeiling(ctx, server, l)
		if err != nil {
			return nil, nil, err
		}
		round, message = append(round, c), messageObject(answer)
	}
	return b.whole(round), message, nil
}

// whole tells of which requests the ceilings are one: of a single operation, or of all together, for which one is added.
func (b *bench) whole(round []ceiling) []ceiling {
	var took float64 // for one request of the mix
	var names []string
	for i, op := range b.opt.Mix.ops() {
		round[i].name = fmt.Sprintf("HTTP without storage, %s", op)
		took += float64(b.opt.Mix[op]) / 100 / round[i].perSecond
		names = append(names, op.String())
	}
	if len(round) > 1 {
		round = append(round, ceiling{name: fmt.Sprintf("HTTP without storage, %s", b.opt.Mix), perSecond: 1 / took, latency: new(histogram)})
	}
	round[len(round)-1].of = names
	return round
}

func (b *bench) httpCeiling(ctx context.Context, server *child, l Load) (c ceiling, answer []byte, err error) {
	g, err := connect(l)
	if err != nil {
		return c, nil, err
	}
	defer g.close()
	op := l.Mix.ops()[0]
	watch := b.progress("measuring HTTP without storage")
	if _, err := g.run(ctx, amount{time: min(max(b.opt.Warmup, time.Millisecond), time.Second)}, watch); err != nil {
		return c, nil, err
	}
	before, err := server.process().cpu()
	if err != nil {
		return c, nil, err
	}
	done, err := g.run(ctx, amount{time: min(b.opt.Duration, 5*time.Second)}, watch)
	if err != nil {
		return c, nil, err
	}
	after, err := server.process().cpu()
	if err != nil {
		return c, nil, err
	}
	if done.answers[op] == nil {
		return c, nil, fmt.Errorf("measuring HTTP without storage: %s", done.firstRefusal())
	}
	c = ceiling{perSecond: done.perSecond(), latency: done.latency[op], cpu: (after - before) / time.Duration(done.answered())}
	return c, done.answers[op], nil
}

// diskCeilings measures appending a message to a file beside the data.
func (b *bench) diskCeilings(round []ceiling, message []byte) ([]ceiling, error) {
	b.opt.Progress("measuring appends to the disk")
	writers := []int{1}
	if b.opt.Connections > 1 {
		writers = append(writers, b.opt.Connections)
	}
	for _, n := range writers {
		latency, took, err := appends(b.dir, message, n, min(b.opt.Duration, 2*time.Second))
		if err != nil {
			return nil, fmt.Errorf("measuring appends to the disk: %w", err)
		}
		c := ceiling{name: fmt.Sprintf("durable appends, writers: %d", n), perSecond: float64(latency.n) / took.Seconds(), latency: latency}
		if n == b.opt.Connections {
			c.of = []string{Send.String()}
		}
		round = append(round, c)
	}
	return round, nil
}

// messageObject is the message in an answer; the whole answer if it is of another make.
func messageObject(answer []byte) []byte {
	var a struct {
		Message  json.RawMessage
		Messages []json.RawMessage
	}
	switch err := json.Unmarshal(answer, &a); {
	case err == nil && len(a.Message) > 0 && a.Message[0] == '{':
		return a.Message
	case err == nil && len(a.Messages) > 0:
		return a.Messages[0]
	}
	return answer
}
