package auditlog

import "bytes"

// ParseLine reads one line, with its newline. It accepts what [AppendLine] writes and nothing else: it writes the entry
// again and compares, so no two lines are the same entry. The strings of the entry share one copy of the line.
//
// Errors: [ErrMalformed].
func ParseLine(line []byte) (Entry, error) {
	if len(line) > MaxLineBytes {
		return Entry{}, malformed("line: it has %d bytes, more than %d", len(line), MaxLineBytes)
	}
	p := parser{line: string(line)}
	e := p.entry()
	if p.want != "" {
		return Entry{}, malformed("line: %s expected at byte %d", p.want, p.at)
	}
	var room [2048]byte
	again, err := AppendLine(room[:0], &e)
	if err != nil {
		return Entry{}, malformed("line: %w", err)
	}
	if !bytes.Equal(again, line) {
		return Entry{}, malformed("line: not the one encoding of its entry from byte %d on", firstDifference(again, line))
	}
	return e, nil
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (p *parser) entry() (e Entry) {
	p.place(&e)
	e.Event = p.text(`,"event":`)
	e.Outcome = Outcome(p.text(`,"outcome":`))
	p.actor(&e.Actor)
	e.Credential = p.text(`,"credential":`)
	e.Address = p.text(`,"address":`)
	e.Request = p.text(`,"request":`)
	e.Operation = p.text(`,"operation":`)
	e.Environment = p.text(`,"environment":`)
	e.Kind = p.text(`,"kind":`)
	e.Object = p.text(`,"object":`)
	e.Access = p.text(`,"access":`)
	e.ReasonType = p.text(`,"reasonType":`)
	e.Ticket = p.text(`,"ticket":`)
	e.Approvers = p.texts(`,"approvers":[`)
	e.Fields = p.texts(`,"fields":[`)
	e.Records = int64(p.number(`,"records":`))
	e.Persons = p.persons(`,"persons":[`)
	e.Position = p.number(`,"position":`)
	e.Detail = p.detail(`,"detail":{`)
	p.must("}\n")
	if p.at != len(p.line) {
		p.fail("the end")
	}
	return e
}

func (p *parser) place(e *Entry) {
	p.must(`{"v":1,"seq":`)
	e.Seq = p.digits(16)
	p.must(`,"time":"`)
	e.Time = p.time()
	e.Epoch = p.number(`,"epoch":`)
	e.Prev = p.hash(`,"prev":"`)
	if e.Workspace = p.text(`,"workspace":`); e.Workspace != "" {
		p.must(`,"wsSeq":`)
		e.WsSeq = p.digits(16)
		e.WsPrev = p.hash(`,"wsPrev":"`)
	}
}

func (p *parser) actor(a *Actor) {
	a.Kind = ActorKind(p.text(`,"actor":{"kind":`))
	a.ID = p.text(`,"id":`)
	a.Employer = p.text(`,"employer":`)
	a.Country = p.text(`,"country":`)
	a.Role = p.text(`,"role":`)
	p.must("}")
}
