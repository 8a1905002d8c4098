package engine

import "google.golang.org/protobuf/encoding/protowire"

var personCodec = wireCodec(encodePerson, decodePerson)

// The fields of a [person].
const (
	personLead    protowire.Number = 1
	personCharged protowire.Number = 2
	personLine    protowire.Number = 3 // one field for each
	personAlone   protowire.Number = 4
)

func encodePerson(w *recordWriter, p person) {
	w.id(personLead, p.Lead.ID)
	w.flag(personCharged, p.Charged)
	for _, line := range p.Lines {
		w.id(personLine, line.ID)
	}
	w.flag(personAlone, p.Alone)
}

func decodePerson(r recordReader) (p person, err error) {
	for r.next() {
		switch r.field {
		case personLead:
			p.Lead.ID = r.id()
		case personCharged:
			p.Charged = r.flag()
		case personLine:
			p.Lines = append(p.Lines, LineID{r.id()})
		case personAlone:
			p.Alone = r.flag()
		}
	}
	return p, r.err
}
