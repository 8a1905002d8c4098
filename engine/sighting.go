package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"tuco/engine/address"
	"tuco/engine/auditlog"
	"tuco/kv"
)

// The audit log names persons by keyed digests, one for each address. The key lies in the environment; without it nobody
// can tell whose digest it is, and the log stays as it is.

func (env *environment) personKeys() kv.Bucket[[]byte] { // by address
	return kv.Bucket[[]byte]{Path: env.path().Join("persons.digest"), Codec: bytesCodec}
}

// sightings are the entries that name a person: digest, sequence number.
func (env *environment) sightings() kv.Index {
	return kv.Index{Path: env.path().Join("persons.seen")}
}

// bytesCodec stores bytes as they are.
var bytesCodec = kv.Codec[[]byte]{
	Version: 1,
	Encode:  func(to, b []byte) ([]byte, error) { return append(to, b...), nil },
	Decode:  func(_ byte, data []byte) ([]byte, error) { return slices.Clone(data), nil },
}

const personKeyBytes = 16

func digestOf(key []byte, addr string) (d auditlog.Digest) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(addr))
	copy(d[:], mac.Sum(nil))
	return d
}

// see notes that the entry seq names whom the addresses reach, and returns their digests, sorted.
func (env *environment) see(tx *kv.Tx, addresses []string, seq uint64) []auditlog.Digest {
	addresses = slices.Compact(slices.Sorted(slices.Values(addresses))) // a copy: the transaction may run again
	keys, seen := env.personKeys(), env.sightings()
	var digests []auditlog.Digest
	for _, addr := range addresses {
		key, ok := keys.Get(tx, addressKey(addr))
		if !ok {
			key = randomBytes(personKeyBytes)
			keys.Put(tx, addressKey(addr), key)
		}
		d := digestOf(key, addr)
		seen.Put(tx, binary.BigEndian.AppendUint64(slices.Clone(d[:]), seq))
		digests = append(digests, d)
	}
	slices.SortFunc(digests, func(a, b auditlog.Digest) int { return slices.Compare(a[:], b[:]) })
	return digests
}

// A Sighting is an entry of the audit log that names a person.
type Sighting struct {
	Seq   uint64
	Entry *auditlog.Entry // nil: its body was dropped under the retention policy
}

const maxSightings = 1000

// AuditLog returns a page of the entries of the caller's workspace, the newest first: up to most of those whose own number is
// below before, or of all if that is 0. next is what to ask for next; 0 if there are no more.
func (e *Engine) AuditLog(who Caller, before uint64, most int) (page []Sighting, next uint64, err error) {
	if err := who.Require(AccessApprove); err != nil {
		return nil, 0, err
	}
	_, err = kv.View(e.db, func(tx *kv.Tx) (struct{}, error) {
		own := auditOf(who.Workspace()).Len(tx)
		if before > 0 {
			own = min(own, before)
		}
		page, next = []Sighting{}, own
		for ; next > 0 && len(page) < most; next-- {
			seq, err := auditSeq(tx, who.Workspace(), next-1)
			if err != nil {
				return struct{}{}, err
			}
			s, err := sighting(tx, seq)
			if err != nil {
				return struct{}{}, err
			}
			page = append(page, s)
		}
		return struct{}{}, nil
	})
	return page, next, storageError(err)
}

// WhoSaw returns the newest 1000 entries of the audit log that name who is reached by a phone number or an e-mail address, in
// any environment of the caller's workspace, the newest first.
func (e *Engine) WhoSaw(who Caller, phoneOrEmail string) ([]Sighting, error) {
	if err := who.Require(AccessApprove); err != nil {
		return nil, err
	}
	addr, err := parseAddress(phoneOrEmail)
	if err != nil {
		return nil, err
	}
	return kv.View(e.db, func(tx *kv.Tx) ([]Sighting, error) {
		var seqs []uint64
		for _, env := range who.tenant.envs {
			seqs = append(seqs, env.seen(tx, addr)...)
		}
		slices.Sort(seqs)
		slices.Reverse(seqs)
		all := []Sighting{}
		for _, seq := range seqs[:min(len(seqs), maxSightings)] {
			s, err := sighting(tx, seq)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	})
}

// seen returns the newest entries that name an address.
func (env *environment) seen(tx *kv.Tx, addr string) (seqs []uint64) {
	key, ok := env.personKeys().Get(tx, addressKey(addr))
	if !ok {
		return nil
	}
	d := digestOf(key, addr)
	for key := range env.sightings().Scan(tx, kv.Prefix(d[:]).Descending()) {
		if seqs = append(seqs, binary.BigEndian.Uint64(key[len(d):])); len(seqs) == maxSightings {
			break
		}
	}
	return seqs
}

func sighting(tx *kv.Tx, seq uint64) (Sighting, error) {
	line, ok := auditLines.Get(tx, seq)
	if !ok {
		return Sighting{Seq: seq}, nil
	}
	entry, err := auditlog.ParseLine(line)
	if err != nil {
		return Sighting{}, &auditlog.BadEntryError{Seq: seq, Reason: err.Error()}
	}
	return Sighting{seq, &entry}, nil
}

// parseAddress reads a phone number or an e-mail address.
func parseAddress(text string) (addr string, err error) {
	if strings.Contains(text, "@") {
		addr, err = address.Email(text)
	} else {
		addr, err = address.Phone(text, DefaultCountryCode)
	}
	if err != nil {
		return "", Errorf(Invalid, "Not a valid phone number or e-mail address").With(CodeInvalidAddress)
	}
	return addr, nil
}

// ForgetSightings destroys, in every environment of the caller's workspace, the digest keys of who is reached by a phone
// number or an e-mail address: nobody can tell any more which entries of the audit log name that person. It returns how many
// there were. The leads stay.
func (e *Engine) ForgetSightings(who Caller, phoneOrEmail string) (int, error) {
	if err := who.Require(AccessApprove); err != nil {
		return 0, err
	}
	addr, err := parseAddress(phoneOrEmail)
	if err != nil {
		return 0, err
	}
	d := who.decider()
	n, err := kv.UpdateCritical(e.db, func(tx *kv.Tx) (n int, err error) {
		if err := d.still(tx); err != nil {
			return 0, err
		}
		for _, name := range Environments {
			erased, err := who.tenant.envs[name].erasePerson(tx, []string{addr}, d.entry("person.erased"))
			if err != nil {
				return n, err
			}
			n += erased
		}
		return n, nil
	})
	return n, storageError(err)
}

// erasePerson destroys the digest keys of addresses and records that, under what entry says of who does it. The entry names
// the digests: a restore of an older state erases them again.
func (env *environment) erasePerson(tx *kv.Tx, addresses []string, entry auditlog.Entry) (n int, err error) {
	keys, seen := env.personKeys(), env.sightings()
	for _, addr := range addresses {
		key, ok := keys.Get(tx, addressKey(addr))
		if !ok {
			continue
		}
		d := digestOf(key, addr)
		keys.Delete(tx, addressKey(addr))
		for key := range seen.Scan(tx, kv.Prefix(d[:])) {
			seen.Delete(tx, key)
		}
		entry.Persons = append(entry.Persons, d)
	}
	if len(entry.Persons) == 0 {
		return 0, nil
	}
	entry.Workspace, entry.Environment, entry.Kind = string(env.tenant.id), string(env.name), "person"
	return len(entry.Persons), env.engine.record(tx, entry)
}
