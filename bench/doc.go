// Package bench puts a load on a server over real HTTP and measures what it does and what it costs, beside what the machine
// could do at most: appending to its disk, and the same HTTP stack with nothing behind it.
//
// The load shares the machine with the server. So it is cheap: a goroutine for each connection, request bytes that are put
// together out of prepared parts, and of an answer only the status and the length are read. And figures of one run are
// compared with each other only, not with those of another machine or hour.
package bench
