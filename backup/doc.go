// Package backup is the format of backups, the places that they are kept in, and for how long.
//
// A backup is made of objects, files of one format ([Create], [Open]): a full one holds everything up to a
// position of the log, a log one holds what came between two positions. A [Target] keeps them by name
// ([Name]). A [Catalogue] says of a target's listing what can be restored from it, and [Keep] what may be
// deleted.
//
// What the files in an object mean, and how they are taken from a running engine and put back, is not known here.
package backup
