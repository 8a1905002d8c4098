// Package auditlog is the append-only log of who looked at what. It knows bytes and hashes only: what is recorded when, and
// where the bytes are kept, is decided elsewhere.
//
// An [Entry] has one encoding, a line of JSON. Each line holds the hash of the line before, and the hash of the line before
// of the same workspace, so the log as a whole is a chain and each workspace's part of it is one. The lines are also the
// leaves of an RFC 6962 tree, leaf i being the line with seq i. A [Checkpoint] is the size and root of that tree, signed.
//
// Whoever has a checkpoint from outside and the lines up to its size finds any line that was changed, added, removed or
// moved: [ParseLine] accepts one encoding only, [Chain] and [WorkspaceChain] compare the hashes, and [Range] computes the
// root. [VerifyProof] shows that one line is in the log without the others, and [VerifyConsistency] that a later log
// continues an earlier one. Against someone who holds the signing key, only checkpoints kept elsewhere help.
package auditlog
