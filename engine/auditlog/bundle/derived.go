package bundle

// A derivation makes the files that say nothing of their own, line by line.
type derivation struct {
	formats []format
	tally   *tally
}

// A format is one of these files in the making.
type format struct {
	file   string
	head   string // before the first line
	append func(dst []byte, r *record) []byte
}

func newDerivation(m *Manifest) *derivation {
	return &derivation{
		[]format{{csvFile, csvHead, appendCSV}, {ocsfFile, "", newOCSFWriter(m).append}, {cefFile, "", newCEFWriter(m).append}},
		newTally(),
	}
}
