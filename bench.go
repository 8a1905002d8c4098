package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"tuco/bench"
	"tuco/httpapi"
)

// benchCommand measures this machine.
type benchCommand struct {
	Workspaces  int           `help:"Workspaces that are written to." default:"100"`
	Contacts    int           `help:"People that each workspace writes to." default:"1000"`
	Connections int           `help:"Connections over which requests come at the same time." default:"64"`
	Duration    time.Duration `help:"How long to measure." default:"10s"`
	Warmup      time.Duration `help:"How long to send requests before." default:"2s"`
	Mix         bench.Mix     `help:"Of a hundred requests, how many send a message, get one, and list the newest." default:"send=100" placeholder:"MIX"`
	Messages    int64         `help:"Store messages before, until there are so many."`
	Rate        int           `help:"Begin so many requests a second, and count latency from when each was due; 0 sends the next one when the last was answered." placeholder:"N"`
	Deliver     bool          `help:"Make lines without gaps between messages, so that everything is delivered beside the load."`
	Crash       bool          `help:"Afterwards end the server with SIGKILL under load, and measure its next start."`
	Ceilings    bool          `help:"Also measure what this machine could do at most: appends to its disk, and HTTP with no storage behind it." default:"true" negatable:""`
	Data        string        `help:"Data directory to keep and to use again; without it a temporary one, removed at the end. With --url, the data directory of that server, whose memory and disk are then measured." type:"path" placeholder:"DIR"`
	URL         string        `name:"url" help:"Measure a server that runs already, in place of one that is started for it. It is written to!" placeholder:"URL"`
	KeyFile     string        `help:"With --url: file with API keys, one a line, of a workspace each." type:"path" placeholder:"FILE"`
	Path        string        `help:"Where the messages are; for servers of another make." hidden:"" default:"/api/messages"`
}

func (c *benchCommand) Run(out *output) error {
	opt, err := c.options(out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := catchSignals()
	go func() {
		cancel(fmt.Errorf("ended by a signal: %v", <-signals))
	}()
	report, err := bench.Run(ctx, opt)
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	if errors.Is(err, bench.ErrNotOurs) {
		return &usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	return out.show(report)
}

func (c *benchCommand) options(out *output) (opt bench.Options, err error) {
	if err := c.check(); err != nil {
		return opt, err
	}
	opt = bench.Options{
		Workspaces: c.Workspaces, Contacts: c.Contacts, Connections: c.Connections, Duration: c.Duration, Warmup: c.Warmup, Mix: c.Mix,
		Messages: c.Messages, Rate: c.Rate, Deliver: c.Deliver, Crash: c.Crash, Ceilings: c.Ceilings,
		Data: c.Data, Path: c.Path, SocketPath: socketPath,
	}
	if isTerminal(out.log) {
		opt.Progress = func(text string) { fmt.Fprintln(out.log, text) }
	}
	if c.URL == "" {
		return opt, nil
	}
	if opt.Host, err = hostOf(c.URL); err == nil {
		opt.Keys, err = readKeys(c.KeyFile)
	}
	return opt, err
}

// hostOf is the host and port in a URL.
func hostOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return "", &usageError{fmt.Sprintf("%q is not a URL such as http://127.0.0.1:8420; only plain HTTP is spoken", text)}
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")), nil
}

func readKeys(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	keys := strings.Fields(string(text))
	if len(keys) == 0 {
		return nil, &usageError{fmt.Sprintf("%q holds no key: put API keys into it, one a line", name)}
	}
	return keys, nil
}

// check says what the flags ask for that can't be done.
func (c *benchCommand) check() error {
	for _, wrong := range []struct {
		is   bool
		text string
	}{
		{c.Workspaces < 1 || c.Connections < 1 || c.Contacts < 1, "--workspaces, --connections and --contacts must be at least 1"},
		{c.Contacts > bench.MaxContacts, fmt.Sprintf("--contacts must be at most %d", bench.MaxContacts)},
		{c.Duration <= 0 || c.Warmup < 0, "--duration must be more than 0, --warmup not less"},
		{c.Messages < 0 || c.Rate < 0, "--messages and --rate can't be less than 0"},
		{c.URL != "" && c.KeyFile == "", "--url needs --key-file, with API keys of that server"},
		{c.URL == "" && c.KeyFile != "", "--key-file goes with --url: the server that is started makes keys of its own"},
		{c.URL != "" && (c.Deliver || c.Crash), "--deliver and --crash are for a server that is started, not for one at --url"},
	} {
		if wrong.is {
			return &usageError{wrong.text}
		}
	}
	return nil
}

// benchCeiling is the server without storage that the bench starts beside the real one.
type benchCeiling struct{}

func (benchCeiling) Run(out *output) error {
	events, err := serveFlags{LogLevel: "info"}.events(out)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	log := events.logger()
	log.Info().Str("address", ln.Addr().String()).Msg("serving")
	return httpapi.NewCeiling().Serve(ln)
}
