package engine

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tuco/kv"
)

// benchWorld is a world by the machine's own clocks, on a plan that limits nothing.
func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorldIn(b, unlimited(), "UTC", Options{Reserve: 1 << 20})
	w.realTime()
	return w
}

// inParallel runs fn on every core; it must return true.
func inParallel(b *testing.B, fn func() bool) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !fn() {
				b.Error("refused")
				return
			}
		}
	})
}

// BenchmarkKeyLookup is what a secret's digest costs to look up: ristretto, the whole digest, the epoch.
func BenchmarkKeyLookup(b *testing.B) {
	w := benchWorld(b)
	digest := w.secrets.digest(w.newAdmission().secret)
	inParallel(b, func() bool {
		p, err := w.principal(digest)
		return p != nil && err == nil
	})
}

// BenchmarkAuthenticate adds the digest, the expiry and the address.
func BenchmarkAuthenticate(b *testing.B) {
	w := benchWorld(b)
	a := w.newAdmission()
	inParallel(b, func() bool {
		_, err := w.Authenticate(a.secret, home)
		return err == nil
	})
}

// BenchmarkAdmission is everything that a request passes before it gets to the disk, on one key, one plan
// and one line.
func BenchmarkAdmission(b *testing.B) {
	inParallel(b, benchWorld(b).newAdmission().run)
}

// typicalText has 100 bytes.
const typicalText = "Hello Ada, this is a message of one hundred bytes, as an outreach would send it to a person. So long"

// BenchmarkSend stores messages to a lead that is there, from one sandbox line, for 32 callers a core.
func BenchmarkSend(b *testing.B) {
	w := benchWorld(b)
	w.line(Production, 0, 0)
	who := w.in(Production)
	req := SendRequest{Text: typicalText, Type: "sms", Phone: phone()}
	w.send(who, req)
	b.SetParallelism(32)
	before := cpuTime(b)
	inParallel(b, func() bool {
		_, err := w.Send(who, nil, req)
		return err == nil
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used. On a machine that others use too it says more than the time that passed.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStaffRead is what a look of staff at one message takes, with its entry durable, for 64 callers at once.
func BenchmarkStaffRead(b *testing.B) {
	w := benchWorld(b)
	w.line(Production, 0, 0)
	owner := w.in(Production)
	sent := w.send(owner, SendRequest{Text: typicalText, Type: "sms", Phone: phone()})
	s, _ := w.granted(owner)
	q := w.look(KindMessages)
	q.ID = sent.Message.ID.String()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	before := cpuTime(b)
	inParallel(b, func() bool {
		_, err := w.StaffRead(s, q)
		return err == nil
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkMessageRecord stores and reads a typical message.
func BenchmarkMessageRecord(b *testing.B) {
	w := benchWorld(b)
	w.line(Production, 0, 0)
	m := w.send(w.in(Production), SendRequest{Text: typicalText, Type: "sms", Phone: phone()}).Message
	for name, codec := range map[string]kv.Codec[Message]{"wire": messageCodec, "JSON": kv.JSON[Message](recordJSON)} {
		data, err := codec.Encode(nil, m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+" encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = codec.Encode(nil, m)
			}
			b.ReportMetric(float64(len(data)), "bytes")
		})
		b.Run(name+" decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = codec.Decode(codec.Version, data)
			}
		})
	}
}

// BenchmarkRelease moves a hundred messages whose time has come to their line.
func BenchmarkRelease(b *testing.B) {
	w := benchWorld(b)
	w.line(Production, 0, 0)
	who := w.in(Production)
	req := SendRequest{Text: typicalText, Type: "sms", Phone: phone(), Scheduled: time.Now().Add(24 * time.Hour).Format(time.RFC3339)}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var due []Message
		for range releaseAtOnce {
			due = append(due, w.send(who, req).Message)
		}
		w.forge(func(tx *kv.Tx) {
			for _, m := range due {
				old := m
				m.Due = tx.Now
				who.env.putMessage(tx, &old, &m)
			}
		})
		b.StartTimer()
		if _, err := w.queue(Production).Release(); err != nil {
			b.Fatal(err)
		}
	}
}
