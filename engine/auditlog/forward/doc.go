// Package forward exports the audit log while it grows, to directories and to syslog servers, each from where it got to.
//
// A [Sink] is where to, as a URL says. [Start] gives each sink a goroutine of its own, which reads the log from a [Source],
// sends what is new, and after any error goes on from what is known to have arrived. So every entry arrives, in order, and
// none is skipped. In a directory each stands once. To a syslog server, which acknowledges nothing, those that were sent
// shortly before a connection broke are sent again: they have the same number and leaf hash.
//
// Every format has the number and the RFC 6962 leaf hash of each entry; [Formats] lists them. JSON has the line of the log as it is,
// so that the leaf hash can be computed again from it.
package forward
