package auditlog

import "testing"

// usualEntry returns an entry as most are: a read, without detail and without anything to escape.
func usualEntry() Entry {
	e := fullEntry()
	e.Epoch, e.Ticket, e.Object, e.Detail = 0, "T-5", "", nil
	return e
}

func BenchmarkAppendLine(b *testing.B) {
	e := fullEntry()
	var line []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(fullLine)))
	for b.Loop() {
		var err error
		if line, err = AppendLine(line[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseLine(b *testing.B) {
	for _, bb := range []struct {
		about string
		entry Entry
	}{{"usual", usualEntry()}, {"full", fullEntry()}} {
		b.Run(bb.about, func(b *testing.B) {
			line, err := AppendLine(nil, &bb.entry)
			must(b, err)
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := ParseLine(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHashes is what checking costs without parsing: both hashes, chain and root.
func BenchmarkHashes(b *testing.B) {
	line := []byte(fullLine)
	e := fullEntry()
	var tree Range
	b.ReportAllocs()
	for b.Loop() {
		chain := ChainFrom(e.Seq)
		if err := chain.Add(&e, LineHash(line)); err != nil {
			b.Fatal(err)
		}
		tree.Append(LeafHash(line))
	}
}

// BenchmarkCheck is all that a verifier does per entry.
func BenchmarkCheck(b *testing.B) {
	log := newLog(b, 0)
	for range 10_000 {
		log.add(b, usualEntry())
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(log.lines[0])))
	var chain Chain
	var tree Range
	i := 0
	for b.Loop() {
		if i == len(log.lines) {
			i, chain, tree = 0, Chain{}, Range{}
		}
		line := log.lines[i]
		e, err := ParseLine(line)
		if err == nil {
			err = chain.Add(&e, LineHash(line))
		}
		if err != nil {
			b.Fatal(err)
		}
		tree.Append(LeafHash(line))
		i++
	}
}

// BenchmarkAdd is all that is computed to add an entry to a log.
func BenchmarkAdd(b *testing.B) {
	log := newLog(b, 0)
	e := fullEntry()
	b.ReportAllocs()
	for b.Loop() {
		line, next, workspace, err := Seal(&e, log.head, log.workspaces[e.Workspace])
		if err != nil {
			b.Fatal(err)
		}
		kept, err := Append(log.head.Seq, line, log.hashes)
		if err != nil {
			b.Fatal(err)
		}
		log.hashes = append(log.hashes, kept...)
		log.head, log.workspaces[e.Workspace] = next, workspace
	}
}
