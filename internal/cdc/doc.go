// Package cdc tells a cache which tables of a PostgreSQL database were changed, by
// whomever, and until when what it was told is complete.
//
// A [Consumer] reads the server's log through a TEMPORARY slot of pgoutput on a
// replication connection of its own. A slot of that kind ends with its connection, so a
// process that is killed leaves nothing behind that holds the log; and a cache needs no
// more: what was missed is made good by dropping every entry.
//
// Three things make it more than a list of changes.
//
// A commit is decoded before it is visible. The server may send a commit that new
// snapshots do not see yet: rarely on a server by itself, always while the commit waits
// for a synchronous standby. Who reads the table then reads the old rows, after the cache
// was told of the change, and nothing tells it again. So each relation remembers the
// transactions that changed it until one snapshot has shown them; see [Consumer.Doubt].
// Comparing positions in the log does not help: the log is ahead of what is visible.
//
// A large transaction arrives late, and so may everything. So freshness is enforced: the
// consumer reads the position of the log, with a commit of its own behind it, every
// quarter of the bound, and only while one such position that it has reached is younger
// than the bound does [Consumer.Serves] say yes.
//
// What is no change of rows is not in the log: DDL, REFRESH MATERIALIZED VIEW. An event
// trigger writes them there, see [InstallSQL]; without it the catalog is looked at every
// PollEvery, and that long such a change may go unnoticed.
package cdc
