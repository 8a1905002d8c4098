// Package bundle is the export of the audit log for auditors: one file that verifies offline, with a public key and nothing
// else. It is a plain tar archive, and every export has one encoding, so that any changed byte is found.
//
// The files in it, in this order; those in brackets are there only if the export has such a thing:
//
//	manifest.json        what this is, and name, size and SHA-256 hash of every file below except signature
//	signature            signed note that holds the hash of manifest.json, by the keys that signed the checkpoint
//	checkpoint           signed note: the size and the root of the log
//	[consistency]        that the log continues the one of an earlier checkpoint
//	[range-proof]        that the log continues the lines of this export, where it is longer
//	[edge]               hashes of what came before the first line, one hex hash a line
//	[rotations]          the notes by which keys follow keys, oldest first
//	staff.json           the staff accounts, for the access review
//	entries.jsonl        the lines of the log as they are. A line whose body is no longer kept has another form,
//	                     {"v":1,"seq":N,"leaf":"…","dropped":true}
//	[proofs]             for one workspace: that each line is in the log, a C2SP tlog-proof each
//	entries.csv          the lines as a table, RFC 4180
//	entries.ocsf.jsonl   the lines as OCSF 1.8 events
//	entries.cef          the lines in the Common Event Format
//	report.html          a page for people, which prints
//
// The last four say nothing of their own: [Verify] makes them again from the others and compares.
//
// They read two keys of an entry's detail where there are any: "staff", the account that a decision is about, and "scopes",
// what was asked for or given.
package bundle
