// Package kv stores typed records in named buckets of one bbolt file, with a redo log in front of it that
// makes commits durable. It knows no domain word.
//
// A transaction sees one consistent state and its own writes. [Update] runs as the only writer and
// returns after the write is durable; whoever waits at the same time is committed together. [View]
// never waits for a writer. A transaction's function may run more than once, so it has no side
// effects: no counter, no channel, no log.
//
// Every change is a plain operation (bucket path, key, value or tombstone), collected while the
// function runs and applied only if it succeeds. No memory of the file leaves this package: what is
// read outlives the transaction.
package kv
