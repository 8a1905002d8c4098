// Package engine is the domain: workspaces and their keys, leads, lines and messages, what may be
// done with them, by whom, and how often.
//
// Every exported method that reads or changes customer data takes the [Caller]; what it may see is
// decided by the caller alone, never by an argument. Errors meant for the caller are [*Error].
//
// A message's way: [Engine.Send] judges the request, reserves quota in memory, writes the message
// and its quota units in one transaction, and answers. Package dispatch asks for what is due, hands
// it to a transport, and reports back through [Engine.HandOver] and [Engine.Finish].
package engine
